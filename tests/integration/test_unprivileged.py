# SPDX-License-Identifier: BSD-3-Clause
"""Without root: captures with file capabilities; what remains of privileges; whom it cannot be made to harm."""

import contextlib
import os
import pwd
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig
import unit

NOBODY = "nobody"
STRANGER = 65533  # a user id that nobody has
SIZE = 1414
SECRET = "a victim's"

NET_RAW = unit.capability_set("CAP_NET_RAW")
# What root without -Z keeps: docs/service.md says what for.
OF_ROOT = unit.capability_set("CAP_NET_RAW CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_IPC_LOCK")


def numbers(mask):
    """The capabilities in a mask as /proc shows it."""
    return {number for number in range(64) if int(mask, 16) >> number & 1}


class Unprivileged(case.Case):
    def setUp(self):
        super().setUp()
        rig.need("setpriv", "setcap")
        self.user = pwd.getpwnam(NOBODY)
        public = self.enterContext(rig.Public(self.wirehaul))
        self.built = self.wirehaul
        # Where that user gets to; the statistics files of Capture lie there, too.
        self.scratch, self.wirehaul = public.path, public.program
        os.chown(self.scratch, self.user.pw_uid, self.user.pw_gid)
        self.output = self.folder("out", self.user.pw_uid, 0o755)
        self.victim = os.path.join(self.scratch, "victim")
        Path(self.victim).write_text(SECRET, encoding="ascii")
        os.chown(self.victim, self.user.pw_uid, self.user.pw_gid)
        self.net = self.pair()

    def folder(self, name, owner, mode):
        path = os.path.join(self.scratch, name)
        os.mkdir(path)
        os.chown(path, owner, owner if owner == 0 else self.user.pw_gid)
        os.chmod(path, mode)
        return path

    def give(self, capabilities="cap_net_raw"):
        """The program gets file capabilities."""
        done = rig.run("setcap", f"{capabilities}+ep", self.wirehaul, check=False)
        if done.returncode != 0:
            self.skipTest(f"this file system takes no file capabilities: {done.stderr.strip()}")

    def nobody(self, *more):
        """What stands before a command so that an ordinary user runs it."""
        return ["setpriv", f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}", "--clear-groups",
                *(more or ["--inh-caps=-all"])]

    def start(self, *options, prefix=None, directory=None, **more):
        return self.capture(self.net.RIGHT, *options, namespace=self.net.right, directory=directory or self.output,
                            prefix=self.nobody() if prefix is None else prefix, **more)

    def refused(self, *options, words=(), prefix=None):
        """It ends with one line and status 2."""
        prefix = self.nobody() if prefix is None else prefix
        done = rig.run(*self.net.right.prefix, *prefix, self.wirehaul, "-i", self.net.RIGHT, "--min-free", "1",
                       *options, check=False, timeout=20 * self.options.slow)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word.lower(), done.stderr.lower())
        return done.stderr

    def send(self, count=2000, **more):
        self.blast(self.net.left, self.net.LEFT, count=count, size=SIZE, **more).result()

    def threads(self, process):
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                text = (task / "status").read_text(encoding="utf-8")
                yield dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    def assertKeeps(self, capture, wanted, bounding=None):
        """Each thread has exactly the capabilities WANTED, and none that it could hand on."""
        found = list(self.threads(capture))
        self.assertGreaterEqual(len(found), 4)
        for status in found:
            self.assertEqual(numbers(status["CapEff"]), wanted, status["Name"])
            self.assertEqual(numbers(status["CapPrm"]), wanted, status["Name"])
            self.assertEqual(numbers(status["CapInh"]), set(), status["Name"])
            self.assertEqual(numbers(status["CapAmb"]), set(), status["Name"])
            if bounding is not None:
                self.assertEqual(numbers(status["CapBnd"]), bounding, status["Name"])

    def assertUntouched(self):
        self.assertEqual(Path(self.victim).read_text(encoding="ascii"), SECRET)
        self.assertEqual(os.stat(self.victim).st_nlink, 1)

    def finish(self, capture, frames=2000):
        outcome = capture.stop()
        self.assertStopped(outcome)
        files = [path for path in outcome.files if path.endswith(".pcapng") and not os.path.islink(path)]
        self.assertComplete(self.count(files, size=SIZE, count=frames), frames)
        return outcome


