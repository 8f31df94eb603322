# SPDX-License-Identifier: BSD-3-Clause
"""What is on disk: formats, names, rotation, the hook, owners and modes, the statistics file, pipes and replay."""

import contextlib
import json
import os
import pwd
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig
from capture import Outcome

SIZE = 1414
NOBODY = "nobody"
NET_CAPABILITIES = 1 << 12 | 1 << 13  # CAP_NET_ADMIN and CAP_NET_RAW: what adapters that come up later need

STATISTICS = {
    "state": str, "stop_reason": str, "interfaces": list, "frames_received": int, "frames_written": int,
    "frames_dropped": int, "bytes_captured": int, "bytes_on_disk": int, "bytes_copied": int, "files": int,
    "files_deleted": int, "files_left": int,
    "current_file": str, "free_percent": float, "ring_fill_max_percent": float, "write_latency_max_us": int,
}  # fmt: skip
STATISTICS_OF_ONE = {
    "name": str, "linktype": str, "received": int, "written": int, "dropped": int, "dropped_nic": int,
    "truncated": int,
}  # fmt: skip


class Files(case.Case):
    def setUp(self):
        super().setUp()
        self.net = self.pair()

    def start(self, *options, **more):
        return self.capture(self.net.RIGHT, *options, namespace=self.net.right, **more)

    def send(self, count=1000, **options):
        shape = {} if "mix" in options else {"size": SIZE}
        blast = self.blast(self.net.left, self.net.LEFT, count=count, **{**shape, **options})
        self.assertEqual(blast.result()["sent"], count)

    def assertNames(self, files, stem="trace", extension=".pcapng", first=1):
        """dumpcap's names, numbered without a gap, dated about now."""
        for number, path in enumerate(files, first):
            pattern = rf"{stem}_(\d{{5}})_(\d{{14}}){re.escape(extension)}"
            match = re.fullmatch(pattern, os.path.basename(path))
            self.assertTrue(match, path)
            self.assertEqual(int(match.group(1)), number)
            begun = time.mktime(time.strptime(match.group(2), "%Y%m%d%H%M%S"))
            self.assertLess(abs(time.time() - begun), 600)

    def test_names(self):
        for output, stem, extension in (("trace.pcapng", "trace", ".pcapng"), ("a.b.c", "a.b", ".c"),
                                        ("plain", "plain", ""), ("sp ace.pcapng", "sp ace", ".pcapng")):
            with self.subTest(output=output):
                capture = self.start("-C", "2", output=output)
                self.send(5000)
                outcome = capture.stop()
                self.assertStopped(outcome)
                self.assertGreater(len(outcome.files), 2)
                self.assertNames(outcome.files, stem, extension)
                self.assertEqual(outcome.stats["current_file"], outcome.files[-1])
                self.assertComplete(self.count(outcome.files, size=SIZE, count=5000), 5000)

    def test_formats(self):
        for output, options, magic in (
            ("trace.pcapng", (), 0x0A0D0D0A),
            ("trace.pcap", (), 0xA1B2C3D4),
            ("trace.pcap", ("--format", "pcap-ns"), 0xA1B23C4D),
            ("trace.dump", ("--format", "pcap"), 0xA1B2C3D4),
            ("trace.dump", ("--format", "pcapng"), 0x0A0D0D0A),
            ("trace.dump", (), 0x0A0D0D0A),
        ):
            with self.subTest(output=output, options=options):
                capture = self.start("-C", "2", *options, output=output)
                self.send(3000, mix="60,594,1514")
                outcome = capture.stop()
                self.assertStopped(outcome)
                for path in outcome.files:
                    self.assertEqual(struct.unpack("<I", Path(path).read_bytes()[:4])[0], magic)
                    self.assertLessEqual(os.path.getsize(path), 2000000)
                counted = self.count(outcome.files, mix="60,594,1514", count=3000)
                self.assertComplete(counted, 3000)
                self.assertBooks(outcome, counted)
                self.assertOpens(outcome.files)
                # A microsecond file may round the time down, before the moment of sending, by less than one.
                self.assertGreater(counted["age_min_ns"], -1000)

    def test_pcap_with_tags(self):
        capture = self.start(output="trace.pcap")
        self.send(vlan="200,100")
        outcome = capture.stop()
        self.assertComplete(self.count(outcome.files, size=SIZE, vlan="200,100", count=1000), 1000)

    def test_size_limit_dense(self):
        """-C in its different spellings; the files are as large as they may be, and never larger."""
        for text, limit in (("20", 20000000), ("20M", 20000000), ("16MiB", 16 << 20), ("50000k", 50000000)):
            with self.subTest(text=text):
                frames = int(limit * 2.5 / SIZE)
                capture = self.start("-C", text)
                self.send(frames, **self.rate(SIZE, 200000))
                outcome = capture.stop()
                sizes = [os.path.getsize(path) for path in outcome.files]
                self.assertLessEqual(max(sizes), limit)
                self.assertGreaterEqual(min(sizes[:-1]), 0.9 * limit)
                self.assertComplete(self.count(outcome.files, size=SIZE, count=frames), frames)

    def test_keep_files(self):
        capture = self.start("-C", "2", "-W", "3")
        self.send(20000, rate=40000)
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(len(outcome.files), 3)
        self.assertGreater(outcome.stats["files"], 10)
        self.assertNames(outcome.files, first=outcome.stats["files"] - 2)
        deleted = outcome.stats["files"] - 3
        self.assertEqual(outcome.stats["files_deleted"], deleted)
        self.assertIn(f"{deleted} of the oldest files were deleted to make room", outcome.stderr)
        counted = self.count(outcome.files, size=SIZE)
        self.assertSound(counted)
        self.assertNumbers(counted, last=20000, missing=0, duplicated=0, reordered=0)

    def test_keep_files_that_cannot_be_deleted(self):
        """One line says so, the first of them by name; the capture goes on, and the others are deleted."""
        capture = self.start("-C", "2", "-W", "3")
        self.send(2000, rate=10000)
        first = rig.wait_for(lambda: capture.files()[1:] and capture.files()[0], 10, "there is a second file")
        rig.wait_for(lambda: first not in self.held_by(capture.pid), 10, "the first is closed")
        if rig.run("chattr", "+i", first, check=False).returncode != 0:
            capture.stop()
            self.skipTest("the file system cannot make files immutable")
        self.addCleanup(rig.run, "chattr", "-i", first)
        self.send(20000, first=2001, rate=40000)
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(len(outcome.files), 4)
        self.assertEqual(outcome.files[0], first)
        self.assertEqual(outcome.stats["files_left"], 1)
        self.assertEqual(outcome.stats["files_deleted"], outcome.stats["files"] - len(outcome.files))
        said = [line for line in outcome.stderr.splitlines() if "cannot remove" in line]
        self.assertEqual(len(said), 1, outcome.stderr)
        self.assertIn(first, said[0])

    @staticmethod
    def held_by(pid):
        """The files that a process has open."""
        held = set()
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                held.add(os.readlink(f"/proc/{pid}/fd/{name}"))
        return held

    def test_rotation_by_time(self):
        """-G goes by the clock: an idle link gets its files too."""
        capture = self.start("-G", "1")
        self.send(1000)
        begun = len(capture.files())
        rig.wait_for(lambda: len(capture.files()) >= begun + 3, 10 * self.options.slow, "there are three more files")
        self.send(1000, first=1001)
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertNames(outcome.files)
        counted = self.count(outcome.files, size=SIZE, count=2000)
        self.assertComplete(counted, 2000)
        self.assertBooks(outcome, counted)
        frames = [each["frames"] for each in counted["each"]]
        # Two bursts and at least three ends of a second between them: one file has nothing of either.
        self.assertIn(0, frames[:-1])
        self.assertOpens(outcome.files)

    def test_rotation_by_time_and_size_and_keep(self):
        capture = self.start("-G", "1", "-C", "2", "-W", "4")
        self.send(8000, rate=4000)
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(len(outcome.files), 4)
        # 8000 frames take about 12 MB, so size alone makes six files, and each second may end one more.
        self.assertGreaterEqual(outcome.stats["files"], 6)
        self.assertLessEqual(outcome.stats["files"], 8 + outcome.stats["elapsed_seconds"])
        counted = self.count(outcome.files, size=SIZE)
        self.assertSound(counted)
        self.assertNumbers(counted, last=8000, missing=0, duplicated=0, reordered=0)
        self.assertLessEqual(counted["largest"], 2000000)

    def test_every_chain_file_has_its_statistics(self):
        capture = self.start("-C", "2")
        self.send(5000)
        outcome = capture.stop()
        received = 0
        for path in outcome.files:
            (file,) = self.count([path])["each"]
            (interface,) = file["interfaces"]
            self.assertTrue(interface["statistics"], path)
            received += file["frames"]
            self.assertEqual(interface["usrdeliv"], received)
            self.assertGreaterEqual(interface["ifrecv"], received)

    def hook(self, body):
        """A hook script with this body, and the file it logs to."""
        log = os.path.join(self.scratch, "hook.log")
        Path(log).touch()
        script = os.path.join(self.scratch, "hook.sh")
        Path(script).write_text(f"#!/bin/sh\n{body.format(log=log)}\n", encoding="ascii")
        os.chmod(script, 0o755)
        return script, log

    def test_hook(self):
        """Each closed file is given to the command once, complete, at low priority."""
        script, log = self.hook('echo "$1 $(stat -c %s "$1") $(nice) $#" >> {log}')
        capture = self.start("-C", "2", "-z", script)
        self.send(10000)
        outcome = capture.stop()
        self.assertStopped(outcome)

        def lines():
            return sorted(Path(log).read_text(encoding="ascii").splitlines())

        rig.wait_for(lambda: len(lines()) >= len(outcome.files), 10 * self.options.slow, "the hook saw each file")
        self.assertGreater(len(outcome.files), 5)
        for line, path in zip(lines(), outcome.files, strict=True):
            seen, size, nice, arguments = line.split()
            self.assertEqual((seen, int(size), arguments), (path, os.path.getsize(path), "1"))
            self.assertGreater(int(nice), 0)

    def test_hook_that_hangs_holds_nothing_up(self):
        script, log = self.hook("echo started >> {log}; exec sleep 20")
        capture = self.start("-C", "2", "-z", script)
        self.send(20000, **self.rate(SIZE, 50000))
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertLess(outcome.seconds, 10 * self.options.slow)
        self.assertComplete(self.count(outcome.files, size=SIZE, count=20000), 20000)
        self.assertIn("started", Path(log).read_text(encoding="ascii"))

    def test_hook_that_fails(self):
        """A command that cannot be run is told of, and costs no frame."""
        capture = self.start("-C", "2", "-z", os.path.join(self.scratch, "no-such-hook"))
        self.send(5000)
        # The command runs at the lowest priority; at the end nobody waits for it.
        rig.wait_for(lambda: "no-such-hook" in capture.stderr(), 10 * self.options.slow, "it is told of")
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertComplete(self.count(outcome.files, size=SIZE, count=5000), 5000)

    def test_mode(self):
        for umask, mode in ((0o022, 0o600), (0o077, 0o600), (0o277, 0o400)):
            with self.subTest(umask=oct(umask)):
                capture = self.start("-C", "2", umask=umask)
                self.send(3000)
                outcome = capture.stop()
                self.assertStopped(outcome)
                for path in outcome.files:
                    self.assertEqual(os.stat(path).st_mode & 0o777, mode)

    def test_user(self):
        """-Z: the files are that user's, and no thread is root any more."""
        user = pwd.getpwnam(NOBODY)
        self.scratch = self.enterContext(rig.Public(self.wirehaul)).path
        directory = os.path.join(self.scratch, "nobodys")
        os.mkdir(directory)
        os.chown(directory, user.pw_uid, user.pw_gid)
        # The statistics file is written by that user too.
        os.chown(self.scratch, user.pw_uid, user.pw_gid)
        capture = self.start("-C", "2", "-Z", NOBODY, directory=directory)
        for thread in os.listdir(f"/proc/{capture.pid}/task"):
            try:
                status = Path(f"/proc/{capture.pid}/task/{thread}/status").read_text(encoding="ascii")
            except (FileNotFoundError, ProcessLookupError):  # the kernel's threads come and go
                continue
            self.assertRegex(status, rf"Uid:\t{user.pw_uid}\t{user.pw_uid}\t{user.pw_uid}\t{user.pw_uid}\n")
            self.assertRegex(status, rf"Gid:\t{user.pw_gid}\t{user.pw_gid}\t{user.pw_gid}\t{user.pw_gid}\n")
            effective = int(re.search(r"CapEff:\t(\w+)", status).group(1), 16)
            self.assertEqual(effective & ~NET_CAPABILITIES, 0, "more than the network's capabilities is left")
        self.send(5000)
        outcome = capture.stop()
        self.assertEqual(outcome.status, 0, outcome.stderr)
        self.assertComplete(self.count(outcome.files, size=SIZE, count=5000), 5000)
        for path in outcome.files:
            self.assertEqual((os.stat(path).st_uid, os.stat(path).st_mode & 0o777), (user.pw_uid, 0o600))

    def test_statistics_file(self):
        """Every key of the contract; readable at any moment; renewed each second."""
        capture = self.start()
        blast = self.blast(self.net.left, self.net.LEFT, count=0, seconds=600, size=SIZE, rate=5000)
        end = time.monotonic() + 30 * self.options.slow
        versions, received = set(), []
        while len(versions) < 4 and time.monotonic() < end:
            stats = capture.stats()
            self.assertEqual(stats["state"], "running")
            self.assertLessEqual(stats["frames_written"] + stats["frames_dropped"], stats["frames_received"])
            versions.add(os.stat(capture.stats_path).st_mtime_ns)
            received.append(stats["frames_received"])
        written = sorted(versions)
        self.assertEqual(len(written), 4, "it is not renewed")
        self.assertLess(written[-1] - written[0], 3 * 1.5e9)
        self.assertEqual(received, sorted(received))
        self.assertGreater(received[-1], received[0])
        sent = blast.stop()["sent"]
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(outcome.stats["frames_received"], sent)
        self.assertBooks(outcome, self.count(outcome.files, size=SIZE))
        self.assertTypes(outcome.stats, STATISTICS)
        for each in outcome.stats["interfaces"]:
            self.assertTypes(each, STATISTICS_OF_ONE)
        self.assertAlmostEqual(outcome.stats["free_percent"], rig.free_percent(capture.directory), delta=5)

    def assertTypes(self, found, wanted):
        for key, kind in wanted.items():
            self.assertIn(key, found)
            kinds = (int, float) if kind is float else kind
            self.assertIsInstance(found[key], kinds, key)

    def test_standard_output(self):
        """One stream, which tcpdump reads while it comes."""
        rig.need("tcpdump")
        for options in ((), ("--format", "pcap")):
            with self.subTest(options=options):
                printed = os.path.join(self.scratch, "printed")
                with open(printed, "wb") as file:
                    command = ["tcpdump", "--count", "-r", "-"]
                    reader = self.enterContext(rig.Process(command, stdin=subprocess.PIPE, stdout=file))
                capture = self.start(*options, output="-", stdout=reader.popen.stdin)
                reader.popen.stdin.close()
                self.send(5000)
                outcome = capture.stop()
                self.assertStopped(outcome)
                self.assertEqual(reader.wait(10), 0)
                self.assertEqual(Path(printed).read_text(encoding="ascii"), "5000 packets\n")
                self.assertEqual(outcome.stats["frames_written"], 5000)
                self.assertEqual(os.listdir(capture.directory), [])

    def test_standard_output_whose_reader_goes(self):
        capture = self.start(output="-", stdout=subprocess.PIPE)
        capture.popen.stdout.close()
        self.blast(self.net.left, self.net.LEFT, count=0, seconds=600, size=SIZE, rate=5000)
        outcome = capture.outcome(15)
        self.assertIn(outcome.status, (0, 4), outcome.stderr)
        self.assertNotIn("Traceback", outcome.stderr)

    def test_tmpfs(self):
        """A file system that takes no direct writes, or only says so."""
        disk = self.enterContext(rig.Tmpfs(self.scratch, 512))
        capture = self.start("-C", "20", directory=disk.path)
        frames = self.frames(0.2)
        self.send(frames, **({"rate": self.options.rate} if self.options.rate else {}))
        outcome = capture.stop()
        self.assertStopped(outcome)
        counted = self.count(outcome.files, size=SIZE, count=frames)
        self.assertComplete(counted, frames)
        self.assertBooks(outcome, counted)
        capture.close()

    def test_without_direct_io(self):
        capture = self.start("--direct-io", "off", "-C", "2")
        self.send(5000)
        outcome = capture.stop()
        self.assertComplete(self.count(outcome.files, size=SIZE, count=5000), 5000)

    def without_its_directory(self):
        """A capture under load whose directory somebody has deleted, and which has told that."""
        capture = self.start("-C", "2")
        self.send(1000)
        for path in capture.files():
            os.unlink(path)
        os.rmdir(capture.directory)
        blast = self.blast(self.net.left, self.net.LEFT, count=0, seconds=600, size=SIZE, rate=5000)
        rig.wait_for(lambda: "trying again" in capture.stderr(), 15 * self.options.slow, "the fault is told of")
        return capture, blast

    def test_directory_vanishes(self):
        """Somebody deletes the directory: when the end is asked for it comes, with an error that says why."""
        capture, blast = self.without_its_directory()
        outcome = capture.stop(seconds=15)
        blast.stop()
        self.assertEqual(outcome.status, 4, outcome.stderr)
        self.assertIn(capture.directory, outcome.stderr)
        stats = outcome.stats
        self.assertEqual(stats["frames_received"], stats["frames_written"] + stats["frames_dropped"])

    def test_directory_comes_back(self):
        """It is made anew: the capture goes on, and has lost only what the deleted files had."""
        capture, blast = self.without_its_directory()
        os.mkdir(capture.directory)
        rig.wait_for(lambda: "writing goes on" in capture.stderr(), 15 * self.options.slow, "the fault is over")
        rig.wait_for(lambda: len(capture.files()) > 1, 15 * self.options.slow, "there are files again")
        blast.stop()
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(outcome.stats["frames_dropped"], 0, outcome.stats)
        self.assertEqual(outcome.stats["frames_written"], outcome.stats["frames_received"])
        self.assertSound(self.count(outcome.files, size=SIZE))


