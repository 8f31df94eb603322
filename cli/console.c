/* SPDX-License-Identifier: BSD-3-Clause */
#include "console.h"

#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Past this the newest texts are counted instead of kept: memory stays bounded if nobody ever reads. */
#define QUEUE_MAX 256

/* Goes to the first column and clears the line from there. */
#define CLEAR_LINE "\r\033[K"

/* How long the end of the command waits for a reader that takes nothing. */
#define PATIENCE_MS 5000

struct console_entry {
	struct console_entry *next;
	size_t length;
	size_t written;
	char text[];
};

static bool can_redraw(void)
{
	const char *kind = getenv("TERM");
	return isatty(STDERR_FILENO) == 1 && kind != NULL && kind[0] != '\0' && strcmp(kind, "dumb") != 0;
}

bool console_init(struct console *console)
{
	*console = (struct console){ .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	if (console->wake_fd == -1)
		return false;
	if (pthread_mutex_init(&console->lock, NULL) != 0) {
		close(console->wake_fd);
		return false;
	}
	console->terminal = can_redraw();
	return true;
}

void console_set_level(struct console *console, bool quiet, unsigned verbosity)
{
	console->quiet = quiet;
	console->verbosity = verbosity;
}

static bool is_shown(const struct console *console, enum console_level level)
{
	if (level >= CONSOLE_WARNING)
		return true;
	if (console->quiet)
		return false;
	return console->verbosity > 0 || (level == CONSOLE_NOTICE && console->terminal);
}

void console_text(struct console *console, const char *text)
{
	size_t length = strlen(text);
	struct console_entry *entry = malloc(sizeof(*entry) + length + 1);
	pthread_mutex_lock(&console->lock);
	if (entry == NULL || console->count >= QUEUE_MAX) {
		console->lost++;
		pthread_mutex_unlock(&console->lock);
		free(entry);
		return;
	}
	*entry = (struct console_entry){ .length = length };
	memcpy(entry->text, text, length + 1);
	text_clean(entry->text, true);
	if (console->last == NULL)
		console->first = entry;
	else
		console->last->next = entry;
	console->last = entry;
	console->count++;
	pthread_mutex_unlock(&console->lock);

	uint64_t one = 1;
	ssize_t sent = write(console->wake_fd, &one, sizeof(one));
	(void)sent; /* it can only fail when the counter is full, and then the reader is awake anyway */
}

void console_say(struct console *console, enum console_level level, const char *format, ...)
{
	if (!is_shown(console, level))
		return;
	char line[1024] = "wirehaul: ";
	size_t start = strlen(line);
	if (level == CONSOLE_WARNING)
		start = (size_t)(stpcpy(line + start, "warning: ") - line);
	va_list arguments;
	va_start(arguments, format);
	/* One byte is kept back for the end of the line. */
	vsnprintf(line + start, sizeof(line) - start - 1, format, arguments);
	va_end(arguments);
	text_clean(line, false);
	memcpy(line + strlen(line), "\n", 2);
	console_text(console, line);
}

void console_report(void *context, int severity, const char *line)
{
	enum console_level level = severity >= 2 ? CONSOLE_WARNING : severity == 1 ? CONSOLE_NOTICE : CONSOLE_DETAIL;
	console_say(context, level, "%s", line);
}

static bool is_writable(int timeout_ms)
{
	struct pollfd ready = { .fd = STDERR_FILENO, .events = POLLOUT };
	int count = poll(&ready, 1, timeout_ms);
	return count == 1 || (count == -1 && errno != EINTR);
}

/*
 * Writes BYTES of TEXT. Returns how many were taken, 0 when nothing was for now, and BYTES when there is nobody to read
 * them any more, so that they are not tried again.
 */
static size_t write_some(const char *text, size_t bytes, int timeout_ms)
{
	if (!is_writable(timeout_ms))
		return 0;
	/* A pipe that polls as writable takes so much without blocking. */
	ssize_t count = write(STDERR_FILENO, text, bytes < PIPE_BUF ? bytes : PIPE_BUF);
	if (count >= 0)
		return (size_t)count;
	return errno == EAGAIN || errno == EINTR ? 0 : bytes;
}

static struct console_entry *peek(struct console *console)
{
	pthread_mutex_lock(&console->lock);
	struct console_entry *entry = console->first;
	pthread_mutex_unlock(&console->lock);
	return entry;
}

static void pop(struct console *console)
{
	pthread_mutex_lock(&console->lock);
	struct console_entry *entry = console->first;
	console->first = entry->next;
	if (console->first == NULL)
		console->last = NULL;
	console->count--;
	pthread_mutex_unlock(&console->lock);
	free(entry);
}

static void tell_lost(struct console *console)
{
	pthread_mutex_lock(&console->lock);
	uint64_t lost = console->lost;
	console->lost = 0;
	pthread_mutex_unlock(&console->lock);
	if (lost > 0)
		console_say(console, CONSOLE_WARNING, "%" PRIu64 " more lines could not be shown", lost);
}

static bool flush(struct console *console, int timeout_ms)
{
	uint64_t count = 0;
	ssize_t got = read(console->wake_fd, &count, sizeof(count));
	(void)got; /* only to make it unreadable again */
	/* A bound, so that no flood of lines keeps the caller from its signals. */
	for (int i = 0; i < QUEUE_MAX; i++) {
		struct console_entry *entry = peek(console);
		if (entry == NULL) {
			tell_lost(console);
			entry = peek(console);
		}
		if (entry == NULL)
			return false;
		console_clear(console);
		while (entry->written < entry->length) {
			size_t taken =
			    write_some(entry->text + entry->written, entry->length - entry->written, timeout_ms);
			if (taken == 0)
				return true;
			entry->written += taken;
		}
		pop(console);
	}
	return true;
}

bool console_flush(struct console *console)
{
	return flush(console, 0);
}

void console_live(struct console *console, const char *line)
{
	char text[1024];
	if (!console->terminal || !is_writable(0))
		return;
	int length = snprintf(text, sizeof(text), CLEAR_LINE "%s", line);
	if (length < 0 || (size_t)length >= sizeof(text))
		return;
	write_some(text, (size_t)length, 0);
	console->live_shown = true;
}

void console_clear(struct console *console)
{
	if (!console->live_shown)
		return;
	if (write_some(CLEAR_LINE, strlen(CLEAR_LINE), 0) > 0)
		console->live_shown = false;
}

size_t console_columns(void)
{
	struct winsize size = { .ws_col = 0 };
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
		return 80;
	return size.ws_col;
}

void console_close(struct console *console)
{
	console_clear(console);
	flush(console, PATIENCE_MS);
	while (peek(console) != NULL)
		pop(console);
	pthread_mutex_destroy(&console->lock);
	close(console->wake_fd);
}
