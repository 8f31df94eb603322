/* SPDX-License-Identifier: BSD-3-Clause */
/* Discovery and hot-plug against the real kernel, in a network namespace of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <pcap/pcap.h>

#include "engine/interfaces.h"
#include "wirehaul.h"

enum { REQUEST_BYTES = 4096, EVENTS_MAX = 4096, EVENT_TIMEOUT_MS = 30000 };

/* What the watch told, in order. */
struct events {
	struct wh_interface_event items[EVENTS_MAX];
	size_t count;
};

static struct events events;
static int original_namespace = -1;
static char why_no_namespace[128];

/* Without the rights for a namespace the tests that change adapters are skipped; the others run where they are. */
static int enter_namespace(void **state)
{
	(void)state;
	original_namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (original_namespace < 0 || unshare(CLONE_NEWNET) != 0) {
		snprintf(why_no_namespace, sizeof(why_no_namespace), "no network namespace of its own: %s",
			 strerror(errno));
		return 0;
	}
	return 0;
}

static int leave_namespace(void **state)
{
	(void)state;
	int result = why_no_namespace[0] == '\0' ? setns(original_namespace, CLONE_NEWNET) : 0;
	if (original_namespace >= 0)
		close(original_namespace);
	return result;
}

static void need_namespace(void)
{
	if (why_no_namespace[0] != '\0') {
		print_message("skipped: %s\n", why_no_namespace);
		skip();
	}
}

/* Sends a request and returns 0 or the errno that the kernel answered. */
static int request(struct nlmsghdr *header)
{
	char answer[8192];
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	assert_non_null(socket);
	assert_int_equal(mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID), 0);
	header->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	assert_true(mnl_socket_sendto(socket, header, header->nlmsg_len) > 0);
	ssize_t length = mnl_socket_recvfrom(socket, answer, sizeof(answer));
	assert_true(length > 0);
	int result = mnl_cb_run(answer, (size_t)length, 0, mnl_socket_get_portid(socket), NULL, NULL);
	int os_error = result < 0 ? errno : 0;
	mnl_socket_close(socket);
	return os_error;
}

static struct nlmsghdr *link_request(char *buffer, uint16_t type, uint16_t flags, const struct ifinfomsg *link)
{
	struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);
	header->nlmsg_type = type;
	header->nlmsg_flags = flags;
	struct ifinfomsg *put = mnl_nlmsg_put_extra_header(header, sizeof(*put));
	*put = *link;
	return header;
}

/* Needs the veth driver; where the kernel lacks it the test is skipped. */
static void make_veth(const char *name, const char *peer)
{
	char buffer[REQUEST_BYTES];
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC };
	struct nlmsghdr *header = link_request(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link);
	mnl_attr_put_strz(header, IFLA_IFNAME, name);
	struct nlattr *information = mnl_attr_nest_start(header, IFLA_LINKINFO);
	mnl_attr_put_strz(header, IFLA_INFO_KIND, "veth");
	struct nlattr *data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
	struct nlattr *other = mnl_attr_nest_start(header, VETH_INFO_PEER);
	struct ifinfomsg *peer_link = mnl_nlmsg_put_extra_header(header, sizeof(*peer_link));
	peer_link->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(header, IFLA_IFNAME, peer);
	mnl_attr_nest_end(header, other);
	mnl_attr_nest_end(header, data);
	mnl_attr_nest_end(header, information);
	int os_error = request(header);
	if (os_error == EOPNOTSUPP) {
		print_message("skipped: this kernel has no veth driver\n");
		skip();
	}
	assert_int_equal(os_error, 0);
}

static struct wh_interface find(const char *name)
{
	struct wh_interface found;
	struct wh_error error = { 0 };
	assert_int_equal(wh_interface_find(name, &found, &error), WH_OK);
	return found;
}

static void set_up(const char *name, bool up)
{
	char buffer[REQUEST_BYTES];
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC,
				  .ifi_index = find(name).index,
				  .ifi_flags = up ? IFF_UP : 0,
				  .ifi_change = IFF_UP };
	assert_int_equal(request(link_request(buffer, RTM_NEWLINK, 0, &link)), 0);
}

static void rename_link(int index, const char *name)
{
	char buffer[REQUEST_BYTES];
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC, .ifi_index = index };
	struct nlmsghdr *header = link_request(buffer, RTM_NEWLINK, 0, &link);
	mnl_attr_put_strz(header, IFLA_IFNAME, name);
	assert_int_equal(request(header), 0);
}

