/* SPDX-License-Identifier: BSD-3-Clause */
/* The free-space watermark: whatever is granted, and taken in full, the free share stays what it must be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "blocks.h"
#include "writer/space.h"

enum { PAGE = 4096, MIB = 1024 * 1024 };
__extension__ typedef unsigned __int128 wide;

/* PERCENT in exact arithmetic: every limit of these tests is a multiple of a 256th, which a double holds exactly. */
static wide exact_limit(uint64_t total, uint32_t parts_of_25600)
{
	wide product = (wide)total * parts_of_25600;
	return product / 25600 + (product % 25600 != 0);
}

static void limit_is_rounded_up(void **state)
{
	(void)state;
	const struct wh_space hundred = { .total_bytes = 100 * (uint64_t)PAGE };
	assert_int_equal(wh_space_limit(&hundred, 0), 0);
	assert_int_equal(wh_space_limit(&hundred, 10), 10 * PAGE);
	assert_int_equal(wh_space_limit(&hundred, 50), 50 * PAGE);
	assert_int_equal(wh_space_limit(&hundred, 99.9), 409191); /* 409190.4 */
	const struct wh_space odd = { .total_bytes = 1001 };
	assert_int_equal(wh_space_limit(&odd, 10), 101); /* 100.1 */
	const struct wh_space nothing = { 0 };
	assert_int_equal(wh_space_limit(&nothing, 10), 0);
}

static void without_a_watermark(void **state)
{
	(void)state;
	const struct wh_space full = { .total_bytes = 1000, .available_bytes = 0 };
	assert_int_equal(wh_space_grant(&full, 0, 12345, PAGE), 12345);
	assert_int_equal(wh_space_grant(&full, -1, 12345, PAGE), 12345);
}

static void nothing_below_the_limit_or_in_the_margin(void **state)
{
	(void)state;
	struct wh_space space = { .total_bytes = 1000ULL * MIB };
	for (uint64_t available = 0; available <= 101ULL * MIB; available += MIB / 2) {
		space.available_bytes = available;
		assert_int_equal(wh_space_grant(&space, 10, MIB, PAGE), 0);
	}
	space.available_bytes = 101ULL * MIB + 4 * PAGE;
	assert_true(wh_space_grant(&space, 10, MIB, PAGE) > 0);
	space.available_bytes = 1000ULL * MIB;
	assert_int_equal(wh_space_grant(&space, 10, MIB, PAGE), MIB);
	/* A file system smaller than the margin. */
	const struct wh_space tiny = { .total_bytes = 64 * 1024, .available_bytes = 64 * 1024 };
	assert_int_equal(wh_space_grant(&tiny, 10, PAGE, PAGE), 0);
	/* A file system that tells no size (some FUSE ones) has no share that could be kept. */
	const struct wh_space nothing = { 0 };
	assert_int_equal(wh_space_grant(&nothing, 10, PAGE, PAGE), PAGE);
}

static void grant_check(uint64_t total, uint64_t available, uint32_t parts, uint64_t wanted, uint64_t alignment)
{
	const struct wh_space space = { .total_bytes = total, .available_bytes = available };
	double percent = parts / 256.0;
	uint64_t granted = wh_space_grant(&space, percent, wanted, alignment);
	assert_true(granted <= wanted);
	assert_int_equal(granted % alignment, 0);
	if (granted == 0)
		return;
	assert_true(granted <= available);
	if ((wide)(available - granted) < exact_limit(total, parts))
		fail_msg("total %llu, available %llu, %u/256 %%: a grant of %llu is too much",
			 (unsigned long long)total, (unsigned long long)available, parts, (unsigned long long)granted);
}

