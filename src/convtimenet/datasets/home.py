"""The registered benchmark data sets: find, fetch, verify and load them.

Files are stored in the data home, ``$CONVTIMENET_DATA`` or a folder in the user's cache, as
``forecasting/<file>.csv[.gz]`` and ``classification/<Set>/<Set>_TRAIN.{ts,ts.gz,npz}``. The data
home may be read-only if nothing has to be fetched.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import logging
import os
import tempfile
import zipfile
import zlib
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Literal, cast

import numpy as np

from convtimenet.data.files import read_grid
from convtimenet.data.labelled.cases import Cases, read_cases
from convtimenet.data.text.numbers import Numbers
from convtimenet.data.text.reading import TimeReading
from convtimenet.datasets.registry import (
    REGISTRY,
    ClassificationInfo,
    DataFile,
    DatasetInfo,
    ForecastingInfo,
    Task,
)
from convtimenet.errors import DatasetError, MissingExtraError
from convtimenet.files import cache_folder

__all__ = [
    "ForecastData",
    "data_home",
    "fetch",
    "info",
    "is_local",
    "load_classification",
    "load_forecasting",
    "names",
    "verify",
]

FileStatus = Literal["ok", "unknown", "mismatch"]
_TIMEOUT = 30  # seconds without a response before a publisher counts as unreachable
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ForecastData:
    """A forecasting table with its official split.

    Attributes
    ----------
    names : tuple of str
        The C channel names.
    times : ndarray of datetime64[s], shape (T,)
        Time stamps in file order; not always increasing (Weather repeats one).
    values : ndarray of float64, shape (T, C)
        Values as published, not scaled.
    train_end, val_end, test_end : int
        Rows ``[0, train_end)`` train, ``[train_end, val_end)`` validate and
        ``[val_end, test_end)`` test.
    """

    names: tuple[str, ...]
    times: np.ndarray
    values: np.ndarray
    train_end: int
    val_end: int
    test_end: int


def data_home() -> Path:
    """The folder of the data files: ``$CONVTIMENET_DATA``, else a folder in the user's cache."""
    chosen = os.environ.get("CONVTIMENET_DATA")
    if chosen:
        return Path(chosen).expanduser()
    return cache_folder()


def names(task: Task | None = None) -> list[str]:
    """The published names of all data sets, or of those for one task.

    Raises
    ------
    DatasetError
        If there is no such task.
    """
    if task not in (None, "forecasting", "classification"):
        raise DatasetError(
            f"expected the task 'forecasting' or 'classification'; found {task!r}; "
            "leave it out for all sets"
        )
    return [entry.name for entry in REGISTRY.values() if task in (None, entry.task)]


def info(name: str) -> DatasetInfo:
    """The registered facts about a data set.

    Parameters
    ----------
    name : str
        Published name or an alias such as ``AWR``; case does not matter.

    Returns
    -------
    DatasetInfo
        A `ForecastingInfo` or a `ClassificationInfo`.

    Raises
    ------
    DatasetError
        If the name is unknown; the message suggests similar names.
    """
    known = {
        key.casefold(): entry for entry in REGISTRY.values() for key in (entry.name, *entry.aliases)
    }
    wanted = name.strip().casefold()
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)
        hint = ", ".join(dict.fromkeys(known[key].name for key in near)) or ", ".join(REGISTRY)
        raise DatasetError(
            f"expected a registered data set; found {name!r}; did you mean one of: {hint}?"
        )
    return known[wanted]


def is_local(name: str) -> bool:
    """Whether all files of the data set are in the data home, in any of their formats."""
    return None not in _local_files(info(name))


