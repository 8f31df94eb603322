/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-seccomp [--refuse WHAT=ERRNO]... [--ring-most BYTES] PROGRAM [ARGUMENT...]
 *
 * Runs PROGRAM in its own place, with system calls refused (seccomp):
 *
 *     --refuse io_uring=ERRNO    io_uring_setup(2) as a whole
 *     --refuse probe=ERRNO       to be told which operations io_uring has (kernels before 5.6 have neither this nor
 *                                IORING_OP_WRITE)
 *     --refuse buffers=ERRNO     to make memory known to io_uring (before 5.19 in this way)
 *     --ring-most BYTES          a packet socket's ring larger than that fails with ENOMEM, as where memory is short
 *
 * ERRNO is a number. Exit status: PROGRAM's; 1 it could not be run; 2 usage.
 */
#include <errno.h>
#include <getopt.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the numbers of this architecture's system calls are not known here"
#endif

enum { LINES_MOST = 64, CONDITIONS = 2 };

/* A system call, told by its number and the lower halves of some arguments. */
struct rule {
	unsigned int call;
	unsigned int count;
	struct {
		unsigned int argument, value;
	} conditions[CONDITIONS];
};

static const struct {
	const char *name;
	struct rule rule;
} known[] = {
	{ "io_uring", { .call = SYS_io_uring_setup } },
	{ "probe", { .call = SYS_io_uring_register, .count = 1, .conditions = { { 1, IORING_REGISTER_PROBE } } } },
	{ "buffers", { .call = SYS_io_uring_register, .count = 1, .conditions = { { 1, IORING_REGISTER_BUFFERS2 } } } },
};

static const struct rule ring_rule = { .call = SYS_setsockopt,
				       .count = 2,
				       .conditions = { { 1, SOL_PACKET }, { 2, PACKET_RX_RING } } };

struct filter {
	struct sock_filter lines[LINES_MOST];
	unsigned short count;
};

static void line_add(struct filter *filter, struct sock_filter line)
{
	if (filter->count == LINES_MOST) {
		fputs("wh-seccomp: too many rules\n", stderr);
		exit(2);
	}
	filter->lines[filter->count++] = line;
}

static void filter_begin(struct filter *filter)
{
	line_add(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
	line_add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0));
	line_add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

/* ACTION for what RULE tells; what it does not goes on behind it. */
static void rule_add(struct filter *filter, const struct rule *rule, uint32_t action)
{
	line_add(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
	line_add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rule->call, 0,
						      (unsigned char)(2 * rule->count + 1)));
	for (unsigned int i = 0; i < rule->count; i++) {
		/* The lower half, little-endian. */
		unsigned int at = (unsigned int)offsetof(struct seccomp_data, args) + 8 * rule->conditions[i].argument;
		line_add(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at));
		line_add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rule->conditions[i].value, 0,
							      (unsigned char)(2 * (rule->count - i - 1) + 1)));
	}
	line_add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

/* Takes one refusal, as "probe=22". */
static bool refusal_add(struct filter *filter, const char *text)
{
	const char *equals = strchr(text, '=');
	char *end;
	if (equals == NULL)
		return false;
	unsigned long number = strtoul(equals + 1, &end, 10);
	if (end == equals + 1 || *end != '\0' || number == 0 || number > 4095)
		return false;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strlen(known[i].name) != (size_t)(equals - text) ||
		    strncmp(known[i].name, text, (size_t)(equals - text)) != 0)
			continue;
		rule_add(filter, &known[i].rule, SECCOMP_RET_ERRNO | (uint32_t)number);
		return true;
	}
	return false;
}

/* Puts the filter over this process. With LISTEN, returns a descriptor that is told of what the filter leaves to us;
 * else 0. -1: it cannot be. */
static int filter_install(struct filter *filter, bool listen)
{
	line_add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	struct sock_fprog program = { .len = filter->count, .filter = filter->lines };
	unsigned int flags = listen ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
	long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	if (result < 0 && errno == EACCES) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	}
	return (int)result;
}

/* Whether the ring that PID asks for with REQUEST is too large. */
static bool is_too_large(const struct seccomp_notif *notice, uint64_t most)
{
	struct tpacket_req3 request = { 0 };
	struct iovec here = { .iov_base = &request, .iov_len = sizeof(request) };
	struct iovec there = { .iov_len = sizeof(request) };
	/* An address, but of the other process. */
	_Static_assert(sizeof(there.iov_base) == sizeof(notice->data.args[3]), "pointers of 64 bits");
	memcpy(&there.iov_base, &notice->data.args[3], sizeof(there.iov_base));
	if (process_vm_readv((pid_t)notice->pid, &here, 1, &there, 1, 0) < (ssize_t)sizeof(struct tpacket_req))
		return false;
	return (uint64_t)request.tp_block_size * request.tp_block_nr > most;
}

/* Answers for the kernel until the program has ended. */
static void answer(int listener, uint64_t most)
{
	for (;;) {
		struct seccomp_notif notice = { 0 };
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notice) != 0) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			return;
		}
		struct seccomp_notif_resp response = { .id = notice.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
		if (is_too_large(&notice, most))
			response = (struct seccomp_notif_resp){ .id = notice.id, .error = -ENOMEM };
		/* ENOENT: it was killed meanwhile. */
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) != 0 && errno != ENOENT)
			return;
	}
}

/* The program keeps our process id, so it is the child that answers; it dies with the program. */
static int answerer_start(int listener, uint64_t most)
{
	pid_t parent = getpid();
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (getppid() == parent)
			answer(listener, most);
		_exit(0);
	}
	close(listener);
	return child < 0 ? -1 : 0;
}

static int usage(void)
{
	fputs(
	    "usage: wh-seccomp [--refuse io_uring|probe|buffers=ERRNO]... [--ring-most BYTES] PROGRAM [ARGUMENT...]\n",
	    stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "refuse", required_argument, NULL, 'r' },
						 { "ring-most", required_argument, NULL, 'm' },
						 { 0 } };
	struct filter filter = { 0 };
	uint64_t ring_most = 0;
	bool ring = false;
	int found;
	filter_begin(&filter);
	/* The first word that is no option is the program. */
	while ((found = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (found == 'r' && refusal_add(&filter, optarg))
			continue;
		if (found != 'm')
			return usage();
		char *end;
		ring = true;
		ring_most = strtoull(optarg, &end, 10);
		if (end == optarg || *end != '\0')
			return usage();
	}
	if (optind == argc)
		return usage();
	if (ring)
		rule_add(&filter, &ring_rule, SECCOMP_RET_USER_NOTIF);
	int listener = filter_install(&filter, ring);
	if (listener < 0 || (ring && answerer_start(listener, ring_most) != 0)) {
		perror("wh-seccomp");
		return 1;
	}
	execvp(argv[optind], &argv[optind]);
	perror(argv[optind]);
	return 1;
}
