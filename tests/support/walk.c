/* SPDX-License-Identifier: BSD-3-Clause */
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	BLOCK_INTERFACE = 1,
	BLOCK_STATISTICS = 5,
	BLOCK_PACKET = 6,
	BYTE_ORDER_MAGIC = 0x1a2b3c4d,
	OPTION_END = 0,
	CHUNK_HEAD_BYTES = 64,
	CHUNK_RECORD_BYTES = 24,
	CHUNK_MAGIC = 0x4b434857,
	CHUNK_VERSION = 1,
	BLOCK_BYTES_MAX = 1 << 30
};
#define BLOCK_SECTION UINT32_C(0x0a0d0d0a)
#define BLOCK_CHUNK   UINT32_C(0x80005748)

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

static uint16_t get16(const uint8_t *from)
{
	uint16_t value;
	memcpy(&value, from, sizeof(value));
	return value;
}

static uint32_t get32(const uint8_t *from)
{
	uint32_t value;
	memcpy(&value, from, sizeof(value));
	return value;
}

static uint64_t get64(const uint8_t *from)
{
	uint64_t value;
	memcpy(&value, from, sizeof(value));
	return value;
}

/* pcapng writes times as two 32-bit words, the high one first, whatever the byte order. */
static uint64_t get_time(const uint8_t *from)
{
	return (uint64_t)get32(from) << 32 | get32(from + 4);
}

/* Ends the walk at its present position. Always returns false. */
static bool fault(struct wh_walk *walk, enum wh_walk_state state, const char *reason)
{
	walk->state = state;
	walk->reason = reason;
	return false;
}

/* Takes the next option. Returns false at the end of them, or when they are broken (then FAULT is set). */
static bool next_option(struct options *options, struct option *option)
{
	if (options->at == options->end || options->terminated)
		return false;
	if (options->end - options->at < 4) {
		options->fault = "option list ends inside an option";
		return false;
	}
	option->code = get16(options->at);
	option->length = get16(options->at + 2);
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
		return fault(walk, WH_WALK_DAMAGED, "section header too short");
	if (get16(block + 12) != 1)
		return fault(walk, WH_WALK_DAMAGED, "unknown major version");
	int64_t section = (int64_t)get64(block + 16);
	if (section != -1 && (section < 0 || (uint64_t)section > walk->size - walk->at - length))
		return fault(walk, WH_WALK_DAMAGED, "section longer than the file");
	struct options options = options_of(block, length, 24);
	struct option option;
	while (next_option(&options, &option))
		;
	if (options.fault != NULL)
		return fault(walk, WH_WALK_DAMAGED, options.fault);
	walk->sections++;
	walk->interface_count = 0;
	return true;
}

static bool take_interface(struct wh_walk *walk, const uint8_t *block, uint32_t length)
{
	if (length < 20)
		return fault(walk, WH_WALK_DAMAGED, "interface description too short");
	if (walk->interface_count == WH_WALK_INTERFACES)
		return fault(walk, WH_WALK_DAMAGED, "more interfaces than this reader holds");
	struct wh_walk_interface *interface = &walk->interfaces[walk->interface_count];
	*interface = (struct wh_walk_interface){ .link_type = get16(block + 8),
						 .snapshot = get32(block + 12),
						 .ns_per_tick = 1000 };
	struct options options = options_of(block, length, 16);
	struct option option;
	while (next_option(&options, &option)) {
		if (option.code == 2) { /* if_name */
			size_t kept = option.length < WH_WALK_NAME_BYTES ? option.length : WH_WALK_NAME_BYTES - 1;
			memcpy(interface->name, option.value, kept);
			interface->name[kept] = '\0';
		} else if (option.code == 9 && option.length == 1) { /* if_tsresol */
			interface->ns_per_tick = ns_per_tick(option.value[0]);
		}
	}
	if (options.fault != NULL)
		return fault(walk, WH_WALK_DAMAGED, options.fault);
	walk->interface_count++;
	return true;
}

static bool take_statistics(struct wh_walk *walk, const uint8_t *block, uint32_t length)
{
	if (length < 24)
		return fault(walk, WH_WALK_DAMAGED, "interface statistics too short");
	if (get32(block + 8) >= walk->interface_count)
		return fault(walk, WH_WALK_DAMAGED, "statistics of an interface that was not described");
	struct wh_walk_interface *interface = &walk->interfaces[get32(block + 8)];
	interface->has_statistics = true;
	interface->received = interface->os_dropped = interface->delivered = UINT64_MAX;
	struct options options = options_of(block, length, 20);
	struct option option;
	while (next_option(&options, &option)) {
		if (option.length != 8)
			continue;
		if (option.code == 4) /* isb_ifrecv */
			interface->received = get64(option.value);
		else if (option.code == 7) /* isb_osdrop */
			interface->os_dropped = get64(option.value);
		else if (option.code == 8) /* isb_usrdeliv */
			interface->delivered = get64(option.value);
	}
	return options.fault == NULL || fault(walk, WH_WALK_DAMAGED, options.fault);
}

