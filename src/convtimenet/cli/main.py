"""The command line: flags to settings to calls, no logic of its own.

Flags for the network and its training are made from `ModelConfig` and `TrainConfig`, so they
cannot drift apart. A flag left out keeps the preset's value. Everything heavy is imported after
the flags were understood, so that ``--help`` answers at once.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from convtimenet import __version__
from convtimenet.cli import bench, commands, flags
from convtimenet.errors import ConfigError, ConvTimeNetError, MissingExtraError
from convtimenet.training.interrupt import Terminated

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_DESCRIPTION = """Forecast, classify and regress multivariate time series with ConvTimeNet.

Examples:
  convtimenet forecast sales.csv --h 24 --level 80 95 --report report.html
  convtimenet classify train.ts test.ts --out classes.csv
  convtimenet regress train.ts test.ts --out numbers.csv
  convtimenet evaluate ETTh1 --h 96
  convtimenet export model --to exported --check sales.csv
  convtimenet datasets list

Each command explains itself: convtimenet forecast --help
Tab completes flags after: convtimenet completion --help"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 2 a mistake of the user's, 130 and 143
    stopped by SIGINT and SIGTERM."""
    arguments = _underscored(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    given = None
    try:
        given = _parsed(arguments or ["--help"])
        logging.getLogger("convtimenet").setLevel(logging.ERROR)  # notices are shown below
        _COMMANDS[given.command][3](given[given.command])
    except ConvTimeNetError as error:
        sys.stderr.write(f"convtimenet: {error}\n")
        return 2
    except BrokenPipeError:  # whoever read the output, such as head, has had enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the interpreter flushes it at its end
        return 141
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


def _parsed(arguments: Sequence[str]) -> Any:
    """The flags by name.

    Raises
    ------
    ConfigError
        If there is a mistake in them.
    """
    parser, parsers = _parsers()
    try:
        return parser.parse_args(arguments)
    except ConfigError as error:
        from convtimenet.cli.parser import Complaint

        raise ConfigError(Complaint(arguments, parsers).text(str(error))) from error


def _underscored(arguments: Sequence[str]) -> list[str]:
    """Names of flags may be written with hyphens too: --test-fraction is --test_fraction."""
    found = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        found.append(name + equals + value)
    return found


def _parsers() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """The parser of everything, and those of the sub-commands."""
    try:
        from jsonargparse import set_parsing_settings

        from convtimenet.cli.parser import PROG, Help, Parser
    except ImportError as error:
        raise MissingExtraError("jsonargparse", "cli", "the command line") from error

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} COMMAND [flags]",
        description=_DESCRIPTION,
        version=__version__,
        formatter_class=Help,
        allow_abbrev=False,
    )
    commands = parser.add_subcommands(dest="command", title="commands")
    parsers: dict[str, ArgumentParser] = {}
    for name, (arguments, summary, add_flags, _) in _COMMANDS.items():
        # the usage of all flags would push the description off the screen
        usage = f"{PROG} {name} {arguments}"
        sub = Parser(description=summary, usage=usage, formatter_class=Help, allow_abbrev=False)
        add_flags(sub)
        parsers[name] = sub
        commands.add_subcommand(name, sub, help=summary.splitlines()[0])
    return parser, parsers


def _run_completion(given: Any) -> None:
    """Print what a shell needs to complete commands and flags."""
    from convtimenet.cli.parser import completion

    sys.stdout.write(completion(*_parsers(), given.shell))


_COMMANDS: dict[str, tuple[str, str, Callable[[ArgumentParser], None], Callable[[Any], None]]] = {
    "forecast": (
        "data [flags]",
        """Train on a table and forecast what comes after its end.

First the last --test_fraction of the rows is kept from training and gives the
scores; of the rows before, the last part chooses the epoch and calibrates the
intervals. Then training goes on with all rows, and that model forecasts
(--no_refit: the first one). Rows may be absent and values missing: they are
masked, or read as the number that --fill gives.

