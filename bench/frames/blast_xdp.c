/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames that the kernel makes itself and takes as received on the interface, as fast as a processor can make them: a
 * program of ours (blast_xdp_program.c) is run by BPF_PROG_TEST_RUN on live frames, and passes each one on.
 *
 * Nothing is between it and the captures on the interface, so nothing is lost, doubled or overtaken on the way. The
 * other way round, sending the frames to the peer by redirection, is as fast, but says nothing of frames for which the
 * peer's queue of 256 had no room.
 *
 * Starting and ending a run costs the kernel about 25 ms, so runs are long: there is a gap of that length between two.
 */
#include "blast_xdp.h"
#include "blast.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 1 << 20, KERNEL_BATCH = 64, IPV4_BYTES = 20 };

struct xdp_state {
	const struct wh_blast_orders *orders;
	struct wh_xdp_feed *feed;
	int map, program;
	uint32_t largest; /* with tags */
	uint8_t start[WH_XDP_SIZE_MAX];
};

static uint32_t tag_bytes(const struct wh_blast_orders *orders)
{
	return 4 * (uint32_t)orders->shape.vlan_count;
}

static bool suits(const struct wh_blast_orders *orders, char *why)
{
	const char *words = NULL;
	uint32_t most = WH_XDP_SIZE_MAX - tag_bytes(orders);
	for (size_t i = 0; i < orders->shape.size_count; i++)
		if (orders->shape.sizes[i] < WH_NUMBERED_UDP_MIN || orders->shape.sizes[i] > most)
			words = "makes frames of 60 to 3400 bytes only: choose another size or another method";
	if (orders->rate != 0 || orders->gbps > 0)
		words = "goes as fast as it can: leave the rate out or choose another method";
	else if (orders->tapped)
		words = "shows its frames to all captures on the interface anyway: leave --tapped out";
	else if (orders->shape.size_count > WH_XDP_SIZES)
		words = "takes no more than 1048576 sizes in turn: give fewer or choose another method";
	if (words != NULL)
		snprintf(why, WH_BLAST_WHY_BYTES, "--method xdp %s", words);
	return words == NULL;
}

static void explain(int error, char *why)
{
	if (error == EPERM || error == EACCES)
		snprintf(why, WH_BLAST_WHY_BYTES,
			 "not permitted to run an XDP program: run it as root, or give it the "
			 "capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
	else
		snprintf(why, WH_BLAST_WHY_BYTES,
			 "this kernel makes no frames by XDP (Linux 6.1 and later can): %s; choose --method sendmmsg",
			 strerror(error));
}

static void close_state(void *context)
{
	struct xdp_state *state = context;
	if (state->program >= 0)
		close(state->program);
	if (state->feed != MAP_FAILED)
		munmap(state->feed, sizeof(*state->feed));
	if (state->map >= 0)
		close(state->map);
	free(state);
}

/* The program chooses patterns as numbered.c does. Returns whether it still does: the format may change. */
static bool fill_pattern(struct wh_xdp_feed *feed)
{
	const uint8_t *table = wh_numbered_pattern(0) - wh_xdp_pattern(0);
	for (uint64_t number = 1; number < 1000; number++)
		if (wh_numbered_pattern(number) - wh_xdp_pattern(number) != table)
			return false;
	memcpy(feed->pattern, table, WH_XDP_PATTERN_BYTES);
	return true;
}

static void fill_flows(struct wh_xdp_feed *feed, const struct wh_blast_orders *orders, uint8_t thread)
{
	uint32_t ip_at = 12 + tag_bytes(orders) + 2;
	for (uint64_t i = 0; i < WH_NUMBERED_FLOWS; i++) {
		struct wh_xdp_flow *flow = &feed->flows[i];
		uint8_t *head = flow->head + wh_xdp_head_at(tag_bytes(orders));
		struct wh_numbered_stamp stamp = { .number = i, .thread = thread };
		wh_numbered_head(&orders->shape, &stamp, head);
		/* The program puts in length and identification, and so completes the checksum. */
		memset(head + ip_at + 2, 0, 4);
		memset(head + ip_at + 10, 0, 2);
		for (uint32_t at = 0; at < IPV4_BYTES; at += 2)
			flow->sum += (uint32_t)head[ip_at + at] << 8 | head[ip_at + at + 1];
	}
}

static int64_t behind_tai_ns(void)
{
	struct timespec real, tai;
	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_TAI, &tai);
	/* Whole seconds: what is more went by between the two calls. */
	double seconds = difftime(real.tv_sec, tai.tv_sec) + (double)(real.tv_nsec - tai.tv_nsec) / WH_BLAST_NS_PER_S;
	return (int64_t)(seconds < 0 ? seconds - 0.5 : seconds + 0.5) * WH_BLAST_NS_PER_S;
}

