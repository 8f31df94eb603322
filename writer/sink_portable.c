/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ringbuf/clock.h"
#include "writer/sink.h"

struct portable {
	struct wh_sink sink;
	struct wh_write_queue queued;
	struct wh_write_queue back;
	bool halted;
	int wake_fd;
};

static void portable_queue(struct wh_sink *sink, struct wh_write *write)
{
	struct portable *portable = (struct portable *)sink;
	write->done = 0;
	write->os_error = 0;
	wh_write_queue_append(&portable->queued, write);
}

static void portable_retry(struct wh_sink *sink, struct wh_write *write)
{
	struct portable *portable = (struct portable *)sink;
	write->os_error = 0;
	wh_write_queue_prepend(&portable->queued, write);
	portable->halted = false;
}

/* Whoever started us may have made the descriptor non-blocking; then this waits in write(2)'s place. */
static void room_wait(int fd)
{
	struct pollfd event = { .fd = fd, .events = POLLOUT };
	poll(&event, 1, -1);
}

static int carry_out(struct wh_write *job)
{
	while (job->done < job->length) {
		const uint8_t *at = job->base + job->done;
		size_t rest = job->length - job->done;
		ssize_t count = job->offset == WH_OFFSET_STREAM
				    ? write(job->fd, at, rest)
				    : pwrite(job->fd, at, rest, (off_t)(job->offset + job->done));
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 && errno == EAGAIN) {
			room_wait(job->fd);
			continue;
		}
		if (count < 0)
			return errno;
		if (count == 0)
			return EIO;
		job->done += (uint32_t)count;
	}
	return 0;
}

static struct wh_write *portable_reap(struct wh_sink *sink, uint64_t wait_ns)
{
	struct portable *portable = (struct portable *)sink;
	while (!portable->halted && portable->queued.first != NULL) {
		struct wh_write *write = wh_write_queue_take(&portable->queued);
		write->os_error = carry_out(write);
		portable->halted = write->os_error != 0;
		wh_write_queue_append(&portable->back, write);
	}
	if (portable->back.first == NULL && wait_ns > 0) {
		struct pollfd event = { .fd = portable->wake_fd, .events = POLLIN };
		struct timespec wait = { .tv_sec = (time_t)(wait_ns / WH_NS_PER_SECOND),
					 .tv_nsec = (long)(wait_ns % WH_NS_PER_SECOND) };
		uint64_t count;
		if (ppoll(&event, 1, &wait, NULL) == 1 && read(portable->wake_fd, &count, sizeof(count)) < 0)
			return NULL;
	}
	return wh_write_queue_take_all(&portable->back);
}

static void portable_discard(struct wh_sink *sink)
{
	struct portable *portable = (struct portable *)sink;
	struct wh_write *write;
	while ((write = wh_write_queue_take(&portable->queued)) != NULL) {
		write->os_error = ECANCELED;
		wh_write_queue_append(&portable->back, write);
	}
	portable->halted = false;
}

static bool portable_register_buffer(struct wh_sink *sink, int slot, void *base, uint64_t length)
{
	(void)sink, (void)slot, (void)base, (void)length;
	return false;
}

static void portable_wake(struct wh_sink *sink)
{
	struct portable *portable = (struct portable *)sink;
	const uint64_t one = 1;
	/* Cannot fail but for a counter that is full, which wakes as well. */
	ssize_t ignored = write(portable->wake_fd, &one, sizeof(one));
	(void)ignored;
}

static void portable_close(struct wh_sink *sink)
{
	struct portable *portable = (struct portable *)sink;
	close(portable->wake_fd);
	free(portable);
}

static const struct wh_sink_ops portable_ops = {
	.name = "pwrite",
	.queue = portable_queue,
	.retry = portable_retry,
	.reap = portable_reap,
	.discard = portable_discard,
	.register_buffer = portable_register_buffer,
	.wake = portable_wake,
	.close = portable_close,
};

enum wh_status wh_sink_portable_open(struct wh_sink **sink, struct wh_error *error)
{
	struct portable *portable = calloc(1, sizeof(*portable));
	if (portable == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	portable->sink.ops = &portable_ops;
	portable->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (portable->wake_fd < 0) {
		int reason = errno;
		free(portable);
		return wh_error_system(error, reason, "cannot make an eventfd");
	}
	*sink = &portable->sink;
	return WH_OK;
}
