/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <string.h>
#include <strings.h>

static enum wh_result refuse(struct wh_message *message, const char *text)
{
	snprintf(message->text, sizeof(message->text), "%s", text);
	return WH_RESULT_USAGE;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text);
	size_t end_length = strlen(end);
	return length >= end_length && strcasecmp(text + length - end_length, end) == 0;
}

/* -D looks at the machine and captures nothing: what is about a capture has no place beside it. */
static enum wh_result check_list(const struct options *options, struct wh_message *message)
{
	static const struct {
		enum option_id id;
		const char *text;
	} strangers[] = {
		{ OPTION_PROFILE, "-D lists the adapters and captures nothing: leave out --profile, or leave out -D" },
		{ OPTION_WRITE, "-D lists the adapters and writes no file: leave out -w, or leave out -D" },
		{ OPTION_INTERFACE, "-D lists every adapter: leave out -i, or leave out -D" },
		{ OPTION_READ, "-D lists the adapters: leave out -r, or leave out -D" },
		{ OPTION_FILTER_FILE, "-D lists the adapters and needs no filter: leave out -F, or leave out -D" },
		{ OPTION_STATS_FILE, "-D captures nothing: leave out --stats-file, or leave out -D" },
		{ OPTION_CONTROL,
		  "-D captures nothing that could be controlled: leave out --control, or leave out -D" },
		{ OPTION_METRICS, "-D captures nothing: leave out --metrics, or leave out -D" },
		{ OPTION_SIMULATE, "-D captures nothing: leave out --simulate, or leave out -D" },
	};
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		if (options_given(options, strangers[i].id))
			return refuse(message, strangers[i].text);
	}
	if (options->filter != NULL)
		return refuse(message,
			      "-D lists the adapters and needs no filter: leave out the filter, or leave out -D");
	return WH_RESULT_OK;
}

static enum wh_result check_no_disk(const struct options *options, struct wh_message *message)
{
	if (options_to_standard_output(options))
		return refuse(message, "--simulate no-disk writes nothing: leave out -w -");
	if (options->config.direct_io == WH_DIRECT_IO_ON)
		return refuse(message, "--simulate no-disk writes nothing, directly or not: leave out --direct-io on");
	if (options->config.adopt_files)
		return refuse(message, "--simulate no-disk makes no files: leave out --adopt");
	if (options->config.on_low_space == WH_LOW_SPACE_RECYCLE)
		return refuse(message,
			      "--simulate no-disk has no old files to delete: leave out --on-low-space recycle");
	return WH_RESULT_OK;
}

static enum wh_result check_no_nic(const struct options *options, struct wh_message *message)
{
	static const struct {
		enum option_id id;
		const char *text;
	} strangers[] = {
		{ OPTION_INTERFACE, "--simulate no-nic makes frames up and opens no adapter: leave out -i" },
		{ OPTION_READ, "--simulate no-nic makes frames up and replays none: leave out -r" },
		{ OPTION_FILTER_FILE, "--simulate no-nic makes frames that are all alike: leave out -F" },
		{ OPTION_NO_PROMISCUOUS, "--simulate no-nic opens no adapter: leave out -p" },
		{ OPTION_DIRECTION, "--simulate no-nic makes frames that go no way to choose by: leave out -Q" },
		{ OPTION_ADOPT, "--simulate no-nic deletes no files but its own: leave out --adopt" },
		{ OPTION_FANOUT, "--simulate no-nic has no adapter for several threads: leave out --fanout" },
		{ OPTION_PER_INTERFACE, "--simulate no-nic has no adapters to tell apart: leave out --per-interface" },
	};
	if (options_to_standard_output(options))
		return refuse(message, "--simulate no-nic measures a disk: name a file there with -w");
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		if (options_given(options, strangers[i].id))
			return refuse(message, strangers[i].text);
	}
	if (options->filter != NULL)
		return refuse(message, "--simulate no-nic makes frames that are all alike: leave out the filter");
	return WH_RESULT_OK;
}

/* What a simulation leaves out has no options. */
static enum wh_result check_simulation(const struct options *options, struct wh_message *message)
{
	enum wh_simulation mode = options->config.simulate;
	if (mode == WH_SIMULATE_NOTHING)
		return WH_RESULT_OK;
	if (options_given(options, OPTION_HOOK))
		return refuse(message, "--simulate leaves no file behind for -z to work on: leave out -z");
	return mode == WH_SIMULATE_NO_DISK ? check_no_disk(options, message) : check_no_nic(options, message);
}

