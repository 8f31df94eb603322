/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the unit tests and the fuzz targets share: ring blocks built as the kernel lays them out
 * (net/packet/af_packet.c, tpacket_rcv and prb_fill_curr_block), what must become of their frames, and a strict reader
 * of what the encoders write. The reader is written against draft-ietf-opsawg-pcapng and docs/format.md and takes
 * nothing for granted: every byte belongs to a block, and what is not a frame, a header or an option with a meaning is
 * zero.
 *
 * Nothing here ends the process; failures come back as words.
 */
#ifndef WH_TESTS_BLOCKS_H
#define WH_TESTS_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "writer/format_pcapng.h"

enum { WH_TEST_STALE = 0xA5, WH_TEST_FRAMES_MOST = 4096, WH_TEST_RECORDS_MOST = 80, WH_TEST_INTERFACES_MOST = 64 };

/* A generator of numbers that are the same in every run. STATE must not be 0. */
uint64_t wh_test_random(uint64_t *state);

/* BYTES (a multiple of the page size) between two pages that nobody may touch. wh_test_unguard() ends them. */
uint8_t *wh_test_guarded(size_t bytes);
void wh_test_unguard(uint8_t *memory, size_t bytes);

/* A frame as it lies in a slot. Its bytes follow from its seed. */
struct wh_test_frame {
	uint32_t captured, original;
	uint32_t mac;    /* tp_mac */
	uint32_t status; /* of tp_status: the VLAN bits */
	uint16_t tci, tpid;
	uint8_t packet_type;
	uint64_t ns;
	uint64_t seed;
};

/* A ring block under construction. */
struct wh_test_block {
	uint8_t *base;
	uint32_t capacity;
	uint32_t first_slot;
	uint32_t used; /* to the end of the last frame's bytes */
	uint32_t last; /* offset of the last slot */
	uint32_t next; /* offset of the next slot */
	uint32_t count;
	struct wh_test_frame frames[WH_TEST_FRAMES_MOST];
};

/* Makes BLOCK empty: its memory full of stale bytes, its status word the user's. */
void wh_test_block_begin(struct wh_test_block *block, uint8_t *base, uint32_t capacity, uint32_t first_slot);
/* Adds a frame; false where it does not fit. It may end exactly with the block, which is 8 bytes more than the kernel
 * ever uses. */
bool wh_test_block_add(struct wh_test_block *block, const struct wh_test_frame *frame);
/* The same frames once more, into the same memory. */
void wh_test_block_rebuild(struct wh_test_block *block);

/* What a file must have of FRAME: its bytes, with the tag put back, to OUT, which takes captured + 4. */
void wh_test_frame_expect(const struct wh_test_frame *frame, const struct wh_slot_rules *rules, uint8_t *out,
			  uint32_t *captured, uint32_t *original);

/* An Enhanced Packet Block as it was found. */
struct wh_test_record {
	size_t offset;
	uint32_t length, interface, captured, original, flags;
	uint64_t ns, lost;
	const uint8_t *data;
	size_t spare; /* offset of the last filler option that a drop count would fit exactly, 0: none */
};

struct wh_test_chunk {
	size_t offset;
	struct wh_chunk_head head;
	struct wh_chunk_record records[WH_TEST_RECORDS_MOST];
	size_t first_frame; /* index in frames */
	uint32_t frames;    /* found */
	uint64_t lost;      /* the sum of their drop counts */
};

/* What a reader found. Zeros before the first use; wh_test_walk_free() gives the memory back. */
struct wh_test_walk {
	const char *problem; /* NULL: none */
	size_t problem_at;
	struct wh_test_record *frames;
	size_t frame_count, frame_room;
	struct wh_test_chunk *chunks;
	size_t chunk_count, chunk_room;
	uint32_t interface_count;
	uint16_t link_types[WH_TEST_INTERFACES_MOST];
	size_t statistics_count;
	struct wh_interface_totals statistics[WH_TEST_INTERFACES_MOST]; /* the last one of each */
	bool has_statistics[WH_TEST_INTERFACES_MOST];
};

/* Reads a whole pcapng file. True: nothing is wrong with it. The last chunk may be one that was still growing. */
bool wh_test_walk_file(struct wh_test_walk *walk, const uint8_t *bytes, size_t length);
/* Reads bare records (a run) of up to INTERFACES interfaces. */
bool wh_test_walk_run(struct wh_test_walk *walk, const uint8_t *bytes, size_t length, uint32_t interfaces);
/* Reads a whole classic pcap file; times come out in ns. */
bool wh_test_walk_pcap(struct wh_test_walk *walk, const uint8_t *bytes, size_t length);
void wh_test_walk_free(struct wh_test_walk *walk);

/* Whether the frames that WALK found from FIRST on are those of BLOCK, the first COUNT of them, as INTERFACE's with
 * LOST on the first. With MICROSECONDS times are compared to the microsecond, and flags and losses are not (classic
 * pcap). NULL, or what is wrong. */
const char *wh_test_frames_compare(const struct wh_test_walk *walk, size_t first, const struct wh_test_block *block,
				   uint32_t count, const struct wh_encoding *encoding, uint64_t lost, bool pcap);

/* A section header, an interface block for each of INTERFACES and filler at AT. Returns the length, a multiple of
 * 4 KiB. */
uint32_t wh_test_file_begin(uint8_t *at, uint32_t room, uint32_t interfaces, uint16_t link_type);

#endif
