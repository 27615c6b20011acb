"""The sub-commands: from parsed flags to calls of the package and output files.

Heavy modules are imported inside the functions, after the flags have been parsed.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from convtimenet import processes
from convtimenet.cli.outputs import (
    check_inputs,
    check_model,
    check_outputs,
    default_out,
    make_console,
    note,
    note_replaced,
    show_result,
    took,
    write_json,
    write_others,
    wrote,
)
from convtimenet.cli.settings import (
    check_training,
    columns_of,
    covariates_of,
    estimator_settings,
    given,
    names_of,
    new_forecaster,
    set_horizon,
    verbose_of,
)
from convtimenet.data.files import check_path
from convtimenet.errors import ConfigError, DataError
from convtimenet.progress import reading, showing


def run_forecast(flags: Any) -> None:
    """Train on a table, or load a model, and forecast the steps after the table's end."""
    begin = time.monotonic()
    out = default_out(flags, flags.data, "forecast")
    replaced = check_outputs(flags, flags.data, flags.future, out=out)
    check_inputs(flags.data, flags.future)
    for path in (flags.data, flags.future):
        if path is not None:
            check_path(path)
    check_training(flags)
    if flags.load is not None:
        unset = {
            **dict.fromkeys(covariates_of(flags)),
            "h": None,
            "input_size": None,
            "preset": "auto",
        }
        unset |= {"quality": "auto", "pretrained": False, "n_jobs": None, "init_from": None}
        _refuse_training_flags(flags, **unset, no_refit=False)
        check_model(flags.load)
    import numpy as np

    from convtimenet.data.forecast_tables import table_times, write_csv
    from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
    from convtimenet.estimators.presets.derived import PRETRAINED
    from convtimenet.runs.forecasting import check_future, forecast_table

    if flags.load is not None:
        model = ConvTimeNetForecaster.load(flags.load, device=flags.device)
        known = {name: value for name, value in columns_of(flags).items() if value is not None}
        model.set_params(**known, verbose=verbose_of(flags))
    else:
        if flags.pretrained and flags.quality not in ("auto", PRETRAINED):
            raise ConfigError(
                f"--pretrained is --quality {PRETRAINED}, found --quality {flags.quality} too; "
                "leave one out"
            )
        quality = PRETRAINED if flags.pretrained else flags.quality
        model = new_forecaster(flags, quality=quality, refit=False if flags.no_refit else None)
    with processes.in_step():
        table = model.read(flags.data) if flags.load is None else model.adapt(flags.data)
    console = make_console()
    note_replaced(console, replaced)
    for notice in table.notices:
        note(console, notice)
    if flags.load is None:
        set_horizon(console, flags, model, table)
    check_future(model, table, flags.future)
    run = None
    if flags.load is None:
        run = forecast_table(
            model,
            table,
            test_fraction=flags.test_fraction,
            dataset=Path(flags.data).name,
            resume=flags.resume,
            level=flags.level,
            distil=flags.distil,
        )
        model = run.model
        if not processes.leads():  # the first of several processes goes on alone
            return
        show_result(console, run.result, shown=table.notices)
        if run.evaluation is not None and run.scored is None:
            note(
                console,
                "the forecasting model is the one scored above, which was not trained on the test "
                "split",
            )
    future = model.predict(table, flags.future, level=flags.level)
    for notice in future.notices:
        note(console, notice)
    write_csv(out, future, source=model.adapt(table))
    wrote(console, f"forecast of {future.lengths[0]} steps", out)
    answers = {
        "times": table_times(future),
        "forecast": dict(zip(future.channels, future.values.T.tolist(), strict=True)),
        "notices": [*table.notices, *future.notices],
    }
    if future.long:
        answers["series"] = np.repeat(future.ids, future.lengths).tolist()
    if run is not None:
        run = replace(run, future=future)
    write_others(console, flags, model, run, answers)
    took(console, begin)


def run_classify(flags: Any) -> None:
    """Train a classifier on labelled cases, or load one, and predict other cases."""
    _predict_cases(flags, "classes")


def run_regress(flags: Any) -> None:
    """Train a regressor on labelled cases, or load one, and predict other cases."""
    _predict_cases(flags, "numbers")


