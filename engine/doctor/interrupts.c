/* SPDX-License-Identifier: BSD-3-Clause */
/* Which CPUs do the kernel's work for frames that come in, and whether it was in time. */
#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/doctor/state.h"

enum {
	VECTORS_MOST = 512, /* of an adapter; those beyond are not looked at */
	BACKLOG_LEAST = 10000,
	BUDGET_USECS_LEAST = 8000,
	BUDGET_LEAST = 600,
	DEALT_MOST = 12,     /* CPUs that interrupts are dealt out to */
	NUMBERS_BYTES = 220, /* of a list of interrupts, or of CPUs, in a command */
	TASKS_MOST = 65536,  /* processes that are looked at */
	ALL_CPUS = -1
};

struct vectors {
	unsigned long number[VECTORS_MOST];
	size_t count;
	struct wh_cpus cpus; /* that take those which have fired */
	unsigned long fired[VECTORS_MOST];
	size_t fired_count;
};

/* The numbers of the MSI vectors: of the adapter's device, or of the PCI device above it (virtio). Elsewhere what is
 * above is a bridge with interrupts of its own, so that it is asked last. */
static void vectors_list(struct vectors *vectors, const char *root, const char *name)
{
	static const char *const places[] = { "device", "device/.." };
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && vectors->count == 0; i++) {
		char path[WH_DOCTOR_PATH_BYTES];
		DIR *directory =
		    wh_doctor_path(path, root, "/sys/class/net/%s/%s/msi_irqs", name, places[i]) ? opendir(path) : NULL;
		const struct dirent *entry;
		while (directory != NULL && (entry = readdir(directory)) != NULL) {
			if (isdigit((unsigned char)entry->d_name[0]) != 0 && vectors->count < VECTORS_MOST)
				vectors->number[vectors->count++] = strtoul(entry->d_name, NULL, 10);
		}
		if (directory != NULL)
			closedir(directory);
	}
}

static bool is_listed(const struct vectors *vectors, unsigned long number)
{
	for (size_t i = 0; i < vectors->count; i++)
		if (vectors->number[i] == number)
			return true;
	return false;
}

/* Whether WORD stands in TEXT by itself, so that eth1 is not seen in eth10-rx-0. */
static bool has_word(const char *text, const char *word)
{
	size_t length = strlen(word);
	for (const char *at = length > 0 ? strstr(text, word) : NULL; at != NULL; at = strstr(at + 1, word)) {
		bool begins = at == text || isalnum((unsigned char)at[-1]) == 0;
		if (begins && isalnum((unsigned char)at[length]) == 0)
			return true;
	}
	return false;
}

/* The CPUs that take interrupt NUMBER. The effective list says where the controller really sends it; not every one has
 * it (Documentation/core-api/irq/irq-affinity.rst). */
static bool interrupt_cpus(const char *root, unsigned long number, struct wh_cpus *cpus)
{
	return wh_doctor_read_cpus(cpus, root, "/proc/irq/%lu/effective_affinity_list", number) ||
	       wh_doctor_read_cpus(cpus, root, "/proc/irq/%lu/smp_affinity_list", number);
}

/* Reads a line of /proc/interrupts: number, a count for each CPU, and words that name controller and device. */
static void line_take(struct vectors *vectors, const char *root, const char *line, const char *name)
{
	char *at;
	unsigned long number = strtoul(line, &at, 10);
	if (at == line || *at != ':')
		return;
	at++;
	bool fired = false;
	for (;;) {
		char *end;
		unsigned long long count = strtoull(at, &end, 10);
		if (end == at || (*end != ' ' && *end != '\t'))
			break;
		fired |= count > 0;
		at = end;
	}
	struct wh_cpus cpus;
	if (!fired || vectors->fired_count == VECTORS_MOST || (!is_listed(vectors, number) && !has_word(at, name)) ||
	    !interrupt_cpus(root, number, &cpus))
		return;
	vectors->fired[vectors->fired_count++] = number;
	for (size_t i = 0; i < sizeof(cpus.bits) / sizeof(cpus.bits[0]); i++)
		vectors->cpus.bits[i] |= cpus.bits[i];
}

