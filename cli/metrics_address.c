/* SPDX-License-Identifier: BSD-3-Clause */
#include "metrics_address.h"

#include "values.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static enum wh_result refuse(struct wh_message *message, const char *text, const char *why)
{
	snprintf(message->text, sizeof(message->text), "--metrics %.80s: %s", text, why);
	return WH_RESULT_USAGE;
}

static bool host_v4(const char *host, uint16_t port, struct metrics_address *address)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &v4.sin_addr) != 1)
		return false;
	memcpy(&address->socket, &v4, sizeof(v4));
	address->length = sizeof(v4);
	return true;
}

/* HOST may have an adapter's name behind a '%', as link-local addresses must. */
static bool host_v6(char *host, uint16_t port, struct metrics_address *address)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	char *scope = strchr(host, '%');
	if (scope != NULL) {
		*scope = '\0';
		v6.sin6_scope_id = if_nametoindex(scope + 1);
		if (v6.sin6_scope_id == 0)
			return false;
	}
	if (inet_pton(AF_INET6, host, &v6.sin6_addr) != 1)
		return false;
	memcpy(&address->socket, &v6, sizeof(v6));
	address->length = sizeof(v6);
	return true;
}

enum wh_result metrics_address_parse(const char *text, struct metrics_address *address, struct wh_message *message)
{
	static const char how[] = "give an address in numbers and a port, as 127.0.0.1:9817 or [::1]:9817, or a port "
				  "alone for 127.0.0.1";
	char host[128] = "127.0.0.1";
	const char *colon = strrchr(text, ':');
	const char *begin = text;
	size_t length = colon != NULL ? (size_t)(colon - text) : 0;
	bool brackets = length >= 2 && text[0] == '[' && text[length - 1] == ']';
	uint64_t port;
	*address = (struct metrics_address){ .length = 0 };
	if (!value_number(colon != NULL ? colon + 1 : text, 0, 65535, &port))
		return refuse(message, text, how);
	if (brackets) {
		begin++;
		length -= 2;
	}
	if (length >= sizeof(host))
		return refuse(message, text, how);
	if (colon != NULL) {
		memcpy(host, begin, length);
		host[length] = '\0';
	}
	if (colon != NULL && length == 0)
		return refuse(message, text,
			      "which address is meant? For this machine alone it is 127.0.0.1:PORT, for every adapter "
			      "0.0.0.0:PORT");
	if (!brackets && strchr(host, ':') != NULL)
		return refuse(message, text, "an IPv6 address stands in brackets, as [::1]:9817");
	if (brackets ? !host_v6(host, (uint16_t)port, address) : !host_v4(host, (uint16_t)port, address))
		return refuse(message, text, how);
	return WH_RESULT_OK;
}

uint16_t metrics_address_port(const struct metrics_address *address)
{
	if (address->socket.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&address->socket)->sin6_port);
	return ntohs(((const struct sockaddr_in *)&address->socket)->sin_port);
}

void metrics_address_url(const struct metrics_address *address, struct wh_message *url)
{
	char host[INET6_ADDRSTRLEN] = "";
	bool is_v6 = address->socket.ss_family == AF_INET6;
	const void *number = is_v6 ? (const void *)&((const struct sockaddr_in6 *)&address->socket)->sin6_addr
				   : (const void *)&((const struct sockaddr_in *)&address->socket)->sin_addr;
	inet_ntop(address->socket.ss_family, number, host, sizeof(host));
	snprintf(url->text, sizeof(url->text), "http://%s%s%s:%u/metrics", is_v6 ? "[" : "", host, is_v6 ? "]" : "",
		 metrics_address_port(address));
}
