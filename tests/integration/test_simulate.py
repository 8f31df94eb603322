# SPDX-License-Identifier: BSD-3-Clause
"""The simulations: without a disk nothing is made or written anywhere, without adapters nothing of it stays."""

import contextlib
import glob
import os
import pwd
import re
import signal
import stat
import struct
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig
from capture import Capture

SIZE = 1414
NOBODY = "nobody"

# Command lines that contradict themselves, and words that the one line about it must hold.
CONTRADICTIONS = [
    (["--simulate", "no-such-part", "-i", "{up}", "-w", "{out}"], ["no-such-part", "no-disk", "no-nic"]),
    (["--simulate", "no-nic:0", "-w", "{out}"], ["14", "65535"]),
    (["--simulate", "no-nic:65536", "-w", "{out}"], ["14", "65535"]),
    (["--simulate", "no-disk:60", "-i", "{up}"], ["no-disk"]),
    (["--simulate", "-w", "{out}"], ["--simulate"]),
    (["--simulate", "no-nic"], ["-w"]),
    (["--simulate", "no-nic", "-w", "-"], ["-w"]),
    (["--simulate", "no-nic", "-w", "{out}", "-i", "{up}"], ["-i"]),
    (["--simulate", "no-nic", "-w", "{out}", "-i", "any"], ["-i"]),
    (["--simulate", "no-nic", "-w", "{out}", "-r", "{file}"], ["-r"]),
    (["--simulate", "no-nic", "-w", "{out}", "-F", "{file}"], ["-F"]),
    (["--simulate", "no-nic", "-w", "{out}", "-Q", "in"], ["-Q"]),
    (["--simulate", "no-nic", "-w", "{out}", "-p"], ["-p"]),
    (["--simulate", "no-nic", "-w", "{out}", "--fanout", "2"], ["--fanout"]),
    (["--simulate", "no-nic", "-w", "{out}", "--per-interface"], ["--per-interface"]),
    (["--simulate", "no-nic", "-w", "{out}", "tcp"], ["filter"]),
    (["--simulate", "no-nic", "-w", "{out}", "-z", "touch {file}2"], ["-z"]),
    (["--simulate", "no-nic", "-w", "{file}/trace.pcapng"], ["{file}"]),
    (["--simulate", "no-nic", "-w", "{out}", "--cpus", "4095"], ["cpu"]),
    (["--simulate", "no-disk"], ["-i"]),
    (["--simulate", "no-disk", "-w", "{out}"], ["-i"]),
    (["--simulate", "no-disk", "-i", "{up}", "-w", "-"], ["-w -"]),
    (["--simulate", "no-disk", "-i", "{up}", "-z", "touch {file}2"], ["-z"]),
    (["--simulate", "no-disk", "-i", "{up}", "--direct-io", "on"], ["--direct-io"]),
    (["--simulate", "no-disk", "-i", "{up}", "--on-low-space", "recycle"], ["--on-low-space"]),
    (["--simulate", "no-disk", "-i", "no-such-nic"], ["no-such-nic"]),
    (["--simulate", "no-disk", "-i", "{up}", "tcp prot 80"], ["syntax error"]),
    (["-D", "--simulate", "no-disk"], ["-D"]),
]


class Simulation(Capture):
    """A wirehaul process that simulates; nothing is said in OPTIONS for it."""

    def __init__(self, test, *options, namespace=None, directory=None, prefix=(), wait=True):
        # What the class does with a process is the same, but the options of one that captures are not wanted here.
        self.case = test
        self.directory = directory
        self.stats_path = os.path.join(test.scratch, rig.unique("-stats.json"))
        args = [*prefix, test.wirehaul, "--stats-file", self.stats_path, *options]
        rig.Process.__init__(self, args, namespace)
        try:
            if wait:
                self.wait_running()
        except BaseException:
            self.close()
            raise

    def files(self):
        return super().files() if self.directory else []