static void vectors_read(struct vectors *vectors, const char *root, const char *name)
{
	char path[WH_DOCTOR_PATH_BYTES];
	vectors_list(vectors, root, name);
	FILE *file = wh_doctor_path(path, root, "/proc/interrupts") ? fopen(path, "re") : NULL;
	if (file == NULL)
		return;
	char *line = NULL;
	size_t room = 0;
	while (getline(&line, &room, file) > 0)
		line_take(vectors, root, line, name);
	free(line);
	fclose(file);
}

/* "24 25 26", of all, or of those that CPU takes; false where they do not fit. */
static bool vectors_words(const struct vectors *vectors, const char *root, int cpu, char *text, size_t bytes)
{
	size_t at = 0;
	text[0] = '\0';
	for (size_t i = 0; i < vectors->fired_count; i++) {
		struct wh_cpus cpus;
		if (cpu != ALL_CPUS && !(interrupt_cpus(root, vectors->fired[i], &cpus) && wh_cpus_have(&cpus, cpu)))
			continue;
		int length = snprintf(text + at, bytes - at, "%s%lu", at > 0 ? " " : "", vectors->fired[i]);
		if (length < 0 || (size_t)length >= bytes - at)
			return false;
		at += (size_t)length;
	}
	return at > 0;
}

/* Where the adapter's interrupts would better go: not to the capture thread's CPU, and to those of the adapter's memory
 * node, where there are others. */
static struct wh_cpus targets_choose(const char *root, const struct wh_doctor_adapter *adapter,
				     const struct wh_cpus *allowed)
{
	struct wh_cpus local, near = { 0 }, targets = *allowed;
	wh_cpus_remove(&targets, adapter->cpu);
	if (adapter->node < 0 ||
	    !wh_doctor_read_cpus(&local, root, "/sys/devices/system/node/node%d/cpulist", adapter->node))
		return targets;
	for (int cpu = wh_cpus_next(&targets, 0); cpu >= 0; cpu = wh_cpus_next(&targets, cpu + 1))
		if (wh_cpus_have(&local, cpu))
			wh_cpus_add(&near, cpu);
	return wh_cpus_next(&near, 0) >= 0 ? near : targets;
}

/* All interrupts of a fast adapter with several of them on one CPU: they are dealt out to the others in turn. */
static void crowd_judge(struct wh_findings *findings, const char *root, const struct wh_doctor_adapter *adapter,
			const struct vectors *vectors, const struct wh_cpus *allowed)
{
	char numbers[NUMBERS_BYTES], cpus[6 * DEALT_MOST] = "";
	int64_t mbit = adapter->details.speed_mbit;
	bool slow = mbit > 0 && mbit <= 1000;
	wh_finding_add(findings, slow ? WH_FINDING_NOTE : WH_FINDING_BAD, adapter->interface.name, "interrupts",
		       "all %zu go to CPU %d, which does the kernel's work for every frame while others could share it",
		       vectors->fired_count, wh_cpus_next(&vectors->cpus, 0));
	/* As many as there are interrupts. */
	struct wh_cpus targets = targets_choose(root, adapter, allowed);
	size_t given = 0;
	for (int cpu = wh_cpus_next(&targets, 0); cpu >= 0 && given < vectors->fired_count && given < DEALT_MOST;
	     cpu = wh_cpus_next(&targets, cpu + 1)) {
		size_t length = strlen(cpus);
		snprintf(cpus + length, sizeof(cpus) - length, " %d", cpu);
		given++;
	}
	if (given > 1 && vectors_words(vectors, root, ALL_CPUS, numbers, sizeof(numbers)))
		wh_finding_mend(findings,
				"set --%s; for i in %s; do echo $1 > /proc/irq/$i/smp_affinity_list; set -- \"$@\" $1; "
				"shift; done",
				cpus, numbers);
}

