/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line: every option with good and bad values, sizes and numbers at their limits, contradictions. */
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "option_word.h"
#include "options.h"
#include "values.h"

#define WORDS_MAX      32
#define LINE_MAX_BYTES 1024

/* A command line cut up at blanks, kept for as long as the options that point into it. */
struct line {
	char text[LINE_MAX_BYTES];
	char *words[WORDS_MAX + 1];
	int count;
	struct options options;
	struct wh_message message;
};

/* LINE is cut at blanks; "''" stands for an empty word. */
static enum wh_result parse(struct line *line, const char *text)
{
	memset(line, 0, sizeof(*line));
	assert_true(strlen(text) < sizeof(line->text) - sizeof("wirehaul "));
	snprintf(line->text, sizeof(line->text), "wirehaul %s", text);
	char *rest = NULL;
	for (char *word = strtok_r(line->text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		assert_true(line->count < WORDS_MAX);
		if (strcmp(word, "''") == 0)
			*word = '\0';
		line->words[line->count++] = word;
	}
	return options_parse(line->count, line->words, &line->options, &line->message);
}

static void parse_good(struct line *line, const char *text)
{
	if (parse(line, text) != WH_RESULT_OK)
		fail_msg("'%s' was refused: %s", text, line->message.text);
	assert_string_equal(line->message.text, "");
}

/* TEXT must be refused with one line that holds PART. */
static void check_bad(const char *text, const char *part)
{
	struct line line;
	enum wh_result result = parse(&line, text);
	if (result != WH_RESULT_USAGE)
		fail_msg("'%s' was accepted", text);
	if (strstr(line.message.text, part) == NULL)
		fail_msg("'%s': the message \"%s\" does not say \"%s\"", text, line.message.text, part);
	assert_null(strchr(line.message.text, '\n'));
	options_free(&line.options);
}

#define BASE "-i eth0 -w x.pcapng "

/* An address is no path, whatever it ends with: what is wrong with it, the server knows. */
static void test_metrics(void **state)
{
	(void)state;
	struct line line;
	parse_good(&line, BASE "--metrics 127.0.0.1:9817/");
	assert_string_equal(line.options.metrics, "127.0.0.1:9817/");
	options_free(&line.options);
}

static void test_defaults(void **state)
{
	(void)state;
	struct line line;
	parse_good(&line, "-i eth0 -w x.pcapng");
	const struct wh_config *config = &line.options.config;
	assert_int_equal(line.options.command, CLI_CAPTURE);
	assert_int_equal(config->interface_count, 1);
	assert_string_equal(config->interfaces[0], "eth0");
	assert_string_equal(config->output, "x.pcapng");
	assert_null(config->filter);
	assert_null(config->replay_file);
	assert_int_equal(config->file_bytes, 100000000);
	assert_int_equal(config->format, WH_FORMAT_AUTO);
	assert_true(config->min_free_percent == 10);
	assert_false(line.options.quiet);
	assert_int_equal(line.options.verbosity, 0);
	assert_null(line.options.stats_file);
	options_free(&line.options);
}

static void test_every_option_short(void **state)
{
	(void)state;
	struct line line;
	parse_good(&line, "-i eth0 -w x.pcapng -C 5 -G 60 -W 3 -s 96 -B 65536 -p -Q in -c 1000 -Z nobody -z gzip -vv "
			  "-a duration:7 -a files:8 -a filesize:9");
	const struct wh_config *config = &line.options.config;
	assert_int_equal(config->file_bytes, 5000000);
	assert_int_equal(config->file_seconds, 60);
	assert_int_equal(config->keep_files, 3);
	assert_int_equal(config->snapshot_length, 96);
	assert_int_equal(config->ring_bytes, 64 << 20);
	assert_true(config->no_promiscuous);
	assert_int_equal(config->direction, WH_DIRECTION_IN);
	assert_int_equal(config->stop_after_frames, 1000);
	assert_string_equal(config->drop_to_user, "nobody");
	assert_string_equal(config->hook_command, "gzip");
	assert_int_equal(config->stop_after_seconds, 7);
	assert_int_equal(config->stop_after_files, 8);
	assert_int_equal(config->stop_after_bytes, 9000);
	assert_int_equal(line.options.verbosity, 2);
	options_free(&line.options);
}

static void test_every_option_long(void **state)
{
	(void)state;
	struct line line;
	parse_good(&line,
		   "--interface=eth0 --write x --file-size 5 --file-seconds 60 --keep-files 3 --snapshot-length 96 "
		   "--ring-kib 1 --no-promiscuous --direction out --count 2 --user nobody --hook gzip --quiet "
		   "--autostop files:8");
	const struct wh_config *config = &line.options.config;
	assert_int_equal(config->file_bytes, 5000000);
	assert_int_equal(config->file_seconds, 60);
	assert_int_equal(config->keep_files, 3);
	assert_int_equal(config->snapshot_length, 96);
	assert_int_equal(config->ring_bytes, 1024);
	assert_true(config->no_promiscuous);
	assert_int_equal(config->direction, WH_DIRECTION_OUT);
	assert_int_equal(config->stop_after_frames, 2);
	assert_string_equal(config->drop_to_user, "nobody");
	assert_string_equal(config->hook_command, "gzip");
	assert_int_equal(config->stop_after_files, 8);
	assert_true(line.options.quiet);
	options_free(&line.options);

	parse_good(
	    &line,
	    "-i eth0 -w x --min-free 12.5% --on-low-space recycle --adopt --format pcap-ns --per-interface --fanout 4 "
	    "--cpus 0,2-3 --block-size 1MiB --block-timeout 20 --direct-io off --stats-file s.json "
	    "--filter-file f --verbose");
	assert_true(config->min_free_percent == 12.5);
	assert_int_equal(config->on_low_space, WH_LOW_SPACE_RECYCLE);
	assert_true(config->adopt_files);
	assert_int_equal(config->format, WH_FORMAT_PCAP_NS);
	assert_true(config->per_interface);
	assert_int_equal(config->fanout, 4);
	assert_int_equal(config->cpus, WH_CPUS_LIST);
	assert_string_equal(config->cpu_list, "0,2-3");
	assert_int_equal(config->block_bytes, 1 << 20);
	assert_int_equal(config->block_timeout_ms, 20);
	assert_int_equal(config->direct_io, WH_DIRECT_IO_OFF);
	assert_string_equal(line.options.stats_file, "s.json");
	assert_string_equal(line.options.filter_file, "f");
	assert_int_equal(line.options.verbosity, 1);
	options_free(&line.options);

	parse_good(&line, "--read in.pcap --write out.pcapng");
	assert_string_equal(config->replay_file, "in.pcap");
	assert_int_equal(config->interface_count, 0);
	options_free(&line.options);
}

static void test_choices(void **state)
{
	(void)state;
	struct line line;
	const struct wh_config *config = &line.options.config;
	static const struct {
		const char *text;
		enum wh_file_format format;
	} formats[] = {
		{ "--format pcapng", WH_FORMAT_PCAPNG },
		{ "--format pcap", WH_FORMAT_PCAP },
		{ "--format pcap-us", WH_FORMAT_PCAP },
		{ "--format pcap-ns", WH_FORMAT_PCAP_NS },
	};
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		char text[128];
		snprintf(text, sizeof(text), "-i eth0 -w x %s", formats[i].text);
		parse_good(&line, text);
		assert_int_equal(config->format, formats[i].format);
		options_free(&line.options);
	}
	parse_good(&line, BASE "-Q inout --cpus none --direct-io on --on-low-space stop");
	assert_int_equal(config->direction, WH_DIRECTION_BOTH);
	assert_int_equal(config->cpus, WH_CPUS_NONE);
	assert_int_equal(config->direct_io, WH_DIRECT_IO_ON);
	assert_int_equal(config->on_low_space, WH_LOW_SPACE_STOP);
	options_free(&line.options);
	parse_good(&line, BASE "--cpus 1 --cpus auto --direct-io auto -s 0 --min-free 0");
	assert_int_equal(config->cpus, WH_CPUS_AUTO);
	assert_null(config->cpu_list);
	assert_int_equal(config->direct_io, WH_DIRECT_IO_AUTO);
	assert_int_equal(config->snapshot_length, 262144);
	assert_true(config->min_free_percent == 0);
	options_free(&line.options);
}

