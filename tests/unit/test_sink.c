/* SPDX-License-Identifier: BSD-3-Clause */
/* The sinks against real files and pipes: order, short and failed writes, buffers, waking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ringbuf/chunk.h"
#include "ringbuf/clock.h"
#include "writer/sink.h"

enum { PAGE = 4096, WRITES_MOST = 64, DATA_BYTES = 4 * 1024 * 1024 };
#define PATIENCE_NS (20 * WH_NS_PER_SECOND)

struct fixture {
	struct wh_sink *sink;
	char path[64];
	int fd;           /* the file, to be read and written */
	int read_only_fd; /* the same file */
	uint8_t *data;    /* DATA_BYTES of a pattern, page-aligned */
	uint8_t *memory;  /* that the writes lie in: the data, or copies of its parts with gaps between them */
	size_t memory_bytes;
	struct wh_write writes[WRITES_MOST];
	struct wh_write *back[WRITES_MOST]; /* as they came back */
	uint32_t back_count;
	int buffer;          /* that the writes are said to lie in */
	struct rlimit limit; /* of file sizes, as it was */
};

typedef enum wh_status opener(struct wh_sink **sink, struct wh_error *error);

static int fixture_make(void **state, opener *sink_open)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct wh_error error;
	assert_non_null(fixture);
	if (sink_open(&fixture->sink, &error) != WH_OK) {
		print_message("%s\n", error.text);
		free(fixture);
		return -1;
	}
	const char *directory = getenv("TMPDIR");
	snprintf(fixture->path, sizeof(fixture->path), "%.40s/wh-sink-XXXXXX", directory != NULL ? directory : "/tmp");
	fixture->fd = mkostemp(fixture->path, O_CLOEXEC);
	assert_true(fixture->fd >= 0);
	fixture->read_only_fd = open(fixture->path, O_RDONLY | O_CLOEXEC);
	assert_true(fixture->read_only_fd >= 0);
	fixture->data = mmap(NULL, DATA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(fixture->data != MAP_FAILED);
	for (uint32_t i = 0; i < DATA_BYTES; i++)
		fixture->data[i] = (uint8_t)(i * 31 + i / 253);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &fixture->limit), 0);
	fixture->memory = fixture->data;
	fixture->memory_bytes = DATA_BYTES;
	fixture->buffer = WH_BUFFER_NONE;
	*state = fixture;
	return 0;
}

static int uring_make(void **state)
{
	return fixture_make(state, wh_sink_uring_open);
}

/* All from one registered buffer, so that neighbours are joined. */
static int uring_joined_make(void **state)
{
	if (fixture_make(state, wh_sink_uring_open) != 0)
		return -1;
	struct fixture *fixture = *state;
	fixture->buffer = 7;
	return fixture->sink->ops->register_buffer(fixture->sink, 7, fixture->data, DATA_BYTES) ? 0 : -1;
}

