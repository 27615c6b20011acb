"""A first training is scored, a second one on all rows forecasts."""

from __future__ import annotations

import json
import os
import re
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convtimenet import ConvTimeNetForecaster, scores
from convtimenet.cli.main import main
from convtimenet.config import TrainConfig
from convtimenet.data.tables import read_table
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.inferred import season_of
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators import base
from convtimenet.estimators.forecasting import pretraining
from convtimenet.estimators.forecasting.retraining import FOLDS, fold_starts
from convtimenet.estimators.portfolio import second_config
from convtimenet.estimators.presets.paper import paper_preset
from convtimenet.report._network import training_section
from convtimenet.runs.forecasting import default_horizon, forecast_table, horizon_reason
from convtimenet.training.history import Epoch, History, Second

TINY: dict[str, Any] = {
    "d_model": 8,
    "d_ff": 16,
    "kernel_sizes": (3,),
    "patch_size": 4,
    "patch_stride": 2,
}


def forecaster(**given: Any) -> ConvTimeNetForecaster:
    fixed = {"h": 4, "input_size": 12, "n_epochs": 2, "device": "cpu", "verbose": 0, "model": TINY}
    return ConvTimeNetForecaster(**(fixed | given))


def waves(T: int = 100, C: int = 2, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(T, C))
    return 5 + np.sin(np.arange(T)[:, None] / (2 + np.arange(C))) + noise


def hourly(values: np.ndarray, start: str = "2024-01-01") -> pd.DataFrame:
    times = pd.date_range(start, periods=len(values), freq="h", name="date")
    columns = {f"c{i}": values[:, i] for i in range(values.shape[1])}
    return pd.DataFrame({"date": times, **columns})


def panel(lengths: tuple[int, ...] = (60, 40, 9)) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "unique_id": f"s{i}",
                "ds": pd.date_range("2024-01-01", periods=T, freq="D"),
                "y": 10.0**i * waves(T, 1, seed=i)[:, 0],
            }
        )
        for i, T in enumerate(lengths)
    ]
    return pd.concat(parts, ignore_index=True)


