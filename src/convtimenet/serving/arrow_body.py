"""Arrow streams from strangers: counted by their own headers, of plain types only, then validated.

A stream can claim more than it holds: a column of nulls has any length in no bytes, a compressed
buffer unpacks to any size, and views and categories repeat one text without end. Headers are
therefore read before the batches, compressed buffers are refused, and lengths of texts are added up
before any of them is read.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from convtimenet.errors import DataError, MissingExtraError
from convtimenet.serving.json_body import check_cells, check_columns
from convtimenet.serving.refusals import Refused

_DICTIONARY, _BATCH = 2, 3  # Message.header_type in Arrow's Message.fbs
_LONGEST_TEXT = 1000
_MOST_TEXT = 2**27
"""Bytes of all texts of a stream that are stored once and repeated."""
_VIEW = 16  # bytes; the first four are the length of the text
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
    if body.startswith(b"ARROW1"):
        raise DataError(
            "the body: expected an Arrow stream, found an Arrow file (Feather); write it with "
            "pyarrow.ipc.new_stream, or with write_ipc_stream of polars"
        )
    try:
        columns = _headers(ipc.MessageReader.open_stream(pa.py_buffer(body)))
        with ipc.open_stream(pa.py_buffer(body)) as reader:
            _check_types(reader.schema)
            table = reader.read_all()
        table.validate()
        _check_stored(table)  # first: a full validation reads every text
        table.validate(full=True)
        table = _plain(table)
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
    """Refuse columns other than numbers, texts, times, lists of numbers, and those of nulls."""
    from pyarrow import types

    for field in schema:
        kind = field.type
        if types.is_null(kind) or types.is_decimal(kind):
            continue
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
            or types.is_string_view(kind)
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


def _check_stored(table: Any) -> None:
    """Refuse views whose texts are too long together, and dictionaries that too many batches use.

    The table is not validated yet: a view may claim any length.
    """
    from pyarrow import types

    total = 0
    for at, field in enumerate(table.schema):
        of = field.type.value_type if types.is_dictionary(field.type) else field.type
        for chunk in table.column(at).chunks:
            texts = chunk.dictionary if types.is_dictionary(field.type) else chunk
            if types.is_string_view(of):
                total += _viewed(texts)
            elif types.is_dictionary(field.type):
                total += texts.get_total_buffer_size()
            _check_text(total)


def _viewed(texts: Any) -> int:
    """The bytes that the views of an array claim."""
    views, end = texts.buffers()[1], texts.offset + len(texts)
    if end == 0:
        return 0
    if views is None or views.size < end * _VIEW:
        raise IndexError("views are outside of their buffer")
    lengths = np.frombuffer(views, "<i4", count=end * _VIEW // 4)[:: _VIEW // 4]
    return int(lengths[texts.offset :].clip(min=0).sum(dtype=np.int64))


def _check_text(total: int) -> None:
    if total > _MOST_TEXT:
        raise Refused(
            413,
            f"the table: expected at most {_MOST_TEXT} bytes of texts in views and categories, "
            f"found {total}; send it in parts, or with shorter texts",
        )


def _plain(table: Any) -> Any:
    """A table without views, decimals and columns of nulls: texts and floats instead."""
    import pyarrow as pa
    from pyarrow import types

    for at, field in enumerate(table.schema):
        kind, column = field.type, table.column(at)
        if types.is_string_view(kind):
            column = column.cast(pa.string())
        elif types.is_null(kind) or types.is_decimal(kind):
            column = column.cast(pa.float64())
        elif types.is_dictionary(kind) and types.is_string_view(kind.value_type):
            chunks = [
                pa.DictionaryArray.from_arrays(one.indices, one.dictionary.cast(pa.string()))
                for one in column.chunks
            ]
            column = pa.chunked_array(chunks, pa.dictionary(kind.index_type, pa.string()))
        else:
            continue
        table = table.set_column(at, field.name, column)
    return table


def _check_lengths(table: Any) -> None:
    """Refuse categories with long texts, or too much text in all rows, and lists with too many
    values."""
    from pyarrow import compute, types

    calls: Any = compute
    total = 0
    for at, field in enumerate(table.schema):
        column = table.column(at)
        if types.is_dictionary(field.type):
            for chunk in column.chunks:
                lengths = calls.binary_length(chunk.dictionary.cast("string"))
                longest = calls.max(lengths).as_py()
                if (longest or 0) > _LONGEST_TEXT:
                    raise DataError(
                        f"the body: expected texts of at most {_LONGEST_TEXT} bytes in "
                        f"{field.name[:40]!r}, found one of {longest}; shorten it"
                    )
                total += calls.sum(lengths.take(chunk.indices)).as_py() or 0
                _check_text(total)
        elif types.is_nested(field.type):
            total = calls.sum(calls.list_value_length(column)).as_py() or 0
            check_cells(f"the column {field.name[:40]!r}", total)
