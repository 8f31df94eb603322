/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket as something in a file system: made so that only its owner can use it, put in the place of one
 * that nobody listens at any more, and of nothing else; taken away only while it is still ours.
 */
#ifndef WH_CLI_CONTROL_SOCKET_H
#define WH_CLI_CONTROL_SOCKET_H

#include <sys/types.h>
#include <time.h>
#include <wirehaul.h>

struct control_socket {
	int fd;           /* listening, non-blocking; owned; -1: none */
	int directory_fd; /* kept open so that a later rename of the directory does no harm; owned; -1: none */
	char name[256];   /* in that directory */
	dev_t device;     /* these three tell the file that was made from one that took its place */
	ino_t inode;
	struct timespec made;
};

/*
 * Makes the socket at PATH, mode 0600 whatever the umask says, and listens. WH_RESULT_USAGE with *MESSAGE where that
 * cannot be, where somebody listens there, or where there is something that is no socket; then nothing is made and
 * *SOCKET needs no closing. Does not touch the process's umask. Waits for another instance that does the same in that
 * directory, at most for a second.
 */
WH_MUST_USE enum wh_result control_socket_open(const char *path, struct control_socket *socket,
					       struct wh_message *message);

/* Removes the socket, if what has its name is still it, and stops to listen. Once. */
void control_socket_close(struct control_socket *socket);

/*
 * Connects to the socket at PATH, which is shorter than CONTROL_PATH_BYTES. Returns a descriptor that the caller owns,
 * with sending and receiving limited to TIMEOUT_MS each; 0: it is a non-blocking one. -1: errno says why; EAGAIN where
 * too many others wait.
 */
int control_socket_connect(const char *path, unsigned timeout_ms);

#endif