class Capabilities(Unprivileged):
    """What is left of privileges once the adapters are open."""

    def test_file_capabilities(self):
        """CAP_NET_RAW on the program is enough: for each frame, for many files, and for an adapter that comes later."""
        self.give()
        capture = self.start("-C", "1")
        self.assertKeeps(capture, NET_RAW)
        self.send()
        outcome = self.finish(capture)
        self.assertGreater(len(outcome.files), 2)
        for path in outcome.files:
            found = os.stat(path)
            self.assertEqual((found.st_uid, stat.S_IMODE(found.st_mode)), (self.user.pw_uid, 0o600))

    def test_adapter_that_comes_later(self):
        self.give()
        capture = self.capture("any", namespace=self.net.right, directory=self.output, prefix=self.nobody())
        self.net.right.ip("link", "add", "name", "wc", "type", "veth", "peer", "name", "wd")
        for name in ("wc", "wd"):
            self.net.right.ip("link", "set", name, "up")
        rig.wait_for(lambda: sum(each["present"] for each in capture.stats()["interfaces"]) == 3,
                     10 * self.options.slow, "they are joined")
        # On its own adapter nobody sees what goes round the queues.
        self.blast(self.net.right, "wc", count=1000, size=SIZE).result()
        self.send(count=1000, first=1001)
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertNumbers(self.count(outcome.files, size=SIZE, count=2000), distinct=2000, missing=0, duplicated=0)

    def test_too_many_file_capabilities(self):
        """What the program was given beyond its need is not kept."""
        self.give("cap_net_raw,cap_sys_admin,cap_dac_override,cap_setuid")
        # With -Z, to stay who one is, no more than without.
        for options in ((), ("-Z", NOBODY)):
            with self.subTest(options=options):
                capture = self.start(*options, directory=self.folder(f"out{len(options)}", self.user.pw_uid, 0o755))
                self.assertKeeps(capture, NET_RAW)
                self.send()
                self.finish(capture)

    PLUGIN = """#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) { creat(TOLD, 0644); }
"""

    def test_library_of_a_stranger(self):
        """Whoever may run the program has no code of his own run with its capabilities: variables from which libraries
        take the names of others to load are gone. What a command of -z may need is not."""
        rig.need("cc")
        self.give()
        told, shown = os.path.join(self.output, "told"), os.path.join(self.output, "shown")
        plugins = self.folder("plugins", self.user.pw_uid, 0o755)
        rig.run("cc", "-shared", "-fPIC", f'-DTOLD="{told}"', "-x", "c", "-o", f"{plugins}/hwloc_mine.so", "-",
                input=self.PLUGIN)
        capture = self.start("-z", f"env > {shown}; true", env={"PATH": os.environ["PATH"], "LC_ALL": "C",
                                                                "HWLOC_PLUGINS_PATH": plugins})
        self.send()
        self.finish(capture)
        self.assertFalse(os.path.exists(told))
        rig.wait_for(lambda: os.path.exists(shown) and "PATH=" in Path(shown).read_text(encoding="utf-8"),
                     10 * self.options.slow, "the command has run")
        names = set(re.findall(r"(?m)^(\w+)=", Path(shown).read_text(encoding="utf-8")))
        self.assertLessEqual({"PATH", "LC_ALL"}, names)
        self.assertLessEqual(names, {"PATH", "LC_ALL", "PWD", "OLDPWD", "SHLVL", "_"})

    def test_locked_memory(self):
        """CAP_IPC_LOCK, which spares a limit on locked memory, is kept where it was given."""
        self.give("cap_net_raw,cap_ipc_lock")
        self.assertKeeps(self.start(), NET_RAW | unit.capability_set("CAP_IPC_LOCK"))

    def test_ambient(self):
        """As a service manager gives it. Commands of -z do not inherit it."""
        told = os.path.join(self.output, "told")
        capture = self.start("-C", "1", "-z", f"grep Cap /proc/self/status > {told}; true",
                             prefix=self.nobody("--inh-caps=+net_raw", "--ambient-caps=+net_raw"))
        self.assertKeeps(capture, NET_RAW)
        self.send()
        rig.wait_for(lambda: os.path.exists(told) and "CapAmb" in Path(told).read_text(encoding="ascii"),
                     10 * self.options.slow, "the command has run")
        shown = dict(re.findall(r"(Cap\w+):\t(\w+)", Path(told).read_text(encoding="ascii")))
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(numbers(shown[name]), set(), name)
        self.assertStopped(capture.stop())

    def test_root(self):
        """Root that stays root keeps what a capture needs, not what rules the machine."""
        capture = self.start(prefix=())
        self.assertKeeps(capture, OF_ROOT)
        self.send()
        self.finish(capture)

    def test_user(self):
        """-Z: CAP_NET_RAW alone, and nothing can be got back."""
        capture = self.start("-Z", NOBODY, prefix=())
        self.assertKeeps(capture, NET_RAW, bounding=set())
        for status in self.threads(capture):
            self.assertEqual(set(status["Uid"].split()), {str(self.user.pw_uid)})
        self.send()
        self.finish(capture)


