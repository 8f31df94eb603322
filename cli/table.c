/* SPDX-License-Identifier: BSD-3-Clause */
#include "table.h"

#include "text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define GAP 2

static struct table_cell *grow(struct table *table)
{
	if (table->count < table->capacity)
		return &table->cells[table->count++];
	size_t capacity = table->capacity > 0 ? 2 * table->capacity : 64;
	struct table_cell *cells = realloc(table->cells, capacity * sizeof(*cells));
	if (cells == NULL) {
		table->failed = true;
		return NULL;
	}
	table->cells = cells;
	table->capacity = capacity;
	return &table->cells[table->count++];
}

void table_add(struct table *table, const char *format, ...)
{
	struct table_cell *cell = grow(table);
	if (cell == NULL)
		return;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(cell->text, sizeof(cell->text), format, arguments);
	va_end(arguments);
	text_clean(cell->text, false);
}

static int column_width(const struct table *table, size_t column)
{
	size_t width = 0;
	for (size_t i = column; i < table->count; i += table->columns) {
		size_t length = strlen(table->cells[i].text);
		if (length > width)
			width = length;
	}
	return (int)width;
}

static void print_cell(const struct table *table, FILE *out, size_t index)
{
	size_t column = index % table->columns;
	const char *text = table->cells[index].text;
	int width = column_width(table, column);
	if (column > 0)
		fprintf(out, "%*s", GAP, "");
	if (column > 0 && table->right)
		fprintf(out, "%*s", width, text);
	else if (column + 1 < table->columns)
		fprintf(out, "%-*s", width, text);
	else
		fputs(text, out); /* nothing follows, so that no blanks are needed */
	if (column + 1 == table->columns)
		fputc('\n', out);
}

void table_print(struct table *table, FILE *out)
{
	if (table->failed)
		fputs("there is no memory left for the table\n", out);
	for (size_t i = 0; !table->failed && i < table->count; i++)
		print_cell(table, out, i);
	free(table->cells);
	*table = (struct table){ .columns = table->columns, .right = table->right };
}
