/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-bench-micro: what one pointer through the SPSC ring costs, and one frame through an encoder.
 *
 * ring/WHOSE/... is our ring and another one by turns: in one thread (alone), from one thread to another (1), in the
 * manner of a capture thread and its writer (batch).
 *
 * encode/HOW/BYTES/warm|cold is one block of 1 MiB, full of frames of BYTES, in nanoseconds a frame. Warm: the same
 * block again and again, its slot headers just written. Cold: many blocks, none of them in any cache. A capture is in
 * between: the kernel wrote the block a moment ago, often on another core.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "harness.h"
#include "kernel_block.h"
#include "ring_bench.h"
#include "ringbuf/clock.h"
#include "ringbuf/spsc.h"
#include "writer/format_pcapng.h"

enum { BLOCK_BYTES = 1024 * 1024, COLD_BLOCKS = 96, SWEEP_BYTES = 96 * 1024 * 1024 };
enum { RING_SLOTS = 1024 }; /* those of an adapter's default ring of 512 MiB: a block each, and the end */
enum encoder { IN_PLACE, COMPACT, RUN, CLASSIC, ENCODERS };

static const char *const encoder_names[ENCODERS] = { "in_place", "compact", "run", "pcap" };
static const uint32_t frame_sizes[] = { 60, 594, 1414, 1514, 9000 };
static const struct wh_encoding encoding = { .rules = { .snapshot_length = 262144, .ethernet = true } };

static uint8_t *blocks, *sweep;
static uint64_t sink; /* for what would be optimised away otherwise */

#if defined(__x86_64__)
/* Writes all lines of the blocks back to memory and forgets them. */
static void evict(void)
{
	for (size_t at = 0; at < (size_t)COLD_BLOCKS * BLOCK_BYTES; at += WH_CACHE_LINE)
		__builtin_ia32_clflush(blocks + at);
	__builtin_ia32_mfence();
}
#else
/* Reads so much else that the cache has no room left for the blocks. */
static void evict(void)
{
	for (size_t at = 0; at < SWEEP_BYTES; at += WH_CACHE_LINE)
		sink += sweep[at];
}
#endif

/* ---- encoders ---- */

static inline void encode(int how, uint8_t *block, uint32_t frames, struct wh_chunk *chunk)
{
	static const enum wh_transcription transcriptions[] = {
		[IN_PLACE] = WH_TRANSCRIBE_IN_PLACE, [COMPACT] = WH_TRANSCRIBE_COMPACT, [RUN] = WH_TRANSCRIBE_RUN
	};
	chunk->lost = 0;
	if (how == CLASSIC)
		wh_pcap_encode(&encoding, block, WH_CHUNK_FIRST_SLOT, frames, chunk);
	else
		wh_pcapng_encode(&encoding, transcriptions[how], block, BLOCK_BYTES, WH_CHUNK_FIRST_SLOT, frames,
				 chunk);
}

static struct wh_bench_sample run_warm(const struct wh_bench_case *this, uint64_t iterations)
{
	struct wh_bench_sample sample = { 0 };
	struct wh_chunk chunk = { 0 };
	for (uint64_t i = 0; i < iterations; i++) {
		uint32_t used;
		uint32_t frames = wh_kernel_block_fill(blocks, BLOCK_BYTES, this->size, &used);
		uint64_t start_ns = wh_ns_monotonic();
		encode(this->kind, blocks, frames, &chunk);
		sample.ns += wh_ns_monotonic() - start_ns;
		sample.items += frames;
	}
	sink += chunk.length;
	return sample;
}

static struct wh_bench_sample run_cold(const struct wh_bench_case *this, uint64_t iterations)
{
	struct wh_bench_sample sample = { 0 };
	struct wh_chunk chunk = { 0 };
	for (uint64_t i = 0; i < iterations; i++) {
		uint32_t frames = 0, used;
		for (size_t k = 0; k < COLD_BLOCKS; k++)
			frames = wh_kernel_block_fill(blocks + k * BLOCK_BYTES, BLOCK_BYTES, this->size, &used);
		evict();
		uint64_t start_ns = wh_ns_monotonic();
		for (size_t k = 0; k < COLD_BLOCKS; k++)
			encode(this->kind, blocks + k * BLOCK_BYTES, frames, &chunk);
		sample.ns += wh_ns_monotonic() - start_ns;
		sample.items += (uint64_t)frames * COLD_BLOCKS;
	}
	sink += chunk.length;
	return sample;
}

