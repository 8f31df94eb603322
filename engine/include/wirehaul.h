/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libwirehaul: record network traffic to disk, losing nothing it does not admit to.
 *
 * This is the whole public interface. A program fills a struct wh_config, opens a capture, starts it, waits on the
 * capture's descriptor until it has ended, and closes it. The library starts its own threads; it installs no signal
 * handler, prints nothing and never ends the process. Every function that can fail returns an enum wh_result and puts
 * words for a person into a struct wh_message that the caller owns.
 *
 * Threads: wh_capture_stop() and wh_capture_rotate() may be called from any thread and from a signal handler. The
 * statistics calls may be made from any thread. All other calls on one capture belong to one thread at a time.
 */
#ifndef WIREHAUL_H
#define WIREHAUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WIREHAUL_VERSION "0.1.0"

/* Marks what a shared build of the library exports; everything else in it stays hidden. */
#ifndef WH_API
#define WH_API __attribute__((visibility("default")))
#endif
#define WH_MUST_USE __attribute__((warn_unused_result))

/* What came of a call, and of a capture. The values are the exit status of the wirehaul command. */
enum wh_result {
	WH_RESULT_OK = 0,        /* done; for a capture: stopped as asked */
	WH_RESULT_USAGE = 2,     /* the configuration cannot be carried out; nothing was created */
	WH_RESULT_LOW_SPACE = 3, /* the capture stopped at its free-space limit; the files are whole */
	WH_RESULT_ERROR = 4      /* the capture was stopped by an error; what was captured is kept and valid */
};

/* One line for a person, without a newline. The caller owns it. */
struct wh_message {
	char text[640];
};

enum wh_file_format { WH_FORMAT_AUTO = 0, WH_FORMAT_PCAPNG, WH_FORMAT_PCAP, WH_FORMAT_PCAP_NS };
enum wh_direction { WH_DIRECTION_BOTH = 0, WH_DIRECTION_IN, WH_DIRECTION_OUT };
enum wh_direct_io { WH_DIRECT_IO_AUTO = 0, WH_DIRECT_IO_ON, WH_DIRECT_IO_OFF };
enum wh_low_space { WH_LOW_SPACE_STOP = 0, WH_LOW_SPACE_RECYCLE };
enum wh_cpu_choice { WH_CPUS_AUTO = 0, WH_CPUS_NONE, WH_CPUS_LIST };

/*
 * A part of the pipeline that is left out, to measure what the rest can do. All else is the real thing: threads, rings,
 * encoding, files and their rotation, limits, counters. Nothing that came of it is traffic on a disk.
 */
enum wh_simulation {
	WH_SIMULATE_NOTHING = 0,
	/* No disk: what is to be written counts as written at once, and no file is made, no directory looked at. The
	 * output may be NULL; the free-space limit and write_latency_max_us mean nothing; there is neither recycling
	 * nor WH_DIRECT_IO_ON. Files and bytes on disk are what there would be. */
	WH_SIMULATE_NO_DISK,
	/* No adapters: made-up frames, as many as the disk takes. There are no interfaces, and no chains for each, no
	 * filter, no direction and one thread; no privilege is needed. Ends after 10 seconds unless one of the
	 * stop_after fields is set. Keeps the newest 4 files unless keep_files says otherwise, and deletes them when it
	 * ends; that is not part of elapsed_ns and cpu_ns. One that cannot be deleted makes it WH_RESULT_ERROR. */
	WH_SIMULATE_NO_NIC
};

/* Why a capture ended. The order of the names is that of wh_stop_reason_name(). */
enum wh_stop_reason {
	WH_STOP_NONE = 0, /* it is still running */
	WH_STOP_SIGNAL,   /* wh_capture_stop() */
	WH_STOP_DURATION,
	WH_STOP_FILES,
	WH_STOP_FILESIZE,
	WH_STOP_COUNT,
	WH_STOP_LOW_SPACE,
	WH_STOP_ERROR,
	WH_STOP_END_OF_INPUT /* a replayed file came to its end */
};

