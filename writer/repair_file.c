/* SPDX-License-Identifier: BSD-3-Clause */
/* A repair from file to file: the new one has no name until all of it is on the disk. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "writer/chain.h"
#include "writer/repair.h"

enum { COPY_BYTES = 1 << 20, TEMPORARY_TRIES = 16, TEMPORARY_BYTES = 64 };

/* Where OUT goes. */
struct place {
	int directory_fd;
	const char *name; /* in the directory; borrowed */
	int fd;
	char temporary[TEMPORARY_BYTES]; /* the file's name until it is complete; empty where it has none */
};

struct copy {
	int in, out;
	bool by_hand; /* the kernel does not copy between these two */
	uint8_t *buffer;
};

static enum wh_status out_write(void *context, const uint8_t *bytes, size_t length, struct wh_error *error)
{
	const struct copy *copy = context;
	while (length > 0) {
		ssize_t count = write(copy->out, bytes, length);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return wh_error_system(error, count < 0 ? errno : EIO, "cannot write the repaired file");
		bytes += count;
		length -= (size_t)count;
	}
	return WH_OK;
}

static enum wh_status out_patch(void *context, uint64_t at, const uint8_t *bytes, size_t length, struct wh_error *error)
{
	const struct copy *copy = context;
	ssize_t count;
	do
		count = pwrite(copy->out, bytes, length, (off_t)at);
	while (count < 0 && errno == EINTR);
	if (count == (ssize_t)length)
		return WH_OK;
	return wh_error_system(error, count < 0 ? errno : EIO, "cannot write the repaired file");
}

/* The kernel's copy, which on some file systems shares the blocks. Returns how many bytes it did; 0: it cannot. */
static uint64_t copy_in_kernel(struct copy *copy, uint64_t offset, uint64_t length)
{
	off_t from = (off_t)offset;
	uint64_t done = 0;
	while (!copy->by_hand && done < length) {
		uint64_t wanted = length - done;
		ssize_t count = copy_file_range(copy->in, &from, copy->out, NULL,
						wanted < (1u << 30) ? (size_t)wanted : 1u << 30, 0);
		if (count < 0 && errno == EINTR)
			continue;
		/* Whatever it is, doing it by hand either works or says why not. */
		copy->by_hand = count <= 0;
		if (count > 0)
			done += (uint64_t)count;
	}
	return done;
}

static enum wh_status out_copy(void *context, uint64_t offset, uint64_t length, struct wh_error *error)
{
	struct copy *copy = context;
	uint64_t done = copy_in_kernel(copy, offset, length);
	while (done < length) {
		uint64_t wanted = length - done < COPY_BYTES ? length - done : COPY_BYTES;
		ssize_t count = pread(copy->in, copy->buffer, (size_t)wanted, (off_t)(offset + done));
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return wh_error_system(error, errno, "cannot read the damaged file");
		if (count == 0)
			return wh_error_set(error, WH_ERR_SYSTEM, "the damaged file became shorter meanwhile");
		enum wh_status status = out_write(copy, copy->buffer, (size_t)count, error);
		if (status != WH_OK)
			return status;
		done += (uint64_t)count;
	}
	return WH_OK;
}

/* ---- the new file's place ---- */

static enum wh_status exists(const char *out, struct wh_error *error)
{
	return wh_error_set(error, WH_ERR_INPUT, "%s exists already: name another file", out);
}

