/* SPDX-License-Identifier: BSD-3-Clause */
#include "listing.h"

#include "table.h"
#include "text.h"

#include <inttypes.h>
#include <string.h>

static const char *state_of(const struct wh_adapter *adapter)
{
	if (!adapter->up)
		return "down";
	if (adapter->loopback)
		return "up, loopback";
	return adapter->running ? "up" : "up, no link";
}

static void add_text(struct table *table, const char *text)
{
	table_add(table, "%s", text[0] != '\0' ? text : "-");
}

static void add_number(struct table *table, int64_t number)
{
	if (number < 0)
		table_add(table, "-");
	else
		table_add(table, "%" PRId64, number);
}

static void add_speed(struct table *table, int64_t mbit)
{
	if (mbit <= 0)
		table_add(table, "-");
	else if (mbit < 1000)
		table_add(table, "%" PRId64 " Mbit/s", mbit);
	else
		table_add(table, "%.4g Gbit/s", (double)mbit / 1000);
}

static void add_adapter(struct table *table, const struct wh_adapter *adapter)
{
	add_text(table, adapter->name);
	add_text(table, state_of(adapter));
	add_text(table, adapter->link_type);
	add_speed(table, adapter->speed_mbit);
	add_text(table, adapter->driver);
	add_number(table, adapter->numa_node);
	add_number(table, adapter->cpu);
	add_number(table, adapter->mtu > 0 ? (int64_t)adapter->mtu : -1);
	add_text(table, adapter->offloads);
}

/* "gro tso" -> "ethtool -K eth0 gro off tso off" */
static void print_command(FILE *out, const struct wh_adapter *adapter)
{
	char name[sizeof(adapter->name)];
	snprintf(name, sizeof(name), "%s", adapter->name);
	text_clean(name, false);
	fprintf(out, "  ethtool -K %s", name);
	for (const char *at = adapter->offloads; *at != '\0';) {
		size_t length = strcspn(at, " ");
		if (length > 0)
			fprintf(out, " %.*s off", (int)length, at);
		at += length;
		at += strspn(at, " ");
	}
	fputc('\n', out);
}

static void explain_offloads(FILE *out, const struct wh_adapter *adapters, size_t count)
{
	size_t explained = 0;
	for (size_t i = 0; i < count; i++) {
		if (adapters[i].offloads[0] == '\0')
			continue;
		if (explained++ == 0)
			fputs("\nWith offloads a capture sees frames joined or not yet cut, up to 64 KB, not as on the "
			      "wire; this turns them off:\n",
			      out);
		print_command(out, &adapters[i]);
	}
}

void listing_print(FILE *out, const struct wh_adapter *adapters, size_t count)
{
	static const char *const head[] = {
		"NAME", "STATE", "LINK", "SPEED", "DRIVER", "NUMA", "CPU", "MTU", "OFFLOADS"
	};
	struct table table = { .columns = sizeof(head) / sizeof(head[0]) };
	for (size_t i = 0; i < table.columns; i++)
		table_add(&table, "%s", head[i]);
	for (size_t i = 0; i < count; i++)
		add_adapter(&table, &adapters[i]);
	table_print(&table, out);
	if (count == 0)
		fputs("there is no adapter in this network namespace\n", out);
	explain_offloads(out, adapters, count);
}
