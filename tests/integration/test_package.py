# SPDX-License-Identifier: BSD-3-Clause
"""The Debian packages on a clean system, and the service's unit.

The clean system is an overlay: the root directory of this machine, read-only, and an empty file system above it, with
dpkg's own records below. Unlike a debootstrap folder that needs no network, takes no time, and knows which packages
are installed, so that dpkg checks what the new ones depend on. It goes away with the test.
"""

import contextlib
import fcntl
import glob
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
SUPPORT = Path(__file__).resolve().parents[1] / "support"
sys.path.insert(0, str(SUPPORT))

import case
import rig
import unit as units
from listener import Listener
from machine import Machine

SOURCE = Path(__file__).resolve().parents[2]
UNIT = "/lib/systemd/system/wirehaul@.service"
SIZE = 1414
INSTANCE = "lan"
PROFILE = """# Made by a test.
interface = wb
write = trace.pcapng
file-size = 2
min-free = 1
stats-file = stats.json
"""


# What a test cannot wait for, and no core files. Otherwise the unit is as it is installed.
QUICKER = """[Service]
WatchdogSec=4
RestartSec=200ms
TimeoutStartSec=20
TimeoutStopSec=20
LimitCORE=0
"""

DEBIAN = {"cpack": "cmake", "dpkg-deb": "dpkg", "dpkg-shlibdeps": "dpkg-dev", "file": "file", "chroot": "coreutils",
          "systemd-analyze": "systemd", "man": "man-db", "mandoc": "mandoc", "lintian": "lintian", "dpkg": "dpkg"}


def need(*programs):
    """Skips the test when one of PROGRAMS is not installed, and says which package has it."""
    for program in programs:
        if shutil.which(program) is None:
            raise unittest.SkipTest(f"{program} is not installed (Debian: {DEBIAN[program]})")


class System(rig.Mount):
    """A clean system at .path: this machine's, with an empty file system over it."""

    def __init__(self, scratch):
        need("dpkg", "chroot")
        self._above = rig.Tmpfs(scratch, 500)
        above = self._above.path
        for name in ("upper", "work"):
            os.mkdir(os.path.join(above, name))
        super().__init__(scratch, "-t", "overlay", "-o", f"lowerdir=/,upperdir={above}/upper,workdir={above}/work",
                         rig.PREFIX)
        # Not what is mounted over this machine's root directory.
        for name in ("proc", "sys", "dev"):
            os.makedirs(os.path.join(self.path, name), exist_ok=True)
        self._hide()

    def _hide(self):
        """What an earlier installation on this machine may have left, and what has no part in this."""
        for name in ("usr/bin/wirehaul", "usr/local/bin/wirehaul", "lib/systemd/system/wirehaul@.service",
                     # Without this file, the index of all man pages is not made anew, which takes its time.
                     "var/lib/man-db/auto-update"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.inside(name))

    def _undo(self):
        super()._undo()
        self._above.close()

    def inside(self, name):
        return os.path.join(self.path, str(name).lstrip("/"))

    def run(self, *args, check=True, **options):
        """Runs a command in it, with a /proc and a /dev of its own."""
        script = ('mount --make-rprivate / && mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && '
                  'exec chroot "$0" "$@"')
        return rig.run("unshare", "--mount", "sh", "-c", script, self.path, *args, check=check, **options)


