"""What several test files start from."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from itertools import product
from pathlib import Path
from typing import Any, TextIO

import pytest
import torch
from _pytest.mark import ParameterSet

from convtimenet.network.model import ConvTimeNet

DATA = Path(os.environ.get("CONVTIMENET_DATA") or Path(__file__).parents[2] / "shared" / "data")
"""The published data sets; beside the clone where no folder is named."""
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no data sets in {DATA}; set CONVTIMENET_DATA"
)


def in_turn(first: Iterable[Any], *others: Iterable[Any]) -> list[ParameterSet]:
    """All combinations as parameters. The quick tests take each of the others' once, with the
    values of the first in turn, as each walks much the same path."""
    values = list(first)
    return [
        pytest.param(one, *rest, marks=() if (at - i) % len(values) == 0 else pytest.mark.slow)
        for at, rest in enumerate(product(*others))
        for i, one in enumerate(values)
    ]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows, as on a disk that is full: the system refuses to write."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def randomised(model: ConvTimeNet) -> ConvTimeNet:
    """As if trained: every weight and every running statistic away from its start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.3, 3)
    return model.eval()


@contextmanager
def undrawn() -> Iterator[None]:
    """Figures of a report are made but not rendered, which takes most of the time of a page: for
    tests that read its words. Of each picture the words are left."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    def words(figure: Figure, file: TextIO, **_: Any) -> None:
        found = [one.get_text() for one in figure.findobj(Text) if isinstance(one, Text)]
        file.write(f"<svg>{''.join(f'<text>{escape(one)}</text>' for one in found)}</svg>")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Figure, "savefig", words)
        yield
