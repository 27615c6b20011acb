"""What commands print and write, and checks of input and output paths before work starts."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtimenet import processes
from convtimenet.data.files import check_local, is_columnar, is_several
from convtimenet.errors import ArtefactError, ConfigError, DataError, MissingExtraError
from convtimenet.files import check_writable, json_text, whole_file
from convtimenet.progress import clock

if TYPE_CHECKING:
    from rich.console import Console

    from convtimenet.estimators.base import ConvTimeNetEstimator
    from convtimenet.runs.forecasting import ForecastRun
    from convtimenet.runs.labelled import LabelledRun
    from convtimenet.runs.result import Result


def make_console() -> Console:
    """The console that commands print to; a closed pipe, as with head, does not stop them. Of
    several processes that train together the first one prints. Text is printed as it is: "[old]"
    in a name is no markup and ":cricket:" no picture."""
    from rich.console import Console

    class PipeSafeConsole(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the interpreter flushes it on exit

    return PipeSafeConsole(highlight=False, markup=False, emoji=False, quiet=not processes.leads())


def note(console: Console, text: str) -> None:
    """Print a notice."""
    console.print(f"note: {text}", soft_wrap=not console.is_terminal)


def wrote(console: Console, what: str, where: str | Path) -> None:
    """Print the path of an output."""
    console.print(f"{what}: {where}", soft_wrap=True)


def show_result(console: Console, result: Result, shown: Sequence[str] = ()) -> None:
    """Print the facts of a run, its scores with those to compare, and the coverage of intervals;
    notices that were `shown` before are not repeated."""
    from rich.text import Text

    from convtimenet.runs.result import comparison, coverage, facts, units

    notices = [notice for notice in result.notices if notice not in shown]
    for label, text in facts(replace(result, notices=notices)).items():
        line = Text.assemble((f"{label}:", "bold"), f" {text}")
        console.print(line, soft_wrap=not console.is_terminal)
    own = units(result)
    if own:
        _show_rows(console, f"{result.dataset}: scores on the test split, in the data's units", own)
    if result.scores and (result.published or not own):
        unit = ", in training standard deviations" if own else ""
        _show_rows(console, f"{result.dataset}: scores{unit}", comparison(result))
    if result.intervals:
        _show_rows(console, "intervals", coverage(result))


def _show_rows(console: Console, title: str, rows: list[dict[str, str]]) -> None:
    from rich.table import Table as Grid

    columns = list(dict.fromkeys(column for row in rows for column in row))
    grid = Grid(*columns, title=title)
    for row in rows:
        grid.add_row(*(row.get(column, "") for column in columns))
    console.print(grid)


def write_others(
    console: Console,
    flags: Any,
    model: ConvTimeNetEstimator,
    run: ForecastRun | LabelledRun | None,
    answers: dict[str, Any],
) -> None:
    """Write the JSON and the report and save the model if requested; the JSON holds `answers` if
    there was no scored run. If one cannot be written, the others are: the model, the largest, comes
    last, and is saved after an error of those before it too."""
    try:
        if flags.json:
            write_json(flags.json, answers if run is None else run.result.to_dict())
            wrote(console, "result", flags.json)
        if flags.report:
            if run is None:
                console.print("report: not written, because nothing was scored")
            else:
                wrote(console, "report", run.write_report(flags.report))
    finally:
        if flags.save:
            wrote(console, "model", model.save(flags.save))


def write_json(path: str, value: Any) -> None:
    """Write plain values as JSON, completely or not at all."""
    with whole_file(path) as file:
        file.write(json_text(value, indent=1))


def default_out(flags: Any, data: str, what: str) -> str:
    """The output file: --out, else one named after the data in the current folder.

    Raises
    ------
    ConfigError
        If its name does not end in .csv, which is what is written.
    """
    stem = Path(data).name.split(".")[0]
    out = flags.out or f"{stem}-{what}.csv"
    if not out.lower().endswith(".csv"):
        raise ConfigError(f"--out: expected a file name that ends in .csv, found {out!r}")
    return out


def check_inputs(*paths: str | None) -> None:
    """Check that input files exist, before the slow imports.

    Raises
    ------
    DataError
        If one does not exist or cannot be read.
    """
    for path in paths:
        if path is None or (is_several(path) and is_columnar(path)):
            continue  # of files at an address, reading them tells
        check_local(path)
        file = Path(path).expanduser()
        if not file.exists():
            near = get_close_matches(file.stem, _siblings(file), n=1, cutoff=0.7)
            there = file.with_name(f"{near[0]}{file.suffix}") if near else None
            hint = f"did you mean {there}?" if there else "check the path"
            raise DataError(f"{path}: there is no such file; {hint}")
        if not os.access(file, os.R_OK):
            raise DataError(f"{path}: no permission to read this file; change its permissions")


def _siblings(file: Path) -> list[str]:
    """Stems of the files in the same folder with the same ending, which may have been meant."""
    try:
        return [one.stem for one in file.parent.iterdir() if one.suffix == file.suffix]
    except OSError:
        return []


def check_model(folder: str | None) -> None:
    """Check that the folder of a saved model exists.

    Raises
    ------
    ArtefactError
        If it does not.
    """
    if folder is not None and not Path(folder).is_dir():
        raise ArtefactError(f"there is no model folder at {folder}; check the path")


def took(console: Console, begin: float) -> None:
    """Print the duration of a command that began at `begin` (``time.monotonic()``)."""
    console.print(f"done in {clock(time.monotonic() - begin)}")


def check_outputs(flags: Any, *inputs: str | None, out: str | None = None) -> list[str]:
    """Check before training that all results can be written.

    Returns
    -------
    Existing paths that will be replaced, for `note_replaced`.

    Raises
    ------
    ConfigError, ArtefactError, CheckpointError, MissingExtraError
        If one cannot be written.
    """
    for package in ("matplotlib", "plotly"):
        if flags.get("report") and find_spec(package) is None:
            raise MissingExtraError(package, "report", "the report")
    trained = [name for name in ("report", "save", "resume") if flags.get(name)]
    if flags.get("load") and trained:
        raise ConfigError(
            f"--{trained[0]} is about a training run and --load does none; leave one of them out"
        )
    if flags.get("save"):
        from convtimenet.storage.model_folder import check_target

        check_target(flags.save)
        check_writable("--save", flags.save)
    if flags.get("resume"):
        from convtimenet.training.checkpoint import check_folder

        check_folder(flags.resume)
        check_writable("--resume", Path(flags.resume) / "state")
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
            raise ConfigError(f"{name}: the folder {path.parent} does not exist; create it first")
        if path.is_dir():
            raise ConfigError(f"{name} must be a file, {path} is a folder; name a file")
        if path.exists() and not path.is_file():
            raise ConfigError(f"{name} must be a file, {path} is a device or a pipe; name a file")
        if path.resolve() in taken:
            raise ConfigError(
                f"{name} would overwrite {path}, another input or output of this command; name "
                "another file"
            )
        check_writable(name, path)
        taken.add(path.resolve())
    names = ("report", "json", "save", "resume")
    check_apart({"out": out, **{name: flags.get(name) for name in names}})
    targets = (out, *(flags.get(name) for name in ("report", "json", "save")))
    return [str(target) for target in targets if target is not None and Path(target).exists()]


def check_apart(targets: Mapping[str, str | None]) -> None:
    """Check that no output is, or lies in, the folder of another one, by the names of their flags.

    Raises
    ------
    ConfigError
        If one does.
    """
    given = [(name, target) for name, target in targets.items() if target is not None]
    for (name, target), (other, beside) in combinations(given, 2):
        one, two = Path(target).resolve(), Path(beside).resolve()
        if one.is_relative_to(two) or two.is_relative_to(one):
            raise ConfigError(
                f"--{name} and --{other} must be apart, neither in the folder of the other; found "
                f"{target} and {beside}; name another one"
            )


def note_replaced(console: Console, targets: Sequence[str]) -> None:
    """Print which existing files and folders the results will replace."""
    for target in targets:
        note(console, f"{target} exists and will be replaced")
