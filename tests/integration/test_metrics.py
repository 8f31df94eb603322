# SPDX-License-Identifier: BSD-3-Clause
"""Metrics: what is told is what was counted, a real Prometheus understands it, and no caller harms the capture.

Thousands of callers, by hand: test_metrics.py --bin DIR --connections 10000 Flood
"""

import argparse
import contextlib
import json
import math
import os
import random
import re
import resource
import signal
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import case
import rig

PROJECT = Path(__file__).resolve().parents[2]
PACKAGING = PROJECT / "packaging"
PORT, SERVER_PORT = 9817, 9090
SIZE, PACE = 1414, 20000  # bytes, frames a second
DEADLINE = 5  # seconds that a connection may last (cli/metrics_server.c)
CONNECTIONS = 300

# What each counter is called in the statistics file.
OF_INTERFACE = {
    "wirehaul_interface_received_frames_total": "received",
    "wirehaul_interface_written_frames_total": "written",
    "wirehaul_interface_dropped_frames_total": "dropped",
    "wirehaul_interface_nic_dropped_frames_total": "dropped_nic",
    "wirehaul_interface_truncated_frames_total": "truncated",
    "wirehaul_interface_captured_bytes_total": "bytes_captured",
}
OF_ALL = {
    "wirehaul_written_bytes_total": "bytes_on_disk",
    "wirehaul_copied_bytes_total": "bytes_copied",
    "wirehaul_files_total": "files",
    "wirehaul_deleted_files_total": "files_deleted",
    "wirehaul_undeleted_files_total": "files_left",
    "wirehaul_write_errors_total": "write_errors",
    "wirehaul_marks_total": "marks",
}

REFUSED = [
    (":9817", "127.0.0.1:PORT"),
    ("*:9817", "in numbers"),
    ("0:9817", "in numbers"),
    ("example.com:9817", "in numbers"),
    ("::1:9817", "brackets"),
    ("127.0.0.1:65536", "in numbers"),
    ("127.0.0.1", "in numbers"),
    ("192.0.2.1:9817", "no adapter"),
]

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(namespace, path, port=PORT, seconds=10):
    """What is at PATH of a server in NAMESPACE."""
    with namespace.entered():
        with _opener.open(f"http://127.0.0.1:{port}{path}", timeout=seconds) as answer:
            return answer.read().decode()


def documentation():
    return (PROJECT / "docs/metrics.md").read_text(encoding="utf-8")


