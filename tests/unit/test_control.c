/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: what may be asked and answered, the file that it is, what a person is shown, and the server on a
 * real capture, which replays a silent pipe and writes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control_protocol.h"
#include "control_server.h"
#include "control_socket.h"
#include "control_view.h"

enum { PATIENCE_MS = 20000, PATH_BYTES = 100 };

/* ---- the protocol ---- */

static void test_paths(void **state)
{
	(void)state;
	char path[CONTROL_PATH_BYTES];
	char longest[CONTROL_PATH_BYTES + 1];
	struct wh_message message;
	assert_int_equal(control_path("/tmp/x.sock", path, &message), WH_RESULT_OK);
	assert_string_equal(path, "/tmp/x.sock");
	assert_int_equal(control_path("./x", path, &message), WH_RESULT_OK);
	assert_string_equal(path, "./x");
	assert_int_equal(control_path("edge", path, &message), WH_RESULT_OK);
	assert_string_equal(path, "/run/wirehaul/edge/control.sock");

	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[CONTROL_PATH_BYTES - 1] = '\0';
	assert_int_equal(control_path(longest, path, &message), WH_RESULT_OK);
	assert_string_equal(path, longest);
	longest[CONTROL_PATH_BYTES - 1] = 'x';
	longest[CONTROL_PATH_BYTES] = '\0';
	assert_int_equal(control_path(longest, path, &message), WH_RESULT_USAGE);
	assert_non_null(strstr(message.text, "at most 107 bytes, and this one would have 108"));
	/* As a name the same is too long much sooner. */
	longest[90] = '\0';
	assert_int_equal(control_path(longest + 1, path, &message), WH_RESULT_USAGE);

	static const char *const bad[] = { "", ".", "..", ".hidden" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(control_path(bad[i], path, &message), WH_RESULT_USAGE);
		assert_non_null(strstr(message.text, "--control"));
	}
}

static enum wh_result parse(const char *line, struct control_request *request, struct wh_message *message)
{
	message->text[0] = '\0';
	return control_request_parse(line, strlen(line), request, message);
}

static void test_good_requests(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		struct control_request request;
	} good[] = {
		{ "{\"do\":\"status\"}", { .action = CONTROL_STATUS } },
		{ " {\t\"do\" : \"rotate\" }\r", { .action = CONTROL_ROTATE } },
		{ "{\"do\":\"stop\"}", { .action = CONTROL_STOP } },
		{ "{\"do\":\"stop\",\"wait\":false}", { .action = CONTROL_STOP } },
		{ "{\"wait\":true,\"do\":\"stop\"}", { .action = CONTROL_STOP, .wait = true } },
		{ "{\"do\":\"mark\",\"text\":\"gr\\u00fcn\"}", { .action = CONTROL_MARK, .text = "gr\303\274n" } },
		{ "{\"do\":\"mark\",\"text\":\"a \\\"{[\\\\ b\"}", { .action = CONTROL_MARK, .text = "a \"{[\\ b" } },
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct control_request request;
		struct wh_message message;
		if (parse(good[i].line, &request, &message) != WH_RESULT_OK)
			fail_msg("%s was refused: %s", good[i].line, message.text);
		assert_int_equal(request.action, good[i].request.action);
		assert_int_equal(request.wait, good[i].request.wait);
		assert_string_equal(request.text, good[i].request.text);
	}
}