class Commands(Unprivileged):
    """What -z runs is run as whom."""

    def identity(self, *options, prefix=None):
        """What a command of -z says it is."""
        told = os.path.join(self.output, "told")
        command = f"sh -c 'grep -E \"^(Uid|Gid|Groups|Cap|NoNew)\" /proc/self/status >> {told}' sh"
        capture = self.start("-C", "1", "-z", command, *options, prefix=prefix)
        self.send()
        outcome = capture.stop()
        self.assertStopped(outcome)
        # One for each file, the last ones started at the end without anybody waiting for them.
        rig.wait_for(lambda: os.path.exists(told) and Path(told).read_text(encoding="ascii").count("CapAmb") >=
                     len([path for path in outcome.files if path.endswith(".pcapng")]),
                     10 * self.options.slow, "all commands have run")
        text = Path(told).read_text(encoding="ascii")
        return {name: set(re.findall(rf"^{name}:[ \t]*(.*)$", text, re.MULTILINE))
                for name in ("Uid", "Gid", "Groups", "CapEff", "CapPrm")}

    def assertPowerless(self, told):
        uid, gid = self.user.pw_uid, self.user.pw_gid
        self.assertEqual({word for line in told["Uid"] for word in line.split()}, {str(uid)})
        self.assertEqual({word for line in told["Gid"] for word in line.split()}, {str(gid)})
        self.assertLessEqual({word for line in told["Groups"] for word in line.split()}, {str(gid)})
        for name in ("CapEff", "CapPrm"):
            self.assertEqual([numbers(mask) for mask in told[name]], [set()], name)

    def test_file_capabilities(self):
        self.give("cap_net_raw,cap_setuid,cap_dac_override")
        self.assertPowerless(self.identity())

    def test_user(self):
        """Root with -Z: every command runs as that user, the ones at the end, too."""
        self.assertPowerless(self.identity("-Z", NOBODY, prefix=()))

    def test_nobody_cannot_become_root(self):
        self.give("cap_net_raw,cap_setuid,cap_setgid")
        self.refused("-w", f"{self.output}/trace.pcapng", "-Z", "root", "-z", "id", words=["-Z", "root"])
        self.assertEqual(os.listdir(self.output), [])

    def test_set_user_id(self):
        """A program that was made set-user-ID root says what to do instead, and touches nothing."""
        os.chown(self.wirehaul, 0, 0)
        for mode in (0o4755, 0o2755):
            os.chmod(self.wirehaul, mode)
            self.refused("-w", f"{self.output}/trace.pcapng", "-z", "id", words=["setcap", "set-user-ID"])
            self.assertEqual(os.listdir(self.output), [])

    def test_name_of_an_adapter_is_no_command(self):
        """With --per-interface the name of an adapter is in that of the file. It comes to the command as one word."""
        name = "$(id>p);`id>p`'"[:15]
        self.net.right.ip("link", "add", "name", name, "type", "veth", "peer", "name", "wd")
        for each in (name, "wd"):
            self.net.right.ip("link", "set", each, "up")
        here = self.folder("here", self.user.pw_uid, 0o755)
        told = os.path.join(here, "told")
        self.give()
        capture = self.capture(name, "--per-interface", "-z", f"printf '%s\\n' >> {told}", namespace=self.net.right,
                               directory=self.output, prefix=self.nobody(), cwd=here)
        outcome = capture.stop()
        self.assertStopped(outcome)
        rig.wait_for(lambda: os.path.exists(told) and Path(told).read_text(encoding="utf-8"), 10 * self.options.slow,
                     "the command has run")
        self.assertEqual(Path(told).read_text(encoding="utf-8").splitlines(), outcome.files)
        self.assertIn(name.replace(">", "%3E"), outcome.files[0])
        self.assertEqual(os.listdir(here), ["told"])


