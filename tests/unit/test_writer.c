/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer from end to end without a network: made-up sources in, files out, and every frame accounted for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "feed.h"
#include "ringbuf/clock.h"

enum { KIB = 1024, MIB = 1024 * 1024, PAGE = 4096 };

static int rig_make(void **state)
{
	*state = wh_rig_new();
	return 0;
}

static int rig_drop(void **state)
{
	struct rlimit limit;
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	wh_rig_drop(*state);
	return 0;
}

static void file_size_limit(uint64_t bytes)
{
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Blocks as dense traffic fills them. */
static void push_dense(struct wh_feed *feed, uint32_t blocks, uint32_t size)
{
	for (uint32_t i = 0; i < blocks; i++)
		wh_feed_push(feed, WH_TRANSCRIBE_IN_PLACE, wh_feed_fill(feed->rig, size), size, 0);
}

/* All frames of FEED are in the files, and all that it lost is told there, in the frames and in the heads. */
static void check_whole(const struct wh_rig *rig, const struct wh_feed *feed)
{
	const struct wh_found *found = &rig->found[feed->encoding.interface];
	assert_int_equal(feed->counters.frames_written, feed->frames);
	assert_int_equal(found->frames, feed->frames);
	assert_int_equal(found->gaps, 0);
	assert_int_equal(feed->counters.bytes_captured, feed->bytes);
	if (rig->pcap)
		return;
	assert_int_equal(found->lost, feed->dropped);
	assert_true(found->has_statistics);
	assert_int_equal(found->statistics.received, feed->frames + feed->dropped);
	assert_int_equal(found->statistics.dropped, feed->dropped);
	assert_int_equal(found->statistics.delivered, feed->frames);
}

static void check_stop(struct wh_rig *rig, enum wh_writer_event expected)
{
	for (int kind = WH_WRITER_STOP_COUNT; kind <= WH_WRITER_STOP_ERROR; kind++)
		if (rig->events[kind] != (kind == (int)expected))
			fail_msg("event %d came %u times: %s", kind, rig->events[kind], rig->text[kind]);
}

/* ---- files ---- */

static void nothing_at_all(void **state)
{
	struct wh_rig *rig = *state;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	assert_int_equal(rig->file_count, 1);
	check_whole(rig, feed);
	check_stop(rig, WH_WRITER_FILE_CLOSED);
}

static void dense_rotation_by_size(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.limits.file_bytes = 500000;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 100, 1414);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	check_whole(rig, feed);
	assert_true(rig->file_count >= 13);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_FILE_CLOSED), rig->file_count);
	for (uint32_t i = 0; i < rig->file_count; i++) {
		assert_true(rig->sizes[i] <= 500000);
		assert_true(i + 1 == rig->file_count || rig->sizes[i] + rig->config.block_bytes + 3 * PAGE > 500000);
	}
}

/* Runs, sealed chunks and losses of three sources, of all sizes. */
static void mixed_traffic(void **state)
{
	struct wh_rig *rig = *state;
	uint64_t random = 99;
	rig->config.limits.file_bytes = 600000;
	wh_rig_open(rig);
	struct wh_feed *feeds[3] = { wh_rig_feed(rig), wh_rig_feed(rig), wh_rig_feed(rig) };
	wh_rig_start(rig);
	for (int i = 0; i < 600; i++) {
		struct wh_feed *feed = feeds[wh_test_random(&random) % 3];
		uint32_t size = (uint32_t)(wh_test_random(&random) % 3000);
		uint32_t most = wh_feed_fill(rig, size);
		uint64_t lost = wh_test_random(&random) % 5 == 0 ? wh_test_random(&random) % 50 : 0;
		switch (wh_test_random(&random) % 4) {
		case 0:
			wh_feed_push(feed, WH_TRANSCRIBE_IN_PLACE, most, size, lost);
			break;
		case 1:
			wh_feed_push(feed, WH_TRANSCRIBE_COMPACT, 1 + most / 2, size, lost);
			break;
		default:
			wh_feed_push(feed, WH_TRANSCRIBE_RUN, 1 + (uint32_t)(wh_test_random(&random) % 3), size, lost);
		}
	}
	wh_rig_finish(rig);
	wh_rig_read(rig);
	uint64_t dropped = 0;
	for (int i = 0; i < 3; i++) {
		check_whole(rig, feeds[i]);
		dropped += feeds[i]->dropped;
	}
	assert_int_equal(rig->told, dropped);
	for (uint32_t i = 0; i < rig->file_count; i++)
		assert_true(rig->sizes[i] <= 600000);
}

static void classic_pcap(struct wh_rig *rig, enum wh_writer_format format)
{
	rig->config.format = format;
	rig->config.limits.file_bytes = 700000;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	for (uint32_t i = 0; i < 80; i++)
		wh_feed_push(feed, WH_TRANSCRIBE_RUN, 1 + i % 30, i * 13 % 1515, 0);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	check_whole(rig, feed);
	for (uint32_t i = 0; i < rig->file_count; i++)
		assert_true(rig->sizes[i] <= 700000);
}

static void classic_pcap_in_us(void **state)
{
	classic_pcap(*state, WH_WRITE_PCAP);
}

static void classic_pcap_in_ns(void **state)
{
	classic_pcap(*state, WH_WRITE_PCAP_NS);
}

