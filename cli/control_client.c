/* SPDX-License-Identifier: BSD-3-Clause */
#include "control_client.h"

#include "control_protocol.h"
#include "control_socket.h"
#include "control_view.h"
#include "option_word.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A capture answers within milliseconds, unless many others ask as well. */
#define PATIENCE_MS 10000

/* Between the two looks from which rates are made. */
#define LOOK_MS 1000

#define RECEIVE_BYTES 65536

/* What the command line asks for. */
struct call {
	struct control_request request;
	const char *place; /* of --control, or NULL; borrowed from argv */
	bool json;
	bool help;
};

enum { LETTER_JSON = 256, LETTER_CONTROL, LETTER_NO_WAIT };

static const struct option long_options[] = {
	{ "control", required_argument, NULL, LETTER_CONTROL },
	{ "json", no_argument, NULL, LETTER_JSON },
	{ "no-wait", no_argument, NULL, LETTER_NO_WAIT },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

__attribute__((format(printf, 3, 4))) static enum wh_result fail(struct wh_message *message, enum wh_result result,
								 const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message->text, sizeof(message->text), format, arguments);
	va_end(arguments);
	text_clean(message->text, false);
	return result;
}

/* ---- the command line ---- */

static enum wh_result read_option(int found, char **argv, struct call *call, struct wh_message *message)
{
	const char *name = control_action_name(call->request.action);
	char word[64];
	switch (found) {
	case LETTER_CONTROL:
		call->place = optarg;
		return WH_RESULT_OK;
	case LETTER_JSON:
		call->json = true;
		return WH_RESULT_OK;
	case 'h':
		call->help = true;
		return WH_RESULT_OK;
	case LETTER_NO_WAIT:
		if (call->request.action != CONTROL_STOP)
			return fail(message, WH_RESULT_USAGE, "%s: --no-wait is for wirehaul stop alone: leave it out",
				    name);
		call->request.wait = false;
		return WH_RESULT_OK;
	case ':':
		return fail(message, WH_RESULT_USAGE, "%s: --control: a value is missing; give a path or a name", name);
	default:
		option_word(argv, word, sizeof(word));
		return fail(message, WH_RESULT_USAGE, "%s: %s cannot be; wirehaul %s --help lists the options", name,
			    word, name);
	}
}

/* The words that are left are the text of a mark. */
static enum wh_result read_words(int argc, char **argv, struct call *call, struct wh_message *message)
{
	const char *name = control_action_name(call->request.action);
	if (call->request.action != CONTROL_MARK) {
		if (optind == argc)
			return WH_RESULT_OK;
		return fail(message, WH_RESULT_USAGE, "%s: \"%.60s\" is too much: it takes options alone", name,
			    argv[optind]);
	}
	char *text = call->request.text;
	size_t used = 0;
	for (int i = optind; i < argc; i++) {
		size_t bytes = strlen(argv[i]);
		if (used + bytes + 2 > sizeof(call->request.text))
			return fail(message, WH_RESULT_USAGE, "mark: the text has at most %d bytes: make it shorter",
				    CONTROL_MARK_BYTES_MAX);
		if (used > 0)
			text[used++] = ' ';
		memcpy(text + used, argv[i], bytes + 1);
		used += bytes;
	}
	struct wh_message why = { "" };
	if (control_text_check(text, &why) != WH_RESULT_OK)
		return fail(message, WH_RESULT_USAGE, "mark: %s", why.text);
	return WH_RESULT_OK;
}

static enum wh_result read_call(int argc, char **argv, struct call *call, struct wh_message *message)
{
	*call = (struct call){ .request = { .action = CONTROL_STATUS } };
	if (argc < 1 || !control_action_find(argv[0], &call->request.action))
		return fail(message, WH_RESULT_USAGE, "there is no such command");
	call->request.wait = call->request.action == CONTROL_STOP;
	/* 0, not 1: this makes getopt forget all that it remembers of an earlier command line. */
	optind = 0;
	opterr = 0;
	for (;;) {
		int found = getopt_long(argc, argv, ":h", long_options, NULL);
		if (found == -1)
			return read_words(argc, argv, call, message);
		enum wh_result result = read_option(found, argv, call, message);
		if (result != WH_RESULT_OK || call->help)
			return result;
	}
}

