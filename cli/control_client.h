/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that speak to a capture that runs: wirehaul status, rotate, stop, mark. */
#ifndef WH_CLI_CONTROL_CLIENT_H
#define WH_CLI_CONTROL_CLIENT_H

/*
 * Carries out one of these commands: ARGV[0] is its name, one that control_action_find() knows; what follows are its
 * options and, for a mark, its text. Answers go to standard output, one line of what went wrong to standard error.
 * Returns the exit status: 0 done; 2 wrong usage, or there is no capture that takes it; 3 and 4 for a stop that was
 * waited for, as the capture itself ended; 4 also where the capture did not answer. Blocks, `stop` for as long as the
 * capture takes to end. Uses getopt's global state: one thread at a time.
 */
int control_main(int argc, char **argv);

#endif
