/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The XDP program of blast_xdp.c. It is called once for each frame, with a page of the kernel's in which there may be
 * an earlier one, and makes of it the next numbered frame. Instructions are put together here, as there are too few of
 * them to ask for a compiler and a loader; each names fields by offsetof(), so the feed may change.
 */
#include "blast_xdp.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	ADDRESSES_AND_TYPE = 14,
	HEAD_BYTES = ADDRESSES_AND_TYPE + 20 + 8 + 18, /* without tags */
	NUMBER_AT = 28,                                /* this and the next ones: from the IPv4 header on */
	TIME_AT = 36,
	LENGTH_AT = 2,
	IDENTIFICATION_AT = 4,
	CHECKSUM_AT = 10,
	UDP_LENGTH_AT = 24
};

/* Multipliers of scatter() of numbered.c, by which a number chooses its pattern. */
static const uint64_t factors[2] = { UINT64_C(0xbf58476d1ce4e5b9), UINT64_C(0x94d049bb133111eb) };

/* Registers. The last four keep their values over calls. */
enum { RESULT, A, B, C, D, E, CONTEXT, FLOW, NUMBER, SIZE };

/* Where a jump goes that is patched when all instructions are known. */
enum { TO_DROP = 0x7ffe, TO_PASS = 0x7fff };

