/* SPDX-License-Identifier: BSD-3-Clause */
/* The encoders: blocks as the kernel fills them, transcribed in every way, read
 * back by libpcap and by a strict reader of our own, frame by frame and byte by
 * byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blocks.h"

enum { PAGE = 4096, LARGEST_BLOCK = 1024 * 1024, FILE_ROOM = LARGEST_BLOCK + 16 * PAGE, HEAD_ROOM = 8 * PAGE };
enum { SEQUENCE = 41, DROPPED = 77 };
static const uint64_t SESSION = 0x1122334455667788, RECEIVED_BEFORE = 5000000000;

struct fixture {
	struct wh_test_block block;
	uint8_t *memory; /* LARGEST_BLOCK bytes between guards; blocks end with it */
	uint8_t *file;   /* FILE_ROOM bytes */
	struct wh_encoding encoding;
	uint64_t lost;
	uint64_t random;
	bool tight; /* so little room that the spare option may be missing */
};

static int fixture_make(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	assert_non_null(fixture);
	fixture->memory = wh_test_guarded(LARGEST_BLOCK);
	fixture->file = malloc(FILE_ROOM);
	assert_non_null(fixture->memory);
	assert_non_null(fixture->file);
	fixture->random = 20260101;
	*state = fixture;
	return 0;
}

static int fixture_drop(void **state)
{
	struct fixture *fixture = *state;
	wh_test_unguard(fixture->memory, LARGEST_BLOCK);
	free(fixture->file);
	free(fixture);
	return 0;
}

/* An empty block of CAPACITY bytes that ends where the guard begins. A second
 * guard would need memory of its own for each size; writes before the block
 * fall on other stale bytes, which before_is_untouched() looks at. */
static void begin(struct fixture *fixture, uint32_t capacity)
{
	memset(fixture->memory, WH_TEST_STALE, LARGEST_BLOCK - capacity);
	wh_test_block_begin(&fixture->block, fixture->memory + LARGEST_BLOCK - capacity, capacity, WH_CHUNK_FIRST_SLOT);
	fixture->encoding = (struct wh_encoding){ .rules = { .snapshot_length = 262144, .ethernet = true },
						  .source = 3,
						  .interface = 1 };
	fixture->lost = 0;
	fixture->tight = false;
}

static void before_is_untouched(const struct fixture *fixture)
{
	size_t before = LARGEST_BLOCK - fixture->block.capacity;
	for (size_t i = before < 2 * PAGE ? 0 : before - 2 * PAGE; i < before; i++)
		assert_int_equal(fixture->memory[i], WH_TEST_STALE);
}

static struct wh_test_frame frame_of(struct fixture *fixture, uint32_t captured)
{
	static const uint8_t kinds[] = { 0, 1, 2, 3, 4, 6 };
	uint64_t number = fixture->block.count;
	return (struct wh_test_frame){
		.captured = captured,
		.original = captured,
		.mac = 84,
		.packet_type = kinds[number % sizeof(kinds)],
		.ns = 1767225600000000000ULL + number * 1234567891,
		.seed = wh_test_random(&fixture->random),
	};
}

static struct wh_chunk chunk_encode(struct fixture *fixture, enum wh_transcription how)
{
	const struct wh_test_block *block = &fixture->block;
	struct wh_chunk chunk = {
		.frames = 999,
		.frame_bytes = 999,
		.copied_bytes = 999,
		.truncated = 999,
		.spare_option = 999,
		.lost = fixture->lost,
		.received_total = RECEIVED_BEFORE + fixture->lost + block->count,
		.dropped_total = DROPPED + fixture->lost,
		.source = fixture->encoding.source,
		.interface = fixture->encoding.interface,
		.index = 12,
	};
	wh_pcapng_encode(&fixture->encoding, how, block->base, block->capacity, block->first_slot, block->count,
			 &chunk);
	return chunk;
}

