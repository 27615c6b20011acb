"""Every public way in, called with generated input: a right result or one of our own errors."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import inputs
import numpy as np
import pandas as pd
from hypothesis import strategies as st
from inputs import Forecasts, Given, Labelled
from sklearn.exceptions import NotFittedError

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor, runtime
from convtimenet.cli.main import main
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.labelled.cases import Cases, as_cases, read_cases
from convtimenet.data.labelled.gaps import filled
from convtimenet.data.tables import Table, read_table
from convtimenet.errors import ConfigError, ConvTimeNetError
from convtimenet.estimators import base
from convtimenet.storage.manifest import seal

# torch makes its cache when an optimiser is first used; not in the folder that must stay empty
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(tempfile.gettempdir(), "inductor"))

SECONDS = 120
"""After so long an example counts as hanging."""
KEPT = Path(__file__).parents[1] / "artefacts" / "2"
TINY = {"d_model": 8, "d_ff": 8, "kernel_sizes": (3,)}
FIXED: dict[str, Any] = {"model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0}


def outcome(call: Callable[[], Any], faults: Collection[str] = ("any",)) -> str:
    """ "result", or the name of the documented error; anything else is raised.

    What is without faults must go through.
    """
    try:
        call()
    except (ConvTimeNetError, NotFittedError) as error:
        assert str(error).strip()  # noqa: PT017 - says something
        if not faults:
            raise
        return type(error).__name__
    return "result"


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """An empty folder to work in: warnings are errors, time is bounded, nothing may be left over.

    Yields the folder for the inputs; whatever else appears, there or among temporary files, and
    any change of an input, fails.
    """

    def hanging(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer after {SECONDS} s")

    before, usual = Path.cwd(), tempfile.tempdir
    earlier = signal.signal(signal.SIGALRM, hanging)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        folder, temporary = Path(place) / "inputs", Path(place) / "temporary"
        folder.mkdir()
        temporary.mkdir()
        warnings.simplefilter("error")
        signal.alarm(SECONDS)
        os.chdir(folder)
        tempfile.tempdir = str(temporary)
        try:
            yield folder
            left = [str(path) for path in temporary.rglob("*")]
            assert not left, left
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, earlier)
            tempfile.tempdir = usual
            os.chdir(before)


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def with_file(name: str, data: bytes, call: Callable[[Path], Any], faults: Collection[str]) -> str:
    """Write a file, call with its path, and see that it is left as it was and alone."""
    with workplace() as folder:
        path = folder / name
        path.write_bytes(data)
        found = outcome(lambda: call(path), faults)
        assert content(folder) == {str(path): data}
    return found


# readers ------------------------------------------------------------------------------------


def check_table(table: Table, given: Given) -> None:
    T, C = len(table.times), len(table.channels)
    assert T >= 2
    assert table.values.shape == (T, C)
    assert table.values.dtype == np.float64
    assert not np.isinf(table.values).any()
    assert (table.times[1:] > table.times[:-1]).all()
    table.frequency.check(table.times, table.time_zone)
    if not given.faults:
        expected = np.where(np.isfinite(given.expected), given.expected, np.nan)
        np.testing.assert_array_equal(table.values, expected)


def read_csv(given: Given) -> str:
    name, data, how = given.value
    call = lambda path: check_table(read_table(path, **how), given)  # noqa: E731
    return with_file(name, data, call, given.faults)


def read_frame(given: Given) -> str:
    frame, how = given.value
    before = repr(frame), frame.shape
    with workplace():
        found = outcome(lambda: check_table(read_table(frame, **how), given), given.faults)
    assert (repr(frame), frame.shape) == before
    return found


def read_array(given: Given) -> str:
    array, how = given.value
    before = np.array(array, copy=True) if isinstance(array, np.ndarray) else None
    with workplace():
        found = outcome(lambda: check_table(read_table(array, **how), given), given.faults)
    if before is not None:
        assert before.tobytes() == array.tobytes()
    return found


def check_cases(cases: Cases, given: Given) -> None:
    n, _, L = cases.values.shape
    assert cases.values.dtype in (np.float32, np.float64)
    assert cases.lengths.max() == L
    within = np.arange(L) < cases.lengths[:, None, None]
    whole = filled(cases).values
    assert np.isfinite(whole[np.broadcast_to(within, whole.shape)]).all()
    assert np.isnan(whole[~np.broadcast_to(within, whole.shape)]).all()
    assert cases.labels is None or len(cases.labels) == n
    if not given.faults:
        for found, case in zip(cases.values, given.expected, strict=True):
            length = min(case.shape[1], L)  # NaN up to the end is no part of a case
            np.testing.assert_array_equal(found[:, :length], case[:, :length])
            assert not np.isfinite(found[:, length:]).any()


def make_cases(given: Given) -> str:
    X, y = given.value
    before = repr(X)
    usual = given._replace(expected=None if given.faults else [np.asarray(case) for case in X])
    with workplace():
        found = outcome(lambda: check_cases(as_cases(X, y), usual), given.faults)
    assert repr(X) == before
    return found


def read_case_file(given: Given) -> str:
    name, data = given.value
    return with_file(name, data, lambda path: check_cases(read_cases(path), given), given.faults)


# settings -----------------------------------------------------------------------------------


def config(kind: type[ModelConfig] | type[TrainConfig]) -> Callable[[Given], str]:
    def check(given: Given) -> str:
        values = given.value

        def build() -> None:
            found = kind.from_dict(values)
            assert kind.from_dict(json.loads(json.dumps(found.to_dict()))) == found
            for name, value in values.items():
                assert asdict(found)[name] == (tuple(value) if isinstance(value, list) else value)

        return outcome(build, given.faults)

    return check


def command_line(given: Given) -> str:
    """The --config file of a command that stops where training would begin."""
    table = b"time,a\n" + b"".join(b"%d,%d\n" % (i, i % 7) for i in range(80))
    errors = io.StringIO()

    def reached(*_: Any, **__: Any) -> None:
        raise ConfigError("the flags were accepted")

    with workplace() as folder:
        (folder / "table.csv").write_bytes(table)
        (folder / "flags.yaml").write_bytes(given.value)
        before, train = content(folder), base.train
        try:
            base.train = reached  # type: ignore[assignment]
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
                code = main(["forecast", "table.csv", "--config=flags.yaml"])
        finally:
            base.train = train
        assert content(folder) == before
    assert code == 2
    assert errors.getvalue().startswith("convtimenet: ")
    assert "Traceback" not in errors.getvalue()
    accepted = "accepted" in errors.getvalue()
    assert accepted or given.faults, errors.getvalue()
    return "accepted" if accepted else "refused"


# saved models -------------------------------------------------------------------------------


@cache
def files_of(kind: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (KEPT / kind).iterdir()}


class Changed(NamedTuple):
    kind: str
    name: str
    content: bytes


@st.composite
def changed_folders(draw: st.DrawFn, kinds: tuple[str, ...]) -> Changed:
    """A model folder with one file changed."""
    kind = draw(st.sampled_from(kinds))
    files = files_of(kind)
    name = draw(st.sampled_from(sorted(files)))
    if name == "model.json" and draw(st.booleans()):
        return Changed(kind, name, draw(inputs.changed_json(files[name])))
    return Changed(kind, name, draw(inputs.damage(files[name]) | st.binary(max_size=30)))


def use(kind: str, folder: Path) -> None:
    """Load and ask for an answer."""
    if kind == "classifier":
        classifier = ConvTimeNetClassifier.load(folder, device="cpu")
        answers = classifier.predict(np.zeros((3, classifier.n_channels_, 10)))
        assert set(answers.tolist()) <= set(classifier.classes_.tolist())
    elif kind == "forecaster":
        forecaster = ConvTimeNetForecaster.load(folder, device="cpu")
        shape = forecaster.network_.config.outputs, len(forecaster.channels_)
        assert forecaster.forecast(np.ones((400, shape[1]))).shape == shape
        assert len(forecaster.predict()) == shape[0]
    else:
        model = runtime.load(folder, threads=1)
        assert isinstance(model, runtime.ForecastRuntime)
        assert model.forecast(np.ones((400, 2))).shape[1] == 2


def load(sealed: bool) -> Callable[[Changed], str]:
    """Load a changed folder, with the old manifest or with one that fits the change."""

    def check(changed: Changed) -> str:
        files = files_of(changed.kind)
        same = files[changed.name] == changed.content
        with workplace() as folder:
            for name, data in (files | {changed.name: changed.content}).items():
                (folder / name).write_bytes(data)
            if sealed:
                seal(folder)
            before = content(folder)
            found = outcome(lambda: use(changed.kind, folder))
            assert content(folder) == before
        if not sealed:
            assert found == ("result" if same else "ArtefactError")
        return found

    return check


# estimators ---------------------------------------------------------------------------------


def forecast_table(example: Forecasts, values: np.ndarray, begin: int = 0) -> Any:
    """Rows as the table that the example asks for."""
    if example.form == "array":
        return values
    stamps = pd.date_range("2024-01-01", periods=begin + len(values), freq=example.step)[begin:]
    if "stamps" in example.faults:
        stamps = stamps[:-1].union([stamps[-1] + pd.Timedelta("1h")])
    frame = pd.DataFrame(values, columns=[f"c{i}" for i in range(values.shape[1])])
    frame.insert(0, "ds", stamps)
    if example.form == "frame":
        return frame
    two = [frame.assign(unique_id=name) for name in ("s", "r")]
    return pd.concat([two[0], two[1].iloc[len(values) // 3 :]])


def check_forecast(example: Forecasts, table: Any, answer: Any) -> None:
    """Shape, finite numbers, and the stamps that follow the table's."""
    h, scaled = example.settings["h"], example.settings["scale"]
    if example.form == "array":
        fitted = example.fitted.shape[1] if scaled else table.shape[1]  # others are refused
        assert answer.shape == (h, table.shape[1]) == (h, fitted)
        assert np.isfinite(answer).all()
        return
    channels = [name for name in table if name not in ("ds", "unique_id")]
    if scaled:  # further columns have other names, and are not read
        channels = channels[: example.fitted.shape[1]]
    series = ["s", "r"] if example.form == "long" else [None]
    assert len(answer) == h * len(series)
    found = answer.drop(columns=["ds", "unique_id"], errors="ignore").to_numpy()
    assert found.shape[1] == len(channels)
    assert np.isfinite(found).all()
    for name in series:
        mine = answer if name is None else answer[answer["unique_id"] == name]
        if "stamps" not in example.faults:
            last = table["ds"].max()
            expected = pd.date_range(last, periods=h + 1, freq=example.step)[1:]
            assert list(mine["ds"]) == list(expected)