/* The capture thread's CPU takes interrupts as well. */
static void shared_judge(struct wh_findings *findings, const char *root, const struct wh_doctor_adapter *adapter,
			 const struct vectors *vectors, const struct wh_cpus *allowed)
{
	char numbers[NUMBERS_BYTES], cpus[NUMBERS_BYTES];
	struct wh_cpus others = targets_choose(root, adapter, allowed);
	wh_finding_add(findings, WH_FINDING_NOTE, adapter->interface.name, "interrupts",
		       "CPU %d takes some of them, and a capture thread would run there, too: each waits for the other",
		       adapter->cpu);
	if (wh_cpus_count(&others) > 0 && wh_cpus_list(&others, cpus, sizeof(cpus)) &&
	    vectors_words(vectors, root, adapter->cpu, numbers, sizeof(numbers)))
		wh_finding_mend(findings, "for i in %s; do echo %s > /proc/irq/$i/smp_affinity_list; done", numbers,
				cpus);
}

/* Interrupts that all go to CPUs of another memory node than the adapter's. */
static bool is_far(const char *root, const struct wh_doctor_adapter *adapter, const struct vectors *vectors,
		   struct wh_cpus *local)
{
	if (adapter->node < 0 ||
	    !wh_doctor_read_cpus(local, root, "/sys/devices/system/node/node%d/cpulist", adapter->node))
		return false;
	for (int cpu = wh_cpus_next(&vectors->cpus, 0); cpu >= 0; cpu = wh_cpus_next(&vectors->cpus, cpu + 1))
		if (wh_cpus_have(local, cpu))
			return false;
	return true;
}

static void far_judge(struct wh_findings *findings, const char *root, const struct wh_doctor_adapter *adapter,
		      const struct vectors *vectors, const struct wh_cpus *local)
{
	char numbers[NUMBERS_BYTES], cpus[NUMBERS_BYTES], here[64], there[64];
	struct wh_cpus others = *local;
	wh_cpus_list(&vectors->cpus, here, sizeof(here));
	wh_cpus_list(local, there, sizeof(there));
	if (wh_cpus_count(local) > 1)
		wh_cpus_remove(&others, adapter->cpu);
	wh_finding_add(findings, WH_FINDING_NOTE, adapter->interface.name, "interrupts",
		       "they go to CPU %s, and the adapter hangs on memory node %d, whose CPUs are %s: every frame "
		       "crosses between the two",
		       here, adapter->node, there);
	if (wh_cpus_list(&others, cpus, sizeof(cpus)) &&
	    vectors_words(vectors, root, ALL_CPUS, numbers, sizeof(numbers)))
		wh_finding_mend(findings, "for i in %s; do echo %s > /proc/irq/$i/smp_affinity_list; done", numbers,
				cpus);
}

static void vectors_judge(struct wh_findings *findings, const char *root, const struct wh_doctor_adapter *adapter,
			  const struct wh_cpus *allowed)
{
	struct vectors vectors = { 0 };
	struct wh_cpus local;
	char cpus[64];
	vectors_read(&vectors, root, adapter->interface.name);
	if (vectors.fired_count == 0)
		return;
	bool queues = !adapter->hardware.queues_known || adapter->hardware.queues > 1;
	/* A control vector that hardly ever fires goes with one queue's, so that two are no crowd. */
	if (queues && vectors.fired_count > 2 && wh_cpus_count(&vectors.cpus) == 1 && wh_cpus_count(allowed) > 2)
		crowd_judge(findings, root, adapter, &vectors, allowed);
	else if (is_far(root, adapter, &vectors, &local))
		far_judge(findings, root, adapter, &vectors, &local);
	else if (wh_cpus_have(&vectors.cpus, adapter->cpu) && wh_cpus_count(allowed) > 1)
		shared_judge(findings, root, adapter, &vectors, allowed);
	else {
		wh_cpus_list(&vectors.cpus, cpus, sizeof(cpus));
		char capture[64] = "";
		if (adapter->cpu >= 0)
			snprintf(capture, sizeof(capture), "; a capture thread would run on CPU %d", adapter->cpu);
		wh_finding_add(findings, WH_FINDING_GOOD, adapter->interface.name, "interrupts", "they go to CPU %s%s",
			       cpus, capture);
	}
}

