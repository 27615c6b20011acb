"""What commands print is what they were given, whatever a name looks like."""

from __future__ import annotations

import io

import pytest
from safetensors import SafetensorError

from convtimenet import progress
from convtimenet.cli import outputs
from convtimenet.cli.main import main

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


def refused(capsys, *arguments: str) -> str:
    assert main([*arguments]) == 2
    return capsys.readouterr().err


def test_what_would_be_ignored_or_of_no_use_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"2024-01-{i:02},{i},{i % 2}\n" for i in range(1, 32))
    (tmp_path / "sales.csv").write_text(f"date,y,promo\n{rows}")
    found = refused(capsys, "forecast", "sales.csv", "--h=2", "--quality=fast", "--pretrained")
    assert "--pretrained is --quality pretrained, found --quality fast too; leave one out" in found
    flags = ["--h=2", "--pretrained", "--futr_exog=promo"]
    assert "reads no covariates; leave them out" in refused(capsys, "forecast", "sales.csv", *flags)
    cases = "".join(f"{i},{i + 1},{i * 2},NA\n" for i in range(6))
    (tmp_path / "train.csv").write_text(f"t0,t1,t2,label\n{cases}")
    for files in (["train.csv", "train.csv"], ["train.csv"]):
        found = refused(capsys, "classify", *files, "--quality=fast")
        assert "found no labels in the file" in found
        assert "cells such as NA are missing" in found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sales.csv", "train.csv"]


def test_a_model_that_cannot_be_saved_takes_nothing_else_along(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("safetensors.torch.save_file", full)
    rows = "".join(f"2024-0{m}-{i:02},{(i + m) % 7}\n" for m in range(1, 4) for i in range(1, 29))
    (tmp_path / "sales.csv").write_text(f"date,y\n{rows}")
    flags = ["--h=2", "--quality=fast", "--fill=0", "--save=model", "--json=sales.json"]
    said = refused(capsys, "forecast", "sales.csv", *flags).splitlines()[-1]  # behind the progress
    assert said.startswith("convtimenet: model: expected room for a model of ")
    assert "No space left on device (os error 28); make room, or save it to another folder" in said
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["sales-forecast.csv", "sales.csv", "sales.json"]
