"""Convert any source of a table to times, channels and a matrix of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.data.columns import Grid
from convtimenet.data.files import check_path, is_columnar, read_columnar, read_grid
from convtimenet.data.frame_columns import Origin
from convtimenet.data.sources.by_role import Columns, Wanted, from_grid
from convtimenet.data.sources.frames import from_frame
from convtimenet.data.sources.roles import (
    find_targets,
)
from convtimenet.data.text.numbers import check_decimal, rounded_notice
from convtimenet.errors import DataError
from convtimenet.wording import listing

__all__ = ["FilePart", "read_source"]


@dataclass(frozen=True)
class FilePart:
    """Some rows of a file with typed columns, as a pyarrow table, and the number of the first."""

    rows: Any
    first: int


def read_source(source: Any, wanted: Wanted) -> Columns:
    """Read any source accepted by ``tables.read_table``, or the cells of a file as a `Grid`."""
    check_decimal(wanted.decimal)
    if isinstance(source, (str, Path)):
        check_path(source)
        if is_columnar(source):
            return from_frame(read_columnar(source, wanted.needed), wanted).of_file()
        grid = read_grid(Path(source).expanduser())
        wanted = wanted.named({})
        return from_grid(grid, wanted, Origin("file"))
    if isinstance(source, FilePart):
        return from_frame(source.rows, wanted, source.first).of_file()
    if isinstance(source, Grid):
        return from_grid(source, wanted.named({}), Origin("file"))
    if isinstance(source, np.ndarray):
        return _from_array(source, wanted)
    return from_frame(source, wanted)


def _from_array(array: np.ndarray, wanted: Wanted) -> Columns:
    for what, name in (("time_col", wanted.time), ("id_col", wanted.id)):
        if name is not None:
            raise DataError(f"an array has no column {name!r}; leave out {what} or pass a frame")
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise DataError(
            f"expected an array of shape (T,) or (T, C), found {array.shape}; reshape it to one "
            "row per time step"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"expected an array of numbers, found dtype {array.dtype}; convert it with "
            "astype(float)"
        )
    values = array.reshape(len(array), -1).astype(np.float64)
    if isinstance(values, np.ma.MaskedArray):
        values = values.filled(np.nan)
    names = tuple(str(i) for i in range(values.shape[1]))
    wanted = wanted.named(dict(enumerate(names)))
    if absent := [one for one in (*(wanted.targets or ()), *wanted.covariates) if one not in names]:
        raise DataError(
            f"the columns of an array are named by number, here {names[0]!r} to {names[-1]!r}, "
            f"found {listing(absent, 3)}; give a frame with columns of these names"
        )
    channels, notices = find_targets(names, (), None, wanted.targets, wanted.covariates)
    if array.dtype.kind in "iu":
        own = np.ma.filled(array, 0).reshape(len(array), -1)
        for name in (*channels, *wanted.covariates):
            i = names.index(name)
            notices += rounded_notice(name, values[:, i], partial(map, int, own[:, i]))
    return Columns(
        times=np.arange(len(values), dtype=np.int64),
        values=values[:, [names.index(name) for name in channels]],
        channels=channels,
        time_name="time",
        time_zone=None,
        origin=Origin("numpy"),
        notices=notices,
        covariates={name: values[:, names.index(name)] for name in wanted.covariates},
    )
