/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine_state.h"
#include "ringbuf/clock.h"

/* When an adapter that could not be opened is tried again. */
#define RETRY_FIRST_NS (500 * WH_NS_PER_MS)
#define RETRY_MOST_NS  (60 * WH_NS_PER_SECOND)
/* What must be left: for files, of which many may wait to be synced, each with two; for chains; for whoever asks. */
enum { DESCRIPTORS_LEFT = 80 };

struct wh_port *wh_port_for(struct wh_capture *capture, const char *name)
{
	uint32_t count = atomic_load_explicit(&capture->port_count, memory_order_relaxed);
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(capture->ports[i]->name, name) == 0)
			return capture->ports[i];
	if (count == WH_PORTS_MOST) {
		if (!capture->full_told)
			wh_capture_report(capture, 2,
					  "a capture has room for %d adapters: %s is left out, as are all that follow",
					  WH_PORTS_MOST, name);
		capture->full_told = true;
		return NULL;
	}
	struct wh_port *port = calloc(1, sizeof(*port));
	if (port == NULL)
		return NULL;
	snprintf(port->name, sizeof(port->name), "%s", name);
	port->link_type = -1;
	capture->ports[count] = port;
	/* Release: the statistics calls read the count and then the entry. */
	atomic_store_explicit(&capture->port_count, count + 1, memory_order_release);
	return port;
}

static bool source_number_take(struct wh_capture *capture, struct wh_port *port, uint16_t *number)
{
	for (uint32_t i = 0; i < WH_SOURCES_MOST; i++) {
		if (capture->source_port[i] == NULL) {
			capture->source_port[i] = port;
			*number = (uint16_t)i;
			return true;
		}
	}
	return false;
}

/* Makes a member of PORT around SOURCE, which goes with it. */
static enum wh_status member_add(struct wh_capture *capture, struct wh_port *port, struct wh_source *source,
				 struct wh_error *error)
{
	struct wh_capture_thread *member;
	uint16_t number;
	enum wh_status status = wh_capture_thread_open(source, &member, error);
	if (status != WH_OK)
		return status;
	if (!source_number_take(capture, port, &number)) {
		wh_capture_thread_close(member);
		return wh_error_set(error, WH_ERR_MEMORY, "too many capture threads");
	}
	member->format = capture->settings.format;
	member->encoding.source = number;
	member->encoding.rules.snapshot_length = capture->settings.config.snapshot_length;
	member->encoding.rules.ethernet = source->link_type == DLT_EN10MB;
	member->encoding.nanoseconds = member->format == WH_WRITE_PCAP_NS;
	member->block_timeout_ns = capture->settings.geometry.timeout_ms * WH_NS_PER_MS;
	member->topology = capture->topology;
	member->cpu = -1;
	snprintf(member->name, sizeof(member->name), "wh-%.12s", port->name);
	pthread_mutex_lock(&capture->lock);
	port->members[port->member_count++] = member;
	pthread_mutex_unlock(&capture->lock);
	return WH_OK;
}

static enum wh_status members_prepare(struct wh_capture *capture, struct wh_port *port, uint32_t count,
				      struct wh_error *error)
{
	struct wh_capture_thread **members = calloc(count, sizeof(*members));
	if (members == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	pthread_mutex_lock(&capture->lock);
	free(port->members);
	port->members = members;
	port->member_count = 0;
	pthread_mutex_unlock(&capture->lock);
	port->ended_count = 0;
	return WH_OK;
}

/* Every frame on the loopback adapter passes twice, out and in; one of them is enough. */
static bool ignores_outgoing(const struct wh_config *config, const struct wh_port *port)
{
	return config->direction == WH_DIRECTION_IN ||
	       (port->interface.loopback && config->direction != WH_DIRECTION_OUT);
}

/* What the kernel has no socket option for. Frames come to a fan-out group by a hook of its own, for which the members'
 * PACKET_IGNORE_OUTGOING means nothing (fanout_add). */
static enum wh_filter_direction filter_direction(const struct wh_config *config, const struct wh_port *port)
{
	if (config->direction == WH_DIRECTION_OUT)
		return WH_FILTER_OUTGOING;
	return config->fanout > 1 && ignores_outgoing(config, port) ? WH_FILTER_INCOMING : WH_FILTER_BOTH;
}

uint64_t wh_port_ring_bytes(const struct wh_port *port)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < port->member_count; i++)
		bytes += (uint64_t)port->members[i]->source->block_bytes * port->members[i]->source->block_count;
	return bytes;
}

/* Bytes of all rings that are open. */
static uint64_t rings_bytes(struct wh_capture *capture)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < atomic_load(&capture->port_count); i++)
		bytes += wh_port_ring_bytes(capture->ports[i]);
	return bytes;
}

