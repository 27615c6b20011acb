"""Examples with the answers of another network, from which a network learns as its objective says.

The loop trains on them as on any others. Shape legend: `convtimenet._shapes`.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from convtimenet._shapes import Float, Int
from convtimenet.batch import Batch
from convtimenet.config import Head
from convtimenet.data.windows import LabelledCases, Windows
from convtimenet.training.objectives import OBJECTIVES

__all__ = ["TaughtCases", "TaughtWindows"]


class TaughtWindows(Windows):
    """Windows with the forecasts of another network, computed for each batch.

    Parameters
    ----------
    whole
        Windows of the context that the other network reads.
    context_length
        L, at most that of `whole`: the last steps of these contexts.
    teacher
        The other network, in evaluation mode on the device of the windows.
    """

    def __init__(self, whole: Windows, context_length: int, teacher: nn.Module):
        ends = whole.ends(context_length)
        super().__init__(*ends._of(ends.starts, context_length))
        self._read, self.teacher = whole, teacher

    def __reduce__(self) -> tuple[Any, ...]:
        return TaughtWindows, (self.whole, self.context_length, self.teacher)

    @property
    def whole(self) -> Windows:
        """These windows with the contexts that the other network reads."""
        found = copy(self._read)
        found.starts = self.starts - (found.context_length - self.context_length)
        return found

    def batch(self, index: Int[Tensor, " B"]) -> Batch:
        """The contexts at positions `index`, and horizons between truth and forecast."""
        batch = super().batch(index)
        with torch.no_grad():
            answers = self.teacher(*self.whole.batch(index).inputs).float()
        return batch._replace(y=_taught("forecast", answers, batch.y))


class TaughtCases(LabelledCases):
    """Cases with the answers of another network; closed forms read their labels alone.

    Parameters
    ----------
    answers
        Its class scores, or numbers (n, 1) scaled like the targets.
    head
        "classify" or "regress".
    """

    def __init__(self, cases: LabelledCases, answers: Float[Tensor, "n outputs"], head: Head):
        super().__init__(cases.x, cases.y, cases.weight)
        self.targets = _taught(head, answers, cases.y)

    def batch(self, index: Int[Tensor, " B"]) -> Batch:
        """The cases at positions `index`, with targets between label and answer."""
        return super().batch(index)._replace(y=self.targets[index])


def _taught(head: Head, answers: Tensor, y: Tensor) -> Tensor:
    taught = OBJECTIVES[head].taught
    assert taught is not None
    return taught(answers, y)
