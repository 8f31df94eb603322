/* SPDX-License-Identifier: BSD-3-Clause */
/* Placement of threads on the machine at hand, and on a described one with two memory nodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/topology.h"

enum { MPOL_DEFAULT_MODE = 0, MPOL_PREFERRED_MODE = 1, MPOL_PREFERRED_MANY_MODE = 5 }; /* linux/mempolicy.h */

/* Two packages with a CPU, a memory node and an adapter each, as hwloc writes it down: "whnear0" hangs on the first,
 * "whfar0" on the second. Real CPUs have these numbers too, so that threads can be placed by it. */
static const char two_nodes[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
    "<topology version=\"2.0\">\n"
    "<object type=\"Machine\" os_index=\"0\" cpuset=\"0x3\" complete_cpuset=\"0x3\" allowed_cpuset=\"0x3\" "
    "nodeset=\"0x3\" complete_nodeset=\"0x3\" allowed_nodeset=\"0x3\" gp_index=\"1\">\n"
    "<object type=\"Package\" os_index=\"0\" cpuset=\"0x1\" complete_cpuset=\"0x1\" nodeset=\"0x1\" "
    "complete_nodeset=\"0x1\" gp_index=\"2\">\n"
    "<object type=\"NUMANode\" os_index=\"0\" cpuset=\"0x1\" complete_cpuset=\"0x1\" nodeset=\"0x1\" "
    "complete_nodeset=\"0x1\" gp_index=\"3\"/>\n"
    "<object type=\"PU\" os_index=\"0\" cpuset=\"0x1\" complete_cpuset=\"0x1\" nodeset=\"0x1\" "
    "complete_nodeset=\"0x1\" gp_index=\"4\"/>\n"
    "<object type=\"Bridge\" gp_index=\"5\" bridge_type=\"0-1\" depth=\"0\" bridge_pci=\"0000:[00-00]\">\n"
    "<object type=\"PCIDev\" gp_index=\"6\" pci_busid=\"0000:00:03.0\" pci_type=\"0200 [1af4:1041] "
    "[1af4:1041] 01\" pci_link_speed=\"0.0\">\n"
    "<object type=\"OSDev\" gp_index=\"7\" name=\"whnear0\" osdev_type=\"2\"/>\n"
    "</object>\n"
    "</object>\n"
    "</object>\n"
    "<object type=\"Package\" os_index=\"1\" cpuset=\"0x2\" complete_cpuset=\"0x2\" nodeset=\"0x2\" "
    "complete_nodeset=\"0x2\" gp_index=\"10\">\n"
    "<object type=\"NUMANode\" os_index=\"1\" cpuset=\"0x2\" complete_cpuset=\"0x2\" nodeset=\"0x2\" "
    "complete_nodeset=\"0x2\" gp_index=\"11\"/>\n"
    "<object type=\"PU\" os_index=\"1\" cpuset=\"0x2\" complete_cpuset=\"0x2\" nodeset=\"0x2\" "
    "complete_nodeset=\"0x2\" gp_index=\"12\"/>\n"
    "<object type=\"Bridge\" gp_index=\"13\" bridge_type=\"0-1\" depth=\"0\" bridge_pci=\"0001:[00-00]\">\n"
    "<object type=\"PCIDev\" gp_index=\"14\" pci_busid=\"0001:00:03.0\" pci_type=\"0200 [1af4:1041] "
    "[1af4:1041] 01\" pci_link_speed=\"0.0\">\n"
    "<object type=\"OSDev\" gp_index=\"15\" name=\"whfar0\" osdev_type=\"2\"/>\n"
    "</object>\n"
    "</object>\n"
    "</object>\n"
    "</object>\n"
    "</topology>\n";

static cpu_set_t own_cpus;

/* Each test begins and ends with the affinity that the program was started with. */
static int restore_affinity(void **state)
{
	(void)state;
	unsetenv("HWLOC_XMLFILE");
	return sched_setaffinity(0, sizeof(own_cpus), &own_cpus);
}

static void write_number(char *text, size_t bytes, int number)
{
	snprintf(text, bytes, "%d", number);
}

static int first_own_cpu(void)
{
	int cpu = 0;
	while (cpu < CPU_SETSIZE && !CPU_ISSET((size_t)cpu, &own_cpus))
		cpu++;
	return cpu;
}

static int last_own_cpu(void)
{
	int cpu = CPU_SETSIZE - 1;
	while (cpu > 0 && !CPU_ISSET((size_t)cpu, &own_cpus))
		cpu--;
	return cpu;
}

static struct wh_topology *open_topology(const char *cpu_list)
{
	struct wh_topology *topology = NULL;
	struct wh_error error = { 0 };
	enum wh_status status = wh_topology_open(cpu_list, &topology, &error);
	if (status != WH_OK)
		print_message("%s\n", error.text);
	assert_int_equal(status, WH_OK);
	assert_non_null(topology);
	return topology;
}

static void good_cpu_lists_are_read(void **state)
{
	(void)state;
	uint64_t bits[16];
	struct wh_error error = { 0 };
	assert_int_equal(wh_cpu_list_parse("0", bits, &error), WH_OK);
	assert_int_equal(bits[0], 1);
	assert_int_equal(wh_cpu_list_parse("0,2-3", bits, &error), WH_OK);
	assert_int_equal(bits[0], 0xd);
	assert_int_equal(wh_cpu_list_parse("63-64,1023,5-5,5", bits, &error), WH_OK);
	assert_true(bits[0] == (UINT64_C(1) << 63 | 1 << 5));
	assert_int_equal(bits[1], 1);
	assert_true(bits[15] == UINT64_C(1) << 63);
	assert_int_equal(wh_cpu_list_parse("0-1023", bits, &error), WH_OK);
	for (size_t i = 0; i < 16; i++)
		assert_true(bits[i] == UINT64_MAX);
}

static void bad_cpu_lists_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = { "",
					   ",",
					   "0,",
					   ",0",
					   "0,,1",
					   "-1",
					   "1-",
					   "3-1",
					   "a",
					   "0x1",
					   "1 ",
					   " 1",
					   "1;2",
					   "1-2-3",
					   "+1",
					   "1024",
					   "0-1024",
					   "4294967296",
					   "18446744073709551616",
					   "all",
					   "1\n" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t bits[16];
		struct wh_error error = { 0 };
		assert_int_equal(wh_cpu_list_parse(bad[i], bits, &error), WH_ERR_INPUT);
		assert_int_equal(error.status, WH_ERR_INPUT);
		assert_non_null(strstr(error.text, "0,2-3"));
		for (size_t word = 0; word < 16; word++)
			assert_true(bits[word] == 0);
	}
	uint64_t bits[16];
	assert_int_equal(wh_cpu_list_parse("x", bits, NULL), WH_ERR_INPUT);
}