/* The last record of a file ends exactly with the buffer: its frames must be counted all the same. */
static void pcap_that_fills_its_buffer(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.format = WH_WRITE_PCAP_NS;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	/* 256 KiB less the file's header, in records of 16 bytes and the frame. */
	uint32_t left = 256 * KIB - WH_PCAP_FILE_HEADER;
	while (left > 2 * 32016) {
		wh_feed_push(feed, WH_TRANSCRIBE_RUN, 1, 32000, 0);
		left -= 32016;
	}
	wh_feed_push(feed, WH_TRANSCRIBE_RUN, 1, left / 2 - 16, 0);
	wh_feed_push(feed, WH_TRANSCRIBE_RUN, 1, left - left / 2 - 16, 0);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	assert_int_equal(rig->total_bytes, 256 * KIB);
	check_whole(rig, feed);
}

static void file_when_asked_for(void **state)
{
	struct wh_rig *rig = *state;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	for (uint32_t i = 1; i <= 5; i++) {
		wh_feed_push(feed, i % 2 == 0 ? WH_TRANSCRIBE_RUN : WH_TRANSCRIBE_IN_PLACE, 5, 600, i);
		wh_writer_rotate(rig->writer);
		wh_rig_await(rig, WH_WRITER_FILE_CLOSED, i);
	}
	wh_rig_finish(rig);
	wh_rig_read(rig);
	assert_int_equal(rig->file_count, 6);
	check_whole(rig, feed);
}

static void files_by_the_clock(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.limits.file_ns = 50 * WH_NS_PER_MS;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	for (uint32_t i = 1; i <= 4; i++) {
		if (i % 2 == 0)
			wh_feed_push(feed, WH_TRANSCRIBE_RUN, 3, 60, 0);
		wh_rig_await(rig, WH_WRITER_FILE_CLOSED, i); /* traffic or not */
	}
	wh_rig_finish(rig);
	wh_rig_read(rig);
	check_whole(rig, feed);
}

static void newest_files_are_kept(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.limits.file_bytes = 200000;
	rig->config.keep_files = 3;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 60, 1414);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	assert_int_equal(rig->file_count, 3);
	assert_int_equal(feed->counters.frames_written, feed->frames);
	assert_int_equal(rig->found[0].last, feed->frames);
	assert_int_equal(rig->found[0].gaps, 0);
	assert_true(rig->found[0].first > 1);
}

/* ---- limits ---- */

static void count_limit(struct wh_rig *rig, enum wh_transcription how, enum wh_writer_format format, uint32_t limit)
{
	rig->config.stop_after_frames = limit;
	rig->config.format = format;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	for (uint32_t i = 0; i < 10; i++)
		wh_feed_push(feed, how, 7, 400, i == 9 ? 5 : 1);
	wh_rig_finish(rig);
	check_stop(rig, WH_WRITER_STOP_COUNT);
	assert_int_equal(feed->counters.frames_written, limit);
	assert_int_equal(feed->counters.frames_surplus, 70 - limit);
	assert_int_equal(feed->counters.frames_discarded, 0);
	wh_rig_read(rig);
	assert_int_equal(rig->found[0].frames, limit);
	assert_int_equal(rig->found[0].gaps, 0);
	uint64_t taken = (limit + 6) / 7; /* chunks; each had a loss before it */
	uint64_t lost = taken == 10 ? 14 : taken;
	assert_int_equal(feed->counters.lost_surplus, 14 - lost);
	if (format != WH_WRITE_PCAPNG)
		return;
	assert_int_equal(rig->found[0].lost, lost);
	assert_int_equal(rig->found[0].statistics.delivered, limit);
	assert_int_equal(rig->found[0].statistics.received, limit + lost);
}

static void count_limit_is_exact(void **state)
{
	static const uint32_t limits[] = { 1, 6, 7, 8, 48, 49, 50, 69 };
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		for (int way = 0; way < 4; way++) {
			count_limit(*state, way < 3 ? (enum wh_transcription)way : WH_TRANSCRIBE_RUN,
				    way < 3 ? WH_WRITE_PCAPNG : WH_WRITE_PCAP, limits[i]);
			wh_rig_drop(*state);
			*state = wh_rig_new();
		}
}

static void file_limit(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.limits = (struct wh_chain_limits){ .file_bytes = 200000, .total_files = 3 };
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 20, 1414);
	wh_rig_finish(rig);
	check_stop(rig, WH_WRITER_STOP_FILES);
	wh_rig_read(rig);
	assert_int_equal(rig->file_count, 3);
	assert_true(feed->counters.frames_surplus > 0);
	assert_int_equal(rig->found[0].frames, feed->counters.frames_written);
	assert_int_equal(rig->found[0].gaps, 0);
}

static void file_limit_holds_when_a_file_is_asked_for(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.limits.total_files = 2;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	wh_writer_rotate(rig->writer);
	wh_rig_await(rig, WH_WRITER_FILE_CLOSED, 1);
	wh_feed_push(feed, WH_TRANSCRIBE_RUN, 3, 60, 0);
	wh_writer_rotate(rig->writer);
	wh_rig_await(rig, WH_WRITER_STOP_FILES, 1);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	assert_int_equal(rig->file_count, 2);
}

