/* SPDX-License-Identifier: BSD-3-Clause */
#include "second_reader.h"

#include <stdio.h>
#include <string.h>

void wh_second_reader_open(struct wh_second_reader *second, const char *path)
{
	*second = (struct wh_second_reader){ 0 };
	second->pcap = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, second->error);
}

/* libpcap's interface has one link type for all of a file: it refuses a file with several. */
static bool has_several_link_types(const struct wh_walk *walk)
{
	for (uint32_t i = 1; i < walk->interface_count; i++)
		if (walk->interfaces[i].link_type != walk->interfaces[0].link_type)
			return true;
	return false;
}

/* libpcap has no packet where the walker has one. What it says behind the last packet, as of a file that was cut off
 * within a block, is no matter. */
static const char *fail(struct wh_second_reader *second, const struct wh_walk *walk)
{
	if (second->failed || has_several_link_types(walk))
		return NULL;
	second->failed = true;
	second->differs++;
	return "libpcap reads no packet here";
}

const char *wh_second_reader_compare(struct wh_second_reader *second, const struct wh_walk *walk,
				     const struct wh_walk_frame *frame)
{
	if (second->pcap == NULL)
		return fail(second, walk);
	struct pcap_pkthdr *header;
	const u_char *data;
	int result = pcap_next_ex(second->pcap, &header, &data);
	if (result != 1) {
		snprintf(second->error, sizeof(second->error), "%s",
			 result == PCAP_ERROR ? pcap_geterr(second->pcap) : "ends before the walker does");
		pcap_close(second->pcap);
		second->pcap = NULL;
		return fail(second, walk);
	}
	second->frames++;
	/* With nanosecond precision tv_usec holds nanoseconds. */
	uint64_t time_ns = (uint64_t)header->ts.tv_sec * UINT64_C(1000000000) + (uint64_t)header->ts.tv_usec;
	if (header->caplen == frame->captured && header->len == frame->original && time_ns == frame->time_ns &&
	    memcmp(data, frame->data, frame->captured) == 0)
		return NULL;
	second->differs++;
	return "libpcap reads another packet here";
}

void wh_second_reader_close(struct wh_second_reader *second)
{
	if (second->pcap == NULL)
		return;
	struct pcap_pkthdr *header;
	const u_char *data;
	int result;
	while ((result = pcap_next_ex(second->pcap, &header, &data)) == 1)
		second->frames++;
	if (result == PCAP_ERROR)
		snprintf(second->error, sizeof(second->error), "%s", pcap_geterr(second->pcap));
	pcap_close(second->pcap);
	second->pcap = NULL;
}
