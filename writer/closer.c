/* SPDX-License-Identifier: BSD-3-Clause */
#include "writer/closer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ringbuf/clock.h"

/* A closed file that may have to be deleted one day. */
struct kept {
	struct kept *next;
	uint64_t bytes;
	char path[];
};

struct wh_closer {
	struct wh_closer_config config;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work; /* for the thread: something was handed over, or the end */
	pthread_cond_t idle; /* for the others: the thread has nothing left to do */
	struct wh_file *first, *last;
	struct kept *oldest, *newest;
	uint32_t waiting;               /* files handed over that are not closed yet */
	uint64_t kept_count;            /* files on the kept list */
	uint64_t begun;                 /* files begun */
	uint64_t closed;                /* files closed */
	_Atomic uint64_t busy_since_ns; /* monotonic; when the thread took up what it is at; 0: it waits for work */
	bool busy, ending;
	bool finished; /* the thread has ended; of whoever ends it */
};

/* Without the lock. */
static void file_remove(struct wh_closer *closer, const char *path, bool at_once)
{
	struct wh_error error;
	bool gone = closer->config.files->remove(path, at_once, &error) == WH_OK;
	closer->config.removed(closer->config.context, gone ? NULL : &error);
}

/* With the lock held. */
static struct kept *oldest_take(struct wh_closer *closer)
{
	struct kept *kept = closer->oldest;
	if (kept == NULL)
		return NULL;
	closer->oldest = kept->next;
	if (closer->oldest == NULL)
		closer->newest = NULL;
	closer->kept_count--;
	return kept;
}

/* With the lock held; lets it go while a file is deleted. */
static void retention_apply(struct wh_closer *closer)
{
	if (closer->config.keep_files == 0)
		return;
	for (;;) {
		uint64_t open = closer->begun - closer->closed;
		struct kept *kept = NULL;
		if (closer->kept_count + open > closer->config.keep_files)
			kept = oldest_take(closer);
		if (kept == NULL)
			return;
		pthread_mutex_unlock(&closer->lock);
		file_remove(closer, kept->path, false);
		free(kept);
		pthread_mutex_lock(&closer->lock);
	}
}

/* Only a chain that may delete files needs to remember them; the list is bounded by keep_files or by the disk. */
static bool remembers(const struct wh_closer *closer)
{
	return closer->config.keep_files != 0 || closer->config.may_delete || closer->config.transient;
}

/* NULL: no memory. */
static struct kept *kept_make(const char *path, uint64_t bytes)
{
	size_t length = strlen(path) + 1;
	struct kept *kept = malloc(sizeof(*kept) + length);
	if (kept == NULL)
		return NULL;
	kept->next = NULL;
	kept->bytes = bytes;
	memcpy(kept->path, path, length);
	return kept;
}

/* With the lock held. */
static void keep(struct wh_closer *closer, struct kept *kept)
{
	if (closer->newest != NULL)
		closer->newest->next = kept;
	else
		closer->oldest = kept;
	closer->newest = kept;
	closer->kept_count++;
}

/* Relaxed: a time for whoever watches. */
static void beat(struct wh_closer *closer, uint64_t ns)
{
	atomic_store_explicit(&closer->busy_since_ns, ns, memory_order_relaxed);
}

uint64_t wh_closer_busy_since(const struct wh_closer *closer)
{
	return atomic_load_explicit(&closer->busy_since_ns, memory_order_relaxed);
}

static void *closer_main(void *argument)
{
	struct wh_closer *closer = argument;
	pthread_mutex_lock(&closer->lock);
	for (;;) {
		retention_apply(closer);
		struct wh_file *file = closer->first;
		if (file == NULL && closer->ending)
			break;
		if (file == NULL) {
			closer->busy = false;
			beat(closer, 0);
			pthread_cond_broadcast(&closer->idle);
			pthread_cond_wait(&closer->work, &closer->lock);
			closer->busy = true;
			beat(closer, wh_ns_monotonic());
			continue;
		}
		beat(closer, wh_ns_monotonic());
		closer->first = file->next;
		if (closer->first == NULL)
			closer->last = NULL;
		pthread_mutex_unlock(&closer->lock);
		struct wh_error error;
		bool whole = closer->config.files->finish(file, &error) == WH_OK;
		pthread_mutex_lock(&closer->lock);
		closer->waiting--;
		pthread_mutex_unlock(&closer->lock);
		closer->config.closed(closer->config.context, file->path, whole ? NULL : &error);
		struct kept *kept = remembers(closer) ? kept_make(file->path, file->valid) : NULL;
		/* What cannot be removed later goes now; what is to stay, stays. */
		if (kept == NULL && closer->config.transient)
			file_remove(closer, file->path, false);
		pthread_mutex_lock(&closer->lock);
		if (kept != NULL)
			keep(closer, kept);
		closer->closed++;
		free(file);
	}
	closer->busy = false;
	beat(closer, 0);
	pthread_cond_broadcast(&closer->idle);
	pthread_mutex_unlock(&closer->lock);
	return NULL;
}

