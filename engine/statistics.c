/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters of a capture, for whoever asks (wirehaul.h). */
#include <pcap/pcap.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine_state.h"
#include "ringbuf/clock.h"

/* With the lock held: adds what PORT's threads have counted to *STATISTICS. Written and dropped are
 * read before received, so that a frame in between is in flight, and never one of them without having been received.
 */
static void port_statistics(const struct wh_port *port, struct wh_interface_statistics *statistics)
{
	statistics->frames_received = port->past.received;
	statistics->frames_dropped = port->past.dropped;
	statistics->frames_written = port->past.written;
	statistics->bytes_captured = port->past.captured_bytes;
	statistics->frames_truncated = port->past.truncated;
	statistics->frames_dropped_nic = atomic_load_explicit(&port->dropped_nic, memory_order_relaxed);
	statistics->frames_filtered = atomic_load_explicit(&port->filtered, memory_order_relaxed);
	for (uint32_t i = 0; i < port->member_count; i++) {
		const struct wh_capture_thread *member = port->members[i];
		const struct wh_writer_counters *written = &member->written;
		uint64_t done = atomic_load_explicit(&written->frames_written, memory_order_acquire);
		uint64_t discarded = atomic_load_explicit(&written->frames_discarded, memory_order_acquire);
		uint64_t surplus = atomic_load_explicit(&written->frames_surplus, memory_order_acquire);
		uint64_t lost_surplus = atomic_load_explicit(&written->lost_surplus, memory_order_acquire);
		uint64_t dropped = atomic_load_explicit(&member->counters.dropped, memory_order_acquire);
		statistics->frames_written += done;
		statistics->frames_dropped += dropped - lost_surplus + discarded;
		statistics->frames_received +=
		    atomic_load_explicit(&member->counters.received, memory_order_relaxed) - surplus - lost_surplus;
		statistics->bytes_captured += atomic_load_explicit(&written->bytes_captured, memory_order_relaxed);
		statistics->frames_truncated += atomic_load_explicit(&written->frames_truncated, memory_order_relaxed);
		if (port->filtered_known)
			statistics->frames_filtered =
			    atomic_load_explicit(&member->source->filtered, memory_order_relaxed);
	}
}

bool wh_capture_interface_statistics(struct wh_capture *capture, size_t index,
				     struct wh_interface_statistics *statistics)
{
	/* Acquire: pairs with the release in wh_port_for(). */
	if (index >= atomic_load_explicit(&capture->port_count, memory_order_acquire))
		return false;
	const struct wh_port *port = capture->ports[index];
	*statistics = (struct wh_interface_statistics){ 0 };
	pthread_mutex_lock(&capture->lock);
	port_statistics(port, statistics);
	statistics->present = capture->running ? port->state != WH_PORT_ABSENT : !port->gone;
	int link_type = port->link_type;
	pthread_mutex_unlock(&capture->lock);
	statistics->filtered_known = port->filtered_known;
	memcpy(statistics->name, port->name, sizeof(statistics->name));
	const char *words = link_type >= 0 ? pcap_datalink_val_to_name(link_type) : NULL;
	snprintf(statistics->link_type, sizeof(statistics->link_type), "%s", words != NULL ? words : "");
	return true;
}

static void fill_statistics(const struct wh_port *port, struct wh_statistics *statistics)
{
	for (uint32_t i = 0; i < port->member_count; i++) {
		const struct wh_capture_counters *counters = &port->members[i]->counters;
		double now = atomic_load_explicit(&counters->fill_permille, memory_order_relaxed) / 10.0;
		double highest = atomic_load_explicit(&counters->fill_max_permille, memory_order_relaxed) / 10.0;
		if (now > statistics->ring_fill_percent)
			statistics->ring_fill_percent = now;
		if (highest > statistics->ring_fill_max_percent)
			statistics->ring_fill_max_percent = highest;
	}
	if (port->past.fill_max_permille / 10.0 > statistics->ring_fill_max_percent)
		statistics->ring_fill_max_percent = port->past.fill_max_permille / 10.0;
}

static void totals_add(struct wh_writer *writer, struct wh_statistics *statistics)
{
	struct wh_writer_totals totals;
	wh_writer_totals_read(writer, &totals);
	statistics->bytes_on_disk += totals.bytes_on_disk;
	statistics->bytes_copied += totals.bytes_copied;
	statistics->files += totals.files;
	statistics->files_deleted += totals.files_deleted;
	statistics->files_left += totals.files_left;
	statistics->write_latency_us += totals.latency_ns / 1000;
	statistics->write_errors += totals.write_errors;
	_Static_assert((int)WH_LATENCY_BUCKETS == (int)WH_WRITER_LATENCIES, "the same classes");
	for (size_t i = 0; i < WH_LATENCY_BUCKETS; i++)
		statistics->write_counts[i] += totals.write_counts[i];
	if (totals.last_frame_ns > statistics->last_frame_ns)
		statistics->last_frame_ns = totals.last_frame_ns;
	if (totals.latency_max_ns / 1000 > statistics->write_latency_max_us)
		statistics->write_latency_max_us = totals.latency_max_ns / 1000;
	statistics->free_percent = totals.free_percent;
	statistics->free_bytes_to_limit = totals.free_bytes_to_limit;
	_Static_assert(sizeof(totals.current_file) == sizeof(statistics->current_file), "the same path");
	memcpy(statistics->current_file, totals.current_file, sizeof(statistics->current_file));
}

void wh_capture_statistics(struct wh_capture *capture, struct wh_statistics *statistics)
{
	*statistics = (struct wh_statistics){ .free_percent = -1 };
	/* Acquire: pair with the releases in wh_port_for() and wh_output_for(). */
	uint32_t ports = atomic_load_explicit(&capture->port_count, memory_order_acquire);
	uint32_t outputs = atomic_load_explicit(&capture->output_count, memory_order_acquire);
	for (uint32_t i = 0; i < outputs; i++)
		totals_add(capture->outputs[i].writer, statistics);
	pthread_mutex_lock(&capture->lock);
	for (uint32_t i = 0; i < ports; i++) {
		struct wh_interface_statistics port = { 0 };
		port_statistics(capture->ports[i], &port);
		statistics->frames_received += port.frames_received;
		statistics->frames_written += port.frames_written;
		statistics->frames_dropped += port.frames_dropped;
		statistics->frames_dropped_nic += port.frames_dropped_nic;
		statistics->frames_truncated += port.frames_truncated;
		statistics->bytes_captured += port.bytes_captured;
		fill_statistics(capture->ports[i], statistics);
	}
	statistics->interface_count = ports;
	statistics->marks = atomic_load_explicit(&capture->marks, memory_order_relaxed);
	statistics->running = capture->running;
	statistics->stop_reason = capture->running ? WH_STOP_NONE : capture->stop_reason;
	statistics->flawed = !capture->running && capture->blemish[0] != '\0';
	statistics->simulate = capture->settings.config.simulate;
	if (capture->start_ns != 0) {
		bool ended = capture->end_ns != 0;
		statistics->elapsed_ns = (ended ? capture->end_ns : wh_ns_monotonic()) - capture->start_ns;
		statistics->cpu_ns = (ended ? capture->end_cpu_ns : wh_process_cpu_ns()) - capture->start_cpu_ns;
	}
	pthread_mutex_unlock(&capture->lock);
}
