# SPDX-License-Identifier: BSD-3-Clause
"""wirehaul doctor: it says what is wrong with the commands that mend it, those do, and it changes nothing itself."""

import fcntl
import glob
import json
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import faults
import rig

NOBODY = "nobody"

# Command lines that are wrong, and what the one line about it must hold.
NONSENSE = [
    (["-i", "no-such-nic"], ["no-such-nic"]),
    (["-i", "{up},no-such-nic"], ["no-such-nic"]),
    (["-i", "{up},,{up}"], ["-i", "empty"]),
    (["-i", ""], ["-i"]),
    (["-i"], ["-i", "missing"]),
    (["-w"], ["-w", "missing"]),
    (["-w", ""], ["-w"]),
    (["-w", "-"], ["-w"]),
    (["-w", "{missing}/"], ["{missing}", "mkdir -p"]),
    (["-w", "{missing}/deep/trace.pcapng"], ["{missing}/deep", "mkdir -p"]),
    (["-w", "{file}/trace.pcapng"], ["{file}"]),
    (["--min-free", "100"], ["--min-free"]),
    (["--min-free", "ten"], ["--min-free"]),
    (["--no-such-option"], ["no-such-option"]),
    (["--json=1"], ["--json"]),
    (["-z"], ["-z"]),
    (["{up}"], ["{up}"]),
]

# What a curious program could change without being asked, outside of any namespace.
MACHINE = [
    "/proc/irq/*/smp_affinity_list",
    "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    "/sys/devices/system/cpu/cpu*/cpuidle/state*/disable",
    "/sys/block/[!l]*/queue/scheduler",
    "/proc/sys/vm/[!ds]*",
    "/proc/sys/net/core/*",
]


class Told:
    """What the doctor found."""

    def __init__(self, status, text):
        self.status = status
        self.all = json.loads(text)
        self.findings = self.all["findings"]

    def subjects(self):
        return [each["subject"] for each in self.findings]

    def of(self, kind):
        return [each["subject"] for each in self.findings if each["kind"] == kind]

    def __getitem__(self, subject):
        found = [each for each in self.findings if each["subject"] == subject]
        if not found:
            raise AssertionError(f"nothing about {subject!r}: {json.dumps(self.findings, indent=1)}")
        return found[0]


class Doctor(case.Case):
    def setUp(self):
        super().setUp()
        self.output = os.path.join(self.scratch, "out")
        os.mkdir(self.output)

    def run_doctor(self, *options, namespace=None, prefix=()):
        before = namespace.prefix if namespace else []
        return rig.run(*before, *prefix, self.wirehaul, "doctor", *options, check=False,
                       timeout=60 * self.options.slow)

    def look(self, *options, measure=False, **more):
        done = self.run_doctor("--json", *([] if measure else ["--no-measure"]), *options, **more)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.assertEqual(done.stderr, "")
        told = Told(done.returncode, done.stdout)
        self.assertWellFormed(told, measure)
        return told

    def assertWellFormed(self, told, measured):
        kinds = [each["kind"] for each in told.findings]
        self.assertEqual(kinds, sorted(kinds, key=["bad", "note", "good"].index))
        self.assertEqual([told.all["bad"], told.all["notes"], told.all["good"]],
                         [kinds.count(kind) for kind in ("bad", "note", "good")])
        self.assertEqual(told.status, 1 if told.all["bad"] else 0)
        self.assertEqual(told.all["measured"], measured)
        for each in told.findings:
            self.assertEqual(set(each), {"kind", "subject", "text", "remedy"})
            self.assertTrue(each["subject"] and each["text"], each)
            self.assertNotEqual(each["remedy"], "")

    def assertFound(self, told, subject, kind, *words):
        found = told[subject]
        self.assertEqual(found["kind"], kind, found)
        for word in words:
            self.assertIn(word, found["text"])
        return found

    def mend(self, told, subject, kind, namespace=None):
        """Carries out the command that was told, as it stands; the test is root, so that there need be no sudo."""
        remedy = self.assertFound(told, subject, kind)["remedy"]
        self.assertIsNotNone(remedy, told[subject])
        prefix = namespace.prefix if namespace else []
        rig.run(*prefix, "sh", "-c", remedy.removeprefix("sudo "))
        return remedy


