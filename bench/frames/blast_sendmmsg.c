/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending through a packet socket, many frames a call. The kernel copies each frame, so it is out of our hands when the
 * call returns, and says of each in turn whether the other end has taken it: nothing is lost, doubled or overtaken.
 */
#include "blast.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64 };

struct sendmmsg_state {
	const struct wh_blast_orders *orders;
	int socket;
	uint8_t thread;
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH][2];
	uint8_t heads[BATCH][WH_NUMBERED_HEAD_MAX];
};

static void close_state(void *context)
{
	struct sendmmsg_state *state = context;
	if (state->socket >= 0)
		close(state->socket);
	free(state);
}

static void *open_state(const struct wh_blast_orders *orders, uint8_t thread, char *why)
{
	struct sendmmsg_state *state = calloc(1, sizeof(*state));
	if (state == NULL) {
		wh_blast_explain(orders, ENOMEM, why);
		return NULL;
	}
	state->orders = orders;
	state->thread = thread;
	/* Protocol 0: the socket receives nothing, so sending costs no copy back to ourselves. */
	state->socket = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_ifindex = orders->interface_index };
	int bypass = !orders->tapped;
	if (state->socket < 0 || bind(state->socket, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setsockopt(state->socket, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof(bypass)) < 0) {
		wh_blast_explain(orders, errno, why);
		close_state(state);
		return NULL;
	}
	return state;
}

/* Only the head of a frame is built here; the kernel takes the pattern from the table itself. */
static void prepare(struct sendmmsg_state *state, uint64_t first, unsigned int count)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	struct wh_numbered_stamp stamp = {
		.sent_ns = (uint64_t)now.tv_sec * WH_BLAST_NS_PER_S + (uint64_t)now.tv_nsec,
		.thread = state->thread,
	};
	const struct wh_numbered_shape *shape = &state->orders->shape;
	for (unsigned int i = 0; i < count; i++) {
		stamp.number = first + i;
		size_t head = wh_numbered_head(shape, &stamp, state->heads[i]);
		size_t rest = wh_numbered_bytes(shape, stamp.number) - head;
		state->parts[i][0] = (struct iovec){ .iov_base = state->heads[i], .iov_len = head };
		/* sendmsg() only reads, but iov_base is not const. */
		void *pattern = (void *)wh_numbered_pattern(stamp.number);
		state->parts[i][1] = (struct iovec){ .iov_base = pattern, .iov_len = rest };
		state->messages[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = state->parts[i], .msg_iovlen = 2 } };
	}
}

static void account(const struct sendmmsg_state *state, struct wh_blast_tally *tally, unsigned int from, int count)
{
	for (unsigned int i = from; i < from + (unsigned int)count; i++)
		tally->bytes += state->parts[i][0].iov_len + state->parts[i][1].iov_len;
	tally->sent += (uint64_t)count;
}

/* What a call has done that took nothing. Returns how many frames the caller shall take for sent, -1 to give up. */
static int judge(const struct sendmmsg_state *state, int error, struct wh_blast_tally *tally, char *why)
{
	if (error == ENOBUFS && state->orders->tapped) {
		/* It has passed the taps: sent again, it would be twice in a capture there. */
		tally->refused_by_peer++;
		return 1;
	}
	if (error == ENOBUFS || error == EAGAIN || error == EINTR) {
		tally->refused++;
		return 0;
	}
	wh_blast_explain(state->orders, error, why);
	return -1;
}

/*
 * sendmmsg() says how many it has sent and forgets why the next one failed. With taps that matters, so there frames go
 * one at a time.
 */
static int send_frames(void *context, uint64_t number, unsigned int count, struct wh_blast_tally *tally, char *why)
{
	struct sendmmsg_state *state = context;
	prepare(state, number, count);
	unsigned int done = 0;
	while (done < count) {
		unsigned int most = state->orders->tapped ? 1 : count - done;
		int taken = sendmmsg(state->socket, state->messages + done, most, 0);
		if (taken < 0)
			taken = judge(state, errno, tally, why);
		if (taken < 0)
			return -1;
		if (taken == 0)
			break;
		account(state, tally, done, taken);
		done += (unsigned int)taken;
	}
	return (int)done;
}

const struct wh_blast_method wh_blast_sendmmsg = {
	.name = "sendmmsg",
	.batch = BATCH,
	.open = open_state,
	.send = send_frames,
	.close = close_state,
};
