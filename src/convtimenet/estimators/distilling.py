"""Distillation: one network learns to answer like an ensemble. Why: docs/design/distillation.md.

It is trained like the network of quality="auto", twice and with the same splits; only the targets
of its training examples lie between the truth and the answers of the ensemble.
"""

from __future__ import annotations

from abc import abstractmethod
from os import PathLike
from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from convtimenet.errors import ConfigError
from convtimenet.estimators.parameters import unfitted
from convtimenet.estimators.pretraining import PretrainableCases
from convtimenet.network.ensemble import Ensemble

__all__ = ["DistillableCases", "student_of", "taught_notice"]


def student_of(ensemble: Any) -> Any:
    """An unfitted estimator like a fitted one with quality="best", to train one network.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        Before `fit`.
    ConfigError
        If it is not an ensemble.
    """
    check_is_fitted(ensemble, "fused_")
    if not isinstance(ensemble.network_, Ensemble):
        found = f"a single network (quality={ensemble.quality!r})"
        raise ConfigError(
            f"distil() makes one network of several, expected a model fitted with quality='best', "
            f"found {found}; fit with quality='best' first, with a time_limit that leaves time for "
            "several networks, or use this model as it is"
        )
    # the same seed, which draws the same validation split
    return unfitted(ensemble, quality="auto", random_state=ensemble.train_config_.seed)


def taught_notice(ensemble: Any, saw_validation: bool) -> str:
    """A sentence for users about what a network learns from.

    Parameters
    ----------
    saw_validation
        Whether the ensemble was trained on the network's validation split.
    """
    found = f"distilled: one network that learns from the answers of {len(ensemble.members_)}"
    if saw_validation:
        found += ", which were trained on its validation split too: its scores there are optimistic"
    return found


class DistillableCases(PretrainableCases):
    """Base of the classifier and the regressor; not used by itself."""

    @abstractmethod
    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        valid: tuple[Any, Any] | None,
        resume: str | PathLike[str] | None,
        ensemble: Any = None,
    ) -> Self:
        """`fit`, also to the answers of an ensemble."""

    def distil(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        valid: tuple[Any, Any] | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> Self:
        """Train one network that answers like this ensemble of quality="best": about a sixth of its
        size and of the time of a prediction. What it keeps: docs/evidence/distil.md.

        It is the network of quality="auto", trained as that is, on targets four fifths of the
        way from the labels to the answers of the ensemble to the same cases.

        Parameters
        ----------
        X, y, sample_weight, valid
            As for `fit`, with the same channels and classes; usually the same cases, which a model
            does not keep.
        resume
            Folder for checkpoints, as for `fit`; the same folder can be used for both.

        Returns
        -------
        A new estimator, fitted; this one is not changed.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ConfigError
            If this is not an ensemble.
        DataError
            If the cases cannot be used, or have other channels or classes.
        CheckpointError
            If `resume` holds the training of another run.

        Notes
        -----
        `scores_` are those on a validation split of its own, the one of `fit` for the same cases.
        The ensemble was trained on that too, unless its second training is off, so they are
        optimistic, and a notice says so. A `time_limit` holds for this training by itself.
        """
        return student_of(self)._fit(X, y, sample_weight, valid, resume, self)
