/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory, limits, privileges, and what the kernel offers. */
#include <cap-ng.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/doctor/state.h"
#include "engine/privileges.h"

enum { KIB = 1024, MIB = 1024 * 1024 };
/* What a capture takes beside its rings, and what the machine should not be brought below. */
#define MEMORY_SPARE ((uint64_t)64 * MIB)
/* Deleting files can hold up a file system for longer than a tenth of a second. */
#define HOLD_SECONDS_ENOUGH 0.2
#define HOLD_SECONDS_WANTED 0.5

/* The largest ring that a capture should be given by hand when all of them may take BYTES, in KiB. */
static uint64_t ring_kib(uint64_t bytes, uint32_t adapters)
{
	uint64_t kib = bytes / adapters / 1024, power = 64;
	while (power <= kib / 2)
		power *= 2;
	return power;
}

static void hold_judge(struct wh_findings *findings, const struct wh_doctor_needs *needs, uint64_t available)
{
	char held[128] = "";
	double seconds = needs->link_bytes > 0 ? (double)needs->ring_bytes / needs->link_bytes : 0;
	if (needs->link_bytes > 0)
		snprintf(held, sizeof(held), ": %s of all that the fastest link carries (%s)",
			 wh_words_duration(seconds).s, wh_words_scaled(needs->link_bytes * 8, "bit/s").s);
	uint64_t wanted = (uint64_t)(needs->link_bytes * HOLD_SECONDS_WANTED);
	bool enough = needs->link_bytes <= 0 || seconds >= HOLD_SECONDS_ENOUGH;
	wh_finding_add(findings, enough ? WH_FINDING_GOOD : WH_FINDING_NOTE, "memory", "rings",
		       "%s for each of %" PRIu32 " adapter%s, of %s that are available%s%s",
		       wh_words_memory(needs->ring_bytes).s, needs->adapters, needs->adapters == 1 ? "" : "s",
		       wh_words_memory(available).s, held,
		       enough ? "" : "; a disk that is held up for longer makes the kernel drop");
	if (!enough && wanted < available / 4 / needs->adapters && needs->command[0] != '\0')
		wh_finding_mend(findings, "%s -B %" PRIu64, needs->command, 2 * ring_kib(wanted, 1));
}

/* A number of memory.stat: WORD, a blank, bytes. */
static uint64_t group_pages(const char *root, const char *directory, const char *word)
{
	char path[WH_DOCTOR_PATH_BYTES], line[256];
	uint64_t bytes = 0;
	FILE *file = wh_doctor_path(path, root, "%s/memory.stat", directory) ? fopen(path, "re") : NULL;
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, word, strlen(word)) == 0)
			bytes = strtoull(line + strlen(word), NULL, 10);
	if (file != NULL)
		fclose(file);
	return bytes < INT64_MAX ? bytes : 0;
}

/* What is left below the limit of one control group, whose files' pages are given back before it is met
 * (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst). */
static void group_take(const char *root, const char *directory, bool second, uint64_t *bytes)
{
	int64_t limit, used;
	/* "max" is no number, and the first kind's "no limit" is larger than any machine. */
	if (!wh_doctor_read_number(&limit, root, "%s/%s", directory, second ? "memory.max" : "memory.limit_in_bytes") ||
	    limit < 0 ||
	    !wh_doctor_read_number(&used, root, "%s/%s", directory,
				   second ? "memory.current" : "memory.usage_in_bytes"))
		return;
	uint64_t left = limit > used ? (uint64_t)(limit - used) : 0;
	left += group_pages(root, directory, second ? "inactive_file " : "total_inactive_file ");
	if (left > (uint64_t)limit)
		left = (uint64_t)limit;
	if (left < *bytes)
		*bytes = left;
}

/* All groups from the process's own up to the one that is mounted. In a container the path may be the host's and not
 * be there; the mounted one is. */
static void groups_take(const char *root, const char *mount, char *path, bool second, uint64_t *bytes)
{
	char directory[WH_DOCTOR_PATH_BYTES];
	for (;;) {
		if (wh_doctor_path(directory, mount, "%s", path))
			group_take(root, directory, second, bytes);
		char *slash = strrchr(path, '/');
		if (slash == NULL || path[1] == '\0')
			return;
		slash[slash == path ? 1 : 0] = '\0';
	}
}

