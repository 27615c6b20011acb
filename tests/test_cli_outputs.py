"""What commands print is what they were given, whatever a name looks like."""

from __future__ import annotations

import io

import pytest

from convtimenet import progress
from convtimenet.cli import outputs

ODD = [":cricket:", "[bold]", "[/]", "[old] sales", "\\[x]", "fe80::1"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("make", [outputs.make_console, progress.make_console])
def test_a_name_is_neither_markup_nor_a_picture(name, make):
    console = make()
    console.file = io.StringIO()
    outputs.wrote(console, "forecast", f"{name}.csv")
    outputs.note(console, name)
    console.print(f"data home: {name}")
    outputs._show_rows(console, name, [{name: name}])
    lines = console.file.getvalue().splitlines()
    assert lines[:3] == [f"forecast: {name}.csv", f"note: {name}", f"data home: {name}"]
    assert sum(name in line for line in lines[3:]) == 3  # title, column and cell