/* From one registered buffer, but no write follows another in it: joined where the kernel takes several pieces. */
static int uring_pieces_make(void **state)
{
	if (fixture_make(state, wh_sink_uring_open) != 0)
		return -1;
	struct fixture *fixture = *state;
	fixture->memory_bytes = (size_t)2 * DATA_BYTES;
	fixture->memory = mmap(NULL, fixture->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(fixture->memory != MAP_FAILED);
	fixture->buffer = 7;
	return fixture->sink->ops->register_buffer(fixture->sink, 7, fixture->memory, fixture->memory_bytes) ? 0 : -1;
}

static int portable_make(void **state)
{
	return fixture_make(state, wh_sink_portable_open);
}

static int discard_make(void **state)
{
	return fixture_make(state, wh_sink_discard_open);
}

static int fixture_drop(void **state)
{
	struct fixture *fixture = *state;
	setrlimit(RLIMIT_FSIZE, &fixture->limit);
	fixture->sink->ops->close(fixture->sink);
	close(fixture->fd);
	close(fixture->read_only_fd);
	unlink(fixture->path);
	if (fixture->memory != fixture->data)
		munmap(fixture->memory, fixture->memory_bytes);
	munmap(fixture->data, DATA_BYTES);
	free(fixture);
	return 0;
}

/* Queues write number INDEX of LENGTH bytes at AT, of the data and of the file alike. */
static void queue(struct fixture *fixture, uint32_t index, uint32_t at, uint32_t length)
{
	uint8_t *base = fixture->data + at;
	if (fixture->memory != fixture->data)
		base = memcpy(fixture->memory + (size_t)2 * at, base, length);
	fixture->writes[index] = (struct wh_write){
		.fd = fixture->fd, .base = base, .length = length, .offset = at, .buffer = fixture->buffer
	};
	fixture->sink->ops->queue(fixture->sink, &fixture->writes[index]);
}

static void reap_once(struct fixture *fixture, uint64_t wait_ns)
{
	struct wh_write *write = fixture->sink->ops->reap(fixture->sink, wait_ns);
	for (; write != NULL; write = write->next) {
		assert_true(fixture->back_count < WRITES_MOST);
		fixture->back[fixture->back_count++] = write;
	}
}

/* Waits until COUNT writes are back in all. */
static void reap_until(struct fixture *fixture, uint32_t count)
{
	uint64_t deadline = wh_ns_monotonic() + PATIENCE_NS;
	while (fixture->back_count < count) {
		assert_true(wh_ns_monotonic() < deadline);
		reap_once(fixture, WH_NS_PER_SECOND);
	}
	assert_int_equal(fixture->back_count, count);
}

/* All that came back from FIRST to the last is in the order of queueing. */
static void check_order(const struct fixture *fixture, uint32_t first)
{
	for (uint32_t i = first; i < fixture->back_count; i++)
		assert_ptr_equal(fixture->back[i], &fixture->writes[i]);
}

/* The file is LENGTH bytes long and has the data's. */
static void check_file(const struct fixture *fixture, uint64_t length)
{
	struct stat found;
	assert_int_equal(fstat(fixture->fd, &found), 0);
	assert_int_equal(found.st_size, length);
	uint8_t *bytes = test_malloc(length + 1);
	assert_int_equal(pread(fixture->read_only_fd, bytes, length, 0), length);
	assert_memory_equal(bytes, fixture->data, length);
	test_free(bytes);
}

static void file_size_limit(const struct fixture *fixture, uint64_t bytes)
{
	struct rlimit limit = fixture->limit;
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void nothing_to_do(void **state)
{
	struct fixture *fixture = *state;
	assert_null(fixture->sink->ops->reap(fixture->sink, 0));
	fixture->sink->ops->discard(fixture->sink);
	assert_null(fixture->sink->ops->reap(fixture->sink, 0));
	uint64_t before = wh_ns_monotonic();
	assert_null(fixture->sink->ops->reap(fixture->sink, 20 * WH_NS_PER_MS));
	assert_true(wh_ns_monotonic() - before >= 10 * WH_NS_PER_MS);
}

/* More at a time than one chain of submissions takes, of all lengths. */
static void many_writes_in_order(void **state)
{
	struct fixture *fixture = *state;
	uint32_t at = 0;
	for (uint32_t i = 0; i < WRITES_MOST; i++) {
		uint32_t length = 1 + i * 997 % 60000;
		queue(fixture, i, at, length);
		at += length;
		if (i % 24 == 23)
			reap_once(fixture, 0);
	}
	reap_until(fixture, WRITES_MOST);
	check_order(fixture, 0);
	for (uint32_t i = 0; i < WRITES_MOST; i++) {
		assert_int_equal(fixture->writes[i].os_error, 0);
		assert_int_equal(fixture->writes[i].done, fixture->writes[i].length);
	}
	check_file(fixture, at);
}

/* The same place again and again: what was queued last must be what is there, whatever order the disk prefers. */
static void later_writes_win(void **state)
{
	struct fixture *fixture = *state;
	for (uint32_t i = 0; i < WRITES_MOST; i++) {
		queue(fixture, i, i * PAGE, PAGE);
		fixture->writes[i].offset = 0;
	}
	reap_until(fixture, WRITES_MOST);
	uint8_t found[PAGE];
	assert_int_equal(pread(fixture->read_only_fd, found, PAGE, 0), PAGE);
	assert_memory_equal(found, fixture->data + (WRITES_MOST - 1) * PAGE, PAGE);
}

static void registered_buffers(void **state)
{
	struct fixture *fixture = *state;
	struct wh_sink *sink = fixture->sink;
	bool is_uring = strcmp(sink->ops->name, "io_uring") == 0;
	assert_false(sink->ops->register_buffer(sink, WH_SINK_BUFFER_SLOTS, fixture->memory, fixture->memory_bytes));
	assert_false(sink->ops->register_buffer(sink, -1, fixture->memory, fixture->memory_bytes));
	bool registered = sink->ops->register_buffer(sink, 5, fixture->memory, fixture->memory_bytes);
	assert_int_equal(registered, is_uring);
	int direct = open(fixture->path, O_WRONLY | O_DIRECT | O_CLOEXEC);
	for (uint32_t i = 0; i < 8; i++) {
		queue(fixture, i, i * 16 * PAGE, 16 * PAGE);
		fixture->writes[i].buffer = 5;
		if (direct >= 0)
			fixture->writes[i].fd = direct;
	}
	reap_until(fixture, 8);
	check_order(fixture, 0);
	check_file(fixture, 8 * 16 * PAGE);
	/* Taken back, the same writes go without. */
	assert_int_equal(sink->ops->register_buffer(sink, 5, NULL, 0), registered);
	assert_false(sink->ops->register_buffer(sink, 5, NULL, 0));
	for (uint32_t i = 8; i < 16; i++) {
		queue(fixture, i, i * 16 * PAGE, 16 * PAGE);
		fixture->writes[i].buffer = 5;
	}
	reap_until(fixture, 16);
	check_order(fixture, 0);
	for (uint32_t i = 0; i < 16; i++)
		assert_int_equal(fixture->writes[i].os_error, 0);
	check_file(fixture, 16 * 16 * PAGE);
	/* And the slot can be used again. */
	assert_int_equal(sink->ops->register_buffer(sink, 5, fixture->memory, PAGE), registered);
	if (direct >= 0)
		close(direct);
}

static void failure_halts_and_retry_goes_on(void **state)
{
	struct fixture *fixture = *state;
	for (uint32_t i = 0; i < 40; i++)
		queue(fixture, i, i * 5000, 5000);
	fixture->writes[20].fd = fixture->read_only_fd;
	reap_until(fixture, 21);
	check_order(fixture, 0);
	assert_int_equal(fixture->writes[20].os_error, EBADF);
	for (int i = 0; i < 5; i++)
		reap_once(fixture, WH_NS_PER_MS);
	assert_int_equal(fixture->back_count, 21); /* halted */
	check_file(fixture, 20 * 5000);
	fixture->back_count--;
	fixture->writes[20].fd = fixture->fd;
	fixture->sink->ops->retry(fixture->sink, &fixture->writes[20]);
	reap_until(fixture, 40);
	check_order(fixture, 0);
	for (uint32_t i = 0; i < 40; i++)
		assert_int_equal(fixture->writes[i].os_error, 0);
	check_file(fixture, 40 * 5000);
}

static void failure_and_discard(void **state)
{
	struct fixture *fixture = *state;
	for (uint32_t i = 0; i < 40; i++)
		queue(fixture, i, i * 5000, 5000);
	fixture->writes[3].fd = fixture->read_only_fd;
	reap_until(fixture, 4);
	assert_int_equal(fixture->writes[3].os_error, EBADF);
	fixture->sink->ops->discard(fixture->sink);
	reap_until(fixture, 40);
	check_order(fixture, 0);
	for (uint32_t i = 4; i < 40; i++)
		assert_int_equal(fixture->writes[i].os_error, ECANCELED);
	check_file(fixture, 3 * 5000);
	/* It goes on from there. */
	fixture->back_count = 0;
	for (uint32_t i = 0; i < 3; i++)
		queue(fixture, i, 15000 + i * 100, 100);
	reap_until(fixture, 3);
	check_order(fixture, 0);
	check_file(fixture, 15300);
}

/* The limit is met in the middle of a write: short, then refused; raised, the rest follows. */
static void short_write_is_carried_on(void **state)
{
	struct fixture *fixture = *state;
	for (uint32_t cut = 1; cut < 40000; cut += 3333) {
		assert_int_equal(ftruncate(fixture->fd, 0), 0);
		fixture->back_count = 0;
		for (uint32_t i = 0; i < 10; i++)
			queue(fixture, i, i * 40000, 40000);
		file_size_limit(fixture, 3 * 40000 + cut);
		reap_until(fixture, 4);
		assert_int_equal(fixture->writes[3].os_error, EFBIG);
		assert_int_equal(fixture->writes[3].done, cut);
		check_file(fixture, 3 * 40000 + cut);
		file_size_limit(fixture, fixture->limit.rlim_cur);
		fixture->back_count--;
		fixture->sink->ops->retry(fixture->sink, &fixture->writes[3]);
		reap_until(fixture, 10);
		check_order(fixture, 0);
		check_file(fixture, 10 * 40000);
	}
}

/* Once a write has failed and the rest was taken back, nothing of the rest may be written: it would leave a hole. Many
 * times, because with io_uring the failure and the cancelled rest need not come back together. */
static void no_hole_behind_a_failure(void **state)
{
	struct fixture *fixture = *state;
	for (int round = 0; round < 300; round++) {
		assert_int_equal(ftruncate(fixture->fd, 0), 0);
		fixture->back_count = 0;
		file_size_limit(fixture, 2 * PAGE);
		for (uint32_t i = 0; i < 12; i++)
			queue(fixture, i, i * PAGE, PAGE);
		while (fixture->back_count < 3)
			reap_once(fixture, WH_NS_PER_SECOND);
		assert_int_equal(fixture->writes[2].os_error, EFBIG);
		/* From here on there is room for all that must not be written. */
		file_size_limit(fixture, fixture->limit.rlim_cur);
		fixture->sink->ops->discard(fixture->sink);
		reap_until(fixture, 12);
		check_order(fixture, 0);
		for (uint32_t i = 3; i < 12; i++)
			assert_int_equal(fixture->writes[i].os_error, ECANCELED);
		check_file(fixture, 2 * PAGE);
	}
}

/* The same with a retry: what failed comes before the rest, on the disk as well. */
static void retry_comes_first(void **state)
{
	struct fixture *fixture = *state;
	for (int round = 0; round < 300; round++) {
		assert_int_equal(ftruncate(fixture->fd, 0), 0);
		fixture->back_count = 0;
		file_size_limit(fixture, 2 * PAGE);
		for (uint32_t i = 0; i < 12; i++)
			queue(fixture, i, i * PAGE, PAGE);
		while (fixture->back_count < 3)
			reap_once(fixture, WH_NS_PER_SECOND);
		file_size_limit(fixture, 6 * PAGE);
		fixture->back_count--;
		fixture->sink->ops->retry(fixture->sink, &fixture->writes[2]);
		reap_until(fixture, 7);
		check_order(fixture, 0);
		assert_int_equal(fixture->writes[2].os_error, 0);
		assert_int_equal(fixture->writes[6].os_error, EFBIG);
		check_file(fixture, 6 * PAGE);
		file_size_limit(fixture, fixture->limit.rlim_cur);
		fixture->sink->ops->discard(fixture->sink);
		reap_until(fixture, 12);
	}
}

static void full_device(void **state)
{
	struct fixture *fixture = *state;
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_true(full >= 0);
	for (uint32_t i = 0; i < 5; i++) {
		queue(fixture, i, i * PAGE, PAGE);
		fixture->writes[i].fd = full;
	}
	reap_until(fixture, 1);
	assert_int_equal(fixture->writes[0].os_error, ENOSPC);
	assert_int_equal(fixture->writes[0].done, 0);
	fixture->sink->ops->discard(fixture->sink);
	reap_until(fixture, 5);
	close(full);
}

/* Retried in vain, a write comes back again. */
static void retry_may_fail_too(void **state)
{
	struct fixture *fixture = *state;
	for (uint32_t i = 0; i < 3; i++)
		queue(fixture, i, i * PAGE, PAGE);
	fixture->writes[0].fd = fixture->read_only_fd;
	for (int i = 0; i < 3; i++) {
		fixture->back_count = 0;
		reap_until(fixture, 1);
		assert_ptr_equal(fixture->back[0], &fixture->writes[0]);
		assert_int_equal(fixture->writes[0].os_error, EBADF);
		if (i < 2)
			fixture->sink->ops->retry(fixture->sink, &fixture->writes[0]);
	}
	fixture->sink->ops->discard(fixture->sink);
	reap_until(fixture, 3);
	check_order(fixture, 0);
	check_file(fixture, 0);
}

/* ---- pipes ---- */

struct reader {
	int fd;
	uint8_t *bytes;
	size_t length;
};

static void *reader_main(void *argument)
{
	struct reader *reader = argument;
	ssize_t count;
	/* Odd pieces, so that what a writer gets rid of is never what it asked for. */
	while ((count = read(reader->fd, reader->bytes + reader->length, 1777)) > 0)
		reader->length += (size_t)count;
	return NULL;
}

static void through_a_pipe(struct fixture *fixture, int flags)
{
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, PAGE) >= 0);
	assert_int_equal(fcntl(ends[1], F_SETFL, flags), 0);
	struct reader reader = { .fd = ends[0], .bytes = test_malloc(DATA_BYTES) };
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, reader_main, &reader), 0);
	for (uint32_t i = 0; i < WRITES_MOST; i++) {
		queue(fixture, i, i * 30000, 30000);
		fixture->writes[i].fd = ends[1];
		fixture->writes[i].offset = WH_OFFSET_STREAM;
	}
	reap_until(fixture, WRITES_MOST);
	check_order(fixture, 0);
	for (uint32_t i = 0; i < WRITES_MOST; i++)
		assert_int_equal(fixture->writes[i].os_error, 0);
	close(ends[1]);
	pthread_join(thread, NULL);
	close(ends[0]);
	assert_int_equal(reader.length, WRITES_MOST * 30000);
	assert_memory_equal(reader.bytes, fixture->data, reader.length);
	test_free(reader.bytes);
}

