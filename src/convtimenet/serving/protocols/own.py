"""The package's own routes: a table or cases in, the same kind of thing out."""

from __future__ import annotations

import io
from email.message import Message
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from convtimenet.data.files.written import decimals_for, shortened
from convtimenet.data.forecast_tables import write_rows
from convtimenet.data.labelled.cases import Cases
from convtimenet.data.tables import Table
from convtimenet.errors import DataError
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.forecasting.forecasts import Request as Asked
from convtimenet.serving.arrow_body import read_stream, written_stream
from convtimenet.serving.engine import Engine
from convtimenet.serving.json_body import (
    cases_from,
    csv_cases,
    csv_grid,
    forecast_like,
    grid_from,
    in_utf8,
    parsed,
)
from convtimenet.serving.models import Forecasting, Labelling, Models, Task
from convtimenet.serving.refusals import Refused
from convtimenet.serving.replies import ARROW, CSV, JSON, Reply, csv_bytes, json_reply, with_notices
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

_FORM = "application/x-www-form-urlencoded"
_OTHERS: dict[str, dict[str, Any]] = {
    CSV: {"type": "string"},
    ARROW: {"type": "string", "format": "binary"},
}
_TABLE: dict[str, Any] = {
    "anyOf": [
        {"type": "array", "items": {"type": "object"}},
        {"type": "object", "additionalProperties": {"type": "array"}},
        {"type": "string"},
    ]
}
_CASES: dict[str, Any] = {
    "anyOf": [
        {"type": "array", "items": {"type": "array", "items": {"type": ["number", "null"]}}},
        {
            "type": "array",
            "items": {
                "type": "array",
                "items": {"type": "array", "items": {"type": ["number", "null"]}},
            },
        },
        {"type": "string"},
    ]
}


class TableToForecast(BaseModel):
    """A table, as a list of records, as columns by name, or as the text of a CSV file."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str | None = Field(None, description="name; not needed if one forecaster is served")
    table: Any = Field(json_schema_extra=_TABLE)
    future: Any = Field(
        None, description="covariates of the rows ahead, as a table", json_schema_extra=_TABLE
    )
    h: int | None = Field(None, ge=1, description="steps; by default the trained horizon")
    level: list[float] | None = Field(
        None, max_length=20, description="levels of intervals in per cent, such as [80, 95]"
    )


class CasesToLabel(BaseModel):
    """Cases: for each a list of numbers, or a list of such channels; or the text of a CSV file."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str | None = Field(None, description="name; not needed if one such model is served")
    cases: Any = Field(json_schema_extra=_CASES)


class Forecasted(BaseModel):
    model: str
    forecast: Any = Field(json_schema_extra=_TABLE, description="in the form of the table sent")
    notices: list[str]


class Classified(BaseModel):
    model: str
    classes: list[Any]
    labels: list[Any] = Field(description="all classes, in the order of the probabilities")
    probabilities: list[list[float]]
    notices: list[str]


class Regressed(BaseModel):
    model: str
    numbers: list[float]
    notices: list[str]


class LabelledTable(BaseModel):
    """The answer to cases that were sent as the text of a CSV file."""

    model: str
    table: str
    notices: list[str]


Name = Annotated[str | None, Query(description="model, for bodies in CSV and Arrow")]


def routes(engine: Engine, models: Models) -> APIRouter:
    """The routes."""
    router = APIRouter(
        tags=["convtimenet"],
        dependencies=[Depends(check_query)],
        responses=refusals(Error, *COMPUTING),
    )

    @router.post(
        "/forecast",
        openapi_extra=body_of(TableToForecast, **_OTHERS),
        responses=answers(Forecasted, **_OTHERS),
    )
    async def forecast(
        request: Request,
        model: Name = None,
        h: Annotated[int | None, Query(ge=1)] = None,
        level: Annotated[list[float] | None, Query(max_length=20)] = None,
    ) -> Response:
        """Forecast the steps after the end of a table."""
        options = {"model": model, "h": h, "level": level}
        body = await request.body()
        kind, charset = _kind(request, body)
        one = Forecast(models, body, kind, options, charset)
        return reply_of(await engine.run(one.prepare, one.finish))

    @router.post(
        "/classify",
        openapi_extra=body_of(CasesToLabel, **_OTHERS),
        responses=answers(Classified | LabelledTable, **_OTHERS),
    )
    async def classify(request: Request, model: Name = None) -> Response:
        """Classes and their probabilities for cases."""
        body = await request.body()
        kind, charset = _kind(request, body)
        one = Labels(models, body, kind, model, "classify", charset)
        return reply_of(await engine.run(one.prepare, one.finish))

    @router.post(
        "/regress",
        openapi_extra=body_of(CasesToLabel, **_OTHERS),
        responses=answers(Regressed | LabelledTable, **_OTHERS),
    )
    async def regress(request: Request, model: Name = None) -> Response:
        """A number for each case."""
        body = await request.body()
        kind, charset = _kind(request, body)
        one = Labels(models, body, kind, model, "regress", charset)
        return reply_of(await engine.run(one.prepare, one.finish))

    return router