/* A line of /proc/self/cgroup: number, controllers, path (cgroups(7)). */
static void group_line_take(const char *root, char *line, uint64_t *bytes)
{
	line[strcspn(line, "\n")] = '\0';
	(void)strsep(&line, ":");
	const char *controllers = strsep(&line, ":");
	if (controllers == NULL || line == NULL || line[0] != '/')
		return;
	if (controllers[0] == '\0')
		groups_take(root, "/sys/fs/cgroup", line, true, bytes);
	else if (strcmp(controllers, "memory") == 0)
		groups_take(root, "/sys/fs/cgroup/memory", line, false, bytes);
}

bool wh_doctor_memory_left(const char *root, uint64_t *bytes)
{
	char path[WH_DOCTOR_PATH_BYTES], line[WH_DOCTOR_LINE_BYTES];
	uint64_t left = UINT64_MAX;
	bool known = wh_doctor_read_memory(&left, root, "MemAvailable");
	FILE *file = wh_doctor_path(path, root, "/proc/self/cgroup") ? fopen(path, "re") : NULL;
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		group_line_take(root, line, &left);
	if (file != NULL)
		fclose(file);
	if (known || left != UINT64_MAX)
		*bytes = left;
	return known || left != UINT64_MAX;
}

void wh_doctor_memory(struct wh_findings *findings, const char *root, const struct wh_doctor_needs *needs)
{
	uint64_t available = 0, all = needs->ring_bytes * needs->adapters;
	if (!wh_doctor_read_memory(&available, root, "MemAvailable"))
		return;
	if (available >= all + MEMORY_SPARE) {
		hold_judge(findings, needs, available);
		return;
	}
	wh_finding_add(findings, WH_FINDING_BAD, "memory", "rings",
		       "%s for each of %" PRIu32
		       " adapter%s, and only %s are available: the machine would be out of memory",
		       wh_words_memory(needs->ring_bytes).s, needs->adapters, needs->adapters == 1 ? "" : "s",
		       wh_words_memory(available).s);
	if (needs->command[0] != '\0')
		wh_finding_mend(findings, "%s -B %" PRIu64, needs->command, ring_kib(available / 4, needs->adapters));
}

struct limit {
	int resource;
	enum wh_finding_kind kind; /* where it is too low */
	const char *what, *words;
	const char *name;      /* for prlimit(1) */
	uint64_t needed, unit; /* that it is told in */
};

static void limit_judge(struct wh_findings *findings, const struct limit *limit)
{
	struct rlimit now;
	if (getrlimit((__rlimit_resource_t)limit->resource, &now) != 0)
		return;
	if (now.rlim_cur == RLIM_INFINITY || now.rlim_cur >= limit->needed) {
		wh_finding_add(findings, WH_FINDING_GOOD, "limits", limit->what, "enough for %s", limit->words);
		return;
	}
	uint64_t needed = (limit->needed + limit->unit - 1) / limit->unit;
	const char *unit = limit->unit == KIB ? " KiB" : "";
	wh_finding_add(findings, limit->kind, "limits", limit->what,
		       "%s%s, where %s needs %s%s; in a service, Limit%s= sets it",
		       wh_words_count((uint64_t)now.rlim_cur / limit->unit).s, unit, limit->words,
		       wh_words_count(needed).s, unit, limit->what);
	/* Of the shell that it is typed into, which passes it on to what is started from there. */
	needed *= limit->unit;
	if (now.rlim_max == RLIM_INFINITY || now.rlim_max >= needed)
		wh_finding_mend(findings, "prlimit --pid $$ --%s=%" PRIu64 ":", limit->name, needed);
	else
		wh_finding_mend(findings, "sudo prlimit --pid $$ --%s=%" PRIu64 ":%" PRIu64, limit->name, needed,
				needed);
}

