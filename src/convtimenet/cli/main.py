"""The command line: flags to settings to calls, no logic of its own.

Flags for the network and its training are made from `ModelConfig` and `TrainConfig`, so they
cannot drift apart. A flag left out keeps the preset's value. Everything heavy is imported after
the flags were understood, so that ``--help`` answers at once.
"""

from __future__ import annotations

import logging
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_type_hints

from convtimenet import __version__, config
from convtimenet.cli import commands
from convtimenet.errors import ConfigError, ConvTimeNetError, MissingExtraError
from convtimenet.training.interrupt import Terminated

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


# Decided by the data, the sub-command, or a flag of its own.
_NO_FLAG = {
    *("head", "context_length", "outputs", "channels", "protocol", "device", "seed"),
    *("hist_exog", "futr_exog", "stat_exog", "stat_categories"),
}

_DESCRIPTION = """Forecast, classify and regress multivariate time series with ConvTimeNet.

Examples:
  convtimenet forecast sales.csv --h 24 --level 80 95 --out forecast.csv --report report.html
  convtimenet classify train.ts test.ts --out classes.csv
  convtimenet regress train.ts test.ts --out numbers.csv
  convtimenet evaluate ETTh1 --h 96 --preset paper --protocol honest --seed 2023
  convtimenet export model --format onnx --to exported --check sales.csv
  convtimenet datasets list

Each command explains itself: convtimenet forecast --help"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 2 a mistake of the user's, 130 and 143
    stopped by SIGINT and SIGTERM."""
    arguments = _underscored(sys.argv[1:] if arguments is None else arguments)
    given = None
    try:
        given = _parser().parse_args(arguments)
        logging.getLogger("convtimenet").setLevel(logging.ERROR)  # notices are shown below
        _COMMANDS[given.command][3](given[given.command])
    except ConvTimeNetError as error:
        sys.stderr.write(f"convtimenet: {error}\n")
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        sys.stderr.write(f"convtimenet: {where}{error.strerror or error}\n")
        return 2
    except UnicodeDecodeError as error:  # data files are read by readers of ours
        sys.stderr.write(f"convtimenet: the --config file is not UTF-8 text: {error}\n")
        return 2
    except (KeyboardInterrupt, Terminated) as stop:
        said = str(stop).partition(":")[0]  # the rest is for whoever holds the estimator
        resume = given[given.command].get("resume") if said and given is not None else None
        if not said:
            said = "stopped before the end; nothing more was written"
        elif resume:
            said += f"; its state is in {resume}, nothing else was written"
        else:
            said += "; nothing was written; with --resume FOLDER one can go on after a stop"
        sys.stderr.write(f"convtimenet: {said}\n")
        if resume:
            sys.stderr.write(f"go on with: convtimenet {shlex.join(arguments)}\n")
        return 143 if isinstance(stop, Terminated) else 130
    return 0


def _plain(message: str) -> str:
    """A complaint of jsonargparse in the words of the other messages."""
    message = " ".join(message.split())
    message = re.sub(r'Parser key "([^"]+)"', r"--\1", message)
    message = re.sub(r"Expected an? <class '(\w+)'>\.", r"expected \1,", message)
    message = re.sub(r"Expected a typing\.Literal\[(.+?)\]\.", r"expected one of \1,", message)
    message = re.sub(r"Got value: (.*)", r"found \1", message)
    message = message.replace("export.to", "--to")  # the one required flag
    message = re.sub(rf"\b({'|'.join(_COMMANDS)})\.(?=\w)", "", message)
    return message if len(message) <= 300 else f"{message[:300]} ..."