static void test_bad_requests(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		const char *part;
	} bad[] = {
		{ "", "one flat JSON object" },
		{ "status", "one flat JSON object" },
		{ "[\"status\"]", "one flat JSON object" },
		{ "{\"do\":\"status\"", "one flat JSON object" },
		{ "{\"do\":\"status\"} {}", "one flat JSON object" },
		{ "{\"do\":\"status\",\"do\":\"stop\"}", "one flat JSON object" },
		{ "{\"do\":{\"do\":\"status\"}}", "one flat JSON object" },
		{ "{\"do\":\"mark\",\"text\":\"\\u0000\"}", "one flat JSON object" },
		{ "{\"do\":\"mark\",\"text\":\"\377\"}", "one flat JSON object" },
		{ "{}", "\"do\" must be" },
		{ "{\"do\":1}", "\"do\" must be" },
		{ "{\"do\":\"Status\"}", "\"do\" must be" },
		{ "{\"do\":\"status\",\"text\":\"x\"}", "a member" },
		{ "{\"do\":\"rotate\",\"wait\":true}", "a member" },
		{ "{\"do\":\"stop\",\"wait\":1}", "a member" },
		{ "{\"do\":\"mark\",\"text\":7}", "a member" },
		{ "{\"do\":\"mark\"}", "needs a text" },
		{ "{\"do\":\"mark\",\"text\":\"\"}", "needs a text" },
		{ "{\"do\":\"mark\",\"text\":\"two\\nlines\"}", "one line of text" },
		{ "{\"do\":\"mark\",\"text\":\"\\u001b[2J\"}", "one line of text" },
		{ "{\"do\":\"mark\",\"text\":\"\\u007f\"}", "one line of text" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct control_request request;
		struct wh_message message;
		if (parse(bad[i].line, &request, &message) != WH_RESULT_USAGE)
			fail_msg("%s was accepted", bad[i].line);
		if (strstr(message.text, bad[i].part) == NULL)
			fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].line, message.text, bad[i].part);
		assert_null(strpbrk(message.text, "\r\n\033"));
	}
}

/* A deep one must be refused before jansson walks into it, and a long one before it is read. */
static void test_large_requests(void **state)
{
	(void)state;
	static char line[CONTROL_REQUEST_BYTES_MAX];
	struct control_request request;
	struct wh_message message;
	memset(line, '[', sizeof(line));
	assert_int_equal(control_request_parse(line, sizeof(line) - 1, &request, &message), WH_RESULT_USAGE);
	assert_int_equal(control_request_parse(line, sizeof(line), &request, &message), WH_RESULT_USAGE);
	assert_non_null(strstr(message.text, "4096"));
	memset(line, ' ', sizeof(line));
	memcpy(line, "{\"do\":\"rotate\"}", 15);
	assert_int_equal(control_request_parse(line, sizeof(line) - 1, &request, &message), WH_RESULT_OK);
	assert_int_equal(control_request_parse(line, sizeof(line), &request, &message), WH_RESULT_USAGE);
}

/* Every request comes through as it was, the largest mark too, whatever it is made of. */
static void test_round_trip(void **state)
{
	(void)state;
	static const char *const pieces[] = { "x", "\"", "\303\274", "\342\202\254", "\360\237\246\210" };
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct control_request request = { .action = CONTROL_MARK };
		struct control_request found;
		struct wh_message message;
		size_t bytes = strlen(pieces[i]);
		for (size_t at = 0; at + bytes <= CONTROL_MARK_BYTES_MAX; at += bytes)
			memcpy(request.text + at, pieces[i], bytes + 1);
		char *line = control_request_format(&request);
		assert_non_null(line);
		size_t length = strlen(line);
		assert_true(length <= CONTROL_REQUEST_BYTES_MAX);
		assert_int_equal(line[length - 1], '\n');
		assert_int_equal(control_request_parse(line, length - 1, &found, &message), WH_RESULT_OK);
		assert_int_equal(found.action, CONTROL_MARK);
		assert_string_equal(found.text, request.text);
		free(line);
	}
	struct wh_message message;
	char longer[CONTROL_MARK_BYTES_MAX + 2];
	memset(longer, 'x', sizeof(longer));
	longer[CONTROL_MARK_BYTES_MAX + 1] = '\0';
	assert_int_equal(control_text_check(longer, &message), WH_RESULT_USAGE);
	longer[CONTROL_MARK_BYTES_MAX] = '\0';
	assert_int_equal(control_text_check(longer, &message), WH_RESULT_OK);
	assert_int_equal(control_text_check("\300\257", &message), WH_RESULT_USAGE);
	assert_non_null(strstr(message.text, "UTF-8"));
}

