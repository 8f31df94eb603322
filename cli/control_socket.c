/* SPDX-License-Identifier: BSD-3-Clause */
#include "control_socket.h"

#include "control_protocol.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Who comes while all places are taken waits here, at no cost to us. */
#define BACKLOG 128

#define MODE 0600

#define LOCK_TRIES   50
#define LOCK_WAIT_NS 20000000

_Static_assert(CONTROL_PATH_BYTES == sizeof(((struct sockaddr_un *)0)->sun_path), "the kernel's limit");

static enum wh_result refuse(struct wh_message *message, const char *path, const char *what, int os_error)
{
	char words[128];
	snprintf(message->text, sizeof(message->text), "--control %s: %s%s%s", path, what, os_error != 0 ? ": " : "",
		 os_error != 0 ? strerror_r(os_error, words, sizeof(words)) : "");
	text_clean(message->text, false);
	return WH_RESULT_USAGE;
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

/* Splits PATH into a directory, which is opened, and a name. Returns 0, or an errno. */
static int open_directory(struct control_socket *made, const char *path)
{
	char directory[CONTROL_PATH_BYTES] = ".";
	const char *slash = strrchr(path, '/');
	const char *name = slash == NULL ? path : slash + 1;
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return EISDIR;
	if (slash != NULL)
		snprintf(directory, sizeof(directory), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	snprintf(made->name, sizeof(made->name), "%s", name);
	made->directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return made->directory_fd == -1 ? errno : 0;
}

static void unlock(int fd)
{
	if (fd != -1)
		close(fd);
}

/*
 * Two instances that start at the same moment must not take each other's new socket for an old one, so that one after
 * the other looks at a directory. What keeps the others out is a socket without a file, which goes when its process
 * does. Anybody could hold it, so that it is not waited for without end. Returns its descriptor, or -1.
 */
static int lock(const struct control_socket *made)
{
	struct stat directory;
	if (fstat(made->directory_fd, &directory) != 0)
		return -1;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	/* The first byte stays 0: the name is no path. */
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "wirehaul-control-%jx-%jx",
		 (uintmax_t)directory.st_dev, (uintmax_t)directory.st_ino);
	for (int i = 0; fd != -1 && i < LOCK_TRIES; i++) {
		if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		if (errno != EADDRINUSE)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = LOCK_WAIT_NS }, NULL);
	}
	unlock(fd);
	return -1;
}

