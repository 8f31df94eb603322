# SPDX-License-Identifier: BSD-3-Clause
"""The free-space limit is never crossed by what wirehaul writes, and a disk that fills up all the same is survived."""

import os
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig

SIZE = 1414
DISK_MB = 512


def fill(path, percent):
    """Takes space at PATH until PERCENT of the disk is free. Returns the file that takes it."""
    status = os.statvfs(path)
    surplus = status.f_bavail * status.f_frsize - int(status.f_blocks * status.f_frsize * percent / 100)
    name = os.path.join(path, rig.unique("-ballast"))
    taken, step = 0, surplus
    with open(name, "wb") as file:
        while taken < surplus and step >= 4096:
            try:
                os.posix_fallocate(file.fileno(), taken, min(step, surplus - taken))
                taken += step
            except OSError:  # the last bytes are what the file system needs for itself
                step //= 2
        os.fsync(file.fileno())
    return name


class Space(case.Case):
    KIND = "ext4"

    def setUp(self):
        super().setUp()
        self.disk = self.enterContext(rig.Disk(self.scratch, DISK_MB, self.KIND))
        self.directory = os.path.join(self.disk.path, "captures")
        os.mkdir(self.directory)
        if not self.full_size():
            fill(self.disk.path, 25)
        self.net = self.pair()

    def start(self, *options, **more):
        return self.capture(self.net.RIGHT, *options, namespace=self.net.right, directory=self.directory, **more)

    def send_until_end(self, capture, rate=100000):
        """Sends until the capture ends by itself. Returns how it ended."""
        blast = self.blast(self.net.left, self.net.LEFT, count=0, seconds=600, size=SIZE, **self.rate(0, rate))
        outcome = capture.outcome(180)
        blast.stop()
        return outcome

    def assertLimitKept(self, *options):
        capture = self.start("--min-free", "10", *options)
        sampler = self.enterContext(rig.Sampler(lambda: rig.free_percent(self.directory)))
        outcome = self.send_until_end(capture)
        sampler.close()
        self.assertStopped(outcome, "low_space", 3)
        end = rig.free_percent(self.directory)
        print(f"(lowest of {sampler.taken} samples {sampler.lowest:.3f} % free, at the end {end:.3f} %)", end=" ")
        self.assertGreaterEqual(sampler.lowest, 10.0)
        self.assertGreaterEqual(end, 10.0)
        self.assertSaid(outcome.stderr, "10 %", "--min-free", self.directory)
        counted = self.count(outcome.files, size=SIZE)
        self.assertSound(counted)
        self.assertBooks(outcome, counted)
        self.assertNumbers(counted, duplicated=0, reordered=0, other=0, first=1)
        # Frames that were dropped are told of; with none of these the numbers have no hole.
        self.assertLessEqual(counted["missing"], outcome.stats["frames_dropped"])
        self.assertOpens(outcome.files, counted=counted)

    def assertSaid(self, stderr, *words):
        """Exactly one line of STDERR holds all WORDS."""
        lines = [line for line in stderr.splitlines() if all(word in line for word in words)]
        self.assertEqual(len(lines), 1, f"lines with {words} in {stderr!r}")

    def test_stops_at_the_limit(self):
        self.assertLimitKept()

    def test_stops_at_the_limit_small_files(self):
        self.assertLimitKept("-C", "10")

    def test_stops_at_the_limit_buffered(self):
        self.assertLimitKept("--direct-io", "off")

    def test_stops_at_the_limit_pcap(self):
        capture = self.start("--min-free", "10", output="trace.pcap")
        sampler = self.enterContext(rig.Sampler(lambda: rig.free_percent(self.directory)))
        outcome = self.send_until_end(capture)
        sampler.close()
        self.assertStopped(outcome, "low_space", 3)
        self.assertGreaterEqual(sampler.lowest, 10.0)
        counted = self.count(outcome.files, size=SIZE)
        self.assertSound(counted)
        self.assertBooks(outcome, counted)

    def test_another_process_takes_the_space(self):
        """The limit is met without a frame: somebody else fills the disk. Seen within seconds."""
        capture = self.start("--min-free", "10")
        self.blast(self.net.left, self.net.LEFT, count=self.frames(0.01), size=SIZE).result()
        capture.wait_written(self.frames(0.01))
        fill(self.disk.path, 9)
        outcome = capture.outcome(10)
        self.assertStopped(outcome, "low_space", 3)
        counted = self.count(outcome.files, size=SIZE, count=self.frames(0.01))
        self.assertComplete(counted, self.frames(0.01))
        self.assertBooks(outcome, counted)

    def test_started_below_the_limit(self):
        fill(self.disk.path, 5)
        start = time.monotonic()
        outcome = self.start("--min-free", "10", wait=False).outcome(5)
        self.assertLess(time.monotonic() - start, 1 * self.options.slow)
        self.assertEqual(outcome.status, 2, outcome.stderr)
        self.assertEqual(os.listdir(self.directory), [])
        self.assertIsNone(outcome.stats)
        self.assertSaid(outcome.stderr, "10 %", "--min-free", self.directory)

    def test_no_space_left(self):
        """The disk is filled to the last byte by somebody else, and there is no limit that stops us before."""
        capture = self.start("--min-free", "0", "-C", "10")
        blast = self.blast(self.net.left, self.net.LEFT, count=0, seconds=600, size=SIZE, **self.rate(0, 50000))
        blast.wait_sent(25000)
        ballast = fill(self.disk.path, 0)
        outcome = capture.outcome(30)
        sent = blast.stop()["sent"]
        self.assertEqual(outcome.status, 4, outcome.stderr)
        self.assertEqual(outcome.stats["state"], "stopped")
        self.assertEqual(outcome.stats["stop_reason"], "error")
        self.assertSaid(outcome.stderr, "No space left", self.directory)
        os.unlink(ballast)
        counted = self.count(outcome.files, size=SIZE)
        self.assertSound(counted)
        self.assertNumbers(counted, duplicated=0, reordered=0, other=0, first=1, missing=0)
        self.assertGreater(counted["frames"], 0)
        self.assertLessEqual(counted["last"], sent)
        stats = outcome.stats
        self.assertEqual(stats["frames_written"], counted["frames"])
        self.assertEqual(stats["frames_received"], stats["frames_written"] + stats["frames_dropped"])
        self.assertEqual(stats["bytes_on_disk"], counted["bytes"])
        self.assertOpens(outcome.files, counted=counted)

    def test_recycle(self):
        """Old files of this capture make room; files of others, with names just like them, stay."""
        strangers = ["trace_00001_20200101000000.pcapng", "other_00001_20200101000000.pcapng", "notes.txt"]
        for name in strangers:
            with open(os.path.join(self.directory, name), "wb") as file:
                file.write(b"\0" * 1000000)
        capture = self.start("--min-free", "10", "--on-low-space", "recycle", "-C", "20")
        sampler = self.enterContext(rig.Sampler(lambda: rig.free_percent(self.directory)))
        # Half as much again as there is room for.
        frames = int(1.5 * rig.free_percent(self.directory) / 100 * DISK_MB * 1e6 / SIZE)
        blast = self.blast(self.net.left, self.net.LEFT, count=frames, size=SIZE, **self.rate(0, 100000))
        self.assertEqual(blast.result()["sent"], frames)
        self.assertTrue(capture.running(), capture.stderr())
        outcome = capture.stop(signal.SIGINT)
        sampler.close()
        self.assertStopped(outcome)
        self.assertGreaterEqual(sampler.lowest, 10.0)
        for name in strangers:
            self.assertEqual(os.path.getsize(os.path.join(self.directory, name)), 1000000)
        files = [path for path in outcome.files if os.path.basename(path) not in strangers]
        counted = self.count(files, size=SIZE)
        self.assertNumbers(counted, damaged=0, truncated=0, corrupt=0, duplicated=0, reordered=0, chunk_errors=0,
                           chunk_gaps=0, last=frames)
        self.assertLessEqual(counted["missing"], outcome.stats["frames_dropped"])
        # Nothing is deleted before there is need: no more is free than the limit, the file that had to go, and the one
        # that takes its place.
        self.assertLess(rig.free_percent(self.directory), 10 + 100 * 2 * 20 / DISK_MB)
        self.assertEqual(outcome.stats["frames_received"], frames)

    def test_recycle_what_a_killed_capture_left(self):
        """A service that is started again finds the disk at its limit: what it left there makes room, with --adopt."""
        options = ("--min-free", "10", "--on-low-space", "recycle", "-C", "20")
        fill(self.disk.path, 22)
        frames = int(0.14 * DISK_MB * 1e6 / SIZE)

        def send():
            blast = self.blast(self.net.left, self.net.LEFT, count=frames, size=SIZE, **self.rate(0, 100000))
            self.assertEqual(blast.result()["sent"], frames)

        first = self.start(*options)
        send()
        first.kill(signal.SIGKILL)
        first.wait(10)
        left = first.files()
        fill(self.disk.path, 10)
        output = os.path.join(self.directory, "trace.pcapng")
        refused = self.net.right.run(self.wirehaul, "-i", self.net.RIGHT, "-w", output, *options, check=False)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertEqual(first.files(), left)
        begun = time.time()
        second = self.start(*options, "--adopt")
        send()
        self.assertTrue(second.running(), second.stderr())
        outcome = second.stop()
        self.assertStopped(outcome)
        self.assertEqual(outcome.stats["frames_received"], frames)
        # Both may have used one name, in one second.
        own = [path for path in outcome.files if os.stat(path).st_mtime >= begun]
        self.assertLess(len(outcome.files) - len(own), len(left))
        self.assertGreaterEqual(rig.free_percent(self.directory), 10.0)
        counted = self.count(own, size=SIZE)
        self.assertNumbers(counted, damaged=0, truncated=0, corrupt=0, duplicated=0, reordered=0, chunk_errors=0,
                           chunk_gaps=0, last=frames)


class SpaceXfs(Space):
    KIND = "xfs"


if __name__ == "__main__":
    case.main()
