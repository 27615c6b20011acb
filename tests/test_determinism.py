"""The same seed gives the same weights in another process, whatever its hashes are seeded with."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from forked import Forked

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, detect, impute
from convtimenet.estimators.filling.windows import _network

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


def callers_state() -> tuple[bytes, str]:
    """Of the random numbers that a caller draws from. Python's own are left out, as types are
    checked in tests by items drawn from them."""
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state())  # noqa: NPY002


def test_no_call_draws_from_the_callers_random_numbers(tmp_path):
    small = {"model": {"d_model": 8, "d_ff": 8, "kernel_sizes": (3,)}, "verbose": 0, "n_epochs": 1}
    wave = np.sin(np.arange(160) / 5)
    holes = np.where(np.arange(160) // 10 == 8, np.nan, wave)
    X, y = np.random.default_rng(0).normal(size=(12, 1, 40)), np.arange(12) % 2
    forecaster = ConvTimeNetForecaster(h=4, input_size=24, **small)
    classifier = ConvTimeNetClassifier(**small)
    _network.cache_clear()  # weights are read once in a process
    calls = {
        "fit": lambda: forecaster.fit(wave),
        "predict": lambda: forecaster.predict(wave, level=80),
        "save": lambda: forecaster.save(tmp_path / "a"),
        "load": lambda: ConvTimeNetForecaster.load(tmp_path / "a"),
        "pretrained": lambda: ConvTimeNetForecaster.pretrained(verbose=0).predict(wave),
        "impute": lambda: impute(holes, verbose=0),
        "detect": lambda: detect(wave, verbose=0),
        "pretrain": lambda: classifier.pretrain(X, n_epochs=1),
        "Pretrained.save": lambda: classifier.pretrained_.save(tmp_path / "b"),
        "fit of cases": lambda: classifier.fit(X, y),
        "explain": lambda: classifier.explain(X, spans=2),
        "init_from": lambda: ConvTimeNetClassifier(init_from="pretrained", verbose=0).fit(X, y),
    }
    for name, call in calls.items():
        before = callers_state()
        call()
        assert callers_state() == before, name
