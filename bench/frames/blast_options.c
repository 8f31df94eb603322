/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of wh-blast. */
#include "blast.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USAGE = 2, FAILURE = 1, SECONDS_DEFAULT = 60, SECONDS_MAX = 86400, BURST_MAX = 1000000 };

const char wh_blast_usage[] =
    "usage: wh-blast IFACE (--size N | --mix N,N,... | --imix | --pcap FILE) [options]\n"
    "Sends numbered Ethernet frames, which wh-count finds again in capture files.\n"
    "\n"
    "  --size N          bytes of a frame, without VLAN tags and check sequence: 38 to 65527\n"
    "  --mix N,N,...     sizes in turn\n"
    "  --imix            the Internet mix: 28 frames of 60, 16 of 566, 4 of 1514 bytes\n"
    "  --pcap FILE       the sizes of the frames of a capture file, over and over\n"
    "  --count N         end after N frames of all threads together; 0 (as without): no such end\n"
    "  --seconds S       end after that time, 60 without\n"
    "  --rate PPS        frames a second of all threads together; 0 (as without): as fast as they can\n"
    "  --gbps G          the same in 10^9 bits of frames a second\n"
    "  --burst N         with a rate: groups of N frames back to back, the groups evenly spaced\n"
    "  --threads N       so many threads, each with numbers of its own\n"
    "  --cpus LIST       pin them, in turn, to these processors: 0,2-3\n"
    "  --vlan ID[,ID]    VLAN tags, the outer one first\n"
    "  --first N         number of the first frame, 1 without\n"
    "  --tapped          let captures on IFACE itself see the frames\n"
    "  --progress FILE   keep the number of frames sent in the first 8 bytes of FILE\n"
    "  --method M        sendmmsg (auto, as without): out through IFACE. xdp: frames are made by the kernel as if\n"
    "                    received on IFACE, two to three times as many, without a rate, 60 to 3400 bytes\n";

/* What is known while the line is read. */
struct reading {
	struct wh_blast_orders *orders;
	const char *sizes_by; /* option that gave the sizes */
	const char *pace_by;  /* option that gave the rate */
	char *why;
	int status;
};

/* Ends the reading with one line for the person who typed. */
__attribute__((format(printf, 2, 3))) static bool refuse(struct reading *reading, const char *format, ...)
{
	va_list words;
	va_start(words, format);
	vsnprintf(reading->why, WH_BLAST_WHY_BYTES, format, words);
	va_end(words);
	reading->status = USAGE;
	return false;
}

/* Notes which of several options that exclude each other was given. */
static bool claim(struct reading *reading, const char **by, const char *name)
{
	if (*by != NULL)
		return refuse(reading, "%s and %s exclude each other: give one of them", *by, name);
	*by = name;
	return true;
}

static bool take_sizes(struct reading *reading, const char *name, const char *value)
{
	if (!claim(reading, &reading->sizes_by, name))
		return false;
	if (wh_numbered_parse_sizes(&reading->orders->shape, value))
		return true;
	return refuse(reading, "%s %s: give whole numbers of %d to %d bytes", name, value, WH_NUMBERED_MIN,
		      WH_NUMBERED_MAX);
}

static bool take_imix(struct reading *reading, const char *name, const char *value)
{
	(void)value;
	if (!claim(reading, &reading->sizes_by, name))
		return false;
	if (wh_numbered_imix(&reading->orders->shape))
		return true;
	refuse(reading, "no memory left");
	reading->status = FAILURE; /* of the machine, not of who typed */
	return false;
}

static bool take_pcap(struct reading *reading, const char *name, const char *value)
{
	if (!claim(reading, &reading->sizes_by, name))
		return false;
	char error[WH_BLAST_WHY_BYTES / 2] = "";
	if (wh_numbered_sizes_of(&reading->orders->shape, value, error, sizeof(error)))
		return true;
	refuse(reading, "--pcap %s cannot be used: %s", value, error);
	reading->status = FAILURE;
	return false;
}

static bool take_number(struct reading *reading, const char *name, const char *value, uint64_t least, uint64_t most,
			uint64_t *number)
{
	if (wh_numbered_parse_u64(value, most, number) && *number >= least)
		return true;
	return refuse(reading, "%s %s: give a whole number of %llu to %llu", name, value, (unsigned long long)least,
		      (unsigned long long)most);
}

static bool take_decimal(struct reading *reading, const char *name, const char *value, double most, double *number)
{
	/* strtod() alone would take signs, infinity, hexadecimal and the decimal comma of a locale. */
	if (value[0] != '\0' && value[strspn(value, "0123456789.")] == '\0') {
		char *end;
		*number = strtod(value, &end);
		if (*end == '\0' && *number > 0 && *number <= most)
			return true;
	}
	return refuse(reading, "%s %s: give a number above 0 and up to %.0f, as 1.5", name, value, most);
}

static bool take_count(struct reading *reading, const char *name, const char *value)
{
	return take_number(reading, name, value, 0, UINT64_MAX, &reading->orders->count);
}

static bool take_first(struct reading *reading, const char *name, const char *value)
{
	return take_number(reading, name, value, 0, UINT64_MAX, &reading->orders->first);
}

static bool take_seconds(struct reading *reading, const char *name, const char *value)
{
	double seconds = 0;
	if (!take_decimal(reading, name, value, SECONDS_MAX, &seconds))
		return false;
	reading->orders->length_ns = (uint64_t)(seconds * WH_BLAST_NS_PER_S);
	return true;
}

static bool take_rate(struct reading *reading, const char *name, const char *value)
{
	return claim(reading, &reading->pace_by, name) &&
	       take_number(reading, name, value, 0, WH_BLAST_NS_PER_S, &reading->orders->rate);
}

