from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from convtimenet.data.labelled.cases import Cases, as_cases, read_cases
from convtimenet.data.labelled.gaps import filled, gaps_left
from convtimenet.errors import DataError

HEADER = "#a comment\n@problemName demo\n@univariate false\n@dimensions 2\n@classLabel true a b\n"

finite = st.floats(-1e6, 1e6, width=32)


@st.composite
def ragged(draw: st.DrawFn) -> list[np.ndarray]:
    """1 to 5 cases of 1 to 3 channels and 1 to 8 steps each, float32, finite."""
    channels = draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=5))
    return [draw(hnp.arrays(np.float32, (channels, length), elements=finite)) for length in lengths]


def write_ts(path: Path, cases: list[np.ndarray], labels: list[str] | None) -> None:
    lines = ["@problemName demo", f"@dimensions {len(cases[0])}"]
    if labels is None:
        lines.append("@classLabel false")
    else:
        lines.append("@classLabel true " + " ".join(sorted(set(labels))))
    lines.append("@data")
    for i, case in enumerate(cases):
        fields = [",".join(str(float(x)) for x in channel) for channel in case]
        lines.append(":".join(fields if labels is None else [*fields, labels[i]]))
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def own(cases: Cases) -> list[np.ndarray]:
    return [case[:, :n] for case, n in zip(cases.values, cases.lengths, strict=True)]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@given(ragged())
def test_ragged_lists_round_trip(arrays: list[np.ndarray]) -> None:
    before = [array.copy() for array in arrays]
    cases = as_cases(arrays)
    assert cases.values.dtype == np.float32
    assert cases.lengths.dtype == np.int64
    assert cases.values.shape == (len(arrays), len(arrays[0]), max(a.shape[1] for a in arrays))
    assert_same(own(cases), before)
    for case, n in zip(cases.values, cases.lengths, strict=True):
        assert np.isnan(case[:, n:]).all()
    assert not [one for one in cases.notices if "codes of missing" not in one]
    assert cases.labels is None
    # The padded form means the same cases.
    again = as_cases(cases.values)
    np.testing.assert_array_equal(again.values, cases.values)
    np.testing.assert_array_equal(again.lengths, cases.lengths)
    assert_same(arrays, before)


