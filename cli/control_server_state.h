/* SPDX-License-Identifier: BSD-3-Clause */
/* What control_server.c (the thread, who comes and goes) and control_requests.c (what they ask for) share; nobody else.
 */
#ifndef WH_CLI_CONTROL_SERVER_STATE_H
#define WH_CLI_CONTROL_SERVER_STATE_H

#include "control_protocol.h"
#include "control_server.h"
#include "control_socket.h"

#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

/* Who is served at a time at most; the others wait in the socket's backlog. */
enum { CONTROL_PEERS_MAX = 64 };

#define CONTROL_SECOND_NS   1000000000U
#define CONTROL_PATIENCE_NS (5ULL * CONTROL_SECOND_NS) /* for a whole request, and for taking its reply */
#define CONTROL_NEVER       UINT64_MAX

/* A reply, which several peers may be sent. */
struct control_text {
	unsigned references;
	size_t bytes;
	char *text;
};

struct control_peer {
	int fd; /* -1: this place is free */
	struct ucred who;
	struct control_text *reply; /* being sent, SENT bytes of it; then nothing is read */
	size_t sent;
	bool closing; /* no more requests once the reply is out */
	bool waiting; /* for the end of the capture */
	uint32_t events;
	uint64_t deadline_ns;
	size_t used;
	char request[CONTROL_REQUEST_BYTES_MAX];
};

/* All belongs to the server's thread while there is one, to the caller's before and after. Times are monotonic. */
struct control_server {
	struct control_socket socket;
	struct wh_capture *capture;
	struct control_callbacks callbacks;
	int epoll_fd, wake_fd;
	pthread_t thread;
	bool started;
	bool ending;    /* the thread is to end */
	bool stopping;  /* somebody has asked for the end of the capture */
	bool ended;     /* the capture has ended */
	time_t began;   /* wall clock */
	bool listening; /* new peers are waited for */
	bool accept_failed;
	uint64_t accept_again_ns; /* not before this */
	uint64_t rotated_ns, rotate_due_ns;
	uint64_t marks_since_ns;
	unsigned marks;
	struct control_text *status; /* the last one, made at STATUS_NS */
	uint64_t status_ns;
	unsigned peer_most, peer_count;
	struct control_peer peers[CONTROL_PEERS_MAX];
};

uint64_t control_now_ns(void);

/* Tells the program of something, in at most 255 bytes. */
__attribute__((format(printf, 3, 4))) void control_report(const struct control_server *server, int severity,
							  const char *format, ...);

/* Ends the connection, and frees the place. */
void control_peer_drop(struct control_server *server, struct control_peer *peer);

/* The rest is in control_requests.c. */

/* Gives up one reference to TEXT, which may be NULL. */
void control_text_release(struct control_text *text);

/* Sends what the socket takes of PEER's reply; there is one. Drops PEER where nobody reads any more, and when that was
 * its last one. */
void control_reply_send(struct control_server *server, struct control_peer *peer);

/* Replies that something is not done, and why. PEER is dropped then or when that has been sent. */
void control_reply_refuse(struct control_server *server, struct control_peer *peer, const char *error);

/* Does what the BYTES bytes at the beginning of PEER's buffer ask for, and replies; or PEER waits. */
void control_request_handle(struct control_server *server, struct control_peer *peer, size_t bytes);

/* Rotates, if that has been asked for and its time has come. */
void control_rotate_if_due(struct control_server *server);

/* The capture has ended: replies to all who have waited for that. */
void control_end_tell(struct control_server *server);

/* Frees the status that is kept. */
void control_status_forget(struct control_server *server);

#endif
