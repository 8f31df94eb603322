/* SPDX-License-Identifier: BSD-3-Clause */
/* Verify and repair on files in memory: every kind of damage, alone and at random. Whatever was done to a file, what a
 * repair makes of it must be whole, have every frame that was counted, and every chunk that nothing was done to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <byteswap.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blocks.h"
#include "writer/repair.h"
#include "writer/stream.h"

enum {
	PAGE = 4096,
	RING_BLOCK = 64 * 1024,
	IMAGE_MOST = 768 * 1024,
	CHUNKS_MOST = 64,
	STREAM_BYTES = 64 * 1024,
	IMAGES = 16
};
static const uint64_t SESSION = 0xABCDEF0123456789;

/* A file in memory. */
struct image {
	uint8_t *bytes;
	uint64_t length;
};

/* A file as wirehaul would write it, and where its chunks are. */
struct built {
	struct image image;
	uint64_t header;
	uint32_t count;
	uint64_t at[CHUNKS_MOST + 1]; /* the last one: where the file ends */
	uint64_t frames;
	uint64_t sequence;
	uint64_t session;
	uint64_t ns;
	uint64_t random;
	uint64_t received[8];
	uint8_t *ring;
	struct wh_test_block *block;
};

/* Images are many and large: their memory is used again. */
static uint8_t *spare_images[IMAGES];
static size_t spare_count;

static void image_open(struct image *image)
{
	image->bytes = spare_count > 0 ? spare_images[--spare_count] : malloc(IMAGE_MOST);
	assert_non_null(image->bytes);
	image->length = 0;
}

static void image_close(struct image *image)
{
	assert_true(spare_count < IMAGES);
	spare_images[spare_count++] = image->bytes;
}

static void build_begin(struct built *built, uint64_t session, uint32_t interfaces)
{
	*built = (struct built){ .session = session, .random = session | 1, .ns = 1700000000000000000 };
	image_open(&built->image);
	built->ring = wh_test_guarded(RING_BLOCK);
	built->block = malloc(sizeof(*built->block));
	assert_non_null(built->block);
	uint32_t used = wh_pcapng_section_put(built->image.bytes, IMAGE_MOST, "wirehaul 0.1.0", "test");
	for (uint32_t i = 0; i < interfaces; i++) {
		const struct wh_interface_description description = { .name = "if",
								      .link_type = 1,
								      .snapshot_length = 262144 };
		used += wh_pcapng_interface_put(built->image.bytes + used, IMAGE_MOST - used, &description);
	}
	uint32_t filler = wh_pcapng_filler_bytes(used);
	wh_pcapng_filler_put(built->image.bytes + used, filler);
	built->header = built->image.length = used + filler;
	built->at[0] = built->header;
}

static void build_end(struct built *built)
{
	wh_test_unguard(built->ring, RING_BLOCK);
	free(built->block);
	image_close(&built->image);
}

/* A chunk of COUNT frames of SOURCE in the ring block, as HOW says. */
static struct wh_chunk chunk_make(struct built *built, enum wh_transcription how, uint16_t source, uint32_t count,
				  uint32_t size, uint64_t lost)
{
	wh_test_block_begin(built->block, built->ring, RING_BLOCK, WH_CHUNK_FIRST_SLOT);
	for (uint32_t i = 0; i < count; i++) {
		const struct wh_test_frame frame = { .captured = size,
						     .original = size,
						     .mac = 84,
						     .packet_type = PACKET_HOST,
						     .ns = ++built->ns,
						     .seed = built->ns };
		assert_true(wh_test_block_add(built->block, &frame));
	}
	const struct wh_encoding encoding = { .rules = { .snapshot_length = 262144, .ethernet = true },
					      .source = source,
					      .interface = source };
	built->received[source] += count + lost;
	built->frames += count;
	struct wh_chunk chunk = { .source = source,
				  .interface = source,
				  .lost = lost,
				  .received_total = built->received[source],
				  .dropped_total = lost };
	wh_pcapng_encode(&encoding, how, built->block->base, RING_BLOCK, built->block->first_slot, count, &chunk);
	return chunk;
}

static void chunk_placed(struct built *built)
{
	assert_true(built->count < CHUNKS_MOST);
	built->sequence++;
	built->at[++built->count] = built->image.length;
}

static void sealed_add(struct built *built, uint16_t source, uint32_t count, uint32_t size)
{
	enum wh_transcription how = size < 350 ? WH_TRANSCRIBE_COMPACT : WH_TRANSCRIBE_IN_PLACE;
	struct wh_chunk chunk = chunk_make(built, how, source, count, size, 0);
	assert_int_equal(chunk.kind, WH_CHUNK_SEALED);
	wh_pcapng_stamp(chunk.base, built->session, built->sequence);
	memcpy(built->image.bytes + built->image.length, chunk.base, chunk.length);
	built->image.length += chunk.length;
	chunk_placed(built);
}

/* A chunk that grew: RUNS runs of two frames, an interface's description if DESCRIBED, statistics if CLOSING. With OPEN
 * it is left as it is before it is sealed, under the head of its first flush. */
static void growing_add(struct built *built, uint32_t runs, bool described, bool closing, bool open)
{
	struct wh_stream stream;
	uint8_t *buffer = malloc(STREAM_BYTES + WH_STREAM_STAGE_BYTES);
	assert_non_null(buffer);
	wh_stream_begin(&stream, true, buffer, STREAM_BYTES, built->image.length, 2);
	uint32_t room;
	if (described) {
		const struct wh_interface_description description = { .name = "late",
								      .link_type = 1,
								      .snapshot_length = 262144 };
		uint8_t *at = wh_stream_room(&stream, &room);
		wh_stream_advance(&stream, wh_pcapng_interface_put(at, room, &description));
	}
	for (uint32_t i = 0; i < runs; i++) {
		uint16_t source = described ? 1 : 0;
		struct wh_chunk run = chunk_make(built, WH_TRANSCRIBE_RUN, source, 2, 60 + i, 0);
		wh_stream_append_run(&stream, &run);
		struct wh_stream_piece pieces[2];
		uint32_t count = open && i > 0 ? 0 : wh_stream_flush(&stream, built->session, built->sequence, pieces);
		for (uint32_t j = 0; j < count; j++)
			memcpy(built->image.bytes + pieces[j].offset, pieces[j].base, pieces[j].length);
	}
	if (closing) {
		uint8_t *at = wh_stream_room(&stream, &room);
		const struct wh_interface_totals totals = { .received = 7, .dropped = 2, .delivered = 5 };
		wh_stream_advance(&stream, wh_pcapng_statistics_put(at, room, &totals));
	}
	uint64_t start = built->image.length;
	if (open) {
		/* What a kill leaves: the frames are there, the head has not been written again. */
		memcpy(built->image.bytes + start + stream.flushed, buffer + stream.flushed,
		       stream.used - stream.flushed);
	} else {
		struct wh_stream_piece pieces[2];
		wh_stream_seal(&stream);
		uint32_t count = wh_stream_flush(&stream, built->session, built->sequence, pieces);
		for (uint32_t j = 0; j < count; j++)
			memcpy(built->image.bytes + pieces[j].offset, pieces[j].base, pieces[j].length);
	}
	built->image.length += stream.used;
	free(buffer);
	chunk_placed(built);
}

