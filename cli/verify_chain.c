/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of one chain that were given together: whether chunks are missing between them. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "verify.h"

enum { DATE_DIGITS = 14, NUMBER_DIGITS_LEAST = 5 };

/* How many of the first LENGTH characters of NAME are left without the digits at their end. */
static size_t without_digits(const char *name, size_t length)
{
	while (length > 0 && isdigit((unsigned char)name[length - 1]))
		length--;
	return length;
}

/*
 * Length of what is the same in the paths of a chain's files: "dir/trace" of dir/trace_00001_20260131235959.pcapng, and
 * of one that was repaired. A path of another kind is a chain for itself.
 */
static size_t stem_length(const char *path)
{
	static const char repaired[] = "_repaired";
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	const char *dot = strrchr(name, '.');
	size_t length = dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name);
	size_t suffix = sizeof(repaired) - 1;
	if (length > suffix && memcmp(name + length - suffix, repaired, suffix) == 0)
		length -= suffix;
	size_t date = without_digits(name, length);
	if (length - date != DATE_DIGITS || date == 0 || name[date - 1] != '_')
		return strlen(path);
	size_t number = without_digits(name, date - 1);
	if (date - 1 - number < NUMBER_DIGITS_LEAST || number == 0 || name[number - 1] != '_')
		return strlen(path);
	return (size_t)(name - path) + number - 1;
}

/* The order of chains: by name, then session. */
static int chain_compare(const struct verified *a, const struct verified *b)
{
	size_t a_length = stem_length(a->path), b_length = stem_length(b->path);
	int order = memcmp(a->path, b->path, a_length < b_length ? a_length : b_length);
	if (order != 0)
		return order;
	if (a_length != b_length)
		return a_length < b_length ? -1 : 1;
	return (a->check.session > b->check.session) - (a->check.session < b->check.session);
}

static int file_compare(const void *left, const void *right)
{
	const struct verified *a = *(const struct verified *const *)left;
	const struct verified *b = *(const struct verified *const *)right;
	int order = chain_compare(a, b);
	if (order != 0)
		return order;
	return (a->check.first_chunk > b->check.first_chunk) - (a->check.first_chunk < b->check.first_chunk);
}

bool verify_gaps(const struct verified *files, size_t count, struct verified_gap **gaps, size_t *gap_count)
{
	*gap_count = 0;
	*gaps = calloc(count + 1, sizeof(**gaps));
	const struct verified **sorted = calloc(count + 1, sizeof(const struct verified *));
	if (*gaps == NULL || sorted == NULL) {
		free(*gaps);
		free(sorted);
		return false;
	}
	size_t used = 0;
	for (size_t i = 0; i < count; i++)
		if (files[i].read && files[i].check.chunks > 0)
			sorted[used++] = &files[i];
	qsort(sorted, used, sizeof(sorted[0]), file_compare);
	/* The one that reaches furthest: a file may be given twice, or before and after its repair. */
	const struct verified *before = NULL;
	for (size_t i = 0; i < used; i++) {
		const struct verified *next = sorted[i];
		bool same = before != NULL && chain_compare(before, next) == 0;
		if (same && next->check.first_chunk > before->check.last_chunk &&
		    next->check.first_chunk - before->check.last_chunk > 1)
			(*gaps)[(*gap_count)++] = (struct verified_gap){ .before = before,
									 .behind = next,
									 .first = before->check.last_chunk + 1,
									 .last = next->check.first_chunk - 1 };
		if (!same || next->check.last_chunk > before->check.last_chunk)
			before = next;
	}
	free(sorted);
	return true;
}
