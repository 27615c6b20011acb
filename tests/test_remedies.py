"""Every refusal of the reader names a remedy, and the remedy works as it is written.

Where the message names options, they are taken from the message and passed; else the case says what
a reader of the message would write.
"""

from __future__ import annotations

import ast
import datetime as dt
import gzip
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from convtimenet.data.tables import read_table
from convtimenet.errors import ConvTimeNetError

DAYS = pd.date_range("2024-01-01", periods=8)
TEXTS = DAYS.strftime("%Y-%m-%d").tolist()
Source = Callable[[Path], Any]


@dataclass(kw_only=True)
class Case:
    """A refusal: what is read, what is said, what is read after the remedy.

    `options` are read_table's; those in `message` between "pass" and its end replace them where
    `literal` is set. `then` is the source after the remedy, the same where only options change.
    """

    source: Source
    says: str
    options: dict[str, Any] = field(default_factory=dict)
    then: Source | None = None
    then_options: dict[str, Any] | None = None
    literal: bool = False


def text(content: str | bytes, name: str = "x.csv") -> Source:
    def save(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return save


def rows(*cells: str, head: str = "date,y", stamps: list[str] = TEXTS) -> str:
    lines = [f"{stamp},{cell}" for stamp, cell in zip(stamps, cells, strict=False)]
    return "\n".join([head, *lines]) + "\n"


def frame(**columns: Any) -> Source:
    return lambda folder: pd.DataFrame(columns)


GOOD = rows("1", "2", "3", "4")
PANEL = "date,store,units,price\n" + "".join(
    f"{day},{store},{i},{i / 4}\n" for store in "AB" for i, day in enumerate(TEXTS)
)
TWO_KEYS = pd.DataFrame(
    [(d, s, i, k) for s in "AB" for i in "xy" for k, d in enumerate(TEXTS)],
    columns=["date", "store", "item", "units"],
)
ONE_KEY = pd.DataFrame(
    [(d, s, k) for s in "AB" for k, d in enumerate(TEXTS)], columns=["date", "unique_id", "units"]
)
SUNDAYS = pd.date_range("2024-01-07", periods=8, freq="W-SUN")
QUARTERS = pd.date_range("2024-01-01", periods=8, freq="QS-JAN")
NAIVE = [f"2024-01-0{i} 00:00" for i in range(1, 5)]


def joined(folder: Path) -> pd.DataFrame:
    table = TWO_KEYS.copy()
    table["unique_id"] = table["store"].astype(str) + "/" + table["item"].astype(str)
    return table


RULED = ["----", *pd.date_range("2024-01-01", periods=20).strftime("%Y-%m-%d"), "----"]


def two_rows(folder: Path) -> pd.DataFrame:
    names = pd.MultiIndex.from_tuples([("Close", "A"), ("Close", "B")], names=["Price", "Ticker"])
    return pd.DataFrame(np.arange(16.0).reshape(8, 2), DAYS.rename("Date"), names)


def one_row(folder: Path) -> Path:
    table = two_rows(folder)
    table.columns = ["_".join(map(str, c)) for c in table.columns]
    table.to_csv(folder / "x.csv")
    return folder / "x.csv"


def zipped(*names: str) -> Source:
    def save(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "x.zip", "w") as archive:
            for name in names:
                archive.writestr(name, GOOD)
        return folder / "x.zip"

    return save


def damaged_parquet(folder: Path) -> Path:
    return text("PAR1 nothing", "x.parquet")(folder)


def whole_parquet(folder: Path) -> Path:
    parquet.write_table(pa.table({"date": DAYS, "y": range(8)}), folder / "x.parquet")
    return folder / "x.parquet"


CASES: dict[str, Case] = {
    # the path
    "no such file": Case(
        source=lambda folder: folder / "x.csv",
        says="x.csv: there is no such file; check the path",
        then=text(GOOD),
    ),
    "a folder": Case(
        source=lambda folder: folder,
        says="found a folder; give one of the files in it",
        then=text(GOOD),
    ),
    "an unknown ending": Case(
        source=text(GOOD, "x.dat"),
        says="found the extension '.dat'; save it as one of them, such as .csv",
        then=text(GOOD),
    ),
    "several files in one": Case(
        source=zipped("a.csv", "b.csv"),
        says="expected one file in it, found 2; unpack it and give one",
        then=text(GOOD),
    ),
    "another kind in a zip": Case(
        source=zipped("a.doc"), says="found 'a.doc'; unpack it and save it as .csv", then=text(GOOD)
    ),
    "damaged gzip": Case(
        source=text("x", "x.csv.gz"),
        says="damaged gzip file.*get a new copy",
        then=text(gzip.compress(GOOD.encode()), "x.csv.gz"),
    ),
    "damaged Parquet": Case(
        source=damaged_parquet, says="not readable as Parquet.*write it again", then=whole_parquet
    ),
    "damaged workbook": Case(
        source=text("x", "x.xlsx"),
        says="not readable as a workbook: .*save it again as .xlsx, or as .csv",
        then=text(GOOD),
    ),
    # how cells lie
    "an empty file": Case(
        source=text(""), says="found an empty file; write at least two rows", then=text(GOOD)
    ),
    "a header alone": Case(
        source=text("date,y\n"), says="only a header line; write at least two", then=text(GOOD)
    ),
    "no header": Case(
        source=text(GOOD.split("\n", 1)[1]),
        says="expected a header line .* found '2024-01-01' in it; write a header line",
        then=text(GOOD),
    ),
    "times in the header": Case(
        source=text("series,Jan 2024,Feb 2024\na,1,2\n"),
        says="found 'Jan 2024' in it; write a header line, and put the times in one column",
        then=text("date,a\nJan 2024,1\nFeb 2024,2\n"),
    ),
    "a column twice": Case(
        source=text("date,y,y\n2024-01-01,1,2\n2024-01-02,1,2\n"),
        says="two columns are named 'y'; rename one",
        then=text("date,y,z\n2024-01-01,1,2\n2024-01-02,1,2\n"),
    ),
    "dates as ids alone": Case(
        source=text(rows(*map(str, range(20)), stamps=RULED[1:21], head="day,y")),
        options={"id_col": "day"},
        says="no time column found: none is named date",
        then=text(GOOD),
        then_options={},
    ),
    "a header of two rows": Case(
        source=lambda folder: two_rows(folder).to_csv(folder / "x.csv") or folder / "x.csv",
        says=r"x\.csv: two columns are named 'Close', and the row below holds no values "
        r"\('Ticker', 'A', 'B'\): the header has several rows; write a single one, .*'_'.join",
        then=one_row,
    ),
    "a ruler among dates": Case(
        source=text(rows("-", *map(str, range(20)), "9", head="day,y", stamps=RULED)),
        says="no time column found: 'day' holds dates like 2024-01-01, but '----' in line 2; "
        "remove the row if it is a total or a ruler line",
        then=text(GOOD),
    ),
    "a cell too many": Case(
        source=text(rows("1", "2", "3,5", "4")),
        says="line 4: expected 2 cells as in the header, found 3; quote cells that contain ','",
        then=text(rows("1", "2", '"3,5"', "4")),
    ),
    "a column without a name": Case(
        source=text("date,y,\n2024-01-01,1,2\n2024-01-02,3,4\n"),
        says="a column has no name; name or remove it, or list the channels as target_cols",
        then_options={"target_cols": ["y"]},
    ),
    "no JSON": Case(
        source=text('{"date": "2024-01-01", "y": 1}\noops\n', "x.jsonl"),
        says="line 2: not readable as JSON.*correct the line",
        then=text('{"date": "2024-01-01", "y": 1}\n{"date": "2024-01-02", "y": 1}\n', "x.jsonl"),
    ),
    "other JSON": Case(
        source=text("[1, 2]", "x.json"),
        says=r'expected records such as \{"date".*found other JSON; use one of these',
        then=text('[{"date": "2024-01-31", "a": 1.5}, {"date": "2024-02-01", "a": 2}]', "x.json"),
    ),
    "tsf without a head": Case(
        source=text("a:1,2\n", "x.tsf"),
        says="@data above the series; found none; add them",
        then=text("@attribute series_name string\n@data\na:1,2\n", "x.tsf"),
    ),
    # numbers
    "two readings of a comma": Case(
        source=text('date;y\n2024-01-01;1,234\n2024-01-02;5,678\n'),
        says=r"'1,234' may be 1.234 or 1234, and no other cell shows which; pass decimal=','",
        literal=True,
    ),
    "a decimal mark that no cell has": Case(
        source=text("date;y\n2024-01-01;1,25\n2024-01-02;5,5\n"),
        options={"decimal": "."},
        says=r"found '1,25'; it does not have a decimal point as set by decimal='.'; pass "
        "decimal=','",
        literal=True,
    ),
    "both marks for one thing": Case(
        source=text("date;y\n2024-01-01;1,25\n2024-01-02;5.5\n"),
        says="expected a number, found '1,25'; write numbers with a decimal point, such as 1234.5",
        then=text("date;y\n2024-01-01;1.25\n2024-01-02;5.5\n"),
    ),
    "text among numbers": Case(
        source=text(rows("1", "2", "high", "4")),
        says="line 4: expected a number, found 'high'; correct the cell .an empty cell is missing",
        then=text(rows("1", "2", "", "4")),
    ),
    "truth values": Case(
        source=text(rows("True", "False", "True")),
        says="found 'True'; write 1 and 0",
        then=text(rows("1", "0", "1")),
    ),
    "a column of text": Case(
        source=text("date,y,state\n2024-01-01,1,dry\n2024-01-02,2,wet\n"),
        says="found 'dry'; if the column holds series ids, pass id_col='state'.*otherwise "
        "leave it out",
        then_options={"target_cols": ["y"]},
    ),
    "series one after the other": Case(
        source=text("date,y,store\n" + "".join(
            f"{day},{i},{'AB'[i // 4]}\n" for i, day in enumerate(TEXTS))),
        says="found 'A'; if the column holds series ids, pass id_col='store'",
        literal=True,
    ),
    "a column of dates": Case(
        source=frame(date=DAYS, y=range(8), other=DAYS),
        options={"time_col": "date"},
        says="column 'other': expected numbers, found Datetime.*leave it out with target_cols",
        then_options={"time_col": "date", "target_cols": ["y"]},
    ),
    "nothing but missing values": Case(
        source=frame(date=DAYS, y=range(8), x=[None] * 8),
        says="no numbers in 'x': every value is missing; leave these channels out with target_cols",
        then_options={"target_cols": ["y"]},
    ),
    # times
    "two readings of a day": Case(
        source=text(rows("1", "2", "3", stamps=["01/02/2024", "01/03/2024", "01/04/2024"])),
        says="'01/02/2024' may be 1 Feb 2024 or 2 Jan 2024.*pass dayfirst=True .--dayfirst true.",
        literal=True,
    ),
    "the wrong reading of a day": Case(
        source=text(rows("1", "2", stamps=["30/01/2024", "31/01/2024"])),
        options={"dayfirst": False},
        says="is invalid with dayfirst=False .month 30.; pass dayfirst=True",
        literal=True,
    ),
    "days first and months first": Case(
        source=text(rows("1", "2", stamps=["30/01/2024", "01/31/2024"])),
        says="has the day first and '01/31/2024' the month; use the same format for all time "
        "stamps",
        then=text(rows("1", "2", stamps=["30/01/2024", "31/01/2024"])),
    ),
    "short years": Case(
        source=text(rows("1", "2", "3", stamps=["29/01/24", "30/01/24", "31/01/24"])),
        options={"time_col": "date"},
        says=r"'29/01/24' is not a time stamp; .* pass time_format='%d/%m/%y'",
        literal=True,
    ),
    "the clock first": Case(
        source=text(rows("1", "2", stamps=["00:00 30.01.2024", "00:00 31.01.2024"])),
        says=r"pass time_format='%H:%M %d.%m.%Y'",
        literal=True,
    ),
    "short names of months": Case(
        source=text(rows("1", "2", stamps=["Jan-24", "Feb-24"])),
        says=r"pass time_format='%b-%y'",
        literal=True,
    ),
    "a format that does not fit": Case(
        source=text(GOOD),
        options={"time_format": "%d.%m.%Y"},
        says="'2024-01-01' does not match time_format='%d.%m.%Y'; .*leave it out",
        then_options={},
    ),
    "no number since 1970": Case(
        source=text(GOOD),
        options={"time_format": "unix-s"},
        says="'2024-01-01' is not a number, as time_format='unix-s' requires; .*leave it out",
        then_options={},
    ),
    "finer numbers since 1970": Case(
        source=frame(date=[1_704_067_200_000, 1_704_067_201_000], y=[1, 2]),
        options={"time_format": "unix-s"},
        says="is after the year 2261 with time_format='unix-s'; pass time_format='unix-ms'",
        literal=True,
    ),
    "a stamp that is none": Case(
        source=text(rows("1", "2", stamps=["2024-02-29", "2024-02-30"])),
        says="line 3: '2024-02-30' is not a time stamp; expected one like 2020-01-31.*correct it",
        then=text(rows("1", "2", stamps=["2024-02-29", "2024-03-01"])),
    ),
    "offsets on some": Case(
        source=text(rows("1", "2", stamps=["2024-01-01 00:00", "2024-01-02 00:00Z"])),
        says="some time stamps have a UTC offset and some do not.*use the same format for all",
        then=text(rows("1", "2", stamps=["2024-01-01 00:00Z", "2024-01-02 00:00Z"])),
    ),
    "a missing stamp": Case(
        source=text(rows("1", "2", "3", stamps=["2024-01-01", "", "2024-01-03"])),
        says="column 'date', line 3: the time stamp is missing; every row needs one",
        then=text(GOOD),
    ),
    "a missing stamp of a frame": Case(
        source=frame(date=[DAYS[0], pd.NaT, DAYS[2]], y=[1, 2, 3]),
        says="column 'date', row 1: the time stamp is missing; every row needs one",
        then=frame(date=DAYS, y=range(8)),
    ),
    "fractions as times": Case(
        source=frame(date=[2020.0, 2021.0, 2022.0], y=[1, 2, 3]),
        says=r"found Float64; convert it, .*or column.astype\(int\) for whole numbers",
        then=frame(date=np.array([2020.0, 2021.0, 2022.0]).astype(int), y=[1, 2, 3]),
    ),
    "years out of reach": Case(
        source=lambda folder: pl.DataFrame(
            {"date": [dt.date(1066, 1, 1), dt.date(2024, 1, 1)], "y": [1, 2]}
        ),
        says="expected years from 1678 to 2261, found 1066 to 2024; remove the other rows",
        then=frame(date=DAYS, y=range(8)),
    ),
    "no times": Case(
        source=frame(a=range(8), b=range(8)),
        says="no time column found.*or values without times as an array",
        then=lambda folder: np.stack([range(8), range(8)], axis=1),
    ),
    "no times, but a step": Case(
        source=frame(a=range(8), b=range(8)),
        says=r"if there are none, pass freq=1 \(--freq 1\) to number the rows 0, 1, 2",
        literal=True,
    ),
    "several columns of dates": Case(
        source=frame(start=DAYS, end=DAYS, y=range(8)),
        says=r"several columns hold dates: 'start', 'end'; pass time_col=\.\.\. with one of",
        then_options={"time_col": "start", "target_cols": ["y"]},
    ),
    "ids and times in the index": Case(
        source=lambda folder: ONE_KEY.set_index(["unique_id", "date"]),
        says=r"the index holds .* convert it to columns with frame.reset_index\(\)",
        then=lambda folder: ONE_KEY.set_index(["unique_id", "date"]).reset_index(),
    ),
    "a series indexed by text": Case(
        source=lambda folder: pd.Series(range(8), index=list("abcdefgh")),
        says=r"neither dates nor whole numbers; .* or series.reset_index\(drop=True\)",
        then=lambda folder: pd.Series(range(8), index=list("abcdefgh")).reset_index(drop=True),
    ),
    "a lazy frame": Case(
        source=lambda folder: pl.LazyFrame({"date": DAYS, "y": range(8)}),
        says="found polars.*LazyFrame; collect a lazy frame",
        then=lambda folder: pl.LazyFrame({"date": DAYS, "y": range(8)}).collect(),
    ),
    "a list": Case(
        source=lambda folder: [1.0, 2.0, 3.0],
        says=r"found builtins.list; .*convert a list with np.array",
        then=lambda folder: np.array([1.0, 2.0, 3.0]),
    ),
    # many series
    "an id of another name": Case(
        source=text(PANEL),
        says="column 'store' distinguishes their rows: this looks like several series; pass "
        r"id_col='store' \(--id_col store\) and target_cols=\['units', 'price'\]",
        literal=True,
    ),
    "an id of two words": Case(
        source=text(PANEL.replace("store", "Store ID")),
        says=r"pass id_col='Store ID' \(--id_col 'Store ID'\) and target_cols=",
        literal=True,
    ),
    "an id of whole numbers": Case(
        source=text(PANEL.replace("A", "7").replace("B", "8")),
        says="column 'store' distinguishes their rows.*pass id_col='store'",
        literal=True,
    ),
    "two columns that are the id together": Case(
        source=lambda folder: TWO_KEYS,
        says=r"'store' and 'item' together distinguish.*join the two.*pass id_col='unique_id'",
        then=joined,
        then_options={"id_col": "unique_id", "target_cols": ["units"]},
    ),
    "half an id": Case(
        source=lambda folder: TWO_KEYS,
        options={"id_col": "store", "target_cols": ["units"]},
        says=r"the series of 'store' repeat time stamps, and the column 'item' distinguishes"
        ".*join the two",
        then=joined,
        then_options={"id_col": "unique_id", "target_cols": ["units"]},
    ),
    "a missing id": Case(
        source=text("unique_id,ds,y\na,2024-01-01,1\n,2024-01-02,2\na,2024-01-02,2\n"),
        says="'unique_id', line 3: the id is missing; every row needs one",
        then=text("unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\n"),
    ),
    # steps
    "another weekday": Case(
        source=frame(ds=SUNDAYS, y=range(8)),
        options={"frequency": "W-WED"},
        says="'W-WED': 2024-01-07T00:00:00 is in SUN; pass freq='W', .* or freq='W-SUN'",
        literal=True,
    ),
    "another quarter": Case(
        source=frame(ds=QUARTERS, y=range(8)),
        options={"frequency": "QS-FEB"},
        says="'QS-FEB': 2024-01-01T00:00:00 is in JAN; pass freq='QS', .* or freq='QS-JAN'",
        literal=True,
    ),
    "a step that is none": Case(
        source=text(GOOD),
        options={"frequency": 1.5},
        says="freq must be a name such as 'h'.*found 1.5; leave freq out to infer it",
        then_options={},
    ),
    "a step backwards": Case(
        source=frame(ds=pd.date_range("2024", periods=8, freq="h"), y=range(8)),
        options={"frequency": pd.Timedelta("-1h")},
        says="freq must be a step forward in time.*pass freq='1h'",
        literal=True,
    ),
    "an unknown name of a step": Case(
        source=text(GOOD),
        options={"frequency": "CBMS"},
        says="unknown frequency 'CBMS'.*leave freq out to infer it",
        then_options={},
    ),
    "an offset that is not known": Case(
        source=text(GOOD),
        options={"frequency": pd.DateOffset(days=1)},
        says="this offset is not supported; pass a supported name such as freq='D'",
        literal=True,
    ),
}  # fmt: skip

_OPTION = re.compile(r"\b(\w+)=('[^']*'|\[['\w, ]*\]|True|False|\d+)")
_KNOWN = ("id_col", "target_cols", "dayfirst", "decimal", "time_format", "freq")


def named_in(message: str) -> dict[str, Any]:
    """The options that a message says to pass, the first value of each."""
    remedy = message[message.index("pass ") :]
    found: dict[str, Any] = {}
    for name, value in _OPTION.findall(remedy):
        if name in _KNOWN:
            found.setdefault("frequency" if name == "freq" else name, ast.literal_eval(value))
    assert found, message
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_remedy_works(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = case.source(tmp_path)
    with pytest.raises(ConvTimeNetError, match=f"(?s){case.says}") as caught:
        read_table(source, **case.options)
    message = str(caught.value)
    options = case.options if case.then_options is None else case.then_options
    if case.literal:
        options = {**options, **named_in(message)}
    mended = source if case.then is None else case.then(tmp_path)
    table = read_table(mended, **options)
    assert len(table.times) >= 2


def test_both_readings_of_a_day_can_be_had(tmp_path: Path) -> None:
    source = CASES["two readings of a day"].source(tmp_path)
    first = {day: read_table(source, dayfirst=day).times[0] for day in (True, False)}
    assert first == {True: np.datetime64("2024-02-01"), False: np.datetime64("2024-01-02")}


def test_both_readings_of_a_comma_can_be_had(tmp_path: Path) -> None:
    source = CASES["two readings of a comma"].source(tmp_path)
    found = {mark: read_table(source, decimal=mark).values[0, 0] for mark in ".,"}
    assert found == {".": 1234.0, ",": 1.234}
