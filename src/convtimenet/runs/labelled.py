"""Run of a classifier or regressor: fit it to training cases and score it on test cases."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.metrics import r2_score

from convtimenet import scores
from convtimenet.data.labelled.cases import Cases, in_channel_order
from convtimenet.data.labelled.labels import in_the_kind_of
from convtimenet.data.split import split_cases
from convtimenet.errors import DataError
from convtimenet.estimators.case_input import check_task
from convtimenet.estimators.classifier import ConvTimeNetClassifier
from convtimenet.estimators.regressor import ConvTimeNetRegressor
from convtimenet.runs.result import Result, comparison, distillable, facts, result_of
from convtimenet.training.metrics import Scores


@dataclass(frozen=True, kw_only=True)
class LabelledRun:
    """A fitted classifier or regressor with its test cases."""

    result: Result
    model: ConvTimeNetClassifier | ConvTimeNetRegressor
    cases: Cases

    def write_report(self, path: str | Path) -> Path:
        """Write the HTML report of this run."""
        from convtimenet.report import cases_report

        result = self.result
        return cases_report(
            path,
            self.model,
            self.cases,
            title=f"{result.dataset}, {result.task}",
            facts=facts(result),
            published=comparison(result),
            baseline=result.baseline,
        )


def fit_labelled(
    model: ConvTimeNetClassifier | ConvTimeNetRegressor,
    train: Cases,
    test: Cases,
    *,
    dataset: str,
    trained_on: str | None = None,
    protocol: str = "honest",
    resume: str | Path | None = None,
    distil: bool = False,
) -> LabelledRun:
    """Fit to training cases and score on test cases; in the paper protocol the test cases are also
    the validation split. With `distil` the model of the run is one network that learns from the
    ensemble. `dataset` names the test cases, and `trained_on` the training cases if they are of
    another set.

    Raises
    ------
    DataError
        If training and test cases do not match, or their labels do not suit the model.
    """
    check_alike(train, test)
    assert train.labels is not None
    assert test.labels is not None
    for cases in (train, test):
        check_task(cases, model.task)
    model.check_labels(train.labels)
    classifies = isinstance(model, ConvTimeNetClassifier)
    test_notices: list[str] = []
    if classifies:
        labels, counts = np.unique(train.labels, return_counts=True)
        constant = labels[counts.argmax()]
        test = replace(test, labels=in_the_kind_of(test.labels, labels))
        test_notices = unknown_classes(test, labels)
    else:
        model.check_labels(test.labels)
        constant = model.truth(train.labels).mean()
    begin = time.perf_counter()
    valid = (test, test.labels) if protocol == "paper" else None
    model.fit(train, valid=valid, resume=resume)
    if distil and distillable(model):
        model = model.distil(train, valid=valid, resume=resume)
    seconds = time.perf_counter() - begin
    test = model.read(test)
    assert test.labels is not None
    result = result_of(
        model,
        dataset=dataset,
        trained_on=trained_on,
        task="classification" if classifies else "regression",
        horizon=None,
        protocol=protocol,
        scores=labelled_scores(model, test.labels, model.predict(test)),
        baseline=labelled_scores(model, test.labels, np.full(len(test.labels), constant)),
        n_test=len(test.labels),
        seconds=seconds,
    )
    test_notices += [f"test: {notice}" for notice in test.notices if notice not in result.notices]
    result = replace(result, notices=[*result.notices, *test_notices])
    return LabelledRun(result=result, model=model, cases=test)


def labelled_scores(
    model: ConvTimeNetClassifier | ConvTimeNetRegressor, truth: np.ndarray, predicted: np.ndarray
) -> Scores:
    """Scores of predictions (n,) given the labels (n,): "accuracy" and "balanced_accuracy" for
    classes; "mse", "mae" and, for two or more cases, "r2" for numbers."""
    truth = model.truth(truth)
    if isinstance(model, ConvTimeNetClassifier):
        return class_scores(truth, predicted)
    found = {"mse": scores.mse(truth, predicted), "mae": scores.mae(truth, predicted)}
    if len(truth) > 1:
        found["r2"] = float(r2_score(truth, predicted))
    return found


def check_alike(train: Cases, test: Cases) -> None:
    """Check before training that training and test cases have the same channels.

    Raises
    ------
    DataError
        If they do not.
    """
    expected, found = train.values.shape[1], test.values.shape[1]
    if expected != found:
        raise DataError(
            f"the training cases have {expected} channels, the test cases {found}; give both the "
            "same channels in the same order"
        )
    in_channel_order(test, train.channels)


def unknown_classes(test: Cases, classes: np.ndarray) -> list[str]:
    """Notices about test cases whose class is not among the training cases.

    Raises
    ------
    DataError
        If there are no others.
    """
    assert test.labels is not None
    known, labels = set(classes.tolist()), test.labels.tolist()
    unknown = [label for label in labels if label not in known]
    if not unknown:
        return []
    names = ", ".join(map(repr, sorted(set(unknown), key=str)[:5]))
    if len(unknown) == len(labels):
        raise DataError(
            f"no test case has a class of the training cases: expected some of "
            f"{', '.join(map(repr, classes.tolist()[:5]))}, found {names}; use the same labels in "
            "both"
        )
    return [
        f"{len(unknown)} of {len(labels)} test cases have classes that the training cases lack "
        f"({names}); they count as wrong"
    ]


def class_scores(truth: np.ndarray, predicted: np.ndarray) -> Scores:
    """ "accuracy" of predicted classes (n,), and "balanced_accuracy", the mean recall over the
    classes that occur in `truth` (n,)."""
    recalls = [np.mean(predicted[truth == label] == label) for label in set(truth)]
    return {
        "accuracy": float(np.mean(predicted == truth)),
        "balanced_accuracy": float(np.mean(recalls)),
    }


def check_labelled(cases: Cases) -> np.ndarray:
    """The labels of cases to train on.

    Raises
    ------
    DataError
        If they have none.
    """
    if cases.labels is None:
        raise DataError(
            "expected labelled cases to train on, found no labels in the file; a .ts file says "
            "@classLabel true or @targetLabel true, a table names their column 'label', in which "
            "cells such as NA are missing, and an .npz file holds them as y"
        )
    return cases.labels


def hold_out(
    cases: Cases, fraction: float, seed: int, *, classes: bool = True
) -> tuple[Cases, Cases]:
    """Split labelled cases into a training and a test split, stratified if labels are classes.

    Test cases without names are called by their numbers among all cases, from 0.

    Raises
    ------
    DataError
        If there are no labels, too few cases, or only one class with enough cases.
    """
    labels = check_labelled(cases)
    n, strata = len(labels), labels if classes else None
    parts = split_cases(n, strata, fraction, seed) if 0 < fraction < 1 else None
    if parts is None:
        smallest = numbers = ""
        if strata is not None:
            groups, counts = np.unique(strata, return_counts=True)
            smallest = f": the class {groups.tolist()[counts.argmin()]!r} has {counts.min()}"
            if strata.dtype.kind == "f":
                numbers = "; to predict numbers use regress"
        raise DataError(
            f"cannot hold out {fraction:g} of {n} cases as a test split{smallest}; give a test "
            f"file, or more cases{numbers}"
        )
    train, test, note = parts
    rest = cases.subset(train)
    if note:
        rest = replace(rest, notices=(*rest.notices, note))
    ids = cases.ids or tuple(map(str, range(n)))
    return rest, replace(cases, ids=ids).subset(test)
