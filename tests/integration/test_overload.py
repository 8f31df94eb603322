# SPDX-License-Identifier: BSD-3-Clause
"""Where frames are lost, every single one is admitted to, and in the place where it happened."""

import signal
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig

ENDLESS = 100000000  # more frames than any test waits for
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

    def stop_while(self, capture, blasts, share):
        """Stops the process until each of BLASTS has sent SHARE more frames, however long that takes them."""
        capture.kill(signal.SIGSTOP)
        for blast in blasts:
            blast.wait_sent(blast.sent() + share)
        capture.kill(signal.SIGCONT)

    def stall(self, *options, outgoing=False, output="trace.pcapng"):
        """Stops the process in mid-traffic, with a ring that holds but a few milliseconds of it."""
        pair = self.pair()
        space, name = (pair.left, pair.LEFT) if outgoing else (pair.right, pair.RIGHT)
        # Three seconds of traffic, of which the one in the middle finds nobody.
        third = min(300000, self.frames() // 3)
        capture = self.capture(name, "-B", "1024", *options, namespace=space, output=output)
        blast = self.blast(pair.left, pair.LEFT, tapped=outgoing, count=ENDLESS, size=SIZE, rate=third)
        blast.wait_sent(third)
        self.stop_while(capture, [blast], third)
        blast.wait_sent(blast.sent() + third)
        return blast.stop()["sent"], capture.stop()

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
        going, stops = int(0.4 * rate), 3 if self.full_size() else 1
        pair = self.pair()
        capture = self.capture(pair.RIGHT, "-B", str(LARGE_RING_KIB), namespace=pair.right)
        blast = self.blast(pair.left, pair.LEFT, count=ENDLESS, size=SIZE, rate=rate)
        blast.wait_sent(going)
        for _ in range(stops):
            self.stop_while(capture, [blast], held + max(held // 2, int(0.3 * rate)))  # more than fills the ring
            blast.wait_sent(blast.sent() + going)
        frames = blast.stop()["sent"]
        outcome = capture.stop()
        self.assertAdmitted(outcome, frames, size=SIZE)
        self.assertGreaterEqual(outcome.stats["frames_dropped"], stops * (held // 2))

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
        shares = [self.frames(0.1) // 3, self.frames(0.3) // 3]  # the smaller one, too, is more than the ring holds
        capture = self.capture(f"{nets[0].RIGHT},{second}", "-B", "1024", namespace=space)
        blasts = [self.blast(net.left, net.LEFT, count=ENDLESS, size=SIZE, rate=min(100000, share))
                  for net, share in zip(nets, shares)]
        for blast, share in zip(blasts, shares):
            blast.wait_sent(share)
        self.stop_while(capture, blasts, max(shares))
        for blast, share in zip(blasts, shares):
            blast.wait_sent(blast.sent() + share)
        frames = [blast.stop()["sent"] for blast in blasts]
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
        blast = self.blast(pair.left, pair.LEFT, count=ENDLESS, size=SIZE, rate=rate)
        blast.wait_sent(frames)
        # A sender that was kept waiting goes on until the disk has fallen behind.
        rig.wait_for(lambda: capture.stats()["frames_dropped"] > 0, 60, "the ring is full")
        frames = blast.stop()["sent"]
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
