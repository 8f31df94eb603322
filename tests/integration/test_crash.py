# SPDX-License-Identifier: BSD-3-Clause
"""SIGKILL at any moment leaves files that open up to their last complete chunk, and loses only what was in flight."""

import os
import random
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case

SIZE = 1414
RING_KIB = 131072  # bridges a disk that stalls: what a full ring drops before the kill is told of nowhere
SEED = 20240229


class Crash(case.Case):
    def kill_at(self, pair, blast, delay, *options):
        """Starts a capture, kills it DELAY seconds after it began, and judges what it left."""
        capture = self.capture(pair.RIGHT, "-B", str(RING_KIB), "-C", "20", *options, namespace=pair.right)
        began = blast.sent()
        time.sleep(delay)
        before = blast.sent()
        capture.kill(signal.SIGKILL)
        capture.wait(10)
        files = capture.files()
        counted = self.count(files, size=SIZE)
        self.assertNumbers(counted, damaged=0, zero_tail=0, corrupt=0, other=0, duplicated=0, reordered=0,
                           libpcap_differs=0, chunk_errors=0, chunk_gaps=0)
        # A loss is told by the next frame; the last frames may be in flight, and what they would have told with them.
        self.assertLessEqual(counted["missing"], counted["dropcount"])
        for each in counted["each"]:
            self.assertEqual(each["chunks_behind_damage"], 0, each)
        # Only the file that was being written may end in the middle of anything.
        self.assertGreaterEqual(counted["whole"], len(files) - 1)
        if not counted["truncated"]:
            self.assertOpens(files[-1:])
        # In flight is what fits into the ring; nothing at all may be in the files of a disk that stalled from the start.
        self.assertLessEqual(before - max(counted["last"], began), RING_KIB * 1024 // SIZE)
        return counted["truncated"]

    def kill_often(self, times, *options, **traffic):
        random.seed(SEED)
        pair = self.pair()
        # What other tests deleted is given back to the disk now, and not in the middle of a capture. For the same
        # reason the files of this test stay until its end.
        os.sync()
        blast = self.blast(pair.left, pair.LEFT, count=0, seconds=600, size=SIZE, **traffic)
        truncated = 0
        for number in range(times):
            delay = random.uniform(0, 0.4)
            with self.subTest(number=number, delay=delay):
                truncated += self.kill_at(pair, blast, delay, *options)
        blast.stop()
        print(f"({truncated} of {times} ended inside a chunk)", end=" ")

    def test_kill_under_load(self):
        self.kill_often(self.options.kills, **self.rate(SIZE, 200000))

    def test_kill_on_a_quiet_link(self):
        """Here frames are gathered in a chunk that is written again and again while it grows."""
        self.kill_often(max(2, self.options.kills // 5), rate=2000)

    def test_kill_buffered(self):
        self.kill_often(max(2, self.options.kills // 5), "--direct-io", "off", **self.rate(SIZE, 100000))

    def test_kill_during_the_start(self):
        """Whatever there is of a file in its first moments is valid too."""
        random.seed(SEED)
        pair = self.pair()
        self.blast(pair.left, pair.LEFT, count=0, seconds=600, size=SIZE, **self.rate(SIZE, 100000))
        for number in range(self.options.kills // 2):
            delay = random.uniform(0, 0.1)
            with self.subTest(number=number, delay=delay):
                capture = self.capture(pair.RIGHT, namespace=pair.right, wait=False)
                time.sleep(delay)
                capture.kill(signal.SIGKILL)
                capture.wait(10)
                for path in capture.files():
                    # An empty file has no first block yet, and nothing in it to lose.
                    if Path(path).stat().st_size > 0:
                        self.assertNumbers(self.count([path], size=SIZE), damaged=0, truncated=0, zero_tail=0)


if __name__ == "__main__":
    case.main()
