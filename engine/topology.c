/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/topology.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hwloc.h>

enum {
	CPU_WORDS = 16,
	CPU_LIMIT = 64 * CPU_WORDS,
	/* sched_getaffinity() fails where its buffer is smaller than the kernel's own mask; this holds the 8192 CPUs
	 * that the largest kernel configurations have (kernel/sched/syscalls.c, arch Kconfig NR_CPUS). */
	AFFINITY_SETS = 8192 / CPU_SETSIZE,
	PATH_BYTES = 320,
	LINE_BYTES = 4096
};

struct wh_topology {
	hwloc_topology_t machine;  /* NULL: there is nothing to choose, of CPUs or of memory */
	hwloc_bitmap_t allowed;    /* the CPUs to choose from; never empty */
	uint16_t taken[CPU_LIMIT]; /* capture threads given to each CPU so far */
};

/* How good a CPU is for the next thread; less is better in each field, and earlier fields weigh more. */
struct candidate {
	unsigned threads;      /* capture threads that it has */
	unsigned far;          /* 1: in another place than the adapter */
	unsigned core_threads; /* capture threads that its core has, on other hardware threads too */
	unsigned interrupts;   /* 1: it serves the adapter's interrupts */
	unsigned below;        /* CPUs with low numbers do the house-keeping */
};

/* Reads "12" at *TEXT and moves past it. False for anything that is no CPU number. */
static bool read_cpu(const char **text, unsigned *cpu)
{
	if (isdigit((unsigned char)**text) == 0)
		return false;
	for (*cpu = 0; isdigit((unsigned char)**text) != 0; (*text)++) {
		*cpu = *cpu * 10 + (unsigned)(**text - '0');
		if (*cpu >= CPU_LIMIT)
			return false;
	}
	return true;
}

/* Reads "2" or "2-5" at *TEXT, moves past it and sets its bits. */
static bool read_range(const char **text, uint64_t bits[CPU_WORDS])
{
	unsigned first;
	if (!read_cpu(text, &first))
		return false;
	unsigned last = first;
	if (**text == '-') {
		(*text)++;
		if (!read_cpu(text, &last) || last < first)
			return false;
	}
	for (unsigned cpu = first; cpu <= last; cpu++)
		bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
	return true;
}

enum wh_status wh_cpu_list_parse(const char *text, uint64_t bits[16], struct wh_error *error)
{
	memset(bits, 0, CPU_WORDS * sizeof(bits[0]));
	const char *at = text;
	while (read_range(&at, bits)) {
		if (*at == '\0')
			return WH_OK;
		if (*at != ',')
			break;
		at++;
	}
	memset(bits, 0, CPU_WORDS * sizeof(bits[0]));
	return wh_error_set(error, WH_ERR_INPUT,
			    "\"%.200s\" is not a list of CPUs; write numbers from 0 to %d and ranges, such as 0,2-3",
			    text, CPU_LIMIT - 1);
}

static void add_bits(hwloc_bitmap_t cpus, const uint64_t bits[CPU_WORDS])
{
	for (unsigned cpu = 0; cpu < CPU_LIMIT; cpu++) {
		if ((bits[cpu / 64] >> (cpu % 64) & 1) != 0)
			hwloc_bitmap_set(cpus, cpu);
	}
}

/* The CPUs that the calling thread may run on. Returns 0 or an errno. */
static int read_affinity(hwloc_bitmap_t cpus)
{
	cpu_set_t sets[AFFINITY_SETS];
	memset(sets, 0, sizeof(sets));
	if (sched_getaffinity(0, sizeof(sets), sets) != 0)
		return errno;
	for (unsigned cpu = 0; cpu < CPU_LIMIT; cpu++) {
		if (CPU_ISSET_S(cpu, sizeof(sets), sets))
			hwloc_bitmap_set(cpus, cpu);
	}
	return 0;
}

