/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/config.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/topology.h"
#include "writer/format_pcapng.h"

enum {
	KIB = 1024,
	MIB = 1024 * 1024,
	SNAPSHOT_MOST = 262144, /* libpcap's MAXIMUM_SNAPLEN; readers refuse more */
	BLOCK_MOST = MIB,
	BLOCK_USUAL_LEAST = 128 * KIB, /* takes a 64 KiB frame of segmentation offload with room to spare */
	BLOCK_LEAST = 16 * KIB,
	BLOCKS_LEAST = 4,
	RING_LEAST = 64 * KIB,
	FILE_OVERHEAD = 4 * WH_FILE_ALIGNMENT, /* header and trailer of a file with few interfaces */
	FANOUT_MOST = 256,
	SIMULATED_LEAST = 14, /* an Ethernet header */
	SIMULATED_MOST = 65535,
	SIMULATED_USUAL = 1414,
	SIMULATED_SECONDS = 10,
	SIMULATED_FILES = 4 /* enough for the disk never to wait for a deletion */
};
/* What files would be called that nobody has named. */
#define SIMULATED_OUTPUT "simulated.pcapng"

#define RING_USUAL       ((uint64_t)512 * MIB)
#define RINGS_TOGETHER   ((uint64_t)1024 * MIB)
#define RING_USUAL_LEAST ((uint64_t)4 * MIB)

void wh_config_init(struct wh_config *config)
{
	*config = (struct wh_config){
		.file_bytes = 100000000,
		.min_free_percent = 10,
		.snapshot_length = SNAPSHOT_MOST,
		.block_timeout_ms = 100,
		.fanout = 1,
		.simulated_frame_bytes = SIMULATED_USUAL,
	};
}

static bool makes_up_frames(const struct wh_config *config)
{
	return config->simulate == WH_SIMULATE_NO_NIC;
}

static bool has_adapters(const struct wh_config *config)
{
	return config->replay_file == NULL && !makes_up_frames(config);
}

/* What needs a disk. The free-space limit does as well, but that has a default. */
static enum wh_status no_disk_check(const struct wh_config *config, struct wh_error *error)
{
	if (config->direct_io == WH_DIRECT_IO_ON)
		return wh_error_set(error, WH_ERR_INPUT,
				    "nothing is written, past the page cache or through it (--simulate no-disk): leave "
				    "out --direct-io on");
	if (config->on_low_space == WH_LOW_SPACE_RECYCLE)
		return wh_error_set(error, WH_ERR_INPUT,
				    "there are no files to delete (--simulate no-disk): leave out --on-low-space "
				    "recycle");
	return WH_OK;
}

/* What contradicts a simulation, or a part of it that is left out. */
static enum wh_status simulation_check(const struct wh_config *config, struct wh_error *error)
{
	if (config->simulate == WH_SIMULATE_NOTHING)
		return WH_OK;
	const char *name = wh_simulation_name(config->simulate);
	if (name[0] == '\0')
		return wh_error_set(error, WH_ERR_INPUT,
				    "there is no such simulation: give no-disk or no-nic (--simulate)");
	if (config->hook_command != NULL)
		return wh_error_set(error, WH_ERR_INPUT,
				    "a simulation (--simulate %s) leaves no file to run a command on: leave out -z",
				    name);
	if (config->adopt_files)
		return wh_error_set(error, WH_ERR_INPUT,
				    "a simulation (--simulate %s) deletes no files but its own: leave out --adopt",
				    name);
	if (config->output != NULL && strcmp(config->output, "-") == 0)
		return wh_error_set(error, WH_ERR_INPUT,
				    "a simulation (--simulate %s) writes nothing to standard output: leave out -w -",
				    name);
	if (!makes_up_frames(config))
		return no_disk_check(config, error);
	if (config->interface_count != 0 || config->replay_file != NULL)
		return wh_error_set(error, WH_ERR_INPUT,
				    "made-up frames (--simulate no-nic) come from no adapter and no file: leave out -i "
				    "and -r");
	if (config->per_interface)
		return wh_error_set(error, WH_ERR_INPUT,
				    "made-up frames (--simulate no-nic) come from no adapter that could have files of "
				    "its own: leave out --per-interface");
	if (config->filter != NULL || config->direction != WH_DIRECTION_BOTH || config->no_promiscuous ||
	    config->fanout > 1)
		return wh_error_set(error, WH_ERR_INPUT,
				    "made-up frames (--simulate no-nic) are all alike: a filter, -Q, -p and --fanout "
				    "do not go with them");
	uint32_t bytes = config->simulated_frame_bytes;
	if (bytes != 0 && (bytes < SIMULATED_LEAST || bytes > SIMULATED_MOST))
		return wh_error_set(error, WH_ERR_INPUT,
				    "made-up frames must have from %d to %d bytes (--simulate no-nic:BYTES)",
				    SIMULATED_LEAST, SIMULATED_MOST);
	return WH_OK;
}

