/* SPDX-License-Identifier: BSD-3-Clause */
/* The free-space watermark: how much of a file system may still be taken. The policy is pure; one function asks. */
#ifndef WH_WRITER_SPACE_H
#define WH_WRITER_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "ringbuf/status.h"

/* A file system's size, in bytes, as statvfs(3) tells it. */
struct wh_space {
	uint64_t total_bytes;     /* f_blocks */
	uint64_t available_bytes; /* f_bavail: without the blocks kept for root, so the stricter of the two figures */
};

/* Bytes that must stay free for PERCENT of the file system, rounded up. */
uint64_t wh_space_limit(const struct wh_space *space, double percent);

/*
 * How many bytes, a multiple of ALIGNMENT (a power of two), may be allocated without the free space falling below
 * PERCENT: at most WANTED. A margin for the file system's own records (extent trees, bitmaps, journal) is kept back,
 * and of the rest at most half is granted: while ext4 allocates, it counts the blocks twice for a moment (as taken and
 * as claimed: fs/ext4/mballoc.c, ext4_mb_mark_diskspace_used), and not even then may the free share be too small. With
 * PERCENT 0 there is no watermark: WANTED is returned and the file system decides.
 */
uint64_t wh_space_grant(const struct wh_space *space, double percent, uint64_t wanted, uint64_t alignment);

/* Free space in percent of the whole. */
double wh_space_percent(const struct wh_space *space);

/* Asks the file system that the open file FD is on. Any thread; may block on a network file system. */
WH_MUST_CHECK enum wh_status wh_space_read(int fd, struct wh_space *space);

#endif
