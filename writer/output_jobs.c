/* SPDX-License-Identifier: BSD-3-Clause */
/* The writes that are on their way: what each carries, and what becomes of it when it comes back. */
#include <errno.h>
#include <stdlib.h>

#include "writer/output.h"

void wh_output_stop(struct wh_writer *writer, enum wh_writer_phase phase, enum wh_writer_event event, const char *text)
{
	if (writer->phase != WH_PHASE_TAKING)
		return;
	writer->phase = phase;
	wh_writer_tell(writer, event, 0, text);
}

struct wh_job *wh_output_job(struct wh_writer *writer)
{
	while (writer->free_jobs == NULL)
		wh_output_reap(writer, WH_NS_PER_SECOND);
	struct wh_job *job = writer->free_jobs;
	writer->free_jobs = job->next_free;
	*job = (struct wh_job){ .write = { .buffer = WH_BUFFER_NONE } };
	return job;
}

static void job_finish(struct wh_writer *writer, struct wh_job *job);

/* For the watchdog (wh_writer_slowest()). A reader of a pipe that takes its time is not a disk that hangs. */
static void waiting_since(struct wh_writer *writer, uint64_t ns)
{
	if (!writer->to_stream)
		atomic_store_explicit(&writer->waiting_ns, ns, memory_order_relaxed);
}

void wh_output_queue(struct wh_writer *writer, struct wh_job *job, const struct wh_stream_piece *piece)
{
	struct wh_file *file = writer->file;
	job->file = file;
	job->open = piece->open;
	job->write.base = piece->base;
	job->write.length = piece->length;
	job->write.fd = piece->aligned && file->direct ? file->direct_fd : file->buffered_fd;
	job->write.offset = writer->to_stream ? WH_OFFSET_STREAM : piece->offset;
	job->queued_ns = wh_ns_monotonic();
	if (writer->jobs_out == 0)
		waiting_since(writer, job->queued_ns);
	file->pending++;
	writer->jobs_out++;
	if (writer->failed) {
		job->write.os_error = ECANCELED;
		job_finish(writer, job);
		return;
	}
	writer->sink->ops->queue(writer->sink, &job->write);
}

struct wh_input *wh_output_input(const struct wh_writer *writer, uint16_t source)
{
	for (uint32_t i = 0; i < writer->input_count; i++)
		if (writer->inputs[i]->active && writer->inputs[i]->source.source == source)
			return writer->inputs[i];
	return NULL;
}

void wh_output_frames_lost(struct wh_input *input, uint64_t frames)
{
	input->discarded += frames;
	input->dropped += frames;
	/* Release, here and below: whoever sees the frames done (statistics.c) sees them received. */
	atomic_fetch_add_explicit(&input->source.counters->frames_discarded, frames, memory_order_release);
}

static void flush_came_back(struct wh_writer *writer, struct wh_flush *flush, bool written)
{
	flush->failed |= !written;
	if (--flush->jobs != 0)
		return;
	for (uint32_t i = 0; i < flush->count; i++) {
		struct wh_input *input = wh_output_input(writer, flush->counts[i].source);
		if (input == NULL)
			continue;
		input->outstanding--;
		if (flush->failed)
			wh_output_frames_lost(input, flush->counts[i].frames);
		else
			atomic_fetch_add_explicit(&input->source.counters->frames_written, flush->counts[i].frames,
						  memory_order_release);
	}
	if (flush->buffer != NULL)
		wh_pool_release(&writer->pool, flush->buffer);
	else
		writer->stream_flushes--;
}

void wh_output_settle(struct wh_writer *writer, struct wh_file *file)
{
	if (!file->ended || file->pending != 0)
		return;
	wh_output_promise(file, 0);
	if (writer->to_stream)
		free(file);
	else
		wh_closer_hand_over(writer->closer, file);
}

/* Relaxed: counts that this thread alone writes. */
static void latency_count(struct wh_writer *writer, uint64_t ns)
{
	enum { FIRST_US = 64 };
	uint32_t bucket = 0;
	while (bucket + 1 < WH_WRITER_LATENCIES && ns > (uint64_t)FIRST_US * 1000 << bucket)
		bucket++;
	atomic_fetch_add_explicit(&writer->write_counts[bucket], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&writer->latency_ns, ns, memory_order_relaxed);
	if (ns > atomic_load_explicit(&writer->latency_max_ns, memory_order_relaxed))
		atomic_store_explicit(&writer->latency_max_ns, ns, memory_order_relaxed);
}

static void job_finish(struct wh_writer *writer, struct wh_job *job)
{
	bool written = job->write.os_error == 0;
	struct wh_file *file = job->file;
	uint64_t end = job->write.offset + job->write.length - job->open;
	if (written && !writer->to_stream && end > file->valid)
		file->valid = end;
	wh_output_promise_renew(file);
	uint64_t latency = wh_ns_monotonic() - job->queued_ns;
	latency_count(writer, latency);
	if (job->chunk != NULL) {
		struct wh_input *input = job->input;
		if (written)
			atomic_fetch_add_explicit(&input->source.counters->frames_written, job->chunk->frames,
						  memory_order_release);
		else
			wh_output_frames_lost(input, job->chunk->frames);
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
	wh_output_settle(writer, file);
}

/* Some file systems take O_DIRECT when a file is opened and refuse it when it is written. */
static bool direct_fall_back(struct wh_writer *writer, struct wh_job *job)
{
	bool direct = job->file->direct_fd >= 0 && job->write.fd == job->file->direct_fd;
	if (!direct || (job->write.os_error != EINVAL && job->write.os_error != EOPNOTSUPP) ||
	    writer->config.direct == WH_FILE_DIRECT_ON)
		return false;
	job->file->direct = false;
	wh_output_not_direct(writer, job->file);
	job->write.fd = job->file->buffered_fd;
	writer->sink->ops->retry(writer->sink, &job->write);
	return true;
}

/* Whether JOB, which has failed, is to be tried again. */
static bool is_fault(struct wh_writer *writer, struct wh_job *job)
{
	struct wh_error error;
	wh_error_system(&error, job->write.os_error, "cannot write to %s", job->file->path);
	return wh_output_fault_begin(writer, job, &error);
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
	wh_writer_tell(writer, WH_WRITER_STOP_ERROR, 0, error.text);
	writer->sink->ops->discard(writer->sink);
}

void wh_output_reap(struct wh_writer *writer, uint64_t wait_ns)
{
	/* Whoever waits for a write comes round here, too. */
	wh_beat(&writer->beat_ns);
	wait_ns = wh_output_fault_turn(writer, wait_ns);
	struct wh_write *write = writer->sink->ops->reap(writer->sink, wait_ns);
	if (write != NULL)
		waiting_since(writer, wh_ns_monotonic());
	while (write != NULL) {
		struct wh_job *job = (struct wh_job *)write;
		write = write->next;
		if (job->write.os_error != 0 && direct_fall_back(writer, job))
			continue;
		bool failed = job->write.os_error != 0 && job->write.os_error != ECANCELED;
		if (failed && is_fault(writer, job))
			continue;
		if (failed)
			write_failed(writer, job);
		else if (job->write.os_error == 0)
			wh_output_fault_end(writer, true);
		job_finish(writer, job);
	}
	if (writer->jobs_out == 0)
		waiting_since(writer, 0);
}
