#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Turns the JSON object of bench/drops into a page to read or print, and into Markdown with its plots beside it."""

import argparse
import collections
import json
import os
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import page  # noqa: E402
import svg  # noqa: E402
from page import Code, Figure, Heading, Items, Paragraph, Section, Table  # noqa: E402
from result import (  # noqa: E402
    NONE, View, burst_words, counted, duration, moment, rate_words, size_name, spread, with_spread)
from svg import number  # noqa: E402

TITLE = "Dropped frames: packet capture tools compared"


def html(result):
    """The report as one page that needs nothing else."""
    return page.html(TITLE, _sections(View(result)))


def markdown(result, plots_directory_name):
    """The report as Markdown, which shows the plots as files of PLOTS_DIRECTORY_NAME."""
    return page.markdown(TITLE, _sections(View(result)), plots_directory_name)


def plots(result):
    """The plots of the report: the text of each by its file name."""
    return {block.name: block.svg for section in _sections(View(result)) for block in section.blocks
            if isinstance(block, Figure)}


def _sections(view):
    made = [_about(view), _summary(view), _verdicts(view), _loss(view), _rates(view), _bursts(view), _costs(view),
            _latency(view), _adapters(view), _slow_disk(view), _agreement(view), _configuration(view),
            _definitions(view)]
    return [Section(title, [block for block in blocks if block is not None]) for title, blocks in made]


def _not_here(view, what):
    mode = view.value("mode")
    return Paragraph(f"This run{f' ({mode})' if mode else ''} did not measure {what}.")


def _setting(name, value):
    """A row for what has no words of its own here: the unit is the end of the name."""
    name = {"long_seconds": "long_trial_seconds"}.get(name, name)
    units = {"mib": "MiB", "seconds": "s", "percent": "%", "pps": "frames/s", "mb": "MB", "bytes": "bytes", "ms": "ms"}
    *words, last = name.split("_")
    if words and last in units:
        name = f"{' '.join(words)} ({units[last]})"
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, (int, float)):
        value = number(value, trim=True)
    elif isinstance(value, list):
        value = ", ".join(map(str, value))
    elif isinstance(value, dict):
        value = ", ".join(f"{key} {each}" for key, each in value.items())
    capitals = {"cpu": "CPU", "pdr": "PDR", "ndr": "NDR"}
    return [" ".join(capitals.get(word, word) for word in name.replace("_", " ").split(" ")), value]


def _about(view):
    blocks = [Paragraph(
        "Packet capture tools record the same numbered frames, one tool at a time, on the same machine and with the "
        "same buffer. Losses are frames whose numbers are not in what the tool left behind, not what it says about "
        "itself. The last section says what the words mean."),
        Paragraph(f"{NONE} stands for what was not measured, ≥ for a limit that was not found because nothing larger "
                  "could be tried, < before a rate for tools that lost frames even at the lowest that was tried.")]
    rows = [["command", view.value("command")], ["mode", view.value("mode")],
            ["started", moment(view.value("started"))], ["took", duration(view.value("seconds"))]]
    for name, value in view.part("machine").items():
        if name != "versions":
            rows.append(_setting(name, value))
    rows += [_setting(name, value) for name, value in view.part("settings").items() if value not in ({}, [], "")]
    for size in view.sizes:
        source = view.part("source", size)
        if "pps" in source:
            said = [f"{number(source['pps'], 0)} frames/s"]
            if "gbps" in source:
                said.append(f"{number(source['gbps'])} Gbit/s")
            if "mean_bytes" in source and not size.isdigit():
                said.append(f"{number(source['mean_bytes'])} bytes on average")
            how = f", by {source['method']}" if "method" in source else ""
            rows.append([f"full rate, {size_name(size)}", ", ".join(said) + how])
    blocks.append(Table(["", ""], [row for row in rows if row[1] is not None], 2))
    versions = view.part("machine", "versions")
    if versions:
        blocks.append(Table(["program", "version"], list(map(list, versions.items())), 2))
    if view.absent():
        blocks.append(Paragraph("Not measured:"))
        blocks.append(Items([("", f"{tool.title}: {tool.facts.get('why') or 'not available'}")
                             for tool in view.absent()]))
    return "What this is and how it was made", blocks


