/* SPDX-License-Identifier: BSD-3-Clause */
#include "session.h"

#include "control_protocol.h"
#include "control_server.h"
#include "live.h"
#include "metrics_address.h"
#include "metrics_server.h"
#include "service.h"
#include "stats_writer.h"
#include "summary.h"
#include "text.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct session {
	const struct options *options;
	struct console *console;
	struct wh_capture *capture;
	int signal_fd;
	int timer_fd;
	struct stats_writer *stats;
	struct control_server *control;
	struct metrics_server *metrics;
	struct service service;
	bool show_live;
	bool stopping;     /* a signal has asked for the end */
	bool text_waiting; /* standard error could not take all that is queued */
	struct live live;
};

enum { POLL_CAPTURE, POLL_SIGNALS, POLL_TIMER, POLL_CONSOLE, POLL_STDERR, POLL_COUNT };

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* All end a capture in order: files that are whole, and nothing left of a simulation. Who wants less has SIGKILL. */
static const int stop_signals[] = { SIGINT, SIGTERM, SIGQUIT };
enum { STOP_SIGNALS = sizeof(stop_signals) / sizeof(stop_signals[0]) };

/*
 * Takes the signals away from every thread that is started from here on: they are read from a descriptor by the main
 * thread instead. Those that end a capture may kill as usual for now, since opening it can take as long as a pipe is
 * silent, and leaves nothing behind; also where a shell that started us in the background has them ignored. A reader
 * that goes away, and a limit on the size of files (ulimit -f), show themselves as failed writes.
 */
static int open_signals(void)
{
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0)
		return -1;
	struct sigaction action = { .sa_handler = SIG_IGN };
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGPIPE, &action, NULL) != 0 || sigaction(SIGXFSZ, &action, NULL) != 0)
		return -1;
	action.sa_handler = SIG_DFL;
	for (size_t i = 0; i < STOP_SIGNALS; i++) {
		if (sigaction(stop_signals[i], &action, NULL) != 0)
			return -1;
		sigaddset(&signals, stop_signals[i]);
	}
	return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* From here on they end the capture in order. Cannot fail: the set is a good one. */
static void block_stop_signals(void)
{
	sigset_t signals;
	sigemptyset(&signals);
	for (size_t i = 0; i < STOP_SIGNALS; i++)
		sigaddset(&signals, stop_signals[i]);
	sigprocmask(SIG_BLOCK, &signals, NULL);
}

/* A tick each second, if there is anything to do then. */
static int open_timer(bool needed)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd == -1 || !needed)
		return fd;
	struct itimerspec second = { .it_interval = { .tv_sec = 1 }, .it_value = { .tv_sec = 1 } };
	if (timerfd_settime(fd, 0, &second, NULL) == 0)
		return fd;
	int os_error = errno;
	close(fd);
	errno = os_error;
	return -1;
}

static void show_summary(struct session *session)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return;
	summary_print(out, session->capture);
	if (fclose(out) == 0)
		console_text(session->console, text);
	free(text);
}

static void draw_live(struct session *session)
{
	char line[512];
	struct wh_statistics now;
	wh_capture_statistics(session->capture, &now);
	live_line(&session->live, &now, now_ns(), console_columns(), line, sizeof(line));
	if (!session->text_waiting)
		console_live(session->console, line);
}

static void ask_to_stop(struct session *session)
{
	if (!session->stopping) {
		session->stopping = true;
		service_stopping(&session->service);
		wh_capture_stop(session->capture);
		return;
	}
	struct wh_statistics now;
	wh_capture_statistics(session->capture, &now);
	uint64_t done = now.frames_written + now.frames_dropped;
	uint64_t left = now.frames_received > done ? now.frames_received - done : 0;
	console_say(session->console, CONSOLE_ALWAYS,
		    "already stopping: %s frames that were received before are still to be written; please wait",
		    text_count(left).s);
}

static void start_new_file(struct session *session)
{
	if (options_to_standard_output(session->options))
		console_say(session->console, CONSOLE_NOTICE, "SIGHUP has no effect on -w -, which is one stream");
	else
		wh_capture_rotate(session->capture);
}

static void handle_signals(struct session *session)
{
	struct signalfd_siginfo info;
	while (read(session->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGINT:
		case SIGTERM:
		case SIGQUIT:
			ask_to_stop(session);
			break;
		case SIGUSR1:
			show_summary(session);
			stats_writer_ask(session->stats);
			break;
		case SIGHUP:
			start_new_file(session);
			break;
		default:
			break;
		}
	}
}

