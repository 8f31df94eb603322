/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs micro benches: enough iterations to fill a span of time, several times over, and the median of them with how far
 * they lie apart. Times are those of the wall clock: an encoder's run is far shorter
 * than what it costs to ask for the CPU time of a thread. The median is what other processes disturb least.
 */
#ifndef WH_BENCH_HARNESS_H
#define WH_BENCH_HARNESS_H

#include <stddef.h>
#include <stdint.h>

enum { WH_BENCH_NAME_BYTES = 64, WH_BENCH_COUNTERS = 8 };

/* What was measured in one go. */
struct wh_bench_sample {
	uint64_t ns;
	uint64_t items; /* what the time is divided by: frames, pointers */
};

/* More that is to be said of a case; a NULL name ends the list. */
struct wh_bench_counter {
	const char *name;
	double value;
};

struct wh_bench_case {
	char name[WH_BENCH_NAME_BYTES];
	const char *item; /* "frame" */
	/* Does the work ITERATIONS times. Setting up may take as long as it likes, as long as it is not in the time. */
	struct wh_bench_sample (*run)(const struct wh_bench_case *this, uint64_t iterations);
	/* Fills in what follows from the median, in ns per item. May be NULL. */
	void (*describe)(const struct wh_bench_case *this, double ns,
			 struct wh_bench_counter counters[WH_BENCH_COUNTERS]);
	/* The case's own. */
	int kind;
	uint32_t size;
};

/* Reads the command line, runs those of CASES that it asks for, and prints. Returns the exit status. */
int wh_bench_main(int argc, char **argv, const struct wh_bench_case *cases, size_t count);

#endif
