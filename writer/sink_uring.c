/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ringbuf/chunk.h"
#include "ringbuf/clock.h"
#include "writer/sink.h"

/*
 * The order that sink.h promises comes from linked submissions (io_uring_enter(2), IOSQE_IO_LINK): the kernel begins
 * one when the one before it has been carried out in full, and cancels the rest of the chain otherwise. A new chain is
 * submitted when the last one has come back whole.
 */
enum { CHAIN_MOST = 16, ENTRIES = 64 };

/*
 * Writes that follow each other in memory and in the file go to the kernel as one. The chunks of a ring do when they
 * are dense, since each then fills its block. What a write costs beside the transfer (a worker woken, the file's size
 * kept in step, the device told) is spread over as many of them. But they come back as one, too: never more than a part
 * of the ring.
 */
enum { JOINED_MOST = 16 * 1024 * 1024, JOINED_PART = 4 };

struct uring {
	struct wh_sink sink;
	struct io_uring ring;
	struct wh_write_queue queued;
	struct wh_write_queue chain; /* with the kernel, or to be queued again when the chain is back */
	uint32_t chain_out;          /* completions of the chain that are still to come */
	struct wh_write_queue back;
	bool halted;
	bool discarding; /* what of the chain has not been carried out when it is back was taken back */
	bool table;      /* the kernel has a table of registered buffers */
	bool wake_armed;
	bool woken; /* wake() was called and has not ended a sleep yet */
	int wake_fd;
	uint32_t joined_most[WH_SINK_BUFFER_SLOTS]; /* bytes of a write from this registered buffer; 0: there is none */
};

static void uring_queue(struct wh_sink *sink, struct wh_write *write)
{
	struct uring *uring = (struct uring *)sink;
	write->done = 0;
	write->os_error = 0;
	wh_write_queue_append(&uring->queued, write);
}

static void uring_retry(struct wh_sink *sink, struct wh_write *write)
{
	struct uring *uring = (struct uring *)sink;
	write->os_error = 0;
	/* What was linked to it may not have been cancelled yet; it stays behind. */
	wh_write_queue_prepend(uring->chain.first != NULL ? &uring->chain : &uring->queued, write);
	uring->halted = false;
}

/* Whether NEXT goes on where WRITE ends, in the same registered buffer and the same file. */
static bool goes_on(const struct wh_write *write, const struct wh_write *next)
{
	return next != NULL && next->done == 0 && next->fd == write->fd && next->buffer == write->buffer &&
	       next->base == write->base + write->length && next->offset == write->offset + write->length;
}

static void chain_start(struct uring *uring)
{
	if (uring->halted || uring->chain.first != NULL)
		return;
	struct io_uring_sqe *entry = NULL;
	while (uring->queued.first != NULL && uring->chain_out < CHAIN_MOST) {
		struct wh_write *write = wh_write_queue_take(&uring->queued);
		wh_write_queue_append(&uring->chain, write);
		entry = io_uring_get_sqe(&uring->ring);
		const uint8_t *at = write->base + write->done;
		uint32_t bytes = write->length - write->done;
		uint64_t offset = write->offset + write->done;
		if (write->buffer != WH_BUFFER_NONE && uring->joined_most[write->buffer] != 0) {
			const struct wh_write *last = write;
			while (goes_on(last, uring->queued.first) &&
			       bytes + uring->queued.first->length <= uring->joined_most[write->buffer]) {
				last = uring->queued.first;
				bytes += last->length;
				wh_write_queue_append(&uring->chain, wh_write_queue_take(&uring->queued));
			}
			io_uring_prep_write_fixed(entry, write->fd, at, bytes, offset, write->buffer);
			/* A write of this kind makes its file longer, for which file systems want to wait: asking them
			 * first whether they could do without is time lost. */
			entry->flags |= IOSQE_ASYNC;
		} else {
			io_uring_prep_write(entry, write->fd, at, bytes, offset);
		}
		entry->flags |= IOSQE_IO_LINK;
		io_uring_sqe_set_data(entry, write);
		uring->chain_out++;
	}
	if (entry != NULL)
		entry->flags &= (uint8_t)~IOSQE_IO_LINK;
}

/* What came back for WRITE and those that were joined to it. */
static void write_came_back(struct uring *uring, struct wh_write *write, int result)
{
	uring->chain_out--;
	if (result > 0) {
		uint32_t bytes = (uint32_t)result;
		for (; write != NULL && bytes > 0; write = write->next) {
			uint32_t rest = write->length - write->done;
			uint32_t part = bytes < rest ? bytes : rest;
			write->done += part;
			bytes -= part;
		}
	} else if (result == 0)
		write->os_error = EIO;
	else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN)
		write->os_error = -result;
}

/* Hands back what is finished at the front of the chain. When the whole chain is back, what is left of it (behind a
 * short or failed write) is queued again, in order. */
static void chain_collect(struct uring *uring)
{
	struct wh_write *write;
	while ((write = uring->chain.first) != NULL && (write->os_error != 0 || write->done == write->length)) {
		wh_write_queue_take(&uring->chain);
		uring->halted |= write->os_error != 0;
		wh_write_queue_append(&uring->back, write);
	}
	if (uring->chain_out != 0)
		return;
	while (uring->discarding && (write = wh_write_queue_take(&uring->chain)) != NULL) {
		write->os_error = ECANCELED;
		wh_write_queue_append(&uring->back, write);
	}
	uring->discarding = false;
	if (uring->chain.first == NULL)
		return;
	uring->chain.last->next = uring->queued.first;
	if (uring->queued.last == NULL)
		uring->queued.last = uring->chain.last;
	uring->queued.first = uring->chain.first;
	uring->chain = (struct wh_write_queue){ 0 };
}