/* Cuts ALLOWED down to the CPUs of LIST, all of which must be in it. */
static enum wh_status restrict_to_list(hwloc_bitmap_t allowed, const char *list, struct wh_error *error)
{
	uint64_t bits[CPU_WORDS];
	enum wh_status status = wh_cpu_list_parse(list, bits, error);
	if (status != WH_OK)
		return status;
	hwloc_bitmap_t wanted = hwloc_bitmap_alloc();
	hwloc_bitmap_t missing = hwloc_bitmap_alloc();
	if (wanted == NULL || missing == NULL) {
		status = wh_error_set(error, WH_ERR_MEMORY, "no memory for the list of CPUs");
		goto cleanup;
	}
	add_bits(wanted, bits);
	hwloc_bitmap_andnot(missing, wanted, allowed);
	if (hwloc_bitmap_iszero(missing)) {
		hwloc_bitmap_copy(allowed, wanted);
		goto cleanup;
	}
	char choice[128];
	hwloc_bitmap_list_snprintf(choice, sizeof(choice), allowed);
	status =
	    wh_error_set(error, WH_ERR_INPUT,
			 "CPU %d of the list \"%.200s\" is not there or not allowed to this process; choose from %s",
			 hwloc_bitmap_first(missing), list, choice);
cleanup:
	hwloc_bitmap_free(missing);
	hwloc_bitmap_free(wanted);
	return status;
}

static enum wh_status choose_allowed(struct wh_topology *topology, const char *cpu_list, struct wh_error *error)
{
	topology->allowed = hwloc_bitmap_alloc();
	if (topology->allowed == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "no memory for the machine's topology");
	int os_error = read_affinity(topology->allowed);
	if (os_error != 0)
		return wh_error_system(error, os_error, "cannot ask which CPUs this process may run on");
	if (hwloc_bitmap_iszero(topology->allowed))
		return wh_error_set(error, WH_ERR_SYSTEM,
				    "this process may run on no CPU below %d; give it one with taskset or its cpuset",
				    CPU_LIMIT);
	return cpu_list == NULL ? WH_OK : restrict_to_list(topology->allowed, cpu_list, error);
}

/* DEVICES: with PCI and network devices too, which takes the reading of every PCI device's registers. */
static enum wh_status load_machine(hwloc_topology_t *machine, bool devices, struct wh_error *error)
{
	/* These look for GPUs, and wake drivers and even an X server for it. Where a component is not installed there
	 * is nothing to leave out, so that the result does not matter. */
	static const char *const unwanted[] = { "gl", "cuda", "nvml", "rsmi", "levelzero", "opencl" };
	if (hwloc_topology_init(machine) != 0) {
		*machine = NULL;
		return wh_error_set(error, WH_ERR_MEMORY, "no memory for the machine's topology");
	}
	for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++)
		(void)hwloc_topology_set_components(*machine, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, unwanted[i]);
	/* Without DONT_CHANGE_BINDING the x86 component moves this thread over all CPUs to read their cpuid. Flags that
	 * the environment asks for (HWLOC_THISSYSTEM) are added by hwloc itself. */
	const unsigned long flags = HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING | HWLOC_TOPOLOGY_FLAG_NO_DISTANCES |
				    HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS | HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS;
	const enum hwloc_type_filter_e kept = devices ? HWLOC_TYPE_FILTER_KEEP_IMPORTANT : HWLOC_TYPE_FILTER_KEEP_NONE;
	if (hwloc_topology_set_flags(*machine, flags) != 0 || hwloc_topology_set_io_types_filter(*machine, kept) != 0 ||
	    hwloc_topology_load(*machine) != 0)
		return wh_error_system(
		    error, errno,
		    "hwloc cannot read this machine's topology; check that lstopo works, or capture without "
		    "choosing CPUs");
	return WH_OK;
}

/* Whether an adapter can be nearer to one CPU than to another. */
static bool has_places(hwloc_topology_t machine)
{
	return hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_NUMANODE) > 1 ||
	       hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_PACKAGE) > 1;
}

static enum wh_status load_what_matters(hwloc_topology_t *machine, struct wh_error *error)
{
	enum wh_status status = load_machine(machine, false, error);
	if (status != WH_OK || !has_places(*machine))
		return status;
	hwloc_topology_destroy(*machine);
	return load_machine(machine, true, error);
}

/* The first line of a file of sysfs or procfs, without its newline. */
static bool read_line(const char *path, char line[LINE_BYTES])
{
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	bool read = fgets(line, LINE_BYTES, file) != NULL;
	fclose(file);
	if (read)
		line[strcspn(line, "\n")] = '\0';
	return read;
}

