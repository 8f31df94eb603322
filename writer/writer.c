/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer's thread and its mail. */
#include "writer/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "writer/earlier.h"
#include "writer/output.h"

enum { STREAM_PCAPNG_BYTES = 256 * 1024 };
/* Also what wh_writer_slowest() counts on. */
#define WAIT_MOST_NS WH_NS_PER_SECOND

/* From the closing thread. */
static void file_closed(void *context, const char *path, const struct wh_error *error)
{
	struct wh_writer *writer = context;
	if (error != NULL) {
		/* Relaxed: a count. What was written may not be on the disk, which no later success mends. */
		atomic_fetch_add_explicit(&writer->write_errors, 1, memory_order_relaxed);
		wh_writer_tell(writer, WH_WRITER_TROUBLE, 1, error->text);
	}
	wh_writer_tell(writer, WH_WRITER_FILE_CLOSED, 0, path);
	/* The thread may wait for that with a file that is due. */
	writer->sink->ops->wake(writer->sink);
}

/* From whoever deletes. The first that is left is told of: the reason is mostly the same for all, and one line is
 * enough of that. Of a transient chain nobody expects anything to be left, so there it is an error; else the capture
 * goes on.
 */
static void file_removed(void *context, const struct wh_error *error)
{
	struct wh_writer *writer = context;
	/* Relaxed, here and below: counts. */
	if (error == NULL) {
		atomic_fetch_add_explicit(&writer->files_deleted, 1, memory_order_relaxed);
		return;
	}
	if (atomic_fetch_add_explicit(&writer->files_left, 1, memory_order_relaxed) != 0)
		return;
	if (writer->config.transient) {
		wh_writer_tell(writer, WH_WRITER_STOP_ERROR, 0, error->text);
		return;
	}
	char line[sizeof(error->text) + 64];
	snprintf(line, sizeof(line), "%s: it stays, and so will others of which that is true", error->text);
	wh_writer_tell(writer, WH_WRITER_FILE_LEFT, 0, line);
}

/* Is there room for a first file? */
static enum wh_status directory_check(struct wh_writer *writer, struct wh_error *error)
{
	const char *directory = writer->name.directory;
	enum wh_status status = writer->file_ops->directory_open(directory, &writer->directory_fd, error);
	if (status != WH_OK || writer->directory_fd < 0)
		return status;
	/* Then room can be made, and the first file tells whether there is enough. */
	if (writer->config.adopt && writer->config.recycle)
		return WH_OK;
	struct wh_space space;
	if (wh_space_read(writer->directory_fd, &space) != WH_OK)
		return wh_error_system(error, errno, "cannot read the free space of %s", directory);
	double percent = writer->config.min_free_percent;
	uint64_t least = (uint64_t)writer->config.block_bytes + 4 * WH_FILE_ALIGNMENT;
	if (wh_space_grant(&space, percent, least, WH_FILE_ALIGNMENT) < (least & ~(uint64_t)(WH_FILE_ALIGNMENT - 1)))
		return wh_error_set(
		    error, WH_ERR_NO_SPACE,
		    "only %.1f %% of the file system of %s is free, and the limit is %g %%: make room there or "
		    "choose a lower --min-free",
		    wh_space_percent(&space), directory, percent);
	writer->free_percent = wh_space_percent(&space);
	return WH_OK;
}

static enum wh_status sink_open(struct wh_writer *writer, struct wh_error *error)
{
	if (writer->to_stream)
		return wh_sink_portable_open(&writer->sink, error);
	if (writer->config.discard)
		return wh_sink_discard_open(&writer->sink, error);
	struct wh_error refusal;
	if (wh_sink_uring_open(&writer->sink, &refusal) == WH_OK)
		return WH_OK;
	char line[sizeof(refusal.text) + 64];
	snprintf(line, sizeof(line), "%s; writing with pwrite instead", refusal.text);
	wh_writer_tell(writer, WH_WRITER_TROUBLE, 0, line);
	return wh_sink_portable_open(&writer->sink, error);
}

