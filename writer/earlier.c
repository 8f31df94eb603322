/* SPDX-License-Identifier: BSD-3-Clause */
#include "writer/earlier.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ringbuf/clock.h"

/* Makes room for one more. */
static bool reserve(struct wh_earlier *found, size_t *room)
{
	if (found->count < *room)
		return true;
	size_t more = *room == 0 ? 64 : 2 * *room;
	struct wh_earlier_file *files = realloc(found->files, more * sizeof(*files));
	if (files == NULL)
		return false;
	found->files = files;
	*room = more;
	return true;
}

static enum wh_status take(const struct wh_chain_name *name, const char *file, const struct stat *about,
			   struct wh_earlier *found, size_t *room, struct wh_error *error)
{
	char path[WH_PATH_BYTES];
	struct wh_earlier_file *taken = NULL;
	wh_chain_path_of(name, file, path);
	if (reserve(found, room)) {
		taken = &found->files[found->count];
		*taken = (struct wh_earlier_file){
			.path = strdup(path),
			.bytes = (uint64_t)about->st_size,
			.modified_ns =
			    (uint64_t)about->st_mtim.tv_sec * WH_NS_PER_SECOND + (uint64_t)about->st_mtim.tv_nsec,
		};
	}
	if (taken == NULL || taken->path == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "no memory for the names of earlier files");
	found->count++;
	found->bytes += taken->bytes;
	return WH_OK;
}

/* The older one first; of two of the same time, the lower name. */
static int order(const void *a, const void *b)
{
	const struct wh_earlier_file *one = a, *other = b;
	if (one->modified_ns != other->modified_ns)
		return one->modified_ns < other->modified_ns ? -1 : 1;
	return strcmp(one->path, other->path);
}

enum wh_status wh_earlier_find(const struct wh_chain_name *name, int directory, struct wh_earlier *found,
			       struct wh_error *error)
{
	size_t room = 0;
	*found = (struct wh_earlier){ 0 };
	/* A descriptor of its own: reading moves it. */
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
	if (entries == NULL) {
		int reason = errno;
		if (fd >= 0)
			close(fd);
		return wh_error_system(error, reason, "cannot look for earlier files in %s", name->directory);
	}
	enum wh_status status = WH_OK;
	for (const struct dirent *entry; status == WH_OK && (entry = readdir(entries)) != NULL;) {
		struct stat about;
		if (wh_chain_has_name(name, entry->d_name) &&
		    fstatat(fd, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(about.st_mode) &&
		    about.st_nlink == 1 && about.st_uid == geteuid())
			status = take(name, entry->d_name, &about, found, &room, error);
	}
	closedir(entries);
	if (found->count > 1)
		qsort(found->files, found->count, sizeof(found->files[0]), order);
	return status;
}

void wh_earlier_free(struct wh_earlier *found)
{
	for (size_t i = 0; i < found->count; i++)
		free(found->files[i].path);
	free(found->files);
	*found = (struct wh_earlier){ 0 };
}
