/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbered Ethernet frames: what wh-test-blast sends and wh-test-count looks for in the files. Every byte of a frame
 * follows from its number and the shape both were told, so a reader can tell a frame that is missing, doubled, out of
 * order, of another length, of other tags, or changed in one bit.
 *
 *     destination, source                12 bytes, fixed
 *     VLAN tags                          0, 1 or 2 of 4 bytes; two: 0x88a8 outside, 0x8100 inside
 *     EtherType 0x88b5                   2 bytes, "local experimental" of IEEE 802
 *     magic                              8 bytes
 *     number, time of sending in ns      8 + 8 bytes, little endian
 *     pattern                            the rest; which stretch of a fixed table it is depends on the number
 */
#ifndef WH_TESTS_NUMBERED_H
#define WH_TESTS_NUMBERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WH_NUMBERED_ETHERTYPE = 0x88b5,
	WH_NUMBERED_HEAD_MAX = 12 + 8 + 2 + 24, /* the longest part in front of the pattern */
	WH_NUMBERED_MIN = 14 + 24,              /* smallest size, without tags */
	WH_NUMBERED_MAX = 65535 - 8,
	WH_NUMBERED_SIZES = 2048,
	WH_NUMBERED_TAGS = 2
};

/* What the frames of one run look like. */
struct wh_numbered_shape {
	uint32_t sizes[WH_NUMBERED_SIZES]; /* bytes without tags; frame N has sizes[N % size_count] */
	size_t size_count;
	uint16_t vlans[WH_NUMBERED_TAGS]; /* VLAN numbers, the outermost first */
	size_t vlan_count;
};

/* What wh_numbered_check() found a frame to be. */
enum wh_numbered_verdict {
	WH_NUMBERED_OURS,  /* ours and right in every byte */
	WH_NUMBERED_OTHER, /* somebody else's traffic */
	WH_NUMBERED_CORRUPT
};

/* Prepares the pattern. Call it once, before any other call here. */
void wh_numbered_init(void);

/* Reads "1414" or "60,594,1514" into SHAPE. Returns false when TEXT is not that. */
bool wh_numbered_parse_sizes(struct wh_numbered_shape *shape, const char *text);

/* Reads "100" or "100,200" (outer, inner) into SHAPE. Returns false when TEXT is not that. */
bool wh_numbered_parse_vlans(struct wh_numbered_shape *shape, const char *text);

/* Reads a whole number of at most MAXIMUM. Returns false when TEXT is anything else. */
bool wh_numbered_parse_u64(const char *text, uint64_t maximum, uint64_t *value);

/* Bytes of frame NUMBER on the wire, tags included. */
uint32_t wh_numbered_bytes(const struct wh_numbered_shape *shape, uint64_t number);

/*
 * Writes all of frame NUMBER that comes in front of the pattern to HEAD, of at least WH_NUMBERED_HEAD_MAX bytes, and
 * returns its length.
 */
size_t wh_numbered_head(const struct wh_numbered_shape *shape, uint64_t number, uint64_t sent_ns, uint8_t *head);

/* The pattern of frame NUMBER: at least WH_NUMBERED_MAX bytes that live as long as the process. */
const uint8_t *wh_numbered_pattern(uint64_t number);

/*
 * Compares a captured frame with what it should be. ORIGINAL is its length on the wire, CAPTURED what was kept of it,
 * SNAPSHOT the most that should have been kept. *NUMBER and *SENT_NS are set when the frame is ours. *WHY is set to a
 * few words when it is corrupt.
 */
enum wh_numbered_verdict wh_numbered_check(const struct wh_numbered_shape *shape, uint32_t snapshot,
					   const uint8_t *frame, uint32_t captured, uint32_t original, uint64_t *number,
					   uint64_t *sent_ns, const char **why);

#endif
