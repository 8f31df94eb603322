/* SPDX-License-Identifier: BSD-3-Clause */
#include "option_word.h"

#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Whether WORD is one or more letters behind a hyphen, and LETTER is among them; where INSIDE, not as the last one. */
static bool has_letter(const char *word, int letter, bool inside)
{
	const char *at = word != NULL && word[0] == '-' && word[1] != '-' ? strchr(word + 1, letter) : NULL;
	return at != NULL && (!inside || at[1] != '\0');
}

void option_word(char **argv, char *text, size_t size)
{
	/* getopt_long() leaves a word when its last letter is read: before that, it is the next one still. Of a letter
	 * of several bytes it knows the first, as a char. */
	bool letter = optopt != 0 && optopt <= UCHAR_MAX;
	bool in_next = letter && has_letter(argv[optind], optopt, true);
	const char *word = argv[in_next ? optind : optind - 1];
	if (letter && optopt > 0 && optopt <= SCHAR_MAX && has_letter(word, optopt, false))
		snprintf(text, size, "-%c", optopt);
	else
		snprintf(text, size, "%.60s", word);
}
