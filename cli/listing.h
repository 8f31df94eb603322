/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of -D. */
#ifndef WH_CLI_LISTING_H
#define WH_CLI_LISTING_H

#include <stddef.h>
#include <stdio.h>
#include <wirehaul.h>

/*
 * Writes a table of the COUNT ADAPTERS to OUT, and, where offloads make a capture see other frames than the wire, what
 * that means and the commands that would turn them off. Changes nothing on the machine.
 */
void listing_print(FILE *out, const struct wh_adapter *adapters, size_t count);

#endif
