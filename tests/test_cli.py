"""The command line: flags to files, mistakes in one line, and nothing half-written."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common import DATA, needs_data, undrawn
from forked import Forked

from convtimenet import (
    ConvTimeNetClassifier,
    ConvTimeNetForecaster,
    ConvTimeNetRegressor,
    __version__,
)
from convtimenet import export as exporting
from convtimenet.cli.main import main
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.estimators import base
from convtimenet.estimators.presets.paper import PAPER

TINY = ["--model.d_model=8", "--model.d_ff=16", "--model.kernel_sizes=[3,5]"]
AGAIN = "--training.refit=true"  # on all rows, as is usual
QUICK = [*TINY, "--training.epochs=1", "--training.refit=false", "--device=cpu", "--quiet"]
CASES = [*QUICK, "--model.random_patches=1"]
ONE_BLOCK = ["--model.kernel_sizes=[3]"]  # a graph is traced operation by operation


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVTIMENET_DATA", str(DATA))


@pytest.fixture
def _no_training(monkeypatch):
    def reached(*_, **__):
        raise AssertionError("training began before the mistake was found")

    monkeypatch.setattr(base, "train", reached)


def here() -> set[str]:
    return {str(path.relative_to(".")) for path in Path().rglob("*") if path.is_file()}


def rows_of(path: str) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def table() -> str:
    values = np.sin(np.arange(160)[:, None] / np.array([2.0, 3.0]))
    with open("sales.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "wind [m/s]", "b"])
        start = np.datetime64("2024-01-01T00:00")
        writer.writerows([str(start + 60 * i), *row] for i, row in enumerate(values.tolist()))
    return "sales.csv"


def write_cases(name: str, n: int = 20, labelled: bool = True, channels: int = 2) -> str:
    X = np.random.default_rng(n).normal(size=(n, channels, 20))
    if labelled:
        np.savez(name, X=X, y=np.array(["up", "down"] * (n // 2)))
    else:
        np.savez(name, X=X)
    return name


def write_numbers(name: str, n: int = 24, labelled: bool = True) -> str:
    draw = np.random.default_rng(n)
    X = draw.normal(size=(n, 2, 20))
    if labelled:
        np.savez(name, X=X, y=10 + 5 * draw.normal(size=n))
    else:
        np.savez(name, X=X)
    return name


def write_rows(name: str, head: list[str], rows: list) -> str:
    with open(name, "w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return name


@pytest.fixture
def promoted(table) -> str:
    """The table with a promotion known ahead and a temperature; plan.csv holds what is ahead."""
    rows = rows_of(table)
    draw = np.random.default_rng(0)
    promo, warm = draw.integers(0, 2, len(rows) + 4), draw.normal(size=len(rows))
    more = [[*row, promo[i], warm[i]] for i, row in enumerate(rows[1:])]
    write_rows("promo.csv", [*rows[0], "promo", "warm"], more)
    start = np.datetime64("2024-01-07T16:00")
    write_rows("plan.csv", ["date", "promo"], [[str(start + 60 * i), i % 2] for i in range(4)])
    return "promo.csv"


class TestForecast:
    def test_writes_what_was_asked_for(self, table, capsys):
        outputs = ["--out=f.csv", "--json=r.json", "--save=model", "--report=r.html"]
        assert main(["forecast", table, "--h=4", *outputs, *QUICK, AGAIN]) == 0
        model = ConvTimeNetForecaster.load("model")
        rows = rows_of("f.csv")
        assert rows[0] == ["date", "wind [m/s]", "b"]
        assert [row[0] for row in rows[1:]] == [f"2024-01-07T{h}:00" for h in range(16, 20)]
        written = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]])
        values = np.array([[float(cell) for cell in row[1:]] for row in rows_of(table)[1:]])
        np.testing.assert_allclose(written, model.forecast(values), rtol=5e-6)
        assert max(len(cell) for row in rows[1:] for cell in row[1:]) <= len("-0.0123456")
        result = json.loads(Path("r.json").read_text())
        assert result["dataset"] == "sales.csv"
        assert (result["horizon"], result["n_test"]) == (4, 32 - 4 + 1)
        assert result["model"]["kernel_sizes"] == [3, 5]
        assert result["training"]["epochs"] == 1
        assert result["scores"].keys() == {"mse", "mae"}
        assert "<html" in Path("r.html").read_text()[:1000].lower()
        assert "forecast of 4 steps: f.csv" in capsys.readouterr().out
        assert here() == {table, "f.csv", "r.json", "r.html"} | {
            f"model/{path.name}" for path in Path("model").iterdir()
        }
        assert Path("model/manifest.json").is_file()

    def test_the_default_output_is_named_after_the_data(self, table):
        assert main(["forecast", table, "--h=4", *QUICK]) == 0
        assert here() == {table, "sales-forecast.csv"}

    def test_same_seed_same_file(self, table):
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            assert (
                main(
                    [
                        "forecast",
                        table,
                        "--h=4",
                        f"--out={name}.csv",
                        f"--seed={seed}",
                        *QUICK,
                        "--model.linear=false",
                    ]
                )
                == 0
            )
        first, same, other = (Path(f"{name}.csv").read_bytes() for name in "abc")
        assert first == same
        assert first != other

    def test_a_saved_model_forecasts_without_training(self, table, monkeypatch):
        main(["forecast", table, "--h=4", "--out=a.csv", "--save=model", *QUICK])
        monkeypatch.setattr(base, "train", None)
        assert main(["forecast", table, "--load=model", "--out=b.csv"]) == 0
        assert Path("b.csv").read_bytes() == Path("a.csv").read_bytes()

    def test_flags_may_come_from_a_file(self, table):
        settings = {
            "h": 3,
            "model": {"d_model": 4, "d_ff": 8, "kernel_sizes": [3]},
            "training": {"epochs": 1, "lr": 0.002},
            "json": "r.json",
            "device": "cpu",
        }
        Path("flags.json").write_text(json.dumps(settings))
        assert main(["forecast", table, "--config=flags.json", "--training.lr=0.003"]) == 0
        result = json.loads(Path("r.json").read_text())
        assert result["horizon"] == 3
        assert result["model"]["d_model"] == 4
        assert result["training"]["lr"] == 0.003  # the later flag wins
        Path("flags.yaml").write_text("h: 2\njson: y.json\ndevice: cpu\ntraining: {epochs: 1}\n")
        assert main(["forecast", table, "--config=flags.yaml", *TINY]) == 0
        assert json.loads(Path("y.json").read_text())["horizon"] == 2

    def test_flags_choose_columns_step_and_preset(self, table):
        flags = ["--target_cols=[b]", "--time_col=date", "--freq=1h", "--preset=ILI"]
        size = ["--input_size=20", "--h=2", "--json=r.json"]
        assert main(["forecast", table, *flags, *size, *QUICK]) == 0
        assert rows_of("sales-forecast.csv")[0] == ["date", "b"]
        result = json.loads(Path("r.json").read_text())
        assert result["preset"] == "ILI"
        assert result["training"]["lr"] == 5e-3
        assert result["model"]["context_length"] == 20

    def test_one_channel_needs_no_brackets(self, table):
        assert main(["forecast", table, "--target_cols=b", "--h=2", *QUICK]) == 0
        assert rows_of("sales-forecast.csv")[0] == ["date", "b"]

    def test_a_saved_model_writes_its_forecast_as_json(self, table):
        assert main(["forecast", table, "--h=2", "--save=model", *QUICK]) == 0
        assert main(["forecast", table, "--load=model", "--json=r.json"]) == 0
        rows = rows_of("sales-forecast.csv")
        result = json.loads(Path("r.json").read_text())
        assert result["times"] == [row[0] for row in rows[1:]]
        written = [float(row[2]) for row in rows[1:]]
        assert result["forecast"]["b"] == pytest.approx(written, rel=5e-6)  # exact in JSON

    def test_what_is_replaced_is_said_before(self, table, capsys):
        Path("sales-forecast.csv").write_text("mine\n")
        flags = ["--h=2", "--json=r.json"]
        assert main(["forecast", table, *flags, *QUICK]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("note: sales-forecast.csv exists and will be replaced\n")
        assert "r.json exists" not in shown
        assert rows_of("sales-forecast.csv")[0] == ["date", "wind [m/s]", "b"]

    def test_a_reader_that_has_had_enough_does_not_cost_the_forecast(self, table):
        quick = ["--quality=fast", "--device=cpu", "--quiet"]
        command = [sys.executable, "-m", "convtimenet", "forecast", table, "--h=2", *quick]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.wait() == 0
        assert len(rows_of("sales-forecast.csv")) == 3

    def test_without_scores_the_report_is_of_the_forecast(self, table, capsys):
        flags = ["--test_fraction=0", "--h=2", "--json=r.json", "--report=r.html"]
        with undrawn():
            assert main(["forecast", table, *flags, *QUICK]) == 0
        assert "report: r.html" in capsys.readouterr().out
        assert Path("r.json").exists()
        text = Path("r.html").read_text(encoding="utf-8")
        headings = re.findall("<h2 id=.*?>(.*?)</h2>", text)
        assert headings == ["The forecast", "This run", "Inside the network"]
        assert "The forecasting model was trained on all rows; nothing was scored." in text

    def test_notices_are_shown_whatever_the_channel_is_called(self, table, capsys):
        lines = Path(table).read_text().splitlines()
        lines[5] = lines[5].split(",")[0] + ",,1"
        lines[0] = "date,speed [/s],b"
        Path(table).write_text("\n".join(lines))
        assert main(["forecast", table, "--h=4", *QUICK]) == 0
        shown = capsys.readouterr().out
        assert "note: channel 'speed [/s]': 1 missing value" in shown
        assert shown.count("1 missing value") == 1
        assert "Notices: missing values are masked" in shown


class TestCovariatesAndIntervals:
    def test_of_a_wide_table(self, promoted):
        flags = ["--h=4", "--hist_exog=warm", "--futr_exog=promo", "--future=plan.csv"]
        flags += ["--calendar=hour,dayofweek", "--level", "80", "50", "--test_fraction=0.4"]
        outputs = ["--out=f.csv", "--json=r.json", "--save=model", "--report=r.html"]
        assert main(["forecast", promoted, *flags, *outputs, *QUICK]) == 0
        head, *rows = rows_of("f.csv")
        bounds = ["-lo-80", "-lo-50", "-hi-50", "-hi-80"]
        names = [f"{name}{bound}" for name in ("wind [m/s]", "b") for bound in ("", *bounds)]
        assert head == ["date", *names]
        model = ConvTimeNetForecaster.load("model")
        assert (model.hist_exog, model.futr_exog) == (["warm"], ["promo"])
        assert model.calendar == ["hour", "dayofweek"]
        table = model.read(promoted)
        expected = model.predict(table, "plan.csv", level=[80, 50])
        written = np.array([[float(cell) for cell in row[1:]] for row in rows])
        np.testing.assert_allclose(written, expected.values, rtol=5e-6)
        assert (np.diff(written[:, [1, 2, 0, 3, 4]], axis=1) >= 0).all()
        result = json.loads(Path("r.json").read_text())
        scored = model.evaluate(table, first_row=96, level=[80, 50])
        for found, one in zip(result["intervals"], scored.intervals, strict=True):
            assert found["level"] == one.level
            assert found["coverage"] == one.coverage
            assert found["width"] == one.width
            assert found["coverage_per_step"] == one.coverage_per_step.tolist()
            assert len(found["width_per_step"]) == 4
        page = Path("r.html").read_text()
        assert "Coloured bands: 50, 80&nbsp;% intervals" in page
        assert '<th scope="row">promo</th>' in page

    def test_of_a_long_table_under_other_names(self, capsys):
        draw = np.random.default_rng(0)
        days = np.datetime64("2024-01-01") + np.arange(104)
        rows = [
            [shop, days[i], draw.normal(), draw.integers(2), region]
            for shop, region in (("x", "north"), ("y", "south"), ("z", "south"))
            for i in range(104)
        ]
        head = ["shop", "day", "units", "promo", "region"]
        past = [row for row in rows if row[1] < days[100]]
        write_rows("long.csv", head, past)
        ahead = [[row[i] for i in (0, 1, 3)] for row in rows if row[1] >= days[100]]
        write_rows("plan.csv", ["shop", "day", "promo"], ahead)
        flags = ["--h=4", "--id_col=shop", "--time_col=day", "--target_cols=units", "--level=80"]
        flags += ["--futr-exog=promo", "--stat-exog=[region]", "--future=plan.csv"]
        assert main(["forecast", "long.csv", *flags, "--save=model", "--out=f.csv", *QUICK]) == 0
        found = rows_of("f.csv")
        assert found[0] == ["shop", "day", *(f"ConvTimeNet{b}" for b in ("", "-lo-80", "-hi-80"))]
        assert [row[:2] for row in found[1:5]] == [["x", str(d)] for d in days[100:]]
        again = ["--load=model", "--future=plan.csv", "--level=80", "--out=g.csv"]
        assert main(["forecast", "long.csv", *again]) == 0  # the names are the model's
        assert Path("g.csv").read_bytes() == Path("f.csv").read_bytes()
        capsys.readouterr()
        write_rows("plan.csv", ["shop", "day", "promo"], ahead[:-1])
        assert main(["forecast", "long.csv", *again]) == 2
        assert re.search(r"plan\.csv: .*2024-04-13.*'z', 1 rows", capsys.readouterr().err)

    @needs_data
    def test_a_registered_set_is_scored_with_levels(self, capsys):
        assert main(["evaluate", "ILI", "--level", "80", "--json=r.json", *QUICK]) == 0
        (found,) = json.loads(Path("r.json").read_text())["intervals"]
        assert len(found["coverage_per_step"]) == 24
        assert f"{100 * found['coverage']:.1f} %" in capsys.readouterr().out
        assert main(["evaluate", "ERing", "--level", "80", *QUICK]) == 2
        assert "ERing is a classification set and has no intervals" in capsys.readouterr().err

    def test_no_levels_no_coverage(self, table):
        assert main(["forecast", table, "--h=4", "--json=r.json", *QUICK]) == 0
        assert json.loads(Path("r.json").read_text())["intervals"] == []


class TestNull:
    def test_it_means_none(self, table):
        flags = ["--training.patience=null", "--training.clip_norm=null", "--json=r.json"]
        assert main(["forecast", table, "--h=2", *flags, *QUICK]) == 0
        assert json.loads(Path("r.json").read_text())["training"]["patience"] is None
        assert main(["forecast", table, "--h=2", "--json=r.json", *QUICK]) == 0
        assert json.loads(Path("r.json").read_text())["training"]["patience"] is not None
        Path("flags.yaml").write_text("training: {patience: null}")
        flags = ["--config=flags.yaml", "--json=r.json"]
        assert main(["forecast", table, "--h=2", *flags, *QUICK]) == 0
        assert json.loads(Path("r.json").read_text())["training"]["patience"] is None

    def test_help_says_so(self, capsys):
        with pytest.raises(SystemExit):
            main(["forecast", "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert "before stopping; null disables early stopping." in shown
        assert "Maximum gradient norm; null disables clipping" in shown
        assert "None" not in shown


def test_names_of_flags_may_be_written_with_hyphens(table):
    flags = ["--h=2", "--test-fraction=0", "--target-cols", "b", "--out=a-b_c.csv"]
    assert main(["forecast", table, *flags, *QUICK]) == 0
    assert rows_of("a-b_c.csv")[0] == ["date", "b"]


class TestRegress:
    def test_labelled_test_cases_are_scored(self, capsys):
        train, test = write_numbers("train.npz"), write_numbers("test.npz", 12)
        outputs = ["--json=r.json", "--save=model", "--out=n.csv", "--report=r.html"]
        assert main(["regress", train, test, *outputs, *CASES, AGAIN]) == 0
        model = ConvTimeNetRegressor.load("model")
        with np.load(train) as archive:
            mean = archive["y"].mean()
        with np.load(test) as archive:
            predicted, y = model.predict(archive["X"]), archive["y"]
        assert rows_of("n.csv")[0] == ["case", "number"]
        written = [float(row[1]) for row in rows_of("n.csv")[1:]]
        assert written == pytest.approx(predicted, rel=5e-6)
        result = json.loads(Path("r.json").read_text())
        assert result["task"] == "regression"
        assert result["n_test"] == 12
        for scores, answers in ((result["scores"], predicted), (result["baseline"], mean)):
            assert scores["mse"] == pytest.approx(np.square(answers - y).mean())
            assert scores["mae"] == pytest.approx(np.abs(answers - y).mean())
            assert scores["r2"] == pytest.approx(1 - scores["mse"] / y.var())
        assert "│ mean of" in capsys.readouterr().out
        assert "<h1>test.npz, regression</h1>" in Path("r.html").read_text()

    def test_without_a_test_file_a_part_is_held_out(self):
        write_numbers("train.npz", 40)
        flags = ["--json=r.json", "--test_fraction=0.25"]
        assert main(["regress", "train.npz", *flags, *CASES]) == 0
        assert json.loads(Path("r.json").read_text())["n_test"] == 10
        assert len(rows_of("train-numbers.csv")) == 11

    def test_a_saved_model_answers_and_is_scored(self, capsys):
        train, new = write_numbers("train.npz"), write_numbers("new.npz", 6, labelled=False)
        assert main(["regress", train, new, "--save=model", "--json=r.json", *CASES]) == 0
        assert "have no labels" in capsys.readouterr().out
        numbers = [float(row[1]) for row in rows_of("new-numbers.csv")[1:]]
        found = json.loads(Path("r.json").read_text())
        assert found == {"numbers": pytest.approx(numbers, rel=5e-6), "notices": []}
        test = write_numbers("test.npz", 6)
        assert main(["regress", test, "--load=model", "--json=r.json"]) == 0
        with np.load(test) as archive:
            y = archive["y"]
        found = json.loads(Path("r.json").read_text())
        assert found["mse"] == pytest.approx(np.square(np.array(found["numbers"]) - y).mean())
        assert "r2: " in capsys.readouterr().out

    def test_one_case_has_no_r2(self):
        train, test = write_numbers("train.npz"), write_numbers("test.npz", 1)
        assert main(["regress", train, test, "--json=r.json", "--report=r.html", *CASES]) == 0
        result = json.loads(Path("r.json").read_text())
        assert result["scores"].keys() == result["baseline"].keys() == {"mse", "mae"}
        assert "<h3>R2</h3>" not in Path("r.html").read_text()

    def test_a_ts_file_with_targets(self):
        lines = ["@univariate true", "@targetLabel true", "@data"]
        draw = np.random.default_rng(0)
        lines += [",".join(map(str, draw.normal(size=20))) + f":{i / 2}" for i in range(20)]
        Path("t.ts").write_text("\n".join(lines))
        assert main(["regress", "t.ts", "t.ts", "--json=r.json", *CASES]) == 0
        baseline = json.loads(Path("r.json").read_text())["baseline"]
        assert baseline["mse"] == np.var(np.arange(20) / 2)


class TestClassify:
    def test_without_a_test_file_a_part_is_held_out(self):
        write_cases("train.npz", 40)
        outputs = ["--json=r.json", "--save=model", "--test_fraction=0.25"]
        assert main(["classify", "train.npz", *outputs, *CASES]) == 0
        result = json.loads(Path("r.json").read_text())
        assert (result["n_test"], result["dataset"]) == (10, "train.npz")
        assert result["trained_on"] is None
        rows = rows_of("train-classes.csv")
        assert rows[0] == ["case", "class", "p_down", "p_up"]
        assert len(rows) == 11

    def test_labelled_test_cases_are_scored(self, capsys):
        train, test = write_cases("train.npz", 20), write_cases("test.npz", 12)
        outputs = ["--json=r.json", "--save=model", "--out=c.csv", "--report=r.html"]
        assert main(["classify", train, test, *outputs, *CASES, AGAIN]) == 0
        model = ConvTimeNetClassifier.load("model")
        with np.load(test) as archive:
            predicted, y = model.predict(archive["X"]), archive["y"]
        assert [row[1] for row in rows_of("c.csv")[1:]] == predicted.tolist()
        result = json.loads(Path("r.json").read_text())
        assert result["scores"]["accuracy"] == (predicted == y).mean()
        assert result["n_test"] == 12
        # titles name what was scored
        assert (result["dataset"], result["trained_on"]) == ("test.npz", "train.npz")
        page, shown = Path("r.html").read_text(encoding="utf-8"), capsys.readouterr().out
        assert "<h1>test.npz, classification</h1>" in page
        assert "<dt>Training data</dt><dd>train.npz</dd>" in page
        assert "test.npz: scores" in shown
        assert "train.npz: scores" not in shown

    def test_unlabelled_test_cases_are_classified(self, capsys):
        train, test = write_cases("train.npz"), write_cases("new.npz", 6, labelled=False)
        outputs = ["--save=model", "--json=r.json", "--report=r.html"]
        assert main(["classify", train, test, *outputs, *CASES]) == 0
        assert len(rows_of("new-classes.csv")) == 7
        shown = capsys.readouterr().out
        assert "have no labels" in shown
        assert "report: not written" in shown
        assert not Path("r.html").exists()
        classes = [row[1] for row in rows_of("new-classes.csv")[1:]]
        assert json.loads(Path("r.json").read_text()) == {"classes": classes, "notices": []}
        assert main(["classify", test, "--load=model", "--out=again.csv"]) == 0
        assert Path("again.csv").read_bytes() == Path("new-classes.csv").read_bytes()

    def test_a_saved_model_is_scored_on_labelled_cases(self, capsys):
        train, test = write_cases("train.npz"), write_cases("test.npz", 6)
        assert main(["classify", train, test, "--save=model", "--json=r.json", *CASES]) == 0
        assert main(["classify", test, "--load=model", "--json=again.json"]) == 0
        again = json.loads(Path("again.json").read_text())
        scores = json.loads(Path("r.json").read_text())["scores"]
        assert again["accuracy"] == scores["accuracy"]
        assert "accuracy: " in capsys.readouterr().out

    def test_missing_values_of_test_cases_are_told_of(self, capsys):
        train, test = write_cases("train.npz"), write_cases("test.npz", 6)
        with np.load(test) as archive:
            X, y = archive["X"], archive["y"]
        X[0, 0, 2] = np.nan
        np.savez(test, X=X, y=y)
        masked = "1 missing or infinite values are masked"
        filled = "1 missing or infinite values were interpolated along time"
        for flags, notice in ([], masked), (["--model.masks=false"], filled):
            assert main(["classify", train, test, "--save=model", *flags, *CASES]) == 0
            assert f"Notices: test: {notice}" in capsys.readouterr().out
            assert main(["classify", test, "--load=model"]) == 0
            assert f"note: {notice}" in capsys.readouterr().out


@pytest.fixture
def written(monkeypatch) -> dict[str, Any]:
    """No graph is written, as that takes seconds: what would be, and what is told of it."""
    found: dict[str, Any] = {}

    def export(model, folder, format, *, data):
        found.update(kind=type(model), folder=folder, format=format, data=data)
        told = {"inputs": 20, "largest_answer": 0.75, "mean_difference": 1e-3}
        return told | {"max_difference": 2e-3, "same_class": 0.95}

    monkeypatch.setattr(exporting, "export", export)
    return found


class TestExport:
    def test_a_forecaster(self, table, capsys):
        """Without masks, as its graph tells."""
        flags = [*QUICK, *ONE_BLOCK, "--model.masks=false"]
        assert main(["forecast", table, "--h=4", "--save=model", *flags]) == 0
        capsys.readouterr()
        assert main(["export", "model", "--to=graph", f"--check={table}"]) == 0
        shown = capsys.readouterr().out
        parity = json.loads(Path("graph/parity.json").read_text())
        assert f"onnx graph: {Path('graph/model.onnx')}\n" in shown
        assert parity["inputs"] > 1
        assert f"on {parity['inputs']} windows" in shown
        assert f"mean difference {parity['mean_difference']:.2g}" in shown
        assert f"largest {parity['max_difference']:.2g}: {Path('graph/parity.json')}\n" in shown
        values = np.array([[float(cell) for cell in row[1:]] for row in rows_of(table)[1:]])
        usage = [line.strip() for line in shown.split("use it with:\n")[1].splitlines()]
        usage[-1] = f"answer = {usage[-1]}"
        names = {"values": values}
        exec("\n".join(usage), names)
        expected = ConvTimeNetForecaster.load("model").forecast(values)
        np.testing.assert_allclose(names["answer"], expected, atol=1e-5)
        assert json.loads(Path("graph/model.json").read_text())["export"]["gaps"] is False

    def test_what_is_told_of_eight_bit_weights(self, written, capsys):
        train = write_cases("train.npz")
        assert main(["classify", train, "--save=model", *CASES, *ONE_BLOCK]) == 0
        capsys.readouterr()
        flags = ["--format=onnx-int8", "--to=graph", f"--check={train}"]
        assert main(["export", "model", *flags]) == 0
        expected = {"folder": "graph", "format": "onnx-int8", "data": train}
        assert written == expected | {"kind": ConvTimeNetClassifier}
        shown = capsys.readouterr().out
        assert f"onnx-int8 graph: {Path('graph/model.onnx')}\n" in shown
        assert "on 20 cases: outputs up to 0.75, mean difference 0.001, largest 0.002" in shown
        assert "same class for 95.00%" in shown
        assert "  model.predict(cases)\n" in shown

    def test_what_is_told_of_a_torch_program(self, table, written, capsys):
        assert main(["forecast", table, "--h=4", "--save=model", *QUICK, *ONE_BLOCK]) == 0
        assert main(["export", "model", "--format=torch-export", "--to=graph"]) == 0
        assert (written["format"], written["data"]) == ("torch-export", None)
        assert f"torch.export.load({str(Path('graph/model.pt2'))!r})" in capsys.readouterr().out

    # The graphs themselves are quickly tested in tests/test_mixture.py and tests/test_export.py.
    @pytest.mark.slow
    def test_a_classifier_with_eight_bit_weights(self, capsys):
        train = write_cases("train.npz")
        assert main(["classify", train, "--save=model", *CASES, *ONE_BLOCK]) == 0
        capsys.readouterr()
        flags = ["--format=onnx-int8", "--to=graph", f"--check={train}"]
        assert main(["export", "model", *flags]) == 0
        shown = capsys.readouterr().out
        parity = json.loads(Path("graph/parity.json").read_text())
        assert f"on 20 cases: outputs up to {parity['largest_answer']:.4g}" in shown
        assert f"same class for {parity['same_class']:.2%}" in shown
        assert "  model.predict(cases)\n" in shown

    @pytest.mark.slow
    def test_a_torch_program(self, table, capsys):
        assert main(["forecast", table, "--h=4", "--save=model", *QUICK, *ONE_BLOCK]) == 0
        assert main(["export", "model", "--format=torch-export", "--to=graph"]) == 0
        assert f"torch.export.load({str(Path('graph/model.pt2'))!r})" in capsys.readouterr().out

    def test_mistakes(self, table, capsys):
        assert main(["forecast", table, "--h=4", "--save=model", *QUICK]) == 0
        train = write_cases("train.npz")
        assert main(["classify", train, "--save=cases", *CASES]) == 0
        before = here()
        for arguments, says in (
            (["model", "--to=model"], "model holds a saved model"),
            (["cases", "--to=graph"], "give some with --check"),
            (["model", "--to=graph", "--check=nowhere.csv"], "nowhere.csv"),
            (["model", "--to=graph", f"--check={train}"], "npz"),
            (["nowhere", "--to=graph"], "there is no model folder at nowhere"),
            (["model", "--to=graph", "--format=tflite"], "format"),
            (["model"], "--to|export.to"),
        ):
            capsys.readouterr()
            assert main(["export", *arguments]) == 2
            shown = capsys.readouterr().err
            assert re.search(says, shown), shown
            assert shown.count("\n") == 1
        assert here() == before


@needs_data
class TestEvaluate:
    def test_a_forecasting_set(self, capsys):
        flags = ["--h=24", "--json=r.json", "--protocol=honest", "--preset=paper"]
        assert main(["evaluate", "ILI", *flags, *QUICK]) == 0
        result = json.loads(Path("r.json").read_text())
        assert (result["dataset"], result["n_test"]) == ("ILI", 170)
        shown = capsys.readouterr().out
        assert "Protocol: honest" in shown
        assert "Seed: 2023" in shown
        assert "170 windows" in shown

    def test_a_classification_set_by_its_alias(self):
        assert main(["evaluate", "standwalkjump", "--quality=fast", "--json=r.json"]) == 0
        result = json.loads(Path("r.json").read_text())
        assert (result["dataset"], result["n_test"]) == ("StandWalkJump", 15)
        assert result["preset"] == "fast"


@needs_data
class TestDatasets:
    def test_list(self, capsys):
        assert main(["datasets", "list", "--json=d.json"]) == 0
        found = json.loads(Path("d.json").read_text())
        assert set(PAPER) <= set(found)
        assert found["ETTh1"]["here"] is True
        assert found["Traffic"]["here"] is False
        assert found["ETTh1"]["task"] == "forecasting"
        assert "data home" in capsys.readouterr().out

    def test_verify(self, capsys):
        assert main(["datasets", "verify", "ILI", "Traffic", "--json=d.json"]) == 0
        shown = capsys.readouterr().out
        assert "absent    Traffic" in shown
        found = json.loads(Path("d.json").read_text())
        assert list(found["ILI"].values()) == ["ok"]
        assert found["Traffic"] == {}

    def test_verify_tells_damage(self, monkeypatch, capsys):
        damaged = Path("home/forecasting/national_illness.csv")
        damaged.parent.mkdir(parents=True)
        damaged.write_text("date,a\n2024-01-01,1\n")
        monkeypatch.setenv("CONVTIMENET_DATA", str(Path("home").resolve()))
        assert main(["datasets", "verify", "ILI"]) == 2
        assert "ILI: files differ from the registered ones" in capsys.readouterr().err


NOTHING_HELD = ["--test_fraction=0", "--training.validation_fraction=0"]
MISTAKES = {
    "unknown flag": (
        ["forecast", "sales.csv", "--colour=red"],
        "forecast has no flag --colour; leave it out",
    ),
    "unknown command": (["forcast"], "no command 'forcast'; did you mean forecast?"),
    "no data": (["forecast"], "forecast needs data .*found none"),
    "absent file": (["forecast", "nowhere.csv"], "nowhere.csv"),
    "text for a number": (
        ["forecast", "sales.csv", "--h=many"],
        "--h: expected a whole number, found many",
    ),
    "horizon 0": (["forecast", "sales.csv", "--h=0"], "h, the horizon, must be .* found 0"),
    "context 0": (["forecast", "sales.csv", "--h=4", "--input_size=0"], "input_size.* found 0"),
    "too long a horizon": (["forecast", "sales.csv", "--h=500"], "no window fits"),
    "test fraction": (
        ["forecast", "sales.csv", "--test_fraction=1.5"],
        "test_fraction must be at least 0 and below 1, found 1.5",
    ),
    "batch size 0": (["forecast", "sales.csv", "--training.batch_size=0"], "batch_size.* found 0"),
    "validation fraction": (
        ["forecast", "sales.csv", "--training.validation_fraction=1.5"],
        "validation_fraction.* found 1.5",
    ),
    "padding": (["forecast", "sales.csv", "--model.padding=mirror"], "padding"),
    "preset": (["forecast", "sales.csv", "--preset=ETTh9"], "'ETTh9'.*preset='auto'"),
    "device": (["forecast", "sales.csv", "--device=warp"], "device must be.*'warp'"),
    "seed": (["forecast", "sales.csv", "--seed=-1"], "seed must be .* found -1"),
    "other suffix": (["forecast", "sales.csv", "--out=f.txt"], r"ends in \.csv, found 'f.txt'"),
    "classes in another format": (
        ["classify", "train.npz", "--out=c.parquet"],
        r"--out: expected a file name that ends in \.csv, found 'c.parquet'",
    ),
    "numbers in another format": (["regress", "train.npz", "--out=c"], r"\.csv, found 'c'"),
    "gaps in another format": (["impute", "sales.csv", "--out=c"], r"\.csv, found 'c'"),
    "absent folder": (["forecast", "sales.csv", "--json=a/b.json"], "folder a does not exist"),
    "folder as a file": (["forecast", "sales.csv", "--json=."], "--json must be a file"),
    "model over data": (["forecast", "sales.csv", "--save=sales.csv"], "other than a saved model"),
    "model over a folder": (["forecast", "sales.csv", "--save=."], "other than a saved model"),
    "an address": (
        ["forecast", "https://example.org/x.csv"],
        "expected a path, found a URL; download the file and give its path",
    ),
    "standard input": (["classify", "-"], "standard input is not supported; write it to a file"),
    "data overwritten": (["forecast", "sales.csv", "--out=./sales.csv"], "--out would overwrite"),
    "data overwritten by scores": (["forecast", "sales.csv", "--json=sales.csv"], "--json would"),
    "two outputs in one": (
        ["forecast", "sales.csv", "--out=x.csv", "--json=x.csv"],
        "--json would overwrite x.csv",
    ),
    "a model over the forecast": (
        ["forecast", "sales.csv", "--out=x.csv", "--save=x.csv"],
        "--out and --save must be apart.* found x.csv and x.csv; name another one",
    ),
    "a model among checkpoints": (
        ["forecast", "sales.csv", "--save=a/m", "--resume=a"],
        "--save and --resume must be apart.* found a/m and a;",
    ),
    "an encoder over its checkpoints": (
        ["pretrain", "forecast", "sales.csv", "--out=a", "--resume=a"],
        "--out and --resume must be apart",
    ),
    "no model": (
        ["forecast", "sales.csv", "--load=nowhere"],
        "there is no model folder at nowhere",
    ),
    "load and training": (
        ["forecast", "sales.csv", "--load=m", "--h=7", "--training.lr=0.1"],
        "leave out --h, --training.lr",
    ),
    "load and a seed": (["forecast", "sales.csv", "--load=m", "--seed=5"], "leave out --seed,"),
    "load of classes and a seed": (
        ["classify", "train.npz", "--load=m", "--seed=5", "--distil", "--quality=best"],
        "leave out --quality, --seed, --distil,",
    ),
    "load and save": (["forecast", "sales.csv", "--load=m", "--save=n"], "--save.*--load"),
    "config in another encoding": (
        ["forecast", "sales.csv", "--config=train.npz"],
        "config file is not UTF-8",
    ),
    "absent config": (["forecast", "sales.csv", "--config=no.yaml"], "no.yaml"),
    "table to classify": (
        ["classify", "sales.csv"],
        r"no column with case ids; .* use convtimenet forecast",
    ),
    "cases overwritten": (
        ["classify", "train.npz", "sales.csv", "--out=sales.csv"],
        "--out would overwrite sales.csv",
    ),
    "level": (["forecast", "sales.csv", "--level=180"], r"between 0 and 100.* found \[180"),
    "level for few rows": (["forecast", "sales.csv", "--h=4", "--level=99.9"], "at least 999"),
    "level as a share": (["forecast", "sales.csv", "--h=4", "--level=0.8"], "did you mean 80"),
    "level without rows": (
        ["forecast", "sales.csv", "--h=4", "--level=80", *NOTHING_HELD, "--training.epochs=9999"],
        "validation_fraction=0 leaves none; use a larger one",
    ),
    "no future": (["forecast", "sales.csv", "--futr_exog=b"], "values for the 32.*--future"),
    "future for nothing": (["forecast", "sales.csv", "--future=sales.csv"], "--futr_exog"),
    "future without a row": (
        ["forecast", "sales.csv", "--h=4", "--futr_exog=b", "--future=sales.csv"],
        r"sales\.csv: future values of 'b' are needed for 4.*2024-01-07T16.* 4 rows",
    ),
    "absent future": (["forecast", "sales.csv", "--futr_exog=b", "--future=no.csv"], "no.csv"),
    "absent covariate": (["forecast", "sales.csv", "--hist_exog=c"], "covariates: .*'c'"),
    "calendar": (["forecast", "sales.csv", "--calendar=eon"], "calendar must hold .*'eon'"),
    "null for a number": (["forecast", "sales.csv", "--training.epochs=null"], "epochs.*None"),
    "covariates of a loaded model": (
        ["forecast", "sales.csv", "--load=m", "--hist_exog=b", "--calendar=auto"],
        "leave out --hist_exog, --calendar",
    ),
    "future overwritten": (
        ["forecast", "sales.csv", "--future=plan.csv", "--out=plan.csv"],
        "--out would overwrite plan.csv",
    ),
    "text for numbers": (["regress", "train.npz"], "targets must be numbers, found '[^']+'; use"),
    "a folder": (["forecast", "."], "expected a table in a .csv.* found a folder"),
    "a page": (["forecast", "x.pdf"], r"x\.pdf: there is no such file"),
    "no number": (["forecast", "sales.csv", "--h=ten"], "--h: expected a whole number, found ten"),
    "no such choice": (
        ["forecast", "sales.csv", "--training.precision=int4"],
        "--training.precision: expected one of 'fp32', 'bf16', 'int8', found int4",
    ),
    "a config of rows": (["forecast", "sales.csv", "--config=sales.csv"], r"^.{1,400}$"),
    "far from all columns": (
        ["forecast", "sales.csv", "--target_cols=plums"],
        r"there is no column 'plums' \(found",
    ),
    "numbers held out": (["regress", "train.npz", "--test_fraction=0.99"], "cannot hold out 0.99"),
    "other channels": (["classify", "train.npz", "test.npz", "--quiet"], "channels"),
    "classes held out": (["classify", "train.npz", "--test_fraction=1.5"], "cannot hold out 1.5"),
    "unknown set": (["evaluate", "ETTh9"], "did you mean one of: .*ETTh1"),
    "protocol": (["evaluate", "ETTh1", "--protocol=kind"], "protocol"),
    "unknown set to verify": (["datasets", "verify", "ETTh9"], "did you mean one of: .*ETTh1"),
}


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder nobody can write to")
@pytest.mark.parametrize(
    "flag", ["--out=%s.csv", "--report=%s", "--json=%s", "--save=%s", "--resume=%s"]
)
@pytest.mark.usefixtures("_no_training")
def test_what_cannot_be_written_is_said_before_training(flag, table, capsys):
    before = here()
    assert main(["forecast", table, "--h=2", flag % "/proc/self/there"]) == 2
    shown = capsys.readouterr().err
    name = flag.partition("=")[0]
    assert re.match(rf"convtimenet: {name}: the folder /proc/.+ is not writable", shown)
    assert shown.count("\n") == 1
    assert here() == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.usefixtures("_no_training")
def test_a_pipe_is_not_replaced_by_a_file(table, capsys):
    os.mkfifo("pipe")
    assert main(["forecast", table, "--json=pipe"]) == 2
    assert "--json must be a file, pipe is a device or a pipe" in capsys.readouterr().err
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing_behind(mistake, table, capsys, request):
    arguments, message = MISTAKES[mistake]
    request.getfixturevalue("_no_training")
    write_cases("train.npz")
    write_cases("test.npz", 4, channels=3)
    before = {name: Path(name).read_bytes() for name in here()}
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("convtimenet: ")
    assert shown.count("\n") == 1
    assert "Traceback" not in shown
    assert re.search(message, shown), shown
    assert {name: Path(name).read_bytes() for name in here()} == before


def test_a_file_without_a_horizon(table, capsys):
    Path("flags.yaml").write_text("h: null\n")
    given = ["--training.epochs=1", "--quiet", *TINY]
    assert main(["forecast", table, "--config=flags.yaml", *given]) == 0
    assert "--h is not given: 32 steps (a fifth of the rows)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "mentioned"),
    [
        (
            "forecast",
            ["--h", "--out", "--save", "--load", "--report", "--test_fraction", "horizon"],
        ),
        ("forecast", ["--level", "--hist_exog", "--futr_exog", "--stat_exog", "--future"]),
        ("classify", ["--test_fraction", "--load", ".ts, .npz", "classes"]),
        ("regress", ["--test_fraction", "--load", ".ts, .npz", "@targetLabel", "R2"]),
        ("evaluate", ["--protocol", "honest", "--preset", "--seed", "--h"]),
        ("export", ["--format", "onnx-int8", "--to", "--check", "convtimenet.runtime", "parity"]),
        ("datasets", ["list", "fetch", "verify", "--json"]),
    ],
)
def test_help_of_each_command(command, mentioned, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert [word for word in mentioned if word not in shown] == []


def test_help_names_every_setting_of_the_configs(capsys):
    with pytest.raises(SystemExit):
        main(["forecast", "--help"])
    shown = capsys.readouterr().out
    elsewhere = {"head", "context_length", "outputs", "channels", "protocol", "device", "seed"}
    elsewhere |= {"hist_exog", "futr_exog", "stat_exog", "stat_categories", "members"}
    for group, config in (("model", ModelConfig), ("training", TrainConfig)):
        for name in set(config.__dataclass_fields__) - elsewhere:
            assert f"--{group}.{name}" in shown


def test_general_help_and_version(capsys):
    for flag, expected in (
        ("--help", "convtimenet forecast sales.csv"),
        ("--version", __version__),
    ):
        with pytest.raises(SystemExit) as ended:
            main([flag])
        assert ended.value.code == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, None)],
)
def test_threads_do_not_spin_for_long(given, expected, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # to be restored
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == expected


# Says when training has begun, and trains for hours.
_ENDLESS = """
import sys
from convtimenet.cli import main as cli
from convtimenet.estimators import base
train = base.train
def announced(*arguments, **settings):
    print("training", flush=True)
    return train(*arguments, **settings)
