"""A job: forecast every part of a source, one file a part; a job that was stopped goes on.

The folder of a job is itself a table of Parquet files: names that begin with "_" or "." are not
read as such. It holds

- ``part-000000.parquet`` and so on, each complete or absent,
- ``_job.json``, what the job is (`convtimenet.bulk.record`),
- ``_failed/part-000000.json``, the series of a part that failed, and why.

A part is finished if its file is there, with its Parquet footer, and none in ``_failed``; the rest
is done by the next run.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from convtimenet import processes
from convtimenet.bulk import engines
from convtimenet.bulk.looks import check_rows, with_rules
from convtimenet.bulk.parts import Part, Plan, column_names, plan_parts
from convtimenet.bulk.places import (
    Place,
    child,
    exists,
    has_footer,
    make_folder,
    names_in,
    parquet_module,
    place_of,
    remove,
    seen_below,
    would_read,
)
from convtimenet.bulk.predictor import BulkForecaster
from convtimenet.bulk.record import JOB, plan_of_job, settings_of
from convtimenet.bulk.work import FAILED, Outcome, Work
from convtimenet.errors import ConfigError, DataError
from convtimenet.files import locked
from convtimenet.progress import check_verbose, quiet, showing
from convtimenet.settings import whole_number
from convtimenet.wording import listing

__all__ = ["BulkResult", "predict_parquet"]

log = logging.getLogger(__name__)

ROWS_PER_PART = 1_000_000
_LOCK = "_lock"
Engine = Literal["local", "ray", "spark", "dask"]


@dataclass(frozen=True)
class BulkResult:
    """What a run of a job did."""

    folder: str
    series: int
    """Series forecast by this run."""
    rows: int
    """Rows read for them."""
    parts: int
    """Parts of the job."""
    done: int
    """Parts that this run finished."""
    skipped: int
    """Parts that an earlier run had finished."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by series; by part for one that failed as a whole."""
    failed_parts: int = 0
    """Parts with such a series."""
    seconds: float = 0.0

    @property
    def rows_per_second(self) -> float:
        """Rows read per second of the run."""
        return self.rows / self.seconds if self.seconds else 0.0


