/* SPDX-License-Identifier: BSD-3-Clause */
#include "numbered.h"

#include <endian.h>
#include <errno.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ADDRESS_BYTES = 12,
	SHORT_STAMP_BYTES = 24,
	IPV4_BYTES = 20,
	UDP_BYTES = 8,
	UDP_STAMP_BYTES = 18,
	STRETCHES = 8192,
	TABLE_BYTES = STRETCHES * 8 + WH_NUMBERED_MAX + 8,
	LIST_MAX = 2048,
	FILE_SIZES_MAX = 1 << 20,
	ETHERTYPE_IPV4 = 0x0800,
	IPV4_MAX = 65535,
	UDP_MAGIC = 0xb1
};

static const uint8_t addresses[ADDRESS_BYTES] = {
	0x02, 0x77, 0x68, 0x00, 0x00, 0x02, 0x02, 0x77, 0x68, 0x00, 0x00, 0x01
};
static const uint8_t magic[8] = { 0xb1, 'w', 'h', 'f', 'r', 'a', 'm', 0x0a };

static uint8_t table[TABLE_BYTES];

/* The finaliser of splitmix64: neighbouring numbers come out unrelated. */
static uint64_t scatter(uint64_t value)
{
	value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
	return value ^ (value >> 31);
}

void wh_numbered_init(void)
{
	for (size_t at = 0; at + 8 <= sizeof(table); at += 8) {
		uint64_t word = htole64(scatter(UINT64_C(0x9e3779b97f4a7c15) * (at + 1)));
		memcpy(table + at, &word, sizeof(word));
	}
}

bool wh_numbered_parse_u64(const char *text, uint64_t maximum, uint64_t *value)
{
	if (*text < '0' || *text > '9')
		return false;
	char *end = NULL;
	errno = 0;
	unsigned long long parsed = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0' || parsed > maximum)
		return false;
	*value = parsed;
	return true;
}

/* Splits a comma list of numbers. Returns how many there were, 0 when TEXT is no such list. */
static size_t parse_list(const char *text, uint64_t maximum, uint64_t *values, size_t room)
{
	size_t count = 0;
	for (;;) {
		size_t length = strcspn(text, ",");
		char item[24];
		if (length >= sizeof(item) || count == room)
			return 0;
		memcpy(item, text, length);
		item[length] = '\0';
		if (!wh_numbered_parse_u64(item, maximum, &values[count]))
			return 0;
		count++;
		if (text[length] == '\0')
			return count;
		text += length + 1;
	}
}

static bool make_sizes(struct wh_numbered_shape *shape, size_t count)
{
	free(shape->sizes);
	shape->sizes = calloc(count, sizeof(*shape->sizes));
	shape->size_count = shape->sizes != NULL ? count : 0;
	return shape->sizes != NULL;
}

void wh_numbered_shape_free(struct wh_numbered_shape *shape)
{
	free(shape->sizes);
	*shape = (struct wh_numbered_shape){ 0 };
}

bool wh_numbered_parse_sizes(struct wh_numbered_shape *shape, const char *text)
{
	uint64_t values[LIST_MAX];
	size_t count = parse_list(text, WH_NUMBERED_MAX, values, LIST_MAX);
	if (count == 0 || !make_sizes(shape, count))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (values[i] < WH_NUMBERED_MIN)
			return false;
		shape->sizes[i] = (uint32_t)values[i];
	}
	return true;
}

bool wh_numbered_imix(struct wh_numbered_shape *shape)
{
	static const struct {
		uint32_t size, share;
	} kinds[] = { { 60, 28 }, { 566, 16 }, { 1514, 4 } };
	enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), TOTAL = 28 + 16 + 4 };
	if (!make_sizes(shape, TOTAL))
		return false;
	/* At each place comes the kind that lags furthest behind its share. */
	uint32_t used[KINDS] = { 0 };
	for (uint32_t place = 0; place < TOTAL; place++) {
		size_t next = 0;
		for (size_t i = 1; i < KINDS; i++) {
			int64_t lag = (int64_t)kinds[i].share * (place + 1) - (int64_t)used[i] * TOTAL;
			int64_t most = (int64_t)kinds[next].share * (place + 1) - (int64_t)used[next] * TOTAL;
			if (lag > most)
				next = i;
		}
		used[next]++;
		shape->sizes[place] = kinds[next].size;
	}
	return true;
}

