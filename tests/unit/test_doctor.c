/* SPDX-License-Identifier: BSD-3-Clause */
/* What the doctor makes of what a machine tells: files below a directory of the test's own stand for /proc and /sys.
 * Where a command can be carried out there, it is, and must have mended what was found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_arp.h>

#include "engine/doctor/state.h"

static char root[64];
static struct wh_findings findings;

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
	(void)about;
	(void)kind;
	(void)walk;
	return remove(path);
}

static int begin(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/wh-doctor-XXXXXX");
	findings = (struct wh_findings){ 0 };
	return mkdtemp(root) != NULL ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	free(findings.items);
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void forget(void)
{
	free(findings.items);
	findings = (struct wh_findings){ 0 };
}

/* Writes TEXT into the file PATH below the root, and makes the directories on the way to it. */
__attribute__((format(printf, 2, 3))) static void put(const char *text, const char *path, ...)
{
	char full[512];
	va_list arguments;
	int length = snprintf(full, sizeof(full), "%s", root);
	va_start(arguments, path);
	vsnprintf(full + length, sizeof(full) - (size_t)length, path, arguments);
	va_end(arguments);
	for (char *at = strchr(full + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
		*at = '\0';
		assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
		*at = '/';
	}
	FILE *file = fopen(full, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static const struct wh_finding *find(const char *subject)
{
	for (size_t i = 0; i < findings.count; i++)
		if (strcmp(findings.items[i].subject, subject) == 0)
			return &findings.items[i];
	return NULL;
}

static const struct wh_finding *expect(const char *subject, enum wh_finding_kind kind, const char *words)
{
	const struct wh_finding *found = find(subject);
	if (found == NULL)
		fail_msg("nothing was found about \"%s\"", subject);
	if (found->kind != kind || strstr(found->text, words) == NULL)
		fail_msg("%s: kind %d: %s", subject, found->kind, found->text);
	return found;
}

static void expect_mended(const char *subject, enum wh_finding_kind kind, const char *words, const char *remedy)
{
	assert_string_equal(expect(subject, kind, words)->remedy, remedy);
}

/* Carries a command out in a shell, with the root before each path of the kernel's. */
static void carry_out(const char *command)
{
	char line[4096];
	size_t at = 0;
	while (*command != '\0') {
		bool kernel = strncmp(command, "/proc/", 6) == 0 || strncmp(command, "/sys/", 5) == 0;
		at += (size_t)snprintf(line + at, sizeof(line) - at, "%s%c", kernel ? root : "", *command++);
		assert_true(at < sizeof(line));
	}
	strcat(line, " >/dev/null");
	assert_int_equal(system(line), 0);
}

static void read_back(char *text, size_t bytes, const char *path, ...) __attribute__((format(printf, 3, 4)));
static void read_back(char *text, size_t bytes, const char *path, ...)
{
	char full[512];
	va_list arguments;
	int length = snprintf(full, sizeof(full), "%s", root);
	va_start(arguments, path);
	vsnprintf(full + length, sizeof(full) - (size_t)length, path, arguments);
	va_end(arguments);
	FILE *file = fopen(full, "re");
	assert_non_null(file);
	assert_non_null(fgets(text, (int)bytes, file));
	text[strcspn(text, "\n")] = '\0';
	fclose(file);
}

static struct wh_cpus cpus_of(const char *list)
{
	struct wh_cpus cpus;
	assert_int_equal(wh_cpu_list_parse(list, cpus.bits, NULL), WH_OK);
	return cpus;
}

/* An adapter of 10 Gbit/s at which nothing is wrong. */
static struct wh_doctor_adapter adapter_make(const char *name)
{
	struct wh_doctor_adapter adapter = {
		.interface = { .index = 2, .flags = IFF_UP | IFF_RUNNING, .arp_type = ARPHRD_ETHER, .up = true },
		.details = { .speed_mbit = 10000 },
		.hardware = { .rings_known = true,
			      .queues_known = true,
			      .ring = 4096,
			      .ring_most = 4096,
			      .queues = 4,
			      .queues_most = 8,
			      .combined = true },
		.has_before = true,
		.capturable = true,
		.in_sysfs = true,
		.node = -1,
		.cpu = 3,
	};
	snprintf(adapter.interface.name, sizeof(adapter.interface.name), "%s", name);
	assert_true(wh_shell_word(name, adapter.word, sizeof(adapter.word)));
	return adapter;
}

/* ---- words ---- */

static void a_shell_takes_a_word_for_what_it_was(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"eth0",     "a b", "",   "it's", "''",    "$(touch nowhere)", "`id`", "a;b", "~", "*", "a\"b\\c", "#a",
		"\xc3\xa9", "-n",  "!x", "a=b",  "{1,2}",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char word[128], line[256], back[128] = "";
		assert_true(wh_shell_word(texts[i], word, sizeof(word)));
		snprintf(line, sizeof(line), "printf '%%s\\n' %s", word);
		FILE *shell = popen(line, "r");
		assert_non_null(shell);
		assert_non_null(fgets(back, sizeof(back), shell));
		assert_int_equal(pclose(shell), 0);
		back[strcspn(back, "\n")] = '\0';
		assert_string_equal(back, texts[i]);
	}
}

static void a_word_that_cannot_be_is_none(void **state)
{
	(void)state;
	char word[16] = "left";
	assert_false(wh_shell_word("a\nb", word, sizeof(word)));
	assert_string_equal(word, "");
	assert_false(wh_shell_word("a\x1b[2J", word, sizeof(word)));
	assert_false(wh_shell_word("0123456789abcdef", word, sizeof(word)));
	assert_true(wh_shell_word("0123456789abcde", word, sizeof(word)));
	assert_false(wh_shell_word("0123456789 bcd", word, sizeof(word)));
	assert_true(wh_shell_word("0123456789 bc", word, sizeof(word)));
	assert_false(wh_shell_word("'''''''", word, sizeof(word)));
	assert_string_equal(word, "");
}

static void half_a_command_is_none(void **state)
{
	(void)state;
	char path[600];
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	wh_finding_mend(&findings, "of nothing");
	wh_finding_add(&findings, WH_FINDING_BAD, "disk", "directory", "%s", path);
	wh_finding_mend(&findings, "rm -r %s", path);
	assert_int_equal(findings.count, 1);
	assert_string_equal(findings.items[0].remedy, "");
	assert_int_equal(strlen(findings.items[0].text), sizeof(findings.items[0].text) - 1);
	wh_finding_mend(&findings, "true");
	assert_string_equal(findings.items[0].remedy, "true");
}

static void numbers_are_told_in_words(void **state)
{
	(void)state;
	assert_string_equal(wh_words_count(0).s, "0");
	assert_string_equal(wh_words_count(UINT64_MAX).s, "18,446,744,073,709,551,615");
	assert_string_equal(wh_words_memory(UINT64_C(512) << 20).s, "512 MiB");
	assert_string_equal(wh_words_memory(1536).s, "1.5 KiB");
	assert_string_equal(wh_words_scaled(1.4e9, "B/s").s, "1.40 GB/s");
	assert_string_equal(wh_words_scaled(999.9, "B").s, "1.00 kB");
	assert_string_equal(wh_words_scaled(-1, "B").s, "0 B");
	assert_string_equal(wh_words_scaled((double)NAN, "B").s, "0 B");
	assert_string_equal(wh_words_duration(34.4e-6).s, "34 us");
	assert_string_equal(wh_words_duration(0.0025).s, "2.5 ms");
	assert_string_equal(wh_words_duration(3.14).s, "3.14 s");
	assert_string_equal(wh_words_duration(720).s, "12 min");
	assert_string_equal(wh_words_duration(18000).s, "5 h");
	assert_string_equal(wh_words_duration(3 * 86400.0).s, "3 days");
	assert_string_equal(wh_words_duration(1e30).s, "years");
}

/* ---- files ---- */

static void sets_of_cpus_are_read_and_written(void **state)
{
	(void)state;
	char text[64];
	struct wh_cpus cpus = cpus_of("0,2-3,64,1023");
	assert_int_equal(wh_cpus_count(&cpus), 5);
	assert_true(wh_cpus_list(&cpus, text, sizeof(text)));
	assert_string_equal(text, "0,2-3,64,1023");
	assert_false(wh_cpus_list(&cpus, text, 12));
	assert_string_equal(text, "0,2-3,...");
	assert_true(wh_cpus_parse_mask("00000001,00000000,0000000d", &cpus));
	wh_cpus_list(&cpus, text, sizeof(text));
	assert_string_equal(text, "0,2-3,64");
	assert_true(wh_cpus_mask(&cpus, text, sizeof(text)));
	assert_string_equal(text, "1,00000000,0000000d");
	assert_false(wh_cpus_mask(&cpus, text, 8));
	cpus = (struct wh_cpus){ 0 };
	assert_true(wh_cpus_mask(&cpus, text, sizeof(text)));
	assert_string_equal(text, "0");
	static const char *const wrong[] = { "", ",", "1,", "x", "0x1", "-1", "123456789", "1 ", "1,,1" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(wh_cpus_parse_mask(wrong[i], &cpus));
	char many[9 * 40] = "1";
	for (int i = 0; i < 32; i++)
		strcat(many, ",00000000");
	assert_false(wh_cpus_parse_mask(many, &cpus));
	assert_true(wh_cpus_parse_mask(many + 9 - 7, &cpus));
	assert_false(wh_cpus_have(&cpus, -1));
	assert_false(wh_cpus_have(&cpus, 1024));
	wh_cpus_add(&cpus, 1024);
	wh_cpus_remove(&cpus, -1);
}

static void files_of_any_content_are_read(void **state)
{
	(void)state;
	char line[WH_DOCTOR_LINE_BYTES];
	struct wh_cpus cpus;
	int64_t number = 7;
	uint64_t bytes = 0;
	put("12\nmore\n", "/sys/good");
	put("", "/sys/empty");
	put("\n", "/sys/blank");
	put("99999999999999999999\n", "/sys/large");
	put("12 apples\n", "/sys/words");
	char *huge = malloc(100001);
	assert_non_null(huge);
	memset(huge, '1', 100000);
	huge[100000] = '\0';
	put(huge, "/sys/huge");
	free(huge);
	assert_true(wh_doctor_read_number(&number, root, "/sys/%s", "good"));
	assert_int_equal(number, 12);
	static const char *const wrong[] = { "empty", "blank", "large", "words", "huge", "missing", "" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_false(wh_doctor_read_number(&number, root, "/sys/%s", wrong[i]));
		assert_false(wh_doctor_read_cpus(&cpus, root, "/sys/%s", wrong[i]));
	}
	assert_true(wh_doctor_read_line(line, root, "/sys/huge"));
	assert_int_equal(strlen(line), sizeof(line) - 1);
	memset(line, 'x', sizeof(line) - 1);
	line[600] = '\0';
	assert_false(wh_doctor_read_number(&number, root, "/%s", line));
	put("MemTotal:  24 kB\nMemAvailable:    2048 kB\nMemAvailableX: 1 kB\nMemBad: x\n", "/proc/meminfo");
	assert_true(wh_doctor_read_memory(&bytes, root, "MemAvailable"));
	assert_int_equal(bytes, 2048 * 1024);
	assert_false(wh_doctor_read_memory(&bytes, root, "Mem"));
	assert_false(wh_doctor_read_memory(&bytes, root, "MemBad"));
	/* What nobody writes to must not be waited for. */
	char path[128];
	snprintf(path, sizeof(path), "%s/sys/pipe", root);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(wh_doctor_read_line(line, root, "/sys/pipe"));
}

/* ---- adapters ---- */

static void a_small_ring_is_told_with_its_command(void **state)
{
	(void)state;
	struct wh_doctor_adapter adapter = adapter_make("eth0");
	wh_doctor_adapter_judge(&findings, &adapter, 8);
	/* 4096 frames of 64 bytes, 672 bits each on the wire, at 10 Gbit/s. */
	expect_mended("eth0: receive ring", WH_FINDING_GOOD, "275 us", "");
	expect_mended("eth0: offloads", WH_FINDING_GOOD, "off", "");
	assert_null(find("eth0: state"));
	assert_null(find("eth0: receive queues"));
	forget();
	adapter.hardware.ring = 512;
	adapter.hardware.ring_most = 8160;
	wh_doctor_adapter_judge(&findings, &adapter, 8);
	expect_mended("eth0: receive ring", WH_FINDING_BAD, "34 us", "ethtool -G eth0 rx 8160");
	forget();
	adapter.details.speed_mbit = -1;
	wh_doctor_adapter_judge(&findings, &adapter, 8);
	expect_mended("eth0: receive ring", WH_FINDING_BAD, "were that its speed", "ethtool -G eth0 rx 8160");
	forget();
	/* 2.7 ms are enough to be late. */
	adapter.details.speed_mbit = 1000;
	adapter.hardware.ring = 4096;
	wh_doctor_adapter_judge(&findings, &adapter, 8);
	expect_mended("eth0: receive ring", WH_FINDING_NOTE, "2.8 ms", "ethtool -G eth0 rx 8160");
	forget();
	adapter.hardware.rings_known = false;
	wh_doctor_adapter_judge(&findings, &adapter, 8);
	assert_null(find("eth0: receive ring"));
	assert_true(wh_doctor_ring_seconds(&adapter) <= 0);
}

static void names_of_adapters_are_quoted(void **state)
{
	(void)state;
	struct wh_doctor_adapter adapter = adapter_make("$(reboot)");
	adapter.hardware.ring = 512;
	adapter.details.gro = adapter.details.tso = true;
	wh_doctor_adapter_judge(&findings, &adapter, 8);
	expect_mended("$(reboot): receive ring", WH_FINDING_BAD, "512", "ethtool -G '$(reboot)' rx 4096");
	expect_mended("$(reboot): offloads", WH_FINDING_NOTE, "gro tso", "ethtool -K '$(reboot)' gro off tso off");
	forget();
	adapter.word[0] = '\0';
	adapter.interface.up = false;
	wh_doctor_adapter_judge(&findings, &adapter, 8);
	expect_mended("$(reboot): receive ring", WH_FINDING_BAD, "512", "");
	expect_mended("$(reboot): state", WH_FINDING_BAD, "down", "");
}

static void states_and_queues_are_told(void **state)
{
	(void)state;
	struct wh_doctor_adapter adapter = adapter_make("eth1");
	adapter.interface.up = false;
	adapter.hardware.queues = 1;
	wh_doctor_adapter_judge(&findings, &adapter, 4);
	expect_mended("eth1: state", WH_FINDING_BAD, "does not start", "ip link set dev eth1 up");
	expect_mended("eth1: receive queues", WH_FINDING_NOTE, "it could have 8", "ethtool -L eth1 combined 4");
	forget();
	adapter.interface.up = true;
	adapter.interface.flags = IFF_UP;
	adapter.hardware.combined = false;
	adapter.capturable = false;
	wh_doctor_adapter_judge(&findings, &adapter, 16);
	expect("eth1: state", WH_FINDING_NOTE, "no link");
	expect("eth1: kind", WH_FINDING_BAD, "no raw frames");
	expect_mended("eth1: receive queues", WH_FINDING_NOTE, "", "ethtool -L eth1 rx 8");
	forget();
	wh_doctor_adapter_judge(&findings, &adapter, 1);
	assert_null(find("eth1: receive queues"));
}

static void losses_of_now_are_not_those_of_before(void **state)
{
	(void)state;
	struct wh_doctor_adapter adapter = adapter_make("eth0");
	struct wh_interface_drops now = { .received = 1000 };
	wh_doctor_drops_judge(&findings, &adapter, &now, 3);
	expect("eth0: losses", WH_FINDING_GOOD, "received 1,000");
	forget();
	adapter.before = now = (struct wh_interface_drops){ .missed = 4, .fifo = 6, .received = 2000 };
	wh_doctor_drops_judge(&findings, &adapter, &now, 3);
	expect_mended("eth0: losses", WH_FINDING_NOTE, "10 frames", "");
	forget();
	now.fifo += 5;
	wh_doctor_drops_judge(&findings, &adapter, &now, 3);
	expect_mended("eth0: losses", WH_FINDING_BAD, "5 frames in the 3.00 s", "ethtool -L eth0 combined 8");
	forget();
	adapter.hardware.ring = 256;
	wh_doctor_drops_judge(&findings, &adapter, &now, 3);
	expect_mended("eth0: losses", WH_FINDING_BAD, "", "ethtool -G eth0 rx 4096");
	forget();
	/* The driver was reset. */
	now = (struct wh_interface_drops){ .missed = 1 };
	wh_doctor_drops_judge(&findings, &adapter, &now, 3);
	expect("eth0: losses", WH_FINDING_NOTE, "1 frames");
	/* What nobody wanted is no loss. */
	forget();
	now = (struct wh_interface_drops){ .dropped = 99 };
	wh_doctor_drops_judge(&findings, &adapter, &now, 3);
	expect("eth0: losses", WH_FINDING_GOOD, "");
}

/* ---- interrupts ---- */

/* Four queues and a control vector, on CPUs by the list; eth1's are others. */
static void interrupts_put(const char *const cpus[4])
{
	put("           CPU0       CPU1       CPU2       CPU3       \n"
	    "  1:          0          9          0          0  IO-APIC   1-edge      i8042\n"
	    " 30:          0          0          0          0  PCI-MSIX-0000:03:00.0   0-edge      eth0-control\n"
	    " 31:        100          0          0          0  PCI-MSIX-0000:03:00.0   1-edge      eth0-rx-0\n"
	    " 32:        100          0          0          0  PCI-MSIX-0000:03:00.0   2-edge      eth0-rx-1\n"
	    " 33:        100          0          0          0  PCI-MSIX-0000:03:00.0   3-edge      eth0-rx-2\n"
	    " 34:        100          0          0          0  PCI-MSIX-0000:03:00.0   4-edge      q3\n"
	    " 35:        100          0          0          0  PCI-MSIX-0000:04:00.0   0-edge      eth01-rx-0\n"
	    "NMI:          0          0          0          0  Non-maskable interrupts\n",
	    "/proc/interrupts");
	for (int i = 0; i < 4; i++) {
		put(cpus[i], "/proc/irq/%d/effective_affinity_list", 31 + i);
		put("0-3\n", "/proc/irq/%d/smp_affinity_list", 31 + i);
	}
	put("0-3\n", "/proc/irq/30/smp_affinity_list");
	put("3\n", "/proc/irq/35/effective_affinity_list");
	put("", "/sys/class/net/eth0/device/msi_irqs/34");
}

static void interrupts_in_a_crowd_are_dealt_out(void **state)
{
	(void)state;
	static const char *const crowd[4] = { "0\n", "0\n", "0\n", "0\n" };
	struct wh_doctor_adapter adapter = adapter_make("eth0");
	struct wh_cpus allowed = cpus_of("0-3");
	interrupts_put(crowd);
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	expect_mended("eth0: interrupts", WH_FINDING_BAD, "all 4 go to CPU 0",
		      "set -- 0 1 2; for i in 31 32 33 34; do echo $1 > /proc/irq/$i/smp_affinity_list; "
		      "set -- \"$@\" $1; shift; done");
	carry_out(findings.items[0].remedy);
	static const char *const dealt[4] = { "0", "1", "2", "0" };
	for (int i = 0; i < 4; i++) {
		char text[32];
		read_back(text, sizeof(text), "/proc/irq/%d/smp_affinity_list", 31 + i);
		assert_string_equal(text, dealt[i]);
	}
	interrupts_put(dealt);
	forget();
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	expect("eth0: interrupts", WH_FINDING_GOOD, "CPU 0-2; a capture thread would run on CPU 3");
	/* Where threads are not placed, there is no such CPU. */
	forget();
	adapter.cpu = -1;
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	assert_null(strstr(expect("eth0: interrupts", WH_FINDING_GOOD, "they go to CPU 0-2")->text, "capture thread"));
	adapter.cpu = 3;
	/* One that is slow has no need of it. */
	interrupts_put(crowd);
	adapter.details.speed_mbit = 100;
	forget();
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	expect("eth0: interrupts", WH_FINDING_NOTE, "all 4");
}

static void a_shared_cpu_is_told(void **state)
{
	(void)state;
	static const char *const spread[4] = { "0\n", "1\n", "2\n", "3\n" };
	struct wh_doctor_adapter adapter = adapter_make("eth0");
	struct wh_cpus allowed = cpus_of("0-3");
	interrupts_put(spread);
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	expect_mended("eth0: interrupts", WH_FINDING_NOTE, "CPU 3 takes some",
		      "for i in 34; do echo 0-2 > /proc/irq/$i/smp_affinity_list; done");
	assert_null(find("eth0: steering"));
	assert_false(adapter.steered);
	/* A machine with one CPU has no choice. */
	forget();
	allowed = cpus_of("3");
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	expect("eth0: interrupts", WH_FINDING_GOOD, "");
	/* An adapter of software has no interrupts. */
	forget();
	adapter.software = true;
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	assert_int_equal(findings.count, 0);
}

static void interrupts_far_from_the_adapter_are_told(void **state)
{
	(void)state;
	static const char *const far[4] = { "2\n", "3\n", "2\n", "3\n" };
	static const char *const near[4] = { "0\n", "1\n", "0\n", "1\n" };
	static const char *const crowd[4] = { "2\n", "2\n", "2\n", "2\n" };
	struct wh_doctor_adapter adapter = adapter_make("eth0");
	struct wh_cpus allowed = cpus_of("0-3");
	adapter.node = 0;
	interrupts_put(far);
	put("0-1\n", "/sys/devices/system/node/node0/cpulist");
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	expect_mended("eth0: interrupts", WH_FINDING_NOTE, "whose CPUs are 0-1",
		      "for i in 31 32 33 34; do echo 0-1 > /proc/irq/$i/smp_affinity_list; done");
	/* What mends one thing must not make another: the capture thread keeps its CPU, and nothing is sent far away.
	 */
	forget();
	adapter.cpu = 1;
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	expect_mended("eth0: interrupts", WH_FINDING_NOTE, "whose CPUs are 0-1",
		      "for i in 31 32 33 34; do echo 0 > /proc/irq/$i/smp_affinity_list; done");
	forget();
	interrupts_put(near);
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	expect_mended("eth0: interrupts", WH_FINDING_NOTE, "CPU 1 takes some",
		      "for i in 32 34; do echo 0 > /proc/irq/$i/smp_affinity_list; done");
	forget();
	interrupts_put(crowd);
	adapter.cpu = 3;
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	assert_non_null(
	    strstr(expect("eth0: interrupts", WH_FINDING_BAD, "all 4 go to CPU 2")->remedy, "set -- 0 1; "));
}

/* On many servers even CPUs belong to one node and odd ones to the other: the list is long. */
static void a_long_list_of_cpus_is_whole_or_not_told(void **state)
{
	(void)state;
	char list[4096] = "";
	struct wh_doctor_adapter adapter = adapter_make("eth0");
	put("0-1\n", "/sys/devices/system/node/online");
	put("3\n", "/sys/devices/system/node/node1/cpulist");
	put("10 21\n", "/sys/devices/system/node/node0/distance");
	adapter.node = 0;
	for (int cpu = 0; cpu < 64; cpu += 2)
		sprintf(list + strlen(list), "%s%d", cpu > 0 ? "," : "", cpu);
	put(list, "/sys/devices/system/node/node0/cpulist");
	wh_doctor_numa(&findings, root, &adapter);
	const struct wh_finding *found = expect("eth0: memory node", WH_FINDING_NOTE, "node 1");
	char command[512];
	snprintf(command, sizeof(command), "taskset -cp %.400s $$", list);
	assert_string_equal(found->remedy, command);
	forget();
	for (int cpu = 64; cpu < 512; cpu += 2)
		sprintf(list + strlen(list), ",%d", cpu);
	put(list, "/sys/devices/system/node/node0/cpulist");
	wh_doctor_numa(&findings, root, &adapter);
	expect_mended("eth0: memory node", WH_FINDING_NOTE, "node 1", "");
}

static void what_sysfs_tells_of_another_is_not_taken(void **state)
{
	(void)state;
	struct wh_interface interface = { .index = 7, .name = "eth0", .mac = { 2, 0, 0, 0, 0, 0xab }, .mac_bytes = 6 };
	struct wh_doctor_adapter adapter;
	struct wh_cpus allowed = cpus_of("0-3");
	put("7\n", "/sys/class/net/eth0/ifindex");
	put("02:00:00:00:00:ab\n", "/sys/class/net/eth0/address");
	put("", "/sys/class/net/eth0/device/uevent");
	put("f\n", "/sys/class/net/eth0/queues/rx-0/rps_cpus");
	wh_doctor_adapter_read(root, &interface, NULL, &adapter);
	assert_true(adapter.in_sysfs && !adapter.software);
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	assert_true(adapter.steered);
	/* Another adapter, in another network namespace, has that name and even that index. */
	interface.mac[5] = 0xac;
	wh_doctor_adapter_read(root, &interface, NULL, &adapter);
	assert_true(!adapter.in_sysfs && adapter.software);
	forget();
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	assert_true(!adapter.steered && findings.count == 1);
	expect("eth0: interrupts", WH_FINDING_NOTE, "not looked at");
	interface.mac[5] = 0xab;
	interface.index = 8;
	wh_doctor_adapter_read(root, &interface, NULL, &adapter);
	assert_false(adapter.in_sysfs);
	/* A tunnel has no address. */
	interface = (struct wh_interface){ .index = 9, .name = "tun0" };
	put("9\n", "/sys/class/net/tun0/ifindex");
	wh_doctor_adapter_read(root, &interface, NULL, &adapter);
	assert_true(adapter.in_sysfs && adapter.software);
}

static void what_stands_beneath_is_found(void **state)
{
	(void)state;
	struct wh_doctor_names names;
	/* A VLAN on a bond of two; and one that goes in a circle, which cannot be. */
	put("", "/sys/class/net/bond0.5/lower_bond0/x");
	put("", "/sys/class/net/bond0/lower_eth0/x");
	put("", "/sys/class/net/bond0/lower_eth1/x");
	put("", "/sys/class/net/bond0/upper_bond0.5/x");
	put("", "/sys/class/net/eth1/lower_bond0/x");
	wh_doctor_beneath_read(root, "bond0.5", &names);
	assert_int_equal(names.count, 4);
	assert_string_equal(names.name[0], "bond0.5");
	assert_string_equal(names.name[1], "bond0");
	assert_int_equal(strncmp(names.name[2], "eth", 3), 0);
	for (int i = 0; i < 100; i++)
		put("", "/sys/class/net/br0/lower_tap%d/x", i);
	wh_doctor_beneath_read(root, "br0", &names);
	assert_int_equal(names.count, WH_DOCTOR_NAMES);
	wh_doctor_beneath_read(root, "eth0", &names);
	assert_int_equal(names.count, 1);
	/* Nothing is captured on it, so that it need not be up. */
	struct wh_doctor_adapter adapter = adapter_make("eth0");
	adapter.beneath = true;
	adapter.interface.up = false;
	adapter.interface.flags = 0;
	wh_doctor_adapter_judge(&findings, &adapter, 4);
	expect_mended("eth0: state", WH_FINDING_NOTE, "nothing comes through it", "");
}

static void a_macvlans_offloads_are_its_parents(void **state)
{
	(void)state;
	struct wh_doctor_adapter adapter = adapter_make("mv0");
	adapter.details.tso = true;
	wh_doctor_adapter_judge(&findings, &adapter, 4);
	expect_mended("mv0: offloads", WH_FINDING_NOTE, "tso", "ethtool -K mv0 tso off");
	forget();
	snprintf(adapter.details.driver, sizeof(adapter.details.driver), "macvlan");
	wh_doctor_adapter_judge(&findings, &adapter, 4);
	expect_mended("mv0: offloads", WH_FINDING_NOTE, "tso", "");
}

static void steering_leaves_the_capture_its_cpu(void **state)
{
	(void)state;
	struct wh_doctor_adapter adapter = adapter_make("eth0");
	struct wh_cpus allowed = cpus_of("0-3");
	put("f\n", "/sys/class/net/eth0/queues/rx-0/rps_cpus");
	put("3\n", "/sys/class/net/eth0/queues/rx-1/rps_cpus");
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	assert_true(adapter.steered);
	const char *remedy = expect("eth0: steering", WH_FINDING_NOTE, "CPU 0-3 (RPS)")->remedy;
	assert_non_null(strstr(remedy, "> \"$f\"")); /* some shells look for files of a name that holds a star */
	carry_out(remedy);
	forget();
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	expect("eth0: steering", WH_FINDING_GOOD, "CPU 0-2 (RPS)");
	put("0\n", "/sys/class/net/eth0/queues/rx-0/rps_cpus");
	put("0\n", "/sys/class/net/eth0/queues/rx-1/rps_cpus");
	forget();
	wh_doctor_interrupts(&findings, root, &adapter, &allowed);
	assert_null(find("eth0: steering"));
}

static void irqbalance_is_seen(void **state)
{
	(void)state;
	struct wh_cpus allowed = cpus_of("0-1");
	put("irqbalanced\n", "/proc/12/comm");
	put("irqbalance\n", "/proc/self/comm");
	wh_doctor_irqbalance(&findings, root, &allowed);
	assert_int_equal(findings.count, 0);
	put("irqbalance\n", "/proc/3456/comm");
	wh_doctor_irqbalance(&findings, root, &allowed);
	expect_mended("interrupts: irqbalance", WH_FINDING_NOTE, "", "systemctl disable --now irqbalance");
}

static void softnet_put(unsigned dropped, unsigned squeezed)
{
	char text[256];
	snprintf(text, sizeof(text),
		 "00000010 %08x %08x 00000000\n00000020 00000001 00000000 00000000\nnonsense\n00000001\n", dropped,
		 squeezed);
	put(text, "/proc/net/softnet_stat");
}

static void the_kernels_own_losses_are_told(void **state)
{
	(void)state;
	struct wh_doctor_softnet before;
	wh_doctor_softnet_read(root, &before);
	assert_false(before.known);
	put("1000\n", "/proc/sys/net/core/netdev_max_backlog");
	put("300\n", "/proc/sys/net/core/netdev_budget");
	put("2000\n", "/proc/sys/net/core/netdev_budget_usecs");
	put("0\n", "/proc/sys/net/core/bpf_jit_enable");
	softnet_put(0x10, 2);
	wh_doctor_softnet_read(root, &before);
	assert_true(before.known);
	assert_int_equal(before.processed, 0x30);
	assert_int_equal(before.dropped, 0x11);
	wh_doctor_softnet_judge(&findings, root, &before, false, 3);
	expect("kernel: receiving", WH_FINDING_GOOD, "");
	expect_mended("kernel: filters", WH_FINDING_NOTE, "", "sysctl -w net.core.bpf_jit_enable=1");
	forget();
	wh_doctor_softnet_judge(&findings, root, &before, true, 3);
	expect_mended("kernel: backlog", WH_FINDING_NOTE, "17 frames", "sysctl -w net.core.netdev_max_backlog=10000");
	forget();
	softnet_put(0x20, 5);
	put("20000\n", "/proc/sys/net/core/netdev_max_backlog");
	wh_doctor_softnet_judge(&findings, root, &before, true, 3);
	expect_mended("kernel: backlog", WH_FINDING_BAD, "16 frames", "sysctl -w net.core.netdev_max_backlog=80000");
	expect_mended("kernel: budget", WH_FINDING_NOTE, "3 times",
		      "sysctl -w net.core.netdev_budget=600 net.core.netdev_budget_usecs=8000");
	/* Whose frames do not wait there loses none of them; and in another namespace the setting cannot be seen. */
	forget();
	char setting[128];
	snprintf(setting, sizeof(setting), "%s/proc/sys/net/core/netdev_max_backlog", root);
	assert_int_equal(unlink(setting), 0);
	wh_doctor_softnet_judge(&findings, root, &before, false, 3);
	expect_mended("kernel: backlog", WH_FINDING_NOTE, "had too many of them waiting", "");
	/* Round the 32 bits. */
	forget();
	softnet_put(0, 0);
	wh_doctor_softnet_judge(&findings, root, &before, false, 3);
	expect("kernel: receiving", WH_FINDING_GOOD, "");
}

/* ---- processors ---- */

static void governors_put(const char *governor, const char *driver)
{
	for (int cpu = 0; cpu < 2; cpu++) {
		put(governor, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu);
		put(driver, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_driver", cpu);
	}
}

static void slow_processors_are_made_quick(void **state)
{
	(void)state;
	struct wh_cpus allowed = cpus_of("0-1");
	governors_put("powersave\n", "acpi-cpufreq\n");
	wh_doctor_processors(&findings, root, &allowed, 2, 0);
	carry_out(expect("processors: frequency", WH_FINDING_BAD, "2 of 2 CPUs")->remedy);
	expect("processors: number", WH_FINDING_GOOD, "2 CPUs for 2");
	forget();
	wh_doctor_processors(&findings, root, &allowed, 3, 0);
	expect("processors: frequency", WH_FINDING_GOOD, "all 2 CPUs");
	expect("processors: number", WH_FINDING_NOTE, "3 busy threads");
	forget();
	/* There the word means something else. */
	governors_put("powersave\n", "intel_pstate\n");
	wh_doctor_processors(&findings, root, &allowed, 2, 0);
	expect("processors: frequency", WH_FINDING_NOTE, "governor powersave");
	assert_null(find("processors: idle states"));
	assert_null(find("processors: load"));
	assert_null(find("processors: stolen time"));
}

static void idle_put(int state, const char *usecs, const char *disabled)
{
	for (int cpu = 0; cpu < 2; cpu++) {
		put(usecs, "/sys/devices/system/cpu/cpu%d/cpuidle/state%d/latency", cpu, state);
		put(disabled, "/sys/devices/system/cpu/cpu%d/cpuidle/state%d/disable", cpu, state);
	}
}

static void deep_sleep_is_told(void **state)
{
	(void)state;
	struct wh_cpus allowed = cpus_of("0-1");
	idle_put(0, "0\n", "0\n");
	idle_put(1, "2\n", "0\n");
	idle_put(2, "133\n", "0\n");
	idle_put(3, "890\n", "0\n");
	wh_doctor_processors(&findings, root, &allowed, 2, 275e-6);
	expect("processors: idle states", WH_FINDING_BAD, "890 us to wake");
	forget();
	/* The deepest is off; the next is quicker than the ring is full. */
	idle_put(3, "890\n", "1\n");
	wh_doctor_processors(&findings, root, &allowed, 2, 275e-6);
	expect_mended("processors: idle states", WH_FINDING_NOTE, "133 us",
		      "echo 1 | tee /sys/devices/system/cpu/cpu*/cpuidle/state[2]/disable");
	idle_put(3, "890\n", "0\n");
	forget();
	wh_doctor_processors(&findings, root, &allowed, 2, 0);
	carry_out(expect("processors: idle states", WH_FINDING_NOTE, "890 us")->remedy);
	forget();
	wh_doctor_processors(&findings, root, &allowed, 2, 275e-6);
	expect("processors: idle states", WH_FINDING_GOOD, "2 us at most");
}

static void what_others_take_is_told(void **state)
{
	(void)state;
	struct wh_cpus allowed = cpus_of("0");
	put("some avg10=42.50 avg60=1.00 avg300=0.00 total=1\n", "/proc/pressure/cpu");
	put("some avg10=0.10 avg60=1.00 avg300=0.00 total=1\n", "/proc/pressure/io");
	put("cpu  10 0 10 70 0 0 0 10 0 0\ncpu0 1\n", "/proc/stat");
	wh_doctor_processors(&findings, root, &allowed, 1, 0);
	expect("processors: load", WH_FINDING_NOTE, "in 42 % of"); /* to even */
	expect("processors: stolen time", WH_FINDING_NOTE, "10.0 %");
	assert_null(find("disk: load"));
	forget();
	put("some avg10=nan avg60=1\n", "/proc/pressure/cpu");
	put("cpu  1 2\n", "/proc/stat");
	wh_doctor_processors(&findings, root, &allowed, 1, 0);
	assert_int_equal(findings.count, 1);
}

static void nodes_far_apart_are_told(void **state)
{
	(void)state;
	struct wh_doctor_adapter adapter = adapter_make("eth0");
	put("0,2\n", "/sys/devices/system/node/online");
	put("0-1\n", "/sys/devices/system/node/node0/cpulist");
	put("2-3\n", "/sys/devices/system/node/node2/cpulist");
	put("10 21\n", "/sys/devices/system/node/node0/distance");
	put("21 10\n", "/sys/devices/system/node/node2/distance");
	wh_doctor_numa(&findings, root, &adapter);
	assert_int_equal(findings.count, 0);
	adapter.node = 0;
	wh_doctor_numa(&findings, root, &adapter);
	expect_mended("eth0: memory node", WH_FINDING_NOTE, "CPU 3 of node 2 (distance 21", "taskset -cp 0-1 $$");
	forget();
	adapter.node = 2;
	wh_doctor_numa(&findings, root, &adapter);
	expect("eth0: memory node", WH_FINDING_GOOD, "node 2");
}

/* ---- memory, limits, kernel ---- */

static void memory_is_held_against_the_rings(void **state)
{
	(void)state;
	struct wh_doctor_needs needs = { .adapters = 2,
					 .ring_bytes = UINT64_C(512) << 20,
					 .command = "wirehaul -i eth0,eth1 -w /c/t.pcapng" };
	wh_doctor_memory(&findings, root, &needs);
	assert_int_equal(findings.count, 0);
	put("MemAvailable:    16777216 kB\n", "/proc/meminfo");
	wh_doctor_memory(&findings, root, &needs);
	expect_mended("memory: rings", WH_FINDING_GOOD, "512 MiB for each of 2 adapters", "");
	forget();
	/* 512 MiB last 86 ms of 50 Gbit/s: half a second takes 3.1 GB for each, which is more than a quarter of the
	 * memory. */
	needs.line_bytes = 12.5e9;
	needs.link_bytes = 6.25e9;
	wh_doctor_memory(&findings, root, &needs);
	expect_mended("memory: rings", WH_FINDING_NOTE, "85.9 ms", "");
	forget();
	put("MemAvailable:    67108864 kB\n", "/proc/meminfo");
	wh_doctor_memory(&findings, root, &needs);
	/* 4 GiB for each, the first power of two that holds half a second. */
	expect_mended("memory: rings", WH_FINDING_NOTE, "85.9 ms", "wirehaul -i eth0,eth1 -w /c/t.pcapng -B 4194304");
	forget();
	put("MemAvailable:    1048576 kB\n", "/proc/meminfo");
	wh_doctor_memory(&findings, root, &needs);
	expect_mended("memory: rings", WH_FINDING_BAD, "1.0 GiB are available",
		      "wirehaul -i eth0,eth1 -w /c/t.pcapng -B 131072");
}

static void memory_is_what_control_groups_leave(void **state)
{
	(void)state;
	uint64_t left = 0;
	assert_false(wh_doctor_memory_left(root, &left));
	put("MemAvailable:    1000 kB\n", "/proc/meminfo");
	put("0::/a/b\n", "/proc/self/cgroup");
	assert_true(wh_doctor_memory_left(root, &left));
	assert_int_equal(left, 1024000);
	/* The second kind, with a limit further up; the pages of files are given back before it is met. */
	put("max\n", "/sys/fs/cgroup/a/b/memory.max");
	put("500\n", "/sys/fs/cgroup/a/b/memory.current");
	put("90000\n", "/sys/fs/cgroup/a/memory.max");
	put("80000\n", "/sys/fs/cgroup/a/memory.current");
	put("anon 1\ninactive_file 30000\nactive_file 5\n", "/sys/fs/cgroup/a/memory.stat");
	assert_true(wh_doctor_memory_left(root, &left));
	assert_int_equal(left, 40000);
	put("99999\n", "/sys/fs/cgroup/a/memory.current");
	put("inactive_file 0\n", "/sys/fs/cgroup/a/memory.stat");
	assert_true(wh_doctor_memory_left(root, &left));
	assert_int_equal(left, 0);
	/* The first kind, as a container has it: its path is not there, and what is mounted is its own. */
	put("nonsense\n3:cpu:/x\n4:memory:/docker/1\n0::/\n", "/proc/self/cgroup");
	put("70000\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes");
	put("50000\n", "/sys/fs/cgroup/memory/memory.usage_in_bytes");
	put("inactive_file 7\ntotal_inactive_file 10000\n", "/sys/fs/cgroup/memory/memory.stat");
	assert_true(wh_doctor_memory_left(root, &left));
	assert_int_equal(left, 30000);
	put("9223372036854771712\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes");
	assert_true(wh_doctor_memory_left(root, &left));
	assert_int_equal(left, 1024000);
}

/* Carries out a command that sets a limit of its shell, and says what the limit is then. */
static uint64_t limit_after(const char *command, const char *name)
{
	char line[512], text[64] = "";
	snprintf(line, sizeof(line), "%s && prlimit --pid $$ --%s --noheadings --output SOFT --raw", command, name);
	FILE *shell = popen(line, "r");
	assert_non_null(shell);
	assert_non_null(fgets(text, sizeof(text), shell));
	assert_int_equal(pclose(shell), 0);
	return strtoull(text, NULL, 10);
}

static void limits_are_raised_by_their_commands(void **state)
{
	(void)state;
	struct wh_doctor_needs needs = { .adapters = 1,
					 .ring_bytes = UINT64_C(8) << 20,
					 .file_bytes = 100000001,
					 .descriptors = 200,
					 .command = "" };
	struct rlimit files, sizes;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &sizes), 0);
	if (files.rlim_max < 200 || sizes.rlim_max < 100000001) {
		print_message("skipped: this process has low limits of its own\n");
		skip();
	}
	const struct rlimit few = { .rlim_cur = 64, .rlim_max = files.rlim_max };
	const struct rlimit small = { .rlim_cur = 1 << 20, .rlim_max = sizes.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	wh_doctor_limits(&findings, &needs, true);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &sizes), 0);
	expect_mended("limits: NOFILE", WH_FINDING_BAD, "64, where a capture", "prlimit --pid $$ --nofile=200:");
	expect_mended("limits: FSIZE", WH_FINDING_BAD, "1,024 KiB, where a file of a capture needs 97,657 KiB",
		      "prlimit --pid $$ --fsize=100000768:");
	assert_null(find("limits: MEMLOCK"));
	assert_int_equal(limit_after(find("limits: NOFILE")->remedy, "nofile"), 200);
	assert_int_equal(limit_after(find("limits: FSIZE")->remedy, "fsize"), 100000768);
	forget();
	wh_doctor_limits(&findings, &needs, true);
	expect("limits: NOFILE", WH_FINDING_GOOD, "");
	expect("limits: FSIZE", WH_FINDING_GOOD, "");
}

static void a_hard_limit_takes_root(void **state)
{
	(void)state;
	struct wh_doctor_needs needs = { .adapters = 1, .ring_bytes = 1 << 20, .descriptors = 100000, .command = "" };
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		const struct rlimit hard = { .rlim_cur = 64, .rlim_max = 64 };
		bool set = setrlimit(RLIMIT_NOFILE, &hard) == 0 && setrlimit(RLIMIT_MEMLOCK, &hard) == 0;
		wh_doctor_limits(&findings, &needs, false);
		const struct wh_finding *files = find("limits: NOFILE"), *locked = find("limits: MEMLOCK");
		bool told = files != NULL && files->kind == WH_FINDING_BAD && locked != NULL &&
			    locked->kind == WH_FINDING_NOTE &&
			    strcmp(files->remedy, "sudo prlimit --pid $$ --nofile=100000:100000") == 0;
		_exit(set && told ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_the_kernel_offers_is_told(void **state)
{
	(void)state;
	put("0\n", "/proc/sys/kernel/io_uring_disabled");
	wh_doctor_kernel(&findings, root, "6.15.0-rc1", true, "");
	expect("kernel: io_uring", WH_FINDING_GOOD, "");
	expect("kernel: release", WH_FINDING_GOOD, "6.15.0-rc1");
	forget();
	wh_doctor_kernel(&findings, root, "6.1.0-18-amd64", true, "");
	expect("kernel: release", WH_FINDING_NOTE, "before 6.15");
	forget();
	wh_doctor_kernel(&findings, root, "7.0", true, "");
	expect("kernel: release", WH_FINDING_GOOD, "");
	forget();
	wh_doctor_kernel(&findings, root, "6.15.0", false, "Operation not permitted");
	expect_mended("kernel: io_uring", WH_FINDING_NOTE, "Operation not permitted", "");
	forget();
	put("2\n", "/proc/sys/kernel/io_uring_disabled");
	wh_doctor_kernel(&findings, root, "6.15.0", false, "Operation not permitted");
	expect_mended("kernel: io_uring", WH_FINDING_NOTE, "", "sysctl -w kernel.io_uring_disabled=0");
	forget();
	put("1\n", "/proc/sys/kernel/io_uring_disabled");
	wh_doctor_kernel(&findings, root, "6.15.0", true, "");
	expect_mended("kernel: io_uring", WH_FINDING_NOTE, "another user", "sysctl -w kernel.io_uring_disabled=0");
}

/* ---- disk ---- */

static const char mounts[] =
    "nonsense\n"
    "7\n"
    "20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
    "21 20 8:17 / /a\\040b\\047c rw,relatime,discard shared:1 master:2 - xfs /dev/sdb1 rw,sync\n"
    "22 20 0:30 / /t rw - tmpfs none rw,size=1k\n"
    "23 20 x / /bad rw - ext4 none rw\n"
    "24 20 8:33 / /bad rw shared:1\n"
    "25 20 8:33 / /j rw,nosync - ext4 /dev/x rw,data=journal\n"
    "26 20 0:40 / /n rw - nfs4 h:/x rw\n"
    "27 20 0:41 / /w rw - weirdfs x rw\n"
    "28 20 0:42 / /b rw - btrfs x rw,discard=async\n"
    "29 20 8:1 / /e rw - ext4 x rw,discard\n";

static struct wh_doctor_place place_of(uint64_t id, const char *directory)
{
	struct wh_doctor_place place = { .fd = -1, .writable = true };
	snprintf(place.directory, sizeof(place.directory), "%s", directory);
	assert_true(wh_shell_word(directory, place.word, sizeof(place.word)));
	wh_doctor_mount_read(root, id, &place.mount);
	forget();
	wh_doctor_mount_judge(&findings, root, &place);
	return place;
}

static void mounts_are_found_and_judged(void **state)
{
	(void)state;
	put(mounts, "/proc/self/mountinfo");
	put("1\n", "/sys/dev/block/8:17/../queue/rotational");
	put("0\n", "/sys/dev/block/8:1/queue/rotational");
	struct wh_doctor_place place = place_of(20, "/c");
	expect("disk: file system", WH_FINDING_GOOD, "ext4");
	assert_int_equal(findings.count, 1);
	place = place_of(21, "/a b'c/d");
	assert_string_equal(place.mount.point, "/a b'c");
	assert_int_equal(place.mount.minor, 17);
	expect("disk: file system", WH_FINDING_GOOD, "xfs");
	assert_int_equal(findings.items[1].kind, WH_FINDING_BAD);
	assert_string_equal(findings.items[1].remedy, "mount -o remount,async '/a b'\\''c'");
	/* There the mount takes that word and goes on as before. */
	assert_int_equal(findings.items[2].kind, WH_FINDING_NOTE);
	assert_non_null(strstr(findings.items[2].text, "discard: "));
	assert_string_equal(findings.items[2].remedy, "");
	expect("disk: device", WH_FINDING_NOTE, "turns");
	place_of(29, "/e");
	expect_mended("disk: mount options", WH_FINDING_NOTE, "discard: ", "mount -o remount,nodiscard /e");
	place_of(22, "/t");
	expect("disk: file system", WH_FINDING_NOTE, "memory");
	place_of(25, "/j");
	expect("disk: mount options", WH_FINDING_BAD, "data=journal");
	assert_int_equal(findings.count, 2);
	place_of(26, "/n");
	expect("disk: file system", WH_FINDING_NOTE, "network");
	place_of(27, "/w");
	expect("disk: file system", WH_FINDING_NOTE, "weirdfs is none that is known");
	place_of(28, "/b/c d");
	expect_mended("disk: file system", WH_FINDING_NOTE, "btrfs", "chattr +C '/b/c d'");
	assert_int_equal(findings.count, 1);
	static const uint64_t wrong[] = { 0, 7, 23, 24, 99 };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		place = place_of(wrong[i], "/x");
		assert_false(place.mount.known);
		assert_int_equal(findings.count, 0);
	}
}

static void directories_are_opened(void **state)
{
	(void)state;
	struct wh_doctor_place place;
	struct wh_error error = { 0 };
	char path[128];
	snprintf(path, sizeof(path), "%s/t.pcapng", root);
	assert_int_equal(wh_doctor_place_open(&findings, "", path, &place, &error), WH_OK);
	assert_true(place.writable && place.mount.known && place.space_known);
	assert_string_equal(place.directory, root);
	struct wh_doctor_probe probe;
	wh_doctor_probe_try(&place, &probe);
	assert_true(probe.done || probe.reason != 0);
	forget();
	wh_doctor_probe_judge(&findings, &probe);
	assert_true(findings.count > 0 || !probe.done);
	/* Where it would come near the limit, nothing is tried. */
	place.limit_bytes = place.space.available_bytes - 2 * 1024 * 1024;
	wh_doctor_probe_try(&place, &probe);
	assert_true(!probe.done && probe.reason == 0);
	forget();
	wh_doctor_probe_judge(&findings, &probe);
	assert_int_equal(findings.count, 0);
	assert_int_equal(close(place.fd), 0);
	assert_int_equal(rmdir(root), 0); /* nothing was left in it */
	assert_int_equal(wh_doctor_place_open(&findings, "", path, &place, &error), WH_ERR_INPUT);
	assert_non_null(strstr(error.text, "mkdir -p"));
	assert_int_equal(mkdir(root, 0700), 0);
	put("", "/file");
	snprintf(path, sizeof(path), "%s/file/t.pcapng", root);
	assert_int_equal(wh_doctor_place_open(&findings, "", path, &place, &error), WH_ERR_INPUT);
	assert_int_equal(wh_doctor_place_open(&findings, "", "", &place, &error), WH_ERR_INPUT);
}

/* Work that ends when somebody writes into its pipe, as on a disk that hangs. */
struct hanging {
	int go[2], released[2];
	bool woken;
};

static void hang(void *of)
{
	struct hanging *hanging = of;
	char byte;
	hanging->woken = read(hanging->go[0], &byte, 1) == 1;
}

static void release(void *of)
{
	struct hanging *hanging = of;
	char byte = hanging->woken ? 'y' : 'n';
	assert_int_equal(write(hanging->released[1], &byte, 1), 1);
}

static void what_hangs_is_not_waited_for(void **state)
{
	(void)state;
	struct hanging hanging = { .woken = false };
	struct wh_error error = { 0 };
	char byte = 'x', path[128];
	assert_int_equal(pipe(hanging.go), 0);
	assert_int_equal(pipe(hanging.released), 0);
	/* What is done in time is the caller's, as it was. */
	assert_int_equal(write(hanging.go[1], &byte, 1), 1);
	assert_true(wh_doctor_within(60, hang, release, &hanging));
	assert_true(hanging.woken);
	hanging.woken = false;
	assert_false(wh_doctor_within(0.02, hang, release, &hanging));
	assert_false(hanging.woken);
	assert_int_equal(write(hanging.go[1], &byte, 1), 1);
	assert_int_equal(read(hanging.released[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	for (int i = 0; i < 2; i++) {
		close(hanging.go[i]);
		close(hanging.released[i]);
	}
	/* A directory that answers, if only that it is not there, does. */
	snprintf(path, sizeof(path), "%s/none/t", root);
	assert_int_equal(wh_doctor_answers(path, 60, &error), WH_OK);
	struct wh_doctor_run run = { .hung = true };
	struct wh_doctor_needs needs = { .command = "" };
	wh_doctor_rate_judge(&findings, &run, &run, &needs);
	wh_doctor_hung_judge(&findings, &run, "'/a b'");
	assert_int_equal(findings.count, 1);
	char command[64];
	snprintf(command, sizeof(command), "rm -f '/a b'/wirehaul-doctor-%ld_*.tmp", (long)getpid());
	expect_mended("disk: write speed", WH_FINDING_BAD, "it hangs, or is very slow", command);
}

static void space_is_told_as_time(void **state)
{
	(void)state;
	struct wh_doctor_place place = { .space_known = true,
					 .space = { .total_bytes = UINT64_C(1000000000000),
						    .available_bytes = UINT64_C(460000000000) },
					 .limit_bytes = UINT64_C(100000000000) };
	struct wh_doctor_rates rates = { 0 };
	wh_doctor_space_judge(&findings, &place, &rates, 10, "wirehaul -i any -w /c/t");
	expect_mended("disk: space", WH_FINDING_GOOD, "360 GB are left above the 10.0 %", "");
	forget();
	rates = (struct wh_doctor_rates){ .disk = 1e9, .line = 1.25e9, .traffic = 1e6 };
	wh_doctor_space_judge(&findings, &place, &rates, 10, "wirehaul -i any -w /c/t");
	expect("disk: space", WH_FINDING_NOTE, "enough for 6 min at the speed that was measured");
	expect_mended("disk: space", WH_FINDING_NOTE, "enough for 4 days of the traffic of just now",
		      "wirehaul -i any -w /c/t --on-low-space recycle");
	forget();
	rates.line = 0.05e9;
	wh_doctor_space_judge(&findings, &place, &rates, 10, "");
	expect_mended("disk: space", WH_FINDING_GOOD, "enough for 2 h of full links", "");
	forget();
	place.space.available_bytes = UINT64_C(60000000000);
	wh_doctor_space_judge(&findings, &place, &rates, 10, "wirehaul -i any -w /c/t");
	expect_mended("disk: space", WH_FINDING_BAD, "no capture starts", "wirehaul -i any -w /c/t --min-free 3.0");
	forget();
	place.space.available_bytes = 0;
	wh_doctor_space_judge(&findings, &place, &rates, 10, "wirehaul -i any -w /c/t");
	expect_mended("disk: space", WH_FINDING_BAD, "0 B of 1.00 TB", "");
}

/* ---- rates ---- */

static void the_rate_is_what_was_measured(void **state)
{
	(void)state;
	/* 3 s at a million frames of 1414 bytes a second, in 1.5 GB/s of files. */
	struct wh_doctor_run disk = { .done = true,
				      .seconds = 3,
				      .frames = 3000000,
				      .frame_bytes_sum = UINT64_C(3000000) * 1414,
				      .file_bytes = UINT64_C(4500000000) };
	struct wh_doctor_run traffic = { .done = true, .seconds = 1, .frames = 100, .frame_bytes_sum = 100000 };
	struct wh_doctor_needs needs = {
		.line_bytes = 1.25e9, .link_bytes = 1.25e9, .ring_bytes = UINT64_C(512) << 20, .command = "wirehaul"
	};
	wh_doctor_rate_judge(&findings, &disk, &traffic, &needs);
	expect("expected: rate", WH_FINDING_GOOD, "took 1.50 GB/s in wirehaul's files over 3.00 s");
	expect("expected: rate", WH_FINDING_GOOD, "1,000,000 frames of 1414 bytes a second, 11.3 Gbit/s");
	expect("expected: rate", WH_FINDING_GOOD, "for long, count on half of it");
	assert_null(strstr(findings.items[0].text, "burst"));
	forget();
	/* 512 MiB last (25 - 11.312) / 8 GB/s: 0.31 s. */
	needs.line_bytes = needs.link_bytes = 3.125e9;
	wh_doctor_rate_judge(&findings, &disk, &traffic, &needs);
	expect_mended("expected: rate", WH_FINDING_NOTE,
		      "a burst at 25.0 Gbit/s, full links, is held by the rings for 0.31 s", "");
	forget();
	/* One of 20 Gbit/s beside one of 5: the disk takes its share of each, and the ring of the fast one is full
	 * first. */
	needs.adapters = 2;
	needs.link_bytes = 2.5e9;
	wh_doctor_rate_judge(&findings, &disk, &traffic, &needs);
	expect("expected: rate", WH_FINDING_NOTE, "25.0 Gbit/s, full links, is held by the rings for 0.39 s");
	forget();
	/* Where links tell no speed, a burst comes to one of them, whose ring is not that of all. */
	disk.frames /= 2;
	disk.frame_bytes_sum /= 2;
	needs.line_bytes = needs.link_bytes = 0;
	wh_doctor_rate_judge(&findings, &disk, &traffic, &needs);
	expect("expected: rate", WH_FINDING_NOTE, "a burst at 10.0 Gbit/s is held by the rings for 0.99 s");
	forget();
	disk.frames *= 2;
	disk.frame_bytes_sum *= 2;
	/* Where links tell no speed, 10 Gbit/s are less than what the disk takes. */
	wh_doctor_rate_judge(&findings, &disk, &traffic, &needs);
	expect("expected: rate", WH_FINDING_NOTE, "11.3 Gbit/s");
	forget();
	traffic.frame_bytes_sum = 1300000000;
	needs.line_bytes = needs.link_bytes = 1.25e9;
	wh_doctor_rate_judge(&findings, &disk, &traffic, &needs);
	expect_mended("expected: rate", WH_FINDING_BAD, "Just now there come 10.4 Gbit/s", "wirehaul -s 128");
	forget();
	disk = (struct wh_doctor_run){ .problem = "there is no room" };
	wh_doctor_rate_judge(&findings, &disk, &traffic, &needs);
	expect("disk: write speed", WH_FINDING_NOTE, "not measured: there is no room");
	forget();
	disk.failed = true;
	wh_doctor_rate_judge(&findings, &disk, &traffic, &needs);
	expect("disk: write speed", WH_FINDING_BAD, "there is no room");
}

static void traffic_is_told(void **state)
{
	(void)state;
	struct wh_doctor_run traffic = { .adapters = 1,
					 .done = true,
					 .seconds = 1,
					 .frames = 1000,
					 .frame_bytes_sum = 125000000,
					 .ring_bytes = 16 << 20 };
	wh_doctor_traffic_judge(&findings, &traffic);
	expect("traffic: just now", WH_FINDING_GOOD, "1,000 frames, 1.00 Gbit/s, came on 1 adapter in 1.00 s");
	forget();
	traffic.dropped = 5;
	wh_doctor_traffic_judge(&findings, &traffic);
	expect("traffic: just now", WH_FINDING_BAD, "5 frames found no room in a ring of 16 MiB");
	forget();
	traffic = (struct wh_doctor_run){ .failed = true, .problem = "no memory" };
	wh_doctor_traffic_judge(&findings, &traffic);
	expect("traffic: just now", WH_FINDING_BAD, "does not start: no memory");
	assert_int_equal(findings.count, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_shell_takes_a_word_for_what_it_was),
		TEST(a_word_that_cannot_be_is_none),
		TEST(half_a_command_is_none),
		TEST(numbers_are_told_in_words),
		TEST(sets_of_cpus_are_read_and_written),
		TEST(files_of_any_content_are_read),
		TEST(a_small_ring_is_told_with_its_command),
		TEST(names_of_adapters_are_quoted),
		TEST(states_and_queues_are_told),
		TEST(losses_of_now_are_not_those_of_before),
		TEST(interrupts_in_a_crowd_are_dealt_out),
		TEST(a_shared_cpu_is_told),
		TEST(interrupts_far_from_the_adapter_are_told),
		TEST(a_long_list_of_cpus_is_whole_or_not_told),
		TEST(what_sysfs_tells_of_another_is_not_taken),
		TEST(what_stands_beneath_is_found),
		TEST(a_macvlans_offloads_are_its_parents),
		TEST(steering_leaves_the_capture_its_cpu),
		TEST(irqbalance_is_seen),
		TEST(the_kernels_own_losses_are_told),
		TEST(slow_processors_are_made_quick),
		TEST(deep_sleep_is_told),
		TEST(what_others_take_is_told),
		TEST(nodes_far_apart_are_told),
		TEST(memory_is_held_against_the_rings),
		TEST(memory_is_what_control_groups_leave),
		TEST(limits_are_raised_by_their_commands),
		TEST(a_hard_limit_takes_root),
		TEST(what_the_kernel_offers_is_told),
		TEST(mounts_are_found_and_judged),
		TEST(directories_are_opened),
		TEST(what_hangs_is_not_waited_for),
		TEST(space_is_told_as_time),
		TEST(the_rate_is_what_was_measured),
		TEST(traffic_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