class Simulate(case.Case):
    def simulation(self, *options, **more):
        return self.enterContext(Simulation(self, *options, **more))

    def inventory(self, directory=None):
        """Everything there is, and how large, but for statistics and the senders' progress."""
        found = Path(directory or self.scratch).rglob("*")
        return sorted((str(path), path.lstat().st_size) for path in found
                      if not re.search("-stats|-progress", path.name))

    def assertBalanced(self, stats, simulate):
        self.assertEqual(stats["simulate"], simulate)
        self.assertEqual(stats["frames_received"], stats["frames_written"] + stats["frames_dropped"])
        for each in stats["interfaces"]:
            self.assertEqual(each["received"], each["written"] + each["dropped"], each)
        self.assertGreater(stats["cpu_seconds"], 0)

    def assertSaid(self, outcome, word):
        """The summary tells that it was a simulation, of what, and what it measured."""
        self.assertRegex(outcome.stderr, rf"(?i)simulation.*{word}")
        self.assertRegex(outcome.stderr, r"(?m)^[\d,]+ frames/s, [\d.]+ GB/s, [\d.]+ CPU seconds per GB, \d+ dropped$")


class Contradictions(Simulate):
    def refused(self, net, arguments, words, places):
        arguments = [text.format(**places) for text in arguments]
        before = self.inventory()
        done = net.right.run(self.wirehaul, *arguments, check=False, timeout=20 * self.options.slow, cwd=self.scratch)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertEqual(self.inventory(), before, "something was created")
        for word in words:
            self.assertIn(word.format(**places).lower(), done.stderr.lower())

    def test_contradictions(self):
        net = self.pair()
        Path(self.scratch, "file").write_text("tcp\n", encoding="ascii")
        places = {"up": net.RIGHT, "out": os.path.join(self.scratch, "t.pcapng"),
                  "file": os.path.join(self.scratch, "file")}
        for arguments, words in CONTRADICTIONS:
            with self.subTest(arguments=" ".join(arguments)):
                self.refused(net, arguments, words, places)


