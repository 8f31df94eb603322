/* SPDX-License-Identifier: BSD-3-Clause */
/* The chain's policy: names, and when a file or the chain ends. No disk, no
 * clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ringbuf/clock.h"
#include "writer/chain.h"

#define SECOND WH_NS_PER_SECOND

/* 2026-01-02 03:04:05 UTC. */
#define WALL_NS (1767323045ULL * SECOND)

static void zone_set(const char *zone)
{
	setenv("TZ", zone, 1);
	tzset();
}

static void check_path(const char *path, const char *tag, uint64_t number, uint64_t wall_ns, const char *expected)
{
	struct wh_chain_name name;
	struct wh_error error = { 0 };
	char made[WH_PATH_BYTES];
	assert_int_equal(wh_chain_name_parse(path, tag, &name, &error), WH_OK);
	wh_chain_path(&name, number, wall_ns, made);
	assert_string_equal(made, expected);
}

static void names_as_dumpcap_makes_them(void **state)
{
	(void)state;
	zone_set("UTC");
	check_path("trace.pcapng", NULL, 1, WALL_NS, "trace_00001_20260102030405.pcapng");
	check_path("captures/trace.pcapng", NULL, 2, WALL_NS, "captures/trace_00002_20260102030405.pcapng");
	check_path("/trace.pcapng", NULL, 3, WALL_NS, "/trace_00003_20260102030405.pcapng");
	check_path("/var/tmp/a.b.c.pcap", NULL, 99999, WALL_NS, "/var/tmp/a.b.c_99999_20260102030405.pcap");
	check_path("./x", NULL, 100000, WALL_NS, "x_100000_20260102030405");
	check_path("../x.pcap", NULL, 7, WALL_NS, "../x_00007_20260102030405.pcap");
	check_path("a.d/x", NULL, 1, WALL_NS, "a.d/x_00001_20260102030405");
	check_path("a//x.y", NULL, 1, WALL_NS, "a//x_00001_20260102030405.y");
	check_path(".hidden", NULL, 1, WALL_NS, ".hidden_00001_20260102030405");
	check_path(".hidden.pcap", NULL, 1, WALL_NS, ".hidden_00001_20260102030405.pcap");
	check_path("x.", NULL, 1, WALL_NS, "x_00001_20260102030405.");
	check_path("100%s %n.pcap", NULL, 1, WALL_NS, "100%s %n_00001_20260102030405.pcap");
	check_path("x.pcap", NULL, UINT64_MAX, WALL_NS, "x_18446744073709551615_20260102030405.pcap");
}

static void tags_go_behind_the_stem(void **state)
{
	(void)state;
	zone_set("UTC");
	check_path("t.pcapng", "eth0", 1, WALL_NS, "t_eth0_00001_20260102030405.pcapng");
	check_path("d/t", "eth0.7", 1, WALL_NS, "d/t_eth0.7_00001_20260102030405");
	check_path("d/t.x", "a/b\\c\nd", 1, WALL_NS, "d/t_a%2Fb%5Cc%0Ad_00001_20260102030405.x");
	check_path("d/t.x", "../../etc", 1, WALL_NS, "d/t_..%2F..%2Fetc_00001_20260102030405.x");
	check_path("d/t.x", "\xC3\xA9", 1, WALL_NS, "d/t_\xC3\xA9_00001_20260102030405.x");
	/* Each has a name of its own: a chain may delete what it finds under its name. */
	check_path("t", "a-b", 1, WALL_NS, "t_a-b_00001_20260102030405");
	check_path("t", "a|b", 1, WALL_NS, "t_a%7Cb_00001_20260102030405");
	check_path("t", "a%7Cb", 1, WALL_NS, "t_a%257Cb_00001_20260102030405");
}

