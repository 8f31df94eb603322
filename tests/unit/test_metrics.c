/* SPDX-License-Identifier: BSD-3-Clause */
/* What is told to Prometheus: the text, the rate that the files grow at, where it may listen, and the server itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "metrics_address.h"
#include "metrics_server.h"
#include "metrics_text.h"

#define SECOND UINT64_C(1000000000)

/* ---- text ---- */

/* Every field has a value of its own, so that none can stand in another's place. */
static struct wh_statistics full_statistics(void)
{
	struct wh_statistics sum = {
		.frames_received = 1,
		.bytes_on_disk = 30000000000,
		.bytes_copied = 31,
		.files = 32,
		.files_left = 33,
		.files_deleted = 36,
		.write_errors = 34,
		.marks = 35,
		.free_percent = 12.5,
		.free_bytes_to_limit = 9000,
		.ring_fill_percent = 25,
		.ring_fill_max_percent = 100,
		.write_latency_max_us = 17000001,
		.write_latency_us = 20000123,
		.last_frame_ns = UINT64_C(1700000000123456789),
		.elapsed_ns = 86400 * SECOND + 5,
		.cpu_ns = 1500000000,
		.running = true,
	};
	for (unsigned i = 0; i < WH_LATENCY_BUCKETS; i++)
		sum.write_counts[i] = i + 1;
	return sum;
}

static const struct wh_interface_statistics two[] = {
	{ .name = "eth0",
	  .link_type = "EN10MB",
	  .present = true,
	  .frames_received = UINT64_MAX,
	  .frames_written = 12,
	  .frames_dropped = 13,
	  .frames_dropped_nic = 14,
	  .frames_truncated = 15,
	  .frames_filtered = 16,
	  .filtered_known = true,
	  .bytes_captured = 17 },
	{ .name = "we\"ird\\", .link_type = "RAW", .frames_received = 21, .frames_filtered = 26 },
};

static char *text_of(const struct wh_statistics *sum, const struct wh_interface_statistics *interfaces, size_t count,
		     double fill_rate)
{
	const struct metrics_view view = {
		.sum = sum, .interfaces = interfaces, .interface_count = count, .fill_rate = fill_rate
	};
	size_t length = 0;
	char *text = metrics_text(&view, &length);
	assert_non_null(text);
	assert_int_equal(strlen(text), length);
	assert_int_equal(text[length - 1], '\n');
	return text;
}

/* Whether LINE is one of the lines of TEXT. */
static bool has_line(const char *text, const char *line)
{
	size_t length = strlen(line);
	for (const char *at = text; (at = strstr(at, line)) != NULL; at++) {
		if ((at == text || at[-1] == '\n') && at[length] == '\n')
			return true;
	}
	return false;
}

