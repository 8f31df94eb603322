/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/doctor/state.h"

enum { IDLE_STATES = 10, WAITING_PERCENT = 10, NEAR = 10 };
#define IDLE_SECONDS_MOST 100e-6
#define STOLEN_MOST       0.01

struct frequency {
	int slow,
	    changing; /* CPUs that stay at their lowest frequency, and those that have to be woken up to a higher one */
	int known;
	char governor[64]; /* of one of these, the slow before the others */
};

static void frequency_take(struct frequency *frequency, const char *root, int cpu)
{
	static const char base[] = "/sys/devices/system/cpu/cpu%d/cpufreq/%s";
	char governor[WH_DOCTOR_LINE_BYTES], driver[WH_DOCTOR_LINE_BYTES];
	if (!wh_doctor_read_line(governor, root, base, cpu, "scaling_governor"))
		return;
	frequency->known++;
	if (strcmp(governor, "performance") == 0)
		return;
	/* There "powersave" is a word for the processor's own choice, elsewhere for the lowest frequency for good
	 * (Documentation/admin-guide/pm/intel_pstate.rst, amd-pstate.rst, cpufreq.rst). */
	bool chooses = wh_doctor_read_line(driver, root, base, cpu, "scaling_driver") &&
		       (strcmp(driver, "intel_pstate") == 0 || strcmp(driver, "amd-pstate-epp") == 0);
	bool slow = strcmp(governor, "powersave") == 0 && !chooses;
	if (slow ? frequency->slow++ == 0 : frequency->slow == 0 && frequency->changing++ == 0)
		snprintf(frequency->governor, sizeof(frequency->governor), "%.60s", governor);
}

static void frequency_judge(struct wh_findings *findings, const char *root, const struct wh_cpus *allowed)
{
	struct frequency frequency = { 0 };
	for (int cpu = wh_cpus_next(allowed, 0); cpu >= 0; cpu = wh_cpus_next(allowed, cpu + 1))
		frequency_take(&frequency, root, cpu);
	if (frequency.known == 0)
		return;
	if (frequency.slow > 0)
		wh_finding_add(findings, WH_FINDING_BAD, "processors", "frequency",
			       "%d of %d CPUs stay at their lowest frequency (governor %s)", frequency.slow,
			       frequency.known, frequency.governor);
	else if (frequency.changing > 0)
		wh_finding_add(findings, WH_FINDING_NOTE, "processors", "frequency",
			       "it follows the load (governor %s): a burst that comes into silence finds slow CPUs for "
			       "some milliseconds",
			       frequency.governor);
	else {
		wh_finding_add(findings, WH_FINDING_GOOD, "processors", "frequency",
			       "governor performance on all %d CPUs", frequency.known);
		return;
	}
	wh_finding_mend(findings, "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor");
}

/* The states that are in use and take longer than IDLE_SECONDS_MOST to leave: their digits, and the longest time. */
static double idle_deepest(const char *root, const struct wh_cpus *allowed, char digits[IDLE_STATES + 1], bool *known)
{
	static const char base[] = "/sys/devices/system/cpu/cpu%d/cpuidle/state%d/%s";
	bool deep[IDLE_STATES] = { false };
	double deepest = 0;
	*known = false;
	for (int cpu = wh_cpus_next(allowed, 0); cpu >= 0; cpu = wh_cpus_next(allowed, cpu + 1)) {
		for (int state = 0; state < IDLE_STATES; state++) {
			int64_t usecs, disabled;
			if (!wh_doctor_read_number(&usecs, root, base, cpu, state, "latency"))
				break;
			*known = true;
			if (wh_doctor_read_number(&disabled, root, base, cpu, state, "disable") && disabled != 0)
				continue;
			double seconds = (double)usecs / 1e6;
			deep[state] |= seconds > IDLE_SECONDS_MOST;
			deepest = seconds > deepest ? seconds : deepest;
		}
	}
	size_t count = 0;
	for (int state = 0; state < IDLE_STATES; state++)
		if (deep[state])
			digits[count++] = (char)('0' + state);
	digits[count] = '\0';
	return deepest;
}

static void idle_judge(struct wh_findings *findings, const char *root, const struct wh_cpus *allowed,
		       double ring_seconds)
{
	char digits[IDLE_STATES + 1];
	bool known;
	double deepest = idle_deepest(root, allowed, digits, &known);
	if (!known)
		return;
	if (digits[0] == '\0') {
		wh_finding_add(findings, WH_FINDING_GOOD, "processors", "idle states", "a CPU wakes in %s at most",
			       wh_words_duration(deepest).s);
		return;
	}
	bool late = ring_seconds > 0 && deepest > ring_seconds;
	if (late)
		wh_finding_add(findings, WH_FINDING_BAD, "processors", "idle states",
			       "a CPU that sleeps takes up to %s to wake, and an adapter's own ring holds %s of the "
			       "smallest frames at full speed: such a burst into silence overflows it",
			       wh_words_duration(deepest).s, wh_words_duration(ring_seconds).s);
	else
		wh_finding_add(findings, WH_FINDING_NOTE, "processors", "idle states",
			       "a CPU that sleeps takes up to %s to wake, while the adapter's own ring fills",
			       wh_words_duration(deepest).s);
	wh_finding_mend(findings, "echo 1 | tee /sys/devices/system/cpu/cpu*/cpuidle/state[%s]/disable", digits);
}

