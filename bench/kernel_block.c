/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernel_block.h"

#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ringbuf/spsc.h"
#include "writer/format_pcapng.h"
#include "writer/ring_slot.h"

enum {
	SLOT_ALIGNMENT = 8, /* V3_ALIGNMENT */
	FRAME_AT = 84,      /* tp_mac of an Ethernet frame with PACKET_RESERVE 2 */
	SLOT_READ_BYTES = WH_SLOT_ADDRESS_AT + offsetof(struct sockaddr_ll, sll_pkttype) + 1
};

static uint32_t slot_bytes(uint32_t frame_bytes)
{
	return (FRAME_AT + frame_bytes + SLOT_ALIGNMENT - 1) & ~(uint32_t)(SLOT_ALIGNMENT - 1);
}

uint32_t wh_kernel_block_fill(uint8_t *base, uint32_t capacity, uint32_t frame_bytes, uint32_t *used)
{
	uint32_t size = slot_bytes(frame_bytes);
	/* The kernel opens a new block when a slot would end with this one. */
	uint32_t frames = (capacity - WH_CHUNK_FIRST_SLOT - 1) / size;
	struct tpacket3_hdr header = {
		.tp_next_offset = size,
		.tp_sec = 1767225600,
		.tp_snaplen = frame_bytes,
		.tp_len = frame_bytes,
		.tp_status = TP_STATUS_USER,
		.tp_mac = FRAME_AT,
		.tp_net = FRAME_AT + 14,
	};
	const struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_halen = 6, .sll_pkttype = PACKET_HOST };
	uint8_t *at = base + WH_CHUNK_FIRST_SLOT;
	for (uint32_t i = 0; i < frames; i++) {
		header.tp_nsec = i * 1000;
		if (i + 1 == frames)
			header.tp_next_offset = 0;
		memcpy(at, &header, sizeof(header));
		memcpy(at + WH_SLOT_ADDRESS_AT, &address, sizeof(address));
		at += size;
	}
	struct tpacket_block_desc *block = (struct tpacket_block_desc *)(void *)base;
	block->hdr.bh1.block_status = TP_STATUS_USER;
	block->hdr.bh1.num_pkts = frames;
	block->hdr.bh1.offset_to_first_pkt = WH_CHUNK_FIRST_SLOT;
	*used = WH_CHUNK_FIRST_SLOT + frames * size;
	return frames;
}

/* One flag for each cache line of a block. */
struct lines {
	const uint8_t *base;
	bool *touched;
};

static void mark(struct lines *lines, const uint8_t *from, size_t length)
{
	if (length == 0)
		return;
	size_t first = (size_t)(from - lines->base) / WH_CACHE_LINE;
	size_t last = (size_t)(from + length - 1 - lines->base) / WH_CACHE_LINE;
	for (size_t i = first; i <= last; i++)
		lines->touched[i] = true;
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

/* Marks the frame that was at SOURCE and is at DATA, if it moved. */
static void mark_move(struct lines *lines, const uint8_t *source, const uint8_t *data, uint32_t bytes)
{
	if (source == data)
		return;
	mark(lines, source, bytes);
	mark(lines, data, bytes);
}

static void mark_records(struct lines *lines, uint32_t frame_bytes, bool classic, const struct wh_chunk *chunk)
{
	const uint8_t *slot = lines->base + WH_CHUNK_FIRST_SLOT;
	const uint8_t *at = chunk->base, *end = chunk->base + chunk->length;
	while (at < end) {
		if (classic) {
			mark(lines, slot, SLOT_READ_BYTES);
			mark(lines, at, WH_PCAP_RECORD_HEADER);
			mark_move(lines, slot + FRAME_AT, at + WH_PCAP_RECORD_HEADER, frame_bytes);
			at += WH_PCAP_RECORD_HEADER + frame_bytes;
			slot += slot_bytes(frame_bytes);
			continue;
		}
		uint32_t length = get32(at + 4);
		if (get32(at) == WH_PCAPNG_EPB) {
			const uint8_t *options = at + WH_EPB_HEADER + ((frame_bytes + 3) & ~3u);
			mark(lines, slot, SLOT_READ_BYTES);
			mark(lines, at, WH_EPB_HEADER);
			mark(lines, options, (size_t)(at + length - options));
			mark_move(lines, slot + FRAME_AT, at + WH_EPB_HEADER, frame_bytes);
			slot += slot_bytes(frame_bytes);
		} else { /* head and filler, which is cleared */
			mark(lines, at, length);
		}
		at += length;
	}
}

uint64_t wh_kernel_block_touched(const uint8_t *base, uint32_t capacity, uint32_t frame_bytes, bool classic,
				 const struct wh_chunk *chunk)
{
	size_t count = capacity / WH_CACHE_LINE;
	struct lines lines = { .base = base, .touched = calloc(count, sizeof(bool)) };
	if (lines.touched == NULL)
		return 0;
	mark_records(&lines, frame_bytes, classic, chunk);
	uint64_t touched = 0;
	for (size_t i = 0; i < count; i++)
		touched += lines.touched[i] ? WH_CACHE_LINE : 0;
	free(lines.touched);
	return touched;
}
