/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer target: the bytes are a capture file for wh-count's walkers. Whatever they make of it, each frame that they
 * tell of must lie in the file, and the walk must end with a word on why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tallies.h"
#include "walk.h"

enum { RAW_BLOCK_BYTES = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void complain(const char *words, uint64_t at)
{
	fprintf(stderr, "%s (at %llu)\n", words, (unsigned long long)at);
	abort();
}

struct witness {
	struct wh_tallies tallies;
	uint64_t frames, behind; /* nothing may be told of in front of BEHIND any more */
};

static void check_place(struct witness *witness, const struct wh_walk *walk, uint64_t offset)
{
	if (offset < witness->behind || offset >= walk->size)
		complain("goes back, or outside", offset);
	witness->behind = offset + 1;
}

static void on_frame(void *context, const struct wh_walk *walk, const struct wh_walk_frame *frame)
{
	struct witness *witness = context;
	check_place(witness, walk, frame->offset);
	witness->frames++;
	if (frame->interface >= walk->interface_count || frame->captured > frame->original)
		complain("a frame that cannot be", frame->offset);
	bool tagged = frame->data == walk->tagged;
	uint64_t end = tagged ? frame->captured : (uint64_t)(frame->data - walk->bytes) + frame->captured;
	if (end > (tagged ? sizeof(walk->tagged) : walk->size))
		complain("a frame outside the file", frame->offset);

	/* With the sanitizer this reads all of the frame, if it is one of ours, and all of its headers, if not. */
	static const struct wh_numbered_shape any;
	struct wh_numbered_stamp stamp;
	const char *why = "";
	if (wh_numbered_check(&any, WH_NUMBERED_WHOLE, UINT32_MAX, frame->data, frame->captured, frame->original,
			      &stamp, &why) == WH_NUMBERED_OURS &&
	    !wh_tallies_add(&witness->tallies, &stamp))
		complain("out of memory", frame->offset);
}

static void on_chunk(void *context, const struct wh_walk *walk, const struct wh_walk_chunk *chunk)
{
	check_place(context, walk, chunk->offset);
	if (chunk->bytes > walk->size - chunk->offset || chunk->record_count > WH_WALK_RECORDS)
		complain("a chunk that cannot be", chunk->offset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool begun;
	static struct wh_walk walk;
	if (!begun)
		wh_numbered_init();
	begun = true;
	struct witness witness = { 0 };
	const struct wh_walk_listener listener = { .context = &witness, .frame = on_frame, .chunk = on_chunk };
	if (!wh_tallies_open(&witness.tallies, 1, WH_TALLY_UNTOLD, 1))
		complain("out of memory", 0);
	wh_walk_open_bytes(&walk, data, size, RAW_BLOCK_BYTES);
	wh_walk_run(&walk, &listener);
	if ((walk.state == WH_WALK_WHOLE) != (walk.reason[0] == '\0'))
		complain("ends without a word, or with one too many", walk.offset);
	if (walk.offset > size || walk.zero_tail > size - walk.offset)
		complain("ends outside the file", walk.offset);
	if (walk.state == WH_WALK_WHOLE && walk.offset + walk.zero_tail != size)
		complain("ends early", walk.offset);
	struct wh_tallies_sum sum = wh_tallies_sum(&witness.tallies);
	if (sum.distinct + sum.duplicated + sum.outside > witness.frames)
		complain("counts more than there is", witness.frames);
	wh_walk_close(&walk);
	wh_tallies_close(&witness.tallies);
	return 0;
}
