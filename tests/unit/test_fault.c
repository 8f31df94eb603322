/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer where something fails and works again: nothing is lost that the ring could hold, and the file says what
 * happened. And marks, which take the same way. Writes that fail are tested on a file system made for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "feed.h"
#include "ringbuf/clock.h"

enum { FILE_BYTES = 300000 };

static int rig_make(void **state)
{
	struct wh_rig *rig = wh_rig_new();
	rig->config.limits.file_bytes = FILE_BYTES;
	*state = rig;
	return 0;
}

static int rig_drop(void **state)
{
	wh_rig_drop(*state);
	return 0;
}

static void push_dense(struct wh_feed *feed, uint32_t blocks)
{
	for (uint32_t i = 0; i < blocks; i++)
		wh_feed_push(feed, WH_TRANSCRIBE_IN_PLACE, wh_feed_fill(feed->rig, 1414), 1414, 0);
}

static void check_whole(const struct wh_rig *rig, const struct wh_feed *feed)
{
	const struct wh_found *found = &rig->found[feed->encoding.interface];
	assert_int_equal(feed->counters.frames_written, feed->frames);
	assert_int_equal(feed->counters.frames_discarded, 0);
	assert_int_equal(found->frames, feed->frames);
	assert_int_equal(found->gaps, 0);
}

/* Whether TEXT stands in one of the rig's files. */
static bool files_have(const struct wh_rig *rig, const char *text)
{
	for (uint32_t i = 0; i < rig->file_count; i++) {
		char path[256];
		snprintf(path, sizeof(path), "%s/%s", rig->directory, rig->names[i]);
		FILE *file = fopen(path, "rb");
		assert_non_null(file);
		char *bytes = malloc(rig->sizes[i]);
		assert_non_null(bytes);
		size_t length = fread(bytes, 1, rig->sizes[i], file);
		bool found = memmem(bytes, length, text, strlen(text)) != NULL;
		free(bytes);
		fclose(file);
		if (found)
			return true;
	}
	return false;
}

/* The directory is away while the next file is due: chunks stay in the ring, and everything goes on when it is back. */
static void directory_away_for_a_while(void **state)
{
	struct wh_rig *rig = *state;
	char away[96];
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 1);
	snprintf(away, sizeof(away), "%s-away", rig->directory);
	assert_int_equal(rename(rig->directory, away), 0);
	push_dense(feed, 8); /* more than the file takes, less than the ring */
	wh_rig_await(rig, WH_WRITER_TROUBLE, 1);
	assert_non_null(strstr(rig->text[WH_WRITER_TROUBLE], "No such file"));
	assert_int_equal(rename(away, rig->directory), 0);
	wh_rig_await(rig, WH_WRITER_TROUBLE, 2);
	assert_non_null(strstr(rig->text[WH_WRITER_TROUBLE], "writing goes on"));
	push_dense(feed, 20);
	wh_rig_finish(rig);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_STOP_ERROR), 0);
	wh_rig_read(rig);
	check_whole(rig, feed);
	assert_true(files_have(rig, "writing goes on"));
}

/* Who waits for the end does not wait for a directory that does not come back: what is left counts as discarded. */
static void directory_away_for_good(void **state)
{
	struct wh_rig *rig = *state;
	char away[96];
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	snprintf(away, sizeof(away), "%s-away", rig->directory);
	assert_int_equal(rename(rig->directory, away), 0);
	push_dense(feed, 8);
	wh_rig_await(rig, WH_WRITER_TROUBLE, 1);
	uint64_t begun_ns = wh_ns_monotonic();
	wh_writer_hurry(rig->writer);
	wh_rig_finish(rig);
	uint64_t took_ns = wh_ns_monotonic() - begun_ns;
	assert_true(took_ns < 20 * WH_NS_PER_SECOND); /* not the minute of a fault that nobody waits for */
	assert_int_equal(rename(away, rig->directory), 0);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_STOP_ERROR), 1);
	assert_true(feed->counters.frames_discarded > 0);
	assert_int_equal(feed->counters.frames_written + feed->counters.frames_discarded, feed->frames);
	wh_rig_read(rig);
	assert_int_equal(rig->found[0].frames, feed->counters.frames_written);
}

