"""The series of Parquet files, found by reading only their id column.

The id column is read batch by batch; what is kept is one id and one number per series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convtimenet.bulk.places import (
    Place,
    Stored,
    check_unchanged,
    file_system,
    parquet_files,
    parquet_module,
)
from convtimenet.data.shared_types import SharedTypes
from convtimenet.errors import DataError
from convtimenet.files.found import PARQUET, are_whole
from convtimenet.progress import showing
from convtimenet.wording import listing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BATCH",
    "FolderColumn",
    "Piece",
    "Runs",
    "damaged",
    "facts_of",
    "opened",
    "plain_ids",
    "read_runs",
    "series_starts",
    "source_facts",
]

BATCH = 2**18
"""Rows in memory at a time, of the id column or of a part that is read."""


class FolderColumn(NamedTuple):
    """A column from the names of a file's folders."""

    name: str
    value: int | str | None
    whole: bool
    """Whether its values are whole numbers, in every file."""

    def values(self, rows: int) -> pa.Array:
        import pyarrow as pa

        return pa.repeat(pa.scalar(self.value, pa.int64() if self.whole else pa.string()), rows)


@dataclass(frozen=True)
class Piece:
    """Rows [start, stop) of a file."""

    file: Stored
    start: int
    stop: int
    columns: tuple[FolderColumn, ...] = ()


def source_facts(source: Place) -> tuple[dict[str, Any], ...]:
    """Path, size in bytes and time of change (`Stored`) of each file of a source.

    Raises
    ------
    DataError
        If there are none.
    """
    return facts_of([one for one, _ in parquet_files(source)])


def facts_of(files: Sequence[Stored]) -> tuple[dict[str, Any], ...]:
    """Path, size in bytes and time of change (`Stored`) of each file."""
    return tuple(
        {"file": one.place.path, "bytes": one.size, "changed": one.changed} for one in files
    )


def read_runs(
    source: Place, id_col: str, verbose: int = 0, wanted: Sequence[str] | None = ()
) -> Runs:
    """The series of a source, each one run of rows.

    Parameters
    ----------
    source
        A Parquet file, a folder of them (also with partitions such as ``region=eu/``) or a pattern.
    id_col
        The column with the series ids.
    wanted
        Columns that all files must have if one of them has it, with types that go together, None
        for any column (`SharedTypes`).

    Raises
    ------
    DataError
        If a file is damaged or has no such column, types do not go together, an id is missing, or
        the rows of a series are in two places; the message names it. If there are no rows.
    """
    files = parquet_files(source)
    typed = _typed([columns for _, columns in files])
    runs = Runs(id_col, wanted)
    with showing("reading ids", verbose, busy=True) as task:
        task.expect(sum(one.size for one, _ in files))
        for (one, _), columns in zip(files, typed, strict=True):
            runs.read(one, columns)
            task.advance(one.size)
    if not runs.rows:
        raise DataError(f"{source}: expected rows, found none; give files with at least one series")
    runs.check()
    return runs


def series_starts(ids: Any) -> np.ndarray:
    """The row of each series' first row, (S,), in an id column with each series in one run."""
    import pyarrow as pa

    codes, _ = _coded(ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids)
    return np.flatnonzero(np.diff(codes, prepend=-2))


