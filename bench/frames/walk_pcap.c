/* SPDX-License-Identifier: BSD-3-Clause */
/* The records of a classic pcap file (pcap-savefile(5)). */
#include "walk_formats.h"

enum { HEADER_BYTES = 24, RECORD_BYTES = 16, NS_PER_S = 1000000000 };

static const uint32_t magic_us = 0xa1b2c3d4, magic_ns = 0xa1b23c4d;

bool wh_walk_is_pcap(struct wh_walk *walk)
{
	for (int order = 0; walk->size >= 4 && order < 2; order++) {
		walk->swapped = order == 1;
		uint32_t magic = wh_walk_get32(walk, walk->bytes);
		if (magic == magic_us || magic == magic_ns)
			return true;
	}
	walk->swapped = false;
	return false;
}

bool wh_walk_pcap_header(struct wh_walk *walk)
{
	if (walk->size < HEADER_BYTES)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside its header");
	/* The upper bits of the link type say something of the frame check sequence. */
	walk->interfaces[0] = (struct wh_walk_interface){
		.link_type = wh_walk_get32(walk, walk->bytes + 20) & 0x0fffffff,
		.snapshot = wh_walk_get32(walk, walk->bytes + 16),
		.ns_per_tick = wh_walk_get32(walk, walk->bytes) == magic_ns ? 1 : 1000,
	};
	walk->interface_count = 1;
	walk->sections = 1;
	walk->at = HEADER_BYTES;
	return true;
}

bool wh_walk_pcap_record(struct wh_walk *walk)
{
	uint64_t left = walk->size - walk->at;
	if (left < RECORD_BYTES)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside a record");
	const uint8_t *record = walk->bytes + walk->at;
	const struct wh_walk_interface *interface = &walk->interfaces[0];
	uint64_t fraction_ns = wh_walk_get32(walk, record + 4) * interface->ns_per_tick;
	struct wh_walk_frame frame = { .offset = walk->at,
				       .time_ns = wh_walk_get32(walk, record) * UINT64_C(1000000000) + fraction_ns,
				       .captured = wh_walk_get32(walk, record + 8),
				       .original = wh_walk_get32(walk, record + 12),
				       .data = record + RECORD_BYTES };
	if (fraction_ns >= NS_PER_S)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "record with more than a second of fraction");
	if (frame.captured > frame.original || (interface->snapshot != 0 && frame.captured > interface->snapshot))
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "record longer than the snapshot or its original length");
	if (frame.captured > left - RECORD_BYTES)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside a record");
	walk->listener->frame(walk->listener->context, walk, &frame);
	walk->at += RECORD_BYTES + (uint64_t)frame.captured;
	return true;
}
