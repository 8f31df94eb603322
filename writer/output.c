/* SPDX-License-Identifier: BSD-3-Clause */
/* What the writer's thread does with a chunk: where its bytes go, and what is due by the clock. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "writer/output.h"

/* What is in the stream is handed to the file system after so long at the latest. */
#define FLUSH_NS (500 * WH_NS_PER_MS)

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
		wh_output_frames_lost(input, chunk->frames);
	}
	input->outstanding--;
	wh_chunk_release(chunk);
}

/* Finds room for BYTES more, in the present file or a new one. False: there is none now, or the chain was stopped. */
static bool place_find(struct wh_writer *writer, uint64_t bytes)
{
	if (wh_output_fault_waits(writer) || !wh_output_file_again(writer))
		return false;
	writer->chain.file_bytes = wh_output_file_length(writer);
	enum wh_chain_verdict verdict =
	    wh_chain_before_write(&writer->config.limits, &writer->chain, bytes, wh_output_trailer_bytes(writer));
	if (wh_output_limit_met(writer, verdict))
		return false;
	if (verdict == WH_CHAIN_NEXT_FILE && !wh_output_may_rotate(writer))
		return false;
	if (verdict == WH_CHAIN_NEXT_FILE)
		wh_output_rotate(writer);
	return writer->file != NULL && writer->phase == WH_PHASE_TAKING &&
	       wh_output_room_or_stop(writer, wh_output_file_length(writer) + bytes);
}

void wh_output_interfaces(struct wh_writer *writer)
{
	if (!writer->pcapng) {
		writer->interfaces_told = writer->interfaces_seen;
		return;
	}
	/* A new file tells of all in its header. */
	while (writer->interfaces_told < writer->interfaces_seen && place_find(writer, WH_OUTPUT_INTERFACE_MOST))
		if (writer->interfaces_told < writer->interfaces_seen)
			wh_output_interface_tell(writer);
}

/* Takes note of a chunk that has a place. */
static void chunk_account(struct wh_writer *writer, struct wh_input *input, const struct wh_chunk *chunk)
{
	struct wh_writer_counters *counters = input->source.counters;
	input->received += chunk->frames + chunk->lost;
	input->dropped += chunk->lost;
	atomic_fetch_add_explicit(&counters->bytes_captured, chunk->frame_bytes, memory_order_relaxed);
	/* Relaxed: this thread alone writes it. Sources take turns, and the clock of one may be behind another's. */
	if (chunk->last_ns > atomic_load_explicit(&writer->last_frame_ns, memory_order_relaxed))
		atomic_store_explicit(&writer->last_frame_ns, chunk->last_ns, memory_order_relaxed);
	atomic_fetch_add_explicit(&counters->frames_truncated, chunk->truncated, memory_order_relaxed);
	atomic_fetch_add_explicit(&writer->bytes_copied, chunk->copied_bytes, memory_order_relaxed);
	writer->frames_taken += chunk->frames;
}

static void sealed_queue(struct wh_writer *writer, struct wh_input *input, struct wh_chunk *chunk)
{
	wh_output_stream_end(writer);
	uint64_t offset = writer->file->length;
	wh_pcapng_stamp(chunk->base, writer->config.session, writer->sequence++);
	input->spare_file = chunk->spare_option != 0 ? writer->file->number : 0;
	input->spare_offset = offset + chunk->spare_option;
	input->spare_lost = chunk->spare_lost;
	chunk_account(writer, input, chunk);
	struct wh_job *job = wh_output_job(writer);
	job->chunk = chunk;
	job->input = input;
	job->write.buffer = chunk->buffer;
	const struct wh_stream_piece piece = {
		.base = chunk->base, .length = chunk->length, .offset = offset, .aligned = true
	};
	wh_output_given_out(writer, chunk->length);
	wh_output_queue(writer, job, &piece);
}

