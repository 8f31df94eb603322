/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way back into a file behind damage. What can be trusted there: chunk heads of the file's own session, on the
 * boundaries of the section; and section headers that wirehaul wrote, where files were put one behind the other. Frames
 * may hold either by malice, but no frame knows the session, so a section header off the boundaries counts only where
 * no head of the present section follows.
 */
#include <string.h>

#include "writer/inspect_state.h"

enum { SECTION_MOST = 64 * 1024, STRIDE = 1 << 20 };

/* Whether SESSION is the section's: of its last chunk, of the present one (which may have no place in the order yet),
 * or the one that is sure. */
static bool is_own_session(const struct wh_walker *walker, uint64_t session)
{
	const struct wh_section *section = &walker->section;
	return !section->has_session || session == section->session || session == walker->head.head.session ||
	       (section->has_sure_session && session == section->sure_session);
}

/* Whether there is a head at AT that the present section may have; where there is no section, or with ANY_SESSION,
 * any. */
static bool is_head(struct wh_walker *walker, uint64_t at, bool any_session, bool *swapped)
{
	const struct wh_section *section = &walker->section;
	*swapped = section->swapped;
	if (!section->known) {
		for (int order = 0; order < 2; order++) {
			*swapped = order == 1;
			if (wh_inspect_head(walker, at, *swapped, &walker->peek))
				return true;
		}
		return false;
	}
	if ((!section->ours && !section->named) || !wh_inspect_head(walker, at, *swapped, &walker->peek))
		return false;
	return any_session || is_own_session(walker, walker->peek.head.session);
}

static bool is_own_head(struct wh_walker *walker, uint64_t at, bool *swapped)
{
	return is_head(walker, at, false, swapped);
}

/* Whether a file of wirehaul's begins at AT: its section header, and behind it a block that follows one there. */
static bool is_own_section(struct wh_walker *walker, uint64_t at)
{
	bool swapped, ours;
	uint32_t length;
	const uint8_t *bytes = wh_window_at(&walker->window, at, 12);
	if (bytes == NULL || wh_get32(false, bytes) != WH_PCAPNG_SHB)
		return false;
	/* Nobody makes it read on and on: the length first. */
	swapped = wh_get32(true, bytes + 8) == WH_BYTE_ORDER_MAGIC;
	if (wh_get32(swapped, bytes + 4) > SECTION_MOST)
		return false;
	if (!wh_inspect_section_header(walker, at, &swapped, &length, &ours, NULL) || !ours)
		return false;
	const uint8_t *next = wh_window_at(&walker->window, at + length, 8);
	if (next == NULL)
		return false;
	uint32_t following = wh_get32(swapped, next + 4);
	uint32_t kind = wh_get32(swapped, next);
	return (kind == WH_PCAPNG_IDB || kind == WH_PCAPNG_FILLER) && following >= 12 && following % 4 == 0 &&
	       following <= SECTION_MOST;
}

/* The first section header between AT and STOP that is not at AT itself; STOP where there is none. */
static uint64_t stray_find(struct wh_walker *walker, uint64_t at, uint64_t stop)
{
	static const uint8_t magic[4] = { 0x0A, 0x0D, 0x0D, 0x0A };
	while (at + sizeof(magic) <= walker->window.size && at < stop) {
		uint64_t end = stop + sizeof(magic) - 1;
		if (end > walker->window.size)
			end = walker->window.size;
		const uint8_t *bytes = wh_window_at(&walker->window, at, end - at);
		if (bytes == NULL)
			return stop;
		const uint8_t *hit = memmem(bytes, (size_t)(end - at), magic, sizeof(magic));
		if (hit == NULL)
			return stop;
		at += (uint64_t)(hit - bytes);
		if (is_own_section(walker, at))
			return at;
		at++;
	}
	return stop;
}

