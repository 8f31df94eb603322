/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows of blocks, forwards and backwards. */
#include "writer/inspect_state.h"

enum { HIGHEST_OF_STANDARD = 11 }; /* type of a block */

/* Types that a chunk has behind its head. */
static bool is_of_chunk(uint32_t type)
{
	return type == WH_PCAPNG_EPB || type == WH_PCAPNG_IDB || type == WH_PCAPNG_ISB || type == WH_PCAPNG_JOURNAL ||
	       type == WH_PCAPNG_FILLER || type == WH_PCAPNG_NOTE;
}

/* Whether a block of TYPE may well be cut off here; what is no known type is no block that was cut off. */
static bool is_known(enum wh_row_kind kind, uint32_t type)
{
	if (kind != WH_ROW_OUTSIDE)
		return is_of_chunk(type);
	return (type >= 1 && type <= HIGHEST_OF_STANDARD) || type == WH_BLOCK_CUSTOM ||
	       type == WH_BLOCK_CUSTOM_UNCOPIED || type >= UINT32_C(0x80000000);
}

/* Whether the row ends in front of a block of TYPE at AT, and how. */
static bool row_ends(struct wh_walker *walker, enum wh_row_kind kind, uint64_t at, uint32_t type, enum wh_row_end *how,
		     const char **reason)
{
	const struct wh_section *section = &walker->section;
	if (type != WH_PCAPNG_SHB && type != WH_PCAPNG_CHUNK_HEAD)
		return false;
	*how = type == WH_PCAPNG_SHB ? WH_ROW_SECTION : WH_ROW_HEAD;
	bool is_head = type == WH_PCAPNG_CHUNK_HEAD && wh_inspect_head(walker, at, section->swapped, &walker->peek);
	/* Another program may use the number for its own. */
	if (type == WH_PCAPNG_CHUNK_HEAD && kind == WH_ROW_OUTSIDE && !section->ours && !is_head)
		return false;
	if (kind == WH_ROW_SEALED) {
		*how = WH_ROW_BAD;
		*reason = "something begins within a chunk that is not at its end";
	} else if (kind == WH_ROW_GROWING && type == WH_PCAPNG_CHUNK_HEAD && !is_head) {
		*how = WH_ROW_BAD;
		*reason = "the head of a chunk is damaged";
	}
	return true;
}

enum wh_row_end wh_inspect_row(struct wh_walker *walker, enum wh_row_kind kind, uint64_t *at, uint64_t end,
			       uint64_t limit, struct wh_tally *tally, const char **reason)
{
	bool swapped = walker->section.swapped;
	while (*at < end) {
		uint64_t left = end - *at;
		*reason = "a block does not end where its chunk does";
		if (left < WH_BLOCK_LEAST)
			return limit - *at < WH_BLOCK_LEAST ? WH_ROW_BAD : WH_ROW_CUT;
		const uint8_t *block = wh_window_at(&walker->window, *at, WH_BLOCK_LEAST);
		if (block == NULL)
			return WH_ROW_CUT;
		uint32_t type = wh_get32(swapped, block), length = wh_get32(swapped, block + 4);
		enum wh_row_end how;
		if (row_ends(walker, kind, *at, type, &how, reason))
			return how;
		if (length > limit - *at)
			return WH_ROW_BAD;
		*reason = "no block has such a length";
		if (length < WH_BLOCK_LEAST || length % 4 != 0 || length > WH_BLOCK_MOST)
			return WH_ROW_BAD;
		*reason = "there is no block";
		if (length > left)
			return is_known(kind, type) ? WH_ROW_CUT : WH_ROW_BAD;
		block = wh_window_at(&walker->window, *at, length);
		if (block == NULL)
			return WH_ROW_CUT;
		*reason = "the two lengths of a block differ";
		if (wh_get32(swapped, block + length - 4) != length)
			return WH_ROW_BAD;
		/* By its lengths it is one: its type was hit, and readers would take it for another. */
		*reason = "there is a block that no chunk has";
		if (kind != WH_ROW_OUTSIDE && !is_of_chunk(type))
			return WH_ROW_BAD;
		*reason = wh_inspect_content(walker, kind, *at, block, type, length, tally);
		if (*reason != NULL)
			return WH_ROW_BAD;
		*at += length;
	}
	return WH_ROW_REACHED;
}

uint64_t wh_inspect_backwards(struct wh_walker *walker, uint64_t lowest, uint64_t end)
{
	bool swapped = walker->section.swapped;
	if (end - lowest > WH_BLOCK_MOST)
		lowest = end - WH_BLOCK_MOST;
	const uint8_t *bytes = wh_window_at(&walker->window, lowest, end - lowest);
	if (bytes == NULL)
		return end;
	uint64_t left = end - lowest;
	while (left >= WH_BLOCK_LEAST) {
		uint32_t length = wh_get32(swapped, bytes + left - 4);
		if (length < WH_BLOCK_LEAST || length % 4 != 0 || length > left)
			break;
		const uint8_t *block = bytes + left - length;
		if (wh_get32(swapped, block + 4) != length || !is_of_chunk(wh_get32(swapped, block)))
			break;
		left -= length;
	}
	return lowest + left;
}

void wh_inspect_count_back(struct wh_walker *walker, uint64_t *back, uint64_t end, struct wh_tally *tally)
{
	enum { TRIES = 64 };
	const struct wh_tally before = *tally;
	uint32_t interfaces = walker->section.interface_count;
	for (int tries = 0; tries < TRIES; tries++) {
		uint64_t at = *back;
		const char *reason;
		if (wh_inspect_row(walker, WH_ROW_SEALED, &at, end, end, tally, &reason) == WH_ROW_REACHED)
			return;
		*tally = before;
		walker->section.interface_count = interfaces;
		const uint8_t *block = wh_window_at(&walker->window, at, WH_BLOCK_LEAST);
		if (block == NULL)
			break;
		*back = at + wh_get32(walker->section.swapped, block + 4);
	}
	*back = end;
}
