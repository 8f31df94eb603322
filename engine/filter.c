/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/filter.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { HANDLE_BUFFER_BYTES = 128 * 1024, DIRECTION_LENGTH = 3 };

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
	wh_error_set(error, status, "cannot open %s to compile the filter: %s", name, pcap_statustostr(result));
	pcap_close(handle);
	return NULL;
}

static bool compiles(void *context, const char *text)
{
	struct bpf_program program;
	if (pcap_compile(context, &program, text, 1, PCAP_NETMASK_UNKNOWN) != 0)
		return false;
	pcap_freecode(&program);
	return true;
}

enum wh_status wh_filter_explain(const char *expression, const char *message,
				 bool (*compiles_text)(void *context, const char *text), void *context,
				 struct wh_error *error)
{
	size_t length = strlen(expression);
	char *beginning = malloc(length + 1);
	size_t good = 0;
	if (beginning != NULL && strstr(message, "yntax error") != NULL) {
		/* libpcap says that there is a mistake but not where: what stands behind the longest beginning that
		 * compiles (whole words only) is where a person should look. */
		for (size_t end = length; end > 0 && good == 0; end--) {
			if (expression[end] != '\0' && expression[end] != ' ')
				continue;
			memcpy(beginning, expression, end);
			beginning[end] = '\0';
			if (strspn(beginning, " ") < end && compiles_text(context, beginning))
				good = end;
		}
	} else if (beginning != NULL) {
		/* Other messages name the word. */
		const char *open = strpbrk(message, "'\"");
		const char *close = open != NULL ? strchr(open + 1, *open) : NULL;
		size_t word = close != NULL ? (size_t)(close - open - 1) : 0;
		if (word > 0 && word <= length) {
			memcpy(beginning, open + 1, word);
			beginning[word] = '\0';
			const char *found = strstr(expression, beginning);
			good = found != NULL ? (size_t)(found - expression) : 0;
		}
	}
	free(beginning);
	good += strspn(expression + good, " ");
	return wh_error_set(error, WH_ERR_INPUT,
			    "the filter \"%.200s\" does not compile: %.120s (at character %zu: \"%.60s\")", expression,
			    message, good + 1, expression + good);
}

/* Puts "refuse what is not going out" before CODE; its jumps are relative and stay right. */
static void direction_put(struct sock_filter *code)
{
	const struct sock_filter outgoing[DIRECTION_LENGTH] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_AD_OFF + SKF_AD_PKTTYPE),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	memcpy(code, outgoing, sizeof(outgoing));
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
	else if (pcap_compile(handle, program, expression, 1, PCAP_NETMASK_UNKNOWN) != 0) {
		char message[PCAP_ERRBUF_SIZE];
		strncpy(message, pcap_geterr(handle), sizeof(message) - 1);
		message[sizeof(message) - 1] = '\0';
		status = wh_filter_explain(expression, message, compiles, handle, error);
	}
	pcap_close(handle);
	return status;
}

enum wh_status wh_filter_compile(const char *name, int link_type, uint32_t snapshot_length, bool outgoing_only,
				 const char *expression, struct wh_filter *filter, struct wh_error *error)
{
	struct bpf_insn everything = { .code = BPF_RET | BPF_K, .k = snapshot_length };
	struct bpf_program program = { .bf_len = 1, .bf_insns = &everything };
	bool compiled = expression != NULL && expression[strspn(expression, " ")] != '\0';
	if (compiled) {
		enum wh_status status = program_compile(name, link_type, snapshot_length, expression, &program, error);
		if (status != WH_OK)
			return status;
	}
	uint32_t before = outgoing_only ? DIRECTION_LENGTH : 0;
	enum wh_status status = WH_OK;
	filter->code = calloc(program.bf_len + before, sizeof(*filter->code));
	if (filter->code == NULL || program.bf_len + before > BPF_MAXINSNS) {
		status = wh_error_set(error, WH_ERR_INPUT, "the filter is too long for the kernel (%u instructions)",
				      program.bf_len);
		wh_filter_free(filter);
	} else {
		filter->count = (uint16_t)(program.bf_len + before);
		if (outgoing_only)
			direction_put(filter->code);
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
