/* SPDX-License-Identifier: BSD-3-Clause */
/* The capture thread with a source that never has a frame, only counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/capture.h"
#include "ringbuf/clock.h"

enum { LOST_AT_ONCE = 1000 };
#define WATCHED_NS (200 * WH_NS_PER_MS)

/* One frame is received and never comes out, so that a thread that was stopped goes on asking for the counters, which
 * tell of more lost frames each time. */
struct losing {
	struct wh_source source;
	bool asked, done;
	_Atomic bool enough; /* that one frame was dropped, too, and nothing more comes */
};

static bool losing_next(struct wh_source *source, struct wh_block *block)
{
	(void)source;
	(void)block;
	return false;
}

static void losing_wait(struct wh_source *source, uint64_t timeout_ns)
{
	(void)source;
	(void)timeout_ns;
}

static void losing_statistics(struct wh_source *source, uint64_t *received, uint64_t *dropped)
{
	struct losing *losing = (struct losing *)source;
	if (losing->done)
		return;
	losing->done = atomic_load(&losing->enough);
	*received += losing->asked ? LOST_AT_ONCE : LOST_AT_ONCE + 1;
	*dropped += losing->done ? LOST_AT_ONCE + 1 : LOST_AT_ONCE;
	losing->asked = true;
}

static void losing_nothing(struct wh_source *source)
{
	(void)source;
}

static bool losing_at_end(const struct wh_source *source)
{
	(void)source;
	return false;
}

static const struct wh_source_ops losing_ops = {
	.next = losing_next,
	.wait = losing_wait,
	.statistics = losing_statistics,
	.stop = losing_nothing,
	.at_end = losing_at_end,
	.wake = losing_nothing,
	.close = losing_nothing,
};

static void writer_event(void *context, enum wh_writer_event event, uint64_t number, const char *text)
{
	(void)context;
	(void)event;
	(void)number;
	(void)text;
}

/* Whenever somebody looks, what was dropped had been received. */
static void dropped_is_never_more_than_received(void **state)
{
	(void)state;
	struct losing losing = { .source = { .ops = &losing_ops, .block_bytes = 4096, .block_count = 4 } };
	const struct wh_writer_config config = {
		.path = "nowhere.pcapng", .discard = true, .block_bytes = 4096, .event = writer_event
	};
	struct wh_capture_thread *capture;
	struct wh_writer *writer;
	struct wh_error error = { 0 };
	assert_int_equal(wh_writer_open(&config, &writer, &error), WH_OK);
	assert_int_equal(wh_capture_thread_open(&losing.source, &capture, &error), WH_OK);
	capture->writer = writer;
	capture->block_timeout_ns = 10 * WH_NS_PER_SECOND; /* how long it would wait for the frame */
	assert_int_equal(wh_capture_thread_start(capture, &error), WH_OK);
	wh_capture_thread_stop(capture);
	uint64_t end_ns = wh_ns_monotonic() + WATCHED_NS, looks = 0, wrong = 0;
	while (wh_ns_monotonic() < end_ns)
		for (int i = 0; i < 1000; i++, looks++) {
			uint64_t dropped = atomic_load_explicit(&capture->counters.dropped, memory_order_acquire);
			uint64_t received = atomic_load_explicit(&capture->counters.received, memory_order_relaxed);
			wrong += dropped > received;
		}
	atomic_store(&losing.enough, true);
	const struct wh_chunk *end;
	while ((end = wh_spsc_pop(&capture->ring)) == NULL)
		sched_yield();
	assert_int_equal(end->kind, WH_CHUNK_END);
	assert_int_equal(end->received_total, end->dropped_total);
	assert_int_equal(end->lost, end->dropped_total);
	assert_true(end->dropped_total > LOST_AT_ONCE);
	wh_capture_thread_close(capture);
	wh_writer_close(writer);
	if (wrong != 0)
		fail_msg("%llu of %llu looks", (unsigned long long)wrong, (unsigned long long)looks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dropped_is_never_more_than_received),
	};
	return cmocka_run_group_tests_name("capture", tests, NULL, NULL);
}
