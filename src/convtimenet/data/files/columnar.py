"""Read Parquet, Feather and Arrow files with pyarrow: one, or several that are one table."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from convtimenet.data.files.raw import check_size
from convtimenet.data.shared_types import SharedTypes, common_type
from convtimenet.errors import DataError, MissingExtraError
from convtimenet.files.found import (
    ARROW,
    NO_FILE,
    PARQUET,
    are_whole,
    files_of,
    fixed_part,
    is_address,
    is_seen,
    own_path,
)

__all__ = ["Needed", "open_dataset", "read_arrow_table", "record_batches"]

Needed = Callable[[Collection[str], Mapping[str, bool]], set[str]]
"""Given the columns that all files have, and of the others whether they hold numbers: which of
these others are needed."""

_BATCH = 2**16  # rows
_MISSING = "__HIVE_DEFAULT_PARTITION__"


def read_arrow_table(path: str | Path, several: bool, needed: Needed | None = None) -> Any:
    """Read a file, or several, as a pyarrow table.

    Parameters
    ----------
    several
        Whether the path is a folder, a glob pattern or a URL.
    needed
        As for `open_dataset`.

    Raises
    ------
    DataError
        If it is damaged, holds more than may be read, or the columns of its files differ.
    MissingExtraError
        If pyarrow is not installed.
    """
    if several:
        dataset = open_dataset(path, needed)
        with _readable(path, _kind(dataset)):
            return dataset.to_table()
    kind = _kind_of(path)
    pa = _pyarrow(kind)
    from pyarrow import dataset, feather, ipc, parquet

    with _readable(path, kind):
        if kind == "Parquet":
            stated = parquet.ParquetFile(path)
            _check_stated(path, stated.metadata.num_rows, stated.schema_arrow)
            return parquet.read_table(path)
        try:
            found = dataset.dataset(path, format="ipc")
            _check_stated(path, found.count_rows(), found.schema)
            return feather.read_table(path)
        except pa.ArrowInvalid:  # the stream format of `pa.ipc.new_stream`
            with pa.OSFile(str(path)) as file:
                return _of_stream(path, ipc.open_stream(file))


def _check_stated(path: str | Path, rows: int, schema: Any) -> None:
    """Refuse a file that says that it holds more than may be read, before it is unpacked."""
    check_size(path, rows * sum(map(_width, schema.types)))


def _width(kind: Any) -> int:
    """Bytes of a cell, those of its text not counted."""
    try:
        return max(1, kind.bit_width // 8)
    except ValueError:  # of no fixed width
        return 8


def _of_stream(path: str | Path, stream: Any) -> Any:
    """The table of a stream, which does not say how long it is."""
    import pyarrow as pa

    batches, size = [], 0
    for batch in stream:
        size += max(batch.nbytes, batch.num_rows)  # nulls take no bytes
        check_size(path, size)
        batches.append(batch)
    return pa.Table.from_batches(batches, stream.schema)


def open_dataset(path: str | Path, needed: Needed | None = None) -> Any:
    """A file, the files of a folder, of a glob pattern or of a URL, in the order of their names, as
    a `pyarrow.dataset.Dataset`. Folders named key=value are columns, unless the files have them;
    files without rows are left out.

    Parameters
    ----------
    needed
        Which of the columns are needed that only some files have, or with types that do not go
        together; the others are left out. None for all.

    Raises
    ------
    DataError
        If there is no such file, one is damaged, or needed columns differ.
    MissingExtraError
        If pyarrow, or the package for a protocol, is not installed.
    """
    text = os.fspath(path)
    pa = _pyarrow("Parquet")
    from pyarrow import dataset

    path = own_path(text)
    filesystem, base, files = _remote(text) if is_address(path) else _local(path)
    kind = _kind_of(files[0])

    how = {"filesystem": filesystem, "format": {"Parquet": "parquet", "Arrow": "ipc"}[kind]}
    with _readable(path, kind):
        own = {*dataset.dataset(files[:1], **how).schema.names}
        values = {} if base is None else _folder_values(files, base)
        texts = {
            name: pa.array(of, pa.string())
            for name, of in values.items()
            if not of or not are_whole(of)
        }
        keys = [
            (name, pa.dictionary(pa.int32(), pa.string()) if name in texts else pa.int64())
            for name in values
            if name not in own
        ]
        hive = dataset.HivePartitioning(pa.schema(keys), dictionaries=texts)
        found = dataset.dataset(files, **how, partitioning=hive, partition_base_dir=base)
        fragments = list(found.get_fragments())
        fragments = [one for one in fragments if one.count_rows()] or fragments
        types, left = _shared(fragments, needed)
        types |= {name: of for name, of in keys if name not in types and name not in left}
        return dataset.FileSystemDataset(
            fragments, pa.schema([*types.items()]), found.format, filesystem
        )


def record_batches(
    dataset: Any,
    path: str | Path,
    columns: Sequence[str] | None = None,
    first: int = 0,
    end: int | None = None,
) -> Iterator[Any]:
    """Rows [first, end) of `open_dataset` in order, as `pyarrow.RecordBatch` objects of a bounded
    size; one row group of a Parquet file is in memory at a time, and those before and after these
    rows are not read.

    Raises
    ------
    DataError
        If a file is damaged.
    """
    from pyarrow.dataset import ParquetFragmentScanOptions, Scanner

    options: dict[str, Any] = {}
    if _kind(dataset) == "Parquet":
        options["fragment_scan_options"] = ParquetFragmentScanOptions(pre_buffer=False)
    at = 0
    with _readable(path, _kind(dataset)):
        for fragment, rows in _fragments(dataset):
            if at + rows > first and (end is None or at < end):
                start = at
                for batch in Scanner.from_fragment(
                    fragment,
                    schema=dataset.schema,
                    columns=columns,
                    batch_size=_BATCH,
                    batch_readahead=0,
                    fragment_readahead=0,
                    use_threads=False,
                    **options,
                ).to_batches():
                    a, b = max(first - start, 0), len(batch)
                    start += b
                    b = b if end is None else min(b, b - (start - end))
                    if a < b:
                        yield batch.slice(a, b - a)
            at += rows


def _fragments(dataset: Any) -> Iterator[tuple[Any, int]]:
    """The row groups of Parquet files, or whole files, and their numbers of rows."""
    for fragment in dataset.get_fragments():
        if _kind(dataset) != "Parquet":
            yield fragment, fragment.count_rows()
            continue
        for group in fragment.row_groups:
            yield fragment.subset(row_group_ids=[group.id]), group.num_rows


@contextmanager
def _readable(path: str | Path, kind: str) -> Iterator[None]:
    """Explain errors of reading files of a kind, "Parquet" or "Arrow"."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: not readable as {kind}: {error}; write it again (of several files, all with "
            "the same types), or save the table as .csv"
        ) from error


