/* SPDX-License-Identifier: BSD-3-Clause */
/* wh-count's books of numbers: what is missing, doubled and out of order, and in runs of which lengths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "loss_runs.h"
#include "tallies.h"

enum { PAGE_NUMBERS = 65536, MODEL_NUMBERS = 3 * PAGE_NUMBERS };

static void add_range(struct wh_tally *tally, uint64_t first, uint64_t last)
{
	for (uint64_t number = first; number <= last; number++)
		assert_true(wh_tally_add(tally, number));
}

static void assert_run(const struct wh_tally *tally, uint64_t *at, uint64_t first, uint64_t length)
{
	struct wh_tally_run run;
	assert_true(wh_tally_next_run(tally, *at, &run));
	assert_int_equal(run.first, first);
	assert_int_equal(run.length, length);
	*at = run.first + run.length;
}

static void assert_no_run(const struct wh_tally *tally, uint64_t at)
{
	struct wh_tally_run run;
	assert_false(wh_tally_next_run(tally, at, &run));
}

static void nothing_seen(void **state)
{
	(void)state;
	struct wh_tally tally;
	wh_tally_open(&tally, 1, WH_TALLY_UNTOLD);
	assert_int_equal(wh_tally_missing(&tally), 0);
	assert_no_run(&tally, 0);
	wh_tally_close(&tally);

	uint64_t at = 0;
	wh_tally_open(&tally, 5, 100000);
	assert_int_equal(wh_tally_missing(&tally), 100000);
	assert_run(&tally, &at, 5, 100000);
	assert_no_run(&tally, at);
	wh_tally_close(&tally);
}

static void faults_are_told_apart(void **state)
{
	(void)state;
	struct wh_tally tally;
	wh_tally_open(&tally, 1, WH_TALLY_UNTOLD);
	const uint64_t seen[] = { 3, 4, 4, 9, 7, 8, 10, 3, 0 };
	for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++)
		assert_true(wh_tally_add(&tally, seen[i]));
	assert_int_equal(tally.distinct, 6);
	assert_int_equal(tally.duplicated, 2);
	assert_int_equal(tally.reordered, 2);
	assert_int_equal(tally.outside, 1);
	assert_int_equal(tally.first, 3);
	assert_int_equal(tally.last, 10);
	assert_int_equal(wh_tally_missing(&tally), 2);
	uint64_t at = 0;
	assert_run(&tally, &at, 5, 2);
	assert_no_run(&tally, at);
	wh_tally_close(&tally);
}

static void told_range(void **state)
{
	(void)state;
	struct wh_tally tally;
	wh_tally_open(&tally, 10, 10);
	add_range(&tally, 12, 14);
	assert_true(wh_tally_add(&tally, 9));
	assert_true(wh_tally_add(&tally, 20));
	assert_int_equal(tally.outside, 2);
	assert_int_equal(wh_tally_missing(&tally), 7);
	uint64_t at = 0;
	assert_run(&tally, &at, 10, 2);
	assert_run(&tally, &at, 15, 5);
	assert_no_run(&tally, at);
	wh_tally_close(&tally);

	/* Of a thread that should have sent nothing. */
	wh_tally_open(&tally, 1, 0);
	assert_true(wh_tally_add(&tally, 1));
	assert_int_equal(tally.outside, 1);
	assert_int_equal(wh_tally_missing(&tally), 0);
	assert_no_run(&tally, 0);
	wh_tally_close(&tally);
}

/* A run ends where it should, wherever that is in a word or in a page. */
static void edges_of_words_and_pages(void **state)
{
	(void)state;
	const uint64_t edges[] = { 1, 63, 64, 65, PAGE_NUMBERS - 1, PAGE_NUMBERS, PAGE_NUMBERS + 1, 2 * PAGE_NUMBERS };
	enum { EDGES = sizeof(edges) / sizeof(edges[0]) };
	for (size_t i = 0; i < EDGES; i++) {
		for (size_t k = i; k < EDGES; k++) {
			struct wh_tally tally;
			wh_tally_open(&tally, 0, WH_TALLY_UNTOLD);
			add_range(&tally, 0, edges[i] - 1);
			add_range(&tally, edges[k] + 1, edges[k] + 70);
			uint64_t at = 0;
			assert_run(&tally, &at, edges[i], edges[k] - edges[i] + 1);
			assert_no_run(&tally, at);
			assert_int_equal(wh_tally_missing(&tally), edges[k] - edges[i] + 1);
			assert_int_equal(tally.reordered, 0);
			wh_tally_close(&tally);
		}
	}
}

