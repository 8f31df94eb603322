/* SPDX-License-Identifier: BSD-3-Clause */
#include "writer/format_pcapng.h"

#include <string.h>

/* Option codes of an Enhanced Packet Block (draft-ietf-opsawg-pcapng, sections 3.5 and 4.3). */
enum {
	OPTION_END = 0,
	OPTION_EPB_FLAGS = 2,
	OPTION_EPB_DROPCOUNT = 4,
	OPTION_FILLER = 0x8046 /* local use: takes room that no reader needs */
};
enum { OPTION_HEAD = 4, FLAGS_BYTES = 8, DROPCOUNT_BYTES = 12, TRAILER_BYTES = 4, FILLER_MOST = 65532 };

/* A frame costs about this much less once it is compacted: the dead space of its slot, less what its record needs. */
enum { SAVED_PER_FRAME = 44 };

enum { FETCH_FRAMES = 16 };

/* An Enhanced Packet Block whose options and length are still open. */
struct record {
	uint8_t *start;
	uint8_t *options; /* behind the padded frame */
	uint32_t flags;
	uint64_t lost;
};

static inline void put32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

static inline uint32_t get32(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint8_t *option_head_put(uint8_t *at, uint16_t code, uint16_t length)
{
	memcpy(at, &code, sizeof(code));
	memcpy(at + 2, &length, sizeof(length));
	return at + OPTION_HEAD;
}

uint32_t wh_transcription_run_limit(uint32_t capacity)
{
	enum { MOST = 128 * 1024 };
	return capacity / 8 < MOST ? capacity / 8 : MOST;
}

/*
 * A block with less than an eighth in it is merged with others: the copy is cheap at that rate (at most a block timeout
 * each), and a chunk of its own would waste up to 4 KiB on padding. Otherwise moving frames pays where it saves more
 * than a tenth of the disk's work, which is where frames are shorter than about 350 bytes: there a move stays within
 * the cache lines that are touched anyway.
 */
enum wh_transcription wh_transcription_choose(uint32_t frames, uint32_t used_bytes, uint32_t capacity)
{
	if (used_bytes <= wh_transcription_run_limit(capacity))
		return WH_TRANSCRIBE_RUN;
	if ((uint64_t)frames * SAVED_PER_FRAME * 10 > used_bytes)
		return WH_TRANSCRIBE_COMPACT;
	return WH_TRANSCRIBE_IN_PLACE;
}

/* Writes the fixed part of a record in front of the frame at DATA, and the padding behind it (section 4.3). */
static inline struct record record_open(uint8_t *data, const struct wh_slot *slot, uint32_t interface, uint64_t lost)
{
	uint8_t *start = data - WH_EPB_HEADER;
	/* Field by field: a copy of a struct put together on the stack would wait for its parts to be stored. */
	put32(start, WH_PCAPNG_EPB);
	put32(start + 4, 0);
	put32(start + 8, interface);
	put32(start + 12, (uint32_t)(slot->ns >> 32));
	put32(start + 16, (uint32_t)slot->ns);
	put32(start + 20, slot->captured);
	put32(start + 24, slot->original);
	uint8_t *end = data + slot->captured;
	uint32_t padding = -slot->captured & 3;
	for (uint32_t i = 0; i < padding; i++)
		end[i] = 0;
	return (struct record){ .start = start, .options = end + padding, .flags = slot->flags, .lost = lost };
}

/* What a record's options and repeated length take when nothing is left out. */
static inline uint32_t record_tail_bytes(const struct record *record, bool spare)
{
	uint32_t bytes = TRAILER_BYTES;
	if (record->lost != 0 || spare)
		bytes += DROPCOUNT_BYTES;
	if (record->flags != 0)
		bytes += FLAGS_BYTES;
	return bytes;
}

/* The gap between two frames, 16 to 64 bytes mostly: a few overlapping stores are less than a call. */
static inline void zero(uint8_t *at, size_t length)
{
	enum { STORE = 16 };
	if (length < STORE || length > 4 * STORE) {
		memset(at, 0, length);
		return;
	}
	memset(at, 0, STORE);
	memset(at + length - STORE, 0, STORE);
	if (length > 2 * STORE) {
		memset(at + STORE, 0, STORE);
		memset(at + length - 2 * STORE, 0, STORE);
	}
}

/* Fills ROOM bytes (a multiple of 4) with filler options and an end of options. */
static inline void options_fill(uint8_t *at, size_t room)
{
	while (room >= 2 * OPTION_HEAD) {
		size_t length = room - 2 * OPTION_HEAD;
		if (length > FILLER_MOST)
			length = FILLER_MOST;
		zero(option_head_put(at, OPTION_FILLER, (uint16_t)length), length);
		at += OPTION_HEAD + length;
		room -= OPTION_HEAD + length;
	}
	if (room != 0)
		put32(at, OPTION_END);
}

/*
 * Closes RECORD so that it ends at END. A loss comes first, because it must never be left out; what is left of the room
 * goes into a filler option. With SPARE, an option of its own takes the room of a later epb_dropcount, or the one that
 * is there already does: there must not be two. Returns its place, or NULL.
 *
 * Where the room is exactly used, the list ends with the block and without opt_endofopt: section 3.5 obliges readers to
 * take that, and for a 60-byte frame it is 4 % of the file.
 */
static inline uint8_t *record_close(const struct record *record, uint8_t *end, bool spare)
{
	uint8_t *at = record->options;
	size_t room = (size_t)(end - TRAILER_BYTES - at);
	uint8_t *spare_at = NULL;
	if (record->lost != 0 && room >= DROPCOUNT_BYTES) {
		spare_at = spare ? at : NULL;
		memcpy(option_head_put(at, OPTION_EPB_DROPCOUNT, sizeof(record->lost)), &record->lost,
		       sizeof(record->lost));
		at += DROPCOUNT_BYTES;
		room -= DROPCOUNT_BYTES;
	}
	if (record->flags != 0 && room >= FLAGS_BYTES) {
		put32(option_head_put(at, OPTION_EPB_FLAGS, sizeof(record->flags)), record->flags);
		at += FLAGS_BYTES;
		room -= FLAGS_BYTES;
	}
	if (spare && record->lost == 0 && room >= WH_SPARE_OPTION_BYTES) {
		spare_at = at;
		memset(option_head_put(at, OPTION_FILLER, WH_SPARE_OPTION_BYTES - OPTION_HEAD), 0,
		       WH_SPARE_OPTION_BYTES - OPTION_HEAD);
		at += WH_SPARE_OPTION_BYTES;
		room -= WH_SPARE_OPTION_BYTES;
	}
	options_fill(at, room);
	uint32_t length = (uint32_t)(end - record->start);
	put32(record->start + 4, length);
	put32(end - TRAILER_BYTES, length);
	return spare_at;
}

/* Counts the frame of SLOT into CHUNK. */
static inline void tally(struct wh_chunk *chunk, const struct wh_slot *slot)
{
	/* Frames of several CPUs may be a little out of order; a chunk tells its true bounds. */
	if (slot->ns < chunk->first_ns)
		chunk->first_ns = slot->ns;
	if (slot->ns > chunk->last_ns)
		chunk->last_ns = slot->ns;
	chunk->frame_bytes += slot->captured;
	chunk->truncated += slot->captured < slot->original;
}

static void tally_begin(struct wh_chunk *chunk, uint32_t frames)
{
	chunk->frames = frames;
	chunk->first_ns = UINT64_MAX;
	chunk->last_ns = 0;
	chunk->frame_bytes = 0;
	chunk->copied_bytes = 0;
	chunk->truncated = 0;
	chunk->spare_option = 0;
	chunk->last_record = 0;
}

/* Closes the last RECORD of a chunk, whose options need so many bytes, and brings the chunk to a 4 KiB boundary. */
static void seal(const struct record *record, uint32_t tail_bytes, uint8_t *block, uint32_t capacity,
		 struct wh_chunk *chunk)
{
	uint8_t *end = record->options + tail_bytes;
	if (end > block + capacity)
		end = block + capacity;
	uint32_t rest = (uint32_t)(-(size_t)(end - block) & (WH_FILE_ALIGNMENT - 1));
	if (rest < 12) { /* too short for a block: the record's own options take it */
		end += rest;
		rest = 0;
	}
	uint8_t *spare = record_close(record, end, true);
	if (rest != 0)
		wh_pcapng_filler_put(end, rest);
	chunk->kind = WH_CHUNK_SEALED;
	chunk->base = block;
	chunk->length = (uint32_t)(end - block) + rest;
	chunk->last_record = (uint32_t)(record->start - block);
	chunk->spare_option = spare != NULL ? (uint32_t)(spare - block) : 0;
	chunk->spare_lost = record->lost;
}

static void head_of_chunk_put(const struct wh_encoding *encoding, uint32_t head_bytes, const struct wh_chunk *chunk)
{
	const struct wh_chunk_head head = {
		.type = WH_PCAPNG_CHUNK_HEAD,
		.total_length = head_bytes,
		.magic = WH_CHUNK_MAGIC,
		.version = WH_CHUNK_VERSION,
		.record_count = 1,
		.chunk_length = chunk->length,
		.frames = chunk->frames,
		.first_ns = chunk->first_ns,
		.last_ns = chunk->last_ns,
		.lost = chunk->lost,
	};
	const struct wh_chunk_record record = {
		.source = encoding->source,
		.interface = encoding->interface,
		.frames = chunk->frames,
		.received = chunk->received_total,
		.dropped = chunk->dropped_total,
	};
	wh_pcapng_head_put(chunk->base, &head, &record);
}

/*
 * The last frame may end with the ring block itself (prb_curr_blk, "pkc->nxt_offset + len < pkc->pkblk_end"), so that
 * its options would not fit. Its own slot header is free by now: move the frame down over it, as far as FLOOR allows.
 */
static void last_frame_make_room(struct wh_slot *slot, uint64_t lost, const uint8_t *floor, const uint8_t *limit,
				 struct wh_chunk *chunk)
{
	const struct record would_be = { .flags = slot->flags, .lost = lost };
	const uint8_t *end = slot->data + slot->captured + (-slot->captured & 3) + record_tail_bytes(&would_be, true);
	if (end <= limit)
		return;
	size_t shift = (size_t)(end - limit);
	size_t most = (size_t)(slot->data - WH_EPB_HEADER - floor);
	if (shift > most)
		shift = most;
	memmove(slot->data - shift, slot->data, slot->captured);
	slot->data -= shift;
	chunk->copied_bytes += slot->captured;
}

/* A line that another CPU has written is fetched once and not twice, first to read and then to write. Compilers emit
 * this instruction only if told of a CPU; all with 64 bits know it, or do nothing on it. */
static inline void fetch_for_writing(const uint8_t *at)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw (%0)" : : "r"(at));
#else
	__builtin_prefetch(at, 1);
#endif
}

