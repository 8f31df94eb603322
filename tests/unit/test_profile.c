/* SPDX-License-Identifier: BSD-3-Clause */
/* Profiles: what they may say, what is refused and where, what the command line beats, whose files are trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "options.h"
#include "profile.h"

#define BASE "interface = eth0\nwrite = x.pcapng\n"

/* What came of a profile alone, with no command line. Released with release(). */
struct taken {
	struct profile *profile;
	struct options options;
	struct wh_message message;
};

static enum wh_result take(struct taken *taken, const char *text, uint64_t given, bool filtered)
{
	memset(taken, 0, sizeof(*taken));
	wh_config_init(&taken->options.config);
	enum wh_result result = profile_parse("lan.conf", text, strlen(text), &taken->profile, &taken->message);
	if (result == WH_RESULT_OK)
		result = profile_apply(taken->profile, given, filtered, &taken->options, &taken->message);
	return result;
}

static void release(struct taken *taken)
{
	options_free(&taken->options);
	profile_free(taken->profile);
}

static void take_good(struct taken *taken, const char *text)
{
	if (take(taken, text, 0, false) != WH_RESULT_OK)
		fail_msg("'%s' was refused: %s", text, taken->message.text);
	assert_string_equal(taken->message.text, "");
}

/* TEXT must be refused at LINE with one line that holds PART. */
static void check_bad(const char *text, unsigned line, const char *part)
{
	struct taken taken;
	char place[32];
	snprintf(place, sizeof(place), "lan.conf:%u: ", line);
	if (take(&taken, text, 0, false) != WH_RESULT_USAGE)
		fail_msg("'%s' was accepted", text);
	if (strncmp(taken.message.text, place, strlen(place)) != 0 || strstr(taken.message.text, part) == NULL)
		fail_msg("'%s': the message \"%s\" does not say \"%s\" at line %u", text, taken.message.text, part,
			 line);
	assert_null(strpbrk(taken.message.text, "\r\n\033"));
	release(&taken);
}

static void test_every_kind_of_line(void **state)
{
	(void)state;
	struct taken taken;
	take_good(&taken, "\xEF\xBB\xBF# a comment ; and more of it\r\n"
			  "; another\n"
			  "[wirehaul]\n"
			  "\n"
			  "interface = eth0,eth1\r\n"
			  "interface=eth2\n"
			  "write =   /srv/a b.pcapng   \n"
			  "file-size: 2G\n"
			  "autostop = files:8\n"
			  "autostop = duration:9\n"
			  "hook = sh -c 'echo a;echo b'\n"
			  "per-interface = yes\n"
			  "no-promiscuous = No\n"
			  "quiet = ON\n"
			  "filter = tcp port 443\n"
			  "    and not net 10.0.0.0/8\n"
			  "\t# between the lines of a filter\n"
			  "\tand vlan\n"
			  "min-free = 12.5%");
	const struct wh_config *config = &taken.options.config;
	assert_int_equal(config->interface_count, 3);
	assert_string_equal(taken.options.interfaces[2], "eth2");
	assert_string_equal(config->output, "/srv/a b.pcapng");
	assert_int_equal(config->file_bytes, 2000000000);
	assert_int_equal(config->stop_after_files, 8);
	assert_int_equal(config->stop_after_seconds, 9);
	assert_string_equal(config->hook_command, "sh -c 'echo a;echo b'");
	assert_true(config->per_interface);
	assert_false(config->no_promiscuous);
	assert_true(taken.options.quiet);
	assert_string_equal(taken.options.filter, "tcp port 443 and not net 10.0.0.0/8 and vlan");
	assert_true(config->min_free_percent > 12.4 && config->min_free_percent < 12.6);
	assert_true(options_given(&taken.options, OPTION_AUTOSTOP));
	assert_false(options_given(&taken.options, OPTION_NO_PROMISCUOUS));
	release(&taken);
}

