# SPDX-License-Identifier: BSD-3-Clause
"""Adapters: all of them at once, coming and going, each with its own link type; directions, filters, snapshots."""

import collections
import fcntl
import os
import re
import signal
import socket
import struct
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import pcapng
import rig

SIZE = 300
MARK = b"wirehaul test "


def udp_packet(payload, source="10.78.0.2", target="10.78.0.77"):
    """An IPv4/UDP packet for an address that nobody has, so that nobody answers it."""
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, socket.inet_aton(source),
                         socket.inet_aton(target))
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return header[:10] + struct.pack(">H", checksum) + header[12:] + struct.pack(
        ">HHHH", 4000, 4001, 8 + len(payload), 0) + payload


def marked(files):
    """How often each marked UDP payload is in FILES: {(adapter, direction): Counter(payload)}."""
    found = collections.defaultdict(collections.Counter)
    for path in files:
        for frame in pcapng.frames(path):
            payload = pcapng.udp_payload(frame)
            if payload and payload.startswith(MARK):
                found[frame.interface.name, frame.direction][payload] += 1
    return found


def once(numbers):
    """What marked() should find for these numbers."""
    return {MARK + b"%d" % number: 1 for number in numbers}


class Any(case.Case):
    """-i any in a namespace with a loopback, a veth and a tun."""

    def setUp(self):
        super().setUp()
        self.net = self.pair(addresses=True)
        self.space = self.net.right
        self.space.ip("link", "set", "lo", "up")
        self.tun = self.enterContext(rig.Tun(self.space))

    def say(self, numbers, target):
        """Sends marked datagrams from inside the namespace."""
        with self.space.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in numbers:
                sender.sendto(MARK + b"%d" % number, (target, 4001))

    def joined(self, capture, name):
        """Waits until the capture has an adapter of this name."""
        def known():
            return any(each["name"] == name and each["present"] for each in capture.stats()["interfaces"])

        rig.wait_for(known, 10 * self.options.slow, f"{name} is captured")

    def gone(self, capture, name):
        def known():
            return all(not each["present"] for each in capture.stats()["interfaces"] if each["name"] == name)

        rig.wait_for(known, 10 * self.options.slow, f"{name} is known to be gone")

    def interfaces(self, files):
        """Name and link type of every interface that the files describe."""
        counted = self.count(files)
        return {(each["name"], each["linktype"]) for file in counted["each"] for each in file["interfaces"]}

    def all_kinds(self, *options):
        capture = self.capture("any", *options, namespace=self.space)
        self.say(range(100), "127.0.0.1")
        for number in range(200, 300):
            self.tun.write(udp_packet(MARK + b"%d" % number))
        self.blast(self.net.left, self.net.LEFT, count=1000, size=SIZE).result()
        return capture.stop()

    def test_real_link_types(self):
        outcome = self.all_kinds()
        self.assertStopped(outcome)
        self.assertEqual(self.interfaces(outcome.files),
                         {("lo", pcapng.ETHERNET), (self.net.RIGHT, pcapng.ETHERNET), (self.tun.name, pcapng.RAW_IP)})
        counted = self.count(outcome.files, size=SIZE, count=1000, interface=self.net.RIGHT)
        self.assertNumbers(counted, distinct=1000, duplicated=0, missing=0, corrupt=0, chunk_errors=0)
        self.assertBooks(outcome, counted)
        found = marked(outcome.files)
        self.assertEqual(found[self.tun.name, "in"], once(range(200, 300)))
        # A frame on lo passes twice, going out and coming in: one of the two is kept.
        on_lo = found["lo", "in"] + found["lo", "out"] + found["lo", ""]
        self.assertEqual(on_lo, once(range(100)))
        # libpcap cannot read two link types in one file, Wireshark can.
        self.assertOpens(outcome.files, ["tshark", "capinfos"])

    def test_star_is_any(self):
        capture = self.capture("*", namespace=self.space)
        self.blast(self.net.left, self.net.LEFT, count=100, size=SIZE).result()
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(len(self.interfaces(outcome.files)), 3)

    def test_chain_for_each(self):
        outcome = self.all_kinds("--per-interface")
        self.assertStopped(outcome)
        names = {}
        for path in outcome.files:
            self.assertRegex(path, r"/trace_[a-z]+_00001_\d{14}\.pcapng$")
            ((name, _),) = self.interfaces([path])
            self.assertIn(f"trace_{name}_", path)
            names[name] = path
        self.assertEqual(set(names), {"lo", self.net.RIGHT, self.tun.name})
        counted = self.count([names[self.net.RIGHT]], size=SIZE, count=1000)
        self.assertComplete(counted, 1000)
        self.assertOpens(outcome.files)

    def test_pcap_chain_for_each(self):
        capture = self.capture("any", "--per-interface", namespace=self.space, output="trace.pcap")
        for number in range(50):
            self.tun.write(udp_packet(MARK + b"%d" % number))
        self.blast(self.net.left, self.net.LEFT, count=1000, size=SIZE).result()
        outcome = capture.stop()
        self.assertStopped(outcome)
        by_linktype = {}
        for path in outcome.files:
            (file,) = self.count([path], size=SIZE)["each"]
            self.assertEqual((file["format"], file["state"]), ("pcap", "whole"))
            by_linktype.setdefault(file["interfaces"][0]["linktype"], []).append(file["frames"])
        self.assertEqual(by_linktype[pcapng.RAW_IP], [50])
        self.assertEqual(sorted(by_linktype[pcapng.ETHERNET]), [0, 1000])
        self.assertOpens(outcome.files)

    def test_one_comes_up_later(self):
        capture = self.capture("any", namespace=self.space)
        late = self.enterContext(rig.Tun(self.space, name="wlate", address="10.79.0.1/24"))
        self.space.ip("link", "add", "wlate2", "type", "veth", "peer", "name", "wlate3", "netns", self.net.left.name)
        self.space.ip("link", "set", "wlate2", "up")
        self.net.left.ip("link", "set", "wlate3", "up")
        self.space.ip("link", "add", "wlate4", "up", "type", "veth", "peer", "name", "wlate5")
        self.space.ip("link", "set", "wlate5", "up")
        for name in ("wlate", "wlate2", "wlate4", "wlate5"):
            self.joined(capture, name)
        self.assertRingsBounded(capture, late=4)
        for number in range(300, 400):
            late.write(udp_packet(MARK + b"%d" % number))
        self.blast(self.net.left, "wlate3", count=1000, size=SIZE).result()
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(marked(outcome.files)["wlate", "in"], once(range(300, 400)))
        counted = self.count(outcome.files, size=SIZE, count=1000, interface="wlate2")
        self.assertNumbers(counted, distinct=1000, duplicated=0, corrupt=0)
        self.assertSound(counted)
        self.assertBooks(outcome, counted)
        self.assertOpens(outcome.files, ["tshark", "capinfos"])

    def assertRingsBounded(self, capture, late):
        """However many adapters come, their rings take no more than is meant for all, and the least for each. No
        command that is run (-z) has them in its memory, not even until it begins."""
        text = Path(f"/proc/{capture.pid}/smaps").read_text(encoding="utf-8")
        found = re.findall(r"(?ms)^(\w+)-(\w+) [^\n]*socket:\[.*?^VmFlags: ([^\n]*)", text)
        rings = [(int(last, 16) - int(first, 16)) >> 20 for first, last, _ in found]
        self.assertTrue(all("dc" in flags.split() for *_, flags in found), found)
        meant = min(1024, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 24)
        self.assertEqual(len(rings), 3 + late)
        self.assertLessEqual(sum(rings), 2 * meant + 4 * late, rings)

    def test_one_that_was_down_comes_up(self):
        self.space.ip("link", "set", self.tun.name, "down")
        capture = self.capture("any", namespace=self.space)
        self.space.ip("link", "set", self.tun.name, "up")
        self.joined(capture, self.tun.name)
        self.tun.write(udp_packet(MARK + b"1"))
        outcome = capture.stop()
        self.assertEqual(marked(outcome.files)[self.tun.name, "in"], once([1]))

    def test_one_vanishes_and_the_others_go_on(self):
        capture = self.capture("any", namespace=self.space)
        for number in range(10):
            self.tun.write(udp_packet(MARK + b"%d" % number))
        self.blast(self.net.left, self.net.LEFT, count=500, size=SIZE).result()
        self.tun.close()
        self.gone(capture, self.tun.name)
        self.blast(self.net.left, self.net.LEFT, count=500, first=501, size=SIZE).result()
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(marked(outcome.files)[self.tun.name, "in"], once(range(10)))
        counted = self.count(outcome.files, size=SIZE, count=1000, interface=self.net.RIGHT)
        self.assertNumbers(counted, distinct=1000, duplicated=0, corrupt=0)
        self.assertSound(counted)
        self.assertBooks(outcome, counted)
        self.assertIn(self.tun.name, outcome.stderr)
        self.assertEqual({each["name"]: each["present"] for each in outcome.stats["interfaces"]},
                         {"lo": True, self.net.RIGHT: True, self.tun.name: False})

    def test_one_comes_back(self):
        """The same name with another index is another adapter, or the same one: no frame is lost or doubled."""
        capture = self.capture("any", namespace=self.space)
        for turn in range(3):
            again = self.enterContext(rig.Tun(self.space, name="wback", address="10.80.0.1/24"))
            self.joined(capture, "wback")
            for number in range(turn * 10, turn * 10 + 10):
                again.write(udp_packet(MARK + b"%d" % number))
            again.close()
            self.gone(capture, "wback")
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(marked(outcome.files)["wback", "in"], once(range(30)))
        self.assertSound(self.count(outcome.files))

    def test_two_named_adapters(self):
        """A comma list and a repeated -i, and both ends' order is kept."""
        capture = self.capture(f"lo,{self.net.RIGHT}", "-i", self.tun.name, namespace=self.space)
        self.say(range(10), "127.0.0.1")
        self.tun.write(udp_packet(MARK + b"77"))
        self.blast(self.net.left, self.net.LEFT, count=100, size=SIZE).result()
        outcome = capture.stop()
        self.assertEqual([each["name"] for each in outcome.stats["interfaces"]],
                         ["lo", self.net.RIGHT, self.tun.name])
        self.assertEqual([each["linktype"] for each in outcome.stats["interfaces"]], ["EN10MB", "EN10MB", "RAW"])
        self.assertEqual(marked(outcome.files)[self.tun.name, "in"], once([77]))

    def test_one_that_cannot_be_joined(self):
        """It is told of once, and again when it has been down; it keeps nobody from stopping the capture."""
        self.space.ip("link", "set", self.tun.name, "down")
        capture = self.capture("any", namespace=self.space, output="trace.pcap")
        for turn in range(1, 3):
            self.space.ip("link", "set", self.tun.name, "up")
            self.said(capture, "cannot be captured", turn)
            if turn == 1:
                self.space.ip("link", "set", self.tun.name, "down")
        self.blast(self.net.left, self.net.LEFT, count=100, size=SIZE).result()
        outcome = capture.stop(seconds=10)
        self.assertStopped(outcome)
        self.assertEqual(outcome.stderr.count("cannot be captured"), 2, outcome.stderr)
        self.assertEqual(self.space.link(self.tun.name)["promiscuity"], 0)
        self.assertNumbers(self.count(outcome.files, size=SIZE), distinct=100, corrupt=0)

    def said(self, capture, words, times=1):
        def enough():
            return capture.stderr().count(words) >= times

        rig.wait_for(enough, 10 * self.options.slow, f"it says {words!r} {times} times")

    def late_chain_without_room(self):
        """A capture with a chain for each, while no file can be made for the tun that has come up, and its disk."""
        self.space.ip("link", "set", self.tun.name, "down")
        disk = self.enterContext(rig.Mount(self.scratch, "-t", "tmpfs", "-o", "size=64m", rig.PREFIX))
        capture = self.capture("any", "-v", "-B", "4096", "--per-interface", namespace=self.space, directory=disk.path)
        status = os.statvfs(disk.path)
        disk.remount(f"nr_inodes={status.f_files - status.f_ffree}")
        self.space.ip("link", "set", self.tun.name, "up")
        self.said(capture, "cannot be captured")
        self.space.ip("link", "set", self.tun.name, "mtu", "1400")
        return capture, disk

    def test_chain_of_a_late_one_cannot_start(self):
        """No file can be made for it: it is left out, and the others go on. When there is room it is taken up."""
        capture, disk = self.late_chain_without_room()
        disk.remount("nr_inodes=1000")
        self.said(capture, f"{self.tun.name} has come up: capturing")
        self.tun.write(udp_packet(MARK + b"1"))
        self.blast(self.net.left, self.net.LEFT, count=100, size=SIZE).result()
        outcome = capture.stop(seconds=10)
        self.assertStopped(outcome)
        self.assertEqual(outcome.stderr.count("cannot be captured"), 1, outcome.stderr)
        self.assertEqual(marked(outcome.files)[self.tun.name, "in"], once([1]))
        counted = self.count(outcome.files)
        self.assertEqual(counted["files"], 3)
        for each in outcome.stats["interfaces"]:
            self.assertEqual(each["received"], each["written"] + each["dropped"], each)

    def test_chain_of_a_late_one_cannot_start_and_stop(self):
        """The same, and the end comes while it is left out."""
        capture, _ = self.late_chain_without_room()
        outcome = capture.stop(seconds=10)
        self.assertStopped(outcome)
        self.assertEqual(len(outcome.files), 2)

    def test_start_fails_for_the_second_chain(self):
        """What was begun for the first is removed, and no command is run on it."""
        disk = self.enterContext(rig.Mount(self.scratch, "-t", "tmpfs", "-o", "size=64m,nr_inodes=2", rig.PREFIX))
        note = os.path.join(self.scratch, "note")
        outcome = self.capture("any", "--per-interface", "-z", f"touch {note}; true", namespace=self.space,
                               directory=disk.path, wait=False).outcome(10)
        self.assertEqual(outcome.status, 2, outcome.stderr)
        self.assertEqual(outcome.files, [])
        time.sleep(0.3)  # a command would not have been waited for
        self.assertFalse(os.path.exists(note))

    def test_pcap_chain_of_a_late_one(self):
        """Its file begins with its own link type."""
        self.space.ip("link", "set", self.tun.name, "down")
        capture = self.capture("any", "--per-interface", namespace=self.space, output="trace.pcap")
        self.space.ip("link", "set", self.tun.name, "up")
        self.joined(capture, self.tun.name)
        for number in range(50):
            self.tun.write(udp_packet(MARK + b"%d" % number))
        outcome = capture.stop()
        self.assertStopped(outcome)
        (path,) = [path for path in outcome.files if f"_{self.tun.name}_" in path]
        (file,) = self.count([path])["each"]
        self.assertEqual((file["interfaces"][0]["linktype"], file["frames"]), (pcapng.RAW_IP, 50))

    def test_filter_mistake_is_told_once(self):
        outcome = self.capture("any", namespace=self.space, expression=["nonsense", "and"], wait=False).outcome(10)
        self.assertEqual(outcome.status, 2)
        self.assertEqual(len(outcome.stderr.splitlines()), 1, outcome.stderr)

    def test_filter_that_not_all_can_have(self):
        """Who is left out is told, where others are captured."""
        capture = self.capture("any", namespace=self.space, expression=["ether", "dst", "02:77:68:00:00:02"])
        self.blast(self.net.left, self.net.LEFT, count=100, size=SIZE).result()
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(outcome.stderr.count(f"{self.tun.name} is left out"), 1, outcome.stderr)
        self.assertNumbers(self.count(outcome.files, size=SIZE), distinct=100)

    def test_link_type_changes(self):
        """The same adapter, going on with frames of another kind."""
        tunsetlink, ethernet = 0x400454CD, 1
        capture = self.capture("any", "-v", namespace=self.space)
        self.tun.write(udp_packet(MARK + b"1"))
        self.space.ip("link", "set", self.tun.name, "down")
        fcntl.ioctl(self.tun._fd, tunsetlink, ethernet)
        self.said(capture, "another link type")
        self.gone(capture, self.tun.name)
        self.space.ip("link", "set", self.tun.name, "up")
        self.said(capture, f"{self.tun.name} is back")
        self.tun.write(udp_packet(MARK + b"2"))
        outcome = capture.stop()
        self.assertStopped(outcome)
        found = self.interfaces(outcome.files)
        self.assertIn((self.tun.name, pcapng.RAW_IP), found)
        self.assertIn((self.tun.name, pcapng.ETHERNET), found)
        counted = self.count(outcome.files)
        self.assertSound(counted)
        by_name = {each["name"]: each for each in outcome.stats["interfaces"]}
        self.assertEqual((by_name[self.tun.name]["written"], by_name[self.tun.name]["present"]), (2, True))

    def test_name_goes_to_another(self):
        """An adapter is renamed, and another one gets its name: both are captured."""
        capture = self.capture("any", "-v", "-p", namespace=self.space)
        self.space.ip("link", "set", self.tun.name, "name", "wold")
        other = self.enterContext(rig.Tun(self.space, name=self.tun.name, address="10.81.0.1/24"))
        self.said(capture, f"{self.tun.name} is back")
        self.joined(capture, "wold")
        self.tun.write(udp_packet(MARK + b"1"))
        other.write(udp_packet(MARK + b"2"))
        outcome = capture.stop()
        self.assertStopped(outcome)
        found = marked(outcome.files)
        self.assertEqual(found["wold", "in"], once([1]))
        self.assertEqual(found[self.tun.name, "in"], once([2]))
        self.assertTrue(all(each["present"] for each in outcome.stats["interfaces"]))

    def test_alternative_name_comes_back(self):
        self.space.ip("link", "property", "add", "dev", self.tun.name, "altname", "another-name")
        capture = self.capture("another-name", namespace=self.space)
        self.tun.write(udp_packet(MARK + b"1"))
        self.tun.close()
        self.gone(capture, self.tun.name)
        again = self.enterContext(rig.Tun(self.space, name=self.tun.name))
        self.joined(capture, self.tun.name)
        again.write(udp_packet(MARK + b"2"))
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(marked(outcome.files)[self.tun.name, "in"], once([1, 2]))

    def test_without_a_topology(self):
        """What hwloc cannot tell is not needed, unless there is a list of CPUs to choose from."""
        broken = ["env", "HWLOC_COMPONENTS=stop"]
        capture = self.capture(self.tun.name, "--cpus", "none", namespace=self.space, prefix=broken)
        self.tun.write(udp_packet(MARK + b"1"))
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(marked(outcome.files)[self.tun.name, "in"], once([1]))
        self.assertIn("threads are not pinned", outcome.stderr)
        self.assertStopped(self.capture(self.tun.name, "--cpus", "0", namespace=self.space, prefix=broken).stop())
        if len(os.sched_getaffinity(0)) > 1:
            outcome = self.capture(self.tun.name, "--cpus", "0,1", namespace=self.space, prefix=broken,
                                   wait=False).outcome(10)
            self.assertEqual(outcome.status, 2, outcome.stderr)