def _underscored(arguments: Sequence[str]) -> list[str]:
    """Names of flags may be written with hyphens too: --test-fraction is --test_fraction."""
    found = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        found.append(name + equals + value)
    return found


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
            raise ConfigError(f"{_plain(message)} (see --help)") from ex

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
    add(
        "--h",
        type=int,
        help="horizon: steps to forecast; by default two seasons, at most a fifth of the rows",
    )
    add("--input_size", type=int | None, help="context: steps the network reads")
    add("--time_col", type=str | None, help="the time column, where it cannot be told")
    add("--target_cols", type=list[str] | str | None, help="channels, as a,b; all by default")
    add("--id_col", type=str | None, help="the series' column of a long table, if not unique_id")
    add("--freq", type=str | None, help="the step, such as 15min, 1D or 1MS; found by default")
    add(
        "--level",
        type=float,
        nargs="+",
        help="per cents that intervals shall cover, as 80 95: their bounds are written, their "
        "coverage is scored",
    )
    add(
        "--hist_exog",
        type=list[str] | str | None,
        help="covariates known up to now: columns, as a,b or [a,b]",
    )
    add(
        "--futr_exog",
        type=list[str] | str | None,
        help="covariates known ahead; --future holds their values for the steps to forecast",
    )
    add(
        "--stat_exog",
        type=list[str] | str | None,
        help="covariates with one value for a whole series of a long table",
    )
    add(
        "--calendar",
        type=bool | list[str] | str | None,
        help="read the time stamps too: 'auto' for what the step asks for, or names, as "
        "hour,dayofweek (minute, hour, dayofweek, dayofmonth, month, dayofyear)",
    )
    add(
        "--future",
        type=str | None,
        metavar="FILE",
        help="table with the --futr_exog columns for the steps after the data's end",
    )
    add("--test_fraction", type=float, default=0.2, help="last part of the table kept for scoring")
    add(
        "--no_refit",
        action="store_true",
        help="forecast with the model that was scored, without a second training on all rows",
    )
    add("--preset", type=str, default="auto", help="'auto', or a data set's name for the paper's")
    add("--load", type=str | None, help="forecast with this saved model instead of training one")
    _shared_flags(parser, "forecast as CSV; by default <data>-forecast.csv here")


def _classify_flags(parser: ArgumentParser) -> None:
    _cases_flags(parser, "classify", "classes")


def _regress_flags(parser: ArgumentParser) -> None:
    _cases_flags(parser, "predict numbers for", "numbers")


def _cases_flags(parser: ArgumentParser, verb: str, answers: str) -> None:
    add = parser.add_argument
    add("data", type=str, help=".ts or .npz file of labelled cases to learn from")
    add("test", type=str | None, nargs="?", help=f"cases to {verb} and, if labelled, to score")
    add(
        "--test_fraction", type=float, default=0.2, help="part kept for scoring if no test is given"
    )
    add("--preset", type=str, default="auto", help="'auto', or a data set's name for the paper's")
    add("--load", type=str | None, help=f"{verb} `data` with this saved model, without training")
    _shared_flags(parser, f"predicted {answers} as CSV; by default <test>-{answers}.csv here")


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
    add(
        "--level",
        type=float,
        nargs="+",
        help="per cents of intervals to score on a forecasting set, as 80 95",
    )
    _shared_flags(parser, None)


def _datasets_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("action", type=Literal["list", "fetch", "verify"], help="what to do")
    add("names", type=str, nargs="*", default=[], help="data sets; all by default")
    add("--json", type=str | None, metavar="FILE", help="write the result for programs")


def _export_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "model", type=str, help="folder of a saved model, as --save of the other commands writes it"
    )
    add(
        "--format",
        type=Literal["onnx", "onnx-int8", "torch-export", "aoti"],
        default="onnx",
        help="onnx: any ONNX runtime; onnx-int8: smaller, with eight-bit weights; torch-export: "
        "for torch.export.load; aoti: compiled for this machine, needs a C++ compiler",
    )
    add(
        "--to",
        type=str,
        required=True,
        metavar="FOLDER",
        help="where to; an older export is replaced",
    )
    add(
        "--check",
        type=str | None,
        metavar="DATA",
        help="table or cases on which graph and model are compared; a forecaster has the end of "
        "its own table for it, a classifier needs some",
    )