enum wh_status wh_closer_open(const struct wh_closer_config *config, struct wh_closer **closer, struct wh_error *error)
{
	struct wh_closer *made = calloc(1, sizeof(*made));
	if (made == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	made->config = *config;
	pthread_mutex_init(&made->lock, NULL);
	pthread_cond_init(&made->work, NULL);
	pthread_cond_init(&made->idle, NULL);
	made->busy = true;
	int result = pthread_create(&made->thread, NULL, closer_main, made);
	if (result != 0) {
		free(made);
		return wh_error_system(error, result, "cannot start the closing thread");
	}
	pthread_setname_np(made->thread, "wh-close");
	*closer = made;
	return WH_OK;
}

enum wh_status wh_closer_adopt(struct wh_closer *closer, const char *path, uint64_t bytes, struct wh_error *error)
{
	if (!remembers(closer))
		return WH_OK;
	struct kept *kept = kept_make(path, bytes);
	if (kept == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	pthread_mutex_lock(&closer->lock);
	keep(closer, kept);
	pthread_mutex_unlock(&closer->lock);
	return WH_OK;
}

void wh_closer_hand_over(struct wh_closer *closer, struct wh_file *file)
{
	file->next = NULL;
	pthread_mutex_lock(&closer->lock);
	if (closer->last != NULL)
		closer->last->next = file;
	else
		closer->first = file;
	closer->last = file;
	closer->waiting++;
	pthread_cond_signal(&closer->work);
	pthread_mutex_unlock(&closer->lock);
}

bool wh_closer_is_behind(struct wh_closer *closer)
{
	pthread_mutex_lock(&closer->lock);
	bool behind = closer->waiting >= WH_CLOSER_WAITING_MOST;
	pthread_mutex_unlock(&closer->lock);
	return behind;
}

void wh_closer_file_begun(struct wh_closer *closer)
{
	pthread_mutex_lock(&closer->lock);
	closer->begun++;
	pthread_cond_signal(&closer->work);
	pthread_mutex_unlock(&closer->lock);
}

uint64_t wh_closer_delete_oldest(struct wh_closer *closer)
{
	pthread_mutex_lock(&closer->lock);
	while (closer->busy || closer->first != NULL)
		pthread_cond_wait(&closer->idle, &closer->lock);
	struct kept *kept = oldest_take(closer);
	pthread_mutex_unlock(&closer->lock);
	if (kept == NULL)
		return 0;
	uint64_t bytes = kept->bytes > 0 ? kept->bytes : 1;
	file_remove(closer, kept->path, true);
	free(kept);
	return bytes;
}

void wh_closer_finish(struct wh_closer *closer)
{
	if (closer->finished)
		return;
	pthread_mutex_lock(&closer->lock);
	closer->ending = true;
	pthread_cond_signal(&closer->work);
	pthread_mutex_unlock(&closer->lock);
	pthread_join(closer->thread, NULL);
	closer->finished = true;
}

void wh_closer_close(struct wh_closer *closer)
{
	if (closer == NULL)
		return;
	wh_closer_finish(closer);
	struct kept *kept;
	while ((kept = oldest_take(closer)) != NULL) {
		if (closer->config.transient)
			file_remove(closer, kept->path, false);
		free(kept);
	}
	pthread_cond_destroy(&closer->work);
	pthread_cond_destroy(&closer->idle);
	pthread_mutex_destroy(&closer->lock);
	free(closer);
}