static void local_time_is_in_the_name(void **state)
{
	(void)state;
	/* Central European time, with the two days on which the clock is set:
	 * 2026-03-29 and 2026-10-25 at 01:00 UTC. */
	zone_set("CET-1CEST,M3.5.0,M10.5.0/3");
	check_path("x", NULL, 1, 1774745999 * SECOND, "x_00001_20260329015959");
	check_path("x", NULL, 1, 1774746000 * SECOND, "x_00001_20260329030000");
	check_path("x", NULL, 1, 1792889999 * SECOND, "x_00001_20261025025959");
	check_path("x", NULL, 1, 1792890000 * SECOND + 999999999, "x_00001_20261025020000");
	zone_set("<+1245>-12:45");
	check_path("x", NULL, 1, WALL_NS, "x_00001_20260102154905");
	zone_set("UTC");
}

static void refuse(const char *path, const char *tag)
{
	struct wh_chain_name name;
	struct wh_error error = { 0 };
	assert_int_equal(wh_chain_name_parse(path, tag, &name, &error), WH_ERR_INPUT);
	assert_true(error.text[0] != '\0');
	assert_null(strchr(error.text, '\n'));
}

static void its_own_names_are_known(void **state)
{
	(void)state;
	static const char *const others[] = {
		"",
		"t",
		"t.pcapng",
		"t_",
		"t_00001_20260102030405",
		"t_00001_20260102030405.pcap",
		"t_00001_20260102030405.pcapng.gz",
		"t_0001_20260102030405.pcapng",
		"t_000000000000000000001_20260102030405.pcapng",
		"t_00001_2026010203040.pcapng",
		"t_00001_202601020304055.pcapng",
		"t_00001-20260102030405.pcapng",
		"t_0000a_20260102030405.pcapng",
		"t_00001_2026010203040x.pcapng",
		"t_eth0_00001_20260102030405.pcapng",
		"tt_00001_20260102030405.pcapng",
		"T_00001_20260102030405.pcapng",
		" t_00001_20260102030405.pcapng",
		"t_marks.txt",
	};
	static const char *const paths[] = { "t.pcapng", "d/t.pcapng", "/t.pcapng", "../t.pcapng" };
	struct wh_chain_name name;
	struct wh_error error;
	zone_set("UTC");
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		char made[WH_PATH_BYTES], again[WH_PATH_BYTES];
		const uint64_t numbers[] = { 1, 99999, 100000, UINT64_MAX };
		assert_int_equal(wh_chain_name_parse(paths[i], NULL, &name, &error), WH_OK);
		for (size_t j = 0; j < sizeof(numbers) / sizeof(numbers[0]); j++) {
			wh_chain_path(&name, numbers[j], WALL_NS, made);
			const char *slash = strrchr(made, '/');
			const char *file = slash != NULL ? slash + 1 : made;
			assert_true(wh_chain_has_name(&name, file));
			wh_chain_path_of(&name, file, again);
			assert_string_equal(made, again);
		}
		for (size_t j = 0; j < sizeof(others) / sizeof(others[0]); j++)
			assert_false(wh_chain_has_name(&name, others[j]));
	}
	/* A chain without an extension, and one of an adapter. */
	assert_int_equal(wh_chain_name_parse("t", NULL, &name, &error), WH_OK);
	assert_true(wh_chain_has_name(&name, "t_00001_20260102030405"));
	assert_false(wh_chain_has_name(&name, "t_00001_20260102030405.pcapng"));
	assert_int_equal(wh_chain_name_parse("t.pcapng", "eth0", &name, &error), WH_OK);
	assert_true(wh_chain_has_name(&name, "t_eth0_00001_20260102030405.pcapng"));
	assert_false(wh_chain_has_name(&name, "t_00001_20260102030405.pcapng"));
}

static void names_that_are_none(void **state)
{
	(void)state;
	refuse("", NULL);
	refuse("/", NULL);
	refuse("captures/", NULL);
	refuse(".", NULL);
	refuse("..", NULL);
	refuse("a/..", NULL);
	refuse("a/.", NULL);
}

/* Up to the longest name that is taken, the path comes out whole, with the
 * longest number. */
