#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The dropped-frames benchmark: its searches find what is there, its quick run comes to a result whose counters agree
with the truth, and nothing of it is left when it is killed. Nothing here looks at how fast anything is."""

import contextlib
import io
import json
import os
import random
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
BENCH = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "bench"))
sys.path.insert(1, BENCH)
sys.dont_write_bytecode = True
import case  # noqa: E402
import rig  # noqa: E402
from plan import Plan, duration  # noqa: E402
from search import Search, longest_burst, spread  # noqa: E402

FULL = 1000000


SLOW_DISK = """
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import measure, parts, tools
from plan import Plan
options = measure.options_of(measure.parser(""), ["--bin", sys.argv[2], "--scratch", sys.argv[3]])
options.cpu, options.sender_cpu = "0", 1
with measure.Bench(options) as bench:
    parts.Parts(bench, parts.FULL, [tools.Wirehaul(bench)], ["1414"], Plan({})).slow_disk()
"""


# The interrupt comes while an object is destroyed, whence Python lets no exception out.
DESTROYED = """
import os, signal, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import rig
class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
rig.install()
try:
    Last()
    while True:
        signal.pause()
except rig.Interrupted:
    print("in order")
"""


class Capacity:
    """A tool that carries so many frames a second and whose ring absorbs so many more; trials are 1 or 10 s long."""

    def __init__(self, carries, ring=0, chance=0.0, seed=1):
        self.carries, self.ring, self.chance = carries, ring, chance
        self.random = random.Random(seed)
        self.asked = []

    def __call__(self, rate, long):
        seconds = 10 if long else 1
        self.asked.append((rate, long))
        sent = rate * seconds
        lost = max(0, sent - self.carries * seconds - self.ring)
        if self.random.random() < self.chance:
            lost += 1
        return 100 * lost / sent


class SearchTest(unittest.TestCase):
    def test_finds_the_border(self):
        for carries in (30000, 123456, 500000, 970000):
            tool = Capacity(carries)
            found = Search(tool, FULL, 0, precision=0.03).run()
            self.assertLessEqual(found.held, carries)
            self.assertGreater(found.held, carries / 1.07)
            self.assertEqual(found.trials, len(tool.asked))
            self.assertLessEqual(found.broke / found.held, 1.07)

    def test_all_that_is_sent(self):
        tool = Capacity(2 * FULL)
        found = Search(tool, FULL, 0, confirmations=3).run()
        self.assertEqual((found.held, found.broke, found.trials), (FULL, None, 3))
        self.assertEqual(tool.asked, [(FULL, True)] * 3)

    def test_a_full_ring_proves_nothing(self):
        # A short trial at full speed loses nothing: all of it fits into the ring.
        tool = Capacity(400000, ring=700000)
        found = Search(tool, FULL, 0, [(FULL, 0.0)], most_trials=60).run()
        self.assertLessEqual(found.held, 400000 + 700000 / 10)
        self.assertGreater(found.held, 400000)

    def test_known_trials_are_used(self):
        tool = Capacity(350000)
        known = [(100000, 0.0), (300000, 0.0), (400000, 12.5), (600000, 41.7)]
        found = Search(tool, FULL, 0, known, precision=0.03).run()
        self.assertTrue(all(300000 <= rate <= 400000 for rate, _ in tool.asked), tool.asked)
        self.assertLessEqual(found.held, 350000)

    def test_luck_above_a_loss_is_not_believed(self):
        tool = Capacity(350000)
        found = Search(tool, FULL, 0, [(300000, 0.0), (400000, 12.5), (600000, 0.0)]).run()
        self.assertLessEqual(found.held, 350000)

    def test_one_accident_bounds_nothing(self):
        """Neither in the curve, nor when a rate is confirmed."""
        for accident in range(4):
            carries = Capacity(2 * FULL)
            trials = []

            def tool(rate, long, accident=accident, carries=carries, trials=trials):
                trials.append(rate)
                return 1.0 if len(trials) == accident else carries(rate, long)

            found = Search(tool, FULL, 0, [(FULL, 0.5 if accident == 0 else 0.0)], confirmations=3).run()
            self.assertEqual((found.held, found.trials), (FULL, 4))

    def test_partial_drop_rate_is_higher(self):
        strict = Search(Capacity(500000), FULL, 0).run()
        lenient = Search(Capacity(500000), FULL, 5.0).run()
        self.assertGreater(lenient.held, strict.held)
        self.assertLessEqual(lenient.held, 500000 / 0.95)

    def test_not_even_the_lowest(self):
        found = Search(Capacity(10), FULL, 0, lowest=10000).run()
        self.assertIsNone(found.held)

    def test_ends_where_loss_has_nothing_to_do_with_the_rate(self):
        found = Search(Capacity(2 * FULL, chance=0.7), FULL, 0, most_trials=20).run()
        self.assertLessEqual(found.trials, 24)


class BurstTest(unittest.TestCase):
    def test_border(self):
        for holds in (1500, 44000, 999999):
            found = longest_burst(lambda frames, holds=holds: frames <= holds, 1000, FULL)
            self.assertLessEqual(found, holds)
            self.assertGreater(found, holds / 1.15)

    def test_limit_and_nothing(self):
        self.assertEqual(longest_burst(lambda frames: True, 1000, FULL), FULL)
        self.assertIsNone(longest_burst(lambda frames: False, 1000, FULL))


class PlanTest(unittest.TestCase):
    def test_forecast(self):
        now = [0.0]
        plan = Plan({"a": 10, "b": 2}, {"a": 5, "b": 30}, limit=100, to=io.StringIO(), clock=lambda: now[0])
        self.assertEqual(plan.left(), 110)
        self.assertTrue(plan.late())
        for _ in range(10):
            with plan.step("a", "one"):
                now[0] += 2
        self.assertEqual(plan.left(), 60)
        self.assertFalse(plan.late())
        plan.change("b", -2)
        self.assertEqual(plan.left(), 0)

    def test_words(self):
        said = io.StringIO()
        plan = Plan({"a": 2}, {"a": 60}, to=said, clock=lambda: 0.0)
        with plan.step("a", "what is done"):
            pass
        self.assertRegex(said.getvalue(), r"^\[\.+\]\s+0 %, 2 min left: what is done\n$")
        self.assertEqual(duration(12.4), "12 s")

    def test_spread(self):
        self.assertEqual(spread([3, 1, 2]), (2, 1, 3))
        self.assertEqual(spread([None, None, 5]), (None, 0, 5))


class DropsTest(case.Case):
    def drops(self, *options):
        command = [os.path.join(BENCH, "drops"), "--bin", self.options.bin, "--scratch", self.scratch, *options]
        return self.enterContext(rig.Process(command, stdout=-3))

    def assertNothingLeft(self, process, seconds=120):
        """Neither a namespace nor a cgroup, directory or process that carries its number."""
        mark = f"{rig.PREFIX}{process.pid}-"

        def left():
            found = [line for line in rig.run("ip", "netns", "list").stdout.splitlines() if line.startswith(mark)]
            for controller in ("", "cpuacct", "blkio", "memory"):
                with contextlib.suppress(OSError):
                    found += [name for name in os.listdir(os.path.join("/sys/fs/cgroup", controller))
                              if name.startswith(mark)]
            for parent in (self.scratch,):
                with contextlib.suppress(OSError):
                    found += [name for name in os.listdir(parent) if name.startswith(mark)]
            with open("/proc/self/mounts", encoding="utf-8") as mounts:
                found += [line for line in mounts if mark in line]
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                    if mark.encode() in file.read():
                        found.append(pid)
            return found

        rig.wait_for(lambda: not left(), seconds, f"nothing of {mark} is left")

    def test_quick_run(self):
        rig.need("tcpdump")
        result_path = os.path.join(self.scratch, "result.json")
        page_path = os.path.join(self.scratch, "page.html")
        process = self.drops("--quick", "--json", result_path, "--html", page_path)
        process.wait(600 * self.options.slow)
        with open(result_path, encoding="utf-8") as file:
            result = json.load(file)
        self.assertIn("</html>", open(page_path, encoding="utf-8").read())
        self.assertEqual((result["format"], result["mode"], result["sizes"]), (1, "quick", ["1414"]))
        self.assertNothingLeft(process)

        for name in ("wirehaul", "tcpdump"):
            self.assertEqual([point["percent"] for point in result["curves"]["1414"][name]], [25, 50, 75, 100])
            self.assertGreater(result["costs"]["1414"]["tools"][name]["cpu_per_gb"], 0)
            self.assertIn("ndr_pps", result["rates"]["1414"][name])
        self.assertGreater(result["source"]["1414"]["pps"], 1000)
        ours = [row for row in result["trials"] if row["tool"] == "wirehaul"]
        self.assertGreaterEqual(len(ours), 5)
        for row in ours:
            self.assertEqual(row["sent"], row["found"] + row["lost"])
            self.assertEqual(row["own_difference"], 0, row)
            self.assertEqual((row["duplicated"], row["reordered"], row["corrupt"]), (0, 0, 0), row)
        agreement = result["agreement"]["wirehaul"]
        self.assertEqual((agreement["told"], agreement["agree"]), (len(ours), len(ours)))

    def test_killed_with_a_slow_disk(self):
        """That part alone makes file systems, loop devices and limits."""
        if not os.path.exists("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device"):
            self.skipTest("there is no blkio controller of cgroup v1")
        tools = [BENCH, self.options.bin, self.scratch]
        for number in (signal.SIGKILL, signal.SIGINT):
            process = self.enterContext(rig.Process([sys.executable, "-c", SLOW_DISK, *tools], stdout=-3))
            mark = f"{rig.PREFIX}{process.pid}-"
            rig.wait_for(lambda: self.limited(mark) or not process.running(), 60, "there is a limit")
            self.assertTrue(process.running(), process.stderr())
            time.sleep(random.uniform(0, 3))  # wherever it is then
            process.kill(number)
            process.wait(120)
            self.assertNothingLeft(process)
            # The kernel takes a loop device back when the last page of its file system is written.
            rig.wait_for(lambda: mark not in rig.run("losetup", "--list", "--output", "BACK-FILE").stdout, 120,
                         "the loop device has gone")

    def limited(self, mark):
        parents = [path for path in ("/sys/fs/cgroup/blkio", "/sys/fs/cgroup") if os.path.isdir(path)]
        return any(name.startswith(mark) and "-limit-" in name for path in parents for name in os.listdir(path))

    def test_diagnosis_killed(self):
        for number in (signal.SIGKILL, signal.SIGINT):
            process = self.drops("--diagnose", "--seconds", "2")
            mark = f"{rig.PREFIX}{process.pid}-"
            rig.wait_for(lambda: self.made(mark) >= 2 or not process.running(), 60, "it has begun")
            self.assertTrue(process.running(), process.stderr())
            time.sleep(random.uniform(0, 3))
            process.kill(number)
            process.wait(120)
            self.assertNothingLeft(process)

    def test_killed(self):
        for number in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
            process = self.drops("--quick", "--seconds", "5")
            mark = f"{rig.PREFIX}{process.pid}-"
            wanted = random.choice((2, 3, 4))  # namespaces and capturing programs by then
            rig.wait_for(lambda: self.made(mark) >= wanted or not process.running(), 60, "it has begun")
            self.assertTrue(process.running(), process.stderr())  # else there is nothing left to be killed
            process.kill(number)
            process.wait(120)
            self.assertNothingLeft(process)

    def test_no_interrupt_is_lost(self):
        done = rig.run(sys.executable, "-c", DESTROYED, os.path.dirname(rig.__file__), timeout=30)
        self.assertEqual((done.stdout, done.stderr), ("in order\n", ""))

    def made(self, mark):
        spaces = sum(line.startswith(mark) for line in rig.run("ip", "netns", "list").stdout.splitlines())
        # Where measure.CpuGroup makes its groups.
        parent = "/sys/fs/cgroup/cpuacct" if os.path.isdir("/sys/fs/cgroup/cpuacct") else "/sys/fs/cgroup"
        groups = [name for name in os.listdir(parent) if name.startswith(mark)]
        return spaces + 2 * len(groups)

    def test_bad_options(self):
        for options, words in ((["--tools", "nonsense"], "no such tool: nonsense"),
                               (["--sizes", "59"], "no such size: 59"),
                               (["--quick", "--full"], "not allowed with"),
                               (["--json", os.path.join(self.scratch, "no", "where.json")], "no such directory")):
            process = self.drops(*options)
            self.assertEqual(process.wait(30), 2, process.stderr())
            self.assertIn(words, process.stderr().splitlines()[-1])


if __name__ == "__main__":
    case.main()
