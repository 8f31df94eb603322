/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/capture.h"

#include <stdlib.h>
#include <string.h>

#include "ringbuf/clock.h"

/* The counters are read so often when nothing else asks for it. */
#define COUNTERS_EVERY_NS WH_NS_PER_SECOND
/*
 * The writer is woken for so many bytes of chunks at once, or for fewer after so long: a wake-up costs nearly as much
 * as encoding a chunk does, and several chunks together go to the disk as one write. It is woken sooner where an
 * eighth of the ring is less than that, or where the ring is filling up.
 */
enum { ANNOUNCE_BYTES = 8 * 1024 * 1024 };
#define ANNOUNCE_NS (100 * WH_NS_PER_MS)
/* How long a stopped source may take to hand over its last block, beyond its block timeout. */
#define LAST_BLOCK_GRACE_NS (2 * WH_NS_PER_SECOND)

/* Writer's thread. */
static void chunk_release(struct wh_chunk *chunk)
{
	struct wh_capture_thread *capture = chunk->owner;
	struct wh_source *source = capture->source;
	/* Relaxed: only for the fill level. First, or the block could be out again before it is known to be back. */
	atomic_fetch_add_explicit(&capture->released, 1, memory_order_relaxed);
	source->ops->release(source, chunk->index);
}

static void end_release(struct wh_chunk *chunk)
{
	(void)chunk;
}

/* A block may hold frames that statistics() has not told of yet: they were received all the same. */
static void counters_publish(struct wh_capture_thread *capture)
{
	uint64_t seen = capture->frames_seen + capture->dropped;
	uint64_t received = capture->received > seen ? capture->received : seen;
	atomic_store_explicit(&capture->counters.received, received, memory_order_relaxed);
	/* Release: pairs with the acquire of whoever reads it before the other (statistics.c). */
	atomic_store_explicit(&capture->counters.dropped, capture->dropped, memory_order_release);
}

static void counters_read(struct wh_capture_thread *capture)
{
	uint64_t received = 0, dropped = 0;
	capture->source->ops->statistics(capture->source, &received, &dropped);
	capture->received += received;
	capture->dropped += dropped;
	capture->pending_lost += dropped;
	counters_publish(capture);
}

/* Blocks that are not the kernel's: what is out for writing and what was taken just now. */
static uint32_t blocks_out(struct wh_capture_thread *capture)
{
	return capture->pushed - atomic_load_explicit(&capture->released, memory_order_relaxed);
}

static void fill_note(struct wh_capture_thread *capture, bool lost)
{
	uint32_t out = blocks_out(capture);
	uint32_t permille = lost ? 1000 : (uint32_t)((uint64_t)out * 1000 / capture->source->block_count);
	atomic_store_explicit(&capture->counters.fill_permille, permille, memory_order_relaxed);
	if (permille > atomic_load_explicit(&capture->counters.fill_max_permille, memory_order_relaxed))
		atomic_store_explicit(&capture->counters.fill_max_permille, permille, memory_order_relaxed);
}

/* The ring has more to do than to wait for company. */
static bool is_filling(struct wh_capture_thread *capture)
{
	return blocks_out(capture) > capture->source->block_count / 2;
}

static void announce(struct wh_capture_thread *capture)
{
	capture->announced = capture->pushed;
	capture->announce_due_ns = 0;
	capture->run_waits = false;
	wh_writer_wake(capture->writer);
}

/* One block: the hot path, once per block. */
static void block_push(struct wh_capture_thread *capture, const struct wh_block *block)
{
	if (block->losing)
		counters_read(capture); /* so that the loss is told where it happened */
	struct wh_chunk *chunk = &capture->chunks[block->index];
	chunk->lost = capture->pending_lost;
	capture->pending_lost = 0;
	capture->frames_seen += block->frames;
	chunk->received_total = capture->frames_seen + capture->dropped;
	chunk->dropped_total = capture->dropped;
	chunk->interface = capture->encoding.interface;
	chunk->buffer = capture->buffer;
	uint32_t capacity = capture->source->block_bytes;
	if (capture->format == WH_WRITE_PCAPNG) {
		enum wh_transcription how = wh_transcription_choose(block->frames, block->used, capacity);
		wh_pcapng_encode(&capture->encoding, how, block->base, capacity, block->first_slot, block->frames,
				 chunk);
	} else {
		wh_pcap_encode(&capture->encoding, block->base, block->first_slot, block->frames, chunk);
	}
	counters_publish(capture);
	capture->pushed++;
	/* Cannot be full: it has room for every block, and one for the end. */
	wh_spsc_push(&capture->ring, chunk);
	capture->run_waits |= chunk->kind == WH_CHUNK_RUN;
	if (is_filling(capture))
		announce(capture);
	fill_note(capture, chunk->lost != 0);
}

