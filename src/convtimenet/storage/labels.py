"""Convert class labels to JSON values and back, keeping values and types, without pickle."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from convtimenet.errors import DataError

_PLAIN = re.compile(r"[<>|][biufU]\d{1,4}")


def check_savable(labels: np.ndarray) -> None:
    """Reject class labels (n,) that a saved model could not restore exactly.

    Raises
    ------
    DataError
        If there are any, such as dates.
    """
    try:
        classes = np.unique(labels)
        saved = json.loads(json.dumps(described(classes), allow_nan=False))
        restored(saved, len(classes))
    except (TypeError, ValueError) as error:
        kind = labels.dtype if labels.dtype.kind != "O" else type(labels[0]).__name__
        raise DataError(
            "labels must be text, integers, finite numbers or booleans, so that the model can be "
            f"saved; found {kind} ({labels.tolist()[0]!r}); convert them to text, for example with "
            "list(map(str, y))"
        ) from error


def described(classes: np.ndarray) -> dict[str, Any]:
    """The labels (K,) and their dtype; object arrays hold Python strings and numbers."""
    dtype = "python" if classes.dtype.kind == "O" else classes.dtype.str
    return {"classes": classes.tolist(), "dtype": dtype}


def restored(values: dict[str, Any], n_classes: int) -> np.ndarray:
    """Inverse of `described`.

    Raises
    ------
    KeyError, TypeError, ValueError, OverflowError
        If these are not labels of `n_classes` classes. Only numbers and text are created.
    """
    classes, dtype = values["classes"], values["dtype"]
    if not isinstance(classes, list) or len(classes) != n_classes:
        raise ValueError(f"expected a list of {n_classes} classes")
    if not all(isinstance(label, (str, int, float)) for label in classes):
        raise ValueError("expected classes to be text or numbers")
    if dtype != "python" and not _PLAIN.fullmatch(dtype):
        raise ValueError(f"{dtype!r} is not a label type")
    labels = np.array(classes, dtype=object if dtype == "python" else np.dtype(dtype))
    if labels.tolist() != classes:
        raise ValueError(f"the classes do not match their type {dtype!r}")
    return labels
