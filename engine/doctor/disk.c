/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the files are to be: its file system, and the space in it. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/doctor/state.h"
#include "writer/file.h"
#include "writer/format_pcapng.h"

enum { PROBE_BYTES = 1024 * 1024 };
/* A capture that is full sooner is worth a word. */
#define FULL_SECONDS_SOON 3600.0
#define SPACE_LEAST       ((uint64_t)1024 * 1024)

/* A copy of FROM, where \040 and the like stand for a byte (proc(5)). */
static void unescape(char *text, size_t bytes, const char *from)
{
	size_t at = 0;
	while (*from != '\0' && at + 1 < bytes) {
		bool octal = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
			     from[3] >= '0' && from[3] <= '7';
		text[at] = *from;
		if (octal) {
			uint8_t byte = (uint8_t)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			memcpy(&text[at], &byte, 1);
		}
		at++;
		from += octal ? 4 : 1;
	}
	text[at] = '\0';
}

/* Takes LINE apart if it is that of mount ID. */
static bool mount_parse(char *line, uint64_t id, struct wh_doctor_mount *mount)
{
	char *fields[6], *rest = line;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		fields[i] = strsep(&rest, " ");
		if (fields[i] == NULL)
			return false;
	}
	char *end;
	if (strtoull(fields[0], &end, 10) != id || end == fields[0] ||
	    sscanf(fields[2], "%u:%u", &mount->major, &mount->minor) != 2 || rest == NULL)
		return false;
	/* Any number of optional fields, then a dash. */
	const char *field = strsep(&rest, " ");
	while (field != NULL && strcmp(field, "-") != 0)
		field = strsep(&rest, " ");
	const char *type = strsep(&rest, " ");
	const char *source = strsep(&rest, " ");
	if (field == NULL || type == NULL || source == NULL)
		return false;
	unescape(mount->point, sizeof(mount->point), fields[4]);
	snprintf(mount->type, sizeof(mount->type), "%s", type);
	snprintf(mount->options, sizeof(mount->options), "%s,%s", fields[5], rest != NULL ? rest : "");
	mount->options[strcspn(mount->options, "\n")] = '\0';
	return true;
}

void wh_doctor_mount_read(const char *root, uint64_t id, struct wh_doctor_mount *mount)
{
	char path[WH_DOCTOR_PATH_BYTES];
	char *line = NULL;
	size_t room = 0;
	*mount = (struct wh_doctor_mount){ 0 };
	FILE *file = wh_doctor_path(path, root, "/proc/self/mountinfo") ? fopen(path, "re") : NULL;
	while (file != NULL && !mount->known && getline(&line, &room, file) > 0)
		mount->known = mount_parse(line, id, mount);
	free(line);
	if (file != NULL)
		fclose(file);
	if (!mount->known)
		*mount = (struct wh_doctor_mount){ 0 };
}

/* The mount that FD is on. Of a program with file capabilities, /proc/self/fdinfo would be closed to it. */
static bool mount_id(int fd, uint64_t *id)
{
	struct statx about;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &about) != 0 || (about.stx_mask & STATX_MNT_ID) == 0)
		return false;
	*id = about.stx_mnt_id;
	return true;
}

/* The directory is there, and cannot be written to. */
static void refusal_judge(struct wh_findings *findings, const struct wh_doctor_place *place,
			  const struct wh_error *error)
{
	char point[WH_PATH_BYTES], user[128], names[1024];
	struct passwd about, *entry = NULL;
	wh_finding_add(findings, WH_FINDING_BAD, "disk", "directory", "%.380s", error->text);
	if (error->os_error == EROFS && place->mount.known && wh_shell_word(place->mount.point, point, sizeof(point)))
		wh_finding_mend(findings, "mount -o remount,rw %s", point);
	/* One of this user's own, in there: whom the directory belongs to is not ours to change. */
	if (error->os_error == EACCES && place->word[0] != '\0' &&
	    getpwuid_r(geteuid(), &about, names, sizeof(names), &entry) == 0 && entry != NULL &&
	    wh_shell_word(entry->pw_name, user, sizeof(user)))
		wh_finding_mend(findings, "sudo install -d -o %s %s/captures", user, place->word);
}