static void narrow_pipe(void **state)
{
	through_a_pipe(*state, 0);
}

/* Whoever started us may have made standard output non-blocking. */
static void non_blocking_pipe(void **state)
{
	through_a_pipe(*state, O_NONBLOCK);
}

static void broken_pipe(void **state)
{
	struct fixture *fixture = *state;
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[0]);
	for (uint32_t i = 0; i < 2; i++) {
		queue(fixture, i, i * PAGE, PAGE);
		fixture->writes[i].fd = ends[1];
		fixture->writes[i].offset = WH_OFFSET_STREAM;
	}
	reap_until(fixture, 1);
	assert_int_equal(fixture->writes[0].os_error, EPIPE);
	fixture->sink->ops->discard(fixture->sink);
	reap_until(fixture, 2);
	close(ends[1]);
}

/* Taken back while the kernel has some: those are carried out or not, but all come back, and in order. */
static void discard_while_writes_are_out(void **state)
{
	struct fixture *fixture = *state;
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, PAGE) >= 0);
	for (uint32_t i = 0; i < 40; i++) {
		queue(fixture, i, i * 30000, 30000);
		fixture->writes[i].fd = ends[1];
		fixture->writes[i].offset = WH_OFFSET_STREAM;
	}
	reap_once(fixture, 0);
	fixture->sink->ops->discard(fixture->sink);
	struct reader reader = { .fd = ends[0], .bytes = test_malloc(DATA_BYTES) };
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, reader_main, &reader), 0);
	reap_until(fixture, 40);
	check_order(fixture, 0);
	close(ends[1]);
	pthread_join(thread, NULL);
	close(ends[0]);
	bool cancelled = false;
	size_t written = 0;
	for (uint32_t i = 0; i < 40; i++) {
		const struct wh_write *write = &fixture->writes[i];
		assert_true(write->os_error == ECANCELED || (write->os_error == 0 && !cancelled));
		cancelled |= write->os_error != 0;
		written += write->done;
	}
	assert_true(cancelled);
	assert_int_equal(reader.length, written);
	assert_memory_equal(reader.bytes, fixture->data, written);
	test_free(reader.bytes);
}