static void test_empty(void **state)
{
	(void)state;
	struct taken taken;
	take_good(&taken, "");
	assert_int_equal(taken.options.given, 0);
	release(&taken);
	take_good(&taken, "\n\n# nothing\n[wirehaul]\n");
	release(&taken);
}

static void test_values_are_checked(void **state)
{
	(void)state;
	/* By the name that is there, not by the letter that an option may have. */
	check_bad("interface = eth0\nfile-size = huge\n", 2, "lan.conf:2: --file-size: ");
	check_bad("file-size =\n", 1, "lan.conf:1: --file-size: ");
	check_bad("write =\n", 1, "the value is empty");
	check_bad("\nwrite = --quiet\n", 2, "looks like an option");
	check_bad("quiet = perhaps\n", 1, "yes or no");
	check_bad("quiet =\n", 1, "yes or no");
	check_bad("min-free = 101\n", 1, "percentage");
	check_bad("interface = eth0,,eth1\n", 1, "empty name");
	check_bad("filter = \n", 1, "filter is empty");
}

static void test_names_are_checked(void **state)
{
	(void)state;
	check_bad("\n\nfliter = tcp\n", 3, "'fliter'");
	check_bad("file = x\n", 1, "'file'"); /* getopt would take it for short */
	check_bad("--write = x\n", 1, "'--write'");
	check_bad("w = x\n", 1, "'w'");
	check_bad("Write = x\n", 1, "'Write'");
	check_bad("= x\n", 1, "''");
	check_bad("write x\n", 1, "name = value");
	check_bad("quiet\n", 1, "name = value");
	check_bad("[wirehaul\nquiet = yes\n", 1, "name = value");
	check_bad("[eth0]\nquiet = yes\n", 2, "section 'eth0'");
	check_bad("profile = other\n", 1, "command line");
	check_bad("help = yes\n", 1, "command line");
	check_bad("version = yes\n", 1, "command line");
	check_bad("list-interfaces = no\n", 1, "command line");
}

static void test_given_twice(void **state)
{
	(void)state;
	check_bad("write = a\nquiet = yes\nwrite = b\n", 3, "in line 1 already");
	check_bad("quiet = no\nquiet = yes\n", 2, "in line 1 already");
	check_bad("filter = tcp\nfilter = udp\n", 2, "in line 1 already");
	struct taken taken;
	take_good(&taken, "verbose = yes\nverbose = yes\n");
	assert_int_equal(taken.options.verbosity, 2);
	release(&taken);
}

static void test_lines_are_checked(void **state)
{
	(void)state;
	char line[4096];
	check_bad("hook = echo a ; echo b\n", 1, "';'");
	check_bad("write = x\n;ok\n ; ok\nquiet = yes ; no\n", 4, "';'");
	check_bad("write = x\n  quiet = yes\n", 2, "begin the line with its name");
	check_bad("  write = x\n", 1, "begin the line with its name");
	check_bad("write = \033[2Jx\n", 1, "control character");
	check_bad("write = a\rb\n", 1, "control character");
	/* As much as the library takes, and one byte more. */
	for (size_t length = 150; length < 3000; length++) {
		struct taken taken;
		memset(line, 'x', length);
		memcpy(line, "write = ", 8);
		line[length] = '\0';
		enum wh_result result = take(&taken, line, 0, false);
		if (result == WH_RESULT_OK) {
			assert_int_equal(strlen(taken.options.config.output), length - 8);
			release(&taken);
			continue;
		}
		release(&taken);
		assert_true(length > 190);
		check_bad(line, 1, "a line has at most");
		return;
	}
	fail_msg("a line may be as long as it likes");
}

static void test_nul_is_refused(void **state)
{
	(void)state;
	static const char text[] = "write = x\0y\n";
	struct profile *profile = NULL;
	struct wh_message message;
	assert_int_equal(profile_parse("p", text, sizeof(text) - 1, &profile, &message), WH_RESULT_USAGE);
	assert_non_null(strstr(message.text, "p:1: "));
}

