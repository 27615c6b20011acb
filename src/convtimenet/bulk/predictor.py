"""`BulkForecaster`: a saved forecaster as one small object for other programs' workers."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convtimenet.data.agreement import Labels
from convtimenet.data.forecast_tables import forecast_names
from convtimenet.errors import ConfigError, DataError
from convtimenet.storage.manifest import MANIFEST
from convtimenet.wording import listing

if TYPE_CHECKING:
    from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster

__all__ = ["BulkForecaster"]

_loaded: dict[tuple[Any, ...], _Loaded] = {}
"""The models of this process by folder, device and parameters."""
_loading = threading.Lock()
_TRIES = 5
"""Times to load a model that is saved anew meanwhile."""


@dataclass(frozen=True)
class _Loaded:
    """A model, and of its manifest the facts and the SHA-256."""

    facts: tuple[int, ...]
    digest: str
    model: ConvTimeNetForecaster


@dataclass(frozen=True)
class BulkForecaster:
    """Forecast frames of whole series with a saved model, in any process.

    An instance holds the path of the model and settings, so it is pickled in a few hundred bytes.
    Each process loads the model once, when it is first needed, from that path.

    Parameters
    ----------
    model
        Folder of a saved forecaster, at the same path on every machine.
    level
        Levels of intervals in per cent, as for `ConvTimeNetForecaster.predict`.
    h
        Steps to forecast; by default the trained horizon.
    id_col
        The column with the series ids; by default the model's.
    threads
        Threads of torch during a call. One suits as many workers as there are cores.
    device
        "cpu", "auto" or a torch device.
    dayfirst, decimal
        Whether dates such as 03/04/2024 have the day first, and "." or ",", for frames with texts,
        of which each may hold too few to tell; by default as the model's parameters say.
    digest
        SHA-256 of the model's manifest, so that no worker forecasts with another model that is
        saved in its folder later (`fixed`); by default each takes the newest.

    Examples
    --------
    With Ray Data, Spark and Dask, where rows of one series come to one worker::

        forecaster = BulkForecaster("model", level=[80])

        ray.data.read_parquet("sales").repartition(64, keys=["unique_id"]).map_batches(
            forecaster, batch_size=None, batch_format="pyarrow"
        )
        spark.read.parquet("sales").repartition("unique_id").sortWithinPartitions(
            "unique_id", "ds"
        ).mapInPandas(forecaster.stream, "unique_id string, ds timestamp, ConvTimeNet double, ...")
        dask.dataframe.read_parquet("sales").shuffle("unique_id").map_partitions(
            forecaster, meta=forecaster(one_series).iloc[:0]
        )
    """

    model: str | os.PathLike[str]
    level: float | Sequence[float] = ()
    h: int | None = None
    id_col: str | None = None
    threads: int = 1
    device: str = "cpu"
    dayfirst: bool | None = None
    decimal: str | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", os.path.abspath(os.path.expanduser(self.model)))
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise ConfigError(
                f"threads must be a whole number of at least 1, found {self.threads!r}"
            )

    def __call__(self, table: Any, future: Any = None) -> Any:
        """Forecast the steps after the end of every series of a frame.

        Parameters
        ----------
        table
            A long pandas, polars or pyarrow frame with all rows of its series, as for
            `ConvTimeNetForecaster.predict`.
        future
            The rows ahead of them, if the model reads covariates known ahead.

        Returns
        -------
        The same kind of frame: ids, times, forecasts and, with `level`, their bounds. For a frame
        without rows, one without rows.

        Raises
        ------
        DataError
            If a series cannot be forecast.
        ConfigError
            If the model reads covariates known ahead and `future` is missing, or the reverse.
        """
        if isinstance(table, dict):
            raise DataError(
                "expected a pandas, polars or pyarrow frame, found a dict of arrays; with Ray Data "
                'give map_batches(..., batch_format="pyarrow") or "pandas"'
            )
        model = self.loaded()
        self.check_future(future is not None)
        if len(table) == 0:
            return self._empty(table, model)
        with _threads(self.threads):
            return model.predict(table, future, h=self.h, level=self.levels or None)

    def stream(self, frames: Iterable[Any], rows: int = 200_000) -> Iterator[Any]:
        """Forecast pandas frames that follow each other and may cut a series, as Spark's
        ``mapInPandas`` gives them.

        Parameters
        ----------
        frames
            Pandas frames whose rows are sorted by series; a series may go on in the next frame.
        rows
            Rows to collect before they are forecast together.

        Yields
        ------
        A frame of forecasts for each such collection.

        Raises
        ------
        ConfigError
            If the model reads covariates known ahead, which such frames do not have.
        """
        import pandas as pd

        if names := self._ahead():
            raise ConfigError(
                f"the model reads {listing(names)} of the rows ahead, which a stream does not "
                "have; call the forecaster with frames of whole series and the rows ahead of them, "
                "use predict_parquet with future, or train without futr_exog"
            )
        name = self.id_name
        whole: list[Any] = []  # frames of series that have ended
        last: list[Any] = []  # those of the one that may go on
        held = 0
        for frame in frames:
            if not len(frame):
                continue
            held += len(frame)
            ids = frame[name].to_numpy()
            others = np.flatnonzero(ids != ids[-1])
            if len(others):
                end = int(others[-1]) + 1
                whole += [*last, frame.iloc[:end]]
                last = [frame.iloc[end:]]
            elif last and last[-1][name].iloc[-1] != ids[0]:
                whole, last = [*whole, *last], [frame]
            else:
                last.append(frame)
            if whole and held >= rows:
                yield self(pd.concat(whole, ignore_index=True))
                whole, held = [], sum(map(len, last))
        if last:
            yield self(pd.concat([*whole, *last], ignore_index=True))

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the intervals, as they were given."""
        return tuple(self.level) if isinstance(self.level, Iterable) else (self.level,)

    @property
    def id_name(self) -> str:
        """Name of the column with the series ids."""
        model = self.loaded()
        return model.id_col or model.tail_.id_name or "unique_id"

    def loaded(self) -> ConvTimeNetForecaster:
        """The model, loaded at most once in a process as long as its folder does not change; with
        a digest, once.

        Raises
        ------
        ArtefactError
            If the folder holds no forecaster, is incomplete or damaged.
        ConfigError
            If the folder holds another model than that of the digest.
        """
        return self._found().model

    def fixed(self) -> BulkForecaster:
        """This forecaster with the digest of the model that is in its folder now.

        Raises
        ------
        ArtefactError, ConfigError
            As `loaded`.
        """
        return replace(self, digest=self._found().digest)

    def _found(self) -> _Loaded:
        key = str(self.model), self.device, *self._own().values()
        with _loading:
            found = _loaded.get(key)
            if found is not None and found.digest == self.digest:
                return found  # whatever the folder holds by now
            if found is None or found.facts != _facts(self.model):
                found = _loaded[key] = self._load()
        if self.digest not in (None, found.digest):
            raise ConfigError(
                f"{self.model}: expected the model with the SHA-256 {self.digest}, found one with "
                f"{found.digest}: another was saved there meanwhile; put the earlier one back, or "
                "begin again with this one and another output folder"
            )
        return found

    def _load(self) -> _Loaded:
        """Load the model, again if another is saved meanwhile, so that the digest is its own."""
        from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster

        for _ in range(_TRIES):
            facts, digest = _facts(self.model), _digest(self.model)
            model = ConvTimeNetForecaster.load(self.model, device=self.device)
            if _digest(self.model) == digest:
                break
        else:
            raise ConfigError(
                f"{self.model}: expected a model that stays as it is while it is loaded, found "
                f"another {_TRIES} times; save less often, or give a copy of the folder"
            )
        model.set_params(verbose=0, **{k: v for k, v in self._own().items() if v is not None})
        return _Loaded(facts, digest, model)

    def _own(self) -> dict[str, Any]:
        """Parameters of the forecaster that stand for the model's, where they are given."""
        return {"id_col": self.id_col, "dayfirst": self.dayfirst, "decimal": self.decimal}

    def check_future(self, given: bool) -> None:
        """Check that rows ahead are given if, and only if, the model reads them.

        Raises
        ------
        ConfigError
            If not.
        """
        names = self._ahead()
        if names and not given:
            raise ConfigError(
                f"the model reads {listing(names)} of the rows ahead, found no such rows; give "
                "them as future, or train without futr_exog"
            )
        if given and not names:
            raise ConfigError("future is given, but the model has no futr_exog; leave it out")

    def _ahead(self) -> list[str]:
        """The covariates that the model reads of the rows ahead."""
        return [column.name for column in self.loaded().covariates_.futr]

    def columns(self, names: Sequence[str], ahead: bool = False) -> list[str] | None:
        """Those columns of a table, or of the rows ahead of one, that a forecast reads; None if
        that depends on their content."""
        of = self.reads(ahead)
        return of if of is not None and set(of) <= set(names) else None

    def reads(self, ahead: bool = False) -> list[str] | None:
        """Columns that a forecast reads by name, of a table or of the rows ahead of one; None for
        all, since a model without scaling takes any channels."""
        model = self.loaded()
        of = [self.id_name, model.time_col or model.tail_.time_name]
        if ahead:
            return [*of, *model.exog[1]]
        exog = (name for one in model.exog for name in one)
        return [*of, *model.channels_, *exog] if model.scale else None

    def known_ids(self) -> Labels | None:
        """The ids of the model's series; None for a model of a table without ids."""
        tail = self.loaded().tail_
        return Labels(tail.ids.tolist()) if tail.long else None

    def _empty(self, table: Any, model: ConvTimeNetForecaster) -> Any:
        """The columns of a forecast, without rows."""
        import narwhals.stable.v2 as nw

        from convtimenet.data.frame_columns import Origin, stamp_type, stamps_like
        from convtimenet.estimators.forecasting.calibration import band_names, check_levels

        frame = nw.from_native(table, eager_only=True)
        time = model.time_col or model.tail_.time_name
        keys = replace(model.tail_, id_name=self.id_name, time_name=time)
        bounds = band_names(check_levels(self.levels))[1:]
        made = [n for one in forecast_names(keys) for n in (one, *(f"{one}-{b}" for b in bounds))]
        types: dict[str, Any] = dict.fromkeys(made, nw.Float64())
        if not bounds and (self.h or 0) > model.network_.config.outputs:
            types["rolled"] = nw.Boolean()
        columns = [
            nw.new_series(name, [], of, backend=frame.implementation) for name, of in types.items()
        ]
        keys = frame.select(self.id_name, time)
        if stamp_type(frame[time]) is None:  # texts are read as time stamps
            origin = Origin(frame.implementation.value, time_form=model.tail_.origin.time_form)
            read = stamps_like(origin, time, model.tail_.times[:0], model.tail_.time_zone)
            keys = keys.with_columns(read)
        return keys.with_columns(*columns).to_native()


def _digest(folder: str | os.PathLike[str]) -> str:
    """The SHA-256 of a model's manifest, which names that of every other file; of nothing without
    one."""
    try:
        content = (Path(folder) / MANIFEST).read_bytes()
    except OSError:  # loading says what is wrong
        content = b""
    return hashlib.sha256(content).hexdigest()


def _facts(folder: str | os.PathLike[str]) -> tuple[int, ...]:
    """What changes when a model is saved again."""
    try:
        found = (Path(folder) / MANIFEST).stat()
    except OSError:  # loading says what is wrong
        return ()
    return found.st_mtime_ns, found.st_size


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let torch use that many threads until the block ends."""
    import torch

    before = torch.get_num_threads()
    if before == number:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