/* A file of COUNT chunks of all kinds, closed in order. */
static void build_file(struct built *built, uint64_t session, uint32_t count)
{
	build_begin(built, session, 1);
	for (uint32_t i = 0; i + 1 < count; i++) {
		uint32_t kind = (uint32_t)(wh_test_random(&built->random) % 4);
		if (i == 2)
			growing_add(built, 3, true, false, false);
		else if (kind == 0)
			growing_add(built, 5, false, false, false);
		else if (kind == 1)
			sealed_add(built, i > 2 ? 1 : 0, 4, 1414);
		else
			sealed_add(built, 0, 1 + (uint32_t)(wh_test_random(&built->random) % 100), 60);
	}
	growing_add(built, 1, false, true, false);
}

/* ---- the two under test ---- */

static struct wh_inspection inspect(const struct image *image)
{
	struct wh_inspection found;
	struct wh_error error = { .text = "" };
	const struct wh_inspect_source source = { .fd = -1, .memory = image->bytes, .size = image->length };
	assert_int_equal(wh_inspect(&source, NULL, &found, &error), WH_OK);
	if (found.health == WH_HEALTH_WHOLE && !found.repaired)
		assert_string_equal(found.what, "");
	else
		assert_string_not_equal(found.what, "");
	return found;
}

struct memory_sink {
	const struct image *from;
	struct image to;
};

static enum wh_status memory_write(void *context, const uint8_t *bytes, size_t length, struct wh_error *error)
{
	struct memory_sink *sink = context;
	(void)error;
	assert_true(sink->to.length + length <= IMAGE_MOST);
	memcpy(sink->to.bytes + sink->to.length, bytes, length);
	sink->to.length += length;
	return WH_OK;
}

static enum wh_status memory_copy(void *context, uint64_t offset, uint64_t length, struct wh_error *error)
{
	const struct memory_sink *sink = context;
	assert_true(offset + length <= sink->from->length);
	return memory_write(context, sink->from->bytes + offset, length, error);
}

static enum wh_status memory_patch(void *context, uint64_t at, const uint8_t *bytes, size_t length,
				   struct wh_error *error)
{
	struct memory_sink *sink = context;
	(void)error;
	assert_true(at + length <= sink->to.length);
	memcpy(sink->to.bytes + at, bytes, length);
	return WH_OK;
}

/* Repairs IMAGE into *OUT, which is the caller's to free. False: nothing can be saved. */
static bool repair(const struct image *image, struct image *out)
{
	struct memory_sink memory = { .from = image };
	image_open(&memory.to);
	const struct wh_repair_sink sink = {
		.context = &memory, .write = memory_write, .copy = memory_copy, .patch = memory_patch
	};
	struct wh_inspection found;
	struct wh_error error = { .text = "" };
	const struct wh_inspect_source source = { .fd = -1, .memory = image->bytes, .size = image->length };
	enum wh_status status = wh_repair(&source, &sink, "wirehaul test", &found, &error);
	*out = memory.to;
	assert_true(status == WH_OK || status == WH_ERR_INPUT);
	if (status != WH_OK)
		assert_int_equal(out->length, 0);
	return status == WH_OK;
}

/* Repairs IMAGE, and the result once more. What is made must be whole and have FRAMES frames. */
static struct wh_inspection check_repair(const struct image *image, uint64_t frames)
{
	struct image once, twice;
	assert_true(repair(image, &once));
	struct wh_inspection found = inspect(&once);
	if (found.health != WH_HEALTH_WHOLE)
		print_error("repaired: %s\n", found.what);
	assert_int_equal(found.health, WH_HEALTH_WHOLE);
	assert_int_equal(found.readable_bytes, once.length);
	assert_int_equal(found.frames, frames);
	assert_true(repair(&once, &twice));
	assert_int_equal(once.length, twice.length);
	assert_memory_equal(once.bytes, twice.bytes, once.length);
	image_close(&once);
	image_close(&twice);
	return found;
}

/* What is found in BUILT, which was damaged; and that a repair saves it. */
static struct wh_inspection damaged(const struct built *built, enum wh_health health)
{
	struct wh_inspection found = inspect(&built->image);
	if (found.health != health)
		print_error("found: %s\n", found.what);
	assert_int_equal(found.health, health);
	check_repair(&built->image, found.frames);
	return found;
}

static void image_remove(struct image *image, uint64_t at, uint64_t length)
{
	memmove(image->bytes + at, image->bytes + at + length, image->length - at - length);
	image->length -= length;
}

static void image_insert(struct image *image, uint64_t at, const uint8_t *bytes, uint64_t length)
{
	assert_true(image->length + length <= IMAGE_MOST);
	memmove(image->bytes + at + length, image->bytes + at, image->length - at);
	if (bytes != NULL)
		memcpy(image->bytes + at, bytes, length);
	image->length += length;
}

/* ---- one thing at a time ---- */

static void whole_files(void **state)
{
	(void)state;
	struct built built;
	build_file(&built, SESSION, 12);
	struct wh_inspection found = inspect(&built.image);
	assert_int_equal(found.health, WH_HEALTH_WHOLE);
	assert_int_equal(found.format, WH_CAPTURE_PCAPNG);
	assert_true(found.ours && !found.repaired);
	assert_int_equal(found.frames, built.frames);
	assert_int_equal(found.chunks, 12);
	assert_int_equal(found.chunks_missing + found.chunks_damaged, 0);
	assert_int_equal(found.session, SESSION);
	assert_int_equal(found.first_chunk, 0);
	assert_int_equal(found.last_chunk, 11);
	assert_int_equal(found.first_ns, 1700000000000000001);
	assert_int_equal(found.last_ns, built.ns);
	assert_int_equal(found.interfaces, 2);
	assert_int_equal(found.readable_bytes, built.image.length);
	/* A repair of what is whole changes nothing. */
	struct image out;
	assert_true(repair(&built.image, &out));
	assert_int_equal(out.length, built.image.length);
	assert_memory_equal(out.bytes, built.image.bytes, out.length);
	image_close(&out);
	build_end(&built);
}