def parse(text):
    """{name: {labels: value}} of an exposition; LABELS is the text between the braces."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
            found.setdefault(name, {})[labels or ""] = float(value)
    return found


class Metrics(case.Case):
    def setUp(self):
        super().setUp()
        self.network = self.pair()
        self.space = self.network.right
        self.space.ip("link", "set", "lo", "up")

    def watched(self, *options, **more):
        return self.capture(self.network.RIGHT, "--metrics", f"127.0.0.1:{PORT}", *options, namespace=self.space,
                            **more)

    def wait_answer(self, question, what):
        """Until QUESTION() has an answer. Asked too often, the servers would do nothing else."""
        def answered():
            answer = question()
            if not answer:
                time.sleep(0.05)
            return answer

        return rig.wait_for(answered, 20 * self.options.slow, what)

    def scrape(self):
        return parse(fetch(self.space, "/metrics"))

    def send(self, **options):
        """A sender whose pace no disk is too slow for, unless told otherwise."""
        pace = {"rate": min(PACE, self.options.rate or PACE), **options}
        return self.blast(self.network.left, self.network.LEFT, size=SIZE, **pace)

    def counted(self, found, stats):
        """The counters FOUND and those of the statistics file, each under its own name."""
        pairs = {name: (found[name][""], stats[field]) for name, field in OF_ALL.items()}
        for each in stats["interfaces"]:
            for name, field in OF_INTERFACE.items():
                labels = f'interface="{each["name"]}"'
                pairs[f"{name}{{{labels}}}"] = (found[name][labels], each[field])
        return pairs

    def differing(self, found, stats):
        return {name: pair for name, pair in self.counted(found, stats).items() if pair[0] != pair[1]}

    def settled(self, capture, sent):
        """What is told once all that was SENT is in the files or lost and both tellers have said so."""
        def same():
            found, stats = self.scrape(), capture.stats()
            received, *done = (sum(found[f"wirehaul_interface_{word}_frames_total"].values())
                               for word in ("received", "written", "dropped"))
            if received != sum(done) or received != sent or "wirehaul_space_left_seconds" not in found:
                return None
            if not self.differing(found, stats):
                return found, stats
            capture.kill(signal.SIGUSR1)  # the statistics file is of the second before
            return None

        with contextlib.suppress(AssertionError):
            return self.wait_answer(same, "")
        self.fail(f"{sent} frames were sent; differing: {self.differing(self.scrape(), capture.stats())}")


class Told(Metrics):
    def test_counters(self):
        """What is told, while it runs and at its end, is what the statistics file says, in the words of Prometheus."""
        capture = self.watched("-C", "10")
        sent = self.send(count=self.frames(0.01)).result()["sent"]
        found, stats = self.settled(capture, sent)
        self.assertClean(fetch(self.space, "/metrics"))
        self.assertDescribed(fetch(self.space, "/metrics"))
        self.assertGauges(found, stats)
        self.assertHistogram(found, stats)
        self.assertThread(capture)
        self.assertLoopbackOnly()
        outcome = capture.stop()
        self.assertStopped(outcome)
        # Closing the last file writes its end; nothing else may have changed.
        changed = {name for name in self.differing(found, outcome.stats)}
        self.assertLessEqual(changed, {"wirehaul_written_bytes_total", "wirehaul_copied_bytes_total"})
        self.assertLess(outcome.stats["bytes_on_disk"] - found["wirehaul_written_bytes_total"][""], 65536)
        self.assertComplete(self.count(outcome.files, size=SIZE, count=sent), sent)

    def assertClean(self, text):
        rig.need("promtool")
        checked = rig.run("promtool", "check", "metrics", check=False, input=text)
        self.assertEqual((checked.returncode, checked.stdout, checked.stderr), (0, "", ""), text)

    def assertDescribed(self, text):
        """The documentation lists what is told, as what it is, and nothing else."""
        told = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M)
        self.assertEqual(len(told), len(set(told)))
        listed = re.findall(r"^\| `(wirehaul_\w+)` \| (\w+) \|", documentation(), re.M)
        self.assertEqual(sorted(told), sorted(listed))

    def assertGauges(self, found, stats):
        one = {name: values[""] for name, values in found.items() if "" in values}
        self.assertEqual(one["wirehaul_running"], 1)
        self.assertEqual(found["wirehaul_interface_present"], {'interface="wb"': 1})
        self.assertEqual(found["wirehaul_interface_info"], {'interface="wb",linktype="EN10MB"': 1})
        self.assertEqual(found["wirehaul_capture_info"], {'simulation="none"': 1})
        version = rig.run(self.wirehaul, "--version").stdout.split()[1]
        self.assertEqual(found["wirehaul_build_info"], {f'version="{version}"': 1})
        self.assertLess(abs(time.time() - one["wirehaul_last_frame_timestamp_seconds"]), 60)
        self.assertEqual(int(one["wirehaul_last_frame_timestamp_seconds"]), stats["last_frame_ns"] // 10**9)
        self.assertGreater(one["wirehaul_cpu_seconds_total"], 0)
        self.assertLess(one["wirehaul_cpu_seconds_total"], 2 * os.cpu_count() * one["wirehaul_elapsed_seconds"])
        self.assertGreater(one["wirehaul_ring_fill_max_ratio"], 0)
        self.assertLessEqual(one["wirehaul_ring_fill_ratio"], one["wirehaul_ring_fill_max_ratio"])
        self.assertLessEqual(one["wirehaul_ring_fill_max_ratio"], 1)
        self.assertLess(abs(100 * one["wirehaul_free_space_ratio"] - rig.free_percent(self.scratch)), 2)
        self.assertGreater(one["wirehaul_space_left_bytes"], 0)
        # All of it was written within the last minute, and some of that has passed.
        rate = one["wirehaul_space_left_bytes"] / one["wirehaul_space_left_seconds"]
        self.assertGreater(rate, one["wirehaul_written_bytes_total"] / 60)
        self.assertLess(rate, one["wirehaul_written_bytes_total"])

    def assertHistogram(self, found, stats):
        buckets = [(float(re.fullmatch('le="(.*)"', labels)[1]), value)
                   for labels, value in found["wirehaul_write_latency_seconds_bucket"].items()]
        self.assertEqual(buckets, sorted(buckets))
        self.assertEqual(buckets[-1][0], math.inf)
        self.assertEqual([limit for limit, _ in buckets[:-1]],
                         [limit / 1e6 for limit in stats["write_latency_limits_us"][:-1]])
        count = found["wirehaul_write_latency_seconds_count"][""]
        self.assertGreater(count, 0)
        self.assertEqual(buckets[-1][1], count)
        self.assertEqual(count, sum(stats["write_latency_counts"]))
        whole, longest = (found[f"wirehaul_write_latency_{word}_seconds" if word == "max" else
                                f"wirehaul_write_latency_seconds_{word}"][""] for word in ("sum", "max"))
        self.assertGreater(longest, 0)
        # Microseconds are cut off, of each on its own.
        self.assertLessEqual(longest, whole + 1e-6)
        self.assertLessEqual(whole, count * (longest + 1e-6))

    def assertThread(self, capture):
        """One thread serves, behind the others, and no signal reaches it."""
        found = []
        for task in Path(f"/proc/{capture.pid}/task").iterdir():
            try:
                name = (task / "comm").read_text(encoding="ascii").strip()
                nice = int((task / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[16])
            except (FileNotFoundError, ProcessLookupError):  # the kernel's threads come and go
                continue
            if name == "wh-metrics":
                blocked = re.search(r"^SigBlk:\s*(\w+)", (task / "status").read_text(encoding="ascii"), re.M)[1]
                found.append(nice)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
                    self.assertTrue(int(blocked, 16) >> (number - 1) & 1, number)
            else:
                self.assertEqual(nice, 0, name)
        self.assertEqual(found, [5])

    def assertLoopbackOnly(self):
        with self.space.entered(), self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", PORT), timeout=10)


class Refused(Metrics):
    def assertRefused(self, address, words):
        out = os.path.join(self.scratch, rig.unique("-refused"))
        os.mkdir(out)
        done = self.space.run(self.wirehaul, "-i", "lo", "-B", "1024", "-w", f"{out}/trace.pcapng", "--min-free", "0",
                              "-c", "1", "--metrics", address, check=False, timeout=30)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr, rf"^[^\n]*--metrics {re.escape(address)}[^\n]*{re.escape(words)}[^\n]*\n$")
        self.assertEqual(os.listdir(out), [])

    def test_addresses(self):
        """What is no address, or could mean more than it says, ends it before anything is made."""
        for address, words in REFUSED:
            with self.subTest(address):
                self.assertRefused(address, words)

    def test_nothing_is_opened(self):
        """What is no address is refused before any adapter is looked at."""
        done = rig.run(self.wirehaul, "-i", "no-such-nic", "-w", f"{self.scratch}/x.pcapng", "--metrics", "70000",
                       check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr, r"\A[^\n]*--metrics 70000[^\n]*in numbers[^\n]*\n\Z")

    def test_taken_port(self):
        """A second capture does not take the first one's port, and the first goes on."""
        capture = self.watched("-B", "1024")
        self.assertRefused(f"127.0.0.1:{PORT}", "another port")
        self.assertEqual(self.scrape()["wirehaul_running"][""], 1)
        self.assertStopped(capture.stop())


