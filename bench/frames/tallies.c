/* SPDX-License-Identifier: BSD-3-Clause */
#include "tallies.h"

#include <stdlib.h>

/* How many numbers THREAD should have. */
static uint64_t share_of(const struct wh_tallies *tallies, uint32_t thread)
{
	if (tallies->count == WH_TALLY_UNTOLD)
		return WH_TALLY_UNTOLD;
	if (thread >= tallies->threads)
		return 0;
	return tallies->count / tallies->threads + (thread < tallies->count % tallies->threads);
}

static struct wh_tally *make(struct wh_tallies *tallies, uint32_t thread)
{
	struct wh_tally *tally = malloc(sizeof(*tally));
	if (tally != NULL)
		wh_tally_open(tally, tallies->from, share_of(tallies, thread));
	tallies->of[thread] = tally;
	return tally;
}

bool wh_tallies_open(struct wh_tallies *tallies, uint64_t from, uint64_t count, uint32_t threads)
{
	*tallies = (struct wh_tallies){ .from = from, .count = count, .threads = threads };
	for (uint32_t thread = 0; thread < threads; thread++)
		if (make(tallies, thread) == NULL)
			return false;
	return true;
}

void wh_tallies_close(struct wh_tallies *tallies)
{
	for (size_t i = 0; i < WH_NUMBERED_THREADS; i++) {
		if (tallies->of[i] == NULL)
			continue;
		wh_tally_close(tallies->of[i]);
		free(tallies->of[i]);
		tallies->of[i] = NULL;
	}
}

bool wh_tallies_add(struct wh_tallies *tallies, const struct wh_numbered_stamp *stamp)
{
	struct wh_tally *tally = tallies->of[stamp->thread];
	if (tally == NULL)
		tally = make(tallies, stamp->thread);
	return tally != NULL && wh_tally_add(tally, stamp->number);
}

struct wh_tallies_sum wh_tallies_sum(const struct wh_tallies *tallies)
{
	struct wh_tallies_sum sum = { 0 };
	for (size_t i = 0; i < WH_NUMBERED_THREADS; i++) {
		const struct wh_tally *tally = tallies->of[i];
		if (tally == NULL)
			continue;
		if (tally->distinct > 0) {
			if (sum.distinct == 0 || tally->first < sum.first)
				sum.first = tally->first;
			if (tally->last > sum.last)
				sum.last = tally->last;
		}
		sum.distinct += tally->distinct;
		sum.missing += wh_tally_missing(tally);
		sum.duplicated += tally->duplicated;
		sum.reordered += tally->reordered;
		sum.outside += tally->outside;
	}
	return sum;
}
