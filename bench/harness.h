/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs micro benches: enough iterations to fill a span of time, several times over, and prints them as Google Benchmark
 * does, so that its tools and whoever knows them can read the result. An iteration is one item: a frame, a pointer.
 *
 * The table has one line for each case: the median of the repetitions, which is what other processes disturb least, and
 * how far they lie apart. The JSON object has each repetition and what is made of them.
 */
#ifndef WH_BENCH_HARNESS_H
#define WH_BENCH_HARNESS_H

#include <stddef.h>
#include <stdint.h>

enum { WH_BENCH_NAME_BYTES = 64, WH_BENCH_COUNTERS = 8 };

/* What was measured in one go. */
struct wh_bench_sample {
	uint64_t ns;
	uint64_t items; /* what the time is divided by */
	/* CPU time of those whose work it is. 0: the calling thread's, of which the run is taken to have the same share
	 * in NS as in all that it did; what is timed may be far shorter than asking for a thread's CPU time is. */
	uint64_t cpu_ns;
};

/* More that is to be said of a case; a NULL name ends the list. */
struct wh_bench_counter {
	const char *name;
	double value;
};

struct wh_bench_case {
	char name[WH_BENCH_NAME_BYTES];
	const char *item; /* "frame" */
	/* Not NULL: the case cannot be run in this build. One line for all cases in a row with the same words. */
	const char *left_out;
	/* Cases in a row that have the same number, not 0, are to be compared: they take turns, so that whatever
	 * changes on the machine meanwhile meets all of them. */
	unsigned turns;
	/* Does the work ITERATIONS times. Setting up may take as long as it likes, as long as it is not in the time. */
	struct wh_bench_sample (*run)(const struct wh_bench_case *this, uint64_t iterations);
	/* Fills in what follows from the time, in ns per item. May be NULL. */
	void (*describe)(const struct wh_bench_case *this, double ns,
			 struct wh_bench_counter counters[WH_BENCH_COUNTERS]);
	/* The case's own. */
	int kind;
	uint32_t size;
};

/* Reads the command line, runs those of CASES that it asks for, and prints. Returns the exit status: 2 if there was
 * nothing to run, 77 if all there was is left out of this build. */
int wh_bench_main(int argc, char **argv, const struct wh_bench_case *cases, size_t count);

#endif
