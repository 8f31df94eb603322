/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/interfaces.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <pcap/dlt.h>

enum {
	/* The kernel never makes one part of a dump larger than this (net/netlink/af_netlink.c, netlink_dump()). */
	RECEIVE_BYTES = 32768,
	/* Room for bursts of link messages; the kernel cuts it to net.core.rmem_max. */
	WATCH_BUFFER_BYTES = 1 << 20,
	/* A dump is torn when an adapter comes or goes meanwhile. It is short, so a few tries always do. */
	DUMP_TRIES = 16,
	/* Messages read at a time: whoever reads the watch has other things to do, however fast they come. */
	WATCH_MESSAGES = 64,
	/* LINKTYPE_RAW: the one type among ours whose number in a file is not its DLT (tcpdump.org/linktypes.html). */
	FILE_LINK_TYPE_RAW = 101
};

/* Netlink messages are read through struct nlmsghdr, so that the buffer must have its alignment. */
union message {
	struct nlmsghdr header;
	char bytes[RECEIVE_BYTES];
};

struct route_socket {
	struct mnl_socket *socket;
	uint32_t sequence; /* of the request that is under way */
};

struct wh_interface_watch {
	struct mnl_socket *events;
	bool overflowed;             /* messages were dropped, and the socket has not been empty since */
	struct route_socket queries; /* opened with the watch, so that both ask the same network namespace */
};

struct interface_list {
	struct wh_interface *items;
	size_t count, capacity;
};

/* Takes one answer; returns 0 or the errno that ends the exchange. */
typedef int (*answer_function)(const struct nlmsghdr *answer, void *context);

static int route_socket_open(struct route_socket *route)
{
	route->sequence = 0;
	route->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (route->socket == NULL)
		return errno;
	if (mnl_socket_bind(route->socket, 0, MNL_SOCKET_AUTOPID) == 0)
		return 0;
	int os_error = errno;
	mnl_socket_close(route->socket);
	route->socket = NULL;
	return os_error;
}

/* Begins a request about links. FLAGS go on top of NLM_F_REQUEST. */
static struct ifinfomsg *request_begin(union message *message, struct route_socket *route, uint16_t flags)
{
	struct nlmsghdr *header = mnl_nlmsg_put_header(message->bytes);
	header->nlmsg_type = RTM_GETLINK;
	header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	header->nlmsg_seq = ++route->sequence;
	struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
	link->ifi_family = AF_UNSPEC;
	return link;
}

/* struct nlmsgerr and the payload of NLMSG_DONE both begin with a negated errno, 0 for success. */
static int closing_error(const struct nlmsghdr *header)
{
	int negated = 0;
	if (mnl_nlmsg_get_payload_len(header) >= sizeof(negated))
		memcpy(&negated, mnl_nlmsg_get_payload(header), sizeof(negated));
	return -negated;
}

struct exchange {
	answer_function each;
	void *context;
	uint32_t sequence;
	bool ended, interrupted;
	int os_error;
};

/* libmnl's own loop, mnl_cb_run(), leaves the rest of a torn dump unread in the socket; this one reads it to its end,
 * so that the socket can be asked again. */
static void take_answers(struct exchange *exchange, const union message *message, size_t length)
{
	int left = (int)length;
	for (const struct nlmsghdr *header = &message->header; mnl_nlmsg_ok(header, left);
	     header = mnl_nlmsg_next(header, &left)) {
		if (header->nlmsg_seq != exchange->sequence)
			continue;
		if ((header->nlmsg_flags & NLM_F_DUMP_INTR) != 0)
			exchange->interrupted = true;
		if (header->nlmsg_type == NLMSG_ERROR || header->nlmsg_type == NLMSG_DONE) {
			exchange->ended = true;
			if (exchange->os_error == 0)
				exchange->os_error = closing_error(header);
			return;
		}
		if (header->nlmsg_type == RTM_NEWLINK && exchange->os_error == 0)
			exchange->os_error = exchange->each(header, exchange->context);
	}
}

/* Sends the request in MESSAGE, which is then overwritten, and hands each answer to EACH. The request must ask for a
 * dump or for an acknowledgement, or the end of the answers would not show. Returns 0 or an errno, EINTR for a torn
 * dump. */
