/* SPDX-License-Identifier: BSD-3-Clause */
/* The blocks of a pcapng file. */
#include "walk_formats.h"

enum {
	BLOCK_INTERFACE = 1,
	BLOCK_OLD_PACKET = 2,
	BLOCK_SIMPLE_PACKET = 3,
	BLOCK_STATISTICS = 5,
	BLOCK_PACKET = 6,
	BYTE_ORDER_MAGIC = 0x1a2b3c4d,
	SWAPPED_MAGIC = 0x4d3c2b1a,
	OPTION_END = 0,
	CHUNK_HEAD_BYTES = 64,
	CHUNK_RECORD_BYTES = 24,
	CHUNK_MAGIC = 0x4b434857,
	CHUNK_VERSION = 1
};

/* One option of a block. */
struct option {
	uint16_t code, length;
	const uint8_t *value;
};

/* Where the options of a block lie. */
struct options {
	const uint8_t *at, *end;
	bool terminated;
	const char *fault; /* NULL as long as they are in order */
};

/* pcapng writes times as two 32-bit words, the high one first, whatever the byte order. */
static uint64_t get_time(const struct wh_walk *walk, const uint8_t *from)
{
	return (uint64_t)wh_walk_get32(walk, from) << 32 | wh_walk_get32(walk, from + 4);
}

/* Takes the next option. Returns false at the end of them, or when they are broken (then FAULT is set). */
static bool next_option(const struct wh_walk *walk, struct options *options, struct option *option)
{
	if (options->at == options->end || options->terminated)
		return false;
	if (options->end - options->at < 4) {
		options->fault = "option list ends inside an option";
		return false;
	}
	option->code = wh_walk_get16(walk, options->at);
	option->length = wh_walk_get16(walk, options->at + 2);
	option->value = options->at + 4;
	if (option->code == OPTION_END) {
		options->terminated = true;
		if (option->length != 0)
			options->fault = "opt_endofopt with a length";
		return false;
	}
	size_t padded = ((size_t)option->length + 3) & ~(size_t)3;
	if ((size_t)(options->end - option->value) < padded) {
		options->fault = "option longer than its block";
		return false;
	}
	options->at = option->value + padded;
	return true;
}

/* The part of a block behind its first HEAD bytes and in front of its last length. */
static struct options options_of(const uint8_t *block, uint32_t length, uint32_t head)
{
	return (struct options){ .at = block + head, .end = block + length - 4 };
}

static uint64_t ns_per_tick(uint8_t resolution)
{
	uint64_t ns = 1000000000;
	for (uint8_t i = 0; i < resolution; i++)
		ns = ns % 10 == 0 ? ns / 10 : 0;
	return ns;
}

static bool take_section(struct wh_walk *walk, const uint8_t *block, uint32_t length)
{
	if (length < 28)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "section header too short");
	if (wh_walk_get16(walk, block + 12) != 1)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "unknown major version");
	int64_t section = (int64_t)wh_walk_get64(walk, block + 16);
	if (section != -1 && (section < 0 || (uint64_t)section > walk->size - walk->at - length))
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "section longer than the file");
	struct options options = options_of(block, length, 24);
	struct option option;
	while (next_option(walk, &options, &option))
		;
	if (options.fault != NULL)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, options.fault);
	walk->sections++;
	walk->interface_count = 0;
	return true;
}

static bool take_interface(struct wh_walk *walk, const uint8_t *block, uint32_t length)
{
	if (length < 20)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "interface description too short");
	if (walk->interface_count == WH_WALK_INTERFACES)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "more interfaces than this reader holds");
	struct wh_walk_interface *interface = &walk->interfaces[walk->interface_count];
	*interface = (struct wh_walk_interface){ .link_type = wh_walk_get16(walk, block + 8),
						 .snapshot = wh_walk_get32(walk, block + 12),
						 .ns_per_tick = 1000 };
	struct options options = options_of(block, length, 16);
	struct option option;
	while (next_option(walk, &options, &option)) {
		if (option.code == 2) { /* if_name */
			size_t kept = option.length < WH_WALK_NAME_BYTES ? option.length : WH_WALK_NAME_BYTES - 1;
			memcpy(interface->name, option.value, kept);
			interface->name[kept] = '\0';
		} else if (option.code == 9 && option.length == 1) { /* if_tsresol */
			interface->ns_per_tick = ns_per_tick(option.value[0]);
		}
	}
	if (options.fault != NULL)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, options.fault);
	walk->interface_count++;
	return true;
}

