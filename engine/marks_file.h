/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file of marks beside a chain, STEM_marks.txt, and the thread that writes it, "wh-marks": a disk that hangs holds
 * up that thread and nobody else. Each mark is a line, its time in UTC and its text. The file is made for the first.
 */
#ifndef WH_ENGINE_MARKS_FILE_H
#define WH_ENGINE_MARKS_FILE_H

#include <stdint.h>

#include "ringbuf/status.h"

enum { WH_MARKS_WAITING_MOST = 1000 }; /* lines that may wait for the disk */

struct wh_marks_file;
struct wh_marks_line;

struct wh_marks_file_config {
	const char *output; /* as -w gives it; borrowed until wh_marks_file_close() */
	/* A line for which nobody waits (any more) could not be written, as ERROR says. From the file's thread. */
	void (*failed)(void *context, const struct wh_error *error);
	void *context;
};

enum wh_marks_outcome { WH_MARKS_WRITTEN = 0, WH_MARKS_FAILED, WH_MARKS_WAITS };

/* Starts the thread. The caller owns *FILE. Touches no file. */
WH_MUST_CHECK enum wh_status wh_marks_file_open(const struct wh_marks_file_config *config, struct wh_marks_file **file,
						struct wh_error *error);

/*
 * Queues the line of a mark at NS since 1970. *LINE, where LINE is not NULL, must be given to wh_marks_file_wait().
 * Does not block. WH_ERR_SYSTEM: WH_MARKS_WAITING_MOST wait already; WH_ERR_MEMORY. Any thread, until
 * wh_marks_file_finish().
 */
WH_MUST_CHECK enum wh_status wh_marks_file_add(struct wh_marks_file *file, uint64_t ns, const char *text,
					       struct wh_marks_line **line, struct wh_error *error);

/*
 * What has become of LINE, which is given back: *ERROR says why it could not be written. Waits for the disk for at most
 * MOST_MS, and less by what it has been silent for already. Any thread.
 */
enum wh_marks_outcome wh_marks_file_wait(struct wh_marks_file *file, struct wh_marks_line *line, uint32_t most_ms,
					 struct wh_error *error);

/* Writes what waits and ends the thread. Blocks for as long as the disk does. NULL is allowed. */
void wh_marks_file_finish(struct wh_marks_file *file);

/* The same where it was not done yet, and gives everything back; nobody may wait for a line. NULL is allowed. */
void wh_marks_file_close(struct wh_marks_file *file);

#endif
