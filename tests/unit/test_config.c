/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration: what is refused, what is filled in, and the sizes that are chosen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "engine/config.h"
#include "writer/format_pcapng.h"

enum { KIB = 1024, MIB = 1024 * 1024 };
#define GIB ((uint64_t)1024 * MIB)

static const char *const one_adapter[] = { "eth0" };

static struct wh_config good(void)
{
	struct wh_config config;
	wh_config_init(&config);
	config.interfaces = one_adapter;
	config.interface_count = 1;
	config.output = "trace.pcapng";
	return config;
}

static void defaults_are_the_documented_ones(void **state)
{
	(void)state;
	struct wh_config config;
	memset(&config, 0xA5, sizeof(config));
	wh_config_init(&config);
	assert_int_equal(config.file_bytes, 100000000);
	assert_true(config.min_free_percent == 10.0);
	assert_int_equal(config.snapshot_length, 262144);
	assert_int_equal(config.block_timeout_ms, 100);
	assert_int_equal(config.fanout, 1);
	assert_int_equal(config.format, WH_FORMAT_AUTO);
	assert_int_equal(config.on_low_space, WH_LOW_SPACE_STOP);
	assert_null(config.report);
	assert_false(config.no_promiscuous);
}

static void refuse(const struct wh_config *config, const char *word)
{
	struct wh_settings settings;
	struct wh_error error = { 0 };
	assert_int_equal(wh_settings_take(config, &settings, &error), WH_ERR_INPUT);
	wh_settings_free(&settings);
	if (strstr(error.text, word) == NULL)
		fail_msg("\"%s\" does not mention %s", error.text, word);
	assert_null(strchr(error.text, '\n'));
}

static void accept(const struct wh_config *config)
{
	struct wh_settings settings;
	struct wh_error error = { 0 };
	if (wh_settings_take(config, &settings, &error) != WH_OK)
		fail_msg("%s", error.text);
	wh_settings_free(&settings);
}

static void what_makes_no_sense_is_refused(void **state)
{
	(void)state;
	struct wh_config config = good();
	accept(&config);
	config.output = NULL;
	refuse(&config, "-w");
	config.output = "";
	refuse(&config, "-w");
	config = good();
	config.interface_count = 0;
	refuse(&config, "-i");
	config.replay_file = "x.pcap";
	accept(&config);
	config.direction = WH_DIRECTION_OUT;
	refuse(&config, "-Q");
	config.direction = WH_DIRECTION_BOTH;
	config.no_promiscuous = true;
	refuse(&config, "-p");
	config.interface_count = 1;
	refuse(&config, "-r");
	config = good();
	config.cpus = WH_CPUS_LIST;
	refuse(&config, "--cpus");
	config.cpu_list = "0";
	accept(&config);
}

/* For adapters the topology looks at the list when they are opened. */
static void cpus_must_be_there(struct wh_config config)
{
	config.interface_count = 0;
	config.cpus = WH_CPUS_LIST;
	cpu_set_t allowed;
	char list[32];
	assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		snprintf(list, sizeof(list), "%zu", cpu);
		config.cpu_list = list;
		if (CPU_ISSET(cpu, &allowed))
			accept(&config);
		else
			refuse(&config, "--cpus");
	}
}

static void cpus_must_be_there_without_adapters(void **state)
{
	(void)state;
	struct wh_config config = good();
	config.replay_file = "x.pcap";
	cpus_must_be_there(config);
	config.replay_file = NULL;
	config.simulate = WH_SIMULATE_NO_NIC;
	cpus_must_be_there(config);
}