static void threads_are_spread_over_all_cpus(void **state)
{
	(void)state;
	struct wh_topology *topology = open_topology(NULL);
	int count = CPU_COUNT(&own_cpus);
	unsigned given[CPU_SETSIZE] = { 0 };
	for (int i = 0; i < 2 * count; i++) {
		int cpu = wh_topology_take_cpu(topology, "lo");
		assert_in_range(cpu, 0, CPU_SETSIZE - 1);
		assert_true(CPU_ISSET((size_t)cpu, &own_cpus));
		given[cpu]++;
		/* No CPU gets a second thread before each has one. */
		assert_in_range(given[cpu], 1, i < count ? 1 : 2);
	}
	wh_topology_close(topology);
}

static void the_highest_free_cpu_comes_first(void **state)
{
	(void)state;
	struct wh_topology *topology = open_topology(NULL);
	assert_int_equal(wh_topology_take_cpu(topology, "lo"), last_own_cpu());
	wh_topology_return_cpu(topology, last_own_cpu());
	assert_int_equal(wh_topology_take_cpu(topology, "no such adapter"), last_own_cpu());
	wh_topology_close(topology);
}

static void a_returned_cpu_is_given_again(void **state)
{
	(void)state;
	if (CPU_COUNT(&own_cpus) < 2) {
		print_message("skipped: there is one CPU only\n");
		skip();
	}
	struct wh_topology *topology = open_topology(NULL);
	int first = wh_topology_take_cpu(topology, "lo");
	assert_int_not_equal(wh_topology_take_cpu(topology, "lo"), first);
	wh_topology_return_cpu(topology, first);
	wh_topology_return_cpu(topology, -1);
	wh_topology_return_cpu(topology, 1 << 20);
	assert_int_equal(wh_topology_take_cpu(topology, "lo"), first);
	wh_topology_close(topology);
}

