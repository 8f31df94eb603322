/* SPDX-License-Identifier: BSD-3-Clause */
#include "writer/chain.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ringbuf/clock.h"

/* What "_00001_20260101000000" and a number of up to 20 digits may take. */
enum { NUMBER_LEAST = 5, NUMBER_MOST = 20, DATE_DIGITS = 14, STAMP_BYTES = 40 };

/* No two tags may have the same name, or one chain would take the other's files for its own: so '%' is written out,
 * too. What some file system refuses counts as unfit on all. */
static bool is_unfit(char c)
{
	return (unsigned char)c < ' ' || strchr("/\\%:*?\"<>|", c) != NULL;
}

/* Returns how many bytes tag_put() writes. */
static size_t tag_length(const char *tag)
{
	size_t length = 0;
	for (; *tag != '\0'; tag++)
		length += is_unfit(*tag) ? 3 : 1;
	return length;
}

/* Writes TAG and its end to TO, each byte that is unfit for a file name as "%0A". */
static void tag_put(const char *tag, char *to)
{
	static const char digits[] = "0123456789ABCDEF";
	for (; *tag != '\0'; tag++) {
		if (is_unfit(*tag)) {
			*to++ = '%';
			*to++ = digits[(unsigned char)*tag >> 4];
			*to++ = digits[(unsigned char)*tag & 15];
		} else {
			*to++ = *tag;
		}
	}
	*to = '\0';
}

enum wh_status wh_chain_name_parse(const char *path, const char *tag, struct wh_chain_name *name,
				   struct wh_error *error)
{
	const char *slash = strrchr(path, '/');
	const char *file = slash != NULL ? slash + 1 : path;
	size_t directory_bytes = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
	const char *dot = strrchr(file, '.');
	if (dot == NULL || dot == file)
		dot = file + strlen(file);
	size_t stem_bytes = (size_t)(dot - file);
	size_t tag_bytes = tag != NULL ? tag_length(tag) + 1 : 0;
	if (stem_bytes == 0 || strcmp(file, ".") == 0 || strcmp(file, "..") == 0)
		return wh_error_set(error, WH_ERR_INPUT, "\"%s\" names no file: give a path such as %.*s%strace.pcapng",
				    path, (int)(directory_bytes < 200 ? directory_bytes : 200), path,
				    directory_bytes > 1 ? "/" : "");
	/* NAME_MAX is 255 bytes on every file system that matters here. */
	if (directory_bytes + stem_bytes + tag_bytes + strlen(dot) + STAMP_BYTES + 2 > sizeof(name->directory) ||
	    stem_bytes + tag_bytes + strlen(dot) + STAMP_BYTES > 255 || strlen(dot) >= sizeof(name->extension))
		return wh_error_set(error, WH_ERR_INPUT, "the output path is too long: choose a shorter file name");
	if (directory_bytes == 0)
		snprintf(name->directory, sizeof(name->directory), ".");
	else
		snprintf(name->directory, sizeof(name->directory), "%.*s", (int)directory_bytes, path);
	int used = snprintf(name->stem, sizeof(name->stem), "%.*s", (int)stem_bytes, file);
	snprintf(name->extension, sizeof(name->extension), "%s", dot);
	if (tag != NULL) {
		name->stem[used++] = '_';
		tag_put(tag, name->stem + used);
	}
	return WH_OK;
}

/* Writes NAME's directory and the slash behind it to PATH; returns their length. No path is cut off:
 * wh_chain_name_parse() has measured it. */
static size_t directory_put(const struct wh_chain_name *name, char path[WH_PATH_BYTES])
{
	const char *directory = strcmp(name->directory, ".") == 0 ? "" : name->directory;
	const char *slash = directory[0] == '\0' || strcmp(directory, "/") == 0 ? "" : "/";
	int length = snprintf(path, WH_PATH_BYTES, "%s%s", directory, slash);
	return length < WH_PATH_BYTES ? (size_t)length : WH_PATH_BYTES - 1;
}

