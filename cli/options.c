/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include "option_parsers.h"
#include "option_word.h"
#include "profile.h"
#include "text.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

/* No filter that a person or a program writes comes near this; it keeps -F from reading a device without end. */
#define FILTER_BYTES_MAX (1U << 20)

/* getopt_long() returns this plus the id for a long name, so that no letter can be taken for one. */
#define LONG_BASE 256

/* Where the explanations begin in --help. */
#define HELP_COLUMN 34

/* One option: ROW(id, long name, letter or 0, value or NULL, help, parser), in the order of enum option_id. */
#define ROW(id, long_name, short_letter, value, text, parser)                                                          \
	[id] = { .name = (long_name), .letter = (short_letter), .argument = (value), .help = (text), .parse = (parser) }
#define FIRST(title, id, long_name, short_letter, value, text, parser)                                                 \
	[id] = { .heading = (title),                                                                                   \
		 .name = (long_name),                                                                                  \
		 .letter = (short_letter),                                                                             \
		 .argument = (value),                                                                                  \
		 .help = (text),                                                                                       \
		 .parse = (parser) }

/* clang-format off */
static const struct option_row table[OPTION_TOTAL] = {
	FIRST("What to capture", OPTION_INTERFACE, "interface", 'i', "NAME[,NAME...]",
	    "capture on this adapter; may be repeated;\n'any' or '*': all that are up, and later ones",
	    parse_interface),
	ROW(OPTION_READ, "read", 'r', "FILE", "replay this capture file instead of adapters", parse_read),
	ROW(OPTION_FILTER_FILE, "filter-file", 'F', "FILE", "read the filter from FILE ('-': standard input)",
	    parse_filter_file),
	ROW(OPTION_SNAPSHOT_LENGTH, "snapshot-length", 's', "BYTES",
	    "keep at most so much of each frame (262144)", parse_snapshot_length),
	ROW(OPTION_NO_PROMISCUOUS, "no-promiscuous", 'p', NULL, "only frames meant for this machine",
	    parse_no_promiscuous),
	ROW(OPTION_DIRECTION, "direction", 'Q', "in|out|inout", "only frames that go this way (inout)",
	    parse_direction),

	FIRST("Where to write", OPTION_WRITE, "write", 'w', "PATH",
	    "trace.pcapng becomes trace_00001_DATE.pcapng, ...;\n.pcap chooses classic pcap; '-' is standard output",
	    parse_write),
	ROW(OPTION_FILE_SIZE, "file-size", 'C', "SIZE",
	    "no file grows past SIZE: millions of bytes, or\n100M, 2G, 64MiB (100M)", parse_file_size),
	ROW(OPTION_FILE_SECONDS, "file-seconds", 'G', "SECONDS", "begin a new file every so often, traffic or not",
	    parse_file_seconds),
	ROW(OPTION_KEEP_FILES, "keep-files", 'W', "N", "keep only the newest N files (needs -C or -G)",
	    parse_keep_files),
	ROW(OPTION_FORMAT, "format", 0, "FORMAT", "pcapng, pcap (microseconds) or pcap-ns; by -w's name", parse_format),
	ROW(OPTION_PER_INTERFACE, "per-interface", 0, NULL, "a chain of files for each adapter, not one for all",
	    parse_per_interface),
	ROW(OPTION_HOOK, "hook", 'z', "COMMAND", "run COMMAND FILE for each file that is closed", parse_hook),
	ROW(OPTION_USER, "user", 'Z', "USER", "give up root for USER once the adapters are open", parse_user),

	FIRST("When to stop", OPTION_COUNT_FRAMES, "count", 'c', "N", "after N frames", parse_count),
	ROW(OPTION_AUTOSTOP, "autostop", 'a', "CONDITION",
	    "duration:SECONDS, files:N or filesize:KB (1000 bytes,\nall files together); may be repeated",
	    parse_autostop),
	ROW(OPTION_MIN_FREE, "min-free", 0, "PERCENT", "before the disk has less than this free (10)", parse_min_free),
	ROW(OPTION_ON_LOW_SPACE, "on-low-space", 0, "stop|recycle",
	    "at that limit stop, or delete this capture's\noldest files and go on (stop)", parse_on_low_space),
	ROW(OPTION_ADOPT, "adopt", 0, NULL, "with -W and recycle, files that earlier captures left\nunder the same -w count too",
	    parse_adopt),

	FIRST("What to say", OPTION_STATS_FILE, "stats-file", 0, "FILE", "statistics as JSON, rewritten each second",
	    parse_stats_file),
	ROW(OPTION_CONTROL, "control", 0, "NAME|PATH",
	    "answer wirehaul status, mark, rotate and stop here;\nNAME: /run/wirehaul/NAME/control.sock", parse_control),
	ROW(OPTION_METRICS, "metrics", 0, "[HOST:]PORT", "metrics for Prometheus at http://HOST:PORT/metrics\n(127.0.0.1)",
	    parse_metrics),
	ROW(OPTION_QUIET, "quiet", 'q', NULL, "only errors and warnings: no live line, no summary", parse_quiet),
	ROW(OPTION_VERBOSE, "verbose", 'v', NULL, "say more; may be repeated", parse_verbose),

	FIRST("Tuning, each with a default that fits", OPTION_RING_KIB, "ring-kib", 'B', "KIB",
	    "ring memory for each adapter, in KiB", parse_ring_kib),
	ROW(OPTION_FANOUT, "fanout", 0, "N", "capture threads for each adapter (1)", parse_fanout),
	ROW(OPTION_CPUS, "cpus", 0, "LIST|auto|none", "CPUs for the capture threads, such as 0,2-3 (auto)", parse_cpus),
	ROW(OPTION_BLOCK_SIZE, "block-size", 0, "SIZE", "a ring block, a power of two: bytes, or 1MiB",
	    parse_block_size),
	ROW(OPTION_BLOCK_TIMEOUT, "block-timeout", 0, "MS", "hand over a block that is not full after this (100)",
	    parse_block_timeout),
	ROW(OPTION_DIRECT_IO, "direct-io", 0, "auto|on|off", "write past the page cache (auto: where it works)",
	    parse_direct_io),

	FIRST("Other", OPTION_SIMULATE, "simulate", 0, "MODE",
	    "measure with a part left out: no-disk writes nothing;\n"
	    "no-nic[:BYTES] writes made-up frames for 10 s (or -a,\n-c), and removes them again",
	    parse_simulate),
	ROW(OPTION_PROFILE, "profile", 0, "NAME|PATH",
	    "take options from /etc/wirehaul/NAME.conf or PATH, an\nINI file; the command line beats it", parse_profile),
	ROW(OPTION_LIST_INTERFACES, "list-interfaces", 'D', NULL,
	    "list the adapters and what a capture on them meets", parse_list),
	ROW(OPTION_HELP, "help", 'h', NULL, "show this text", parse_help),
	ROW(OPTION_VERSION, "version", 'V', NULL, "show the version", parse_version),
};
/* clang-format on */
_Static_assert(OPTION_TOTAL <= 64, "struct options keeps one bit for each option");

