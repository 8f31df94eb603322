/* SPDX-License-Identifier: BSD-3-Clause */
/* What is said of frames that are missing: what the statistics hint at, and never a part that was not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "summary.h"

/* A thousand frames, some of them dropped, with writes that took as long as that. */
static struct wh_statistics dropped(enum wh_simulation simulate, uint64_t frames, uint64_t latency_us)
{
	return (struct wh_statistics){
		.frames_received = 1000,
		.frames_written = 1000 - frames,
		.frames_dropped = frames,
		.write_latency_max_us = latency_us,
		.simulate = simulate,
		.stop_reason = WH_STOP_SIGNAL,
	};
}

static void check_said(const struct wh_statistics *statistics, const char *part)
{
	struct wh_message message;
	assert_true(summary_explain_drops(statistics, &message));
	if (strstr(message.text, part) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", message.text, part);
	assert_null(strchr(message.text, '\n'));
}

static void nothing_is_missing(void **state)
{
	(void)state;
	struct wh_message message = { "as it was" };
	struct wh_statistics statistics = dropped(WH_SIMULATE_NOTHING, 0, 1000000);
	assert_false(summary_explain_drops(&statistics, &message));
	assert_string_equal(message.text, "as it was");
}

static void causes_are_told_apart(void **state)
{
	(void)state;
	struct wh_statistics statistics = dropped(WH_SIMULATE_NOTHING, 10, 1000000);
	check_said(&statistics, "10 frames (1.00 %) are NOT in the files; the disk was too slow");
	statistics.write_latency_max_us = 1000;
	check_said(&statistics, "the ring was full");
	statistics.stop_reason = WH_STOP_ERROR;
	check_said(&statistics, "the error that ended the capture");
	statistics.stop_reason = WH_STOP_LOW_SPACE;
	check_said(&statistics, "free-space limit");
	statistics = dropped(WH_SIMULATE_NOTHING, 0, 1000000);
	statistics.frames_dropped_nic = 10;
	check_said(&statistics, "ethtool -G");
}

/* However long a thread took to look at writes that were never made, no disk was too slow. */
static void no_disk_is_blamed_that_is_not_there(void **state)
{
	(void)state;
	static const uint64_t latencies_us[] = { 0, 1000, 1000000, UINT64_MAX };
	static const char *const advised[] = {
		"would NOT be in the files", "no disk to wait for", "--cpus", "-B", "--fanout", "a filter"
	};
	for (size_t i = 0; i < sizeof(latencies_us) / sizeof(latencies_us[0]); i++) {
		struct wh_statistics statistics = dropped(WH_SIMULATE_NO_DISK, 10, latencies_us[i]);
		for (size_t j = 0; j < sizeof(advised) / sizeof(advised[0]); j++)
			check_said(&statistics, advised[j]);
	}
	struct wh_statistics statistics = dropped(WH_SIMULATE_NO_DISK, 0, 1000000);
	statistics.frames_dropped_nic = 10;
	check_said(&statistics, "ethtool -G");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_missing),
		cmocka_unit_test(causes_are_told_apart),
		cmocka_unit_test(no_disk_is_blamed_that_is_not_there),
	};
	return cmocka_run_group_tests_name("summary", tests, NULL, NULL);
}