/* What the chunk's fields say against what the block had. */
static void chunk_check(const struct fixture *fixture, const struct wh_chunk *chunk, uint32_t frames)
{
	const struct wh_test_block *block = &fixture->block;
	uint8_t *bytes = test_malloc((size_t)block->capacity + 4);
	uint64_t total = 0, earliest = UINT64_MAX, latest = 0;
	uint32_t truncated = 0;
	for (uint32_t i = 0; i < frames; i++) {
		uint32_t captured, original;
		earliest = block->frames[i].ns < earliest ? block->frames[i].ns : earliest;
		latest = block->frames[i].ns > latest ? block->frames[i].ns : latest;
		wh_test_frame_expect(&block->frames[i], &fixture->encoding.rules, bytes, &captured, &original);
		total += captured;
		truncated += captured < original;
	}
	test_free(bytes);
	assert_int_equal(chunk->frames, frames);
	assert_int_equal(chunk->frame_bytes, total);
	assert_int_equal(chunk->truncated, truncated);
	assert_int_equal(chunk->first_ns, earliest);
	assert_int_equal(chunk->last_ns, latest);
	assert_int_equal(chunk->lost, fixture->lost);
	assert_int_equal(chunk->index, 12);
	/* The last frame may be moved twice. */
	assert_true(chunk->copied_bytes <= chunk->frame_bytes + block->frames[frames - 1].captured + 4);
	assert_true(chunk->base >= block->base && chunk->base + chunk->length <= block->base + block->capacity);
	/* While the block is ours, the kernel must see that it is. */
	assert_int_equal(block->base[8] & 1, 1);
}

static void walk_or_explain(bool good, const struct wh_test_walk *walk)
{
	if (!good)
		fail_msg("%s (at %zu)", walk->problem, walk->problem_at);
}

static void compare(const struct fixture *fixture, const struct wh_test_walk *walk, uint32_t frames, bool pcap)
{
	assert_int_equal(walk->frame_count, frames);
	const char *problem =
	    wh_test_frames_compare(walk, 0, &fixture->block, frames, &fixture->encoding, fixture->lost, pcap);
	if (problem != NULL)
		fail_msg("%s", problem);
}

/* The file's bytes through libpcap: the same frames, and no word of complaint.
 */
static void libpcap_check(const struct wh_test_walk *walk, const uint8_t *bytes, size_t length, int link_type)
{
	char words[PCAP_ERRBUF_SIZE];
	FILE *file = tmpfile();
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	rewind(file);
	pcap_t *handle = pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, words);
	if (handle == NULL)
		fail_msg("libpcap: %s", words);
	assert_int_equal(pcap_datalink(handle), link_type);
	struct pcap_pkthdr *header;
	const u_char *data;
	int result;
	size_t count = 0;
	while ((result = pcap_next_ex(handle, &header, &data)) == 1) {
		assert_true(count < walk->frame_count);
		const struct wh_test_record *record = &walk->frames[count++];
		assert_int_equal(header->caplen, record->captured);
		assert_int_equal(header->len, record->original);
		assert_int_equal((uint64_t)header->ts.tv_sec * WH_NS_PER_SECOND + (uint64_t)header->ts.tv_usec,
				 record->ns);
		assert_memory_equal(data, record->data, header->caplen);
	}
	if (result != PCAP_ERROR_BREAK)
		fail_msg("libpcap: %s", pcap_geterr(handle));
	assert_int_equal(count, walk->frame_count);
	pcap_close(handle);
}

/* The option at OFFSET of CHUNK is 12 bytes of filler in the last frame, and a
 * drop count can take its place. */