/* Announces what is enough to wake the writer for, or has waited for its time. Returns for how long what is left may go
 * on waiting. Runs wait for company in the writer, so they need none here. */
static uint64_t announce_due(struct wh_capture_thread *capture, uint64_t now_ns)
{
	const struct wh_source *source = capture->source;
	uint32_t waiting = capture->pushed - capture->announced;
	if (waiting == 0)
		return UINT64_MAX;
	if (capture->announce_due_ns == 0)
		capture->announce_due_ns = now_ns + ANNOUNCE_NS;
	if (now_ns < capture->announce_due_ns && !capture->run_waits && waiting < source->block_count / 8 &&
	    (uint64_t)waiting * source->block_bytes < ANNOUNCE_BYTES)
		return capture->announce_due_ns - now_ns;
	announce(capture);
	return UINT64_MAX;
}

/*
 * Sleeps until there is something to do, for LIMIT_NS at most. Under an even load that fills blocks one after the
 * other, BLOCKS of them since the last look, being woken for each costs as much as encoding it: then the ring is left
 * alone for a while, and several blocks are taken at once. That while has room for whatever may come, the less of it
 * the more of the ring is out, and for three times the present load in any case. When the ring is filling up, or the
 * load ends, the thread wakes for each block as it comes.
 */
static void sleep_for_more(struct wh_capture_thread *capture, uint32_t blocks, uint64_t now_ns, uint64_t limit_ns)
{
	struct wh_source *source = capture->source;
	uint64_t since_ns = now_ns - capture->looked_ns;
	capture->looked_ns = now_ns;
	uint32_t out = blocks_out(capture);
	uint32_t room = out < source->block_count ? source->block_count - out : 0;
	uint64_t pause_ns = source->pause_most_ns * room / source->block_count;
	if (blocks > 0 && pause_ns > since_ns * room / 3 / blocks)
		pause_ns = since_ns * room / 3 / blocks;
	bool dense = blocks * pause_ns >= 2 * since_ns;
	if (blocks > 0 && pause_ns > 0 && dense && !is_filling(capture))
		source->ops->pause(source, pause_ns < limit_ns ? pause_ns : limit_ns);
	else
		source->ops->wait(source, limit_ns);
}

/* Whether all that the source let in has come out of it. */
static bool is_drained(struct wh_capture_thread *capture)
{
	counters_read(capture);
	return capture->frames_seen >= capture->received - capture->dropped;
}

static void end_push(struct wh_capture_thread *capture)
{
	capture->end = (struct wh_chunk){
		.kind = WH_CHUNK_END,
		.source = capture->encoding.source,
		.interface = capture->encoding.interface,
		.lost = capture->pending_lost,
		.received_total = capture->received,
		.dropped_total = capture->dropped,
		.buffer = WH_BUFFER_NONE,
		.owner = capture,
		.release = end_release,
	};
	wh_spsc_push(&capture->ring, &capture->end);
	announce(capture);
}

