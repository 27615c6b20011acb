"""What maps a function over the parts of a job: processes of this machine (`local`), Ray, Spark or
Dask.

Each engine runs the same function and retries what a lost worker had begun; it is told where a
result goes, not how it is made, so all of them write the same forecasts.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from convtimenet.bulk.local import map_parts
from convtimenet.bulk.parts import Part
from convtimenet.bulk.work import Outcome, Work
from convtimenet.errors import ConfigError, ConvTimeNetError, EngineError, MissingExtraError
from convtimenet.names import meant
from convtimenet.processes import cores

__all__ = ["ENGINES", "engine"]

_LOOK = 0.5
"""Seconds between looks at what Spark has done."""

Engine = Callable[
    [Work, Sequence[Part], int | None, str | None, Callable[[float], None]], list[Outcome]
]
"""The function, the parts, workers, address, and what to call with the number of parts done."""


def engine(name: str) -> Engine:
    """An engine by name. What it raises in the end is an `EngineError`, unless it is an error of
    this package.

    Raises
    ------
    ConfigError
        If there is none of that name.
    MissingExtraError
        If it is not installed.
    """
    if not isinstance(name, str) or name not in ENGINES:
        near = meant(str(name), list(ENGINES))
        raise ConfigError(
            f"engine: expected {', '.join(ENGINES)}, found {name!r}"
            + (f"; did you mean {near}?" if near else "")
        )
    package = {"ray": "ray.data", "spark": "pyspark", "dask": "distributed"}.get(name)
    if package is not None:
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, name, f"the engine {name}") from error

    # the errors of the engine that needs no package are those of the parts
    return ENGINES[name] if package is None else _explained(name)(ENGINES[name])


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what an engine raises into an error that says what to do."""
    try:
        yield
    except Exception as error:
        # Ray makes classes of its own that are ours, too, with a traceback as their text
        if isinstance(error, ConvTimeNetError) and type(error).__module__ == _ERRORS:
            raise
        raise EngineError(
            f"the engine {name} failed: {type(error).__name__}: {_told(error)}; finished "
            "parts are kept, and the same command goes on with the others; if it fails again, look "
            "into the logs of its workers, check the address, or take another folder and fewer "
            "rows_per_part"
        ) from error


_ERRORS = ConvTimeNetError.__module__


_RAISED = re.compile(r"(\w+\.)*\w*(Error|Exception): .")


def _told(error: BaseException) -> str:
    """The line of an error's text that tells what happened: of a traceback of Python, as Ray and
    Spark pass it on, the error that was raised first; else the last, without Java's frames."""
    lines = [line.strip() for line in str(error).splitlines()]
    found = [
        one for one in lines if one and not one.startswith(("at ", "... ", "Driver stacktrace"))
    ]
    return next(filter(_RAISED.match, found), found[-1] if found else "no text")


def _ray(
    work: Work,
    parts: Sequence[Part],
    workers: int | None,
    address: str | None,
    tick: Callable[[float], None],
) -> list[Outcome]:
    import ray  # pyright: ignore[reportMissingImports]
    import ray.data  # pyright: ignore[reportMissingImports]

    class Worker:
        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return {"outcome": [json.dumps(work(parts[int(i)])) for i in batch["number"]]}

    own = not ray.is_initialized()
    workers = workers or (cores() if own and address is None else None)
    if not own:
        running = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", running):
            raise ConfigError(
                f"the address {address!r} is not that of the cluster of Ray that this process is "
                f"connected to, {running!r}; leave the address out to forecast on that cluster, or "
                "call ray.shutdown() first"
            )
    else:
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if address is None:
            quiet |= {"num_cpus": workers, "include_dashboard": False}
        ray.init(address=address, **quiet)
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    bars, level = context.enable_progress_bars, logger.level
    try:
        context.enable_progress_bars = False
        logger.setLevel(logging.ERROR)
        most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        numbers = ray.data.from_items(
            [{"number": i} for i in range(len(parts))], override_num_blocks=len(parts)
        )
        mapped = numbers.map_batches(
            Worker, batch_size=1, concurrency=min(most, len(parts)), zero_copy_batch=True
        )
        found = []
        for row in mapped.iter_rows():
            found.append(json.loads(row["outcome"]))
            tick(1)
        return found
    finally:
        context.enable_progress_bars = bars
        logger.setLevel(level)
        if own:
            ray.shutdown()


