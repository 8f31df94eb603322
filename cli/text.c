/* SPDX-License-Identifier: BSD-3-Clause */
#include "text.h"

#include <inttypes.h>
#include <stdio.h>

struct text text_count(uint64_t number)
{
	struct text text = { "" };
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, number);
	size_t out = 0;
	for (int i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			text.s[out++] = ',';
		text.s[out++] = digits[i];
	}
	text.s[out] = '\0';
	return text;
}

struct text text_scaled(double number, const char *unit)
{
	static const char *const prefixes[] = { "", "k", "M", "G", "T", "P", "E" };
	struct text text;
	size_t prefix = 0;
	if (!(number > 0))
		number = 0;
	/* 999.5 and more would be printed as 1000. */
	while (number >= 999.5 && prefix + 1 < sizeof(prefixes) / sizeof(prefixes[0])) {
		number /= 1000;
		prefix++;
	}
	int decimals = prefix == 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
	snprintf(text.s, sizeof(text.s), "%.*f %s%s", decimals, number, prefixes[prefix], unit);
	return text;
}

struct text text_bytes(uint64_t bytes)
{
	return text_scaled((double)bytes, "B");
}

struct text text_duration(double seconds)
{
	struct text text;
	if (!(seconds > 0))
		seconds = 0;
	/* Some thousands of years: past that a number of days says nothing, and the conversion could overflow. */
	if (seconds > 1e11)
		seconds = 1e11;
	uint64_t s = (uint64_t)seconds;
	uint64_t days = s / 86400;
	uint64_t hours = s / 3600 % 24;
	uint64_t minutes = s / 60 % 60;
	if (days > 0)
		snprintf(text.s, sizeof(text.s), "%" PRIu64 "d%02" PRIu64 "h", days, hours);
	else if (hours > 0)
		snprintf(text.s, sizeof(text.s), "%" PRIu64 "h%02" PRIu64 "m", hours, minutes);
	else if (minutes > 0)
		snprintf(text.s, sizeof(text.s), "%" PRIu64 "m%02" PRIu64 "s", minutes, s % 60);
	else
		snprintf(text.s, sizeof(text.s), "%" PRIu64 "s", s);
	return text;
}

struct text text_latency(uint64_t us)
{
	struct text text;
	if (us < 1000)
		snprintf(text.s, sizeof(text.s), "%" PRIu64 " us", us);
	else if (us < 1000000)
		snprintf(text.s, sizeof(text.s), "%.1f ms", (double)us / 1e3);
	else
		snprintf(text.s, sizeof(text.s), "%.2f s", (double)us / 1e6);
	return text;
}

void text_clean(char *text, bool keep_lines)
{
	for (; *text != '\0'; text++) {
		if (((unsigned char)*text < ' ' && !(keep_lines && *text == '\n')) || *text == 0x7f)
			*text = '?';
	}
}
