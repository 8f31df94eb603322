/* SPDX-License-Identifier: BSD-3-Clause */
/* The stream: what it hands out for writing is put together as the disk would,
 * and after every flush the file must be whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "writer/stream.h"

enum { CAPACITY = 64 * 1024, BLOCK_BYTES = 16 * 1024, IMAGE_BYTES = 8 * CAPACITY, SOURCES = 5, SEQUENCE_FIRST = 7 };
static const uint64_t SESSION = 0xABCDEF0123456789;

struct fixture {
	uint8_t *buffer; /* CAPACITY and the stages, between guards */
	uint8_t *image;  /* the file */
	uint64_t length;
	uint8_t *ring; /* one block */
	struct wh_test_block block;
	struct wh_stream stream;
	uint64_t sequence;
	uint64_t random;
	uint64_t frames; /* put in so far, over all sources */
	uint64_t lost;
	uint64_t received[SOURCES], dropped[SOURCES];
	uint64_t counted[SOURCES]; /* frames of each that flushes carried */
};

static int fixture_make(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	assert_non_null(fixture);
	fixture->buffer = wh_test_guarded(CAPACITY + WH_STREAM_STAGE_BYTES);
	fixture->image = malloc(IMAGE_BYTES);
	fixture->ring = wh_test_guarded(BLOCK_BYTES);
	assert_non_null(fixture->buffer);
	assert_non_null(fixture->image);
	assert_non_null(fixture->ring);
	memset(fixture->buffer, WH_TEST_STALE, CAPACITY + WH_STREAM_STAGE_BYTES);
	memset(fixture->image, WH_TEST_STALE, IMAGE_BYTES);
	fixture->random = 42;
	fixture->sequence = SEQUENCE_FIRST;
	fixture->length = wh_test_file_begin(fixture->image, IMAGE_BYTES, SOURCES, 1);
	*state = fixture;
	return 0;
}

static int fixture_drop(void **state)
{
	struct fixture *fixture = *state;
	wh_test_unguard(fixture->buffer, CAPACITY + WH_STREAM_STAGE_BYTES);
	wh_test_unguard(fixture->ring, BLOCK_BYTES);
	free(fixture->image);
	free(fixture);
	return 0;
}

/* A run of COUNT frames of SIZE bytes as SOURCE's encoder makes it. Frames
 * carry their number as their time. */
static struct wh_chunk run_make(struct fixture *fixture, uint16_t source, uint32_t count, uint32_t size, uint64_t lost)
{
	struct wh_test_block *block = &fixture->block;
	wh_test_block_begin(block, fixture->ring, BLOCK_BYTES, WH_CHUNK_FIRST_SLOT);
	for (uint32_t i = 0; i < count; i++) {
		const struct wh_test_frame frame = { .captured = size,
						     .original = size,
						     .mac = 84,
						     .packet_type = PACKET_HOST,
						     .ns = ++fixture->frames,
						     .seed = fixture->frames };
		assert_true(wh_test_block_add(block, &frame));
	}
	const struct wh_encoding encoding = { .rules = { .snapshot_length = 65535, .ethernet = true },
					      .source = source,
					      .interface = source };
	fixture->received[source] += count + lost;
	fixture->dropped[source] += lost;
	fixture->lost += lost;
	struct wh_chunk chunk = { .source = source,
				  .interface = source,
				  .lost = lost,
				  .received_total = fixture->received[source],
				  .dropped_total = fixture->dropped[source] };
	wh_pcapng_encode(&encoding, WH_TRANSCRIBE_RUN, block->base, BLOCK_BYTES, block->first_slot, count, &chunk);
	return chunk;
}

static void stretch_begin(struct fixture *fixture, uint32_t sources)
{
	wh_stream_begin(&fixture->stream, true, fixture->buffer, CAPACITY, fixture->length, sources);
}

/* Puts the pieces of a flush where the disk would. Returns how many there were.
 */
