# SPDX-License-Identifier: BSD-3-Clause
"""The report of bench/drops: what it makes of a result is well-formed, complete, placed right and in nobody's way.

The results are made up here. Neither root nor the programs are needed.
"""

import html.parser
import itertools
import json
import random
import re
import sys
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import measure
import report
import svg
import targets

SVG = f"{{{svg.NAMESPACE}}}"
SIZES = {"60": 60, "imix": 358, "1414": 1414, "9000": 9000}
FULL = {"60": 610000, "imix": 590000, "1414": 560000, "9000": 240000}
# For each tool: how many frames of 60 bytes a second it can take, its CPU seconds per million frames and per GB.
TOOLS = {
    "wirehaul": ("wirehaul, in place", "pcapng", 9e6, 0.07, 0.05),
    "wirehaul-compact": ("wirehaul, compact", "pcapng", 9e6, 0.2, 0.12),
    "stenotype": ("stenotype", "raw", 8e5, 0.09, 0.06),
    "tcpdump": ("tcpdump", "pcap", 4e5, 1.4, 0.4),
    "dumpcap": ("dumpcap", "pcapng", 3e5, 1.5, 0.6),
    "netsniff-ng": ("netsniff-ng", "pcap", 2.5e5, 1.9, 0.9),
    "sink": ("a reader that writes nothing", "nothing", 9e9, 0.04, 0.02),
}
HOSTILE = "a<b&c|*d*`\"'"


def tool_facts(name, available=True):
    title, writes = TOOLS[name][:2]
    return {"name": name, "title": title, "writes": writes, "command": f"{name} -i wb -w '/scratch/{name} out.pcap'",
            "available": available, "why": None if available else f"not installed: package {name}"}


def capacity(name, size):
    return TOOLS[name][2] / (1 + SIZES[size] / 3000)


def curve(name, size, chance):
    points = []
    for percent in (10, 20, 30, 40, 50, 60, 70, 80, 90, 100):
        pps = FULL[size] * percent / 100 * chance.uniform(0.995, 1.005)
        loss = max(0.0, 100 * (1 - capacity(name, size) / pps))
        if loss == 0 and pps > 0.93 * capacity(name, size):
            loss = 0.004
        points.append({"percent": percent, "offered_pps": pps, "offered_gbps": pps * SIZES[size] * 8 / 1e9,
                       "loss_percent": loss, "loss_low": 0.85 * loss, "loss_high": min(100, 1.1 * loss), "trials": 2})
    return points


def rates(name, size):
    full = capacity(name, size) >= FULL[size]
    ndr = min(capacity(name, size) * 0.9, FULL[size])
    if name == "netsniff-ng" and size == "9000":
        return {"ndr_pps": None, "ndr_low": None, "ndr_high": None, "ndr_is_full_rate": False, "pdr_pps": None,
                "pdr_low": None, "pdr_high": None, "pdr_is_full_rate": False, "lowest_tried_pps": 24000, "trials": 7}
    return {"ndr_pps": ndr, "ndr_low": ndr * (1 if full else 0.9), "ndr_high": ndr * (1 if full else 1.04),
            "ndr_is_full_rate": full, "pdr_pps": min(ndr * 1.1, FULL[size]), "pdr_low": ndr, "pdr_high": ndr * 1.2,
            "pdr_is_full_rate": full, "lowest_tried_pps": 24000, "trials": 9}


def bursts(name, size):
    limit = capacity(name, size) >= FULL[size]
    frames = 200000 if limit else int(capacity(name, size) / 8)
    return {"frames": frames, "bytes": frames * SIZES[size], "low": int(frames * (1 if limit else 0.93)),
            "high": frames, "is_limit": limit}


def costs(name, size):
    million, gigabyte = TOOLS[name][3], TOOLS[name][3] / SIZES[size] * 1000 + TOOLS[name][4]
    return {"lost": 0, "cpu_per_million": million, "cpu_per_gb": gigabyte, "cpu_low": 0.9 * gigabyte,
            "cpu_high": 1.15 * gigabyte, "all_per_million": 1.4 * million, "all_per_gb": 1.4 * gigabyte,
            "switches_per_million": 3211.7, "switches_per_gb": 2270.3, "peak_rss_mib": 68.4, "disk_per_captured": 1.05}