void wh_chain_path(const struct wh_chain_name *name, uint64_t number, uint64_t wall_ns, char path[WH_PATH_BYTES])
{
	time_t seconds = (time_t)(wall_ns / WH_NS_PER_SECOND);
	struct tm local;
	char stamp[32] = "";
	if (localtime_r(&seconds, &local) != NULL)
		strftime(stamp, sizeof(stamp), "%Y%m%d%H%M%S", &local);
	size_t used = directory_put(name, path);
	int length = snprintf(path + used, WH_PATH_BYTES - used, "%s_%05llu_%s%s", name->stem,
			      (unsigned long long)number, stamp, name->extension);
	if (used + (size_t)length >= WH_PATH_BYTES)
		path[WH_PATH_BYTES - 1] = '\0';
}

void wh_chain_path_of(const struct wh_chain_name *name, const char *file, char path[WH_PATH_BYTES])
{
	size_t used = directory_put(name, path);
	snprintf(path + used, WH_PATH_BYTES - used, "%s", file);
}

bool wh_chain_has_name(const struct wh_chain_name *name, const char *file)
{
	static const char digits[] = "0123456789";
	size_t stem = strlen(name->stem);
	if (strncmp(file, name->stem, stem) != 0 || file[stem] != '_')
		return false;
	file += stem + 1;
	size_t number = strspn(file, digits);
	if (number < NUMBER_LEAST || number > NUMBER_MOST || file[number] != '_')
		return false;
	file += number + 1;
	return strspn(file, digits) == DATE_DIGITS && strcmp(file + DATE_DIGITS, name->extension) == 0;
}

/* A new file takes a header and a trailer besides what is put into it, and the present one takes its trailer. */
enum wh_chain_verdict wh_chain_next_file(const struct wh_chain_limits *limits, const struct wh_chain_state *state,
					 uint64_t next_bytes, uint64_t trailer_bytes)
{
	uint64_t would_be =
	    state->closed_bytes + state->file_bytes + state->header_bytes + next_bytes + 2 * trailer_bytes;
	if (limits->total_bytes != 0 && would_be > limits->total_bytes)
		return WH_CHAIN_STOP_BYTES;
	if (limits->total_files != 0 && state->files >= limits->total_files)
		return WH_CHAIN_STOP_FILES;
	return WH_CHAIN_NEXT_FILE;
}

enum wh_chain_verdict wh_chain_before_write(const struct wh_chain_limits *limits, const struct wh_chain_state *state,
					    uint64_t next_bytes, uint64_t trailer_bytes)
{
	uint64_t would_be = state->file_bytes + next_bytes + trailer_bytes;
	if (limits->total_bytes != 0 && state->closed_bytes + would_be > limits->total_bytes)
		return WH_CHAIN_STOP_BYTES;
	if (limits->file_bytes != 0 && would_be > limits->file_bytes)
		return wh_chain_next_file(limits, state, next_bytes, trailer_bytes);
	return WH_CHAIN_GO_ON;
}

enum wh_chain_verdict wh_chain_at_time(const struct wh_chain_limits *limits, const struct wh_chain_state *state,
				       uint64_t trailer_bytes, uint64_t now_ns)
{
	if (state->deadline_ns == 0 || now_ns < state->deadline_ns)
		return WH_CHAIN_GO_ON;
	return wh_chain_next_file(limits, state, 0, trailer_bytes);
}

void wh_chain_file_begun(const struct wh_chain_limits *limits, struct wh_chain_state *state, uint64_t now_ns)
{
	state->files++;
	if (limits->file_ns == 0)
		return;
	if (state->deadline_ns == 0)
		state->deadline_ns = now_ns + limits->file_ns;
	else if (now_ns >= state->deadline_ns)
		state->deadline_ns += ((now_ns - state->deadline_ns) / limits->file_ns + 1) * limits->file_ns;
}

uint64_t wh_chain_time_left(const struct wh_chain_state *state, uint64_t now_ns)
{
	if (state->deadline_ns == 0)
		return UINT64_MAX;
	return now_ns >= state->deadline_ns ? 0 : state->deadline_ns - now_ns;
}
