/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that keeps a capture going: it hears of adapters, of the writers and of the program, watches the time and
 * the free space, and brings everything to an end in order. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine_state.h"
#include "ringbuf/clock.h"

#define TICK_NS WH_NS_PER_SECOND

struct supervisor {
	struct wh_capture *capture;
	bool stopping;
	uint64_t tick_due_ns;
	uint64_t stop_due_ns; /* for the duration that was set, 0: none */
};

static void eventfd_clear(int fd)
{
	uint64_t count;
	ssize_t ignored = read(fd, &count, sizeof(count));
	(void)ignored;
}

static bool is_failure(enum wh_stop_reason reason)
{
	return reason == WH_STOP_LOW_SPACE || reason == WH_STOP_ERROR;
}

/* Begins the end. The first reason counts, but a failure while the capture is being brought to its end is still how it
 * ended. */
static void stop_begin(struct supervisor *supervisor, enum wh_stop_reason reason, const char *text)
{
	struct wh_capture *capture = supervisor->capture;
	pthread_mutex_lock(&capture->lock);
	bool worse = is_failure(reason) && !is_failure(capture->stop_reason);
	bool counts = capture->stop_reason == WH_STOP_NONE || worse;
	bool news = !counts && text != NULL && text[0] != '\0' && strcmp(text, capture->stop_text) != 0;
	if (counts) {
		capture->stop_reason = reason;
		snprintf(capture->stop_text, sizeof(capture->stop_text), "%s", text != NULL ? text : "");
	}
	pthread_mutex_unlock(&capture->lock);
	if (news)
		wh_capture_report(capture, 2, "%s", text);
	if (supervisor->stopping)
		return;
	supervisor->stopping = true;
	for (uint32_t i = 0; i < atomic_load(&capture->port_count); i++) {
		struct wh_port *port = capture->ports[i];
		if (port->output != NULL && !port->output->started)
			wh_port_close(capture, port); /* the capture could not start: neither it nor its writer ran */
		else
			wh_port_stop(capture, port);
	}
}

static void joined_tell(struct wh_capture *capture, const struct wh_port *port, bool again)
{
	const struct wh_ring_geometry *first = &capture->settings.geometry;
	uint64_t usual = (uint64_t)first->block_bytes * first->block_count * capture->settings.config.fanout;
	uint64_t bytes = wh_port_ring_bytes(port);
	char ring[64] = "";
	if (bytes < usual)
		snprintf(ring, sizeof(ring), " with a ring of %llu KiB (-B)", (unsigned long long)bytes / 1024);
	wh_capture_report(capture, 1, "adapter %s %s: capturing on it%s", port->name, again ? "is back" : "has come up",
			  ring);
}

/* Opens an adapter that has come, or come back. */
static void port_join(struct wh_capture *capture, struct wh_port *port)
{
	struct wh_error error;
	bool again = port->in_files;
	enum wh_status status = wh_port_open(capture, port, &error);
	if (status == WH_OK) {
		status = wh_port_attach(capture, port, &error);
		if (status == WH_OK)
			status = wh_port_start(port, &error);
		if (status != WH_OK && port->state == WH_PORT_RUNNING)
			wh_port_stop(capture, port);
		else if (status != WH_OK)
			wh_port_close(capture, port);
	}
	if (status == WH_OK) {
		wh_port_refusal_end(port);
		joined_tell(capture, port, again);
		return;
	}
	/* Trying and giving up are changes of the adapter themselves (promiscuous, and not), and each would be a reason
	 * to try again. */
	if (wh_port_refuse(port, status) && status != WH_ERR_GONE)
		wh_capture_report(capture, 2, "adapter %s has come up but cannot be captured: %s", port->name,
				  error.text);
}

static struct wh_port *port_by_name(struct wh_capture *capture, const char *name)
{
	for (uint32_t i = 0; i < atomic_load(&capture->port_count); i++)
		if (strcmp(capture->ports[i]->name, name) == 0)
			return capture->ports[i];
	return NULL;
}

