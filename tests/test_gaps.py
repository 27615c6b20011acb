"""Missing values: they stay missing in a table, are filled from the same context alone, and are
read as zeros only where the user says so."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from common import in_turn
from hypothesis import given, settings
from hypothesis import strategies as st

from convtimenet import ConvTimeNetForecaster, scores
from convtimenet.batch import fill_contexts
from convtimenet.cli.main import main
from convtimenet.data.tables import read_table
from convtimenet.data.windows import filled_contexts
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.forecasting.backtest import SeasonalNaive, backtest
from convtimenet.estimators.forecasting.calibration import Calibration
from convtimenet.export import export
from convtimenet.runtime import ForecastRuntime, load

SIZES: dict[str, Any] = {
    "d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2,
}  # fmt: skip
N = 80
DAYS = pd.date_range("2024-01-01", periods=N, freq="D")
Y = np.sin(np.arange(N) / 3) + 5


def forecaster(**given: Any) -> ConvTimeNetForecaster:
    model = SIZES | given.pop("model", {})
    fixed = {"h": 3, "input_size": 12, "n_epochs": 1, "device": "cpu", "verbose": 0}
    fixed |= {"refit": False}  # another file is about the second training
    return ConvTimeNetForecaster(**(fixed | given), model=model)


def daily(values: Any = Y, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"ds": DAYS, "y": values, **columns})


def panel(*values: np.ndarray) -> pd.DataFrame:
    return pd.concat([daily(one, unique_id=f"s{i}") for i, one in enumerate(values)])


# --- reading ------------------------------------------------------------------------------------


KINDS = {
    "pandas": lambda frame, _: frame,
    "index": lambda frame, _: frame.set_index("ds"),
    "polars": lambda frame, _: pl.from_pandas(frame),
    "pyarrow": lambda frame, _: pa.Table.from_pandas(frame, preserve_index=False),
    "csv": lambda frame, folder: frame.to_csv(folder / "t.csv", index=False) or folder / "t.csv",
}


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_absent_rows_are_missing_values_in_either_form(tmp_path: Path, kind: str, long: bool):
    frame = daily().drop(index=[3, 40, 41])
    if long:
        frame = frame.assign(unique_id="a")
    table = read_table(KINDS[kind](frame, tmp_path))
    expected = Y.copy()
    expected[[3, 40, 41]] = np.nan
    np.testing.assert_array_equal(table.values[:, 0], expected)
    np.testing.assert_array_equal(table.times, DAYS.to_numpy().astype("M8[ns]"))
    where = ", in 1 series ('a')" if long else ""
    assert table.notices[0] == (
        f"3 rows are missing at a frequency of 1D{where}: their values are treated as missing"
    )
    assert table.notices[1].startswith("channel 'y': 3 missing values")


@pytest.mark.parametrize(
    ("freq", "zone"),
    [("h", None), ("15min", None), ("MS", None), ("ME", None), ("B", None), ("QE", None),
     ("W-SUN", None), ("D", "Europe/Berlin"), ("h", "Europe/Paris"), (None, None)],
)  # fmt: skip
def test_any_step_may_leave_rows_out(freq: str | None, zone: str | None):
    stamps: Any = np.arange(0, 10 * N, 10)
    if freq:
        stamps = pd.date_range("2024-02-28", periods=N, freq=freq, tz=zone)
    whole = read_table(pd.DataFrame({"ds": stamps, "y": Y}))
    table = read_table(pd.DataFrame({"ds": stamps, "y": Y}).drop(index=[1, 30, 31, 78]))
    np.testing.assert_array_equal(table.times, whole.times)
    assert table.frequency == whole.frequency
    assert np.flatnonzero(np.isnan(table.values)).tolist() == [1, 30, 31, 78]


def test_the_step_may_be_given():
    every_other = daily().iloc[::2]
    assert read_table(every_other).known is None
    table = read_table(every_other, frequency="D")
    assert (len(table.times), int(np.isnan(table.values).sum())) == (79, 39)
    with pytest.raises(DataError, match=r"after 2024-01-01.* expected a step of 3D, .*resample"):
        read_table(every_other, frequency="3D")
    with pytest.raises(DataError, match="'1MS': expected the first one to be"):
        read_table(daily().iloc[4:], frequency="MS")


def test_a_stray_stamp_is_no_gap():
    frame = daily()
    frame.loc[N - 1, "ds"] = pd.Timestamp("2040-01-01")
    with pytest.raises(DataError, match=r"more than 20 times the 80 rows found; correct stray"):
        read_table(frame)


def test_gaps_before_a_stamp_off_the_grid_do_not_hide_it():
    frame = daily().drop(index=[5, 6])
    frame.loc[20, "ds"] += pd.Timedelta(hours=5)
    with pytest.raises(
        DataError, match=r"after 2024-01-20.* found a step of 29h, to 2024-01-21T05"
    ):
        read_table(frame)


@pytest.mark.parametrize("long", [False, True])
def test_zeros_stand_for_missing_values_where_the_user_says_so(long: bool):
    frame = daily(np.where(np.arange(N) == 7, np.nan, Y)).drop(index=[3, 40])
    if long:
        frame = frame.assign(unique_id="a")
    table = read_table(frame, fill=0)
    assert np.flatnonzero(table.values == 0).tolist() == [3, 7, 40]
    assert table.known is None
    assert table.notices[-1].startswith("channel 'y': 3 missing values")
    assert table.notices[-1].endswith(", replaced by 0")
    zeros = daily(np.where(np.isin(np.arange(N), [3, 7, 40]), 0, Y))
    if long:
        zeros = zeros.assign(unique_id="a")
    models = [forecaster(fill=0).fit(frame), forecaster().fit(zeros)]
    one, two = (model.predict() for model in models)
    pd.testing.assert_frame_equal(one, two)
    pd.testing.assert_frame_equal(models[0].predict(frame), two)
    loaded = forecaster(fill=0.0).get_params()["fill"]
    assert loaded == 0


@pytest.mark.parametrize("fill", ["0", "last", np.nan, np.inf, True])
def test_other_fillings_are_refused(fill: Any):
    with pytest.raises(
        ConfigError, match="fill must be a finite number to replace missing values with"
    ):
        forecaster(fill=fill).fit(daily().drop(index=3))


def test_zeros_on_the_command_line(tmp_path: Path):
    daily().drop(index=[70, 71]).to_csv(tmp_path / "t.csv", index=False)
    small = ["--model.d_model", "8", "--model.d_ff", "16", "--model.kernel_sizes", "[3]"]
    for flags, told in (
        ([], "2 missing values"),
        (["--fill", "0"], "2 missing values, replaced by 0"),
    ):
        code = main(
            ["forecast", str(tmp_path / "t.csv"), "--h", "3", "--input_size", "12", "--quiet",
             "--training.epochs", "1", "--out", str(tmp_path / "f.csv"),
             "--json", str(tmp_path / "r.json"), *small, *flags]
        )  # fmt: skip
        assert code == 0
        notices = json.loads((tmp_path / "r.json").read_text())["notices"]
        assert f"channel 'y': {told}" in notices


# --- contexts without a mask ----------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([None, 1.0, 2.0, -3.0, 7.5]), min_size=1, max_size=12),
)
def test_contexts_are_filled_as_interp_does_it(cells: list[float | None]):
    values = np.array([np.nan if cell is None else cell for cell in cells])
    known = ~np.isnan(values)
    found = filled_contexts(np.stack([values, values]))
    if not known.any():
        assert np.isnan(found).all()
        return
    expected = np.interp(np.arange(len(values)), np.flatnonzero(known), values[known])
    np.testing.assert_allclose(found, [expected] * 2, atol=1e-12)
    np.testing.assert_array_equal(found[0, known], values[known])


def test_a_context_without_a_known_value_stays_as_it_is():
    x = torch.tensor([[0.0, 0.0], [3.0, 9.0]])
    assert fill_contexts(x, torch.tensor([[False, False], [True, False]])).tolist() == [
        [0, 0],
        [3, 3],
    ]


@pytest.mark.parametrize("masks", [False, True])
def test_predict_forecast_and_evaluate_read_gaps_alike(masks: bool):
    values = np.stack([Y, np.cos(np.arange(N) / 4)], 1)
    values[[66, 70, 79], 0] = np.nan
    values[72:, 1] = np.nan
    model = forecaster(model={"masks": masks}).fit(values, split=(50, 65))
    expected = model.predict()
    np.testing.assert_array_equal(model.predict(values), expected)
    np.testing.assert_allclose(model.forecast(values), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(model.predict(values[-13:]), expected)
    longer = np.concatenate([values, expected + 1.0])
    found = model.evaluate(longer, first_row=N)
    assert found.mae_per_channel == pytest.approx({"0": 1.0, "1": 1.0}, rel=1e-5)


def test_a_right_edge_takes_the_last_known_value():
    values = Y[:, None].copy()
    model = forecaster(model={"masks": False}).fit(values)
    gap, held = values.copy(), values.copy()
    gap[-3:], held[-3:] = np.nan, values[-4]
    np.testing.assert_array_equal(model.forecast(gap), model.forecast(held))
    # and a left edge the first of the same context, whatever lies before it
    gap, held = values.copy(), values.copy()
    gap[-12:-9], held[-12:-9] = np.nan, values[-9]
    np.testing.assert_array_equal(model.predict(gap), model.forecast(held))
    gap[:-12] += 1000
    assert np.isfinite(model.predict(gap)).all()


def test_a_tail_with_gaps_is_saved_as_finite_numbers_and_a_mask(tmp_path: Path):
    from safetensors.numpy import load_file

    frame = panel(Y, 3 * Y).reset_index(drop=True)
    frame.loc[[72, 79, N + 70], "y"] = np.nan
    model = forecaster().fit(frame)
    arrays = load_file(model.save(tmp_path / "m") / "data.safetensors")
    assert np.isfinite(arrays["tail.values"]).all()
    assert int((~arrays["tail.known"]).sum()) == 3
    loaded = ConvTimeNetForecaster.load(tmp_path / "m", device="cpu")
    np.testing.assert_array_equal(loaded.tail_.values, model.tail_.values)
    pd.testing.assert_frame_equal(loaded.predict(), model.predict())


# --- the seasonal naive forecaster and its scores -------------------------------------------------


def test_the_naive_forecaster_reads_the_mask():
    nan = np.nan
    x = np.array([[[1.0, 2, 3, 4, nan, 6, 7, 8, nan, nan, nan, 12, 13, 14, nan]]])
    known = ~np.isnan(x)
    found = SeasonalNaive(4, 6)(torch.from_numpy(np.nan_to_num(x)), torch.from_numpy(known))
    # the phases of rows 11 to 14: 12, 13, 14 and, for row 14, row 6
    assert found.tolist() == [[[12, 13, 14, 7, 12, 13]]]
    known[..., :4] = known[..., 4:8] = False
    found = SeasonalNaive(4, 5)(torch.from_numpy(np.nan_to_num(x)), torch.from_numpy(known))
    assert found.tolist() == [[[12, 13, 14, 14, 12]]]  # nothing known in that phase


@settings(max_examples=40)
@given(
    st.integers(1, 7),
    st.integers(1, 9),
    st.lists(st.booleans(), min_size=1, max_size=25),
)
def test_the_naive_forecast_equals_a_loop(season: int, horizon: int, there: list[bool]):
    L = max(len(there), season)
    known = np.array([False] * (L - len(there)) + there)
    if not known.any():
        return
    values = np.where(known, np.arange(L) + 10.0, 0)
    expected = []
    for step in range(horizon):
        at = L - season + step % season
        phase = [i for i in range(at, -1, -season) if known[i]]
        expected.append(values[phase[0] if phase else np.flatnonzero(known)[-1]])
    x, mask = torch.from_numpy(values)[None, None], torch.from_numpy(known)[None, None]
    assert SeasonalNaive(season, horizon)(x, mask)[0, 0].tolist() == expected
    if known.all():
        assert SeasonalNaive(season, horizon)(x)[0, 0].tolist() == expected


def test_intervals_of_the_naive_forecaster_read_the_mask_as_well():
    y = Y.copy()
    y[np.random.default_rng(0).random(N) < 0.2] = np.nan
    y[[N - 5, N - 4]] = np.nan
    model, distances = forecaster(), []
    found = backtest(model, daily(y), season=1, level=[50]).frame
    known = model.read(daily(y)).values[: N - 3, 0]
    part = round(0.2 * len(known))
    for t in range(len(known) - part, len(known) - 2):
        context = known[t - 12 : t][~np.isnan(known[t - 12 : t])]
        distances.append(np.abs(known[t : t + 3] - context[-1]) / context.std())
    radii = Calibration.of(np.array(distances)[:, None]).radius(50)[0]
    last = known[-12:][~np.isnan(known[-12:])]
    np.testing.assert_array_equal(found["SeasonalNaive"], last[-1])
    width = found["SeasonalNaive-hi-50"] - found["SeasonalNaive"]
    np.testing.assert_allclose(width, radii * last.std(), rtol=1e-3)


def test_mase_counts_known_differences_only():
    y = np.arange(N) % 7 + np.arange(N) / 10
    y[[20, 21, 45]] = np.nan
    found = backtest(forecaster(), daily(y), level=None)
    train = y[: N - 3]
    scale = np.nanmean(np.abs(train[7:] - train[:-7]))
    error = np.abs(found.frame["y"] - found.frame["ConvTimeNet"]).mean()
    assert found.summary["ConvTimeNet"]["mase"] == pytest.approx(error / scale)
    with pytest.raises(DataError, match="no two known training values are 2 steps apart"):
        scores.mase([1.0], [2.0], [1.0, np.nan, np.nan, 2.0], season=2)


def test_a_backtest_goes_back_to_the_last_known_value_of_all():
    y = Y.copy()
    y[50:77] = np.nan
    found = backtest(forecaster(), panel(y, Y), season=1, level=[50])
    of = found.frame["unique_id"] == "s0"
    assert found.frame.loc[of, "SeasonalNaive"].tolist() == [y[49]] * 3


def test_a_backtest_refuses_a_series_that_has_not_begun():
    y = Y.copy()
    y[:75] = np.nan
    with pytest.raises(
        DataError, match=r"all values of 'y' in the series 's1' before .* missing.*leave"
    ):
        backtest(forecaster(), panel(Y, y), n_windows=2)
    assert len(backtest(forecaster(), panel(Y, y), n_windows=1).frame) == 6
    wide = daily(z=y)
    with pytest.raises(DataError, match=r"all values of 'z' before .* missing.*leave it out"):
        backtest(forecaster(), wide, n_windows=2)


def test_a_backtest_without_a_value_to_score_is_refused_before_training():
    y = np.where(np.arange(N) >= 77, np.nan, Y)
    with pytest.raises(DataError, match=r"all values after .* missing, .*leave out the empty rows"):
        forecaster(n_epochs=10**6).cross_validation(daily(y))


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("split", [None, (60, 80)])
def test_a_held_back_part_without_a_value_trains_whole_and_says_so(masks: bool, split: Any):
    y = np.where(np.arange(N) >= 60, np.nan, Y)
    model = forecaster(model={"masks": masks}, n_epochs=2).fit(daily(y), split=split)
    assert any("no window in the validation split has a known context" in n for n in model.notices_)
    assert len(model.history_.epochs) == 2
    # with masks trainings on earlier rows give the errors
    assert (model.calibration_ is not None) == masks
    assert np.isfinite(model.predict()["y"]).all()


def test_held_back_rows_behind_a_long_gap_are_found_unusable_too():
    """Their own values are known, but no window that forecasts one has a context."""
    y = Y.copy()
    y[60:77] = np.nan
    model = forecaster(input_size=12).fit(daily(y), split=(77, 80))
    assert any("no window in the validation split" in notice for notice in model.notices_)


def test_nothing_to_learn_from_is_said_before_training():
    y = np.full(N, np.nan)
    y[[0, 79]] = 1.0
    with pytest.raises(DataError, match=r"no window to train on: .*\(fill=0"):
        forecaster(n_epochs=10**6).fit(daily(y))
    assert np.isfinite(forecaster(fill=0).fit(daily(y)).predict()["y"]).all()


def test_a_series_that_begins_after_its_training_part_is_scaled_as_the_others():
    y = Y.copy()
    y[:70] = np.nan
    model = forecaster().fit(panel(Y, 3 * Y, 1000 * y))
    centre = model.scaler_.centre[:, 0, 0]
    assert centre[2] == pytest.approx(np.median(centre[:2]))
    told = (
        "'y': all values in the training rows are missing in 1 series ('s2'); scaled by the median"
    )
    assert any(notice.startswith(told) for notice in model.notices_)
    wide = forecaster().fit(daily(z=y))
    told = "'z': all values in the training rows are missing; not scaled"
    assert told in wide.notices_


@pytest.mark.parametrize("quantiles", [(), (0.1, 0.5, 0.9)])
def test_targets_that_are_missing_never_count(quantiles: tuple[float, ...]):
    """Also without masks, where they were once filled and learnt."""
    y = Y.copy()
    y[30:34] = np.nan
    sizes = {"masks": False, "quantiles": quantiles}
    model = forecaster(model=sizes).fit(daily(y), split=(60, 80))
    table = model.read(daily(y))
    found = model.evaluate(table)
    expected = [
        int((~np.isnan(y[s + 12 : s + 15])).sum() * (~np.isnan(y[s : s + 12])).any())
        for s in range(N - 14)
    ]
    assert found.n_values == sum(expected)


# --- one row --------------------------------------------------------------------------------------


def test_a_new_series_of_one_row_has_the_step_of_the_model():
    model = forecaster().fit(panel(Y, 3 * Y))
    one = pd.DataFrame({"unique_id": ["new"], "ds": [pd.Timestamp("2024-05-05")], "y": [7.0]})
    found = model.predict(one)
    assert found["ds"].tolist() == list(pd.date_range("2024-05-06", periods=3, freq="D"))
    np.testing.assert_allclose(found["ConvTimeNet"], 7, atol=1)
    several = pd.concat([one, one.assign(unique_id="other")])
    assert len(model.predict(several)) == 6
    with pytest.raises(DataError, match="no series has two rows to infer the frequency from"):
        read_table(several)
    with pytest.raises(DataError, match="at least 2 rows, found 1"):
        read_table(one)
    assert len(read_table(one, frequency="D").times) == 1
    wide = forecaster().fit(daily())
    with pytest.raises(DataError, match="the model reads a context of 12 rows, the table has 1"):
        wide.predict(daily().iloc[:1])
    # another fit looks for its own step
    with pytest.raises(DataError, match="no series has two rows"):
        model.fit(several)


# --- far from zero --------------------------------------------------------------------------------


def raised(offset: float, long: bool) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    y = np.round(np.sin(np.arange(200) / 3) + 0.1 * rng.normal(size=200), 3)
    frame = pd.DataFrame({"ds": pd.date_range("2024", periods=200, freq="D"), "y": y + offset})
    return frame.assign(unique_id="a") if long else frame


@cache
def fitted_near_0(long: bool) -> ConvTimeNetForecaster:
    return forecaster(scale=False, n_epochs=3).fit(raised(0.0, long))


@pytest.mark.parametrize(("long", "offset"), in_turn([False, True], [1e5, 1e7, -1e9, 1e11]))
def test_an_offset_does_not_make_errors_grow(offset: float, long: bool, tmp_path: Path):
    frames = [raised(level, long) for level in (0.0, offset)]
    y = frames[0]["y"].to_numpy()
    plain, far = fitted_near_0(long), forecaster(scale=False, n_epochs=3).fit(frames[1])
    column = "ConvTimeNet" if long else "y"
    expected, found = (m.predict(level=[50]).filter(like=column) for m in (plain, far))
    np.testing.assert_allclose(found - offset, expected, atol=2e-3)
    scored = [
        m.evaluate(f, first_row=160).scores["mse"]
        for m, f in zip((plain, far), frames, strict=True)
    ]
    assert scored[1] == pytest.approx(scored[0], rel=0.02)
    values = y[:, None] + offset
    np.testing.assert_allclose(far.forecast(values)[:, 0], found[column], rtol=0, atol=1e-4)
    # other channels, at another level
    other = np.stack([y * 2 - 3 * offset, y], 1)
    near = np.stack([y * 2, y], 1)
    moved = far.forecast(other) - [-3 * offset, 0]
    np.testing.assert_allclose(moved, far.forecast(near), atol=5e-3)
    loaded = ConvTimeNetForecaster.load(far.save(tmp_path / "m"), device="cpu")
    np.testing.assert_array_equal(loaded.forecast(values), far.forecast(values))


# tests/test_export.py has the quick tests of both: graphs without scaling that any level enters.


@pytest.mark.slow
def test_the_graph_reads_large_offsets_too(tmp_path: Path):
    """With quantiles; the runtime's below has none."""
    offset = 1e9
    y = np.sin(np.arange(200) / 3)[:, None] + offset
    y[[190, 199]] = np.nan
    model = forecaster(scale=False, model={"quantiles": (0.1, 0.5, 0.9)}).fit(y)
    parity = export(model, tmp_path / "x", "torch-export")
    graph = torch.export.load(tmp_path / "x" / "model.pt2").module()
    found = graph(torch.from_numpy(y[None, -12:].swapaxes(1, 2))).numpy()[:, :, 1]
    np.testing.assert_allclose(found[0].T, model.forecast(y), rtol=0, atol=1e-4)
    assert parity["max_difference"] < 1e-3
    assert np.abs(found - offset).max() < 2


