/* SPDX-License-Identifier: BSD-3-Clause */
#include "profile.h"

#include "option_parsers.h"
#include "options.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Far more than every option with a long filter takes; it keeps the memory for a wrong file small. */
#define PROFILE_BYTES_MAX 65536

/* The one heading that a profile may have, for readers of INI files that insist on one. */
#define SECTION "wirehaul"

/* Not an option, but the words behind the options. */
#define FILTER "filter"

struct profile_entry {
	unsigned line;
	char *name; /* owned, and the value behind it in the same piece of memory */
	char *value;
};

struct profile {
	char *path; /* owned */
	struct profile_entry *entries;
	size_t count;
};

/* A profile on its way through the library, which asks for lines and hands back names and values. */
struct reading {
	const char *at;
	size_t left;
	unsigned line;  /* that the library was given last, counted from 1 */
	bool continued; /* it begins with a blank */
	bool failed;    /* the message says why; everything that follows is passed over */
	struct profile *profile;
	struct wh_message *message;
};

/* Fills *MESSAGE with "PATH:LINE: " and the formatted words. */
__attribute__((format(printf, 4, 5))) static void refuse_line(const char *path, unsigned line,
							      struct wh_message *message, const char *format, ...)
{
	int length = snprintf(message->text, sizeof(message->text), "%.300s:%u: ", path, line);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message->text + length, sizeof(message->text) - (size_t)length, format, arguments);
	va_end(arguments);
	text_clean(message->text, false);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/*
 * Whether the library will take the line as it stands. It takes " ;" for the beginning of a comment and drops the rest,
 * which in a command to run would be a silent loss.
 */
static bool check_line(struct reading *reading, const char *line, size_t length)
{
	const char *path = reading->profile->path;
	/* The library passes over a byte order mark. */
	bool marked = reading->line == 1 && length >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0;
	size_t first = marked ? 3 : 0;
	while (first < length && is_blank(line[first]))
		first++;
	bool comment = first < length && (line[first] == '#' || line[first] == ';');
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)line[i];
		bool line_end = c == '\r' && i + 1 == length;
		if ((c < ' ' && c != '\t' && !line_end) || c == 0x7f) {
			refuse_line(path, reading->line, reading->message,
				    "there is a control character in this line; a profile is a text file");
			return false;
		}
		if (!comment && i > 0 && c == ';' && is_blank(line[i - 1])) {
			refuse_line(path, reading->line, reading->message,
				    "';' behind a blank would begin a comment: give a comment a line of its own, and "
				    "leave out the blank where the ';' belongs to the value");
			return false;
		}
	}
	return true;
}

/* Gives the library the next line, as fgets() would. */
static char *next_line(char *to, int room, void *stream)
{
	struct reading *reading = stream;
	if (reading->failed || reading->left == 0 || room < 2)
		return NULL;
	const char *line = reading->at;
	const char *end = memchr(line, '\n', reading->left);
	size_t length = end != NULL ? (size_t)(end - line) : reading->left;
	reading->line++;
	reading->continued = is_blank(line[0]);
	reading->at += length + (end != NULL ? 1 : 0);
	reading->left -= length + (end != NULL ? 1 : 0);
	/* With its end and the NUL it must fit, or the library would take it for two lines. */
	if (length + 2 > (size_t)room) {
		refuse_line(reading->profile->path, reading->line, reading->message,
			    "a line has at most %d bytes; continue a filter on lines that begin with a blank",
			    room - 2);
		reading->failed = true;
		return NULL;
	}
	reading->failed = !check_line(reading, line, length);
	if (reading->failed)
		return NULL;
	memcpy(to, line, length);
	to[length] = '\n';
	to[length + 1] = '\0';
	return to;
}

/* Sets an entry's name and value. False without memory. */
static bool fill_entry(struct profile_entry *entry, const char *name, const char *value)
{
	size_t name_size = strlen(name) + 1;
	size_t value_size = strlen(value) + 1;
	entry->name = malloc(name_size + value_size);
	if (entry->name == NULL)
		return false;
	memcpy(entry->name, name, name_size);
	entry->value = entry->name + name_size;
	memcpy(entry->value, value, value_size);
	return true;
}