static bool is_wanted(struct wh_capture *capture, const struct wh_interface *interface)
{
	uint32_t header;
	if (!interface->up || wh_link_type_from_arp_type(interface->arp_type, &header) < 0)
		return false;
	if (capture->settings.any)
		return true;
	for (size_t i = 0; i < capture->settings.config.interface_count; i++)
		if (strcmp(capture->settings.config.interfaces[i], interface->name) == 0)
			return true;
	/* What was asked for may be another name of the adapter; the port has the one that it went by. */
	const struct wh_port *port = port_by_name(capture, interface->name);
	return port != NULL && port->named;
}

static struct wh_port *port_by_index(struct wh_capture *capture, int index)
{
	for (uint32_t i = 0; i < atomic_load(&capture->port_count); i++)
		if (capture->ports[i]->state != WH_PORT_ABSENT && capture->ports[i]->interface.index == index)
			return capture->ports[i];
	return NULL;
}

/* Brings PORT to its end; what its rings hold is written. */
static void port_end(struct wh_capture *capture, struct wh_port *port)
{
	pthread_mutex_lock(&capture->lock);
	port->gone = true;
	pthread_mutex_unlock(&capture->lock);
	wh_port_drops_update(port);
	wh_port_stop(capture, port);
}

static void adapter_gone(struct wh_capture *capture, struct wh_port *port)
{
	if (port->state != WH_PORT_RUNNING)
		return;
	wh_capture_report(capture, port->named ? 2 : 1,
			  "adapter %s has gone: its frames are kept, the capture goes on%s", port->name,
			  port->named ? " and takes it up again when it comes back" : "");
	port_end(capture, port);
}

/* An adapter that we capture on goes on, whatever is done to it but removal: the ring stays with the device when it
 * goes down and when it is renamed. Only frames of another kind need a new beginning. */
static void known_adapter_changed(struct wh_capture *capture, struct wh_port *port,
				  const struct wh_interface *interface)
{
	uint32_t header;
	if (port->state != WH_PORT_RUNNING ||
	    wh_link_type_from_arp_type(interface->arp_type, &header) == port->link_type)
		return;
	wh_capture_report(capture, 2, "adapter %s has another link type now: its frames up to here are kept",
			  port->name);
	port_end(capture, port);
}

/* Events may be older than what is known from the list: is PORT's adapter still the one by its name? */
static bool is_still_there(const struct wh_port *port)
{
	struct wh_interface now;
	enum wh_status status = wh_interface_find(port->name, &now, NULL);
	/* Where it cannot be asked, nothing is ended for that. */
	return status == WH_OK ? now.index == port->interface.index : status != WH_ERR_GONE;
}

static void adapter_changed(struct wh_capture *capture, const struct wh_interface *interface)
{
	struct wh_port *port = port_by_name(capture, interface->name);
	if (port != NULL && port->state == WH_PORT_ABSENT && !interface->up)
		wh_port_refusal_end(port); /* tried again when it comes up */
	if (port != NULL && port->refused_index == interface->index)
		return;
	struct wh_port *known = port_by_index(capture, interface->index);
	if (known != NULL) {
		known_adapter_changed(capture, known, interface);
		return;
	}
	if (!is_wanted(capture, interface))
		return;
	if (port == NULL)
		port = wh_port_for(capture, interface->name);
	if (port == NULL)
		return;
	if (port->state != WH_PORT_ABSENT) {
		/* Another device by that name. It is taken up when the old one's end is told of. */
		if (!is_still_there(port))
			adapter_gone(capture, port);
		return;
	}
	port->interface = *interface;
	port_join(capture, port);
}

static void interface_event(void *context, const struct wh_interface_event *event)
{
	const struct supervisor *supervisor = context;
	struct wh_capture *capture = supervisor->capture;
	wh_beat(&capture->beat_ns);
	if (supervisor->stopping)
		return;
	if (event->kind == WH_INTERFACE_CHANGED) {
		adapter_changed(capture, &event->interface);
		return;
	}
	for (uint32_t i = 0; i < atomic_load(&capture->port_count); i++)
		if (capture->ports[i]->refused_index == event->interface.index)
			wh_port_refusal_end(capture->ports[i]);
	struct wh_port *port = port_by_index(capture, event->interface.index);
	if (port != NULL)
		adapter_gone(capture, port);
}

