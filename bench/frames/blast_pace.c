/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Even sending. Each frame has a time at which it is due, and a thread that comes late sends what is due by then. How
 * much that may be is bounded twice, so that a sender which the scheduler has left out does not make up for it by a
 * burst that nobody asked for: a short delay is made good at once, a longer one at CATCH_UP times the rate, and of one
 * beyond DEBT_MAX_NS the rest is given up, which then shows in the rate that was reached.
 */
#include "blast.h"

#include <time.h>

enum {
	PAUSE_MIN_NS = 50000, /* shorter sleeps cost more than they even out */
	NAP_MAX_NS = 50000000,
	SHORT_DELAY_NS = 500000,
	DEBT_MAX_NS = 500000000,
	CATCH_UP = 2
};

uint64_t wh_blast_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * WH_BLAST_NS_PER_S + (uint64_t)now.tv_nsec;
}

static double elapsed_ns(const struct wh_blast_pace *pace)
{
	return (double)(wh_blast_now_ns() - pace->start_ns);
}

static bool is_paced(const struct wh_blast_pace *pace)
{
	return pace->frame_ns > 0 || pace->bit_ns > 0;
}

static double cost_ns(const struct wh_blast_pace *pace, uint64_t number)
{
	if (pace->bit_ns > 0)
		return pace->bit_ns * 8 * wh_numbered_bytes(pace->shape, number);
	return pace->frame_ns;
}

void wh_blast_pace_init(struct wh_blast_pace *pace, const struct wh_blast_orders *orders, uint8_t thread,
			uint64_t start_ns)
{
	*pace = (struct wh_blast_pace){ .shape = &orders->shape,
					.start_ns = start_ns,
					.end_ns = (double)orders->length_ns,
					.burst = orders->burst };
	if (orders->rate != 0)
		pace->frame_ns = (double)WH_BLAST_NS_PER_S * orders->threads / (double)orders->rate;
	else if (orders->gbps > 0)
		pace->bit_ns = orders->threads / orders->gbps;
	/* Threads take turns instead of sending all at the same moment. */
	pace->next_ns = cost_ns(pace, orders->first) * (double)orders->burst * thread / orders->threads;
}

static void nap(const struct wh_blast_pace *pace, double now_ns, double until_ns)
{
	if (until_ns < now_ns + PAUSE_MIN_NS)
		until_ns = now_ns + PAUSE_MIN_NS;
	if (until_ns > now_ns + NAP_MAX_NS)
		until_ns = now_ns + NAP_MAX_NS;
	if (until_ns > pace->end_ns)
		until_ns = pace->end_ns;
	uint64_t at_ns = pace->start_ns + (uint64_t)until_ns;
	struct timespec until = { .tv_sec = (time_t)(at_ns / WH_BLAST_NS_PER_S),
				  .tv_nsec = (long)(at_ns % WH_BLAST_NS_PER_S) };
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static double ready_ns(const struct wh_blast_pace *pace)
{
	return pace->next_ns > pace->earliest_ns ? pace->next_ns : pace->earliest_ns;
}

/* How many frames from NUMBER on are due at NOW_NS. */
static unsigned int take_due(struct wh_blast_pace *pace, uint64_t number, unsigned int most, double now_ns)
{
	if (pace->next_ns < now_ns - DEBT_MAX_NS)
		pace->next_ns = now_ns - DEBT_MAX_NS;
	/* Two groups of --burst never run into each other, not even after a short delay. */
	double floor_ns = pace->burst > 1 ? now_ns : now_ns - SHORT_DELAY_NS;
	unsigned int count = 0;
	for (; count < most; count++) {
		if (pace->left == 0) {
			if (ready_ns(pace) > now_ns)
				break;
			pace->left = pace->burst;
		}
		pace->left--;
		double cost = cost_ns(pace, number + count);
		pace->next_ns += cost;
		if (pace->earliest_ns < floor_ns)
			pace->earliest_ns = floor_ns;
		pace->earliest_ns += cost / CATCH_UP;
	}
	return count;
}

unsigned int wh_blast_pace_wait(struct wh_blast_pace *pace, uint64_t number, unsigned int most,
				const atomic_bool *stopping)
{
	for (;;) {
		double now_ns = elapsed_ns(pace);
		if (now_ns >= pace->end_ns || atomic_load_explicit(stopping, memory_order_relaxed))
			return 0;
		if (!is_paced(pace))
			return most;
		unsigned int count = take_due(pace, number, most, now_ns);
		if (count > 0)
			return count;
		nap(pace, now_ns, ready_ns(pace));
	}
}

void wh_blast_pace_finish(const struct wh_blast_pace *pace, const atomic_bool *stopping)
{
	double end_ns = pace->next_ns < pace->end_ns ? pace->next_ns : pace->end_ns;
	double now_ns;
	while (is_paced(pace) && !atomic_load_explicit(stopping, memory_order_relaxed) &&
	       (now_ns = elapsed_ns(pace)) < end_ns)
		nap(pace, now_ns, end_ns);
}
