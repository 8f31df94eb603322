/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-count [--size N | --mix N,N,... | --imix | --pcap FILE] [--vlan ID[,ID]] [--snap N] [--from N] [--count N]
 *          [--threads N] [--only in|out] [--interface NAME] [--verify] [--raw-block BYTES] FILE...
 *
 * Reads capture files of any tool (walk.h), in the order given, and says what is in them: which numbered frames, as
 * wh-blast sends them (numbered.h), what the files say of losses, and whether they are whole. --raw-block: the bytes of
 * a raw block, 1 MiB when it is not given.
 *
 * With --size, --mix, --imix or --pcap, and --vlan, as the sender had them, a frame must look exactly so; without one
 * of the first four, what its own headers say it should, and none may be shorter than --snap or the file has it. Looked
 * at are headers, lengths and the stamp; with --verify each byte, and libpcap reads each packet, too (but of raw
 * blocks): the two must agree. A packet that libpcap does not get to is a difference, unless the file has several link
 * types, which it refuses.
 *
 * --from and --count tell which numbers there should be: COUNT over all of the sender's --threads, as wh-blast divides
 * them, and of each thread from FROM on (1). --only and --interface leave out frames of the other direction (epb_flags)
 * or of other interfaces (if_name); those count as "skipped".
 *
 * Prints one JSON object. "each" is of one file each. Of all of them are, besides what the files say themselves:
 *
 *     ours            frames of ours that are in order; "received" those of them that were looked for (not outside)
 *     corrupt         frames of ours that are not; "complaint" says of the first one where it is, and what is wrong
 *     distinct, missing, duplicated, reordered, outside, first, last
 *                     as tally.h has them, each thread for itself, and then added up; "threads" has them one by one,
 *                     of the threads that should be there and of those that are
 *     missing_ranges  the first few, [first, last], of the first thread that has any
 *     loss_runs       missing numbers of a thread in a row: "count" of such runs, "longest" and "total" numbers in
 * them, "lengths" [length, how many] in order of length, and "more", the runs of lengths not in there: it holds 4096
 * different ones age_min_ns, age_max_ns time from sending to capture of our frames
 *
 * Exit status: 0 the files were read, whatever was in them; 1 one could not be; 2 usage.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "count_report.h"
#include "counter.h"

enum { RAW_BLOCK_BYTES = 1 << 20, FAILED = 1, USAGE = 2 };

static const char usage[] =
    "usage: wh-count [--size N | --mix N,N,... | --imix | --pcap FILE] [--vlan ID[,ID]] [--snap N] [--from N]\n"
    "                [--count N] [--threads N] [--only in|out] [--interface NAME] [--verify] [--raw-block BYTES]\n"
    "                FILE...\n";

/* What getopt_long() returns for each option; '?' is its own word for one that it does not know. */
enum { SIZE, MIX, IMIX, PCAP, VLAN, SNAP, FROM, COUNT, THREADS, ONLY, INTERFACE, VERIFY, RAW_BLOCK, HELP };

static const struct option known[] = {
	{ "size", required_argument, NULL, SIZE },
	{ "mix", required_argument, NULL, MIX },
	{ "imix", no_argument, NULL, IMIX },
	{ "pcap", required_argument, NULL, PCAP },
	{ "vlan", required_argument, NULL, VLAN },
	{ "snap", required_argument, NULL, SNAP },
	{ "from", required_argument, NULL, FROM },
	{ "count", required_argument, NULL, COUNT },
	{ "threads", required_argument, NULL, THREADS },
	{ "only", required_argument, NULL, ONLY },
	{ "interface", required_argument, NULL, INTERFACE },
	{ "verify", no_argument, NULL, VERIFY },
	{ "raw-block", required_argument, NULL, RAW_BLOCK },
	{ "help", no_argument, NULL, HELP },
	{ 0 },
};

static bool parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *value)
{
	return wh_numbered_parse_u64(text, maximum, value) && *value >= minimum;
}

static bool parse_small(const char *text, uint64_t minimum, uint64_t maximum, uint32_t *value)
{
	uint64_t parsed;
	if (!parse_number(text, minimum, maximum, &parsed))
		return false;
	*value = (uint32_t)parsed;
	return true;
}

static bool parse_direction(const char *text, uint32_t *direction)
{
	*direction = strcmp(text, "in") == 0 ? 1 : 2;
	return *direction == 1 || strcmp(text, "out") == 0;
}

