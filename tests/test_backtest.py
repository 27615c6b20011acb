"""Backtests: only the past is read, the truth lies beside, and scores are those of the frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from convtimenet import ConvTimeNetForecaster, scores
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.inferred import season_of
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.forecasting.backtest import backtest

SIZES: dict[str, Any] = {
    "d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2,
}  # fmt: skip


def forecaster(**given: Any) -> ConvTimeNetForecaster:
    fixed = {"h": 3, "input_size": 12, "n_epochs": 1, "device": "cpu", "verbose": 0, "model": SIZES}
    return ConvTimeNetForecaster(**(fixed | given))


def long_frame(lengths: tuple[int, ...] = (60, 80), seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    parts = [
        pd.DataFrame(
            {
                "unique_id": f"s{i}",
                "ds": pd.date_range("2024-01-01", periods=T, freq="D") + pd.Timedelta(days=i),
                "y": 100 * i + np.sin(np.arange(T)) + 0.1 * rng.normal(size=T),
            }
        )
        for i, T in enumerate(lengths)
    ]
    return pd.concat(parts, ignore_index=True)


class TestLong:
    def test_rows_times_and_truth(self):
        frame = long_frame()
        found = forecaster().cross_validation(frame, n_windows=2, step_size=2)
        assert list(found.columns) == [
            "unique_id", "ds", "cutoff", "y", "ConvTimeNet", "SeasonalNaive",
        ]  # fmt: skip
        assert len(found) == 2 * 2 * 3
        merged = found.merge(frame, on=["unique_id", "ds"], suffixes=("", "_given"))
        assert len(merged) == len(found)
        np.testing.assert_array_equal(merged["y"], merged["y_given"])
        for name, one in found.groupby("unique_id"):
            last = frame.loc[frame["unique_id"] == name, "ds"].max()
            cutoffs = one["cutoff"].drop_duplicates().tolist()
            assert cutoffs == [last - pd.Timedelta(days=d) for d in (5, 3)]
            ahead = (one["ds"] - one["cutoff"]).dt.days.tolist()
            assert ahead == [1, 2, 3] * 2

    def test_forecasts_are_those_of_a_model_fitted_to_the_past(self):
        frame = long_frame()
        found = forecaster().cross_validation(frame, n_windows=2, refit=True, level=[50])
        for days, cut in ((6, 0), (3, 1)):
            past = frame[frame["ds"] <= frame.groupby("unique_id")["ds"].transform("max")
                         - pd.Timedelta(days=days)]  # fmt: skip
            expected = forecaster().fit(past).predict(level=[50])
            part = found[found.groupby("unique_id")["cutoff"].rank("dense") == cut + 1]
            columns = ["unique_id", "ds", "ConvTimeNet", "ConvTimeNet-lo-50", "ConvTimeNet-hi-50"]
            pd.testing.assert_frame_equal(
                part[columns].reset_index(drop=True), expected[columns], check_dtype=False
            )

    def test_without_refit_the_weights_stay_and_contexts_move(self):
        frame = long_frame()
        found = forecaster().cross_validation(frame, n_windows=2)
        last = frame.groupby("unique_id")["ds"].transform("max")
        model = forecaster().fit(frame[frame["ds"] <= last - pd.Timedelta(days=6)])
        expected = model.predict(frame[frame["ds"] <= last - pd.Timedelta(days=3)])
        second = found[found.groupby("unique_id")["cutoff"].rank("dense") == 2]
        np.testing.assert_allclose(second["ConvTimeNet"], expected["ConvTimeNet"], rtol=1e-6)

    def test_the_future_is_not_read(self):
        frame = long_frame()
        changed = frame.copy()
        late = changed["ds"] > changed.groupby("unique_id")["ds"].transform("max") - pd.Timedelta(
            days=3
        )
        changed.loc[late, "y"] += 1e6
        one, two = (forecaster().cross_validation(f, level=[80]) for f in (frame, changed))
        names = [n for n in one.columns if n.startswith(("ConvTimeNet", "SeasonalNaive"))]
        pd.testing.assert_frame_equal(one[names], two[names])
        assert (two["y"] - one["y"] > 1e5).all()

    def test_seasonal_naive_repeats_a_week(self):
        frame = long_frame()
        found = forecaster().cross_validation(frame, n_windows=2)
        earlier = found.assign(ds=found["ds"] - pd.Timedelta(days=7))
        merged = earlier.merge(frame, on=["unique_id", "ds"], suffixes=("", "_before"))
        assert len(merged) == len(found)
        np.testing.assert_array_equal(merged["SeasonalNaive"], merged["y_before"])

    def test_bounds_do_not_depend_on_the_unit(self):
        one = long_frame((60,))
        frame = pd.concat([one, one.assign(unique_id="tiny", y=1e-9 * one["y"])])
        found = forecaster().cross_validation(frame, level=[50])
        for name in ("ConvTimeNet", "SeasonalNaive"):
            width = found[f"{name}-hi-50"] - found[f"{name}-lo-50"]
            large, tiny = (width[found["unique_id"] == key] for key in ("s0", "tiny"))
            np.testing.assert_allclose(tiny, 1e-9 * large, rtol=1e-3)
            assert (large > 0.01).all()

    def test_the_estimator_stays_as_it_was(self):
        model = forecaster()
        before = set(vars(model))
        model.cross_validation(long_frame())
        assert set(vars(model)) == before

    def test_polars_and_own_column_names(self):
        frame = pl.from_pandas(long_frame()).rename({"unique_id": "shop", "ds": "day", "y": "sold"})
        model = forecaster(id_col="shop", time_col="day", target_cols=["sold"])
        found = model.cross_validation(frame)
        assert isinstance(found, pl.DataFrame)
        assert found.columns == ["shop", "day", "cutoff", "sold", "ConvTimeNet", "SeasonalNaive"]
        assert found["day"].dtype == found["cutoff"].dtype == frame["day"].dtype

    def test_several_targets_are_series_of_their_own(self):
        frame = long_frame().assign(z=lambda f: -f["y"])
        found = forecaster(target_cols=["y", "z"]).cross_validation(frame)
        assert found["unique_id"].drop_duplicates().tolist() == ["s0/y", "s0/z", "s1/y", "s1/z"]
        by_id = found.set_index("unique_id")["y"]
        np.testing.assert_array_equal(by_id["s0/z"], -by_id["s0/y"])

    def test_covariates_known_ahead_are_read_behind_the_cutoff(self):
        frame = long_frame().assign(promo=lambda f: (f.index % 5 == 0).astype(float))
        model = forecaster(futr_exog=["promo"])
        found = model.cross_validation(frame)
        last = frame.groupby("unique_id")["ds"].transform("max")
        past = frame[frame["ds"] <= last - pd.Timedelta(days=3)]
        expected = model.fit(past).predict(future=frame.drop(columns="y"))
        np.testing.assert_array_equal(found["ConvTimeNet"], expected["ConvTimeNet"])

    def test_missing_truth_stays_missing(self):
        frame = long_frame()
        frame.loc[len(frame) - 2, "y"] = np.nan
        result = backtest(forecaster(), frame)
        assert result.frame["y"].isna().tolist() == [False] * 4 + [True, False]
        rest = result.frame.dropna()
        expected = scores.mae(rest["y"], rest["ConvTimeNet"])
        assert result.summary["ConvTimeNet"]["mae"] == pytest.approx(expected)


class TestWide:
    def test_channels_become_series(self):
        values = np.random.default_rng(0).normal(size=(90, 2)).cumsum(0)
        times = pd.date_range("2024-01-01", periods=90, freq="h", name="date")
        wide = pd.DataFrame({"date": times, "a": values[:, 0], "b": values[:, 1]})
        found = forecaster().cross_validation(wide, n_windows=2)
        assert list(found.columns)[:4] == ["unique_id", "ds", "cutoff", "y"]
        assert found["unique_id"].tolist() == ["a"] * 6 + ["b"] * 6
        np.testing.assert_array_equal(found.loc[found["unique_id"] == "b", "y"], values[-6:, 1])
        assert found["ds"].max() == times[-1]

    @pytest.mark.parametrize("labels", [[7, 8], [("a", 1), ("a", 2)], ["x", "y"]])
    def test_channels_keep_their_own_labels(self, labels):
        values = long_frame((60, 60))["y"].to_numpy().reshape(2, 60).T
        index = pd.date_range("2024-01-01", periods=60)
        frame = pd.DataFrame(values, index=index, columns=labels)
        found = forecaster().cross_validation(frame)
        assert found["unique_id"].tolist() == [label for label in labels for _ in range(3)]
        nameless = forecaster().cross_validation(pd.Series(values[:, 0], index=index))
        assert nameless["unique_id"].tolist() == ["y"] * 3

    def test_columns_of_a_long_frame_keep_their_own_labels(self):
        frame = long_frame().set_axis([0, 1, 2], axis=1)
        found = forecaster(id_col=0, time_col=1, target_cols=[2]).cross_validation(frame)
        assert list(found.columns) == [0, 1, "cutoff", 2, "ConvTimeNet", "SeasonalNaive"]

    def test_arrays_give_columns(self):
        values = np.random.default_rng(0).normal(size=(90, 2)).cumsum(0)
        found = forecaster().cross_validation(values, level=80)
        assert list(found) == [
            "unique_id", "ds", "cutoff", "y", "ConvTimeNet", "ConvTimeNet-lo-80",
            "ConvTimeNet-hi-80", "SeasonalNaive", "SeasonalNaive-lo-80", "SeasonalNaive-hi-80",
        ]  # fmt: skip
        assert found["ds"].tolist() == [87, 88, 89] * 2
        assert found["cutoff"].tolist() == [86] * 6
        np.testing.assert_array_equal(found["SeasonalNaive"][:3], np.repeat(values[86, 0], 3))
        assert (found["SeasonalNaive-lo-80"] < found["SeasonalNaive"]).all()


class TestFewRows:
    def monthly(self, rows: int) -> Any:
        times = pd.date_range("2015-01-01", periods=rows, freq="MS")
        return pd.DataFrame({"ds": times, "y": long_frame((rows,))["y"].to_numpy() + 9})

    def test_the_baseline_has_intervals_wherever_the_model_has(self, caplog):
        frame = self.monthly(80)
        model = ConvTimeNetForecaster.pretrained(6, device="cpu", verbose=0)
        found = backtest(model, frame, level=[80, 95]).frame
        names = [f"-{side}-{level}" for level in (95, 80) for side in ("lo", "hi")]
        for name in ("ConvTimeNet", "SeasonalNaive"):
            bounds = found[[f"{name}{end}" for end in names]].to_numpy()
            assert (np.diff(bounds[:, [0, 2, 3, 1]]) > 0).all()
        # the held-out rows have too few windows for 95 %, so all 57 of the 74 rows count
        errors = [
            abs(frame["y"][t] - frame["y"][t - 12]) / frame["y"][t - 12 : t].std(ddof=0)
            for t in range(12, 69)
        ]
        radius = np.sort(errors)[int(np.ceil(58 * 0.95)) - 1]
        width = found["SeasonalNaive-hi-95"][0] - found["SeasonalNaive"][0]
        assert width == pytest.approx(radius * frame["y"][62:74].std(ddof=0), rel=1e-3)
        assert "seasonal-naive" not in caplog.text

    @pytest.mark.parametrize(("rows", "absent"), [(30, [95]), (20, [80, 95])])
    def test_bounds_of_the_baseline_that_cannot_be_calibrated_are_nan(self, rows, absent, caplog):
        model = ConvTimeNetForecaster.pretrained(6, device="cpu", verbose=0)
        result = backtest(model, self.monthly(rows), level=[80, 95])
        ours, naive = (result.summary[name] for name in ("ConvTimeNet", "SeasonalNaive"))
        assert np.isfinite(list(ours.values())).all()
        for level in (80, 95):
            bounds = [f"SeasonalNaive-{side}-{level}" for side in ("lo", "hi")]
            assert result.frame[bounds].isna().all(axis=None) == (level in absent)
            for score in ("coverage", "width"):
                assert np.isnan(naive[f"{score}-{level}"]) == (level in absent)
        assert np.isnan(naive["pinball"])
        assert np.isfinite(naive["mae"])
        levels = " and ".join(map(str, absent))
        assert f"the seasonal-naive forecast has no intervals of {levels} %" in caplog.text


def test_a_backtest_draws_no_seed_of_the_estimator():
    state = np.random.RandomState(3)
    forecaster(random_state=state).cross_validation(long_frame())
    assert state.randint(2**31) == np.random.RandomState(3).randint(2**31)


def test_the_summary_is_that_of_the_frame():
    frame = long_frame()
    result = backtest(forecaster(), frame, n_windows=3, level=[50, 80], season=4)
    assert result.season == 4
    for model in ("ConvTimeNet", "SeasonalNaive"):
        found, one = result.summary[model], result.frame
        assert list(found) == [
            "mse", "mae", "rmse", "smape", "mase", "coverage-50", "width-50", "coverage-80",
            "width-80", "pinball",
        ]  # fmt: skip
        for name in ("mse", "mae", "rmse", "smape"):
            expected = getattr(scores, name)(one["y"], one[model])
            assert found[name] == pytest.approx(expected)
        mase = []
        for series, part in one.groupby("unique_id"):
            given = frame.loc[frame["unique_id"] == series, "y"].to_numpy()[:-9]
            scale = np.abs(given[4:] - given[:-4]).mean()
            mase.append(np.abs(part["y"] - part[model]).mean() / scale)
        assert found["mase"] == pytest.approx(np.mean(mase))
        inside = one["y"].between(one[f"{model}-lo-80"], one[f"{model}-hi-80"])
        assert found["coverage-80"] == pytest.approx(inside.mean())
        width = (one[f"{model}-hi-80"] - one[f"{model}-lo-80"]).mean()
        assert found["width-80"] == pytest.approx(width)
        losses = [
            scores.pinball(one["y"], one[f"{model}-{side}-{level}"], q)
            for level in (50, 80)
            for side, q in (("lo", 0.5 - level / 200), ("hi", 0.5 + level / 200))
        ]
        assert found["pinball"] == pytest.approx(np.mean(losses))


@pytest.mark.parametrize(
    ("name", "season"),
    [("h", 24), ("15min", 96), ("5h", 1),
     ("min", 1440), ("s", 1), ("15625us", 1), ("D", 7), ("2D", 1), ("W", 52), ("B", 5), ("MS", 12),
     ("QE", 4), ("YS", 1), ("1", 1)],
)  # fmt: skip
def test_seasons(name, season):
    assert season_of(Frequency.parse(name)) == season


def test_whole_numbers_of_any_type_are_taken():
    given = {"n_windows": 2.0, "step_size": np.float32(4), "season": np.int8(7), "refit": 1.0}
    exact = {"n_windows": 2, "step_size": 4, "season": 7, "refit": 1}
    found, expected = (
        ConvTimeNetForecaster(3, quality="fast", device="cpu", verbose=0).cross_validation(
            long_frame(), **one
        )
        for one in (given, exact)
    )
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_windows": 0}, ConfigError, "n_windows must be a whole number of at least 1, found 0"),
        ({"step_size": 1.5}, ConfigError, "step_size must be a whole number"),
        ({"season": True}, ConfigError, "season must be a whole number"),
        ({"n_windows": np.nan}, ConfigError, "n_windows must be a whole number .* found nan"),
        ({"n_windows": "2"}, ConfigError, "n_windows must be a whole number .* found '2'"),
        ({"refit": 0.5}, ConfigError, "refit must be True, False or a number .* found 0.5"),
        ({"refit": -1}, ConfigError, "refit must be True, False or a number of windows"),
        ({"n_windows": 30}, DataError, "30 windows of 3 steps, 3 apart, take 90 rows"),
        ({"level": [101]}, ConfigError, "level must be in per cent"),
    ],
)
def test_refusals_come_before_training(settings, error, message):
    with pytest.raises(error, match=message):
        forecaster(n_epochs=10**6).cross_validation(long_frame(), **settings)
