/* SPDX-License-Identifier: BSD-3-Clause */
/* Raw blocks of a TPACKET_V3 ring. Their numbers are in the byte order of this machine: nobody moves them elsewhere. */
#include <assert.h>
#include <linux/if_packet.h>

#include "walk_formats.h"

enum {
	SLOT_HEAD_BYTES = sizeof(struct tpacket3_hdr) + sizeof(struct sockaddr_ll),
	ADDRESS_BYTES = 12,
	TAG_BYTES = 4,
	NS_PER_S = 1000000000,
	ETHERTYPE_VLAN = 0x8100,
	DIRECTION_IN = 1, /* epb_flags */
	DIRECTION_OUT = 2
};

static_assert(sizeof(struct tpacket3_hdr) % TPACKET_ALIGNMENT == 0, "the address follows at once");

bool wh_walk_is_raw(const struct wh_walk *walk)
{
	struct tpacket_block_desc head;
	if (walk->size - walk->at < sizeof(head))
		return false;
	memcpy(&head, walk->bytes + walk->at, sizeof(head));
	return head.version == TPACKET_V3 && head.offset_to_priv == sizeof(head);
}

/* Puts the VLAN tag, which the kernel took out of the frame, back in. */
static bool put_tag_back(struct wh_walk *walk, const struct tpacket3_hdr *slot, struct wh_walk_frame *frame)
{
	if (frame->captured < ADDRESS_BYTES)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "frame too short for its VLAN tag");
	if (frame->captured > sizeof(walk->tagged) - TAG_BYTES || frame->original > UINT32_MAX - TAG_BYTES)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "frame with a VLAN tag longer than this reader holds");
	bool typed = (slot->tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
	uint32_t type = typed ? slot->hv1.tp_vlan_tpid : ETHERTYPE_VLAN;
	uint32_t control = slot->hv1.tp_vlan_tci;
	const uint8_t tag[TAG_BYTES] = { (uint8_t)(type >> 8), (uint8_t)type, (uint8_t)(control >> 8),
					 (uint8_t)control };
	memcpy(walk->tagged, frame->data, ADDRESS_BYTES);
	memcpy(walk->tagged + ADDRESS_BYTES, tag, TAG_BYTES);
	memcpy(walk->tagged + ADDRESS_BYTES + TAG_BYTES, frame->data + ADDRESS_BYTES, frame->captured - ADDRESS_BYTES);
	frame->data = walk->tagged;
	frame->captured += TAG_BYTES;
	frame->original += TAG_BYTES;
	return true;
}

/* Takes the frame slot at the walk's position, which may reach to END, and moves behind it. */
static bool take_slot(struct wh_walk *walk, uint64_t end, bool last)
{
	const uint8_t *bytes = walk->bytes + walk->at;
	uint64_t room = end - walk->at, left = walk->size - walk->at;
	if (room < SLOT_HEAD_BYTES)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "more frames than the block has room for");
	if (left < SLOT_HEAD_BYTES)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside a block");
	struct tpacket3_hdr slot;
	struct sockaddr_ll address;
	memcpy(&slot, bytes, sizeof(slot));
	memcpy(&address, bytes + sizeof(slot), sizeof(address));

	/* The last one names no next one. */
	uint64_t length = last ? room : slot.tp_next_offset;
	if (length < SLOT_HEAD_BYTES || length > room)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "impossible length of a frame slot");
	uint64_t frame_end = (uint64_t)slot.tp_mac + slot.tp_snaplen;
	if (slot.tp_mac < SLOT_HEAD_BYTES || frame_end > length)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "frame outside its slot");
	if (slot.tp_snaplen > slot.tp_len)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "frame longer than its original length");
	if (slot.tp_nsec >= NS_PER_S)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "frame with more than a second of fraction");
	if (frame_end > left)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside a block");

	struct wh_walk_frame frame = { .offset = walk->at,
				       .time_ns = slot.tp_sec * UINT64_C(1000000000) + slot.tp_nsec,
				       .captured = slot.tp_snaplen,
				       .original = slot.tp_len,
				       .data = bytes + slot.tp_mac,
				       .flags = address.sll_pkttype == PACKET_OUTGOING ? DIRECTION_OUT : DIRECTION_IN };
	if ((slot.tp_status & TP_STATUS_VLAN_VALID) != 0 && !put_tag_back(walk, &slot, &frame))
		return false;
	walk->listener->frame(walk->listener->context, walk, &frame);
	walk->at += length < left ? length : left;
	return true;
}

/* There is no block here. That is the end of a file made longer than it was needed, unless more follows. */
static bool take_zeros(struct wh_walk *walk)
{
	if (wh_walk_zeros_from(walk, walk->at) != walk->at)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "no TPACKET_V3 block");
	walk->zero_tail = walk->size - walk->at;
	walk->end = walk->at;
	return true;
}

bool wh_walk_raw_block(struct wh_walk *walk)
{
	const uint64_t start = walk->at, left = walk->size - start;
	struct tpacket_block_desc head;
	if (walk->bytes[start] == 0)
		return take_zeros(walk);
	if (left < sizeof(head))
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside a block");
	if (!wh_walk_is_raw(walk))
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "no TPACKET_V3 block");
	memcpy(&head, walk->bytes + start, sizeof(head));
	const struct tpacket_hdr_v1 *told = &head.hdr.bh1;
	if (told->blk_len > walk->raw_block_bytes)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "block longer than blocks of this file are said to be");
	if (told->offset_to_first_pkt < sizeof(head) || told->offset_to_first_pkt > told->blk_len)
		return wh_walk_fault(walk, WH_WALK_DAMAGED, "impossible offset of the first frame");

	if (told->num_pkts > 0 && told->offset_to_first_pkt > left)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside a block");
	walk->at += told->num_pkts > 0 ? told->offset_to_first_pkt : 0;
	for (uint32_t i = 0; i < told->num_pkts; i++)
		if (!take_slot(walk, start + told->blk_len, i + 1 == told->num_pkts))
			return false;
	if (left < walk->raw_block_bytes)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED, "file ends inside a block");
	walk->at = start + walk->raw_block_bytes;
	return true;
}
