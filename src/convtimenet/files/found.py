"""What is an address, and which files of a folder are its table, for whoever reads tables."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, unquote
from urllib.request import url2pathname

from convtimenet.errors import DataError

__all__ = [
    "ARROW",
    "NO_FILE",
    "PARQUET",
    "address_path",
    "are_whole",
    "entries_below",
    "expression",
    "files_of",
    "fixed_part",
    "is_address",
    "is_held",
    "is_seen",
    "other_names",
    "own_path",
]

PARQUET = (".parquet", ".pq")
ARROW = (".feather", ".arrow", ".ipc")
NO_FILE = (
    "{}: expected a file or a folder, found neither; links are not followed at an address: remove "
    "it, or give a path"
)
# drives of Windows have a single letter, and a Path leaves one slash
_ADDRESS = re.compile(r"(?:[a-z][\w+.-]*::)*[a-z][\w+.-]+:/", re.IGNORECASE)
_OWN = re.compile(r"(?:file|local):(?://(?:localhost)?)?(?=/)", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")


def is_address(given: str | os.PathLike[str]) -> bool:
    """Whether this is an address such as s3://bucket/x, also one of those that fsspec chains, such
    as simplecache::s3://bucket/x; else it is a path."""
    return bool(_ADDRESS.match(os.fspath(given)))


def own_path(given: str) -> str:
    """The path that an address of this machine stands for, file:///folder or fsspec's local://, as
    it is written, or with its %20 and the like read where there is none of that name; anything else
    as it is."""
    start = _OWN.match(given)
    if start is None:
        return given
    written = given[start.end() :]
    literal = url2pathname(quote(written))
    return literal if os.path.lexists(literal) else url2pathname(quote(unquote(written)))


def address_path(address: str) -> str:
    """What names the files in an address: of a chain, its first link with a path."""
    return next((link for link in address.split("::") if ":/" in link), address)


def is_seen(below: str) -> bool:
    """Whether a file is seen in a folder, by its path below it: names that begin with "." or "_"
    are no data, of files and of folders, as Spark and Hive have it."""
    parts = below.replace("\\", "/").strip("/").split("/")
    return not any(part.startswith((".", "_")) for part in parts)


def is_held(below: str) -> bool:
    """Whether a file is seen in a folder, and is a table of Parquet or Arrow by its ending."""
    return is_seen(below) and below.lower().endswith((*PARQUET, *ARROW))


def are_whole(values: Iterable[str]) -> bool:
    """Whether values in the names of folders are whole numbers of 64 bits, none with zeros in
    front: as numbers they would lose them, or 01 and 1 be one."""
    return all(re.fullmatch(r"0|-?[1-9]\d{0,17}", one, re.ASCII) for one in values)


