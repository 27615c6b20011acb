"""The result of a search."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from os import PathLike
from typing import Any

from convtimenet.files import whole_file

__all__ = ["TuneResult", "result_of"]

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True, kw_only=True, repr=False)
class TuneResult:
    """The best settings of a search, and all of its trials."""

    metric: str
    """Name of the score, of which smaller is better."""
    score: float
    """Validation score of the best trial. As the best of many, it is optimistic."""
    default: float
    """Validation score of the estimator's own settings; NaN if it was not finite, or another
    process still trains with them."""
    best: Mapping[str, Any]
    """Settings of the best trial by name, such as "model.d_model"; empty if the default is best."""
    settings: Mapping[str, Any]
    """The same as parameters: ``estimator.set_params(**settings)``."""
    trials: tuple[dict[str, Any], ...]
    """One row per trial: "trial" (its number; numbers of trials that were repeated are missing),
    "state" ("complete", "pruned" or "failed"), "score", "epochs", "seconds", every searched
    setting, and the "error" of a failed one. A pruned trial has no score."""
    model: Any = None
    """The estimator fitted with the best settings; None from `Search.result`."""

    @property
    def counts(self) -> str:
        """How many trials ended how, as text."""
        states = [row["state"] for row in self.trials]
        each = [f"{states.count(one)} {one}" for one in _STATES.values() if one in states]
        return f"{len(states)} trial{'s' if len(states) != 1 else ''}: {', '.join(each)}"

    def write_csv(self, path: str | PathLike[str]) -> None:
        """Write the table of trials, complete or not at all.

        Raises
        ------
        DataError
            If the folder does not exist.
        """
        with whole_file(path) as file:
            writer = csv.DictWriter(file, list(self.trials[0]))
            writer.writeheader()
            for row in self.trials:
                writer.writerow({name: _cell(value) for name, value in row.items()})

    def __repr__(self) -> str:
        default = "have no score" if isnan(self.default) else f"{self.default:.4g}"
        lines = [
            f"{self.metric} on the validation split: {self.score:.4g}; default settings {default}",
            self.counts,
            *(f"  {name}: {_cell(value)}" for name, value in self.best.items()),
        ]
        return "\n".join(lines if self.best else [*lines, "  the default settings are best"])


def _cell(value: Any) -> Any:
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def result_of(settings: Mapping[str, Any], finished: Sequence[Any], best: Any) -> TuneResult:
    """The result of finished trials, as Optuna records them.

    Parameters
    ----------
    settings
        Parameters of the estimator for the best trial's settings.
    """
    names = dict.fromkeys(name for one in finished for name in one.user_attrs["settings"])
    rows = []
    for one in finished:
        kept, state = one.user_attrs, _STATES[one.state.name]
        rows.append(
            {
                "trial": one.number,
                "state": state,
                "score": one.value if state == "complete" else None,
                "epochs": kept.get("epochs"),
                "seconds": kept.get("seconds"),
                **{name: kept["settings"].get(name) for name in names},
                "error": kept.get("error"),
            }
        )
    default = next((one.value for one in finished if one.user_attrs.get("default")), None)
    return TuneResult(
        metric=best.user_attrs["metric"],
        score=best.value,
        default=nan if default is None else default,
        best=best.user_attrs["settings"],
        settings=settings,
        trials=tuple(rows),
    )
