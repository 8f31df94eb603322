/* SPDX-License-Identifier: BSD-3-Clause */
/* A capture whose threads get no memory from malloc(): it ends when it should, and says how. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wirehaul.h"

enum { PATIENCE_MS = 60000, FRAMES = 800, FRAME_BYTES = 60 };

/* ---- malloc() of everything in this program (the linker's --wrap) ---- */

static _Atomic bool refusing;
static _Atomic unsigned refused;
static pthread_t tester;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);

void *__wrap_malloc(size_t bytes)
{
	if (!atomic_load(&refusing) || pthread_equal(pthread_self(), tester))
		return __real_malloc(bytes);
	atomic_fetch_add(&refused, 1);
	return NULL;
}

/* ---- a capture from a pipe ---- */

struct fixture {
	char directory[64];
	char pipe[80];
	int pipe_fd;
	struct wh_config config;
	struct wh_capture *capture;
	_Atomic bool told; /* of something for which there was no memory */
};

static void told(void *context, int severity, const char *line)
{
	struct fixture *fixture = context;
	(void)severity;
	if (strstr(line, "no memory") != NULL)
		atomic_store(&fixture->told, true);
}

static int fixture_make(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	const char *parent = getenv("TMPDIR");
	assert_non_null(fixture);
	snprintf(fixture->directory, sizeof(fixture->directory), "%.40s/wh-untold-XXXXXX",
		 parent != NULL ? parent : "/tmp");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->pipe, sizeof(fixture->pipe), "%s/pipe", fixture->directory);
	assert_int_equal(mkfifo(fixture->pipe, 0600), 0);
	fixture->pipe_fd = open(fixture->pipe, O_RDWR | O_CLOEXEC);
	assert_true(fixture->pipe_fd >= 0);
	wh_config_init(&fixture->config);
	fixture->config.replay_file = fixture->pipe;
	fixture->config.simulate = WH_SIMULATE_NO_DISK;
	fixture->config.ring_bytes = 1 << 20;
	fixture->config.block_bytes = 4096;
	fixture->config.report = told;
	fixture->config.report_context = fixture;
	tester = pthread_self();
	atomic_store(&refused, 0);
	*state = fixture;
	return 0;
}

static int fixture_drop(void **state)
{
	struct fixture *fixture = *state;
	atomic_store(&refusing, false);
	wh_capture_close(fixture->capture);
	if (fixture->pipe_fd >= 0)
		close(fixture->pipe_fd);
	unlink(fixture->pipe);
	rmdir(fixture->directory);
	free(fixture);
	return 0;
}

static void say(const struct fixture *fixture, const void *bytes, size_t length)
{
	assert_int_equal(write(fixture->pipe_fd, bytes, length), length);
}

/* Starts it and lets the frames come; from here on its threads get no memory. */
static void capture_start(struct fixture *fixture)
{
	static const uint32_t head[] = { 0xA1B2C3D4, 2 | 4 << 16, 0, 0, 65535, 1 };
	static const uint32_t record[4 + FRAME_BYTES / 4] = { 1700000000, 0, FRAME_BYTES, FRAME_BYTES };
	struct wh_message message = { "" };
	say(fixture, head, sizeof(head));
	if (wh_capture_open(&fixture->config, &fixture->capture, &message) != WH_RESULT_OK)
		fail_msg("%s", message.text);
	atomic_store(&refusing, true);
	assert_int_equal(wh_capture_start(fixture->capture, &message), WH_RESULT_OK);
	for (int i = 0; i < FRAMES; i++)
		say(fixture, record, sizeof(record));
}

/* Waits for the end and compares how it is told. */
static void check_end(struct fixture *fixture, enum wh_stop_reason reason, uint64_t written)
{
	struct pollfd ready = { .fd = wh_capture_fd(fixture->capture), .events = POLLIN };
	assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
	atomic_store(&refusing, false);
	struct wh_message message = { "" };
	struct wh_statistics sum;
	assert_int_equal(wh_capture_wait(fixture->capture, &message), WH_RESULT_OK);
	wh_capture_statistics(fixture->capture, &sum);
	assert_int_equal(sum.stop_reason, reason);
	assert_int_equal(sum.frames_written, written);
	assert_int_equal(sum.frames_received, sum.frames_written + sum.frames_dropped);
	assert_int_not_equal(atomic_load(&refused), 0);
}

static void the_end_of_the_input(void **state)
{
	struct fixture *fixture = *state;
	capture_start(fixture);
	close(fixture->pipe_fd);
	fixture->pipe_fd = -1;
	check_end(fixture, WH_STOP_END_OF_INPUT, FRAMES);
	assert_false(atomic_load(&fixture->told));
}

static void a_count_of_frames(void **state)
{
	struct fixture *fixture = *state;
	fixture->config.stop_after_frames = FRAMES / 2;
	capture_start(fixture);
	check_end(fixture, WH_STOP_COUNT, FRAMES / 2);
	assert_false(atomic_load(&fixture->told));
}

/* What cannot be made up for is told of. */
static void a_command_that_is_not_run(void **state)
{
	struct fixture *fixture = *state;
	fixture->config.simulate = WH_SIMULATE_NOTHING;
	char output[96];
	snprintf(output, sizeof(output), "%s/t.pcap", fixture->directory);
	fixture->config.output = output;
	fixture->config.hook_command = "true";
	fixture->config.min_free_percent = 0;
	capture_start(fixture);
	close(fixture->pipe_fd);
	fixture->pipe_fd = -1;
	check_end(fixture, WH_STOP_END_OF_INPUT, FRAMES);
	assert_true(atomic_load(&fixture->told));
	struct wh_statistics sum;
	wh_capture_statistics(fixture->capture, &sum);
	assert_int_equal(unlink(sum.current_file), 0);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_make, fixture_drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(the_end_of_the_input),
		WITH_FIXTURE(a_count_of_frames),
		WITH_FIXTURE(a_command_that_is_not_run),
	};
	return cmocka_run_group_tests_name("untold", tests, NULL, NULL);
}
