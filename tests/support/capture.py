# SPDX-License-Identifier: BSD-3-Clause
"""The programs under test and around it: wirehaul, the sender of numbered frames, and the reader that counts them."""

import collections
import ctypes
import glob
import json
import mmap
import os
import signal
import socket
import struct
import time

import rig

Outcome = collections.namedtuple("Outcome", "status stderr stats seconds files")


class Capture(rig.Process):
    """A wirehaul process whose output is at .directory. It is capturing when the constructor returns."""

    def __init__(self, case, interfaces, *options, namespace=None, output="trace.pcapng", directory=None, expression=(),
                 prefix=(), wait=True, **process_options):
        self.case = case
        self.directory = directory or os.path.join(case.scratch, rig.unique("-out"))
        os.makedirs(self.directory, exist_ok=True)
        self.stats_path = os.path.join(case.scratch, rig.unique("-stats.json"))
        path = output if output == "-" else os.path.join(self.directory, output)
        args = [*prefix, case.wirehaul, "-i", interfaces, "-w", path, "--stats-file", self.stats_path]
        if "--min-free" not in options:
            # How full the machine's disk happens to be is no matter of most tests.
            args += ["--min-free", "1"]
        super().__init__([*args, *options, *expression], namespace, **process_options)
        if wait:
            try:
                self.wait_running()
            except BaseException:
                self.close()
                raise

    def stats(self):
        """The statistics file as it is now, or None while there is none."""
        try:
            with open(self.stats_path, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None

    def wait_running(self):
        def active():
            if not self.running():
                raise AssertionError(f"wirehaul ended with {self.popen.returncode}: {self.stderr()}")
            stats = self.stats()
            return stats is not None and stats["state"] == "running"

        rig.wait_for(active, 10 * self.case.options.slow, "wirehaul is capturing")

    def wait_written(self, frames, seconds=30):
        """Until it says that so many frames are in its files."""
        def enough():
            stats = self.stats()
            return stats is not None and stats["frames_written"] >= frames
        rig.wait_for(enough, seconds, f"{frames} frames are written")

    def files(self):
        """The capture files, in the order in which they were begun."""
        return sorted(path for path in glob.glob(os.path.join(self.directory, "*")) if os.path.isfile(path))

    def outcome(self, seconds=30):
        """Waits for the end and tells how it came."""
        start = time.monotonic()
        status = self.wait(seconds * self.case.options.slow)
        return Outcome(status, self.stderr(), self.stats(), time.monotonic() - start, self.files())

    def stop(self, number=signal.SIGINT, seconds=30):
        """Asks it to stop, waits for the end and tells how it came."""
        self.kill(number)
        return self.outcome(seconds)


class RingWitness(rig.Resource):
    """A second descriptor of a capture's packet socket and ring, which outlives the process."""

    PIDFD_GETFD = 438  # the same number on every architecture
    SOL_PACKET, PACKET_STATISTICS = 263, 6
    HEAD, MAGIC = 0x80005748, 0x4B434857  # docs/format.md

    def __init__(self, capture, ring_bytes):
        self._ring_bytes = ring_bytes
        self._socket = self._take(capture.pid)
        super().__init__()

    @classmethod
    def _take(cls, pid):
        process = os.pidfd_open(pid)
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                    continue
                descriptor = ctypes.CDLL(None, use_errno=True).syscall(cls.PIDFD_GETFD, process, int(name), 0)
                if descriptor < 0:
                    raise OSError(ctypes.get_errno(), "pidfd_getfd")
                found = socket.socket(fileno=descriptor)
                if found.family == socket.AF_PACKET:
                    return found
                found.close()
        finally:
            os.close(process)
        raise AssertionError("the capture has no packet socket")

    def dropped_since(self):
        """What the kernel dropped and the capture has not read. It will not: the kernel's counter clears when read."""
        statistics = self._socket.getsockopt(self.SOL_PACKET, self.PACKET_STATISTICS, 12)
        return struct.unpack("III", statistics)[1]

    def dropped_told(self):
        """What the chunks tell of losses that lie in the ring and not, as far as anybody knows, in a file."""
        told = 0
        with mmap.mmap(self._socket.fileno(), self._ring_bytes) as ring:
            for at in range(0, self._ring_bytes, mmap.PAGESIZE):
                if struct.unpack_from("<I4xI", ring, at) == (self.HEAD, self.MAGIC):
                    told += struct.unpack_from("<Q", ring, at + 56)[0]
        return told

    def _undo(self):
        self._socket.close()


def _words(options, **switches):
    """Options of a command line. One that is True is a switch."""
    words = []
    for name, value in {**options, **switches}.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not False:
            words += [f"--{name}", value]
    return words


class Blast(rig.Process):
    """A sender of numbered frames. OPTIONS are those of wh-blast: count=1000, size=60, mix=..., rate=..., ..."""

    def __init__(self, case, namespace, interface, tapped=False, **options):
        path = os.path.join(case.scratch, rig.unique("-progress"))
        with open(path, "w+b") as file:
            file.truncate(8)
            self._progress = mmap.mmap(file.fileno(), 8)
        args = [case.instrument("wh-blast"), interface, "--progress", path]
        args += _words(options, tapped=tapped)
        super().__init__(args, namespace, stdout=-1)

    def sent(self):
        """How many frames the kernel has taken so far."""
        return struct.unpack("<Q", self._progress[:8])[0]

    def wait_sent(self, frames, seconds=120):
        def enough():
            if self.sent() < frames and not self.running():
                raise AssertionError(f"the sender ended after {self.sent()} frames: {self.stderr()}")
            return self.sent() >= frames

        rig.wait_for(enough, seconds, f"{frames} frames are sent")

    def result(self, seconds=600):
        """Waits until it is done and returns what it says of it."""
        status = self.wait(seconds)
        if status != 0:
            raise AssertionError(f"the sender ended with {status}: {self.stderr()}")
        return json.loads(self.popen.stdout.read())

    def stop(self):
        """Ends it between two frames."""
        # Before the first frame it may not have got to handling the signal.
        rig.wait_for(lambda: self.sent() > 0 or not self.running(), 30, "the sender has begun")
        if self.running():
            self.kill(signal.SIGTERM)
        return self.result()


def count(case, files, verify=True, **options):
    """What wh-count finds in FILES. OPTIONS are its own; pass those that the frames were sent with.

    VERIFY: every byte is looked at, and each packet read by libpcap, too.
    """
    args = [case.instrument("wh-count"), *_words(options, verify=verify)]
    # A trailing argument list of a thousand names is no trouble for the kernel.
    return json.loads(rig.run(*args, "--", *files).stdout)