class TestSecondTraining:
    @pytest.mark.parametrize(
        ("second", "said"),
        [
            (Second(True, 8, 40), "Its weights were trained further, on all data, for 8 epo"),
            (Second(False, 1, 5), "New ones were trained, on all data, for 1 epoch."),
            (Second(True, 0, 0), "what is solved in closed form was solved again, on all data."),
            (None, "The network was then trained a second time, on all data."),
        ],
    )
    def test_the_report_says_what_it_did(self, second, said):
        epochs = [Epoch(n, 1.0, {"mse": 2.0}, 1e-3, 0.1) for n in (1, 2, 3, 4)]
        history = History(epochs, 4, "done", "cpu", 20, refitted=True, second=second)
        values = history.to_dict()
        assert History.from_dict(values) == history
        if second is None:  # as models of earlier versions have it
            del values["second"]
            assert History.from_dict(values) == history
        assert said in training_section(history, "mse", "").body

    @pytest.mark.parametrize("refit", [None, True, "continue"])
    def test_the_forecast_is_the_seconds_and_the_scores_are_the_firsts(self, refit):
        frame = hourly(waves())
        first = forecaster(refit=False).fit(frame)
        model = forecaster(refit=refit).fit(frame)
        assert model.history_.refitted
        assert model.history_.second is not None
        assert model.history_.second.goes_on == (refit is not True)
        assert (model.history_.second.epochs, model.history_.second.steps) == (1, 10)
        assert model.scored_ is not None
        assert model.forecasts_from is not None
        assert "2024-01-05T03" in model.forecasts_from
        pd.testing.assert_frame_equal(model.scored_.predict(), first.predict())
        assert not model.predict().equals(first.predict())
        assert model.scores_ == first.scores_
        assert model.calibration_ is not None
        assert first.calibration_ is not None
        np.testing.assert_array_equal(model.calibration_.radii, first.calibration_.radii)
        assert (
            model.evaluate(frame, first_row=80).scores == first.evaluate(frame, first_row=80).scores
        )

    @pytest.mark.parametrize("covariates", [False, True])
    def test_without_time_for_it_the_closed_form_learns_from_all_rows(
        self, covariates, monkeypatch, tmp_path
    ):
        """Where the network does not count, the forecast is that of quality="fast"."""
        values = waves(200)
        values[160:, 0] = 9 + np.sin(np.arange(40))  # what the first training does not see
        frame = hourly(values)
        given = {"futr_exog": ["c1"]} if covariates else {}
        whole = base.train

        def useless(model: Any, *rest: Any, **settings: Any) -> Any:
            history = whole(model, *rest, **settings)
            model.granted.fill_(0)
            history.granted = 0.0
            return history

        fast = forecaster(quality="fast", model={}, n_epochs=None, **given).fit(frame)
        monkeypatch.setattr(base, "train", useless)
        model = forecaster(time_limit=1e-9, **given).fit(frame)
        assert model.notices_[-1] == (
            "the time limit left no time to train again on all data; what is solved in closed form "
            "gives the answers, and was solved again on all"
        )
        assert model.history_.second == Second(True, 0, 0)
        assert "solved for in closed form a second time, on all rows up to 2024-01-09T07" in str(
            model.forecasts_from
        )
        future = hourly(waves(204), "2024-01-01").iloc[200:][["date", "c1"]]
        asked = {"future": future} if covariates else {}
        found, expected = model.predict(**asked), fast.predict(**asked)
        np.testing.assert_allclose(found["c0"], expected["c0"], rtol=1e-5)
        assert model.scored_ is not None
        assert not np.allclose(model.scored_.predict(**asked)["c0"], expected["c0"], rtol=0.02)
        model.save(tmp_path / "model")
        again = ConvTimeNetForecaster.load(tmp_path / "model")
        pd.testing.assert_frame_equal(again.predict(**asked), found)
        assert again.forecasts_from == model.forecasts_from

    def test_stamps_at_midnight_are_shown_as_dates(self):
        dates = pd.date_range("2016-01-01", periods=100, freq="MS")
        model = forecaster().fit(hourly(waves()).assign(date=dates))
        assert "on all rows up to 2024-04-01; scores" in str(model.forecasts_from)

    def test_it_can_be_turned_off(self):
        model = forecaster(refit=False).fit(waves())
        assert not model.history_.refitted
        assert model.scored_ is None
        assert model.forecasts_from is None

    def test_it_learns_from_the_rows_held_back(self):
        values = waves()
        changed = values.copy()
        changed[84:] += np.linspace(0, 5, 16)[:, None]
        one, two = (
            forecaster(n_epochs=1, model=TINY | {"linear": False}).fit(v) for v in (values, changed)
        )
        context = values[:60]
        assert one.scored_ is not None
        assert two.scored_ is not None
        first = one.scored_.forecast(context)
        np.testing.assert_array_equal(first, two.scored_.forecast(context))
        assert not np.array_equal(one.forecast(context), two.forecast(context))

    def test_rows_behind_a_split_are_for_a_later_retrain(self):
        values, changed = waves(), waves()
        changed[90:] += 3
        models = [forecaster().fit(v, split=(60, 80), refit=False) for v in (values, changed)]
        context, scored = values[:50], models[0].evaluate(values, first_row=80).in_units
        assert not models[0].history_.refitted
        for model, v in zip(models, (values, changed), strict=True):
            assert model.retrain(v) is model
            assert model.history_.refitted
        assert not np.array_equal(models[0].forecast(context), models[1].forecast(context))
        first, second = (model.scored_ for model in models)
        assert first is not None
        assert second is not None
        np.testing.assert_array_equal(first.forecast(context), second.forecast(context))
        assert models[0].evaluate(values, first_row=80).in_units == scored

    def test_rows_newer_than_both_trainings_are_asked_of_the_second(self):
        whole = hourly(waves(140))
        model = forecaster().fit(whole[:100])
        assert model.scored_ is not None
        new = model.evaluate(whole, first_row=100)
        assert new.scores != model.scored_.evaluate(whole, first_row=100).scores
        truth = whole.iloc[100:104, 1:].to_numpy()
        error = model.predict(whole[:100]).iloc[:, 1:].to_numpy() - truth
        last = model.evaluate(whole, first_row=100, end=104)
        assert last.in_units["mae"] == pytest.approx(abs(error).mean(), rel=1e-4)

    def test_all_rows_decide_how_they_are_scaled(self, monkeypatch):
        """Flat rows at the beginning, such as filled ones, do not take growth by factors away."""
        monkeypatch.setattr(pretraining, "linear_is_better", lambda *_: False)
        rng, months = np.random.default_rng(0), np.arange(200)
        level = np.linspace(9000, 10000, 200) * (1 + 0.05 * np.sin(months * np.pi / 6))
        values = np.where(months < 24, 9000.0, level * np.exp(0.003 * rng.normal(size=200)))
        table = pd.DataFrame(
            {"ds": pd.date_range("2008-01-01", periods=200, freq="MS"), "y": values}
        )
        settings = {"h": 12, "quality": "fast", "verbose": 0}
        once = ConvTimeNetForecaster(**settings).fit(table)
        again = ConvTimeNetForecaster(**settings).fit(table, refit=False).retrain(table)
        np.testing.assert_array_equal(once.predict()["y"], again.predict()["y"])

    def test_a_saved_model_keeps_both(self, tmp_path):
        frame = hourly(waves())
        model = forecaster().fit(frame)
        again = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        pd.testing.assert_frame_equal(again.predict(level=80), model.predict(level=80))
        assert again.scores_ == model.scores_
        assert again.forecasts_from == model.forecasts_from
        assert (
            again.evaluate(frame, first_row=80).scores == model.evaluate(frame, first_row=80).scores
        )
        assert again.scored_ is not None
        assert not again.scored_.history_.refitted
        twice = ConvTimeNetForecaster.load(again.save(tmp_path / "n"), device="cpu")
        pd.testing.assert_frame_equal(twice.predict(), model.predict())

    @pytest.mark.parametrize(
        "ids",
        [["s0", "s1", "s2", "s3"], ["s0", "s2"], ["s0", "s1", "s3"], ["s2", "s1", "s0"]],
        ids=["one more", "one fewer", "another", "another order"],
    )
    def test_a_model_retrained_on_other_series_is_the_same_after_loading(self, ids, tmp_path):
        every = panel((60, 50, 40, 45))
        by_id = dict(list(every.groupby("unique_id")))
        model = ConvTimeNetForecaster(4, quality="fast", device="cpu", verbose=0)
        model.fit(every[every.unique_id != "s3"])
        model.retrain(pd.concat([by_id[one] for one in ids]))
        again = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        twice = ConvTimeNetForecaster.load(again.save(tmp_path / "n"), device="cpu")
        for one in (again, twice):
            pd.testing.assert_frame_equal(one.predict(level=80), model.predict(level=80))
            assert one.evaluate(every).scores == model.evaluate(every).scores
            assert one.scored_ is not None
            assert model.scored_ is not None
            pd.testing.assert_frame_equal(one.scored_.predict(), model.scored_.predict())
            assert one.scored_.fitted_rows_ is not None
            assert one.scored_.fitted_rows_.ids.tolist() == ["s0", "s1", "s2"]

    def test_what_a_calibration_changes_later_is_not_the_firsts_after_loading(self, tmp_path):
        model = forecaster().fit(hourly(waves()))
        old = model.evaluate(hourly(waves()), first_row=80)
        model.calibrate(hourly(10 * waves(200))[100:])
        again = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        assert again.predict(level=80).equals(model.predict(level=80))
        new = again.evaluate(hourly(waves()), first_row=80)
        assert [one.width for one in new.intervals] == [one.width for one in old.intervals]

    def test_backtests_honour_it_and_see_nothing_behind_the_cut_off(self):
        values, changed = waves(), waves()
        changed[96:] += 100
        found = [
            forecaster(refit=refit).cross_validation(hourly(v))["ConvTimeNet"].to_numpy()
            for refit, v in ((None, values), (None, changed), (False, values))
        ]
        np.testing.assert_array_equal(found[0], found[1])
        assert not np.array_equal(found[0], found[2])

    def test_series_of_a_panel_keep_their_scales(self):
        model = forecaster().fit(panel())
        assert model.history_.refitted
        forecast = model.predict().groupby("unique_id")["ConvTimeNet"].mean()
        for i in range(3):
            assert 3 < forecast[f"s{i}"] / 10.0**i < 7

    def test_the_papers_presets_have_none(self):
        assert not TrainConfig.from_dict(paper_preset("ETTh1", "forecast").train).refit
        with pytest.raises(ConfigError, match="refit must be one of False, True, 'continue'"):
            forecaster(refit="yes").fit(waves())

    def test_a_second_training_that_fails_leaves_the_first(self, monkeypatch):
        def fails(network: Any, examples: Any, valid: Any, *rest: Any, **given: Any) -> Any:
            if valid is None:
                raise base.TrainingError("training did not converge")
            return whole(network, examples, valid, *rest, **given)

        whole = base.train
        monkeypatch.setattr(base, "train", fails)
        model = forecaster().fit(waves())
        assert not model.history_.refitted
        assert model.notices_ == ("the second training failed: training did not converge",)
        assert model.predict(level=80)["lo-80"].shape == (4, 2)