static void test_commands(void **state)
{
	(void)state;
	struct line line;
	static const struct {
		const char *text;
		enum cli_command command;
	} commands[] = {
		{ "-D", CLI_LIST },           { "--list-interfaces", CLI_LIST },
		{ "-D -v", CLI_LIST },        { "-h", CLI_HELP },
		{ "--help", CLI_HELP },       { "-V", CLI_VERSION },
		{ "--version", CLI_VERSION }, { "-i eth0 -W 3 --help --nonsense", CLI_HELP },
	};
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		parse_good(&line, commands[i].text);
		assert_int_equal(line.options.command, commands[i].command);
		options_free(&line.options);
	}
}

static void test_interfaces(void **state)
{
	(void)state;
	struct line line;
	const struct wh_config *config = &line.options.config;
	parse_good(&line, "-i eth0,eth1 -i eth2 -i eth1,eth0 -w x");
	assert_int_equal(config->interface_count, 3);
	assert_string_equal(config->interfaces[0], "eth0");
	assert_string_equal(config->interfaces[1], "eth1");
	assert_string_equal(config->interfaces[2], "eth2");
	options_free(&line.options);
	parse_good(&line, "-i eth0 -i * -i any,eth1 -w x");
	assert_int_equal(config->interface_count, 1);
	assert_string_equal(config->interfaces[0], "any");
	options_free(&line.options);
	check_bad("-i '' -w x", "-i: the value is empty");
	check_bad("-i , -w x", "empty name");
	check_bad("-i eth0, -w x", "empty name");
	check_bad("-i eth0,,eth1 -w x", "empty name");
	check_bad("-i -w x", "looks like an option");
	check_bad("-w x -i", "-i: a value is missing");
}