@pytest.mark.slow
def test_and_so_does_the_runtime(tmp_path: Path):
    level = np.array([1e9, -3.0])
    y = np.stack([np.sin(np.arange(200) / 3), np.cos(np.arange(200) / 4)], 1) + level
    y[195, 0] = np.nan
    model = forecaster(scale=False).fit(y)
    assert export(model, tmp_path / "x", "onnx")["max_difference"] < 1e-3
    values = y + np.array([1e8, 0])  # another level than the fitted one
    graph = load(tmp_path / "x")
    assert isinstance(graph, ForecastRuntime)
    found = graph.forecast(values)
    np.testing.assert_allclose(found, model.forecast(values), rtol=0, atol=1e-4)
    assert np.abs(found - [1.1e9, -3]).max() < 3


def test_a_trained_scaling_is_kept_by_contexts_that_lie_far_from_it():
    model = forecaster().fit(Y[:, None])
    near = model.forecast(Y[:, None] + 50) - 50
    np.testing.assert_allclose(model.forecast(Y[:, None] + 1e9) - 1e9, near, atol=1e-3)


def test_without_revin_and_scaling_a_large_offset_is_refused():
    settings: dict[str, Any] = {"scale": False, "model": {"revin": False}}
    forecaster(**settings).fit(Y[:, None])
    with pytest.raises(DataError, match=r"channel '0' has a standard deviation .* use scale=True"):
        forecaster(**settings, n_epochs=10**6).fit(Y[:, None] + 1e9)
    constant = np.full((N, 1), 5e6)
    assert np.isfinite(forecaster(**settings).fit(constant).predict()).all()