@pytest.mark.parametrize(
    ("steps", "most", "epochs", "rate"),
    [(50, 10, 18, 1), (50, 5, 10, 1), (600, 10, 1, 0.1), (600, 100, 1, 0.1)],
)
def test_it_goes_on_for_long_where_the_first_had_hardly_begun(steps, most, epochs, rate):
    """10 epochs with the 5th the best, of half as many windows as there are in all."""
    done = [Epoch(i + 1, 1.0, {"mse": 1.0}, 1e-3, 1.0) for i in range(10)]
    history = History(epochs=done, best_epoch=5, steps=steps, seconds=10.0)
    config = TrainConfig(refit="continue", epochs=most, lr=1e-3)
    again, _ = second_config(config, history, 0.5)
    assert again is not None
    assert (again.epochs, again.lr, again.patience) == (epochs, pytest.approx(rate * 1e-3), None)


class TestInterrupts:
    @staticmethod
    def stops_in_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
        def train(network: Any, examples: Any, valid: Any, *rest: Any, **given: Any) -> Any:
            if valid is None:
                os.kill(os.getpid(), signal.SIGINT)
            return whole(network, examples, valid, *rest, **given)

        whole = base.train
        monkeypatch.setattr(base, "train", train)

    def test_the_first_counts_where_the_second_is_stopped(self, monkeypatch):
        plain = forecaster(refit=False).fit(waves())
        with monkeypatch.context() as patched:
            self.stops_in_the_second(patched)
            model = forecaster()
            with pytest.raises(KeyboardInterrupt, match="stopped the training"):
                model.fit(waves())
        np.testing.assert_array_equal(model.predict(), plain.predict())
        assert not model.history_.refitted
        assert model.predict(level=80)["lo-80"].shape == (4, 2)

    def test_resuming_gives_what_an_unbroken_run_gives(self, monkeypatch, tmp_path):
        whole = forecaster().fit(waves())
        with monkeypatch.context() as patched:
            self.stops_in_the_second(patched)
            with pytest.raises(KeyboardInterrupt, match="resumes from here"):
                forecaster().fit(waves(), resume=tmp_path / "state")
        again = forecaster().fit(waves(), resume=tmp_path / "state")
        np.testing.assert_array_equal(again.predict(), whole.predict())

    def test_a_stopped_retrain_leaves_the_estimator_as_it_was(self, monkeypatch):
        model = forecaster().fit(waves(), split=(60, 80))
        before = model.predict(waves()[:80])
        with monkeypatch.context() as patched:
            self.stops_in_the_second(patched)
            with pytest.raises(KeyboardInterrupt):
                model.retrain(waves())
        np.testing.assert_array_equal(model.predict(waves()[:80]), before)
        assert model.history_.refitted