/*
 * What the kernel wrote is in the cache of the CPU that it ran on, if anywhere, and the slots are a chain: without help
 * each frame would wait for its headers in turn. Frames of bulk traffic have one size, so the slot some frames ahead is
 * most likely so far from here; where it is not, nothing is lost but the attempt. AT may lie behind the block.
 */
static inline void fetch_ahead(const uint8_t *at)
{
	fetch_for_writing(at - 8);  /* the end of the frame before it: its options go here */
	fetch_for_writing(at + 40); /* the slot's header, and most of the record's */
	fetch_for_writing(at + 80); /* the end of the record's header */
}

/* The same for the frames that no slot before them has asked for. */
static inline void fetch_first(const uint8_t *at)
{
	uint32_t next = ((const struct tpacket3_hdr *)at)->tp_next_offset;
	for (size_t i = 1; i < FETCH_FRAMES; i++)
		fetch_ahead(at + i * next);
}

/* The hot path of dense traffic: touches the slot headers only; the frames stay where the kernel put them. */
static void encode_in_place(const struct wh_encoding *encoding, uint8_t *block, uint32_t capacity, uint8_t *at,
			    uint32_t frames, struct wh_chunk *chunk)
{
	uint32_t head_bytes = 0;
	struct record record = { 0 };
	fetch_first(at);
	for (uint32_t i = 0;; i++) {
		struct wh_slot slot = wh_slot_read(at, &encoding->rules);
		fetch_ahead(at + (size_t)FETCH_FRAMES * slot.next);
		tally(chunk, &slot);
		uint64_t lost = i == 0 ? chunk->lost : 0;
		/* Blocks of pcapng are 4-aligned. With Ethernet the ring's PACKET_RESERVE sees to it. */
		size_t misaligned = (size_t)(slot.data - block) & 3;
		if (misaligned != 0) {
			memmove(slot.data - misaligned, slot.data, slot.captured);
			slot.data -= misaligned;
			chunk->copied_bytes += slot.captured;
		}
		bool is_last = i + 1 == frames;
		if (is_last) {
			const uint8_t *floor = i == 0 ? block + wh_pcapng_head_bytes(1)
						      : record.options + record_tail_bytes(&record, false);
			last_frame_make_room(&slot, lost, floor, block + capacity, chunk);
		}
		if (i == 0)
			head_bytes = (uint32_t)(slot.data - WH_EPB_HEADER - block);
		else
			record_close(&record, slot.data - WH_EPB_HEADER, false);
		record = record_open(slot.data, &slot, encoding->interface, lost);
		if (is_last)
			break;
		at += slot.next;
	}
	seal(&record, record_tail_bytes(&record, true), block, capacity, chunk);
	head_of_chunk_put(encoding, head_bytes, chunk);
}