def _kind_of(path: str | Path) -> str:
    return "Parquet" if Path(path).suffix.lower() in PARQUET else "Arrow"


def _kind(dataset: Any) -> str:
    return "Parquet" if dataset.format.default_extname == "parquet" else "Arrow"


def _pyarrow(kind: str) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        what = f"reading a{'n' if kind == 'Arrow' else ''} {kind} file"
        raise MissingExtraError("pyarrow", "parquet", what) from error
    return pa


def _local(text: str) -> tuple[Any, str | None, list[str]]:
    """The file system, the folder that key=value folders are below, and the files, of a path."""
    from pyarrow.fs import LocalFileSystem

    path = Path(text).expanduser()
    if path.is_file():
        return LocalFileSystem(), None, [str(path)]
    base, found = files_of(path.as_posix())
    return LocalFileSystem(), base, _tables(text, {*found}, base)


def _remote(text: str) -> tuple[Any, str | None, list[str]]:
    """`_local` for a URL."""
    import fsspec
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    try:
        filesystem, path = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as error:
        raise DataError(f"{text}: {error}; install that package, or give a local path") from error
    try:
        named, folders, base = [], [path], path
        if filesystem.isfile(path):
            named, folders, base = [path], [], None
        elif not filesystem.isdir(path):
            found, base = filesystem.glob(path), fixed_part(path)
            named = [one for one in found if filesystem.isfile(one)]
            folders = [one for one in found if filesystem.isdir(one)]
        found = [
            _followed(of, one)
            for of in folders
            for one in filesystem.find(of, detail=True).values()
        ]
    except OSError as error:
        raise DataError(f"{text}: not readable: {error}; check the address and access") from error
    return PyFileSystem(FSSpecHandler(filesystem)), base, _tables(text, {*named, *found}, base)


def _followed(folder: str, info: dict[str, Any]) -> str:
    """The name of a file below a folder of fsspec.

    Raises
    ------
    DataError
        If it is a link, or neither file nor folder, and seen: rows may be behind it.
    """
    name = info["name"]
    if info["type"] != "file" and is_seen(name[len(folder) :]):
        raise DataError(NO_FILE.format(name))
    return name


def _tables(text: str, found: set[str], base: str | None) -> list[str]:
    """The files of a table in the order of their names, without those that are not seen."""
    files = sorted(one for one in found if base is None or is_seen(one[len(base) :]))
    kinds = sorted({Path(one).suffix.lower() for one in files})
    if not files:
        raise DataError(f"{text}: there is no such file; check the path")
    if not ({*kinds} <= {*PARQUET} or {*kinds} <= {*ARROW}):
        raise DataError(
            f"{text}: expected .parquet files, or .arrow, .feather or .ipc files, found "
            f"{', '.join(repr(kind) for kind in kinds)}; give a pattern such as folder/*.parquet"
        )
    return files


def _folder_values(files: Sequence[str], base: str) -> dict[str, list[str]]:
    """The values of key=value folders, each once, by key."""
    below = (one[len(base) :].replace("\\", "/").split("/")[:-1] for one in files)
    found: dict[str, dict[str, None]] = {}
    for key, equals, value in (part.partition("=") for parts in below for part in parts):
        if key and equals:
            known = found.setdefault(unquote(key), {})
            if value != _MISSING:
                known[unquote(value)] = None
    return {key: [*known] for key, known in found.items()}


def _shared(
    fragments: Sequence[Any], needed: Needed | None
) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of the columns of files that suit all of them, in the order of the first, and the
    columns that only some have, or with types that do not go together, and that are left out."""
    from pyarrow import types

    files = [(one.path, {of.name: of.type for of in one.physical_schema}) for one in fragments]
    known: dict[str, list[Any]] = {}
    for _, found in files:
        for name, of in found.items():
            known.setdefault(name, []).append(of)
    common = {
        name
        for name, found in known.items()
        if len(found) == len(files) and reduce(_common, found) is not None
    }
    numbers = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    others = {
        name: all(any(a_number(of) for a_number in numbers) for of in found)
        for name, found in known.items()
        if name not in common
    }
    wanted = common | (needed(common, others) if others and needed else {*others})
    shared = SharedTypes(wanted)
    for file, found in files:
        shared.add(file, found)
    return shared.of, frozenset(known.keys() - wanted)


def _common(one: Any, other: Any) -> Any:
    return None if one is None else common_type(one, other)
