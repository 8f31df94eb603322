/* SPDX-License-Identifier: BSD-3-Clause */
/* wh_doctor() of wirehaul.h: gathers what its parts need, and lets each look. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/doctor/state.h"
#include "engine/privileges.h"
#include "ringbuf/clock.h"
#include "writer/closer.h"
#include "writer/sink.h"

enum {
	AFFINITY_SETS = 8192 / CPU_SETSIZE, /* as many CPUs as a kernel can be built for */
	DESCRIPTORS = 32,                   /* of a capture, whatever its adapters */
	DESCRIPTORS_OF_ADAPTER = 4,
	DESCRIPTORS_OF_CHAIN = 10 + 2 * WH_CLOSER_WAITING_MOST, /* each file that waits to be closed has two */
	COMMAND_BYTES = 320
};
#define ANY            "any"
#define USUAL_OUTPUT   "trace.pcapng"
#define ANSWER_SECONDS 10.0
#define MEMORY_ASSUMED ((uint64_t)256 * 1024 * 1024)

struct examination {
	struct wh_settings settings;
	struct wh_findings findings;
	struct wh_doctor_adapter *adapters; /* owned; those to capture on, then those beneath them */
	size_t capture_count, adapter_count;
	bool wants_adapters, wants_place;
	struct wh_topology *topology; /* NULL: threads would not be placed */
	struct wh_cpus allowed;
	struct wh_doctor_place place;
	struct wh_doctor_needs needs;
	char command[COMMAND_BYTES];
	struct wh_doctor_softnet softnet;
	uint64_t begun_ns;
	struct wh_doctor_run traffic, disk;
};

/* Takes of CONFIG what an examination is about; adapters and output may be left out of it. */
static enum wh_status settings_take(struct examination *own, const struct wh_config *config, struct wh_error *error)
{
	static const char *const any[] = { ANY };
	struct wh_config wanted = *config;
	own->wants_adapters = config->interface_count > 0;
	own->wants_place = config->output != NULL && config->output[0] != '\0' && strcmp(config->output, "-") != 0;
	if (!own->wants_adapters) {
		wanted.interfaces = any;
		wanted.interface_count = 1;
	}
	if (!own->wants_place)
		wanted.output = USUAL_OUTPUT;
	wanted.simulate = WH_SIMULATE_NOTHING;
	wanted.replay_file = wanted.hook_command = wanted.drop_to_user = NULL;
	wanted.stop_after_frames = wanted.stop_after_bytes = 0;
	wanted.stop_after_seconds = wanted.stop_after_files = 0;
	wanted.report = NULL;
	return wh_settings_take(&wanted, &own->settings, error);
}

static enum wh_status cpus_take(struct examination *own, struct wh_error *error)
{
	const struct wh_config *config = &own->settings.config;
	cpu_set_t sets[AFFINITY_SETS];
	memset(sets, 0, sizeof(sets));
	if (config->cpus == WH_CPUS_LIST) {
		enum wh_status status = wh_cpu_list_parse(config->cpu_list, own->allowed.bits, error);
		return status == WH_OK ? wh_topology_open(config->cpu_list, &own->topology, error) : status;
	}
	if (sched_getaffinity(0, sizeof(sets), sets) == 0)
		for (int cpu = 0; cpu < WH_DOCTOR_CPUS; cpu++)
			if (CPU_ISSET_S((size_t)cpu, sizeof(sets), sets))
				wh_cpus_add(&own->allowed, cpu);
	if (config->cpus == WH_CPUS_AUTO && wh_topology_open(NULL, &own->topology, error) != WH_OK)
		wh_finding_add(&own->findings, WH_FINDING_NOTE, "processors", "topology",
			       "%.300s; threads are not placed", error->text);
	return WH_OK;
}

static bool is_taken(const struct examination *own, const struct wh_interface *interface)
{
	for (size_t i = 0; i < own->adapter_count; i++)
		if (own->adapters[i].interface.index == interface->index)
			return true;
	return false;
}

static void adapter_take(struct examination *own, const struct wh_interface *interface)
{
	if (!is_taken(own, interface))
		wh_doctor_adapter_read("", interface, own->topology, &own->adapters[own->adapter_count++]);
}

