"""Points that may separate thousands: refused or told of by the form of the cells."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtimenet.data.labelled.cases import read_cases
from convtimenet.data.tables import read_table
from convtimenet.data.text.points import Points, points_in
from convtimenet.errors import DataError

GERMAN = [f"{day}.01.2024" for day in range(13, 20)]
ISO = [f"2024-01-{day:02d}" for day in range(1, 8)]
SALES = ["1.000", "2.137", "3.274", "4.411"]


def written(folder: Path, days: list[str], mark: str, cells: list[str]) -> Path:
    rows = [f"{day}{mark}{cell}" for day, cell in zip(days, cells, strict=False)]
    path = folder / ("x.tsv" if mark == "\t" else "x.csv")
    path.write_text("\n".join([f"Datum{mark}Umsatz", *rows]))
    return path


@pytest.mark.parametrize("small", ["0", "85", "-7", "850", "007"])
@pytest.mark.parametrize("days", [GERMAN, ISO], ids=["dotted", "iso"])
@pytest.mark.parametrize("mark", [";", ",", "\t"])
def test_small_whole_numbers_settle_nothing(tmp_path, small, days, mark):
    path = written(tmp_path, days, mark, [*SALES, small])
    if days is GERMAN or mark == ";" or small == "850":
        with pytest.raises(
            DataError, match=r"line 2: '1\.000' may be 1000 or 1, and no other cell"
        ):
            read_table(path)
    else:
        table = read_table(path)
        assert table.values[:4, 0].tolist() == [1, 2.137, 3.274, 4.411]
        assert table.notices == (
            "column 'Umsatz': '1.000' is read as 1, as all its numbers have three digits after a "
            "point; pass decimal=',' (--decimal ,) if it is 1000",
        )
    thousands = read_table(path, decimal=",").values[:, 0]
    assert thousands.tolist() == [1000, 2137, 3274, 4411, int(small)]


@pytest.mark.parametrize("other", ["0.500", "0.000", "1.25", "1234.500", "12.5", "1250", ".125"])
@pytest.mark.parametrize("days", [GERMAN, ISO], ids=["dotted", "iso"])
def test_other_forms_settle_it(tmp_path, other, days):
    for cells in ([*SALES, "0", other], [other, *SALES, "0"]):
        table = read_table(written(tmp_path, days, ";", cells))
        assert table.values[:, 0].tolist() == list(map(float, cells))
        assert table.notices == ()


@pytest.mark.parametrize("sign", ["{} \u20ac", "${}", "{} %"])
def test_signs_do_not_hide_them(tmp_path, sign):
    cells = [sign.format(cell) for cell in [*SALES, "850"]]
    path = written(tmp_path, ISO, ";", cells)
    with pytest.raises(DataError, match=r"line 2: '1\.000' may be 1000 or 1, and"):
        read_table(path)
    assert read_table(path, decimal=",").values[0, 0] == 1000


@pytest.mark.parametrize(
    ("cells", "delimiter", "dated", "found"),
    [
        (["1.234", "2.500", "3.750"], ",", False, None),  # a logger with three decimals
        (["1.234", "2.500", "3.750"], ",", True, False),
        (["1.234", "2.500", "3.750"], ";", False, False),
        (["1.234", "2.500", "3.750"], ";", True, True),
        (["1.234", "2.500", "3"], ",", False, False),
        (["1.234", "2.500", "3"], "\t", False, False),
        (["1.234", "2.500", "3"], ";", False, True),
        (["1.234", "2.500", "3"], ",", True, True),
        (["1.234", "", "n/a", "0", "inf", "-0"], ",", False, False),
        (["1.234", "0", "0", "150"], ",", False, True),
        (["1.234", "1e3", "150"], ";", True, None),
        (["1.234", "1 050", "150"], ";", True, None),
        (["0.234", "150"], ";", True, None),
        (["150", "12"], ";", True, None),
        (["", "-"], ";", True, None),
        ([951, "1.234", 1009], ",", False, True),  # typed cells have no written form
        ([1, "1.234", None, 0.0], ",", False, True),
        ([1.5, "1.234", 2.25], ",", False, False),
        ([951.5, "1.234", 1009.25], ",", False, True),
        ([951, "1.234", 1009, "1250"], ",", False, None),
        ([951, 10**400, 1009], ",", False, None),
        ([951, float("nan"), "0.500"], ",", False, None),
    ],
)
def test_by_the_form(cells, delimiter, dated, found):
    expected = None if found is None else Points("1.234", refused=found)
    assert points_in(cells, delimiter, lambda: dated) == expected


@given(
    st.lists(st.integers(1000, 999_999), min_size=1, max_size=8),
    st.lists(st.integers(-999, 999), max_size=4),
    st.sampled_from([",", ";", "\t"]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_thousands_are_never_read_as_fractions_without_a_word(large, small, delimiter, dated, any):
    cells = [f"{number:,}".replace(",", ".") for number in large] + list(map(str, small))
    any.shuffle(cells)
    found = points_in(cells, delimiter, lambda: dated)
    silent = not small and delimiter == "," and not dated  # as a logger writes decimals
    assert (found is None) == silent
    if dated and (small or delimiter != ","):
        assert found is not None
        assert found.refused


def test_sheets_that_mix_text_and_numbers(tmp_path):
    days = pd.date_range("2024-01-01", periods=6).to_list()
    sales = ["1.000", 951, "3.274", 1009, 1001, 980]
    frame = pd.DataFrame({"date": days, "y": pd.Series(sales, dtype=object)})
    frame.to_excel(tmp_path / "x.xlsx", index=False)
    with pytest.raises(DataError, match=r"row 2: '1\.000' may be 1000 or 1, and no other cell"):
        read_table(tmp_path / "x.xlsx")
    with pytest.raises(DataError, match=r"row 0: '1\.000' may be 1000 or 1, and no other cell"):
        read_table(frame)
    records = [{"date": str(d)[:10], "y": y} for d, y in zip(days, sales, strict=True)]
    (tmp_path / "x.json").write_text(json.dumps(records))
    with pytest.raises(DataError, match=r"'1\.000' may be 1000 or 1, and no other cell"):
        read_table(tmp_path / "x.json")
    thousands = read_table(tmp_path / "x.xlsx", decimal=",").values[:, 0]
    assert thousands.tolist() == [1000, 951, 3274, 1009, 1001, 980]
    assert read_table(frame, decimal=".").values[:, 0].tolist() == [1, 951, 3.274, 1009, 1001, 980]
    frame.loc[2, "y"] = "3.27"
    assert read_table(frame).values[:3, 0].tolist() == [1, 951, 3.27]


@pytest.mark.parametrize("small", ["0", "85"])
@pytest.mark.parametrize("head", ["label{0}t0{0}t1\n", ""], ids=["header", "none"])
@pytest.mark.parametrize(
    ("name", "mark", "refused"),
    [("x.csv", ";", True), ("x.csv", ",", False), ("x.tsv", "\t", False)],
)
def test_of_cases(tmp_path, small, head, name, mark, refused):
    rows = [f"a{mark}1.000{mark}2.137", f"b{mark}{small}{mark}3.274", f"a{mark}4.411{mark}9.500"]
    path = tmp_path / name
    path.write_text(head.format(mark) + "\n".join(rows) + "\n")
    if refused:
        with pytest.raises(DataError, match=rf"line {1 + bool(head)}: '1\.000' may be 1000 or 1"):
            read_cases(path)
        return
    cases = read_cases(path)
    np.testing.assert_array_equal(cases.values[1, 0], [float(small), 3.274])
    assert cases.notices[-1].startswith("numbers like 1.000 are read with a decimal point; write")
