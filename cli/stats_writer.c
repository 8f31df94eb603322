/* SPDX-License-Identifier: BSD-3-Clause */
#include "stats_writer.h"

#include "stats_file.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stats_writer {
	struct stats_file file; /* the thread's, once there is one */
	struct wh_capture *capture;
	struct console *console;
	bool failed; /* the thread's: it has been said that the file cannot be written */
	pthread_t thread;
	bool running; /* of whoever ends the thread */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool asked;  /* lock */
	bool ending; /* lock */
};

static void write_once(struct stats_writer *writer)
{
	struct wh_message message = { "" };
	bool failed = stats_file_write(&writer->file, writer->capture, &message) != WH_RESULT_OK;
	/* Said again only after it worked in between. */
	if (failed && !writer->failed)
		console_say(writer->console, CONSOLE_WARNING, "%s; the capture goes on, and so do the attempts",
			    message.text);
	writer->failed = failed;
}

static void *work(void *argument)
{
	struct stats_writer *writer = argument;
	pthread_mutex_lock(&writer->lock);
	for (;;) {
		if (writer->asked) {
			writer->asked = false;
			pthread_mutex_unlock(&writer->lock);
			write_once(writer);
			pthread_mutex_lock(&writer->lock);
		} else if (writer->ending) {
			break;
		} else {
			pthread_cond_wait(&writer->changed, &writer->lock);
		}
	}
	pthread_mutex_unlock(&writer->lock);
	return NULL;
}

enum wh_result stats_writer_open(const char *path, struct wh_capture *capture, struct console *console,
				 struct stats_writer **writer, struct wh_message *message)
{
	char words[128];
	struct stats_writer *made = calloc(1, sizeof(*made));
	if (made == NULL) {
		snprintf(message->text, sizeof(message->text), "--stats-file: out of memory");
		return WH_RESULT_USAGE;
	}
	enum wh_result result = stats_file_open(&made->file, path, message);
	if (result != WH_RESULT_OK) {
		free(made);
		return result;
	}
	made->capture = capture;
	made->console = console;
	pthread_mutex_init(&made->lock, NULL);
	pthread_cond_init(&made->changed, NULL);
	int os_error = pthread_create(&made->thread, NULL, work, made);
	made->running = os_error == 0;
	if (os_error != 0) {
		stats_writer_close(made);
		snprintf(message->text, sizeof(message->text), "--stats-file: cannot start a thread for it: %s",
			 strerror_r(os_error, words, sizeof(words)));
		return WH_RESULT_USAGE;
	}
	pthread_setname_np(made->thread, "wh-stats");
	*writer = made;
	return WH_RESULT_OK;
}

static void signal_change(struct stats_writer *writer, bool ask, bool end)
{
	pthread_mutex_lock(&writer->lock);
	writer->asked |= ask;
	writer->ending |= end;
	pthread_cond_signal(&writer->changed);
	pthread_mutex_unlock(&writer->lock);
}

void stats_writer_ask(struct stats_writer *writer)
{
	if (writer != NULL)
		signal_change(writer, true, false);
}

static void end_thread(struct stats_writer *writer, bool ask)
{
	if (!writer->running)
		return;
	signal_change(writer, ask, true);
	pthread_join(writer->thread, NULL);
	writer->running = false;
}

void stats_writer_finish(struct stats_writer *writer)
{
	if (writer != NULL)
		end_thread(writer, true);
}

void stats_writer_close(struct stats_writer *writer)
{
	if (writer == NULL)
		return;
	end_thread(writer, false);
	stats_file_close(&writer->file);
	pthread_cond_destroy(&writer->changed);
	pthread_mutex_destroy(&writer->lock);
	free(writer);
}
