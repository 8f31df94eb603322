/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The adapters of this network namespace: what there is, what each can do, and word of those that come and go.
 * Listing and watching go through rtnetlink (libmnl), so they see the namespace of the calling thread even where
 * /sys belongs to another one. Details come from the ethtool ioctl.
 */
#ifndef WH_ENGINE_INTERFACES_H
#define WH_ENGINE_INTERFACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbuf/status.h"

enum { WH_INTERFACE_NAME_BYTES = 64 };

/* One adapter, as rtnetlink tells it (linux/if_link.h). */
struct wh_interface {
	int index; /* kernel's ifindex */
	char name[WH_INTERFACE_NAME_BYTES];
	uint32_t flags;    /* IFF_* of linux/if.h */
	uint16_t arp_type; /* ARPHRD_* of linux/if_arp.h */
	uint32_t mtu;      /* bytes */
	uint8_t mac[8];
	uint8_t mac_bytes; /* 0: none */
	bool up, loopback;
};

/* Drop counters of an adapter, from IFLA_STATS64 (linux/if_link.h, struct rtnl_link_stats64, which explains each). */
struct wh_interface_drops {
	uint64_t missed;   /* rx_missed_errors: the host had no buffer ready */
	uint64_t fifo;     /* rx_fifo_errors: the adapter's own queue overflowed */
	uint64_t over;     /* rx_over_errors */
	uint64_t dropped;  /* rx_dropped: dropped in the stack; in many drivers also frames nobody wanted */
	uint64_t received; /* rx_packets */
	uint64_t sent;     /* tx_packets */
};

/* What ethtool knows. Fields are empty or negative where the driver does not say. */
struct wh_interface_details {
	char driver[32];
	int64_t speed_mbit;
	bool gro, lro, tso, gso;
};

/* Lists all adapters, in order of index. *LIST is owned by the caller (free()). Blocks for one netlink exchange. */
WH_MUST_CHECK enum wh_status wh_interfaces_list(struct wh_interface **list, size_t *count, struct wh_error *error);

/* Looks one adapter up by NAME (alternative names count too, as "ip link" has them). WH_ERR_GONE: there is none. */
WH_MUST_CHECK enum wh_status wh_interface_find(const char *name, struct wh_interface *found, struct wh_error *error);

/* Reads the drop counters of adapter INDEX. Any thread of the namespace. */
WH_MUST_CHECK enum wh_status wh_interface_drops_read(int index, struct wh_interface_drops *drops);

/* Fills DETAILS as far as the driver tells. Cannot fail. */
void wh_interface_details_read(const char *name, struct wh_interface_details *details);

/* libpcap's DLT_* value, as its filter compiler wants it, of the frames that a SOCK_RAW packet socket delivers on
 * this ARPHRD_* type (the mapping that libpcap's pcap-linux.c documents in map_arphrd_to_dlt), or -1 where raw
 * capture of that type is not supported. *MAC_HEADER_BYTES gets the usual length of the link-layer header (14 for
 * Ethernet, 0 for tun), from which the ring's alignment is chosen. Pure. */
int wh_link_type_from_arp_type(uint16_t arp_type, uint32_t *mac_header_bytes);

/* The LINKTYPE_* value that a capture file has for LINK_TYPE (a DLT_* that wh_link_type_from_arp_type() returned):
 * the same but for DLT_RAW, which is 12 to libpcap here and 101 in files. Pure. */
uint16_t wh_link_type_in_file(int link_type);

/* A watch on adapters that come, go and change: one netlink socket, joined to RTNLGRP_LINK. */
struct wh_interface_watch;

enum wh_interface_event_kind { WH_INTERFACE_CHANGED, WH_INTERFACE_REMOVED };
struct wh_interface_event {
	enum wh_interface_event_kind kind;
	struct wh_interface interface; /* for REMOVED: index and name only are sure */
};

/* Opens the watch. The caller owns it. */
WH_MUST_CHECK enum wh_status wh_interface_watch_open(struct wh_interface_watch **watch, struct wh_error *error);

/* A descriptor that is readable when there are events; non-blocking. Owned by the watch. */
int wh_interface_watch_fd(const struct wh_interface_watch *watch);

/*
 * Reads what is there, 64 messages at most (the descriptor stays readable while there are more), and calls EACH for
 * every event, in order. When the kernel had to drop messages (ENOBUFS), the whole list is read anew once the others
 * are read, and told as CHANGED events, and *OVERFLOWED is set so that the caller can look for adapters that have gone.
 * Does not block.
 */
WH_MUST_CHECK enum wh_status wh_interface_watch_read(struct wh_interface_watch *watch,
						     void (*each)(void *context,
								  const struct wh_interface_event *event),
						     void *context, bool *overflowed, struct wh_error *error);

/* NULL is allowed. */
void wh_interface_watch_close(struct wh_interface_watch *watch);

#endif
