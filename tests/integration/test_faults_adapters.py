# SPDX-License-Identifier: BSD-3-Clause
"""Adapters that go down, change, and are taken away under a capture; and fifty of them.

Those that are removed, renamed and made again are in test_adapters. docs/reliability.md has the table."""

import contextlib
import json
import signal
import socket
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import faults
import numbered
import rig
from faults import SIZE


class Adapter(faults.FaultCase):
    """One, to which things are done between numbered frames: each that arrives must be in the files."""

    COUNT = 3000

    def setUp(self):
        super().setUp()
        self.right, self.name = self.net.right, self.net.RIGHT
        self.sent = 0

    def send_some(self, size=SIZE):
        """The next numbers, once the link is there."""
        def up():
            return all(space.link(name)["operstate"] == "UP"
                       for space, name in ((self.net.left, self.net.LEFT), (self.right, self.name)))

        rig.wait_for(up, 5 * self.options.slow, "both ends have a carrier")
        blast = self.blast(self.net.left, self.net.LEFT, count=self.COUNT, first=self.sent + 1, size=size)
        self.assertEqual(blast.result()["sent"], self.COUNT)
        self.sent += self.COUNT

    def assertAllThere(self, capture):
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertIdentity(outcome, self.sent)
        counted = self.count(self.captures(outcome), count=self.sent)
        self.assertComplete(counted, self.sent)
        self.assertBooks(outcome, counted)
        self.assertOpens(self.captures(outcome), ["capinfos", "tcpdump"], counted)
        return outcome

    def test_down_and_up(self):
        capture = self.start()
        for _ in range(3):
            self.send_some()
            self.right.ip("link", "set", self.name, "down")
            self.right.ip("link", "set", self.name, "up")
        self.send_some()
        self.assertAllThere(capture)

    def test_carrier_lost_and_back(self):
        """The other end goes."""
        capture = self.start()
        self.send_some()
        self.net.left.ip("link", "set", self.net.LEFT, "down")
        self.net.left.ip("link", "set", self.net.LEFT, "up")
        self.send_some()
        self.assertAllThere(capture)

    def test_moved_to_another_namespace(self):
        """To the capture's it has gone; when it comes back it is taken up again."""
        elsewhere = self.enterContext(rig.Namespace())
        capture = self.start("-v", "-C", "3")
        self.send_some()
        self.right.ip("link", "set", self.name, "netns", elsewhere.name)
        self.said(capture, f"{self.name} has gone")
        elsewhere.ip("link", "set", self.name, "netns", self.right.name)
        self.right.ip("link", "set", self.name, "up")
        self.said(capture, f"{self.name} is back")
        self.send_some()
        self.assertAllThere(capture)

    def test_moved_and_back_unseen(self):
        """It has gone and come back with the same index, and the kernel's words of it were lost in the crowd."""
        elsewhere = self.enterContext(rig.Namespace())
        capture = self.start("-v")
        self.send_some()
        capture.kill(signal.SIGSTOP)
        crowd = "".join(f"link set lo mtu {mtu}\n" for mtu in range(20000, 22000))
        rig.run("ip", "-n", self.right.name, "-batch", "-", input=crowd)
        index = self.right.link(self.name)["ifindex"]
        self.right.ip("link", "set", self.name, "netns", elsewhere.name)
        elsewhere.ip("link", "set", self.name, "netns", self.right.name)
        self.right.ip("link", "set", self.name, "up")
        self.assertEqual(self.right.link(self.name)["ifindex"], index)
        capture.kill(signal.SIGCONT)
        self.said(capture, f"{self.name} is back")
        self.send_some()
        self.assertAllThere(capture)

    def test_renamed_and_back(self):
        """The ring stays with the device."""
        capture = self.start()
        self.send_some()
        for name in ("wother", self.net.RIGHT):
            self.right.ip("link", "set", self.name, "name", name)
            self.name = name
            self.send_some()
        self.assertAllThere(capture)

    def test_removed_and_made_again(self):
        """The same name with another device behind it, under a capture of it alone."""
        capture = self.start("-v")
        self.send_some()
        self.right.ip("link", "delete", self.name)
        self.said(capture, f"{self.name} has gone")
        self.net.left.ip("link", "add", "name", self.net.LEFT, "type", "veth", "peer", "name", self.name, "netns",
                         self.right.name)
        self.net.left.ip("link", "set", self.net.LEFT, "up")
        self.right.ip("link", "set", self.name, "up")
        self.said(capture, f"{self.name} is back")
        self.send_some()
        self.assertAllThere(capture)

    def test_mtu_changes(self):
        capture = self.start()
        for mtu, size in ((1500, 1514), (9000, 9014), (1500, 1514), (600, 614)):
            for space, name in ((self.net.left, self.net.LEFT), (self.right, self.name)):
                space.ip("link", "set", name, "mtu", mtu)
            self.send_some(size)
        outcome = self.assertAllThere(capture)
        self.assertEqual(outcome.stats["interfaces"][0]["truncated"], 0)

    def test_flaps_under_load(self):
        """Frames are lost on the way to an adapter that is down; of those that it received, none."""
        capture = self.start("-C", "20")
        blast = self.send(20000)
        for _ in range(10):
            self.right.ip("link", "set", self.name, "down")
            self.right.ip("link", "set", self.name, "up")
            self.sent_more(blast, 1000)
        blast.stop()
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertIdentity(outcome, None)
        counted = self.count(self.captures(outcome), size=SIZE)
        self.assertSound(counted)
        self.assertBooks(outcome, counted)
        self.assertNumbers(counted, duplicated=0, reordered=0, corrupt=0, other=0)
        self.assertEqual(outcome.stats["frames_dropped"], 0)