static void test_filter(void **state)
{
	(void)state;
	struct line line;
	parse_good(&line, BASE "tcp port 80");
	assert_string_equal(line.options.config.filter, "tcp port 80");
	options_free(&line.options);
	parse_good(&line, "-i eth0 udp or tcp -w x");
	assert_string_equal(line.options.config.filter, "udp or tcp");
	options_free(&line.options);
	parse_good(&line, BASE "-- tcp");
	assert_string_equal(line.options.config.filter, "tcp");
	options_free(&line.options);
	parse_good(&line, BASE "''");
	assert_null(line.options.config.filter);
	options_free(&line.options);
	check_bad(BASE "-F f tcp", "give one of the two");
}

/* Loads a filter from a file that holds BYTES of TEXT. */
static enum wh_result load(struct line *line, const char *text, size_t bytes)
{
	char path[] = "/tmp/wirehaul-test-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd != -1);
	assert_int_equal(write(fd, text, bytes), bytes);
	close(fd);
	char command[128];
	snprintf(command, sizeof(command), BASE "-F %s", path);
	parse_good(line, command);
	enum wh_result result = options_load_filter(&line->options, &line->message);
	unlink(path);
	return result;
}

static void test_filter_file(void **state)
{
	(void)state;
	struct line line;
	static const char commented[] = "tcp # web\nand port 80";
	assert_int_equal(load(&line, commented, strlen(commented)), WH_RESULT_OK);
	assert_string_equal(line.options.config.filter, "tcp      \nand port 80");
	options_free(&line.options);
	assert_int_equal(load(&line, "# all\n \n", 8), WH_RESULT_OK);
	assert_null(line.options.config.filter);
	options_free(&line.options);
	assert_int_equal(load(&line, "tcp\0udp", 7), WH_RESULT_USAGE);
	assert_non_null(strstr(line.message.text, "not a text file"));
	options_free(&line.options);

	size_t bytes = (1U << 20) + 1;
	char *large = malloc(bytes);
	assert_non_null(large);
	memset(large, ' ', bytes);
	assert_int_equal(load(&line, large, bytes), WH_RESULT_USAGE);
	assert_non_null(strstr(line.message.text, "larger than 1 MiB"));
	options_free(&line.options);
	assert_int_equal(load(&line, large, bytes - 1), WH_RESULT_OK);
	options_free(&line.options);
	free(large);

	parse_good(&line, BASE "-F /nonexistent/filter");
	assert_int_equal(options_load_filter(&line.options, &line.message), WH_RESULT_USAGE);
	assert_non_null(strstr(line.message.text, "cannot open /nonexistent/filter"));
	options_free(&line.options);
	parse_good(&line, BASE "-F /tmp");
	assert_int_equal(options_load_filter(&line.options, &line.message), WH_RESULT_USAGE);
	assert_non_null(strstr(line.message.text, "cannot read /tmp"));
	options_free(&line.options);
}