/* All files together, whatever the fill of the last one. */
static void byte_limit(void **state)
{
	for (uint32_t files = 0; files < 2; files++)
		for (uint64_t limit = 400000; limit < 400000 + 70000; limit += 4600) {
			struct wh_rig *rig = *state;
			rig->config.limits.total_bytes = limit;
			rig->config.limits.file_bytes = files ? 150000 : 0;
			wh_rig_open(rig);
			struct wh_feed *feed = wh_rig_feed(rig);
			wh_rig_start(rig);
			for (uint32_t i = 0; i < 20; i++)
				wh_feed_push(feed, WH_TRANSCRIBE_IN_PLACE, 1 + (i + (uint32_t)limit / 4600) % 40, 1414,
					     0);
			wh_rig_finish(rig);
			check_stop(rig, WH_WRITER_STOP_BYTES);
			wh_rig_read(rig);
			if (rig->total_bytes > limit)
				fail_msg("%llu bytes in %u files, and %llu was the limit",
					 (unsigned long long)rig->total_bytes, rig->file_count,
					 (unsigned long long)limit);
			assert_int_equal(rig->found[0].frames, feed->counters.frames_written);
			wh_rig_drop(rig);
			*state = wh_rig_new();
		}
}

/* An adapter comes up when the file is nearly full: its block and its statistics must find room, or a new file. */
static void late_interfaces_keep_the_size_limit(void **state)
{
	char *filter = test_malloc(3000);
	memset(filter, 'x', 2999);
	filter[2999] = '\0';
	for (uint32_t fill = 0; fill < 24; fill++) {
		struct wh_rig *rig = *state;
		rig->config.limits.file_bytes = 200000;
		rig->config.filter = filter;
		wh_rig_open(rig);
		struct wh_feed *first = wh_rig_feed(rig);
		wh_rig_start(rig);
		push_dense(first, 2, 1414);
		/* The file ends at 16 KiB and 120 KiB by now; up to 48 pages more fill it. */
		wh_feed_push(first, WH_TRANSCRIBE_IN_PLACE, 1 + fill, 1300, 0);
		wh_feed_push(first, WH_TRANSCRIBE_RUN, 1, 60, 0);
		struct wh_feed *more[12];
		for (int i = 0; i < 12; i++)
			more[i] = wh_rig_feed(rig);
		for (int i = 0; i < 12; i++)
			wh_feed_push(more[i], WH_TRANSCRIBE_RUN, 1, 60, 1);
		wh_rig_finish(rig);
		wh_rig_read(rig);
		check_whole(rig, first);
		for (int i = 0; i < 12; i++)
			assert_int_equal(rig->found[more[i]->encoding.interface].frames, 1);
		for (uint32_t i = 0; i < rig->file_count; i++)
			if (rig->sizes[i] > 200000)
				fail_msg("fill %u: a file of %llu bytes", fill, (unsigned long long)rig->sizes[i]);
		wh_rig_drop(rig);
		*state = wh_rig_new();
	}
	test_free(filter);
}

/* ---- losses ---- */

static void loss_behind_the_last_frame(struct wh_rig *rig, enum wh_transcription how)
{
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	for (uint32_t i = 0; i < 5; i++)
		wh_feed_push(feed, how, 9, 333, i);
	wh_feed_end(feed, 1234);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	check_whole(rig, feed);
	assert_int_equal(rig->told, feed->dropped);
}

static void loss_behind_the_last_frame_in_place(void **state)
{
	loss_behind_the_last_frame(*state, WH_TRANSCRIBE_IN_PLACE);
}

static void loss_behind_the_last_frame_of_a_run(void **state)
{
	loss_behind_the_last_frame(*state, WH_TRANSCRIBE_RUN);
}

/* The only frame of the last chunk has a loss of its own before it: one drop count tells of both. */
static void loss_on_both_sides_of_a_frame(void **state)
{
	for (int way = WH_TRANSCRIBE_IN_PLACE; way <= WH_TRANSCRIBE_RUN; way++)
		for (int more = 0; more < 2; more++) {
			struct wh_rig *rig = *state;
			wh_rig_open(rig);
			struct wh_feed *feed = wh_rig_feed(rig);
			wh_rig_start(rig);
			wh_feed_push(feed, WH_TRANSCRIBE_RUN, 1, 60, 1);
			wh_feed_push(feed, (enum wh_transcription)way, 1, 60, 3);
			if (more != 0)
				wh_feed_push(feed, WH_TRANSCRIBE_RUN, 1, 60, 20);
			wh_feed_end(feed, 700);
			wh_rig_finish(rig);
			wh_rig_read(rig);
			check_whole(rig, feed);
			wh_rig_drop(rig);
			*state = wh_rig_new();
		}
}

/* Sources that come and go while the writer runs; places are used again, and each one's last loss finds its frame. */
static void sources_come_and_go(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.limits.file_bytes = 2 * MIB;
	wh_rig_open(rig);
	struct wh_feed *steady = wh_rig_feed(rig);
	wh_rig_start(rig);
	for (uint32_t i = 0; i < 40; i++) {
		struct wh_feed *feed = wh_rig_feed(rig);
		wh_feed_push(steady, WH_TRANSCRIBE_IN_PLACE, 10, 1000, 0);
		wh_feed_push(feed, i % 2 == 0 ? WH_TRANSCRIBE_RUN : WH_TRANSCRIBE_IN_PLACE, 5, 100 + i, 1);
		wh_feed_end(feed, i);
		wh_feed_await_end(feed);
	}
	wh_rig_finish(rig);
	wh_rig_read(rig);
	for (uint32_t i = 0; i < rig->feed_count; i++)
		check_whole(rig, rig->feeds[i]);
}