static void spare_check(const struct fixture *fixture, const struct wh_chunk *chunk, uint8_t *image, size_t chunk_at,
			const struct wh_test_walk *walk)
{
	const struct wh_test_record *last = &walk->frames[walk->frame_count - 1];
	if (chunk->spare_option == 0) {
		assert_true(fixture->tight);
		return;
	}
	size_t at = chunk_at + chunk->spare_option;
	assert_int_equal(chunk_at + chunk->last_record, last->offset);
	assert_true(at >= last->offset + WH_EPB_HEADER &&
		    at + WH_SPARE_OPTION_BYTES <= last->offset + last->length - 4);
	/* Where the frame has a drop count already, there must not be a second one.
	 */
	assert_int_equal(chunk->spare_lost, chunk->frames == 1 ? fixture->lost : 0);
	assert_int_equal(last->spare, chunk->spare_lost == 0 ? at : 0);
	wh_pcapng_dropcount_put(image + at, 1234);
	struct wh_test_walk again = { 0 };
	if (chunk->kind == WH_CHUNK_RUN)
		walk_or_explain(wh_test_walk_run(&again, image, chunk->length, 2), &again);
	else
		/* The head does not know of this loss; all else is as it was. */
		assert_true(wh_test_walk_file(&again, image, chunk_at + chunk->length) ||
			    strstr(again.problem, "fewer losses") != NULL);
	assert_int_equal(again.frame_count, walk->frame_count);
	assert_int_equal(again.frames[again.frame_count - 1].lost, 1234);
	wh_test_walk_free(&again);
}

static void sealed_check(struct fixture *fixture, struct wh_chunk *chunk, uint32_t frames, bool with_libpcap)
{
	struct wh_test_walk walk = { 0 };
	chunk_check(fixture, chunk, frames);
	assert_int_equal(chunk->kind, WH_CHUNK_SEALED);
	assert_ptr_equal(chunk->base, fixture->block.base);
	assert_int_equal(chunk->length % WH_FILE_ALIGNMENT, 0);
	wh_pcapng_stamp(chunk->base, SESSION, SEQUENCE);
	uint32_t at = wh_test_file_begin(fixture->file, HEAD_ROOM, 2, 1);
	memcpy(fixture->file + at, chunk->base, chunk->length);
	walk_or_explain(wh_test_walk_file(&walk, fixture->file, at + chunk->length), &walk);
	compare(fixture, &walk, frames, false);
	assert_int_equal(walk.chunk_count, 1);
	const struct wh_test_chunk *found = &walk.chunks[0];
	assert_int_equal(found->head.session, SESSION);
	assert_int_equal(found->head.sequence, SEQUENCE);
	assert_int_equal(found->head.chunk_length, chunk->length);
	assert_int_equal(found->head.lost, fixture->lost);
	assert_int_equal(found->head.record_count, 1);
	assert_int_equal(found->records[0].source, fixture->encoding.source);
	assert_int_equal(found->records[0].interface, fixture->encoding.interface);
	assert_int_equal(found->records[0].received, RECEIVED_BEFORE + fixture->lost + frames);
	assert_int_equal(found->records[0].dropped, DROPPED + fixture->lost);
	if (with_libpcap)
		libpcap_check(&walk, fixture->file, at + chunk->length, DLT_EN10MB);
	if (frames == fixture->block.count)
		spare_check(fixture, chunk, fixture->file, at, &walk);
	else
		assert_int_equal(chunk->spare_option, 0);
	wh_test_walk_free(&walk);
	before_is_untouched(fixture);
}

static void run_check(struct fixture *fixture, struct wh_chunk *chunk, uint32_t frames)
{
	struct wh_test_walk walk = { 0 };
	chunk_check(fixture, chunk, frames);
	assert_int_equal(chunk->kind, WH_CHUNK_RUN);
	assert_int_equal(chunk->copied_bytes, chunk->frame_bytes);
	memcpy(fixture->file, chunk->base, chunk->length);
	walk_or_explain(wh_test_walk_run(&walk, fixture->file, chunk->length, 2), &walk);
	compare(fixture, &walk, frames, false);
	if (frames == fixture->block.count)
		spare_check(fixture, chunk, fixture->file, 0, &walk);
	else
		assert_int_equal(chunk->spare_option, 0);
	wh_test_walk_free(&walk);
	before_is_untouched(fixture);
}