static int exchange_run(struct route_socket *route, union message *message, answer_function each, void *context)
{
	struct exchange exchange = { .each = each, .context = context, .sequence = route->sequence };
	if (mnl_socket_sendto(route->socket, message->bytes, message->header.nlmsg_len) < 0)
		return errno;
	while (!exchange.ended) {
		ssize_t length = mnl_socket_recvfrom(route->socket, message->bytes, sizeof(message->bytes));
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			return errno;
		take_answers(&exchange, message, (size_t)length);
	}
	if (exchange.os_error != 0)
		return exchange.os_error;
	return exchange.interrupted ? EINTR : 0;
}

/* For mnl_attr_parse(), which stops with MNL_CB_ERROR. */
static int parse_attribute(const struct nlattr *attribute, void *context)
{
	struct wh_interface *interface = context;
	switch (mnl_attr_get_type(attribute)) {
	case IFLA_IFNAME:
		if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0 &&
		    mnl_attr_get_payload_len(attribute) <= sizeof(interface->name))
			memcpy(interface->name, mnl_attr_get_payload(attribute), mnl_attr_get_payload_len(attribute));
		break;
	case IFLA_MTU:
		if (mnl_attr_validate(attribute, MNL_TYPE_U32) == 0)
			interface->mtu = mnl_attr_get_u32(attribute);
		break;
	case IFLA_ADDRESS:
		/* Longer ones (InfiniBand has 20 bytes) fit neither option that pcapng has for an address. */
		if (mnl_attr_get_payload_len(attribute) <= sizeof(interface->mac)) {
			interface->mac_bytes = (uint8_t)mnl_attr_get_payload_len(attribute);
			memcpy(interface->mac, mnl_attr_get_payload(attribute), interface->mac_bytes);
		}
		break;
	case IFLA_WIRELESS:
		return MNL_CB_ERROR;
	default:
		break;
	}
	return MNL_CB_OK;
}

/* False for what is not the state of an adapter: a bridge tells of its ports in the same message types, as AF_BRIDGE,
 * and leaving a bridge is an RTM_DELLINK there (net/bridge/br_netlink.c, br_ifinfo_notify()); wireless extensions send
 * events as links with little more than a name in them (net/wireless/wext-core.c, rtnetlink_ifinfo_prep()). */
static bool parse_link(const struct nlmsghdr *header, struct wh_interface *interface)
{
	*interface = (struct wh_interface){ 0 };
	if (mnl_nlmsg_get_payload_len(header) < sizeof(struct ifinfomsg))
		return false;
	const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
	if (link->ifi_family != AF_UNSPEC)
		return false;
	interface->index = link->ifi_index;
	interface->flags = link->ifi_flags;
	interface->arp_type = link->ifi_type;
	interface->up = (link->ifi_flags & IFF_UP) != 0;
	interface->loopback = (link->ifi_flags & IFF_LOOPBACK) != 0;
	if (mnl_attr_parse(header, sizeof(*link), parse_attribute, interface) != MNL_CB_OK)
		return false;
	return interface->index > 0 && interface->name[0] != '\0';
}

static int append_link(const struct nlmsghdr *answer, void *context)
{
	struct interface_list *list = context;
	struct wh_interface interface;
	if (!parse_link(answer, &interface))
		return 0;
	if (list->count == list->capacity) {
		size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
		struct wh_interface *items = realloc(list->items, capacity * sizeof(*items));
		if (items == NULL)
			return ENOMEM;
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->count++] = interface;
	return 0;
}

static int compare_index(const void *left, const void *right)
{
	int a = ((const struct wh_interface *)left)->index;
	int b = ((const struct wh_interface *)right)->index;
	return (a > b) - (a < b);
}