static void test_command_line_beats(void **state)
{
	(void)state;
	struct taken taken;
	static const char text[] = BASE "quiet = yes\nfilter = tcp\nautostop = files:3\n";
	assert_int_equal(take(&taken, text, UINT64_C(1) << OPTION_INTERFACE | UINT64_C(1) << OPTION_VERBOSE, true),
			 WH_RESULT_OK);
	assert_int_equal(taken.options.config.interface_count, 0);
	assert_false(taken.options.quiet);
	assert_null(taken.options.filter);
	assert_int_equal(taken.options.config.stop_after_files, 3);
	release(&taken);
	assert_int_equal(take(&taken, text, UINT64_C(1) << OPTION_READ | UINT64_C(1) << OPTION_FILTER_FILE, false),
			 WH_RESULT_OK);
	assert_int_equal(taken.options.config.interface_count, 0);
	assert_null(taken.options.filter);
	assert_true(taken.options.quiet);
	release(&taken);
}

/* A file of a profile in a directory of its own. */
struct place {
	char directory[64];
	char path[96];
};

static void place_make(struct place *place, const char *text)
{
	snprintf(place->directory, sizeof(place->directory), "/tmp/wirehaul-profile-XXXXXX");
	assert_non_null(mkdtemp(place->directory));
	snprintf(place->path, sizeof(place->path), "%s/lan.conf", place->directory);
	FILE *file = fopen(place->path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(place->path, 0640), 0);
}

static void place_remove(const struct place *place)
{
	unlink(place->path);
	rmdir(place->directory);
}

static void check_unread(const char *name, const char *part)
{
	struct profile *profile = NULL;
	struct wh_message message = { "" };
	assert_int_equal(profile_read(name, &profile, &message), WH_RESULT_USAGE);
	if (strstr(message.text, part) == NULL)
		fail_msg("'%s': the message \"%s\" does not say \"%s\"", name, message.text, part);
	assert_null(strpbrk(message.text, "\r\n\033"));
}

static void test_whose_file(void **state)
{
	(void)state;
	static const mode_t refused[] = { 0660, 0606, 0666, 0622, 0777 };
	struct place place;
	place_make(&place, BASE);
	struct profile *profile = NULL;
	struct wh_message message = { "" };
	assert_int_equal(profile_read(place.path, &profile, &message), WH_RESULT_OK);
	profile_free(profile);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		assert_int_equal(chmod(place.path, refused[i]), 0);
		check_unread(place.path, "can be written by others");
	}
	assert_int_equal(chmod(place.path, 0644), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(place.path, 1, 0), 0);
		check_unread(place.path, "belongs to another user");
	}
	place_remove(&place);
}

static void test_what_file(void **state)
{
	(void)state;
	struct place place;
	place_make(&place, BASE);
	check_unread(place.directory, "no ordinary file");
	assert_int_equal(unlink(place.path), 0);
	check_unread(place.path, "cannot be opened");
	assert_int_equal(mkfifo(place.path, 0600), 0);
	check_unread(place.path, "no ordinary file");
	assert_int_equal(unlink(place.path), 0);
	FILE *file = fopen(place.path, "w");
	assert_non_null(file);
	for (int i = 0; i < 65537; i++)
		assert_int_equal(fputc('\n', file), '\n');
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(place.path, 0600), 0);
	check_unread(place.path, "larger than 64 KiB");
	place_remove(&place);
	check_unread("/dev/null", "no ordinary file");
}

static void test_names_of_profiles(void **state)
{
	(void)state;
	char name[5000];
	check_unread("no-such-profile", PROFILE_DIRECTORY "/no-such-profile.conf");
	check_unread("..", "no name of a profile");
	check_unread("", "no name of a profile");
	check_unread(".hidden", "no name of a profile");
	check_unread("a b", "no name of a profile");
	check_unread("a\nb", "no name of a profile");
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	check_unread(name, "no name of a profile");
	name[0] = '/';
	check_unread(name, "too long");
}