static void test_numbers(void **state)
{
	(void)state;
	static const char *const never[] = { "",
					     " 1",
					     "1 ",
					     "+1",
					     "-1",
					     "0x10",
					     "1e3",
					     "1.0",
					     "nan",
					     "inf",
					     "abc",
					     "1,0",
					     "1k",
					     "18446744073709551616",
					     "99999999999999999999999" };
	uint64_t number = 77;
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_false(value_number(never[i], 0, UINT64_MAX, &number));
	assert_int_equal(number, 77);
	assert_true(value_number("18446744073709551615", 0, UINT64_MAX, &number));
	assert_true(number == UINT64_MAX);
	assert_true(value_number("007", 1, 7, &number));
	assert_int_equal(number, 7);
	assert_false(value_number("8", 1, 7, &number));
	assert_false(value_number("0", 1, 7, &number));
}

static void test_sizes(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "1", 1000000 },        { "100", 100000000 },
		{ "100M", 100000000 },   { "100MB", 100000000 },
		{ "100MiB", 104857600 }, { "100Mi", 104857600 },
		{ "100mib", 104857600 }, { "7k", 7000 },
		{ "7KB", 7000 },         { "7Ki", 7168 },
		{ "2G", 2000000000 },    { "2gb", 2000000000 },
		{ "2GiB", 2147483648 },  { "9223372036854", 9223372036854000000 },
	};
	static const char *const bad[] = { "",
					   "0",
					   "0M",
					   "-1",
					   "M",
					   "1.5M",
					   "1 M",
					   "1MM",
					   "1T",
					   "1B",
					   "1Bi",
					   "1iB",
					   "1e6",
					   "100M ",
					   "nan",
					   "1MiBs",
					   "9223372036855",
					   "9999999999G",
					   "18446744073709551616" };
	uint64_t bytes = 0;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (!value_size(good[i].text, 1000000, &bytes) || bytes != good[i].bytes)
			fail_msg("'%s' was read as %llu", good[i].text, (unsigned long long)bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (value_size(bad[i], 1000000, &bytes))
			fail_msg("'%s' was accepted as %llu", bad[i], (unsigned long long)bytes);
	}
}