static void far_numbers(void **state)
{
	(void)state;
	struct wh_tally tally;
	const uint64_t from = INT64_MAX;
	wh_tally_open(&tally, from, WH_TALLY_UNTOLD);
	assert_true(wh_tally_add(&tally, from));
	assert_true(wh_tally_add(&tally, from + WH_TALLY_SPAN - 1));
	assert_true(wh_tally_add(&tally, from + WH_TALLY_SPAN));
	assert_true(wh_tally_add(&tally, UINT64_MAX));
	assert_true(wh_tally_add(&tally, from - 1));
	assert_true(wh_tally_add(&tally, 0));
	assert_int_equal(tally.distinct, 2);
	assert_int_equal(tally.outside, 4);
	assert_int_equal(wh_tally_missing(&tally), WH_TALLY_SPAN - 2);
	uint64_t at = 0;
	assert_run(&tally, &at, from + 1, WH_TALLY_SPAN - 2);
	assert_no_run(&tally, at);
	assert_no_run(&tally, UINT64_MAX);
	wh_tally_close(&tally);
}

/* The same books, kept one number at a time. */
struct model {
	uint8_t seen[MODEL_NUMBERS];
	uint64_t distinct, duplicated, reordered, highest;
};

static void model_add(struct model *model, uint64_t number)
{
	if (model->seen[number]) {
		model->duplicated++;
		return;
	}
	model->seen[number] = 1;
	model->reordered += model->distinct > 0 && number < model->highest;
	if (model->distinct++ == 0 || number > model->highest)
		model->highest = number;
}

static void model_check(const struct model *model, const struct wh_tally *tally)
{
	assert_int_equal(tally->distinct, model->distinct);
	assert_int_equal(tally->duplicated, model->duplicated);
	assert_int_equal(tally->reordered, model->reordered);
	assert_int_equal(tally->last, model->highest);
	uint64_t missing = 0, at = 0;
	for (uint64_t number = 0; number < MODEL_NUMBERS;) {
		uint64_t start = number;
		while (number < MODEL_NUMBERS && !model->seen[number])
			number++;
		missing += number - start;
		if (number > start)
			assert_run(tally, &at, start, number - start);
		while (number < MODEL_NUMBERS && model->seen[number])
			number++;
	}
	assert_no_run(tally, at);
	assert_int_equal(wh_tally_missing(tally), missing);
}

