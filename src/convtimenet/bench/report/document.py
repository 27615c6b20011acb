"""The content of a page: tables, pictures and text, written as Markdown or HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from convtimenet.report._html import Section, card, escaped, figure
from convtimenet.report._page import page

__all__ = ["Facts", "Part", "Picture", "Table", "as_html", "as_markdown"]

_MANY = 9
"""Tables with more columns are set smaller."""
_WHOLE = 26
"""Longest row heading, in letters, that is kept on one line."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text cells.

    Attributes
    ----------
    caption
        Shown above the table.
    columns, rows
        Column headings and cells; the first cell of a row is its heading.
    texts
        Number of text columns from the left; the others are numbers, aligned to the right.
    bold
        Row and column indices of the cells in bold.
    notes
        Shown below the table.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    bold: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    notes: Sequence[str] = ()

    def markdown(self, stem: str) -> str:
        rules = ["---" if i < self.texts else "---:" for i in range(len(self.columns))]
        rows = [
            [_marked(cell, (i, j) in self.bold) for j, cell in enumerate(row)]
            for i, row in enumerate(self.rows)
        ]
        lines = ["| " + " | ".join(row) + " |" for row in [[*map(_md, self.columns)], rules, *rows]]
        return "\n\n".join([f"### {_md(self.caption)}", "\n".join(lines), *map(_md, self.notes)])

    def html(self) -> str:
        kinds = ["" if i < self.texts else ' class="number"' for i in range(len(self.columns))]
        heads = zip(kinds, self.columns, strict=True)
        head = "".join(f'<th scope="col"{kind}>{escaped(name)}</th>' for kind, name in heads)
        body = ""
        for i, row in enumerate(self.rows):
            whole = ' style="white-space:nowrap"' if len(row[0]) <= _WHOLE else ""
            body += f'<tr><th scope="row"{whole}>{escaped(row[0])}</th>'
            for j, cell in enumerate(row[1:], 1):
                text = escaped(cell)
                text = f"<strong>{text}</strong>" if (i, j) in self.bold else text
                body += f"<td{kinds[j]}>{text}</td>"
            body += "</tr>"
        many = ' class="many"' if len(self.columns) > _MANY else ""
        table = (
            f'<table{many} aria-label="{escaped(self.caption)}"><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table>"
        )
        notes = "".join(f'<p class="soft">{escaped(note)}</p>' for note in self.notes)
        return card(table, self.caption, fit=True) + notes


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An SVG picture.

    Attributes
    ----------
    name
        Its file is named after the page and this.
    heading, caption, alt
        Text above and below the picture, and its alternative text.
    """

    name: str
    svg: str
    heading: str
    caption: str
    alt: str

    def file(self, stem: str) -> str:
        """The name of its file, in the folder of the Markdown page."""
        return f"{stem}-{self.name}.svg"

    def markdown(self, stem: str) -> str:
        image = f"![{_md(self.alt)}]({quote(self.file(stem))})"
        return f"### {_md(self.heading)}\n\n{image}\n\n{_md(self.caption)}"

    def html(self) -> str:
        return figure(self.svg, self.alt, self.caption, self.heading, wide=True)


@dataclass(frozen=True)
class Facts:
    """Labels and values."""

    facts: Mapping[str, str]

    def markdown(self, stem: str) -> str:
        return "\n".join(f"- {_md(label)}: {_md(value)}" for label, value in self.facts.items())

    def html(self) -> str:
        rows = "".join(
            f"<div><dt>{escaped(label)}</dt><dd>{escaped(value)}</dd></div>"
            for label, value in self.facts.items()
        )
        return f'<div class="card"><dl>{rows}</dl></div>'


@dataclass(frozen=True)
class Part:
    """A heading and the blocks below it; a string is a paragraph."""

    anchor: str
    heading: str
    blocks: Sequence[str | Table | Picture | Facts]


def as_markdown(title: str, parts: Sequence[Part], stem: str) -> str:
    """The page as Markdown; the file names of its pictures start with `stem`."""
    texts = [f"# {_md(title)}"]
    for part in parts:
        texts.append(f"## {_md(part.heading)}")
        for block in part.blocks:
            texts.append(_md(block) if isinstance(block, str) else block.markdown(stem))
    return "\n\n".join(texts) + "\n"


def as_html(title: str, parts: Sequence[Part]) -> str:
    """The page as one HTML file."""
    return page(
        title,
        [
            Section(
                part.anchor,
                part.heading,
                "".join(
                    f"<p>{escaped(block)}</p>" if isinstance(block, str) else block.html()
                    for block in part.blocks
                ),
            )
            for part in parts
        ],
    )


def _md(text: str) -> str:
    """Escape text for Markdown, on one line."""
    text = re.sub(r"([\\`*|<\[\]])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def _marked(text: str, bold: bool) -> str:
    return f"**{_md(text)}**" if bold else _md(text)
