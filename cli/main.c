/* SPDX-License-Identifier: BSD-3-Clause */
/* The wirehaul command: reads the command line, runs one capture, and turns signals and the clock into calls. */
#include "console.h"
#include "control_client.h"
#include "doctor.h"
#include "listing.h"
#include "options.h"
#include "session.h"
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/*
 * Makes sure that the first three descriptors are in use. If one of them were closed, the next file to be opened would
 * get its number, and what is meant for a person would be written into a capture. They are opened the wrong way
 * round, so that using them still fails.
 */
static void keep_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) != -1 || errno != EBADF)
			continue;
		int opened = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
		if (opened != -1 && opened != fd) {
			dup2(opened, fd);
			close(opened);
		}
	}
}

/* Standard output was used for text: says whether all of it got there. */
static enum wh_result finish_output(struct console *console)
{
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return WH_RESULT_OK;
	console_say(console, CONSOLE_ALWAYS, "cannot write to standard output: %s", strerror(errno));
	return WH_RESULT_ERROR;
}

static enum wh_result list_adapters(struct console *console)
{
	struct wh_adapter *adapters = NULL;
	size_t count = 0;
	struct wh_message message = { "" };
	enum wh_result result = wh_adapters_list(&adapters, &count, &message);
	if (result != WH_RESULT_OK) {
		console_say(console, CONSOLE_ALWAYS, "%s", message.text);
		return result;
	}
	listing_print(stdout, adapters, count);
	wh_adapters_free(adapters);
	return finish_output(console);
}

static enum wh_result capture(struct options *options, struct console *console)
{
	struct wh_message message = { "" };
	if (options_to_standard_output(options) && isatty(STDOUT_FILENO) == 1) {
		console_say(
		    console, CONSOLE_ALWAYS,
		    "-w - would fill this terminal with packets: send it to a pipe or a file, or name a file with -w");
		return WH_RESULT_USAGE;
	}
	enum wh_result result = options_load_filter(options, &message);
	if (result != WH_RESULT_OK) {
		console_say(console, CONSOLE_ALWAYS, "%s", message.text);
		return result;
	}
	return session_run(options, console);
}

static enum wh_result run(int argc, char **argv, struct options *options, struct console *console)
{
	struct wh_message message;
	enum wh_result result = options_parse(argc, argv, options, &message);
	if (result != WH_RESULT_OK) {
		console_say(console, CONSOLE_ALWAYS, "%s", message.text);
		return result;
	}
	console_set_level(console, options->quiet, options->verbosity);
	switch (options->command) {
	case CLI_HELP:
		options_print_help(stdout);
		return finish_output(console);
	case CLI_VERSION:
		puts("wirehaul " WIREHAUL_VERSION);
		return finish_output(console);
	case CLI_LIST:
		return list_adapters(console);
	case CLI_CAPTURE:
	default:
		return capture(options, console);
	}
}

/* What does not capture has a name of its own, which comes first. Returns whether there was one. */
static bool run_other(int argc, char **argv, int *status)
{
	static const struct {
		const char *name;
		int (*main)(int argc, char **argv);
	} others[] = {
		{ "status", control_main }, { "mark", control_main },  { "rotate", control_main },
		{ "stop", control_main },   { "verify", verify_main }, { "repair", repair_main },
		{ "doctor", doctor_main },
	};
	for (size_t i = 0; argc > 1 && i < sizeof(others) / sizeof(others[0]); i++) {
		if (strcmp(argv[1], others[i].name) != 0)
			continue;
		*status = others[i].main(argc - 1, argv + 1);
		return true;
	}
	return false;
}

/* With such a program, whoever may run it would have files read, written and commands run as somebody else. */
static bool is_set_id(void)
{
	return getuid() != geteuid() || getgid() != getegid();
}

/* Whether VARIABLE, "NAME=value", is one by which nobody is told to load anything. */
static bool is_harmless(const char *variable)
{
	static const char *const names[] = {
		"PATH=",    "HOME=", "USER=", "LOGNAME=",       "SHELL=",        "PWD=",           "TERM=",
		"COLUMNS=", "TZ=",   "LANG=", "NOTIFY_SOCKET=", "WATCHDOG_PID=", "WATCHDOG_USEC=",
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strncmp(variable, names[i], strlen(names[i])) == 0)
			return true;
	}
	return strncmp(variable, "LC_", 3) == 0;
}

/*
 * With file capabilities, whoever may run the program must not have code of his own run in it. The C library passes
 * over LD_PRELOAD and its like then; hwloc loads what HWLOC_PLUGINS_PATH names, and other libraries may do so one day.
 * Commands of -z get no more of it either.
 */
static void reduce_environment(void)
{
	if (getauxval(AT_SECURE) == 0 || environ == NULL)
		return;
	char **kept = environ;
	for (char **each = environ; *each != NULL; each++) {
		if (is_harmless(*each))
			*kept++ = *each;
	}
	*kept = NULL;
}

int main(int argc, char **argv)
{
	keep_standard_descriptors();
	if (is_set_id()) {
		fputs("wirehaul: must not be set-user-ID or set-group-ID: chmod ug-s it, and give it a capability "
		      "instead (setcap cap_net_raw+ep)\n",
		      stderr);
		return WH_RESULT_USAGE;
	}
	reduce_environment();
	int status;
	if (run_other(argc, argv, &status))
		return status;
	/* In its own place, not on the stack: the library's threads report to it until the capture is closed. */
	static struct console console;
	if (!console_init(&console)) {
		fprintf(stderr, "wirehaul: cannot start: %s\n", strerror(errno));
		return WH_RESULT_USAGE;
	}
	struct options options;
	enum wh_result result = run(argc, argv, &options, &console);
	options_free(&options);
	console_close(&console);
	return (int)result;
}
