"""docs/features.md claims nothing without a test, and every test that it names is there."""

import ast
import re
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")


def rows(heading):
    """Cells of the table under a heading, without its head."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def named_in(path):
    """Names of a file's tests as pytest writes them, such as ``TestA::test_b``."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)
            }
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return found


def test_every_yes_names_tests_that_exist():
    for name, cell in rows("Where each yes is tested"):
        links = re.findall(r'\[`(\w+)`\]\(\.\./tests/(\S+) "(.+?)"\)', cell)
        assert links, f"{name} names no test"
        for shown, file, full in links:
            path, _, test = full.partition("::")
            assert path == file
            assert test.split("::")[-1] == shown
            assert test in named_in(ROOT / "tests" / file), f"{name}: there is no {full}"


def test_every_row_is_explained_once():
    ours = {name: mark.strip("*") for name, mark, *_ in rows("Comparison") if name != "Python"}
    assert set(ours.values()) == {"yes", "partly", "no"}
    yes = [name for name, _ in rows("Where each yes is tested")]
    others = dict(rows("Partial and missing features"))
    assert yes == [name for name, mark in ours.items() if mark == "yes"]
    assert list(others) == [f"{name} ({mark})" for name, mark in ours.items() if mark != "yes"]
    assert all(sentence.endswith(".") for sentence in others.values())


def test_every_peer_has_a_mark_in_every_row_and_a_version():
    peers = [name for name, _ in rows_of_head()]
    for name, *marks in rows("Comparison"):
        assert len(marks) == 1 + len(peers), name
        if name != "Python":
            assert set(marks[1:]) <= {"yes", "partly", "no"}, name


def rows_of_head():
    """Peers and what was read of them."""
    head = PAGE.split("## Comparison")[0]
    return re.findall(r"^\| (\w+) \| (.+) \|$", head, re.MULTILINE)


def test_the_package_is_marked_as_typed():
    assert (files("convtimenet") / "py.typed").is_file()
