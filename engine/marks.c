/* SPDX-License-Identifier: BSD-3-Clause */
/* Marks: what somebody wants to find again in a capture (wh_capture_mark()). And whether all threads are alive. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine_state.h"
#include "ringbuf/clock.h"

enum wh_status wh_marks_path(const char *output, char path[WH_PATH_BYTES], struct wh_error *error)
{
	struct wh_chain_name name;
	enum wh_status status = wh_chain_name_parse(output, NULL, &name, error);
	if (status != WH_OK)
		return status;
	int length = snprintf(path, WH_PATH_BYTES, "%s/%s_marks.txt", name.directory, name.stem);
	if (length < 0 || length >= WH_PATH_BYTES)
		return wh_error_set(error, WH_ERR_INPUT, "the path %s is too long", output);
	return WH_OK;
}

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

/* Appends the mark to the file beside the chain: time in UTC, and the text. */
static enum wh_status file_append(const char *output, uint64_t ns, const char *text, struct wh_error *error)
{
	char path[WH_PATH_BYTES];
	char line[WH_MARK_BYTES + 64];
	enum wh_status status = wh_marks_path(output, path, error);
	if (status != WH_OK)
		return status;
	const time_t seconds = (time_t)(ns / WH_NS_PER_SECOND);
	struct tm utc;
	gmtime_r(&seconds, &utc);
	size_t used = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
	int rest = snprintf(line + used, sizeof(line) - used, ".%09lluZ %s\n",
			    (unsigned long long)(ns % WH_NS_PER_SECOND), text);
	used += rest > 0 ? (size_t)rest : 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (fd < 0)
		return wh_error_system(error, errno, "cannot write %s", path);
	/* In a directory that others may write to, the name may be another one of a file that is not meant at all. */
	struct stat found;
	if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode) || found.st_uid != geteuid() || found.st_nlink != 1) {
		close(fd);
		return wh_error_set(error, WH_ERR_INPUT,
				    "%s is not a file of this user's with that name alone: remove it", path);
	}
	ssize_t written = write(fd, line, used);
	int reason = written < 0 ? errno : EIO;
	if (close(fd) != 0 || written != (ssize_t)used)
		return wh_error_system(error, reason, "cannot write %s", path);
	return WH_OK;
}

enum wh_result wh_capture_mark(struct wh_capture *capture, const char *text, struct wh_message *message)
{
	struct wh_error error = { 0 };
	uint64_t ns = wh_ns_wall();
	pthread_mutex_lock(&capture->lock);
	bool running = capture->running && capture->stop_reason == WH_STOP_NONE;
	pthread_mutex_unlock(&capture->lock);
	enum wh_status status = text_check(text, &error);
	if (status == WH_OK && !running)
		status = wh_error_set(&error, WH_ERR_INPUT, "the capture does not run any more");
	if (status == WH_OK && wh_settings_write_files(&capture->settings))
		status = file_append(capture->settings.config.output, ns, text, &error);
	/* Acquire: pairs with the release in wh_output_start(). */
	uint32_t outputs = atomic_load_explicit(&capture->output_count, memory_order_acquire);
	for (uint32_t i = 0; status == WH_OK && i < outputs; i++)
		status = wh_writer_mark(capture->outputs[i].writer, ns, text, &error);
	if (status == WH_OK) {
		atomic_fetch_add_explicit(&capture->marks, 1, memory_order_relaxed);
		return WH_RESULT_OK;
	}
	snprintf(message->text, sizeof(message->text), "%s", error.text);
	return status == WH_ERR_INPUT ? WH_RESULT_USAGE : WH_RESULT_ERROR;
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
