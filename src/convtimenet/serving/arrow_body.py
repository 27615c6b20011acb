"""Arrow streams from strangers: counted by their own headers, of plain types only, then validated.

A stream can claim more than it holds: a column of nulls has any length in no bytes, a compressed
buffer unpacks to any size, and views repeat one value without end. Headers are therefore read
before the batches, and such types and buffers are refused.
"""

from __future__ import annotations

import struct
from typing import Any

from convtimenet.errors import DataError, MissingExtraError
from convtimenet.serving.json_body import check_cells, check_columns

_DICTIONARY, _BATCH = 2, 3  # Message.header_type in Arrow's Message.fbs
_LONGEST_TEXT = 1000
_DAMAGED = "the body: expected an Arrow stream, found {}; write it with pyarrow.ipc.new_stream"


def read_stream(body: bytes) -> Any:
    """The table of an Arrow stream.

    Raises
    ------
    DataError
        If it is damaged, compressed, or has columns of other types.
    Refused
        If it has too many cells.
    MissingExtraError
        If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import ipc
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", "reading an Arrow stream") from error
    try:
        columns = _headers(ipc.MessageReader.open_stream(pa.py_buffer(body)))
        with ipc.open_stream(pa.py_buffer(body)) as reader:
            _check_types(reader.schema)
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, struct.error, IndexError, MemoryError) as error:
        raise DataError(_DAMAGED.format(" ".join(str(error).split())[:200])) from error
    check_cells("the table", table.num_rows * max(1, columns))
    _check_lengths(table)
    return table


def written_stream(table: Any) -> bytes:
    """A frame of pyarrow as a stream."""
    import pyarrow as pa
    from pyarrow import ipc

    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _headers(reader: Any) -> int:
    """Check what the messages of a stream claim; the number of columns.

    Raises
    ------
    DataError
        If a batch is compressed.
    Refused
        If the batches have too many rows.
    """
    rows = columns = 0
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return columns
        fields = _Fields(message.metadata.to_pybytes())
        kind = fields.number(1, "B")
        header = fields.table(2)
        if kind == _DICTIONARY:
            header = header.table(1)
        if kind not in (_DICTIONARY, _BATCH):
            continue
        if header.place(3):
            raise DataError(
                "the body: expected an Arrow stream without compressed buffers, found some; write "
                "it without compression, and send it with Content-Encoding: zstd instead"
            )
        rows += header.number(0, "q")
        if kind == _BATCH:
            columns = max(columns, header.length(1))
            check_columns("the table", columns)
        check_cells("the table", rows * max(1, columns))


class _Fields:
    """A table of a flatbuffer: where its fields are (the format's "vtable" says so)."""

    def __init__(self, data: bytes, at: int | None = None):
        self.data = data
        self.at = struct.unpack_from("<I", data, 0)[0] if at is None else at
        self.map = self.at - struct.unpack_from("<i", data, self.at)[0]
        if self.map < 0 or self.at < 0:
            raise IndexError("offsets of a message are outside of it")

    def place(self, field: int) -> int:
        """The position of a field, 0 if it is absent."""
        size = struct.unpack_from("<H", self.data, self.map)[0]
        if 4 + 2 * field >= size:
            return 0
        offset = struct.unpack_from("<H", self.data, self.map + 4 + 2 * field)[0]
        return self.at + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        """A number of the `struct` kind, 0 if it is absent."""
        place = self.place(field)
        return struct.unpack_from("<" + kind, self.data, place)[0] if place else 0

    def table(self, field: int) -> _Fields:
        """The table that a field refers to."""
        place = self.place(field)
        if not place:
            raise IndexError("a message lacks its header")
        return _Fields(self.data, place + struct.unpack_from("<I", self.data, place)[0])

    def length(self, field: int) -> int:
        """The length of a vector."""
        place = self.place(field)
        if not place:
            return 0
        return struct.unpack_from(
            "<I", self.data, place + struct.unpack_from("<I", self.data, place)[0]
        )[0]


def _check_types(schema: Any) -> None:
    """Refuse columns other than numbers, texts, times and lists of numbers."""
    from pyarrow import types

    for field in schema:
        kind = field.type
        if types.is_dictionary(kind):
            kind = kind.value_type if types.is_integer(kind.index_type) else kind
        elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            kind = kind.value_type
            if not _numeric(kind):
                raise _other(field)
        if not (
            _numeric(kind)
            or types.is_string(kind)
            or types.is_large_string(kind)
            or types.is_date(kind)
            or types.is_timestamp(kind)
        ):
            raise _other(field)


def _numeric(kind: Any) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _other(field: Any) -> DataError:
    return DataError(
        f"the body: expected columns of numbers, texts, times or lists of numbers, found "
        f"{str(field.type)[:40]} in {field.name[:40]!r}; cast the column, or leave it out"
    )


def _check_lengths(table: Any) -> None:
    """Refuse categories with long texts, and lists with too many values."""
    from pyarrow import compute, types

    calls: Any = compute
    for at, field in enumerate(table.schema):
        column = table.column(at)
        if types.is_dictionary(field.type):
            for chunk in column.chunks:
                longest = calls.max(calls.binary_length(chunk.dictionary.cast("string"))).as_py()
                if (longest or 0) > _LONGEST_TEXT:
                    raise DataError(
                        f"the body: expected texts of at most {_LONGEST_TEXT} bytes in "
                        f"{field.name[:40]!r}, found one of {longest}; shorten it"
                    )
        elif types.is_nested(field.type):
            total = calls.sum(calls.list_value_length(column)).as_py() or 0
            check_cells(f"the column {field.name[:40]!r}", total)