def made_up(absent=("netsniff-ng",), renamed=None):
    """A full result with everything in it, the same each time."""
    chance = random.Random(7)
    names = [name for name in TOOLS if name not in absent]

    def each(made, *args):
        return {name: made(name, *args) for name in names}

    result = {
        "format": 1, "mode": "full", "command": "bench/drops --full", "started": "2026-11-23T13:50:00Z",
        "seconds": 3210.5,
        "machine": {"cpu": "AMD EPYC 7B13", "cores": 2, "kernel": "6.18.5", "memory_mib": 7900, "file_system": "ext4",
                    "versions": {"tcpdump": "4.99.3", "dumpcap": "4.0.17", "stenotype": None}},
        "settings": {"buffer_mib": 64, "tool_cpu": "0", "sender_cpu": "1", "trial_seconds": 1.5, "confirm_trials": 2,
                     "pdr_percent": 0.5},
        "tools": [tool_facts(name, name not in absent) for name in TOOLS],
        "sizes": list(SIZES),
        "source": {size: {"pps": FULL[size], "gbps": FULL[size] * mean * 8 / 1e9, "mean_bytes": mean,
                          "method": "sendmmsg"} for size, mean in SIZES.items()},
        "curves": {size: each(curve, size, chance) for size in SIZES},
        "rates": {size: each(rates, size) for size in SIZES},
        "bursts": {size: each(bursts, size) for size in SIZES},
        "costs": {size: {"offered_pps": 150000, "runs": 5, "tools": each(costs, size)} for size in SIZES},
        "latency": each(lambda _: {"readable_seconds": 0.61, "readable_most": 0.9, "stop_seconds": 0.05,
                                   "stop_most": 0.1, "runs": 5}),
        "adapters": {"count": 4, "offered_pps_each": 30000,
                     "tools": each(lambda name: {"sent": 1200000, "lost": 1234, "loss_percent": 0.1028,
                                                 "own_drops": None if name == "sink" else 1234, "cpu_per_gb": 0.21})},
        "slow_disk": {"limit_mb_per_second": 50, "offered_pps": 100000,
                      "tools": each(lambda name: {"sent": 1000000, "found": 400123, "lost": 599877,
                                                  "own_drops": None if name == "sink" else 599877,
                                                  "unaccounted": None if name == "sink" else 0})},
        "disk": {"9000": {"gb_per_second": 1.74, "low": 1.52, "high": 1.81, "runs": 3}},
        "agreement": each(lambda name: {"trials": 120, "told": 0 if name == "sink" else 120, "agree": 118,
                                        "largest_difference": 1250}),
        "verdicts": [{"pass": True, "text": "wirehaul loses nothing at full rate"},
                     {"pass": False, "text": "wirehaul takes no more CPU than stenotype: 0.15 s/GB, and 0.13"},
                     {"pass": None, "text": "netsniff-ng could not be looked at (install netsniff-ng)"}],
    }
    text = json.dumps(result)
    for old, new in (renamed or {}).items():
        text = text.replace(json.dumps(old), json.dumps(new))
    return json.loads(text)


def quick():
    """What a short run leaves: one size, few tools, most parts empty, absent or null."""
    result = made_up(absent=("netsniff-ng", "stenotype", "dumpcap", "sink", "wirehaul-compact"))
    result.update({"mode": "quick", "sizes": ["1414"], "bursts": {}, "latency": {}, "slow_disk": None, "costs": {},
                   "verdicts": [], "agreement": None})
    for part in ("curves", "rates", "source"):
        result[part] = {"1414": result[part]["1414"]}
    result["curves"]["1414"]["tcpdump"][3]["loss_percent"] = None
    del result["adapters"]
    return result


