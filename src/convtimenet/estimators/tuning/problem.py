"""A search as seen from its estimator: the facts of the data, one training, its score."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.config import ModelConfig
from convtimenet.data.forecast_tables import MODEL
from convtimenet.data.labelled.cases import Cases
from convtimenet.data.split import split_rows, typical_size
from convtimenet.data.tables import Table
from convtimenet.data.time.inferred import season_of
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.labelled import LabelledEstimator
from convtimenet.estimators.presets.derived import cases_preset, contexts_for
from convtimenet.estimators.tuning.space import Facts

__all__ = ["Problem", "problem_of"]


@dataclass(frozen=True)
class Problem:
    """What a search asks of its estimator and data."""

    facts: Facts
    data: str
    """Hash of the data and the arguments of ``fit``."""
    compared: str
    """The score of an epoch by which trials are compared before their end."""
    fit: Callable[[Any], Any]
    """Trains an estimator once, without a second training."""
    score: Callable[[Any], tuple[str, float]]
    """Name and value of a fitted estimator's score on the validation split; smaller is better."""


def problem_of(estimator: Any, X: Any, y: Any, fit: dict[str, Any]) -> Problem:
    """The problem of an estimator, with data and further arguments as for its ``fit``.

    Raises
    ------
    ConfigError
        If an argument has no meaning in a search.
    DataError
        If the data cannot be used.
    """
    if "resume" in fit:
        raise ConfigError("a search is continued with storage=...; leave out resume")
    if isinstance(estimator, ConvTimeNetForecaster):
        return _forecasting(estimator, X, fit)
    assert isinstance(estimator, LabelledEstimator)
    return _labelled(estimator, X, y, fit)


def _forecasting(estimator: ConvTimeNetForecaster, X: Any, fit: dict[str, Any]) -> Problem:
    fit.pop("refit", None)  # for the final training
    table, h = estimator.read(X), estimator.h
    train_end, _ = split_rows(fit.get("split"), table.lengths)
    season = season_of(table.frequency)
    size = *typical_size(train_end), len(table.channels), season
    preset = estimator.preset_for(*size)
    training = estimator._train_config(preset.train, None)
    if fit.get("split") is None:
        held = np.round(training.validation_fraction * table.lengths).astype(np.int64)
        train_end = table.lengths - np.maximum(h, held)
    usual = estimator.input_size or preset.context_length
    assert usual is not None

    def enough(context: int) -> np.ndarray:
        return train_end >= context + h

    # with any of them the same series are in the validation split
    contexts = [usual]
    if estimator.input_size is None:
        contexts += contexts_for(size[0], h, season)
        contexts += [usual // 2, *([4 * season] if season > 1 else [])]
        contexts = [one for one in contexts if one >= 2 and (enough(one) == enough(usual)).all()]

    def patches(context: int) -> tuple[int, int]:
        return _patches(estimator, estimator.preset_for(*size, context).model)

    def score(model: ConvTimeNetForecaster) -> tuple[str, float]:
        if model.scores_ is None:
            raise DataError(_NO_SPLIT.format("rows"))
        found = model.scores_[MODEL]
        name = "mase" if "mase" in found else "mae"
        return name, found[name]

    facts = Facts(
        head="forecast",
        contexts=tuple(dict.fromkeys(contexts)),
        season=season,
        examples=int(np.maximum(0, train_end - usual - h + 1).sum()),
        model=estimator._model_settings(preset.model),
        training=training.to_dict(),
        patches=patches,
    )
    data = _digest(table, fit)
    return Problem(facts, data, "mae", lambda model: model.fit(table, **fit, refit=False), score)


def _labelled(estimator: LabelledEstimator, X: Any, y: Any, fit: dict[str, Any]) -> Problem:
    cases, labels = estimator._labelled(X, y)
    estimator.check_labels(labels)
    valid = fit.get("valid")
    if valid is not None and isinstance(valid[0], (str, Path)):
        fit["valid"] = estimator._labelled(*valid)  # its content is what a search is about
    n, C, L = cases.values.shape
    own, training = estimator._network_settings(), estimator._settings("training")
    preset = cases_preset(estimator.quality, estimator.preset, (n, C, L), own, training)
    name = "loss" if estimator.task == "classify" else "mse"

    def score(model: LabelledEstimator) -> tuple[str, float]:
        if model.scores_ is None:
            raise DataError(_NO_SPLIT.format("cases"))
        return name, model.scores_[name]

    def train(model: LabelledEstimator) -> None:
        model.set_params(training={**(model.training or {}), "refit": False})
        model.fit(cases, labels, **fit)

    facts = Facts(
        head=estimator.task,
        contexts=(L,),
        season=1,
        examples=n,
        model=estimator._model_settings(preset.model),
        training=estimator._train_config(preset.train, None).to_dict(),
        patches=lambda _: _patches(estimator, preset.model),
    )
    return Problem(facts, _digest(cases, labels, fit), name, train, score)


_NO_SPLIT = (
    "a search needs a validation split, and there are too few {} for one, or "
    "validation_fraction=0 leaves none; give more"
)


def _patches(estimator: Any, preset: Mapping[str, Any]) -> tuple[int, int]:
    """Patch size and stride of a preset with the user's own on top."""
    model = estimator._model_settings(preset)
    size = model.get("patch_size", ModelConfig.patch_size)
    return size, model.get("patch_stride", ModelConfig.patch_stride)


def _is_array(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (hasattr(value, "__array__") and np.ndim(value) > 0)


def _digest(*values: Any) -> str:
    """SHA-256 of tables, cases, arrays and plain values."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Table):
            add([value.values, value.lengths, value.times, value.channels, value.covariates])
        elif isinstance(value, Cases):
            add([value.values, value.lengths, value.labels])
        elif isinstance(value, Mapping):
            add([*map(str, value), *value.values()])
        elif isinstance(value, (list, tuple)):
            digest.update(f"{len(value)}:".encode())
            for one in value:
                add(one)
        elif value is None or isinstance(value, (str, int, float)):
            digest.update(f"{value!r};".encode())
        else:
            array = np.asarray(value)
            digest.update(f"{array.dtype} {array.shape};".encode())
            if array.dtype.kind not in "OT":
                digest.update(array.tobytes())
            elif any(map(_is_array, array.flat)):  # cells of a frame, which repr would shorten
                add([*array.flat])
            else:
                digest.update(repr(array.tolist()).encode())

    add(values)
    return digest.hexdigest()
