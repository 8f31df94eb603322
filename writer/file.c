/* SPDX-License-Identifier: BSD-3-Clause */
#include "writer/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A second descriptor of the same file with O_DIRECT, or -1. The file is compared, in case the name has been given to
 * something else in between. */
static int direct_descriptor(const struct wh_file *file)
{
	struct stat first, second;
	int fd = open(file->path, O_WRONLY | O_DIRECT | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(file->buffered_fd, &first) == 0 && fstat(fd, &second) == 0 && first.st_ino == second.st_ino &&
	    first.st_dev == second.st_dev)
		return fd;
	close(fd);
	errno = ESTALE;
	return -1;
}

enum wh_status wh_file_open(struct wh_file *file, const char *path, enum wh_file_direct direct, struct wh_error *error)
{
	*file = (struct wh_file){ .allocates = true };
	snprintf(file->path, sizeof(file->path), "%s", path);
	file->buffered_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file->buffered_fd < 0)
		return wh_error_system(error, errno, "cannot create %s", path);
	file->direct_fd = direct == WH_FILE_DIRECT_OFF ? -1 : direct_descriptor(file);
	file->direct = file->direct_fd >= 0;
	if (!file->direct && direct == WH_FILE_DIRECT_ON) {
		int reason = errno;
		wh_file_abandon(file);
		return wh_error_system(error, reason,
		                       "%s: the file system takes no direct writes (use --direct-io auto or off)", path);
	}
	return WH_OK;
}

static void descriptors_close(struct wh_file *file)
{
	if (file->direct_fd >= 0)
		close(file->direct_fd);
	close(file->buffered_fd);
}

enum wh_status wh_file_allocate(struct wh_file *file, uint64_t end, struct wh_error *error)
{
	if (end <= file->allocated)
		return WH_OK;
	int result = 0;
	while (file->allocates) {
		result = fallocate(file->buffered_fd, FALLOC_FL_KEEP_SIZE, (off_t)file->allocated,
		                   (off_t)(end - file->allocated));
		if (result == 0 || errno != EINTR)
			break;
	}
	if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
		return wh_error_system(error, errno, "cannot allocate room for %s", file->path);
	file->allocates = file->allocates && result == 0;
	file->allocated = end;
	return WH_OK;
}

enum wh_status wh_file_finish(struct wh_file *file, struct wh_error *error)
{
	enum wh_status status = WH_OK;
	if (ftruncate(file->buffered_fd, (off_t)file->valid) != 0)
		status = wh_error_system(error, errno, "cannot cut %s to its length", file->path);
	else if (fdatasync(file->buffered_fd) != 0)
		status = wh_error_system(error, errno, "cannot make %s durable", file->path);
	descriptors_close(file);
	return status;
}

void wh_file_abandon(struct wh_file *file)
{
	descriptors_close(file);
	unlink(file->path);
}