static void test_percent_and_cpus(void **state)
{
	(void)state;
	static const char *const good[] = { "0", "10", "10%", "99.9", "99.9%", "0.5", "0.0", "99.90" };
	static const char *const bad[] = { "",   "%",   "-1",   "100", "99.91", "nan", "inf", "1e1", ".5",
					   "5.", "5.%", "10%%", "10 ", " 10",   "0x5", "1,5", "+5",  "1.2.3" };
	double percent = -1;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(value_percent(good[i], &percent));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(value_percent(bad[i], &percent));
	assert_true(percent == 99.9);

	static const char *const lists[] = { "0", "0,2", "0-3", "1-1", "0,2-3,65535" };
	static const char *const no_lists[] = { "",   ",", "0,", ",0",    "0,,1", "3-2",   "-1",
						"1-", "a", "0 ", "0-1-2", "0;1",  "65536", "0x1" };
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		assert_true(value_is_cpu_list(lists[i]));
	for (size_t i = 0; i < sizeof(no_lists) / sizeof(no_lists[0]); i++)
		assert_false(value_is_cpu_list(no_lists[i]));
}

static void test_bad_values(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *part;
	} bad[] = {
		{ "-C 0", "-C: give a size above 0" },
		{ "-C 10x", "not '10x'" },
		{ "-G 0", "-G: give a whole number from 1" },
		{ "-G 4294967296", "-G: " },
		{ "-G 1m", "-G: " },
		{ "-C 1 -W 0", "-W: give a whole number from 1" },
		{ "-s -1", "-s: give a whole number from 0 to 262144" },
		{ "-s 262145", "-s: " },
		{ "-B 0", "-B: give the ring's size in KiB" },
		{ "-B 64MiB", "-B: " },
		{ "-B 1073741825", "-B: " },
		{ "-Q both", "-Q: give in, out or inout" },
		{ "-c 0", "-c: give a whole number of at least 1" },
		{ "-c 18446744073709551616", "-c: " },
		{ "-a 10", "-a: give duration:SECONDS" },
		{ "-a duration:", "-a: " },
		{ "-a duration:0", "-a: " },
		{ "-a duration:1.5", "-a: " },
		{ "-a duration:4294967296", "-a: " },
		{ "-a files:-1", "-a: " },
		{ "-a filesize:9223372036854776", "-a: " },
		{ "-a packets:5", "use -c" },
		{ "--min-free 100", "--min-free: give a percentage from 0 to 99.9, such as 10 or 10%" },
		{ "--on-low-space delete", "--on-low-space: give stop or recycle" },
		{ "--format pcap2", "--format: give pcapng, pcap or pcap-ns" },
		{ "--fanout 0", "--fanout: give a whole number from 1 to 256" },
		{ "--fanout 257", "--fanout: " },
		{ "--cpus 3-1", "--cpus: give auto, none, or a list" },
		{ "--block-size 3MiB", "--block-size: give a power of two" },
		{ "--block-size 1M", "--block-size: " },
		{ "--block-size 2048", "--block-size: " },
		{ "--block-size 2GiB", "--block-size: " },
		{ "--block-timeout 0", "--block-timeout: " },
		{ "--block-timeout 60001", "--block-timeout: " },
		{ "--direct-io yes", "--direct-io: give auto, on or off" },
		{ "--stats-file -", "--stats-file: the statistics need a file" },
		{ "--stats-file ''", "--stats-file: the value is empty" },
		{ "--stats-file dir/", "is a directory" },
		{ "--control ''", "--control: the value is empty" },
		{ "--control dir/", "is a directory" },
		{ "--metrics ''", "--metrics: the value is empty" },
		{ "--metrics -q", "looks like an option" },
		{ "--profile dir/", "is a directory" },
		{ "-w ''", "-w: the value is empty" },
		{ "-w dir/", "is a directory" },
		{ "-w -C", "looks like an option" },
		{ "-F ''", "-F: the value is empty" },
		{ "-z ''", "-z: the value is empty" },
		{ "-Z ''", "-Z: the value is empty" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[256];
		snprintf(text, sizeof(text), BASE "%s", bad[i].text);
		check_bad(text, bad[i].part);
	}
}