/*
 * The path of small frames and of quiet links: every record moves down to the end of the one before it. A record is
 * never longer than the slot it comes from (28 + 8 + 12 + 12 + 4 bytes and padding, against 76 and more), so it cannot
 * reach a slot that has not been read.
 */
static void encode_compact(const struct wh_encoding *encoding, bool sealed, uint8_t *block, uint32_t capacity,
			   uint8_t *at, uint32_t frames, struct wh_chunk *chunk)
{
	uint8_t *to = block + WH_CHUNK_FIRST_SLOT;
	uint8_t *spare = NULL;
	struct record record = { 0 };
	fetch_first(at);
	for (uint32_t i = 0;; i++) {
		struct wh_slot slot = wh_slot_read(at, &encoding->rules);
		fetch_ahead(at + (size_t)FETCH_FRAMES * slot.next);
		tally(chunk, &slot);
		memmove(to + WH_EPB_HEADER, slot.data, slot.captured);
		record = record_open(to + WH_EPB_HEADER, &slot, encoding->interface, i == 0 ? chunk->lost : 0);
		if (i + 1 == frames)
			break;
		to = record.options + record_tail_bytes(&record, false);
		record_close(&record, to, false);
		at += slot.next;
	}
	chunk->copied_bytes = chunk->frame_bytes;
	if (sealed) {
		seal(&record, record_tail_bytes(&record, true), block, capacity, chunk);
		head_of_chunk_put(encoding, WH_CHUNK_FIRST_SLOT, chunk);
		return;
	}
	to = record.options + record_tail_bytes(&record, true);
	spare = record_close(&record, to, true);
	chunk->kind = WH_CHUNK_RUN;
	chunk->base = block + WH_CHUNK_FIRST_SLOT;
	chunk->length = (uint32_t)(to - chunk->base);
	chunk->last_record = (uint32_t)(record.start - chunk->base);
	chunk->spare_option = spare != NULL ? (uint32_t)(spare - chunk->base) : 0;
	chunk->spare_lost = record.lost;
}

