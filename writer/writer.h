/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The writer: one thread for one chain of files. It pops chunks from its sources' rings, gives each its place in a
 * file, writes them in order and gives them back. It decides when a file ends, watches the free space ahead of every
 * allocation, and accounts for every frame that it was handed: written, discarded, or past the end of the capture.
 */
#ifndef WH_WRITER_WRITER_H
#define WH_WRITER_WRITER_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbuf/spsc.h"
#include "ringbuf/status.h"
#include "writer/chain.h"
#include "writer/file.h"

enum wh_writer_format { WH_WRITE_PCAPNG = 0, WH_WRITE_PCAP, WH_WRITE_PCAP_NS };

/* What a writer tells its owner. Calls come from the writer's thread, from its closing thread (FILE_CLOSED, FILE_LEFT,
 * STOP_ERROR) and from whoever calls wh_writer_clean_up() or wh_writer_close() (STOP_ERROR); they must not block for
 * long and must not call back into the writer, but for wh_writer_wake(). */
enum wh_writer_event {
	WH_WRITER_FILE_CLOSED,  /* text: the path; the file is complete and durable */
	WH_WRITER_SOURCE_ENDED, /* number: the source; its rings and chunks are not used any more */
	WH_WRITER_STOP_COUNT,   /* a limit of the configuration was reached; what comes later is not taken */
	WH_WRITER_STOP_FILES,
	WH_WRITER_STOP_BYTES,
	WH_WRITER_STOP_SPACE, /* text: one line for a person */
	WH_WRITER_STOP_ERROR, /* text: one line for a person */
	WH_WRITER_FILE_LEFT,  /* text: a file could not be deleted, though the chain goes on; told once */
	WH_WRITER_TROUBLE,    /* text: something failed, and the chain goes on; or goes on again */
	WH_WRITER_NOTICE      /* text: a fall-back that was taken */
};

enum {
	WH_MARK_BYTES = 1001,    /* of a mark's text, with its end */
	WH_MARKS_MOST = 1000,    /* that may wait for their place in the file */
	WH_WRITER_LATENCIES = 20 /* classes of writes by how long they took, the first of up to 64 us, each twice as
				    wide as the one before it, the last without a limit */
};

struct wh_writer_config {
	const char *path; /* as given with -w; "-": standard output. Borrowed for wh_writer_open() */
	const char *tag;  /* adapter's name for a chain of its own, or NULL. Borrowed likewise */
	enum wh_writer_format format;
	struct wh_chain_limits limits;
	uint32_t keep_files;        /* newest files to keep, 0: all */
	uint64_t stop_after_frames; /* 0: no such limit */
	double min_free_percent;
	bool adopt;   /* files that earlier captures left by the chain's names are its oldest */
	bool recycle; /* delete this chain's oldest closed files when space is short */
	enum wh_file_direct direct;
	bool discard;   /* no file is made and nothing written, all else is done: the path only says how files would be
			   called, and there is no free space to watch. Not for standard output */
	bool transient; /* the files hold nothing worth keeping: those that are left are deleted at the end, and one
			   that cannot be is an error */
	uint32_t snapshot_length;
	uint32_t block_bytes; /* of the rings that will be attached: the largest chunk */
	uint64_t session;
	char application[128]; /* for the section header */
	char operating_system[256];
	const char *filter; /* for the interface blocks. Borrowed until wh_writer_close() */
	void (*event)(void *context, enum wh_writer_event event, uint64_t number, const char *text);
	void *event_context;
};

/* Counters of one source that the writer keeps; written by the writer's thread, read by any. */
struct wh_writer_counters {
	alignas(WH_CACHE_LINE) _Atomic uint64_t frames_written; /* their write has completed */
	_Atomic uint64_t frames_discarded;                      /* lost to a write error or to a full disk */
	_Atomic uint64_t frames_surplus; /* came after the capture had reached its limit; not part of it */
	_Atomic uint64_t lost_surplus;   /* drops of the ring after that */
	_Atomic uint64_t bytes_captured; /* packet bytes that were given a place in a file */
	_Atomic uint64_t frames_truncated;
};

/* One source, as it is attached. */
struct wh_writer_source {
	struct wh_spsc *ring; /* of struct wh_chunk *; the writer's thread pops */
	struct wh_writer_counters *counters;
	const _Atomic uint64_t *dropped_nic; /* the interface's, for its statistics block; may be NULL */
	void *memory; /* what the chunks' bytes lie in, to be registered with the sink; or NULL */
	uint64_t memory_bytes;
	uint16_t source; /* number over the whole engine */
	/* The interface it captures on: a new one, or (for a second capture thread) one that is already known. */
	bool new_interface;
	uint16_t interface; /* in: the known one. Out: the id in this chain's files */
	char interface_name[64];
	uint16_t link_type;
	uint64_t speed_bits;
	uint8_t mac[6];
	bool has_mac;
	int buffer; /* out: what to put into the chunks' buffer field */
};

