/* SPDX-License-Identifier: BSD-3-Clause */
/* The public calls (wirehaul.h). */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/engine_state.h"
#include "engine/lock.h"
#include "engine/privileges.h"
#include "ringbuf/clock.h"

void wh_capture_report(struct wh_capture *capture, int severity, const char *format, ...)
{
	const struct wh_config *config = &capture->settings.config;
	if (config->report == NULL)
		return;
	char line[1024];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	pthread_mutex_lock(&capture->report_lock);
	config->report(config->report_context, severity, line);
	pthread_mutex_unlock(&capture->report_lock);
}

uint64_t wh_process_cpu_ns(void)
{
	struct timespec used = { 0 };
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return wh_ns_from_timespec(&used);
}

static enum wh_result usage(struct wh_message *message, const struct wh_error *error)
{
	snprintf(message->text, sizeof(message->text), "%s", error->text);
	return WH_RESULT_USAGE;
}

/* Makes a port for each adapter that is to be captured, without opening it. */
static enum wh_status ports_list(struct wh_capture *capture, struct wh_error *error)
{
	const struct wh_settings *settings = &capture->settings;
	struct wh_interface *list = NULL;
	size_t count = 0;
	enum wh_status status = WH_OK;
	if (settings->any) {
		status = wh_interfaces_list(&list, &count, error);
		for (size_t i = 0; status == WH_OK && i < count; i++) {
			uint32_t header;
			if (!list[i].up || wh_link_type_from_arp_type(list[i].arp_type, &header) < 0)
				continue;
			struct wh_port *port = wh_port_for(capture, list[i].name);
			if (port != NULL)
				port->interface = list[i];
		}
		free(list);
		if (status == WH_OK && atomic_load(&capture->port_count) == 0)
			return wh_error_set(error, WH_ERR_INPUT, "no adapter is up: nothing to capture on");
		return status;
	}
	for (size_t i = 0; i < settings->config.interface_count; i++) {
		const char *name = settings->config.interfaces[i];
		struct wh_interface found;
		status = wh_interface_find(name, &found, error);
		if (status == WH_ERR_GONE)
			return wh_error_set(error, WH_ERR_INPUT,
					    "there is no adapter \"%s\" (\"wirehaul -D\" lists them)", name);
		if (status != WH_OK)
			return status;
		if (!found.up)
			return wh_error_set(error, WH_ERR_INPUT,
					    "adapter %s is down: bring it up first (ip link set %s up)", name, name);
		struct wh_port *port = wh_port_for(capture, found.name);
		if (port == NULL)
			return wh_error_set(error, WH_ERR_MEMORY, "too many adapters for one capture");
		port->interface = found;
		port->named = true;
	}
	return WH_OK;
}

/* With "any", an adapter that cannot be captured is left out, unless none can. */
static enum wh_status ports_open(struct wh_capture *capture, struct wh_error *error)
{
	uint32_t opened = 0, count = atomic_load(&capture->port_count);
	enum wh_status status = WH_OK;
	for (uint32_t i = 0; i < count; i++) {
		struct wh_port *port = capture->ports[i];
		status = wh_port_open(capture, port, error);
		if (status == WH_OK) {
			opened++;
			continue;
		}
		if (port->named || status == WH_ERR_PERMISSION)
			return status;
		wh_port_refuse(port, status);
		snprintf(port->problem, sizeof(port->problem), "%s", error->text);
	}
	if (opened == 0)
		return status; /* and its words; the others' would mostly be the same */
	for (uint32_t i = 0; i < count; i++)
		if (capture->ports[i]->problem[0] != '\0')
			wh_capture_report(capture, 2, "%s is left out: %s", capture->ports[i]->name,
					  capture->ports[i]->problem);
	return WH_OK;
}

/* Without the topology threads are not pinned and memory is not bound, which is no reason not to capture. */
static enum wh_status topology_open(struct wh_capture *capture, struct wh_error *error)
{
	const struct wh_config *config = &capture->settings.config;
	bool list = config->cpus == WH_CPUS_LIST;
	enum wh_status status = wh_topology_open(list ? config->cpu_list : NULL, &capture->topology, error);
	if (status == WH_OK || list)
		return status;
	wh_capture_report(capture, 2, "%s; threads are not pinned", error->text);
	return WH_OK;
}

