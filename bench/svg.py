# SPDX-License-Identifier: BSD-3-Clause
"""Plots as SVG text: loss over the offered rate, and horizontal bars in groups. For paper as well as for the screen:
what is drawn for a tool differs by marker and dash, not by colour alone, and nothing is shown only on hovering."""

import collections
import math
import re
from xml.sax.saxutils import escape, quoteattr

WIDTH = 760
NAMESPACE = "http://www.w3.org/2000/svg"
FONT = "Arial, Helvetica, 'Liberation Sans', 'DejaVu Sans', sans-serif"
INK, GREY, GRID, STRIP = "#1a1a1a", "#595959", "#d4d4d4", "#ececec"

Style = collections.namedtuple("Style", "colour dash marker hollow")
Series = collections.namedtuple("Series", "label style points")
Point = collections.namedtuple("Point", "rate loss low high")  # rate in thousand frames a second, the others in percent
Group = collections.namedtuple("Group", "title rows")
Row = collections.namedtuple("Row", "label style bars")
Bar = collections.namedtuple("Bar", "value low high text")  # value None: the text stands alone

# The palette of Okabe and Ito without its yellow, which white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#6b4c9a")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2", "4 4", "12 3 4 3")
CIRCLE = "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0 -4 0Z"
MARKERS = (CIRCLE, "M-3.6 -3.6H3.6V3.6H-3.6Z", "M0 -4.8L4.6 3.4H-4.6Z", "M0 -5.2L5.2 0L0 5.2L-5.2 0Z",
           "M-3.8 -3.8L3.8 3.8M-3.8 3.8L3.8 -3.8", "M0 4.8L4.6 -3.4H-4.6Z", "M-5 0H5M0 -5V5",
           "M-2.2 -4.4H2.2L4.6 0L2.2 4.4H-2.2L-4.6 0Z")
_OPEN = (4, 6)  # crosses: strokes without an inside


def style(index):
    """How the tool at place INDEX looks in every plot."""
    turn, place = divmod(index, len(MARKERS))
    return Style(COLOURS[(index + turn) % len(COLOURS)], DASHES[(index + 3 * turn) % len(DASHES)], MARKERS[place],
                 turn % 2 == 1 or place in _OPEN)


def number(value, decimals=2, trim=False):
    """VALUE with thousands separators and at most two decimals; what would round to nothing is said to be less."""
    if value is None:
        return "–"
    if value == int(value):
        return f"{int(value):,}"
    least = 10 ** -decimals
    if 0 < abs(value) < least / 2:
        return f"<{least:.{decimals}f}" if decimals else "<1"
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if trim and decimals else text


def text_width(text, size):
    """About how wide TEXT is, for a wide font: which one will be there is not known."""
    def one(letter):
        if letter in "ijl.,:;'|! ":
            return 0.33
        if letter in "ftr()[]-/I":
            return 0.42
        if letter in "mwMW%@–…≥":
            return 0.96
        return 1.05 if ord(letter) > 0x2E80 else 0.72 if letter.isupper() else 0.64

    return size * sum(map(one, text))


