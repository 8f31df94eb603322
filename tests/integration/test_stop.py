# SPDX-License-Identifier: BSD-3-Clause
"""How a capture ends, what the signals do, and that a frame is readable soon after it arrived."""

import contextlib
import os
import re
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import pcapng
import rig
from capture import Capture

SIZE = 1414


class Stop(case.Case):
    def setUp(self):
        super().setUp()
        self.net = self.pair()

    def start(self, *options, **more):
        return self.capture(self.net.RIGHT, *options, namespace=self.net.right, **more)

    def send(self, **options):
        return self.blast(self.net.left, self.net.LEFT, **options)

    def stop_under_load(self, number):
        capture = self.start()
        blast = self.send(count=0, seconds=600, size=SIZE, **self.rate(SIZE))
        blast.wait_sent(self.frames(0.3))
        # The kernel has taken these: sendmmsg() has returned, and over veth that is after the capture's socket.
        accepted = blast.sent()
        outcome = capture.stop(number)
        blast.stop()
        self.assertStopped(outcome)
        self.assertLess(outcome.seconds, 1.0 * self.options.slow)
        counted = self.count(outcome.files, size=SIZE)
        self.assertSound(counted)
        self.assertBooks(outcome, counted)
        self.assertNumbers(counted, first=1, duplicated=0, reordered=0, missing=outcome.stats["frames_dropped"])
        if outcome.stats["frames_dropped"] == 0:
            self.assertGreaterEqual(counted["last"], accepted)
        self.assertEqual(outcome.stats["frames_dropped"], 0)

    def test_ctrl_c_under_full_load(self):
        self.stop_under_load(signal.SIGINT)

    def test_sigterm_under_full_load(self):
        self.stop_under_load(signal.SIGTERM)

    def test_stop_without_a_frame(self):
        outcome = self.start().stop()
        self.assertStopped(outcome)
        self.assertLess(outcome.seconds, 1.0 * self.options.slow)
        counted = self.count(outcome.files)
        self.assertSound(counted)
        self.assertNumbers(counted, frames=0, files=1)
        self.assertBooks(outcome, counted)
        self.assertOpens(outcome.files)

    def test_second_signal_is_harmless(self):
        capture = self.start()
        blast = self.send(count=self.frames(0.1), size=SIZE, **self.rate(SIZE))
        blast.result()
        capture.kill(signal.SIGINT)
        capture.kill(signal.SIGTERM)
        outcome = capture.outcome()
        self.assertStopped(outcome)
        self.assertComplete(self.count(outcome.files, size=SIZE, count=self.frames(0.1)), self.frames(0.1))

    def test_idle_link(self):
        """A lone frame is in the file, for every reader, at most 1.5 s after it arrived."""
        capture = self.start()
        for number in range(1, 6):
            self.send(count=1, first=number, size=60 * number).result()
            arrived = time.monotonic()
            rig.wait_for(lambda: self.frames_in(capture) == number, 5 * self.options.slow, "the frame is in the file")
            took = time.monotonic() - arrived
            self.assertLess(took, 1.5 * self.options.slow)
            # A reader that comes just now finds a file in order.
            self.assertOpens(capture.files(), ["tcpdump", "capinfos"])
            # Frames fall into different moments of the writer's second.
            time.sleep(0.37)
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertComplete(self.count(outcome.files, mix="300,60,120,180,240", count=5), 5)

    def frames_in(self, capture):
        return sum(1 for path in capture.files() for _ in pcapng.frames(path))

    def test_trickle(self):
        """The same with ten frames a second: each is readable in time, although others follow."""
        capture = self.start()
        blast = self.send(count=30, size=200, rate=10)
        late = 0
        while blast.running():
            sent, at = blast.sent(), time.monotonic()
            rig.wait_for(lambda: self.frames_in(capture) >= sent, 5 * self.options.slow, "the frames are in the file")
            late = max(late, time.monotonic() - at)
        self.assertLess(late, 1.5 * self.options.slow)
        outcome = capture.stop()
        self.assertComplete(self.count(outcome.files, size=200, count=30), 30)

    def limited(self, *options, **traffic):
        """Sends without end until the capture ends by itself."""
        capture = self.start(*options)
        blast = self.send(count=0, seconds=600, size=SIZE, **(traffic or {"rate": 20000}))
        start = time.monotonic()
        outcome = capture.outcome(25)
        blast.stop()
        counted = self.count(outcome.files, size=SIZE)
        self.assertSound(counted)
        self.assertNumbers(counted, first=1, missing=0, duplicated=0, reordered=0)
        self.assertBooks(outcome, counted)
        return outcome, counted, time.monotonic() - start

    def test_count(self):
        for frames in (1, 2, 1000, 12345):
            with self.subTest(frames=frames):
                outcome, counted, _ = self.limited("-c", str(frames))
                self.assertStopped(outcome, "count")
                self.assertNumbers(counted, frames=frames, last=frames)

    def test_count_under_full_load(self):
        frames = self.frames(0.2) + 7
        outcome, counted, _ = self.limited("-c", str(frames), **{"rate": 0, **self.rate(SIZE)})
        self.assertStopped(outcome, "count")
        self.assertNumbers(counted, frames=frames, last=frames)

    def test_duration(self):
        outcome, _, seconds = self.limited("-a", "duration:2")
        self.assertStopped(outcome, "duration")
        # By its own clock: it began before the sender was ready.
        self.assertGreaterEqual(outcome.stats["elapsed_seconds"], 2)
        self.assertLess(seconds, 3 * self.options.slow)

    def test_duration_on_an_idle_link(self):
        capture = self.start("-a", "duration:1")
        outcome = capture.outcome(10)
        self.assertStopped(outcome, "duration")

    def test_files(self):
        outcome, counted, _ = self.limited("-a", "files:3", "-C", "5")
        self.assertStopped(outcome, "files")
        self.assertNumbers(counted, files=3)
        self.assertLessEqual(counted["largest"], 5000000)

    def test_filesize(self):
        outcome, counted, _ = self.limited("-a", "filesize:6000")
        self.assertStopped(outcome, "filesize")
        self.assertLessEqual(counted["bytes"], 6000000)
        self.assertGreater(counted["bytes"], 0.75 * 6000000)

    def test_sighup_rotates(self):
        capture = self.start()
        blast = self.send(count=0, seconds=600, size=SIZE, rate=10000)
        for number in range(2, 5):
            capture.kill(signal.SIGHUP)
            rig.wait_for(lambda: len(capture.files()) >= number, 5 * self.options.slow, f"there are {number} files")
        sent = blast.stop()["sent"]
        outcome = capture.stop()
        self.assertStopped(outcome)
        counted = self.count(outcome.files, size=SIZE, count=sent)
        self.assertNumbers(counted, files=4)
        self.assertComplete(counted, sent)
        self.assertBooks(outcome, counted)

    def test_sigusr1_tells(self):
        capture = self.start()
        self.send(count=1234, size=SIZE).result()
        rig.wait_for(lambda: self.frames_in(capture) == 1234, 5 * self.options.slow, "the frames are written")
        before = len(capture.stderr())
        capture.kill(signal.SIGUSR1)
        told = rig.wait_for(lambda: capture.stderr()[before:].strip(), 3 * self.options.slow, "statistics are shown")
        self.assertIn("1234", re.sub(r"(?<=\d)[ ,](?=\d{3})", "", told))
        self.assertTrue(capture.running())
        self.assertStopped(capture.stop())

    def test_quiet_when_no_terminal(self):
        """Once a second, nothing is said where no terminal is."""
        capture = self.start("-q")
        self.send(count=3000, size=SIZE, rate=1000).result()
        self.assertEqual(capture.stderr(), "")
        outcome = capture.stop()
        self.assertEqual(outcome.stderr, "")

    def footprint(self, capture):
        """Resident bytes and open descriptors of the process."""
        status = Path(f"/proc/{capture.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024, len(self.descriptors(capture))

    @staticmethod
    def descriptors(capture):
        """What the process has open."""
        found = []
        for link in Path(f"/proc/{capture.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                name = os.readlink(link)
                if "stats" not in os.path.basename(name):  # that comes and goes
                    found.append(name)
        return found

    def test_a_thousand_rotations(self):
        capture = self.start("-C", "50", "-W", "5")
        self.send(count=0, seconds=300, size=SIZE, rate=2000)

        def rotate_to(last):
            begun = self.newest(capture)
            while begun < last:
                capture.kill(signal.SIGHUP)
                rig.wait_for(lambda: self.newest(capture) > begun, 5 * self.options.slow, "a new file is begun")
                begun = self.newest(capture)
            rig.wait_for(settled, 10 * self.options.slow, "the old files are closed and deleted")

        def settled():
            # A file is open twice, for direct and for buffered writes; it was opened before it had a name.
            written = [path for path in self.descriptors(capture) if path.startswith(capture.directory + "/")]
            return len(capture.files()) <= 5 and len(written) <= 2

        rotate_to(10)
        first_bytes, first_files = self.footprint(capture)
        rotate_to(1000)
        last_bytes, last_files = self.footprint(capture)
        print(f"({first_bytes >> 10} KiB, {first_files} files; {last_bytes >> 10} KiB, {last_files} files)", end=" ")
        self.assertEqual(last_files, first_files)
        if self.options.slow == 1:  # a sanitizer keeps what was freed
            self.assertLessEqual(last_bytes, first_bytes + (512 << 10))
        outcome = capture.stop()
        self.assertStopped(outcome)
        counted = self.count(outcome.files, size=SIZE)
        self.assertSound(counted)
        self.assertNumbers(counted, missing=0, duplicated=0, reordered=0)

    @staticmethod
    def newest(capture):
        """The number of the newest file."""
        names = [re.search(r"_(\d{5,})_\d{14}\.pcapng$", path) for path in capture.files()]
        return max((int(name.group(1)) for name in names if name), default=0)

    def test_adapter_vanishes(self):
        """The only adapter goes: what was captured is kept, and the process does not spin or hang."""
        net = self.pair()
        with Capture(self, net.RIGHT, namespace=net.right) as capture:
            self.blast(net.left, net.LEFT, count=1000, size=SIZE).result()
            net.left.ip("link", "delete", net.LEFT)
            # It waits for the adapter to come back, and is there to be stopped.
            rig.wait_for(lambda: "has gone" in capture.stderr(), 10 * self.options.slow, "it is told of")
            outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertComplete(self.count(outcome.files, size=SIZE, count=1000), 1000)


if __name__ == "__main__":
    case.main()
