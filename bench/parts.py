# SPDX-License-Identifier: BSD-3-Clause
"""The parts of the dropped-frames benchmark: loss at many rates, the highest rates and longest bursts without it, what
capturing costs, and the rest. Each adds to the result that bench/report.py describes."""

import statistics
import unittest

import disk
import measure
import rig
import trial
from search import Search, longest_burst, spread

REFERENCE = "discard"
PDR_PERCENT = 0.5
DISK_RUNS, DISK_BYTES = 3, 4 * 10**9  # of fio, where the disk may be the limit
HEAVY_BYTES = 250e6  # a second: from here on the disk may be the limit
SEARCH_TRIALS = 8  # that the rates of a tool take for one size, about
BURST_TRIALS = 5
ADAPTERS = 4
SLOW_DISK = 50 * 10**6  # bytes a second
SLOW_DISK_RATE = 150000  # frames a second
SLOW_DISK_MEMORY = 256 << 20  # bytes, page cache included
COST_MOST, COST_LEAST = 200000, 40000  # frames a second
PACE_PERCENT = 1  # that the sender may be off the rate it was asked for
MAIN_SIZE = "1414"  # of a full run, the one at which every tool has its turn
# Variants, for which the search is not repeated and the longest burst not looked for.
OPTIONAL = ("wirehaul-pcap", "dumpcap-threads", "netsniff-ng", "stenotype-index")
# What a tool that misbehaves, or a machine that lacks something, comes out as.
FAILURES = (AssertionError, OSError, RuntimeError, ValueError, unittest.SkipTest)


class Depth:
    """How much is done: numbers of runs, lengths of trials (seconds), shares of the full rate (percent)."""

    def __init__(self, **values):
        self.__dict__.update(values)


QUICK = Depth(source_runs=1, trial=1.0, long=(1.0, 5.0), confirmations={}, repeats={}, percents=(25, 50, 75, 100),
              heavy_percent=100, search=False, precision=0.25, most_trials=0, cost_runs={}, cost_seconds=1.0,
              all_sizes=True, burst_sizes=(), latency_runs=0, adapters=False, slow_disk=False)
FULL = Depth(source_runs=3, trial=1.2, long=(2.5, 8.0), confirmations={"1414": 2}, repeats={"1414": 2},
             percents=(10, 40, 70, 100), heavy_percent=60, search=True, precision=0.02, most_trials=10,
             cost_runs={"1414": 5, "60": 3, "imix": 3, "9000": 3}, cost_seconds=3.0, all_sizes=False,
             burst_sizes=("60", "1414"), latency_runs=3, adapters=True, slow_disk=True)


def unwritten_bytes():
    """So much of what is written may the kernel keep back before it makes the writer wait: a trial of less tells
    nothing of the disk to those who write through the page cache."""
    def setting(name):
        with open(f"/proc/sys/vm/{name}", encoding="ascii") as file:
            return int(file.read())

    with open("/proc/meminfo", encoding="ascii") as file:
        available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    most = setting("dirty_bytes") or available * setting("dirty_ratio") / 100
    background = setting("dirty_background_bytes") or available * setting("dirty_background_ratio") / 100
    return (most + background) / 2


def takes_part(tool, size, sizes, depth):
    """Whether TOOL has its turn with frames of SIZE: a full run has time for all of them only once."""
    return depth.all_sizes or size == MAIN_SIZE or MAIN_SIZE not in sizes or tool.name not in OPTIONAL