class NoDisk(Simulate):
    def setUp(self):
        super().setUp()
        self.net = self.pair()
        self.output = os.path.join(self.scratch, "out")
        os.mkdir(self.output)

    def start(self, *options):
        return self.simulation("--simulate", "no-disk", "-i", self.net.RIGHT, *options, namespace=self.net.right)

    def send(self, count, **options):
        rate = min(150000, self.options.rate or 150000)
        return self.blast(self.net.left, self.net.LEFT, count=count, size=SIZE, rate=rate, **options)

    @staticmethod
    def files_for_writing(capture):
        """Ordinary files that the process may write, but for what it was started with and its statistics."""
        found = []
        for link in Path(f"/proc/{capture.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                info = Path(f"/proc/{capture.pid}/fdinfo/{link.name}").read_text(encoding="ascii")
                flags = int(re.search(r"flags:\s+(\d+)", info).group(1), 8)
                writes = flags & os.O_ACCMODE != os.O_RDONLY and not flags & os.O_PATH
                name = os.readlink(link)
                if int(link.name) > 2 and writes and stat.S_ISREG(link.stat().st_mode) and "stats" not in name:
                    found.append(name)
        return found

    def watched(self, capture, blast, frames):
        """Looks at what CAPTURE has open while BLAST sends FRAMES or more, several times at least; returns how many."""
        looks = 0
        while looks < 5 or blast.sent() < frames:
            self.assertEqual(self.files_for_writing(capture), [])
            looks += 1
            time.sleep(0.02)
        return blast.stop()["sent"]

    @staticmethod
    def bytes_written(capture):
        text = Path(f"/proc/{capture.pid}/io").read_text(encoding="ascii")
        return int(re.search(r"^write_bytes: (\d+)", text, re.MULTILINE).group(1))

    def test_every_frame_is_counted_and_none_written(self):
        frames = self.frames(0.2)
        capture = self.start("-w", os.path.join(self.output, "trace.pcapng"), "-C", "5", "-W", "3")
        before = self.inventory()
        frames = self.watched(capture, self.send(100000000), frames)
        capture.kill(signal.SIGHUP)  # a new file, of those that are not there
        capture.wait_written(frames)
        self.assertEqual(self.inventory(), before)
        self.assertLess(self.bytes_written(capture), 1 << 20)
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertBalanced(outcome.stats, "no-disk")
        self.assertEqual(outcome.stats["frames_written"], frames)
        self.assertEqual(outcome.stats["bytes_captured"], frames * SIZE)
        self.assertGreater(outcome.stats["bytes_on_disk"], frames * SIZE)
        self.assertGreater(outcome.stats["files"], frames * SIZE // 5000000)
        self.assertEqual(outcome.stats["current_file"], "")
        self.assertIsNone(outcome.stats["free_percent"])
        self.assertEqual(os.listdir(self.output), [])
        self.assertSaid(outcome, "nothing was written")
        self.assertNotIn("slowest write", outcome.stderr)

    def test_drops(self):
        """What the ring had no room for is not blamed on a disk."""
        capture = self.start("-B", "1024", "-v")
        capture.kill(signal.SIGSTOP)
        self.send(self.frames(0.02)).result()
        # A disk that took so long over a write would be a slow one.
        time.sleep(0.3)
        capture.kill(signal.SIGCONT)
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertBalanced(outcome.stats, "no-disk")
        self.assertGreater(outcome.stats["frames_dropped"], 0)
        self.assertRegex(outcome.stderr, r"would NOT be in the files; there was no disk to wait for: .*--cpus")

    def test_without_an_output(self):
        """A limit ends it as ever."""
        before = self.inventory()
        frames = self.frames(0.01)
        capture = self.start("-c", str(frames))
        self.send(2 * frames).result()
        outcome = capture.outcome()
        self.assertStopped(outcome, "count")
        self.assertBalanced(outcome.stats, "no-disk")
        self.assertEqual(outcome.stats["frames_written"], frames)
        self.assertEqual(self.inventory(), before)

    def test_filter_and_duration(self):
        capture = self.start("-a", "duration:1", "greater 2000")
        self.send(self.frames(0.01)).result()
        outcome = capture.outcome()
        self.assertStopped(outcome, "duration")
        self.assertEqual(outcome.stats["frames_received"], 0)

    def test_a_place_that_is_not_there(self):
        """-w names the files and nothing is looked for where they would be; a replay needs no disk either."""
        nowhere = os.path.join(self.scratch, "nowhere", "trace.pcap")
        outcome = self.start("-w", nowhere, "-a", "duration:1").outcome()
        self.assertStopped(outcome, "duration")
        source = os.path.join(self.scratch, "in.pcap")
        record = struct.pack("<IIII", 1, 0, 60, 60) + bytes(60)
        Path(source).write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1) + 1000 * record)
        stats = os.path.join(self.scratch, "replay-stats.json")
        rig.run(self.wirehaul, "--simulate", "no-disk", "-r", source, "-w", nowhere, "--stats-file", stats)
        self.assertIn('"frames_written": 1000', Path(stats).read_text(encoding="utf-8"))
        self.assertFalse(os.path.exists(os.path.dirname(nowhere)))


