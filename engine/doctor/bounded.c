/* SPDX-License-Identifier: BSD-3-Clause */
/* Work that may hang with a disk, and is not waited for any longer than is said. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/doctor/state.h"
#include "ringbuf/clock.h"
#include "writer/file.h"

struct job {
	void (*work)(void *of);
	void (*release)(void *of);
	void *of;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	/* Under the lock. */
	bool done, abandoned;
};

static struct job *job_new(void (*work)(void *), void (*release)(void *), void *of)
{
	pthread_condattr_t attributes;
	struct job *job = malloc(sizeof(*job));
	if (job == NULL)
		return NULL;
	*job = (struct job){ .work = work, .release = release, .of = of };
	pthread_mutex_init(&job->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&job->ended, &attributes);
	pthread_condattr_destroy(&attributes);
	return job;
}

static void job_free(struct job *job)
{
	pthread_cond_destroy(&job->ended);
	pthread_mutex_destroy(&job->lock);
	free(job);
}

static void *job_main(void *argument)
{
	struct job *job = argument;
	job->work(job->of);
	pthread_mutex_lock(&job->lock);
	bool abandoned = job->abandoned;
	job->done = true;
	pthread_cond_signal(&job->ended);
	pthread_mutex_unlock(&job->lock);
	if (abandoned) {
		job->release(job->of);
		job_free(job);
	}
	return NULL;
}

bool wh_doctor_within(double seconds, void (*work)(void *of), void (*release)(void *of), void *of)
{
	pthread_t thread;
	uint64_t until_ns = wh_ns_monotonic() + (uint64_t)(seconds * WH_NS_PER_SECOND);
	const struct timespec until = { .tv_sec = (time_t)(until_ns / WH_NS_PER_SECOND),
					.tv_nsec = (long)(until_ns % WH_NS_PER_SECOND) };
	struct job *job = job_new(work, release, of);
	if (job == NULL || pthread_create(&thread, NULL, job_main, job) != 0) {
		if (job != NULL)
			job_free(job);
		work(of);
		return true;
	}
	int result = 0;
	pthread_mutex_lock(&job->lock);
	while (!job->done && result != ETIMEDOUT)
		result = pthread_cond_timedwait(&job->ended, &job->lock, &until);
	bool done = job->done;
	job->abandoned = !done;
	pthread_mutex_unlock(&job->lock);
	if (!done) {
		pthread_detach(thread);
		return false;
	}
	pthread_join(thread, NULL);
	job_free(job);
	return true;
}

/* Opens the directory and asks for its space, as will be done for good; what comes of it is not of interest. */
static void directory_look(void *of)
{
	struct wh_space space;
	struct wh_error error = { 0 };
	int fd = -1;
	if (wh_file_disk_ops.directory_open(of, &fd, &error) == WH_OK)
		(void)!wh_space_read(fd, &space);
	if (fd >= 0)
		close(fd);
}

enum wh_status wh_doctor_answers(const char *output, double seconds, struct wh_error *error)
{
	struct wh_chain_name name;
	enum wh_status status = wh_chain_name_parse(output, NULL, &name, error);
	if (status != WH_OK)
		return status;
	char *directory = strdup(name.directory);
	if (directory == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	if (!wh_doctor_within(seconds, directory_look, free, directory))
		return wh_error_set(
		    error, WH_ERR_INPUT,
		    "the file system of %.300s has not answered for %s: a capture would hang there, too",
		    name.directory, wh_words_duration(seconds).s);
	free(directory);
	return WH_OK;
}
