/* SPDX-License-Identifier: BSD-3-Clause */
/* wirehaul repair. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "option_word.h"
#include "text.h"
#include "verify.h"

enum { OPTION_IN_PLACE = 256 };

static const char help[] =
    "usage: wirehaul repair FILE -o OUT\n"
    "       wirehaul repair [--in-place] FILE...\n"
    "\n"
    "Writes what can be saved of a capture file into a new one that every program reads, and says what that is. The\n"
    "file itself stays as it is. Without -o, trace.pcapng becomes trace_repaired.pcapng beside it, and a file that is\n"
    "whole is left alone.\n"
    "\n"
    "  -o, --output OUT   the new file, which must not exist\n"
    "      --in-place     replace FILE by the new one once that is complete\n"
    "  -q, --quiet        only errors\n"
    "  -h, --help         show this text\n"
    "\n"
    "Exit status: 0 done; 2 wrong usage, or nothing in a file can be saved; 4 reading or writing failed.\n";

struct repair_options {
	const char *output; /* borrowed from argv; NULL: beside the file */
	bool in_place, quiet;
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

static int refuse_option(int found, char **argv)
{
	char word[64];
	option_word(argv, word, sizeof(word));
	if (found == ':')
		complain("repair: a value is missing; -o takes the name of the new file");
	else
		complain("repair: %s is no option of it; wirehaul repair --help lists them all", word);
	return WH_RESULT_USAGE;
}

/* Reads the options. Returns -1 to go on, or the exit status. */
static int options_read(int argc, char **argv, struct repair_options *options)
{
	static const struct option names[] = { { "output", required_argument, NULL, 'o' },
					       { "in-place", no_argument, NULL, OPTION_IN_PLACE },
					       { "quiet", no_argument, NULL, 'q' },
					       { "help", no_argument, NULL, 'h' },
					       { 0 } };
	optind = 0; /* getopt begins anew */
	opterr = 0;
	int found;
	while ((found = getopt_long(argc, argv, ":o:qh", names, NULL)) != -1) {
		switch (found) {
		case 'o':
			options->output = optarg;
			break;
		case OPTION_IN_PLACE:
			options->in_place = true;
			break;
		case 'q':
			options->quiet = true;
			break;
		case 'h':
			fputs(help, stdout);
			return WH_RESULT_OK;
		default:
			return refuse_option(found, argv);
		}
	}
	const char *wrong = NULL;
	if (optind == argc)
		wrong = "name the file that is to be repaired";
	else if (options->output != NULL && options->in_place)
		wrong = "-o and --in-place do not go together: give one of them";
	else if (options->output != NULL && argc - optind > 1)
		wrong = "-o takes one file at a time; without it each is repaired beside itself";
	else if (options->output != NULL && strcmp(options->output, "-") == 0)
		wrong = "-o - is not possible: the new file is read again to check it; name a file";
	if (wrong == NULL)
		return -1;
	complain("repair: %s", wrong);
	return WH_RESULT_USAGE;
}

static void print_made(const char *path, const char *out, const struct wh_file_check *made,
		       const struct repair_options *options)
{
	if (options->quiet)
		return;
	char line[2 * PATH_MAX];
	if (out != NULL)
		snprintf(line, sizeof(line), "%s: repaired as %s", path, out);
	else
		snprintf(line, sizeof(line), "%s: repaired in its place", path);
	text_clean(line, false);
	printf("%s: %s, %s frame%s", line, wh_file_health_name(made->health), text_count(made->frames).s,
	       made->frames == 1 ? "" : "s");
	if (made->chunks > 0)
		printf(" in %s chunk%s", text_count(made->chunks).s, made->chunks == 1 ? "" : "s");
	if (made->what[0] != '\0')
		printf("; %s", made->what);
	putchar('\n');
	fflush(stdout);
}

/* trace.pcapng -> trace_repaired.pcapng. False: too long. */
static bool name_beside(const char *path, char *out, size_t size)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	const char *dot = strrchr(name, '.');
	size_t stem = dot != NULL && dot != name ? (size_t)(dot - path) : strlen(path);
	int length = snprintf(out, size, "%.*s_repaired%s", (int)stem, path, path + stem);
	return length > 0 && (size_t)length < size;
}

/* dir/trace.pcapng -> dir/.trace.pcapng.wirehaul-PID. False: too long. */
static bool name_temporary(const char *path, char *out, size_t size)
{
	const char *slash = strrchr(path, '/');
	size_t directory = slash != NULL ? (size_t)(slash + 1 - path) : 0;
	int length =
	    snprintf(out, size, "%.*s.%s.wirehaul-%ld", (int)directory, path, path + directory, (long)getpid());
	return length > 0 && (size_t)length < size;
}

static enum wh_result repair_as(const char *path, const char *out, const struct repair_options *options)
{
	struct wh_file_check made;
	struct wh_message message = { "" };
	enum wh_result result = wh_file_repair(path, out, &made, &message);
	if (result != WH_RESULT_OK)
		complain("%s", message.text);
	else
		print_made(path, out, &made, options);
	return result;
}

/* ---- in its place ---- */

/*
 * Whether somebody has the file open for writing: a file that a capture still writes must not be replaced, for what
 * comes would go into a file without a name. The kernel gives a read lease only where nobody has. Where it cannot tell,
 * it is taken for no.
 */
