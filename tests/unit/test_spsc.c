/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring between a capture thread and its writer: what it holds, its order, its wrap, and two threads at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "ringbuf/spsc.h"

/* Items are numbers in a pointer's clothes; never 0, which would be NULL. */
static void *item(uint64_t number)
{
	return (void *)(uintptr_t)(number + 1);
}

static struct wh_spsc ring_at(uint32_t capacity, uint32_t counter)
{
	struct wh_spsc ring;
	assert_int_equal(wh_spsc_open(&ring, capacity), WH_OK);
	ring.head = counter;
	ring.tail = counter;
	return ring;
}

static void capacity_is_rounded_up(void **state)
{
	(void)state;
	static const uint32_t asked[] = { 1, 2, 3, 4, 5, 7, 8, 9, 1000, 1024, 1025 };
	static const uint32_t made[] = { 1, 2, 4, 4, 8, 8, 8, 16, 1024, 1024, 2048 };
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct wh_spsc ring = ring_at(asked[i], 0);
		uint32_t held = 0;
		while (wh_spsc_push(&ring, item(held)))
			held++;
		assert_int_equal(held, made[i]);
		wh_spsc_close(&ring);
	}
}

/* The slots share no cache line with anything else, however few there are. */
static void slots_have_lines_of_their_own(void **state)
{
	(void)state;
	for (uint32_t capacity = 1; capacity <= 4096; capacity = capacity * 2 + 1) {
		struct wh_spsc ring = ring_at(capacity, 0);
		assert_int_equal((uintptr_t)ring.slots % WH_CACHE_LINE, 0);
		wh_spsc_close(&ring);
	}
}

static void too_many_are_refused(void **state)
{
	(void)state;
	static const uint32_t asked[] = { (uint32_t)WH_SPSC_MOST + 1, UINT32_C(1) << 31, UINT32_MAX };
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct wh_spsc ring;
		assert_int_equal(wh_spsc_open(&ring, asked[i]), WH_ERR_MEMORY);
		wh_spsc_close(&ring);
	}
}

static void empty_gives_nothing(void **state)
{
	(void)state;
	struct wh_spsc ring = ring_at(4, 0);
	assert_true(wh_spsc_is_empty(&ring));
	assert_null(wh_spsc_pop(&ring));
	assert_true(wh_spsc_push(&ring, item(7)));
	assert_false(wh_spsc_is_empty(&ring));
	assert_ptr_equal(wh_spsc_pop(&ring), item(7));
	assert_true(wh_spsc_is_empty(&ring));
	assert_null(wh_spsc_pop(&ring));
	wh_spsc_close(&ring);
}

static void full_refuses_and_keeps(void **state)
{
	(void)state;
	struct wh_spsc ring = ring_at(4, 0);
	for (uint64_t i = 0; i < 4; i++)
		assert_true(wh_spsc_push(&ring, item(i)));
	assert_false(wh_spsc_push(&ring, item(99)));
	assert_ptr_equal(wh_spsc_pop(&ring), item(0));
	assert_true(wh_spsc_push(&ring, item(4)));
	assert_false(wh_spsc_push(&ring, item(99)));
	for (uint64_t i = 1; i <= 4; i++)
		assert_ptr_equal(wh_spsc_pop(&ring), item(i));
	assert_null(wh_spsc_pop(&ring));
	wh_spsc_close(&ring);
}

/* Every filling from every counter on both sides of the wrap. */
static void counters_wrap(void **state)
{
	(void)state;
	for (uint32_t capacity = 1; capacity <= 8; capacity *= 2) {
		for (uint32_t start = UINT32_MAX - 20; start != 20; start++) {
			struct wh_spsc ring = ring_at(capacity, start);
			assert_true(wh_spsc_is_empty(&ring));
			uint64_t pushed = 0, popped = 0;
			for (uint32_t round = 0; round < 40; round++) {
				uint32_t many = round % (capacity + 1);
				for (uint32_t i = 0; i < many; i++)
					assert_true(wh_spsc_push(&ring, item(pushed++)));
				assert_int_equal(wh_spsc_is_empty(&ring), many == 0);
				if (many == capacity)
					assert_false(wh_spsc_push(&ring, item(0)));
				for (uint32_t i = 0; i < many; i++)
					assert_ptr_equal(wh_spsc_pop(&ring), item(popped++));
				assert_null(wh_spsc_pop(&ring));
			}
			wh_spsc_close(&ring);
		}
	}
}

/* What a pointer points to must be seen by whoever pops it: plain memory, so a missing barrier is a data race that
 * ThreadSanitizer tells of, and a wrong value where there is none. */
struct race {
	struct wh_spsc ring;
	uint64_t *payload;
	uint32_t mask;
	uint64_t count;
	uint64_t bad;
};

static void *produce(void *argument)
{
	struct race *race = argument;
	for (uint64_t i = 0; i < race->count; i++) {
		/* A place of the payload comes round again when CAPACITY items more were pushed, so the consumer has
		 * popped the one behind it and is done with this one: the ring's own order is all that protects it. */
		uint64_t *slot = &race->payload[i & race->mask];
		*slot = i;
		while (!wh_spsc_push(&race->ring, slot))
			sched_yield();
	}
	return NULL;
}

static void race_run(uint32_t capacity, uint32_t start, uint64_t count)
{
	struct race race = { .ring = ring_at(capacity, start), .count = count };
	race.mask = capacity * 2 - 1;
	race.payload = test_calloc(race.mask + 1, sizeof(*race.payload));
	pthread_t producer;
	assert_int_equal(pthread_create(&producer, NULL, produce, &race), 0);
	for (uint64_t i = 0; i < count;) {
		uint64_t *slot = wh_spsc_pop(&race.ring);
		if (slot == NULL) {
			sched_yield();
			continue;
		}
		if (slot != &race.payload[i & race.mask] || *slot != i)
			race.bad++;
		i++;
	}
	pthread_join(producer, NULL);
	assert_int_equal(race.bad, 0);
	assert_null(wh_spsc_pop(&race.ring));
	test_free(race.payload);
	wh_spsc_close(&race.ring);
}

static void two_threads_at_full_speed(void **state)
{
	(void)state;
	race_run(1024, UINT32_MAX - 100000, 4000000);
}

/* A ring of so few places is nearly always full or empty. */
static void two_threads_in_a_narrow_ring(void **state)
{
	(void)state;
	race_run(2, UINT32_MAX - 1000, 200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capacity_is_rounded_up),    cmocka_unit_test(slots_have_lines_of_their_own),
		cmocka_unit_test(too_many_are_refused),      cmocka_unit_test(empty_gives_nothing),
		cmocka_unit_test(full_refuses_and_keeps),    cmocka_unit_test(counters_wrap),
		cmocka_unit_test(two_threads_at_full_speed), cmocka_unit_test(two_threads_in_a_narrow_ring),
	};
	return cmocka_run_group_tests_name("spsc", tests, NULL, NULL);
}
