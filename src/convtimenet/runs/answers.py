"""Predictions for labelled cases, written as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from convtimenet.data.files.written import decimals_for, shortened
from convtimenet.data.labelled.cases import Cases
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.regressor import ConvTimeNetRegressor
from convtimenet.files import whole_file


def write_classes(path: str | Path, model: ConvTimeNetClassifier, cases: Cases) -> np.ndarray:
    """Write the predicted class and probabilities (six digits) of every case, called as in its file
    or by its number; returns the classes, (n,)."""
    probabilities = model.predict_proba(cases)
    predicted = model.classes_[probabilities.argmax(axis=1)]
    rows = zip(predicted.tolist(), probabilities.tolist(), strict=True)
    head = ["class", *(f"p_{label}" for label in model.classes_.tolist())]
    _write(path, cases, head, ([label, *map(shortened, p)] for label, p in rows))
    return predicted


def write_numbers(path: str | Path, model: ConvTimeNetRegressor, cases: Cases) -> np.ndarray:
    """Write the predicted number of every case, called as `write_classes` does and rounded to a
    precision that suits the spread of the training targets; returns them unrounded, (n,)."""
    predicted = model.predict(cases)
    least = decimals_for(float(model.target_scaler_.scale.max()))
    _write(path, cases, ["number"], ([shortened(number, least)] for number in predicted.tolist()))
    return predicted


def _write(
    path: str | Path, cases: Cases, head: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    names = range(len(cases.values)) if cases.ids is None else cases.ids
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", *head])
        writer.writerows([name, *row] for name, row in zip(names, rows, strict=True))
