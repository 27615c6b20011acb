"""What a model remembers of its table: parts that do not fit together are refused, one by one.

The folders are sealed again after each change, as by somebody who means it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

from convtimenet import ConvTimeNetForecaster
from convtimenet.data.tables import read_table
from convtimenet.errors import ArtefactError, DataError
from convtimenet.storage.manifest import FORMAT, seal

KEPT = Path(__file__).parent / "artefacts" / str(FORMAT)
Change = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def change(folder: Path, kind: str, edit: Change) -> Path:
    """A kept model with its data changed in place by `edit`."""
    path = folder / kind
    shutil.copytree(KEPT / kind, path)
    described = json.loads((path / "model.json").read_text())
    arrays = safetensors.numpy.load_file(path / "data.safetensors")
    edit(described["data"], arrays)
    (path / "model.json").write_text(json.dumps(described))
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    safetensors.numpy.save_file(plain, path / "data.safetensors")
    seal(path)
    return path


def value(*keys: str | int, to: Any) -> Change:
    """Put another value into the description."""

    def edit(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        at: Any = data
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = to

    return edit


def array(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Put another array into the data."""

    def edit(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = make(arrays[name])

    return edit


def longer(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """A row more for the first series."""
    for name in arrays:
        if name.startswith("tail.") and name != "tail.rows":
            arrays[name] = np.concatenate([arrays[name][:1], arrays[name]])
    arrays["tail.times"][0] -= 86_400 * 10**9
    arrays["tail.rows"][0] += 1


def known(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    arrays["tail.known"] = np.ones((3, 1), dtype=bool)


def no_dates(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    data |= {"datetime": False, "frequency": "1", "time_type": None}
    arrays["tail.times"] = np.tile(np.arange(8), 2)


def filled(what: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda a: np.full_like(a, what)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (value("time_name", to=3), "expected column names to be text"),
        (value("channels", to=["y", None]), "expected column names to be text"),
        (value("series", "id_name", to=3), "expected column names to be text"),
        (value("series", "ids", to=["a", 1]), "expected ids to be text or integers"),
        (value("series", "ids", to=["a", None]), "expected ids to be text or integers"),
        (array("tail.times", lambda a: a.astype(float)), "tail.times of the shape (16,), kind 'i'"),
        (array("tail.values", lambda a: a[1:]), "tail.values of the shape (16, 1), kind 'f'"),
        (array("tail.values", lambda a: a.astype(int)), "tail.values of the shape (16, 1)"),
        (array("tail.values", filled(np.nan)), "series with 16 rows in total, all of them finite"),
        (array("tail.values", filled(np.inf)), "series with 16 rows in total, all of them finite"),
        (known, "tail.known of the shape (16, 1), kind 'b'"),
        (array("tail.rows", lambda a: a[:1]), "tail.rows of the shape (2,), kind 'i'"),
        (
            array("tail.rows", lambda a: a - [0, 1]),
            "expected a tail of series with 16 rows in total",
        ),
        (
            array("tail.rows", lambda a: np.add(a, [8, -8])),
            "expected a tail of series with 16 rows in total",
        ),
        (
            value("series", "id_type", to={"name": "Object", "settings": {}}),
            "'Object' is not a type",
        ),
        (value("time_type", to={"name": "List", "settings": {}}), "'List' is not a type of time"),
        (array("tail.covariate.promo", lambda a: a[1:]), "covariate.promo of the shape (16,)"),
        (array("tail.covariate.promo", lambda a: a.astype(int)), "shape (16,), kind 'f'"),
        (array("tail.covariate.weather", lambda a: a * 1.0), "shape (16,), kind 'i'"),
        (array("tail.covariate.weather", lambda a: a - 3), "weather to hold indices of texts"),
        (array("tail.covariate.weather", lambda a: a + 9), "IndexError"),
        (value("texts", "weather", to=["dry", 3]), "weather to hold indices of texts"),
        (longer, "expected a tail of 8 rows, found [9, 8]"),
        (array("scaler.centre", lambda a: a[:, 0]), "scaler"),
        (value("covariates", "calendar", to=[]), "covariates of the sizes"),
        (value("covariates", "futr", to=[]), "covariates of the sizes"),
        (value("covariates", "hist", 0, "name", to="weather"), "'weather' is text in one place"),
        (value("covariates", "hist", 0, "name", to="other"), "KeyError: 'other'"),
        (value("covariates", "futr", 0, "scale", to=0.0), "'promo' has an invalid scaling"),
        (value("covariates", "futr", 0, "centre", to=float("nan")), "has an invalid scaling"),
        (value("covariates", "calendar", to=["tide"]), "no calendar features: {'tide'}"),
        (no_dates, "calendar features without dates"),
        (array("calibration.radii", lambda a: a[:, :, :1]), "radii of the shape"),
        (array("calibration.radii", lambda a: a[::-1]), "radii that are below 0 or not ascending"),
        (value("calibration_windows", to=-1), "a calibration with -1 windows"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, edit, message):
    path = change(tmp_path, "panel", edit)
    with pytest.raises(ArtefactError, match=re.escape(message)) as refused:
        ConvTimeNetForecaster.load(path, device="cpu")
    assert str(path) in str(refused.value)


def shorter(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for name in ("tail.values", "tail.times"):
        arrays[name] = arrays[name][1:]


def wider(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for name in ("scaler.centre", "scaler.scale"):
        arrays[name] = np.ones((3, 1))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (shorter, "expected a tail of 8 rows, found [7]"),
        (wider, "a scaler of the shape (3, 1) for 2 channels"),
    ],
)
def test_a_wide_tail_is_one_whole_context(tmp_path, edit, message):
    path = change(tmp_path, "quantiles", edit)
    with pytest.raises(ArtefactError, match=re.escape(message)):
        ConvTimeNetForecaster.load(path, device="cpu")


def whole_numbers(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    data["series"] |= {"ids": [3, 7], "id_type": {"name": "Int32", "settings": {}}}


def unknown_text(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    arrays["tail.covariate.weather"][3] = -1


@pytest.mark.parametrize("edit", [whole_numbers, unknown_text, lambda data, arrays: None])
def test_what_fits_is_taken(tmp_path, edit):
    """The same way of changing refuses nothing by itself."""
    model = ConvTimeNetForecaster.load(change(tmp_path, "panel", edit), device="cpu")
    ids = [3, 7] if edit is whole_numbers else ["a", "b"]
    assert model.tail_.ids.tolist() == ids
    weather = model.tail_.covariates["weather"].tolist()
    assert (None in weather) == (edit is unknown_text)
    future = pd.DataFrame(
        {
            "unique_id": np.repeat(ids, 2),
            "ds": pd.to_datetime(["2024-03-01", "2024-03-02", "2024-02-20", "2024-02-21"]),
            "promo": 1.0,
            "weather": "wet",
        }
    )
    if edit is whole_numbers:
        future = future.astype({"unique_id": "int32"})
    assert np.isfinite(model.predict(future=future)["ConvTimeNet"]).all()


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y"])
def test_ambiguous_dates_are_read_as_those_of_training(tmp_path, form):
    """They were refused, with an option that a client of a server does not have."""
    days = pd.date_range("2024-02-01", periods=60)
    table = pd.DataFrame({"date": days.strftime(form), "y": np.arange(60.0) % 7})
    table.to_csv(tmp_path / "fitted.csv", index=False)
    model = ConvTimeNetForecaster(h=2, quality="fast", verbose=0).fit(str(tmp_path / "fitted.csv"))
    loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
    last = table.iloc[29:41]  # 1 to 12 March
    last.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match="all time stamps are ambiguous"):
        read_table(tmp_path / "new.csv")
    for one in (model, loaded):
        read = one.adapt(str(tmp_path / "new.csv"))
        assert read.times[-1] == np.datetime64("2024-03-12")
        first = last["date"].iloc[0]
        way = "day" if form.startswith("%d") else "month"
        told = f"column 'date': {first!r} is read with the {way} first, as in the training table"
        assert told in read.notices
    plain = read_table(pd.DataFrame({"date": days, "y": np.arange(60.0)}))
    assert plain.origin.dayfirst is None