static enum wh_status any_take(struct examination *own, struct wh_error *error)
{
	struct wh_interface *list = NULL;
	size_t count = 0;
	enum wh_status status = wh_interfaces_list(&list, &count, error);
	if (status != WH_OK)
		return status;
	own->adapters = calloc(count + 1, sizeof(*own->adapters));
	for (size_t i = 0; own->adapters != NULL && i < count; i++) {
		uint32_t header;
		if (list[i].up && wh_link_type_from_arp_type(list[i].arp_type, &header) >= 0)
			adapter_take(own, &list[i]);
	}
	free(list);
	if (own->adapters == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	if (own->adapter_count == 0)
		wh_finding_add(&own->findings, WH_FINDING_NOTE, "adapters", "state", "none is up");
	return WH_OK;
}

/* Takes those with hardware that adapter AT (a bond, a bridge, a VLAN) stands on: its frames are lost in their rings.
 */
static enum wh_status beneath_take(struct examination *own, size_t at, struct wh_error *error)
{
	struct wh_doctor_names names;
	char list[200] = "";
	wh_doctor_beneath_read("", own->adapters[at].interface.name, &names);
	for (size_t i = 1; i < names.count; i++) {
		struct wh_interface found;
		struct wh_doctor_adapter beneath;
		if (wh_interface_find(names.name[i], &found, NULL) != WH_OK || is_taken(own, &found))
			continue;
		wh_doctor_adapter_read("", &found, NULL, &beneath);
		if (beneath.software)
			continue;
		struct wh_doctor_adapter *more =
		    realloc(own->adapters, (own->adapter_count + 1) * sizeof(*own->adapters));
		if (more == NULL)
			return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
		own->adapters = more;
		beneath.beneath = true;
		beneath.cpu = own->adapters[at].cpu;
		beneath.node = own->topology != NULL ? wh_topology_node(own->topology, found.name) : -1;
		own->adapters[own->adapter_count++] = beneath;
		size_t length = strlen(list);
		snprintf(list + length, sizeof(list) - length, "%s%s", length > 0 ? ", " : "", found.name);
	}
	if (list[0] != '\0')
		wh_finding_add(&own->findings, WH_FINDING_NOTE, own->adapters[at].interface.name, "beneath",
			       "its frames come through %s: what is said of that holds for it, too", list);
	return WH_OK;
}

static enum wh_status adapters_take(struct examination *own, struct wh_error *error)
{
	const struct wh_config *config = &own->settings.config;
	if (!own->wants_adapters)
		return WH_OK;
	if (own->settings.any)
		return any_take(own, error);
	own->adapters = calloc(config->interface_count, sizeof(*own->adapters));
	if (own->adapters == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	for (size_t i = 0; i < config->interface_count; i++) {
		struct wh_interface found;
		enum wh_status status = wh_interface_find(config->interfaces[i], &found, error);
		if (status != WH_OK)
			return status;
		adapter_take(own, &found);
	}
	return WH_OK;
}

/* The capture that is examined, as it is typed; empty where it is too long or holds what cannot be. */
static void command_make(struct examination *own)
{
	const struct wh_config *config = &own->settings.config;
	char names[COMMAND_BYTES] = "", word[COMMAND_BYTES], output[COMMAND_BYTES];
	size_t at = 0;
	for (size_t i = 0; i < config->interface_count; i++) {
		const char *name = own->settings.any ? ANY : config->interfaces[i];
		int length = snprintf(names + at, sizeof(names) - at, "%s%s", i > 0 ? "," : "", name);
		if (length < 0 || (size_t)length >= sizeof(names) - at || strchr(name, ',') != NULL)
			return;
		at += (size_t)length;
		if (own->settings.any)
			break;
	}
	if (!wh_shell_word(names, word, sizeof(word)) || !wh_shell_word(config->output, output, sizeof(output)))
		return;
	int length = snprintf(own->command, sizeof(own->command), "wirehaul -i %s -w %s", word, output);
	if (length < 0 || (size_t)length >= sizeof(own->command))
		own->command[0] = '\0';
}

/* Bytes a second that the links carry one way; 0 where that is not known. A speed that only software tells means
 * nothing. */
static double line_bytes(const struct examination *own, double *fastest)
{
	double sum = 0;
	*fastest = 0;
	for (size_t i = 0; i < own->adapter_count; i++) {
		const struct wh_doctor_adapter *adapter = &own->adapters[i];
		if (adapter->software)
			continue;
		if (adapter->details.speed_mbit <= 0)
			return 0;
		double link = (double)adapter->details.speed_mbit * 1e6 / 8;
		sum += link;
		*fastest = link > *fastest ? link : *fastest;
	}
	return sum;
}

static enum wh_status needs_take(struct examination *own, struct wh_error *error)
{
	const struct wh_config *config = &own->settings.config;
	uint32_t adapters = own->capture_count > 0 ? (uint32_t)own->capture_count : 1;
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	enum wh_status status = wh_settings_ring_choose(&own->settings, adapters, memory, error);
	if (status != WH_OK)
		return status;
	const struct wh_ring_geometry *geometry = &own->settings.geometry;
	command_make(own);
	own->needs = (struct wh_doctor_needs){
		.adapters = adapters,
		.ring_bytes = (uint64_t)geometry->block_bytes * geometry->block_count * config->fanout,
		.file_bytes = config->file_bytes,
		.descriptors = DESCRIPTORS + (uint64_t)adapters * config->fanout * DESCRIPTORS_OF_ADAPTER +
			       (config->per_interface ? (uint64_t)adapters : 1) * DESCRIPTORS_OF_CHAIN,
		.command = own->command,
	};
	own->needs.line_bytes = line_bytes(own, &own->needs.link_bytes);
	return WH_OK;
}

/* All that can be asked for in vain is asked for here, before anything takes time. */
static enum wh_status gather(struct examination *own, const struct wh_config *config, struct wh_error *error)
{
	own->begun_ns = wh_ns_monotonic();
	enum wh_status status = settings_take(own, config, error);
	if (status == WH_OK)
		status = cpus_take(own, error);
	if (status == WH_OK)
		status = adapters_take(own, error);
	own->capture_count = own->adapter_count;
	for (size_t i = 0; status == WH_OK && i < own->capture_count; i++)
		if (own->adapters[i].software && own->adapters[i].in_sysfs)
			status = beneath_take(own, i, error);
	if (status == WH_OK)
		status = needs_take(own, error);
	if (status == WH_OK && own->wants_place)
		status = wh_doctor_answers(own->settings.config.output, ANSWER_SECONDS, error);
	if (status == WH_OK && own->wants_place)
		status = wh_doctor_place_open(&own->findings, "", own->settings.config.output, &own->place, error);
	if (status == WH_OK && own->place.space_known)
		own->place.limit_bytes = wh_space_limit(&own->place.space, own->settings.config.min_free_percent);
	wh_doctor_softnet_read("", &own->softnet);
	return status;
}

static void look_at_kernel(struct examination *own)
{
	struct utsname system = { 0 };
	struct wh_sink *sink = NULL;
	struct wh_error error = { 0 };
	bool works = wh_sink_uring_open(&sink, &error) == WH_OK;
	if (works)
		sink->ops->close(sink);
	(void)uname(&system);
	wh_doctor_kernel(&own->findings, "", system.release, works, error.text);
}

static void look_at_adapters(struct examination *own)
{
	double ring_seconds = 0;
	for (size_t i = 0; i < own->adapter_count; i++) {
		struct wh_doctor_adapter *adapter = &own->adapters[i];
		wh_doctor_adapter_judge(&own->findings, adapter, wh_cpus_count(&own->allowed));
		wh_doctor_interrupts(&own->findings, "", adapter, &own->allowed);
		wh_doctor_numa(&own->findings, "", adapter);
		double seconds = wh_doctor_ring_seconds(adapter);
		if (seconds > 0 && (ring_seconds <= 0 || seconds < ring_seconds))
			ring_seconds = seconds;
	}
	if (own->wants_adapters)
		wh_doctor_irqbalance(&own->findings, "", &own->allowed);
	uint64_t threads = (uint64_t)own->needs.adapters * own->settings.config.fanout + 1;
	wh_doctor_processors(&own->findings, "", &own->allowed, threads, ring_seconds);
}

static void measure_all(struct examination *own)
{
	uint64_t available = MEMORY_ASSUMED;
	(void)wh_doctor_memory_left("", &available);
	if (own->capture_count > 0 && wh_privileges_can_capture())
		wh_doctor_run_traffic(&own->settings.config, own->adapters, own->capture_count, &own->traffic);
	if (own->place.writable)
		wh_doctor_run_disk(&own->settings.config, &own->place, own->needs.ring_bytes, available, &own->disk);
}

/* What only shows after some time. */
static void look_at_losses(struct examination *own)
{
	double seconds = (double)(wh_ns_monotonic() - own->begun_ns) / 1e9;
	bool backlog = false;
	for (size_t i = 0; i < own->adapter_count; i++) {
		const struct wh_doctor_adapter *adapter = &own->adapters[i];
		struct wh_interface_drops now;
		backlog |= adapter->software || adapter->steered;
		if (adapter->has_before && wh_interface_drops_read(adapter->interface.index, &now) == WH_OK)
			wh_doctor_drops_judge(&own->findings, adapter, &now, seconds);
	}
	if (own->wants_adapters)
		wh_doctor_softnet_judge(&own->findings, "", &own->softnet, backlog, seconds);
}

static void look_at_rates(struct examination *own, bool measure)
{
	struct wh_doctor_rates rates = { .line = own->needs.line_bytes };
	if (own->disk.done)
		rates.disk = (double)own->disk.file_bytes / own->disk.seconds;
	if (own->traffic.done && own->traffic.frames > 0)
		rates.traffic = (double)own->traffic.file_bytes / own->traffic.seconds;
	if (own->wants_place)
		wh_doctor_space_judge(&own->findings, &own->place, &rates, own->settings.config.min_free_percent,
				      own->command);
	else
		wh_finding_add(&own->findings, WH_FINDING_NOTE, "disk", "directory",
			       "none was named, so that nothing is said of it and of the rate to expect (-w)");
	if (measure && own->capture_count > 0)
		wh_doctor_traffic_judge(&own->findings, &own->traffic);
	if (!measure || !own->place.writable)
		return;
	wh_doctor_probe_judge(&own->findings, &own->disk.probe);
	wh_doctor_rate_judge(&own->findings, &own->disk, &own->traffic, &own->needs);
	wh_doctor_hung_judge(&own->findings, &own->disk, own->place.word);
}

/* What is kept from this process, as in some containers, is not in order for that. */
static void look_at_sight(struct examination *own)
{
	static const char *const places[] = { "/proc/self", "/sys/devices/system/cpu" };
	static const char *const words[] = { "interrupts, memory, mounts and settings", "processors and memory nodes" };
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], X_OK) != 0)
			wh_finding_add(&own->findings, WH_FINDING_NOTE, "kernel", "sight",
				       "%s is not there: %s were not looked at", places[i], words[i]);
}