base.train = announced
sys.exit(cli.main(sys.argv[1:]))
"""


def test_interrupted_training_writes_nothing_and_exits_with_130(table):
    patience = ["--training.epochs=1000000", "--training.patience=1000000"]
    outputs = ["--h=4", "--out=f.csv", "--json=r.json", "--save=model"]
    process = Forked(_ENDLESS, "forecast", table, *outputs, *QUICK, *patience)
    assert process.first_line() == "training"
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate()
    assert process.returncode == 130
    assert shown == (
        "convtimenet: SIGINT stopped the training; nothing was written; use --resume FOLDER to be "
        "able to resume after a stop\n"
    )
    assert here() == {table}


def start(*arguments: str) -> Forked:
    """The command in a process of its own."""
    script = "import sys; from convtimenet.cli.main import main; sys.exit(main())"
    return Forked(script, *arguments)


def stopped(command: list[str], states: Path, steps: int, stop: int) -> tuple[int | None, str]:
    """Exit code and last words of the command, sent a signal once so many states were saved."""
    process = start(*command)
    while process.running():
        if any(int(path.name.split("-")[1]) >= steps for path in states.glob("choose-*")):
            process.send_signal(stop)
            break
        time.sleep(0.01)
    said = process.communicate()[1]
    return process.returncode, said


def test_a_stopped_training_goes_on_with_the_command_it_prints(table):
    """To the same weights and forecasts as one that ran through; a killed one leaves no partial
    files."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    often = ["--training.epochs=4", "--training.patience=null", "--training.batch_size=8"]
    often += ["--training.checkpoint_seconds=0", "--device=cpu", "--quiet", "--h=4", *TINY]
    assert main(["forecast", table, *often, "--save=whole", "--out=whole.csv"]) == 0
    torch.set_num_threads(threads)
    given = ["forecast", table, *often, "--save=model", "--out=f.csv", "--json=r.json"]
    given += ["--resume=my states"]
    before = {str(path) for path in Path().iterdir()}
    code, shown = stopped(given, Path("my states"), 5, signal.SIGTERM)
    said, printed = shown.splitlines()
    assert code == 143
    assert said == (
        "convtimenet: SIGTERM stopped the training; checkpoints are in my states, nothing else was "
        "written"
    )
    name, *command = shlex.split(printed.removeprefix("resume with: "))
    assert name == "convtimenet"
    assert stopped(command, Path("my states"), 20, signal.SIGKILL) == (-signal.SIGKILL, "")
    assert {str(path) for path in Path().iterdir()} == before | {"my states"}
    again = start(*command)
    assert again.communicate()[1] == ""
    assert again.returncode == 0
    for file in ("weights.safetensors", "data.safetensors"):
        assert Path("model", file).read_bytes() == Path("whole", file).read_bytes()
    assert Path("f.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_the_installed_command_reports_a_mistake_without_traceback():
    command = Path(sys.executable).with_name("convtimenet")
    if not command.exists():
        pytest.skip(f"no {command}: the package is not installed beside this Python")
    done = subprocess.run(
        [command, "forecast", "nowhere.csv"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "convtimenet: nowhere.csv: there is no such file; check the path\n"