def _kind(request: Request, body: bytes) -> tuple[str, str | None]:
    """The type of a request's body, and the charset of its text, if it is given. Without a type, or
    with the one that curl sends by itself, an object in JSON is known by how it begins.

    Raises
    ------
    Refused
        If it is none of ours.
    """
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    found = str(header["content-type"]).partition(";")[0].strip().lower()
    kind = found
    if found in ("", _FORM) and body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        kind = JSON
    if kind not in (JSON, CSV, ARROW):
        by_itself = ", which curl sends unless it is told another" if found == _FORM else ""
        raise Refused(
            415,
            f"expected the Content-Type {JSON}, {CSV} or {ARROW}, found "
            f"{repr(found[:60]) if found else 'none'}{by_itself}; set it, for a table in CSV with "
            f"-H 'Content-Type: {CSV}'",
        )
    return kind, header.get_content_charset()


def _check_options(options: dict[str, Any]) -> None:
    if given := [name for name, value in options.items() if value is not None]:
        raise DataError(
            f"expected {', '.join(given)} in the JSON body, found it in the address; move it there"
        )


class Forecast:
    """A request, from its body to its answer."""

    def __init__(
        self,
        models: Models,
        body: bytes,
        kind: str,
        options: dict[str, Any],
        charset: str | None = None,
    ):
        self.models, self.body, self.kind, self.options = models, body, kind, options
        self.charset, self.sent = charset, None

    def prepare(self) -> tuple[Forecasting, Asked]:
        options, future = self.options, None
        if self.kind == JSON:
            _check_options(options)
            body = checked(TableToForecast, parsed(self.body))
            options = {"model": body.model, "h": body.h, "level": body.level}
            self.sent, table = body.table, grid_from("table", body.table)
            future = None if body.future is None else grid_from("future", body.future)
        elif self.kind == CSV:
            table = csv_grid("table", in_utf8(self.body, self.charset))
        else:
            table = read_stream(self.body)
        served: Forecasting = self.models.of("forecast", options["model"], "/forecast")
        self.name = served.name
        if self.kind != JSON and served.model.covariates_.futr:
            raise DataError(
                "the model reads covariates of the rows ahead, for which this format has no place; "
                'send JSON with "table" and "future", both as the text of CSV files if you like'
            )
        return served, served.prepare(table, future, options["h"], options["level"])

    def finish(self, asked: Asked, found: Any) -> Reply:
        notices = [*asked.table.notices, *asked.notices]
        if isinstance(found, Table):
            notices = list(dict.fromkeys([*notices, *found.notices]))
        if self.kind == ARROW:
            return with_notices(written_stream(found), ARROW, notices)
        if self.kind == CSV or isinstance(self.sent, str):
            file = io.StringIO()
            write_rows(file, found, source=asked.table)
            if self.kind == CSV:
                return with_notices(file.getvalue().encode(), CSV, notices)
            forecast: Any = file.getvalue()
        else:
            forecast = forecast_like(self.sent, found)
        return json_reply({"model": self.name, "forecast": forecast, "notices": notices})


class Labels:
    """The same for cases."""

    def __init__(
        self,
        models: Models,
        body: bytes,
        kind: str,
        model: str | None,
        task: Task,
        charset: str | None = None,
    ):
        self.models, self.body, self.kind = models, body, kind
        self.model, self.sent, self.charset = model, None, charset
        self.task: Task = task

    def prepare(self) -> tuple[Labelling, Cases]:
        name = self.model
        if self.kind == JSON:
            _check_options({"model": name})
            body = checked(CasesToLabel, parsed(self.body))
            name, self.sent = body.model, body.cases
            cases: Any = cases_from(body.cases)
        elif self.kind == CSV:
            cases = csv_cases("cases", in_utf8(self.body, self.charset))
        else:
            cases = read_stream(self.body)
        self.served: Labelling = self.models.of(self.task, name, f"/{self.task}")
        return self.served, self.served.prepare(cases)

    def finish(self, asked: Cases, found: np.ndarray) -> Reply:
        model, notices = self.served.model, list(asked.notices)
        if isinstance(model, ConvTimeNetClassifier):
            labels = model.classes_.tolist()
            classes = model.classes_[found.argmax(axis=1)].tolist()
            if self.kind == JSON and not isinstance(self.sent, str):
                answer = {"classes": classes, "labels": labels, "probabilities": found.tolist()}
                return json_reply({"model": self.served.name, **answer, "notices": notices})
            shares = {f"p_{label}": found[:, k] for k, label in enumerate(labels)}
            return self._as_table(asked, {"class": classes}, shares, 0, notices)
        if self.kind == JSON and not isinstance(self.sent, str):
            answer = {"model": self.served.name, "numbers": found.tolist(), "notices": notices}
            return json_reply(answer)
        digits = decimals_for(float(model.target_scaler_.scale.max()))
        return self._as_table(asked, {}, {"number": found}, digits, notices)

    def _as_table(
        self,
        asked: Cases,
        labels: dict[str, list[Any]],
        numbers: dict[str, np.ndarray],
        digits: int,
        notices: list[str],
    ) -> Reply:
        """Columns as a table, with the ids of the cases or their numbers first; in CSV numbers have
        six digits, or `digits` decimals, as the command line writes them."""
        names = np.arange(len(asked.values)) if asked.ids is None else list(asked.ids)
        columns = {"case": names, **labels}
        if self.kind == ARROW:
            import pyarrow as pa

            return with_notices(written_stream(pa.table({**columns, **numbers})), ARROW, notices)
        columns |= {
            name: [shortened(v, digits) for v in of.tolist()] for name, of in numbers.items()
        }
        text = csv_bytes([*columns], zip(*columns.values(), strict=True))
        if self.kind == CSV:
            return with_notices(text, CSV, notices)
        return json_reply({"model": self.served.name, "table": text.decode(), "notices": notices})
