"""Shapes and types of every annotated call are checked while the tests run."""

from hypothesis import settings
from jaxtyping import install_import_hook

# No timed tests: a slow machine fails none.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# The modules that handle tensors; elsewhere our own errors speak of the user's mistakes.
TENSOR_MODULES = (
    "exogenous",
    "layers",
    "model",
    "inference",
    "native",
    "original",
    "windows",
    "training",
    "metrics",
)
install_import_hook([f"convtimenet.{name}" for name in TENSOR_MODULES], "beartype.beartype")
