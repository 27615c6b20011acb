"""Gaps filled and anomalies found without training, in every kind of table."""

import csv
import json
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from convtimenet import ConvTimeNetForecaster, detect, impute
from convtimenet.cli.main import main
from convtimenet.data.table_rows import crop
from convtimenet.data.tables import Table, read_table
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.filling.answers import gaps_of, scaled_rows
from convtimenet.estimators.filling.detect import p_values
from convtimenet.estimators.filling.hiding import EDGE, KINDS, Hidden, Shares, kinds_of, predicted
from convtimenet.estimators.filling.windows import LONGEST, REACH, Row, quantiles_of, windows_of
from convtimenet.report import detect_report
from convtimenet.report.filling.drawn import Shown, between, first_rows, shown, thinned
from convtimenet.report.filling.scores import _apart, _scores_told
from convtimenet.runs.filling import detect_table, impute_table

CPU = torch.device("cpu")
QUIET = {"verbose": 0, "device": "cpu"}
HOURS = pd.date_range("2024-01-01", periods=240, freq="h")


def wave(steps: int = 240, season: int = 24) -> np.ndarray:
    return 5 + np.sin(np.arange(steps) * 2 * np.pi / season)


def holed(steps: int = 240, *gaps: slice) -> np.ndarray:
    values = wave(steps)
    for gap in gaps or (slice(100, 112),):
        values[gap] = np.nan
    return values


# Gaps


@pytest.mark.parametrize(
    ("gap", "most"), [(slice(100, 112), 0.15), (slice(60, 61), 0.03), (slice(228, 240), 0.4)]
)
def test_a_gap_in_a_wave_is_filled(gap, most):
    values = holed(240, gap)
    found = impute(values, season=24, **QUIET)
    assert found.shape == (240, 1)
    known = np.isfinite(values)
    assert np.array_equal(found[known, 0], values[known])
    assert np.abs(found[~known, 0] - wave()[~known]).max() < most


def test_a_gap_of_half_a_season_is_filled_better_than_by_a_line():
    values = holed()
    line = pd.Series(values).interpolate().to_numpy()
    found = impute(values, season=24, **QUIET)[:, 0]
    assert np.abs(found - wave()).sum() < 0.3 * np.abs(line - wave()).sum()


def test_a_random_walk_is_filled_about_as_by_a_line():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=600).cumsum()
    values = truth.copy()
    values[rng.choice(np.arange(1, 599), 60, replace=False)] = np.nan
    line = pd.Series(values).interpolate().to_numpy()
    found = impute(values, **QUIET)[:, 0]
    assert np.abs(found - truth).sum() < 1.1 * np.abs(line - truth).sum()


def test_intervals_hold_values_and_each_other():
    rng = np.random.default_rng(0)
    truth = wave(720) + 0.2 * rng.normal(size=720)
    gone = rng.random(720) < 0.2
    found = impute(np.where(gone, np.nan, truth), season=24, level=[95, 80], **QUIET)
    assert list(found) == ["filled", "lo-95", "lo-80", "hi-80", "hi-95"]
    ordered = [found[name][:, 0] for name in ("lo-95", "lo-80", "filled", "hi-80", "hi-95")]
    assert (np.diff(ordered, axis=0)[:, gone] >= 0).all()
    for one in ordered:
        assert np.array_equal(one[~gone], truth[~gone])
    inside = (found["lo-80"][:, 0] <= truth) & (truth <= found["hi-80"][:, 0])
    assert 0.68 < inside[gone].mean() < 0.92


def test_what_cannot_vary_is_filled_by_itself():
    values = np.array([np.nan, 0.1, np.nan, 0.1, np.nan])
    found = impute(values, level=80, **QUIET)
    assert all((one == 0.1).all() for one in found.values())
    assert (impute(np.array([np.nan, 7.0, np.nan]), **QUIET) == 7).all()


@pytest.mark.parametrize("steps", [60, 200])
def test_a_line_goes_on_beyond_both_ends(steps):
    line = 1e9 * np.arange(steps)
    gone = np.isin(np.arange(steps) % steps, [0, 1, 2, 30, 31, 32, steps - 2, steps - 1])
    found = impute(np.where(gone, np.nan, line), **QUIET)[:, 0]
    np.testing.assert_allclose(found, line, rtol=0, atol=1e4)
    assert np.array_equal(found[~gone], line[~gone])


