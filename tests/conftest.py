"""Shapes and types of every annotated call are checked while the tests run."""

import logging

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

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


@pytest.fixture(autouse=True)
def _log_level():
    """Leave the package's log level as it was; commands change it."""
    logger = logging.getLogger("convtimenet")
    level = logger.level
    yield
    logger.setLevel(level)