static void add_alternative_name(int index, const char *name)
{
	char buffer[REQUEST_BYTES];
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC, .ifi_index = index };
	struct nlmsghdr *header =
	    link_request(buffer, RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND, &link);
	struct nlattr *properties = mnl_attr_nest_start(header, IFLA_PROP_LIST);
	mnl_attr_put_strz(header, IFLA_ALT_IFNAME, name);
	mnl_attr_nest_end(header, properties);
	assert_int_equal(request(header), 0);
}

static void remove_link(const char *name)
{
	char buffer[REQUEST_BYTES];
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC, .ifi_index = find(name).index };
	assert_int_equal(request(link_request(buffer, RTM_DELLINK, 0, &link)), 0);
}

static void keep_event(void *context, const struct wh_interface_event *event)
{
	struct events *kept = context;
	assert_in_range(kept->count, 0, EVENTS_MAX - 1);
	kept->items[kept->count++] = *event;
}

/* Waits for events, which the kernel queues before the request that causes them is answered, and reads them. */
static bool read_events(struct wh_interface_watch *watch)
{
	struct pollfd wait = { .fd = wh_interface_watch_fd(watch), .events = POLLIN };
	assert_int_equal(poll(&wait, 1, EVENT_TIMEOUT_MS), 1);
	bool overflowed = true;
	struct wh_error error = { 0 };
	events.count = 0;
	assert_int_equal(wh_interface_watch_read(watch, keep_event, &events, &overflowed, &error), WH_OK);
	return overflowed;
}

/* The last event about NAME, or NULL. */
static const struct wh_interface_event *last_event(const char *name)
{
	for (size_t i = events.count; i > 0; i--) {
		if (strcmp(events.items[i - 1].interface.name, name) == 0)
			return &events.items[i - 1];
	}
	return NULL;
}

static void the_list_has_the_loopback(void **state)
{
	(void)state;
	struct wh_interface *list;
	size_t count;
	struct wh_error error = { 0 };
	assert_int_equal(wh_interfaces_list(&list, &count, &error), WH_OK);
	assert_true(count >= 1);
	size_t at = 0;
	for (size_t i = 0; i < count; i++) {
		assert_true(list[i].index > 0);
		assert_true(i == 0 || list[i - 1].index < list[i].index);
		if (strcmp(list[i].name, "lo") == 0)
			at = i;
	}
	const struct wh_interface *loopback = &list[at];
	assert_string_equal(loopback->name, "lo");
	assert_true(loopback->loopback);
	assert_int_equal(loopback->arp_type, ARPHRD_LOOPBACK);
	assert_int_equal(loopback->mac_bytes, 6);
	assert_true(loopback->mtu > 0);
	struct wh_interface found = find("lo");
	assert_int_equal(found.index, loopback->index);
	assert_int_equal(found.mtu, loopback->mtu);
	assert_true(found.loopback);
	free(list);
}

static void an_unknown_adapter_is_gone(void **state)
{
	(void)state;
	char longest[200];
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	const char *const names[] = { "wh-none0", "wh-none-and-longer-than-fifteen", "", "a/b", longest };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct wh_interface found;
		struct wh_error error = { 0 };
		assert_int_equal(wh_interface_find(names[i], &found, &error), WH_ERR_GONE);
		assert_int_equal(error.status, WH_ERR_GONE);
		assert_non_null(strstr(error.text, "there is no adapter"));
		assert_int_equal(found.index, 0);
	}
	struct wh_interface_drops drops;
	assert_int_equal(wh_interface_drops_read(0x7ffffff0, &drops), WH_ERR_GONE);
	assert_int_equal(wh_interface_drops_read(0, &drops), WH_ERR_GONE);
	struct wh_interface_details details;
	wh_interface_details_read("wh-none0", &details);
	assert_string_equal(details.driver, "");
	assert_true(details.speed_mbit < 0);
	wh_interface_details_read(longest, &details);
	assert_true(details.speed_mbit < 0);
}

