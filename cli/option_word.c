/* SPDX-License-Identifier: BSD-3-Clause */
#include "option_word.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Whether WORD is one or more letters behind a hyphen, and LETTER is among them. */
static bool has_letter(const char *word, int letter)
{
	return word != NULL && word[0] == '-' && word[1] != '-' && strchr(word + 1, letter) != NULL;
}

void option_word(char **argv, char *text, size_t size)
{
	/* getopt_long() leaves a word when its last letter is read: before that, it is the next one still. */
	if (optopt > 0 && optopt <= 255 && (has_letter(argv[optind - 1], optopt) || has_letter(argv[optind], optopt)))
		snprintf(text, size, "-%c", optopt);
	else
		snprintf(text, size, "%.60s", argv[optind - 1]);
}