/* Looks at the list of adapters anew: which of ours are still there, and which are to be captured now? */
static void adapters_look(struct wh_capture *capture)
{
	struct wh_interface *list;
	struct wh_error error;
	size_t count;
	if (wh_interfaces_list(&list, &count, &error) != WH_OK) {
		if (!capture->look_again)
			wh_capture_report(capture, 2, "adapters that have come or gone may go unnoticed: %s",
					  error.text);
		capture->look_again = true;
		return;
	}
	capture->look_again = false;
	for (uint32_t i = 0; i < atomic_load(&capture->port_count); i++) {
		bool found = false;
		for (size_t j = 0; j < count; j++)
			found |= list[j].index == capture->ports[i]->interface.index;
		if (!found)
			adapter_gone(capture, capture->ports[i]);
	}
	for (size_t j = 0; j < count; j++) {
		adapter_changed(capture, &list[j]);
		wh_beat(&capture->beat_ns);
	}
	free(list);
}

/* Once a second: what the kernel's messages did not tell of, or what could not be done when they did. */
static void adapters_watch(struct wh_capture *capture, uint64_t now_ns)
{
	bool look = capture->look_again;
	for (uint32_t i = 0; i < atomic_load(&capture->port_count); i++) {
		struct wh_port *port = capture->ports[i];
		if (port->state == WH_PORT_RUNNING && !wh_port_is_attached(port))
			adapter_gone(capture, port);
		if (port->retry_ns != 0 && now_ns >= port->retry_ns) {
			port->refused_index = 0;
			port->retry_ns = 0;
			look = true;
		}
	}
	if (look)
		adapters_look(capture);
}

static void watch_read(struct supervisor *supervisor)
{
	struct wh_capture *capture = supervisor->capture;
	struct wh_error error;
	bool overflowed = false;
	if (wh_interface_watch_read(capture->watch, interface_event, supervisor, &overflowed, &error) != WH_OK)
		wh_capture_report(capture, 2, "cannot follow which adapters come and go: %s", error.text);
	if (overflowed && !supervisor->stopping)
		adapters_look(capture);
}

static void file_closed(struct wh_capture *capture, const char *path)
{
	struct wh_error error;
	if (capture->hooks != NULL && wh_hooks_add(capture->hooks, path, &error) != WH_OK)
		wh_capture_report(capture, 2, "%s", error.text);
}

static void source_ended(struct supervisor *supervisor, uint64_t number)
{
	struct wh_capture *capture = supervisor->capture;
	struct wh_port *port = wh_port_source_ended(capture, number);
	if (port == NULL || supervisor->stopping)
		return;
	if (!wh_settings_have_adapters(&capture->settings)) {
		bool whole = port->problem[0] == '\0';
		stop_begin(supervisor, whole ? WH_STOP_END_OF_INPUT : WH_STOP_ERROR, port->problem);
	} else {
		/* What came while it was ending could not be joined: a device by its name, or itself in another form;
		 * or it lives on under another name. */
		adapters_look(capture);
	}
}

/* LASTING: what a file holds may be less than was counted, so the capture does not end as if all were well. */
static void trouble(struct wh_capture *capture, bool lasting, const char *text)
{
	wh_capture_report(capture, 2, "%s", text);
	pthread_mutex_lock(&capture->lock);
	if (lasting && capture->blemish[0] == '\0')
		snprintf(capture->blemish, sizeof(capture->blemish), "%s", text);
	pthread_mutex_unlock(&capture->lock);
}

static void event_handle(struct supervisor *supervisor, enum wh_writer_event kind, uint64_t number, const char *text)
{
	struct wh_capture *capture = supervisor->capture;
	switch (kind) {
	case WH_WRITER_FILE_CLOSED:
		file_closed(capture, text);
		break;
	case WH_WRITER_SOURCE_ENDED:
		source_ended(supervisor, number);
		break;
	case WH_WRITER_STOP_COUNT:
		stop_begin(supervisor, WH_STOP_COUNT, NULL);
		break;
	case WH_WRITER_STOP_FILES:
		stop_begin(supervisor, WH_STOP_FILES, NULL);
		break;
	case WH_WRITER_STOP_BYTES:
		stop_begin(supervisor, WH_STOP_FILESIZE, NULL);
		break;
	case WH_WRITER_STOP_SPACE:
		stop_begin(supervisor, WH_STOP_LOW_SPACE, text);
		break;
	case WH_WRITER_STOP_ERROR:
		stop_begin(supervisor, WH_STOP_ERROR, text);
		break;
	case WH_WRITER_FILE_LEFT:
		wh_capture_report(capture, 2, "%s", text);
		break;
	case WH_WRITER_TROUBLE:
		trouble(capture, number != 0, text);
		break;
	case WH_WRITER_NOTICE:
		wh_capture_report(capture, 1, "%s", text);
		break;
	}
}