/* Takes the lengths of the frames of an open file. Returns how many, 0 when memory has run out or there are none. */
static size_t take_sizes(struct wh_numbered_shape *shape, pcap_t *pcap, int *result)
{
	struct pcap_pkthdr *header;
	const u_char *data;
	size_t count = 0;
	while (count < FILE_SIZES_MAX && (*result = pcap_next_ex(pcap, &header, &data)) == 1) {
		if (header->len < WH_NUMBERED_UDP_MIN || header->len > WH_NUMBERED_MAX)
			continue;
		if ((count & (count - 1)) == 0) { /* full at each power of two */
			uint32_t *more = realloc(shape->sizes, (count == 0 ? 1 : 2 * count) * sizeof(*more));
			if (more == NULL)
				return 0;
			shape->sizes = more;
		}
		shape->sizes[count++] = header->len;
	}
	return count;
}

bool wh_numbered_sizes_of(struct wh_numbered_shape *shape, const char *path, char *why, size_t why_bytes)
{
	char error[PCAP_ERRBUF_SIZE] = "";
	pcap_t *pcap = pcap_open_offline(path, error);
	if (pcap == NULL) {
		snprintf(why, why_bytes, "%s", error);
		return false;
	}
	int result = 0;
	shape->size_count = take_sizes(shape, pcap, &result);
	if (result == PCAP_ERROR)
		snprintf(why, why_bytes, "%s: %s", path, pcap_geterr(pcap));
	else if (shape->size_count == 0)
		snprintf(why, why_bytes, "%s: holds no frame of %d to %d bytes", path, WH_NUMBERED_UDP_MIN,
			 WH_NUMBERED_MAX);
	pcap_close(pcap);
	return result != PCAP_ERROR && shape->size_count > 0;
}

bool wh_numbered_parse_vlans(struct wh_numbered_shape *shape, const char *text)
{
	uint64_t values[WH_NUMBERED_TAGS];
	shape->vlan_count = parse_list(text, 4094, values, WH_NUMBERED_TAGS);
	for (size_t i = 0; i < shape->vlan_count; i++)
		shape->vlans[i] = (uint16_t)values[i];
	return shape->vlan_count > 0;
}

uint32_t wh_numbered_bytes(const struct wh_numbered_shape *shape, uint64_t number)
{
	return shape->sizes[number % shape->size_count] + 4 * (uint32_t)shape->vlan_count;
}

static uint8_t *put_be16(uint8_t *to, unsigned int value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
	return to + 2;
}

static uint8_t *put_le64(uint8_t *to, uint64_t value)
{
	uint64_t word = htole64(value);
	memcpy(to, &word, sizeof(word));
	return to + sizeof(word);
}

static uint64_t get_le64(const uint8_t *from)
{
	uint64_t word;
	memcpy(&word, from, sizeof(word));
	return le64toh(word);
}

/* Priority and drop eligibility are set in both tags, so that a reader which keeps only the VLAN number is caught. */
static uint8_t *put_tags(const struct wh_numbered_shape *shape, uint8_t *to)
{
	for (size_t i = 0; i < shape->vlan_count; i++) {
		bool outer = i + 1 < shape->vlan_count;
		unsigned int priority = outer ? 3 : 5;
		to = put_be16(to, outer ? 0x88a8 : 0x8100);
		to = put_be16(to, priority << 13 | 1U << 12 | shape->vlans[i]);
	}
	return to;
}

