/* SPDX-License-Identifier: BSD-3-Clause */
#include "writer/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "writer/format_pcapng.h"

static enum wh_status disk_directory_open(const char *directory, int *fd, struct wh_error *error)
{
	*fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0) {
		int reason = errno;
		if (reason == ENOENT)
			return wh_error_set(error, WH_ERR_INPUT,
					    "the directory %s does not exist: make it first (mkdir -p %s)", directory,
					    directory);
		return wh_error_system(error, reason, "cannot use the directory %s", directory);
	}
	if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0)
		return wh_error_system(error, errno, "cannot write to the directory %s", directory);
	return WH_OK;
}

static void descriptors_close(struct wh_file *file)
{
	if (file->direct_fd >= 0)
		close(file->direct_fd);
	close(file->buffered_fd);
}

/* A second descriptor of the file that FD is, with O_DIRECT, or -1. */
static int direct_descriptor(int fd)
{
	char self[64];
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return open(self, O_WRONLY | O_DIRECT | O_CLOEXEC);
}

/* Where that cannot be told it counts as FUSE: the page cache serves everywhere. */
static bool is_on_fuse(int fd)
{
	struct statfs found;
	return fstatfs(fd, &found) != 0 || found.f_type == FUSE_SUPER_MAGIC;
}

/* A file without a name in the directory of PATH; -1 where the file system cannot, or without /proc, by which alone it
 * can be named later. */
static int nameless_open(const char *path)
{
	char directory[WH_PATH_BYTES];
	snprintf(directory, sizeof(directory), "%s", path);
	char *slash = strrchr(directory, '/');
	if (slash == NULL)
		snprintf(directory, sizeof(directory), ".");
	else
		slash[slash == directory ? 1 : 0] = '\0';
	if (access("/proc/self/fd", X_OK) != 0)
		return -1;
	return open(directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
}

static int name_give(int fd, const char *path)
{
	char self[64];
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

static int write_whole(int fd, const uint8_t *bytes, uint32_t length)
{
	for (uint32_t done = 0; done < length;) {
		ssize_t count = pwrite(fd, bytes + done, length - done, done);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return -1;
		done += (uint32_t)count;
	}
	return 0;
}

/* The header goes the way that the chunks will go; if that way turns out to be closed, through the page cache. */
static int header_write(struct wh_file *file, enum wh_file_direct direct, const uint8_t *header, uint32_t length)
{
	file->fuse = direct != WH_FILE_DIRECT_OFF && is_on_fuse(file->buffered_fd);
	bool wanted = direct == WH_FILE_DIRECT_ON || (direct == WH_FILE_DIRECT_AUTO && !file->fuse);
	file->direct_fd = wanted ? direct_descriptor(file->buffered_fd) : -1;
	file->direct = file->direct_fd >= 0;
	bool aligned = length % WH_FILE_ALIGNMENT == 0;
	if (file->direct && aligned && write_whole(file->direct_fd, header, length) != 0) {
		if (errno != EINVAL && errno != EOPNOTSUPP)
			return -1;
		file->direct = false;
	}
	if (!file->direct && direct == WH_FILE_DIRECT_ON) {
		errno = EINVAL;
		return -1;
	}
	if (file->direct && aligned)
		return 0;
	return write_whole(file->buffered_fd, header, length);
}

static enum wh_status disk_open(struct wh_file *file, const char *path, enum wh_file_direct direct,
				const uint8_t *header, uint32_t length, struct wh_error *error)
{
	*file = (struct wh_file){ .allocates = true, .direct_fd = -1 };
	snprintf(file->path, sizeof(file->path), "%s", path);
	file->buffered_fd = nameless_open(path);
	bool nameless = file->buffered_fd >= 0;
	if (!nameless)
		file->buffered_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file->buffered_fd < 0)
		return wh_error_system(error, errno, "cannot create %s", path);
	if (header_write(file, direct, header, length) == 0 && (!nameless || name_give(file->buffered_fd, path) == 0)) {
		file->length = file->valid = length;
		return WH_OK;
	}
	int reason = errno;
	descriptors_close(file);
	if (!nameless)
		unlink(path);
	if (direct == WH_FILE_DIRECT_ON && reason == EINVAL)
		return wh_error_set(error, WH_ERR_SYSTEM,
				    "%s: the file system takes no direct writes (use --direct-io auto or off)", path);
	return wh_error_system(error, reason, "cannot create %s", path);
}

static enum wh_status disk_allocate(struct wh_file *file, uint64_t end, struct wh_error *error)
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

static bool disk_has_name(const struct wh_file *file)
{
	struct stat found;
	return fstat(file->buffered_fd, &found) != 0 || found.st_nlink > 0;
}

static enum wh_status disk_finish(struct wh_file *file, struct wh_error *error)
{
	enum wh_status status = WH_OK;
	/* A file that cannot be cut is made durable all the same. */
	if (TEMP_FAILURE_RETRY(ftruncate(file->buffered_fd, (off_t)file->valid)) != 0)
		status = wh_error_system(error, errno, "cannot cut %s to its length", file->path);
	if (TEMP_FAILURE_RETRY(fdatasync(file->buffered_fd)) != 0)
		status = wh_error_system(error, errno, "cannot make %s durable", file->path);
	descriptors_close(file);
	return status;
}

static void disk_abandon(struct wh_file *file)
{
	descriptors_close(file);
	unlink(file->path);
}

/*
 * Frees what PATH takes at once. Removing its name alone may free it much later: xfs does it in the background, and a
 * reader that has it open holds it as long as it likes. A file that has another name somewhere is somebody's copy.
 */
static void contents_free(const char *path)
{
	struct stat found;
	int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_nlink == 1) {
		/* A failure leaves the rest to unlink(). */
		int ignored = ftruncate(fd, 0);
		(void)ignored;
	}
	close(fd);
}

static enum wh_status disk_remove(const char *path, bool at_once, struct wh_error *error)
{
	if (at_once)
		contents_free(path);
	if (unlink(path) != 0 && errno != ENOENT)
		return wh_error_system(error, errno, "cannot remove %s", path);
	return WH_OK;
}

const struct wh_file_ops wh_file_disk_ops = {
	.directory_open = disk_directory_open,
	.open = disk_open,
	.allocate = disk_allocate,
	.has_name = disk_has_name,
	.finish = disk_finish,
	.abandon = disk_abandon,
	.remove = disk_remove,
};
