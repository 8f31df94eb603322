/* SPDX-License-Identifier: BSD-3-Clause */
#include "option_parsers.h"

#include "values.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SNAPSHOT_MAX      262144
#define RING_KIB_MAX      (1ULL << 30) /* 1 TiB: beyond any machine, and far from what 64 bits hold in bytes */
#define BLOCK_BYTES_MIN   4096         /* a page */
#define BLOCK_BYTES_MAX   (1ULL << 30)
#define BLOCK_TIMEOUT_MAX 60000
#define FANOUT_MAX        256
#define SIMULATED_MIN     14 /* an Ethernet header */
#define SIMULATED_MAX     65535
#define MEGABYTE          1000000

/* How much of a wrong value is repeated in a message: enough to recognise it. */
#define SHOWN "%.60s"

bool option_refuse(struct wh_message *message, const struct option_row *row, const char *format, ...)
{
	int length = row->letter != '\0' ? snprintf(message->text, sizeof(message->text), "-%c: ", row->letter)
					 : snprintf(message->text, sizeof(message->text), "--%s: ", row->name);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message->text + length, sizeof(message->text) - (size_t)length, format, arguments);
	va_end(arguments);
	return false;
}

static bool take_number(const struct option_row *row, const char *value, uint64_t min, uint64_t max, uint64_t *out,
			struct wh_message *message)
{
	if (value_number(value, min, max, out))
		return true;
	if (max == UINT64_MAX)
		return option_refuse(message, row, "give a whole number of at least %" PRIu64 ", not '" SHOWN "'", min,
				     value);
	return option_refuse(message, row, "give a whole number from %" PRIu64 " to %" PRIu64 ", not '" SHOWN "'", min,
			     max, value);
}

static bool take_number32(const struct option_row *row, const char *value, uint32_t min, uint32_t max, uint32_t *out,
			  struct wh_message *message)
{
	uint64_t number = 0;
	if (!take_number(row, value, min, max, &number, message))
		return false;
	*out = (uint32_t)number;
	return true;
}

/*
 * Takes a text that may not be empty. One that begins with a dash is nearly always the next option, taken for the
 * value because the value was forgotten; HINT says what to write if it is meant.
 */
static bool take_text(const struct option_row *row, const char *value, const char *hint, const char **out,
		      struct wh_message *message)
{
	if (value[0] == '\0')
		return option_refuse(message, row, "the value is empty; give %s", row->argument);
	if (value[0] == '-' && value[1] != '\0')
		return option_refuse(message, row, "give %s first; '" SHOWN "' looks like an option%s", row->argument,
				     value, hint);
	*out = value;
	return true;
}

static bool take_path(const struct option_row *row, const char *value, const char **out, struct wh_message *message)
{
	if (!take_text(row, value, " (for a file of that name, write ./ before it)", out, message))
		return false;
	if (value[strlen(value) - 1] == '/')
		return option_refuse(message, row, "'" SHOWN "' is a directory; add the name of a file", value);
	return true;
}

static bool add_interface(struct options *options, const char *name, size_t length)
{
	/* Both names of "every adapter" are kept as one, so that they are seen to be the same. */
	if (length == 1 && name[0] == '*') {
		name = "any";
		length = 3;
	}
	for (size_t i = 0; i < options->config.interface_count; i++) {
		if (strlen(options->interfaces[i]) == length && memcmp(options->interfaces[i], name, length) == 0)
			return true;
	}
	char **list = realloc(options->interfaces, (options->config.interface_count + 1) * sizeof(*list));
	if (list == NULL)
		return false;
	options->interfaces = list;
	char *copy = strndup(name, length);
	if (copy == NULL)
		return false;
	list[options->config.interface_count++] = copy;
	return true;
}

bool parse_interface(struct options *options, const struct option_row *row, const char *value,
		     struct wh_message *message)
{
	if (!take_text(row, value, "", &value, message))
		return false;
	for (;;) {
		size_t length = strcspn(value, ",");
		if (length == 0)
			return option_refuse(message, row, "there is an empty name in the list; write it as eth0,eth1");
		if (!add_interface(options, value, length))
			return option_refuse(message, row, "there is no memory left for the list of adapters");
		if (value[length] == '\0')
			return true;
		value += length + 1;
	}
}

bool parse_read(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	return take_path(row, value, &options->config.replay_file, message);
}

bool parse_filter_file(struct options *options, const struct option_row *row, const char *value,
		       struct wh_message *message)
{
	return take_path(row, value, &options->filter_file, message);
}

bool parse_snapshot_length(struct options *options, const struct option_row *row, const char *value,
			   struct wh_message *message)
{
	uint32_t length = 0;
	if (!take_number32(row, value, 0, SNAPSHOT_MAX, &length, message))
		return false;
	/* As in tcpdump, 0 asks for the whole of each frame. */
	options->config.snapshot_length = length == 0 ? SNAPSHOT_MAX : length;
	return true;
}

