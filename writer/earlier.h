/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that earlier captures with the same name have left in the chain's directory. */
#ifndef WH_WRITER_EARLIER_H
#define WH_WRITER_EARLIER_H

#include <stddef.h>
#include <stdint.h>

#include "ringbuf/status.h"
#include "writer/chain.h"

struct wh_earlier_file {
	char *path; /* as wh_chain_path() would have it */
	uint64_t bytes;
	uint64_t modified_ns; /* since 1970 */
};

struct wh_earlier {
	struct wh_earlier_file *files; /* the oldest first */
	size_t count;
	uint64_t bytes; /* of them all */
};

/*
 * Fills *FOUND with the files of DIRECTORY (a descriptor of NAME's directory) whose names NAME's chain could have
 * given, in the order in which they were last written. Ordinary files of this process's user alone, under one name:
 * what somebody else has put there is not for the chain to delete. *FOUND is the caller's, for wh_earlier_free(), on
 * failure too. Blocks for a look at each file of the directory. WH_ERR_MEMORY, WH_ERR_SYSTEM.
 */
WH_MUST_CHECK enum wh_status wh_earlier_find(const struct wh_chain_name *name, int directory, struct wh_earlier *found,
					     struct wh_error *error);

void wh_earlier_free(struct wh_earlier *found);

#endif
