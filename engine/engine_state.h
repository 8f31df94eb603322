/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What engine.c and statistics.c (the public calls), port.c (one adapter), output.c (one chain) and supervisor.c (the
 * thread that keeps it all going) share; nobody else. Until wh_capture_start() everything belongs to the caller's
 * thread, after that to the supervisor's; what others read is under the lock or atomic, and says so.
 */
#ifndef WH_ENGINE_ENGINE_STATE_H
#define WH_ENGINE_ENGINE_STATE_H

#include <pthread.h>

#include "engine/capture.h"
#include "engine/config.h"
#include "engine/filter.h"
#include "engine/hook.h"
#include "engine/interfaces.h"
#include "engine/marks_file.h"
#include "engine/topology.h"
#include "wirehaul.h"
#include "writer/writer.h"

enum { WH_PORTS_MOST = 1024, WH_SOURCES_MOST = 4096 };

/* A chain of files. */
struct wh_output {
	struct wh_writer *writer;
	struct wh_capture *capture;
	bool started;
	_Atomic uint32_t untold; /* a bit for each kind of event for which there was no memory */
};

enum wh_port_state {
	WH_PORT_ABSENT, /* there is no such adapter just now, or it cannot be captured */
	WH_PORT_RUNNING,
	WH_PORT_ENDING /* its threads were asked to end */
};

/* Counters of capture threads that have ended. */
struct wh_port_past {
	uint64_t received, dropped, written, captured_bytes, truncated;
	uint32_t fill_max_permille;
};

/* An adapter, or what stands in for one (a replay, made-up frames), as the capture knows it. Once known it is never
 * forgotten. */
struct wh_port {
	char name[WH_INTERFACE_NAME_BYTES];
	struct wh_interface interface;
	enum wh_port_state state; /* lock */
	bool named;               /* asked for by name; warn when it goes */
	bool gone;                /* lock: it was captured, and has gone since */
	int refused_index;        /* of the adapter by this name that could not be captured; 0: none */
	uint64_t retry_ns;        /* monotonic; when it is tried again all the same; 0: not by itself */
	uint64_t retry_pause_ns;  /* how long it was left alone the last time */
	int refused_before;       /* as refused_index, and while it is being tried again */
	uint64_t ring_bytes;      /* the most that was asked for its rings so far */
	int link_type;            /* DLT_*; lock */
	struct wh_output *output;
	bool in_files; /* the output's files know it, as file_interface, with file_link_type */
	uint16_t file_interface;
	int file_link_type;
	struct wh_capture_thread **members; /* lock: one for each fan-out member, while not ABSENT */
	uint32_t member_count;              /* lock */
	uint32_t ended_count;               /* members whose source has ended */
	struct wh_interface_drops baseline;
	bool has_baseline;
	_Atomic uint64_t dropped_nic;
	uint64_t dropped_nic_past; /* of the adapter's earlier lives */
	_Atomic uint64_t filtered;
	bool filtered_known;
	char problem[512];        /* of a replay that ended before its time, or why it is left out; or empty */
	struct wh_port_past past; /* lock */
};

struct wh_event {
	struct wh_event *next;
	enum wh_writer_event kind;
	uint64_t number;
	char text[];
};

struct wh_capture {
	struct wh_settings settings;
	struct wh_topology *topology;
	struct wh_interface_watch *watch; /* NULL without adapters */
	struct wh_hooks *hooks;
	int lock_fd;              /* the output's directory, locked against other captures; -1: none */
	_Atomic uint64_t beat_ns; /* monotonic; when the supervisor last came round; UINT64_MAX: it is done */
	_Atomic uint64_t marks;
	struct wh_marks_file *marks_file; /* NULL: there is none; set once, before the capture runs */
	uint64_t session;
	char operating_system[256];

	struct wh_port *ports[WH_PORTS_MOST]; /* an entry is written once, then the count is raised */
	_Atomic uint32_t port_count;
	struct wh_output outputs[WH_PORTS_MOST];
	_Atomic uint32_t output_count;
	struct wh_port *source_port[WH_SOURCES_MOST]; /* source number -> port; NULL: free */