struct getopt_arrays {
	char letters[2 * OPTION_TOTAL + 2];
	struct option names[OPTION_TOTAL + 1];
};

static void make_arrays(struct getopt_arrays *arrays)
{
	size_t at = 0;
	memset(arrays, 0, sizeof(*arrays));
	/* A leading colon makes getopt tell a missing value from an unknown option. */
	arrays->letters[at++] = ':';
	for (int id = 0; id < OPTION_TOTAL; id++) {
		bool takes_value = table[id].argument != NULL;
		if (table[id].letter != '\0') {
			arrays->letters[at++] = table[id].letter;
			if (takes_value)
				arrays->letters[at++] = ':';
		}
		arrays->names[id] = (struct option){ .name = table[id].name,
						     .has_arg = takes_value ? required_argument : no_argument,
						     .val = LONG_BASE + id };
	}
}

/* The row that a value returned by getopt_long() stands for, or NULL. */
static const struct option_row *find_row(int value)
{
	if (value >= LONG_BASE && value < LONG_BASE + OPTION_TOTAL)
		return &table[value - LONG_BASE];
	for (int id = 0; value > 0 && id < OPTION_TOTAL; id++) {
		if (table[id].letter == value)
			return &table[id];
	}
	return NULL;
}

const struct option_row *option_named(const char *name, enum option_id *id)
{
	for (int i = 0; i < OPTION_TOTAL; i++) {
		if (strcmp(table[i].name, name) == 0) {
			*id = (enum option_id)i;
			return &table[i];
		}
	}
	return NULL;
}