static void the_share_is_never_too_small(void **state)
{
	(void)state;
	static const uint32_t parts[] = { 1, 128, 256, 2560, 12800, 25344, 25574, 25599 };
	static const uint64_t wanted[] = { PAGE, MIB, 16ULL * MIB, 1ULL << 40, UINT64_MAX };
	uint64_t random = 7;
	for (int round = 0; round < 200000; round++) {
		/* Sizes of all magnitudes up to 2^64. */
		uint64_t total = wh_test_random(&random) >> (wh_test_random(&random) % 40);
		uint64_t available =
		    wh_test_random(&random) % 4 == 0 ? total : total / 1000 * (wh_test_random(&random) % 1000);
		uint32_t share = parts[wh_test_random(&random) % (sizeof(parts) / sizeof(parts[0]))];
		/* Half of them close to the limit. */
		if (round % 2 == 0 && exact_limit(total, share) < total - total / 64)
			available = (uint64_t)exact_limit(total, share) + wh_test_random(&random) % (64ULL * MIB);
		if (available > total)
			available = total;
		grant_check(total, available, share, wanted[wh_test_random(&random) % 5],
			    1ULL << (wh_test_random(&random) % 21));
	}
}

/* File systems that tell the largest numbers there are (network and FUSE file systems do). */
static void the_largest_numbers(void **state)
{
	(void)state;
	for (uint64_t less = 0; less < 5; less++)
		for (uint32_t share = 1; share < 25600; share += 37) {
			uint64_t total = UINT64_MAX - less * 1000;
			grant_check(total, total, share, 16ULL * MIB, PAGE);
			grant_check(total, (uint64_t)exact_limit(total, share), share, 16ULL * MIB, PAGE);
			grant_check(total, (uint64_t)exact_limit(total, share) - 1, share, 16ULL * MIB, PAGE);
		}
	/* All but all of it must stay free: the limit and its margin do not wrap around to a small number. */
	const struct wh_space space = { .total_bytes = UINT64_MAX, .available_bytes = UINT64_MAX };
	double nearly = 99.99999999999999;
	assert_true(wh_space_limit(&space, nearly) > UINT64_MAX - 8192);
	assert_int_equal(wh_space_grant(&space, nearly, 16ULL * MIB, PAGE), 0);
}

static void repeated_grants_stop_in_time(void **state)
{
	(void)state;
	struct wh_space space = { .total_bytes = 512ULL * MIB, .available_bytes = 500ULL * MIB };
	uint64_t granted;
	int steps = 0;
	while ((granted = wh_space_grant(&space, 10, 16ULL * MIB, PAGE)) > 0) {
		space.available_bytes -= granted;
		assert_true((wide)space.available_bytes >= exact_limit(space.total_bytes, 2560));
		assert_true(++steps < 1000);
	}
	/* And not much too early. */
	assert_true(wh_space_percent(&space) < 10.5);
}

static void percent_of_the_whole(void **state)
{
	(void)state;
	const struct wh_space half = { .total_bytes = 1000, .available_bytes = 500 };
	assert_true(wh_space_percent(&half) == 50.0);
	const struct wh_space nothing = { 0 };
	assert_true(wh_space_percent(&nothing) == 0.0);
	const struct wh_space all = { .total_bytes = UINT64_MAX, .available_bytes = UINT64_MAX };
	assert_true(wh_space_percent(&all) == 100.0);
}

static void asking_the_file_system(void **state)
{
	(void)state;
	struct wh_space space = { 0 };
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(wh_space_read(fd, &space), WH_OK);
	close(fd);
	struct statvfs found;
	assert_int_equal(statvfs("/", &found), 0);
	assert_int_equal(space.total_bytes, (uint64_t)found.f_blocks * found.f_frsize);
	assert_true(space.available_bytes <= space.total_bytes);
	errno = 0;
	assert_int_equal(wh_space_read(-1, &space), WH_ERR_SYSTEM);
	assert_int_equal(errno, EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limit_is_rounded_up),
		cmocka_unit_test(without_a_watermark),
		cmocka_unit_test(nothing_below_the_limit_or_in_the_margin),
		cmocka_unit_test(the_share_is_never_too_small),
		cmocka_unit_test(the_largest_numbers),
		cmocka_unit_test(repeated_grants_stop_in_time),
		cmocka_unit_test(percent_of_the_whole),
		cmocka_unit_test(asking_the_file_system),
	};
	return cmocka_run_group_tests_name("space", tests, NULL, NULL);
}
