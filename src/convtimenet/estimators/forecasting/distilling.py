"""Distillation of a forecaster: one network that forecasts like an ensemble."""

from __future__ import annotations

from abc import abstractmethod
from os import PathLike
from typing import Any, Self

import numpy as np

from convtimenet.estimators.distilling import student_of
from convtimenet.estimators.forecasting.pretraining import PretrainableForecaster

__all__ = ["DistillableForecaster"]


class DistillableForecaster(PretrainableForecaster):
    """Base of `ConvTimeNetForecaster`; not used by itself."""

    @abstractmethod
    def _fit(
        self,
        X: Any,
        split: tuple[int | np.ndarray, int | np.ndarray] | None = None,
        resume: str | PathLike[str] | None = None,
        refit: bool = True,
        *,
        scored: bool = True,
        ensemble: Any = None,
    ) -> Self:
        """`fit`; without scores and calibration if it is not to be `scored`, and also to the
        answers of an ensemble."""

    def distil(
        self,
        X: Any,
        *,
        split: tuple[int | np.ndarray, int | np.ndarray] | None = None,
        resume: str | PathLike[str] | None = None,
        refit: bool = True,
    ) -> Self:
        """Train one network that forecasts like this ensemble of quality="best": about a sixth of
        its size and of the time of a forecast. What it keeps: docs/evidence/distil.md.

        It is the network of quality="auto", trained as that is, on targets four fifths of the
        way from the true values to the ensemble's forecasts of the same windows. The first training
        learns from the ensemble before its second one, which did not see the validation split
        either; scores and intervals come from the new network's own errors there, as after `fit`.

        Parameters
        ----------
        X
            A table as for `fit`, with the same columns; usually the same rows, which a model does
            not keep.
        split, resume, refit
            As for `fit`, and the same split; one folder can be used for both.

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
            If the table cannot be used, has other columns, or is too short.
        CheckpointError
            If `resume` holds the training of another run.

        Notes
        -----
        Where there are no rows for a validation split, intervals are calibrated as after `fit`, by
        trainings on earlier rows, which learn from these alone. A `time_limit` holds for this
        training by itself.
        """
        student = student_of(self)
        student.input_size = self.network_.config.networks[0].context_length
        return student._fit(self._agreeing(X), split, resume, refit, ensemble=self)
