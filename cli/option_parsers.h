/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each option does with its value. The table in options.c says which parser belongs to which option; nobody
 * else calls them.
 */
#ifndef WH_CLI_OPTION_PARSERS_H
#define WH_CLI_OPTION_PARSERS_H

#include "options.h"

struct option_row;

/*
 * Takes VALUE, which is NULL for an option without one, into OPTIONS. Returns false with one line in *MESSAGE when
 * VALUE cannot be what it should be.
 */
typedef bool option_parser(struct options *options, const struct option_row *row, const char *value,
			   struct wh_message *message);

struct option_row {
	const char *heading;  /* printed above this option by --help, or NULL */
	const char *name;     /* the long name, without its dashes */
	char letter;          /* the short name, or '\0' */
	const char *argument; /* what --help calls the value, or NULL for an option without one */
	const char *help;     /* lines separated by \n */
	option_parser *parse;
};

/* Fills *MESSAGE with "OPTION: " and the formatted words; returns false, for a parser to return in turn. */
__attribute__((format(printf, 3, 4))) bool option_refuse(struct wh_message *message, const struct option_row *row,
							 const char *format, ...);

option_parser parse_interface, parse_read, parse_filter_file, parse_snapshot_length, parse_no_promiscuous, parse_adopt;
option_parser parse_direction, parse_write, parse_file_size, parse_file_seconds, parse_keep_files, parse_format;
option_parser parse_per_interface, parse_hook, parse_user, parse_count, parse_autostop, parse_min_free;
option_parser parse_on_low_space, parse_stats_file, parse_control, parse_metrics, parse_quiet, parse_verbose,
    parse_ring_kib, parse_fanout;
option_parser parse_cpus, parse_block_size, parse_block_timeout, parse_direct_io, parse_simulate, parse_list;
option_parser parse_help, parse_version, parse_profile;

/* The option with this long NAME, which must be whole, and its *ID; NULL where there is none. (In options.c.) */
const struct option_row *option_named(const char *name, enum option_id *id);

#endif