static void print_help(enum control_action action)
{
	static const char *const usage[CONTROL_ACTIONS] = {
		[CONTROL_STATUS] = "wirehaul status [--control NAME|PATH] [--json]\n\n"
				   "Shows how a capture is doing; rates are those of one second.\n",
		[CONTROL_ROTATE] = "wirehaul rotate [--control NAME|PATH] [--json]\n\n"
				   "Lets a capture begin a new file now.\n",
		[CONTROL_STOP] = "wirehaul stop [--control NAME|PATH] [--json] [--no-wait]\n\n"
				 "Stops a capture in order and waits until its files are closed.\n",
		[CONTROL_MARK] = "wirehaul mark [--control NAME|PATH] [--json] TEXT\n\n"
				 "Puts TEXT and the time between the frames of the current file, and into the file\n"
				 "of marks beside the chain.\n",
	};
	printf("usage: %s\n", usage[action]);
	fputs("  --control NAME|PATH  the control socket: a path with a slash in it, or the name of\n"
	      "                       an instance of the service; without it, the only one under\n"
	      "                       " CONTROL_DIRECTORY " that answers\n"
	      "  --json               what the capture says, as JSON\n",
	      stdout);
	if (action == CONTROL_STOP)
		fputs("  --no-wait            ask, and do not wait for the end\n", stdout);
	fputs("  -h, --help           show this text\n", stdout);
}

/* ---- which capture ---- */

static enum wh_result explain_connect(const char *path, int os_error, struct wh_message *message)
{
	char words[128];
	switch (os_error) {
	case ENOENT:
	case ENOTDIR:
		return fail(message, WH_RESULT_USAGE,
			    "there is no control socket %s: does a capture run that was given it with --control?",
			    path);
	case ECONNREFUSED:
		return fail(message, WH_RESULT_USAGE,
			    "nobody listens at %s: that capture has ended, or it is no control socket", path);
	case EACCES:
	case EPERM:
		return fail(message, WH_RESULT_USAGE,
			    "%s is not for you: only root and the user of the capture may control it", path);
	case EAGAIN:
		return fail(message, WH_RESULT_ERROR, "%s does not answer: too many others ask", path);
	default:
		return fail(message, WH_RESULT_USAGE, "cannot speak to %s: %s", path,
			    strerror_r(os_error, words, sizeof(words)));
	}
}

/* What was found under CONTROL_DIRECTORY. */
struct search {
	unsigned answering, forbidden;
	int fd; /* to the first that answers, or -1 */
	char names[256];
};

static void search_one(struct search *search, const char *name)
{
	struct wh_message ignored;
	char path[CONTROL_PATH_BYTES];
	if (name[0] == '.' || control_path(name, path, &ignored) != WH_RESULT_OK)
		return;
	int fd = control_socket_connect(path, PATIENCE_MS);
	if (fd == -1) {
		search->forbidden += errno == EACCES || errno == EPERM;
		return;
	}
	/* As many as fit in one line. */
	size_t used = strlen(search->names);
	if (used + strlen(name) + sizeof(", ") <= sizeof(search->names))
		stpcpy(stpcpy(search->names + used, used > 0 ? ", " : ""), name);
	if (search->answering++ == 0)
		search->fd = fd;
	else
		close(fd);
}

/* Connects to the only capture that answers at its place under CONTROL_DIRECTORY. */
static enum wh_result search_all(int *fd, struct wh_message *message)
{
	struct search search = { .fd = -1 };
	DIR *directory = opendir(CONTROL_DIRECTORY);
	const struct dirent *entry;
	while (directory != NULL && (entry = readdir(directory)) != NULL)
		search_one(&search, entry->d_name);
	if (directory != NULL)
		closedir(directory);
	if (search.answering == 1) {
		*fd = search.fd;
		return WH_RESULT_OK;
	}
	if (search.fd != -1)
		close(search.fd);
	if (search.answering > 1)
		return fail(message, WH_RESULT_USAGE, "there are several captures; say which with --control NAME: %s",
			    search.names);
	if (search.forbidden > 0)
		return fail(message, WH_RESULT_USAGE,
			    "the captures under " CONTROL_DIRECTORY
			    " are not for you: only root and the user of a capture may control it");
	return fail(message, WH_RESULT_USAGE,
		    "no capture answers under " CONTROL_DIRECTORY "; say which with --control NAME|PATH");
}