static bool take_gbps(struct reading *reading, const char *name, const char *value)
{
	return claim(reading, &reading->pace_by, name) &&
	       take_decimal(reading, name, value, 1000, &reading->orders->gbps);
}

static bool take_burst(struct reading *reading, const char *name, const char *value)
{
	return take_number(reading, name, value, 1, BURST_MAX, &reading->orders->burst);
}

static bool take_threads(struct reading *reading, const char *name, const char *value)
{
	uint64_t threads = 0;
	if (!take_number(reading, name, value, 1, WH_NUMBERED_THREADS, &threads))
		return false;
	reading->orders->threads = (uint8_t)threads;
	return true;
}

/* Reads a processor's number and moves TEXT behind it. */
static bool read_cpu(const char **text, unsigned long *cpu)
{
	if (**text < '0' || **text > '9')
		return false;
	char *end;
	*cpu = strtoul(*text, &end, 10);
	*text = end;
	return *cpu < CPU_SETSIZE;
}

/* The same for "3" or "2-5". */
static bool read_range(const char **text, cpu_set_t *cpus)
{
	unsigned long first;
	if (!read_cpu(text, &first))
		return false;
	unsigned long last = first;
	if (**text == '-') {
		(*text)++;
		if (!read_cpu(text, &last))
			return false;
	}
	for (unsigned long cpu = first; cpu <= last; cpu++)
		CPU_SET(cpu, cpus);
	return first <= last;
}

static bool take_cpus(struct reading *reading, const char *name, const char *value)
{
	const char *text = value;
	CPU_ZERO(&reading->orders->cpus);
	while (read_range(&text, &reading->orders->cpus)) {
		if (*text == '\0')
			return true;
		if (*text++ != ',')
			break;
	}
	return refuse(reading, "%s %s: give processors as 0,2-3", name, value);
}

static bool take_vlan(struct reading *reading, const char *name, const char *value)
{
	if (wh_numbered_parse_vlans(&reading->orders->shape, value))
		return true;
	return refuse(reading, "%s %s: give one or two VLAN numbers of 0 to 4094, as 100,200", name, value);
}

static bool take_tapped(struct reading *reading, const char *name, const char *value)
{
	(void)name;
	(void)value;
	reading->orders->tapped = true;
	return true;
}

static bool take_help(struct reading *reading, const char *name, const char *value)
{
	(void)name;
	(void)value;
	reading->orders->help = true;
	return true;
}

static bool take_progress(struct reading *reading, const char *name, const char *value)
{
	(void)name;
	reading->orders->progress_path = value;
	return true;
}

static bool take_method(struct reading *reading, const char *name, const char *value)
{
	reading->orders->method = wh_blast_method_named(value);
	if (reading->orders->method != NULL)
		return true;
	return refuse(reading, "%s %s: there is no such method (wh-blast --help lists them)", name, value);
}

static const struct known {
	const char *name;
	bool valued;
	bool (*take)(struct reading *reading, const char *name, const char *value);
} known[] = {
	{ "--size", true, take_sizes },      { "--mix", true, take_sizes },      { "--imix", false, take_imix },
	{ "--pcap", true, take_pcap },       { "--count", true, take_count },    { "--seconds", true, take_seconds },
	{ "--rate", true, take_rate },       { "--gbps", true, take_gbps },      { "--burst", true, take_burst },
	{ "--threads", true, take_threads }, { "--cpus", true, take_cpus },      { "--vlan", true, take_vlan },
	{ "--first", true, take_first },     { "--tapped", false, take_tapped }, { "--progress", true, take_progress },
	{ "--method", true, take_method },   { "--help", false, take_help },
};

static const struct known *find(const char *name)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, name) == 0)
			return &known[i];
	return NULL;
}

static bool read_line(struct reading *reading, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-' && reading->orders->interface == NULL) {
			reading->orders->interface = argv[i];
			continue;
		}
		const struct known *option = find(argv[i]);
		if (option == NULL) {
			return refuse(reading, "unknown %s %s (wh-blast --help lists the options)",
				      argv[i][0] == '-' ? "option" : "argument", argv[i]);
		}
		if (option->valued && i + 1 == argc) {
			return refuse(reading, "%s needs a value (wh-blast --help tells which)", option->name);
		}
		if (!option->take(reading, option->name, option->valued ? argv[++i] : NULL))
			return false;
	}
	return true;
}

/* What no option shows alone. */
static bool check_whole(struct reading *reading)
{
	const struct wh_blast_orders *orders = reading->orders;
	if (orders->interface == NULL)
		return refuse(reading, "name the interface to send on: wh-blast IFACE --size N");
	if (orders->shape.size_count == 0)
		return refuse(reading, "say how large the frames are: --size, --mix, --imix or --pcap");
	if (orders->method->suits != NULL && !orders->method->suits(orders, reading->why)) {
		reading->status = USAGE;
		return false;
	}
	for (size_t i = 0; i < orders->shape.size_count && orders->threads > 1; i++)
		if (orders->shape.sizes[i] < WH_NUMBERED_UDP_MIN)
			return refuse(reading, "--threads needs frames of 60 bytes or more: shorter ones do not say "
					       "which thread has sent them");
	return true;
}

int wh_blast_parse(int argc, char **argv, struct wh_blast_orders *orders, char *why)
{
	*orders = (struct wh_blast_orders){ .first = 1,
					    .burst = 1,
					    .threads = 1,
					    .method = &wh_blast_sendmmsg,
					    .length_ns = (uint64_t)SECONDS_DEFAULT * WH_BLAST_NS_PER_S };
	struct reading reading = { .orders = orders, .why = why };
	if (read_line(&reading, argc, argv) && !orders->help)
		check_whole(&reading);
	return reading.status;
}
