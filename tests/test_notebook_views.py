"""What notebooks show of models, histories, backtests and explanations; forecasts as frames and as
figures."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import convtimenet
from convtimenet.data.tables import read_table
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.forecasting.backtest import Backtest
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.training.history import Epoch, History
from convtimenet.wording import html_table

EVIL = "<script>alert('x')</script>"


class Cells(HTMLParser):
    """The texts of the cells of a table, by row; the caption is the first row."""

    def __init__(self, text: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert attrs == []
        if tag in ("caption", "tr"):
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        self.rows[-1].append(data)


@pytest.fixture(scope="module")
def model() -> ConvTimeNetForecaster:
    torch.set_num_threads(1)
    days = pd.date_range("2024-01-01", periods=90, freq="D")
    frame = pd.DataFrame(
        {"day": days, EVIL: np.sin(np.arange(90) / 3.5 * np.pi), "b": 1.0 * days.day}
    )
    small = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "patch_size": 7, "patch_stride": 7}
    return ConvTimeNetForecaster(7, 14, n_epochs=1, verbose=0, device="cpu", model=small).fit(frame)


def test_a_table_is_small_escaped_and_has_no_scripts():
    found = Cells(html_table(EVIL, [[EVIL, 1 / 3, 12]], ["name", "share", "\x00"]))
    assert found.rows == [[EVIL], ["name", "share", "\ufffd"], [EVIL, "0.3333", "12"]]
    assert found.tags == {"table", "caption", "thead", "tbody", "tr", "th", "td"}


def test_a_model_tells_its_settings_and_its_fit(model: ConvTimeNetForecaster):
    new = ConvTimeNetForecaster(12, device="cpu")
    (caption, settings) = Cells(new._repr_html_()).rows
    assert caption == ["ConvTimeNetForecaster, not fitted"]
    assert settings == ["settings", "ConvTimeNetForecaster(device='cpu', h=12)"]
    shown = model._repr_mimebundle_()
    assert shown["text/plain"] == repr(model)
    rows = Cells(shown["text/html"]).rows
    assert rows[0] == ["ConvTimeNetForecaster, fitted"]
    assert ["reads", "14 time steps"] in rows
    assert any(re.fullmatch(r"[\d,]+ parameters", row[1]) for row in rows[1:])
    assert len(shown["text/html"]) < 4000


def test_a_history_shows_its_last_epochs():
    epochs = [Epoch(n, 1 / n, {"mse": 2 / n}, 0.01, 1.0) for n in range(1, 13)]
    rows = Cells(History(epochs, 5, "patience", "cpu", seconds=12.0)._repr_html_()).rows
    assert rows[0] == [
        "Training in 12.0 s on cpu: patience. Best epoch: 5; the last 10 of 12 are shown"
    ]
    assert rows[1] == ["epoch", "training loss", "validation mse", "lr"]
    assert rows[2] == ["3", "0.3333", "0.6667", "0.01"]
    assert [row[0] for row in rows[2:]] == [str(n) for n in range(3, 13)]
    assert Cells(History()._repr_html_()).rows[1] == ["epoch", "training loss", "lr"]


def test_a_backtest_shows_its_summary():
    summary = {"ConvTimeNet": {"mae": 1.0, "mase": 0.5}, "SeasonalNaive": {"mae": 2.0}}
    rows = Cells(Backtest(frame=None, summary=summary, season=12)._repr_html_()).rows
    assert rows[1:] == [
        ["model", "mae", "mase"],
        ["ConvTimeNet", "1", "0.5"],
        ["SeasonalNaive", "2"],
    ]


def test_an_explanation_shows_its_most_important_part(model: ConvTimeNetForecaster):
    found = model.explain(spans=[(0, 7), (7, 14)])
    found = replace(found, importance=np.array([[[np.nan, 0.5], [-2.0, 1.0]]]))
    rows = Cells(found._repr_html_()).rows
    assert rows[-1] == ["0", "b", "0 to 6", "-2"]
    assert EVIL in Cells(replace(found, channels=("a", EVIL))._repr_html_()).rows[-1]


def test_a_forecaster_is_plotted_with_its_intervals(model: ConvTimeNetForecaster):
    (axes,) = convtimenet.plot(model, channel=1, level=[80]).axes
    forecast = model.predict(level=[80])
    known, line = axes.lines
    np.testing.assert_allclose(np.asarray(line.get_ydata())[1:], forecast["b"], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(known.get_ydata()), model.tail_.values[:, 1])
    ends = [path.get_extents().y1 for path in axes.collections[0].get_paths()]
    assert max(ends) == pytest.approx(forecast["b-hi-80"].max(), rel=1e-6)
    assert {text.get_text() for text in axes.texts} == {"forecast", "80 %"}
    assert axes.get_title() == "b"
    with pytest.raises(ConfigError, match="per cent"):
        convtimenet.plot(model, level=[0.8])


def test_what_cannot_be_plotted_is_refused_before_work(model: ConvTimeNetForecaster):
    found = replace(model.explain(spans=[(0, 7)]), importance=np.zeros((3, 2, 1)))
    series = "number must be 0, as there is one series, found"
    channels = "channel must be the index of a channel, a whole number from 0 to 1, found"
    number = "number must be the index of a series, a whole number from 0 to 2, found"
    given: list[tuple[Any, tuple[Any, Any], str]] = [
        (model, (5, 0), f"{series} 5"),
        (model, (-1, 0), f"{series} -1"),
        (model, (0, 2), f"{channels} 2"),
        (model, (0, "b"), f"{channels} 'b'"),
        (found, (3, 0), f"{number} 3"),
        (found, (2, -1), f"{channels} -1"),
    ]
    for shown, at, said in given:
        with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
            convtimenet.plot(shown, *at)
    wrong: Any = model.predict()
    with pytest.raises(DataError, match=r"a fitted ConvTimeNet.* expl.*found DataFrame; of a data"):
        convtimenet.plot(wrong)


def test_a_table_becomes_a_frame_of_either_library(tmp_path):
    rows = "a,2024-01-01T00:00:00+01:00,1\na,2024-01-02T00:00:00+01:00,2\n"
    text = f"unique_id,ds,y\n{rows}{rows.replace('a,', 'b,')}"
    (tmp_path / "long.csv").write_text(text)
    table = read_table(tmp_path / "long.csv")
    frame = table.to_frame()
    assert frame.columns.tolist() == ["unique_id", "ds", "y"]
    assert frame["unique_id"].tolist() == ["a", "a", "b", "b"]
    assert frame["y"].tolist() == [1, 2, 1, 2]
    assert frame["ds"][0] == pd.Timestamp("2024-01-01", tz="+01:00")
    other = table.to_frame("polars")
    assert isinstance(other, pl.DataFrame)
    assert other["y"].to_list() == [1, 2, 1, 2]
    assert table.to_frame("pyarrow")["unique_id"].to_pylist() == ["a", "a", "b", "b"]
    with pytest.raises(ConfigError, match="'pandas', 'polars', 'pyarrow', found 'arrow'"):
        table.to_frame("arrow")
    wide = read_table(np.arange(3.0)).to_frame()
    assert wide.to_dict("list") == {"time": [0, 1, 2], "0": [0, 1, 2]}


def long_table(tmp_path) -> Any:
    """Series "a" of 8 and "b" of 4 days, the last value missing, with the bounds of an interval."""
    days = [("a", day) for day in range(1, 9)] + [("b", day) for day in range(1, 4)]
    rows = [f"{name},2024-01-{day:02d},{day},{day - 2},{day + 3.5}" for name, day in days]
    rows.append("b,2024-01-04,,,")
    (tmp_path / "bounds.csv").write_text("\n".join(["unique_id,ds,y,y-lo-80,y-hi-80", *rows]))
    columns = ["y", "y-lo-80", "y-hi-80"]
    return read_table(tmp_path / "bounds.csv", target_cols=columns)


def test_a_table_shows_its_first_and_last_rows(tmp_path):
    shown = Cells(long_table(tmp_path)._repr_html_()).rows
    assert shown[0] == [
        "Table: 2 series, 12 rows in steps of 1D, channels 'y', 'y-lo-80', 'y-hi-80'"
    ]
    assert shown[1] == ["unique_id", "ds", "y", "y-lo-80", "y-hi-80"]
    assert shown[2] == ["a", "2024-01-01", "1", "-1", "4.5"]
    assert shown[7] == ["..."] * 5
    assert [row[:2] for row in shown[8:]] == [
        ["a", "2024-01-08"], *(["b", f"2024-01-0{day}"] for day in (1, 2, 3, 4))
    ]  # fmt: skip
    assert shown[-1][2:] == []  # empty cells hold no text
    short = read_table(pd.DataFrame({"time": [0, 1, 2], EVIL: [1234567.25, 2.0, 3.5]}))
    rows = Cells(short._repr_html_()).rows
    assert rows[1:] == [["time", EVIL], ["0", "1.23457e+06"], ["1", "2"], ["2", "3.5"]]
    wide = Cells(read_table(np.zeros((30, 40)))._repr_html_()).rows
    assert len(wide[1]) == 11
    assert wide[0][0].endswith("'7' and 32 more")


def test_a_table_is_plotted_with_its_bounds(tmp_path):
    table = long_table(tmp_path)
    (axes,) = table.plot(0).axes
    (line,) = axes.lines
    assert np.asarray(line.get_ydata()).tolist() == [*range(1, 9)]
    (band,) = axes.collections
    found = band.get_paths()[0].get_extents()
    assert (found.y0, found.y1) == (-1, 11.5)
    assert [text.get_text() for text in axes.texts] == ["80 %"]
    assert (axes.get_title(), axes.get_ylabel()) == ("a, y", "y")
    for series in (1, "b"):
        assert table.plot(series).axes[0].get_title() == "b, y"
    with pytest.raises(DataError, match="no series 'c'; give its index, or one of the ids 'a', 'b"):
        table.plot("c")
    picture: Any = table.plot()  # notebooks ask it for a picture, also without pyplot
    assert picture._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"^channel must be 0, as there is one channel, found 1$"):
        table.plot(0, 1)
    with pytest.raises(ConfigError, match=r"^number must be the index of a series"):
        table.plot(2)


def test_a_forecast_of_a_file_and_its_model_are_plotted(model: ConvTimeNetForecaster, tmp_path):
    days = pd.date_range("2024-02-01", periods=30, freq="D")
    frame = pd.DataFrame({"day": days, EVIL: np.arange(30.0), "b": 1.0 * days.day})
    frame.to_csv(tmp_path / "new.csv", index=False)
    forecast = model.predict(tmp_path / "new.csv", level=[80, 95])
    (axes,) = forecast.plot(channel=1).axes
    drawn = np.asarray(axes.lines[0].get_ydata())
    want = model.predict(frame, level=[80, 95])
    np.testing.assert_allclose(drawn, want["b"], rtol=1e-5)
    tops = [path.get_extents().y1 for one in axes.collections for path in one.get_paths()]
    np.testing.assert_allclose(tops, [want[f"b-hi-{n}"].max() for n in (95, 80)], rtol=1e-5)
    assert "b-lo-95" in Cells(forecast._repr_html_()).rows[1]
    (own,) = model.plot(channel=1, level=[80]).axes
    (other,) = convtimenet.plot(model, channel=1, level=[80]).axes
    for ours, theirs in zip(own.lines, other.lines, strict=True):
        np.testing.assert_array_equal(ours.get_ydata(), theirs.get_ydata())
    assert len(own.collections) == 1