class Flood(Metrics):
    connections = CONNECTIONS

    def payload(self, kind, chance):
        return (
            b"",
            b"GET /metrics HTTP/1.1\r\nHost",
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 100000,
            chance.randbytes(chance.randrange(1, 3000)),
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n" + b"b" * 100000,
            b"GET /" + b"%00/.." * 1000 + b" HTTP/9.9\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 500,
        )[kind]

    def call(self, number, chance):
        """Says something, and neither listens nor hangs up."""
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        caller.settimeout(20 * self.options.slow)
        caller.connect(("127.0.0.1", PORT))
        caller.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            caller.send(self.payload(number % 8, chance))
        return caller

    def resident(self, capture):
        return int(re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{capture.pid}/status").read_text(encoding="ascii"))[1])

    def test_flood(self):
        """Hundreds that say nothing, half of it, too much or nonsense, and do not listen: no frame is lost by them, who
        asks in order is answered, and neither memory nor descriptors grow."""
        wanted = self.connections
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(1024, wanted + 256)), hard))
        # What the kernel takes off the server's hands is less than an answer: who does not listen is waited for.
        self.space.run("bash", "-c", "echo 4096 4096 4096 > /proc/sys/net/ipv4/tcp_wmem")
        capture = self.watched("-B", "65536")
        blast = self.send(count=10**9)
        blast.wait_sent(1000)
        before = self.resident(capture), len(os.listdir(f"/proc/{capture.pid}/fd"))
        chance = random.Random(1)
        callers, times, most = [], [], 0
        start = time.monotonic()
        for number in range(wanted):
            with self.space.entered():
                callers.append(self.call(number, chance))
            if number % 50 == 49:
                asked = time.monotonic()
                self.assertEqual(self.scrape()["wirehaul_running"][""], 1)
                times.append(time.monotonic() - asked)
                most = max(most, len(os.listdir(f"/proc/{capture.pid}/fd")))
        flooded = time.monotonic() - start
        grown = self.resident(capture) - before[0]
        sent = blast.stop()["sent"]
        found, stats = self.settled(capture, sent)
        self.assertEqual(sum(found["wirehaul_interface_received_frames_total"].values()), stats["frames_received"])
        for caller in callers:
            caller.close()
        outcome = capture.stop()
        self.assertStopped(outcome)
        counted = self.count(outcome.files, size=SIZE, count=sent)
        self.assertComplete(counted, sent)
        self.assertBooks(outcome, counted)
        self.assertEqual(outcome.stats["frames_dropped"], 0)
        print(f"({wanted} callers in {flooded:.2f} s, answered after {max(times):.3f} s at most, {grown} KiB and "
              f"{most - before[1]} descriptors more, {sent} frames)", end=" ", flush=True)
        self.assertLess(max(times), 2 * self.options.slow)
        self.assertLessEqual(most - before[1], 50)
        if self.full_size():
            self.assertLess(grown, 8192)

    def test_few_descriptors(self):
        """Of few descriptors the callers get only a share: files are still made while all of them hold on."""
        rig.need("prlimit")
        capture = self.watched("-B", "65536", prefix=["prlimit", "--nofile=56:56"])
        begun = 1
        for last in (False, False, True):
            start = time.monotonic()
            with self.space.entered():
                callers = [self.call(0, random.Random(1)) for _ in range(60)]
            self.assertEqual(self.scrape()["wirehaul_running"][""], 1)
            for begun in range(begun + 1, begun + 7):
                capture.kill(signal.SIGHUP)
                rig.wait_for(lambda: len(capture.files()) >= begun, 5, "a file is begun")
            took = time.monotonic() - start
            for caller in callers:
                caller.close()
            if took < (DEADLINE - 1) * self.options.slow:  # they did hold on
                break
            self.assertFalse(last, f"it took {took} s")
        outcome = capture.stop()
        self.assertStopped(outcome)
        self.assertNotIn("Too many open files", outcome.stderr)