def same(one: Any, other: Any) -> bool:
    """Whether two answers are the same, to the bit."""
    if isinstance(one, pd.DataFrame):
        return one.equals(other)
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def forecaster(example: Forecasts) -> str:
    settings, fitted, other = example.settings, example.fitted, example.other
    before = fitted.tobytes(), other.tobytes()
    table, next_table = forecast_table(example, fitted), forecast_table(example, other, 7)
    model = ConvTimeNetForecaster(**(FIXED | settings))
    given = dict(model.get_params())

    def fit_and_use(folder: Path) -> None:
        assert outcome(model.predict) == "NotFittedError"
        model.fit(table)
        answer = model.predict()
        check_forecast(example, table, answer)
        if example.form == "array" and (fitted == fitted[0]).all():
            # a constant goes on, within float32
            np.testing.assert_allclose(answer, fitted[: settings["h"]], rtol=0.1, atol=1.0)
        again = model.predict(next_table)
        check_forecast(example, next_table, again)
        assert same(model.predict(next_table), again)
        assert same(model.predict(), answer)
        if example.saved:
            loaded = ConvTimeNetForecaster.load(model.save(folder / "model"), device="cpu")
            assert same(loaded.predict(), answer)
            assert same(loaded.predict(next_table), again)
        scores = model.evaluate(next_table)
        assert all(score >= 0 for score in scores.scores.values())

    with workplace() as folder:
        found = outcome(lambda: fit_and_use(folder), example.faults)
    assert (fitted.tobytes(), other.tobytes()) == before
    assert repr(model.get_params()) == repr(given)
    return found


