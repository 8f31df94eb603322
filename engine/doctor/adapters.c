/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/if.h>

#include "engine/doctor/state.h"

enum {
	/* On the wire a frame of 64 bytes has a preamble of 8 and a gap of 12 as well (IEEE 802.3). */
	LEAST_FRAME_BITS = 8 * (64 + 20),
	SPEED_ASSUMED_MBIT = 10000
};
/* A ring that holds less than this is no match for an interrupt that comes late. */
#define RING_SECONDS_ENOUGH 0.001

/* A thread can be in a network namespace whose /sys is not mounted: then the same name there is another adapter's. */
static bool is_in_sysfs(const char *root, const struct wh_interface *interface)
{
	char line[WH_DOCTOR_LINE_BYTES], address[3 * sizeof(interface->mac) + 1] = "";
	int64_t index;
	if (!wh_doctor_read_number(&index, root, "/sys/class/net/%s/ifindex", interface->name) ||
	    index != interface->index)
		return false;
	for (size_t i = 0; i < interface->mac_bytes; i++)
		snprintf(address + (i > 0 ? 3 * i - 1 : 0), 4, i > 0 ? ":%02x" : "%02x", interface->mac[i]);
	return interface->mac_bytes == 0 ||
	       (wh_doctor_read_line(line, root, "/sys/class/net/%s/address", interface->name) &&
		strcmp(line, address) == 0);
}

void wh_doctor_adapter_read(const char *root, const struct wh_interface *interface, struct wh_topology *topology,
			    struct wh_doctor_adapter *adapter)
{
	char path[WH_DOCTOR_PATH_BYTES];
	uint32_t mac_header_bytes;
	*adapter = (struct wh_doctor_adapter){ .interface = *interface, .node = -1, .cpu = -1 };
	(void)wh_shell_word(interface->name, adapter->word, sizeof(adapter->word));
	adapter->capturable = wh_link_type_from_arp_type(interface->arp_type, &mac_header_bytes) >= 0;
	wh_interface_details_read(interface->name, &adapter->details);
	wh_doctor_hardware_read(interface->name, &adapter->hardware);
	adapter->has_before = wh_interface_drops_read(interface->index, &adapter->before) == WH_OK;
	adapter->in_sysfs = is_in_sysfs(root, interface);
	adapter->software = !adapter->in_sysfs ||
			    !wh_doctor_path(path, root, "/sys/class/net/%s/device", interface->name) ||
			    access(path, F_OK) != 0;
	if (topology == NULL)
		return;
	adapter->node = wh_topology_node(topology, interface->name);
	/* Not given back: each is told the one that it would get beside the others. */
	adapter->cpu = wh_topology_take_cpu(topology, interface->name);
}

static void name_add(struct wh_doctor_names *names, const char *name)
{
	size_t length = strlen(name);
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->name[i], name) == 0)
			return;
	if (names->count == WH_DOCTOR_NAMES || length >= sizeof(names->name[0]))
		return;
	memcpy(names->name[names->count++], name, length + 1);
}

void wh_doctor_beneath_read(const char *root, const char *name, struct wh_doctor_names *names)
{
	static const char prefix[] = "lower_"; /* net/core/dev.c, netdev_adjacent_sysfs_add() */
	*names = (struct wh_doctor_names){ 0 };
	name_add(names, name);
	for (size_t i = 0; i < names->count; i++) {
		char path[WH_DOCTOR_PATH_BYTES];
		DIR *directory = wh_doctor_path(path, root, "/sys/class/net/%s", names->name[i]) ? opendir(path) : NULL;
		const struct dirent *entry;
		while (directory != NULL && (entry = readdir(directory)) != NULL)
			if (strncmp(entry->d_name, prefix, sizeof(prefix) - 1) == 0)
				name_add(names, entry->d_name + sizeof(prefix) - 1);
		if (directory != NULL)
			closedir(directory);
	}
}