def _shared_flags(parser: ArgumentParser, out: str | None) -> None:
    add = parser.add_argument
    if out is not None:
        add("--out", type=str | None, metavar="FILE", help=out)
    add("--report", type=str | None, metavar="FILE", help="write an HTML page about the run")
    add("--save", type=str | None, metavar="FOLDER", help="keep the trained model")
    add("--json", type=str | None, metavar="FILE", help="write scores and settings for programs")
    add(
        "--resume",
        type=str | None,
        metavar="FOLDER",
        help="keep the state of training here; the same command goes on from it after a kill",
    )
    add("--seed", type=int, default=2023, help="seed of weights, batch order and dropout")
    add("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    add("--quiet", action="store_true", help="no progress bar")
    add("--config", action="config", help="file (YAML or JSON) that holds any of these flags")
    for group, settings in (("model", config.ModelConfig), ("training", config.TrainConfig)):
        _config_flags(parser, group, settings)


def _config_flags(parser: ArgumentParser, group: str, settings: type) -> None:
    """One flag per dataclass field, absent unless given so that presets stay in force; null is a
    value."""
    from argparse import SUPPRESS

    from docstring_parser import parse_from_object

    help_of = {p.arg_name: p.description for p in parse_from_object(settings).params}
    types = get_type_hints(settings)
    shown = parser.add_argument_group(f"{group} (preset's value where left out)")
    for field in fields(settings):
        if field.name not in _NO_FLAG:
            text = " ".join((help_of.get(field.name) or "").split()).replace("%", "%%")
            shown.add_argument(
                f"--{group}.{field.name}",
                type=types[field.name],
                default=SUPPRESS,
                help=text.replace("None", "null"),
            )


_COMMANDS: dict[str, tuple[str, str, Callable[[ArgumentParser], None], Callable[[Any], None]]] = {
    "forecast": (
        "data",
        "Train on a table and forecast what comes after its end.\n\n"
        "First the last --test_fraction of the rows is kept from training and gives the scores;\n"
        "of the rows before, the last part chooses the epoch and calibrates intervals. Then\n"
        "training goes on with all rows, and that model forecasts (--no_refit: the first one).\n"
        "Times must be regular; gaps in the values are masked and said so: the network neither\n"
        "reads nor learns them.",
        _forecast_flags,
        commands.run_forecast,
    ),
    "classify": (
        "data [test]",
        "Train on labelled cases and classify others.\n\n"
        "A part of the training cases chooses the epoch; the test cases are only scored.",
        _classify_flags,
        commands.run_classify,
    ),
    "regress": (
        "data [test]",
        "Train on cases with a number each and predict it for others.\n\n"
        "Cases are as for classify: an .npz file with the arrays X and y, y numbers, or a .ts\n"
        "file with @targetLabel true. A part of the training cases chooses the epoch; the test\n"
        "cases are only scored: mean squared error, mean absolute error and R2.",
        _regress_flags,
        commands.run_regress,
    ),
    "evaluate": (
        "dataset",
        "Fit and score a registered data set beside published scores.",
        _evaluate_flags,
        commands.run_evaluate,
    ),
    "export": (
        "model",
        "Write a saved model as a graph that runs without training code.\n\n"
        "The graph takes and gives the data's own units. Beside it lie model.json, which says\n"
        "what its inputs mean, and parity.json, how far its answers lie from the model's. An ONNX\n"
        "graph is answered from with numpy and onnxruntime alone:\n\n"
        "  from convtimenet.runtime import load\n"
        '  model = load("exported")\n'
        "  model.forecast(values)  # (T, C) to (h, C); of cases: model.predict(cases)",
        _export_flags,
        commands.run_export,
    ),
    "datasets": (
        "{list,fetch,verify} [name ...]",
        "List, fetch or verify the registered data sets.",
        _datasets_flags,
        commands.run_datasets,
    ),
}