static void files_that_were_not_closed(void **state)
{
	(void)state;
	struct built built;
	build_begin(&built, SESSION, 1);
	assert_int_equal(damaged(&built, WH_HEALTH_OPEN).frames, 0);
	sealed_add(&built, 0, 10, 1414);
	assert_int_equal(damaged(&built, WH_HEALTH_OPEN).frames, 10);
	growing_add(&built, 4, false, false, true);
	assert_int_equal(damaged(&built, WH_HEALTH_OPEN).frames, 18);
	build_end(&built);
	build_begin(&built, SESSION, 1);
	sealed_add(&built, 0, 10, 60);
	growing_add(&built, 4, false, true, true); /* killed between its last words and the head */
	assert_int_equal(damaged(&built, WH_HEALTH_OPEN).frames, 18);
	build_end(&built);
}

/* Cut at every place: no frame in front of the cut is lost. */
static void cut_at_every_byte(void **state)
{
	(void)state;
	struct built built;
	build_begin(&built, SESSION, 1);
	sealed_add(&built, 0, 3, 60);
	growing_add(&built, 2, false, true, false);
	uint64_t length = built.image.length, last = 0;
	for (uint64_t cut = 0; cut <= length; cut += cut < 200 || cut % PAGE < 600 ? 1 : 53) {
		built.image.length = cut;
		struct wh_inspection found = inspect(&built.image);
		assert_true(found.frames >= last);
		last = found.frames;
		enum wh_health health = cut == length        ? WH_HEALTH_WHOLE
					: cut == built.at[0] ? WH_HEALTH_OPEN
					: cut == built.at[1] ? WH_HEALTH_OPEN
							     : WH_HEALTH_CUT;
		/* Between two blocks of the header. */
		if (found.health == WH_HEALTH_WHOLE && cut < built.header)
			health = WH_HEALTH_WHOLE;
		if (found.health != health)
			print_error("cut at %llu: %s\n", (unsigned long long)cut, found.what);
		assert_int_equal(found.health, health);
		if (found.items > 0)
			check_repair(&built.image, found.frames);
	}
	assert_int_equal(last, built.frames);
	build_end(&built);
}

static void chunks_that_are_missing(void **state)
{
	(void)state;
	for (uint32_t first = 1; first < 11; first++) {
		struct built built;
		build_file(&built, SESSION, 12);
		uint32_t count = 1 + first % 2 < 11 - first ? 1 + first % 2 : 1;
		image_remove(&built.image, built.at[first], built.at[first + count] - built.at[first]);
		struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
		assert_int_equal(found.chunks_missing, count);
		assert_int_equal(found.chunks, 12 - count);
		struct image out;
		assert_true(repair(&built.image, &out));
		struct wh_inspection made = inspect(&out);
		assert_int_equal(made.chunks_missing, count);
		assert_int_equal(made.chunks, 12 - count);
		assert_true(made.repaired);
		/* The heads' counters tell how many frames they had, where a source was seen on both sides. */
		assert_true(made.frames + made.frames_missing <= built.frames);
		image_close(&out);
		build_end(&built);
	}
}

static void chunks_that_are_there_twice(void **state)
{
	(void)state;
	struct built built;
	build_file(&built, SESSION, 12);
	uint64_t length = built.at[5] - built.at[4];
	uint8_t *copy = malloc(length);
	assert_non_null(copy);
	memcpy(copy, built.image.bytes + built.at[4], length);
	image_insert(&built.image, built.at[8], copy, length);
	struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
	assert_int_equal(found.frames, built.frames);
	assert_int_equal(found.chunks, 12);
	/* And one that is only in the wrong place. */
	image_remove(&built.image, built.at[4], length);
	found = damaged(&built, WH_HEALTH_DAMAGED);
	assert_int_equal(found.frames, built.frames);
	assert_int_equal(found.chunks, 12);
	assert_int_equal(found.chunks_missing, 0);
	free(copy);
	build_end(&built);
}

/* Every word of a file is overwritten in turn: only what has it may be lost. */
static void each_word_in_turn(void **state)
{
	(void)state;
	struct built built;
	build_begin(&built, SESSION, 1);
	for (uint32_t i = 0; i < 3; i++)
		sealed_add(&built, 0, 5, 60);
	growing_add(&built, 1, false, true, false);
	for (uint64_t at = 0; at < built.image.length; at += at % PAGE < 1200         ? 4
							     : at % PAGE < PAGE - 268 ? 268
										      : PAGE - at % PAGE) {
		uint8_t kept[4];
		memcpy(kept, built.image.bytes + at, sizeof(kept));
		static const uint32_t values[] = { 0, UINT32_MAX, 0x1000, 0x10 };
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
			memcpy(built.image.bytes + at, &values[i], sizeof(values[i]));
			struct wh_inspection found = inspect(&built.image);
			if (found.items == 0)
				continue;
			check_repair(&built.image, found.frames);
			if (found.frames + 5 < built.frames)
				print_error("word at %llu: %llu of %llu frames\n", (unsigned long long)at,
					    (unsigned long long)found.frames, (unsigned long long)built.frames);
			assert_true(found.frames + 5 >= built.frames);
		}
		memcpy(built.image.bytes + at, kept, sizeof(kept));
	}
	build_end(&built);
}

/* Where the block NUMBER of the row that begins at AT begins. */
static uint64_t block_at(const struct image *image, uint64_t at, uint32_t number)
{
	for (; number > 0; number--) {
		uint32_t length;
		memcpy(&length, image->bytes + at + 4, sizeof(length));
		at += length;
	}
	return at;
}

/* Behind the damage within a chunk, frames are found by their lengths from its end. */
static void frames_behind_damage(void **state)
{
	(void)state;
	struct built built;
	build_file(&built, SESSION, 6);
	sealed_add(&built, 0, 30, 1414);
	sealed_add(&built, 0, 1, 60);
	growing_add(&built, 1, false, true, false);
	uint64_t start = built.at[6];
	memset(built.image.bytes + block_at(&built.image, start, 15), 0xff, 64);
	struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
	assert_true(found.frames + 2 >= built.frames);
	assert_int_equal(found.chunks_damaged, 1);
	/* The head too: what leads to the next one is there all the same. */
	memset(built.image.bytes + start, 0, 16);
	found = damaged(&built, WH_HEALTH_DAMAGED);
	assert_true(found.frames + 17 >= built.frames);
	assert_int_equal(found.chunks, 8);
	build_end(&built);
}

static void headers_that_are_lost(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		struct built built;
		build_file(&built, SESSION, 8);
		if (kind == 0)
			memset(built.image.bytes, 0, PAGE);
		else if (kind == 1)
			memset(built.image.bytes, 0x5a, 8);
		else if (kind == 2)
			image_remove(&built.image, 0, built.header);
		else
			built.image.bytes[8] ^= 0xff; /* the byte-order magic */
		struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
		assert_int_equal(found.frames, built.frames);
		assert_int_equal(found.chunks, 8);
		assert_int_equal(found.session, SESSION);
		assert_int_equal(found.readable_bytes, 0);
		build_end(&built);
	}
	/* The description of an interface alone. */
	struct built built;
	build_file(&built, SESSION, 8);
	uint32_t section;
	memcpy(&section, built.image.bytes + 4, sizeof(section));
	memset(built.image.bytes + section, 0xee, 12);
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).frames, built.frames);
	build_end(&built);
}