@given(arrays=ragged(), labelled=st.booleans(), compressed=st.booleans())
def test_ts_files_round_trip(
    arrays: list[np.ndarray],
    labelled: bool,
    compressed: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("ts") / ("demo.ts.gz" if compressed else "demo.ts")
    labels = [f"class{i % 2}" for i in range(len(arrays))] if labelled else None
    write_ts(path, arrays, labels)
    cases = read_cases(path)
    assert_same(own(cases), arrays)
    assert (None if cases.labels is None else cases.labels.tolist()) == labels


@pytest.mark.parametrize("labels", [["x", "y"], [3, 1], [0.5, 1.5], [True, False]])
def test_labels_stay_as_given(labels: list) -> None:
    cases = as_cases(np.ones((2, 1, 3)), labels)
    assert cases.labels is not None
    assert cases.labels.tolist() == labels


def test_two_axes_and_flat_items_are_univariate() -> None:
    assert as_cases(np.ones((4, 5))).values.shape == (4, 1, 5)
    assert as_cases([[1, 2, 3], [4.0]]).values.shape == (2, 1, 3)
    assert as_cases([np.arange(3), np.arange(2)]).lengths.tolist() == [3, 2]


def test_an_object_array_of_cases_is_a_list() -> None:
    items = np.empty(2, dtype=object)
    items[:] = [np.ones((2, 3)), np.ones((2, 4))]
    assert as_cases(items).lengths.tolist() == [3, 4]


def test_masked_entries_are_missing() -> None:
    masked = np.ma.masked_equal(np.array([[1, 2, 9]]), 9)
    assert as_cases(masked).lengths.tolist() == [2]


def test_trailing_nan_is_length_and_short_channels_are_told_of() -> None:
    X = np.full((2, 2, 5), np.nan)
    X[0, 0, :4] = 1, np.nan, 3, 4
    X[0, 1, :2] = 7, 8
    X[1, :, :3] = 2
    before = X.copy()
    cases = as_cases(X)
    np.testing.assert_array_equal(X, before)
    assert cases.lengths.tolist() == [4, 3]
    assert cases.values.shape == (2, 2, 4)
    np.testing.assert_array_equal(cases.values[0], [[1, np.nan, 3, 4], [7, 8, np.nan, np.nan]])
    assert cases.notices == ("1 channels end before the longest channel of their case",)
    np.testing.assert_array_equal(filled(cases).values[0], [[1, 2, 3, 4], [7, 8, 8, 8]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("code", [-999.0, 9999.0, -99.9])
def test_codes_of_missing_values_are_told_of_and_kept(dtype: type, code: float) -> None:
    values = np.arange(24, dtype=dtype).reshape(2, 2, 6)
    values[:, 1, 2] = code
    cases = as_cases(values)
    assert cases.notices == (
        f"channel 1: {code:g} repeats far from all other values, as codes of missing values do; "
        "if so, leave these cells empty",
    )
    np.testing.assert_array_equal(cases.values, values)


def test_filled_interpolates_inside_and_takes_the_nearest_at_the_ends() -> None:
    cases = as_cases([np.array([np.nan, 1, np.nan, np.inf, 4, -np.inf]), np.ones(2)])
    before = cases.values.copy()
    done = filled(cases)
    np.testing.assert_array_equal(cases.values, before)
    np.testing.assert_allclose(done.values[0, 0], [1, 1, 2, 3, 4, 4])
    np.testing.assert_array_equal(done.values[1, 0], [1, 1, *[np.nan] * 4])
    assert done.notices == ("4 missing or infinite values were interpolated along time",)
    assert filled(done) is done


def test_gaps_left_makes_infinite_values_missing_and_counts_them() -> None:
    cases = as_cases([np.array([np.nan, 1, np.nan, np.inf, 4, -np.inf]), np.ones(2)])
    before = cases.values.copy()
    left = gaps_left(cases)
    np.testing.assert_array_equal(cases.values, before)
    np.testing.assert_array_equal(left.values[0, 0], [np.nan, 1, np.nan, np.nan, 4, np.nan])
    assert left.lengths.tolist() == [6, 2]
    assert left.notices == ("4 missing or infinite values are masked",)
    whole = as_cases([np.ones(3), np.ones(2)])
    assert gaps_left(whole) is whole


def test_a_channel_without_a_number_is_read_but_cannot_be_filled() -> None:
    cases = as_cases(np.array([[[1.0, 2.0], [np.nan, np.nan]]]))
    assert np.isnan(cases.values[0, 1]).all()
    with pytest.raises(DataError, match=r"none in channel 1 of case 0 \(all NaN; 1 such"):
        filled(cases)


@given(ragged(), st.randoms(use_true_random=False))
def test_filled_leaves_known_values_and_no_gap(arrays: list[np.ndarray], random) -> None:
    holed = [array.copy() for array in arrays]
    for array in holed:
        for channel in array:
            # The first and the last value stay, so that neither length nor range change.
            for t in range(1, len(channel) - 1):
                if random.random() < 0.5:
                    channel[t] = np.nan
    cases = filled(as_cases(holed))
    for found, array in zip(own(cases), holed, strict=True):
        known = ~np.isnan(array)
        np.testing.assert_array_equal(found[known], array[known])
        assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        ([], None, "empty"),
        (np.empty((0, 2, 3)), None, "empty"),
        (np.empty((2, 0, 3)), None, "one channel"),
        (np.empty((2, 3, 0)), None, "time step"),
        ([np.ones((2, 3)), np.ones((2, 0))], None, "empty"),
        (np.ones(4), None, r"shape \(4,\)"),
        (np.ones((1, 2, 3, 4)), None, r"\(1, 2, 3, 4\)"),
        ([np.ones((1, 2, 3))], None, "case 0 must have shape"),
        ([1.0, 2.0], None, "case 0 must have shape"),
        ([[[1, 2], [3]]], None, "unequal length"),
        (np.ones((1, 2, 3), complex), None, "complex128"),
        (np.array([["a", "b"]]), None, "real numbers"),
        ([np.ones((2, 3)), np.ones((3, 3))], None, "2 in case 0 and 3 in case 1"),
        (
            np.array([[1.0, 2.0], [np.nan, np.nan]]),
            None,
            "in case 1 .*missing or infinite; 1 such",
        ),
        (np.array([[np.inf, np.nan]]), None, "case 0"),
        (np.array([[1e300]]), None, "float32"),
        ("text", None, "found str"),
        (3, None, "found int"),
        (np.ones((2, 3)), ["a"], "1 labels for 2 cases"),
        (np.ones((2, 3)), [["a"], ["b"]], r"shape \(2,\)"),
        (np.ones((2, 3)), ["a", None], "case 1"),
        (np.ones((2, 3)), [1.0, np.nan], "case 1"),
    ],
)
def test_unusable_arrays_are_refused(X, y, words: str) -> None:
    with pytest.raises(DataError, match=words):
        as_cases(X, y)


def test_ts_missing_values_comments_and_unequal_channels(tmp_path: Path) -> None:
    path = tmp_path / "x.ts"
    path.write_text(HEADER + "@DATA\n# between\n1,?,3:4,5:a\n\nNaN,2:1,2:b\n")
    cases = read_cases(path)
    np.testing.assert_array_equal(cases.values[0], [[1, np.nan, 3], [4, 5, np.nan]])
    np.testing.assert_array_equal(cases.values[1, 0], [np.nan, 2, np.nan])
    assert cases.lengths.tolist() == [3, 2]
    assert cases.labels is not None
    assert cases.labels.tolist() == ["a", "b"]
    assert len(cases.notices) == 1


def test_ts_without_class_label_line_has_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "x.ts"
    path.write_text("@univariate true\n@data\n1,2\n3\n")
    cases = read_cases(path)
    assert cases.labels is None
    assert cases.values.shape == (2, 1, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEADER, "@data"),
        ("1,2,3\n", "line 1 before @data"),
        (HEADER + "@data\n", "empty"),
        (HEADER + "@data\n1:2:a\n1:2:3:a\n", "line 8 .*2 channels.*found 3"),
        (HEADER + "@data\n1:a\n", "line 7 .*found 1"),
        ("@classLabel true a\n@data\n1:2:a\n1:a\n", "line 4 .*found 1"),
        ("@univariate true\n@data\n1:2\n", "line 3 .*1 channels"),
        (HEADER + "@data\n1,x:2:a\n", "line 7 .*numbers.*'x'"),
        (HEADER + "@data\n1,:2:a\n", "line 7 .*numbers"),
        (HEADER + "@data\n1:2:c\n", "line 7 .*labels.*'c'"),
        (HEADER + "@data\n?,?:?:a\n", "none in case 0"),
        ("@timestamps true\n@data\n", "empty"),
        ("@timestamps true\n@data\n1,2\n", r"line 3 .*pairs \(time stamp,value\).*found '1,2'"),
        ("@targetlabel true\n@data\n1:2\n1:x\n", "line 4 .*a number, the target; found 'x'"),
        ("@targetlabel true\n@data\n1:?\n", "line 3 .*a number, the target; found '?'"),
        ("@classLabel true a\n@targetLabel true\n@data\n1:a\n", "both @classLabel .* one of them"),
    ],
)
def test_unusable_ts_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.ts"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_cases(path)


