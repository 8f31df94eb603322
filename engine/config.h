/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration, checked and made the engine's own. */
#ifndef WH_ENGINE_CONFIG_H
#define WH_ENGINE_CONFIG_H

#include "engine/source.h"
#include "ringbuf/status.h"
#include "wirehaul.h"
#include "writer/writer.h"

/* A struct wh_config whose strings are owned, with the defaults that depend on one another filled in. */
struct wh_settings {
	struct wh_config config; /* its pointers point into this struct's memory */
	char **interface_names;
	char *replay_file, *output, *filter, *hook_command, *cpu_list, *user;
	bool any; /* "any" or "*" was among the names */
	enum wh_writer_format format;
	struct wh_ring_geometry geometry; /* of each ring; block_count 0 until wh_settings_ring_choose() */
};

/* Whether frames come from adapters: there is neither a file to replay nor frames to make up. */
bool wh_settings_have_adapters(const struct wh_settings *settings);

/* Whether files are written: not to standard output, nor nowhere. */
bool wh_settings_write_files(const struct wh_settings *settings);

/* Checks CONFIG and copies it. WH_ERR_INPUT: it makes no sense, ERROR says what to change. SETTINGS is released with
 * wh_settings_free() in any case. Pure but for memory, and for the list of CPUs, which must be there where no adapters
 * are opened. */
WH_MUST_CHECK enum wh_status wh_settings_take(const struct wh_config *config, struct wh_settings *settings,
					      struct wh_error *error);

/* Chooses ring and block sizes for so many ADAPTERS on a machine with MEMORY_BYTES of RAM; the geometry is that of one
 * capture thread's ring. Pure. WH_ERR_INPUT: what was asked for does not fit together, or half of the memory. */
WH_MUST_CHECK enum wh_status wh_settings_ring_choose(struct wh_settings *settings, uint32_t adapters,
						     uint64_t memory_bytes, struct wh_error *error);

/* Chooses the ring of an adapter that comes while the capture runs and all rings that are open take USED_BYTES: like
 * those of the start where -B says how large they are; else no larger than half of what is left of what all may take
 * together, or where it had HAD_BYTES before (0: it is new), than that, if it is left. Needs
 * wh_settings_ring_choose() before it. Pure. WH_ERR_MEMORY: all together would take more than half of MEMORY_BYTES. */
WH_MUST_CHECK enum wh_status wh_settings_ring_late(const struct wh_settings *settings, uint64_t had_bytes,
						   uint64_t used_bytes, uint64_t memory_bytes,
						   struct wh_ring_geometry *geometry, struct wh_error *error);

void wh_settings_free(struct wh_settings *settings);

#endif
