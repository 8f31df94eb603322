/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seam between the writer and the way bytes get to disk.
 *
 * A sink carries out writes in the order in which they were queued: one is begun only when those before it are
 * complete, or together with them where it goes on in the file where they end. So a file never has a
 * hole, whatever ends the process, and a file system that extends files under a lock loses nothing by it. A short write
 * is carried on with inside the sink; a write comes back when it is complete or has failed.
 *
 * Threads: everything belongs to the writer's thread (before it starts, to the thread that opened the sink), but
 * wake() and the flag hurried, which any thread may call or set.
 */
#ifndef WH_WRITER_SINK_H
#define WH_WRITER_SINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ringbuf/status.h"

#define WH_OFFSET_STREAM UINT64_MAX /* not a file: write where the descriptor stands */

/* One write. The writer owns the struct and its bytes must stay as they are until it comes back. */
struct wh_write {
	int fd;
	const uint8_t *base;
	uint32_t length;       /* bytes */
	uint64_t offset;       /* in the file, or WH_OFFSET_STREAM */
	int buffer;            /* registered buffer that base lies in, or WH_BUFFER_NONE */
	uint32_t done;         /* sink: bytes written so far */
	int os_error;          /* result: 0 or an errno; ECANCELED where discard() took it back */
	struct wh_write *next; /* sink: its queue; in a list of results, the next one */
};

struct wh_sink;

struct wh_sink_ops {
	const char *name;
	/* Queues WRITE behind the others. */
	void (*queue)(struct wh_sink *sink, struct wh_write *write);
	/* Puts WRITE, which came back with an error, before the others and goes on after the halt. What was done of it
	 * stays done. */
	void (*retry)(struct wh_sink *sink, struct wh_write *write);
	/*
	 * Starts what is queued and returns the writes that have come back, in order, as a list. With WAIT_NS > 0 and
	 * nothing to return, sleeps until a write comes back, wake() is called or WAIT_NS have passed. After a write
	 * has failed the sink halts: nothing more is started until retry() or discard().
	 */
	struct wh_write *(*reap)(struct wh_sink *sink, uint64_t wait_ns);
	/* Takes back all that is queued and not begun: it comes back with ECANCELED from the next reap(). */
	void (*discard)(struct wh_sink *sink);
	/* Makes LENGTH bytes at BASE known as registered buffer SLOT; false where that cannot be had (the writes then
	 * go without). LENGTH 0 takes the slot back. */
	bool (*register_buffer)(struct wh_sink *sink, int slot, void *base, uint64_t length);
	/* Ends a sleep in reap(), now or the next time. Any thread, any number of times. */
	void (*wake)(struct wh_sink *sink);
	/* No write may be queued any more. */
	void (*close)(struct wh_sink *sink);
};

struct wh_sink {
	const struct wh_sink_ops *ops;
	/* The end was asked for: a stream whose reader takes nothing for a second is given up (ETIMEDOUT, and ECANCELED
	 * for what is queued later), where it would be waited for without end otherwise. Any thread, relaxed; never
	 * taken back. */
	_Atomic bool hurried;
};

enum { WH_SINK_BUFFER_SLOTS = 1024 };

/* io_uring (liburing). WH_ERR_SYSTEM or WH_ERR_PERMISSION where the kernel does not offer it or forbids it; the
 * portable sink then serves. */
WH_MUST_CHECK enum wh_status wh_sink_uring_open(struct wh_sink **sink, struct wh_error *error);

/* pwrite(2), one after the other in the writer's thread; write(2) for WH_OFFSET_STREAM. */
WH_MUST_CHECK enum wh_status wh_sink_portable_open(struct wh_sink **sink, struct wh_error *error);

/* Nowhere: each write is complete as soon as it is queued, its bytes and its descriptor are not looked at, nothing
 * fails. For a simulation without a disk; the files then are those of wh_file_discard_ops. */
WH_MUST_CHECK enum wh_status wh_sink_discard_open(struct wh_sink **sink, struct wh_error *error);

/* A queue of writes, first in, first out; the sinks share it. */
struct wh_write_queue {
	struct wh_write *first, *last;
};

static inline void wh_write_queue_append(struct wh_write_queue *queue, struct wh_write *write)
{
	write->next = NULL;
	if (queue->last != NULL)
		queue->last->next = write;
	else
		queue->first = write;
	queue->last = write;
}

static inline void wh_write_queue_prepend(struct wh_write_queue *queue, struct wh_write *write)
{
	write->next = queue->first;
	queue->first = write;
	if (queue->last == NULL)
		queue->last = write;
}

static inline struct wh_write *wh_write_queue_take(struct wh_write_queue *queue)
{
	struct wh_write *write = queue->first;
	if (write != NULL) {
		queue->first = write->next;
		if (queue->first == NULL)
			queue->last = NULL;
		write->next = NULL;
	}
	return write;
}

/* Takes all, as a list. */
static inline struct wh_write *wh_write_queue_take_all(struct wh_write_queue *queue)
{
	struct wh_write *list = queue->first;
	*queue = (struct wh_write_queue){ 0 };
	return list;
}

#endif
