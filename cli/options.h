/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line of wirehaul. One table names every option; getopt_long()'s arrays and the text of --help are both
 * made from it. Nothing here prints or ends the process: words for a person go to the caller's message.
 */
#ifndef WH_CLI_OPTIONS_H
#define WH_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <wirehaul.h>

enum cli_command { CLI_CAPTURE = 0, CLI_LIST, CLI_HELP, CLI_VERSION };

/* Every option, in the order of --help. */
enum option_id {
	OPTION_INTERFACE = 0,
	OPTION_READ,
	OPTION_FILTER_FILE,
	OPTION_SNAPSHOT_LENGTH,
	OPTION_NO_PROMISCUOUS,
	OPTION_DIRECTION,
	OPTION_WRITE,
	OPTION_FILE_SIZE,
	OPTION_FILE_SECONDS,
	OPTION_KEEP_FILES,
	OPTION_FORMAT,
	OPTION_PER_INTERFACE,
	OPTION_HOOK,
	OPTION_USER,
	OPTION_COUNT_FRAMES,
	OPTION_AUTOSTOP,
	OPTION_MIN_FREE,
	OPTION_ON_LOW_SPACE,
	OPTION_ADOPT,
	OPTION_STATS_FILE,
	OPTION_CONTROL,
	OPTION_METRICS,
	OPTION_QUIET,
	OPTION_VERBOSE,
	OPTION_RING_KIB,
	OPTION_FANOUT,
	OPTION_CPUS,
	OPTION_BLOCK_SIZE,
	OPTION_BLOCK_TIMEOUT,
	OPTION_DIRECT_IO,
	OPTION_SIMULATE,
	OPTION_PROFILE,
	OPTION_LIST_INTERFACES,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_TOTAL
};

struct profile;

/*
 * What the command line asks for. CONFIG points into argv and into the two members that are owned here, so that argv
 * and this structure must outlive the call of wh_capture_open().
 */
struct options {
	enum cli_command command;
	struct wh_config config;
	const char *stats_file;   /* borrowed from argv; NULL: none */
	const char *filter_file;  /* borrowed from argv; NULL: none */
	const char *control;      /* name or path of the control socket, borrowed likewise; NULL: none */
	const char *metrics;      /* address to tell metrics at, borrowed likewise; NULL: none */
	const char *profile_name; /* name or path of the profile, borrowed likewise; NULL: none */
	bool quiet;
	unsigned verbosity;
	uint64_t given; /* bit n: the option with id n was on the command line or in the profile */

	char **interfaces;       /* owned, and each name in it */
	char *filter;            /* owned */
	struct profile *profile; /* owned; what was taken from it points into it */
};

/*
 * Reads ARGV, of which getopt_long() may change the order. *OPTIONS need not be initialised; release it with
 * options_free() whatever the result. Returns WH_RESULT_OK, or WH_RESULT_USAGE with one line in *MESSAGE that says
 * what to do. --help and --version end the reading where they stand. Reads no file and looks at no device. Uses
 * getopt's global state: one thread at a time.
 */
WH_MUST_USE enum wh_result options_parse(int argc, char **argv, struct options *options, struct wh_message *message);

/*
 * Reads the filter of -F into OPTIONS, if there is one; "-" is standard input, and "#" begins a comment that ends
 * with its line. WH_RESULT_USAGE with *MESSAGE when that cannot be done. Blocks as long as the file does.
 */
WH_MUST_USE enum wh_result options_load_filter(struct options *options, struct wh_message *message);

/*
 * Finds what contradicts itself in options that were each read without error (in options_check.c). Called by
 * options_parse().
 */
WH_MUST_USE enum wh_result options_check(const struct options *options, struct wh_message *message);

static inline bool options_given(const struct options *options, enum option_id id)
{
	return (options->given >> id & 1) != 0;
}

/* Whether -w names standard output; it need not be given where nothing is written. */
static inline bool options_to_standard_output(const struct options *options)
{
	return options->config.output != NULL && strcmp(options->config.output, "-") == 0;
}

/* Writes the text of --help to OUT. */
void options_print_help(FILE *out);

/* Releases what OPTIONS owns. */
void options_free(struct options *options);

#endif
