/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames of a capture file, or made up, in blocks of the layout that the kernel fills (linux/if_packet.h): what comes
 * behind cannot tell the difference. */
#include <errno.h>
#include <linux/if_packet.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/filter.h"
#include "engine/replay_input.h"
#include "engine/source.h"
#include "ringbuf/clock.h"
#include "writer/format_pcapng.h"

enum {
	SLOT_ALIGNMENT = 8, /* V3_ALIGNMENT of af_packet.c */
	FRAME_AT = 84,      /* tp_mac of an Ethernet frame with PACKET_RESERVE 2: a multiple of 4 for any frame */
	DIRECTION_UNKNOWN = PACKET_USER,
	REFUSED_AT_ONCE = 10000 /* frames that the filter refuses in a row; then whoever asks for a block goes on */
};

struct replay {
	struct wh_source source;
	pcap_t *file;   /* NULL: synthetic */
	char path[256]; /* of the file, for messages */
	struct bpf_program program;
	uint32_t snapshot_length;
	uint64_t synthetic_left;
	uint32_t synthetic_bytes;
	bool endless;
	struct pcap_pkthdr held; /* a frame that did not fit the last block */
	const uint8_t *held_bytes;
	uint32_t next;
	_Atomic bool *lent;
	_Atomic bool stopped;
	bool ended;
	uint64_t received; /* since statistics() was last called */
	uint64_t serial;   /* frames ever made up */
	int wake_fd;
	struct wh_replay_input *input; /* NULL: a plain file, which is never silent */
	bool quiet;                    /* the input has no frame that is whole, and has not ended */
	bool refuses;                  /* quiet, but only because the filter has refused so many; there may be more */
	uint64_t timeout_ns; /* after which a block goes on its way though it has room, where the input is quiet */
	/* The block that is being filled: */
	uint32_t used, frames, last; /* behind its frames, how many they are, and where the last one begins */
	uint64_t since_ns;           /* monotonic; when its first frame came */
};

/* Gets the next frame of the file that passes the filter into held. False at the end, and where it is quiet. */
static bool frame_fetch(struct replay *replay)
{
	uint32_t refused = 0;
	while (replay->held_bytes == NULL) {
		if (refused == REFUSED_AT_ONCE) {
			replay->quiet = replay->refuses = true;
			return false;
		}
		struct pcap_pkthdr *header;
		const u_char *bytes;
		replay->quiet = replay->input != NULL && !wh_replay_input_is_ready(replay->input);
		if (replay->quiet)
			return false;
		int result = pcap_next_ex(replay->file, &header, &bytes);
		bool given_up = replay->input != NULL && wh_replay_input_has_given_up(replay->input);
		if (result == PCAP_ERROR && !given_up)
			snprintf(replay->source.problem, sizeof(replay->source.problem), "%.200s is damaged: %.200s",
				 replay->path, pcap_geterr(replay->file));
		if (result != 1) {
			replay->ended =
			    true; /* for good: behind damage libpcap would read on, as if it were a record */
			return false;
		}
		if (replay->source.filters && pcap_offline_filter(&replay->program, header, bytes) == 0) {
			atomic_fetch_add_explicit(&replay->source.filtered, 1, memory_order_relaxed);
			refused++;
			continue;
		}
		replay->held = *header;
		replay->held_bytes = bytes;
	}
	return true;
}

/* Writes the slot's header for a frame whose bytes are, or will be, at FRAME_AT behind AT. Returns the slot's size. */
static uint32_t slot_put(uint8_t *at, uint64_t ns, uint32_t captured, uint32_t original)
{
	uint32_t size = (FRAME_AT + captured + SLOT_ALIGNMENT - 1) & ~(uint32_t)(SLOT_ALIGNMENT - 1);
	const struct tpacket3_hdr header = {
		.tp_next_offset = size,
		.tp_sec = (uint32_t)(ns / WH_NS_PER_SECOND),
		.tp_nsec = (uint32_t)(ns % WH_NS_PER_SECOND),
		.tp_snaplen = captured,
		.tp_len = original,
		.tp_status = TP_STATUS_USER,
		.tp_mac = FRAME_AT,
		.tp_net = FRAME_AT,
	};
	memcpy(at, &header, sizeof(header));
	at[WH_SLOT_ADDRESS_AT + offsetof(struct sockaddr_ll, sll_pkttype)] = DIRECTION_UNKNOWN;
	return size;
}

/* How much of a frame of BYTES is kept in a block that has ROOM left. False: it belongs into the next block. */
static bool frame_fits(const struct replay *replay, uint32_t bytes, uint32_t room, bool first, uint32_t *captured)
{
	*captured = bytes < replay->snapshot_length ? bytes : replay->snapshot_length;
	if (FRAME_AT + *captured + SLOT_ALIGNMENT <= room)
		return true;
	*captured = room - FRAME_AT - SLOT_ALIGNMENT; /* as tpacket_rcv() clamps a frame to the block */
	return first;
}