class Parts:
    """What is to be done with TOOLS and frames of SIZES, and .result as it grows."""

    def __init__(self, bench, depth, tools, sizes, plan):
        self.bench, self.depth, self.plan = bench, depth, plan
        self.tools = self.turn = tools
        self.sizes = sizes
        self.rows, self.failures, self.agreement = [], [], {}
        self.page_cache = unwritten_bytes()
        self.searches = self.confirmations = 1
        self.result = {"source": {}, "curves": {}, "rates": {}, "bursts": {}, "costs": {}, "latency": {},
                       "adapters": {}, "slow_disk": {}, "disk": {}}

    def run(self):
        for shape in map(trial.Shape, self.sizes):
            with trial.Links(1, shape.mtu) as links:
                self.of_size(links, shape)
        self.turn = list(self.tools)
        if self.depth.latency_runs:
            self.latency()
        if self.depth.adapters:
            self.adapters()
        if self.depth.slow_disk:
            self.slow_disk()

    def of_size(self, links, shape):
        self.turn = [tool for tool in self.tools if takes_part(tool, shape.name, self.sizes, self.depth)]
        full = self.source(links, shape)
        self.each("curve", lambda tool: self.curve(tool, links, shape, full))
        # Decided once for all tools: each is confirmed as strictly as the others.
        late = self.plan.late()
        self.searches = 1 if late else self.depth.repeats.get(shape.name, 1)
        self.confirmations = 1 if late else self.depth.confirmations.get(shape.name, 1)
        self.each("search", lambda tool: self.rates(tool, links, shape, full))
        ours = self.result["rates"].get(shape.name, {}).get("wirehaul")
        if self.depth.search and ours and not ours["ndr_is_full_rate"]:
            self.disk_rate(shape)
        if shape.name in self.depth.burst_sizes:
            self.each("burst", lambda tool: tool.name in OPTIONAL or self.burst(tool, links, shape, full))
        self.costs(links, shape)

    # ---- trials ----

    def each(self, part, work):
        """Does WORK for each tool whose turn it is. One that fails has no turn any more, the others go on."""
        for tool in list(self.turn):
            try:
                work(tool)
            except FAILURES as error:
                self.failed(tool, part, error)

    def failed(self, tool, part, error):
        measure.note(f"{tool.name} failed ({part}): {error}")
        self.failures.append({"tool": tool.name, "part": part, "why": str(error)})
        self.turn = [other for other in self.turn if other is not tool]

    def trial(self, tool, links, load, **about):
        row = trial.run(self.bench, tool, links, load)
        self.rows.append({**row, **about})
        self.agree(tool, row)
        return row

    def agree(self, tool, row):
        """The tool's own counter against the truth."""
        told = self.agreement.setdefault(tool.name, {"trials": 0, "told": 0, "agree": 0, "largest_difference": None})
        told["trials"] += 1
        difference = row["own_difference"]
        if difference is not None:
            told["told"] += 1
            told["agree"] += difference == 0
            told["largest_difference"] = max(abs(difference), told["largest_difference"] or 0)

    def seconds(self, shape, rate):
        """How long a trial is to be so that a ring and the page cache cannot hold all of it; within what there is time
        for. Where the disk is not the limit, a shorter one tells as much."""
        least, most = self.depth.long
        return max(self.depth.trial, min(most, max(least, 1.2 * self.page_cache / (rate * shape.mean_bytes))))

    @staticmethod
    def load(shape, rate, full, seconds):
        """At 99 % of it and more there is no pacing: what the sender reaches differs by as much between trials."""
        return trial.Load(shape, None if rate >= 0.99 * full else rate, seconds)

    def paced(self, tool, links, load, **about):
        """A trial, done again where the sender missed its pace. What counts is in any case the rate it reached."""
        for _ in range(2):
            row = self.trial(tool, links, load, **about)
            if load.rate is None or abs(row["offered_pps"] / load.rate - 1) <= PACE_PERCENT / 100:
                break
        return row

    # ---- rates ----

    def source(self, links, shape):
        """The full rate of one sending core, while the reference captures (else whoever is there)."""
        tool = next((tool for tool in self.turn if tool.name == REFERENCE), self.turn[0])
        runs = []
        for number in range(self.depth.source_runs):
            with self.plan.step("source", f"{shape.name}: what one core sends, run {number + 1}"):
                runs.append(self.trial(tool, links, trial.Load(shape, None, self.depth.trial), part="source"))
        pps = statistics.median(row["offered_pps"] for row in runs)
        self.result["source"][shape.name] = {"pps": pps, "gbps": 8e-9 * pps * shape.mean_bytes,
                                             "mean_bytes": shape.mean_bytes, "method": "sendmmsg"}
        return pps

    def curve(self, tool, links, shape, full):
        points = []
        for percent in self.depth.percents:
            with self.plan.step("curve", f"{shape.name}: {tool.name} at {percent} %"):
                rate = full * percent / 100
                heavy = percent >= self.depth.heavy_percent and rate * shape.mean_bytes >= HEAVY_BYTES
                load = self.load(shape, rate, full, self.seconds(shape, rate) if heavy else self.depth.trial)
                row = self.paced(tool, links, load, part="curve", percent=percent)
                points.append({"percent": percent, "offered_pps": row["offered_pps"],
                               "offered_gbps": row["offered_gbps"], "loss_percent": row["loss_percent"],
                               "loss_low": row["loss_percent"], "loss_high": row["loss_percent"], "trials": 1})
        self.result["curves"].setdefault(shape.name, {})[tool.name] = points

    def search(self, tool, links, shape, full, limit, known):
        """The rate found, as the sender reached it in the trials that confirmed it (the least of them); whether it is
        all that one core sends; and the number of trials. KNOWN grows by them."""
        reached = {}

        def one(rate, long):
            seconds = self.seconds(shape, rate) if long else self.depth.trial
            what = f"{shape.name}: {tool.name}, at most {limit} % lost: {rate / 1000:,.0f} k/s"
            with self.plan.step("search", what):
                row = self.paced(tool, links, self.load(shape, rate, full, seconds), part="search", limit=limit)
            if long:
                reached.setdefault(rate, []).append(row["offered_pps"])
            known.append((rate, row["loss_percent"]))
            return row["loss_percent"]

        found = Search(one, full, limit, list(known), precision=self.depth.precision,
                       confirmations=self.confirmations, most_trials=self.depth.most_trials).run()
        if found.held is None:
            return None, False, found.trials
        return min(reached[found.held]), found.held == full, found.trials

    def rates(self, tool, links, shape, full):
        curve = self.result["curves"][shape.name][tool.name]
        known = [(full * point["percent"] / 100, point["loss_percent"]) for point in curve]
        found = {"ndr": [], "pdr": []}
        trials, lowest = 0, min(rate for rate, _ in known)
        searches = 1 if tool.name in OPTIONAL else self.searches
        for _ in range(searches):
            # A repeated search starts from the curve again, not from what the one before it came to.
            seen = list(known)
            ndr, pdr, count = self.both_rates(tool, links, shape, full, seen)
            found["ndr"].append(ndr)
            found["pdr"].append(pdr)
            trials += count
            lowest = min(lowest, *(rate for rate, _ in seen))
        self.plan.change("search", trials - searches * SEARCH_TRIALS if self.depth.search else 0)
        entry = {"trials": trials, "searches": len(found["ndr"]), "confirmations": self.confirmations,
                 "lowest_tried_pps": lowest}
        for name, values in found.items():
            middle, low, high = spread([rate for rate, _ in values])
            entry.update({f"{name}_pps": middle, f"{name}_low": low, f"{name}_high": high,
                          f"{name}_is_full_rate": all(is_full for _, is_full in values)})
        self.result["rates"].setdefault(shape.name, {})[tool.name] = entry

    def both_rates(self, tool, links, shape, full, known):
        """The highest rates without a loss, and with little, each with whether it is all that is sent; and how many
        trials they took. What loses nothing loses no more than that, too."""
        if not self.depth.search:
            points = self.result["curves"][shape.name][tool.name]
            return *(best_of_curve(points, limit) for limit in (0, PDR_PERCENT)), 0
        *ndr, count = self.search(tool, links, shape, full, 0, known)
        if ndr[1]:
            return ndr, ndr, count
        *pdr, more = self.search(tool, links, shape, full, PDR_PERCENT, known)
        if (pdr[0] or 0) < (ndr[0] or 0):
            pdr = ndr
        return ndr, pdr, count + more

    def burst(self, tool, links, shape, full):
        limit = int(2 * full)
        before = len(self.rows)

        def absorbed(frames):
            with self.plan.step("burst", f"{shape.name}: {tool.name}, {frames:,} frames back to back"):
                row = self.trial(tool, links, trial.Load(shape, None, None, frames), part="burst")
            return row["lost"] == 0

        # A tool that carries the full rate has shown already that it absorbs more than this.
        carries_all = self.result["rates"][shape.name][tool.name]["ndr_is_full_rate"]
        frames = limit if carries_all else longest_burst(absorbed, 1000, limit)
        self.plan.change("burst", len(self.rows) - before - BURST_TRIALS)
        self.result["bursts"].setdefault(shape.name, {})[tool.name] = {
            "frames": frames or 0, "bytes": int((frames or 0) * shape.mean_bytes), "low": frames or 0,
            "high": frames or 0, "is_limit": frames == limit}

    def disk_rate(self, shape):
        """What the disk takes, to be held against a rate that wirehaul did not reach."""
        if not disk.installed():
            return
        runs = []
        for number in range(DISK_RUNS):
            with self.plan.step("disk", f"{shape.name}: what the disk takes, run {number + 1}"):
                with rig.Scratch(self.bench.scratch) as scratch:
                    run = disk.fio_run(scratch.path, disk.SINGLE_BLOCKS, DISK_BYTES, cpus=self.bench.options.cpu)
                measure.settle(self.bench.scratch)
                runs.append(run["gb_per_second"])
        self.result["disk"][shape.name] = {"gb_per_second": statistics.median(runs), "low": min(runs),
                                           "high": max(runs), "runs": len(runs)}

    # ---- costs ----

    def cost_rate(self, shape):
        """A rate that all tools sustain; one that does not sustain even a low rate does not count."""
        lowest = [entry["ndr_pps"] or 0 for entry in self.result["rates"].get(shape.name, {}).values()]
        return min([COST_MOST, *(0.8 * rate for rate in lowest if rate >= COST_LEAST)])

    def costs(self, links, shape):
        load = trial.Load(shape, self.cost_rate(shape), self.depth.cost_seconds)
        rows = {}
        runs = self.depth.cost_runs.get(shape.name, 1)

        def one(tool):
            with self.plan.step("cost", f"{shape.name}: what {tool.name} costs, run {number + 1}"):
                rows.setdefault(tool.name, []).append(self.paced(tool, links, load, part="cost"))

        for number in range(runs):
            self.each("cost", one)
            self.turn.reverse()
        self.result["costs"][shape.name] = {"offered_pps": load.rate, "runs": runs,
                                            "tools": {name: cost_of(own) for name, own in rows.items()}}

    # ---- the rest ----

    def writing(self):
        self.turn = [tool for tool in self.turn if tool.writes != "nothing"]

    def latency(self):
        self.writing()
        shape = trial.Shape("1414")
        rate = 0.5 * min([COST_MOST, *(each["offered_pps"] for each in self.result["costs"].values())])

        def one(tool):
            readable, stops = [], []
            for number in range(self.depth.latency_runs):
                if readable != [None]:  # what never comes is not waited for again
                    with self.plan.step("latency", f"when a frame of {tool.name} can be read, run {number + 1}"):
                        readable.append(trial.readable_after(self.bench, tool, links))
                with self.plan.step("stop", f"how fast {tool.name} ends, run {number + 1}"):
                    stops.append(trial.stop_under_load(self.bench, tool, links, trial.Load(shape, rate, 3)))
            seen = [value for value in readable if value is not None]
            self.result["latency"][tool.name] = {
                "readable_seconds": statistics.median(seen) if seen else None,
                "readable_most": max(seen) if len(seen) == len(readable) else None,
                "stop_seconds": statistics.median(stops), "stop_most": max(stops), "runs": len(readable)}

        with trial.Links(1, shape.mtu) as links:
            self.each("latency", one)

    def adapters(self):
        self.writing()
        shape = trial.Shape("1414")
        source = self.result["source"].get(shape.name)
        load = trial.Load(shape, 0.6 * source["pps"] if source else COST_MOST, self.depth.cost_seconds)
        outcome = {}

        def one(tool):
            with self.plan.step("adapters", f"{tool.name} on {ADAPTERS} adapters"):
                outcome[tool.name] = trial.run_several(self.bench, tool, links, load)
            self.agree(tool, outcome[tool.name])

        with trial.Links(ADAPTERS, shape.mtu) as links:
            self.each("adapters", one)
        if outcome:
            reached = statistics.median(row["offered_pps"] for row in outcome.values())
            self.result["adapters"] = {"count": ADAPTERS, "offered_pps_each": reached / ADAPTERS, "tools": outcome}

    def slow_disk(self):
        self.writing()
        shape = trial.Shape("1414")
        load = trial.Load(shape, SLOW_DISK_RATE, 6)
        outcome = {}

        def one(tool):
            with self.plan.step("slow disk", f"{tool.name} on a slow disk"):
                outcome[tool.name] = trial.run_slow_disk(self.bench, tool, links, load, SLOW_DISK, SLOW_DISK_MEMORY)
            self.agree(tool, outcome[tool.name])

        with trial.Links(1, shape.mtu) as links:
            self.each("slow disk", one)
        if outcome:
            self.result["slow_disk"] = {"limit_mb_per_second": SLOW_DISK / 1e6, "memory_mib": SLOW_DISK_MEMORY >> 20,
                                        "offered_pps": load.rate, "tools": outcome}


