# SPDX-License-Identifier: BSD-3-Clause
"""The control socket: each command on a capture that runs, who may use it, what may stand in its place, and a flood.

--connections N: how many connections the flood makes; 10000 is for a person with a minute.
"""

import argparse
import contextlib
import datetime
import json
import os
import pwd
import random
import re
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import faults
import rig

SIZE, RATE = 300, 25000
RING = ["-B", "65536"]  # a ring of 512 MiB takes longer to make than anything else here
PATIENCE = 5  # seconds that it gives each of them
CONNECTIONS = 1000

BAD_CALLS = [
    (["status", "extra"], "too much"),
    (["status", "--no-wait"], "--no-wait"),
    (["status", "-x"], "-x"),
    (["stop", "--frobnicate"], "--frobnicate"),
    (["rotate", "--json=1"], "--json"),
    (["rotate", "--control"], "--control"),
    (["status", "--control", ""], "--control"),
    (["status", "--control", ".."], "--control"),
    (["status", "--control", "/tmp/" + "x" * 103], "107"),
    (["mark"], "text"),
    (["mark", ""], "text"),
    (["mark", "x" * 1001], "1000"),
    (["mark", "x" * 999, "yz"], "1000"),
    (["mark", "two\nlines"], "one line"),
    (["mark", b"\xff\xfe"], "UTF-8"),
    (["status", "--control", "/dev/null"], "/dev/null"),
    (["status", "--control", "/no/such/place"], "/no/such/place"),
    (["status", "--control", "no-such-instance"], "no-such-instance"),
]


