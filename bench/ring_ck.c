/* SPDX-License-Identifier: BSD-3-Clause */
/* ConcurrencyKit's ring, with its calls for one producer and one consumer. Of its slots one always stays empty. */
#include "ring_bench.h"

#include <ck_ring.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>

#include "ringbuf/spsc.h"

struct ring {
	alignas(WH_CACHE_LINE) struct ck_ring ck; /* its counters are padded to a line each */
	struct ck_ring_buffer *slots;
};

static bool ring_open(struct ring *ring, uint32_t slots)
{
	ring->slots = calloc(slots, sizeof(*ring->slots));
	if (ring->slots == NULL)
		return false;
	ck_ring_init(&ring->ck, slots);
	return true;
}

static void ring_close(struct ring *ring)
{
	free(ring->slots);
}

static inline bool ring_push(struct ring *ring, void *item)
{
	return ck_ring_enqueue_spsc(&ring->ck, ring->slots, item);
}

static inline void *ring_pop(struct ring *ring)
{
	void *item;
	return ck_ring_dequeue_spsc(&ring->ck, ring->slots, &item) ? item : NULL;
}

static inline bool ring_is_empty(struct ring *ring)
{
	return ck_ring_size(&ring->ck) == 0;
}

#include "ring_passage.h"

const struct wh_ring_bench wh_ring_ck = { .name = "ck", .run = ring_run };
