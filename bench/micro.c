/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-bench-micro: what one pointer through the SPSC ring costs, and one frame through an encoder.
 *
 * encode/HOW/BYTES/warm|cold is one block of 1 MiB, full of frames of BYTES, in nanoseconds a frame. Warm: the same
 * block again and again, its slot headers just written. Cold: many blocks, none of them in any cache. A capture is in
 * between: the kernel wrote the block a moment ago, often on another core.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "harness.h"
#include "kernel_block.h"
#include "ringbuf/clock.h"
#include "ringbuf/spsc.h"
#include "writer/format_pcapng.h"

enum { BLOCK_BYTES = 1024 * 1024, COLD_BLOCKS = 96, SWEEP_BYTES = 96 * 1024 * 1024, RING_BATCH = 16, SPINS = 1000 };
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

/* ---- the ring ---- */

static struct wh_bench_sample run_one_thread(const struct wh_bench_case *this, uint64_t iterations)
{
	struct wh_spsc ring;
	if (wh_spsc_open(&ring, 64) != WH_OK)
		abort();
	uint32_t batch = this->size;
	uint64_t start_ns = wh_ns_monotonic();
	for (uint64_t i = 0; i < iterations; i++) {
		for (uint32_t k = 0; k < batch; k++)
			wh_spsc_push(&ring, &ring);
		for (uint32_t k = 0; k < batch; k++)
			sink += wh_spsc_pop(&ring) != NULL;
	}
	uint64_t ns = wh_ns_monotonic() - start_ns;
	wh_spsc_close(&ring);
	return (struct wh_bench_sample){ .ns = ns, .items = iterations * batch };
}

struct passage {
	struct wh_spsc ring;
	uint64_t count;
	bool pinned;
	size_t cpu; /* of the producer, if pinned */
	_Atomic bool go;
};

/* Spinning is what is measured, but where both threads have one CPU the other one must get it. */
static inline void spin(unsigned *spins)
{
	if (++*spins % SPINS == 0)
		sched_yield();
}

static void pin(size_t cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static void *producer_main(void *argument)
{
	struct passage *passage = argument;
	unsigned spins = 0;
	if (passage->pinned)
		pin(passage->cpu);
	/* Acquire: pairs with the release in run_two_threads(). */
	while (!atomic_load_explicit(&passage->go, memory_order_acquire))
		spin(&spins);
	for (uint64_t i = 0; i < passage->count; i++)
		while (!wh_spsc_push(&passage->ring, passage))
			spin(&spins);
	return NULL;
}

/* The first two CPUs that this process may run on. False where there is only one. */
static bool choose_cpus(const cpu_set_t *allowed, size_t cpus[2])
{
	int found = 0;
	for (size_t cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET(cpu, allowed))
			cpus[found++] = cpu;
	return found == 2;
}

static struct wh_bench_sample run_two_threads(const struct wh_bench_case *this, uint64_t iterations)
{
	static struct passage passage;
	size_t cpus[2] = { 0 };
	cpu_set_t allowed;
	pthread_t producer;
	pthread_getaffinity_np(pthread_self(), sizeof(allowed), &allowed);
	passage.pinned = choose_cpus(&allowed, cpus);
	passage.count = iterations;
	passage.cpu = cpus[1];
	atomic_store(&passage.go, false);
	if (wh_spsc_open(&passage.ring, this->size) != WH_OK ||
	    pthread_create(&producer, NULL, producer_main, &passage) != 0)
		abort();
	if (passage.pinned)
		pin(cpus[0]);
	unsigned spins = 0;
	uint64_t start_ns = wh_ns_monotonic();
	/* Release: pairs with the acquire in producer_main(). */
	atomic_store_explicit(&passage.go, true, memory_order_release);
	for (uint64_t taken = 0; taken < iterations;) {
		if (wh_spsc_pop(&passage.ring) != NULL)
			taken++;
		else
			spin(&spins);
	}
	uint64_t ns = wh_ns_monotonic() - start_ns;
	pthread_join(producer, NULL);
	pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
	wh_spsc_close(&passage.ring);
	return (struct wh_bench_sample){ .ns = ns, .items = iterations };
}

/* ---- all of them ---- */

static struct wh_bench_case cases[64];
static size_t case_count;

static void add(struct wh_bench_case added)
{
	cases[case_count++] = added;
}

static void cases_make(void)
{
	const uint32_t capacities[] = { 16, 64, 1024 };
	add((struct wh_bench_case){ .name = "spsc/one_thread", .item = "pair", .run = run_one_thread, .size = 1 });
	add((struct wh_bench_case){
	    .name = "spsc/one_thread/batch:16", .item = "pair", .run = run_one_thread, .size = RING_BATCH });
	for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
		struct wh_bench_case made = { .item = "pair", .run = run_two_threads, .size = capacities[i] };
		snprintf(made.name, sizeof(made.name), "spsc/two_threads/room:%u", capacities[i]);
		add(made);
	}
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