static void numbers_have_bounds(void **state)
{
	(void)state;
	static const double bad_percents[] = { -0.001, 100, 1e9, -INFINITY, INFINITY, NAN };
	static const double good_percents[] = { 0, 0.5, 10, 99.9, 99.999 };
	for (size_t i = 0; i < sizeof(bad_percents) / sizeof(bad_percents[0]); i++) {
		struct wh_config config = good();
		config.min_free_percent = bad_percents[i];
		refuse(&config, "--min-free");
	}
	for (size_t i = 0; i < sizeof(good_percents) / sizeof(good_percents[0]); i++) {
		struct wh_config config = good();
		config.min_free_percent = good_percents[i];
		accept(&config);
	}
	static const struct {
		uint32_t snapshot, fanout, timeout;
		const char *word; /* NULL: accepted */
	} cases[] = {
		{ 0, 1, 100, "-s" },
		{ 262145, 1, 100, "-s" },
		{ UINT32_MAX, 1, 100, "-s" },
		{ 1, 1, 100, NULL },
		{ 262144, 1, 100, NULL },
		{ 96, 0, 100, "--fanout" },
		{ 96, 257, 100, "--fanout" },
		{ 96, 256, 100, NULL },
		{ 96, 1, 0, "--block-timeout" },
		{ 96, 1, 60001, "--block-timeout" },
		{ 96, 1, 60000, NULL },
		{ 96, 1, 1, NULL },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wh_config config = good();
		config.snapshot_length = cases[i].snapshot;
		config.fanout = cases[i].fanout;
		config.block_timeout_ms = cases[i].timeout;
		if (cases[i].word != NULL)
			refuse(&config, cases[i].word);
		else
			accept(&config);
	}
}

static void standard_output_is_one_stream(void **state)
{
	(void)state;
	struct wh_config config = good();
	struct wh_settings settings;
	struct wh_error error;
	config.output = "-";
	assert_int_equal(wh_settings_take(&config, &settings, &error), WH_OK);
	assert_int_equal(settings.config.file_bytes, 0);
	assert_true(settings.config.min_free_percent == 0.0);
	wh_settings_free(&settings);
	for (int i = 0; i < 7; i++) {
		config = good();
		config.output = "-";
		config.file_seconds = i == 0 ? 60 : 0;
		config.keep_files = i == 1 ? 5 : 0;
		config.per_interface = i == 2;
		config.hook_command = i == 3 ? "gzip" : NULL;
		config.stop_after_files = i == 4 ? 3 : 0;
		config.on_low_space = i == 5 ? WH_LOW_SPACE_RECYCLE : WH_LOW_SPACE_STOP;
		config.adopt_files = i == 6;
		refuse(&config, "standard output");
	}
}

static void format_follows_the_name(void **state)
{
	(void)state;
	static const struct {
		const char *output;
		enum wh_file_format asked;
		enum wh_writer_format chosen;
	} cases[] = {
		{ "x.pcapng", WH_FORMAT_AUTO, WH_WRITE_PCAPNG },  { "x.pcap", WH_FORMAT_AUTO, WH_WRITE_PCAP },
		{ "x.PCAP", WH_FORMAT_AUTO, WH_WRITE_PCAP },      { "x", WH_FORMAT_AUTO, WH_WRITE_PCAPNG },
		{ "pcap", WH_FORMAT_AUTO, WH_WRITE_PCAPNG },      { "-", WH_FORMAT_AUTO, WH_WRITE_PCAPNG },
		{ "x.pcap.gz", WH_FORMAT_AUTO, WH_WRITE_PCAPNG }, { "x.pcap", WH_FORMAT_PCAPNG, WH_WRITE_PCAPNG },
		{ "x.pcapng", WH_FORMAT_PCAP, WH_WRITE_PCAP },    { "x.pcap", WH_FORMAT_PCAP_NS, WH_WRITE_PCAP_NS },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wh_config config = good();
		struct wh_settings settings;
		struct wh_error error;
		config.output = cases[i].output;
		config.format = cases[i].asked;
		assert_int_equal(wh_settings_take(&config, &settings, &error), WH_OK);
		assert_int_equal(settings.format, cases[i].chosen);
		wh_settings_free(&settings);
	}
}