void wh_doctor_limits(struct wh_findings *findings, const struct wh_doctor_needs *needs, bool locks)
{
	uint64_t rings = needs->ring_bytes * needs->adapters;
	const struct limit all[] = {
		{ RLIMIT_NOFILE, WH_FINDING_BAD, "NOFILE", "a capture with its files and sockets", "nofile",
		  needs->descriptors, 1 },
		{ RLIMIT_FSIZE, WH_FINDING_BAD, "FSIZE", "a file of a capture", "fsize", needs->file_bytes, KIB },
		{ RLIMIT_AS, WH_FINDING_BAD, "AS", "a capture with its rings", "as", rings + 4 * MEMORY_SPARE, KIB },
		/* Without it writes are slower: their pages are then looked up each time. */
		{ RLIMIT_MEMLOCK, WH_FINDING_NOTE, "MEMLOCK", "quick writing from the rings (io_uring)", "memlock",
		  rings + MEMORY_SPARE, KIB },
	};
	size_t count = sizeof(all) / sizeof(all[0]) - (locks ? 1 : 0);
	for (size_t i = 0; i < count; i++)
		limit_judge(findings, &all[i]);
}

bool wh_doctor_may_lock(void)
{
	return capng_get_caps_process() == 0 && capng_have_capability(CAPNG_EFFECTIVE, CAP_IPC_LOCK) == 1;
}

/* Opens what a capture opens; for protocol 0, so that it receives nothing (packet(7)). Returns the errno, or 0. */
static int socket_try(void)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

void wh_doctor_privileges(struct wh_findings *findings, bool wanted)
{
	char program[PATH_MAX], word[PATH_MAX];
	if (wh_privileges_can_capture()) {
		/* In a user namespace it may be so for another network than this one; a filter of calls may refuse. */
		int reason = socket_try();
		if (reason == 0)
			wh_finding_add(findings, WH_FINDING_GOOD, "privileges", "capturing",
				       "CAP_NET_RAW is effective");
		else
			wh_finding_add(
			    findings, wanted ? WH_FINDING_BAD : WH_FINDING_NOTE, "privileges", "capturing",
			    "CAP_NET_RAW is effective, but packet sockets are refused (%s): this container, or "
			    "whatever else started the program, has to allow them",
			    strerrordesc_np(reason));
		return;
	}
	wh_finding_add(
	    findings, wanted ? WH_FINDING_BAD : WH_FINDING_NOTE, "privileges", "capturing",
	    "CAP_NET_RAW is missing: no capture on an adapter starts; run as root, or give it to the program");
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
	if (length <= 0)
		return;
	program[length] = '\0';
	/* A program that was replaced while it runs has another name there, which is no file's. */
	if (access(program, F_OK) == 0 && wh_shell_word(program, word, sizeof(word)))
		wh_finding_mend(findings, "sudo setcap cap_net_raw+ep %s", word);
}

/* Whether RELEASE ("6.1.0-18-amd64") is at least MAJOR.MINOR. */
static bool is_release(const char *release, unsigned major, unsigned minor)
{
	unsigned found_major, found_minor;
	if (sscanf(release, "%u.%u", &found_major, &found_minor) != 2)
		return true;
	return found_major != major ? found_major > major : found_minor >= minor;
}

void wh_doctor_kernel(struct wh_findings *findings, const char *root, const char *release, bool works, const char *why)
{
	int64_t disabled = 0;
	(void)wh_doctor_read_number(&disabled, root, "/proc/sys/kernel/io_uring_disabled");
	if (works && disabled == 0) {
		wh_finding_add(findings, WH_FINDING_GOOD, "kernel", "io_uring", "it can be used");
	} else if (works) {
		wh_finding_add(
		    findings, WH_FINDING_NOTE, "kernel", "io_uring",
		    "it can be used here, but kernel.io_uring_disabled=%" PRId64
		    " keeps it from others: a capture as another user writes the portable way, which is slower",
		    disabled);
		wh_finding_mend(findings, "sysctl -w kernel.io_uring_disabled=0");
	} else {
		wh_finding_add(findings, WH_FINDING_NOTE, "kernel", "io_uring",
			       "it cannot be used (%.200s): writes go the portable way, which is slower", why);
		if (disabled != 0)
			wh_finding_mend(findings, "sysctl -w kernel.io_uring_disabled=0");
	}
	if (!works)
		return;
	if (is_release(release, 6, 15))
		wh_finding_add(findings, WH_FINDING_GOOD, "kernel", "release",
			       "%.64s: several pieces of a ring go to the disk in one write", release);
	else
		wh_finding_add(findings, WH_FINDING_NOTE, "kernel", "release",
			       "%.64s: before 6.15 pieces of a ring that do not touch go to the disk in a write each, "
			       "which costs more where frames are short",
			       release);
}