static void interfaces_that_are_lost(void **state)
{
	(void)state;
	struct built built;
	build_begin(&built, SESSION, 1);
	sealed_add(&built, 0, 3, 60);
	growing_add(&built, 2, true, false, false); /* describes interface 1 */
	sealed_add(&built, 1, 4, 60);
	sealed_add(&built, 1, 5, 60);
	growing_add(&built, 1, false, true, false);
	image_remove(&built.image, built.at[1], built.at[2] - built.at[1]);
	struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
	assert_int_equal(found.frames, built.frames - 4);
	assert_int_equal(found.interfaces, 2);
	assert_true(found.readable_bytes > built.at[1] && found.readable_bytes < built.at[2] + PAGE);
	build_end(&built);
}

/* How often IMAGE has the LENGTH bytes at BYTES on a boundary. */
static uint32_t has(const struct image *image, const uint8_t *bytes, uint64_t length)
{
	uint32_t count = 0;
	for (uint64_t at = 0; at + length <= image->length; at += PAGE)
		count += memcmp(image->bytes + at, bytes, length) == 0;
	return count;
}

/* A repair of BUILT has every chunk but number HIT as it is. */
static void check_others(const struct built *built, uint32_t hit)
{
	struct image out;
	assert_true(repair(&built->image, &out));
	for (uint32_t i = 0; i < built->count; i++)
		if (i != hit)
			assert_int_equal(has(&out, built->image.bytes + built->at[i], built->at[i + 1] - built->at[i]),
					 1);
	image_close(&out);
}

/* One bit of a chunk's session or number: what comes behind it counts more, for the first chunk as well. */
static void heads_with_a_wrong_number(void **state)
{
	(void)state;
	struct built built;
	build_file(&built, SESSION, 9);
	for (uint32_t chunk = 0; chunk < built.count; chunk += chunk == 0 ? 1 : 4) {
		for (uint32_t bit = 0; bit < 128; bit++) {
			uint8_t *byte = built.image.bytes + built.at[chunk] + 16 + bit / 8;
			*byte ^= (uint8_t)(1 << bit % 8);
			struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
			assert_int_equal(found.frames, built.frames);
			assert_int_equal(found.frames_missing, 0);
			assert_int_equal(found.chunks, built.count);
			check_others(&built, chunk);
			*byte ^= (uint8_t)(1 << bit % 8);
		}
	}
	build_end(&built);
}

/* The first head tells a wrong session, and what is damaged is the next chunk, or its head. */
static void a_first_head_that_misleads(void **state)
{
	(void)state;
	for (int kind = 0; kind < 3; kind++) {
		struct built built;
		build_file(&built, SESSION, 9);
		built.image.bytes[built.at[0] + (kind == 2 ? 29 : 17)] ^= 0x20;
		uint64_t lost = kind == 0 ? built.at[1] + 96 : built.at[1] + 8;
		memset(built.image.bytes + lost, 0xff, 32);
		struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
		assert_true(found.chunks >= built.count - 1);
		struct image out;
		assert_true(repair(&built.image, &out));
		for (uint32_t i = 2; i < built.count; i++)
			assert_int_equal(has(&out, built.image.bytes + built.at[i], built.at[i + 1] - built.at[i]), 1);
		image_close(&out);
		build_end(&built);
	}
}

/* Files of which parts have changed places: what comes first has the higher numbers. */
static void parts_that_changed_places(void **state)
{
	(void)state;
	struct built built;
	build_file(&built, SESSION, 9);
	uint64_t first = built.at[4] - built.at[0], last = built.at[9] - built.at[4];
	uint8_t *copy = malloc(first);
	assert_non_null(copy);
	memcpy(copy, built.image.bytes + built.at[0], first);
	memmove(built.image.bytes + built.at[0], built.image.bytes + built.at[4], last);
	memcpy(built.image.bytes + built.at[0] + last, copy, first);
	struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
	assert_int_equal(found.chunks, 9);
	assert_int_equal(found.frames, built.frames);
	free(copy);
	build_end(&built);
}

static void put32_at(struct built *built, uint64_t at, uint32_t value)
{
	memcpy(built->image.bytes + at, &value, sizeof(value));
}

/* Blocks whose lengths agree and that readers refuse all the same: never in what is called whole. */
static void blocks_that_readers_refuse(void **state)
{
	(void)state;
	struct built built;
	build_begin(&built, SESSION, 2);
	sealed_add(&built, 0, 5, 1414);
	sealed_add(&built, 0, 5, 1414);
	growing_add(&built, 1, false, true, false);
	uint64_t frame = block_at(&built.image, built.at[0], 2), section = 0, interface = block_at(&built.image, 0, 1);
	const struct {
		uint64_t at;
		uint32_t value, frames_lost;
	} hits[] = {
		{ frame, 4, 1 },                      /* names */
		{ frame, 2, 1 },                      /* the old packet block */
		{ frame, 0x86, 1 },                   /* nothing that is known */
		{ frame + 28 + 1416, 0x00050002, 1 }, /* epb_flags of 5 bytes */
		{ frame + 28 + 1416, 0x00040004, 1 }, /* epb_dropcount of 4 */
		{ frame + 28 + 1416, 0x00010bac, 1 }, /* a custom option without an owner */
		{ section + 12, 0x00010001, 0 },      /* version 1.1 */
	};
	for (size_t i = 0; i < sizeof(hits) / sizeof(hits[0]); i++) {
		uint32_t kept;
		memcpy(&kept, built.image.bytes + hits[i].at, sizeof(kept));
		put32_at(&built, hits[i].at, hits[i].value);
		struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
		assert_int_equal(found.frames, built.frames - hits[i].frames_lost);
		assert_int_equal(found.frames_missing, hits[i].frames_lost);
		assert_true(found.readable_bytes < built.image.length);
		put32_at(&built, hits[i].at, kept);
	}
	/* if_tsresol of more digits than any reader has. */
	uint8_t *name = built.image.bytes + interface + 16;
	uint8_t *resolution = memmem(name, 60, "\x09\x00\x01\x00\x09", 5);
	assert_non_null(resolution);
	resolution[4] = 20;
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).frames, built.frames);
	build_end(&built);
}

