"""What people see while they wait: a bar on a terminal or in a notebook, lines in a log.

Work is announced with `showing` where its kind is known; loops far below count their steps with
`counted`, and nothing has to be passed down. Where nobody announced anything, nothing is shown.

Everything goes to standard error. A terminal has a bar that follows its width and leaves nothing
behind but lines that were meant to stay; a notebook has one cell output that changes; anything else
(a file, a pipe, a batch queue) gets a plain line at the start, every ten seconds, and at the end.
Work that is done within a second is not worth showing, unless it says otherwise.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

Item = TypeVar("Item")

LINE_EVERY = 10.0
"""Seconds from one line in a log to the next."""
AFTER = 1.0
"""Seconds after which work is worth showing."""
_NOTEBOOK_EVERY = 0.5
_BAR = (10, 40)  # narrowest and widest bar, in columns
_innermost: ContextVar[Task | None] = ContextVar("innermost", default=None)


class Task:
    """Some work: what it is called, how much of it is done, and what can be said about it."""

    def __init__(self, label: str, outer: Task | None, display: Display | None):
        self.label, self.outer, self.display = label, outer, display
        self.total, self.done, self.skipped = 0, 0.0, 0
        """Steps in all, 0 where that is unknown; those done, and of them those done before."""
        self.step: float | None = None
        """The part of a step that the running loop is; None where none runs."""
        self.at, self.note = "", ""
        """Where it is, beside the label ("epoch 3/10"), and what is known so far."""
        self.begin = time.monotonic()

    def expect(self, steps: int, done: int = 0) -> None:
        """So many steps more, some of which are done already."""
        self.total += steps
        self.done += done
        self.skipped += done

    def advance(self, steps: float = 1) -> None:
        """So many steps are done."""
        self.done += steps
        if self.display is not None:
            self.display.moved()

    def say(self, line: str) -> None:
        """A line that stays."""
        if self.display is not None:
            self.display.say(line)

    @property
    def name(self) -> str:
        """What is being done, the outer work first."""
        if self.outer is None:
            return self.own
        outer = self.outer
        place = f" {int(outer.done) + 1}/{outer.total}" if outer.total else ""
        return f"{outer.name}{place}, {self.own}"

    @property
    def own(self) -> str:
        """What is being done, the outer work left out."""
        return f"{self.label}, {self.at}" if self.at else self.label

    @property
    def share(self) -> float | None:
        """Part that is done, from 0 to 1; None where the whole is unknown."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at the pace so far; None where that is unknown."""
        now = self.done - self.skipped
        if not self.total or not now:
            return None
        return (time.monotonic() - self.begin) / now * (self.total - self.done)

    def times(self) -> str:
        """Percentage and time left, or the time it has taken."""
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
        """A bar as wide as there is room for, and a line of notes."""
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
    """What reading a source is called."""
    return f"reading {Path(source).name}" if isinstance(source, (str, Path)) else "reading"


@contextmanager
def showing(
    label: str, verbose: int, *, busy: bool = False, at_once: bool = False
) -> Iterator[Task]:
    """Show some work until the block ends.

    Parameters
    ----------
    verbose
        0 or False shows nothing.
    busy
        Its steps cannot be counted: only the time is shown.
    at_once
        Show it from the beginning, and not only after a second.
    """
    outer = _innermost.get()
    display = None
    if verbose >= 1:
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
    """The items, each counted as a step of the work that is being shown, if any is; in a loop
    within such a loop as its part of one."""
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
    """Where a display goes."""

    def open(self, display: Display) -> None: ...
    def moved(self, display: Display) -> None: ...
    def say(self, line: str) -> None: ...
    def close(self, display: Display, last: str) -> None: ...


class Display:
    """What is shown of the innermost work, on one screen, from `start` to `stop`."""

    def __init__(self, at_once: bool):
        self.task: Task | None = None
        self.delay = 0.0 if at_once else AFTER
        self.begin = time.monotonic()
        self.screen: Screen | None = None

    def start(self) -> None:
        """Have something to show from now on."""
        if self.screen is None and sys.stderr is not None:  # a program may have none
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
        """Whether the work has lasted long enough to be worth showing."""
        return time.monotonic() - self.begin >= self.delay


def make_console() -> Console:
    """Standard error as rich knows it."""
    from rich.console import Console

    return Console(stderr=True)


def _screen() -> Screen:
    console = make_console()
    if console.is_jupyter:
        return Notebook()
    if console.is_terminal and not console.is_dumb_terminal:
        return Terminal(console)
    return Log()


class Terminal:
    """A bar that is drawn over and over, and goes when the work is done."""

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
        """It is drawn by a thread of its own."""

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False)

    def close(self, display: Display, last: str) -> None:
        self.timer.cancel()
        if display.delay:
            self.timer.join()
        self.live.stop()


class Log:
    """A plain line now and then."""

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
        """Lines come by the clock."""

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
    """One output of a cell, changed as the work goes on; needs IPython, which notebooks have."""

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
