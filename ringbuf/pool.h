/* SPDX-License-Identifier: BSD-3-Clause */
/* A few buffers of the same size, page-aligned and so fit for direct I/O, taken and given back by one thread. */
#ifndef WH_RINGBUF_POOL_H
#define WH_RINGBUF_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "ringbuf/status.h"

struct wh_pool {
	uint8_t *memory;
	size_t memory_bytes;
	size_t buffer_bytes;
	uint32_t count;
	uint32_t free_count;
	uint32_t *free_list;
};

/* Maps COUNT buffers of BUFFER_BYTES (a multiple of the page size), zeroed, not inherited across fork (so that a child
 * never makes us copy pages that are out for writing). The caller owns POOL and ends it with wh_pool_close(). */
WH_MUST_CHECK enum wh_status wh_pool_open(struct wh_pool *pool, uint32_t count, size_t buffer_bytes,
					  struct wh_error *error);

/* Borrows a buffer, NULL when all are out. The most recently released comes first: it is warm in the cache. */
uint8_t *wh_pool_acquire(struct wh_pool *pool);

/* Gives BUFFER back. */
void wh_pool_release(struct wh_pool *pool, uint8_t *buffer);

/* All buffers must be back. A pool of zeros is allowed. */
void wh_pool_close(struct wh_pool *pool);

#endif
