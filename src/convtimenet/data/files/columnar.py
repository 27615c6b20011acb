"""Read Parquet, Feather and Arrow files with pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convtimenet.errors import DataError, MissingExtraError


def read_arrow_table(path: Path) -> Any:
    """Read a file, or a (partitioned) folder of Parquet files, as a pyarrow table.

    Raises
    ------
    DataError
        If it is damaged.
    MissingExtraError
        If pyarrow is not installed.
    """
    parquet_file = path.is_dir() or path.suffix.lower() == ".parquet"
    kind = "Parquet" if parquet_file else "Arrow"
    try:
        import pyarrow as pa
        from pyarrow import feather, ipc, parquet
    except ImportError as error:
        what = f"reading a{'n' if kind == 'Arrow' else ''} {kind} file"
        raise MissingExtraError("pyarrow", "parquet", what) from error
    try:
        if parquet_file:
            return parquet.read_table(path)
        try:
            return feather.read_table(path)
        except pa.ArrowInvalid:  # the stream format of `pa.ipc.new_stream`
            with pa.OSFile(str(path)) as file:
                return ipc.open_stream(file).read_all()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: not readable as {kind}: {error}; write it again, or save the table as .csv"
        ) from error
