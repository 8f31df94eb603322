# SPDX-License-Identifier: BSD-3-Clause
"""A result of bench/drops, read so that any part of it may be missing, and what is in it in words."""

import collections
import datetime

import svg
from svg import number

NONE = "–"
Tool = collections.namedtuple("Tool", "name title style facts")


def _known(value):
    """VALUE without the nulls in it: what is null is not there, and need be looked for only once."""
    if isinstance(value, dict):
        return {key: _known(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_known(each) for each in value if each is not None]
    return value


class View:
    """A result of which any part may be missing."""

    def __init__(self, result):
        self._result = result = _known(result)
        named = [facts for facts in result.get("tools", []) if facts.get("name")]
        names = [facts["name"] for facts in named]
        # A tool keeps its marker in all plots, also where others are left out.
        self.tools = [Tool(facts["name"], facts.get("title") or facts["name"], svg.style(at), facts)
                      for at, facts in enumerate(named)]
        measured = (name for part in ("curves", "rates", "bursts") for each in self.part(part).values()
                    for name in each)
        for name in dict.fromkeys(measured):
            if name not in names:
                names.append(name)
                self.tools.append(Tool(name, name, svg.style(len(self.tools)), {}))
        known = [size for part in ("curves", "rates", "bursts", "costs") for size in self.part(part)]
        self.sizes = list(dict.fromkeys([*map(str, result.get("sizes", [])), *known]))
        self.main = "1414" if "1414" in self.sizes else self.sizes[0] if self.sizes else None

    def part(self, *path):
        """What lies at PATH, {} if anything of the way is missing."""
        found = self._result
        for key in path:
            found = found.get(key, {})
        return found

    def value(self, *path):
        """As part(), but None for what is missing."""
        *way, last = path
        return self.part(*way).get(last)

    def of(self, *path):
        """The tools for which there is something at PATH, and that."""
        found = self.part(*path)
        return [(tool, found[tool.name]) for tool in self.tools if found.get(tool.name)]

    def points(self, size):
        """The tools' points of the curve, those without a result left out."""
        kept = [(tool, [point for point in points if "loss_percent" in point and "offered_pps" in point])
                for tool, points in self.of("curves", size)]
        return [(tool, sorted(points, key=lambda point: point["offered_pps"])) for tool, points in kept if points]

    def full_rate(self, size):
        """The tools' points where most was asked for; a sender who is disturbed may have offered more at another."""
        return [(tool, max(points, key=lambda point: (point.get("percent", 0), point["offered_pps"])))
                for tool, points in self.points(size)]

    def gbit_per_frame(self, size):
        """Gbit/s of one frame a second, None where it is not known."""
        source = self.part("source", size)
        if source.get("gbps") and source.get("pps"):
            return source["gbps"] / source["pps"]
        for _, points in self.points(size):
            for point in points:
                if point.get("offered_gbps") and point["offered_pps"]:
                    return point["offered_gbps"] / point["offered_pps"]
        return None

    def absent(self):
        return [tool for tool in self.tools if tool.facts.get("available") is False]


def size_name(size):
    return f"{size} bytes" if size.isdigit() else size.upper() if size == "imix" else size


def counted(many, what):
    """MANY, a number or in words, of WHAT, which gets its plural."""
    return f"{many} {what}" if many in (1, "1") else f"{many} {what}s"


def duration(seconds):
    if seconds is None:
        return None
    if seconds < 60:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def moment(text):
    try:
        return datetime.datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except (TypeError, ValueError):
        return text


def spread(low, high, decimals=2):
    if low is None or high is None:
        return NONE
    ends = list(dict.fromkeys([number(low, decimals), number(high, decimals)]))
    return " to ".join(ends)


def with_spread(value, low, high):
    """VALUE, and in a second text from where to where it was measured if it was not always the same."""
    differs = value is not None and low is not None and high is not None and spread(low, high) != number(value)
    return (number(value), spread(low, high)) if differs else number(value)


def rate_words(facts, kind):
    """NDR or PDR of FACTS in words: a number, or on which side of the tried ones it lies."""
    if not facts:
        return NONE
    value = facts.get(f"{kind}_pps")
    if value is not None:
        return f"{'≥ ' if facts.get(f'{kind}_is_full_rate') else ''}{number(value, 0)}"
    lowest = facts.get("lowest_tried_pps")
    return f"< {number(lowest, 0)}" if lowest is not None else "none"


def burst_words(facts):
    if not facts:
        return NONE
    if facts.get("frames") is None:
        return "none"
    return f"{'≥ ' if facts.get('is_limit') else ''}{number(facts['frames'], 0)}"