/* Puts one frame at AT if it fits ROOM. Returns the slot's size, 0 where it does not fit or there is none. */
static uint32_t frame_put(struct replay *replay, uint8_t *at, uint32_t room, bool first)
{
	uint32_t captured;
	if (replay->file == NULL) {
		uint32_t bytes = replay->synthetic_bytes;
		if ((!replay->endless && replay->synthetic_left == 0) ||
		    !frame_fits(replay, bytes, room, first, &captured))
			return 0;
		replay->synthetic_left--;
		/* The payload is whatever the block holds; making it up would cost more than all the rest. */
		return slot_put(at, ++replay->serial * 1000, captured, bytes);
	}
	if (!frame_fetch(replay) || !frame_fits(replay, replay->held.caplen, room, first, &captured))
		return 0;
	/* Opened for nanoseconds, tv_usec holds them. */
	uint64_t ns = wh_ns_from_parts((uint32_t)replay->held.ts.tv_sec, (uint32_t)replay->held.ts.tv_usec);
	memcpy(at + FRAME_AT, replay->held_bytes, captured);
	replay->held_bytes = NULL;
	uint32_t original = replay->held.len > captured ? replay->held.len : captured; /* a file may say anything */
	return slot_put(at, ns, captured, original);
}

/* Puts as many frames as there are and as have room into the block that is to be filled. */
static void block_fill(struct replay *replay, uint8_t *base)
{
	const struct wh_source *source = &replay->source;
	if (replay->frames == 0) {
		((struct tpacket_block_desc *)(void *)base)->hdr.bh1.block_status = TP_STATUS_USER;
		replay->used = WH_CHUNK_FIRST_SLOT;
	}
	uint32_t size;
	while ((size = frame_put(replay, base + replay->used, source->block_bytes - replay->used,
				 replay->frames == 0)) != 0) {
		if (replay->frames == 0)
			replay->since_ns = wh_ns_monotonic();
		replay->last = replay->used;
		replay->used += size;
		replay->frames++;
	}
}

static bool replay_next(struct wh_source *source, struct wh_block *block)
{
	struct replay *replay = (struct replay *)source;
	uint32_t index = replay->next;
	replay->quiet = replay->refuses = false;
	bool stopped = atomic_load_explicit(&replay->stopped, memory_order_relaxed);
	if (replay->ended || (stopped && replay->frames == 0) ||
	    atomic_load_explicit(&replay->lent[index], memory_order_acquire)) /* pairs with replay_release() */
		return false;
	uint8_t *base = source->memory + (size_t)index * source->block_bytes;
	if (!stopped)
		block_fill(replay, base);
	if (replay->frames == 0) {
		replay->ended = !replay->quiet;
		return false;
	}
	/* Let in when a block with them goes on its way, and not before. */
	if (replay->quiet && !stopped && wh_ns_monotonic() - replay->since_ns < replay->timeout_ns)
		return false;
	((struct tpacket3_hdr *)(void *)(base + replay->last))->tp_next_offset = 0;
	replay->received += replay->frames;
	*block = (struct wh_block){ .base = base,
				    .index = index,
				    .frames = replay->frames,
				    .used = replay->used,
				    .first_slot = WH_CHUNK_FIRST_SLOT };
	replay->frames = 0;
	atomic_store_explicit(&replay->lent[index], true, memory_order_relaxed);
	replay->next = index + 1 == source->block_count ? 0 : index + 1;
	return true;
}

static void event_send(int fd)
{
	const uint64_t one = 1;
	ssize_t ignored = write(fd, &one, sizeof(one));
	(void)ignored;
}

/* It is woken from outside only to end, so what the capture thread waits for, where it does, is then at its end. */
static void replay_wake(struct wh_source *source)
{
	const struct replay *replay = (struct replay *)source;
	if (replay->input != NULL)
		wh_replay_input_give_up(replay->input);
	event_send(replay->wake_fd);
}

static void replay_release(struct wh_source *source, uint32_t index)
{
	struct replay *replay = (struct replay *)source;
	/* Release: pairs with the acquire in replay_next(). */
	atomic_store_explicit(&replay->lent[index], false, memory_order_release);
	event_send(replay->wake_fd);
}

static void replay_wait(struct wh_source *source, uint64_t timeout_ns)
{
	struct replay *replay = (struct replay *)source;
	if (replay->refuses)
		return;
	struct pollfd events[] = { { .fd = replay->wake_fd, .events = POLLIN },
				   { .fd = replay->quiet ? wh_replay_input_fd(replay->input) : -1, .events = POLLIN } };
	if (replay->quiet && replay->frames > 0) {
		uint64_t passed_ns = wh_ns_monotonic() - replay->since_ns;
		uint64_t left_ns = passed_ns < replay->timeout_ns ? replay->timeout_ns - passed_ns : 0;
		timeout_ns = left_ns < timeout_ns ? left_ns : timeout_ns;
	}
	uint64_t woken;
	if (poll(events, 2, (int)((timeout_ns + WH_NS_PER_MS - 1) / WH_NS_PER_MS)) > 0 && events[0].revents != 0 &&
	    read(replay->wake_fd, &woken, sizeof(woken)) < 0)
		return;
}

