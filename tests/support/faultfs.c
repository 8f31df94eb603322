/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-faultfs BACKING MOUNTPOINT [--cached]
 *
 * A file system (FUSE) that passes everything on to the directory BACKING, and fails where it is told to. It sees every
 * write as the program made it: the kernel neither holds any back nor keeps its pages. With --cached it keeps them; but
 * then Linux (6.18) loses its place in what is written through io_uring and O_DIRECT when a part of one write fails: it
 * goes on through the page cache, and does not take back what it had taken of the memory and could not write.
 *
 * Says "ready" on standard output when it is mounted, and then obeys the lines of standard input, each of which is
 * answered by one line, "ok" or "bad" or what was asked for:
 *
 *     fail OPERATION ERRNO COUNT [AFTER]   after AFTER more of them, COUNT operations fail with that number; -1: all
 *     hang OPERATION                       they wait until they are healed
 *     short COUNT                          so many writes take half of what they are given; -1: all
 *     slow RATE                            writes take as long as on a disk of RATE bytes a second; 0: no longer
 *     refuse open|write                    what is direct is refused (EINVAL) when it is opened, or when it is written
 *     heal                                 all is well again
 *     look                                 one JSON object: for each operation how many were seen, failed, and hang
 *                                          now; "bytes" that were written; "short" writes that were cut
 *
 * OPERATION is create, open, write, fsync (fdatasync too), fallocate, truncate, unlink, link or statfs.
 *
 * The end of standard input is its end: it takes the mount away, whatever hangs in it.
 */
#define FUSE_USE_VERSION 31
#include <fuse.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum operation { CREATE, OPEN, WRITE, FSYNC, FALLOCATE, TRUNCATE, UNLINK, LINK, STATFS, OPERATIONS };

static const char *const names[OPERATIONS] = { "create",   "open",   "write", "fsync", "fallocate",
					       "truncate", "unlink", "link",  "statfs" };

struct fault {
	bool hang;
	int os_error;
	long left;  /* operations that fail; -1: all */
	long after; /* operations that pass before */
	unsigned long seen, failed, hanging;
};

/* All but the first three belongs to the lock. FUSE hands its operations no other way to get at it but a pointer of its
 * own, which the control thread would not have. */
static struct {
	int backing_fd;
	const char *mount_point;
	bool cached;
	pthread_mutex_t lock;
	pthread_cond_t healed;
	struct fault faults[OPERATIONS];
	long short_left;
	unsigned long short_count;
	uint64_t bytes_written;
	uint64_t bytes_per_second;
	uint64_t busy_until_ns; /* when the slow disk is done with what it was given */
	bool refuse_open, refuse_write;
} fs = { .lock = PTHREAD_MUTEX_INITIALIZER, .healed = PTHREAD_COND_INITIALIZER };

/* ---- what the operations ask ---- */

/* Waits and fails as it was ordered for OPERATION; 0 or a negated errno. */
static int gate(enum operation operation)
{
	int result = 0;
	pthread_mutex_lock(&fs.lock);
	struct fault *fault = &fs.faults[operation];
	fault->seen++;
	fault->hanging++;
	while (fault->hang)
		pthread_cond_wait(&fs.healed, &fs.lock);
	fault->hanging--;
	if (fault->left != 0 && fault->after > 0) {
		fault->after--;
	} else if (fault->left != 0) {
		fault->left -= fault->left > 0;
		fault->failed++;
		result = -fault->os_error;
	}
	pthread_mutex_unlock(&fs.lock);
	return result;
}