def best_of_curve(points, limit):
    """The highest rate of those tried below the first at which more than LIMIT percent were lost, and whether it is the
    last of them."""
    best = None
    for point in points:
        if point["loss_percent"] > limit:
            return best, False
        best = point["offered_pps"]
    return best, True


def cost_of(rows):
    """Medians of what a tool's runs took, for what they captured; its start is left out, which is told apart."""
    def own(row):
        return row["cpu_seconds"] - row["startup_seconds"]

    def everything(row):
        return own(row) + row["other_cpu_seconds"]

    def middle(value):
        return statistics.median(value(row) for row in rows)

    def gigabytes(row):
        return 1e-9 * row["sent_bytes"] * row["found"] / row["sent"]

    rows = [row for row in rows if row["found"]]
    if not rows:
        return {}
    captured = [row["bytes_on_disk"] / row["captured_bytes"] for row in rows if row["captured_bytes"]]
    per_gb = [own(row) / gigabytes(row) for row in rows]
    return {
        "lost": max(row["lost"] for row in rows), "startup_seconds": middle(lambda row: row["startup_seconds"]),
        "cpu_per_million": middle(lambda row: 1e6 * own(row) / row["found"]),
        "cpu_per_gb": statistics.median(per_gb), "cpu_low": min(per_gb), "cpu_high": max(per_gb),
        "all_per_million": middle(lambda row: 1e6 * everything(row) / row["found"]),
        "all_per_gb": middle(lambda row: everything(row) / gigabytes(row)),
        "switches_per_million": middle(lambda row: 1e6 * row["switches"] / row["found"]),
        "switches_per_gb": middle(lambda row: row["switches"] / gigabytes(row)),
        "peak_rss_mib": middle(lambda row: row["peak_rss_kib"] / 1024),
        "disk_per_captured": statistics.median(captured) if captured else None,
    }


