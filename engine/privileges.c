/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/resource.h>
#include <unistd.h>

bool wh_privileges_can_capture(void)
{
	return capng_get_caps_process() == 0 && capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_RAW) == 1;
}

enum wh_status wh_privileges_reduce(struct wh_error *error)
{
	/* The first two for everybody. */
	static const unsigned needed[] = { CAP_NET_RAW, CAP_IPC_LOCK, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH };
	size_t count = geteuid() == 0 ? sizeof(needed) / sizeof(needed[0]) : 2;
	bool held[sizeof(needed) / sizeof(needed[0])] = { false };
	if (capng_get_caps_process() != 0)
		return wh_error_set(error, WH_ERR_PERMISSION, "cannot find out which capabilities there are");
	for (size_t i = 0; i < count; i++)
		held[i] = capng_have_capability(CAPNG_PERMITTED, needed[i]) == 1;
	/* The bounding set stays: only CAP_SETPCAP may change it, and root's commands are to be root's. Ambient
	 * capabilities go with the inheritable ones. */
	capng_clear(CAPNG_SELECT_CAPS);
	for (size_t i = 0; i < count; i++)
		if (held[i])
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, needed[i]);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return wh_error_set(error, WH_ERR_PERMISSION, "cannot give up capabilities");
	return WH_OK;
}

enum wh_status wh_privileges_drop(const char *user, struct wh_error *error)
{
	errno = 0;
	const struct passwd *entry = getpwnam(user);
	if (entry == NULL)
		return wh_error_set(error, WH_ERR_INPUT, "there is no user \"%s\" (-Z)", user);
	if (geteuid() != 0) {
		if (entry->pw_uid == geteuid())
			return wh_privileges_reduce(error);
		return wh_error_set(error, WH_ERR_PERMISSION, "only root can become another user (-Z %s)", user);
	}
	const struct rlimit unlimited = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	capng_clear(CAPNG_SELECT_BOTH);
	capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_NET_RAW);
	int result =
	    capng_change_id((int)entry->pw_uid, (int)entry->pw_gid, CAPNG_INIT_SUPP_GRP | CAPNG_CLEAR_BOUNDING);
	if (result != 0)
		return wh_error_set(error, WH_ERR_PERMISSION, "cannot become user \"%s\" (-Z; libcap-ng says %d)", user,
				    result);
	return WH_OK;
}
