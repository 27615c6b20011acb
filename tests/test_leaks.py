"""Nothing of the future reaches the past: whatever stands at or behind a cut changes no weight, no
scaling, no forecast and no score that belongs before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from common import in_turn
from hypothesis import given, settings
from hypothesis import strategies as st

from convtimenet import ConvTimeNetForecaster
from convtimenet.data.split import FittedRows
from convtimenet.data.table_rows import crop
from convtimenet.data.tables import Table, read_table
from convtimenet.data.windows import Scaler
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.backtest import backtest

SIZES: dict[str, Any] = {
    "d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2,
}  # fmt: skip
FORMS = pytest.mark.parametrize("long", [False, True])
MASKS = pytest.mark.parametrize("masks", [True, False])


def forecaster(**given: Any) -> ConvTimeNetForecaster:
    model = SIZES | given.pop("model", {})
    fixed = {"h": 3, "input_size": 10, "n_epochs": 1, "device": "cpu", "verbose": 0}
    fixed |= {"refit": False}  # another file is about the second training
    return ConvTimeNetForecaster(**(fixed | given), model=model)


def windows_of(model: ConvTimeNetForecaster) -> int:
    """Windows that the intervals come from."""
    assert model.calibration_ is not None
    return model.calibration_.windows


def table_of(values: np.ndarray, long: bool) -> Table:
    """(T, C) values as a wide table, or as a long one of C series."""
    T, C = values.shape
    if not long:
        return read_table(values)
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat([f"s{c}" for c in range(C)], T),
            "ds": np.tile(pd.date_range("2024-01-01", periods=T, freq="D"), C),
            "y": values.T.reshape(-1),
        }
    )
    return read_table(frame)


def series(T: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = np.arange(T)[:, None]
    return np.sin(rows / np.array([3.0, 5.0])) * [1, 20] + [5, -300] + 0.1 * rng.normal(size=(T, 2))


def weights(model: ConvTimeNetForecaster) -> list[torch.Tensor]:
    """All but the share of the head that the validation split grants, as it chooses the epoch."""
    return [v for k, v in model.network_.state_dict().items() if k != "granted"]


@st.composite
def gapped(draw: st.DrawFn, T: int = 60) -> np.ndarray:
    """Two channels with gaps anywhere, long ones and at the edges too; both hold something."""
    values = series(T, draw(st.integers(0, 3)))
    for c in range(2):
        for first in draw(st.lists(st.integers(3, T - 1), max_size=6)):
            values[first : first + draw(st.integers(1, 14)), c] = np.nan
    return values


WILD = st.sampled_from([np.nan, 0.0, 1e6, -1e9, np.inf])


@MASKS
@FORMS
@settings(max_examples=3)
@given(values=gapped(), cut=st.integers(40, 57), wild=WILD, scale=st.booleans())
def test_a_fit_up_to_a_cut_knows_nothing_behind_it(masks, long, values, cut, wild, scale):
    """Of a table that is read whole and then cut, as backtests do; and its forecasts."""
    changed = values.copy()
    changed[cut:] = wild
    tables = [table_of(one, long) for one in (values, changed, values[:cut])]
    parts = [crop(table, 0, cut) for table in tables]
    models = [forecaster(model={"masks": masks}, scale=scale).fit(part) for part in parts]
    answers = [m.forecast_table(m.adapt(p)) for m, p in zip(models, parts, strict=True)]
    for model, answer in zip(models[1:], answers[1:], strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(weights(models[0]), weights(model), strict=True)
        )
        np.testing.assert_array_equal(answer, answers[0])
        np.testing.assert_array_equal(model.scaler_.centre, models[0].scaler_.centre)


@MASKS
@FORMS
@settings(max_examples=2)
@given(values=gapped(), wild=st.sampled_from([0.0, 1e6, -1e9]))
def test_a_backtest_is_a_fit_to_a_table_that_ends_at_the_cutoff(masks, long, values, wild):
    cut = len(values) - 3
    values[-1] = 7.0  # something to score
    changed = values.copy()
    changed[cut:] = wild
    model = forecaster(model={"masks": masks})
    frames = [backtest(model, table_of(one, long), season=4).frame for one in (values, changed)]
    past = table_of(values[:cut], long)
    expected = model.fit(past).forecast_table(past)
    found = frames[0]["ConvTimeNet"] if isinstance(frames[0], dict) else frames[0].ConvTimeNet
    shape = (2, 3) if long else (3, 2)
    expected = expected.reshape(shape) if long else expected.T
    np.testing.assert_array_equal(np.asarray(found).reshape(2, 3), expected)
    for name in ("ConvTimeNet", "SeasonalNaive"):
        one, other = (np.asarray(frame[name]) for frame in frames)
        np.testing.assert_array_equal(one, other)


@MASKS
@FORMS
def test_what_follows_a_gap_at_the_cutoff_is_not_drawn_into_it(masks, long):
    """The smallest case of it: a level near 0, then 100, and the rows between them missing."""
    values = series(120)
    values -= values.mean(0)
    values[90:] += 100
    values[87:90] = np.nan
    table = table_of(values, long)
    model = forecaster(h=10, model={"masks": masks})
    found = backtest(model, table, n_windows=3, season=1).frame
    first = np.asarray(found["cutoff"]) == np.min(np.asarray(found["cutoff"]))
    naive = np.asarray(found["SeasonalNaive"])[first]
    np.testing.assert_array_equal(naive, np.repeat(values[86], 10))
    ours = np.asarray(found["ConvTimeNet"])[first]
    assert np.abs(ours).max() < 30


@MASKS
@FORMS
def test_rows_that_choose_the_epoch_change_no_scaling_and_no_weight(masks, long):
    values = series(100)
    values[76:80] = np.nan
    changed = values.copy()
    changed[80:] = 5000 - changed[80:]
    one, two = (
        forecaster(model={"masks": masks}).fit(table_of(v, long), split=(80, 100))
        for v in (values, changed)
    )
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    np.testing.assert_array_equal(one.scaler_.centre, two.scaler_.centre)
    known = values[:76]
    centre = one.scaler_.centre.reshape(-1)
    np.testing.assert_allclose(centre, known.mean(0), rtol=1e-12)


# --- series that training did not see -------------------------------------------------------------


def panel_of(**series: np.ndarray) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range("2024-01-01", periods=len(y), freq="D"),
                "y": y,
            }
        )
        for name, y in series.items()
    )


class TestNewSeries:
    def model(self) -> ConvTimeNetForecaster:
        a, b = series(80).T
        return forecaster().fit(panel_of(a=a, b=b))

    @pytest.mark.parametrize("first", [None, 40])
    def test_are_scaled_by_the_rows_before_the_scored_ones(self, first):
        model, y = self.model(), series(60, 5)[:, 0]
        later = np.arange(60) >= (first or 10)
        changed = np.where(later, 7 * y, y)
        found = [model.evaluate(panel_of(new=v), first_row=first) for v in (y, changed)]
        own = Scaler.standard(y[None, : first or 10])
        squared = []
        for t in range(first or 10, 58):
            error = model.evaluate(panel_of(new=y[: t + 3]), first_row=t)
            assert error.n_windows == 1
            squared.append(error.mae_per_channel["y"])
        assert found[0].n_windows == len(squared)
        ratio = found[0].scores["mae"] * own.scale[0, 0] / found[0].mae_per_channel["y"]
        assert ratio == pytest.approx(1, rel=1e-5)
        ratio = found[1].scores["mae"] * own.scale[0, 0] / found[1].mae_per_channel["y"]
        assert ratio == pytest.approx(1, rel=1e-5)

    def test_of_which_nothing_before_is_known_are_scaled_as_the_others(self, caplog):
        model, y = self.model(), series(60, 5)[:, 0]
        y[:20] = np.nan
        found = model.evaluate(panel_of(new=y), first_row=15)
        assert "without a known value to scale by: 'new'; scaled by the median" in caplog.text
        scale = np.median(model.scaler_.scale)
        ratio = found.scores["mae"] * scale / found.mae_per_channel["y"]
        assert ratio == pytest.approx(1, rel=1e-5)

    def test_calibrate_by_those_rows_as_well(self):
        model, y = self.model(), series(60, 5)[:, 0]
        changed = np.where(np.arange(60) >= 50, 1e5, y)  # not in the windows, whatever they are
        radii = []
        for v in (y, changed):
            model.calibrate(panel_of(new=v), first_row=20, end=50)
            assert model.calibration_ is not None
            radii.append(model.calibration_.radii)
        np.testing.assert_array_equal(*radii)

    def test_short_ones_have_the_rows_before_their_last_horizon(self):
        model, y = self.model(), series(8, 5)[:, 0]
        found = model.evaluate(panel_of(new=y))
        assert found.n_windows == 1
        scale = y[:5].std()
        assert found.scores["mae"] * scale == pytest.approx(found.mae_per_channel["y"], rel=1e-5)


# --- rows that the weights were fitted to ---------------------------------------------------------


def dated(values: np.ndarray, long: bool, first: str = "2024-01-01") -> pd.DataFrame:
    stamps = pd.date_range(first, periods=len(values), freq="D")
    if not long:
        return pd.DataFrame({"ds": stamps, "a": values[:, 0], "b": values[:, 1]})
    return pd.concat(
        pd.DataFrame({"unique_id": name, "ds": stamps, "y": values[:, i]})
        for i, name in enumerate("ab")
    )


class TestCalibration:
    whole: ClassVar[Any] = {"training": {"validation_fraction": 0.0}}

    @pytest.mark.parametrize(("loaded", "long"), in_turn([False, True], [False, True]))
    def test_fitted_rows_are_refused(self, long: bool, loaded: bool, tmp_path: Path):
        values = series(120)
        model = forecaster(**self.whole).fit(dated(values[:100], long))
        if loaded:
            model = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        before = model.calibration_
        told = r"fitted to all \d+ rows given, up to 2024-04-09.*give later rows"
        for rows in (values[:100], values[:60]):
            with pytest.raises(DataError, match=told):
                model.calibrate(dated(rows, long))
        with pytest.raises(DataError, match=told):
            model.calibrate(dated(values, long), end=100)
        assert model.calibration_ is before
        # both remedies work
        model.calibrate(dated(values[100:], long, "2024-04-10"))
        assert model.calibration_ is not None
        assert windows_of(model) == (2 if long else 1) * (20 - 10 - 3 + 1)
        again = forecaster(training={"validation_fraction": 0.2}).fit(dated(values[:100], long))
        assert again.calibration_ is not None

    @FORMS
    def test_of_mixed_rows_those_behind_are_used_and_the_others_counted(self, long, caplog):
        values = series(120)
        model = forecaster(**self.whole).fit(dated(values[:100], long))
        expected = model.calibrate(dated(values, long), first_row=100).calibration_
        assert "left out of the calibration" not in caplog.text
        found = model.calibrate(dated(values, long)).calibration_
        n = 200 if long else 100
        assert f"{n} of the rows given are left out of the calibration" in caplog.text
        assert found is not None
        assert expected is not None
        np.testing.assert_array_equal(found.radii, expected.radii)
        caplog.clear()
        model.calibrate(dated(values, long), first_row=90)
        assert f"{20 if long else 10} of the rows given are left out" in caplog.text

    def test_rows_that_chose_the_epoch_may_be_used_unless_fitted_to_afterwards(self):
        values = series(120)
        frame = dated(values, False)
        model = forecaster().fit(frame, split=(80, 120))
        assert windows_of(model.calibrate(frame)) == 38
        again = forecaster(refit=True).fit(frame, split=(80, 120))
        with pytest.raises(DataError, match="fitted to all 120 rows given, up to 2024-04-29"):
            again.calibrate(frame)

    def test_series_and_channels_that_training_did_not_see_are_new(self):
        values = series(120)
        model = forecaster(**self.whole).fit(dated(values[:100], True))
        new = dated(values[:100], True).replace({"unique_id": {"a": "c"}})
        with_one_new = model.calibrate(new).calibration_
        assert with_one_new is not None
        assert with_one_new.windows == 100 - 10 - 3 + 1
        wide = forecaster(scale=False, **self.whole).fit(dated(values[:100], False))
        other = dated(values[:100], False).rename(columns={"a": "x", "b": "z"})
        assert wide.calibrate(other).calibration_ is not None

    @pytest.mark.parametrize(("fitted", "given"), [("frame", "array"), ("array", "frame")])
    def test_rows_without_stamps_are_known_by_how_they_begin(self, fitted: str, given: str):
        values = series(120)[:, :1]
        makes = {
            "array": lambda v: v.astype(np.float32),
            "frame": lambda v: dated(np.repeat(v, 2, 1), False)[["ds", "a"]].set_axis(
                ["ds", "0"], axis=1
            ),
        }
        model = forecaster(**self.whole).fit(makes[fitted](values[:100]))
        with pytest.raises(DataError, match="fitted to all 100 rows given"):
            model.calibrate(makes[given](values[:100]))
        assert windows_of(model.calibrate(makes[given](values))) == 18
        assert windows_of(model.calibrate(makes[given](values[100:]))) == 8

    def test_an_array_that_begins_as_the_fitted_one_is_the_same(self, tmp_path):
        values = series(120)
        model = forecaster(**self.whole).fit(values[:100])
        model = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        for rows in (values[:100], values[:50]):
            with pytest.raises(DataError, match=r"fitted to all \d+ rows given, up to 99"):
                model.calibrate(rows)
        assert windows_of(model.calibrate(values)) == 18
        assert windows_of(model.calibrate(values[100:])) == 8
        assert windows_of(model.calibrate(series(100, 9))) == 88

    @pytest.mark.parametrize(
        ("loaded", "kind"), in_turn([False, True], ["array", "pandas", "polars"])
    )
    def test_rows_without_stamps_are_known_wherever_they_begin(self, kind, loaded, tmp_path):
        values = series(160)[:, 0]
        make = {"array": np.asarray, "pandas": pd.Series, "polars": pl.Series}[kind]
        model = forecaster(**self.whole).fit(make(values[20:120]))
        if loaded:
            model = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        for first, end in ((20, 120), (50, 120), (50, 100), (20, 60)):
            told = f"fitted to all {end - first} rows given"
            with pytest.raises(DataError, match=told):
                model.calibrate(make(values[first:end]))
        # of rows that begin before or within the fitted ones, those behind: 3 steps from each
        for first in (0, 20, 70, 100):
            assert windows_of(model.calibrate(make(values[first:]))) == 38
            some = values[first:].copy()
            some[60 if first == 0 else 18] += 1  # revised since
            assert windows_of(model.calibrate(make(some))) == 38
        assert windows_of(model.calibrate(make(values[120:]))) == 40 - 10 - 3 + 1
        assert windows_of(model.calibrate(make(series(100, 9)[:, 0]))) == 88

    def test_series_that_begin_alike_are_others(self):
        """As those of sales, which are 0 for long."""
        few = np.where(np.random.default_rng(0).random((2, 120)) < 0.1, 1.0, 0.0)
        few[:, :30] = 0
        model = forecaster(**self.whole).fit(few[0])
        assert windows_of(model.calibrate(few[1])) == 120 - 10 - 3 + 1
        with pytest.raises(DataError, match="fitted to all 80 rows given"):
            model.calibrate(few[0, 40:])

    @pytest.mark.parametrize("share", [0.04, 0.2, 1.0])
    def test_rows_of_another_series_of_the_same_kind_are_new(self, share):
        """Mostly 0, or small whole numbers."""
        rng = np.random.default_rng(0)

        def sold(n: int) -> np.ndarray:
            return (rng.random(n) < share) * rng.integers(1, 9, n).astype(float)

        for ours in (sold(500) for _ in range(5)):
            fitted = read_table(ours)
            rows = FittedRows.of(fitted, fitted.lengths)
            for n in (5, 20, 150, 600):
                assert rows.seen(read_table(sold(n)), None, None) == 0
            both = np.concatenate([ours[300:], sold(40)])
            assert rows.seen(read_table(both), None, None) == 200
            assert rows.seen(read_table(np.concatenate([sold(30), ours])), None, None) == 530

    def test_values_that_stay_for_long_tell_little(self):
        rng = np.random.default_rng(0)

        def level(n: int) -> np.ndarray:
            return np.repeat(rng.integers(0, 8, n), 20).astype(float)

        for _ in range(20):
            fitted = read_table(level(30))
            rows = FittedRows.of(fitted, fitted.lengths)
            new = np.concatenate(
                [fitted.values[-20:, 0], level(20)]
            )  # as the last one, for as long
            assert rows.seen(read_table(new), None, None) == 0
            assert rows.seen(fitted, None, None) == 600

    def test_rows_that_repeat_exactly_fit_in_several_places_and_count_as_new(self, caplog):
        week = np.array([0, 0, 0, 0, 0, 0, 5, 9.0])
        year = 10 + np.sin(np.arange(160) * np.pi / 2).round(6)
        for values in (np.tile(week, 20), year):
            model = ConvTimeNetForecaster(4, quality="fast", device="cpu", verbose=0).fit(values)
            assert "fitted to" not in caplog.text
            assert model.calibrate(np.tile(values, 2)).calibration_ is not None
            assert "left out" not in caplog.text
        # one row that is unlike the others tells where they are
        values = np.tile(week, 20)
        values[70] = 7
        fitted = read_table(values)
        rows = FittedRows.of(fitted, fitted.lengths)
        assert rows.seen(fitted, None, None) == 160
        assert rows.seen(read_table(np.concatenate([values, week])), None, None) == 160

    @pytest.mark.parametrize("overlap", [300, 100, 20, 15, 10, 8])
    def test_an_array_that_begins_shortly_before_the_end_of_the_fitted_one(self, overlap):
        values = np.random.default_rng(0).normal(size=340).cumsum()
        fitted = read_table(values[:300])
        rows = FittedRows.of(fitted, fitted.lengths)
        assert rows.seen(read_table(values[300 - overlap :]), None, None) == overlap
        assert rows.seen(read_table(values[300:]), None, None) == 0

    @pytest.mark.parametrize(
        ("loaded", "long", "refit"), in_turn([False, True], [False, True], [False, True])
    )
    def test_scores_of_fitted_rows_are_told_of(self, long, loaded, refit, tmp_path, caplog):
        values = series(120)
        model = forecaster(refit=refit).fit(dated(values[:100], long))
        if loaded:
            model = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        caplog.clear()
        for first in (80, 100):  # held back of the first training, and new
            model.evaluate(dated(values, long), first_row=first)
        assert "the weights were fitted to" not in caplog.text
        S = 2 if long else 1
        for first, end, seen in ((None, 100, 80), (70, None, 10), (20, 60, 40)):
            caplog.clear()
            model.evaluate(dated(values, long), first_row=first, end=end)
            assert f"fitted to {S * seen} of the rows to score" in caplog.text

    def test_intervals_of_a_whole_fit_are_not_made_from_its_own_rows(self):
        """An autoregression: what the weights have seen is no measure of what is new."""
        rng = np.random.default_rng(0)
        noise, y = rng.normal(size=600), np.zeros(600)
        for t in range(1, 600):
            y[t] = 0.8 * y[t - 1] + noise[t]
        model = forecaster(**self.whole).fit(y[:400])
        with pytest.raises(DataError, match="give later rows"):
            model.calibrate(y[:400])
        covered = model.calibrate(y[:500]).evaluate(y, first_row=500, level=80).intervals[0]
        assert 0.7 < covered.coverage < 0.9

    def test_a_folder_of_an_earlier_version_does_not_tell(self, tmp_path, caplog):
        from safetensors.numpy import load_file, save_file

        from convtimenet.storage.manifest import seal

        values = series(120)
        path = forecaster(**self.whole).fit(values).save(tmp_path / "m")
        arrays = load_file(path / "data.safetensors")
        kept = {name: one for name, one in arrays.items() if not name.startswith("fitted.")}
        assert len(kept) == len(arrays) - 3
        save_file(kept, path / "data.safetensors")
        seal(path)
        model = ConvTimeNetForecaster.load(path, device="cpu")
        assert model.fitted_rows_ is None
        assert model.calibrate(values).calibration_ is not None
        assert "did not record the rows that its weights were fitted to" in caplog.text
