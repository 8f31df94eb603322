/* SPDX-License-Identifier: BSD-3-Clause */
/* What writer.c (the thread) and the files of output.h (sources, files, stream, free space) share; nobody else.
 * Every field belongs to the writer's thread unless it says otherwise. */
#ifndef WH_WRITER_WRITER_STATE_H
#define WH_WRITER_WRITER_STATE_H

#include <pthread.h>

#include "ringbuf/pool.h"
#include "writer/closer.h"
#include "writer/sink.h"
#include "writer/space.h"
#include "writer/stream.h"
#include "writer/writer.h"

enum { WH_WRITER_JOBS = 64, WH_WRITER_BUFFERS = 4, WH_WRITER_FLUSHES = 16, WH_WRITER_TABLE = 4096 };

/* An interface of the chain's files; its id is its place in the table. */
struct wh_chain_interface {
	char name[64];
	uint16_t link_type;
	uint64_t speed_bits;
	uint8_t mac[6];
	bool has_mac;
	const _Atomic uint64_t *dropped_nic;
	uint64_t past_received; /* of inputs that have ended */
	uint64_t past_dropped;
};

/* A source that is or was attached; the place of one that has ended is used again. */
struct wh_input {
	struct wh_writer_source waiting; /* lock: attached, and not seen by the thread yet */
	bool idle;                       /* lock: the place is free */
	bool fresh;                      /* lock: there is one waiting */
	struct wh_writer_source source;
	bool active;           /* there is a source */
	bool ended;            /* its WH_CHUNK_END was popped */
	uint32_t outstanding;  /* chunks that have not been given back */
	uint64_t received;     /* as the last chunk that was taken told */
	uint64_t dropped;      /* the same, and what was discarded here */
	uint64_t discarded;    /* of these, discarded here */
	uint64_t lost_pending; /* lost after the last frame in the files; not told there yet */
	uint64_t spare_file;   /* where the last frame's spare option is: number of the file, 0: nowhere */
	uint64_t spare_offset;
	uint64_t spare_lost; /* what it says already */
	uint8_t patch[WH_SPARE_OPTION_BYTES];
};

/* Frames whose bytes are in the stream's writes that are out. */
struct wh_flush {
	uint32_t jobs;
	uint8_t *buffer; /* goes back to the pool with the last job, or NULL */
	bool failed;
	struct wh_stream_count counts[WH_STREAM_SOURCES];
	uint32_t count;
};

struct wh_job {
	struct wh_write write; /* first, so that a write is its job */
	struct wh_file *file;
	struct wh_chunk *chunk; /* a sealed chunk, or NULL */
	struct wh_flush *flush; /* a piece of the stream, or NULL */
	bool head;              /* of the flush: it holds no frames */
	uint8_t *buffer;        /* a header: the pool's buffer, or NULL */
	uint32_t open;          /* bytes at its end that are no whole record yet */
	struct wh_input *input; /* of the chunk */
	uint64_t queued_ns;
	struct wh_job *next_free;
};

/* Something could not be written, and is tried again (output_fault.c). */
struct wh_fault {
	uint64_t since_ns;        /* monotonic; 0: all is well */
	uint64_t next_ns;         /* when to try again */
	uint64_t pause_ns;        /* what the last wait was */
	uint64_t hurried_ns;      /* when somebody was first seen to wait for the end */
	bool of_write;            /* a write has failed, and none has succeeded since */
	bool of_place;            /* a file could not be made or grow, and none could since */
	struct wh_job *job;       /* the write to be tried again; NULL: it is a file that is to be made or to grow */
	char reason[560];         /* "cannot write to X: Input/output error" */
	char told[WH_MARK_BYTES]; /* what the file has yet to be told of one that is over, or empty */
};

/* A mark that has yet to be put into the file. */
struct wh_mark {
	struct wh_mark *next;
	uint64_t ns; /* since 1970 */
	char text[];
};

enum wh_writer_phase {
	WH_PHASE_TAKING = 0,
	WH_PHASE_SURPLUS,   /* stopped as asked: what still comes is not part of the capture */
	WH_PHASE_DISCARDING /* stopped for space or an error: what still comes is lost, and counted so */
};

struct wh_writer {
	struct wh_writer_config config;
	struct wh_chain_name name;
	bool to_stream; /* standard output */
	bool pcapng;
	const struct wh_file_ops *file_ops; /* of its files, on a disk or nowhere */
	struct wh_sink *sink;
	struct wh_pool pool;
	uint32_t buffer_bytes; /* of the pool's buffers, without the stage */
	int directory_fd;      /* -1: there is no file system to watch */
	pthread_t thread;
	bool started;

	struct wh_input **inputs;              /* WH_WRITER_TABLE places; an entry is made once and stays */
	uint32_t input_count;                  /* places in use as the thread knows them */
	uint32_t input_first;                  /* the one to begin the next round with */
	uint32_t attached_count;               /* lock: places in use */
	struct wh_chain_interface *interfaces; /* WH_WRITER_TABLE places; an entry is written once, under the lock */
	uint32_t interface_count;              /* lock */
	uint32_t interfaces_told;              /* those that the present file knows */
	uint32_t interfaces_seen;              /* those that the thread knows */

	struct wh_job jobs[WH_WRITER_JOBS];
	struct wh_job *free_jobs;
	uint32_t jobs_out;
	struct wh_flush flushes[WH_WRITER_FLUSHES];

	struct wh_closer *closer;
	struct wh_chain_state chain;
	struct wh_file *file;     /* the present one, or NULL */
	uint64_t file_number;     /* of the last file begun */
	uint64_t file_bytes_last; /* length of the last file ended */
	bool rotate_asked;        /* somebody wants a new file */
	bool direct_seen;         /* a file was written directly */
	bool direct_told;         /* of what became of direct writes, once is enough */
	uint64_t behind_told_ns;  /* when it was last told that closed files wait for the disk */
	struct wh_stream stream;
	uint32_t stream_flushes;   /* of the present stretch, out */
	uint64_t stream_oldest_ns; /* when the oldest byte not flushed was put in */
	uint64_t sequence;         /* of the next chunk */
	uint64_t stream_sequence;  /* of the present stretch */
	uint64_t frames_taken;
	uint64_t start_wall_ns;

	enum wh_writer_phase phase;
	bool failed; /* writing was given up: nothing more can be put into the file */
	struct wh_fault fault;
	struct wh_chunk *held; /* popped, and without a place for the time of a fault; or NULL */
	struct wh_input *held_input;
	const struct wh_mark *mark_now; /* the one that is being put */

	pthread_mutex_t lock;
	bool mail_rotate, mail_finish, mail_space, mail_gone; /* lock */
	struct wh_mark *first_mark, *last_mark;               /* lock */
	uint32_t mark_count;                                  /* lock */
	char current_file[WH_PATH_BYTES];                     /* lock */
	double free_percent;                                  /* lock */
	uint64_t free_bytes_to_limit;                         /* lock */
	_Atomic bool mail;                                    /* something is in the mail */
	_Atomic bool sleeping;                                /* see wh_writer_wake() */
	_Atomic uint64_t bytes_on_disk, bytes_copied, files, latency_max_ns, latency_ns;
	_Atomic uint64_t write_counts[WH_WRITER_LATENCIES], write_errors, last_frame_ns;
	_Atomic uint64_t beat_ns;    /* monotonic; when the thread last came round */
	_Atomic uint64_t waiting_ns; /* since when writes to files are out and none comes back; 0: none is out */
	_Atomic uint64_t files_deleted, files_left; /* written by whoever deletes */
};

#endif
