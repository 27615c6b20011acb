"""The command line: flags to settings to calls, no logic of its own.

Flags for the network and its training are generated from `ModelConfig` and `TrainConfig`, so they
cannot diverge. A flag that is not given keeps the preset's value. Heavy modules are imported after
the flags have been parsed, so that ``--help`` is fast.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from convtimenet import __version__, processes
from convtimenet.cli import (
    app,
    bench,
    commands,
    filling,
    flags,
    predict,
    pretrain,
    serving,
    tune,
)
from convtimenet.errors import ConfigError, ConvTimeNetError, MissingExtraError
from convtimenet.training.interrupt import Terminated

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_DESCRIPTION = """Forecast, classify and regress multivariate time series with ConvTimeNet.

Examples:
  convtimenet forecast sales.csv --h 24 --level 80 95 --report report.html
  convtimenet impute sales.csv --level 80
  convtimenet detect sales.csv
  convtimenet classify train.ts test.ts --out classes.csv
  convtimenet regress train.ts test.ts --out numbers.csv
  convtimenet pretrain classify unlabelled.npz --out encoder
  convtimenet predict model sales.parquet --out forecasts --workers 8
  convtimenet tune forecast sales.csv --h 24 --trials 30
  convtimenet evaluate ETTh1 --h 96
  convtimenet export model --to exported --check sales.csv
  convtimenet serve sales=model --port 8000
  convtimenet datasets list
  convtimenet app

Help on a command: convtimenet forecast --help
Tab completion: convtimenet completion --help"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 for success, 2 for an error, 130 and 143 if
    stopped by SIGINT and SIGTERM, 141 if the reader of the output closed it."""
    if "OMP_WAIT_POLICY" not in os.environ:
        # threads of torch that wait for each other spin; where other programs use the cores too,
        # small networks would spend minutes on that
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    arguments = _underscored(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    given = None
    try:
        given = _parsed(arguments or ["--help"])
        logging.getLogger("convtimenet").setLevel(logging.ERROR)  # notices are shown below
        _run(given)
    except ConvTimeNetError as error:
        sys.stderr.write(f"{_who()}: {error}\n")
        return 2
    except BrokenPipeError:  # the reader of the output, such as head, has closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the interpreter flushes it on exit
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        sys.stderr.write(f"{_who()}: {where}{error.strerror or error}\n")
        return 2
    except UnicodeDecodeError as error:  # not a data file: our readers raise `DataError` for these
        sys.stderr.write(f"convtimenet: the --config file is not UTF-8 text: {error}\n")
        return 2
    except (KeyboardInterrupt, Terminated) as stop:
        text = str(stop).partition(":")[0]  # the rest is for users of the estimator in Python
        resume = given[given.command].get("resume") if text and given is not None else None
        if not text:
            text = "stopped before the end; nothing more was written"
        elif resume:
            text += f"; checkpoints are in {resume}, nothing else was written"
        else:
            text += "; nothing was written; use --resume FOLDER to be able to resume after a stop"
        again = f"convtimenet {shlex.join(arguments)}"
        if processes.started_by_torchrun():
            again = "the same torchrun command"
        if processes.leads():
            sys.stderr.write(f"convtimenet: {text}\n" + f"resume with: {again}\n" * bool(resume))
        return 143 if isinstance(stop, Terminated) else 130
    return 0


def _run(given: Any) -> None:
    """Run a command, alone or as one of several processes that torchrun has started.

    Raises
    ------
    ConfigError
        If the command has no training that several processes could share.
    """
    flags, run = given[given.command], _COMMANDS[given.command][3]
    if not processes.started_by_torchrun():
        run(flags)
        return
    if given.command not in _TRAIN or flags.get("load"):
        what = f"{given.command}{' --load' if flags.get('load') else ''}"
        raise ConfigError(
            f"torchrun starts several processes that train one network together, as "
            f"{', '.join(_TRAIN)} do, and {what} does not; start it without torchrun"
        )
    with processes.joined():
        run(flags)


def _who() -> str:
    if not processes.started_by_torchrun():
        return "convtimenet"
    return f"convtimenet, process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"


def _parsed(arguments: Sequence[str]) -> Any:
    """The flags by name.

    Raises
    ------
    ConfigError
        If they are wrong.
    """
    parser, parsers = _parsers()
    try:
        return parser.parse_args(arguments)
    except ConfigError as error:
        from convtimenet.cli.parser import ErrorText

        raise ConfigError(ErrorText(arguments, parsers).text(str(error))) from error


def _underscored(arguments: Sequence[str]) -> list[str]:
    """Arguments with underscores in flag names: --test-fraction also means --test_fraction."""
    found = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        found.append(name + equals + value)
    return found


@cache  # whoever runs several commands in one process makes them once
def _parsers() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """The main parser, and those of the sub-commands by name."""
    return _new_parsers()


def _new_parsers() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
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
        # a usage with all flags would push the description off the screen
        usage = f"{PROG} {name} {arguments}"
        sub = Parser(description=summary, usage=usage, formatter_class=Help, allow_abbrev=False)
        add_flags(sub)
        parsers[name] = sub
        commands.add_subcommand(name, sub, help=summary.splitlines()[0])
    return parser, parsers


def _run_completion(given: Any) -> None:
    """Print the completion script of a shell, which leaves its parsers of no further use."""
    from convtimenet.cli.parser import completion

    sys.stdout.write(completion(*_new_parsers(), given.shell))


_TRAIN = "forecast", "classify", "regress", "evaluate"
"""Commands that train a network, which several processes can do together."""

_COMMANDS: dict[str, tuple[str, str, Callable[[ArgumentParser], None], Callable[[Any], None]]] = {
    "forecast": (
        "data [flags]",
        """Train on a table and forecast the steps after its end.