/* All of it together: the command line's words are read behind the profile's. */
static enum wh_result parse(struct options *options, struct wh_message *message, int count, const char *const *words)
{
	static char text[16][128];
	char *argv[17] = { NULL };
	for (int i = 0; i < count; i++) {
		snprintf(text[i], sizeof(text[i]), "%s", words[i]);
		argv[i] = text[i];
	}
	return options_parse(count, argv, options, message);
}

static void test_with_a_command_line(void **state)
{
	(void)state;
	struct place place;
	struct options options;
	struct wh_message message;
	place_make(&place, BASE "file-size = 5\nquiet = yes\nfilter = tcp\nautostop = files:3\n");
	const char *const alone[] = { "wirehaul", "--profile", place.path };
	assert_int_equal(parse(&options, &message, 3, alone), WH_RESULT_OK);
	assert_string_equal(options.config.interfaces[0], "eth0");
	assert_string_equal(options.config.filter, "tcp");
	assert_int_equal(options.config.file_bytes, 5000000);
	options_free(&options);

	const char *const more[] = { "wirehaul", "-i", "eth1", "--profile", place.path,
				     "udp",      "-v", "-C",   "7",         "port 53" };
	assert_int_equal(parse(&options, &message, 10, more), WH_RESULT_OK);
	assert_int_equal(options.config.interface_count, 1);
	assert_string_equal(options.config.interfaces[0], "eth1");
	assert_string_equal(options.config.filter, "udp port 53");
	assert_int_equal(options.config.file_bytes, 7000000);
	assert_false(options.quiet);
	assert_int_equal(options.verbosity, 1);
	assert_string_equal(options.config.output, "x.pcapng");
	assert_int_equal(options.config.stop_after_files, 3);
	options_free(&options);

	const char *const list[] = { "wirehaul", "-D", "--profile", place.path };
	assert_int_equal(parse(&options, &message, 4, list), WH_RESULT_USAGE);
	assert_non_null(strstr(message.text, "--profile"));
	options_free(&options);
	place_remove(&place);

	const char *const gone[] = { "wirehaul", "--profile", place.path };
	assert_int_equal(parse(&options, &message, 3, gone), WH_RESULT_USAGE);
	options_free(&options);
	const char *const help[] = { "wirehaul", "--profile", place.path, "--help" };
	assert_int_equal(parse(&options, &message, 4, help), WH_RESULT_OK);
	assert_int_equal(options.command, CLI_HELP);
	options_free(&options);
}

/* What a profile says is checked as a whole, like a command line. */
static void test_contradictions(void **state)
{
	(void)state;
	struct place place;
	struct options options;
	struct wh_message message;
	place_make(&place, BASE "keep-files = 5\n");
	const char *const words[] = { "wirehaul", "--profile", place.path, "-C", "9" };
	assert_int_equal(parse(&options, &message, 3, words), WH_RESULT_USAGE);
	assert_non_null(strstr(message.text, "-W needs a rotation"));
	options_free(&options);
	assert_int_equal(parse(&options, &message, 5, words), WH_RESULT_OK);
	options_free(&options);
	place_remove(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_of_line), cmocka_unit_test(test_empty),
		cmocka_unit_test(test_values_are_checked), cmocka_unit_test(test_names_are_checked),
		cmocka_unit_test(test_given_twice),        cmocka_unit_test(test_lines_are_checked),
		cmocka_unit_test(test_nul_is_refused),     cmocka_unit_test(test_command_line_beats),
		cmocka_unit_test(test_whose_file),         cmocka_unit_test(test_what_file),
		cmocka_unit_test(test_names_of_profiles),  cmocka_unit_test(test_with_a_command_line),
		cmocka_unit_test(test_contradictions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