class Plot:
    """A plot, taken apart."""

    def __init__(self, text):
        self.root = ElementTree.fromstring(text)
        self.width, self.height = (float(each) for each in self.root.get("viewBox").split()[2:])

    def texts(self):
        """Each text and about where it is: left, top, right, bottom."""
        for each in self.root.iter(f"{SVG}text"):
            size = float(each.get("font-size"))
            wide = svg.text_width(each.text, size)
            before = {"middle": wide / 2, "end": wide}.get(each.get("text-anchor"), 0)
            turned = re.match(r"translate\(([\d.]+) ([\d.]+)\) rotate\(-90\)", each.get("transform", ""))
            if turned:
                x, y = map(float, turned.groups())
                yield each.text, (x - 0.75 * size, y - wide + before, x + 0.2 * size, y + before)
            else:
                x, y = float(each.get("x")), float(each.get("y"))
                yield each.text, (x - before, y - 0.75 * size, x - before + wide, y + 0.2 * size)

    def ticks(self, anchor, test):
        """Value and place of the axis labels for which TEST holds."""
        return {float(each.text.replace(",", "")): (float(each.get("x")), float(each.get("y")))
                for each in self.root.iter(f"{SVG}text") if each.get("text-anchor") == anchor
                and re.fullmatch(r"[\d,.]+", each.text) and test(each)}

    def markers(self):
        """What is said of each marker, and where it is."""
        for each in self.root.iter(f"{SVG}path"):
            said = each.find(f"{SVG}title")
            if said is not None:
                yield said.text, *map(float, re.findall(r"[-\d.]+", each.get("transform")))

    def bars(self):
        for each in self.root.iter(f"{SVG}rect"):
            said = each.find(f"{SVG}title")
            if said is not None:
                yield said.text, float(each.get("x")), float(each.get("width"))


class Page(html.parser.HTMLParser):
    """What a page refers to, and whether it shuts what it opens."""

    EMPTY = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.tags, self.words = [], [], set(), []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError(f"{tag} is closed where another is open")

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


