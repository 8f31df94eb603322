# SPDX-License-Identifier: BSD-3-Clause
"""What a system can do to a capture: no io_uring, no memory, no descriptors, a clock that is set, a process that stops.

The table in docs/reliability.md says what is lost in each case."""

import errno
import re
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import faults
import rig
from faults import RATE, SIZE, SLOT

DISABLED = "/proc/sys/kernel/io_uring_disabled"


class Uring(faults.FaultCase):
    """Where io_uring is not to be had, or not all of it, pwrite(2) serves, and that is said."""

    def captured(self, *prefix):
        """A short capture behind PREFIX, of which nothing is lost. Returns the outcome."""
        capture = self.start("-v", "-C", "5", prefix=[*prefix])
        blast = self.send()
        self.written(capture, RATE // 4)
        outcome, _ = self.assertSurvived(capture, blast, dropped=0)
        return outcome

    def assertFellBack(self, outcome):
        lines = [line for line in outcome.stderr.splitlines() if "writing with pwrite instead" in line]
        self.assertEqual(len(lines), 1, outcome.stderr)

    def test_allowed(self):
        """Nothing is said of a fall-back where none was taken."""
        self.assertNotIn("pwrite", self.captured(*faults.seccomp(self)).stderr)

    def test_forbidden_by_the_kernel(self):
        """kernel.io_uring_disabled = 1: for all but CAP_SYS_ADMIN, which the other tests of this machine keep."""
        rig.need("setpriv")
        without = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
        sysctl = self.enterContext(faults.Sysctl(DISABLED, 1))
        capture = self.start("-v", prefix=without)
        sysctl.close()
        blast = self.send()
        self.written(capture, RATE // 4)
        outcome, _ = self.assertSurvived(capture, blast, dropped=0)
        self.assertFellBack(outcome)

    def test_forbidden_by_seccomp(self):
        for number in (errno.EPERM, errno.ENOSYS):
            with self.subTest(errno=number):
                self.assertFellBack(self.captured(*faults.seccomp(self, ("io_uring", number))))

    def test_without_the_operations(self):
        """A kernel before 5.6 knows neither IORING_OP_WRITE nor the question which operations there are."""
        self.assertFellBack(self.captured(*faults.seccomp(self, ("probe", errno.EINVAL))))

    def test_without_registered_buffers(self):
        """Then the same writes go without."""
        self.captured(*faults.seccomp(self, ("buffers", errno.EINVAL)))


class Memory(faults.FaultCase):
    ASKED_KIB, GIVEN_KIB = 65536, 16384

    def test_ring_is_refused(self):
        """As much as there is memory for is taken, in fewer blocks."""
        prefix = faults.seccomp(self, ring_most=self.GIVEN_KIB * 1024)
        capture = self.start("-B", str(self.ASKED_KIB), prefix=prefix)
        said = self.said(capture, "memory is short", self.net.RIGHT)
        self.assertIn(str(self.GIVEN_KIB), said)
        self.assertIn(str(self.ASKED_KIB), said)
        blast = self.send(RATE // 4)  # of which it holds more than a second
        self.written(capture, RATE // 8)
        self.assertSurvived(capture, blast, dropped=0)

    def test_ring_of_smaller_blocks(self):
        """So little that not even four blocks of the size that was chosen are to be had."""
        prefix = faults.seccomp(self, ring_most=1024 * 1024)
        capture = self.start("-B", str(self.ASKED_KIB), "--block-size", "1MiB", prefix=prefix)
        self.said(capture, "memory is short", self.net.RIGHT)
        blast = self.send(RATE // 10)
        self.written(capture, RATE // 40)
        self.assertSurvived(capture, blast, dropped=0)

    def test_no_ring_at_all(self):
        outcome = self.start(prefix=faults.seccomp(self, ring_most=0), wait=False).outcome(10)
        self.assertEqual(outcome.status, 2, outcome.stderr)
        self.assertEqual(len(outcome.stderr.splitlines()), 1, outcome.stderr)
        self.assertIn("-B", outcome.stderr)
        self.assertEqual(outcome.files, [])

    def test_little_address_space(self):
        """The ring is made, but there is no room for it in the process (ulimit -v)."""
        rig.need("prlimit")
        limit = self.ASKED_KIB * 1024 * 8
        capture = self.start("-B", str(8 * self.ASKED_KIB), prefix=["prlimit", f"--as={limit}"])
        self.said(capture, "memory is short", self.net.RIGHT)
        blast = self.send()
        self.written(capture, RATE // 4)
        self.assertSurvived(capture, blast, dropped=0)

    def test_small_cgroup(self):
        """Several times more is written through the page cache than the process may keep of it."""
        limit = self.enterContext(rig.MemoryLimit(24 << 20))
        # Where "ip netns exec" has mounted /sys anew, there are no cgroups to join.
        prefix = [*limit.prefix, "nsenter", f"--net=/run/netns/{self.net.right.name}"]
        capture = self.capture(self.net.RIGHT, "-B", "16384", "-C", "20", "--direct-io", "off", prefix=prefix)
        blast = self.send(2 * RATE)
        self.written(capture, 3 * RATE)
        self.assertSurvived(capture, blast)
        met = Path(limit.prefix[-1]).parent.joinpath("memory.failcnt").read_text(encoding="ascii")
        self.assertGreater(int(met), 0, "the limit was never met")
        capture.close()


class Descriptors(faults.FaultCase):
    def test_too_few_to_start(self):
        rig.need("prlimit")
        outcome = self.start(prefix=["prlimit", "--nofile=7:7"], wait=False).outcome(10)
        self.assertEqual(outcome.status, 2, outcome.stderr)
        self.assertEqual(len(outcome.stderr.splitlines()), 1, outcome.stderr)
        self.assertIn("Too many open files", outcome.stderr)
        self.assertEqual(outcome.files, [])

    def test_adapters_leave_some(self):
        """Adapters that come later take none that the next files will need."""
        rig.need("prlimit")
        # All that is sent has room in the ring.
        capture = self.capture("any", "-v", "-C", "1", "-B", "8192", namespace=self.net.right,
                               prefix=["prlimit", "--nofile=120"])
        for number in range(10):
            self.net.right.ip("link", "add", f"we{number}", "up", "type", "veth", "peer", "name", f"wf{number}")
            self.net.right.ip("link", "set", f"wf{number}", "up")
        self.said(capture, "cannot be captured: ", "would take the last descriptors", "Too many open files")
        blast = self.blast(self.net.left, self.net.LEFT, count=RATE // 4, rate=RATE, size=SIZE)
        self.assertEqual(blast.result()["sent"], RATE // 4)
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertNotIn("cannot create", outcome.stderr)
        self.assertGreater(len(self.captures(outcome)), 5)
        self.assertEqual(outcome.stats["frames_dropped"], 0)
        self.assertNumbers(self.count(self.captures(outcome), size=SIZE, count=RATE // 4, interface=self.net.RIGHT),
                           distinct=RATE // 4, missing=0, duplicated=0)

    def test_none_left_for_a_while(self):
        """Somebody lowers the limit of the running process: no new file can be opened, and what comes waits."""
        rig.need("prlimit")
        capture = self.start("-C", "5")
        blast = self.send()
        self.written(capture)
        # The first eight are open for good; poll(2) itself refuses to wait for more than the limit.
        rig.run("prlimit", "--pid", capture.pid, "--nofile=8:")
        self.said(capture, "cannot create", "Too many open files", "trying again")
        rig.run("prlimit", "--pid", capture.pid, "--nofile=1024:")
        self.said(capture, "cannot create", "writing goes on")
        self.written(capture, RATE // 2)
        self.assertSurvived(capture, blast, dropped=0)


class Time(faults.FaultCase):
    def test_clock_is_set(self):
        """An hour forth and two back: files are begun by the time that passes, whatever they are called after."""
        clock = self.enterContext(faults.FakeClock(self))
        # Half an hour, which would be over when the clock is set forth.
        capture = self.start("-G", "1", "-a", "duration:1800", prefix=clock.prefix)
        start = time.time()
        blast = self.send(RATE // 10)

        def named():
            return [re.search(r"_(\d{5})_(\d{14})\.pcapng$", path).groups() for path in self.captures_of(capture)]

        def ahead():
            return [time.mktime(time.strptime(date, "%Y%m%d%H%M%S")) - start for _, date in named()]

        rig.wait_for(lambda: len(ahead()) >= 2, 5, "there are two files")
        clock.step(3600)
        rig.wait_for(lambda: max(ahead()) > 3500, 5, "a file is begun after the clock was set forth")
        clock.step(-7200)
        rig.wait_for(lambda: min(ahead()) < -3500, 5, "a file is begun after it was set back")
        outcome = capture.stop()
        received = outcome.stats["frames_received"]
        blast.stop()
        self.assertStopped(outcome)
        self.assertIdentity(outcome, None)
        files = self.captures(outcome)
        self.assertLessEqual(len(files), 2 + outcome.stats["elapsed_seconds"])
        self.assertEqual([int(number) for number, _ in named()], list(range(1, len(files) + 1)))
        counted = self.count(files, size=SIZE)
        self.assertSound(counted)
        self.assertNumbers(counted, frames=received, last=received, missing=0, duplicated=0, reordered=0,
                           back_in_time=0)
        self.assertEqual(outcome.stats["frames_dropped"], 0)

    @staticmethod
    def captures_of(capture):
        return [path for path in capture.files() if path.endswith(".pcapng")]

    def test_process_is_stopped(self):
        """SIGSTOP, and much later SIGCONT: what the ring held is written, the rest counted, and it goes on."""
        ring_kib = 16384
        capture = self.start("-B", str(ring_kib), "-C", "20")
        blast = self.send(2 * RATE)
        self.written(capture)
        capture.kill(signal.SIGSTOP)
        before = blast.sent()
        time.sleep(faults.STOPPED_SECONDS)
        blast.wait_sent(before + 2 * (ring_kib * 1024 // SLOT))
        lost = blast.sent() - before - ring_kib * 1024 // SLOT
        capture.kill(signal.SIGCONT)
        self.written(capture, RATE // 2)
        outcome, _ = self.assertSurvived(capture, blast)
        self.assertGreater(lost, 0, "the ring held all that came while nobody looked")
        self.assertGreaterEqual(outcome.stats["frames_dropped"], lost)

    def test_host_sleeps(self):
        """An hour passes in a moment, as after a suspend: everything is late, and nothing else."""
        clock = self.enterContext(faults.FakeClock(self))
        capture = self.start(prefix=clock.prefix)
        blast = self.send()
        self.written(capture)
        clock.pass_by(3600)
        self.written(capture, RATE // 2)
        self.assertSurvived(capture, blast, dropped=0)


if __name__ == "__main__":
    case.main()