/* Chooses what PORT's rings are to be like. Those of the start were chosen together; one that comes later must do with
 * what they have left. */
static enum wh_status geometry_choose(struct wh_capture *capture, struct wh_port *port,
				      struct wh_ring_geometry *geometry, struct wh_error *error)
{
	const struct wh_settings *settings = &capture->settings;
	enum wh_status status = WH_OK;
	*geometry = settings->geometry;
	if (capture->threads_started)
		status = wh_settings_ring_late(settings, port->ring_bytes, rings_bytes(capture), capture->memory_bytes,
					       geometry, error);
	return status;
}

static enum wh_status rings_open(struct wh_capture *capture, struct wh_port *port, uint32_t mac_header_bytes,
				 const struct wh_ring_geometry *geometry, const struct wh_filter *filter,
				 struct wh_error *error)
{
	const struct wh_config *config = &capture->settings.config;
	int fanout_group = -1;
	const struct wh_tpacket_config ring = {
		.interface_index = port->interface.index,
		.name = port->name,
		.link_type = port->link_type,
		.mac_header_bytes = mac_header_bytes,
		.geometry = *geometry,
		.filter = filter,
		.promiscuous = !config->no_promiscuous,
		.ignore_outgoing = ignores_outgoing(config, port),
		.fanout_members = (int)config->fanout,
		.fanout_group = &fanout_group,
	};
	enum wh_status status = members_prepare(capture, port, config->fanout, error);
	for (uint32_t i = 0; status == WH_OK && i < config->fanout; i++) {
		struct wh_source *source;
		status = wh_source_tpacket_open(&ring, &source, error);
		uint64_t wanted_kib = (uint64_t)ring.geometry.block_count * ring.geometry.block_bytes / 1024;
		uint64_t given_kib =
		    status == WH_OK ? (uint64_t)source->block_count * source->block_bytes / 1024 : wanted_kib;
		if (given_kib < wanted_kib)
			wh_capture_report(capture, 2,
					  "%s: memory is short, its ring has %llu KiB in blocks of %u KiB instead of "
					  "%llu KiB",
					  port->name, (unsigned long long)given_kib, source->block_bytes / 1024,
					  (unsigned long long)wanted_kib);
		if (status == WH_OK)
			status = member_add(capture, port, source, error);
		if (status == WH_OK && config->cpus != WH_CPUS_NONE && capture->topology != NULL)
			port->members[i]->cpu = wh_topology_take_cpu(capture->topology, port->name);
	}
	return status;
}

/* However many adapters come, they leave descriptors for the next files: without those all of the capture would end. */
static enum wh_status descriptors_check(struct wh_capture *capture, const struct wh_port *port, struct wh_error *error)
{
	int spare[DESCRIPTORS_LEFT], count = 0, reason = 0;
	for (; count < DESCRIPTORS_LEFT && reason == 0; count++) {
		spare[count] = fcntl(capture->stop_fd, F_DUPFD_CLOEXEC, 0);
		reason = spare[count] < 0 ? errno : 0;
	}
	for (int i = 0; i < count; i++)
		if (spare[i] >= 0)
			close(spare[i]);
	if (reason == 0)
		return WH_OK;
	return wh_error_system(error, reason, "%s would take the last descriptors (ulimit -n)", port->name);
}

enum wh_status wh_port_open(struct wh_capture *capture, struct wh_port *port, struct wh_error *error)
{
	const struct wh_config *config = &capture->settings.config;
	uint32_t mac_header_bytes;
	int link_type = wh_link_type_from_arp_type(port->interface.arp_type, &mac_header_bytes);
	if (link_type < 0)
		return wh_error_set(error, WH_ERR_INPUT, "%s has a link type that cannot be captured raw (ARPHRD %u)",
				    port->name, port->interface.arp_type);
	pthread_mutex_lock(&capture->lock);
	port->link_type = link_type;
	pthread_mutex_unlock(&capture->lock);
	struct wh_ring_geometry geometry;
	enum wh_status status = geometry_choose(capture, port, &geometry, error);
	if (status != WH_OK)
		return status;
	uint64_t asked = (uint64_t)geometry.block_bytes * geometry.block_count * config->fanout;
	struct wh_filter filter;
	status = wh_filter_compile(port->name, link_type, config->snapshot_length, filter_direction(config, port),
				   config->filter, &filter, error);
	if (status != WH_OK)
		return status;
	/* The kernel takes a ring's pages under the memory policy of the thread that makes the ring. */
	int node = capture->topology != NULL ? wh_topology_node(capture->topology, port->name) : -1;
	if (node >= 0)
		wh_topology_bind_memory(capture->topology, node);
	status = rings_open(capture, port, mac_header_bytes, &geometry, &filter, error);
	if (node >= 0)
		wh_topology_bind_memory(capture->topology, -1);
	wh_filter_free(&filter);
	port->has_baseline = wh_interface_drops_read(port->interface.index, &port->baseline) == WH_OK;
	port->dropped_nic_past = atomic_load_explicit(&port->dropped_nic, memory_order_relaxed);
	if (status == WH_OK && capture->threads_started && !port->in_files) /* one that comes back had its own */
		status = descriptors_check(capture, port, error);
	if (status != WH_OK)
		wh_port_close(capture, port);
	else if (asked > port->ring_bytes)
		port->ring_bytes = asked;
	return status;
}

