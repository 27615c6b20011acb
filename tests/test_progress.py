"""What people see while they wait: on terminals of any width, in logs, in notebooks."""

import io
import logging
import re
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, progress
from convtimenet.progress import Task, clock, counted, showing

TINY = {"model": {"d_model": 8, "d_ff": 16, "kernel_sizes": (3,)}, "device": "cpu"}
WIDTHS = [60, 80, 120]


def terminal(width: int) -> Console:
    return Console(width=width, force_terminal=True, file=io.StringIO(), _environ={})


def task(label: str, done: int = 45, total: int = 100, outer: Task | None = None) -> Task:
    found = Task(label, outer, None)
    found.expect(total)
    found.advance(done)
    found.begin = time.monotonic() - 90
    return found


def drawn(some: Task, width: int, **settings) -> list[str]:
    console = Console(width=width, force_terminal=True, file=io.StringIO(), **settings)
    console.print(some)
    file = console.file
    assert isinstance(file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).splitlines()


@pytest.mark.parametrize("width", [*WIDTHS, 40, 200])
@pytest.mark.parametrize("label", ["training", "training on all data", "backtest of many windows"])
def test_the_bar_follows_the_width(width, label):
    some = task(label)
    some.at = "epoch 12/100, validation"
    some.note = "train loss 0.1234, valid mse 0.2345, valid mae 0.3456, best epoch 11" * 2
    first, second = drawn(some, width, color_system="truecolor")
    assert len(first) <= width
    assert len(second) <= width
    assert 10 <= first.count("━") <= 40
    assert first.endswith("45%  1:50 left")
    plain, _ = drawn(some, width, color_system=None)
    assert first.index(" 45%") == plain.index(" 45%")
    assert plain.count("━") == round(0.45 * first.count("━"))
    assert width < 80 or "epoch 12/100" in first
    assert second.startswith("train loss 0.1234")


def test_on_a_screen_too_narrow_for_a_bar_the_time_is_left():
    some = task("training")
    assert drawn(some, 20) == [" 45%  1:50 left"]


def test_work_without_an_end_shows_its_time():
    some = Task("reading big.csv", None, None)
    some.begin = time.monotonic() - 63
    assert drawn(some, 60) == ["reading big.csv  1:03"]


def test_outer_work_stands_before_the_inner():
    outer = task("backtest", done=1, total=5)
    assert task("training", outer=outer).name == "backtest 2/5, training"


def test_time_left_comes_from_the_pace_since_the_start():
    some = Task("training", None, None)
    some.expect(100, done=50)  # a training that goes on
    assert some.left is None
    assert some.times() == " 50%  -:-- left"
    some.begin = time.monotonic() - 10
    some.advance(10)
    assert some.left == pytest.approx(40, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00"), (86399, "23:59:59")],
)
def test_clock(seconds, said):
    assert clock(seconds) == said


class TestCounting:
    def test_a_loop_within_a_loop_is_part_of_its_step(self, monkeypatch):
        monkeypatch.setattr(progress, "make_console", lambda: terminal(80))
        seen = []
        with showing("scoring", 1) as some:
            for _ in counted(range(2)):
                for _ in counted(range(4)):
                    seen.append(some.share)
            assert some.total == 2
            assert some.share == 1
        assert seen == [i / 8 for i in range(8)]

    def test_nothing_is_counted_where_nothing_is_shown(self):
        assert list(counted([1, 2])) == [1, 2]
        with showing("scoring", 0) as some:
            assert list(counted([1, 2])) == [1, 2]
            assert some.total == 0

    def test_a_loop_that_is_left_early(self, monkeypatch):
        monkeypatch.setattr(progress, "make_console", lambda: terminal(80))
        with showing("scoring", 1) as some:
            for item in counted(range(10)):
                if item == 4:
                    break
            assert (some.done, some.step) == (4, None)