static bool add_entry(struct reading *reading, const char *name, const char *value)
{
	struct profile *profile = reading->profile;
	struct profile_entry *entries = realloc(profile->entries, (profile->count + 1) * sizeof(*entries));
	if (entries == NULL)
		return false;
	profile->entries = entries;
	struct profile_entry *entry = &entries[profile->count];
	entry->line = reading->line;
	if (!fill_entry(entry, name, value))
		return false;
	profile->count++;
	return true;
}

/* Puts another line of a filter behind what there is of it. */
static bool continue_entry(struct profile_entry *entry, const char *value)
{
	struct profile_entry whole = { .line = entry->line };
	size_t size = strlen(entry->value) + 1 + strlen(value) + 1;
	char *joined = malloc(size);
	if (joined == NULL)
		return false;
	snprintf(joined, size, "%s %s", entry->value, value);
	bool filled = fill_entry(&whole, entry->name, joined);
	free(joined);
	if (!filled)
		return false;
	free(entry->name);
	*entry = whole;
	return true;
}

/* Takes a name and its value from the library, whose pointers hold for this call only. Returns 0 to refuse them. */
static int take_pair(void *user, const char *section, const char *name, const char *value)
{
	struct reading *reading = user;
	struct profile *profile = reading->profile;
	if (reading->failed)
		return 0;
	reading->failed = true;
	if (section[0] != '\0' && strcmp(section, SECTION) != 0) {
		refuse_line(profile->path, reading->line, reading->message,
			    "a profile has no section '%.40s': leave the heading out, or write [" SECTION "]", section);
		return 0;
	}
	bool filter = strcmp(name, FILTER) == 0;
	if (reading->continued && !filter) {
		refuse_line(profile->path, reading->line, reading->message,
			    "begin the line with its name: behind a blank goes on the filter of the lines before, and "
			    "nothing else");
		return 0;
	}
	struct profile_entry *last = profile->count > 0 ? &profile->entries[profile->count - 1] : NULL;
	const char *text = value != NULL ? value : "";
	bool joins = reading->continued && last != NULL && strcmp(last->name, FILTER) == 0;
	reading->failed = joins ? !continue_entry(last, text) : !add_entry(reading, name, text);
	if (reading->failed)
		refuse_line(profile->path, reading->line, reading->message, "there is no memory left for the profile");
	return reading->failed ? 0 : 1;
}

enum wh_result profile_parse(const char *path, const char *text, size_t length, struct profile **parsed,
			     struct wh_message *message)
{
	struct profile *profile = calloc(1, sizeof(*profile));
	char *copy = strdup(path);
	if (profile == NULL || copy == NULL) {
		free(profile);
		free(copy);
		snprintf(message->text, sizeof(message->text), "there is no memory left for the profile");
		return WH_RESULT_USAGE;
	}
	profile->path = copy;
	struct reading reading = { .at = text, .left = length, .profile = profile, .message = message };
	int bad_line = ini_parse_stream(next_line, &reading, take_pair, &reading);
	if (!reading.failed && bad_line == 0) {
		*parsed = profile;
		return WH_RESULT_OK;
	}
	if (!reading.failed)
		refuse_line(path, bad_line > 0 ? (unsigned)bad_line : reading.line, message,
			    "write an option as 'name = value', and one without a value as 'name = yes'");
	profile_free(profile);
	return WH_RESULT_USAGE;
}

/* A name without a slash, of characters that mean nothing to a shell or a path. */
static bool is_plain_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@:+-";
	return name[0] != '.' && name[0] != '-' && name[0] != '\0' && name[strspn(name, allowed)] == '\0' &&
	       strlen(name) <= 128;
}

/* Fills *MESSAGE and returns -1. */
__attribute__((format(printf, 3, 4))) static int refuse_file(struct wh_message *message, const char *path,
							     const char *format, ...)
{
	int length = snprintf(message->text, sizeof(message->text), "--profile: %.300s ", path);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message->text + length, sizeof(message->text) - (size_t)length, format, arguments);
	va_end(arguments);
	text_clean(message->text, false);
	return -1;
}

/* Opens PATH if it is a file that only those can have written who may say what runs here. Returns a descriptor or -1.
 */
