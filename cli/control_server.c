/* SPDX-License-Identifier: BSD-3-Clause */
#include "control_server_state.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

/* Of few descriptors only a small share is taken: the capture needs them for its files. */
enum { PEERS_MIN = 4, DESCRIPTORS_PER_PEER = 16, ACCEPTS_AT_ONCE = 16, EVENTS_AT_ONCE = 32 };

#define NICE 10

/* What an event is about, where it is not the number of a peer. */
enum { ABOUT_LISTENER = CONTROL_PEERS_MAX, ABOUT_WAKE, ABOUT_CAPTURE };

uint64_t control_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * CONTROL_SECOND_NS + (uint64_t)now.tv_nsec;
}

void control_report(const struct control_server *server, int severity, const char *format, ...)
{
	char line[256];
	if (server->callbacks.report == NULL)
		return;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	server->callbacks.report(server->callbacks.context, severity, line);
}

/* ---- who comes and goes ---- */

void control_peer_drop(struct control_server *server, struct control_peer *peer)
{
	close(peer->fd); /* which takes it out of the epoll set */
	control_text_release(peer->reply);
	peer->reply = NULL;
	peer->fd = -1;
	server->peer_count--;
}

/* Handles the requests that are there, one after the other, for as long as their replies are taken. */
static void serve_requests(struct control_server *server, struct control_peer *peer)
{
	while (peer->fd != -1 && peer->reply == NULL && !peer->waiting) {
		const char *end = memchr(peer->request, '\n', peer->used);
		if (end == NULL && peer->used < sizeof(peer->request))
			return;
		size_t bytes = end != NULL ? (size_t)(end - peer->request) : peer->used;
		size_t whole = end != NULL ? bytes + 1 : bytes;
		control_request_handle(server, peer, bytes);
		peer->used -= whole;
		memmove(peer->request, peer->request + whole, peer->used);
	}
}

static void serve_peer(struct control_server *server, struct control_peer *peer)
{
	if (peer->waiting) {
		/* Nothing was asked for: it has gone. */
		control_peer_drop(server, peer);
		return;
	}
	if (peer->reply != NULL) {
		control_reply_send(server, peer);
	} else {
		ssize_t count =
		    recv(peer->fd, peer->request + peer->used, sizeof(peer->request) - peer->used, MSG_DONTWAIT);
		if (count == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (count <= 0) {
			control_peer_drop(server, peer);
			return;
		}
		peer->used += (size_t)count;
	}
	serve_requests(server, peer);
}

/* Gives the connection FD a place; there is one. */
static void admit(struct control_server *server, int fd)
{
	struct control_peer *peer = server->peers;
	while (peer->fd != -1)
		peer++;
	*peer =
	    (struct control_peer){ .fd = fd, .events = EPOLLIN, .deadline_ns = control_now_ns() + CONTROL_PATIENCE_NS };
	server->peer_count++;
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = (uint64_t)(peer - server->peers) };
	socklen_t size = sizeof(peer->who);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer->who, &size) != 0 ||
	    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
		control_peer_drop(server, peer);
		return;
	}
	/* The mode of the socket keeps the others out already, as long as nobody changes it. */
	if (peer->who.uid != 0 && peer->who.uid != geteuid()) {
		control_reply_refuse(server, peer, "only root and the user of the capture may control it");
		if (peer->fd != -1)
			control_peer_drop(server, peer);
	}
}

static void admit_peers(struct control_server *server)
{
	for (int i = 0; i < ACCEPTS_AT_ONCE && server->peer_count < server->peer_most; i++) {
		int fd = accept4(server->socket.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd != -1) {
			server->accept_failed = false;
			admit(server, fd);
			continue;
		}
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		if (errno == EAGAIN)
			return;
		/* No descriptor, no memory: that will not be better at once. */
		int os_error = errno;
		char words[128];
		server->accept_again_ns = control_now_ns() + CONTROL_SECOND_NS;
		if (!server->accept_failed)
			control_report(server, 2, "the control socket cannot be served for now: %s",
				       strerror_r(os_error, words, sizeof(words)));
		server->accept_failed = true;
		return;
	}
}