def _predict_cases(flags: Any, what: Literal["classes", "numbers"]) -> None:
    """Train on labelled cases, or load a model, and predict other cases."""
    begin = time.monotonic()
    out = default_out(flags, flags.test or flags.data, what)
    replaced = check_outputs(flags, flags.data, flags.test, out=out)
    check_inputs(flags.data, flags.test)
    check_training(flags)
    if flags.load is not None:
        if flags.test is not None:
            raise ConfigError(
                "--load expects one file, with the cases to predict, found two; leave one out"
            )
        unset = {"preset": "auto", "quality": "auto", "n_jobs": None, "init_from": None}
        _refuse_training_flags(flags, **unset)
        check_model(flags.load)
    from convtimenet.data.labelled.cases import Cases, read_cases
    from convtimenet.estimators.case_input import check_task
    from convtimenet.estimators.classifier import ConvTimeNetClassifier
    from convtimenet.estimators.regressor import ConvTimeNetRegressor
    from convtimenet.runs.answers import write_classes, write_numbers
    from convtimenet.runs.labelled import (
        check_alike,
        check_labelled,
        fit_labelled,
        hold_out,
        labelled_scores,
        unknown_classes,
    )
    from convtimenet.runs.result import distillable

    def read(path: str, labelled: bool) -> Cases:
        return read_cases(
            path,
            flags.label_col,
            id_col=flags.id_col,
            ignored_cols=flags.ignored_cols,
            labelled=labelled,
        )

    console = make_console()
    note_replaced(console, replaced)
    run = None
    classify = what == "classes"
    estimator = ConvTimeNetClassifier if classify else ConvTimeNetRegressor
    with showing(reading(flags.data), verbose_of(flags), busy=True):
        train = cases = read(flags.data, flags.load is None)
    check_task(train, estimator.task)
    if flags.load is not None:
        model = estimator.load(flags.load, device=flags.device)
        model.set_params(verbose=verbose_of(flags))
        if cases.labels is not None:
            labels = model.truth(cases.labels)  # raises if they cannot be scored
            if isinstance(model, ConvTimeNetClassifier):
                for notice in unknown_classes(replace(cases, labels=labels), model.classes_):
                    note(console, notice)
    else:
        model = estimator(quality=flags.quality, preset=flags.preset, **estimator_settings(flags))
        if flags.test is None:
            if classify and train.labels is not None:  # the split below is stratified by class
                model.check_labels(train.labels)
            train, cases = hold_out(train, flags.test_fraction, flags.seed, classes=classify)
        else:
            with showing(reading(flags.test), verbose_of(flags), busy=True):
                cases = read(flags.test, False)
            check_labelled(train)
            check_alike(train, cases)
        if cases.labels is None:
            model.fit(train, resume=flags.resume)
            if flags.distil and distillable(model):
                model = model.distil(train, resume=flags.resume)
        else:
            run = fit_labelled(
                model,
                train,
                cases,
                **names_of(flags),
                resume=flags.resume,
                distil=flags.distil,
            )
            model = run.model
        if not processes.leads():
            return
        if run is not None:
            show_result(console, run.result)
    cases = model.read(cases)
    if run is None:
        for notice in (*([] if flags.load else model.notices_), *cases.notices):
            note(console, notice)
    if isinstance(model, ConvTimeNetClassifier):
        predicted = write_classes(out, model, cases)
    else:
        predicted = write_numbers(out, model, cases)
    wrote(console, f"{what} of {len(predicted)} cases", out)
    if run is None and flags.load is None:
        console.print("the cases have no labels, so there are no scores")
    answers: dict[str, Any] = {what: predicted.tolist(), "notices": list(cases.notices)}
    if run is None and cases.labels is not None:
        for name, score in labelled_scores(model, cases.labels, predicted).items():
            answers[name] = score
            console.print(f"{name}: {score:.4g}")
    write_others(console, flags, model, run, answers)
    took(console, begin)


def _refuse_training_flags(flags: Any, **defaults: Any) -> None:
    """With --load, refuse flags about training, which would have no effect."""
    defaults |= {"seed": 2023, "distil": False, "test_fraction": 0.2}
    useless = [name for name, default in defaults.items() if flags[name] != default]
    for group in ("model", "training"):
        useless += [f"{group}.{name}" for name in given(flags, group)]
    if useless:
        raise ConfigError(
            f"--load does not train; leave out --{', --'.join(useless)}, or train without --load"
        )


def run_evaluate(flags: Any) -> None:
    """Train and score on a registered data set."""
    begin = time.monotonic()
    from convtimenet import datasets

    datasets.info(flags.dataset)
    replaced = check_outputs(flags)
    check_training(flags)
    console = make_console()
    note_replaced(console, replaced)
    from convtimenet.runs.evaluation import evaluate_dataset

    run = evaluate_dataset(
        flags.dataset,
        h=flags.h,
        preset=flags.preset,
        quality=flags.quality,
        protocol=flags.protocol,
        settings=estimator_settings(flags),
        resume=flags.resume,
        level=flags.level,
        distil=flags.distil,
    )
    if not processes.leads():
        return
    show_result(console, run.result)
    write_others(console, flags, run.model, run, {})
    took(console, begin)