static bool take_statistics(struct wh_walk *walk, const uint8_t *block, uint32_t length)
{
	if (length < 24)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "interface statistics too short");
	if (wh_walk_get32(walk, block + 8) >= walk->interface_count)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "statistics of an interface that was not described");
	struct wh_walk_interface *interface = &walk->interfaces[wh_walk_get32(walk, block + 8)];
	interface->has_statistics = true;
	interface->received = interface->os_dropped = interface->delivered = UINT64_MAX;
	struct options options = options_of(block, length, 20);
	struct option option;
	while (next_option(walk, &options, &option)) {
		if (option.length != 8)
			continue;
		if (option.code == 4) /* isb_ifrecv */
			interface->received = wh_walk_get64(walk, option.value);
		else if (option.code == 7) /* isb_osdrop */
			interface->os_dropped = wh_walk_get64(walk, option.value);
		else if (option.code == 8) /* isb_usrdeliv */
			interface->delivered = wh_walk_get64(walk, option.value);
	}
	return options.fault == NULL || wh_walk_fault(walk, WH_WALK_DAMAGED, options.fault);
}

/* Reads the options behind a packet, and tells the listener of it. */
static bool tell_packet(struct wh_walk *walk, struct wh_walk_frame *frame, struct options options)
{
	bool any = options.at != options.end;
	struct option option;
	while (next_option(walk, &options, &option)) {
		if (option.code == 2 && option.length == 4) /* epb_flags */
			frame->flags = wh_walk_get32(walk, option.value);
		else if (option.code == 4 && option.length == 8) /* epb_dropcount */
			frame->drop_count = wh_walk_get64(walk, option.value);
	}
	if (options.fault != NULL)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, options.fault);
	frame->unterminated = any && !options.terminated;
	walk->listener->frame(walk->listener->context, walk, frame);
	return true;
}

/* An Enhanced Packet Block; or its predecessor (OLD), whose interface is half as wide and shares its word with drops.
 */
static bool take_packet(struct wh_walk *walk, const uint8_t *block, uint32_t length, bool old)
{
	if (length < 32)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "packet block too short");
	struct wh_walk_frame frame = { .offset = walk->at,
				       .interface =
					   old ? wh_walk_get16(walk, block + 8) : wh_walk_get32(walk, block + 8),
				       .captured = wh_walk_get32(walk, block + 20),
				       .original = wh_walk_get32(walk, block + 24),
				       .data = block + 28 };
	if (frame.interface >= walk->interface_count)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "packet of an interface that was not described");
	const struct wh_walk_interface *interface = &walk->interfaces[frame.interface];
	uint64_t padded = ((uint64_t)frame.captured + 3) & ~UINT64_C(3);
	if (padded > length - 32)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "packet longer than its block");
	if (frame.captured > frame.original || (interface->snapshot != 0 && frame.captured > interface->snapshot))
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "packet longer than the snapshot or its original length");
	frame.time_ns = get_time(walk, block + 12) * interface->ns_per_tick;
	return tell_packet(walk, &frame, options_of(block, length, 28 + (uint32_t)padded));
}

/* A Simple Packet Block: of the first interface, without a time, and as long as interface and block allow. */
static bool take_simple_packet(struct wh_walk *walk, const uint8_t *block, uint32_t length)
{
	if (length < 16)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "packet block too short");
	if (walk->interface_count == 0)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "packet of an interface that was not described");
	uint32_t snapshot = walk->interfaces[0].snapshot;
	struct wh_walk_frame frame = { .offset = walk->at,
				       .original = wh_walk_get32(walk, block + 8),
				       .data = block + 12 };
	frame.captured = snapshot != 0 && snapshot < frame.original ? snapshot : frame.original;
	if (frame.captured > length - 16)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "packet longer than its block");
	walk->listener->frame(walk->listener->context, walk, &frame);
	return true;
}