static bool is_being_written(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0)
		return errno == EAGAIN;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return false;
}

/* Gives the new file at TEMPORARY the owner and mode of the old one, as far as that is allowed. */
static void likeness_give(const char *temporary, const struct stat *old)
{
	int fd = open(temporary, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	struct stat now;
	bool same = fstat(fd, &now) == 0 && now.st_uid == old->st_uid && now.st_gid == old->st_gid;
	/* Nobody gets more rights than the old file gave: without its owner and group, only the mode of its owner. */
	if (same || fchown(fd, old->st_uid, old->st_gid) == 0)
		(void)!fchmod(fd, old->st_mode & 0777);
	close(fd);
}

static void directory_sync(const char *path)
{
	char directory[PATH_MAX] = ".";
	const char *slash = strrchr(path, '/');
	if (slash != NULL)
		snprintf(directory, sizeof(directory), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

/* Puts the file at TEMPORARY, which was made of the one that is OLD, in the place of PATH. */
static enum wh_result replace(const char *path, const char *temporary, int fd, const struct stat *old)
{
	struct stat now, named;
	bool same = fstat(fd, &now) == 0 && lstat(path, &named) == 0 && named.st_ino == old->st_ino &&
		    named.st_dev == old->st_dev && now.st_size == old->st_size &&
		    now.st_mtim.tv_sec == old->st_mtim.tv_sec && now.st_mtim.tv_nsec == old->st_mtim.tv_nsec;
	if (!same || is_being_written(fd)) {
		complain("%s was changed while it was repaired, and stays as it is: try again when nobody writes it",
			 path);
		return WH_RESULT_ERROR;
	}
	likeness_give(temporary, old);
	if (rename(temporary, path) != 0) {
		complain("cannot replace %s: %s", path, strerror(errno));
		return WH_RESULT_ERROR;
	}
	directory_sync(path);
	return WH_RESULT_OK;
}

static enum wh_result repair_to_replace(const char *path, int fd, const struct repair_options *options)
{
	char temporary[PATH_MAX];
	struct stat old;
	if (fstat(fd, &old) != 0 || !name_temporary(path, temporary, sizeof(temporary))) {
		complain("cannot replace %s: its name is too long", path);
		return WH_RESULT_USAGE;
	}
	if (is_being_written(fd)) {
		complain("%s is being written by somebody, and is not replaced: stop the capture first, or repair it "
			 "with -o",
			 path);
		return WH_RESULT_USAGE;
	}
	struct wh_file_check made;
	struct wh_message message = { "" };
	enum wh_result result = wh_file_repair(path, temporary, &made, &message);
	if (result != WH_RESULT_OK) {
		complain("%s", message.text);
		return result;
	}
	if (made.health != WH_FILE_WHOLE) {
		complain("%s would not be whole when repaired (%s), and stays as it is: repair it with -o", path,
			 made.what);
		result = WH_RESULT_ERROR;
	} else {
		result = replace(path, temporary, fd, &old);
	}
	if (result != WH_RESULT_OK)
		unlink(temporary);
	else
		print_made(path, NULL, &made, options);
	return result;
}

static enum wh_result repair_in_place(const char *path, const struct repair_options *options)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ELOOP) {
		complain("%s is a symbolic link, which would be replaced: name the file itself", path);
		return WH_RESULT_USAGE;
	}
	if (fd < 0) {
		complain("cannot open %s: %s", path, strerror(errno));
		return WH_RESULT_USAGE;
	}
	enum wh_result result = repair_to_replace(path, fd, options);
	close(fd);
	return result;
}

/* ---- the command ---- */

static enum wh_result repair_one(const char *path, const struct repair_options *options)
{
	char out[PATH_MAX];
	if (options->output != NULL)
		return repair_as(path, options->output, options);
	struct wh_file_check check;
	struct wh_message message = { "" };
	enum wh_result result = wh_file_verify(path, &check, &message);
	if (result != WH_RESULT_OK) {
		complain("%s", message.text);
		return result;
	}
	if (check.health == WH_FILE_WHOLE) {
		if (!options->quiet) {
			snprintf(out, sizeof(out), "%s", path);
			text_clean(out, false);
			printf("%s: whole, nothing to repair\n", out);
		}
		return WH_RESULT_OK;
	}
	if (options->in_place)
		return repair_in_place(path, options);
	if (!name_beside(path, out, sizeof(out))) {
		complain("%s: the name of the repaired file would be too long; choose one with -o", path);
		return WH_RESULT_USAGE;
	}
	return repair_as(path, out, options);
}

int repair_main(int argc, char **argv)
{
	struct repair_options options = { 0 };
	int status = options_read(argc, argv, &options);
	if (status >= 0)
		return status;
	/* A file too large is a failed write like any other; and whoever opens a file while a lease is asked for makes
	   no difference. */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGIO, SIG_IGN);
	status = WH_RESULT_OK;
	for (int i = optind; i < argc; i++) {
		int result = (int)repair_one(argv[i], &options);
		if (result > status)
			status = result;
	}
	if (fflush(stdout) != 0 || ferror(stdout) != 0) {
		complain("cannot write to standard output: %s", strerror(errno));
		return WH_RESULT_ERROR;
	}
	return status;
}
