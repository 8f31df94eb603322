/* SPDX-License-Identifier: BSD-3-Clause */
#include "tally.h"

#include <stdlib.h>
#include <string.h>

enum { RANGES_PRINTED = 8 };

/* Numbers further than this from the first are called outside: no test sends so many, but a bad file may say so. */
static const uint64_t span_max = UINT64_C(1) << 32;

void wh_tally_open(struct wh_tally *tally, uint64_t from, uint64_t count)
{
	*tally = (struct wh_tally){ .from = from, .count = count };
}

void wh_tally_close(struct wh_tally *tally)
{
	free(tally->bits);
	tally->bits = NULL;
}

static bool make_room(struct wh_tally *tally, uint64_t word)
{
	if (word < tally->words)
		return true;
	uint64_t words = tally->words < 1024 ? 1024 : tally->words;
	while (words <= word)
		words *= 2;
	uint64_t *bits = realloc(tally->bits, words * sizeof(*bits));
	if (bits == NULL)
		return false;
	memset(bits + tally->words, 0, (words - tally->words) * sizeof(*bits));
	tally->bits = bits;
	tally->words = words;
	return true;
}

static bool has(const struct wh_tally *tally, uint64_t number)
{
	uint64_t place = number - tally->from;
	return place / 64 < tally->words && (tally->bits[place / 64] >> (place % 64) & 1) != 0;
}

bool wh_tally_add(struct wh_tally *tally, uint64_t number)
{
	uint64_t place = number - tally->from;
	tally->seen++;
	if (number < tally->from || place >= (tally->count != 0 ? tally->count : span_max)) {
		tally->outside++;
		return true;
	}
	if (!make_room(tally, place / 64))
		return false;
	if (has(tally, number)) {
		tally->duplicated++;
		return true;
	}
	tally->bits[place / 64] |= UINT64_C(1) << (place % 64);
	if (tally->distinct == 0 || number < tally->first)
		tally->first = number;
	if (tally->distinct > 0 && number < tally->last)
		tally->reordered++;
	else
		tally->last = number;
	tally->distinct++;
	return true;
}

/* The range that should be complete; returns false when nothing is known of it. */
static bool range(const struct wh_tally *tally, uint64_t *from, uint64_t *end)
{
	*from = tally->count != 0 ? tally->from : tally->first;
	*end = tally->count != 0 ? tally->from + tally->count : tally->last + 1;
	return tally->count != 0 || tally->distinct > 0;
}

uint64_t wh_tally_missing(const struct wh_tally *tally)
{
	uint64_t from, end;
	return range(tally, &from, &end) ? end - from - tally->distinct : 0;
}

void wh_tally_print_missing(const struct wh_tally *tally, FILE *to)
{
	uint64_t at, end;
	unsigned int printed = 0;
	fputc('[', to);
	if (range(tally, &at, &end)) {
		while (at < end && printed < RANGES_PRINTED) {
			uint64_t start = at;
			while (at < end && !has(tally, at))
				at++;
			if (at > start)
				fprintf(to, "%s[%llu, %llu]", printed++ > 0 ? ", " : "", (unsigned long long)start,
					(unsigned long long)(at - 1));
			while (at < end && has(tally, at))
				at++;
		}
	}
	fputc(']', to);
}
