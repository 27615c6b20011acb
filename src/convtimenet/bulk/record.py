"""What a job is, kept in its folder: the model's digest, the files, settings and parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from convtimenet.bulk.parts import Part, Plan
from convtimenet.bulk.places import Place, Stored, child, exists, read_bytes, write_bytes
from convtimenet.bulk.predictor import BulkForecaster
from convtimenet.bulk.runs import FolderColumn, Piece, source_facts
from convtimenet.errors import ConfigError, DataError
from convtimenet.files import json_text

__all__ = ["JOB", "plan_of_job", "settings_of"]

JOB = "_job.json"
_FORMAT = 2


def settings_of(
    forecaster: BulkForecaster, source: Place, future: Place | None, rows: int
) -> dict[str, Any]:
    """What identifies a job."""
    return {
        "format": _FORMAT,
        "model": forecaster.digest,
        "level": [float(one) for one in forecaster.levels],
        "h": None if forecaster.h is None else int(forecaster.h),
        "id_col": forecaster.id_name,
        "rows_per_part": int(rows),
        "files": list(source_facts(source)),
        "future": None if future is None else list(source_facts(future)),
    }


_MEANING = {
    "format": "the job's format",
    "model": "the model, by the SHA-256 of its manifest",
    "level": "level",
    "h": "h",
    "id_col": "id_col",
    "rows_per_part": "rows_per_part",
    "files": "the input, by its files' sizes and times of change",
    "future": "the rows ahead, by their files' sizes and times of change",
}


def plan_of_job(
    folder: Place,
    settings: dict[str, Any],
    source: Place,
    future: Place | None,
    plan: Plan | None,
) -> Plan:
    """The parts of a job: as an earlier run made them, else those of `plan`, which are written.

    Raises
    ------
    ConfigError
        If the folder belongs to another job.
    DataError
        If the files change meanwhile.
    """
    place = child(folder, JOB)
    if exists(place):
        with _describing(place):
            known = json.loads(read_bytes(place))
            files, parts = known.pop("files"), known.pop("parts")
            known["files"] = [
                {key: one[key] for key in ("file", "bytes", "changed")} for one in files
            ]
        for name, value in settings.items():
            if known.get(name) != value:
                raise ConfigError(
                    f"{folder} holds forecasts of another job: {_MEANING[name]}: expected "
                    f"{_short(known.get(name), value)}, found {_short(value, known.get(name))}; "
                    "choose another folder, or give the earlier settings to go on with that job"
                )
        stored = _stored(settings["files"], source), _stored(settings["future"] or (), future)
        with _describing(place):
            found = Plan(tuple(settings["files"]), tuple(_part(one, *stored) for one in parts))
            if not found.parts:
                raise ValueError("no parts")
        return found
    if plan is None:
        raise ConfigError(f"{place} was removed meanwhile; start again")
    if list(plan.files) != settings["files"]:
        raise DataError(
            f"{source}: the files changed while their ids were read; leave them as they are while "
            "a job runs"
        )
    content = settings | {"parts": [_described(part) for part in plan.parts]}
    write_bytes(place, json_text(content).encode())
    return plan


@contextmanager
def _describing(place: Place) -> Iterator[None]:
    """Read a job, with an error that names it if it is none."""
    try:
        yield
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{place} does not describe a job; choose another folder, or remove this one"
        ) from error


def _described(part: Part) -> dict[str, Any]:
    """A part, with its files by their paths: an address may hold a login."""
    pieces, ahead = (
        [
            {
                "file": one.file.place.path,
                "start": one.start,
                "stop": one.stop,
                "columns": [[*column] for column in one.columns],
            }
            for one in of
        ]
        for of in (part.pieces, part.ahead)
    )
    return {
        "name": part.name,
        "series": part.series,
        "rows": part.rows,
        "pieces": pieces,
        "ahead": ahead,
    }


def _stored(facts: Sequence[dict[str, Any]], source: Place | None) -> dict[str, Stored]:
    """The files of a source by their paths."""
    root = "" if source is None else source.root
    return {
        one["file"]: Stored(Place(root, one["file"]), one["bytes"], one["changed"]) for one in facts
    }


def _part(described: dict[str, Any], source: dict[str, Stored], future: dict[str, Stored]) -> Part:
    pieces, ahead = (
        tuple(
            Piece(
                files[one["file"]],
                one["start"],
                one["stop"],
                tuple(FolderColumn(*column) for column in one["columns"]),
            )
            for one in described[of]
        )
        for of, files in (("pieces", source), ("ahead", future))
    )
    return Part(described["name"], described["series"], described["rows"], pieces, ahead)


def _short(value: Any, other: Any) -> str:
    """A setting in a message; of a list of files, the first that differs."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        known = other if isinstance(other, list) else []
        return str(next((one for one in value if one not in known), f"{len(value)} files"))
    return str(value)
