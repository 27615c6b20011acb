"""Data to try the page with, generated: the same numbers every time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

_START = date(2023, 1, 2)
_DAYS, _AHEAD = 730, 60
_WEEK = (0, -4, -6, -2, 8, 20, 12)


@dataclass(frozen=True)
class Sample:
    """A file to train on, and one for the next step."""

    file: str
    content: Callable[[], str]
    known: tuple[str, ...] = ()
    """Columns known ahead; `more` then has their values."""
    targets: tuple[str, ...] = ()
    more: Callable[[], str] | None = None
    """The rows ahead, or new recordings."""


def _sales(days: range) -> Iterator[tuple[str, int, int]]:
    noise, plans, left = random.Random(11), random.Random(17), 0
    for day in range(days.stop):
        left = 3 if left == 0 and plans.random() < 0.06 else max(0, left - 1)
        promotion = int(left > 0)
        level = 120 + 15 * math.sin(2 * math.pi * day / 365) + 0.03 * day + _WEEK[day % 7]
        units = round(level + 45 * promotion + noise.gauss(0, 4))
        if day in days:
            yield (_START + timedelta(day)).isoformat(), units, promotion


def _daily() -> str:
    rows = (f"{day},{units},{promotion}\n" for day, units, promotion in _sales(range(_DAYS)))
    return "date,units,promotion\n" + "".join(rows)


def _plan() -> str:
    rows = _sales(range(_DAYS, _DAYS + _AHEAD))
    return "date,promotion\n" + "".join(f"{day},{promotion}\n" for day, _, promotion in rows)


def _shops() -> str:
    noise, lines = random.Random(12), ["shop,date,units\n"]
    for number, shop in enumerate(("Harbour", "Market", "Station", "University")):
        for day in range(420):
            season = 10 * math.sin(2 * math.pi * (day + 40 * number) / 182)
            week = _WEEK[(day + number) % 7] * (0.5 + 0.4 * number)
            units = round(60 + 25 * number + season + week + noise.gauss(0, 3))
            lines.append(f"{shop},{_START + timedelta(day)},{units}\n")
    return "".join(lines)


def _meter() -> str:
    """Hours of a heat meter that stopped several times, and jumped twice."""
    noise, lines = random.Random(15), ["time,kW\n"]
    gone = {*range(200, 212), *range(700, 731), 90, 333, 334, 901, 1100, 1101, 1102}
    jumps = {450: 21.0, 1010: -14.0}
    for hour in range(1200):
        stamp = datetime(2024, 1, 1) + timedelta(hours=hour)
        day = 9 * math.sin(2 * math.pi * (hour - 9) / 24) + 4 * math.sin(4 * math.pi * hour / 24)
        cold = 6 * math.sin(2 * math.pi * hour / 700)
        value = 40 + day + cold - 5 * (stamp.weekday() > 4) + noise.gauss(0, 1.2)
        value += jumps.get(hour, 0.0)
        lines.append(f"{stamp:%Y-%m-%d %H:%M},{'' if hour in gone else f'{value:.1f}'}\n")
    return "".join(lines)


_STEPS = 48


def _recording(label: str, noise: random.Random) -> list[str]:
    start, size = noise.uniform(-3, 3), noise.uniform(0.8, 1.2)
    found = []
    for t in range(_STEPS):
        s = t + start
        clean = {
            "shake": math.sin(s),
            "swipe": math.exp(-((s - 24) ** 2) / 40) * 2,
            "lift": 1 / (1 + math.exp(-(s - 24) / 3)),
        }[label]
        found.append(f"{size * clean + noise.gauss(0, 0.08):.3f}")
    return found


def _gestures(seed: int, each: int, labelled: bool) -> str:
    noise = random.Random(seed)
    lines = [",".join([*(["label"] if labelled else []), *(f"t{t}" for t in range(_STEPS))])]
    for _ in range(each):
        for label in ("shake", "swipe", "lift"):
            cells = _recording(label, noise)
            lines.append(",".join([*([label] if labelled else []), *cells]))
    return "\n".join(lines) + "\n"


SAMPLES = {
    "sales": Sample(
        "daily-sales.csv", _daily, known=("promotion",), targets=("units",), more=_plan
    ),
    "shops": Sample("four-shops.csv", _shops),
    "meter": Sample("heat-meter.csv", _meter),
    "gestures": Sample(
        "gestures.csv",
        lambda: _gestures(13, 40, labelled=True),
        more=lambda: _gestures(14, 1, labelled=False),
    ),
}
"""Samples by the name that a request gives."""
