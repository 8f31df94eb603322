/* SPDX-License-Identifier: BSD-3-Clause */
#include "metrics_server.h"

#include "http_library.h"
#include "metrics_address.h"
#include "metrics_text.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MS_NS UINT64_C(1000000)

/*
 * With more than two thirds of the most guests the oldest has to go; the rest is for those that are on their way out.
 * Prometheus has one connection open, for some milliseconds. A guest holds at most GUEST_BYTES and a part in a page. Of
 * few descriptors only a small share is taken: the capture needs them for its files.
 */
enum { GUESTS_MOST = 48, GUESTS_LEAST = 6, DESCRIPTORS_PER_GUEST = 16 };
enum { BACKLOG = 512, GUEST_BYTES = 8192, GUEST_STEP_BYTES = 1024 };
#define GUEST_NS (5000 * MS_NS)

/* A page is as old as that before another one is made. */
#define PAGE_NS (250 * MS_NS)

/*
 * Behind the threads of the capture where processors are short, but not by much: the library has a lock of some
 * microseconds for its statistics, which its own threads must not have to wait for.
 */
#define NICER 5

/* A connection. */
struct guest {
	int fd; /* borrowed; -1: the place is free */
	bool ended;
	uint64_t since_ns;
};

struct metrics_server {
	/* Set by metrics_server_open(). */
	struct metrics_address address;
	struct wh_capture *capture;
	struct http_library http;
	struct MHD_Daemon *daemon;
	int epoll_fd; /* owned by daemon */
	int stop_fd;
	unsigned guests_most;
	pthread_t thread;
	struct MHD_Response *greeting, *nowhere, *not_so;

	/* The thread's alone. */
	struct wh_statistics sum;
	struct wh_interface_statistics *interfaces; /* owned */
	size_t interface_count;
	struct metrics_rate rate;
	struct MHD_Response *page; /* NULL: none yet */
	uint64_t page_ns;
	struct guest guests[GUESTS_MOST];
	bool left; /* a guest has gone in this round */
};

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static enum wh_result refuse(struct wh_message *message, const char *text, const char *why)
{
	snprintf(message->text, sizeof(message->text), "--metrics %.80s: %s", text, why);
	return WH_RESULT_USAGE;
}

/* ---- listening ---- */

static const char *advice(int os_error)
{
	switch (os_error) {
	case EADDRINUSE:
		return "; choose another port, or end the program that has this one";
	case EADDRNOTAVAIL:
		return "; no adapter of this machine has that address";
	case EACCES:
		return "; choose a port above 1023";
	case EAFNOSUPPORT:
		return "; this machine has no IPv6; use 127.0.0.1:PORT";
	default:
		return "";
	}
}

/* Returns a socket that listens on SERVER's address, with the port that it got put into that; or -1 with errno. */
static int listen_on(struct metrics_server *server)
{
	struct sockaddr *name = (struct sockaddr *)&server->address.socket;
	const int on = 1;
	int fd = socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		return -1;
	/* The port of an earlier run may still wait for stray packets. An IPv6 address is that and no IPv4 address. */
	bool good = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
	if (name->sa_family == AF_INET6)
		good = good && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
	good = good && bind(fd, name, server->address.length) == 0 && listen(fd, BACKLOG) == 0 &&
	       getsockname(fd, name, &server->address.length) == 0;
	if (good)
		return fd;
	int os_error = errno;
	close(fd);
	errno = os_error;
	return -1;
}

uint16_t metrics_server_port(const struct metrics_server *server)
{
	return metrics_address_port(&server->address);
}

void metrics_server_url(const struct metrics_server *server, struct wh_message *url)
{
	metrics_address_url(&server->address, url);
}

/* ---- what is told ---- */

/* Takes over TEXT, of LENGTH bytes, also where it fails. NULL where there is no memory. */
static struct MHD_Response *make_response(const struct metrics_server *server, char *text, size_t length,
					  const char *type)
{
	if (text == NULL)
		return NULL;
	struct MHD_Response *response = server->http.create_response_from_buffer(length, text, MHD_RESPMEM_MUST_FREE);
	if (response == NULL) {
		free(text);
		return NULL;
	}
	/* One request for each connection: how long one lasts is then known, and a scrape each second is no load. */
	if (server->http.add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES &&
	    server->http.add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES)
		return response;
	server->http.destroy_response(response);
	return NULL;
}

static struct MHD_Response *make_line(const struct metrics_server *server, const char *line)
{
	return make_response(server, strdup(line), strlen(line), "text/plain; charset=utf-8");
}

/* Takes the statistics anew. False where there is no memory. */
static bool take_statistics(struct metrics_server *server)
{
	struct wh_statistics sum;
	wh_capture_statistics(server->capture, &sum);
	metrics_keep(&sum, &server->sum);
	server->sum = sum;
	if (sum.interface_count > server->interface_count) {
		struct wh_interface_statistics *more = realloc(server->interfaces, sum.interface_count * sizeof(*more));
		if (more == NULL)
			return false;
		server->interfaces = more;
		memset(more + server->interface_count, 0,
		       (sum.interface_count - server->interface_count) * sizeof(*more));
		server->interface_count = sum.interface_count;
	}
	for (size_t i = 0; i < server->interface_count; i++) {
		struct wh_interface_statistics one;
		if (!wh_capture_interface_statistics(server->capture, i, &one))
			continue;
		metrics_keep_interface(&one, &server->interfaces[i]);
		server->interfaces[i] = one;
	}
	return true;
}

