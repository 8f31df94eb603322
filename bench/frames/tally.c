/* SPDX-License-Identifier: BSD-3-Clause */
#include "tally.h"

#include <stdlib.h>

enum { PAGE_NUMBERS = 1 << 16, WORD_NUMBERS = 64 };

void wh_tally_open(struct wh_tally *tally, uint64_t from, uint64_t count)
{
	*tally = (struct wh_tally){ .from = from, .count = count };
}

/* How many numbers are looked for. */
static uint64_t span(const struct wh_tally *tally)
{
	return tally->count < WH_TALLY_SPAN ? tally->count : WH_TALLY_SPAN;
}

static uint64_t page_count(const struct wh_tally *tally)
{
	return (span(tally) + PAGE_NUMBERS - 1) / PAGE_NUMBERS;
}

void wh_tally_close(struct wh_tally *tally)
{
	for (uint64_t i = 0; tally->pages != NULL && i < page_count(tally); i++)
		free(tally->pages[i]);
	free(tally->pages);
	tally->pages = NULL;
}

/* The page that holds the bit at PLACE, made now where there is none. NULL: memory has run out. */
static uint64_t *page_at(struct wh_tally *tally, uint64_t place)
{
	if (tally->pages == NULL) {
		tally->pages = calloc(page_count(tally), sizeof(*tally->pages));
		if (tally->pages == NULL)
			return NULL;
	}
	uint64_t **page = &tally->pages[place / PAGE_NUMBERS];
	if (*page == NULL)
		*page = calloc(PAGE_NUMBERS / WORD_NUMBERS, sizeof(**page));
	return *page;
}

bool wh_tally_add(struct wh_tally *tally, uint64_t number)
{
	uint64_t place = number - tally->from;
	if (number < tally->from || place >= span(tally)) {
		tally->outside++;
		return true;
	}
	uint64_t *page = page_at(tally, place);
	if (page == NULL)
		return false;
	uint64_t *word = &page[place % PAGE_NUMBERS / WORD_NUMBERS];
	uint64_t bit = UINT64_C(1) << (place % WORD_NUMBERS);
	if ((*word & bit) != 0) {
		tally->duplicated++;
		return true;
	}
	*word |= bit;
	if (tally->distinct == 0 || number < tally->first)
		tally->first = number;
	if (tally->distinct > 0 && number < tally->last)
		tally->reordered++;
	else
		tally->last = number;
	tally->distinct++;
	return true;
}

/* The numbers of which none should be missing, as places: from *START to in front of *END. */
static void should_be(const struct wh_tally *tally, uint64_t *start, uint64_t *end)
{
	*start = *end = 0;
	if (tally->count != WH_TALLY_UNTOLD) {
		*end = tally->count;
	} else if (tally->distinct > 0) {
		*start = tally->first - tally->from;
		*end = tally->last + 1 - tally->from;
	}
}

uint64_t wh_tally_missing(const struct wh_tally *tally)
{
	uint64_t start, end;
	should_be(tally, &start, &end);
	return end - start - tally->distinct;
}

/* The first place from AT on that was seen, or that was not. END when there is none. */
static uint64_t find(const struct wh_tally *tally, uint64_t at, uint64_t end, bool seen)
{
	while (at < end) {
		const uint64_t *page = tally->pages != NULL ? tally->pages[at / PAGE_NUMBERS] : NULL;
		if (page == NULL) {
			if (!seen)
				return at;
			at = (at / PAGE_NUMBERS + 1) * PAGE_NUMBERS;
			continue;
		}
		uint64_t word = page[at % PAGE_NUMBERS / WORD_NUMBERS];
		uint64_t wanted = (seen ? word : ~word) >> (at % WORD_NUMBERS);
		if (wanted != 0) {
			at += (uint64_t)__builtin_ctzll(wanted);
			break;
		}
		at = (at / WORD_NUMBERS + 1) * WORD_NUMBERS;
	}
	return at < end ? at : end;
}

bool wh_tally_next_run(const struct wh_tally *tally, uint64_t number, struct wh_tally_run *run)
{
	uint64_t start, end;
	should_be(tally, &start, &end);
	if (number > tally->from && number - tally->from > start)
		start = number - tally->from;
	uint64_t at = find(tally, start, end, false);
	if (at >= end)
		return false;
	*run = (struct wh_tally_run){ .first = tally->from + at, .length = find(tally, at, end, true) - at };
	return true;
}