static uint32_t flush(struct fixture *fixture)
{
	struct wh_stream *stream = &fixture->stream;
	for (uint32_t i = 0; i < stream->unflushed_count; i++)
		fixture->counted[stream->unflushed[i].source] += stream->unflushed[i].frames;
	struct wh_stream_piece pieces[2];
	uint32_t count = wh_stream_flush(stream, SESSION, fixture->sequence, pieces);
	for (uint32_t i = 0; i < count; i++) {
		assert_true(pieces[i].offset + pieces[i].length <= IMAGE_BYTES);
		memcpy(fixture->image + pieces[i].offset, pieces[i].base, pieces[i].length);
		bool fits = pieces[i].offset % WH_FILE_ALIGNMENT == 0 && pieces[i].length % WH_FILE_ALIGNMENT == 0 &&
			    (uintptr_t)pieces[i].base % WH_FILE_ALIGNMENT == 0;
		assert_true(fits || !pieces[i].aligned);
	}
	assert_int_equal(stream->unflushed_count, 0);
	return count;
}

/* The file as it is on the disk, and that it has FRAMES frames, numbered
 * from 1. */
static struct wh_test_walk walk_image(const struct fixture *fixture, uint64_t end, uint64_t frames)
{
	struct wh_test_walk walk = { 0 };
	if (!wh_test_walk_file(&walk, fixture->image, end))
		fail_msg("%s (at %zu of %llu)", walk.problem, walk.problem_at, (unsigned long long)end);
	assert_int_equal(walk.frame_count, frames);
	for (uint64_t i = 0; i < frames; i++)
		assert_int_equal(walk.frames[i].ns, i + 1);
	return walk;
}

static void check_image(const struct fixture *fixture, uint64_t end, uint64_t frames)
{
	struct wh_test_walk walk = walk_image(fixture, end, frames);
	uint64_t lost = 0, told = 0;
	for (size_t i = 0; i < walk.frame_count; i++)
		lost += walk.frames[i].lost;
	for (size_t i = 0; i < walk.chunk_count; i++) {
		told += walk.chunks[i].head.lost;
		assert_int_equal(walk.chunks[i].head.session, SESSION);
		assert_int_equal(walk.chunks[i].head.sequence, SEQUENCE_FIRST + i);
	}
	assert_int_equal(lost, fixture->lost);
	assert_int_equal(told, fixture->lost);
	wh_test_walk_free(&walk);
}

/* Ends the stretch as the writer does. */
static void stretch_end(struct fixture *fixture)
{
	wh_stream_seal(&fixture->stream);
	assert_int_equal(fixture->stream.used % WH_FILE_ALIGNMENT, 0);
	assert_true(fixture->stream.used <= CAPACITY);
	flush(fixture);
	fixture->length += fixture->stream.used;
	fixture->sequence++;
}

static void runs_of_several_sources(void **state)
{
	struct fixture *fixture = *state;
	stretch_begin(fixture, SOURCES);
	uint32_t stretches = 0;
	for (int round = 0; stretches < 5; round++) {
		uint16_t source = (uint16_t)(wh_test_random(&fixture->random) % SOURCES);
		uint32_t count = 1 + (uint32_t)(wh_test_random(&fixture->random) % 5);
		uint32_t size = (uint32_t)(wh_test_random(&fixture->random) % 1515);
		struct wh_chunk chunk = run_make(fixture, source, count, size, round % 7 == 0 ? 3 : 0);
		if (!wh_stream_takes(&fixture->stream, chunk.length, source)) {
			/* What was made is not in yet. */
			uint64_t frames = fixture->frames - count, lost = fixture->lost;
			stretch_end(fixture);
			fixture->lost -= chunk.lost;
			check_image(fixture, fixture->length, frames);
			fixture->lost = lost;
			stretch_begin(fixture, SOURCES);
			stretches++;
		}
		uint64_t spare = wh_stream_append_run(&fixture->stream, &chunk);
		assert_true(spare > fixture->length);
		if (round % 3 != 0)
			continue;
		uint32_t pieces = flush(fixture);
		assert_true(pieces == 1 || pieces == 2);
		assert_int_equal(flush(fixture), 0);
		check_image(fixture, fixture->length + fixture->stream.used, fixture->frames);
		/* The place that was told is the last frame's spare option, on the disk. */
		struct wh_test_walk walk = walk_image(fixture, fixture->length + fixture->stream.used, fixture->frames);
		const struct wh_test_record *last = &walk.frames[walk.frame_count - 1];
		/* Or its own drop count, where it has one. */
		if (last->lost == 0)
			assert_int_equal(last->spare, spare);
		else
			assert_true(spare > last->offset && spare < last->offset + last->length);
		wh_test_walk_free(&walk);
	}
	stretch_end(fixture);
	check_image(fixture, fixture->length, fixture->frames);
	uint64_t counted = 0;
	for (int i = 0; i < SOURCES; i++)
		counted += fixture->counted[i];
	assert_int_equal(counted, fixture->frames);
}