/* What /metrics says now. Borrowed until the next call. NULL where there is no memory. */
static struct MHD_Response *current_page(struct metrics_server *server)
{
	uint64_t now = now_ns();
	if (server->page != NULL && now - server->page_ns < PAGE_NS)
		return server->page;
	if (!take_statistics(server))
		return NULL;
	const struct metrics_view view = {
		.sum = &server->sum,
		.interfaces = server->interfaces,
		.interface_count = server->interface_count,
		.fill_rate = metrics_rate_take(&server->rate, now, server->sum.bytes_on_disk),
	};
	size_t length = 0;
	char *text = metrics_text(&view, &length);
	struct MHD_Response *page = make_response(server, text, length, "text/plain; version=0.0.4; charset=utf-8");
	if (page == NULL)
		return NULL;
	/* Those who are still being told the old one have a part in it. */
	if (server->page != NULL)
		server->http.destroy_response(server->page);
	server->page = page;
	server->page_ns = now;
	return page;
}

static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url, const char *method,
			      const char *version, const char *upload, size_t *upload_bytes, void **request)
{
	struct metrics_server *server = context;
	(void)version;
	(void)upload;
	(void)upload_bytes;
	(void)request;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return server->http.queue_response(connection, MHD_HTTP_METHOD_NOT_ALLOWED, server->not_so);
	if (strcmp(url, "/") == 0)
		return server->http.queue_response(connection, MHD_HTTP_OK, server->greeting);
	if (strcmp(url, "/metrics") != 0)
		return server->http.queue_response(connection, MHD_HTTP_NOT_FOUND, server->nowhere);
	struct MHD_Response *page = current_page(server);
	return page != NULL ? server->http.queue_response(connection, MHD_HTTP_OK, page) : MHD_NO;
}

/* ---- guests, and the thread ---- */

/* The library sees that the connection has ended, and closes it. */
static void see_off(struct guest *guest)
{
	guest->ended = true;
	shutdown(guest->fd, SHUT_RDWR);
}

static void welcome(struct metrics_server *server, struct MHD_Connection *connection, void **context)
{
	const union MHD_ConnectionInfo *info =
	    server->http.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct guest *place = NULL;
	struct guest *oldest = NULL;
	size_t count = 0;
	for (size_t i = 0; i < GUESTS_MOST; i++) {
		struct guest *guest = &server->guests[i];
		if (guest->fd == -1) {
			place = guest;
			continue;
		}
		if (guest->ended)
			continue;
		count++;
		if (oldest == NULL || guest->since_ns < oldest->since_ns)
			oldest = guest;
	}
	if (info == NULL || place == NULL)
		return; /* cannot be: there are as many places as the library takes connections */
	*place = (struct guest){ .fd = info->connect_fd, .since_ns = now_ns() };
	*context = place;
	if (count >= server->guests_most * 2 / 3 && oldest != NULL)
		see_off(oldest);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **guest_context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct metrics_server *server = context;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		welcome(server, connection, guest_context);
		return;
	}
	struct guest *guest = *guest_context;
	if (guest != NULL)
		guest->fd = -1;
	server->left = true;
}

/* Sees off those who have been here for too long. Returns in how many ms to look again, -1 where nobody is here. */
static int look_at_guests(struct metrics_server *server)
{
	uint64_t now = now_ns();
	uint64_t next_ns = UINT64_MAX;
	for (size_t i = 0; i < GUESTS_MOST; i++) {
		struct guest *guest = &server->guests[i];
		if (guest->fd == -1 || guest->ended)
			continue;
		uint64_t age_ns = now - guest->since_ns;
		if (age_ns >= GUEST_NS)
			see_off(guest);
		else if (GUEST_NS - age_ns < next_ns)
			next_ns = GUEST_NS - age_ns;
	}
	return next_ns == UINT64_MAX ? -1 : (int)(next_ns / MS_NS) + 1;
}

/* The time until the library wants to be called, or the guests to be looked at; -1: forever. */
static int patience_ms(struct metrics_server *server)
{
	MHD_UNSIGNED_LONG_LONG library_ms;
	int ms = look_at_guests(server);
	if (server->http.get_timeout(server->daemon, &library_ms) == MHD_YES &&
	    (ms == -1 || library_ms < (MHD_UNSIGNED_LONG_LONG)ms))
		ms = library_ms < 60000 ? (int)library_ms : 60000;
	return ms;
}

/*
 * A round each millisecond at most: enough for thousands of connections a second, and the processor time that anybody
 * can make this thread use is bounded, also where a connection waits that there is no descriptor for.
 */