def test_a_trend_with_a_season_goes_on_and_what_has_none_stays():
    t = np.arange(300)
    numbers = np.random.default_rng(0)
    gone = (t < 15) | (t >= 285)
    values = 0.2 * t + 5 * wave(300) + 0.2 * numbers.normal(size=300)
    found = impute(np.where(gone, np.nan, values), season=24, **QUIET)[:, 0]
    assert np.abs(found - values)[gone].mean() < 0.5
    walk = numbers.normal(size=300).cumsum()
    found = impute(np.where(gone, np.nan, walk), **QUIET)[:, 0]
    nearest = np.where(t < 15, walk[15], walk[284])
    assert np.abs(found - nearest)[gone].max() < 3 * np.abs(walk - nearest)[gone].max()


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_sizes_of_numbers(scale):
    found = impute(holed() * scale, season=24, **QUIET)
    assert np.allclose(found / scale, impute(holed(), season=24, **QUIET), rtol=1e-4)


def test_few_values_and_hardly_any():
    values = np.full(40, np.nan)
    values[[5, 30]] = 1, 2
    found = impute(values, level=80, season=12, **QUIET)
    assert all(np.isfinite(one).all() for one in found.values())
    assert np.isfinite(impute(np.where(np.arange(90) % 9, np.nan, wave(90)), **QUIET)).all()


@pytest.mark.parametrize("begins", [0, 20])
def test_bounds_stay_near_where_trials_read_a_constant_or_hardly_a_value(begins):
    """As before the first sale: of no spread, any error is millions."""
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(begins), 20 + 3 * rng.normal(size=36 - begins)])
    values[30:] = np.nan
    found = impute(values, season=7, level=80, **QUIET)
    assert -150 < found["lo-80"].min() < found["hi-80"].max() < 150
    found = impute(np.array([20.0, 22, 24, 26, np.nan]), level=80, **QUIET)
    assert 20 < found["lo-80"][-1, 0] < found["filled"][-1, 0] < found["hi-80"][-1, 0] < 36


def test_a_long_series_is_read_in_windows_around_each_gap():
    T = 2 * LONGEST + 700
    values, gone = wave(T), np.zeros(T, dtype=bool)
    for first in (0, LONGEST - 6, 3000, T - 12):
        gone[first : first + 12] = True
    found = impute(np.where(gone, np.nan, values), season=24, **QUIET)[:, 0]
    assert np.array_equal(found[~gone], values[~gone])
    assert np.abs(found - values)[gone].mean() < 0.2


@pytest.mark.parametrize("T", [1, 300, LONGEST, LONGEST + 1, 2 * LONGEST, 9001])
def test_each_step_is_read_in_the_window_in_whose_middle_it_lies(T):
    asked = np.random.default_rng(T).random(T) < 0.9
    found = list(windows_of(0, Row(np.zeros(T), ~asked, asked)))
    starts = np.unique([*range(0, max(1, T - LONGEST), 1536), max(0, T - LONGEST)])
    middles = starts + min(T, LONGEST) / 2
    steps = np.flatnonzero(asked)
    plain = starts[np.abs(steps[:, None] - middles).argmin(-1)]
    assert np.array_equal(np.concatenate([one.asked for one in found]), steps)
    assert np.array_equal(np.repeat([w.first for w in found], [len(w.asked) for w in found]), plain)
    assert all(one.end == min(T, one.first + LONGEST) for one in found)


def test_memory_grows_with_the_length_alone():
    T = 400_000
    row = Row(np.zeros(T), np.zeros(T, dtype=bool), np.ones(T, dtype=bool))
    tracemalloc.start()
    list(windows_of(0, row))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 60 * T  # it was 260 windows of 8 bytes for each step, twice


def test_windows_of_other_series_do_not_matter():
    rng = np.random.default_rng(1)
    rows = []
    for length in (50, 300, LONGEST + 500):
        values, asked = rng.normal(size=length), rng.random(length) < 0.1
        rows.append(Row(values, ~asked, asked))
    together = quantiles_of(rows, 7, CPU)
    for row, found in zip(rows, together, strict=True):
        assert found.shape == (row.asked.sum(), 9)
        assert np.allclose(found, quantiles_of([row], 7, CPU)[0], atol=1e-3)


def test_what_is_hidden_is_not_read():
    values, known = wave(), np.ones(240, dtype=bool)
    known[100:105] = False
    other = values.copy()
    other[~known] = 99
    answers = [predicted([Hidden(0, one, known, ~known)], 24, CPU) for one in (values, other)]
    assert np.array_equal(answers[0].bend, answers[1].bend)
    assert np.array_equal(
        answers[0].line, np.interp(np.arange(100, 105), [99, 105], values[[99, 105]])
    )


def test_gaps_and_their_kinds():
    missing = np.array([1, 0, 1, 0, 1, 1, 0, *[1] * 6, 0, 1], dtype=bool)
    first, end, kind = kinds_of(missing)
    assert first.tolist() == [0, 2, 4, 7, 14]
    assert end.tolist() == [1, 3, 6, 13, 15]
    assert kind.tolist() == [EDGE, 0, 1, 2, EDGE]