void wh_pcapng_encode(const struct wh_encoding *encoding, enum wh_transcription how, uint8_t *block, uint32_t capacity,
		      uint32_t first_slot, uint32_t frames, struct wh_chunk *chunk)
{
	tally_begin(chunk, frames);
	if (how == WH_TRANSCRIBE_IN_PLACE)
		encode_in_place(encoding, block, capacity, block + first_slot, frames, chunk);
	else
		encode_compact(encoding, how == WH_TRANSCRIBE_COMPACT, block, capacity, block + first_slot, frames,
			       chunk);
}

void wh_pcapng_cut(struct wh_chunk *chunk, uint32_t frames)
{
	uint8_t *at = chunk->base;
	uint32_t seen = 0;
	chunk->first_ns = UINT64_MAX;
	chunk->last_ns = 0;
	chunk->frame_bytes = 0;
	chunk->truncated = 0;
	while (seen < frames) {
		if (get32(at) == WH_PCAPNG_EPB) {
			uint32_t captured = get32(at + 20);
			chunk->last_record = (uint32_t)(at - chunk->base);
			uint64_t ns = (uint64_t)get32(at + 12) << 32 | get32(at + 16);
			chunk->first_ns = ns < chunk->first_ns ? ns : chunk->first_ns;
			chunk->last_ns = ns > chunk->last_ns ? ns : chunk->last_ns;
			chunk->frame_bytes += captured;
			chunk->truncated += captured < get32(at + 24);
			seen++;
		}
		at += get32(at + 4);
	}
	chunk->received_total -= chunk->frames - frames;
	chunk->frames = frames;
	chunk->spare_option = 0;
	chunk->length = (uint32_t)(at - chunk->base);
	if (chunk->copied_bytes > chunk->frame_bytes)
		chunk->copied_bytes = chunk->frame_bytes;
	if (chunk->kind != WH_CHUNK_SEALED)
		return;
	/* The records that go leave at least one filler block's room before the chunk's old end. */
	uint32_t rest = wh_pcapng_filler_bytes(chunk->length);
	if (rest != 0)
		wh_pcapng_filler_put(at, rest);
	chunk->length += rest;
	struct wh_chunk_head head;
	memcpy(&head, chunk->base, sizeof(head));
	head.frames = frames;
	head.first_ns = chunk->first_ns;
	head.last_ns = chunk->last_ns;
	head.chunk_length = chunk->length;
	struct wh_chunk_record record;
	memcpy(&record, chunk->base + sizeof(head), sizeof(record));
	record.frames = frames;
	record.received = chunk->received_total;
	memcpy(chunk->base, &head, sizeof(head));
	memcpy(chunk->base + sizeof(head), &record, sizeof(record));
}

void wh_pcapng_dropcount_put(uint8_t option[WH_SPARE_OPTION_BYTES], uint64_t lost)
{
	memcpy(option_head_put(option, OPTION_EPB_DROPCOUNT, sizeof(lost)), &lost, sizeof(lost));
}

uint8_t *wh_pcapng_spare_remove(uint8_t *record, uint8_t *end)
{
	end -= WH_SPARE_OPTION_BYTES;
	uint32_t length = (uint32_t)(end - record);
	put32(record + 4, length);
	put32(end - TRAILER_BYTES, length);
	return end;
}