static void pcap_check(struct fixture *fixture, const struct wh_chunk *chunk, uint32_t frames, bool with_libpcap)
{
	struct wh_test_walk walk = { 0 };
	assert_int_equal(chunk->kind, WH_CHUNK_RUN);
	assert_int_equal(chunk->spare_option, 0);
	wh_pcap_file_header_put(fixture->file, fixture->encoding.nanoseconds, 262144, 1);
	memcpy(fixture->file + WH_PCAP_FILE_HEADER, chunk->base, chunk->length);
	walk_or_explain(wh_test_walk_pcap(&walk, fixture->file, WH_PCAP_FILE_HEADER + chunk->length), &walk);
	compare(fixture, &walk, frames, true);
	if (with_libpcap)
		libpcap_check(&walk, fixture->file, WH_PCAP_FILE_HEADER + chunk->length, DLT_EN10MB);
	wh_test_walk_free(&walk);
	before_is_untouched(fixture);
}

static struct wh_chunk pcap_encode(struct fixture *fixture, bool nanoseconds)
{
	const struct wh_test_block *block = &fixture->block;
	struct wh_chunk chunk = { .frames = 999, .spare_option = 999, .lost = fixture->lost, .index = 12 };
	fixture->encoding.nanoseconds = nanoseconds;
	wh_test_block_rebuild(&fixture->block);
	wh_pcap_encode(&fixture->encoding, block->base, block->first_slot, block->count, &chunk);
	chunk_check(fixture, &chunk, block->count);
	return chunk;
}

/* The block in every form that it can take. */
static void transcribe_all(struct fixture *fixture, bool with_libpcap)
{
	uint32_t frames = fixture->block.count;
	wh_test_block_rebuild(&fixture->block);
	struct wh_chunk chunk = chunk_encode(fixture, WH_TRANSCRIBE_IN_PLACE);
	sealed_check(fixture, &chunk, frames, with_libpcap);
	wh_test_block_rebuild(&fixture->block);
	chunk = chunk_encode(fixture, WH_TRANSCRIBE_COMPACT);
	sealed_check(fixture, &chunk, frames, with_libpcap);
	assert_int_equal(chunk.copied_bytes, chunk.frame_bytes);
	wh_test_block_rebuild(&fixture->block);
	chunk = chunk_encode(fixture, WH_TRANSCRIBE_RUN);
	run_check(fixture, &chunk, frames);
	chunk = pcap_encode(fixture, false);
	pcap_check(fixture, &chunk, frames, with_libpcap);
	chunk = pcap_encode(fixture, true);
	pcap_check(fixture, &chunk, frames, with_libpcap);
}

/* ---- the cases ---- */

static uint32_t random_below(struct fixture *fixture, uint32_t limit)
{
	return (uint32_t)(wh_test_random(&fixture->random) >> 32) % limit;
}

static uint32_t random_size(struct fixture *fixture)
{
	switch (random_below(fixture, 4)) {
	case 0:
		return random_below(fixture, 100);
	case 1:
		return random_below(fixture, 1519);
	case 2:
		return random_below(fixture, 9001);
	default:
		return random_below(fixture, 65537);
	}
}

static void tag_randomly(struct fixture *fixture, struct wh_test_frame *frame)
{
	uint32_t choice = random_below(fixture, 6);
	if (choice >= 3)
		return;
	frame->status = TP_STATUS_VLAN_VALID;
	frame->tci = (uint16_t)random_below(fixture, 65536);
	if (choice == 2)
		return; /* an old kernel, which tells no TPID */
	frame->status |= TP_STATUS_VLAN_TPID_VALID;
	frame->tpid = choice == 0 ? 0x8100 : 0x88A8;
}

