"""A notebook that is executed: its bar while it trains, and the tables it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.app

TRAIN = """
import numpy as np, torch
from convtimenet import ConvTimeNetForecaster
torch.set_num_threads(1)
small = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 4}
model = ConvTimeNetForecaster(4, 16, n_epochs=3, device="cpu", model=small)
model.fit(np.sin(np.arange(200) / 3))
"""
FORECAST = """
from pathlib import Path
rows = [f"{step},{np.sin(step / 3):.6f}" for step in range(40)]
Path("FILE").write_text("\\n".join(["time,0", *rows]))
forecast = model.predict("FILE")
forecast
"""


def test_a_notebook_shows_progress_tables_and_pictures(tmp_path: Path):
    nbformat: Any = pytest.importorskip("nbformat")
    nbclient: Any = pytest.importorskip("nbclient")
    forecast = FORECAST.replace("FILE", str(tmp_path / "new.csv"))
    codes = (TRAIN, "model.history_", forecast, "forecast.plot()", "model.plot()")
    cells = [nbformat.v4.new_code_cell(code) for code in codes]
    book = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(book, timeout=300).execute()
    fit, history, table, *pictures = (cell.outputs for cell in book.cells)
    bars = [one["data"] for one in fit if one.output_type == "display_data"]
    assert any("3 epochs in" in one["text/plain"] for one in bars)  # updated until the end
    (model,) = (one["data"] for one in fit if one.output_type == "execute_result")
    assert "<caption>ConvTimeNetForecaster, fitted</caption>" in model["text/html"]
    assert "<th>3</th>" in history[0]["data"]["text/html"]
    shown = table[0]["data"]["text/html"]
    assert "<caption>Table: 4 rows in steps of 1, channels &#x27;0&#x27;</caption>" in shown
    assert "<tr><th>40</th><td>" in shown
    for (picture,) in pictures:
        assert picture["data"]["image/png"].startswith("iVBOR")
    assert all(one.output_type != "stream" for one in fit)  # nothing was printed beside it
