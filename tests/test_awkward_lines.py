"""Ends of lines, comments and compressed parts: nothing is lost without a word."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile

import numpy as np
import pytest

from convtimenet.data.cases import cases_in_csv, read_cases
from convtimenet.data.files.raw import lines_of
from convtimenet.data.tables import read_table


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