static void replay_statistics(struct wh_source *source, uint64_t *received, uint64_t *dropped)
{
	struct replay *replay = (struct replay *)source;
	(void)dropped;
	*received += replay->received;
	replay->received = 0;
}

static void replay_stop(struct wh_source *source)
{
	atomic_store_explicit(&((struct replay *)source)->stopped, true, memory_order_relaxed);
}

static bool replay_at_end(const struct wh_source *source)
{
	return ((const struct replay *)source)->ended;
}

static bool replay_is_attached(const struct wh_source *source)
{
	(void)source;
	return true;
}

static void replay_close(struct wh_source *source)
{
	struct replay *replay = (struct replay *)source;
	if (replay->source.filters)
		pcap_freecode(&replay->program);
	if (replay->file != NULL)
		pcap_close(replay->file);
	if (source->memory != NULL)
		munmap(source->memory, (size_t)source->block_bytes * source->block_count);
	if (replay->wake_fd >= 0)
		close(replay->wake_fd);
	wh_replay_input_close(replay->input);
	free(replay->lent);
	free(replay);
}

static const struct wh_source_ops replay_ops = {
	.next = replay_next,
	.release = replay_release,
	.wait = replay_wait,
	.statistics = replay_statistics,
	.stop = replay_stop,
	.at_end = replay_at_end,
	.is_attached = replay_is_attached,
	.wake = replay_wake,
	.close = replay_close,
};

/* Opens what libpcap would wait for without end. */
static enum wh_status input_open(struct replay *replay, const char *path, char *words, struct wh_error *error)
{
	FILE *stream;
	enum wh_status status = wh_replay_input_open(path, &replay->input, &stream, error);
	if (status != WH_OK)
		return status;
	replay->file = pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_NANO, words);
	if (replay->file == NULL)
		fclose(stream);
	return WH_OK;
}

static enum wh_status file_open(struct replay *replay, const struct wh_replay_config *config, struct wh_error *error)
{
	char words[PCAP_ERRBUF_SIZE] = "";
	struct stat about;
	enum wh_status status = WH_OK;
	if (strcmp(config->path, "-") == 0 || (stat(config->path, &about) == 0 && S_ISFIFO(about.st_mode)))
		status = input_open(replay, config->path, words, error);
	else
		replay->file = pcap_open_offline_with_tstamp_precision(config->path, PCAP_TSTAMP_PRECISION_NANO, words);
	if (status != WH_OK)
		return status;
	if (replay->file == NULL)
		return wh_error_set(error, WH_ERR_INPUT, "cannot read %.200s as a capture file: %.200s", config->path,
				    words);
	snprintf(replay->path, sizeof(replay->path), "%s", config->path);
	replay->source.link_type = pcap_datalink(replay->file);
	if (config->filter == NULL || config->filter[strspn(config->filter, " ")] == '\0')
		return WH_OK;
	if (pcap_compile(replay->file, &replay->program, config->filter, 1, PCAP_NETMASK_UNKNOWN) != 0)
		return wh_filter_explain(replay->file, config->filter, error);
	replay->source.filters = true;
	return WH_OK;
}

/* Zeros, which untouched memory holds, are written faster by some disks than traffic is. Where frames stay in their
 * places the noise lasts; where they are moved, records that were there before take its place with every round of the
 * ring, and such disks may find them easier than traffic. */
static void noise_fill(uint8_t *memory, size_t bytes)
{
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15); /* any but 0: George Marsaglia, Xorshift RNGs */
	for (size_t at = 0; at + sizeof(state) <= bytes; at += sizeof(state)) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(memory + at, &state, sizeof(state));
	}
}

enum wh_status wh_source_replay_open(const struct wh_replay_config *config, struct wh_source **source,
				     struct wh_error *error)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	if (replay == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	replay->source.ops = &replay_ops;
	replay->source.link_type = DLT_EN10MB;
	replay->snapshot_length = config->snapshot_length;
	replay->synthetic_left = config->synthetic_frames;
	replay->endless = config->synthetic_frames == 0;
	replay->synthetic_bytes = config->synthetic_bytes;
	replay->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const struct wh_ring_geometry *geometry = &config->geometry;
	replay->timeout_ns = geometry->timeout_ms * WH_NS_PER_MS;
	size_t bytes = (size_t)geometry->block_bytes * geometry->block_count;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	replay->source.memory = memory == MAP_FAILED ? NULL : memory;
	replay->source.block_bytes = geometry->block_bytes;
	replay->source.block_count = geometry->block_count;
	replay->lent = calloc(geometry->block_count, sizeof(*replay->lent));
	enum wh_status status = WH_OK;
	if (replay->wake_fd < 0 || memory == MAP_FAILED || replay->lent == NULL)
		status = wh_error_system(error, errno, "cannot make a replay ring of %zu bytes", bytes);
	else if (config->path != NULL)
		status = file_open(replay, config, error);
	else
		noise_fill(replay->source.memory, bytes);
	if (status != WH_OK) {
		replay_close(&replay->source);
		return status;
	}
	*source = &replay->source;
	return WH_OK;
}
