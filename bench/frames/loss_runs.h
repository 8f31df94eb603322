/* SPDX-License-Identifier: BSD-3-Clause */
/* How many missing numbers there are in a row: one by one, as when a queue overflows now and then, or thousands at a
 * time, as when somebody stood still. */
#ifndef WH_FRAMES_LOSS_RUNS_H
#define WH_FRAMES_LOSS_RUNS_H

#include <stddef.h>
#include <stdint.h>

#include "tally.h"

enum { WH_LOSS_LENGTHS = 4096 };

struct wh_loss_length {
	uint64_t length, runs;
};

/* Starts as all zeros. */
struct wh_loss_runs {
	uint64_t count, longest, total;                 /* runs; numbers in the longest and in all of them */
	struct wh_loss_length lengths[WH_LOSS_LENGTHS]; /* in order of length; those that came first, where there are
							   more */
	size_t length_count;
	uint64_t more; /* runs of lengths that are not among those */
};

/* Adds all runs of TALLY. */
void wh_loss_runs_add(struct wh_loss_runs *runs, const struct wh_tally *tally);

#endif