/* Making the rings may take a second, and filling one with made-up frames too, so whoever has no room is told before.
 * As another user (-Z) it cannot be known yet; the chain is looked at again in any case when it is opened. */
static enum wh_status output_look(struct wh_capture *capture, struct wh_error *error)
{
	if (capture->settings.config.drop_to_user != NULL || atomic_load(&capture->port_count) == 0)
		return WH_OK;
	return wh_output_check(capture, capture->ports[0]->name, error);
}

static enum wh_status sources_open(struct wh_capture *capture, struct wh_error *error)
{
	enum wh_status status;
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	capture->memory_bytes = memory;
	if (!wh_settings_have_adapters(&capture->settings)) {
		bool replay = capture->settings.config.replay_file != NULL;
		struct wh_port *port = wh_port_for(capture, replay ? "replay" : "synthetic");
		if (port == NULL)
			return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
		status = wh_settings_ring_choose(&capture->settings, 1, memory, error);
		if (status == WH_OK)
			status = output_look(capture, error);
		return status == WH_OK ? wh_port_open_replay(capture, port, error) : status;
	}
	if (!wh_privileges_can_capture())
		return wh_error_set(error, WH_ERR_PERMISSION,
				    "no permission to capture: the capability CAP_NET_RAW is missing; "
				    "run as root, or give it to the program (setcap cap_net_raw+ep)");
	/* The watch comes before the list, so that no adapter falls between the two. */
	status = wh_interface_watch_open(&capture->watch, error);
	if (status == WH_OK)
		status = ports_list(capture, error);
	if (status == WH_OK)
		status = wh_settings_ring_choose(&capture->settings, atomic_load(&capture->port_count), memory, error);
	if (status == WH_OK)
		status = output_look(capture, error);
	if (status == WH_OK)
		status = topology_open(capture, error);
	return status == WH_OK ? ports_open(capture, error) : status;
}

static enum wh_status directory_lock(struct wh_capture *capture, struct wh_error *error)
{
	const struct wh_config *config = &capture->settings.config;
	if (!wh_settings_write_files(&capture->settings))
		return WH_OK;
	enum wh_status status = wh_directory_lock(config->output, &capture->lock_fd, error);
	/* Else files could be adopted that another capture is at. */
	if (status == WH_OK && capture->lock_fd < 0 && config->adopt_files)
		return wh_error_set(error, WH_ERR_INPUT,
				    "the directory of %s cannot be opened and locked, so its earlier files cannot be "
				    "taken over: choose another directory, or leave out --adopt",
				    config->output);
	return status;
}

static enum wh_status capture_set_up(struct wh_capture *capture, struct wh_error *error)
{
	const struct wh_config *config = &capture->settings.config;
	capture->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	capture->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	capture->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (capture->stop_fd < 0 || capture->event_fd < 0 || capture->done_fd < 0)
		return wh_error_system(error, errno, "cannot make an eventfd");
	if (getrandom(&capture->session, sizeof(capture->session), 0) != sizeof(capture->session))
		capture->session = wh_ns_wall();
	struct utsname system;
	if (uname(&system) == 0)
		snprintf(capture->operating_system, sizeof(capture->operating_system), "%s %s", system.sysname,
			 system.release);
	/* As the user who will write. Before the rings where that is the one who starts: they take time. */
	bool drops = config->drop_to_user != NULL;
	enum wh_status status = drops ? WH_OK : directory_lock(capture, error);
	if (status == WH_OK)
		status = sources_open(capture, error);
	if (status == WH_OK && drops)
		status = wh_privileges_drop(config->drop_to_user, error);
	else if (status == WH_OK && config->drop_capabilities)
		status = wh_privileges_reduce(error);
	if (status == WH_OK && drops)
		status = directory_lock(capture, error);
	if (status == WH_OK && config->hook_command != NULL)
		status = wh_hooks_open(config->hook_command, &capture->hooks, error);
	uint32_t count = atomic_load(&capture->port_count);
	for (uint32_t i = 0; status == WH_OK && i < count; i++)
		if (capture->ports[i]->member_count > 0)
			status = wh_port_attach(capture, capture->ports[i], error);
	return status;
}

