/* SPDX-License-Identifier: BSD-3-Clause */
/* Classic pcap (draft-ietf-opsawg-pcap): 16 bytes before each frame, nothing between records, so every frame is moved
 * once within its ring block and copied once into the writer's buffer. */
#include <string.h>

#include "writer/format_pcapng.h"

#define MAGIC_MICROSECONDS 0xA1B2C3D4u
#define MAGIC_NANOSECONDS  0xA1B23C4Du
enum { VERSION_MAJOR = 2, VERSION_MINOR = 4 };

void wh_pcap_file_header_put(uint8_t *at, bool nanoseconds, uint32_t snapshot_length, uint16_t link_type)
{
	const uint32_t magic = nanoseconds ? MAGIC_NANOSECONDS : MAGIC_MICROSECONDS;
	const uint16_t version[2] = { VERSION_MAJOR, VERSION_MINOR };
	const uint32_t rest[4] = { 0, 0, snapshot_length, link_type };
	memcpy(at, &magic, sizeof(magic));
	memcpy(at + 4, version, sizeof(version));
	memcpy(at + 8, rest, sizeof(rest));
}

/* A record is 16 bytes longer than its frame, a slot at least 76: no slot is overwritten before it was read. */
void wh_pcap_encode(const struct wh_encoding *encoding, uint8_t *block, uint32_t first_slot, uint32_t frames,
		    struct wh_chunk *chunk)
{
	uint8_t *at = block + first_slot;
	uint8_t *to = block + WH_CHUNK_FIRST_SLOT;
	chunk->kind = WH_CHUNK_RUN;
	chunk->base = to;
	chunk->frames = frames;
	chunk->frame_bytes = 0;
	chunk->truncated = 0;
	chunk->spare_option = 0;
	for (uint32_t i = 0; i < frames; i++) {
		struct wh_slot slot = wh_slot_read(at, &encoding->rules);
		uint32_t fraction = (uint32_t)(slot.ns % WH_NS_PER_SECOND);
		const uint32_t header[4] = { (uint32_t)(slot.ns / WH_NS_PER_SECOND),
					     encoding->nanoseconds ? fraction : fraction / 1000, slot.captured,
					     slot.original };
		memmove(to + WH_PCAP_RECORD_HEADER, slot.data, slot.captured);
		memcpy(to, header, sizeof(header));
		if (i == 0 || slot.ns < chunk->first_ns)
			chunk->first_ns = slot.ns;
		if (i == 0 || slot.ns > chunk->last_ns)
			chunk->last_ns = slot.ns;
		chunk->frame_bytes += slot.captured;
		chunk->truncated += slot.captured < slot.original;
		chunk->last_record = (uint32_t)(to - chunk->base);
		to += WH_PCAP_RECORD_HEADER + slot.captured;
		at += slot.next;
	}
	chunk->copied_bytes = chunk->frame_bytes;
	chunk->length = (uint32_t)(to - chunk->base);
}

void wh_pcap_cut(struct wh_chunk *chunk, uint32_t frames)
{
	const uint8_t *at = chunk->base;
	chunk->frame_bytes = 0;
	chunk->truncated = 0;
	for (uint32_t i = 0; i < frames; i++) {
		uint32_t lengths[2];
		memcpy(lengths, at + 8, sizeof(lengths));
		chunk->frame_bytes += lengths[0];
		chunk->truncated += lengths[0] < lengths[1];
		chunk->last_record = (uint32_t)(at - chunk->base);
		at += WH_PCAP_RECORD_HEADER + lengths[0];
	}
	chunk->received_total -= chunk->frames - frames;
	chunk->frames = frames;
	chunk->copied_bytes = chunk->frame_bytes;
	chunk->length = (uint32_t)(at - chunk->base);
}

uint32_t wh_pcap_records_within(const struct wh_chunk *chunk, uint32_t *at, uint32_t end)
{
	uint32_t records = 0;
	for (;;) {
		uint32_t captured;
		if (*at + WH_PCAP_RECORD_HEADER > end)
			return records;
		memcpy(&captured, chunk->base + *at + 8, sizeof(captured));
		if (*at + WH_PCAP_RECORD_HEADER + captured > end)
			return records;
		*at += WH_PCAP_RECORD_HEADER + captured;
		records++;
	}
}