/* What is missing is counted once, and what was found without its head is not. */
static void frames_that_are_missing(void **state)
{
	(void)state;
	struct built built;
	build_begin(&built, SESSION, 1);
	for (uint32_t i = 0; i < 5; i++)
		sealed_add(&built, 0, 10 + i, 60);
	growing_add(&built, 1, false, true, false);
	uint8_t kept[PAGE];
	memcpy(kept, built.image.bytes + built.at[2], sizeof(kept));
	/* The head's type alone, its magic, the whole head: its frames are there. */
	static const uint32_t hits[][2] = { { 0, 4 }, { 8, 4 }, { 0, 96 } };
	for (size_t i = 0; i < sizeof(hits) / sizeof(hits[0]); i++) {
		memset(built.image.bytes + built.at[2] + hits[i][0], 0x81, hits[i][1]);
		struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
		assert_int_equal(found.frames, built.frames);
		assert_int_equal(found.frames_missing, 0);
		assert_int_equal(found.chunks_missing, 1);
		memcpy(built.image.bytes + built.at[2], kept, sizeof(kept));
	}
	/* One frame of a chunk. */
	memset(built.image.bytes + block_at(&built.image, built.at[3], 3), 0xee, 16);
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).frames_missing, 1);
	/* And all of another one. */
	image_remove(&built.image, built.at[1], built.at[2] - built.at[1]);
	struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
	assert_int_equal(found.frames_missing, 1 + 11);
	assert_int_equal(found.frames, built.frames - 12);
	assert_false(found.repaired);
	struct image out;
	assert_true(repair(&built.image, &out));
	struct wh_inspection made = inspect(&out);
	assert_int_equal(made.frames_missing, 12);
	assert_true(made.repaired);
	image_close(&out);
	build_end(&built);
}

static void losses_that_do_not_agree(void **state)
{
	(void)state;
	struct built built;
	build_begin(&built, SESSION, 1);
	sealed_add(&built, 0, 5, 60);
	struct wh_chunk chunk = chunk_make(&built, WH_TRANSCRIBE_COMPACT, 0, 5, 60, 7);
	wh_pcapng_stamp(chunk.base, built.session, built.sequence);
	memcpy(built.image.bytes + built.image.length, chunk.base, chunk.length);
	built.image.length += chunk.length;
	chunk_placed(&built);
	growing_add(&built, 1, false, true, false);
	struct wh_chunk_record *record = (void *)(built.image.bytes + built.at[2] + 64);
	record->dropped += 7; /* a total, as the writer has it */
	struct wh_inspection found = inspect(&built.image);
	assert_int_equal(found.health, WH_HEALTH_WHOLE);
	assert_int_equal(found.dropped, 7);
	built.image.bytes[built.at[1] + 56] = 71;
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).chunks_damaged, 1);
	build_end(&built);
}

/* A counter that was hit makes no frames missing, where the chunk behind it goes on as if it had not been. */
static void a_counter_that_was_hit(void **state)
{
	(void)state;
	struct built built;
	build_begin(&built, SESSION, 1);
	for (int i = 0; i < 4; i++)
		sealed_add(&built, 0, 5, 60);
	growing_add(&built, 1, false, true, false);
	built.image.bytes[built.at[2] + 64 + 8 + 5] ^= 0x40; /* received */
	struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
	assert_int_equal(found.frames, built.frames);
	assert_int_equal(found.frames_missing, 0);
	build_end(&built);
}

static void holes_zeros_and_garbage(void **state)
{
	(void)state;
	struct built built;
	build_file(&built, SESSION, 12);
	memset(built.image.bytes + built.at[3] + 100, 0, built.at[6] - built.at[3]);
	damaged(&built, WH_HEALTH_DAMAGED);
	build_end(&built);
	build_file(&built, SESSION, 12);
	image_insert(&built.image, built.at[4], NULL, 3 * PAGE);
	memset(built.image.bytes + built.at[4], 0xa7, 3 * PAGE);
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).frames, built.frames);
	build_end(&built);
	build_file(&built, SESSION, 12);
	memset(built.image.bytes + built.image.length, 0, 5 * PAGE + 7);
	built.image.length += 5 * PAGE + 7;
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).frames, built.frames);
	build_end(&built);
}

/* Files put one behind the other, whole or not, of one session or two. */
static void files_in_a_row(void **state)
{
	(void)state;
	for (int kind = 0; kind < 5; kind++) {
		struct built first, second;
		build_file(&first, SESSION, 6);
		build_file(&second, kind == 1 ? SESSION : 77, 7);
		uint64_t frames = first.frames + second.frames;
		uint64_t cut = kind < 2 ? 0 : kind == 2 ? PAGE : kind == 3 ? 4100 : 5;
		first.image.length -= cut;
		struct wh_inspection alone = inspect(&first.image);
		image_insert(&first.image, first.image.length, second.image.bytes, second.image.length);
		/* A cut between two chunks only left it open. */
		struct wh_inspection found =
		    damaged(&first, alone.health == WH_HEALTH_CUT ? WH_HEALTH_DAMAGED : alone.health);
		assert_int_equal(found.frames, cut == 0 ? frames : alone.frames + second.frames);
		build_end(&first);
		build_end(&second);
	}
}

/* Chunks of another capture within a section: kept, and told of. */
static void sessions_in_one_section(void **state)
{
	(void)state;
	struct built first, second;
	build_file(&first, SESSION, 6);
	build_file(&second, 77, 7);
	image_remove(&second.image, 0, second.header);
	image_insert(&first.image, first.at[6], second.image.bytes, second.image.length);
	struct wh_inspection found = damaged(&first, WH_HEALTH_DAMAGED);
	assert_int_equal(found.chunks, 13);
	build_end(&first);
	build_end(&second);
}

/* A frame that holds a whole file of wirehaul's, and one that holds chunks: nothing of them is taken for the file's. */
static void frames_that_hold_files(void **state)
{
	(void)state;
	struct built inner, outer;
	build_file(&inner, 77, 3);
	build_begin(&outer, SESSION, 1);
	sealed_add(&outer, 0, 2, 60);
	sealed_add(&outer, 0, 1, 40000);
	sealed_add(&outer, 0, 3, 60);
	growing_add(&outer, 1, false, true, false);
	/* The last page of the frame is at a boundary of the file. */
	uint64_t frame = outer.at[1] + PAGE;
	assert_true(inner.image.length + 8 <= 36000);
	memcpy(outer.image.bytes + frame, inner.image.bytes, inner.image.length);
	assert_int_equal(inspect(&outer.image).health, WH_HEALTH_WHOLE);
	/* Its block is damaged, and the chunk's head; then the one behind it as well. */
	memset(outer.image.bytes + outer.at[1], 0xff, 8);
	struct wh_inspection found = inspect(&outer.image);
	assert_int_equal(found.health, WH_HEALTH_DAMAGED);
	check_repair(&outer.image, found.frames);
	build_end(&inner);
	build_end(&outer);
}

