/* SPDX-License-Identifier: BSD-3-Clause */
/* What the walkers of the formats share; for walk*.c alone. */
#ifndef WH_FRAMES_WALK_FORMATS_H
#define WH_FRAMES_WALK_FORMATS_H

#include <byteswap.h>
#include <string.h>

#include "walk.h"

#define WH_WALK_BLOCK_SECTION UINT32_C(0x0a0d0d0a) /* the same in either byte order */
#define WH_WALK_BLOCK_CHUNK   UINT32_C(0x80005748)

/* Numbers of a file, in its byte order. */
static inline uint16_t wh_walk_get16(const struct wh_walk *walk, const uint8_t *from)
{
	uint16_t value;
	memcpy(&value, from, sizeof(value));
	return walk->swapped ? bswap_16(value) : value;
}

static inline uint32_t wh_walk_get32(const struct wh_walk *walk, const uint8_t *from)
{
	uint32_t value;
	memcpy(&value, from, sizeof(value));
	return walk->swapped ? bswap_32(value) : value;
}

static inline uint64_t wh_walk_get64(const struct wh_walk *walk, const uint8_t *from)
{
	uint64_t value;
	memcpy(&value, from, sizeof(value));
	return walk->swapped ? bswap_64(value) : value;
}

/* Ends the walk at its present position. Always returns false. */
bool wh_walk_fault(struct wh_walk *walk, enum wh_walk_state state, const char *reason);

/* Where the zeros begin that the file ends in; not before START. */
uint64_t wh_walk_zeros_from(const struct wh_walk *walk, uint64_t start);

/*
 * Each of these takes what is at the walk's position, of which there is at least one byte, tells the listener of it,
 * and moves behind it. They return false when the walk ends there, with the reason set.
 */
bool wh_walk_pcapng_block(struct wh_walk *walk);
bool wh_walk_pcap_header(struct wh_walk *walk);
bool wh_walk_pcap_record(struct wh_walk *walk);
bool wh_walk_raw_block(struct wh_walk *walk);

/* Whether the file begins as one of that format does. Those of pcap set the walk's byte order. */
bool wh_walk_is_pcap(struct wh_walk *walk);
bool wh_walk_is_raw(const struct wh_walk *walk);

#endif
