"""Read files that may be compressed, up to a limit, and decode text of any common encoding.

A small file can hold much: packed text expands a thousand times. What is read is therefore limited
by its size in memory, not by that on disk.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from convtimenet.errors import DataError
from convtimenet.wording import advice

__all__ = [
    "COMPRESSED",
    "check_cells",
    "check_size",
    "check_text",
    "decoded",
    "lines_of",
    "machine_memory",
    "read_bytes",
    "reading_at_most",
    "unpacked_name",
]

COMPRESSED = (".gz", ".zip", ".xz", ".bz2")
_BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_PIECE = 2**20  # bytes that are unpacked at a time
_TIMES = 4  # the least memory that reading text takes, in sizes of the text
_MOST: ContextVar[int | None] = ContextVar("most", default=None)
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)


@contextmanager
def reading_at_most(size: int | None) -> Iterator[None]:
    """Files that are read here, in this thread, hold at most so many bytes once they are unpacked;
    None stands for a quarter of the machine's memory: reading more would take more than all of it.
    """
    before = _MOST.set(size)
    try:
        yield
    finally:
        _MOST.reset(before)


def machine_memory() -> int | None:
    """Bytes of memory that the machine has, None where the system does not tell."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _most() -> int | None:
    given, memory = _MOST.get(), machine_memory()
    return given if given is not None or memory is None else memory // _TIMES


def check_size(path: Path | str, size: int) -> None:
    """Refuse a file that holds this many bytes or more, if that is beyond the limit.

    Raises
    ------
    DataError
        If so.
    """
    most = _most()
    if most is not None and size > most:
        raise DataError(
            f"{path}: expected a file of at most {most / 2**20:,.4g} MB once it is unpacked, found "
            + f"at least {size / 2**20:,.4g} MB; give fewer rows or columns"
            + advice(
                ", or read it on a machine with more memory",
                "",
                ", or start the app with a larger max_mb",
            )
        )


def check_cells(path: Path | str, rows: int, columns: int) -> None:
    """`check_size` of a table, with eight bytes for each cell."""
    check_size(path, 8 * rows * columns)


def lines_of(text: str) -> list[str]:
    """The lines of a text without their ends, which are line feeds and carriage returns alone:
    `str.splitlines` also cuts at form feeds and separators such as U+2028, which cells may hold."""
    return io.StringIO(text, newline=None).read().removesuffix("\n").split("\n") if text else []


def unpacked_name(name: str) -> str:
    """A file's name in small letters without the ending of its compression."""
    name = name.lower()
    return name.removesuffix(next((one for one in COMPRESSED if name.endswith(one)), ""))


def read_bytes(path: Path) -> tuple[bytes, str]:
    """The decompressed content of a file, and its name without the compression extension.

    Raises
    ------
    DataError
        If it cannot be read, is damaged, holds several files, or more than may be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    ending = path.suffix.lower()
    try:
        if ending in _OPENED:
            with _OPENED[ending](io.BytesIO(raw)) as file:
                return _unpacked(path, file), path.stem
        if ending == ".zip":
            return _unzipped(path, raw)
    except _DAMAGE as error:
        kind = {".gz": "gzip"}.get(ending, ending[1:])
        raise DataError(f"{path}: damaged {kind} file: {error}; get a new copy") from error
    return raw, path.name


_OPENED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def _unpacked(path: Path, file: IO[bytes]) -> bytes:
    """What a compressed file holds, unpacked piece by piece as far as it may be read."""
    found = io.BytesIO()
    while piece := file.read(_PIECE):
        found.write(piece)
        check_size(path, found.tell())
    return found.getvalue()


_OTHERS = {
    b"\x1f\x8b": "a gzip file: name it .csv.gz",
    b"BZh": "a bzip2 file: name it .csv.bz2",
    b"\xfd7zXZ": "an xz file: name it .csv.xz",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it",
    b"PK\x03\x04": "a zip file or workbook: name it .zip or .xlsx",
    b"\xd0\xcf\x11\xe0": "an old .xls workbook: save it as .xlsx or .csv",
    b"PAR1": "a Parquet file: name it .parquet",
    b"ARROW1": "an Arrow file: name it .arrow",
    b"SQLite": "a database: export the table as .csv",
    b"%PDF": "a PDF: export the table as .csv",
}
"""First bytes of other formats, and what to do with such a file."""


def check_text(path: Path | str, content: bytes) -> None:
    """Reject a file that has the extension of a text format but another content.

    Raises
    ------
    DataError
        If so, naming the actual format.
    """
    found = next((kind for mark, kind in _OTHERS.items() if content.startswith(mark)), None)
    if found is None and content[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        found = "a web page: download the file itself"
    if found is not None:
        raise DataError(f"{path}: expected text, found {found}")


def _unzipped(path: Path, raw: bytes) -> tuple[bytes, str]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = [
            entry.filename
            for entry in archive.infolist()
            if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")
        ]
        if len(names) != 1:
            raise DataError(
                f"{path}: expected one file in it, found {len(names)}; unpack it and give one file"
            )
        if archive.getinfo(names[0]).flag_bits & 1:
            raise DataError(f"{path}: is protected by a password; unpack it and give the file")
        with archive.open(names[0]) as file:
            return _unpacked(path, file), Path(names[0]).name


def decoded(raw: bytes) -> tuple[str, tuple[str, ...]]:
    """Decode text; return it with a notice about its encoding.

    Tries UTF-8 and UTF-16, with or without a byte order mark, then Windows-1252 and Latin-1, which
    accepts any bytes.
    """
    for mark, encoding in _BOMS:
        if raw.startswith(mark):
            try:
                return raw.decode(encoding), ()
            except UnicodeDecodeError:
                break
    sample = raw[:1000]
    for encoding, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if len(zeros) > 1 and zeros.count(0) > 0.7 * len(zeros):
            try:
                return raw.decode(encoding), ()
            except UnicodeDecodeError:
                break
    try:
        return raw.decode("utf-8"), ()
    except UnicodeDecodeError:
        pass
    told = "the file is not UTF-8 and was read as {}; check the channel names"
    if any(0x80 <= byte < 0xA0 for byte in set(raw)):
        try:
            return raw.decode("cp1252"), (told.format("Windows-1252"),)
        except UnicodeDecodeError:
            pass
    return raw.decode("latin-1"), (told.format("Latin-1"),)