The last --test_fraction of the rows is the test split, which gives the scores.
The last part of the other rows is the validation split, which chooses the
epoch and calibrates the intervals. Training then continues on all rows, and
that model makes the forecast (with --no_refit, the scored one does). Missing
rows and values are masked, or filled with the number given by --fill.

Examples:
  convtimenet forecast sales.csv --h 28 --level 80 95
      forecast 28 steps with intervals, written to sales-forecast.csv
  convtimenet forecast long.csv --id_col store --target_cols units
      a long table of many series, with one row per store and time
  convtimenet forecast sales.csv --futr_exog promo --future plan.csv
      plan.csv has the values of promo for the steps to forecast
  convtimenet forecast sales.csv --save model --report report.html
  convtimenet forecast newer.csv --load model
      forecast newer data later, without training
  torchrun --nproc-per-node 2 -m convtimenet forecast long.csv --resume part
      train with two processes, on one GPU each if there are two""",
        flags.forecast_flags,
        commands.run_forecast,
    ),
    "classify": (
        "data [test] [flags]",
        """Train on labelled cases and classify others.

A validation split drawn from the training cases gives the share of the network
in the answers and, with the --preset of a data set, the epoch; training then
continues on all of them. The test cases are only scored, if they have labels.
A table has one case per row, or several rows per case with the same case_id;
its column 'label' is the class.

Examples:
  convtimenet classify train.ts test.ts --out classes.csv --save model
  convtimenet classify new.ts --load model""",
        flags.classify_flags,
        commands.run_classify,
    ),
    "regress": (
        "data [test] [flags]",
        """Train on cases labelled with numbers and predict them for other cases.

Files are as for classify: an .npz file with the arrays X and y (numbers), a .ts
file with @targetLabel true, or a table with a column 'label' of numbers. The
validation split is used as there; the test cases are only scored: mean squared
error, mean absolute error and R2.

Examples:
  convtimenet regress train.ts test.ts --out numbers.csv --save model
  convtimenet regress new.ts --load model""",
        flags.regress_flags,
        commands.run_regress,
    ),
    "pretrain": (
        "{forecast,classify,regress} data --out FOLDER [flags]",
        pretrain.SUMMARY,
        pretrain.pretrain_flags,
        pretrain.run_pretrain,
    ),
    "predict": (
        "model data --out FOLDER [flags]",
        predict.SUMMARY,
        predict.predict_flags,
        predict.run_predict,
    ),
    "impute": (
        "data [flags]",
        filling.IMPUTE,
        filling.impute_flags,
        filling.run_impute,
    ),
    "detect": (
        "data [flags]",
        filling.DETECT,
        filling.detect_flags,
        filling.run_detect,
    ),
    "tune": (
        "{forecast,classify,regress} data [test] [flags]",
        """Search for settings with the best score on the validation split.

