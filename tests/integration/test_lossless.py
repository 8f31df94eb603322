# SPDX-License-Identifier: BSD-3-Clause
"""Nothing is lost: every frame sent is in the files once, in order, unchanged, whatever its size and its tags."""

import os
import random
import socket
import sys
import threading
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import pcapng
import rig

RING_BYTES = 512 << 20  # unless told otherwise
BURST_MOST = 300000  # frames
TCP_BYTES = 600 * 1000 * 1000
TCP_PERIOD = (1 << 20) - 3  # no power of two, so that a shifted piece of the stream is seen
TCP_TABLE = memoryview(random.Random(1).randbytes(TCP_PERIOD) * 2)


def tcp_bytes(start, length):
    """What the TCP stream holds at START, for at most TCP_PERIOD bytes."""
    at = start % TCP_PERIOD
    return TCP_TABLE[at : at + length]


class Lossless(case.Case):
    def assertChain(self, files):
        """No file is above the limit, and all but the last are nearly that large."""
        sizes = [os.path.getsize(path) for path in files]
        self.assertLessEqual(max(sizes), case.FILE_LIMIT)
        self.assertGreaterEqual(min(sizes[:-1], default=case.FILE_LIMIT), 0.985 * case.FILE_LIMIT, sizes)

    def check(self, frames, outgoing=False, mtu=1500, tools=("tcpdump", "capinfos"), **shape):
        """Sends FRAMES frames of SHAPE as fast as this disk allows and finds each of them.

        Where the disk is slower than a core sends, as many as the ring holds are sent at full speed after that. Returns
        the outcome and the counts of the first run.
        """
        pair = self.pair(mtu=mtu)
        sizes = [int(size) for size in str(shape.get("size", shape.get("mix"))).split(",")]
        rate = self.rate(max(sizes))
        too_fast = self.is_too_fast(max(sizes))
        pace = "full speed" if not rate else "PACED for the disk" if too_fast else "PACED as asked for"
        outcome, counted = self.send_and_find(pair, frames, outgoing, shape, rate, pace)
        self.assertChain(outcome.files)
        self.assertOpens(outcome.files, tools, counted)
        self.assertOpens(outcome.files[-1:], ["tshark"], counted)
        if too_fast:
            # The kernel puts at most 96 bytes in front of a frame; a block has room to spare for less than one.
            slot = sum(sizes) / len(sizes) + 4 * len(str(shape.get("vlan", "")).split(",")) + 96
            burst = min(frames, BURST_MOST, int(0.6 * RING_BYTES / slot))
            self.send_and_find(pair, burst, outgoing, shape, {}, f"a burst of {burst} at full speed")
        return outcome, counted

    def send_and_find(self, pair, frames, outgoing, shape, rate, pace):
        """Captures FRAMES frames of SHAPE, sent at RATE, a keyword for blast(), and finds each of them.

        PACE is what is printed of the rate.
        """
        space, name = (pair.left, pair.LEFT) if outgoing else (pair.right, pair.RIGHT)
        capture = self.capture(name, namespace=space)
        sent = self.blast(pair.left, pair.LEFT, tapped=outgoing, count=frames, **shape, **rate).result()
        print(f"({sent['sent'] / sent['seconds']:.0f} frames/s, {pace})", end=" ", flush=True)
        self.assertEqual(sent["sent"], frames)
        # At once: what is still on its way must come into the files all the same.
        outcome = capture.stop()
        self.assertStopped(outcome)
        counted = self.count(outcome.files, count=frames, **shape)
        self.assertComplete(counted, frames)
        self.assertBooks(outcome, counted)
        self.assertEqual(outcome.stats["frames_dropped"], 0)
        self.assertEqual(outcome.stats["bytes_captured"], sent["bytes"])
        self.assertNumbers(counted, unaligned=0, **{"out" if outgoing else "in": frames})
        # The kernel stamps a frame after it is sent; seconds off would be a fault of conversion.
        self.assertGreaterEqual(counted["age_min_ns"], 0)
        self.assertLess(counted["age_max_ns"], 30 * 1e9)
        return outcome, counted

    def test_1414(self):
        frames = self.frames()
        outcome, counted = self.check(frames, size=1414, tools=("tcpdump", "tshark", "capinfos"))
        if self.full_size():
            self.assertGreater(counted["files"], 10)
            self.assertLess(outcome.stats["bytes_copied"], 0.01 * outcome.stats["bytes_captured"])
        self.check_merge(outcome.files, frames)

    def check_merge(self, files, frames):
        rig.need("mergecap")
        joined = os.path.join(self.scratch, "joined.pcapng")
        done = rig.run("mergecap", "-w", joined, *files)
        self.assertEqual(done.stderr, "")
        self.assertComplete(self.count([joined], size=1414, count=frames), frames)

    def test_60(self):
        self.check(self.frames(), size=60)

    def test_mix(self):
        self.check(self.frames(), mix="60,594,1514")

    def test_9000(self):
        self.check(self.frames(), mtu=9100, size=9000, tools=("capinfos",))

    def test_9000_burst_at_full_speed(self):
        """The disk need not keep up with 3 GB/s: the ring takes what a burst has too much."""
        frames = self.frames(0.003)
        pair = self.pair(mtu=9100)
        capture = self.capture(pair.RIGHT, "-B", "65536", namespace=pair.right)
        self.blast(pair.left, pair.LEFT, count=frames, size=9000).result()
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertComplete(self.count(outcome.files, size=9000, count=frames), frames)

    def test_vlan_in(self):
        self.check(self.frames(), size=1414, vlan="100")

    def test_vlan_out(self):
        self.check(self.frames(), size=1414, vlan="100", outgoing=True)

    def test_double_vlan_in(self):
        self.check(self.frames(), size=1414, vlan="200,100")

    def test_double_vlan_out(self):
        self.check(self.frames(), size=1414, vlan="200,100", outgoing=True)

    def test_small_vlan_mix(self):
        """Tags are put back into the smallest frames too, and into frames whose length is no multiple of 4."""
        self.check(self.frames(0.2), mix="38,39,41,60,61,62,63,1413", vlan="7")

    def test_every_size(self):
        """Padding and options end where they should, whatever the length of the frame."""
        self.check(self.frames(0.1), mix=",".join(map(str, range(38, 1515))))

    def test_outgoing(self):
        self.check(self.frames(), size=1414, outgoing=True)