static void test_replies(void **state)
{
	(void)state;
	json_t *reply = NULL;
	struct wh_message message;
	assert_int_equal(control_reply_parse("{\"ok\":true,\"x\":1}", 17, &reply, &message), WH_RESULT_OK);
	assert_int_equal(json_integer_value(json_object_get(reply, "x")), 1);
	json_decref(reply);

	size_t bytes = 0;
	char *line = control_line(control_refusal("not\033[2J now\n"), &bytes);
	assert_non_null(line);
	assert_int_equal(bytes, strlen(line));
	assert_ptr_equal(strchr(line, '\n'), line + bytes - 1);
	assert_int_equal(control_reply_parse(line, bytes - 1, &reply, &message), WH_RESULT_USAGE);
	assert_string_equal(message.text, "not?[2J now?");
	assert_null(reply);
	free(line);
	json_t *refusal = control_refusal("\377");
	assert_non_null(refusal);
	json_decref(refusal);
	static const char failure[] = "{\"ok\":false,\"error\":\"the disk\",\"failed\":true}";
	assert_int_equal(control_reply_parse(failure, sizeof(failure) - 1, &reply, &message), WH_RESULT_ERROR);
	assert_string_equal(message.text, "the disk");
	assert_null(reply);

	static const char *const strange[] = { "", "hello", "[]", "{}", "{\"ok\":1}", "{\"ok\":false}", "{\"ok\":tru" };
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		assert_int_equal(control_reply_parse(strange[i], strlen(strange[i]), &reply, &message),
				 WH_RESULT_ERROR);
		assert_null(reply);
	}
}

/* ---- what a person sees ---- */

static char *view(const json_t *before, const json_t *now, uint64_t wall_ns)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	assert_non_null(out);
	control_view_print(out, before, now, wall_ns);
	assert_int_equal(fclose(out), 0);
	return text;
}

static json_t *object_of(const char *text)
{
	json_error_t error;
	json_t *object = json_loads(text, 0, &error);
	if (object == NULL)
		fail_msg("%s: %s", text, error.text);
	return object;
}

static void check_shown(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("this is not in it: %s\n%s", part, text);
}

#define STATUS(seconds, frames, disk)                                                                                  \
	"{\"state\":\"running\",\"stop_reason\":\"\",\"elapsed_seconds\":" seconds ",\"frames_received\":" frames      \
	",\"frames_dropped\":10,\"frames_dropped_nic\":0,\"bytes_captured\":" disk ",\"bytes_on_disk\":" disk          \
	",\"files\":12,\"current_file\":\"/data/x_00012.pcapng\",\"output\":\"/data/x.pcapng\",\"free_percent\":55.2," \
	"\"free_bytes_to_limit\":1000000000,\"ring_fill_percent\":3,\"ring_fill_max_percent\":12.4,\"marks\":3,"       \
	"\"write_errors\":1,\"write_latency_max_us\":9000,\"write_latency_limits_us\":[64,128,256,null],"              \
	"\"write_latency_counts\":[500,480,10,10],\"last_frame_ns\":1700000000000000000,\"pid\":77,"                   \
	"\"version\":\"0.1.0\",\"started\":1700000000,\"stopping\":false,"                                             \
	"\"interfaces\":[{\"name\":\"eth0\",\"present\":true,\"received\":" frames ",\"written\":5,\"dropped\":10},"   \
	"{\"name\":\"tun\\u001b1\",\"present\":false,\"received\":7,\"filtered\":1234}]}"

static void test_view(void **state)
{
	(void)state;
	json_t *before = object_of(STATUS("100.5", "100000", "1000000"));
	json_t *now = object_of(STATUS("102.5", "124690", "5000000"));
	char *text = view(before, now, 1700000002500000000);
	check_shown(text, "running, began 2023-11-1");
	check_shown(text, ", 1m42s ago");
	check_shown(text, "77, wirehaul 0.1.0");
	check_shown(text, "/data/x.pcapng\n");
	check_shown(text, "/data/x_00012.pcapng\n");
	check_shown(text, "12,345 frames/s, 16.0 Mbit/s; 2.00 MB/s to the files; 0 dropped/s");
	check_shown(text, "2.5 s ago");
	check_shown(text, "3 % full, 12 % at most");
	check_shown(text, "50 % within 64 us, 99 % within 256 us, slowest 9.0 ms; 1,000 so far, 1 failed");
	check_shown(text, "55.2 % free, 1.00 GB to the limit, which is 8m20s at this rate");
	check_shown(text, "eth0");
	check_shown(text, "tun?1 (gone)");
	check_shown(text, "1,234");
	check_shown(text, "10 frames (under 0.01 %) are NOT in the files");
	assert_null(strchr(text, '\033'));
	free(text);

	text = view(NULL, now, 1700000000000000000 + 7200 * 1000000000ULL);
	assert_null(strstr(text, "frames/s"));
	assert_null(strstr(text, "at this rate"));
	check_shown(text, "2h00m ago");
	free(text);
	/* A clock that was set back. */
	text = view(NULL, now, 1);
	check_shown(text, "0.0 s ago");
	free(text);
	json_decref(before);
	json_decref(now);
}

