/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A capture thread: it waits for blocks of its source, turns each into a chunk where it lies, and pushes it to its
 * writer. Nothing in it allocates, logs, locks or makes a system call per frame.
 */
#ifndef WH_ENGINE_CAPTURE_H
#define WH_ENGINE_CAPTURE_H

#include <pthread.h>

#include "engine/source.h"
#include "engine/topology.h"
#include "ringbuf/spsc.h"
#include "writer/format_pcapng.h"
#include "writer/writer.h"

/* Written by the capture thread, relaxed but for dropped: whoever reads that first, with acquire, and then received,
 * never sees a frame dropped that was not received. Read by any. */
struct wh_capture_counters {
	alignas(WH_CACHE_LINE) _Atomic uint64_t received; /* by the kernel, drops included */
	_Atomic uint64_t dropped;                         /* by the ring */
	_Atomic uint32_t fill_permille;                   /* blocks that are not the kernel's, at the last look */
	_Atomic uint32_t fill_max_permille;
	_Atomic uint64_t beat_ns; /* monotonic; when the thread last came round */
};

struct wh_capture_thread {
	struct wh_capture_counters counters;
	struct wh_writer_counters written;                /* the writer's side of the account */
	alignas(WH_CACHE_LINE) _Atomic uint32_t released; /* chunks ever given back; writer's thread */

	alignas(WH_CACHE_LINE) struct wh_source *source;
	struct wh_writer *writer;
	enum wh_writer_format format;
	struct wh_encoding encoding;
	struct wh_spsc ring;
	struct wh_chunk *chunks; /* one for each block */
	struct wh_chunk end;     /* the last one pushed */
	int buffer;
	uint32_t pushed;            /* chunks ever pushed */
	uint32_t announced;         /* of these, those that the writer was woken for */
	uint64_t announce_due_ns;   /* when the others must be announced, monotonic */
	bool run_waits;             /* there is a run among them */
	uint64_t looked_ns;         /* when the thread last looked for blocks, monotonic */
	uint64_t frames_seen;       /* in blocks */
	uint64_t received, dropped; /* as the source told */
	uint64_t pending_lost;      /* dropped, and not told in a chunk yet */
	uint64_t block_timeout_ns;
	_Atomic bool stopping; /* set by wh_capture_thread_stop() */

	const struct wh_topology *topology;
	int cpu; /* to be pinned to, -1: none */
	char name[16];
	pthread_t thread;
	bool started;
};

/* Makes *CAPTURE for SOURCE, which it owns from now on (also when this fails). Fields that the caller has yet to set:
 * writer, format, encoding, buffer, block_timeout_ns, topology, cpu, name. */
WH_MUST_CHECK enum wh_status wh_capture_thread_open(struct wh_source *source, struct wh_capture_thread **capture,
						    struct wh_error *error);

/* Starts the thread. The source must have been attached to the writer. */
WH_MUST_CHECK enum wh_status wh_capture_thread_start(struct wh_capture_thread *capture, struct wh_error *error);

/* Asks the thread to let no more frames in, push what it has and its WH_CHUNK_END, and end; for a thread that was never
 * started, pushes the WH_CHUNK_END itself. Call it once. Any thread; returns at once. */
void wh_capture_thread_stop(struct wh_capture_thread *capture);

/* Joins the thread, if it was started, and gives everything back. The writer must have told that the source has ended.
 * NULL is allowed. */
void wh_capture_thread_close(struct wh_capture_thread *capture);

#endif
