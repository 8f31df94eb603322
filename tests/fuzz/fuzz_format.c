/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: the bytes choose what is in a ring block (sizes, places, tags, directions, times), which is then
 * encoded in every way. Whatever the kernel may put into a block, the file must be right to the byte, and nothing
 * outside of the block may be touched.
 *
 * Input: 4 bytes for the block (its size, the link, the snapshot length, the loss), then 8 for each frame.
 */
#include <linux/if_packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"

enum { LARGEST_BLOCK = 128 * 1024, HEAD_BYTES = 4, FRAME_BYTES = 8, PAGE = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *memory; /* LARGEST_BLOCK bytes between guards */
static uint8_t *file;
static struct wh_test_block block;

static void complain(const char *words, size_t at)
{
	fprintf(stderr, "%s (at %zu)\n", words, at);
	abort();
}

static struct wh_test_frame frame_of(const uint8_t *bytes, uint32_t number)
{
	/* tpacket_rcv() puts a frame behind the slot's header and address, at 68 or more, wherever its link type has
	 * it. */
	uint32_t captured = (uint32_t)(bytes[0] | bytes[1] << 8);
	return (struct wh_test_frame){
		.captured = captured,
		.original = captured + bytes[2],
		.mac = 72 + bytes[3] % 48,
		.status = ((bytes[4] & 1) != 0 ? TP_STATUS_VLAN_VALID : 0) |
			  ((bytes[4] & 2) != 0 ? TP_STATUS_VLAN_TPID_VALID : 0),
		.tci = (uint16_t)(bytes[5] << 8 | bytes[6]),
		.tpid = (bytes[4] & 4) != 0 ? 0x88A8 : 0x8100,
		.packet_type = bytes[4] >> 3,
		.ns = (uint64_t)bytes[7] << 53 | number,
		.seed = number + 1,
	};
}

/* Fills the block; false where nothing fits. */
static bool block_fill(const uint8_t *data, size_t size)
{
	static const uint32_t capacities[] = { PAGE, 2 * PAGE, 4 * PAGE, 16 * PAGE, LARGEST_BLOCK };
	uint32_t capacity = capacities[data[0] % 5];
	wh_test_block_begin(&block, memory + LARGEST_BLOCK - capacity, capacity, WH_CHUNK_FIRST_SLOT);
	for (size_t at = HEAD_BYTES; at + FRAME_BYTES <= size; at += FRAME_BYTES) {
		struct wh_test_frame frame = frame_of(data + at, block.count);
		/* The last ones are made to end near the block's end. */
		if (block.next + frame.mac + frame.captured > capacity &&
		    block.next + frame.mac + data[at] % 96 < capacity) {
			frame.captured = capacity - block.next - frame.mac - data[at] % 96;
			frame.original = frame.captured;
		}
		if (!wh_test_block_add(&block, &frame))
			break;
	}
	return block.count > 0;
}

static struct wh_chunk chunk_begin(const struct wh_encoding *encoding, uint64_t lost)
{
	wh_test_block_rebuild(&block);
	return (struct wh_chunk){ .lost = lost,
				  .received_total = lost + block.count,
				  .dropped_total = lost,
				  .source = encoding->source,
				  .interface = encoding->interface };
}

static void bounds_check(const struct wh_chunk *chunk)
{
	if (chunk->base < block.base || chunk->base + chunk->length > block.base + block.capacity)
		complain("the chunk reaches beyond its block", chunk->length);
	if ((block.base[8] & 1) == 0)
		complain("the kernel would take the block back", 8);
	if (chunk->spare_option != 0 && chunk->spare_option + WH_SPARE_OPTION_BYTES > chunk->length)
		complain("the spare option is not in the chunk", chunk->spare_option);
}

static void pcapng_check(const struct wh_encoding *encoding, enum wh_transcription how, uint64_t lost, uint32_t keep)
{
	struct wh_chunk chunk = chunk_begin(encoding, lost);
	wh_pcapng_encode(encoding, how, block.base, block.capacity, block.first_slot, block.count, &chunk);
	bounds_check(&chunk);
	if (keep < block.count) {
		wh_pcapng_cut(&chunk, keep);
		bounds_check(&chunk);
	}
	struct wh_test_walk walk = { 0 };
	size_t at = 0;
	bool good;
	if (chunk.kind == WH_CHUNK_SEALED) {
		wh_pcapng_stamp(chunk.base, 1, 0);
		at = wh_test_file_begin(file, PAGE, 2, 1);
		memcpy(file + at, chunk.base, chunk.length);
		good = wh_test_walk_file(&walk, file, at + chunk.length);
	} else {
		good = wh_test_walk_run(&walk, chunk.base, chunk.length, 2);
	}
	if (!good)
		complain(walk.problem, walk.problem_at);
	const char *problem = wh_test_frames_compare(&walk, 0, &block, keep, encoding, lost, false);
	if (problem != NULL || walk.frame_count != keep || chunk.frames != keep)
		complain(problem != NULL ? problem : "a wrong number of frames", walk.frame_count);
	wh_test_walk_free(&walk);
}

static void pcap_check(const struct wh_encoding *encoding, uint32_t keep)
{
	struct wh_chunk chunk = chunk_begin(encoding, 0);
	wh_pcap_encode(encoding, block.base, block.first_slot, block.count, &chunk);
	bounds_check(&chunk);
	if (keep < block.count)
		wh_pcap_cut(&chunk, keep);
	wh_pcap_file_header_put(file, encoding->nanoseconds, 262144, 1);
	memcpy(file + WH_PCAP_FILE_HEADER, chunk.base, chunk.length);
	struct wh_test_walk walk = { 0 };
	if (!wh_test_walk_pcap(&walk, file, WH_PCAP_FILE_HEADER + chunk.length))
		complain(walk.problem, walk.problem_at);
	const char *problem = wh_test_frames_compare(&walk, 0, &block, keep, encoding, 0, true);
	if (problem != NULL || walk.frame_count != keep)
		complain(problem != NULL ? problem : "a wrong number of frames", walk.frame_count);
	wh_test_walk_free(&walk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (memory == NULL) {
		memory = wh_test_guarded(LARGEST_BLOCK);
		file = malloc(LARGEST_BLOCK + 2 * PAGE);
		if (memory == NULL || file == NULL)
			abort();
	}
	if (size < HEAD_BYTES || !block_fill(data, size))
		return 0;
	struct wh_encoding encoding = { .rules = { .snapshot_length = (data[1] & 1) != 0 ? 262144 : 70000,
						   .ethernet = (data[1] & 2) != 0 },
					.source = 5,
					.interface = 1,
					.nanoseconds = (data[1] & 4) != 0 };
	uint64_t lost = data[2];
	uint32_t keep = 1 + data[3] % block.count;
	for (int how = WH_TRANSCRIBE_IN_PLACE; how <= WH_TRANSCRIBE_RUN; how++) {
		pcapng_check(&encoding, (enum wh_transcription)how, lost, block.count);
		pcapng_check(&encoding, (enum wh_transcription)how, lost, keep);
	}
	pcap_check(&encoding, block.count);
	pcap_check(&encoding, keep);
	return 0;
}