/* The head says of each source what it said last. */
static void heads_tell_totals(void **state)
{
	struct fixture *fixture = *state;
	stretch_begin(fixture, SOURCES);
	for (uint16_t source = 0; source < SOURCES; source++)
		for (int i = 0; i < 2; i++) {
			struct wh_chunk chunk = run_make(fixture, source, 2, 60, source);
			wh_stream_append_run(&fixture->stream, &chunk);
		}
	flush(fixture);
	wh_stream_note(&fixture->stream, 3, 3, 1000, 900, 100);
	assert_int_equal(flush(fixture), 1); /* nothing but the head is new */
	struct wh_test_walk walk = walk_image(fixture, fixture->length + fixture->stream.used, fixture->frames);
	const struct wh_test_chunk *chunk = &walk.chunks[0];
	assert_int_equal(chunk->head.record_count, SOURCES);
	assert_int_equal(chunk->head.lost, fixture->lost + 100);
	for (int i = 0; i < SOURCES; i++) {
		assert_int_equal(chunk->records[i].source, i);
		assert_int_equal(chunk->records[i].interface, i);
		assert_int_equal(chunk->records[i].frames, 4);
		assert_int_equal(chunk->records[i].received, i == 3 ? 1000 : fixture->received[i]);
		assert_int_equal(chunk->records[i].dropped, i == 3 ? 900 : fixture->dropped[i]);
	}
	wh_test_walk_free(&walk);
}

/* Between runs of one source the spare option goes; across sources and once it
 * is on the disk it stays. */
static void spare_options_are_taken_out(void **state)
{
	struct fixture *fixture = *state;
	stretch_begin(fixture, SOURCES);
	struct wh_chunk chunk = run_make(fixture, 0, 1, 60, 0);
	uint32_t alone = chunk.length;
	wh_stream_append_run(&fixture->stream, &chunk);
	uint32_t before = fixture->stream.used;
	chunk = run_make(fixture, 0, 1, 60, 0);
	wh_stream_append_run(&fixture->stream, &chunk); /* takes out the first */
	assert_int_equal(fixture->stream.used, before + alone - WH_SPARE_OPTION_BYTES);
	before = fixture->stream.used;
	chunk = run_make(fixture, 1, 1, 60, 0);
	wh_stream_append_run(&fixture->stream, &chunk); /* another source */
	assert_int_equal(fixture->stream.used, before + alone);
	flush(fixture);
	before = fixture->stream.used;
	chunk = run_make(fixture, 1, 1, 60, 0);
	wh_stream_append_run(&fixture->stream, &chunk); /* the one before is being written */
	assert_int_equal(fixture->stream.used, before + alone);
	chunk = run_make(fixture, 1, 2, 60, 0);
	wh_pcapng_cut(&chunk, 1);
	fixture->frames--;
	wh_stream_append_run(&fixture->stream, &chunk); /* one without */
	assert_int_equal(fixture->stream.tail_record, 0);
	chunk = run_make(fixture, 1, 1, 60, 0);
	wh_stream_append_run(&fixture->stream, &chunk);
	stretch_end(fixture);
	check_image(fixture, fixture->length, fixture->frames);
}

