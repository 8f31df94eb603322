# SPDX-License-Identifier: BSD-3-Clause
"""Which part limits a capture here: adapter, kernel, CPU or disk? Each is measured with the others left out, by
wirehaul's own simulations; the smallest is the limit, and words say what to change."""

import contextlib
import json
import os
import sys

import measure
import rig
import trial
from tools import Discard, Wirehaul, counted_by_itself

PARTS = ("adapter", "kernel", "CPU", "disk")
ADVICE = {
    "adapter": "The adapter, or whoever sends, brings no more than this, and everything behind it could take more. "
               "Nothing to change.",
    "kernel": "The kernel loses frames even for a reader that gives every block back unread. Spread the adapter's "
              "interrupts over more cores (ethtool -L, irqbalance), keep other work off the core that handles them, "
              "and capture with --fanout.",
    "CPU": "One core does not get through more frames. Let wirehaul choose cores near the adapter (--cpus auto), keep "
           "other work off them, spread the adapter over several threads (--fanout N), keep less of each frame (-s), "
           "or leave out what need not be captured by a filter.",
    "disk": "It takes less than what comes. Write to a faster one; keep less of each frame (-s), or leave frames out "
            "by a filter. A larger ring (-B) helps over peaks, not for ever.",
}


class Wirehauls(Wirehaul):
    """wirehaul with some more options."""

    def __init__(self, bench, *more):
        super().__init__(bench)
        self.more = more

    def command(self, directory, interfaces):
        return [*super().command(directory, interfaces), *self.more]

    def count(self, directory, **expected):
        """Of a simulation there are no files: what it says itself. The whole capture is counted by number."""
        if "--simulate" not in self.more:
            return super().count(directory, **expected)
        return counted_by_itself(expected["count"], self.stats(directory)["frames_dropped"])


def simulated(bench, seconds, *options):
    """What wirehaul says of a simulation of that length."""
    path = os.path.join(bench.directory(), "stats.json")
    command = [bench.wirehaul, "--simulate", *options, "-q", "-a", f"duration:{max(1, round(seconds))}",
               "--stats-file", path]
    with measure.CpuGroup() as group, \
            rig.Process([*group.prefix, "taskset", "--cpu-list", bench.options.cpu, *command]) as process:
        if process.wait(seconds + 60) != 0:
            sys.exit(process.stderr().strip().splitlines()[-1])
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def disk(bench, size, seconds):
    """Made-up frames to the disk, as many as it takes."""
    return simulated(bench, seconds, f"no-nic:{size}", "-w", os.path.join(bench.directory(), "trace.pcapng"),
                     "--min-free", "1")


def in_sandbox(bench, size, seconds):
    """All four parts on a veth pair, as fast as one core sends. Returns frames a second of each."""
    shape = trial.Shape(size)
    load = trial.Load(shape, None, seconds)
    with trial.Links(1, shape.mtu) as links:
        rows = {}
        for name, tool in (("discard", Discard(bench)), ("no_disk", Wirehauls(bench, "--simulate", "no-disk")),
                           ("whole", Wirehauls(bench))):
            measure.note(f"measuring: {name.replace('_', ' ')}")
            rows[name] = trial.run(bench, tool, links, load)
    measure.note("measuring: the disk alone")
    alone = disk(bench, round(shape.mean_bytes), seconds)
    own = rows["no_disk"]
    rates = {
        "adapter": rows["discard"]["offered_pps"],
        "kernel": carried(rows["discard"]),
        "CPU": own["found"] / max(own["cpu_seconds"] - own["startup_seconds"], 1e-9),
        "disk": disk_rate(alone, shape.mean_bytes),
    }
    return {"size": size, "rates": rates, "runs": rows, "disk_alone": alone,
            "lost_percent": rows["whole"]["loss_percent"], "carried_pps": carried(rows["whole"])}


def carried(row):
    """Frames a second that were not lost. A reader that loses nothing carries what is sent, and maybe more: unknown."""
    return row["offered_pps"] * (1 - row["loss_percent"] / 100)


def disk_rate(stats, mean_bytes):
    """Frames of MEAN_BYTES that the disk took in a second."""
    return stats["bytes_captured"] / mean_bytes / stats["elapsed_seconds"]