/* Fills LIST, whose items are the caller's to free on success. Returns 0 or an errno. */
static int list_links(struct route_socket *route, struct interface_list *list)
{
	int os_error = EINTR;
	for (int tries = 0; tries < DUMP_TRIES && os_error == EINTR; tries++) {
		union message message;
		request_begin(&message, route, NLM_F_DUMP);
		/* Statistics are most of such a message and are not wanted here. */
		mnl_attr_put_u32(&message.header, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
		list->count = 0;
		os_error = exchange_run(route, &message, append_link, list);
	}
	if (os_error != 0) {
		free(list->items);
		*list = (struct interface_list){ 0 };
		return os_error;
	}
	if (list->count > 1)
		qsort(list->items, list->count, sizeof(*list->items), compare_index);
	return 0;
}

static enum wh_status list_failed(struct wh_error *error, int os_error)
{
	if (os_error == EINTR)
		return wh_error_set(
		    error, WH_ERR_SYSTEM,
		    "adapters come and go faster than they can be listed; try again when they are stable");
	return wh_error_system(error, os_error, "cannot ask the kernel for its adapters through rtnetlink");
}

enum wh_status wh_interfaces_list(struct wh_interface **list, size_t *count, struct wh_error *error)
{
	*list = NULL;
	*count = 0;
	struct route_socket route;
	struct interface_list links = { 0 };
	int os_error = route_socket_open(&route);
	if (os_error == 0) {
		os_error = list_links(&route, &links);
		mnl_socket_close(route.socket);
	}
	if (os_error != 0)
		return list_failed(error, os_error);
	*list = links.items;
	*count = links.count;
	return WH_OK;
}

static int store_link(const struct nlmsghdr *answer, void *context)
{
	return parse_link(answer, context) ? 0 : EBADMSG;
}

static int find_link(const char *name, struct wh_interface *found)
{
	struct route_socket route;
	int os_error = route_socket_open(&route);
	if (os_error != 0)
		return os_error;
	union message message;
	request_begin(&message, &route, NLM_F_ACK);
	/* The kernel looks either attribute up among names and alternative names alike (net/core/rtnetlink.c,
	 * rtnl_dev_get()); only their greatest lengths differ, and the long one is unknown before Linux 5.5. */
	mnl_attr_put_strz(&message.header, strlen(name) < IFNAMSIZ ? IFLA_IFNAME : IFLA_ALT_IFNAME, name);
	mnl_attr_put_u32(&message.header, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	os_error = exchange_run(&route, &message, store_link, found);
	mnl_socket_close(route.socket);
	return os_error;
}

enum wh_status wh_interface_find(const char *name, struct wh_interface *found, struct wh_error *error)
{
	*found = (struct wh_interface){ 0 };
	int os_error = name[0] == '\0' || strlen(name) >= ALTIFNAMSIZ ? ENODEV : find_link(name, found);
	if (os_error == 0)
		return WH_OK;
	*found = (struct wh_interface){ 0 };
	if (os_error == ENODEV)
		return wh_error_set(
		    error, WH_ERR_GONE,
		    "there is no adapter \"%.128s\" here; list the adapters (wirehaul -D) and choose one of them",
		    name);
	return wh_error_system(error, os_error, "cannot ask the kernel about adapter \"%.128s\" through rtnetlink",
			       name);
}

/* Older kernels send a shorter struct; what they lack stays 0. The payload is aligned to 4 bytes only. */
static int copy_statistics(const struct nlattr *attribute, void *context)
{
	struct rtnl_link_stats64 *statistics = context;
	if (mnl_attr_get_type(attribute) != IFLA_STATS64)
		return MNL_CB_OK;
	size_t length = mnl_attr_get_payload_len(attribute);
	memcpy(statistics, mnl_attr_get_payload(attribute),
	       length < sizeof(*statistics) ? length : sizeof(*statistics));
	return MNL_CB_STOP;
}

/* Reaching the last attribute means that there were no statistics. */
static int store_statistics(const struct nlmsghdr *answer, void *context)
{
	if (mnl_nlmsg_get_payload_len(answer) < sizeof(struct ifinfomsg))
		return EBADMSG;
	return mnl_attr_parse(answer, sizeof(struct ifinfomsg), copy_statistics, context) == MNL_CB_STOP ? 0 : EBADMSG;
}

enum wh_status wh_interface_drops_read(int index, struct wh_interface_drops *drops)
{
	*drops = (struct wh_interface_drops){ 0 };
	if (index <= 0)
		return WH_ERR_GONE;
	struct route_socket route;
	int os_error = route_socket_open(&route);
	if (os_error != 0)
		return wh_error_system(NULL, os_error, "rtnetlink");
	union message message;
	request_begin(&message, &route, NLM_F_ACK)->ifi_index = index;
	struct rtnl_link_stats64 statistics = { 0 };
	os_error = exchange_run(&route, &message, store_statistics, &statistics);
	mnl_socket_close(route.socket);
	if (os_error != 0)
		return wh_error_system(NULL, os_error, "rtnetlink");
	*drops = (struct wh_interface_drops){ .missed = statistics.rx_missed_errors,
					      .fifo = statistics.rx_fifo_errors,
					      .over = statistics.rx_over_errors,
					      .dropped = statistics.rx_dropped,
					      .received = statistics.rx_packets,
					      .sent = statistics.tx_packets };
	return WH_OK;
}

/* Sorted as libpcap's map_arphrd_to_dlt() groups them. What it captures only "cooked" (PPP, ATM, IrDA, LAPD, nlmon,
 * InfiniBand, GRE) is left out: there a raw socket does not deliver the same header always. ARPHRD_TUNNEL6 and
 * ARPHRD_RAWIP, which it does not know, are IP without a header: their drivers set no header_ops->create, so
 * packet_rcv() pushes nothing back (net/packet/af_packet.c). MAC_HEADER_BYTES is skb_network_offset() there: 0 where
 * the driver leaves the frame's start as its network header. */
static const struct {
	uint16_t arp_type;
	int16_t link_type;
	uint32_t mac_header_bytes;
} link_types[] = {
	{ ARPHRD_ETHER, DLT_EN10MB, 14 },
	{ ARPHRD_LOOPBACK, DLT_EN10MB, 14 },
	{ ARPHRD_METRICOM, DLT_EN10MB, 14 },
	{ ARPHRD_NONE, DLT_RAW, 0 },
	{ ARPHRD_RAWIP, DLT_RAW, 0 },
	{ ARPHRD_TUNNEL, DLT_RAW, 0 },
	{ ARPHRD_TUNNEL6, DLT_RAW, 0 },
	{ ARPHRD_SIT, DLT_RAW, 0 },
	{ ARPHRD_SLIP, DLT_RAW, 0 },
	{ ARPHRD_CSLIP, DLT_RAW, 0 },
	{ ARPHRD_SLIP6, DLT_RAW, 0 },
	{ ARPHRD_CSLIP6, DLT_RAW, 0 },
	{ ARPHRD_ADAPT, DLT_RAW, 0 },
	{ ARPHRD_RAWHDLC, DLT_RAW, 0 },
	{ ARPHRD_DLCI, DLT_RAW, 0 },
	{ ARPHRD_CAN, DLT_CAN_SOCKETCAN, 0 },
	{ ARPHRD_IEEE80211, DLT_IEEE802_11, 0 },
	{ ARPHRD_IEEE80211_PRISM, DLT_PRISM_HEADER, 0 },
	{ ARPHRD_IEEE80211_RADIOTAP, DLT_IEEE802_11_RADIO, 0 },
	{ ARPHRD_IEEE802154, DLT_IEEE802_15_4_NOFCS, 0 },
	{ ARPHRD_VSOCKMON, DLT_VSOCK, 0 },
	{ ARPHRD_CISCO, DLT_C_HDLC, 4 },
	{ ARPHRD_FRAD, DLT_FRELAY, 0 },
	{ ARPHRD_EETHER, DLT_EN3MB, 0 },
	{ ARPHRD_AX25, DLT_AX25_KISS, 0 },
	{ ARPHRD_PRONET, DLT_PRONET, 0 },
	{ ARPHRD_CHAOS, DLT_CHAOS, 0 },
	{ ARPHRD_IEEE802, DLT_IEEE802, 22 },
	{ ARPHRD_IEEE802_TR, DLT_IEEE802, 22 },
	{ ARPHRD_ARCNET, DLT_ARCNET_LINUX, 0 },
	{ ARPHRD_FDDI, DLT_FDDI, 21 },
	{ ARPHRD_LOCALTLK, DLT_LTALK, 0 },
	{ ARPHRD_FCPP, DLT_FC_2, 0 },
	{ ARPHRD_FCAL, DLT_FC_2, 0 },
	{ ARPHRD_FCPL, DLT_FC_2, 0 },
	{ ARPHRD_FCFABRIC, DLT_FC_2, 0 },
};

int wh_link_type_from_arp_type(uint16_t arp_type, uint32_t *mac_header_bytes)
{
	*mac_header_bytes = 0;
	for (size_t i = 0; i < sizeof(link_types) / sizeof(link_types[0]); i++) {
		if (link_types[i].arp_type == arp_type) {
			*mac_header_bytes = link_types[i].mac_header_bytes;
			return link_types[i].link_type;
		}
	}
	return -1;
}

uint16_t wh_link_type_in_file(int link_type)
{
	return (uint16_t)(link_type == DLT_RAW ? FILE_LINK_TYPE_RAW : link_type);
}

enum wh_status wh_interface_watch_open(struct wh_interface_watch **watch, struct wh_error *error)
{
	*watch = NULL;
	struct wh_interface_watch *opened = calloc(1, sizeof(*opened));
	if (opened == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "no memory to watch the adapters");
	int os_error = route_socket_open(&opened->queries);
	if (os_error != 0)
		goto cleanup;
	opened->events = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (opened->events == NULL) {
		os_error = errno;
		goto cleanup;
	}
	/* A smaller buffer than asked for only makes an overflow more likely, and an overflow is dealt with. */
	int buffer_bytes = WATCH_BUFFER_BYTES;
	(void)setsockopt(mnl_socket_get_fd(opened->events), SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));
	int group = RTNLGRP_LINK;
	if (mnl_socket_bind(opened->events, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_setsockopt(opened->events, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		os_error = errno;
cleanup:
	if (os_error != 0) {
		wh_interface_watch_close(opened);
		return wh_error_system(error, os_error, "cannot watch for adapters that come and go through rtnetlink");
	}
	*watch = opened;
	return WH_OK;
}

int wh_interface_watch_fd(const struct wh_interface_watch *watch)
{
	return mnl_socket_get_fd(watch->events);
}

typedef void (*event_function)(void *context, const struct wh_interface_event *event);

static void tell_events(const union message *message, size_t length, event_function each, void *context)
{
	int left = (int)length;
	for (const struct nlmsghdr *header = &message->header; mnl_nlmsg_ok(header, left);
	     header = mnl_nlmsg_next(header, &left)) {
		if (header->nlmsg_type != RTM_NEWLINK && header->nlmsg_type != RTM_DELLINK)
			continue;
		struct wh_interface_event event = { .kind = header->nlmsg_type == RTM_NEWLINK ? WH_INTERFACE_CHANGED
											      : WH_INTERFACE_REMOVED };
		if (parse_link(header, &event.interface))
			each(context, &event);
	}
}

static enum wh_status tell_all(struct wh_interface_watch *watch, event_function each, void *context,
			       struct wh_error *error)
{
	struct interface_list list = { 0 };
	int os_error = list_links(&watch->queries, &list);
	if (os_error != 0)
		return list_failed(error, os_error);
	for (size_t i = 0; i < list.count; i++) {
		struct wh_interface_event event = { .kind = WH_INTERFACE_CHANGED, .interface = list.items[i] };
		each(context, &event);
	}
	free(list.items);
	return WH_OK;
}

enum wh_status wh_interface_watch_read(struct wh_interface_watch *watch,
				       void (*each)(void *context, const struct wh_interface_event *event),
				       void *context, bool *overflowed, struct wh_error *error)
{
	*overflowed = false;
	for (int count = 0; count < WATCH_MESSAGES; count++) {
		union message message;
		ssize_t length = mnl_socket_recvfrom(watch->events, message.bytes, sizeof(message.bytes));
		if (length >= 0) {
			tell_events(&message, (size_t)length, each, context);
			continue;
		}
		if (errno == EAGAIN) {
			*overflowed = watch->overflowed;
			watch->overflowed = false;
			break;
		}
		/* ENOBUFS: messages were dropped, and more will be until the socket is empty. ENOSPC is libmnl's word
		 * for a message that was cut short, which is as good as lost. */
		if (errno == ENOBUFS || errno == ENOSPC)
			watch->overflowed = true;
		else if (errno != EINTR)
			return wh_error_system(error, errno, "cannot read which adapters have come or gone");
	}
	/* Only after the socket is empty, so that what the list says is newer than any event told before it. */
	return *overflowed ? tell_all(watch, each, context, error) : WH_OK;
}

void wh_interface_watch_close(struct wh_interface_watch *watch)
{
	if (watch == NULL)
		return;
	if (watch->events != NULL)
		mnl_socket_close(watch->events);
	if (watch->queries.socket != NULL)
		mnl_socket_close(watch->queries.socket);
	free(watch);
}