/* A stretch of every length: the filler must always find its room. */
static void seal_at_every_remainder(void **state)
{
	struct fixture *fixture = *state;
	uint64_t start = fixture->length;
	for (uint32_t size = 0; size <= 4200; size += 4) {
		for (int flushed = 0; flushed < 2; flushed++) {
			fixture->length = start;
			fixture->frames = 0;
			fixture->sequence = SEQUENCE_FIRST;
			stretch_begin(fixture, 1 + size % 3);
			struct wh_chunk chunk = run_make(fixture, 0, 1, size, 0);
			wh_stream_append_run(&fixture->stream, &chunk);
			if (flushed)
				flush(fixture);
			struct wh_stream_piece pieces[2];
			wh_stream_seal(&fixture->stream);
			uint32_t count = wh_stream_flush(&fixture->stream, SESSION, fixture->sequence, pieces);
			/* In one piece it is fit for direct I/O, in two it is not. */
			assert_int_equal(pieces[0].aligned, !flushed);
			for (uint32_t i = 0; i < count; i++)
				memcpy(fixture->image + pieces[i].offset, pieces[i].base, pieces[i].length);
			fixture->length += fixture->stream.used;
			check_image(fixture, fixture->length, 1);
		}
	}
}

/* Full to the last byte that it says it takes. */
static void takes_what_it_promises(void **state)
{
	struct fixture *fixture = *state;
	uint64_t start = fixture->length;
	for (uint32_t last = 0; last < 64; last += 4) {
		fixture->length = start;
		fixture->frames = 0;
		fixture->sequence = SEQUENCE_FIRST;
		stretch_begin(fixture, 1);
		struct wh_chunk chunk;
		for (;;) {
			chunk = run_make(fixture, 0, 1, 1000 + last, 0);
			if (!wh_stream_takes(&fixture->stream, chunk.length, 0))
				break;
			wh_stream_append_run(&fixture->stream, &chunk);
		}
		fixture->frames--;
		uint32_t left = CAPACITY - fixture->stream.used;
		assert_true(left < chunk.length + 12);
		/* One more that fills it exactly. */
		if (left >= 12 + 28 + 36 + 4) {
			chunk = run_make(fixture, 0, 1, (left - 12 - 28 - 24) & ~3u, 0);
			assert_int_equal(chunk.length, left - 12);
			assert_true(wh_stream_takes(&fixture->stream, chunk.length, 0));
			assert_false(wh_stream_takes(&fixture->stream, chunk.length + 4, 0));
			wh_stream_append_run(&fixture->stream, &chunk);
		}
		stretch_end(fixture);
		check_image(fixture, fixture->length, fixture->frames);
	}
}

static void one_source_more_than_there_is_room_for(void **state)
{
	struct fixture *fixture = *state;
	stretch_begin(fixture, 2);
	for (uint16_t source = 0; source < 2; source++) {
		struct wh_chunk chunk = run_make(fixture, source, 1, 60, 0);
		assert_true(wh_stream_takes(&fixture->stream, chunk.length, source));
		wh_stream_append_run(&fixture->stream, &chunk);
	}
	assert_true(wh_stream_takes(&fixture->stream, 100, 1));
	assert_false(wh_stream_takes(&fixture->stream, 100, 2));
	stretch_begin(fixture, 0); /* at least one */
	assert_true(wh_stream_takes(&fixture->stream, 100, 9));
	stretch_begin(fixture, 100000);
	assert_true(fixture->stream.used <= WH_STREAM_STAGE_BYTES / 2);
}

/* Blocks put in by hand, as interfaces and statistics are. */
static void blocks_among_runs(void **state)
{
	struct fixture *fixture = *state;
	stretch_begin(fixture, SOURCES);
	for (uint32_t i = 0; i < 40; i++) {
		struct wh_chunk chunk = run_make(fixture, 0, 1, 60 + i, 0);
		wh_stream_append_run(&fixture->stream, &chunk);
		uint32_t room;
		uint8_t *at = wh_stream_room(&fixture->stream, &room);
		const struct wh_interface_totals totals = { .interface = i % SOURCES, .received = i };
		uint32_t length = wh_pcapng_statistics_put(at, room, &totals);
		assert_int_equal(length, WH_PCAPNG_STATISTICS_BYTES);
		wh_stream_advance(&fixture->stream, length);
		if (i % 4 == 0) {
			flush(fixture);
			check_image(fixture, fixture->length + fixture->stream.used, fixture->frames);
		}
	}
	stretch_end(fixture);
	check_image(fixture, fixture->length, fixture->frames);
	struct wh_test_walk walk = walk_image(fixture, fixture->length, fixture->frames);
	assert_int_equal(walk.statistics_count, 40);
	assert_int_equal(walk.statistics[4].received, 39);
	wh_test_walk_free(&walk);
}

