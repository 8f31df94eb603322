# SPDX-License-Identifier: BSD-3-Clause
"""SIGKILL at any moment leaves files that open up to their last complete chunk, and loses only what was in flight."""

import os
import random
import signal
import statistics
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
from capture import RingWitness

SIZE = 1414
SLOT = 1504  # what a frame takes in the ring, with the kernel's header
BATCH = 64  # frames that the sender counts at once
QUIET_RATE = 60  # so little that a chunk is written before it is full, and then again
QUIET_SECONDS = 0.1 + 0.5  # block timeout, and how often the growing chunk is written
FULL_RATE = 200000
FULL_RING_KIB = 32768  # 0.11 s at FULL_RATE
SEED = 20240229


class Crash(case.Case):
    @staticmethod
    def ring_for(rate):
        """KiB of a ring that holds less than is sent at RATE before a kill, so that what is in flight has a bound."""
        return max(4096, FULL_RING_KIB * rate // FULL_RATE)

    def kill_at(self, pair, blast, delay, ring_kib, tools, *options):
        """Starts a capture, kills it DELAY seconds after it began, and judges what it left; TOOLS read it.

        Returns what was found, how many frames of those sent before the kill are not in the files, and how many of
        these the kernel dropped: a ring that a disk in trouble left full before the kill.
        """
        capture = self.capture(pair.RIGHT, "-B", str(ring_kib), *options, namespace=pair.right)
        witness = self.enterContext(RingWitness(capture, ring_kib * 1024))
        began = blast.sent()
        time.sleep(delay)
        before = blast.sent()
        capture.kill(signal.SIGKILL)
        dropped = witness.dropped_since()
        capture.wait(10)
        dropped += witness.dropped_told()
        witness.close()
        files = capture.files()
        counted = self.count(files, size=SIZE)
        self.assertNumbers(counted, damaged=0, zero_tail=0, corrupt=0, other=0, duplicated=0, reordered=0,
                           libpcap_differs=0, chunk_errors=0, chunk_gaps=0)
        self.assertLibpcapReads(counted)
        # A loss is told by the next frame; the last frames may be in flight, and what they would have told with them.
        self.assertLessEqual(counted["missing"], counted["dropcount"])
        for each in counted["each"]:
            self.assertEqual(each["chunks_behind_damage"], 0, each)
        # Only the file that was being written may end in the middle of anything.
        self.assertGreaterEqual(counted["whole"], len(files) - 1)
        if not counted["truncated"]:
            self.assertOpens(files[-1:], tools, counted)
        if counted["frames"]:
            # What is not there is behind what is there. The counter may be a batch behind what was sent.
            self.assertLessEqual(counted["first"], began + BATCH)
        # More than had been sent at the look at the counter may be there: the kill comes after it.
        return counted, max(0, before - max(counted["last"], began)), dropped

    def kill_often(self, times, delays, rate, ring_kib, most, *options):
        """Kills TIMES times after DELAYS seconds, and allows for the loss of MOST frames, the kernel's drops aside."""
        random.seed(SEED)
        pair = self.pair()
        # What other tests deleted is given back to the disk now, and not in the middle of a capture. For the same
        # reason the files of this test stay until its end.
        os.sync()
        blast = self.blast(pair.left, pair.LEFT, count=0, seconds=600, size=SIZE, rate=rate)
        truncated = growing = found = fruitful = overrun = 0
        losses = []
        for number in range(times):
            delay = random.uniform(*delays)
            with self.subTest(number=number, delay=delay):
                # tshark takes longer than all the rest.
                tools = ("tcpdump", "capinfos", "tshark")[: 3 if number % 5 == 0 else 2]
                counted, lost, dropped = self.kill_at(pair, blast, delay, ring_kib, tools, *options)
                self.assertLessEqual(lost, most + dropped)
                losses.append(lost)
                truncated += counted["truncated"]
                growing += counted["growing_chunks"]
                found += counted["frames"]
                fruitful += counted["frames"] > 0
                overrun += dropped > 0
        blast.stop()
        median = statistics.median(losses or [0])
        print(f"({rate} frames/s, {times} kills: {found} frames found, lost: median {median:.0f}, "
              f"at most {max(losses, default=0)}, {most} allowed; {truncated} ended inside a chunk, {growing} in one "
              f"that grew, {overrun} found the ring overrun)", end=" ")
        self.assertGreater(found, 0)
        if self.full_size():
            self.assertGreaterEqual(fruitful, 0.8 * times)
            self.assertGreater(found, 0.5 * most * times)
        return median, growing

    def kill_under_load(self, times, wanted, *options):
        rate = self.rate(SIZE, wanted)["rate"]
        ring_kib = self.ring_for(rate)
        # In flight is what the ring holds: a block of it is given back to the kernel when it is written.
        in_ring = ring_kib * 1024 // SLOT
        delays = 1.5 * in_ring / rate, 4 * in_ring / rate
        median, _ = self.kill_often(times, delays, rate, ring_kib, in_ring, "-C", "20", *options)
        if self.full_size():
            # Chunks wait for company for a few hundredths of a second, no more.
            self.assertLess(median, in_ring / 4)

    def test_kill_under_load(self):
        self.kill_under_load(self.options.kills, FULL_RATE)

    def test_kill_on_a_quiet_link(self):
        """Here frames are gathered in a chunk that is written again and again while it grows."""
        slow = self.options.slow
        delays = (0.8, 1.6) if slow == 1 else (2, 3)
        # Twice the time: a disk may be busy for a while.
        most = int(2 * QUIET_SECONDS * slow * QUIET_RATE)
        median, growing = self.kill_often(max(2, self.options.kills // 8), delays, QUIET_RATE, FULL_RING_KIB, most)
        self.assertGreater(growing, 0)
        self.assertLessEqual(median, most / 2)

    def test_kill_buffered(self):
        self.kill_under_load(max(2, self.options.kills // 5), FULL_RATE // 2, "--direct-io", "off")

    def test_kill_during_the_start(self):
        """Whatever there is of a file in its first moments is valid too."""
        random.seed(SEED)
        pair = self.pair()
        self.blast(pair.left, pair.LEFT, count=0, seconds=600, size=SIZE, **self.rate(SIZE, 100000))
        begun = 0
        for number in range(self.options.kills // 2):
            delay = random.uniform(0, 0.1 * self.options.slow)
            with self.subTest(number=number, delay=delay):
                # A small ring is there soon; most of the time goes by after that.
                capture = self.capture(pair.RIGHT, "-B", "8192", namespace=pair.right, wait=False)
                time.sleep(delay)
                capture.kill(signal.SIGKILL)
                capture.wait(10)
                for path in capture.files():
                    # An empty file has no first block yet, and nothing in it to lose.
                    if Path(path).stat().st_size > 0:
                        begun += 1
                        counted = self.count([path], size=SIZE)
                        self.assertNumbers(counted, damaged=0, truncated=0, zero_tail=0, corrupt=0, libpcap_differs=0)
                        self.assertLibpcapReads(counted)
        print(f"({begun} of {self.options.kills // 2} had begun a file)", end=" ")
        if self.full_size():
            self.assertGreater(begun, 0)


if __name__ == "__main__":
    case.main()
