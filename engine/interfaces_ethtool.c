/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/interfaces.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/sockios.h>

enum {
	/* link_mode_masks_nwords is a signed byte, and there are three masks of so many words. */
	MASK_WORDS_MAX = 3 * INT8_MAX
};

/* The fixed part of the answer, and room for the masks that follow it. */
union link_settings {
	struct ethtool_link_settings settings;
	uint8_t bytes[sizeof(struct ethtool_link_settings) + MASK_WORDS_MAX * sizeof(uint32_t)];
};

/* COMMAND begins with its ETHTOOL_* number and gets the answer (net/ethtool/ioctl.c, dev_ethtool()). All that is asked
 * here is open to unprivileged callers. */
static bool ask(int fd, const char *name, void *command)
{
	struct ifreq request = { .ifr_ifru.ifru_data = command };
	memcpy(request.ifr_ifrn.ifrn_name, name, strlen(name) + 1);
	return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

static uint32_t ask_value(int fd, const char *name, uint32_t command)
{
	struct ethtool_value value = { .cmd = command };
	return ask(fd, name, &value) ? value.data : 0;
}

/* The kernel tells the length of its masks as a negative number first, and answers a request that repeats it
 * (linux/ethtool.h, at struct ethtool_link_settings). */
static int64_t ask_speed(int fd, const char *name)
{
	union link_settings link = { .settings = { .cmd = ETHTOOL_GLINKSETTINGS } };
	if (!ask(fd, name, &link))
		return -1;
	int words = -link.settings.link_mode_masks_nwords;
	if (words <= 0 || words > INT8_MAX)
		return -1;
	link = (union link_settings){ .settings = { .cmd = ETHTOOL_GLINKSETTINGS,
						    .link_mode_masks_nwords = (int8_t)words } };
	if (!ask(fd, name, &link) || link.settings.link_mode_masks_nwords != words)
		return -1;
	uint32_t speed = link.settings.speed;
	return speed == 0 || speed == (uint32_t)SPEED_UNKNOWN ? -1 : (int64_t)speed;
}

void wh_interface_details_read(const char *name, struct wh_interface_details *details)
{
	*details = (struct wh_interface_details){ .speed_mbit = -1 };
	if (strlen(name) >= IFNAMSIZ)
		return;
	/* Any socket passes device ioctls on. A netlink one is there without IPv4, too, and under a service manager
	 * that allows this program only the address families it captures with. */
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return;
	struct ethtool_drvinfo driver = { .cmd = ETHTOOL_GDRVINFO };
	if (ask(fd, name, &driver)) {
		size_t length = strnlen(driver.driver, sizeof(details->driver) - 1);
		memcpy(details->driver, driver.driver, length);
	}
	details->speed_mbit = ask_speed(fd, name);
	details->gro = ask_value(fd, name, ETHTOOL_GGRO) != 0;
	details->lro = (ask_value(fd, name, ETHTOOL_GFLAGS) & ETH_FLAG_LRO) != 0;
	details->tso = ask_value(fd, name, ETHTOOL_GTSO) != 0;
	details->gso = ask_value(fd, name, ETHTOOL_GGSO) != 0;
	close(fd);
}