enum wh_status wh_doctor_place_open(struct wh_findings *findings, const char *root, const char *output,
				    struct wh_doctor_place *place, struct wh_error *error)
{
	struct wh_chain_name name;
	uint64_t id;
	*place = (struct wh_doctor_place){ .fd = -1 };
	enum wh_status status = wh_chain_name_parse(output, NULL, &name, error);
	if (status != WH_OK)
		return status;
	/* A word of a command that begins with a dash would be taken for an option. */
	int length = snprintf(place->directory, sizeof(place->directory), "%s%s", name.directory[0] == '-' ? "./" : "",
			      name.directory);
	if (length < 0 || (size_t)length >= sizeof(place->directory))
		return wh_error_set(error, WH_ERR_INPUT, "the path of the directory is too long");
	(void)wh_shell_word(place->directory, place->word, sizeof(place->word));
	*error = (struct wh_error){ 0 };
	status = wh_file_disk_ops.directory_open(place->directory, &place->fd, error);
	if (status != WH_OK && error->os_error != EACCES && error->os_error != EROFS && error->os_error != EPERM)
		return error->status = WH_ERR_INPUT;
	place->writable = status == WH_OK;
	if (place->fd >= 0 && mount_id(place->fd, &id))
		wh_doctor_mount_read(root, id, &place->mount);
	place->space_known = place->fd >= 0 && wh_space_read(place->fd, &place->space) == WH_OK;
	if (place->writable)
		wh_finding_add(findings, WH_FINDING_GOOD, "disk", "directory", "%.300s can be written to",
			       place->directory);
	else
		refusal_judge(findings, place, error);
	return WH_OK;
}

/* Whether the comma-separated OPTIONS hold WORD. */
static bool has_option(const char *options, const char *word)
{
	size_t length = strlen(word);
	for (const char *at = options; *at != '\0';) {
		size_t part = strcspn(at, ",");
		if (part == length && memcmp(at, word, length) == 0)
			return true;
		at += part;
		at += *at == ',' ? 1 : 0;
	}
	return false;
}

/* File systems by what they do with a stream of large writes. A star stands for the rest of a name. */
static const struct {
	const char *type;
	enum wh_finding_kind kind;
	const char *words;
} file_systems[] = {
	{ "ext4", WH_FINDING_GOOD, "takes direct writes and allocates ahead" },
	{ "xfs", WH_FINDING_GOOD, "takes direct writes and allocates ahead" },
	{ "btrfs", WH_FINDING_NOTE,
	  "copies on write and sums up all that is written; for files that are made from then on, this turns it off" },
	{ "zfs", WH_FINDING_NOTE, "copies on write, and writes in the rhythm of its transactions" },
	{ "tmpfs", WH_FINDING_NOTE, "is memory: what is written takes it from the machine, and is gone with it" },
	{ "ramfs", WH_FINDING_NOTE, "is memory without a limit: what is written takes it from the machine" },
	{ "overlay", WH_FINDING_NOTE, "is the layer of a container, and goes with it; a volume does not" },
	{ "nfs*", WH_FINDING_NOTE, "is at the other end of a network, and waits when that does" },
	{ "cifs", WH_FINDING_NOTE, "is at the other end of a network, and waits when that does" },
	{ "smb*", WH_FINDING_NOTE, "is at the other end of a network, and waits when that does" },
	{ "ceph", WH_FINDING_NOTE, "is at the other end of a network, and waits when that does" },
	{ "fuse*", WH_FINDING_NOTE,
	  "is a program, and every write waits for it; unless --direct-io says otherwise, through the page cache" },
	{ "9p", WH_FINDING_NOTE, "is another machine's, and every write waits for it" },
	{ "virtiofs", WH_FINDING_NOTE,
	  "is another machine's, and every write waits for it; unless --direct-io says otherwise, through the page "
	  "cache" },
	{ "vfat", WH_FINDING_NOTE, "does not allocate ahead, and keeps no file larger than 4 GiB" },
};