/* The same numbers each time, and as good as any (xorshift). */
static uint64_t next_random(void)
{
	static uint64_t state = 88172645463325252;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Mostly the next number; now and then the same again, one a little before or behind, or one anywhere. */
static uint64_t next_number(uint64_t number)
{
	uint64_t dice = next_random() % 1000;
	if (dice < 900)
		number += 1;
	else if (dice < 950)
		number += dice % 7;
	else if (dice < 998)
		number -= number > 5 ? dice % 5 : 0;
	else
		number = next_random();
	return number % MODEL_NUMBERS;
}

static void against_a_model(void **state)
{
	(void)state;
	static struct model model;
	for (int round = 0; round < 20; round++) {
		struct wh_tally tally;
		memset(&model, 0, sizeof(model));
		wh_tally_open(&tally, 0, MODEL_NUMBERS);
		uint64_t number = 0;
		for (int i = 0; i < MODEL_NUMBERS / 2; i++) {
			number = next_number(number);
			model_add(&model, number);
			assert_true(wh_tally_add(&tally, number));
		}
		model_check(&model, &tally);
		wh_tally_close(&tally);
	}
}

static void lengths_of_runs(void **state)
{
	(void)state;
	struct wh_tally tally;
	static struct wh_loss_runs runs;
	memset(&runs, 0, sizeof(runs));
	wh_tally_open(&tally, 1, 100);
	/* Missing: 1 to 3, 6, 10, 20 to 22, 96 to 100. */
	add_range(&tally, 4, 5);
	add_range(&tally, 7, 9);
	add_range(&tally, 11, 19);
	add_range(&tally, 23, 95);
	wh_loss_runs_add(&runs, &tally);
	wh_loss_runs_add(&runs, &tally);
	assert_int_equal(runs.count, 10);
	assert_int_equal(runs.longest, 5);
	assert_int_equal(runs.total, 2 * wh_tally_missing(&tally));
	const struct wh_loss_length wanted[] = { { 1, 4 }, { 3, 4 }, { 5, 2 } };
	assert_int_equal(runs.length_count, 3);
	assert_memory_equal(runs.lengths, wanted, sizeof(wanted));
	assert_int_equal(runs.more, 0);
	wh_tally_close(&tally);
}

static void more_lengths_than_are_kept(void **state)
{
	(void)state;
	struct wh_tally tally;
	static struct wh_loss_runs runs;
	memset(&runs, 0, sizeof(runs));
	wh_tally_open(&tally, 0, WH_TALLY_UNTOLD);
	uint64_t number = 0;
	assert_true(wh_tally_add(&tally, number));
	/* Downwards, so that each new length goes in front of the others. */
	for (uint64_t length = WH_LOSS_LENGTHS + 10; length > 0; length--)
		assert_true(wh_tally_add(&tally, number += length + 1));
	assert_true(wh_tally_add(&tally, number += 101)); /* one that is kept, again */
	wh_loss_runs_add(&runs, &tally);
	assert_int_equal(runs.count, WH_LOSS_LENGTHS + 11);
	assert_int_equal(runs.longest, WH_LOSS_LENGTHS + 10);
	assert_int_equal(runs.total, wh_tally_missing(&tally));
	assert_int_equal(runs.length_count, WH_LOSS_LENGTHS);
	assert_int_equal(runs.more, 10);
	for (uint64_t i = 0; i < WH_LOSS_LENGTHS; i++) {
		assert_int_equal(runs.lengths[i].length, i + 11);
		assert_int_equal(runs.lengths[i].runs, i + 11 == 100 ? 2 : 1);
	}
	wh_tally_close(&tally);
}

static void threads_share_the_count(void **state)
{
	(void)state;
	struct wh_tallies tallies;
	assert_true(wh_tallies_open(&tallies, 1, 11, 4));
	for (uint8_t thread = 0; thread < 4; thread++)
		assert_int_equal(wh_tally_missing(tallies.of[thread]), thread < 3 ? 3 : 2);
	assert_null(tallies.of[4]);
	for (uint64_t number = 1; number <= 4; number++)
		assert_true(wh_tallies_add(&tallies, &(struct wh_numbered_stamp){ .number = number, .thread = 1 }));
	assert_true(wh_tallies_add(&tallies, &(struct wh_numbered_stamp){ .number = 1, .thread = 63 }));
	struct wh_tallies_sum sum = wh_tallies_sum(&tallies);
	assert_int_equal(sum.distinct, 3);
	assert_int_equal(sum.missing, 8);
	assert_int_equal(sum.outside, 2);
	assert_int_equal(sum.first, 1);
	assert_int_equal(sum.last, 3);
	wh_tallies_close(&tallies);
}

static void threads_that_nobody_told_of(void **state)
{
	(void)state;
	struct wh_tallies tallies;
	assert_true(wh_tallies_open(&tallies, 1, WH_TALLY_UNTOLD, 1));
	assert_true(wh_tallies_add(&tallies, &(struct wh_numbered_stamp){ .number = 7, .thread = 3 }));
	assert_true(wh_tallies_add(&tallies, &(struct wh_numbered_stamp){ .number = 9, .thread = 3 }));
	assert_true(wh_tallies_add(&tallies, &(struct wh_numbered_stamp){ .number = 8, .thread = 2 }));
	struct wh_tallies_sum sum = wh_tallies_sum(&tallies);
	assert_int_equal(sum.distinct, 3);
	assert_int_equal(sum.missing, 1);
	assert_int_equal(sum.reordered, 0);
	assert_int_equal(sum.first, 7);
	assert_int_equal(sum.last, 9);
	assert_null(tallies.of[1]);
	wh_tallies_close(&tallies);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_seen),
		cmocka_unit_test(faults_are_told_apart),
		cmocka_unit_test(told_range),
		cmocka_unit_test(edges_of_words_and_pages),
		cmocka_unit_test(far_numbers),
		cmocka_unit_test(against_a_model),
		cmocka_unit_test(lengths_of_runs),
		cmocka_unit_test(more_lengths_than_are_kept),
		cmocka_unit_test(threads_share_the_count),
		cmocka_unit_test(threads_that_nobody_told_of),
	};
	return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