/* ---- the thread ---- */

/* Asks to be woken for what PEER can go on with, and for nothing else. */
static void watch_peer(struct control_server *server, struct control_peer *peer)
{
	uint32_t events = peer->reply != NULL ? EPOLLOUT : peer->waiting ? 0 : EPOLLIN;
	struct epoll_event event = { .events = events, .data.u64 = (uint64_t)(peer - server->peers) };
	if (events == peer->events)
		return;
	peer->events = events;
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, peer->fd, &event) != 0)
		control_peer_drop(server, peer);
}

/* New peers are waited for while there is a place for them. */
static void watch_listener(struct control_server *server)
{
	bool wanted = server->peer_count < server->peer_most && control_now_ns() >= server->accept_again_ns;
	struct epoll_event event = { .events = wanted ? EPOLLIN : 0, .data.u64 = ABOUT_LISTENER };
	if (wanted != server->listening && epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, server->socket.fd, &event) == 0)
		server->listening = wanted;
}

/* Sees to it that what may come next is waited for, and drops who has taken too long. Returns when something is due. */
static uint64_t settle(struct control_server *server)
{
	uint64_t now = control_now_ns();
	uint64_t due = server->rotate_due_ns;
	for (unsigned i = 0; i < CONTROL_PEERS_MAX; i++) {
		struct control_peer *peer = &server->peers[i];
		if (peer->fd != -1 && peer->deadline_ns <= now)
			control_peer_drop(server, peer);
		if (peer->fd != -1)
			watch_peer(server, peer);
		if (peer->fd != -1 && peer->deadline_ns < due)
			due = peer->deadline_ns;
	}
	watch_listener(server);
	if (server->accept_again_ns > now && server->accept_again_ns < due)
		due = server->accept_again_ns;
	return due;
}

/* In ms, rounded up; -1 where nothing is due. */
static int time_until(uint64_t due_ns)
{
	uint64_t now = control_now_ns();
	if (due_ns == CONTROL_NEVER)
		return -1;
	return due_ns <= now ? 0 : (int)((due_ns - now + 999999) / 1000000);
}

static void handle_event(struct control_server *server, uint64_t about)
{
	switch (about) {
	case ABOUT_LISTENER:
		admit_peers(server);
		break;
	case ABOUT_WAKE:
		server->ending = true;
		break;
	case ABOUT_CAPTURE:
		control_end_tell(server);
		break;
	default:
		/* A place may have been given to another peer since: then there is nothing to read yet, and no harm. */
		if (server->peers[about].fd != -1)
			serve_peer(server, &server->peers[about]);
		break;
	}
}

/* The capture comes first. What is not allowed here (a filter of system calls) is not worth a word. */
static void stand_back(void)
{
	const struct sched_param none = { .sched_priority = 0 };
	sched_setscheduler(0, SCHED_OTHER, &none);
	setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
}

static void *work(void *argument)
{
	struct control_server *server = argument;
	stand_back();
	while (!server->ending) {
		struct epoll_event events[EVENTS_AT_ONCE];
		int count = epoll_wait(server->epoll_fd, events, EVENTS_AT_ONCE, time_until(settle(server)));
		if (count == -1 && errno != EINTR) {
			char words[128];
			control_report(server, 2, "the control socket is not served any more: %s",
				       strerror_r(errno, words, sizeof(words)));
			break;
		}
		for (int i = 0; i < count; i++)
			handle_event(server, events[i].data.u64);
		control_rotate_if_due(server);
	}
	return NULL;
}

/* ---- from outside ---- */

static unsigned choose_peer_most(void)
{
	struct rlimit limit = { .rlim_cur = 0 };
	getrlimit(RLIMIT_NOFILE, &limit);
	rlim_t share = limit.rlim_cur / DESCRIPTORS_PER_PEER;
	return share >= CONTROL_PEERS_MAX ? CONTROL_PEERS_MAX : share <= PEERS_MIN ? PEERS_MIN : (unsigned)share;
}

