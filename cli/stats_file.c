/* SPDX-License-Identifier: BSD-3-Clause */
#include "stats_file.h"

#include "statistics_json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A name may be taken by what an earlier process with our number left when it was killed: then the next one is tried.
 */
#define TEMPORARY_TRIES 16

#define TEMPORARY_NAME_MAX 64

static enum wh_result fail(struct wh_message *message, enum wh_result result, const char *path, const char *what,
			   int os_error)
{
	char words[128];
	snprintf(message->text, sizeof(message->text), "--stats-file %s: %s%s%s", path, what, os_error != 0 ? ": " : "",
		 os_error != 0 ? strerror_r(os_error, words, sizeof(words)) : "");
	return result;
}

/* Creates a new temporary file beside the real one. Returns its descriptor with its name in NAME, or -1 with errno. */
static int make_temporary(const struct stats_file *file, char *name, size_t size)
{
	for (int i = 0; i < TEMPORARY_TRIES; i++) {
		snprintf(name, size, ".wirehaul-stats-%ld-%d", (long)getpid(), i);
		int fd = openat(file->directory_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
		if (fd != -1 || errno != EEXIST)
			return fd;
	}
	return -1;
}

/* Splits PATH into a directory, which is opened, and a name. Returns 0, or an errno. */
static int open_directory(struct stats_file *file, const char *path)
{
	char directory[PATH_MAX] = ".";
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	if (slash != NULL) {
		size_t length = slash == path ? 1 : (size_t)(slash - path);
		if (length >= sizeof(directory))
			return ENAMETOOLONG;
		memcpy(directory, path, length);
		directory[length] = '\0';
	}
	int name_length = snprintf(file->name, sizeof(file->name), "%s", name);
	if (name_length < 0 || (size_t)name_length >= sizeof(file->name))
		return ENAMETOOLONG;
	file->directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return file->directory_fd == -1 ? errno : 0;
}

/*
 * The last step of each write puts a new file in place of whatever has the name. That must not be a device or a link
 * such as /dev/stdout, which root could replace without noticing.
 */
static const char *find_obstacle(const struct stats_file *file)
{
	struct stat found;
	if (strcmp(file->name, ".") == 0 || strcmp(file->name, "..") == 0)
		return "is a directory; add the name of a file";
	if (fstatat(file->directory_fd, file->name, &found, AT_SYMLINK_NOFOLLOW) != 0)
		return NULL;
	if (S_ISDIR(found.st_mode))
		return "is a directory; add the name of a file";
	if (S_ISLNK(found.st_mode))
		return "is a symbolic link, which would be replaced; name the file itself";
	if (!S_ISREG(found.st_mode))
		return "is no ordinary file, and would be replaced by one; choose another name";
	return NULL;
}

enum wh_result stats_file_open(struct stats_file *file, const char *path, struct wh_message *message)
{
	*file = (struct stats_file){ .directory_fd = -1, .path = path };
	int os_error = open_directory(file, path);
	if (os_error != 0)
		return fail(message, WH_RESULT_USAGE, path, "cannot open its directory", os_error);
	const char *obstacle = find_obstacle(file);
	if (obstacle != NULL) {
		stats_file_close(file);
		return fail(message, WH_RESULT_USAGE, path, obstacle, 0);
	}
	char temporary[TEMPORARY_NAME_MAX];
	int fd = make_temporary(file, temporary, sizeof(temporary));
	if (fd == -1) {
		os_error = errno;
		stats_file_close(file);
		return fail(message, WH_RESULT_USAGE, path, "cannot create a file in its directory", os_error);
	}
	close(fd);
	unlinkat(file->directory_fd, temporary, 0);
	return WH_RESULT_OK;
}

/* Writes all of TEXT. Returns 0, or an errno. */
static int write_all(int fd, const char *text, size_t bytes)
{
	while (bytes > 0) {
		ssize_t count = write(fd, text, bytes);
		if (count == -1 && errno == EINTR)
			continue;
		if (count == -1)
			return errno;
		if (count == 0)
			return EIO;
		text += count;
		bytes -= (size_t)count;
	}
	return 0;
}

/* Replaces the file by one that holds TEXT. Returns 0, or an errno. */
static int replace(struct stats_file *file, const char *text)
{
	char temporary[TEMPORARY_NAME_MAX];
	int fd = make_temporary(file, temporary, sizeof(temporary));
	if (fd == -1)
		return errno;
	int os_error = write_all(fd, text, strlen(text));
	/* Some file systems report a failed write only here. */
	if (close(fd) != 0 && os_error == 0)
		os_error = errno;
	if (os_error == 0 && renameat(file->directory_fd, temporary, file->directory_fd, file->name) != 0)
		os_error = errno;
	if (os_error != 0)
		unlinkat(file->directory_fd, temporary, 0);
	return os_error;
}

enum wh_result stats_file_write(struct stats_file *file, struct wh_capture *capture, struct wh_message *message)
{
	json_t *object = statistics_json(capture);
	/* Without a limit, 10.1 would be written with its 17 digits. */
	char *text = json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	json_decref(object);
	if (text == NULL)
		return fail(message, WH_RESULT_ERROR, file->path, "cannot put the statistics into words", ENOMEM);
	int os_error = replace(file, text);
	free(text);
	if (os_error != 0)
		return fail(message, WH_RESULT_ERROR, file->path, "cannot write the statistics", os_error);
	return WH_RESULT_OK;
}

void stats_file_close(struct stats_file *file)
{
	if (file->directory_fd != -1)
		close(file->directory_fd);
	file->directory_fd = -1;
}