def until(happened: Callable[[], bool]) -> None:
    """Wait for what another thread does, however busy the machine is."""
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def heard(capsys: pytest.CaptureFixture[str], lines: int = 1) -> str:
    """Wait for so many lines on standard error."""
    parts: list[str] = []

    def enough() -> bool:
        parts.append(capsys.readouterr().err)
        return "".join(parts).count("\n") >= lines

    until(enough)
    return "".join(parts)


class TestTerminal:
    @pytest.mark.parametrize("width", WIDTHS)
    def test_no_line_is_wrapped_and_the_bar_goes(self, width, monkeypatch):
        console = terminal(width)
        monkeypatch.setattr(progress, "make_console", lambda: console)
        with showing("training", 1, at_once=True) as some:
            some.expect(8)
            for _ in range(8):
                some.advance()
                some.note = "train loss 0.5, valid mse 0.4"
                time.sleep(0.08)
            some.say("training: done")
        assert isinstance(console.file, io.StringIO)
        shown = console.file.getvalue()
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
        assert max(map(len, lines)) <= width
        bars = [line for line in lines if "━" in line]
        assert any(line.endswith("left") for line in bars)
        assert "training: done" in lines
        assert shown.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # erased, cursor back

    def test_short_work_draws_nothing_and_long_work_does(self, monkeypatch):
        console = terminal(80)
        assert isinstance(console.file, io.StringIO)
        shown = console.file
        monkeypatch.setattr(progress, "make_console", lambda: console)
        with showing("scoring", 1):
            list(counted(range(10)))
        with showing("reading x.csv", 1, busy=True):
            pass
        assert console.file.getvalue() == ""
        monkeypatch.setattr(progress, "AFTER", 0.1)
        with showing("reading x.csv", 1, busy=True):
            until(lambda: "reading x.csv" in shown.getvalue())
        assert not any(isinstance(one, threading.Timer) for one in threading.enumerate())

    @pytest.mark.parametrize("width", WIDTHS)
    def test_lines_that_stay_are_wrapped_at_words(self, width, monkeypatch):
        console = terminal(width)
        monkeypatch.setattr(progress, "make_console", lambda: console)
        rng = np.random.default_rng(0)
        model = ConvTimeNetForecaster(h=2, n_epochs=2, **TINY)
        model.fit(rng.normal(size=(90, 1)))
        assert isinstance(console.file, io.StringIO)
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
        assert "MiB" in shown
        assert max(len(line) for line in re.split(r"[\r\n]+", shown)) <= width

    def test_a_dumb_terminal_is_a_log(self, monkeypatch, capsys):
        console = Console(force_terminal=True, _environ={"TERM": "dumb"}, file=io.StringIO())
        monkeypatch.setattr(progress, "make_console", lambda: console)
        with showing("training", 1, at_once=True) as some:
            some.say("training: begins")
        assert capsys.readouterr().err == "training: begins\n"


