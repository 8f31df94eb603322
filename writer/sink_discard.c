/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ringbuf/clock.h"
#include "writer/sink.h"

struct discard {
	struct wh_sink sink;
	struct wh_write_queue back;
	int wake_fd;
};

static void discard_queue(struct wh_sink *sink, struct wh_write *write)
{
	struct discard *discard = (struct discard *)sink;
	write->done = write->length;
	write->os_error = 0;
	wh_write_queue_append(&discard->back, write);
}

static struct wh_write *discard_reap(struct wh_sink *sink, uint64_t wait_ns)
{
	struct discard *discard = (struct discard *)sink;
	if (discard->back.first == NULL && wait_ns > 0) {
		struct pollfd event = { .fd = discard->wake_fd, .events = POLLIN };
		struct timespec wait = { .tv_sec = (time_t)(wait_ns / WH_NS_PER_SECOND),
					 .tv_nsec = (long)(wait_ns % WH_NS_PER_SECOND) };
		if (ppoll(&event, 1, &wait, NULL) == 1) {
			uint64_t count;
			ssize_t ignored = read(discard->wake_fd, &count, sizeof(count));
			(void)ignored;
		}
	}
	return wh_write_queue_take_all(&discard->back);
}

/* All that was queued has been carried out. */
static void discard_discard(struct wh_sink *sink)
{
	(void)sink;
}

static bool discard_register_buffer(struct wh_sink *sink, int slot, void *base, uint64_t length)
{
	(void)sink, (void)slot, (void)base, (void)length;
	return false;
}

static void discard_wake(struct wh_sink *sink)
{
	struct discard *discard = (struct discard *)sink;
	const uint64_t one = 1;
	/* Cannot fail but for a counter that is full, which wakes as well. */
	ssize_t ignored = write(discard->wake_fd, &one, sizeof(one));
	(void)ignored;
}

static void discard_close(struct wh_sink *sink)
{
	struct discard *discard = (struct discard *)sink;
	close(discard->wake_fd);
	free(discard);
}

static const struct wh_sink_ops discard_ops = {
	.name = "discard",
	.queue = discard_queue,
	.retry = discard_queue, /* nothing fails, so that nobody calls it */
	.reap = discard_reap,
	.discard = discard_discard,
	.register_buffer = discard_register_buffer,
	.wake = discard_wake,
	.close = discard_close,
};

enum wh_status wh_sink_discard_open(struct wh_sink **sink, struct wh_error *error)
{
	struct discard *discard = calloc(1, sizeof(*discard));
	if (discard == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	discard->sink.ops = &discard_ops;
	discard->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (discard->wake_fd < 0) {
		int reason = errno;
		free(discard);
		return wh_error_system(error, reason, "cannot make an eventfd");
	}
	*sink = &discard->sink;
	return WH_OK;
}