def _summary(view):
    if view.main is None:
        return "Summary", [_not_here(view, "anything")]
    size = view.main
    points = {tool.name: point for tool, point in view.full_rate(size)}
    costs = view.part("costs", size, "tools")
    rows = []
    for tool in view.tools:
        point, rates, burst, cost = (found.get(tool.name) or {} for found in (
            points, view.part("rates", size), view.part("bursts", size), costs))
        if point or rates or burst or cost:
            rows.append([tool.title, tool.facts.get("writes") or NONE, number(point.get("loss_percent")),
                         rate_words(rates, "ndr"), number(cost.get("cpu_per_gb")), burst_words(burst)])
    if not rows:
        return "Summary", [_not_here(view, f"frames of {size_name(size)}")]
    head = ["tool", "writes", "loss at full rate (%)", "NDR (frames/s)", "CPU (s/GB)", "longest burst (frames)"]
    most = max((point["offered_pps"] for point in points.values()), default=None)
    said = f"Frames of {size_name(size)}."
    if most is not None:
        gbit = view.gbit_per_frame(size)
        said += f" Full rate is as fast as the sender could send: up to {number(most, 0)} frames/s"
        said += f", {number(most * gbit)} Gbit/s." if gbit else "."
    if view.value("costs", size, "offered_pps") is not None:
        said += f" CPU was measured at {number(view.value('costs', size, 'offered_pps'), 0)} frames/s."
    absent = [tool.title for tool in view.absent()]
    return "Summary", [Paragraph(said), Table(head, rows, 2),
                       Paragraph(f"Not measured, so not in the tables: {'; '.join(absent)}.") if absent else None]


def _verdicts(view):
    lines = view.part("verdicts")
    if not lines:
        return "Verdicts", [Paragraph("This run was not compared with any target.")]
    words = {True: "PASS", False: "FAIL", None: "skipped"}
    counts = collections.Counter(line.get("pass") for line in lines)
    said = [f"{counts[value]} {word}" for value, word in ((True, "passed"), (False, "failed"), (None, "skipped"))]
    return "Verdicts", [Paragraph(", ".join(said) + "."),
                        Items([(words[line.get("pass")], line.get("text") or "") for line in lines])]


def _loss(view):
    blocks = []
    for size in view.sizes:
        curves = view.points(size)
        if curves:
            blocks += [Heading(size_name(size)), _loss_figure(view, size, curves), *_loss_table(view, size, curves)]
    title = "Loss against rate"
    if not blocks:
        return title, [_not_here(view, "loss at several rates")]
    missing = [size_name(size) for size in view.sizes if not view.points(size)]
    if missing:
        blocks.append(Paragraph(f"Not measured: {', '.join(missing)}."))
    return title, blocks


def _loss_figure(view, size, curves):
    last = [(point["loss_percent"], tool.title) for tool, point in view.full_rate(size)]
    without = sum(loss == 0 for loss, _ in last)
    caption = ("In the grey strip, where each tool has a lane, not one frame is lost; where a line leaves it, losses "
               f"begin; at full rate {without} of {counted(len(last), 'tool')} lost nothing")
    most = max(last)
    caption += f", and {most[1]} lost most, {number(most[0])} %." if most[0] > 0 else "."
    series = [svg.Series(tool.title, tool.style, [_point(point) for point in points]) for tool, points in curves]
    gbit = view.gbit_per_frame(size)
    title = f"Frames lost against the offered rate, {size_name(size)}"
    return Figure(svg.file_name("loss", size), title, caption,
                  svg.loss_plot(title, caption, series, gbit and 1000 * gbit))


def _point(point):
    loss, low, high = (point.get(key) for key in ("loss_percent", "loss_low", "loss_high"))
    return svg.Point(point["offered_pps"] / 1000, loss, loss if low is None else low, loss if high is None else high)


