/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer where something fails and works again: nothing is lost that the ring could hold, and the file says what
 * happened. And marks, which take the same way. Writes that fail on a disk are tested on a file system made for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "feed.h"
#include "ringbuf/clock.h"

enum { FILE_BYTES = 300000, DESCRIPTORS_MOST = 8 };

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

/* The descriptors of a file, in whose places others stand for the time of a fault. */
struct taken {
	uint32_t count;
	int places[DESCRIPTORS_MOST];
	int kept[DESCRIPTORS_MOST];
};

/* From now on nothing can be written to the present file, or asked for it (EBADF). */
static void file_take(const struct wh_rig *rig, struct taken *taken)
{
	struct wh_writer_totals totals;
	struct stat file, found;
	*taken = (struct taken){ 0 };
	wh_writer_totals_read(rig->writer, &totals);
	assert_int_equal(stat(totals.current_file, &file), 0);
	int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(nothing >= 0);
	DIR *all = opendir("/proc/self/fd");
	assert_non_null(all);
	struct dirent *entry;
	while ((entry = readdir(all)) != NULL) {
		int place = (int)strtol(entry->d_name, NULL, 10);
		if (entry->d_name[0] == '.' || fstat(place, &found) != 0 || found.st_dev != file.st_dev ||
		    found.st_ino != file.st_ino)
			continue;
		assert_true(taken->count < DESCRIPTORS_MOST);
		taken->places[taken->count] = place;
		taken->kept[taken->count] = fcntl(place, F_DUPFD_CLOEXEC, 0);
		assert_true(taken->kept[taken->count] >= 0);
		assert_int_equal(dup3(nothing, place, O_CLOEXEC), place);
		taken->count++;
	}
	closedir(all);
	close(nothing);
	assert_true(taken->count > 0);
}

static void file_give_back(const struct taken *taken)
{
	for (uint32_t i = 0; i < taken->count; i++) {
		assert_int_equal(dup3(taken->kept[i], taken->places[i], O_CLOEXEC), taken->places[i]);
		close(taken->kept[i]);
	}
}

/* While the thread waits, deep in what it is at, for a write that is tried again and again, it comes round for whoever
 * watches it. And a file that is asked for meanwhile is begun when that is over. */
static void alive_while_writes_fail(void **state)
{
	struct wh_rig *rig = *state;
	struct taken taken;
	wh_rig_open(rig);
	struct wh_feed *feeds[4];
	for (int i = 0; i < 4; i++)
		feeds[i] = wh_rig_feed(rig);
	wh_rig_start(rig);
	file_take(rig, &taken);
	/* The end of a source hands out what it had, and no more than two such pieces may be out. */
	for (int i = 0; i < 3; i++) {
		wh_feed_push(feeds[i], WH_TRANSCRIBE_RUN, 2, 100, 0);
		wh_feed_end(feeds[i], 0);
	}
	wh_rig_await(rig, WH_WRITER_TROUBLE, 1);
	assert_non_null(strstr(rig->text[WH_WRITER_TROUBLE], "trying again"));
	wh_writer_rotate(rig->writer);
	uint64_t begun_ns = wh_ns_monotonic(), since_ns;
	do {
		usleep(1000);
		assert_string_equal(wh_writer_slowest(rig->writer, wh_ns_monotonic(), &since_ns), "wh-write");
		assert_true(wh_ns_monotonic() - begun_ns < 50 * WH_NS_PER_SECOND);
	} while (since_ns < begun_ns + 150 * WH_NS_PER_MS);
	file_give_back(&taken);
	wh_rig_await(rig, WH_WRITER_TROUBLE, 2);
	assert_non_null(strstr(rig->text[WH_WRITER_TROUBLE], "writing goes on"));
	wh_rig_await(rig, WH_WRITER_FILE_CLOSED, 1);
	push_dense(feeds[3], 2);
	wh_rig_finish(rig);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_STOP_ERROR), 0);
	wh_rig_read(rig);
	assert_int_equal(rig->file_count, 2);
	for (int i = 0; i < 4; i++)
		check_whole(rig, feeds[i]);
}

/* Waits until all that FEED has pushed is written. */
static void written_await(struct wh_feed *feed)
{
	uint64_t begun_ns = wh_ns_monotonic();
	while (feed->counters.frames_written < feed->frames) {
		usleep(100);
		assert_true(wh_ns_monotonic() - begun_ns < 50 * WH_NS_PER_SECOND);
	}
}

/* There was no room for an adapter's description. The fault is over when there is, though nothing else is written. */
static void room_for_an_interface(void **state)
{
	struct wh_rig *rig = *state;
	struct taken taken;
	enum { ALLOCATED = 32 * 1024 * 1024 };
	rig->config.limits.file_bytes = 0;
	wh_rig_open(rig);
	struct wh_feed *first = wh_rig_feed(rig);
	wh_rig_start(rig);
	/* Up to where the trailer, and not the description, still finds room in what is allocated. */
	push_dense(first, ALLOCATED / rig->config.block_bytes - 1);
	struct wh_writer_totals totals;
	do {
		wh_feed_push(first, WH_TRANSCRIBE_COMPACT, 10, 100, 0);
		written_await(first);
		wh_writer_totals_read(rig->writer, &totals);
	} while (totals.bytes_on_disk < ALLOCATED - 2 * 4096);
	assert_true(totals.bytes_on_disk < ALLOCATED);
	file_take(rig, &taken);
	struct wh_feed *second = wh_rig_feed(rig);
	wh_rig_await(rig, WH_WRITER_TROUBLE, 1);
	assert_non_null(strstr(rig->text[WH_WRITER_TROUBLE], "cannot allocate"));
	file_give_back(&taken);
	wh_rig_await(rig, WH_WRITER_TROUBLE, 2);
	assert_non_null(strstr(rig->text[WH_WRITER_TROUBLE], "writing goes on"));
	wh_rig_finish(rig);
	wh_rig_read(rig);
	check_whole(rig, first);
	check_whole(rig, second);
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
		WITH_RIG(alive_while_writes_fail),    WITH_RIG(room_for_an_interface),
		WITH_RIG(marks_are_in_the_file),      WITH_RIG(marks_behind_the_end),
		WITH_RIG(writes_are_counted),
	};
	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
