/* SPDX-License-Identifier: BSD-3-Clause */
/* Statistics in words and columns for a person: in the middle of a capture (SIGUSR1) and at its end. */
#ifndef WH_CLI_SUMMARY_H
#define WH_CLI_SUMMARY_H

#include <stdbool.h>
#include <stdio.h>
#include <wirehaul.h>

/* Writes a row for each adapter of CAPTURE, their sum where there are several, and a line about files and timing; for a
 * simulation, that it was one, and what it has measured. */
void summary_print(FILE *out, struct wh_capture *capture);

/*
 * Puts into MESSAGE one line that says how many frames are missing from the files and what helps against it, from what
 * the statistics hint at. Returns false, and leaves MESSAGE alone, when none are missing.
 */
bool summary_explain_drops(const struct wh_statistics *statistics, struct wh_message *message);

#endif
