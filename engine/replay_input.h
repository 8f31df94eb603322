/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a replay reads from a pipe, which may fall silent anywhere. libpcap waits for the rest of a frame without end;
 * here it can be asked first whether it would have to. All belongs to one thread but wh_replay_input_give_up().
 */
#ifndef WH_ENGINE_REPLAY_INPUT_H
#define WH_ENGINE_REPLAY_INPUT_H

#include <stdbool.h>
#include <stdio.h>

#include "ringbuf/status.h"

struct wh_replay_input;

/*
 * Opens PATH, "-" for standard input. *STREAM is for pcap_fopen_offline(), which closes it with its pcap_t; the caller
 * closes it where that does not come to pass. *INPUT is the caller's, and must be closed after it. Blocks as long as
 * nobody has opened a named pipe for writing. WH_ERR_SYSTEM, WH_ERR_MEMORY.
 */
WH_MUST_CHECK enum wh_status wh_replay_input_open(const char *path, struct wh_replay_input **input, FILE **stream,
						  struct wh_error *error);

/*
 * Whether libpcap is to be asked for its next packet: all of it is there, or the input has ended, failed or is damaged.
 * Also where that cannot be told, and libpcap may wait: the form is none that is known here, the packet takes more than
 * half of the buffer, or so much of other blocks comes before it. Reads what the pipe has; does not block.
 */
bool wh_replay_input_is_ready(struct wh_replay_input *input);

/* Becomes readable when there is more, or the end. */
int wh_replay_input_fd(const struct wh_replay_input *input);

/* Ends a wait for more, now and for ever: the input is then at its end. Any thread. */
void wh_replay_input_give_up(struct wh_replay_input *input);

/* Whether a read has ended that way. */
bool wh_replay_input_has_given_up(const struct wh_replay_input *input);

/* INPUT may be NULL. */
void wh_replay_input_close(struct wh_replay_input *input);

#endif
