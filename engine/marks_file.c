/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/marks_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ringbuf/clock.h"
#include "writer/chain.h"
#include "writer/writer.h"

struct wh_marks_line {
	struct wh_marks_line *next;
	uint64_t ns;
	bool waited; /* lock: somebody waits for it, and will free it */
	bool done;   /* lock: what follows is set */
	enum wh_status status;
	struct wh_error error;
	char text[];
};

struct wh_marks_file {
	struct wh_marks_file_config config;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;             /* a line was queued, or is done with, or the end */
	struct wh_marks_line *first, *last; /* lock: the first is the one that is being written */
	uint32_t count;                     /* lock */
	uint64_t busy_ns;                   /* lock: monotonic; when the first was taken up; 0: there is none */
	bool ending;                        /* lock */
	bool finished;                      /* the thread has ended; of whoever ends it */
};

/* ---- the file ---- */

static enum wh_status path_make(const char *output, char path[WH_PATH_BYTES], struct wh_error *error)
{
	struct wh_chain_name name;
	enum wh_status status = wh_chain_name_parse(output, NULL, &name, error);
	if (status != WH_OK)
		return status;
	int length = snprintf(path, WH_PATH_BYTES, "%s/%s_marks.txt", name.directory, name.stem);
	if (length < 0 || length >= WH_PATH_BYTES)
		return wh_error_set(error, WH_ERR_INPUT, "the path %s is too long", output);
	return WH_OK;
}

/* Returns 0, or an errno; then nothing of TEXT is left at the end of the file, which had LENGTH bytes. */
static int append(int fd, const char *text, size_t bytes, off_t length)
{
	size_t done = 0;
	int os_error = 0;
	while (done < bytes && os_error == 0) {
		ssize_t count = write(fd, text + done, bytes - done);
		if (count > 0)
			done += (size_t)count;
		else if (count == 0 || errno != EINTR)
			os_error = count == 0 ? EIO : errno;
	}
	/* Half a line would become one with the next. Where it cannot be taken back either, that is so. */
	if (os_error != 0 && done > 0) {
		int ignored = ftruncate(fd, length);
		(void)ignored;
	}
	return os_error;
}

static enum wh_status line_write(const char *output, const struct wh_marks_line *mark, struct wh_error *error)
{
	char path[WH_PATH_BYTES];
	char line[WH_MARK_BYTES + 64];
	enum wh_status status = path_make(output, path, error);
	if (status != WH_OK)
		return status;
	const time_t seconds = (time_t)(mark->ns / WH_NS_PER_SECOND);
	struct tm utc;
	gmtime_r(&seconds, &utc);
	size_t used = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
	int rest = snprintf(line + used, sizeof(line) - used, ".%09lluZ %s\n",
			    (unsigned long long)(mark->ns % WH_NS_PER_SECOND), mark->text);
	used += rest > 0 ? (size_t)rest : 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (fd < 0)
		return wh_error_system(error, errno, "cannot write %s", path);
	/* In a directory that others may write to, the name may be another one of a file that is not meant at all. */
	struct stat found;
	if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode) || found.st_uid != geteuid() || found.st_nlink != 1) {
		close(fd);
		return wh_error_set(error, WH_ERR_INPUT,
				    "%s is not a file of this user's with that name alone: remove it", path);
	}
	int os_error = append(fd, line, used, found.st_size);
	/* Some file systems report a failed write only here. */
	if (close(fd) != 0 && os_error == 0)
		os_error = errno;
	return os_error == 0 ? WH_OK : wh_error_system(error, os_error, "cannot write %s", path);
}

/* ---- the thread ---- */

/* With the lock held, which is let go for as long as the disk takes. */
static void first_write(struct wh_marks_file *file)
{
	struct wh_marks_line *line = file->first;
	file->busy_ns = wh_ns_monotonic();
	pthread_mutex_unlock(&file->lock);
	struct wh_error error = { 0 };
	enum wh_status status = line_write(file->config.output, line, &error);
	pthread_mutex_lock(&file->lock);
	file->busy_ns = 0;
	file->first = line->next;
	if (file->first == NULL)
		file->last = NULL;
	file->count--;
	if (line->waited) {
		line->status = status;
		line->error = error;
		line->done = true;
		pthread_cond_broadcast(&file->changed);
		return;
	}
	pthread_mutex_unlock(&file->lock);
	if (status != WH_OK)
		file->config.failed(file->config.context, &error);
	free(line);
	pthread_mutex_lock(&file->lock);
}