/* Where a single CPU is allowed and there is a single memory node, nothing is to be found out: reading the machine's
 * hundred files of sysfs would be for nothing. Not where hwloc is told of another machine (hwloc(7), environment). */
static bool leaves_no_choice(const struct wh_topology *topology)
{
	char nodes[LINE_BYTES];
	if (hwloc_bitmap_weight(topology->allowed) != 1 || getenv("HWLOC_XMLFILE") != NULL ||
	    getenv("HWLOC_SYNTHETIC") != NULL)
		return false;
	return read_line("/sys/devices/system/node/online", nodes) && strcmp(nodes, "0") == 0;
}

enum wh_status wh_topology_open(const char *cpu_list, struct wh_topology **topology, struct wh_error *error)
{
	*topology = NULL;
	struct wh_topology *opened = calloc(1, sizeof(*opened));
	if (opened == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "no memory for the machine's topology");
	enum wh_status status = choose_allowed(opened, cpu_list, error);
	if (status == WH_OK && !leaves_no_choice(opened))
		status = load_what_matters(&opened->machine, error);
	if (status != WH_OK) {
		wh_topology_close(opened);
		return status;
	}
	*topology = opened;
	return WH_OK;
}

void wh_topology_close(struct wh_topology *topology)
{
	if (topology == NULL)
		return;
	if (topology->machine != NULL)
		hwloc_topology_destroy(topology->machine);
	hwloc_bitmap_free(topology->allowed);
	free(topology);
}

/* "/sys/class/net/NAME/REST"; false for a name that would lead elsewhere. */
static bool adapter_path(char path[PATH_BYTES], const char *name, const char *rest)
{
	if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
		return false;
	int length = snprintf(path, PATH_BYTES, "/sys/class/net/%s/%s", name, rest);
	return length > 0 && length < PATH_BYTES;
}

static bool read_number(const char *path, long *number)
{
	char line[LINE_BYTES];
	if (!read_line(path, line))
		return false;
	char *end;
	errno = 0;
	*number = strtol(line, &end, 10);
	return end != line && *end == '\0' && errno == 0;
}

/* The node that the kernel tells for the adapter's device, or for the PCI device behind a virtio one. */
static hwloc_obj_t kernel_node(hwloc_topology_t machine, const char *name)
{
	static const char *const files[] = { "device/numa_node", "device/../numa_node" };
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[PATH_BYTES];
		long node;
		if (adapter_path(path, name, files[i]) && read_number(path, &node) && node >= 0 && node <= INT_MAX)
			return hwloc_get_numanode_obj_by_os_index(machine, (unsigned)node);
	}
	return NULL;
}

static hwloc_obj_t network_device(hwloc_topology_t machine, const char *name)
{
	hwloc_obj_t device = hwloc_get_next_osdev(machine, NULL);
	while (device != NULL) {
		if (device->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK && device->name != NULL &&
		    strcmp(device->name, name) == 0)
			return device;
		device = hwloc_get_next_osdev(machine, device);
	}
	return NULL;
}

/* The part of the machine that the adapter hangs on, or NULL where it is virtual. An adapter that was plugged in after
 * the topology was loaded, or that is not on PCI, is placed by what sysfs says. */
static hwloc_obj_t place_of(hwloc_topology_t machine, const char *name)
{
	hwloc_obj_t device = network_device(machine, name);
	return device != NULL ? hwloc_get_non_io_ancestor_obj(machine, device) : kernel_node(machine, name);
}

int wh_topology_node(const struct wh_topology *topology, const char *name)
{
	if (topology->machine == NULL || hwloc_get_nbobjs_by_type(topology->machine, HWLOC_OBJ_NUMANODE) < 2)
		return -1;
	hwloc_obj_t place = place_of(topology->machine, name);
	/* A place with several nodes (a package with two memory controllers, or with memory of its own kind) leaves the
	 * choice open; the kernel may know better. */
	if (place != NULL && hwloc_bitmap_weight(place->nodeset) != 1)
		place = kernel_node(topology->machine, name);
	return place != NULL ? hwloc_bitmap_first(place->nodeset) : -1;
}

/* Adds the CPUs that take INTERRUPT. The effective list says where the interrupt controller really sends it, the other
 * one where it may; not every controller has the first (Documentation/core-api/irq/irq-affinity.rst). */
