/* SPDX-License-Identifier: BSD-3-Clause */
#include "loss_runs.h"

#include <string.h>

/* The first place whose length is not shorter. */
static size_t place_of(const struct wh_loss_runs *runs, uint64_t length)
{
	size_t low = 0, high = runs->length_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (runs->lengths[middle].length < length)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void add_length(struct wh_loss_runs *runs, uint64_t length)
{
	size_t place = place_of(runs, length);
	struct wh_loss_length *at = &runs->lengths[place];
	if (place == runs->length_count || at->length != length) {
		if (runs->length_count == WH_LOSS_LENGTHS) {
			runs->more++;
			return;
		}
		memmove(at + 1, at, (runs->length_count - place) * sizeof(*at));
		*at = (struct wh_loss_length){ .length = length };
		runs->length_count++;
	}
	at->runs++;
}

void wh_loss_runs_add(struct wh_loss_runs *runs, const struct wh_tally *tally)
{
	struct wh_tally_run run;
	for (uint64_t from = 0; wh_tally_next_run(tally, from, &run); from = run.first + run.length) {
		runs->count++;
		runs->total += run.length;
		if (run.length > runs->longest)
			runs->longest = run.length;
		add_length(runs, run.length);
	}
}