static void run_merge(struct wh_writer *writer, struct wh_input *input, struct wh_chunk *chunk)
{
	if (writer->stream.open && !wh_stream_takes(&writer->stream, chunk->length, chunk->source))
		wh_output_stream_end(writer);
	if (!writer->stream.open)
		wh_output_stream_begin(writer);
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
		wh_output_stream_hand_out(writer, false);
	uint32_t done = 0, whole = 0, left = chunk->frames;
	while (done < chunk->length) {
		if (!writer->stream.open)
			wh_output_stream_begin(writer);
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
			wh_output_stream_end(writer);
	}
}

/* Cuts CHUNK to what the capture's count of frames has left for it, and returns how many frames that takes away. */
static uint32_t cut_to_limit(struct wh_writer *writer, struct wh_chunk *chunk)
{
	uint64_t limit = writer->config.stop_after_frames;
	if (limit == 0 || writer->frames_taken + chunk->frames <= limit)
		return 0;
	uint32_t keep = (uint32_t)(limit - writer->frames_taken);
	uint32_t cut = chunk->frames - keep;
	if (writer->pcapng)
		wh_pcapng_cut(chunk, keep);
	else
		wh_pcap_cut(chunk, keep);
	return cut;
}

void wh_output_held(struct wh_writer *writer)
{
	struct wh_chunk *chunk = writer->held;
	if (chunk == NULL || (writer->phase == WH_PHASE_TAKING && wh_output_fault_waits(writer)))
		return;
	writer->held = NULL;
	wh_output_chunk(writer, writer->held_input, chunk);
}

/* Returns whether MARK is done with: it has a place, or never will have one. */
static bool mark_put(struct wh_writer *writer, const struct wh_mark *mark)
{
	if (!writer->pcapng)
		return true;
	if (!place_find(writer, WH_OUTPUT_MARK_MOST))
		return writer->phase != WH_PHASE_TAKING;
	wh_output_mark_put(writer, mark);
	return true;
}

static void told_put(struct wh_writer *writer)
{
	size_t length = strlen(writer->fault.told) + 1;
	struct wh_mark *mark = malloc(sizeof(*mark) + length);
	if (mark == NULL)
		return;
	*mark = (struct wh_mark){ .ns = wh_ns_wall() };
	memcpy(mark->text, writer->fault.told, length);
	if (mark_put(writer, mark))
		writer->fault.told[0] = '\0';
	free(mark);
}

static struct wh_mark *mark_first(struct wh_writer *writer)
{
	pthread_mutex_lock(&writer->lock);
	struct wh_mark *mark = writer->first_mark;
	pthread_mutex_unlock(&writer->lock);
	return mark;
}

void wh_output_marks(struct wh_writer *writer)
{
	if (writer->phase != WH_PHASE_TAKING || wh_output_fault_waits(writer))
		return;
	if (writer->fault.told[0] != '\0' && writer->fault.since_ns == 0)
		told_put(writer);
	/* Others only append, so the first is ours to look at without the lock. */
	struct wh_mark *mark;
	while ((mark = mark_first(writer)) != NULL && mark_put(writer, mark)) {
		pthread_mutex_lock(&writer->lock);
		writer->first_mark = mark->next;
		writer->mark_count--;
		pthread_mutex_unlock(&writer->lock);
		free(mark);
	}
}

void wh_output_gone(struct wh_writer *writer)
{
	const struct wh_file *file = writer->file;
	if (file == NULL || writer->phase != WH_PHASE_TAKING || writer->file_ops->has_name(file) ||
	    wh_output_fault_waits(writer) || !wh_output_may_rotate(writer))
		return;
	char line[WH_PATH_BYTES + 160];
	snprintf(line, sizeof(line),
		 "%s was deleted while it was written: its %llu bytes cannot be reached any more; a new file is begun",
		 file->path, (unsigned long long)file->valid);
	wh_writer_tell(writer, WH_WRITER_TROUBLE, 0, line);
	wh_output_rotate(writer);
}