static void random_blocks(void **state)
{
	static const uint32_t capacities[] = { 4096, 8192, 16384, 65536, 131072, LARGEST_BLOCK };
	static const uint32_t places[] = { 84, 80, 76, 96, 92, 100, 81, 82, 83, 77, 95 };
	struct fixture *fixture = *state;
	for (int round = 0; round < 240; round++) {
		begin(fixture, capacities[round % 6 == 5 ? 5 : random_below(fixture, 5)]);
		fixture->lost = round % 3 == 0 ? 1 + random_below(fixture, 1000) : 0;
		bool mixed = round % 2 == 0;
		for (uint32_t tries = 0; tries < 60;) {
			struct wh_test_frame frame = frame_of(fixture, random_size(fixture));
			frame.mac = mixed ? places[random_below(fixture, sizeof(places) / sizeof(places[0]))] : 84;
			frame.original += random_below(fixture, 4) == 0 ? random_below(fixture, 100) : 0;
			frame.ns -= random_below(fixture, 3) == 0 ? 9876543210 : 0; /* frames of several CPUs */
			tag_randomly(fixture, &frame);
			tries += !wh_test_block_add(&fixture->block, &frame);
			if (fixture->block.count >= 3 + random_below(fixture, 4000))
				break;
		}
		if (fixture->block.count == 0)
			continue;
		fixture->tight = fixture->block.used + 64 > fixture->block.capacity;
		transcribe_all(fixture, round % 6 == 0);
	}
}

/* Whatever the last frame leaves of the block, to the byte; one frame, two of
 * them and many; with all tags and all places that the kernel gives a frame. */
static void last_frame_ends_near_the_end(void **state)
{
	static const uint32_t places[] = { 84, 80, 76, 72, 96, 81, 82, 83 };
	static const uint32_t counts[] = { 1, 2, 20 };
	struct fixture *fixture = *state;
	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
		for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
			for (uint32_t left = 0; left <= 80; left++) {
				begin(fixture, 8192);
				fixture->lost = left % 2 == 0 ? 5 : 0;
				for (uint32_t i = 1; i < counts[c]; i++) {
					struct wh_test_frame small = frame_of(fixture, 60 + i % 8);
					small.mac = places[p];
					assert_true(wh_test_block_add(&fixture->block, &small));
				}
				uint32_t room = fixture->block.capacity - fixture->block.next - places[p];
				struct wh_test_frame last = frame_of(fixture, room - left);
				last.mac = places[p];
				if (left % 3 == 0)
					last.status = TP_STATUS_VLAN_VALID;
				assert_true(wh_test_block_add(&fixture->block, &last));
				fixture->tight = true;
				transcribe_all(fixture, false);
			}
}

/* The kernel leaves at least 8 bytes of a block
 * (__packet_lookup_frame_in_block), and with Ethernet every frame has its
 * direction, and the last one room for what is lost behind it. */
static void what_the_kernel_can_do_leaves_room_for_all(void **state)
{
	static const uint32_t places[] = { 84, 80, 76 };
	struct fixture *fixture = *state;
	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
		for (uint32_t left = 8; left <= 64; left++) {
			begin(fixture, 8192);
			struct wh_test_frame first = frame_of(fixture, 60 + left % 8), last;
			first.mac = places[p];
			assert_true(wh_test_block_add(&fixture->block, &first));
			last = frame_of(fixture, fixture->block.capacity - fixture->block.next - places[p] - left);
			last.mac = places[p];
			last.packet_type = PACKET_HOST;
			assert_true(wh_test_block_add(&fixture->block, &last));
			transcribe_all(fixture, false); /* not tight: the spare option must be there */
		}
}

static void single_frames(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 2, 3, 4, 11, 12, 13, 14, 59, 60, 1514, 9000, 65535, 65536 };
	struct fixture *fixture = *state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (uint32_t tagged = 0; tagged < 2; tagged++) {
			begin(fixture, 131072);
			struct wh_test_frame frame = frame_of(fixture, sizes[i]);
			frame.status = tagged ? TP_STATUS_VLAN_VALID : 0;
			frame.tci = 0xFFFF;
			assert_true(wh_test_block_add(&fixture->block, &frame));
			fixture->lost = i;
			transcribe_all(fixture, true);
		}
}

