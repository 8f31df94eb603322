/* SPDX-License-Identifier: BSD-3-Clause */
/* wirehaul doctor: what will drop frames on this machine, and the commands that mend it. */
#ifndef WH_CLI_DOCTOR_H
#define WH_CLI_DOCTOR_H

/*
 * Carries out the command: ARGV[0] is its name, options follow. What was found goes to standard output, for a person or
 * with --json as one object; one line of what went wrong to standard error. Returns the exit status: 0 nothing that
 * was looked at will drop frames, 1 something will, 2 wrong usage, or it cannot look. Blocks for some seconds while it
 * measures, for most of a minute where a disk hangs; signals that would end the process wait for that, so that no file
 * is left. Uses getopt's global state: one
 * thread at a time.
 */
int doctor_main(int argc, char **argv);

#endif