static void *serve(void *context)
{
	struct metrics_server *server = context;
	pthread_setname_np(pthread_self(), "wh-metrics");
	/* Of this thread alone, as Linux has it. A system that refuses has lost nothing but the courtesy. */
	int ignored = nice(NICER);
	(void)ignored;
	struct pollfd fds[] = {
		{ .fd = server->stop_fd, .events = POLLIN },
		{ .fd = server->epoll_fd, .events = POLLIN },
	};
	for (;;) {
		if (poll(fds, 2, patience_ms(server)) == -1 && errno != EINTR)
			break;
		if (fds[0].revents != 0)
			break;
		/* When it has taken leave of a guest, the library listens again in the next round only. */
		server->left = false;
		server->http.run(server->daemon);
		if (server->left)
			server->http.run(server->daemon);
		if (poll(fds, 1, 1) == 1)
			break;
	}
	return NULL;
}

/* ---- opening and closing ---- */

static bool make_lines(struct metrics_server *server)
{
	server->greeting = make_line(server, "wirehaul: the metrics are at /metrics\n");
	server->nowhere = make_line(server, "there is nothing here; the metrics are at /metrics\n");
	server->not_so = make_line(server, "only GET and HEAD are understood\n");
	return server->greeting != NULL && server->nowhere != NULL && server->not_so != NULL &&
	       server->http.add_response_header(server->not_so, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_YES;
}

static unsigned choose_guests_most(void)
{
	struct rlimit limit = { .rlim_cur = 0 };
	getrlimit(RLIMIT_NOFILE, &limit);
	rlim_t share = limit.rlim_cur / DESCRIPTORS_PER_GUEST;
	return share >= GUESTS_MOST ? GUESTS_MOST : share <= GUESTS_LEAST ? GUESTS_LEAST : (unsigned)share;
}

static bool start_daemon(struct metrics_server *server, int fd)
{
	server->daemon = server->http.start_daemon(
	    MHD_USE_EPOLL, 0, NULL, NULL, answer, server, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
	    server->guests_most, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)GUEST_BYTES,
	    MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)GUEST_STEP_BYTES, MHD_OPTION_NOTIFY_CONNECTION,
	    on_connection, server, MHD_OPTION_END);
	if (server->daemon == NULL)
		return false;
	const union MHD_DaemonInfo *info = server->http.get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	server->epoll_fd = info != NULL ? info->epoll_fd : -1;
	return server->epoll_fd != -1;
}

/* Signals are for other threads. Returns 0, or an errno. */
static int start_thread(struct metrics_server *server)
{
	sigset_t all;
	sigset_t before;
	sigfillset(&all);
	int os_error = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (os_error != 0)
		return os_error;
	os_error = pthread_create(&server->thread, NULL, serve, server);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return os_error;
}

/* All but the thread. */
static void release(struct metrics_server *server)
{
	struct MHD_Response *const responses[] = { server->page, server->greeting, server->nowhere, server->not_so };
	if (server->daemon != NULL)
		server->http.stop_daemon(server->daemon);
	for (size_t i = 0; i < sizeof(responses) / sizeof(responses[0]); i++)
		if (responses[i] != NULL)
			server->http.destroy_response(responses[i]);
	if (server->stop_fd != -1)
		close(server->stop_fd);
	free(server->interfaces);
	free(server);
}

enum wh_result metrics_server_open(const char *address, struct wh_capture *capture, struct metrics_server **server,
				   struct wh_message *message)
{
	char words[128];
	char why[256];
	struct metrics_address where;
	enum wh_result result = metrics_address_parse(address, &where, message);
	if (result != WH_RESULT_OK)
		return result;
	struct http_library http;
	result = http_library_open(&http, message);
	if (result != WH_RESULT_OK)
		return result;
	struct metrics_server *made = calloc(1, sizeof(*made));
	if (made == NULL)
		return refuse(message, address, "there is no memory for it");
	made->http = http;
	made->address = where;
	made->capture = capture;
	made->guests_most = choose_guests_most();
	for (size_t i = 0; i < GUESTS_MOST; i++)
		made->guests[i].fd = -1;
	wh_capture_statistics(capture, &made->sum);
	metrics_rate_take(&made->rate, now_ns(), made->sum.bytes_on_disk);
	made->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int fd = made->stop_fd != -1 ? listen_on(made) : -1;
	int os_error = errno;
	if (fd != -1) {
		/* From here on the socket is the library's. */
		os_error = make_lines(made) && start_daemon(made, fd) ? start_thread(made) : ENOMEM;
		if (os_error == 0) {
			*server = made;
			return WH_RESULT_OK;
		}
		if (made->daemon == NULL)
			close(fd);
	}
	release(made);
	snprintf(why, sizeof(why), "cannot listen there: %s%s", strerror_r(os_error, words, sizeof(words)),
		 advice(os_error));
	return refuse(message, address, why);
}

void metrics_server_close(struct metrics_server *server)
{
	if (server == NULL)
		return;
	const uint64_t one = 1;
	ssize_t written = write(server->stop_fd, &one, sizeof(one));
	(void)written; /* cannot fail: the counter was 0 */
	pthread_join(server->thread, NULL);
	release(server);
}
