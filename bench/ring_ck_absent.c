/* SPDX-License-Identifier: BSD-3-Clause */
/* In place of ring_ck.c where ConcurrencyKit is not installed. */
#include "ring_bench.h"

const struct wh_ring_bench wh_ring_ck = { .name = "ck",
					  .left_out = "ring/ck: built without ConcurrencyKit (install libck-dev)" };