static void examine(struct examination *own, bool measure)
{
	look_at_sight(own);
	look_at_adapters(own);
	wh_doctor_privileges(&own->findings, own->wants_adapters);
	wh_doctor_limits(&own->findings, &own->needs, wh_doctor_may_lock());
	wh_doctor_memory(&own->findings, "", &own->needs);
	look_at_kernel(own);
	if (own->wants_place)
		wh_doctor_mount_judge(&own->findings, "", &own->place);
	if (measure)
		measure_all(own);
	look_at_losses(own);
	look_at_rates(own, measure);
}

enum wh_result wh_doctor(const struct wh_config *config, bool measure, struct wh_finding **findings, size_t *count,
			 struct wh_message *message)
{
	struct wh_error error = { 0 };
	enum wh_result result = WH_RESULT_OK;
	*findings = NULL;
	*count = 0;
	struct examination *own = calloc(1, sizeof(*own));
	if (own == NULL) {
		snprintf(message->text, sizeof(message->text), "out of memory");
		return WH_RESULT_ERROR;
	}
	own->place.fd = -1;
	if (gather(own, config, &error) != WH_OK) {
		snprintf(message->text, sizeof(message->text), "%s", error.text);
		result = WH_RESULT_USAGE;
	} else {
		examine(own, measure);
		if (own->findings.failed) {
			snprintf(message->text, sizeof(message->text), "out of memory");
			result = WH_RESULT_ERROR;
		}
	}
	if (result == WH_RESULT_OK) {
		*findings = own->findings.items;
		*count = own->findings.count;
	} else {
		free(own->findings.items);
	}
	if (own->place.fd >= 0)
		close(own->place.fd);
	wh_topology_close(own->topology);
	wh_settings_free(&own->settings);
	free(own->adapters);
	free(own);
	return result;
}

void wh_doctor_free(struct wh_finding *findings)
{
	free(findings);
}