bool parse_no_promiscuous(struct options *options, const struct option_row *row, const char *value,
			  struct wh_message *message)
{
	(void)row, (void)value, (void)message;
	options->config.no_promiscuous = true;
	return true;
}

bool parse_adopt(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	(void)row, (void)value, (void)message;
	options->config.adopt_files = true;
	return true;
}

bool parse_direction(struct options *options, const struct option_row *row, const char *value,
		     struct wh_message *message)
{
	if (strcmp(value, "in") == 0)
		options->config.direction = WH_DIRECTION_IN;
	else if (strcmp(value, "out") == 0)
		options->config.direction = WH_DIRECTION_OUT;
	else if (strcmp(value, "inout") == 0)
		options->config.direction = WH_DIRECTION_BOTH;
	else
		return option_refuse(message, row, "give in, out or inout, not '" SHOWN "'", value);
	return true;
}

bool parse_write(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	return take_path(row, value, &options->config.output, message);
}

bool parse_file_size(struct options *options, const struct option_row *row, const char *value,
		     struct wh_message *message)
{
	if (value_size(value, MEGABYTE, &options->config.file_bytes))
		return true;
	return option_refuse(
	    message, row,
	    "give a size above 0, in millions of bytes or with a unit, such as 100, 500M, 2G or 64MiB, "
	    "not '" SHOWN "'",
	    value);
}

bool parse_file_seconds(struct options *options, const struct option_row *row, const char *value,
			struct wh_message *message)
{
	return take_number32(row, value, 1, UINT32_MAX, &options->config.file_seconds, message);
}

bool parse_keep_files(struct options *options, const struct option_row *row, const char *value,
		      struct wh_message *message)
{
	return take_number32(row, value, 1, UINT32_MAX, &options->config.keep_files, message);
}

bool parse_format(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	if (strcmp(value, "pcapng") == 0)
		options->config.format = WH_FORMAT_PCAPNG;
	else if (strcmp(value, "pcap") == 0 || strcmp(value, "pcap-us") == 0)
		options->config.format = WH_FORMAT_PCAP;
	else if (strcmp(value, "pcap-ns") == 0)
		options->config.format = WH_FORMAT_PCAP_NS;
	else
		return option_refuse(message, row, "give pcapng, pcap or pcap-ns, not '" SHOWN "'", value);
	return true;
}

bool parse_per_interface(struct options *options, const struct option_row *row, const char *value,
			 struct wh_message *message)
{
	(void)row, (void)value, (void)message;
	options->config.per_interface = true;
	return true;
}

bool parse_hook(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	return take_text(row, value, "", &options->config.hook_command, message);
}

bool parse_user(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	return take_text(row, value, "", &options->config.drop_to_user, message);
}

bool parse_count(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	return take_number(row, value, 1, UINT64_MAX, &options->config.stop_after_frames, message);
}

bool parse_autostop(struct options *options, const struct option_row *row, const char *value,
		    struct wh_message *message)
{
	struct wh_config *config = &options->config;
	uint64_t number = 0;
	if (strncmp(value, "duration:", 9) == 0 && value_number(value + 9, 1, UINT32_MAX, &number)) {
		config->stop_after_seconds = (uint32_t)number;
		return true;
	}
	if (strncmp(value, "files:", 6) == 0 && value_number(value + 6, 1, UINT32_MAX, &number)) {
		config->stop_after_files = (uint32_t)number;
		return true;
	}
	/* dumpcap counts these in thousands of bytes. */
	if (strncmp(value, "filesize:", 9) == 0 && value_number(value + 9, 1, (uint64_t)INT64_MAX / 1000, &number)) {
		config->stop_after_bytes = number * 1000;
		return true;
	}
	return option_refuse(
	    message, row,
	    "give duration:SECONDS, files:NUMBER or filesize:KB, with a whole number above 0, not '" SHOWN
	    "' (for a number of frames, use -c)",
	    value);
}

bool parse_min_free(struct options *options, const struct option_row *row, const char *value,
		    struct wh_message *message)
{
	if (value_percent(value, &options->config.min_free_percent))
		return true;
	return option_refuse(message, row, "give a percentage from 0 to 99.9, such as 10 or 10%%, not '" SHOWN "'",
			     value);
}

bool parse_on_low_space(struct options *options, const struct option_row *row, const char *value,
			struct wh_message *message)
{
	if (strcmp(value, "stop") == 0)
		options->config.on_low_space = WH_LOW_SPACE_STOP;
	else if (strcmp(value, "recycle") == 0)
		options->config.on_low_space = WH_LOW_SPACE_RECYCLE;
	else
		return option_refuse(message, row, "give stop or recycle, not '" SHOWN "'", value);
	return true;
}

bool parse_stats_file(struct options *options, const struct option_row *row, const char *value,
		      struct wh_message *message)
{
	if (strcmp(value, "-") == 0)
		return option_refuse(message, row,
				     "the statistics need a file, because they are written anew each second");
	return take_path(row, value, &options->stats_file, message);
}

