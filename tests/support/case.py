# SPDX-License-Identifier: BSD-3-Clause
"""The frame of an integration test: its command line, its test case, and the assertions that several tests share."""

import argparse
import concurrent.futures
import os
import re
import shutil
import sys
import unittest

import rig
from capture import Blast, Capture, count

FRAMES = 1000000
FILE_LIMIT = 100000000  # what -C is without being told
SKIPPED = 77


class Case(unittest.TestCase):
    """A test with a scratch directory and the programs under test. Set by main(): options."""

    options = None

    def setUp(self):
        # Whatever a constructor that failed has left half made.
        self.addCleanup(rig.close_all, rig.opened())
        self.scratch = self.enterContext(rig.Scratch(self.options.scratch)).path
        self.wirehaul = self.tool("wirehaul")

    def tool(self, name):
        return os.path.join(self.options.bin, name)

    def instrument(self, name):
        """wh-blast or wh-count: those of another build where the tests were told of one and it is there."""
        other = os.path.join(self.options.instruments or "", name)
        return other if self.options.instruments and os.access(other, os.X_OK) else self.tool(name)

    def frames(self, share=1.0):
        """How many frames a test that would send SHARE of the full number sends here."""
        return max(1000, int(self.options.frames * share))

    def full_size(self):
        """Whether this run is large enough for claims that hold of large runs only."""
        return self.options.frames >= FRAMES

    def pair(self, **options):
        return self.enterContext(rig.Pair(**options))

    def capture(self, *args, **options):
        return self.enterContext(Capture(self, *args, **options))

    def blast(self, *args, **options):
        return self.enterContext(Blast(self, *args, **options))

    def count(self, files, **options):
        return count(self, files, **options)

    def rate(self, size, wanted=0):
        """A keyword for blast(): the rate at which frames of SIZE bytes can go to this disk. Nothing: full speed.

        While they are captured, a core sends at most about 600,000 frames or 2.5 GB a second. Where the disk takes
        less, frames must be lost, by any tool, and the sender is held to half of what the disk did when it was
        measured, for it has to keep that up for long.
        """
        rates = [rate for rate in (wanted, self.options.rate) if rate]
        if self.is_too_fast(size):
            rates.append(int(rig.disk_rate(self.scratch) / 2 / size))
        return {"rate": min(rates)} if rates else {}

    def is_too_fast(self, size):
        """Whether a core sends frames of SIZE bytes faster than this disk takes them."""
        return rig.disk_rate(self.scratch) < min(600000 * size, 2.5e9)

    def assertNumbers(self, counted, **expected):
        """Compares fields of what count() found, all at once, and shows all of it when one differs."""
        found = {name: counted[name] for name in expected}
        if found != expected:
            shown = {name: value for name, value in counted.items() if name != "each"}
            broken = [each for each in counted["each"] if each["state"] != "whole" or each["libpcap_error"]]
            self.fail(f"expected {expected},\nfound {found},\nin {shown},\nbroken: {broken}")

    def assertSound(self, counted):
        """Every file is whole, both readers agree on it, the chunks' heads agree with what is in them."""
        self.assertNumbers(counted, whole=counted["files"], truncated=0, damaged=0, zero_tail=0, corrupt=0,
                           libpcap_differs=0, chunk_errors=0, chunk_gaps=0)
        if counted["chunks"]:
            self.assertNumbers(counted, outside_chunks=0, chunk_frames=counted["frames"], sessions=1)
        self.assertLibpcapReads(counted)

    def assertLibpcapReads(self, counted):
        """libpcap found every frame of every file; but of one with several link types, which it refuses.

        Of a file that was cut off, it finds those as well that lie in the chunk which is not complete.
        """
        for each in counted["each"]:
            if len({interface["linktype"] for interface in each["interfaces"]}) > 1:
                continue
            if each["state"] == "whole":
                self.assertEqual(each["libpcap_frames"], each["frames"], each)
            else:
                self.assertGreaterEqual(each["libpcap_frames"], each["frames"], each)

    def assertComplete(self, counted, sent, ordered=True):
        """Each of the numbers 1 to SENT is there once, in order, and nothing else is."""
        self.assertSound(counted)
        self.assertNumbers(counted, frames=sent, ours=sent, distinct=sent, first=1, last=sent, missing=0, duplicated=0,
                           other=0, outside=0, libpcap_frames=sent, dropcount=0, chunk_lost=0)
        if ordered:
            self.assertNumbers(counted, reordered=0, back_in_time=0)

    def assertStopped(self, outcome, reason="signal", status=0):
        self.assertEqual(outcome.status, status, outcome.stderr)
        self.assertEqual(outcome.stats["state"], "stopped")
        self.assertEqual(outcome.stats["stop_reason"], reason)

    def assertBooks(self, outcome, counted):
        """The statistics add up, and say of the files what is in them."""
        stats = outcome.stats
        for each in stats["interfaces"]:
            self.assertEqual(each["received"], each["written"] + each["dropped"], each)
        for total, part in (("frames_received", "received"), ("frames_written", "written"),
                            ("frames_dropped", "dropped")):
            self.assertEqual(stats[total], sum(each[part] for each in stats["interfaces"]), total)
        self.assertEqual(stats["frames_written"], counted["frames"])
        self.assertEqual(stats["bytes_captured"], counted["captured_bytes"])
        self.assertEqual(stats["bytes_on_disk"], counted["bytes"])
        self.assertEqual(stats["files"], counted["files"])
        if counted["chunks"]:
            dropped = stats["frames_dropped"]
            self.assertNumbers(counted, dropcount=dropped, chunk_lost=dropped)
            self.assertStatisticsBlocks(stats, counted["each"][-1])

    def assertStatisticsBlocks(self, stats, last_file):
        """The Interface Statistics Blocks of the last file say what the statistics say."""
        wanted = {each["name"]: each for each in stats["interfaces"]}
        for each in last_file["interfaces"]:
            self.assertTrue(each["statistics"], each)
            found = wanted[each["name"]]
            self.assertEqual(
                (each["ifrecv"], each["osdrop"], each["usrdeliv"]),
                (found["received"], found["dropped"], found["written"]),
            )

    def assertOpens(self, files, tools=("tcpdump", "tshark", "capinfos"), counted=None):
        """Each file alone is read by TOOLS without an error or a warning, and those that count find all of its frames.

        COUNTED is what count() finds in the files, where that is known already. Scaled, tshark is left out, which takes
        longer than all the rest: what a sanitizer looks at is not what it says.
        """
        if not self.full_size():
            tools = [tool for tool in tools if tool != "tshark"]
        commands = {
            "tcpdump": ["tcpdump", "--count", "-r"],
            "tshark": ["tshark", "-n", "-q", "-z", "io,stat,0", "-r"],
            "capinfos": ["capinfos", "-M"],
        }
        told = {"tcpdump": r"^(\d+) packets?$", "capinfos": r"^Number of packets:\s+(\d+)$"}
        for tool in tools:
            self.assertIsNotNone(shutil.which(tool), f"{tool} is not installed")
        frames = {each["file"]: each["frames"] for each in (counted or self.count(files))["each"]}
        jobs = [(tool, path) for tool in tools for path in files]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            runs = pool.map(lambda job: rig.run(*commands[job[0]], job[1], check=False), jobs)
            for (tool, path), done in zip(jobs, runs):
                said = [line for line in done.stderr.splitlines() if not self._is_greeting(line, path)]
                self.assertEqual((done.returncode, said), (0, []), f"{tool} {path}")
                if tool in told:
                    found = re.findall(told[tool], done.stdout, re.MULTILINE)
                    self.assertEqual(found, [str(frames[path])], f"{tool} {path}: {done.stdout}")

    @staticmethod
    def _is_greeting(line, path):
        return line.startswith((f"reading from file {path}, link-type", "Running as user "))