def test_the_network_is_trusted_where_it_helps():
    values, known = wave(), np.arange(240) % 24 > 11
    found = predicted([Hidden(row, values, known, ~known) for row in (0, 1)], 24, CPU)
    truth = np.concatenate([values[~known]] * 2)
    exact = found.line + 0.5 * found.bend + 0.25 * found.level
    shares = Shares.chosen(found, np.where(found.row == 0, exact, found.line), 2)
    assert shares.values.shape == (2, KINDS, 2)
    assert shares.values[0, 2].tolist() == [0.5, 0.25]
    assert shares.values[1, 2].tolist() == [0, 0]
    assert len(truth) == len(found.line)


QUARTERS = 96 * 90  # of an hour, in 90 days


@pytest.mark.parametrize(
    "gap",
    [
        slice(QUARTERS - 96 * 24, QUARTERS),
        slice(96 * 20, 96 * 60),
        slice(0, 96 * 30),
    ],
    ids=["24 days at the end", "40 days inside", "30 days at the beginning"],
)
def test_a_gap_that_is_longer_than_a_window_goes_on_by_season(gap):
    rng = np.random.default_rng(0)
    truth = 100 + 20 * np.sin(np.arange(QUARTERS) * 2 * np.pi / 96) + 2 * rng.normal(size=QUARTERS)
    values = truth.copy()
    values[gap] = np.nan
    found = {
        name: one[gap, 0] for name, one in impute(values, season=96, level=80, **QUIET).items()
    }
    error = np.abs(found["filled"] - truth[gap])
    assert error.mean() < 2.2  # that of the wave itself is 1.6
    width = found["hi-80"] - found["lo-80"]
    assert width.min() > 2  # of the noise 5.1 would hold four of five
    inside = (found["lo-80"] <= truth[gap]) & (truth[gap] <= found["hi-80"])
    assert 0.65 < inside.mean() < 0.95
    assert all(part.mean() > 0.5 for part in np.array_split(inside, 5))


def test_a_season_that_is_longer_than_what_is_answered_goes_on():
    T, season = 9000, 1440
    truth = np.sin(np.arange(T) * 2 * np.pi / season)
    values = truth.copy()
    values[4000:7000] = np.nan
    found = impute(values, season=season, **QUIET)[:, 0]
    assert np.abs(found - truth)[4000:7000].mean() < 0.1


def test_what_is_far_inside_a_gap_is_the_same_phase_of_both_sides():
    T, season = 4000, 24
    asked = np.zeros(T, dtype=bool)
    asked[1000:3000] = True
    row = Row(np.where(asked, np.nan, wave(T) + 0.001 * np.arange(T)), ~asked, asked)
    found = quantiles_of([row], season, CPU)[0]
    before, behind = REACH, 2000 - REACH
    left = found[before - season : before]
    right = found[behind : behind + season]
    for step in (before, before + 5, 1000, behind - 1):
        first = left[(step - before) % season]
        other = right[(step - behind) % season]
        later = (step - before + 1) / (behind - before + 1)
        np.testing.assert_allclose(found[step], first + later * (other - first), atol=1e-9)
    edge = asked.copy()
    edge[3000:] = True
    alone = quantiles_of([Row(row.values, ~edge, edge)], season, CPU)[0]
    np.testing.assert_allclose(alone[REACH + 240], alone[REACH - season], atol=1e-9)


def test_a_window_with_hardly_a_value_has_the_spread_of_its_row():
    rng = np.random.default_rng(0)
    values, gone = 7 + 3 * rng.normal(size=9000), np.zeros(9000, dtype=bool)
    gone[2500:6800] = True
    gone[4600] = False
    found = impute(np.where(gone, np.nan, values), level=80, season=1, **QUIET)
    width = (found["hi-80"] - found["lo-80"])[gone, 0]
    assert width.min() > 4  # of the noise 7.7 would hold four of five
    inside = (found["lo-80"][:, 0] <= values) & (values <= found["hi-80"][:, 0])
    assert inside[gone].mean() > 0.65