int wh_xdp_bpf(int command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

uint32_t wh_xdp_head_at(uint32_t tag_bytes)
{
	return (8 - (ADDRESSES_AND_TYPE + tag_bytes + NUMBER_AT) % 8) % 8;
}

uint64_t wh_xdp_pattern(uint64_t number)
{
	uint64_t value = number + 1;
	value = (value ^ (value >> 30)) * factors[0];
	value = (value ^ (value >> 27)) * factors[1];
	return (value ^ (value >> 31)) % WH_XDP_STRETCHES * 8;
}

#define RAW(code_, to, from, offset, value)                                                                            \
	(struct bpf_insn)                                                                                              \
	{                                                                                                              \
		.code = (code_), .dst_reg = (to), .src_reg = (from), .off = (int16_t)(offset), .imm = (int32_t)(value) \
	}
#define DO(operation, to, from)          RAW(BPF_ALU64 | (operation) | BPF_X, to, from, 0, 0)
#define DO_K(operation, to, value)       RAW(BPF_ALU64 | (operation) | BPF_K, to, 0, 0, value)
#define LOAD(width, to, from, at)        RAW(BPF_LDX | BPF_MEM | (width), to, from, at, 0)
#define STORE(width, to, at, from)       RAW(BPF_STX | BPF_MEM | (width), to, from, at, 0)
#define BIG_ENDIAN_16(to)                RAW(BPF_ALU | BPF_END | BPF_TO_BE, to, 0, 0, 16)
#define LITTLE_ENDIAN_64(to)             RAW(BPF_ALU | BPF_END | BPF_TO_LE, to, 0, 0, 64)
#define IF_K(condition, a, value, where) RAW(BPF_JMP | (condition) | BPF_K, a, 0, where, value)
#define CALL(helper)                     RAW(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define EXIT                             RAW(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
/* Two instructions each. */
#define SET_64(to, value)                                                                                              \
	RAW(BPF_LD | BPF_DW | BPF_IMM, to, 0, 0, (uint32_t)(value)), RAW(0, 0, 0, 0, (uint64_t)(value) >> 32)
#define SET_FEED(to, at)                                                                                               \
	RAW(BPF_LD | BPF_DW | BPF_IMM, to, BPF_PSEUDO_MAP_VALUE, 0, constants->feed), RAW(0, 0, 0, 0, at)

#define FIELD(name) offsetof(struct wh_xdp_feed, name)

static void patch_jumps(struct bpf_insn *code, size_t count, size_t drop, size_t pass)
{
	for (size_t i = 0; i < count; i++) {
		if (code[i].off == TO_DROP)
			code[i].off = (int16_t)(drop - i - 1);
		else if (code[i].off == TO_PASS)
			code[i].off = (int16_t)(pass - i - 1);
	}
}

int wh_xdp_load(const struct wh_xdp_constants *constants)
{
	uint32_t head_at = wh_xdp_head_at(constants->tag_bytes);
	uint32_t head_bytes = HEAD_BYTES + constants->tag_bytes;
	uint32_t ip_at = head_at + ADDRESSES_AND_TYPE + constants->tag_bytes;
	struct bpf_insn code[] = {
		DO(BPF_MOV, CONTEXT, A),
		SET_FEED(B, 0),
		LOAD(BPF_DW, A, B, FIELD(stop)),
		IF_K(BPF_JNE, A, 0, TO_DROP),

		/* The size; the bound is for the verifier, too, which must see that the access is within the feed. */
		LOAD(BPF_DW, A, B, FIELD(place)),
		IF_K(BPF_JGE, A, constants->size_count, TO_DROP),
		SET_FEED(C, FIELD(sizes)),
		DO(BPF_MOV, D, A),
		DO_K(BPF_LSH, D, 2),
		DO(BPF_ADD, C, D),
		LOAD(BPF_W, SIZE, C, 0),
		IF_K(BPF_JLT, SIZE, WH_NUMBERED_UDP_MIN, TO_DROP),
		IF_K(BPF_JGT, SIZE, WH_XDP_SIZE_MAX, TO_DROP),
		DO_K(BPF_ADD, A, 1),
		IF_K(BPF_JNE, A, constants->size_count, 1),
		DO_K(BPF_MOV, A, 0),
		STORE(BPF_DW, B, FIELD(place), A),

		LOAD(BPF_DW, NUMBER, B, FIELD(number)),
		DO(BPF_MOV, A, NUMBER),
		DO_K(BPF_ADD, A, 1),
		STORE(BPF_DW, B, FIELD(number), A),
		LOAD(BPF_DW, A, B, FIELD(bytes)),
		DO(BPF_ADD, A, SIZE),
		DO_K(BPF_ADD, A, constants->tag_bytes),
		STORE(BPF_DW, B, FIELD(bytes), A),

		/* Each frame is handed over as long as the largest. */
		DO(BPF_MOV, B, SIZE),
		DO_K(BPF_SUB, B, constants->largest),
		IF_K(BPF_JEQ, B, 0, 3),
		DO(BPF_MOV, A, CONTEXT),
		CALL(BPF_FUNC_xdp_adjust_tail),
		IF_K(BPF_JNE, RESULT, 0, TO_DROP),

		/* FLOW points to the head of the flow. */
		SET_FEED(FLOW, FIELD(flows)),
		DO(BPF_MOV, A, NUMBER),
		DO_K(BPF_AND, A, WH_NUMBERED_FLOWS - 1),
		DO_K(BPF_LSH, A, 7),
		DO(BPF_ADD, FLOW, A),

		/* Number and time. */
		CALL(BPF_FUNC_ktime_get_tai_ns),
		SET_64(A, constants->behind_tai_ns),
		DO(BPF_ADD, RESULT, A),
		LITTLE_ENDIAN_64(RESULT),
		STORE(BPF_DW, FLOW, ip_at + TIME_AT, RESULT),
		DO(BPF_MOV, A, NUMBER),
		LITTLE_ENDIAN_64(A),
		STORE(BPF_DW, FLOW, ip_at + NUMBER_AT, A),

		/* Lengths, identification and, of them and the rest of the header, the checksum. */
		LOAD(BPF_W, C, FLOW, offsetof(struct wh_xdp_flow, sum)),
		DO(BPF_MOV, A, SIZE),
		DO_K(BPF_SUB, A, ADDRESSES_AND_TYPE),
		DO(BPF_ADD, C, A),
		DO(BPF_MOV, B, A),
		DO_K(BPF_SUB, B, 20),
		BIG_ENDIAN_16(A),
		STORE(BPF_H, FLOW, ip_at + LENGTH_AT, A),
		BIG_ENDIAN_16(B),
		STORE(BPF_H, FLOW, ip_at + UDP_LENGTH_AT, B),
		DO(BPF_MOV, A, NUMBER),
		DO_K(BPF_AND, A, 0xffff),
		DO(BPF_ADD, C, A),
		BIG_ENDIAN_16(A),
		STORE(BPF_H, FLOW, ip_at + IDENTIFICATION_AT, A),
		DO(BPF_MOV, A, C),
		DO_K(BPF_RSH, A, 16),
		DO_K(BPF_AND, C, 0xffff),
		DO(BPF_ADD, C, A),
		DO(BPF_MOV, A, C),
		DO_K(BPF_RSH, A, 16),
		DO(BPF_ADD, C, A),
		DO_K(BPF_XOR, C, 0xffff),
		BIG_ENDIAN_16(C),
		STORE(BPF_H, FLOW, ip_at + CHECKSUM_AT, C),

		DO(BPF_MOV, A, CONTEXT),
		DO_K(BPF_MOV, B, 0),
		DO(BPF_MOV, C, FLOW),
		DO_K(BPF_ADD, C, head_at),
		DO_K(BPF_MOV, D, head_bytes),
		CALL(BPF_FUNC_xdp_store_bytes),

		/* The pattern: wh_xdp_pattern(). */
		DO(BPF_MOV, D, SIZE),
		DO_K(BPF_SUB, D, HEAD_BYTES),
		IF_K(BPF_JLT, D, 1, TO_PASS),
		DO(BPF_MOV, A, NUMBER),
		DO_K(BPF_ADD, A, 1),
		DO(BPF_MOV, B, A),
		DO_K(BPF_RSH, B, 30),
		DO(BPF_XOR, A, B),
		SET_64(B, factors[0]),
		DO(BPF_MUL, A, B),
		DO(BPF_MOV, B, A),
		DO_K(BPF_RSH, B, 27),
		DO(BPF_XOR, A, B),
		SET_64(B, factors[1]),
		DO(BPF_MUL, A, B),
		DO(BPF_MOV, B, A),
		DO_K(BPF_RSH, B, 31),
		DO(BPF_XOR, A, B),
		DO_K(BPF_AND, A, WH_XDP_STRETCHES - 1),
		DO_K(BPF_LSH, A, 3),
		SET_FEED(C, FIELD(pattern)),
		DO(BPF_ADD, C, A),
		DO(BPF_MOV, A, CONTEXT),
		DO_K(BPF_MOV, B, head_bytes),
		CALL(BPF_FUNC_xdp_store_bytes),

		DO_K(BPF_MOV, RESULT, XDP_PASS),
		EXIT,
		DO_K(BPF_MOV, RESULT, XDP_DROP),
		EXIT,
	};
	enum { COUNT = sizeof(code) / sizeof(code[0]) };
	patch_jumps(code, COUNT, COUNT - 2, COUNT - 4);
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof(attributes));
	attributes.prog_type = BPF_PROG_TYPE_XDP;
	attributes.insns = (uintptr_t)code;
	attributes.insn_cnt = COUNT;
	attributes.license = (uintptr_t) "Dual BSD/GPL";
	return wh_xdp_bpf(BPF_PROG_LOAD, &attributes);
}
