"""Convert the table kept by a saved forecaster to JSON values and arrays, and back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

from convtimenet.config import ModelConfig
from convtimenet.data.covariates import CALENDAR, Encoder
from convtimenet.data.tables import Origin, Table
from convtimenet.data.time.frequency import Frequency
from convtimenet.data.windows import Scaler, filled_contexts

__all__ = ["check_fits", "from_remembered", "remembered", "scaler_of"]

log = logging.getLogger(__name__)

_COVARIATE = "tail.covariate."
_CATEGORIES = {"name": "Categorical", "settings": {}}
# types of ids that are neither text nor 64-bit integers, by name
_LABELS: dict[str, Callable[[str], Any]] = {
    "UUID": UUID,
    "bool": lambda text: text == "True",
    "int": int,
    "float": float,
    "str": str,
    "Decimal": Decimal,
    "date": date.fromisoformat,
}


def remembered(table: Table) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A table as JSON values and arrays, without its notices."""
    origin = table.origin
    values: dict[str, Any] = {
        "channels": list(table.channels),
        "time_name": table.time_name,
        "frequency": table.frequency.name,
        "time_zone": table.time_zone,
        "origin": {"kind": origin.kind, "indexed": origin.indexed, **_particulars(origin)},
        "time_type": _described(origin.time_dtype),
        "datetime": table.times.dtype.kind == "M",
    }
    arrays = {"tail.values": table.values, "tail.times": table.times.astype(np.int64)}
    if table.known is not None:
        # finite numbers and a mask, as in the format since its first version
        series = np.split(table.values.T, table.bounds[1:-1], axis=1)
        filled = np.concatenate([filled_contexts(one) for one in series], axis=1).T
        arrays["tail.values"] = np.nan_to_num(filled, copy=False)
        arrays["tail.known"] = table.known
    for name, column in table.covariates.items():
        kept = column
        if column.dtype == object:
            texts = sorted({value for value in column if value is not None})
            values.setdefault("texts", {})[name] = texts
            number = {text: i for i, text in enumerate(texts)}
            kept = np.array([number.get(value, -1) for value in column])
        arrays[f"{_COVARIATE}{name}"] = kept
    if table.long:
        values["series"] = {
            "id_name": table.id_name,
            "ids": table.ids.tolist(),
            "id_type": _described(origin.id_dtype),
        }
        if values["series"]["id_type"] == _CATEGORIES and table.ids.dtype != object:
            values["series"]["id_type"] = None  # some libraries only have text categories
        own = origin.id_labels or {}
        kinds = [_kind_of(own.get(one, one)) for one in table.ids.tolist()]
        if others := sorted(set(kinds) - _LABELS.keys()):
            log.warning("ids of type %s will be text after loading the saved model", others[0])
        elif own:
            values["series"]["labels"] = kinds if len(set(kinds)) > 1 else kinds[0]
        arrays["tail.rows"] = table.lengths
    return values, arrays


