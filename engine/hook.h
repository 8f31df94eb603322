/* SPDX-License-Identifier: BSD-3-Clause */
/* The command that is run on each closed file (-z): at the lowest priority, one at a time, never in the way. */
#ifndef WH_ENGINE_HOOK_H
#define WH_ENGINE_HOOK_H

#include <stdbool.h>

#include "ringbuf/status.h"

struct wh_hooks;

/* COMMAND is run by /bin/sh with the path behind it. Copies it. The caller owns *HOOKS. One thread for all calls. */
WH_MUST_CHECK enum wh_status wh_hooks_open(const char *command, struct wh_hooks **hooks, struct wh_error *error);

/* The files that wait are no more than these, however long the command takes. */
enum { WH_HOOKS_WAITING_MOST = 65536 };

/* Queues PATH (copied) and starts the command if none is running. WH_ERR_MEMORY: too many wait, and it is left out. */
WH_MUST_CHECK enum wh_status wh_hooks_add(struct wh_hooks *hooks, const char *path, struct wh_error *error);

/* A descriptor that is readable when the running command has ended, -1 when none runs. Changes with each command. */
int wh_hooks_fd(const struct wh_hooks *hooks);

/* Call it when the descriptor is readable: takes the command's end note and starts the next. *FAILED_PATH, if not NULL,
 * is the file whose command did not end with 0; the caller owns it (free()). */
WH_MUST_CHECK enum wh_status wh_hooks_reap(struct wh_hooks *hooks, char **failed_path, struct wh_error *error);

/* Sees to it that the command is run on everything that still waits, one after the other, without waiting for it, and
 * gives HOOKS back. NULL is allowed. */
void wh_hooks_close(struct wh_hooks *hooks);

#endif