/*
 * What to capture and how. wh_config_init() sets every default; change fields after it. All pointers are borrowed
 * for the duration of wh_capture_open() only. A zero in a numeric field means "no limit" or "choose for me".
 */
struct wh_config {
	const char *const *interfaces; /* adapter names; "any" or "*" stands for every adapter that is up */
	size_t interface_count;
	const char *replay_file;        /* capture file to feed through the pipeline instead of adapters, or NULL */
	enum wh_simulation simulate;    /* standard output and a hook_command do not go with one */
	uint32_t simulated_frame_bytes; /* of each made-up frame, 14 to 65535; default 1414 */
	const char *output;             /* path whose name is the stem of the chain, or "-" for standard output */
	const char *filter;             /* libpcap filter expression, or NULL */
	enum wh_file_format format;     /* AUTO: .pcap means classic pcap in microseconds, all else pcapng */
	bool per_interface;             /* one chain for each adapter instead of one for all */

	uint64_t file_bytes;      /* a file never grows past this; default 100,000,000 */
	uint32_t file_seconds;    /* start a new file every so many seconds, 0: never for time */
	uint32_t keep_files;      /* keep only the newest so many files, 0: all */
	const char *hook_command; /* run with the path of each file that was closed, or NULL */

	uint64_t stop_after_frames;
	uint32_t stop_after_seconds;
	uint32_t stop_after_files;
	uint64_t stop_after_bytes; /* bytes on disk */

	double min_free_percent; /* 0 to 100; default 10 */
	enum wh_low_space on_low_space;
	bool adopt_files; /* files that earlier captures with the same output have left count as this one's, the oldest,
			     for keep_files and WH_LOW_SPACE_RECYCLE; not with standard output or a simulation */

	uint32_t snapshot_length; /* bytes of each frame to keep; default 262,144 */
	uint64_t ring_bytes;  /* ring memory for each adapter, shared by its fan-out members; 0: chosen from the number
				 of adapters and the RAM */
	uint32_t block_bytes; /* size of a ring block, a power of two; 0: chosen from the ring and the file size */
	uint32_t block_timeout_ms; /* a block that is not full is handed over after this; default 100 */
	bool no_promiscuous;
	enum wh_direction direction;
	uint32_t fanout; /* capture threads for each adapter; default 1 */

	enum wh_cpu_choice cpus;
	const char *cpu_list; /* "0,2-3" when cpus is WH_CPUS_LIST */
	enum wh_direct_io direct_io;
	const char *drop_to_user; /* give up root for this user once the rings are open, or NULL */
	/* Once the rings are open, the thread that opens the capture, and so those of the capture, keep of their
	 * capabilities only what a capture needs. With drop_to_user that is so in any case. */
	bool drop_capabilities;

	/* Called with one line when something happens that a person should know of (an adapter has gone, a fall-back
	 * was taken). severity: 0 detail, 1 notice, 2 warning. Called from the library's threads, one call at a time;
	 * it must not call back into the library. NULL: nobody is told. */
	void (*report)(void *context, int severity, const char *line);
	void *report_context;
};

/* Counters of one adapter since the capture began. received = written + dropped, plus what is in flight. */
struct wh_interface_statistics {
	char name[64];
	char link_type[32];          /* libpcap's name for it: EN10MB, RAW, ... */
	bool present;                /* false once the adapter has gone */
	uint64_t frames_received;    /* frames that passed the filter and were offered to the ring */
	uint64_t frames_written;     /* frames whose write has completed */
	uint64_t frames_dropped;     /* dropped because the ring was full, or lost to a write error */
	uint64_t frames_dropped_nic; /* dropped by the adapter before the kernel saw them (missed and FIFO errors) */
	uint64_t frames_truncated;   /* frames that were longer than the snapshot length or a ring block */
	uint64_t frames_filtered;    /* refused by the filter; only where filtered_known */
	bool filtered_known;
	uint64_t bytes_captured; /* bytes of frames kept, without any file overhead */
};

