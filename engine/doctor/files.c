/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/doctor/state.h"

enum { MASK_WORD_BITS = 32, MASK_WORDS = WH_DOCTOR_CPUS / MASK_WORD_BITS };

void wh_cpus_add(struct wh_cpus *cpus, int cpu)
{
	if (cpu >= 0 && cpu < WH_DOCTOR_CPUS)
		cpus->bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

void wh_cpus_remove(struct wh_cpus *cpus, int cpu)
{
	if (cpu >= 0 && cpu < WH_DOCTOR_CPUS)
		cpus->bits[cpu / 64] &= ~(UINT64_C(1) << (cpu % 64));
}

int wh_cpus_count(const struct wh_cpus *cpus)
{
	int count = 0;
	for (int cpu = wh_cpus_next(cpus, 0); cpu >= 0; cpu = wh_cpus_next(cpus, cpu + 1))
		count++;
	return count;
}

int wh_cpus_next(const struct wh_cpus *cpus, int from)
{
	for (int cpu = from; cpu < WH_DOCTOR_CPUS; cpu++)
		if (wh_cpus_have(cpus, cpu))
			return cpu;
	return -1;
}

bool wh_cpus_list(const struct wh_cpus *cpus, char *text, size_t bytes)
{
	size_t at = 0;
	text[0] = '\0';
	for (int first = wh_cpus_next(cpus, 0); first >= 0;) {
		char range[32];
		int last = first;
		while (wh_cpus_have(cpus, last + 1))
			last++;
		int length = last > first ? snprintf(range, sizeof(range), "%s%d-%d", at > 0 ? "," : "", first, last)
					  : snprintf(range, sizeof(range), "%s%d", at > 0 ? "," : "", first);
		if (at + (size_t)length + sizeof(",...") > bytes) {
			snprintf(text + at, bytes - at, ",...");
			return false;
		}
		memcpy(text + at, range, (size_t)length + 1);
		at += (size_t)length;
		first = wh_cpus_next(cpus, last + 1);
	}
	return true;
}

bool wh_cpus_parse_mask(const char *text, struct wh_cpus *cpus)
{
	uint32_t words[MASK_WORDS];
	size_t count = 0;
	*cpus = (struct wh_cpus){ 0 };
	for (;;) {
		char *end;
		size_t digits = strspn(text, "0123456789abcdefABCDEF");
		if (digits == 0 || digits > 8 || count == MASK_WORDS)
			return false;
		words[count++] = (uint32_t)strtoul(text, &end, 16);
		/* strtoul() would take "0x" as well. */
		if (end != text + digits || (*end != '\0' && *end != ','))
			return false;
		if (*end == '\0')
			break;
		text = end + 1;
	}
	/* The first word is that of the highest CPUs. */
	for (int cpu = 0; cpu < (int)count * MASK_WORD_BITS; cpu++)
		if ((words[count - 1 - (size_t)cpu / MASK_WORD_BITS] >> (cpu % MASK_WORD_BITS) & 1) != 0)
			wh_cpus_add(cpus, cpu);
	return true;
}

bool wh_cpus_mask(const struct wh_cpus *cpus, char *text, size_t bytes)
{
	size_t at = 0;
	bool begun = false;
	text[0] = '\0';
	for (int word = MASK_WORDS - 1; word >= 0; word--) {
		uint32_t bits = (uint32_t)(cpus->bits[word / 2] >> (word % 2 * MASK_WORD_BITS));
		if (!begun && bits == 0 && word > 0)
			continue;
		char piece[16];
		int length = begun ? snprintf(piece, sizeof(piece), ",%08" PRIx32, bits)
				   : snprintf(piece, sizeof(piece), "%" PRIx32, bits);
		if (at + (size_t)length >= bytes)
			return false;
		memcpy(text + at, piece, (size_t)length + 1);
		at += (size_t)length;
		begun = true;
	}
	return true;
}

static bool path_make(char path[WH_DOCTOR_PATH_BYTES], const char *root, const char *format, va_list arguments)
{
	int length = snprintf(path, WH_DOCTOR_PATH_BYTES, "%s", root);
	if (length < 0 || length >= WH_DOCTOR_PATH_BYTES)
		return false;
	int more = vsnprintf(path + length, (size_t)(WH_DOCTOR_PATH_BYTES - length), format, arguments);
	return more > 0 && more < WH_DOCTOR_PATH_BYTES - length;
}

/* One read(2): files of sysfs and procfs give a line in one, and whatever else may be there is not waited for. */
static bool line_read(char line[WH_DOCTOR_LINE_BYTES], const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return false;
	ssize_t length = read(fd, line, WH_DOCTOR_LINE_BYTES - 1);
	close(fd);
	if (length <= 0)
		return false;
	line[length] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return line[0] != '\0';
}

bool wh_doctor_path(char path[WH_DOCTOR_PATH_BYTES], const char *root, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	bool made = path_make(path, root, format, arguments);
	va_end(arguments);
	return made;
}

bool wh_doctor_read_line(char line[WH_DOCTOR_LINE_BYTES], const char *root, const char *format, ...)
{
	char path[WH_DOCTOR_PATH_BYTES];
	va_list arguments;
	va_start(arguments, format);
	bool made = path_make(path, root, format, arguments);
	va_end(arguments);
	return made && line_read(line, path);
}

bool wh_doctor_read_number(int64_t *number, const char *root, const char *format, ...)
{
	char path[WH_DOCTOR_PATH_BYTES], line[WH_DOCTOR_LINE_BYTES];
	va_list arguments;
	va_start(arguments, format);
	bool made = path_make(path, root, format, arguments);
	va_end(arguments);
	if (!made || !line_read(line, path))
		return false;
	char *end;
	errno = 0;
	long long value = strtoll(line, &end, 10);
	if (end == line || *end != '\0' || errno != 0)
		return false;
	*number = value;
	return true;
}

bool wh_doctor_read_cpus(struct wh_cpus *cpus, const char *root, const char *format, ...)
{
	char path[WH_DOCTOR_PATH_BYTES], line[WH_DOCTOR_LINE_BYTES];
	va_list arguments;
	va_start(arguments, format);
	bool made = path_make(path, root, format, arguments);
	va_end(arguments);
	return made && line_read(line, path) && wh_cpu_list_parse(line, cpus->bits, NULL) == WH_OK;
}

bool wh_doctor_read_memory(uint64_t *bytes, const char *root, const char *word)
{
	char path[WH_DOCTOR_PATH_BYTES], line[256];
	size_t length = strlen(word);
	FILE *file = wh_doctor_path(path, root, "/proc/meminfo") ? fopen(path, "re") : NULL;
	bool found = false;
	while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, word, length) != 0 || line[length] != ':')
			continue;
		char *end;
		unsigned long long kib = strtoull(line + length + 1, &end, 10);
		found = end != line + length + 1 && kib <= UINT64_MAX / 1024;
		if (found)
			*bytes = kib * 1024;
	}
	if (file != NULL)
		fclose(file);
	return found;
}