static void add_interrupt(hwloc_bitmap_t cpus, unsigned long interrupt)
{
	static const char *const files[] = { "effective_affinity_list", "smp_affinity_list" };
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[PATH_BYTES];
		char line[LINE_BYTES];
		uint64_t bits[CPU_WORDS];
		snprintf(path, sizeof(path), "/proc/irq/%lu/%s", interrupt, files[i]);
		if (read_line(path, line) && wh_cpu_list_parse(line, bits, NULL) == WH_OK) {
			add_bits(cpus, bits);
			return;
		}
	}
}

/* Adds the interrupts that sysfs lists at DIRECTORY, a device: its MSI vectors, else its line. False: it has none. */
static bool add_device_interrupts(hwloc_bitmap_t cpus, const char *name, const char *directory)
{
	char rest[64];
	char path[PATH_BYTES];
	bool found = false;
	snprintf(rest, sizeof(rest), "%s/msi_irqs", directory);
	DIR *vectors = adapter_path(path, name, rest) ? opendir(path) : NULL;
	if (vectors != NULL) {
		const struct dirent *entry;
		while ((entry = readdir(vectors)) != NULL) {
			if (isdigit((unsigned char)entry->d_name[0]) == 0)
				continue;
			add_interrupt(cpus, strtoul(entry->d_name, NULL, 10));
			found = true;
		}
		closedir(vectors);
	}
	long line;
	snprintf(rest, sizeof(rest), "%s/irq", directory);
	if (!found && adapter_path(path, name, rest) && read_number(path, &line) && line > 0) {
		add_interrupt(cpus, (unsigned long)line);
		found = true;
	}
	return found;
}

/* Whether WORD stands in TEXT by itself, so that eth1 is not seen in eth10-rx-0. */
static bool has_word(const char *text, const char *word)
{
	size_t length = strlen(word);
	if (length == 0)
		return false;
	for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word)) {
		bool begins = at == text || isalnum((unsigned char)at[-1]) == 0;
		if (begins && isalnum((unsigned char)at[length]) == 0)
			return true;
	}
	return false;
}

/* Adds the interrupts whose line in /proc/interrupts has NAME ("eth0-TxRx-3") or DEVICE ("virtio2-input.0",
 * "mlx5_comp0@pci:0000:03:00.0"). The counters before the words are skipped. */
static void add_named_interrupts(hwloc_bitmap_t cpus, const char *name, const char *device)
{
	FILE *file = fopen("/proc/interrupts", "re");
	if (file == NULL)
		return;
	char *line = NULL;
	size_t room = 0;
	while (getline(&line, &room, file) > 0) {
		char *end;
		unsigned long interrupt = strtoul(line, &end, 10);
		if (end == line || *end != ':')
			continue;
		const char *words = end + strspn(end, ": \t0123456789");
		if (has_word(words, name) || has_word(words, device))
			add_interrupt(cpus, interrupt);
	}
	free(line);
	fclose(file);
}

/* The CPUs that take interrupts of adapter NAME; none for an adapter without a device. */
static void add_adapter_interrupts(hwloc_bitmap_t cpus, const char *name)
{
	char path[PATH_BYTES];
	char target[PATH_BYTES];
	if (!adapter_path(path, name, "device"))
		return;
	ssize_t length = readlink(path, target, sizeof(target) - 1);
	if (length <= 0)
		return;
	target[length] = '\0';
	const char *slash = strrchr(target, '/');
	/* The vectors of a virtio adapter belong to the PCI device above it. Elsewhere the parent is a bridge, whose
	 * own interrupts do not matter, so that it is asked last. */
	if (!add_device_interrupts(cpus, name, "device"))
		(void)add_device_interrupts(cpus, name, "device/..");
	add_named_interrupts(cpus, name, slash != NULL ? slash + 1 : target);
}

static unsigned threads_on_core(const struct wh_topology *topology, unsigned cpu)
{
	hwloc_obj_t unit = hwloc_get_pu_obj_by_os_index(topology->machine, cpu);
	hwloc_obj_t core =
	    unit != NULL ? hwloc_get_ancestor_obj_by_type(topology->machine, HWLOC_OBJ_CORE, unit) : NULL;
	if (core == NULL)
		return topology->taken[cpu];
	unsigned threads = 0;
	for (int i = hwloc_bitmap_first(core->cpuset); i >= 0 && i < CPU_LIMIT; i = hwloc_bitmap_next(core->cpuset, i))
		threads += topology->taken[i];
	return threads;
}

