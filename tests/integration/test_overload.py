# SPDX-License-Identifier: BSD-3-Clause
"""Where frames are lost, every single one is admitted to, and in the place where it happened."""

import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig

SIZE = 1414
SLOT = 1504  # what a frame takes in the ring, with the kernel's header
LARGE_RING_KIB = 49152  # large enough that the ring is left alone for a while, and that writes are joined


class Overload(case.Case):
    def assertAdmitted(self, outcome, sent, pcapng=True, **shape):
        """SENT frames are in the files or reported as dropped, and all places that report it agree."""
        self.assertStopped(outcome)
        counted = self.count(outcome.files, count=sent, **shape)
        dropped = outcome.stats["frames_dropped"]
        self.assertGreater(dropped, 0, "there was no overload")
        self.assertSound(counted)
        self.assertNumbers(counted, duplicated=0, reordered=0, other=0, outside=0, missing=dropped,
                           distinct=sent - dropped)
        self.assertEqual(outcome.stats["frames_received"], sent)
        self.assertBooks(outcome, counted)
        if pcapng:
            self.assertNumbers(counted, dropcount=dropped)
            self.assertEqual(sum(each["dropped_last"] for each in counted["sources"]), dropped)
            self.assertEqual(sum(each["received_last"] for each in counted["sources"]), sent)
        self.assertIn(str(dropped), outcome.stderr.replace(",", "").replace(" ", ""))
        return counted

    def stall(self, *options, outgoing=False, output="trace.pcapng"):
        """Stops the process for a second in mid-traffic, with a ring that holds but a few milliseconds of it."""
        pair = self.pair()
        space, name = (pair.left, pair.LEFT) if outgoing else (pair.right, pair.RIGHT)
        frames = self.frames()
        # Three seconds of traffic, of which the second in the middle finds nobody.
        rate = min(300000, frames // 3)
        capture = self.capture(name, "-B", "1024", *options, namespace=space, output=output)
        blast = self.blast(pair.left, pair.LEFT, tapped=outgoing, count=frames, size=SIZE, rate=rate)
        blast.wait_sent(rate)
        capture.kill(signal.SIGSTOP)
        time.sleep(1)
        capture.kill(signal.SIGCONT)
        self.assertEqual(blast.result()["sent"], frames)
        return frames, capture.stop()

    def test_stopped_process(self):
        frames, outcome = self.stall()
        self.assertAdmitted(outcome, frames, size=SIZE)

    def test_stopped_process_outgoing(self):
        frames, outcome = self.stall(outgoing=True)
        self.assertAdmitted(outcome, frames, size=SIZE)

    def test_stopped_process_pcap(self):
        frames, outcome = self.stall(output="trace.pcap")
        self.assertAdmitted(outcome, frames, pcapng=False, size=SIZE)

    def test_stopped_process_large_ring(self):
        """Stops it several times, while it leaves the ring alone in the midst of even traffic."""
        held = LARGE_RING_KIB * 1024 // SLOT
        rate = self.rate(0, 250000)["rate"]
        # Longer than it takes to fill the ring.
        stopped, going, stops = max(0.3, 1.5 * held / rate), 0.4, 3 if self.full_size() else 1
        frames = int(rate * (stops * (stopped + going) + going))
        pair = self.pair()
        capture = self.capture(pair.RIGHT, "-B", str(LARGE_RING_KIB), namespace=pair.right)
        blast = self.blast(pair.left, pair.LEFT, count=frames, size=SIZE, rate=rate)
        lost = 0
        for number in range(stops):
            blast.wait_sent(int(rate * (going + number * (stopped + going))))
            capture.kill(signal.SIGSTOP)
            before = blast.sent()
            time.sleep(stopped)
            lost += max(0, blast.sent() - before - held)
            capture.kill(signal.SIGCONT)
        self.assertEqual(blast.result()["sent"], frames)
        outcome = capture.stop()
        self.assertAdmitted(outcome, frames, size=SIZE)
        self.assertGreater(lost, 0, "the ring held all that came while nobody looked")
        self.assertGreaterEqual(outcome.stats["frames_dropped"], lost)

    def test_loss_at_the_end(self):
        """Frames that are dropped after the last one that is kept have no frame behind them to carry the count."""
        pair = self.pair()
        capture = self.capture(pair.RIGHT, "-B", "1024", namespace=pair.right)
        capture.kill(signal.SIGSTOP)
        frames = self.frames(0.1)
        self.assertEqual(self.blast(pair.left, pair.LEFT, count=frames, size=SIZE).result()["sent"], frames)
        capture.kill(signal.SIGINT)
        capture.kill(signal.SIGCONT)
        self.assertAdmitted(capture.outcome(), frames, size=SIZE)

    def test_each_adapter_has_its_own_losses(self):
        """Two adapters in one chain, of which the second gets most of the traffic."""
        nets = [self.pair(), self.pair()]
        space = nets[0].right
        second = "wsecond"
        nets[1].right.ip("link", "set", nets[1].RIGHT, "netns", space.name, "name", second)
        space.ip("link", "set", second, "up")
        frames = [self.frames(0.1), self.frames(0.3)]
        capture = self.capture(f"{nets[0].RIGHT},{second}", "-B", "1024", namespace=space)
        blasts = [self.blast(net.left, net.LEFT, count=count, size=SIZE, rate=min(100000, count // 3))
                  for net, count in zip(nets, frames)]
        blasts[1].wait_sent(frames[1] // 3)
        capture.kill(signal.SIGSTOP)
        time.sleep(1)
        capture.kill(signal.SIGCONT)
        for blast, count in zip(blasts, frames):
            self.assertEqual(blast.result()["sent"], count)
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertBooks(outcome, self.count(outcome.files))
        for stats, sent in zip(outcome.stats["interfaces"], frames):
            counted = self.count(outcome.files, size=SIZE, count=sent, interface=stats["name"])
            self.assertSound(counted)
            self.assertNumbers(counted, missing=stats["dropped"], duplicated=0, reordered=0, other=0)
            self.assertEqual(stats["received"], sent)
            self.assertGreater(stats["dropped"], 0, "there was no overload")

    def slow_sink(self, *options, ring_kib=4096):
        """Writes to a disk that takes a seventh of what comes, or enough that the ring is not long in emptying."""
        rate = self.rate(0, 100000)["rate"]
        able = max(rate * SIZE // 7, ring_kib * 1024 // 4)
        disk = self.enterContext(rig.Disk(self.scratch, 1500))
        limit = self.enterContext(rig.WriteLimit(disk.device, able))
        pair = self.pair()
        # What comes too much fills the ring twice at least.
        held = ring_kib * 1024 // SLOT
        frames = max(self.frames(0.4), int(2 * held / (1 - able / (rate * SIZE))))
        capture = self.capture(pair.RIGHT, "-B", str(ring_kib), *options, namespace=pair.right, directory=disk.path)
        limit.add(capture.pid)
        blast = self.blast(pair.left, pair.LEFT, count=frames, size=SIZE, rate=rate)
        self.assertEqual(blast.result()["sent"], frames)
        outcome = capture.stop()
        self.assertAdmitted(outcome, frames, size=SIZE)
        capture.close()

    def test_slow_disk(self):
        self.slow_sink()

    def test_slow_disk_small_files(self):
        self.slow_sink("-C", "10")

    def test_slow_disk_large_ring(self):
        self.slow_sink(ring_kib=LARGE_RING_KIB)


if __name__ == "__main__":
    case.main()