enum wh_status wh_port_open_replay(struct wh_capture *capture, struct wh_port *port, struct wh_error *error)
{
	const struct wh_replay_config replay = {
		.path = capture->settings.config.replay_file,
		.filter = capture->settings.config.filter,
		.snapshot_length = capture->settings.config.snapshot_length,
		.geometry = capture->settings.geometry,
		.synthetic_frames = capture->settings.config.stop_after_frames, /* more would be for nothing */
		.synthetic_bytes = capture->settings.config.simulated_frame_bytes,
	};
	struct wh_source *source;
	enum wh_status status = members_prepare(capture, port, 1, error);
	if (status == WH_OK)
		status = wh_source_replay_open(&replay, &source, error);
	if (status != WH_OK)
		return status;
	port->link_type = source->link_type;
	port->filtered_known = replay.path != NULL;
	return member_add(capture, port, source, error);
}

static enum wh_status member_attach(struct wh_port *port, struct wh_capture_thread *member, struct wh_error *error)
{
	struct wh_interface_details details = { .speed_mbit = -1 };
	struct wh_writer_source source = {
		.ring = &member->ring,
		.counters = &member->written,
		.dropped_nic = &port->dropped_nic,
		.memory = member->source->memory,
		.memory_bytes = (uint64_t)member->source->block_bytes * member->source->block_count,
		.source = member->encoding.source,
		.new_interface = !port->in_files || port->file_link_type != port->link_type,
		.interface = port->file_interface,
		.link_type = wh_link_type_in_file(port->link_type),
		.has_mac = port->interface.mac_bytes == 6,
	};
	if (source.new_interface && port->interface.index != 0)
		wh_interface_details_read(port->name, &details);
	source.speed_bits = details.speed_mbit > 0 ? (uint64_t)details.speed_mbit * 1000000 : 0;
	snprintf(source.interface_name, sizeof(source.interface_name), "%s", port->name);
	memcpy(source.mac, port->interface.mac, sizeof(source.mac));
	enum wh_status status = wh_writer_attach(port->output->writer, &source, error);
	if (status != WH_OK)
		return status;
	port->in_files = true;
	port->file_interface = source.interface;
	port->file_link_type = port->link_type;
	member->writer = port->output->writer;
	member->buffer = source.buffer;
	member->encoding.interface = source.interface;
	return WH_OK;
}

/* Gives MEMBER back, which no writer holds. */
static void member_close(struct wh_capture *capture, struct wh_capture_thread *member)
{
	if (member->cpu >= 0)
		wh_topology_return_cpu(capture->topology, member->cpu);
	capture->source_port[member->encoding.source] = NULL;
	wh_capture_thread_close(member);
}

/* Closes PORT's members but for the first COUNT. */
static void members_cut(struct wh_capture *capture, struct wh_port *port, uint32_t count)
{
	uint32_t before = port->member_count;
	pthread_mutex_lock(&capture->lock);
	port->member_count = count;
	pthread_mutex_unlock(&capture->lock);
	for (uint32_t i = count; i < before; i++)
		member_close(capture, port->members[i]);
}

enum wh_status wh_port_attach(struct wh_capture *capture, struct wh_port *port, struct wh_error *error)
{
	enum wh_status status = WH_OK;
	if (port->output == NULL)
		status = wh_output_for(capture, port->name, &port->output, error);
	uint32_t attached = 0;
	while (status == WH_OK && attached < port->member_count) {
		status = member_attach(port, port->members[attached], error);
		attached += status == WH_OK;
	}
	/* A late adapter's own chain starts when it knows the adapter, since a pcap file begins with the link type. */
	if (port->output != NULL && capture->threads_started && !port->output->started) {
		if (status == WH_OK)
			status = wh_output_start(capture, port->output, error);
		if (status != WH_OK) {
			wh_output_discard(port->output);
			port->output = NULL;
			port->in_files = false;
			attached = 0;
		}
	}
	if (status != WH_OK)
		members_cut(capture, port, attached);
	if (attached > 0) {
		pthread_mutex_lock(&capture->lock);
		port->state = WH_PORT_RUNNING;
		port->gone = false;
		pthread_mutex_unlock(&capture->lock);
	}
	return status;
}