def fetch(name: str) -> tuple[Path, ...]:
    """Download a data set from its publisher into the data home, unless it is there already.

    Parameters
    ----------
    name : str
        As for `info`.

    Returns
    -------
    tuple of Path
        The table, or the training and the test file.

    Raises
    ------
    DatasetError
        If the data home is not writable, the publisher cannot be reached, or the download is
        damaged or does not have the registered hash. No file is left behind then.
    MissingExtraError
        If a download is needed and pooch is not installed.
    """
    entry = info(name)
    found = _local_files(entry)
    if None not in found:
        return cast(tuple[Path, ...], found)
    try:
        import pooch
    except ImportError as error:
        raise MissingExtraError("pooch", "data", f"fetching {entry.name}") from error

    home = data_home()
    targets = [home / file.path for file in entry.files]
    try:
        home.mkdir(parents=True, exist_ok=True)
        # On the same file system as the targets, so that the last step is an atomic rename.
        staging = tempfile.TemporaryDirectory(prefix=".fetch-", dir=home)
    except OSError as error:
        raise _not_writable(entry, error) from error
    with staging as folder:
        download = Path(folder) / "download"
        _logger.info("fetching %s from %s", entry.name, entry.url)
        try:
            pooch.HTTPDownloader(timeout=_TIMEOUT)(entry.url, str(download), None)
        except OSError as error:  # the base class of all errors of requests
            by_hand = f"download it by hand and put it at {targets[0]}"
            if entry.url.endswith(".zip"):
                by_hand = "download it by hand, unpack it and put its files at "
                by_hand += " and ".join(map(str, targets))
            raise DatasetError(
                f"{entry.name} is not in the data home {home} and {entry.url} could not be "
                f"reached ({type(error).__name__}: {error}); check the network, or {by_hand}"
            ) from error
        staged = _unpacked(download, entry) if entry.url.endswith(".zip") else [download]
        for path, file in zip(staged, entry.files, strict=True):
            _check_fetched(path, file, entry)
        try:
            for path, target in zip(staged, targets, strict=True):
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
        except OSError as error:
            raise _not_writable(entry, error) from error
    return tuple(targets)


def verify(name: str) -> dict[Path, FileStatus]:
    """Check the hashes of a data set's local files.

    Parameters
    ----------
    name : str
        As for `info`.

    Returns
    -------
    dict of Path to {"ok", "unknown", "mismatch"}
        ``unknown`` if no hash is registered for that format of the file.

    Raises
    ------
    DatasetError
        If the data set is not in the data home or a compressed file is damaged.
    """
    entry = info(name)
    result: dict[Path, FileStatus] = {}
    for path, file in zip(_local_files(entry), entry.files, strict=True):
        if path is None:
            raise DatasetError(
                f"expected {file.path} in the data home {data_home()}; found none; "
                f"call fetch({entry.name!r}) first"
            )
        if path.suffix == ".npz":
            accepted = (file.npz_sha256,) if file.npz_sha256 else ()
        else:
            accepted = file.sha256
        if not accepted:
            result[path] = "unknown"
        else:
            result[path] = "ok" if _sha256(path) in accepted else "mismatch"
    return result


def load_forecasting(name: str) -> ForecastData:
    """Load a forecasting data set; fetches it if it is not in the data home.

    Parameters
    ----------
    name : str
        As for `info`.

    Returns
    -------
    ForecastData
        Rows in file order, as the benchmark uses them.

    Raises
    ------
    DatasetError
        If the data set is for classification, cannot be fetched (see `fetch`), or its file does
        not have the registered number of rows and channels.
    DataError
        If the file is damaged; the message gives the line.
    """
    entry = info(name)
    if not isinstance(entry, ForecastingInfo):
        raise DatasetError(
            f"expected a forecasting set; found {entry.name}, which is for classification; "
            "use load_classification"
        )
    (path,) = fetch(name)
    table = read_grid(path)
    stamp, *channels = table.names
    as_written = Numbers(decimal=".")
    values = np.stack([table[name].numbers(as_written)[0] for name in channels], axis=1)
    if values.shape != (entry.rows, entry.channels):
        raise DatasetError(
            f"expected {entry.rows} rows x {entry.channels} channels in {path}; found "
            f"{values.shape[0]} x {values.shape[1]}; delete the file and fetch {entry.name} again"
        )
    train, val, test = entry.split
    times = table[stamp].times(TimeReading()).times
    return ForecastData(
        names=tuple(channels),
        times=times.astype("datetime64[s]"),
        values=values,
        train_end=train,
        val_end=train + val,
        test_end=train + val + test,
    )


