# SPDX-License-Identifier: BSD-3-Clause
"""Disks that fail, hang, crawl and vanish under a capture: it goes on by itself, each frame is in a file or counted.

The table in docs/reliability.md says what is lost in each case. The disk is a FUSE file system that fails to order."""

import errno
import os
import shutil
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import faults
import rig
from faults import RATE, SIZE, SLOT

# A ring that a fault of some seconds fills. And no write is larger than a quarter of it: of a direct one that FUSE
# passes on in several parts the kernel (6.18) would lose track if some of them failed.
SMALL_RING_KIB = 4096
SMALL_RATE = 1000  # at which it lasts for almost three seconds, and a block of 64 KiB is full before its time
CLOSED_MOST = 32  # closed files that wait for the disk


def in_ring(kib):
    """Frames that a ring of that size holds at most."""
    return kib * 1024 // SLOT


class Disk(faults.FaultCase):
    """On a disk that does as it is told."""

    def setUp(self):
        super().setUp()
        self.disk = self.enterContext(faults.FaultDisk(self))

    def begin(self, *options, rate=RATE, **more):
        """A capture onto the disk, and traffic that it has begun to write."""
        capture = self.start(*options, directory=self.disk.path, **more)
        self.addCleanup(self.disk.heal)  # first: while it hangs nothing can be put away
        blast = self.send(rate)
        self.written(capture)
        return capture, blast

    # ---- writes that fail ----

    def test_write_fails_once(self):
        """The ring holds what comes until the next try: nothing is lost, and the file goes on."""
        capture, blast = self.begin("-B", str(SMALL_RING_KIB), "--block-size", "64KiB", rate=SMALL_RATE)
        self.disk.fail("write", count=1)
        self.said(capture, "Input/output error", "trying again")
        self.said(capture, "Input/output error", "writing goes on")
        self.written(capture, SMALL_RATE // 2)
        outcome, counted = self.assertSurvived(capture, blast, dropped=0)
        self.assertMarked(outcome, "Input/output error")
        self.assertNumbers(counted, files=1)
        self.assertEqual(outcome.stats["write_errors"], 1)

    def test_write_fails_once_on_a_quiet_link(self):
        """What goes through the page cache in small pieces, in a file that is written to twice at the same place."""
        capture, blast = self.begin(rate=200)
        self.disk.fail("write", count=1)
        self.said(capture, "writing goes on")
        self.written(capture, 1)
        outcome, _ = self.assertSurvived(capture, blast, dropped=0)
        self.assertMarked(outcome, "Input/output error")

    def test_writes_fail_now_and_then(self):
        """Whatever they carry: chunks, a growing one, the end of a file."""
        capture, blast = self.begin("-C", "1", "-B", str(SMALL_RING_KIB), "--block-size", "64KiB", rate=SMALL_RATE,
                                    prefix=faults.not_fuse(self))
        for number in range(5):
            self.disk.fail("write", count=1, after=number)
            self.disk.wait_failed("write", number + 1)
            self.written(capture, SMALL_RATE // 10)
        outcome, _ = self.assertSurvived(capture, blast, dropped=0)
        self.assertEqual(outcome.stats["write_errors"], 5)

    def test_write_fails_for_a_while(self):
        """Longer than the ring lasts: what it could not hold is counted, and told where it is missing."""
        capture, blast = self.begin("-B", str(SMALL_RING_KIB), prefix=faults.not_fuse(self))
        self.disk.fail("write")
        self.sent_more(blast, 5 * in_ring(SMALL_RING_KIB))
        self.disk.heal()
        self.said(capture, "Input/output error", "writing goes on")
        self.written(capture, RATE // 2)
        outcome, _ = self.assertSurvived(capture, blast)
        self.assertGreater(outcome.stats["frames_dropped"], 3 * in_ring(SMALL_RING_KIB))
        self.assertMarked(outcome, "Input/output error", "for ")

    def test_write_fails_for_good(self):
        """After a minute without one success the capture stops; what was written before is valid."""
        clock = self.enterContext(faults.FakeClock(self))
        capture, blast = self.begin("-B", str(SMALL_RING_KIB), prefix=clock.prefix)
        self.disk.fail("write")
        self.said(capture, "Input/output error")
        self.sent_more(blast, 2 * in_ring(SMALL_RING_KIB))
        sent = blast.stop()["sent"]
        clock.pass_by(30)
        time.sleep(1.2)  # nothing must happen, for which there is no event
        self.assertTrue(capture.running(), capture.stderr())
        clock.pass_by(31)
        self.assertGivenUp(capture.outcome(10), sent)

    def test_stop_while_writes_fail(self):
        """Who asks it to stop is not kept waiting for the disk."""
        capture, blast = self.begin("-B", str(SMALL_RING_KIB))
        self.disk.fail("write")
        self.said(capture, "Input/output error")
        sent, outcome = self.finish(capture, blast)
        self.assertLess(outcome.seconds, 4 * self.options.slow)
        self.assertGivenUp(outcome, sent)

    def assertGivenUp(self, outcome, sent):
        """It ended by the error; the file ends where the last write that succeeded ended, and the rest is dropped."""
        self.assertEqual((outcome.status, outcome.stats["stop_reason"]), (4, "error"), outcome.stderr)
        self.assertIn("Input/output error", outcome.stderr)
        self.assertIdentity(outcome, sent)
        files = self.captures(outcome)
        counted = self.assertFound(outcome, files, sent)
        self.assertSound(counted)
        self.assertGreater(counted["frames"], 0)
        self.assertOpens(files, ["capinfos", "tcpdump"], counted)
        print(f"({sent} sent, {outcome.stats['frames_dropped']} lost)", end=" ")

    # ---- disks that take their time ----

    def test_disk_hangs(self):
        capture, blast = self.begin("-B", str(SMALL_RING_KIB))
        self.disk.hang("write", "fsync", "fallocate", "create")
        self.disk.wait_hanging("write")
        before = blast.sent()
        time.sleep(faults.HANG_SECONDS)
        hung = blast.sent() - before
        self.disk.heal()
        self.written(capture, RATE // 2)
        outcome, _ = self.assertSurvived(capture, blast)
        self.assertGreaterEqual(outcome.stats["frames_dropped"], hung - 2 * in_ring(SMALL_RING_KIB))
        self.assertGreater(outcome.stats["write_latency_max_us"], 0.9e6 * faults.HANG_SECONDS)

    def test_disk_hangs_after_a_failure(self):
        """A write that is tried again and does not come back is waited for asleep."""
        capture, blast = self.begin("-B", str(SMALL_RING_KIB))
        self.disk.fail("write")
        self.said(capture, "trying again")
        self.disk.hang("write")
        self.disk.wait_hanging("write")
        self.sent_more(blast, 2 * in_ring(SMALL_RING_KIB))  # so that nothing but the disk is waited for
        before, start = faults.cpu_ticks(capture.pid), time.monotonic()
        time.sleep(1)  # in which nothing must happen, for which there is no event
        used, took = faults.cpu_ticks(capture.pid) - before, time.monotonic() - start
        self.disk.heal()  # first: while it hangs nothing can be put away
        self.assertLess(used, 30 * took)
        self.said(capture, "writing goes on")
        self.assertSurvived(capture, blast)

    def test_stop_while_the_disk_hangs(self):
        """What was asked of the kernel cannot be taken back: the end comes when the disk does, and all is written."""
        capture, blast = self.begin()
        self.disk.hang("write")
        self.disk.wait_hanging("write")
        sent = blast.stop()["sent"]
        capture.kill(signal.SIGINT)
        time.sleep(1.5)
        self.assertTrue(capture.running(), "it ended while a write was on its way")
        self.disk.heal()
        outcome = capture.outcome(10)
        self.assertStopped(outcome)
        self.assertIdentity(outcome, sent)
        self.assertComplete(self.count(self.captures(outcome), size=SIZE, count=sent), sent)

    def test_sync_hangs(self):
        """Files that were written are made durable by a thread of its own: the next ones are written meanwhile. Not any
        number of them: then the ring holds what comes."""
        capture, blast = self.begin("-C", "1")
        before = len(capture.files())
        self.disk.hang("fsync")
        behind = len(capture.files())
        self.disk.wait_hanging("fsync")
        self.said(capture, "closed files wait", seconds=20)
        self.sent_more(blast, RATE // 5)
        held = len(faults.descriptors(capture))
        self.assertLess(len(capture.files()) - behind, CLOSED_MOST + 4)
        self.assertGreater(len(capture.files()) - before, CLOSED_MOST - 4)
        capture.kill(signal.SIGHUP)  # a new file then is begun later
        self.sent_more(blast, RATE // 10)
        self.assertEqual(len(faults.descriptors(capture)), held)
        self.disk.heal()
        self.written(capture, RATE // 10)
        self.assertSurvived(capture, blast, dropped=0)

    def test_disk_is_ten_times_too_slow(self):
        capture, blast = self.begin("-B", str(SMALL_RING_KIB))
        self.disk.slow(RATE * SLOT / 10)
        before, start = blast.sent(), time.monotonic()
        self.sent_more(blast, 2 * RATE)
        sent, took = blast.sent() - before, time.monotonic() - start
        self.disk.heal()
        outcome, _ = self.assertSurvived(capture, blast)
        lost = outcome.stats["frames_dropped"]
        self.assertGreater(lost, sent - RATE / 10 * took - 3 * in_ring(SMALL_RING_KIB))
        self.assertLess(lost, sent)

    def test_short_writes(self):
        """A write that took but half is carried on with."""
        capture, blast = self.begin("-C", "5")
        self.disk.short()
        self.written(capture, RATE)
        self.disk.heal()
        self.assertSurvived(capture, blast, dropped=0)
        self.assertGreater(self.disk.look()["short"], 20)

    def test_a_part_of_a_write_fails(self):
        """Of those that FUSE passes on in several parts, which nothing but the page cache gets over."""
        capture, blast = self.begin("-v")
        self.said(capture, "FUSE", "page cache")
        for number in range(3):
            self.disk.fail("write", count=1, after=3 + number)
            self.disk.wait_failed("write", number + 1)
        self.written(capture)
        self.assertSurvived(capture, blast, dropped=0)

    # ---- what else a file system can refuse ----

    def test_no_direct_open(self):
        """It is so with this file system: a notice, once."""
        self.disk.refuse("open")
        self.refused_from_the_beginning()

    def test_no_direct_write(self):
        self.disk.refuse("write")
        self.refused_from_the_beginning()

    def refused_from_the_beginning(self):
        capture, blast = self.begin("-v", "-C", "5", prefix=faults.not_fuse(self))
        self.written(capture, RATE // 2)
        outcome, _ = self.assertSurvived(capture, blast, dropped=0)
        self.assertEqual(outcome.stderr.count("refuses direct writes"), 1, outcome.stderr)

    def test_no_direct_write_any_more(self):
        """In mid-file: that is a warning."""
        capture, blast = self.begin("-B", str(SMALL_RING_KIB), "--block-size", "64KiB", rate=SMALL_RATE,
                                    prefix=faults.not_fuse(self))
        self.disk.refuse("write")
        self.said(capture, "refuses direct writes")
        self.written(capture, SMALL_RATE // 2)
        self.assertSurvived(capture, blast, dropped=0)

    def test_direct_writes_to_fuse(self):
        """Whoever insists on them is told."""
        capture = self.start("--direct-io", "on", directory=self.disk.path)
        self.said(capture, "FUSE", "can be damaged")
        self.assertStopped(capture.stop())

    def test_no_allocation(self):
        """A file system that allocates nothing ahead, and one that fails to, once."""
        self.disk.fail("fallocate", errno.EOPNOTSUPP, count=3)
        capture, blast = self.begin("-C", "5")
        self.written(capture, RATE // 2)
        self.disk.fail("fallocate", count=1)
        self.said(capture, "cannot allocate", "Input/output error")
        self.said(capture, "writing goes on")
        self.assertSurvived(capture, blast, dropped=0)

    def test_no_new_file(self):
        """The next file cannot be made for a while. What comes waits in the ring."""
        capture, blast = self.begin("-C", "5")
        self.disk.fail("create", errno.EIO, count=4)
        self.said(capture, "cannot create", "trying again")
        self.said(capture, "cannot create", "writing goes on", seconds=20)
        self.written(capture, RATE // 2)
        outcome, _ = self.assertSurvived(capture, blast, dropped=0)
        self.assertMarked(outcome, "cannot create")

    def test_no_sync(self):
        """A file that could not be made durable is told of: it may be less than was counted after a power failure."""
        capture, blast = self.begin("-C", "5")
        self.disk.fail("fsync", count=1)
        self.said(capture, "durable", "Input/output error")
        self.written(capture, RATE // 2)
        self.assertTrue(capture.running(), capture.stderr())
        sent, outcome = self.finish(capture, blast)
        self.assertEqual((outcome.status, outcome.stats["state"]), (4, "stopped"), outcome.stderr)
        self.assertIdentity(outcome, sent)
        self.assertComplete(self.count(self.captures(outcome), size=SIZE, count=sent), sent)

    def test_read_only_for_a_while(self):
        capture, blast = self.begin("-C", "5", "-B", str(SMALL_RING_KIB))
        self.disk.read_only()
        self.said(capture, "Read-only file system", "trying again")
        self.sent_more(blast, 3 * in_ring(SMALL_RING_KIB))
        self.disk.heal()
        self.said(capture, "Read-only file system", "writing goes on")
        self.written(capture, RATE // 2)
        outcome, _ = self.assertSurvived(capture, blast)
        self.assertMarked(outcome, "Read-only file system")


class Directory(faults.FaultCase):
    """On a file system that works, whose directory does not stay as it was."""

    def begin(self, *options, **more):
        capture = self.start(*options, **more)
        blast = self.send()
        self.written(capture)
        return capture, blast

    def remounted(self, disk):
        """The kernel makes an ext4 read-only by itself when it finds it broken, whoever has files open in it."""
        device = os.stat(disk.path).st_dev
        name = os.path.basename(os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
        trigger = f"/sys/fs/ext4/{name}/trigger_fs_error"
        if not os.path.exists(trigger):
            self.skipTest(f"there is no {trigger}")
        disk.remount("errors=remount-ro")
        Path(trigger).write_text("a test\n", encoding="ascii")

    def test_read_only_for_good(self):
        disk = self.enterContext(rig.Disk(self.scratch, 256))
        capture, blast = self.begin("-C", "5", directory=os.path.join(disk.path, "captures"))
        self.remounted(disk)
        self.said(capture, "trying again")
        sent, outcome = self.finish(capture, blast)
        self.assertEqual((outcome.status, outcome.stats["stop_reason"]), (4, "error"), outcome.stderr)
        self.assertIdentity(outcome, sent)
        counted = self.assertFound(outcome, self.captures(outcome), sent)
        self.assertNumbers(counted, truncated=0)
        self.assertGreater(counted["frames"], 0)

    def test_directory_is_removed(self):
        """A new file is begun when it is there again; what was in it is gone, and said to be."""
        capture, blast = self.begin()
        held = self.enterContext(faults.Held(capture.files()))
        shutil.rmtree(capture.directory)
        self.said(capture, "was deleted while it was written")
        self.said(capture, "cannot create", "trying again")
        os.mkdir(capture.directory)
        self.said(capture, "cannot create", "writing goes on")
        self.written(capture, RATE // 2)
        self.assertBooksWithDeleted(capture, blast, held)

    def test_file_is_deleted(self):
        """The next one is begun at once."""
        capture, blast = self.begin()
        held = self.enterContext(faults.Held(capture.files()))
        os.unlink(capture.files()[0])
        said = self.said(capture, "was deleted while it was written")
        self.assertIn(capture.directory, said)
        rig.wait_for(lambda: self.captures_of(capture), 10 * self.options.slow, "there is a new file")
        self.written(capture, RATE // 2)
        self.assertBooksWithDeleted(capture, blast, held)

    @staticmethod
    def captures_of(capture):
        return [path for path in capture.files() if path.endswith(".pcapng")]

    def assertBooksWithDeleted(self, capture, blast, held):
        """What counts as written is in the files that were deleted and in those that are there."""
        sent, outcome = self.finish(capture, blast)
        self.assertStopped(outcome)
        self.assertIdentity(outcome, sent)
        there = self.captures(outcome)
        self.assertEqual(outcome.stats["frames_dropped"], 0)
        counted = self.assertFound(outcome, held.paths + there, sent)
        self.assertSound(counted)
        alone = self.count(there, size=SIZE)
        self.assertSound(alone)
        self.assertGreater(alone["frames"], 0)
        self.assertOpens(there, ["capinfos"], alone)
        print(f"({sent} sent, {sent - alone['frames']} of them in what was deleted)", end=" ")

    def test_closed_file_is_deleted(self):
        """Those that are done may be taken away at any time."""
        capture, blast = self.begin("-C", "5", "-W", "6")
        rig.wait_for(lambda: len(capture.files()) >= 4, 10 * self.options.slow, "there are some files")
        for path in capture.files()[:2]:
            os.unlink(path)
        self.sent_more(blast, RATE)
        sent, outcome = self.finish(capture, blast)
        self.assertStopped(outcome)
        self.assertIdentity(outcome, sent)
        self.assertEqual((outcome.stats["frames_dropped"], outcome.stats["files_left"]), (0, 0))
        counted = self.count(self.captures(outcome), size=SIZE)
        self.assertSound(counted)
        self.assertNumbers(counted, last=sent, missing=0)

    def test_two_captures_on_one_directory(self):
        capture, blast = self.begin()
        before = capture.files()
        for output in ("trace.pcapng", "other.pcap"):
            second = self.start(directory=capture.directory, output=output, wait=False)
            outcome = second.outcome(10)
            self.assertEqual(outcome.status, 2, outcome.stderr)
            self.assertEqual(len(outcome.stderr.splitlines()), 1, outcome.stderr)
            self.assertIn(capture.directory, outcome.stderr)
            self.assertEqual(capture.files(), before)
        # The first one's end frees the directory, however it comes.
        capture.kill(signal.SIGKILL)
        capture.wait(10)
        third = self.start(directory=capture.directory)
        began = blast.sent()
        self.written(third)
        sent = blast.stop()["sent"]
        outcome = third.stop()
        self.assertStopped(outcome)
        self.assertIdentity(outcome, None)
        counted = self.count(sorted(set(outcome.files) - set(before)), size=SIZE)
        self.assertSound(counted)
        self.assertNumbers(counted, last=sent, missing=0, duplicated=0)
        self.assertLessEqual(counted["first"], began + 1)


if __name__ == "__main__":
    case.main()
