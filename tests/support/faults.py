# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of faults stand on: a disk that fails to order, system calls that are refused, clocks that are set,
and the books of a capture that went through it."""

import contextlib
import errno
import json
import mmap
import os
import signal
import struct
import subprocess
import unittest

import case
import rig

SIZE = 1414
SLOT = 1504  # what a frame takes in the ring, with the kernel's header
RING_KIB = 131072  # more than four seconds at RATE: nothing is lost while somebody is kept waiting for a core
RATE = 20000  # frames a second

# How long what docs/reliability.md calls "30 s" and "a minute" takes here: a continuous integration has not the time.
# WH_FAULTS=full in the environment takes it.
FULL = os.environ.get("WH_FAULTS") == "full"
HANG_SECONDS = 30 if FULL else 5
STOPPED_SECONDS = 60 if FULL else 3


def program(test, name):
    """A program or library of tests/support; skips the test where it was not built."""
    path = test.instrument(name)
    if not os.path.exists(path):
        raise unittest.SkipTest(f"{name} was not built")
    return path


def cpu_ticks(pid):
    """Processor time of a process so far, in ticks of a hundredth of a second."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))


class FaultDisk(rig.Resource):
    """A file system at .path that does as it is told (faultfs.c). What is in it lies in .backing as well."""

    def __init__(self, test, *options):
        if not os.path.exists("/dev/fuse"):
            raise unittest.SkipTest("there is no /dev/fuse")
        self.backing = os.path.join(test.scratch, rig.unique("-backing"))
        self.path = os.path.join(test.scratch, rig.unique("-fuse"))
        os.mkdir(self.backing)
        os.mkdir(self.path)
        self._process = rig.Process([program(test, "wh-faultfs"), self.backing, self.path, *options],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        super().__init__()
        if self._process.popen.stdout.readline() != "ready\n":
            said = self._process.stderr()
            self.close()
            raise unittest.SkipTest(f"cannot mount a FUSE file system: {said}")

    def _say(self, line):
        self._process.popen.stdin.write(line + "\n")
        return self._process.popen.stdout.readline().strip()

    def _order(self, *words):
        said = self._say(" ".join(map(str, words)))
        if said != "ok":
            raise AssertionError(f"the file system does not take {words}: {said!r}")

    def fail(self, operation, number=errno.EIO, count=-1, after=0):
        """COUNT of OPERATION fail with NUMBER, all with -1, after AFTER that do not."""
        self._order("fail", operation, number, count, after)

    def read_only(self):
        """All that changes anything fails as on a file system that was mounted anew for reading alone."""
        for operation in ("create", "write", "fallocate", "truncate", "unlink", "link"):
            self.fail(operation, errno.EROFS)

    def hang(self, *operations):
        for operation in operations:
            self._order("hang", operation)

    def short(self, count=-1):
        """COUNT writes take but half, all with -1."""
        self._order("short", count)

    def slow(self, bytes_per_second):
        self._order("slow", int(bytes_per_second))

    def refuse(self, when):
        """No direct writes: told when the file is opened ("open") or when it is written ("write")."""
        self._order("refuse", when)

    def heal(self):
        self._order("heal")

    def look(self):
        return json.loads(self._say("look"))

    def wait_failed(self, operation, times=1, seconds=10):
        rig.wait_for(lambda: self.look()[operation]["failed"] >= times, seconds, f"{operation} failed {times} times")

    def wait_hanging(self, operation, seconds=10):
        rig.wait_for(lambda: self.look()[operation]["hanging"] > 0, seconds, f"{operation} hangs")

    def _undo(self):
        # What hangs ends with the connection, which ends with the process; only then is the mount free.
        self._process.close()
        rig.run("umount", "--lazy", self.path, check=False)
        with contextlib.suppress(OSError):
            os.rmdir(self.path)


def not_fuse(test):
    """What stands before a command line so that the program takes FUSE for a file system that takes direct writes."""
    return ["env", f"LD_PRELOAD={program(test, 'wh-otherfs.so')}"]


class FakeClock(rig.Resource):
    """Clocks that can be set for one program alone, whose command line .prefix stands before (faketime.c)."""

    def __init__(self, test):
        library = program(test, "wh-faketime.so")
        self._path = os.path.join(test.scratch, rig.unique("-clock"))
        with open(self._path, "w+b") as file:
            file.truncate(mmap.PAGESIZE)
            self._offsets = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        self._wall = self._monotonic = 0
        self.prefix = ["env", f"LD_PRELOAD={library}", f"WH_FAKETIME={self._path}"]
        super().__init__()

    def step(self, seconds):
        """Sets the clock on the wall forth, or back."""
        self._wall += int(seconds * 1e9)
        self._put()

    def pass_by(self, seconds):
        """So much time has passed."""
        self._wall += int(seconds * 1e9)
        self._monotonic += int(seconds * 1e9)
        self._put()

    def _put(self):
        self._offsets[0:8] = struct.pack("<q", self._wall)
        self._offsets[8:16] = struct.pack("<q", self._monotonic)

    def _undo(self):
        self._offsets.close()
        os.unlink(self._path)


class Sysctl(rig.Resource):
    """A setting of the kernel while this is open. A shell holds it, which puts the old one back when we are killed."""

    def __init__(self, path, value):
        if not os.path.exists(path):
            raise unittest.SkipTest(f"there is no {path}")
        script = 'old=$(cat "$0") && echo "$1" > "$0" && echo set; read -r end; echo "$old" > "$0"'
        # Not a rig.Process, which would die with us before it had put anything back.
        self._shell = subprocess.Popen(["sh", "-c", script, path, str(value)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, start_new_session=True)
        super().__init__()
        if self._shell.stdout.readline() != b"set\n":
            self.close()
            raise unittest.SkipTest(f"{path} cannot be set")

    def _undo(self):
        self._shell.stdin.close()
        self._shell.wait(10)
        self._shell.stdout.close()


def seccomp(test, *refused, ring_most=None):
    """What stands before a command line so that the program is refused these calls: ("io_uring", errno.EPERM), ..."""
    words = [program(test, "wh-seccomp")]
    for what, number in refused:
        words += ["--refuse", f"{what}={number}"]
    if ring_most is not None:
        words += ["--ring-most", str(ring_most)]
    return words


def marks(paths):
    """The text of every systemd Journal Export Block in pcapng files, in their order."""
    found = []
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        at = 0
        while at + 12 <= len(content):
            kind, length = struct.unpack_from("<II", content, at)
            if length < 12 or at + length > len(content):
                break
            if kind == 9:
                found.append(content[at + 8 : at + length - 4].decode(errors="replace"))
            at += length
    return found


def descriptors(capture):
    """What the process has open, but for the statistics file, which comes and goes."""
    found = []
    for number in os.listdir(f"/proc/{capture.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if "stats" not in os.path.basename(os.readlink(f"/proc/{capture.pid}/fd/{number}")):
                found.append(int(number))
    return sorted(found)


class Held(rig.Resource):
    """Files that somebody deletes, held open so that one may look into them all the same: .paths."""

    def __init__(self, paths):
        self._files = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]
        self.paths = [f"/proc/{os.getpid()}/fd/{file}" for file in self._files]
        super().__init__()

    def _undo(self):
        for file in self._files:
            os.close(file)


class FaultCase(case.Case):
    """A veth pair with a sender on the left and a capture on the right, and the books of it."""

    SECONDS = 600  # the longest that anything is sent for

    def setUp(self):
        super().setUp()
        self.net = self.pair()

    def start(self, *options, **more):
        # A ring of the size that is chosen by itself takes a moment to be made.
        ring = () if "-B" in options else ("-B", str(RING_KIB))
        return self.capture(self.net.RIGHT, *ring, *options, namespace=self.net.right, **more)

    def send(self, rate=RATE):
        """Sends until it is stopped, at a rate that every disk takes."""
        return self.blast(self.net.left, self.net.LEFT, count=0, seconds=self.SECONDS, size=SIZE,
                          rate=min(rate, self.options.rate or rate))

    def sent_more(self, blast, frames, seconds=20):
        blast.wait_sent(blast.sent() + frames, seconds * self.options.slow)

    def said(self, capture, *words, seconds=10):
        """Waits until it says a line with all of WORDS, and returns the line."""
        def line():
            return next((line for line in capture.stderr().splitlines() if all(word in line for word in words)), None)

        return rig.wait_for(line, seconds * self.options.slow, f"it says {words}; it said {capture.stderr()!r}")

    @staticmethod
    def bytes_of(capture):
        """The valid length of all its files together."""
        total = 0
        for path in capture.files():
            with contextlib.suppress(FileNotFoundError):
                total += os.path.getsize(path)
        return total

    def written(self, capture, frames=1, seconds=20):
        """Waits until so many more frames are in files than now. (The statistics are a second old.)"""
        enough = self.bytes_of(capture) + frames * SLOT
        rig.wait_for(lambda: self.bytes_of(capture) >= enough, seconds * self.options.slow,
                     f"{frames} frames more are written; it said {capture.stderr()!r}")

    def finish(self, capture, blast, number=signal.SIGINT):
        """Ends the sender, and then the capture. Returns how many frames were sent, and the outcome."""
        sent = blast.stop()["sent"]
        outcome = capture.stop(number)
        return sent, outcome

    @staticmethod
    def captures(outcome):
        """The capture files: beside them there may be a file of marks."""
        return [path for path in outcome.files if path.endswith((".pcapng", ".pcap"))]

    def assertIdentity(self, outcome, sent):
        """What was sent was received, and is written or dropped."""
        stats = outcome.stats
        self.assertEqual(stats["state"], "stopped")
        for each in stats["interfaces"]:
            self.assertEqual(each["received"], each["written"] + each["dropped"], each)
        self.assertEqual(stats["frames_received"], stats["frames_written"] + stats["frames_dropped"])
        if sent is not None:
            self.assertEqual(stats["frames_received"], sent)

    def assertFound(self, outcome, files, sent, **shape):
        """FILES hold each frame that counts as written, once, and nothing else; the others are missing."""
        counted = self.count(files, **{"size": SIZE, "count": sent, **shape})
        written, dropped = outcome.stats["frames_written"], outcome.stats["frames_dropped"]
        self.assertNumbers(counted, frames=written, distinct=written, missing=dropped, duplicated=0, reordered=0,
                           corrupt=0, other=0, outside=0, damaged=0, zero_tail=0, libpcap_differs=0, chunk_errors=0)
        return counted

    def assertSurvived(self, capture, blast, dropped=None):
        """After a fault that passed: the capture goes on by itself, every file is whole, every loss is told in it.

        DROPPED: so many frames were lost; without it any number. Returns the outcome and what was counted.
        """
        self.assertTrue(capture.running(), capture.stderr())
        sent, outcome = self.finish(capture, blast)
        self.assertStopped(outcome)
        self.assertIdentity(outcome, sent)
        files = self.captures(outcome)
        counted = self.assertFound(outcome, files, sent)
        self.assertSound(counted)
        lost = outcome.stats["frames_dropped"]
        if dropped is not None:
            self.assertEqual(lost, dropped, outcome.stderr)
        self.assertNumbers(counted, dropcount=lost, chunk_lost=lost)
        self.assertEqual(outcome.stats["bytes_on_disk"], counted["bytes"])
        self.assertEqual(outcome.stats["files"], counted["files"])
        self.assertStatisticsBlocks(outcome.stats, counted["each"][-1])
        self.assertOpens(files[-2:], ["capinfos"], counted)
        print(f"({sent} sent, {lost} lost, {len(files)} files)", end=" ")
        return outcome, counted

    def assertMarked(self, outcome, *words):
        """One of the marks in the files holds all WORDS."""
        found = marks(self.captures(outcome))
        self.assertTrue([mark for mark in found if all(word in mark for word in words)],
                        f"no mark with {words} in {found}; it said {outcome.stderr!r}")