static enum wh_result connect_to(const char *place, int *fd, struct wh_message *message)
{
	char path[CONTROL_PATH_BYTES];
	if (place == NULL)
		return search_all(fd, message);
	enum wh_result result = control_path(place, path, message);
	if (result != WH_RESULT_OK)
		return result;
	*fd = control_socket_connect(path, PATIENCE_MS);
	return *fd != -1 ? WH_RESULT_OK : explain_connect(path, errno, message);
}

/* ---- asking ---- */

static uint64_t clock_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static enum wh_result explain_silence(ssize_t count, int os_error, struct wh_message *message)
{
	char words[128];
	if (count == 0 || os_error == ECONNRESET || os_error == EPIPE)
		return fail(message, WH_RESULT_ERROR,
			    "the capture has closed the connection without an answer: it has ended, or is too busy");
	if (os_error == EAGAIN)
		return fail(message, WH_RESULT_ERROR, "the capture does not answer: it has been silent for %d s",
			    PATIENCE_MS / 1000);
	return fail(message, WH_RESULT_ERROR, "the connection to the capture broke: %s",
		    strerror_r(os_error, words, sizeof(words)));
}

static enum wh_result send_request(int fd, const struct control_request *request, struct wh_message *message)
{
	char *line = control_request_format(request);
	if (line == NULL)
		return fail(message, WH_RESULT_ERROR, "out of memory");
	size_t bytes = strlen(line);
	size_t sent = 0;
	while (sent < bytes) {
		ssize_t count = send(fd, line + sent, bytes - sent, MSG_NOSIGNAL);
		if (count > 0) {
			sent += (size_t)count;
		} else if (errno != EINTR) {
			/* It may have said why it does not listen, so that the reply is looked for all the same. */
			break;
		}
	}
	free(line);
	return WH_RESULT_OK;
}

/* Receives up to a line end, in at most LIMIT_MS; 0: for as long as it takes. */
static enum wh_result receive_reply(int fd, uint64_t limit_ms, json_t **reply, struct wh_message *message)
{
	char *text = NULL;
	size_t used = 0;
	const char *end = NULL;
	uint64_t start = clock_ms();
	enum wh_result result = WH_RESULT_OK;
	while (end == NULL && result == WH_RESULT_OK) {
		char *larger = realloc(text, used + RECEIVE_BYTES);
		if (larger == NULL) {
			result = fail(message, WH_RESULT_ERROR, "out of memory");
			break;
		}
		text = larger;
		ssize_t count = recv(fd, text + used, RECEIVE_BYTES, 0);
		if (count == -1 && errno == EINTR)
			continue;
		if (count <= 0) {
			result = explain_silence(count, errno, message);
			break;
		}
		end = memchr(text + used, '\n', (size_t)count);
		used += (size_t)count;
		if (end == NULL && (used >= CONTROL_REPLY_BYTES_MAX || (limit_ms > 0 && clock_ms() - start > limit_ms)))
			result = fail(message, WH_RESULT_ERROR, "what answers there does not speak as wirehaul does");
	}
	if (result == WH_RESULT_OK)
		result = control_reply_parse(text, (size_t)(end - text), reply, message);
	free(text);
	return result;
}

static enum wh_result ask(int fd, const struct control_request *request, json_t **reply, struct wh_message *message)
{
	uint64_t limit_ms = PATIENCE_MS;
	if (request->wait) {
		const struct timeval none = { 0 };
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
		limit_ms = 0;
	}
	enum wh_result result = send_request(fd, request, message);
	return result == WH_RESULT_OK ? receive_reply(fd, limit_ms, reply, message) : result;
}

/* ---- answers ---- */

static void print_json(const json_t *object)
{
	/* ASCII, so that nothing in a name can be more to a terminal than a name. */
	char *text = json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(9) | JSON_ENSURE_ASCII);
	if (text != NULL)
		puts(text);
	free(text);
}

