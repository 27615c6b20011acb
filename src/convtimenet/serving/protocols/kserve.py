"""KServe's time series protocol: ``POST /v1/timeseries/forecast``.

A request has no covariates and one table for all of its inputs, a long one with the names as ids.
"""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from convtimenet.data.agreement import Terms
from convtimenet.data.sources.by_role import Columns
from convtimenet.data.tables import Table
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.time.timestamps import FIRST_YEAR, LAST_YEAR
from convtimenet.errors import DataError
from convtimenet.estimators.forecasting.calibration import band_names
from convtimenet.estimators.forecasting.forecasts import Request as Asked
from convtimenet.serving.engine import Engine
from convtimenet.serving.json_body import parsed
from convtimenet.serving.models import Forecasting, Models
from convtimenet.serving.protocols.series import table_of
from convtimenet.serving.replies import Reply, json_reply
from convtimenet.serving.schemas import (
    COMPUTING,
    Error,
    answers,
    body_of,
    checked,
    refusals,
    reply_of,
)
from convtimenet.wording import listing

PATH = "/v1/timeseries/forecast"
_LETTERS = {
    **{letter: letter for letter in "STHDWMQY"},
    "second": "S",
    "minute": "T",
    "hour": "H",
    "day": "D",
    "week": "W",
    "month": "M",
    "quarter": "Q",
    "year": "Y",
}
_LENGTHS = {"W": 604_800, "D": 86_400, "H": 3600, "T": 60}
Kind = Literal["univariate_time_series", "multivariate_time_series"]
FrequencyName = Literal[
    "second", "S", "minute", "T", "hour", "H", "day", "D", "week", "W", "month", "M", "quarter",
    "Q", "year", "Y",
]  # fmt: skip
Number = float | None


