/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes a file that every reader gets through of what can be saved of another one: what wh_inspect() (inspect.h) tells
 * of, one behind the other. Whole chunks are taken byte for byte. Where something is missing, a note in a chunk of its
 * own says so; a chunk of which a part is missing gets a new head and a note. Section headers and interface
 * descriptions that are lost are replaced by guesses.
 */
#ifndef WH_WRITER_REPAIR_H
#define WH_WRITER_REPAIR_H

#include "writer/inspect.h"

/* Where the new file goes, from its first byte on. Each returns WH_OK, or ends the repair with its status. */
struct wh_repair_sink {
	void *context;
	enum wh_status (*write)(void *context, const uint8_t *bytes, size_t length, struct wh_error *error);
	/* LENGTH bytes of the damaged file from OFFSET on. */
	enum wh_status (*copy)(void *context, uint64_t offset, uint64_t length, struct wh_error *error);
	/* Writes over bytes at AT that are there already. */
	enum wh_status (*patch)(void *context, uint64_t at, const uint8_t *bytes, size_t length,
				struct wh_error *error);
};

/*
 * Reads SOURCE and writes what can be saved to SINK. *FOUND says what SOURCE is. APPLICATION, "wirehaul " and a
 * version, goes into headers that are made anew. WH_ERR_INPUT: nothing can be saved; SINK has got nothing then. Pure
 * but for what SINK does. Any thread; blocks as the two do.
 */
WH_MUST_CHECK enum wh_status wh_repair(const struct wh_inspect_source *source, const struct wh_repair_sink *sink,
				       const char *application, struct wh_inspection *found, struct wh_error *error);

/*
 * The same from PATH to OUT, which must not exist and then is there with all of its content, durable, or not at all
 * (mode 0600 less the umask; no link is followed). *MADE says what OUT is, by reading it back. WH_ERR_INPUT: PATH is no
 * ordinary file or nothing of it can be saved, OUT exists or its directory does not.
 */
WH_MUST_CHECK enum wh_status wh_repair_file(const char *path, const char *out, const char *application,
					    struct wh_inspection *made, struct wh_error *error);

#endif