/* ---- failures ---- */

static void limit_lift(void)
{
	file_size_limit(RLIM_INFINITY);
}

/* Some write fails, wherever it is: what the files have is what was counted as written, and no more. ON_ERROR is called
 * when the writer has just seen it. */
static void failing_writes(void **state, void (*on_error)(void))
{
	for (uint64_t limit = 24 * KIB; limit < 300 * KIB; limit += 21 * KIB + 123) {
		struct wh_rig *rig = *state;
		rig->on_error = on_error;
		wh_rig_open(rig);
		struct wh_feed *dense = wh_rig_feed(rig), *quiet = wh_rig_feed(rig);
		wh_rig_start(rig);
		file_size_limit(limit);
		for (uint32_t i = 0; i < 12; i++) {
			wh_feed_push(dense, WH_TRANSCRIBE_IN_PLACE, 20, 1414, 2);
			wh_feed_push(quiet, WH_TRANSCRIBE_RUN, 2, 70, 1);
		}
		wh_rig_finish(rig);
		file_size_limit(RLIM_INFINITY);
		check_stop(rig, WH_WRITER_STOP_ERROR);
		assert_true(strstr(rig->text[WH_WRITER_STOP_ERROR], "File too large") != NULL);
		wh_rig_read(rig);
		for (uint32_t i = 0; i < 2; i++) {
			const struct wh_feed *feed = rig->feeds[i];
			assert_int_equal(rig->found[i].frames, feed->counters.frames_written);
			assert_int_equal(rig->found[i].gaps, 0);
			assert_int_equal(feed->counters.frames_discarded, feed->frames - feed->counters.frames_written);
		}
		assert_true(rig->total_bytes <= limit);
		wh_rig_drop(rig);
		*state = wh_rig_new();
	}
}

static void failing_write(void **state)
{
	failing_writes(state, NULL);
}

/* A disk that fails once and then works again: nothing may be written behind the hole, where no reader would come. */
static void failing_write_once(void **state)
{
	failing_writes(state, limit_lift);
}

/* Classic pcap goes to the disk in pieces that do not end with a record. Those that are whole count, and the file ends
 * with the last of them. */
static void failing_pcap_write(void **state)
{
	for (uint64_t limit = 24 * KIB; limit < 1100 * KIB; limit += 40 * KIB + 123) {
		struct wh_rig *rig = *state;
		rig->config.format = WH_WRITE_PCAP;
		wh_rig_open(rig);
		struct wh_feed *feed = wh_rig_feed(rig);
		wh_rig_start(rig);
		file_size_limit(limit);
		for (uint32_t i = 0; i < 60; i++)
			wh_feed_push(feed, WH_TRANSCRIBE_RUN, 20, 1000 + i, 0);
		wh_rig_finish(rig);
		file_size_limit(RLIM_INFINITY);
		check_stop(rig, WH_WRITER_STOP_ERROR);
		wh_rig_read(rig);
		assert_int_equal(rig->found[0].frames, feed->counters.frames_written);
		assert_int_equal(rig->found[0].gaps, 0);
		assert_int_equal(feed->counters.frames_discarded, feed->frames - feed->counters.frames_written);
		wh_rig_drop(rig);
		*state = wh_rig_new();
	}
}

/* The limit of frames is reached, and then the disk refuses what was still on its way: that must be told. */
static void failing_write_behind_a_stop(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.stop_after_frames = 20;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	file_size_limit(2 * PAGE);
	wh_feed_push(feed, WH_TRANSCRIBE_IN_PLACE, 30, 1414, 0);
	wh_rig_finish(rig);
	file_size_limit(RLIM_INFINITY);
	assert_int_equal(feed->counters.frames_written, 0);
	assert_int_equal(feed->counters.frames_discarded, 20);
	assert_int_equal(rig->events[WH_WRITER_STOP_COUNT], 1);
	assert_int_equal(rig->events[WH_WRITER_STOP_ERROR], 1);
	wh_rig_read(rig);
	assert_int_equal(rig->found[0].frames, 0);
}

static void full_file_system(void **state)
{
	struct wh_rig *rig = *state;
	if (!wh_rig_mount(rig, 3 * MIB))
		skip();
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 100, 1414);
	wh_rig_finish(rig);
	check_stop(rig, WH_WRITER_STOP_ERROR);
	wh_rig_read(rig);
	assert_true(feed->counters.frames_discarded > 0);
	assert_true(rig->total_bytes > 2 * MIB);
	assert_int_equal(rig->found[0].frames, feed->counters.frames_written);
	assert_int_equal(rig->found[0].gaps, 0);
}

static double free_percent(const struct wh_rig *rig)
{
	struct statvfs found;
	assert_int_equal(statvfs(rig->directory, &found), 0);
	return (double)found.f_bavail * 100.0 / (double)found.f_blocks;
}