/* Frames that are passed on to other CPUs (Documentation/networking/scaling.rst, RPS). */
static void steering_judge(struct wh_findings *findings, const char *root, struct wh_doctor_adapter *adapter)
{
	struct wh_cpus all = { 0 };
	for (int queue = 0; queue < WH_DOCTOR_CPUS; queue++) {
		char line[WH_DOCTOR_LINE_BYTES];
		struct wh_cpus cpus;
		if (!wh_doctor_read_line(line, root, "/sys/class/net/%s/queues/rx-%d/rps_cpus", adapter->interface.name,
					 queue))
			break;
		if (wh_cpus_parse_mask(line, &cpus))
			for (size_t i = 0; i < sizeof(all.bits) / sizeof(all.bits[0]); i++)
				all.bits[i] |= cpus.bits[i];
	}
	adapter->steered = wh_cpus_count(&all) > 0;
	if (!adapter->steered)
		return;
	char words[64], mask[128];
	wh_cpus_list(&all, words, sizeof(words));
	if (!wh_cpus_have(&all, adapter->cpu)) {
		wh_finding_add(findings, WH_FINDING_GOOD, adapter->interface.name, "steering",
			       "frames are passed on to CPU %s (RPS), not to the capture thread's", words);
		return;
	}
	wh_finding_add(findings, WH_FINDING_NOTE, adapter->interface.name, "steering",
		       "frames are passed on to CPU %s (RPS), and a capture thread would run on CPU %d, too", words,
		       adapter->cpu);
	wh_cpus_remove(&all, adapter->cpu);
	if (adapter->word[0] != '\0' && wh_cpus_mask(&all, mask, sizeof(mask)))
		wh_finding_mend(findings, "for f in /sys/class/net/%s/queues/rx-*/rps_cpus; do echo %s > \"$f\"; done",
				adapter->word, mask);
}

void wh_doctor_interrupts(struct wh_findings *findings, const char *root, struct wh_doctor_adapter *adapter,
			  const struct wh_cpus *allowed)
{
	if (!adapter->in_sysfs) {
		wh_finding_add(findings, WH_FINDING_NOTE, adapter->interface.name, "interrupts",
			       "not looked at, nor what hardware it has: /sys does not tell of this adapter (it is not "
			       "mounted, or is another network namespace's)");
		return;
	}
	if (!adapter->software)
		vectors_judge(findings, root, adapter, allowed);
	steering_judge(findings, root, adapter);
}

void wh_doctor_irqbalance(struct wh_findings *findings, const char *root, const struct wh_cpus *allowed)
{
	char path[WH_DOCTOR_PATH_BYTES];
	bool found = false;
	DIR *processes = wh_doctor_path(path, root, "/proc") ? opendir(path) : NULL;
	if (processes == NULL || wh_cpus_count(allowed) < 2) {
		if (processes != NULL)
			closedir(processes);
		return;
	}
	const struct dirent *entry;
	for (int seen = 0; !found && seen < TASKS_MOST && (entry = readdir(processes)) != NULL; seen++) {
		char line[WH_DOCTOR_LINE_BYTES];
		found = isdigit((unsigned char)entry->d_name[0]) != 0 &&
			wh_doctor_read_line(line, root, "/proc/%s/comm", entry->d_name) &&
			strcmp(line, "irqbalance") == 0;
	}
	closedir(processes);
	if (!found)
		return;
	wh_finding_add(
	    findings, WH_FINDING_NOTE, "interrupts", "irqbalance",
	    "it runs, and may move an adapter's interrupts to the CPU of a capture thread at any time, or undo "
	    "what was set by hand; IRQBALANCE_BANNED_CPULIST in its settings keeps it from CPUs");
	wh_finding_mend(findings, "systemctl disable --now irqbalance");
}

void wh_doctor_softnet_read(const char *root, struct wh_doctor_softnet *softnet)
{
	char path[WH_DOCTOR_PATH_BYTES], line[512];
	*softnet = (struct wh_doctor_softnet){ 0 };
	FILE *file = wh_doctor_path(path, root, "/proc/net/softnet_stat") ? fopen(path, "re") : NULL;
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		uint32_t processed, dropped, squeezed;
		if (sscanf(line, "%" SCNx32 " %" SCNx32 " %" SCNx32, &processed, &dropped, &squeezed) != 3)
			continue;
		softnet->known = true;
		softnet->processed += processed;
		softnet->dropped += dropped;
		softnet->squeezed += squeezed;
	}
	if (file != NULL)
		fclose(file);
}

