"""A table that meets a fitted model, and a plan that meets a table: they agree, or are converted
with a notice, or are refused.

Every case is tried as a pandas, polars and pyarrow frame and as a CSV file.
"""

from __future__ import annotations

import datetime
import logging
import re
import uuid
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from common import in_turn
from hypothesis import given, settings
from hypothesis import strategies as st

from convtimenet import ConvTimeNetForecaster
from convtimenet.cli.main import main
from convtimenet.data.agreement import Labels, match_ids, spelling
from convtimenet.data.covariates import Encoder
from convtimenet.data.forecast_tables import forecast_names, free_names
from convtimenet.data.tables import Table, read_table
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.forecasting.backtest import Backtest, backtest
from convtimenet.wording import column_names

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2}
KINDS = ["pandas", "polars", "pyarrow", "csv"]
BERLIN = "Europe/Berlin"


def forecaster(**settings: Any) -> ConvTimeNetForecaster:
    given = {"h": 4, "input_size": 12, "model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0}
    given |= {"refit": False}  # another file is about the second training
    given |= {"batch_size": 32}  # how well it is trained does not matter here
    return ConvTimeNetForecaster(**(given | settings))


def as_kind(frame: Any, kind: str, folder: Path, name: str = "t") -> Any:
    """The same rows in another container."""
    if kind == "pandas":
        return frame
    if kind == "polars":
        return pl.from_pandas(frame)
    if kind == "pyarrow":
        return pa.Table.from_pandas(frame, preserve_index=False)
    path = folder / f"{name}.csv"
    frame.to_csv(path, index=False)
    return path


def column(found: Any, name: str) -> np.ndarray:
    """A column of forecasts, whatever they came in."""
    if isinstance(found, Table):
        return found.values[:, found.channels.index(name)]
    if isinstance(found, pd.DataFrame):
        return found[name].to_numpy()
    return np.array(found[name].to_pylist() if isinstance(found, pa.Table) else found[name])


def names_of(found: Any) -> list[str]:
    return list(found.column_names if isinstance(found, pa.Table) else found.columns)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Any:
    """What was said since the last call."""
    caplog.set_level(logging.WARNING)

    def take() -> str:
        text = "\n".join(record.getMessage() for record in caplog.records)
        caplog.clear()
        return text

    return take


def series(T: int = 60, freq: str = "h", tz: str | None = None, **columns: Any) -> Any:
    """A season with a promotion that adds to it."""
    stamps = pd.date_range("2024-03-20", periods=T, freq=freq, tz=tz)
    promo = (np.arange(T) % 5 == 0).astype(float)
    y = np.sin(np.arange(T) / 3) + 2 * promo
    return pd.DataFrame({"ds": stamps, "y": y, "promo": promo}).assign(**columns)


def plan(table: Any, steps: int = 4, **columns: Any) -> Any:
    """Rows after the end of a table, of each of its series."""
    groups = table.groupby("unique_id", sort=False) if "unique_id" in table else [(None, table)]
    parts = []
    for name, one in groups:
        step = one["ds"].iloc[1] - one["ds"].iloc[0]
        stamps = one["ds"].iloc[-1] + step * np.arange(1, steps + 1)
        rows = pd.DataFrame({"ds": stamps, "promo": (np.arange(steps) % 2).astype(float)})
        parts.append(rows if name is None else rows.assign(unique_id=name))
    return pd.concat(parts, ignore_index=True).assign(**columns)


def panel(ids: list[Any], T: int = 40, dtype: Any = object) -> Any:
    """Series at levels a hundred apart, so that a wrong scale shows."""
    parts = [
        series(T, "D").assign(
            unique_id=pd.Series([one] * T, dtype=dtype), y=lambda f, i=i: f["y"] + 100 * i
        )
        for i, one in enumerate(ids)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def promoted() -> ConvTimeNetForecaster:
    """Fitted hourly without a time zone, with a covariate known ahead."""
    return forecaster(futr_exog=["promo"]).fit(series())


# These are only asked, so each is fitted once.


@cache
def planned_in_berlin() -> ConvTimeNetForecaster:
    return forecaster(futr_exog="promo", calendar=["hour"]).fit(series(tz=BERLIN))


@cache
def fitted_with_plan(**settings: Any) -> ConvTimeNetForecaster:
    return forecaster(futr_exog="promo", **settings).fit(series())


@cache
def fitted_without_plan(
    T: int = 60, freq: str = "h", tz: str | None = None, calendar: tuple[str, ...] | bool = False
) -> ConvTimeNetForecaster:
    return forecaster(calendar=calendar).fit(series(T, freq, tz)[["ds", "y"]])


@lru_cache(maxsize=None, typed=True)  # True is not 1 here
def fitted_to_goods(*labels: Any, role: str = "hist_exog") -> ConvTimeNetForecaster:
    return forecaster(target_cols="y", **{role: "kind"}).fit(kinds_of_goods(list(labels)))


# --- zones ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_with_a_zone_for_a_table_without_one_is_refused(promoted, kind, tmp_path):
    rows = plan(series())
    zoned = rows.assign(ds=rows["ds"].dt.tz_localize(BERLIN))
    with pytest.raises(DataError, match=r"of the plan are in the time zone .* have none"):
        promoted.predict(future=as_kind(zoned, kind, tmp_path))
    assert np.isfinite(promoted.predict(future=as_kind(rows, kind, tmp_path))["y"]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_without_a_zone_for_a_table_with_one_is_refused(kind, tmp_path):
    model, rows = planned_in_berlin(), plan(series(tz=BERLIN))
    bare = rows.assign(ds=rows["ds"].dt.tz_localize(None))
    with pytest.raises(DataError, match=r"of the plan lack a time zone, .* 'Europe/Berlin'"):
        model.predict(future=as_kind(bare, kind, tmp_path))


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("pandas", lambda frame, name: frame.assign(ds=frame["ds"].dt.tz_localize(BERLIN))),
        (
            "polars",
            lambda frame, name: frame.with_columns(pl.col("ds").dt.replace_time_zone(BERLIN)),
        ),
    ],
)
def test_the_remedy_for_a_missing_zone_works(kind, remedy, tmp_path):
    model, rows = planned_in_berlin(), plan(series(tz=BERLIN))
    bare = as_kind(rows.assign(ds=rows["ds"].dt.tz_localize(None)), kind, tmp_path)
    with pytest.raises(DataError, match=re.escape("Europe/Berlin")):
        model.predict(future=bare)
    found = model.predict(future=remedy(bare, "ds"))
    np.testing.assert_array_equal(found["y"], model.predict(future=rows)["y"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zone", ["UTC", "America/Toronto", "Asia/Kolkata"])
def test_a_plan_in_another_zone_is_the_same_instants(kind, zone, tmp_path, said):
    model, rows = planned_in_berlin(), plan(series(tz=BERLIN))
    expected = model.predict(future=rows)
    said()
    other = rows.assign(ds=rows["ds"].dt.tz_convert(zone))
    found = model.predict(future=as_kind(other, kind, tmp_path))
    assert "the plan is in the time zone" in said()
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("freq", "kind", "zone"), in_turn(["h", "D", "MS"], KINDS, ["UTC", "America/Toronto"])
)
def test_a_table_in_another_zone_is_the_same_instants(kind, freq, zone, tmp_path, said):
    """Calendar features follow the clock of training, forecasts come back in the caller's zone:
    also days and months of Berlin's clock, which are irregular in UTC from March to April."""
    T = {"h": 60, "D": 60, "MS": 40}[freq]
    table = series(T, freq, tz=BERLIN)[["ds", "y"]]
    model = fitted_without_plan(T, freq, BERLIN, ("hour", "dayofweek", "month"))
    expected = model.predict(table)
    said()
    other = table.assign(ds=table["ds"].dt.tz_convert(zone))
    found = model.predict(as_kind(other, kind, tmp_path))
    assert f"is in the time zone {zone}, the model was fitted in Europe/Berlin" in said() or (
        kind == "csv"
    )
    np.testing.assert_array_equal(column(found, "y"), expected["y"])
    if kind == "csv":
        instants = found.times
    else:
        stamps = found["ds"].to_pandas() if kind != "pandas" else found["ds"]
        assert str(stamps.dtype).endswith(f"{zone}]")
        instants = stamps.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    np.testing.assert_array_equal(
        instants.astype("M8[ns]"),
        expected["ds"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("M8[ns]"),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zoned", [False, True])
def test_a_table_with_a_zone_and_one_without_do_not_meet(kind, zoned, tmp_path):
    fitted, met = (BERLIN, None) if zoned else (None, BERLIN)
    model = fitted_without_plan(tz=fitted, calendar=True)
    other = series(tz=met)[["ds", "y"]]
    what = "lack a time zone" if zoned else "have none"
    for call in (model.predict, model.evaluate, model.calibrate, model.explain, model.score):
        with pytest.raises(DataError, match=what):
            call(as_kind(other, kind, tmp_path))


def test_a_saved_model_and_an_index_keep_zones(tmp_path):
    table = series(tz=BERLIN)[["ds", "y"]].set_index("ds")
    model = forecaster(calendar=["hour"]).fit(table)
    loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
    expected = model.predict()
    for one in (model, loaded):
        found = one.predict(table.tz_convert("UTC"))
        assert str(found.index.tz) == "UTC"
        pd.testing.assert_frame_equal(found.tz_convert(BERLIN), expected)


@pytest.mark.parametrize("zone", ["America/Toronto", "Asia/Kolkata", "Australia/Adelaide"])
def test_calendar_features_are_those_of_the_wall_clock(zone):
    """Kills the mutant that reads UTC; across a change of clocks."""
    stamps = pd.date_range("2024-03-08", periods=150, freq="h", tz=zone)
    table = read_table(pd.DataFrame({"ds": stamps, "y": 0.0}))
    _, rows = Encoder.fit(table, [], [], [], ["hour", "dayofweek"]).rows(table)
    clock = stamps.tz_localize(None)
    hours = (clock - clock.normalize()) / pd.Timedelta(hours=1)
    angle = 2 * np.pi * hours.to_numpy() / 24
    np.testing.assert_allclose(rows[:2], [np.sin(angle), np.cos(angle)], atol=1e-9)
    days = clock.to_numpy().astype("M8[D]").astype(int)
    np.testing.assert_allclose(rows[2], np.sin(2 * np.pi * days / 7), atol=1e-9)
    utc = read_table(pd.DataFrame({"ds": stamps.tz_convert("UTC"), "y": 0.0}))
    fitted = Encoder.fit(table, [], [], [], ["hour"])
    np.testing.assert_array_equal(fitted.rows(utc)[1], rows[:2])


# --- steps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freq", "calendar", "kind"), in_turn(["D", "2h", "30min", "MS"], [False, True], KINDS)
)
def test_another_step_is_refused(kind, calendar, freq, tmp_path):
    model = fitted_without_plan(calendar=calendar)
    other = as_kind(series(40, freq)[["ds", "y"]], kind, tmp_path)
    name = read_table(other).frequency.name
    for call in (model.predict, model.evaluate, model.calibrate, model.explain, model.score):
        with pytest.raises(DataError, match=f"steps of {name}, the model .* steps of 1h; resample"):
            call(other)
    with pytest.raises(DataError, match="steps of 1h"):
        model.predict(read_table(other))
    resampled = series(40, "h")[["ds", "y"]]
    assert (
        len(
            model.predict(as_kind(resampled, kind, tmp_path, "r")).times
            if kind == "csv"
            else column(model.predict(as_kind(resampled, kind, tmp_path)), "y")
        )
        == 4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_another_spacing_of_whole_numbers_is_refused(kind, tmp_path):
    frame = pd.DataFrame({"time": np.arange(60) * 10, "y": np.sin(np.arange(60.0))})
    model = forecaster().fit(as_kind(frame, kind, tmp_path))
    with pytest.raises(DataError, match="steps of 5, the model was fitted to steps of 10"):
        model.predict(as_kind(frame.assign(time=frame["time"] // 2), kind, tmp_path))
    late = model.predict(as_kind(frame.assign(time=frame["time"] + 1000), kind, tmp_path))
    times = late.times if kind == "csv" else column(late, "time")
    assert times.tolist() == [1600, 1610, 1620, 1630]


def test_a_stretch_that_fits_both_steps_has_the_models():
    """From Monday to Friday days and business days are the same."""
    days = pd.date_range("2024-01-01", periods=60, freq="B")
    frame = pd.DataFrame({"ds": days, "y": np.sin(np.arange(60.0)), "unique_id": "a"})
    model = forecaster().fit(frame)
    found = model.predict(frame.head(5))
    assert found["ds"].tolist() == list(pd.date_range("2024-01-08", periods=4, freq="B"))
    with pytest.raises(DataError, match=r"steps of 1D, .* steps of 1B"):
        model.predict(frame.assign(ds=pd.date_range("2024-01-01", periods=60)))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_too_few_for_a_step_have_the_models(kind, tmp_path):
    frame = panel(["a", "b"])[["unique_id", "ds", "y"]]
    model = forecaster().fit(frame)
    one = frame.groupby("unique_id").tail(1).reset_index(drop=True)
    found = model.predict(as_kind(one, kind, tmp_path))
    assert np.isfinite(column(found, "ConvTimeNet")).all()
    times = found.times if kind == "csv" else pd.to_datetime(column(found, "ds"))
    assert list(pd.to_datetime(times)) == 2 * list(pd.date_range("2024-04-29", periods=4))
    single = fitted_without_plan()
    with pytest.raises(DataError, match="reads a context of 12 rows, the table has 1"):
        single.predict(as_kind(series().tail(1)[["ds", "y"]], kind, tmp_path))


def test_arrays_have_no_stamps_to_contradict(said):
    frame = series()[["ds", "y"]]
    model = forecaster(scale=False).fit(frame)
    said()
    found = model.predict(frame[["y"]].to_numpy())
    assert "an array has no time stamps" in said()
    np.testing.assert_array_equal(found[:, 0], model.predict()["y"])
    reads = forecaster(scale=False, calendar=["hour"]).fit(frame)
    with pytest.raises(
        DataError, match="whole numbers as time stamps, the model was fitted to dates"
    ):
        reads.predict(frame[["y"]].to_numpy())
    numbered = frame.assign(ds=np.arange(60)).rename(columns={"ds": "time"})
    with pytest.raises(DataError, match="whole numbers as time stamps"):
        model.predict(numbered)


# --- labels --------------------------------------------------------------------------------------


def kinds_of_goods(written: list[Any], T: int = 60) -> Any:
    return series(T).assign(kind=[written[i % len(written)] for i in range(T)])


WRITINGS = {
    "text": ["1", "2"],
    "whole numbers": [1, 2],
    "fractions": [1.0, 2.0],
    "fractions as text": ["1.0", "2.0"],
    "with spaces": [" 1", "2 "],
    "categories": pd.Categorical([1, 2]),
    "categories of text": pd.Categorical(["1", "2"]),
}


@pytest.mark.parametrize(
    ("role", "kind", "writing"), in_turn(["hist_exog", "futr_exog"], KINDS, WRITINGS)
)
def test_one_label_may_be_written_in_many_ways(kind, writing, role, tmp_path, said):
    """Fitted with the texts "1" and "2"."""
    frame = kinds_of_goods(["1", "2"])
    model = fitted_to_goods("1", "2", role=role)
    given = kinds_of_goods(list(WRITINGS[writing]))
    if "categories" in writing:
        if kind == "polars" and writing == "categories":
            pytest.skip("polars has no categories of numbers")
        given["kind"] = given["kind"].astype("category")
    table, rows = given.head(56), given.tail(4)[["ds", "kind"]]
    ahead = {} if role == "hist_exog" else {"future": as_kind(rows, kind, tmp_path, "plan")}
    expected = model.predict(frame.head(56), *([frame.tail(4)] if ahead else []))
    said()
    found = model.predict(as_kind(table, kind, tmp_path), **ahead)
    np.testing.assert_array_equal(column(found, "y"), expected["y"])
    assert "did not see" not in said()
    scores = model.evaluate(as_kind(given, kind, tmp_path)).scores
    assert scores == model.evaluate(frame).scores


TRUTHS: list[list[Any]] = [[True, False], ["True", "False"], ["true", "false"]]


@pytest.mark.parametrize(("fitted", "kind", "given"), in_turn(TRUTHS, KINDS, [*TRUTHS, [1, 0]]))
def test_true_is_true_however_written(kind, given, fitted, tmp_path, said):
    frame, other = kinds_of_goods(fitted), kinds_of_goods(given)
    model = fitted_to_goods(*fitted)
    expected = model.predict(frame)["y"]
    said()
    found = model.predict(as_kind(other, kind, tmp_path))
    np.testing.assert_array_equal(column(found, "y"), expected)
    assert "did not see" not in said()


@pytest.mark.parametrize("kind", KINDS)
def test_unseen_categories_are_counted_and_near_ones_named(kind, tmp_path, said):
    frame = kinds_of_goods(["dry", "wet", "hail"])
    model = fitted_to_goods("dry", "wet", "hail", role="futr_exog")
    other = frame.assign(kind=frame["kind"].replace({"dry": "Dry"}))
    said()
    rows = pd.DataFrame({"ds": plan(frame)["ds"], "kind": ["Wet", "snow", "dry", "Wet"]})
    model.predict(as_kind(other, kind, tmp_path), as_kind(rows, kind, tmp_path, "plan"))
    text = said()
    assert (
        "covariate 'kind': 20 rows of the table hold categories not seen in training "
        "('Dry', did you mean 'dry'?)"
    ) in text
    assert "3 rows of the plan" in text
    assert "'Wet', did you mean 'wet'?" in text
    assert "'snow'" in text


@pytest.mark.parametrize("kind", KINDS)
def test_unseen_static_categories_too(kind, tmp_path, said):
    frame = panel(["a", "b"]).assign(region=lambda f: f["unique_id"].map({"a": "1", "b": "2"}))
    model = forecaster(target_cols="y", stat_exog="region").fit(frame)
    expected = model.predict(frame)["ConvTimeNet"]
    said()
    same = model.predict(
        as_kind(frame.assign(region=frame["region"].astype(float)), kind, tmp_path)
    )
    np.testing.assert_array_equal(column(same, "ConvTimeNet"), expected)
    assert said() == ""
    model.predict(as_kind(frame.assign(region="3"), kind, tmp_path))
    assert "80 rows of the table hold categories not seen in training ('3')" in said()


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_as_text_are_numbers_and_other_text_is_refused(kind, tmp_path, promoted):
    frame, rows = series(), plan(series())
    expected = promoted.predict(frame, rows)["y"]
    found = promoted.predict(
        as_kind(frame.assign(promo=frame["promo"].astype(str)), kind, tmp_path),
        as_kind(rows.assign(promo=["0", "1.0", "0e0", " 1 "]), kind, tmp_path, "plan"),
    )
    np.testing.assert_array_equal(column(found, "y"), expected)
    truth = rows.assign(promo=["False", "true", "FALSE", "True"])
    found = promoted.predict(frame, as_kind(truth, kind, tmp_path, "plan"))
    np.testing.assert_array_equal(column(found, "y"), expected)
    words = rows.assign(promo=["no", "yes", "no", "yes"])
    with pytest.raises(DataError, match="'promo': expected numbers as in training, found 'no'"):
        promoted.predict(frame, as_kind(words, kind, tmp_path, "plan"))
    with pytest.raises(DataError, match=r"found 'some' in row 0 of the table"):
        promoted.predict(as_kind(frame.assign(promo="some"), kind, tmp_path), rows)


def test_zeros_in_front_are_kept_by_text_and_lost_by_numbers(tmp_path, said):
    frame = kinds_of_goods(["01234", "98765"])
    model = forecaster(target_cols="y", hist_exog="kind").fit(frame)
    expected = model.predict(frame)["y"]
    said()
    found = model.predict(as_kind(frame, "csv", tmp_path))  # whose cells read as numbers
    np.testing.assert_array_equal(column(found, "y"), expected)
    assert "did not see" not in said()
    model.predict(kinds_of_goods(["1234", "98765"]))
    assert "'1234', did you mean '01234'?" in said()
    both = forecaster(target_cols="y", hist_exog="kind").fit(kinds_of_goods(["7", "07"]))
    with pytest.raises(DataError, match=r"7.0 could be any of the training categories '07', '7'"):
        both.predict(kinds_of_goods([7, 7]))


def test_missing_text_is_missing_in_every_container(tmp_path):
    frame = kinds_of_goods(["dry", None, "wet"])
    found = []
    for kind in KINDS:
        model = forecaster(target_cols="y", hist_exog="kind").fit(as_kind(frame, kind, tmp_path))
        assert model.covariates_.hist[0].categories == ("dry", "wet")
        found.append(column(model.predict(), "y"))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize(
    ("fitted", "word"), in_turn(KINDS, ["None", "NA", "nan", "null", "N/A", "-", "inf"])
)
def test_words_for_nothing_are_categories_of_text(fitted, word, tmp_path, said):
    """NA is a country and None a promotion: only an empty cell of text is missing."""
    frame = kinds_of_goods([word, "wet", ""])
    model = forecaster(target_cols="y", futr_exog="kind").fit(as_kind(frame, fitted, tmp_path))
    assert model.covariates_.futr[0].categories == tuple(sorted([word, "wet"]))
    # also where every cell of the plan is such a word
    for words in ([word, "wet", word, "wet"], [word] * 4):
        rows = plan(frame)[["ds"]].assign(kind=words)
        expected = model.predict(frame, rows)["y"]
        for kind in KINDS:
            said()
            found = model.predict(
                as_kind(frame, kind, tmp_path), as_kind(rows, kind, tmp_path, "plan")
            )
            np.testing.assert_array_equal(column(found, "y"), expected)
            assert "did not see" not in said()


@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_read_as_one_number_stay_apart_in_every_container(kind, tmp_path):
    frame = kinds_of_goods(["1.10", "1.1", "1e5"])
    model = fitted_to_goods("1.10", "1.1", "1e5")
    assert model.covariates_.hist[0].categories == ("1.1", "1.10", "1e5")
    found = model.predict(as_kind(frame, kind, tmp_path))
    np.testing.assert_array_equal(column(found, "y"), model.predict(frame)["y"])


@pytest.mark.parametrize("kind", KINDS)
def test_fractions_in_float32_are_the_texts_they_are_written_as(kind, tmp_path, said):
    frame = kinds_of_goods(["0.1", "0.25"])
    model = fitted_to_goods("0.1", "0.25")
    expected = model.predict(frame)["y"]
    said()
    given = frame.assign(kind=frame["kind"].astype(np.float32))
    np.testing.assert_array_equal(
        column(model.predict(as_kind(given, kind, tmp_path)), "y"), expected
    )
    assert said() == ""


def test_words_for_nothing_among_numbers_as_text_are_missing(promoted):
    rows = plan(series())
    lacking = rows.assign(promo=["0", "N/A", "0", "None"])
    with pytest.raises(DataError, match=r"'promo' are needed for 4 steps.*2 rows are incomplete"):
        promoted.predict(series(), lacking)


def test_writings_of_one_label_are_one_category_in_training():
    mixed = kinds_of_goods(["1", "1.0", "x", "True", "true"])
    model = forecaster(target_cols="y", hist_exog="kind").fit(mixed)
    assert model.covariates_.hist[0].categories == ("1", "True", "x")
    plain = forecaster(target_cols="y", hist_exog="kind").fit(
        kinds_of_goods(["1", "1", "x", "True", "True"])
    )
    np.testing.assert_array_equal(model.predict()["y"], plain.predict()["y"])


@given(st.integers(1 - 2**53, 2**53 - 1))
@settings(max_examples=200)
def test_spellings_of_a_whole_number_are_one(number):
    assert len({spelling(one) for one in (number, str(number), float(number), f"{number}.0")}) == 1
    assert Labels([str(number)]).find(float(number)) == [0]
    assert Labels([number]).find(str(number)) == [0]


@given(st.text(max_size=12), st.text(max_size=12))
@settings(max_examples=300)
def test_different_texts_are_different(one, other):
    """Unless both are the same number, truth value or text between spaces."""
    if spelling(one) == spelling(other) and one.strip() != other.strip():
        same = one.strip().lower() == other.strip().lower() in ("true", "false")
        assert same or float(one) == float(other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1", "01", False), ("1.0", "1.00", False), ("1.10", "1.1", False), ("a", "A", False),
        ("-0", "0", True), ("1e3", "1000", False),
        ("12345678901234567", "12345678901234568", False),
        ("9" * 5000, "9" * 5001, False),
        ("", "0", False), ("0.5", ".5", False),
        ("nan", "NaN", False),
        ("550E8400-E29B-41D4-A716-446655440000", "550e8400-e29b-41d4-a716-446655440000", True),
    ],
)  # fmt: skip
def test_spelling(one, other, same):
    assert (spelling(one) == spelling(other)) == same


# --- ids -----------------------------------------------------------------------------------------

IDS: dict[str, list[Any]] = {
    "text": ["101", "102"],
    "whole": [101, 102],
    "fractions": [101.0, 102.0],
    "numpy": [np.int32(101), np.int32(102)],
    "categories": ["101", "102"],
}


def panel_with_ids(fitted: str) -> Any:
    if fitted == "text":
        return panel(IDS["text"])
    return panel(IDS["whole"], dtype=None)


@cache
def fitted_to_ids(fitted: str) -> ConvTimeNetForecaster:
    with TemporaryDirectory() as folder:
        kind = "csv" if fitted == "csv" else "pandas"
        table = as_kind(panel_with_ids(fitted), kind, Path(folder))
        return forecaster(futr_exog="promo").fit(table)


@pytest.mark.parametrize(
    ("fitted", "kind", "written"), in_turn(["text", "whole", "csv"], KINDS, IDS)
)
def test_ids_match_however_they_are_written(kind, written, fitted, tmp_path, said):
    """Each series is a hundred above the one before: with the scale of another it would show."""
    model, frame = fitted_to_ids(fitted), panel_with_ids(fitted)
    expected = model.predict(frame, plan(frame))["ConvTimeNet"]
    other = panel(IDS[written], dtype={"numpy": "int32"}.get(written))
    if written == "categories":
        other = other.astype({"unique_id": "category"})
    rows = plan(other)
    if written == "categories":
        rows = rows.astype({"unique_id": "category"})
    said()
    table = as_kind(other, kind, tmp_path)
    found = model.predict(table, as_kind(rows, kind, tmp_path, "plan"))
    np.testing.assert_array_equal(column(found, "ConvTimeNet"), expected)
    assert "not seen" not in said()
    if kind != "csv":
        ours, theirs = found["unique_id"], table["unique_id"]
        assert ours.type == theirs.type if kind == "pyarrow" else ours.dtype == theirs.dtype
    mixed = model.predict(frame, as_kind(rows, kind, tmp_path, "plan"))["ConvTimeNet"]
    np.testing.assert_array_equal(mixed, expected)


@pytest.mark.parametrize(
    "ids",
    [
        [101, "a", 103.0],
        [True, "b"],
        [Decimal("1.10"), Decimal(2)],
        [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)],
        [np.int32(7), "c", uuid.UUID(int=7)],
        [2**64, "d"],
    ],
)
def test_ids_of_several_types_come_back_from_a_saved_model(ids, tmp_path, said):
    model = forecaster().fit(panel(ids))
    before = model.predict()
    assert before["unique_id"].tolist()[::4] == ids
    said()
    path = model.save(tmp_path / "m")
    after = ConvTimeNetForecaster.load(path, device="cpu").predict()
    assert said() == ""
    pd.testing.assert_frame_equal(after, before)
    assert [type(one) for one in after["unique_id"].iloc[::4]] == [
        int if isinstance(one, np.integer) else type(one) for one in ids
    ]


def test_ids_that_a_saved_model_cannot_hold_are_told_of(tmp_path, said):
    model = forecaster().fit(panel([b"a", b"b"]))
    said()
    loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
    assert "ids of type bytes will be text after loading the saved model" in said()
    assert loaded.predict()["unique_id"].tolist()[::4] == ["b'a'", "b'b'"]
    found = loaded.predict(panel([b"a", b"b"]))
    np.testing.assert_array_equal(found["ConvTimeNet"], model.predict()["ConvTimeNet"])


@pytest.mark.parametrize("kind", ["pandas", "polars", "csv"])
def test_uuids_match_their_text_and_come_back(kind, tmp_path, said):
    ids = [uuid.UUID(int=7), uuid.UUID(int=2**100)]
    frame = panel(ids)
    model = forecaster().fit(frame)
    expected = model.predict()
    assert [type(one) for one in expected["unique_id"]] == [uuid.UUID] * 8
    loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
    pd.testing.assert_frame_equal(loaded.predict(), expected)
    said()
    text = panel([str(one).upper() for one in ids])
    found = loaded.predict(as_kind(text, kind, tmp_path))
    np.testing.assert_array_equal(column(found, "ConvTimeNet"), expected["ConvTimeNet"])
    assert "not seen" not in said()
    if kind == "polars":
        objects = pl.from_pandas(text.drop(columns="unique_id")).with_columns(
            pl.Series("unique_id", frame["unique_id"].tolist(), dtype=pl.Object)
        )
        assert model.predict(objects)["unique_id"].to_list() == expected["unique_id"].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_truth_values_are_ids_too(kind, tmp_path):
    frame = panel([True, False], dtype=bool)
    model = forecaster().fit(as_kind(frame, kind, tmp_path))
    found = model.predict()
    if kind == "csv":
        assert found.ids.tolist() == ["True", "False"]
    else:
        assert column(found, "unique_id").tolist() == [True] * 4 + [False] * 4
    text = model.predict(panel(["true", "false"]))
    assert text["unique_id"].tolist() == ["true"] * 4 + ["false"] * 4
    np.testing.assert_array_equal(text["ConvTimeNet"], column(found, "ConvTimeNet"))


def test_fractions_as_ids_come_back_and_are_saved(tmp_path):
    frame = panel([101.0, 102.0], dtype=float)
    model = forecaster().fit(frame)
    loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
    assert loaded.predict()["unique_id"].dtype == np.float64
    pd.testing.assert_frame_equal(loaded.predict(), model.predict())
    with pytest.raises(
        DataError, match=r"expected ids as text or whole numbers, found the number 1.5"
    ):
        forecaster().fit(panel([1.5, 2.0], dtype=float))


def test_zeros_in_front_of_an_id(said):
    padded = panel(["0101", "0102"])
    model = forecaster().fit(padded)
    expected = model.predict()["ConvTimeNet"]
    said()
    found = model.predict(panel([101, 102], dtype=int))  # as pandas reads such a column of a file
    np.testing.assert_array_equal(found["ConvTimeNet"], expected)
    assert "ids are matched by value (101 as '0101', 102 as '0102')" in said()
    model.predict(panel(["101", "0102"]))
    assert "1 of 2 series were not seen in training ('101', did you mean '0101'?)" in said()
    both = forecaster().fit(panel(["101", "0101"]))
    with pytest.raises(DataError, match=r"the id 101 could be any of '101', '0101'"):
        both.predict(panel([101], dtype=int))
    numbers = forecaster().fit(panel([101, 102], dtype=int))
    with pytest.raises(DataError, match=r"the ids '101' and '0101' both match the series 101"):
        numbers.predict(panel(["101", "0101"]))


def test_numbers_are_the_texts_that_read_as_them():
    labels = Labels(["1e3", "1.50", "1.1", "1.10", "007"])
    assert [labels.find(one) for one in (1000.0, 1.5, 7, 1.1)] == [[0], [1], [4], [2, 3]]
    assert [labels.find(one) for one in ("1000", "1.5", "7", "1.1", "1.10")] == [
        [],
        [],
        [],
        [2],
        [3],
    ]
    versions = kinds_of_goods(["1.1", "1.10", "2.0"])
    model = forecaster(target_cols="y", hist_exog="kind").fit(versions)
    assert model.covariates_.hist[0].categories == ("1.1", "1.10", "2.0")


def test_series_that_training_did_not_see_are_named(said):
    model = forecaster().fit(panel(["north", "south"]))
    said()
    model.predict(panel(["North", "south", "x", "y", "z"]))
    assert (
        "4 of 5 series were not seen in training ('North', did you mean 'north'?, 'x', 'y' and 1 "
        "more); they are scaled with their own statistics"
    ) in said()
    model.predict(panel(["south"]))
    assert said() == ""


def test_a_plan_may_not_have_one_series_twice():
    model = forecaster(futr_exog="promo").fit(panel([101, 102], dtype=int))
    rows = plan(panel(["101", "101.0", "102"]))
    with pytest.raises(DataError, match=r"the plan: the ids '101' and '101.0' both match"):
        model.predict(future=rows)


def test_ids_of_pyarrows_own_types_come_back(tmp_path):
    frame = pa.Table.from_pandas(panel(["a", "b"]), preserve_index=False)
    numbers = np.repeat([5, 6], 40)
    for ids in (
        pa.array(numbers).dictionary_encode(),
        pa.array(numbers.astype(str)).dictionary_encode(),
        pa.array([uuid.UUID(int=one).bytes for one in numbers.tolist()], pa.uuid()),
        pa.array(numbers.astype(str), pa.large_string()),
        pa.array(numbers.astype(np.uint64) + 2**63),
    ):
        table = frame.set_column(frame.column_names.index("unique_id"), "unique_id", ids)
        model = forecaster(target_cols="y").fit(table)
        found = model.predict()["unique_id"]
        assert found.type == ids.type
        assert found.to_pylist() == [one for one in ids.to_pylist()[::40] for _ in range(4)]
        loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        assert loaded.predict()["unique_id"].to_pylist() == found.to_pylist()


def test_explain_takes_ids_in_any_writing():
    model = forecaster().fit(panel([101, 102], dtype=int))
    assert model.explain(series="102").ids.tolist() == [102]
    with pytest.raises(DataError, match="lacks the series '103'"):
        model.explain(series="103")


@given(st.lists(st.integers(0, 999), min_size=1, max_size=8, unique=True), st.randoms())
@settings(max_examples=50)
def test_ids_of_any_order_and_writing_find_their_series(numbers, random):
    order = list(range(len(numbers)))
    random.shuffle(order)
    written = [random.choice([int, str, float])(numbers[i]) for i in order]
    found, notices = match_ids(np.array([*written, None], object)[:-1], Labels(numbers), "it")
    assert (found.tolist(), notices) == (order, [])


# --- plans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_plan_may_come_in_any_order_with_others(kind, tmp_path, promoted):
    table, rows = series(), plan(series())
    expected = promoted.predict(future=rows)["y"]
    later = plan(table, 9).tail(5).assign(promo=np.nan)
    more = pd.concat([later, rows, table[["ds", "promo"]]]).sample(frac=1, random_state=0)
    more = more.assign(note="x", made_on="2024-01-01", y=np.nan)[
        ["note", "promo", "made_on", "y", "ds"]
    ]
    found = promoted.predict(future=as_kind(more.reset_index(drop=True), kind, tmp_path))
    np.testing.assert_array_equal(column(found, "y"), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_two_rows_for_one_stamp_are_refused(kind, value, tmp_path, promoted):
    """As in tables also where they say the same; beside the rows ahead they do not matter."""
    rows = plan(series())
    twice = pd.concat([rows, rows.iloc[[2]].assign(promo=value)], ignore_index=True)
    with pytest.raises(DataError, match="more than one row for 2024-03-22T14:00:00; keep one"):
        promoted.predict(future=as_kind(twice, kind, tmp_path))
    before = pd.concat([rows, series()[["ds", "promo"]].iloc[[5, 5]]], ignore_index=True)
    assert np.isfinite(column(promoted.predict(future=as_kind(before, kind, tmp_path)), "y")).all()


@pytest.mark.parametrize("kind", KINDS)
def test_two_rows_of_a_panel_are_named_with_their_series(kind, tmp_path):
    frame = panel(["a", "b"])
    model = forecaster(futr_exog="promo").fit(frame)
    rows = plan(frame)
    twice = pd.concat([rows, rows.iloc[[5]].assign(promo=9.0)], ignore_index=True)
    with pytest.raises(DataError, match=r"more than one row for 2024-04-30.* in the series 'b'"):
        model.predict(future=as_kind(twice, kind, tmp_path))


def test_a_series_that_only_the_plan_has_is_told_of(caplog):
    frame = panel(["a", "b"])
    model = forecaster(futr_exog="promo").fit(frame)
    rows = plan(panel(["a", "b", "c"]))
    caplog.clear()
    found = model.predict(future=rows)
    assert found["unique_id"].tolist() == ["a"] * 4 + ["b"] * 4
    assert "the plan has rows of series without a history, not forecast: 'c'" in caplog.text
    caplog.clear()
    model.predict(future=plan(frame))
    assert "without a history" not in caplog.text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("h", [1, 3, 4, 5, 8])
def test_a_plan_needs_as_many_rows_as_steps(kind, h, tmp_path, promoted, said):
    rows = plan(series(), h)
    said()
    found = promoted.predict(future=as_kind(rows, kind, tmp_path), h=h)
    short = -h % 4
    assert (f"lacks some values in the last {short} of" in said()) == bool(short)
    # what is not said is the mean of training
    filled = pd.concat(
        [rows, plan(series(), h + short).tail(short).assign(promo=series()["promo"][:48].mean())]
    )
    full = promoted.predict(future=filled, h=h)["y"]
    np.testing.assert_allclose(column(found, "y"), full, rtol=1e-6)
    with pytest.raises(DataError, match=f"needed for {h} steps ahead; .*, 1 rows are incomplete"):
        promoted.predict(
            future=as_kind(rows.iloc[1:], kind, tmp_path), h=h
        ) if h > 1 else promoted.predict(h=1)


def test_rows_that_a_plan_has_are_read_also_behind_the_steps(promoted):
    rows = plan(series())
    np.testing.assert_array_equal(
        promoted.predict(future=rows, h=1)["y"], promoted.predict(future=rows)["y"][:1]
    )


def test_texts_that_a_plan_does_not_say_are_none():
    frame = series().assign(kind=np.where(np.arange(60) % 2, "a", "b"))
    model = forecaster(target_cols="y", futr_exog=["kind"]).fit(frame)
    rows = pd.DataFrame({"ds": plan(frame)["ds"], "kind": ["a", "b", "c", "d"]})
    one = model.predict(future=rows.head(2), h=2)["y"]
    np.testing.assert_array_equal(one, model.predict(future=rows, h=2)["y"])


def test_a_table_that_was_read_without_the_covariates(promoted):
    frame, rows = series(), plan(series())
    with pytest.raises(DataError, match=r"lacks the covariates 'promo'.*covariates=\['promo'\]"):
        promoted.predict(read_table(frame, target_cols="y"), rows)
    table = read_table(frame, target_cols="y", covariates=["promo"])  # the remedy
    found = promoted.predict(table, rows)
    np.testing.assert_array_equal(found["y"], promoted.predict(frame, rows)["y"])


def test_a_series_is_the_plan_of_one_covariate(promoted):
    rows = plan(series())
    expected = promoted.predict(future=rows)["y"]
    found = promoted.predict(future=rows.set_index("ds")["promo"])
    np.testing.assert_array_equal(found["y"], expected)


def test_names_that_the_numbered_columns_of_an_array_cannot_have(promoted):
    with pytest.raises(DataError, match="'0' to '0', found 'promo'; give a fr"):
        promoted.predict(future=np.zeros(4))
    model = forecaster().fit(series()[["ds", "y"]])
    with pytest.raises(DataError, match="found 'y'; give a frame"):
        model.predict(series()[["y"]].to_numpy())
    # the remedy works
    assert len(model.predict(series()[["y", "ds"]])) == 4


def test_what_a_plan_lacks_is_named_with_what_it_has(promoted):
    rows = plan(series())
    with pytest.raises(
        DataError,
        match=r"'promo' are needed for 4 steps ahead; the first missing is at 2024-03-22T13:00:00, "
        r"1 rows are incomplete; the plan has rows from 2024-03-22T12:00:00 to 2024-03-22T15:00",
    ):
        promoted.predict(future=rows.drop(index=1))
    with pytest.raises(DataError, match="the plan lacks the covariate 'promo'; it has"):
        promoted.predict(future=read_table(series()[["ds", "y"]]))
    with pytest.raises(
        DataError, match="whole numbers as time stamps, the model was fitted to dates"
    ):
        promoted.predict(future=rows.assign(ds=range(4)))
    shifted = rows.assign(ds=rows["ds"] + pd.Timedelta(minutes=30))
    with pytest.raises(DataError, match="the first missing is at 2024-03-22T12:00:00, 4 rows"):
        promoted.predict(future=shifted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_given_as_the_table_names_future(kind, tmp_path, promoted):
    for model in (promoted, fitted_with_plan(target_cols="y")):
        with pytest.raises(
            DataError, match=r"lacks the channels 'y'; .* go into predict\(future=\.\.\.\)"
        ):
            model.predict(as_kind(plan(series()), kind, tmp_path))
    unscaled = fitted_with_plan(scale=False)
    with pytest.raises(DataError, match=r"go into predict\(future=\.\.\.\)"):
        unscaled.predict(as_kind(plan(series()), kind, tmp_path))


def test_an_id_column_in_the_plan_of_a_table_without_ids(promoted):
    rows = plan(series()).assign(unique_id="a")
    np.testing.assert_array_equal(
        promoted.predict(future=rows)["y"], promoted.predict(future=plan(series()))["y"]
    )
    two = pd.concat([rows, rows.assign(unique_id="b")])
    with pytest.raises(DataError, match="the plan has 2 series in its column 'unique_id'"):
        promoted.predict(future=two)


def test_the_time_column_of_training_is_taken_where_others_hold_dates():
    frame = series().rename(columns={"ds": "when"})
    model = forecaster(futr_exog="promo", target_cols="y").fit(frame)
    rows = plan(series()).rename(columns={"ds": "when"})
    expected = model.predict(future=rows)
    more = rows.assign(printed=pd.Timestamp("2024-01-01"))
    pd.testing.assert_frame_equal(model.predict(future=more), expected)
    wider = frame.assign(printed=pd.Timestamp("2024-01-01"), note="x")
    pd.testing.assert_frame_equal(model.predict(wider, more), expected)


def test_a_rolled_horizon_reads_its_own_covariates():
    """Kills the mutant that reads covariates at offset 0: beyond the trained horizon a forecast is
    that of a table that goes on with the forecast before it."""
    settings = {**cast(dict, forecaster().model), "linear": False}
    model = forecaster(futr_exog="promo", calendar=["hour"], model=settings).fit(series())
    rows = plan(series(), 8, promo=[0, 0, 0, 0, 1, 1, 0, 1.0])
    found = model.predict(future=rows, h=8)
    first = model.predict(future=rows.head(4), h=4)
    longer = pd.concat([series(), rows.head(4).assign(y=first["y"])], ignore_index=True)
    second = model.predict(longer, rows.tail(4))
    np.testing.assert_allclose(found["y"], [*first["y"], *second["y"]], rtol=1e-5)
    other = model.predict(future=rows.assign(promo=[0, 0, 0, 0, 0, 0, 1, 0.0]), h=8)
    np.testing.assert_array_equal(other["y"][:4], found["y"][:4])
    assert (other["y"][4:] - found["y"][4:]).abs().min() > 1e-6


# --- the command line ----------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command line in a folder with a table, sales.csv; give the exit code and all text."""
    monkeypatch.chdir(tmp_path)
    small = [f"--model.{name}={value}" for name, value in TINY.items() if name != "kernel_sizes"]
    small += ["--model.kernel_sizes=[3]", "--training.epochs=1", "--input_size=12", "--h=4"]

    def call(*flags: str) -> tuple[int, str]:
        load = any(flag.startswith("--load") for flag in flags)
        code = main(["forecast", *flags, "--quiet", *([] if load else small)])
        text = capsys.readouterr()
        return code, " ".join((text.out + text.err).split())

    return call


def test_the_command_line_refuses_and_converts_plans_alike(run, tmp_path, monkeypatch):
    frame = series(tz="UTC").assign(kind=np.where(np.arange(60) % 2, "1", "x"))
    frame.to_csv("sales.csv", index=False)
    flags = ["sales.csv", "--futr_exog=promo,kind", "--target_cols=y"]
    rows = plan(frame, kind=["x", "1", "x", "X"])

    def planned(rows: pd.DataFrame) -> str:
        rows.to_csv("plan.csv", index=False)
        return "--future=plan.csv"

    bare = planned(rows.assign(ds=rows["ds"].dt.tz_localize(None)))
    code, text = run(*flags, bare, "--out=a.csv")
    assert (code, Path("a.csv").exists()) == (2, False)
    assert "plan.csv: the time stamps of the plan lack a time zone" in text
    code, text = run(*flags, planned(rows.iloc[[0, 1, 2, 3, 3]]), "--out=a.csv")
    assert (code, "plan.csv: the plan has more than one row" in text) == (2, True)
    code, text = run(*flags, planned(rows), "--save=model", "--out=a.csv")
    assert code == 0, text
    assert "note: covariate 'kind': 1 rows of the plan hold categories" in text
    assert "'X', did you mean 'x'?" in text
    # the same instants from the same model
    berlin = rows.assign(ds=rows["ds"].dt.tz_convert(BERLIN))
    code, text = run("sales.csv", "--load=model", planned(berlin), "--out=b.csv")
    assert code == 0, text
    ours, theirs = Path("a.csv").read_text(), Path("b.csv").read_text()
    assert ours == theirs
    daily = frame.assign(ds=pd.date_range("2024-01-01", periods=60, tz="UTC"))
    daily.to_csv("daily.csv", index=False)
    code, text = run("daily.csv", "--load=model", planned(rows), "--out=c.csv")
    assert (code, "steps of 1D, the model was fitted to steps of 1h" in text) == (2, True)
    code, text = run("plan.csv", "--load=model", planned(rows), "--out=c.csv")
    assert (code, "lacks the channels 'y'" in text) == (2, True)
    assert not Path("c.csv").exists()


def test_the_command_line_says_what_it_converted_in_the_table(run):
    frame = panel([101, 102]).assign(kind=lambda f: np.where(f.index % 2, "a", "b"))
    frame.to_csv("sales.csv", index=False)
    code, text = run("sales.csv", "--hist_exog=kind", "--target_cols=y", "--save=m", "--out=a.csv")
    assert code == 0, text
    frame.assign(kind="c").to_csv("other.csv", index=False)
    code, text = run("other.csv", "--load=m", "--out=b.csv")
    assert code == 0, text
    assert "note: covariate 'kind': 80 rows of the table hold categories" in text


@pytest.mark.parametrize(
    ("flags", "exog", "calendar"),
    [
        (["--hist_exog=promo"], ("promo",), ()),
        (["--hist_exog=[promo]", "--calendar=hour"], ("promo",), ("hour",)),
        (["--calendar=auto"], (), ("hour", "dayofweek", "month")),
        (["--calendar=true"], (), ("hour", "dayofweek", "month")),
        (["--calendar=hour, month"], (), ("hour", "month")),
    ],
)
def test_flags_take_one_name_or_several(run, flags, exog, calendar):
    series().to_csv("sales.csv", index=False)
    code, text = run("sales.csv", "--target_cols=y", *flags, "--save=m", "--out=a.csv")
    assert code == 0, text
    model = ConvTimeNetForecaster.load("m", device="cpu")
    assert tuple(one.name for one in model.covariates_.hist) == exog
    assert model.covariates_.calendar == calendar


# --- names of columns ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "promo",
        ["promo"],
        ("promo",),
        {"promo"},
        np.array(["promo"]),
        pd.Index(["promo"]),
        pd.Series(["promo"]),
    ],
)
def test_one_string_is_one_name(value, tmp_path):
    frame = series().assign(kind="x")
    for role in ("hist_exog", "futr_exog", "stat_exog"):
        constant = frame.assign(promo=1.0) if role == "stat_exog" else frame
        model = forecaster(target_cols="y", calendar="hour", **{role: value}).fit(constant)
        columns = getattr(model.covariates_, role[:4])
        assert [one.name for one in columns] == ["promo"]
        assert model.covariates_.calendar == ("hour",)
        loaded = ConvTimeNetForecaster.load(model.save(tmp_path / role), device="cpu")
        assert loaded.covariates_ == model.covariates_
        assert loaded.exog == model.exog
    model = forecaster(target_cols=value).fit(series())
    assert model.channels_ == ("promo",)
    assert ConvTimeNetForecaster.load(
        model.save(tmp_path / "t"), device="cpu"
    ).predict().columns.tolist() == ["ds", "promo"]


def test_calendar_takes_auto_one_name_or_several():
    frame = series()[["ds", "y"]]
    usual = ("hour", "dayofweek", "month")
    for value, expected in [
        ("auto", usual), (True, usual), (np.True_, usual), (["auto"], usual),
        (False, ()), (None, ()), ((), ()), ("hour", ("hour",)),
        (("hour", "month"), ("hour", "month")), ({"month", "hour"}, ("hour", "month")),
    ]:  # fmt: skip
        assert forecaster(calendar=value).fit(frame).covariates_.calendar == expected
    with pytest.raises(ConfigError, match=r"calendar must hold names of .*found 'weekday'"):
        forecaster(calendar="weekday").fit(frame)


@pytest.mark.parametrize(
    "value", [3, 2.5, {"promo": 1}, b"promo", True, [["promo"]], [None], iter(["promo"])]
)
def test_other_kinds_of_names_are_refused(value):
    for role in ("hist_exog", "futr_exog", "stat_exog", "target_cols"):
        with pytest.raises(
            ConfigError, match=f"{role} must be a column name or a list of column names"
        ):
            forecaster(**{role: value}).fit(series())
    assert column_names("x", [1, "a"]) == ("1", "a")


def test_names_that_forecasts_would_take_from_channels(said):
    """The channel keeps its name; what is made gets another and a notice."""
    frame = series()[["ds", "y"]].assign(
        **{"y-lo-80": lambda f: f["y"] + 50, "rolled": lambda f: f["y"] - 50}
    )
    model = forecaster(training={"validation_fraction": 0.4}).fit(frame)
    plain = model.predict()
    said()
    for kind in ("pandas", "polars", "pyarrow"):
        found = model.predict(as_kind(frame, kind, Path()), level=[80])
        assert names_of(found) == [
            "ds", "y", "y-lo-80_", "y-hi-80", "y-lo-80", "y-lo-80-lo-80", "y-lo-80-hi-80",
            "rolled", "rolled-lo-80", "rolled-hi-80",
        ]  # fmt: skip
        assert "a column 'y-lo-80' already exists" in said()
        for name in ("y", "y-lo-80", "rolled"):
            np.testing.assert_allclose(column(found, name), plain[name], rtol=1e-5)
        assert (column(found, "y-lo-80_") < plain["y"]).all()
        far = model.predict(as_kind(frame, kind, Path()), h=6)
        assert names_of(far) == ["ds", "y", "y-lo-80", "rolled", "rolled_"]
        assert column(far, "rolled_").tolist() == [False] * 4 + [True] * 2
        np.testing.assert_allclose(column(far, "rolled")[:4], plain["rolled"], rtol=1e-5)
        assert "called 'rolled_'" in said()


MADE = ["ConvTimeNet", "ConvTimeNet-lo-80", "rolled", "cutoff", "SeasonalNaive", "y"]


@pytest.mark.parametrize(("kind", "key", "name"), in_turn(KINDS, ["unique_id", "ds"], MADE))
def test_names_that_forecasts_would_take_from_ids_and_times(kind, key, name, tmp_path, said):
    frame = panel(["a", "b"], 60)[["unique_id", "ds", "y"]].rename(columns={"y": "sold"})
    frame = frame.rename(columns={key: name})
    names = {"unique_id": "unique_id", "ds": "ds"} | {key: name}
    model = forecaster(
        id_col=names["unique_id"],
        time_col=names["ds"],
        target_cols="sold",
        training={"validation_fraction": 0.4},
    )
    table = as_kind(frame, kind, tmp_path)
    model.fit(table)
    level = model.predict(level=[80])
    made = level.channels if kind == "csv" else names_of(level)[2:]
    expected = [
        n + "_" * (n == name) for n in ("ConvTimeNet", "ConvTimeNet-lo-80", "ConvTimeNet-hi-80")
    ]
    assert next(iter(made)) == expected[0]
    assert list(made)[1].startswith("ConvTimeNet")
    assert len({*made, *names.values()}) == 5
    assert np.isfinite(column(level, expected[0])).all()
    if kind != "csv":
        far = model.predict(h=6)
        assert len(set(names_of(far))) == 4
    found = model.cross_validation(table, level=[80])
    columns = (
        list(found)
        if kind in ("csv", "pandas", "polars")
        and not isinstance(found, (pl.DataFrame, pd.DataFrame))
        else names_of(found)
    )
    assert len(set(columns)) == 2 + 1 + 1 + 6 == len(columns)
    assert columns[:2] == list(names.values())


def backtested(table: Any, target: str) -> Backtest:
    model = forecaster(target_cols=target, training={"validation_fraction": 0.4})
    return backtest(model, table, level=[80])


@pytest.fixture(scope="module")
def ours() -> Backtest:
    return backtested(panel(["a", "b"], 60)[["unique_id", "ds", "y"]], "y")


@pytest.mark.parametrize(
    ("kind", "name"),
    in_turn(KINDS, ["cutoff", "ConvTimeNet", "SeasonalNaive", "SeasonalNaive-lo-80", "rolled"]),
)
def test_names_that_a_backtest_would_take_from_the_target(kind, name, tmp_path, said, ours):
    frame = panel(["a", "b"], 60)[["unique_id", "ds", "y"]]
    said()
    other = as_kind(frame.rename(columns={"y": name}), kind, tmp_path)
    found = backtested(other, name)
    assert found.summary == ours.summary
    columns = dict(
        zip(
            ours.frame.columns,
            list(found.frame) if isinstance(found.frame, dict) else names_of(found.frame),
            strict=True,
        )
    )
    assert columns["y"] == name
    assert len(set(columns.values())) == 10
    for old, new in columns.items():
        assert new in (old, f"{old}_", name)
        if old not in ("unique_id", "ds", "cutoff"):
            values = found.frame[new] if isinstance(found.frame, dict) else column(found.frame, new)
            np.testing.assert_array_equal(values, ours.frame[old])
    assert ("already exists" in said()) == (name != "rolled")


def test_several_targets_whose_names_make_one(said):
    frame = panel(["a", "b"], 60).drop(columns="promo").assign(**{"y-lo-80": lambda f: f["y"] + 9})
    model = forecaster(target_cols=["y", "y-lo-80"], training={"validation_fraction": 0.4}).fit(
        frame
    )
    found = model.predict(level=[80])
    assert len(set(found.columns)) == len(found.columns) == 8
    np.testing.assert_allclose(
        found["ConvTimeNet-y-lo-80"], model.predict()["ConvTimeNet-y-lo-80"], rtol=1e-5
    )
    tested = model.cross_validation(frame)
    assert len(tested) == 16
    slashed = frame.rename(columns={"y": "b/c", "y-lo-80": "c"}).replace(
        {"unique_id": {"b": "a/b"}}
    )
    both = forecaster(target_cols=["b/c", "c"]).cross_validation(slashed)
    assert both["unique_id"].nunique() == 4
    assert "would not be unique" in said()


def test_free_names():
    assert free_names(["a", "b", "a"], ["a", "a_"])[0] == ("a__", "b", "a___")
    table = read_table(
        series().assign(unique_id="x").rename(columns={"ds": "ConvTimeNet"}),
        time_col="ConvTimeNet",
        target_cols=["y"],
    )
    assert forecast_names(table) == ("ConvTimeNet_",)


# --- kept models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_kept_models_agree_with_later_tables(kind, tmp_path):
    """A folder written before there was this module."""
    model = ConvTimeNetForecaster.load(
        Path(__file__).parent / "artefacts" / "2" / "panel", device="cpu"
    )
    rows = pd.DataFrame({
        "unique_id": np.repeat(["a", "b"], 2),
        "ds": pd.to_datetime(["2024-03-01", "2024-03-02", "2024-02-20", "2024-02-21"]),
        "promo": ["1", "1.0", "true", "1"], "weather": ["wet ", "dry", "wet", " dry"],
    })  # fmt: skip
    clean = rows.assign(promo=1.0, weather=["wet", "dry", "wet", "dry"])
    expected = model.predict(future=clean)["ConvTimeNet"]
    found = model.predict(future=as_kind(rows, kind, tmp_path))
    np.testing.assert_array_equal(column(found, "ConvTimeNet"), expected)
    zoned = clean.assign(ds=clean["ds"].dt.tz_localize("UTC"))
    with pytest.raises(DataError, match=r"in the time zone 'UTC', those .* have none"):
        model.predict(future=as_kind(zoned, kind, tmp_path))
