# SPDX-License-Identifier: BSD-3-Clause
"""The instruments measure right: the sender, the reader and the rig, tried on known faults and without wirehaul.

And wirehaul between two pipes: readers that are slow or do nothing, and writers that fall silent.
"""

import fcntl
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig

SIZES = "60,594,1514"
FRAMES = 60
START_NS = 1700000000 * 10**9


class Recorded(case.Case):
    """Frames that tcpdump has recorded, and what is made of that recording."""

    def record(self, interface_options=(), shape=None, count=FRAMES, outgoing=False):
        """What tcpdump records of frames of SHAPE: the path of a classic pcap file."""
        rig.need("tcpdump")
        net = self.pair()
        space, name = (net.left, net.LEFT) if outgoing else (net.right, net.RIGHT)
        path = os.path.join(self.scratch, "recorded.pcap")
        command = ["tcpdump", "-U", "-i", name, "-B", "65536", "-Z", "root", "--nano", "-w", path]
        tcpdump = self.enterContext(rig.Process([*command, *interface_options], space))
        rig.wait_for(lambda: "listening on" in tcpdump.stderr(), 10, "tcpdump is listening")
        shape = shape or {"mix": SIZES}
        sent = self.blast(net.left, net.LEFT, tapped=outgoing, count=count, **shape).result()
        self.assertEqual((sent["sent"], sent["refused_by_peer"]), (count, 0))
        snapped = 60 if "-s" in interface_options else sent["bytes"] / count
        total = 24 + (16 + snapped) * count
        rig.wait_for(lambda: os.path.getsize(path) >= total, 10, "tcpdump has written all frames")
        tcpdump.kill(signal.SIGINT)
        self.assertEqual(tcpdump.wait(10), 0)
        return path

    def records(self, path):
        """The file's header, and its records."""
        content = Path(path).read_bytes()
        records, at = [], 24
        while at < len(content):
            (length,) = struct.unpack_from("<I", content, at + 8)
            records.append(content[at : at + 16 + length])
            at += 16 + length
        return content[:24], records

    def judged(self, content, **options):
        path = os.path.join(self.scratch, "judged")
        Path(path).write_bytes(content)
        return self.count([path], **{"mix": SIZES, "count": FRAMES, **options})

    def test_tags_and_sizes(self):
        for shape in ({"mix": SIZES}, {"size": 1414, "vlan": "100"}, {"size": 1414, "vlan": "200,100"}):
            for outgoing in (False, True):
                with self.subTest(shape=shape, outgoing=outgoing):
                    path = self.record(shape=shape, outgoing=outgoing)
                    self.assertComplete(self.count([path], count=FRAMES, **shape), FRAMES)

    def test_other_tags_are_seen(self):
        path = self.record(shape={"size": 100, "vlan": "100"})
        for wrong in ({}, {"vlan": "101"}, {"vlan": "100,100"}):
            self.assertNumbers(self.count([path], size=100, **wrong), corrupt=FRAMES, ours=0)
        self.assertNumbers(self.count([path], size=101, vlan="100"), corrupt=FRAMES)

    def test_faults_are_seen(self):
        header, records = self.records(self.record())
        good = header + b"".join(records)
        self.assertComplete(self.judged(good), FRAMES)
        self.assertNumbers(self.judged(header + b"".join(records[:9] + records[10:])), missing=1, distinct=FRAMES - 1,
                           reordered=0, missing_ranges=[[10, 10]])
        self.assertNumbers(self.judged(header + b"".join(records[:-1])), missing=1, last=FRAMES - 1)
        self.assertNumbers(self.judged(good + records[3]), duplicated=1, distinct=FRAMES, missing=0)
        swapped = records[:5] + [records[6], records[5]] + records[7:]
        self.assertNumbers(self.judged(header + b"".join(swapped)), reordered=1, missing=0, back_in_time=1)
        self.assertNumbers(self.judged(good, count=FRAMES - 1), outside=1, missing=0)

    def test_each_changed_bit_is_seen(self):
        header, records = self.records(self.record())
        record = records[1]
        for position in list(range(16, 16 + 14 + 16)) + list(range(16 + 14 + 24, len(record), 37)) + [len(record) - 1]:
            changed = bytearray(record)
            changed[position] ^= 1 << position % 8
            found = self.judged(header + b"".join([records[0], bytes(changed)] + records[2:]))
            self.assertEqual((found["distinct"], found["corrupt"] + found["other"]), (FRAMES - 1, 1), position)

    def test_cut_and_padded(self):
        header, records = self.records(self.record())
        good = header + b"".join(records)
        cut = self.judged(good[:-1])
        self.assertNumbers(cut, truncated=1, missing=1)
        self.assertEqual(cut["each"][0]["offset"], len(good) - len(records[-1]))
        # In classic pcap, zeros read as empty records.
        self.assertNumbers(self.judged(good + bytes(4096)), whole=1, missing=0, other=4096 // 16)
        self.assertNumbers(self.judged(b""), truncated=1)
        self.assertNumbers(self.judged(b"hello, world"), damaged=1)

    def test_snapshots(self):
        path = self.record(["-s", "80"], count=FRAMES)
        self.assertComplete(self.count([path], mix=SIZES, snap=80, count=FRAMES), FRAMES)
        self.assertNumbers(self.count([path], mix=SIZES), corrupt=FRAMES * 2 // 3)


def block(kind, body):
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def option(code, value):
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


class Synthetic(case.Case):
    """pcapng as docs/format.md has it, made here byte by byte, and with faults."""

    FRAME = b"\x02" * 12 + b"\x08\x06" + b"somebody else's traffic"

    def packet(self, number, direction=1, dropped=0):
        when = START_NS + number
        options = option(2, struct.pack("<I", direction))
        if dropped:
            options += option(4, struct.pack("<Q", dropped))
        head = struct.pack("<IIIII", 0, when >> 32, when & 0xFFFFFFFF, len(self.FRAME), len(self.FRAME))
        return block(6, head + self.FRAME + bytes(-len(self.FRAME) % 4) + options + option(0, b""))

    def filled(self, content, size=4096):
        rest = -len(content) % size
        return content + (block(0x80005746, bytes(rest - 12)) if rest else b"")

    def chunk(self, sequence, frames=3, stated=None, session=7, lost=0, direction=1, magic=0x4B434857, version=1):
        packets = b"".join(
            self.packet(sequence * 10 + i, direction, lost if i == 0 else 0) for i in range(frames)
        )
        stated = frames if stated is None else stated
        first, last = START_NS + sequence * 10, START_NS + sequence * 10 + frames - 1
        record = struct.pack("<HHIQQ", 0, 0, stated, 100 * (sequence + 1), lost)
        fixed = struct.pack("<IHHQQIIQQQ", magic, version, 1, session, sequence, 4096, stated, first, last, lost)
        return self.filled(block(0x80005748, fixed + record) + packets)

    def file(self, *chunks, trailer=b""):
        section = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
        options = option(2, b"wb") + option(9, b"\x09") + option(0, b"")
        interface = block(1, struct.pack("<HHI", 1, 0, 262144) + options)
        return self.filled(section + interface) + b"".join(chunks) + trailer

    def judged(self, *contents):
        paths = []
        for number, content in enumerate(contents):
            paths.append(os.path.join(self.scratch, f"judged-{number}"))
            Path(paths[-1]).write_bytes(content)
        return self.count(paths)

    def test_sound_file(self):
        counters = option(4, struct.pack("<Q", 11)) + option(7, struct.pack("<Q", 5)) + option(8, struct.pack("<Q", 6))
        statistics = block(5, struct.pack("<III", 0, START_NS >> 32, START_NS & 0xFFFFFFFF) + counters + option(0, b""))
        found = self.judged(self.file(self.chunk(0), self.chunk(1, lost=5, direction=2)),
                            self.file(self.chunk(2), trailer=self.filled(statistics)))
        self.assertSound(found)
        self.assertNumbers(found, frames=9, other=9, chunks=3, chunk_lost=5, dropcount=5, unaligned=0, sessions=1)
        self.assertNumbers(found, out=3, **{"in": 6})
        interface = found["each"][1]["interfaces"][0]
        self.assertEqual((interface["name"], interface["ifrecv"], interface["osdrop"], interface["usrdeliv"]),
                         ("wb", 11, 5, 6))
        self.assertEqual(found["sources"][0]["received_last"], 300)

    def test_chunk_faults(self):
        self.assertNumbers(self.judged(self.file(self.chunk(0, stated=2))), chunk_errors=1)
        self.assertNumbers(self.judged(self.file(self.chunk(0), self.chunk(2))), chunk_gaps=1)
        self.assertNumbers(self.judged(self.file(self.chunk(0)), self.file(self.chunk(1))), chunk_gaps=0)
        self.assertNumbers(self.judged(self.file(self.chunk(0), self.chunk(0, session=8))), sessions=2, chunk_gaps=0)
        for wrong in ({"magic": 1}, {"version": 2}):
            self.assertNumbers(self.judged(self.file(self.chunk(0, **wrong))), damaged=1, chunks=0)
        shifted = self.file(block(0x80005746, b""), self.chunk(0))
        self.assertNumbers(self.judged(shifted), damaged=1, chunks=0)

    def test_holes_and_tails(self):
        hole = self.judged(self.file(self.chunk(0), bytes(4096), self.chunk(2)))
        self.assertNumbers(hole, damaged=1, frames=3, zero_tail=0)
        self.assertEqual((hole["each"][0]["offset"], hole["each"][0]["chunks_behind_damage"]), (8192, 1))
        tail = self.judged(self.file(self.chunk(0), bytes(8192)))
        self.assertNumbers(tail, damaged=1, frames=3, zero_tail=8192)
        self.assertEqual(tail["each"][0]["chunks_behind_damage"], 0)
        cut = self.judged(self.file(self.chunk(0), self.chunk(1))[:-100])
        self.assertNumbers(cut, truncated=1, frames=3, damaged=0, zero_tail=0)

    def test_garbage_is_survived(self):
        """Whatever is in a file, the reader ends by itself and says something."""
        random.seed(7)
        good = self.file(self.chunk(0), self.chunk(1), self.chunk(2))
        path = os.path.join(self.scratch, "garbage")
        for _ in range(400):
            bad = bytearray(good)
            for _ in range(random.choice((1, 2, 10, 100))):
                at = random.randrange(len(bad))
                bad[at : at + 4] = random.choice((random.randbytes(4), b"\xff\xff\xff\xff", bytes(4)))
            Path(path).write_bytes(bad[: random.choice((len(bad), random.randrange(len(bad))))])
            done = subprocess.run([self.tool("wh-test-count"), "--size", "60", path], capture_output=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            json.loads(done.stdout)


class Sender(case.Case):
    def received(self, net):
        """The counters of the other end."""
        shown = json.loads(net.right.ip("-json", "-statistics", "link", "show", net.RIGHT).stdout)
        return shown[0]["stats64"]["rx"]

    def test_rate(self):
        net = self.pair()
        sent = self.blast(net.left, net.LEFT, count=2000, size=60, rate=2000).result()
        # The last of 2000 frames leaves 1999 intervals after the first. A busy machine may be late, never early.
        self.assertGreater(sent["seconds"], 0.999)

    def test_time_limit_and_signal(self):
        net = self.pair()
        sent = self.blast(net.left, net.LEFT, count=0, size=60, rate=1000, seconds=1).result()
        self.assertLessEqual(sent["sent"], 1001)
        self.assertGreaterEqual(sent["sent"], 500)
        blast = self.blast(net.left, net.LEFT, count=0, size=60)
        blast.wait_sent(1000)
        sent = blast.stop()
        received = self.received(net)
        self.assertEqual(blast.sent(), sent["sent"])
        self.assertGreaterEqual(received["packets"], sent["sent"])

    def test_every_frame_counted_is_received(self):
        """At full speed too: the other end's counter knows exactly as many."""
        net = self.pair()
        frames = self.frames(0.5)
        sent = self.blast(net.left, net.LEFT, count=frames, size=60).result()
        received = self.received(net)
        print(f"({frames / sent['seconds']:.0f} frames of 60 bytes a second)", end=" ")
        self.assertEqual((sent["sent"], received["packets"], received["bytes"]), (frames, frames, 60 * frames))


class Pipes(case.Case):
    """Standard output and standard input are pipes whose other end may do as it likes."""

    SIZE = 1414
    COUNT = 3000

    def sent_to(self, stdout):
        """A capture to STDOUT that has taken COUNT frames from the adapter, more than any pipe holds."""
        net = self.pair()
        capture = self.capture(net.RIGHT, output="-", namespace=net.right, stdout=stdout)
        self.blast(net.left, net.LEFT, count=self.COUNT, size=self.SIZE, rate=20000).result()
        return capture

    def assertGivenUp(self, outcome):
        self.assertStopped(outcome, "error", 4)
        self.assertIn("nobody reads standard output", outcome.stderr)
        self.assertLess(outcome.seconds, 5 * self.options.slow)
        stats = outcome.stats
        self.assertEqual(stats["frames_received"], self.COUNT)
        self.assertEqual(stats["frames_received"], stats["frames_written"] + stats["frames_dropped"])
        self.assertGreater(stats["frames_dropped"], 0)

    def test_pipe_that_nobody_reads(self):
        self.assertGivenUp(self.sent_to(subprocess.PIPE).stop())

    def test_socket_that_nobody_reads(self):
        """It cannot be opened again as a pipe can."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.assertGivenUp(self.sent_to(theirs).stop(signal.SIGTERM))

    def test_slow_reader_gets_everything(self):
        """As long as it reads at all, it is waited for."""
        capture = self.sent_to(subprocess.PIPE)
        capture.kill(signal.SIGINT)
        path = os.path.join(self.scratch, "read.pcapng")
        start = time.monotonic()
        with open(path, "wb") as file:
            while piece := os.read(capture.popen.stdout.fileno(), 1 << 16):
                file.write(piece)
                time.sleep(0.05)
        self.assertGreater(time.monotonic() - start, 2)
        outcome = capture.outcome()
        self.assertStopped(outcome)
        counted = self.count([path], size=self.SIZE, count=self.COUNT)
        self.assertComplete(counted, self.COUNT)
        self.assertBooks(outcome, counted)

    def replay_of_a_pipe(self):
        """A replay of standard input, and where it writes."""
        directory = os.path.join(self.scratch, rig.unique("-out"))
        os.mkdir(directory)
        command = [self.wirehaul, "-r", "-", "-w", os.path.join(directory, "trace.pcapng"), "--min-free", "1"]
        return self.enterContext(rig.Process(command, stdin=subprocess.PIPE)), directory

    def test_pipe_that_says_nothing(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            replay, directory = self.replay_of_a_pipe()
            time.sleep(0.3)
            self.assertTrue(replay.running())
            replay.kill(number)
            self.assertEqual(replay.wait(3 * self.options.slow), -number)
            self.assertEqual(os.listdir(directory), [])

    def test_pipe_that_falls_silent(self):
        """In the middle of a frame: those before it are kept."""
        header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
        frame = struct.pack("<IIII", START_NS // 10**9, 0, 60, 60) + bytes(60)
        for number in (signal.SIGTERM, signal.SIGINT):
            replay, directory = self.replay_of_a_pipe()
            os.write(replay.popen.stdin.fileno(), header + frame * FRAMES + frame[:30])
            rig.wait_for(lambda: os.listdir(directory), 10 * self.options.slow, "the first file is begun")
            rig.wait_for(lambda: self.unread(replay.popen.stdin) == 0, 10 * self.options.slow, "all of it is read")
            replay.kill(number)
            self.assertEqual(replay.wait(3 * self.options.slow), 0, replay.stderr())
            found = self.count([os.path.join(directory, name) for name in os.listdir(directory)])
            self.assertSound(found)
            self.assertNumbers(found, files=1, frames=FRAMES)

    @staticmethod
    def unread(pipe):
        return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


class Cleanup(case.Case):
    """A test that is killed leaves nothing."""

    CHILD = """
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, {support!r})
import rig
rig.install()
scratch = rig.Scratch({scratch!r})
disk = rig.Disk(scratch.path, 16)
pair = rig.Pair()
sleeper = rig.Process(["sleep", "60"], pair.left)
print(scratch.path, disk.path, pair.left.name, sleeper.pid, flush=True)
sleeper.wait(60)
"""

    def killed_by(self, number):
        code = self.CHILD.format(support=str(Path(__file__).resolve().parents[1] / "support"), scratch=self.scratch)
        child = self.enterContext(rig.Process([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
        scratch, mount, namespace, sleeper = child.popen.stdout.readline().split()
        self.assertTrue(os.path.ismount(mount))
        child.kill(number)
        child.wait(10)
        return scratch, mount, namespace, sleeper

    def assertGone(self, scratch, mount, namespace, sleeper):
        self.assertFalse(os.path.exists(scratch))
        self.assertFalse(os.path.ismount(mount))
        self.assertFalse(os.path.exists(f"/run/netns/{namespace}"))
        rig.wait_for(lambda: not os.path.exists(f"/proc/{sleeper}"), 5, "the child's child is gone")

    def test_sigterm(self):
        self.assertGone(*self.killed_by(signal.SIGTERM))

    def test_sigint(self):
        self.assertGone(*self.killed_by(signal.SIGINT))

    def test_sigkill_and_the_next_run(self):
        left = self.killed_by(signal.SIGKILL)
        rig.sweep(self.scratch)
        self.assertGone(*left)


if __name__ == "__main__":
    case.main()
