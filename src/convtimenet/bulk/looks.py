"""A look at the rows of a job before it begins: whether any could be read as those of its model,
and by which rules texts are read, which must be the same for all parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from convtimenet.bulk.parts import Plan, column_names, read_pieces
from convtimenet.bulk.places import Stored, parquet_module
from convtimenet.bulk.predictor import BulkForecaster
from convtimenet.bulk.runs import BATCH, Piece, opened, series_starts
from convtimenet.data.text.numbers import decimal_of, is_missing
from convtimenet.errors import ConvTimeNetError, DataError
from convtimenet.progress import quiet
from convtimenet.wording import written_for

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["check_rows", "with_rules"]

_PLACES = 16
_ROWS = 1000
"""Rows at a place, at most."""
_DAY_AND_MONTH = re.compile(r"\D*(\d{1,2})[-/.] ?(\d{1,2})[-/.] ?\d{4}", re.ASCII)
"""The beginning of a date with both before the year."""
_YEAR = re.compile(r"\D*\d{4}", re.ASCII)
"""That of a date which begins with the year."""


def with_rules(forecaster: BulkForecaster, plan: Plan) -> BulkForecaster:
    """A forecaster that reads the texts of all parts by the same rules: those of the model, else of
    the first texts of the source that leave no choice. A part alone may leave one, or another one.
    """
    model = forecaster.loaded()
    dated = model.time_format is None and model.dayfirst is None
    marked = model.decimal is None
    rules: dict[str, Any] = {}
    pieces = [piece for part in plan.parts for piece in (*part.pieces, *part.ahead)]
    files = dict.fromkeys(piece.file for piece in pieces)
    for wanted, times, rule in ((dated, True, _dayfirst), (marked, False, _decimal)):
        if wanted:  # up to the first texts that leave no choice, which are mostly the first
            found = (rule(own) for file in files for own in _texts(forecaster, file, times))
            rules |= next((one for one in found if one is not None), {})
    return replace(forecaster, **rules)


def _dayfirst(texts: list[str]) -> dict[str, Any] | None:
    """The rule of dates, none for those that begin with the year; None if they are open."""
    for text in texts:
        if _YEAR.match(text):
            return {}
        match = _DAY_AND_MONTH.match(text)
        if match and max(int(match[1]), int(match[2])) > 12:
            return {"dayfirst": int(match[1]) > 12}
    return None


def _decimal(texts: list[str]) -> dict[str, Any] | None:
    """The decimal mark of numbers; None if they are open."""
    mark = decimal_of([texts])
    return None if mark is None else {"decimal": mark}


def _texts(forecaster: BulkForecaster, file: Stored, times: bool) -> Iterator[list[str]]:
    """The different texts of the column of a file that a forecast reads as times, or of those that
    it reads as numbers, batch by batch; none of what is damaged, which its parts say."""
    import pyarrow as pa

    model = forecaster.loaded()
    time = model.time_col or model.tail_.time_name
    reads = {*(forecaster.reads() or ()), *(forecaster.reads(ahead=True) or ())}
    others = {forecaster.id_name, *model.terms.texts}
    try:
        with opened(file, parquet_module()) as parquet:
            names = [
                one.name
                for one in parquet.schema_arrow
                if (not reads or one.name in reads) and one.name not in others
                if (one.name == time) is times
                if _is_text(one.type.value_type if pa.types.is_dictionary(one.type) else one.type)
            ]
            if not names:
                return
            for batch in parquet.iter_batches(BATCH, columns=names, use_threads=False):
                for column in batch.columns:
                    yield [text for text in column.unique().to_pylist() if text is not None]
    except (DataError, pa.ArrowException, OSError):
        return


def _is_text(of: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of)


def check_rows(forecaster: BulkForecaster, plan: Plan) -> None:
    """Check that the model can read rows of a source, at one of several places spread over it.

    What is wrong with single series or files is their parts' matter: a place is also right if one
    of its rows is, alone, or if none of them has all its values, and one in a damaged file tells
    nothing.

    Raises
    ------
    DataError
        If none is: columns are missing, times are of another kind, or numbers are words.
    """
    first: tuple[Piece, ConvTimeNetError] | None = None
    ends = np.cumsum([part.rows for part in plan.parts])
    with quiet(), written_for("client"):
        for row in np.unique(np.linspace(0, ends[-1] - 1, _PLACES).astype(int)).tolist():
            at = int(np.searchsorted(ends, row, "right"))
            piece = _piece(plan.parts[at].pieces, row - int(ends[at] - plan.parts[at].rows))
            try:
                table = read_pieces([piece], forecaster.columns(column_names(piece)))
            except DataError:
                continue
            starts = series_starts(table[forecaster.id_name])
            table = table[: int(starts[1])] if len(starts) > 1 else table
            if _error(forecaster, table) is None or not len(one := _complete(table)):
                return
            error = _error(forecaster, one)
            if error is None:
                return
            first = first or (piece, error)
    if first is not None:
        raise DataError(f"{first[0].file}: {first[1]}") from first[1]


def _piece(pieces: tuple[Piece, ...], row: int) -> Piece:
    """Some rows from one on, counted through several pieces."""
    for piece in pieces:
        start = piece.start + row
        if start < piece.stop:
            return replace(piece, start=start, stop=min(piece.stop, start + _ROWS))
        row -= piece.stop - piece.start
    raise IndexError(row)


def _error(forecaster: BulkForecaster, table: pa.Table) -> ConvTimeNetError | None:
    """What the model says to rows."""
    try:
        forecaster.loaded().adapt(table)
    except ConvTimeNetError as error:
        return error
    return None


def _complete(table: pa.Table) -> pa.Table:
    """The first row without a missing value, if there is one."""
    for at in range(len(table)):
        row: list[Any] = [column[at].as_py() for column in table.columns]
        if not any(is_missing(cell) or (isinstance(cell, float) and cell != cell) for cell in row):
            return table[at : at + 1]
    return table[:0]
