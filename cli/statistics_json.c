/* SPDX-License-Identifier: BSD-3-Clause */
#include "statistics_json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static json_t *json_count(uint64_t number)
{
	return json_integer(number < INT64_MAX ? (json_int_t)number : (json_int_t)INT64_MAX);
}

json_t *statistics_json_text(const char *text)
{
	json_t *string = json_string(text);
	if (string != NULL)
		return string;
	char *copy = strdup(text);
	if (copy == NULL)
		return NULL;
	for (char *at = copy; *at != '\0'; at++) {
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	}
	string = json_string(copy);
	free(copy);
	return string;
}

/* A percentage, or null where it is not known. */
static json_t *json_percent(double percent)
{
	return percent >= 0 ? json_real(percent) : json_null();
}

/* What was left out, or null where nothing was. */
static json_t *json_simulation(enum wh_simulation simulation)
{
	return simulation != WH_SIMULATE_NOTHING ? json_string(wh_simulation_name(simulation)) : json_null();
}

static json_t *describe_interface(const struct wh_interface_statistics *one)
{
	json_t *object = json_object();
	int failed = json_object_set_new(object, "name", statistics_json_text(one->name));
	failed |= json_object_set_new(object, "linktype", statistics_json_text(one->link_type));
	failed |= json_object_set_new(object, "present", json_boolean(one->present));
	failed |= json_object_set_new(object, "received", json_count(one->frames_received));
	failed |= json_object_set_new(object, "written", json_count(one->frames_written));
	failed |= json_object_set_new(object, "dropped", json_count(one->frames_dropped));
	failed |= json_object_set_new(object, "dropped_nic", json_count(one->frames_dropped_nic));
	failed |= json_object_set_new(object, "truncated", json_count(one->frames_truncated));
	if (one->filtered_known)
		failed |= json_object_set_new(object, "filtered", json_count(one->frames_filtered));
	failed |= json_object_set_new(object, "bytes_captured", json_count(one->bytes_captured));
	if (failed == 0)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *describe_interfaces(struct wh_capture *capture, size_t count)
{
	json_t *array = json_array();
	for (size_t i = 0; i < count; i++) {
		struct wh_interface_statistics one;
		if (!wh_capture_interface_statistics(capture, i, &one))
			continue;
		if (json_array_append_new(array, describe_interface(&one)) != 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

/* Two arrays side by side: a limit for each bucket, and how many writes took at most that. The last has no limit. */
static int describe_writes(json_t *object, const struct wh_statistics *sum)
{
	json_t *limits = json_array();
	json_t *counts = json_array();
	int failed = 0;
	for (unsigned i = 0; i < WH_LATENCY_BUCKETS; i++) {
		bool last = i + 1 == WH_LATENCY_BUCKETS;
		failed |= json_array_append_new(limits, last ? json_null() : json_count(WH_LATENCY_LIMIT_US(i)));
		failed |= json_array_append_new(counts, json_count(sum->write_counts[i]));
	}
	failed |= json_object_set_new(object, "write_errors", json_count(sum->write_errors));
	failed |= json_object_set_new(object, "write_latency_max_us", json_count(sum->write_latency_max_us));
	failed |= json_object_set_new(object, "write_latency_sum_us", json_count(sum->write_latency_us));
	failed |= json_object_set_new(object, "write_latency_limits_us", limits);
	failed |= json_object_set_new(object, "write_latency_counts", counts);
	return failed;
}

/* What is left of the disk, as far as it is known. */
static int describe_space(json_t *object, const struct wh_statistics *sum)
{
	bool known = sum->free_percent >= 0;
	int failed = json_object_set_new(object, "free_percent", json_percent(sum->free_percent));
	failed |= json_object_set_new(object, "free_bytes_to_limit",
				      known ? json_count(sum->free_bytes_to_limit) : json_null());
	return failed;
}

json_t *statistics_json(struct wh_capture *capture)
{
	struct wh_statistics sum;
	wh_capture_statistics(capture, &sum);
	json_t *object = json_object();
	/* jansson takes a value that could not be made, or an object that could not, as an error of its own. */
	int failed = json_object_set_new(object, "state", json_string(sum.running ? "running" : "stopped"));
	failed |= json_object_set_new(object, "stop_reason", json_string(wh_stop_reason_name(sum.stop_reason)));
	failed |= json_object_set_new(object, "simulate", json_simulation(sum.simulate));
	failed |= json_object_set_new(object, "elapsed_seconds", json_real((double)sum.elapsed_ns / 1e9));
	failed |= json_object_set_new(object, "cpu_seconds", json_real((double)sum.cpu_ns / 1e9));
	failed |= json_object_set_new(object, "frames_received", json_count(sum.frames_received));
	failed |= json_object_set_new(object, "frames_written", json_count(sum.frames_written));
	failed |= json_object_set_new(object, "frames_dropped", json_count(sum.frames_dropped));
	failed |= json_object_set_new(object, "frames_dropped_nic", json_count(sum.frames_dropped_nic));
	failed |= json_object_set_new(object, "frames_truncated", json_count(sum.frames_truncated));
	failed |= json_object_set_new(object, "last_frame_ns",
				      sum.last_frame_ns != 0 ? json_count(sum.last_frame_ns) : json_null());
	failed |= json_object_set_new(object, "bytes_captured", json_count(sum.bytes_captured));
	failed |= json_object_set_new(object, "bytes_on_disk", json_count(sum.bytes_on_disk));
	failed |= json_object_set_new(object, "bytes_copied", json_count(sum.bytes_copied));
	failed |= json_object_set_new(object, "files", json_count(sum.files));
	failed |= json_object_set_new(object, "files_deleted", json_count(sum.files_deleted));
	failed |= json_object_set_new(object, "files_left", json_count(sum.files_left));
	failed |= json_object_set_new(object, "current_file", statistics_json_text(sum.current_file));
	failed |= json_object_set_new(object, "marks", json_count(sum.marks));
	failed |= describe_space(object, &sum);
	failed |= json_object_set_new(object, "ring_fill_percent", json_percent(sum.ring_fill_percent));
	failed |= json_object_set_new(object, "ring_fill_max_percent", json_percent(sum.ring_fill_max_percent));
	failed |= describe_writes(object, &sum);
	failed |= json_object_set_new(object, "interfaces", describe_interfaces(capture, sum.interface_count));
	if (failed == 0)
		return object;
	json_decref(object);
	return NULL;
}