static uint64_t wall_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* Looks a second time after a moment, for the rates. Where there is no second look any more, the first is shown. */
static void show_status(int fd, const struct control_request *request, const json_t *first)
{
	const json_t *before = json_object_get(first, "status");
	struct wh_message ignored;
	json_t *second = NULL;
	struct pollfd gone = { .fd = fd, .events = POLLIN };
	const char *state = json_string_value(json_object_get(before, "state"));
	/* It says nothing unasked: what comes in this time is its end. */
	if (state != NULL && strcmp(state, "running") == 0 && poll(&gone, 1, LOOK_MS) == 0 &&
	    ask(fd, request, &second, &ignored) == WH_RESULT_OK)
		control_view_print(stdout, before, json_object_get(second, "status"), wall_ns());
	else
		control_view_print(stdout, NULL, before, wall_ns());
	json_decref(second);
}

static void show_stop(const struct call *call, const json_t *reply)
{
	if (!call->request.wait) {
		puts("asked to stop");
		return;
	}
	const char *reason = json_string_value(json_object_get(reply, "stop_reason"));
	char words[64];
	snprintf(words, sizeof(words), "%s", reason != NULL ? reason : "");
	text_clean(words, false);
	printf("stopped (%s): ", words);
	static const char *const names[] = { "frames_received", "frames_written", "frames_dropped" };
	static const char *const shown[] = { "frames received", "written", "dropped" };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		json_int_t number = json_integer_value(json_object_get(reply, names[i]));
		printf("%s%s %s", i > 0 ? ", " : "", text_count(number > 0 ? (uint64_t)number : 0).s, shown[i]);
	}
	putchar('\n');
}

/* There may be something to say of it. */
static void show_mark(const json_t *reply)
{
	struct wh_message note;
	const char *text = json_string_value(json_object_get(reply, "note"));
	snprintf(note.text, sizeof(note.text), "%s", text != NULL ? text : "");
	text_clean(note.text, false);
	printf("marked%s%s\n", note.text[0] != '\0' ? ": " : "", note.text);
}

static void show(int fd, const struct call *call, const json_t *reply)
{
	if (call->json) {
		const json_t *status = json_object_get(reply, "status");
		print_json(call->request.action == CONTROL_STATUS && status != NULL ? status : reply);
		return;
	}
	switch (call->request.action) {
	case CONTROL_STATUS:
		show_status(fd, &call->request, reply);
		break;
	case CONTROL_STOP:
		show_stop(call, reply);
		break;
	case CONTROL_ROTATE:
		puts("a new file is being begun");
		break;
	case CONTROL_MARK:
	case CONTROL_ACTIONS:
	default:
		show_mark(reply);
		break;
	}
}

/* A capture that was seen to its end: its own exit status says how it went. */
static enum wh_result result_of(const json_t *reply, struct wh_message *message)
{
	switch (json_integer_value(json_object_get(reply, "result"))) {
	case WH_RESULT_LOW_SPACE:
		return fail(message, WH_RESULT_LOW_SPACE, "the capture has stopped at its free-space limit");
	case WH_RESULT_ERROR:
		return fail(message, WH_RESULT_ERROR, "the capture has ended with an error, of which it has told");
	default:
		return WH_RESULT_OK;
	}
}

static enum wh_result carry_out(const struct call *call, struct wh_message *message)
{
	int fd = -1;
	json_t *reply = NULL;
	enum wh_result result = connect_to(call->place, &fd, message);
	if (result != WH_RESULT_OK)
		return result;
	result = ask(fd, &call->request, &reply, message);
	if (result == WH_RESULT_OK) {
		show(fd, call, reply);
		result = result_of(reply, message);
	}
	json_decref(reply);
	close(fd);
	return result;
}

int control_main(int argc, char **argv)
{
	struct call call;
	struct wh_message message = { "" };
	enum wh_result result = read_call(argc, argv, &call, &message);
	if (result == WH_RESULT_OK && call.help)
		print_help(call.request.action);
	else if (result == WH_RESULT_OK)
		result = carry_out(&call, &message);
	if (message.text[0] != '\0')
		fprintf(stderr, "wirehaul: %s\n", message.text);
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return (int)result;
	fprintf(stderr, "wirehaul: cannot write to standard output: %s\n", strerror(errno));
	return WH_RESULT_ERROR;
}