/* What was given may go; the copy stays. */
static void strings_are_copied(void **state)
{
	(void)state;
	char texts[8][16] = { "eth0", "any", "out.pcapng", "tcp", "gzip -9", "0,1", "nobody", "" };
	const char *names[] = { texts[0], texts[1] };
	struct wh_config config = good();
	struct wh_settings settings;
	struct wh_error error;
	config.interfaces = names;
	config.interface_count = 2;
	config.output = texts[2];
	config.filter = texts[3];
	config.hook_command = texts[4];
	config.cpus = WH_CPUS_LIST;
	config.cpu_list = texts[5];
	config.drop_to_user = texts[6];
	assert_int_equal(wh_settings_take(&config, &settings, &error), WH_OK);
	memset(texts, 'x', sizeof(texts));
	memset(names, 0, sizeof(names));
	const struct wh_config *kept = &settings.config;
	assert_string_equal(kept->interfaces[0], "eth0");
	assert_string_equal(kept->interfaces[1], "any");
	assert_true(settings.any);
	assert_string_equal(kept->output, "out.pcapng");
	assert_string_equal(kept->filter, "tcp");
	assert_string_equal(kept->hook_command, "gzip -9");
	assert_string_equal(kept->cpu_list, "0,1");
	assert_string_equal(kept->drop_to_user, "nobody");
	assert_null(kept->replay_file);
	wh_settings_free(&settings);
	wh_settings_free(&settings); /* of zeros now */
}

/* ---- simulations ---- */

static struct wh_config made_up(void)
{
	struct wh_config config = good();
	config.interface_count = 0;
	config.simulate = WH_SIMULATE_NO_NIC;
	return config;
}

static void take(const struct wh_config *config, struct wh_settings *settings)
{
	struct wh_error error = { 0 };
	if (wh_settings_take(config, settings, &error) != WH_OK)
		fail_msg("%s", error.text);
}

static void no_disk_needs_no_output(void **state)
{
	(void)state;
	static const char *const outputs[] = { NULL, "", "/nowhere/at/all/x.pcap" };
	for (size_t i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++) {
		struct wh_config config = good();
		struct wh_settings settings;
		config.simulate = WH_SIMULATE_NO_DISK;
		config.output = outputs[i];
		take(&config, &settings);
		assert_true(settings.config.output[0] != '\0');
		assert_int_equal(settings.format, i == 2 ? WH_WRITE_PCAP : WH_WRITE_PCAPNG);
		/* There is no free space to keep to. */
		assert_true(settings.config.min_free_percent == 0.0);
		/* It goes on until it is told to stop, like any capture. */
		assert_int_equal(settings.config.stop_after_seconds, 0);
		assert_int_equal(settings.config.keep_files, 0);
		assert_true(wh_settings_have_adapters(&settings));
		wh_settings_free(&settings);
	}
	struct wh_config config = good();
	config.output = NULL;
	config.interface_count = 0;
	config.replay_file = "x.pcap";
	config.simulate = WH_SIMULATE_NO_DISK;
	accept(&config);
	config.replay_file = NULL;
	refuse(&config, "-i");
}

