"""The Python blocks of the pages run, in order, and print and draw what the pages show."""

import re
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forked import Forked
from pages import Block, blocks, differences, run, same

from convtimenet import ConvTimeNetForecaster
from convtimenet.cli.main import main
from convtimenet.estimators.presets import derived as presets

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
TASKS = sorted((ROOT / "docs" / "tasks").glob("*.md"))
READER = """
import sys, warnings
warnings.simplefilter("error")
from pages import main
sys.exit(main())
"""


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorials(page):
    """As a reader would: in a process and an empty folder of their own."""
    reader = Forked(READER, "--check", page)
    out, err = reader.communicate(timeout=600)
    assert not reader.returncode, f"{out}{err}\nmake tutorials writes it anew"


@pytest.mark.parametrize("page", TASKS, ids=lambda page: page.stem)
def test_tasks(page, tmp_path, monkeypatch):
    """The Python of the page prints what it shows; its commands work on the files it wrote."""
    monkeypatch.chdir(tmp_path)
    assert differences(page) == []
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            name, *flags = shlex.split(line)
            assert name == "convtimenet"
            assert main([*flags, "--quiet"]) == 0


def test_pictures_are_small():
    pictures = sorted((ROOT / "docs" / "tutorials" / "img").iterdir())
    assert len(pictures) >= len(TUTORIALS)
    assert all(picture.stat().st_size < 100_000 for picture in pictures)


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        ("a 3  0.85\n", "a 3 0.80", True),
        ("a 3 0.85", "a 4 0.85", False),
        ("a 3 0.85", "a 3 0.65", False),
        ("0.1", "0.2", True),
        ("0.1", "0.3", False),
        ("0.85", "85", False),
        ("12.0", "12.0 1", False),
        ("(2, 3.0)", "(2, 3.1)", True),
    ],
)
def test_words_and_whole_numbers_are_equal_and_decimals_near(shown, printed, alike):
    assert same(shown, printed) == alike


def test_blocks_and_what_they_print():
    page = "x\n```python\na = 1\n```\n\n```text\nout\n```\n\n```python\nb\n```\ntext\n"
    assert list(blocks(page)) == [Block("a = 1\n", "out\n", 3), Block("b\n", None, 11)]


def daily(n, shops=("a", "b")):
    """Sales of two shops, with a week, a column of promotions and one of regions."""
    rng, days = np.random.default_rng(0), np.arange(n)
    wave = 10 + 3 * np.sin(2 * np.pi * days / 7)
    frames = []
    for i, shop in enumerate(shops):
        promo = rng.integers(0, 2, n)
        frames.append({
            "unique_id": shop, "ds": pd.date_range("2025-01-01", periods=n),
            "y": (1 + i) * (wave + promo + rng.normal(size=n)), "promo": promo,
            "region": "south" if i else "north",
        })  # fmt: skip
    return pd.concat([pd.DataFrame(one) for one in frames], ignore_index=True)


def test_readme(tmp_path, monkeypatch):
    """With small data and few epochs, all else as the page has it."""
    monkeypatch.chdir(tmp_path)
    usual = presets.auto_forecast

    def quick(*given):
        preset = usual(*given)
        return replace(preset, train=preset.train | {"epochs": 1})

    monkeypatch.setattr(presets, "auto_forecast", quick)
    monkeypatch.setitem(presets.AUTO_TRAIN, "epochs", 2)
    monkeypatch.setattr(presets, "_STEPS", 2)
    long = daily(220)
    long[long["unique_id"] == "a"].to_csv("sales.csv", columns=["ds", "y"], index=False)
    past, ahead = long[long["ds"] < "2025-07-26"], long[long["ds"] >= "2025-07-26"]
    X, y = np.random.default_rng(1).normal(size=(12, 2, 16)), np.repeat(["a", "b"], 6)
    space = {"sales": past, "plan": ahead[["unique_id", "ds", "promo"]]}
    space |= {"X": X, "y": y, "X_test": X, "y_test": y}
    printed = [output for _, output in run(ROOT / "README.md", space)]
    assert len(printed) == 4
    assert list(space["forecast"].columns) == ["unique_id", "ds", "ConvTimeNet"]
    assert len(space["forecast"]) == 2 * 14
    assert 0 <= float(printed[-1]) <= 1
    assert {path.name for path in tmp_path.iterdir()} == {
        "sales.csv", "sales-model", "gestures-model",
    }  # fmt: skip


def test_intervals(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    waves = np.random.default_rng(0).normal(size=(400, 1)) + np.sin(np.arange(400) / 4)[:, None]
    frozen = {"n_epochs": 1, "input_size": 48, "verbose": 0, "model": {"kernel_sizes": (5,)}}
    space = {
        "ConvTimeNetForecaster": partial(ConvTimeNetForecaster, **frozen),
        "table": waves, "train_end": 200, "chosen_by": 250, "known_end": 400,
    }  # fmt: skip
    text = (ROOT / "docs" / "intervals.md").read_text(encoding="utf-8")
    code = [block.code.replace("8000", "320") for block in blocks(text)]
    assert len(code) == 2
    for one in code:
        exec(one, space)
    assert space["model"].calibration_ is not None


def test_export(tmp_path, monkeypatch):
    """The commands of the page, then its Python."""
    monkeypatch.chdir(tmp_path)
    daily(150, ["a"]).to_csv("sales.csv", columns=["ds", "y"], index=False)
    page = ROOT / "docs" / "export.md"
    commands = re.findall(r"^convtimenet (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 2
    quick = ["--training.epochs=1", "--training.refit=false", "--model.kernel_sizes=[3]"]
    quick += ["--model.d_model=8", "--model.d_ff=16"]
    for command, more in zip(commands, (quick, []), strict=True):
        assert main([*shlex.split(command), *more]) == 0
    space: dict[str, Any] = {"values": np.arange(150.0)[:, None]}
    # the page shows what both kinds of models answer; this one forecasts
    assert list(run(page, space))
    assert space["model"].forecast(space["values"]).shape == (24, 1)