static void counters_that_do_not_agree(void **state)
{
	(void)state;
	struct built built;
	build_begin(&built, SESSION, 1);
	for (int i = 0; i < 4; i++)
		sealed_add(&built, 0, 5, 60);
	growing_add(&built, 1, false, true, false);
	struct wh_chunk_head *head = (void *)(built.image.bytes + built.at[2]);
	struct wh_chunk_record *record = (void *)(head + 1);
	head->frames++;
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).chunks_damaged, 1);
	head->frames--;
	record->received += 3;
	struct wh_inspection found = damaged(&built, WH_HEALTH_DAMAGED);
	assert_int_equal(found.chunks_damaged, 0);
	assert_int_equal(found.frames, built.frames);
	record->received -= 3;
	head->first_ns--;
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).chunks_damaged, 1);
	head->first_ns++;
	head->version++;
	damaged(&built, WH_HEALTH_DAMAGED);
	head->version--;
	head->chunk_length += PAGE;
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).frames, built.frames);
	head->chunk_length = 0;
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).frames, built.frames);
	head->chunk_length = PAGE;
	assert_int_equal(inspect(&built.image).health, WH_HEALTH_WHOLE);
	build_end(&built);
}

/* ---- the other byte order ---- */

static void swap16(uint8_t *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof(value));
	value = bswap_16(value);
	memcpy(at, &value, sizeof(value));
}

static uint32_t swap32(uint8_t *at)
{
	uint32_t value, swapped;
	memcpy(&value, at, sizeof(value));
	swapped = bswap_32(value);
	memcpy(at, &swapped, sizeof(swapped));
	return value;
}

static void swap64(uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof(value));
	value = bswap_64(value);
	memcpy(at, &value, sizeof(value));
}

static void swap_options(uint8_t *at, const uint8_t *end)
{
	while (at < end) {
		uint16_t length;
		memcpy(&length, at + 2, sizeof(length));
		swap16(at);
		swap16(at + 2);
		/* Values with a byte order of their own: what a reader of structure does not look at stays. */
		if (length == 8)
			swap64(at + 4);
		else if (length == 4)
			swap32(at + 4);
		at += 4 + ((length + 3u) & ~3u);
	}
}

static void swap_block(uint8_t *block, uint32_t type, uint32_t length)
{
	uint8_t *end = block + length - 4;
	if (type == WH_PCAPNG_SHB) {
		swap32(block + 8);
		swap16(block + 12);
		swap16(block + 14);
		swap64(block + 16);
		uint8_t *at = block + 24;
		while (at < end) { /* texts */
			uint16_t bytes;
			memcpy(&bytes, at + 2, sizeof(bytes));
			swap16(at);
			swap16(at + 2);
			at += 4 + ((bytes + 3u) & ~3u);
		}
	} else if (type == WH_PCAPNG_IDB) {
		swap16(block + 8);
		swap32(block + 12);
		swap_options(block + 16, end);
	} else if (type == WH_PCAPNG_EPB) {
		for (int i = 8; i < 20; i += 4)
			swap32(block + i);
		uint32_t captured = swap32(block + 20);
		swap32(block + 24);
		swap_options(block + 28 + ((captured + 3) & ~3u), end);
	} else if (type == WH_PCAPNG_ISB) {
		for (int i = 8; i < 20; i += 4)
			swap32(block + i);
		swap_options(block + 20, end);
	} else if (type == WH_PCAPNG_CHUNK_HEAD) {
		uint16_t records;
		memcpy(&records, block + 14, sizeof(records));
		swap32(block + 8);
		swap16(block + 12);
		swap16(block + 14);
		swap64(block + 16);
		swap64(block + 24);
		swap32(block + 32);
		swap32(block + 36);
		for (int i = 40; i < 64; i += 8)
			swap64(block + i);
		for (uint16_t i = 0; i < records; i++) {
			uint8_t *record = block + 64 + i * 24;
			swap16(record);
			swap16(record + 2);
			swap32(record + 4);
			swap64(record + 8);
			swap64(record + 16);
		}
	}
}

static void image_swap(struct image *image)
{
	for (uint64_t at = 0; at < image->length;) {
		uint8_t *block = image->bytes + at;
		uint32_t type, length;
		memcpy(&type, block, sizeof(type));
		memcpy(&length, block + 4, sizeof(length));
		swap_block(block, type, length);
		if (type != WH_PCAPNG_SHB)
			swap32(block);
		swap32(block + 4);
		swap32(block + length - 4);
		at += length;
	}
}

static void the_other_byte_order(void **state)
{
	(void)state;
	for (int kind = 0; kind < 5; kind++) {
		struct built built;
		build_file(&built, SESSION, 12);
		image_swap(&built.image);
		uint64_t lost = 0;
		if (kind == 1)
			memset(built.image.bytes, 0, PAGE);
		else if (kind == 2)
			memset(built.image.bytes + built.at[4], 0, 100);
		else if (kind == 3)
			image_remove(&built.image, built.at[4], built.at[5] - built.at[4]);
		else if (kind == 4)
			built.image.length -= PAGE;
		struct wh_inspection found = damaged(&built, kind == 0   ? WH_HEALTH_WHOLE
							     : kind == 4 ? WH_HEALTH_OPEN
									 : WH_HEALTH_DAMAGED);
		lost = kind < 2 ? 0 : 100;
		assert_true(found.frames + lost >= built.frames);
		assert_int_equal(found.session, SESSION);
		build_end(&built);
	}
}

/* ---- other programs' files ---- */

static void classic_pcap(void **state)
{
	(void)state;
	struct image image;
	image_open(&image);
	for (int nanoseconds = 0; nanoseconds < 2; nanoseconds++) {
		wh_pcap_file_header_put(image.bytes, nanoseconds != 0, 100, 1);
		image.length = WH_PCAP_FILE_HEADER;
		for (uint32_t i = 0; i < 50; i++) {
			const uint32_t header[4] = { 1700000000 + i, 999999, 60 + i % 40, 1500 };
			memcpy(image.bytes + image.length, header, sizeof(header));
			memset(image.bytes + image.length + 16, (int)i, header[2]);
			image.length += 16 + header[2];
		}
		struct wh_inspection found = inspect(&image);
		assert_int_equal(found.health, WH_HEALTH_WHOLE);
		assert_int_equal(found.format, WH_CAPTURE_PCAP);
		assert_int_equal(found.frames, 50);
		assert_int_equal(found.last_ns, 1700000049000000000 + (nanoseconds ? 999999 : 999999000));
		image.length -= 3;
		assert_int_equal(inspect(&image).health, WH_HEALTH_CUT);
		check_repair(&image, 49);
		memset(image.bytes + 24 + 16 + 60, 0xff, 16);
		assert_int_equal(inspect(&image).health, WH_HEALTH_DAMAGED);
		assert_int_equal(inspect(&image).readable_bytes, 24 + 16 + 60);
		check_repair(&image, 1);
	}
	image_close(&image);
}

/* A hole in classic pcap, which may be terabytes long, is no row of empty frames; and how long frames may be is for the
 * readers to say, not for the file. */
