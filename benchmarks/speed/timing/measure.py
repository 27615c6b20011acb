"""Run the turns, and turn seconds into records."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convtimenet.network.model import ConvTimeNet, count_parameters

from . import work
from .cases import Case, Phase
from .contestants import BASELINE, OURS, Entry, NotRun, Step, Timed, build
from .machine import device, file_pages, high_water, seconds_per_call

SCRIPT = Path(__file__).parents[1] / "speed.py"


def interleaved(
    steps: Mapping[Entry, Step], *, rounds: int, warmup: int, turn: float
) -> dict[Entry, list[float]]:
    """Seconds per step of every entry and round, in the order A B C A B C ...

    Every turn repeats its step for about `turn` seconds, or runs it once if that is 0.
    """
    calls = dict.fromkeys(steps, 1)
    for entry, step in steps.items():
        if warmup:
            seconds_per_call(step, warmup)
        if turn:
            calls[entry] = max(1, math.ceil(turn / seconds_per_call(step, 1)))
    seconds: dict[Entry, list[float]] = {entry: [] for entry in steps}
    for _ in range(rounds):
        for entry, step in steps.items():
            seconds[entry].append(seconds_per_call(step, calls[entry]))
    return seconds


@dataclass(frozen=True)
class Record:
    """One model, phase, precision and path, measured or not."""

    case: str
    model: str
    phase: Phase
    precision: str
    path: str
    threads: int
    median_ms: float | None
    """Median of one step; None if it was not run."""
    q25_ms: float | None
    q75_ms: float | None
    rounds: int
    share: float
    """Fraction of the case that one step covers."""
    ratio_to_authors: float | None
    """The authors' float32 median / (this median / share); None if either was not run."""
    gflops: float | None
    """Ours only: the necessary operations (`work`) per second."""
    attainable_ms: float | None
    """Ours only: the minimum time for the necessary work at this machine's rates."""
    attained: float | None
    """Ours only: attainable_ms / median_ms."""
    peak_mb: float | None
    """Memory (10^6 bytes) above libraries, network and batch; None without --memory."""
    note: str
    not_run: str | None
    """Why it was not run."""


def record(
    entry: Entry,
    seconds: Sequence[float] | None,
    *,
    case: str,
    phase: Phase,
    threads: int,
    authors: Sequence[float] | None = None,
    timed: Timed | None = None,
    need: work.Work | None = None,
    rates: Mapping[str, Any] | None = None,
    peak_mb: float | None = None,
    not_run: str | None = None,
) -> Record:
    """Medians, quartiles and ratio of seconds per step, one list entry per round."""
    share = 1.0 if timed is None else timed.share
    q25 = median = q75 = ratio = gflops = attainable = None
    if seconds is not None:
        q25, median, q75 = (float(ms) for ms in np.percentile(seconds, [25, 50, 75]) * 1e3)
        if authors is not None:
            ratio = float(np.median(authors)) * 1e3 / (median / share)
        if need is not None:
            gflops = need.flops / median * 1e-6
            rate = {} if rates is None else rates["matmul_gflops"].get(entry.precision, {})
            if rates is not None and rate:
                best = max(rate.values())
                attainable = work.attainable_ms(need, best, rates["copy_gb_per_s"])
    return Record(
        case=case,
        model=entry.model,
        phase=phase,
        precision=entry.precision,
        path=entry.path,
        threads=threads,
        median_ms=median,
        q25_ms=q25,
        q75_ms=q75,
        rounds=0 if seconds is None else len(seconds),
        share=share,
        ratio_to_authors=ratio,
        gflops=gflops,
        attainable_ms=attainable,
        attained=None if attainable is None or median is None else attainable / median,
        peak_mb=peak_mb,
        note="" if timed is None else timed.note,
        not_run=not_run,
    )


def measure(
    case: Case,
    phase: Phase,
    entries: Iterable[Entry],
    *,
    threads: int = 1,
    rounds: int = 7,
    warmup: int = 2,
    turn: float = 0.3,
    memory: bool = False,
    rates: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Run one phase of a case: build all contestants, then interleave their turns."""
    torch.set_num_threads(threads)
    timed: dict[Entry, Timed] = {}
    reasons: dict[Entry, str] = {}
    for entry in entries:
        torch.manual_seed(0)
        try:
            timed[entry] = build(entry, case, phase)
        except NotRun as reason:
            reasons[entry] = str(reason)
    peaks: dict[Entry, float] = {}
    if memory and phase != "fit":
        peaks = {entry: peak_mb(case, entry, phase, threads) for entry in timed}
    if phase == "fit":  # a single fit is long enough
        rounds, warmup, turn = min(rounds, 3), 0, 0.0
    for each in timed.values():
        if each.warm is not None:
            each.warm()
    steps = {entry: each.step for entry, each in timed.items()}
    seconds = interleaved(steps, rounds=rounds, warmup=warmup, turn=turn)
    need = necessary(case, phase)
    return [
        record(
            entry,
            seconds.get(entry),
            case=case.name,
            phase=phase,
            threads=threads,
            authors=seconds.get(BASELINE),
            timed=timed.get(entry),
            need=need if entry.model == OURS else None,
            rates=rates,
            peak_mb=peaks.get(entry),
            not_run=reasons.get(entry),
        )
        for entry in (*timed, *reasons)
    ]


def necessary(case: Case, phase: Phase) -> work.Work | None:
    """The work that our network must do in a phase; not counted for a fit."""
    if phase == "fit":
        return None
    counted = work.step if phase == "train" else work.forward
    parameters = count_parameters(ConvTimeNet(case.config))
    return counted(case.config, case.in_phase(phase).rows, parameters)


def peak_mb(case: Case, entry: Entry, phase: Phase, threads: int) -> float:
    """Peak memory of three steps in a fresh process."""
    command = [sys.executable, str(SCRIPT), "--peak", *entry, phase, "--case", case.name]
    command += ["--threads", str(threads), "--device", str(device())]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(found.splitlines()[-1])


def peak_here(case: Case, entry: Entry, phase: Phase) -> float:
    """Peak memory of three steps above what is loaded, in 10^6 bytes. Call it in a fresh process.

    Library code that the first step pages in is not counted.
    """
    step = build(entry, case, phase).step
    gc.collect()
    before, code = high_water(reset=True), file_pages()
    for _ in range(3):
        step()
    return (high_water() - before - (file_pages() - code)) / 1e6