static bool prepare(struct xdp_state *state, uint8_t thread, char *why)
{
	const struct wh_blast_orders *orders = state->orders;
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof(attributes));
	attributes.map_type = BPF_MAP_TYPE_ARRAY;
	attributes.key_size = 4;
	attributes.value_size = sizeof(*state->feed);
	attributes.max_entries = 1;
	attributes.map_flags = BPF_F_MMAPABLE;
	state->map = wh_xdp_bpf(BPF_MAP_CREATE, &attributes);
	if (state->map >= 0)
		state->feed = mmap(NULL, sizeof(*state->feed), PROT_READ | PROT_WRITE, MAP_SHARED, state->map, 0);
	if (state->feed == MAP_FAILED) {
		explain(errno, why);
		return false;
	}
	struct wh_xdp_constants constants = {
		.feed = state->map,
		.size_count = (uint32_t)orders->shape.size_count,
		.tag_bytes = tag_bytes(orders),
		.behind_tai_ns = behind_tai_ns(),
	};
	for (size_t i = 0; i < orders->shape.size_count; i++) {
		uint32_t size = orders->shape.sizes[i];
		state->feed->sizes[i] = size;
		constants.largest = size > constants.largest ? size : constants.largest;
	}
	state->largest = constants.largest + constants.tag_bytes;
	fill_flows(state->feed, orders, thread);
	if (!fill_pattern(state->feed)) {
		snprintf(why, WH_BLAST_WHY_BYTES, "--method xdp knows an older format of frames: choose another");
		return false;
	}
	state->program = wh_xdp_load(&constants);
	if (state->program < 0)
		explain(errno, why);
	return state->program >= 0;
}

static void *open_state(const struct wh_blast_orders *orders, uint8_t thread, char *why)
{
	struct xdp_state *state = calloc(1, sizeof(*state));
	if (state == NULL) {
		explain(ENOMEM, why);
		return NULL;
	}
	state->orders = orders;
	state->map = state->program = -1;
	state->feed = MAP_FAILED;
	if (!prepare(state, thread, why)) {
		close_state(state);
		return NULL;
	}
	return state;
}

static int send_frames(void *context, uint64_t number, unsigned int count, struct wh_blast_tally *tally, char *why)
{
	struct xdp_state *state = context;
	state->feed->number = number;
	state->feed->place = number % state->orders->shape.size_count;
	state->feed->bytes = 0;
	struct xdp_md frame = { .data_end = state->largest,
				.ingress_ifindex = (uint32_t)state->orders->interface_index };
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof(attributes));
	attributes.test.prog_fd = (uint32_t)state->program;
	attributes.test.data_in = (uintptr_t)state->start;
	attributes.test.data_size_in = state->largest;
	attributes.test.ctx_in = (uintptr_t)&frame;
	attributes.test.ctx_size_in = sizeof(frame);
	attributes.test.repeat = count;
	attributes.test.batch_size = KERNEL_BATCH;
	attributes.test.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
	int result = wh_xdp_bpf(BPF_PROG_TEST_RUN, &attributes);
	int error = errno;
	/* A signal ends a run between two batches; whatever the program has made was passed on. */
	uint64_t sent = state->feed->number - number;
	tally->sent += sent;
	tally->bytes += state->feed->bytes;
	if (result < 0 && error != EINTR) {
		explain(error, why);
		return -1;
	}
	return (int)sent;
}

/* Frames that are still to come in this run are dropped by the program, uncounted, at next to no cost. */
static void stop(void *context)
{
	struct xdp_state *state = context;
	__atomic_store_n(&state->feed->stop, 1, __ATOMIC_RELAXED);
}

const struct wh_blast_method wh_blast_xdp = {
	.name = "xdp",
	.batch = BATCH,
	.suits = suits,
	.open = open_state,
	.send = send_frames,
	.stop = stop,
	.close = close_state,
};
