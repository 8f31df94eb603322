/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: the bytes are a capture file for verify and repair. Whatever they are, what a repair makes of them
 * must be whole, hold the frames that were counted and no others, and not be changed by another repair.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "writer/repair.h"

enum { PAGE = 4096, BLOCKS = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

struct image {
	uint8_t *bytes;
	size_t length, room;
};

struct memory {
	const uint8_t *from;
	size_t from_length;
	struct image to;
};

static void complain(const char *words, const char *what, uint64_t number)
{
	fprintf(stderr, "%s: %s (%llu)\n", words, what, (unsigned long long)number);
	abort();
}

static enum wh_status put(void *context, const uint8_t *bytes, size_t length, struct wh_error *error)
{
	struct image *to = &((struct memory *)context)->to;
	(void)error;
	if (to->length + length > to->room) {
		to->room = 2 * (to->length + length);
		to->bytes = realloc(to->bytes, to->room);
		if (to->bytes == NULL)
			abort();
	}
	memcpy(to->bytes + to->length, bytes, length);
	to->length += length;
	return WH_OK;
}

static enum wh_status copy(void *context, uint64_t offset, uint64_t length, struct wh_error *error)
{
	const struct memory *memory = context;
	if (offset > memory->from_length || length > memory->from_length - offset)
		complain("copies from outside of the file", "", offset);
	return put(context, memory->from + offset, (size_t)length, error);
}

static enum wh_status patch(void *context, uint64_t at, const uint8_t *bytes, size_t length, struct wh_error *error)
{
	struct image *to = &((struct memory *)context)->to;
	(void)error;
	if (at > to->length || length > to->length - at)
		complain("patches outside of the file", "", at);
	memcpy(to->bytes + at, bytes, length);
	return WH_OK;
}

static struct wh_inspection inspect(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[1];
	struct wh_inspection found;
	struct wh_error error = { .text = "" };
	const struct wh_inspect_source source = { .fd = -1, .memory = data != NULL ? data : nothing, .size = size };
	if (wh_inspect(&source, NULL, &found, &error) != WH_OK)
		complain("refuses", error.text, 0);
	if (found.readable_bytes > size || found.bytes != size)
		complain("tells of bytes that are not there", found.what, found.readable_bytes);
	if ((found.health == WH_HEALTH_WHOLE && !found.repaired) != (found.what[0] == '\0'))
		complain("says nothing, or too much", found.what, found.health);
	if (found.health == WH_HEALTH_FOREIGN && found.items != 0)
		complain("knows pieces of what it does not know", found.what, found.items);
	return found;
}

/* Repairs DATA into *OUT, the caller's to free. False: there is nothing to save. */
static bool repair(const uint8_t *data, size_t size, struct image *out)
{
	static const uint8_t nothing[1];
	struct memory memory = { .from = data, .from_length = size };
	const struct wh_repair_sink sink = { .context = &memory, .write = put, .copy = copy, .patch = patch };
	const struct wh_inspect_source source = { .fd = -1, .memory = data != NULL ? data : nothing, .size = size };
	struct wh_inspection found;
	struct wh_error error = { .text = "" };
	enum wh_status status = wh_repair(&source, &sink, "wirehaul test", &found, &error);
	*out = memory.to;
	if (status == WH_OK)
		return true;
	if (status != WH_ERR_INPUT || error.text[0] == '\0' || out->length != 0)
		complain("fails", error.text, status);
	return false;
}

/* The blocks that follow each other from AT on, up to BLOCKS of them. */
static size_t blocks_list(const uint8_t *data, size_t size, size_t at, size_t blocks[BLOCKS])
{
	size_t count = 0;
	while (count < BLOCKS && size - at >= 12) {
		uint32_t length, again;
		memcpy(&length, data + at + 4, sizeof(length));
		if (length < 12 || length % 4 != 0 || length > size - at)
			break;
		memcpy(&again, data + at + length - 4, sizeof(again));
		if (again != length)
			break;
		blocks[count++] = at;
		at += length;
	}
	return count;
}

/* Changes what is in a block, or what it is, and leaves its lengths as they are. */
static void block_change(uint8_t *data, size_t size, unsigned int dice)
{
	static const uint32_t types[] = { 1, 2, 3, 5, 6, 9, 0x80005746, 0x80005748, 0x80005752, 0x0A0D0D0A };
	size_t blocks[BLOCKS];
	size_t start = size >= PAGE ? dice / 7 % (size / PAGE) * PAGE : 0;
	size_t count = blocks_list(data, size, start, blocks);
	if (count == 0)
		return;
	size_t at = blocks[dice / 64 % count];
	uint32_t length;
	memcpy(&length, data + at + 4, sizeof(length));
	if (dice % 4 == 0) {
		memcpy(data + at, &types[dice / 16 % (sizeof(types) / sizeof(types[0]))], sizeof(types[0]));
	} else if (length > 12) {
		/* Mostly the fields in front. */
		size_t body = length - 12;
		LLVMFuzzerMutate(data + at + 8, dice % 4 == 1 || body < 64 ? body : 64, body < 64 ? body : 64);
	}
}

/*
 * Blocks with two lengths that agree are beyond what bytes at random come by. So half of the mutations keep to the
 * form: they move, take out and double pages, where chunks begin, and change what is in blocks.
 */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed)
{
	unsigned int dice = seed * 2654435761u >> 3;
	size_t pages = size / PAGE;
	if (pages < 2 || dice % 8 < 3)
		return LLVMFuzzerMutate(data, size, most);
	uint8_t *from = data + dice / 8 % pages * PAGE, *to = data + dice / 512 % pages * PAGE;
	switch (dice % 8) {
	case 3:
		if (from != to)
			memcpy(to, from, PAGE);
		return size;
	case 4:
		memmove(from, from + PAGE, size - PAGE - (size_t)(from - data));
		return size - PAGE;
	case 5:
		if (size + PAGE > most)
			return size;
		memmove(from + PAGE, from, size - (size_t)(from - data));
		return size + PAGE;
	default:
		block_change(data, size, dice / 8);
		return size;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wh_inspection found = inspect(data, size);
	struct image once, twice;
	if (repair(data, size, &once)) {
		struct wh_inspection made = inspect(once.bytes, once.length);
		if (made.health != WH_HEALTH_WHOLE)
			complain("what is repaired is not whole", made.what, made.health);
		if (made.frames != found.frames)
			complain("a repair loses or makes frames", found.what, made.frames);
		if (made.frames_missing != found.frames_missing)
			complain("a repair counts other frames as missing", found.what, made.frames_missing);
		if (!repair(once.bytes, once.length, &twice) || twice.length != once.length ||
		    memcmp(once.bytes, twice.bytes, once.length) != 0)
			complain("repairs what is whole", made.what, twice.length);
		free(twice.bytes);
	} else if (found.items != 0) {
		complain("saves nothing of what it found", found.what, found.items);
	}
	free(once.bytes);
	return 0;
}