static void *capture_main(void *argument)
{
	struct wh_capture_thread *capture = argument;
	struct wh_source *source = capture->source;
	if (capture->cpu >= 0) {
		/* A CPU that has gone since it was chosen is no reason not to capture. */
		enum wh_status ignored = wh_topology_pin(capture->topology, capture->cpu, NULL);
		(void)ignored;
	}
	uint64_t counters_due_ns = wh_ns_monotonic() + COUNTERS_EVERY_NS;
	uint64_t give_up_ns = 0;
	for (;;) {
		struct wh_block block;
		uint32_t blocks = 0;
		/* Once around the ring at most: the end must be seen though blocks come as fast as they are taken. */
		for (; blocks < source->block_count && source->ops->next(source, &block); blocks++)
			block_push(capture, &block);
		uint64_t now_ns = wh_ns_monotonic();
		/* Relaxed: a time for whoever watches. */
		atomic_store_explicit(&capture->counters.beat_ns, now_ns, memory_order_relaxed);
		uint64_t announce_ns = announce_due(capture, now_ns);
		/* Acquire: pairs with the release in wh_capture_thread_stop(). */
		if (give_up_ns == 0 && atomic_load_explicit(&capture->stopping, memory_order_acquire)) {
			source->ops->stop(source);
			give_up_ns = now_ns + capture->block_timeout_ns + LAST_BLOCK_GRACE_NS;
			continue; /* look once more, now that nothing comes in */
		}
		if (blocks == 0 && source->ops->at_end(source))
			break;
		if (give_up_ns != 0 && (is_drained(capture) || now_ns >= give_up_ns))
			break;
		if (now_ns >= counters_due_ns) {
			counters_read(capture);
			fill_note(capture, false);
			counters_due_ns = now_ns + COUNTERS_EVERY_NS;
		}
		uint64_t limit_ns = give_up_ns != 0 ? capture->block_timeout_ns : counters_due_ns - now_ns;
		if (blocks < source->block_count)
			sleep_for_more(capture, blocks, now_ns, limit_ns < announce_ns ? limit_ns : announce_ns);
	}
	counters_read(capture);
	/* Only where a source did not keep its word: what never came out of it is owned up to as dropped. */
	uint64_t told = capture->dropped + capture->frames_seen;
	uint64_t missing = capture->received > told ? capture->received - told : 0;
	capture->received = told + missing;
	capture->dropped += missing;
	capture->pending_lost += missing;
	counters_publish(capture);
	end_push(capture);
	return NULL;
}

enum wh_status wh_capture_thread_open(struct wh_source *source, struct wh_capture_thread **opened,
				      struct wh_error *error)
{
	size_t bytes = (sizeof(struct wh_capture_thread) + WH_CACHE_LINE - 1) & ~(size_t)(WH_CACHE_LINE - 1);
	struct wh_capture_thread *capture = aligned_alloc(WH_CACHE_LINE, bytes);
	if (capture == NULL) {
		source->ops->close(source);
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	}
	memset(capture, 0, bytes);
	capture->source = source;
	capture->cpu = -1;
	capture->chunks = calloc(source->block_count, sizeof(*capture->chunks));
	if (capture->chunks == NULL || wh_spsc_open(&capture->ring, source->block_count + 1) != WH_OK) {
		wh_capture_thread_close(capture);
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	}
	for (uint32_t i = 0; i < source->block_count; i++) {
		capture->chunks[i].index = i;
		capture->chunks[i].owner = capture;
		capture->chunks[i].release = chunk_release;
	}
	*opened = capture;
	return WH_OK;
}

enum wh_status wh_capture_thread_start(struct wh_capture_thread *capture, struct wh_error *error)
{
	for (uint32_t i = 0; i < capture->source->block_count; i++)
		capture->chunks[i].source = capture->encoding.source;
	wh_beat(&capture->counters.beat_ns);
	int result = pthread_create(&capture->thread, NULL, capture_main, capture);
	if (result != 0)
		return wh_error_system(error, result, "cannot start a capture thread");
	pthread_setname_np(capture->thread, capture->name);
	capture->started = true;
	return WH_OK;
}

void wh_capture_thread_stop(struct wh_capture_thread *capture)
{
	/* Release: pairs with the acquire in capture_main(). */
	atomic_store_explicit(&capture->stopping, true, memory_order_release);
	if (capture->started)
		capture->source->ops->wake(capture->source);
	else
		end_push(capture);
}

void wh_capture_thread_close(struct wh_capture_thread *capture)
{
	if (capture == NULL)
		return;
	if (capture->started)
		pthread_join(capture->thread, NULL);
	capture->source->ops->close(capture->source);
	wh_spsc_close(&capture->ring);
	free(capture->chunks);
	free(capture);
}