	pthread_t thread;
	bool thread_started, threads_started;
	bool full_told;        /* that there is no room for more ports */
	bool look_again;       /* the list of adapters could not be had */
	uint64_t memory_bytes; /* of the machine */
	int stop_fd;           /* eventfd: what was asked for is in the two flags */
	_Atomic bool stop_asked, rotate_asked;
	int event_fd;                      /* eventfd: there are events */
	int done_fd;                       /* eventfd: the capture has ended */
	uint64_t start_ns, end_ns;         /* monotonic; end_ns under the lock, 0 until the last file is closed */
	uint64_t start_cpu_ns, end_cpu_ns; /* the process's; end_cpu_ns under the lock */

	pthread_mutex_t lock;
	pthread_mutex_t report_lock;
	struct wh_event *first_event, *last_event;    /* lock */
	_Atomic bool sources_untold[WH_SOURCES_MOST]; /* that have ended, where there was no memory for the event */
	enum wh_stop_reason stop_reason;              /* lock */
	char stop_text[512];                          /* lock */
	char blemish[512];                            /* lock: why it is no success though it was stopped as asked */
	bool running;                                 /* lock */
};

/* Tells the program of something. Any thread. */
void wh_capture_report(struct wh_capture *capture, int severity, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Processor time that the process has used so far, in ns. Any thread. */
uint64_t wh_process_cpu_ns(void);

/* output.c */
/* The chain for an adapter called NAME: the one for all, or its own; opened where need be. One that is opened while
 * the capture runs must be started by wh_output_start() or given back by wh_output_discard() before the next call. */
enum wh_status wh_output_for(struct wh_capture *capture, const char *name, struct wh_output **output,
			     struct wh_error *error);
/* Whether files for an adapter called NAME can be made where they are to be; see wh_writer_check(). */
enum wh_status wh_output_check(struct wh_capture *capture, const char *name, struct wh_error *error);
/* Starts a chain that was opened while the capture runs; only from then on is it one of the capture's. */
enum wh_status wh_output_start(struct wh_capture *capture, struct wh_output *output, struct wh_error *error);
/* Gives back a chain that was opened while the capture runs and could not be started. */
void wh_output_discard(struct wh_output *output);

/* port.c */
/* The port called NAME, made where there is none. NULL: no room. */
struct wh_port *wh_port_for(struct wh_capture *capture, const char *name);
/* Opens PORT's rings, pinned and bound as the topology says; nothing is attached yet. */
enum wh_status wh_port_open(struct wh_capture *capture, struct wh_port *port, struct wh_error *error);
/* The same for the replay's file or made-up frames. */
enum wh_status wh_port_open_replay(struct wh_capture *capture, struct wh_port *port, struct wh_error *error);
/* Attaches PORT's rings to its chain. When this fails and PORT is RUNNING all the same, its chain holds some of its
 * rings already, and PORT must be ended by wh_port_stop(). */
enum wh_status wh_port_attach(struct wh_capture *capture, struct wh_port *port, struct wh_error *error);
enum wh_status wh_port_start(struct wh_port *port, struct wh_error *error);
/* Asks PORT's threads to end. */
void wh_port_stop(struct wh_capture *capture, struct wh_port *port);
/* Takes note that source NUMBER has ended; closes the port with its last one. Returns the port if that was it. */
struct wh_port *wh_port_source_ended(struct wh_capture *capture, uint64_t number);
/* Gives everything of PORT back, whatever its state; its threads must have ended or never been started. */
void wh_port_close(struct wh_capture *capture, struct wh_port *port);
/* PORT's adapter could not be opened or attached, for the reason STATUS: it is tried again when it has been down. What
 * may pass by itself, all but WH_ERR_INPUT, is tried again in any case: after half a second, then after twice as long
 * each time, and each minute at last. Returns whether it is news, and not such a trial. */
bool wh_port_refuse(struct wh_port *port, enum wh_status status);
/* Forgets that PORT's adapter was refused. */
void wh_port_refusal_end(struct wh_port *port);
/* Bytes of PORT's rings. */
uint64_t wh_port_ring_bytes(const struct wh_port *port);
/* Whether PORT's rings still hang on their adapter. The kernel takes them off one that is removed or moved to another
 * namespace, for good. */
bool wh_port_is_attached(const struct wh_port *port);
/* Reads the adapter's own drop counters. */
void wh_port_drops_update(struct wh_port *port);

/* marks.c */
/* Starts the thread that writes the file of marks, where there is to be one. */
enum wh_status wh_marks_open(struct wh_capture *capture, struct wh_error *error);

/* supervisor.c */
void *wh_supervisor_main(void *capture);

#endif