class Tcp(case.Case):
    """A bulk transfer with segmentation offload: frames of up to 64 KB, which a real driver would have cut."""

    def transfer(self, pair, total):
        with pair.right.entered():
            listener = socket.create_server((pair.RIGHT_IP, 5001))
        with pair.left.entered():
            sender = socket.socket()
        self.addCleanup(listener.close)
        self.addCleanup(sender.close)
        received = []

        def receive():
            connection, _ = listener.accept()
            buffer = bytearray(1 << 20)
            with connection:
                got = size = connection.recv_into(buffer)
                while size:
                    size = connection.recv_into(buffer)
                    got += size
            received.append(got)

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        sender.connect((pair.RIGHT_IP, 5001))
        port = sender.getsockname()[1]
        sent = 0
        while sent < total:
            size = min(total - sent, TCP_PERIOD)
            sender.sendall(tcp_bytes(sent, size))
            sent += size
        sender.shutdown(socket.SHUT_WR)
        receiver.join(60)
        self.assertEqual(received, [total])
        return port

    def assertStream(self, files, port, total):
        """The segments from PORT, put together, are the stream, and nothing in it is missing or changed."""
        start = None
        pieces = []
        largest = 0
        for path in files:
            for frame in pcapng.frames(path):
                segment = pcapng.tcp_segment(frame)
                self.assertIsNotNone(segment)
                self.assertEqual(len(frame.data), frame.original)
                source, sequence, flags, payload = segment
                if source != port:
                    continue
                largest = max(largest, len(frame.data))
                if flags & 2:  # SYN
                    start = sequence + 1
                elif payload:
                    at = (sequence - start) % (1 << 32)
                    self.assertEqual(payload, tcp_bytes(at, len(payload)), f"payload at {at}")
                    pieces.append((at, len(payload)))
        reached = 0
        for at, length in sorted(pieces):
            self.assertLessEqual(at, reached, "a hole in the stream")
            reached = max(reached, at + length)
        self.assertEqual(reached, total)
        return largest

    def test_bulk(self):
        total = int(TCP_BYTES * min(1, self.options.frames / case.FRAMES))
        pair = self.pair(addresses=True)
        pair.offload(tso=True, gso=True, sg=True, tx=True)
        # Two captures of what memory, not a wire, gives: more than the disk takes. The rings hold all of it.
        outgoing = self.capture(pair.LEFT, "-B", "720896", namespace=pair.left)
        incoming = self.capture(pair.RIGHT, "-B", "720896", namespace=pair.right)
        port = self.transfer(pair, total)
        for capture, direction in ((incoming, "in"), (outgoing, "out")):
            outcome = capture.stop()
            self.assertStopped(outcome)
            counted = self.count(outcome.files)
            self.assertSound(counted)
            self.assertBooks(outcome, counted)
            self.assertEqual(outcome.stats["frames_dropped"], 0)
            self.assertOpens(outcome.files, counted=counted)
            with self.subTest(direction=direction):
                largest = self.assertStream(outcome.files, port, total)
                self.assertGreater(largest, 60000)


if __name__ == "__main__":
    case.main()
