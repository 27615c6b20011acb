"""The models that a server answers with: named and verified when it starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from convtimenet.data.labelled.cases import Cases, joined
from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import ConfigError
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.forecasting.forecasts import Request
from convtimenet.estimators.loading import load_model
from convtimenet.estimators.regressor import ConvTimeNetRegressor
from convtimenet.serving.refusals import Refused
from convtimenet.serving.settings import MOST_CELLS, MOST_HORIZONS
from convtimenet.wording import listing

Task = Literal["forecast", "classify", "regress"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONG = 64
"""Cases may be this many times as long as those of training, but `_SHORT` steps always."""
_SHORT = 10_000


class Forecasting:
    """A forecaster that is served."""

    task: Task = "forecast"

    def __init__(self, name: str, model: ConvTimeNetForecaster):
        self.name, self.model = name, model

    @property
    def frequency(self) -> Frequency:
        """The step between rows."""
        return self.model.terms.frequency

    def prepare(self, table: Any, future: Any, h: int | None, level: Any) -> Request:
        """Read and check a table to forecast.

        Raises
        ------
        DataError, ConfigError
            As `predict`.
        Refused
            If the forecast would be too large.
        """
        model, H = self.model, self.model.network_.config.outputs
        if h is not None and h > MOST_HORIZONS * H:
            raise Refused(
                422,
                f"h: expected at most {MOST_HORIZONS * H} steps, {MOST_HORIZONS} times the trained "
                f"horizon, found {str(h)[:20]}; forecast fewer steps",
            )
        read = model.adapt(table)
        columns = len(read.channels) * (1 + 2 * len(level or ()))
        cells = len(read.lengths) * (h or H) * columns
        if cells > MOST_CELLS:
            raise Refused(
                413,
                f"expected a forecast of at most {MOST_CELLS} numbers, found {cells}; forecast "
                "fewer series or steps at a time",
            )
        return model.request(read, h, level or None, future)

    def kind(self, request: Request) -> tuple[Any, ...]:
        """What requests that are computed together must share."""
        return request.kind

    def answers(self, requests: Sequence[Request]) -> list[Any]:
        """The forecast for each of several requests of one kind."""
        return self.model.predict_requests(requests)


class Labelling:
    """A classifier or regressor that is served."""

    def __init__(self, name: str, model: ConvTimeNetClassifier | ConvTimeNetRegressor):
        self.name, self.model = name, model
        self.task: Task = "classify" if isinstance(model, ConvTimeNetClassifier) else "regress"

    def prepare(self, X: Any) -> Cases:
        """Read and check cases.

        Raises
        ------
        DataError
            As `predict`.
        Refused
            If a case is too long.
        """
        cases = self.model.read(X)
        most = max(_SHORT, _LONG * self.model.network_.config.context_length)
        if cases.values.shape[2] > most:
            raise Refused(
                413,
                f"expected cases of at most {most} steps, found one of {cases.values.shape[2]}; "
                "shorten it",
            )
        return cases

    def kind(self, cases: Cases) -> tuple[Any, ...]:
        """What cases that are computed together must share: the number of channels, and a length
        up to a factor of two, as they are padded to the longest."""
        return cases.values.shape[1], int(cases.values.shape[2]).bit_length()

    def answers(self, parts: Sequence[Cases]) -> list[np.ndarray]:
        """Probabilities (n, K), or numbers (n,), for each of several sets of cases."""
        model, cases = self.model, joined(parts)
        classes = isinstance(model, ConvTimeNetClassifier)
        found = model.predict_proba(cases) if classes else model.predict(cases)
        return np.split(found, np.cumsum([len(one.values) for one in parts])[:-1])


Served = Forecasting | Labelling


class Models:
    """Served models by name."""

    def __init__(self, served: Sequence[Served]):
        self._by_name = {one.name: one for one in served}

    def __iter__(self) -> Iterator[Served]:
        return iter(self._by_name.values())

    def named(self, name: str) -> Served:
        """The model of this name.

        Raises
        ------
        Refused
            If there is none.
        """
        if name not in self._by_name:
            raise Refused(
                404,
                f"there is no model {name[:64]!r}; expected one of {listing([*self._by_name])}",
            )
        return self._by_name[name]

    def of(self, task: Task, name: str | None, path: str) -> Any:
        """The model of this name, or the only one for a task; `path` serves that task.

        Raises
        ------
        Refused
            If there is none, several would do, or it does another task.
        """
        able = [one for one in self if one.task == task]
        if name is None:
            if len(able) == 1:
                return able[0]
            known = listing([one.name for one in able]) if able else "none that does it"
            raise Refused(
                422, f"model: expected the name of a model, found none; {path} has {known}"
            )
        found = self.named(name)
        if found.task != task:
            raise Refused(
                422,
                f"the model {name!r} does not {task}: POST to /{found.task} instead of {path}",
            )
        return found


def load_models(given: Sequence[str], device: str) -> Models:
    """Load the models of a server.

    Parameters
    ----------
    given
        ``NAME=FOLDER`` or ``FOLDER``, whose last part is then the name.

    Raises
    ------
    ConfigError
        If a name cannot be used in an address, or is given twice.
    ArtefactError
        If a folder is not a model, or is damaged.
    """
    folders: dict[str, str] = {}
    for one in given:
        name, equals, folder = one.partition("=")
        if not equals:
            name, folder = Path(one).resolve().name, one
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"expected a name of letters, digits, dots, dashes and underscores, found "
                f"{name!r}; name the model with NAME=FOLDER"
            )
        if name in folders:
            raise ConfigError(
                f"two models are named {name!r}, {folders[name]} and {folder}; name them with "
                "NAME=FOLDER"
            )
        folders[name] = folder
    served: list[Served] = []
    for name, folder in folders.items():
        model = load_model(folder, device)
        model.set_params(verbose=0)
        if isinstance(model, ConvTimeNetForecaster):
            served.append(Forecasting(name, model))
        else:
            served.append(Labelling(name, model))
    return Models(served)