/* ---- waking ---- */

static void *waker_main(void *argument)
{
	struct wh_sink *sink = argument;
	sink->ops->wake(sink);
	return NULL;
}

static void wake_ends_the_sleep(void **state)
{
	struct fixture *fixture = *state;
	for (int i = 0; i < 200; i++) {
		pthread_t thread;
		uint64_t before = wh_ns_monotonic();
		assert_int_equal(pthread_create(&thread, NULL, waker_main, fixture->sink), 0);
		assert_null(fixture->sink->ops->reap(fixture->sink, PATIENCE_NS));
		assert_true(wh_ns_monotonic() - before < PATIENCE_NS / 2);
		pthread_join(thread, NULL);
	}
}

static void wake_comes_before_the_sleep(void **state)
{
	struct fixture *fixture = *state;
	uint64_t before = wh_ns_monotonic();
	for (int i = 0; i < 20; i++) {
		for (int j = 0; j <= i % 3; j++)
			fixture->sink->ops->wake(fixture->sink);
		assert_null(fixture->sink->ops->reap(fixture->sink, PATIENCE_NS));
	}
	assert_true(wh_ns_monotonic() - before < PATIENCE_NS / 2);
	/* All were one; the next sleep is a sleep. */
	assert_null(fixture->sink->ops->reap(fixture->sink, WH_NS_PER_MS));
}