class Control(case.Case):
    connections = CONNECTIONS

    def setUp(self):
        super().setUp()
        self.net = self.pair()
        self.socket = os.path.join(self.scratch, "control.sock")

    def start(self, *options, **more):
        return self.capture(self.net.RIGHT, "--control", self.socket, *RING, *options, namespace=self.net.right,
                            **more)

    def send(self, **options):
        return self.blast(self.net.left, self.net.LEFT, size=SIZE, **options)

    def ask(self, command, *args, status=0, prefix=(), program=None, place=True):
        """Runs a client and returns what it says; or, with another STATUS than 0, the line that says why."""
        where = ["--control", self.socket] if place else []
        done = rig.run(*prefix, program or self.wirehaul, command, *where, *args, check=False,
                       timeout=30 * self.options.slow)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        if status == 0:
            self.assertEqual(done.stderr, "")
            return done.stdout
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done.stderr

    def status(self, **options):
        return json.loads(self.ask("status", "--json", **options))

    def refused(self, place, *words):
        """A capture that is to have its socket at PLACE does not begin, says why, and leaves nothing."""
        output = os.path.join(self.scratch, rig.unique("-out"))
        os.mkdir(output)
        before = sorted(os.listdir(self.scratch))
        done = self.net.right.run(self.wirehaul, "-i", self.net.RIGHT, "-w", os.path.join(output, "trace.pcapng"),
                                  "--min-free", "1", "--control", place, *RING, check=False,
                                  timeout=20 * self.options.slow)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(os.listdir(output), [])
        self.assertEqual(sorted(os.listdir(self.scratch)), before)

    @staticmethod
    def traces(files):
        return [path for path in files if path.endswith(".pcapng")]

    def test_each_command(self):
        capture = self.start()
        found = os.lstat(self.socket)
        self.assertTrue(stat.S_ISSOCK(found.st_mode))
        self.assertEqual((stat.S_IMODE(found.st_mode), found.st_uid), (0o600, os.geteuid()))
        self.send(count=1000).result()
        capture.wait_written(1000)
        told = self.status()
        self.assertEqual(told["pid"], capture.pid)
        self.assertEqual(told["output"], os.path.join(capture.directory, "trace.pcapng"))
        self.assertEqual((told["state"], told["stopping"]), ("running", False))
        self.assertEqual((told["frames_received"], told["frames_dropped"]), (1000, 0))
        self.assertLess(abs(told["started"] + told["elapsed_seconds"] - time.time()), 5 * self.options.slow)
        self.assertLess(abs(told["last_frame_ns"] / 1e9 - time.time()), 60 * self.options.slow)
        self.assertGreater(sum(told["write_latency_counts"]), 0)
        self.assertEqual(len(told["write_latency_counts"]), len(told["write_latency_limits_us"]))
        self.assertLessEqual(set(capture.stats()), set(told))

        blast = self.send(count=0, first=1001, seconds=60, rate=2000)
        blast.wait_sent(100)
        shown = self.ask("status")
        for part in ("running, began", self.net.RIGHT, "frames/s", "free", capture.directory, "ring", "writes"):
            self.assertIn(part, shown)

        self.assertIn("new file", self.ask("rotate"))
        rig.wait_for(lambda: len(self.traces(capture.files())) == 2, 5 * self.options.slow, "there are two files")
        self.assertEqual(json.loads(self.ask("rotate", "--json")), {"ok": True})
        rig.wait_for(lambda: len(self.traces(capture.files())) == 3, 5 * self.options.slow, "there are three files")
        self.assertEqual(self.ask("mark", "grün: what I", "just did"), "marked\n")
        rig.wait_for(lambda: self.status()["marks"] == 1, 5 * self.options.slow, "there is a mark")
        marks = [path for path in capture.files() if path.endswith("_marks.txt")]
        self.assertEqual(len(marks), 1)
        self.assertIn("grün: what I just did", Path(marks[0]).read_text(encoding="utf-8"))

        sent = 1000 + blast.stop()["sent"]
        self.assertRegex(self.ask("stop"), r"^stopped \(signal\): [\d,]+ frames received, [\d,]+ written, 0 dropped\n$")
        # It has waited: the files are closed and whole, whatever the process still does.
        counted = self.count(self.traces(capture.files()), size=SIZE, count=sent)
        self.assertComplete(counted, sent)
        outcome = capture.outcome()
        self.assertStopped(outcome)
        self.assertIn("asks over the control socket to stop", outcome.stderr)
        self.assertBooks(outcome, counted)
        self.assertFalse(os.path.lexists(self.socket))

    def test_stop_without_waiting(self):
        capture = self.start()
        self.assertEqual(json.loads(self.ask("stop", "--no-wait", "--json")), {"ok": True, "state": "stopping"})
        self.assertStopped(capture.outcome())

    def test_bad_calls(self):
        for args, word in BAD_CALLS:
            with self.subTest(args=args):
                program = [os.fsencode(self.wirehaul), *(each if isinstance(each, bytes) else each.encode()
                                                         for each in args)]
                done = subprocess.run(program, capture_output=True, check=False, timeout=20 * self.options.slow)
                self.assertEqual((done.returncode, done.stdout), (2, b""), done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(word, done.stderr.decode(errors="replace"))
        for command in ("status", "rotate", "stop", "mark"):
            self.assertIn(f"usage: wirehaul {command}", self.ask(command, "--help", place=False))

    def test_what_is_in_the_way(self):
        victim = os.path.join(self.scratch, "victim")
        Path(victim).write_text("kept", encoding="ascii")
        Path(self.scratch, "empty").mkdir()
        os.symlink(victim, self.socket)
        self.refused(self.socket, "symbolic link")
        os.unlink(self.socket)
        os.symlink(os.path.join(self.scratch, "nothing"), self.socket)
        self.refused(self.socket, "symbolic link")
        self.refused(victim, "no socket")
        self.refused(os.path.join(self.scratch, "empty"), "no socket")
        self.refused(os.path.join(self.scratch, "missing", "socket"), "directory")
        self.refused(self.scratch + "/" + "x" * 108, "at most 107 bytes")
        self.refused(rig.unique("-instance"), "directory")
        self.assertEqual(Path(victim).read_text(encoding="ascii"), "kept")

    def test_dead_and_alive(self):
        """The socket of a capture that was killed is replaced; that of one which runs is not."""
        first = self.start()
        first.kill(signal.SIGKILL)
        first.wait(10)
        self.assertTrue(os.path.lexists(self.socket))
        self.assertIn("nobody listens", self.ask("status", status=2))
        second = self.start()
        self.refused(self.socket, "another capture listens there")
        self.assertEqual(self.status()["pid"], second.pid)
        # What somebody has put in its place is not its own to remove.
        moved = self.socket + ".moved"
        os.rename(self.socket, moved)
        Path(self.socket).write_text("another's", encoding="ascii")
        self.ask("stop", "--control", moved, place=False)
        self.assertStopped(second.outcome())
        self.assertEqual(Path(self.socket).read_text(encoding="ascii"), "another's")

    def test_names(self):
        """A name stands for a place under /run; without one, the only capture there is meant."""
        rig.need("unshare", "nsenter")
        make = "mount -t tmpfs none /run && mkdir -p /run/wirehaul/one /run/wirehaul/two && exec \"$0\" \"$@\""
        first = self.capture(self.net.RIGHT, "--control", "one", *RING, namespace=self.net.right,
                             prefix=["unshare", "--mount", "sh", "-c", make])
        there = ["nsenter", "--mount", f"--target={first.pid}"]
        self.assertEqual(self.status(prefix=there, place=False)["pid"], first.pid)
        second = self.capture(self.net.RIGHT, "--control", "two", *RING, namespace=self.net.right, prefix=there)
        said = self.ask("status", prefix=there, place=False, status=2)
        self.assertIn("several captures", said)
        self.assertIn("one", said)
        self.assertIn("two", said)
        told = self.ask("status", "--control", "two", "--json", prefix=there, place=False)
        self.assertEqual(json.loads(told)["pid"], second.pid)
        second.kill(signal.SIGKILL)
        second.wait(10)
        self.ask("stop", prefix=there, place=False)
        self.assertStopped(first.outcome())

    def test_other_users(self):
        """After -Z the socket is that user's. Others are kept out by its mode, and by the server if that is changed."""
        rig.need("setpriv")
        public = self.enterContext(rig.Public(self.wirehaul))
        owner, stranger = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")
        self.scratch, self.socket = public.path, os.path.join(public.path, "control.sock")
        os.chown(public.path, owner.pw_uid, -1)
        output = os.path.join(public.path, "out")
        os.mkdir(output)
        os.chown(output, owner.pw_uid, -1)
        capture = self.start("-Z", "nobody", directory=output)
        found = os.lstat(self.socket)
        self.assertEqual((stat.S_IMODE(found.st_mode), found.st_uid), (0o600, owner.pw_uid))

        def become(user):
            return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

        self.assertEqual(self.status()["pid"], capture.pid)
        self.assertEqual(self.status(prefix=become(owner), program=public.program)["pid"], capture.pid)
        said = self.ask("stop", prefix=become(stranger), program=public.program, status=2)
        self.assertIn("not for you", said)
        os.chmod(self.socket, 0o666)
        said = self.ask("stop", prefix=become(stranger), program=public.program, status=2)
        self.assertIn("only root and the user of the capture", said)
        self.assertEqual(self.status()["stopping"], False)
        self.ask("stop", prefix=become(owner), program=public.program)
        self.assertStopped(capture.outcome())

    @staticmethod
    def marks_file(directory):
        """The lines of the file of marks: (seconds since 1970, text)."""
        lines = Path(directory, "trace_marks.txt").read_text(encoding="utf-8").splitlines()
        split = [line.split(" ", 1) for line in lines]
        return [(datetime.datetime.fromisoformat(moment[:26] + "+00:00").timestamp(), text) for moment, text in split]

    def test_marks_while_the_disk_hangs(self):
        """A mark does not wait for the disk, nor do others who ask; it lands with its time when the disk is back."""
        disk = self.enterContext(faults.FaultDisk(self))
        capture = self.start(directory=disk.path)
        self.addCleanup(disk.heal)
        self.assertEqual(self.ask("mark", "all is well"), "marked\n")
        disk.hang("open", "create", "write")
        begun = time.time()
        said = [self.ask("mark", f"it hangs {number}") for number in range(3)]
        self.assertEqual(said, ["marked: the disk has not taken it yet\n"] * 3)
        disk.wait_hanging("open")
        self.assertEqual(self.status()["marks"], 4)
        self.ask("stop", "--no-wait", "--json")
        self.assertEqual(self.status()["stopping"], True)
        asked = time.time()
        self.assertLess(asked - begun, 3 * self.options.slow)
        self.assertEqual(len(self.marks_file(disk.backing)), 1)
        disk.heal()
        outcome = capture.outcome()
        self.assertStopped(outcome)
        told = self.marks_file(disk.backing)
        self.assertEqual([text for _, text in told], ["all is well", "it hangs 0", "it hangs 1", "it hangs 2"])
        inside = [mark for mark in faults.marks(self.traces(outcome.files)) if "it hangs" in mark]
        self.assertEqual(len(inside), 3)
        for (moment, text), mark in zip(told[1:], inside):
            self.assertIn(f"MESSAGE={text}\n", mark)
            self.assertAlmostEqual(int(re.search(r"__REALTIME_TIMESTAMP=(\d+)", mark)[1]) / 1e6, moment, delta=1e-5)
            self.assertTrue(begun - 0.001 <= moment <= asked, (begun, moment, asked))

    def test_a_disk_that_fails(self):
        """Who made a mark is told that the file of marks lacks it; who waited for the end, that it was no good one."""
        disk = self.enterContext(faults.FaultDisk(self))
        capture = self.start(directory=disk.path)
        self.assertEqual(self.ask("mark", "all is well"), "marked\n")
        disk.fail("open")
        said = self.ask("mark", "it fails", status=4)
        self.assertIn("in the capture, but not in its file of marks", said)
        self.assertIn("_marks.txt: Input/output error", said)
        disk.heal()
        # What could not be synced may not be on the disk: who has waited for the end is told that, too.
        disk.fail("fsync")
        done = rig.run(self.wirehaul, "stop", "--control", self.socket, check=False)
        outcome = capture.outcome()
        self.assertEqual((done.returncode, outcome.status), (4, 4), outcome.stderr)
        self.assertRegex(done.stderr, r"\Awirehaul: the capture has ended with an error.*\n\Z")
        disk.heal()
        self.assertEqual(len(self.marks_file(disk.backing)), 1)
        self.assertTrue([mark for mark in faults.marks(self.traces(outcome.files)) if "it fails" in mark])

    def test_statistics_on_a_disk_that_hangs(self):
        """The statistics file may lie on another disk than the capture: one that hangs holds up nothing else."""
        disk = self.enterContext(faults.FaultDisk(self))
        output = os.path.join(self.scratch, "out")
        self.scratch = disk.path
        capture = self.start(directory=output)
        self.addCleanup(disk.heal)
        disk.hang("create")
        disk.wait_hanging("create")
        capture.kill(signal.SIGHUP)
        rig.wait_for(lambda: len(self.traces(capture.files())) == 2, 5 * self.options.slow, "there are two files")
        disk.heal()
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual((outcome.stats["state"], outcome.stats["files"]), ("stopped", 2))

    # ---- the flood ----

    def dial(self):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(30 * self.options.slow)
        made.connect(self.socket)
        return made

    def slow_reader(self):
        """Asks again and again, and never reads an answer."""
        made = self.dial()
        made.setblocking(False)
        try:
            while True:
                made.send(b'{"do":"status"}\n' * 100)
        except OSError:
            return made

    def half_request(self):
        made = self.dial()
        made.send(b'{"do":"mark","text":"unfinis')
        return made

    def once(self, kind, chance):
        """One connection of the flood."""
        with self.dial() as made:
            try:
                if kind == 0:
                    made.sendall(b'{"do":"status"}\n' * 20)
                elif kind == 1:
                    made.sendall(b'{"do":"rotate"}\n')
                    self.assertIn(b'"ok":true', made.recv(4096))
                elif kind == 2:
                    made.sendall(chance.randbytes(1000000))
                elif kind == 3:
                    made.sendall(b"[" * 4095 + b"\n")
                    self.assertIn(b'"ok":false', made.recv(4096))
                elif kind == 4:
                    made.sendall(b'{"do":"mark","text":"' + b"x" * 2000 + b'"}\n')
                elif kind == 5:
                    made.sendall(b'{"do":"status"}\n')
                    self.assertIn(b'"ok":true', made.recv(4096))
            except (BrokenPipeError, ConnectionResetError):
                pass  # it need not hear all of that

    def flood(self, connections, workers=4):
        failed = []

        def work(number):
            chance = random.Random(number)
            try:
                for each in range(connections // workers):
                    self.once((each + number) % 7, chance)
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=[number], daemon=True) for number in range(workers)]
        for thread in threads:
            thread.start()
        return threads, failed

    def footprint(self, capture):
        """How many threads there are, but for the kernel's, and what is open, but for the capture's files, which come
        and go."""
        tasks = Path(f"/proc/{capture.pid}/task").iterdir()
        threads, opened = [], []
        for task in tasks:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                threads.append(Path(task, "comm").read_text(encoding="utf-8"))
        for number in os.listdir(f"/proc/{capture.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                opened.append(os.readlink(f"/proc/{capture.pid}/fd/{number}"))
        kept = [path for path in opened if not path.startswith(capture.directory + "/") and "-stats" not in path]
        return len([name for name in threads if not name.startswith("iou-")]), len(kept)

    def assertGone(self, held):
        """The server has closed each of these connections."""
        waiting = {made.fileno(): made for made in held}
        poller = select.poll()
        for number in waiting:
            poller.register(number, 0)  # the end of the connection is told unasked
        end = time.monotonic() + 3 * PATIENCE * self.options.slow
        while waiting and time.monotonic() < end:
            for number, _ in poller.poll(1000):
                poller.unregister(number)
                waiting.pop(number)
        self.assertFalse(waiting, "the server holds on to these")

    def test_flood(self):
        """However many connect, whatever they send, and however slowly they read, no frame is lost by it."""
        capture = self.start("-C", "20")
        blast = self.send(count=0, seconds=600, rate=min(RATE, self.options.rate or RATE))
        blast.wait_sent(1000)
        before = self.footprint(capture)  # nobody has been connected yet
        self.status()
        start = time.monotonic()
        held = [make() for make in (self.slow_reader, self.half_request) for _ in range(20)]
        opened = time.monotonic()
        threads, failed = self.flood(self.connections)
        asked = []
        while any(thread.is_alive() for thread in threads) or not asked:
            at = time.monotonic()
            self.assertEqual(self.status()["state"], "running")
            asked.append(time.monotonic() - at)
            time.sleep(0.1)
        took = time.monotonic() - start
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        self.assertGone(held)
        waited = time.monotonic() - opened
        for made in held:
            made.close()
        rig.wait_for(lambda: self.footprint(capture) == before, 10 * self.options.slow, "all descriptors are back")
        print(f"({self.connections} connections in {took:.1f} s; slowest of {len(asked)} answers {max(asked):.2f} s; "
              f"held ones closed after {waited:.1f} s)", end=" ")
        if self.connections == CONNECTIONS:
            self.assertLess(max(asked), 3 * self.options.slow)

        # Whoever is connected holds up no end.
        sent = blast.stop()["sent"]
        held = [make() for make in (self.slow_reader, self.half_request) for _ in range(20)]
        at = time.monotonic()
        self.ask("stop")
        self.assertLess(time.monotonic() - at, 2 * self.options.slow)
        outcome = capture.outcome()
        self.assertLess(time.monotonic() - at, 3 * self.options.slow)
        for made in held:
            made.close()
        self.assertStopped(outcome)
        self.assertEqual(outcome.stats["frames_dropped"], 0)
        counted = self.count(self.traces(outcome.files), size=SIZE, count=sent)
        self.assertComplete(counted, sent)
        self.assertBooks(outcome, counted)

    def test_few_descriptors(self):
        """Of few descriptors the clients get only a share: files are still made while they all hold on."""
        rig.need("prlimit")
        capture = self.start(prefix=["prlimit", "--nofile=64:64"])
        begun = 1
        for last in (False, False, True):
            start = time.monotonic()
            held = [self.half_request() for _ in range(60)]
            for begun in range(begun + 1, begun + 11):
                capture.kill(signal.SIGHUP)
                rig.wait_for(lambda: len(self.traces(capture.files())) >= begun, 5, "a file is begun")
            took = time.monotonic() - start
            for made in held:
                made.close()
            if took < (PATIENCE - 1) * self.options.slow:  # they did hold on
                break
            self.assertFalse(last, f"it took {took} s")
        self.ask("stop")
        self.assertStopped(capture.outcome())


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    options, rest = parser.parse_known_args()
    Control.connections = options.connections
    sys.argv[1:] = rest
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < min(hard, 4096):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    case.main()


if __name__ == "__main__":
    main()