/* One frame that the kernel cut to the block. */
static void frame_as_large_as_the_block(void **state)
{
	struct fixture *fixture = *state;
	for (uint32_t left = 0; left < 16; left++) {
		begin(fixture, LARGEST_BLOCK / 8);
		struct wh_test_frame frame = frame_of(fixture, LARGEST_BLOCK / 8 - WH_CHUNK_FIRST_SLOT - 84 - left);
		frame.original = 1000000;
		assert_true(wh_test_block_add(&fixture->block, &frame));
		fixture->lost = 9;
		transcribe_all(fixture, true);
	}
}

/* The dense case: equal frames until no more fit. Frames must stay where they
 * are, all but the last. */
static void dense_blocks_stay_in_place(void **state)
{
	static const uint32_t sizes[] = { 60, 594, 1414, 1514, 9000 };
	struct fixture *fixture = *state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		begin(fixture, LARGEST_BLOCK);
		for (;;) {
			struct wh_test_frame frame = frame_of(fixture, sizes[i]);
			if (fixture->block.next + ((84 + sizes[i] + 7) & ~7u) >= fixture->block.capacity ||
			    !wh_test_block_add(&fixture->block, &frame))
				break;
		}
		struct wh_chunk chunk = chunk_encode(fixture, WH_TRANSCRIBE_IN_PLACE);
		assert_true(chunk.copied_bytes <= sizes[i]);
		sealed_check(fixture, &chunk, fixture->block.count, true);
		/* A slot costs what it costs; what is added behind it is less than a page
		 * and a bit. */
		assert_true(chunk.length <= fixture->block.used + PAGE + 64);
		wh_test_block_rebuild(&fixture->block);
		chunk = chunk_encode(fixture, WH_TRANSCRIBE_COMPACT);
		sealed_check(fixture, &chunk, fixture->block.count, true);
	}
}

/* Link types without addresses or with odd headers: no tag is put back, and
 * places are odd. */
static void frames_without_ethernet(void **state)
{
	struct fixture *fixture = *state;
	for (uint32_t mac = 68; mac <= 112; mac++) {
		begin(fixture, 16384);
		fixture->encoding.rules.ethernet = false;
		fixture->lost = mac % 2;
		fixture->tight = mac < 76;
		for (uint32_t i = 0; i < 12; i++) {
			struct wh_test_frame frame = frame_of(fixture, 40 + 37 * i);
			frame.mac = mac;
			frame.status = TP_STATUS_VLAN_VALID;
			assert_true(wh_test_block_add(&fixture->block, &frame));
		}
		transcribe_all(fixture, mac % 7 == 0);
	}
}

/* A tag that is put back makes a frame no longer than the snapshot length. */
static void snapshot_length_holds_with_tags(void **state)
{
	struct fixture *fixture = *state;
	for (uint32_t snapshot = 12; snapshot <= 80; snapshot++) {
		begin(fixture, 8192);
		fixture->encoding.rules.snapshot_length = snapshot;
		for (uint32_t i = 0; i < 6; i++) {
			struct wh_test_frame frame = frame_of(fixture, snapshot - i % 3 * (snapshot > 14));
			frame.original = 1500;
			frame.status = TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID;
			frame.tpid = 0x9100;
			frame.tci = 0x2FFE;
			assert_true(wh_test_block_add(&fixture->block, &frame));
		}
		transcribe_all(fixture, false);
	}
}

/* 1970, the years around 2038, just before 2106, and the last ns of a second.
 */
static void times_are_kept(void **state)
{
	static const uint64_t seconds[] = { 0, 1, 2147483647, 2147483648, 4294967295 };
	struct fixture *fixture = *state;
	begin(fixture, 8192);
	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		struct wh_test_frame frame = frame_of(fixture, 60);
		frame.ns = seconds[i] * WH_NS_PER_SECOND + 999999999;
		assert_true(wh_test_block_add(&fixture->block, &frame));
	}
	transcribe_all(fixture, false);
}

