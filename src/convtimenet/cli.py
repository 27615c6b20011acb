"""The command line: flags to settings to calls, no logic of its own.

Flags for the network and its training are made from `ModelConfig` and `TrainConfig`, so they
cannot drift apart. A flag left out keeps the preset's value. Everything heavy is imported after
the flags were understood, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_type_hints

from convtimenet import __version__, config
from convtimenet.errors import ConfigError, ConvTimeNetError, DataError, MissingExtraError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from rich.console import Console

    from convtimenet.evaluation import ClassificationRun, ForecastRun, Result

# Decided by the data, the sub-command, or a flag of its own.
_NO_FLAG = {"head", "context_length", "outputs", "channels", "protocol", "device", "seed"}

_DESCRIPTION = """Forecast and classify multivariate time series with ConvTimeNet.

Examples:
  convtimenet forecast sales.csv --h 24 --out forecast.csv --report report.html
  convtimenet classify train.ts test.ts --out classes.csv
  convtimenet evaluate ETTh1 --h 96 --preset paper --protocol honest --seed 2023
  convtimenet datasets list

Each command explains itself: convtimenet forecast --help"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    try:
        given = _parser().parse_args(arguments)
        logging.getLogger("convtimenet").setLevel(logging.ERROR)  # notices are shown below
        _COMMANDS[given.command][3](given[given.command])
    except ConvTimeNetError as error:
        sys.stderr.write(f"convtimenet: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"convtimenet: {error}\n")
        return 2
    except UnicodeDecodeError as error:  # data files are read by readers of ours
        sys.stderr.write(f"convtimenet: the --config file is not UTF-8 text: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("convtimenet: stopped before the end; nothing more was written\n")
        return 130
    return 0


def _parser() -> ArgumentParser:
    try:
        import docstring_parser  # noqa: F401
        from jsonargparse import ArgumentParser, set_parsing_settings
    except ImportError as error:
        raise MissingExtraError("jsonargparse", "cli", "the command line") from error
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import DefaultHelpFormatter

    class Help(RawDescriptionHelpFormatter, DefaultHelpFormatter):
        """jsonargparse's help with our line breaks kept."""

    class Parser(ArgumentParser):
        """Says a mistake in one line, without the usage of all flags."""

        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            raise ConfigError(f"{' '.join(message.split())} (see --help)") from ex

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(
        prog="convtimenet",
        description=_DESCRIPTION,
        version=__version__,
        formatter_class=Help,
        allow_abbrev=False,
    )
    commands = parser.add_subcommands(dest="command", title="commands")
    for name, (arguments, summary, add_flags, _) in _COMMANDS.items():
        # the usage of all flags would push the description off the screen
        usage = f"convtimenet {name} {arguments} [flags]"
        sub = Parser(description=summary, usage=usage, formatter_class=Help, allow_abbrev=False)
        add_flags(sub)
        commands.add_subcommand(name, sub, help=summary.splitlines()[0])
    return parser


def _forecast_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("data", type=str, help="CSV or Parquet table: a time column, then one column per channel")
    add("--h", type=int, default=96, help="horizon: steps to forecast")
    add("--input_size", type=int | None, help="context: steps the network reads")
    add("--time_col", type=str | None, help="the time column, where it cannot be told")
    add("--target_cols", type=list[str] | str | None, help="channels, as [a,b]; all by default")
    add("--freq", type=str | None, help="the step, such as 15min, 1D or 1MS; found by default")
    add("--test_fraction", type=float, default=0.2, help="last part of the table kept for scoring")
    add("--preset", type=str, default="auto", help="'auto', or a data set's name for the paper's")
    add("--load", type=str | None, help="forecast with this saved model instead of training one")
    _shared_flags(parser, "forecast as CSV; by default <data>-forecast.csv here")


def _classify_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("data", type=str, help=".ts or .npz file of labelled cases to learn from")
    add("test", type=str | None, nargs="?", help="cases to classify and, if labelled, to score")
    add(
        "--test_fraction", type=float, default=0.2, help="part kept for scoring if no test is given"
    )
    add("--preset", type=str, default="auto", help="'auto', or a data set's name for the paper's")
    add("--load", type=str | None, help="classify `data` with this saved model, without training")
    _shared_flags(parser, "predicted classes as CSV; by default <test>-classes.csv here")


def _evaluate_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("dataset", type=str, help="registered name; see: convtimenet datasets list")
    add("--h", type=int | None, help="horizon of a forecasting set; the paper's first by default")
    add(
        "--preset",
        type=Literal["paper", "auto"],
        default="paper",
        help="the paper's hyper-parameters, or those derived from the data",
    )
    add(
        "--protocol",
        type=config.Protocol,
        default="honest",
        help="honest: validation from training data, every test window counts; paper: as theirs",
    )
    _shared_flags(parser, None)


def _datasets_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("action", type=Literal["list", "fetch", "verify"], help="what to do")
    add("names", type=str, nargs="*", help="data sets; all by default")
    add("--json", type=str | None, metavar="FILE", help="write the result for programs")


def _shared_flags(parser: ArgumentParser, out: str | None) -> None:
    add = parser.add_argument
    if out is not None:
        add("--out", type=str | None, metavar="FILE", help=out)
    add("--report", type=str | None, metavar="FILE", help="write an HTML page about the run")
    add("--save", type=str | None, metavar="FOLDER", help="keep the trained model")
    add("--json", type=str | None, metavar="FILE", help="write scores and settings for programs")
    add("--seed", type=int, default=2023, help="seed of weights, batch order and dropout")
    add("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    add("--quiet", action="store_true", help="no progress bar")
    add("--config", action="config", help="file (YAML or JSON) that holds any of these flags")
    for group, settings in (("model", config.ModelConfig), ("training", config.TrainConfig)):
        _config_flags(parser, group, settings)


def _config_flags(parser: ArgumentParser, group: str, settings: type) -> None:
    """One flag per dataclass field, unset by default so that presets stay in force."""
    from docstring_parser import parse_from_object

    help_of = {p.arg_name: p.description for p in parse_from_object(settings).params}
    types = get_type_hints(settings)
    shown = parser.add_argument_group(f"{group} (preset's value where left out)")
    for field in fields(settings):
        if field.name not in _NO_FLAG:
            text = " ".join((help_of.get(field.name) or "").split()).replace("%", "%%")
            shown.add_argument(f"--{group}.{field.name}", type=types[field.name] | None, help=text)


def _estimator_settings(flags: Any) -> dict[str, Any]:
    chosen = {
        group: {name: value for name, value in vars(flags[group]).items() if value is not None}
        for group in ("model", "training")
    }
    return {
        **chosen,
        "precision": chosen["training"].pop("precision", "fp32"),
        "device": flags.device,
        "random_state": flags.seed,
        "verbose": 0 if flags.quiet else 1,
    }


def _forecast(flags: Any) -> None:
    out = _default_out(flags, flags.data, "forecast")
    if not out.lower().endswith(".csv"):
        raise ConfigError(f"--out: expected a file name that ends in .csv, found {out!r}")
    _check_outputs(flags, flags.data, out=out)
    from convtimenet.evaluation import forecast_table
    from convtimenet.forecaster import ConvTimeNetForecaster
    from convtimenet.tables import future_table, read_table, write_csv
    from convtimenet.timestamps import iso_times

    table = read_table(
        flags.data, time_col=flags.time_col, target_cols=flags.target_cols, frequency=flags.freq
    )
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
            model, table, test_fraction=flags.test_fraction, dataset=Path(flags.data).name
        )
        _show_result(console, run.result)
        if run.evaluation is not None:
            console.print(
                "note: the forecast comes from the model scored above, whose training did not see "
                "the test part; --test_fraction 0 --training.refit true trains on all rows",
                soft_wrap=True,
            )
    future = future_table(table, model.forecast(table.values))
    write_csv(out, future)
    _wrote(console, f"forecast of {len(future.times)} steps", out)
    answers = {
        "times": iso_times(future.times, future.time_zone),
        "forecast": dict(zip(future.channels, future.values.T.tolist(), strict=True)),
        "notices": list(table.notices),
    }
    _write_others(console, flags, run, answers)


def _classify(flags: Any) -> None:
    out = _default_out(flags, flags.test or flags.data, "classes")
    _check_outputs(flags, flags.data, flags.test, out=out)
    from convtimenet.cases import filled, read_cases
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
            model.fit(train)
        else:
            run = fit_classifier(model, train, cases, dataset=Path(flags.data).name)
            _show_result(console, run.result)
    cases = filled(cases)
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
        given += [
            f"{group}.{name}" for name, value in vars(flags[group]).items() if value is not None
        ]
    if given:
        raise ConfigError(
            f"--load uses a trained model as it is; leave out --{', --'.join(given)}, or train "
            "without --load"
        )


def _evaluate(flags: Any) -> None:
    _check_outputs(flags)
    from convtimenet.evaluation import evaluate_dataset

    run = evaluate_dataset(
        flags.dataset,
        h=flags.h,
        preset=flags.preset,
        protocol=flags.protocol,
        settings=_estimator_settings(flags),
    )
    console = _console()
    _show_result(console, run.result)
    _write_others(console, flags, run, {})


def _datasets(flags: Any) -> None:
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


_COMMANDS: dict[str, tuple[str, str, Callable[[ArgumentParser], None], Callable[[Any], None]]] = {
    "forecast": (
        "data",
        "Train on a table and forecast what comes after its end.\n\n"
        "The last --test_fraction of the rows is not trained on and gives the scores; of the rows\n"
        "before, the last part chooses the epoch. Times must be regular; gaps in the values are\n"
        "filled and said so.",
        _forecast_flags,
        _forecast,
    ),
    "classify": (
        "data [test]",
        "Train on labelled cases and classify others.\n\n"
        "A part of the training cases chooses the epoch; the test cases are only scored.",
        _classify_flags,
        _classify,
    ),
    "evaluate": (
        "dataset",
        "Fit and score a registered data set beside published scores.",
        _evaluate_flags,
        _evaluate,
    ),
    "datasets": (
        "{list,fetch,verify} [name ...]",
        "List, fetch or verify the registered data sets.",
        _datasets_flags,
        _datasets,
    ),
}


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
    trained = [name for name in ("report", "save") if flags.get(name)]
    if flags.get("load") and trained:
        raise ConfigError(
            f"--{trained[0]} is about a training run and --load does none; leave one of them out"
        )
    if flags.get("save"):
        from convtimenet.artefact import check_target

        check_target(flags.save)
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