class Report(unittest.TestCase):

    def setUp(self):
        self.results = {"full": made_up(), "all there": made_up(absent=()), "quick": quick(), "nothing": {"format": 1},
                        "hostile": made_up(absent=(), renamed={"tcpdump": HOSTILE})}

    def plots(self, result):
        return {name: Plot(text) for name, text in report.plots(result).items()}

    def test_pages_are_whole_and_alone(self):
        """The page shuts what it opens, runs nothing, and refers to nothing but its own parts."""
        for name, result in self.results.items():
            with self.subTest(name):
                text = report.html(result)
                found = Page(text)
                self.assertEqual(found.open, [])
                ElementTree.fromstring(text.split("\n", 1)[1])
                self.assertTrue(all(link.startswith("#") for link in found.links), found.links)
                for link in found.links:
                    self.assertIn(f'id="{link[1:]}"', text)
                self.assertFalse(found.tags & {"script", "link", "img", "iframe", "object", "embed"})
                self.assertNotRegex(text, r"url\(|@import|://")

    def test_plots_are_well_formed(self):
        for name, result in self.results.items():
            with self.subTest(name):
                for file_name, text in report.plots(result).items():
                    root = ElementTree.fromstring(text)
                    self.assertEqual(root.tag, f"{SVG}svg")
                    self.assertRegex(file_name, r"^[a-z0-9][a-z0-9.-]*\.svg$")
                    self.assertTrue(root.find(f"{SVG}title").text and root.find(f"{SVG}desc").text)
                    self.assertNotRegex(text.replace(svg.NAMESPACE, ""), r"url\(|href|://|script")

    def test_has_everything(self):
        """Each size and tool is in the page, in the text and in the plots, the absent ones with the reason."""
        result = self.results["full"]
        words = "".join(Page(report.html(result)).words)
        text = report.markdown(result, "plots")
        for tool in result["tools"]:
            for shown in (words, text):
                self.assertIn(tool["title"], shown)
                self.assertIn(tool["command"], shown)
        for shown in (words, text):
            self.assertIn("not installed: package netsniff-ng", shown)
            for each in ("60 bytes", "IMIX", "1414 bytes", "9000 bytes", "2026-11-23 13:50 UTC", "53 min 30 s",
                         "4.99.3", "AMD EPYC", "PASS", "FAIL", "skipped", "tells nothing", "599,877", "RFC 9004",
                         "The disk takes 1.74 GB/s"):
                self.assertIn(each, shown)
        drawn = self.plots(result)
        self.assertEqual(set(drawn), {"loss-60.svg", "loss-imix.svg", "loss-1414.svg", "loss-9000.svg", "rates.svg",
                                      "bursts.svg", "cost.svg"})
        for plot in drawn.values():
            found = [text for text, _ in plot.texts()]
            for tool in result["tools"]:
                self.assertEqual(tool["title"] in found, tool["available"])
        for name in drawn:
            self.assertIn(f"(plots/{name})", text)

    def test_parts_that_are_missing(self):
        """Whatever is absent, empty or null is left out, and the page says so."""
        words = "".join(Page(report.html(self.results["quick"])).words)
        for what in ("bursts", "what capturing costs", "several adapters", "a slow disk", "how soon frames"):
            self.assertRegex(words, rf"This run \(quick\) did not measure {what}")
        self.assertEqual(set(report.plots(self.results["quick"])), {"loss-1414.svg", "rates.svg"})
        self.assertEqual(report.plots({"format": 1}), {})
        full = made_up()
        for part in full:
            for value in (None, type(full[part])()):
                with self.subTest(part, value=value):
                    kept = {**full, part: value}
                    report.html(kept)
                    report.markdown(kept, "plots")

    def test_every_null(self):
        """No single value is needed."""
        def paths(value, path=()):
            inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for key, each in inner:
                yield (*path, key)
                yield from paths(each, (*path, key))

        def small():
            result = made_up(absent=set(TOOLS) - {"wirehaul", "tcpdump"})
            for part in ("curves", "rates", "bursts", "costs", "source"):
                result[part] = {"1414": result[part]["1414"]}
            for points in result["curves"]["1414"].values():
                del points[2:]
            return {**result, "sizes": ["1414"], "tools": result["tools"][:4]}

        for path in paths(small()):
            if path[-1] == "name" or path[0] in ("sizes", "tools") and len(path) == 2:
                continue
            result = inner = small()
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = None
            with self.subTest(path):
                Page(report.html(result))
                report.markdown(result, "plots")

    def test_foreign_words_are_escaped(self):
        result = self.results["hostile"]
        text = report.html(result)
        self.assertNotIn("a<b", text)
        self.assertIn("a&lt;b&amp;c", text)
        self.assertIn(HOSTILE, "".join(Page(text).words))
        self.assertIn(HOSTILE, [text for text, _ in self.plots(result)["loss-1414.svg"].texts()])
        for line in report.markdown(result, "plots").splitlines():
            if line.startswith("|"):
                self.assertNotIn("<b", line)
                self.assertNotIn("c|", line.replace("\\|", ""))
        self.assertIn(r"a&lt;b&amp;c\|\*d\*\`", report.markdown(result, "plots"))

    def test_tables_are_whole(self):
        """Every row of a Markdown table has as many cells as its head."""
        for name, result in self.results.items():
            with self.subTest(name):
                for table in re.findall(r"(?:^\|.*\|\n)+", report.markdown(result, "plots"), re.MULTILINE):
                    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
                    self.assertEqual(len(set(cells)), 1, table)

    def test_losses_lie_where_they_should(self):
        """Each point at its rate and loss, as the labels of both axes have it; none lost at the label 0."""
        for size in SIZES:
            result = self.results["full"]
            plot = self.plots(result)[f"loss-{size}.svg"]
            rates_at = plot.ticks("middle", lambda each: each.get("fill") == svg.INK)
            gbit_at = plot.ticks("middle", lambda each: each.get("fill") == svg.GREY)
            loss_at = {value: y - 4 for value, (_, y) in plot.ticks("end", lambda each: True).items()}
            self.assertEqual(set(loss_at), {0, 0.01, 0.1, 1, 10, 100})
            (low, (low_x, _)), *_, (high, (high_x, _)) = sorted(rates_at.items())
            gbit, (gbit_x, _) = max(gbit_at.items())
            per_pixel = (high - low) / (high_x - low_x)
            frame_gbit = SIZES[size] * 8 / 1e6
            self.assertAlmostEqual(gbit / ((gbit_x - low_x) * per_pixel), frame_gbit, delta=0.003 * frame_gbit)
            decade = loss_at[0.01] - loss_at[0.1]
            shown = {}
            for said, x, y in plot.markers():
                shown.setdefault(said.split(": ")[0], []).append((x, y))
            for tool in result["tools"]:
                points = result["curves"][size].get(tool["name"], [])
                self.assertEqual(len(shown.get(tool["title"], [])), len(points))
                for point, (x, y) in zip(points, shown.get(tool["title"], [])):
                    self.assertAlmostEqual(x, low_x + (point["offered_pps"] / 1000 - low) / per_pixel, delta=0.2)
                    loss = point["loss_percent"]
                    if loss == 0:
                        self.assertLess(abs(y - loss_at[0]), 8 + 5 * len(shown))
                        self.assertGreater(y, loss_at[0.01] + 20)
                    elif loss < 0.01:
                        self.assertGreater(y, loss_at[0.01])
                    else:
                        self.assertAlmostEqual(y, loss_at[100] + decade * (2 - svg.math.log10(loss)), delta=0.2)

    def test_lanes_keep_tools_apart(self):
        """Where several tools lose nothing at one rate, their markers do not hide each other."""
        plot = self.plots(self.results["all there"])["loss-60.svg"]
        lowest = {}
        for said, x, y in plot.markers():
            lowest.setdefault(said.split(": ")[0], (x, y))
        self.assertEqual(len(lowest), len(TOOLS))
        for (_, one), (_, other) in itertools.combinations(lowest.values(), 2):
            self.assertGreaterEqual(abs(one - other), 9)

    def test_bars_are_as_long_as_their_values(self):
        result = self.results["full"]
        plots = self.plots(result)
        cases = (("rates.svg", [facts[f"{kind}_pps"] / 1000 for size in SIZES
                                for facts in result["rates"][size].values() for kind in ("ndr", "pdr")]),
                 ("bursts.svg", [facts["frames"] for size in SIZES for facts in result["bursts"][size].values()]),
                 ("cost.svg", [facts["cpu_per_gb"] for size in SIZES
                               for facts in result["costs"][size]["tools"].values()]))
        for name, values in cases:
            with self.subTest(name):
                plot = plots[name]
                bars = list(plot.bars())
                self.assertEqual(len(bars), len(values))
                bottom = max(y for _, y in plot.ticks("middle", lambda each: True).values())
                ticks = plot.ticks("middle", lambda each: float(each.get("y")) == bottom)
                logarithmic = any("logarithmic" in text for text, _ in plot.texts())
                self.assertEqual(logarithmic, name != "rates.svg" and max(values) > 10 * min(values))
                scale = svg.math.log if logarithmic else float
                low, high = min(ticks), max(ticks)
                per_pixel = (scale(high) - scale(low)) / (ticks[high][0] - ticks[low][0])
                for value, (_, x, width) in zip(values, bars):
                    self.assertAlmostEqual(scale(low) + (x + width - ticks[low][0]) * per_pixel, scale(value),
                                           delta=0.3 * per_pixel)

    def test_no_text_hides_another(self):
        """Nor does any stick out of its plot."""
        for name, result in self.results.items():
            with self.subTest(name):
                for file_name, plot in self.plots(result).items():
                    texts = list(plot.texts())
                    for text, (left, top, right, bottom) in texts:
                        self.assertTrue(left >= 0 and top >= 0 and right <= plot.width and bottom <= plot.height,
                                        f"{file_name}: {text}")
                    for (one, a), (other, b) in itertools.combinations(texts, 2):
                        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
                        self.assertTrue(apart, f"{file_name}: {one} and {other}")

    def test_tools_differ_without_colour(self):
        looks = [svg.style(at) for at in range(16)]
        self.assertEqual(len({(look.marker, look.hollow) for look in looks}), 14)
        self.assertEqual(len({(look.marker, look.hollow, look.dash) for look in looks}), 16)

    def test_numbers_in_words(self):
        for value, words in ((None, "–"), (0, "0"), (0.0, "0"), (0.004, "<0.01"), (0.006, "0.01"), (43.618, "43.62"),
                             (1234.5, "1,234.50"), (100.0, "100"), (1234567, "1,234,567")):
            self.assertEqual(svg.number(value), words)
        self.assertEqual(svg.number(2.50, trim=True), "2.5")
        self.assertEqual(svg.number(1999.6, 0), "2,000")

    def test_at_most_two_decimals(self):
        for name, result in self.results.items():
            with self.subTest(name):
                result = {**result, "machine": None}
                words = " ".join(Page(report.html(result)).words)
                self.assertEqual(re.findall(r"(?<![\d.])\d[\d,]*\.\d{3,}", words), [])
                # Four digits in a row stand in names only: of frame sizes, of years, of standards.
                rest = re.sub(r"\d{4}-\d\d-\d\d|(1414|9000) bytes|RFC \d+", "", words)
                self.assertEqual(re.findall(r"\d{4,}", rest), [])

    def test_command(self):
        """Files are written where they are asked for, and the text finds its plots from where it lies."""
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            (root / "result.json").write_text(json.dumps(self.results["full"]), encoding="utf-8")
            (root / "docs").mkdir()
            report.main([str(root / "result.json"), "--html", str(root / "page.html"),
                         "--markdown", str(root / "docs" / "performance.md"), "--plots", str(root / "docs" / "a b")])
            self.assertEqual((root / "page.html").read_text(encoding="utf-8"), report.html(self.results["full"]))
            text = (root / "docs" / "performance.md").read_text(encoding="utf-8")
            links = re.findall(r"!\[.*\]\((.*)\)", text)
            self.assertEqual({link.replace("%20", " ") for link in links},
                             {f"a b/{path.name}" for path in (root / "docs" / "a b").iterdir()})
            (root / "result.json").write_text('{"format": 2}', encoding="utf-8")
            with self.assertRaises(SystemExit) as ended:
                report.main([str(root / "result.json"), "--html", str(root / "page.html")])
            self.assertIn("format 2", str(ended.exception))


