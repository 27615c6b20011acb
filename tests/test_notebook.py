"""A notebook that is executed: its bar while it trains, and the tables it shows."""

from __future__ import annotations

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


def test_a_notebook_shows_progress_and_tables():
    nbformat: Any = pytest.importorskip("nbformat")
    nbclient: Any = pytest.importorskip("nbclient")
    cells = [nbformat.v4.new_code_cell(code) for code in (TRAIN, "model.history_")]
    book = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(book, timeout=300).execute()
    fit, history = (cell.outputs for cell in book.cells)
    bars = [one["data"] for one in fit if one.output_type == "display_data"]
    assert any("3 epochs in" in one["text/plain"] for one in bars)  # updated until the end
    (model,) = (one["data"] for one in fit if one.output_type == "execute_result")
    assert "<caption>ConvTimeNetForecaster, fitted</caption>" in model["text/html"]
    assert "<th>3</th>" in history[0]["data"]["text/html"]
    assert all(one.output_type != "stream" for one in fit)  # nothing was printed beside it