def _loss_table(view, size, curves):
    """Rows by the part of the full rate that was asked for: what was offered then differs between tools."""
    parts = sorted({point["percent"] for _, points in curves for point in points if "percent" in point})
    if not parts:
        return []
    gbit = view.gbit_per_frame(size)
    rows = []
    for part in parts:
        found = [next((point for point in points if point.get("percent") == part), {}) for _, points in curves]
        offered = sorted(point["offered_pps"] for point in found if point)
        middle = number(offered[len(offered) // 2], 0)
        differ = offered[-1] > 1.02 * offered[0]
        rows.append([number(part, trim=True), (middle, spread(offered[0], offered[-1], 0)) if differ else middle,
                     number(offered[len(offered) // 2] * gbit) if gbit else NONE,
                     *(with_spread(*map(point.get, ("loss_percent", "loss_low", "loss_high"))) for point in found)])
    trials = {point["trials"] for _, points in curves for point in points if "trials" in point}
    said = "Frames lost (%), with the least and most of the trials where they differ"
    if trials:
        said += f"; {counted(spread(min(trials), max(trials), 0), 'trial')} for each"
    return [Paragraph(said + "."), Table(["% of full rate", "offered (frames/s)", "offered (Gbit/s)",
                                          *(tool.title for tool, _ in curves)], rows, 0)]


def _rates(view):
    title, tables, groups, searches = "Highest rates without loss (NDR) and with little (PDR)", [], [], []
    head = ["tool", "NDR (frames/s)", "least to most (frames/s)", "NDR (Gbit/s)", "PDR (frames/s)",
            "least to most (frames/s)", "PDR (Gbit/s)", "trials"]
    for size in view.sizes:
        rows, bars = [], []
        gbit = view.gbit_per_frame(size)
        for tool, facts in view.of("rates", size):
            cells, pair = [], []
            for kind in ("ndr", "pdr"):
                value, low, high = (facts.get(f"{kind}_{end}") for end in ("pps", "low", "high"))
                cells += [rate_words(facts, kind), spread(low, high, 0),
                          number(value * gbit) if gbit and value is not None else NONE]
                pair.append(svg.Bar(*(each if each is None else each / 1000 for each in (value, low, high)),
                                    _rate_label(facts, kind)))
            rows.append([tool.title, *cells, number(facts.get("trials"))])
            bars.append(svg.Row(tool.title, tool.style, pair))
            searches.append(bool(facts.get("ndr_is_full_rate")))
        if rows:
            groups.append(svg.Group(size_name(size), bars))
            tables += [Heading(size_name(size)), _disk(view, size), Table(head, rows, 1)]
    if not groups:
        return title, [_not_here(view, "the highest rates")]
    bound = view.value("settings", "pdr_percent")
    pdr = f"PDR: at most {number(0.5 if bound is None else bound, trim=True)} % lost"
    caption = ("Longer is better, and a short whisker means that repeated searches found the same; "
               f"{sum(searches)} of {len(searches)} searches without loss ended at the full rate (≥), which the "
               "sender, not the tool, sets.")
    name = "Highest rate without a lost frame (NDR) and with few (PDR)"
    drawn = svg.bar_plot(name, caption, "rate (thousand frames/s)", groups, ["NDR: none lost", pdr],
                         may_be_logarithmic=False)
    return title, [Figure(svg.file_name("rates"), name, caption, drawn), *tables]


def _disk(view, size):
    facts = view.part("disk", size)
    if facts.get("gb_per_second") is None:
        return None
    rate, runs = facts["gb_per_second"], counted(number(facts.get("runs"), 0), "run")
    return Paragraph(f"The disk takes {number(rate)} GB/s ({number(8 * rate)} Gbit/s) from fio's io_uring engine, "
                     f"median of {runs}, {spread(facts.get('low'), facts.get('high'))}.")


def _rate_label(facts, kind):
    value = facts.get(f"{kind}_pps")
    if value is not None:
        return f"{'≥ ' if facts.get(f'{kind}_is_full_rate') else ''}{number(value / 1000, trim=True)}"
    lowest = facts.get("lowest_tried_pps")
    if lowest is None:
        return f"no {kind.upper()} found"
    return f"{kind.upper()} below {number(lowest / 1000, trim=True)}, the lowest rate tried"


def _bursts(view):
    title, tables, groups, longest = "Longest burst without loss", [], [], []
    for size in view.sizes:
        rows, bars = [], []
        for tool, facts in view.of("bursts", size):
            frames, total = facts.get("frames"), facts.get("bytes")
            mib = NONE if total is None else f"{'≥ ' if facts.get('is_limit') else ''}{number(total / 2**20)}"
            rows.append([tool.title, burst_words(facts), mib, spread(facts.get("low"), facts.get("high"), 0)])
            text = "none found" if frames is None else f"{burst_words(facts)} frames"
            bar = svg.Bar(frames, facts.get("low"), facts.get("high"),
                          text if total is None else f"{text}, {number(total / 2**20)} MiB")
            bars.append(svg.Row(tool.title, tool.style, [bar]))
            longest.append((frames or 0, bool(facts.get("is_limit")), tool.title, size_name(size)))
        if rows:
            groups.append(svg.Group(size_name(size), bars))
            tables += [Heading(size_name(size)),
                       Table(["tool", "burst (frames)", "burst (MiB)", "least to most (frames)"], rows, 1)]
    if not groups:
        return title, [_not_here(view, "bursts")]
    limits, shortest = sum(each[1] for each in longest), min(longest)
    caption = f"Longer is better: {limits} of {len(longest)} took the longest burst that was tried (≥)"
    if limits < len(longest):
        caption += f", and the shortest is that of {shortest[2]} at {shortest[3]}, {number(shortest[0])} frames"
    caption += "."
    name = "Longest burst at full rate without a lost frame"
    drawn = svg.bar_plot(name, caption, "burst (frames; beside the bars in MiB, too)", groups,
                         ["longest burst without loss"])
    return title, [Figure(svg.file_name("bursts"), name, caption, drawn), *tables]


def _costs(view):
    title, tables, groups, values = "Cost", [], [], []
    head = ["tool", "frames lost", "CPU (s/million)", "CPU (s/GB)", "with all else (s/million)", "with all else (s/GB)",
            "switches (per million)", "switches (per GB)", "memory (MiB)", "on disk (bytes/byte)"]
    for size in view.sizes:
        found = view.of("costs", size, "tools")
        if not found:
            continue
        rows, bars = [], []
        for tool, facts in found:
            rows.append([tool.title, number(facts.get("lost")), number(facts.get("cpu_per_million")),
                         with_spread(*map(facts.get, ("cpu_per_gb", "cpu_low", "cpu_high"))),
                         *(number(facts.get(key)) for key in ("all_per_million", "all_per_gb")),
                         *(number(facts.get(key), 0)
                           for key in ("switches_per_million", "switches_per_gb", "peak_rss_mib")),
                         number(facts.get("disk_per_captured"))])
            value = facts.get("cpu_per_gb")
            bars.append(svg.Row(tool.title, tool.style, [svg.Bar(
                value, facts.get("cpu_low"), facts.get("cpu_high"),
                "not measured" if value is None else number(value))]))
            if value is not None:
                values.append((size == view.main, value, tool.title, size_name(size)))
        groups.append(svg.Group(size_name(size), bars))
        offered, runs = view.value("costs", size, "offered_pps"), view.value("costs", size, "runs")
        said = [f"{number(offered, 0)} frames/s" if offered is not None else None,
                None if runs is None else f"medians of {number(runs)} runs" if runs > 1 else "one run"]
        tables += [Heading(size_name(size)), Paragraph(", ".join(filter(None, said)) + ".") if any(said) else None,
                   Table(head, rows, 1)]
    if not groups:
        return title, [_not_here(view, "what capturing costs")]
    name, caption = "CPU time for a gigabyte of frames", "Shorter is better."
    if values:
        # Of one size only: small frames cost any tool more than large ones do.
        shown = max(values)[3]
        least, *_, most = sorted(each[1:3] for each in values if each[3] == shown) * 2
        caption = (f"Shorter is better: at {shown} from {number(least[0])} s/GB ({least[1]}) to {number(most[0])} "
                   f"({most[1]}).")
    said = ("CPU is user and system time of the tool's processes and threads, for a million of the frames that it "
            "captured and for a GB of them, its start left out; with all else is that and whatever else the machine "
            "did meanwhile, the sender left out. Switches "
            "are context switches of the tool, memory is the most it had resident, on disk is what its files take for "
            "each byte captured.")
    return title, [Paragraph(said), Figure(svg.file_name("cost"), name, caption, svg.bar_plot(
        name, caption, "CPU time (s/GB)", groups, ["CPU time of the tool's processes"])), *tables]


def _latency(view):
    title = "Time to readable and time to exit"
    keys = ("readable_seconds", "readable_most", "stop_seconds", "stop_most", "runs")
    rows = [[tool.title, *(number(facts.get(key)) for key in keys)] for tool, facts in view.of("latency")]
    if not rows:
        return title, [_not_here(view, "how soon frames can be read")]
    return title, [Paragraph("Readable: from a lone frame on an idle link until a reader finds it in the tool's file, "
                             "the capture going on. Exit: from the request to stop, frames coming all the while, "
                             "until the tool has ended."),
                   Table(["tool", "readable (s)", "at most (s)", "exit (s)", "at most (s)", "runs"], rows, 1)]


def _adapters(view):
    title, found = "Several adapters", view.of("adapters", "tools")
    if not found:
        return title, [_not_here(view, "several adapters at once")]
    count, each = view.value("adapters", "count"), view.value("adapters", "offered_pps_each")
    said = f"One tool captures on {number(count)} adapters at once" if count is not None else "Several adapters at once"
    said += f", each offered {number(each, 0)} frames/s." if each is not None else "."
    rows = [[tool.title, number(facts.get("sent")), number(facts.get("lost")), number(facts.get("loss_percent")),
             _told(facts), number(facts.get("cpu_per_gb"))] for tool, facts in found]
    return title, [Paragraph(said), Table(["tool", "sent", "lost", "lost (%)", "lost, as it says", "CPU (s/GB)"], rows,
                                          1)]


def _told(facts):
    return "says nothing" if facts.get("own_drops") is None else number(facts["own_drops"])


def _slow_disk(view):
    title, found = "Slow disk", view.of("slow_disk", "tools")
    if not found:
        return title, [_not_here(view, "a slow disk")]
    limit, offered = view.value("slow_disk", "limit_mb_per_second"), view.value("slow_disk", "offered_pps")
    said = "The disk takes less than is captured"
    said += f", {number(limit)} MB/s" if limit is not None else ""
    said += f", with {number(offered, 0)} frames/s offered" if offered is not None else ""
    said += (": every tool must lose frames, and the question is how many, and whether it owns up to them. Unaccounted "
             "are frames that are neither in the files nor in the tool's own counters.")
    rows = []
    for tool, facts in found:
        sent, lost = facts.get("sent"), facts.get("lost")
        rows.append([tool.title, number(sent), number(facts.get("found")), number(lost),
                     number(100 * lost / sent) if sent and lost is not None else NONE, _told(facts),
                     number(facts.get("unaccounted"))])
    return title, [Paragraph(said), Table(["tool", "sent", "found", "lost", "lost (%)", "lost, as it says",
                                           "unaccounted"], rows, 1)]


def _agreement(view):
    title, found = "Truth against the tools' own counters", view.of("agreement")
    if not found:
        return title, [_not_here(view, "whether the tools' counters are right")]
    rows = [["trials"], ["of these, it said what it lost"], ["agree to the frame"],
            ["largest difference (frames)"]]
    for _, facts in found:
        silent = facts.get("told") == 0
        for row, key in zip(rows, ("trials", "told", "agree", "largest_difference")):
            row.append("tells nothing" if silent and key != "trials" else number(facts.get(key)))
    return title, [Paragraph("What each tool says that it lost, against the frames that are really missing."),
                   Table(["", *(tool.title for tool, _ in found)], rows, 1)]


def _configuration(view):
    blocks = [Paragraph("Every tool's exact command line, after whatever pins it to its CPU.")]
    for tool in view.tools:
        said = f"{tool.title}, which writes {tool.facts['writes']}" if tool.facts.get("writes") else tool.title
        if tool.facts.get("available") is False:
            said += f" (not measured: {tool.facts.get('why') or 'not available'})"
        command = tool.facts.get("command")
        blocks.append(Paragraph(said + (":" if command else ".")))
        if command:
            blocks.append(Code(command if isinstance(command, str) else " ".join(map(str, command))))
    if not view.tools:
        blocks = [Paragraph("The result names no tools.")]
    return "Configuration of each tool", blocks


def _definitions(view):
    settings = view.part("settings")
    pdr, seconds = settings.get("pdr_percent"), settings.get("long_seconds", settings.get("trial_seconds"))
    shorter = (f" The trials that confirm it last up to {number(seconds, trim=True)} s, where section 24 asks for 60."
               if seconds and seconds < 60 else "")
    return "Definitions", [Items([
        ("Offered rate:", "frames a second that the sender put onto the adapter, counted, not asked for."),
        ("Loss:", "frames sent whose numbers are not in what the tool left behind, as a share of the frames sent."),
        ("NDR (no-drop rate):", "the highest offered rate without a lost frame, the throughput of RFC 2544, section "
                                f"26.1, found by a search: short trials narrow it down, long ones confirm it.{shorter} "
                                "In a quick run there is no search: the highest of the rates tried."),
        ("PDR (partial drop rate):", "the same with at most "
                                     f"{number(0.5 if pdr is None else pdr, trim=True)} % of the frames lost."),
        ("Burst:", "the longest row of frames at full rate, after a rest, of which none is lost: back-to-back frames "
                   "of RFC 2544, section 26.4 (RFC 9004 asks for more than the one trial that each length has here)."),
        ("Full rate:", "as fast as the sender can send; a tool that reaches it may be capable of more."),
        ("Spread:", "least and most of repeated searches or runs. Where one value stands for several runs, it is the "
                    "median."),
        ("GB, MiB:", "a GB is 1,000,000,000 bytes of frames, a MiB 1,048,576 bytes."),
    ])]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", metavar="RESULT.json", help="what bench/drops printed; - for standard input")
    parser.add_argument("--html", metavar="FILE", help="write the page here")
    parser.add_argument("--markdown", metavar="FILE", help="write the Markdown text here")
    parser.add_argument("--plots", metavar="DIR", help="write the plots here, one file each, for the Markdown")
    options = parser.parse_args(arguments)
    if not (options.html or options.markdown or options.plots):
        parser.error("nothing to write: give --html, or --markdown with --plots")
    if options.markdown and not options.plots:
        parser.error("--markdown needs --plots: it shows them")
    with sys.stdin if options.result == "-" else open(options.result, encoding="utf-8") as file:
        result = json.load(file)
    if result.get("format") != 1:
        sys.exit(f"{options.result}: format {result.get('format')!r} is not known here")
    if options.html:
        Path(options.html).write_text(html(result), encoding="utf-8")
    if options.plots:
        os.makedirs(options.plots, exist_ok=True)
        for name, text in plots(result).items():
            Path(options.plots, name).write_text(text, encoding="utf-8")
    if options.markdown:
        beside = os.path.relpath(options.plots, os.path.dirname(os.path.abspath(options.markdown)))
        Path(options.markdown).write_text(markdown(result, beside), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
