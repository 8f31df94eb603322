/* SPDX-License-Identifier: BSD-3-Clause */
/* How the option that getopt_long() has just refused was typed. */
#ifndef WH_CLI_OPTION_WORD_H
#define WH_CLI_OPTION_WORD_H

#include <stddef.h>

/*
 * Puts the option of ARGV that getopt_long() has just refused into TEXT: one letter of a group as "-x", all else as the
 * word that it is, cut to 60 bytes. SIZE: of TEXT, 64 at least. Reads optind and optopt: for the thread that parses.
 */
void option_word(char **argv, char *text, size_t size);

#endif