def test_npz_round_trip(tmp_path: Path) -> None:
    X = np.arange(12.0).reshape(2, 2, 3)
    np.savez(tmp_path / "x.npz", X=X, y=np.array(["u", "v"]))
    cases = read_cases(str(tmp_path / "x.npz"))
    np.testing.assert_array_equal(cases.values, X)
    assert cases.labels is not None
    assert cases.labels.tolist() == ["u", "v"]
    np.savez(tmp_path / "x.npz", X=X)
    assert read_cases(tmp_path / "x.npz").labels is None


def test_absent_and_unknown_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        read_cases(tmp_path / "absent.ts")
    with pytest.raises(DataError, match=r"\.npz; found 'x\.json'"):
        read_cases(tmp_path / "x.json")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress((HEADER + "@data\n" + "1,2:3,4:a\n" * 500).encode())
    (tmp_path / "cut.ts.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "plain.ts.gz").write_bytes(b"@data")
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 nothing more")
    for name in ("cut.ts.gz", "plain.ts.gz", "x.npz"):
        with pytest.raises(DataError, match="damage"):
            read_cases(tmp_path / name)


def test_npz_needs_x_and_refuses_pickles(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, series=np.ones((1, 2)))
    with pytest.raises(DataError, match=r"named 'X'.*\['series'\]"):
        read_cases(path)
    np.savez(path, X=np.array([np.ones(2), np.ones(3)], dtype=object))
    with pytest.raises(DataError, match="pickle"):
        read_cases(path)
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(DataError, match="plain arrays"):
        read_cases(path)


@pytest.mark.parametrize("dimensions", ["²", "9" * 5000, "-1", "two"])
def test_dimensions_that_are_no_number_are_counted_instead(tmp_path, dimensions):
    path = tmp_path / "x.ts"
    path.write_text(f"@dimensions {dimensions}\n@data\n1,2:3,4\n", encoding="utf-8")
    assert read_cases(path).values.tolist() == [[[1, 2], [3, 4]]]


@pytest.mark.parametrize("name", ["Unnamed: 0", "__index_level_0__"])
@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_the_index_that_frames_were_written_with_is_no_channel(name, library):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 2, 5))
    one = [library({name: range(5), "a": a, "b": b}) for a, b in values]
    found = as_cases(one)
    np.testing.assert_array_equal(found.values, values)
    assert found.channels == ("a", "b")
    told = f"ignored the index of a frame that was written as a column: {name!r}"
    assert found.notices == (told,)
    rows = library({name: range(6), **{f"t{i}": values[:, 0, i] for i in range(5)}})
    found = as_cases(rows)
    np.testing.assert_array_equal(found.values, values[:, :1])
    assert found.notices == (told,)
    alone = as_cases(library({name: [1.0, 2.0]}))  # nothing else to be the data
    assert alone.values.tolist() == [[[1.0]], [[2.0]]]


