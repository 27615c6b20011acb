"""``convtimenet pretrain``: train an encoder on data without labels, for other commands."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convtimenet.cli.outputs import (
    check_apart,
    check_inputs,
    make_console,
    note,
    note_replaced,
    took,
    wrote,
)
from convtimenet.cli.settings import (
    COLUMNS,
    check_training,
    estimator_settings,
    new_forecaster,
    verbose_of,
)
from convtimenet.data.files import check_path
from convtimenet.errors import ConfigError
from convtimenet.files import check_writable
from convtimenet.progress import reading, showing
from convtimenet.wording import flag

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

SUMMARY = """Train a network's encoder on data without labels.

The encoder, which is all of the network but its head, learns to reconstruct
hidden spans of each series from what is around them; nothing else of the file
is read, labels neither. The folder --out is for --init_from of the command
named first, which then trains on fewer labels, or on a shorter table. The last
fifth of a table's rows is not read: it is the validation split of forecast.

Examples:
  convtimenet pretrain classify unlabelled.npz --out encoder
  convtimenet classify few.ts test.ts --init_from encoder
      train on a few labelled cases, starting from the encoder
  convtimenet classify few.ts test.ts --init_from encoder --training.encoder_rate 0
      train the head only
  convtimenet pretrain forecast machines.csv --h 24 --out encoder --resume part
      a table; the same command goes on after a stop"""

_CASES_ONLY = ("label_col",)
_UNREAD = ("hist_exog", "futr_exog", "stat_exog", "calendar")
_TABLES_ONLY = ("h", "input_size", *COLUMNS)


def pretrain_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet pretrain`."""
    from convtimenet.cli import flags

    add = parser.add_argument
    add(
        "task",
        type=Literal["forecast", "classify", "regress"],
        help="the command that will start from the encoder",
    )
    add("data", type=str, help="table or cases, as for that command; labels are not read")
    add(
        "--out",
        type=str,
        required=True,
        metavar="FOLDER",
        help="folder for the encoder; an earlier one there is replaced",
    )
    add(
        "--objective",
        type=Literal["reconstruct", "contrast"],
        default="reconstruct",
        help="reconstruct: fill hidden spans; contrast: tell which two changed copies are of the "
        "same case (not for tables)",
    )
    add(
        "--n_epochs",
        type=int | None,
        help="passes over the data; by default 2,000 steps in 40 epochs",
    )
    add(
        "--resume",
        type=str | None,
        metavar="FOLDER",
        help="folder for checkpoints; the same command resumes from them after an interruption",
    )
    flags.table_flags(parser)
    flags.label_flag(parser)
    flags.start_flag(parser)
    flags.preset_flag(parser)
    flags.training_flags(parser)


def run_pretrain(flags: Any) -> None:
    """Train an encoder, and write it to a folder."""
    begin = time.monotonic()
    replaced = _check(flags)
    console = make_console()
    note_replaced(console, replaced)
    model: Any
    if flags.task == "forecast":
        model = new_forecaster(flags)
        table = model.read(flags.data)
        for notice in table.notices:
            note(console, notice)
        model.pretrain(table, n_epochs=flags.n_epochs, resume=flags.resume)
    else:
        from convtimenet.data.labelled.cases import read_cases
        from convtimenet.estimators.classifier import ConvTimeNetClassifier
        from convtimenet.estimators.regressor import ConvTimeNetRegressor

        kind = ConvTimeNetClassifier if flags.task == "classify" else ConvTimeNetRegressor
        with showing(reading(flags.data), verbose_of(flags), busy=True):
            cases = read_cases(flags.data, flags.label_col, labelled=False)
        for notice in cases.notices:
            note(console, notice)
        model = kind(preset=flags.preset, **estimator_settings(flags))
        own = {"n_epochs": flags.n_epochs, "resume": flags.resume}
        model.pretrain(cases, objective=flags.objective, **own)
    encoder = model.pretrained_
    last = encoder.history.epochs[-1]
    console.print(f"loss of {flags.objective}: {last.train_loss:.4g}, epoch {last.epoch}")
    wrote(console, "encoder", encoder.save(flags.out))
    took(console, begin)
    console.print(
        f"use it with: convtimenet {flags.task} DATA {flag('init_from', flags.out)}",
        soft_wrap=True,
    )


def _check(flags: Any) -> list[str]:
    """Check flags and paths before work starts; returns existing paths that will be replaced."""
    from convtimenet.storage.model_folder import check_target
    from convtimenet.training.checkpoint import check_folder

    check_inputs(flags.data)
    check_training(flags)
    if flags.task == "forecast":
        check_path(flags.data)
        useless = [name for name in _CASES_ONLY if flags[name] is not None]
        useless += [] if flags.objective == "reconstruct" else ["objective"]
    else:
        useless = [name for name in _TABLES_ONLY if flags[name] is not None]
    useless += [name for name in _UNREAD if flags[name] is not None]
    if useless:
        raise ConfigError(
            f"pretrain {flags.task} has no use for --{', --'.join(useless)}; leave it out"
        )
    if flags.n_epochs is not None and flags.n_epochs < 1:
        raise ConfigError(f"--n_epochs must be at least 1, found {flags.n_epochs}")
    check_writable("--out", Path(flags.out))
    check_target(flags.out)
    if flags.resume is not None:
        check_folder(flags.resume)
        check_writable("--resume", Path(flags.resume) / "state")
    check_apart({"out": flags.out, "resume": flags.resume})
    return [flags.out] if Path(flags.out).exists() else []