/* A writer that has looked at nothing yet. */
static struct wh_writer *writer_new(const struct wh_writer_config *config)
{
	struct wh_writer *writer =
	    aligned_alloc(WH_CACHE_LINE, (sizeof(*writer) + WH_CACHE_LINE - 1) & ~(size_t)(WH_CACHE_LINE - 1));
	if (writer == NULL)
		return NULL;
	memset(writer, 0, sizeof(*writer));
	writer->config = *config;
	writer->file_ops = config->discard ? &wh_file_discard_ops : &wh_file_disk_ops;
	writer->directory_fd = -1;
	writer->free_percent = -1;
	writer->pcapng = config->format == WH_WRITE_PCAPNG;
	writer->to_stream = strcmp(config->path, "-") == 0;
	writer->buffer_bytes = writer->pcapng ? STREAM_PCAPNG_BYTES : config->block_bytes;
	if (writer->buffer_bytes < STREAM_PCAPNG_BYTES)
		writer->buffer_bytes = STREAM_PCAPNG_BYTES;
	pthread_mutex_init(&writer->lock, NULL);
	for (uint32_t i = 0; i < WH_WRITER_JOBS; i++) {
		writer->jobs[i].next_free = writer->free_jobs;
		writer->free_jobs = &writer->jobs[i];
	}
	return writer;
}

static enum wh_status place_check(struct wh_writer *writer, struct wh_error *error)
{
	if (writer->to_stream)
		return WH_OK;
	enum wh_status status = wh_chain_name_parse(writer->config.path, writer->config.tag, &writer->name, error);
	return status == WH_OK ? directory_check(writer, error) : status;
}

