"""Split Parquet files into parts of whole series, with the rows ahead of them in other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convtimenet.bulk.places import Place, parquet_module
from convtimenet.bulk.runs import (
    BATCH,
    Piece,
    Runs,
    damaged,
    facts_of,
    opened,
    plain_ids,
    read_runs,
)
from convtimenet.data.agreement import Labels, match_ids
from convtimenet.data.shared_types import SharedTypes
from convtimenet.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Part", "Plan", "column_names", "plan_parts", "read_part", "read_pieces"]


@dataclass(frozen=True)
class Part:
    """Whole series: rows of one file, or of several files that follow each other."""

    name: str
    """As "part-000012"; the same whenever the same files are split in the same way."""
    series: int
    rows: int
    pieces: tuple[Piece, ...]
    ahead: tuple[Piece, ...] = ()
    """Where the rows ahead of these series are, if the model reads them."""


@dataclass(frozen=True)
class Plan:
    """The parts of a source, and what it was when they were made."""

    files: tuple[dict[str, Any], ...]
    """Path, size in bytes and time of change of each file."""
    parts: tuple[Part, ...]


def plan_parts(
    source: Place,
    id_col: str,
    rows: int,
    verbose: int = 0,
    future: Place | None = None,
    wanted: tuple[Sequence[str] | None, Sequence[str] | None] = ((), ()),
    known: Labels | None = None,
) -> Plan:
    """Split a source into parts of whole series.

    Parameters
    ----------
    source, id_col
        As for `convtimenet.bulk.runs.read_runs`.
    rows
        Rows of a part: one ends with the series in which that many are reached, so that no series
        is cut.
    future
        Another source, with rows ahead of the series, in the same order of series. It may lack some
        and hold others.
    wanted
        Columns of `source` and of `future`, as for `read_runs`.
    known
        The ids of the model's series.

    Raises
    ------
    DataError
        As `read_runs`; if several ids match one series of the model; if `future` has none of the
        series, or has them in another order.
    """
    runs = read_runs(source, id_col, verbose, wanted[0])
    if known is not None:
        _check_alike(runs, known, source)
    starts = np.concatenate(runs.starts)
    begins = np.flatnonzero(np.diff(starts // rows, prepend=-1))  # each the first series of a part
    ends = np.append(begins[1:], len(starts))
    bounds = np.append(starts, runs.rows)
    ahead: list[tuple[Piece, ...]] = [()] * len(begins)
    if future is not None:
        plan = read_runs(future, id_col, verbose, wanted[1])
        ahead = _rows_ahead(runs, begins, ends, plan, future)
    parts = []
    for number, (first, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        start, stop = int(bounds[first]), int(bounds[end])
        pieces = runs.pieces(start, stop)
        name = f"part-{number:06d}"
        parts.append(Part(name, end - first, stop - start, pieces, ahead[number]))
    return Plan(facts_of(runs.files), tuple(parts))


def _check_alike(runs: Runs, known: Labels, source: Place) -> None:
    """Check that no two ids match one series of the model, whether or not they come into one part:
    `match_ids` refuses that for a frame. An id that could be any of several is its part's matter.
    """
    taken: dict[int, Any] = {}
    for ids in runs.ids:
        for one in plain_ids([ids]).to_pylist():
            found = known.find(one)
            if len(found) != 1:
                continue
            other = taken.setdefault(found[0], one)
            if other is not one:
                match_ids(np.array([other, one], dtype=object), known, str(source))


def _rows_ahead(
    runs: Runs, begins: np.ndarray, ends: np.ndarray, plan: Runs, future: Place
) -> list[tuple[Piece, ...]]:
    """The rows of a plan from the first to the last of series [begin, end), for each of several
    ranges; for one without any, the first row, so that its columns are known."""
    ids, known = plain_ids(runs.ids), plain_ids(plan.ids)
    at = _matched(ids, known)
    there = np.flatnonzero(at >= 0)
    if not len(there):
        raise DataError(
            f"{future}: expected rows ahead of the series to forecast, such as {ids[0].as_py()!r}, "
            f"found none, but rows of {known[0].as_py()!r}; write the ids as they are there"
        )
    back = np.flatnonzero(np.diff(at[there]) < 0)
    if len(back):
        before, after = (ids[int(there[back[0] + i])].as_py() for i in (0, 1))
        raise DataError(
            f"{future}: expected the series in the order of those to forecast, found {after!r} "
            f"before {before!r}; sort both by {runs.id_col!r} and time, and let the names of the "
            "files have the same order"
        )
    bounds = np.append(np.concatenate(plan.starts), plan.rows)
    found = []
    for first, end in zip(begins, ends, strict=True):
        own = at[first:end]
        own = own[own >= 0]
        rows = (int(bounds[own[0]]), int(bounds[own[-1] + 1])) if len(own) else (0, 1)
        found.append(plan.pieces(*rows))
    return found


def _matched(ids: Any, known: Any) -> np.ndarray:
    """The number in `known` of each id, -1 for none: of the same id, else of one with the same
    value, such as 1 for "01", as `match_ids` finds them for a frame."""
    import pyarrow as pa
    from pyarrow import compute

    pc: Any = compute  # its functions are generated at import, unknown to type checkers
    at = np.full(len(ids), -1)
    for of in (ids.type, pa.string()):
        try:
            found = pc.index_in(ids.cast(of), value_set=known.cast(of))
        except pa.ArrowException:  # ids of different types
            continue
        at = found.fill_null(-1).to_numpy().astype(np.int64)
        break
    lost = np.flatnonzero(at < 0)
    free = np.setdiff1d(np.arange(len(known)), at)
    if len(lost) and len(free):
        labels = Labels(ids.take(pa.array(lost)).to_pylist())
        for number, one in zip(free, known.take(pa.array(free)).to_pylist(), strict=True):
            found = labels.find(one)
            if len(found) == 1:
                at[lost[found[0]]] = number
    return at


def read_part(part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a part, of these columns or of all.

    Raises
    ------
    DataError
        If a file is damaged, or changed since it was split.
    """
    found = read_pieces(part.pieces, columns)
    assert len(found) == part.rows
    return found