class Ending(case.Case):
    def test_space_runs_out_at_the_end(self):
        """The ring holds more than there is room for when the capture is asked to stop."""
        net = self.pair()
        disk = self.enterContext(rig.Tmpfs(self.scratch, 100))
        capture = self.capture(net.RIGHT, "--min-free", "50", namespace=net.right, directory=disk.path)
        capture.kill(signal.SIGSTOP)
        self.blast(net.left, net.LEFT, count=30000, size=1414).result()
        with open(os.path.join(disk.path, "ballast"), "wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, 20000000)
        capture.kill(signal.SIGINT)
        capture.kill(signal.SIGCONT)
        outcome = capture.outcome()
        self.assertStopped(outcome, "low_space", 3)
        self.assertGreaterEqual(rig.free_percent(disk.path), 50)
        files = [path for path in outcome.files if not path.endswith("ballast")]
        self.assertBooks(outcome, self.count(files, size=1414))


class One(case.Case):
    """What can be chosen on one adapter."""

    def setUp(self):
        super().setUp()
        self.net = self.pair()

    def run_with(self, *options, count=2000, **more):
        """Captures while frames numbered from 1 come in and frames numbered from 100001 go out."""
        capture = self.capture(self.net.RIGHT, *options, namespace=self.net.right, **more)
        self.blast(self.net.left, self.net.LEFT, count=count, size=SIZE).result()
        self.blast(self.net.right, self.net.RIGHT, tapped=True, count=count, first=100001, size=SIZE).result()
        outcome = capture.stop()
        self.assertStopped(outcome)
        return outcome

    def test_direction(self):
        for option, wanted in (("in", [1]), ("out", [100001]), ("inout", [1, 100001])):
            with self.subTest(option=option):
                outcome = self.run_with("-Q", option)
                counted = self.count(outcome.files, size=SIZE)
                self.assertSound(counted)
                self.assertBooks(outcome, counted)
                self.assertNumbers(counted, frames=2000 * len(wanted), distinct=2000 * len(wanted),
                                   **{"in": 2000 * (1 in wanted)}, out=2000 * (100001 in wanted))

    def test_both_directions_in_order(self):
        outcome = self.run_with()
        for first, direction in ((1, "in"), (100001, "out")):
            counted = self.count(outcome.files, size=SIZE, only=direction, **{"from": first}, count=2000)
            self.assertNumbers(counted, distinct=2000, missing=0, duplicated=0, reordered=0, outside=0)

    def test_promiscuous(self):
        for options, expected in (((), 1), (("-p",), 0)):
            with self.subTest(options=options):
                capture = self.capture(self.net.RIGHT, *options, namespace=self.net.right)
                self.assertEqual(self.net.right.link(self.net.RIGHT)["promiscuity"], expected)
                self.assertStopped(capture.stop())
                self.assertEqual(self.net.right.link(self.net.RIGHT)["promiscuity"], 0)

    def test_snapshot(self):
        for snap in (1, 14, 64, 65, 299, 300, 301):
            with self.subTest(snap=snap):
                outcome = self.run_with("-s", str(snap), count=500)
                counted = self.count(outcome.files, size=SIZE, snap=snap)
                self.assertNumbers(counted, frames=1000, whole=1, chunk_errors=0, captured_bytes=1000 * min(snap, SIZE),
                                   libpcap_frames=1000, libpcap_differs=0)
                if snap >= 64:  # of a shorter frame the number is cut off too
                    self.assertNumbers(counted, distinct=1000, corrupt=0)
                self.assertBooks(outcome, counted)
                self.assertEqual(outcome.stats["interfaces"][0]["truncated"], 1000 if snap < SIZE else 0)
                self.assertOpens(outcome.files)

    def test_snapshot_of_tagged_frames(self):
        """The tag that is put back counts: 64 bytes of the frame as it was on the wire."""
        capture = self.capture(self.net.RIGHT, "-s", "64", namespace=self.net.right)
        self.blast(self.net.left, self.net.LEFT, count=500, size=SIZE, vlan="5").result()
        outcome = capture.stop()
        self.assertComplete(self.count(outcome.files, size=SIZE, vlan="5", snap=64, count=500), 500)

    def test_filter(self):
        for expression, frames in (("udp dst port 30568", 4000), ("not udp dst port 30568", 0)):
            with self.subTest(expression=expression):
                outcome = self.run_with(expression=expression.split())
                counted = self.count(outcome.files, size=SIZE)
                self.assertSound(counted)
                self.assertBooks(outcome, counted)
                self.assertNumbers(counted, frames=frames, distinct=frames)

    def test_filter_by_length(self):
        """Of three sizes, the filter keeps one; the numbers tell which."""
        capture = self.capture(self.net.RIGHT, namespace=self.net.right, expression=["len", "=", "594"])
        self.blast(self.net.left, self.net.LEFT, count=3000, mix="60,594,1514").result()
        outcome = capture.stop()
        counted = self.count(outcome.files, mix="60,594,1514")
        self.assertNumbers(counted, frames=1000, distinct=1000, corrupt=0, captured_bytes=594000)

    def test_no_frame_slips_past_the_filter(self):
        """Between opening the socket and attaching the filter, under full load, nothing gets through."""
        self.blast(self.net.left, self.net.LEFT, count=0, seconds=600, size=60, **self.rate(60))
        for _ in range(10):
            capture = self.capture(self.net.RIGHT, namespace=self.net.right, expression=["ip6"])
            outcome = capture.stop()
            self.assertNumbers(self.count(outcome.files, size=60), frames=0)
            self.assertEqual(outcome.stats["frames_received"], 0)

    def test_vlan_filter(self):
        """The kernel takes the tag off before the filter runs; the filter must look where it went."""
        for expression, wanted in (("vlan", {100: 500, 200: 500}), ("vlan 100", {100: 500}), ("not vlan", {None: 500}),
                                   ("vlan 200 and udp dst port 30568", {200: 500}), ("vlan 300", {})):
            with self.subTest(expression=expression):
                capture = self.capture(self.net.RIGHT, namespace=self.net.right, expression=expression.split())
                self.blast(self.net.left, self.net.LEFT, count=500, size=SIZE).result()
                for vlan in ("100", "200"):
                    self.blast(self.net.left, self.net.LEFT, count=500, size=SIZE, vlan=vlan).result()
                outcome = capture.stop()
                self.assertStopped(outcome)
                total = self.count(outcome.files)
                self.assertNumbers(total, frames=sum(wanted.values()))
                for vlan, frames in wanted.items():
                    shape = {"vlan": vlan} if vlan else {}
                    self.assertNumbers(self.count(outcome.files, size=SIZE, **shape), distinct=frames)

    def test_filter_from_a_file(self):
        path = Path(self.scratch, "filter")
        path.write_text("# only ours\nudp dst port 30568\n", encoding="ascii")
        outcome = self.run_with("-F", str(path))
        self.assertNumbers(self.count(outcome.files, size=SIZE), frames=4000)


class Fanout(case.Case):
    def test_flows_over_two_threads(self):
        """Every datagram of many flows is there once, whichever thread took it, and each flow is in order."""
        net = self.pair(addresses=True)
        capture = self.capture(net.RIGHT, "--fanout", "2", namespace=net.right)
        flows, each = 16, 500
        with net.left.entered():
            senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)]
        for number in range(each):
            for flow, sender in enumerate(senders):
                sender.sendto(MARK + b"%d" % (number * flows + flow), (net.RIGHT_IP, 4000 + flow))
        for sender in senders:
            sender.close()
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertEqual(marked(outcome.files)[net.RIGHT, "in"], once(range(flows * each)))
        counted = self.count(outcome.files)
        self.assertSound(counted)
        self.assertBooks(outcome, counted)
        self.assertEqual(len(outcome.stats["interfaces"]), 1)
        busy = [source for source in counted["sources"] if source["frames"]]
        self.assertEqual(len(busy), 2, "all flows went to one thread")
        last = collections.Counter()
        for path in outcome.files:
            for frame in pcapng.frames(path):
                payload = pcapng.udp_payload(frame)
                if payload and payload.startswith(MARK):
                    number = int(payload[len(MARK):])
                    self.assertGreaterEqual(number, last[number % flows])
                    last[number % flows] = number

    def both_ways(self, *options):
        """Numbers that were marked in and out on an adapter with an address, to and from which as many were sent."""
        net = self.pair(addresses=True)
        capture = self.capture(net.RIGHT, "--fanout", "2", *options, namespace=net.right)
        for space, address in ((net.left, net.RIGHT_IP), (net.right, net.LEFT_IP)):
            with space.entered():
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with sender:
                for number in range(50):
                    sender.sendto(MARK + b"%d" % number, (address, 4000))
        outcome = capture.stop()
        self.assertStopped(outcome)
        found = marked(outcome.files)
        return found.get((net.RIGHT, "in")), found.get((net.RIGHT, "out"))

    def test_direction_over_two_threads(self):
        """A fan-out group takes frames by a hook of its own, which knows nothing of the members' direction."""
        every = once(range(50))
        self.assertEqual(self.both_ways(), (every, every))
        self.assertEqual(self.both_ways("-Q", "in"), (every, None))
        self.assertEqual(self.both_ways("-Q", "out"), (None, every))

    def test_numbers_over_two_threads(self):
        net = self.pair()
        frames = self.frames(0.2)
        capture = self.capture(net.RIGHT, "--fanout", "2", namespace=net.right)
        self.blast(net.left, net.LEFT, count=frames, size=1414, **self.rate(1414)).result()
        outcome = capture.stop()
        self.assertStopped(outcome)
        counted = self.count(outcome.files, size=1414, count=frames)
        self.assertComplete(counted, frames, ordered=False)
        self.assertBooks(outcome, counted)


class Listing(case.Case):
    def test_adapters_are_listed(self):
        net = self.pair()
        tun = self.enterContext(rig.Tun(net.right))
        done = net.right.run(self.wirehaul, "-D")
        for word in (net.RIGHT, tun.name, "lo", "veth", "EN10MB", "RAW"):
            self.assertIn(word, done.stdout)
        self.assertEqual(done.stderr, "")


if __name__ == "__main__":
    case.main()