static void affinity_and_list_restrict_the_choice(void **state)
{
	(void)state;
	struct wh_error error = { 0 };
	struct wh_topology *topology;
	char list[16];
	write_number(list, sizeof(list), first_own_cpu());
	topology = open_topology(list);
	for (int i = 0; i < 3; i++)
		assert_int_equal(wh_topology_take_cpu(topology, "lo"), first_own_cpu());
	wh_topology_close(topology);

	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET((size_t)last_own_cpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	topology = open_topology(NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(wh_topology_take_cpu(topology, "lo"), last_own_cpu());
	wh_topology_close(topology);

	if (first_own_cpu() != last_own_cpu()) {
		topology = (struct wh_topology *)&one;
		assert_int_equal(wh_topology_open(list, &topology, &error), WH_ERR_INPUT);
		assert_null(topology);
		assert_non_null(strstr(error.text, "not allowed"));
	}
	assert_int_equal(wh_topology_open("1023", &topology, &error), WH_ERR_INPUT);
	assert_non_null(strstr(error.text, "CPU 1023"));
	assert_int_equal(wh_topology_open("none", &topology, &error), WH_ERR_INPUT);
	assert_null(topology);
}

static void opening_leaves_the_affinity_alone(void **state)
{
	(void)state;
	wh_topology_close(open_topology(NULL));
	cpu_set_t now;
	assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
	assert_true(CPU_EQUAL(&now, &own_cpus));
	wh_topology_close(NULL);
}

static void a_pinned_thread_runs_on_its_cpu(void **state)
{
	(void)state;
	struct wh_topology *topology = open_topology(NULL);
	struct wh_error error = { 0 };
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET((size_t)cpu, &own_cpus))
			continue;
		assert_int_equal(wh_topology_pin(topology, cpu, &error), WH_OK);
		assert_int_equal(sched_getcpu(), cpu);
		cpu_set_t now;
		assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
		assert_int_equal(CPU_COUNT(&now), 1);
	}
	assert_int_not_equal(wh_topology_pin(topology, 1023, &error), WH_OK);
	assert_non_null(strstr(error.text, "CPU 1023"));
	assert_int_equal(wh_topology_pin(topology, -1, &error), WH_ERR_INPUT);
	wh_topology_close(topology);
}

/* The place in sysfs of an adapter's MSI vectors, its own or those of the PCI device under it. */
static bool find_vectors(char *name, size_t name_bytes, char *place, size_t place_bytes)
{
	DIR *adapters = opendir("/sys/class/net");
	bool found = false;
	const struct dirent *entry;
	while (adapters != NULL && !found && (entry = readdir(adapters)) != NULL) {
		static const char *const places[] = { "device/msi_irqs", "device/../msi_irqs" };
		for (size_t i = 0; i < 2 && !found && entry->d_name[0] != '.'; i++) {
			snprintf(place, place_bytes, "/sys/class/net/%s/%s", entry->d_name, places[i]);
			snprintf(name, name_bytes, "%s", entry->d_name);
			found = access(place, F_OK) == 0;
		}
	}
	if (adapters != NULL)
		closedir(adapters);
	return found;
}

static void a_real_adapter_gets_a_cpu(void **state)
{
	(void)state;
	char name[256];
	char place[512];
	if (!find_vectors(name, sizeof(name), place, sizeof(place))) {
		print_message("skipped: no adapter here has interrupt vectors\n");
		skip();
	}
	struct wh_topology *topology = open_topology(NULL);
	int cpu = wh_topology_take_cpu(topology, name);
	assert_true(cpu >= 0 && CPU_ISSET((size_t)cpu, &own_cpus));
	wh_topology_close(topology);
}

/* Lays a file with TEXT over PATH, in this program's mount namespace only. */
static bool lay_over(const char *path, const char *text)
{
	char own[] = "/tmp/wh-topology-XXXXXX";
	int fd = mkstemp(own);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	bool laid = mount(own, path, NULL, MS_BIND, NULL) == 0;
	unlink(own);
	return laid;
}