static void made_up_frames_are_bounded(void **state)
{
	(void)state;
	static const struct {
		uint32_t seconds;
		uint64_t frames;
		uint32_t files;
		uint64_t bytes;
		uint32_t keep;
		uint32_t seconds_then, keep_then;
	} cases[] = {
		{ 0, 0, 0, 0, 0, 10, 4 },     { 3, 0, 0, 0, 0, 3, 4 },    { 60, 0, 0, 0, 2, 60, 2 },
		{ 0, 1, 0, 0, 0, 0, 4 },      { 0, 0, 5, 0, 0, 0, 4 },    { 0, 0, 0, 1000000, 0, 0, 4 },
		{ 0, 0, 0, 0, 100, 10, 100 }, { 7, 1, 5, 1000, 3, 7, 3 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wh_config config = made_up();
		struct wh_settings settings;
		config.stop_after_seconds = cases[i].seconds;
		config.stop_after_frames = cases[i].frames;
		config.stop_after_files = cases[i].files;
		config.stop_after_bytes = cases[i].bytes;
		config.keep_files = cases[i].keep;
		take(&config, &settings);
		assert_int_equal(settings.config.stop_after_seconds, cases[i].seconds_then);
		assert_int_equal(settings.config.keep_files, cases[i].keep_then);
		assert_int_equal(settings.config.file_bytes, 100000000);
		/* The disk is a real one. */
		assert_true(settings.config.min_free_percent == 10.0);
		assert_false(wh_settings_have_adapters(&settings));
		wh_settings_free(&settings);
	}
}

static void made_up_frames_have_a_size(void **state)
{
	(void)state;
	static const uint32_t good_sizes[] = { 14, 60, 1414, 9000, 65535 }, bad_sizes[] = { 1, 13, 65536, UINT32_MAX };
	struct wh_config config = made_up();
	struct wh_settings settings;
	assert_int_equal(config.simulated_frame_bytes, 1414);
	config.simulated_frame_bytes = 0;
	take(&config, &settings);
	assert_int_equal(settings.config.simulated_frame_bytes, 1414);
	wh_settings_free(&settings);
	for (size_t i = 0; i < sizeof(good_sizes) / sizeof(good_sizes[0]); i++) {
		config.simulated_frame_bytes = good_sizes[i];
		take(&config, &settings);
		assert_int_equal(settings.config.simulated_frame_bytes, good_sizes[i]);
		wh_settings_free(&settings);
	}
	for (size_t i = 0; i < sizeof(bad_sizes) / sizeof(bad_sizes[0]); i++) {
		config.simulated_frame_bytes = bad_sizes[i];
		refuse(&config, "no-nic");
	}
}

static void what_a_simulation_leaves_out_is_refused(void **state)
{
	(void)state;
	static const enum wh_simulation both[] = { WH_SIMULATE_NO_DISK, WH_SIMULATE_NO_NIC };
	for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++) {
		struct wh_config config = both[i] == WH_SIMULATE_NO_NIC ? made_up() : good();
		config.simulate = both[i];
		accept(&config);
		config.hook_command = "gzip";
		refuse(&config, "-z");
		config.hook_command = NULL;
		config.output = "-";
		refuse(&config, "-w -");
	}
	struct wh_config config = made_up();
	config.output = NULL;
	refuse(&config, "-w");
	for (int i = 0; i < 6; i++) {
		config = made_up();
		config.interface_count = i == 0 ? 1 : 0;
		config.replay_file = i == 1 ? "x.pcap" : NULL;
		config.filter = i == 2 ? "tcp" : NULL;
		config.direction = i == 3 ? WH_DIRECTION_IN : WH_DIRECTION_BOTH;
		config.no_promiscuous = i == 4;
		config.fanout = i == 5 ? 2 : 1;
		refuse(&config, "no-nic");
	}
	config = made_up();
	config.per_interface = true;
	refuse(&config, "--per-interface");
	config = made_up();
	config.direct_io = WH_DIRECT_IO_ON;
	config.on_low_space = WH_LOW_SPACE_RECYCLE;
	accept(&config);
	config = good();
	config.simulate = WH_SIMULATE_NO_DISK;
	config.per_interface = true;
	accept(&config);
	config.direct_io = WH_DIRECT_IO_ON;
	refuse(&config, "--direct-io");
	config.direct_io = WH_DIRECT_IO_OFF;
	config.on_low_space = WH_LOW_SPACE_RECYCLE;
	refuse(&config, "--on-low-space");
	config.on_low_space = WH_LOW_SPACE_STOP;
	config.adopt_files = true;
	refuse(&config, "--adopt");
	config = good();
	config.simulate = (enum wh_simulation)77;
	refuse(&config, "--simulate");
}

static void simulations_have_names(void **state)
{
	(void)state;
	assert_string_equal(wh_simulation_name(WH_SIMULATE_NOTHING), "");
	assert_string_equal(wh_simulation_name(WH_SIMULATE_NO_DISK), "no-disk");
	assert_string_equal(wh_simulation_name(WH_SIMULATE_NO_NIC), "no-nic");
	assert_string_equal(wh_simulation_name((enum wh_simulation)77), "");
}

/* ---- rings ---- */

static enum wh_status choose(struct wh_config *config, uint32_t adapters, uint64_t memory,
			     struct wh_ring_geometry *geometry, struct wh_error *error)
{
	struct wh_settings settings = { .config = *config };
	enum wh_status status = wh_settings_ring_choose(&settings, adapters, memory, error);
	*geometry = settings.geometry;
	return status;
}