double wh_doctor_ring_seconds(const struct wh_doctor_adapter *adapter)
{
	if (!adapter->hardware.rings_known)
		return 0;
	int64_t mbit = adapter->details.speed_mbit > 0 ? adapter->details.speed_mbit : SPEED_ASSUMED_MBIT;
	return (double)adapter->hardware.ring * LEAST_FRAME_BITS / ((double)mbit * 1e6);
}

/* False where the name cannot stand in a command. */
static bool can_be_told(const struct wh_doctor_adapter *adapter)
{
	return adapter->word[0] != '\0';
}

static void state_judge(struct wh_findings *findings, const struct wh_doctor_adapter *adapter)
{
	const char *name = adapter->interface.name;
	if (adapter->beneath) {
		if ((adapter->interface.flags & (IFF_UP | IFF_RUNNING)) != (IFF_UP | IFF_RUNNING))
			wh_finding_add(findings, WH_FINDING_NOTE, name, "state",
				       "it is down or has no link: nothing comes through it to the adapter above it");
		return;
	}
	if (!adapter->capturable)
		wh_finding_add(
		    findings, WH_FINDING_BAD, name, "kind",
		    "the kernel delivers no raw frames of this kind of adapter that a file could hold (type %u); "
		    "capture on the adapter below or above it",
		    adapter->interface.arp_type);
	if (!adapter->interface.up) {
		wh_finding_add(findings, WH_FINDING_BAD, name, "state", "it is down: a capture on it does not start");
		if (can_be_told(adapter))
			wh_finding_mend(findings, "ip link set dev %s up", adapter->word);
	} else if ((adapter->interface.flags & IFF_RUNNING) == 0) {
		wh_finding_add(findings, WH_FINDING_NOTE, name, "state",
			       "it is up and has no link: no frame will come");
	}
}

static void ring_judge(struct wh_findings *findings, const struct wh_doctor_adapter *adapter)
{
	const struct wh_doctor_hardware *hardware = &adapter->hardware;
	const char *name = adapter->interface.name;
	if (!hardware->rings_known)
		return;
	double seconds = wh_doctor_ring_seconds(adapter);
	bool known = adapter->details.speed_mbit > 0;
	char speed[64];
	snprintf(speed, sizeof(speed), "%s%s",
		 wh_words_scaled(known ? (double)adapter->details.speed_mbit * 1e6 : 1e10, "bit/s").s,
		 known ? "" : ", were that its speed");
	if (hardware->ring == hardware->ring_most) {
		wh_finding_add(findings, WH_FINDING_GOOD, name, "receive ring",
			       "room for %" PRIu32 " frames, the most it can have: %s of the smallest frames at %s",
			       hardware->ring, wh_words_duration(seconds).s, speed);
		return;
	}
	bool enough = seconds >= RING_SECONDS_ENOUGH;
	wh_finding_add(findings, enough ? WH_FINDING_NOTE : WH_FINDING_BAD, name, "receive ring",
		       "room for %" PRIu32 " frames where it could have %" PRIu32
		       ": %s of the smallest frames at %s, then the adapter drops while its interrupt waits; on many "
		       "adapters the link is interrupted for a moment by the change",
		       hardware->ring, hardware->ring_most, wh_words_duration(seconds).s, speed);
	if (can_be_told(adapter))
		wh_finding_mend(findings, "ethtool -G %s rx %" PRIu32, adapter->word, hardware->ring_most);
}

static void queues_mend(struct wh_findings *findings, const struct wh_doctor_adapter *adapter, uint32_t most)
{
	uint32_t queues = adapter->hardware.queues_most < most ? adapter->hardware.queues_most : most;
	if (can_be_told(adapter))
		wh_finding_mend(findings, "ethtool -L %s %s %" PRIu32, adapter->word,
				adapter->hardware.combined ? "combined" : "rx", queues);
}