static void long_names(void **state)
{
	(void)state;
	zone_set("UTC");
	char path[3000], made[WH_PATH_BYTES];
	struct wh_chain_name name;
	struct wh_error error;
	size_t taken_stem = 0, taken_directory = 0;
	for (size_t length = 1; length < 400; length++) {
		memset(path, 's', length);
		strcpy(path + length, ".pcapng");
		if (wh_chain_name_parse(path, "adapter", &name, &error) != WH_OK)
			continue;
		taken_stem = length;
		wh_chain_path(&name, UINT64_MAX, WALL_NS, made);
		assert_int_equal(strlen(made), length + strlen("_adapter_18446744073709551615_20260102030405.pcapng"));
		assert_true(strlen(made) <= 255);
	}
	assert_true(taken_stem >= 150);
	for (size_t length = 1; length < 2500; length++) {
		memset(path, 'd', length);
		strcpy(path + length, "/stem.pcap");
		if (wh_chain_name_parse(path, NULL, &name, &error) != WH_OK)
			continue;
		taken_directory = length;
		wh_chain_path(&name, UINT64_MAX, WALL_NS, made);
		assert_int_equal(strlen(made), length + strlen("/stem_18446744073709551615_20260102030405.pcap"));
	}
	assert_true(taken_directory >= 900 && taken_directory < 1024);
	memset(path, 'x', 2999);
	path[2999] = '\0';
	refuse(path, NULL);
	path[1] = '.';
	refuse(path, NULL); /* all of it an extension */
	refuse("x.pcap", path);
}

static void size_at_the_exact_byte(void **state)
{
	(void)state;
	const struct wh_chain_limits limits = { .file_bytes = 1000000 };
	struct wh_chain_state chain = { .files = 1, .file_bytes = 900000 };
	assert_int_equal(wh_chain_before_write(&limits, &chain, 90000, 10000), WH_CHAIN_GO_ON);
	assert_int_equal(wh_chain_before_write(&limits, &chain, 90001, 10000), WH_CHAIN_NEXT_FILE);
	assert_int_equal(wh_chain_before_write(&limits, &chain, 90000, 10001), WH_CHAIN_NEXT_FILE);
	chain.file_bytes = 900001;
	assert_int_equal(wh_chain_before_write(&limits, &chain, 90000, 10000), WH_CHAIN_NEXT_FILE);
	const struct wh_chain_limits none = { 0 };
	chain.file_bytes = 1ULL << 62;
	assert_int_equal(wh_chain_before_write(&none, &chain, 1ULL << 40, 1), WH_CHAIN_GO_ON);
}

static void autostop_by_bytes(void **state)
{
	(void)state;
	const struct wh_chain_limits limits = { .file_bytes = 1000, .total_bytes = 2500 };
	struct wh_chain_state chain = { .files = 3, .closed_bytes = 2000, .file_bytes = 400 };
	assert_int_equal(wh_chain_before_write(&limits, &chain, 90, 10), WH_CHAIN_GO_ON);
	assert_int_equal(wh_chain_before_write(&limits, &chain, 91, 10), WH_CHAIN_STOP_BYTES);
	/* Both are due: the end comes first. */
	chain.file_bytes = 990;
	assert_int_equal(wh_chain_before_write(&limits, &chain, 90, 10), WH_CHAIN_STOP_BYTES);
	/* Without a limit for files, all is one. */
	const struct wh_chain_limits one = { .total_bytes = 2500 };
	chain = (struct wh_chain_state){ .files = 1, .file_bytes = 2400 };
	assert_int_equal(wh_chain_before_write(&one, &chain, 90, 10), WH_CHAIN_GO_ON);
	assert_int_equal(wh_chain_before_write(&one, &chain, 90, 11), WH_CHAIN_STOP_BYTES);
}

/* A new file costs its header and a second trailer, whatever it is begun for.
 */