class TestLog:
    """Standard error is no terminal in a test."""

    def test_a_line_every_so_often(self, monkeypatch, capsys):
        monkeypatch.setattr(progress, "LINE_EVERY", 0.2)
        begin = time.monotonic()
        with showing("training", 1, at_once=True) as some:
            some.expect(100)
            some.at, some.note = "epoch 1/2", "train loss 0.5"
            some.advance()
            some.say("training: begins")
            for _ in range(50):
                some.advance()
                time.sleep(0.01)
            some.say("training: ends")
        seconds = time.monotonic() - begin
        first, *lines, last = capsys.readouterr().err.splitlines()
        assert (first, last) == ("training: begins", "training: ends")
        assert 1 <= len(lines) <= seconds / 0.2
        # on a busy machine the first may come early in the work
        pattern = r"training, epoch 1/2: \d+%  (\d:\d\d|-:--) left, train loss 0.5"
        assert all(re.fullmatch(pattern, line) for line in lines), lines

    def test_a_step_that_takes_long_does_not_keep_it_silent(self, monkeypatch, capsys):
        monkeypatch.setattr(progress, "LINE_EVERY", 0.1)
        with showing("training", 1, at_once=True) as some:
            some.expect(10)
            heard(capsys, 2)

    def test_short_work_is_not_spoken_of(self, capsys):
        with showing("scoring", 1):
            list(counted(range(10)))
        with showing("reading x.csv", 1, busy=True):
            pass
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("busy", [True, False])
    def test_long_work_is(self, busy, monkeypatch, capsys):
        monkeypatch.setattr(progress, "AFTER", 0.1)
        with showing("reading x.csv", 1, busy=busy):
            for _ in counted(range(3)):
                time.sleep(0.08)
            said = heard(capsys)
        first, last = (said + capsys.readouterr().err).splitlines()
        assert first.startswith("reading x.csv: ")
        assert last == "reading x.csv: done in 0:00"

    def test_what_fails_is_not_called_done(self, monkeypatch, capsys):
        monkeypatch.setattr(progress, "AFTER", 0.05)
        before = threading.active_count()
        with pytest.raises(KeyboardInterrupt), showing("scoring", 1, busy=True):  # noqa: PT012
            time.sleep(0.15)
            raise KeyboardInterrupt
        assert "done" not in capsys.readouterr().err
        assert threading.active_count() == before

    def test_a_program_without_standard_error(self, monkeypatch):
        monkeypatch.setattr(sys, "stderr", None)
        with showing("training", 1, at_once=True) as some:
            some.say("training: begins")

    def test_one_of_many_trainings_has_no_lines_of_its_own(self, monkeypatch, capsys):
        monkeypatch.setattr(progress, "AFTER", 3600.0)  # however busy the machine is
        y = np.sin(np.arange(120.0))
        model = ConvTimeNetForecaster(h=2, n_epochs=1, **TINY)
        model.cross_validation(y, n_windows=3, refit=True)
        assert capsys.readouterr().err == ""

    def test_threads_do_not_share_what_they_show(self, capsys):
        found = []
        with showing("outer", 1):
            thread = threading.Thread(target=lambda: found.append(list(counted([1, 2]))))
            thread.start()
            thread.join()
        assert found == [[1, 2]]


class Shown:
    """A notebook's output that changes."""

    def __init__(self):
        self.seen: list[dict[str, str]] = []

    def display(self, bundle, raw, display_id):
        assert raw
        assert display_id
        self.seen.append(bundle)
        return self

    def update(self, bundle, raw):
        self.seen.append(bundle)


