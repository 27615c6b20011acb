"""Messages say what to do in words that whoever reads them can follow."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convtimenet.wording import advice, unknown_column, written_for

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "convtimenet"
SCANNED = ("data", "estimators", "runs", "serving", "training", "network")
OPTION = re.compile(
    r"(?<![\w-])--[a-z]|\b[a-z_]+=(\.\.\.|['\"\[{(\d]|True|False|None)|\b[Pp]ass [a-z_]+=|predict\("
    r"|\b(id_col|time_col|target_cols|label_col|ignored_cols|time_format|dayfirst|(futr|hist|stat)_exog)\b"
)
"""Options, as Python and the command line have them."""
EXCEPT = {
    "data/files/npz_file.py": "a file that is made in Python",
    "data/labelled/labels.py": "labels that are given as an argument",
    "data/large/joined.py": "files that no request and no upload holds",
    "data/sources/frames.py": "frames and series of a library",
    "data/text/reading.py": "checks of options that only callers set",
    "data/time/steps.py": "frequencies given as objects",
    "estimators/base.py": "settings of estimators",
    "estimators/distilling.py": "a method that the command line and Python have",
    "estimators/explain.py": "a method that Python has",
    "estimators/forecasting/reading.py": "scale=False and channel_mixing, settings of estimators",
    "estimators/forecasting/ready.py": "settings of estimators beside a quality",
    "estimators/forecasting/table_reader.py": "a Table that is given to fit",
    "estimators/parameters.py": "settings of estimators",
    "estimators/portfolio.py": "settings of estimators",
    "estimators/presets/derived.py": "settings of estimators",
    "estimators/presets/paper.py": "settings of estimators",
    "estimators/pretrained.py": "settings of estimators",
    "estimators/pretraining.py": "a method that Python has",
    "estimators/trainings.py": "training that is resumed, or has several processes",
    "estimators/tuning/problem.py": "searches",
    "estimators/tuning/search.py": "searches",
    "network/kernels/native.py": "second derivatives",
    "network/precision.py": "settings of training",
    "serving/protocols/listed.py": "options of curl, in the lines to copy",
    "runs/forecasting.py": "flags of training",
    "serving/app.py": "a type of content",
    "serving/server.py": "the address that is given where it is started",
    "serving/settings.py": "flags of convtimenet serve, which does not start",
    "serving/workbench/recipe.py": "commands that the page shows as such",
    "serving/workbench/routes.py": "a header",
    "training/objectives.py": "settings of training",
}
"""Modules whose messages name options and reach no client and no page, and why."""

SAID: dict[str, Callable[[list[ast.expr]], list[ast.expr]]] = {
    "advice": lambda args: args[1:],
    "unknown_column": lambda args: args[:2],
}
"""Functions that say something to callers alone, and what they say to everyone."""


def words_of(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts with a blank, but docstrings and what `advice` says to callers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if (
            isinstance(child, ast.Call)
            and isinstance(child.func, ast.Name)
            and child.func.id in SAID
        ):
            for one in SAID[child.func.id](child.args):
                yield from words_of(ast.Expression(one))
        elif isinstance(child, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "'x'" for p in child.values]
            yield child.lineno, "".join(map(str, parts))
            for part in child.values:
                yield from words_of(part)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.lineno, child.value
        else:
            yield from words_of(child)


def options_in(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        f"{n}: {text}" for n, text in words_of(tree) if " " in text.strip() and OPTION.search(text)
    ]


def test_only_callers_are_told_of_options():
    named = {
        path.relative_to(PACKAGE).as_posix(): found
        for folder in SCANNED
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        if (found := options_in(path))
    }
    assert {name: found for name, found in named.items() if name not in EXCEPT} == {}
    assert {*EXCEPT} <= {*named}, "no longer an exception"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("raise DataError(f'a b; pass freq={x!r}')", 1),
        ("told = 'give a file with --future'", 1),
        ("raise DataError('a b; ' + advice('pass freq=...', 'send more'))", 0),
        ("advice('pass freq=...', 'or pass freq=...')", 1),
        ("advice('a b', f'c {advice(\"pass freq=...\", \"d\")}')", 0),
        ("'''A docstring of freq=...'''", 0),
        ("x = f(freq='D')", 0),
    ],
)
def test_the_scan_finds_options(tmp_path, code, found):
    path = tmp_path / "x.py"
    path.write_text(code)
    assert len(options_in(path)) == found


def test_advice_is_for_whoever_reads_it():
    def told() -> list[str]:
        return [advice("options", "client", "page"), advice("options", "client")]

    assert told() == ["options", "options"]
    with written_for("client"):
        assert told() == ["client", "client"]
        with written_for("page"):
            assert told() == ["page", "client"]
        assert told() == ["client", "client"]
    assert told() == ["options", "options"]


def test_other_threads_have_readers_of_their_own():
    found = []
    with written_for("client"):
        thread = threading.Thread(target=lambda: found.append(advice("options", "client")))
        thread.start()
        thread.join()
    assert found == ["options"]


def test_unknown_columns_name_the_option_to_callers_alone():
    said = "there is no column 'shop' (found: 'a', 'b')"
    assert unknown_column("shop", ["a", "b"], "id_col") == f"id_col: {said}"
    with written_for("client"):
        assert unknown_column("shop", ["a", "b"], "id_col") == said