/* What must hold of everything that was chosen. */
static void check_geometry(const struct wh_config *config, const struct wh_ring_geometry *geometry)
{
	uint64_t block = geometry->block_bytes;
	assert_true(block >= WH_FILE_ALIGNMENT && (block & (block - 1)) == 0);
	assert_true(geometry->block_count >= 4);
	assert_int_equal(geometry->timeout_ms, config->block_timeout_ms);
	if (config->ring_bytes != 0)
		assert_true(block * geometry->block_count * config->fanout <= config->ring_bytes);
	if (config->file_bytes != 0)
		assert_true(block + 4 * WH_FILE_ALIGNMENT <= config->file_bytes);
}

static void every_file_size_with_every_ring(void **state)
{
	(void)state;
	for (uint64_t ring = 0; ring <= 8 * GIB; ring = ring == 0 ? 64 * KIB : ring * 3 / 2)
		for (uint64_t file = 64 * KIB; file <= 10 * GIB; file = file * 21 / 20) {
			struct wh_config config = good();
			struct wh_ring_geometry geometry;
			struct wh_error error = { 0 };
			config.ring_bytes = ring;
			config.file_bytes = file;
			if (choose(&config, 1, 16 * GIB, &geometry, &error) != WH_OK)
				fail_msg("ring %llu, file %llu: %s", (unsigned long long)ring, (unsigned long long)file,
					 error.text);
			check_geometry(&config, &geometry);
			/* A frame of segmentation offload fits where ring and file are not small. */
			if ((ring == 0 || ring >= 2 * MIB) && file >= 10 * MIB)
				assert_true(geometry.block_bytes >= 128 * KIB);
			/* Dense files are within 1.5 % of their limit: what is missing is less than a block and a
			 * trailer. */
			if (file >= 10000000 && (geometry.block_bytes + 2.0 * WH_FILE_ALIGNMENT) / (double)file > 0.015)
				fail_msg("ring %llu, file %llu: blocks of %u are too large", (unsigned long long)ring,
					 (unsigned long long)file, geometry.block_bytes);
		}
}

static void rings_share_the_memory(void **state)
{
	(void)state;
	for (uint32_t adapters = 0; adapters <= 300; adapters += 7)
		for (uint64_t memory = 64 * (uint64_t)MIB; memory <= 1024 * GIB; memory *= 4) {
			struct wh_config config = good();
			struct wh_ring_geometry geometry;
			struct wh_error error = { 0 };
			assert_int_equal(choose(&config, adapters, memory, &geometry, &error), WH_OK);
			check_geometry(&config, &geometry);
			uint64_t ring = (uint64_t)geometry.block_bytes * geometry.block_count;
			assert_true(ring <= 512 * (uint64_t)MIB);
			assert_true(ring * (adapters != 0 ? adapters : 1) <= memory / 2);
			/* No more than a sixteenth of the memory, but for the least that each must have. */
			if (ring > 4 * (uint64_t)MIB)
				assert_true(ring * (adapters != 0 ? adapters : 1) <= memory / 16);
		}
}

static void fan_out_shares_the_ring(void **state)
{
	(void)state;
	struct wh_config config = good();
	struct wh_ring_geometry geometry;
	struct wh_error error = { 0 };
	config.ring_bytes = 64 * (uint64_t)MIB;
	for (config.fanout = 1; config.fanout <= 256; config.fanout *= 2) {
		assert_int_equal(choose(&config, 1, 16 * GIB, &geometry, &error), WH_OK);
		check_geometry(&config, &geometry);
	}
	config.ring_bytes = 64 * KIB;
	config.fanout = 2;
	assert_int_equal(choose(&config, 1, 16 * GIB, &geometry, &error), WH_ERR_INPUT);
	assert_non_null(strstr(error.text, "128"));
}