static void pcap_zeros_and_long_frames(void **state)
{
	(void)state;
	struct image image;
	image_open(&image);
	memset(image.bytes, 0, IMAGE_MOST);
	wh_pcap_file_header_put(image.bytes, true, 40, 1);
	const uint32_t header[4] = { 1700000000, 1, 60, 60 };
	memcpy(image.bytes + WH_PCAP_FILE_HEADER, header, sizeof(header));
	uint64_t first = image.length = WH_PCAP_FILE_HEADER + sizeof(header) + 60;
	assert_int_equal(inspect(&image).health, WH_HEALTH_WHOLE);
	image.length += PAGE;
	struct wh_inspection found = inspect(&image);
	assert_int_equal(found.health, WH_HEALTH_DAMAGED);
	assert_int_equal(found.frames, 1);
	assert_int_equal(found.readable_bytes, first);
	check_repair(&image, 1);
	for (uint32_t size = WH_SNAPSHOT_MOST; size <= WH_SNAPSHOT_MOST + 1; size++) {
		const uint32_t large[4] = { 1700000000, 2, size, size };
		memcpy(image.bytes + first, large, sizeof(large));
		image.length = first + sizeof(large) + size;
		assert_int_equal(inspect(&image).health, size > WH_SNAPSHOT_MOST ? WH_HEALTH_DAMAGED : WH_HEALTH_WHOLE);
	}
	image_close(&image);
}

static void another_programs_pcapng(void **state)
{
	(void)state;
	struct built built;
	build_begin(&built, SESSION, 2);
	/* Without filler, and a packet block without options. */
	uint32_t section, interface;
	memcpy(&section, built.image.bytes + 4, sizeof(section));
	memcpy(&interface, built.image.bytes + section + 4, sizeof(interface));
	uint64_t at = section + 2 * interface;
	for (uint32_t i = 0; i < 10; i++) {
		const uint32_t block[11] = { 6, 44, i % 2, 1, i, 10, 10, 0, 0, 0, 44 };
		memcpy(built.image.bytes + at, block, sizeof(block));
		at += sizeof(block);
	}
	built.image.length = at;
	struct wh_inspection found = damaged(&built, WH_HEALTH_WHOLE);
	assert_int_equal(found.frames, 10);
	assert_false(found.ours);
	built.image.length -= 5;
	assert_int_equal(damaged(&built, WH_HEALTH_CUT).frames, 9);
	built.image.bytes[at - 5 * 44 + 8] = 2; /* an interface that there is not */
	assert_int_equal(damaged(&built, WH_HEALTH_DAMAGED).frames, 5);
	build_end(&built);
}

static void what_is_no_capture_file(void **state)
{
	(void)state;
	struct image image, out;
	image_open(&image);
	struct wh_inspection found = inspect(&image);
	assert_int_equal(found.health, WH_HEALTH_CUT);
	memset(image.bytes, 'x', 3 * PAGE);
	for (image.length = 1; image.length < 3 * PAGE; image.length = image.length * 3) {
		found = inspect(&image);
		assert_int_equal(found.health, WH_HEALTH_FOREIGN);
		assert_int_equal(found.format, WH_CAPTURE_UNKNOWN);
		assert_int_equal(found.frames + found.readable_bytes, 0);
		assert_false(repair(&image, &out));
		image_close(&out);
	}
	image.length = PAGE;
	assert_string_equal(inspect(&image).what, "it is no capture file");
	memcpy(image.bytes, "\x28\xb5\x2f\xfd", 4);
	assert_string_equal(inspect(&image).what, "it is compressed: unpack it first");
	image_close(&image);
}

/* ---- at random ---- */

/* Does something to IMAGE. */
static void damage(struct image *image, uint64_t *random)
{
	uint64_t at = wh_test_random(random) % image->length;
	uint64_t length = 1 + wh_test_random(random) % (wh_test_random(random) % 3 == 0 ? 20000 : 40);
	if (length > image->length - at)
		length = image->length - at;
	uint64_t page = at & ~(uint64_t)(PAGE - 1);
	switch (wh_test_random(random) % 6) {
	case 0:
		memset(image->bytes + at, 0, length);
		break;
	case 1:
		for (uint64_t i = 0; i < length; i++)
			image->bytes[at + i] = (uint8_t)wh_test_random(random);
		break;
	case 2:
		image->length = at + 1;
		break;
	case 3:
		image_remove(image, page, image->length - page < PAGE ? image->length - page : PAGE);
		if (image->length == 0)
			image->length = 1;
		break;
	case 4:
		if (image->length < IMAGE_MOST / 2)
			image_insert(image, page, NULL, PAGE);
		break;
	default:
		if (page + 2 * PAGE <= image->length)
			memcpy(image->bytes + page, image->bytes + page + PAGE, PAGE);
		break;
	}
}

/* Whether the chunk of LENGTH bytes at BYTES is in the damaged FILE, and not in what was made of it. Where its head is
 * there twice, nobody can tell which of the two has the right bytes in its frames: then one of them must be there. */
static bool is_lost(const struct image *file, const struct image *made, const uint8_t *bytes, uint64_t length)
{
	if (has(file, bytes, length) == 0)
		return false;
	return has(made, bytes, has(file, bytes, WH_CHUNK_HEAD_FIXED) > 1 ? WH_CHUNK_HEAD_FIXED : length) == 0;
}

static void at_random(void **state)
{
	(void)state;
	const char *wanted = getenv("WH_TEST_ROUNDS"); /* a person may have more */
	int rounds = wanted != NULL ? atoi(wanted) : 250;
	uint64_t random = 20240229;
	for (int round = 0; round < rounds; round++) {
		struct built built;
		build_file(&built, SESSION + (uint64_t)round, 5 + (uint32_t)(wh_test_random(&random) % 12));
		uint8_t *before = malloc(built.image.length);
		assert_non_null(before);
		memcpy(before, built.image.bytes, built.image.length);
		for (uint64_t times = 1 + wh_test_random(&random) % 4; times > 0; times--)
			damage(&built.image, &random);
		struct wh_inspection found = inspect(&built.image);
		struct image out;
		if (repair(&built.image, &out)) {
			struct wh_inspection made = check_repair(&built.image, found.frames);
			assert_int_equal(made.frames_missing, found.frames_missing);
			for (uint32_t i = 0; i < built.count; i++) {
				const uint8_t *chunk = before + built.at[i];
				if (is_lost(&built.image, &out, chunk, built.at[i + 1] - built.at[i]))
					fail_msg("round %d: chunk %u is lost; %s", round, i, found.what);
			}
		} else {
			assert_int_equal(found.items, 0);
			for (uint32_t i = 0; i < built.count; i++)
				assert_int_equal(has(&built.image, before + built.at[i], built.at[i + 1] - built.at[i]),
						 0);
		}
		image_close(&out);
		free(before);
		build_end(&built);
	}
}

/* ---- files on a disk ---- */