/* Makes it seem that all vectors at PLACE go to CPU. Returns one of them. */
static unsigned long route_vectors(const char *place, int cpu)
{
	char text[16];
	unsigned long vector = 0;
	snprintf(text, sizeof(text), "%d\n", cpu);
	DIR *vectors = opendir(place);
	assert_non_null(vectors);
	const struct dirent *entry;
	while ((entry = readdir(vectors)) != NULL) {
		char path[512];
		snprintf(path, sizeof(path), "/proc/irq/%s/effective_affinity_list", entry->d_name);
		if (entry->d_name[0] == '.')
			continue;
		assert_true(lay_over(path, text));
		vector = strtoul(entry->d_name, NULL, 10);
	}
	closedir(vectors);
	return vector;
}

static int cpu_for(struct wh_topology *topology, const char *name)
{
	int cpu = wh_topology_take_cpu(topology, name);
	wh_topology_return_cpu(topology, cpu);
	return cpu;
}

/* Real interrupts, for which files laid over /proc say that they go to the CPU that would be chosen without them. */
static void a_cpu_that_serves_interrupts_is_avoided(void **state)
{
	(void)state;
	char name[256];
	char place[512];
	if (CPU_COUNT(&own_cpus) < 2 || !find_vectors(name, sizeof(name), place, sizeof(place))) {
		print_message("skipped: this needs two CPUs and an adapter with interrupt vectors\n");
		skip();
	}
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
		print_message("skipped: no mount namespace of its own: %s\n", strerror(errno));
		skip();
	}
	char two[32];
	snprintf(two, sizeof(two), "%d,%d", first_own_cpu(), last_own_cpu());
	struct wh_topology *topology = open_topology(two);
	unsigned long vector = route_vectors(place, last_own_cpu());
	assert_int_equal(wh_topology_take_cpu(topology, name), first_own_cpu());
	/* The other one has no thread yet, and that weighs more. */
	assert_int_equal(wh_topology_take_cpu(topology, name), last_own_cpu());
	wh_topology_return_cpu(topology, first_own_cpu());
	wh_topology_return_cpu(topology, last_own_cpu());
	assert_int_equal(cpu_for(topology, "lo"), last_own_cpu());

	/* Now without vectors in sysfs, so that only the name in /proc/interrupts tells. A longer name that begins with
	 * ours, and a counter, are not it. */
	char path[600];
	char lines[1024];
	assert_int_equal(mount("none", place, "tmpfs", 0, NULL), 0);
	snprintf(path, sizeof(path), "%s/../irq", place);
	assert_true(access(path, F_OK) != 0 || lay_over(path, "0\n"));
	snprintf(lines, sizeof(lines), "      CPU0  CPU1\n %lu:  5  6  PCI-MSI 0-edge  %s0-rx\nNMI: 0 0 %s\n", vector,
		 name, name);
	assert_true(lay_over("/proc/interrupts", lines));
	assert_int_equal(cpu_for(topology, name), last_own_cpu());
	assert_int_equal(umount2("/proc/interrupts", 0), 0);
	snprintf(lines, sizeof(lines), "      CPU0  CPU1\n %lu:  5  6  PCI-MSI 0-edge  driver-%s-rx-0\n", vector, name);
	assert_true(lay_over("/proc/interrupts", lines));
	assert_int_equal(cpu_for(topology, name), first_own_cpu());
	wh_topology_close(topology);
}

static void names_that_are_paths_are_harmless(void **state)
{
	(void)state;
	static const char *const names[] = { "", ".", "..", "../net/lo", "/", "a/b" };
	struct wh_topology *topology = open_topology(NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(wh_topology_node(topology, names[i]), -1);
		int cpu = wh_topology_take_cpu(topology, names[i]);
		assert_true(cpu >= 0 && CPU_ISSET((size_t)cpu, &own_cpus));
		wh_topology_return_cpu(topology, cpu);
	}
	wh_topology_close(topology);
}

static void a_virtual_adapter_has_no_node(void **state)
{
	(void)state;
	struct wh_topology *topology = open_topology(NULL);
	assert_int_equal(wh_topology_node(topology, "lo"), -1);
	wh_topology_close(topology);
}

