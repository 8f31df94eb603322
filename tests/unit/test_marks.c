/* SPDX-License-Identifier: BSD-3-Clause */
/* The file of marks and its thread; and how many marks may wait for their place in a capture file. A disk that hangs is
 * in tests/integration/test_control.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/marks_file.h"
#include "feed.h"

enum { PATIENCE_MS = 20000, PATH_BYTES = 100 };

struct fixture {
	char directory[64];
	char output[PATH_BYTES];
	char marks[PATH_BYTES];
	struct wh_marks_file *file;
	sem_t failed; /* posted for each line that could not be written while nobody waited for it */
	sem_t go_on;  /* waited for there */
};

static void line_failed(void *context, const struct wh_error *error)
{
	struct fixture *fixture = context;
	assert_non_null(strstr(error->text, "_marks.txt"));
	sem_post(&fixture->failed);
	sem_wait(&fixture->go_on);
}

static int fixture_make(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct wh_error error;
	assert_non_null(fixture);
	const char *parent = getenv("TMPDIR");
	snprintf(fixture->directory, sizeof(fixture->directory), "%.30s/wh-marks-XXXXXX",
		 parent != NULL && strlen(parent) <= 30 ? parent : "/tmp");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->output, sizeof(fixture->output), "%s/trace.pcapng", fixture->directory);
	snprintf(fixture->marks, sizeof(fixture->marks), "%s/trace_marks.txt", fixture->directory);
	sem_init(&fixture->failed, 0, 0);
	sem_init(&fixture->go_on, 0, 0);
	const struct wh_marks_file_config config = { .output = fixture->output,
						     .failed = line_failed,
						     .context = fixture };
	assert_int_equal(wh_marks_file_open(&config, &fixture->file, &error), WH_OK);
	*state = fixture;
	return 0;
}

static int fixture_drop(void **state)
{
	struct fixture *fixture = *state;
	wh_marks_file_close(fixture->file);
	sem_destroy(&fixture->failed);
	sem_destroy(&fixture->go_on);
	unlink(fixture->marks);
	rmdir(fixture->directory);
	free(fixture);
	return 0;
}

static char *content(const struct fixture *fixture)
{
	static char text[1 << 20];
	FILE *file = fopen(fixture->marks, "r");
	if (file == NULL)
		return NULL;
	size_t used = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[used] = '\0';
	return text;
}

static enum wh_marks_outcome put(const struct fixture *fixture, uint64_t ns, const char *text, struct wh_error *error)
{
	struct wh_marks_line *line = NULL;
	assert_int_equal(wh_marks_file_add(fixture->file, ns, text, &line, error), WH_OK);
	return wh_marks_file_wait(fixture->file, line, PATIENCE_MS, error);
}

static void lines_are_written(void **state)
{
	const struct fixture *fixture = *state;
	struct wh_error error = { 0 };
	struct stat found;
	assert_null(content(fixture));
	assert_int_equal(put(fixture, 1700000000000000007, "gr\303\274n", &error), WH_MARKS_WRITTEN);
	assert_string_equal(content(fixture), "2023-11-14T22:13:20.000000007Z gr\303\274n\n");
	assert_int_equal(stat(fixture->marks, &found), 0);
	assert_int_equal(found.st_mode & 0777 & ~0600U, 0);
	/* What waits at the end is written, whether somebody waits for it or not. */
	assert_int_equal(wh_marks_file_add(fixture->file, 1700000001000000000, "two", NULL, &error), WH_OK);
	struct wh_marks_line *line = NULL;
	assert_int_equal(wh_marks_file_add(fixture->file, 1700000002000000000, "three", &line, &error), WH_OK);
	wh_marks_file_finish(fixture->file);
	assert_int_equal(wh_marks_file_wait(fixture->file, line, 0, &error), WH_MARKS_WRITTEN);
	assert_string_equal(content(fixture), "2023-11-14T22:13:20.000000007Z gr\303\274n\n"
					      "2023-11-14T22:13:21.000000000Z two\n"
					      "2023-11-14T22:13:22.000000000Z three\n");
}

static void failures_are_told(void **state)
{
	struct fixture *fixture = *state;
	struct wh_error error = { 0 };
	assert_int_equal(symlink("/dev/null", fixture->marks), 0);
	assert_int_equal(put(fixture, 1, "through a link", &error), WH_MARKS_FAILED);
	assert_non_null(strstr(error.text, "trace_marks.txt: "));
	assert_int_equal(wh_marks_file_add(fixture->file, 1, "nobody waits", NULL, &error), WH_OK);
	sem_wait(&fixture->failed);
	sem_post(&fixture->go_on);
	assert_int_equal(unlink(fixture->marks), 0);
	assert_int_equal(put(fixture, 1, "mended", &error), WH_MARKS_WRITTEN);
	assert_string_equal(content(fixture), "1970-01-01T00:00:00.000000001Z mended\n");
}