static void link_types_follow_libpcap(void **state)
{
	(void)state;
	uint32_t header = 1;
	assert_int_equal(wh_link_type_from_arp_type(ARPHRD_ETHER, &header), DLT_EN10MB);
	assert_int_equal(header, 14);
	assert_int_equal(wh_link_type_from_arp_type(ARPHRD_LOOPBACK, &header), DLT_EN10MB);
	assert_int_equal(header, 14);
	assert_int_equal(wh_link_type_from_arp_type(ARPHRD_NONE, &header), DLT_RAW);
	assert_int_equal(header, 0);
	assert_int_equal(wh_link_type_from_arp_type(ARPHRD_IEEE80211_RADIOTAP, &header), DLT_IEEE802_11_RADIO);
	assert_int_equal(wh_link_type_from_arp_type(ARPHRD_PPP, &header), -1);
	assert_int_equal(wh_link_type_from_arp_type(ARPHRD_NETLINK, &header), -1);
	assert_int_equal(wh_link_type_from_arp_type(0xabcd, &header), -1);
	assert_int_equal(header, 0);
	/* What libpcap itself writes into a file is the reference for the number there. */
	static const int link_types[] = { DLT_EN10MB, DLT_RAW, DLT_CAN_SOCKETCAN, DLT_C_HDLC, DLT_IEEE802_11_RADIO };
	for (size_t i = 0; i < sizeof(link_types) / sizeof(link_types[0]); i++) {
		uint32_t file_header[6] = { 0 };
		FILE *file = fmemopen(file_header, sizeof(file_header), "w");
		pcap_t *dead = pcap_open_dead(link_types[i], 65535);
		assert_non_null(file);
		assert_non_null(dead);
		pcap_dumper_t *dumper = pcap_dump_fopen(dead, file);
		assert_non_null(dumper);
		pcap_dump_close(dumper);
		pcap_close(dead);
		assert_int_equal(wh_link_type_in_file(link_types[i]), file_header[5]);
	}
}

static void a_veth_pair_comes_up_and_vanishes(void **state)
{
	(void)state;
	need_namespace();
	struct wh_interface_watch *watch;
	struct wh_error error = { 0 };
	assert_int_equal(wh_interface_watch_open(&watch, &error), WH_OK);
	bool overflowed = true;
	events.count = 0;
	assert_int_equal(wh_interface_watch_read(watch, keep_event, &events, &overflowed, &error), WH_OK);
	assert_false(overflowed);
	assert_int_equal(events.count, 0);

	make_veth("whv0", "whv1");
	assert_false(read_events(watch));
	assert_non_null(last_event("whv0"));
	assert_non_null(last_event("whv1"));
	assert_int_equal(last_event("whv0")->kind, WH_INTERFACE_CHANGED);
	assert_false(last_event("whv0")->interface.up);
	int index = last_event("whv0")->interface.index;
	assert_int_equal(find("whv0").index, index);

	set_up("whv0", true);
	set_up("whv1", true);
	assert_false(read_events(watch));
	const struct wh_interface_event *event = last_event("whv0");
	assert_non_null(event);
	assert_int_equal(event->kind, WH_INTERFACE_CHANGED);
	assert_int_equal(event->interface.index, index);
	assert_int_equal(event->interface.arp_type, ARPHRD_ETHER);
	assert_int_equal(event->interface.mac_bytes, 6);
	assert_int_equal(event->interface.mtu, 1500);
	assert_true(event->interface.up);
	assert_true((event->interface.flags & IFF_UP) != 0);

	remove_link("whv0");
	assert_false(read_events(watch));
	assert_non_null(last_event("whv0"));
	assert_int_equal(last_event("whv0")->kind, WH_INTERFACE_REMOVED);
	assert_int_equal(last_event("whv0")->interface.index, index);
	assert_non_null(last_event("whv1"));
	assert_int_equal(last_event("whv1")->kind, WH_INTERFACE_REMOVED);
	struct wh_interface found;
	assert_int_equal(wh_interface_find("whv0", &found, &error), WH_ERR_GONE);
	wh_interface_watch_close(watch);
	wh_interface_watch_close(NULL);
}

static void a_renamed_adapter_keeps_its_index(void **state)
{
	(void)state;
	need_namespace();
	make_veth("whr0", "whr1");
	int index = find("whr0").index;
	struct wh_interface_watch *watch;
	struct wh_error error = { 0 };
	assert_int_equal(wh_interface_watch_open(&watch, &error), WH_OK);
	rename_link(index, "whnew0");
	assert_false(read_events(watch));
	assert_non_null(last_event("whnew0"));
	assert_int_equal(last_event("whnew0")->interface.index, index);
	assert_int_equal(find("whnew0").index, index);

	static const char alternative[] = "an-alternative-name-of-more-than-fifteen-letters";
	add_alternative_name(index, alternative);
	add_alternative_name(index, "whalt0");
	assert_int_equal(find(alternative).index, index);
	assert_string_equal(find(alternative).name, "whnew0");
	assert_string_equal(find("whalt0").name, "whnew0");
	remove_link("whnew0");
	wh_interface_watch_close(watch);
}