def classifier(example: Labelled) -> str:
    def check(model: ConvTimeNetClassifier, cases: Any) -> np.ndarray:
        probabilities = model.predict_proba(cases)
        assert probabilities.shape == (len(cases), len(model.classes_))
        assert np.isfinite(probabilities).all()
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
        answers = model.predict(cases)
        assert set(answers.tolist()) <= set(np.asarray(example.y).tolist())
        np.testing.assert_array_equal(answers, model.classes_[probabilities.argmax(1)])
        return probabilities

    return fitted_to_cases(ConvTimeNetClassifier, example, check)


def regressor(example: Labelled) -> str:
    def check(model: ConvTimeNetRegressor, cases: Any) -> np.ndarray:
        answers = model.predict(cases)
        assert answers.shape == (len(cases),)
        assert np.isfinite(answers).all()
        return answers

    return fitted_to_cases(ConvTimeNetRegressor, example, check)


def fitted_to_cases(
    kind: type[ConvTimeNetClassifier] | type[ConvTimeNetRegressor],
    example: Labelled,
    answers: Callable[[Any, Any], np.ndarray],
) -> str:
    """Fit to cases, and check the answers for these and others; the same after a second time."""
    before = repr((example.X, example.y, example.other))
    model = kind(**(FIXED | example.settings))

    def fit_and_use(folder: Path) -> None:
        assert outcome(lambda: model.predict(example.other)) == "NotFittedError"
        model.fit(example.X, example.y)
        for cases in (example.X, example.other):
            found = answers(model, cases)
            assert same(answers(model, cases), found)
            if example.saved:
                loaded = kind.load(model.save(folder / "model"), device="cpu")
                assert same(answers(loaded, cases), found)

    with workplace() as folder:
        found = outcome(lambda: fit_and_use(folder), example.faults)
    assert repr((example.X, example.y, example.other)) == before
    return found