void wh_output_chunk(struct wh_writer *writer, struct wh_input *input, struct wh_chunk *chunk)
{
	if (writer->phase != WH_PHASE_TAKING) {
		wh_output_refuse(writer, input, chunk);
		return;
	}
	/* A run may need a stretch of its own: its head, and rounding up to a boundary. */
	uint64_t bytes = chunk->length;
	if (chunk->kind == WH_CHUNK_RUN && writer->pcapng)
		bytes = wh_file_aligned(bytes + wh_pcapng_head_bytes(WH_STREAM_SOURCES));
	/* A fault may have kept an interface from being told of: its frames must not come before that. */
	if (chunk->interface >= writer->interfaces_told)
		wh_output_interfaces(writer);
	bool placed = chunk->interface < writer->interfaces_told && place_find(writer, bytes);
	if (!placed && writer->phase == WH_PHASE_TAKING) {
		writer->held = chunk;
		writer->held_input = input;
		return;
	}
	if (!placed) {
		wh_output_refuse(writer, input, chunk);
		return;
	}
	uint64_t limit = writer->config.stop_after_frames;
	uint32_t cut = cut_to_limit(writer, chunk);
	if (chunk->kind == WH_CHUNK_SEALED) {
		sealed_queue(writer, input, chunk);
	} else {
		if (writer->pcapng)
			run_merge(writer, input, chunk);
		else
			bytes_merge(writer, chunk);
		chunk_account(writer, input, chunk);
		atomic_fetch_add_explicit(&writer->bytes_copied, chunk->frame_bytes, memory_order_relaxed);
		wh_output_stream_touched(writer);
		input->outstanding--;
		wh_chunk_release(chunk);
	}
	atomic_fetch_add_explicit(&input->source.counters->frames_surplus, cut, memory_order_relaxed);
	if (limit != 0 && writer->frames_taken >= limit)
		wh_output_stop(writer, WH_PHASE_SURPLUS, WH_WRITER_STOP_COUNT, NULL);
}

void wh_output_tail(struct wh_writer *writer, struct wh_input *input)
{
	if (!writer->pcapng || writer->failed || writer->file == NULL)
		return;
	if (writer->stream.open && !wh_stream_takes(&writer->stream, 0, input->source.source))
		wh_output_stream_end(writer);
	if (!writer->stream.open)
		wh_output_stream_begin(writer);
	wh_stream_note(&writer->stream, input->source.source, input->source.interface, input->received, input->dropped,
		       input->lost_pending);
	/* No frame will come that could carry the loss: the last one does, where its spare option is still at hand. The
	 * write is queued behind the one that brings the option itself. */
	if (input->spare_file == writer->file->number && !writer->to_stream) {
		wh_output_stream_hand_out(writer, false);
		wh_pcapng_dropcount_put(input->patch, input->spare_lost + input->lost_pending);
		struct wh_job *job = wh_output_job(writer);
		job->input = input; /* which must stay until its patch is written */
		input->outstanding++;
		const struct wh_stream_piece piece = { .base = input->patch,
						       .length = sizeof(input->patch),
						       .offset = input->spare_offset };
		wh_output_queue(writer, job, &piece);
	}
	input->lost_pending = 0;
}

uint64_t wh_output_tick(struct wh_writer *writer, uint64_t now_ns)
{
	if (!wh_output_file_again(writer))
		return UINT64_MAX;
	/* Those that a fault has kept from being told of. */
	if (writer->phase == WH_PHASE_TAKING)
		wh_output_interfaces(writer);
	wh_output_marks(writer);
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
	if (writer->phase != WH_PHASE_TAKING || wh_output_fault_waits(writer))
		return wait;
	writer->chain.file_bytes = wh_output_file_length(writer);
	enum wh_chain_verdict verdict =
	    wh_chain_at_time(&writer->config.limits, &writer->chain, wh_output_trailer_bytes(writer), now_ns);
	bool due = !wh_output_limit_met(writer, verdict) && (verdict == WH_CHAIN_NEXT_FILE || writer->rotate_asked);
	if (due && !wh_output_may_rotate(writer))
		return wait;
	if (due)
		wh_output_rotate(writer);
	uint64_t left = wh_chain_time_left(&writer->chain, now_ns);
	return left < wait ? left : wait;
}