/* Returns 0, or an errno. */
static int watch_all(struct control_server *server)
{
	struct epoll_event listener = { .events = EPOLLIN, .data.u64 = ABOUT_LISTENER };
	struct epoll_event wake = { .events = EPOLLIN, .data.u64 = ABOUT_WAKE };
	/* It stays readable, and others look at it too. */
	struct epoll_event capture = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = ABOUT_CAPTURE };
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->epoll_fd == -1 || server->wake_fd == -1 ||
	    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->socket.fd, &listener) != 0 ||
	    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->wake_fd, &wake) != 0 ||
	    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, wh_capture_fd(server->capture), &capture) != 0)
		return errno;
	server->listening = true;
	return 0;
}

static enum wh_result fail(struct wh_message *message, enum wh_result result, int os_error)
{
	char words[128];
	snprintf(message->text, sizeof(message->text), "cannot serve the control socket: %s",
		 strerror_r(os_error, words, sizeof(words)));
	return result;
}

enum wh_result control_server_open(const char *place, struct wh_capture *capture,
				   const struct control_callbacks *callbacks, struct control_server **opened,
				   struct wh_message *message)
{
	char path[CONTROL_PATH_BYTES];
	enum wh_result result = control_path(place, path, message);
	if (result != WH_RESULT_OK)
		return result;
	struct control_server *server = calloc(1, sizeof(*server));
	if (server == NULL)
		return fail(message, WH_RESULT_USAGE, ENOMEM);
	server->capture = capture;
	server->callbacks = *callbacks;
	server->epoll_fd = server->wake_fd = -1;
	server->rotate_due_ns = CONTROL_NEVER;
	server->peer_most = choose_peer_most();
	for (unsigned i = 0; i < CONTROL_PEERS_MAX; i++)
		server->peers[i].fd = -1;
	result = control_socket_open(path, &server->socket, message);
	if (result == WH_RESULT_OK) {
		int os_error = watch_all(server);
		if (os_error != 0)
			result = fail(message, WH_RESULT_USAGE, os_error);
	}
	if (result == WH_RESULT_OK)
		*opened = server;
	else
		control_server_close(server);
	return result;
}

enum wh_result control_server_start(struct control_server *server, struct wh_message *message)
{
	struct wh_statistics now;
	wh_capture_statistics(server->capture, &now);
	server->began = time(NULL) - (time_t)(now.elapsed_ns / CONTROL_SECOND_NS);
	sigset_t all;
	sigset_t before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int os_error = pthread_create(&server->thread, NULL, work, server);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (os_error != 0)
		return fail(message, WH_RESULT_ERROR, os_error);
	pthread_setname_np(server->thread, "wh-control");
	server->started = true;
	return WH_RESULT_OK;
}

static bool has_ended(const struct wh_capture *capture)
{
	struct pollfd done = { .fd = wh_capture_fd(capture), .events = POLLIN };
	return poll(&done, 1, 0) == 1;
}

/* The capture has ended, perhaps at the same moment as the thread: answers all who have asked by now. */
static void serve_last(struct control_server *server)
{
	control_end_tell(server);
	for (unsigned round = 0; round < CONTROL_PEERS_MAX / ACCEPTS_AT_ONCE; round++) {
		admit_peers(server);
		for (unsigned i = 0; i < CONTROL_PEERS_MAX; i++) {
			if (server->peers[i].fd != -1)
				serve_peer(server, &server->peers[i]);
		}
	}
}

void control_server_close(struct control_server *server)
{
	if (server == NULL)
		return;
	if (server->started) {
		const uint64_t one = 1;
		ssize_t ignored = write(server->wake_fd, &one, sizeof(one));
		(void)ignored; /* an eventfd takes a 1 */
		pthread_join(server->thread, NULL);
		if (has_ended(server->capture))
			serve_last(server);
	}
	control_socket_close(&server->socket);
	for (unsigned i = 0; i < CONTROL_PEERS_MAX; i++) {
		if (server->peers[i].fd != -1)
			control_peer_drop(server, &server->peers[i]);
	}
	control_status_forget(server);
	if (server->epoll_fd != -1)
		close(server->epoll_fd);
	if (server->wake_fd != -1)
		close(server->wake_fd);
	free(server);
}