static bool is_type(const char *type, const char *pattern)
{
	size_t length = strlen(pattern);
	if (pattern[length - 1] == '*')
		return strncmp(type, pattern, length - 1) == 0;
	return strcmp(type, pattern) == 0;
}

static void type_judge(struct wh_findings *findings, const struct wh_doctor_place *place)
{
	const char *type = place->mount.type;
	for (size_t i = 0; i < sizeof(file_systems) / sizeof(file_systems[0]); i++) {
		if (!is_type(type, file_systems[i].type))
			continue;
		wh_finding_add(findings, file_systems[i].kind, "disk", "file system", "%s %s", type,
			       file_systems[i].words);
		if (strcmp(type, "btrfs") == 0 && place->word[0] != '\0')
			wh_finding_mend(findings, "chattr +C %s", place->word);
		return;
	}
	wh_finding_add(findings, WH_FINDING_NOTE, "disk", "file system",
		       "%s is none that is known here; what it takes is measured", type);
}

static void options_judge(struct wh_findings *findings, const struct wh_doctor_mount *mount)
{
	char point[WH_PATH_BYTES];
	bool can_be_told = wh_shell_word(mount->point, point, sizeof(point));
	if (has_option(mount->options, "sync")) {
		wh_finding_add(findings, WH_FINDING_BAD, "disk", "mount options",
			       "sync: each write waits until the disk has all of it and the file system's records");
		if (can_be_told)
			wh_finding_mend(findings, "mount -o remount,async %s", point);
	}
	if (has_option(mount->options, "data=journal"))
		wh_finding_add(
		    findings, WH_FINDING_BAD, "disk", "mount options",
		    "data=journal: all is written twice, and nothing directly; it is changed in /etc/fstab, or "
		    "with tune2fs, and a new mount");
	if (has_option(mount->options, "discard")) {
		wh_finding_add(findings, WH_FINDING_NOTE, "disk", "mount options",
			       "discard: the disk is told of each file that is deleted, and may hold up writes for it; "
			       "fstrim.timer does it at a better time");
		/* xfs takes the word and does not do it; there it goes with a new mount only. */
		if (can_be_told && strcmp(mount->type, "xfs") != 0)
			wh_finding_mend(findings, "mount -o remount,nodiscard %s", point);
	}
}

void wh_doctor_mount_judge(struct wh_findings *findings, const char *root, const struct wh_doctor_place *place)
{
	const struct wh_doctor_mount *mount = &place->mount;
	int64_t rotates = 0;
	if (!mount->known)
		return;
	type_judge(findings, place);
	options_judge(findings, mount);
	static const char *const places[] = { "queue", "../queue" }; /* of a disk, and of a part of one */
	bool known = false;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !known; i++)
		known = wh_doctor_read_number(&rotates, root, "/sys/dev/block/%u:%u/%s/rotational", mount->major,
					      mount->minor, places[i]);
	if (known && rotates == 1)
		wh_finding_add(findings, WH_FINDING_NOTE, "disk", "device",
			       "it turns, or says so: whatever else uses it makes its head move, and writes wait");
}

/* Tries both with FD, a file of nobody's. Returns 0, or the errno of the direct write. */
static int direct_try(int fd, bool *refused)
{
	void *bytes = aligned_alloc(WH_FILE_ALIGNMENT, WH_FILE_ALIGNMENT);
	if (bytes == NULL)
		return ENOMEM;
	memset(bytes, 0x5a, WH_FILE_ALIGNMENT);
	*refused = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, PROBE_BYTES) != 0;
	ssize_t written = pwrite(fd, bytes, WH_FILE_ALIGNMENT, 0);
	int reason = written < 0 ? errno : written != WH_FILE_ALIGNMENT ? EIO : 0;
	free(bytes);
	return reason;
}