static bool take_chunk(struct wh_walk *walk, const uint8_t *block, uint32_t length)
{
	if (walk->at % WH_WALK_PAGE != 0)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "chunk that does not start on a 4 KiB boundary");
	if (length < CHUNK_HEAD_BYTES + 4)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "chunk head too short");
	struct wh_walk_chunk chunk = { .offset = walk->at,
				       .magic = wh_walk_get32(walk, block + 8),
				       .version = wh_walk_get16(walk, block + 12),
				       .record_count = wh_walk_get16(walk, block + 14),
				       .session = wh_walk_get64(walk, block + 16),
				       .sequence = wh_walk_get64(walk, block + 24),
				       .bytes = wh_walk_get32(walk, block + 32),
				       .frames = wh_walk_get32(walk, block + 36),
				       .first_ns = wh_walk_get64(walk, block + 40),
				       .last_ns = wh_walk_get64(walk, block + 48),
				       .lost = wh_walk_get64(walk, block + 56) };
	if (chunk.magic != CHUNK_MAGIC || chunk.version != CHUNK_VERSION)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "chunk head of an unknown magic number or version");
	if (chunk.record_count > WH_WALK_RECORDS ||
	    chunk.record_count * CHUNK_RECORD_BYTES > length - CHUNK_HEAD_BYTES - 4)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "more records than the chunk head holds");
	if (chunk.bytes % WH_WALK_PAGE != 0 || (chunk.bytes != 0 && chunk.bytes < length))
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "chunk length that is not one of whole pages");
	if (chunk.bytes > walk->size - walk->at)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside a chunk");
	for (size_t i = 0; i < chunk.record_count; i++) {
		const uint8_t *at = block + CHUNK_HEAD_BYTES + i * CHUNK_RECORD_BYTES;
		chunk.records[i] = (struct wh_walk_record){ .source = wh_walk_get16(walk, at),
							    .interface = wh_walk_get16(walk, at + 2),
							    .frames = wh_walk_get32(walk, at + 4),
							    .received = wh_walk_get64(walk, at + 8),
							    .dropped = wh_walk_get64(walk, at + 16) };
	}
	walk->listener->chunk(walk->listener->context, walk, &chunk);
	return true;
}

static bool take_block(struct wh_walk *walk, uint32_t type, const uint8_t *block, uint32_t length)
{
	switch (type) {
	case BLOCK_PACKET:
		return take_packet(walk, block, length, false);
	case WH_WALK_BLOCK_CHUNK:
		return take_chunk(walk, block, length);
	case BLOCK_OLD_PACKET:
		return take_packet(walk, block, length, true);
	case BLOCK_SIMPLE_PACKET:
		return take_simple_packet(walk, block, length);
	case BLOCK_INTERFACE:
		return take_interface(walk, block, length);
	case BLOCK_STATISTICS:
		return take_statistics(walk, block, length);
	case WH_WALK_BLOCK_SECTION:
		return take_section(walk, block, length);
	default:
		walk->unknown_blocks++;
		return true;
	}
}

/* Takes the byte order from the section header at BLOCK: it comes before the length that is in that order. */
static bool take_byte_order(struct wh_walk *walk, const uint8_t *block)
{
	walk->swapped = false;
	uint32_t magic = wh_walk_get32(walk, block + 8);
	walk->swapped = magic == SWAPPED_MAGIC;
	return magic == BYTE_ORDER_MAGIC || walk->swapped ||
	       wh_walk_fault(walk, WH_WALK_DAMAGED, "section header without the byte-order magic");
}

bool wh_walk_pcapng_block(struct wh_walk *walk)
{
	uint64_t left = walk->size - walk->at;
	if (left < 12)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside a block");
	const uint8_t *block = walk->bytes + walk->at;
	uint32_t type = wh_walk_get32(walk, block);
	if (type == WH_WALK_BLOCK_SECTION && !take_byte_order(walk, block))
		return false;
	uint32_t length = wh_walk_get32(walk, block + 4);
	if (length < 12 || length % 4 != 0 || length > WH_WALK_BLOCK_BYTES_MAX)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "impossible block length");
	if (walk->sections == 0 && type != WH_WALK_BLOCK_SECTION)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "first block is not a section header");
	if (length > left)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside a block");
	if (wh_walk_get32(walk, block + length - 4) != length)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "the two lengths of a block differ");
	if (!take_block(walk, type, block, length))
		return false;
	walk->at += length;
	return true;
}