static void a_new_file_has_its_price(void **state)
{
	(void)state;
	const struct wh_chain_limits limits = { .file_bytes = 1000, .file_ns = SECOND, .total_bytes = 2500 };
	struct wh_chain_state chain = {
		.files = 2, .closed_bytes = 1000, .file_bytes = 950, .header_bytes = 100, .deadline_ns = 5
	};
	assert_int_equal(wh_chain_before_write(&limits, &chain, 400, 25), WH_CHAIN_NEXT_FILE);
	assert_int_equal(wh_chain_before_write(&limits, &chain, 401, 25), WH_CHAIN_STOP_BYTES);
	assert_int_equal(wh_chain_at_time(&limits, &chain, 225, 5), WH_CHAIN_NEXT_FILE);
	assert_int_equal(wh_chain_at_time(&limits, &chain, 226, 5), WH_CHAIN_STOP_BYTES);
	assert_int_equal(wh_chain_next_file(&limits, &chain, 450, 0), WH_CHAIN_NEXT_FILE);
	assert_int_equal(wh_chain_next_file(&limits, &chain, 451, 0), WH_CHAIN_STOP_BYTES);
}

static void autostop_by_files(void **state)
{
	(void)state;
	const struct wh_chain_limits limits = { .file_bytes = 1000, .file_ns = SECOND, .total_files = 3 };
	struct wh_chain_state chain = { .files = 2, .file_bytes = 900, .deadline_ns = 5 * SECOND };
	assert_int_equal(wh_chain_before_write(&limits, &chain, 200, 0), WH_CHAIN_NEXT_FILE);
	assert_int_equal(wh_chain_at_time(&limits, &chain, 0, 5 * SECOND), WH_CHAIN_NEXT_FILE);
	chain.files = 3;
	assert_int_equal(wh_chain_before_write(&limits, &chain, 100, 0), WH_CHAIN_GO_ON);
	assert_int_equal(wh_chain_before_write(&limits, &chain, 200, 0), WH_CHAIN_STOP_FILES);
	assert_int_equal(wh_chain_at_time(&limits, &chain, 0, 5 * SECOND - 1), WH_CHAIN_GO_ON);
	assert_int_equal(wh_chain_at_time(&limits, &chain, 0, 5 * SECOND), WH_CHAIN_STOP_FILES);
}

static void time_keeps_its_beat(void **state)
{
	(void)state;
	const struct wh_chain_limits limits = { .file_ns = 10 * SECOND };
	struct wh_chain_state chain = { 0 };
	const uint64_t start = 1234 * SECOND + 567;
	wh_chain_file_begun(&limits, &chain, start);
	assert_int_equal(chain.files, 1);
	assert_int_equal(wh_chain_at_time(&limits, &chain, 0, start + 10 * SECOND - 1), WH_CHAIN_GO_ON);
	assert_int_equal(wh_chain_time_left(&chain, start + 10 * SECOND - 1), 1);
	assert_int_equal(wh_chain_at_time(&limits, &chain, 0, start + 10 * SECOND), WH_CHAIN_NEXT_FILE);
	assert_int_equal(wh_chain_time_left(&chain, start + 10 * SECOND), 0);
	/* Begun 3 s late: the next is due at 20 all the same. */
	wh_chain_file_begun(&limits, &chain, start + 13 * SECOND);
	assert_int_equal(wh_chain_time_left(&chain, start + 13 * SECOND), 7 * SECOND);
	/* Begun for its size at 15: nothing moves. */
	wh_chain_file_begun(&limits, &chain, start + 15 * SECOND);
	assert_int_equal(wh_chain_time_left(&chain, start + 15 * SECOND), 5 * SECOND);
	/* Asleep until 47: one new file, the beats at 20, 30 and 40 are gone. */
	assert_int_equal(wh_chain_at_time(&limits, &chain, 0, start + 47 * SECOND), WH_CHAIN_NEXT_FILE);
	wh_chain_file_begun(&limits, &chain, start + 47 * SECOND);
	assert_int_equal(wh_chain_at_time(&limits, &chain, 0, start + 47 * SECOND), WH_CHAIN_GO_ON);
	assert_int_equal(wh_chain_time_left(&chain, start + 47 * SECOND), 3 * SECOND);
	/* On the beat exactly. */
	wh_chain_file_begun(&limits, &chain, start + 50 * SECOND);
	assert_int_equal(wh_chain_time_left(&chain, start + 50 * SECOND), 10 * SECOND);
	assert_int_equal(chain.files, 5);
}