def predict_parquet(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    future: str | os.PathLike[str] | None = None,
    engine: Engine = "local",
    level: float | Sequence[float] = (),
    h: int | None = None,
    id_col: str | None = None,
    rows_per_part: int = ROWS_PER_PART,
    workers: int | None = None,
    address: str | None = None,
    device: str = "cpu",
    verbose: int = 1,
) -> BulkResult:
    """Forecast every series of Parquet files with a saved model, part by part.

    The same call goes on with a job that was stopped, and tries again what failed. After a change
    of the files it is another job, which needs another `out`.

    Parameters
    ----------
    model
        Folder of a saved forecaster.
    data
        A Parquet file, a folder of them (also with partitions such as ``region=eu/``) or a pattern,
        as a path or an address such as s3://bucket/sales. A long table with the rows of each series
        one after the other. With an engine on several machines, all must reach it, the model and
        `out` at the same place.
    out
        Folder for the forecasts, one Parquet file a part, with the columns that
        `ConvTimeNetForecaster.predict` gives for a pyarrow table.
    future
        For a model that reads covariates known ahead: Parquet files as for `data`, with these
        columns (`futr_exog`) of the rows after the end of every series, in the same order of
        series. Other rows and columns are ignored.
    engine
        What maps the work over the parts: "local" processes, "ray", "spark" or "dask".
    level, h
        As for `ConvTimeNetForecaster.predict`.
    id_col
        The column with the series ids; by default the model's.
    rows_per_part
        Rows that a worker reads at a time, about.
    workers
        Processes, of one thread each. By default one for "local", which is then this process, and
        one a core for the others. Of a running cluster, Ray uses that many (by default one a core
        of it), Spark and Dask all that it has.
    address
        A running cluster: for Ray "auto" or ray://, for Spark its master, for Dask its scheduler.
        By default one is started on this machine and stopped at the end, or for Ray and Spark the
        one that this process is connected to is used; the address can then only be its own: the
        master of the session of Spark, or for Ray "auto" or that of its GCS.
    device
        Device of the workers.
    verbose
        0 shows no progress.

    Returns
    -------
    BulkResult
        Series that cannot be forecast are in `failed` and do not stop the others.

    Raises
    ------
    ArtefactError
        If `model` holds no forecaster.
    DataError
        If the files cannot be split into whole series, or those of `future` do not suit them
        (`convtimenet.bulk.parts`), or the model can read no row of them (columns, kind of times).
    ConfigError
        If `out` belongs to another job or a running one, a setting is out of range, the model reads
        covariates known ahead and `future` is missing, or the reverse, or this process is one of
        several that train together.
    EngineError
        If Ray, Spark or Dask fails, or its cluster cannot be reached; the same call goes on.
    MissingExtraError
        If the engine or pyarrow is not installed.
    """
    begin = time.monotonic()
    processes.check_alone("a job of forecasts")
    run = engines.engine(engine)
    parquet_module()
    rows = whole_number("rows_per_part", rows_per_part)
    workers = None if workers is None else whole_number("workers", workers)
    check_verbose(verbose)
    for name, text in (("data", data), ("out", out), ("future", future), ("id_col", id_col)):
        what = "column" if name == "id_col" else "place"
        if text is not None and not isinstance(
            text, str if name == "id_col" else str | os.PathLike
        ):
            several = (
                "; several files are given by their folder, or a pattern such as folder/*.parquet"
            )
            raise ConfigError(
                f"{name}: expected a {what} as text, found {type(text).__name__}; give its name"
                + (several if isinstance(text, list | tuple) and name in ("data", "future") else "")
            )
        if text is not None and not os.fspath(text):
            raise ConfigError(f"{name}: expected a {what}, found {text!r}; give its name")
    if address is not None and engine == "local":
        raise ConfigError(
            f"the local engine has no cluster, found the address {address!r}; leave it out, or "
            "choose the engine ray, spark or dask"
        )
    forecaster = BulkForecaster(model, level=level, h=h, id_col=id_col, device=device).fixed()
    forecaster.check_future(future is not None)
    _check_settings(forecaster)
    source, folder = place_of(os.fspath(data)), place_of(os.fspath(out))
    plan_of = None if future is None else place_of(os.fspath(future))
    settings = settings_of(forecaster, source, plan_of, rows)
    _check_folder(folder, source, plan_of)
    plan, begun = None, exists(child(folder, JOB))
    if not begun:  # before anything is written
        wanted = forecaster.reads(), forecaster.reads(ahead=True)
        known = forecaster.known_ids()
        plan = plan_parts(source, forecaster.id_name, rows, verbose, plan_of, wanted, known)
        _check_ahead(forecaster, plan)
        forecaster = with_rules(forecaster, plan)
        check_rows(forecaster, plan)
    with _own(folder):
        plan = plan_of_job(folder, settings, source, plan_of, plan)
        _check_own(folder, plan.parts)
        finished = _finished(folder)
        todo = [part for part in plan.parts if part.name not in finished]
        skipped = len(plan.parts) - len(todo)
        outcomes: list[Outcome] = []
        if todo:
            forecaster = with_rules(forecaster, plan) if begun else forecaster
            with showing("forecasting", verbose, busy=True) as task:
                task.expect(len(plan.parts), done=skipped)
                work = Work(forecaster, folder)
                outcomes = run(work, todo, workers, address, task.advance)
    failed = {name: why for one in outcomes for name, why in one["failed"].items()}
    broken = sum(1 for one in outcomes if one["failed"])
    return BulkResult(
        folder=folder.root or folder.path,
        series=sum(one["series"] for one in outcomes),
        rows=sum(one["rows"] for one in outcomes),
        parts=len(plan.parts),
        done=len(outcomes) - broken,
        skipped=skipped,
        failed=failed,
        failed_parts=broken,
        seconds=time.monotonic() - begin,
    )


