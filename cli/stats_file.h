/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file of --stats-file: one JSON object with the counters of a capture, replaced as a whole so that a reader sees
 * either the old text or the new one. All calls belong to one thread.
 */
#ifndef WH_CLI_STATS_FILE_H
#define WH_CLI_STATS_FILE_H

#include <stddef.h>
#include <wirehaul.h>

struct stats_file {
	int directory_fd; /* the file's directory, kept open so that a later rename of it does no harm; owned */
	char name[256];   /* the file's name in that directory */
	const char *path; /* as it was given, for messages; borrowed */
};

/*
 * Prepares to write PATH, which must outlive *FILE, and makes sure that a file can be made and replaced in its
 * directory, by making a temporary one and removing it. Nothing is left behind. Returns WH_RESULT_USAGE with
 * *MESSAGE when it cannot be done, and then *FILE needs no closing.
 */
WH_MUST_USE enum wh_result stats_file_open(struct stats_file *file, const char *path, struct wh_message *message);

/*
 * Writes the statistics of CAPTURE as they are now. Returns WH_RESULT_ERROR with *MESSAGE when that failed: the file
 * then still has its last text, and no temporary file is left. Blocks as long as the file system does; nothing is
 * synced to the disk, since these figures are worth nothing after a crash and a sync each second would cost the
 * capture dearly.
 */
WH_MUST_USE enum wh_result stats_file_write(struct stats_file *file, struct wh_capture *capture,
					    struct wh_message *message);

/* Gives back the directory. The file stays. */
void stats_file_close(struct stats_file *file);

#endif