Examples:
  convtimenet forecast sales.csv --h 28 --level 80 95
      28 steps ahead with intervals, written to sales-forecast.csv
  convtimenet forecast long.csv --id_col store --target_cols units
      a table of many series, one row per store and time
  convtimenet forecast sales.csv --futr_exog promo --future plan.csv
      plan.csv holds promo for the steps to forecast
  convtimenet forecast sales.csv --save model --report report.html
  convtimenet forecast newer.csv --load model
      forecast again later, without training""",
        flags.forecast_flags,
        commands.run_forecast,
    ),
    "classify": (
        "data [test] [flags]",
        """Train on labelled cases and classify others.

A part of the training cases chooses the epoch; the test cases are only
scored, if they carry labels. A table holds one case a row, or rows of the same
case_id; its column 'label' is the class.

Examples:
  convtimenet classify train.ts test.ts --out classes.csv --save model
  convtimenet classify new.ts --load model""",
        flags.classify_flags,
        commands.run_classify,
    ),
    "regress": (
        "data [test] [flags]",
        """Train on cases with a number each and predict it for others.

Cases are as for classify: an .npz file with the arrays X and y, y numbers, a
.ts file with @targetLabel true, or a table with a column 'label' of numbers. A
part of the training cases chooses the epoch; the test cases are only scored:
mean squared error, mean absolute error and R2.

Examples:
  convtimenet regress train.ts test.ts --out numbers.csv --save model
  convtimenet regress new.ts --load model""",
        flags.regress_flags,
        commands.run_regress,
    ),
    "evaluate": (
        "dataset [flags]",
        """Fit and score a registered data set beside published scores.

Examples:
  convtimenet evaluate ETTh1 --h 96
  convtimenet evaluate Epilepsy --protocol paper --report report.html""",
        flags.evaluate_flags,
        commands.run_evaluate,
    ),
    "bench": (
        "{run,report} FILE [flags]",
        """Measure models on the same data, one JSON line a cell, and report on them.

FILE is a matrix in TOML: models, data sets, horizons, protocols and seeds
(convtimenet.bench.matrix describes it). A run does the cells that have no
result yet, so one that was stopped goes on.

Examples:
  convtimenet bench run matrix.toml --dry_run
  convtimenet bench run matrix.toml --only 'ridge:ETT*' --jobs 2
  convtimenet bench report matrix.toml""",
        flags.bench_flags,
        bench.run_bench,
    ),
    "export": (
        "model --to FOLDER [flags]",
        """Write a saved model as a graph that runs without training code.

The graph takes and gives the data's own units. Beside it lie model.json, which
says what its inputs mean, and parity.json, how far its answers lie from the
model's. An ONNX graph is answered from with numpy and onnxruntime alone:

  from convtimenet.runtime import load
  model = load("exported")
  model.forecast(values)  # (T, C) to (h, C); of cases: model.predict(cases)

Examples:
  convtimenet export model --to exported --check sales.csv
  convtimenet export model --to exported --format onnx-int8""",
        flags.export_flags,
        commands.run_export,
    ),
    "datasets": (
        "{list,fetch,verify} [NAME ...] [flags]",
        """List, fetch or verify the registered data sets.

Examples:
  convtimenet datasets list
  convtimenet datasets fetch ETTh1 Epilepsy""",
        flags.datasets_flags,
        commands.run_datasets,
    ),
    "completion": (
        "{bash,zsh,tcsh}",
        """Print a script by which a shell completes commands, flags and files.

Examples:
  convtimenet completion bash >> ~/.bash_completion
  convtimenet completion zsh > ~/.zfunc/_convtimenet
      where ~/.zshrc has: fpath+=~/.zfunc; autoload -Uz compinit; compinit""",
        flags.completion_flags,
        _run_completion,
    ),
}