/* By the table of section 4.3.1, not by our own function. */
static void directions_are_told(void **state)
{
	(void)state;
	static const struct {
		uint8_t packet_type;
		uint32_t flags;
	} cases[] = {
		{ 0, 0x05 }, /* to us: inbound, unicast */
		{ 1, 0x0D }, /* broadcast */
		{ 2, 0x09 }, /* multicast */
		{ 3, 0x11 }, /* to someone else: inbound, promiscuous */
		{ 4, 0x02 }, /* outbound */
		{ 5, 0 },    { 6, 0 }, { 255, 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(wh_slot_flags(cases[i].packet_type), cases[i].flags);
}

static void cut_at_every_count(void **state)
{
	struct fixture *fixture = *state;
	for (uint32_t round = 0; round < 4; round++) {
		begin(fixture, round < 2 ? 16384 : 65536);
		for (uint32_t i = 0; i < 30; i++) {
			struct wh_test_frame frame =
			    frame_of(fixture, round % 2 == 0 ? 60 + i : random_below(fixture, 2100));
			frame.original += i % 5;
			tag_randomly(fixture, &frame);
			if (!wh_test_block_add(&fixture->block, &frame))
				break;
		}
		fixture->lost = round;
		for (uint32_t frames = 1; frames < fixture->block.count; frames++) {
			wh_test_block_rebuild(&fixture->block);
			struct wh_chunk chunk = chunk_encode(fixture, WH_TRANSCRIBE_IN_PLACE);
			wh_pcapng_cut(&chunk, frames);
			sealed_check(fixture, &chunk, frames, frames % 10 == 0);
			wh_test_block_rebuild(&fixture->block);
			chunk = chunk_encode(fixture, WH_TRANSCRIBE_COMPACT);
			wh_pcapng_cut(&chunk, frames);
			sealed_check(fixture, &chunk, frames, false);
			wh_test_block_rebuild(&fixture->block);
			chunk = chunk_encode(fixture, WH_TRANSCRIBE_RUN);
			wh_pcapng_cut(&chunk, frames);
			run_check(fixture, &chunk, frames);
			chunk = pcap_encode(fixture, round % 2 == 0);
			wh_pcap_cut(&chunk, frames);
			pcap_check(fixture, &chunk, frames, frames % 10 == 0);
		}
	}
}

static void choice_of_transcription(void **state)
{
	(void)state;
	const uint32_t capacity = 1024 * 1024, limit = wh_transcription_run_limit(capacity);
	assert_true(limit <= capacity / 8);
	assert_int_equal(wh_transcription_run_limit(64 * 1024 * 1024), 128 * 1024);
	assert_int_equal(wh_transcription_choose(1, 400, capacity), WH_TRANSCRIBE_RUN);
	assert_int_equal(wh_transcription_choose(100, limit, capacity), WH_TRANSCRIBE_RUN);
	assert_int_equal(wh_transcription_choose(1, limit + 1, capacity), WH_TRANSCRIBE_IN_PLACE);
	/* Whole blocks of 60 and of 1414 bytes, and as many frames as cannot be. */
	assert_int_equal(wh_transcription_choose(capacity / 144, capacity, capacity), WH_TRANSCRIBE_COMPACT);
	assert_int_equal(wh_transcription_choose(capacity / 1504, capacity, capacity), WH_TRANSCRIBE_IN_PLACE);
	assert_int_equal(wh_transcription_choose(UINT32_MAX, UINT32_MAX, UINT32_MAX), WH_TRANSCRIBE_COMPACT);
}

/* Every room for the blocks around the frames: whole, or nothing and not a byte
 * too far. */
static void blocks_that_do_not_fit_are_not_written(void **state)
{
	(void)state;
	uint8_t buffer[512];
	const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };
	const struct wh_interface_description description = { .name = "eth0",
							      .filter = "tcp port 80",
							      .operating_system = "Linux",
							      .link_type = 1,
							      .snapshot_length = 262144,
							      .speed_bits = 10000000000,
							      .mac = mac };
	const struct wh_interface_totals totals = { .now_ns = 1, .received = 2 };
	uint32_t whole[3] = { wh_pcapng_section_put(buffer, sizeof(buffer), "wirehaul", "Linux"),
			      wh_pcapng_interface_put(buffer, sizeof(buffer), &description),
			      wh_pcapng_statistics_put(buffer, sizeof(buffer), &totals) };
	assert_int_equal(whole[2], WH_PCAPNG_STATISTICS_BYTES);
	for (uint32_t room = 0; room < sizeof(buffer); room++) {
		uint32_t found[3];
		memset(buffer, WH_TEST_STALE, sizeof(buffer));
		found[0] = wh_pcapng_section_put(buffer, room, "wirehaul", "Linux");
		found[1] = wh_pcapng_interface_put(buffer, room, &description);
		found[2] = wh_pcapng_statistics_put(buffer, room, &totals);
		for (int i = 0; i < 3; i++)
			assert_int_equal(found[i], room >= whole[i] ? whole[i] : 0);
		for (uint32_t i = room; i < sizeof(buffer); i++)
			assert_int_equal(buffer[i], WH_TEST_STALE);
	}
}

/* Texts as long as they like: cut, and the block is whole. */
static void long_texts_are_cut(void **state)
{
	struct fixture *fixture = *state;
	char *text = test_malloc(70000);
	memset(text, 'x', 69999);
	text[69999] = '\0';
	const struct wh_interface_description description = {
		.name = text, .filter = text, .operating_system = text, .link_type = 1, .snapshot_length = 96
	};
	uint32_t length = wh_pcapng_section_put(fixture->file, FILE_ROOM, text, text);
	assert_true(length > 0);
	uint32_t more = wh_pcapng_interface_put(fixture->file + length, FILE_ROOM - length, &description);
	assert_true(more > 0);
	struct wh_test_walk walk = { 0 };
	walk_or_explain(wh_test_walk_file(&walk, fixture->file, length + more), &walk);
	libpcap_check(&walk, fixture->file, length + more, DLT_EN10MB);
	wh_test_walk_free(&walk);
	test_free(text);
}

static void filler_reaches_the_boundary(void **state)
{
	struct fixture *fixture = *state;
	for (uint64_t end = 4096; end <= 3 * 4096; end += 4) {
		uint32_t filler = wh_pcapng_filler_bytes(end);
		assert_int_equal((end + filler) % WH_FILE_ALIGNMENT, 0);
		assert_true(filler == 0 || (filler >= 12 && filler < WH_FILE_ALIGNMENT + 12));
		if (filler == 0)
			continue;
		memset(fixture->file, WH_TEST_STALE, filler + 8);
		wh_pcapng_filler_put(fixture->file, filler);
		struct wh_test_walk walk = { 0 };
		walk_or_explain(wh_test_walk_run(&walk, fixture->file, filler, 1), &walk);
		assert_int_equal(fixture->file[filler], WH_TEST_STALE);
	}
	assert_int_equal(wh_pcapng_filler_bytes(UINT64_MAX - 4095), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_blocks),
		cmocka_unit_test(last_frame_ends_near_the_end),
		cmocka_unit_test(what_the_kernel_can_do_leaves_room_for_all),
		cmocka_unit_test(single_frames),
		cmocka_unit_test(frame_as_large_as_the_block),
		cmocka_unit_test(dense_blocks_stay_in_place),
		cmocka_unit_test(frames_without_ethernet),
		cmocka_unit_test(snapshot_length_holds_with_tags),
		cmocka_unit_test(times_are_kept),
		cmocka_unit_test(directions_are_told),
		cmocka_unit_test(cut_at_every_count),
		cmocka_unit_test(choice_of_transcription),
		cmocka_unit_test(blocks_that_do_not_fit_are_not_written),
		cmocka_unit_test(long_texts_are_cut),
		cmocka_unit_test(filler_reaches_the_boundary),
	};
	return cmocka_run_group_tests_name("format", tests, fixture_make, fixture_drop);
}