def several() -> pd.DataFrame:
    """A long table of three series and two channels, with gaps in all of them."""
    rng, parts = np.random.default_rng(3), []
    for name in "xyz":
        part = pd.DataFrame({"unique_id": name, "ds": HOURS[:150]})
        for channel in "ab":
            values = wave(150) + rng.normal(size=150).cumsum() * rng.random()
            for first in rng.integers(3, 140, 5):
                values[first : first + rng.integers(1, 8)] = np.nan
            part[channel] = values
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    "run", [lambda f: impute(f, level=80, **QUIET), lambda f: detect(f, **QUIET)]
)
def test_the_place_of_a_channel_or_series_does_not_matter(run):
    table = several()
    found = run(table)
    columns = run(table[["unique_id", "ds", "b", "a"]])
    pd.testing.assert_frame_equal(columns[list(found)], found, check_exact=True)
    other = table.replace({"unique_id": {"x": "zz"}})
    series = run(other).replace({"unique_id": {"zz": "x"}})
    series = series.sort_values(["unique_id", "ds"], ignore_index=True)
    pd.testing.assert_frame_equal(series, found, check_exact=True)


def test_a_complete_channel_beside_a_gap_does_not_matter():
    table = several()
    full = table.assign(whole=np.arange(len(table)) % 7.0)[["unique_id", "ds", "whole", "a", "b"]]
    found, beside = (impute(one, level=80, **QUIET) for one in (table, full))
    pd.testing.assert_frame_equal(beside[list(found)], found, check_exact=True)


# Anomalies


def test_p_values_are_ranks():
    rng = np.random.default_rng(0)
    scores = np.r_[rng.integers(0, 9, 40).astype(float), np.nan, rng.normal(size=60)]
    found = p_values(scores)
    for number, own in enumerate(scores):
        others = np.delete(scores, number)
        others = others[np.isfinite(others)]
        plain = np.nan if np.isnan(own) else (1 + (others >= own).sum()) / (len(others) + 1)
        assert found[number] == plain or (np.isnan(found[number]) and np.isnan(plain))


@pytest.mark.parametrize("method", ["reconstruction", "forecast"])
def test_alpha_is_the_share_that_is_flagged(method):
    noise = np.random.default_rng(0).normal(size=(500, 2))
    found = detect(noise, alpha=0.05, method=method, **QUIET)
    for channel in range(2):
        n = np.isfinite(found["score"][:, channel]).sum()
        assert n == (500 if method == "reconstruction" else 484)
        assert found["anomaly"][:, channel].sum() == np.floor(0.05 * n)
        ranked = np.sort(found["p"][:, channel])[:n]
        assert np.allclose(ranked, np.arange(1, n + 1) / n)


@pytest.mark.parametrize("method", ["reconstruction", "forecast"])
def test_one_value_in_ten_of_a_row_is_farther_off_than_1(method):
    rng = np.random.default_rng(0)
    rows = [
        rng.normal(size=300).cumsum(),
        wave(300) + 0.3 * rng.normal(size=300),
        np.where(rng.random(300) < 0.05, rng.poisson(5, 300), 0.0),
    ]
    values = np.stack(rows, axis=1)
    values[rng.random(300) < 0.1, 0] = np.nan
    score = detect(values, season=24, method=method, **QUIET)["score"]
    for own in score.T:
        n = np.isfinite(own).sum()
        assert (own > 1).sum() == n - 1 - np.floor(0.9 * (n - 1))


@pytest.mark.parametrize("method", ["reconstruction", "forecast"])
def test_a_spike_is_flagged(method):
    values = wave(480) + 0.05 * np.random.default_rng(0).normal(size=480)
    values[300] += 1.5
    values[200] = np.nan
    found = detect(values, season=24, method=method, **QUIET)
    assert np.nanargmax(found["score"]) == 300
    assert found["anomaly"][300, 0]
    assert np.isnan(found["score"][200, 0])
    assert np.isnan(found["p"][200, 0])
    assert not found["anomaly"][200, 0]


def test_a_forecast_does_not_see_what_comes_later():
    values = wave(200) + 0.1 * np.random.default_rng(0).normal(size=200)
    other = values.copy()
    other[160:] = 0
    before, after = (predicted_before(one, 160) for one in (values, other))
    assert np.array_equal(before, after)


def predicted_before(values: np.ndarray, end: int) -> np.ndarray:
    """Forecasts of the steps 152 to `end`."""
    known = np.arange(end) < 152
    found = predicted([Hidden(0, values[:end], known, ~known)], 24, CPU)
    return found.line + found.bend + found.level


def test_a_constant_is_no_anomaly():
    found = detect(np.full(30, 2.0), **QUIET)
    assert (found["score"] == 0).all()
    assert (found["p"] == 1).all()
    assert not found["anomaly"].any()


def test_too_few_values_for_alpha(caplog):
    detect(wave(60), season=12, **QUIET)
    assert "no value of '0' can be flagged" in caplog.text
    assert "flag at least 1.67 % (alpha=0.0167)" in caplog.text


