/* SPDX-License-Identifier: BSD-3-Clause */
/* What blast_xdp.c and the program that it gives to the kernel (blast_xdp_program.c) have in common. */
#ifndef WH_FRAMES_BLAST_XDP_H
#define WH_FRAMES_BLAST_XDP_H

#include "numbered.h"

#include <assert.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WH_XDP_SIZES = 1 << 20, /* room for sizes of frames, one after the other */
	WH_XDP_SIZE_MAX = 3400, /* the kernel makes such frames in one page, with room around them */
	WH_XDP_STRETCHES = 8192,
	WH_XDP_PATTERN_BYTES = WH_XDP_STRETCHES * 8 + WH_XDP_SIZE_MAX
};

/* One of the flows: the head of its frames, in which the program fills what changes from frame to frame. */
struct wh_xdp_flow {
	uint8_t head[WH_NUMBERED_HEAD_MAX + 8]; /* starts so that number and time are aligned */
	uint32_t sum;                           /* of the IPv4 header without length, identification and checksum */
	uint8_t rest[128 - (WH_NUMBERED_HEAD_MAX + 8) - 4];
};

static_assert(sizeof(struct wh_xdp_flow) == 128, "the program finds a flow by a shift");

/*
 * Shared memory between us and the kernel's program: an array map of one value. The program writes while it runs, we do
 * while it does not; only stop is written by us and read by it meanwhile.
 */
struct wh_xdp_feed {
	uint64_t number; /* of the next frame */
	uint64_t place;  /* of its size in sizes */
	uint64_t bytes;  /* of all frames sent, tags included */
	uint64_t stop;   /* not 0: drop what still comes, without counting it */
	uint64_t spare[4];
	struct wh_xdp_flow flows[WH_NUMBERED_FLOWS];
	uint8_t pattern[WH_XDP_PATTERN_BYTES];
	uint32_t sizes[WH_XDP_SIZES]; /* without tags */
};

/* What is the same for all frames of a program. */
struct wh_xdp_constants {
	int feed;                     /* descriptor of the map */
	uint32_t size_count, largest; /* without tags */
	uint32_t tag_bytes;
	int64_t behind_tai_ns; /* CLOCK_REALTIME minus CLOCK_TAI */
};

/* Where the head starts within wh_xdp_flow. */
uint32_t wh_xdp_head_at(uint32_t tag_bytes);

/* Loads the program. Returns its descriptor, or -1 and errno. */
int wh_xdp_load(const struct wh_xdp_constants *constants);

/* bpf(2), for which libc has no function. */
int wh_xdp_bpf(int command, union bpf_attr *attributes);

/* Offset of the pattern of frame NUMBER, as the program computes it. */
uint64_t wh_xdp_pattern(uint64_t number);

#endif
