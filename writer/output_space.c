/* SPDX-License-Identifier: BSD-3-Clause */
/* How much disk the files may take: room is found before anything is written. */
#include <stdio.h>

#include "writer/output.h"

enum {
	ALLOCATION_STEP = 32 * 1024 * 1024,  /* bytes asked of the file system at a time */
	ALLOCATION_FIRST = 128 * 1024 * 1024 /* at most, of a new file where the last one was long */
};

/* Asking for the free space and taking some of it is one step for all writers of the process. */
static pthread_mutex_t allocation_lock = PTHREAD_MUTEX_INITIALIZER;

/* What all files of the process may still grow by on file systems that cannot preallocate: not in their figures yet. */
static _Atomic uint64_t promised_bytes;

void wh_output_promise(struct wh_file *file, uint64_t bytes)
{
	/* Relaxed: a sum; whoever decides by it holds the lock. Unsigned, so that a smaller promise wraps to a
	 * subtraction. */
	atomic_fetch_add_explicit(&promised_bytes, bytes - file->promised, memory_order_relaxed);
	file->promised = bytes;
}

void wh_output_promise_renew(struct wh_file *file)
{
	if (!file->allocates)
		wh_output_promise(file, file->allocated > file->valid ? file->allocated - file->valid : 0);
}

uint64_t wh_output_trailer_bytes(const struct wh_writer *writer)
{
	if (!writer->pcapng)
		return 0;
	return wh_file_aligned((uint64_t)wh_pcapng_head_bytes(WH_STREAM_SOURCES) +
			       (uint64_t)writer->interfaces_seen * WH_PCAPNG_STATISTICS_BYTES + 12);
}

static void space_note(struct wh_writer *writer, const struct wh_space *space)
{
	uint64_t limit = wh_space_limit(space, writer->config.min_free_percent);
	pthread_mutex_lock(&writer->lock);
	writer->free_percent = wh_space_percent(space);
	writer->free_bytes_to_limit = space->available_bytes > limit ? space->available_bytes - limit : 0;
	pthread_mutex_unlock(&writer->lock);
}

enum wh_status wh_output_space_look(struct wh_writer *writer, struct wh_space *space)
{
	if (writer->directory_fd < 0 || wh_space_read(writer->directory_fd, space) != WH_OK)
		return WH_ERR_SYSTEM;
	space_note(writer, space);
	uint64_t ahead = atomic_load_explicit(&promised_bytes, memory_order_relaxed);
	space->available_bytes = space->available_bytes > ahead ? space->available_bytes - ahead : 0;
	return WH_OK;
}

/* Deletes the oldest closed file of this chain. False: there is none, or it may not. */
static bool recycle_oldest(struct wh_writer *writer)
{
	return writer->config.recycle && wh_closer_delete_oldest(writer->closer) != 0;
}

void wh_output_space_stop(struct wh_writer *writer, const struct wh_space *space)
{
	char text[WH_PATH_BYTES + 200];
	if (space->available_bytes < writer->config.block_bytes) {
		snprintf(text, sizeof(text),
			 "the file system of %s is full (something else has filled it): make room and start "
			 "again; what was written before is valid",
			 writer->name.directory);
		wh_output_stop(writer, WH_PHASE_DISCARDING, WH_WRITER_STOP_ERROR, text);
		return;
	}
	snprintf(text, sizeof(text),
		 "%s has %.1f %% free and must keep %g %% (--min-free): make room there, or choose "
		 "another directory or limit",
		 writer->name.directory, wh_space_percent(space), writer->config.min_free_percent);
	wh_output_stop(writer, WH_PHASE_DISCARDING, WH_WRITER_STOP_SPACE, text);
}

void wh_output_space_short(struct wh_writer *writer)
{
	struct wh_space space;
	while (wh_output_space_look(writer, &space) == WH_OK &&
	       space.available_bytes < wh_space_limit(&space, writer->config.min_free_percent)) {
		if (recycle_oldest(writer))
			continue;
		wh_output_space_stop(writer, &space);
		return;
	}
}