/* A full disk leaves no half of a line. */
static void half_a_line_is_taken_back(void **state)
{
	struct wh_rig *rig = *state;
	struct wh_error error = { 0 };
	char output[PATH_BYTES * 2];
	char path[PATH_BYTES * 2];
	static char fill[1 << 20];
	char text[900];
	struct stat before;
	struct stat after;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	if (!wh_rig_mount(rig, 64 << 10))
		skip();
	snprintf(output, sizeof(output), "%s/trace.pcapng", rig->directory);
	struct fixture fixture = { .file = NULL };
	snprintf(fixture.marks, sizeof(fixture.marks), "%.80s/trace_marks.txt", rig->directory);
	const struct wh_marks_file_config config = { .output = output, .failed = line_failed };
	assert_int_equal(wh_marks_file_open(&config, &fixture.file, &error), WH_OK);
	for (int i = 0; i < 4; i++)
		assert_int_equal(put(&fixture, 1, text, &error), WH_MARKS_WRITTEN);
	assert_int_equal(stat(fixture.marks, &before), 0);
	/* Of its last page there is room for a part of the next line; all others are taken. */
	snprintf(path, sizeof(path), "%s/fill", rig->directory);
	FILE *other = fopen(path, "w");
	assert_non_null(other);
	setbuf(other, NULL);
	fwrite(fill, 1, sizeof(fill), other);
	fclose(other);
	assert_int_equal(put(&fixture, 1, text, &error), WH_MARKS_FAILED);
	assert_non_null(strstr(error.text, "No space left"));
	assert_int_equal(stat(fixture.marks, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	wh_marks_file_close(fixture.file);
	unlink(path);
	unlink(fixture.marks);
}

/* While the thread is held up, nobody waits for longer than he wants, and not without end does anything pile up. */
static void a_thread_that_hangs(void **state)
{
	struct fixture *fixture = *state;
	struct wh_error error = { 0 };
	assert_int_equal(symlink("/dev/null", fixture->marks), 0);
	assert_int_equal(wh_marks_file_add(fixture->file, 1, "holds it up", NULL, &error), WH_OK);
	sem_wait(&fixture->failed);
	struct wh_marks_line *line = NULL;
	assert_int_equal(wh_marks_file_add(fixture->file, 1, "waits", &line, &error), WH_OK);
	assert_int_equal(wh_marks_file_wait(fixture->file, line, 10, &error), WH_MARKS_WAITS);
	for (int i = 1; i < WH_MARKS_WAITING_MOST; i++)
		assert_int_equal(wh_marks_file_add(fixture->file, 1, "piles up", NULL, &error), WH_OK);
	assert_int_equal(wh_marks_file_add(fixture->file, 1, "one too many", &line, &error), WH_ERR_SYSTEM);
	assert_non_null(strstr(error.text, "1000 marks wait"));
	assert_int_equal(unlink(fixture->marks), 0);
	sem_post(&fixture->go_on);
	wh_marks_file_finish(fixture->file);
	const char *text = content(fixture);
	size_t lines = 0;
	for (const char *at = text; *at != '\0'; at++)
		lines += *at == '\n';
	assert_int_equal(lines, WH_MARKS_WAITING_MOST);
	assert_null(strstr(text, "too many"));
}

static int rig_make(void **state)
{
	*state = wh_rig_new();
	return *state == NULL;
}

static int rig_drop(void **state)
{
	wh_rig_drop(*state);
	return 0;
}

/* The writer takes no more than it can put into a file, and all of those in the end. */
static void a_writer_that_hangs(void **state)
{
	struct wh_rig *rig = *state;
	struct wh_error error = { 0 };
	wh_rig_open(rig);
	for (int i = 0; i < WH_MARKS_MOST; i++)
		assert_int_equal(wh_writer_mark(rig->writer, 1, "before the start", &error), WH_OK);
	assert_int_equal(wh_writer_mark(rig->writer, 1, "one too many", &error), WH_ERR_SYSTEM);
	assert_non_null(strstr(error.text, "1000 marks wait"));
	struct wh_feed *feed = wh_rig_feed(rig);
	wh_rig_start(rig);
	wh_feed_push(feed, WH_TRANSCRIBE_RUN, 2, 100, 0);
	enum wh_status status = WH_ERR_SYSTEM;
	for (int i = 0; i < PATIENCE_MS && status != WH_OK; i++) {
		status = wh_writer_mark(rig->writer, 1, "there is room again", &error);
		poll(NULL, 0, 1);
	}
	assert_int_equal(status, WH_OK);
	wh_rig_finish(rig);
	wh_rig_read(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lines_are_written, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(failures_are_told, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(half_a_line_is_taken_back, rig_make, rig_drop),
		cmocka_unit_test_setup_teardown(a_thread_that_hangs, fixture_make, fixture_drop),
		cmocka_unit_test_setup_teardown(a_writer_that_hangs, rig_make, rig_drop),
	};
	return cmocka_run_group_tests_name("marks", tests, NULL, NULL);
}