struct wh_writer_totals {
	uint64_t bytes_on_disk;
	uint64_t bytes_copied; /* packet bytes copied or moved, by the sources and by the writer */
	uint64_t files;
	uint64_t files_deleted;  /* to make room, or because they are transient */
	uint64_t files_left;     /* that were to be deleted and could not be */
	uint64_t latency_max_ns; /* longest time from queueing a write to its completion */
	uint64_t latency_ns;     /* the sum of them */
	uint64_t write_counts[WH_WRITER_LATENCIES];
	uint64_t write_errors;            /* writes that failed, those that were tried again too */
	uint64_t last_frame_ns;           /* time of the newest frame that was given a place, since 1970 */
	char current_file[WH_PATH_BYTES]; /* empty where there is none */
	double free_percent;              /* negative where it is not known (standard output, or no disk) */
	uint64_t free_bytes_to_limit;
};

struct wh_writer;

/* Checks the path, the directory and its free space as wh_writer_open() does, and nothing else; not the space where a
 * chain that recycles adopts files, for those may make room at the start. For an early word, before what takes time is
 * done. Any thread. */
WH_MUST_CHECK enum wh_status wh_writer_check(const struct wh_writer_config *config, struct wh_error *error);

/* Checks the path, the directory and its free space (not with discard), and opens a sink. Creates nothing. The caller
 * owns *WRITER. */
WH_MUST_CHECK enum wh_status wh_writer_open(const struct wh_writer_config *config, struct wh_writer **writer,
					    struct wh_error *error);

/* Adds a source, before the start or while the writer runs. Any thread, one at a time. SOURCE is copied; what it points
 * to must live until WH_WRITER_SOURCE_ENDED. WH_ERR_INPUT: a pcap file cannot hold this link type beside the first. */
WH_MUST_CHECK enum wh_status wh_writer_attach(struct wh_writer *writer, struct wh_writer_source *source,
					      struct wh_error *error);

/* Creates the first file and starts the threads. On failure nothing is left on disk. */
WH_MUST_CHECK enum wh_status wh_writer_start(struct wh_writer *writer, struct wh_error *error);

/* Tells the writer that its rings have something new. Any thread; cheap when it is awake. */
void wh_writer_wake(struct wh_writer *writer);

/* The end was asked for by somebody who waits for it: standard output is given up when nobody reads from it for a
 * second while something waits for that; what waits is discarded then, and WH_WRITER_STOP_ERROR says so. Any thread,
 * any number of times, once the writer is open. */
void wh_writer_hurry(struct wh_writer *writer);

/* Asks for a new file. Any thread. */
void wh_writer_rotate(struct wh_writer *writer);

/* Looks at the free space (statvfs), and whether the present file still has its name, and has the writer act on it. Any
 * one thread but the writer's; about once a second. */
void wh_writer_watch(struct wh_writer *writer);

/* Puts TEXT (less than WH_MARK_BYTES, UTF-8, no control characters) with the time NS since 1970 into the file between
 * the frames; nothing where the file is classic pcap. Any thread. WH_ERR_MEMORY; WH_ERR_SYSTEM: WH_MARKS_MOST wait
 * already. */
WH_MUST_CHECK enum wh_status wh_writer_mark(struct wh_writer *writer, uint64_t ns, const char *text,
					    struct wh_error *error);

/* The thread of this writer that has not come round for longest, and since when (monotonic): "wh-write" or "wh-close".
 * One that waits for work has come round. Any thread, while the writer runs. */
const char *wh_writer_slowest(struct wh_writer *writer, uint64_t now_ns, uint64_t *since_ns);

/* Waits until every source has ended (each must have pushed its WH_CHUNK_END, or be about to), all that was handed over
 * is written and the last file closed, and ends the threads. Blocks. */
void wh_writer_finish(struct wh_writer *writer);

/* Deletes what is left of a transient chain; WH_WRITER_STOP_ERROR names the first file that cannot be. Apart from
 * wh_writer_finish(), so that it can be left out of what is measured; wh_writer_close() does it where nobody has. The
 * writer must be finished or never have been started. Blocks. */
void wh_writer_clean_up(struct wh_writer *writer);

/* Counters at this moment. Any thread. */
void wh_writer_totals_read(struct wh_writer *writer, struct wh_writer_totals *totals);

/* The writer must be finished or never have been started. NULL is allowed. */
void wh_writer_close(struct wh_writer *writer);

#endif
