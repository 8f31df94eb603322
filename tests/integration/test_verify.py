# SPDX-License-Identifier: BSD-3-Clause
"""wirehaul verify and wirehaul repair: what they say of files, whole and damaged, and what they make of them."""

import json
import os
import random
import signal
import stat
import struct
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import numbered
import rig

SEED = 20240229
PAGE = 4096
HEAD = 0x80005748
SIZE = 1414
KILL_SIZE = 700
KILL_RATE = 100000
KILL_RING_KIB = 16384
QUIET_RATE = 100
FLIPPED = 16  # files with flipped bits
WHOLE, NOT_WHOLE, UNREAD = 0, 1, 2  # exit statuses of verify


def chunks(content):
    """Offset and length of each chunk of a whole file, by docs/format.md."""
    found, at = [], 0
    while at < len(content):
        kind, length = struct.unpack_from("<II", content, at)
        if kind == HEAD:
            found.append((at, struct.unpack_from("<I", content, at + 32)[0]))
            length = found[-1][1]
        at += length
    return found


class VerifyCase(case.Case):
    def verify(self, *paths, status=None):
        """What verify --json says of PATHS; STATUS is the exit status it must have, if that is known."""
        done = rig.run(self.wirehaul, "verify", "--json", *paths, check=False)
        if status is not None:
            self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        told = json.loads(done.stdout)
        self.assertEqual(told["whole"], done.returncode == WHOLE)
        self.assertEqual([each["file"] for each in told["files"]], [str(path) for path in paths])
        return told

    def repair(self, *args, status=0):
        done = rig.run(self.wirehaul, "repair", *args, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def refused(self, *args, status=2, words=()):
        """The command ends with one line that has WORDS, and makes no file."""
        before = self.names()
        done = rig.run(self.wirehaul, *args, check=False)
        self.assertEqual(done.returncode, status, (args, done.stdout, done.stderr))
        self.assertEqual(len(done.stderr.splitlines()), 1, (args, done.stderr))
        self.assertTrue(done.stderr.startswith("wirehaul: "), done.stderr)
        for word in words:
            self.assertIn(str(word), done.stderr, args)
        self.assertEqual(self.names(), before, args)

    def names(self):
        return sorted(str(path) for path in Path(self.scratch).rglob("*"))

    def replayed(self, frames=3000, size=SIZE, options=("--block-size", "64KiB", "-C", "100")):
        """The files of a chain with FRAMES numbered frames."""
        source = os.path.join(self.scratch, rig.unique("-source.pcap"))
        Path(source).write_bytes(numbered.pcap([numbered.frame(number, size) for number in range(1, frames + 1)]))
        directory = os.path.join(self.scratch, rig.unique("-chain"))
        os.mkdir(directory)
        rig.run(self.wirehaul, "-q", "-r", source, "-w", os.path.join(directory, "trace.pcapng"), "--min-free", "0",
                "-B", "2048", *options)
        return sorted(str(path) for path in Path(directory).iterdir())

    def written(self, content, name=None):
        path = os.path.join(self.scratch, name or rig.unique("-damaged.pcapng"))
        Path(path).write_bytes(content)
        return path

    def repaired(self, path, frames, tools=("tcpdump", "capinfos"), sections=1):
        """Repairs PATH; what comes of it is whole for everybody and has FRAMES frames. Returns its path and count."""
        out = path + "-out.pcapng"
        self.repair(path, "-o", out)
        told = self.verify(out, status=WHOLE)["files"][0]
        self.assertEqual(told["health"], "whole", told)
        self.assertEqual(told["frames"], frames, told)
        counted = self.count([out], size=SIZE)
        self.assertNumbers(counted, whole=1, truncated=0, damaged=0, zero_tail=0, corrupt=0, libpcap_differs=0,
                           frames=frames)
        if sections == 1:
            self.assertNumbers(counted, chunk_errors=0)
        self.assertLibpcapReads(counted)
        self.assertOpens([out], tools, counted)
        return out, counted


class Damage(VerifyCase):
    def test_whole_chain(self):
        files = self.replayed(options=("--block-size", "64KiB", "-C", "1"))
        self.assertGreater(len(files), 3)
        told = self.verify(*files, status=WHOLE)
        self.assertEqual(sum(each["frames"] for each in told["files"]), 3000)
        for before, behind in zip(told["files"], told["files"][1:]):
            self.assertEqual(behind["first_chunk"], before["last_chunk"] + 1)
        for each in told["files"]:
            self.assertEqual((each["health"], each["what"], each["format"], each["ours"]),
                             ("whole", "", "pcapng", True))
            self.assertEqual(each["readable_bytes"], os.path.getsize(each["file"]))
        # One that is not among them is missed; its own neighbours are whole.
        for given in ([files[0], *files[2:]], [*files[:1:-1], files[0]]):  # in whatever order
            (gap,) = self.verify(*given, status=NOT_WHOLE)["gaps"]
            self.assertEqual((gap["before"], gap["behind"]), (files[0], files[2]))
        # For a person: a line for each, and with -q none where there is nothing to say.
        lines = rig.run(self.wirehaul, "verify", *files).stdout.splitlines()
        self.assertEqual([line.split(": ")[0] for line in lines], files)
        self.assertEqual(rig.run(self.wirehaul, "verify", "-q", *files).stdout, "")
        # There is nothing to repair, and nothing is made.
        before = self.names()
        self.repair(*files)
        self.assertEqual(self.names(), before)

    def damages(self, content, parts):
        """(name, verdict, damaged content) of each kind of damage to the file CONTENT, whose chunks are PARTS."""
        (first, first_bytes), (middle, middle_bytes) = parts[2], parts[len(parts) // 2]
        dice = random.Random(SEED)
        for _ in range(4):
            cut = dice.randrange(parts[0][0] + 1, len(content))
            yield f"cut at {cut}", "cut", content[:cut]
        yield "cut between chunks", "open", content[:middle]
        garbage = dice.randbytes(PAGE)
        for at in (0, first, middle + middle_bytes // 2 & -PAGE, parts[-1][0] - PAGE):
            yield f"garbage at {at}", "damaged", content[:at] + garbage + content[at + PAGE:]
        yield "a word", "damaged", content[:middle + 8192] + b"\xff" * 1500 + content[middle + 9692:]
        yield "removed", "damaged", content[:first] + content[middle:]
        yield "doubled", "damaged", content[:middle] + content[first:first + first_bytes] + content[middle:]
        yield "a hole", "damaged", content[:first] + bytes(middle - first) + content[middle:]
        yield "zeros behind", "damaged", content + bytes(100000)
        yield "garbage in between", "damaged", content[:middle] + garbage + content[middle:]
        yield "no header", "damaged", content[parts[0][0]:]
        yield "another behind it", "whole", content + content
        yield "another behind half a one", "damaged", content[:middle + 12345] + content

    def test_damage(self):
        (path,) = self.replayed(1500, options=("--block-size", "32KiB"))
        content = Path(path).read_bytes()
        parts = chunks(content)
        self.assertGreater(len(parts), 20)
        for number, (name, verdict, damaged) in enumerate(self.damages(content, parts)):
            with self.subTest(name):
                broken = self.written(damaged)
                told = self.verify(broken, status=WHOLE if verdict == "whole" else NOT_WHOLE)["files"][0]
                self.assertEqual(told["health"], verdict, told)
                # The independent reader stops where this one says that readers do.
                counted = self.count([broken], size=SIZE)
                state = {"open": "whole", "cut": "truncated"}.get(verdict, verdict)
                if verdict in ("open", "cut", "whole"):
                    self.assertEqual(counted["each"][0]["state"], state)
                tools = ("tcpdump", "capinfos", "tshark")[:3 if number % 6 == 0 else 2]
                joined = name.startswith("another")
                out, counted = self.repaired(broken, told["frames"], tools, 2 if joined else 1)
                made = Path(out).read_bytes()
                pages = {made[at:at + 64]: at for at in range(0, len(made), PAGE)}
                saved = 0
                for at, length in parts:
                    chunk = content[at:at + length]
                    if damaged.find(chunk) < 0:
                        continue
                    saved += struct.unpack_from("<I", chunk, 36)[0]
                    there = pages.get(chunk[:64])
                    self.assertIsNotNone(there, f"the chunk at {at} is lost")
                    self.assertEqual(made[there:there + length], chunk)
                self.assertGreaterEqual(counted["distinct"], saved)
                if not joined:
                    self.assertEqual(counted["duplicated"], 0)
                Path(out).unlink()

    def test_flipped_bits(self):
        """Bits at random, in heads and lengths or anywhere: each repair opens everywhere and has what was not hit."""
        (path,) = self.replayed(1500, options=("--block-size", "32KiB"))
        content = Path(path).read_bytes()
        parts = chunks(content)
        places = [at + word for at, _ in parts for word in range(160)] + list(range(160))
        dice = random.Random(SEED)
        outs, frames, missing = [], 0, 0
        for number in range(FLIPPED):
            damaged = bytearray(content)
            hits = [dice.choice(places) if number % 2 else dice.randrange(len(content))
                    for _ in range(2 ** (number % 6))]
            for at in hits:
                damaged[at] ^= 1 << dice.randrange(8)
            broken = self.written(bytes(damaged))
            with self.subTest(number=number, hits=hits):
                out = broken + "-out.pcapng"
                self.repair(broken, "-o", out)
                outs.append(out)
                made = Path(out).read_bytes()
                for at, length in parts:
                    if not any(at <= hit < at + length for hit in hits):
                        self.assertIn(content[at:at + length], made, f"the chunk at {at} is lost")
            Path(broken).unlink()
        for each in self.verify(*outs)["files"]:
            self.assertEqual(each["health"], "whole", each)
            frames += each["frames"]
            missing += each["frames_missing"]
        self.assertGreater(missing, 0)
        counted = rig.run("capinfos", "-c", "-M", *outs).stdout
        self.assertEqual(sum(int(line.split()[-1]) for line in counted.splitlines() if "Number of" in line), frames)
        for out in outs:
            rig.run("tcpdump", "-n", "-r", out, "-w", "/dev/null")
        rig.run("tshark", "-n", "-r", outs[-1], "-w", "/dev/null")

    def test_a_lost_interface(self):
        """What is guessed in the place of a description fits the others."""
        (path,) = self.replayed(200)
        content = bytearray(Path(path).read_bytes())
        section = struct.unpack_from("<I", content, 4)[0]
        content[section + 4:section + 8] = b"\0\0\0\0"
        out, _ = self.repaired(self.written(bytes(content)), 200, ("tcpdump", "tshark", "capinfos"))
        self.assertIn("unknown-0", rig.run("capinfos", out).stdout)

    def test_classic_pcap(self):
        content = numbered.pcap([numbered.frame(number, SIZE) for number in range(1, 101)])
        path = self.written(content, "classic.pcap")
        self.assertEqual(self.verify(path, status=WHOLE)["files"][0]["frames"], 100)
        path = self.written(content[:-1], "cut.pcap")
        self.assertEqual(self.verify(path, status=NOT_WHOLE)["files"][0]["health"], "cut")
        self.repair(path)
        out = os.path.join(self.scratch, "cut_repaired.pcap")
        self.assertEqual(Path(out).read_bytes(), content[:-(SIZE + 16)])


class Files(VerifyCase):
    """What is not overwritten, not followed, and not left behind."""

    def setUp(self):
        super().setUp()
        (path,) = self.replayed(300)
        self.content = Path(path).read_bytes()
        self.cut = self.written(self.content[:-5000], "cut.pcapng")

    def test_refusals(self):
        for command in ("verify", "repair"):
            self.refused(command, words=["name the file"])
            self.refused(command, "--no-such", self.cut, words=["--no-such", "--help"])
            self.refused(command, os.path.join(self.scratch, "absent"), words=["absent"])
            self.refused(command, self.scratch, words=["directory"])
            self.refused(command, "-xq", self.cut, words=[" -x "])
            self.refused(command, "--quiet=1", self.cut, words=["--quiet=1"])
            self.refused(command, "/dev/zero", words=["ordinary"])
            fifo = os.path.join(self.scratch, "fifo")
            if not os.path.exists(fifo):
                os.mkfifo(fifo)
            self.refused(command, fifo, words=["ordinary"])
            self.assertIn("usage", rig.run(self.wirehaul, command, "--help").stdout)
        foreign = self.written(b"This is no capture file.\n" * 1000, "text")
        self.assertEqual(self.verify(foreign, status=NOT_WHOLE)["files"][0]["health"], "foreign")
        self.refused("repair", foreign, words=["text"])
        self.refused("repair", self.cut, self.cut, "-o", "x", words=["one file"])
        self.refused("repair", self.cut, "-o", "x", "--in-place", words=["--in-place"])
        self.refused("repair", self.cut, "-o", os.path.join(self.scratch, "absent/x"), words=["does not exist"])
        self.refused("repair", self.cut, "-o", os.path.join(self.cut, "x"), words=["no directory"])
        self.refused("repair", os.path.join(self.scratch, "absent"), "-o", "x", words=["absent"])
        # One that cannot be read does not keep the others from being looked at.
        done = rig.run(self.wirehaul, "verify", "/nowhere", self.cut, check=False)
        self.assertEqual(done.returncode, UNREAD)
        self.assertIn("cut.pcapng: cut", done.stdout)

    def test_names_that_are_taken(self):
        out = self.written(b"mine", "taken.pcapng")
        self.refused("repair", self.cut, "-o", out, words=["exists"])
        self.assertEqual(Path(out).read_bytes(), b"mine")
        link = os.path.join(self.scratch, "link.pcapng")
        os.symlink(os.path.join(self.scratch, "target"), link)
        self.refused("repair", self.cut, "-o", link, words=["exists"])
        self.repair(self.cut)
        beside = os.path.join(self.scratch, "cut_repaired.pcapng")
        self.assertEqual(stat.S_IMODE(os.stat(beside).st_mode), 0o600)
        self.assertEqual(self.verify(beside, status=WHOLE)["files"][0]["health"], "whole")
        self.refused("repair", self.cut, words=["cut_repaired.pcapng", "exists"])

    def test_without_nameless_files(self):
        """Where a file cannot be made without a name, it has one of its own until it is complete."""
        out = os.path.join(self.scratch, "out.pcapng")
        script = 'mount -t tmpfs none /proc && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", self.wirehaul, "repair", self.cut, "-o", out]
        rig.run(*command)
        self.assertEqual(self.verify(out, status=WHOLE)["files"][0]["health"], "whole")
        before = self.names()
        done = rig.run(*command, check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(self.names(), before)

    def test_in_place(self):
        link = os.path.join(self.scratch, "link.pcapng")
        os.symlink(self.cut, link)
        self.refused("repair", "--in-place", link, words=["symbolic link"])
        with open(self.cut, "ab"):
            self.refused("repair", "--in-place", self.cut, words=["written by somebody"])
        os.chmod(self.cut, 0o640)
        os.chown(self.cut, 65534, 65534)
        told = self.verify(self.cut)["files"][0]
        self.assertFalse(told["repaired"])
        self.repair("--in-place", self.cut)
        about = os.stat(self.cut)
        self.assertEqual((stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid), (0o640, 65534, 65534))
        made = self.verify(self.cut, status=WHOLE)["files"][0]
        self.assertTrue(made["repaired"])
        self.assertEqual((made["frames"], made["frames_missing"]), (told["frames"], told["frames_missing"]))
        self.assertEqual([name for name in os.listdir(self.scratch) if name.startswith(".")], [])

    def test_no_room(self):
        disk = self.enterContext(rig.Tmpfs(self.scratch, 1))
        (path,) = self.replayed(2000)
        large = self.written(Path(path).read_bytes()[:-5000])
        out = os.path.join(disk.path, "out.pcapng")
        self.refused("repair", large, "-o", out, status=4, words=["No space left"])
        self.assertEqual(os.listdir(disk.path), [])

    def test_names_of_any_bytes(self):
        path = os.path.join(os.fsencode(self.scratch), b"\xff\x1b[2J\n.pcapng")
        Path(os.fsdecode(path)).write_bytes(self.content)
        told = json.loads(rig.run(self.wirehaul, "verify", "--json", os.fsdecode(path)).stdout)
        self.assertEqual(told["files"][0]["health"], "whole")
        shown = rig.run(self.wirehaul, "verify", os.fsdecode(path), text=False).stdout
        self.assertEqual((shown.count(b"\n"), shown.count(b"\x1b")), (1, 0))


class Kill(VerifyCase):
    """SIGKILL at random moments: verify, capinfos and wh-count agree on what is left, and a repair saves all of it."""

    def judge(self, files):
        told = self.verify(*files)["files"]
        self.assertEqual(self.verify(*files)["gaps"], [])
        counted = self.count(files, size=KILL_SIZE)
        self.assertNumbers(counted, damaged=0, zero_tail=0, corrupt=0, chunk_errors=0, chunk_gaps=0)
        for each, other in zip(told, counted["each"]):
            self.assertIn(each["health"], ("whole", "open", "cut"), each)
            # Only the file that was being written, or was waiting to be closed, is not whole; none is damaged.
            self.assertEqual(other["state"], "truncated" if each["health"] == "cut" else "whole", each)
            # libpcap reads what is in front of the cut as well, and so does verify.
            self.assertEqual(each["frames"], other["libpcap_frames"], each)
            if each["health"] != "cut":
                self.assertEqual(each["frames"], other["frames"], each)
                self.assertEqual(each["readable_bytes"], each["bytes"], each)
                self.assertOpens([each["file"]], ("capinfos",), {"each": [other]})
        return told

    def mend(self, told, **expected):
        out = told["file"] + "-out"
        self.repair(told["file"], "-o", out)
        made = self.verify(out, status=WHOLE)["files"][0]
        self.assertEqual((made["frames"], made["chunks_missing"]), (told["frames"], 0), made)
        counted = self.count([out], size=KILL_SIZE)
        self.assertNumbers(counted, whole=1, corrupt=0, frames=told["frames"], chunk_errors=0, **expected)
        self.assertOpens([out], ("tcpdump", "capinfos"), counted)
        os.unlink(out)

    def test_kill(self):
        dice = random.Random(SEED)
        kills = max(2, self.options.kills // 4)
        seconds = 3600
        pair = self.pair()
        self.blast(pair.left, pair.LEFT, count=0, seconds=seconds, size=KILL_SIZE, **self.rate(KILL_SIZE, KILL_RATE))
        # A second link with so little on it that its frames are gathered; both senders count from 1.
        pair.right.ip("link", "add", "quiet0", "type", "veth", "peer", "name", "quiet1")
        for name in ("quiet0", "quiet1"):
            pair.right.ip("link", "set", name, "up")
        self.blast(pair.right, "quiet0", count=0, seconds=seconds, size=KILL_SIZE, rate=QUIET_RATE)
        found = {of: {"kills": 0, "frames": 0, "whole": 0, "open": 0, "cut": 0} for of in ("one", "two")}
        for number in range(kills):
            single = number % 2 == 0
            interfaces = pair.RIGHT if single else f"{pair.RIGHT},quiet1"
            capture = self.capture(interfaces, "-B", str(KILL_RING_KIB), "-C", "3", namespace=pair.right)
            time.sleep(dice.uniform(0, 0.3) * self.options.slow)
            capture.kill(signal.SIGKILL)
            capture.wait(10)
            seen = found["one" if single else "two"]
            seen["kills"] += 1
            with self.subTest(number=number):
                told = self.judge(capture.files())
                for each in told:
                    seen[each["health"]] += 1
                    seen["frames"] += each["frames"]
                    if each["health"] != "whole":
                        self.mend(each, **({"duplicated": 0} if single else {}))
            for path in capture.files():
                os.unlink(path)
        print(f"(adapters: {found})", end=" ")
        for seen in found.values():
            self.assertGreater(seen["open"] + seen["cut"], 0)

    def test_while_it_is_written(self):
        """Of a file that grows, verify never says that it is damaged; a repair makes a whole one of what there is."""
        pair = self.pair()
        self.blast(pair.left, pair.LEFT, count=0, seconds=600, size=KILL_SIZE, **self.rate(KILL_SIZE, 5000))
        # It is the only one for as long as this takes.
        capture = self.capture(pair.RIGHT, "-B", "8192", "-C", "1000", namespace=pair.right)
        capture.wait_written(1)
        (path,) = capture.files()
        last = 0
        for number in range(20):
            told = self.verify(path)["files"][0]
            self.assertIn(told["health"], ("open", "cut"), told)
            self.assertGreaterEqual(told["frames"], last)
            last = told["frames"]
        out = os.path.join(self.scratch, "copy.pcapng")
        self.repair(path, "-o", out)
        self.assertEqual(self.verify(out, status=WHOLE)["files"][0]["health"], "whole")
        self.refused("repair", "--in-place", path, words=["written by somebody"])
        outcome = capture.stop()
        self.assertStopped(outcome)
        told = self.verify(path, status=WHOLE)["files"][0]
        self.assertEqual(told["frames"], outcome.stats["frames_written"])


if __name__ == "__main__":
    case.main()