class Replay(case.Case):
    """-r feeds a file through the same pipeline, without root."""

    def record(self, frames, *options, output="trace.pcapng", **shape):
        net = self.pair()
        capture = self.capture(net.RIGHT, *options, namespace=net.right, output=output)
        self.blast(net.left, net.LEFT, count=frames, **shape).result()
        outcome = capture.stop()
        self.assertStopped(outcome)
        return outcome.files

    def replay(self, source, *options, prefix=(), output="replayed.pcapng", directory=None):
        if directory is None:
            directory = os.path.join(self.scratch, rig.unique("-replay"))
            os.mkdir(directory)
        os.chmod(directory, 0o777)
        stats = os.path.join(directory, "stats.json")
        done = rig.run(*prefix, self.wirehaul, "-r", source, "-w", os.path.join(directory, output), "--stats-file",
                       stats, "--min-free", "1", *options, check=False, timeout=60 * self.options.slow)
        found = json.loads(Path(stats).read_text(encoding="utf-8")) if os.path.exists(stats) else None
        files = sorted(str(path) for path in Path(directory).iterdir() if path.suffix != ".json")
        return Outcome(done.returncode, done.stderr, found, 0, files)

    def test_replay(self):
        shape = {"mix": "60,594,1514"}
        (source,) = self.record(5000, **shape)
        outcome = self.replay(source, "-C", "2")
        self.assertEqual(outcome.status, 0, outcome.stderr)
        counted = self.count(outcome.files, count=5000, **shape)
        self.assertComplete(counted, 5000)
        self.assertBooks(outcome, counted)
        self.assertGreater(len(outcome.files), 1)
        self.assertOpens(outcome.files)

    def test_replay_of_pcap(self):
        for kind in ("pcap", "pcap-ns"):
            with self.subTest(kind=kind):
                (source,) = self.record(1000, "--format", kind, output="trace.pcap", size=SIZE)
                outcome = self.replay(source)
                self.assertEqual(outcome.status, 0, outcome.stderr)
                self.assertComplete(self.count(outcome.files, size=SIZE, count=1000), 1000)

    def test_files_of_earlier_captures(self):
        """With --adopt they are the oldest for -W; without it, and whatever is not the user's own, they stay."""
        (source,) = self.record(3000, size=SIZE)
        directory = os.path.join(self.scratch, "earlier")
        os.mkdir(directory)

        def make(name, **times):
            path = os.path.join(directory, name)
            Path(path).write_bytes(b"x")
            os.utime(path, **times)
            return path

        strangers = [make(name) for name in (
            "replayed_00001_20200101000000.pcap", "replayed_eth0_00001_20200101000000.pcapng", "replayed_marks.txt",
            "other_00001_20200101000000.pcapng", "replayed_00001_20200101000000.pcapng.gz",
            "replayed_00001_20200101000001.pcapng")]
        os.chown(strangers[-1], 65534, 65534)
        for name, make_it in (("replayed_00002_20200101000001.pcapng", os.symlink),
                              ("replayed_00003_20200101000001.pcapng", os.link)):
            strangers.append(os.path.join(directory, name))
            make_it(strangers[0], strangers[-1])
        # By the time at which they were written last, not by their names.
        newest = make("replayed_00001_20200101000000.pcapng", times=(9000, 9000))
        older = [make(f"replayed_{number:05}_20200101000000.pcapng", times=(1000, 1000)) for number in (2, 3)]
        first = self.replay(source, "-C", "2", "-W", "2", directory=directory)
        self.assertEqual(first.status, 0, first.stderr)
        self.assertLessEqual({*strangers, newest, *older}, set(first.files))
        own = set(first.files) - {*strangers, newest, *older}
        self.assertEqual((len(own), first.stats["files"] > 2), (2, True))
        # Its three files and the newest three of what is there.
        keep = str(first.stats["files"] + 3)
        second = self.replay(source, "-C", "2", "-W", keep, "--adopt", "-v", directory=directory)
        self.assertEqual(second.status, 0, second.stderr)
        self.assertEqual(second.stats["files"], first.stats["files"])
        self.assertRegex(second.stderr, r"5 files .*\(--adopt\)")
        self.assertLessEqual({*strangers, newest, *own}, set(second.files))
        self.assertEqual(set(older) & set(second.files), set())
        self.assertEqual(second.stats["files_left"], 0)
        # A capture that deletes nothing takes nothing over.
        third = self.replay(source, "--adopt", "-v", directory=directory)
        self.assertEqual((third.status, "(--adopt)" in third.stderr), (0, False), third.stderr)
        self.assertLessEqual(set(second.files), set(third.files))

    def test_replay_with_a_filter(self):
        (source,) = self.record(3000, mix="60,594,1514")
        outcome = self.replay(source, "less", "100")
        self.assertEqual(outcome.status, 0, outcome.stderr)
        self.assertNumbers(self.count(outcome.files, mix="60,594,1514"), frames=1000, corrupt=0)

    def test_replay_without_root(self):
        rig.need("setpriv")
        user = pwd.getpwnam(NOBODY)
        prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        public = self.enterContext(rig.Public(self.wirehaul))
        self.scratch, self.wirehaul = public.path, public.program
        (source,) = self.record(1000, size=SIZE)
        os.chmod(os.path.dirname(source), 0o755)
        os.chmod(source, 0o644)
        outcome = self.replay(source, prefix=prefix)
        self.assertEqual(outcome.status, 0, outcome.stderr)
        self.assertComplete(self.count(outcome.files, size=SIZE, count=1000), 1000)

    def test_replay_of_a_damaged_file(self):
        """What could be read is kept; that there was more is said."""
        (source,) = self.record(2000, size=SIZE)
        cut = os.path.join(self.scratch, "cut.pcapng")
        content = Path(source).read_bytes()
        Path(cut).write_bytes(content[: len(content) // 2])
        outcome = self.replay(cut)
        self.assertEqual(outcome.status, 4, outcome.stderr)
        self.assertRegex(outcome.stderr, "truncated|damaged")
        counted = self.count(outcome.files, size=SIZE)
        self.assertSound(counted)
        self.assertNumbers(counted, first=1, missing=0, duplicated=0)
        self.assertGreater(counted["frames"], 500)


if __name__ == "__main__":
    case.main()
