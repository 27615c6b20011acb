"""What the client of Nixtla's API asks for: ``POST /v2/forecast``, and its calls before it.

The client sends values without ids, names and time stamps, so a model with calendar features or
static covariates cannot answer it. Covariates come by position: those known ahead in the order of
the model's ``futr_exog``, then those of ``hist_exog``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from convtimenet.data.agreement import Labels
from convtimenet.data.forecast_tables import future_table
from convtimenet.data.tables import Table
from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.calibration import band_names
from convtimenet.estimators.forecasting.forecasts import Request as Asked
from convtimenet.serving.engine import Engine
from convtimenet.serving.json_body import check_cells, parsed
from convtimenet.serving.models import Forecasting, Models
from convtimenet.serving.protocols.series import table_of
from convtimenet.serving.refusals import Refused
from convtimenet.serving.replies import Reply, json_reply
from convtimenet.serving.schemas import (
    COMPUTING,
    Error,
    answers,
    body_of,
    check_query,
    checked,
    refusals,
    reply_of,
)
from convtimenet.serving.settings import MOST_CELLS
from convtimenet.wording import listing

PATH = "/v2/forecast"
_HERE = "this server only forecasts with the models that it was started with"
_TUNING = (
    f"fine-tuning: {_HERE}; train one with `convtimenet forecast`, save it, and start the server "
    "with it"
)
_DETECTING = (
    f"detection of anomalies: {_HERE}; use `convtimenet detect FILE`, or `detect` in Python"
)
_ABSENT = {
    "/usage": f"usage: {_HERE}, and counts nothing by key; /metrics counts all requests",
    "/v2/cross_validation": f"cross_validation: {_HERE}; leave add_history out of forecast, "
    "or use `cross_validation` of the estimator in Python",
    "/v2/anomaly_detection": _DETECTING,
    "/v2/online_anomaly_detection": _DETECTING,
    "/v2/finetune": _TUNING,
    "/v2/finetuned_models": _TUNING,
    "/v2/finetuned_models/{name}": _TUNING,
}
"""What the client asks for besides: what it is, and what to do instead."""
_UNNAMED = "timegpt-1"
"""What the client names if its caller names no model."""
Number = float | None
Count = Annotated[int, Field(ge=1, le=MOST_CELLS)]


class SeriesSent(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    y: list[Number] = Field(min_length=1)
    sizes: list[Count] = Field(min_length=1, description="rows of each series")
    X: list[list[Number]] | None = None
    X_future: list[list[Number]] | None = None


class NixtlaRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    series: SeriesSent
    model: str = _UNNAMED
    h: Count
    freq: str
    level: list[float] | None = Field(None, max_length=100)
    clean_ex_first: bool = True
    """Sent always, as the next two; of no effect here: covariates are used as they come."""
    finetune_depth: int = 1
    finetune_loss: str = "default"
    finetune_steps: int = 0
    finetuned_model_id: str | None = None
    feature_contributions: bool = False
    multivariate: bool = False
    model_parameters: dict[str, Any] | None = None


class NixtlaAnswer(BaseModel):
    mean: list[float]
    intervals: dict[str, list[float]] | None
    weights_x: None
    feature_contributions: None


def routes(engine: Engine, models: Models) -> APIRouter:
    """The routes that the client calls."""
    router = APIRouter(tags=["Nixtla"], responses=refusals(Error))

    @router.get("/validate_api_key")
    async def valid() -> dict[str, str]:
        """Answers whoever has the token."""
        return {"detail": "the key is valid"}

    @router.get(
        "/model_params",
        dependencies=[Depends(check_query)],
        responses=refusals(Error, 404, 422),
    )
    async def parameters(model: str = _UNNAMED, freq: str = "") -> dict[str, Any]:
        """Context and horizon of a forecaster, by which the client shortens its series."""
        config = _named(models, model).model.network_.config
        sizes = {"input_size": config.context_length, "horizon": config.outputs}
        return {"detail": sizes}

    @router.post(
        PATH,
        openapi_extra=body_of(NixtlaRequest),
        responses=refusals(Error, *COMPUTING) | answers(NixtlaAnswer),
    )
    async def forecast(request: Request) -> Response:
        """Forecast series that are given as numbers."""
        one = _Forecast(models, await request.body())
        return reply_of(await engine.run(one.prepare, one.finish))

    for path, said in _ABSENT.items():
        router.add_api_route(
            path, _absent(said), methods=["GET", "POST", "DELETE"], include_in_schema=False
        )
    return router


def _absent(said: str) -> Callable[[], Awaitable[None]]:
    async def refuse() -> None:
        raise Refused(404, said)

    return refuse


def _named(models: Models, name: str) -> Forecasting:
    unnamed = name == _UNNAMED and all(one.name != name for one in models)
    return models.of("forecast", None if unnamed else name, PATH)


class _Forecast:
    """A request, from its body to its answer."""

    def __init__(self, models: Models, body: bytes):
        self.models, self.body = models, body

    def prepare(self) -> tuple[Forecasting, Asked]:
        sent = self.sent = checked(NixtlaRequest, parsed(self.body))
        served = _named(self.models, sent.model)
        _check_features(sent)
        _check_model(served)
        _check_frequency(sent.freq, served.frequency)
        sizes = np.array(sent.series.sizes)
        if sizes.sum() != len(sent.series.y):
            raise DataError(
                f"series.sizes: expected numbers of rows that add up to the {len(sent.series.y)} "
                f"values of series.y, found a sum of {sizes.sum()}; correct them"
            )
        check_cells("series", len(sizes) * sent.h)
        ends = np.cumsum(sizes)
        y = np.array(sent.series.y, dtype=np.float64)[:, None]
        ids = _new_ids(served, len(ends))
        hist, futr = self._covariates(served, ends)
        table = table_of(served, np.split(y, ends[:-1]), ids, [None] * len(ends), hist)
        future = None if futr is None else _plan(table, futr, sent.h)
        levels = sorted({one for one in sent.level or () if one})  # 0 stands for the median
        return served, served.prepare(table, future, sent.h, levels)

    def finish(self, asked: Asked, found: Table) -> Reply:
        values = found.values.T.tolist()
        intervals = dict(zip(band_names(asked.levels)[1:], values[1:], strict=True))
        if 0 in (self.sent.level or ()):
            intervals |= {"lo-0": values[0], "hi-0": values[0]}
        return json_reply(
            {
                "mean": values[0],
                "intervals": intervals if self.sent.level else None,
                "weights_x": None,
                "feature_contributions": None,
            }
        )

    def _covariates(
        self, served: Forecasting, ends: np.ndarray
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
        """Covariates of the rows of the series, and of those ahead, by name."""
        encoder, series = served.model.covariates_, self.sent.series
        futr = [one.name for one in encoder.futr]
        names = [*futr, *(one.name for one in encoder.hist if one.name not in futr)]
        past, ahead = series.X or [], series.X_future or []
        for what, found, wanted, rows in (
            ("X", past, names, len(series.y)),
            ("X_future", ahead, futr, len(ends) * self.sent.h),
        ):
            if len(found) != len(wanted) or any(len(one) != rows for one in found):
                listed = f"the covariates {listing(wanted)}" if wanted else "no covariates"
                raise DataError(
                    f"series.{what}: expected {listed}, {rows} values each, found "
                    f"{len(found)} columns; those known ahead (X_df of the client) come first, "
                    "then hist_exog_list"
                )
        columns = {
            name: np.array(one, dtype=np.float64) for name, one in zip(names, past, strict=True)
        }
        plan = {
            name: np.array(one, dtype=np.float64) for name, one in zip(futr, ahead, strict=True)
        }
        return columns, plan if futr else None


def _new_ids(served: Forecasting, n: int) -> list[str]:
    """Ids that are those of no series of training, as the client sends none."""
    known, prefix = Labels(served.model.tail_.ids.tolist()), "series "
    while any(known.find(f"{prefix}{i}") for i in range(n)):
        prefix += "_"
    return [f"{prefix}{i}" for i in range(n)]


def _plan(table: Table, futr: dict[str, np.ndarray], h: int) -> Table:
    """The rows ahead of a table with their covariates."""
    ahead = future_table(table, np.empty((len(table.lengths) * h, 0)), ())
    return replace(ahead, covariates=futr)


def _check_features(sent: NixtlaRequest) -> None:
    """Refuse what this server would have to leave undone."""
    asked = [
        name
        for name, given in (
            ("finetune_steps", sent.finetune_steps),
            ("finetuned_model_id", sent.finetuned_model_id),
            ("feature_contributions", sent.feature_contributions),
            ("multivariate", sent.multivariate),
            ("model_parameters", sent.model_parameters),
        )
        if given
    ]
    if asked:
        raise DataError(
            f"expected a forecast of a trained model, found {', '.join(asked)}, which this server "
            "does not have; leave it out"
        )


def _check_model(served: Forecasting) -> None:
    model, encoder = served.model, served.model.covariates_
    fixed = model.network_.config.fixed_channels or (len(model.channels_) if model.scale else 1)
    if fixed > 1:
        raise DataError(
            f"the model forecasts {listing(model.channels_)} together, but {PATH} sends one "
            "variable for each series; POST a table to /forecast"
        )
    lacking = [*(one.name for one in encoder.stat), *encoder.calendar]
    if lacking:
        raise DataError(
            f"the model reads {listing(lacking)}: static covariates and calendar features, for "
            f"which {PATH} has no place; POST a table to /forecast"
        )
    texts = [one.name for one in (*encoder.hist, *encoder.futr) if one.categories is not None]
    if texts:
        raise DataError(
            f"the model reads {listing(texts)} as text, but {PATH} sends numbers alone; POST a "
            "table to /forecast"
        )


def _check_frequency(freq: str, step: Frequency) -> None:
    """Refuse another step; the client says "MS" for whole numbers as time stamps."""
    found = Frequency.parse(freq)
    if step.unit == "step" or (found.unit, found.count) == (step.unit, step.count):
        return
    raise DataError(
        f"freq: the model was fitted to steps of {step.name}, found {freq[:40]!r}; resample the "
        "series, or name another model"
    )