/* An adapter that is attached while no file can be made is known to the file that is made later. */
static void interface_during_a_fault(void **state)
{
	struct wh_rig *rig = *state;
	char away[96];
	wh_rig_open(rig);
	struct wh_feed *first = wh_rig_feed(rig);
	wh_rig_start(rig);
	snprintf(away, sizeof(away), "%s-away", rig->directory);
	assert_int_equal(rename(rig->directory, away), 0);
	push_dense(first, 8);
	wh_rig_await(rig, WH_WRITER_TROUBLE, 1);
	struct wh_feed *second = wh_rig_feed(rig);
	push_dense(second, 3);
	assert_int_equal(rename(away, rig->directory), 0);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	check_whole(rig, first);
	check_whole(rig, second);
}

/* A file that somebody deletes takes no more frames than those that it has. */
static void deleted_file_is_left(void **state)
{
	struct wh_rig *rig = *state;
	struct wh_writer_totals totals;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 1);
	wh_writer_totals_read(rig->writer, &totals);
	wh_writer_watch(rig->writer);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_TROUBLE), 0);
	assert_int_equal(unlink(totals.current_file), 0);
	wh_writer_watch(rig->writer);
	wh_rig_await(rig, WH_WRITER_TROUBLE, 1);
	assert_non_null(strstr(rig->text[WH_WRITER_TROUBLE], "was deleted"));
	wh_rig_finish(rig);
	assert_int_equal(feed->counters.frames_written, feed->frames);
}

/* Marks stand in the file, between the chunks, and count for nothing else. */
static void marks_are_in_the_file(void **state)
{
	struct wh_rig *rig = *state;
	struct wh_error error;
	char longest[WH_MARK_BYTES];
	memset(longest, 'm', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	for (int i = 0; i < 40; i++) {
		char text[32];
		snprintf(text, sizeof(text), "mark number %d.", i);
		push_dense(feed, 1);
		assert_int_equal(wh_writer_mark(rig->writer, 1000, i == 20 ? longest : text, &error), WH_OK);
		wh_feed_push(feed, WH_TRANSCRIBE_RUN, 2, 100, 0);
	}
	wh_rig_finish(rig);
	wh_rig_read(rig);
	check_whole(rig, feed);
	assert_true(files_have(rig, "MESSAGE=mark number 0.\n"));
	assert_true(files_have(rig, "MESSAGE=mark number 39.\n"));
	assert_true(files_have(rig, longest));
	assert_true(files_have(rig, "__REALTIME_TIMESTAMP=1\n"));
	for (uint32_t i = 0; i < rig->file_count; i++)
		assert_true(rig->sizes[i] <= FILE_BYTES);
}

/* What is not put into the file any more is given back. */
static void marks_behind_the_end(void **state)
{
	struct wh_rig *rig = *state;
	struct wh_error error;
	rig->config.format = WH_WRITE_PCAP;
	rig->pcap = true;
	wh_rig_open(rig);
	assert_int_equal(wh_writer_mark(rig->writer, 1, "before the start", &error), WH_OK);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	wh_feed_push(feed, WH_TRANSCRIBE_RUN, 2, 100, 0);
	assert_int_equal(wh_writer_mark(rig->writer, 1, "no place in classic pcap", &error), WH_OK);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	assert_int_equal(rig->found[0].frames, 2);
}

/* Each write is in one class of latencies, and each thread comes round. */
static void writes_are_counted(void **state)
{
	struct wh_rig *rig = *state;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 30);
	uint64_t since_ns;
	uint64_t now_ns = wh_ns_monotonic();
	const char *name = wh_writer_slowest(rig->writer, now_ns, &since_ns);
	assert_true(strcmp(name, "wh-write") == 0 || strcmp(name, "wh-close") == 0);
	assert_true(since_ns != 0);
	wh_feed_end(feed, 0);
	wh_writer_finish(rig->writer);
	struct wh_writer_totals totals;
	wh_writer_totals_read(rig->writer, &totals);
	uint64_t writes = 0;
	for (int i = 0; i < WH_WRITER_LATENCIES; i++)
		writes += totals.write_counts[i];
	assert_true(writes >= 30);
	assert_true(totals.latency_ns >= totals.latency_max_ns);
	assert_int_equal(totals.write_errors, 0);
	assert_int_equal(totals.last_frame_ns, feed->frames); /* a frame's time is its number */
	wh_rig_finish(rig);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_make, rig_drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(directory_away_for_a_while), WITH_RIG(directory_away_for_good),
		WITH_RIG(interface_during_a_fault),   WITH_RIG(deleted_file_is_left),
		WITH_RIG(marks_are_in_the_file),      WITH_RIG(marks_behind_the_end),
		WITH_RIG(writes_are_counted),
	};
	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