/* Writes by how long they took: bucket N counts those of at most 64 << N microseconds, the last one all longer ones. */
enum { WH_LATENCY_BUCKETS = 20 };
#define WH_LATENCY_LIMIT_US(bucket) (UINT64_C(64) << (bucket))

struct wh_statistics {
	uint64_t frames_received, frames_written, frames_dropped, frames_dropped_nic, frames_truncated;
	uint64_t bytes_captured;      /* packet bytes handed to the files */
	uint64_t bytes_on_disk;       /* bytes of all files, headers and padding too */
	uint64_t bytes_copied;        /* packet bytes copied or moved in user space */
	uint64_t files;               /* files begun */
	uint64_t files_deleted;       /* by the capture: -W, recycling; adopted ones, and a simulation's, too */
	uint64_t files_left;          /* that were to be deleted and could not be */
	char current_file[1024];      /* empty where there is none */
	double free_percent;          /* of the output's file system; negative where it is not known */
	uint64_t free_bytes_to_limit; /* bytes left until the free-space limit */
	double ring_fill_percent, ring_fill_max_percent;
	uint64_t write_latency_max_us;
	uint64_t write_latency_us; /* of all writes together */
	uint64_t write_counts[WH_LATENCY_BUCKETS];
	uint64_t write_errors;  /* writes that failed, those that were tried again too */
	uint64_t last_frame_ns; /* time of the newest frame that was given a place in a file, since 1970; 0: none yet */
	uint64_t marks;
	uint64_t elapsed_ns;
	uint64_t cpu_ns; /* processor time that the whole process, user and system, used meanwhile */
	enum wh_simulation simulate;
	bool running;
	enum wh_stop_reason stop_reason;
	bool flawed; /* it has ended, and not all may be on the disk, though it was stopped as asked: WH_RESULT_ERROR */
	size_t interface_count; /* for wh_capture_interface_statistics(); it only grows */
};

/* An adapter of this machine, for a listing. Text fields are empty, numbers negative, where nothing is known. */
struct wh_adapter {
	char name[64];
	char link_type[32];
	char driver[32];
	bool up, running, loopback;
	int64_t speed_mbit;
	int numa_node;
	int cpu; /* the logical CPU that a capture thread for it would be pinned to */
	uint32_t mtu;
	char offloads[96]; /* those that change what a capture sees: "gro lro tso gso", space separated */
};

struct wh_capture;

/* Fills CONFIG with the defaults. Cannot fail. */
WH_API void wh_config_init(struct wh_config *config);

/*
 * Checks CONFIG, opens a ring on each adapter, gives up privileges if asked to, checks the output directory and its
 * free space. Nothing is created on disk. On success *CAPTURE is owned by the caller and ends with
 * wh_capture_close(). Returns WH_RESULT_USAGE with *MESSAGE otherwise. Blocks for at most about a second.
 */
WH_API WH_MUST_USE enum wh_result wh_capture_open(const struct wh_config *config, struct wh_capture **capture,
						  struct wh_message *message);

/*
 * Creates the first file and starts the threads. When it returns WH_RESULT_OK, frames are being captured. On failure
 * nothing is left behind. Call it once.
 */
WH_API WH_MUST_USE enum wh_result wh_capture_start(struct wh_capture *capture, struct wh_message *message);

/* A descriptor that becomes readable when the capture has ended and all its files are closed. Owned by CAPTURE. */
WH_API int wh_capture_fd(const struct wh_capture *capture);

/* Asks a running capture to stop: everything that the kernel has accepted is still written. Returns at once. */
WH_API void wh_capture_stop(struct wh_capture *capture);

/* Asks for a new file now. Returns at once. */
WH_API void wh_capture_rotate(struct wh_capture *capture);

