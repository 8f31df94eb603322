/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether an interface can take the frames, and what its errors mean to a person. */
#include "blast.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER_BYTES = 14, TAG_BYTES = 4 };

/*
 * The longest frame that a packet socket lets through: packet_snd() of net/packet/af_packet.c leaves room for a tag
 * where the first EtherType is 0x8100, and for none where it is 0x88a8, as that of two tags is.
 */
static uint32_t most_bytes(const struct wh_blast_orders *orders)
{
	return (uint32_t)orders->mtu + HEADER_BYTES + (orders->shape.vlan_count == 1 ? TAG_BYTES : 0);
}

static uint32_t largest_bytes(const struct wh_numbered_shape *shape)
{
	uint32_t largest = 0;
	for (size_t i = 0; i < shape->size_count; i++)
		if (wh_numbered_bytes(shape, i) > largest)
			largest = wh_numbered_bytes(shape, i);
	return largest;
}

static bool explain_size(const struct wh_blast_orders *orders, char *why)
{
	uint32_t largest = largest_bytes(&orders->shape);
	snprintf(
	    why, WH_BLAST_WHY_BYTES,
	    "frames of %u bytes do not fit through %s, whose MTU of %d takes %u: send smaller ones or raise the MTU "
	    "(ip link set %s mtu N)",
	    largest, orders->interface, orders->mtu, most_bytes(orders), orders->interface);
	return false;
}

static bool explain_down(const struct wh_blast_orders *orders, char *why)
{
	snprintf(why, WH_BLAST_WHY_BYTES, "%s is down: bring it up first (ip link set %s up)", orders->interface,
		 orders->interface);
	return false;
}

void wh_blast_explain(const struct wh_blast_orders *orders, int error, char *why)
{
	if (error == EPERM || error == EACCES)
		snprintf(
		    why, WH_BLAST_WHY_BYTES,
		    "not permitted to open a packet socket, which takes the capability CAP_NET_RAW: run it as root "
		    "or with setpriv");
	else if (error == ENETDOWN)
		explain_down(orders, why);
	else if (error == EMSGSIZE)
		explain_size(orders, why);
	else if (error == ENXIO || error == ENODEV)
		snprintf(why, WH_BLAST_WHY_BYTES, "%s has gone while frames were sent", orders->interface);
	else
		snprintf(why, WH_BLAST_WHY_BYTES, "cannot send on %s: %s", orders->interface, strerror(error));
}

static bool ask(int fd, const struct wh_blast_orders *orders, unsigned long request, struct ifreq *answer, char *why)
{
	*answer = (struct ifreq){ 0 };
	memcpy(answer->ifr_name, orders->interface, strlen(orders->interface));
	if (ioctl(fd, request, answer) == 0)
		return true;
	if (errno == ENODEV)
		snprintf(why, WH_BLAST_WHY_BYTES, "there is no interface %s here (ip link shows those there are)",
			 orders->interface);
	else
		snprintf(why, WH_BLAST_WHY_BYTES, "cannot ask about %s: %s", orders->interface, strerror(errno));
	return false;
}

static bool check(int fd, struct wh_blast_orders *orders, char *why)
{
	struct ifreq answer;
	if (!ask(fd, orders, SIOCGIFINDEX, &answer, why))
		return false;
	orders->interface_index = answer.ifr_ifindex;
	if (!ask(fd, orders, SIOCGIFHWADDR, &answer, why))
		return false;
	int kind = answer.ifr_hwaddr.sa_family;
	if (kind != ARPHRD_ETHER && kind != ARPHRD_LOOPBACK) {
		snprintf(why, WH_BLAST_WHY_BYTES, "%s carries no Ethernet frames: choose an interface that does",
			 orders->interface);
		return false;
	}
	if (!ask(fd, orders, SIOCGIFMTU, &answer, why))
		return false;
	orders->mtu = answer.ifr_mtu;
	if (largest_bytes(&orders->shape) > most_bytes(orders))
		return explain_size(orders, why);
	if (!ask(fd, orders, SIOCGIFFLAGS, &answer, why))
		return false;
	return (answer.ifr_flags & IFF_UP) != 0 || explain_down(orders, why);
}

bool wh_blast_check_interface(struct wh_blast_orders *orders, char *why)
{
	if (strlen(orders->interface) >= IFNAMSIZ) {
		snprintf(why, WH_BLAST_WHY_BYTES, "there is no interface %s: names have at most %d characters",
			 orders->interface, IFNAMSIZ - 1);
		return false;
	}
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		snprintf(why, WH_BLAST_WHY_BYTES, "cannot open a socket: %s", strerror(errno));
		return false;
	}
	bool usable = check(fd, orders, why);
	close(fd);
	return usable;
}