@pytest.mark.parametrize("run", [impute_table, detect_table])
def test_a_season_that_cannot_be_read_is_none(run):
    table = read_table(pd.DataFrame({"date": HOURS, "a": holed()}))
    kept = run(table, dataset="x", season=LONGEST, **QUIET)
    assert kept.facts["Season"] == "2,048 steps"
    found, none = (run(table, dataset="x", season=one, **QUIET) for one in (LONGEST + 1, 1))
    assert found.facts["Season"] == none.facts["Season"] == "none"
    assert "a season of 2,049 steps is read as none" in found.facts["Notices"]
    assert "read as none" not in none.facts.get("Notices", "")
    own, plain = (getattr(one, "filled", None) or one.scored for one in (found, none))
    assert np.array_equal(own.values, plain.values, equal_nan=True)


# Kinds of tables


def wide() -> pd.DataFrame:
    return pd.DataFrame({"date": HOURS, "a": holed(), "b": np.arange(240)})


def long() -> pd.DataFrame:
    rows = pd.DataFrame({"unique_id": ["x"] * 240 + ["y"] * 240, "ds": [*HOURS, *HOURS]})
    return rows.assign(y=np.r_[holed(), 2 * wave()]).drop(index=[50, 51]).reset_index(drop=True)


def test_a_frame_keeps_its_form():
    found = impute(wide(), level=80, **QUIET)
    assert list(found) == ["date", "a", "a-lo-80", "a-hi-80", "b", "b-lo-80", "b-hi-80"]
    assert found["date"].equals(wide()["date"])
    assert found["b"].tolist() == list(range(240))
    assert found.notna().all(axis=None)
    flagged = detect(wide(), **QUIET)
    assert list(flagged)[:5] == ["date", "a", "a-score", "a-p", "a-anomaly"]
    assert flagged["a-anomaly"].dtype == bool
    assert flagged["a"].equals(wide()["a"])


@pytest.mark.parametrize("library", [pl, pa], ids=["polars", "pyarrow"])
def test_other_libraries(library):
    source = pl.from_pandas(long()) if library is pl else pa.Table.from_pandas(long())
    found = impute(source, **QUIET)
    assert type(found) is type(source)
    plain = found.to_pandas()
    assert list(plain) == ["unique_id", "ds", "y"]
    assert len(plain) == 480  # with the two rows that were missing
    ours = impute(long(), **QUIET)
    assert np.array_equal(plain["y"], ours["y"])
    assert ours["unique_id"].tolist() == ["x"] * 240 + ["y"] * 240
    assert ours["ds"].tolist() == [*HOURS, *HOURS]
    assert np.abs(ours["y"].iloc[50:52] - wave()[50:52]).max() < 0.1


@pytest.mark.parametrize("library", [pl, pa], ids=["polars", "pyarrow"])
def test_what_is_missing_is_null_where_there_is_null(library):
    source = pl.from_pandas(long()) if library is pl else pa.Table.from_pandas(long())
    found = pl.DataFrame(detect(source, **QUIET))
    gone = found["y"].is_null()
    assert gone.sum() == 14
    assert found.filter(gone)["y-score"].null_count() == 14
    assert len(found.drop_nulls()) == 466
    assert not found["y"].is_nan().any()


def test_a_series_and_its_index():
    source = pd.Series(holed(), index=pd.Index(HOURS, name="t"), name="load")
    found = impute(source, **QUIET)
    assert isinstance(found, pd.Series)
    assert found.name == "load"
    assert found.index.equals(source.index)
    assert found.notna().all()
    assert list(impute(source, level=80, **QUIET)) == ["load", "load-lo-80", "load-hi-80"]
    assert detect(source, **QUIET).index.equals(source.index)


def test_a_column_that_is_there_already_is_kept():
    source = pd.DataFrame({"date": HOURS, "a": holed(), "a-lo-80": wave()})
    found = impute(source, level=80, **QUIET)
    assert "a-lo-80_" in found
    assert found["a-lo-80"].tolist() == wave().tolist()


def test_a_table_gives_a_table():
    table = read_table(wide())
    assert isinstance(read_table(holed()), Table)
    assert len(scaled_rows(table)) == 2
    assert impute(table, **QUIET)["a"].notna().all()


def test_a_time_zone_is_kept():
    source = wide().assign(date=HOURS.tz_localize("Europe/Berlin"))
    assert impute(source, **QUIET)["date"].equals(source["date"])


