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
 * Writes of one registered buffer that follow each other in the file go to the kernel as one. Dense chunks of a ring
 * follow each other in memory, too, since each fills its block; for others it needs a kernel that takes several pieces
 * of a registered buffer (6.15). What a write costs beside the transfer (a worker woken, the file's size kept in step,
 * the device told) is spread over as many of them. But they come back as one, too: never more than a part of the ring.
 */
enum { JOINED_MOST = 16 * 1024 * 1024, JOINED_PART = 4, PIECES = 128 };

/* include/uapi/linux/io_uring.h of Linux 6.15; older headers do not know it. */
enum { OP_WRITEV_FIXED = 61 };

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
	bool in_pieces;  /* and takes several pieces of one in a write */
	bool wake_armed;
	bool woken; /* wake() was called and has not ended a sleep yet */
	int wake_fd;
	struct iovec pieces[PIECES];                /* of the chain's writes, until they are submitted */
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

/* Whether NEXT goes on where WRITE ends, in the same file and from the same registered buffer. */
static bool goes_on(const struct wh_write *write, const struct wh_write *next)
{
	return next != NULL && next->done == 0 && next->fd == write->fd && next->buffer == write->buffer &&
	       next->offset == write->offset + write->length;
}

/* One write of what is left of WRITE, which heads the chain's last ones, and of those behind it in the queue that it
 * can be joined with, which become part of the chain. PIECES_USED are taken by the chain's other writes. */
static void joined_prepare(struct uring *uring, struct io_uring_sqe *entry, struct wh_write *write,
			   uint32_t *pieces_used)
{
	struct iovec *pieces = &uring->pieces[*pieces_used];
	uint32_t most = uring->in_pieces ? PIECES - *pieces_used : 1;
	uint32_t count = 1;
	uint32_t bytes = write->length - write->done;
	uint64_t offset = write->offset + write->done;
	pieces[0] = (struct iovec){ .iov_base = (void *)(write->base + write->done), .iov_len = bytes };
	const struct wh_write *last = write;
	struct wh_write *next;
	while (goes_on(last, next = uring->queued.first) && bytes + next->length <= uring->joined_most[write->buffer]) {
		if (next->base == last->base + last->length)
			pieces[count - 1].iov_len += next->length;
		else if (count < most)
			pieces[count++] = (struct iovec){ .iov_base = (void *)next->base, .iov_len = next->length };
		else
			break;
		bytes += next->length;
		last = next;
		wh_write_queue_append(&uring->chain, wh_write_queue_take(&uring->queued));
	}
	if (count == 1) {
		io_uring_prep_write_fixed(entry, write->fd, pieces[0].iov_base, bytes, offset, write->buffer);
	} else {
		io_uring_prep_rw(OP_WRITEV_FIXED, entry, write->fd, pieces, count, offset);
		entry->buf_index = (uint16_t)write->buffer;
		*pieces_used += count;
	}
	/* A write of this kind makes its file longer, for which file systems want to wait: asking them first whether
	 * they could do without is time lost. */
	entry->flags |= IOSQE_ASYNC;
}

static void chain_collect(struct uring *uring);

static void chain_start(struct uring *uring)
{
	if (uring->halted || uring->chain.first != NULL)
		return;
	struct io_uring_sqe *entry = NULL;
	uint32_t pieces_used = 0;
	while (uring->queued.first != NULL && uring->chain_out < CHAIN_MOST && pieces_used < PIECES) {
		struct wh_write *write = wh_write_queue_take(&uring->queued);
		wh_write_queue_append(&uring->chain, write);
		/* One that was carried out behind a short one has only its place in the order to wait for. */
		if (write->done == write->length)
			continue;
		entry = io_uring_get_sqe(&uring->ring);
		if (write->buffer != WH_BUFFER_NONE && uring->joined_most[write->buffer] != 0)
			joined_prepare(uring, entry, write, &pieces_used);
		else
			io_uring_prep_write(entry, write->fd, write->base + write->done, write->length - write->done,
					    write->offset + write->done);
		entry->flags |= IOSQE_IO_LINK;
		io_uring_sqe_set_data(entry, write);
		uring->chain_out++;
	}
	if (entry != NULL)
		entry->flags &= (uint8_t)~IOSQE_IO_LINK;
	else if (uring->chain.first != NULL)
		chain_collect(uring);
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
	/* One wake-up at a time: a poll that goes on by itself is of Linux 5.13. */
	io_uring_prep_poll_add(entry, uring->wake_fd, POLLIN);
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
			uring->wake_armed = false;
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

/* Whether the kernel has the operation. */
static bool knows(struct io_uring *ring, int operation)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool known = probe != NULL && io_uring_opcode_supported(probe, operation) != 0;
	io_uring_free_probe(probe);
	return known;
}

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
	if (!knows(&uring->ring, IORING_OP_WRITE)) {
		io_uring_queue_exit(&uring->ring);
		free(uring);
		return wh_error_system(error, ENOSYS,
				       "the kernel's io_uring does not know the writes that are wanted of it");
	}
	uring->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (uring->wake_fd < 0) {
		int reason = errno;
		io_uring_queue_exit(&uring->ring);
		free(uring);
		return wh_error_system(error, reason, "cannot make an eventfd");
	}
	uring->table = io_uring_register_buffers_sparse(&uring->ring, WH_SINK_BUFFER_SLOTS) == 0;
	uring->in_pieces = knows(&uring->ring, OP_WRITEV_FIXED);
	*sink = &uring->sink;
	return WH_OK;
}
