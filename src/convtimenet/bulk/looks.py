"""A look at the rows of a job before it begins: whether any could be read as those of its model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from convtimenet.bulk.parts import Plan, column_names, read_pieces
from convtimenet.bulk.predictor import BulkForecaster
from convtimenet.bulk.runs import Piece, series_starts
from convtimenet.data.text.numbers import is_missing
from convtimenet.errors import ConvTimeNetError, DataError
from convtimenet.progress import quiet
from convtimenet.wording import written_for

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["check_rows"]

_PLACES = 16
_ROWS = 1000
"""Rows at a place, at most."""


def check_rows(forecaster: BulkForecaster, plan: Plan) -> None:
    """Check that the model can read rows of a source, at one of several places spread over it.

    What is wrong with single series is their parts' matter: a place is also right if one of its
    rows is, alone, or if none of them has all its values.

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
            table = read_pieces([piece], forecaster.columns(column_names(piece)))
            starts = series_starts(table[forecaster.id_name])
            table = table[: int(starts[1])] if len(starts) > 1 else table
            if _error(forecaster, table) is None or not len(one := _complete(table)):
                return
            error = _error(forecaster, one)
            if error is None:
                return
            first = first or (piece, error)
    assert first is not None
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