/* How many of SIZE bytes a write takes, having waited for as long as the disk needs for them. */
static size_t bytes_taken(size_t size)
{
	struct timespec now;
	uint64_t until_ns = 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	pthread_mutex_lock(&fs.lock);
	if (fs.short_left != 0 && size > 1) {
		fs.short_left -= fs.short_left > 0;
		fs.short_count++;
		/* In whole sectors, as a disk would. */
		size = size >= 1024 ? size / 2 & ~(size_t)511 : size / 2;
	}
	fs.bytes_written += size;
	if (fs.bytes_per_second != 0) {
		if (fs.busy_until_ns < now_ns)
			fs.busy_until_ns = now_ns;
		until_ns = fs.busy_until_ns += size * UINT64_C(1000000000) / fs.bytes_per_second;
	}
	pthread_mutex_unlock(&fs.lock);
	const struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000),
					.tv_nsec = (long)(until_ns % 1000000000) };
	if (until_ns != 0)
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
			continue;
	return size;
}

/* Whether what is DIRECT is refused, as HOW has it. */
static bool refused(const bool *how, bool direct)
{
	pthread_mutex_lock(&fs.lock);
	bool found = *how && direct;
	pthread_mutex_unlock(&fs.lock);
	return found;
}

/* What a file's handle says besides its descriptor: it was opened for direct writes. */
#define HANDLE_DIRECT (UINT64_C(1) << 32)

static int fd_of(const struct fuse_file_info *file)
{
	return (int)(uint32_t)file->fh;
}

/* ---- the operations ---- */

/* A path below the backing directory. */
static const char *below(const char *path)
{
	return path[1] != '\0' ? path + 1 : ".";
}

static int outcome(int result)
{
	return result < 0 ? -errno : result;
}

static int fs_getattr(const char *path, struct stat *found, struct fuse_file_info *file)
{
	if (file != NULL)
		return outcome(fstat(fd_of(file), found));
	return outcome(fstatat(fs.backing_fd, below(path), found, AT_SYMLINK_NOFOLLOW));
}