static void sizes_that_do_not_fit_together(void **state)
{
	(void)state;
	static const struct {
		uint64_t ring;
		uint32_t block;
		uint64_t file, total;
		const char *word; /* NULL: accepted */
	} cases[] = {
		{ 64 * KIB - 1, 0, 100000000, 0, "-B" },
		{ 1, 0, 100000000, 0, "-B" },
		{ MIB, 3 * 4096, 100000000, 0, "--block-size" },
		{ MIB, 2048, 100000000, 0, "--block-size" },
		{ MIB, 1, 100000000, 0, "--block-size" },
		{ MIB, 512 * KIB, 100000000, 0, "--block-size" },
		{ MIB, 256 * KIB, 100000000, 0, NULL },
		{ MIB, 4096, 100000000, 0, NULL },
		{ UINT64_MAX, 4096, 100000000, 0, "-B" },
		{ MIB, 256 * KIB, 256 * KIB + 16 * KIB, 0, NULL },
		{ MIB, 256 * KIB, 256 * KIB + 16 * KIB - 1, 0, "-C" },
		{ MIB, 0, 1, 0, "-C" },
		{ MIB, 0, 32 * KIB - 1, 0, "-C" },
		{ MIB, 0, 32 * KIB, 0, NULL },
		{ MIB, 0, 0, 1, "-a filesize" },
		{ MIB, 0, 100000000, 32 * KIB - 1, "-a filesize" },
		{ MIB, 0, 100000000, 32 * KIB, NULL },
		{ MIB, 0, 0, 0, NULL },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wh_config config = good();
		struct wh_ring_geometry geometry;
		struct wh_error error = { 0 };
		config.ring_bytes = cases[i].ring;
		config.block_bytes = cases[i].block;
		config.file_bytes = cases[i].file;
		config.stop_after_bytes = cases[i].total;
		enum wh_status status = choose(&config, 1, 16 * GIB, &geometry, &error);
		assert_int_equal(status, cases[i].word != NULL ? WH_ERR_INPUT : WH_OK);
		if (cases[i].word == NULL)
			check_geometry(&config, &geometry);
		else if (strstr(error.text, cases[i].word) == NULL || strchr(error.text, '\n') != NULL)
			fail_msg("case %zu: \"%s\" does not mention %s", i, error.text, cases[i].word);
	}
}

/* Half of the memory, for all adapters together, whatever their rings are divided into. */
static void rings_leave_half_of_the_memory(void **state)
{
	(void)state;
	for (uint32_t adapters = 0; adapters <= 64; adapters++)
		for (uint32_t fanout = 1; fanout <= 8; fanout++) {
			struct wh_config config = good();
			struct wh_ring_geometry geometry;
			struct wh_error error = { 0 };
			config.fanout = fanout;
			config.ring_bytes = 8 * GIB / (adapters != 0 ? adapters : 1);
			assert_int_equal(choose(&config, adapters, 16 * GIB, &geometry, &error), WH_OK);
			config.ring_bytes++;
			assert_int_equal(choose(&config, adapters, 16 * GIB, &geometry, &error), WH_ERR_INPUT);
			assert_non_null(strstr(error.text, "-B"));
			assert_null(strchr(error.text, '\n'));
		}
}

static uint64_t ring_of(const struct wh_config *config, const struct wh_ring_geometry *geometry)
{
	return (uint64_t)geometry->block_bytes * geometry->block_count * config->fanout;
}

/* A thousand adapters that come while one is captured: together they take what was meant for all rings, and then the
 * least for each; never more than half of the memory. */