class Target(NamedTuple):
    """A way in."""

    examples: st.SearchStrategy[Any]
    check: Callable[[Any], str]
    share: int
    """Of 1000 inputs, how many go here."""


TARGETS = {
    "read_table, CSV": Target(inputs.csv_files(), read_csv, 180),
    "read_table, frames": Target(inputs.frames(), read_frame, 140),
    "read_table, arrays": Target(inputs.array_tables(), read_array, 60),
    "as_cases": Target(inputs.cases_inputs(), make_cases, 100),
    "read_cases, .ts": Target(inputs.ts_files(), read_case_file, 110),
    "read_cases, .npz": Target(inputs.npz_files(), read_case_file, 60),
    "ModelConfig.from_dict": Target(inputs.configs(ModelConfig), config(ModelConfig), 60),
    "TrainConfig.from_dict": Target(inputs.configs(TrainConfig), config(TrainConfig), 40),
    "load, files changed": Target(
        changed_folders(("forecaster", "classifier", "export")), load(sealed=False), 40
    ),
    "load, files changed and sealed": Target(
        changed_folders(("forecaster", "classifier")), load(sealed=True), 60
    ),
    "runtime.load, files changed and sealed": Target(
        changed_folders(("export",)), load(sealed=True), 20
    ),
    "command line, --config": Target(inputs.config_files(), command_line, 20),
    "forecaster, fit predict evaluate": Target(inputs.forecasts(), forecaster, 50),
    "classifier, fit predict_proba predict": Target(inputs.labelled(), classifier, 40),
    "regressor, fit predict": Target(inputs.labelled(numbers=True), regressor, 20),
}
