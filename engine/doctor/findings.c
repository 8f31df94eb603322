/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/doctor/state.h"

static struct wh_finding *finding_new(struct wh_findings *findings)
{
	if (findings->count == findings->capacity) {
		size_t capacity = findings->capacity == 0 ? 64 : 2 * findings->capacity;
		struct wh_finding *items = realloc(findings->items, capacity * sizeof(*items));
		if (items == NULL) {
			findings->failed = true;
			return NULL;
		}
		findings->items = items;
		findings->capacity = capacity;
	}
	struct wh_finding *made = &findings->items[findings->count++];
	*made = (struct wh_finding){ 0 };
	return made;
}

void wh_finding_add(struct wh_findings *findings, enum wh_finding_kind kind, const char *of, const char *what,
		    const char *format, ...)
{
	struct wh_finding *made = finding_new(findings);
	if (made == NULL)
		return;
	made->kind = kind;
	snprintf(made->subject, sizeof(made->subject), "%s: %s", of, what);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(made->text, sizeof(made->text), format, arguments);
	va_end(arguments);
}

void wh_finding_mend(struct wh_findings *findings, const char *format, ...)
{
	if (findings->failed || findings->count == 0)
		return;
	struct wh_finding *last = &findings->items[findings->count - 1];
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(last->remedy, sizeof(last->remedy), format, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= sizeof(last->remedy))
		last->remedy[0] = '\0';
}

/* What means nothing to a shell, wherever it stands in a word. A '~' or '=' at the front of one might. */
static bool is_plain(char letter)
{
	return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
	       (letter >= '0' && letter <= '9') || (letter != '\0' && strchr("_-./:@%+,", letter) != NULL);
}

static bool quote(const char *text, char *word, size_t bytes)
{
	size_t at = 0;
	word[at++] = '\'';
	for (; *text != '\0'; text++) {
		const char *piece = *text == '\'' ? "'\\''" : NULL;
		size_t length = piece != NULL ? strlen(piece) : 1;
		if (at + length + 2 > bytes)
			return false;
		memcpy(word + at, piece != NULL ? piece : text, length);
		at += length;
	}
	word[at++] = '\'';
	word[at] = '\0';
	return true;
}

bool wh_shell_word(const char *text, char *word, size_t bytes)
{
	bool plain = text[0] != '\0';
	word[0] = '\0';
	for (const char *at = text; *at != '\0'; at++) {
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			return false;
		plain = plain && is_plain(*at);
	}
	size_t length = strlen(text);
	if (plain && length < bytes) {
		memcpy(word, text, length + 1);
		return true;
	}
	if (length + 3 <= bytes && quote(text, word, bytes))
		return true;
	word[0] = '\0';
	return false;
}

struct wh_words wh_words_count(uint64_t number)
{
	struct wh_words words;
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, number);
	size_t out = 0;
	for (int i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			words.s[out++] = ',';
		words.s[out++] = digits[i];
	}
	words.s[out] = '\0';
	return words;
}

struct wh_words wh_words_memory(uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	struct wh_words words;
	double number = (double)bytes / 1024;
	size_t unit = 0;
	while (number >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		number /= 1024;
		unit++;
	}
	snprintf(words.s, sizeof(words.s), "%.*f %s", number >= 10 ? 0 : 1, number, units[unit]);
	return words;
}

struct wh_words wh_words_scaled(double number, const char *unit)
{
	static const char *const prefixes[] = { "", "k", "M", "G", "T", "P", "E" };
	struct wh_words words;
	size_t prefix = 0;
	if (!(number > 0))
		number = 0;
	while (number >= 999.5 && prefix + 1 < sizeof(prefixes) / sizeof(prefixes[0])) {
		number /= 1000;
		prefix++;
	}
	int decimals = prefix == 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
	snprintf(words.s, sizeof(words.s), "%.*f %s%s", decimals, number, prefixes[prefix], unit);
	return words;
}

struct wh_words wh_words_duration(double seconds)
{
	struct wh_words words;
	if (!(seconds > 0))
		seconds = 0;
	if (seconds < 0.001)
		snprintf(words.s, sizeof(words.s), "%.0f us", seconds * 1e6);
	else if (seconds < 0.1)
		snprintf(words.s, sizeof(words.s), "%.1f ms", seconds * 1e3);
	else if (seconds < 100)
		snprintf(words.s, sizeof(words.s), "%.*f s", seconds < 10 ? 2 : 0, seconds);
	else if (seconds < 100.0 * 60)
		snprintf(words.s, sizeof(words.s), "%.0f min", seconds / 60);
	else if (seconds < 48.0 * 3600)
		snprintf(words.s, sizeof(words.s), "%.0f h", seconds / 3600);
	else if (seconds < 1000.0 * 86400)
		snprintf(words.s, sizeof(words.s), "%.0f days", seconds / 86400);
	else
		snprintf(words.s, sizeof(words.s), "years");
	return words;
}