class Server(Metrics):
    """A Prometheus of its own that looks at a capture four times a second."""

    def setUp(self):
        rig.need("prometheus", "promtool")
        super().setUp()

    def start(self):
        directory = Path(self.scratch) / rig.unique("-prometheus")
        directory.mkdir()
        rules = (PACKAGING / "prometheus/wirehaul.rules.yml").read_text(encoding="utf-8")
        (directory / "wirehaul.rules.yml").write_text(rules, encoding="utf-8")
        example = (PACKAGING / "prometheus/scrape.yml").read_text(encoding="utf-8")
        self.assertIn(f'"127.0.0.1:{PORT}"', example)
        faster = example.replace("scrape_interval: 15s", "scrape_interval: 250ms\n  evaluation_interval: 250ms")
        self.assertNotEqual(faster, example)
        (directory / "prometheus.yml").write_text(faster, encoding="utf-8")
        self.server = self.enterContext(rig.Process(
            ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{SERVER_PORT}", "--log.level=error"], self.space))

    def wait_ready(self):
        def ready():
            self.assertTrue(self.server.running(), self.server.stderr())
            with contextlib.suppress(OSError):
                return fetch(self.space, "/-/ready", SERVER_PORT)

        self.wait_answer(ready, "Prometheus is ready")

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            answer = json.loads(fetch(self.space, f"/api/v1/{path}?{query}", SERVER_PORT))
        except urllib.error.HTTPError as error:
            self.fail(f"{parameters}: {error.read().decode()}")
        self.assertEqual(answer["status"], "success", (parameters, answer))
        self.assertEqual(answer.get("warnings", []), [], parameters)
        return answer["data"]

    def query(self, expression):
        """[(labels, value)]"""
        return [(each["metric"], float(each["value"][1])) for each in self.ask("query", query=expression)["result"]]

    def wait_for(self, expression):
        return self.wait_answer(lambda: self.query(expression), expression)

    def lose(self, capture):
        """Frames come while nobody looks, more than the ring holds. Returns how many were sent."""
        capture.kill(signal.SIGSTOP)
        try:
            return self.send(count=10000, rate=200000).result()["sent"]
        finally:
            capture.kill(signal.SIGCONT)

    def test_real_run(self):
        """Every query of the dashboard and of the alerts has an answer, and the alerts of what was done fire."""
        self.start()  # it takes its time, and five seconds more until it looks at its targets
        self.network.left.ip("link", "add", "mute", "type", "veth", "peer", "name", "silent", "netns", self.space.name)
        self.network.left.ip("link", "set", "mute", "up")
        self.space.ip("link", "set", "silent", "up")
        capture = self.watched("-i", "silent", "-B", "4096", "-C", "1")
        with self.space.entered():
            lingering = socket.create_connection(("127.0.0.1", PORT), timeout=10)
            came = time.monotonic()
        blast = self.send(count=10**9, rate=2000)
        self.wait_ready()
        self.wait_for("count_over_time(wirehaul_running[1m]) > 2")
        sent = self.lose(capture)
        # One that is answered once the loss has been seen.
        self.wait_for("increase(wirehaul_interface_dropped_frames_total[5m]) > 0")
        self.check_dashboard()
        self.check_rules()
        sent += blast.stop()["sent"]
        lost = self.settled(capture, sent)[1]["frames_dropped"]
        self.assertGreater(lost, 0)
        self.wait_for(f"sum(wirehaul_interface_received_frames_total) == {sent}")
        self.wait_for(f"sum(wirehaul_interface_written_frames_total) == {sent - lost}")
        scraped = {name: self.query(name) for name in OF_INTERFACE}
        self.assertEqual(lingering.recv(1), b"", "a connection that says nothing is ended")
        self.assertGreater(time.monotonic() - came, DEADLINE - 0.5)
        lingering.close()
        outcome = capture.stop()
        self.assertStopped(outcome)
        stats = {each["name"]: each for each in outcome.stats["interfaces"]}
        for name, values in scraped.items():
            for labels, value in values:
                self.assertEqual(value, stats[labels["interface"]][OF_INTERFACE[name]], (name, labels))
        self.wait_alert("WirehaulGone", "pending", {"instance": f"127.0.0.1:{PORT}"})
        counted = self.count(outcome.files, size=SIZE)
        self.assertEqual(counted["frames"], sent - lost)

    def expressions(self, board):
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield panel["title"], target["expr"]

    def fill_in(self, expression):
        """As Grafana does for a view of the last minute."""
        for word, value in (("$__rate_interval", "5s"), ("$__range", "1m"), ("$instance", ".*"), ("$interface", ".*")):
            expression = expression.replace(word, value)
        self.assertNotIn("$", expression)
        return expression

    def check_dashboard(self):
        board = json.loads((PACKAGING / "grafana/wirehaul.json").read_text(encoding="utf-8"))
        known = set(self.ask("label/__name__/values"))
        shown = set()
        for title, expression in self.expressions(board):
            shown.update(re.findall(r"wirehaul_\w+", expression))
            found = self.query(self.fill_in(expression))
            # Frames that a filter refuses are known of replayed files only.
            if "filtered_frames" not in expression:
                self.assertTrue([value for _, value in found if not math.isnan(value)], (title, expression, found))
        for each in board["annotations"]["list"]:
            if "expr" in each:
                self.query(self.fill_in(each["expr"]))
                shown.update(re.findall(r"wirehaul_\w+", each["expr"]))
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
                values = self.ask(f"label/{label}/values", **{"match[]": self.fill_in(series)})
                self.assertTrue(values, variable["name"])
        ours = {name for name in known if name.startswith("wirehaul_")}
        self.assertEqual(shown - ours - {"wirehaul_interface_filtered_frames_total"}, set(), "a query of nothing")
        self.assertEqual(ours - shown, set(), "metrics that the dashboard does not show")

    def check_rules(self):
        known = set(self.ask("label/__name__/values"))
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        self.assertGreater(len(rules), 10)
        for rule in rules:
            self.assertEqual((rule["health"], rule.get("lastError", "")), ("ok", ""), rule)
            self.query(rule["query"])
            self.assertLessEqual(set(re.findall(r"wirehaul_\w+", rule["query"])), known, rule["name"])
        self.wait_alert("WirehaulFramesLost", "firing", {"interface": "wb"})
        self.wait_alert("WirehaulLinkSilent", "pending", {"interface": "silent"})
        firing = {each["labels"]["alertname"] for each in self.ask("alerts")["alerts"] if each["state"] == "firing"}
        self.assertEqual(firing, {"WirehaulFramesLost"})

    def wait_alert(self, name, state, labels):
        def there():
            return [each for each in self.ask("alerts")["alerts"] if each["state"] == state and
                    {"alertname": name, **labels}.items() <= each["labels"].items()]

        self.wait_answer(there, f"{name} is {state}")


class Rules(case.Case):
    """The files for Prometheus, as they are."""

    def promtool(self, *args):
        rig.need("promtool")
        done = rig.run("promtool", *args, check=False, cwd=PACKAGING / "prometheus")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_rules(self):
        self.promtool("check", "config", "scrape.yml")
        self.assertIn("SUCCESS", self.promtool("test", "rules", "wirehaul.rules.test.yml"))

    def test_dashboard(self):
        """Its panels have numbers of their own and do not lie on each other, nor do their queries share a letter."""
        board = json.loads((PACKAGING / "grafana/wirehaul.json").read_text(encoding="utf-8"))
        numbers = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(numbers), len(set(numbers)))
        taken = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertEqual(taken & cells, set(), panel["title"])
            self.assertLessEqual(max(x for x, _ in cells), 23)
            taken |= cells
            letters = [target["refId"] for target in panel.get("targets", [])]
            self.assertEqual(len(letters), len(set(letters)), panel["title"])
            self.assertEqual(bool(letters), panel["type"] != "row", panel["title"])

    def test_every_alert_is_tested(self):
        """Each of them has a test in which it fires, and one in which it does not."""
        rules = (PACKAGING / "prometheus/wirehaul.rules.yml").read_text(encoding="utf-8")
        tests = (PACKAGING / "prometheus/wirehaul.rules.test.yml").read_text(encoding="utf-8")
        alerts = re.findall(r"- alert: (\w+)", rules)
        self.assertEqual(len(alerts), len(set(alerts)))
        listed = re.findall(r"^\| `(Wirehaul\w+)` \|", documentation(), re.M)
        self.assertEqual(listed, alerts)
        for alert in alerts:
            self.assertRegex(tests, rf"alertname: {alert}\n\s+exp_alerts:")
            self.assertRegex(tests, rf"alertname: {alert}}}\n")


def take_connections():
    """Takes the option of this test alone off the command line."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    own, sys.argv[1:] = parser.parse_known_args()
    return own.connections


if __name__ == "__main__":
    Flood.connections = take_connections()
    case.main()
