/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/filter.h"

#include <ctype.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { HANDLE_BUFFER_BYTES = 128 * 1024, DIRECTION_LENGTH = 3, SEARCH_MOST = 4096 };
#define NOWHERE SIZE_MAX
/* Reads as an address and is none, so that libpcap stops at it with words of its own if it comes as far. */
#define BOGUS_WORD " ::999.999.999.999"

/* A handle whose compiler knows the adapter. It captures nothing that is read; it is closed after compiling. */
static pcap_t *handle_open(const char *name, uint32_t snapshot_length, struct wh_error *error)
{
	char words[PCAP_ERRBUF_SIZE] = "";
	pcap_t *handle = pcap_create(name, words);
	if (handle == NULL) {
		wh_error_set(error, WH_ERR_SYSTEM, "cannot open %s to compile the filter: %s", name, words);
		return NULL;
	}
	pcap_set_snaplen(handle, (int)snapshot_length);
	pcap_set_promisc(handle, 0);
	pcap_set_buffer_size(handle, HANDLE_BUFFER_BYTES);
	int result = pcap_activate(handle);
	if (result >= 0)
		return handle;
	enum wh_status status = result == PCAP_ERROR_PERM_DENIED ? WH_ERR_PERMISSION : WH_ERR_SYSTEM;
	/* For this one only the handle knows what went wrong. */
	const char *reason = result == PCAP_ERROR ? pcap_geterr(handle) : pcap_statustostr(result);
	wh_error_set(error, status, "cannot open %s to compile the filter: %s", name, reason);
	pcap_close(handle);
	return NULL;
}

static bool is_syntax_error(const char *message)
{
	return strstr(message, "yntax error") != NULL;
}

/* Whether a word of EXPRESSION ends before AT. Parentheses and brackets are words without blanks around them. */
static bool is_boundary(const char *expression, size_t at)
{
	return strchr(" \t\r\n()[]", expression[at]) != NULL || strchr("()[]", expression[at - 1]) != NULL;
}

/* Whether some filter begins with the first LENGTH bytes of EXPRESSION: then the parser takes them all, and complains
 * of the bogus word behind them. It gives up there, so nothing is generated and this is quick. */
static bool can_become_filter(pcap_t *handle, const char *expression, size_t length)
{
	char text[SEARCH_MOST + sizeof(BOGUS_WORD)];
	struct bpf_program program;
	snprintf(text, sizeof(text), "%.*s" BOGUS_WORD, (int)length, expression);
	if (pcap_compile(handle, &program, text, 0, PCAP_NETMASK_UNKNOWN) != 0)
		return !is_syntax_error(pcap_geterr(handle));
	pcap_freecode(&program);
	return true;
}

/* libpcap says that there is a mistake but not where: behind the longest beginning that can still become a filter. What
 * is longer than one that cannot cannot either, so halving finds it. */
static size_t mistake_find(pcap_t *handle, const char *expression)
{
	size_t length = strlen(expression), good = 0, bad = length + 1;
	if (length > SEARCH_MOST || !can_become_filter(handle, "", 0))
		return NOWHERE;
	while (bad - good > 1) {
		size_t middle = good + (bad - good) / 2, end = middle;
		while (!is_boundary(expression, end))
			end++;
		if (can_become_filter(handle, expression, end))
			good = end;
		else
			bad = middle;
	}
	return good + strspn(expression + good, " \t\r\n");
}

static bool is_in_word(char c)
{
	return isalnum((unsigned char)c) || (c != '\0' && strchr("-_.:/", c) != NULL);
}

/* Other messages than that of a syntax error name the word. */
static size_t named_find(const char *expression, const char *message)
{
	char word[PCAP_ERRBUF_SIZE];
	const char *open = strpbrk(message, "'\"");
	const char *close = open != NULL ? strchr(open + 1, *open) : NULL;
	size_t length = close != NULL ? (size_t)(close - open - 1) : 0;
	if (length == 0 || length >= sizeof(word))
		return NOWHERE;
	memcpy(word, open + 1, length);
	word[length] = '\0';
	const char *found = expression;
	while ((found = strstr(found, word)) != NULL) {
		if ((found == expression || !is_in_word(found[-1])) && !is_in_word(found[length]))
			return (size_t)(found - expression);
		found++;
	}
	return NOWHERE;
}

