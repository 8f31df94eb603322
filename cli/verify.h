/* SPDX-License-Identifier: BSD-3-Clause */
/* The subcommands for capture files that are there already: wirehaul verify and wirehaul repair. Each reads its own
 * command line, prints, and returns the exit status of the command. Main thread only; both block. */
#ifndef WH_CLI_VERIFY_H
#define WH_CLI_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <wirehaul.h>

/* A file that was named on the command line, and what came of reading it. */
struct verified {
	const char *path; /* borrowed from argv */
	bool read;        /* false: MESSAGE says why it could not be */
	struct wh_file_check check;
	char *message; /* owned */
};

/* Two files of a chain between which chunks are missing. Borrowed from the array they were found in. */
struct verified_gap {
	const struct verified *before, *behind;
	uint64_t first, last;
};

/* ARGV[0] is the subcommand's name. 0: all files are whole; 1: one is not, or chunks are missing between two of a
 * chain; 2: wrong usage, or one cannot be read. */
int verify_main(int argc, char **argv);

/* 0: done; 2: wrong usage, or nothing to save in a file; 4: reading or writing failed. */
int repair_main(int argc, char **argv);

/*
 * Finds where files of one chain (by session, directory and name) that are given do not follow each other. *GAPS is an
 * array of *COUNT, the caller's to free. False: no memory. In verify_chain.c.
 */
bool verify_gaps(const struct verified *files, size_t count, struct verified_gap **gaps, size_t *gap_count);

#endif
