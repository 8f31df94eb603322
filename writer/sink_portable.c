/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ringbuf/clock.h"
#include "writer/sink.h"

enum { ROOM_STEP_MS = 100, GIVE_UP_MS = 1000 };

struct portable {
	struct wh_sink sink;
	struct wh_write_queue queued;
	struct wh_write_queue back;
	bool halted;
	int wake_fd;
	int stream_of;      /* the descriptor that the rest is about, -1: none yet */
	int stream_fd;      /* where its bytes go: itself, or the same pipe, opened again */
	size_t stream_most; /* bytes of one write; SIZE_MAX: any number */
	bool given_up;      /* its reader was waited for in vain: nothing more goes there */
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

static void stream_release(struct portable *portable)
{
	if (portable->stream_fd != portable->stream_of)
		close(portable->stream_fd);
}

/*
 * Makes sure that no write to FD can hold the thread in the kernel, where nothing could tell it to give up. A pipe is
 * opened again as a non-blocking one; those who share the descriptor that we were given see no change in it. Standard
 * output only: another pipe may have to end before this sink does. Where that cannot be had, so little is written at a
 * time that there is room for it when poll(2) says that there is any.
 */
static void stream_take(struct portable *portable, int fd)
{
	if (portable->stream_of == fd)
		return;
	stream_release(portable);
	portable->stream_of = portable->stream_fd = fd;
	portable->stream_most = PIPE_BUF;
	struct stat about;
	if (fstat(fd, &about) != 0)
		return;
	int again = -1;
	if (S_ISFIFO(about.st_mode) && fd == STDOUT_FILENO)
		again = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (again >= 0)
		portable->stream_fd = again;
	if (again >= 0 || S_ISREG(about.st_mode) || S_ISBLK(about.st_mode))
		portable->stream_most = SIZE_MAX;
}

/* Waits until FD takes bytes or has an error to tell. False: that was given up, as the sink is hurried. */
static bool room_wait(struct portable *portable, int fd)
{
	for (int waited_ms = 0; waited_ms < GIVE_UP_MS;) {
		bool hurried = atomic_load_explicit(&portable->sink.hurried, memory_order_relaxed);
		struct pollfd event = { .fd = fd, .events = POLLOUT };
		if (poll(&event, 1, ROOM_STEP_MS) > 0)
			return true;
		if (hurried)
			waited_ms += ROOM_STEP_MS;
	}
	portable->given_up = true;
	return false;
}

static int carry_out(struct portable *portable, struct wh_write *job)
{
	bool stream = job->offset == WH_OFFSET_STREAM;
	if (stream && portable->given_up)
		return ECANCELED;
	if (stream)
		stream_take(portable, job->fd);
	int fd = stream ? portable->stream_fd : job->fd;
	size_t most = stream ? portable->stream_most : SIZE_MAX;
	while (job->done < job->length) {
		const uint8_t *at = job->base + job->done;
		size_t rest = job->length - job->done;
		if (rest > most)
			rest = most;
		if (most != SIZE_MAX && !room_wait(portable, fd))
			return ETIMEDOUT;
		ssize_t count = stream ? write(fd, at, rest) : pwrite(fd, at, rest, (off_t)(job->offset + job->done));
		if (count < 0 && errno == EINTR)
			continue;
		/* Ours, or made so by whoever started us. */
		if (count < 0 && errno == EAGAIN) {
			if (!room_wait(portable, fd))
				return ETIMEDOUT;
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
		write->os_error = carry_out(portable, write);
		portable->halted = write->os_error != 0 && write->os_error != ECANCELED;
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
	stream_release(portable);
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
	portable->stream_of = portable->stream_fd = -1;
	portable->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (portable->wake_fd < 0) {
		int reason = errno;
		free(portable);
		return wh_error_system(error, reason, "cannot make an eventfd");
	}
	*sink = &portable->sink;
	return WH_OK;
}