bool parse_control(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	return take_path(row, value, &options->control, message);
}

bool parse_metrics(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	return take_text(row, value, "", &options->metrics, message);
}

bool parse_quiet(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	(void)row, (void)value, (void)message;
	options->quiet = true;
	return true;
}

bool parse_verbose(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	(void)row, (void)value, (void)message;
	options->verbosity++;
	return true;
}

bool parse_ring_kib(struct options *options, const struct option_row *row, const char *value,
		    struct wh_message *message)
{
	uint64_t kib = 0;
	if (!value_number(value, 1, RING_KIB_MAX, &kib))
		return option_refuse(
		    message, row,
		    "give the ring's size in KiB, a whole number such as 65536 for 64 MiB, not '" SHOWN "'", value);
	options->config.ring_bytes = kib * 1024;
	return true;
}

bool parse_fanout(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	return take_number32(row, value, 1, FANOUT_MAX, &options->config.fanout, message);
}

bool parse_cpus(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	options->config.cpu_list = NULL;
	if (strcmp(value, "auto") == 0) {
		options->config.cpus = WH_CPUS_AUTO;
	} else if (strcmp(value, "none") == 0) {
		options->config.cpus = WH_CPUS_NONE;
	} else if (value_is_cpu_list(value)) {
		options->config.cpus = WH_CPUS_LIST;
		options->config.cpu_list = value;
	} else {
		return option_refuse(message, row, "give auto, none, or a list of CPUs such as 0,2-3, not '" SHOWN "'",
				     value);
	}
	return true;
}

bool parse_block_size(struct options *options, const struct option_row *row, const char *value,
		      struct wh_message *message)
{
	uint64_t bytes = 0;
	if (!value_size(value, 1, &bytes) || bytes < BLOCK_BYTES_MIN || bytes > BLOCK_BYTES_MAX ||
	    (bytes & (bytes - 1)) != 0)
		return option_refuse(message, row,
				     "give a power of two from 4KiB to 1GiB, such as 1MiB or 1048576, not '" SHOWN "'",
				     value);
	options->config.block_bytes = (uint32_t)bytes;
	return true;
}

bool parse_block_timeout(struct options *options, const struct option_row *row, const char *value,
			 struct wh_message *message)
{
	return take_number32(row, value, 1, BLOCK_TIMEOUT_MAX, &options->config.block_timeout_ms, message);
}

bool parse_direct_io(struct options *options, const struct option_row *row, const char *value,
		     struct wh_message *message)
{
	if (strcmp(value, "auto") == 0)
		options->config.direct_io = WH_DIRECT_IO_AUTO;
	else if (strcmp(value, "on") == 0)
		options->config.direct_io = WH_DIRECT_IO_ON;
	else if (strcmp(value, "off") == 0)
		options->config.direct_io = WH_DIRECT_IO_OFF;
	else
		return option_refuse(message, row, "give auto, on or off, not '" SHOWN "'", value);
	return true;
}

bool parse_simulate(struct options *options, const struct option_row *row, const char *value,
		    struct wh_message *message)
{
	struct wh_config *config = &options->config;
	/* Of two, the last one counts: the size of the first must not be left. */
	struct wh_config defaults;
	wh_config_init(&defaults);
	uint64_t bytes = defaults.simulated_frame_bytes;
	if (strcmp(value, wh_simulation_name(WH_SIMULATE_NO_DISK)) == 0) {
		config->simulate = WH_SIMULATE_NO_DISK;
		config->simulated_frame_bytes = defaults.simulated_frame_bytes;
		return true;
	}
	const char *no_nic = wh_simulation_name(WH_SIMULATE_NO_NIC);
	size_t length = strlen(no_nic);
	bool known = strncmp(value, no_nic, length) == 0 && (value[length] == '\0' || value[length] == ':');
	if (!known)
		return option_refuse(message, row, "give no-disk, no-nic or no-nic:BYTES, not '" SHOWN "'", value);
	if (value[length] == ':' && !value_number(value + length + 1, SIMULATED_MIN, SIMULATED_MAX, &bytes))
		return option_refuse(message, row,
				     "give the made-up frames a size from %d to %d bytes, such as no-nic:1414, "
				     "not '" SHOWN "'",
				     SIMULATED_MIN, SIMULATED_MAX, value);
	config->simulate = WH_SIMULATE_NO_NIC;
	config->simulated_frame_bytes = (uint32_t)bytes;
	return true;
}

bool parse_profile(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	return take_path(row, value, &options->profile_name, message);
}

bool parse_list(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	(void)row, (void)value, (void)message;
	options->command = CLI_LIST;
	return true;
}

bool parse_help(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	(void)row, (void)value, (void)message;
	options->command = CLI_HELP;
	return true;
}

bool parse_version(struct options *options, const struct option_row *row, const char *value, struct wh_message *message)
{
	(void)row, (void)value, (void)message;
	options->command = CLI_VERSION;
	return true;
}
