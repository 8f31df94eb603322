/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which numbers of one thread of a sender were seen, how often, and in which order.
 *
 * Looked for are COUNT numbers from FROM on; or, where nobody told how many there should be, WH_TALLY_SPAN of them. Of
 * those:
 *
 *     distinct    numbers that were seen
 *     missing     numbers that were not; nobody having told how many there should be, those between the lowest and the
 *                 highest one seen
 *     duplicated  sightings of a number that had been seen before
 *     reordered   numbers that were seen for the first time after a higher one
 *
 * and of all others
 *
 *     outside     sightings
 */
#ifndef WH_FRAMES_TALLY_H
#define WH_FRAMES_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#define WH_TALLY_SPAN   (UINT64_C(1) << 32)
#define WH_TALLY_UNTOLD UINT64_MAX /* for a count */

struct wh_tally {
	uint64_t from, count;
	uint64_t distinct, duplicated, reordered, outside;
	uint64_t first, last; /* lowest and highest number seen; only where distinct > 0 */
	/* A bit for each number, in pages that are made when a number of theirs is seen: one number far from the others
	 * costs one page. */
	uint64_t **pages;
};

/* Missing numbers in a row, with seen ones on both sides or the end of what is looked for. */
struct wh_tally_run {
	uint64_t first, length;
};

/*
 * Starts an empty tally. COUNT is WH_TALLY_UNTOLD or at most WH_TALLY_SPAN, and FROM at least WH_TALLY_SPAN short of
 * the largest number there is. Ended with wh_tally_close().
 */
void wh_tally_open(struct wh_tally *tally, uint64_t from, uint64_t count);
void wh_tally_close(struct wh_tally *tally);

/* Counts one sighting of NUMBER. Returns false, and counts nothing, when memory has run out. */
bool wh_tally_add(struct wh_tally *tally, uint64_t number);

uint64_t wh_tally_missing(const struct wh_tally *tally);

/*
 * Finds the first run of missing numbers that is not before NUMBER; with 0, and then with the number behind the last
 * run found, it goes through all of them. Returns false when there is none.
 */
bool wh_tally_next_run(const struct wh_tally *tally, uint64_t number, struct wh_tally_run *run);

#endif
