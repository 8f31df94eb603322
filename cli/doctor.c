/* SPDX-License-Identifier: BSD-3-Clause */
#include "doctor.h"

#include "option_word.h"
#include "statistics_json.h"
#include "text.h"
#include "values.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wirehaul.h>

enum { STATUS_GOOD = 0, STATUS_BAD = 1, STATUS_USAGE = 2 };

/* Lines of text are no longer than this; commands are as long as they are. */
#define COLUMNS 100

/* The name of a capture's files where -w names their directory. */
#define FILES "trace.pcapng"

/* What the command line asks for. */
struct call {
	const char **names; /* owned; what it points to is borrowed from the two below */
	size_t count;
	char **lists; /* owned, and each in it: what -i was given, cut at its commas */
	size_t list_count;
	char *output; /* owned; NULL: no directory is looked at */
	double min_free;
	bool measure, json, help;
};

enum { LETTER_JSON = 256, LETTER_MIN_FREE, LETTER_NO_MEASURE };

static const struct option long_options[] = {
	{ "interface", required_argument, NULL, 'i' },
	{ "write", required_argument, NULL, 'w' },
	{ "min-free", required_argument, NULL, LETTER_MIN_FREE },
	{ "no-measure", no_argument, NULL, LETTER_NO_MEASURE },
	{ "json", no_argument, NULL, LETTER_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

__attribute__((format(printf, 2, 3))) static bool fail(struct wh_message *message, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message->text, sizeof(message->text), format, arguments);
	va_end(arguments);
	return false;
}

/* ---- the command line ---- */

static bool add_name(struct call *call, const char *name)
{
	const char **names = realloc((void *)call->names, (call->count + 1) * sizeof(*names));
	if (names == NULL)
		return false;
	names[call->count++] = name;
	call->names = names;
	return true;
}

static bool read_names(struct call *call, const char *value, struct wh_message *message)
{
	char **lists = realloc(call->lists, (call->list_count + 1) * sizeof(*lists));
	char *list = strdup(value);
	if (lists != NULL)
		call->lists = lists;
	if (lists == NULL || list == NULL) {
		free(list);
		return fail(message, "doctor: out of memory");
	}
	call->lists[call->list_count++] = list;
	for (char *name; (name = strsep(&list, ",")) != NULL;) {
		if (name[0] == '\0')
			return fail(message, "doctor: -i: there is an empty name in '%.60s'; write a list as eth0,eth1",
				    value);
		if (!add_name(call, name))
			return fail(message, "doctor: out of memory");
	}
	return true;
}

/* VALUE is a directory, or names the files of a capture in one. */
static bool read_output(struct call *call, const char *value, struct wh_message *message)
{
	struct stat found;
	size_t length = strlen(value);
	if (length == 0 || strcmp(value, "-") == 0)
		return fail(message, "doctor: -w: give a directory");
	bool directory = value[length - 1] == '/' || (stat(value, &found) == 0 && S_ISDIR(found.st_mode));
	const char *slash = directory && value[length - 1] != '/' ? "/" : "";
	free(call->output);
	if (asprintf(&call->output, "%s%s%s", value, slash, directory ? FILES : "") >= 0)
		return true;
	call->output = NULL;
	return fail(message, "doctor: out of memory");
}

static bool read_option(int found, char **argv, struct call *call, struct wh_message *message)
{
	char word[64];
	switch (found) {
	case 'i':
		return read_names(call, optarg, message);
	case 'w':
		return read_output(call, optarg, message);
	case LETTER_MIN_FREE:
		if (value_percent(optarg, &call->min_free))
			return true;
		return fail(message, "doctor: --min-free: give a percentage from 0 to 99.9, not '%.60s'", optarg);
	case LETTER_NO_MEASURE:
		call->measure = false;
		return true;
	case LETTER_JSON:
		call->json = true;
		return true;
	case 'h':
		call->help = true;
		return true;
	default:
		option_word(argv, word, sizeof(word));
		return fail(message,
			    found == ':' ? "doctor: %s: a value is missing; wirehaul doctor --help says which"
					 : "doctor: %s cannot be; wirehaul doctor --help lists the options",
			    word);
	}
}

static bool read_call(int argc, char **argv, struct call *call, struct wh_message *message)
{
	struct wh_config defaults;
	wh_config_init(&defaults);
	*call = (struct call){ .measure = true, .min_free = defaults.min_free_percent };
	/* 0, not 1: this makes getopt forget all that it remembers of an earlier command line. */
	optind = 0;
	opterr = 0;
	for (;;) {
		int found = getopt_long(argc, argv, ":i:w:h", long_options, NULL);
		if (found == -1)
			break;
		if (!read_option(found, argv, call, message))
			return false;
		if (call->help)
			return true;
	}
	if (optind < argc)
		return fail(message, "doctor: \"%.60s\" is too much: it takes options alone", argv[optind]);
	if (call->count == 0 && !add_name(call, "any"))
		return fail(message, "doctor: out of memory");
	return true;
}

static void free_call(struct call *call)
{
	for (size_t i = 0; i < call->list_count; i++)
		free(call->lists[i]);
	free(call->lists);
	free((void *)call->names);
	free(call->output);
}

static void print_help(void)
{
	fputs("usage: wirehaul doctor [-i NAME[,NAME...]] [-w DIRECTORY] [options]\n\n"
	      "Says what on this machine will make a capture drop frames, the commands that mend\n"
	      "it, and the rate to expect. Changes nothing. Measures for some seconds: with traffic\n"
	      "that comes just now, and with made-up frames in DIRECTORY, which are removed again.\n\n"
	      "  -i, --interface NAME[,NAME...]  look at this adapter; may be repeated (all that are up)\n"
	      "  -w, --write DIRECTORY           where the files are to be, or their path as for a capture\n"
	      "      --min-free PERCENT          what is to stay free there (10)\n"
	      "      --no-measure                only look: write nothing, capture nothing\n"
	      "      --json                      what was found, as JSON\n"
	      "  -h, --help                      show this text\n\n"
	      "Exit status: 0 nothing will drop frames; 1 something will; 2 wrong usage, or it cannot\n"
	      "look.\n",
	      stdout);
}

/* ---- what was found ---- */

/* Bad before worth a note before good, and each kind as it came. */
static const enum wh_finding_kind order[] = { WH_FINDING_BAD, WH_FINDING_NOTE, WH_FINDING_GOOD };
enum { KINDS = sizeof(order) / sizeof(order[0]) };

static size_t count_kind(const struct wh_finding *findings, size_t count, enum wh_finding_kind kind)
{
	size_t found = 0;
	for (size_t i = 0; i < count; i++)
		found += findings[i].kind == kind;
	return found;
}

/* Writes TEXT in lines that begin with INDENT blanks and end before COLUMNS where they can. */
static void print_text(const char *text, int indent)
{
	int column = 0;
	while (*text != '\0') {
		size_t length = strcspn(text, " ");
		if (column > 0 && column + 1 + (int)length > COLUMNS) {
			putchar('\n');
			column = 0;
		}
		column +=
		    column == 0 ? printf("%*s%.*s", indent, "", (int)length, text) : printf(" %.*s", (int)length, text);
		text += length;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static void print_finding(const struct wh_finding *finding)
{
	struct wh_finding copy = *finding;
	char line[sizeof(copy.subject) + sizeof(copy.text) + 4];
	text_clean(copy.subject, false);
	text_clean(copy.text, false);
	text_clean(copy.remedy, false);
	snprintf(line, sizeof(line), "%s: %s", copy.subject, copy.text);
	print_text(line, 2);
	if (copy.remedy[0] != '\0')
		printf("      %s\n", copy.remedy);
}

static void print_findings(const struct wh_finding *findings, size_t count)
{
	static const char *const headings[] = {
		[WH_FINDING_BAD] = "This will drop frames:",
		[WH_FINDING_NOTE] = "Worth knowing:",
		[WH_FINDING_GOOD] = "In order:",
	};
	const char *blank = "";
	for (size_t kind = 0; kind < KINDS; kind++) {
		if (count_kind(findings, count, order[kind]) == 0)
			continue;
		printf("%s%s\n", blank, headings[order[kind]]);
		blank = "\n";
		for (size_t i = 0; i < count; i++)
			if (findings[i].kind == order[kind])
				print_finding(&findings[i]);
	}
	if (count_kind(findings, count, WH_FINDING_BAD) == 0)
		printf("%sNothing that was looked at will drop frames.\n", blank);
	bool told = false;
	for (size_t i = 0; i < count; i++)
		told = told || findings[i].remedy[0] != '\0';
	if (told)
		puts("Nothing was changed. Most commands that do not begin with wirehaul need root.");
}

static json_t *describe(const struct wh_finding *finding)
{
	static const char *const names[] = {
		[WH_FINDING_BAD] = "bad",
		[WH_FINDING_NOTE] = "note",
		[WH_FINDING_GOOD] = "good",
	};
	json_t *object = json_object();
	/* A name in it may be any bytes, and JSON is Unicode: a command that cannot be told exactly is none. */
	json_t *remedy = finding->remedy[0] != '\0' ? json_string(finding->remedy) : NULL;
	/* jansson takes a value that could not be made, or an object that could not, as an error of its own. */
	int failed = json_object_set_new(object, "kind", json_string(names[finding->kind]));
	failed |= json_object_set_new(object, "subject", statistics_json_text(finding->subject));
	failed |= json_object_set_new(object, "text", statistics_json_text(finding->text));
	failed |= json_object_set_new(object, "remedy", remedy != NULL ? remedy : json_null());
	if (failed == 0)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *describe_all(const struct wh_finding *findings, size_t count, bool measured)
{
	json_t *object = json_object();
	json_t *array = json_array();
	int failed = 0;
	for (size_t kind = 0; kind < KINDS; kind++)
		for (size_t i = 0; i < count; i++)
			if (findings[i].kind == order[kind])
				failed |= json_array_append_new(array, describe(&findings[i]));
	failed |=
	    json_object_set_new(object, "bad", json_integer((json_int_t)count_kind(findings, count, WH_FINDING_BAD)));
	failed |= json_object_set_new(object, "notes",
				      json_integer((json_int_t)count_kind(findings, count, WH_FINDING_NOTE)));
	failed |=
	    json_object_set_new(object, "good", json_integer((json_int_t)count_kind(findings, count, WH_FINDING_GOOD)));
	failed |= json_object_set_new(object, "measured", json_boolean(measured));
	failed |= json_object_set_new(object, "findings", array);
	if (failed == 0)
		return object;
	json_decref(object);
	return NULL;
}

static bool print_json(const struct wh_finding *findings, size_t count, bool measured)
{
	json_t *object = describe_all(findings, count, measured);
	char *text = object != NULL ? json_dumps(object, JSON_INDENT(1)) : NULL;
	json_decref(object);
	if (text == NULL)
		return false;
	puts(text);
	free(text);
	return true;
}

/* ---- looking ---- */

/* Signals that end the process wait until the files of the measurement are gone, or the disk is given up. A limit on
 * the size of files shows itself as a failed write. */
static void hold_signals(sigset_t *before)
{
	static const int held[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction action = { .sa_handler = SIG_IGN };
	sigset_t signals;
	sigemptyset(&action.sa_mask);
	sigaction(SIGXFSZ, &action, NULL);
	sigemptyset(&signals);
	for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++)
		sigaddset(&signals, held[i]);
	sigprocmask(SIG_BLOCK, &signals, before);
}

static int look(const struct call *call, struct wh_message *message)
{
	struct wh_finding *findings = NULL;
	struct wh_config config;
	size_t count = 0;
	sigset_t before;
	wh_config_init(&config);
	config.interfaces = call->names;
	config.interface_count = call->count;
	config.output = call->output;
	config.min_free_percent = call->min_free;
	if (call->measure && isatty(STDERR_FILENO) == 1)
		fputs("wirehaul: measuring, for some seconds...\n", stderr);
	hold_signals(&before);
	enum wh_result result = wh_doctor(&config, call->measure, &findings, &count, message);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (result != WH_RESULT_OK)
		return STATUS_USAGE;
	int status = count_kind(findings, count, WH_FINDING_BAD) > 0 ? STATUS_BAD : STATUS_GOOD;
	if (!call->json) {
		print_findings(findings, count);
	} else if (!print_json(findings, count, call->measure)) {
		fail(message, "doctor: out of memory");
		status = STATUS_USAGE;
	}
	wh_doctor_free(findings);
	return status;
}

static int run(int argc, char **argv, struct call *call, struct wh_message *message)
{
	if (!read_call(argc, argv, call, message))
		return STATUS_USAGE;
	int status = STATUS_GOOD;
	if (call->help)
		print_help();
	else
		status = look(call, message);
	if (status != STATUS_USAGE && (fflush(stdout) != 0 || ferror(stdout) != 0)) {
		fail(message, "cannot write to standard output: %s", strerror(errno));
		status = STATUS_USAGE;
	}
	return status;
}

int doctor_main(int argc, char **argv)
{
	struct call call;
	struct wh_message message = { "" };
	int status = run(argc, argv, &call, &message);
	free_call(&call);
	if (message.text[0] != '\0' && status == STATUS_USAGE) {
		text_clean(message.text, false);
		fprintf(stderr, "wirehaul: %s\n", message.text);
	}
	return status;
}
