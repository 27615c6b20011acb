"""``convtimenet tune``: search for settings, then train with the best ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtimenet.cli.outputs import (
    check_inputs,
    make_console,
    note,
    note_replaced,
    show_result,
    took,
    write_json,
    wrote,
)
from convtimenet.cli.settings import (
    COLUMNS,
    check_training,
    estimator_settings,
    given,
    names_of,
    new_forecaster,
    set_horizon,
    verbose_of,
)
from convtimenet.data.files import check_path
from convtimenet.errors import ConfigError
from convtimenet.estimators.tuning.places import is_url
from convtimenet.files import check_writable
from convtimenet.progress import reading, showing
from convtimenet.training.interrupt import Terminated

if TYPE_CHECKING:
    from rich.console import Console

    from convtimenet.estimators.tuning.result import TuneResult

_TABLES_ONLY = (
    *("h", "input_size", "hist_exog", "futr_exog", "stat_exog", "calendar"),
    *COLUMNS,
)


def run_tune(flags: Any) -> None:
    """Search for settings, write them and all trials, and train with the best ones."""
    begin = time.monotonic()
    folder = Path(flags.out or f"{Path(flags.data).name.split('.')[0]}-tuned")
    replaced = _check(flags, folder)
    space = None if flags.search is None else _space(flags.search)
    from convtimenet.estimators.tuning.search import Search

    console = make_console()
    note_replaced(console, replaced)
    search_on = _table if flags.task == "forecast" else _cases
    model, data, fit, finish = search_on(console, flags)
    storage = flags.study or folder / "study.log"
    with Search(model, *data, storage=storage, seed=flags.seed, space=space, fit=fit) as search:
        folder.mkdir(parents=True, exist_ok=True)
        if n := len(search.study.finished):
            note(console, f"{search.study.where} holds {n} finished trials: the search continues")
        try:
            search.run(flags.trials, flags.time_limit)
        except (KeyboardInterrupt, Terminated) as stop:
            if search.best is not None:
                _write(console, flags, folder, search.result())
            kept = search.study.where or ""
            wrote(console, "trials so far, from which the same command continues", kept)
            raise type(stop)("") from stop
        found = search.result()
    _write(console, flags, folder, found)
    model.set_params(**found.settings)
    run = finish(model)
    if run is not None:
        show_result(console, run.result)
    wrote(console, "model with the best settings", model.save(folder / "model"))
    took(console, begin)


def _check(flags: Any, folder: Path) -> list[str]:
    """Check flags and paths before work starts; returns existing paths that will be replaced."""
    from convtimenet.storage.model_folder import check_target

    check_inputs(flags.data, flags.test)
    check_training(flags)
    if flags.trials < 1:
        raise ConfigError(f"--trials must be at least 1, found {flags.trials}")
    if flags.time_limit is not None and not flags.time_limit >= 0:
        raise ConfigError(f"--time_limit must be at least 0, found {flags.time_limit:g}")
    if flags.task == "forecast":
        check_path(flags.data)
        useless = [name for name in ("test", "label_col") if flags[name] is not None]
    else:
        useless = [name for name in _TABLES_ONLY if flags[name] is not None]
    if useless:
        found = f"--{useless[0]}" if useless[0] != "test" else f"a second file, {flags.test}"
        raise ConfigError(f"tune {flags.task} has no use for {found}; leave it out")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out must be a folder, {folder} is a file; name another one")
    check_writable("--out", folder / "model")
    check_target(folder / "model")
    if flags.study is not None and not is_url(flags.study):
        if not Path(flags.study).resolve().parent.is_dir():
            where = Path(flags.study).parent
            raise ConfigError(f"--study: the folder {where} does not exist; create it first")
        check_writable("--study", flags.study)
    targets = [folder / name for name in ("settings.json", "trials.csv", "model")]
    return [str(target) for target in targets if target.exists()]


def _space(texts: list[str]) -> dict[str, Any]:
    """The parameters of --search with their choices or ranges.

    Raises
    ------
    ConfigError
        If one is not written as NAME=VALUES.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not name or not values:
            raise ConfigError(
                f"--search: expected NAME=VALUES, as training.lr=1e-4..1e-2 or model.d_model=32,64;"
                f" found {text!r}"
            )
        low, dots, high = values.partition("..")
        try:
            found[name] = (_number(low), _number(high)) if dots else json.loads(f"[{values}]")
        except ValueError:
            if dots:
                raise ConfigError(
                    f"--search: expected numbers as LOW..HIGH, found {values!r} for {name}"
                ) from None
            found[name] = values.split(",")
    return found


