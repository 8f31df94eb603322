/* SPDX-License-Identifier: BSD-3-Clause */
/* A tally for each thread of a sender: every one has numbers of its own, which begin anew. */
#ifndef WH_FRAMES_TALLIES_H
#define WH_FRAMES_TALLIES_H

#include <stdbool.h>
#include <stdint.h>

#include "numbered.h"
#include "tally.h"

struct wh_tallies {
	uint64_t from, count; /* as they were told */
	uint32_t threads;
	struct wh_tally *of[WH_NUMBERED_THREADS]; /* NULL: that thread is not looked for and has not shown up */
};

/* What the tallies of all threads come to. */
struct wh_tallies_sum {
	uint64_t distinct, missing, duplicated, reordered, outside;
	uint64_t first, last; /* lowest and highest number of any thread; 0 where nothing was seen */
};

/*
 * Makes the tallies of THREADS threads, each of which has numbers from FROM on: COUNT of them for all threads together,
 * divided evenly, of which the first COUNT % THREADS threads have one more. With COUNT, whatever other threads have
 * sent is outside. COUNT may be WH_TALLY_UNTOLD. Returns false when memory has run out. Ended with wh_tallies_close(),
 * in either case.
 */
bool wh_tallies_open(struct wh_tallies *tallies, uint64_t from, uint64_t count, uint32_t threads);
void wh_tallies_close(struct wh_tallies *tallies);

/* Counts one sighting. Returns false when memory has run out. */
bool wh_tallies_add(struct wh_tallies *tallies, const struct wh_numbered_stamp *stamp);

struct wh_tallies_sum wh_tallies_sum(const struct wh_tallies *tallies);

#endif
