"""Shapes and types of every annotated call are checked while the tests run."""

from jaxtyping import install_import_hook

# The modules that handle tensors; elsewhere our own errors speak of the user's mistakes.
TENSOR_MODULES = (
    "layers",
    "model",
    "inference",
    "native",
    "original",
    "windows",
    "step",
    "training",
    "metrics",
)
install_import_hook([f"convtimenet.{name}" for name in TENSOR_MODULES], "beartype.beartype")
