/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Profiles: options of a capture that are kept in an INI file. A key is the long name of an option, or "filter". Each
 * line goes through the same parser as the command line, and what is on the command line takes its place.
 *
 *   # Comments begin with # or ; and have a line of their own.
 *   interface = eth0
 *   write = trace.pcapng
 *   quiet = yes
 *   filter = tcp port 443
 *       and not net 10.0.0.0/8
 */
#ifndef WH_CLI_PROFILE_H
#define WH_CLI_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wirehaul.h>

/* Where a profile is that is named without a slash: NAME.conf in here. */
#define PROFILE_DIRECTORY "/etc/wirehaul"

struct options;

/* What a profile says. Values that options take from it point into it. */
struct profile;

/*
 * Reads the profile NAME: a path where there is a slash in it, or else a file of PROFILE_DIRECTORY. It must be an
 * ordinary file of root or of this user that nobody else can write to, because it may name a command to run. On
 * success the caller owns *PROFILE. WH_RESULT_USAGE otherwise, with one line in *MESSAGE that names file and line.
 * Blocks as long as the disk does.
 */
WH_MUST_USE enum wh_result profile_read(const char *name, struct profile **profile, struct wh_message *message);

/*
 * The part of profile_read() that is pure: takes the LENGTH bytes of TEXT for the content of the file PATH, which is
 * only a name in messages here. Nothing is known of options yet. Ownership and errors as there.
 */
WH_MUST_USE enum wh_result profile_parse(const char *path, const char *text, size_t length, struct profile **profile,
					 struct wh_message *message);

/*
 * Takes what PROFILE says into OPTIONS, which were just initialised, and leaves out what the command line beats: the
 * options whose bits are set in GIVEN (as in struct options), those that exclude one of them, and with FILTERED any
 * filter. PROFILE must outlive OPTIONS. WH_RESULT_USAGE with *MESSAGE for a name that is no option or has no place in a
 * profile, a value that its option refuses, and an option that is there twice and cannot be. Pure.
 */
WH_MUST_USE enum wh_result profile_apply(const struct profile *profile, uint64_t given, bool filtered,
					 struct options *options, struct wh_message *message);

/* Releases PROFILE. NULL is allowed. */
void profile_free(struct profile *profile);

#endif
