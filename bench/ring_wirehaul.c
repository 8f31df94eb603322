/* SPDX-License-Identifier: BSD-3-Clause */
/* Our ring: ringbuf/spsc.h. */
#include "ring_bench.h"

#include "ringbuf/spsc.h"

struct ring {
	struct wh_spsc spsc;
};

static bool ring_open(struct ring *ring, uint32_t slots)
{
	return wh_spsc_open(&ring->spsc, slots) == WH_OK;
}

static void ring_close(struct ring *ring)
{
	wh_spsc_close(&ring->spsc);
}

static inline bool ring_push(struct ring *ring, void *item)
{
	return wh_spsc_push(&ring->spsc, item);
}

static inline void *ring_pop(struct ring *ring)
{
	return wh_spsc_pop(&ring->spsc);
}

static inline bool ring_is_empty(struct ring *ring)
{
	return wh_spsc_is_empty(&ring->spsc);
}

#include "ring_passage.h"

const struct wh_ring_bench wh_ring_wirehaul = { .name = "wirehaul", .run = ring_run };