enum wh_status wh_writer_check(const struct wh_writer_config *config, struct wh_error *error)
{
	struct wh_writer *writer = writer_new(config);
	if (writer == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	enum wh_status status = place_check(writer, error);
	wh_writer_close(writer);
	return status;
}

enum wh_status wh_writer_open(const struct wh_writer_config *config, struct wh_writer **opened, struct wh_error *error)
{
	struct wh_writer *writer = writer_new(config);
	if (writer == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	writer->inputs = calloc(WH_WRITER_TABLE, sizeof(struct wh_input *));
	writer->interfaces = calloc(WH_WRITER_TABLE, sizeof(*writer->interfaces));
	enum wh_status status = WH_OK;
	if (writer->inputs == NULL || writer->interfaces == NULL)
		status = wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	if (status == WH_OK)
		status = place_check(writer, error);
	if (status == WH_OK)
		status =
		    wh_pool_open(&writer->pool, WH_WRITER_BUFFERS, writer->buffer_bytes + WH_STREAM_STAGE_BYTES, error);
	if (status == WH_OK)
		status = sink_open(writer, error);
	if (status != WH_OK) {
		wh_writer_close(writer);
		return status;
	}
	*opened = writer;
	return WH_OK;
}

enum mail { MAIL_SOURCES, MAIL_MARK, MAIL_ROTATE, MAIL_SPACE, MAIL_GONE, MAIL_FINISH };

/* Puts WORD into the mail and wakes the thread. */
static void mail_send(struct wh_writer *writer, enum mail word)
{
	pthread_mutex_lock(&writer->lock);
	writer->mail_rotate |= word == MAIL_ROTATE;
	writer->mail_space |= word == MAIL_SPACE;
	writer->mail_gone |= word == MAIL_GONE;
	writer->mail_finish |= word == MAIL_FINISH;
	pthread_mutex_unlock(&writer->lock);
	/* Release: pairs with the acquire in mail_read(). */
	atomic_store_explicit(&writer->mail, true, memory_order_release);
	writer->sink->ops->wake(writer->sink);
}

enum wh_status wh_writer_attach(struct wh_writer *writer, struct wh_writer_source *source, struct wh_error *error)
{
	pthread_mutex_lock(&writer->lock);
	enum wh_status status = wh_inputs_add(writer, source, error);
	pthread_mutex_unlock(&writer->lock);
	if (status == WH_OK && writer->started)
		mail_send(writer, MAIL_SOURCES);
	return status;
}

/* Reads the mail. Returns whether the end was asked for. */
static bool mail_read(struct wh_writer *writer)
{
	/* Acquire: pairs with the release in mail_send(). A word that comes in behind it sets the flag again. */
	if (!atomic_exchange_explicit(&writer->mail, false, memory_order_acquire))
		return false;
	pthread_mutex_lock(&writer->lock);
	bool finish = writer->mail_finish, rotate = writer->mail_rotate, space = writer->mail_space;
	bool gone = writer->mail_gone;
	writer->mail_gone = false;
	writer->mail_rotate = false;
	writer->mail_space = false;
	pthread_mutex_unlock(&writer->lock);
	wh_inputs_take(writer);
	writer->rotate_asked |= rotate && !writer->to_stream;
	if (space && writer->phase == WH_PHASE_TAKING)
		wh_output_space_short(writer);
	if (gone)
		wh_output_gone(writer);
	wh_output_marks(writer);
	return finish;
}

/*
 * Sleeps until there is something to do. Both sides exchange the flag, so one of the two exchanges comes first: if it
 * is ours, the producer finds the flag and wakes us; if it is the producer's, its push is seen here (its exchange
 * releases it, ours acquires it) and there is no sleep.
 */
static void writer_sleep(struct wh_writer *writer, uint64_t wait_ns)
{
	if (wh_inputs_must_wait(writer)) {
		wh_output_reap(writer, wait_ns);
		return;
	}
	atomic_exchange_explicit(&writer->sleeping, true, memory_order_acq_rel);
	bool more = wh_inputs_have_more(writer) || atomic_load_explicit(&writer->mail, memory_order_relaxed);
	wh_output_reap(writer, more ? 0 : wait_ns);
	/* An exchange, too: a producer whose push came before it and whose exchange found us asleep is seen from here
	 * on. */
	atomic_exchange_explicit(&writer->sleeping, false, memory_order_acq_rel);
}

static void *writer_main(void *argument)
{
	struct wh_writer *writer = argument;
	bool finish = false;
	for (;;) {
		finish |= mail_read(writer);
		wh_output_held(writer);
		bool any = wh_inputs_drain(writer);
		wh_output_reap(writer, 0);
		uint64_t wait_ns = wh_output_tick(writer, wh_ns_monotonic());
		/* Behind the last reap before the sleep: what came back in it may be all that an input waited for, and
		 * nothing else might end the sleep. */
		wh_inputs_settle(writer);
		if (any)
			continue;
		if (finish && wh_inputs_all_settled(writer))
			break;
		writer_sleep(writer, wait_ns < WAIT_MOST_NS ? wait_ns : WAIT_MOST_NS);
	}
	wh_output_file_end(writer);
	while (writer->jobs_out > 0)
		wh_output_reap(writer, WH_NS_PER_SECOND);
	/* It is done: from here on only the closing thread can be late. */
	atomic_store_explicit(&writer->beat_ns, UINT64_MAX, memory_order_relaxed);
	return NULL;
}

/* Makes the files that earlier captures have left the chain's oldest. */
static enum wh_status earlier_adopt(struct wh_writer *writer, struct wh_error *error)
{
	struct wh_earlier earlier = { 0 };
	bool deletes = writer->config.keep_files != 0 || writer->config.recycle;
	if (!writer->config.adopt || !deletes || writer->directory_fd < 0)
		return WH_OK;
	enum wh_status status = wh_earlier_find(&writer->name, writer->directory_fd, &earlier, error);
	for (size_t i = 0; status == WH_OK && i < earlier.count; i++)
		status = wh_closer_adopt(writer->closer, earlier.files[i].path, earlier.files[i].bytes, error);
	if (status == WH_OK && earlier.count > 0) {
		char line[160];
		snprintf(line, sizeof(line),
			 "%zu %s (%llu MB) of earlier captures %s to this one, as its oldest (--adopt)", earlier.count,
			 earlier.count == 1 ? "file" : "files",
			 (unsigned long long)((earlier.bytes + 500000) / 1000000),
			 earlier.count == 1 ? "belongs" : "belong");
		wh_writer_tell(writer, WH_WRITER_NOTICE, 0, line);
	}
	wh_earlier_free(&earlier);
	return status;
}

enum wh_status wh_writer_start(struct wh_writer *writer, struct wh_error *error)
{
	const struct wh_closer_config closer = {
		.files = writer->file_ops,
		.keep_files = writer->config.keep_files,
		.may_delete = writer->config.recycle,
		.transient = writer->config.transient,
		.closed = file_closed,
		.removed = file_removed,
		.context = writer,
	};
	enum wh_status status = wh_closer_open(&closer, &writer->closer, error);
	if (status != WH_OK)
		return status;
	writer->start_wall_ns = wh_ns_wall();
	wh_beat(&writer->beat_ns);
	wh_inputs_take(writer);
	status = earlier_adopt(writer, error);
	if (status == WH_OK)
		status = wh_output_file_begin(writer, error);
	if (status != WH_OK)
		return status;
	int result = pthread_create(&writer->thread, NULL, writer_main, writer);
	if (result != 0)
		return wh_error_system(error, result, "cannot start the writer thread");
	pthread_setname_np(writer->thread, "wh-write");
	writer->started = true;
	return WH_OK;
}

void wh_writer_wake(struct wh_writer *writer)
{
	/* Pairs with the exchange in writer_sleep(). */
	if (atomic_exchange_explicit(&writer->sleeping, false, memory_order_acq_rel))
		writer->sink->ops->wake(writer->sink);
}

void wh_writer_hurry(struct wh_writer *writer)
{
	atomic_store_explicit(&writer->sink->hurried, true, memory_order_relaxed);
}

void wh_writer_rotate(struct wh_writer *writer)
{
	mail_send(writer, MAIL_ROTATE);
}

static struct wh_mark *mark_make(uint64_t ns, const char *text)
{
	size_t length = strlen(text) + 1;
	struct wh_mark *mark = malloc(sizeof(*mark) + length);
	if (mark == NULL)
		return NULL;
	*mark = (struct wh_mark){ .ns = ns };
	memcpy(mark->text, text, length);
	return mark;
}

enum wh_status wh_writer_mark(struct wh_writer *writer, uint64_t ns, const char *text, struct wh_error *error)
{
	struct wh_mark *mark = mark_make(ns, text);
	if (mark == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "no memory for the mark");
	pthread_mutex_lock(&writer->lock);
	/* While the disk hangs, they wait here for as long as it does. */
	bool full = writer->mark_count >= WH_MARKS_MOST;
	if (!full) {
		if (writer->first_mark == NULL)
			writer->first_mark = mark;
		else
			writer->last_mark->next = mark;
		writer->last_mark = mark;
		writer->mark_count++;
	}
	pthread_mutex_unlock(&writer->lock);
	if (full) {
		free(mark);
		return wh_error_set(error, WH_ERR_SYSTEM, "%d marks wait for the disk already", (int)WH_MARKS_MOST);
	}
	mail_send(writer, MAIL_MARK);
	return WH_OK;
}

const char *wh_writer_slowest(struct wh_writer *writer, uint64_t now_ns, uint64_t *since_ns)
{
	/* Relaxed: a time that is a moment old is as good. */
	*since_ns = atomic_load_explicit(&writer->beat_ns, memory_order_relaxed);
	uint64_t waiting_ns = atomic_load_explicit(&writer->waiting_ns, memory_order_relaxed);
	if (waiting_ns != 0 && waiting_ns < *since_ns)
		*since_ns = waiting_ns;
	uint64_t closing_ns = writer->closer != NULL ? wh_closer_busy_since(writer->closer) : 0;
	if (closing_ns == 0 || closing_ns > now_ns || closing_ns >= *since_ns)
		return "wh-write";
	*since_ns = closing_ns;
	return "wh-close";
}

/* The present file has lost its name: whoever renamed it has it still, which the thread can tell. */
static void name_watch(struct wh_writer *writer)
{
	char path[WH_PATH_BYTES];
	pthread_mutex_lock(&writer->lock);
	memcpy(path, writer->current_file, sizeof(path));
	pthread_mutex_unlock(&writer->lock);
	if (!writer->to_stream && !writer->config.discard && path[0] != '\0' && access(path, F_OK) != 0 &&
	    errno == ENOENT)
		mail_send(writer, MAIL_GONE);
}

void wh_writer_watch(struct wh_writer *writer)
{
	name_watch(writer);
	struct wh_space space;
	if (writer->directory_fd < 0 || wh_space_read(writer->directory_fd, &space) != WH_OK)
		return;
	uint64_t limit = wh_space_limit(&space, writer->config.min_free_percent);
	pthread_mutex_lock(&writer->lock);
	writer->free_percent = wh_space_percent(&space);
	writer->free_bytes_to_limit = space.available_bytes > limit ? space.available_bytes - limit : 0;
	pthread_mutex_unlock(&writer->lock);
	if (space.available_bytes < limit)
		mail_send(writer, MAIL_SPACE);
}

void wh_writer_finish(struct wh_writer *writer)
{
	if (!writer->started)
		return;
	mail_send(writer, MAIL_FINISH);
	pthread_join(writer->thread, NULL);
	writer->started = false;
	wh_closer_finish(writer->closer);
}

void wh_writer_clean_up(struct wh_writer *writer)
{
	wh_closer_close(writer->closer);
	writer->closer = NULL;
}

void wh_writer_totals_read(struct wh_writer *writer, struct wh_writer_totals *totals)
{
	totals->bytes_on_disk = atomic_load_explicit(&writer->bytes_on_disk, memory_order_relaxed);
	totals->bytes_copied = atomic_load_explicit(&writer->bytes_copied, memory_order_relaxed);
	totals->files = atomic_load_explicit(&writer->files, memory_order_relaxed);
	totals->files_deleted = atomic_load_explicit(&writer->files_deleted, memory_order_relaxed);
	totals->files_left = atomic_load_explicit(&writer->files_left, memory_order_relaxed);
	totals->latency_max_ns = atomic_load_explicit(&writer->latency_max_ns, memory_order_relaxed);
	totals->latency_ns = atomic_load_explicit(&writer->latency_ns, memory_order_relaxed);
	for (size_t i = 0; i < WH_WRITER_LATENCIES; i++)
		totals->write_counts[i] = atomic_load_explicit(&writer->write_counts[i], memory_order_relaxed);
	totals->write_errors = atomic_load_explicit(&writer->write_errors, memory_order_relaxed);
	totals->last_frame_ns = atomic_load_explicit(&writer->last_frame_ns, memory_order_relaxed);
	pthread_mutex_lock(&writer->lock);
	memcpy(totals->current_file, writer->current_file, sizeof(totals->current_file));
	totals->free_percent = writer->free_percent;
	totals->free_bytes_to_limit = writer->free_bytes_to_limit;
	pthread_mutex_unlock(&writer->lock);
}

void wh_writer_close(struct wh_writer *writer)
{
	if (writer == NULL)
		return;
	wh_writer_clean_up(writer);
	if (writer->file != NULL && !writer->to_stream) {
		wh_output_promise(writer->file, 0);
		writer->file_ops->abandon(writer->file);
	}
	free(writer->file);
	if (writer->sink != NULL)
		writer->sink->ops->close(writer->sink);
	wh_pool_close(&writer->pool);
	for (uint32_t i = 0; i < writer->attached_count; i++)
		free(writer->inputs[i]);
	while (writer->first_mark != NULL) {
		struct wh_mark *mark = writer->first_mark;
		writer->first_mark = mark->next;
		free(mark);
	}
	free(writer->inputs);
	free(writer->interfaces);
	if (writer->directory_fd >= 0)
		close(writer->directory_fd);
	pthread_mutex_destroy(&writer->lock);
	free(writer);
}
