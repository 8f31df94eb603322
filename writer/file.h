/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seam between the writer and what becomes of its files as a whole: made, given room, ended, deleted. What goes
 * into them goes through a sink (sink.h).
 *
 * Two sets of operations are behind it: of files on a disk, and of files that nobody will ever see, for a chain whose
 * writes are discarded. Threads: directory_open belongs to the thread that opens the writer, or only checks for one;
 * open, allocate and abandon to the writer's thread (before it starts and after it has ended, to the thread that opened
 * or closes the writer), finish to its closing thread, remove to that one, to the writer's, or to whoever has waited
 * for both.
 */
#ifndef WH_WRITER_FILE_H
#define WH_WRITER_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "ringbuf/status.h"
#include "writer/chain.h"

enum wh_file_direct { WH_FILE_DIRECT_AUTO = 0, WH_FILE_DIRECT_ON, WH_FILE_DIRECT_OFF };

struct wh_file {
	char path[WH_PATH_BYTES]; /* empty where there is no such file */
	int buffered_fd;          /* through the page cache; for what is not aligned */
	int direct_fd;            /* O_DIRECT; -1 where that cannot be had */
	bool direct;              /* aligned writes go through direct_fd */
	bool fuse;                /* on FUSE, which can damage what is written directly */
	bool allocates;           /* the file system takes fallocate(2) */
	uint64_t number;          /* in the chain, from 1 */
	uint64_t length;          /* bytes given out to writes so far */
	uint64_t valid;           /* bytes from the start whose writes have completed */
	uint64_t allocated;       /* bytes asked of the file system so far */
	uint64_t
	    promised; /* writer: of these, those that the file system does not know of yet, where it allocates not */
	uint32_t pending; /* writes that have not come back */
	bool ended;       /* no more writes will be queued */
	struct wh_file *next;
};

struct wh_file_ops {
	/* Whether FILE can still be found by some name. */
	bool (*has_name)(const struct wh_file *file);
	/*
	 * Opens DIRECTORY for looking at its file system, and makes sure that files can be made in it, without making
	 * one. *FD is the caller's to close; -1 where there is no file system to look at. WH_ERR_INPUT: it does not
	 * exist.
	 */
	WH_MUST_CHECK enum wh_status (*directory_open)(const char *directory, int *fd, struct wh_error *error);
	/*
	 * Makes a file called PATH with LENGTH bytes of HEADER in it. *FILE is zeroed and filled; it owns its
	 * descriptors until finish() or abandon(). HEADER must be aligned to 4 KiB. error->os_error is EEXIST where
	 * the name is taken. Blocks for one small write.
	 */
	WH_MUST_CHECK enum wh_status (*open)(struct wh_file *file, const char *path, enum wh_file_direct direct,
					     const uint8_t *header, uint32_t length, struct wh_error *error);
	/* Makes sure of room up to END bytes, without making the file longer. WH_ERR_NO_SPACE: there is none. */
	WH_MUST_CHECK enum wh_status (*allocate)(struct wh_file *file, uint64_t end, struct wh_error *error);
	/* Ends the file at its valid length and closes it. May block for as long as the disk takes. */
	WH_MUST_CHECK enum wh_status (*finish)(struct wh_file *file, struct wh_error *error);
	/* Closes and removes a file that was opened in vain. */
	void (*abandon)(struct wh_file *file);
	/* Removes a file that was finished, by its PATH; one that is not there any more counts as removed. With AT_ONCE
	 * the room that it took is free on return. */
	WH_MUST_CHECK enum wh_status (*remove)(const char *path, bool at_once, struct wh_error *error);
};

/*
 * Files on a disk. open() replaces nothing and follows no link (0600 less the umask), and opens a second, direct
 * descriptor. Where the file system can (O_TMPFILE), the file gets its name only once the header is there: whoever
 * looks, and whenever the process is killed, there is no file without one. A header whose LENGTH is a multiple of 4 KiB
 * goes to the disk directly; with WH_FILE_DIRECT_ON a refusal of O_DIRECT is an error. WH_FILE_DIRECT_AUTO does without
 * it on FUSE: Linux (6.18) loses its place there in a direct write through io_uring of which a part fails or is short,
 * and the file is damaged without a word. allocate() uses fallocate(2) with FALLOC_FL_KEEP_SIZE, so that a process that
 * dies leaves no tail of zeros; where the file system cannot, it only counts. finish() gives back what was allocated
 * and not used, and makes the file durable (fdatasync).
 */
extern const struct wh_file_ops wh_file_disk_ops;

/* No files at all: nothing is opened, made, looked at or removed, and nothing fails. The descriptors are -1, the path
 * is empty; the lengths are counted as ever. For wh_sink_discard_open(). */
extern const struct wh_file_ops wh_file_discard_ops;

#endif
