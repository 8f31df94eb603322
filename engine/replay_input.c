/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/replay_input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* More than any packet and its block: libpcap takes 256 KiB of a packet, and blocks of up to 16 MiB, which are rare. */
enum { BUFFER_BYTES = 1 << 20, HEAD_BYTES = 12 };
enum { PCAP_RECORD_HEAD = 16, PCAPNG_BLOCK_LEAST = 12 };
/* Types of blocks with a packet: obsolete, simple, enhanced (draft-ietf-opsawg-pcapng, section 4). */
enum { PACKET_BLOCK = 2, SIMPLE_PACKET_BLOCK = 3, ENHANCED_PACKET_BLOCK = 6 };
#define SECTION_HEADER_BLOCK UINT32_C(0x0A0D0D0A)
#define BYTE_ORDER_MAGIC     UINT32_C(0x1A2B3C4D)
#define PCAP_MAGIC_US        UINT32_C(0xA1B2C3D4)
#define PCAP_MAGIC_NS        UINT32_C(0xA1B23C4D)
#define UNIT_DAMAGED         UINT64_MAX

enum form { FORM_UNKNOWN, FORM_PCAP, FORM_PCAPNG };

struct wh_replay_input {
	int fd;
	int stop_fd; /* eventfd: do not wait any longer */
	bool at_end, given_up;
	int error; /* of a read that has failed: a socket tells of it once */
	enum form form;
	bool form_looked_for;
	bool swapped;             /* the other byte order, from SCANNED on */
	uint8_t head[HEAD_BYTES]; /* the first bytes of all */
	size_t head_bytes;
	size_t from, to; /* what is in the buffer and not given out */
	size_t scanned;  /* up to here it is known what is there: packets, or none */
	size_t packets;  /* up to here there is a packet that is whole, if that is behind FROM */
	uint8_t buffer[BUFFER_BYTES];
};

static uint32_t get32(const struct wh_replay_input *input, const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return input->swapped ? __builtin_bswap32(value) : value;
}

/* Puts what is left at the buffer's beginning. */
static void make_room(struct wh_replay_input *input)
{
	memmove(input->buffer, input->buffer + input->from, input->to - input->from);
	input->to -= input->from;
	input->scanned = input->scanned > input->from ? input->scanned - input->from : 0;
	input->packets = input->packets > input->from ? input->packets - input->from : 0;
	input->from = 0;
}

