/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbered Ethernet frames: what wh-blast sends and wh-count looks for in the files. Every byte of a frame follows
 * from its number, its thread, its time of sending and the shape both were told, so a reader can tell a frame that is
 * missing, doubled, out of order, of another length, of other tags, or changed in one bit.
 *
 *     destination, source                12 bytes, fixed; nobody's address, so the receiving host takes no notice
 *     VLAN tags                          0, 1 or 2 of 4 bytes; two: 0x88a8 outside, 0x8100 inside
 *
 * Frames of 60 bytes (without tags) and more are UDP, so that whoever spreads traffic over cores by its flows has flows
 * to spread. Addresses are those set aside for benchmarks (RFC 2544 appendix C.2.2), and change with the number:
 *
 *     EtherType 0x0800, IPv4, UDP        2 + 20 + 8 bytes; no UDP checksum
 *     number, time of sending in ns      8 + 8 bytes, little endian
 *     thread, magic that covers it       1 + 1 bytes
 *
 * Shorter ones, which only tests send, have no room for that, and no thread:
 *
 *     EtherType 0x88b5                   2 bytes, "local experimental" of IEEE 802
 *     magic                              8 bytes
 *     number, time of sending in ns      8 + 8 bytes, little endian
 *
 *     pattern                            the rest; which stretch of a fixed table it is depends on the number
 */
#ifndef WH_FRAMES_NUMBERED_H
#define WH_FRAMES_NUMBERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WH_NUMBERED_ETHERTYPE = 0x88b5, /* of short frames */
	WH_NUMBERED_PORT = 30568,       /* UDP destination of all others */
	WH_NUMBERED_FLOWS = 1024,       /* as many follow each other before the first one comes again */
	WH_NUMBERED_UDP_MIN = 60,       /* from this size on, without tags, a frame is UDP */
	WH_NUMBERED_HEAD_MAX = 12 + 8 + 2 + 20 + 8 + 18, /* the longest part in front of the pattern */
	WH_NUMBERED_MIN = 14 + 24,                       /* smallest size, without tags */
	WH_NUMBERED_MAX = 65535 - 8,
	WH_NUMBERED_TAGS = 2,
	WH_NUMBERED_THREADS = 64
};

/* What the frames of one run look like. Ended with wh_numbered_shape_free(). */
struct wh_numbered_shape {
	uint32_t *sizes; /* bytes without tags; frame N has sizes[N % size_count]; owned */
	size_t size_count;
	uint16_t vlans[WH_NUMBERED_TAGS]; /* VLAN numbers, the outermost first */
	size_t vlan_count;
};

/* What a frame says of itself. */
struct wh_numbered_stamp {
	uint64_t number;
	uint64_t sent_ns; /* CLOCK_REALTIME */
	uint8_t thread;   /* of the sender; each has numbers of its own */
};

/* What wh_numbered_check() found a frame to be. */
enum wh_numbered_verdict {
	WH_NUMBERED_OURS,  /* ours and right in every byte that was looked at */
	WH_NUMBERED_OTHER, /* somebody else's traffic */
	WH_NUMBERED_CORRUPT
};

/* How thoroughly. */
enum wh_numbered_depth {
	WH_NUMBERED_HEADS, /* headers, length and stamp */
	WH_NUMBERED_WHOLE  /* every byte */
};

/* Prepares the pattern. Call it once, before any other call here. */
void wh_numbered_init(void);

/* Reads "1414" or "60,594,1514" into SHAPE. Returns false when TEXT is not that, or when memory has run out. */
bool wh_numbered_parse_sizes(struct wh_numbered_shape *shape, const char *text);

/*
 * The classic Internet mix, 28 frames of 64, 16 of 570 and 4 of 1518 bytes on the wire, evenly interleaved. The frame
 * check sequence (4 bytes) is of the wire only: 60, 566 and 1514 are what a capture sees. False: memory has run out.
 */
bool wh_numbered_imix(struct wh_numbered_shape *shape);

/*
 * Gives SHAPE the frame lengths of the capture file at PATH, in its order. Nothing else of the file is used. Returns
 * false, with one line about it in WHY, when it cannot be read or holds no frame of a size that we send.
 */
bool wh_numbered_sizes_of(struct wh_numbered_shape *shape, const char *path, char *why, size_t why_bytes);

/* Reads "100" or "100,200" (outer, inner) into SHAPE. Returns false when TEXT is not that. */
bool wh_numbered_parse_vlans(struct wh_numbered_shape *shape, const char *text);

void wh_numbered_shape_free(struct wh_numbered_shape *shape);

/* Reads a whole number of at most MAXIMUM. Returns false when TEXT is anything else. */
bool wh_numbered_parse_u64(const char *text, uint64_t maximum, uint64_t *value);

/* Bytes of frame NUMBER on the wire, tags included. */
uint32_t wh_numbered_bytes(const struct wh_numbered_shape *shape, uint64_t number);

/*
 * Writes all of a frame that comes in front of the pattern to HEAD, of at least WH_NUMBERED_HEAD_MAX bytes, and returns
 * its length. Threads may call it side by side.
 */
size_t wh_numbered_head(const struct wh_numbered_shape *shape, const struct wh_numbered_stamp *stamp, uint8_t *head);

/* The pattern of frame NUMBER: at least WH_NUMBERED_MAX bytes that live as long as the process. */
const uint8_t *wh_numbered_pattern(uint64_t number);

/*
 * Compares a captured frame with what it should be. ORIGINAL is its length on the wire, CAPTURED what was kept of it,
 * SNAPSHOT the most that should have been kept. A SHAPE without sizes (size_count 0) takes a UDP frame's length and
 * tags from the frame itself, and every short frame for somebody else's. *STAMP is set when the frame is ours. *WHY is
 * set to a few words when it is corrupt.
 */
enum wh_numbered_verdict wh_numbered_check(const struct wh_numbered_shape *shape, enum wh_numbered_depth depth,
					   uint32_t snapshot, const uint8_t *frame, uint32_t captured,
					   uint32_t original, struct wh_numbered_stamp *stamp, const char **why);

#endif