def expected(depth, tools, sizes):
    """Steps of each kind, as far as one can know before, and the seconds that one takes."""
    writing = sum(tool.writes != "nothing" for tool in tools)
    steps = {"source": depth.source_runs * len(sizes), "curve": 0, "search": 0, "cost": 0, "burst": 0,
             "latency": writing * depth.latency_runs, "stop": writing * depth.latency_runs,
             "adapters": writing if depth.adapters else 0, "slow disk": writing if depth.slow_disk else 0}
    for size in sizes:
        here = [tool for tool in tools if takes_part(tool, size, sizes, depth)]
        main = sum(tool.name not in OPTIONAL for tool in here)
        steps["curve"] += len(here) * len(depth.percents)
        if depth.search:
            steps["search"] += (len(here) + main * (depth.repeats.get(size, 1) - 1)) * SEARCH_TRIALS
        steps["cost"] += len(here) * depth.cost_runs.get(size, 1)
        steps["burst"] += main * BURST_TRIALS if size in depth.burst_sizes else 0
    guesses = {"search": 3 + 0.5 * (depth.trial + max(depth.long)), "curve": 6 + depth.trial,
               "source": 3 + depth.trial, "cost": 3 + depth.cost_seconds, "adapters": 4 + depth.cost_seconds,
               "slow disk": 20}
    return steps, guesses
