"""Labelled cases as users hold them: files of every kind, frames of every library, labels."""

from __future__ import annotations

import bz2
import datetime
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from convtimenet import ConvTimeNetClassifier, ConvTimeNetRegressor
from convtimenet.cli.main import main
from convtimenet.data.labelled.cases import as_cases, read_cases
from convtimenet.errors import DataError
from convtimenet.estimators import base

TINY = {
    "model": {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "random_patches": 1},
    "n_epochs": 1,
    "verbose": 0,
}
NAN = np.nan


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path, data = folder / name, text.encode(encoding)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


# --- files ---------------------------------------------------------------------------------------

TS = "@univariate true\n@classLabel true a b\n@data\n"
STAMPED = "@timestamps true\n@univariate true\n@classLabel true a b\n@data\n"
UNI = "@attribute t0 numeric\n@attribute t1 REAL\n"
RELATION = (
    "@relation m\n@attribute r relational\n  @attribute t0 numeric\n  @attribute t1 numeric\n"
    "@end r\n@attribute kind {'a b',c}\n@data\n"
)

# name: (file, text, the cases' values, labels)
FILES: dict[str, tuple[str, str, list, list | None]] = {
    "comments of both kinds": (
        "x.ts",
        f"% by hand\n#too\n{TS}% between\n1,?:a\n2,NaN:b\n3,4:a\n",
        [[[1, NAN]], [[2, NAN]], [[3, 4]]],
        ["a", "b", "a"],
    ),
    "stamps that count": (
        "x.ts",
        f"{STAMPED}(0,1),(1,2),(3,4):a\n(10,5),(12,6):b\n",
        [[[1, 2, NAN, 4]], [[5, NAN, 6, NAN]]],
        ["a", "b"],
    ),
    "stamps with fractions": (
        "x.ts.gz",
        f"{STAMPED}(0.1,1),(0.2,2):a\n(0.7,3),(0.9,4):b\n",
        [[[1, 2, NAN]], [[3, NAN, 4]]],
        ["a", "b"],
    ),
    "stamps that are dates": (
        "x.ts",
        STAMPED.replace("univariate true", "univariate false")
        + "(2017-01-01 01:02:00,1),(2017-01-01 01:03:00,2):(2017-01-01 01:03:00,3):a\n",
        [[[1, 2], [NAN, 3]]],
        ["a"],
    ),
    "stamps that are months": (
        "x.ts",
        f"{STAMPED}(2017-01-01,1),(2017-02-01,2),(2017-04-01,4):a\n",
        [[[1, 2, NAN, 4]]],
        ["a"],
    ),
    "stamps in another order": ("x.ts", f"{STAMPED}(2,3),(0,1),(1,2):a\n", [[[1, 2, 3]]], ["a"]),
    "UTF-16": ("x.ts", TS + "1,2:a\n", [[[1, 2]]], ["a"]),
    "targets": (
        "x.ts",
        "@univariate true\n@targetlabel true\n@data\n1,2:1.5\n3,4:2.5\n",
        [[[1, 2]], [[3, 4]]],
        [1.5, 2.5],
    ),
    "arff, one channel": (
        "x.arff",
        f"% c\n@relation u\n{UNI}@attribute target {{1, 2}}\n\n@data\n1.5,2,1\n% c\n3,?,2\n",
        [[[1.5, 2]], [[3, NAN]]],
        ["1", "2"],
    ),
    "arff, several channels": (
        "x.arff.gz",
        f"{RELATION}'1,2\\n3,4','a b'\n\"5,6\\n?,8\",c\n",
        [[[1, 2], [3, 4]], [[5, 6], [NAN, 8]]],
        ["a b", "c"],
    ),
    "arff with targets": (
        "x.arff",
        f"@relation u\n{UNI}@attribute target numeric\n@data\n1,2,0.5\n3,4,1.5\n",
        [[[1, 2]], [[3, 4]]],
        [0.5, 1.5],
    ),
    "arff without labels": (
        "x.arff", f"@relation u\n{UNI}@data\n1,2\n3,4\n", [[[1, 2]], [[3, 4]]], None
    ),
    "arff with unknown labels": (
        "x.arff",
        f"@relation u\n{UNI}@attribute class {{a,b}}\n@data\n1,2,?\n3,4,?\n",
        [[[1, 2]], [[3, 4]]],
        None,
    ),
    "UCR": ("x.tsv", "1\t0.5\t0.6\n-1\t0.7\tNaN\n", [[[0.5, 0.6]], [[0.7, NAN]]], [1, -1]),
    "UCR, packed": ("x.tsv.gz", "cat\t1\t2\ndog\t3\t4\n", [[[1, 2]], [[3, 4]]], ["cat", "dog"]),
    "UCR, blanks": (
        "x.txt",
        "  1.0000000e+00  5.0e-01  6e-1\n  2.0000000e+00  7e-1  8e-1\n",
        [[[0.5, 0.6]], [[0.7, 0.8]]],
        [1, 2],
    ),
    "UCR, commas": ("x.txt", "1,0.5,0.6\n2,0.7,0.8\n", [[[0.5, 0.6]], [[0.7, 0.8]]], [1, 2]),
    "UCR, unequal": ("x.txt", "1 5 6 7\n2 7 8\n", [[[5, 6, 7]], [[7, 8, NAN]]], [1, 2]),
    "label last": (
        "x.csv", "t0,t1,label\n1,2,a\n3,,b\n5,6,a\n", [[[1, 2]], [[3, NAN]], [[5, 6]]],
        ["a", "b", "a"],
    ),
    "label first": ("x.csv", "class,0,1\n1,2,3\n2,4,5\n", [[[2, 3]], [[4, 5]]], [1, 2]),
    "label of another name": (
        "x.csv", "t0,t1,group\n1,2,1\n3,4,2\n", [[[1, 2]], [[3, 4]]], [1, 2]
    ),
    "label of text": ("x.csv", "p,q,kind\n1,2,u\n3,4,v\n", [[[1, 2]], [[3, 4]]], ["u", "v"]),
    "pandas wrote its index": (
        "x.csv", ",0,1,label\n0,1,2,a\n1,3,4,b\n", [[[1, 2]], [[3, 4]]], ["a", "b"]
    ),
    "no header, label last": ("x.csv", "1,2,u\n3,4,v\n", [[[1, 2]], [[3, 4]]], ["u", "v"]),
    "no header, label first": ("x.csv", "u,1,2\nv,3,4\n", [[[1, 2]], [[3, 4]]], ["u", "v"]),
    "no header, whole numbers last": (
        "x.csv", "0.1,2.5,1\n0.5,0.6,2\n", [[[0.1, 2.5]], [[0.5, 0.6]]], [1, 2]
    ),
    "decimal commas": (
        "x.csv", "label;t0;t1\na;1,5;2,5\nb;3,5;4\n", [[[1.5, 2.5]], [[3.5, 4]]], ["a", "b"]
    ),
    "its delimiter is said": (
        "x.csv", "sep=|\nlabel|t0|t1\na|1|2\nb|3|4\n", [[[1, 2]], [[3, 4]]], ["a", "b"]
    ),
    "points between thousands": (
        "x.csv", "label;t0;t1\na;1.000,5;2,5\nb;3;1'000\n", [[[1000.5, 2.5]], [[3, 1000]]],
        ["a", "b"],
    ),
    "commas between thousands": (
        "x.csv", 'label,t0,t1\na,"1,000.5",2.5\nb,3,4\n', [[[1000.5, 2.5]], [[3, 4]]],
        ["a", "b"],
    ),
    "a delimiter at the end": (
        "x.csv", "label,t0,t1,\na,1,2,\nb,3,4,\n,,,\n", [[[1, 2]], [[3, 4]]], ["a", "b"]
    ),
    "quoted labels": (
        "x.csv", 'label,t0,t1\n"a\nb",1,2\n"c;d",3,4\n', [[[1, 2]], [[3, 4]]], ["a\nb", "c;d"]
    ),
    "steps in another order": (
        "x.csv", "label,t0,t10,t2\na,1,3,2\nb,4,6,5\n", [[[1, 2, 3]], [[4, 5, 6]]], ["a", "b"]
    ),
    "numbers before the channels": (
        "x.csv", "0_x,1_x,0_y,1_y,label\n1,2,3,4,a\n5,6,7,8,b\n",
        [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], ["a", "b"],
    ),
    "stamps that are clocks": (
        "x.ts", f"{STAMPED}(06:30:00,1),(06:31:00,2),(06:33:00,4):a\n", [[[1, 2, NAN, 4]]], ["a"]
    ),
    "labels are codes": (
        "x.csv", "label,t0,t1\n007,1,2\n010,3,4\n", [[[1, 2]], [[3, 4]]], ["007", "010"]
    ),
    "targets in a table": (
        "x.csv.gz", "id,t0,t1,target\nu,1,2,0.5\nv,3,4,0.7\n", [[[1, 2]], [[3, 4]]], [0.5, 0.7]
    ),
    "channels beside one another": (
        "x.csv", "x_0,x_1,y_0,y_1,label\n1,2,3,4,a\n5,6,7,8,b\n",
        [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], ["a", "b"],
    ),
    "long form": (
        "x.csv",
        "case_id,time,x,y,label\n2,1,7,8,b\n1,0,1,2,a\n2,0,5,6,b\n1,1,3,4,a\n1,3,0,0,a\n",
        [[[5, 7, NAN, NAN], [6, 8, NAN, NAN]], [[1, 3, NAN, 0], [2, 4, NAN, 0]]],
        ["b", "a"],
    ),
    "long form without times": (
        "x.tsv", "case\tx\tclass\n1\t1\t0\n1\t2\t0\n2\t3\t1\n2\t4\t1\n", [[[1, 2]], [[3, 4]]],
        [0, 1],
    ),
    "long form by dates": (
        "x.csv",
        "unique_id,ds,y,kind\nu,2024-01-01,1,p\nu,2024-01-02,2,p\nv,2024-03-01,3,q\nv,2024-03-02,4,q\n",
        [[[1, 2]], [[3, 4]]],
        ["p", "q"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_files_of_every_kind(kind: str, tmp_path: Path) -> None:
    name, text, values, labels = FILES[kind]
    cases = read_cases(written(tmp_path, name, text, "utf-16" if kind == "UTF-16" else "utf-8"))
    kept = np.array(values, dtype=float)[..., : cases.values.shape[2]]  # NaN at the end is padding
    np.testing.assert_array_equal(cases.values, kept)
    assert (None if cases.labels is None else cases.labels.tolist()) == labels


def test_files_name_channels_and_say_what_labels_are(tmp_path: Path) -> None:
    long = "case_id,time,heart,breath,label\n1,0,1,2,a\n1,1,3,4,a\n2,0,5,6,b\n"
    assert read_cases(written(tmp_path, "x.csv", long)).channels == ("heart", "breath")
    target = written(tmp_path, "x.ts", "@univariate true\n@targetLabel true\n@data\n1,2:1\n")
    assert read_cases(target).task == "regress"
    assert read_cases(written(tmp_path, "y.ts", TS + "1,2:a\n")).task == "classify"


def test_notices_say_what_was_decided(tmp_path: Path) -> None:
    def notices(name: str, text: str) -> tuple[str, ...]:
        return read_cases(written(tmp_path, name, text)).notices

    odd = "t0,t1,group\n1,2,1\n3,4,2\n"
    assert notices("x.csv", odd) == ("the column 'group' is used as the label",)
    head = "@equalLength true\n@seriesLength 3\n"
    assert notices("x.ts", head + TS + "1,2:a\n3,4,5:b\n")[0] == (
        "the header says @equalLength true, cases have 2 to 3 steps"
    )
    assert notices("x.ts", head + TS + "1,2:a\n3,4:b\n")[0] == (
        "the header says @seriesLength 3, cases have 2 steps"
    )
    assert notices("x.ts", STAMPED + "(0,1),(1,2),(3,4):a\n")[0].startswith("1 steps between")


def test_points_before_three_digits_are_told_of(tmp_path: Path) -> None:
    text = "label;t0;t1\na;12.500;9.250\nb;11.250;10.100\n"
    cases = read_cases(written(tmp_path, "x.csv", text))
    assert cases.values[:, 0].tolist() == [[12.5, 9.25], [11.25, 10.1]]
    told = "numbers like 12.500 are read with a decimal point; write 12500 if the point separates"
    assert cases.notices == (f"{told} thousands",)
    for other in (text.replace(";", ","), text.replace("9.250", "9.25")):
        assert read_cases(written(tmp_path, "x.csv", other)).notices == ()


REFUSED = {
    "no @data": (
        "x.ts", "@classLabel true a\n1,2:a\n", r"line 2 before @data.*write a line @data"
    ),
    "an unsaid label": ("x.ts", "@univariate true\n@data\n1,2:a\n", "write @classLabel true"),
    "irregular stamps": ("x.ts", STAMPED + "(0,1),(1,2),(100003,4):a\n", "not regular.*resample"),
    "a stamp twice": ("x.ts", STAMPED + "(0,1),(0,2):a\n", "line 5.*occurs twice"),
    "no pairs": ("x.ts", STAMPED + "1,2:a\n", r"pairs \(time stamp,value\).*@timestamps false"),
    "arff in .ts": ("x.ts", f"@relation u\n{UNI}@data\n1,2\n", r"rename the file to end in \.arff"),
    "sparse arff": (
        "x.arff", f"{UNI}@attribute class {{a}}\n@data\n{{0 1, 2 a}}\n", "SparseToNonSparse"
    ),
    "an unknown class": (
        "x.arff", f"{UNI}@attribute class {{a}}\n@data\n1,2,z\n", "line 5.*'class'; found 'z'"
    ),
    "text attributes": ("x.arff", "@attribute s string\n@data\nx\n", "line 1.*'@attribute s str"),
    "two labels": (
        "x.csv", "label,t0,class\na,1,b\n", "'label' and 'class' could both be the label; leave one"
    ),
    "a label here or there": ("x.csv", "1,2,1\n5,6,2\n", "the first or the last column; name"),
    "a missing label": ("x.csv", "label,t0\na,1\n,2\n", "line 3: every case needs a label"),
    "text among numbers": ("x.csv", "label,t0\na,1\nb,x\n", "line 3, column 't0'.*found 'x'"),
    "a short row": ("x.csv", "label,t0,t1\na,1\n", "line 2: expected 3 cells.*leave the cells"),
    ".ts in .csv": ("x.csv", "@problemName x\n", r"give the file the extension \.ts"),
    "a forecasting table": (
        "x.csv", "date,a\n2024-01-01,1\n2024-01-02,2\n", "name one 'case_id'.*convtimenet forecast"
    ),
    "a label that changes": (
        "x.csv", "case_id,t,x,label\n1,0,1,a\n1,1,2,b\n", "line 3: the label in column.*differs"
    ),
    "times twice": ("x.csv", "case_id,t,x,label\n1,0,1,a\n1,0,2,a\n", "occurs twice"),
    "a column that counts no steps": (
        "x.csv", "subject,t0,t1,label\n7,1,2,a\n9,3,4,b\n",
        "'subject' are not numbered like 't0'",
    ),
    "channels of different steps": (
        "x.csv", "x_0,x_1,x_2,y_0,y_1,label\n1,2,3,4,5,a\n1,2,3,4,5,b\n", "numbered differently"
    ),
    "hours and minutes": (
        "x.csv", "case_id,time,x,label\n1,0950,1,a\n1,0955,1,a\n1,1000,1,a\n1,1005,1,a\n",
        r"may be hours and minutes \(HHMM\); write them as 09:30",
    ),
    "days as codes": (
        "x.csv", "case_id,time,x,label\n1,240130,1,a\n1,240131,1,a\n1,240201,1,a\n1,240202,1,a\n",
        "240130 look like dates; write time stamps as 2020-01-31 06:30, or as numbers 0",
    ),
    "a row for each channel": (
        "x.csv", "case_id,dim_id,reading_id,value\n1,0,0,5\n1,1,0,6\n2,0,0,7\n2,1,0,8\n",
        "'dim_id' has a row for each channel; write one column per channel",
    ),
    "commas that may part thousands": (
        "x.csv", "label;t0\na;1,234\nb;2,345\n", "line 2: '1,234' may be 1.234 or 1234.*write"
    ),
    "points that may part thousands": (
        "x.csv", "case;t0;t1;t2;label\n1;12.500;9.250;700;a\n2;11.250;10.100;950;b\n",
        "line 2: '12.500' may be 12500 or 12.5.*write",
    ),
    "points that may part thousands in long form": (
        "x.csv", "case_id,x,y,label\n1,1,700,a\n1,2,1.500,a\n2,3,900,b\n2,4,950,b\n",
        "line 3: '1.500' may be 1500 or 1.5",
    ),
    "days or months": (
        "x.csv", "case_id,date,x,label\n1,1/2/2024,1,a\n1,2/2/2024,2,a\n2,1/2/2024,1,b\n",
        "1 Feb 2024 or 2 Jan 2024; write time stamps as",
    ),
    "no cases": ("x.ts", "@univariate true\n@data\n", "found an empty file; add one per line"),
    "nothing": ("x.csv", "\n", "empty file"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", REFUSED)
def test_files_that_cannot_be_read_name_the_remedy(mistake: str, tmp_path: Path) -> None:
    name, text, message = REFUSED[mistake]
    with pytest.raises(DataError, match=message):
        read_cases(written(tmp_path, name, text))


def test_the_column_of_the_labels(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", "t0,t1,sex,class\n1,2,0,u\n3,4,1,v\n")
    cases = read_cases(written(tmp_path, "y.csv", "t0,t1,t2\n1,2,0\n3,4,1\n"), label_col="t2")
    assert cases.labels is not None
    assert (cases.values[:, 0].tolist(), cases.labels.tolist()) == ([[1, 2], [3, 4]], [0, 1])
    with pytest.raises(DataError, match=r"label_col .*there is no column 'z' \(found: 't0'"):
        read_cases(path, label_col="z")
    with pytest.raises(DataError, match="already defines its labels; leave it out"):
        read_cases(written(tmp_path, "x.ts", TS + "1,2:a\n"), label_col="z")


def test_columns_with_names_and_columns_that_are_not_used(tmp_path: Path) -> None:
    text = "who,age,t0,t1,move\nP1,30,1,2,u\nP2,41,3,4,v\n"
    path = written(tmp_path, "x.csv", text)
    with pytest.raises(DataError, match=r"columns 'who', 'move' may be the label; pass the"):
        read_cases(path)
    with pytest.raises(DataError, match=r"'who', 'age'.* as ignored_cols \(--ignored"):
        read_cases(path, "move")
    cases = read_cases(path, "move", id_col="who", ignored_cols="age")
    assert cases.labels is not None
    assert (cases.values[:, 0].tolist(), cases.labels.tolist()) == ([[1, 2], [3, 4]], ["u", "v"])
    assert (cases.ids, cases.notices) == (("P1", "P2"), ("the column 'who' names the cases",))
    cases = read_cases(path, id_col="who", ignored_cols=["age", "move"], labelled=False)
    assert (cases.labels, cases.notices) == (None, ("the column 'who' names the cases",))
    told = read_cases(path, id_col="who", ignored_cols=["age", "move"]).notices
    assert told[0].startswith("found no label column; if there is one, pass its name as label_col")
    with pytest.raises(DataError, match=r"ignored_cols .*no column 'agee'; did you mean 'age'"):
        read_cases(path, "move", ignored_cols=["agee"])
    with pytest.raises(DataError, match=r"one role .* label_col .* and id_col .* for 'who'; leave"):
        read_cases(path, "who", id_col="who")
    with pytest.raises(DataError, match=r"id_col .*already defines its labels; leave it out"):
        read_cases(written(tmp_path, "x.ts", TS + "1,2:a\n"), id_col="who")


def test_a_chosen_column_of_names_joins_the_rows_of_a_case(tmp_path: Path) -> None:
    """Also beside a column that is called id, and with labels in one that is called series."""
    text = "id,run,series,time,x\n1,A,u,1,5\n2,A,u,0,4\n3,B,v,0,6\n4,B,v,1,7\n"
    cases = read_cases(written(tmp_path, "x.csv", text), "series", id_col="run")
    assert cases.labels is not None
    assert (cases.ids, cases.labels.tolist()) == (("A", "B"), ["u", "v"])
    assert cases.values.tolist() == [[[4, 5]], [[6, 7]]]
    assert cases.channels == ("x",)


@pytest.mark.parametrize(("head", "step"), [("t0,t1,t2,t3", "t1"), ("1_x,2_x,3_x,4_x", "2_x")])
def test_a_numbered_column_is_a_step_although_a_cell_is_text(
    head: str, step: str, tmp_path: Path
) -> None:
    path = written(tmp_path, "x.csv", f"{head}\n1,n/k,2,9\n1,2,3,4\n")
    with pytest.raises(DataError, match=f"line 2, column '{step}': expected a number, found 'n/k'"):
        read_cases(path)
    cases = read_cases(written(tmp_path, "y.csv", f"{head}\n1,,2,9\n1,2,3,4\n"))
    assert cases.labels is None
    np.testing.assert_array_equal(cases.values, [[[1, NAN, 2, 9]], [[1, 2, 3, 4]]])


def test_a_numbered_column_of_labels_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", "V1,V2,V3\nu,1,2\nv,3,4\n")
    with pytest.raises(
        DataError, match=r"column 'V1'.*if the column is the label, name it 'label'"
    ):
        read_cases(path)
    cases = read_cases(path, label_col="V1")
    assert cases.labels is not None
    assert (cases.values[:, 0].tolist(), cases.labels.tolist()) == ([[1, 2], [3, 4]], ["u", "v"])


@pytest.mark.parametrize(("form", "freq"), [("%Y%m%d", "D"), ("%Y%m", "MS"), ("%Y%m%d%H", "h")])
def test_times_that_are_dates_written_as_numbers(form: str, freq: str, tmp_path: Path) -> None:
    stamps = pd.date_range("2023-11-29", periods=70, freq=freq).strftime(form)
    rows = "".join(f"{c},{one},{i},{c}\n" for c in (1, 2) for i, one in enumerate(stamps))
    cases = read_cases(written(tmp_path, "x.csv", f"case_id,time,x,label\n{rows}"))
    np.testing.assert_array_equal(cases.values, np.broadcast_to(np.arange(70.0), (2, 1, 70)))
    assert cases.notices[1].startswith(f"times like {stamps[0]} are read as ")
    assert "freq" not in cases.notices[1]


@pytest.mark.parametrize(
    "steps", [range(12), range(0, 24, 2), range(1100, 1124, 2), range(2001, 2013)]
)
def test_a_line_of_numbered_steps_is_a_header(steps: range, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 12)).round(3)
    frame = pd.DataFrame(values, columns=list(steps))
    cases = read_cases(written(tmp_path, "x.csv", frame.to_csv(index=False)))
    np.testing.assert_array_equal(cases.values[:, 0], values)
    assert cases.labels is None
    told = f"the first line ({steps[0]}, {steps[1]}, {steps[2]}, ...) is taken for a header"
    assert cases.notices[0].startswith(told)
    path = written(tmp_path, "y.csv", frame.assign(label=list("ababa")).to_csv(index=False))
    for cases in (read_cases(path), read_cases(path, label_col="label")):
        np.testing.assert_array_equal(cases.values[:, 0], values)
        assert (cases.labels is not None and cases.labels.tolist()) == list("ababa")
        assert cases.notices == ()


def test_a_first_case_that_counts_is_kept_among_others_like_it(tmp_path: Path) -> None:
    values = np.arange(1.0, 61).reshape(5, 12) / 2
    text = pd.DataFrame(values).to_csv(index=False, header=False)
    np.testing.assert_array_equal(read_cases(written(tmp_path, "x.csv", text)).values[:, 0], values)
    classes = "a,1,2,3,4,5\na,3,1,4,1,5\nb,9,2,6,5,3\n"  # a class comes again, a name does not
    assert read_cases(written(tmp_path, "y.csv", classes)).values[:, 0].tolist() == [
        [1, 2, 3, 4, 5], [3, 1, 4, 1, 5], [9, 2, 6, 5, 3]
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-8-sig"])
def test_encodings_and_packing(encoding: str, tmp_path: Path) -> None:
    content = "label,t0,t1\nf\u00fcr,1,2\n\u201cx\u201d,3,4\n".encode(encoding)
    for name, packed in (
        ("x.csv", content),
        ("x.csv.bz2", bz2.compress(content)),
        ("x.csv.xz", lzma.compress(content)),
    ):
        (tmp_path / name).write_bytes(packed)
        cases = read_cases(tmp_path / name)
        assert cases.values[:, 0].tolist() == [[1, 2], [3, 4]]
        assert cases.labels is not None
        assert cases.labels.tolist() == ["f\u00fcr", "\u201cx\u201d"]


# --- classes and numbers -------------------------------------------------------------------------


@pytest.fixture
def _no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "train", None)


def rows(n: int, label: Callable[[int], Any]) -> str:
    draw = np.random.default_rng(0)
    lines = [",".join(f"{x:.3f}" for x in draw.normal(size=12)) + f":{label(i)}" for i in range(n)]
    return "\n".join(lines) + "\n"


TARGETS = "@univariate true\n@targetLabel true\n@data\n"
WRONG = {
    "declared targets": ("classify", "x.ts", TARGETS + rows(24, lambda i: i % 3), "regress"),
    "targets in a table": (
        "classify",
        "x.csv",
        ",".join(f"t{i}" for i in range(12))
        + ",label\n"
        + rows(24, lambda i: i / 7).replace(":", ","),
        "regress",
    ),
    "classes by name": ("regress", "x.ts", TS + rows(24, lambda i: "ab"[i % 2]), "classify"),
    "classes by number": (
        "regress", "x.ts", TS.replace("a b", "1 2") + rows(24, lambda i: 1 + i % 2), "classify"
    ),
}  # fmt: skip


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize("mistake", WRONG)
def test_classes_and_numbers_are_told_apart(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command, name, text, remedy = WRONG[mistake]
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, name, text)
    for more in ([], [name]):  # a part held out, or a test file
        assert main([command, name, *more, "--quiet"]) != 0
        assert f"convtimenet {remedy}" in " ".join(capsys.readouterr().err.split())
    model = ConvTimeNetClassifier(**TINY) if command == "classify" else ConvTimeNetRegressor(**TINY)
    with pytest.raises(DataError, match=f"convtimenet {remedy}"):
        model.fit(path)


def test_a_label_is_the_same_in_every_kind_of_file(tmp_path: Path) -> None:
    """ "1" of a .ts file is 1 of a .tsv file."""
    one = written(tmp_path, "x.ts", TS.replace("a b", "1 2") + rows(24, lambda i: 1 + i % 2))
    other = tmp_path / "x.tsv"
    cases = read_cases(one)
    assert cases.labels is not None
    lines = [
        "\t".join(map(str, [y, *x[0]])) for x, y in zip(cases.values, cases.labels, strict=True)
    ]
    other.write_text("\n".join(lines))
    model = ConvTimeNetClassifier(**TINY).fit(one)
    np.testing.assert_array_equal(read_cases(other).labels, [1, 2] * 12)
    assert model.score(other) == model.score(one)
    again = ConvTimeNetClassifier(**TINY).fit(one, valid=(other, None))
    assert again.history_.epochs[0].valid["accuracy"] > 0


def test_labels_of_no_training_class_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(base, "train", None)
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "a.ts", TS + rows(24, lambda i: "ab"[i % 2]))
    written(tmp_path, "b.ts", TS.replace("a b", "c d") + rows(8, lambda i: "cd"[i % 2]))
    assert main(["classify", "a.ts", "b.ts", "--quiet"]) != 0
    assert "no test case has a class of the training cases" in " ".join(
        capsys.readouterr().err.split()
    )


def test_labels_that_a_loaded_model_lacks(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, "a.ts", TS + rows(24, lambda i: "ab"[i % 2]))
    ConvTimeNetClassifier(**TINY).fit(path).save("model")
    head = ",".join(f"t{i}" for i in range(12)) + ",kind\n"
    text = rows(4, lambda i: "abca"[i]).replace(":", ",")
    written(tmp_path, "b.csv", head + text)
    assert main(["classify", "b.csv", "--load=model", "--label_col=kind"]) == 0
    assert "1 of 4 test cases have classes that the training cases lack ('c')" in " ".join(
        capsys.readouterr().out.split()
    )


# --- frames --------------------------------------------------------------------------------------

NAMES = ["heart", "breath", "step"]


def arrays(n: int = 6) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.normal(size=(3, 10 + i % 3)) for i in range(n)]


FRAMES: dict[str, Callable[[np.ndarray], Any]] = {
    "pandas": lambda a: pd.DataFrame(a.T, columns=NAMES),
    "pandas objects": lambda a: pd.DataFrame(a.T, columns=NAMES).astype(object),
    "pandas nullable": lambda a: pd.DataFrame(a.T, columns=NAMES).convert_dtypes(),
    "polars": lambda a: pl.DataFrame(a.T, schema=NAMES),
    "polars, lazy": lambda a: pl.DataFrame(a.T, schema=NAMES).lazy(),
    "pyarrow": lambda a: pa.table(dict(zip(NAMES, a, strict=True))),
}


@pytest.mark.parametrize("library", FRAMES)
def test_rows_of_frames_are_time_and_columns_channels(library: str) -> None:
    series = arrays()
    for X in ([FRAMES[library](a) for a in series], tuple(FRAMES[library](a) for a in series)):
        cases = as_cases(X)
        np.testing.assert_array_equal(cases.values, as_cases(series).values)
        assert cases.channels == tuple(NAMES)


@pytest.mark.parametrize("library", FRAMES)
def test_a_model_reads_channels_by_name(library: str, tmp_path: Path) -> None:
    series, y = arrays(), ["a", "b"] * 3
    model = ConvTimeNetClassifier(**TINY).fit([FRAMES[library](a) for a in series], y)
    expected = ConvTimeNetClassifier(**TINY).fit(series, y).predict_proba(series)
    np.testing.assert_array_equal(model.predict_proba(series), expected)
    loaded = ConvTimeNetClassifier.load(model.save(tmp_path / "m"))
    assert loaded.channels_ == tuple(NAMES)
    turned = [pd.DataFrame(a.T, columns=NAMES)[NAMES[::-1]] for a in series]
    for one in (model, loaded):
        np.testing.assert_array_equal(one.predict_proba(turned), expected)
        assert "channels were reordered as in training" in one.read(turned).notices[-1]
        with pytest.raises(
            DataError, match="fitted to cases with the channels heart, breath, step"
        ):
            one.predict([pd.DataFrame(a.T, columns=["u", "v", "w"]) for a in series])
        with pytest.raises(DataError, match=r"expected a list of frames.*give \[frame\]"):
            one.predict(turned[0][NAMES])


def test_columns_agree_across_cases() -> None:
    one, two = (pd.DataFrame(a.T, columns=NAMES) for a in arrays(2))
    turned = as_cases([one, two[NAMES[::-1]]])
    np.testing.assert_array_equal(turned.values, as_cases(arrays(2)).values)
    assert "a different order" in turned.notices[0]
    for other in (two.rename(columns={"step": "steps"}), two[NAMES[:2]], two.assign(more=1)):
        with pytest.raises(DataError, match=r"must be the same; found heart.* in case 1; rename"):
            as_cases([one, other])
    with pytest.raises(DataError, match="found ndarray as case 1 among frames"):
        as_cases([one, two.to_numpy().T])
    with pytest.raises(
        DataError, match=r"column 'at'.*time is not a channel: leave the column out"
    ):
        as_cases([one.assign(at=pd.Timestamp("2024-01-01"))])
    with pytest.raises(DataError, match=r"list\(X\.values\(\)\)"):
        as_cases({"a": one})
    with pytest.raises(DataError, match="same name"):
        as_cases([pd.DataFrame(np.ones((3, 2)), columns=["a", "a"])])


SERIES: dict[str, Callable[[list], Any]] = {
    "pandas": lambda cells: pd.Series(cells),
    "pandas nullable": lambda cells: pd.Series(cells, dtype="Float64"),
    "pandas objects": lambda cells: pd.Series(cells, dtype=object),
    "polars": lambda cells: pl.Series(cells),
    "pyarrow": lambda cells: pa.array(cells),
    "pyarrow chunks": lambda cells: pa.chunked_array([cells]),
}


@pytest.mark.parametrize("library", SERIES)
def test_a_series_is_one_channel(library: str) -> None:
    cases = as_cases([SERIES[library](cells) for cells in ([1.0, None, 3.0], [4.0, 5.0])])
    np.testing.assert_array_equal(cases.values, [[[1, NAN, 3]], [[4, 5, NAN]]])


def test_nested_frames() -> None:
    series = arrays(3)
    expected = as_cases(series).values
    cells = {name: [list(a[c]) for a in series] for c, name in enumerate(NAMES)}
    nested = pd.DataFrame({name: [pd.Series(one) for one in of] for name, of in cells.items()})
    levels = pd.concat({i: pd.DataFrame(a.T, columns=NAMES) for i, a in enumerate(series)})
    for X in (nested, pl.DataFrame(cells), pa.table(cells), levels):
        np.testing.assert_array_equal(as_cases(X).values, expected)
        assert as_cases(X).channels == tuple(NAMES)
    np.testing.assert_array_equal(as_cases(nested.to_numpy()).values, expected)
    one = pl.Series([list(a[0]) for a in series])
    np.testing.assert_array_equal(as_cases(one).values[:, 0], expected[:, 0])
    shuffled = levels.sample(frac=1, random_state=1).sort_index(level=0, sort_remaining=False)
    np.testing.assert_array_equal(as_cases(shuffled).values, expected)


def test_a_single_frame_still_has_a_case_a_row() -> None:
    table = np.arange(12.0).reshape(3, 4)
    for X in (
        pd.DataFrame(table),
        pl.DataFrame(table),
        pa.table(pd.DataFrame(table).add_prefix("t")),
    ):
        np.testing.assert_array_equal(as_cases(X).values, table[:, None])


# --- labels --------------------------------------------------------------------------------------

DAY = datetime.date(2024, 1, 1)
KINDS: dict[str, tuple[Any, list]] = {
    "truth values": ([True, False], [False, True]),
    "categories": (pd.Series(["v", "u"], dtype="category"), ["u", "v"]),
    "numbers in categories": (pd.Categorical([2, 1]), [1, 2]),
    "nullable numbers": (pd.array([2, 1], dtype="Int64"), [1, 2]),
    "nullable truth values": (pd.Series([True, False], dtype="boolean"), [False, True]),
    "pandas text": (pd.Series(["v", "u"], dtype="string"), ["u", "v"]),
    "polars categories": (pl.Series(["v", "u"], dtype=pl.Categorical), ["u", "v"]),
    "polars numbers": (pl.Series([2, 1]), [1, 2]),
    "pyarrow text": (pa.array(["v", "u"]), ["u", "v"]),
    "numpy's own text": (np.array(["v", "u"], dtype=np.dtypes.StringDType()), ["u", "v"]),
    "numpy scalars": (np.array([np.int64(2), np.int64(1)], dtype=object), [1, 2]),
    "extended precision": (np.array([2, 1], dtype=np.longdouble), [1.0, 2.0]),
    "whole numbers and fractions": ([2.5, 1], [1.0, 2.5]),
}


def repeated(y: Any, n: int = 12) -> Any:
    """The same two labels in turn, in the same container."""
    if isinstance(y, list):
        return y * (n // 2)
    if isinstance(y, pl.Series):
        return pl.concat([y] * (n // 2))
    if isinstance(y, pa.Array):
        return pa.concat_arrays([y] * (n // 2))
    if isinstance(y, np.ndarray):
        return np.concatenate([y] * (n // 2))
    taken = pd.Series(y).take([0, 1] * (n // 2))
    return taken if isinstance(y, pd.Series) else taken.array


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_every_kind_are_saved_and_come_back(kind: str, tmp_path: Path) -> None:
    given, classes = KINDS[kind]
    X = np.random.default_rng(0).normal(size=(12, 1, 20))
    model = ConvTimeNetClassifier(**TINY).fit(X, repeated(given))
    assert model.classes_.tolist() == classes
    loaded = ConvTimeNetClassifier.load(model.save(tmp_path / "m"))
    assert loaded.classes_.tolist() == classes
    assert loaded.classes_.dtype == model.classes_.dtype


UNSAVABLE: dict[str, tuple[Any, str]] = {
    "datetime64": (np.array(["2024-01-01", "2024-01-02"], dtype="M8[D]"), r"list\(map\(str, y\)\)"),
    "dates": ([DAY, DAY + datetime.timedelta(1)], r"found date .*list\(map\(str, y\)\)"),
    "stamps": ([pd.Timestamp(DAY), pd.Timestamp("2025")], r"list\(map\(str, y\)\)"),
    "a column of dates": (pd.Series(pd.to_datetime(["2024", "2025"])), r"list\(map\(str, y\)\)"),
    "spans": (np.array([1, 2], dtype="m8[s]"), r"list\(map\(str, y\)\)"),
    "bytes": ([b"a", b"b"], r"list\(map\(str, y\)\)"),
    "infinity": ([np.inf, 1.0], "finite numbers"),
    "text and numbers": (["a", 1], r"one type, found text \('a'\) and numbers \(1\)"),
    "truth and numbers": ([True, 0], r"one type, found truth values \(True\) and numbers"),
    "text and NaN": (["a", np.nan], "every case needs a label; found none for case 1"),
    "text and None": (["a", None], "every case needs a label; found none for case 1"),
    "a null": (pl.Series(["a", None]), "every case needs a label; found none for case 1"),
    "NA": (pd.Series([1, None], dtype="Int64"), "every case needs a label; found none for case 1"),
}


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize("kind", UNSAVABLE)
def test_labels_that_cannot_be_saved_are_refused_before_training(kind: str) -> None:
    given, message = UNSAVABLE[kind]
    y = repeated(given)
    with pytest.raises(DataError, match=message):
        ConvTimeNetClassifier(**TINY).fit(np.ones((12, 1, 20)) * np.arange(20), y)


@pytest.mark.usefixtures("_no_training")
def test_dates_and_complex_numbers_are_no_targets() -> None:
    days = np.array(["2024-01-01", "2024-01-02"] * 6, dtype="M8[D]")
    for y in (days, days.astype("M8[s]").tolist(), days - days[0], np.array([1j, 2j] * 6)):
        with pytest.raises(
            DataError, match=r"targets must be numbers, found .*convert them to numbers"
        ):
            ConvTimeNetRegressor(**TINY).fit(np.ones((12, 1, 20)) * np.arange(20), y)


def test_the_remedy_for_labels_works() -> None:
    y = list(map(str, [DAY, DAY + datetime.timedelta(1)] * 6))
    X = np.random.default_rng(0).normal(size=(12, 1, 20))
    assert ConvTimeNetClassifier(**TINY).fit(X, y).classes_.tolist() == ["2024-01-01", "2024-01-02"]


@pytest.mark.parametrize("text", [",,\n,,\n", '"",""\n', ";\n;"])
def test_a_table_of_empty_cells_is_refused(tmp_path, text):
    path = tmp_path / "cases.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="all cells are empty"):
        read_cases(path)
