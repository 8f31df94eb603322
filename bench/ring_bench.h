/* SPDX-License-Identifier: BSD-3-Clause */
/* The rings that pointers are sent through: ours, and another one to compare it with. */
#ifndef WH_BENCH_RING_BENCH_H
#define WH_BENCH_RING_BENCH_H

#include "harness.h"

/* How they go; a case's kind. Its size is the number of slots. */
enum wh_ring_pattern {
	WH_RING_ALONE,       /* one thread, push and pop by turns */
	WH_RING_ALONE_BATCH, /* one thread, WH_RING_BATCH pushes, then as many pops */
	WH_RING_SINGLE,      /* two threads; the consumer looks until there is one */
	WH_RING_BATCH        /* two threads, as a capture thread and its writer: see two_threads() in ring_passage.h */
};

/* As many blocks as a capture thread announces at once (1 MiB each). */
enum { WH_RING_BATCH_ITEMS = 4 };

struct wh_ring_bench {
	const char *name;
	const char *left_out; /* why it cannot be measured in this build, else NULL */
	struct wh_bench_sample (*run)(const struct wh_bench_case *this, uint64_t iterations);
};

extern const struct wh_ring_bench wh_ring_wirehaul, wh_ring_ck;

#endif
