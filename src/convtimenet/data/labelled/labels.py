"""Labels of cases: validation, and conversion to the types of the training classes."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from convtimenet.errors import DataError

__all__ = ["in_the_kind_of", "label_vector"]


def label_vector(y: Any, n: int) -> np.ndarray:
    """The labels of n cases as an array (n,), without changing their type.

    Raises
    ------
    DataError
        If there is not one label per case, or the labels are of mixed types: numpy would turn
        [1, "a"] into text and [True, 2] into numbers.
    """
    # check a list before numpy converts its items to a common type
    labels = _objects(y) if isinstance(y, (list, tuple)) else np.asarray(y)
    if labels.ndim != 1 or any(isinstance(one, (list, np.ndarray)) for one in labels):
        found = labels.shape if labels.ndim != 1 else "lists within"
        remedy = "give one label for each case"
        if labels.ndim == 2:
            shares = labels.dtype.kind in "biuf" and (np.sort(labels)[:, :-1] == 0).all()
            one_hot = shares and (labels.max(1, initial=0) == 1).all()
            remedy = "give the numbers of one column, and train a model for each"
            remedy = "give numpy.argmax(y, axis=1) if they are one-hot" if one_hot else remedy
            remedy = "flatten them with numpy.ravel" if labels.shape[1] == 1 else remedy
        raise DataError(f"labels must have shape ({n},); found {found}; {remedy}")
    if len(labels) != n:
        raise DataError(
            f"expected one label per case; found {len(labels)} labels for {n} cases; "
            "pass X and y of the same selection"
        )
    kinds: dict[str, Any] = {}
    for i, label in enumerate(labels.tolist()):
        if _is_missing(label):
            raise DataError(
                f"every case needs a label; found none for case {i}; leave the case out"
            )
        kinds.setdefault(_kind(label), label)
    if len(kinds) > 1:
        found = " and ".join(f"{kind} ({label!r})" for kind, label in kinds.items())
        raise DataError(
            f"labels must be of one type, found {found}; make them all text, for example with "
            "list(map(str, y))"
        )
    if isinstance(y, (list, tuple)):
        return np.asarray(y)
    if labels.dtype.kind == "T":  # numpy's StringDType, which saved files cannot hold
        return np.array(labels.tolist())
    if labels.dtype.kind == "f" and labels.dtype.itemsize > 8:
        return labels.astype(np.float64)
    if labels.dtype.kind == "O":  # JSON takes Python scalars but not numpy's
        return _objects(x.item() if isinstance(x, np.generic) else x for x in labels)
    return labels


def in_the_kind_of(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Labels (n,) converted to the type of the classes (K,): "1", 1 and 1.0 are the same label,
    whatever file or frame they came from. Labels that are no class are not changed."""
    if not len(labels) or _kind(labels.tolist()[0]) == _kind(classes.tolist()[0]):
        return labels
    names = {_as_text(label): label for label in classes.tolist()}
    if len(names) < len(classes):  # some classes are the same number written differently
        return labels
    found = [names.get(_as_text(label), label) for label in labels.tolist()]
    if {_kind(label) for label in found} == {_kind(classes.tolist()[0])}:
        return np.array(found, dtype=object if classes.dtype.kind == "O" else None)
    return _objects(found)


def _objects(items: Iterable[Any]) -> np.ndarray:
    """Items as a 1-D object array, even if they are sequences."""
    items = list(items)
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array


def _is_missing(label: Any) -> bool:
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, (Real, np.datetime64)) and bool(label != label)


def _kind(label: Any) -> str:
    if isinstance(label, (bool, np.bool_)):
        return "truth values"
    if isinstance(label, str):
        return "text"
    return "numbers" if isinstance(label, (Real, Decimal)) else type(label).__name__


def _as_text(label: Any) -> str:
    text = str(label).strip()
    if isinstance(label, (bool, np.bool_)) or text.lower() in ("true", "false"):
        return text.lower()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else repr(number)