# Mistakes


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: impute(wide().assign(a=np.nan), verbose=0), "no numbers in 'a'"),
        (lambda: impute(crop(read_table(wide()), 101, 110)), "found none in 'a'; leave them out"),
        (lambda: detect(crop(read_table(long()), 101, 109)), "found none in 'y of x'"),
        (lambda: impute(holed(), level=0.8), "did you mean 80?"),
        (lambda: impute(holed(), season=0), "season must be a whole number of at least 1, found 0"),
        (lambda: impute(holed(), device="none"), "device must be 'auto' or a torch device"),
        (
            lambda: impute(read_table(wide()), freq="h", target_cols=["a"], verbose=0),
            "'target_cols', 'freq' would change nothing; give 'target_cols', 'frequency' to read_t",
        ),
        (lambda: detect(read_table(wide()), fill=0, verbose=0), "give 'fill' to read_table"),
        (
            lambda: ConvTimeNetForecaster(3, target_cols="a").read(read_table(wide())),
            "target_cols are 'a', but the Table given has been read with the channels 'a', 'b'",
        ),
        (
            lambda: ConvTimeNetForecaster(3, id_col="a").read(read_table(wide())),
            "id_col is 'a', but the Table given has been read with no id column",
        ),
        (
            lambda: ConvTimeNetForecaster(3, id_col="x").read(read_table(long())),
            "has been read with the id column 'unique_id'; give id_col to read_table too",
        ),
        (lambda: detect(holed(), alpha=5), "found 5; did you mean 0.05?"),
        (lambda: detect(holed(), alpha=0), "alpha must be a share above 0 and below 1"),
        (lambda: detect(holed(), method="both"), "one of 'reconstruction', 'forecast'"),
    ],
)
def test_mistakes_are_named(call, said):
    with pytest.raises((ConfigError, DataError)) as error:
        call()
    assert said in str(error.value)


def test_a_table_that_was_read_as_the_forecaster_says_is_taken():
    table = read_table(long())
    model = ConvTimeNetForecaster(3, target_cols="y", id_col="unique_id", time_col="ds", fill=0)
    assert model.read(table) is table
    swapped = read_table(wide())
    assert ConvTimeNetForecaster(3, target_cols=["b", "a"]).read(swapped) is swapped


# Gaps, their report, and that of scores


def test_gaps_end_where_a_series_does():
    table = read_table(pd.DataFrame({"unique_id": list("xxxyyy"), "ds": [0, 1, 2] * 2, "y": 1.0}))
    values = np.array([[1, np.nan, np.nan, np.nan, 5, np.nan]]).T
    assert gaps_of(replace(table, values=values)).tolist() == [[1, 3, 0], [3, 4, 0], [5, 6, 0]]
    both = replace(table, values=np.hstack([values[::-1], values]), channels=("y", "z"))
    assert gaps_of(both)[:, 2].tolist() == [0, 0, 0, 1, 1, 1]
    assert not len(gaps_of(table))


def plots_of(page: str) -> list[dict]:
    found = re.findall(r'class="figure">(.*?)</script>', page)
    return [json.loads(one) for one in found]


def test_the_report_shows_what_was_filled(tmp_path):
    table = read_table(long())
    run = impute_table(table, dataset="<sales>", level=[80, 95], **QUIET)
    page = run.write_report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert run.words == "14 values in 2 gaps filled"
    assert "<h1>&lt;sales&gt;: gaps filled</h1>" in page
    assert "14 values in 2 gaps filled, in 1 of 2 series." in page
    whole, longest, short = plots_of(page)
    (one,) = whole["choices"]
    assert (one["name"], one["unit"]) == ("x", "y")
    assert one["words"] == (
        "14 values in 2 gaps filled. The longest has 12 values, from 2024-01-05 04:00 to "
        "2024-01-05 15:00."
    )
    assert one["spans"] == [
        ["2024-01-05T03:00", "2024-01-05T16:00"],
        ["2024-01-03T01:00", "2024-01-03T04:00"],
    ]
    filled = np.round(run.filled.values[:240], 6)
    missing = ~np.isfinite(table.values[:240, 0])
    known, joined, low, high, *_, own = (np.array(y, float) for y in one["y"])
    assert np.array_equal(np.isfinite(own), missing)
    assert np.array_equal(np.isnan(known), missing)
    assert np.flatnonzero(np.isfinite(joined)).tolist() == [*range(49, 53), *range(99, 113)]
    # the columns are the value and its bounds from lowest to highest; the widest band comes first
    assert np.allclose(own[missing], filled[missing, 0], rtol=1e-5)
    assert np.allclose(low, filled[:, 1], rtol=1e-5)
    assert np.allclose(high, filled[:, 4], rtol=1e-5)
    assert [trace["name"] for trace in whole["data"] if "name" in trace] == [
        "known", "95 % interval", "80 % interval", "filled",
    ]  # fmt: skip
    assert whole["data"][-1]["customdata"] == [4, 5, 2, 3]
    assert [row[0] for row in one["rows"][:3]] == [
        "2024-01-03 02:00", "2024-01-03 03:00", "2024-01-05 04:00",
    ]  # fmt: skip
    order = [0, 2, 3, 1, 4]  # of the levels 80 and 95
    shown = [float(cell) for cell in one["rows"][0][1:]]
    assert np.allclose(shown, filled[50, order], rtol=1e-5)
    assert [len(plot["xs"][0]) for plot in (longest, short)] == [12 + 48, 2 + 48]


