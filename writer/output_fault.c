/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults that may pass: a disk that fails for a while, a directory that is not there just now. What cannot be written
 * stays where it is, in the ring's blocks and in its order, and is tried again. While that lasts the ring fills, and
 * what it cannot hold the kernel drops and counts; the next chunk tells of it as of any other loss. So nothing is lost
 * by a fault that is shorter than the ring lasts, and no frame is ever behind a hole.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "writer/output.h"

#define PAUSE_LEAST_NS (100 * WH_NS_PER_MS)
#define PAUSE_MOST_NS  WH_NS_PER_SECOND
/* After so long without one success it is for good. */
#define GIVE_UP_NS (60 * WH_NS_PER_SECOND)
/* Who waits for the end is not kept longer. */
#define HURRIED_NS WH_NS_PER_SECOND

/* A full disk or quota does not pass by itself soon, a file too large never does, and a pipe has no second try. */
static bool may_pass(const struct wh_writer *writer, int os_error)
{
	return !writer->to_stream && os_error != 0 && os_error != ENOSPC && os_error != EDQUOT && os_error != EFBIG;
}

static bool is_over(struct wh_writer *writer, uint64_t now_ns)
{
	struct wh_fault *fault = &writer->fault;
	if (now_ns - fault->since_ns >= GIVE_UP_NS)
		return true;
	if (!atomic_load_explicit(&writer->sink->hurried, memory_order_relaxed))
		return false;
	if (fault->hurried_ns == 0)
		fault->hurried_ns = now_ns;
	return now_ns - fault->hurried_ns >= HURRIED_NS;
}

bool wh_output_fault_begin(struct wh_writer *writer, struct wh_job *job, const struct wh_error *error)
{
	struct wh_fault *fault = &writer->fault;
	uint64_t now_ns = wh_ns_monotonic();
	/* Relaxed: a count. */
	atomic_fetch_add_explicit(&writer->write_errors, 1, memory_order_relaxed);
	if (writer->phase != WH_PHASE_TAKING && job == NULL)
		return false;
	if (writer->failed || !may_pass(writer, error->os_error))
		return false;
	if (fault->since_ns == 0) {
		fault->since_ns = now_ns;
		fault->pause_ns = fault->hurried_ns = 0;
		snprintf(fault->reason, sizeof(fault->reason), "%s", error->text);
		char line[sizeof(error->text) + 96];
		snprintf(line, sizeof(line), "%s: trying again for a minute, while the ring holds what comes",
			 error->text);
		wh_writer_tell(writer, WH_WRITER_TROUBLE, 0, line);
	} else if (is_over(writer, now_ns) && job == NULL && fault->job != NULL) {
		/* A write waits to be tried a last time, and what comes of that is the end. */
		return true;
	} else if (is_over(writer, now_ns)) {
		fault->since_ns = 0;
		fault->of_write = fault->of_place = false;
		return false;
	}
	fault->pause_ns = fault->pause_ns == 0 ? PAUSE_LEAST_NS : 2 * fault->pause_ns;
	if (fault->pause_ns > PAUSE_MOST_NS)
		fault->pause_ns = PAUSE_MOST_NS;
	fault->next_ns = now_ns + fault->pause_ns;
	/* A sink halts with the first write that fails, so there is one at most; a file's fault leaves it in place. */
	if (job != NULL)
		fault->job = job;
	fault->of_write |= job != NULL;
	fault->of_place |= job == NULL;
	return true;
}

void wh_output_fault_end(struct wh_writer *writer, bool of_write)
{
	struct wh_fault *fault = &writer->fault;
	if (fault->since_ns == 0 || (of_write && fault->job != NULL))
		return;
	/* What is still on its way to the present file says nothing of the next one. */
	if (of_write)
		fault->of_write = false;
	else
		fault->of_place = false;
	if (fault->of_write || fault->of_place)
		return;
	double seconds = (double)(wh_ns_monotonic() - fault->since_ns) / 1e9;
	fault->since_ns = 0;
	snprintf(fault->told, sizeof(fault->told), "%s, for %.1f s; writing goes on", fault->reason, seconds);
	wh_writer_tell(writer, WH_WRITER_TROUBLE, 0, fault->told);
}

bool wh_output_fault_waits(struct wh_writer *writer)
{
	const struct wh_fault *fault = &writer->fault;
	if (fault->since_ns == 0)
		return false;
	uint64_t now_ns = wh_ns_monotonic();
	return fault->job != NULL || (now_ns < fault->next_ns && !is_over(writer, now_ns));
}

uint64_t wh_output_fault_turn(struct wh_writer *writer, uint64_t wait_ns)
{
	struct wh_fault *fault = &writer->fault;
	if (fault->since_ns == 0)
		return wait_ns;
	uint64_t now_ns = wh_ns_monotonic();
	bool over = is_over(writer, now_ns);
	if (fault->job != NULL && (over || now_ns >= fault->next_ns)) {
		struct wh_job *job = fault->job;
		fault->job = NULL;
		/* One last try where time is up: what comes of it is looked at with the time in mind. */
		writer->sink->ops->retry(writer->sink, &job->write);
		return wait_ns;
	}
	/* Somebody who begins to wait for the end is seen soon. What is due is tried by others before they sleep, or is
	 * with the kernel already, for however long: never a reason not to sleep at all. */
	uint64_t left_ns = PAUSE_LEAST_NS;
	if (now_ns < fault->next_ns && fault->next_ns - now_ns < left_ns)
		left_ns = fault->next_ns - now_ns;
	return left_ns < wait_ns ? left_ns : wait_ns;
}