class Targets(unittest.TestCase):
    """Which of its limits wirehaul's highest rate is held against."""

    @staticmethod
    def judged(ours, all_sent=False, disk=1.7):
        """What is said of the rates at 9000 bytes, of which the kernel alone carries 200,000 a second."""
        result = made_up()
        result.update({"costs": {}, "trials": [], "failures": [], "tools": []})
        rates = {name: {"ndr_pps": pps, "ndr_is_full_rate": full, "lowest_tried_pps": 24000}
                 for name, pps, full in (("wirehaul", ours, all_sent), ("discard", 200000, True))}
        result["rates"] = {"9000": rates}
        result["disk"] = {"9000": {"gb_per_second": disk}} if disk else {}
        verdicts = measure.Verdicts()
        targets.judge(result, verdicts)
        return [(line["pass"], line["text"]) for line in verdicts.lines if line["text"].startswith("9000")]

    def test_where_the_disk_is_the_limit(self):
        for pps, held in ((180000, True), (179000, False)):  # of 1.7 GB/s, 0.95 are 179,444 frames
            (passed, text), = self.judged(pps)
            self.assertEqual(passed, held, text)
            self.assertIn("1.70 that fio writes", text)

    def test_where_it_is_not(self):
        for pps, disk, held in ((194001, 3.0, True), (193999, 3.0, False), (194001, None, True), (193999, None, False)):
            (passed, text), = self.judged(pps, disk=disk)
            self.assertEqual(passed, held, text)
            self.assertIn("at least 0.97", text)

    def test_all_that_is_sent_is_enough(self):
        (passed, text), = self.judged(150000, all_sent=True)
        self.assertTrue(passed, text)


if __name__ == "__main__":
    # What the other integration tests are told of programs and sizes is of no use here.
    unittest.main(argv=sys.argv[:1], verbosity=2)