def from_remembered(values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Table:
    """Inverse of `remembered`.

    Raises
    ------
    ValueError
        If the parts are inconsistent.
    """
    times, series = arrays["tail.times"], values.get("series")
    names = [values["time_name"], *values["channels"], *([series["id_name"]] if series else [])]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("expected column names to be text")
    long: dict[str, Any] = {}
    if series is not None:
        ids = series["ids"]
        whole = all(isinstance(one, int) for one in ids)
        if not whole and not all(isinstance(one, str) for one in ids):
            raise ValueError("expected ids to be text or integers")
        kind = np.int64 if whole else object
        long = {
            "id_name": series["id_name"],
            "ids": np.array(ids, dtype=kind),
            "rows": arrays["tail.rows"],
        }
    T, C = len(times), len(values["channels"])
    rows, numbers = long.get("rows", np.array([T])), arrays["tail.values"]
    known = arrays.get("tail.known")
    _expect("tail.times", times, "i", (T,))
    _expect("tail.values", numbers, "f", (T, C))
    _expect("tail.rows", rows, "i", (len(long.get("ids", rows)),))
    if (rows < 1).any() or rows.sum() != T or not np.isfinite(numbers).all():
        raise ValueError(f"expected a tail of series with {T} rows in total, all of them finite")
    if known is not None:
        _expect("tail.known", known, "b", (T, C))
        numbers = np.where(known, numbers, np.nan)
    covariates = {}
    for key, kept in arrays.items():
        if key.startswith(_COVARIATE):
            name = key.removeprefix(_COVARIATE)
            texts = values.get("texts", {}).get(name)
            _expect(key, kept, "f" if texts is None else "i", (T,))
            if texts is not None:
                if (kept < -1).any() or not all(isinstance(text, str) for text in texts):
                    raise ValueError(f"expected {key} to hold indices of texts")
                kept = np.array([*texts, None], dtype=object)[kept]
            covariates[name] = kept
    return Table(
        times=times.astype("datetime64[ns]") if values["datetime"] else times,
        values=numbers,
        channels=tuple(values["channels"]),
        time_name=values["time_name"],
        frequency=Frequency.parse(values["frequency"]),
        time_zone=values["time_zone"],
        origin=Origin(
            **_origin(values["origin"]),
            time_dtype=_restored(values["time_type"]),
            id_dtype=None if series is None else _restored(series["id_type"]),
            id_labels=None if series is None else _labels(series.get("labels"), series["ids"]),
        ),
        covariates=covariates,
        **long,
    )


def _kind_of(label: Any) -> str:
    return type(label.item() if isinstance(label, np.generic) else label).__name__


def _labels(kinds: str | list[str] | None, ids: list[Any]) -> dict[Any, Any] | None:
    """The caller's ids, keyed by those of the table; `kinds` is one for all, or one for each."""
    if kinds is None:
        return None
    kinds = [kinds] * len(ids) if isinstance(kinds, str) else kinds
    if unknown := [kind for kind in kinds if kind not in _LABELS]:
        raise ValueError(f"{unknown[0]!r} is not an id type")
    try:
        return {one: _LABELS[kind](one) for kind, one in zip(kinds, ids, strict=True)}
    except ArithmeticError as error:  # of Decimal
        raise ValueError("an id is not a decimal number") from error


def _particulars(origin: Origin) -> dict[str, Any]:
    """Non-default fields of an origin, as JSON values; labels that JSON cannot hold are left out
    and become text."""
    found = {
        name: value
        for name in ("series", "period", "time_form")
        if (value := getattr(origin, name))
    }
    found |= {} if origin.dayfirst is None else {"dayfirst": origin.dayfirst}
    labels = [[name, label] for name, label in origin.labels if _is_plain(label)]
    found |= {"labels": labels} if labels else {}
    return found | ({"axis": list(origin.axis)} if origin.axis and _is_plain(origin.axis) else {})


def _is_plain(label: Any) -> bool:
    parts = label if isinstance(label, tuple) else (label,)
    return all(part is None or type(part) in (str, int, float, bool) for part in parts)


def _origin(values: dict[str, Any]) -> dict[str, Any]:
    """Inverse of `_particulars`."""
    labels = [
        (name, tuple(label) if isinstance(label, list) else label)
        for name, label in values.get("labels", ())
    ]
    return values | {"labels": tuple(labels), "axis": tuple(values.get("axis", ()))}


def check_fits(table: Table, scaler: Scaler, encoder: Encoder, config: ModelConfig) -> None:
    """Check that a tail, a scaler and covariates match the model config.

    Raises
    ------
    ValueError
        If they do not.
    """
    lengths, L, C = table.lengths, config.context_length, len(table.channels)
    least = 1 if table.long else config.least_context
    if (lengths > L).any() or (lengths < least).any():
        raise ValueError(f"expected a tail of {L} rows, found {lengths.tolist()}")
    if scaler.centre.shape not in ((1, 1), (C, 1), (len(lengths), C, 1)):
        raise ValueError(f"a scaler of the shape {scaler.centre.shape} for {C} channels")
    counts = {name: getattr(config, name) for name in encoder.sizes}
    if encoder.sizes != counts:
        raise ValueError(f"covariates of the sizes {encoder.sizes} for a network with {counts}")
    for column in (*encoder.hist, *encoder.futr, *encoder.stat):
        text = table.covariates[column.name].dtype == object
        if text != (column.categories is not None):
            raise ValueError(f"covariate {column.name!r} is text in one place, numbers in another")
        if not (np.isfinite(column.centre) and 0 < column.scale < np.inf):
            raise ValueError(f"covariate {column.name!r} has an invalid scaling")
    if unknown := set(encoder.calendar) - CALENDAR.keys():
        raise ValueError(f"no calendar features: {unknown}")
    if encoder.calendar and table.times.dtype.kind != "M":
        raise ValueError("calendar features without dates")


def _expect(name: str, array: np.ndarray, kind: str, shape: tuple[int, ...]) -> None:
    """Check the dtype kind and the shape of an array."""
    if array.dtype.kind != kind or array.shape != shape:
        raise ValueError(
            f"expected a tail with {name} of the shape {shape}, kind {kind!r}; found "
            f"{array.shape}, {array.dtype}"
        )


def _described(dtype: Any) -> dict[str, Any] | None:
    """A narwhals dtype of timestamps or ids, as JSON values."""
    if dtype is None or type(dtype).__name__ not in _kinds():
        return None
    settings = {n: getattr(dtype, n) for n in ("time_unit", "time_zone") if hasattr(dtype, n)}
    return {"name": type(dtype).__name__, "settings": settings}


def _restored(described: dict[str, Any] | None) -> Any:
    """Inverse of `_described`."""
    if described is None:
        return None
    import narwhals.stable.v2 as nw

    if described["name"] not in _kinds():
        raise ValueError(f"{described['name']!r} is not a type of timestamps or ids")
    return getattr(nw, described["name"])(**described["settings"])


def _kinds() -> frozenset[str]:
    whole = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
    others = ("Boolean", "Float32", "Float64")
    return frozenset({"Date", "Datetime", "String", "Categorical", *others, *whole})


def scaler_of(centre: np.ndarray, scale: np.ndarray) -> Scaler:
    """A scaler from a file: finite numbers per channel (of each series), with scales above 0."""
    if centre.shape != scale.shape or centre.ndim not in (2, 3) or centre.shape[-1] != 1:
        raise ValueError(f"a scaler of the shapes {centre.shape} and {scale.shape}")
    if not np.isfinite([centre, scale]).all() or not (scale > 0).all():
        raise ValueError("a scaler that is not finite and above 0")
    return Scaler(centre, scale)