static void backlog_judge(struct wh_findings *findings, const char *root, uint64_t before, uint64_t now, bool backlog,
			  double seconds)
{
	int64_t most = 0;
	/* Only the machine's first network namespace has it. */
	bool known = wh_doctor_read_number(&most, root, "/proc/sys/net/core/netdev_max_backlog");
	struct wh_words many = { "too many" };
	if (known)
		many = wh_words_count((uint64_t)most);
	if (now > before)
		wh_finding_add(findings, backlog ? WH_FINDING_BAD : WH_FINDING_NOTE, "kernel", "backlog",
			       "%s frames were dropped in the %s that were watched, because a CPU had %s of them "
			       "waiting (net.core.netdev_max_backlog)%s",
			       wh_words_count(now - before).s, wh_words_duration(seconds).s, many.s,
			       backlog ? "" : "; those of the adapters looked at do not wait there");
	else if (now > 0 && backlog)
		wh_finding_add(
		    findings, WH_FINDING_NOTE, "kernel", "backlog",
		    "%s frames were dropped since the start of the machine, none just now, because a CPU had %s of "
		    "them waiting (net.core.netdev_max_backlog)",
		    wh_words_count(now).s, many.s);
	else
		return;
	int64_t wanted = most > BACKLOG_LEAST / 4 ? 4 * most : BACKLOG_LEAST;
	if (known && most < INT32_MAX / 4)
		wh_finding_mend(findings, "sysctl -w net.core.netdev_max_backlog=%" PRId64, wanted);
}

static void squeeze_judge(struct wh_findings *findings, const char *root, uint64_t squeezed, double seconds)
{
	int64_t budget = 0, usecs = 0;
	if (squeezed == 0)
		return;
	bool known = wh_doctor_read_number(&budget, root, "/proc/sys/net/core/netdev_budget") &&
		     wh_doctor_read_number(&usecs, root, "/proc/sys/net/core/netdev_budget_usecs");
	wh_finding_add(
	    findings, WH_FINDING_NOTE, "kernel", "budget",
	    "%s times in the %s that were watched, a CPU had to leave frames waiting because its turn was over "
	    "(net.core.netdev_budget)",
	    wh_words_count(squeezed).s, wh_words_duration(seconds).s);
	if (known && budget < INT32_MAX / 2 && usecs < INT32_MAX / 2)
		wh_finding_mend(findings,
				"sysctl -w net.core.netdev_budget=%" PRId64 " net.core.netdev_budget_usecs=%" PRId64,
				2 * budget > BUDGET_LEAST ? 2 * budget : BUDGET_LEAST,
				2 * usecs > BUDGET_USECS_LEAST ? 2 * usecs : BUDGET_USECS_LEAST);
}

void wh_doctor_softnet_judge(struct wh_findings *findings, const char *root, const struct wh_doctor_softnet *before,
			     bool backlog, double seconds)
{
	struct wh_doctor_softnet now;
	int64_t compiler;
	size_t count = findings->count;
	wh_doctor_softnet_read(root, &now);
	if (before->known && now.known) {
		backlog_judge(findings, root, before->dropped, now.dropped, backlog, seconds);
		/* The counters have 32 bits each, and come round. */
		squeeze_judge(findings, root, now.squeezed > before->squeezed ? now.squeezed - before->squeezed : 0,
			      seconds);
		if (findings->count == count)
			wh_finding_add(findings, WH_FINDING_GOOD, "kernel", "receiving",
				       "no CPU drops frames or leaves them waiting (softnet_stat)");
	}
	if (wh_doctor_read_number(&compiler, root, "/proc/sys/net/core/bpf_jit_enable") && compiler == 0) {
		wh_finding_add(findings, WH_FINDING_NOTE, "kernel", "filters",
			       "they are interpreted, not compiled, for every frame (net.core.bpf_jit_enable)");
		wh_finding_mend(findings, "sysctl -w net.core.bpf_jit_enable=1");
	}
}
