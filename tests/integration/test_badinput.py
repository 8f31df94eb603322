# SPDX-License-Identifier: BSD-3-Clause
"""Every bad input gets one clear line and status 2, and nothing is created."""

import os
import pwd
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig

NOBODY = "nobody"

# Command lines that are wrong whatever the machine. What is in braces is filled in: {up} an adapter, {out} a good path.
# The words must all be in the message, in any case of letters.
NONSENSE = [
    (["-i", "{up}"], ["-w"]),
    (["-w", "{out}"], ["-i"]),
    (["-i", "{up}", "-w", "{out}", "--no-such-option"], ["no-such-option"]),
    (["-i", "{up}", "-w", "{out}", "-j"], ["-j"]),
    (["-i", "{up}", "-w"], ["-w"]),
    (["-i", "", "-w", "{out}"], ["-i"]),
    (["-i", "{up},,{up}", "-w", "{out}"], ["-i"]),
    (["-i", "{up}", "-w", ""], ["-w"]),
    (["-i", "{up}", "-w", "{out}", "-c", "abc"], ["-c", "abc"]),
    (["-i", "{up}", "-w", "{out}", "-c", "0"], ["-c", "0"]),
    (["-i", "{up}", "-w", "{out}", "-c", "-5"], ["-c", "-5"]),
    (["-i", "{up}", "-w", "{out}", "-c", "18446744073709551616"], ["-c"]),
    (["-i", "{up}", "-w", "{out}", "-c", "10 "], ["-c"]),
    (["-i", "{up}", "-w", "{out}", "-c", "0x10"], ["-c"]),
    (["-i", "{up}", "-w", "{out}", "-s", "-1"], ["-s"]),
    (["-i", "{up}", "-w", "{out}", "-s", "lots"], ["-s"]),
    (["-i", "{up}", "-w", "{out}", "-C", "0"], ["-C"]),
    (["-i", "{up}", "-w", "{out}", "-C", "-1"], ["-C"]),
    (["-i", "{up}", "-w", "{out}", "-C", "10X"], ["-C", "10X"]),
    (["-i", "{up}", "-w", "{out}", "-C", "1.5.2M"], ["-C"]),
    (["-i", "{up}", "-w", "{out}", "-C", "99999999999999999999"], ["-C"]),
    (["-i", "{up}", "-w", "{out}", "-C", "nan"], ["-C"]),
    (["-i", "{up}", "-w", "{out}", "-G", "0"], ["-G"]),
    (["-i", "{up}", "-w", "{out}", "-G", "1h30"], ["-G"]),
    (["-i", "{up}", "-w", "{out}", "-C", "10", "-W", "0"], ["-W"]),
    (["-i", "{up}", "-w", "{out}", "-C", "10", "-W", "many"], ["-W"]),
    (["-i", "{up}", "-w", "{out}", "-W", "5"], ["-W", "-C", "-G"]),
    (["-i", "{up}", "-w", "{out}", "-B", "0"], ["-B"]),
    (["-i", "{up}", "-w", "{out}", "-B", "big"], ["-B"]),
    (["-i", "{up}", "-w", "{out}", "--block-size", "3000"], ["block-size"]),
    (["-i", "{up}", "-w", "{out}", "--block-size", "100000"], ["block-size"]),
    (["-i", "{up}", "-w", "{out}", "--block-size", "0"], ["block-size"]),
    (["-i", "{up}", "-w", "{out}", "--block-timeout", "0"], ["block-timeout"]),
    (["-i", "{up}", "-w", "{out}", "--fanout", "0"], ["fanout"]),
    (["-i", "{up}", "-w", "{out}", "--fanout", "-1"], ["fanout"]),
    (["-i", "{up}", "-w", "{out}", "--cpus", "red"], ["cpus"]),
    (["-i", "{up}", "-w", "{out}", "--cpus", "3-1"], ["cpus"]),
    (["-i", "{up}", "-w", "{out}", "--cpus", "99999"], ["cpu"]),
    (["-i", "{up}", "-w", "{out}", "--direct-io", "maybe"], ["direct-io"]),
    (["-i", "{up}", "-w", "{out}", "--min-free", "100"], ["min-free"]),
    (["-i", "{up}", "-w", "{out}", "--min-free", "-1"], ["min-free"]),
    (["-i", "{up}", "-w", "{out}", "--min-free", "ten"], ["min-free"]),
    (["-i", "{up}", "-w", "{out}", "--min-free", "nan"], ["min-free"]),
    (["-i", "{up}", "-w", "{out}", "--on-low-space", "panic"], ["on-low-space"]),
    (["-i", "{up}", "-w", "{out}", "--format", "erf"], ["format"]),
    (["-i", "{up}", "-w", "{out}", "-Q", "sideways"], ["-Q"]),
    (["-i", "{up}", "-w", "{out}", "-a", "tomorrow"], ["-a"]),
    (["-i", "{up}", "-w", "{out}", "-a", "duration:0"], ["-a"]),
    (["-i", "{up}", "-w", "{out}", "-a", "duration:x"], ["-a"]),
    (["-i", "{up}", "-w", "{out}", "-Z", "no-such-user"], ["no-such-user"]),
    (["-i", "{up}", "-w", "{out}", "-F", "{missing}"], ["-F"]),
    (["-i", "{up}", "-w", "{out}", "-F", "{filter}", "udp"], ["-F"]),
    (["-i", "{up}", "-w", "{out}", "-q", "-v"], ["-q", "-v"]),
    (["-i", "{up}", "-w", "{out}", "-r", "{filter}"], ["-r", "-i"]),
    (["-r", "{missing}", "-w", "{out}"], ["missing"]),
    (["-r", "{filter}", "-w", "{out}"], ["filter"]),
    (["-i", "{up}", "-w", "-", "-C", "10"], ["-C"]),
    (["-i", "{up}", "-w", "-", "-G", "10"], ["-G"]),
    (["-i", "{up}", "-w", "{out}", "--format", "pcap"], ["format"]),
    (["-i", "{up}", "-w", "{pcap}", "--format", "pcapng"], ["format"]),
    (["-i", "{up}", "-w", "{out}", "--stats-file", "{out}"], ["stats-file"]),
    (["-i", "{up}", "-w", "{out}", "--stats-file", "{missing}/deep/stats.json"], ["missing"]),
    (["-i", "{up}", "-w", "{out}", "--on-low-space", "recycle", "--min-free", "0"], ["min-free"]),
    (["-D", "-w", "{out}"], ["-D"]),
    # What is asked for and cannot be.
    (["-i", "no-such-nic", "-w", "{out}"], ["no-such-nic"]),
    (["-i", "{up},no-such-nic", "-w", "{out}"], ["no-such-nic"]),
    (["-i", "a-name-that-is-far-too-long-for-an-adapter", "-w", "{out}"], ["a-name-that"]),
    (["-i", "{down}", "-w", "{out}"], ["{down}", "down"]),
    (["-i", "{up}", "-w", "{missing}/trace.pcapng"], ["missing"]),
    (["-i", "{up}", "-w", "{out}/", ], ["directory"]),
    (["-i", "{up}", "-w", "{filter}/trace.pcapng"], ["filter"]),
    (["-i", "{up}", "-w", "/proc/trace.pcapng"], ["/proc"]),
    (["-i", "{up}", "-w", "/proc/trace.pcapng", "--min-free", "0"], ["/proc"]),
    (["-i", "{up}", "-w", "{out}", "-C", "4KiB"], ["size", "at least"]),
    (["-i", "{up}", "-w", "{out}", "-C", "1MiB", "--block-size", "1MiB"], ["-C", "block"]),
    (["-i", "{up}", "-w", "{out}", "-B", "64", "--block-size", "1MiB"], ["block"]),
    (["-i", "{up}", "-w", "{out}", "tcp prot 80"], ["syntax error"]),
    (["-i", "{up}", "-w", "{out}", "host no.such.host.invalid"], ["no.such.host.invalid"]),
    (["-i", "{up}", "-w", "{out}", "ip and (tcp or"], ["syntax error"]),
]