void wh_doctor_probe_try(const struct wh_doctor_place *place, struct wh_doctor_probe *probe)
{
	const struct wh_space *space = &place->space;
	*probe = (struct wh_doctor_probe){ 0 };
	if (place->space_known && space->total_bytes != 0 &&
	    (space->available_bytes <= place->limit_bytes ||
	     space->available_bytes - place->limit_bytes <= 2 * (uint64_t)PROBE_BYTES))
		return;
	int fd = open(place->directory, O_TMPFILE | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600);
	probe->done = fd >= 0;
	/* EOPNOTSUPP and EISDIR: it makes no files without a name, and one with a name is not made here. */
	probe->reason = fd < 0 ? errno : direct_try(fd, &probe->allocation_refused);
	if (fd >= 0)
		close(fd);
}

void wh_doctor_probe_judge(struct wh_findings *findings, const struct wh_doctor_probe *probe)
{
	if (probe->reason == EINVAL || (probe->done && probe->reason == EOPNOTSUPP))
		wh_finding_add(
		    findings, WH_FINDING_NOTE, "disk", "direct writes",
		    "the file system takes none: all goes through the page cache, which costs memory and time, "
		    "and holds writers up when it is full (vm.dirty_ratio)");
	else if (probe->done && probe->reason == 0)
		wh_finding_add(findings, WH_FINDING_GOOD, "disk", "direct writes", "the file system takes them");
	else if (probe->done)
		wh_finding_add(findings, WH_FINDING_BAD, "disk", "direct writes", "a first small write failed: %s",
			       strerrordesc_np(probe->reason));
	if (probe->allocation_refused)
		wh_finding_add(
		    findings, WH_FINDING_NOTE, "disk", "allocation",
		    "the file system does not allocate ahead: files grow in pieces, and space that others take "
		    "is noticed late");
}

static void part_add(char *text, size_t bytes, double left, double rate, const char *words)
{
	size_t length = strlen(text);
	if (rate > 0)
		snprintf(text + length, bytes - length, "; enough for %s %s", wh_words_duration(left / rate).s, words);
}

void wh_doctor_space_judge(struct wh_findings *findings, const struct wh_doctor_place *place,
			   const struct wh_doctor_rates *rates, double percent, const char *command)
{
	const struct wh_space *space = &place->space;
	if (!place->space_known || space->total_bytes == 0)
		return;
	uint64_t limit = place->limit_bytes;
	double free_percent = wh_space_percent(space);
	if (space->available_bytes <= limit || space->available_bytes - limit <= SPACE_LEAST) {
		wh_finding_add(
		    findings, WH_FINDING_BAD, "disk", "space",
		    "%s of %s are free (%.1f %%), and %.1f %% must stay free: no capture starts; make room, or "
		    "leave less free",
		    wh_words_scaled((double)space->available_bytes, "B").s,
		    wh_words_scaled((double)space->total_bytes, "B").s, free_percent, percent);
		if (free_percent >= 1 && percent > 0 && command[0] != '\0')
			wh_finding_mend(findings, "%s --min-free %.1f", command, free_percent / 2);
		return;
	}
	double left = (double)(space->available_bytes - limit);
	/* Links may carry more than the disk takes; then it is the disk that fills itself. */
	bool line_is_less = rates->line > 0 && (rates->disk <= 0 || rates->line < rates->disk);
	double fastest = line_is_less ? rates->line : rates->disk;
	char words[200] = "";
	part_add(words, sizeof(words), left, fastest,
		 line_is_less ? "of full links" : "at the speed that was measured");
	part_add(words, sizeof(words), left, rates->traffic, "of the traffic of just now");
	bool soon = fastest > 0 && left / fastest < FULL_SECONDS_SOON;
	wh_finding_add(findings, soon ? WH_FINDING_NOTE : WH_FINDING_GOOD, "disk", "space",
		       "%s are left above the %.1f %% that must stay free (%.1f %% of %s are free)%s%s",
		       wh_words_scaled(left, "B").s, percent, free_percent,
		       wh_words_scaled((double)space->total_bytes, "B").s, words,
		       soon ? ". Then the capture stops, unless it deletes its oldest files" : "");
	if (soon && command[0] != '\0')
		wh_finding_mend(findings, "%s --on-low-space recycle", command);
}
