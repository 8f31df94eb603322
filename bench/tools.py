# SPDX-License-Identifier: BSD-3-Clause
"""The capture programs that are compared: how each is started in its best documented configuration, with the same ring
memory; what it says of losses; and what of the numbered frames is in its files."""

import contextlib
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import time

import measure
import rig

MIB = 1 << 20
FILLER = 10**15  # numbers from here on are of frames that nobody counts


class Tool:
    """One capture program. A subclass says in command() how it is started; the rest is the same for most."""

    name = None  # on the command line and in results
    title = None  # for people
    program = None  # what is run
    package = None  # of Debian, that has it
    writes = "pcapng"
    several = False  # takes more than one adapter; of the others one process runs for each
    keeps_all_before_signal = False  # what the kernel took before the signal to end is in the files, or told
    block_bytes = MIB  # of its ring: so much traffic makes it hand over what came before
    version_options = ("--version",)
    asynchronous = False  # writes are on their way while all of its threads sleep

    def __init__(self, bench, buffer_mib=64):
        self.bench = bench
        self.buffer_mib = buffer_mib

    def path(self):
        return shutil.which(self.program)

    def installed(self):
        return self.path() is not None

    def why_absent(self):
        return None if self.installed() else f"not installed: package {self.package}"

    def version(self):
        done = subprocess.run([self.path(), *self.version_options], capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+[\w.+~-]*", done.stdout + done.stderr)
        return found.group(0) if found else None

    def command(self, directory, interfaces):
        """Its command line, to capture on INTERFACES (one, unless it takes several) into DIRECTORY."""
        raise NotImplementedError

    def start(self, prefix, space, interfaces, directory):
        """Runs it behind PREFIX; it is capturing on all of INTERFACES in the namespace SPACE when this returns."""
        os.makedirs(directory, exist_ok=True)
        before = [measure.captures(space, name) for name in interfaces]
        with open(os.path.join(directory, ".said"), "wb") as said:
            process = rig.Process([*prefix, *self.command(directory, interfaces)], stdout=said)

        def ready():
            if not process.running():
                raise AssertionError(f"{self.name} ended with {process.wait(1)}: {process.stderr()}")
            return all(measure.captures(space, name) > past for name, past in zip(interfaces, before))

        try:
            rig.wait_for(ready, 20, f"{self.name} is capturing")
        except BaseException:
            process.close()
            raise
        process.said = os.path.join(directory, ".said")
        return process

    def stop(self, process, fill):
        """Asks it to end; returns its exit status and the seconds that took. FILL() sends a block's worth of frames
        that nobody counts."""
        start = time.monotonic()
        measure.interrupt(process)
        return process.wait(60), time.monotonic() - start

    def files(self, directory):
        """Its capture files."""
        return sorted(path for path in glob.glob(os.path.join(directory, "*")) if os.path.isfile(path))

    def all_files(self, directory):
        """All that it wrote, what helps to find frames again included."""
        return self.files(directory)

    def verify(self, directory, sent):
        """Fails where the tool's own account of SENT frames, filler included, cannot be."""

    def count(self, directory, **expected):
        """What wh-count finds in its files."""
        return measure.count(self.bench, self.files(directory), verify=False, **expected)

    def own_drops(self, process, directory):
        """How many frames it says that it lost, once it has ended; None where it does not say."""
        found = re.search(r"(\d+) packets? dropped by kernel", process.stderr())
        return int(found.group(1)) if found else None


class Wirehaul(Tool):
    name = "wirehaul"
    title = "wirehaul, in place"
    several = True
    keeps_all_before_signal = True
    output = "trace.pcapng"

    def path(self):
        return self.bench.wirehaul

    def installed(self):
        return os.access(self.path(), os.X_OK)

    def why_absent(self):
        return None if self.installed() else "not built"

    def stats_path(self, directory):
        return os.path.join(directory, ".stats.json")

    def command(self, directory, interfaces):
        return [self.path(), "-i", ",".join(interfaces), "-B", str(self.buffer_mib * 1024), "-q", "--min-free", "1",
                "-w", os.path.join(directory, self.output), "--stats-file", self.stats_path(directory)]

    def stats(self, directory):
        with open(self.stats_path(directory), encoding="utf-8") as file:
            return json.load(file)

    def own_drops(self, process, directory):
        return self.stats(directory)["frames_dropped"]


class WirehaulPcap(Wirehaul):
    name = "wirehaul-pcap"
    title = "wirehaul, classic pcap"
    writes = "pcap"
    output = "trace.pcap"


class Tcpdump(Tool):
    name = title = program = package = "tcpdump"
    writes = "pcap"

    def command(self, directory, interfaces):
        return [self.program, "-i", interfaces[0], "-n", "-s", "0", "-B", str(self.buffer_mib * 1024), "-Z", "root",
                "-w", os.path.join(directory, "trace.pcap")]


class Dumpcap(Tool):
    name = title = program = "dumpcap"
    package = "wireshark-common"
    several = True
    extra = ()

    def command(self, directory, interfaces):
        wanted = [word for name in interfaces for word in ("-i", name, "-B", str(self.buffer_mib))]
        return [self.program, *wanted, "-q", *self.extra, "-w", os.path.join(directory, "trace.pcapng")]

    def own_drops(self, process, directory):
        found = re.findall(r"received/dropped on interface [^:]*: \d+/(\d+)", process.stderr())
        return sum(map(int, found)) if found else None


class DumpcapThreads(Dumpcap):
    name = "dumpcap-threads"
    title = "dumpcap, threads"
    extra = ("-t",)


class NetsniffNg(Tool):
    name = title = program = package = "netsniff-ng"
    writes = "pcap"

    def command(self, directory, interfaces):
        return [self.program, "--in", interfaces[0], "--out", os.path.join(directory, "trace.pcap"), "--silent",
                "--ring-size", f"{self.buffer_mib}MiB", "--notouch-irq"]

    def own_drops(self, process, directory):
        with open(process.said, encoding="utf-8", errors="replace") as said:
            text = said.read() + process.stderr()
        found = re.search(r"(\d+)\s+packets failed filter", text)
        return int(found.group(1)) if found else None


class Stenotype(Tool):
    name = "stenotype"
    title = "stenotype, no index"
    program = "stenotype"
    package = "stenographer"
    writes = "raw"
    asynchronous = True
    indexed = False

    def version(self):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", self.package], capture_output=True, text=True,
                              check=False)
        return done.stdout or None

    def start(self, prefix, space, interfaces, directory):
        for name in ("PKT0", "IDX0"):  # it expects them to be there
            os.makedirs(os.path.join(directory, name))
        return super().start(prefix, space, interfaces, directory)

    def command(self, directory, interfaces):
        # It closes its files at that size, as the others may. A block of its ring has 1 MiB.
        return [self.program, f"--iface={interfaces[0]}", f"--dir={directory}", "--threads=1",
                *([] if self.indexed else ["--no_index"]), f"--blocks={self.buffer_mib}", "--blockage_sec=1",
                "--preallocate_file_mb=100", "--filesize_mb=100", "--aiops=64", "--uid=root", "--gid=root",
                "--seccomp=none", "-v"]

    def stop(self, process, fill):
        # It hands over a block that is not full after 10 seconds only, whatever its options say, and looks at the
        # signal when it gets a block.
        fill()
        start = time.monotonic()
        measure.interrupt(process)
        for _ in range(5):
            fill()
            with contextlib.suppress(AssertionError):
                return process.wait(2), time.monotonic() - start
        process.kill(signal.SIGKILL)  # it does hang where the disk has stalled
        return process.wait(10), time.monotonic() - start

    def files(self, directory):
        return sorted(entry.path for entry in os.scandir(os.path.join(directory, "PKT0")) if entry.is_file())

    def all_files(self, directory):
        with os.scandir(os.path.join(directory, "IDX0")) as entries:
            return self.files(directory) + [entry.path for entry in entries if entry.is_file()]

    def own_drops(self, process, directory):
        return None  # it prints its counters from time to time while it runs, and none at its end


