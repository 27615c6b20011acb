"""Read labelled cases from a delimited text file: one case per row, as in the UCR archive, or in
long form with one row per case and time step."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from convtimenet.data.files.case_file import MISSING, CaseFile, labels_in, text_of
from convtimenet.data.files.case_grid import (
    DETECTED,
    IDS,
    LABELS,
    CaseColumns,
    CaseGrid,
    read_grid,
)
from convtimenet.data.files.raw import decoded, unpacked_name
from convtimenet.data.files.stamped import on_equal_steps
from convtimenet.errors import DataError
from convtimenet.names import key_of
from convtimenet.wording import advice, unknown_column

__all__ = ["cases_of", "check_numbered", "read_case_table", "steps_among"]

_TIMES = frozenset(
    {"time", "timestamp", "timestep", "step", "t", "date", "datetime", "ds", "readingid"}
)
_CHANNELS = frozenset({"dim", "dimid", "dimension", "channel", "channelid"})
_NUMBERED = re.compile(r"(?P<stem>.*?)[ _.-]*(?P<number>\d+)")
_NUMBER_FIRST = re.compile(r"(?P<number>\d+)[ _.-]+(?P<stem>.*\D)")
_WITHOUT_NAMES = "name the label column 'label' in a header line"
_WITH_HEADER = "write a header line such as t0,t1,t2,... above the cases, a name for each column"


def read_case_table(
    path: Path, chosen: CaseColumns = DETECTED, raw: bytes | None = None
) -> CaseFile:
    """Read the cases of a delimited text file, .csv, .tsv or .txt, or of its content `raw`, which
    comes without a caller who could say what its columns are, as `chosen` does.

    With a header, the label column is the one that was chosen, else the one named label, class or
    target, else the only text column, or the only one whose name is not numbered like the others
    (t0, t1, ..., group). Rows with the same case id are one case, ordered by their time column,
    unless the other columns count the steps of a case.
    Without a header the label is the first column of .tsv and .txt files, as in the UCR archive,
    and the first or last of .csv files. A first line of evenly numbered steps is a header.

    Raises
    ------
    DataError
        If cells are not numbers (the message gives the line), the label column is ambiguous, or
        there is no column of a chosen name.
    """
    text = text_of(path) if raw is None else decoded(raw)[0]
    return cases_of(read_grid(path, text, chosen, option=raw is None), chosen)


def cases_of(grid: CaseGrid, chosen: CaseColumns = DETECTED) -> CaseFile:
    """The cases of a grid, as `read_case_table`."""
    _check_chosen(grid, chosen)
    found = _cases(grid.without(chosen.ignored_cols), chosen)
    return replace(found, notices=(*grid.notices, *found.notices))


def _check_chosen(grid: CaseGrid, chosen: CaseColumns) -> None:
    roles: dict[str, str] = {}
    for name, option in chosen.named():
        if name not in (grid.names or ()):
            found = advice(f"{option}: ", "") + "there is no header line"
            if grid.names:
                found = unknown_column(name, grid.names, option)
            raise DataError(f"{grid.path}: {found}")
        if roles.setdefault(name, option) != option:
            both = advice(f"{roles[name]} and {option}", "two roles")
            raise DataError(
                f"{grid.path}: expected one role for each column, found {both} for {name!r}; "
                "leave one of them out"
            )


def _cases(grid: CaseGrid, chosen: CaseColumns) -> CaseFile:
    path = grid.path
    if grid.names is None:
        return _headless(grid, chosen.labelled)
    keys = [key_of(name) for name in grid.names]
    ids = [i for i, key in enumerate(keys) if key in IDS]
    times = [i for i, key in enumerate(keys) if key in _TIMES]
    strong = [i for i, key in enumerate(keys) if key in LABELS]
    if chosen.label_col is not None:
        strong = [grid.names.index(chosen.label_col)]
        ids = [i for i in ids if i not in strong]
        times = [i for i in times if i not in strong]
    grouping = ids
    if chosen.id_col is not None:
        grouping = [grid.names.index(chosen.id_col)]
        ids = [*grouping, *(i for i in ids if i not in grouping)]
        times = [i for i in times if i not in grouping]
        strong = [i for i in strong if i not in grouping]
    if len(strong) > 1:
        names = " and ".join(repr(grid.names[i]) for i in strong)
        raise DataError(
            f"{path}: the columns {names} could both be the label; leave one of them out"
            + (
                advice(", or pass label_col (--label_col)", "", ", or choose the column of labels")
                if grid.option
                else ""
            )
        )
    below = [i for i, key in enumerate(keys) if key in _CHANNELS]
    if below and len(set(grid.column(below[0]))) < len(grid.places):
        raise DataError(
            f"{path}: column {grid.names[below[0]]!r} has a row for each channel; write one column "
            "per channel instead"
            + advice(
                ", in pandas with table.pivot(index=[case, time], columns="
                f"{grid.names[below[0]]!r}, values=...)",
                "",
            )
        )
    repeated = [i for i in grouping if len(set(grid.column(i))) < len(grid.places)]
    if repeated and not (not times and _one_a_row(grid, repeated[0], ids, strong)):
        others = [i for i in ids if i != repeated[0]]
        apart = {*others[:1]} if others else set()
        return _long(grid, repeated[0], times[:1], strong, apart, chosen.labelled)
    if times:
        raise DataError(
            f"{path}: found a time column {grid.names[times[0]]!r} but no column with case ids; "
            "for labelled cases name one 'case_id'"
            + advice(" or pass it as id_col (--id_col)", "", " or choose 'id' for it")
            + ", or write one case per row; to forecast such a table "
            + advice(
                "use convtimenet forecast",
                "choose a forecasting model (POST it to /forecast)",
                "choose 'rows over time'",
            )
        )
    return _wide(grid, ids, strong, chosen.labelled)


# --- one case per row ----------------------------------------------------------------------------


def _headless(grid: CaseGrid, labelled: bool) -> CaseFile:
    shortest = min(map(len, grid.rows))
    if shortest < 2:
        at = [len(row) for row in grid.rows].index(shortest)
        raise DataError(
            f"{grid.path}, {grid.places[at]}: expected a label and numbers, found {shortest} "
            "cell(s); write one case per row, with values separated by ',' or tabs"
        )
    notices: list[str] = []
    ucr = not unpacked_name(grid.path.name).endswith(".csv")
    at = 0 if ucr else _label_without_name(grid)
    if at is None:
        if not grid.option:
            notices.append(f"found no header line, so every column is a step; {_WITH_HEADER}")
        elif labelled:
            notices.append(f"found no label column; if there is one, {_WITHOUT_NAMES}")
        notices += grid.points(range(max(map(len, grid.rows))))
        return CaseFile(
            series=[grid.numbers(i, range(len(row)))[None] for i, row in enumerate(grid.rows)],
            labels=None,
            notices=tuple(notices),
        )
    labels = labels_in(grid.column(at), grid.places, grid.path, grid.decimal)
    if not ucr or (labels is not None and labels.dtype.kind == "f"):
        notices.append(f"the {'last' if at else 'first'} column is used as the label")
    series = []
    for i, row in enumerate(grid.rows):
        columns = range(1, len(row)) if at == 0 else range(len(row) - 1)
        series.append(grid.numbers(i, columns)[None])
    notices += grid.points(range(1, max(map(len, grid.rows))) if at == 0 else range(shortest - 1))
    return CaseFile(series=series, labels=labels, notices=tuple(notices))


def _label_without_name(grid: CaseGrid) -> int | None:
    """The label column, first (0) or last (-1): the only text column of the two, else the only
    integer column; None if neither qualifies. Where no labels are needed, it must be text in every
    row: else it may be a step, which every case would lack."""
    if not grid.option:
        text, whole = ([at for at in (0, -1) if test(at)] for test in (grid.text, grid.whole))
        if len(text) != 1 and (text or whole):
            raise DataError(
                f"{grid.path}: found no header line, and the first or the last column may be a "
                f"label or a step; {_WITH_HEADER}"
            )
        return text[0] if text else None
    for test in (
        lambda at: not grid.numeric(at),
        grid.whole,
    ):
        found = [at for at in (0, -1) if test(at)]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(
                f"{grid.path}: the label may be the first or the last column; {_WITHOUT_NAMES}"
            )
    return None


def _one_a_row(grid: CaseGrid, case: int, ids: list[int], strong: list[int]) -> bool:
    """Whether columns count the steps of a case, although rows share the id in column `case`, such
    as that of a person. Columns may also number the channels of cases in long form."""
    assert grid.names is not None
    rest = [grid.names[i] for i in range(len(grid.names)) if i not in (*ids, *strong)]
    parts = [part for name in rest if (part := _NUMBERED.fullmatch(name))]
    if len(parts) < max(2, len(rest) - (not strong)):
        return False
    rows = Counter(cell.strip() for cell in grid.column(case))
    steps = max(Counter(part["stem"] for part in parts).values())
    columns = ([cell.strip() for cell in grid.column(i)] for i in (case, *strong))
    labels = {*zip(*columns, strict=True)}
    timed = all(key_of(part["stem"]) in _TIMES for part in parts)
    return timed or len(labels) > len(rows) or max(rows.values()) < steps


def _wide(grid: CaseGrid, ids: list[int], strong: list[int], labelled: bool) -> CaseFile:
    assert grid.names is not None
    names, notices = grid.names, []
    rest = [i for i in range(len(names)) if i not in ids]
    label = strong[0] if strong else None
    if label is None:
        steps = {rest[i] for i in steps_among([names[i] for i in rest])}
        text = [i for i in rest if grid.guess and i not in steps and grid.labels_may_be(i)]
        odd = [
            i for i in rest if grid.guess and grid.option and _NUMBERED.fullmatch(names[i]) is None
        ]
        odd = odd if len(odd) < len(rest) else []
        found = text or odd
        if len(found) > 1:
            raise DataError(
                f"{grid.path}: any of the columns {', '.join(repr(names[i]) for i in found[:5])} "
                f"may be the label; {_which(grid)}"
            )
        if found:
            label = found[0]
            notices.append(f"the column {names[label]!r} is used as the label")
        elif grid.option and labelled:
            notices.append(f"found no label column; if there is one, {_name_it()}")
    values = [i for i in rest if i != label]
    channels, stems = _channels(grid, values)
    called = None
    for i in ids:
        cells = tuple(cell.strip() for cell in grid.column(i))
        if len(set(cells)) < len(cells):
            notices.append(f"the column {names[i]!r} repeats and is left out: every row is a case")
        elif called is None:
            called = cells
            notices.append(f"the column {names[i]!r} names the cases")
    labels = None
    if label is not None:
        labels = labels_in(grid.column(label), grid.places, grid.path, grid.decimal)
    series = [
        np.stack([grid.numbers(i, columns) for columns in channels])
        for i in range(len(grid.places))
    ]
    for columns in channels:
        notices += grid.points(columns)
    return CaseFile(series, labels, channels=stems, notices=tuple(notices), ids=called)


def _which(grid: CaseGrid) -> str:
    """What to do if several columns may be the label."""
    if not grid.option:
        return "leave out what is no value"
    return advice(
        "pass the right one as label_col (--label_col), one that names the cases as id_col "
        "(--id_col), and others as ignored_cols (--ignored_cols)",
        "leave out what is no value",
        "choose the right one as the column of labels, 'id' for one that names the recordings, and "
        "'not used' for others",
    )


def _name_it() -> str:
    """How to say which column is the label."""
    named = "name it 'label' in the header line"
    return advice(f"pass its name as label_col (--label_col), or {named}", named)


def check_numbered(names: Sequence[str], place: str, option: bool = False) -> None:
    """Reject columns that are not numbered among others that are; `option` is whether the caller
    can say what they are.

    Raises
    ------
    DataError
        If so: they may be labels, or facts about the cases.
    """
    steps = steps_among(names)
    others = [name for name, part in zip(names, _parts(names), strict=True) if part is None]
    if others and steps:
        known = "leave them out, name the column of case numbers 'case_id', or number them too"
        if option:
            known = advice(
                "pass them as ignored_cols (--ignored_cols), the column of case names as id_col "
                "(--id_col), or number them too",
                known,
                "choose 'not used' for them, or 'id' for the one that names the recordings, or "
                "number them too",
            )
        raise DataError(
            f"{place}: the columns {', '.join(map(repr, others[:5]))} are not numbered like "
            f"{names[min(steps)]!r}, so they may not be time steps; "
            + advice(known, f"{known}; if the first line is a case, {_WITH_HEADER}", known)
        )


def _parts(names: Sequence[str]) -> list[re.Match[str] | None]:
    """The stem and the number of names such as x_1, or of those such as 1_x if there are none."""
    parts = [_NUMBERED.fullmatch(name) for name in names]
    return parts if any(parts) else [_NUMBER_FIRST.fullmatch(name) for name in names]


def steps_among(names: Sequence[str]) -> set[int]:
    """Which names have several numbers of one stem: those of steps, whatever their cells are."""
    parts = _parts(names)
    stems = Counter(stem for stem, _ in {(p["stem"], int(p["number"])) for p in parts if p})
    return {i for i, part in enumerate(parts) if part and stems[part["stem"]] > 1}


def _channels(grid: CaseGrid, values: list[int]) -> tuple[list[list[int]], tuple[str, ...] | None]:
    """The columns of each channel, from their names (x_0, ..., y_0, ...), or a single channel with
    all columns."""
    assert grid.names is not None
    path = grid.path
    if not values:
        raise DataError(f"{path}: expected numeric columns besides the label, found none; add one")
    called = [grid.names[i] for i in values]
    check_numbered(called, str(path), grid.option)
    parts = _parts(called)
    columns: dict[str, dict[int, int]] = {}
    for i, part in zip(values, parts, strict=True):
        if part is not None:
            columns.setdefault(part["stem"], {})[int(part["number"])] = i
    counted = {stem: one for stem, one in columns.items() if len(one) > 1}
    steps = {tuple(sorted(one)) for one in columns.values()}
    if len(counted) > 1 and len(steps) > 1:
        raise DataError(
            f"{path}: the channels {', '.join(map(repr, list(counted)[:5]))} are numbered "
            "differently; give all the same steps, with empty cells where values are missing"
        )
    if (
        len(steps) > 1
        or len(counted) < len(columns)
        or sum(map(len, columns.values())) < len(values)
    ):
        return [values], None
    ordered = [[one[k] for k in sorted(one)] for one in columns.values()]
    return ordered, tuple(columns) if len(columns) > 1 else None


# --- long form -----------------------------------------------------------------------------------


def _long(
    grid: CaseGrid,
    case: int,
    time: list[int],
    strong: list[int],
    left_out: set[int],
    labelled: bool,
) -> CaseFile:
    assert grid.names is not None
    names = grid.names
    numbers: dict[str, int] = {}
    of = np.array([numbers.setdefault(cell.strip(), len(numbers)) for cell in grid.column(case)])
    if missing := [
        i for i, cell in enumerate(grid.column(case)) if cell.strip().lower() in MISSING
    ]:
        raise DataError(
            f"{grid.path}, {grid.places[missing[0]]}: the case id in column {names[case]!r} is "
            "missing; every row needs one"
        )
    members = [np.flatnonzero(of == i) for i in range(len(numbers))]
    rest = [i for i in range(len(names)) if i not in (case, *time, *left_out)]
    notices = [f"rows with the same {names[case]!r} form one case"]
    label = _label_of_cases(grid, members, rest, strong, notices)
    if label is None and grid.option and labelled:
        notices.append(f"found no label column; if there is one, {_name_it()}")
    values = [i for i in rest if i != label]
    if not values:
        raise DataError(f"{grid.path}: expected columns besides the label, found none; add one")
    places = [grid.places[rows[0]] for rows in members]
    series = [
        np.stack([grid.numbers(i, values) for i in rows.tolist()], axis=1) for rows in members
    ]
    for at in values:
        notices += grid.points([at])
    if time:
        texts = [cell.strip() for cell in grid.column(time[0])]
        stamps = [[[texts[i] for i in rows]] * len(values) for rows in members]
        series, said = on_equal_steps(stamps, [list(one) for one in series], places, grid.path)
        notices += said
    labels = None
    if label is not None:
        texts = grid.column(label)
        labels = labels_in([texts[rows[0]] for rows in members], places, grid.path, grid.decimal)
    channels = tuple(names[i] for i in values)
    return CaseFile(series, labels, None, channels, tuple(notices), tuple(numbers))


def _label_of_cases(
    grid: CaseGrid,
    members: list[np.ndarray],
    rest: list[int],
    strong: list[int],
    notices: list[str],
) -> int | None:
    """The label column, which is constant within each case."""
    assert grid.names is not None

    def differs(at: int) -> int | None:
        cells = [cell.strip() for cell in grid.column(at)]
        for rows in members:
            other = [i for i in rows if cells[i] != cells[rows[0]]]
            if other:
                return int(other[0])
        return None

    if strong:
        row = differs(strong[0])
        if row is not None:
            raise DataError(
                f"{grid.path}, {grid.places[row]}: the label in column {grid.names[strong[0]]!r} "
                "differs from earlier rows of the same case; correct it, or rename the column if "
                "it is not the label"
            )
        return strong[0]
    constant = [i for i in rest if grid.guess and differs(i) is None]
    text = [i for i in constant if not grid.numeric(i)]
    found = text if len(text) == 1 else constant
    if len(found) > 1:
        names = ", ".join(repr(grid.names[i]) for i in found[:5])
        raise DataError(
            f"{grid.path}: the columns {names} are constant within each case, and any may be the "
            f"label; {_which(grid)}"
        )
    if not found:
        return None
    notices.append(f"the column {grid.names[found[0]]!r} is used as the label")
    return found[0]
