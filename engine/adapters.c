/* SPDX-License-Identifier: BSD-3-Clause */
/* The listing of adapters for people: everything known about each, gathered from where it is known. */
#include "wirehaul.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/if.h>
#include <pcap/pcap.h>

#include "engine/interfaces.h"
#include "engine/topology.h"

/* TEXT has room for BYTES; what does not fit is cut off. */
static void copy_text(char *text, size_t bytes, const char *from)
{
	size_t length = strnlen(from, bytes - 1);
	memcpy(text, from, length);
	text[length] = '\0';
}

static void append_word(char *text, size_t bytes, const char *word)
{
	size_t length = strlen(text);
	snprintf(text + length, bytes - length, "%s%s", length > 0 ? " " : "", word);
}

static void describe_details(const char *name, struct wh_adapter *adapter)
{
	struct wh_interface_details details;
	wh_interface_details_read(name, &details);
	copy_text(adapter->driver, sizeof(adapter->driver), details.driver);
	adapter->speed_mbit = details.speed_mbit;
	if (details.gro)
		append_word(adapter->offloads, sizeof(adapter->offloads), "gro");
	if (details.lro)
		append_word(adapter->offloads, sizeof(adapter->offloads), "lro");
	if (details.tso)
		append_word(adapter->offloads, sizeof(adapter->offloads), "tso");
	if (details.gso)
		append_word(adapter->offloads, sizeof(adapter->offloads), "gso");
}

/* TOPOLOGY may be NULL: the listing is of use without it. */
static void describe(const struct wh_interface *interface, struct wh_topology *topology, struct wh_adapter *adapter)
{
	*adapter = (struct wh_adapter){
		.up = interface->up,
		.running = (interface->flags & IFF_RUNNING) != 0,
		.loopback = interface->loopback,
		.numa_node = -1,
		.cpu = -1,
		.mtu = interface->mtu,
	};
	copy_text(adapter->name, sizeof(adapter->name), interface->name);
	uint32_t mac_header_bytes;
	int link_type = wh_link_type_from_arp_type(interface->arp_type, &mac_header_bytes);
	const char *link_type_name = link_type >= 0 ? pcap_datalink_val_to_name(link_type) : NULL;
	if (link_type_name != NULL)
		copy_text(adapter->link_type, sizeof(adapter->link_type), link_type_name);
	describe_details(interface->name, adapter);
	if (topology == NULL)
		return;
	adapter->numa_node = wh_topology_node(topology, interface->name);
	/* Given back at once: each adapter is told the CPU that it would get in a capture of its own. */
	adapter->cpu = wh_topology_take_cpu(topology, interface->name);
	wh_topology_return_cpu(topology, adapter->cpu);
}

/* A listing that fails has created nothing, as WH_RESULT_USAGE says. */
static enum wh_result failed(struct wh_message *message, const char *text)
{
	copy_text(message->text, sizeof(message->text), text);
	return WH_RESULT_USAGE;
}

enum wh_result wh_adapters_list(struct wh_adapter **adapters, size_t *count, struct wh_message *message)
{
	*adapters = NULL;
	*count = 0;
	struct wh_error error = { 0 };
	struct wh_interface *interfaces;
	size_t interface_count;
	if (wh_interfaces_list(&interfaces, &interface_count, &error) != WH_OK)
		return failed(message, error.text);
	/* One more than needed, so that a namespace without adapters is not taken for a lack of memory. */
	struct wh_adapter *list = calloc(interface_count + 1, sizeof(*list));
	if (list == NULL) {
		free(interfaces);
		return failed(message, "no memory to list the adapters");
	}
	struct wh_topology *topology = NULL;
	if (wh_topology_open(NULL, &topology, NULL) != WH_OK)
		topology = NULL;
	for (size_t i = 0; i < interface_count; i++)
		describe(&interfaces[i], topology, &list[i]);
	wh_topology_close(topology);
	free(interfaces);
	*adapters = list;
	*count = interface_count;
	return WH_RESULT_OK;
}

void wh_adapters_free(struct wh_adapter *adapters)
{
	free(adapters);
}
