# SPDX-License-Identifier: BSD-3-Clause
"""A report as a list of sections, and the two forms it is given out in: one HTML page, and Markdown."""

import collections
import re
from urllib.parse import quote
from xml.sax.saxutils import escape

import svg

Section = collections.namedtuple("Section", "title blocks")
Heading = collections.namedtuple("Heading", "text")
Paragraph = collections.namedtuple("Paragraph", "text")
Items = collections.namedtuple("Items", "pairs")  # of a word that stands out, or nothing, and a text
Code = collections.namedtuple("Code", "text")
# WORDS: how many of the columns hold words, not numbers. A cell may be a pair of texts: the second adds to the first.
Table = collections.namedtuple("Table", "head rows words")
Figure = collections.namedtuple("Figure", "name title caption svg")

_STYLE = """
:root { color-scheme: light; }
body { max-width: 50em; margin: 2em auto; padding: 0 1em; background: white; color: #1a1a1a;
  font: 15px/1.45 Arial, Helvetica, "Liberation Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6em; line-height: 1.2; }
h2 { font-size: 1.25em; margin: 2em 0 0.5em; border-bottom: 1px solid #8a8a8a; }
h3 { font-size: 1em; margin: 1.4em 0 0.4em; }
nav ol { columns: 2; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.8em 0; font-size: 0.87em; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25em 0.6em; border-bottom: 1px solid #c4c4c4; vertical-align: top; text-align: right; }
th { border-bottom: 2px solid #595959; vertical-align: bottom; }
td, small { white-space: nowrap; }
small { font-weight: normal; color: #404040; }
th.word, td.word { text-align: left; white-space: normal; overflow-wrap: break-word; }
figure { margin: 1.2em 0; }
figure svg { display: block; max-width: 100%; height: auto; }
figcaption { font-size: 0.9em; color: #404040; }
pre { margin: 0.3em 0 1em; padding: 0.5em 0.7em; border: 1px solid #c4c4c4; font-size: 0.85em; white-space: pre-wrap;
  overflow-wrap: anywhere; }
ul.plain { list-style: none; padding: 0; }
@page { size: A4; margin: 16mm 14mm; @bottom-right { content: counter(page); font-size: 8pt; } }
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 9.5pt; }
  nav { display: none; }
  .wide { overflow: visible; }
  th, td { padding: 0.2em 0.35em; }
  p, figure, table, tr, pre, li { break-inside: avoid; }
  thead { display: table-header-group; }
  h1, h2, h3, p.lead { break-after: avoid; }
  figure svg { width: auto; max-height: 215mm; }
}
"""


def flat(text):
    return re.sub(r"\s+", " ", str(text)).strip()


def html(title, sections):
    parts = ["<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8"/>',
             '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
             f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", "</head>", "<body>",
             f"<h1>{escape(title)}</h1>", "<nav><ol>"]
    parts += [f'<li><a href="#part-{at}">{escape(each.title)}</a></li>' for at, each in enumerate(sections, 1)]
    parts.append("</ol></nav>")
    for at, section in enumerate(sections, 1):
        parts.append(f'<section><h2 id="part-{at}">{escape(section.title)}</h2>')
        # What introduces a table or a plot stays on its page.
        following = [*section.blocks[1:], None]
        parts += [_HTML[type(block)](block, isinstance(after, (Table, Figure, Code)))
                  for block, after in zip(section.blocks, following)]
        parts.append("</section>")
    return "\n".join([*parts, "</body>", "</html>", ""])


def _html_items(block, _leads):
    if not any(word for word, _ in block.pairs):
        return "<ul>" + "".join(f"<li>{escape(flat(text))}</li>" for _, text in block.pairs) + "</ul>"
    rows = (f"<li><b>{escape(word)}</b> {escape(flat(text))}</li>" for word, text in block.pairs)
    return '<ul class="plain">' + "\n".join(rows) + "</ul>"


def _html_table(block, _leads):
    def cell(content, tag):
        if isinstance(content, tuple):
            return "<br/>".join([escape(flat(content[0])), f"<small>{escape(flat(content[1]))}</small>"])
        text = escape(flat(content))
        # A unit goes below what it is the unit of, and is not torn apart.
        return re.sub(r" (\([^()]*\))$", r"<br/><small>\1</small>", text) if tag == "th" else text

    def row(cells, tag):
        openings = (f'<{tag} class="word">' if at < block.words else f"<{tag}>" for at in range(len(cells)))
        return f"<tr>{''.join(f'{opening}{cell(each, tag)}</{tag}>' for opening, each in zip(openings, cells))}</tr>"

    head = ["<thead>", row(block.head, "th"), "</thead>"] if any(block.head) else []
    return "\n".join(['<div class="wide"><table>', *head, "<tbody>", *(row(each, "td") for each in block.rows),
                      "</tbody></table></div>"])


_LEAD = '<p class="lead">'
_HTML = {
    Heading: lambda block, leads: f"<h3>{escape(block.text)}</h3>",
    Paragraph: lambda block, leads: f"{_LEAD if leads else '<p>'}{escape(flat(block.text))}</p>",
    Items: _html_items,
    Code: lambda block, leads: f"<pre>{escape(block.text)}</pre>",
    Table: _html_table,
    Figure: lambda block, leads: f"<figure>{svg.embedded(block.svg)}<figcaption>{escape(block.caption)}</figcaption>"
                                 "</figure>",
}


def markdown(title, sections, plots_directory_name):
    """Plots are linked as files of PLOTS_DIRECTORY_NAME, seen from where the text will be."""
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        for block in section.blocks:
            parts.append(_markdown_figure(block, plots_directory_name) if isinstance(block, Figure)
                         else _MARKDOWN[type(block)](block))
    return "\n\n".join(parts) + "\n"


def _plain(text):
    """TEXT as words of Markdown, with nothing in it that would be taken for a mark."""
    text = re.sub(r"([\\`*_\[\]|~])", r"\\\1", flat(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _markdown_items(block):
    return "\n".join(f"- **{_plain(word)}** {_plain(text)}" if word else f"- {_plain(text)}"
                     for word, text in block.pairs)


def _markdown_code(block):
    longest = max(map(len, re.findall("`+", block.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{block.text}\n{fence}"


def _markdown_table(block):
    rule = ["---" if at < block.words else "---:" for at in range(len(block.head))]
    rows = [map(_plain, block.head), rule, *(map(_markdown_cell, row) for row in block.rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _markdown_cell(content):
    return f"{_plain(content[0])} ({_plain(content[1])})" if isinstance(content, tuple) else _plain(content)


def _markdown_figure(block, directory):
    name = quote(f"{directory}/{block.name}" if directory else block.name)
    return f"![{_plain(block.title)}]({name})\n\n*{_plain(block.caption)}*"


_MARKDOWN = {
    Heading: lambda block: f"### {_plain(block.text)}",
    Paragraph: lambda block: _plain(block.text),
    Items: _markdown_items,
    Code: _markdown_code,
    Table: _markdown_table,
}