/*
 * Puts TEXT (UTF-8, 1 to 1000 bytes, no control characters) and the present time into the current file of each chain,
 * between the frames, as a systemd Journal Export Block, which Wireshark shows as a line of its own; and into the file
 * of marks beside the chain, whose name is the chain's stem with "_marks.txt". Classic pcap has the latter alone,
 * standard output and simulations the former. Any thread. A thread of the library's writes the file of marks, and is
 * waited for during a tenth of a second at most. WH_RESULT_OK: the mark is in the file of marks and, within a second,
 * in the capture; *MESSAGE is empty, or says that the disk is late: then both wait for it, and if the file of marks
 * cannot be written in the end, a warning is reported. WH_RESULT_USAGE: TEXT cannot be a mark, the capture does not
 * run, or neither place is there. WH_RESULT_ERROR: the file of marks cannot be written, as *MESSAGE says, and the mark
 * is in the capture alone; or 1000 marks wait for the disk already.
 */
WH_API WH_MUST_USE enum wh_result wh_capture_mark(struct wh_capture *capture, const char *text,
						  struct wh_message *message);

/*
 * Whether every thread of a running capture has come round its loop within the last WITHIN_MS, for a watchdog. A thread
 * that waits for frames comes round once a second; one that waits for a disk that hangs does not. The thread that
 * writes marks is left out: nothing of a capture waits for it. A capture that does not run is alive. Otherwise MESSAGE
 * names the first thread that has not, and for how long. Any thread; does not block.
 */
WH_API bool wh_capture_alive(struct wh_capture *capture, uint32_t within_ms, struct wh_message *message);

/* Waits until the capture has ended and says how; MESSAGE gets one line for a person. */
WH_API WH_MUST_USE enum wh_result wh_capture_wait(struct wh_capture *capture, struct wh_message *message);

/* Counters at this moment. Does not block; may be called until wh_capture_close(). */
WH_API void wh_capture_statistics(struct wh_capture *capture, struct wh_statistics *statistics);

/* Counters of adapter INDEX, 0 to interface_count - 1. Returns false when there is no such adapter. */
WH_API bool wh_capture_interface_statistics(struct wh_capture *capture, size_t index,
					    struct wh_interface_statistics *statistics);

/* Stops the capture if it is running, and gives back everything. NULL is allowed. */
WH_API void wh_capture_close(struct wh_capture *capture);

/* "signal", "duration", ...; "" for WH_STOP_NONE. */
WH_API const char *wh_stop_reason_name(enum wh_stop_reason reason);

/* "no-disk", "no-nic"; "" for WH_SIMULATE_NOTHING and for what is none of them. */
WH_API const char *wh_simulation_name(enum wh_simulation simulation);

/*
 * Lists the adapters of this network namespace. *ADAPTERS is an array of *COUNT, owned by the caller and released with
 * wh_adapters_free().
 */
WH_API WH_MUST_USE enum wh_result wh_adapters_list(struct wh_adapter **adapters, size_t *count,
						   struct wh_message *message);
WH_API void wh_adapters_free(struct wh_adapter *adapters);

/* ---- capture files that are there already ---- */

enum wh_file_health {
	WH_FILE_WHOLE = 0, /* every block well formed, every chunk there, the counters agree, closed in order */
	WH_FILE_OPEN,      /* the same up to its end, but it was not closed: a capture still runs, or was killed */
	WH_FILE_CUT,       /* ends within a block; whole up to there */
	WH_FILE_DAMAGED,   /* bytes in it are no blocks, or chunks are missing, or counters do not agree */
	WH_FILE_FOREIGN    /* neither pcapng nor classic pcap, or compressed */
};