static enum wh_result refuse_option(int found, char **argv, struct wh_message *message)
{
	const struct option_row *row = find_row(optopt);
	char word[64];
	option_word(argv, word, sizeof(word));
	if (row != NULL && found == ':')
		option_refuse(message, row, "a value is missing; give %s", row->argument);
	else if (row != NULL && optopt >= LONG_BASE)
		option_refuse(message, row, "this option takes no value; leave out what follows the '='");
	else if (optopt != 0)
		snprintf(message->text, sizeof(message->text), "there is no option %s; wirehaul --help lists them all",
			 word);
	else
		snprintf(message->text, sizeof(message->text),
			 "%s is no option, or short for more than one; wirehaul --help lists them all", word);
	return WH_RESULT_USAGE;
}

/* Joins what is left of ARGV into the filter, as tcpdump does. */
static bool join_filter(int argc, char **argv, struct options *options)
{
	size_t size = 1;
	bool blank = true;
	for (int i = optind; i < argc; i++) {
		size += strlen(argv[i]) + 1;
		blank = blank && argv[i][strspn(argv[i], " \t\r\n")] == '\0';
	}
	if (blank)
		return true;
	options->filter = malloc(size);
	if (options->filter == NULL)
		return false;
	char *at = options->filter;
	for (int i = optind; i < argc; i++) {
		at = stpcpy(at, argv[i]);
		if (i + 1 < argc)
			*at++ = ' ';
	}
	*at = '\0';
	return true;
}

/* "any" takes in every other name: with both, an adapter would be captured twice. */
static void merge_any(struct options *options)
{
	for (size_t i = 0; i < options->config.interface_count; i++) {
		if (strcmp(options->interfaces[i], "any") != 0)
			continue;
		char *any = options->interfaces[i];
		options->interfaces[i] = options->interfaces[0];
		options->interfaces[0] = any;
		while (options->config.interface_count > 1)
			free(options->interfaces[--options->config.interface_count]);
		return;
	}
}

static enum wh_result read_options(int argc, char **argv, struct options *options, struct wh_message *message)
{
	struct getopt_arrays arrays;
	make_arrays(&arrays);
	/* 0, not 1: this makes getopt forget all that it remembers of an earlier command line. */
	optind = 0;
	opterr = 0;
	for (;;) {
		int found = getopt_long(argc, argv, arrays.letters, arrays.names, NULL);
		if (found == -1)
			return WH_RESULT_OK;
		const struct option_row *row = find_row(found);
		if (row == NULL)
			return refuse_option(found, argv, message);
		if (!row->parse(options, row, optarg, message))
			return WH_RESULT_USAGE;
		options->given |= 1ULL << (row - table);
		if (options->command == CLI_HELP || options->command == CLI_VERSION)
			return WH_RESULT_OK;
	}
}

static bool has_words(int argc, char **argv)
{
	for (int i = optind; i < argc; i++) {
		if (argv[i][strspn(argv[i], " \t\r\n")] != '\0')
			return true;
	}
	return false;
}

/* Begins again with what the profile says, and reads the command line once more over it, which so beats it. */
static enum wh_result read_with_profile(int argc, char **argv, struct options *options, struct wh_message *message)
{
	struct profile *profile = NULL;
	uint64_t given = options->given;
	bool filtered = has_words(argc, argv);
	enum wh_result result = profile_read(options->profile_name, &profile, message);
	if (result != WH_RESULT_OK)
		return result;
	options_free(options);
	wh_config_init(&options->config);
	options->profile = profile;
	result = profile_apply(profile, given, filtered, options, message);
	return result == WH_RESULT_OK ? read_options(argc, argv, options, message) : result;
}

static enum wh_result parse_all(int argc, char **argv, struct options *options, struct wh_message *message)
{
	memset(options, 0, sizeof(*options));
	message->text[0] = '\0';
	wh_config_init(&options->config);
	enum wh_result result = read_options(argc, argv, options, message);
	if (result != WH_RESULT_OK || options->command == CLI_HELP || options->command == CLI_VERSION)
		return result;
	if (options->profile_name != NULL)
		result = read_with_profile(argc, argv, options, message);
	if (result != WH_RESULT_OK)
		return result;
	if (!join_filter(argc, argv, options)) {
		snprintf(message->text, sizeof(message->text), "there is no memory left for the filter");
		return WH_RESULT_USAGE;
	}
	merge_any(options);
	options->config.interfaces = (const char *const *)options->interfaces;
	options->config.filter = options->filter;
	return options_check(options, message);
}

