"""Ends of lines, comments and compressed parts: nothing is lost without a word."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile

import numpy as np
import pytest

from convtimenet.data.files.raw import lines_of
from convtimenet.data.labelled.cases import cases_in_csv, read_cases
from convtimenet.data.tables import read_table
from convtimenet.errors import DataError


@pytest.mark.parametrize("odd", ["\x0c", "\u2028", "\x1c", "\x85", "\x0b"])
def test_only_line_ends_end_lines(odd, tmp_path):
    assert lines_of(f"a{odd}b\r\nc\rd\n\ne") == [f"a{odd}b", "c", "d", "", "e"]
    assert lines_of("") == []
    rows = "".join(f"2024-01-{i:02},{i}\n" for i in range(1, 9))
    for title in (f"{odd}Report of sales\n", f"# made by{odd}us\n"):
        path = tmp_path / "sales.csv"
        path.write_text(f"{title}date,y\n{rows}", encoding="utf-8")
        table = read_table(path)
        assert table.values[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
        assert str(table.times[0])[:10] == "2024-01-01"
    path = tmp_path / "cases.csv"
    path.write_text(f"t0,t1,t2,label\n1,2,3,a{odd}b\n2,3,4,c\n", encoding="utf-8")
    labels = read_cases(path).labels
    assert labels is not None
    assert labels.tolist() == [f"a{odd}b", "c"]


def test_labels_and_ids_with_a_hash_are_no_comments(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("label,t0,t1,t2\n#1,1,2,3\n# a note, of two, or three\n2,1,2,4\n#1,4,2,3\n")
    cases = read_cases(path)
    assert cases.labels is not None
    assert cases.labels.tolist() == ["#1", "2", "#1"]
    path.write_text("#written by hand\nlabel,t0,t1,t2\na,1,2,3\n%half,done\nb,1,2,4\n")
    cases = read_cases(path)
    assert cases.labels is not None
    assert cases.labels.tolist() == ["a", "b"]


def test_a_packed_file_without_names_is_read_as_the_unpacked_one(tmp_path):
    text = b"0.5,1.5,2.5,0\n1.5,0.5,0.5,1\n2.5,1.5,2.5,0\n"
    plain = tmp_path / "c.csv"
    plain.write_bytes(text)
    expected = read_cases(plain)
    for ending, pack in ((".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)):
        (tmp_path / f"c.csv{ending}").write_bytes(pack(text))
    with zipfile.ZipFile(tmp_path / "c.csv.zip", "w") as file:
        file.writestr("c.csv", text)
    for ending in (".gz", ".bz2", ".xz", ".zip"):
        found = read_cases(tmp_path / f"c.csv{ending}")
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.labels, expected.labels)


def test_cases_without_names_that_are_sent(tmp_path):
    """As from a file: nobody says that the first value is the label."""
    text = "0.5,1.5,2.5\n4,5,6.5\n"
    (tmp_path / "c.csv").write_text(text)
    sent, read = cases_in_csv("cases", text.encode()), read_cases(tmp_path / "c.csv")
    np.testing.assert_array_equal(sent.values, read.values)
    assert sent.labels is None


DAILY = [f"2024-01-{i:02},{i},ok" for i in range(1, 31)]


def daily(folder, changes, head="date,x,note", mark=","):
    """A table of 30 days with other rows in some places."""
    rows = [changes.get(i, row) for i, row in enumerate(DAILY)]
    path = folder / "x.csv"
    path.write_text("\n".join([head, *rows]).replace(",", mark) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("mark", [",", "\t"])
@pytest.mark.parametrize(
    "changes",
    [
        {9: '2024-01-10,10,"see mail'},  # open to the end of the file
        {29: '2024-01-30,30,"see mail'},
        {9: '2024-01-10,10,"see mail', 19: '2024-01-20,20,"see mail'},  # open to another one
        {9: '2024-01-10,10,"see mail', 10: '2024-01-11,11,"see mail'},
        {9: '2024-01-10,10,"see mail', 19: '"2024-01-20",20,"see mail"'},
    ],
)
def test_a_stray_quote_takes_no_rows(tmp_path, changes, mark):
    table = read_table(daily(tmp_path, changes, mark=mark), target_cols=["x"])
    assert table.values[:, 0].tolist() == list(range(1, 31))
    line = min(changes) + 2
    told = f"line {line}: the quote in '\"see mail' is never closed and is read as a character"
    assert table.notices == (told,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({9: '2024-01-10,10,"19 inch, new'}, "line 11: the quote in '\"19 inch' takes in the rows"),
        (
            {9: '2024-01-10,10,"19 inch, new', 19: '2024-01-20,20,"old"'},
            "line 11: the quote in '\"19 inch' takes in the rows",
        ),
        ({9: '2024-01-10,10,"a', 12: '2024-01-13,13,"a\nb"'}, "line 11: the quote in '\"a' takes"),
    ],
)
def test_a_stray_quote_among_others_is_refused(tmp_path, changes, said):
    with pytest.raises(DataError, match=f"x.csv, {said}.*close it .* or remove it"):
        read_table(daily(tmp_path, changes), target_cols=["x"])


def test_a_stray_quote_in_the_header_is_refused(tmp_path):
    for changes in ({}, {9: '2024-01-10,10,"a"'}):
        path = daily(tmp_path, changes, head='date,x,"note')
        with pytest.raises(DataError, match=r"x\.csv, line 1: the quote in '\"note' takes in"):
            read_table(path, target_cols=["x"])


def test_cells_of_several_lines_are_no_stray_quotes(tmp_path):
    notes = {0: '2024-01-01,1,"big, bad, ugly\nlots, of, text"', 9: '2024-01-10,10,"a\n\n7, b"'}
    table = read_table(
        daily(tmp_path, notes, head='date,x,"note\n(free, text)"'), target_cols=["x"]
    )
    assert table.values[:, 0].tolist() == list(range(1, 31))
    assert table.notices == ()
    rows = [f'"big\nstore",2024-01-{i:02},{i}' for i in range(1, 9)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["store,date,x", *rows]), encoding="utf-8")
    table = read_table(path, id_col="store")
    assert (table.ids.tolist(), table.values[:, 0].tolist()) == (["big\nstore"], list(range(1, 9)))


def test_a_stray_quote_takes_no_ids_and_no_cases(tmp_path):
    path = tmp_path / "x.csv"
    rows = [f"{k},2024-01-{i:02},{i}" for k in ("A", '"19 inch') for i in range(1, 9)]
    path.write_text("\n".join(["item,date,x", *rows]), encoding="utf-8")
    table = read_table(path, id_col="item")
    assert table.ids.tolist() == ["A", '"19 inch']
    assert table.lengths.tolist() == [8, 8]
    cases = [f"{i},{i + 1},{label}" for i, label in enumerate(["run", "walk", '"run'] * 4)]
    path.write_text("\n".join(["t0,t1,label", *cases]), encoding="utf-8")
    found = read_cases(path)
    assert found.values[:, 0, 0].tolist() == list(range(12))
    assert found.notices[0].startswith("line 4: the quote in '\"run' is never closed")
    path.write_text("\n".join(["t0,t1,label", *cases, '1,2,"a\nb"']), encoding="utf-8")
    with pytest.raises(DataError, match="line 4: the quote in '\"run' takes in the rows below"):
        read_cases(path)
