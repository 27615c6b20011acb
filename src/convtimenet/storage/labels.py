"""Class labels as JSON values and back: the same values in the same type, and no pickle."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from convtimenet.errors import DataError

_PLAIN = re.compile(r"[<>|][biufU]\d{1,4}")


def check_savable(labels: np.ndarray) -> None:
    """Refuse class labels (n,) that a saved model could not give back as they are.

    Raises
    ------
    DataError
        If there are such, as dates.
    """
    try:
        classes = np.unique(labels)
        saved = json.loads(json.dumps(described(classes), allow_nan=False))
        restored(saved, len(classes))
    except (TypeError, ValueError) as error:
        kind = labels.dtype if labels.dtype.kind != "O" else type(labels[0]).__name__
        raise DataError(
            f"labels must be text, whole numbers, finite numbers or truth values, which a saved "
            f"model can hold; found {kind} ({labels.tolist()[0]!r}); make them text, for example "
            "with list(map(str, y))"
        ) from error


def described(classes: np.ndarray) -> dict[str, Any]:
    """The labels (K,) and their type; an object array holds Python's own text and numbers."""
    dtype = "python" if classes.dtype.kind == "O" else classes.dtype.str
    return {"classes": classes.tolist(), "dtype": dtype}


def restored(values: dict[str, Any], n_classes: int) -> np.ndarray:
    """Inverse of `described`.

    Raises
    ------
    KeyError, TypeError, ValueError, OverflowError
        If these are no labels of `n_classes` classes. Nothing but numbers and text is made.
    """
    classes, dtype = values["classes"], values["dtype"]
    if not isinstance(classes, list) or len(classes) != n_classes:
        raise ValueError(f"expected a list of {n_classes} classes")
    if not all(isinstance(label, (str, int, float)) for label in classes):
        raise ValueError("expected classes that are text or numbers")
    if dtype != "python" and not _PLAIN.fullmatch(dtype):
        raise ValueError(f"{dtype!r} is no type of labels")
    labels = np.array(classes, dtype=object if dtype == "python" else np.dtype(dtype))
    if labels.tolist() != classes:
        raise ValueError(f"the classes do not fit their type {dtype!r}")
    return labels
