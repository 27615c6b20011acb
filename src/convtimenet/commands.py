"""What the sub-commands do with their flags: calls to the package, and what they print and write.

Everything heavy is imported inside, after the flags were understood.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtimenet.errors import ConfigError, DataError, MissingExtraError

if TYPE_CHECKING:
    from rich.console import Console

    from convtimenet.evaluation import ClassificationRun, ForecastRun, Result


def _given(flags: Any, group: str) -> dict[str, Any]:
    """The settings of a group that are given; a --config file may have anything for the group."""
    from jsonargparse import Namespace

    settings = Namespace() if flags[group] is None else flags[group]
    if not isinstance(settings, Namespace):
        raise ConfigError(
            f"--config: {group} must hold settings by name, found {settings!r}; write them as "
            f"{{{group}: {{name: value}}}}"
        )
    return {name: value for name, value in vars(settings).items() if value is not None}


def _estimator_settings(flags: Any) -> dict[str, Any]:
    chosen = {group: _given(flags, group) for group in ("model", "training")}
    return {
        **chosen,
        "precision": chosen["training"].pop("precision", "fp32"),
        "device": flags.device,
        "random_state": flags.seed,
        "verbose": 0 if flags.quiet else 1,
    }


def run_forecast(flags: Any) -> None:
    out = _default_out(flags, flags.data, "forecast")
    if not out.lower().endswith(".csv"):
        raise ConfigError(f"--out: expected a file name that ends in .csv, found {out!r}")
    _check_outputs(flags, flags.data, out=out)
    import numpy as np

    from convtimenet.evaluation import REPORT_OF_LONG, forecast_table
    from convtimenet.forecaster import ConvTimeNetForecaster
    from convtimenet.tables import future_table, read_table, write_csv
    from convtimenet.timestamps import iso_times

    table = read_table(
        flags.data,
        time_col=flags.time_col,
        target_cols=flags.target_cols,
        frequency=flags.freq,
        id_col=flags.id_col,
    )
    if table.long and flags.report:
        raise ConfigError(f"--report: {REPORT_OF_LONG}")
    console = _console()
    for notice in table.notices:
        console.print(f"note: {notice}", markup=False, soft_wrap=True)
    run = None
    if flags.load is not None:
        _refuse_training_flags(flags, h=96, input_size=None, preset="auto", test_fraction=0.2)
        model = ConvTimeNetForecaster.load(flags.load, device=flags.device)
        table = model.adapt(table)
    else:
        model = ConvTimeNetForecaster(
            flags.h, flags.input_size, preset=flags.preset, **_estimator_settings(flags)
        )
        run = forecast_table(
            model,
            table,
            test_fraction=flags.test_fraction,
            dataset=Path(flags.data).name,
            resume=flags.resume,
        )
        _show_result(console, run.result)
        if run.evaluation is not None:
            console.print(
                "note: the forecast comes from the model scored above, whose training did not see "
                "the test part; --test_fraction 0 --training.refit true trains on all rows",
                soft_wrap=True,
            )
    future = future_table(table, model.forecast_table(table))
    write_csv(out, future)
    _wrote(console, f"forecast of {future.lengths[0]} steps", out)
    answers = {
        "times": iso_times(future.times, future.time_zone),
        "forecast": dict(zip(future.channels, future.values.T.tolist(), strict=True)),
        "notices": list(table.notices),
    }
    if future.long:
        answers["series"] = np.repeat(future.ids, future.lengths).tolist()
    _write_others(console, flags, run, answers)


def run_classify(flags: Any) -> None:
    out = _default_out(flags, flags.test or flags.data, "classes")
    _check_outputs(flags, flags.data, flags.test, out=out)
    from convtimenet.cases import read_cases
    from convtimenet.classifier import ConvTimeNetClassifier
    from convtimenet.evaluation import check_alike, classify_cases, fit_classifier, hold_out

    console = _console()
    run = None
    train = cases = read_cases(flags.data)
    if flags.load is not None:
        if flags.test is not None:
            raise ConfigError("with --load give only the cases to classify, found two files")
        _refuse_training_flags(flags, preset="auto", test_fraction=0.2)
        model = ConvTimeNetClassifier.load(flags.load, device=flags.device)
    else:
        model = ConvTimeNetClassifier(preset=flags.preset, **_estimator_settings(flags))
        if flags.test is None:
            train, cases = hold_out(train, flags.test_fraction, flags.seed)
        else:
            cases = read_cases(flags.test)
            check_alike(train, cases)
        if cases.labels is None:
            model.fit(train, resume=flags.resume)
        else:
            run = fit_classifier(
                model, train, cases, dataset=Path(flags.data).name, resume=flags.resume
            )
            _show_result(console, run.result)
    cases = model.read(cases)
    if run is None:
        for notice in (*([] if flags.load else model.notices_), *cases.notices):
            console.print(f"note: {notice}", markup=False, soft_wrap=True)
    predicted = classify_cases(model, cases, out)
    _wrote(console, f"classes of {len(predicted)} cases", out)
    if run is None and flags.load is None:
        console.print("the cases carry no labels, so there are no scores")
        if flags.save:
            _wrote(console, "model", model.save(flags.save))
    answers: dict[str, Any] = {"classes": predicted.tolist(), "notices": list(cases.notices)}
    if run is None and cases.labels is not None:
        answers["accuracy"] = float((predicted == cases.labels).mean())
        console.print(f"accuracy: {answers['accuracy']:.4g}")
    _write_others(console, flags, run, answers)


def _refuse_training_flags(flags: Any, **defaults: Any) -> None:
    """With a saved model, flags that speak of training have no effect: say so."""
    given = [name for name, default in defaults.items() if flags[name] != default]
    for group in ("model", "training"):
        given += [f"{group}.{name}" for name in _given(flags, group)]
    if given:
        raise ConfigError(
            f"--load uses a trained model as it is; leave out --{', --'.join(given)}, or train "
            "without --load"
        )


def run_evaluate(flags: Any) -> None:
    _check_outputs(flags)
    from convtimenet.evaluation import evaluate_dataset

    run = evaluate_dataset(
        flags.dataset,
        h=flags.h,
        preset=flags.preset,
        protocol=flags.protocol,
        settings=_estimator_settings(flags),
        resume=flags.resume,
    )
    console = _console()
    _show_result(console, run.result)
    _write_others(console, flags, run, {})


def run_export(flags: Any) -> None:
    from convtimenet.artefact import DESCRIPTION
    from convtimenet.classifier import ConvTimeNetClassifier
    from convtimenet.export import FILES, PARITY, export
    from convtimenet.forecaster import ConvTimeNetForecaster

    try:
        found = json.loads((Path(flags.model) / DESCRIPTION).read_text(encoding="utf-8"))
        classifies = found["kind"] == ConvTimeNetClassifier.__name__
    except (OSError, ValueError, KeyError, TypeError):
        classifies = False  # load says what is wrong
    if classifies and flags.check is None:
        raise ConfigError(
            "a saved classifier keeps no cases to compare the graph on; give some with --check"
        )
    model = (ConvTimeNetClassifier if classifies else ConvTimeNetForecaster).load(
        flags.model, device="cpu"
    )
    parity = export(model, flags.to, flags.format, data=flags.check)
    console, folder = _console(), Path(flags.to)
    _wrote(console, f"{flags.format} graph", folder / FILES[flags.format])
    same = f", same class for {parity['same_class']:.2%}" if classifies else ""
    what = "cases" if classifies else "windows"
    _wrote(
        console,
        f"compared with the model on {parity['inputs']} {what}: answers up to "
        f"{parity['largest_answer']:.4g}, mean difference {parity['mean_difference']:.2g}, largest "
        f"{parity['max_difference']:.2g}{same}",
        folder / PARITY,
    )
    console.print("use it with:")
    for line in _usage(flags.format, folder, classifies):
        console.print(f"  {line}", markup=False, soft_wrap=True)


def _usage(format: str, folder: Path, classifies: bool) -> tuple[str, str, str]:
    """Three lines of Python that answer with an export."""
    graph = repr(str(folder / "model.pt2"))
    if format == "torch-export":
        lines = ("import torch", f"model = torch.export.load({graph}).module()")
    elif format == "aoti":
        lines = ("import torch", f"model = torch._inductor.aoti_load_package({graph})")
    else:
        lines = ("from convtimenet.runtime import load", f"model = load({str(folder)!r})")
        return *lines, "model.predict(cases)" if classifies else "model.forecast(values)"
    answer = "model(x)  # x: (B, C, L) "
    if classifies:
        return *lines, answer + "float32, NaN behind a case's end; gives probabilities (B, K)"
    return *lines, answer + "float64 in the data's units; gives (B, C, h)"


def run_datasets(flags: Any) -> None:
    _check_outputs(flags)
    from rich.table import Table as Grid

    from convtimenet import datasets

    names = [datasets.info(name).name for name in flags.names] or datasets.names()
    console = _console()
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
            _wrote(console, name, paths[0].parent)
    else:
        for name in names:
            if datasets.is_local(name):
                found[name] = {str(k): v for k, v in datasets.verify(name).items()}
                for path, status in found[name].items():
                    console.print(f"{status:9s} {path}", markup=False, soft_wrap=True)
            else:
                found[name] = {}
                console.print(f"absent    {name}")
    if flags.json:
        _write_json(flags.json, found)
    damaged = [name for name, status in found.items() if "mismatch" in str(status)]
    if flags.action == "verify" and damaged:
        raise DataError(
            f"{', '.join(damaged)}: files differ from the registered ones; delete them and "
            "fetch them again"
        )


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _show_result(console: Console, result: Result) -> None:
    from rich.markup import escape
    from rich.table import Table as Grid

    from convtimenet.evaluation import comparison, facts

    for label, text in facts(result).items():
        console.print(f"[bold]{label}:[/bold] {escape(text)}", soft_wrap=True)
    if not result.scores:
        return
    rows = comparison(result)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    grid = Grid(*columns, title=escape(f"{result.dataset} scores"))
    for row in rows:
        grid.add_row(*(escape(row.get(column, "")) for column in columns))
    console.print(grid)


def _write_others(
    console: Console,
    flags: Any,
    run: ForecastRun | ClassificationRun | None,
    answers: dict[str, Any],
) -> None:
    """Save the model, write the JSON and the report, as asked for; `answers` are the JSON where
    there was no scored run."""
    if run is not None and flags.save:
        _wrote(console, "model", run.model.save(flags.save))
    if flags.json:
        _write_json(flags.json, answers if run is None else run.result.to_dict())
        _wrote(console, "result", flags.json)
    if flags.report:
        if run is None or not run.result.n_test:
            console.print("report: not written, for nothing was scored")
        else:
            _wrote(console, "report", run.write_report(flags.report))


def _wrote(console: Console, what: str, where: str | Path) -> None:
    console.print(f"{what}: {where}", markup=False, soft_wrap=True)


def _write_json(path: str, value: Any) -> None:
    from convtimenet.files import whole_file

    with whole_file(path) as file:
        json.dump(value, file, indent=1)


def _default_out(flags: Any, data: str, what: str) -> str:
    stem = Path(data).name.split(".")[0]
    return flags.out or f"{stem}-{what}.csv"


def _check_outputs(flags: Any, *inputs: str | None, out: str | None = None) -> None:
    """Find out before hours of training that a result could not be written."""
    if flags.get("report") and find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "report", "the report")
    trained = [name for name in ("report", "save", "resume") if flags.get(name)]
    if flags.get("load") and trained:
        raise ConfigError(
            f"--{trained[0]} is about a training run and --load does none; leave one of them out"
        )
    if flags.get("save"):
        from convtimenet.artefact import check_target

        check_target(flags.save)
    if flags.get("resume"):
        from convtimenet.checkpoint import check_folder

        check_folder(flags.resume)
    taken = {Path(path).resolve() for path in inputs if path is not None}
    for name, target in (
        ("--out", out),
        ("--report", flags.get("report")),
        ("--json", flags.get("json")),
    ):
        if target is None:
            continue
        path = Path(target)
        if not path.resolve().parent.is_dir():
            raise ConfigError(f"{name}: the folder {path.parent} does not exist; make it first")
        if path.is_dir():
            raise ConfigError(f"{name} must be a file, {path} is a folder")
        if path.resolve() in taken:
            raise ConfigError(f"{name} would overwrite {path}, which is read or written already")
        taken.add(path.resolve())