static int open_trusted(const char *path, struct wh_message *message)
{
	/* Not blocking, so that a pipe without a writer is refused and not waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd == -1)
		return refuse_file(message, path, "cannot be opened: %s%s", strerror(errno),
				   errno == EACCES ? "; whoever captures must be able to read it" : "");
	struct stat found;
	int result = fd;
	if (fstat(fd, &found) != 0)
		result = refuse_file(message, path, "cannot be looked at: %s", strerror(errno));
	else if (!S_ISREG(found.st_mode))
		result = refuse_file(message, path, "is no ordinary file");
	else if (found.st_uid != 0 && found.st_uid != geteuid())
		result = refuse_file(message, path,
				     "belongs to another user, who could have anything run: chown it to root or to "
				     "the user of the capture");
	else if ((found.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		result = refuse_file(message, path,
				     "can be written by others than its owner, who could have anything run: chmod "
				     "go-w it");
	if (result == -1)
		close(fd);
	return result;
}

/* Reads FD to its end into TEXT, which has room for PROFILE_BYTES_MAX + 1. Returns the length, or -1 with a message. */
static ssize_t read_text(int fd, const char *path, char *text, struct wh_message *message)
{
	size_t length = 0;
	while (length <= PROFILE_BYTES_MAX) {
		ssize_t count = read(fd, text + length, PROFILE_BYTES_MAX + 1 - length);
		if (count == 0)
			return (ssize_t)length;
		if (count > 0)
			length += (size_t)count;
		else if (errno != EINTR)
			return refuse_file(message, path, "cannot be read: %s", strerror(errno));
	}
	return refuse_file(message, path, "is larger than 64 KiB; name a profile");
}

enum wh_result profile_read(const char *name, struct profile **profile, struct wh_message *message)
{
	char path[PATH_MAX];
	if (strchr(name, '/') == NULL && !is_plain_name(name)) {
		snprintf(message->text, sizeof(message->text),
			 "--profile: '%.60s' is no name of a profile: give letters and digits, as in lan "
			 "for " PROFILE_DIRECTORY "/lan.conf, or a path with a '/'",
			 name);
		text_clean(message->text, false);
		return WH_RESULT_USAGE;
	}
	int wanted = strchr(name, '/') != NULL ? snprintf(path, sizeof(path), "%s", name)
					       : snprintf(path, sizeof(path), "%s/%s.conf", PROFILE_DIRECTORY, name);
	if (wanted < 0 || (size_t)wanted >= sizeof(path)) {
		snprintf(message->text, sizeof(message->text), "--profile: the path is too long");
		return WH_RESULT_USAGE;
	}
	int fd = open_trusted(path, message);
	if (fd == -1)
		return WH_RESULT_USAGE;
	char *text = malloc(PROFILE_BYTES_MAX + 1);
	ssize_t length = -1;
	if (text == NULL)
		snprintf(message->text, sizeof(message->text), "there is no memory left for the profile");
	else
		length = read_text(fd, path, text, message);
	close(fd);
	enum wh_result result = WH_RESULT_USAGE;
	if (length >= 0)
		result = profile_parse(path, text, (size_t)length, profile, message);
	free(text);
	return result;
}

/* Options that speak of the command line itself, or do something else than capture. */
static bool has_no_place(enum option_id id)
{
	return id == OPTION_PROFILE || id == OPTION_HELP || id == OPTION_VERSION || id == OPTION_LIST_INTERFACES;
}

static bool may_repeat(enum option_id id)
{
	return id == OPTION_INTERFACE || id == OPTION_AUTOSTOP || id == OPTION_VERBOSE;
}

/* Whether the command line, with the options in GIVEN, makes option ID of a profile void. */
static bool is_beaten(enum option_id id, uint64_t given, bool filtered)
{
	/* Of these only one of the two can be meant, and the command line knows which. */
	static const enum option_id rivals[][2] = {
		{ OPTION_QUIET, OPTION_VERBOSE },
		{ OPTION_INTERFACE, OPTION_READ },
	};
	uint64_t void_ids = given;
	for (size_t i = 0; i < sizeof(rivals) / sizeof(rivals[0]); i++) {
		if ((given >> rivals[i][0] & 1) != 0)
			void_ids |= UINT64_C(1) << rivals[i][1];
		if ((given >> rivals[i][1] & 1) != 0)
			void_ids |= UINT64_C(1) << rivals[i][0];
	}
	return (void_ids >> id & 1) != 0 || (id == OPTION_FILTER_FILE && filtered);
}

/* Reads yes or no, for an option without a value. */
static bool read_switch(const char *value, bool *on)
{
	static const char *const words[][2] = { { "yes", "no" }, { "true", "false" }, { "on", "off" } };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		for (int j = 0; j < 2; j++) {
			if (strcasecmp(value, words[i][j]) == 0) {
				*on = j == 0;
				return true;
			}
		}
	}
	return false;
}