def _check_settings(forecaster: BulkForecaster) -> None:
    """Check level and h, by forecasting one series of the training table, whose covariates known
    ahead stay what they were."""
    from convtimenet.data.forecast_tables import future_table
    from convtimenet.data.table_rows import select_series
    from convtimenet.estimators.forecasting.forecasts import check_steps

    model = forecaster.loaded()
    one = select_series(model.tail_, np.array([0]))
    ahead = None
    if model.covariates_.futr:
        steps = model.h if forecaster.h is None else forecaster.h
        check_steps("h, the steps to forecast,", steps)
        covariates = {name: np.repeat(_last(of), steps) for name, of in one.covariates.items()}
        ahead = future_table(one, np.zeros((steps, 1)), ["y"])
        ahead = replace(ahead, covariates=covariates)
    with quiet():  # its notices are about the training table, not about what is forecast
        model.forecast_table(one, forecaster.h, forecaster.levels or None, ahead)


def _check_ahead(forecaster: BulkForecaster, plan: Plan) -> None:
    """Check that the rows ahead have the covariates that the model reads of them."""
    for piece in plan.parts[0].ahead:
        names = column_names(piece)
        lacking = [name for name in forecaster.loaded().exog[1] if name not in names]
        if lacking:
            raise DataError(
                f"{piece.file}: expected the covariates {listing(lacking)} of the rows ahead, "
                f"found the columns {listing(names)}; add them"
            )


def _last(values: np.ndarray) -> np.ndarray:
    """(1,) the last known value of a covariate."""
    known = values[values != np.array(None)] if values.dtype == object else values[values == values]
    return known[-1:] if len(known) else np.full(1, "" if values.dtype == object else 0.0)


def _check_folder(folder: Place, source: Place, future: Place | None) -> None:
    """Check that a folder is new, empty or a job's, and not among what the job reads.

    Raises
    ------
    ConfigError
        If not.
    """
    if folder.local and Path(folder.path).exists() and not Path(folder.path).is_dir():
        raise ConfigError(f"{folder} is a file, expected a folder; name another one")
    for read in (source, future):
        if read and would_read(read, child(folder, "part-000000.parquet")):
            raise ConfigError(
                f"{folder} lies in {read}, whose files are read: the forecasts would be data of "
                "the next call; choose a folder beside it"
            )
    if not exists(child(folder, JOB)):
        _check_own(folder, ())


def _check_own(folder: Place, parts: Sequence[Part]) -> None:
    """Check that who reads a folder as a table would read these parts only.

    Raises
    ------
    ConfigError
        If not.
    """
    own = {f"{part.name}.parquet" for part in parts}
    others = [name for name in seen_below(folder) if name not in own]
    if others:
        raise ConfigError(
            f"{folder} holds files that are no forecasts of this job, such as {others[0]}, and "
            "would be read with them; choose another folder, or remove them"
        )


def _finished(folder: Place) -> set[str]:
    """Names of the parts that need no work; the file of a part that is damaged is removed, as the
    folder could not be read as a table with it."""
    failed = {name.removesuffix(".json") for name in names_in(child(folder, FAILED))}
    ending = ".parquet"
    names = [name for name in names_in(folder) if name.endswith(ending)]
    places = [child(folder, name) for name in names]
    with ThreadPoolExecutor() as threads:  # at an address each waits
        whole = list(threads.map(has_footer, places))
    for place, good in zip(places, whole, strict=True):
        if not good:
            log.warning("%s is damaged; its part is done again", place)
            remove(place)
    good = (name for name, good in zip(names, whole, strict=True) if good)
    return {name.removesuffix(ending) for name in good} - failed


@contextmanager
def _own(folder: Place) -> Iterator[None]:
    """Keep other runs out of a local folder, and remove what a killed one left half-written. At an
    address nothing tells of another run.

    Raises
    ------
    ConfigError
        If another run works there.
    """
    make_folder(folder)
    if not folder.local:
        _tidy(folder)
        yield
        return
    with locked(Path(folder.path) / _LOCK) as holder:
        if holder is not None:
            raise ConfigError(
                f"{folder} is in use by {holder}; wait for it to end, or choose another folder"
            )
        _tidy(folder)
        yield


def _tidy(folder: Place) -> None:
    """Remove what a killed run left half-written."""
    for place in (folder, child(folder, FAILED)):
        for name in names_in(place):
            if name.startswith((".part-", f".{JOB}.")) and name.endswith(".tmp"):
                remove(child(place, name))
