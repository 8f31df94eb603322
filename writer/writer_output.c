/* SPDX-License-Identifier: BSD-3-Clause */
/* What the writer's thread does with its files: where each byte goes, when a file ends, and how much disk it may take.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "writer/writer_state.h"

enum {
	ALLOCATION_STEP = 32 * 1024 * 1024,   /* bytes asked of the file system at a time */
	ALLOCATION_FIRST = 128 * 1024 * 1024, /* at most, of a new file where the last one was long */
	NAME_TRIES = 10000
};
/* What is in the stream is handed to the file system after so long at the latest. */
#define FLUSH_NS (500 * WH_NS_PER_MS)

/* Asking for the free space and taking some of it is one step for all writers of the process. */
static pthread_mutex_t allocation_lock = PTHREAD_MUTEX_INITIALIZER;

/* What all files of the process may still grow by on file systems that cannot preallocate: not in their figures yet. */
static _Atomic uint64_t promised_bytes;

static void promise(struct wh_file *file, uint64_t bytes)
{
	/* Relaxed: a sum; whoever decides by it holds the lock. Unsigned, so that a smaller promise wraps to a
	 * subtraction. */
	atomic_fetch_add_explicit(&promised_bytes, bytes - file->promised, memory_order_relaxed);
	file->promised = bytes;
}

/* Says anew what FILE may still grow by. */
static void promise_renew(struct wh_file *file)
{
	if (!file->allocates)
		promise(file, file->allocated > file->valid ? file->allocated - file->valid : 0);
}

static uint64_t aligned_up(uint64_t bytes)
{
	return (bytes + WH_FILE_ALIGNMENT - 1) & ~(uint64_t)(WH_FILE_ALIGNMENT - 1);
}

static void event_send(const struct wh_writer *writer, enum wh_writer_event event, const char *text)
{
	writer->config.event(writer->config.event_context, event, 0, text);
}

void wh_output_stop(struct wh_writer *writer, enum wh_writer_phase phase, enum wh_writer_event event, const char *text)
{
	if (writer->phase != WH_PHASE_TAKING)
		return;
	writer->phase = phase;
	event_send(writer, event, text);
}

/* ---- jobs: writes on their way ---- */

static struct wh_job *job_acquire(struct wh_writer *writer)
{
	while (writer->free_jobs == NULL)
		wh_output_reap(writer, WH_NS_PER_SECOND);
	struct wh_job *job = writer->free_jobs;
	writer->free_jobs = job->next_free;
	*job = (struct wh_job){ .write = { .buffer = WH_BUFFER_NONE } };
	return job;
}

static void job_finish(struct wh_writer *writer, struct wh_job *job);

/* After a failed write nothing more goes to the sink: what is queued behind a hole could not be read, and must not
 * count as written. It is as if the write had come back cancelled. */
static void job_queue(struct wh_writer *writer, struct wh_job *job, const struct wh_stream_piece *piece)
{
	struct wh_file *file = writer->file;
	job->file = file;
	job->open = piece->open;
	job->write.base = piece->base;
	job->write.length = piece->length;
	job->write.fd = piece->aligned && file->direct ? file->direct_fd : file->buffered_fd;
	job->write.offset = writer->to_stream ? WH_OFFSET_STREAM : piece->offset;
	job->queued_ns = wh_ns_monotonic();
	file->pending++;
	writer->jobs_out++;
	if (writer->failed) {
		job->write.os_error = ECANCELED;
		job_finish(writer, job);
		return;
	}
	writer->sink->ops->queue(writer->sink, &job->write);
}

static struct wh_input *input_of(const struct wh_writer *writer, uint16_t source)
{
	for (uint32_t i = 0; i < writer->input_count; i++)
		if (writer->inputs[i]->active && writer->inputs[i]->source.source == source)
			return writer->inputs[i];
	return NULL;
}

/* FRAMES of INPUT that had a place in the file are not there. */
static void input_discard(struct wh_input *input, uint64_t frames)
{
	input->discarded += frames;
	input->dropped += frames;
	atomic_fetch_add_explicit(&input->source.counters->frames_discarded, frames, memory_order_relaxed);
}

static void flush_came_back(struct wh_writer *writer, struct wh_flush *flush, bool written)
{
	flush->failed |= !written;
	if (--flush->jobs != 0)
		return;
	for (uint32_t i = 0; i < flush->count; i++) {
		struct wh_input *input = input_of(writer, flush->counts[i].source);
		if (input == NULL)
			continue;
		input->outstanding--;
		if (flush->failed)
			input_discard(input, flush->counts[i].frames);
		else
			atomic_fetch_add_explicit(&input->source.counters->frames_written, flush->counts[i].frames,
						  memory_order_relaxed);
	}
	if (flush->buffer != NULL)
		wh_pool_release(&writer->pool, flush->buffer);
	else
		writer->stream_flushes--;
}