class Files(Unprivileged):
    """Whom it cannot be made to write to. The victim's file belongs to the user of the capture, so that permissions
    alone would not save it."""

    def setUp(self):
        super().setUp()
        self.give()

    def shared(self):
        """Directories that everybody may write to: as /tmp is, where the kernel may guard links, and worse."""
        yield self.folder("sticky", 0, 0o1777)
        yield self.folder("open", 0, 0o777)

    def as_stranger(self, script, *args):
        """A program of another user."""
        rig.run("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", sys.executable, "-c", script,
                *args)

    def test_elsewhere(self):
        """Directories that the user may not write to are refused; nothing is made."""
        closed = self.folder("closed", 0, 0o755)
        for place in (f"{closed}/trace.pcapng", f"{self.output}/../closed/trace.pcapng", "/trace.pcapng",
                      "/proc/self/trace.pcapng", "/dev/trace.pcapng"):
            self.refused("-w", place)
        for place in (f"{closed}/stats.json", "/stats.json"):
            self.refused("-w", f"{self.output}/trace.pcapng", "--stats-file", place)
        self.assertEqual((os.listdir(closed), os.listdir(self.output)), ([], []))

    PLANT = """import os, sys, time
directory, victim, number = sys.argv[1:]
for later in range(-1, 30):
    name = time.strftime(f"trace_{number}_%Y%m%d%H%M%S.pcapng", time.localtime(time.time() + later))
    os.symlink(victim, os.path.join(directory, name))"""

    def test_planted_names(self):
        """A stranger has put links to a file of the user's at every name that the first file could get. It takes
        another name: each frame is there, the links are as they were, and so is what they point to."""
        for directory in self.shared():
            with self.subTest(directory=directory):
                self.as_stranger(self.PLANT, directory, self.victim, "00001")
                planted = {name: os.lstat(os.path.join(directory, name)).st_ino for name in os.listdir(directory)}
                capture = self.start(directory=directory)
                self.send()
                self.finish(capture)
                self.assertUntouched()
                for name, inode in planted.items():
                    found = os.lstat(os.path.join(directory, name))
                    self.assertEqual((found.st_ino, stat.S_ISLNK(found.st_mode)), (inode, True))

    def test_planted_while_it_runs(self):
        """The same for the file after that."""
        for directory in self.shared():
            with self.subTest(directory=directory):
                capture = self.start("-C", "1", directory=directory)
                self.as_stranger(self.PLANT, directory, self.victim, "00002")
                self.send()
                self.finish(capture)
                self.assertUntouched()

    def test_existing_file(self):
        """A file that has the name already is not overwritten, though it is the user's own."""
        for later in range(-1, 30):
            name = time.strftime("trace_00001_%Y%m%d%H%M%S.pcapng", time.localtime(time.time() + later))
            path = os.path.join(self.output, name)
            Path(path).write_text(SECRET, encoding="ascii")
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
        before = sorted(os.listdir(self.output))
        capture = self.start()
        self.send()
        outcome = capture.stop()
        self.assertStopped(outcome)
        made = [path for path in outcome.files if os.path.basename(path) not in before]
        self.assertComplete(self.count(made, size=SIZE, count=2000), 2000)
        for name in before:
            self.assertEqual(Path(self.output, name).read_text(encoding="ascii"), SECRET)

    def test_marks_through_a_link(self):
        """The file of marks: neither a symbolic link nor a second name of a file leads a mark to the victim."""
        directory = self.folder("open", 0, 0o777)
        for plant in (os.symlink, os.link):
            with self.subTest(plant=plant.__name__):
                plant(self.victim, os.path.join(directory, f"{plant.__name__}_marks.txt"))
                control = os.path.join(self.output, f"{plant.__name__}.sock")
                capture = self.start("--control", control, directory=directory, output=f"{plant.__name__}.pcapng")
                done = rig.run(self.wirehaul, "mark", "--control", control, "what I did", check=False)
                self.assertEqual(Path(self.victim).read_text(encoding="ascii"), SECRET)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("_marks.txt", done.stderr)
                self.assertStopped(capture.stop())

    def test_statistics_through_a_link(self):
        """A link where the statistics are to go: refused at the start, replaced and not followed later."""
        for directory in self.shared():
            with self.subTest(directory=directory):
                stats = os.path.join(directory, "stats.json")
                self.as_stranger("import os, sys; os.symlink(*sys.argv[1:])", self.victim, stats)
                self.refused("-w", f"{self.output}/trace.pcapng", "--stats-file", stats, words=["link"])
                os.unlink(stats)
        # While it runs, a stranger may put a link in the place of the file, but not where there is a sticky bit.
        capture = self.capture(self.net.RIGHT, "--stats-file", stats, namespace=self.net.right, wait=False,
                               directory=self.folder("more", self.user.pw_uid, 0o755), prefix=self.nobody())
        rig.wait_for(lambda: os.path.exists(stats), 10 * self.options.slow, "the statistics are there")
        self.as_stranger("import os, sys; os.unlink(sys.argv[2]); os.symlink(*sys.argv[1:])", self.victim, stats)
        rig.wait_for(lambda: not os.path.islink(stats), 10 * self.options.slow, "they are written again")
        capture.kill(signal.SIGINT)
        self.assertEqual(capture.wait(20 * self.options.slow), 0, capture.stderr())
        self.assertUntouched()

    def test_temporary_names_of_statistics(self):
        """A stranger who knows the process's number has put links at the names that the temporary file would get."""
        directory = self.folder("open", 0, 0o777)
        stats = os.path.join(directory, "stats.json")
        # The shell has the number that the program will have, and waits for a word.
        waiting = ["sh", "-c", 'read word; exec "$@"', "sh", *self.nobody()]
        capture = self.start("--stats-file", stats, prefix=waiting, wait=False, stdin=subprocess.PIPE)
        script = """import os, sys
directory, victim, number = sys.argv[1:]
for attempt in range(4):
    os.symlink(victim, os.path.join(directory, f".wirehaul-stats-{number}-{attempt}"))"""
        self.as_stranger(script, directory, self.victim, str(capture.pid))
        capture.popen.stdin.write(b"go\n")
        capture.popen.stdin.flush()
        rig.wait_for(lambda: os.path.exists(stats), 10 * self.options.slow, "the statistics are there")
        capture.kill(signal.SIGINT)
        self.assertEqual(capture.wait(20 * self.options.slow), 0, capture.stderr())
        self.assertUntouched()
        self.assertFalse(os.path.islink(stats))

    def test_profile_of_a_stranger(self):
        """A profile may name a command; one that somebody else could have written is not read."""
        profile = os.path.join(self.scratch, "lan.conf")
        ran = os.path.join(self.output, "ran")
        Path(profile).write_text(f"interface = {self.net.RIGHT}\nwrite = {self.output}/trace.pcapng\n"
                                 f"hook = touch {ran}\nautostop = duration:1\n", encoding="ascii")
        run = [*self.net.right.prefix, *self.nobody(), self.wirehaul, "--profile", profile]
        for owner, mode, word in ((STRANGER, 0o644, "another user"), (0, 0o664, "written by others"),
                                  (0, 0o646, "written by others"), (self.user.pw_uid, 0o666, "written by others"),
                                  (0, 0o600, "must be able to read it")):
            os.chown(profile, owner, 0)
            os.chmod(profile, mode)
            done = rig.run(*run, check=False)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), done.stderr)
            self.assertIn(word, done.stderr)
        self.assertEqual(os.listdir(self.output), [])
        os.chmod(profile, 0o644)
        self.assertEqual(rig.run(*run, "--min-free", "1").returncode, 0)
        rig.wait_for(lambda: os.path.exists(ran), 10 * self.options.slow, "the command has run")


if __name__ == "__main__":
    case.main()