/* What a block costs as a whole; what it becomes; whether the engine would choose this way for it. */
static void describe_encoder(const struct wh_bench_case *this, double ns,
			     struct wh_bench_counter counters[WH_BENCH_COUNTERS])
{
	uint32_t used;
	uint32_t frames = wh_kernel_block_fill(blocks, BLOCK_BYTES, this->size, &used);
	enum wh_transcription choice = wh_transcription_choose(frames, used, BLOCK_BYTES);
	struct wh_chunk chunk = { 0 };
	encode(this->kind, blocks, frames, &chunk);
	uint64_t touched = wh_kernel_block_touched(blocks, BLOCK_BYTES, this->size, this->kind == CLASSIC, &chunk);
	bool chosen = this->kind == (choice == WH_TRANSCRIBE_IN_PLACE  ? IN_PLACE
				     : choice == WH_TRANSCRIBE_COMPACT ? COMPACT
								       : RUN);
	double count = frames;
	struct wh_bench_counter *at = counters;
	*at++ = (struct wh_bench_counter){ "block_us", ns * count / 1000 };
	*at++ = (struct wh_bench_counter){ "frames", count };
	*at++ = (struct wh_bench_counter){ "touched_bytes", (double)touched / count };
	*at++ = (struct wh_bench_counter){ "copied_bytes", (double)chunk.copied_bytes / count };
	*at++ = (struct wh_bench_counter){ "file_bytes", (double)chunk.length / count };
	*at++ = (struct wh_bench_counter){ "GB/s", this->size / ns };
	if (this->kind != CLASSIC)
		*at = (struct wh_bench_counter){ "chosen", chosen };
}

/* ---- all of them ---- */

static struct wh_bench_case cases[64];
static size_t case_count;

static void add(struct wh_bench_case added)
{
	cases[case_count++] = added;
}

/* The same passage through each of the rings, by turns. */
static void ring_cases_make(const char *passage, int pattern, uint32_t slots)
{
	static const struct wh_ring_bench *const rings[] = { &wh_ring_wirehaul, &wh_ring_ck };
	static unsigned turns;
	turns++;
	for (size_t i = 0; i < sizeof(rings) / sizeof(rings[0]); i++) {
		struct wh_bench_case made = { .item = "pointer", .turns = turns, .kind = pattern, .size = slots };
		made.run = rings[i]->run;
		made.left_out = rings[i]->left_out;
		snprintf(made.name, sizeof(made.name), "ring/%s/%s", rings[i]->name, passage);
		add(made);
	}
}

static void cases_make(void)
{
	ring_cases_make("alone", WH_RING_ALONE, RING_SLOTS);
	ring_cases_make("alone/batch", WH_RING_ALONE_BATCH, RING_SLOTS);
	ring_cases_make("1", WH_RING_SINGLE, RING_SLOTS);
	ring_cases_make("1/slots:64", WH_RING_SINGLE, 64);
	ring_cases_make("1/slots:16", WH_RING_SINGLE, 16);
	ring_cases_make("batch", WH_RING_BATCH, RING_SLOTS);
	for (int how = 0; how < ENCODERS; how++) {
		for (size_t i = 0; i < sizeof(frame_sizes) / sizeof(frame_sizes[0]); i++) {
			struct wh_bench_case made = {
				.item = "frame", .kind = how, .size = frame_sizes[i], .describe = describe_encoder
			};
			made.run = run_warm;
			snprintf(made.name, sizeof(made.name), "encode/%s/%u/warm", encoder_names[how], frame_sizes[i]);
			add(made);
			made.run = run_cold;
			snprintf(made.name, sizeof(made.name), "encode/%s/%u/cold", encoder_names[how], frame_sizes[i]);
			add(made);
		}
	}
}

int main(int argc, char **argv)
{
	size_t bytes = (size_t)COLD_BLOCKS * BLOCK_BYTES;
	blocks = mmap(NULL, bytes + SWEEP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (blocks == MAP_FAILED) {
		perror("wh-bench-micro: memory");
		return 1;
	}
	sweep = blocks + bytes;
	/* Every page of its own: untouched ones would all be the same page of zeros, and always in the cache. */
	memset(blocks, 0x5a, bytes + SWEEP_BYTES);
	cases_make();
	int status = wh_bench_main(argc, argv, cases, case_count);
	munmap(blocks, bytes + SWEEP_BYTES);
	return sink == UINT64_MAX ? 1 : status;
}