static bool take_filter(const struct profile_entry *entry, struct options *options, struct wh_message *message)
{
	if (entry->value[strspn(entry->value, " \t")] == '\0') {
		snprintf(message->text, sizeof(message->text), "the filter is empty: write one, or leave the line out");
		return false;
	}
	options->filter = strdup(entry->value);
	if (options->filter != NULL)
		return true;
	snprintf(message->text, sizeof(message->text), "there is no memory left for the filter");
	return false;
}

/* Has the option's own parser read the value. */
static bool take_option(const struct profile_entry *entry, const struct option_row *row, enum option_id id,
			struct options *options, struct wh_message *message)
{
	if (row->argument == NULL) {
		bool on = false;
		if (!read_switch(entry->value, &on)) {
			snprintf(message->text, sizeof(message->text), "%s takes yes or no, not '%.60s'", row->name,
				 entry->value);
			return false;
		}
		if (!on)
			return true;
	}
	/* Without its letter, so that the parser's words are about the name that is in the profile. */
	struct option_row named = *row;
	named.letter = '\0';
	if (!row->parse(options, &named, row->argument != NULL ? entry->value : NULL, message))
		return false;
	options->given |= UINT64_C(1) << id;
	return true;
}

/* Where each option, and behind them the filter, was found first; 0: not yet. */
struct found_lines {
	unsigned first[OPTION_TOTAL + 1];
};

static bool take_entry(const struct profile_entry *entry, uint64_t given, bool filtered, struct found_lines *lines,
		       struct options *options, struct wh_message *message)
{
	enum option_id id = OPTION_TOTAL;
	bool filter = strcmp(entry->name, FILTER) == 0;
	const struct option_row *row = filter ? NULL : option_named(entry->name, &id);
	if (!filter && row == NULL) {
		snprintf(message->text, sizeof(message->text),
			 "there is no option '%.40s': give a long name as in wirehaul --help, without its dashes, or "
			 "filter",
			 entry->name);
		return false;
	}
	if (!filter && has_no_place(id)) {
		snprintf(message->text, sizeof(message->text), "%s belongs on the command line, not into a profile",
			 row->name);
		return false;
	}
	if (lines->first[id] != 0 && !may_repeat(id)) {
		snprintf(message->text, sizeof(message->text), "%s is in line %u already: give it once", entry->name,
			 lines->first[id]);
		return false;
	}
	if (lines->first[id] == 0)
		lines->first[id] = entry->line;
	if (filter)
		return filtered || (given >> OPTION_FILTER_FILE & 1) != 0 || take_filter(entry, options, message);
	return is_beaten(id, given, filtered) || take_option(entry, row, id, options, message);
}

enum wh_result profile_apply(const struct profile *profile, uint64_t given, bool filtered, struct options *options,
			     struct wh_message *message)
{
	struct found_lines lines = { { 0 } };
	for (size_t i = 0; i < profile->count; i++) {
		const struct profile_entry *entry = &profile->entries[i];
		struct wh_message what = { "" };
		if (take_entry(entry, given, filtered, &lines, options, &what))
			continue;
		refuse_line(profile->path, entry->line, message, "%.300s", what.text);
		return WH_RESULT_USAGE;
	}
	return WH_RESULT_OK;
}

void profile_free(struct profile *profile)
{
	if (profile == NULL)
		return;
	for (size_t i = 0; i < profile->count; i++)
		free(profile->entries[i].name);
	free(profile->entries);
	free(profile->path);
	free(profile);
}