static void test_simulations(void **state)
{
	(void)state;
	struct line line;
	const struct wh_config *config = &line.options.config;
	parse_good(&line, BASE);
	assert_int_equal(config->simulate, WH_SIMULATE_NOTHING);
	options_free(&line.options);
	static const struct {
		const char *text;
		enum wh_simulation mode;
		uint32_t bytes;
	} good[] = {
		{ "--simulate no-disk -i eth0", WH_SIMULATE_NO_DISK, 1414 },
		{ "--simulate no-disk -i eth0 tcp port 80", WH_SIMULATE_NO_DISK, 1414 },
		{ "--simulate no-disk -i any -w x.pcap -C 5 -W 3 -Z nobody", WH_SIMULATE_NO_DISK, 1414 },
		{ "--simulate no-disk -r in.pcap", WH_SIMULATE_NO_DISK, 1414 },
		{ "--simulate no-nic -w x.pcapng", WH_SIMULATE_NO_NIC, 1414 },
		{ "--simulate no-nic:60 -w x.pcapng -a duration:2", WH_SIMULATE_NO_NIC, 60 },
		{ "--simulate=no-nic:14 -w x.pcapng -s 96", WH_SIMULATE_NO_NIC, 14 },
		{ "--simulate no-nic:65535 -w x.pcapng -C 5 -W 3", WH_SIMULATE_NO_NIC, 65535 },
		{ "--simulate no-disk -i eth0 --direct-io off --on-low-space stop --min-free 0", WH_SIMULATE_NO_DISK,
		  1414 },
		{ "--simulate no-disk -i any --per-interface", WH_SIMULATE_NO_DISK, 1414 },
		{ "--simulate no-nic -w x --direct-io on --on-low-space recycle", WH_SIMULATE_NO_NIC, 1414 },
		/* The last one counts, and all of it. */
		{ "--simulate no-nic:64 --simulate no-nic -w x", WH_SIMULATE_NO_NIC, 1414 },
		{ "--simulate no-nic --simulate no-nic:64 -w x", WH_SIMULATE_NO_NIC, 64 },
		{ "--simulate no-nic:64 --simulate no-disk -i eth0", WH_SIMULATE_NO_DISK, 1414 },
		{ "--simulate no-disk --simulate no-nic -w x", WH_SIMULATE_NO_NIC, 1414 },
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		parse_good(&line, good[i].text);
		assert_int_equal(config->simulate, good[i].mode);
		assert_int_equal(config->simulated_frame_bytes, good[i].bytes);
		options_free(&line.options);
	}
	static const char *const modes[] = { "''",        "no",         "no-disk:",     "no-disk:60",
					     "no-nic,60", "no-nics",    "NO-NIC",       "no-nic:",
					     "no-nic:13", "no-nic:-60", "no-nic:6O",    "disk",
					     "nic",       "no-nic:1e3", "no-nic:65536", "no-nic:18446744073709551676" };
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		char text[128];
		snprintf(text, sizeof(text), "-w x --simulate %s", modes[i]);
		check_bad(text, "--simulate: give ");
	}
	check_bad("--simulate", "--simulate: a value is missing; give MODE");
	check_bad("--simulate no-disk", "-i any");
	check_bad("--simulate no-disk -w x", "-i any");
	check_bad("--simulate no-nic", "-w PATH");
	check_bad(BASE "--simulate no-nic", "leave out -i");
	check_bad("--simulate no-nic -w x -r in.pcap", "leave out -r");
	check_bad("--simulate no-nic -w x -F f", "leave out -F");
	check_bad("--simulate no-nic -w x -p", "leave out -p");
	check_bad("--simulate no-nic -w x -Q in", "leave out -Q");
	check_bad("--simulate no-nic -w x --fanout 2", "leave out --fanout");
	check_bad("--simulate no-nic -w x --per-interface", "leave out --per-interface");
	check_bad("--simulate no-nic -w x udp", "leave out the filter");
	check_bad("--simulate no-nic -w x -z gzip", "leave out -z");
	check_bad("--simulate no-disk -i eth0 -z gzip", "leave out -z");
	check_bad("--simulate no-nic -w -", "name a file");
	check_bad("--simulate no-disk -i eth0 -w -", "leave out -w -");
	check_bad("--simulate no-disk -i eth0 -W 3", "-W needs a rotation");
	check_bad("--simulate no-disk -i eth0 --direct-io on", "leave out --direct-io on");
	check_bad("--simulate no-disk -i eth0 --on-low-space recycle", "leave out --on-low-space recycle");
	check_bad("-D --simulate no-disk", "-D captures nothing");
}

