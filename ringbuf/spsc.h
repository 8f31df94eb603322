/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lock-free ring of pointers between one producer thread and one consumer thread.
 *
 * Ownership: push hands the pointer over to the consumer, pop takes it. The ring itself belongs to whoever called
 * wh_spsc_open() and must outlive both threads' use of it.
 *
 * The slot itself says whether it is taken: NULL is an empty one, so a pointer to be pushed is never NULL. Neither side
 * looks at the other one's counter. Where one follows close behind the other, one cache line goes to and fro, that of
 * the slots which they are at; a ring that compares counters moves those lines besides. bench/README.md has the
 * figures.
 *
 * Layout: each side has a cache line of its own for its counter, and the slots begin with one, so that none of theirs
 * is shared with what other threads write beside them. Counters run freely over 32 bits; the capacity is a power of
 * two, so counter & mask is right across the wrap.
 *
 * Order: the producer's store of a pointer is a release; the consumer's load of it in pop is the acquire that pairs
 * with it, so what it points to is seen. The consumer's store of NULL is a release; the producer's load of that in push
 * is its acquire: when a slot is used again, all that the consumer did before it emptied the slot is done.
 */
#ifndef WH_RINGBUF_SPSC_H
#define WH_RINGBUF_SPSC_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "ringbuf/status.h"

enum { WH_CACHE_LINE = 64, WH_SPSC_MOST = 1 << 30 };

struct wh_spsc {
	alignas(WH_CACHE_LINE) uint32_t head; /* producer only: slots ever filled */
	alignas(WH_CACHE_LINE) uint32_t tail; /* consumer only: slots ever emptied */
	alignas(WH_CACHE_LINE) uint32_t mask; /* written at opening only, as the next one */
	_Atomic(void *) *slots;               /* filled by the producer, emptied by the consumer */
};

/* Makes RING empty with room for at least CAPACITY pointers (1 to WH_SPSC_MOST), rounded up to a power of two.
 * WH_ERR_MEMORY: there is none for so many, and RING may be closed all the same. The caller owns it and ends it with
 * wh_spsc_close(). */
WH_MUST_CHECK static inline enum wh_status wh_spsc_open(struct wh_spsc *ring, uint32_t capacity)
{
	size_t size = 1;
	ring->slots = NULL;
	if (capacity > WH_SPSC_MOST)
		return WH_ERR_MEMORY;
	while (size < capacity)
		size *= 2;
	if (size > (SIZE_MAX - WH_CACHE_LINE) / sizeof(*ring->slots))
		return WH_ERR_MEMORY;
	size_t bytes = (size * sizeof(*ring->slots) + WH_CACHE_LINE - 1) & ~(size_t)(WH_CACHE_LINE - 1);
	ring->slots = aligned_alloc(WH_CACHE_LINE, bytes);
	if (ring->slots == NULL)
		return WH_ERR_MEMORY;
	for (size_t i = 0; i < size; i++)
		atomic_init(&ring->slots[i], NULL);
	ring->mask = (uint32_t)size - 1;
	ring->head = 0;
	ring->tail = 0;
	return WH_OK;
}

/* Neither thread may use RING any more; pointers still in it are not touched. */
static inline void wh_spsc_close(struct wh_spsc *ring)
{
	free(ring->slots);
	ring->slots = NULL;
}

/* Producer thread. Hands ITEM, which is not NULL, over; false when the ring is full, and ITEM stays the caller's. Never
 * blocks. */
static inline bool wh_spsc_push(struct wh_spsc *ring, void *item)
{
	assert(item != NULL);
	uint32_t head = ring->head;
	_Atomic(void *) *slot = &ring->slots[head & ring->mask];
	/* Acquire: pairs with the release in pop; the consumer is done with what was here before. */
	if (atomic_load_explicit(slot, memory_order_acquire) != NULL)
		return false;
	/* Release: pairs with the acquire in pop; publishes what ITEM points to. */
	atomic_store_explicit(slot, item, memory_order_release);
	ring->head = head + 1; /* not ++, which would read it again behind the acquire */
	return true;
}

/* Consumer thread. Takes the oldest item, or NULL when the ring is empty. Never blocks. */
static inline void *wh_spsc_pop(struct wh_spsc *ring)
{
	uint32_t tail = ring->tail;
	_Atomic(void *) *slot = &ring->slots[tail & ring->mask];
	/* Acquire: pairs with the release in push; what the item points to is there. */
	void *item = atomic_load_explicit(slot, memory_order_acquire);
	if (item == NULL)
		return NULL;
	/* Release: pairs with the acquire in push; the slot may be filled again. */
	atomic_store_explicit(slot, NULL, memory_order_release);
	ring->tail = tail + 1;
	return item;
}

/* Consumer thread. Whether a pop would find nothing. */
static inline bool wh_spsc_is_empty(const struct wh_spsc *ring)
{
	/* Acquire: as in pop, so that whoever sees it filled may go by what came with it. */
	return atomic_load_explicit(&ring->slots[ring->tail & ring->mask], memory_order_acquire) == NULL;
}

#endif