static bool take_packet(struct wh_walk *walk, const uint8_t *block, uint32_t length)
{
	if (length < 32)
		return fault(walk, WH_WALK_DAMAGED, "packet block too short");
	struct wh_walk_frame frame = { .offset = walk->at,
				       .interface = get32(block + 8),
				       .captured = get32(block + 20),
				       .original = get32(block + 24),
				       .data = block + 28 };
	if (frame.interface >= walk->interface_count)
		return fault(walk, WH_WALK_DAMAGED, "packet of an interface that was not described");
	const struct wh_walk_interface *interface = &walk->interfaces[frame.interface];
	uint64_t padded = ((uint64_t)frame.captured + 3) & ~UINT64_C(3);
	if (padded > length - 32)
		return fault(walk, WH_WALK_DAMAGED, "packet longer than its block");
	if (frame.captured > frame.original || (interface->snapshot != 0 && frame.captured > interface->snapshot))
		return fault(walk, WH_WALK_DAMAGED, "packet longer than the snapshot or its original length");
	frame.time_ns = get_time(block + 12) * interface->ns_per_tick;

	struct options options = options_of(block, length, 28 + (uint32_t)padded);
	bool any = options.at != options.end;
	struct option option;
	while (next_option(&options, &option)) {
		if (option.code == 2 && option.length == 4) /* epb_flags */
			frame.flags = get32(option.value);
		else if (option.code == 4 && option.length == 8) /* epb_dropcount */
			frame.drop_count = get64(option.value);
	}
	if (options.fault != NULL)
		return fault(walk, WH_WALK_DAMAGED, options.fault);
	frame.unterminated = any && !options.terminated;
	walk->listener->frame(walk->listener->context, walk, &frame);
	return true;
}

static bool take_chunk(struct wh_walk *walk, const uint8_t *block, uint32_t length)
{
	if (walk->at % WH_WALK_PAGE != 0)
		return fault(walk, WH_WALK_DAMAGED, "chunk that does not start on a 4 KiB boundary");
	if (length < CHUNK_HEAD_BYTES + 4)
		return fault(walk, WH_WALK_DAMAGED, "chunk head too short");
	struct wh_walk_chunk chunk = { .offset = walk->at,
				       .magic = get32(block + 8),
				       .version = get16(block + 12),
				       .record_count = get16(block + 14),
				       .session = get64(block + 16),
				       .sequence = get64(block + 24),
				       .bytes = get32(block + 32),
				       .frames = get32(block + 36),
				       .first_ns = get64(block + 40),
				       .last_ns = get64(block + 48),
				       .lost = get64(block + 56) };
	if (chunk.magic != CHUNK_MAGIC || chunk.version != CHUNK_VERSION)
		return fault(walk, WH_WALK_DAMAGED, "chunk head of an unknown magic number or version");
	if (chunk.record_count > WH_WALK_RECORDS ||
	    chunk.record_count * CHUNK_RECORD_BYTES > length - CHUNK_HEAD_BYTES - 4)
		return fault(walk, WH_WALK_DAMAGED, "more records than the chunk head holds");
	if (chunk.bytes % WH_WALK_PAGE != 0 || (chunk.bytes != 0 && chunk.bytes < length))
		return fault(walk, WH_WALK_DAMAGED, "chunk length that is not one of whole pages");
	if (chunk.bytes > walk->size - walk->at)
		return fault(walk, WH_WALK_TRUNCATED, "file ends inside a chunk");
	for (size_t i = 0; i < chunk.record_count; i++) {
		const uint8_t *at = block + CHUNK_HEAD_BYTES + i * CHUNK_RECORD_BYTES;
		chunk.records[i] = (struct wh_walk_record){ .source = get16(at),
							    .interface = get16(at + 2),
							    .frames = get32(at + 4),
							    .received = get64(at + 8),
							    .dropped = get64(at + 16) };
	}
	walk->listener->chunk(walk->listener->context, walk, &chunk);
	return true;
}

/* Takes the block at the walk's position and moves behind it. */
static bool take_block(struct wh_walk *walk)
{
	uint64_t left = walk->size - walk->at;
	if (left < 12)
		return fault(walk, WH_WALK_TRUNCATED, "file ends inside a block");
	const uint8_t *block = walk->bytes + walk->at;
	uint32_t type = get32(block);
	uint32_t length = get32(block + 4);
	if (type == BLOCK_SECTION && get32(block + 8) != BYTE_ORDER_MAGIC)
		return fault(walk, WH_WALK_DAMAGED, "section header without the byte-order magic");
	if (length < 12 || length % 4 != 0 || length > BLOCK_BYTES_MAX)
		return fault(walk, WH_WALK_DAMAGED, "impossible block length");
	if (walk->sections == 0 && type != BLOCK_SECTION)
		return fault(walk, WH_WALK_DAMAGED, "first block is not a section header");
	if (length > left)
		return fault(walk, WH_WALK_TRUNCATED, "file ends inside a block");
	if (get32(block + length - 4) != length)
		return fault(walk, WH_WALK_DAMAGED, "the two lengths of a block differ");

	bool good = true;
	if (type == BLOCK_PACKET)
		good = take_packet(walk, block, length);
	else if (type == BLOCK_CHUNK)
		good = take_chunk(walk, block, length);
	else if (type == BLOCK_INTERFACE)
		good = take_interface(walk, block, length);
	else if (type == BLOCK_STATISTICS)
		good = take_statistics(walk, block, length);
	else if (type == BLOCK_SECTION)
		good = take_section(walk, block, length);
	else
		walk->unknown_blocks++;
	if (good)
		walk->at += length;
	return good;
}

