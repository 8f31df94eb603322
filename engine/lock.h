/* SPDX-License-Identifier: BSD-3-Clause */
/* One capture for a directory: two would each take the free space for their own, and could write one chain. */
#ifndef WH_ENGINE_LOCK_H
#define WH_ENGINE_LOCK_H

#include "ringbuf/status.h"

/*
 * Locks the directory of PATH, as -w gives it, until *FD is given to wh_directory_unlock() (flock(2); it ends with the
 * process at the latest, however that ends, and leaves no file). WH_ERR_INPUT: another capture has it. *FD is -1 where
 * the file system knows no locks, or the directory cannot be opened, which the writer tells of in better words. Does
 * not block.
 */
WH_MUST_CHECK enum wh_status wh_directory_lock(const char *path, int *fd, struct wh_error *error);

/* Ends the lock and closes FD, which may be -1. Does not block. */
void wh_directory_unlock(int fd);

#endif