static void late_rings_share_what_is_left(void **state)
{
	(void)state;
	for (uint32_t fanout = 1; fanout <= 256; fanout *= 4)
		for (uint32_t block = 0; block <= MIB; block += 512 * KIB)
			for (uint64_t memory = GIB; memory <= 1024 * GIB; memory *= 8) {
				struct wh_config config = good();
				struct wh_settings settings;
				struct wh_error error = { 0 };
				config.fanout = fanout;
				config.block_bytes = block;
				take(&config, &settings);
				if (wh_settings_ring_choose(&settings, 1, memory, &error) != WH_OK) {
					wh_settings_free(&settings);
					continue;
				}
				uint64_t first = ring_of(&config, &settings.geometry), used = first;
				uint64_t together = memory / 8 < 2 * GIB ? memory / 8 : 2 * GIB;
				enum wh_status status = WH_OK;
				uint32_t count = 0;
				for (; count < 1000 && status == WH_OK; count++) {
					struct wh_ring_geometry late;
					status = wh_settings_ring_late(&settings, 0, used, memory, &late, &error);
					if (status != WH_OK)
						break;
					check_geometry(&config, &late);
					uint64_t ring = ring_of(&config, &late);
					assert_true(late.block_bytes <= settings.geometry.block_bytes);
					assert_true(ring <= first);
					assert_true(late.block_bytes >= 128 * KIB || ring == first);
					/* Beyond what is for all, nobody has more than the least. */
					if (used + ring > together && ring != first)
						assert_true(ring <= 4 * (uint64_t)MIB ||
							    ring <= fanout * (MIB + 4 * (uint64_t)block));
					used += ring;
					assert_true(used <= memory / 2);
				}
				if (status != WH_OK) {
					assert_int_equal(status, WH_ERR_MEMORY);
					assert_non_null(strstr(error.text, "-B"));
				}
				assert_true(count == 1000 || used > memory / 4);
				wh_settings_free(&settings);
			}
}

static void late_rings(void **state)
{
	(void)state;
	struct wh_config config = good();
	struct wh_settings settings;
	struct wh_ring_geometry late;
	struct wh_error error = { 0 };
	take(&config, &settings);
	assert_int_equal(wh_settings_ring_choose(&settings, 1, 64 * GIB, &error), WH_OK);
	/* As much as there is at the start, while half of what is left is that much; then less and less. */
	const struct {
		uint64_t had, used, ring;
	} cases[] = {
		{ 0, 512, 512 }, { 0, 1024, 512 },   { 0, 1536, 256 }, { 0, 1792, 128 },
		{ 0, 2046, 4 },  { 512, 1536, 512 }, { 512, 2048, 4 }, { 8, 0, 8 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(
		    wh_settings_ring_late(&settings, cases[i].had * MIB, cases[i].used * MIB, 64 * GIB, &late, &error),
		    WH_OK);
		assert_int_equal(ring_of(&config, &late), cases[i].ring * MIB);
		assert_true(cases[i].ring != 512 || memcmp(&late, &settings.geometry, sizeof(late)) == 0);
	}
	wh_settings_free(&settings);
	/* What was asked for is given, or nothing. */
	config.ring_bytes = 3 * GIB;
	take(&config, &settings);
	assert_int_equal(wh_settings_ring_choose(&settings, 1, 16 * GIB, &error), WH_OK);
	assert_int_equal(wh_settings_ring_late(&settings, 0, 5 * GIB, 16 * GIB, &late, &error), WH_OK);
	assert_memory_equal(&late, &settings.geometry, sizeof(late));
	assert_int_equal(wh_settings_ring_late(&settings, 0, 5 * GIB + 1, 16 * GIB, &late, &error), WH_ERR_MEMORY);
	assert_non_null(strstr(error.text, "3145728 KiB"));
	wh_settings_free(&settings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_the_documented_ones),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(cpus_must_be_there_without_adapters),
		cmocka_unit_test(numbers_have_bounds),
		cmocka_unit_test(standard_output_is_one_stream),
		cmocka_unit_test(format_follows_the_name),
		cmocka_unit_test(strings_are_copied),
		cmocka_unit_test(no_disk_needs_no_output),
		cmocka_unit_test(made_up_frames_are_bounded),
		cmocka_unit_test(made_up_frames_have_a_size),
		cmocka_unit_test(what_a_simulation_leaves_out_is_refused),
		cmocka_unit_test(simulations_have_names),
		cmocka_unit_test(every_file_size_with_every_ring),
		cmocka_unit_test(rings_share_the_memory),
		cmocka_unit_test(rings_leave_half_of_the_memory),
		cmocka_unit_test(fan_out_shares_the_ring),
		cmocka_unit_test(sizes_that_do_not_fit_together),
		cmocka_unit_test(late_rings_share_what_is_left),
		cmocka_unit_test(late_rings),
	};
	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
