"""Run the Python blocks of Markdown pages, so that the output they show is real.

The ``python`` blocks of a page run in order in one empty folder; a ``text`` block after one holds
its output. ``python examples/pages.py docs/tutorials/*.md`` updates these blocks and copies the
figures that a page draws to ``img/`` next to it; with ``--check`` it only compares.
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

# The outputs of a network depend slightly on the processor and its kernels; integers do not.
TOLERANCE = 0.1

_BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n*^```text\n(?P<shown>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
_DECIMAL = re.compile(r"[-+]?\d+\.\d+(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """Code, the output shown on the page (None if there is none), and the code's first line."""

    code: str
    shown: str | None
    line: int


def blocks(text: str) -> Iterator[Block]:
    """The Python blocks of a page, in order."""
    for found in _BLOCK.finditer(text):
        yield Block(found["code"], found["shown"], text.count("\n", 0, found.start("code")) + 1)


def run(page: Path, names: dict[str, Any] | None = None) -> Iterator[tuple[Block, str]]:
    """Run a page's blocks in the working folder; yields each with its output.

    Parameters
    ----------
    names
        Names that the page assumes; those that it defines are added.
    """
    space = {} if names is None else names
    space["__name__"] = "__page__"
    for block in blocks(page.read_text(encoding="utf-8")):
        # so that a traceback shows the line number in the page
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, space)
        yield block, printed.getvalue()


def same(shown: str, printed: str) -> bool:
    """Whether words and integers are equal, and decimals within `TOLERANCE` of each other or within
    one unit of their last digit."""
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
    """Run a page in the working folder; update its output and figures."""
    printed = iter([output for _, output in run(page)])
    for picture in Path.cwd().glob("*.png"):
        shutil.copy(picture, page.parent / "img" / picture.name)

    def renewed(found: re.Match[str]) -> str:
        output = next(printed)
        text = f"```python\n{found['code']}```\n"
        return f"{text}\n```text\n{output.rstrip()}\n```\n" if output else text

    page.write_text(_BLOCK.sub(renewed, page.read_text(encoding="utf-8")), encoding="utf-8")


def differences(page: Path) -> list[str]:
    """Run a page in the working folder; return where its output differs."""
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
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
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
