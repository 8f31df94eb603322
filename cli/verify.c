/* SPDX-License-Identifier: BSD-3-Clause */
#include "verify.h"

#include "option_word.h"
#include "text.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_WHOLE = 0, EXIT_NOT_WHOLE = 1, EXIT_UNREAD = 2 };
enum { OPTION_JSON = 256, OPTION_HELP };

static const char help[] =
    "usage: wirehaul verify [-q] [--json] FILE...\n"
    "\n"
    "Reads capture files, says of each in one line whether it is whole, and changes nothing.\n"
    "\n"
    "  -q, --quiet   say nothing of files that are whole\n"
    "      --json    one JSON object about all of them instead of lines\n"
    "  -h, --help    show this text\n"
    "\n"
    "Exit status: 0 all are whole; 1 one is open, cut, damaged or no capture file, or chunks are missing between\n"
    "two files of a chain; 2 wrong usage, or a file cannot be read.\n";

struct verify_options {
	bool quiet, json;
};

/* One line on standard error. */
__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
	char line[1024];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	text_clean(line, false);
	fprintf(stderr, "wirehaul: %s\n", line);
}

/* Reads the options. Returns -1 to go on, or the exit status. */
static int options_read(int argc, char **argv, struct verify_options *options)
{
	static const struct option names[] = { { "quiet", no_argument, NULL, 'q' },
					       { "json", no_argument, NULL, OPTION_JSON },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	optind = 0; /* getopt begins anew */
	opterr = 0;
	int found;
	char word[64];
	while ((found = getopt_long(argc, argv, "qh", names, NULL)) != -1) {
		switch (found) {
		case 'q':
			options->quiet = true;
			break;
		case OPTION_JSON:
			options->json = true;
			break;
		case 'h':
			fputs(help, stdout);
			return EXIT_WHOLE;
		default:
			option_word(argv, word, sizeof(word));
			complain("verify: %s is no option of it; wirehaul verify --help lists them all", word);
			return EXIT_UNREAD;
		}
	}
	if (optind < argc)
		return -1;
	complain("verify: name the files that are to be looked at");
	return EXIT_UNREAD;
}

/* ---- for a person ---- */

static const char *plural(uint64_t number)
{
	return number == 1 ? "" : "s";
}

static void line_print(const struct verified *file)
{
	const struct wh_file_check *check = &file->check;
	char path[1024];
	snprintf(path, sizeof(path), "%s", file->path);
	text_clean(path, false);
	printf("%s: %s", path, wh_file_health_name(check->health));
	if (check->format[0] != '\0') {
		printf(", %s frame%s", text_count(check->frames).s, plural(check->frames));
		if (check->chunks > 0)
			printf(" in %s chunk%s", text_count(check->chunks).s, plural(check->chunks));
	}
	if (check->chunks_missing > 0)
		printf(", %s chunk%s missing", text_count(check->chunks_missing).s, plural(check->chunks_missing));
	if (check->chunks_damaged > 0)
		printf(", %s damaged", text_count(check->chunks_damaged).s);
	if (check->frames_missing > 0)
		printf(", %s frame%s missing", text_count(check->frames_missing).s, plural(check->frames_missing));
	if (check->dropped > 0)
		printf(", %s dropped while capturing", text_count(check->dropped).s);
	if (check->what[0] != '\0')
		printf("; %s", check->what);
	putchar('\n');
}

static void gap_print(const struct verified_gap *gap)
{
	char before[1024], behind[1024];
	snprintf(before, sizeof(before), "%s", gap->before->path);
	snprintf(behind, sizeof(behind), "%s", gap->behind->path);
	text_clean(before, false);
	text_clean(behind, false);
	printf("%s: %s chunk%s missing between %s and this file\n", behind, text_count(gap->last - gap->first + 1).s,
	       gap->first == gap->last ? " is" : "s are", before);
}

/* ---- for a program ---- */

static json_t *json_count(uint64_t number)
{
	return json_integer(number < INT64_MAX ? (json_int_t)number : (json_int_t)INT64_MAX);
}

/* JSON is Unicode; a path is whatever bytes someone chose. What is not UTF-8 becomes ASCII with question marks. */
static json_t *json_name(const char *text)
{
	json_t *string = json_string(text);
	char *copy = string == NULL ? strdup(text) : NULL;
	if (copy == NULL)
		return string;
	for (char *at = copy; *at != '\0'; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	string = json_string(copy);
	free(copy);
	return string;
}

static json_t *json_time(uint64_t ns)
{
	return ns != 0 ? json_count(ns) : json_null();
}

/* Adds to OBJECT what was found in a file that has chunks, or null. */
static int json_add_chain(json_t *object, const struct wh_file_check *check)
{
	bool chain = check->chunks > 0;
	char session[20];
	snprintf(session, sizeof(session), "%016" PRIx64, check->session);
	int failed = json_object_set_new(object, "session", chain ? json_string(session) : json_null());
	failed |= json_object_set_new(object, "first_chunk", chain ? json_count(check->first_chunk) : json_null());
	failed |= json_object_set_new(object, "last_chunk", chain ? json_count(check->last_chunk) : json_null());
	return failed;
}

static json_t *json_file(const struct verified *file)
{
	const struct wh_file_check *check = &file->check;
	json_t *object = json_object();
	int failed = json_object_set_new(object, "file", json_name(file->path));
	failed |= json_object_set_new(object, "error", file->read ? json_null() : json_name(file->message));
	if (file->read) {
		failed |= json_object_set_new(object, "health", json_string(wh_file_health_name(check->health)));
		failed |= json_object_set_new(object, "what", json_name(check->what));
		failed |= json_object_set_new(object, "format", json_string(check->format));
		failed |= json_object_set_new(object, "ours", json_boolean(check->ours));
		failed |= json_object_set_new(object, "bytes", json_count(check->bytes));
		failed |= json_object_set_new(object, "readable_bytes", json_count(check->readable_bytes));
		failed |= json_object_set_new(object, "frames", json_count(check->frames));
		failed |= json_object_set_new(object, "chunks", json_count(check->chunks));
		failed |= json_object_set_new(object, "chunks_missing", json_count(check->chunks_missing));
		failed |= json_object_set_new(object, "chunks_damaged", json_count(check->chunks_damaged));
		failed |= json_object_set_new(object, "frames_missing", json_count(check->frames_missing));
		failed |= json_object_set_new(object, "repaired", json_boolean(check->repaired));
		failed |= json_object_set_new(object, "dropped", json_count(check->dropped));
		failed |= json_object_set_new(object, "interfaces", json_count(check->interfaces));
		failed |= json_object_set_new(object, "first_ns", json_time(check->first_ns));
		failed |= json_object_set_new(object, "last_ns", json_time(check->last_ns));
		failed |= json_add_chain(object, check);
	}
	if (failed == 0)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *json_gap(const struct verified_gap *gap)
{
	json_t *object = json_object();
	int failed = json_object_set_new(object, "before", json_name(gap->before->path));
	failed |= json_object_set_new(object, "behind", json_name(gap->behind->path));
	failed |= json_object_set_new(object, "first_chunk", json_count(gap->first));
	failed |= json_object_set_new(object, "last_chunk", json_count(gap->last));
	if (failed == 0)
		return object;
	json_decref(object);
	return NULL;
}

/* Prints the object. False: no memory for it. */
static bool json_print(const struct verified *files, size_t count, const struct verified_gap *gaps, size_t gap_count,
		       bool whole)
{
	json_t *object = json_object();
	json_t *list = json_array(), *missing = json_array();
	int failed = 0;
	for (size_t i = 0; i < count; i++)
		failed |= json_array_append_new(list, json_file(&files[i]));
	for (size_t i = 0; i < gap_count; i++)
		failed |= json_array_append_new(missing, json_gap(&gaps[i]));
	failed |= json_object_set_new(object, "whole", json_boolean(whole));
	failed |= json_object_set_new(object, "files", list);
	failed |= json_object_set_new(object, "gaps", missing);
	/* As a text first: what cannot be written is another matter, and seen at the end. */
	char *text = failed == 0 ? json_dumps(object, JSON_INDENT(1)) : NULL;
	json_decref(object);
	if (text == NULL)
		return false;
	puts(text);
	free(text);
	return true;
}

/* ---- the command ---- */

/* Reads FILE and prints its line. */
static void file_verify(struct verified *file, const struct verify_options *options)
{
	struct wh_message message = { "" };
	file->read = wh_file_verify(file->path, &file->check, &message) == WH_RESULT_OK;
	if (!file->read) {
		file->message = strdup(message.text);
		complain("%s", message.text);
	} else if (!options->json && !(options->quiet && file->check.health == WH_FILE_WHOLE)) {
		line_print(file);
		fflush(stdout);
	}
}

static int verdict_print(const struct verified *files, size_t count, const struct verify_options *options)
{
	struct verified_gap *gaps;
	size_t gap_count;
	if (!verify_gaps(files, count, &gaps, &gap_count)) {
		complain("verify: out of memory");
		return EXIT_UNREAD;
	}
	int status = gap_count > 0 ? EXIT_NOT_WHOLE : EXIT_WHOLE;
	for (size_t i = 0; i < count; i++)
		if (files[i].read && files[i].check.health != WH_FILE_WHOLE)
			status = EXIT_NOT_WHOLE;
	for (size_t i = 0; i < count; i++)
		if (!files[i].read)
			status = EXIT_UNREAD;
	if (!options->json) {
		for (size_t i = 0; i < gap_count; i++)
			gap_print(&gaps[i]);
	} else if (!json_print(files, count, gaps, gap_count, status == EXIT_WHOLE)) {
		complain("verify: the findings cannot be put into JSON: out of memory");
		status = EXIT_UNREAD;
	}
	free(gaps);
	return status;
}

int verify_main(int argc, char **argv)
{
	struct verify_options options = { 0 };
	int status = options_read(argc, argv, &options);
	if (status >= 0)
		return status;
	size_t count = (size_t)(argc - optind);
	struct verified *files = calloc(count, sizeof(*files));
	if (files == NULL) {
		complain("verify: out of memory");
		return EXIT_UNREAD;
	}
	for (size_t i = 0; i < count; i++) {
		files[i].path = argv[(size_t)optind + i];
		file_verify(&files[i], &options);
	}
	status = verdict_print(files, count, &options);
	for (size_t i = 0; i < count; i++)
		free(files[i].message);
	free(files);
	if (fflush(stdout) != 0 || ferror(stdout) != 0) {
		complain("cannot write to standard output: %s", strerror(errno));
		return EXIT_UNREAD;
	}
	return status;
}