class TimeSeriesInput(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    type: Kind
    name: str = Field(max_length=1000)
    series: list[Number] | list[list[Number]]
    frequency: FrequencyName
    start_timestamp: str | None = None


class ForecastOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    horizon: int = Field(ge=1)
    quantiles: list[float] | None = Field(None, max_length=100)


class TimeSeriesRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    model: str
    inputs: list[TimeSeriesInput] = Field(min_length=1)
    options: ForecastOptions
    metadata: dict[str, Any] | None = None


class ForecastContent(BaseModel):
    type: Kind
    name: str
    mean_forecast: list[float] | list[list[float]]
    frequency: FrequencyName
    start_timestamp: str
    quantiles: dict[str, list[float] | list[list[float]]] | None


class ForecastOutput(BaseModel):
    type: Literal["time_series_forecast"]
    id: str
    status: Literal["completed"]
    content: list[ForecastContent]
    error: None


class TimeSeriesAnswer(BaseModel):
    id: str
    created_at: int
    status: Literal["completed"]
    error: None
    model: str
    outputs: list[ForecastOutput]
    usage: None


def routes(engine: Engine, models: Models) -> APIRouter:
    """The routes of the protocol."""
    router = APIRouter(tags=["KServe time series"], responses=refusals(Error))

    @router.post(
        PATH,
        openapi_extra=body_of(TimeSeriesRequest),
        responses=refusals(Error, *COMPUTING) | answers(TimeSeriesAnswer),
    )
    async def forecast(request: Request) -> Response:
        """Forecast series that are given as numbers."""
        one = _Forecast(models, await request.body())
        return reply_of(await engine.run(one.prepare, one.finish))

    @router.get("/v1/timeseries/models")
    async def names() -> list[str]:
        """The names of the forecasters."""
        return [served.name for served in models if served.task == "forecast"]

    return router


class _Forecast:
    """A request, from its body to its answer."""

    def __init__(self, models: Models, body: bytes):
        self.models, self.body = models, body

    def prepare(self) -> tuple[Forecasting, Asked]:
        sent = self.sent = checked(TimeSeriesRequest, parsed(self.body))
        served: Forecasting = self.models.of("forecast", sent.model, PATH)
        encoder = served.model.covariates_
        if names := [one.name for of in (encoder.hist, encoder.futr, encoder.stat) for one in of]:
            raise DataError(
                f"the model reads the covariates {listing(names)}, for which {PATH} has no place; "
                "POST a table to /forecast"
            )
        names = [one.name for one in sent.inputs]
        if len(set(names)) < len(names):
            raise DataError(
                "inputs: expected a different name for each, found one twice; rename it"
            )
        starts = []
        for one in sent.inputs:
            _check_frequency(one.frequency, served.frequency)
            if encoder.calendar and one.start_timestamp is None:
                raise DataError(
                    f"inputs: the model has calendar features, expected a start_timestamp for "
                    f"{one.name[:64]!r}, found none; add it"
                )
            starts.append(_start(one, served.model.terms))
        self.zulu = [stamp is None or utc for stamp, utc in starts]
        table = table_of(
            served, [_values(one) for one in sent.inputs], names, [stamp for stamp, _ in starts]
        )
        self.quantiles = {q: _level(q) for q in sent.options.quantiles or ()}
        levels = sorted({one for one in self.quantiles.values() if one})
        return served, served.prepare(table, None, sent.options.horizon, levels)

    def finish(self, asked: Asked, found: Table) -> Reply:
        h, C = asked.steps, len(asked.table.channels)
        values = found.values.reshape(len(found.ids), h, C, -1)
        bands = band_names(asked.levels)
        outputs = []
        for number, one in enumerate(self.sent.inputs):
            by_band = dict(zip(bands, np.moveaxis(values[number], -1, 0), strict=True))
            content: dict[str, Any] = {
                "type": one.type,
                "name": one.name,
                "mean_forecast": _as_sent(one, by_band[""]),
                "frequency": one.frequency,
                "start_timestamp": _stamp(found.times[number * h], self.zulu[number]),
                "quantiles": None,
            }
            if self.sent.options.quantiles is not None:
                content["quantiles"] = {
                    str(q): _as_sent(one, by_band[_band(q, level)])
                    for q, level in self.quantiles.items()
                }
            outputs.append(
                {
                    "type": "time_series_forecast",
                    "id": f"ts_{uuid.uuid4().hex}",
                    "status": "completed",
                    "content": [content],
                    "error": None,
                }
            )
        return json_reply(
            {
                "id": f"resp_{uuid.uuid4().hex}",
                "created_at": int(time.time()),
                "status": "completed",
                "error": None,
                "model": self.sent.model,
                "outputs": outputs,
                "usage": None,
            }
        )


def _values(one: TimeSeriesInput) -> np.ndarray:
    """The series of an input, (T, C), NaN where missing."""
    nested = [isinstance(row, list) for row in one.series]
    multivariate = one.type == "multivariate_time_series"
    if not nested or any(nested) != multivariate or all(nested) != multivariate:
        wanted = "a list of variables at every step" if multivariate else "one number at every step"
        raise DataError(
            f"inputs: expected {wanted} in the {one.type} {one.name[:64]!r}, found another series; "
            "correct it or its type"
        )
    rows: list[list[Any]] = one.series if multivariate else [[cell] for cell in one.series]  # type: ignore[assignment]
    if not rows[0] or len({len(row) for row in rows}) > 1:
        raise DataError(
            f"inputs: expected the same variables at every step of {one.name[:64]!r}, found "
            "another number of them; give null where a value is missing"
        )
    return np.array(rows, dtype=np.float64)


def _as_sent(one: TimeSeriesInput, values: np.ndarray) -> list[Any]:
    """A forecast (h, C) like its input."""
    return (values if one.type == "multivariate_time_series" else values[:, 0]).tolist()


def _level(q: float) -> float:
    """The level in per cent whose lower or upper bound is this quantile; 0 for the forecast."""
    if not 0 < q < 1:
        raise DataError(f"quantiles: expected numbers between 0 and 1, found {q:g}; correct it")
    level = round(abs(100 - 200 * q), 6)
    if 0 < level < 1:  # it would be taken for a fraction
        raise DataError(
            f"quantiles: expected 0.5, or numbers that are at least 0.005 from it, found {q:g}; "
            "correct it"
        )
    return level


def _band(q: float, level: float) -> str:
    return "" if not level else f"{'lo' if q < 0.5 else 'hi'}-{level:g}"


def _letter(step: Frequency) -> str | None:
    """KServe's letter for a step; None for whole numbers, which fit any."""
    if step.unit == "step":
        return None
    if step.unit == "ns":
        fits = (name for name, size in _LENGTHS.items() if step.count % (size * 10**9) == 0)
        return next(fits, "S")
    if step.unit == "month":
        return "Y" if step.count % 12 == 0 else "Q" if step.count % 3 == 0 else "M"
    return {"business": "D", "business hour": "H"}.get(step.unit, "M")


def _check_frequency(name: str, step: Frequency) -> None:
    letter = _letter(step)
    if letter is not None and _LETTERS[name] != letter:
        raise DataError(
            f"frequency: the model was fitted to steps of {step.name}, expected {letter!r}, found "
            f"{name!r}; resample the series, or name another model"
        )


def _start(one: TimeSeriesInput, terms: Terms) -> tuple[np.datetime64 | None, bool]:
    """A time stamp in UTC, or as it is written if it has no offset; and whether it has one.

    Raises
    ------
    DataError
        If it is no time, or one that `/forecast` would refuse. Only a plain Z, which clients of
        this protocol write by habit, may stand for no zone.
    """
    text = one.start_timestamp
    if text is None:
        return None, True
    try:
        stamp, zone = datetime.fromisoformat(text), None
        offset = stamp.tzinfo is not None
        if offset:
            zone = str(stamp.tzinfo).removeprefix("UTC") or "UTC"
            stamp = stamp.astimezone(UTC).replace(tzinfo=None)
        if not FIRST_YEAR <= stamp.year <= LAST_YEAR:
            raise ValueError
    except (ValueError, OverflowError):
        raise DataError(
            f"start_timestamp: expected a time as 2024-01-31T00:00:00Z from {FIRST_YEAR} to "
            f"{LAST_YEAR}, found {text[:40]!r}; correct it"
        ) from None
    if not terms.dated and terms.origin.kind != "numpy":
        raise DataError(
            f"start_timestamp: the model was fitted to whole numbers as time stamps, expected "
            f"none, found {text[:40]!r}; leave it out"
        )
    if terms.time_zone is None and zone == "UTC":
        zone = None
    start = np.datetime64(stamp, "ns")
    like_it = Columns.without_rows(np.array([start]), zone, ())
    terms.stamps(like_it, f"the input {one.name[:64]!r}")
    return start, offset


def _stamp(stamp: Any, utc: bool) -> str:
    """A time stamp as text, with a Z if it is in UTC; whole numbers as they are."""
    if not isinstance(stamp, np.datetime64):
        return str(stamp)
    unit = "s" if stamp.astype("M8[s]") == stamp else "ns"
    return f"{np.datetime_as_string(stamp, unit=unit)}{'Z' if utc else ''}"