static void free_space_is_kept(void **state)
{
	struct wh_rig *rig = *state;
	if (!wh_rig_mount(rig, 24 * MIB))
		skip();
	rig->config.min_free_percent = 50;
	rig->config.limits.file_bytes = 2 * MIB;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	for (int i = 0; i < 400; i++) {
		push_dense(feed, 1, 1414);
		assert_true(free_percent(rig) >= 50.0);
	}
	wh_rig_finish(rig);
	check_stop(rig, WH_WRITER_STOP_SPACE);
	assert_non_null(strstr(rig->text[WH_WRITER_STOP_SPACE], rig->directory));
	wh_rig_read(rig);
	assert_true(rig->total_bytes > 9 * MIB);
	assert_int_equal(rig->found[0].frames, feed->counters.frames_written);
	assert_int_equal(rig->found[0].gaps, 0);
	assert_int_equal(rig->found[0].statistics.delivered, rig->found[0].frames);
}

static void no_room_to_begin_with(void **state)
{
	struct wh_rig *rig = *state;
	if (!wh_rig_mount(rig, 2 * MIB))
		skip();
	rig->config.min_free_percent = 99;
	struct wh_error error;
	assert_int_equal(wh_writer_open(&rig->config, &rig->writer, &error), WH_ERR_NO_SPACE);
	assert_non_null(strstr(error.text, rig->directory));
	wh_rig_read(rig);
	assert_int_equal(rig->file_count, 0);
}

/* Just as much as a first file needs, or a page less: whoever is refused is told why. */
static void room_that_is_just_enough(void **state)
{
	struct wh_rig *rig = *state;
	if (!wh_rig_mount(rig, 8 * MIB))
		skip();
	rig->config.min_free_percent = 10;
	char path[96];
	snprintf(path, sizeof(path), "%s/.other", rig->directory);
	int other = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(other >= 0);
	bool refused = false;
	for (off_t room = 240 * KIB; room > 100 * KIB; room -= PAGE) {
		struct wh_error error = { 0 };
		struct statvfs found;
		assert_int_equal(ftruncate(other, 0), 0);
		wh_rig_open(rig);
		assert_int_equal(statvfs(rig->directory, &found), 0);
		off_t limit = (off_t)(found.f_blocks * PAGE / 10) + MIB;
		assert_int_equal(posix_fallocate(other, 0, (off_t)found.f_bavail * PAGE - limit - room), 0);
		if (wh_writer_start(rig->writer, &error) != WH_OK) {
			refused = true;
			assert_int_equal(error.status, WH_ERR_NO_SPACE);
			assert_non_null(strstr(error.text, rig->directory));
		}
		wh_writer_finish(rig->writer);
		wh_writer_close(rig->writer);
		rig->writer = NULL;
	}
	assert_true(refused);
	close(other);
}

/* Someone else takes the room: the limit is met without our doing. */
static void space_taken_by_others(void **state)
{
	struct wh_rig *rig = *state;
	if (!wh_rig_mount(rig, 24 * MIB))
		skip();
	rig->config.min_free_percent = 20;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 3, 1414);
	char path[96];
	snprintf(path, sizeof(path), "%s/.other", rig->directory);
	int other = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(other >= 0);
	assert_int_equal(posix_fallocate(other, 0, 7 * MIB), 0);
	close(other);
	wh_writer_watch(rig->writer);
	struct wh_writer_totals totals;
	wh_writer_totals_read(rig->writer, &totals);
	assert_true(totals.free_percent < 60);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	check_whole(rig, feed);
}

static void oldest_files_make_room(void **state)
{
	struct wh_rig *rig = *state;
	if (!wh_rig_mount(rig, 24 * MIB))
		skip();
	rig->config.min_free_percent = 50;
	rig->config.recycle = true;
	rig->config.limits.file_bytes = 2 * MIB;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	for (int i = 0; i < 600; i++) {
		push_dense(feed, 1, 1414);
		assert_true(free_percent(rig) >= 50.0);
	}
	wh_rig_finish(rig);
	check_stop(rig, WH_WRITER_FILE_CLOSED); /* none */
	assert_int_equal(feed->counters.frames_written, feed->frames);
	wh_rig_read(rig);
	assert_int_equal(rig->found[0].last, feed->frames);
	assert_int_equal(rig->found[0].gaps, 0);
	assert_true(rig->found[0].first > 1);
	/* Not more than had to go. */
	assert_true(rig->total_bytes > 6 * MIB);
}

/* ---- promptness ---- */

/* How many frames the first file has on the disk, if it is whole just now: a frame and the head that tells of it are
 * two writes. */