class Runs:
    """Runs of equal ids over all files, one after the other."""

    def __init__(self, id_col: str, wanted: Sequence[str] | None = ()):
        self.id_col = id_col
        self.types = SharedTypes(wanted)
        """Of the wanted columns of the files with rows, whether or not these come into one part."""
        self.files: list[Stored] = []
        self.offsets: list[int] = []
        """The first row of each file, counted through all files."""
        self.ends: list[int] = []
        self.columns: list[tuple[FolderColumn, ...]] = []
        self.starts: list[np.ndarray] = []
        """The first rows of the runs."""
        self.ids: list[Any] = []
        """The ids of the runs, as arrays of pyarrow."""
        self.rows = 0
        self.last: Any = None

    def read(self, file: Stored, columns: tuple[FolderColumn, ...]) -> None:
        """Add a file."""
        import pyarrow as pa

        parquet = parquet_module()
        self.files.append(file)
        self.columns.append(columns)
        self.offsets.append(self.rows)
        with opened(file, parquet, dictionary=self.id_col) as read:
            own, rows = read.schema_arrow.names, read.metadata.num_rows
            if self.id_col in own and _nested(kind := read.schema_arrow.field(self.id_col).type):
                raise DataError(
                    f"{file}: expected ids as text or whole numbers in {self.id_col!r}, found "
                    f"{kind}; write them as text"
                )
            others = {one.name: one for one in columns}
            if rows:
                folders = {one.name: one.values(0).type for one in columns}
                types = {one.name: one.type for one in read.schema_arrow}
                self.types.add(file.place, folders | types)
            if self.id_col in own:
                try:
                    for batch in read.iter_batches(BATCH, columns=[self.id_col], use_threads=False):
                        self._add(batch.column(0))
                except (pa.ArrowException, OSError) as error:
                    raise damaged(file.place, error) from error
            elif self.id_col in others:
                if rows:
                    self._add(others[self.id_col].values(1), rows=rows)
            else:
                raise DataError(
                    f"{file}: expected the id column {self.id_col!r}, found the columns "
                    f"{listing([*own, *others])}; give its name as id_col"
                )
        self.ends.append(self.rows)

    def pieces(self, start: int, stop: int) -> tuple[Piece, ...]:
        """Rows [start, stop), counted through all files, as rows of each file."""
        offsets = np.array(self.offsets)
        at = range(
            int(np.searchsorted(offsets, start, "right")) - 1,
            int(np.searchsorted(offsets, stop, "left")),
        )
        return tuple(
            Piece(
                self.files[i],
                max(start, self.offsets[i]) - self.offsets[i],
                min(stop, self.ends[i]) - self.offsets[i],
                self.columns[i],
            )
            for i in at
            if min(stop, self.ends[i]) > max(start, self.offsets[i])
        )

    def _add(self, ids: Any, rows: int | None = None) -> None:
        if not len(ids):
            return
        codes, values = _coded(ids)
        if (codes < 0).any():
            row = self.rows - self.offsets[-1] + int(np.argmax(codes < 0))
            raise DataError(
                f"{self.files[-1]}: expected an id in every row, found none in row {row} of "
                f"{self.id_col!r}; add it or leave the row out"
            )
        starts = np.flatnonzero(np.diff(codes, prepend=-2))
        found = values.take(codes[starts])
        if self.ids and found.type != self.ids[0].type:
            found = self._cast(found)
        first = found[0].as_py()
        if self.ids and first == self.last:
            starts, found = starts[1:], found[1:]
        if len(starts):
            self.starts.append(starts + self.rows)
            self.ids.append(found)
            self.last = found[-1].as_py()
        self.rows += len(codes) if rows is None else rows

    def _cast(self, ids: Any) -> Any:
        import pyarrow as pa

        try:
            return ids.cast(self.ids[0].type)
        except pa.ArrowException as error:
            raise DataError(
                f"{self.files[-1]}: expected ids of the type {self.ids[0].type}, as in "
                f"{self.files[0]}, found {ids.type}; write all files with one type"
            ) from error

    def check(self) -> None:
        """Check that every series is one run."""
        from pyarrow import compute as pc

        ids = plain_ids(self.ids)
        counted: Any = pc.value_counts(ids)  # pyright: ignore[reportAttributeAccessIssue]
        if len(counted) == len(ids):
            return
        which = int(np.argmax(counted.field("counts").to_numpy() > 1))
        series = counted.field("values")[which]
        places = np.flatnonzero(pc.equal(ids, series).to_numpy())  # pyright: ignore[reportAttributeAccessIssue]
        starts = np.concatenate(self.starts)
        name = _at(self.ids, int(places[0]))
        where = []
        for start in starts[places[:2]].tolist():
            file = int(np.searchsorted(self.offsets, start, "right")) - 1
            where.append(f"row {start - self.offsets[file]} of {self.files[file]}")
        raise DataError(
            f"expected the rows of each series one after the other, found {name!r} in "
            f"two places: from {where[0]} and from {where[1]}; sort the rows by "
            f"{self.id_col!r} and time, and let the names of the files have the same order"
        )


def _coded(ids: Any) -> tuple[np.ndarray, Any]:
    """Ids as numbers (-1 where missing), and the distinct ids."""
    import pyarrow as pa

    of = ids.type
    ids = ids.storage if isinstance(ids, pa.ExtensionArray) else ids
    if not isinstance(ids, pa.DictionaryArray):
        ids = ids.dictionary_encode()
    codes, values = ids.indices, ids.dictionary
    if codes.null_count:
        codes = codes.fill_null(-1)
    if isinstance(of, pa.BaseExtensionType):
        values = pa.ExtensionArray.from_storage(of, values)
    return codes.to_numpy(zero_copy_only=False).astype(np.int64), values


def plain_ids(ids: Sequence[Any]) -> Any:
    """Arrays of ids as one, with the values that an extension type such as arrow.uuid stands on:
    few of pyarrow's functions take such a type."""
    import pyarrow as pa

    return pa.chunked_array(
        [one.storage if isinstance(one, pa.ExtensionArray) else one for one in ids]
    )


def _at(ids: Sequence[Any], number: int) -> Any:
    """An id, as the object that its type stands for."""
    for one in ids:
        if number < len(one):
            return one[number].as_py()
        number -= len(one)
    raise IndexError(number)


def _nested(of: Any) -> bool:
    """Whether values of a type hold several values."""
    import pyarrow as pa

    return pa.types.is_nested(of.storage_type if isinstance(of, pa.BaseExtensionType) else of)


@contextmanager
def opened(file: Stored, parquet: Any, dictionary: str | None = None) -> Iterator[Any]:
    """An open Parquet file, which is the one that was found as long as the block lasts.

    Raises
    ------
    DataError
        If it is missing, damaged, or changes before the block has ended.
    """
    import pyarrow as pa

    check_unchanged(file)
    try:
        try:
            source = file_system(file.place).open_input_file(file.place.path)
            found = parquet.ParquetFile(source)
            names = found.schema_arrow.names
            if dictionary in names and not _nested(found.schema_arrow.field(dictionary).type):
                # texts that repeat are read once
                found = parquet.ParquetFile(
                    source, metadata=found.metadata, read_dictionary=[dictionary]
                )
        except (pa.ArrowException, OSError) as error:
            raise damaged(file.place, error) from error
        with source, found:
            yield found
    finally:
        check_unchanged(file)  # which explains an error, too


def damaged(file: Place, error: BaseException) -> DataError:
    text = str(error).strip().splitlines()[0]
    remedy = "write the file again"
    if not file.path.lower().endswith(PARQUET):
        remedy = "convert it to Parquet, or use `convtimenet forecast FILE --load MODEL`"
    return DataError(f"{file}: not readable as Parquet: {text}; {remedy}")


def _typed(columns: list[dict[str, str | None]]) -> list[tuple[FolderColumn, ...]]:
    """Columns in the names of folders: whole numbers if all known values of a column are."""
    values: dict[str, list[str]] = {}
    for one in columns:
        for name, value in one.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    whole = {name for name, texts in values.items() if are_whole(texts)}
    return [
        tuple(
            FolderColumn(name, int(text) if text and name in whole else text, name in whole)
            for name, text in one.items()
        )
        for one in columns
    ]