/* The limit says no. */
static enum wh_status limit_error(const struct wh_writer *writer, const struct wh_space *space, struct wh_error *error)
{
	return wh_error_set(error, WH_ERR_NO_SPACE,
			    "%s has %.1f %% free and must keep %g %% (--min-free): make room there, or choose another "
			    "directory or limit",
			    writer->name.directory, wh_space_percent(space), writer->config.min_free_percent);
}

/* One step of allocation: at least up to NEED, at best up to WANT bytes of the file. */
static enum wh_status allocate_step(struct wh_writer *writer, struct wh_file *file, uint64_t need, uint64_t want,
				    struct wh_space *space, struct wh_error *error)
{
	enum wh_status status;
	pthread_mutex_lock(&allocation_lock);
	uint64_t granted = want - file->allocated;
	if (writer->config.min_free_percent > 0) {
		if (wh_output_space_look(writer, space) != WH_OK)
			*space = (struct wh_space){ 0 };
		granted = wh_space_grant(space, writer->config.min_free_percent, granted, WH_FILE_ALIGNMENT);
	}
	if (file->allocated + granted >= need) {
		status = writer->file_ops->allocate(file, file->allocated + granted, error);
		if (status == WH_ERR_NO_SPACE && file->allocated + granted > need)
			status = writer->file_ops->allocate(file, need, error);
		wh_output_promise_renew(file);
	} else {
		status = limit_error(writer, space, error);
	}
	pthread_mutex_unlock(&allocation_lock);
	return status;
}

/* A file is likely to become as long as the one before it: then it is allocated at once, which costs a file system
 * less than doing so in parts. */
static uint64_t allocation_step(const struct wh_writer *writer, const struct wh_file *file)
{
	uint64_t last = wh_file_aligned(writer->file_bytes_last);
	if (file->allocated != 0 || last < ALLOCATION_STEP)
		return ALLOCATION_STEP;
	return last < ALLOCATION_FIRST ? last : ALLOCATION_FIRST;
}

enum wh_status wh_output_room_ensure(struct wh_writer *writer, struct wh_file *file, uint64_t end,
				     struct wh_space *space, struct wh_error *error)
{
	uint64_t need = wh_file_aligned(end + wh_output_trailer_bytes(writer));
	while (!writer->to_stream && file->allocated < need) {
		uint64_t want = file->allocated + allocation_step(writer, file);
		uint64_t limit = wh_file_aligned(writer->config.limits.file_bytes);
		if (limit != 0 && want > limit)
			want = limit;
		if (want < need)
			want = need;
		enum wh_status status = allocate_step(writer, file, need, want, space, error);
		if (status == WH_ERR_NO_SPACE && recycle_oldest(writer))
			continue;
		if (status != WH_OK)
			return status;
	}
	return WH_OK;
}

enum wh_status wh_output_room_find(struct wh_writer *writer, uint64_t bytes, struct wh_space *space,
				   struct wh_error *error)
{
	double percent = writer->config.min_free_percent;
	uint64_t need = wh_file_aligned(bytes + wh_output_trailer_bytes(writer));
	while (wh_output_space_look(writer, space) == WH_OK &&
	       wh_space_grant(space, percent, need, WH_FILE_ALIGNMENT) < need)
		if (!recycle_oldest(writer))
			return limit_error(writer, space, error);
	return WH_OK;
}

bool wh_output_room_or_stop(struct wh_writer *writer, uint64_t end)
{
	struct wh_space space = { 0 };
	struct wh_error error;
	if (writer->file == NULL)
		return false;
	enum wh_status status = wh_output_room_ensure(writer, writer->file, end, &space, &error);
	if (status == WH_OK) {
		wh_output_fault_end(writer, false);
		return true;
	}
	if (status == WH_ERR_NO_SPACE && error.os_error == 0)
		wh_output_space_stop(writer, &space);
	else if (!wh_output_fault_begin(writer, NULL, &error))
		wh_output_stop(writer, WH_PHASE_DISCARDING, WH_WRITER_STOP_ERROR, error.text);
	return false;
}