static size_t frames_so_far(struct wh_rig *rig)
{
	struct wh_writer_totals totals;
	wh_writer_totals_read(rig->writer, &totals);
	uint8_t *bytes = test_malloc(MIB);
	int fd = open(totals.current_file, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t length = read(fd, bytes, MIB);
	assert_true(length >= 0);
	close(fd);
	struct wh_test_walk walk = { 0 };
	size_t count = wh_test_walk_file(&walk, bytes, (size_t)length) ? walk.frame_count : 0;
	wh_test_walk_free(&walk);
	test_free(bytes);
	return count;
}

/* A frame of an idle link is in the file in time, without anything that follows it. */
static void quiet_frames_come_through(void **state)
{
	struct wh_rig *rig = *state;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	int watch = inotify_init1(IN_CLOEXEC);
	assert_true(watch >= 0);
	assert_true(inotify_add_watch(watch, rig->directory, IN_MODIFY) >= 0);
	for (size_t i = 1; i <= 2; i++) {
		uint64_t before = wh_ns_monotonic();
		wh_feed_push(feed, WH_TRANSCRIBE_RUN, 1, 60, 0);
		struct pollfd event = { .fd = watch, .events = POLLIN };
		while (frames_so_far(rig) < i) {
			char events[4096];
			assert_int_equal(poll(&event, 1, 30000), 1);
			assert_true(read(watch, events, sizeof(events)) > 0);
		}
		assert_true(wh_ns_monotonic() - before < 1500 * WH_NS_PER_MS);
	}
	close(watch);
	wh_rig_finish(rig);
	wh_rig_read(rig);
	check_whole(rig, feed);
}

/* ---- standard output ---- */

struct drain {
	int fd;
	uint8_t *bytes;
	size_t length, room;
};

static void *drain_main(void *argument)
{
	struct drain *drain = argument;
	ssize_t count;
	while (drain->length < drain->room &&
	       (count = read(drain->fd, drain->bytes + drain->length, drain->room - drain->length)) > 0)
		drain->length += (size_t)count;
	return NULL;
}

static void to_standard_output(struct wh_rig *rig, enum wh_writer_format format)
{
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	struct drain drain = { .fd = ends[0], .room = 16 * MIB, .bytes = test_malloc(16 * MIB) };
	pthread_t thread;
	rig->config.path = "-";
	rig->config.format = format;
	fflush(stdout);
	int saved = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_true(saved >= 0);
	assert_true(dup2(ends[1], STDOUT_FILENO) >= 0);
	close(ends[1]);
	pthread_create(&thread, NULL, drain_main, &drain);
	wh_rig_open(rig);
	struct wh_feed *feeds[2] = { wh_rig_feed(rig), wh_rig_feed(rig) };
	wh_rig_start(rig);
	for (uint32_t i = 0; i < 40; i++) {
		wh_feed_push(feeds[i % 2], WH_TRANSCRIBE_IN_PLACE, 30, 1414, 0);
		wh_feed_push(feeds[i % 2], WH_TRANSCRIBE_RUN, 3, 70, format == WH_WRITE_PCAPNG);
	}
	wh_rig_finish(rig);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	pthread_join(thread, NULL);
	close(ends[0]);
	if (format == WH_WRITE_PCAPNG) {
		wh_rig_read_bytes(rig, drain.bytes, drain.length, "standard output");
		check_whole(rig, feeds[0]);
		check_whole(rig, feeds[1]);
	} else {
		/* Classic pcap does not say which interface a frame is of. */
		struct wh_test_walk walk = { 0 };
		assert_true(wh_test_walk_pcap(&walk, drain.bytes, drain.length));
		assert_int_equal(walk.frame_count, feeds[0]->frames + feeds[1]->frames);
		assert_int_equal(feeds[0]->counters.frames_written, feeds[0]->frames);
		wh_test_walk_free(&walk);
	}
	test_free(drain.bytes);
}

static void pcapng_to_standard_output(void **state)
{
	to_standard_output(*state, WH_WRITE_PCAPNG);
}

static void pcap_to_standard_output(void **state)
{
	to_standard_output(*state, WH_WRITE_PCAP);
}

/* ---- what is refused ---- */

static void refuse(struct wh_rig *rig, const char *path, enum wh_status expected)
{
	struct wh_error error = { 0 };
	rig->config.path = path;
	assert_int_equal(wh_writer_open(&rig->config, &rig->writer, &error), expected);
	rig->writer = NULL;
	assert_true(error.text[0] != '\0');
	assert_null(strchr(error.text, '\n'));
}

static void bad_paths_are_refused(void **state)
{
	struct wh_rig *rig = *state;
	char path[160];
	snprintf(path, sizeof(path), "%s/none/t.pcapng", rig->directory);
	refuse(rig, path, WH_ERR_INPUT);
	snprintf(path, sizeof(path), "%s/", rig->directory);
	refuse(rig, path, WH_ERR_INPUT);
	refuse(rig, "/dev/null/t.pcapng", WH_ERR_SYSTEM);
	wh_rig_read(rig);
	assert_int_equal(rig->file_count, 0);
}

static void one_link_type_for_pcap(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.format = WH_WRITE_PCAP;
	wh_rig_open(rig);
	wh_rig_feed(rig);
	struct wh_writer_source other = {
		.source = 1, .new_interface = true, .link_type = 113, .interface_name = "cooked0"
	};
	struct wh_error error;
	assert_int_equal(wh_writer_attach(rig->writer, &other, &error), WH_ERR_INPUT);
	assert_non_null(strstr(error.text, "cooked0"));
	assert_non_null(strstr(error.text, "--per-interface"));
	wh_rig_start(rig);
	wh_rig_finish(rig);
}

/* ---- simulations ---- */

static uint32_t files_in(const struct wh_rig *rig)
{
	DIR *directory = opendir(rig->directory);
	struct dirent *entry;
	uint32_t count = 0;
	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

/* Rotation, retention, counters: all as ever, and no file in the place that the path names, or anywhere. */
static void discard(struct wh_rig *rig, const char *path, enum wh_writer_format format)
{
	rig->config.path = path;
	rig->config.format = format;
	rig->config.discard = true;
	rig->config.min_free_percent = 99.9;
	rig->config.limits.file_bytes = 200000;
	rig->config.keep_files = 3;
	struct wh_error error = { 0 };
	assert_int_equal(wh_writer_check(&rig->config, &error), WH_OK);
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	for (uint32_t i = 0; i < 40; i++) {
		wh_feed_push(feed, WH_TRANSCRIBE_IN_PLACE, wh_feed_fill(rig, 1414), 1414, i % 5);
		wh_feed_push(feed, WH_TRANSCRIBE_RUN, 3, 100, 0);
	}
	wh_writer_rotate(rig->writer);
	wh_writer_watch(rig->writer);
	wh_feed_end(feed, 7);
	wh_writer_finish(rig->writer);
	struct wh_writer_totals totals;
	wh_writer_totals_read(rig->writer, &totals);
	assert_string_equal(totals.current_file, "");
	assert_true(totals.free_percent < 0);
	assert_true(totals.files > 10);
	assert_true(totals.bytes_on_disk > feed->bytes);
	wh_rig_finish(rig);
	assert_int_equal(feed->counters.frames_written, feed->frames);
	assert_int_equal(feed->counters.bytes_captured, feed->bytes);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_STOP_ERROR), 0);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_STOP_SPACE), 0);
	assert_int_equal(files_in(rig), 0);
}

