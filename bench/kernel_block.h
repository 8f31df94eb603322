/* SPDX-License-Identifier: BSD-3-Clause */
/* A ring block as the kernel leaves it, and what an encoder touched of it. */
#ifndef WH_BENCH_KERNEL_BLOCK_H
#define WH_BENCH_KERNEL_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "ringbuf/chunk.h"

/* Puts as many slots of FRAME_BYTES frames into the CAPACITY bytes at BASE as the kernel would (net/packet/af_packet.c,
 * prb_alloc and tpacket_rcv: PACKET_RESERVE 2, the first slot at WH_CHUNK_FIRST_SLOT), and returns how many that are.
 * The frames' own bytes stay what they were. *USED is set as blk_len would be. */
uint32_t wh_kernel_block_fill(uint8_t *base, uint32_t capacity, uint32_t frame_bytes, uint32_t *used);

/*
 * Bytes of the cache lines that an encoder read or wrote to turn such a block into CHUNK: slot headers, record headers,
 * options, and both places of each frame that moved. Found out from where the records lie, not measured. CLASSIC: the
 * records are those of classic pcap.
 */
uint64_t wh_kernel_block_touched(const uint8_t *base, uint32_t capacity, uint32_t frame_bytes, bool classic,
				 const struct wh_chunk *chunk);

#endif
