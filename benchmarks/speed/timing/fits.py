"""Full fits of classifiers, from cases and labels to a fitted estimator."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from convtimenet import ConvTimeNetClassifier, datasets
from convtimenet.estimators.presets.paper import PAPER

from .cases import Case, Phase
from .contestants import AUTHORS, OURS, NotRun, Timed, contestant

INCEPTION_EPOCHS, INCEPTION_NETWORKS = 1500, 5  # aeon's defaults, the paper's


def labelled(case: Case) -> tuple[np.ndarray, np.ndarray, str]:
    """Training cases (n, C, L), labels (n,), and a description.

    The registered data set if it is on this machine, else noisy waves of the same shape.
    """
    assert case.fitted_set is not None
    if datasets.is_local(case.fitted_set):
        train, _ = datasets.load_classification(case.fitted_set)
        assert train.labels is not None
        return np.nan_to_num(train.values.astype(np.float64)), train.labels, case.fitted_set
    n, (C, L) = 11 * case.config.outputs, (case.channels, case.config.context_length)
    y = np.arange(n) % case.config.outputs
    noise = np.random.default_rng(0).normal(size=(n, C, L))
    waves = np.sin(np.arange(L) * (1 + y[:, None, None]) / 20 + np.arange(C)[:, None])
    return waves + noise, y.astype(str), f"generated cases of {case.fitted_set}'s shape"


def _two_lengths(make: Callable[[int], Any], epochs: int, case: Case, note: str) -> Timed:
    """A fit with all epochs; the warm-up is a fit with a single epoch."""
    X, y, data = labelled(case)
    return Timed(
        lambda: make(epochs).fit(X, y),
        note=f"{data}, {epochs} epochs{note}",
        warm=lambda: make(1).fit(X, y),
    )


def _paper_epochs(case: Case) -> int:
    assert case.fitted_set is not None
    return PAPER[case.fitted_set].train["epochs"]


@contestant(OURS, "eager", phases=("fit",), heads=("classify",), devices=("cpu",))
def ours(case: Case, phase: Phase, precision: str) -> Timed:
    def make(epochs: int) -> Any:
        assert case.fitted_set is not None
        return ConvTimeNetClassifier(
            preset=case.fitted_set, n_epochs=epochs, verbose=0, random_state=0
        )

    note = " to select the best, then retrained on all cases for that many"
    return _two_lengths(make, _paper_epochs(case), case, note)


@contestant(AUTHORS, "eager", phases=("fit",), heads=("classify",), devices=("cpu",))
def authors(case: Case, phase: Phase, precision: str) -> Timed:
    try:
        from sktime.classification.deep_learning import (  # pyright: ignore[reportMissingImports]
            ConvTimeNetClassifier as Port,
        )
    except ImportError as error:
        raise NotRun(f"sktime's port is not there: {error}") from error
    config = case.config

    def make(epochs: int) -> Any:
        return Port(
            d_model=config.d_model,
            patch_size=config.patch_size,
            patch_stride=config.patch_stride,
            dropout=config.dropout,
            d_ff=config.d_ff,
            dw_ks=list(config.kernel_sizes),
            num_epochs=epochs,
            batch_size=case.batch,
            lr=case.lr,
            random_state=0,
        )

    return _two_lengths(make, _paper_epochs(case), case, ", no validation")


@contestant("MiniRocket", "ridge", phases=("fit",), heads=("classify",), devices=("cpu",))
def minirocket(case: Case, phase: Phase, precision: str) -> Timed:
    try:
        from aeon.classification.convolution_based import (  # pyright: ignore[reportMissingImports]
            MiniRocketClassifier,
        )
    except ImportError as error:
        raise NotRun(f"aeon is not there: {error}") from error
    X, y, data = labelled(case)

    def fit() -> object:
        return MiniRocketClassifier(random_state=0, n_jobs=torch.get_num_threads()).fit(X, y)

    return Timed(fit, note=f"{data}, 10,000 kernels", warm=fit)


@contestant("InceptionTime", "keras", phases=("fit",), heads=("classify",), devices=("cpu",))
def inceptiontime(case: Case, phase: Phase, precision: str) -> Timed:
    """One epoch of one network, with aeon's model and batch size.

    A full fit is 7,500 such epochs, which takes hours on one core.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        import tensorflow  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
        from aeon.classification.deep_learning import (  # pyright: ignore[reportMissingImports]
            IndividualInceptionClassifier,
        )
    except ImportError as error:
        raise NotRun(f"aeon's deep learning part is not there: {error}") from error
    threading = tensorflow.config.threading
    try:
        threading.set_intra_op_parallelism_threads(torch.get_num_threads())
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise NotRun(f"tensorflow runs with other threads already: {error}") from error
    X, y, data = labelled(case)
    kinds, numbers = np.unique(y, return_inverse=True)
    inputs = np.ascontiguousarray(X.transpose(0, 2, 1), dtype=np.float32)
    targets = np.eye(len(kinds), dtype=np.float32)[numbers]
    classifier = IndividualInceptionClassifier(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = classifier.build_model(inputs.shape[1:], len(kinds))

    def epoch() -> object:
        return network.fit(inputs, targets, batch_size=classifier.batch_size, epochs=1, verbose=0)

    epochs = INCEPTION_EPOCHS * INCEPTION_NETWORKS
    note = f"{data}, one of {epochs:,} epochs (the default {INCEPTION_NETWORKS} networks)"
    return Timed(epoch, share=1 / epochs, note=note, warm=epoch)