def test_the_report_marks_what_was_flagged(tmp_path):
    values = pd.DataFrame({"date": HOURS, "a": wave(), "b": np.arange(240) % 7.0})
    values.loc[150, "a"] = 9
    run = detect_table(read_table(values), dataset="x.csv", alpha=0.005, **QUIET)
    page = run.write_report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert run.words == "2 of 480 values flagged, with p <= 0.005"
    assert run.farthest(1) == [(150, 0)]
    whole, *close = plots_of(page)
    first, second = whole["choices"]
    score = run.columns[150, 0, 1]
    assert first["words"] == (
        "1 of 240 values flagged. "
        f"Farthest off: 9 at 2024-01-07 06:00, with a score of {score:.3g}."
    )
    assert second["name"] == "b"
    value, flagged, limit, scores = (np.array(y, float) for y in first["y"])
    assert np.allclose(value, values["a"], rtol=1e-5)
    assert np.flatnonzero(np.isfinite(flagged)).tolist() == [150]
    assert np.allclose(limit, score, rtol=1e-5)
    assert np.allclose(scores, run.columns[:, 0, 1], rtol=1e-5)
    assert [trace.get("yaxis", "y") for trace in whole["data"]] == ["y", "y", "y2", "y2"]
    assert first["rows"] == [["2024-01-07 06:00", "9", f"{score:.3g}", "0.0042"]]
    assert len(close) == 2
    assert [plot["layout"]["yaxis"]["title"]["text"] for plot in close] == ["a", "b"]


def test_values_of_other_series_are_not_close_to_each_other():
    """The end of one series lies beside the start of the next in the table: that hid it."""
    table = replace(read_table(np.zeros((80, 2))), id_name="id", rows=np.array([40, 40]))
    rows, channels = np.array([39, 41, 36, 41, 70]), np.array([0, 0, 0, 1, 0])
    assert [*_apart(rows, channels, table)] == [(39, 0), (41, 0), (41, 1), (70, 0)]


def test_midnight_among_hours_keeps_its_hour():
    columns = np.column_stack([np.zeros(100), np.arange(100.0), *np.full((2, 100), 0.5)])
    columns[48, :2] = 45123456, 200
    table = replace(read_table(np.zeros(100)), times=HOURS.to_numpy()[:100])
    one = shown(table, columns[:, None], np.arange(100)[:, None] == 48, 0, 0)
    assert between(one, (48, 49)) == "at 2024-01-03 00:00"
    assert between(one, (24, 49)) == "from 2024-01-02 00:00 to 2024-01-03 00:00"
    assert [stamp for stamp, _ in first_rows(one, np.array([24, 48]))] == [
        "2024-01-02 00:00", "2024-01-03 00:00",
    ]  # fmt: skip
    told = _scores_told(one)
    assert "Farthest off: 45,123,456 at 2024-01-03 00:00, with a score of 200." in told.words
    assert told.rows == [["2024-01-03 00:00", "45,123,456", "200", "0.5"]]
    days = replace(table, times=HOURS.to_numpy()[0] + np.arange(100) * np.timedelta64(1, "D"))
    one = shown(days, columns[:, None], np.ones((100, 1), bool), 0, 0)
    assert between(one, (0, 2)) == "from 2024-01-01 to 2024-01-02"


def test_a_long_series_is_drawn_by_its_extremes_and_marks():
    values = np.sin(np.arange(9000.0))[:, None]
    values[4321] = 50
    marked = np.arange(9000) == 77
    one = Shown("a", "a", np.arange(9000), "", values, marked)
    thin = thinned(one, (0,), 400)
    assert 200 <= len(thin.times) <= 410
    assert {0, 76, 77, 78, 4321, 8999} <= set(thin.times.tolist())
    assert np.array_equal(thin.columns[:, 0], values[thin.times, 0])


def test_a_table_without_gaps_says_so(tmp_path):
    run = impute_table(read_table(wave()), dataset="x", **QUIET)
    page = run.write_report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "No value of the table is missing." in page
    assert "<script" not in page
    other = detect_table(read_table(wave(200)), dataset="x", **QUIET)
    with pytest.raises(DataError, match="give the result of this table"):
        detect_report(tmp_path / "r.html", run.table, other.scored, title="", facts={})


