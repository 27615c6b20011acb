"""Large files of a long table, read in parts of whole series."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.data.files import check_path, is_columnar, is_several
from convtimenet.data.files.raw import machine_memory
from convtimenet.data.sources.by_role import Wanted
from convtimenet.data.sources.roles import ID_NAME
from convtimenet.errors import DataError
from convtimenet.files.found import PARQUET

__all__ = ["Parts", "PartsError", "large_table", "reappearing"]

LARGE = 2**27
"""Bytes of a table's rows, as numbers of eight bytes, from which it is read in parts."""
_SMALLEST = 64  # times that a file may grow when it is read
_CELLS = 2**20  # of a part


class PartsError(DataError):
    """The parts of a file, read one by one, do not make one table."""


@dataclass(frozen=True)
class Parts:
    """The files of a long table, in which the rows of a series follow each other.

    Iterating gives pyarrow tables of whole series, of about a million cells or of one series if it
    has more.
    """

    path: str | Path
    dataset: Any
    id_name: str

    @property
    def fits(self) -> bool:
        """Whether the file can also be read as a whole, which takes up to eight times its cells:
        they are to be at most a sixteenth of the machine's memory."""
        memory = machine_memory()
        if memory is None:
            return False
        return self.dataset.count_rows() * len(self.dataset.schema.names) * 8 * 16 <= memory

    @property
    def texts(self) -> frozenset[str]:
        """The columns that hold text."""
        import pyarrow as pa

        def of_text(kind: Any) -> bool:
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            return pa.types.is_string(kind) or pa.types.is_large_string(kind)

        return frozenset(one.name for one in self.dataset.schema if of_text(one.type))

    @property
    def plain(self) -> bool:
        """Whether the ids are text or whole numbers, which are the same ones in a `Table`."""
        import pyarrow as pa

        kind = self.dataset.schema.field(self.id_name).type
        return self.id_name in self.texts or pa.types.is_integer(kind)

    def __iter__(self) -> Iterator[Any]:
        return self._cut(None)

    def lengths(self) -> list[int]:
        """The rows of each part; only the ids are read."""
        return [len(one) for one in self._cut([self.id_name])]

    def some(self, lengths: Sequence[int], first: int, end: int) -> Iterator[Any]:
        """Parts [first, end), given the rows of all; those of others are not read."""
        from convtimenet.data.files.columnar import record_batches

        bounds = [0, *itertools.accumulate(lengths)]
        held = self._no_rows(None)
        for batch in record_batches(self.dataset, self.path, first=bounds[first], end=bounds[end]):
            held = _longer(held, batch)
            while first < end and len(held) >= lengths[first]:
                yield held[: lengths[first]].combine_chunks()
                held, first = held[lengths[first] :].combine_chunks(), first + 1

    def _no_rows(self, columns: Sequence[str] | None) -> Any:
        import pyarrow as pa

        schema = self.dataset.schema
        names = schema.names if columns is None else columns
        return pa.Table.from_batches([], pa.schema([schema.field(name) for name in names]))

    def _cut(self, columns: Sequence[str] | None) -> Iterator[Any]:
        """The parts, with all columns or these."""
        import pyarrow as pa

        from convtimenet.data.files.columnar import record_batches

        least = max(1, _CELLS // len(self.dataset.schema.names))
        held, rows, begin, last = self._no_rows(columns), 0, 0, None
        for batch in record_batches(self.dataset, self.path, columns):
            ids = _plain(batch.column(self.id_name))
            change = _last_change(ids)
            if change or ids[0] != last:
                begin = rows + change  # of the last series in the rows held
            last, rows = ids[-1], rows + len(batch)
            held = _longer(held, batch)
            if rows >= least and begin:
                yield held[:begin].combine_chunks()
                held, rows, begin = held[begin:].combine_chunks(), rows - begin, 0
        if rows:
            yield held.combine_chunks()
        del held
        pa.default_memory_pool().release_unused()


def large_table(source: Any, wanted: Wanted) -> Parts | None:
    """The source in parts, if it is a long table in files of typed columns that are large; None if
    it is to be read as a whole.

    Raises
    ------
    DataError
        If there is no such file, one is damaged, or their columns differ.
    MissingExtraError
        If pyarrow is not installed.
    """
    if not isinstance(source, (str, Path)) or not is_columnar(source):
        return None
    check_path(source)
    if not is_several(source):
        path = Path(source).expanduser()
        if path.stat().st_size * _SMALLEST < LARGE or not _can_be_parted(path):
            return None
    from convtimenet.data.files.columnar import open_dataset

    dataset = open_dataset(source, wanted.needed)
    names, id_name = dataset.schema.names, ID_NAME if wanted.id is None else wanted.id
    if id_name not in names or dataset.count_rows() * len(names) * 8 < LARGE:
        return None
    return Parts(source, dataset, id_name)


def reappearing(ids: Sequence[Any], seen: set[Any], id_name: str | None, path: Any) -> None:
    """Reject ids of a part that were `seen` in earlier ones, else add them.

    Raises
    ------
    PartsError
        If one was seen.
    """
    for one in ids:
        if one in seen:
            raise PartsError(
                f"{path}: the rows of the series {one!r} lie apart, with other series in between; "
                f"a table of this size is read series by series: write it sorted by {id_name!r} "
                "(and time), or read it into a frame yourself if it fits in memory"
            )
    seen.update(ids)


def _can_be_parted(path: Path) -> bool:
    """Whether a file is Parquet or in Arrow's file format, not a stream or Feather 1."""
    if path.suffix.lower() in PARQUET:
        return True
    with path.open("rb") as file:
        return file.read(6) == b"ARROW1"


def _longer(table: Any, batch: Any) -> Any:
    """An Arrow table with the rows of a batch behind its own."""
    import pyarrow as pa

    return pa.concat_tables([table, pa.Table.from_batches([batch], table.schema)])


def _plain(ids: Any) -> Any:
    """An Arrow array without a dictionary."""
    import pyarrow as pa

    return ids.cast(ids.type.value_type) if pa.types.is_dictionary(ids.type) else ids


def _last_change(ids: Any) -> int:
    """The first row of the last run of equal ids in an Arrow array; 0 if all are equal."""
    from pyarrow import compute

    pc: Any = compute  # its functions are generated at import, unknown to type checkers
    same = pc.fill_null(pc.equal(ids, ids[-1]), False).to_numpy(zero_copy_only=False)
    other = np.flatnonzero(~same)
    return int(other[-1]) + 1 if len(other) else 0
