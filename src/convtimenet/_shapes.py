"""Tensor annotations with shapes, such as ``Float[Tensor, "B C L"]``.

The tests import jaxtyping first and have every annotated call checked (tests/conftest.py).
In ordinary use jaxtyping is neither needed nor imported: the names below then stand for the
plain array type.

Shape legend: B batch, C channels, L context length, N patches (tokens), P patch size,
D width (``d_model``), F hidden width (``d_ff``), H horizon, K classes, T time steps of a table,
R rows = B x groups of channels that one pass of the network reads.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int, Shaped
else:

    class _Plain:
        def __class_getitem__(cls, item):
            return item[0]

    Bool = Float = Int = Shaped = _Plain

__all__ = ["Bool", "Float", "Int", "Shaped"]
