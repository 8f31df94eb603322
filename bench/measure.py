# SPDX-License-Identifier: BSD-3-Clause
"""What the benches in this folder share: the rig of the tests, CPU time that is counted whole, medians and verdicts."""

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import rig  # noqa: E402
from capture import Blast, Capture, count  # noqa: E402, F401

TICK = os.sysconf("SC_CLK_TCK")


class Bench:
    """Where the programs and the scratch directory are; what rig and capture know as a test case. Use with `with`."""

    def __init__(self, options):
        self.options = options
        self.wirehaul = self.tool("wirehaul")
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        if os.geteuid() != 0:
            sys.exit("this bench makes network namespaces and pins processes, for which it must be root")
        rig.guard(self.options.scratch)
        rig.install()
        rig.sweep(self.options.scratch)
        self.scratch = self._stack.enter_context(rig.Scratch(self.options.scratch)).path
        return self

    def __exit__(self, *_):
        self._stack.close()
        rig.close_all()

    def tool(self, name):
        return os.path.join(self.options.bin, name)

    instrument = tool

    def directory(self):
        path = os.path.join(self.scratch, rig.unique("-out"))
        os.mkdir(path)
        return path


def parser(description, tables=True):
    """The options of every bench. With TABLES, --json is one of them: finish() obeys it."""
    made = argparse.ArgumentParser(description=description)
    beside = Path(__file__).resolve().parents[1] / "build" / "release" / "bin"
    made.add_argument("--bin", default=str(beside), help="directory of wirehaul and the tools (%(default)s)")
    made.add_argument("--scratch", help="where to write (TMPDIR, or beside the programs)")
    made.add_argument("--calm", type=int, default=0, metavar="SECONDS",
                      help="before each run, wait so long at most for a machine that does nothing else")
    if tables:
        made.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return made


def options_of(made, arguments=None):
    options = made.parse_args(arguments)
    options.slow = 1
    options.bin = os.path.abspath(options.bin)
    # As /proc/self/mounts will name what is mounted there.
    options.scratch = os.path.realpath(options.scratch or rig.default_scratch(options.bin))
    return options


def cgroup_seconds(path):
    with contextlib.suppress(OSError), open(os.path.join(path, "cpuacct.usage"), encoding="ascii") as file:
        return int(file.read()) / 1e9
    with contextlib.suppress(OSError), open(os.path.join(path, "cpu.stat"), encoding="ascii") as file:
        return int(dict(line.split() for line in file)["usage_usec"]) / 1e6
    return None


class CpuGroup(rig.Resource):
    """A cgroup that counts the CPU time of whatever starts in it: threads, children and kernel workers of io_uring
    alike. .prefix goes before a command line. Without such a cgroup, seconds() is None."""

    ROOT = "/sys/fs/cgroup/cpuacct" if os.path.isdir("/sys/fs/cgroup/cpuacct") else "/sys/fs/cgroup"

    def __init__(self):
        self.path = os.path.join(self.ROOT, rig.unique())
        self.prefix = []
        super().__init__()
        try:
            os.mkdir(self.path)
        except OSError:
            self.path = None
            return
        self.prefix = rig.joining(self.path)

    def seconds(self):
        return cgroup_seconds(self.path) if self.path is not None else None

    def _undo(self):
        if self.path is not None:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)


def process_seconds(pids):
    """CPU time of running processes, in ticks, for where no cgroup counts it."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    return ticks / TICK


def peak_resident_kib(pid):
    """The most memory a running process has had resident, ring included. (ru_maxrss would count its parent's, too.)"""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def busy_seconds():
    """CPU time of everything that ever ran, exact where the root of the cgroups counts it, else in ticks."""
    seconds = cgroup_seconds(CpuGroup.ROOT)
    if seconds is not None:
        return seconds
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICK


def calm(options):
    """Waits until the machine does next to nothing for two seconds, at most for --calm seconds. Returns how busy it was
    in the last second, as a share of all its CPUs."""
    end = time.monotonic() + options.calm
    quiet = 0
    while True:
        before, start = busy_seconds(), time.monotonic()
        time.sleep(1)
        share = (busy_seconds() - before) / (time.monotonic() - start) / os.cpu_count()
        quiet = quiet + 1 if share < 0.05 else 0
        if quiet == 2 or time.monotonic() >= end:
            return share


def captures(space, interface):
    """How many packet sockets are running on INTERFACE in the namespace SPACE."""
    index = str(space.link(interface)["ifindex"])
    rows = [line.split() for line in space.run("cat", "/proc/net/packet").stdout.splitlines()[1:]]
    return sum(row[3] == "0003" and row[4] == index and row[5] == "1" for row in rows)


def device_counters(directory):
    """Writes and discards done and requests in flight on the device of DIRECTORY."""
    device = os.stat(directory).st_dev
    try:
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat", encoding="ascii") as file:
            fields = list(map(int, file.read().split()))
    except OSError:
        return None
    return fields[4], fields[11] if len(fields) > 11 else 0, fields[8]


def settle(directory, seconds=10):
    """Brings all that is on its way to the disk to an end. A file system may discard the blocks of deleted files
    behind the scenes, which would slow whoever writes next; so wait until the device is quiet."""
    os.sync()
    end = time.monotonic() + seconds
    before, quiet = device_counters(directory), 0
    while before is not None and quiet < 3 and time.monotonic() < end:
        time.sleep(0.15)
        now = device_counters(directory)
        quiet = quiet + 1 if now == before and now[2] == 0 else 0
        before = now


def median(rows, key):
    values = [row[key] for row in rows if row.get(key) is not None]
    return statistics.median(values) if values else None


class Verdicts:
    """What was compared with the targets, each line PASS or FAIL, and the exit status that follows."""

    SKIPPED = 77

    def __init__(self):
        self.lines = []
        self._missing = False

    def check(self, passed, text):
        self.lines.append({"pass": bool(passed), "text": text})

    def skip(self, text, package=None):
        """What could not be compared; with PACKAGE, because of a program that is not installed."""
        if package is not None:
            text += f" (install {package})"
            self._missing = True
        self.lines.append({"pass": None, "text": text})

    def print(self):
        for line in self.lines:
            word = {True: "PASS", False: "FAIL", None: "skipped"}[line["pass"]]
            print(f"{word}: {line['text']}")

    def status(self):
        if any(line["pass"] is False for line in self.lines):
            return 1
        return self.SKIPPED if self._missing else 0


def interrupt(process):
    """Asks a program to end, which it must not have done by itself."""
    if not process.running():
        raise AssertionError(f"{process.args} ended by itself with {process.wait(1)}: {process.stderr()}")
    process.kill(signal.SIGINT)


def table(head, rows):
    """Prints ROWS of text in columns; the first is left-aligned."""
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = [str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())


def note(text):
    """Progress, beside the results."""
    print(text, file=sys.stderr, flush=True)


def finish(options, result, verdicts, show):
    """Prints the result, as tables or JSON, and returns the exit status."""
    if options.json:
        print(json.dumps({**result, "verdicts": verdicts.lines}, indent=1))
    else:
        show()
        verdicts.print()
    return verdicts.status()
