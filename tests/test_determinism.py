"""The same seed gives the same weights in another process, whatever its hashes are seeded with."""

import json
import os
import subprocess
import sys

import pytest
from forked import Forked

# Trains both tasks and prints a digest of the weights; the first argument is the thread count.
SCRIPT = """
import hashlib, json, sys
import numpy as np, torch
from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
torch.set_num_threads(int(sys.argv[1]))
small = {"d_model": 16, "d_ff": 32, "kernel_sizes": (3, 5), "dropout": 0.1}
cases = small | {"random_patches": 2}
settings = dict(n_epochs=2, device="cpu", verbose=0)
numbers = np.random.default_rng(0)
X = numbers.normal(size=(60, 2, 80))
waves = np.sin(np.arange(160)[:, None] / np.array([2.0, 3.0])) + 0.1 * numbers.normal(size=(160, 2))
models = [
    ConvTimeNetForecaster(h=8, input_size=48, model=small, **settings).fit(waves),
    ConvTimeNetClassifier(model=cases, training={"refit": True}, **settings).fit(
        X, np.arange(60) % 2),
]
def digest(model):
    state = model.network_.state_dict().values()
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in state)).hexdigest()
print(json.dumps([digest(model) for model in models]))
"""


def fresh(threads: int, native: str) -> list[str]:
    """Of an interpreter whose hashes have another seed than those here."""
    hashes = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(threads)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"CONVTIMENET_NATIVE": native, "PYTHONHASHSEED": hashes},
    )
    return json.loads(found.stdout)


def forked(threads: int, native: str) -> list[str]:
    process = Forked(SCRIPT, threads, CONVTIMENET_NATIVE=native)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads(out)


@pytest.mark.parametrize("native", [pytest.param("0", marks=pytest.mark.slow), "1"])
def test_the_same_seed_in_two_processes_gives_the_same_bits(native):
    assert fresh(1, native) == forked(1, native)