static void room_never_reaches_into_the_filler(void **state)
{
	struct fixture *fixture = *state;
	stretch_begin(fixture, 1);
	for (;;) {
		uint32_t room;
		uint8_t *at = wh_stream_room(&fixture->stream, &room);
		if (room < 12)
			break;
		uint32_t length = room < 5000 ? room & ~3u : 4996;
		wh_pcapng_filler_put(at, length);
		wh_stream_advance(&fixture->stream, length);
	}
	stretch_end(fixture);
	assert_int_equal(fixture->stream.used, CAPACITY);
	check_image(fixture, fixture->length, 0);
}

/* Heads that are out for writing must stay as they are while the stream goes
 * on: two of them. */
static void two_heads_may_be_out(void **state)
{
	struct fixture *fixture = *state;
	stretch_begin(fixture, 1);
	struct wh_stream_piece pieces[3][2];
	struct wh_chunk chunk = run_make(fixture, 0, 1, 60, 0);
	wh_stream_append_run(&fixture->stream, &chunk);
	assert_int_equal(wh_stream_flush(&fixture->stream, SESSION, fixture->sequence, pieces[0]), 1);
	memcpy(fixture->image + pieces[0][0].offset, pieces[0][0].base, pieces[0][0].length);
	for (int i = 1; i <= 2; i++) {
		chunk = run_make(fixture, 0, 1, 60, 0);
		wh_stream_append_run(&fixture->stream, &chunk);
		assert_int_equal(wh_stream_flush(&fixture->stream, SESSION, fixture->sequence, pieces[i]), 2);
	}
	/* Both are carried out late, one after the other, and the file is whole after
	 * each. */
	for (int i = 1; i <= 2; i++) {
		for (int j = 0; j < 2; j++)
			memcpy(fixture->image + pieces[i][j].offset, pieces[i][j].base, pieces[i][j].length);
		check_image(fixture, pieces[i][0].offset + pieces[i][0].length, (uint64_t)i + 1);
	}
}

/* Classic pcap: bytes, no heads, nothing in between. */
static void bytes_of_classic_pcap(void **state)
{
	struct fixture *fixture = *state;
	struct wh_stream *stream = &fixture->stream;
	uint8_t *sent = test_malloc(IMAGE_BYTES);
	for (uint32_t i = 0; i < IMAGE_BYTES; i++)
		sent[i] = (uint8_t)(i * 7 + i / 251);
	uint64_t done = 0;
	fixture->length = 0;
	while (done < IMAGE_BYTES) {
		wh_stream_begin(stream, false, fixture->buffer, CAPACITY, fixture->length, 3);
		assert_int_equal(stream->used, 0);
		while (stream->used < CAPACITY && done < IMAGE_BYTES) {
			uint32_t wanted = (uint32_t)(wh_test_random(&fixture->random) % 9000);
			if (wanted > IMAGE_BYTES - done)
				wanted = (uint32_t)(IMAGE_BYTES - done);
			uint32_t room = CAPACITY - stream->used;
			uint32_t taken = wh_stream_append_bytes(stream, sent + done, wanted);
			assert_int_equal(taken, wanted < room ? wanted : room);
			wh_stream_count(stream, (uint16_t)(done % 3), 1);
			done += taken;
			if (wanted % 3 == 0)
				flush(fixture);
		}
		flush(fixture);
		fixture->length += stream->used;
	}
	assert_memory_equal(fixture->image, sent, IMAGE_BYTES);
	test_free(sent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(runs_of_several_sources, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(heads_tell_totals, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(spare_options_are_taken_out, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(seal_at_every_remainder, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(takes_what_it_promises, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(one_source_more_than_there_is_room_for, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(blocks_among_runs, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(room_never_reaches_into_the_filler, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(two_heads_may_be_out, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(bytes_of_classic_pcap, fixture_make, fixture_drop),
	};
	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