def run_export(flags: Any) -> None:
    """Export a saved model as a graph."""
    begin = time.monotonic()
    check_model(flags.model)
    check_inputs(flags.check)
    from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
    from convtimenet.estimators.loading import kind_of
    from convtimenet.export import FILES, PARITY, export, input_type

    kind = kind_of(flags.model)
    if kind is not ConvTimeNetForecaster and flags.check is None:
        raise ConfigError(
            f"a saved {kind.__name__} holds no cases to compare the graph with the model; give "
            "some with --check"
        )
    model = kind.load(flags.model, device="cpu")
    parity = export(model, flags.to, flags.format, data=flags.check)
    console, folder = make_console(), Path(flags.to)
    wrote(console, f"{flags.format} graph", folder / FILES[flags.format])
    same = f", same class for {parity['same_class']:.2%}" if "same_class" in parity else ""
    what = "window" if kind is ConvTimeNetForecaster else "case"
    if parity["inputs"] != 1:
        what += "s"
    wrote(
        console,
        f"compared with the model on {parity['inputs']} {what}: outputs up to "
        f"{parity['largest_answer']:.4g}, mean difference {parity['mean_difference']:.2g}, largest "
        f"{parity['max_difference']:.2g}{same}",
        folder / PARITY,
    )
    took(console, begin)
    console.print("use it with:")
    for line in _usage(flags.format, folder, model.network_.config.head, input_type(model)):
        console.print(f"  {line}", soft_wrap=True)


def _usage(format: str, folder: Path, head: str, kind: str) -> tuple[str, str, str]:
    """Three lines of Python that predict with the export."""
    graph = repr(str(folder / "model.pt2"))
    if format == "torch-export":
        lines = ("import torch", f"model = torch.export.load({graph}).module()")
    elif format == "aoti":
        lines = ("import torch", f"model = torch._inductor.aoti_load_package({graph})")
    else:
        lines = ("from convtimenet.runtime import load", f"model = load({str(folder)!r})")
        return *lines, "model.forecast(values)" if head == "forecast" else "model.predict(cases)"
    answer = "model(x)  # x: (B, C, L) "
    if head == "forecast":
        return *lines, answer + "float64 in the data's units; returns (B, C, h)"
    returns = "probabilities (B, K)" if head == "classify" else "numbers (B, 1)"
    numbers = "float32" if kind == "float" else "float64"
    return *lines, answer + f"{numbers}, padded with NaN; returns {returns}"


def run_datasets(flags: Any) -> None:
    """List, fetch or verify registered data sets."""
    replaced = check_outputs(flags)
    from rich.table import Table as Grid

    from convtimenet import datasets

    names = [datasets.info(name).name for name in flags.names] or datasets.names()
    console = make_console()
    note_replaced(console, replaced)
    found: dict[str, Any] = {}
    if flags.action == "list":
        grid = Grid("name", "task", "channels", "size", "here", "licence", title="data sets")
        grid.columns[0].no_wrap = True
        for name in names:
            entry = datasets.info(name)
            here = datasets.is_local(name)
            grid.add_row(
                name,
                entry.task,
                str(entry.channels),
                entry.size,
                "yes" if here else "no",
                entry.licence,
            )
            found[name] = {"task": entry.task, "here": here, "url": entry.url}
        console.print(grid)
        console.print(f"data home: {datasets.data_home()}")
    elif flags.action == "fetch":
        for name in names:
            paths = datasets.fetch(name)
            found[name] = [str(path) for path in paths]
            wrote(console, name, paths[0].parent)
    else:
        for name in names:
            if datasets.is_local(name):
                found[name] = {str(k): v for k, v in datasets.verify(name).items()}
                for path, status in found[name].items():
                    console.print(f"{status:9s} {path}", soft_wrap=True)
            else:
                found[name] = {}
                console.print(f"absent    {name}")
    if flags.json:
        write_json(flags.json, found)
    damaged = [name for name, status in found.items() if "mismatch" in str(status)]
    if flags.action == "verify" and damaged:
        raise DataError(
            f"{', '.join(damaged)}: files differ from the registered ones; delete them and "
            "fetch them again"
        )
