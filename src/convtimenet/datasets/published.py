"""Published scores on the registered data sets, each with its source.

Only shown for comparison; nothing is selected by them.
"""

from __future__ import annotations

from dataclasses import dataclass

_MEASURED = "authors' code, run with seed 2023"
_PATCHTST = "PatchTST's repository; its test loader drops the last batch too"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One model's scores on one task."""

    model: str
    scores: dict[str, float]
    counted: str
    """Which test windows, or which epoch, are scored."""
    source: str


def _forecast(
    model: str, mse: float, mae: float, counted: str, source: str = _MEASURED
) -> Published:
    return Published(model=model, scores={"mse": mse, "mae": mae}, counted=counted, source=source)


def _accuracy(accuracy: float, counted: str) -> Published:
    return Published(
        model="ConvTimeNet (authors)",
        scores={"accuracy": accuracy},
        counted=counted,
        source=_MEASURED,
    )


_OURS = "ConvTimeNet (authors)"
_KEPT = "test windows less the last incomplete batch"

PUBLISHED: dict[tuple[str, int | None], tuple[Published, ...]] = {
    ("ETTh1", 96): (
        _forecast(_OURS, 0.379, 0.400, "all 2,785 windows"),
        _forecast(_OURS, 0.375, 0.399, "2,560 windows, as their script prints it"),
        _forecast("PatchTST/42", 0.375, 0.399, _KEPT, _PATCHTST),
        _forecast("DLinear", 0.375, 0.399, _KEPT, _PATCHTST),
    ),
    ("ETTh2", 96): (
        _forecast(_OURS, 0.281, 0.341, "all 2,785 windows"),
        _forecast(_OURS, 0.265, 0.334, "2,560 windows, as their script prints it"),
        _forecast("PatchTST/42", 0.274, 0.336, _KEPT, _PATCHTST),
        _forecast("DLinear", 0.289, 0.353, _KEPT, _PATCHTST),
    ),
    ("Exchange", 96): (
        _forecast(_OURS, 0.0848, 0.204, "all 1,422 windows"),
        _forecast(_OURS, 0.0843, 0.203, "1,408 windows, as their script prints it"),
    ),
    ("ILI", 24): (
        _forecast(_OURS, 2.137, 0.963, "all 170 windows"),
        _forecast(_OURS, 1.429, 0.807, "128 windows, as their script prints it"),
        _forecast("PatchTST/42", 1.522, 0.814, _KEPT, _PATCHTST),
        _forecast("DLinear", 2.215, 1.081, _KEPT, _PATCHTST),
    ),
    ("ArticularyWordRecognition", None): (
        _accuracy(0.987, "last epoch"),
        _accuracy(0.987, "best test epoch, as their script prints it"),
    ),
    ("Epilepsy", None): (
        _accuracy(0.971, "last epoch"),
        _accuracy(0.978, "best test epoch, as their script prints it"),
    ),
}


def published(dataset: str, horizon: int | None) -> tuple[Published, ...]:
    """Published scores on a data set, for forecasting at a horizon; () if there are none."""
    return PUBLISHED.get((dataset, horizon), ())
