/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The closing thread: cuts, syncs and closes the files that the writer is done with, tells of each, and keeps the
 * number of files within bounds. All of it may take the disk's time, which the writer's thread does not have.
 */
#ifndef WH_WRITER_CLOSER_H
#define WH_WRITER_CLOSER_H

#include <stdbool.h>
#include <stdint.h>

#include "ringbuf/status.h"
#include "writer/file.h"

struct wh_closer;

/* Files that may wait to be closed. Each has two descriptors until it is, so they must not become any number while the
 * disk does not sync. */
enum { WH_CLOSER_WAITING_MOST = 32 };

struct wh_closer_config {
	const struct wh_file_ops *files; /* by which the files were opened */
	uint32_t keep_files;             /* newest files to keep, the one being written counted; 0: all */
	bool may_delete; /* wh_closer_delete_oldest() will be used, so closed files must be remembered */
	bool transient;  /* wh_closer_close() deletes all files that were closed and are left */
	/* Called from the closing thread. A failure's words come in ERROR, else NULL. */
	void (*closed)(void *context, const char *path, const struct wh_error *error);
	/* A file was deleted, or, where ERROR is not NULL, could not be and is not tried again. Called from any thread
	 * that deletes. */
	void (*removed)(void *context, const struct wh_error *error);
	void *context;
};

/* Starts the thread. The caller owns *CLOSER. */
WH_MUST_CHECK enum wh_status wh_closer_open(const struct wh_closer_config *config, struct wh_closer **closer,
					    struct wh_error *error);

/* Takes the file at PATH, of BYTES, for one that it has closed, if it remembers files at all. WH_ERR_MEMORY. */
WH_MUST_CHECK enum wh_status wh_closer_adopt(struct wh_closer *closer, const char *path, uint64_t bytes,
					     struct wh_error *error);

/* Hands FILE (from malloc) over. Does not block. */
void wh_closer_hand_over(struct wh_closer *closer, struct wh_file *file);

/* Whether WH_CLOSER_WAITING_MOST files wait, so that no new one should be begun now. When that has changed,
 * config.closed is called. Any thread; does not block. */
bool wh_closer_is_behind(struct wh_closer *closer);

/* Takes note that a new file was begun, so that the oldest may have to go. Does not block. */
void wh_closer_file_begun(struct wh_closer *closer);

/* Deletes the oldest file that this closer has closed, and waits until it and all files handed over before have been
 * dealt with. Returns the bytes it had, 0 when there is none left to delete. Blocks. */
uint64_t wh_closer_delete_oldest(struct wh_closer *closer);

/* When (monotonic ns) the thread took up what it is at; 0: it waits for work. Any thread. */
uint64_t wh_closer_busy_since(const struct wh_closer *closer);

/* Finishes what was handed over and ends the thread. Blocks. */
void wh_closer_finish(struct wh_closer *closer);

/* The same where it was not done yet; deletes what is transient. NULL is allowed. Blocks. */
void wh_closer_close(struct wh_closer *closer);

#endif