static void handle_tick(struct session *session)
{
	uint64_t ticks = 0;
	if (read(session->timer_fd, &ticks, sizeof(ticks)) != (ssize_t)sizeof(ticks))
		return;
	stats_writer_ask(session->stats);
	service_tick(&session->service, session->capture, now_ns());
	if (session->show_live)
		draw_live(session);
}

/* Serves signals, clock and console until the capture has ended. */
static void loop(struct session *session)
{
	struct pollfd fds[POLL_COUNT] = {
		[POLL_CAPTURE] = { .fd = wh_capture_fd(session->capture), .events = POLLIN },
		[POLL_SIGNALS] = { .fd = session->signal_fd, .events = POLLIN },
		[POLL_TIMER] = { .fd = session->timer_fd, .events = POLLIN },
		[POLL_CONSOLE] = { .fd = session->console->wake_fd, .events = POLLIN },
		[POLL_STDERR] = { .fd = -1, .events = POLLOUT },
	};
	for (;;) {
		session->text_waiting = console_flush(session->console);
		/* While text waits for standard error, that is what to watch: more text changes nothing. */
		fds[POLL_STDERR].fd = session->text_waiting ? STDERR_FILENO : -1;
		if (poll(fds, POLL_COUNT, -1) == -1) {
			if (errno == EINTR)
				continue;
			/* Without poll() no signal would be seen: end in order what cannot be controlled any more. */
			console_say(session->console, CONSOLE_WARNING,
				    "cannot wait for events, so the capture stops: %s", strerror(errno));
			wh_capture_stop(session->capture);
			return;
		}
		if (fds[POLL_SIGNALS].revents != 0)
			handle_signals(session);
		if (fds[POLL_CAPTURE].revents != 0)
			return;
		if (fds[POLL_TIMER].revents != 0)
			handle_tick(session);
	}
}

/* "eth0, eth1": as many names as fit, and how many more there are. */
static void name_inputs(struct session *session, size_t count, char *text, size_t size)
{
	size_t used = 0;
	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		struct wh_interface_statistics one;
		if (!wh_capture_interface_statistics(session->capture, i, &one))
			continue;
		int length =
		    snprintf(text + used, size - used, "%s%s (%s)", used > 0 ? ", " : "", one.name, one.link_type);
		if (length < 0 || (size_t)length >= size - used - 32) {
			snprintf(text + used, size - used, ", and %zu more", count - i);
			return;
		}
		used += (size_t)length;
	}
}

static void announce(struct session *session)
{
	char inputs[256];
	struct wh_statistics now;
	const struct wh_config *config = &session->options->config;
	wh_capture_statistics(session->capture, &now);
	live_start(&session->live, &now, now_ns());
	name_inputs(session, now.interface_count, inputs, sizeof(inputs));
	const char *from = inputs[0] != '\0' ? inputs : "adapters as they come up";
	const char *output = now.current_file[0] != '\0' ? now.current_file : config->output;
	switch (config->simulate) {
	case WH_SIMULATE_NO_DISK:
		console_say(session->console, CONSOLE_NOTICE,
			    "SIMULATION: capturing on %s, nothing is written; Ctrl+C stops", from);
		break;
	case WH_SIMULATE_NO_NIC:
		console_say(session->console, CONSOLE_NOTICE,
			    "SIMULATION: writing made-up frames of %u bytes to %s, to be removed at the end; Ctrl+C "
			    "stops",
			    config->simulated_frame_bytes, output);
		break;
	case WH_SIMULATE_NOTHING:
	default:
		console_say(session->console, CONSOLE_NOTICE, "capturing on %s to %s; Ctrl+C stops", from,
			    options_to_standard_output(session->options) ? "standard output" : output);
		break;
	}
	if (session->metrics != NULL) {
		struct wh_message url;
		metrics_server_url(session->metrics, &url);
		console_say(session->console, CONSOLE_NOTICE, "metrics at %s", url.text);
	}
}

static enum wh_result refuse(struct session *session, enum wh_result result, const struct wh_message *message)
{
	console_say(session->console, CONSOLE_ALWAYS, "%s", message->text);
	return result;
}

/* What the control socket has to say. Who ends a capture belongs to what is said of it, also where nobody looks on. */
static void report_control(void *context, int severity, const char *line)
{
	const struct session *session = context;
	if (severity != CONTROL_ASKED)
		console_report(session->console, severity, line);
	else if (!session->options->quiet)
		console_say(session->console, CONSOLE_ALWAYS, "%s", line);
}