/* Removes what has the name of the socket if it is a socket at which nobody listens. */
static enum wh_result clear_the_way(const struct control_socket *made, const char *path, struct wh_message *message)
{
	struct stat found;
	if (fstatat(made->directory_fd, made->name, &found, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? WH_RESULT_OK : refuse(message, path, "cannot be looked at", errno);
	if (S_ISLNK(found.st_mode))
		return refuse(message, path, "is a symbolic link, which is not followed; name the socket itself", 0);
	if (!S_ISSOCK(found.st_mode))
		return refuse(message, path, "is there and is no socket; choose another path, or remove it", 0);
	int fd = control_socket_connect(path, 0);
	if (fd != -1 || errno == EAGAIN) {
		if (fd != -1)
			close(fd);
		return refuse(message, path,
			      "another capture listens there; stop it (wirehaul stop), or choose another path", 0);
	}
	if (errno != ECONNREFUSED && errno != ENOENT)
		return refuse(message, path, "is there, and cannot be asked whether it is in use", errno);
	/* It was bound once, and whoever did that is gone. */
	if (unlinkat(made->directory_fd, made->name, 0) != 0 && errno != ENOENT)
		return refuse(message, path, "is left from a capture that has ended, and cannot be removed", errno);
	return WH_RESULT_OK;
}

/* Notes what the new file is, so that it can be known again. Returns 0, or an errno. */
static int remember(struct control_socket *made)
{
	struct stat found;
	/* The kernel takes the mode of the socket, less the umask, which may have taken the owner's bits as well. */
	if (fstatat(made->directory_fd, made->name, &found, AT_SYMLINK_NOFOLLOW) != 0 ||
	    ((found.st_mode & ALLPERMS) != MODE &&
	     fchmodat(made->directory_fd, made->name, MODE, AT_SYMLINK_NOFOLLOW) != 0))
		return errno;
	made->device = found.st_dev;
	made->inode = found.st_ino;
	made->made = found.st_mtim;
	return 0;
}

/* Whether what has the name now is what was made. */
static bool is_ours(const struct control_socket *made)
{
	struct stat found;
	return made->inode != 0 && fstatat(made->directory_fd, made->name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
	       found.st_dev == made->device && found.st_ino == made->inode &&
	       found.st_mtim.tv_sec == made->made.tv_sec && found.st_mtim.tv_nsec == made->made.tv_nsec;
}

static enum wh_result bind_locked(struct control_socket *made, const char *path, struct wh_message *message)
{
	const struct sockaddr_un address = address_of(path);
	const struct sockaddr *where = (const struct sockaddr *)&address;
	/* Before there is a file: nobody else could use it for a moment even. */
	if (fchmod(made->fd, MODE) != 0)
		return refuse(message, path, "cannot make a socket", errno);
	if (bind(made->fd, where, sizeof(address)) != 0) {
		if (errno != EADDRINUSE)
			return refuse(message, path, "cannot make the socket", errno);
		enum wh_result result = clear_the_way(made, path, message);
		if (result != WH_RESULT_OK)
			return result;
		if (bind(made->fd, where, sizeof(address)) != 0)
			return refuse(message, path, "cannot make the socket", errno);
	}
	int os_error = remember(made);
	if (os_error == 0 && listen(made->fd, BACKLOG) != 0)
		os_error = errno;
	return os_error == 0 ? WH_RESULT_OK : refuse(message, path, "cannot listen at the socket", os_error);
}

static void give_back(struct control_socket *made)
{
	if (made->fd != -1)
		close(made->fd);
	if (made->directory_fd != -1)
		close(made->directory_fd);
	*made = (struct control_socket){ .fd = -1, .directory_fd = -1 };
}

static void remove_locked(struct control_socket *made)
{
	if (is_ours(made))
		unlinkat(made->directory_fd, made->name, 0);
}

enum wh_result control_socket_open(const char *path, struct control_socket *made, struct wh_message *message)
{
	*made = (struct control_socket){ .fd = -1, .directory_fd = -1 };
	int os_error = open_directory(made, path);
	if (os_error == EISDIR)
		return refuse(message, path, "is a directory; add the name of a socket", 0);
	if (os_error != 0)
		return refuse(message, path, "cannot open its directory, which must be there", os_error);
	made->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (made->fd == -1) {
		os_error = errno;
		give_back(made);
		return refuse(message, path, "cannot make a socket", os_error);
	}
	int locked = lock(made);
	enum wh_result result = bind_locked(made, path, message);
	if (result != WH_RESULT_OK)
		remove_locked(made);
	unlock(locked);
	if (result != WH_RESULT_OK)
		give_back(made);
	return result;
}

void control_socket_close(struct control_socket *made)
{
	if (made->directory_fd != -1) {
		int locked = lock(made);
		/* While it still listens: so nobody takes it for a dead one and puts another in its place meanwhile. */
		remove_locked(made);
		unlock(locked);
	}
	give_back(made);
}

int control_socket_connect(const char *path, unsigned timeout_ms)
{
	const struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (timeout_ms == 0 ? SOCK_NONBLOCK : 0), 0);
	if (fd == -1)
		return -1;
	const struct timeval limit = { .tv_sec = (time_t)(timeout_ms / 1000),
				       .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000) };
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
	    connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	int os_error = errno;
	close(fd);
	errno = os_error;
	return -1;
}
