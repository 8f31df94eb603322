# SPDX-License-Identifier: BSD-3-Clause
"""One trial: a tool captures, numbered frames are sent, and what is in its files is counted."""

import contextlib
import json
import os
import time

import measure
import rig
from tools import FILLER

QUIET_SECONDS = 0.05  # of a tool that uses next to no CPU: it has nothing left to do
MTU_MARGIN = 100
FILLER_BYTES = 1414
READ_AGAIN_SECONDS = 0.01


class Links(rig.Resource):
    """COUNT veth pairs between two namespaces: senders in .left on .lefts, captures in .right on .rights."""

    def __init__(self, count=1, mtu=1500):
        self.left, self.right = rig.Namespace(), rig.Namespace()
        super().__init__()
        self.lefts = [f"wa{number}" for number in range(count)]
        self.rights = [f"wb{number}" for number in range(count)]
        for left, right in zip(self.lefts, self.rights):
            self.left.ip("link", "add", "name", left, "mtu", mtu, "type", "veth",
                         "peer", "name", right, "netns", self.right.name, "mtu", mtu)
            self.left.ip("link", "set", left, "up")
            self.right.ip("link", "set", right, "up")
        for space, names in ((self.left, self.lefts), (self.right, self.rights)):
            for name in names:
                rig.wait_for(lambda space=space, name=name: space.link(name)["operstate"] == "UP", 5,
                             f"{name} has a carrier")

    def _undo(self):
        self.left.close()
        self.right.close()


class Shape:
    """Frames of one kind: a size in bytes, or "imix"."""

    def __init__(self, name):
        self.name = name
        self.options = {"imix": True} if name == "imix" else {"size": int(name)}
        largest = 1514 if name == "imix" else int(name)
        self.mtu = 1500 if largest <= 1514 else largest + MTU_MARGIN
        self.mean_bytes = (28 * 60 + 16 * 566 + 4 * 1514) / 48 if name == "imix" else int(name)


class Load:
    """How the frames of a trial come: RATE a second (None: as fast as one core sends), for SECONDS or COUNT of them."""

    def __init__(self, shape, rate=None, seconds=None, count=None):
        self.shape, self.rate, self.seconds, self.count = shape, rate, seconds, count

    def options(self):
        options = dict(self.shape.options)
        if self.rate is not None:
            options["rate"] = int(self.rate)
            options["count"] = self.count if self.count is not None else max(1, int(self.rate * self.seconds))
            options["seconds"] = 120
        elif self.count is not None:
            options.update(count=self.count, seconds=120)
        else:
            options.update(count=0, seconds=self.seconds)
        return options


def launcher(options, group, space):
    """What stands before a tool's own command: into the cgroup, onto the core, into the namespace."""
    return [*group.prefix, "taskset", "--cpu-list", options.cpu, *space.prefix]


