/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-bench-capture: the engine's capture thread alone, against a consumer that gives every chunk back unread.
 *
 * capture/BYTES is a capture thread that is fed by a replay of made-up frames of BYTES, through a ring of 64 blocks of
 * 1 MiB, in nanoseconds a frame; its CPU time is the capture thread's own. The consumer never sleeps there; in
 * capture/BYTES/woken it does as the writer does, so the capture thread has to wake it. A replay has the capture thread
 * write the slots' headers, which on an adapter the kernel does: slots/BYTES is that part.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/capture.h"
#include "harness.h"
#include "ringbuf/clock.h"
#include "threads.h"

enum { BLOCK_BYTES = 1024 * 1024, BLOCKS = 64, SLOT_HEAD = 84, SNAPSHOT = 262144 };

static const uint32_t frame_sizes[] = { 60, 594, 1414, 1514, 9000 };

/* ---- the consumer ---- */

/* A capture thread knows its writer only to wake it, so a stand-in is all it takes, and nothing of the writer is linked
 * into this program. */
struct wh_writer {
	_Atomic bool sleeping;
	int wake_fd;
};

void wh_writer_wake(struct wh_writer *writer)
{
	const uint64_t one = 1;
	/* Releases the pushes before it: pairs with the exchange in consumer_sleep(). */
	if (atomic_exchange_explicit(&writer->sleeping, false, memory_order_acq_rel) &&
	    write(writer->wake_fd, &one, sizeof(one)) < 0)
		abort();
}

static void consumer_sleep(struct wh_writer *writer, struct wh_spsc *ring)
{
	/* Acquires the pushes, if the capture thread's exchange came first. */
	atomic_exchange_explicit(&writer->sleeping, true, memory_order_acq_rel);
	uint64_t woken;
	if (wh_spsc_is_empty(ring) && read(writer->wake_fd, &woken, sizeof(woken)) < 0)
		abort();
	atomic_store_explicit(&writer->sleeping, false, memory_order_relaxed);
}

/* Until the source has ended. */
static void consume(struct wh_writer *writer, struct wh_spsc *ring, bool sleeps)
{
	unsigned spins = 0;
	for (;;) {
		struct wh_chunk *chunk = wh_spsc_pop(ring);
		if (chunk == NULL) {
			if (sleeps)
				consumer_sleep(writer, ring);
			else
				wh_bench_spin(&spins);
			continue;
		}
		enum wh_chunk_kind kind = chunk->kind;
		wh_chunk_release(chunk);
		if (kind == WH_CHUNK_END)
			return;
	}
}

/* ---- the source ---- */

static const struct wh_source_ops *replay_ops;
static uint64_t capture_cpu_ns; /* of the capture thread from its start, which it leaves at its end */

/* The last thing that a capture thread asks of its source is this. */
static void statistics_and_time(struct wh_source *source, uint64_t *received, uint64_t *dropped)
{
	struct timespec now;
	replay_ops->statistics(source, received, dropped);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	capture_cpu_ns = wh_ns_from_timespec(&now);
}

/* What fits. */
static uint64_t frames_per_block(uint32_t bytes)
{
	return (BLOCK_BYTES - WH_CHUNK_FIRST_SLOT) / ((SLOT_HEAD + (uint64_t)bytes + 7) & ~UINT64_C(7));
}

static struct wh_source *source_open(uint32_t frame_bytes, uint64_t frames)
{
	const struct wh_replay_config replay = {
		.snapshot_length = SNAPSHOT,
		.geometry = { .block_bytes = BLOCK_BYTES, .block_count = BLOCKS, .timeout_ms = 100 },
		.synthetic_frames = frames,
		.synthetic_bytes = frame_bytes,
	};
	struct wh_source *source;
	struct wh_error error;
	if (wh_source_replay_open(&replay, &source, &error) != WH_OK) {
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, error.text);
		exit(1);
	}
	/* The pages are made here, not in what is timed. */
	memset(source->memory, 0x5a, (size_t)BLOCK_BYTES * BLOCKS);
	return source;
}

/* ---- what is timed: an iteration is as many frames as fill the ring once ---- */

