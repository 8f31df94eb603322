# SPDX-License-Identifier: BSD-3-Clause
"""What a service manager is told: readiness, signs of life, the end; no sign of life while a thread stands still."""

import os
import re
import signal
import sys
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig
from listener import Listener

SIZE = 1414


class Service(case.Case):
    WATCHDOG = 4

    def setUp(self):
        super().setUp()
        self.net = self.pair()
        self.listener = self.enterContext(Listener(self.net.right))
        if not re.search(rb"NOTIFY_SOCKET|libsystemd", Path(self.wirehaul).read_bytes()):
            raise unittest.SkipTest("wirehaul was built without libsystemd-dev")

    def start(self, *options, **more):
        return self.capture(self.net.RIGHT, *options, namespace=self.net.right,
                            env=self.listener.environment(self.WATCHDOG * self.options.slow), **more)

    def test_ready_watchdog_stopping(self):
        """Ready when frames are captured, alive on an idle link, and a word before the end."""
        capture = self.start(wait=False)
        ready = self.listener.until(lambda told: "READY" in told, 10 * self.options.slow, "READY")
        self.assertEqual(ready["READY"], "1")
        # That was no promise but a report: whatever is sent from now on is captured.
        sent = self.blast(self.net.left, self.net.LEFT, count=1000, size=SIZE).result()["sent"]
        waits = []
        for _ in range(3):
            start = time.monotonic()
            self.listener.until(lambda told: told.get("WATCHDOG") == "1", 10 * self.options.slow, "a sign of life")
            waits.append(time.monotonic() - start)
        self.assertLess(max(waits), 2.5 * self.options.slow)
        status = self.listener.until(lambda told: "STATUS" in told, 7 * self.options.slow, "a status line")["STATUS"]
        self.assertRegex(status, r"^1,000 frames, .* 0 dropped")
        capture.kill(signal.SIGTERM)
        self.listener.until(lambda told: told.get("STOPPING") == "1", 3 * self.options.slow, "STOPPING")
        outcome = capture.outcome()
        self.assertEqual(outcome.status, 0, outcome.stderr)
        self.assertComplete(self.count(outcome.files, size=SIZE, count=sent), sent)

    def test_no_watchdog_while_a_disk_hangs(self):
        """The writer waits for a frozen file system: no sign of life until it is thawed, and then nothing is lost."""
        rig.need("fsfreeze")
        disk = self.enterContext(rig.Disk(self.scratch, 400))
        output = os.path.join(disk.path, "out")
        os.mkdir(output)
        capture = self.start(directory=output)
        blast = self.blast(self.net.left, self.net.LEFT, count=0, seconds=600, size=SIZE, rate=2000)
        self.listener.until(lambda told: "WATCHDOG" in told, 5 * self.options.slow, "a sign of life")
        rig.run("fsfreeze", "--freeze", disk.path)
        self.addCleanup(rig.run, "fsfreeze", "--unfreeze", disk.path, check=False)
        patience = max(3, self.WATCHDOG / 2 * self.options.slow)
        stuck = self.listener.until(lambda told: "WATCHDOG" not in told and "STATUS" in told,
                                    (patience + 6) * self.options.slow, "a word of the writer that does not go on")
        self.assertRegex(stuck["STATUS"], "wh-(write|close)")
        quiet = time.monotonic()
        while time.monotonic() < quiet + 2.5:
            told = self.listener.next(quiet + 2.5 - time.monotonic())
            self.assertNotIn("WATCHDOG", told or {})
        self.assertTrue(capture.running())
        rig.run("fsfreeze", "--unfreeze", disk.path)
        self.listener.until(lambda told: "WATCHDOG" in told, 5 * self.options.slow, "signs of life again")
        sent = blast.stop()["sent"]
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(outcome.stats["frames_dropped"], 0)
        self.assertComplete(self.count(outcome.files, size=SIZE, count=sent), sent)

    def test_nobody_listens(self):
        """A socket that is not there, or whose reader never reads, is no reason not to capture."""
        environment = {**os.environ, "NOTIFY_SOCKET": "/no/such/socket", "WATCHDOG_USEC": "4000000"}
        outcome = self.capture(self.net.RIGHT, namespace=self.net.right, env=environment).stop()
        self.assertStopped(outcome)
        self.assertEqual(re.findall(r"warning", outcome.stderr), [])


if __name__ == "__main__":
    case.main()
