/* SPDX-License-Identifier: BSD-3-Clause */
#include "numbered.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ADDRESS_BYTES = 12, STAMP_BYTES = 24, STRETCHES = 8192, TABLE_BYTES = STRETCHES * 8 + WH_NUMBERED_MAX + 8 };

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

bool wh_numbered_parse_sizes(struct wh_numbered_shape *shape, const char *text)
{
	uint64_t values[WH_NUMBERED_SIZES];
	shape->size_count = parse_list(text, WH_NUMBERED_MAX, values, WH_NUMBERED_SIZES);
	for (size_t i = 0; i < shape->size_count; i++) {
		if (values[i] < WH_NUMBERED_MIN)
			return false;
		shape->sizes[i] = (uint32_t)values[i];
	}
	return shape->size_count > 0;
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

size_t wh_numbered_head(const struct wh_numbered_shape *shape, uint64_t number, uint64_t sent_ns, uint8_t *head)
{
	memcpy(head, addresses, ADDRESS_BYTES);
	uint8_t *to = put_be16(put_tags(shape, head + ADDRESS_BYTES), WH_NUMBERED_ETHERTYPE);
	memcpy(to, magic, sizeof(magic));
	to = put_le64(put_le64(to + sizeof(magic), number), sent_ns);
	return (size_t)(to - head);
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

enum wh_numbered_verdict wh_numbered_check(const struct wh_numbered_shape *shape, uint32_t snapshot,
					   const uint8_t *frame, uint32_t captured, uint32_t original, uint64_t *number,
					   uint64_t *sent_ns, const char **why)
{
	uint32_t stamp = 0;
	if (find_ethertype(frame, captured, &stamp) != WH_NUMBERED_ETHERTYPE)
		return WH_NUMBERED_OTHER;
	if (captured - stamp < STAMP_BYTES || memcmp(frame + stamp, magic, sizeof(magic)) != 0) {
		*why = "our EtherType without our magic";
		return WH_NUMBERED_CORRUPT;
	}
	*number = get_le64(frame + stamp + 8);
	*sent_ns = get_le64(frame + stamp + 16);

	uint8_t head[WH_NUMBERED_HEAD_MAX];
	size_t head_bytes = wh_numbered_head(shape, *number, *sent_ns, head);
	uint32_t expected = wh_numbered_bytes(shape, *number);
	if (head_bytes != stamp + STAMP_BYTES || memcmp(frame, head, head_bytes) != 0)
		*why = "wrong addresses or VLAN tags";
	else if (original != expected)
		*why = "wrong length on the wire";
	else if (captured != (expected < snapshot ? expected : snapshot))
		*why = "wrong captured length";
	else if (memcmp(frame + head_bytes, wh_numbered_pattern(*number), captured - head_bytes) != 0)
		*why = "changed content";
	else
		return WH_NUMBERED_OURS;
	return WH_NUMBERED_CORRUPT;
}