static void nothing_is_written(void **state)
{
	struct wh_rig *rig = *state;
	discard(rig, rig->path, WH_WRITE_PCAPNG);
}

static void nothing_is_written_as_pcap(void **state)
{
	struct wh_rig *rig = *state;
	discard(rig, rig->path, WH_WRITE_PCAP_NS);
}

static void nothing_is_written_where_nothing_is(void **state)
{
	discard(*state, "/nonexistent/t.pcapng", WH_WRITE_PCAPNG);
}

/* A limit of the chain holds of files that are not there. */
static void discarded_files_are_counted(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.discard = true;
	rig->config.limits.file_bytes = 200000;
	rig->config.limits.total_files = 5;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 60, 1414);
	wh_rig_await(rig, WH_WRITER_STOP_FILES, 1);
	wh_rig_finish(rig);
	assert_true(feed->counters.frames_written > 0 && feed->counters.frames_surplus > 0);
	assert_int_equal(files_in(rig), 0);
}

/* They are there while they are written, and none is at the end; what is another's stays. */
static void transient_files_are_removed(void **state)
{
	struct wh_rig *rig = *state;
	char stranger[96];
	snprintf(stranger, sizeof(stranger), "%s/t_00001_stranger.pcapng", rig->directory);
	int fd = open(stranger, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	rig->config.transient = true;
	rig->config.limits.file_bytes = 200000;
	rig->config.keep_files = 4;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 60, 1414);
	wh_feed_end(feed, 0);
	wh_feed_await_end(feed);
	assert_true(files_in(rig) > 1);
	wh_rig_finish(rig);
	assert_int_equal(feed->counters.frames_written, feed->frames);
	assert_true(wh_rig_events(rig, WH_WRITER_FILE_CLOSED) > 10);
	assert_int_equal(files_in(rig), 1);
	assert_int_equal(access(stranger, F_OK), 0);
}

/* Without a limit on their number all of them are known at the end, and an error changes nothing about it. */
static void transient_files_are_removed_after_an_error(void **state)
{
	struct wh_rig *rig = *state;
	rig->config.transient = true;
	rig->config.limits.file_bytes = 200000;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	push_dense(feed, 20, 1414);
	wh_rig_await(rig, WH_WRITER_FILE_CLOSED, 3);
	file_size_limit(100000);
	push_dense(feed, 20, 1414);
	wh_rig_await(rig, WH_WRITER_STOP_ERROR, 1);
	wh_rig_finish(rig);
	assert_true(feed->counters.frames_discarded > 0);
	assert_int_equal(files_in(rig), 0);
}

/* Puts a directory in the place of the file that was closed last, which no unlink() removes, whoever is asking. */
static void closed_file_replace(struct wh_rig *rig, char path[192])
{
	pthread_mutex_lock(&rig->lock);
	snprintf(path, 192, "%.191s", rig->text[WH_WRITER_FILE_CLOSED]);
	pthread_mutex_unlock(&rig->lock);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
}

/* They outlive what is measured, and go when they are told to. What cannot go is told of, once, and counted. */
static void transient_files_that_cannot_be_removed(void **state)
{
	struct wh_rig *rig = *state;
	char first[192], second[192];
	struct wh_writer_totals totals;
	rig->config.transient = true;
	wh_rig_open(rig);
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	wh_writer_rotate(rig->writer);
	wh_rig_await(rig, WH_WRITER_FILE_CLOSED, 1);
	closed_file_replace(rig, first);
	wh_writer_rotate(rig->writer);
	wh_rig_await(rig, WH_WRITER_FILE_CLOSED, 2);
	closed_file_replace(rig, second);
	wh_feed_end(feed, 0);
	wh_writer_finish(rig->writer);
	assert_int_equal(files_in(rig), 3);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_STOP_ERROR), 0);
	wh_writer_clean_up(rig->writer);
	assert_int_equal(files_in(rig), 2);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_STOP_ERROR), 1);
	assert_non_null(strstr(rig->text[WH_WRITER_STOP_ERROR], first));
	assert_non_null(strstr(rig->text[WH_WRITER_STOP_ERROR], strerror(EISDIR)));
	wh_writer_totals_read(rig->writer, &totals);
	assert_int_equal(totals.files_left, 2);
	assert_int_equal(totals.files_deleted, 1);
	wh_rig_finish(rig);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_STOP_ERROR), 1);
	assert_int_equal(rmdir(first), 0);
	assert_int_equal(rmdir(second), 0);
}

