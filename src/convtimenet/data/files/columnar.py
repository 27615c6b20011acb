"""Read Parquet, Feather and Arrow files with pyarrow: one, or several that are one table."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from convtimenet.data.files.raw import check_size
from convtimenet.errors import DataError, MissingExtraError
from convtimenet.files.found import ARROW, PARQUET, is_address, is_seen

__all__ = ["open_dataset", "read_arrow_table", "record_batches"]

_BATCH = 2**16  # rows
_MISSING = "__HIVE_DEFAULT_PARTITION__"


def read_arrow_table(path: str | Path, several: bool) -> Any:
    """Read a file, or several, as a pyarrow table.

    Parameters
    ----------
    several
        Whether the path is a folder, a glob pattern or a URL.

    Raises
    ------
    DataError
        If it is damaged, holds more than may be read, or the columns of its files differ.
    MissingExtraError
        If pyarrow is not installed.
    """
    if several:
        dataset = open_dataset(path)
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


def open_dataset(path: str | Path) -> Any:
    """A file, the files of a folder, of a glob pattern or of a URL, in the order of their names, as
    a `pyarrow.dataset.Dataset`. Folders named key=value are columns, unless the files have them.

    Raises
    ------
    DataError
        If there is no such file, one is damaged, or their columns differ.
    MissingExtraError
        If pyarrow, or the package for a protocol, is not installed.
    """
    text = os.fspath(path)
    pa = _pyarrow("Parquet")
    from pyarrow import dataset

    filesystem, base, files = _remote(text) if is_address(text) else _local(text)
    kind = _kind_of(files[0])

    how = {"filesystem": filesystem, "format": {"Parquet": "parquet", "Arrow": "ipc"}[kind]}
    with _readable(path, kind):
        own = {*dataset.dataset(files[:1], **how).schema.names}
        values = {} if base is None else _folder_values(files, base)
        texts = {name: pa.array(of) for name, of in values.items() if not _whole(of)}
        keys = [
            (name, pa.dictionary(pa.int32(), pa.string()) if name in texts else pa.int32())
            for name in values
            if name not in own
        ]
        hive = dataset.HivePartitioning(pa.schema(keys), dictionaries=texts)
        found = dataset.dataset(files, **how, partitioning=hive, partition_base_dir=base)
        fragments = list(found.get_fragments())
        schema = _agreed([one.physical_schema for one in fragments], files)
        parted = [one for one in found.schema if one.name not in schema.names]
        return found.replace_schema(pa.schema([*schema, *parted]))


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
            f"{path}: not readable as {kind}: {error}; write it again, or save the table as .csv"
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
    named, folders, base = [], [str(path)], str(path)
    if not path.is_dir():
        found, base = glob.glob(str(path), recursive=True), _fixed(str(path))
        named = [one for one in found if os.path.isfile(one)]
        folders = [one for one in found if os.path.isdir(one)]
    found = [str(one) for of in folders for one in Path(of).rglob("*") if one.is_file()]
    return LocalFileSystem(), base, _tables(text, {*named, *found}, base)


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
            found, base = filesystem.glob(path), _fixed(path)
            named = [one for one in found if filesystem.isfile(one)]
            folders = [one for one in found if filesystem.isdir(one)]
        found = [one for of in folders for one in filesystem.find(of)]
    except OSError as error:
        raise DataError(f"{text}: not readable: {error}; check the address and access") from error
    return PyFileSystem(FSSpecHandler(filesystem)), base, _tables(text, {*named, *found}, base)


def _fixed(pattern: str) -> str:
    """The folder of a glob pattern before its first wildcard."""
    parts = pattern.split("/")
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return "/".join(parts[:first]) or "."


def _tables(text: str, found: set[str], base: str | None) -> list[str]:
    """The files of a table in the order of their names, without those that are not seen."""
    head = 0 if base in (None, ".") else len(base)
    files = sorted(one for one in found if base is None or is_seen(one[head:]))
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


def _whole(values: Sequence[str]) -> bool:
    """Whether all are whole numbers, none of them with zeros in front: as numbers they would lose
    them, or 01 and 1 be one."""
    return bool(values) and all(
        re.fullmatch(r"0|-?[1-9]\d*", one, re.ASCII) and abs(int(one)) < 2**31 for one in values
    )


def _agreed(schemas: Sequence[Any], files: Sequence[str]) -> Any:
    """The columns that all files have, in the order of the first.

    Raises
    ------
    DataError
        If they differ.
    """
    import pyarrow as pa

    fields = {field.name: field for field in schemas[0]}
    for schema, file in zip(schemas, files, strict=True):
        if {*schema.names} != {*fields}:
            raise DataError(
                f"{file}: expected the columns {sorted(fields)} of {files[0]}, found "
                f"{sorted(schema.names)}; write all files with the same columns"
            )
        for field in schema:
            known = fields[field.name].type
            if pa.types.is_null(known):
                fields[field.name] = field
            elif field.type != known and not pa.types.is_null(field.type):
                raise DataError(
                    f"{file}: expected the column {field.name!r} to be {known} as in {files[0]}, "
                    f"found {field.type}; write all files with the same types"
                )
    return pa.schema([*fields.values()])
