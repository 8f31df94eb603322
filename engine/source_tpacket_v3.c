/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames of an adapter through PACKET_MMAP, version 3 (Documentation/networking/packet_mmap.rst, and
 * net/packet/af_packet.c for what it does not say). */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/filter.h"
#include "engine/source.h"
#include "ringbuf/clock.h"
#include "writer/format_pcapng.h"

enum {
	BLOCK_HEADER_BYTES = 48,                                  /* BLK_HDR_LEN */
	PRIVATE_BYTES = WH_CHUNK_FIRST_SLOT - BLOCK_HEADER_BYTES, /* so that the first slot starts behind the head */
	FRAME_BYTES = 2048,                                       /* has no meaning in version 3, but must be sound */
	BLOCKS_LEAST = 4,
	SMALL_BLOCK_BYTES = 64 * 1024, /* a fall-back makes none smaller: they would cut frames that were joined */
	NS_PER_BYTE_NUMERATOR = 4,     /* of an adapter with 10 Gbit/s: 1.25 bytes come in a ns */
	NS_PER_BYTE_DENOMINATOR = 5
};
#define PAUSE_LEAST_NS WH_NS_PER_MS
#define PAUSE_MOST_NS  (20 * WH_NS_PER_MS)
_Static_assert(sizeof(struct tpacket_block_desc) == BLOCK_HEADER_BYTES, "the kernel's block layout");

struct tpacket {
	struct wh_source source;
	int fd, epoll_fd, wake_fd;
	uint32_t next;      /* block that the kernel fills next or has filled */
	_Atomic bool *lent; /* per block: set by next(), cleared by release() */
};

static _Atomic uint32_t *status_word(const struct wh_source *source, uint32_t index)
{
	uint8_t *base = source->memory + (size_t)index * source->block_bytes;
	struct tpacket_block_desc *block = (struct tpacket_block_desc *)(void *)base;
	return (_Atomic uint32_t *)&block->hdr.bh1.block_status;
}

static void tpacket_release(struct wh_source *source, uint32_t index);

/* Lends block INDEX if it is full. */
static bool block_take(struct wh_source *source, struct wh_block *block)
{
	struct tpacket *tpacket = (struct tpacket *)source;
	uint32_t index = tpacket->next;
	/* Acquire: pairs with the release in tpacket_release(); the status word is the kernel's again. A block that is
	 * out for writing has bit 0 set as well, and must not be taken for a new one. */
	if (atomic_load_explicit(&tpacket->lent[index], memory_order_acquire))
		return false;
	/* Acquire: pairs with the kernel's barrier before it sets the status (prb_close_block). */
	uint32_t status = atomic_load_explicit(status_word(source, index), memory_order_acquire);
	if (!(status & TP_STATUS_USER))
		return false;
	block->base = source->memory + (size_t)index * source->block_bytes;
	const struct tpacket_block_desc *header = (const struct tpacket_block_desc *)(const void *)block->base;
	block->index = index;
	block->frames = header->hdr.bh1.num_pkts;
	block->used = header->hdr.bh1.blk_len;
	block->first_slot = header->hdr.bh1.offset_to_first_pkt;
	block->losing = (status & TP_STATUS_LOSING) != 0;
	/* Relaxed: the push of the chunk publishes it to the writer's thread. */
	atomic_store_explicit(&tpacket->lent[index], true, memory_order_relaxed);
	tpacket->next = index + 1 == source->block_count ? 0 : index + 1;
	return true;
}

static bool tpacket_next(struct wh_source *source, struct wh_block *block)
{
	/* The kernel retires an empty block when a frame comes that only just fits one
	 * (__packet_lookup_frame_in_block). */
	while (block_take(source, block)) {
		if (block->frames > 0)
			return true;
		tpacket_release(source, block->index);
	}
	return false;
}

static void tpacket_release(struct wh_source *source, uint32_t index)
{
	struct tpacket *tpacket = (struct tpacket *)source;
	/* Release: all our writes to the block come before the kernel's (prb_curr_blk_in_use reads the word). */
	atomic_store_explicit(status_word(source, index), TP_STATUS_KERNEL, memory_order_release);
	/* Release: pairs with the acquire in tpacket_next(), and comes behind the word itself. */
	atomic_store_explicit(&tpacket->lent[index], false, memory_order_release);
}