def read_pieces(pieces: Sequence[Piece], columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of several files as one table, of these columns or of all.

    Raises
    ------
    DataError
        If a file is damaged, or they do not go together.
    """
    import pyarrow as pa

    parquet = parquet_module()
    tables = []
    for piece in pieces:
        with opened(piece.file, parquet) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            groups = np.flatnonzero((ends > piece.start) & (ends - sizes < piece.stop)).tolist()
            wanted = None
            if columns is not None:
                wanted = [name for name in columns if name in file.schema_arrow.names]
            at = int(ends[groups[0]] - sizes[groups[0]]) if groups else 0
            batches = []
            try:
                for batch in file.iter_batches(
                    BATCH, row_groups=groups, columns=wanted, use_threads=False
                ):
                    first, last = max(piece.start - at, 0), min(piece.stop - at, len(batch))
                    if last > first:
                        batches.append(batch.slice(first, last - first))
                    at += len(batch)
            except (pa.ArrowException, OSError) as error:
                raise damaged(piece.file.place, error) from error
            schema = batches[0].schema if batches else file.schema_arrow
        table = pa.Table.from_batches(batches, schema)
        for one in piece.columns:
            if (columns is None or one.name in columns) and one.name not in table.column_names:
                table = table.append_column(one.name, one.values(len(table)))
        tables.append(table)
    try:
        return pa.concat_tables(_alike(tables, pieces), promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"{pieces[0].file} to {pieces[-1].file}: the files do not go together: {error}; write "
            "their columns with the same types"
        ) from error


def _alike(tables: list[pa.Table], pieces: Sequence[Piece]) -> list[pa.Table]:
    """Tables with the same types in the columns that all have."""
    import pyarrow as pa

    if all(table.schema == tables[0].schema for table in tables):
        return tables
    shared = SharedTypes(set.intersection(*(set(table.column_names) for table in tables)))
    for piece, table in zip(pieces, tables, strict=True):
        shared.add(piece.file, {one.name: one.type for one in table.schema})
    return [
        table.cast(
            pa.schema([(one.name, shared.of.get(one.name, one.type)) for one in table.schema])
        )
        for table in tables
    ]


def column_names(piece: Piece) -> list[str]:
    """The columns of a piece, without those from the names of folders if the file has its own.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    with opened(piece.file, parquet_module()) as file:
        return list(dict.fromkeys([*file.schema_arrow.names, *(one.name for one in piece.columns)]))