def shortened(text, size, width):
    """TEXT, cut where it would be wider than WIDTH."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def ticks(high, most):
    """Round values from 0 to HIGH, at most MOST of them, none of which needs more than two decimals."""
    least = max(high / max(most - 1, 1), 0.01)
    power = 10.0 ** math.floor(math.log10(least) + 1e-9)
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
    return [round(step * i, 10) for i in range(int(high / step + 1e-9) + 1)]


class Linear:
    """Values from 0 to HIGH on the pixels from START to END."""

    def __init__(self, high, start, end):
        self.high, self.start, self.end = high or 1, start, end

    def __call__(self, value):
        return self.start + (self.end - self.start) * value / self.high

    def ticks(self):
        return ticks(self.high, max(abs(self.end - self.start) // 70, 3))


class Logarithmic:
    """Values on the pixels from START to END, from a power of ten well below LOW to one of 1, 2, 5 above HIGH."""

    def __init__(self, low, high, start, end):
        self.start, self.end = start, end
        # A bar as short as nothing would not be seen: some way must lie between the axis and the least value.
        self.low = 10.0 ** math.floor(math.log10(low / 1.5))
        power = 10.0 ** math.floor(math.log10(high))
        self.high = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= high * (1 - 1e-9))

    def __call__(self, value):
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self.start + (self.end - self.start) * share

    def ticks(self):
        """1, 2, 5 of each power of ten if there is room for such labels, else the powers."""
        decades = range(round(math.log10(self.low)), math.ceil(math.log10(self.high) - 1e-9) + 1)
        widest = text_width(number(self.high), 11) + 6
        room = self(2 * self.low) - self(self.low)
        found = [factor * 10.0 ** decade for decade in decades for factor in ((1, 2, 5) if room > widest else (1,))]
        return [value for value in found if value <= self.high * (1 + 1e-9)]


class Loss:
    """Percent of loss on a height: 0.01 to 100 % by powers of ten, nothing at all in a strip of its own below, in which
    every tool has its lane, for most tools lose nothing at most rates and would hide each other there."""

    LEAST = 0.01
    DECADE, GAP, LANE = 58, 24, 10

    def __init__(self, top, lanes):
        self.top = top
        self.least = top + 4 * self.DECADE
        self.strip = self.least + self.GAP
        self.bottom = self.strip + self.LANE * max(lanes, 2)

    def __call__(self, loss, lane):
        if loss <= 0:
            return self.strip + self.LANE * (lane + 0.5)
        if loss < self.LEAST:
            return self.strip - self.GAP * loss / self.LEAST
        return self.top + self.DECADE * math.log10(100 / min(loss, 100))


class Drawing:
    """The elements of one plot. Coordinates are rounded to a tenth of a pixel, to keep the files small."""

    def __init__(self):
        self._parts = []

    @staticmethod
    def _element(name, attributes, content=""):
        pairs = []
        for key, value in attributes.items():
            if value is None or value == "":
                continue
            if isinstance(value, float):
                value = f"{value:.1f}".removesuffix(".0")
            pairs.append(f" {key.replace('_', '-')}={quoteattr(str(value))}")
        return f"<{name}{''.join(pairs)}>{content}</{name}>" if content else f"<{name}{''.join(pairs)}/>"

    def add(self, name, content="", **attributes):
        self._parts.append(self._element(name, attributes, content))

    def line(self, x1, y1, x2, y2, colour=INK, width=1.0, dash=None):
        self.add("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), stroke=colour,
                 stroke_width=float(width), stroke_dasharray=dash)

    def rect(self, x, y, width, height, fill, **more):
        self.add("rect", x=float(x), y=float(y), width=float(width), height=float(height), fill=fill, **more)

    def bar(self, x, y, width, colour, filled, said=None):
        """Paler inside than its edge, so that a whisker can be seen on it."""
        self.add("rect", self._said(said), x=float(x), y=float(y), width=float(width), height=_BAR,
                 fill=_paler(colour) if filled else "white", stroke=colour)

    def text(self, x, y, text, size=11, anchor=None, bold=False, colour=INK, turned=False):
        place = {"transform": f"translate({x:.1f} {y:.1f}) rotate(-90)"} if turned else {"x": float(x), "y": float(y)}
        self.add("text", escape(text), **place, font_size=size, text_anchor=anchor,
                 font_weight="bold" if bold else None, fill=colour)

    def marker(self, x, y, look, said=None):
        self.add("path", self._said(said), d=look.marker, transform=f"translate({x:.1f} {y:.1f})",
                 fill="white" if look.hollow else look.colour, stroke=look.colour if look.hollow else "white",
                 stroke_width=1.8 if look.hollow else 0.8)

    def whisker(self, x1, y1, x2, y2, colour=INK):
        """From one end to the other, with a short bar across each."""
        self.line(x1, y1, x2, y2, colour)
        for x, y in ((x1, y1), (x2, y2)):
            if x1 == x2:
                self.line(x - 3, y, x + 3, y, colour)
            else:
                self.line(x, y - 3, x, y + 3, colour)

    def legend(self, y, items, left=12):
        """Lines of ITEMS, (text, draw, room): draw(x, y) makes the sample of so many pixels. Returns where it ends."""
        x = left
        for text, draw, room in items:
            text = shortened(text, 11, WIDTH - 2 * left - room - 8)
            wide = room + 6 + text_width(text, 11)
            if x > left and x + wide > WIDTH - left:
                x, y = left, y + 19
            draw(x, y - 4)
            self.text(x + room + 6, y, text)
            x += wide + 18
        return y + 12

    def finish(self, height, title, caption):
        height = math.ceil(height)
        head = self._element("title", {}, escape(title)) + self._element("desc", {}, escape(caption))
        body = "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *self._parts])
        return (f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
                f'role="img" font-family="{FONT}">\n{body}\n</svg>\n')

    def _said(self, text):
        return self._element("title", {}, escape(text)) if text else ""


def _paler(colour):
    """Half way to white. What is not opaque would show the grid lines behind it."""
    return "#" + "".join(f"{(int(colour[at : at + 2], 16) + 255) // 2:02x}" for at in (1, 3, 5))


def embedded(text):
    """The plot as part of a page, which names no address, not even that of the name space."""
    return text.replace(f' xmlns="{NAMESPACE}"', "", 1)


def file_name(*words):
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(words).lower()).strip("-.") + ".svg"


def loss_plot(title, caption, series, gbit_per_thousand):
    """One line for each of SERIES over the rate. GBIT_PER_THOUSAND: Gbit/s of a thousand frames a second, or None."""
    drawing = Drawing()
    left, right, top = 66, WIDTH - 28, 78 if gbit_per_thousand else 44
    height = Loss(top, len(series))
    rate = Linear(1.03 * max((point.rate for each in series for point in each.points), default=1), left, right)
    drawing.text(12, 20, shortened(title, 14, WIDTH - 24), 14, bold=True)
    _loss_frame(drawing, height, rate)
    middle = (left + right) / 2
    drawing.text(middle, height.bottom + 36, "offered rate (thousand frames/s)", anchor="middle")
    if gbit_per_thousand:
        _gbit_axis(drawing, height.top, Linear(rate.high * gbit_per_thousand, left, right))
    for lane, each in enumerate(series):
        _loss_line(drawing, each, lane, rate, height)

    def sample(look):
        def draw(x, y):
            drawing.line(x, y, x + 36, y, look.colour, 1.8, look.dash)
            drawing.marker(x + 18, y, look)
        return draw

    items = [(each.label, sample(each.style), 36) for each in series]
    if any(point.low < point.high for each in series for point in each.points):
        items.append(("least and most of the trials", lambda x, y: drawing.whisker(x + 6, y - 6, x + 6, y + 6), 12))
    return drawing.finish(drawing.legend(height.bottom + 62, items), title, caption)


def _loss_frame(drawing, height, rate):
    left, right = rate.start, rate.end
    drawing.rect(left, height.strip, right - left, height.bottom - height.strip, STRIP)
    for value in (0.01, 0.1, 1, 10, 100):
        y = height(value, 0)
        drawing.line(left, y, right, y, GRID)
        drawing.text(left - 8, y + 4, f"{value:g}", anchor="end")
    drawing.text(left - 8, (height.strip + height.bottom) / 2 + 4, "0", anchor="end", bold=True)
    drawing.line(left, height.top, left, height.least)
    drawing.line(left, height.strip, left, height.bottom)
    for y in (height.least, height.strip):  # the axis is broken between 0.01 and 0
        drawing.line(left - 5, y + 3, left + 5, y - 3)
    drawing.line(left, height.bottom, right, height.bottom)
    drawing.text(18, (height.top + height.bottom) / 2, "frames lost (%)", anchor="middle", turned=True)
    for value in rate.ticks():
        drawing.line(rate(value), height.bottom, rate(value), height.bottom + 5)
        drawing.text(rate(value), height.bottom + 18, number(value, trim=True), anchor="middle")


def _gbit_axis(drawing, y, scale):
    drawing.line(scale.start, y, scale.end, y, GREY)
    drawing.text((scale.start + scale.end) / 2, y - 26, "offered rate (Gbit/s)", anchor="middle", colour=GREY)
    for value in scale.ticks():
        drawing.line(scale(value), y, scale(value), y - 5, GREY)
        drawing.text(scale(value), y - 9, number(value, trim=True), anchor="middle", colour=GREY)


def _loss_line(drawing, series, lane, rate, height):
    points = sorted(series.points)
    places = [(rate(point.rate), height(point.loss, lane)) for point in points]
    look = series.style
    if len(places) > 1:
        drawing.add("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), fill="none", stroke=look.colour,
                    stroke_width=1.8, stroke_dasharray=look.dash, stroke_linejoin="round")
    for point, (x, _) in zip(points, places):
        if point.low < point.high:
            drawing.whisker(x, height(point.low, lane), x, height(point.high, lane), look.colour)
    for point, (x, y) in zip(points, places):
        said = f"{series.label}: {number(point.loss)} % lost at {number(1000 * point.rate, 0)} frames/s"
        drawing.marker(x, y, look, said)


def bar_plot(title, caption, axis, groups, legend, may_be_logarithmic=True):
    """Horizontal bars, the rows of each group under its title, over AXIS: what it shows and in which unit.

    LEGEND says what the first and second bar of a row are. The scale is logarithmic, if it may be, where the values
    differ by more than a factor of ten.
    """
    drawing = Drawing()
    bars = [bar for group in groups for row in group.rows for bar in row.bars]
    values = [bar.value for bar in bars if bar.value is not None and bar.value > 0]
    most = max([*values, *(bar.high for bar in bars if _spread(bar))], default=1)
    labels = [text_width(row.label, 11) for group in groups for row in group.rows]
    left = 24 + min(max(labels, default=0), 220)
    # Whatever stands beside a bar has its room beyond the scale, so that the longest bar needs no other rule.
    right = WIDTH - 22 - max((text_width(bar.text, 10) for bar in bars if bar.value is not None), default=0)
    right = max(right, left + 200)
    logarithmic = may_be_logarithmic and bool(values) and max(values) > 10 * min(values)
    scale = Logarithmic(min(values), most, left, right) if logarithmic else Linear(1.02 * most, left, right)
    drawing.text(12, 20, shortened(title, 14, WIDTH - 24), 14, bold=True)
    rows_end = _bar_rows_end(groups, 34)
    _bar_axis(drawing, scale, rows_end, axis + (", logarithmic scale" if logarithmic else ""))
    y = 34
    for group in groups:
        # Paper colour behind the title, so that no grid line strikes it through.
        drawing.rect(0, y, WIDTH, _HEADING - 2, "white")
        drawing.text(12, y + 14, shortened(group.title, 11, WIDTH - 24), bold=True)
        y += _HEADING
        for row in group.rows:
            _bar_row(drawing, row, y, scale)
            y += _row_height(row)

    def sample(place):
        def draw(x, y):
            drawing.bar(x, y - 5, 22, GREY, place == 0)
        return draw

    items = [(text, sample(place), 22) for place, text in enumerate(legend)]
    if any(_spread(bar) for bar in bars):
        items.append(("least and most of the runs", lambda x, y: drawing.whisker(x, y, x + 22, y), 22))
    return drawing.finish(drawing.legend(rows_end + 62, items), title, caption)


_HEADING = 22
_BAR, _BAR_PITCH = 10, 13


def _row_height(row):
    return _BAR_PITCH * len(row.bars) + 6


def _bar_rows_end(groups, y):
    return y + sum(_HEADING + sum(map(_row_height, group.rows)) for group in groups) + 4


def _spread(bar):
    return bar.value is not None and bar.low is not None and bar.high is not None and bar.low < bar.high


def _bar_axis(drawing, scale, y, title):
    for value in scale.ticks():
        # Two decimals are enough for a value, but a power of ten must not be "<0.01" on its own axis.
        x, text = scale(value), f"{value:.10g}" if 0 < value < 0.01 else number(value, trim=True)
        drawing.line(x, 34, x, y, GRID, 1)
        drawing.line(x, y, x, y + 5)
        drawing.text(x, y + 18, text, anchor="middle")
    drawing.line(scale.start, y, scale.end, y)
    drawing.text((scale.start + scale.end) / 2, y + 36, title, anchor="middle")


def _bar_row(drawing, row, y, scale):
    middle = y + _BAR_PITCH * len(row.bars) / 2
    drawing.text(scale.start - 8, middle + 4, shortened(row.label, 11, scale.start - 24), anchor="end")
    drawing.line(scale.start, y, scale.start, y + _BAR_PITCH * len(row.bars))
    for place, bar in enumerate(row.bars):
        top = y + _BAR_PITCH * place + (_BAR_PITCH - _BAR) / 2
        end = scale.start
        if bar.value is not None and bar.value > 0:
            end = scale(bar.value)
            drawing.bar(scale.start, top, end - scale.start, row.style.colour, place == 0, f"{row.label}: {bar.text}")
        if _spread(bar):
            drawing.whisker(scale(bar.low), top + _BAR / 2, scale(bar.high), top + _BAR / 2)
            end = max(end, scale(bar.high))
        # Grid lines would run through the words.
        drawing.rect(end + 4, top - 1, min(text_width(bar.text, 10) + 3, WIDTH - end - 6), _BAR + 2, "white")
        drawing.text(end + 6, top + 9, shortened(bar.text, 10, WIDTH - end - 10), 10)