static enum wh_result check_input(const struct options *options, struct wh_message *message)
{
	bool interface = options_given(options, OPTION_INTERFACE);
	bool replay = options_given(options, OPTION_READ);
	if (interface && replay)
		return refuse(message, "-r replays a file and -i captures from adapters: give one of the two");
	if (replay && options->config.direction != WH_DIRECTION_BOTH)
		return refuse(message, "-r replays a file, whose frames have no direction to choose by: leave out -Q");
	if (replay && options->config.no_promiscuous)
		return refuse(message, "-r replays a file and opens no adapter: leave out -p");
	if (!interface && !replay && options->config.simulate != WH_SIMULATE_NO_NIC)
		return refuse(message,
			      "name an adapter with -i NAME, or take all that are up with -i any; -D lists them");
	if (options->filter_file != NULL && options->filter != NULL)
		return refuse(message,
			      "there is a filter in the -F file and one on the command line: give one of the two");
	if (replay && options->filter_file != NULL && strcmp(options->config.replay_file, "-") == 0 &&
	    strcmp(options->filter_file, "-") == 0)
		return refuse(message, "-r - and -F - both read standard input: give a file for one of the two");
	return WH_RESULT_OK;
}

static enum wh_result check_format(const struct options *options, struct wh_message *message)
{
	const char *output = options->config.output;
	enum wh_file_format format = options->config.format;
	if (ends_with(output, ".pcapng") && (format == WH_FORMAT_PCAP || format == WH_FORMAT_PCAP_NS))
		return refuse(message,
			      "-w says .pcapng but --format says classic pcap: name the file .pcap, or leave out "
			      "--format");
	if (ends_with(output, ".pcap") && format == WH_FORMAT_PCAPNG)
		return refuse(message,
			      "-w says .pcap but --format says pcapng: name the file .pcapng, or leave out --format");
	return WH_RESULT_OK;
}

/* Standard output is one stream without end: what makes, keeps or deletes files cannot be done with it. */
static enum wh_result check_standard_output(const struct options *options, struct wh_message *message)
{
	static const struct {
		enum option_id id;
		const char *text;
	} strangers[] = {
		{ OPTION_FILE_SIZE,
		  "-w - is one stream, which -C cannot cut into files: leave out -C, or write to a file" },
		{ OPTION_FILE_SECONDS,
		  "-w - is one stream, which -G cannot cut into files: leave out -G, or write to a file" },
		{ OPTION_KEEP_FILES,
		  "-w - is one stream, of which -W can keep no files: leave out -W, or write to a file" },
		{ OPTION_ADOPT, "-w - makes no files: leave out --adopt, or write to a file" },
		{ OPTION_HOOK, "-w - closes no files for -z to work on: leave out -z, or write to a file" },
		{ OPTION_PER_INTERFACE,
		  "-w - is one stream for all adapters: leave out --per-interface, or write to a file" },
	};
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		if (options_given(options, strangers[i].id))
			return refuse(message, strangers[i].text);
	}
	if (options->config.on_low_space == WH_LOW_SPACE_RECYCLE)
		return refuse(message,
			      "-w - has no old files to delete: leave out --on-low-space recycle, or write to a file");
	if (options->config.stop_after_files != 0)
		return refuse(message, "-w - makes no files to count: leave out -a files, or write to a file");
	return WH_RESULT_OK;
}

static enum wh_result check_output(const struct options *options, struct wh_message *message)
{
	const struct wh_config *config = &options->config;
	if (config->output == NULL && config->simulate != WH_SIMULATE_NO_DISK)
		return refuse(message,
			      "say where to write with -w PATH, such as -w trace.pcapng (-w - is standard output)");
	if (options_to_standard_output(options))
		return check_standard_output(options, message);
	if (options_given(options, OPTION_KEEP_FILES) && !options_given(options, OPTION_FILE_SIZE) &&
	    !options_given(options, OPTION_FILE_SECONDS))
		return refuse(message, "-W needs a rotation: say with -C SIZE or -G SECONDS when a new file begins");
	if (config->on_low_space == WH_LOW_SPACE_RECYCLE && config->min_free_percent <= 0)
		return refuse(message, "--on-low-space recycle needs a limit to keep to: give --min-free more than 0");
	if (config->output == NULL)
		return WH_RESULT_OK;
	if (options->stats_file != NULL && strcmp(options->stats_file, config->output) == 0)
		return refuse(message,
			      "--stats-file and -w name the same file: give the statistics a file of their own");
	return check_format(options, message);
}

enum wh_result options_check(const struct options *options, struct wh_message *message)
{
	if (options->quiet && options->verbosity > 0)
		return refuse(message, "-q asks for less to read and -v for more: give one of the two");
	if (options->command == CLI_LIST)
		return check_list(options, message);
	enum wh_result result = check_simulation(options, message);
	if (result == WH_RESULT_OK)
		result = check_input(options, message);
	if (result == WH_RESULT_OK)
		result = check_output(options, message);
	return result;
}
