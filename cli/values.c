/* SPDX-License-Identifier: BSD-3-Clause */
#include "values.h"

#include <stdlib.h>
#include <strings.h>

/* More CPUs than any kernel is built for; the library knows which of them this machine has. */
#define CPU_MAX 65535

/* Reads the digits at *TEXT and leaves *TEXT behind them. False without a digit, or past what 64 bits hold. */
static bool read_digits(const char **text, uint64_t *out)
{
	const char *at = *text;
	uint64_t number = 0;
	if (*at < '0' || *at > '9')
		return false;
	for (; *at >= '0' && *at <= '9'; at++) {
		uint64_t digit = (uint64_t)(*at - '0');
		if (number > (UINT64_MAX - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*text = at;
	*out = number;
	return true;
}

bool value_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t number = 0;
	if (!read_digits(&text, &number) || *text != '\0' || number < min || number > max)
		return false;
	*out = number;
	return true;
}

static uint64_t unit_of(const char *suffix, uint64_t plain_unit)
{
	static const struct {
		const char *name;
		uint64_t bytes;
	} units[] = {
		{ "k", 1000 },        { "kb", 1000 },        { "m", 1000000 },     { "mb", 1000000 },
		{ "g", 1000000000 },  { "gb", 1000000000 },  { "ki", 1ULL << 10 }, { "kib", 1ULL << 10 },
		{ "mi", 1ULL << 20 }, { "mib", 1ULL << 20 }, { "gi", 1ULL << 30 }, { "gib", 1ULL << 30 },
	};
	if (*suffix == '\0')
		return plain_unit;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcasecmp(suffix, units[i].name) == 0)
			return units[i].bytes;
	}
	return 0;
}

bool value_size(const char *text, uint64_t plain_unit, uint64_t *out)
{
	uint64_t number = 0;
	if (!read_digits(&text, &number))
		return false;
	uint64_t unit = unit_of(text, plain_unit);
	if (unit == 0 || number == 0 || number > (uint64_t)INT64_MAX / unit)
		return false;
	*out = number * unit;
	return true;
}

bool value_percent(const char *text, double *out)
{
	const char *at = text;
	uint64_t whole = 0;
	if (!read_digits(&at, &whole) || whole > 99)
		return false;
	if (*at == '.') {
		at++;
		if (*at < '0' || *at > '9')
			return false;
		while (*at >= '0' && *at <= '9')
			at++;
	}
	if (*at == '%')
		at++;
	if (*at != '\0')
		return false;
	/* The form has been checked, so that strtod() sees none of the other spellings that it knows. */
	double percent = strtod(text, NULL);
	if (percent > 99.9)
		return false;
	*out = percent;
	return true;
}

bool value_is_cpu_list(const char *text)
{
	for (;;) {
		uint64_t first = 0;
		if (!read_digits(&text, &first) || first > CPU_MAX)
			return false;
		uint64_t last = first;
		if (*text == '-') {
			text++;
			if (!read_digits(&text, &last) || last > CPU_MAX || last < first)
				return false;
		}
		if (*text == '\0')
			return true;
		if (*text != ',')
			return false;
		text++;
	}
}