static void test_unknown_options(void **state)
{
	(void)state;
	check_bad(BASE "-x", "there is no option -x");
	check_bad(BASE "-px", "there is no option -x");
	check_bad(BASE "-?", "there is no option -?");
	check_bad(BASE "-:", "there is no option -:");
	check_bad(BASE "--nonsense", "--nonsense is no option");
	check_bad(BASE "--file 1", "--file is no option, or short for more than one");
	check_bad(BASE "--quiet=yes", "-q: this option takes no value");
	check_bad(BASE "--min-free", "--min-free: a value is missing; give PERCENT");
	check_bad(BASE "-x\n", "there is no option -x");
}

/* Parses TEXT with -a, -b, -c VALUE and --long alone, and compares what the option that is refused is called. */
static void refused_as(const char *text, const char *expected)
{
	static const struct option names[] = { { "long", no_argument, NULL, 256 }, { 0 } };
	struct line line;
	char word[64] = "none";
	parse(&line, text);
	optind = opterr = 0;
	for (int found; (found = getopt_long(line.count, line.words, ":abc:", names, NULL)) != -1;) {
		if (found == '?' || found == ':') {
			option_word(line.words, word, sizeof(word));
			break;
		}
	}
	assert_string_equal(word, expected);
	options_free(&line.options);
}

static void test_refused_words(void **state)
{
	(void)state;
	refused_as("-a", "none");
	refused_as("-x", "-x");
	refused_as("-xa", "-x");
	refused_as("-axb", "-x");
	refused_as("-a -bx", "-x");
	refused_as("--long -xa", "-x");
	refused_as("-c", "-c");
	refused_as("-abc", "-c");
	refused_as("--other -a", "--other");
	refused_as("--long=3 -a", "--long=3");
	refused_as("-\303\251", "-\303\251");
	refused_as("-b\303\251 -a", "-b\303\251");
}

static void test_contradictions(void **state)
{
	(void)state;
	check_bad("", "-i any");
	check_bad("-w x", "-i any");
	check_bad("-i eth0", "-w PATH");
	check_bad("-i eth0 -r in.pcap -w x", "give one of the two");
	check_bad("-r - -F - -w x", "standard input");
	check_bad("-r in.pcap -w x -Q in", "leave out -Q");
	check_bad("-r in.pcap -w x -Q out", "leave out -Q");
	check_bad("-r in.pcap -w x -p", "leave out -p");
	check_bad(BASE "-W 3", "-W needs a rotation");
	check_bad(BASE "-q -v", "give one of the two");
	check_bad(BASE "--on-low-space recycle --min-free 0", "--min-free more than 0");
	check_bad(BASE "--stats-file x.pcapng", "name the same file");
	check_bad(BASE "--format pcap", ".pcapng");
	check_bad(BASE "--format pcap-ns", ".pcapng");
	check_bad("-i eth0 -w x.pcap --format pcapng", ".pcap");
	check_bad("-i eth0 -w X.PCAP --format pcapng", ".pcap");
	check_bad("-D -w x", "-D lists");
	check_bad("-D -i eth0", "-D lists");
	check_bad("-D -r x", "-D lists");
	check_bad("-D -F x", "-D lists");
	check_bad("-D --stats-file x", "-D captures nothing");
	check_bad("-D tcp", "-D lists");
	check_bad("-D -q -v", "give one of the two");

	struct line line;
	static const char *const fine[] = {
		BASE "-W 3 -C 100",           BASE "-W 3 -G 5",
		BASE "-W 3 -G 5 -C 1",        "-i eth0 -w x.pcap --format pcap-ns",
		"-i eth0 -w x --format pcap", BASE "--on-low-space recycle",
	};
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		parse_good(&line, fine[i]);
		options_free(&line.options);
	}
}