static enum wh_status input_check(const struct wh_config *config, struct wh_error *error)
{
	bool none = config->output == NULL || config->output[0] == '\0';
	if (none && config->simulate != WH_SIMULATE_NO_DISK)
		return wh_error_set(error, WH_ERR_INPUT, "no output: name the file to write (-w)");
	if (config->replay_file == NULL && config->interface_count == 0 && !makes_up_frames(config))
		return wh_error_set(error, WH_ERR_INPUT, "no adapter: name one, or any (-i)");
	if (config->replay_file != NULL && config->interface_count != 0)
		return wh_error_set(error, WH_ERR_INPUT, "a replay (-r) and adapters (-i) do not go together");
	if (config->replay_file != NULL && (config->direction != WH_DIRECTION_BOTH || config->no_promiscuous))
		return wh_error_set(
		    error, WH_ERR_INPUT,
		    "a replay (-r) has no adapter: a direction (-Q) and promiscuous mode (-p) do not go "
		    "with it");
	if (!(config->min_free_percent >= 0 && config->min_free_percent < 100))
		return wh_error_set(error, WH_ERR_INPUT,
				    "the free-space limit must be from 0 to below 100 percent (--min-free)");
	if (config->snapshot_length == 0 || config->snapshot_length > SNAPSHOT_MOST)
		return wh_error_set(error, WH_ERR_INPUT, "the snapshot length must be from 1 to %d bytes (-s)",
				    SNAPSHOT_MOST);
	if (config->fanout == 0 || config->fanout > FANOUT_MOST)
		return wh_error_set(error, WH_ERR_INPUT,
				    "the number of capture threads must be from 1 to %d (--fanout)", FANOUT_MOST);
	if (config->block_timeout_ms == 0 || config->block_timeout_ms > 60000)
		return wh_error_set(error, WH_ERR_INPUT,
				    "the block timeout must be from 1 to 60000 ms (--block-timeout)");
	if (config->cpus == WH_CPUS_LIST && config->cpu_list == NULL)
		return wh_error_set(error, WH_ERR_INPUT, "no CPUs: give a list such as 0,2-3 (--cpus)");
	return WH_OK;
}

static enum wh_status stream_check(const struct wh_config *config, struct wh_error *error)
{
	if (config->output == NULL || strcmp(config->output, "-") != 0)
		return WH_OK;
	if (config->file_seconds != 0 || config->keep_files != 0 || config->per_interface ||
	    config->hook_command != NULL || config->stop_after_files != 0 || config->adopt_files ||
	    config->on_low_space == WH_LOW_SPACE_RECYCLE)
		return wh_error_set(error, WH_ERR_INPUT,
				    "standard output is one stream: options about files do not go with it");
	return WH_OK;
}