/* Nothing of it is as it should be, and nothing of it breaks. */
static void test_view_of_nonsense(void **state)
{
	(void)state;
	static const char *const strange[] = {
		"{}",
		"{\"state\":[],\"interfaces\":7,\"write_latency_counts\":{},\"started\":\"x\"}",
		"{\"interfaces\":[null,3,\"x\",{\"name\":5,\"received\":-1}],\"free_percent\":1e300,"
		"\"elapsed_seconds\":-1e300,\"last_frame_ns\":9223372036854775807,\"started\":9223372036854775807}",
		"{\"write_latency_counts\":[9223372036854775807,9223372036854775807,-5,\"x\"],"
		"\"write_latency_limits_us\":[\"x\"],\"elapsed_seconds\":1e300,\"frames_received\":"
		"9223372036854775807}",
		"{\"elapsed_seconds\":1e-300,\"bytes_on_disk\":9223372036854775807,\"free_percent\":-1,"
		"\"free_bytes_to_limit\":-1,\"simulate\":\"no-disk\",\"frames_dropped\":9223372036854775807}",
	};
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		for (size_t j = 0; j < sizeof(strange) / sizeof(strange[0]); j++) {
			json_t *before = object_of(strange[i]);
			json_t *now = object_of(strange[j]);
			char *text = view(before, now, 1);
			check_shown(text, "adapter");
			free(text);
			json_decref(before);
			json_decref(now);
		}
	}
}

/* ---- the socket as a file, and the server ---- */

struct fixture {
	char directory[64];
	char path[PATH_BYTES];
	char other[PATH_BYTES];
	char pipe[PATH_BYTES];
	int pipe_fd;
	enum wh_file_format format; /* of the capture */
	struct wh_capture *capture;
	struct control_server *server;
	char told[256]; /* the last that the server told the program */
	mode_t umask;
};

static int fixture_make(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	assert_non_null(fixture);
	const char *parent = getenv("TMPDIR");
	snprintf(fixture->directory, sizeof(fixture->directory), "%.30s/wh-control-XXXXXX",
		 parent != NULL && strlen(parent) <= 30 ? parent : "/tmp");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->path, sizeof(fixture->path), "%s/socket", fixture->directory);
	snprintf(fixture->other, sizeof(fixture->other), "%s/other", fixture->directory);
	snprintf(fixture->pipe, sizeof(fixture->pipe), "%s/pipe", fixture->directory);
	fixture->pipe_fd = -1;
	fixture->umask = umask(022);
	*state = fixture;
	return 0;
}

static int fixture_drop(void **state)
{
	struct fixture *fixture = *state;
	control_server_close(fixture->server);
	wh_capture_close(fixture->capture);
	if (fixture->pipe_fd != -1)
		close(fixture->pipe_fd);
	umask(fixture->umask);
	unlink(fixture->path);
	unlink(fixture->other);
	unlink(fixture->pipe);
	assert_int_equal(rmdir(fixture->directory), 0);
	free(fixture);
	return 0;
}

static bool exists(const char *path)
{
	struct stat found;
	return lstat(path, &found) == 0;
}

static void test_socket_mode(void **state)
{
	struct fixture *fixture = *state;
	static const mode_t masks[] = { 0, 022, 077, 0777 };
	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		struct control_socket made;
		struct wh_message message;
		struct stat found;
		umask(masks[i]);
		assert_int_equal(control_socket_open(fixture->path, &made, &message), WH_RESULT_OK);
		/* It is left as it was. */
		assert_int_equal(umask(masks[i]), masks[i]);
		assert_int_equal(lstat(fixture->path, &found), 0);
		assert_int_equal(found.st_mode, S_IFSOCK | 0600);
		control_socket_close(&made);
		assert_false(exists(fixture->path));
	}
}

