/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer's sources: how one joins, what comes out of its ring, and when nothing of it is used any more. */
#include <stdlib.h>
#include <string.h>

#include "writer/output.h"

enum { POP_BATCH = 32, SPARE_JOBS = 8 };

/* With the lock held. Classic pcap has one link type for the whole file (draft-ietf-opsawg-pcap, section 4). */
static enum wh_status link_type_check(const struct wh_writer *writer, const struct wh_writer_source *source,
				      struct wh_error *error)
{
	if (writer->pcapng || writer->interface_count == 0 || writer->interfaces[0].link_type == source->link_type)
		return WH_OK;
	return wh_error_set(error, WH_ERR_INPUT,
			    "a pcap file holds one link type, but %s and %s differ: use pcapng or --per-interface",
			    writer->interfaces[0].name, source->interface_name);
}

/* With the lock held: a place for one more input, NULL where there is none. */
static struct wh_input *input_place(struct wh_writer *writer, uint32_t *place)
{
	for (uint32_t i = 0; i < writer->attached_count; i++) {
		if (writer->inputs[i]->idle) {
			*place = i;
			return writer->inputs[i];
		}
	}
	if (writer->attached_count == WH_WRITER_TABLE)
		return NULL;
	*place = writer->attached_count;
	struct wh_input *input = calloc(1, sizeof(*input));
	if (input != NULL) {
		input->idle = true;
		writer->inputs[writer->attached_count++] = input;
	}
	return input;
}

/* With the lock held. */
static void interface_add(struct wh_writer *writer, struct wh_writer_source *source)
{
	source->interface = (uint16_t)writer->interface_count;
	struct wh_chain_interface *interface = &writer->interfaces[writer->interface_count++];
	*interface = (struct wh_chain_interface){
		.link_type = source->link_type,
		.speed_bits = source->speed_bits,
		.has_mac = source->has_mac,
		.dropped_nic = source->dropped_nic,
	};
	memcpy(interface->name, source->interface_name, sizeof(interface->name));
	memcpy(interface->mac, source->mac, sizeof(interface->mac));
}

enum wh_status wh_inputs_add(struct wh_writer *writer, struct wh_writer_source *source, struct wh_error *error)
{
	enum wh_status status = link_type_check(writer, source, error);
	if (status != WH_OK)
		return status;
	uint32_t place = 0;
	struct wh_input *input = input_place(writer, &place);
	if (input == NULL || (source->new_interface && writer->interface_count == WH_WRITER_TABLE))
		return wh_error_set(error, WH_ERR_MEMORY, "no room for one more adapter in this capture");
	if (source->new_interface)
		interface_add(writer, source);
	source->buffer = source->memory != NULL && place < WH_SINK_BUFFER_SLOTS ? (int)place : WH_BUFFER_NONE;
	input->waiting = *source;
	input->fresh = true;
	input->idle = false;
	return WH_OK;
}

/* With the lock held: makes the source that waits the input's, with counts that begin at zero. */
static void input_begin(struct wh_input *input)
{
	input->source = input->waiting;
	input->active = true;
	input->ended = false;
	input->outstanding = 0;
	input->received = input->dropped = input->discarded = 0;
	input->lost_pending = 0;
	input->spare_file = 0;
}

void wh_inputs_take(struct wh_writer *writer)
{
	pthread_mutex_lock(&writer->lock);
	writer->input_count = writer->attached_count;
	writer->interfaces_seen = writer->interface_count;
	for (uint32_t i = 0; i < writer->input_count; i++) {
		struct wh_input *input = writer->inputs[i];
		if (!input->fresh)
			continue;
		input->fresh = false;
		input_begin(input);
		if (input->source.buffer != WH_BUFFER_NONE)
			writer->sink->ops->register_buffer(writer->sink, input->source.buffer, input->source.memory,
							   input->source.memory_bytes);
	}
	pthread_mutex_unlock(&writer->lock);
	if (writer->file != NULL && writer->phase == WH_PHASE_TAKING)
		wh_output_interfaces(writer);
}

/* An input whose last chunk is back: nothing of it is used any more, and its place is free. */
static void input_settle(struct wh_writer *writer, struct wh_input *input)
{
	if (!input->active || !input->ended || input->outstanding != 0)
		return;
	if (input->source.buffer != WH_BUFFER_NONE)
		writer->sink->ops->register_buffer(writer->sink, input->source.buffer, NULL, 0);
	struct wh_chain_interface *interface = &writer->interfaces[input->source.interface];
	interface->past_received += input->received;
	interface->past_dropped += input->dropped;
	input->active = false;
	wh_writer_tell(writer, WH_WRITER_SOURCE_ENDED, input->source.source, NULL);
	pthread_mutex_lock(&writer->lock);
	input->idle = true;
	pthread_mutex_unlock(&writer->lock);
}

static void input_end(struct wh_writer *writer, struct wh_input *input, struct wh_chunk *chunk)
{
	input->ended = true;
	if (writer->phase == WH_PHASE_SURPLUS) {
		atomic_fetch_add_explicit(&input->source.counters->lost_surplus, chunk->lost, memory_order_relaxed);
	} else {
		input->received += chunk->lost;
		input->dropped += chunk->lost;
		input->lost_pending += chunk->lost;
	}
	wh_chunk_release(chunk);
	if (input->lost_pending != 0)
		wh_output_tail(writer, input);
	/* Frames that are only in the stream hold the input until they are on their way. */
	wh_output_flush(writer);
}

bool wh_inputs_must_wait(const struct wh_writer *writer)
{
	return writer->jobs_out > WH_WRITER_JOBS - SPARE_JOBS || writer->held != NULL;
}

/* Pops a few chunks of INPUT. False: the disk is behind, and the rings hold what waits. */
static bool input_drain(struct wh_writer *writer, struct wh_input *input, bool *any)
{
	for (int count = 0; input->active && !input->ended && count < POP_BATCH; count++) {
		if (wh_inputs_must_wait(writer))
			return false;
		struct wh_chunk *chunk = wh_spsc_pop(input->source.ring);
		if (chunk == NULL)
			return true;
		*any = true;
		if (chunk->kind == WH_CHUNK_END) {
			input_end(writer, input, chunk);
		} else {
			input->outstanding++;
			wh_output_chunk(writer, input, chunk);
		}
	}
	return true;
}

bool wh_inputs_drain(struct wh_writer *writer)
{
	bool any = false;
	for (uint32_t count = writer->input_count; count > 0; count--) {
		if (writer->input_first >= writer->input_count)
			writer->input_first = 0;
		if (!input_drain(writer, writer->inputs[writer->input_first], &any))
			break;
		writer->input_first++;
	}
	return any;
}

void wh_inputs_settle(struct wh_writer *writer)
{
	for (uint32_t i = 0; i < writer->input_count; i++)
		input_settle(writer, writer->inputs[i]);
}

bool wh_inputs_have_more(const struct wh_writer *writer)
{
	for (uint32_t i = 0; i < writer->input_count; i++)
		if (writer->inputs[i]->active && !writer->inputs[i]->ended &&
		    !wh_spsc_is_empty(writer->inputs[i]->source.ring))
			return true;
	return false;
}

bool wh_inputs_all_settled(const struct wh_writer *writer)
{
	for (uint32_t i = 0; i < writer->input_count; i++)
		if (writer->inputs[i]->active)
			return false;
	return true;
}