class TestWhatIsSaid:
    """Where a forecast knows little, it says so."""

    def test_no_known_value_in_the_context(self):
        days = pd.date_range("2022-01-01", periods=900)
        waves = {"a": np.sin(np.arange(900.0)), "b": np.arange(900.0) % 7}
        table = pd.DataFrame({"ds": days, **waves})
        late = table.assign(b=table["b"].where(np.arange(900) < 100))
        model = ConvTimeNetForecaster(h=3, quality="fast", verbose=0).fit(table)
        rows = model.network_.config.context_length
        assert model.request(model.adapt(late)).notices == (
            f"no known value in the {rows} rows that a forecast reads: 'b'; what is forecast there "
            "is a usual level, which says nothing of the present one",
        )
        assert not model.request(model.adapt(table)).notices

    def test_new_series_of_few_rows_have_usual_intervals(self, caplog):
        rng = np.random.default_rng(0)
        days = pd.date_range("2024-01-01", periods=200)
        walks = pd.concat(
            pd.DataFrame({"unique_id": k, "ds": days, "y": 500 + rng.normal(size=200).cumsum()})
            for k in "abcd"
        )
        model = ConvTimeNetForecaster(h=3, quality="fast", verbose=0).fit(walks)
        for rows in (1, 2, 3):
            new = pd.DataFrame(
                {"unique_id": "new", "ds": days[:rows], "y": 565.0 + np.arange(rows)}
            )
            caplog.clear()
            found = model.predict(new, level=80)
            width = found["ConvTimeNet-hi-80"] - found["ConvTimeNet-lo-80"]
            assert (width > 1.5).all()
            assert (width < 12).all()
            assert (
                "fewer than 4 known values to forecast from: 'new'; intervals there are those of a "
                "usual deviation"
            ) in caplog.text

    def test_one_value_is_the_scale_of_its_channel(self):
        wave = 10 + np.sin(np.arange(600) * 2 * np.pi / 24)

        def said(model: ConvTimeNetForecaster) -> list[str]:
            return [one for one in model.notices_ if "far off" in one]

        for wrong in (1e7, 1e20):
            spoilt = np.where(np.arange(600) == 100, wrong, wave)
            model = ConvTimeNetForecaster(h=3, quality="fast", verbose=0).fit(spoilt)
            assert said(model) == [
                "channel '0': 1 value is more than 10,000 times as far off as nine in ten of the "
                f"others, first {wrong:.3g}, and forecasts and scores are in that scale; if it is "
                "an error, leave the cell empty"
            ]
            assert np.abs(model.predict(spoilt) - 10).max() < 1.5  # within the wave
        assert not said(ConvTimeNetForecaster(h=3, quality="fast", verbose=0).fit(wave))

    def test_steps_of_the_season_at_which_nothing_is_ever_recorded(self):
        hours = pd.date_range("2024-01-01", periods=24 * 30, freq="h")
        open_ = (hours.hour >= 9) & (hours.hour <= 17)
        wave = np.sin(hours.hour / 3.0) + np.random.default_rng(0).normal(0, 0.1, len(hours))
        frame = pd.DataFrame({"ds": hours, "shop": wave, "web": wave})

        def said(table: pd.DataFrame) -> list[str]:
            model = ConvTimeNetForecaster(h=24, quality="fast", verbose=0).fit(table)
            return [one for one in model.notices_ if "season" in one]

        text = (
            "no value is known at 15 of 24 steps of the season (first at {}), so what is forecast "
            "for those steps is a guess; leave them out of what you use"
        )
        assert said(frame.loc[open_]) == ["'shop', 'web': " + text.format("2024-01-01T18:00:00")]
        shut = frame.assign(shop=frame["shop"].where(open_))
        assert said(shut) == ["'shop': " + text.format("2024-01-01T00:00:00")]
        once = shut.assign(shop=shut["shop"].where(np.arange(len(hours)) >= 24, 0.0))
        assert not said(once)  # each step was recorded on the first day
        assert not said(frame.drop(index=range(50, 90)))
        assert not said(shut.tail(24 * 2 + 9))  # on three mornings, two whole days

        long = [frame[["ds", "shop"]].assign(unique_id="a"), shut[["ds", "shop"]]]
        panel = pd.concat([long[0], long[1].assign(unique_id="b")])
        assert said(panel) == ["'b': " + text.format("2024-01-01T00:00:00")]
