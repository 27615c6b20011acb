"""Long tables: many series of any lengths and beginnings, read, forecast, scored and saved."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from convtimenet import ConvTimeNetForecaster
from convtimenet.cli.main import main
from convtimenet.data import table_rows
from convtimenet.data.covariates import Encoder
from convtimenet.data.forecast_tables import write_csv
from convtimenet.data.split import typical_size
from convtimenet.data.table_rows import crop, pad_front, select_series
from convtimenet.data.tables import Table, read_table
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.inferred import infer_shared_frequency
from convtimenet.data.windows import Scaler, Windows
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.forecasting.panel import Panel
from convtimenet.export import export
from convtimenet.files import maps
from convtimenet.runs.forecasting import default_horizon

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}


def forecaster(**settings) -> ConvTimeNetForecaster:
    given = {"h": 4, "input_size": 12, "model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0}
    given |= {"refit": False}  # another file is about the second training
    return ConvTimeNetForecaster(**(given | settings))


def series(name: str, T: int, start: str = "2024-01-01", freq: str = "D", seed: int = 0):
    noise = np.random.default_rng(seed).normal(scale=0.1, size=T)
    stamps = pd.date_range(start, periods=T, freq=freq)
    return pd.DataFrame({"unique_id": name, "ds": stamps, "y": np.sin(np.arange(T) / 3) + noise})


def panel(**changes) -> pd.DataFrame:
    """Four series of other lengths and beginnings, one of them shorter than a window."""
    frame = pd.concat(
        [
            series("b", 60, "2024-01-01", seed=1),
            series("a", 45, "2023-06-10", seed=2),
            series("c", 80, "2024-02-20", seed=3),
            series("short", 7, "2024-05-01", seed=4),
        ],
        ignore_index=True,
    )
    return frame.assign(**changes)


class TestReading:
    @pytest.mark.parametrize("freq", ["D", "h", "15min", "MS", "ME", "B", "QE", "W-SUN"])
    def test_equals_each_series_read_by_pandas(self, freq):
        """Rows left out, in any order, other beginnings: as groupby and asfreq give it."""
        rng = np.random.default_rng(3)
        parts = [series(f"s{i}", 30 + 7 * i, f"202{i}-01-03", freq, i) for i in range(4)]
        kept = [p.iloc[np.sort(rng.permutation(np.arange(1, len(p) - 1))[5:])] for p in parts]
        kept = [pd.concat([p.iloc[[0]], k, p.iloc[[-1]]]) for p, k in zip(parts, kept, strict=True)]
        frame = pd.concat(kept)
        table = read_table(frame.sample(frac=1, random_state=0))
        assert table.known is not None
        order = table.ids.tolist()
        assert sorted(order) == ["s0", "s1", "s2", "s3"]
        for i, name in enumerate(order):
            one = kept[int(name[1])].set_index("ds")["y"].asfreq(freq)
            rows = slice(*table.bounds[i : i + 2])
            assert (
                table.times[rows].tolist()
                == pd.DatetimeIndex(one.index).as_unit("ns").to_numpy().tolist()
            )
            np.testing.assert_array_equal(table.known[rows, 0], one.notna())
            np.testing.assert_array_equal(table.values[rows, 0], one)
        assert "rows are missing" in "".join(table.notices)

    def test_a_wide_table_is_the_long_one_with_one_series(self):
        one = series("x", 50)
        long, wide = read_table(one), read_table(one[["ds", "y"]])
        np.testing.assert_array_equal(long.times, wide.times)
        np.testing.assert_array_equal(long.values, wide.values)
        assert (long.channels, long.frequency) == (wide.channels, wide.frequency)
        assert (long.ids.tolist(), long.lengths.tolist()) == (["x"], [50])
        assert (wide.long, wide.lengths.tolist(), wide.bounds.tolist()) == (False, [50], [0, 50])

    def test_any_kind_of_source_gives_the_same(self, tmp_path: Path):
        frame = panel()
        expected = read_table(frame)
        frame.to_csv(tmp_path / "x.csv", index=False)
        parquet.write_table(pa.Table.from_pandas(frame), tmp_path / "x.parquet")
        for source in (
            pl.from_pandas(frame),
            pa.Table.from_pandas(frame),
            tmp_path / "x.csv",
            tmp_path / "x.parquet",
            frame.assign(unique_id=frame["unique_id"].astype("category")),
            frame.set_index("ds"),
        ):
            table = read_table(source)
            np.testing.assert_array_equal(table.values, expected.values)
            np.testing.assert_array_equal(table.times, expected.times)
            assert table.ids.tolist() == ["b", "a", "c", "short"]
            assert table.lengths.tolist() == [60, 45, 80, 7]

    def test_names_and_several_targets(self):
        frame = panel(z=lambda f: f["y"] * 2).rename(
            columns={"unique_id": "shop", "ds": "day", "y": "sales"}
        )
        table = read_table(frame, id_col="shop", time_col="day", target_cols=["z", "sales"])
        assert (table.channels, table.id_name, table.time_name) == (("z", "sales"), "shop", "day")
        np.testing.assert_array_equal(table.values[:, 0], 2 * table.values[:, 1])
        assert read_table(frame, id_col="shop").channels == ("sales", "z")

    def test_y_is_the_target_and_what_is_not_used_is_said(self):
        table = read_table(panel(price=1.0))
        assert table.channels == ("y",)
        assert "ignored: 'price'" in table.notices[0]

    def test_rows_of_series_in_turns_are_no_notice_and_rows_back_in_time_are(self):
        assert read_table(panel().sort_values(["ds", "unique_id"])).notices == ()
        assert read_table(panel().iloc[::-1]).notices == ("rows sorted by time",)

    def test_the_source_is_left_alone(self):
        frame = panel()
        frame.loc[3, "y"] = np.nan
        before = frame.copy()
        read_table(frame)
        pd.testing.assert_frame_equal(frame, before)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: pd.concat([f, f[f.unique_id == "c"].iloc[[2]]]), r"duplicate.*'c'; keep"),
            (lambda f: f.assign(y=f.y.where(f.unique_id != "a")), r"no numbers in 'y'.*'a'.*leave"),
            (
                lambda f: f.assign(ds=f.ds + pd.to_timedelta((f.index == 70).astype(int), "h")),
                r"not regular in the series 'a': 2023.* is not a whole number of steps of 1D",
            ),
            (
                lambda f: pd.concat([f, f.head(1).assign(ds=pd.Timestamp("1960"))]),
                r"rows are missing at a frequency of 1D.*'b'.*more than 20 times",
            ),
            (lambda f: f.assign(unique_id=f.unique_id.where(f.index != 3)), "row 3: the id is"),
            (lambda f: f.assign(unique_id=f.y), "expected ids as text or whole numbers"),
            (lambda f: f.groupby("unique_id").head(1), "no series has two rows to infer"),
        ],
    )  # fmt: skip
    def test_errors_name_the_series(self, change, message):
        with pytest.raises(DataError, match=message):
            read_table(change(panel()))

    def test_of_many_series_a_few_are_named(self):
        frame = pd.concat([series(f"s{i}", 5) for i in range(9)]).assign(y=np.nan)
        with pytest.raises(DataError, match="'s0', 's1', 's2' and 6 more"):
            read_table(frame)

    def test_an_explicit_frequency_wins(self):
        frame = pd.concat([series(n, 10, freq="2D") for n in "ab"])
        assert read_table(frame).frequency.name == "2D"
        table = read_table(frame, frequency="D")
        assert table.lengths.tolist() == [19, 19]
        assert table.known is not None
        assert int(table.known.sum()) == 20
        with pytest.raises(DataError, match=r"not regular in the series 'a', 'b'.*steps of 3D"):
            read_table(frame, frequency="3D")

    def test_days_on_the_wall_clock_across_a_clock_change(self):
        stamps = pd.date_range("2024-03-25", periods=20, freq="D", tz="Europe/Berlin")
        frame = pd.DataFrame({"unique_id": "x", "ds": stamps, "y": np.arange(20.0)})
        later = frame.assign(unique_id="y", ds=frame["ds"] + pd.Timedelta(hours=1)).drop(index=7)
        table = read_table(pd.concat([frame, later.iloc[8:]]))
        assert (table.frequency.name, table.lengths.tolist()) == ("1D", [20, 11])
        assert table.known is None


@settings(max_examples=60)
@given(
    st.sampled_from(["1h", "1D", "7D", "1MS", "1ME", "1M@30", "3ME", "1B", "2B", "15min"]),
    st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1)),
    st.sampled_from([None, "UTC", "Europe/Berlin", "America/New_York"]),
)
def test_steps_undo_future(name, start, zone):
    """Also past months of other lengths and past clock changes."""
    frequency = Frequency.parse(name)
    first = frequency.future(np.datetime64(start, "s"), 2, zone)[-1:]
    times = np.concatenate([first, frequency.future(first[0], 400, zone)])
    np.testing.assert_array_equal(frequency.steps(first, times, zone), np.arange(401))
    off = times[5:] + np.timedelta64(1, "s")
    assert (frequency.steps(first, off, zone) == -1).all()
    np.testing.assert_array_equal(frequency.grid(first, np.arange(401), zone), times)


def test_the_shared_step_leaves_the_fewest_rows_absent():
    """Weekly series on other weekdays are weekly, not daily; weekdays are no days with gaps."""
    weeks = [pd.date_range(f"2024-01-0{d}", periods=9, freq="7D").to_numpy() for d in (1, 3, 6)]
    times = np.concatenate(weeks).astype("M8[ns]")
    assert infer_shared_frequency(times, np.array([0, 9, 18, 27])).name == "1W"
    days = pd.date_range("2024-01-01", periods=20, freq="B").to_numpy().astype("M8[ns]")
    assert infer_shared_frequency(np.delete(days, [3, 9]), np.array([0, 18])).name == "1B"


class TestRows:
    def table(self) -> Table:
        return read_table(panel())

    def test_crop_takes_rows_of_each_series(self):
        table = self.table()
        last = crop(table, table.lengths - 10, table.lengths)
        assert last.lengths.tolist() == [10, 10, 10, 7]
        for i in range(4):
            ends = table.bounds[i + 1], last.bounds[i + 1]
            n = last.lengths[i]
            np.testing.assert_array_equal(
                last.values[ends[1] - n : ends[1]], table.values[ends[0] - n : ends[0]]
            )

    def test_padding_is_unknown_and_in_front(self):
        table = self.table()
        padded = pad_front(table, 50)
        assert padded.lengths.tolist() == [60, 50, 80, 50]
        assert padded.known is not None
        assert padded.known.sum(0) == [60 + 45 + 80 + 7]
        np.testing.assert_array_equal(padded.values[padded.known[:, 0]], table.values)
        assert np.isnan(padded.values[60:65]).all()
        assert pad_front(table, 7) is table

    def test_series_are_chosen_by_number(self):
        chosen = select_series(self.table(), np.array([2, 0]))
        assert (chosen.ids.tolist(), chosen.lengths.tolist()) == (["c", "b"], [80, 60])
        np.testing.assert_array_equal(chosen.values[:80], self.table().values[105:185])

    def test_series_of_large_tables_are_chosen_in_parts(self, monkeypatch):
        whole = select_series(self.table(), np.array([2, 0, 3, 1]))
        for module in (maps, table_rows):
            monkeypatch.setattr(module, "CHUNK", 70)
        parts = select_series(self.table(), np.array([2, 0, 3, 1]))
        assert parts.lengths.tolist() == whole.lengths.tolist() == [80, 60, 7, 45]
        np.testing.assert_array_equal(parts.values, whole.values)
        np.testing.assert_array_equal(parts.times, whole.times)


class TestWindows:
    @settings(max_examples=60)
    @given(
        st.lists(st.integers(1, 30), min_size=1, max_size=6),
        st.integers(1, 6),
        st.integers(1, 4),
        st.data(),
    )
    def test_equal_a_plain_loop_over_the_series(self, lengths, L, H, data):
        ends = np.array([data.draw(st.integers(1, n)) for n in lengths])
        first = np.array([data.draw(st.integers(0, n)) for n in ends])
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        values = torch.arange(2.0 * bounds[-1]).view(2, -1)
        expected = [
            (values[:, b + t - L : b + t], values[:, b + t : b + t + H])
            for b, f, e in zip(bounds, first, ends, strict=False)
            for t in range(L, 31)
            if t >= f and t + H <= e
        ]
        begin = bounds[:-1]
        if not expected:
            with pytest.raises(DataError, match="no window fits"):
                Windows.between(values, L, H, begin + first, begin + ends, begin)
            return
        windows = Windows.between(values, L, H, begin + first, begin + ends, begin)
        batch = windows.batch(torch.arange(len(windows)))
        assert torch.equal(batch.x, torch.stack([x for x, _ in expected]))
        assert torch.equal(batch.y, torch.stack([y for _, y in expected]))

    def test_missing_targets_do_not_count_and_missing_contexts_are_masked(self):
        values = torch.arange(12.0)[None]
        known = torch.ones(1, 12, dtype=torch.bool)
        known[0, [2, 8]] = False
        windows = Windows.between(values, 4, 2, 0, 12, known=known, masks=True)
        batch = windows.batch(torch.arange(len(windows)))
        assert batch.known is not None
        assert batch.weight is not None
        assert batch.known[:, 0].tolist() == [known[0, i : i + 4].tolist() for i in range(7)]
        assert batch.weight[:, 0].tolist() == [
            known[0, i + 4 : i + 6].float().tolist() for i in range(7)
        ]
        assert windows.batch(torch.tensor([3])).known is None  # rows 3 to 6 are complete
        plain = Windows.between(values, 4, 2, 0, 12, known=known)
        filled = plain.batch(torch.tensor([5, 2]))
        assert filled.weight is not None
        assert filled.weight.tolist() == [[[1.0, 1.0]], [[1.0, 1.0]]]
        assert filled.x.tolist() == [[[5.0, 6.0, 7.0, 7.0]], [[3.0, 3.0, 4.0, 5.0]]]
        assert filled.known is None

    def test_thinning_keeps_both_ends(self):
        every = Windows.between(torch.zeros(1, 100), 4, 2, 0, 100)
        windows = every.thinned(10)
        assert len(every) == 95
        assert len(windows) == 10
        assert windows.starts[[0, -1]].tolist() == [0, 94]

    def test_rows_of_padded_windows_are_counted_back(self):
        table = read_table(panel())
        where = {"encoder": Encoder(), "device": torch.device("cpu")}
        made = Panel(table, Scaler.identity(), 16, masks=True, **where)
        windows = made.windows(12, 4, 0, table.lengths)
        rows, of = made.rows_of(windows), made.series_of(windows)
        assert np.bincount(of).tolist() == [45, 30, 65, 1]
        assert rows[-1] == 185 + 7 - 16
        first = [int(rows[of == i][0]) for i in range(3)]
        assert first == [0, 60, 105]


class TestScaling:
    def test_each_series_has_the_statistics_of_its_known_training_rows(self):
        rng = np.random.default_rng(0)
        values, known = rng.normal(size=(2, 40)), rng.random((2, 40)) > 0.3
        starts = np.array([0, 15, 22])
        scaler = Scaler.per_series(np.where(known, values, np.nan), starts)
        for i, rows in enumerate(np.split(np.arange(40), starts[1:])):
            for c in range(2):
                here = values[c, rows][known[c, rows]]
                assert scaler.centre[i, c, 0] == pytest.approx(here.mean(), abs=1e-12)
                assert scaler.scale[i, c, 0] == pytest.approx(here.std(), rel=1e-9)
        scaled = scaler.along(np.diff(starts, append=40)).apply(values)
        np.testing.assert_allclose(scaler[1].invert(scaled[:, 15:22]), values[:, 15:22])

    def test_a_series_times_1000_is_forecast_as_1000_times_itself(self):
        frame = panel()
        large = frame.assign(y=frame["y"].where(frame["unique_id"] != "a", frame["y"] * 1000 + 50))
        one, two = (forecaster().fit(f).predict() for f in (frame, large))
        here = one["unique_id"] == "a"
        np.testing.assert_allclose(
            two["ConvTimeNet"][here], one["ConvTimeNet"][here] * 1000 + 50, atol=2
        )
        np.testing.assert_allclose(two["ConvTimeNet"][~here], one["ConvTimeNet"][~here], atol=2e-3)


class TestForecasts:
    def test_long_in_long_out(self):
        model = forecaster().fit(panel())
        found = model.predict()
        assert list(found.columns) == ["unique_id", "ds", "ConvTimeNet"]
        assert found["unique_id"].tolist() == ["b"] * 4 + ["a"] * 4 + ["c"] * 4 + ["short"] * 4
        ends = {name: one["ds"].max() for name, one in panel().groupby("unique_id")}
        for name, rows in found.groupby("unique_id"):
            expected = pd.date_range(ends[name], periods=5, freq="D")[1:]
            assert rows["ds"].tolist() == expected.tolist()
        assert found["ConvTimeNet"].notna().all()
        pd.testing.assert_frame_equal(model.predict(panel()), found)

    @pytest.mark.parametrize("kind", ["text", "category", "whole"])
    def test_kinds_of_frames_and_ids_come_back(self, kind):
        numbers = {"b": 7, "a": 2, "c": 9, "short": 1}
        frame = panel()
        if kind == "category":
            frame["unique_id"] = frame["unique_id"].astype("category")
        if kind == "whole":
            frame["unique_id"] = [numbers[one] for one in frame["unique_id"]]
        model = forecaster().fit(frame)
        pandas = model.predict()
        assert pandas["unique_id"].dtype == frame["unique_id"].dtype
        assert pandas["ds"].dtype == frame["ds"].dtype
        polars = model.predict(pl.from_pandas(frame))
        assert isinstance(polars, pl.DataFrame)
        assert polars["unique_id"].dtype == pl.from_pandas(frame)["unique_id"].dtype
        arrow = model.predict(pa.Table.from_pandas(frame))
        assert isinstance(arrow, pa.Table)
        for found in (polars, arrow):
            values = np.asarray(found["ConvTimeNet"])
            np.testing.assert_array_equal(values, pandas["ConvTimeNet"])

    def test_several_targets_each_have_a_column(self):
        frame = panel(z=lambda f: f["y"] * 3 + 1)
        model = forecaster(target_cols=["y", "z"]).fit(frame)
        found = model.predict()
        assert list(found.columns) == ["unique_id", "ds", "ConvTimeNet-y", "ConvTimeNet-z"]
        np.testing.assert_allclose(
            found["ConvTimeNet-z"], found["ConvTimeNet-y"] * 3 + 1, atol=1e-3
        )

    def test_month_ends_and_dates(self):
        days = pl.Series(pd.date_range("2020-01-31", periods=37, freq="ME")).cast(pl.Date)
        frame = pl.DataFrame({"unique_id": ["x"] * 37, "ds": days, "y": np.sin(np.arange(37.0))})
        found = forecaster().fit(frame).predict()
        assert found["ds"].dtype == pl.Date
        assert found["ds"].to_list() == [
            date(2023, 2, 28), date(2023, 3, 31), date(2023, 4, 30), date(2023, 5, 31)
        ]  # fmt: skip

    def test_a_time_index_stays_an_index(self):
        found = forecaster().fit(panel().set_index("ds")).predict()
        assert list(found.columns) == ["unique_id", "ConvTimeNet"]
        assert found.index.name == "ds"
        assert found.index[0] == pd.Timestamp("2024-03-01")

    def test_a_series_is_forecast_the_same_alone_and_in_company(self):
        model = forecaster().fit(panel())
        together = model.predict().set_index("unique_id")["ConvTimeNet"]
        for name in ("a", "short"):
            alone = model.predict(panel()[lambda f, n=name: f["unique_id"] == n])
            np.testing.assert_allclose(alone["ConvTimeNet"], together[name], atol=1e-5)

    @pytest.mark.parametrize("context", [None, 20])
    def test_closed_forms_do_not_depend_on_the_order_of_the_series(self, context):
        numbers, t = np.random.default_rng(0), np.arange(60)
        kinds = (
            lambda s: 20 + numbers.normal(size=60),
            lambda s: 50 + t * (1 + s / 50) + numbers.normal(size=60),
            lambda s: 30 * np.exp(0.3 * np.sin(t * np.pi / 3.5) + 0.02 * t * (s % 5)),
        )
        parts = [series(f"s{s:02}", 60).assign(y=kinds[s % 3](s)) for s in range(30)]
        models = [
            ConvTimeNetForecaster(4, context, quality="fast", verbose=0).fit(pd.concat(given))
            for given in (parts, [*parts[1::2], *parts[-2::-2]])
        ]
        found = [one.predict().set_index(["unique_id", "ds"])["ConvTimeNet"] for one in models]
        assert found[1].index[0][0] == "s01"
        for name, weights in models[0].network_.state_dict().items():
            torch.testing.assert_close(models[1].network_.state_dict()[name], weights)
        pd.testing.assert_series_equal(found[1].sort_index(), found[0], rtol=1e-6)

    def test_series_not_seen_in_training_are_scaled_by_their_own_values(self):
        model = forecaster().fit(panel())
        new = panel(unique_id=lambda f: f["unique_id"] + " new", y=lambda f: f["y"] * 500 - 9)
        found = model.predict(new)
        assert found["unique_id"].unique().tolist() == ["b new", "a new", "c new", "short new"]
        values = new.loc[new["unique_id"] == "c new", "y"].to_numpy()
        own = Scaler.standard(values[None])
        x = torch.from_numpy(own.apply(values[None, None, -12:])).float()
        with torch.inference_mode():
            expected = own.invert(model.fused_(x).double().numpy())[0, 0]
        np.testing.assert_allclose(found["ConvTimeNet"][8:12], expected, rtol=1e-6)

    def test_a_model_of_a_wide_table_forecasts_long_ones_and_the_other_way_round(self):
        one = series("x", 60)[["ds", "y"]]
        wide = forecaster().fit(one)
        found = wide.predict(one.assign(unique_id="k"))
        np.testing.assert_allclose(found["ConvTimeNet"], wide.predict()["y"], rtol=1e-6)
        long = forecaster().fit(panel())
        assert list(long.predict(one).columns) == ["ds", "y"]
        np.testing.assert_allclose(
            long.predict(one)["y"], long.predict(one.assign(unique_id="k"))["ConvTimeNet"]
        )

    def test_many_series_are_forecast_in_chunks(self, monkeypatch):
        model = forecaster().fit(panel())
        whole = model.predict()
        monkeypatch.setattr("convtimenet.estimators.forecasting.forecasts._CHUNK", 3)
        np.testing.assert_allclose(model.predict()["ConvTimeNet"], whole["ConvTimeNet"], atol=1e-6)

    def test_saved_and_loaded(self, tmp_path):
        codes = panel(unique_id=lambda f: f["unique_id"].factorize()[0])
        for frame in (panel(), pl.from_pandas(panel()), codes):
            model = forecaster().fit(frame)
            loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
            first, again = model.predict(), loaded.predict()
            assert first.equals(again)
            assert model.predict(frame).equals(loaded.predict(frame))

    def test_files_come_back_as_tables_that_can_be_written(self, tmp_path):
        panel().to_csv(tmp_path / "x.csv", index=False)
        model = forecaster().fit(tmp_path / "x.csv")
        found = model.predict()
        write_csv(tmp_path / "y.csv", found)
        again = pd.read_csv(tmp_path / "y.csv", parse_dates=["ds"])
        expected = forecaster().fit(panel()).predict()
        pd.testing.assert_frame_equal(
            again, expected, check_dtype=False, check_exact=True, check_column_type=False
        )


class TestHorizons:
    def test_a_shorter_one_is_cut(self):
        model = forecaster().fit(panel())
        whole, short = model.predict(), model.predict(h=3)
        assert "rolled" not in short
        kept = whole[whole.groupby("unique_id").cumcount() < 3].reset_index(drop=True)
        pd.testing.assert_frame_equal(short, kept)

    def test_a_longer_one_reads_its_own_forecasts_and_says_so(self, caplog):
        model = forecaster().fit(panel())
        long = model.predict(h=10)
        assert "steps 5 to 10 are forecast from the model's own forecasts" in caplog.text
        assert long["rolled"].tolist() == ([False] * 4 + [True] * 6) * 4
        frame, parts = panel(), []
        for _ in range(3):
            part = model.predict(frame)
            parts.append(part)
            frame = pd.concat([frame, part.rename(columns={"ConvTimeNet": "y"})])
        steps = pd.concat(parts)
        for name in ("b", "c", "short"):
            expected = steps.loc[steps["unique_id"] == name, "ConvTimeNet"].iloc[:10]
            found = long["ConvTimeNet"][long["unique_id"] == name]
            np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_arrays_and_files_too(self, tmp_path):
        values = np.sin(np.arange(80.0) / 4)
        model = forecaster().fit(values)
        assert model.predict(h=9).shape == (9, 1)
        np.testing.assert_allclose(model.predict(h=9)[:4], model.predict(), rtol=1e-6)
        np.testing.assert_allclose(model.forecast(values[:, None], h=9), model.predict(h=9))
        pd.DataFrame({"y": values, "ds": np.arange(80)}).to_csv(tmp_path / "x.csv", index=False)
        found = model.set_params(target_cols=None).fit(tmp_path / "x.csv").predict(h=9)
        assert found.times.tolist() == list(range(80, 89))
        assert "steps 5 to 9 are forecast from" in found.notices[0]

    @pytest.mark.parametrize("h", [0, -1, 2.5, True])
    def test_others_are_refused(self, h):
        with pytest.raises(ConfigError, match="h, the steps to forecast, must be a whole number"):
            forecaster().fit(panel()).predict(h=h)


class TestMissingValues:
    def gaps(self) -> pd.DataFrame:
        frame = panel()
        frame.loc[[10, 11, 55, 57, 100], "y"] = np.nan
        return frame.drop(index=[20, 21, 130])

    def test_what_stands_for_them_changes_neither_training_nor_forecasts(self):
        table = read_table(self.gaps())
        other = read_table(self.gaps().fillna(np.inf))
        one, two = (forecaster(n_epochs=2).fit(t) for t in (table, other))
        np.testing.assert_array_equal(one.forecast_table(table), two.forecast_table(other))
        assert one.history_.epochs[0].train_loss == two.history_.epochs[0].train_loss
        assert one.evaluate(table).scores == two.evaluate(other).scores
        assert "missing values are masked" in one.notices_[-1]

    def test_of_wide_tables_as_well(self):
        values = np.sin(np.arange(120)[:, None] / np.array([3.0, 5.0]))
        values[[30, 31, 110], 0] = np.nan
        model = forecaster().fit(values)
        np.testing.assert_allclose(model.predict(), model.forecast(values), rtol=1e-6)

    def test_complete_tables_are_trained_the_same_with_and_without_masks(self):
        frame = panel()[lambda f: f["unique_id"] != "short"]
        with_masks = forecaster().fit(frame)
        without = forecaster(model=TINY | {"masks": False}).fit(frame)
        pd.testing.assert_frame_equal(with_masks.predict(), without.predict())
        assert with_masks.evaluate(frame).scores == without.evaluate(frame).scores

    def test_a_series_of_one_row(self):
        frame = pd.concat([panel(), series("one", 1, "2024-07-01").assign(y=5.0)])
        found = forecaster().fit(frame).predict()
        last = found[found["unique_id"] == "one"]["ConvTimeNet"]
        np.testing.assert_allclose(last, 5, atol=0.5)


class TestSizes:
    """What is chosen by the size of a table, where its series have few and many rows."""

    def test_series_that_hold_most_rows_are_typical(self):
        sizes = {
            (300, 300, 300): (300, 3),
            (7,): (7, 1),
            (300, 300, 2, 2, 2): (300, 2),
            (12, 12, 12, 12, 12, 40): (12, 8),
            (-3, 0): (1, 2),
        }
        for rows, size in sizes.items():
            assert typical_size(np.array(rows)) == size

    def test_many_new_series_change_nothing_for_the_old_ones(self):
        """More than half of the series have two rows."""
        old = [series(name, 50, seed=seed) for seed, name in enumerate("ab")]
        new = [series(f"new{number}", 2, "2024-02-18") for number in range(3)]
        few, many = (
            ConvTimeNetForecaster(4, quality="fast", device="cpu", verbose=0).fit(pd.concat(one))
            for one in (old, old + new)
        )
        assert many.network_.config == few.network_.config
        expected = few.predict()
        found = many.predict().iloc[: len(expected)]
        assert found["unique_id"].tolist() == expected["unique_id"].tolist()
        off = (found["ConvTimeNet"] - expected["ConvTimeNet"]).abs()
        assert off.max() < 0.05  # of waves between -1 and 1

    def test_one_long_series_changes_nothing_for_many_short_ones(self):
        model = ConvTimeNetForecaster(h=7)
        assert model.is_ready_for(np.array([12] * 30), 1)
        assert model.is_ready_for(np.array([12] * 30 + [60]), 1)
        assert not model.is_ready_for(np.array([60] * 30 + [12]), 1)

    @pytest.mark.parametrize(
        ("rows", "quality", "kind"),
        [(30, "auto", "weights"), (120, "auto", "solved"), (120, "fast", "solved")],
    )
    def test_a_fit_is_of_the_kind_that_is_told_before(self, rows, quality, kind):
        model = ConvTimeNetForecaster(7, quality=quality, device="cpu", verbose=0)
        at = np.array([rows])
        assert model.kind_of_fit(at * 4 // 5, at, 1, 7) == kind
        config = model.fit(series("a", rows)).network_.config
        ready = kind == "weights"
        assert (config.pretrained, config.kernel_sizes == ()) == (ready, not ready)

    def test_the_horizon_is_that_of_the_old_series(self):
        old = [series("a", 100)]
        new = [series(f"new{number}", 2) for number in range(3)]
        assert [default_horizon(read_table(pd.concat(one))) for one in (old, old + new)] == [14, 14]


class TestParts:
    def test_the_last_part_of_each_series_chooses_and_does_not_scale(self):
        frame = panel()
        rows = dict(frame["unique_id"].value_counts())
        end = np.array([rows[name] for name in frame["unique_id"]])
        late = (frame.groupby("unique_id").cumcount() >= 0.8 * end) & (
            frame["unique_id"] != "short"
        )
        shifted = frame.assign(y=frame["y"] + 1000 * late)
        model = forecaster().fit(shifted)
        early = frame[~late & (frame["unique_id"] == "c")]["y"]
        assert model.scaler_.centre[2, 0, 0] == pytest.approx(early.mean())
        assert set(model.history_.epochs[0].valid) == {"mse", "mae"}
        assert "1 of 4 series ('short') are too short for a validation split" in model.notices_[0]

    def test_held_back_rows_change_no_weight(self):
        frame = panel()
        late = frame.groupby("unique_id").cumcount() >= 25
        changed = frame.assign(y=frame["y"].where(~late, frame["y"] * -3))
        lengths = read_table(frame).lengths
        split = np.minimum(25, lengths), np.minimum(40, lengths)
        models = [forecaster(refit=False).fit(f, split=split) for f in (frame, changed)]
        for name, one in models[0].network_.state_dict().items():
            if name != "granted":  # which they decide, as they choose the epoch
                assert torch.equal(one, models[1].network_.state_dict()[name])

    @pytest.mark.parametrize(
        ("split", "told"),
        [
            ((10, 90), "in that order within each series"),
            ((0, 5), "in that order within each series"),
            ((np.array([1, 2, 3]), 7), "a whole number or 4 of them, one for each series, found"),
        ],
    )
    def test_a_split_outside_a_series_is_refused(self, split, told):
        with pytest.raises(DataError, match=told):
            forecaster().fit(panel(), split=split)

    def test_an_epoch_of_a_panel_reads_a_limited_number_of_windows(self):
        model = forecaster(training={"epoch_size": 24}, batch_size=8).fit(panel())
        assert model.history_.steps == 3
        assert forecaster().fit(panel()).train_config_.epoch_size == 2**15
        assert forecaster().fit(series("x", 60)[["ds", "y"]]).train_config_.epoch_size == 2048

    def test_scores_are_means_over_the_windows_of_all_series(self):
        frame = panel()
        model = forecaster(batch_size=7, refit=False).fit(frame)
        squared, absolute = [], []
        for i, (_, one) in enumerate(frame.groupby("unique_id", sort=False)):
            y = one["y"].to_numpy()
            scaler = model.scaler_[i]
            for t in range(12, len(y) - 3):
                x = torch.from_numpy(scaler.apply(y[None, None, t - 12 : t])).float()
                with torch.inference_mode():
                    ahead = scaler.invert(model.fused_(x).double().numpy())[0, 0]
                error = ahead - y[t : t + 4]
                squared.append((error / scaler.scale[0]) ** 2)
                absolute.append(abs(error))
        found = model.evaluate(frame[frame["unique_id"] != "short"])
        assert found.n_windows == len(squared) == 45 + 30 + 65
        assert found.scores["mse"] == pytest.approx(np.mean(squared), rel=1e-4)
        np.testing.assert_allclose(found.mse_per_step, np.mean(squared, axis=0), rtol=1e-4)
        assert found.mae_per_channel["y"] == pytest.approx(np.mean(absolute), rel=1e-4)
        everything = model.evaluate(frame)
        assert everything.n_windows == 45 + 30 + 65 + 1
        assert everything.n_values == 4 * everything.n_windows

    def test_scores_of_the_last_rows_of_each_series(self):
        frame = panel()
        model = forecaster().fit(frame)
        table = read_table(frame)
        last = model.evaluate(table, first_row=table.lengths - 4)
        assert last.n_windows == 4
        assert last.starts[:3].tolist() == [60 - 16, 105 - 16, 185 - 16]


class TestCommandLine:
    def run(self, tmp_path: Path, *flags: str) -> int:
        panel().to_csv(tmp_path / "sales.csv", index=False)
        small = ["--model.d_model", "8", "--model.d_ff", "16", "--model.kernel_sizes", "[3,5]"]
        given = ["forecast", str(tmp_path / "sales.csv"), "--h", "4", "--input_size", "12"]
        fast = ["--training.epochs", "1", "--quiet", "--out", str(tmp_path / "f.csv")]
        return main([*given, *fast, *small, *flags])

    def test_a_long_file_is_forecast_and_its_last_fifth_scored(self, tmp_path, capsys):
        assert self.run(tmp_path, "--json", str(tmp_path / "r.json")) == 0
        found = pd.read_csv(tmp_path / "f.csv")
        assert list(found.columns) == ["unique_id", "ds", "ConvTimeNet"]
        assert found["unique_id"].value_counts().to_dict() == dict.fromkeys("abc", 4) | {"short": 4}
        result = json.loads((tmp_path / "r.json").read_text())
        # the last 12, 9 and 16 rows of the long series, horizons of 4
        assert result["n_test"] == 9 + 6 + 13
        assert result["scores"]["mse"] > 0
        told = "the rows of 1 series are too few for a test split with a horizon of 4: no scores"
        assert told in result["notices"]

    def test_a_report_names_the_series(self, tmp_path):
        assert self.run(tmp_path, "--report", str(tmp_path / "r.html")) == 0
        page = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert "Error by series" in page
        assert page.count("forecast of ") >= 3

    def test_the_id_column_is_named(self, tmp_path, capsys):
        assert self.run(tmp_path, "--id_col", "shop") == 2
        assert "id_col: there is no column 'shop'" in capsys.readouterr().err


def test_a_graph_holds_no_scaling_per_series(tmp_path):
    with pytest.raises(ConfigError, match="fit with scale=False to export"):
        export(forecaster().fit(panel()), tmp_path / "x", "torch-export")
    with pytest.raises(ConfigError, match="reads no covariates, and this model needs them"):
        export(forecaster(calendar=True).fit(panel()), tmp_path / "x", "torch-export")
    assert not (tmp_path / "x").exists()