static void queues_judge(struct wh_findings *findings, const struct wh_doctor_adapter *adapter, int cpus)
{
	const struct wh_doctor_hardware *hardware = &adapter->hardware;
	if (!hardware->queues_known || adapter->software || hardware->queues > 1 || hardware->queues_most == 1 ||
	    cpus < 2)
		return;
	wh_finding_add(
	    findings, WH_FINDING_NOTE, adapter->interface.name, "receive queues",
	    "all frames come in on one queue, so that one CPU does the kernel's work for all of them; it could "
	    "have %" PRIu32,
	    hardware->queues_most);
	queues_mend(findings, adapter, (uint32_t)cpus);
}

static void word_add(char *text, size_t bytes, const char *word, const char *more)
{
	size_t length = strlen(text);
	snprintf(text + length, bytes - length, "%s%s%s", length > 0 ? " " : "", word, more);
}

static void offloads_judge(struct wh_findings *findings, const struct wh_doctor_adapter *adapter)
{
	const struct {
		const char *name;
		bool on;
	} all[] = {
		{ "gro", adapter->details.gro },
		{ "lro", adapter->details.lro },
		{ "tso", adapter->details.tso },
		{ "gso", adapter->details.gso },
	};
	char on[64] = "", off[128] = "";
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!all[i].on)
			continue;
		word_add(on, sizeof(on), all[i].name, "");
		word_add(off, sizeof(off), all[i].name, " off");
	}
	const char *name = adapter->interface.name;
	if (on[0] == '\0') {
		wh_finding_add(findings, WH_FINDING_GOOD, name, "offloads",
			       "off: a capture sees the frames of the wire");
		return;
	}
	wh_finding_add(
	    findings, WH_FINDING_NOTE, name, "offloads",
	    "on: %s. They drop nothing, but a capture sees frames joined or not yet cut, up to 64 KB; without "
	    "them the machine has more frames to handle",
	    on);
	/* A macvlan's are those of the adapter beneath, which is asked for itself (macvlan_fix_features()). */
	if (can_be_told(adapter) && strcmp(adapter->details.driver, "macvlan") != 0)
		wh_finding_mend(findings, "ethtool -K %s %s", adapter->word, off);
}

void wh_doctor_adapter_judge(struct wh_findings *findings, const struct wh_doctor_adapter *adapter, int cpus)
{
	state_judge(findings, adapter);
	ring_judge(findings, adapter);
	queues_judge(findings, adapter, cpus);
	offloads_judge(findings, adapter);
}

void wh_doctor_drops_judge(struct wh_findings *findings, const struct wh_doctor_adapter *adapter,
			   const struct wh_interface_drops *now, double seconds)
{
	const struct wh_doctor_hardware *hardware = &adapter->hardware;
	const char *name = adapter->interface.name;
	uint64_t before = adapter->before.missed + adapter->before.fifo, after = now->missed + now->fifo;
	/* A driver that was reset meanwhile begins at zero again. */
	if (after > before) {
		wh_finding_add(
		    findings, WH_FINDING_BAD, name, "losses",
		    "the adapter dropped %s frames in the %s that it was watched, before the kernel saw them: the "
		    "CPU that takes its interrupts is too late",
		    wh_words_count(after - before).s, wh_words_duration(seconds).s);
		if (hardware->rings_known && hardware->ring < hardware->ring_most && can_be_told(adapter))
			wh_finding_mend(findings, "ethtool -G %s rx %" PRIu32, adapter->word, hardware->ring_most);
		else if (hardware->queues_known && hardware->queues < hardware->queues_most)
			queues_mend(findings, adapter, 2 * hardware->queues);
	} else if (after > 0) {
		wh_finding_add(
		    findings, WH_FINDING_NOTE, name, "losses",
		    "the adapter has dropped %s frames since it is there, beside %s received, none of them just "
		    "now (rx_missed_errors, rx_fifo_errors)",
		    wh_words_count(after).s, wh_words_count(now->received).s);
	} else {
		wh_finding_add(findings, WH_FINDING_GOOD, name, "losses",
			       "the adapter has dropped nothing since it is there, and received %s frames",
			       wh_words_count(now->received).s);
	}
}
