"""Every public way in, called with generated input: a right result or one of our own errors."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import inputs
import numpy as np
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, base, cli, runtime
from convtimenet.cases import as_cases, filled, read_cases
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.errors import ConfigError, ConvTimeNetError
from convtimenet.manifest import seal
from convtimenet.tables import Table, read_table

# torch makes its cache when an optimiser is first used; not in the folder that must stay empty
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(tempfile.gettempdir(), "inductor"))

SECONDS = 120
"""After so long an example counts as hanging."""
KEPT = Path(__file__).parents[1] / "artefacts" / "2"
TINY = {"d_model": 8, "d_ff": 8, "kernel_sizes": (3,)}
FIXED: dict[str, Any] = {"model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0}


def outcome(call: Callable[[], Any]) -> str:
    """ "result", or the name of the documented error; anything else is raised."""
    try:
        call()
    except (ConvTimeNetError, NotFittedError) as error:
        assert str(error).strip()  # noqa: PT017 - says something
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


def with_file(name: str, data: bytes, call: Callable[[Path], Any]) -> str:
    """Write a file, call with its path, and see that it is left as it was and alone."""
    with workplace() as folder:
        path = folder / name
        path.write_bytes(data)
        found = outcome(lambda: call(path))
        assert content(folder) == {str(path): data}
    return found


# readers ------------------------------------------------------------------------------------


def check_table(table: Table) -> None:
    T, C = len(table.times), len(table.channels)
    assert T >= 2
    assert table.values.shape == (T, C)
    assert table.values.dtype == np.float64
    assert np.isfinite(table.values).all()
    assert (table.times[1:] > table.times[:-1]).all()
    table.frequency.check(table.times, table.time_zone)


def read_csv(example: tuple[tuple[str, bytes], dict[str, Any]]) -> str:
    (name, data), options = example
    return with_file(name, data, lambda path: check_table(read_table(path, **options)))


def read_frame(example: tuple[Any, dict[str, Any]]) -> str:
    frame, options = example
    before = repr(frame), frame.shape
    with workplace():
        found = outcome(lambda: check_table(read_table(frame, **options)))
    assert (repr(frame), frame.shape) == before
    return found


def read_array(example: tuple[Any, dict[str, Any]]) -> str:
    array, options = example
    before = np.array(array, copy=True) if isinstance(array, np.ndarray) else None
    with workplace():
        found = outcome(lambda: check_table(read_table(array, **options)))
    if before is not None:
        assert before.tobytes() == array.tobytes()
    return found


def check_cases(cases: Any) -> None:
    n, _, L = cases.values.shape
    assert cases.values.dtype == np.float32
    assert cases.lengths.max() == L
    within = np.arange(L) < cases.lengths[:, None, None]
    whole = filled(cases).values
    assert np.isfinite(whole[np.broadcast_to(within, whole.shape)]).all()
    assert np.isnan(whole[~np.broadcast_to(within, whole.shape)]).all()
    assert cases.labels is None or len(cases.labels) == n


def make_cases(example: tuple[Any, Any]) -> str:
    X, y = example
    before = repr(X)
    with workplace():
        found = outcome(lambda: check_cases(as_cases(X, y)))
    assert repr(X) == before
    return found


def read_case_file(example: tuple[str, bytes]) -> str:
    return with_file(*example, lambda path: check_cases(read_cases(path)))


# settings -----------------------------------------------------------------------------------


def config(kind: type[ModelConfig] | type[TrainConfig]) -> Callable[[Any], str]:
    def check(values: Any) -> str:
        def build() -> None:
            found = kind.from_dict(values)
            assert kind.from_dict(json.loads(json.dumps(found.to_dict()))) == found
            for name, value in values.items():
                assert asdict(found)[name] == (tuple(value) if isinstance(value, list) else value)

        return outcome(build)

    return check


def command_line(data: bytes) -> str:
    """The --config file of a command that stops where training would begin."""
    table = b"time,a\n" + b"".join(b"%d,%d\n" % (i, i % 7) for i in range(80))
    errors = io.StringIO()

    def reached(*_: Any, **__: Any) -> None:
        raise ConfigError("the flags were accepted")

    with workplace() as folder:
        (folder / "table.csv").write_bytes(table)
        (folder / "flags.yaml").write_bytes(data)
        before, train = content(folder), base.train
        try:
            base.train = reached  # type: ignore[assignment]
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
                code = cli.main(["forecast", "table.csv", "--config=flags.yaml"])
        finally:
            base.train = train
        assert content(folder) == before
    assert code == 2
    assert errors.getvalue().startswith("convtimenet: ")
    assert "Traceback" not in errors.getvalue()
    return "accepted" if "accepted" in errors.getvalue() else "refused"


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


@st.composite
def forecasts(draw: st.DrawFn) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    settings: dict[str, Any] = {
        "h": draw(st.integers(1, 4) | st.sampled_from([0, -1, 1.5, True, None, "3"])),
        "input_size": draw(st.none() | st.integers(1, 16) | st.sampled_from([0, 10**9, "8"])),
        "scale": draw(st.booleans()),
        "batch_size": draw(st.sampled_from([None, None, 1, 8, 0])),
        "lr": draw(st.sampled_from([None, None, None, 1e3, -1.0, float("nan")])),
        "precision": draw(st.sampled_from(["fp32"] * 5 + ["bf16", "fp8"])),
        "random_state": draw(st.sampled_from([0, 2023, -1, 2**40, None])),
    }
    usual = draw(st.booleans())
    if usual:
        settings |= {"h": 2, "batch_size": None, "lr": None, "random_state": 1}
    channels = draw(st.integers(1, 2))
    fitted = draw(inputs.table_arrays(draw(st.integers(2, 40)), channels))
    other = draw(inputs.table_arrays(draw(st.integers(1, 40)), draw(st.integers(1, 2))))
    return settings, fitted, other


def forecaster(example: tuple[dict[str, Any], np.ndarray, np.ndarray]) -> str:
    settings, fitted, other = example
    before = fitted.tobytes(), other.tobytes()
    model = ConvTimeNetForecaster(**(FIXED | settings))
    given = dict(model.get_params())

    def fit_and_use() -> None:
        assert outcome(model.predict) == "NotFittedError"
        model.fit(fitted)
        answer = model.predict()
        assert answer.shape == (settings["h"], fitted.shape[1])
        assert np.isfinite(answer).all()
        if (fitted == fitted[0]).all():  # a constant goes on, within float32
            np.testing.assert_allclose(answer, fitted[: settings["h"]], rtol=0.1, atol=1.0)
        again = model.predict(other)
        # the fitted channels where each has its scaling, any number of them elsewhere
        channels = fitted.shape[1] if model.scale else other.shape[1]
        assert again.shape == (settings["h"], channels)
        assert np.isfinite(again).all()
        scores = model.evaluate(other)
        assert all(score >= 0 for score in scores.scores.values())

    with workplace():
        found = outcome(fit_and_use)
    assert (fitted.tobytes(), other.tobytes()) == before
    assert repr(model.get_params()) == repr(given)
    return found


@st.composite
def classifications(draw: st.DrawFn) -> tuple[dict[str, Any], Any, Any, Any]:
    settings: dict[str, Any] = {
        "batch_size": draw(st.sampled_from([None, None, 1, 4, 0])),
        "lr": draw(st.sampled_from([None, None, None, 1e3, 0.0])),
        "training": draw(
            st.sampled_from([None, None, {"refit": True}, {"validation_fraction": 0}])
        ),
    }
    X = draw(inputs.cases_inputs(usual=draw(st.integers(0, 3)) > 0))
    n = len(X) if isinstance(X, list) or getattr(X, "ndim", 0) else 2
    return settings, X, draw(inputs.labels(n)), draw(inputs.cases_inputs(usual=True))


def classifier(example: tuple[dict[str, Any], Any, Any, Any]) -> str:
    settings, X, y, other = example
    before = repr((X, y, other))
    model = ConvTimeNetClassifier(**(FIXED | settings))

    def fit_and_use() -> None:
        assert outcome(lambda: model.predict(other)) == "NotFittedError"
        model.fit(X, y)
        for cases in (X, other):
            probabilities = model.predict_proba(cases)
            assert probabilities.shape == (len(cases), len(model.classes_))
            assert np.isfinite(probabilities).all()
            np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
            assert set(model.predict(cases).tolist()) <= set(np.asarray(y).tolist())

    with workplace():
        found = outcome(fit_and_use)
    assert repr((X, y, other)) == before
    return found


ANY_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "time_col": inputs.NAMES,
        "target_cols": st.lists(inputs.NAMES, max_size=2) | inputs.NAMES,
        "frequency": inputs.STEPS,
    },
)
OPTIONS = st.integers(0, 4).flatmap(lambda n: ANY_OPTIONS if n == 0 else st.just({}))


class Target(NamedTuple):
    """A way in."""

    examples: st.SearchStrategy[Any]
    check: Callable[[Any], str]
    share: int
    """Of 1000 inputs, how many go here."""


TARGETS = {
    "read_table, CSV": Target(st.tuples(inputs.csv_files(), OPTIONS), read_csv, 220),
    "read_table, frames": Target(st.tuples(inputs.frames(), OPTIONS), read_frame, 140),
    "read_table, arrays": Target(st.tuples(inputs.arrays() | inputs.JSON, OPTIONS), read_array, 60),
    "as_cases": Target(
        st.tuples(inputs.cases_inputs(), st.none() | st.integers(0, 8).flatmap(inputs.labels)),
        make_cases,
        110,
    ),
    "read_cases, .ts": Target(inputs.ts_files(), read_case_file, 120),
    "read_cases, .npz": Target(inputs.npz_files(), read_case_file, 60),
    "ModelConfig.from_dict": Target(inputs.settings(ModelConfig), config(ModelConfig), 60),
    "TrainConfig.from_dict": Target(inputs.settings(TrainConfig), config(TrainConfig), 40),
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
    "forecaster, fit predict evaluate": Target(forecasts(), forecaster, 25),
    "classifier, fit predict_proba predict": Target(classifications(), classifier, 25),
}