enum wh_result wh_capture_open(const struct wh_config *config, struct wh_capture **opened, struct wh_message *message)
{
	struct wh_error error = { 0 };
	struct wh_capture *capture = calloc(1, sizeof(*capture));
	if (capture == NULL) {
		wh_error_set(&error, WH_ERR_MEMORY, "out of memory");
		return usage(message, &error);
	}
	capture->stop_fd = capture->event_fd = capture->done_fd = capture->lock_fd = -1;
	pthread_mutex_init(&capture->lock, NULL);
	pthread_mutex_init(&capture->report_lock, NULL);
	enum wh_status status = wh_settings_take(config, &capture->settings, &error);
	if (status == WH_OK)
		status = capture_set_up(capture, &error);
	if (status != WH_OK) {
		wh_capture_close(capture);
		return usage(message, &error);
	}
	*opened = capture;
	return WH_RESULT_OK;
}

/* The CPUs of --cpus are meant for all threads, so the caller's binding is set while they are started. */
static bool cpus_bind(const struct wh_capture *capture, cpu_set_t *before)
{
	uint64_t bits[16];
	cpu_set_t set;
	CPU_ZERO(&set);
	if (capture->settings.config.cpus != WH_CPUS_LIST || sched_getaffinity(0, sizeof(*before), before) != 0 ||
	    wh_cpu_list_parse(capture->settings.config.cpu_list, bits, NULL) != WH_OK)
		return false;
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (bits[cpu / 64] >> (cpu % 64) & 1)
			CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0;
}

static enum wh_status threads_start(struct wh_capture *capture, struct wh_error *error)
{
	enum wh_status status = WH_OK;
	uint32_t outputs = atomic_load(&capture->output_count), ports = atomic_load(&capture->port_count);
	capture->threads_started = true;
	for (uint32_t i = 0; status == WH_OK && i < outputs; i++) {
		status = wh_writer_start(capture->outputs[i].writer, error);
		capture->outputs[i].started = status == WH_OK;
	}
	for (uint32_t i = 0; status == WH_OK && i < ports; i++)
		status = wh_port_start(capture->ports[i], error);
	if (status == WH_OK)
		status = wh_marks_open(capture, error);
	if (status != WH_OK)
		return status;
	int result = pthread_create(&capture->thread, NULL, wh_supervisor_main, capture);
	if (result != 0)
		return wh_error_system(error, result, "cannot start the supervising thread");
	pthread_setname_np(capture->thread, "wh-engine");
	capture->thread_started = true;
	return WH_OK;
}

/* Ends in order what was started, and removes the files that were begun. Those of a simulation its chain removes
 * itself, or there are none. */
static void start_undo(struct wh_capture *capture)
{
	/* No command may be run on a file that is about to be removed. */
	wh_hooks_close(capture->hooks);
	capture->hooks = NULL;
	wh_capture_stop(capture);
	wh_supervisor_main(capture);
	if (capture->settings.config.simulate != WH_SIMULATE_NOTHING)
		return;
	for (uint32_t i = 0; i < atomic_load(&capture->output_count); i++) {
		struct wh_writer_totals totals;
		wh_writer_totals_read(capture->outputs[i].writer, &totals);
		if (totals.files > 0 && strcmp(totals.current_file, "-") != 0)
			unlink(totals.current_file);
	}
}

enum wh_result wh_capture_start(struct wh_capture *capture, struct wh_message *message)
{
	struct wh_error error = { 0 };
	cpu_set_t before;
	pthread_mutex_lock(&capture->lock);
	capture->start_ns = wh_ns_monotonic();
	capture->start_cpu_ns = wh_process_cpu_ns();
	capture->running = true;
	pthread_mutex_unlock(&capture->lock);
	wh_beat(&capture->beat_ns);
	bool bound = cpus_bind(capture, &before);
	enum wh_status status = threads_start(capture, &error);
	if (bound)
		sched_setaffinity(0, sizeof(before), &before);
	if (status == WH_OK)
		return WH_RESULT_OK;
	start_undo(capture);
	return usage(message, &error);
}

int wh_capture_fd(const struct wh_capture *capture)
{
	return capture->done_fd;
}

/* Async-signal-safe: two atomics and write(2). */
static void ask(struct wh_capture *capture, _Atomic bool *what)
{
	const uint64_t one = 1;
	int keep = errno;
	/* Release: pairs with the acquire in the supervisor. */
	atomic_store_explicit(what, true, memory_order_release);
	ssize_t ignored = write(capture->stop_fd, &one, sizeof(one));
	(void)ignored;
	errno = keep;
}

