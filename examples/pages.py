"""Run the Python blocks of Markdown pages, so that what they show is what happens.

A ``python`` block is run after those before it, in one empty folder; a ``text`` block behind it
holds what it prints. ``python examples/pages.py docs/tutorials/*.md`` writes these blocks anew
and puts the pictures that a page made into ``img/`` beside it; with ``--check`` it compares.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLBACKEND", "agg")

# What a network prints depends a little on the processor and its kernels; whole numbers do not.
TOLERANCE = 0.1

_BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n*^```text\n(?P<shown>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
_DECIMAL = re.compile(r"[-+]?\d+\.\d+(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """Code, what the page says it prints (None where nothing), and the code's first line."""

    code: str
    shown: str | None
    line: int


def blocks(text: str) -> Iterator[Block]:
    """The Python blocks of a page, in order."""
    for found in _BLOCK.finditer(text):
        yield Block(found["code"], found["shown"], text.count("\n", 0, found.start("code")) + 1)


def run(page: Path, names: dict[str, Any] | None = None) -> Iterator[tuple[Block, str]]:
    """Run a page's blocks in the working folder; each with what it printed.

    Parameters
    ----------
    names
        What the page takes for granted; the names that it makes are added.
    """
    space = {} if names is None else names
    space["__name__"] = "__page__"
    for block in blocks(page.read_text(encoding="utf-8")):
        # so that a traceback tells the page's own line
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, space)
        yield block, printed.getvalue()


def same(shown: str, printed: str) -> bool:
    """Whether words and whole numbers are equal, and decimals within `TOLERANCE` of each other or
    one of their last digit."""
    ours, theirs = shown.split(), printed.split()
    return len(ours) == len(theirs) and all(map(_alike, ours, theirs))


def _alike(a: str, b: str) -> bool:
    if _DECIMAL.sub("#", a) != _DECIMAL.sub("#", b):
        return False
    pairs = zip(_DECIMAL.findall(a), _DECIMAL.findall(b), strict=True)
    return all(
        abs(float(x) - float(y)) <= max(TOLERANCE * abs(float(x)), 1.001 * 10 ** -_digits(x))
        for x, y in pairs
    )


def _digits(number: str) -> int:
    return len(number.split("e")[0].partition(".")[2])


def rewrite(page: Path) -> None:
    """Run a page in the working folder; write what it printed and drew."""
    printed = iter([output for _, output in run(page)])
    for picture in Path.cwd().glob("*.png"):
        shutil.copy(picture, page.parent / "img" / picture.name)

    def renewed(found: re.Match[str]) -> str:
        output = next(printed)
        text = f"```python\n{found['code']}```\n"
        return f"{text}\n```text\n{output.rstrip()}\n```\n" if output else text

    page.write_text(_BLOCK.sub(renewed, page.read_text(encoding="utf-8")), encoding="utf-8")


def differences(page: Path) -> list[str]:
    """Run a page in the working folder; where it shows something else than happens."""
    found = [
        f"{page}, line {block.line}, prints:\n{printed}"
        for block, printed in run(page)
        if not same(block.shown or "", printed)
    ]
    drawn = {path.name for path in Path.cwd().glob("*.png")}
    shown = set(re.findall(r"\]\(img/(.+?)\)", page.read_text(encoding="utf-8")))
    return found + [f"{page}: {name} is drawn or shown, not both" for name in sorted(drawn ^ shown)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("pages", nargs="+", type=Path)
    given = parser.parse_args()
    wrong: list[str] = []
    for page in [path.resolve() for path in given.pages]:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            if given.check:
                wrong += differences(page)
            else:
                rewrite(page)
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