def _busy_somewhere(pid):
    """Whether a thread of the process runs, or waits for a disk."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii", errors="replace") as file:
                if file.read().rpartition(")")[2].split()[0] in "RD":
                    return True
    return False


def wait_idle(running, most):
    """Waits until the processes of RUNNING have worked off what they were given, for MOST seconds. Returns whether."""
    end = time.monotonic() + most
    before, quiet = running.seconds(), 0
    while time.monotonic() < end:
        time.sleep(QUIET_SECONDS)
        now = running.seconds()
        idle = now - before < 0.05 * QUIET_SECONDS and not any(map(_busy_somewhere, running.pids()))
        if idle and running.tool.asynchronous:
            device = measure.device_counters(running.directory)
            idle = device is None or device[2] == 0
        quiet = quiet + 1 if idle else 0
        if quiet == 2:
            return True
        before = now
    return False


class Running:
    """A tool that captures on all of LINKS: one process, or one for each adapter."""

    def __init__(self, bench, tool, links, directory, group, before=()):
        self.bench, self.tool, self.links, self.directory = bench, tool, links, directory
        self.group = group
        self.filler, self.filler_cpu = 0, 0.0  # frames sent that are no part of the load, and what sending them took
        prefix = [*before, *launcher(bench.options, group, links.right)]
        self._stack = contextlib.ExitStack()
        self.processes = []
        shares = [links.rights] if tool.several else [[name] for name in links.rights]
        self.directories = [os.path.join(directory, str(number)) for number in range(len(shares))]
        for share, own in zip(shares, self.directories):
            self.processes.append(self._stack.enter_context(tool.start(prefix, links.right, share, own)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def pids(self):
        return [process.pid for process in self.processes]

    def seconds(self):
        """CPU time so far."""
        seconds = self.group.seconds()
        return measure.process_seconds(self.pids()) if seconds is None else seconds

    def fill(self):
        """Sends each adapter so many frames, of numbers that no trial has, that the tool's ring hands over what came
        before them."""
        count = 2 * self.tool.block_bytes // FILLER_BYTES + 1
        for name in self.links.lefts:
            with measure.Blast(self.bench, self.links.left, name, size=FILLER_BYTES, count=count,
                               first=FILLER) as blast:
                self.filler += blast.result(10)["sent"]
                self.filler_cpu += blast.cpu_seconds()

    def drain(self, seconds=20):
        """Until all that was sent is in files, or will be when the tool ends. Returns whether it came to that."""
        worked_off = wait_idle(self, seconds)
        self.fill()
        return wait_idle(self, 5) and worked_off

    def resident_kib(self):
        return sum(measure.peak_resident_kib(pid) for pid in self.pids())

    def stop(self):
        """Ends it; returns the seconds that took and the exit statuses."""
        ended = [self.tool.stop(process, self.fill) for process in self.processes]
        return sum(seconds for _, seconds in ended), [status for status, _ in ended]

    def files(self):
        return [path for own in self.directories for path in self.tool.files(own)]

    def own_drops(self):
        told = [self.tool.own_drops(process, own) for process, own in zip(self.processes, self.directories)]
        return None if None in told else sum(told)


def _usage(processes):
    used = [process.usage for process in processes]
    return {"user_seconds": sum(each.ru_utime for each in used), "system_seconds": sum(each.ru_stime for each in used),
            "switches": sum(each.ru_nvcsw + each.ru_nivcsw for each in used)}


def difference(tool, own_drops, lost, filler_lost):
    """How far the tool's own count of losses is from the truth. Filler that was still in the ring when the tool was
    asked to end may be lost to a tool that promises nothing about it, and told or not; all else must be right."""
    if own_drops is None:
        return None
    if tool.keeps_all_before_signal:
        return own_drops - lost - filler_lost
    return min(0, own_drops - lost) + max(0, own_drops - lost - filler_lost)


def _judge(tool, sent, counted, own_drops, filler):
    """FILLER frames, which wh-count calls outside, were sent besides."""
    lost = sent["sent"] - counted["distinct"]
    filler_lost = 0 if counted["outside"] is None else filler - counted["outside"]
    return {
        "sent": sent["sent"], "sent_bytes": sent["bytes"], "send_seconds": sent["seconds"],
        "offered_pps": sent["sent"] / sent["seconds"], "offered_gbps": 8e-9 * sent["bytes"] / sent["seconds"],
        "found": counted["distinct"], "lost": lost, "loss_percent": 100 * lost / sent["sent"],
        "duplicated": counted["duplicated"], "reordered": counted["reordered"], "corrupt": counted["corrupt"],
        "truncated": counted["truncated"], "damaged": counted["damaged"],
        "loss_runs": counted["loss_runs"]["count"], "longest_run": counted["loss_runs"]["longest"],
        "own_drops": own_drops, "own_difference": difference(tool, own_drops, lost, filler_lost),
    }


def run(bench, tool, links, load):
    """One trial of TOOL on the first (only) pair of LINKS. Returns a row of what came of it."""
    measure.calm(bench.options)
    with measure.CpuGroup() as group, rig.Scratch(bench.scratch) as scratch:
        with Running(bench, tool, links, scratch.path, group) as running:
            startup = running.seconds()
            busy = measure.busy_seconds()
            with measure.Blast(bench, links.left, links.lefts[0], **load.options()) as blast:
                sent = blast.result(150)
                sender_cpu = blast.cpu_seconds()
            drained = running.drain()
            resident = running.resident_kib()
            stop_seconds, statuses = running.stop()
            busy = measure.busy_seconds() - busy
            own_drops = running.own_drops()
            used = _usage(running.processes)
            cpu = group.seconds() or used["user_seconds"] + used["system_seconds"]
        tool.verify(running.directories[0], sent["sent"] + running.filler)
        counted = tool.count(running.directories[0], count=sent["sent"])
        on_disk = sum(os.stat(path).st_blocks * 512 for own in running.directories for path in tool.all_files(own))
    measure.settle(bench.scratch, 5)
    other = max(0.0, busy - sender_cpu - running.filler_cpu - (cpu - startup))
    return {"tool": tool.name, "size": load.shape.name, "rate": load.rate, "statuses": statuses, "drained": drained,
            **_judge(tool, sent, counted, own_drops, running.filler), **used,
            "cpu_seconds": cpu, "startup_seconds": startup, "other_cpu_seconds": other, "peak_rss_kib": resident,
            "bytes_on_disk": on_disk, "captured_bytes": counted["captured_bytes"], "stop_seconds": stop_seconds}


def run_several(bench, tool, links, load):
    """One trial on all pairs of LINKS at once, LOAD's rate shared between them. Loss and counters are of all."""
    measure.calm(bench.options)
    each = Load(load.shape, load.rate / len(links.lefts), load.seconds)
    with measure.CpuGroup() as group, rig.Scratch(bench.scratch) as scratch:
        with Running(bench, tool, links, scratch.path, group) as running:
            startup = running.seconds()
            with contextlib.ExitStack() as stack:
                # Numbers of its own for each adapter: one file may hold the frames of all.
                blasts = [stack.enter_context(measure.Blast(bench, links.left, name, first=first_on(place),
                                                            **each.options()))
                          for place, name in enumerate(links.lefts)]
                sent = [blast.result(150) for blast in blasts]
            running.drain()
            running.stop()
            own_drops = running.own_drops()
            used = _usage(running.processes)
            cpu = group.seconds() or used["user_seconds"] + used["system_seconds"]
        found, filler_lost = _found_of_each(tool, running, sent)
    measure.settle(bench.scratch, 5)
    total = sum(row["sent"] for row in sent)
    lost = total - sum(found)
    return {"tool": tool.name, "size": load.shape.name, "sent": total, "found": sum(found), "lost": lost,
            "offered_pps": sum(row["sent"] / row["seconds"] for row in sent),
            "loss_percent": 100 * lost / total, "own_drops": own_drops,
            "own_difference": difference(tool, own_drops, lost, filler_lost),
            "cpu_per_gb": (cpu - startup) / (1e-9 * sum(row["bytes"] for row in sent))}


