/* SPDX-License-Identifier: BSD-3-Clause */
/* The counters of a capture as one JSON object: what the statistics file holds, and a status too. */
#ifndef WH_CLI_STATISTICS_JSON_H
#define WH_CLI_STATISTICS_JSON_H

#include <jansson.h>
#include <wirehaul.h>

/* The statistics of CAPTURE as they are now, owned by the caller. NULL: no memory. Any thread; does not block. */
json_t *statistics_json(struct wh_capture *capture);

/*
 * TEXT as a JSON string, owned by the caller. JSON is Unicode; a path or a name is whatever bytes someone chose: what
 * is not UTF-8 becomes ASCII with question marks. NULL: no memory.
 */
json_t *statistics_json_text(const char *text);

#endif