class StenotypeIndex(Stenotype):
    name = "stenotype-index"
    title = "stenotype, index"
    indexed = True


def counted_by_itself(sent, dropped):
    """As wh-count would have it, of a reader that leaves no files. Filler comes when there is room for it again, so all
    that was dropped is of the load."""
    return {"distinct": sent - dropped, "received": sent - dropped, "missing": dropped, "duplicated": 0, "reordered": 0,
            "corrupt": 0, "outside": None, "truncated": 0, "damaged": 0, "captured_bytes": 0,
            "loss_runs": {"count": None, "longest": None}}


class Discard(Tool):
    """Gives each block back unread: nobody who uses the same ring can lose less. It says itself what came."""

    name = "discard"
    title = "discarded unread"
    writes = "nothing"

    def path(self):
        return self.bench.tool("wh-bench-discard")

    def installed(self):
        return os.access(self.path(), os.X_OK)

    def why_absent(self):
        return None if self.installed() else "not built"

    def version(self):
        return None

    def command(self, directory, interfaces):
        return [self.path(), interfaces[0], "--blocks", str(self.buffer_mib)]

    def _said(self, directory):
        with open(os.path.join(directory, ".said"), encoding="utf-8") as said:
            return json.load(said)

    def files(self, directory):
        return []

    def verify(self, directory, sent):
        said = self._said(directory)
        if said["received"] != sent or said["frames"] + said["dropped"] != sent:
            raise AssertionError(f"{sent} frames were sent, but {self.name} says: {said}")

    def count(self, directory, **expected):
        return counted_by_itself(expected["count"], self._said(directory)["dropped"])

    def own_drops(self, process, directory):
        return None


ALL = [Wirehaul, WirehaulPcap, Tcpdump, Dumpcap, DumpcapThreads, NetsniffNg, Stenotype, StenotypeIndex, Discard]