# The command line


@pytest.fixture
def sales(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    values = wave() + 0.05 * np.random.default_rng(0).normal(size=240)
    values[150] = 9.123456789
    rows = [[str(t), repr(v)] for t, v in zip(HOURS, values.tolist(), strict=True)]
    rows[60][1] = rows[61][1] = rows[100][1] = ""
    del rows[200]
    Path("sales.csv").write_text("\n".join(["time,y", *map(",".join, rows)]))
    return "sales.csv"


def cells(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_gaps_of_a_file(sales, capsys):
    assert main(["impute", sales, "--level=80", "--report=r.html", "--quiet", "--device=cpu"]) == 0
    said = capsys.readouterr().out
    assert "report: r.html" in said
    assert "<h1>sales.csv: gaps filled</h1>" in Path("r.html").read_text(encoding="utf-8")
    assert "4 values in 3 gaps filled: sales-filled.csv" in said
    assert "note: 1 row is missing" in said
    before = {row["time"]: row["y"] for row in cells(sales)}
    after = cells("sales-filled.csv")
    assert list(after[0]) == ["time", "y", "y-lo-80", "y-hi-80"]
    assert [row["time"] for row in after] == [str(t) for t in HOURS]
    for row in after:
        known = before.get(row["time"])
        if known:
            assert row["y"] == row["y-lo-80"] == row["y-hi-80"] == known
        else:
            assert float(row["y-lo-80"]) < float(row["y"]) < float(row["y-hi-80"])
            assert len(row["y"]) <= 8


def test_what_is_filled_has_the_decimals_of_its_channel(sales):
    values = np.random.default_rng(0).normal(20, 3, 120)
    table = pd.DataFrame({"date": HOURS[:120], "a": values.round(2), "n": values.round()})
    table["x"] = values / 1e5
    table.loc[[7, 8, 50], ["a", "n", "x"]] = np.nan
    run = impute_table(read_table(table), dataset="x", level=[80], **QUIET)
    run.write_csv("out.csv")
    written = pd.read_csv("out.csv").loc[[7, 8, 50]]
    for name, decimals in (("a", 2), ("n", 0)):
        own = written[[name, f"{name}-lo-80", f"{name}-hi-80"]].to_numpy()
        assert np.array_equal(own, own.round(decimals))
    assert all(row["n"].isdigit() and row["n-hi-80"].isdigit() for row in cells("out.csv"))
    assert np.allclose(written["a"], run.filled.values[[7, 8, 50], 0], rtol=0, atol=0.00501)
    assert np.allclose(written["x"], run.filled.values[[7, 8, 50], 6], rtol=1e-5)


@pytest.mark.parametrize("flag", ["--season=0", "--level=101", "--device=none"])
def test_flags_are_checked_before_anything_is_said_to_be_replaced(sales, capsys, flag):
    Path("sales-filled.csv").write_text("mine")
    assert main(["impute", sales, flag, "--quiet"]) == 2
    said = capsys.readouterr()
    assert "will be replaced" not in said.out + said.err
    assert flag[2:].split("=")[0] in said.err


def test_anomalies_of_a_file(sales, capsys):
    assert main(["detect", sales, "--out=found.csv", "--quiet", "--device=cpu"]) == 0
    said = capsys.readouterr().out
    assert "2 of 236 values flagged, with p <= 0.01: found.csv" in said
    assert "  2024-01-07 06:00:00  y: 9.12346 (score " in said
    found = cells("found.csv")
    assert "2024-01-07 06:00:00" in [row["time"] for row in found if row["y-anomaly"] == "1"]
    assert sum(row["y-anomaly"] == "1" for row in found) == 2
    assert [*found[60].values()][1:] == ["", "", "", ""]
    assert {row["y-anomaly"] for row in found if row["y"]} == {"0", "1"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["impute", "sale.csv"], "there is no such file; did you mean sales.csv?"),
        (["impute", "sales.csv", "--out=sales.csv"], "--out would overwrite sales.csv"),
        (["detect", "sales.csv", "--out=x.parquet"], "expected a file name that ends in .csv"),
        (["detect", "sales.csv", "--report=no/x.html"], "--report: the folder no does not exist"),
        (["detect", "sales.csv", "--alpha=2"], "alpha must be a share above 0 and below 1"),
        (["impute", "sales.csv", "--level", "0.8"], "did you mean 80?"),
        (["impute", "sales.csv", "--target_cols=z"], "'z'"),
    ],
)
def test_mistakes_on_the_command_line(sales, capsys, arguments, said):
    assert main([*arguments, "--quiet"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert sorted(path.name for path in Path().iterdir()) == ["sales.csv"]