def entries_below(
    folder: str, enters: Callable[[str], bool] = lambda below: True
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files and folders that are seen in a folder of this machine, by their paths below it.

    Links are followed, as pyarrow and pandas do, except to a folder that they are in: its files are
    found already.

    Parameters
    ----------
    enters
        Whether something below the folder is looked at, and entered if it is a folder.

    Raises
    ------
    DataError
        If a folder is not readable, or a link leads nowhere: rows would be missing.
    """
    yield from _entries(folder, "", enters, frozenset((_identity(folder),)))


def _entries(
    folder: str, top: str, enters: Callable[[str], bool], inside: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda one: one.name)
    except OSError as error:
        raise DataError(f"{folder}: not readable: {error.strerror}; check its access") from error
    for entry in entries:
        below = top + entry.name
        if not is_seen(entry.name) or not enters(below):
            continue
        if entry.is_symlink() and not os.path.exists(entry.path):
            raise DataError(
                f"{entry.path}: expected a file or a folder, found a link to "
                f"{os.readlink(entry.path)}, which is not there; restore that, or remove the link"
            )
        if not os.path.isdir(entry.path) if entry.is_symlink() else not entry.is_dir():
            yield below, entry
        elif (own := _identity(entry.path)) not in inside:
            yield below, entry
            yield from _entries(entry.path, f"{below}/", enters, inside | {own})


def _identity(folder: str) -> tuple[int, int]:
    """The same for every name of a folder."""
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def files_of(source: str) -> tuple[str, dict[str, bool]]:
    """The files of a folder or a pattern of paths of this machine.

    Parameters
    ----------
    source
        A folder, or a pattern with ``*``, ``?``, ``[...]`` and ``**`` for any folders; a folder
        that fits it stands for its files.

    Returns
    -------
    str, dict
        The folder that they are in, "" for this one, and by path whether the pattern names the file
        itself.

    Raises
    ------
    DataError
        As `entries_below`.
    """
    base, wanted = _parsed(source)
    found = {}
    for below, path, entry in _walked(base, wanted):
        if entry.is_file() and (wanted is None or wanted.fits(below)):
            found[path] = wanted is not None and wanted.names(below)
    return "" if base == "." else base, found


def other_names(source: str, path: str) -> list[str]:
    """What a path of this machine is called below a folder or in that of a pattern, through links.

    Raises
    ------
    DataError
        As `entries_below`.
    """
    base, wanted = _parsed(source)
    links = [at for _, at, entry in _walked(base, wanted) if entry.is_symlink()]
    real, found = os.path.realpath(path), []
    for link in (base, *links):
        top = os.path.realpath(link)
        if real.startswith(f"{top}/"):
            found.append(link + real[len(top) :])
    return found


def _parsed(source: str) -> tuple[str, _Wanted | None]:
    """The folder in which files are sought, and the pattern of their paths below it."""
    if os.path.isdir(source):
        return source, None
    base = fixed_part(source)
    below = source[len(base) :] if source.startswith(f"{base}/") else source
    return base, _Wanted(below.lstrip("/"))


def _walked(base: str, wanted: _Wanted | None) -> Iterator[tuple[str, str, os.DirEntry[str]]]:
    """`entries_below` of a folder, where files may be wanted, also with their own paths."""
    if not os.path.isdir(base):
        return
    top = "" if base == "." else f"{base.rstrip('/')}/"
    enters = wanted.enters if wanted else lambda below: True
    for below, entry in entries_below(base, enters):
        yield below, top + below, entry


class _Wanted:
    """A pattern of paths below a folder."""

    def __init__(self, pattern: str):
        parts = pattern.split("/")
        self.open = next((n for n, part in enumerate(parts) if "**" in part), len(parts))
        """The part from which on a folder may stand for any."""
        self.heads = [expression("/".join(parts[: n + 1])) for n in range(self.open)]
        self.whole = expression(pattern)

    def names(self, below: str) -> bool:
        """Whether the pattern is one of a path itself."""
        return bool(self.whole.fullmatch(below))

    def fits(self, below: str) -> bool:
        """Whether it is one of a path, or of a folder that it is in."""
        parts = below.split("/")
        return any(self.names("/".join(parts[:n])) for n in range(1, len(parts) + 1))

    def enters(self, below: str) -> bool:
        """Whether there may be files that fit at or below a path, whose folder was entered."""
        depth = below.count("/")
        return depth >= len(self.heads) or bool(self.heads[depth].fullmatch(below))


def fixed_part(pattern: str) -> str:
    """The folder of a pattern before its first wildcard, "." for this one."""
    magic = _MAGIC.search(pattern)
    folder, slash, _ = pattern[: magic.start() if magic else None].rpartition("/")
    return folder or slash or "."


def expression(pattern: str) -> re.Pattern[str]:
    """A pattern of paths as a regular expression."""
    kinds = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    words = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern)
    return re.compile(
        "".join(
            kinds.get(word) or (word.replace("[!", "[^") if word[:1] == "[" else re.escape(word))
            for word in words
        )
    )
