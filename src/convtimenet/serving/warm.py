"""A first answer of every model in every format, before the server listens.

What is slow only once (imports, compiled kernels, buffers of the network) is then done. It may take
any time, and a model that refuses even the smallest request is served with a warning.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from convtimenet.data.forecast_tables import table_times
from convtimenet.data.table_rows import crop, extend, select_series
from convtimenet.data.tables import Table
from convtimenet.errors import ConvTimeNetError
from convtimenet.network.kernels.library import warm_up
from convtimenet.serving.engine import Engine
from convtimenet.serving.json_body import written
from convtimenet.serving.models import Forecasting, Labelling, Models, Served
from convtimenet.serving.protocols import own
from convtimenet.serving.refusals import Refused
from convtimenet.serving.replies import ARROW, CSV, JSON, csv_bytes
from convtimenet.serving.settings import MOST_CELLS

log = logging.getLogger(__name__)


async def warm(engine: Engine, models: Models) -> list[str]:
    """Compute these answers; a notice for each model that can hardly be asked."""
    notices = []
    await asyncio.to_thread(warm_up)
    for served in models:
        columns, future = _example(served)
        refused: dict[str, str] = {}
        for kind in (JSON, CSV, ARROW):
            body = _body(served, kind, columns, future)
            if body is None:
                continue
            given = None if kind == JSON else served.name
            request: Any
            if isinstance(served, Forecasting):
                options = {"model": given, "h": None, "level": None}
                request = own.Forecast(models, body, kind, options)
            else:
                request = own.Labels(models, body, kind, given, served.task)
            try:
                await engine.run(request.prepare, request.finish, timed=False)
            except Refused as error:
                refused[kind] = error.message
            except ConvTimeNetError as error:  # such as a time format that we do not write
                log.info("%s was not warmed up with %s: %s", served.name, kind, error)
        if refused:
            notices.append(
                f"{served.name}: /{served.task} refuses even a small request for this model "
                f"({', '.join(refused)}): {next(iter(refused.values()))}"
            )
            log.warning(notices[-1])
    return notices


def _example(served: Served) -> tuple[Any, dict[str, list[Any]] | None]:
    """Columns of a table, and of its rows ahead if there are covariates; or a case (C, L). They
    have no more cells than a request may have, if the model can do with those."""
    config = served.model.network_.config
    if isinstance(served, Labelling):
        C = served.model.n_channels_
        steps = np.arange(min(config.context_length, max(1, MOST_CELLS // C)))
        return np.sin(steps + np.arange(C)[:, None]), None
    model = served.model
    table = select_series(model.tail_, np.arange(1))
    least = 1 if model.tail_.long else config.least_context
    rows = max(least, MOST_CELLS // (len(table.channels) + len(table.covariates) + 2))
    table = crop(table, table.lengths - rows, table.lengths)
    names = [column.name for column in model.covariates_.futr]
    if not names:
        return _columns(table), None
    H = config.outputs
    ahead = crop(extend(table, H), table.lengths, table.lengths + H)
    last = {name: np.repeat(table.covariates[name][-1:], H) for name in names}
    return _columns(table), _columns(replace(ahead, covariates=last, channels=()))


def _columns(table: Table) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    if table.id_name is not None:
        found[table.id_name] = np.repeat(table.ids, table.lengths).tolist()
    found[table.time_name] = table_times(table)
    for name, column in [
        *zip(table.channels, table.values.T, strict=False),
        *table.covariates.items(),
    ]:
        found[name] = list(column)
    return {name: [_sent(one) for one in column] for name, column in found.items()}


def _sent(cell: Any) -> Any:
    """A cell as JSON has it."""
    if isinstance(cell, float):
        return None if np.isnan(cell) else float(cell)
    return cell


def _body(served: Served, kind: str, columns: Any, future: Any) -> bytes | None:
    """A request for an example; None if the format has no place for it."""
    if kind == ARROW and find_spec("pyarrow") is None:
        return None
    if isinstance(served, Labelling):
        if kind == JSON:
            return written({"model": served.name, "cases": [columns.tolist()]})
        rows = columns.tolist()
        if kind == CSV and len(rows) > 1:
            return None
        if kind == CSV:
            columns = {f"t{i}": [value] for i, value in enumerate(rows[0])}
        else:
            columns = {f"channel {i}": [row] for i, row in enumerate(rows)}
    if kind == JSON:
        return written({"model": served.name, "table": columns, "future": future})
    if future is not None:
        return None
    if kind == CSV:
        return csv_bytes([*columns], zip(*columns.values(), strict=True))
    import pyarrow as pa

    from convtimenet.serving.arrow_body import written_stream

    return written_stream(pa.table(columns))
