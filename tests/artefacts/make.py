"""Write kept models of the current format: python tests/artefacts/make.py [names]

Only for a new format, for a kind of model that none is kept of, or while a format is not released:
those of a released format stay as they are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor
from convtimenet.export import export
from convtimenet.storage.manifest import FORMAT, seal

FOLDER = Path(__file__).parent / str(FORMAT)
TINY: dict[str, Any] = {
    "d_model": 2,
    "d_ff": 2,
    "kernel_sizes": (3,),
    "patch_size": 4,
    "patch_stride": 2,
}
FIXED: dict[str, Any] = {"model": TINY, "n_epochs": 2, "device": "cpu", "verbose": 0}
X = np.random.default_rng(0).normal(size=(12, 2, 10))


def forecaster() -> dict[str, Any]:
    """A wide table with a time zone, and its graph."""
    t = np.arange(60)
    times = pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"date": times, "wind [m/s]": 10 + np.sin(t / 2), "b": np.cos(t / 3)})
    model = ConvTimeNetForecaster(h=2, input_size=8, **FIXED).fit(frame)
    model.save(FOLDER / "forecaster")
    export(model, FOLDER / "export", "onnx")
    graph = onnx.load(FOLDER / "export" / "model.onnx")
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info):
        part.ClearField("metadata_props")  # places in torch's source, most of the file
    for part in (*graph.graph.node, *graph.graph.value_info):
        part.ClearField("doc_string")
    onnx.save(graph, FOLDER / "export" / "model.onnx")
    seal(FOLDER / "export")
    future = model.predict()
    return {
        "forecast": future.drop(columns="date").to_numpy().tolist(),
        "times": [stamp.isoformat() for stamp in future["date"]],
    }


def panel() -> dict[str, Any]:
    """Two series with covariates of every kind and intervals."""
    parts = []
    for name, region, rows in (("a", "north", 60), ("b", "south", 50)):
        t = np.arange(rows)
        parts.append(
            pd.DataFrame(
                {
                    "unique_id": name,
                    "ds": pd.date_range("2024-01-01", periods=rows, freq="D"),
                    "y": np.sin(t / 2) + (t % 4 == 0),
                    "promo": (t % 4 == 0).astype(float),
                    "weather": np.where(t % 3 == 0, "wet", "dry"),
                    "visits": t % 5,
                    "region": region,
                }
            )
        )
    model = ConvTimeNetForecaster(
        h=2,
        input_size=8,
        hist_exog=["visits"],
        futr_exog=["promo", "weather"],
        stat_exog=["region"],
        calendar=["dayofweek"],
        **FIXED,
    ).fit(pd.concat(parts))
    model.save(FOLDER / "panel")
    return {"panel": written(model.predict(future=ahead(), level=[50]))}


def quantiles() -> dict[str, Any]:
    """A head that gives quantiles, and intervals from them."""
    waves = np.sin(np.arange(80)[:, None] / np.array([2.0, 3.0]))
    settings: dict[str, Any] = FIXED | {"model": TINY | {"quantiles": (0.1, 0.5, 0.9)}}
    model = ConvTimeNetForecaster(h=2, input_size=8, **settings).fit(waves)
    model.save(FOLDER / "quantiles")
    answer = model.predict(level=[50])
    return {"quantiles": {name: values.tolist() for name, values in answer.items()}}


def classifier() -> dict[str, Any]:
    """Two classes with text as labels."""
    model = ConvTimeNetClassifier(**FIXED).fit(X, np.array(["a", "b"] * 6))
    model.save(FOLDER / "classifier")
    return {
        "probabilities": model.predict_proba(X).tolist(),
        "classes": model.predict(X).tolist(),
    }


def regressor() -> dict[str, Any]:
    """Numbers for cases."""
    model = ConvTimeNetRegressor(**FIXED).fit(X, X.mean(axis=(1, 2)) * 100 + 5)
    model.save(FOLDER / "regressor")
    return {"numbers": model.predict(X).tolist()}


def ahead() -> pd.DataFrame:
    """What is known of the panel's next two days."""
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range(first, periods=2, freq="D"),
                "promo": [1.0, 0.0],
                "weather": ["wet", "dry"],
            }
        )
        for name, first in (("a", "2024-03-01"), ("b", "2024-02-20"))
    ]
    return pd.concat(parts)


def written(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """A frame as JSON values."""
    columns = frame.assign(ds=[stamp.isoformat() for stamp in frame["ds"]])
    return {str(name): columns[name].tolist() for name in columns}


def main() -> None:
    """Fit, save, and keep the answers beside the models."""
    makers = (forecaster, panel, quantiles, classifier, regressor)
    path = FOLDER / "expected.json"
    expected = json.loads(path.read_text()) if path.exists() else {}
    for maker in makers:
        if not sys.argv[1:] or maker.__name__ in sys.argv[1:]:
            expected |= maker()
    path.write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