/* The kernel drops what the socket's buffer does not hold; the smallest buffer makes that happen with a few events. */
static void lost_events_are_made_good_by_the_list(void **state)
{
	(void)state;
	need_namespace();
	struct wh_interface_watch *watch;
	struct wh_error error = { 0 };
	assert_int_equal(wh_interface_watch_open(&watch, &error), WH_OK);
	int smallest = 1;
	assert_int_equal(setsockopt(wh_interface_watch_fd(watch), SOL_SOCKET, SO_RCVBUF, &smallest, sizeof(smallest)),
			 0);
	make_veth("who0", "who1");
	for (int i = 0; i < 20; i++)
		set_up("who0", i % 2 == 1);
	make_veth("who2", "who3");
	assert_true(read_events(watch));
	assert_non_null(last_event("who2"));
	assert_int_equal(last_event("who2")->kind, WH_INTERFACE_CHANGED);
	assert_true(last_event("who0")->interface.up);
	assert_false(last_event("who2")->interface.up);
	assert_non_null(last_event("lo"));

	/* And then it goes on as before. */
	int large = 1 << 20;
	assert_int_equal(setsockopt(wh_interface_watch_fd(watch), SOL_SOCKET, SO_RCVBUF, &large, sizeof(large)), 0);
	remove_link("who2");
	assert_false(read_events(watch));
	assert_int_equal(last_event("who2")->kind, WH_INTERFACE_REMOVED);
	remove_link("who0");
	wh_interface_watch_close(watch);
}

/* However many events there are, a call comes back after some of them, and the next ones tell the rest in order. */
static void a_call_reads_a_part_of_many_events(void **state)
{
	(void)state;
	need_namespace();
	struct wh_interface_watch *watch;
	struct wh_error error = { 0 };
	assert_int_equal(wh_interface_watch_open(&watch, &error), WH_OK);
	make_veth("whm0", "whm1");
	for (int i = 0; i < 150; i++)
		set_up("whm0", i % 2 == 0);
	remove_link("whm0");
	size_t total = 0, calls = 0;
	do {
		assert_false(read_events(watch));
		assert_in_range(events.count, 1, 64);
		total += events.count;
		calls++;
	} while (last_event("whm0") == NULL || last_event("whm0")->kind != WH_INTERFACE_REMOVED);
	assert_true(total > 150);
	assert_true(calls >= 3);

	/* Lost ones are made good when the others are read, in however many calls. */
	int enough = 200 * 1024;
	assert_int_equal(setsockopt(wh_interface_watch_fd(watch), SOL_SOCKET, SO_RCVBUF, &enough, sizeof(enough)), 0);
	make_veth("whm0", "whm1");
	for (int i = 0; i < 1000; i++)
		set_up("whm0", i % 2 == 0);
	make_veth("whm2", "whm3");
	for (calls = 1; !read_events(watch); calls++)
		assert_in_range(calls, 1, 1000);
	assert_true(calls > 1);
	assert_non_null(last_event("whm3"));
	remove_link("whm0");
	remove_link("whm2");
	wh_interface_watch_close(watch);
}

/* The watch asks the namespace that it was opened in, wherever the thread that reads it is by then. */
static void the_watch_stays_in_its_namespace(void **state)
{
	(void)state;
	need_namespace();
	struct wh_interface_watch *watch;
	struct wh_error error = { 0 };
	assert_int_equal(wh_interface_watch_open(&watch, &error), WH_OK);
	int smallest = 1;
	assert_int_equal(setsockopt(wh_interface_watch_fd(watch), SOL_SOCKET, SO_RCVBUF, &smallest, sizeof(smallest)),
			 0);
	make_veth("whn0", "whn1");
	for (int i = 0; i < 20; i++)
		set_up("whn0", i % 2 == 1);
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(own >= 0);
	assert_int_equal(setns(original_namespace, CLONE_NEWNET), 0);
	bool overflowed = read_events(watch);
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	close(own);
	assert_true(overflowed);
	assert_non_null(last_event("whn1"));
	remove_link("whn0");
	wh_interface_watch_close(watch);
}

