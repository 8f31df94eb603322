/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: any bytes as a profile. The first byte says whether a filter is on the command line, the next eight
 * which options are; what follows is the file. It may be refused, never break anything, and what the command line gives
 * must be left alone.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "profile.h"

#define PREFIX_BYTES 9

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold of everything that was accepted. */
static void check_accepted(const struct options *options, uint64_t given, bool filtered)
{
	const struct wh_config *config = &options->config;
	if ((options->given & given) != 0 || options->given >> OPTION_TOTAL != 0)
		abort();
	if ((filtered || (given >> OPTION_FILTER_FILE & 1) != 0) && options->filter != NULL)
		abort();
	if (options->filter != NULL && options->filter[0] == '\0')
		abort();
	if (options->command != CLI_CAPTURE)
		abort();
	for (size_t i = 0; i < config->interface_count; i++) {
		if (options->interfaces[i][0] == '\0' || strpbrk(options->interfaces[i], ",\n") != NULL)
			abort();
	}
	if (config->output != NULL && (config->output[0] == '\0' || strchr(config->output, '\n') != NULL))
		abort();
	if (config->hook_command != NULL && config->hook_command[0] == '\0')
		abort();
	if (!(config->min_free_percent >= 0 && config->min_free_percent <= 99.9))
		abort();
	if (config->file_bytes == 0 || config->file_bytes > INT64_MAX || config->fanout == 0)
		abort();
}

static void check_refused(enum wh_result result, const struct wh_message *message)
{
	if (result != WH_RESULT_USAGE || strncmp(message->text, "lan.conf:", 9) != 0 ||
	    strpbrk(message->text, "\r\n\033") != NULL)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t given = 0;
	if (size < PREFIX_BYTES)
		return 0;
	bool filtered = (data[0] & 1) != 0;
	memcpy(&given, data + 1, sizeof(given));
	struct profile *profile = NULL;
	struct wh_message message = { "" };
	/* In memory of its own, so that a byte read behind the end is noticed. */
	size_t length = size - PREFIX_BYTES;
	char *text = malloc(length > 0 ? length : 1);
	if (text == NULL)
		return 0;
	memcpy(text, data + PREFIX_BYTES, length);
	enum wh_result result = profile_parse("lan.conf", text, length, &profile, &message);
	free(text);
	if (result != WH_RESULT_OK) {
		check_refused(result, &message);
		return 0;
	}
	struct options options;
	memset(&options, 0, sizeof(options));
	wh_config_init(&options.config);
	result = profile_apply(profile, given, filtered, &options, &message);
	if (result == WH_RESULT_OK)
		check_accepted(&options, given, filtered);
	else
		check_refused(result, &message);
	options_free(&options);
	profile_free(profile);
	return 0;
}