def first_on(place):
    """The first number of the frames that are sent to an adapter."""
    return 1 + place * 10**9


def _found_of_each(tool, running, sent):
    """How many of the load's frames were captured on each adapter, and how many of the others on none."""
    found, filler = [], 0
    for place, row in enumerate(sent):
        directory = running.directories[0 if tool.several else place]
        found.append(tool.count(directory, **{"from": first_on(place)}, count=row["sent"])["distinct"])
    for directory in running.directories:
        filler += tool.count(directory, **{"from": FILLER}, count=10**6)["received"]
    return found, running.filler - filler


def readable_after(bench, tool, links, most=8):
    """Seconds from a lone frame on an idle link until a reader finds it in the tool's files; None if not in MOST."""
    found = None
    with measure.CpuGroup() as group, rig.Scratch(bench.scratch) as scratch:
        with Running(bench, tool, links, scratch.path, group) as running:
            wait_idle(running, 2)
            with measure.Blast(bench, links.left, links.lefts[0], size=1414, count=1) as blast:
                blast.wait_sent(1)
                start = time.monotonic()
                while found is None and time.monotonic() - start < most:
                    if _frames_so_far(bench, running.files()):
                        found = time.monotonic() - start
                    time.sleep(READ_AGAIN_SECONDS)
    measure.settle(bench.scratch, 5)
    return found


def _frames_so_far(bench, files):
    """How many numbered frames a reader finds. A file that is being written may end anywhere."""
    files = [path for path in files if os.path.getsize(path) > 0]
    if not files:
        return 0
    done = rig.run(bench.tool("wh-count"), *files, check=False)
    with contextlib.suppress(json.JSONDecodeError):
        return json.loads(done.stdout)["distinct"]
    return 0


def stop_under_load(bench, tool, links, load):
    """Seconds from the request to end until the tool has ended, frames coming all the while."""
    with measure.CpuGroup() as group, rig.Scratch(bench.scratch) as scratch:
        with Running(bench, tool, links, scratch.path, group) as running, \
                measure.Blast(bench, links.left, links.lefts[0], **load.options()) as blast:
            blast.wait_sent(int(load.rate * 0.5))
            seconds, _ = running.stop()
            blast.stop()
    measure.settle(bench.scratch, 5)
    return seconds


def run_slow_disk(bench, tool, links, load, limit, memory):
    """One trial with what is written limited to LIMIT bytes a second, on a disk of its own. MEMORY bytes are what the
    tool may have, its files' pages included: else the machine's whole memory would be the buffer of tools that write
    through it. (The ring is the kernel's and comes on top, for each of them.)"""
    with rig.Disk(bench.scratch, 4000) as disk, rig.DeviceLimit(disk.device, limit), measure.CpuGroup() as group, \
            rig.MemoryLimit(memory) as memory_limit:
        with Running(bench, tool, links, os.path.join(disk.path, "out"), group, memory_limit.prefix) as running:
            with measure.Blast(bench, links.left, links.lefts[0], **load.options()) as blast:
                sent = blast.result(150)
            running.drain(120)
            running.stop()
            own_drops = running.own_drops()
        counted = tool.count(running.directories[0], count=sent["sent"])
        row = _judge(tool, sent, counted, own_drops, running.filler)
    unaccounted = None if own_drops is None else -row["own_difference"]
    return {"tool": tool.name, "sent": row["sent"], "found": row["found"], "lost": row["lost"],
            "own_drops": own_drops, "own_difference": row["own_difference"], "unaccounted": unaccounted}