/* Writes and wakes at once, for a while: nothing gets lost. */
static void wakes_among_writes(void **state)
{
	struct fixture *fixture = *state;
	for (int round = 0; round < 100; round++) {
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, waker_main, fixture->sink), 0);
		fixture->back_count = 0;
		for (uint32_t i = 0; i < 20; i++)
			queue(fixture, i, i * 500, 500);
		reap_until(fixture, 20);
		check_order(fixture, 0);
		pthread_join(thread, NULL);
	}
	check_file(fixture, 20 * 500);
}

/* What is discarded is done at once, whatever is wrong with it, and no file gets longer by it. */
static void discarded_writes_are_complete(void **state)
{
	struct fixture *fixture = *state;
	file_size_limit(fixture, 0);
	for (uint32_t i = 0; i < WRITES_MOST; i++) {
		queue(fixture, i, i * 30000, 30000);
		if (i % 2 == 1)
			fixture->writes[i].fd = -1;
	}
	assert_false(fixture->sink->ops->register_buffer(fixture->sink, 0, fixture->data, DATA_BYTES));
	fixture->sink->ops->discard(fixture->sink);
	uint64_t before = wh_ns_monotonic();
	reap_once(fixture, PATIENCE_NS);
	assert_true(wh_ns_monotonic() - before < PATIENCE_NS / 2);
	assert_int_equal(fixture->back_count, WRITES_MOST);
	check_order(fixture, 0);
	for (uint32_t i = 0; i < WRITES_MOST; i++) {
		assert_int_equal(fixture->writes[i].os_error, 0);
		assert_int_equal(fixture->writes[i].done, 30000);
	}
	assert_null(fixture->sink->ops->reap(fixture->sink, 0));
	check_file(fixture, 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, make, fixture_drop)

static int run(const char *name, CMFixtureFunction make)
{
	const struct CMUnitTest tests[] = {
		WITH(nothing_to_do),
		WITH(many_writes_in_order),
		WITH(later_writes_win),
		WITH(registered_buffers),
		WITH(failure_halts_and_retry_goes_on),
		WITH(failure_and_discard),
		WITH(short_write_is_carried_on),
		WITH(no_hole_behind_a_failure),
		WITH(retry_comes_first),
		WITH(full_device),
		WITH(retry_may_fail_too),
		WITH(narrow_pipe),
		WITH(broken_pipe),
		WITH(wake_ends_the_sleep),
		WITH(wake_comes_before_the_sleep),
		WITH(wakes_among_writes),
	};
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

/* What the kernel was given as one write comes back as one. */
static void joined_writes_come_back_at_once(void **state)
{
	enum { COUNT = 16, BYTES = 64 * 1024 };
	struct fixture *fixture = *state;
	uint32_t times = 0;
	for (uint32_t i = 0; i < COUNT; i++)
		queue(fixture, i, i * BYTES, BYTES);
	while (fixture->back_count < COUNT) {
		uint32_t before = fixture->back_count;
		reap_once(fixture, WH_NS_PER_SECOND);
		times += fixture->back_count > before;
	}
	assert_int_equal(times, 1);
	check_order(fixture, 0);
	check_file(fixture, COUNT * BYTES);
}

static int run_for_joined(void)
{
	const CMFixtureFunction make = uring_joined_make;
	const struct CMUnitTest tests[] = { WITH(joined_writes_come_back_at_once) };
	return cmocka_run_group_tests_name("sink: io_uring, joined, at once", tests, NULL, NULL);
}

static int run_for_pieces(void)
{
	const CMFixtureFunction make = uring_pieces_make;
	const struct CMUnitTest tests[] = { WITH(joined_writes_come_back_at_once) };
	struct utsname system;
	int major = 0, minor = 0;
	if (uname(&system) != 0 || sscanf(system.release, "%d.%d", &major, &minor) != 2 ||
	    major * 1000 + minor < 6015) {
		printf("Linux before 6.15 takes no pieces of a registered buffer; nothing to be joined\n");
		return 0;
	}
	return cmocka_run_group_tests_name("sink: io_uring, joined in pieces, at once", tests, NULL, NULL);
}

static int run_for_uring(void)
{
	const CMFixtureFunction make = uring_make;
	const struct CMUnitTest tests[] = { WITH(discard_while_writes_are_out) };
	return cmocka_run_group_tests_name("sink: io_uring, taking back", tests, NULL, NULL);
}

static int run_for_streams(void)
{
	const CMFixtureFunction make = portable_make;
	const struct CMUnitTest tests[] = { WITH(non_blocking_pipe) };
	return cmocka_run_group_tests_name("sink: pwrite, streams", tests, NULL, NULL);
}

static int run_for_discard(void)
{
	const CMFixtureFunction make = discard_make;
	const struct CMUnitTest tests[] = {
		WITH(nothing_to_do),
		WITH(discarded_writes_are_complete),
		WITH(wake_ends_the_sleep),
		WITH(wake_comes_before_the_sleep),
	};
	return cmocka_run_group_tests_name("sink: discard", tests, NULL, NULL);
}

int main(void)
{
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	int failed = run("sink: pwrite", portable_make) + run_for_streams() + run_for_discard();
	struct wh_sink *sink;
	struct wh_error error;
	if (wh_sink_uring_open(&sink, &error) != WH_OK) {
		printf("io_uring is not to be had here: %s\n", error.text);
		return failed;
	}
	sink->ops->close(sink);
	return failed + run("sink: io_uring", uring_make) + run("sink: io_uring, joined", uring_joined_make) +
	       run("sink: io_uring, joined in pieces", uring_pieces_make) + run_for_joined() + run_for_pieces() +
	       run_for_uring();
}
