/* SPDX-License-Identifier: BSD-3-Clause */
#include "blocks.h"

#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, SLOT_ALIGNMENT = 8, NS_PER_US = 1000 };
enum { OPTION_END = 0, OPTION_FLAGS = 2, OPTION_DROPCOUNT = 4, OPTION_FILLER = 0x8046, OPTION_RESOLUTION = 9 };

uint64_t wh_test_random(uint64_t *state)
{
	/* xorshift64*, Vigna 2014. */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ULL;
}

uint8_t *wh_test_guarded(size_t bytes)
{
	uint8_t *memory = mmap(NULL, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	if (mprotect(memory + PAGE, bytes, PROT_READ | PROT_WRITE) != 0) {
		munmap(memory, bytes + 2 * PAGE);
		return NULL;
	}
	return memory + PAGE;
}

void wh_test_unguard(uint8_t *memory, size_t bytes)
{
	if (memory != NULL)
		munmap(memory - PAGE, bytes + 2 * PAGE);
}

/* ---- blocks ---- */

/* Eight bytes of a frame's content, from INDEX (a multiple of 8) on. */
static uint64_t content_word(uint64_t seed, uint32_t index)
{
	uint64_t mixed = (seed + index / 8) * 0x9E3779B97F4A7C15ULL;
	return mixed ^ mixed >> 29;
}

static void content_put(uint8_t *at, uint64_t seed, uint32_t from, uint32_t to)
{
	uint64_t word = 0;
	for (uint32_t i = from; i < to; i++) {
		if (i == from || i % 8 == 0)
			word = content_word(seed, i & ~7u);
		*at++ = (uint8_t)(word >> (i % 8 * 8));
	}
}

void wh_test_block_begin(struct wh_test_block *block, uint8_t *base, uint32_t capacity, uint32_t first_slot)
{
	block->base = base;
	block->capacity = capacity;
	block->first_slot = first_slot;
	block->used = first_slot;
	block->last = 0;
	block->next = first_slot;
	block->count = 0;
	memset(base, WH_TEST_STALE, capacity);
	struct tpacket_block_desc header;
	memcpy(&header, base, sizeof(header));
	header.hdr.bh1.block_status = TP_STATUS_USER;
	header.hdr.bh1.num_pkts = 0;
	header.hdr.bh1.offset_to_first_pkt = first_slot;
	memcpy(base, &header, sizeof(header));
}

static void next_set(struct wh_test_block *block, uint32_t slot, uint32_t next)
{
	memcpy(block->base + slot + offsetof(struct tpacket3_hdr, tp_next_offset), &next, sizeof(next));
}

bool wh_test_block_add(struct wh_test_block *block, const struct wh_test_frame *frame)
{
	uint32_t at = block->next;
	if (block->count == WH_TEST_FRAMES_MOST || (uint64_t)at + frame->mac + frame->captured > block->capacity)
		return false;
	if (block->count > 0)
		next_set(block, block->last, at - block->last);
	struct tpacket3_hdr header = {
		.tp_sec = (uint32_t)(frame->ns / WH_NS_PER_SECOND),
		.tp_nsec = (uint32_t)(frame->ns % WH_NS_PER_SECOND),
		.tp_snaplen = frame->captured,
		.tp_len = frame->original,
		.tp_status = TP_STATUS_USER | frame->status,
		.tp_mac = (uint16_t)frame->mac,
		.tp_net = (uint16_t)(frame->mac + 14),
		.hv1 = { .tp_vlan_tci = frame->tci, .tp_vlan_tpid = frame->tpid },
	};
	const struct sockaddr_ll address = { .sll_family = 17, .sll_halen = 6, .sll_pkttype = frame->packet_type };
	memcpy(block->base + at, &header, sizeof(header));
	memcpy(block->base + at + WH_SLOT_ADDRESS_AT, &address, sizeof(address));
	content_put(block->base + at + frame->mac, frame->seed, 0, frame->captured);
	block->frames[block->count++] = *frame;
	block->last = at;
	block->used = at + frame->mac + frame->captured;
	block->next = (block->used + SLOT_ALIGNMENT - 1) & ~(uint32_t)(SLOT_ALIGNMENT - 1);
	return true;
}

void wh_test_block_rebuild(struct wh_test_block *block)
{
	uint32_t count = block->count;
	wh_test_block_begin(block, block->base, block->capacity, block->first_slot);
	for (uint32_t i = 0; i < count; i++) {
		struct wh_test_frame frame = block->frames[i];
		wh_test_block_add(block, &frame);
	}
}

void wh_test_frame_expect(const struct wh_test_frame *frame, const struct wh_slot_rules *rules, uint8_t *out,
			  uint32_t *captured, uint32_t *original)
{
	enum { ADDRESSES = 12 };
	bool tagged = (frame->status & TP_STATUS_VLAN_VALID) != 0 && rules->ethernet && frame->captured >= ADDRESSES;
	uint32_t length = frame->captured;
	if (!tagged) {
		content_put(out, frame->seed, 0, frame->captured);
	} else {
		uint16_t tpid = (frame->status & TP_STATUS_VLAN_TPID_VALID) != 0 ? frame->tpid : 0x8100;
		const uint8_t tag[4] = { (uint8_t)(tpid >> 8), (uint8_t)(tpid & 0xFF), (uint8_t)(frame->tci >> 8),
					 (uint8_t)(frame->tci & 0xFF) };
		content_put(out, frame->seed, 0, ADDRESSES);
		memcpy(out + ADDRESSES, tag, sizeof(tag));
		content_put(out + ADDRESSES + sizeof(tag), frame->seed, ADDRESSES, frame->captured);
		length += sizeof(tag);
	}
	*original = frame->original + (tagged ? 4 : 0);
	*captured = tagged && length > rules->snapshot_length ? rules->snapshot_length : length;
}

/* ---- the reader ---- */

struct reader {
	struct wh_test_walk *walk;
	const uint8_t *bytes;
	size_t length;
	bool in_file;
	bool in_chunk;
	bool has_section;
	size_t chunk_end; /* 0: it is still growing */
};

static uint16_t get16(const uint8_t *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static bool fail(struct wh_test_walk *walk, size_t at, const char *problem)
{
	walk->problem = problem;
	walk->problem_at = at;
	return false;
}

static bool is_zero(const uint8_t *at, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (at[i] != 0)
			return false;
	return true;
}

static void *grow(void *array, size_t count, size_t *room, size_t item)
{
	if (count < *room)
		return array;
	size_t wanted = *room == 0 ? 64 : *room * 2;
	void *larger = realloc(array, wanted * item);
	if (larger != NULL)
		*room = wanted;
	return larger;
}

/* Options from AT to END (behind the last one, before the repeated length). Calls TAKE for each but opt_endofopt. */
static bool options_read(struct reader *reader, size_t at, size_t end, void *context,
			 const char *(*take)(void *context, uint16_t code, uint16_t length, size_t at,
					     const uint8_t *value))
{
	while (at < end) {
		if (end - at < 4)
			return fail(reader->walk, at, "an option's head is cut off");
		uint16_t code = get16(reader->bytes + at), length = get16(reader->bytes + at + 2);
		if (code == OPTION_END) {
			if (length != 0)
				return fail(reader->walk, at, "opt_endofopt has a length");
			return at + 4 == end || fail(reader->walk, at, "there is something behind opt_endofopt");
		}
		size_t padded = ((size_t)length + 3) & ~(size_t)3;
		if (end - at - 4 < padded)
			return fail(reader->walk, at, "an option reaches beyond its block");
		const uint8_t *value = reader->bytes + at + 4;
		if (!is_zero(value + length, padded - length))
			return fail(reader->walk, at, "an option's padding is not zero");
		const char *problem = take(context, code, length, at, value);
		if (problem != NULL)
			return fail(reader->walk, at, problem);
		at += 4 + padded;
	}
	return true;
}

static const char *frame_option(void *context, uint16_t code, uint16_t length, size_t at, const uint8_t *value)
{
	struct wh_test_record *record = context;
	switch (code) {
	case OPTION_FLAGS:
		if (length != 4 || record->flags != 0)
			return "epb_flags is not as it should be";
		record->flags = get32(value);
		return record->flags == 0 ? "epb_flags says nothing" : NULL;
	case OPTION_DROPCOUNT:
		if (length != 8 || record->lost != 0)
			return "epb_dropcount is not as it should be";
		record->lost = get64(value);
		return record->lost == 0 ? "epb_dropcount says nothing" : NULL;
	case OPTION_FILLER:
		if (length == WH_SPARE_OPTION_BYTES - 4)
			record->spare = at;
		return is_zero(value, length) ? NULL : "stale bytes in a filler option";
	default:
		return "an option of a frame that has no business here";
	}
}

static bool frame_read(struct reader *reader, size_t at, uint32_t total)
{
	struct wh_test_walk *walk = reader->walk;
	const uint8_t *bytes = reader->bytes + at;
	if (total < WH_EPB_HEADER + 4)
		return fail(walk, at, "a packet block is too short");
	struct wh_test_record record = { .offset = at,
					 .length = total,
					 .interface = get32(bytes + 8),
					 .ns = (uint64_t)get32(bytes + 12) << 32 | get32(bytes + 16),
					 .captured = get32(bytes + 20),
					 .original = get32(bytes + 24),
					 .data = bytes + WH_EPB_HEADER };
	if (reader->in_file && !reader->in_chunk)
		return fail(walk, at, "a frame outside of a chunk");
	if (record.interface >= walk->interface_count)
		return fail(walk, at, "a frame of an unknown interface");
	if (record.captured > record.original)
		return fail(walk, at, "more was captured than there was");
	uint64_t padded = ((uint64_t)record.captured + 3) & ~(uint64_t)3;
	if (padded > total - WH_EPB_HEADER - 4)
		return fail(walk, at, "a frame reaches beyond its block");
	if (!is_zero(record.data + record.captured, padded - record.captured))
		return fail(walk, at, "a frame's padding is not zero");
	if (!options_read(reader, at + WH_EPB_HEADER + padded, at + total - 4, &record, frame_option))
		return false;
	walk->frames = grow(walk->frames, walk->frame_count, &walk->frame_room, sizeof(*walk->frames));
	if (walk->frames == NULL)
		return fail(walk, at, "out of memory");
	walk->frames[walk->frame_count++] = record;
	if (reader->in_chunk) {
		walk->chunks[walk->chunk_count - 1].frames++;
		walk->chunks[walk->chunk_count - 1].lost += record.lost;
	}
	return true;
}

static const char *any_option(void *context, uint16_t code, uint16_t length, size_t at, const uint8_t *value)
{
	(void)context, (void)length, (void)at, (void)value;
	return (code & 0x8000) != 0 ? "a local option that has no business here" : NULL;
}

static const char *interface_option(void *context, uint16_t code, uint16_t length, size_t at, const uint8_t *value)
{
	(void)at;
	if (code == OPTION_RESOLUTION)
		*(bool *)context = length == 1 && value[0] == 9;
	return NULL;
}

static bool interface_read(struct reader *reader, size_t at, uint32_t total)
{
	struct wh_test_walk *walk = reader->walk;
	const uint8_t *bytes = reader->bytes + at;
	bool nanoseconds = false;
	if (total < 20 || get16(bytes + 10) != 0 || walk->interface_count == WH_TEST_INTERFACES_MOST)
		return fail(walk, at, "an interface block is not as it should be");
	if (!options_read(reader, at + 16, at + total - 4, &nanoseconds, interface_option))
		return false;
	if (!nanoseconds)
		return fail(walk, at, "an interface's times are not in ns");
	walk->link_types[walk->interface_count++] = get16(bytes + 8);
	return true;
}

static const char *statistics_option(void *context, uint16_t code, uint16_t length, size_t at, const uint8_t *value)
{
	struct wh_interface_totals *totals = context;
	(void)at;
	if (length != 8)
		return "a counter is not of 8 bytes";
	switch (code) {
	case 4:
		totals->received = get64(value);
		break;
	case 5:
		totals->dropped_nic = get64(value);
		break;
	case 7:
		totals->dropped = get64(value);
		break;
	case 8:
		totals->delivered = get64(value);
		break;
	case 2:
		totals->start_ns = (uint64_t)get32(value) << 32 | get32(value + 4);
		break;
	default:
		break;
	}
	return NULL;
}

static bool statistics_read(struct reader *reader, size_t at, uint32_t total)
{
	struct wh_test_walk *walk = reader->walk;
	const uint8_t *bytes = reader->bytes + at;
	struct wh_interface_totals totals = { 0 };
	if (total < 24 || (totals.interface = get32(bytes + 8)) >= walk->interface_count)
		return fail(walk, at, "statistics of an unknown interface");
	totals.now_ns = (uint64_t)get32(bytes + 12) << 32 | get32(bytes + 16);
	if (!options_read(reader, at + 20, at + total - 4, &totals, statistics_option))
		return false;
	walk->statistics[totals.interface] = totals;
	walk->has_statistics[totals.interface] = true;
	walk->statistics_count++;
	return true;
}

/* What the head of a chunk said must be what was found in it. */
static bool chunk_end(struct reader *reader)
{
	struct wh_test_walk *walk = reader->walk;
	if (!reader->in_chunk)
		return true;
	const struct wh_test_chunk *chunk = &walk->chunks[walk->chunk_count - 1];
	uint64_t frames = 0;
	for (uint32_t i = 0; i < chunk->head.record_count; i++)
		frames += chunk->records[i].frames;
	if (chunk->head.frames != chunk->frames)
		return fail(walk, chunk->offset, "a chunk has not the frames that its head promises");
	if (frames != chunk->frames)
		return fail(walk, chunk->offset, "a chunk's records do not add up");
	uint64_t first = chunk->frames > 0 ? UINT64_MAX : 0, last = 0;
	for (size_t i = chunk->first_frame; i < walk->frame_count; i++) {
		first = walk->frames[i].ns < first ? walk->frames[i].ns : first;
		last = walk->frames[i].ns > last ? walk->frames[i].ns : last;
	}
	if (chunk->head.first_ns != first || chunk->head.last_ns != last)
		return fail(walk, chunk->offset, "a chunk's times are not those of its frames");
	reader->in_chunk = false;
	return true;
}

static bool head_read(struct reader *reader, size_t at, uint32_t total)
{
	struct wh_test_walk *walk = reader->walk;
	struct wh_test_chunk chunk = { .offset = at, .first_frame = walk->frame_count };
	if (!chunk_end(reader))
		return false;
	if (at % WH_FILE_ALIGNMENT != 0 || total < WH_CHUNK_HEAD_FIXED + 4)
		return fail(walk, at, "a chunk's head is not where it should be");
	memcpy(&chunk.head, reader->bytes + at, sizeof(chunk.head));
	const struct wh_chunk_head *head = &chunk.head;
	if (head->magic != 0x4B434857 || (reader->bytes[at + 8] & 1) == 0 || head->version != 1)
		return fail(walk, at, "a chunk's magic or version is wrong");
	uint32_t used = WH_CHUNK_HEAD_FIXED + head->record_count * (uint32_t)WH_CHUNK_RECORD_BYTES;
	if (head->record_count > WH_TEST_RECORDS_MOST || used + 4 > total)
		return fail(walk, at, "a chunk's records reach beyond its head");
	memcpy(chunk.records, reader->bytes + at + WH_CHUNK_HEAD_FIXED, head->record_count * sizeof(chunk.records[0]));
	if (!is_zero(reader->bytes + at + used, total - 4 - used))
		return fail(walk, at, "stale bytes in a chunk's head");
	if (head->chunk_length % WH_FILE_ALIGNMENT != 0 || head->chunk_length > reader->length - at)
		return fail(walk, at, "a chunk's length is wrong");
	if (walk->chunk_count > 0) {
		const struct wh_chunk_head *before = &walk->chunks[walk->chunk_count - 1].head;
		if (head->sequence != before->sequence + 1 || head->session != before->session)
			return fail(walk, at, "a chunk does not follow the one before it");
	}
	walk->chunks = grow(walk->chunks, walk->chunk_count, &walk->chunk_room, sizeof(*walk->chunks));
	if (walk->chunks == NULL)
		return fail(walk, at, "out of memory");
	walk->chunks[walk->chunk_count++] = chunk;
	reader->in_chunk = true;
	reader->chunk_end = head->chunk_length != 0 ? at + head->chunk_length : 0;
	return true;
}

static bool section_read(struct reader *reader, size_t at, uint32_t total)
{
	const uint8_t *bytes = reader->bytes + at;
	if (at != 0 || reader->has_section)
		return fail(reader->walk, at, "a second section");
	if (total < 28 || get32(bytes + 8) != 0x1A2B3C4D || get16(bytes + 12) != 1 || get16(bytes + 14) != 0 ||
	    get64(bytes + 16) != UINT64_MAX)
		return fail(reader->walk, at, "the section header is wrong");
	reader->has_section = true;
	return options_read(reader, at + 24, at + total - 4, NULL, any_option);
}

static bool block_read(struct reader *reader, size_t at, uint32_t total)
{
	switch (get32(reader->bytes + at)) {
	case WH_PCAPNG_EPB:
		return frame_read(reader, at, total);
	case WH_PCAPNG_IDB:
		return interface_read(reader, at, total);
	case WH_PCAPNG_ISB:
		return statistics_read(reader, at, total);
	case WH_PCAPNG_SHB:
		return section_read(reader, at, total);
	case WH_PCAPNG_CHUNK_HEAD:
		return head_read(reader, at, total);
	case WH_PCAPNG_JOURNAL:
		return total >= 16 || fail(reader->walk, at, "a mark without a text");
	case WH_PCAPNG_FILLER:
		return is_zero(reader->bytes + at + 8, total - 12) ||
		       fail(reader->walk, at, "stale bytes in a filler block");
	default:
		return fail(reader->walk, at, "a block of a type that has no business here");
	}
}

static bool blocks_read(struct reader *reader)
{
	size_t at = 0;
	while (at < reader->length) {
		if (reader->length - at < 12)
			return fail(reader->walk, at, "a block's head is cut off");
		uint32_t total = get32(reader->bytes + at + 4);
		if (total < 12 || total % 4 != 0)
			return fail(reader->walk, at, "a block's length cannot be");
		if (total > reader->length - at)
			return fail(reader->walk, at, "a block is cut off");
		if (get32(reader->bytes + at + total - 4) != total)
			return fail(reader->walk, at, "a block's length is not repeated");
		if (reader->in_file && at > 0 && !reader->has_section)
			return fail(reader->walk, at, "the file has no section header");
		if (reader->in_chunk && reader->chunk_end != 0 && at + total > reader->chunk_end &&
		    at < reader->chunk_end)
			return fail(reader->walk, at, "a block reaches over the end of its chunk");
		if (reader->in_chunk && at == reader->chunk_end && get32(reader->bytes + at) != WH_PCAPNG_CHUNK_HEAD)
			return fail(reader->walk, at, "something other than a chunk follows a chunk");
		if (!block_read(reader, at, total))
			return false;
		at += total;
	}
	return chunk_end(reader);
}

bool wh_test_walk_file(struct wh_test_walk *walk, const uint8_t *bytes, size_t length)
{
	struct reader reader = { .walk = walk, .bytes = bytes, .length = length, .in_file = true };
	if (length == 0)
		return fail(walk, 0, "the file is empty");
	if (!blocks_read(&reader))
		return false;
	/* Not chunk by chunk: the drop count of what was lost last is put into a frame that was written before. */
	uint64_t told = 0, found = 0;
	for (size_t i = 0; i < walk->chunk_count; i++) {
		told += walk->chunks[i].head.lost;
		found += walk->chunks[i].lost;
	}
	return found <= told || fail(walk, 0, "the heads know of fewer losses than the frames");
}

bool wh_test_walk_run(struct wh_test_walk *walk, const uint8_t *bytes, size_t length, uint32_t interfaces)
{
	struct reader reader = { .walk = walk, .bytes = bytes, .length = length };
	walk->interface_count = interfaces;
	return blocks_read(&reader);
}

bool wh_test_walk_pcap(struct wh_test_walk *walk, const uint8_t *bytes, size_t length)
{
	if (length < WH_PCAP_FILE_HEADER)
		return fail(walk, 0, "the file header is cut off");
	uint32_t magic = get32(bytes);
	if ((magic != 0xA1B2C3D4 && magic != 0xA1B23C4D) || get16(bytes + 4) != 2 || get16(bytes + 6) != 4 ||
	    !is_zero(bytes + 8, 8))
		return fail(walk, 0, "the file header is wrong");
	uint32_t unit = magic == 0xA1B2C3D4 ? NS_PER_US : 1;
	for (size_t at = WH_PCAP_FILE_HEADER; at < length;) {
		if (length - at < WH_PCAP_RECORD_HEADER)
			return fail(walk, at, "a record's head is cut off");
		struct wh_test_record record = { .offset = at,
						 .captured = get32(bytes + at + 8),
						 .original = get32(bytes + at + 12),
						 .data = bytes + at + WH_PCAP_RECORD_HEADER };
		if (get32(bytes + at + 4) >= WH_NS_PER_SECOND / unit)
			return fail(walk, at, "a fraction of a second of more than a second");
		record.ns = get32(bytes + at) * WH_NS_PER_SECOND + (uint64_t)get32(bytes + at + 4) * unit;
		if (record.captured > record.original)
			return fail(walk, at, "more was captured than there was");
		if (record.captured > length - at - WH_PCAP_RECORD_HEADER)
			return fail(walk, at, "a frame is cut off");
		walk->frames = grow(walk->frames, walk->frame_count, &walk->frame_room, sizeof(*walk->frames));
		if (walk->frames == NULL)
			return fail(walk, at, "out of memory");
		walk->frames[walk->frame_count++] = record;
		at += WH_PCAP_RECORD_HEADER + record.captured;
	}
	return true;
}

void wh_test_walk_free(struct wh_test_walk *walk)
{
	free(walk->frames);
	free(walk->chunks);
	*walk = (struct wh_test_walk){ 0 };
}

/* ---- comparing ---- */

static const char *frame_compare(const struct wh_test_record *found, const struct wh_test_frame *frame,
				 const struct wh_encoding *encoding, uint8_t *expected, bool pcap)
{
	uint32_t captured, original;
	wh_test_frame_expect(frame, &encoding->rules, expected, &captured, &original);
	if (found->captured != captured)
		return "a frame's captured length is wrong";
	if (found->original != original)
		return "a frame's original length is wrong";
	if (memcmp(found->data, expected, captured) != 0)
		return "a frame's bytes are wrong";
	uint64_t unit = pcap && !encoding->nanoseconds ? NS_PER_US : 1;
	if (found->ns != frame->ns / unit * unit)
		return "a frame's time is wrong";
	if (!pcap && found->interface != encoding->interface)
		return "a frame's interface is wrong";
	if (!pcap && found->flags != wh_slot_flags(frame->packet_type))
		return "a frame's flags are wrong";
	return NULL;
}

const char *wh_test_frames_compare(const struct wh_test_walk *walk, size_t first, const struct wh_test_block *block,
				   uint32_t count, const struct wh_encoding *encoding, uint64_t lost, bool pcap)
{
	if (walk->frame_count < first + count)
		return "frames are missing";
	uint8_t *expected = malloc((size_t)block->capacity + 4);
	if (expected == NULL)
		return "out of memory";
	const char *problem = NULL;
	for (uint32_t i = 0; i < count && problem == NULL; i++) {
		const struct wh_test_record *found = &walk->frames[first + i];
		problem = frame_compare(found, &block->frames[i], encoding, expected, pcap);
		if (problem == NULL && !pcap && found->lost != (i == 0 ? lost : 0))
			problem = "a frame's drop count is wrong";
	}
	free(expected);
	return problem;
}

uint32_t wh_test_file_begin(uint8_t *at, uint32_t room, uint32_t interfaces, uint16_t link_type)
{
	uint32_t used = wh_pcapng_section_put(at, room, "test", "none");
	for (uint32_t i = 0; i < interfaces; i++) {
		const struct wh_interface_description description = { .name = "test0",
								      .link_type = link_type,
								      .snapshot_length = 262144 };
		used += wh_pcapng_interface_put(at + used, room - used, &description);
	}
	uint32_t filler = wh_pcapng_filler_bytes(used);
	if (filler != 0)
		wh_pcapng_filler_put(at + used, filler);
	return used + filler;
}