def _parse(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, help="directory of wirehaul, wh-blast and wh-count")
    parser.add_argument("--instruments", help="directory to take wh-blast and wh-count from instead, if they are there")
    parser.add_argument("--frames", type=int, default=FRAMES, help="frames in the largest runs (%(default)s)")
    parser.add_argument("--rate", type=int, default=0, help="never send faster than this, in frames a second")
    parser.add_argument("--slow", type=float, default=1, help="what time limits are multiplied by (%(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="how often test_crash kills (%(default)s)")
    parser.add_argument("--scratch", help="where to make test directories (TMPDIR, or beside the programs)")
    parser.add_argument("tests", nargs="*", help="names of tests or test classes; all without")
    options = parser.parse_args(arguments)
    options.bin = os.path.abspath(options.bin)
    if options.scratch is None:
        options.scratch = rig.default_scratch(options.bin)
    return options


def main(module="__main__"):
    """Runs the tests of MODULE. Exits 0, 1, or 77 when everything was skipped, with the reasons printed."""
    options = _parse(sys.argv[1:])
    Case.options = options
    if os.geteuid() != 0:
        print("skipped: this test makes network namespaces, for which it must be root")
        sys.exit(SKIPPED)
    for name in ("wirehaul", "wh-blast", "wh-count"):
        if not os.access(os.path.join(options.bin, name), os.X_OK):
            sys.exit(f"there is no {name} in {options.bin}")
    rig.install()
    rig.sweep(options.scratch)
    loader = unittest.defaultTestLoader
    found = sys.modules[module]
    suite = loader.loadTestsFromNames(options.tests, found) if options.tests else loader.loadTestsFromModule(found)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    rig.close_all()
    if result.skipped and len(result.skipped) == result.testsRun and result.wasSuccessful():
        for test, reason in result.skipped:
            print(f"skipped: {test}: {reason}")
        sys.exit(SKIPPED)
    sys.exit(0 if result.wasSuccessful() else 1)