/* What KIND OUTPUT told of when there was no memory for an event: an end is an end all the same, and trouble may have
 * been lasting. */
static void untold_one(struct supervisor *supervisor, enum wh_writer_event kind)
{
	struct wh_capture *capture = supervisor->capture;
	switch (kind) {
	case WH_WRITER_FILE_CLOSED:
		if (capture->hooks != NULL)
			wh_capture_report(capture, 2, "there was no memory to run the command (-z) on a file or more");
		break;
	case WH_WRITER_SOURCE_ENDED:
		for (uint32_t i = 0; i < WH_SOURCES_MOST; i++)
			if (atomic_exchange_explicit(&capture->sources_untold[i], false, memory_order_relaxed))
				source_ended(supervisor, i);
		break;
	default:
		event_handle(supervisor, kind, 1, "something has happened for whose words there was no memory");
	}
}

static void untold_handle(struct supervisor *supervisor, struct wh_output *output)
{
	/* Acquire: pairs with the release in event_note(). */
	uint32_t untold = atomic_exchange_explicit(&output->untold, 0, memory_order_acquire);
	for (uint32_t kind = 0; untold >> kind != 0; kind++) {
		if ((untold >> kind & 1) != 0)
			untold_one(supervisor, (enum wh_writer_event)kind);
	}
}

static void events_handle(struct supervisor *supervisor)
{
	struct wh_capture *capture = supervisor->capture;
	pthread_mutex_lock(&capture->lock);
	struct wh_event *event = capture->first_event;
	capture->first_event = capture->last_event = NULL;
	pthread_mutex_unlock(&capture->lock);
	while (event != NULL) {
		struct wh_event *next = event->next;
		event_handle(supervisor, event->kind, event->number, event->text);
		/* Here and below: each may take as long as the kernel takes to end a ring or to make one, and a
		 * thread that works its way through hundreds is alive. */
		wh_beat(&capture->beat_ns);
		free(event);
		event = next;
	}
	for (uint32_t i = 0; i < atomic_load(&capture->output_count); i++)
		untold_handle(supervisor, &capture->outputs[i]);
}

static void asked_handle(struct supervisor *supervisor)
{
	struct wh_capture *capture = supervisor->capture;
	eventfd_clear(capture->stop_fd);
	/* Acquire: pair with the release in ask(). */
	if (atomic_exchange_explicit(&capture->rotate_asked, false, memory_order_acquire) && !supervisor->stopping)
		for (uint32_t i = 0; i < atomic_load(&capture->output_count); i++)
			wh_writer_rotate(capture->outputs[i].writer);
	if (!atomic_load_explicit(&capture->stop_asked, memory_order_acquire))
		return;
	/* Who asks wants an end: a reader of standard output that does not read is not waited for. An end that comes by
	 * itself leaves a slow reader its time. */
	for (uint32_t i = 0; i < atomic_load(&capture->output_count); i++)
		if (capture->outputs[i].started)
			wh_writer_hurry(capture->outputs[i].writer);
	stop_begin(supervisor, WH_STOP_SIGNAL, NULL);
}

static void hook_ended(struct wh_capture *capture)
{
	char *failed = NULL;
	struct wh_error error;
	if (wh_hooks_reap(capture->hooks, &failed, &error) != WH_OK)
		wh_capture_report(capture, 2, "%s", error.text);
	if (failed != NULL)
		wh_capture_report(capture, 2, "the command (-z) has failed on %s", failed);
	free(failed);
}