/* "some avg10=1.23 ..." (Documentation/accounting/psi.rst): the share of time that somebody waited in. */
static bool pressure_read(const char *root, const char *what, double *percent)
{
	char line[WH_DOCTOR_LINE_BYTES];
	static const char before[] = "some avg10=";
	if (!wh_doctor_read_line(line, root, "/proc/pressure/%s", what) ||
	    strncmp(line, before, sizeof(before) - 1) != 0)
		return false;
	char *end;
	*percent = strtod(line + sizeof(before) - 1, &end);
	return *end == ' ' && *percent >= 0 && *percent <= 100;
}

static void pressure_judge(struct wh_findings *findings, const char *root)
{
	double percent;
	if (pressure_read(root, "cpu", &percent) && percent >= WAITING_PERCENT)
		wh_finding_add(findings, WH_FINDING_NOTE, "processors", "load",
			       "in %.0f %% of the last ten seconds some program waited for a CPU: a capture would, too",
			       percent);
	if (pressure_read(root, "io", &percent) && percent >= WAITING_PERCENT)
		wh_finding_add(findings, WH_FINDING_NOTE, "disk", "load",
			       "in %.0f %% of the last ten seconds some program waited for a disk: a capture shares it",
			       percent);
}

/* What the host of a virtual machine gave to others (proc(5), /proc/stat, steal). */
static void stolen_judge(struct wh_findings *findings, const char *root)
{
	char line[WH_DOCTOR_LINE_BYTES];
	if (!wh_doctor_read_line(line, root, "/proc/stat") || strncmp(line, "cpu ", 4) != 0)
		return;
	uint64_t values[8] = { 0 }, sum = 0;
	char *at = line + 4;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		char *end;
		values[i] = strtoull(at, &end, 10);
		if (end == at)
			return;
		sum += values[i];
		at = end;
	}
	double stolen = sum > 0 ? (double)values[7] / (double)sum : 0;
	if (stolen > STOLEN_MOST)
		wh_finding_add(findings, WH_FINDING_NOTE, "processors", "stolen time",
			       "the host gave %.1f %% of this machine's time to others since its start: for as long, "
			       "nothing takes frames from an adapter",
			       stolen * 100);
}

static void count_judge(struct wh_findings *findings, const struct wh_cpus *allowed, uint64_t threads)
{
	int cpus = wh_cpus_count(allowed);
	if (threads > (uint64_t)cpus)
		wh_finding_add(findings, WH_FINDING_NOTE, "processors", "number",
			       "%s busy threads of a capture share %d CPUs", wh_words_count(threads).s, cpus);
	else
		wh_finding_add(findings, WH_FINDING_GOOD, "processors", "number",
			       "%d CPUs for %s busy threads of a capture", cpus, wh_words_count(threads).s);
}

void wh_doctor_processors(struct wh_findings *findings, const char *root, const struct wh_cpus *allowed,
			  uint64_t threads, double ring_seconds)
{
	count_judge(findings, allowed, threads);
	frequency_judge(findings, root, allowed);
	idle_judge(findings, root, allowed, ring_seconds);
	pressure_judge(findings, root);
	stolen_judge(findings, root);
}

static int node_of(const char *root, const struct wh_cpus *nodes, int cpu)
{
	for (int node = wh_cpus_next(nodes, 0); node >= 0; node = wh_cpus_next(nodes, node + 1)) {
		struct wh_cpus cpus;
		if (wh_doctor_read_cpus(&cpus, root, "/sys/devices/system/node/node%d/cpulist", node) &&
		    wh_cpus_have(&cpus, cpu))
			return node;
	}
	return -1;
}

/* The distances that a node's file tells are in the order of the nodes that are online. */
static int64_t distance_between(const char *root, const struct wh_cpus *nodes, int from, int to)
{
	char line[WH_DOCTOR_LINE_BYTES];
	if (!wh_doctor_read_line(line, root, "/sys/devices/system/node/node%d/distance", from))
		return -1;
	char *at = line;
	for (int node = wh_cpus_next(nodes, 0); node >= 0; node = wh_cpus_next(nodes, node + 1)) {
		char *end;
		long distance = strtol(at, &end, 10);
		if (end == at)
			return -1;
		if (node == to)
			return distance;
		at = end;
	}
	return -1;
}

void wh_doctor_numa(struct wh_findings *findings, const char *root, const struct wh_doctor_adapter *adapter)
{
	struct wh_cpus nodes, local;
	if (adapter->node < 0 || adapter->cpu < 0 ||
	    !wh_doctor_read_cpus(&nodes, root, "/sys/devices/system/node/online"))
		return;
	int node = node_of(root, &nodes, adapter->cpu);
	if (node < 0)
		return;
	if (node == adapter->node) {
		wh_finding_add(findings, WH_FINDING_GOOD, adapter->interface.name, "memory node",
			       "it hangs on node %d, and CPU %d of a capture thread as well", node, adapter->cpu);
		return;
	}
	char far[64] = "";
	int64_t distance = distance_between(root, &nodes, adapter->node, node);
	if (distance > NEAR)
		snprintf(far, sizeof(far), " (distance %" PRId64 ", where %d is near)", distance, NEAR);
	wh_finding_add(
	    findings, WH_FINDING_NOTE, adapter->interface.name, "memory node",
	    "it hangs on node %d, and a capture thread would run on CPU %d of node %d%s: every frame crosses "
	    "between the two; let the capture run on the CPUs of node %d",
	    adapter->node, adapter->cpu, node, far, adapter->node);
	char cpus[300];
	if (!wh_doctor_read_cpus(&local, root, "/sys/devices/system/node/node%d/cpulist", adapter->node) ||
	    wh_cpus_next(&local, 0) < 0 || !wh_cpus_list(&local, cpus, sizeof(cpus)))
		return;
	/* The shell passes its CPUs on to what is started from it. */
	wh_finding_mend(findings, "taskset -cp %s $$", cpus);
}