static int fs_opendir(const char *path, struct fuse_file_info *directory)
{
	int fd = openat(fs.backing_fd, below(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	directory->fh = (uint64_t)fd;
	return 0;
}

static int fs_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset,
		      struct fuse_file_info *directory, enum fuse_readdir_flags flags)
{
	(void)path;
	(void)offset;
	(void)flags;
	int fd = openat(fd_of(directory), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	DIR *stream = fdopendir(fd);
	if (stream == NULL) {
		int reason = errno;
		close(fd);
		return -reason;
	}
	const struct dirent *entry;
	while ((entry = readdir(stream)) != NULL)
		fill(buffer, entry->d_name, NULL, 0, 0);
	closedir(stream);
	return 0;
}

/* The backing file is opened without O_DIRECT: what may be written where is for us to say. */
static int file_open(const char *path, int flags, mode_t mode, struct fuse_file_info *file)
{
	int fd = openat(fs.backing_fd, below(path), (flags & ~O_DIRECT) | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	file->fh = (uint64_t)fd | ((flags & O_DIRECT) != 0 ? HANDLE_DIRECT : 0);
	file->direct_io = !fs.cached;
	return 0;
}

static int fs_create(const char *path, mode_t mode, struct fuse_file_info *file)
{
	int result = gate(CREATE);
	if (result != 0)
		return result;
	if (refused(&fs.refuse_open, (file->flags & O_DIRECT) != 0))
		return -EINVAL;
	result = file_open(path, file->flags | O_CREAT, mode, file);
	const struct fuse_context *caller = fuse_get_context();
	if (result == 0 && fchown(fd_of(file), caller->uid, caller->gid) != 0)
		result = -errno;
	return result;
}

static int fs_open(const char *path, struct fuse_file_info *file)
{
	int result = gate(OPEN);
	if (result != 0)
		return result;
	if (refused(&fs.refuse_open, (file->flags & O_DIRECT) != 0))
		return -EINVAL;
	return file_open(path, file->flags & ~(O_CREAT | O_EXCL), 0, file);
}

static int fs_release(const char *path, struct fuse_file_info *file)
{
	(void)path;
	close(fd_of(file));
	return 0;
}

static int fs_read(const char *path, char *bytes, size_t size, off_t offset, struct fuse_file_info *file)
{
	(void)path;
	return outcome((int)pread(fd_of(file), bytes, size, offset));
}

static int fs_write(const char *path, const char *bytes, size_t size, off_t offset, struct fuse_file_info *file)
{
	(void)path;
	int result = gate(WRITE);
	if (result != 0)
		return result;
	if (refused(&fs.refuse_write, (file->fh & HANDLE_DIRECT) != 0))
		return -EINVAL;
	return outcome((int)pwrite(fd_of(file), bytes, bytes_taken(size), offset));
}

static int fs_fsync(const char *path, int data_only, struct fuse_file_info *file)
{
	(void)path;
	int result = gate(FSYNC);
	if (result != 0)
		return result;
	return outcome(data_only ? fdatasync(fd_of(file)) : fsync(fd_of(file)));
}

static int fs_fallocate(const char *path, int mode, off_t offset, off_t length, struct fuse_file_info *file)
{
	(void)path;
	int result = gate(FALLOCATE);
	return result != 0 ? result : outcome(fallocate(fd_of(file), mode, offset, length));
}

static int fs_truncate(const char *path, off_t length, struct fuse_file_info *file)
{
	int result = gate(TRUNCATE);
	if (result != 0)
		return result;
	if (file != NULL)
		return outcome(ftruncate(fd_of(file), length));
	int fd = openat(fs.backing_fd, below(path), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	result = outcome(ftruncate(fd, length));
	close(fd);
	return result;
}

static int fs_unlink(const char *path)
{
	int result = gate(UNLINK);
	return result != 0 ? result : outcome(unlinkat(fs.backing_fd, below(path), 0));
}

static int fs_link(const char *from, const char *to)
{
	int result = gate(LINK);
	return result != 0 ? result : outcome(linkat(fs.backing_fd, below(from), fs.backing_fd, below(to), 0));
}

static int fs_mkdir(const char *path, mode_t mode)
{
	return outcome(mkdirat(fs.backing_fd, below(path), mode));
}

static int fs_rmdir(const char *path)
{
	return outcome(unlinkat(fs.backing_fd, below(path), AT_REMOVEDIR));
}

static int fs_rename(const char *from, const char *to, unsigned int flags)
{
	return outcome(renameat2(fs.backing_fd, below(from), fs.backing_fd, below(to), flags));
}

static int fs_chmod(const char *path, mode_t mode, struct fuse_file_info *file)
{
	if (file != NULL)
		return outcome(fchmod(fd_of(file), mode));
	return outcome(fchmodat(fs.backing_fd, below(path), mode, 0));
}

static int fs_chown(const char *path, uid_t user, gid_t group, struct fuse_file_info *file)
{
	if (file != NULL)
		return outcome(fchown(fd_of(file), user, group));
	return outcome(fchownat(fs.backing_fd, below(path), user, group, AT_SYMLINK_NOFOLLOW));
}

static int fs_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *file)
{
	if (file != NULL)
		return outcome(futimens(fd_of(file), times));
	return outcome(utimensat(fs.backing_fd, below(path), times, AT_SYMLINK_NOFOLLOW));
}

static int fs_statfs(const char *path, struct statvfs *found)
{
	(void)path;
	int result = gate(STATFS);
	return result != 0 ? result : outcome(fstatvfs(fs.backing_fd, found));
}

/* ---- control ---- */

static int operation_by_name(const char *name)
{
	for (int i = 0; i < OPERATIONS; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

/* With the lock held. What was counted stays. */
static void heal(void)
{
	for (int i = 0; i < OPERATIONS; i++) {
		struct fault *fault = &fs.faults[i];
		*fault = (struct fault){ .seen = fault->seen, .failed = fault->failed, .hanging = fault->hanging };
	}
	fs.short_left = 0;
	fs.bytes_per_second = 0;
	fs.refuse_open = fs.refuse_write = false;
	pthread_cond_broadcast(&fs.healed);
}

/* With the lock held. */
static void look(void)
{
	printf("{");
	for (int i = 0; i < OPERATIONS; i++) {
		const struct fault *fault = &fs.faults[i];
		printf("\"%s\": {\"seen\": %lu, \"failed\": %lu, \"hanging\": %lu}, ", names[i], fault->seen,
		       fault->failed, fault->hanging);
	}
	printf("\"bytes\": %llu, \"short\": %lu}\n", (unsigned long long)fs.bytes_written, fs.short_count);
}

/* With the lock held. Whether LINE was an order. */
static bool obey(const char *line)
{
	char word[16];
	int number;
	long count, after = 0;
	unsigned long long rate;
	if (sscanf(line, "fail %15s %d %ld %ld", word, &number, &count, &after) >= 3) {
		int operation = operation_by_name(word);
		if (operation < 0 || number <= 0)
			return false;
		struct fault *fault = &fs.faults[operation];
		fault->os_error = number;
		fault->left = count;
		fault->after = after;
	} else if (sscanf(line, "hang %15s", word) == 1) {
		int operation = operation_by_name(word);
		if (operation < 0)
			return false;
		fs.faults[operation].hang = true;
	} else if (sscanf(line, "short %ld", &count) == 1) {
		fs.short_left = count;
	} else if (sscanf(line, "slow %llu", &rate) == 1) {
		fs.bytes_per_second = rate;
	} else if (strcmp(line, "refuse open") == 0) {
		fs.refuse_open = true;
	} else if (strcmp(line, "refuse write") == 0) {
		fs.refuse_write = true;
	} else if (strcmp(line, "heal") == 0) {
		heal();
	} else {
		return false;
	}
	return true;
}

static void *control_main(void *unused)
{
	(void)unused;
	char line[128];
	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		pthread_mutex_lock(&fs.lock);
		if (strcmp(line, "look") == 0)
			look();
		else
			puts(obey(line) ? "ok" : "bad");
		fflush(stdout);
		pthread_mutex_unlock(&fs.lock);
	}
	/* Operations that hang end with the connection, which ends with us. */
	umount2(fs.mount_point, MNT_DETACH);
	_exit(0);
}

static void *fs_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
	/* The kernel makes an error (EIO) of a short write that it carries out in several pieces at once. */
	connection->want &= ~(unsigned int)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_ASYNC_DIO);
	config->nullpath_ok = 1; /* of what is open the descriptor is enough */
	config->hard_remove = 1; /* what is deleted is gone, and not hidden until it is closed */
	config->attr_timeout = config->entry_timeout = config->negative_timeout = 0;
	puts("ready");
	fflush(stdout);
	pthread_t control;
	if (pthread_create(&control, NULL, control_main, NULL) != 0)
		exit(1);
	pthread_detach(control);
	return NULL;
}

static const struct fuse_operations operations = {
	.init = fs_init,
	.getattr = fs_getattr,
	.opendir = fs_opendir,
	.readdir = fs_readdir,
	.releasedir = fs_release,
	.create = fs_create,
	.open = fs_open,
	.release = fs_release,
	.read = fs_read,
	.write = fs_write,
	.fsync = fs_fsync,
	.fallocate = fs_fallocate,
	.truncate = fs_truncate,
	.unlink = fs_unlink,
	.link = fs_link,
	.mkdir = fs_mkdir,
	.rmdir = fs_rmdir,
	.rename = fs_rename,
	.chmod = fs_chmod,
	.chown = fs_chown,
	.utimens = fs_utimens,
	.statfs = fs_statfs,
};

int main(int argc, char **argv)
{
	if (argc < 3 || argc > 4 || (argc == 4 && strcmp(argv[3], "--cached") != 0)) {
		fputs("usage: wh-faultfs BACKING MOUNTPOINT [--cached]\n", stderr);
		return 2;
	}
	fs.backing_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs.backing_fd < 0) {
		perror(argv[1]);
		return 1;
	}
	fs.mount_point = argv[2];
	fs.cached = argc == 4;
	umask(0);
	char options[] = "allow_other,fsname=wh-faultfs,subtype=faultfs";
	char *words[] = { argv[0], "-f", "-o", options, argv[2], NULL };
	return fuse_main(5, words, &operations, NULL);
}
