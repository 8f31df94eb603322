/* SPDX-License-Identifier: BSD-3-Clause */
/* Marks: what somebody wants to find again in a capture (wh_capture_mark()). And whether all threads are alive. */
#include <stdio.h>
#include <string.h>

#include "engine/engine_state.h"
#include "ringbuf/clock.h"

/* What a caller waits for the file of marks at most; a disk that works takes less. */
enum { PATIENCE_MS = 100 };

/* Bytes of the UTF-8 sequence that begins with *AT, 0 where it is none (RFC 3629, section 4, without its finer points
 * on surrogates, which nothing here depends on). */
static size_t sequence_bytes(const unsigned char *at)
{
	size_t bytes = at[0] < 0x80                    ? 1
		       : at[0] >= 0xC2 && at[0] < 0xE0 ? 2
		       : (at[0] & 0xF0) == 0xE0        ? 3
		       : at[0] >= 0xF0 && at[0] < 0xF5 ? 4
						       : 0;
	for (size_t i = 1; i < bytes; i++)
		if ((at[i] & 0xC0) != 0x80)
			return 0;
	return bytes;
}

static enum wh_status text_check(const char *text, struct wh_error *error)
{
	size_t length = strnlen(text, WH_MARK_BYTES);
	if (length == 0)
		return wh_error_set(error, WH_ERR_INPUT, "a mark needs a text");
	if (length == WH_MARK_BYTES)
		return wh_error_set(error, WH_ERR_INPUT, "a mark has %d bytes at most", WH_MARK_BYTES - 1);
	for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
		size_t bytes = sequence_bytes(at);
		if (bytes == 0)
			return wh_error_set(error, WH_ERR_INPUT, "a mark must be UTF-8 text");
		if (*at < ' ' || *at == 0x7F)
			return wh_error_set(error, WH_ERR_INPUT,
					    "a mark is one line: no control characters, no line breaks");
		at += bytes;
	}
	return WH_OK;
}

static bool goes_into_files(const struct wh_capture *capture)
{
	return capture->settings.format == WH_WRITE_PCAPNG;
}

/* Takes note of the mark wherever it is to be, for others to write. What ran out of room or memory is left out. */
static enum wh_status mark_post(struct wh_capture *capture, const char *text, struct wh_marks_line **line,
				struct wh_error *error)
{
	uint64_t ns = wh_ns_wall();
	enum wh_status status = WH_OK;
	/* With the lock held to the end: what is accepted is with the writers before they are asked to finish. */
	pthread_mutex_lock(&capture->lock);
	if (!capture->running || capture->stop_reason != WH_STOP_NONE)
		status = wh_error_set(error, WH_ERR_INPUT, "the capture does not run any more");
	if (status == WH_OK && capture->marks_file != NULL)
		status = wh_marks_file_add(capture->marks_file, ns, text, line, error);
	/* Acquire: pairs with the release in wh_output_start(). */
	uint32_t outputs = atomic_load_explicit(&capture->output_count, memory_order_acquire);
	for (uint32_t i = 0; status == WH_OK && i < outputs; i++)
		status = wh_writer_mark(capture->outputs[i].writer, ns, text, error);
	pthread_mutex_unlock(&capture->lock);
	return status;
}