static void memory_is_bound_and_unbound(void **state)
{
	(void)state;
	struct wh_topology *topology = open_topology(NULL);
	int mode = -1;
	wh_topology_bind_memory(topology, 0);
	if (syscall(SYS_get_mempolicy, &mode, NULL, 0UL, NULL, 0UL) != 0) {
		wh_topology_close(topology);
		print_message("skipped: the memory policy cannot be read here: %s\n", strerror(errno));
		skip();
	}
	/* Not MPOL_BIND, which would fail where the node is full. On a machine of a single node, any of these is right.
	 */
	assert_true(mode == MPOL_PREFERRED_MODE || mode == MPOL_PREFERRED_MANY_MODE || mode == MPOL_DEFAULT_MODE);
	wh_topology_bind_memory(topology, 1000);
	wh_topology_bind_memory(topology, 0);
	wh_topology_bind_memory(topology, -1);
	assert_int_equal(syscall(SYS_get_mempolicy, &mode, NULL, 0UL, NULL, 0UL), 0);
	assert_int_equal(mode, MPOL_DEFAULT_MODE);
	wh_topology_close(topology);
}

static struct wh_topology *open_two_nodes(void)
{
	char path[] = "/tmp/wh-topology-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, two_nodes, sizeof(two_nodes) - 1), (ssize_t)sizeof(two_nodes) - 1);
	close(fd);
	setenv("HWLOC_XMLFILE", path, 1);
	struct wh_topology *topology = open_topology("0,1");
	unsetenv("HWLOC_XMLFILE");
	unlink(path);
	return topology;
}

static void threads_and_memory_go_near_the_adapter(void **state)
{
	(void)state;
	if (!CPU_ISSET(0, &own_cpus) || !CPU_ISSET(1, &own_cpus)) {
		print_message("skipped: this needs CPUs 0 and 1\n");
		skip();
	}
	struct wh_topology *topology = open_two_nodes();
	assert_int_equal(wh_topology_node(topology, "whnear0"), 0);
	assert_int_equal(wh_topology_node(topology, "whfar0"), 1);
	assert_int_equal(wh_topology_node(topology, "lo"), -1);
	assert_int_equal(wh_topology_take_cpu(topology, "whnear0"), 0);
	/* Its own CPU is taken, and the other one is free. */
	assert_int_equal(wh_topology_take_cpu(topology, "whnear0"), 1);
	assert_int_equal(wh_topology_take_cpu(topology, "whnear0"), 0);
	assert_int_equal(wh_topology_take_cpu(topology, "whfar0"), 1);
	assert_int_equal(wh_topology_take_cpu(topology, "whfar0"), 1);
	wh_topology_close(topology);
}

int main(void)
{
	if (sched_getaffinity(0, sizeof(own_cpus), &own_cpus) != 0) {
		print_message("skipped: this machine has more CPUs than these tests can name\n");
		return 77;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_cpu_lists_are_read),
		cmocka_unit_test(bad_cpu_lists_are_refused),
		cmocka_unit_test_teardown(threads_are_spread_over_all_cpus, restore_affinity),
		cmocka_unit_test_teardown(the_highest_free_cpu_comes_first, restore_affinity),
		cmocka_unit_test_teardown(a_returned_cpu_is_given_again, restore_affinity),
		cmocka_unit_test_teardown(affinity_and_list_restrict_the_choice, restore_affinity),
		cmocka_unit_test_teardown(opening_leaves_the_affinity_alone, restore_affinity),
		cmocka_unit_test_teardown(a_pinned_thread_runs_on_its_cpu, restore_affinity),
		cmocka_unit_test_teardown(a_real_adapter_gets_a_cpu, restore_affinity),
		cmocka_unit_test_teardown(names_that_are_paths_are_harmless, restore_affinity),
		cmocka_unit_test_teardown(a_virtual_adapter_has_no_node, restore_affinity),
		cmocka_unit_test_teardown(memory_is_bound_and_unbound, restore_affinity),
		cmocka_unit_test_teardown(threads_and_memory_go_near_the_adapter, restore_affinity),
		/* The last one: the program stays in the mount namespace that it makes. */
		cmocka_unit_test_teardown(a_cpu_that_serves_interrupts_is_avoided, restore_affinity),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
