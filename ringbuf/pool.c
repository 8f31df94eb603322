/* SPDX-License-Identifier: BSD-3-Clause */
#include "ringbuf/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum wh_status wh_pool_open(struct wh_pool *pool, uint32_t count, size_t buffer_bytes, struct wh_error *error)
{
	*pool = (struct wh_pool){ .buffer_bytes = buffer_bytes, .count = count, .memory_bytes = count * buffer_bytes };
	pool->free_list = calloc(count, sizeof(*pool->free_list));
	if (pool->free_list == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory for %u buffers", count);
	void *memory = mmap(NULL, pool->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		int reason = errno;
		free(pool->free_list);
		*pool = (struct wh_pool){ 0 };
		return wh_error_system(error, reason, "cannot map %zu bytes of buffers", count * buffer_bytes);
	}
	madvise(memory, pool->memory_bytes, MADV_DONTFORK);
	pool->memory = memory;
	for (uint32_t i = 0; i < count; i++)
		pool->free_list[i] = count - 1 - i;
	pool->free_count = count;
	return WH_OK;
}

uint8_t *wh_pool_acquire(struct wh_pool *pool)
{
	if (pool->free_count == 0)
		return NULL;
	return pool->memory + pool->free_list[--pool->free_count] * pool->buffer_bytes;
}

void wh_pool_release(struct wh_pool *pool, uint8_t *buffer)
{
	pool->free_list[pool->free_count++] = (uint32_t)((size_t)(buffer - pool->memory) / pool->buffer_bytes);
}

void wh_pool_close(struct wh_pool *pool)
{
	if (pool->memory != NULL)
		munmap(pool->memory, pool->memory_bytes);
	free(pool->free_list);
	*pool = (struct wh_pool){ 0 };
}
