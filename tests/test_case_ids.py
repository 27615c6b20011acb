"""Cases keep the names that their file gives them, and answers are written under these."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from convtimenet import ConvTimeNetClassifier
from convtimenet.data.labelled.cases import as_cases, read_cases
from convtimenet.runs.answers import write_classes, write_numbers
from convtimenet.runs.labelled import hold_out

WIDE = "id,t0,t1,t2,label\nP7,1,2,3,a\nP3,2,3,1,b\nP5,3,1,2,a\n"
LONG = "case_id,x,y,label\nc6,1,2,a\nc44,3,4,b\nc6,5,6,a\nc44,7,8,b\nc1,9,1,a\nc1,2,3,a\n"


def test_rows_and_groups_are_named(tmp_path):
    for name, text, ids in (
        ("wide.csv", WIDE, ("P7", "P3", "P5")),
        ("long.csv", LONG, ("c6", "c44", "c1")),
    ):
        (tmp_path / name).write_text(text)
        cases = read_cases(tmp_path / name)
        assert cases.ids == ids
        assert cases.subset(np.array([2, 0])).ids == (ids[2], ids[0])
        assert cases.subset(np.array([False, True, False])).ids == ids[1:2]
    assert cases.values[1].tolist() == [[3, 7], [4, 8]]
    assert as_cases(np.zeros((2, 1, 4))).ids is None


def test_answers_are_written_under_the_names(tmp_path):
    (tmp_path / "wide.csv").write_text(WIDE)
    cases = read_cases(tmp_path / "wide.csv")
    shares = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])
    model = SimpleNamespace(classes_=np.array(["a", "b"]), predict_proba=lambda X: shares)
    out = tmp_path / "classes.csv"
    write_classes(out, cast(Any, model), cases)
    assert out.read_text() == "case,class,p_a,p_b\nP7,b,0.25,0.75\nP3,a,1.0,0.0\nP5,a,0.5,0.5\n"
    write_classes(out, cast(Any, model), as_cases(np.ones((3, 1, 4))))
    assert [line.split(",")[0] for line in out.read_text().split()[1:]] == ["0", "1", "2"]
    model = SimpleNamespace(
        target_scaler_=SimpleNamespace(scale=np.ones(1)),
        predict=lambda X: np.array([1.0, 2.0, 3.0]),
    )
    write_numbers(out, cast(Any, model), cases)
    assert [line.split(",")[0] for line in out.read_text().split()] == ["case", "P7", "P3", "P5"]


def test_cases_held_out_are_called_by_their_rows_in_the_file():
    values = np.arange(20.0)[:, None, None] * np.ones((1, 2))
    cases = as_cases(values, ["a", "b"] * 10)
    train, test = hold_out(cases, 0.3, 1)
    assert test.ids is not None
    assert [float(name) for name in test.ids] == test.values[:, 0, 0].tolist()
    assert test.ids != ("0", "1", "2", "3", "4", "5")
    assert train.ids is None
    named = replace(cases, ids=tuple(f"P{number}" for number in range(20)))
    assert hold_out(named, 0.3, 1)[1].ids == tuple(f"P{name}" for name in test.ids)


def test_a_person_with_several_rows_has_several_cases(tmp_path):
    values = np.arange(48.0).reshape(6, 8)
    for stem, labels in (("v", "aabbaa"), ("v", "ababab"), ("t", "aabbaa")):
        header = ",".join(["id", *(f"{stem}{i}" for i in range(8)), "label"])
        lines = [
            ",".join([f"p{i // 2}", *map(str, row), labels[i]]) for i, row in enumerate(values)
        ]
        (tmp_path / "x.csv").write_text("\n".join([header, *lines]))
        cases = read_cases(tmp_path / "x.csv")
        np.testing.assert_array_equal(cases.values[:, 0], values)
        assert cases.labels is not None
        assert (cases.ids, "".join(cases.labels)) == (None, labels)
        told = "the column 'id' repeats and is left out: every row is a case"
        assert cases.notices == (told,)


def test_numbered_channels_in_long_form_stay_channels(tmp_path):
    rows = [f"{i // 4},{i},{i + 1},{'ab'[i // 4]}" for i in range(8)]
    (tmp_path / "x.csv").write_text("\n".join(["case_id,ch1,ch2,label", *rows]))
    cases = read_cases(tmp_path / "x.csv")
    assert (cases.channels, cases.ids) == (("ch1", "ch2"), ("0", "1"))
    assert cases.values[1].tolist() == [[4, 5, 6, 7], [5, 6, 7, 8]]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize(
    "text",
    [
        "id,t0,t1,t2\n1000,1,2,3\n2000,2,3,1.5\n",
        "t0,t1,t2,Case_ID,target\n1,2,3,7,4\n2,3,1.5,9,5\n",
        "label,x_0,x_1,y_0,y_1\na,1,2,3,4\nb,5,6,7,8\n",
        "id,time,x,y,label\n8,1,1,2,a\n8,0,3,4,a\n9,0,5,6,b\n9,1,7,8,b\n",
        "id,t0,t1,t2\n1,1,2,3\n1,2,3,4\n2,4,5,6\n",
    ],
    ids=["ids", "numbers", "channels", "long", "persons"],
)
def test_a_frame_with_ids_or_labels_is_read_as_a_file_is(tmp_path, text, library):
    """Ids of a frame were the first step of every case."""
    (tmp_path / "x.csv").write_text(text)
    wanted = read_cases(tmp_path / "x.csv")
    frame: Any = pd.read_csv(tmp_path / "x.csv")
    if library == "polars":
        frame = pl.from_pandas(frame)
    elif library == "pyarrow":
        frame = pa.Table.from_pandas(frame)
    cases = as_cases(frame)
    np.testing.assert_array_equal(cases.values, wanted.values)
    np.testing.assert_array_equal(cases.labels, wanted.labels)
    assert (cases.ids, cases.channels) == (wanted.ids, wanted.channels)
    assert cases.notices == tuple(one for one in wanted.notices if "label_col" not in one)
    mine = as_cases(frame, list("pq" if len(wanted.values) == 2 else "pqr"))
    assert cast(Any, mine.labels)[1] == "q"


def test_ids_of_a_frame_are_no_steps_in_fit_and_predict():
    rng = np.random.default_rng(0)
    plain = pd.DataFrame(rng.normal(size=(12, 8)), columns=[f"t{i}" for i in range(8)])
    named = plain.assign(id=range(1000, 1012))
    y = ["a", "b"] * 6
    small = {"d_model": 4, "d_ff": 4, "kernel_sizes": (3,)}
    settings: Any = {"model": small, "n_epochs": 1, "verbose": 0}
    model = ConvTimeNetClassifier(**settings).fit(plain, y)
    expected = model.predict_proba(plain)
    np.testing.assert_array_equal(model.predict_proba(named), expected)
    np.testing.assert_array_equal(model.predict_proba(pa.Table.from_pandas(named)), expected)
    again = ConvTimeNetClassifier(**settings).fit(named, y)
    assert again.n_features_in_ == 8
    np.testing.assert_array_equal(again.predict_proba(plain), expected)
    labelled = ConvTimeNetClassifier(**settings).fit(named.assign(label=y))
    np.testing.assert_array_equal(labelled.predict_proba(plain), expected)
    numbered = pd.DataFrame(plain.to_numpy())  # columns that are positions, as before
    np.testing.assert_array_equal(as_cases(numbered).values[:, 0], plain.to_numpy())