class Fifty(faults.FaultCase):
    ADAPTERS, EACH, REMOVED, FRAME = 50, 60, 10, 300

    def setUp(self):
        super().setUp()
        self.left, self.right = self.net.left, self.net.right
        self.lefts = [f"wl{number}" for number in range(self.ADAPTERS)]
        self.rights = [f"wr{number}" for number in range(self.ADAPTERS)]
        pairs = list(zip(self.lefts, self.rights))
        self.batch(self.left, [f"link add {left} type veth peer name {right} netns {self.right.name}"
                               for left, right in pairs])
        self.batch(self.left, [f"link set {left} up" for left in self.lefts])
        self.batch(self.right, [f"link set {right} up" for right in self.rights])

        def up():
            links = json.loads(self.right.ip("-json", "link", "show", "up").stdout)
            return sum(link.get("operstate") == "UP" for link in links) == self.ADAPTERS + 1

        rig.wait_for(up, 10 * self.options.slow, "all have a carrier")

    @staticmethod
    def batch(space, lines):
        rig.run("ip", "-n", space.name, "-batch", "-", input="\n".join(lines) + "\n")

    def send_on(self, names, first):
        """EACH numbered frames on each of NAMES, from FIRST on. Returns the next number."""
        with contextlib.ExitStack() as stack, self.left.entered():
            for name in names:
                sender = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
                sender.bind((name, 0))
                for number in range(first, first + self.EACH):
                    sender.send(numbered.frame(number, self.FRAME))
                first += self.EACH
        return first

    def test_fifty_adapters(self):
        """Each has its own ring and thread. Some are taken away, the others go on."""
        capture = self.start("-i", ",".join(self.rights), "-B", "2048", "-C", "1")
        threads = len(list(Path(f"/proc/{capture.pid}/task").iterdir()))
        self.assertGreater(threads, self.ADAPTERS)
        first = self.send_on(self.lefts, 1)
        self.batch(self.left, [f"link delete {name}" for name in self.lefts[: self.REMOVED]])

        def gone():
            return sum(not each["present"] for each in capture.stats()["interfaces"]) == self.REMOVED

        rig.wait_for(gone, 10 * self.options.slow, "the capture knows who has gone")
        sent = self.send_on(self.lefts[self.REMOVED :], first) - 1
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertIdentity(outcome, sent)
        counted = self.count(self.captures(outcome), size=self.FRAME, count=sent)
        self.assertComplete(counted, sent, ordered=False)
        self.assertBooks(outcome, counted)
        received = {each["name"]: each["received"] for each in outcome.stats["interfaces"]}
        for name in self.rights:
            self.assertEqual(received[name], self.EACH * (1 if name in self.rights[: self.REMOVED] else 2), name)
        print(f"({threads} threads, {sent} frames)", end=" ")


if __name__ == "__main__":
    case.main()