/* Without adapters no topology is opened, which looks at this list otherwise. */
static enum wh_status cpus_check(const struct wh_config *config, struct wh_error *error)
{
	uint64_t bits[16];
	cpu_set_t allowed;
	if (has_adapters(config) || config->cpus != WH_CPUS_LIST)
		return WH_OK;
	enum wh_status status = wh_cpu_list_parse(config->cpu_list, bits, error);
	if (status != WH_OK || sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		return status;
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if ((bits[cpu / 64] >> (cpu % 64) & 1) != 0 && !CPU_ISSET(cpu, &allowed))
			return wh_error_set(
			    error, WH_ERR_INPUT,
			    "CPU %zu of the list \"%.200s\" is not there or not allowed to this process (--cpus)", cpu,
			    config->cpu_list);
	return WH_OK;
}

static char *copy(const char *text, bool *failed)
{
	char *made = text != NULL ? strdup(text) : NULL;
	*failed |= text != NULL && made == NULL;
	return made;
}

/* CONFIG is the engine's own. */
static enum wh_writer_format format_choose(const struct wh_config *config)
{
	if (config->format == WH_FORMAT_PCAP)
		return WH_WRITE_PCAP;
	if (config->format == WH_FORMAT_PCAP_NS)
		return WH_WRITE_PCAP_NS;
	size_t length = strlen(config->output);
	if (config->format == WH_FORMAT_AUTO && length >= 5 && strcasecmp(config->output + length - 5, ".pcap") == 0)
		return WH_WRITE_PCAP;
	return WH_WRITE_PCAPNG;
}

/* Made-up frames have no end of their own and would fill any disk. */
static void simulation_bound(struct wh_config *config)
{
	if (config->simulated_frame_bytes == 0)
		config->simulated_frame_bytes = SIMULATED_USUAL;
	if (config->stop_after_seconds == 0 && config->stop_after_frames == 0 && config->stop_after_files == 0 &&
	    config->stop_after_bytes == 0)
		config->stop_after_seconds = SIMULATED_SECONDS;
	if (config->keep_files == 0)
		config->keep_files = SIMULATED_FILES;
}

enum wh_status wh_settings_take(const struct wh_config *config, struct wh_settings *settings, struct wh_error *error)
{
	*settings = (struct wh_settings){ .config = *config };
	enum wh_status status = input_check(config, error);
	if (status == WH_OK)
		status = simulation_check(config, error);
	if (status == WH_OK)
		status = stream_check(config, error);
	if (status == WH_OK)
		status = cpus_check(config, error);
	if (status != WH_OK)
		return status;
	bool failed = false;
	settings->replay_file = copy(config->replay_file, &failed);
	bool named = config->output != NULL && config->output[0] != '\0';
	settings->output = copy(named ? config->output : SIMULATED_OUTPUT, &failed);
	settings->filter = copy(config->filter, &failed);
	settings->hook_command = copy(config->hook_command, &failed);
	settings->cpu_list = copy(config->cpu_list, &failed);
	settings->user = copy(config->drop_to_user, &failed);
	settings->interface_names = calloc(config->interface_count + 1, sizeof(char *));
	if (settings->interface_names == NULL || failed)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	for (size_t i = 0; i < config->interface_count; i++) {
		const char *name = config->interfaces[i];
		settings->any |= strcmp(name, "any") == 0 || strcmp(name, "*") == 0;
		settings->interface_names[i] = copy(name, &failed);
	}
	if (failed)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	struct wh_config *mine = &settings->config;
	mine->interfaces = (const char *const *)settings->interface_names;
	mine->replay_file = settings->replay_file;
	mine->output = settings->output;
	mine->filter = settings->filter;
	mine->hook_command = settings->hook_command;
	mine->cpu_list = settings->cpu_list;
	mine->drop_to_user = settings->user;
	settings->format = format_choose(mine);
	if (strcmp(mine->output, "-") == 0) {
		mine->file_bytes = 0;
		mine->min_free_percent = 0;
	}
	if (mine->simulate == WH_SIMULATE_NO_DISK)
		mine->min_free_percent = 0;
	if (makes_up_frames(mine))
		simulation_bound(mine);
	return WH_OK;
}

bool wh_settings_have_adapters(const struct wh_settings *settings)
{
	return has_adapters(&settings->config);
}

/* The largest power of two that is not above VALUE. */
static uint64_t power_of_two_below(uint64_t value)
{
	uint64_t power = 1;
	while (power <= value / 2)
		power *= 2;
	return power;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The block is the unit that a file is filled with: small enough that the last one which does not fit leaves a file
 * within 1.5 % of its limit, large enough that few are needed. */
static uint64_t block_choose(uint64_t ring_bytes, uint64_t file_bytes)
{
	uint64_t block = least(BLOCK_MOST, power_of_two_below(ring_bytes / 8));
	if (file_bytes != 0) {
		uint64_t fine = power_of_two_below(file_bytes / 72);
		block = least(block, most(fine, BLOCK_USUAL_LEAST));
		block = least(block, power_of_two_below(most(file_bytes / 4, 1)));
	}
	return most(block, BLOCK_LEAST);
}

/* What all rings may take where nobody has said how large one is to be. */
static uint64_t rings_together(uint64_t memory_bytes)
{
	return least(RINGS_TOGETHER, memory_bytes / 16);
}

bool wh_settings_write_files(const struct wh_settings *settings)
{
	return settings->config.simulate != WH_SIMULATE_NO_DISK && settings->config.output != NULL &&
	       strcmp(settings->config.output, "-") != 0;
}

enum wh_status wh_settings_ring_choose(struct wh_settings *settings, uint32_t adapters, uint64_t memory_bytes,
				       struct wh_error *error)
{
	const struct wh_config *config = &settings->config;
	uint64_t ring = config->ring_bytes;
	/* A ring cannot be swapped out, and the kernel would rather kill programs than refuse one. */
	uint64_t fits = memory_bytes / 2 / (adapters != 0 ? adapters : 1);
	if (ring == 0) {
		uint64_t share = rings_together(memory_bytes) / (adapters != 0 ? adapters : 1);
		ring = least(fits, most(RING_USUAL_LEAST, least(RING_USUAL, share)));
	}
	if (config->ring_bytes > fits)
		return wh_error_set(
		    error, WH_ERR_INPUT,
		    "the ring is too large: with half of the machine's memory, %llu KiB for each adapter "
		    "is the most (-B)",
		    (unsigned long long)(fits / KIB));
	/* The members of a fan-out group share what an adapter may have. */
	ring /= config->fanout;
	if (ring < RING_LEAST)
		return wh_error_set(error, WH_ERR_INPUT, "the ring is too small: at least %llu KiB are needed (-B)",
				    (unsigned long long)RING_LEAST / KIB * config->fanout);
	uint64_t file = config->file_bytes;
	if (config->stop_after_bytes != 0 && (file == 0 || config->stop_after_bytes < file))
		file = config->stop_after_bytes;
	uint64_t block = config->block_bytes != 0 ? config->block_bytes : block_choose(ring, file);
	if (block < WH_FILE_ALIGNMENT || (block & (block - 1)) != 0)
		return wh_error_set(error, WH_ERR_INPUT,
				    "the block size must be a power of two of at least %d (--block-size)",
				    WH_FILE_ALIGNMENT);
	uint64_t count = ring / block;
	if (count < BLOCKS_LEAST || count > UINT32_MAX / 2)
		return wh_error_set(
		    error, WH_ERR_INPUT,
		    "a ring of %llu KiB cannot be made of blocks of %llu KiB: at least %d are needed (-B, "
		    "--block-size)",
		    (unsigned long long)(ring / KIB), (unsigned long long)(block / KIB), BLOCKS_LEAST);
	if (config->file_bytes != 0 && config->file_bytes < block + FILE_OVERHEAD)
		return wh_error_set(
		    error, WH_ERR_INPUT,
		    "a file size of %llu bytes is too small to hold one chunk: with this block size it must be at "
		    "least %llu (-C, --block-size)",
		    (unsigned long long)config->file_bytes, (unsigned long long)block + FILE_OVERHEAD);
	if (config->stop_after_bytes != 0 && config->stop_after_bytes < block + FILE_OVERHEAD)
		return wh_error_set(error, WH_ERR_INPUT,
				    "%llu bytes are too little to hold one chunk: %llu is the least here (-a filesize)",
				    (unsigned long long)config->stop_after_bytes,
				    (unsigned long long)block + FILE_OVERHEAD);
	settings->geometry = (struct wh_ring_geometry){ .block_bytes = (uint32_t)block,
							.block_count = (uint32_t)count,
							.timeout_ms = config->block_timeout_ms };
	return WH_OK;
}

/* The least that serves an adapter well, of all the members of its fan-out group: blocks of the usual least size, or
 * enough of those that were asked for. */
static uint64_t late_ring_least(const struct wh_config *config)
{
	uint64_t member = most(8 * (uint64_t)BLOCK_USUAL_LEAST, (uint64_t)BLOCKS_LEAST * config->block_bytes);
	return most(RING_USUAL_LEAST, member * config->fanout);
}

enum wh_status wh_settings_ring_late(const struct wh_settings *settings, uint64_t had_bytes, uint64_t used_bytes,
				     uint64_t memory_bytes, struct wh_ring_geometry *geometry, struct wh_error *error)
{
	const struct wh_config *config = &settings->config;
	*geometry = settings->geometry;
	uint64_t first = (uint64_t)geometry->block_bytes * geometry->block_count * config->fanout, ring = first;
	if (config->ring_bytes == 0) {
		/* Those that come later may take as much again as those of the start. */
		uint64_t together = 2 * rings_together(memory_bytes);
		uint64_t left = together > used_bytes ? together - used_bytes : 0;
		/* Half of it, since nobody knows how many more will come. */
		uint64_t share = had_bytes != 0 ? least(had_bytes, left) : left / 2;
		ring = least(first, most(share, late_ring_least(config)));
	}
	if (used_bytes + ring > memory_bytes / 2)
		return wh_error_set(error, WH_ERR_MEMORY,
				    "with its ring of %llu KiB, all rings together would take more than half of the "
				    "machine's memory (-B)",
				    (unsigned long long)(ring / KIB));
	if (ring == first)
		return WH_OK;
	uint64_t member = ring / config->fanout;
	/* Never larger than at the start: the writers' buffers are made for those. */
	if (config->block_bytes == 0)
		geometry->block_bytes =
		    (uint32_t)most(BLOCK_LEAST, least(geometry->block_bytes, power_of_two_below(member / 8)));
	geometry->block_count = (uint32_t)(member / geometry->block_bytes);
	return WH_OK;
}

void wh_settings_free(struct wh_settings *settings)
{
	for (size_t i = 0; settings->interface_names != NULL && i < settings->config.interface_count; i++)
		free(settings->interface_names[i]);
	free(settings->interface_names);
	free(settings->replay_file);
	free(settings->output);
	free(settings->filter);
	free(settings->hook_command);
	free(settings->cpu_list);
	free(settings->user);
	*settings = (struct wh_settings){ 0 };
}