static void check_refused(const char *path, const char *part)
{
	struct control_socket made;
	struct wh_message message = { "" };
	assert_int_equal(control_socket_open(path, &made, &message), WH_RESULT_USAGE);
	if (strstr(message.text, part) == NULL || strstr(message.text, "--control") == NULL)
		fail_msg("\"%s\" does not say \"%s\"", message.text, part);
	assert_null(strchr(message.text, '\n'));
}

static void test_socket_places(void **state)
{
	struct fixture *fixture = *state;
	struct control_socket first;
	struct control_socket second;
	struct wh_message message;
	assert_int_equal(control_socket_open(fixture->path, &first, &message), WH_RESULT_OK);
	check_refused(fixture->path, "another capture listens there");
	assert_true(exists(fixture->path));
	/* What a capture leaves that was killed: a file, and nobody behind it. */
	close(first.fd);
	first.fd = -1;
	assert_int_equal(control_socket_open(fixture->path, &second, &message), WH_RESULT_OK);
	int fd = control_socket_connect(fixture->path, 0);
	assert_true(fd != -1);
	close(fd);
	/* The first is not to take away what is not its own any more. */
	control_socket_close(&first);
	assert_true(exists(fixture->path));
	control_socket_close(&second);
	assert_false(exists(fixture->path));
}

/* Nothing but a socket that nobody listens at is ever replaced, and no link followed. */
static void test_socket_obstacles(void **state)
{
	struct fixture *fixture = *state;
	char path[PATH_BYTES + 16];
	assert_int_equal(symlink(fixture->other, fixture->path), 0);
	check_refused(fixture->path, "symbolic link");
	assert_false(exists(fixture->other));
	int fd = open(fixture->other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd != -1);
	assert_int_equal(write(fd, "kept", 4), 4);
	check_refused(fixture->path, "symbolic link");
	check_refused(fixture->other, "no socket");
	struct stat found;
	assert_int_equal(fstat(fd, &found), 0);
	assert_int_equal(found.st_size, 4);
	assert_int_equal(found.st_nlink, 1);
	close(fd);
	assert_int_equal(mkfifo(fixture->pipe, 0600), 0);
	check_refused(fixture->pipe, "no socket");
	assert_true(exists(fixture->path) && exists(fixture->pipe));
	check_refused(fixture->directory, "no socket");
	snprintf(path, sizeof(path), "%s/", fixture->directory);
	check_refused(path, "is a directory");
	snprintf(path, sizeof(path), "%s/none/socket", fixture->directory);
	check_refused(path, "cannot open its directory");
	snprintf(path, sizeof(path), "%s/socket", fixture->other);
	check_refused(path, "cannot open its directory");
}

/* Another kind of socket that somebody listens at stays, although nobody can be asked there. */
static void test_socket_of_another_kind(void **state)
{
	struct fixture *fixture = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", fixture->path);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	check_refused(fixture->path, "cannot be asked");
	close(fd);
}

/* ---- the server ---- */

static void told(void *context, int severity, const char *line)
{
	struct fixture *fixture = context;
	snprintf(fixture->told, sizeof(fixture->told), "%d %s", severity, line);
}

/* A capture whose input is a pipe in which so far there is only the head of a file, with its server. */
static void server_start(struct fixture *fixture, const char *output)
{
	static const uint32_t head[] = { 0xA1B2C3D4, 2 | 4 << 16, 0, 0, 65535, 1 };
	struct wh_message message = { "" };
	struct wh_config config;
	assert_int_equal(mkfifo(fixture->pipe, 0600), 0);
	fixture->pipe_fd = open(fixture->pipe, O_RDWR | O_CLOEXEC);
	assert_int_equal(write(fixture->pipe_fd, head, sizeof(head)), sizeof(head));
	wh_config_init(&config);
	config.replay_file = fixture->pipe;
	config.simulate = WH_SIMULATE_NO_DISK;
	config.format = fixture->format;
	config.ring_bytes = 1 << 20;
	config.block_bytes = 4096;
	if (wh_capture_open(&config, &fixture->capture, &message) != WH_RESULT_OK)
		fail_msg("%s", message.text);
	const struct control_callbacks callbacks = { .context = fixture, .report = told, .output = output };
	if (control_server_open(fixture->path, fixture->capture, &callbacks, &fixture->server, &message) !=
	    WH_RESULT_OK)
		fail_msg("%s", message.text);
	assert_int_equal(wh_capture_start(fixture->capture, &message), WH_RESULT_OK);
	assert_int_equal(control_server_start(fixture->server, &message), WH_RESULT_OK);
}