/* A file without a name, or, where the file system cannot, one with a name of its own. */
static enum wh_status place_create(struct place *place, const char *out, struct wh_error *error)
{
	place->fd = -1;
	if (access("/proc/self/fd", X_OK) == 0)
		place->fd = openat(place->directory_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	for (int i = 0; place->fd < 0 && i < TEMPORARY_TRIES; i++) {
		snprintf(place->temporary, sizeof(place->temporary), ".wirehaul-repair-%ld-%d", (long)getpid(), i);
		place->fd = openat(place->directory_fd, place->temporary,
				   O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (place->fd < 0 && errno != EEXIST)
			break;
	}
	if (place->fd >= 0)
		return WH_OK;
	int reason = errno;
	place->temporary[0] = '\0';
	return wh_error_system(error, reason, "cannot create %s", out);
}

static enum wh_status place_open(struct place *place, const char *out, struct wh_error *error)
{
	char directory[WH_PATH_BYTES] = ".";
	const char *slash = strrchr(out, '/');
	*place = (struct place){ .directory_fd = -1, .fd = -1, .name = slash == NULL ? out : slash + 1 };
	size_t length = slash == NULL ? 1 : slash == out ? 1 : (size_t)(slash - out);
	if (length >= sizeof(directory))
		return wh_error_set(error, WH_ERR_INPUT, "the name of the repaired file is too long");
	if (slash != NULL) {
		memcpy(directory, out, length);
		directory[length] = '\0';
	}
	if (place->name[0] == '\0' || strcmp(place->name, ".") == 0 || strcmp(place->name, "..") == 0)
		return wh_error_set(error, WH_ERR_INPUT, "%s names no file", out);
	place->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (place->directory_fd < 0) {
		int reason = errno;
		if (reason == ENOENT)
			return wh_error_set(error, WH_ERR_INPUT, "the directory %s does not exist: make it first",
					    directory);
		if (reason == ENOTDIR)
			return wh_error_set(error, WH_ERR_INPUT, "%s is no directory: name another file", directory);
		return wh_error_system(error, reason, "cannot use the directory %s", directory);
	}
	/* A word in time; what counts is that no name is taken in the end. */
	struct stat about;
	if (fstatat(place->directory_fd, place->name, &about, AT_SYMLINK_NOFOLLOW) == 0)
		return exists(out, error);
	return place_create(place, out, error);
}

/* Gives the file its name, if that is free. Returns 0, or an errno. */
static int place_name(struct place *place)
{
	char self[64];
	int to = place->directory_fd;
	if (place->temporary[0] == '\0') {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", place->fd);
		return linkat(AT_FDCWD, self, to, place->name, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
	}
	int result = renameat2(to, place->temporary, to, place->name, RENAME_NOREPLACE);
	if (result != 0 && (errno == EINVAL || errno == ENOSYS)) {
		result = linkat(to, place->temporary, to, place->name, 0);
		if (result == 0)
			unlinkat(to, place->temporary, 0);
	}
	if (result != 0)
		return errno;
	place->temporary[0] = '\0';
	return 0;
}

/* Whether the file at FD, of SIZE bytes when it was opened at OPENED, has been written to since, or not long before:
 * times of files are coarse. */
static bool is_changed(int fd, uint64_t size, time_t opened)
{
	struct stat now;
	return fstat(fd, &now) != 0 || (uint64_t)now.st_size != size || now.st_mtim.tv_sec + 1 >= opened;
}

/* All is written: makes it durable, looks at it, and names it. It was made of FROM, since STARTED. */
static enum wh_status place_finish(struct place *place, const char *out, const struct wh_inspect_source *from,
				   time_t started, struct wh_inspection *made, struct wh_error *error)
{
	struct stat about;
	if (fsync(place->fd) != 0 || fstat(place->fd, &about) != 0)
		return wh_error_system(error, errno, "cannot make %s durable", out);
	const struct wh_inspect_source source = { .fd = place->fd, .size = (uint64_t)about.st_size };
	enum wh_status status = wh_inspect(&source, NULL, made, error);
	if (status != WH_OK)
		return status;
	/* A capture only appends; but somebody may have written over what was looked at before it was copied. */
	if (made->health != WH_HEALTH_WHOLE && is_changed(from->fd, from->size, started))
		return wh_error_set(error, WH_ERR_SYSTEM,
				    "%s is not made: the damaged file was changed meanwhile; try again when nobody "
				    "writes it",
				    out);
	int reason = place_name(place);
	if (reason == EEXIST)
		return exists(out, error);
	if (reason != 0)
		return wh_error_system(error, reason, "cannot create %s", out);
	/* The name as well. Where a directory cannot be synced, it is as durable as names are there. */
	if (fsync(place->directory_fd) != 0 && errno == EIO)
		return wh_error_system(error, EIO, "cannot make the name %s durable", out);
	return WH_OK;
}

static void place_close(struct place *place)
{
	if (place->temporary[0] != '\0')
		unlinkat(place->directory_fd, place->temporary, 0);
	if (place->fd >= 0)
		close(place->fd);
	if (place->directory_fd >= 0)
		close(place->directory_fd);
}

enum wh_status wh_repair_file(const char *path, const char *out, const char *application, struct wh_inspection *made,
			      struct wh_error *error)
{
	struct place place;
	struct wh_inspect_source source = { 0 };
	enum wh_status status = wh_inspect_open(path, &source.fd, &source.size, error);
	if (status != WH_OK)
		return status;
	struct copy copy = { .in = source.fd, .buffer = malloc(COPY_BYTES) };
	const time_t started = time(NULL);
	status = place_open(&place, out, error);
	if (status == WH_OK && copy.buffer == NULL)
		status = wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	if (status == WH_OK) {
		copy.out = place.fd;
		const struct wh_repair_sink sink = {
			.context = &copy, .write = out_write, .copy = out_copy, .patch = out_patch
		};
		struct wh_error why = { 0 };
		status = wh_repair(&source, &sink, application, made, &why);
		if (status != WH_OK) {
			*error = why;
			snprintf(error->text, sizeof(error->text), "%.240s: %.260s", path, why.text);
		}
	}
	if (status == WH_OK)
		status = place_finish(&place, out, &source, started, made, error);
	place_close(&place);
	free(copy.buffer);
	close(source.fd);
	return status;
}
