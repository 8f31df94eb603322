/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread that writes the statistics file, "wh-stats": a disk that hangs, which need not be the capture's, keeps it
 * from nothing else, neither from signals nor from a watchdog.
 */
#ifndef WH_CLI_STATS_WRITER_H
#define WH_CLI_STATS_WRITER_H

#include "console.h"

#include <wirehaul.h>

struct stats_writer;

/*
 * Opens the statistics file PATH, which is borrowed like CAPTURE and CONSOLE until stats_writer_close(), and starts the
 * thread, which writes nothing before it is asked to. WH_RESULT_USAGE with *MESSAGE where there can be no such file;
 * nothing is left behind then.
 */
WH_MUST_USE enum wh_result stats_writer_open(const char *path, struct wh_capture *capture, struct console *console,
					     struct stats_writer **writer, struct wh_message *message);

/* Asks for the file to be written anew. What is asked while that goes on comes after it, once. NULL is allowed. Any
 * thread; does not block. */
void stats_writer_ask(struct stats_writer *writer);

/* The same for the last time, and waits for it, for as long as the disk takes. NULL is allowed. */
void stats_writer_finish(struct stats_writer *writer);

/* Ends the thread and gives everything back; waits for what is being written. NULL is allowed. */
void stats_writer_close(struct stats_writer *writer);

#endif
