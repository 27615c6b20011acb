"""Shapes and types of annotated calls are checked while the tests run."""

import gc
import logging
import signal
from contextlib import nullcontext
from functools import cache
from importlib.util import find_spec
from traceback import StackSummary

import pytest
from hypothesis import settings
from jaxtyping import config, install_import_hook

# No timed tests: a slow machine fails none.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# The modules that handle tensors; elsewhere our own errors speak of the user's mistakes.
TENSOR_MODULES = (
    "batch",
    "data.windows",
    "network.covariate_embedding",
    "network.inference",
    "network.kernels.native",
    "network.layers",
    "network.model",
    "network.original",
    "training.loop",
    "training.metrics",
    "training.step",
)
install_import_hook([f"convtimenet.{name}" for name in TENSOR_MODULES], "beartype.beartype")

# They train whole models to test what is around them, and would repeat the checks of the others.
UNCHECKED = {
    "agreement",
    "app",
    "artefact",
    "backtest",
    "bad_input",
    "bench",
    "benchmark",
    "callbacks",
    "classifier",
    "cli",
    "cli_help",
    "cli_tune",
    "effects",
    "embeddings",
    "evaluation",
    "evidence_networks",
    "explain",
    "export",
    "filling",
    "forecaster",
    "gaps",
    "generators",
    "guards",
    "intervals",
    "job",
    "labelled_files",
    "labelled_training",
    "large",
    "leaks",
    "linear",
    "mixing",
    "mixture",
    "odd_tables",
    "pages",
    "panels",
    "parallel",
    "parameters",
    "portfolio",
    "pretrained",
    "pretraining",
    "processes",
    "progress",
    "random_patches",
    "refit",
    "regressor",
    "remedies",
    "remembered",
    "report",
    "resume",
    "serve_answers",
    "serve_clients",
    "serve_limits",
    "serve_server",
    "sklearn",
    "smoothing",
    "times",
    "training_edges",
    "tune",
}


def pytest_collection_finish():
    """What was imported stays to the end, so that no collection need look at it."""
    gc.collect()
    gc.freeze()


# They read the words of pages; how pictures look is the matter of the tests of reports.
UNDRAWN = {"cli", "evaluation", "linear", "mixing", "mixture", "panels", "portfolio", "refit"}
UNDRAWN |= {"random_patches"}


@pytest.fixture(autouse=True, scope="module")
def _pictures_drawn(request: pytest.FixtureRequest):
    """Drawing takes most of the time of a page."""
    from common import undrawn  # here, because it imports modules whose shapes are checked

    name = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    without = name in UNDRAWN and find_spec("matplotlib") is not None
    with undrawn() if without else nullcontext():
        yield


# They write graphs, of which the half is torch's reading of its own operations, again each time,
# and a trace of Python's stack for each node, which only torch's error messages show.
EXPORTING = {"cli", "export", "gaps", "labelled_training", "linear", "mixing", "mixture", "pages"}
EXPORTING |= {"portfolio", "random_patches", "smoothing"}


@pytest.fixture(autouse=True, scope="module")
def _graphs_written_faster(request: pytest.FixtureRequest):
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    if name not in EXPORTING or find_spec("onnxscript") is None:
        yield
        return
    from torch.onnx._internal.exporter._registration import ONNXRegistry
    from torch.utils._traceback import CapturedTraceback

    with pytest.MonkeyPatch.context() as patched:
        read_once = staticmethod(cache(ONNXRegistry.from_torchlib))
        patched.setattr(ONNXRegistry, "from_torchlib", read_once)
        patched.setattr(CapturedTraceback, "summary", lambda _: StackSummary())
        yield


@pytest.fixture(autouse=True, scope="module")
def _shapes_checked(request: pytest.FixtureRequest):
    """Where a tenth of the tests' time would go into checks made elsewhere, none is made."""
    before = config.jaxtyping_disable
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    config.update("jaxtyping_disable", before or name in UNCHECKED)
    yield
    config.update("jaxtyping_disable", before)


@pytest.fixture(autouse=True)
def _interruptible():
    """SIGINT as on a terminal: a test run in the background of a shell ignores it, and fits then
    do too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _log_level():
    """Leave the package's log level as it was; commands change it."""
    logger = logging.getLogger("convtimenet")
    level = logger.level
    yield
    logger.setLevel(level)