def _spark(
    work: Work,
    parts: Sequence[Part],
    workers: int | None,
    address: str | None,
    tick: Callable[[float], None],
) -> list[Outcome]:
    import pandas as pd
    from pyspark import SparkContext  # pyright: ignore[reportMissingImports]
    from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports]

    def run(frames: Iterator[Any]) -> Iterator[Any]:
        for frame in frames:
            told = [json.dumps(work(parts[i])) for i in frame["id"]]
            yield pd.DataFrame({"outcome": told})

    session = SparkSession.getActiveSession()  # of this thread; the context is the process's
    own = session is None and SparkContext._active_spark_context is None
    if session is None and not own:
        session = SparkSession.builder.getOrCreate()
    if session is None:
        if address is None or address.startswith("local"):
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder.appName("convtimenet predict")
        session = (
            builder.master(address or f"local[{workers or cores()}]")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .getOrCreate()
        )
    master = session.sparkContext.master
    if address not in (None, master):  # whoever made the session or its context, uses it
        raise ConfigError(
            f"the address {address!r} is not that of the running Spark session, whose master is "
            f"{master!r}; leave the address out to forecast in that session, or stop it first"
        )
    if own:
        session.sparkContext.setLogLevel("ERROR")
    try:
        # one task a part
        frame = session.range(0, len(parts), 1, len(parts)).mapInPandas(run, "outcome string")
        rows = _watched(session, frame.collect, tick)
        return [json.loads(row["outcome"]) for row in rows]
    finally:
        if own:
            session.stop()


def _watched(session: Any, collect: Callable[[], list[Any]], tick: Callable[[float], None]) -> Any:
    """Call `collect` and, until it returns, `tick` with the tasks that Spark has finished."""
    from pyspark import InheritableThread  # pyright: ignore[reportMissingImports]

    context, group = session.sparkContext, f"convtimenet-{time.monotonic_ns()}"
    result: list[Any] = []
    errors: list[BaseException] = []

    def target() -> None:
        context.setJobGroup(group, "convtimenet predict", interruptOnCancel=True)
        try:
            result.append(collect())
        except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
            errors.append(error)

    thread = InheritableThread(target=target, session=session)
    thread.start()
    told, tracker = 0, context.statusTracker()
    try:
        while thread.is_alive():
            thread.join(_LOOK)
            now = 0
            for job in tracker.getJobIdsForGroup(group):
                info = tracker.getJobInfo(job)
                for stage in () if info is None else info.stageIds:
                    stage_info = tracker.getStageInfo(stage)
                    now += 0 if stage_info is None else stage_info.numCompletedTasks
            if now > told:
                tick(now - told)
                told = now
    except BaseException:
        context.cancelJobGroup(group)
        thread.join()
        raise
    if errors:
        raise errors[0]
    return result[0]


def _dask(
    work: Work,
    parts: Sequence[Part],
    workers: int | None,
    address: str | None,
    tick: Callable[[float], None],
) -> list[Outcome]:
    from distributed import (  # pyright: ignore[reportMissingImports]
        Client,
        LocalCluster,
        as_completed,
    )

    cluster = None
    if address is None:
        cluster = LocalCluster(
            n_workers=workers or cores(),
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        )
    try:
        with Client(address if cluster is None else cluster) as client:
            keys = [f"{part.name}-{time.monotonic_ns()}" for part in parts]
            futures = client.map(work, parts, key=keys)
            found = []
            for future in as_completed(futures):
                found.append(future.result())
                future.release()
                tick(1)
            return found
    finally:
        if cluster is not None:
            cluster.close()


ENGINES: dict[str, Engine] = {"local": map_parts, "ray": _ray, "spark": _spark, "dask": _dask}