/* The ones' complement sum of RFC 1071 over an IPv4 header without its checksum. */
static uint16_t ipv4_checksum(const uint8_t *header)
{
	uint32_t sum = 0;
	for (size_t at = 0; at < IPV4_BYTES; at += 2)
		sum += (uint32_t)header[at] << 8 | header[at + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~(sum + (sum >> 16));
}

/*
 * IPv4 and UDP of one of the flows. Neighbouring numbers belong to different flows, whose addresses and ports differ in
 * many bits: a weak hash spreads them, too. BYTES are those from the IPv4 header on; a frame longer than IPv4 can say
 * says the most that it can.
 */
static uint8_t *put_udp(uint64_t number, uint32_t bytes, uint8_t *to)
{
	uint64_t flow = scatter(number % WH_NUMBERED_FLOWS + 1);
	unsigned int length = bytes < IPV4_MAX ? bytes : IPV4_MAX;
	uint8_t *header = to;
	to = put_be16(to, 0x4500);
	to = put_be16(to, length);
	to = put_be16(to, (unsigned int)(number & 0xffff));
	to = put_be16(to, 0x4000); /* not to be fragmented */
	to = put_be16(to, 64 << 8 | 17);
	to = put_be16(to, 0);
	to = put_be16(to, 198 << 8 | 18);
	to = put_be16(to, (unsigned int)(flow & 0xffff));
	to = put_be16(to, 198 << 8 | 19);
	to = put_be16(to, (unsigned int)(flow >> 16 & 0xffff));
	put_be16(header + 10, ipv4_checksum(header));
	to = put_be16(to, 1024 + (unsigned int)(flow >> 32 & 0x3fff));
	to = put_be16(to, WH_NUMBERED_PORT);
	to = put_be16(to, length - IPV4_BYTES);
	return put_be16(to, 0);
}

/* Covers the thread, which nothing else of a frame depends on: a damaged one must not pass for another's. */
static uint8_t magic_of(uint8_t thread)
{
	return UDP_MAGIC ^ thread;
}

/* The head of a frame of SIZE bytes without tags. */
static size_t put_head(const struct wh_numbered_shape *shape, const struct wh_numbered_stamp *stamp, uint32_t size,
		       uint8_t *head)
{
	memcpy(head, addresses, ADDRESS_BYTES);
	uint8_t *to = put_tags(shape, head + ADDRESS_BYTES);
	if (size < WH_NUMBERED_UDP_MIN) {
		to = put_be16(to, WH_NUMBERED_ETHERTYPE);
		memcpy(to, magic, sizeof(magic));
		to = put_le64(put_le64(to + sizeof(magic), stamp->number), stamp->sent_ns);
	} else {
		to = put_udp(stamp->number, size - ADDRESS_BYTES - 2, put_be16(to, ETHERTYPE_IPV4));
		to = put_le64(put_le64(to, stamp->number), stamp->sent_ns);
		*to++ = stamp->thread;
		*to++ = magic_of(stamp->thread);
	}
	return (size_t)(to - head);
}

size_t wh_numbered_head(const struct wh_numbered_shape *shape, const struct wh_numbered_stamp *stamp, uint8_t *head)
{
	return put_head(shape, stamp, shape->sizes[stamp->number % shape->size_count], head);
}

const uint8_t *wh_numbered_pattern(uint64_t number)
{
	return table + scatter(number + 1) % STRETCHES * 8;
}

/* Finds the EtherType behind however many tags a frame has. Returns 0 when the frame is too short to have one. */
static unsigned int find_ethertype(const uint8_t *frame, uint32_t captured, uint32_t *end)
{
	for (uint32_t at = ADDRESS_BYTES; at + 2 <= captured; at += 4) {
		unsigned int type = (unsigned int)frame[at] << 8 | frame[at + 1];
		if (type != 0x8100 && type != 0x88a8 && type != 0x9100) {
			*end = at + 2;
			return type;
		}
	}
	return 0;
}

/* Reads the stamp of a frame whose EtherType ends at AT. */
static enum wh_numbered_verdict read_stamp(const uint8_t *frame, uint32_t captured, unsigned int type, uint32_t at,
					   struct wh_numbered_stamp *stamp, const char **why)
{
	uint32_t left = captured - at;
	if (type == WH_NUMBERED_ETHERTYPE) {
		*why = "our EtherType without our magic";
		if (left < SHORT_STAMP_BYTES || memcmp(frame + at, magic, sizeof(magic)) != 0)
			return WH_NUMBERED_CORRUPT;
		*stamp = (struct wh_numbered_stamp){ .number = get_le64(frame + at + 8),
						     .sent_ns = get_le64(frame + at + 16) };
		return WH_NUMBERED_OURS;
	}
	/* One damaged byte must not make it somebody else's: either of the two marks is enough. */
	bool addressed = memcmp(frame, addresses, ADDRESS_BYTES) == 0;
	bool ported = left >= IPV4_BYTES + UDP_BYTES && frame[at + 9] == 17 &&
		      (frame[at + IPV4_BYTES + 2] << 8 | frame[at + IPV4_BYTES + 3]) == WH_NUMBERED_PORT;
	if (!addressed && !(type == ETHERTYPE_IPV4 && ported))
		return WH_NUMBERED_OTHER;
	*why = "our addresses without our stamp";
	if (type != ETHERTYPE_IPV4 || left < IPV4_BYTES + UDP_BYTES + UDP_STAMP_BYTES)
		return WH_NUMBERED_CORRUPT;
	const uint8_t *from = frame + at + IPV4_BYTES + UDP_BYTES;
	*stamp =
	    (struct wh_numbered_stamp){ .number = get_le64(from), .sent_ns = get_le64(from + 8), .thread = from[16] };
	return from[17] == magic_of(stamp->thread) && stamp->thread < WH_NUMBERED_THREADS ? WH_NUMBERED_OURS
											  : WH_NUMBERED_CORRUPT;
}

/* The tags in FRAME, for a reader that was told of none. */
static void read_tags(const uint8_t *frame, uint32_t end, struct wh_numbered_shape *shape)
{
	for (uint32_t at = ADDRESS_BYTES; at + 4 <= end - 2 && shape->vlan_count < WH_NUMBERED_TAGS; at += 4)
		shape->vlans[shape->vlan_count++] = (uint16_t)((frame[at + 2] & 0x0f) << 8 | frame[at + 3]);
}

enum wh_numbered_verdict wh_numbered_check(const struct wh_numbered_shape *shape, enum wh_numbered_depth depth,
					   uint32_t snapshot, const uint8_t *frame, uint32_t captured,
					   uint32_t original, struct wh_numbered_stamp *stamp, const char **why)
{
	uint32_t at = 0;
	unsigned int type = find_ethertype(frame, captured, &at);
	if (type == 0 || (shape->size_count == 0 && type != ETHERTYPE_IPV4))
		return WH_NUMBERED_OTHER;
	enum wh_numbered_verdict verdict = read_stamp(frame, captured, type, at, stamp, why);
	if (verdict != WH_NUMBERED_OURS)
		return verdict;

	struct wh_numbered_shape own = { 0 };
	uint32_t size;
	if (shape->size_count != 0) {
		size = shape->sizes[stamp->number % shape->size_count];
	} else {
		read_tags(frame, at, &own);
		shape = &own;
		uint32_t told = (uint32_t)frame[at + 2] << 8 | frame[at + 3];
		size = told == IPV4_MAX ? original - 4 * (uint32_t)own.vlan_count : told + ADDRESS_BYTES + 2;
	}
	uint8_t head[WH_NUMBERED_HEAD_MAX];
	size_t head_bytes = put_head(shape, stamp, size, head);
	uint32_t expected = size + 4 * (uint32_t)shape->vlan_count;
	if (captured < head_bytes || memcmp(frame, head, head_bytes) != 0)
		*why = "wrong addresses, VLAN tags or headers";
	else if (original != expected)
		*why = "wrong length on the wire";
	else if (captured != (expected < snapshot ? expected : snapshot))
		*why = "wrong captured length";
	else if (depth == WH_NUMBERED_WHOLE &&
		 memcmp(frame + head_bytes, wh_numbered_pattern(stamp->number), captured - head_bytes) != 0)
		*why = "changed content";
	else
		return WH_NUMBERED_OURS;
	return WH_NUMBERED_CORRUPT;
}