def _number(text: str) -> float:
    return int(text) if text.strip("+-").isdigit() else float(text)


def _table(
    console: Console, flags: Any
) -> tuple[Any, tuple[Any, ...], dict[str, Any], Callable[[Any], Any]]:
    """The forecaster, its table, further arguments of ``fit``, and the training with the best
    settings."""
    from convtimenet.runs.forecasting import fit_forecaster, test_split

    model = new_forecaster(flags)
    table = model.read(flags.data)
    for notice in table.notices:
        note(console, notice)
    set_horizon(console, flags, model, table)
    flags.h = model.h  # for the file of settings
    kept, rows = test_split(model, table, flags.test_fraction)
    split = rows if kept.any() else None
    if split is None and flags.test_fraction:
        note(console, "too few rows for a test split: the result is not scored on one")

    def finish(best: Any) -> Any:
        run = fit_forecaster(
            best, table, split, table.lengths, dataset=Path(flags.data).name, forecasts=True
        )
        return None if split is None else run

    return model, (table,), {} if split is None else {"split": split}, finish


def _cases(
    console: Console, flags: Any
) -> tuple[Any, tuple[Any, ...], dict[str, Any], Callable[[Any], Any]]:
    """The same for labelled cases."""
    from convtimenet.data.labelled.cases import read_cases
    from convtimenet.estimators.case_input import check_task
    from convtimenet.estimators.classifier import ConvTimeNetClassifier
    from convtimenet.estimators.regressor import ConvTimeNetRegressor
    from convtimenet.runs.labelled import check_alike, fit_labelled, hold_out

    classify = flags.task == "classify"
    estimator = ConvTimeNetClassifier if classify else ConvTimeNetRegressor
    model = estimator(preset=flags.preset, **estimator_settings(flags))
    with showing(reading(flags.data), verbose_of(flags), busy=True):
        train = read_cases(flags.data, flags.label_col)
    check_task(train, estimator.task)
    if train.labels is not None:
        model.check_labels(train.labels)
    if flags.test is None:
        train, test = hold_out(train, flags.test_fraction, flags.seed, classes=classify)
    else:
        with showing(reading(flags.test), verbose_of(flags), busy=True):
            test = read_cases(flags.test, flags.label_col)
        check_alike(train, test)
        if test.labels is None:
            raise ConfigError(
                f"{flags.test}: expected labelled cases to score the result on, found no labels; "
                "leave the file out, and predict it later with the model"
            )

    def finish(best: Any) -> Any:
        return fit_labelled(best, train, test, **names_of(flags))

    return model, (train,), {}, finish


def _write(console: Console, flags: Any, folder: Path, found: TuneResult) -> None:
    """Print the result of the search, and write it."""
    console.print(str(found), soft_wrap=True)
    write_json(str(folder / "settings.json"), _config(flags, found))
    wrote(console, f"settings, for convtimenet {flags.task} --config", folder / "settings.json")
    found.write_csv(folder / "trials.csv")
    wrote(console, "all trials", folder / "trials.csv")


def _config(flags: Any, found: TuneResult) -> dict[str, Any]:
    """The given flags and the best settings, as a --config file of the command."""
    own = {"test_fraction": 0.2, "preset": "auto", "device": "auto", "seed": None}
    names = _TABLES_ONLY if flags.task == "forecast" else ("label_col",)
    own |= dict.fromkeys(names)
    config = {name: flags[name] for name, usual in own.items() if flags[name] != usual}
    groups: dict[str, dict[str, Any]] = {
        group: dict(given(flags, group)) for group in ("model", "training")
    }
    for name, value in found.best.items():
        group, _, setting = name.rpartition(".")
        groups.get(group, config)[setting] = value
    return {**config, **{group: values for group, values in groups.items() if values}}