class TestFewRows:
    """Where none are held back, trainings on earlier rows give the errors for intervals."""

    @pytest.mark.parametrize("rows", [16, 17, 18, 19])
    def test_intervals_go_with_a_training_on_all_rows(self, rows, tmp_path):
        model = forecaster(h=6, input_size=8).fit(waves(rows, 4))
        assert model.n_examples_ == {"fitted": rows - 13, "held_back": 0}
        assert model.calibration_ is not None
        assert any("trainings on earlier rows" in one for one in model.notices_)
        found = model.predict(level=50)
        assert (found["lo-50"] <= found["forecast"]).all()
        again = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        np.testing.assert_array_equal(again.predict(level=50)["hi-50"], found["hi-50"])

    def test_the_largest_level_is_named_and_works(self):
        model = forecaster(h=6, input_size=8).fit(waves(18, 2))
        with pytest.raises(DataError, match="largest possible level is") as refusal:
            model.predict(level=99)
        largest = float(re.findall(r"possible level is ([\d.]+)", str(refusal.value))[0])
        assert model.predict(level=largest).keys() == {
            "forecast", f"lo-{largest:g}", f"hi-{largest:g}",
        }  # fmt: skip

    def test_the_command_line_names_it_before_training(self, monkeypatch):
        table = read_table(hourly(waves(60)))
        monkeypatch.setattr(base, "train", None)
        with pytest.raises(DataError, match="largest possible level is") as refusal:
            forecast_table(forecaster(), table, test_fraction=0.2, dataset="m", level=[80, 99])
        monkeypatch.undo()
        largest = float(re.findall(r"possible level is ([\d.]+)", str(refusal.value))[0])
        run = forecast_table(forecaster(), table, test_fraction=0.2, dataset="m", level=[largest])
        assert run.result.intervals[0]["level"] == largest

    def test_folds_neither_read_nor_learn_what_they_are_scored_on(self):
        model = forecaster(h=6, input_size=8).fit(waves(20))
        table = read_table(np.arange(20.0)[:, None].repeat(2, 1))
        model.scaler_ = type(model.scaler_).identity()
        folds = model._folds(table, model.network_.config, torch.device("cpu"))
        assert len(folds) == FOLDS
        begins = []
        for learnt, scored in folds:
            first = float(scored.batch(torch.arange(len(scored))).y.min())
            batch = learnt.batch(torch.arange(len(learnt)))
            assert batch.weight is not None
            assert float(batch.y[batch.weight > 0].max()) < first
            assert float(batch.x.max()) < first
            begins += [float(one.min()) for one in scored.batch(torch.arange(len(scored))).y]
        assert begins == list(range(int(begins[0]), 15))

    @given(st.lists(st.integers(1, 3000), min_size=1, max_size=4), st.integers(2, 50),
           st.integers(1, 50))  # fmt: skip
    def test_every_window_of_the_end_is_scored_once(self, rows, L, H):
        lengths = np.array(rows)
        starts = fold_starts(lengths, L, H)
        if starts is None:
            assert (lengths - H < L + 1).all()
            return
        assert len(starts) == FOLDS + 1
        for one, two in pairwise(starts):
            assert (one <= two).all()
        np.testing.assert_array_equal(starts[-1], lengths - H + 1)
        some = starts[0] < starts[-1]
        assert (starts[0][some] > L).all()