def on_adapter(bench, interface, seconds):
    """The traffic that comes to a real adapter now, captured without writing; and the disk by itself."""
    before = kernel_counters(interface)
    stats = simulated(bench, seconds, "no-disk", "-i", interface)
    after = kernel_counters(interface)
    elapsed = stats["elapsed_seconds"]
    lost = {name: after[name] - value for name, value in before.items() if after.get(name, value) > value}
    received = stats["frames_received"]
    alone = disk(bench, mean_size(stats), seconds)
    bytes_each = stats["bytes_captured"] / stats["frames_written"] if stats["frames_written"] else 1414
    adapter_lost = sum(value for name, value in lost.items() if name.startswith("rx_"))
    rates = {
        "adapter": received / elapsed,
        "kernel": (received - lost.get("backlog", 0)) / elapsed,
        "CPU": received / stats["cpu_seconds"] if stats["cpu_seconds"] else None,
        "disk": disk_rate(alone, bytes_each),
    }
    return {"interface": interface, "rates": rates, "received": received, "dropped": stats["frames_dropped"],
            "lost": lost, "adapter_lost": adapter_lost, "disk_alone": alone, "simulated": stats}


def mean_size(stats):
    frames = stats["frames_written"]
    return min(9000, max(60, round(stats["bytes_captured"] / frames))) if frames else 1414


def kernel_counters(interface):
    """What an adapter and the kernel's backlog have lost so far."""
    counters = {}
    for name in ("rx_missed_errors", "rx_fifo_errors", "rx_over_errors"):
        with contextlib.suppress(OSError, ValueError), \
                open(f"/sys/class/net/{interface}/statistics/{name}", encoding="ascii") as file:
            counters[name] = int(file.read())
    with contextlib.suppress(OSError), open("/proc/net/softnet_stat", encoding="ascii") as file:
        counters["backlog"] = sum(int(line.split()[1], 16) for line in file)
    return counters


def verdict(found):
    """Which of PARTS is the limit, of what was found in the sandbox. A part that carried all that came is not."""
    rates = found["rates"]
    if found["runs"]["discard"]["loss_percent"] > 0:
        return "kernel"
    if found["lost_percent"] == 0:
        return "adapter"
    return min(("CPU", "disk"), key=lambda part: rates[part])


def verdict_on_adapter(found):
    if found["adapter_lost"] > 0 or found["lost"].get("backlog", 0) > 0:
        return "kernel"
    if found["dropped"] > 0:
        return "CPU"
    return "disk" if found["rates"]["disk"] < found["rates"]["adapter"] else "adapter"


def print_rates(rates, notes):
    print(f"{'part':8} {'frames/s':>11}")
    for part in PARTS:
        rate = f"{rates[part]:,.0f}" if rates[part] else "-"
        print(f"{part:8} {rate:>11}  {notes[part]}")


def sandbox(bench, size, seconds):
    found = in_sandbox(bench, size, seconds)
    rates, limit = found["rates"], verdict(found)
    notes = {"adapter": "sent by one core over a veth pair",
             "kernel": f"taken by a reader that gives back every block unread; it lost "
                       f"{found['runs']['discard']['loss_percent']:.2f} %",
             "CPU": "encoded by one core that does nothing else, nothing written (--simulate no-disk)",
             "disk": "made-up frames written (--simulate no-nic)"}
    print(f"\n{'An Internet mix of' if size == 'imix' else size + '-byte'} frames:\n")
    print_rates(rates, notes)
    print(f"\nThe whole capture took {found['carried_pps']:,.0f} of {found['runs']['whole']['offered_pps']:,.0f} "
          f"frames a second: {found['lost_percent']:.2f} % lost.")
    print(f"The limit here is the {limit}. {ADVICE[limit]}")
    return {**found, "limit": limit}


def adapter(bench, interface, seconds):
    found = on_adapter(bench, interface, seconds)
    rates, limit = found["rates"], verdict_on_adapter(found)
    told = ", ".join(f"{name} {value:,}" for name, value in found["lost"].items()) or "nothing"
    notes = {"adapter": f"came on {interface}; lost before the ring: {told}", "kernel": "of these reached the ring",
             "CPU": f"one core could encode; {found['dropped']:,} dropped from the ring (--simulate no-disk)",
             "disk": "made-up frames of the same mean size written (--simulate no-nic)"}
    print_rates(rates, notes)
    if found["received"] == 0:
        print(f"\nNothing came on {interface} in this time, so there is nothing to judge but the disk.")
        return {**found, "limit": None}
    least = min((part for part in ("CPU", "disk") if rates[part]), key=lambda part: rates[part])
    print(f"\nThe limit for the present traffic is the {limit}. {ADVICE[limit]}")
    if limit == "adapter":
        print(f"The next limit would be the {least}, at {rates[least] / rates['adapter']:.1f} times the present rate.")
    return {**found, "limit": limit}


def run(bench, options):
    """Says it on standard output; returns the figures behind it."""
    seconds = options.seconds or 5
    if options.interface is not None:
        return adapter(bench, options.interface, seconds)
    return sandbox(bench, (options.sizes or ["1414"])[0], seconds)
