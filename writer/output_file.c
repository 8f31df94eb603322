/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of the chain: how one begins, how it ends, and when the next takes its place. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "writer/output.h"

enum { NAME_TRIES = 10000 };
/* That closed files wait is told again after so long. */
#define TELL_AGAIN_NS (60 * WH_NS_PER_SECOND)

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
		uint32_t length = wh_output_interface_put(writer, writer->interfaces_told, at + used, room - used);
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
		uint64_t number = writer->file_number + 1 + (uint64_t)tries;
		wh_chain_path(&writer->name, number, wh_ns_wall(), path);
		enum wh_status status =
		    writer->file_ops->open(file, path, writer->config.direct, header, length, error);
		if (status == WH_OK)
			file->number = writer->file_number = number;
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
		struct wh_job *job = wh_output_job(writer);
		job->buffer = header;
		const struct wh_stream_piece piece = { .base = header, .length = length };
		wh_output_queue(writer, job, &piece);
		atomic_fetch_add_explicit(&writer->bytes_on_disk, length, memory_order_relaxed);
		return;
	}
	if (writer->pcapng) {
		atomic_fetch_add_explicit(&writer->bytes_on_disk, length, memory_order_relaxed);
	} else {
		file->length = 0;
		wh_output_stream_begin(writer);
		wh_stream_append_bytes(&writer->stream, header, length);
		wh_stream_whole(&writer->stream, 0);
	}
	wh_pool_release(&writer->pool, header);
}

void wh_output_not_direct(struct wh_writer *writer, const struct wh_file *file)
{
	if (writer->direct_told)
		return;
	writer->direct_told = true;
	/* Where it was so from the beginning, nothing is worse than it was. */
	wh_writer_tell(writer, writer->direct_seen ? WH_WRITER_TROUBLE : WH_WRITER_NOTICE, 0,
		       file->fuse ? "direct writes are not safe on FUSE; writing through the page cache"
				  : "the file system refuses direct writes; writing through the page cache");
}

/* What there is to say of the way that FILE will be written. */
static void direct_look(struct wh_writer *writer, const struct wh_file *file)
{
	if (writer->config.direct == WH_FILE_DIRECT_OFF || writer->config.discard)
		return;
	if (file->direct && file->fuse && !writer->direct_told) {
		writer->direct_told = true;
		wh_writer_tell(
		    writer, WH_WRITER_TROUBLE, 0,
		    "direct writes to FUSE can be damaged where one of them fails: --direct-io auto does without");
	}
	if (!file->direct)
		wh_output_not_direct(writer, file);
	writer->direct_seen |= file->direct;
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
	enum wh_status status =
	    wh_output_room_find(writer, length + (uint64_t)writer->config.block_bytes, &space, error);
	if (status != WH_OK)
		return status;
	status = file_create(writer, file, header, length, error);
	if (status != WH_OK)
		return status;
	status = wh_output_room_ensure(writer, file, length + (uint64_t)writer->config.block_bytes, &space, error);
	if (status != WH_OK) {
		wh_output_promise(file, 0);
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
	writer->rotate_asked = false;
	wh_chain_file_begun(&writer->config.limits, &writer->chain, wh_ns_monotonic());
	if (!writer->to_stream) {
		direct_look(writer, file);
		wh_closer_file_begun(writer->closer);
	}
	header_settle(writer, header);
	/* Those that the header had no room for. */
	while (writer->interfaces_told < writer->interfaces_seen &&
	       wh_output_room_or_stop(writer, wh_output_file_length(writer) + WH_OUTPUT_INTERFACE_MOST))
		wh_output_interface_tell(writer);
	return WH_OK;
}

void wh_output_file_end(struct wh_writer *writer)
{
	struct wh_file *file = writer->file;
	if (file == NULL)
		return;
	if (writer->pcapng && !writer->failed)
		wh_output_statistics(writer);
	wh_output_stream_end(writer);
	writer->stream_oldest_ns = 0;
	writer->chain.closed_bytes += file->length;
	writer->file_bytes_last = file->length;
	writer->file = NULL;
	file->ended = true;
	wh_output_settle(writer, file);
}

bool wh_output_limit_met(struct wh_writer *writer, enum wh_chain_verdict verdict)
{
	if (verdict == WH_CHAIN_STOP_FILES)
		wh_output_stop(writer, WH_PHASE_SURPLUS, WH_WRITER_STOP_FILES, NULL);
	else if (verdict == WH_CHAIN_STOP_BYTES)
		wh_output_stop(writer, WH_PHASE_SURPLUS, WH_WRITER_STOP_BYTES, NULL);
	else
		return false;
	return true;
}

/* Begins the next file where there is none; on failure a fault begins, or the chain is stopped. */
static bool next_begin(struct wh_writer *writer)
{
	struct wh_error error;
	enum wh_status status = wh_output_file_begin(writer, &error);
	if (status == WH_OK) {
		wh_output_fault_end(writer, false);
		return true;
	}
	bool limit = status == WH_ERR_NO_SPACE && error.os_error == 0;
	struct wh_space space;
	if (limit && wh_output_space_look(writer, &space) == WH_OK)
		wh_output_space_stop(writer, &space);
	else if (!wh_output_fault_begin(writer, NULL, &error))
		wh_output_stop(writer, WH_PHASE_DISCARDING, WH_WRITER_STOP_ERROR, error.text);
	return false;
}

bool wh_output_file_again(struct wh_writer *writer)
{
	if (writer->file != NULL)
		return true;
	if (writer->phase != WH_PHASE_TAKING || wh_output_fault_waits(writer))
		return false;
	return next_begin(writer);
}

bool wh_output_may_rotate(struct wh_writer *writer)
{
	if (writer->to_stream || !wh_closer_is_behind(writer->closer))
		return true;
	uint64_t now_ns = wh_ns_monotonic();
	if (writer->behind_told_ns != 0 && now_ns - writer->behind_told_ns < TELL_AGAIN_NS)
		return false;
	writer->behind_told_ns = now_ns;
	char line[160];
	snprintf(line, sizeof(line),
		 "%d closed files wait for the disk to sync them: the next one is begun when it has synced one, while "
		 "the ring holds what comes",
		 WH_CLOSER_WAITING_MOST);
	wh_writer_tell(writer, WH_WRITER_TROUBLE, 0, line);
	return false;
}

void wh_output_rotate(struct wh_writer *writer)
{
	struct wh_error error;
	writer->rotate_asked = false;
	writer->chain.file_bytes = wh_output_file_length(writer);
	if (wh_output_limit_met(
		writer, wh_chain_next_file(&writer->config.limits, &writer->chain, 0, wh_output_trailer_bytes(writer))))
		return;
	/* Where there is no room for a new file, the present one stays to tell what was lost. */
	struct wh_space room = { 0 };
	uint64_t bytes = writer->chain.header_bytes + writer->config.block_bytes;
	if (!writer->to_stream && wh_output_room_find(writer, bytes, &room, &error) != WH_OK) {
		wh_output_space_stop(writer, &room);
		return;
	}
	wh_output_file_end(writer);
	next_begin(writer);
}