enum wh_status wh_filter_explain(struct pcap *handle, const char *expression, struct wh_error *error)
{
	/* The search puts messages of its own in its place. */
	char message[PCAP_ERRBUF_SIZE], place[128] = "";
	snprintf(message, sizeof(message), "%s", pcap_geterr(handle));
	size_t at = is_syntax_error(message) ? mistake_find(handle, expression) : named_find(expression, message);
	if (at != NOWHERE && expression[at] == '\0')
		snprintf(place, sizeof(place), " (at character %zu: it ends too soon)", at + 1);
	else if (at != NOWHERE)
		snprintf(place, sizeof(place), " (at character %zu: \"%.60s\")", at + 1, expression + at);
	return wh_error_set(error, WH_ERR_INPUT, "the filter \"%.200s\" does not compile: %.120s%s", expression,
			    message, place);
}

/* Puts "refuse what goes the other way" before CODE; its jumps are relative and stay right. */
static void direction_put(struct sock_filter *code, enum wh_filter_direction direction)
{
	const uint8_t if_outgoing = direction == WH_FILTER_OUTGOING ? 1 : 0;
	const struct sock_filter refusal[DIRECTION_LENGTH] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_AD_OFF + SKF_AD_PKTTYPE),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, if_outgoing, !if_outgoing),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	memcpy(code, refusal, sizeof(refusal));
}

static enum wh_status program_compile(const char *name, int link_type, uint32_t snapshot_length, const char *expression,
				      struct bpf_program *program, struct wh_error *error)
{
	pcap_t *handle = handle_open(name, snapshot_length, error);
	if (handle == NULL)
		return error != NULL ? error->status : WH_ERR_SYSTEM;
	enum wh_status status = WH_OK;
	if (pcap_datalink(handle) != link_type)
		status = wh_error_set(error, WH_ERR_INPUT, "libpcap has no filters for the raw frames of %s", name);
	else if (pcap_compile(handle, program, expression, 1, PCAP_NETMASK_UNKNOWN) != 0)
		status = wh_filter_explain(handle, expression, error);
	pcap_close(handle);
	return status;
}

enum wh_status wh_filter_compile(const char *name, int link_type, uint32_t snapshot_length,
				 enum wh_filter_direction direction, const char *expression, struct wh_filter *filter,
				 struct wh_error *error)
{
	struct bpf_insn everything = { .code = BPF_RET | BPF_K, .k = snapshot_length };
	struct bpf_program program = { .bf_len = 1, .bf_insns = &everything };
	bool compiled = expression != NULL && expression[strspn(expression, " ")] != '\0';
	if (compiled) {
		enum wh_status status = program_compile(name, link_type, snapshot_length, expression, &program, error);
		if (status != WH_OK)
			return status;
	}
	uint32_t before = direction != WH_FILTER_BOTH ? DIRECTION_LENGTH : 0;
	enum wh_status status = WH_OK;
	filter->code = calloc(program.bf_len + before, sizeof(*filter->code));
	if (filter->code == NULL || program.bf_len + before > BPF_MAXINSNS) {
		status = wh_error_set(error, WH_ERR_INPUT, "the filter is too long for the kernel (%u instructions)",
				      program.bf_len);
		wh_filter_free(filter);
	} else {
		filter->count = (uint16_t)(program.bf_len + before);
		if (direction != WH_FILTER_BOTH)
			direction_put(filter->code, direction);
		for (uint32_t i = 0; i < program.bf_len; i++)
			filter->code[before + i] = (struct sock_filter){ .code = program.bf_insns[i].code,
									 .jt = program.bf_insns[i].jt,
									 .jf = program.bf_insns[i].jf,
									 .k = program.bf_insns[i].k };
	}
	if (compiled)
		pcap_freecode(&program);
	return status;
}

enum wh_status wh_filter_attach(int fd, const struct wh_filter *filter, struct wh_error *error)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { .len = 1, .filter = &nothing };
	if (filter != NULL)
		program = (struct sock_fprog){ .len = filter->count, .filter = filter->code };
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0)
		return WH_OK;
	return wh_error_system(error, errno,
			       "the kernel does not take the filter (%u instructions; a long one may need a "
			       "larger net.core.optmem_max)",
			       program.len);
}

void wh_filter_free(struct wh_filter *filter)
{
	free(filter->code);
	*filter = (struct wh_filter){ 0 };
}