static void tick(struct supervisor *supervisor, uint64_t now_ns)
{
	struct wh_capture *capture = supervisor->capture;
	if (supervisor->stop_due_ns != 0 && now_ns >= supervisor->stop_due_ns)
		stop_begin(supervisor, WH_STOP_DURATION, NULL);
	if (now_ns < supervisor->tick_due_ns)
		return;
	supervisor->tick_due_ns = now_ns + TICK_NS;
	for (uint32_t i = 0; i < atomic_load(&capture->output_count); i++)
		if (capture->outputs[i].started)
			wh_writer_watch(capture->outputs[i].writer);
	for (uint32_t i = 0; i < atomic_load(&capture->port_count); i++)
		if (capture->ports[i]->state == WH_PORT_RUNNING)
			wh_port_drops_update(capture->ports[i]);
	if (!supervisor->stopping)
		adapters_watch(capture, now_ns);
}

static bool all_ports_ended(struct wh_capture *capture)
{
	for (uint32_t i = 0; i < atomic_load(&capture->port_count); i++)
		if (capture->ports[i]->state != WH_PORT_ABSENT)
			return false;
	return true;
}

static void wait_and_handle(struct supervisor *supervisor)
{
	struct wh_capture *capture = supervisor->capture;
	wh_beat(&capture->beat_ns);
	uint64_t now_ns = wh_ns_monotonic(), due_ns = supervisor->tick_due_ns;
	if (supervisor->stop_due_ns != 0 && !supervisor->stopping && supervisor->stop_due_ns < due_ns)
		due_ns = supervisor->stop_due_ns;
	int timeout_ms = due_ns > now_ns ? (int)((due_ns - now_ns + WH_NS_PER_MS - 1) / WH_NS_PER_MS) : 0;
	struct pollfd ready[] = {
		{ .fd = capture->stop_fd, .events = POLLIN },
		{ .fd = capture->event_fd, .events = POLLIN },
		{ .fd = capture->watch != NULL ? wh_interface_watch_fd(capture->watch) : -1, .events = POLLIN },
		{ .fd = wh_hooks_fd(capture->hooks), .events = POLLIN },
	};
	if (poll(ready, sizeof(ready) / sizeof(ready[0]), timeout_ms) > 0) {
		if (ready[0].revents != 0)
			asked_handle(supervisor);
		if (ready[1].revents != 0) {
			eventfd_clear(capture->event_fd);
			events_handle(supervisor);
		}
		if (ready[2].revents != 0)
			watch_read(supervisor);
		if (ready[3].revents != 0)
			hook_ended(capture);
	}
	tick(supervisor, wh_ns_monotonic());
}

void *wh_supervisor_main(void *argument)
{
	struct wh_capture *capture = argument;
	struct supervisor supervisor = { .capture = capture, .tick_due_ns = capture->start_ns };
	uint32_t seconds = capture->settings.config.stop_after_seconds;
	if (seconds != 0)
		supervisor.stop_due_ns = capture->start_ns + seconds * WH_NS_PER_SECOND;
	while (!supervisor.stopping || !all_ports_ended(capture))
		wait_and_handle(&supervisor);
	/* From here on it waits for threads that are watched themselves, and is never late. */
	atomic_store_explicit(&capture->beat_ns, UINT64_MAX, memory_order_relaxed);
	for (uint32_t i = 0; i < atomic_load(&capture->output_count); i++)
		if (capture->outputs[i].started)
			wh_writer_finish(capture->outputs[i].writer);
	wh_marks_file_finish(capture->marks_file);
	/* Here the capture's own work is done: deleting what a simulation leaves is none of a capture. */
	pthread_mutex_lock(&capture->lock);
	capture->end_ns = wh_ns_monotonic();
	capture->end_cpu_ns = wh_process_cpu_ns();
	pthread_mutex_unlock(&capture->lock);
	for (uint32_t i = 0; i < atomic_load(&capture->output_count); i++)
		if (capture->outputs[i].started)
			wh_writer_clean_up(capture->outputs[i].writer);
	/* What the writers told on their last way: closed files, and perhaps an error. */
	events_handle(&supervisor);
	wh_hooks_close(capture->hooks);
	capture->hooks = NULL;
	pthread_mutex_lock(&capture->lock);
	capture->running = false;
	pthread_mutex_unlock(&capture->lock);
	const uint64_t one = 1;
	ssize_t ignored = write(capture->done_fd, &one, sizeof(one));
	(void)ignored;
	return NULL;
}
