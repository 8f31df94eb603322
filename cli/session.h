/* SPDX-License-Identifier: BSD-3-Clause */
/* One capture from its start to its end, as the command runs it. */
#ifndef WH_CLI_SESSION_H
#define WH_CLI_SESSION_H

#include "console.h"
#include "options.h"

/*
 * Captures what OPTIONS say until the capture has ended, and tells CONSOLE about it. Blocks SIGINT, SIGTERM, SIGQUIT,
 * SIGUSR1 and SIGHUP for the rest of the process's life, because it takes them from a descriptor, and ignores SIGPIPE
 * and SIGXFSZ, because writes fail where they would come; nothing may have started a thread before. Returns the exit
 * status. Call it once, from the main thread.
 */
WH_MUST_USE enum wh_result session_run(struct options *options, struct console *console);

#endif
