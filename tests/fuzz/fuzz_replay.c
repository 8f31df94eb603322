/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer target: the bytes are a capture file for the replay, once as a file and once through a pipe; its blocks go
 * through the encoders. The source may refuse the file or end it early and say why; what it does hand out must be
 * encoded right, and be the same both times. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blocks.h"
#include "engine/source.h"

enum { BLOCK_BYTES = 32 * 1024, BLOCKS = 2, PIPE_BYTES = 65536 /* what a pipe has room for (pipe(7)) */ };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void complain(const char *words, size_t at)
{
	fprintf(stderr, "%s (at %zu)\n", words, at);
	abort();
}

static void block_check(const struct wh_block *block)
{
	const struct wh_encoding encoding = { .rules = { .snapshot_length = 262144, .ethernet = true } };
	if (block->frames == 0 || block->used > BLOCK_BYTES || (block->base[8] & 1) == 0)
		complain("a block that cannot be", block->used);
	struct wh_chunk chunk = { .received_total = block->frames };
	enum wh_transcription how = wh_transcription_choose(block->frames, block->used, BLOCK_BYTES);
	wh_pcapng_encode(&encoding, how, block->base, BLOCK_BYTES, block->first_slot, block->frames, &chunk);
	struct wh_test_walk walk = { 0 };
	if (!wh_test_walk_run(&walk, chunk.base, chunk.length, 1))
		complain(walk.problem, walk.problem_at);
	if (walk.frame_count != block->frames)
		complain("a wrong number of frames", walk.frame_count);
	wh_test_walk_free(&walk);
}

/* Replays PATH to its end. Returns how many frames came out; -1: it was refused. */
static int64_t replay(const char *path, const uint8_t *data, size_t size)
{
	const struct wh_replay_config config = {
		.path = path,
		/* The first byte of a file is its magic number; the last one may just as well choose the snapshot
		   length. */
		.snapshot_length = size > 0 && data[size - 1] % 2 == 0 ? 262144 : 60,
		.geometry = { .block_bytes = BLOCK_BYTES, .block_count = BLOCKS, .timeout_ms = 0 },
	};
	struct wh_source *source;
	struct wh_error error = { 0 };
	if (wh_source_replay_open(&config, &source, &error) != WH_OK) {
		if (error.text[0] == '\0')
			complain("refused without a word", 0);
		return -1;
	}
	struct wh_block block;
	uint64_t frames = 0, received = 0, dropped = 0;
	while (source->ops->next(source, &block)) {
		frames += block.frames;
		block_check(&block);
		source->ops->release(source, block.index);
	}
	source->ops->statistics(source, &received, &dropped);
	if (!source->ops->at_end(source) || received != frames || dropped != 0)
		complain("the counters are wrong", received);
	source->ops->close(source);
	return (int64_t)frames;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	int ends[2], fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || (size > 0 && write(fd, data, size) != (ssize_t)size))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int64_t frames = replay(path, data, size);
	close(fd);
	if (size > PIPE_BYTES)
		return 0;
	/* The same through a pipe that has all of it. */
	if (pipe(ends) != 0 || (size > 0 && write(ends[1], data, size) != (ssize_t)size))
		abort();
	close(ends[1]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
	if (replay(path, data, size) != frames)
		complain("a pipe gives something else", 0);
	close(ends[0]);
	return 0;
}
