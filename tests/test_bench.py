"""Cells of a matrix: what is measured, and that a run loses and repeats nothing."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from common import DATA, needs_data
from forked import Forked
from torch import nn

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, __version__
from convtimenet.bench import lines
from convtimenet.bench import measure as measuring
from convtimenet.bench.estimates import Costs
from convtimenet.bench.matrix import Cell, Matrix
from convtimenet.bench.measure import hash_of, measure
from convtimenet.bench.models import (
    Fitted,
    classifier,
    fitted_forecaster,
    forecaster,
    forecasts_of,
    macs_of,
    seasonal_naive,
)
from convtimenet.bench.problems import CasesProblem, ForecastProblem, forecast_problem, load
from convtimenet.bench.ridge import ridge
from convtimenet.bench.runs import Plan, _lines_beside, _same_fits, run
from convtimenet.bench.unfinished import Spent, folder_of, remove
from convtimenet.cli.main import main
from convtimenet.config import ModelConfig
from convtimenet.data.labelled.cases import as_cases
from convtimenet.data.table_rows import crop
from convtimenet.errors import ConfigError, DataError
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.other import OtherNetwork
from convtimenet.network.smoothing import SmoothingNetwork
from convtimenet.runs.evaluation import evaluate_dataset


def running(session: int) -> list[str]:
    """Processes of a session that have not ended, as /proc tells."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
        except OSError:
            continue
        state, _, _, of = rest.split()[:4]
        if int(of) == session and state != "Z":
            found.append(name)
    return found


TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}

COMMAND = """
import os, sys
from convtimenet.cli.main import main
os.setsid()
sys.exit(main(sys.argv[1:]))
"""

MODELS = """
import multiprocessing, os, time
import numpy as np
from convtimenet.bench.models import Fitted

def constant(problem, seed, *, value=0.0):
    answer = np.full_like(problem.truth(), value + seed)
    return Fitted(predict=lambda: answer, config={"value": value})

def slow(problem, seed):
    time.sleep(0.5)
    return constant(problem, seed)

def fails(problem, seed):
    if not os.path.exists(os.path.join(os.path.dirname(__file__), "mended")):
        raise ArithmeticError("no convergence")
    return constant(problem, seed)

def series(name, horizon, protocol, *, rows):
    raise NotImplementedError

def dies(problem, seed):
    os.kill(os.getpid(), 9)

class Killer: # of its own process after the third epoch, once
    def on_epoch_end(self, progress):
        killed = os.path.join(os.path.dirname(__file__), "killed")
        of_a_run = multiprocessing.parent_process() is not None
        if of_a_run and progress.epoch == 3 and not os.path.exists(killed):
            open(killed, "w").close()
            os.kill(os.getpid(), 9)

def trained(problem, seed):
    from convtimenet.bench.models import forecaster
    model = {"linear": False, "d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}
    own = {"input_size": 12, "n_epochs": 5, "model": model, "callbacks": [Killer()]}
    training = {"checkpoint_seconds": 0.0, "lr": 0.01}
    return forecaster(problem, seed, preset="auto", training=training, **own)
"""

MATRIX = """
title = "Try"
[models.constant]
entry = "own:constant"
variants.zero = {{ value = 0.0 }}
variants.one = {{ value = 1.0 }}
[models.slow]
entry = "own:slow"
[models.fails]
entry = "own:fails"
[models.dies]
entry = "own:dies"
[models.trained]
entry = "own:trained"
[sets.mine]
path = "mine.csv"
[[runs]]
models = {models}
sets = ["mine"]
horizons = [4]
seeds = {seeds}
"""


@pytest.fixture
def matrix(tmp_path):
    """Write a matrix file with these models and seeds beside a module and a table."""

    def write(*models: str, seeds: tuple[int, ...] = (0,)) -> Matrix:
        (tmp_path / "own.py").write_text(MODELS)
        times = pd.date_range("2020-01-01", periods=100, freq="D")
        y = np.sin(np.arange(100) / 3) + 5
        pd.DataFrame({"time": times, "y": y}).to_csv(tmp_path / "mine.csv", index=False)
        path = tmp_path / "try.toml"
        path.write_text(MATRIX.format(models=list(models), seeds=list(seeds)))
        return Matrix.read(path)

    return write


def daily(values: np.ndarray) -> pd.DataFrame:
    """A frame of values (T, C) of as many days."""
    frame = pd.DataFrame(values, columns=[f"c{c}" for c in range(values.shape[1])])
    frame.insert(0, "time", pd.date_range("2020-01-01", periods=len(values), freq="D"))
    return frame