static int dial(const struct fixture *fixture)
{
	int fd = control_socket_connect(fixture->path, PATIENCE_MS);
	assert_true(fd != -1);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* The next line, or NULL where the connection has ended. */
static json_t *hear(int fd)
{
	static char line[1 << 20];
	size_t used = 0;
	while (used < sizeof(line) && recv(fd, line + used, 1, 0) == 1) {
		if (line[used] == '\n')
			return json_loadb(line, used, 0, NULL);
		used++;
	}
	assert_int_equal(used, 0);
	return NULL;
}

static json_t *exchange(int fd, const char *text)
{
	say(fd, text);
	json_t *reply = hear(fd);
	assert_non_null(reply);
	return reply;
}

static void check_agreed(int fd, const char *text)
{
	json_t *reply = exchange(fd, text);
	assert_true(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
}

/* Refuses TEXT with words that hold PART, and ends the connection. */
static void check_not_agreed(const struct fixture *fixture, const char *text, const char *part)
{
	int fd = dial(fixture);
	json_t *reply = exchange(fd, text);
	const char *error = json_string_value(json_object_get(reply, "error"));
	assert_true(json_is_false(json_object_get(reply, "ok")));
	assert_non_null(error);
	if (strstr(error, part) == NULL)
		fail_msg("%s: \"%s\" does not say \"%s\"", text, error, part);
	json_decref(reply);
	assert_null(hear(fd));
	close(fd);
}

static json_int_t status_count(int fd, const char *name)
{
	json_t *reply = exchange(fd, "{\"do\":\"status\"}\n");
	json_t *found = json_object_get(json_object_get(reply, "status"), name);
	assert_true(json_is_integer(found));
	json_int_t number = json_integer_value(found);
	json_decref(reply);
	return number;
}

static void wait_for_count(int fd, const char *name, json_int_t wanted)
{
	for (int i = 0; i < PATIENCE_MS / 10 && status_count(fd, name) < wanted; i++)
		poll(NULL, 0, 10);
	assert_true(status_count(fd, name) >= wanted);
}

static uint64_t clock_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void test_server_status(void **state)
{
	struct fixture *fixture = *state;
	static const uint8_t record[16 + 60] = { 1, [8] = 60, [12] = 60 };
	server_start(fixture, "/data/x.pcapng");
	int fd = dial(fixture);
	json_t *reply = exchange(fd, "{\"do\":\"status\"}\n");
	const json_t *status = json_object_get(reply, "status");
	assert_string_equal(json_string_value(json_object_get(status, "state")), "running");
	assert_string_equal(json_string_value(json_object_get(status, "output")), "/data/x.pcapng");
	assert_string_equal(json_string_value(json_object_get(status, "version")), WIREHAUL_VERSION);
	assert_int_equal(json_integer_value(json_object_get(status, "pid")), getpid());
	assert_true(json_is_false(json_object_get(status, "stopping")));
	assert_int_equal(json_array_size(json_object_get(status, "write_latency_counts")), WH_LATENCY_BUCKETS);
	assert_int_equal(json_array_size(json_object_get(status, "write_latency_limits_us")), WH_LATENCY_BUCKETS);
	assert_int_equal(json_array_size(json_object_get(status, "interfaces")), 1);
	char *text = view(NULL, status, 1);
	check_shown(text, "replay");
	check_shown(text, "SIMULATION");
	free(text);
	json_decref(reply);
	/* A replay hands over full blocks only. */
	for (int i = 0; i < 300; i++)
		assert_int_equal(write(fixture->pipe_fd, record, sizeof(record)), sizeof(record));
	wait_for_count(fd, "frames_received", 100);
	close(fd);
}

/* Requests may come in pieces, several at once, and after one another. */
static void test_server_pieces(void **state)
{
	struct fixture *fixture = *state;
	server_start(fixture, NULL);
	int fd = dial(fixture);
	say(fd, "{\"do\":");
	say(fd, "\"rotate\"");
	check_agreed(fd, "}\n");
	wait_for_count(fd, "files", 2);
	say(fd, "{\"do\":\"status\"}\n{\"do\":\"status\"}\n{\"do\":\"st");
	for (int i = 0; i < 2; i++) {
		json_t *reply = hear(fd);
		assert_true(json_is_object(json_object_get(reply, "status")));
		json_decref(reply);
	}
	check_agreed(fd, "atus\"}\n");
	/* Half a request, and gone. */
	say(fd, "{\"do\":\"stop\"}");
	close(fd);
	fd = dial(fixture);
	/* Who says no more is answered all the same. */
	say(fd, "{\"do\":\"status\"}\n");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	json_t *reply = hear(fd);
	assert_string_equal(json_string_value(json_object_get(json_object_get(reply, "status"), "state")), "running");
	json_decref(reply);
	assert_null(hear(fd));
	close(fd);
}

/* However often it is asked for, there are not more than so many. */
static void test_server_many_rotations(void **state)
{
	struct fixture *fixture = *state;
	server_start(fixture, NULL);
	int fd = dial(fixture);
	json_t *reply = exchange(fd, "{\"do\":\"status\"}\n");
	double before = json_real_value(json_object_get(json_object_get(reply, "status"), "elapsed_seconds"));
	json_decref(reply);
	for (int i = 0; i < 1000; i++)
		check_agreed(fd, "{\"do\":\"rotate\"}\n");
	reply = exchange(fd, "{\"do\":\"status\"}\n");
	const json_t *status = json_object_get(reply, "status");
	double seconds = json_real_value(json_object_get(status, "elapsed_seconds")) - before;
	assert_true((double)json_integer_value(json_object_get(status, "files")) <= 3 + seconds * 10);
	json_decref(reply);
	/* The last is carried out, too. */
	wait_for_count(fd, "files", status_count(fd, "files") + 1);
	close(fd);
}

static void test_server_refuses(void **state)
{
	struct fixture *fixture = *state;
	server_start(fixture, "-");
	check_not_agreed(fixture, "nonsense\n", "one flat JSON object");
	check_not_agreed(fixture, "\n", "one flat JSON object");
	check_not_agreed(fixture, "{\"do\":\"status\",\"x\":1}\n{\"do\":\"stop\"}\n", "a member");
	check_not_agreed(fixture, "{\"do\":\"rotate\"}\n", "standard output");
	static char large[3 * CONTROL_REQUEST_BYTES_MAX];
	memset(large, 'x', sizeof(large) - 1);
	check_not_agreed(fixture, large, "too long");
}

/* Marks are for a person: a flood of them goes no further than the server. */
static void test_server_many_marks(void **state)
{
	struct fixture *fixture = *state;
	enum { TRIED = 200 };
	int too_many = 0;
	server_start(fixture, NULL);
	uint64_t begun_ms = clock_ms();
	for (int i = 0; i < TRIED; i++) {
		int fd = dial(fixture);
		json_t *reply = exchange(fd, "{\"do\":\"mark\",\"text\":\"again\"}\n");
		const char *error = json_string_value(json_object_get(reply, "error"));
		too_many += error != NULL && strstr(error, "too many marks") != NULL;
		json_decref(reply);
		close(fd);
	}
	uint64_t seconds = (clock_ms() - begun_ms) / 1000;
	assert_true((uint64_t)too_many + 50 * (seconds + 2) >= TRIED);
	assert_true(too_many <= TRIED - 50);
}

/* Classic pcap has no place for a mark, and without files of its own the capture has none beside it. */
static void test_server_mark_without_place(void **state)
{
	struct fixture *fixture = *state;
	fixture->format = WH_FORMAT_PCAP;
	server_start(fixture, NULL);
	int fd = dial(fixture);
	json_t *reply = exchange(fd, "{\"do\":\"mark\",\"text\":\"lost\"}\n");
	assert_true(json_is_false(json_object_get(reply, "ok")));
	const char *error = json_string_value(json_object_get(reply, "error"));
	assert_non_null(error);
	assert_non_null(strstr(error, "no place for marks"));
	json_decref(reply);
	close(fd);
	struct wh_statistics sum;
	wh_capture_statistics(fixture->capture, &sum);
	assert_int_equal(sum.marks, 0);
}

/* Those for whom there is no place wait for one. */
static void test_server_full(void **state)
{
	struct fixture *fixture = *state;
	enum { PEERS = 100, PLACES = 64 };
	int fds[PEERS];
	server_start(fixture, NULL);
	for (int i = 0; i < PEERS; i++) {
		fds[i] = dial(fixture);
		say(fds[i], "{\"do\":\"status\"}\n");
	}
	int served = 0;
	for (int i = 0; i < PEERS; i++) {
		struct pollfd ready = { .fd = fds[i], .events = POLLIN };
		/* The first are served at once; the others only when there is a place, which is not soon. */
		if (poll(&ready, 1, i < PLACES ? PATIENCE_MS : 0) == 1)
			served++;
	}
	assert_int_equal(served, PLACES);
	for (int i = 0; i < PEERS; i++) {
		json_t *reply = hear(fds[i]);
		assert_true(json_is_true(json_object_get(reply, "ok")));
		json_decref(reply);
		close(fds[i]);
	}
}

static void test_server_stop(void **state)
{
	struct fixture *fixture = *state;
	server_start(fixture, NULL);
	int waiting[3];
	for (int i = 0; i < 3; i++) {
		waiting[i] = dial(fixture);
		say(waiting[i], "{\"do\":\"stop\",\"wait\":true}\n");
	}
	/* One of those who wait goes away, and one has no more to say, which is not the same. */
	close(waiting[2]);
	assert_int_equal(shutdown(waiting[1], SHUT_WR), 0);
	for (int i = 0; i < 2; i++) {
		json_t *reply = hear(waiting[i]);
		assert_non_null(reply);
		assert_string_equal(json_string_value(json_object_get(reply, "state")), "stopped");
		assert_string_equal(json_string_value(json_object_get(reply, "stop_reason")), "signal");
		assert_true(json_is_integer(json_object_get(reply, "result")));
		assert_int_equal(json_integer_value(json_object_get(reply, "result")), WH_RESULT_OK);
		json_decref(reply);
		assert_null(hear(waiting[i]));
		close(waiting[i]);
	}
	char wanted[64];
	snprintf(wanted, sizeof(wanted), "3 uid %u (process %d) asks", geteuid(), (int)getpid());
	int fd = dial(fixture);
	/* Until it is closed, it tells how it ended, and changes nothing any more. */
	json_t *reply = exchange(fd, "{\"do\":\"status\"}\n");
	assert_string_equal(json_string_value(json_object_get(json_object_get(reply, "status"), "state")), "stopped");
	json_decref(reply);
	check_not_agreed(fixture, "{\"do\":\"rotate\"}\n", "has ended");
	reply = exchange(fd, "{\"do\":\"stop\",\"wait\":true}\n");
	assert_string_equal(json_string_value(json_object_get(reply, "state")), "stopped");
	json_decref(reply);
	close(fd);
	control_server_close(fixture->server);
	fixture->server = NULL;
	assert_int_equal(strncmp(fixture->told, wanted, strlen(wanted)), 0);
	assert_false(exists(fixture->path));
}

/* The server goes when the capture has ended, whatever it has read by then: who has asked is not left alone. */
static void test_server_closes(void **state)
{
	struct fixture *fixture = *state;
	enum { PEERS = 60 };
	int fds[PEERS];
	struct wh_message message;
	server_start(fixture, NULL);
	int fd = dial(fixture);
	check_agreed(fd, "{\"do\":\"stop\"}\n");
	close(fd);
	assert_int_equal(wh_capture_wait(fixture->capture, &message), WH_RESULT_OK);
	for (int i = 0; i < PEERS; i++) {
		fds[i] = dial(fixture);
		say(fds[i], "{\"do\":\"stop\",\"wait\":true}\n");
	}
	control_server_close(fixture->server);
	fixture->server = NULL;
	for (int i = 0; i < PEERS; i++) {
		json_t *reply = hear(fds[i]);
		assert_non_null(reply);
		assert_string_equal(json_string_value(json_object_get(reply, "state")), "stopped");
		json_decref(reply);
		assert_null(hear(fds[i]));
		close(fds[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_good_requests),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_large_requests),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_view),
		cmocka_unit_test(test_view_of_nonsense),
		cmocka_unit_test_setup_teardown(test_socket_mode, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_socket_places, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_socket_obstacles, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_socket_of_another_kind, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_server_status, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_server_pieces, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_server_many_rotations, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_server_refuses, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_server_many_marks, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_server_mark_without_place, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_server_full, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_server_stop, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(test_server_closes, fixture_make, fixture_drop),
	};
	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