class NoNic(Simulate):
    def setUp(self):
        super().setUp()
        self.user = pwd.getpwnam(NOBODY)

    def go_public(self):
        """From here on in a directory that every user may reach, where the program is as well, with another's file in
        the place of the output."""
        rig.need("setpriv")
        public = self.enterContext(rig.Public(self.wirehaul))
        self.scratch, self.wirehaul = public.path, public.program
        os.chown(self.scratch, self.user.pw_uid, -1)
        output = os.path.join(self.scratch, "out")
        os.mkdir(output)
        os.chown(output, self.user.pw_uid, -1)
        Path(output, "trace_00001_20200101000000.pcapng").write_text("a stranger's", encoding="ascii")
        return output

    def as_nobody(self):
        return ["setpriv", f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}", "--clear-groups",
                "--inh-caps=-all", "--bounding-set=-all"]

    def test_as_an_ordinary_user(self):
        """Files come and go and can be read, and nothing but what was there before is left."""
        output = self.go_public()
        before = self.inventory(output)
        simulation = self.simulation("--simulate", "no-nic", "-w", os.path.join(output, "trace.pcapng"), "-C", "50",
                                     "-B", "65536", "--min-free", "1", directory=output, prefix=self.as_nobody())
        strangers = {path for path, _ in before}

        def made():
            return [path for path in simulation.files() if path not in strangers]

        self.wait_files(simulation, 7)
        # Four, and what is being closed and removed, which may be more for a moment.
        rig.wait_for(lambda: len(made()) <= 8, 20 * self.options.slow, "files go")
        # What is there stays for as long as it is looked at; what is on its way to the disk arrives.
        simulation.freeze()
        made = made()
        self.assertGreaterEqual(len(made), 3)

        def full(path):
            found = re.search(r"^(\d+) packet", rig.run("tcpdump", "--count", "-r", path, check=False).stdout, re.M)
            return found and int(found.group(1)) > 50000000 / (SIZE + 200) * 0.9

        rig.wait_for(lambda: all(map(full, made[:2])), 20, "the first files can be read")
        self.assertIn("Ethernet", rig.run("capinfos", "-E", made[0]).stdout)
        self.assertEqual(os.stat(made[0]).st_uid, self.user.pw_uid)
        simulation.kill(signal.SIGCONT)
        outcome = simulation.stop()
        self.assertStopped(outcome)
        self.assertEqual(self.inventory(output), before)
        self.assertBalanced(outcome.stats, "no-nic")
        self.assertEqual(outcome.stats["frames_dropped"], 0)
        self.assertEqual(outcome.stats["bytes_captured"], outcome.stats["frames_written"] * SIZE)
        self.assertGreater(outcome.stats["bytes_on_disk"], outcome.stats["bytes_captured"])
        self.assertSaid(outcome, "made up")

    def test_size_and_count(self):
        """Frames of a size that was asked for, as many as were asked for; -s cuts them like others."""
        for size, captured, options in ((60, 60, []), (9000, 200, ["-s", "200"]), (400, 400, ["--format", "pcap"])):
            with self.subTest(size=size):
                frames = self.frames(0.02)
                output = os.path.join(self.scratch, str(size))
                os.mkdir(output)
                simulation = self.simulation(
                    "--simulate", f"no-nic:{size}", "-w", os.path.join(output, "trace"), "-c", str(frames), "-B",
                    "16384", "--min-free", "1", *options, directory=output, wait=False)
                outcome = simulation.outcome()
                self.assertStopped(outcome, "count")
                self.assertBalanced(outcome.stats, "no-nic")
                self.assertEqual(outcome.stats["frames_written"], frames)
                self.assertEqual(outcome.stats["bytes_captured"], frames * captured)
                self.assertEqual(os.listdir(output), [])

    def start(self, *options, **more):
        output = os.path.join(self.scratch, "out")
        os.makedirs(output, exist_ok=True)
        simulation = self.simulation("--simulate", "no-nic", "-w", os.path.join(output, "trace.pcapng"), "-B", "16384",
                                     "--min-free", "1", *options, directory=output, **more)
        return simulation, output

    def wait_files(self, simulation, count):
        rig.wait_for(lambda: (simulation.stats() or {"files": 0})["files"] >= count, 20 * self.options.slow,
                     "files come")

    def test_every_way_to_be_stopped(self):
        """Whichever signal ends it, nothing is left, and only then does it say so."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            with self.subTest(signal=number.name):
                control = os.path.join(self.scratch, "control")
                simulation, output = self.start("-C", "20", "--control", control)
                self.wait_files(simulation, 3)
                # A mark goes with the files.
                rig.run(self.wirehaul, "mark", "--control", control, "here")
                simulation.kill(signal.SIGUSR1)
                rig.wait_for(lambda: "files will be removed" in simulation.stderr(), 10 * self.options.slow, "figures")
                self.assertNotIn("files are removed", simulation.stderr())
                outcome = simulation.stop(number)
                self.assertStopped(outcome)
                self.assertEqual(os.listdir(output), [])
                self.assertIn("files are removed", outcome.stderr)

    def test_a_file_that_may_not_grow(self):
        """The limit of setrlimit(2) is a failed write, not the end of the process."""
        rig.need("prlimit")
        simulation, output = self.start("-C", "50", prefix=["prlimit", "--fsize=20000000", "--core=0"], wait=False)
        outcome = simulation.outcome()
        self.assertStopped(outcome, "error", 4)
        self.assertIn("File too large", outcome.stderr)
        self.assertBalanced(outcome.stats, "no-nic")
        self.assertEqual(os.listdir(output), [])
        # Not even a file's header, which is written in another way.
        simulation, output = self.start(prefix=["prlimit", "--fsize=1000", "--core=0"], wait=False)
        self.assertEqual(simulation.wait(20 * self.options.slow), 2)
        self.assertIn("File too large", simulation.stderr())
        self.assertEqual(os.listdir(output), [])

    def test_a_file_that_cannot_be_removed(self):
        """It is named, with the reason, and nobody is told that it was removed; all others are."""
        simulation, output = self.start("-C", "20")
        self.wait_files(simulation, 3)
        simulation.freeze()
        # What has its name is no file any more: not even root may unlink it.
        victim = simulation.files()[0]
        os.unlink(victim)
        os.mkdir(victim)
        simulation.kill(signal.SIGCONT)
        # Only four files are kept, so it has to go soon.
        outcome = simulation.outcome()
        self.assertStopped(outcome, "error", 4)
        said = [line for line in outcome.stderr.splitlines() if f"cannot remove {victim}: Is a directory" in line]
        self.assertEqual(len(said), 1, outcome.stderr)
        self.assertIn("1 of their files could NOT BE REMOVED", outcome.stderr)
        self.assertNotIn("files are removed", outcome.stderr)
        self.assertEqual(os.listdir(output), [os.path.basename(victim)])

    def test_no_place_for_files(self):
        """It is told before a ring is filled for nothing."""
        simulation = self.simulation("--simulate", "no-nic", "-w", os.path.join(self.scratch, "nowhere", "t.pcapng"),
                                     "-B", "262144", wait=False)
        self.assertEqual(simulation.wait(20 * self.options.slow), 2)
        self.assertIn("does not exist", simulation.stderr())
        self.assertLess(simulation.usage.ru_maxrss, 200000)  # KiB

    def test_free_space(self):
        """The limit holds, and the files that met it are removed as well."""
        disk = self.enterContext(rig.Disk(self.scratch, 64))
        simulation = self.simulation("--simulate", "no-nic", "-w", os.path.join(disk.path, "t.pcapng"), "-C", "1G",
                                     "-B", "16384", "--min-free", "50", directory=disk.path, wait=False)
        outcome = simulation.outcome()
        self.assertStopped(outcome, "low_space", 3)
        self.assertBalanced(outcome.stats, "no-nic")
        self.assertGreater(outcome.stats["bytes_on_disk"], 5000000)
        self.assertEqual(glob.glob(os.path.join(disk.path, "*.pcapng")), [])
        self.assertGreater(rig.free_percent(disk.path), 80)


if __name__ == "__main__":
    case.main()
