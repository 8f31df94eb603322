/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What doctor.c (which assembles) and its parts share; nobody else. Each part looks at one thing and adds what it has
 * found. What the kernel tells in files is read below a directory ROOT, which is empty but in tests; what it tells
 * through calls comes in as arguments. Nothing here changes anything on the machine. One thread at a time.
 */
#ifndef WH_ENGINE_DOCTOR_STATE_H
#define WH_ENGINE_DOCTOR_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/config.h"
#include "engine/interfaces.h"
#include "engine/topology.h"
#include "ringbuf/status.h"
#include "wirehaul.h"
#include "writer/chain.h"
#include "writer/space.h"

/* ---- findings.c: what was found, and how it is put into words ---- */

struct wh_findings {
	struct wh_finding *items; /* owned; free() */
	size_t count, capacity;
	bool failed; /* there was no memory for one; no command is taken either from then on */
};

/* Adds a finding about WHAT of OF ("eth0", "receive ring"). */
void wh_finding_add(struct wh_findings *findings, enum wh_finding_kind kind, const char *of, const char *what,
		    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Gives the last finding its command. One that does not fit whole is left out: half a command is worse than none. */
void wh_finding_mend(struct wh_findings *findings, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes TEXT as one word of a shell's command line, quoted where it needs to be: names of adapters and directories may
 * hold anything. False, and WORD empty, where it does not fit or holds control characters. Pure. */
bool wh_shell_word(const char *text, char *word, size_t bytes);

/* Numbers for a person, by value. Pure. */
struct wh_words {
	char s[32];
};
struct wh_words wh_words_count(uint64_t number);                  /* 1,234,567 */
struct wh_words wh_words_memory(uint64_t bytes);                  /* 512 MiB */
struct wh_words wh_words_scaled(double number, const char *unit); /* 1.40 G and UNIT: "B/s" */
struct wh_words wh_words_duration(double seconds); /* "34 us", "2.5 ms", "3.1 s", "12 min", "5 h", "3 days" */

/* ---- files.c: what the kernel tells in files ---- */

enum { WH_DOCTOR_CPUS = 1024, WH_DOCTOR_LINE_BYTES = 4096, WH_DOCTOR_PATH_BYTES = 512 };

struct wh_cpus {
	uint64_t bits[WH_DOCTOR_CPUS / 64];
};

static inline bool wh_cpus_have(const struct wh_cpus *cpus, int cpu)
{
	return cpu >= 0 && cpu < WH_DOCTOR_CPUS && (cpus->bits[cpu / 64] >> (cpu % 64) & 1) != 0;
}

void wh_cpus_add(struct wh_cpus *cpus, int cpu);
void wh_cpus_remove(struct wh_cpus *cpus, int cpu);
int wh_cpus_count(const struct wh_cpus *cpus);
/* The first CPU from FROM on, or -1. */
int wh_cpus_next(const struct wh_cpus *cpus, int from);
/* "0-3,8". Where it does not fit, the rest is left out behind "...", and it is false: no command may hold that. */
bool wh_cpus_list(const struct wh_cpus *cpus, char *text, size_t bytes);
/* The form that rps_cpus has, read: "ff,00000000". False for anything else. */
bool wh_cpus_parse_mask(const char *text, struct wh_cpus *cpus);
/* And written. False where it does not fit. */
bool wh_cpus_mask(const struct wh_cpus *cpus, char *text, size_t bytes);

/* Writes ROOT and the formatted path into PATH. False where it does not fit. */
bool wh_doctor_path(char path[WH_DOCTOR_PATH_BYTES], const char *root, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The first line of a file, without its newline, cut to the buffer. False where it cannot be read or is empty. */
bool wh_doctor_read_line(char line[WH_DOCTOR_LINE_BYTES], const char *root, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A whole decimal number that is all of a file's first line. */
bool wh_doctor_read_number(int64_t *number, const char *root, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A list of CPUs, or of memory nodes, that is all of a file's first line. */
bool wh_doctor_read_cpus(struct wh_cpus *cpus, const char *root, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The number behind "WORD:" in a file of such lines, times 1024 (/proc/meminfo). */
bool wh_doctor_read_memory(uint64_t *bytes, const char *root, const char *word);

/* ---- adapters.c ---- */

/* What only the driver knows (ethtool). */
struct wh_doctor_hardware {
	bool rings_known, queues_known;
	uint32_t ring, ring_most;     /* frames that the adapter has room for, and could have */
	uint32_t queues, queues_most; /* that frames come in on, and could */
	bool combined;                /* a queue is for both directions */
};

struct wh_doctor_adapter {
	struct wh_interface interface;
	char word[4 * WH_INTERFACE_NAME_BYTES]; /* its name in a command; empty where it cannot be written */
	struct wh_interface_details details;
	struct wh_doctor_hardware hardware;
	struct wh_interface_drops before; /* when the examination began */
	bool has_before;
	bool in_sysfs; /* /sys tells of this very adapter, not of another network namespace's of its name */
	bool software; /* no device stands behind it */
	bool beneath;  /* not captured on: one of those that are stands on it */
	bool steered;  /* frames are passed on to other CPUs (RPS) */
	bool capturable;
	int node; /* memory node, -1: none, or there is only one */
	int cpu;  /* that its capture thread would have, or that of the adapter above it; -1: not known */
};

/* Fills the parts of ADAPTER that are asked of the kernel by its interface; TOPOLOGY may be NULL. */
void wh_doctor_adapter_read(const char *root, const struct wh_interface *interface, struct wh_topology *topology,
			    struct wh_doctor_adapter *adapter);

enum { WH_DOCTOR_NAMES = 64 };
struct wh_doctor_names {
	char name[WH_DOCTOR_NAMES][WH_INTERFACE_NAME_BYTES];
	size_t count;
};

/* NAME itself, and all adapters that it stands on, however deep: those of a bond or a bridge, that of a VLAN. Those
 * beyond WH_DOCTOR_NAMES are not told. */
void wh_doctor_beneath_read(const char *root, const char *name, struct wh_doctor_names *names);

/* Asks the driver (ioctl ETHTOOL_GRINGPARAM, ETHTOOL_GCHANNELS; linux/ethtool.h). Cannot fail. */
void wh_doctor_hardware_read(const char *name, struct wh_doctor_hardware *hardware);

/* Time in which frames of 64 bytes fill the adapter's own ring at its full speed, or at 10 Gbit/s where that is not
 * known; 0 where the ring is not known. Pure. */
double wh_doctor_ring_seconds(const struct wh_doctor_adapter *adapter);

/* State, ring, queues and offloads. Pure. */
void wh_doctor_adapter_judge(struct wh_findings *findings, const struct wh_doctor_adapter *adapter, int cpus);

/* The adapter's own losses: before, and in the SECONDS of the examination. Pure. */
void wh_doctor_drops_judge(struct wh_findings *findings, const struct wh_doctor_adapter *adapter,
			   const struct wh_interface_drops *now, double seconds);

/* ---- interrupts.c ---- */

/* Sums over all CPUs of /proc/net/softnet_stat (net/core/net-procfs.c, softnet_seq_show()). */
struct wh_doctor_softnet {
	bool known;
	uint64_t processed, dropped, squeezed;
};

/* Which CPUs take the adapter's interrupts, and which of them the frames are passed on to; notes in ADAPTER whether
 * they are. ALLOWED are the CPUs that a capture may use. */
void wh_doctor_interrupts(struct wh_findings *findings, const char *root, struct wh_doctor_adapter *adapter,
			  const struct wh_cpus *allowed);

/* Whether irqbalance moves interrupts about. */
void wh_doctor_irqbalance(struct wh_findings *findings, const char *root, const struct wh_cpus *allowed);

void wh_doctor_softnet_read(const char *root, struct wh_doctor_softnet *softnet);

/* What the kernel lost or put off before any socket saw it, in the SECONDS since BEFORE, and the settings (net.core)
 * that decide about it. BACKLOG: frames of an adapter go through the queue of netdev_max_backlog. */
void wh_doctor_softnet_judge(struct wh_findings *findings, const char *root, const struct wh_doctor_softnet *before,
			     bool backlog, double seconds);

/* ---- processors.c ---- */

/* Frequency, idle states, time taken by others, and the THREADS that a capture has for the ALLOWED CPUs. RING_SECONDS
 * is the least of wh_doctor_ring_seconds(), 0: not known. */
void wh_doctor_processors(struct wh_findings *findings, const char *root, const struct wh_cpus *allowed,
			  uint64_t threads, double ring_seconds);

/* How far the adapter's memory node is from its capture thread's CPU. */
void wh_doctor_numa(struct wh_findings *findings, const char *root, const struct wh_doctor_adapter *adapter);

/* ---- limits.c ---- */

struct wh_doctor_needs {
	uint32_t adapters;   /* at least 1 */
	uint64_t ring_bytes; /* of each */
	uint64_t file_bytes; /* of the largest file */
	uint64_t descriptors;
	double line_bytes;   /* bytes a second that all links carry; 0: not known */
	double link_bytes;   /* that the fastest of them does, whose ring is full first */
	const char *command; /* "wirehaul -i eth0 -w /captures/trace.pcapng"; empty where it cannot be written */
};

/* What this process may still take: of the machine's memory, and of its control groups' limits. False: not known. */
bool wh_doctor_memory_left(const char *root, uint64_t *bytes);

/* Memory against the rings, which count as the kernel's, not as a control group's. */
void wh_doctor_memory(struct wh_findings *findings, const char *root, const struct wh_doctor_needs *needs);

/* Limits of this process; LOCKS: it may lock any amount of memory (CAP_IPC_LOCK). */
void wh_doctor_limits(struct wh_findings *findings, const struct wh_doctor_needs *needs, bool locks);

/* Whether it may capture at all. WANTED: there are adapters. */
void wh_doctor_privileges(struct wh_findings *findings, bool wanted);
bool wh_doctor_may_lock(void);

/* io_uring, as far as files and the release's name tell, and as WORKS says: whether one could be opened just now, and
 * if not, WHY. RELEASE as uname(2) has it. */
void wh_doctor_kernel(struct wh_findings *findings, const char *root, const char *release, bool works, const char *why);

/* ---- disk.c ---- */

/* A line of /proc/self/mountinfo (proc(5)). */
struct wh_doctor_mount {
	bool known;
	unsigned major, minor;
	char point[WH_PATH_BYTES];
	char type[64];
	char options[512]; /* the mount's and the file system's, comma separated */
};

/* Where the files are to be. */
struct wh_doctor_place {
	char directory[WH_PATH_BYTES];
	char word[WH_PATH_BYTES]; /* in a command; empty where it cannot be written */
	int fd;                   /* for looking at it; -1: not even that can be done */
	bool writable;
	struct wh_doctor_mount mount;
	bool space_known;
	struct wh_space space;
	uint64_t limit_bytes; /* that stay free */
};

/* Opens the directory of OUTPUT, a path as a capture takes it. Fails with words for a person where there is no such
 * directory; one that may not be written to is a finding. The caller closes fd, whatever the result. */
WH_MUST_CHECK enum wh_status wh_doctor_place_open(struct wh_findings *findings, const char *root, const char *output,
						  struct wh_doctor_place *place, struct wh_error *error);

/* Finds mount ID. */
void wh_doctor_mount_read(const char *root, uint64_t id, struct wh_doctor_mount *mount);

/* File system, its options and its device. */
void wh_doctor_mount_judge(struct wh_findings *findings, const char *root, const struct wh_doctor_place *place);

/* What came of a first small write. */
struct wh_doctor_probe {
	bool done;  /* there was a file to write to */
	int reason; /* errno of a direct write; 0: it was taken. Where not done, that of opening the file. */
	bool allocation_refused;
};

/* Tries direct writes and allocation with a file that has no name. Nothing is done where that would come near the
 * limit on free space. Blocks, as long as the disk does. */
void wh_doctor_probe_try(const struct wh_doctor_place *place, struct wh_doctor_probe *probe);
void wh_doctor_probe_judge(struct wh_findings *findings, const struct wh_doctor_probe *probe);

/* Rates, in bytes of files a second; 0: not known. */
struct wh_doctor_rates {
	double disk, line, traffic;
};

/* Free space above the limit, and the time until it is reached. Pure. */
void wh_doctor_space_judge(struct wh_findings *findings, const struct wh_doctor_place *place,
			   const struct wh_doctor_rates *rates, double percent, const char *command);

/* ---- measure.c ---- */

/* Does WORK(OF) in a thread of its own. True when it was done within SECONDS. Otherwise OF belongs to that thread,
 * which calls RELEASE(OF) when the work ends after all; it may outlive the caller. Where no thread can be started, the
 * work is done by the caller's. */
bool wh_doctor_within(double seconds, void (*work)(void *of), void (*release)(void *of), void *of);

/* Whether the directory of OUTPUT answers at all, looked at in vain for SECONDS: then WH_ERR_INPUT. */
WH_MUST_CHECK enum wh_status wh_doctor_answers(const char *output, double seconds, struct wh_error *error);

/* What a run gave. */
struct wh_doctor_run {
	size_t adapters; /* that took part */
	struct wh_doctor_probe probe;
	bool done;
	bool hung;         /* it did not end in time, and its files may be left */
	char problem[512]; /* why not, or what went wrong with it; empty */
	bool failed;       /* that is an error, which a capture would meet as well */
	double seconds;
	uint64_t frames, dropped, frame_bytes_sum, file_bytes;
	uint64_t ring_bytes;
};

/* Frames of ADAPTERS, none of which is written, for a second. No promiscuous mode, so nothing changes. Blocks. */
void wh_doctor_run_traffic(const struct wh_config *config, const struct wh_doctor_adapter *adapters, size_t count,
			   struct wh_doctor_run *run);

/* A first small write, then made-up frames into PLACE for three seconds; the files are removed. Never more than half of
 * the space above the limit is taken, nor of AVAILABLE_BYTES of memory. Blocks for half a minute longer at most: where
 * the disk does not answer, a thread of its own waits for it, and removes the files should it ever do. */
void wh_doctor_run_disk(const struct wh_config *config, const struct wh_doctor_place *place, uint64_t ring_bytes,
			uint64_t available_bytes, struct wh_doctor_run *run);

/* What the runs say: traffic now, write speed, and the rate to expect. Pure. */
void wh_doctor_traffic_judge(struct wh_findings *findings, const struct wh_doctor_run *traffic);
void wh_doctor_rate_judge(struct wh_findings *findings, const struct wh_doctor_run *disk,
			  const struct wh_doctor_run *traffic, const struct wh_doctor_needs *needs);
/* That the disk hung: WORD is the directory, as in wh_doctor_place. Pure. */
void wh_doctor_hung_judge(struct wh_findings *findings, const struct wh_doctor_run *disk, const char *word);

#endif
