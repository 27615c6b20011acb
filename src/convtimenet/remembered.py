"""What a saved forecaster remembers of its table: JSON values and arrays, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from convtimenet.frequency import Frequency
from convtimenet.tables import Origin, Table

__all__ = ["from_remembered", "remembered"]


_COVARIATE = "tail.covariate."


def remembered(table: Table) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A table as JSON values and arrays; its notices are left out."""
    origin = table.origin
    values: dict[str, Any] = {
        "channels": list(table.channels),
        "time_name": table.time_name,
        "frequency": table.frequency.name,
        "time_zone": table.time_zone,
        "origin": {"kind": origin.kind, "indexed": origin.indexed},
        "time_type": _described(origin.time_dtype),
        "datetime": table.times.dtype.kind == "M",
    }
    arrays = {"tail.values": table.values, "tail.times": table.times.astype(np.int64)}
    if table.known is not None:
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
        arrays["tail.rows"] = table.lengths
    return values, arrays


def from_remembered(values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Table:
    """Inverse of `remembered`."""
    times, series = arrays["tail.times"], values.get("series")
    long: dict[str, Any] = {}
    if series is not None:
        ids = series["ids"]
        kind = np.int64 if ids and isinstance(ids[0], int) else object
        long = {
            "id_name": series["id_name"],
            "ids": np.array(ids, dtype=kind),
            "rows": arrays["tail.rows"],
        }
    covariates = {}
    for key, kept in arrays.items():
        if key.startswith(_COVARIATE):
            name = key.removeprefix(_COVARIATE)
            texts = values.get("texts", {}).get(name)
            if texts is not None:
                kept = np.array([*texts, None], dtype=object)[kept]
            covariates[name] = kept
    return Table(
        times=times.astype("datetime64[ns]") if values["datetime"] else times,
        values=arrays["tail.values"],
        channels=tuple(values["channels"]),
        time_name=values["time_name"],
        frequency=Frequency.parse(values["frequency"]),
        time_zone=values["time_zone"],
        origin=Origin(
            **values["origin"],
            time_dtype=_restored(values["time_type"]),
            id_dtype=None if series is None else _restored(series["id_type"]),
        ),
        known=arrays.get("tail.known"),
        covariates=covariates,
        **long,
    )


def _described(dtype: Any) -> dict[str, Any] | None:
    """A narwhals type of time stamps or ids as JSON values."""
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
        raise ValueError(f"{described['name']!r} is no type of time stamps or ids")
    return getattr(nw, described["name"])(**described["settings"])


def _kinds() -> frozenset[str]:
    whole = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
    return frozenset({"Date", "Datetime", "String", "Categorical", *whole})