static bool parse_option(struct wh_counter_orders *orders, int option, const char *value)
{
	switch (option) {
	case SIZE:
		return strchr(value, ',') == NULL && wh_numbered_parse_sizes(&orders->shape, value);
	case MIX:
		return wh_numbered_parse_sizes(&orders->shape, value);
	case VLAN:
		return wh_numbered_parse_vlans(&orders->shape, value);
	case SNAP:
		return parse_number(value, 0, UINT32_MAX, &orders->snapshot);
	case FROM:
		return parse_number(value, 0, INT64_MAX, &orders->from);
	case COUNT:
		return parse_number(value, 0, WH_TALLY_SPAN * WH_NUMBERED_THREADS, &orders->count);
	case THREADS:
		return parse_small(value, 1, WH_NUMBERED_THREADS, &orders->threads);
	case ONLY:
		return parse_direction(value, &orders->only);
	case INTERFACE:
		orders->interface = value;
		return true;
	case RAW_BLOCK:
		return parse_small(value, WH_WALK_PAGE, WH_WALK_BLOCK_BYTES_MAX, &orders->raw_block_bytes);
	default:
		return false;
	}
}

/* Says WHAT is wrong, of VALUE where that is not NULL. Returns the exit status for it. */
static int refuse(const char *what, const char *value)
{
	fprintf(stderr, "wh-count: %s%s%s\n", what, value != NULL ? ": " : "", value != NULL ? value : "");
	return USAGE;
}

/* Takes one option of the command line. Returns the exit status where that is not well, else 0. */
static int take_option(struct wh_counter_orders *orders, int option, const char *name, const char *value)
{
	char what[64];
	if (option == '?')
		return USAGE; /* getopt_long() has said why */
	if ((option == SIZE || option == MIX || option == IMIX || option == PCAP) && orders->shape.size_count != 0)
		return refuse("only one of --size, --mix, --imix and --pcap can be given", NULL);
	if (option == PCAP) {
		char why[256];
		if (wh_numbered_sizes_of(&orders->shape, value, why, sizeof(why)))
			return 0;
		refuse("--pcap", why);
		return FAILED;
	}
	if (option == VERIFY) {
		orders->verify = true;
		return 0;
	}
	if (option == IMIX)
		return wh_numbered_imix(&orders->shape) ? 0 : refuse("out of memory", NULL);
	snprintf(what, sizeof(what), "bad value of --%s", name);
	return parse_option(orders, option, value) ? 0 : refuse(what, value);
}

/* What can only be told when all options are known. */
static int complete(struct wh_counter_orders *orders, bool has_files)
{
	if (orders->shape.vlan_count != 0 && orders->shape.size_count == 0)
		return refuse("--vlan is of use only with --size, --mix, --imix or --pcap", NULL);
	/* None told is any number, as for the sender. */
	if (orders->count == 0)
		orders->count = WH_TALLY_UNTOLD;
	else if (orders->count > WH_TALLY_SPAN * orders->threads)
		return refuse("more than 4294967296 numbers for a thread are not kept", NULL);
	if (orders->raw_block_bytes % WH_WALK_PAGE != 0)
		return refuse("--raw-block must be a multiple of 4096", NULL);
	if (!has_files)
		fputs(usage, stderr);
	return has_files ? 0 : USAGE;
}

/* Counts what is in FILES, the last of which is followed by NULL, and prints it. Returns the exit status. */
static int count(const struct wh_counter_orders *orders, char *const *files)
{
	static struct wh_counter counter;
	static struct wh_walk walk;
	bool read_all = true;
	wh_counter_open(&counter, orders);
	printf("{\"each\": [");
	for (; *files != NULL; files++) {
		if (wh_counter_file(&counter, &walk, *files)) {
			wh_count_report_file(&counter, &walk);
		} else {
			fprintf(stderr, "wh-count: %s: %s\n", *files, walk.reason);
			read_all = false;
		}
		wh_walk_close(&walk);
	}
	printf("],\n ");
	wh_count_report_totals(&counter);
	printf("}\n");
	wh_counter_close(&counter);
	if (counter.out_of_memory)
		fprintf(stderr, "wh-count: out of memory\n");
	return read_all && !counter.out_of_memory ? 0 : FAILED;
}

int main(int argc, char **argv)
{
	struct wh_counter_orders orders = {
		.snapshot = UINT64_MAX, .from = 1, .threads = 1, .raw_block_bytes = RAW_BLOCK_BYTES
	};
	int status = 0;
	int option, place = 0;
	wh_numbered_init();
	while (status == 0 && (option = getopt_long(argc, argv, "", known, &place)) != -1) {
		if (option == HELP) {
			fputs(usage, stdout);
			goto cleanup;
		}
		status = take_option(&orders, option, known[place].name, optarg);
	}
	if (status == 0)
		status = complete(&orders, optind < argc);
	if (status == 0)
		status = count(&orders, argv + optind);
cleanup:
	wh_numbered_shape_free(&orders.shape);
	return status;
}