enum wh_result wh_capture_mark(struct wh_capture *capture, const char *text, struct wh_message *message)
{
	struct wh_error error = { 0 };
	struct wh_marks_line *line = NULL;
	message->text[0] = '\0';
	enum wh_status status = text_check(text, &error);
	if (status == WH_OK && !goes_into_files(capture) && capture->marks_file == NULL)
		status =
		    wh_error_set(&error, WH_ERR_INPUT,
				 "this capture has no place for marks: it writes classic pcap, and no file of marks");
	if (status == WH_OK)
		status = mark_post(capture, text, &line, &error);
	bool posted = status == WH_OK;
	enum wh_marks_outcome outcome = WH_MARKS_WRITTEN;
	if (line != NULL) {
		struct wh_error why = { 0 };
		outcome = wh_marks_file_wait(capture->marks_file, line, PATIENCE_MS, posted ? &error : &why);
	}
	if (!posted) {
		snprintf(message->text, sizeof(message->text), "%s", error.text);
		return status == WH_ERR_INPUT ? WH_RESULT_USAGE : WH_RESULT_ERROR;
	}
	bool in_files = goes_into_files(capture);
	if (in_files || outcome != WH_MARKS_FAILED)
		atomic_fetch_add_explicit(&capture->marks, 1, memory_order_relaxed);
	if (outcome == WH_MARKS_FAILED) {
		snprintf(message->text, sizeof(message->text), "the mark is %s: %s",
			 in_files ? "in the capture, but not in its file of marks" : "lost", error.text);
		return WH_RESULT_ERROR;
	}
	if (outcome == WH_MARKS_WAITS)
		snprintf(message->text, sizeof(message->text), "the disk has not taken it yet");
	return WH_RESULT_OK;
}

static void line_failed(void *context, const struct wh_error *error)
{
	wh_capture_report(context, 2, "a mark is missing in its file of marks: %s", error->text);
}

enum wh_status wh_marks_open(struct wh_capture *capture, struct wh_error *error)
{
	/* A simulation leaves nothing behind. */
	if (!wh_settings_write_files(&capture->settings) || capture->settings.config.simulate != WH_SIMULATE_NOTHING)
		return WH_OK;
	const struct wh_marks_file_config config = {
		.output = capture->settings.config.output,
		.failed = line_failed,
		.context = capture,
	};
	return wh_marks_file_open(&config, &capture->marks_file, error);
}

/* Whether the thread called NAME, which last came round at BEAT_NS, is late; words for it. */
static bool is_late(uint64_t now_ns, uint64_t beat_ns, uint32_t within_ms, const char *name, struct wh_message *message)
{
	if (beat_ns == 0 || now_ns <= beat_ns || now_ns - beat_ns <= within_ms * WH_NS_PER_MS)
		return false;
	snprintf(message->text, sizeof(message->text), "the thread %s has not come round for %.1f s", name,
		 (double)(now_ns - beat_ns) / 1e9);
	return true;
}

/* With the lock held. */
static bool a_capture_thread_is_late(const struct wh_port *port, uint64_t now_ns, uint32_t within_ms,
				     struct wh_message *message)
{
	for (uint32_t i = 0; i < port->member_count && port->state == WH_PORT_RUNNING; i++) {
		const struct wh_capture_thread *member = port->members[i];
		uint64_t beat_ns = atomic_load_explicit(&member->counters.beat_ns, memory_order_relaxed);
		if (is_late(now_ns, beat_ns, within_ms, member->name, message))
			return true;
	}
	return false;
}

bool wh_capture_alive(struct wh_capture *capture, uint32_t within_ms, struct wh_message *message)
{
	pthread_mutex_lock(&capture->lock);
	/* With the lock held to the end: the writers are not taken apart before the end is noted under it. */
	bool running = capture->running && capture->end_ns == 0;
	uint64_t now_ns = wh_ns_monotonic();
	bool late = running && is_late(now_ns, atomic_load_explicit(&capture->beat_ns, memory_order_relaxed), within_ms,
				       "wh-engine", message);
	uint32_t ports = atomic_load_explicit(&capture->port_count, memory_order_acquire);
	for (uint32_t i = 0; running && !late && i < ports; i++)
		late = a_capture_thread_is_late(capture->ports[i], now_ns, within_ms, message);
	uint32_t outputs = atomic_load_explicit(&capture->output_count, memory_order_acquire);
	for (uint32_t i = 0; running && !late && i < outputs; i++) {
		uint64_t since_ns;
		const char *name = wh_writer_slowest(capture->outputs[i].writer, now_ns, &since_ns);
		late = is_late(now_ns, since_ns, within_ms, name, message);
	}
	pthread_mutex_unlock(&capture->lock);
	return !late;
}
