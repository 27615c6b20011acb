"""Progress display: a bar in a terminal or notebook, lines in a log.

`showing` starts a task; nested loops count their steps with `counted`, without having the task
passed to them. Outside `showing`, nothing is displayed.

All output goes to standard error. A terminal shows a bar that adapts to its width and disappears at
the end, except for lines meant to stay; a notebook updates one cell output; anything else (a file,
a pipe, a batch queue) gets a plain line at the start, every ten seconds, and at the end. Work that
takes less than a second is not shown, unless requested.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from convtimenet import processes
from convtimenet.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

Item = TypeVar("Item")

LINE_EVERY = 10.0
"""Seconds between lines in a log."""
AFTER = 1.0
"""Seconds after which a task is shown."""
_NOTEBOOK_EVERY = 0.5
_BAR = (10, 40)  # narrowest and widest bar, in columns
_innermost: ContextVar[Task | None] = ContextVar("innermost", default=None)


class Task:
    """A task: its label, how much of it is done, and a note."""

    def __init__(self, label: str, outer: Task | None, display: Display | None):
        self.label, self.outer, self.display = label, outer, display
        self.total, self.done, self.skipped = 0, 0.0, 0
        """Total number of steps (0 if unknown), steps done, and those of them done before."""
        self.step: float | None = None
        """Fraction of a step that each item of the current loop counts; None outside loops."""
        self.at, self.note = "", ""
        """Current position, shown after the label ("epoch 3/10"), and results so far."""
        self.begin = time.monotonic()

    def expect(self, steps: int, done: int = 0) -> None:
        """Add steps to the total, `done` of which are already done."""
        self.total += steps
        self.done += done
        self.skipped += done

    def advance(self, steps: float = 1) -> None:
        """Count steps as done."""
        self.done += steps
        if self.display is not None:
            self.display.moved()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self.display is not None:
            self.display.say(line)

    def say_alone(self, line: str) -> None:
        """Print a line that stays, unless the task is one of many within another."""
        if self.outer is None:
            self.say(line)

    @property
    def name(self) -> str:
        """Label of the task, after those of its outer tasks; one without a label is left out."""
        outer = self.outer
        while outer is not None and not outer.label:
            outer = outer.outer
        if outer is None:
            return self.own
        place = f" {int(outer.done) + 1}/{outer.total}" if outer.total else ""
        return f"{outer.name}{place}, {self.own}" if self.own else f"{outer.name}{place}"

    @property
    def own(self) -> str:
        """Label of the task, without its outer tasks."""
        return f"{self.label}, {self.at}" if self.at else self.label

    @property
    def share(self) -> float | None:
        """Fraction that is done, from 0 to 1; None if the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def left(self) -> float | None:
        """Estimated seconds left at the pace so far; None if unknown."""
        now = self.done - self.skipped
        if not self.total or not now:
            return None
        return (time.monotonic() - self.begin) / now * (self.total - self.done)

    def times(self) -> str:
        """Percentage and time left, or the elapsed time if the total is unknown."""
        if self.share is None:
            return clock(time.monotonic() - self.begin)
        left = "-:--" if self.left is None else clock(self.left)
        return f"{self.share:4.0%}  {left} left"

    def line(self) -> str:
        """Everything in one line, for a log."""
        return ", ".join(
            part for part in (f"{self.name}: {self.times().strip()}", self.note) if part
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A bar as wide as the available space, and a line with the note."""
        from rich.text import Text

        width, times = options.max_width, self.times()
        room = width - len(times) - _BAR[0] - 4
        name = next((one for one in (self.name, self.own, self.at) if len(one) <= room), "")
        line = Text(f"{name}  " if name else "", style="bold", no_wrap=True)
        bar = min(_BAR[1], width - len(line) - len(times) - 2)
        if self.share is not None and bar >= _BAR[0]:
            mark, done = "#" if options.ascii_only else "━", round(bar * self.share)
            rest = mark if console.color_system is not None else " "
            line.append(mark * done, "bar.complete")
            line.append(rest * (bar - done), "bar.back")
            line.append("  ")
        yield line.append(times, "not bold")
        if self.note:
            yield Text(self.note[:width], style="dim", no_wrap=True)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def reading(source: Any) -> str:
    """Task label for reading a source."""
    return f"reading {Path(source).name}" if isinstance(source, (str, Path)) else "reading"


def check_verbose(verbose: Any) -> None:
    """Check an estimator's parameter `verbose`.

    Raises
    ------
    ConfigError
        If it is no number.
    """
    try:
        int(verbose >= 1)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"verbose must be a whole number, 1 to show progress or 0 not to, found {verbose!r}"
        ) from error


@contextmanager
def showing(
    label: str, verbose: int, *, busy: bool = False, at_once: bool = False
) -> Iterator[Task]:
    """Show a task until the block ends.

    Parameters
    ----------
    verbose
        0 or False shows nothing, nor does any but the first of processes that train together.
    busy
        Steps cannot be counted, so only the elapsed time is shown.
    at_once
        Show the task immediately instead of after a second.

    Raises
    ------
    ConfigError
        As `check_verbose`.
    """
    check_verbose(verbose)
    outer = _innermost.get()
    display = None
    if verbose >= 1 and processes.leads():
        display = outer.display if outer is not None else None
        display = display or Display(at_once)
    shown = display is not None and outer is not None and outer.display is display
    task = Task(label, outer if shown else None, display)
    token = _innermost.set(task)
    before = None
    try:
        if display is not None:
            before = display.task
            display.task = task
            if busy or at_once:
                display.start()
        yield task
    except BaseException:
        if display is not None and not shown:
            display.stop("")
        raise
    else:
        if display is not None and not shown:
            display.stop(f"{task.name}: done in {clock(time.monotonic() - task.begin)}")
    finally:
        _innermost.reset(token)
        if display is not None:
            display.task = before


def counted(items: Sequence[Item]) -> Iterator[Item]:
    """Iterate over the items, counting each as a step of the current task, if any; in a nested
    loop, each counts as a fraction of the outer loop's step."""
    task = _innermost.get()
    if task is None or task.display is None or len(items) == 0:
        yield from items
        return
    if len(items) > 1:
        task.display.start()
    outer = task.step
    if outer is None:
        task.expect(len(items))
    each = outer / len(items) if outer else 1.0
    try:
        for item in items:
            task.step, before = each, task.done
            yield item
            task.advance(before + each - task.done)
    finally:
        task.step = outer


class Screen(Protocol):
    """Output of a display."""

    def open(self, display: Display) -> None: ...
    def moved(self, display: Display) -> None: ...
    def say(self, line: str) -> None: ...
    def close(self, display: Display, last: str) -> None: ...


class Display:
    """Shows the innermost task on one screen, from `start` to `stop`."""

    def __init__(self, at_once: bool):
        self.task: Task | None = None
        self.delay = 0.0 if at_once else AFTER
        self.begin = time.monotonic()
        self.screen: Screen | None = None

    def start(self) -> None:
        """Open the screen, if it is not open yet."""
        if self.screen is None and sys.stderr is not None:  # e.g. pythonw has no stderr
            self.screen = _screen()
            self.screen.open(self)

    def moved(self) -> None:
        if self.screen is not None:
            self.screen.moved(self)

    def say(self, line: str) -> None:
        self.start()
        if self.screen is not None:
            self.screen.say(line)

    def stop(self, last: str) -> None:
        if self.screen is not None:
            self.screen.close(self, last)
            self.screen = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.task is not None:
            yield self.task

    @property
    def due(self) -> bool:
        """Whether the task has run long enough to be shown."""
        return time.monotonic() - self.begin >= self.delay


_chosen: ContextVar[Callable[[], Screen] | None] = ContextVar("chosen", default=None)


@contextmanager
def shown_on(make: Callable[[], Screen]) -> Iterator[None]:
    """Display tasks of the block on the screen that `make` returns, whatever standard error is."""
    token = _chosen.set(make)
    try:
        yield
    finally:
        _chosen.reset(token)


def make_console() -> Console:
    """A rich console on standard error that prints text as it is, without markup."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def _screen() -> Screen:
    chosen = _chosen.get()
    if chosen is not None:
        return chosen()
    console = make_console()
    if console.is_jupyter:
        return Notebook()
    if console.is_terminal and not console.is_dumb_terminal:
        return Terminal(console)
    return Log()


class Terminal:
    """A live bar that is removed when the work is done."""

    def __init__(self, console: Console):
        self.console = console

    def open(self, display: Display) -> None:
        from rich.live import Live

        self.live = Live(display, console=self.console, refresh_per_second=4, transient=True)
        self.timer = threading.Timer(display.delay, self.live.start)
        self.timer.daemon = True
        if display.delay:
            self.timer.start()
        else:
            self.live.start()

    def moved(self, display: Display) -> None:
        """Nothing to do: a separate thread redraws the bar."""

    def say(self, line: str) -> None:
        self.console.print(line)

    def close(self, display: Display, last: str) -> None:
        self.timer.cancel()
        if display.delay:
            self.timer.join()
        self.live.stop()


class Log:
    """A plain line every few seconds."""

    def __init__(self) -> None:
        self.over, self.written = threading.Event(), 0

    def open(self, display: Display) -> None:
        self.thread = threading.Thread(target=self._tell, args=(display,), daemon=True)
        self.thread.start()

    def _tell(self, display: Display) -> None:
        wait = display.delay or LINE_EVERY
        while not self.over.wait(wait):
            wait = LINE_EVERY
            if display.task is not None:
                self.say(display.task.line())

    def moved(self, display: Display) -> None:
        """Nothing to do: a timer prints the lines."""

    def say(self, line: str) -> None:
        self.written += 1
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def close(self, display: Display, last: str) -> None:
        self.over.set()
        self.thread.join()
        if last and self.written and display.delay:
            self.say(last)


class Notebook:
    """One cell output, updated as the work proceeds; needs IPython, which notebooks have."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.drawn = 0.0
        self.lines: list[str] = []

    def open(self, display: Display) -> None:
        if not display.delay:
            self._draw(display.task)

    def moved(self, display: Display) -> None:
        if display.due and time.monotonic() - self.drawn >= _NOTEBOOK_EVERY:
            self._draw(display.task)

    def _draw(self, task: Task | None, last: str = "") -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        self.drawn = time.monotonic()
        plain = list(self.lines) + ([last] if last else []) + ([task.line()] if task else [])
        rows = [escape(line) for line in self.lines]
        if task is not None:
            bar = "" if task.share is None else f' value="{task.share:.4f}"'
            said = f"{escape(task.name)} <progress{bar}></progress> {escape(task.times())}"
            rows += [said, escape(task.note)] if task.note else [said]
        elif last:
            rows.append(escape(last))
        shown = {"text/plain": "\n".join(plain), "text/html": "<br>".join(rows)}
        if self.handle is None:
            self.handle = display(shown, raw=True, display_id=True)
        else:
            self.handle.update(shown, raw=True)

    def say(self, line: str) -> None:
        self.lines.append(line)
        self._draw(None)

    def close(self, display: Display, last: str) -> None:
        if self.handle is not None:
            self._draw(None, last if display.delay else "")


class _Quiet:
    """Blocks of `quiet` in progress, and the level of the log before the first of them."""

    lock = threading.Lock()
    blocks = 0
    level = logging.NOTSET


@contextmanager
def quiet() -> Iterator[None]:
    """Log only errors of this package until the block ends; several threads may have one each."""
    logger = logging.getLogger("convtimenet")
    with _Quiet.lock:
        _Quiet.level = _Quiet.level if _Quiet.blocks else logger.level
        logger.setLevel(max(logger.level, logging.ERROR))
        _Quiet.blocks += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.blocks -= 1
            logger.setLevel(logger.level if _Quiet.blocks else _Quiet.level)


def is_quiet() -> bool:
    """Whether a block of `quiet` is in progress: nobody is told of anything but errors."""
    return bool(_Quiet.blocks)