@pytest.fixture
def notebook(monkeypatch) -> Shown:
    shown = Shown()
    module = types.ModuleType("IPython.display")
    monkeypatch.setattr(module, "display", shown.display, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(progress, "make_console", lambda: Console(force_jupyter=True))
    return shown


class TestNotebook:
    def test_a_bar_that_changes(self, notebook, monkeypatch, capsys):
        monkeypatch.setattr(progress, "_NOTEBOOK_EVERY", 0.0)
        model = ConvTimeNetForecaster(h=2, n_epochs=2, refit=False, **TINY)
        model.fit(np.sin(np.arange(90.0)))
        assert capsys.readouterr().err == ""
        pages = [one["text/html"] for one in notebook.seen]
        shares = [float(s) for page in pages for s in re.findall(r'value="([\d.]+)"', page)]
        assert shares == sorted(shares)
        assert shares[-1] == 1
        assert any("epoch 2/2" in page for page in pages)
        assert "<progress" not in pages[-1]
        assert "2 epochs in 0:0" in pages[-1]
        assert "2 epochs in 0:0" in notebook.seen[-1]["text/plain"]

    def test_not_more_often_than_eyes_can_follow(self, notebook):
        with showing("training", 1, at_once=True) as some:
            some.expect(1000)
            for _ in range(1000):
                some.advance()
        assert len(notebook.seen) < 10

    def test_names_are_no_markup(self, notebook, monkeypatch):
        with showing("reading <b>.csv", 1, at_once=True):
            pass
        assert "&lt;b&gt;" in notebook.seen[0]["text/html"]


class TestEstimators:
    """Long work of the estimators is counted; with verbose=0 nothing is shown."""

    @pytest.fixture
    def all_is_long(self, monkeypatch):
        monkeypatch.setattr(progress, "AFTER", 0.0)
        monkeypatch.setattr(progress.Log, "open", lambda self, display: None)
        monkeypatch.setattr(progress.Log, "close", lambda self, display, last: None)
        seen = []

        def moved(self, display):
            seen.append((display.task.label, display.task.share))

        monkeypatch.setattr(progress.Log, "moved", moved)
        return seen

    def labels(self, seen) -> set[str]:
        return {label for label, share in seen if share == pytest.approx(1)}

    def test_a_forecaster(self, all_is_long):
        y = np.sin(np.arange(120.0))[:, None] * np.ones(8)
        long = {f"s{i}": y[:, 0] + i for i in range(5)}
        model = ConvTimeNetForecaster(h=2, n_epochs=1, batch_size=4, refit=False, **TINY)
        model.fit(y)
        model.evaluate(y)
        assert {"training", "calibrating intervals", "scoring"} <= self.labels(all_is_long)
        import pandas as pd

        frame = pd.concat(
            pd.DataFrame({"unique_id": name, "ds": range(120), "y": one})
            for name, one in long.items()
        )
        model = ConvTimeNetForecaster(h=2, n_epochs=1, batch_size=4, refit=False, **TINY).fit(frame)
        all_is_long.clear()
        model.predict()
        assert self.labels(all_is_long) == {"forecasting"}
        model.set_params(batch_size=32).cross_validation(frame, n_windows=2)
        assert "backtest" in self.labels(all_is_long)
        all_is_long.clear()
        model.set_params(verbose=0)
        model.predict()
        model.evaluate(frame)
        model.fit(frame)
        assert all_is_long == []

    def test_a_classifier(self, all_is_long):
        X = np.random.default_rng(0).normal(size=(24, 1, 20))
        own = TINY | {"model": TINY["model"] | {"random_patches": 1}}
        model = ConvTimeNetClassifier(n_epochs=1, batch_size=4, **own)
        model.fit(X, np.arange(24) % 2)
        model.predict(X)
        model.explain(X, spans=2)
        assert {"training", "predicting", "explaining"} <= self.labels(all_is_long)

    def test_a_file_that_is_read(self, tmp_path: Path, monkeypatch, capsys):
        from convtimenet.estimators.forecasting import table_reader

        read = table_reader.read_table

        said = []

        def slowly(*arguments, **settings):
            if not said:
                said.append(heard(capsys))
            return read(*arguments, **settings)

        monkeypatch.setattr(table_reader, "read_table", slowly)
        monkeypatch.setattr(progress, "AFTER", 0.05)
        file = tmp_path / "big.csv"
        file.write_text("date,a\n" + "".join(f"2024-01-{i:02d},{i}\n" for i in range(1, 30)))
        ConvTimeNetForecaster(h=2).read(file)
        first, last = (said[0] + capsys.readouterr().err).splitlines()
        assert first.startswith("reading big.csv: 0:0")
        assert last.startswith("reading big.csv: done in 0:0")
        ConvTimeNetForecaster(h=2, verbose=0).read(file)
        assert capsys.readouterr().err == ""


def test_quiet_blocks_of_two_threads_overlap():
    logger = logging.getLogger("convtimenet")
    before = logger.level
    one, two = progress.quiet(), progress.quiet()
    logger.setLevel(logging.INFO)
    try:
        one.__enter__()
        two.__enter__()
        one.__exit__(None, None, None)
        assert logger.level == logging.ERROR
        two.__exit__(None, None, None)
        assert logger.level == logging.INFO
        logger.setLevel(logging.CRITICAL)
        with progress.quiet():
            assert logger.level == logging.CRITICAL
    finally:
        logger.setLevel(before)