/* The file's last write is back. */
static void file_settle(struct wh_writer *writer, struct wh_file *file)
{
	if (!file->ended || file->pending != 0)
		return;
	promise(file, 0);
	if (writer->to_stream)
		free(file);
	else
		wh_closer_hand_over(writer->closer, file);
}

static void job_finish(struct wh_writer *writer, struct wh_job *job)
{
	bool written = job->write.os_error == 0;
	struct wh_file *file = job->file;
	uint64_t end = job->write.offset + job->write.length - job->open;
	if (written && !writer->to_stream && end > file->valid)
		file->valid = end;
	promise_renew(file);
	uint64_t latency = wh_ns_monotonic() - job->queued_ns;
	if (latency > atomic_load_explicit(&writer->latency_max_ns, memory_order_relaxed))
		atomic_store_explicit(&writer->latency_max_ns, latency, memory_order_relaxed);
	if (job->chunk != NULL) {
		struct wh_input *input = job->input;
		if (written)
			atomic_fetch_add_explicit(&input->source.counters->frames_written, job->chunk->frames,
						  memory_order_relaxed);
		else
			input_discard(input, job->chunk->frames);
		wh_chunk_release(job->chunk);
	}
	if (job->input != NULL)
		job->input->outstanding--;
	if (job->flush != NULL)
		flush_came_back(writer, job->flush, written || job->head);
	if (job->buffer != NULL)
		wh_pool_release(&writer->pool, job->buffer);
	job->next_free = writer->free_jobs;
	writer->free_jobs = job;
	writer->jobs_out--;
	file->pending--;
	file_settle(writer, file);
}

/* Some file systems take O_DIRECT when a file is opened and refuse it when it is written. */
static bool direct_fall_back(struct wh_writer *writer, struct wh_job *job)
{
	bool direct = job->file->direct_fd >= 0 && job->write.fd == job->file->direct_fd;
	if (!direct || (job->write.os_error != EINVAL && job->write.os_error != EOPNOTSUPP) ||
	    writer->config.direct == WH_FILE_DIRECT_ON)
		return false;
	if (job->file->direct)
		event_send(writer, WH_WRITER_NOTICE,
			   "the file system refuses direct writes; writing through the page cache");
	job->file->direct = false;
	job->write.fd = job->file->buffered_fd;
	writer->sink->ops->retry(writer->sink, &job->write);
	return true;
}

static void write_failed(struct wh_writer *writer, const struct wh_job *job)
{
	if (writer->failed)
		return;
	writer->failed = true;
	struct wh_error error;
	if (writer->to_stream && job->write.os_error == ETIMEDOUT)
		wh_error_set(&error, WH_ERR_SYSTEM,
			     "nobody reads standard output: what waited for its reader was given up, and counts as "
			     "dropped");
	else if (writer->to_stream)
		wh_error_system(&error, job->write.os_error, "cannot write to standard output");
	else
		wh_error_system(&error, job->write.os_error, "cannot write to %s (what was written before is valid)",
				job->file->path);
	/* Even where the chain was stopped for another reason already: what was on its way then is not in the files. */
	writer->phase = WH_PHASE_DISCARDING;
	event_send(writer, WH_WRITER_STOP_ERROR, error.text);
	writer->sink->ops->discard(writer->sink);
}

void wh_output_reap(struct wh_writer *writer, uint64_t wait_ns)
{
	struct wh_write *write = writer->sink->ops->reap(writer->sink, wait_ns);
	while (write != NULL) {
		struct wh_job *job = (struct wh_job *)write;
		write = write->next;
		if (job->write.os_error != 0 && direct_fall_back(writer, job))
			continue;
		if (job->write.os_error != 0 && job->write.os_error != ECANCELED)
			write_failed(writer, job);
		job_finish(writer, job);
	}
}

/* ---- free space ---- */