static bool take_pcap_header(struct wh_walk *walk)
{
	if (walk->size < 24)
		return fault(walk, WH_WALK_TRUNCATED, "file ends inside its header");
	walk->interfaces[0] = (struct wh_walk_interface){ .link_type = get32(walk->bytes + 20) & 0x0fffffff,
							  .snapshot = get32(walk->bytes + 16),
							  .ns_per_tick = get32(walk->bytes) == 0xa1b23c4d ? 1 : 1000 };
	walk->interface_count = 1;
	walk->sections = 1;
	walk->at = 24;
	return true;
}

/* Takes one record of a classic pcap file. */
static bool take_pcap_record(struct wh_walk *walk)
{
	uint64_t left = walk->size - walk->at;
	if (left < 16)
		return fault(walk, WH_WALK_TRUNCATED, "file ends inside a record");
	const uint8_t *record = walk->bytes + walk->at;
	const struct wh_walk_interface *interface = &walk->interfaces[0];
	uint64_t fraction_ns = get32(record + 4) * interface->ns_per_tick;
	struct wh_walk_frame frame = { .offset = walk->at,
				       .time_ns = get32(record) * UINT64_C(1000000000) + fraction_ns,
				       .captured = get32(record + 8),
				       .original = get32(record + 12),
				       .data = record + 16 };
	if (fraction_ns >= 1000000000)
		return fault(walk, WH_WALK_DAMAGED, "record with more than a second of fraction");
	if (frame.captured > frame.original || frame.captured > interface->snapshot)
		return fault(walk, WH_WALK_DAMAGED, "record longer than the snapshot or its original length");
	if (frame.captured > left - 16)
		return fault(walk, WH_WALK_TRUNCATED, "file ends inside a record");
	walk->listener->frame(walk->listener->context, walk, &frame);
	walk->at += 16 + (uint64_t)frame.captured;
	return true;
}

static void look_behind(struct wh_walk *walk)
{
	uint64_t end = walk->size;
	while (end > walk->at && walk->bytes[end - 1] == 0)
		end--;
	/* A chunk that was cut off may end in the zeros of its filler; and fewer than 4 are but a block's length. */
	if (walk->state == WH_WALK_DAMAGED && walk->size - end >= 4)
		walk->zero_tail = walk->size - end;
	for (uint64_t at = (walk->at / WH_WALK_PAGE + 1) * WH_WALK_PAGE; at + 8 <= walk->size; at += WH_WALK_PAGE)
		walk->chunks_behind += get32(walk->bytes + at) == BLOCK_CHUNK;
}

static void walk_all(struct wh_walk *walk)
{
	bool good = true;
	if (walk->size < 4)
		good = fault(walk, WH_WALK_TRUNCATED, walk->size == 0 ? "file is empty" : "file ends inside a block");
	else if (get32(walk->bytes) == BLOCK_SECTION)
		walk->format = WH_WALK_PCAPNG;
	else if (get32(walk->bytes) == 0xa1b2c3d4 || get32(walk->bytes) == 0xa1b23c4d)
		walk->format = WH_WALK_PCAP;
	else
		good = fault(walk, WH_WALK_DAMAGED, "neither pcapng nor pcap");

	if (good && walk->format == WH_WALK_PCAP)
		good = take_pcap_header(walk);
	while (good && walk->at < walk->size)
		good = walk->format == WH_WALK_PCAP ? take_pcap_record(walk) : take_block(walk);
	walk->offset = walk->at;
	if (!good)
		look_behind(walk);
}

bool wh_walk_file(struct wh_walk *walk, const char *path, const struct wh_walk_listener *listener)
{
	*walk = (struct wh_walk){ .listener = listener, .reason = "" };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	struct stat status;
	bool good = fstat(fd, &status) == 0;
	if (good && !S_ISREG(status.st_mode)) {
		errno = EINVAL;
		good = false;
	}
	if (good && status.st_size > 0) {
		walk->size = (uint64_t)status.st_size;
		void *bytes = mmap(NULL, (size_t)walk->size, PROT_READ, MAP_PRIVATE, fd, 0);
		good = bytes != MAP_FAILED;
		walk->bytes = good ? bytes : NULL;
	}
	int saved = errno;
	close(fd);
	errno = saved;
	if (!good)
		return false;
	if (walk->size > 0)
		madvise((void *)walk->bytes, (size_t)walk->size, MADV_SEQUENTIAL);
	walk_all(walk);
	return true;
}

void wh_walk_close(struct wh_walk *walk)
{
	if (walk->bytes != NULL)
		munmap((void *)walk->bytes, (size_t)walk->size);
	walk->bytes = NULL;
}
