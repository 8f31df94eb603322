/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints what was counted as parts of one JSON object; count.c says what it holds. */
#ifndef WH_FRAMES_COUNT_REPORT_H
#define WH_FRAMES_COUNT_REPORT_H

#include "counter.h"

/* One element of "each": the file that was counted last. */
void wh_count_report_file(const struct wh_counter *counter, const struct wh_walk *walk);

/* The members that are of all files. Once. */
void wh_count_report_totals(const struct wh_counter *counter);

#endif