static struct wh_capture_thread *capture_open(struct wh_source *source, struct wh_writer *writer)
{
	struct wh_capture_thread *capture;
	struct wh_error error;
	if (wh_capture_thread_open(source, &capture, &error) != WH_OK) {
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, error.text);
		exit(1);
	}
	capture->writer = writer;
	capture->format = WH_WRITE_PCAPNG;
	capture->encoding.rules.snapshot_length = SNAPSHOT;
	capture->encoding.rules.ethernet = true;
	capture->buffer = WH_BUFFER_NONE;
	capture->block_timeout_ns = 100 * WH_NS_PER_MS;
	snprintf(capture->name, sizeof(capture->name), "wh-bench");
	return capture;
}

static struct wh_bench_sample run_capture(const struct wh_bench_case *this, uint64_t iterations)
{
	uint64_t frames = iterations * BLOCKS * frames_per_block(this->size);
	bool sleeps = this->kind != 0;
	struct wh_writer writer = { .wake_fd = eventfd(0, EFD_CLOEXEC) };
	struct wh_source *source = source_open(this->size, frames);
	replay_ops = source->ops;
	struct wh_source_ops timed_ops = *replay_ops;
	timed_ops.statistics = statistics_and_time;
	source->ops = &timed_ops;
	struct wh_capture_thread *capture = capture_open(source, &writer);
	struct wh_bench_cpus cpus;
	struct wh_error error;
	wh_bench_cpus_find(&cpus);
	wh_bench_cpus_take(&cpus, 0); /* which the capture thread inherits */
	uint64_t start_ns = wh_ns_monotonic();
	if (writer.wake_fd < 0 || wh_capture_thread_start(capture, &error) != WH_OK) {
		fprintf(stderr, "%s: cannot start a capture thread\n", program_invocation_short_name);
		exit(1);
	}
	wh_bench_cpus_take(&cpus, 1);
	consume(&writer, &capture->ring, sleeps);
	uint64_t ns = wh_ns_monotonic() - start_ns;
	wh_capture_thread_close(capture);
	wh_bench_cpus_leave(&cpus);
	close(writer.wake_fd);
	return (struct wh_bench_sample){ .ns = ns, .items = frames, .cpu_ns = capture_cpu_ns };
}

static struct wh_bench_sample run_slots(const struct wh_bench_case *this, uint64_t iterations)
{
	struct wh_bench_sample sample = { .items = iterations * BLOCKS * frames_per_block(this->size) };
	struct wh_source *source = source_open(this->size, sample.items);
	struct wh_block block;
	while (!source->ops->at_end(source)) {
		uint64_t start_ns = wh_ns_monotonic();
		while (source->ops->next(source, &block))
			continue;
		sample.ns += wh_ns_monotonic() - start_ns;
		/* A system call each, which is the writer's thread's to make. */
		for (uint32_t i = 0; i < BLOCKS; i++)
			source->ops->release(source, i);
	}
	source->ops->close(source);
	return sample;
}

static void describe(const struct wh_bench_case *this, double ns, struct wh_bench_counter counters[WH_BENCH_COUNTERS])
{
	counters[0] = (struct wh_bench_counter){ "block_us", ns * (double)frames_per_block(this->size) / 1000 };
	counters[1] = (struct wh_bench_counter){ "GB/s", this->size / ns };
}

int main(int argc, char **argv)
{
	enum { SIZES = sizeof(frame_sizes) / sizeof(frame_sizes[0]) };
	struct wh_bench_case cases[SIZES * 3];
	size_t count = 0;
	for (unsigned i = 0; i < SIZES; i++) {
		struct wh_bench_case made = {
			.item = "frame", .turns = i + 1, .size = frame_sizes[i], .describe = describe
		};
		made.run = run_capture;
		snprintf(made.name, sizeof(made.name), "capture/%u", made.size);
		cases[count++] = made;
		made.kind = 1;
		snprintf(made.name, sizeof(made.name), "capture/%u/woken", made.size);
		cases[count++] = made;
		made.run = run_slots;
		snprintf(made.name, sizeof(made.name), "slots/%u", made.size);
		cases[count++] = made;
	}
	return wh_bench_main(argc, argv, cases, count);
}