class Package(case.Case):
    """Built once, installed once; each test looks at another side of it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(rig.close_all, rig.opened())
        need("cpack", "dpkg-deb", "dpkg-shlibdeps", "file")
        cls.build = os.path.dirname(cls.options.bin)
        if not os.path.exists(os.path.join(cls.build, "CPackConfig.cmake")):
            raise unittest.SkipTest(f"{cls.build} is no build directory with packages")
        cls.place = cls.enterClassContext(rig.Scratch(cls.options.scratch)).path
        rig.run("cpack", "-G", "DEB", "--config", os.path.join(cls.build, "CPackConfig.cmake"), "-B", cls.place)
        cls.packages = {}
        for path in glob.glob(os.path.join(cls.place, "*.deb")):
            cls.packages[rig.run("dpkg-deb", "--field", path, "Package").stdout.strip()] = path
        cls.system = cls.enterClassContext(System(cls.place))
        for path in cls.packages.values():
            shutil.copy(path, cls.system.inside("var/tmp"))
        names = [f"/var/tmp/{os.path.basename(path)}" for path in cls.packages.values()]
        cls.installed = cls.system.run("dpkg", "--install", *names)
        with open(cls.system.inside("etc/wirehaul/lan.conf"), "w", encoding="ascii") as file:
            file.write(PROFILE)
        cls.unit = units.Unit(cls.system.inside(UNIT), INSTANCE)

    def listing(self, package):
        """What the package holds: {path: (mode, owner)}."""
        found = {}
        for line in rig.run("dpkg-deb", "--contents", self.packages[package]).stdout.splitlines():
            mode, owner, _, _, _, path = line.split(None, 5)
            found[path.split(" -> ")[0].removeprefix(".").rstrip("/") or "/"] = (mode, owner)
        return found

    def test_files(self):
        """Each package holds what it should; modes and owners are those of a system."""
        self.assertEqual(set(self.packages), {"wirehaul", "libwirehaul0", "libwirehaul-dev"})
        command = self.listing("wirehaul")
        for path in ("/usr/bin/wirehaul", UNIT, "/usr/lib/sysusers.d/wirehaul.conf", "/etc/wirehaul",
                     "/usr/share/man/man1/wirehaul.1.gz", "/usr/share/bash-completion/completions/wirehaul",
                     "/usr/share/zsh/vendor-completions/_wirehaul", "/usr/share/doc/wirehaul/copyright",
                     "/usr/share/doc/wirehaul/changelog.gz", "/usr/share/doc/wirehaul/examples/example.conf"):
            self.assertIn(path, command)
        self.assertFalse([path for path in command if path.endswith((".so", ".a", ".h"))])
        self.assertIn("/usr/include/wirehaul.h", self.listing("libwirehaul-dev"))
        library = [path for path in self.listing("libwirehaul0") if ".so." in path]
        self.assertEqual(len(library), 2, library)
        for package in self.packages:
            for path, (mode, owner) in self.listing(package).items():
                self.assertEqual(owner, "root/root", path)
                wanted = "l" if mode[0] == "l" else "drwxr-xr-x" if mode[0] == "d" else \
                    "-rwxr-xr-x" if path == "/usr/bin/wirehaul" else "-rw-r--r--"
                self.assertTrue(mode.startswith(wanted), f"{path}: {mode}")
        for folder, pattern in (("grafana", "*.json"), ("prometheus", "*.y*ml")):
            for path in glob.glob(str(SOURCE / "packaging" / folder / pattern)):
                self.assertIn(f"/usr/share/wirehaul/{folder}/{os.path.basename(path)}", command)

    @staticmethod
    def unexpected(done):
        """Lines on standard error that are neither systemd-sysusers' report nor about the index of man pages."""
        return [line for line in done.stderr.splitlines()
                if not re.match(r"Creating (user|group) '?wirehaul|Not building database; man-db", line)]

    def test_installed(self):
        """dpkg is content with what it depends on, the command runs, and the user is there and can do nothing else."""
        self.assertEqual(self.unexpected(self.installed), [])
        state = self.system.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Package}\n", *self.packages).stdout
        self.assertEqual(set(state.splitlines()), {f"ii {name}" for name in self.packages})
        self.assertRegex(self.system.run("wirehaul", "--version").stdout, r"^wirehaul \d")
        # The example says something that can be carried out, but for the adapter.
        profile = "/usr/share/doc/wirehaul/examples/example.conf"
        example = self.system.run("wirehaul", "--profile", profile, "-i", "none", check=False)
        self.assertRegex(example.stderr, r"^wirehaul: there is no adapter \"none\"")
        entry = self.system.run("getent", "passwd", "wirehaul").stdout.strip().split(":")
        self.assertLess(int(entry[2]), 1000)
        self.assertEqual(entry[5:], ["/var/lib/wirehaul", "/usr/sbin/nologin"])
        self.assertEqual(self.system.run("id", "-Gn", "wirehaul").stdout.strip(), "wirehaul")
        shadow = Path(self.system.inside("etc/shadow")).read_text(encoding="utf-8")
        self.assertRegex(shadow, r"(?m)^wirehaul:[!*]")

    def test_again_and_removed(self):
        """Installed over itself and purged, without a word; the captures and their owner stay."""
        system = System(self.scratch)  # the other tests go on with theirs
        shutil.copy(self.packages["wirehaul"], system.inside("var/tmp"))
        install = ["dpkg", "--install", f"/var/tmp/{os.path.basename(self.packages['wirehaul'])}"]
        system.run(*install)
        self.assertEqual(self.unexpected(system.run(*install)), [])
        kept = system.inside("var/lib/wirehaul/lan/trace_00001.pcapng")
        os.makedirs(os.path.dirname(kept))
        Path(kept).write_text("frames", encoding="ascii")
        self.assertEqual(self.unexpected(system.run("dpkg", "--purge", "wirehaul")), [])
        self.assertFalse(os.path.exists(system.inside("usr/bin/wirehaul")))
        self.assertFalse(os.path.exists(system.inside(UNIT)))
        self.assertTrue(os.path.exists(kept))
        self.assertEqual(system.run("getent", "passwd", "wirehaul").returncode, 0)
        system.close()

    def test_man_page(self):
        need("man", "mandoc")
        for page in glob.glob(self.system.inside("usr/share/man/man1/wirehaul*.1.gz")):
            inside = "/" + os.path.relpath(page, self.system.path)
            self.assertIn("wirehaul", rig.run("mandoc", "-T", "ascii", page).stdout)
            done = self.system.run("man", "--warnings", "-l", inside,
                                   env={**os.environ, "MANPAGER": "cat", "LANG": "C"})
            self.assertEqual(done.stderr, "")
            self.assertIn("SYNOPSIS", done.stdout)

    def test_lintian(self):
        need("lintian")
        done = rig.run("lintian", "--tag-display-limit", "0", *self.packages.values(), check=False)
        found = [line for line in done.stdout.splitlines() if line.startswith(("E:", "W:"))]
        self.assertEqual([line for line in found if not re.search(self.LINTIAN_ACCEPTED, line)], [])

    # CPack writes these two scripts of the library by itself.
    LINTIAN_ACCEPTED = r"^W: libwirehaul0: maintscript-calls-ldconfig "

    def instance(self):
        """The unit as an instance, in the clean system."""
        path = self.system.inside(f"var/tmp/wirehaul@{INSTANCE}.service")
        shutil.copy(self.system.inside(UNIT), path)
        return f"/var/tmp/wirehaul@{INSTANCE}.service"

    def test_unit_verified(self):
        need("systemd-analyze")
        done = self.system.run("systemd-analyze", "verify", "--man=yes", self.instance(), check=False,
                               env={**os.environ, "LANG": "C"})
        # The machine's own units have nothing to do with ours.
        ours = [line for line in (done.stdout + done.stderr).splitlines() if "wirehaul" in line]
        self.assertEqual((ours, done.returncode), ([], 0), done.stderr)

    def test_unit_security(self):
        """What is left to the service, as systemd judges it: the score that docs/service.md states, or less."""
        need("systemd-analyze")
        shown = self.system.run("systemd-analyze", "--no-pager", "security", "--offline=true", self.instance(),
                                env={**os.environ, "LANG": "C"}).stdout
        score = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", shown).group(1))
        told = re.search(r"exposure level is (\d+\.\d+)", (SOURCE / "docs" / "service.md").read_text(encoding="utf-8"))
        print(f"({score})", end=" ")
        self.assertEqual(score, float(told.group(1)), shown)

    def service(self, *options, environment=None, forbid=True):
        """The service's command line, run as the unit says."""
        need("systemd-analyze")
        command = self.unit.get("ExecStart").split()
        prefix = [sys.executable, str(SUPPORT / "unit.py"), self.system.inside(UNIT), INSTANCE, "--root",
                  self.system.path, *(["--forbid"] if forbid else []), "--"]
        return self.enterContext(rig.Process([*prefix, *command, *options], self.net.right, stdin=subprocess.DEVNULL,
                                             env={**os.environ, **(environment or {})}))

    def output(self, pattern="*"):
        return sorted(glob.glob(self.system.inside(f"var/lib/wirehaul/{INSTANCE}/{pattern}")))

    def status_of(self, process):
        """For each thread, its name and what the kernel says of its credentials."""
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                text = (task / "status").read_text(encoding="utf-8")
                yield dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    def test_service_captures(self):
        """Under the unit's user, capabilities, directories and system calls, of which a missing one would kill: each
        frame of two adapters, over many files, with a command for each of them."""
        self.net = self.pair()
        listener = self.enterContext(Listener(self.net.right))
        service = self.service("-i", "any", "-z", "gzip -k", environment=listener.environment(20))
        try:
            listener.until(lambda told: "READY" in told, 20, "READY")
        except AssertionError:
            self.fail(f"{service.running()} {service.popen.returncode} {service.stderr()}")
        raw = {"CAP_NET_RAW"}
        user = units.user_in(self.system.path, "wirehaul")
        allowed = f"{sum(1 << number for number in units.capability_set(' '.join(raw))):016x}"
        threads = list(self.status_of(service))
        self.assertGreaterEqual(len(threads), 4)
        for status in threads:
            self.assertEqual(set(status["Uid"].split()), {str(user.pw_uid)})
            self.assertEqual((status["CapEff"], status["CapPrm"], status["CapBnd"]), (allowed,) * 3, status["Name"])
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        frames = self.frames(0.02)
        self.blast(self.net.left, self.net.LEFT, count=frames, size=SIZE, rate=20000).result()
        # An adapter that comes later is joined without any other privilege.
        later = self.net.right
        later.ip("link", "add", "name", "wc", "type", "veth", "peer", "name", "wd")
        for name in ("wc", "wd"):
            later.ip("link", "set", name, "up")
        rig.wait_for(lambda: self.present() == {"wb", "wc", "wd"}, 10, "the later adapters are joined")
        service.kill(signal.SIGHUP)
        # Both are captured on, but on its own adapter nobody sees what goes round the queues.
        self.blast(later, "wc", count=1000, size=SIZE, first=frames + 1).result()
        service.kill(signal.SIGTERM)
        self.assertEqual(service.wait(30), 0, service.stderr())
        listener.drain()
        self.assertTrue(any("STOPPING" in told for _, told in listener.heard))
        files = self.output("*.pcapng")
        self.assertGreater(len(files), 5)
        counted = self.count(files, size=SIZE, count=frames + 1000)
        self.assertSound(counted)
        self.assertNumbers(counted, missing=0, duplicated=0, distinct=frames + 1000)
        for path in files:
            found = os.stat(path)
            self.assertEqual((found.st_uid, stat.S_IMODE(found.st_mode)), (user.pw_uid, 0o600))
        # The commands go on behind the end.
        rig.wait_for(lambda: len(self.output("*.gz")) == len(files) and
                     rig.run("gzip", "--test", *self.output("*.gz"), check=False).returncode == 0, 20,
                     "each file has been packed")
        self.assertNotIn("could not", service.stderr())

    def present(self):
        """The adapters that the service captures on, by its own word."""
        with open(self.output("stats.json")[0], encoding="utf-8") as file:
            return {each["name"] for each in json.load(file)["interfaces"] if each["present"]}

    def test_service_stays_inside(self):
        """What is outside of its directories is out of reach."""
        self.net = self.pair()
        for place in ("/var/lib/trace.pcapng", "/etc/wirehaul/trace.pcapng", "/usr/trace.pcapng"):
            service = self.service("-w", place)
            self.assertEqual(service.wait(20), 2, service.stderr())
            self.assertRegex(service.stderr(), r"(?i)read-only|permission")

    def boot(self, profile=PROFILE):
        """The package on a system that is booted, with one profile."""
        system = self.enterContext(System(self.scratch))
        shutil.copy(self.packages["wirehaul"], system.inside("var/tmp"))
        system.run("dpkg", "--install", f"/var/tmp/{os.path.basename(self.packages['wirehaul'])}")
        Path(system.inside(f"etc/wirehaul/{INSTANCE}.conf")).write_text(profile, encoding="ascii")
        machine = self.enterContext(Machine(system.path, self.net.right))
        dropin = Path(system.inside(f"etc/systemd/system/wirehaul@{INSTANCE}.service.d"))
        dropin.mkdir()
        (dropin / "quicker.conf").write_text(QUICKER, encoding="ascii")
        machine.control("daemon-reload")
        return system, machine

    @staticmethod
    def files(system, but=()):
        """The capture files of all runs, in the order of their names; but not these."""
        return sorted(set(glob.glob(system.inside(f"var/lib/wirehaul/{INSTANCE}/*.pcapng"))) - set(but))

    def test_systemd(self):
        """With systemd as the first process: up when it captures, started again when it stands still and ends by the
        watchdog, with a chain of its own and all there was before as it was; it ends as asked by either command."""
        self.net = self.pair()
        system, machine = self.boot()
        unit, slow = f"wirehaul@{INSTANCE}", self.options.slow
        machine.control("start", unit)
        # It was told to be up: whatever is sent from now on is captured.
        self.blast(self.net.left, self.net.LEFT, count=2000, size=SIZE).result()
        machine.wait(unit, 10 * slow, ActiveState="active", SubState="running", NRestarts=0)
        self.assertRegex(machine.show(unit, "StatusText")["StatusText"], r"^[\d,]+ frames, .* 0 dropped")

        def status():
            return json.loads(machine.run("wirehaul", "status", "--json", "--control", INSTANCE).stdout)

        rig.wait_for(lambda: status()["frames_written"] == 2000, 10 * slow, "all is written")
        first = self.files(system)
        before = [Path(path).read_bytes() for path in first]
        machine.control("kill", "--kill-who=main", "--signal=STOP", unit)
        machine.wait(unit, 20 * slow, ActiveState="active", SubState="running", NRestarts=1)
        self.assertEqual([Path(path).read_bytes() for path in first], before)
        self.blast(self.net.left, self.net.LEFT, count=3000, size=SIZE).result()
        machine.run("wirehaul", "stop", "--control", INSTANCE)
        machine.wait(unit, 10 * slow, ActiveState="inactive", Result="success", ExecMainStatus=0)
        second = self.files(system, first)
        # Once more, and a new file by way of the unit.
        machine.control("start", unit)
        machine.control("reload", unit)
        rig.wait_for(lambda: status()["files"] == 2, 10 * slow, "a new file is begun")
        machine.control("stop", unit)
        machine.wait(unit, 10 * slow, ActiveState="inactive", Result="success", ExecMainStatus=0, NRestarts=0)
        # The last file of the one that was ended is not closed, and nothing else is wrong with it.
        counted = self.count(first, size=SIZE, count=2000)
        self.assertNumbers(counted, ours=2000, distinct=2000, missing=0, duplicated=0, damaged=0, corrupt=0)
        self.assertComplete(self.count(second, size=SIZE, count=3000), 3000)
        self.assertEqual(len(self.files(system, first + second)), 2)
        user = units.user_in(system.path, "wirehaul")
        for path in self.files(system):
            found = os.stat(path)
            self.assertEqual((found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)),
                             (user.pw_uid, user.pw_gid, 0o600))
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(first[0])).st_mode), 0o750)

    def test_systemd_tries_again(self):
        """What keeps it from starting may pass: an adapter that is not there yet; a directory that is still another's,
        as of a process that waits for a disk that hangs, and which even SIGKILL does not end before that is back.
        An upgrade lets it run; without the package it ends in order."""
        self.net = self.pair()
        system, machine = self.boot(PROFILE.replace("= wb", "= wc"))
        unit = f"wirehaul@{INSTANCE}"
        self.assertNotEqual(machine.control("start", unit, check=False).returncode, 0)
        self.net.right.ip("link", "add", "name", "wc", "type", "veth", "peer", "name", "wd")
        for name in ("wc", "wd"):
            self.net.right.ip("link", "set", name, "up")
        machine.wait(unit, 10 * self.options.slow, ActiveState="active", SubState="running")
        machine.control("stop", unit)
        directory = os.open(system.inside(f"var/lib/wirehaul/{INSTANCE}"), os.O_RDONLY)
        self.addCleanup(os.close, directory)
        fcntl.flock(directory, fcntl.LOCK_EX)
        self.assertNotEqual(machine.control("start", unit, check=False).returncode, 0)
        fcntl.flock(directory, fcntl.LOCK_UN)
        machine.wait(unit, 10 * self.options.slow, ActiveState="active", SubState="running")
        process = machine.show(unit, "MainPID")
        machine.run("dpkg", "--install", f"/var/tmp/{os.path.basename(self.packages['wirehaul'])}")
        self.assertEqual(machine.show(unit, "MainPID", "ActiveState"), {**process, "ActiveState": "active"})
        machine.run("dpkg", "--remove", "wirehaul")
        self.assertEqual(machine.show(unit, "ActiveState", "Result"), {"ActiveState": "inactive", "Result": "success"})
        self.assertSound(self.count(self.files(system)[-1:]))

    def test_completions_agree(self):
        """Both completions offer each option of --help, and nothing else; their files are read by their shells."""
        shown = rig.run(self.wirehaul, "--help").stdout
        options = re.findall(r"^ +(?:-(\w), )?--([a-z-]+)(?: (\S+))?", shown, re.MULTILINE)
        wanted = {f"--{name}" for _, name, _ in options} | {f"-{letter}" for letter, _, _ in options if letter}
        with_value = {f"--{name}" for _, name, value in options if value}
        path = self.system.inside("usr/share/bash-completion/completions/wirehaul")

        def completed(*words):
            script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _wirehaul; '
                      'printf "%s\\n" "${COMPREPLY[@]}"')
            return set(rig.run("bash", "-c", script, "-", path, *words).stdout.split())

        self.assertEqual(completed("wirehaul", "-"), wanted)
        for name in sorted(with_value):
            self.assertFalse(completed("wirehaul", name, "") & wanted, name)
            self.assertFalse(completed("wirehaul", name, "=", "") & wanted, name)
        self.assertIn("lo", completed("wirehaul", "-i", ""))
        self.assertEqual(completed("wirehaul", "-Q", ""), {"in", "out", "inout"})
        zsh = Path(self.system.inside("usr/share/zsh/vendor-completions/_wirehaul")).read_text(encoding="utf-8")
        capture = re.search(r"(?s)_wirehaul_capture\(\) \{(.*?)\n\}", zsh).group(1)
        told = re.findall(r"(?m)^\t\t'(?:.*?\{-(\w),--([\w-]+)\}'|--([\w-]+))\[[^]]*\](:?)", capture)
        found = {(letter, long or only) for letter, long, only, _ in told}
        self.assertEqual(found, {(letter, name) for letter, name, _ in options})
        self.assertEqual({f"--{long or only}" for _, long, only, value in told if value}, with_value)
        commands = {name for line in re.findall(r"^       wirehaul ([a-z|]+)\b", shown, re.MULTILINE)
                    for name in line.split("|")}
        self.assertLessEqual(commands, completed("wirehaul", ""))
        for name in commands:
            self.assertRegex(zsh, rf"(?m)^\s+'{name}:")
        for name in sorted(commands):
            told = rig.run(self.wirehaul, name, "--help").stdout
            known = set(re.findall(r"(?<![\w-])(-\w|--[a-z][a-z-]+)\b", told))
            offered = completed("wirehaul", name, "-")
            self.assertEqual(offered, known, name)
            for option in offered:
                self.assertRegex(zsh, rf"(?s)_wirehaul\(\) .*{option}\b")
        if shutil.which("zsh"):
            rig.run("zsh", "-n", self.system.inside("usr/share/zsh/vendor-completions/_wirehaul"))


if __name__ == "__main__":
    case.main()
