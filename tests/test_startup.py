"""What is imported by whom: heavy packages only where they are used."""

import json
import subprocess
import sys

import pytest

HELP = """
import contextlib, io
from convtimenet.cli.main import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["export", "--help"])
"""
HEAVY = {"torch", "sklearn", "scipy", "pandas", "polars", "pyarrow", "narwhals", "matplotlib"}
HEAVY |= {"optuna", "sqlalchemy"}
GRAPHS = {"onnx", "onnxruntime", "onnxscript"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import convtimenet", HEAVY | GRAPHS | {"numpy", "rich", "jsonargparse", "safetensors"}),
        ("import convtimenet.runtime", HEAVY | GRAPHS | {"rich", "jsonargparse", "safetensors"}),
        (HELP, HEAVY | GRAPHS | {"numpy", "safetensors"}),
        (
            "import torch, convtimenet.estimators.forecasting.forecaster",
            GRAPHS | {"jsonargparse", "matplotlib", "optuna"},
        ),
    ],
    ids=["package", "runtime", "help", "forecaster"],
)
def test_what_an_import_brings(code, absent):
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert any(name.startswith("convtimenet") for name in loaded)
    assert loaded & absent == set()
