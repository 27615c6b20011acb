"""Which models there are, and what each reads: for the page, and for authors of clients."""

from __future__ import annotations

import json
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from convtimenet.data.time.words import step_words
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.serving.models import Forecasting, Labelling, Models
from convtimenet.serving.schemas import Error, check_query, refusals


class Listed(BaseModel):
    name: str
    call: str = Field(description="a line for a shell that asks the model")


class ListedForecaster(Listed):
    task: Literal["forecast"]
    h: int = Field(description="the trained horizon, in steps")
    step: str = Field(description="what lies between two rows, such as '1 day'")
    time: str = Field(description="name of the time column in training")
    id: str | None = Field(description="name of the column that names the series; null for one")
    channels: list[str] = Field(description="columns that are forecast")
    known_ahead: list[str] = Field(description="covariates, needed for the rows ahead as well")
    known_so_far: list[str] = Field(description="covariates of the rows up to now")
    fixed: list[str] = Field(description="covariates with one value a series")


class ListedOther(Listed):
    task: Literal["classify", "regress"]
    channels: int
    classes: list[Any] = Field(description="of a classifier, in the order of its probabilities")


class ListedModels(BaseModel):
    models: list[ListedForecaster | ListedOther]


def routes(models: Models, needs_token: bool) -> APIRouter:
    """The address."""
    router = APIRouter(
        tags=["convtimenet"], dependencies=[Depends(check_query)], responses=refusals(Error, 422)
    )

    @router.get("/models")
    def names(request: Request) -> ListedModels:
        """The models, and what each of them reads."""
        address = f"{request.url.scheme}://{request.headers.get('host', '127.0.0.1')}"
        curl = 'curl -H "Authorization: Bearer $CONVTIMENET_TOKEN"' if needs_token else "curl"
        return ListedModels(
            models=[
                _forecaster(one, curl, address)
                if isinstance(one, Forecasting)
                else _other(one, curl, address)
                for one in models
            ]
        )

    return router


def _forecaster(served: Forecasting, curl: str, address: str) -> ListedForecaster:
    name, model = served.name, served.model
    read, encoder = model.tail_, model.covariates_
    if encoder.futr:  # only JSON has a place for the rows ahead
        parts = "'table': open('table.csv').read(), 'future': open('future.csv').read()"
        line = f"python3 -c \"import json; print(json.dumps({{'model': '{name}', {parts}}}))\""
        line += f" | {curl} --data-binary @- {address}/forecast"
    else:
        line = f"{curl} --data-binary @table.csv -H 'Content-Type: text/csv' "
        line += f"'{address}/forecast?model={name}'"
    return ListedForecaster(
        name=name,
        task="forecast",
        call=line,
        h=model.network_.config.outputs,
        step=step_words(served.frequency),
        time=read.time_name,
        id=read.id_name,
        channels=list(read.channels),
        known_ahead=[one.name for one in encoder.futr],
        known_so_far=[one.name for one in encoder.hist],
        fixed=[one.name for one in encoder.stat],
    )


def _other(served: Labelling, curl: str, address: str) -> ListedOther:
    model = served.model
    case: list[Any] = [0.1, 0.5, 0.9, 0.4]
    case = case if model.n_channels_ == 1 else [case] * model.n_channels_
    body = json.dumps({"model": served.name, "cases": [case]})
    return ListedOther(
        name=served.name,
        task="classify" if served.task == "classify" else "regress",
        call=f"{curl} {address}/{served.task} -d '{body}'",
        channels=model.n_channels_,
        classes=model.classes_.tolist() if isinstance(model, ConvTimeNetClassifier) else [],
    )
