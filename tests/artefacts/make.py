"""Write the kept models of the current format: python tests/artefacts/make.py

Only for a new format, or while it is not released: those of a released format stay as they are.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import pandas as pd

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.export import export
from convtimenet.manifest import FORMAT, seal

TINY = {"d_model": 2, "d_ff": 2, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2}
FIXED = {"model": TINY, "n_epochs": 2, "device": "cpu", "verbose": 0}


def main() -> None:
    """Fit, save, and keep the answers beside the models."""
    folder = Path(__file__).parent / str(FORMAT)
    t = np.arange(60)
    times = pd.date_range("2024-03-30", periods=60, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"date": times, "wind [m/s]": 10 + np.sin(t / 2), "b": np.cos(t / 3)})
    forecaster = ConvTimeNetForecaster(h=2, input_size=8, **FIXED).fit(frame)
    forecaster.save(folder / "forecaster")
    X, y = np.random.default_rng(0).normal(size=(12, 2, 10)), np.array(["a", "b"] * 6)
    classifier = ConvTimeNetClassifier(**FIXED).fit(X, y)
    classifier.save(folder / "classifier")
    export(forecaster, folder / "export", "onnx")
    graph = onnx.load(folder / "export" / "model.onnx")
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info):
        part.ClearField("metadata_props")  # places in torch's source, most of the file
    for part in (*graph.graph.node, *graph.graph.value_info):
        part.ClearField("doc_string")
    onnx.save(graph, folder / "export" / "model.onnx")
    seal(folder / "export")
    future = forecaster.predict()
    expected = {
        "forecast": future.drop(columns="date").to_numpy().tolist(),
        "times": [stamp.isoformat() for stamp in future["date"]],
        "probabilities": classifier.predict_proba(X).tolist(),
        "classes": classifier.predict(X).tolist(),
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
