/* SPDX-License-Identifier: BSD-3-Clause */
/* Giving up root (libcap-ng). */
#ifndef WH_ENGINE_PRIVILEGES_H
#define WH_ENGINE_PRIVILEGES_H

#include <stdbool.h>

#include "ringbuf/status.h"

/* Whether this thread may open packet sockets. */
bool wh_privileges_can_capture(void);

/*
 * Becomes USER with that user's groups, for good; of all capabilities CAP_NET_RAW alone stays, so that adapters which
 * come up later can still be opened. The caller must be the only thread of the process that does work: threads that
 * are started afterwards inherit the change, older ones do not. The limit on locked memory is lifted first (the
 * sink's registered buffers are charged to the user without CAP_IPC_LOCK). WH_ERR_INPUT: there is no such user.
 * Where the caller is USER already, the same as wh_privileges_reduce().
 */
WH_MUST_CHECK enum wh_status wh_privileges_drop(const char *user, struct wh_error *error);

/*
 * Keeps of the calling thread's capabilities those that a capture needs: CAP_NET_RAW, so that adapters which come up
 * later can still be opened, and CAP_IPC_LOCK for the sink's registered buffers; for root also CAP_DAC_OVERRIDE and
 * CAP_DAC_READ_SEARCH, without which it could not write where it could before. Only those that are there: none is
 * added. Nothing is left that a command (-z) would inherit; one that root runs is root's all the same. Threads that are
 * started afterwards inherit the change.
 */
WH_MUST_CHECK enum wh_status wh_privileges_reduce(struct wh_error *error);

#endif