static void wake_arm(struct uring *uring)
{
	struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
	io_uring_prep_poll_multishot(entry, uring->wake_fd, POLLIN);
	io_uring_sqe_set_data(entry, NULL);
	uring->wake_armed = true;
}

/* Takes all completions that are there. Returns whether there was one. */
static bool completions_take(struct uring *uring)
{
	struct io_uring_cqe *completion;
	unsigned head;
	unsigned count = 0;
	io_uring_for_each_cqe(&uring->ring, head, completion)
	{
		struct wh_write *write = io_uring_cqe_get_data(completion);
		if (write != NULL) {
			write_came_back(uring, write, completion->res);
		} else {
			uint64_t woken;
			ssize_t ignored = read(uring->wake_fd, &woken, sizeof(woken));
			(void)ignored;
			uring->woken = true;
			uring->wake_armed = (completion->flags & IORING_CQE_F_MORE) != 0;
		}
		count++;
	}
	io_uring_cq_advance(&uring->ring, count);
	if (count > 0)
		chain_collect(uring);
	return count > 0;
}

static struct wh_write *uring_reap(struct wh_sink *sink, uint64_t wait_ns)
{
	struct uring *uring = (struct uring *)sink;
	completions_take(uring);
	if (!uring->wake_armed)
		wake_arm(uring);
	chain_start(uring);
	bool wait_wanted = wait_ns > 0 && uring->back.first == NULL;
	if (wait_wanted && !uring->woken) {
		struct __kernel_timespec wait = { .tv_sec = (long long)(wait_ns / WH_NS_PER_SECOND),
						  .tv_nsec = (long long)(wait_ns % WH_NS_PER_SECOND) };
		struct io_uring_cqe *completion;
		/* EINTR, ETIME and EAGAIN all mean: look at what is there, and come again. */
		int ignored = io_uring_submit_and_wait_timeout(&uring->ring, &completion, 1, &wait, NULL);
		(void)ignored;
	} else if (io_uring_sq_ready(&uring->ring) > 0) {
		int ignored = io_uring_submit(&uring->ring);
		(void)ignored;
	}
	bool came = completions_take(uring);
	if (wait_wanted)
		uring->woken = false;
	if (came) {
		/* Keep the disk busy while the caller deals with what came back. */
		chain_start(uring);
		if (io_uring_sq_ready(&uring->ring) > 0) {
			int ignored = io_uring_submit(&uring->ring);
			(void)ignored;
		}
	}
	return wh_write_queue_take_all(&uring->back);
}

static void uring_discard(struct wh_sink *sink)
{
	struct uring *uring = (struct uring *)sink;
	struct wh_write *write;
	/* While a chain is with the kernel, what stands behind it shares its end, so that all comes back in order. */
	uring->discarding = uring->chain.first != NULL;
	while ((write = wh_write_queue_take(&uring->queued)) != NULL) {
		write->os_error = uring->discarding ? 0 : ECANCELED;
		wh_write_queue_append(uring->discarding ? &uring->chain : &uring->back, write);
	}
	uring->halted = false;
}

static bool uring_register_buffer(struct wh_sink *sink, int slot, void *base, uint64_t length)
{
	struct uring *uring = (struct uring *)sink;
	if (!uring->table || slot < 0 || slot >= WH_SINK_BUFFER_SLOTS || (length == 0 && uring->joined_most[slot] == 0))
		return false;
	struct iovec buffer = { .iov_base = length != 0 ? base : NULL, .iov_len = length };
	__u64 tag = 0;
	int result = io_uring_register_buffers_update_tag(&uring->ring, (unsigned)slot, &buffer, &tag, 1);
	uint64_t part = length / JOINED_PART;
	uring->joined_most[slot] = result != 1 ? 0 : part < JOINED_MOST ? (uint32_t)part : JOINED_MOST;
	return result == 1;
}

static void uring_wake(struct wh_sink *sink)
{
	struct uring *uring = (struct uring *)sink;
	const uint64_t one = 1;
	ssize_t ignored = write(uring->wake_fd, &one, sizeof(one));
	(void)ignored;
}

static void uring_close(struct wh_sink *sink)
{
	struct uring *uring = (struct uring *)sink;
	io_uring_queue_exit(&uring->ring);
	close(uring->wake_fd);
	free(uring);
}

static const struct wh_sink_ops uring_ops = {
	.name = "io_uring",
	.queue = uring_queue,
	.retry = uring_retry,
	.reap = uring_reap,
	.discard = uring_discard,
	.register_buffer = uring_register_buffer,
	.wake = uring_wake,
	.close = uring_close,
};

enum wh_status wh_sink_uring_open(struct wh_sink **sink, struct wh_error *error)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	if (uring == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	uring->sink.ops = &uring_ops;
	/* COOP_TASKRUN (5.19): this thread asks for completions anyway, it need not be interrupted for them. */
	int result = io_uring_queue_init(ENTRIES, &uring->ring, IORING_SETUP_COOP_TASKRUN);
	if (result == -EINVAL)
		result = io_uring_queue_init(ENTRIES, &uring->ring, 0);
	if (result < 0) {
		free(uring);
		return wh_error_system(error, -result, "the kernel refuses io_uring");
	}
	uring->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (uring->wake_fd < 0) {
		int reason = errno;
		io_uring_queue_exit(&uring->ring);
		free(uring);
		return wh_error_system(error, reason, "cannot make an eventfd");
	}
	uring->table = io_uring_register_buffers_sparse(&uring->ring, WH_SINK_BUFFER_SLOTS) == 0;
	*sink = &uring->sink;
	return WH_OK;
}