/*
 * Edge-triggered, because packet_poll() reports readiness for as long as the last block is not the kernel's, which it
 * is not while it is being written: level-triggered polling would spin. Each retired block makes one edge
 * (prb_retire_current_block, sk_data_ready); one that came after next() was asked is not lost.
 */
static void tpacket_wait(struct wh_source *source, uint64_t timeout_ns)
{
	struct tpacket *tpacket = (struct tpacket *)source;
	struct epoll_event events[2];
	int timeout_ms = (int)((timeout_ns + WH_NS_PER_MS - 1) / WH_NS_PER_MS);
	int count = epoll_wait(tpacket->epoll_fd, events, 2, timeout_ms);
	for (int i = 0; i < count; i++) {
		if (events[i].data.fd == tpacket->wake_fd) {
			uint64_t woken;
			ssize_t ignored = read(tpacket->wake_fd, &woken, sizeof(woken));
			(void)ignored;
		} else if (events[i].events & EPOLLERR) {
			/* ENETDOWN: the adapter went down (packet_notifier). The kernel takes the ring up again when it
			 * comes back; the engine hears of both by netlink. Reading the error clears it. */
			int reason;
			socklen_t length = sizeof(reason);
			getsockopt(tpacket->fd, SOL_SOCKET, SO_ERROR, &reason, &length);
		}
	}
}

/* Not a word from the ring: its edge is kept for the next wait(). */
static void tpacket_pause(struct wh_source *source, uint64_t timeout_ns)
{
	struct tpacket *tpacket = (struct tpacket *)source;
	struct pollfd wake = { .fd = tpacket->wake_fd, .events = POLLIN };
	const struct timespec timeout = { .tv_sec = (time_t)(timeout_ns / WH_NS_PER_SECOND),
					  .tv_nsec = (long)(timeout_ns % WH_NS_PER_SECOND) };
	uint64_t woken;
	if (ppoll(&wake, 1, &timeout, NULL) == 1 && read(tpacket->wake_fd, &woken, sizeof(woken)) < 0)
		return;
}

/* Reading clears the counters, and tp_packets includes the drops (packet_getsockopt, PACKET_STATISTICS). */
static void tpacket_statistics(struct wh_source *source, uint64_t *received, uint64_t *dropped)
{
	struct tpacket *tpacket = (struct tpacket *)source;
	struct tpacket_stats_v3 counted = { 0 };
	socklen_t length = sizeof(counted);
	if (getsockopt(tpacket->fd, SOL_PACKET, PACKET_STATISTICS, &counted, &length) != 0)
		return;
	*received += counted.tp_packets;
	*dropped += counted.tp_drops;
}

static void tpacket_stop(struct wh_source *source)
{
	struct tpacket *tpacket = (struct tpacket *)source;
	/* Cannot fail for a program of one instruction but for lack of memory; then frames go on coming until the
	 * close. */
	enum wh_status ignored = wh_filter_attach(tpacket->fd, NULL, NULL);
	(void)ignored;
}

static bool tpacket_at_end(const struct wh_source *source)
{
	(void)source;
	return false;
}

/* The kernel takes a socket off an adapter that goes, and leaves -1 in its place (packet_notifier). */
static bool tpacket_is_attached(const struct wh_source *source)
{
	const struct tpacket *tpacket = (const struct tpacket *)source;
	struct sockaddr_ll address = { 0 };
	socklen_t length = sizeof(address);
	return getsockname(tpacket->fd, (struct sockaddr *)&address, &length) != 0 || address.sll_ifindex > 0;
}

static void tpacket_wake(struct wh_source *source)
{
	struct tpacket *tpacket = (struct tpacket *)source;
	const uint64_t one = 1;
	ssize_t ignored = write(tpacket->wake_fd, &one, sizeof(one));
	(void)ignored;
}

