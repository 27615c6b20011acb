"""Class labels as JSON values and back: the same values in the same type, and no pickle."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

_PLAIN = re.compile(r"[<>|][biufU]\d{1,4}")


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