def load_classification(name: str) -> tuple[Cases, Cases]:
    """Load the training and test cases of a data set; fetches it if it is not in the data home.

    Parameters
    ----------
    name : str
        As for `info`.

    Returns
    -------
    tuple of Cases
        Training and test cases. A notice says if they differ from the registered facts: the
        archive has revised some of its data sets.

    Raises
    ------
    DatasetError
        If the data set is for forecasting or cannot be fetched (see `fetch`).
    DataError
        If a file cannot be read (see `read_cases`).
    """
    entry = info(name)
    if not isinstance(entry, ClassificationInfo):
        raise DatasetError(
            f"expected a classification set; found {entry.name}, which is for forecasting; "
            "use load_forecasting"
        )
    train, test = (
        _compared(read_cases(path), count, entry)
        for path, count in zip(fetch(name), entry.cases, strict=True)
    )
    return train, test


def _compared(cases: Cases, count: int, entry: ClassificationInfo) -> Cases:
    found = cases.values.shape[:2]
    if found == (count, entry.channels):
        return cases
    notice = (
        f"{entry.name} is registered with {count} cases x {entry.channels} channels; the file "
        f"has {found[0]} x {found[1]}"
    )
    return replace(cases, notices=(*cases.notices, notice))


def _local_files(entry: DatasetInfo) -> tuple[Path | None, ...]:
    """Path of each file, or None; the published format first, then .gz and .npz."""
    home = data_home()
    found = []
    for file in entry.files:
        plain = home / file.path
        forms = [plain, plain.with_name(f"{plain.name}.gz")]
        if entry.task == "classification":
            forms.append(plain.with_suffix(".npz"))
        found.append(next((form for form in forms if form.is_file()), None))
    return tuple(found)


def _not_writable(entry: DatasetInfo, error: OSError) -> DatasetError:
    return DatasetError(
        f"expected a writable data home to fetch {entry.name}; found {data_home()} ({error}); "
        "set CONVTIMENET_DATA to another folder"
    )


def _check_fetched(path: Path, file: DataFile, entry: DatasetInfo) -> None:
    if not file.sha256:
        return
    digest = _sha256(path)
    if digest in file.sha256:
        return
    expected = " or ".join(file.sha256)
    if file.from_publisher:
        raise DatasetError(
            f"expected SHA-256 {expected} for {file.path} from {entry.url}; found {digest}; "
            "nothing was kept: try again; if it happens again, the publisher changed the file"
        )
    _logger.warning(
        "%s from %s has SHA-256 %s; the registered copy has %s",
        file.path,
        entry.url,
        digest,
        expected,
    )


def _unpacked(archive: Path, entry: DatasetInfo) -> list[Path]:
    """Extract the data set's files from a zip file into its folder."""
    staged = []
    try:
        with zipfile.ZipFile(archive) as members:
            by_name = {member.rpartition("/")[2]: member for member in members.namelist()}
            for file in entry.files:
                wanted = file.path.rpartition("/")[2]
                if wanted not in by_name:
                    raise DatasetError(
                        f"expected {wanted} in {entry.url}; found {', '.join(sorted(by_name))}; "
                        f"put the file at {data_home() / file.path} by hand"
                    )
                path = archive.with_name(wanted)
                with members.open(by_name[wanted]) as source, path.open("wb") as target:
                    while block := source.read(1 << 20):
                        target.write(block)
                staged.append(path)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DatasetError(
            f"expected a zip file from {entry.url}; found another or a damaged file ({error}); "
            "try again"
        ) from error
    return staged


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _sha256(path: Path) -> str:
    """SHA-256 of the uncompressed bytes."""
    try:
        with _opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(
            f"expected a complete file at {path}; found a damaged one ({error}); delete it and "
            "fetch it again"
        ) from error
