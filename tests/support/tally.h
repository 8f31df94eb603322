/* SPDX-License-Identifier: BSD-3-Clause */
/* Which numbers of a run were seen, how often, and in which order. */
#ifndef WH_TESTS_TALLY_H
#define WH_TESTS_TALLY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct wh_tally {
	uint64_t from;  /* lowest number there should be */
	uint64_t count; /* how many there should be, 0: not told */
	uint64_t seen, distinct, duplicated, reordered, outside;
	uint64_t first, last; /* lowest and highest number seen; only where distinct > 0 */
	uint64_t *bits;       /* one for each number from FROM on */
	uint64_t words;
};

/* Starts an empty tally. Ended with wh_tally_close(). */
void wh_tally_open(struct wh_tally *tally, uint64_t from, uint64_t count);
void wh_tally_close(struct wh_tally *tally);

/* Counts one sighting of NUMBER. Returns false when memory has run out. */
bool wh_tally_add(struct wh_tally *tally, uint64_t number);

/* How many numbers are missing: of the expected range, or between the first and the last seen. */
uint64_t wh_tally_missing(const struct wh_tally *tally);

/* Prints the first few missing ranges as a JSON array of [first, last] pairs. */
void wh_tally_print_missing(const struct wh_tally *tally, FILE *to);

#endif
