/* SPDX-License-Identifier: BSD-3-Clause */
/* What an adapter's driver tells of its rings and queues. */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/sockios.h>

#include "engine/doctor/state.h"

/* COMMAND begins with its ETHTOOL_* number and gets the answer. Both that are asked here are open to everybody
 * (net/ethtool/ioctl.c, __dev_ethtool()). */
static bool ask(int fd, const char *name, void *command)
{
	struct ifreq request = { .ifr_ifru.ifru_data = command };
	memcpy(request.ifr_ifrn.ifrn_name, name, strlen(name) + 1);
	return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

void wh_doctor_hardware_read(const char *name, struct wh_doctor_hardware *hardware)
{
	*hardware = (struct wh_doctor_hardware){ 0 };
	if (strlen(name) >= IFNAMSIZ)
		return;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return;
	struct ethtool_ringparam rings = { .cmd = ETHTOOL_GRINGPARAM };
	if (ask(fd, name, &rings)) {
		hardware->ring = rings.rx_pending;
		hardware->ring_most = rings.rx_max_pending;
		hardware->rings_known = hardware->ring > 0 && hardware->ring_most >= hardware->ring;
	}
	struct ethtool_channels queues = { .cmd = ETHTOOL_GCHANNELS };
	if (ask(fd, name, &queues)) {
		hardware->combined = queues.max_combined > 0;
		hardware->queues = queues.combined_count + queues.rx_count;
		hardware->queues_most = hardware->combined ? queues.max_combined : queues.max_rx;
		hardware->queues_known = hardware->queues > 0 && hardware->queues_most >= hardware->queues;
	}
	close(fd);
}