/* Places that cannot be are refused before anything is opened, which may take a second and changes adapters. */
static enum wh_result check_places(const struct options *options, struct wh_message *message)
{
	char path[CONTROL_PATH_BYTES];
	struct metrics_address address;
	enum wh_result result = WH_RESULT_OK;
	if (options->control != NULL)
		result = control_path(options->control, path, message);
	if (result == WH_RESULT_OK && options->metrics != NULL)
		result = metrics_address_parse(options->metrics, &address, message);
	return result;
}

/* Where a running capture is looked at and spoken to. */
static enum wh_result open_servers(struct session *session, struct wh_message *message)
{
	const struct options *options = session->options;
	const struct control_callbacks callbacks = { .context = session,
						     .report = report_control,
						     .output = options->config.output };
	enum wh_result result = WH_RESULT_OK;
	if (options->control != NULL)
		result =
		    control_server_open(options->control, session->capture, &callbacks, &session->control, message);
	if (result == WH_RESULT_OK && options->metrics != NULL)
		result = metrics_server_open(options->metrics, session->capture, &session->metrics, message);
	return result;
}

/* Opens everything in the order that leaves nothing on disk when a later step fails. */
static enum wh_result start(struct session *session)
{
	struct wh_message message = { "" };
	struct wh_config config = session->options->config;
	config.drop_capabilities = true;
	config.report = console_report;
	config.report_context = session->console;
	enum wh_result result = check_places(session->options, &message);
	if (result == WH_RESULT_OK)
		result = wh_capture_open(&config, &session->capture, &message);
	if (result != WH_RESULT_OK)
		return refuse(session, result, &message);
	block_stop_signals();
	/* After wh_capture_open(), so that it is done as the user of -Z, who also writes it later. */
	if (session->options->stats_file != NULL)
		result = stats_writer_open(session->options->stats_file, session->capture, session->console,
					   &session->stats, &message);
	if (result == WH_RESULT_OK)
		result = open_servers(session, &message);
	if (result == WH_RESULT_OK)
		result = wh_capture_start(session->capture, &message);
	if (result != WH_RESULT_OK)
		return refuse(session, result, &message);
	/* A capture that nobody can speak to is still a capture. */
	if (session->control != NULL && control_server_start(session->control, &message) != WH_RESULT_OK) {
		console_say(session->console, CONSOLE_WARNING, "%s", message.text);
		control_server_close(session->control);
		session->control = NULL;
	}
	service_ready(&session->service, session->capture, now_ns());
	return WH_RESULT_OK;
}

/* Says how the capture ended: the figures, what is missing from them, and the reason. */
static void tell_end(struct session *session, enum wh_result result, const struct wh_message *how)
{
	struct wh_message drops;
	struct wh_statistics last;
	wh_capture_statistics(session->capture, &last);
	bool quiet = session->options->quiet;
	if (!quiet)
		show_summary(session);
	if (summary_explain_drops(&last, &drops))
		console_say(session->console, CONSOLE_WARNING, "%s", drops.text);
	if (!quiet || result != WH_RESULT_OK)
		console_say(session->console, CONSOLE_ALWAYS, "%s", how->text);
}

static enum wh_result run(struct session *session)
{
	enum wh_result result = start(session);
	if (result != WH_RESULT_OK)
		return result;
	announce(session);
	stats_writer_ask(session->stats);
	loop(session);
	service_stopping(&session->service);
	struct wh_message how = { "" };
	result = wh_capture_wait(session->capture, &how);
	stats_writer_finish(session->stats);
	tell_end(session, result, &how);
	return result;
}

enum wh_result session_run(struct options *options, struct console *console)
{
	struct session session = {
		.options = options,
		.console = console,
		.show_live = console->terminal && !options->quiet,
	};
	enum wh_result result = WH_RESULT_USAGE;
	session.signal_fd = open_signals();
	service_open(&session.service);
	session.timer_fd =
	    open_timer(session.show_live || options->stats_file != NULL || service_needs_ticks(&session.service));
	if (session.signal_fd == -1 || session.timer_fd == -1)
		console_say(console, CONSOLE_ALWAYS, "cannot start: %s", strerror(errno));
	else
		result = run(&session);
	control_server_close(session.control);
	metrics_server_close(session.metrics);
	stats_writer_close(session.stats);
	wh_capture_close(session.capture);
	if (session.timer_fd != -1)
		close(session.timer_fd);
	if (session.signal_fd != -1)
		close(session.signal_fd);
	return result;
}
