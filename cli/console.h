/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Standard error: the one place where the command speaks to a person. Lines are queued by any thread and written by
 * the main thread alone, and only when standard error can take them: a terminal that was stopped with Ctrl+S, or a
 * full pipe, holds up neither the library's threads nor the handling of signals.
 */
#ifndef WH_CLI_CONSOLE_H
#define WH_CLI_CONSOLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first three are the severities that the library reports with; the last is for errors and for answers. */
enum console_level { CONSOLE_DETAIL = 0, CONSOLE_NOTICE = 1, CONSOLE_WARNING = 2, CONSOLE_ALWAYS = 3 };

struct console_entry;

struct console {
	pthread_mutex_t lock;        /* guards the queue: first, last, count, lost */
	struct console_entry *first; /* written by any thread, emptied by the main thread */
	struct console_entry *last;
	size_t count;
	uint64_t lost; /* texts that found the queue full */
	int wake_fd;   /* becomes readable when something was queued; owned */
	bool terminal; /* standard error is a terminal that can redraw a line; set once */
	bool quiet;
	unsigned verbosity;
	bool live_shown; /* main thread only: the cursor stands behind a live line */
};

/* Sets up *CONSOLE for standard error. False when the system gives no descriptor or lock. */
bool console_init(struct console *console);

/* What is shown from now on: QUIET only warnings and errors; VERBOSITY above 0 details too. Main thread only. */
void console_set_level(struct console *console, bool quiet, unsigned verbosity);

/*
 * Queues "wirehaul: " and one line, with "warning: " before it for a warning; or nothing, if such a line is not to be
 * shown. Control characters are replaced. Any thread; does not block.
 */
__attribute__((format(printf, 3, 4))) void console_say(struct console *console, enum console_level level,
						       const char *format, ...);

/* The same as a report callback of the library: CONTEXT is the console. */
void console_report(void *context, int severity, const char *line);

/* Queues TEXT, whole lines, with nothing before them. Control characters are replaced. Any thread; does not block. */
void console_text(struct console *console, const char *text);

/* Shows LINE in place of the last live line, if standard error can take it now. Main thread only; does not block. */
void console_live(struct console *console, const char *line);

/* Takes the live line away. Main thread only. */
void console_clear(struct console *console);

/* How many columns a live line may fill. */
size_t console_columns(void);

/* Writes what is queued, as far as standard error takes it. Returns whether something is left. Main thread only. */
bool console_flush(struct console *console);

/*
 * Writes all that is queued, and gives everything back. Waits a few seconds for a reader that takes nothing, not for
 * ever: at this point the signals that could end the wait are still blocked. Main thread only.
 */
void console_close(struct console *console);

#endif