static void write_file(const char *path, const struct image *image)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, image->bytes, image->length), (ssize_t)image->length);
	close(fd);
}

static void on_a_disk(void **state)
{
	(void)state;
	char directory[] = "/tmp/wh_inspect_XXXXXX", path[64], out[64];
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/a.pcapng", directory);
	snprintf(out, sizeof(out), "%s/b.pcapng", directory);
	struct built built;
	build_file(&built, SESSION, 20);
	memset(built.image.bytes + built.at[3], 0, 100);
	write_file(path, &built.image);
	struct wh_inspection memory = inspect(&built.image), found, made;
	struct wh_error error = { .text = "" };
	assert_int_equal(wh_inspect_file(path, &found, &error), WH_OK);
	assert_memory_equal(&found, &memory, sizeof(found));
	assert_int_equal(wh_repair_file(path, out, "wirehaul test", &made, &error), WH_OK);
	assert_int_equal(made.health, WH_HEALTH_WHOLE);
	assert_int_equal(made.frames, found.frames);
	struct stat about;
	assert_int_equal(stat(out, &about), 0);
	assert_int_equal(about.st_mode & 0777, 0600);
	/* It is not replaced, nor is what a link there leads to. */
	assert_int_equal(wh_repair_file(path, out, "wirehaul test", &made, &error), WH_ERR_INPUT);
	assert_int_equal(unlink(out), 0);
	assert_int_equal(symlink("/nowhere/at/all", out), 0);
	assert_int_equal(wh_repair_file(path, out, "wirehaul test", &made, &error), WH_ERR_INPUT);
	assert_int_equal(unlink(out), 0);
	/* What is no file is refused, without waiting for it, and without opening it: the writer of a pipe would
	 * notice. */
	assert_int_equal(mkfifo(out, 0600), 0);
	int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	assert_true(inotify_add_watch(watch, out, IN_OPEN) >= 0);
	assert_int_equal(wh_inspect_file(out, &found, &error), WH_ERR_INPUT);
	char event[512];
	assert_int_equal(read(watch, event, sizeof(event)), -1);
	assert_int_equal(errno, EAGAIN);
	close(watch);
	assert_int_equal(wh_inspect_file("/dev/zero", &found, &error), WH_ERR_INPUT);
	assert_int_equal(wh_inspect_file(directory, &found, &error), WH_ERR_INPUT);
	assert_int_equal(wh_inspect_file("/nowhere/at/all", &found, &error), WH_ERR_INPUT);
	assert_int_equal(unlink(out), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
	build_end(&built);
}

/* Somebody writes over a file while it is repaired: what is made of it is whole, or not there. */
static void a_file_that_changes(void **state)
{
	(void)state;
	enum { TRIES = 40 };
	char directory[] = "/tmp/wh_inspect_XXXXXX", path[64], out[64];
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/a.pcapng", directory);
	snprintf(out, sizeof(out), "%s/b.pcapng", directory);
	struct built built;
	build_file(&built, SESSION, 40);
	write_file(path, &built.image);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		const off_t at = (off_t)(built.at[20] + 4);
		static const uint8_t wrong[4] = { 1, 2, 3, 4 };
		while (pwrite(fd, wrong, 4, at) == 4 && pwrite(fd, built.image.bytes + at, 4, at) == 4)
			;
		_exit(1);
	}
	/* Nothing is asserted before the child has ended. */
	int wrong = 0;
	for (int i = 0; i < TRIES && wrong == 0; i++) {
		struct wh_inspection made;
		struct wh_error error = { .text = "" };
		enum wh_status status = wh_repair_file(path, out, "wirehaul test", &made, &error);
		if (status == WH_OK)
			wrong = made.health != WH_HEALTH_WHOLE || unlink(out) != 0;
		else
			wrong = strstr(error.text, "changed") == NULL || access(out, F_OK) == 0;
	}
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	(void)unlink(out);
	assert_int_equal(wrong, 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(directory), 0);
	build_end(&built);
}

/* A file of terabytes that is mostly a hole: what is behind it is found, and soon. */
static void a_large_hole(void **state)
{
	(void)state;
	struct built built;
	build_file(&built, SESSION, 8);
	int fd = memfd_create("hole", MFD_CLOEXEC);
	assert_true(fd >= 0);
	const uint64_t hole = UINT64_C(3) << 40;
	uint64_t front = built.at[4];
	assert_int_equal(pwrite(fd, built.image.bytes, front, 0), (ssize_t)front);
	assert_int_equal(pwrite(fd, built.image.bytes + front, built.image.length - front, (off_t)(front + hole)),
			 (ssize_t)(built.image.length - front));
	const struct wh_inspect_source source = { .fd = fd, .size = built.image.length + hole };
	struct wh_inspection found;
	struct wh_error error;
	assert_int_equal(wh_inspect(&source, NULL, &found, &error), WH_OK);
	assert_int_equal(found.health, WH_HEALTH_DAMAGED);
	assert_int_equal(found.frames, built.frames);
	assert_int_equal(found.chunks_missing, 0);
	close(fd);
	build_end(&built);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_files),
		cmocka_unit_test(files_that_were_not_closed),
		cmocka_unit_test(cut_at_every_byte),
		cmocka_unit_test(chunks_that_are_missing),
		cmocka_unit_test(chunks_that_are_there_twice),
		cmocka_unit_test(each_word_in_turn),
		cmocka_unit_test(frames_behind_damage),
		cmocka_unit_test(heads_with_a_wrong_number),
		cmocka_unit_test(a_first_head_that_misleads),
		cmocka_unit_test(parts_that_changed_places),
		cmocka_unit_test(blocks_that_readers_refuse),
		cmocka_unit_test(frames_that_are_missing),
		cmocka_unit_test(losses_that_do_not_agree),
		cmocka_unit_test(a_counter_that_was_hit),
		cmocka_unit_test(headers_that_are_lost),
		cmocka_unit_test(interfaces_that_are_lost),
		cmocka_unit_test(holes_zeros_and_garbage),
		cmocka_unit_test(files_in_a_row),
		cmocka_unit_test(sessions_in_one_section),
		cmocka_unit_test(frames_that_hold_files),
		cmocka_unit_test(counters_that_do_not_agree),
		cmocka_unit_test(the_other_byte_order),
		cmocka_unit_test(classic_pcap),
		cmocka_unit_test(pcap_zeros_and_long_frames),
		cmocka_unit_test(another_programs_pcapng),
		cmocka_unit_test(what_is_no_capture_file),
		cmocka_unit_test(at_random),
		cmocka_unit_test(on_a_disk),
		cmocka_unit_test(a_file_that_changes),
		cmocka_unit_test(a_large_hole),
	};
	int failed = cmocka_run_group_tests_name("inspect", tests, NULL, NULL);
	while (spare_count > 0)
		free(spare_images[--spare_count]);
	return failed;
}