static uint64_t trailer_bytes(const struct wh_writer *writer)
{
	if (!writer->pcapng)
		return 0;
	return aligned_up((uint64_t)wh_pcapng_head_bytes(WH_STREAM_SOURCES) +
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

static enum wh_status space_look(struct wh_writer *writer, struct wh_space *space)
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

static void stop_for_space(struct wh_writer *writer, const struct wh_space *space)
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
	while (space_look(writer, &space) == WH_OK &&
	       space.available_bytes < wh_space_limit(&space, writer->config.min_free_percent)) {
		if (recycle_oldest(writer))
			continue;
		stop_for_space(writer, &space);
		return;
	}
}

/* One step of allocation: at least up to NEED, at best up to WANT bytes of the file. */
static enum wh_status allocate_step(struct wh_writer *writer, struct wh_file *file, uint64_t need, uint64_t want,
				    struct wh_space *space, struct wh_error *error)
{
	enum wh_status status = WH_ERR_NO_SPACE;
	pthread_mutex_lock(&allocation_lock);
	uint64_t granted = want - file->allocated;
	if (writer->config.min_free_percent > 0) {
		if (space_look(writer, space) != WH_OK)
			*space = (struct wh_space){ 0 };
		granted = wh_space_grant(space, writer->config.min_free_percent, granted, WH_FILE_ALIGNMENT);
	}
	error->os_error = 0;
	if (file->allocated + granted >= need) {
		status = writer->file_ops->allocate(file, file->allocated + granted, error);
		if (status == WH_ERR_NO_SPACE && file->allocated + granted > need)
			status = writer->file_ops->allocate(file, need, error);
		promise_renew(file);
	}
	pthread_mutex_unlock(&allocation_lock);
	return status;
}

/* A file is likely to become as long as the one before it: then it is allocated at once, which costs a file system
 * less than doing so in parts. */
static uint64_t allocation_step(const struct wh_writer *writer, const struct wh_file *file)
{
	uint64_t last = aligned_up(writer->file_bytes_last);
	if (file->allocated != 0 || last < ALLOCATION_STEP)
		return ALLOCATION_STEP;
	return last < ALLOCATION_FIRST ? last : ALLOCATION_FIRST;
}

/* Makes sure that FILE may grow to END bytes and be closed. On failure nothing was stopped yet; ERROR's os_error is 0
 * where it was the limit that said no. */
static enum wh_status room_ensure(struct wh_writer *writer, struct wh_file *file, uint64_t end, struct wh_space *space,
				  struct wh_error *error)
{
	uint64_t need = aligned_up(end + trailer_bytes(writer));
	while (!writer->to_stream && file->allocated < need) {
		uint64_t want = file->allocated + allocation_step(writer, file);
		uint64_t limit = aligned_up(writer->config.limits.file_bytes);
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

/* Whether a new file of so many BYTES would find room, after recycling where that is allowed. */
static enum wh_status room_find(struct wh_writer *writer, uint64_t bytes, struct wh_space *space,
				struct wh_error *error)
{
	double percent = writer->config.min_free_percent;
	uint64_t need = aligned_up(bytes + trailer_bytes(writer));
	while (space_look(writer, space) == WH_OK && wh_space_grant(space, percent, need, WH_FILE_ALIGNMENT) < need)
		if (!recycle_oldest(writer))
			return wh_error_set(error, WH_ERR_NO_SPACE,
					    "%s has %.1f %% free and must keep %g %% (--min-free): make room "
					    "there, or choose another directory or limit",
					    writer->name.directory, wh_space_percent(space), percent);
	return WH_OK;
}

/* The same for the present file, and the chain is stopped where there is no room. */
static bool room_or_stop(struct wh_writer *writer, uint64_t end)
{
	struct wh_space space = { 0 };
	struct wh_error error;
	if (writer->file == NULL)
		return false;
	enum wh_status status = room_ensure(writer, writer->file, end, &space, &error);
	if (status == WH_OK)
		return true;
	if (status == WH_ERR_NO_SPACE && error.os_error == 0)
		stop_for_space(writer, &space);
	else
		wh_output_stop(writer, WH_PHASE_DISCARDING, WH_WRITER_STOP_ERROR, error.text);
	return false;
}

/* ---- the stream ---- */

static void bytes_given_out(struct wh_writer *writer, uint64_t bytes)
{
	writer->file->length += bytes;
	atomic_fetch_add_explicit(&writer->bytes_on_disk, bytes, memory_order_relaxed);
}

static struct wh_flush *flush_acquire(struct wh_writer *writer)
{
	for (;;) {
		for (uint32_t i = 0; i < WH_WRITER_FLUSHES; i++)
			if (writer->flushes[i].jobs == 0)
				return &writer->flushes[i];
		wh_output_reap(writer, WH_NS_PER_SECOND);
	}
}

/* After a failed write nothing more goes into the file: a hole would make what follows unreadable. */
static void stream_drop(struct wh_writer *writer, bool last)
{
	struct wh_stream *stream = &writer->stream;
	for (uint32_t i = 0; i < stream->unflushed_count; i++) {
		struct wh_input *input = input_of(writer, stream->unflushed[i].source);
		if (input != NULL)
			input_discard(input, stream->unflushed[i].frames);
	}
	stream->unflushed_count = 0;
	stream->flushed = stream->used;
	if (last)
		wh_pool_release(&writer->pool, stream->buffer);
}

/* Hands out what is new in the stream. With LAST the stretch is done, and its buffer goes back when it is written. */
static void stream_hand_out(struct wh_writer *writer, bool last)
{
	struct wh_stream *stream = &writer->stream;
	/* Two copies of the head may be out, not three. */
	while (writer->stream_flushes >= 2)
		wh_output_reap(writer, WH_NS_PER_SECOND);
	if (writer->failed) {
		stream_drop(writer, last);
		return;
	}
	struct wh_flush *flush = flush_acquire(writer);
	memcpy(flush->counts, stream->unflushed, stream->unflushed_count * sizeof(stream->unflushed[0]));
	flush->count = stream->unflushed_count;
	flush->failed = false;
	struct wh_stream_piece pieces[2];
	uint32_t count = wh_stream_flush(stream, writer->config.session, writer->stream_sequence, pieces);
	if (count == 0) {
		if (last)
			wh_pool_release(&writer->pool, stream->buffer);
		return;
	}
	/* The sources stay until their frames are written. */
	for (uint32_t i = 0; i < flush->count; i++) {
		struct wh_input *input = input_of(writer, flush->counts[i].source);
		if (input != NULL)
			input->outstanding++;
	}
	flush->jobs = count;
	flush->buffer = last ? stream->buffer : NULL;
	if (last)
		writer->stream_flushes = 0;
	else
		writer->stream_flushes++;
	for (uint32_t i = 0; i < count; i++) {
		struct wh_job *job = job_acquire(writer);
		job->flush = flush;
		job->head = pieces[i].head;
		job_queue(writer, job, &pieces[i]);
	}
}

/* Ends the present stretch: what comes next begins behind it. */
static void stream_end(struct wh_writer *writer)
{
	struct wh_stream *stream = &writer->stream;
	if (!stream->open)
		return;
	if (stream->pcapng)
		wh_stream_seal(stream);
	/* Writes come back in order, so when the last one is back the buffer is free; those before it must not count
	 * any more against the next stretch. */
	while (writer->stream_flushes > 0)
		wh_output_reap(writer, WH_NS_PER_SECOND);
	uint32_t used = stream->used;
	stream_hand_out(writer, true);
	stream->open = false;
	bytes_given_out(writer, used);
}

/* Opens a stretch behind what the file has. */
static void stream_begin(struct wh_writer *writer)
{
	uint8_t *buffer;
	while ((buffer = wh_pool_acquire(&writer->pool)) == NULL)
		wh_output_reap(writer, WH_NS_PER_SECOND);
	uint32_t active = 0;
	for (uint32_t i = 0; i < writer->input_count; i++)
		active += writer->inputs[i]->active;
	wh_stream_begin(&writer->stream, writer->pcapng, buffer, writer->buffer_bytes, writer->file->length, active);
	if (writer->pcapng)
		writer->stream_sequence = writer->sequence++;
}

static void stream_touched(struct wh_writer *writer)
{
	if (writer->stream_oldest_ns == 0)
		writer->stream_oldest_ns = wh_ns_monotonic();
}

/* Where the file would end if it were closed now. */
static uint64_t file_end(const struct wh_writer *writer)
{
	uint64_t used = writer->stream.open ? writer->stream.used : 0;
	if (writer->file == NULL)
		return 0;
	return writer->file->length + used + (writer->pcapng ? wh_pcapng_filler_bytes(used) : 0);
}

/* Puts one block into the stream that PUT writes at a place with so much room; it returns 0 where it does not fit.
 * Returns the block's length. */
static uint32_t stream_put(struct wh_writer *writer,
			   uint32_t (*put)(struct wh_writer *writer, uint32_t number, uint8_t *at, uint32_t room),
			   uint32_t number)
{
	for (int tries = 0; tries < 2; tries++) {
		if (!writer->stream.open)
			stream_begin(writer);
		uint32_t room;
		uint8_t *at = wh_stream_room(&writer->stream, &room);
		uint32_t length = put(writer, number, at, room);
		if (length != 0) {
			wh_stream_advance(&writer->stream, length);
			stream_touched(writer);
			return length;
		}
		stream_end(writer);
	}
	return 0;
}

static uint32_t interface_put(struct wh_writer *writer, uint32_t number, uint8_t *at, uint32_t room)
{
	const struct wh_chain_interface *interface = &writer->interfaces[number];
	const struct wh_interface_description description = {
		.name = interface->name,
		.filter = writer->config.filter,
		.operating_system = writer->config.operating_system,
		.link_type = interface->link_type,
		.snapshot_length = writer->config.snapshot_length,
		.speed_bits = interface->speed_bits,
		.mac = interface->has_mac ? interface->mac : NULL,
	};
	return wh_pcapng_interface_put(at, room, &description);
}

static uint32_t statistics_put(struct wh_writer *writer, uint32_t number, uint8_t *at, uint32_t room)
{
	const struct wh_chain_interface *interface = &writer->interfaces[number];
	struct wh_interface_totals totals = {
		.interface = number,
		.now_ns = wh_ns_wall(),
		.start_ns = writer->start_wall_ns,
		.received = interface->past_received,
		.dropped = interface->past_dropped,
	};
	for (uint32_t i = 0; i < writer->input_count; i++) {
		const struct wh_input *input = writer->inputs[i];
		if (input->active && input->source.interface == number) {
			totals.received += input->received;
			totals.dropped += input->dropped;
		}
	}
	totals.delivered = totals.received - totals.dropped;
	if (interface->dropped_nic != NULL)
		totals.dropped_nic = atomic_load_explicit(interface->dropped_nic, memory_order_relaxed);
	return wh_pcapng_statistics_put(at, room, &totals);
}

/* An interface block and the head of a stretch for it, up to a boundary, take no more. */
enum { INTERFACE_MOST = 2 * WH_FILE_ALIGNMENT };

static void interface_tell(struct wh_writer *writer)
{
	uint32_t length = stream_put(writer, interface_put, writer->interfaces_told++);
	writer->chain.header_bytes = aligned_up(writer->chain.header_bytes + length);
}

/* ---- files ---- */

/* Composes the first bytes of a file at AT: section and interfaces, or the pcap header. Returns their length. */
static uint32_t header_compose(struct wh_writer *writer, uint8_t *at)
{
	if (!writer->pcapng) {
		wh_pcap_file_header_put(at, writer->config.format == WH_WRITE_PCAP_NS, writer->config.snapshot_length,
					writer->interfaces_seen > 0 ? writer->interfaces[0].link_type : 1);
		writer->interfaces_told = writer->interfaces_seen;
		return WH_PCAP_FILE_HEADER;
	}
	uint32_t room = writer->buffer_bytes - 2 * WH_FILE_ALIGNMENT;
	uint32_t used = wh_pcapng_section_put(at, room, writer->config.application, writer->config.operating_system);
	for (writer->interfaces_told = 0; writer->interfaces_told < writer->interfaces_seen;
	     writer->interfaces_told++) {
		uint32_t length = interface_put(writer, writer->interfaces_told, at + used, room - used);
		if (length == 0)
			break; /* the others follow in a chunk */
		used += length;
	}
	uint32_t filler = wh_pcapng_filler_bytes(used);
	if (filler != 0)
		wh_pcapng_filler_put(at + used, filler);
	return used + filler;
}

/* Creates the file, with its header, under the next name that is free. */
static enum wh_status file_create(struct wh_writer *writer, struct wh_file *file, const uint8_t *header,
				  uint32_t length, struct wh_error *error)
{
	for (int tries = 0;; tries++) {
		char path[WH_PATH_BYTES];
		wh_chain_path(&writer->name, ++writer->file_number, wh_ns_wall(), path);
		enum wh_status status =
		    writer->file_ops->open(file, path, writer->config.direct, header, length, error);
		if (status == WH_OK)
			file->number = writer->file_number;
		if (status == WH_OK || error->os_error != EEXIST || tries == NAME_TRIES)
			return status;
	}
}

/* Standard output in the place of a file. */
static enum wh_status stream_create(struct wh_writer *writer, struct wh_file *file)
{
	*file = (struct wh_file){ .buffered_fd = STDOUT_FILENO, .direct_fd = -1, .number = ++writer->file_number };
	snprintf(file->path, sizeof(file->path), "-");
	return WH_OK;
}

/* The file has its header, a pipe gets it now. Classic pcap has no boundaries, so there the header is the beginning of
 * the stream's first buffer too, and is written again with it. HEADER goes back to the pool. */
static void header_settle(struct wh_writer *writer, uint8_t *header)
{
	struct wh_file *file = writer->file;
	uint32_t length = (uint32_t)file->length;
	if (writer->to_stream) {
		struct wh_job *job = job_acquire(writer);
		job->buffer = header;
		const struct wh_stream_piece piece = { .base = header, .length = length };
		job_queue(writer, job, &piece);
		atomic_fetch_add_explicit(&writer->bytes_on_disk, length, memory_order_relaxed);
		return;
	}
	if (writer->pcapng) {
		atomic_fetch_add_explicit(&writer->bytes_on_disk, length, memory_order_relaxed);
	} else {
		file->length = 0;
		stream_begin(writer);
		wh_stream_append_bytes(&writer->stream, header, length);
		wh_stream_whole(&writer->stream, 0);
	}
	wh_pool_release(&writer->pool, header);
}

/* A file whose header is composed in HEADER (of the pool), with room for a first chunk. */
static enum wh_status file_open(struct wh_writer *writer, struct wh_file *file, uint8_t *header, struct wh_error *error)
{
	uint32_t length = header_compose(writer, header);
	writer->chain.header_bytes = length;
	if (writer->to_stream) {
		enum wh_status status = stream_create(writer, file);
		file->length = length;
		return status;
	}
	/* The limit is looked at before anything is created. */
	struct wh_space space = { 0 };
	enum wh_status status = room_find(writer, length + (uint64_t)writer->config.block_bytes, &space, error);
	if (status != WH_OK)
		return status;
	status = file_create(writer, file, header, length, error);
	if (status != WH_OK)
		return status;
	status = room_ensure(writer, file, length + (uint64_t)writer->config.block_bytes, &space, error);
	if (status != WH_OK) {
		promise(file, 0);
		writer->file_ops->abandon(file);
	}
	return status;
}

enum wh_status wh_output_file_begin(struct wh_writer *writer, struct wh_error *error)
{
	struct wh_file *file = calloc(1, sizeof(*file));
	if (file == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	uint8_t *header;
	while ((header = wh_pool_acquire(&writer->pool)) == NULL)
		wh_output_reap(writer, WH_NS_PER_SECOND);
	enum wh_status status = file_open(writer, file, header, error);
	if (status != WH_OK) {
		wh_pool_release(&writer->pool, header);
		free(file);
		return status;
	}
	writer->file = file;
	pthread_mutex_lock(&writer->lock);
	memcpy(writer->current_file, file->path, sizeof(writer->current_file));
	pthread_mutex_unlock(&writer->lock);
	atomic_fetch_add_explicit(&writer->files, 1, memory_order_relaxed);
	wh_chain_file_begun(&writer->config.limits, &writer->chain, wh_ns_monotonic());
	if (!writer->to_stream)
		wh_closer_file_begun(writer->closer);
	header_settle(writer, header);
	/* Those that the header had no room for. */
	while (writer->interfaces_told < writer->interfaces_seen &&
	       room_or_stop(writer, file_end(writer) + INTERFACE_MOST))
		interface_tell(writer);
	return WH_OK;
}

void wh_output_file_end(struct wh_writer *writer)
{
	struct wh_file *file = writer->file;
	if (file == NULL)
		return;
	if (writer->pcapng && !writer->failed) {
		for (uint32_t i = 0; i < writer->interfaces_told; i++)
			stream_put(writer, statistics_put, i);
	}
	stream_end(writer);
	writer->stream_oldest_ns = 0;
	writer->chain.closed_bytes += file->length;
	writer->file_bytes_last = file->length;
	writer->file = NULL;
	file->ended = true;
	file_settle(writer, file);
}

/* Stops the chain where VERDICT is that a limit has been met, and returns whether it is. */
static bool limit_met(struct wh_writer *writer, enum wh_chain_verdict verdict)
{
	if (verdict == WH_CHAIN_STOP_FILES)
		wh_output_stop(writer, WH_PHASE_SURPLUS, WH_WRITER_STOP_FILES, NULL);
	else if (verdict == WH_CHAIN_STOP_BYTES)
		wh_output_stop(writer, WH_PHASE_SURPLUS, WH_WRITER_STOP_BYTES, NULL);
	else
		return false;
	return true;
}

void wh_output_rotate(struct wh_writer *writer)
{
	struct wh_error error;
	writer->chain.file_bytes = file_end(writer);
	if (limit_met(writer, wh_chain_next_file(&writer->config.limits, &writer->chain, 0, trailer_bytes(writer))))
		return;
	/* Where there is no room for a new file, the present one stays to tell what was lost. */
	struct wh_space room = { 0 };
	uint64_t bytes = writer->chain.header_bytes + writer->config.block_bytes;
	if (!writer->to_stream && room_find(writer, bytes, &room, &error) != WH_OK) {
		stop_for_space(writer, &room);
		return;
	}
	wh_output_file_end(writer);
	enum wh_status status = wh_output_file_begin(writer, &error);
	if (status == WH_OK)
		return;
	bool limit = status == WH_ERR_NO_SPACE && error.os_error == 0;
	struct wh_space space;
	if (limit && space_look(writer, &space) == WH_OK)
		stop_for_space(writer, &space);
	else
		wh_output_stop(writer, WH_PHASE_DISCARDING, WH_WRITER_STOP_ERROR, error.text);
}

/* ---- chunks ---- */

void wh_output_refuse(struct wh_writer *writer, struct wh_input *input, struct wh_chunk *chunk)
{
	if (writer->phase == WH_PHASE_SURPLUS) {
		struct wh_writer_counters *counters = input->source.counters;
		atomic_fetch_add_explicit(&counters->frames_surplus, chunk->frames, memory_order_relaxed);
		atomic_fetch_add_explicit(&counters->lost_surplus, chunk->lost, memory_order_relaxed);
	} else {
		input->received += chunk->frames + chunk->lost;
		input->dropped += chunk->lost;
		input->lost_pending += chunk->frames + chunk->lost;
		input_discard(input, chunk->frames);
	}
	input->outstanding--;
	wh_chunk_release(chunk);
}

/* Finds room for BYTES more, in the present file or a new one. False: the chain was stopped. */
static bool place_find(struct wh_writer *writer, uint64_t bytes)
{
	writer->chain.file_bytes = file_end(writer);
	enum wh_chain_verdict verdict =
	    wh_chain_before_write(&writer->config.limits, &writer->chain, bytes, trailer_bytes(writer));
	if (limit_met(writer, verdict))
		return false;
	if (verdict == WH_CHAIN_NEXT_FILE)
		wh_output_rotate(writer);
	return writer->phase == WH_PHASE_TAKING && room_or_stop(writer, file_end(writer) + bytes);
}

void wh_output_interfaces(struct wh_writer *writer)
{
	if (!writer->pcapng) {
		writer->interfaces_told = writer->interfaces_seen;
		return;
	}
	/* A new file tells of all in its header. */
	while (writer->interfaces_told < writer->interfaces_seen && place_find(writer, INTERFACE_MOST))
		if (writer->interfaces_told < writer->interfaces_seen)
			interface_tell(writer);
}

/* Takes note of a chunk that has a place. */
static void chunk_account(struct wh_writer *writer, struct wh_input *input, const struct wh_chunk *chunk)
{
	struct wh_writer_counters *counters = input->source.counters;
	input->received += chunk->frames + chunk->lost;
	input->dropped += chunk->lost;
	atomic_fetch_add_explicit(&counters->bytes_captured, chunk->frame_bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&counters->frames_truncated, chunk->truncated, memory_order_relaxed);
	atomic_fetch_add_explicit(&writer->bytes_copied, chunk->copied_bytes, memory_order_relaxed);
	writer->frames_taken += chunk->frames;
}

static void sealed_queue(struct wh_writer *writer, struct wh_input *input, struct wh_chunk *chunk)
{
	stream_end(writer);
	uint64_t offset = writer->file->length;
	wh_pcapng_stamp(chunk->base, writer->config.session, writer->sequence++);
	input->spare_file = chunk->spare_option != 0 ? writer->file->number : 0;
	input->spare_offset = offset + chunk->spare_option;
	input->spare_lost = chunk->spare_lost;
	chunk_account(writer, input, chunk);
	struct wh_job *job = job_acquire(writer);
	job->chunk = chunk;
	job->input = input;
	job->write.buffer = chunk->buffer;
	const struct wh_stream_piece piece = {
		.base = chunk->base, .length = chunk->length, .offset = offset, .aligned = true
	};
	bytes_given_out(writer, chunk->length);
	job_queue(writer, job, &piece);
}

static void run_merge(struct wh_writer *writer, struct wh_input *input, struct wh_chunk *chunk)
{
	if (writer->stream.open && !wh_stream_takes(&writer->stream, chunk->length, chunk->source))
		stream_end(writer);
	if (!writer->stream.open)
		stream_begin(writer);
	/* The head and the statistics speak of one count of what was received. */
	chunk->received_total = input->received + chunk->frames + chunk->lost;
	chunk->dropped_total = input->dropped + chunk->lost;
	input->spare_offset = wh_stream_append_run(&writer->stream, chunk);
	input->spare_file = input->spare_offset != 0 ? writer->file->number : 0;
	input->spare_lost = chunk->spare_lost;
}

static void bytes_merge(struct wh_writer *writer, const struct wh_chunk *chunk)
{
	if (writer->stream.open && writer->stream.unflushed_count == WH_STREAM_SOURCES)
		stream_hand_out(writer, false);
	uint32_t done = 0, whole = 0, left = chunk->frames;
	while (done < chunk->length) {
		if (!writer->stream.open)
			stream_begin(writer);
		done += wh_stream_append_bytes(&writer->stream, chunk->base + done, chunk->length - done);
		/* A frame is in the file with its last byte: the flush that carries that carries the count. */
		uint32_t frames = left;
		if (done < chunk->length)
			frames = wh_pcap_records_within(chunk, &whole, done);
		else
			whole = done;
		left -= frames;
		if (frames > 0) {
			wh_stream_count(&writer->stream, chunk->source, frames);
			wh_stream_whole(&writer->stream, done - whole);
		}
		if (writer->stream.used == writer->stream.capacity)
			stream_end(writer);
	}
}

void wh_output_chunk(struct wh_writer *writer, struct wh_input *input, struct wh_chunk *chunk)
{
	if (writer->phase != WH_PHASE_TAKING) {
		wh_output_refuse(writer, input, chunk);
		return;
	}
	uint64_t limit = writer->config.stop_after_frames;
	uint32_t cut = 0;
	if (limit != 0 && writer->frames_taken + chunk->frames > limit) {
		uint32_t keep = (uint32_t)(limit - writer->frames_taken);
		cut = chunk->frames - keep;
		if (writer->pcapng)
			wh_pcapng_cut(chunk, keep);
		else
			wh_pcap_cut(chunk, keep);
	}
	/* A run may need a stretch of its own: its head, and rounding up to a boundary. */
	uint64_t bytes = chunk->length;
	if (chunk->kind == WH_CHUNK_RUN && writer->pcapng)
		bytes = aligned_up(bytes + wh_pcapng_head_bytes(WH_STREAM_SOURCES));
	if (!place_find(writer, bytes)) {
		chunk->frames += cut;
		wh_output_refuse(writer, input, chunk);
		return;
	}
	if (chunk->kind == WH_CHUNK_SEALED) {
		sealed_queue(writer, input, chunk);
	} else {
		if (writer->pcapng)
			run_merge(writer, input, chunk);
		else
			bytes_merge(writer, chunk);
		chunk_account(writer, input, chunk);
		atomic_fetch_add_explicit(&writer->bytes_copied, chunk->frame_bytes, memory_order_relaxed);
		stream_touched(writer);
		input->outstanding--;
		wh_chunk_release(chunk);
	}
	atomic_fetch_add_explicit(&input->source.counters->frames_surplus, cut, memory_order_relaxed);
	if (limit != 0 && writer->frames_taken >= limit)
		wh_output_stop(writer, WH_PHASE_SURPLUS, WH_WRITER_STOP_COUNT, NULL);
}

void wh_output_flush(struct wh_writer *writer)
{
	if (!writer->stream.open)
		return;
	/* A pipe cannot be written anew where the head is, so there each flush is a chunk. */
	if (writer->to_stream && writer->pcapng)
		stream_end(writer);
	else
		stream_hand_out(writer, false);
}

void wh_output_tail(struct wh_writer *writer, struct wh_input *input)
{
	if (!writer->pcapng || writer->failed || writer->file == NULL)
		return;
	if (writer->stream.open && !wh_stream_takes(&writer->stream, 0, input->source.source))
		stream_end(writer);
	if (!writer->stream.open)
		stream_begin(writer);
	wh_stream_note(&writer->stream, input->source.source, input->source.interface, input->received, input->dropped,
		       input->lost_pending);
	/* No frame will come that could carry the loss: the last one does, where its spare option is still at hand. The
	 * write is queued behind the one that brings the option itself. */
	if (input->spare_file == writer->file->number && !writer->to_stream) {
		stream_hand_out(writer, false);
		wh_pcapng_dropcount_put(input->patch, input->spare_lost + input->lost_pending);
		struct wh_job *job = job_acquire(writer);
		job->input = input; /* which must stay until its patch is written */
		input->outstanding++;
		const struct wh_stream_piece piece = { .base = input->patch,
						       .length = sizeof(input->patch),
						       .offset = input->spare_offset };
		job_queue(writer, job, &piece);
	}
	input->lost_pending = 0;
}

uint64_t wh_output_tick(struct wh_writer *writer, uint64_t now_ns)
{
	if (writer->file == NULL)
		return UINT64_MAX;
	uint64_t wait = UINT64_MAX;
	if (writer->stream_oldest_ns != 0) {
		uint64_t due = writer->stream_oldest_ns + FLUSH_NS;
		if (now_ns < due) {
			wait = due - now_ns;
		} else {
			writer->stream_oldest_ns = 0;
			wh_output_flush(writer);
			wh_output_reap(writer, 0);
		}
	}
	if (writer->phase != WH_PHASE_TAKING)
		return wait;
	writer->chain.file_bytes = file_end(writer);
	enum wh_chain_verdict verdict =
	    wh_chain_at_time(&writer->config.limits, &writer->chain, trailer_bytes(writer), now_ns);
	if (!limit_met(writer, verdict) && verdict == WH_CHAIN_NEXT_FILE)
		wh_output_rotate(writer);
	uint64_t left = wh_chain_time_left(&writer->chain, now_ns);
	return left < wait ? left : wait;
}