/* Reads what there is, which must not be nothing. False: an error, in errno. */
static bool fill(struct wh_replay_input *input)
{
	if (input->to == BUFFER_BYTES)
		make_room(input);
	ssize_t count = read(input->fd, input->buffer + input->to, BUFFER_BYTES - input->to);
	if (count < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (count < 0) {
		input->error = errno;
		return false;
	}
	size_t missing = HEAD_BYTES - input->head_bytes;
	size_t taken = (size_t)count < missing ? (size_t)count : missing;
	memcpy(input->head + input->head_bytes, input->buffer + input->to, taken);
	input->head_bytes += taken;
	input->at_end = count == 0;
	input->to += (size_t)count;
	return true;
}

/* Waits for more. False: not any longer, or an error. */
static bool wait_for_more(struct wh_replay_input *input)
{
	struct pollfd events[] = { { .fd = input->stop_fd, .events = POLLIN }, { .fd = input->fd, .events = POLLIN } };
	while (poll(events, 2, -1) < 0)
		if (errno != EINTR)
			return false;
	if (events[0].revents != 0)
		input->given_up = input->at_end = true;
	return !input->given_up;
}

/*
 * The stream keeps what it gets and libpcap does not take yet, and nobody could say how much that is. So it gets no
 * more than libpcap takes for its next packet; where that is not known, byte by byte. (An unbuffered stream would be
 * that slow always: glibc reads such of fopencookie() a byte at a time.)
 */
static size_t stream_most(const struct wh_replay_input *input)
{
	if (input->at_end || (input->form_looked_for && input->form == FORM_UNKNOWN))
		return SIZE_MAX;
	return input->scanned > input->from ? input->scanned - input->from : 1;
}

/* The stream's: what libpcap asks for. */
static ssize_t stream_read(void *cookie, char *buffer, size_t size)
{
	struct wh_replay_input *input = cookie;
	while (input->from == input->to && !input->at_end) {
		if (input->error == 0 && !wait_for_more(input))
			return input->given_up ? 0 : -1;
		if (input->error != 0 || !fill(input)) {
			errno = input->error;
			return -1;
		}
	}
	size_t count = input->to - input->from, most = stream_most(input);
	count = count < most ? count : most;
	count = count < size ? count : size;
	memcpy(buffer, input->buffer + input->from, count);
	input->from += count;
	return (ssize_t)count;
}

enum wh_status wh_replay_input_open(const char *path, struct wh_replay_input **input, FILE **stream,
				    struct wh_error *error)
{
	const cookie_io_functions_t functions = { .read = stream_read };
	struct wh_replay_input *made = calloc(1, sizeof(*made));
	if (made == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	made->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	made->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	*stream = made->fd >= 0 && made->stop_fd >= 0 ? fopencookie(made, "r", functions) : NULL;
	if (*stream == NULL) {
		enum wh_status status = wh_error_system(error, errno, "cannot read %.200s", path);
		wh_replay_input_close(made);
		return status;
	}
	*input = made;
	return WH_OK;
}

/* Once libpcap has read the head: what is left begins with a record, or with a block. */
static void form_find(struct wh_replay_input *input)
{
	input->form_looked_for = true;
	input->scanned = input->packets = input->from;
	if (input->head_bytes < HEAD_BYTES)
		return;
	uint32_t magic = get32(input, input->head);
	bool section = magic == SECTION_HEADER_BLOCK;
	if (section)
		magic = get32(input, input->head + 8);
	for (int turn = 0; turn < 2; turn++, magic = __builtin_bswap32(magic)) {
		if (section ? magic != BYTE_ORDER_MAGIC : magic != PCAP_MAGIC_US && magic != PCAP_MAGIC_NS)
			continue;
		input->form = section ? FORM_PCAPNG : FORM_PCAP;
		input->swapped = turn == 1;
		return;
	}
}

/* Looks at the record or block at SCANNED. Returns its length, 0 where not even that is there, UNIT_DAMAGED where
 * libpcap will refuse it. */
static uint64_t unit_length(struct wh_replay_input *input, bool *packet)
{
	const uint8_t *at = input->buffer + input->scanned;
	size_t there = input->to - input->scanned;
	*packet = true;
	if (input->form == FORM_PCAP)
		return there >= PCAP_RECORD_HEAD ? PCAP_RECORD_HEAD + (uint64_t)get32(input, at + 8) : 0;
	if (there < PCAPNG_BLOCK_LEAST)
		return 0;
	uint32_t type = get32(input, at), order;
	memcpy(&order, at + 8, sizeof(order));
	if (type == SECTION_HEADER_BLOCK) /* the same in either order */
		input->swapped = order == __builtin_bswap32(BYTE_ORDER_MAGIC);
	*packet = type == PACKET_BLOCK || type == SIMPLE_PACKET_BLOCK || type == ENHANCED_PACKET_BLOCK;
	uint32_t length = get32(input, at + 4);
	if (length < PCAPNG_BLOCK_LEAST || length % 4 != 0 ||
	    (length <= there && get32(input, at + length - 4) != length))
		return UNIT_DAMAGED;
	return length;
}

/* Whether a packet behind FROM is whole, or so large that this cannot be told, or damage comes first. */
static bool packet_find(struct wh_replay_input *input)
{
	/* Between two packets, libpcap is where a record or block begins. */
	if (input->scanned < input->from)
		input->scanned = input->from;
	while (input->packets <= input->from) {
		bool packet;
		uint64_t length = unit_length(input, &packet);
		if (length > BUFFER_BYTES / 2)
			return true;
		if (length == 0 || length > input->to - input->scanned)
			return false;
		input->scanned += length;
		if (packet)
			input->packets = input->scanned;
	}
	return true;
}

bool wh_replay_input_is_ready(struct wh_replay_input *input)
{
	if (!input->form_looked_for)
		form_find(input);
	while (input->form != FORM_UNKNOWN && !input->at_end && !packet_find(input)) {
		/* Blocks without a packet are given to libpcap, too, before they fill the buffer. */
		if (input->to - input->from > BUFFER_BYTES / 2)
			return true;
		struct pollfd event = { .fd = input->fd, .events = POLLIN };
		if (input->error == 0 && poll(&event, 1, 0) != 1)
			return false;
		if (input->error != 0 || !fill(input))
			return true; /* libpcap will meet the error */
	}
	return true;
}

int wh_replay_input_fd(const struct wh_replay_input *input)
{
	return input->fd;
}

void wh_replay_input_give_up(struct wh_replay_input *input)
{
	const uint64_t one = 1;
	ssize_t ignored = write(input->stop_fd, &one, sizeof(one));
	(void)ignored;
}

bool wh_replay_input_has_given_up(const struct wh_replay_input *input)
{
	return input->given_up;
}

void wh_replay_input_close(struct wh_replay_input *input)
{
	if (input == NULL)
		return;
	if (input->fd > STDIN_FILENO)
		close(input->fd);
	if (input->stop_fd >= 0)
		close(input->stop_fd);
	free(input);
}