static void assert_line(const char *text, const char *line)
{
	if (!has_line(text, line))
		fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void every_value_has_its_line(void **state)
{
	(void)state;
	static const char *const lines[] = {
		"wirehaul_build_info{version=\"" WIREHAUL_VERSION "\"} 1",
		"wirehaul_capture_info{simulation=\"none\"} 1",
		"wirehaul_running 1",
		"wirehaul_elapsed_seconds 86400.000000005",
		"wirehaul_cpu_seconds_total 1.500000000",
		"wirehaul_last_frame_timestamp_seconds 1700000000.123456789",
		"wirehaul_ring_fill_ratio 0.250000",
		"wirehaul_ring_fill_max_ratio 1.000000",
		"wirehaul_interface_received_frames_total{interface=\"eth0\"} 18446744073709551615",
		"wirehaul_interface_written_frames_total{interface=\"eth0\"} 12",
		"wirehaul_interface_dropped_frames_total{interface=\"eth0\"} 13",
		"wirehaul_interface_nic_dropped_frames_total{interface=\"eth0\"} 14",
		"wirehaul_interface_truncated_frames_total{interface=\"eth0\"} 15",
		"wirehaul_interface_filtered_frames_total{interface=\"eth0\"} 16",
		"wirehaul_interface_captured_bytes_total{interface=\"eth0\"} 17",
		"wirehaul_interface_present{interface=\"eth0\"} 1",
		"wirehaul_interface_info{interface=\"eth0\",linktype=\"EN10MB\"} 1",
		"wirehaul_interface_received_frames_total{interface=\"we\\\"ird\\\\\"} 21",
		"wirehaul_interface_present{interface=\"we\\\"ird\\\\\"} 0",
		"wirehaul_written_bytes_total 30000000000",
		"wirehaul_copied_bytes_total 31",
		"wirehaul_files_total 32",
		"wirehaul_deleted_files_total 36",
		"wirehaul_undeleted_files_total 33",
		"wirehaul_write_errors_total 34",
		"wirehaul_marks_total 35",
		"# TYPE wirehaul_write_latency_seconds histogram",
		"wirehaul_write_latency_max_seconds 17.000001",
		"wirehaul_free_space_ratio 0.125000",
		"wirehaul_space_left_bytes 9000",
		"wirehaul_space_left_seconds 3000.000",
	};
	struct wh_statistics sum = full_statistics();
	char *text = text_of(&sum, two, 2, 3);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_line(text, lines[i]);
	/* What is not known of an adapter is not told as 0. */
	assert_null(strstr(text, "filtered_frames_total{interface=\"we"));
	free(text);
}

static void buckets_hold_those_below(void **state)
{
	(void)state;
	struct wh_statistics sum = full_statistics();
	char *text = text_of(&sum, NULL, 0, -1);
	uint64_t count = 0;
	for (unsigned i = 0; i < WH_LATENCY_BUCKETS; i++) {
		char line[128];
		count += i + 1;
		if (i + 1 < WH_LATENCY_BUCKETS)
			snprintf(line, sizeof(line), "wirehaul_write_latency_seconds_bucket{le=\"%.6f\"} %" PRIu64,
				 (double)WH_LATENCY_LIMIT_US(i) / 1e6, count);
		else
			snprintf(line, sizeof(line), "wirehaul_write_latency_seconds_bucket{le=\"+Inf\"} %" PRIu64,
				 count);
		assert_line(text, line);
	}
	assert_line(text, "wirehaul_write_latency_seconds_count 210");
	assert_line(text, "wirehaul_write_latency_seconds_sum 20.000123");
	free(text);
}

static void what_is_not_known_is_left_out(void **state)
{
	(void)state;
	struct wh_statistics sum = full_statistics();
	sum.free_percent = -1;
	sum.last_frame_ns = 0;
	sum.simulate = WH_SIMULATE_NO_DISK;
	char *text = text_of(&sum, NULL, 0, 5);
	assert_null(strstr(text, "wirehaul_free_space"));
	assert_null(strstr(text, "wirehaul_space_left"));
	assert_null(strstr(text, "wirehaul_last_frame"));
	assert_line(text, "wirehaul_capture_info{simulation=\"no-disk\"} 1");
	free(text);
	sum = full_statistics();
	text = text_of(&sum, NULL, 0, -1);
	assert_line(text, "wirehaul_space_left_bytes 9000");
	assert_null(strstr(text, "wirehaul_space_left_seconds"));
	free(text);
	text = text_of(&sum, NULL, 0, 0);
	assert_line(text, "wirehaul_space_left_seconds +Inf");
	free(text);
	/* Percentages are what a file system says: a part of one all the same. */
	sum.ring_fill_percent = 1e300;
	sum.ring_fill_max_percent = -5;
	sum.free_bytes_to_limit = UINT64_MAX;
	text = text_of(&sum, NULL, 0, 1e-300);
	assert_line(text, "wirehaul_ring_fill_ratio 1.000000");
	assert_line(text, "wirehaul_ring_fill_max_ratio 0.000000");
	assert_line(text, "wirehaul_space_left_seconds +Inf");
	free(text);
}

static void labels_are_escaped(void **state)
{
	(void)state;
	static const struct {
		const char *text, *label;
	} cases[] = {
		{ "eth0", "eth0" },
		{ "", "" },
		{ "a\"b", "a\\\"b" },
		{ "\\Device\\NPF_{1}", "\\\\Device\\\\NPF_{1}" },
		{ "two\nlines", "two\\nlines" },
		{ "tab\tbell\adel\x7f", "tab/09bell/07del/7f" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "\xe2\x82\xac \xf0\x9f\x90\xa7", "\xe2\x82\xac \xf0\x9f\x90\xa7" },
		{ "\xff", "/ff" },
		{ "\xc3", "/c3" },                          /* ends within a character */
		{ "\xf0\x9f\x90", "/f0/9f/90" },            /* the same */
		{ "\xc0\xaf", "/c0/af" },                   /* a '/' that is longer than it need be */
		{ "\xe0\x9f\xbf", "/e0/9f/bf" },            /* longer than it need be */
		{ "\xf0\x8f\xbf\xbf", "/f0/8f/bf/bf" },     /* the same */
		{ "\xed\xa0\x80", "/ed/a0/80" },            /* half of a pair */
		{ "\xed\x9f\xbf", "\xed\x9f\xbf" },         /* the last before those */
		{ "\xf4\x90\x80\x80", "/f4/90/80/80" },     /* above U+10FFFF */
		{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" }, /* U+10FFFF */
		{ "\xc2\x9b\x33", "/c2/9b3" },              /* a terminal's control sequence */
		{ "\xc2\xa0", "\xc2\xa0" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char label[METRICS_LABEL_MAX];
		metrics_label(cases[i].text, label, sizeof(label));
		assert_string_equal(label, cases[i].label);
	}
}

/* What fits is whole, and no byte behind it is touched; the longest name fits in the room that is meant for it. */
static void labels_keep_to_their_room(void **state)
{
	(void)state;
	char name[64];
	char longest[METRICS_LABEL_MAX];
	memset(name, 0xff, sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	metrics_label(name, longest, sizeof(longest));
	assert_int_equal(strlen(longest), sizeof(longest) - 1);
	for (size_t room = 1; room < 16; room++) {
		char label[16];
		memset(label, '#', sizeof(label));
		metrics_label("a\xff\"\xf0\x9f\x90\xa7z", label, room);
		assert_true(strlen(label) < room);
		for (size_t i = room; i < sizeof(label); i++)
			assert_int_equal(label[i], '#');
		static const char whole[] = "a/ff\\\"\xf0\x9f\x90\xa7z";
		size_t length = strlen(label);
		assert_memory_equal(label, whole, length);
		assert_true(length == 0 || length == 1 || length == 4 || length == 6 || length == 10 || length == 11);
	}
}

static void counters_never_go_back(void **state)
{
	(void)state;
	struct wh_statistics before = full_statistics();
	struct wh_statistics now = full_statistics();
	now.bytes_on_disk--;
	now.files++;
	now.write_counts[3]--;
	now.write_counts[4]++;
	now.write_latency_us = 0;
	now.cpu_ns = 0;
	now.ring_fill_percent = 1;
	now.free_bytes_to_limit = 1;
	metrics_keep(&now, &before);
	assert_int_equal(now.bytes_on_disk, before.bytes_on_disk);
	assert_int_equal(now.files, before.files + 1);
	assert_int_equal(now.write_counts[3], before.write_counts[3]);
	assert_int_equal(now.write_counts[4], before.write_counts[4] + 1);
	assert_int_equal(now.write_latency_us, before.write_latency_us);
	assert_int_equal(now.cpu_ns, before.cpu_ns);
	assert_true(now.ring_fill_percent < 2);
	assert_int_equal(now.free_bytes_to_limit, 1);
	struct wh_interface_statistics one = two[0];
	one.frames_received = 5;
	one.frames_dropped++;
	one.frames_filtered = 0;
	one.filtered_known = false;
	one.present = false;
	metrics_keep_interface(&one, &two[0]);
	assert_true(one.frames_received == UINT64_MAX);
	assert_int_equal(one.frames_dropped, 14);
	assert_int_equal(one.frames_filtered, 16);
	assert_true(one.filtered_known);
	assert_false(one.present);
}

/* ---- how fast the files grow ---- */

static void assert_rate(double found, double wanted)
{
	if (found < wanted - 1e-6 || found > wanted + 1e-6)
		fail_msg("%f, wanted %f", found, wanted);
}

static void rate_needs_a_second(void **state)
{
	(void)state;
	struct metrics_rate rate = { .count = 0 };
	assert_rate(metrics_rate_take(&rate, 100 * SECOND, 50), -1);
	assert_rate(metrics_rate_take(&rate, 101 * SECOND - 1, 1050), -1);
	assert_rate(metrics_rate_take(&rate, 101 * SECOND, 1050), 1000);
	/* What was asked within the second is no sample. */
	assert_int_equal(rate.count, 2);
	/* However often it is asked. */
	for (uint64_t i = 0; i < 1000; i++)
		assert_rate(metrics_rate_take(&rate, 102 * SECOND - 1000 + i, 1050),
			    1000 / (2 - (1000 - (double)i) / 1e9));
	assert_int_equal(rate.count, 2);
}

static void rate_is_that_of_the_last_minute(void **state)
{
	(void)state;
	struct metrics_rate rate = { .count = 0 };
	uint64_t bytes = 0;
	/* 10 bytes a second for five minutes, then 1000. */
	for (uint64_t second = 0; second < 300; second++, bytes += 10)
		assert_rate(metrics_rate_take(&rate, second * SECOND, bytes), second == 0 ? -1 : 10);
	for (uint64_t second = 300; second < 330; second++, bytes += 1000) {
		double wanted = (10 * (double)(360 - second) + 1000 * (double)(second - 300)) / 60;
		assert_rate(metrics_rate_take(&rate, second * SECOND, bytes), wanted);
	}
	for (uint64_t second = 330; second < 400; second++, bytes += 1000)
		metrics_rate_take(&rate, second * SECOND, bytes);
	assert_rate(metrics_rate_take(&rate, 400 * SECOND, bytes), 1000);
	/* Then nothing. */
	assert_rate(metrics_rate_take(&rate, 430 * SECOND, bytes), 500);
	assert_rate(metrics_rate_take(&rate, 461 * SECOND, bytes), 0);
}

static void rate_of_rare_questions_is_since_the_last(void **state)
{
	(void)state;
	struct metrics_rate rate = { .count = 0 };
	assert_rate(metrics_rate_take(&rate, 0, 0), -1);
	assert_rate(metrics_rate_take(&rate, 300 * SECOND, 3000), 10);
	assert_rate(metrics_rate_take(&rate, 600 * SECOND, 33000), 100);
	/* Within the minute it is since that one, however young, as long as it is a second. */
	assert_rate(metrics_rate_take(&rate, 601 * SECOND, 33500), 500);
	/* One that is younger leaves the rest; bytes that were taken back are none. */
	assert_rate(metrics_rate_take(&rate, 601 * SECOND + 1, 33500), 500);
	assert_rate(metrics_rate_take(&rate, 602 * SECOND, 100), 0);
}

/* ---- where it may listen ---- */

static void addresses_are_understood(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int family;
		const char *host;
		uint16_t port;
	} cases[] = {
		{ "127.0.0.1:9817", AF_INET, "127.0.0.1", 9817 },
		{ "9817", AF_INET, "127.0.0.1", 9817 },
		{ "0", AF_INET, "127.0.0.1", 0 },
		{ "localhost:1", AF_INET, "127.0.0.1", 1 },
		{ "192.0.2.7:65535", AF_INET, "192.0.2.7", 65535 },
		{ "0.0.0.0:9817", AF_INET, "0.0.0.0", 9817 },
		{ "[::1]:9817", AF_INET6, "::1", 9817 },
		{ "[::]:9817", AF_INET6, "::", 9817 },
		{ "[fe80::1%lo]:9817", AF_INET6, "fe80::1", 9817 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct metrics_address address;
		struct wh_message message = { "" };
		char host[INET6_ADDRSTRLEN];
		if (metrics_address_parse(cases[i].text, &address, &message) != WH_RESULT_OK)
			fail_msg("%s: %s", cases[i].text, message.text);
		assert_int_equal(address.socket.ss_family, cases[i].family);
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address.socket;
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address.socket;
		bool is_v6 = cases[i].family == AF_INET6;
		assert_int_equal(address.length, is_v6 ? sizeof(*v6) : sizeof(*v4));
		assert_non_null(inet_ntop(cases[i].family,
					  is_v6 ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr, host,
					  sizeof(host)));
		assert_string_equal(host, cases[i].host);
		assert_int_equal(ntohs(is_v6 ? v6->sin6_port : v4->sin_port), cases[i].port);
	}
}

/* Whatever is no address, or could mean more than it says. */
static void other_addresses_are_refused(void **state)
{
	(void)state;
	static const char *const cases[] = {
		"",
		":",
		":9817",
		"*:9817",
		"0:9817",
		"127.1:9817",
		"127.0.0.01:9817",
		"2130706433:9817",
		"0x7f.0.0.1:9817",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:65536",
		"127.0.0.1:-1",
		"127.0.0.1:+1",
		"127.0.0.1: 1",
		"127.0.0.1:1 ",
		"127.0.0.1:http",
		" 127.0.0.1:1",
		"65536",
		"99999999999999999999999",
		"::1:9817",
		"[::1]",
		"[::1]9817",
		"[::1:9817",
		"::1]:9817",
		"[]:9817",
		"[127.0.0.1]:9817",
		"[fe80::1%]:9817",
		"[fe80::1%no-such-nic]:9817",
		"example.com:9817",
		"http://127.0.0.1:9817",
	};
	char longest[4096];
	struct metrics_address address;
	struct wh_message message;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		message.text[0] = '\0';
		if (metrics_address_parse(cases[i], &address, &message) != WH_RESULT_USAGE)
			fail_msg("\"%s\" was understood", cases[i]);
		assert_non_null(strstr(message.text, "--metrics"));
		assert_null(strchr(message.text, '\n'));
	}
	memset(longest, '1', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	memcpy(longest + sizeof(longest) - 5, ":981", 4);
	assert_int_equal(metrics_address_parse(longest, &address, &message), WH_RESULT_USAGE);
	assert_non_null(strstr(message.text, "give an address in numbers"));
	longest[0] = '[';
	longest[sizeof(longest) - 6] = ']';
	assert_int_equal(metrics_address_parse(longest, &address, &message), WH_RESULT_USAGE);
}

/* ---- the server ---- */

struct served {
	char directory[64];
	struct wh_capture *capture;
	struct metrics_server *server;
};

/* Who comes at once is told of a capture that is only about to begin. */
static void *look_until_its_end(void *context)
{
	struct wh_statistics sum = { .stop_reason = WH_STOP_NONE };
	while (sum.stop_reason == WH_STOP_NONE) {
		wh_capture_statistics(context, &sum);
		sched_yield();
	}
	return NULL;
}

/* A capture of made-up frames that has come to its end, and a server that tells of it. */
static int serve(void **state)
{
	pthread_t watcher;
	static struct served served;
	char output[96];
	struct wh_config config;
	struct wh_message message = { "" };
	const char *parent = getenv("TMPDIR");
	served = (struct served){ .server = NULL };
	snprintf(served.directory, sizeof(served.directory), "%.40s/wh-metrics-XXXXXX",
		 parent != NULL ? parent : "/tmp");
	if (mkdtemp(served.directory) == NULL)
		return -1;
	snprintf(output, sizeof(output), "%s/trace.pcapng", served.directory);
	wh_config_init(&config);
	config.simulate = WH_SIMULATE_NO_NIC;
	config.output = output;
	config.ring_bytes = 8 << 20;
	config.min_free_percent = 0;
	config.stop_after_frames = 5000;
	config.cpus = WH_CPUS_NONE;
	if (wh_capture_open(&config, &served.capture, &message) != WH_RESULT_OK ||
	    metrics_server_open("0", served.capture, &served.server, &message) != WH_RESULT_OK ||
	    pthread_create(&watcher, NULL, look_until_its_end, served.capture) != 0 ||
	    wh_capture_start(served.capture, &message) != WH_RESULT_OK || pthread_join(watcher, NULL) != 0 ||
	    wh_capture_wait(served.capture, &message) != WH_RESULT_OK) {
		print_message("%s\n", message.text);
		return -1;
	}
	*state = &served;
	return 0;
}

static int stop_serving(void **state)
{
	struct served *served = *state;
	metrics_server_close(served->server);
	wh_capture_close(served->capture);
	return rmdir(served->directory); /* the files were made up and are gone */
}

static int guest_of(const struct served *served)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(metrics_server_port(served->server)),
		.sin_addr = { .s_addr = htonl(INADDR_LOOPBACK) },
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_not_equal(fd, -1);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* All that comes until the other side ends the connection, which it must within half a minute. Free it. */
static char *listen_to(int fd)
{
	char *heard = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&heard, &size);
	assert_non_null(out);
	for (;;) {
		char piece[4096];
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		assert_int_equal(poll(&wait, 1, 30000), 1);
		ssize_t count = read(fd, piece, sizeof(piece));
		if (count <= 0)
			break;
		fwrite(piece, 1, (size_t)count, out);
	}
	assert_int_equal(fclose(out), 0);
	return heard;
}

static char *ask(const struct served *served, const char *request)
{
	int fd = guest_of(served);
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	char *heard = listen_to(fd);
	close(fd);
	return heard;
}

static void requests_are_answered(void **state)
{
	static const struct {
		const char *request, *status, *part;
	} cases[] = {
		{ "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "\nwirehaul_files_total 1\n" },
		{ "GET /metrics HTTP/1.0\r\n\r\n", " 200 ", "\nwirehaul_running 0\n" },
		{ "GET /metrics?name[]=up HTTP/1.1\r\nHost: x\r\n\r\n", " 200 ", "text/plain; version=0.0.4" },
		{ "GET / HTTP/1.1\r\nHost: x\r\n\r\n", " 200 ", "at /metrics\n" },
		{ "GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", " 404 ", "at /metrics\n" },
		{ "GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", " 404 ", "at /metrics\n" },
		{ "GET /%6detrics HTTP/1.1\r\nHost: x\r\n\r\n", " 200 ", "\nwirehaul_files_total 1\n" },
		{ "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n", " 405 ",
		  "Allow: GET, HEAD\r\n" },
		{ "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", " 405 ", "only GET" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *heard = ask(*state, cases[i].request);
		char *end = strchr(heard, '\n');
		assert_non_null(end);
		if (strstr(heard, cases[i].status) == NULL || strstr(heard, cases[i].status) > end ||
		    strstr(heard, cases[i].part) == NULL || strstr(heard, "Connection: close\r\n") == NULL)
			fail_msg("to %s it said %s", cases[i].request, heard);
		free(heard);
	}
}

static void head_has_no_body(void **state)
{
	char *heard = ask(*state, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_non_null(strstr(heard, " 200 "));
	assert_non_null(strstr(heard, "Content-Length: "));
	assert_string_equal(heard + strlen(heard) - 4, "\r\n\r\n");
	assert_null(strstr(heard, "wirehaul_"));
	free(heard);
}

/* What it tells is what the library says. */
static void counters_are_those_of_the_capture(void **state)
{
	const struct served *served = *state;
	char line[256];
	struct wh_statistics sum;
	wh_capture_statistics(served->capture, &sum);
	assert_int_equal(sum.frames_written, 5000);
	char *heard = ask(served, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(sum.interface_count > 0);
	for (size_t i = 0; i < sum.interface_count; i++) {
		struct wh_interface_statistics one;
		char label[METRICS_LABEL_MAX];
		assert_true(wh_capture_interface_statistics(served->capture, i, &one));
		metrics_label(one.name, label, sizeof(label));
		snprintf(line, sizeof(line), "wirehaul_interface_written_frames_total{interface=\"%s\"} %" PRIu64,
			 label, one.frames_written);
		assert_line(heard, line);
	}
	snprintf(line, sizeof(line), "wirehaul_written_bytes_total %" PRIu64, sum.bytes_on_disk);
	assert_line(heard, line);
	assert_line(heard, "wirehaul_capture_info{simulation=\"no-nic\"} 1");
	free(heard);
}

/* Whoever comes and says nothing, or does not listen, makes room for those who come later. */
static void those_who_stay_make_room(void **state)
{
	enum { GUESTS = 100 };
	int fds[GUESTS];
	for (size_t i = 0; i < GUESTS; i++) {
		static const char half[] = "GET /metrics HTTP/1.1\r\nHo";
		fds[i] = guest_of(*state);
		if (i % 2 == 0)
			send(fds[i], half, sizeof(half) - 1, MSG_NOSIGNAL);
	}
	char *heard = ask(*state, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_non_null(strstr(heard, " 200 "));
	free(heard);
	/* The first ones have been seen off by now. */
	char *left = listen_to(fds[0]);
	assert_null(strstr(left, " 200 "));
	free(left);
	for (size_t i = 0; i < GUESTS; i++)
		close(fds[i]);
}

static void headers_are_bounded(void **state)
{
	enum { HUGE = 1 << 20 };
	char *request = malloc(HUGE + 1);
	assert_non_null(request);
	memset(request, 'a', HUGE);
	request[HUGE] = '\0';
	memcpy(request, "GET /metrics HTTP/1.1\r\nX: ", 26);
	int fd = guest_of(*state);
	/* It need not take all of it. */
	send(fd, request, HUGE, MSG_NOSIGNAL);
	char *heard = listen_to(fd);
	assert_null(strstr(heard, " 200 "));
	free(heard);
	close(fd);
	free(request);
}

static void two_cannot_have_one_port(void **state)
{
	const struct served *served = *state;
	char address[32];
	struct metrics_server *second = NULL;
	struct wh_message message = { "" };
	struct wh_message url;
	snprintf(address, sizeof(address), "127.0.0.1:%u", metrics_server_port(served->server));
	assert_int_equal(metrics_server_open(address, served->capture, &second, &message), WH_RESULT_USAGE);
	assert_null(second);
	assert_non_null(strstr(message.text, address));
	assert_non_null(strstr(message.text, "another port"));
	metrics_server_url(served->server, &url);
	assert_non_null(strstr(url.text, address));
	/* An address that no machine has: it is set aside for documents. */
	assert_int_equal(metrics_server_open("192.0.2.1:0", served->capture, &second, &message), WH_RESULT_USAGE);
	assert_non_null(strstr(message.text, "no adapter"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_has_its_line),
		cmocka_unit_test(buckets_hold_those_below),
		cmocka_unit_test(what_is_not_known_is_left_out),
		cmocka_unit_test(labels_are_escaped),
		cmocka_unit_test(labels_keep_to_their_room),
		cmocka_unit_test(counters_never_go_back),
		cmocka_unit_test(rate_needs_a_second),
		cmocka_unit_test(rate_is_that_of_the_last_minute),
		cmocka_unit_test(rate_of_rare_questions_is_since_the_last),
		cmocka_unit_test(addresses_are_understood),
		cmocka_unit_test(other_addresses_are_refused),
	};
	const struct CMUnitTest live[] = {
		cmocka_unit_test(requests_are_answered),
		cmocka_unit_test(head_has_no_body),
		cmocka_unit_test(counters_are_those_of_the_capture),
		cmocka_unit_test(those_who_stay_make_room),
		cmocka_unit_test(headers_are_bounded),
		cmocka_unit_test(two_cannot_have_one_port),
	};
	int failed = cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
	return failed + cmocka_run_group_tests_name("metrics server", live, serve, stop_serving);
}