/* Looks at every boundary of the section from FROM on, and with STRAYS for section headers in between. */
static struct wh_landing search_for(struct wh_walker *walker, uint64_t from, bool strays, bool any_session)
{
	const struct wh_section *section = &walker->section;
	struct wh_landing landing = { .kind = WH_LANDING_END };
	uint64_t stray = UINT64_MAX;
	strays = strays && walker->strays_left > 0;
	for (uint64_t at = from; at < walker->window.size && !walker->window.failed;) {
		uint64_t stop = at + WH_FILE_ALIGNMENT - ((at - section->start) & (WH_FILE_ALIGNMENT - 1));
		if (wh_is_aligned(section, at)) {
			bool head = is_head(walker, at, any_session, &landing.swapped);
			if (head || is_own_section(walker, at)) {
				landing.kind = head ? WH_LANDING_HEAD : WH_LANDING_SECTION;
				landing.at = at;
				return landing;
			}
		}
		if (strays && stray == UINT64_MAX) {
			uint64_t found = stray_find(walker, at, stop);
			stray = found < stop ? found : UINT64_MAX;
		}
		at = stop;
		/* A hole may be terabytes long, and reads as zeros. */
		if (stop % STRIDE < WH_FILE_ALIGNMENT) {
			uint64_t data = wh_window_data(&walker->window, stop);
			at += (data - stop) & ~(uint64_t)(WH_FILE_ALIGNMENT - 1);
		}
	}
	landing.at = walker->window.size > from ? walker->window.size : from;
	if (stray != UINT64_MAX) {
		walker->strays_left--;
		landing.kind = WH_LANDING_SECTION;
		landing.at = stray;
	}
	return landing;
}

static struct wh_landing search(struct wh_walker *walker, uint64_t from, bool strays)
{
	const struct wh_section *section = &walker->section;
	struct wh_landing landing = search_for(walker, from, strays, false);
	if (landing.kind == WH_LANDING_HEAD || !section->has_session || section->has_sure_session ||
	    walker->strangers_left == 0)
		return landing;
	/* One head alone has told the session, and none behind it has the same: it may be that one that is wrong. */
	walker->strangers_left--;
	struct wh_landing other = search_for(walker, from, false, true);
	return other.kind == WH_LANDING_HEAD && other.at < landing.at ? other : landing;
}

/* Whether a chunk with SEQUENCE would be news, where the one with DAMAGED is the last that was seen. */
static bool is_news(const struct wh_section *section, uint64_t sequence, uint64_t damaged)
{
	for (uint32_t i = 0; i < section->gap_count; i++)
		if (sequence >= section->gaps[i].first && sequence <= section->gaps[i].last)
			return true;
	return sequence >= damaged || section->gaps_full;
}

/* Whether the file goes on at END, where the damaged chunk with SEQUENCE ends by its head. */
static bool goes_on(struct wh_walker *walker, uint64_t end, uint64_t sequence, struct wh_landing *landing)
{
	landing->at = end;
	landing->kind = WH_LANDING_HEAD;
	if (is_own_head(walker, end, &landing->swapped) && walker->peek.head.sequence == sequence + 1)
		return true;
	landing->kind = WH_LANDING_SECTION;
	return is_own_section(walker, end);
}

struct wh_landing wh_inspect_landing(struct wh_walker *walker, uint64_t from, uint64_t chunk_end, uint64_t sequence)
{
	struct wh_landing landing = { .kind = WH_LANDING_HEAD, .at = from };
	if (is_own_head(walker, from, &landing.swapped))
		return landing;
	/* So it is where the file ends with the chunk, unless other heads are found there. */
	if (chunk_end <= from || chunk_end >= walker->window.size || !goes_on(walker, chunk_end, sequence, &landing))
		return search(walker, from, chunk_end != walker->window.size);
	/* All up to there is the chunk's own, but for a chunk that was put over it. */
	const struct wh_landing expected = landing;
	uint64_t page = WH_FILE_ALIGNMENT;
	for (uint64_t at = from + page - ((from - walker->section.start) & (page - 1)); at < chunk_end; at += page) {
		landing = (struct wh_landing){ .kind = WH_LANDING_HEAD, .at = at };
		if (is_own_head(walker, at, &landing.swapped) &&
		    is_news(&walker->section, walker->peek.head.sequence, sequence))
			return landing;
	}
	/* Once more: the place is found again, and what is there is in PEEK. */
	landing = expected;
	goes_on(walker, chunk_end, sequence, &landing);
	return landing;
}
