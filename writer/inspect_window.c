/* SPDX-License-Identifier: BSD-3-Clause */
/* A window that slides over a file: read ahead on the way forwards, moved back where it must. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "writer/inspect_state.h"

enum { PAGE = 4096, AHEAD = 1 << 20, WINDOW_MOST = WH_BLOCK_MOST + 2 * PAGE };

static bool window_grow(struct wh_window *window, size_t wanted)
{
	if (wanted <= window->capacity)
		return true;
	size_t capacity = (wanted + AHEAD - 1) & ~(size_t)(AHEAD - 1);
	uint8_t *buffer = realloc(window->buffer, capacity);
	if (buffer == NULL) {
		window->failed = true;
		wh_error_set(window->error, WH_ERR_MEMORY, "no memory to read it");
		return false;
	}
	window->buffer = buffer;
	window->capacity = capacity;
	return true;
}

static bool window_read(struct wh_window *window, size_t wanted)
{
	while (window->length < wanted) {
		ssize_t count = pread(window->fd, window->buffer + window->length, wanted - window->length,
				      (off_t)(window->start + window->length));
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0) {
			window->failed = true;
			wh_error_system(window->error, errno, "cannot read it at byte %llu",
					(unsigned long long)window->start + window->length);
			return false;
		}
		if (count == 0) { /* it was cut while it was read */
			window->size = window->start + window->length;
			return true;
		}
		window->length += (size_t)count;
	}
	return true;
}

/* Moves the window so that it begins at or in front of OFFSET and holds LENGTH bytes from there, as far as there are
 * so many. */
static bool window_move(struct wh_window *window, uint64_t offset, size_t length)
{
	uint64_t start = offset & ~(uint64_t)(PAGE - 1);
	uint64_t left = window->size - start;
	size_t wanted = length + (size_t)(offset - start);
	if (wanted < AHEAD)
		wanted = AHEAD;
	if (wanted > left)
		wanted = (size_t)left;
	if (!window_grow(window, wanted))
		return false;
	size_t kept = 0;
	if (start >= window->start && start < window->start + window->length) {
		kept = (size_t)(window->start + window->length - start);
		memmove(window->buffer, window->buffer + (start - window->start), kept);
	}
	window->start = start;
	window->length = kept;
	return window_read(window, wanted);
}

const uint8_t *wh_window_at(struct wh_window *window, uint64_t offset, uint64_t length)
{
	if (window->failed || offset > window->size || length > window->size - offset || length > WINDOW_MOST - PAGE)
		return NULL;
	if (window->memory != NULL)
		return window->memory + offset;
	bool inside = offset >= window->start && offset + length <= window->start + window->length;
	if (!inside && !window_move(window, offset, (size_t)length))
		return NULL;
	if (offset + length > window->start + window->length)
		return NULL;
	return window->buffer + (offset - window->start);
}

uint64_t wh_window_data(const struct wh_window *window, uint64_t offset)
{
	if (window->memory != NULL || offset >= window->size)
		return offset;
	off_t data = lseek(window->fd, (off_t)offset, SEEK_DATA);
	if (data >= 0 && (uint64_t)data >= offset)
		return (uint64_t)data < window->size ? (uint64_t)data : window->size;
	return data < 0 && errno == ENXIO ? window->size : offset;
}

void wh_window_close(struct wh_window *window)
{
	free(window->buffer);
	window->buffer = NULL;
}