class TestScores:
    @pytest.mark.parametrize("long", [False, True])
    def test_in_the_datas_units_beside_the_seasonal_naive_forecast(self, long):
        if long:
            frame, lengths, season = panel((60, 40)), (60, 40), 7
            series = [frame.y[:60].to_numpy(), frame.y[60:].to_numpy()]
            firsts = np.array([50, 30])
        else:
            frame, lengths, season = hourly(waves(100)), (100, 100), 24
            series, firsts = list(waves(100).T), np.array([70, 70])
        model = forecaster().fit(frame)
        found = model.evaluate(frame, first_row=firsts if long else 70)
        assert found.season == season
        truth, naives = (
            [
                np.stack([y[end - back : end - back + 4] for end in range(first, T - 3)])
                for y, first, T in zip(series, firsts, lengths, strict=True)
            ]
            for back in (0, season)
        )
        flat, naive = np.concatenate(truth), np.concatenate(naives)
        assert found.naive_in_units["mae"] == pytest.approx(scores.mae(flat, naive), rel=1e-4)
        assert found.naive_in_units["rmse"] == pytest.approx(scores.rmse(flat, naive), rel=1e-4)
        assert found.naive_in_units["wape"] == pytest.approx(scores.wape(flat, naive), rel=1e-4)
        mase = [
            scores.mae(y, f) / float(scores.seasonal_scale(past[:first], season))
            for y, f, past, first in zip(truth, naives, series, firsts, strict=True)
        ]
        assert found.naive_in_units["mase"] == pytest.approx(np.mean(mase), rel=1e-4)
        assert found.in_units["mae"] == pytest.approx(
            np.mean([*found.mae_per_channel.values()]), rel=1e-6
        )

    def test_a_missing_season_is_the_last_known_value(self):
        values = waves(60, 1)
        values[40:46] = np.nan
        model = forecaster(scale=False).fit(hourly(values))
        found = model.evaluate(hourly(values), first_row=56, end=60, season=12)
        seasonal = [values[44 + i, 0] for i in range(4)]
        naive = np.where(np.isnan(seasonal), values[55, 0], seasonal)
        assert found.naive_in_units["mae"] == pytest.approx(
            abs(naive - values[56:60, 0]).mean(), rel=1e-4
        )

    def test_a_season_longer_than_the_rows_repeats_the_last_value(self):
        frame = panel((30,))
        model = forecaster().fit(frame)
        found = model.evaluate(frame, first_row=26, season=52)
        y = frame.y.to_numpy()
        assert found.naive_in_units["mae"] == pytest.approx(abs(y[25] - y[26:]).mean(), rel=1e-4)
        assert "mase" not in found.in_units

    def test_fit_scores_the_rows_it_held_back(self):
        values = waves()
        model = forecaster(refit=False).fit(values)
        found = model.evaluate(values, first_row=80)
        assert model.scores_ is not None
        assert model.scores_["ConvTimeNet"] == pytest.approx(found.in_units, rel=1e-12)
        assert model.scores_["SeasonalNaive"] == pytest.approx(found.naive_in_units, rel=1e-12)

    def test_wape_is_the_sum_of_errors_over_the_sum_of_values(self):
        assert scores.wape([1.0, -3, np.nan], [2.0, -5, 7]) == pytest.approx(3 / 4)
        with pytest.raises(DataError, match="all values are 0"):
            scores.wape([0.0], [1.0])