class BadInput(case.Case):
    def setUp(self):
        super().setUp()
        self.net = self.pair()
        self.net.right.ip("link", "add", "wdown", "type", "veth", "peer", "name", "wdown2")
        Path(self.scratch, "filter").write_text("tcp port 80\n", encoding="ascii")
        self.places = {
            "up": self.net.RIGHT,
            "down": "wdown",
            "missing": os.path.join(self.scratch, "missing"),
            "filter": os.path.join(self.scratch, "filter"),
        }
        self.put_output()

    def put_output(self):
        """Makes the output directory under the scratch directory."""
        self.output = os.path.join(self.scratch, "out")
        os.mkdir(self.output)
        os.chmod(self.output, 0o755)
        self.places["out"] = os.path.join(self.output, "trace.pcapng")
        self.places["pcap"] = os.path.join(self.output, "trace.pcap")

    def go_public(self):
        """From here on in a directory that every user may reach, where the program is as well."""
        public = self.enterContext(rig.Public(self.wirehaul))
        self.scratch, self.wirehaul = public.path, public.program
        self.put_output()

    def inventory(self):
        """Everything there is under the scratch directory, and how large."""
        return sorted((str(path), path.lstat().st_size) for path in Path(self.scratch).rglob("*"))

    def refused(self, arguments, words, prefix=(), program=None):
        """Runs wirehaul and sees it refuse. Returns what it said."""
        arguments = [text.format(**self.places) for text in arguments]
        words = [text.format(**self.places) for text in words]
        before = self.inventory()
        start = time.monotonic()
        process = self.net.right.run(
            *prefix, program or self.wirehaul, *arguments, check=False, timeout=20 * self.options.slow, cwd=self.output
        )
        took = time.monotonic() - start
        said = process.stderr
        self.assertEqual(process.returncode, 2, said)
        self.assertEqual(self.inventory(), before, "something was created")
        self.assertEqual(process.stdout, "")
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertTrue(said.endswith("\n"))
        for word in words:
            self.assertIn(word.lower(), said.lower())
        self.assertLess(took, 3 * self.options.slow)
        return said

    def test_nonsense(self):
        for arguments, words in NONSENSE:
            with self.subTest(arguments=" ".join(arguments)):
                self.refused(arguments, words)

    def test_filter_position(self):
        """libpcap says only what is wrong; where it is must be added."""
        for expression, position in (
            ("tcp prot 80", '(at character 5: "prot 80")'),
            ("tcp port 80 and upd port 53", '(at character 17: "upd port 53")'),
            ("ip and (tcp or", '(at character 15: it ends too soon)'),
            ("udp and port no-such-port", '(at character 14: "no-such-port")'),
        ):
            with self.subTest(expression=expression):
                said = self.refused(["-i", "{up}", "-w", "{out}", expression], [])
                self.assertIn(position, said)

    def test_link_types_in_one_pcap(self):
        """Classic pcap has one link type for the whole file."""
        self.places["tun"] = self.enterContext(rig.Tun(self.net.right)).name
        self.refused(["-i", "{up},{tun}", "-w", "{pcap}"], ["pcapng", "--per-interface"])

    def test_read_only_file_system(self):
        disk = self.enterContext(rig.Disk(self.scratch, 32))
        disk.remount("ro")
        self.places["readonly"] = disk.path
        self.refused(["-i", "{up}", "-w", "{readonly}/trace.pcapng"], ["read-only", disk.path])

    def test_size_above_the_file_system(self):
        """A full disk is a full disk, whatever -C says; a large -C on a small disk is no error."""
        disk = self.enterContext(rig.Disk(self.scratch, 64))
        capture = self.capture(self.net.RIGHT, "-C", "10G", namespace=self.net.right, directory=disk.path)
        self.assertStopped(capture.stop())
        capture.close()

    def test_without_the_capability(self):
        """Root in a container often lacks CAP_NET_RAW."""
        rig.need("setpriv")
        without = ["setpriv", "--bounding-set", "-net_raw,-net_admin", "--inh-caps", "-net_raw,-net_admin"]
        self.refused(["-i", "{up}", "-w", "{out}"], ["CAP_NET_RAW"], prefix=without)

    def test_without_net_admin(self):
        """Promiscuous mode and a big ring are worth CAP_NET_ADMIN, but CAP_NET_RAW alone must be enough to capture."""
        rig.need("setpriv")
        without = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
        capture = self.capture(self.net.RIGHT, namespace=self.net.right, prefix=without)
        self.blast(self.net.left, self.net.LEFT, count=1000, size=100).result()
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertComplete(self.count(outcome.files, size=100, count=1000), 1000)

    def as_nobody(self, capabilities=""):
        """A command prefix that becomes an ordinary user, with some capabilities perhaps."""
        rig.need("setpriv")
        self.go_public()
        user = pwd.getpwnam(NOBODY)
        prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        if capabilities:
            prefix += ["--inh-caps", capabilities, "--ambient-caps", capabilities]
        return prefix

    def test_unprivileged(self):
        prefix = self.as_nobody()
        os.chown(self.output, pwd.getpwnam(NOBODY).pw_uid, -1)
        self.refused(["-i", "{up}", "-w", "{out}"], ["CAP_NET_RAW"], prefix=prefix)

    def test_directory_not_writable(self):
        prefix = self.as_nobody("+net_raw,+net_admin")
        self.refused(["-i", "{up}", "-w", "{out}"], ["permission", self.output], prefix=prefix)

    def test_user_who_may_not_write(self):
        """-Z gives up root before the first file is made; that this user cannot make one must be seen at once."""
        self.go_public()
        self.refused(["-i", "{up}", "-w", "{out}", "-Z", NOBODY], ["permission", self.output])

    def test_help_and_version(self):
        for option, word in (("--help", "-i"), ("--version", "wirehaul")):
            done = rig.run(self.wirehaul, option)
            self.assertIn(word, done.stdout)
            self.assertEqual(done.stderr, "")


if __name__ == "__main__":
    case.main()