static void leaving_a_bridge_is_not_leaving_the_machine(void **state)
{
	(void)state;
	need_namespace();
	char buffer[REQUEST_BYTES];
	struct ifinfomsg link = { .ifi_family = AF_UNSPEC };
	struct nlmsghdr *header = link_request(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link);
	mnl_attr_put_strz(header, IFLA_IFNAME, "whbr0");
	struct nlattr *information = mnl_attr_nest_start(header, IFLA_LINKINFO);
	mnl_attr_put_strz(header, IFLA_INFO_KIND, "bridge");
	mnl_attr_nest_end(header, information);
	if (request(header) == EOPNOTSUPP) {
		print_message("skipped: this kernel has no bridge driver\n");
		skip();
	}
	make_veth("whb0", "whb1");
	struct wh_interface_watch *watch;
	struct wh_error error = { 0 };
	assert_int_equal(wh_interface_watch_open(&watch, &error), WH_OK);
	const uint32_t masters[] = { (uint32_t)find("whbr0").index, 0 };
	for (size_t i = 0; i < 2; i++) {
		link = (struct ifinfomsg){ .ifi_family = AF_UNSPEC, .ifi_index = find("whb0").index };
		header = link_request(buffer, RTM_NEWLINK, 0, &link);
		mnl_attr_put_u32(header, IFLA_MASTER, masters[i]);
		assert_int_equal(request(header), 0);
	}
	assert_false(read_events(watch));
	assert_true(events.count > 0);
	for (size_t i = 0; i < events.count; i++)
		assert_int_equal(events.items[i].kind, WH_INTERFACE_CHANGED);
	remove_link("whb0");
	remove_link("whbr0");
	wh_interface_watch_close(watch);
}

static void counters_follow_the_traffic(void **state)
{
	(void)state;
	need_namespace();
	set_up("lo", true);
	int index = find("lo").index;
	struct wh_interface_drops before;
	struct wh_interface_drops after;
	assert_int_equal(wh_interface_drops_read(index, &before), WH_OK);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(9),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	for (int i = 0; i < 10; i++)
		assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	close(fd);
	assert_int_equal(wh_interface_drops_read(index, &after), WH_OK);
	assert_true(after.received >= before.received + 10);
	assert_true(after.sent >= before.sent + 10);
	assert_true(after.missed == 0 && after.fifo == 0 && after.over == 0);
}

/* veth_get_link_ksettings() and veth_get_drvinfo() of drivers/net/veth.c give fixed answers. */
static void the_driver_tells_its_details(void **state)
{
	(void)state;
	need_namespace();
	make_veth("whd0", "whd1");
	struct wh_interface_details details;
	wh_interface_details_read("whd0", &details);
	assert_string_equal(details.driver, "veth");
	assert_int_equal(details.speed_mbit, 10000);
	assert_true(details.tso && details.gso);
	assert_false(details.lro);
	wh_interface_details_read("lo", &details);
	assert_true(details.speed_mbit < 0);
	assert_true(details.gso);
	remove_link("whd0");
}

static void the_public_listing_describes_adapters(void **state)
{
	(void)state;
	struct wh_adapter *adapters;
	size_t count;
	struct wh_message message;
	assert_int_equal(wh_adapters_list(&adapters, &count, &message), WH_RESULT_OK);
	assert_true(count >= 1);
	size_t at = 0;
	while (at + 1 < count && strcmp(adapters[at].name, "lo") != 0)
		at++;
	const struct wh_adapter *loopback = &adapters[at];
	assert_string_equal(loopback->name, "lo");
	assert_true(loopback->loopback);
	assert_string_equal(loopback->link_type, "EN10MB");
	assert_int_equal(loopback->numa_node, -1);
	assert_true(loopback->cpu >= 0);
	assert_true(loopback->mtu > 0);
	assert_true(loopback->speed_mbit < 0);
	assert_non_null(strstr(loopback->offloads, "gso"));
	wh_adapters_free(adapters);
	wh_adapters_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_list_has_the_loopback),
		cmocka_unit_test(an_unknown_adapter_is_gone),
		cmocka_unit_test(link_types_follow_libpcap),
		cmocka_unit_test(a_veth_pair_comes_up_and_vanishes),
		cmocka_unit_test(a_renamed_adapter_keeps_its_index),
		cmocka_unit_test(lost_events_are_made_good_by_the_list),
		cmocka_unit_test(a_call_reads_a_part_of_many_events),
		cmocka_unit_test(the_watch_stays_in_its_namespace),
		cmocka_unit_test(leaving_a_bridge_is_not_leaving_the_machine),
		cmocka_unit_test(counters_follow_the_traffic),
		cmocka_unit_test(the_driver_tells_its_details),
		cmocka_unit_test(the_public_listing_describes_adapters),
	};
	return cmocka_run_group_tests(tests, enter_namespace, leave_namespace);
}