class TestLevels:
    @pytest.mark.parametrize("level", [0.8, [0.8], [80, 0.95], (0.5,), np.array([0.8])])
    def test_a_share_is_refused(self, level):
        model = forecaster().fit(waves())
        for ask in (
            lambda: model.predict(level=level),
            lambda: model.evaluate(waves(), level=level),
            lambda: model.cross_validation(waves(), level=level),
        ):
            with pytest.raises(ConfigError, match=r"did you mean (80|95|50)\?"):
                ask()


@pytest.mark.parametrize(
    ("freq", "rows", "h", "reason"),
    [
        ("MS", 108, 21, "a fifth of the rows"),
        ("MS", 400, 24, "two seasons of 12"),
        ("h", 1000, 48, "two seasons of 24"),
        ("h", 100, 20, "a fifth of the rows"),
        ("10min", 5000, 96, "two seasons of 144 are more than 96"),
        ("D", 1461, 14, "two seasons of 7"),
        ("W", 900, 96, "two seasons of 52 are more than 96"),
        ("YS", 100, 12, "the step has no season"),
        ("YS", 17, 3, "a fifth of the rows"),
        ("YS", 3, 1, "a fifth of the rows"),
    ],
)
def test_the_default_horizon_follows_the_step(freq, rows, h, reason):
    times = pd.date_range("1990-01-01", periods=rows, freq=freq)
    table = read_table(pd.DataFrame({"ds": times, "y": np.arange(rows) % 7.0}))
    assert default_horizon(table) == h
    assert horizon_reason(table, h) == reason
    season = season_of(Frequency.parse(table.frequency.name))
    assert h <= max(1, rows // 5)
    assert season == 1 or h <= 2 * season


ASKED = (
    *("forecast", "t.csv", "--h=4", "--input_size=12", "--quiet", "--device=cpu", "--out=f.csv"),
    *(f"--model.{name}={value}" for name, value in TINY.items() if name != "kernel_sizes"),
    *("--model.kernel_sizes=[3]", "--training.epochs=2"),
)


ROUNDED: Any = {"rtol": 0, "atol": 5e-6}  # to six digits, of values below 10


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        hourly(waves()).to_csv("t.csv", index=False)

    @staticmethod
    def forecast() -> np.ndarray:
        return pd.read_csv("f.csv").iloc[:, 1:].to_numpy()

    def test_it_forecasts_from_all_rows_and_says_so(self, capsys):
        assert main([*ASKED, "--json=r.json", "--save=m", "--report=r.html"]) == 0
        said, result = capsys.readouterr().out, json.loads(Path("r.json").read_text())
        assert "trained a second time, on all rows up to 2024-01-05T03" in " ".join(said.split())
        assert "seasonal naive" in said
        for name in ("MAE", "RMSE", "MASE", "WAPE"):
            assert name in said
        model = forecaster(training={"epochs": 2}).fit(hourly(waves()), split=(64, 80), refit=False)
        scored = model.evaluate(hourly(waves()), first_row=80)
        assert result["scores_in_units"] == pytest.approx(scored.in_units)
        assert result["baseline_in_units"] == pytest.approx(scored.naive_in_units)
        assert result["scores"] == pytest.approx(scored.scores)
        model.retrain(hourly(waves()))
        np.testing.assert_allclose(self.forecast(), model.predict().iloc[:, 1:], **ROUNDED)
        loaded = ConvTimeNetForecaster.load("m").predict()
        np.testing.assert_allclose(self.forecast(), loaded.values, **ROUNDED)
        page = Path("r.html").read_text()
        assert "trained a second time, on all rows up to 2024-01-05T03" in page
        assert "WAPE" in page

    def test_no_refit_forecasts_with_what_was_scored(self, capsys):
        assert main([*ASKED, "--no-refit"]) == 0
        assert "the forecasting model is the one scored above" in capsys.readouterr().out
        model = forecaster(refit=False).fit(hourly(waves()), split=(64, 80))
        np.testing.assert_allclose(
            self.forecast(), model.predict(hourly(waves())).iloc[:, 1:], **ROUNDED
        )

    def test_a_default_horizon_is_said(self, capsys):
        assert main([one for one in ASKED if one != "--h=4"]) == 0
        assert "--h is not given: 20 steps (a fifth of the rows)" in capsys.readouterr().out
        assert len(self.forecast()) == 20
