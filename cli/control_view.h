/* SPDX-License-Identifier: BSD-3-Clause */
/* What `wirehaul status` shows a person, made from what the control socket says. */
#ifndef WH_CLI_CONTROL_VIEW_H
#define WH_CLI_CONTROL_VIEW_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Writes the status NOW to OUT, with the rates since BEFORE, an earlier status of the same capture; NULL: without
 * rates. WALL_NS is the time of day, in ns since 1970, from which the age of the last frame is told. Whatever is
 * missing or of another type than it should be counts as 0 or as empty; control characters are replaced.
 */
void control_view_print(FILE *out, const json_t *before, const json_t *now, uint64_t wall_ns);

#endif