def problem(rows: int = 400, horizon: int = 4, channels: int = 2, **changed) -> ForecastProblem:
    """Noisy waves, 70 % to train and 10 % to validate."""
    rng = np.random.default_rng(3)
    t = np.arange(rows)
    waves = [np.sin(t / (3 + c)) * (c + 1) + 10 * c for c in range(channels)]
    values = np.stack(waves, 1) + 0.1 * rng.standard_normal((rows, channels))
    table = ConvTimeNetForecaster(1).read(daily(values))
    split = {"train_end": 280, "valid_end": 320, "test_end": rows} | changed
    return forecast_problem("waves", horizon, "honest", table, **split)


class TestProblems:
    def test_the_test_windows_are_all_of_them_whatever_the_context(self):
        made = problem()
        truth = made.truth()
        assert truth.shape == (80 - 4 + 1, 2, 4)
        for context in (1, 12, 100):
            windows = made.windows("test", context)
            y = windows.batch(torch.arange(len(windows))).y.numpy()
            np.testing.assert_array_equal(y, truth)
        scaled = made.scaler.apply(made.table.values.T)
        np.testing.assert_allclose(truth[5], scaled[:, 325:329], rtol=1e-6)
        np.testing.assert_allclose(scaled[:, :280].mean(1), 0, atol=1e-9)

    def test_train_windows_do_not_reach_into_validation(self):
        made = problem()
        windows = made.windows("train", 12)
        assert int(windows.starts.max()) + 12 + 4 == 280
        windows = made.windows("validation", 12)
        assert int(windows.starts.min()) + 12 == 280
        assert int(windows.starts.max()) + 12 + 4 == 320

    def test_scores_are_those_of_the_definitions(self):
        made = problem()
        guess = made.truth() + np.array([0.5, -0.1])[:, None]
        found = made.scores(guess)
        change = (made.scaled[:, 7:320] - made.scaled[:, :313]).abs().mean(1).numpy()
        assert found["mse"] == pytest.approx((0.25 + 0.01) / 2, rel=1e-5)
        assert found["mae"] == pytest.approx(0.3, rel=1e-5)
        assert found["mase"] == pytest.approx((0.5 / change[0] + 0.1 / change[1]) / 2, rel=1e-5)

    def test_fewer_rows_than_a_season_have_no_mase(self):
        made = problem(rows=20, train_end=None, valid_end=6, test_end=10)
        assert set(made.scores(made.naive())) == {"mse", "mae"}

    def test_naive_repeats_the_last_week_of_daily_rows(self):
        made = problem(horizon=10)
        naive = made.naive()
        scaled = made.scaled.numpy()
        np.testing.assert_array_equal(naive[0, :, :7], scaled[:, 313:320])
        np.testing.assert_array_equal(naive[0, :, 7:], scaled[:, 313:316])

    def test_missing_values_are_refused_before_a_model_sees_them(self, tmp_path):
        frame = pd.DataFrame(
            {"time": pd.date_range("2020-01-01", periods=50), "y": np.arange(50.0)}
        )
        frame.loc[7, "y"] = np.nan
        frame.to_csv(tmp_path / "gap.csv", index=False)
        with pytest.raises(DataError, match="without missing values"):
            load("gap", 3, "honest", tmp_path / "gap.csv")

    def test_a_table_and_a_folder_of_cases_are_read_by_path(self, tmp_path):
        frame = pd.DataFrame(
            {"time": pd.date_range("2020-01-01", periods=50), "y": np.arange(50.0)}
        )
        frame.to_csv(tmp_path / "mine.csv", index=False)
        made = load("mine", 3, "honest", tmp_path / "mine.csv")
        assert isinstance(made, ForecastProblem)
        assert (made.train_end, made.valid_end, made.test_end) == (35, 40, 50)
        folder = tmp_path / "Toy"
        folder.mkdir()
        for part, n in (("TRAIN", 6), ("TEST", 4)):
            values = np.arange(n * 2 * 5, dtype=np.float32).reshape(n, 2, 5)
            np.savez(folder / f"Toy_{part}.npz", X=values, y=np.array(["a", "b"] * (n // 2)))
        made = load("Toy", None, "honest", folder)
        assert isinstance(made, CasesProblem)
        assert made.train.values.shape == (6, 2, 5)
        assert made.scores(np.array(["a"] * 4)) == {"accuracy": 0.5, "balanced_accuracy": 0.5}
        with pytest.raises(ConfigError, match="leave horizons out"):
            load("Toy", 3, "honest", folder)
        (folder / "Toy_TEST.npz").unlink()
        with pytest.raises(DataError, match="TEST in its name, found none"):
            load("Toy", None, "honest", folder)


class TestModels:
    def test_ridge_solves_the_least_squares_problem_it_names(self):
        made = problem()
        fitted = ridge(made, 0, contexts=(12,), penalties=(1e-9,))
        rows, targets = [], []
        scaled = made.scaled.double().numpy()
        for start in range(280 - 16 + 1):
            for c in range(2):
                x, y = scaled[c, start : start + 12], scaled[c, start + 12 : start + 16]
                rows.append(np.append(x - x.mean(), np.sqrt(x.var() + 1e-5)))
                targets.append(y - x.mean())
        weights = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
        x = scaled[:, 308:320]
        mean, deviation = x.mean(1, keepdims=True), np.sqrt(x.var(1, keepdims=True) + 1e-5)
        expected = np.hstack([x - mean, deviation]) @ weights + mean
        np.testing.assert_allclose(fitted.predict()[0], expected, atol=1e-4)
        assert fitted.parameters == 13 * 4

    def test_ridge_chooses_by_validation_and_never_by_test(self):
        made = problem()
        fitted = ridge(made, 0, contexts=(8, 24))
        errors = fitted.chosen["validation"]
        assert fitted.chosen["context"] == int(min(errors, key=errors.get))
        made.scaled[:, 320:] += 100  # the rows that are scored
        assert ridge(made, 0, contexts=(8, 24)).chosen == fitted.chosen

    @needs_data
    @pytest.mark.parametrize("protocol", ["honest", "paper"])
    def test_our_cell_is_what_evaluate_gives(self, protocol, monkeypatch):
        monkeypatch.setenv("CONVTIMENET_DATA", str(DATA))
        made = load("ILI", 24, protocol)
        assert isinstance(made, ForecastProblem)
        settings = {"n_epochs": 1, "model": TINY}
        fitted = forecaster(made, 7, preset="paper", **settings)
        predicted = fitted.predict()
        asked = {**settings, "random_state": 7, "verbose": 0}
        result = evaluate_dataset("ILI", h=24, protocol=protocol, settings=asked).result
        assert len(predicted) == result.n_test == {"honest": 170, "paper": 128}[protocol]
        for name in ("mse", "mae"):
            assert made.scores(predicted)[name] == pytest.approx(result.scores[name], rel=1e-5)
        naive = seasonal_naive(made, 0).predict()
        assert made.scores(naive)["mse"] == pytest.approx(result.baseline["mse"], rel=1e-5)
        assert fitted.parameters == result.parameters

    @pytest.mark.parametrize("protocol", ["honest", "paper"])
    def test_a_network_reads_its_own_units_and_is_scored_in_those_of_the_problem(self, protocol):
        season = 10 + 6 * np.sin(np.arange(120) * np.pi / 3.5)
        noise = np.exp(0.25 * np.random.default_rng(1).standard_normal(120))
        values = (season * np.linspace(1, 3, 120) * noise)[:, None]
        table = ConvTimeNetForecaster(1).read(daily(values))
        made = forecast_problem("waves", 4, protocol, table, 60, 80, 120)
        model = ConvTimeNetForecaster(4, quality="fast", verbose=0)
        model.fit(crop(table, 0, 80), split=(60, 80), refit=False)
        assert isinstance(model.network_, SmoothingNetwork)  # of which 0 means none
        assert model.scaler_.centre.tolist() == [[0.0]]
        predicted = forecasts_of(model, made)
        assert len(predicted) == len(made.truth()) == {"honest": 37, "paper": 32}[protocol]
        found = model.evaluate(table, first_row=80, end=83 + len(predicted)).scores
        for name in ("mse", "mae"):
            assert made.scores(predicted)[name] == pytest.approx(found[name], rel=1e-5)

    def test_without_a_split_the_forecast_is_what_a_user_gets(self):
        made = problem(train_end=None, valid_end=396)
        fitted = forecaster(made, 5, preset="auto", n_epochs=1, model=TINY)
        own = ConvTimeNetForecaster(4, n_epochs=1, model=TINY, random_state=5, verbose=0)
        frame = pd.DataFrame(made.table.values[:396])
        frame.insert(0, "time", made.table.times[:396])
        expected = own.fit(frame).predict(frame).to_numpy()[:, 1:].astype(float)
        np.testing.assert_allclose(
            made.scaler.invert(fitted.predict()[0]).T, expected, rtol=1e-5, atol=1e-5
        )

    def test_macs_are_those_of_the_layers(self):
        config = ModelConfig.forecasting(context_length=336, horizon=8, kernel_sizes=(5,))
        network = ConvTimeNet(config).eval()
        N, D, F = config.n_patches, config.d_model, config.d_ff
        predictor = 32 * 64 + 64 * 2
        convolution = D * N * N  # a banded matrix per channel
        expected = N * (predictor + 32 * D + 2 * D * F) + convolution + N * D * 8
        assert macs_of(network, torch.zeros(1, 1, 336)) == expected

    def test_another_network_is_trained_and_answers_through_our_estimators(self):
        class Linear(ConvTimeNetForecaster):
            def _new_network(self, config):
                return OtherNetwork(nn.Linear(config.context_length, config.outputs), config)

        made = problem()
        settings = {"preset": "auto", "input_size": 24, "n_epochs": 30, "training": {"lr": 0.01}}
        fitted = fitted_forecaster(Linear, made, 1, **settings)
        assert fitted.parameters == 25 * 4
        assert fitted.macs() == 2 * 24 * 4
        assert made.scores(fitted.predict())["mse"] < 0.3 * made.scores(made.naive())["mse"]

    def test_macs_are_those_of_all_channels_also_without_scaling(self):
        made, settings = problem(), {"input_size": 24, "n_epochs": 1, "model": TINY}
        alone = problem(channels=1)
        with_one, unscaled = (
            forecaster(one, 1, preset="auto", **settings, scale=False).macs()
            for one in (alone, made)
        )
        assert with_one
        assert unscaled == 2 * with_one

    def test_another_classifier_too(self):
        class Means(nn.Module):
            def __init__(self, channels, classes):
                super().__init__()
                self.out = nn.Linear(channels, classes)

            def forward(self, x):
                return self.out(x.mean(-1))

        class Other(ConvTimeNetClassifier):
            def _new_network(self, config):
                return OtherNetwork(Means(config.channels, config.outputs), config)

        rng = np.random.default_rng(0)
        labels = np.array(["low", "high"] * 20)
        values = rng.standard_normal((40, 3, 16)) + np.where(labels == "low", -1, 1)[:, None, None]
        cases = as_cases(values, labels)
        made = CasesProblem(name="toy", protocol="honest", train=cases, test=cases)
        from convtimenet.bench.models import fitted_classifier

        fitted = fitted_classifier(Other, made, 0, n_epochs=60, training={"lr": 0.05})
        assert made.scores(fitted.predict())["accuracy"] == 1.0
        ours = classifier(made, 0, preset="auto", n_epochs=2, model=TINY)
        assert set(ours.predict()) <= {"low", "high"}


class TestRuns:
    def test_every_cell_once_and_the_line_says_all(self, matrix, tmp_path):
        made, out = matrix("constant.zero", "constant.one", seeds=(0, 1)), tmp_path / "r.jsonl"
        assert run(made, out, verbose=0, jobs=2) == {}
        assert run(made, out, verbose=0) == {}
        found = lines.read(out)
        keys = [Cell(**line["cell"]).key for line in found]
        assert sorted(keys) == sorted(cell.key for cell in made.cells)
        assert len(keys) == 4
        line = lines.by_key(found)["constant.one:mine-4:honest:1"]
        values = pd.read_csv(tmp_path / "mine.csv")["y"].to_numpy()
        scaled = (values - values[:70].mean()) / values[:70].std()
        windows = np.lib.stride_tricks.sliding_window_view(scaled[80:], 4)
        assert line["n_test"] == len(windows) == 17
        assert line["scores"]["mse"] == pytest.approx(np.square(2 - windows).mean(), rel=1e-5)
        assert line["predictions"] == hash_of(np.full((17, 1, 4), 2.0, dtype=np.float32))
        assert line["config"] == {"value": 1.0}
        assert line["versions"]["torch"] == torch.__version__
        assert line["machine"]["threads"] == 1
        assert line["peak_memory_mib"] > 50
        assert {"fit", "predict"} == set(line["cpu_seconds"]) == set(line["wall_seconds"])

    def test_a_cell_again_gives_its_numbers_again(self, matrix):
        made = matrix("constant.one")
        first, second = (measure(made, made.cells[0], 1) for _ in range(2))
        assert first["predictions"] == second["predictions"]
        assert first["scores"] == second["scores"]

    def test_multiply_adds_are_counted_when_the_clocks_have_stopped(self, matrix, monkeypatch):
        made, events = matrix("constant.one"), []

        def fit(problem, seed, **settings):
            answer = np.zeros_like(problem.truth())

            def macs():
                events.append("count")
                return 7

            return Fitted(predict=lambda: answer, macs=macs)

        clocks = Spent.clocks
        monkeypatch.setattr(measuring, "imported", lambda *_: fit)
        monkeypatch.setattr(Spent, "clocks", lambda self: events.append("clock") or clocks(self))
        assert measure(made, made.cells[0], 1)["macs"] == 7
        assert events == ["clock"] * 2 + ["count"]

    def test_what_fails_costs_one_cell_and_is_tried_again(self, matrix, tmp_path):
        made, out = matrix("fails", "dies", "constant.zero"), tmp_path / "r.jsonl"
        errors = run(made, out, verbose=0)
        assert errors == {
            "fails:mine-4:honest:0": "ArithmeticError: no convergence",
            "dies:mine-4:honest:0": "its process ended with signal 9, without a result",
        }
        assert set(lines.by_key(lines.read(out))) == {"constant.zero:mine-4:honest:0"}
        (tmp_path / "mended").touch()
        assert set(run(made, out, verbose=0)) == {"dies:mine-4:honest:0"}
        assert len(lines.by_key(lines.read(out))) == 2

    def test_a_cell_whose_settings_are_edited_runs_again(self, matrix, tmp_path, capsys):
        made, out = matrix("constant.zero", "constant.one"), tmp_path / "r.jsonl"
        assert run(made, out, verbose=0) == {}
        text = made.path.read_text()
        made.path.write_text(text.replace("value = 1.0", "value = 3.0"))
        command = ["bench", "run", str(made.path), "--out", str(out)]
        assert main([*command, "--dry_run"]) == 0
        told = capsys.readouterr().out
        assert "one:mine-4:honest:0: about" in told
        assert "its result is of other settings" in told
        assert "1 of 2 cells to run" in told
        assert main(["bench", "report", *command[2:], "--report", str(tmp_path / "page")]) == 0
        page = (tmp_path / "page" / "try.md").read_text()
        assert "- Cells with a result: 1 of 2" in page
        assert (
            "Left out: results with other settings or data than the matrix has now, of constant.one"
            in (page)
        )
        assert main(command) == 0
        assert "1 have one with other settings or data than now" in capsys.readouterr().err
        assert [one["config"]["value"] for one in lines.read(out)] == [0.0, 1.0, 3.0]
        made.path.write_text(text)  # the first result counts again
        found, outdated = lines.of_matrix(Matrix.read(made.path), lines.read(out))
        assert (found["constant.one:mine-4:honest:0"]["config"]["value"], outdated) == (1.0, [])

    def test_every_committed_line_of_a_cell_counts(self):
        """Settings of the matrices were named anew since; lines that mean the same still count."""
        folder = Path(__file__).parents[1] / "benchmarks" / "evidence"
        for path in sorted(folder.glob("*.toml")):
            if path.stem != "published":
                made = Matrix.read(path)
                assert lines.of_matrix(made, lines.read(made.results))[1] == [], path

    @needs_data
    def test_the_same_fit_is_taken_from_another_matrix_beside_it(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CONVTIMENET_DATA", str(DATA))
        text = """
[models.{name}]
entry = "convtimenet.bench.ridge:ridge"
variants.a = {{ contexts = [{context}] }}
[[runs]]
models = ["{name}.a"]
sets = ["ILI"]
horizons = [24]
"""
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "another.jsonl").write_text('{"set": "ILI", "mse": 2.0}\n')
        monkeypatch.setattr("convtimenet.bench.runs.commit_of_package", lambda: "abc")
        for file, name, context in (("one", "x", 36), ("two", "y", 36), ("three", "z", 52)):
            path = tmp_path / f"{file}.toml"
            path.write_text(text.format(name=name, context=context))
            made = Matrix.read(path)
            assert run(made, made.results, verbose=0) == {}
            (line,) = lines.read(made.results)  # another process measured it
            made.results.write_text(json.dumps(line | {"commit": "abc"}) + "\n")
        (one,), (two,), (three,) = (
            lines.read(tmp_path / "results" / f"{file}.jsonl") for file in ("one", "two", "three")
        )
        assert two["taken_from"] == "one.jsonl"
        assert two["cell"] == one["cell"] | {"model": "y"}
        assert two["scores"] == one["scores"]
        assert "taken_from" not in three

    def test_the_committed_results_can_be_looked_through(self):
        folder = Path(__file__).parents[1] / "benchmarks" / "results" / "evidence"
        assert len(_same_fits(_lines_beside(folder / "matrix.jsonl"))) > 100

    def test_of_another_commit_the_papers_settings_are_taken(self, tmp_path):
        """Golden values hold what they mean; those of the defaults change."""
        cell = {"dataset": "ILI", "horizon": 24, "model": "x", "variant": "", "protocol": "honest"}
        with (tmp_path / "other.jsonl").open("w") as file:
            for seed, preset in enumerate(("paper", "auto")):
                model = {"entry": "m:f", "settings": {"preset": preset}}
                line = {"cell": {**cell, "seed": seed}, "model": model, "commit": "another"}
                file.write(json.dumps({**line, "scores": {"mse": 2.0}}) + "\n")
        (taken,) = _same_fits(_lines_beside(tmp_path / "own.jsonl")).values()
        assert taken["cell"]["seed"] == 0
        assert taken["taken_from"] == "other.jsonl"

    @pytest.mark.parametrize(
        ("commit", "of", "version", "taken"),
        [
            ("abc", "abc", __version__, True),
            ("abc", "def", __version__, False),
            ("abc", "abc", "0.0.1", False),
            ("abc+", "abc+", __version__, False),  # changes may differ
            (None, None, __version__, False),
        ],
    )
    def test_results_are_taken_only_of_the_same_code(
        self, tmp_path, monkeypatch, commit, of, version, taken
    ):
        monkeypatch.setattr("convtimenet.bench.runs.commit_of_package", lambda: commit)
        cell = Cell("ILI", 24, "x", "", "honest", 0)
        line = {"cell": vars(cell), "model": {"entry": "m:f", "settings": {}}, "commit": of}
        line |= {"scores": {"mse": 2.0}, "versions": {"convtimenet": version}}
        (tmp_path / "other.jsonl").write_text(json.dumps(line) + "\n")
        assert len(_same_fits(_lines_beside(tmp_path / "own.jsonl"))) == taken

    @needs_data
    def test_a_fit_of_another_commit_is_not_taken(self, tmp_path, monkeypatch):
        """Defaults change, and with them what the same settings mean."""
        monkeypatch.setenv("CONVTIMENET_DATA", str(DATA))
        text = """
[models.x]
entry = "convtimenet.bench.ridge:ridge"
variants.a = { contexts = [36] }
[[runs]]
models = ["x.a"]
sets = ["ILI"]
horizons = [24]
"""
        for file in ("one", "two"):
            path = tmp_path / f"{file}.toml"
            path.write_text(text)
            made = Matrix.read(path)
            assert run(made, made.results, verbose=0) == {}
            of_one = tmp_path / "results" / "one.jsonl"
            (line,) = lines.read(of_one)
            of_one.write_text(json.dumps(line | {"commit": "another"}) + "\n")
        (two,) = lines.read(tmp_path / "results" / "two.jsonl")
        assert "taken_from" not in two

    def test_a_killed_run_goes_on(self, matrix, tmp_path, capsys):
        made, out = matrix("slow", seeds=(0, 1)), tmp_path / "r.jsonl"
        command = ["bench", "run", str(made.path), "--out", str(out), "--jobs", "1"]
        process = Forked(COMMAND, *command)
        while process.running() and len(lines.read(out)) < 1:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = lines.by_key(lines.read(out))
        assert len(done) == 1
        time.sleep(1.0)  # a cell left behind would write or hold nothing
        assert main(command) == 0  # here, as another process would import all anew
        assert f"{len(done)} of 2 cells have a result" in capsys.readouterr().err
        keys = [Cell(**line["cell"]).key for line in lines.read(out)]
        assert sorted(keys) == sorted(cell.key for cell in made.cells)

    def test_a_killed_cell_goes_on_from_its_checkpoints(
        self, matrix, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.setattr("convtimenet.bench.unfinished.commit_of_package", lambda: "abc")
        made, out = matrix("trained"), tmp_path / "r.jsonl"
        (cell,) = made.cells
        whole = measure(made, cell, 1)
        assert "kills" not in whole
        assert "signal 9" in run(made, out, verbose=0)[cell.key]
        kept = folder_of(out, made, cell, None)
        assert kept is not None
        note = json.loads((kept / "spent.json").read_text())
        assert note["starts"] == 1
        (kept / "spent.json").write_text(json.dumps(note | {"cpu": 7000.0, "memory": 90_000}))
        assert run(made, out, verbose=1) == {}
        assert f"{cell.key} goes on from where it was stopped" in capsys.readouterr().err
        line = lines.by_key(lines.read(out))[cell.key]
        for name in ("predictions", "scores", "chosen", "config"):
            assert line[name] == json.loads(json.dumps(whole[name])), name
        assert line["kills"] == 1
        assert 7000 < line["cpu_seconds"]["fit"] < 7100
        assert line["peak_memory_mib"] == 90_000
        assert not kept.parent.exists()

    @pytest.mark.parametrize(
        ("commit", "seconds", "kept"),
        [
            ("abc", None, True),
            ("abc", 3600.0, True),
            ("abc", 60.0, False),
            ("abc+", 3600.0, False),
            (None, 3600.0, True),
        ],
    )
    def test_long_cells_of_named_code_are_kept(
        self, matrix, tmp_path, monkeypatch, commit, seconds, kept
    ):
        made, out = matrix("trained", "constant.one"), tmp_path / "r.jsonl"
        monkeypatch.setattr("convtimenet.bench.unfinished.commit_of_package", lambda: commit)
        found = folder_of(out, made, made.cells[0], seconds)
        assert (found is not None) == kept
        if found is None:
            return
        assert folder_of(out, made, made.cells[1], seconds) != found
        with monkeypatch.context() as changed:
            changed.setattr("convtimenet.bench.unfinished.commit_of_package", lambda: "abd")
            later = folder_of(out, made, made.cells[0], seconds)
        assert later is not None
        assert later != found
        for folder in (found, later, other := found.with_name("another")):
            folder.mkdir(parents=True)
        remove(out, made.cells[0])
        assert [*found.parent.iterdir()] == [other]

    def test_ctrl_c_stops_the_cells_too(self, matrix, tmp_path):
        made, out = matrix("slow", seeds=tuple(range(50))), tmp_path / "r.jsonl"
        flags = ["--out", out, "--jobs", "2"]
        process = Forked(COMMAND, "bench", "run", made.path, *flags)
        while process.running() and len(lines.read(out)) < 1:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(60)
        assert process.returncode == 130
        before = len(lines.read(out))
        time.sleep(1.5)
        assert len(lines.read(out)) == before
        end = time.monotonic() + 60
        while running(process.pid) and time.monotonic() < end:
            time.sleep(0.05)  # the server that forks the cells ends after them
        assert running(process.pid) == []

    def test_two_runs_at_once_are_refused(self, matrix, tmp_path):
        made, out = matrix("constant.zero"), tmp_path / "r.jsonl"
        with lines.alone(out), pytest.raises(ConfigError, match="is being written by process"):
            run(made, out, verbose=0)

    def test_a_cell_whose_data_are_edited_runs_again(self, matrix, tmp_path):
        """Another file at the path, more rows in it, or other settings of the set's function."""
        made, out = matrix("constant.zero"), tmp_path / "r.jsonl"

        def left(path: Path = made.path) -> int:
            again = Matrix.read(path)
            return len(Plan.of(again, again.cells, out).left)

        assert run(made, out, verbose=0) == {}
        assert left() == 0
        table, text = tmp_path / "mine.csv", made.path.read_text()
        rows = table.read_text()
        table.write_text(rows.replace("5.0", "6.0", 1))
        assert left() == 1
        table.rename(tmp_path / "away.csv")  # nothing there that could tell
        assert left() == 0
        table.write_text(rows)
        assert left() == 0
        made.path.write_text(text.replace('path = "mine.csv"', 'entry = "own:series"\nrows = 9'))
        assert left() == 1
        (line,) = lines.read(out)
        out.write_text(json.dumps({k: v for k, v in line.items() if k != "data"}) + "\n")
        assert left() == 0  # of a version that did not write them

    def test_costs_are_those_of_the_model_times_those_of_the_set(self):
        def line(entry: str, dataset: str, seed: int, seconds: float) -> dict:
            cell = Cell(dataset, 96, "any", "", "honest", seed)
            spent = {"fit": seconds - 1, "predict": 1}
            return {"cell": vars(cell), "model": model(entry), "cpu_seconds": spent}

        def model(entry: str, **settings) -> dict:
            return {"entry": entry, "settings": settings}

        def cost(dataset: str, entry: str, **settings) -> float | None:
            return costs.of(Cell(dataset, 96, "b", "", "honest", 9), model(entry, **settings))

        own = [
            line("m:a", "short", 1, 10),
            line("m:a", "short", 2, 14),
            line("m:a", "long", 1, 120),
        ]
        own += [line("m:b", "short", 1, 40)]
        beside = [
            line("m:c", "short", 1, 2),
            line("m:c", "wide", 1, 200),
            line("m:b", "short", 1, 7),
        ]
        costs = Costs(own, beside)
        assert cost("short", "m:a") == 12  # measured
        assert cost("short", "m:b") == 40  # here, not beside
        assert cost("wide", "m:c") == 200
        assert cost("long", "m:b") == pytest.approx(400, rel=0.35)  # of ten times the cost
        # known from beside alone, with less weight
        assert cost("wide", "m:a") == pytest.approx(300, rel=0.8)
        assert cost("short", "m:a", depth=3) == pytest.approx(12, rel=0.5)  # as without
        assert cost("short", "m:d") is None
        assert Costs([], []).of(Cell("short", 96, "b", "", "honest", 9), model("m:a")) is None

    @pytest.mark.parametrize(
        ("name", "middle", "most"), [("matrix", 2.0, 6.0), ("ablation", 1.4, 2.5)]
    )
    def test_costs_of_the_committed_cells_are_near(self, name, middle, most):
        """About a hundred, each estimated without any line of its model on its set, as before it
        ran."""
        folder = Path(__file__).parents[1] / "benchmarks" / "results" / "evidence"
        own = [one for one in lines.read(folder / f"{name}.jsonl") if "scores" in one]
        beside = _lines_beside(folder / f"{name}.jsonl")
        factors = []
        for held in own[:: max(1, len(own) // 100)]:
            cell = Cell(**held["cell"])

            def other(one, cell=cell, held=held):
                there = Cell(**one["cell"]).where != cell.where
                return there or one.get("model") != held.get("model")

            model = held.get("model") or {"entry": cell.model, "settings": cell.variant}
            costs = Costs(filter(other, own), filter(other, beside))
            guess, truth = costs.of(cell, model), sum(held["cpu_seconds"].values())
            if guess is not None and truth > 1:
                factors.append(max(guess / truth, truth / guess))
        assert len(factors) > 5
        assert np.median(factors) < middle
        assert np.quantile(factors, 0.8) < most

    def test_a_plan_tells_what_is_taken_from_other_files(self, tmp_path, capsys):
        """The dry run lists what runs, and nothing that has run elsewhere."""
        made = tmp_path / "own.toml"
        made.write_text("""
[models.x]
entry = "convtimenet.bench.models:forecaster"
variants.paper = { preset = "paper" }
[[runs]]
models = ["x.paper"]
sets = ["ILI"]
horizons = [24]
seeds = [1, 2]
""")
        matrix = Matrix.read(made)
        model = {"entry": "convtimenet.bench.models:forecaster", "settings": {"preset": "paper"}}
        cell = Cell("ILI", 24, "theirs", "", "honest", 1)
        line = {"cell": vars(cell), "model": model, "scores": {"mse": 2.0}}
        line |= {"cpu_seconds": {"fit": 61.0, "predict": 0.0}}
        matrix.results.parent.mkdir(exist_ok=True)
        (matrix.results.parent / "other.jsonl").write_text(json.dumps(line) + "\n")
        plan = Plan.of(matrix, matrix.cells, matrix.results)
        (left,) = plan.left
        assert left.seed == 2
        assert plan.costs == {left: 61}
        assert [one["cell"]["model"] for one in plan.taken] == ["x"]
        assert main(["bench", "run", str(made), "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "1 cells have run for other files" in said
        assert "1 of 2 cells to run: about 1:01 of CPU time" in said
        assert not matrix.results.exists()

    def test_command_line_lists_costs_and_refuses_what_there_is_not(self, matrix, tmp_path, capsys):
        command = ["bench", "run", str(matrix("constant.zero", "slow").path)]
        assert main([*command, "--only", "slow"]) == 0
        assert main([*command, "--dry-run"]) == 0
        listed = capsys.readouterr().out
        assert "constant.zero:mine-4:honest:0: unknown cost" in listed
        assert "1 of 2 cells to run" in listed
        assert json.loads((tmp_path / "results" / "try.jsonl").read_text())["n_test"] == 17
        assert main([*command, "--only", "fast"]) == 2
        assert "no cell of" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('["mine"]', '["ETTh9"]', "did you mean ETTh"),
            ("mine.csv", "absent.csv", "found nothing there; correct the path"),
            ('title = "Try"', 'published = "absent.toml"', "published names the file"),
            ("own:constant", "own:constnat", "cannot import own:constnat"),
        ],
    )
    @pytest.mark.parametrize("flags", [[], ["--dry_run"]])
    def test_what_cannot_run_ends_the_command(self, matrix, capsys, old, new, message, flags):
        path = matrix("constant.zero").path
        path.write_text(path.read_text().replace(old, new))
        assert main(["bench", "run", str(path), *flags]) == 2
        told = capsys.readouterr()
        assert message in " ".join(told.err.split())
        assert "unknown cost" not in told.out

    def test_a_model_that_cannot_be_imported_is_named(self, matrix):
        made = matrix("constant.zero")
        text = made.path.read_text().replace("own:constant", "absent:constant")
        Path(made.path).write_text(text)
        with pytest.raises(ConfigError, match="cannot import absent:constant"):
            measure(Matrix.read(made.path), made.cells[0], 1)
