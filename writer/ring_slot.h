/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One frame in a TPACKET_V3 ring block, as the kernel left it (net/packet/af_packet.c, tpacket_rcv; layout in
 * linux/if_packet.h): a slot holds a tpacket3_hdr, at 48 a sockaddr_ll, at tp_mac the frame. Everything that the
 * encoders need is read into a struct before a byte of the slot is overwritten.
 */
#ifndef WH_WRITER_RING_SLOT_H
#define WH_WRITER_RING_SLOT_H

#include <linux/if_packet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ringbuf/clock.h"

/* What is the same for all frames of one source. */
struct wh_slot_rules {
	uint32_t snapshot_length; /* bytes; a tag put back never makes a frame longer than this */
	bool ethernet;            /* addresses in the first 12 bytes: a VLAN tag belongs behind them */
};

struct wh_slot {
	uint8_t *data;     /* first byte of the frame */
	uint32_t captured; /* bytes at data */
	uint32_t original; /* bytes on the wire */
	uint32_t next;     /* distance to the next slot; 0 in the last one */
	uint32_t flags;    /* as epb_flags has them */
	uint64_t ns;       /* since 1970 */
};

enum { WH_SLOT_ADDRESSES = 12, WH_SLOT_TAG = 4, WH_SLOT_ADDRESS_AT = 48 /* of the sockaddr_ll */ };
_Static_assert(sizeof(struct tpacket3_hdr) == WH_SLOT_ADDRESS_AT, "TPACKET_ALIGN() of it: the kernel's slot layout");

/* Direction and kind of reception in the bits of epb_flags (draft-ietf-opsawg-pcapng, section 4.3.1). */
static inline uint32_t wh_slot_flags(uint8_t packet_type)
{
	enum {
		INBOUND = 1,
		OUTBOUND = 2,
		UNICAST = 1 << 2,
		MULTICAST = 2 << 2,
		BROADCAST = 3 << 2,
		PROMISCUOUS = 4 << 2
	};
	switch (packet_type) {
	case PACKET_HOST:
		return INBOUND | UNICAST;
	case PACKET_BROADCAST:
		return INBOUND | BROADCAST;
	case PACKET_MULTICAST:
		return INBOUND | MULTICAST;
	case PACKET_OTHERHOST:
		return INBOUND | PROMISCUOUS;
	case PACKET_OUTGOING:
		return OUTBOUND;
	default:
		return 0;
	}
}

/*
 * Reads the slot AT. Where the adapter or the stack took a VLAN tag off, it is put back whole (TPID, PCP, DEI and ID)
 * by moving the two addresses down by four bytes, into room that the slot's header does not need any more.
 */
static inline struct wh_slot wh_slot_read(uint8_t *at, const struct wh_slot_rules *rules)
{
	struct tpacket3_hdr header;
	memcpy(&header, at, sizeof(header));
	uint8_t packet_type = at[WH_SLOT_ADDRESS_AT + offsetof(struct sockaddr_ll, sll_pkttype)];
	struct wh_slot slot = {
		.data = at + header.tp_mac,
		.captured = header.tp_snaplen,
		.original = header.tp_len,
		.next = header.tp_next_offset,
		.flags = wh_slot_flags(packet_type),
		.ns = wh_ns_from_parts(header.tp_sec, header.tp_nsec),
	};
	if ((header.tp_status & TP_STATUS_VLAN_VALID) && rules->ethernet && slot.captured >= WH_SLOT_ADDRESSES) {
		uint16_t tpid = (header.tp_status & TP_STATUS_VLAN_TPID_VALID) ? header.hv1.tp_vlan_tpid : 0x8100;
		uint16_t tci = (uint16_t)header.hv1.tp_vlan_tci;
		slot.data -= WH_SLOT_TAG;
		memmove(slot.data, slot.data + WH_SLOT_TAG, WH_SLOT_ADDRESSES);
		uint8_t *tag = slot.data + WH_SLOT_ADDRESSES;
		tag[0] = (uint8_t)(tpid >> 8);
		tag[1] = (uint8_t)tpid;
		tag[2] = (uint8_t)(tci >> 8);
		tag[3] = (uint8_t)tci;
		slot.original += WH_SLOT_TAG;
		slot.captured += WH_SLOT_TAG;
		if (slot.captured > rules->snapshot_length)
			slot.captured = rules->snapshot_length;
	}
	return slot;
}

#endif