enum wh_status wh_port_start(struct wh_port *port, struct wh_error *error)
{
	enum wh_status status = WH_OK;
	for (uint32_t i = 0; status == WH_OK && i < port->member_count; i++)
		status = wh_capture_thread_start(port->members[i], error);
	return status;
}

void wh_port_stop(struct wh_capture *capture, struct wh_port *port)
{
	if (port->state != WH_PORT_RUNNING)
		return;
	pthread_mutex_lock(&capture->lock);
	port->state = WH_PORT_ENDING;
	pthread_mutex_unlock(&capture->lock);
	for (uint32_t i = 0; i < port->member_count; i++)
		wh_capture_thread_stop(port->members[i]);
}

/* With the lock held. */
static void past_add(struct wh_port *port, const struct wh_capture_thread *member)
{
	const struct wh_writer_counters *written = &member->written;
	uint64_t surplus = atomic_load(&written->frames_surplus), lost_surplus = atomic_load(&written->lost_surplus);
	port->past.received += atomic_load(&member->counters.received) - surplus - lost_surplus;
	port->past.dropped +=
	    atomic_load(&member->counters.dropped) - lost_surplus + atomic_load(&written->frames_discarded);
	port->past.written += atomic_load(&written->frames_written);
	port->past.captured_bytes += atomic_load(&written->bytes_captured);
	port->past.truncated += atomic_load(&written->frames_truncated);
	uint32_t fill = atomic_load(&member->counters.fill_max_permille);
	if (fill > port->past.fill_max_permille)
		port->past.fill_max_permille = fill;
}

void wh_port_close(struct wh_capture *capture, struct wh_port *port)
{
	struct wh_capture_thread **members = port->members;
	uint32_t count = port->member_count;
	pthread_mutex_lock(&capture->lock);
	for (uint32_t i = 0; i < count; i++) {
		past_add(port, members[i]);
		if (port->filtered_known)
			atomic_store(&port->filtered, atomic_load(&members[i]->source->filtered));
	}
	port->members = NULL;
	port->member_count = 0;
	port->state = WH_PORT_ABSENT;
	pthread_mutex_unlock(&capture->lock);
	for (uint32_t i = 0; i < count; i++) {
		memcpy(port->problem, members[i]->source->problem, sizeof(port->problem));
		member_close(capture, members[i]);
	}
	free(members);
}

struct wh_port *wh_port_source_ended(struct wh_capture *capture, uint64_t number)
{
	struct wh_port *port = number < WH_SOURCES_MOST ? capture->source_port[number] : NULL;
	if (port == NULL || ++port->ended_count < port->member_count)
		return NULL;
	wh_port_drops_update(port);
	wh_port_close(capture, port);
	return port;
}

bool wh_port_refuse(struct wh_port *port, enum wh_status status)
{
	bool news = port->refused_before != port->interface.index;
	uint64_t pause_ns = news ? RETRY_FIRST_NS : 2 * port->retry_pause_ns;
	port->refused_index = port->refused_before = port->interface.index;
	port->retry_pause_ns = pause_ns < RETRY_MOST_NS ? pause_ns : RETRY_MOST_NS;
	/* What makes no sense is nothing that time mends. */
	port->retry_ns = status != WH_ERR_INPUT ? wh_ns_monotonic() + port->retry_pause_ns : 0;
	return news;
}

void wh_port_refusal_end(struct wh_port *port)
{
	port->refused_index = port->refused_before = 0;
	port->retry_ns = 0;
}

bool wh_port_is_attached(const struct wh_port *port)
{
	for (uint32_t i = 0; i < port->member_count; i++)
		if (!port->members[i]->source->ops->is_attached(port->members[i]->source))
			return false;
	return true;
}

void wh_port_drops_update(struct wh_port *port)
{
	struct wh_interface_drops now;
	if (!port->has_baseline || wh_interface_drops_read(port->interface.index, &now) != WH_OK)
		return;
	/* A driver that is reset begins at zero again. */
	uint64_t before = port->baseline.missed + port->baseline.fifo, after = now.missed + now.fifo;
	if (after < before) {
		port->dropped_nic_past = atomic_load_explicit(&port->dropped_nic, memory_order_relaxed);
		port->baseline = now;
		return;
	}
	atomic_store_explicit(&port->dropped_nic, port->dropped_nic_past + after - before, memory_order_relaxed);
}