static void *marks_main(void *argument)
{
	struct wh_marks_file *file = argument;
	pthread_mutex_lock(&file->lock);
	for (;;) {
		if (file->first != NULL)
			first_write(file);
		else if (file->ending)
			break;
		else
			pthread_cond_wait(&file->changed, &file->lock);
	}
	pthread_mutex_unlock(&file->lock);
	return NULL;
}

/* ---- from outside ---- */

enum wh_status wh_marks_file_open(const struct wh_marks_file_config *config, struct wh_marks_file **file,
				  struct wh_error *error)
{
	struct wh_marks_file *made = calloc(1, sizeof(*made));
	if (made == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	made->config = *config;
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	/* Waits are as long as they are, whatever is done to the clock on the wall. */
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_mutex_init(&made->lock, NULL);
	pthread_cond_init(&made->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	int result = pthread_create(&made->thread, NULL, marks_main, made);
	if (result != 0) {
		made->finished = true;
		wh_marks_file_close(made);
		return wh_error_system(error, result, "cannot start the thread for marks");
	}
	pthread_setname_np(made->thread, "wh-marks");
	*file = made;
	return WH_OK;
}

enum wh_status wh_marks_file_add(struct wh_marks_file *file, uint64_t ns, const char *text, struct wh_marks_line **line,
				 struct wh_error *error)
{
	size_t length = strlen(text) + 1;
	struct wh_marks_line *made = malloc(sizeof(*made) + length);
	if (made == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "no memory for the mark");
	*made = (struct wh_marks_line){ .ns = ns, .waited = line != NULL };
	memcpy(made->text, text, length);
	pthread_mutex_lock(&file->lock);
	bool full = file->count >= WH_MARKS_WAITING_MOST;
	if (!full) {
		if (file->last != NULL)
			file->last->next = made;
		else
			file->first = made;
		file->last = made;
		file->count++;
		pthread_cond_broadcast(&file->changed);
	}
	pthread_mutex_unlock(&file->lock);
	if (full) {
		free(made);
		return wh_error_set(error, WH_ERR_SYSTEM, "%d marks wait for the disk already",
				    (int)WH_MARKS_WAITING_MOST);
	}
	if (line != NULL)
		*line = made;
	return WH_OK;
}

enum wh_marks_outcome wh_marks_file_wait(struct wh_marks_file *file, struct wh_marks_line *line, uint32_t most_ms,
					 struct wh_error *error)
{
	pthread_mutex_lock(&file->lock);
	/* A disk that has been silent for so long is not waited for anew with each mark. */
	uint64_t due_ns = (file->busy_ns != 0 ? file->busy_ns : wh_ns_monotonic()) + most_ms * WH_NS_PER_MS;
	const struct timespec due = { .tv_sec = (time_t)(due_ns / WH_NS_PER_SECOND),
				      .tv_nsec = (long)(due_ns % WH_NS_PER_SECOND) };
	int result = 0;
	while (!line->done && result == 0)
		result = pthread_cond_timedwait(&file->changed, &file->lock, &due);
	bool done = line->done;
	line->waited = false;
	pthread_mutex_unlock(&file->lock);
	if (!done)
		return WH_MARKS_WAITS; /* the thread has it */
	enum wh_status status = line->status;
	if (status != WH_OK && error != NULL)
		*error = line->error;
	free(line);
	return status == WH_OK ? WH_MARKS_WRITTEN : WH_MARKS_FAILED;
}

void wh_marks_file_finish(struct wh_marks_file *file)
{
	if (file == NULL || file->finished)
		return;
	pthread_mutex_lock(&file->lock);
	file->ending = true;
	pthread_cond_broadcast(&file->changed);
	pthread_mutex_unlock(&file->lock);
	pthread_join(file->thread, NULL);
	file->finished = true;
}

void wh_marks_file_close(struct wh_marks_file *file)
{
	if (file == NULL)
		return;
	wh_marks_file_finish(file);
	pthread_cond_destroy(&file->changed);
	pthread_mutex_destroy(&file->lock);
	free(file);
}