@pytest.mark.parametrize(
    "steps",
    [
        [str(i) for i in range(1, 13)],
        pd.date_range("2024-01-01", periods=12, freq="10D").strftime("%d.%m.%Y").tolist(),
        [f"{i / 10:.1f}" for i in range(95, 107)],
        [f"{name} step" for name in "zyxwvutsrqpo"],
    ],
)
def test_a_time_level_of_text_is_read_not_spelt(steps):
    index = pd.MultiIndex.from_product([["b", "a"], steps], names=["case", "step"])
    values = np.arange(24.0).reshape(2, 1, 12)
    frame = pd.DataFrame({"x": values.ravel()}, index=index)
    np.testing.assert_array_equal(as_cases(frame).values, values)
    if "step" not in steps[0]:  # such rows have no order but their own
        np.testing.assert_array_equal(as_cases(frame[::-1]).values, values[::-1])
        text = index.set_levels(pd.CategoricalIndex(index.levels[1]), level=1)
        np.testing.assert_array_equal(as_cases(frame.set_axis(text)).values, values)


def test_tensors_of_any_graph_and_precision():
    values = np.arange(12.0).reshape(2, 2, 3)
    graph = torch.tensor(values, requires_grad=True)
    rough = torch.tensor(values, dtype=torch.bfloat16)
    for X in (graph, rough, list(graph), list(rough), [[*one] for one in graph]):
        np.testing.assert_array_equal(as_cases(X).values, values)


@pytest.mark.parametrize(
    "times",
    [
        [0, 1, 3, 0, 1, 2],
        [0.1, 0.2, 0.4, 0.1, 0.2, 0.1 + 0.2],
        [20240131, 20240201, 20240203, 20240131, 20240201, 20240202],
        [f"{day}.01.2024" for day in (10, 11, 13, 20, 21, 22)],
        pd.to_datetime([f"2024-{month}-01" for month in (1, 2, 4, 6, 7, 8)]),
        pd.to_datetime([f"2024-{month}-01" for month in (1, 2, 4, 6, 7, 8)], utc=True),
        pd.to_timedelta([0, 1, 3, 5, 6, 7], unit="h"),
        pd.PeriodIndex([f"2024-{month}" for month in (1, 2, 4, 6, 7, 8)], freq="M"),
    ],
)
def test_a_time_level_with_a_gap_is_read_as_in_a_file(times):
    index = pd.MultiIndex.from_arrays([[1, 1, 1, 2, 2, 2], times], names=["case_id", "time"])
    cases = as_cases(pd.DataFrame({"x": [1.0, 2, 4, 1, 2, 3]}, index=index))
    np.testing.assert_array_equal(cases.values, [[[1, 2, np.nan, 4]], [[1, 2, 3, np.nan]]])
    said = "1 steps between time stamps have no value and are treated as missing"
    assert cases.notices[-1] == said


def test_a_time_level_that_repeats_or_is_not_regular_is_refused():
    for times, words in (
        ([0, 1, 1], "the frame, case 7: a time stamp occurs twice"),
        ([0, 1, 100_003], "the frame: the time stamps are not regular"),
    ):
        index = pd.MultiIndex.from_arrays([[7, 7, 7], times], names=["case_id", "time"])
        with pytest.raises(DataError, match=words):
            as_cases(pd.DataFrame({"x": [1.0, 2, 4]}, index=index))


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize("stem", ["t{}", "x_{}", "{}"])
@pytest.mark.parametrize("first", [True, False])
def test_a_column_that_a_file_takes_for_the_label_is_no_step(library, stem, first, tmp_path):
    values = np.arange(24.0).reshape(4, 6)
    steps = {stem.format(i): values[:, i] for i in range(6)}
    group = {"sep": np.array([1, 0, 1, 0])}
    columns = group | steps if first else steps | group
    path = tmp_path / "x.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    in_file = read_cases(path)
    assert in_file.labels is not None
    assert in_file.labels.tolist() == [1, 0, 1, 0]
    told = f"X: the columns 'sep' are not numbered like '{stem.format(0)}', so they may not be time"
    with pytest.raises(DataError, match=told):
        as_cases(library(columns))
    labelled = as_cases(library({"label" if n == "sep" else n: c for n, c in columns.items()}))
    for found in (labelled, in_file, as_cases(library(steps))):
        np.testing.assert_array_equal(found.values[:, 0], values)
    odd = as_cases(library({name: values[:, i] for i, name in enumerate(["low", "mid", "high"])}))
    np.testing.assert_array_equal(odd.values[:, 0], values[:, :3])
