/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lock-free ring of pointers between one producer thread and one consumer thread.
 *
 * Ownership: push hands the pointer over to the consumer, pop takes it. The ring itself belongs to whoever called
 * wh_spsc_open() and must outlive both threads' use of it.
 *
 * Layout: each side has a cache line that it alone writes: its own counter, and its last look at the other side's
 * counter, so that a push or pop that succeeds touches the other side's line only when that look has gone stale.
 * Counters run freely over 32 bits; the capacity is a power of two, so head - tail is right across the wrap.
 *
 * Order: the producer's store of HEAD is a release; the consumer's load of HEAD in pop is the acquire that pairs with
 * it, so the slot's content (and what it points to) is seen. The consumer's store of TAIL is a release; the producer's
 * load of TAIL in push is its acquire, so a slot is not overwritten before it was read.
 */
#ifndef WH_RINGBUF_SPSC_H
#define WH_RINGBUF_SPSC_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "ringbuf/status.h"

enum { WH_CACHE_LINE = 64 };

struct wh_spsc {
	alignas(WH_CACHE_LINE) _Atomic uint32_t head; /* written by the producer: slots ever filled */
	uint32_t tail_seen;                           /* producer only */
	alignas(WH_CACHE_LINE) _Atomic uint32_t tail; /* written by the consumer: slots ever emptied */
	uint32_t head_seen;                           /* consumer only */
	alignas(WH_CACHE_LINE) uint32_t mask;         /* written at opening only */
	void **slots;
};

/* Makes RING empty with room for at least CAPACITY pointers (1 to 2^30), rounded up to a power of two. The caller owns
 * it and ends it with wh_spsc_close(). */
WH_MUST_CHECK static inline enum wh_status wh_spsc_open(struct wh_spsc *ring, uint32_t capacity)
{
	uint32_t size = 1;
	while (size < capacity)
		size *= 2;
	ring->slots = calloc(size, sizeof(*ring->slots));
	if (ring->slots == NULL)
		return WH_ERR_MEMORY;
	ring->mask = size - 1;
	ring->tail_seen = 0;
	ring->head_seen = 0;
	atomic_init(&ring->head, 0);
	atomic_init(&ring->tail, 0);
	return WH_OK;
}

/* Neither thread may use RING any more; pointers still in it are not touched. */
static inline void wh_spsc_close(struct wh_spsc *ring)
{
	free(ring->slots);
	ring->slots = NULL;
}

/* Producer thread. Hands ITEM over; false when the ring is full, and ITEM stays the caller's. Never blocks. */
static inline bool wh_spsc_push(struct wh_spsc *ring, void *item)
{
	/* Relaxed: only this thread writes it. */
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	if (head - ring->tail_seen > ring->mask) {
		/* Acquire: pairs with the release in pop; the slot that we are about to write has been read. */
		ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
		if (head - ring->tail_seen > ring->mask)
			return false;
	}
	ring->slots[head & ring->mask] = item;
	/* Release: pairs with the acquire in pop; publishes the slot and what it points to. */
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
	return true;
}

/* Consumer thread. Takes the oldest item, or NULL when the ring is empty. Never blocks. */
static inline void *wh_spsc_pop(struct wh_spsc *ring)
{
	/* Relaxed: only this thread writes it. */
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	if (tail == ring->head_seen) {
		/* Acquire: pairs with the release in push. */
		ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
		if (tail == ring->head_seen)
			return NULL;
	}
	void *item = ring->slots[tail & ring->mask];
	/* Release: pairs with the acquire in push; the slot may be written again. */
	atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
	return item;
}

/* Consumer thread. Whether a pop would find something. */
static inline bool wh_spsc_is_empty(struct wh_spsc *ring)
{
	return atomic_load_explicit(&ring->tail, memory_order_relaxed) ==
	       atomic_load_explicit(&ring->head, memory_order_acquire);
}

#endif
