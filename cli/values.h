/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Strict readers for the values that options take. Each is a pure function: it returns true and sets *OUT only when
 * the whole text is a value within its limits. Signs, blanks, exponents and anything after the value are refused, so
 * that a slip of the finger is never read as some other number. May be called from any thread; none blocks.
 */
#ifndef WH_CLI_VALUES_H
#define WH_CLI_VALUES_H

#include <stdbool.h>
#include <stdint.h>

/* A whole decimal number from MIN to MAX. */
bool value_number(const char *text, uint64_t min, uint64_t max, uint64_t *out);

/*
 * A size in bytes, 1 to INT64_MAX. A plain number counts units of PLAIN_UNIT bytes; K, M and G are powers of 1000;
 * Ki, Mi and Gi powers of 1024; a B may follow; capitals and small letters are the same.
 */
bool value_size(const char *text, uint64_t plain_unit, uint64_t *out);

/* A percentage from 0 to 99.9, in digits with at most one point, with or without a % sign after it. */
bool value_percent(const char *text, double *out);

/* Whether TEXT is a list of CPU numbers such as "0,2-3": no blanks, no empty part, no range that runs backwards. */
bool value_is_cpu_list(const char *text);

#endif
