/* SPDX-License-Identifier: BSD-3-Clause */
/* One file of the chain: made so that it can replace nothing and follow no link, allocated ahead of its writes, cut to
 * its valid length at the end. */
#ifndef WH_WRITER_FILE_H
#define WH_WRITER_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "ringbuf/status.h"
#include "writer/chain.h"

enum wh_file_direct { WH_FILE_DIRECT_AUTO = 0, WH_FILE_DIRECT_ON, WH_FILE_DIRECT_OFF };

struct wh_file {
	char path[WH_PATH_BYTES];
	int buffered_fd;    /* through the page cache; for what is not aligned */
	int direct_fd;      /* O_DIRECT; -1 where that cannot be had */
	bool direct;        /* aligned writes go through direct_fd */
	bool allocates;     /* the file system takes fallocate(2) */
	uint64_t number;    /* in the chain, from 1 */
	uint64_t length;    /* bytes given out to writes so far */
	uint64_t valid;     /* bytes from the start whose writes have completed */
	uint64_t allocated; /* bytes asked of the file system so far */
	uint64_t
	    promised; /* writer: of these, those that the file system does not know of yet, where it allocates not */
	uint32_t pending; /* writes that have not come back */
	bool ended;       /* no more writes will be queued */
	struct wh_file *next;
};

/*
 * Creates PATH (0600 less the umask; it replaces nothing and follows no link) with LENGTH bytes of HEADER in it, and a
 * second, direct descriptor. Where the file system can (O_TMPFILE), the file gets its name only once the header is
 * there: whoever looks, and whenever the process is killed, there is no file without one. *FILE is zeroed and filled;
 * it owns its descriptors until wh_file_finish() or wh_file_abandon(). HEADER must be aligned to 4 KiB; if LENGTH is a
 * multiple of that too, it goes to the disk directly. With WH_FILE_DIRECT_ON a refusal of O_DIRECT is an error;
 * error->os_error is EEXIST where the name is taken. Blocks for one small write.
 */
WH_MUST_CHECK enum wh_status wh_file_open(struct wh_file *file, const char *path, enum wh_file_direct direct,
					  const uint8_t *header, uint32_t length, struct wh_error *error);

/* Allocates up to END bytes without making the file longer (fallocate(2), FALLOC_FL_KEEP_SIZE), so that a process that
 * dies leaves no tail of zeros. Where the file system cannot, only counts. WH_ERR_NO_SPACE: it is full. */
WH_MUST_CHECK enum wh_status wh_file_allocate(struct wh_file *file, uint64_t end, struct wh_error *error);

/* Cuts the file to its valid length, which also gives back what was allocated and not used, makes it durable
 * (fdatasync) and closes it. May block for as long as the disk takes. */
WH_MUST_CHECK enum wh_status wh_file_finish(struct wh_file *file, struct wh_error *error);

/* Closes and removes a file that was opened in vain. */
void wh_file_abandon(struct wh_file *file);

#endif
