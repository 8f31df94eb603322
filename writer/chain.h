/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The chain's policy: what the next file is called and when it is due. Pure: time and sizes come in as arguments, no
 * disk and no clock is asked.
 */
#ifndef WH_WRITER_CHAIN_H
#define WH_WRITER_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbuf/status.h"

enum { WH_PATH_BYTES = 1024 };

/* Where the chain's files are and how they are named. Filled by wh_chain_name_parse(). */
struct wh_chain_name {
	char directory[WH_PATH_BYTES]; /* "." where the path has none */
	char stem[256];                /* file name without its extension */
	char extension[64];            /* with the dot, or empty */
};

/* Splits PATH ("captures/trace.pcapng"). TAG, if not NULL, is added to the stem behind an underscore (the adapter's
 * name in a chain of its own); a byte that cannot stand in a file name, and '%', becomes '%' and two hexadecimal
 * digits, so that no two tags share a stem. WH_ERR_INPUT: PATH names no file or is too long. */
WH_MUST_CHECK enum wh_status wh_chain_name_parse(const char *path, const char *tag, struct wh_chain_name *name,
						 struct wh_error *error);

/* Writes the path of file NUMBER (from 1), opened at WALL_NS: stem_NUMBER_YYYYMMDDhhmmss.extension in local time, at
 * least five digits, as dumpcap names them, so that Wireshark's File Set follows the chain. */
void wh_chain_path(const struct wh_chain_name *name, uint64_t number, uint64_t wall_ns, char path[WH_PATH_BYTES]);

/* Whether FILE, a name without its directory, is one that wh_chain_path() gives to some file of the chain. */
bool wh_chain_has_name(const struct wh_chain_name *name, const char *file);

/* Writes the path of FILE, for which wh_chain_has_name() is true. */
void wh_chain_path_of(const struct wh_chain_name *name, const char *file, char path[WH_PATH_BYTES]);

/* When files end and the chain ends. Zero: no such limit. */
struct wh_chain_limits {
	uint64_t file_bytes;
	uint64_t file_ns;     /* age at which a file ends, traffic or not */
	uint64_t total_files; /* autostop after so many */
	uint64_t total_bytes; /* autostop after so many bytes on disk */
};

struct wh_chain_state {
	uint64_t files;        /* begun so far */
	uint64_t closed_bytes; /* in the files before the present one */
	uint64_t file_bytes;   /* in the present file, without its trailer */
	uint64_t header_bytes; /* that a new file begins with */
	uint64_t deadline_ns;  /* monotonic; the present file ends then. 0: never */
};

enum wh_chain_verdict {
	WH_CHAIN_GO_ON,
	WH_CHAIN_NEXT_FILE,
	WH_CHAIN_STOP_FILES, /* the file that would be next is one too many */
	WH_CHAIN_STOP_BYTES
};

/* Whether NEXT_BYTES more, and TRAILER_BYTES to close the file, still belong into the present file. A file that is
 * due for size and for time at once gives way to one new file, not two. */
enum wh_chain_verdict wh_chain_before_write(const struct wh_chain_limits *limits, const struct wh_chain_state *state,
					    uint64_t next_bytes, uint64_t trailer_bytes);

/* Whether there may be one more file with NEXT_BYTES in it: WH_CHAIN_NEXT_FILE, or the limit that says no. */
enum wh_chain_verdict wh_chain_next_file(const struct wh_chain_limits *limits, const struct wh_chain_state *state,
					 uint64_t next_bytes, uint64_t trailer_bytes);

/* Whether the present file is due by the clock at NOW_NS (monotonic, so that a step of the wall clock changes
 * nothing), and what then. */
enum wh_chain_verdict wh_chain_at_time(const struct wh_chain_limits *limits, const struct wh_chain_state *state,
				       uint64_t trailer_bytes, uint64_t now_ns);

/* Takes note that a new file was begun at NOW_NS. The deadlines keep to the beat of the first file: a file that was
 * begun late or for its size does not move them, and beats that were missed are skipped. */
void wh_chain_file_begun(const struct wh_chain_limits *limits, struct wh_chain_state *state, uint64_t now_ns);

/* What of the present file's clock is left in ns, UINT64_MAX without one. */
uint64_t wh_chain_time_left(const struct wh_chain_state *state, uint64_t now_ns);

#endif