The first trial has the default settings, or those given as flags, which are
not searched. Each trial trains a network with other settings on the training
split; those that look worse than the others are stopped early. The test split
(the last --test_fraction of the rows, or the test cases) is scored once, with
the best settings: the validation score of the best of many trials is too good.

The folder of the results gets settings.json (for --config of the command),
trials.csv and the model, trained as the command would. Ctrl-C stops after a
training step and keeps the trials so far; the same command continues, and
several processes may share one --study.

Examples:
  convtimenet tune forecast sales.csv --h 28 --trials 30 --time_limit 600
      results in sales-tuned
  convtimenet forecast newer.csv --config sales-tuned/settings.json
      train with these settings later, on newer data
  convtimenet tune classify train.ts test.ts --out tuned
  convtimenet tune forecast sales.csv --search training.lr=1e-4..1e-2
      search this parameter only""",
        flags.tune_flags,
        tune.run_tune,
    ),
    "evaluate": (
        "dataset [flags]",
        """Fit a model on a registered data set and compare it with published scores.

Examples:
  convtimenet evaluate ETTh1 --h 96
  convtimenet evaluate Epilepsy --protocol paper --report report.html""",
        flags.evaluate_flags,
        commands.run_evaluate,
    ),
    "bench": (
        "{run,report} FILE [flags]",
        """Measure models on the same data, one JSON line per cell, and report on them.

FILE is a matrix in TOML: models, data sets, horizons, protocols and seeds
(convtimenet.bench.matrix describes it). A run measures the cells without a
result, so a stopped run can be resumed.

Examples:
  convtimenet bench run matrix.toml --dry_run
  convtimenet bench run matrix.toml --only 'ridge:ETT*' --jobs 2
  convtimenet bench report matrix.toml""",
        bench.bench_flags,
        bench.run_bench,
    ),
    "export": (
        "model --to FOLDER [flags]",
        """Export a saved model as a graph that runs without training code.

Inputs and outputs of the graph are in the data's units. The folder also holds
model.json, which describes the inputs, and parity.json, the differences
between outputs of graph and model. An ONNX graph needs only numpy and
onnxruntime:

  from convtimenet.runtime import load
  model = load("exported")
  model.forecast(values)  # (T, C) to (h, C); for cases: model.predict(cases)

Examples:
  convtimenet export model --to exported --check sales.csv
  convtimenet export model --to exported --format onnx-int8""",
        flags.export_flags,
        commands.run_export,
    ),
    "serve": (
        "model [model ...] [flags]",
        """Answer requests with saved models over HTTP.

A model is a folder that --save wrote, named NAME=FOLDER or after the folder.
Send a table to /forecast or cases to /classify and /regress, as JSON, CSV or an
Arrow stream; the same kind comes back. Clients of KServe, the Open Inference
Protocol and Nixtla work as they are: docs/serve.md. Ctrl-C, or SIGTERM, stops
it once every request that has begun is answered.

Other machines reach it only with --host, and then need a token: a file, or the
environment variable CONVTIMENET_TOKEN.

Examples:
  convtimenet forecast sales.csv --h 24 --save model
  convtimenet serve sales=model
  curl --data-binary @sales.csv -H 'Content-Type: text/csv' \\
      'http://127.0.0.1:8000/forecast?level=80'
      the next 24 rows, with an interval, as CSV
  openssl rand -hex 32 > token
  convtimenet serve sales=model gestures --host 0.0.0.0 --token_file token
      two models, for other machines""",
        flags.serve_flags,
        serving.run_serve,
    ),
    "app": (
        "[flags]",
        """Open a page in the browser to forecast, fill gaps and classify without code.

Drop a table or labelled recordings there, or take a sample; see what was read;
forecast, fill gaps, find oddities or train; and download results and report.
Everything stays on this machine, and only this machine reaches the page; its
files are removed when it stops (Ctrl-C).

Example:
  convtimenet app""",
        app.app_flags,
        app.run_app,
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
        """Print a script for shell completion of commands, flags and files.

Examples:
  convtimenet completion bash >> ~/.bash_completion
  convtimenet completion zsh > ~/.zfunc/_convtimenet
      with this in ~/.zshrc: fpath+=~/.zfunc; autoload -Uz compinit; compinit""",
        flags.completion_flags,
        _run_completion,
    ),
}