class Unchanged(Doctor):
    def state(self, net):
        """All that might be changed: settings of the machine, the adapter's, and the directory."""
        found = {}
        for pattern in MACHINE:
            for path in sorted(glob.glob(pattern)):
                try:
                    found[path] = Path(path).read_text(encoding="ascii")
                except (OSError, ValueError):
                    continue
        for option in ("-g", "-k", "-l", "-c", "-a"):
            found["ethtool", option] = net.right.run("ethtool", option, net.RIGHT, check=False).stdout
        found["link"] = net.right.link(net.RIGHT)
        listed = net.right.run("sysctl", "-a", "--pattern", "^net\\.").stdout
        found["sysctl"] = [line for line in listed.splitlines() if "count" not in line]
        for path in sorted(Path(self.output).rglob("*")) + [Path(self.output)]:
            about = path.lstat()
            found["file", str(path)] = (about.st_mode, about.st_uid, about.st_size, about.st_mtime_ns)
        return found

    def watched(self, net):
        """A process that tells of every change of the adapter from now on; it has told of one."""
        monitor = self.enterContext(rig.Process(["ip", "-details", "monitor", "link"], net.right,
                                                stdout=subprocess.PIPE))

        def told():
            net.right.ip("link", "set", net.RIGHT, "alias", rig.unique())
            return select.select([monitor.popen.stdout], [], [], 0.01)[0]

        rig.wait_for(told, 10 * self.options.slow, "changes are told")
        return monitor

    def test_with_measuring(self):
        """Traffic flows, frames are made up, and all is as it was; but for the time of the directory, in which files
        came and went."""
        rig.need("ethtool", "sysctl")
        net = self.pair()
        Path(self.output, "wirehaul_00001_20200101000000.pcapng").write_text("a stranger's", encoding="ascii")
        changes = self.watched(net)
        before, again = self.state(net), self.state(net)
        restless = {key for key in before if before[key] != again.get(key)}
        blast = self.blast(net.left, net.LEFT, count=20000000, size=1000, rate=20000)
        blast.wait_sent(1000)
        told = self.look("-i", net.RIGHT, "-w", self.output, "--min-free", "1", measure=True,
                         namespace=net.right)
        blast.stop()
        changes.kill(signal.SIGTERM)
        changes.wait(10)
        self.assertNotRegex(changes.popen.stdout.read().decode(), "promiscuity [1-9]")
        after = self.state(net)
        self.assertEqual({key for key in after if after[key] != before.get(key)} - restless,
                         {("file", self.output)})
        self.assertEqual(after.keys(), before.keys())
        self.assertMeasured(net, told)

    def assertMeasured(self, net, told):
        self.assertRegex(told["traffic: just now"]["text"], r"came on 1 adapter|found no room")
        self.assertNotRegex(told["traffic: just now"]["text"], r"^0 frames")
        self.assertRegex(told["expected: rate"]["text"],
                         r"took [\d.]+ [kMG]B/s in wirehaul's files over \d.*frames of 1414 bytes a second, [\d.]+ ")
        self.assertRegex(told["disk: space"]["text"], r"enough for .* at the speed that was measured; enough for .* of "
                         "the traffic of just now")
        for subject in (f"{net.RIGHT}: losses", f"{net.RIGHT}: offloads", "privileges: capturing", "memory: rings",
                        "limits: NOFILE", "kernel: io_uring", "kernel: release", "processors: number"):
            self.assertIn(subject, told.subjects())

    def test_without_measuring(self):
        """Not even the time of the directory is touched."""
        net = self.pair()
        before, again = self.state(net), self.state(net)
        restless = {key for key in before if before[key] != again.get(key)}
        told = self.look("-i", net.RIGHT, "-w", self.output, "--min-free", "1", namespace=net.right)
        after = self.state(net)
        self.assertEqual({key for key in after if after[key] != before.get(key)} - restless, set())
        self.assertNotIn("expected: rate", told.subjects())
        self.assertNotIn("traffic: just now", told.subjects())

    def test_without_measuring_nothing_is_written(self):
        """Not even to a file without a name, of which no directory tells."""
        disk = self.enterContext(rig.Disk(self.scratch, 64))
        doctor = subprocess.Popen([self.wirehaul, "doctor", "--no-measure", "-w", disk.path],
                                  stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(doctor.pid, 0)
        doctor.returncode = os.waitstatus_to_exitcode(status)
        self.assertIn(doctor.returncode, (0, 1))
        self.assertEqual(used.ru_oublock, 0)


class Input(Doctor):
    def test_nonsense(self):
        net = self.pair()
        Path(self.scratch, "file").write_text("no directory\n", encoding="ascii")
        places = {"up": net.RIGHT, "missing": os.path.join(self.scratch, "missing"),
                  "file": os.path.join(self.scratch, "file")}
        before = sorted(os.listdir(self.scratch))
        for arguments, words in NONSENSE:
            arguments = [text.format(**places) for text in arguments]
            with self.subTest(arguments=" ".join(arguments)):
                done = self.run_doctor(*arguments, namespace=net.right)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                for word in words:
                    self.assertIn(word.format(**places), done.stderr)
        self.assertEqual(sorted(os.listdir(self.scratch)), before)

    def test_a_full_standard_output(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([self.wirehaul, "doctor", "--no-measure"], stdout=full, stderr=subprocess.PIPE,
                                  text=True, check=False, timeout=60 * self.options.slow)
        self.assertEqual(done.returncode, 2)
        self.assertIn("standard output", done.stderr)

    def test_help_and_defaults(self):
        done = self.run_doctor("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for option in ("-i", "-w", "--min-free", "--no-measure", "--json", "Exit status"):
            self.assertIn(option, done.stdout)
        # All adapters that are up, and no directory.
        net = self.pair()
        net.right.ip("link", "set", "lo", "up")
        told = self.look(namespace=net.right)
        self.assertIn("lo: losses", told.subjects())
        self.assertIn(f"{net.RIGHT}: losses", told.subjects())
        self.assertFound(told, "disk: directory", "note", "-w")
        # None at all is no mistake.
        empty = self.enterContext(rig.Namespace())
        told = self.look("-w", self.output, namespace=empty)
        self.assertFound(told, "adapters: state", "note", "none is up")

    def test_for_a_person(self):
        """Worst first, and each command on a line of its own."""
        net = self.pair()
        net.right.ip("link", "set", net.RIGHT, "down")
        done = self.run_doctor("--no-measure", "-i", net.RIGHT, "-w", self.output, namespace=net.right)
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], "This will drop frames:")
        self.assertIn(f"ip link set dev {net.RIGHT} up", [line.strip() for line in lines])
        self.assertLess(lines.index("This will drop frames:"), lines.index("In order:"))
        told = self.look("-i", net.RIGHT, "-w", self.output, namespace=net.right)
        for each in told.findings:
            self.assertIn(f"  {each['subject']}: ", done.stdout)
            if each["remedy"]:
                self.assertIn(each["remedy"], [line.strip() for line in lines])

    def test_names_of_any_bytes(self):
        """JSON cannot tell such a name: then it tells no command rather than another's."""
        for name, told in ((b"caf\xc3\xa9", True), (b"caf\xe9", False)):
            path = os.path.join(self.output, os.fsdecode(name))
            os.mkdir(path)
            found = self.look("-w", path, "--min-free", "99.9")["disk: space"]
            self.assertEqual((found["kind"], found["remedy"] is not None), ("bad", told), found)

    def test_another_namespaces_sysfs(self):
        """Only the network is another one: /sys tells of other adapters, if of any of that name."""
        rig.need("nsenter")
        net = self.pair()
        told = self.look("-i", net.RIGHT, prefix=["nsenter", f"--net=/run/netns/{net.right.name}"])
        self.assertFound(told, f"{net.RIGHT}: interrupts", "note", "not looked at")
        self.assertNotIn(f"{net.RIGHT}: interrupts", self.look("-i", net.RIGHT, namespace=net.right).subjects())

    def test_rights_over_another_network(self):
        """In a user namespace of its own it has the capability, which this network does not heed."""
        rig.need("unshare")
        if rig.run("unshare", "-Ur", "true", check=False).returncode != 0:
            self.skipTest("user namespaces cannot be made")
        self.assertFound(self.look(prefix=["unshare", "-Ur"]), "privileges: capturing", "bad", "refused")
        self.assertFound(self.look(prefix=["unshare", "-Urn"]), "privileges: capturing", "good")

    def test_a_small_cgroup(self):
        """Measuring must not be what the kernel ends the process for: its files would stay."""
        limit = self.enterContext(rig.MemoryLimit(20 << 20))
        if self.options.slow > 1:
            self.skipTest("a sanitizer takes more memory than that")
        empty = self.enterContext(rig.Namespace())
        told = self.look("-w", self.output, "--min-free", "1", measure=True,
                         prefix=[*limit.prefix, "nsenter", f"--net=/run/netns/{empty.name}"])
        self.assertFound(told, "disk: write speed", "note", "of memory are left")
        self.assertFound(told, "disk: direct writes", "good")
        self.assertEqual(os.listdir(self.output), [])


class Mended(Doctor):
    """What is told to mend something does."""

    def test_adapter(self):
        rig.need("ethtool")
        net = self.pair()
        net.offload(gro=True, tso=True)
        net.right.ip("link", "set", net.RIGHT, "down")
        told = self.look("-i", net.RIGHT, namespace=net.right)
        self.mend(told, f"{net.RIGHT}: state", "bad", net.right)
        self.assertIn("gro", self.mend(told, f"{net.RIGHT}: offloads", "note", net.right))
        rig.wait_for(lambda: net.right.link(net.RIGHT)["operstate"] == "UP", 5, "the carrier is back")
        told = self.look("-i", net.RIGHT, namespace=net.right)
        self.assertNotIn(f"{net.RIGHT}: state", told.subjects())
        self.assertFound(told, f"{net.RIGHT}: offloads", "good")

    def test_a_name_that_is_a_command(self):
        """Whoever may name an adapter does not get a command carried out by it."""
        net = self.pair()
        trap = os.path.join(self.scratch, "trap")
        name = "$(>x)`>y`;>z#"
        net.right.ip("link", "set", net.RIGHT, "down")
        net.right.ip("link", "set", net.RIGHT, "name", name)
        os.mkdir(trap)
        told = self.look("-i", name, namespace=net.right)
        remedy = told[f"{name}: state"]["remedy"]
        rig.run(*net.right.prefix, "sh", "-c", remedy, cwd=trap)
        self.assertEqual(os.listdir(trap), [])
        self.assertNotIn(f"{name}: state", self.look("-i", name, namespace=net.right).of("bad"))

    def test_limits(self):
        rig.need("prlimit")
        told = self.look(prefix=["prlimit", "--nofile=40:", "--fsize=1000000:"])
        remedies = [self.assertFound(told, f"limits: {name}", "bad")["remedy"] for name in ("NOFILE", "FSIZE")]
        script = "; ".join(["prlimit --pid $$ --nofile=40:", *remedies, 'exec "$@"'])
        told = self.look(prefix=["sh", "-c", script, "sh"])
        for name in ("NOFILE", "FSIZE"):
            self.assertFound(told, f"limits: {name}", "good")

    def test_mount(self):
        disk = self.enterContext(rig.Disk(self.scratch, 64))
        told = self.look("-w", disk.path, measure=True, namespace=self.enterContext(rig.Namespace()))
        self.assertFound(told, "disk: file system", "good", "ext4")
        self.assertFound(told, "disk: direct writes", "good")
        self.assertNotIn("disk: mount options", told.of("bad"))
        disk.remount("sync")
        told = self.look("-w", disk.path)
        self.mend(told, "disk: mount options", "bad")
        self.assertNotIn("disk: mount options", self.look("-w", disk.path).of("bad"))
        disk.remount("ro")
        told = self.look("-w", disk.path)
        self.mend(told, "disk: directory", "bad")
        self.assertFound(self.look("-w", disk.path), "disk: directory", "good", disk.path)
        self.assertEqual(os.listdir(disk.path), ["lost+found"])

    def test_space(self):
        """Too little to start, and too little to measure in."""
        disk = self.enterContext(rig.Disk(self.scratch, 64))
        told = self.look("-w", disk.path, "--min-free", "99.9", measure=True,
                         namespace=self.enterContext(rig.Namespace()))
        self.assertRegex(self.assertFound(told, "disk: space", "bad", "99.9 %")["remedy"],
                         rf"^wirehaul -i any -w {disk.path}/trace.pcapng --min-free \d+\.\d$")
        self.assertFound(told, "disk: write speed", "note", "too little room")
        self.assertEqual(os.listdir(disk.path), ["lost+found"])

    def test_a_directory_in_use(self):
        """Where a capture writes, nothing is measured that would slow it down."""
        descriptor = os.open(self.output, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            told = self.look("-w", self.output, "--min-free", "0", measure=True,
                             namespace=self.enterContext(rig.Namespace()))
        finally:
            os.close(descriptor)
        self.assertFound(told, "disk: write speed", "note", "another capture writes")


class Ordinary(Doctor):
    """As a user without rights."""

    def setUp(self):
        super().setUp()
        rig.need("setpriv")
        user = pwd.getpwnam(NOBODY)
        public = self.enterContext(rig.Public(self.wirehaul))
        self.scratch, self.wirehaul = public.path, public.program
        self.output = os.path.join(self.scratch, "of root")
        os.mkdir(self.output)
        self.nobody = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

    def test_what_it_may_not_is_mended(self):
        told = self.look("-w", self.output, prefix=self.nobody)
        self.assertFound(told, "privileges: capturing", "bad", "CAP_NET_RAW")
        self.mend(told, "disk: directory", "bad")
        captures = os.path.join(self.output, "captures")
        self.assertEqual(pwd.getpwuid(os.stat(captures).st_uid).pw_name, NOBODY)
        self.assertFound(self.look("-w", captures, prefix=self.nobody), "disk: directory", "good", captures)
        if shutil.which("setcap") is None:
            self.skipTest("setcap is not installed")
        self.assertTrue(self.mend(told, "privileges: capturing", "bad").endswith(f"cap_net_raw+ep {self.wirehaul}"))
        self.assertFound(self.look("-w", captures, prefix=self.nobody), "privileges: capturing", "good")


class Interrupted(Doctor):
    def test_a_signal_leaves_no_file(self):
        """It waits for the end of the measuring; the limit on free space is never met meanwhile."""
        disk = self.enterContext(rig.Tmpfs(self.scratch, 600))
        free = self.enterContext(rig.Sampler(lambda: rig.free_percent(disk.path)))
        doctor = self.enterContext(rig.Process([self.wirehaul, "doctor", "-w", disk.path, "--min-free", "40"],
                                               self.enterContext(rig.Namespace()), stdout=subprocess.PIPE))
        rig.wait_for(lambda: os.listdir(disk.path), 20 * self.options.slow, "it measures")
        doctor.kill(signal.SIGINT)
        self.assertEqual(doctor.wait(30 * self.options.slow), -signal.SIGINT)
        self.assertEqual(os.listdir(disk.path), [])
        self.assertEqual(doctor.popen.stdout.read(), b"")
        free.close()
        self.assertGreater(free.lowest, 40)
        self.assertLess(free.lowest, 99)


@unittest.skipUnless(faults.FULL, "it takes as long as the doctor is patient (WH_FAULTS=full)")
class Hanging(Doctor):
    """On a disk that hangs it says so after a while, and that is all that it says too late."""

    def setUp(self):
        super().setUp()
        self.disk = self.enterContext(faults.FaultDisk(self))
        self.empty = self.enterContext(rig.Namespace())

    def test_writes(self):
        """The process itself ends when the kernel has its writes back; what was found is told before."""
        self.disk.hang("write")
        doctor = self.enterContext(rig.Process([self.wirehaul, "doctor", "-w", self.disk.path], self.empty,
                                               stdout=subprocess.PIPE, text=True))
        self.assertTrue(select.select([doctor.popen.stdout], [], [], 60)[0], "it waits for the disk")
        os.set_blocking(doctor.popen.stdout.fileno(), False)
        told = " ".join(doctor.popen.stdout.read().split())
        self.assertIn("disk: write speed: not measured: 30 s after", told)
        self.disk.heal()
        self.assertEqual(doctor.wait(30), 1)
        remedy = f"rm -f {self.disk.path}/wirehaul-doctor-{doctor.pid}_*.tmp"
        self.assertIn(remedy, told)
        rig.run("sh", "-c", remedy)
        self.assertEqual(os.listdir(self.disk.path), [])

    def test_the_directory(self):
        self.disk.hang("statfs")
        doctor = self.enterContext(rig.Process([self.wirehaul, "doctor", "--no-measure", "-w", self.disk.path],
                                               self.empty, stdout=subprocess.PIPE))
        rig.wait_for(lambda: "has not answered for 10 s" in doctor.stderr(), 30, "it says so")
        self.disk.heal()
        self.assertEqual(doctor.wait(30), 2)


if __name__ == "__main__":
    case.main()
