"""Read cases from an `.npz` file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from convtimenet.data.files.raw import check_size
from convtimenet.errors import DataError

__all__ = ["read_npz"]

# raised by numpy and zipfile for damaged files; NotImplementedError is a RuntimeError
_DAMAGE = (
    *(ValueError, EOFError, TypeError, RuntimeError, OSError),
    *(zipfile.BadZipFile, zlib.error),
)


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays ``X`` and, if there is one, ``y``. Pickled objects are never loaded.

    Raises
    ------
    DataError
        If the file is damaged, has no ``X``, or holds more than may be read.
    """
    # opened here, because numpy leaves a damaged file open
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as packed:
                # of the file's own account: no more of a member is unpacked than it says
                check_size(path, sum(one.file_size for one in packed.infolist()))
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in ("X", "y") if key in archive}
                found = sorted(archive.files)
        except DataError:
            raise
        except _DAMAGE as error:
            # for a .npy or pickled file numpy returns an array or raises a ValueError
            raise DataError(
                f"expected an .npz file of plain arrays at {path}; found a damaged file or pickled "
                "objects; save X padded with NaN and y as numbers or text using numpy.savez"
            ) from error
    if "X" not in arrays:
        raise DataError(
            f"expected an array named 'X' in {path}; found {found}; save it with "
            "numpy.savez(path, X=..., y=...)"
        )
    return arrays["X"], arrays.get("y")
