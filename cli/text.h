/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers in words for a person. Each function is pure and returns its text by value, so that several can be used in
 * one printf() call: printf("%s of %s", text_count(a).s, text_bytes(b).s). May be called from any thread.
 */
#ifndef WH_CLI_TEXT_H
#define WH_CLI_TEXT_H

#include <stdbool.h>
#include <stdint.h>

struct text {
	char s[48];
};

/* 1234567 -> "1,234,567" */
struct text text_count(uint64_t number);

/* Three significant digits and a decimal prefix, then UNIT: (1.5e6, "bit/s") -> "1.50 Mbit/s". Negative counts as 0. */
struct text text_scaled(double number, const char *unit);

/* A number of bytes with a decimal prefix: 100000000 -> "100 MB" */
struct text text_bytes(uint64_t bytes);

/* The two largest units of a time: "3d04h", "2h14m", "5m09s", "12s". */
struct text text_duration(double seconds);

/* Microseconds in the unit that suits them: "840 us", "4.2 ms", "1.50 s". */
struct text text_latency(uint64_t us);

/*
 * Replaces the control characters in TEXT by question marks, but for line ends where KEEP_LINES is set. Names of
 * adapters and files come from elsewhere: nothing in them may move a terminal's cursor or begin a line of its own.
 */
void text_clean(char *text, bool keep_lines);

#endif