static void test_standard_output(void **state)
{
	(void)state;
	struct line line;
	parse_good(&line, "-i eth0 -w - --format pcap -a duration:5 -a filesize:10 -c 3");
	assert_string_equal(line.options.config.output, "-");
	options_free(&line.options);
	check_bad("-i eth0 -w - -C 5", "-w - is one stream");
	check_bad("-i eth0 -w - -G 5", "-w - is one stream");
	check_bad("-i eth0 -w - -W 5", "-w - is one stream");
	check_bad("-i eth0 -w - -z gzip", "-w - closes no files");
	check_bad("-i eth0 -w - --per-interface", "-w - is one stream");
	check_bad("-i eth0 -w - --on-low-space recycle", "-w - has no old files");
	check_bad("-i eth0 -w - --adopt", "leave out --adopt");
	check_bad("--simulate no-disk -i eth0 --adopt", "leave out --adopt");
	check_bad("--simulate no-nic -w x --adopt", "leave out --adopt");
	check_bad("-i eth0 -w - -a files:3", "-w - makes no files");
}

/* A value that is far longer than the message, and one that tries to make it two lines. */
static void test_hostile_values(void **state)
{
	(void)state;
	static char huge[100000];
	memset(huge, 'a', sizeof(huge) - 1);
	char name[] = "wirehaul";
	char option[] = "-C";
	char *words[] = { name, option, huge, NULL };
	struct options options;
	struct wh_message message;
	assert_int_equal(options_parse(3, words, &options, &message), WH_RESULT_USAGE);
	assert_true(strlen(message.text) < 300);
	options_free(&options);
	char lines[] = "1\nwirehaul: all is well\033[2J";
	char *more[] = { name, option, lines, NULL };
	assert_int_equal(options_parse(3, more, &options, &message), WH_RESULT_USAGE);
	assert_null(strpbrk(message.text, "\n\033"));
	options_free(&options);
}

/* Each option of the table is in the help, and no line of it is wider than a terminal. */
static void test_help(void **state)
{
	(void)state;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	assert_non_null(out);
	options_print_help(out);
	fclose(out);
	static const char *const names[] = {
		"-i, --interface",
		"-w, --write",
		"-C, --file-size",
		"-G, --file-seconds",
		"-W, --keep-files",
		"--min-free",
		"--on-low-space",
		"--adopt",
		"--format",
		"--per-interface",
		"--fanout",
		"--cpus",
		"--block-size",
		"--block-timeout",
		"--direct-io",
		"--stats-file",
		"--simulate",
		"-F, --filter-file",
		"-r, --read",
		"-a, --autostop",
		"-B, --ring-kib",
		"-Q, --direction",
		"-s, --snapshot-length",
		"-p, --no-promiscuous",
		"-c, --count",
		"-Z, --user",
		"-z, --hook",
		"-q, --quiet",
		"-v, --verbose",
		"-D, --list-interfaces",
		"-h, --help",
		"-V, --version",
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strstr(text, names[i]) == NULL)
			fail_msg("--help does not show %s", names[i]);
	}
	for (const char *at = text; *at != '\0';) {
		size_t length = strcspn(at, "\n");
		assert_true(length <= 90);
		at += length + 1;
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_every_option_short),
		cmocka_unit_test(test_every_option_long),
		cmocka_unit_test(test_choices),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_interfaces),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_filter_file),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_percent_and_cpus),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_simulations),
		cmocka_unit_test(test_unknown_options),
		cmocka_unit_test(test_refused_words),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_standard_output),
		cmocka_unit_test(test_hostile_values),
		cmocka_unit_test(test_help),
	};
	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
