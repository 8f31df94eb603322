/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer target: any bytes, cut into words at each NUL, as a command line. The parser may refuse, never break. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

#define WORDS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold of everything that was accepted, whatever it was made from. */
static void check_accepted(const struct options *options, const struct wh_message *message)
{
	const struct wh_config *config = &options->config;
	if (message->text[0] != '\0')
		abort();
	if (options->command != CLI_CAPTURE)
		return;
	if (config->output == NULL ? config->simulate != WH_SIMULATE_NO_DISK : config->output[0] == '\0')
		abort();
	int inputs =
	    (config->interface_count != 0) + (config->replay_file != NULL) + (config->simulate == WH_SIMULATE_NO_NIC);
	if (inputs != 1)
		abort();
	if (config->simulated_frame_bytes < 14 || config->simulated_frame_bytes > 65535)
		abort();
	for (size_t i = 0; i < config->interface_count; i++) {
		if (config->interfaces[i][0] == '\0' || strchr(config->interfaces[i], ',') != NULL)
			abort();
	}
	if (!(config->min_free_percent >= 0 && config->min_free_percent <= 99.9))
		abort();
	if (config->file_bytes == 0 || config->file_bytes > INT64_MAX || config->fanout == 0)
		abort();
	if ((config->cpus == WH_CPUS_LIST) != (config->cpu_list != NULL))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[] = "wirehaul";
	char *words[WORDS_MAX + 1] = { name };
	int count = 1;
	char *text = malloc(size + 1);
	if (text == NULL)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	for (size_t at = 0; at < size && count < WORDS_MAX; at += strlen(text + at) + 1)
		words[count++] = text + at;

	struct options options;
	struct wh_message message;
	enum wh_result result = options_parse(count, words, &options, &message);
	if (result == WH_RESULT_OK)
		check_accepted(&options, &message);
	else if (result != WH_RESULT_USAGE || message.text[0] == '\0' || strpbrk(message.text, "\r\n\033") != NULL)
		abort();
	options_free(&options);
	free(text);
	return 0;
}
