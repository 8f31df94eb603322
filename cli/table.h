/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A table of text whose columns are as wide as what is in them. It is filled cell by cell, row after row, and printed
 * once. One thread at a time.
 */
#ifndef WH_CLI_TABLE_H
#define WH_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table_cell {
	char text[112];
};

struct table {
	size_t columns;           /* of each row */
	bool right;               /* all columns but the first lean to the right, as numbers do */
	struct table_cell *cells; /* owned */
	size_t count;
	size_t capacity;
	bool failed; /* there was no memory for a cell */
};

/*
 * Adds the next cell. Control characters are replaced, because names of adapters may hold them; a longer text is cut.
 */
__attribute__((format(printf, 2, 3))) void table_add(struct table *table, const char *format, ...);

/* Writes the rows to OUT, and releases the cells. A table that did not get its memory is replaced by a line that says
 * so. */
void table_print(struct table *table, FILE *out);

#endif