void wh_capture_stop(struct wh_capture *capture)
{
	ask(capture, &capture->stop_asked);
}

void wh_capture_rotate(struct wh_capture *capture)
{
	ask(capture, &capture->rotate_asked);
}

enum wh_result wh_capture_wait(struct wh_capture *capture, struct wh_message *message)
{
	static const char *const words[] = {
		[WH_STOP_SIGNAL] = "stopped as asked",
		[WH_STOP_DURATION] = "stopped: the time that was set has passed",
		[WH_STOP_FILES] = "stopped: the number of files that was set is full",
		[WH_STOP_FILESIZE] = "stopped: the size that was set is reached",
		[WH_STOP_COUNT] = "stopped: the number of frames that was set is reached",
		[WH_STOP_END_OF_INPUT] = "the file to replay has come to its end",
	};
	if (capture->thread_started) {
		pthread_join(capture->thread, NULL);
		capture->thread_started = false;
	}
	enum wh_stop_reason reason = capture->stop_reason;
	if (reason == WH_STOP_LOW_SPACE || reason == WH_STOP_ERROR) {
		snprintf(message->text, sizeof(message->text), "%s: %s",
			 reason == WH_STOP_ERROR ? "stopped by an error" : "stopped at the free-space limit",
			 capture->stop_text);
		return reason == WH_STOP_ERROR ? WH_RESULT_ERROR : WH_RESULT_LOW_SPACE;
	}
	if (capture->blemish[0] != '\0') {
		snprintf(message->text, sizeof(message->text), "stopped, but not all may be on the disk: %s",
			 capture->blemish);
		return WH_RESULT_ERROR;
	}
	bool known = (size_t)reason < sizeof(words) / sizeof(words[0]) && words[reason] != NULL;
	snprintf(message->text, sizeof(message->text), "%s", known ? words[reason] : "not started");
	return WH_RESULT_OK;
}

void wh_capture_close(struct wh_capture *capture)
{
	if (capture == NULL)
		return;
	if (capture->thread_started) {
		struct wh_message ignored;
		wh_capture_stop(capture);
		enum wh_result result = wh_capture_wait(capture, &ignored);
		(void)result;
	}
	for (uint32_t i = 0; i < atomic_load(&capture->port_count); i++) {
		wh_port_close(capture, capture->ports[i]);
		free(capture->ports[i]);
	}
	for (uint32_t i = 0; i < atomic_load(&capture->output_count); i++)
		wh_writer_close(capture->outputs[i].writer);
	wh_marks_file_close(capture->marks_file);
	wh_hooks_close(capture->hooks);
	wh_interface_watch_close(capture->watch);
	wh_topology_close(capture->topology);
	while (capture->first_event != NULL) {
		struct wh_event *event = capture->first_event;
		capture->first_event = event->next;
		free(event);
	}
	wh_directory_unlock(capture->lock_fd);
	const int descriptors[] = { capture->stop_fd, capture->event_fd, capture->done_fd };
	for (size_t i = 0; i < sizeof(descriptors) / sizeof(descriptors[0]); i++)
		if (descriptors[i] >= 0)
			close(descriptors[i]);
	wh_settings_free(&capture->settings);
	pthread_mutex_destroy(&capture->lock);
	pthread_mutex_destroy(&capture->report_lock);
	free(capture);
}

const char *wh_stop_reason_name(enum wh_stop_reason reason)
{
	static const char *const names[] = {
		[WH_STOP_NONE] = "",
		[WH_STOP_SIGNAL] = "signal",
		[WH_STOP_DURATION] = "duration",
		[WH_STOP_FILES] = "files",
		[WH_STOP_FILESIZE] = "filesize",
		[WH_STOP_COUNT] = "count",
		[WH_STOP_LOW_SPACE] = "low_space",
		[WH_STOP_ERROR] = "error",
		[WH_STOP_END_OF_INPUT] = "end_of_input",
	};
	return (size_t)reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "";
}

const char *wh_simulation_name(enum wh_simulation simulation)
{
	static const char *const names[] = {
		[WH_SIMULATE_NOTHING] = "",
		[WH_SIMULATE_NO_DISK] = "no-disk",
		[WH_SIMULATE_NO_NIC] = "no-nic",
	};
	return (size_t)simulation < sizeof(names) / sizeof(names[0]) ? names[simulation] : "";
}
