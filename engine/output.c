/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine_state.h"

/* Returns whether there was memory for it. */
static bool event_add(struct wh_capture *capture, enum wh_writer_event kind, uint64_t number, const char *text)
{
	size_t length = text != NULL ? strlen(text) : 0;
	struct wh_event *event = malloc(sizeof(*event) + length + 1);
	if (event == NULL)
		return false;
	*event = (struct wh_event){ .kind = kind, .number = number };
	memcpy(event->text, text != NULL ? text : "", length + 1);
	pthread_mutex_lock(&capture->lock);
	if (capture->last_event != NULL)
		capture->last_event->next = event;
	else
		capture->first_event = event;
	capture->last_event = event;
	pthread_mutex_unlock(&capture->lock);
	return true;
}

/* What a capture could not end without must come through without memory, too. */
static void event_note(struct wh_output *output, enum wh_writer_event kind, uint64_t number)
{
	if (kind == WH_WRITER_SOURCE_ENDED)
		atomic_store_explicit(&output->capture->sources_untold[number], true, memory_order_relaxed);
	/* Release: pairs with the acquire in untold_handle(), for what is noted above as well. */
	atomic_fetch_or_explicit(&output->untold, UINT32_C(1) << kind, memory_order_release);
}

/* Any of the writer's threads: hands what they tell over to the supervisor. */
static void writer_event(void *context, enum wh_writer_event kind, uint64_t number, const char *text)
{
	struct wh_output *output = context;
	struct wh_capture *capture = output->capture;
	if (!event_add(capture, kind, number, text))
		event_note(output, kind, number);
	const uint64_t one = 1;
	ssize_t ignored = write(capture->event_fd, &one, sizeof(one));
	(void)ignored;
}

static enum wh_file_direct direct_of(enum wh_direct_io choice)
{
	switch (choice) {
	case WH_DIRECT_IO_ON:
		return WH_FILE_DIRECT_ON;
	case WH_DIRECT_IO_OFF:
		return WH_FILE_DIRECT_OFF;
	default:
		return WH_FILE_DIRECT_AUTO;
	}
}

/* Makes the next chain one of the capture's. */
static void output_publish(struct wh_capture *capture)
{
	/* Release: the statistics calls read the count and then the entry. */
	atomic_fetch_add_explicit(&capture->output_count, 1, memory_order_release);
}

/* What the writer of the chain for an adapter called NAME is told. */
static struct wh_writer_config writer_config(struct wh_capture *capture, const char *name, struct wh_output *output)
{
	const struct wh_config *config = &capture->settings.config;
	struct wh_writer_config writer = {
		.path = config->output,
		.tag = config->per_interface ? name : NULL,
		.format = capture->settings.format,
		.limits = {
			.file_bytes = config->file_bytes,
			.file_ns = config->file_seconds * WH_NS_PER_SECOND,
			.total_files = config->stop_after_files,
			.total_bytes = config->stop_after_bytes,
		},
		.keep_files = config->keep_files,
		.stop_after_frames = config->stop_after_frames,
		.min_free_percent = config->min_free_percent,
		.adopt = config->adopt_files,
		.recycle = config->on_low_space == WH_LOW_SPACE_RECYCLE,
		.direct = direct_of(config->direct_io),
		.discard = config->simulate == WH_SIMULATE_NO_DISK,
		.transient = config->simulate == WH_SIMULATE_NO_NIC,
		.snapshot_length = config->snapshot_length,
		.block_bytes = capture->settings.geometry.block_bytes,
		.session = capture->session,
		.application = "wirehaul " WIREHAUL_VERSION,
		.filter = config->filter,
		.event = writer_event,
		.event_context = output,
	};
	memcpy(writer.operating_system, capture->operating_system, sizeof(writer.operating_system));
	return writer;
}

enum wh_status wh_output_check(struct wh_capture *capture, const char *name, struct wh_error *error)
{
	const struct wh_writer_config writer = writer_config(capture, name, NULL);
	return wh_writer_check(&writer, error);
}

enum wh_status wh_output_for(struct wh_capture *capture, const char *name, struct wh_output **output,
			     struct wh_error *error)
{
	const struct wh_config *config = &capture->settings.config;
	uint32_t count = atomic_load_explicit(&capture->output_count, memory_order_relaxed);
	if (!config->per_interface && count > 0) {
		*output = &capture->outputs[0];
		return WH_OK;
	}
	if (count == WH_PORTS_MOST)
		return wh_error_set(error, WH_ERR_MEMORY, "too many adapters for one capture");
	struct wh_output *made = &capture->outputs[count];
	made->capture = capture;
	const struct wh_writer_config writer = writer_config(capture, name, made);
	enum wh_status status = wh_writer_open(&writer, &made->writer, error);
	if (status != WH_OK)
		return status;
	if (!capture->threads_started)
		output_publish(capture);
	*output = made;
	return WH_OK;
}

enum wh_status wh_output_start(struct wh_capture *capture, struct wh_output *output, struct wh_error *error)
{
	enum wh_status status = wh_writer_start(output->writer, error);
	if (status != WH_OK)
		return status;
	output->started = true;
	output_publish(capture);
	return WH_OK;
}

void wh_output_discard(struct wh_output *output)
{
	wh_writer_close(output->writer);
	*output = (struct wh_output){ 0 };
}