static void tpacket_close(struct wh_source *source)
{
	struct tpacket *tpacket = (struct tpacket *)source;
	if (source->memory != NULL)
		munmap(source->memory, (size_t)source->block_bytes * source->block_count);
	if (tpacket->fd >= 0)
		close(tpacket->fd);
	if (tpacket->epoll_fd >= 0)
		close(tpacket->epoll_fd);
	if (tpacket->wake_fd >= 0)
		close(tpacket->wake_fd);
	free(tpacket->lent);
	free(tpacket);
}

static const struct wh_source_ops tpacket_ops = {
	.next = tpacket_next,
	.release = tpacket_release,
	.wait = tpacket_wait,
	.pause = tpacket_pause,
	.statistics = tpacket_statistics,
	.stop = tpacket_stop,
	.at_end = tpacket_at_end,
	.is_attached = tpacket_is_attached,
	.wake = tpacket_wake,
	.close = tpacket_close,
};

static int option_set(int fd, int name, int value)
{
	return setsockopt(fd, SOL_PACKET, name, &value, sizeof(value));
}

/* How long a ring of BYTES may be left alone: half of it is full then with a load of 10 Gbit/s that sets in at
 * once, all of it with 20 Gbit/s. */
static uint64_t pause_most(uint64_t bytes)
{
	uint64_t ns = bytes / 2 * NS_PER_BYTE_NUMERATOR / NS_PER_BYTE_DENOMINATOR;
	if (ns < PAUSE_LEAST_NS)
		return 0;
	return ns < PAUSE_MOST_NS ? ns : PAUSE_MOST_NS;
}

/* Asks the kernel for a ring of so many blocks, and for it to be mapped. NULL, with errno, where it has no memory. */
static void *ring_try(int fd, uint32_t block_bytes, uint32_t count, uint32_t timeout_ms)
{
	struct tpacket_req3 request = {
		.tp_block_size = block_bytes,
		.tp_block_nr = count,
		.tp_frame_size = FRAME_BYTES,
		.tp_frame_nr = block_bytes / FRAME_BYTES * count,
		.tp_retire_blk_tov = timeout_ms,
		.tp_sizeof_priv = PRIVATE_BYTES,
	};
	if (setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) != 0)
		return NULL;
	void *memory = mmap(NULL, (size_t)block_bytes * count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory != MAP_FAILED) {
		/* Not for a command (-z): copying the page tables of 512 MiB would take each fork four milliseconds. */
		madvise(memory, (size_t)block_bytes * count, MADV_DONTFORK);
		return memory;
	}
	int reason = errno;
	request = (struct tpacket_req3){ 0 };
	setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request));
	errno = reason;
	return NULL;
}

/* Makes the ring, one of fewer blocks where the kernel has no memory for what was asked, then one of smaller blocks. */
static int ring_make(struct tpacket *tpacket, const struct wh_ring_geometry *geometry)
{
	uint32_t block_bytes = geometry->block_bytes, count = geometry->block_count;
	void *memory;
	while ((memory = ring_try(tpacket->fd, block_bytes, count, geometry->timeout_ms)) == NULL) {
		if (errno != ENOMEM)
			return -1;
		if (count / 2 >= BLOCKS_LEAST)
			count /= 2;
		else if (block_bytes / 2 >= SMALL_BLOCK_BYTES)
			block_bytes /= 2;
		else
			return -1;
	}
	tpacket->source.memory = memory;
	tpacket->source.block_bytes = block_bytes;
	tpacket->source.block_count = count;
	tpacket->source.pause_most_ns = pause_most((uint64_t)block_bytes * count);
	tpacket->lent = calloc(count, sizeof(*tpacket->lent));
	return tpacket->lent != NULL ? 0 : -1;
}

/* Joins the adapter's fan-out group, making it first where this is the first member. Flows stay together. */
static int fanout_join(int fd, const struct wh_tpacket_config *config)
{
	int value = *config->fanout_group | PACKET_FANOUT_HASH << 16;
	if (*config->fanout_group < 0)
		value = (PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_UNIQUEID) << 16;
	if (option_set(fd, PACKET_FANOUT, value) != 0)
		return -1;
	int joined = 0;
	socklen_t length = sizeof(joined);
	if (getsockopt(fd, SOL_PACKET, PACKET_FANOUT, &joined, &length) != 0)
		return -1;
	*config->fanout_group = joined & 0xFFFF;
	return 0;
}