static bool is_better(const struct candidate *a, const struct candidate *b)
{
	if (a->threads != b->threads)
		return a->threads < b->threads;
	if (a->far != b->far)
		return a->far < b->far;
	if (a->core_threads != b->core_threads)
		return a->core_threads < b->core_threads;
	if (a->interrupts != b->interrupts)
		return a->interrupts < b->interrupts;
	return a->below < b->below;
}

int wh_topology_take_cpu(struct wh_topology *topology, const char *name)
{
	if (topology->machine == NULL) {
		int only = hwloc_bitmap_first(topology->allowed);
		if (topology->taken[only] < UINT16_MAX)
			topology->taken[only]++;
		return only;
	}
	hwloc_obj_t place = place_of(topology->machine, name);
	/* Without memory for the set the choice is only a little worse: no CPU seems to serve the interrupts. */
	hwloc_bitmap_t interrupts = hwloc_bitmap_alloc();
	if (interrupts != NULL)
		add_adapter_interrupts(interrupts, name);
	int chosen = -1;
	struct candidate best = { 0 };
	for (int i = hwloc_bitmap_first(topology->allowed); i >= 0; i = hwloc_bitmap_next(topology->allowed, i)) {
		unsigned cpu = (unsigned)i;
		struct candidate candidate = {
			.threads = topology->taken[cpu],
			.far = place != NULL && !hwloc_bitmap_isset(place->cpuset, cpu),
			.core_threads = threads_on_core(topology, cpu),
			.interrupts = interrupts != NULL && hwloc_bitmap_isset(interrupts, cpu),
			.below = CPU_LIMIT - cpu,
		};
		if (chosen < 0 || is_better(&candidate, &best)) {
			chosen = i;
			best = candidate;
		}
	}
	hwloc_bitmap_free(interrupts);
	if (chosen >= 0 && topology->taken[chosen] < UINT16_MAX)
		topology->taken[chosen]++;
	return chosen;
}

void wh_topology_return_cpu(struct wh_topology *topology, int cpu)
{
	if (cpu >= 0 && cpu < CPU_LIMIT && topology->taken[cpu] > 0)
		topology->taken[cpu]--;
}

enum wh_status wh_topology_pin(const struct wh_topology *topology, int cpu, struct wh_error *error)
{
	if (cpu < 0 || cpu >= CPU_LIMIT)
		return wh_error_set(error, WH_ERR_INPUT, "there is no CPU %d to pin a capture thread to", cpu);
	if (topology->machine == NULL)
		return WH_OK; /* the process has no other */
	hwloc_bitmap_t only = hwloc_bitmap_alloc();
	if (only == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "no memory to pin a capture thread");
	hwloc_bitmap_only(only, (unsigned)cpu);
	int result = hwloc_set_cpubind(topology->machine, only, HWLOC_CPUBIND_THREAD);
	int os_error = errno;
	hwloc_bitmap_free(only);
	if (result == 0)
		return WH_OK;
	return wh_error_system(
	    error, os_error, "cannot pin a capture thread to CPU %d; choose other CPUs, or none, for the capture", cpu);
}

void wh_topology_bind_memory(const struct wh_topology *topology, int node)
{
	/* BIND without STRICT is the kernel's MPOL_PREFERRED: other nodes serve where this one is full. THREAD, because
	 * other threads of the program keep their own policy. Failure leaves the default, which works, only slower. */
	const int flags = HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET;
	if (topology->machine == NULL)
		return;
	hwloc_obj_t object = node >= 0 ? hwloc_get_numanode_obj_by_os_index(topology->machine, (unsigned)node) : NULL;
	if (object != NULL)
		(void)hwloc_set_membind(topology->machine, object->nodeset, HWLOC_MEMBIND_BIND, flags);
	else
		(void)hwloc_set_membind(topology->machine, hwloc_topology_get_topology_nodeset(topology->machine),
					HWLOC_MEMBIND_DEFAULT, flags);
}