static void without_a_clock(void **state)
{
	(void)state;
	const struct wh_chain_limits limits = { .file_bytes = 100 };
	struct wh_chain_state chain = { 0 };
	wh_chain_file_begun(&limits, &chain, 5);
	assert_int_equal(chain.files, 1);
	assert_int_equal(wh_chain_at_time(&limits, &chain, 0, UINT64_MAX), WH_CHAIN_GO_ON);
	assert_int_equal(wh_chain_time_left(&chain, UINT64_MAX), UINT64_MAX);
}

/* Size and time together over an hour of chunks: every file keeps both limits,
 * none is empty, and each beat at which there was a file in the making has
 * ended one. */
static void size_and_time_together(void **state)
{
	(void)state;
	const struct wh_chain_limits limits = { .file_bytes = 100000, .file_ns = 7 * SECOND };
	struct wh_chain_state chain = { 0 };
	const uint64_t start = 99 * SECOND + 1;
	uint64_t begun = start, deadline = start + limits.file_ns, both = 0;
	uint32_t for_size = 0, for_time = 0;
	wh_chain_file_begun(&limits, &chain, start);
	for (uint64_t step = 1; step < 36000; step++) {
		uint64_t now = start + step * SECOND / 10;
		if (wh_chain_at_time(&limits, &chain, 0, now) == WH_CHAIN_NEXT_FILE) {
			assert_true(now >= deadline);
			while (deadline <= now)
				deadline += limits.file_ns;
			chain.closed_bytes += chain.file_bytes;
			chain.file_bytes = 0;
			wh_chain_file_begun(&limits, &chain, now);
			begun = now;
			for_time++;
		}
		assert_true(now < begun + limits.file_ns + SECOND / 10);
		/* Some minutes are quiet, in some there is more than a file a beat. */
		uint64_t bytes = step / 600 % 2 == 0 ? 300 : 4000;
		if (wh_chain_before_write(&limits, &chain, bytes, 100) == WH_CHAIN_NEXT_FILE) {
			assert_true(chain.file_bytes + bytes + 100 > limits.file_bytes);
			assert_true(chain.file_bytes > 0);
			both += now == begun;
			chain.closed_bytes += chain.file_bytes;
			chain.file_bytes = 0;
			wh_chain_file_begun(&limits, &chain, now);
			begun = now;
			for_size++;
		}
		chain.file_bytes += bytes;
		assert_true(chain.file_bytes + 100 <= limits.file_bytes);
	}
	assert_int_equal(both, 0);
	assert_int_equal(for_time, 36000 / 70);
	assert_true(for_size > 100);
	assert_int_equal(chain.files, 1 + for_size + for_time);
}

/* The longest interval that can be asked for does not overflow. */
static void the_longest_interval(void **state)
{
	(void)state;
	const struct wh_chain_limits limits = { .file_ns = UINT32_MAX * SECOND };
	struct wh_chain_state chain = { 0 };
	const uint64_t now = 100ULL * 365 * 86400 * SECOND; /* up for a hundred years */
	wh_chain_file_begun(&limits, &chain, now);
	assert_int_equal(wh_chain_time_left(&chain, now), limits.file_ns);
	assert_int_equal(wh_chain_at_time(&limits, &chain, 0, now + limits.file_ns - 1), WH_CHAIN_GO_ON);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_as_dumpcap_makes_them), cmocka_unit_test(tags_go_behind_the_stem),
		cmocka_unit_test(local_time_is_in_the_name),   cmocka_unit_test(its_own_names_are_known),
		cmocka_unit_test(names_that_are_none),         cmocka_unit_test(long_names),
		cmocka_unit_test(size_at_the_exact_byte),      cmocka_unit_test(autostop_by_bytes),
		cmocka_unit_test(a_new_file_has_its_price),    cmocka_unit_test(autostop_by_files),
		cmocka_unit_test(time_keeps_its_beat),         cmocka_unit_test(without_a_clock),
		cmocka_unit_test(size_and_time_together),      cmocka_unit_test(the_longest_interval),
	};
	return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