static int promiscuous_set(int fd, int interface_index)
{
	const struct packet_mreq request = { .mr_ifindex = interface_index, .mr_type = PACKET_MR_PROMISC };
	return setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof(request));
}

/*
 * No frame can slip through unfiltered: the socket is made for protocol 0, so it receives nothing before it is bound,
 * and the filter is there by then. Members of a fan-out group must be bound before they join, when each of them would
 * get every frame; so they are bound with a filter that refuses all, and get the real one as members.
 */
static enum wh_status capture_begin(struct tpacket *tpacket, const struct wh_tpacket_config *config,
				    struct wh_error *error)
{
	int fd = tpacket->fd;
	bool fanout = config->fanout_members > 1;
	enum wh_status status = wh_filter_attach(fd, fanout ? NULL : config->filter, error);
	if (status != WH_OK)
		return status;
	if (ring_make(tpacket, &config->geometry) != 0)
		return wh_error_system(error, errno,
				       "cannot make a ring of %u blocks of %u KiB for %s (try a smaller -B)",
				       config->geometry.block_count, config->geometry.block_bytes / 1024, config->name);
	const struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = config->interface_index,
	};
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return wh_error_system(error, errno, "cannot capture on %s", config->name);
	if (config->promiscuous && promiscuous_set(fd, config->interface_index) != 0)
		return wh_error_system(error, errno, "cannot make %s promiscuous (use -p to go without)", config->name);
	if (!fanout)
		return WH_OK;
	if (fanout_join(fd, config) != 0)
		return wh_error_system(error, errno, "cannot spread %s over several threads (--fanout)", config->name);
	return wh_filter_attach(fd, config->filter, error);
}

static int watch_make(struct tpacket *tpacket)
{
	tpacket->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	tpacket->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (tpacket->epoll_fd < 0 || tpacket->wake_fd < 0)
		return -1;
	struct epoll_event ring = { .events = EPOLLIN | EPOLLET, .data.fd = tpacket->fd };
	struct epoll_event wake = { .events = EPOLLIN, .data.fd = tpacket->wake_fd };
	if (epoll_ctl(tpacket->epoll_fd, EPOLL_CTL_ADD, tpacket->fd, &ring) != 0)
		return -1;
	return epoll_ctl(tpacket->epoll_fd, EPOLL_CTL_ADD, tpacket->wake_fd, &wake);
}

enum wh_status wh_source_tpacket_open(const struct wh_tpacket_config *config, struct wh_source **source,
				      struct wh_error *error)
{
	struct tpacket *tpacket = calloc(1, sizeof(*tpacket));
	if (tpacket == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	tpacket->source.ops = &tpacket_ops;
	tpacket->source.link_type = config->link_type;
	tpacket->epoll_fd = tpacket->wake_fd = -1;
	enum wh_status status;
	tpacket->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (tpacket->fd < 0) {
		status = errno == EPERM
			     ? wh_error_set(error, WH_ERR_PERMISSION,
					    "no permission to capture on %s: the capability CAP_NET_RAW "
					    "is missing; run as root, or \"setcap cap_net_raw+ep\" the program",
					    config->name)
			     : wh_error_system(error, errno, "cannot make a packet socket for %s", config->name);
	} else if (option_set(tpacket->fd, PACKET_VERSION, TPACKET_V3) != 0 ||
		   /* tpacket_rcv() puts the network header on a 16-byte boundary and the frame so many bytes before it;
		    * this brings the frame to a multiple of 4, as pcapng wants it. */
		   option_set(tpacket->fd, PACKET_RESERVE, (int)(config->mac_header_bytes & 3)) != 0 ||
		   (config->ignore_outgoing && option_set(tpacket->fd, PACKET_IGNORE_OUTGOING, 1) != 0) ||
		   watch_make(tpacket) != 0) {
		status = wh_error_system(error, errno, "cannot set up a packet socket for %s", config->name);
	} else {
		status = capture_begin(tpacket, config, error);
	}
	if (status != WH_OK) {
		tpacket_close(&tpacket->source);
		return status;
	}
	*source = &tpacket->source;
	return WH_OK;
}