/* The oldest file has to go while the chain goes on, and does not. */
static void oldest_file_stays(struct wh_rig *rig, bool transient)
{
	char path[192];
	struct wh_writer_totals totals;
	rig->config.transient = transient;
	rig->config.keep_files = 2;
	wh_rig_open(rig);
	wh_rig_feed(rig);
	wh_rig_start(rig);
	wh_writer_rotate(rig->writer);
	wh_rig_await(rig, WH_WRITER_FILE_CLOSED, 1);
	closed_file_replace(rig, path);
	wh_writer_rotate(rig->writer);
	wh_rig_await(rig, WH_WRITER_FILE_CLOSED, 2);
	wh_rig_await(rig, transient ? WH_WRITER_STOP_ERROR : WH_WRITER_FILE_LEFT, 1);
	for (uint32_t i = 0; i < rig->feed_count; i++)
		wh_feed_end(rig->feeds[i], 0);
	wh_writer_finish(rig->writer);
	wh_writer_totals_read(rig->writer, &totals);
	assert_int_equal(totals.files_left, 1);
	wh_rig_finish(rig);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_STOP_ERROR), transient ? 1 : 0);
	assert_int_equal(files_in(rig), transient ? 1 : 3);
	assert_int_equal(rmdir(path), 0);
}

static void oldest_transient_file_stays(void **state)
{
	oldest_file_stays(*state, true);
}

/* A capture is not ended by a file that does not go, but it is told of. */
static void oldest_ordinary_file_stays(void **state)
{
	oldest_file_stays(*state, false);
}

/* Whoever has taken a file away has done the chain's work. */
static void transient_file_that_is_gone(void **state)
{
	struct wh_rig *rig = *state;
	char path[192];
	rig->config.transient = true;
	wh_rig_open(rig);
	wh_rig_feed(rig);
	wh_rig_start(rig);
	wh_writer_rotate(rig->writer);
	wh_rig_await(rig, WH_WRITER_FILE_CLOSED, 1);
	closed_file_replace(rig, path);
	assert_int_equal(rmdir(path), 0);
	wh_rig_finish(rig);
	assert_int_equal(wh_rig_events(rig, WH_WRITER_STOP_ERROR), 0);
	assert_int_equal(files_in(rig), 0);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_make, rig_drop)

int main(void)
{
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		WITH_RIG(nothing_at_all),
		WITH_RIG(dense_rotation_by_size),
		WITH_RIG(mixed_traffic),
		WITH_RIG(classic_pcap_in_us),
		WITH_RIG(classic_pcap_in_ns),
		WITH_RIG(pcap_that_fills_its_buffer),
		WITH_RIG(file_when_asked_for),
		WITH_RIG(files_by_the_clock),
		WITH_RIG(newest_files_are_kept),
		WITH_RIG(count_limit_is_exact),
		WITH_RIG(file_limit),
		WITH_RIG(file_limit_holds_when_a_file_is_asked_for),
		WITH_RIG(byte_limit),
		WITH_RIG(late_interfaces_keep_the_size_limit),
		WITH_RIG(loss_behind_the_last_frame_in_place),
		WITH_RIG(loss_behind_the_last_frame_of_a_run),
		WITH_RIG(loss_on_both_sides_of_a_frame),
		WITH_RIG(sources_come_and_go),
		WITH_RIG(failing_write),
		WITH_RIG(failing_write_once),
		WITH_RIG(failing_pcap_write),
		WITH_RIG(failing_write_behind_a_stop),
		WITH_RIG(full_file_system),
		WITH_RIG(free_space_is_kept),
		WITH_RIG(no_room_to_begin_with),
		WITH_RIG(room_that_is_just_enough),
		WITH_RIG(space_taken_by_others),
		WITH_RIG(oldest_files_make_room),
		WITH_RIG(quiet_frames_come_through),
		WITH_RIG(pcapng_to_standard_output),
		WITH_RIG(pcap_to_standard_output),
		WITH_RIG(nothing_is_written),
		WITH_RIG(nothing_is_written_as_pcap),
		WITH_RIG(nothing_is_written_where_nothing_is),
		WITH_RIG(discarded_files_are_counted),
		WITH_RIG(transient_files_are_removed),
		WITH_RIG(transient_files_are_removed_after_an_error),
		WITH_RIG(transient_files_that_cannot_be_removed),
		WITH_RIG(oldest_transient_file_stays),
		WITH_RIG(oldest_ordinary_file_stays),
		WITH_RIG(transient_file_that_is_gone),
		WITH_RIG(bad_paths_are_refused),
		WITH_RIG(one_link_type_for_pcap),
	};
	return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