enum wh_result options_parse(int argc, char **argv, struct options *options, struct wh_message *message)
{
	enum wh_result result = parse_all(argc, argv, options, message);
	/* What was typed is repeated in messages: whatever it holds, the message stays one line. */
	text_clean(message->text, false);
	return result;
}

/* Blanks out comments, which libpcap does not know. */
static void drop_comments(char *text)
{
	bool comment = false;
	for (; *text != '\0'; text++) {
		if (*text == '#')
			comment = true;
		else if (*text == '\n')
			comment = false;
		if (comment)
			*text = ' ';
	}
}

static enum wh_result read_filter(FILE *file, struct options *options, struct wh_message *message)
{
	const char *name = options->filter_file;
	char *text = malloc(FILTER_BYTES_MAX + 1);
	if (text == NULL) {
		snprintf(message->text, sizeof(message->text), "there is no memory left for the filter");
		return WH_RESULT_USAGE;
	}
	size_t length = fread(text, 1, FILTER_BYTES_MAX + 1, file);
	if (ferror(file) != 0) {
		snprintf(message->text, sizeof(message->text), "-F: cannot read %s: %s", name, strerror(errno));
	} else if (length > FILTER_BYTES_MAX) {
		snprintf(message->text, sizeof(message->text),
			 "-F: %s is larger than 1 MiB; give a text file that holds only a filter", name);
	} else if (memchr(text, '\0', length) != NULL) {
		snprintf(message->text, sizeof(message->text),
			 "-F: %s is not a text file; give one that holds a filter", name);
	} else {
		text[length] = '\0';
		drop_comments(text);
		free(options->filter);
		options->filter = text;
		options->config.filter = text[strspn(text, " \t\r\n")] == '\0' ? NULL : text;
		return WH_RESULT_OK;
	}
	free(text);
	return WH_RESULT_USAGE;
}

enum wh_result options_load_filter(struct options *options, struct wh_message *message)
{
	const char *name = options->filter_file;
	if (name == NULL)
		return WH_RESULT_OK;
	if (strcmp(name, "-") == 0)
		return read_filter(stdin, options, message);
	FILE *file = fopen(name, "re");
	if (file == NULL) {
		snprintf(message->text, sizeof(message->text), "-F: cannot open %s: %s", name, strerror(errno));
		return WH_RESULT_USAGE;
	}
	enum wh_result result = read_filter(file, options, message);
	fclose(file);
	return result;
}

static void print_row(FILE *out, const struct option_row *row)
{
	int column = row->letter != '\0' ? fprintf(out, "  -%c, --%s", row->letter, row->name)
					 : fprintf(out, "      --%s", row->name);
	if (row->argument != NULL)
		column += fprintf(out, " %s", row->argument);
	if (column > HELP_COLUMN - 2) {
		fputc('\n', out);
		column = 0;
	}
	fprintf(out, "%*s", HELP_COLUMN - column, "");
	for (const char *at = row->help; *at != '\0'; at++) {
		fputc(*at, out);
		if (*at == '\n')
			fprintf(out, "%*s", HELP_COLUMN, "");
	}
	fputc('\n', out);
}

void options_print_help(FILE *out)
{
	fputs("wirehaul records network traffic to disk and loses nothing that it does not admit to.\n\n"
	      "usage: wirehaul -i NAME -w PATH [options] [filter]\n"
	      "       wirehaul -D\n"
	      "       wirehaul status|mark|rotate|stop [--control NAME|PATH]\n"
	      "       wirehaul verify|repair FILE...\n"
	      "       wirehaul doctor [-i NAME] [-w DIRECTORY]\n\n"
	      "The filter is libpcap's language, as in tcpdump: tcp port 443 and not net 10.0.0.0/8\n",
	      out);
	for (int id = 0; id < OPTION_TOTAL; id++) {
		if (table[id].heading != NULL)
			fprintf(out, "\n%s:\n", table[id].heading);
		print_row(out, &table[id]);
	}
	fputs("\nSignals: SIGINT, SIGTERM and SIGQUIT stop, SIGUSR1 shows statistics, SIGHUP begins\n"
	      "a new file. Exit status: 0 stopped as asked; 2 wrong usage, or could not start;\n"
	      "3 stopped by the free-space limit; 4 stopped by an error, what was captured is kept.\n",
	      out);
}

void options_free(struct options *options)
{
	for (size_t i = 0; i < options->config.interface_count; i++)
		free(options->interfaces[i]);
	free((void *)options->interfaces);
	free(options->filter);
	profile_free(options->profile);
	memset(options, 0, sizeof(*options));
}