/* What a file was found to hold. Chunks are wirehaul's own (docs/format.md); a file of another program has none. */
struct wh_file_check {
	enum wh_file_health health;
	char format[16];         /* "pcapng", "pcap", or empty */
	bool ours;               /* made by wirehaul: there are chunks */
	uint64_t bytes;          /* of the file */
	uint64_t readable_bytes; /* from its beginning, that any reader gets through */
	uint64_t frames;         /* that are whole, over all the file, also behind damage where there are chunks */
	uint64_t chunks;
	uint64_t chunks_missing; /* by their sequence numbers, between those that are there */
	uint64_t chunks_damaged; /* whose head is there and wrong, or whose content is not what it says */
	uint64_t session, first_chunk, last_chunk; /* where ours and chunks != 0 */
	uint64_t dropped;                          /* frames that the file says were lost, by the heads of its chunks */
	uint64_t first_ns, last_ns;                /* times of frames, since 1970; 0 where there is none */
	uint32_t interfaces;
	bool repaired;           /* wh_file_repair() made it; its notes of what is missing are counted here as well */
	uint64_t frames_missing; /* as far as the counters in the heads of its chunks tell: of chunks that are missing
				    or damaged, or between two that follow each other */
	char what[200];          /* one line for a person: the first thing that is wrong and where, or empty */
};

/* Reads all of PATH and says what it is. Never changes it. Memory does not grow with the file. WH_RESULT_USAGE with
 * *MESSAGE where PATH names no file that can be opened, or no ordinary one, WH_RESULT_ERROR where reading fails;
 * whatever its content, that is not an error. Any thread; blocks. */
WH_API WH_MUST_USE enum wh_result wh_file_verify(const char *path, struct wh_file_check *check,
						 struct wh_message *message);

/*
 * Writes to OUT, a new file, what can be saved of PATH, so that every reader gets through it: headers, each whole
 * chunk (found again at 4 KiB boundaries), and of a damaged chunk the whole records in front of the damage and behind
 * it; of another program's file those in front of it. PATH is never written to. OUT must not exist; it is complete or
 * not there at all. On a file system that knows no files without a name (O_TMPFILE) it is called .wirehaul-repair-PID-N
 * in OUT's directory until then, which stays if the process is killed. CHECK, if not NULL, describes OUT.
 * WH_RESULT_USAGE: PATH cannot be opened, nothing of it is a capture file, or OUT exists or its directory does not;
 * WH_RESULT_ERROR: reading or writing failed. Any thread; blocks.
 */
WH_API WH_MUST_USE enum wh_result wh_file_repair(const char *path, const char *out, struct wh_file_check *check,
						 struct wh_message *message);

/* "whole", "open", "cut", "damaged", "foreign". */
WH_API const char *wh_file_health_name(enum wh_file_health health);

/* ---- what will drop frames on this machine ---- */

enum wh_finding_kind { WH_FINDING_GOOD = 0, WH_FINDING_NOTE, WH_FINDING_BAD };

/* One thing that was looked at. */
struct wh_finding {
	enum wh_finding_kind kind;
	char subject[80]; /* "eth0: receive ring" */
	char text[400];   /* what was found and what it means for a capture */
	char remedy[400]; /* the exact command that mends it, or empty */
};

/*
 * Looks at what decides whether a capture with CONFIG (its interfaces and output; the rest as for a capture) loses
 * frames here: adapters, interrupts, memory, processors, file system, space, limits, privileges. With MEASURE it also
 * measures: made-up frames are written to the output's directory for some seconds and removed. Changes nothing.
 * *FINDINGS is an array of *COUNT, owned by the caller and released with wh_doctor_free(). Any thread; blocks for some
 * seconds, or where the disk does not answer for most of a minute: a finding says so then, and a thread of the
 * library's is left that waits for it and removes the files.
 */
WH_API WH_MUST_USE enum wh_result wh_doctor(const struct wh_config *config, bool measure, struct wh_finding **findings,
					    size_t *count, struct wh_message *message);
WH_API void wh_doctor_free(struct wh_finding *findings);

#ifdef __cplusplus
}
#endif
#endif
