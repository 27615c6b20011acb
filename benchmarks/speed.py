"""Time our network against sktime's port of the authors', interleaved in one process.

``python benchmarks/speed.py`` measures every case; benchmarks/README.md says how to read the
result. A further model or path is one function under `builder`.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet import presets
from convtimenet.config import ModelConfig
from convtimenet.inference import fuse
from convtimenet.model import ConvTimeNet
from convtimenet.original import from_original

Phase = Literal["train", "eval"]
Step = Callable[[], object]
Entry = tuple[str, str]  # model name, path

OURS, AUTHORS = "convtimenet", "authors"
BASELINE: Entry = (AUTHORS, "eager")
PHASES: tuple[Phase, ...] = ("train", "eval")
# Of the largest output. Theirs reads float32 channel coordinates, which lets neighbouring
# channels leak into each other: 5e-5 with 862 channels.
TOLERANCE = 1e-3


# --- cases ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One network size with one batch."""

    name: str
    config: ModelConfig
    batch: int
    channels: int
    lr: float

    @property
    def tokens(self) -> int:
        """Tokens of a batch: columns of the pointwise products."""
        return self.batch * self.channels // self.config.channels * self.config.n_patches

    def data(self) -> tuple[Tensor, Tensor]:
        """Series (B, C, L) with their targets: (B, C, H), or class indices (B,)."""
        noise = torch.Generator().manual_seed(0)
        x = torch.randn(self.batch, self.channels, self.config.context_length, generator=noise)
        outputs = self.config.outputs
        if self.config.head == "forecast":
            return x, torch.randn(self.batch, self.channels, outputs, generator=noise)
        return x, torch.randint(outputs, (self.batch,), generator=noise)


def _forecast(name: str, preset: str, batch: int, channels: int) -> Case:
    paper = presets.PAPER[preset]
    assert paper.context_length is not None
    config = ModelConfig.forecasting(
        context_length=paper.context_length, horizon=paper.horizons[0], **paper.model
    )
    return Case(name, config, batch, channels, paper.train["lr"])


def _classify(name: str, preset: str, channels: int, length: int, n_classes: int) -> Case:
    paper = presets.PAPER[preset]
    config = ModelConfig.classification(
        channels=channels, context_length=length, n_classes=n_classes, **paper.model
    )
    return Case(name, config, paper.train["batch_size"], channels, paper.train["lr"])


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        _forecast("F1", "ETTh1", batch=256, channels=7),
        _forecast("F2", "Traffic", batch=1, channels=862),
        _classify("C1", "ArticularyWordRecognition", channels=9, length=144, n_classes=25),
        _classify("C2", "Cricket", channels=6, length=1197, n_classes=12),
    )
}


# --- models and paths -------------------------------------------------------------------------


@dataclass(frozen=True)
class Steps:
    """What is timed; None where a model or path has no such phase."""

    train_step: Step | None
    eval_step: Step | None

    def of(self, phase: Phase) -> Step | None:
        return self.train_step if phase == "train" else self.eval_step


Builder = Callable[[Case, str], Steps | None]
BUILDERS: dict[Entry, Builder] = {}


def builder(model: str, path: str) -> Callable[[Builder], Builder]:
    """Register a function (case, precision) -> Steps, or None where it cannot serve the case."""

    def register(function: Builder) -> Builder:
        BUILDERS[model, path] = function
        return function

    return register


@builder(OURS, "eager")
def ours_eager(case: Case, precision: str) -> Steps:
    x, y = case.data()
    model = ConvTimeNet(case.config)
    return Steps(train_step(model, x, y, case, precision), eval_step(model, x, precision))


@builder(OURS, "fused")
def ours_fused(case: Case, precision: str) -> Steps:
    x, _ = case.data()
    return Steps(None, eval_step(fuse(ConvTimeNet(case.config)), x, precision))


@builder(*BASELINE)
def authors_eager(case: Case, precision: str) -> Steps:
    x, y = case.data()
    model = authors_network(case)
    # They read (B, L, C) and forecast (B, H, C). Laid out here, outside the timing.
    x = x.transpose(1, 2).contiguous()
    y = y.transpose(1, 2).contiguous() if case.config.head == "forecast" else y
    return Steps(train_step(model, x, y, case, precision), eval_step(model, x, precision))


def train_step(model: nn.Module, x: Tensor, y: Tensor, case: Case, precision: str) -> Step:
    """Forward, loss, backward and Adam, on a copy of the network."""
    model = copy.deepcopy(model).train()
    loss_of = nn.MSELoss() if case.config.head == "forecast" else nn.CrossEntropyLoss()
    optimiser = torch.optim.Adam(model.parameters(), lr=case.lr)

    def step() -> None:
        optimiser.zero_grad()
        with autocast(precision):
            loss = loss_of(model(x), y)
        loss.backward()
        optimiser.step()

    return step


def eval_step(model: nn.Module, x: Tensor, precision: str) -> Step:
    """Forward in evaluation mode."""
    model = model.eval()

    def step() -> Tensor:
        with torch.inference_mode(), autocast(precision):
            return model(x)

    return step


def autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def authors_network(case: Case) -> nn.Module:
    """sktime's port of the authors' network, as it is, in the sizes of the case."""
    build = _authors_forecaster if case.config.head == "forecast" else _authors_classifier
    try:
        return build(case)
    except ImportError as error:
        raise SystemExit(
            f"the authors' network is measured in sktime's port, which is not there ({error}): "
            f"pip install 'convtimenet[bench]', or measure without it: --models {OURS}"
        ) from error


def _authors_sizes(case: Case) -> dict[str, Any]:
    return {
        "enc_in": case.channels,
        "seq_len": case.config.context_length,
        "d_model": case.config.d_model,
        "d_ff": case.config.d_ff,
        "dropout": case.config.dropout,
        "dw_ks": list(case.config.kernel_sizes),
        "device": "cpu",
    }


def _authors_forecaster(case: Case) -> nn.Module:
    from sktime.networks.convtimenet.forecaster import (  # pyright: ignore[reportMissingImports]
        _convtimenet as port,
    )

    config = case.config
    return port.Model(
        _authors_sizes(case)
        | {
            "pred_len": config.outputs,
            "e_layers": len(config.kernel_sizes),
            "patch_ks": config.patch_size,
            "patch_sd": config.patch_stride,
            "padding_patch": "end",
            "head_dropout": config.head_dropout,
            "deformable": config.deformable,
            "revin": config.revin,
            "affine": config.revin_affine_channels > 0,
            "subtract_last": config.revin_subtract_last,
            "re_param": config.small_kernel > 0,
            "re_param_kernel": config.small_kernel,
            "enable_res_param": config.residual == "learnable",
        }
    )


def _authors_classifier(case: Case) -> nn.Module:
    from sktime.networks.convtimenet import (  # pyright: ignore[reportMissingImports]
        _convtimenet as port,
    )

    return port.ConvTimeNet._ConvTimeNet(
        **_authors_sizes(case),
        patch_size=case.config.patch_size,
        patch_stride=case.config.patch_stride,
        n_classes=case.config.outputs,
    )


def same_function(case: Case) -> dict[str, Any]:
    """Check that both networks compute one function: equal weights give equal outputs.

    Their random weights are loaded into ours and both evaluate part of the batch in float64.
    Residual scales and offset predictors, which start near zero, are moved away from it first,
    so that every layer takes part.

    Raises
    ------
    SystemExit
        If the outputs or the numbers of parameters that get a gradient differ.
    """
    torch.manual_seed(0)
    theirs = authors_network(case).double()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith(".a"):
                parameter.fill_(0.5)
            elif "offset_predictor" in name:
                parameter.normal_(0, 0.05)
    weights = {name.removeprefix("model."): value for name, value in theirs.state_dict().items()}
    ours = from_original(weights, case.config)
    x = case.data()[0][:4].double()
    with torch.inference_mode():
        expected = theirs.eval()(x.transpose(1, 2))
        if case.config.head == "forecast":
            expected = expected.transpose(1, 2)
        difference = (ours.eval()(x) - expected).abs().max().item()
    largest = expected.abs().max().item()
    counts = {
        OURS: _counts(ConvTimeNet(case.config), x),
        AUTHORS: _counts(authors_network(case), x),
    }
    if difference > TOLERANCE * largest:
        raise SystemExit(f"{case.name}: outputs differ by {difference} at most {largest}")
    if counts[OURS]["trained"] != counts[AUTHORS]["trained"]:
        raise SystemExit(f"{case.name}: different numbers of parameters, {counts}")
    return {
        "class": f"{type(theirs).__module__}.{type(theirs).__qualname__}",
        "parameters": counts,
        "max_output_difference": difference,
        "max_output": largest,
    }


def _counts(model: nn.Module, x: Tensor) -> dict[str, int]:
    """Parameters in all, and those that take part in a training step."""
    if not isinstance(model, ConvTimeNet):
        x = x.transpose(1, 2)
    model.train()(x.float()).sum().backward()
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in parameters if p.grad is not None),
    }


# --- measuring --------------------------------------------------------------------------------


def seconds_per_call(step: Step, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def interleaved(
    steps: Mapping[Entry, Step], *, rounds: int, warmup: int, turn: float
) -> dict[Entry, list[float]]:
    """Seconds per step of every entry and round, in the order A B C A B C ...

    Every turn repeats its step for about `turn` seconds.
    """
    calls = {}
    for entry, step in steps.items():
        seconds_per_call(step, warmup)
        calls[entry] = max(1, math.ceil(turn / seconds_per_call(step, 1)))
    seconds: dict[Entry, list[float]] = {entry: [] for entry in steps}
    for _ in range(rounds):
        for entry, step in steps.items():
            seconds[entry].append(seconds_per_call(step, calls[entry]))
    return seconds


@dataclass(frozen=True)
class Record:
    """One measured model, phase, precision and path."""

    case: str
    model: str
    phase: Phase
    precision: str
    path: str
    threads: int
    median_ms: float
    q25_ms: float
    q75_ms: float
    rounds: int
    ratio_to_authors: float | None
    """Median over the rounds of authors' time / this time; None where theirs was not run."""
    peak_mb: float | None
    """Memory (10^6 bytes) above libraries, network and batch; None without --memory."""


def records(
    seconds: Mapping[Entry, Sequence[float]],
    *,
    case: str,
    phase: Phase,
    precision: str,
    threads: int,
    peaks: Mapping[Entry, float] | None = None,
) -> list[Record]:
    """Medians, quartiles and ratios of seconds per step, one list entry per round."""
    authors = seconds.get(BASELINE)
    found = []
    for (model, path), own in seconds.items():
        q25, median, q75 = np.percentile(own, [25, 50, 75]) * 1e3
        ratio = None
        if authors is not None:
            ratio = statistics.median(a / b for a, b in zip(authors, own, strict=True))
        found.append(
            Record(
                case=case,
                model=model,
                phase=phase,
                precision=precision,
                path=path,
                threads=threads,
                median_ms=float(median),
                q25_ms=float(q25),
                q75_ms=float(q75),
                rounds=len(own),
                ratio_to_authors=ratio,
                peak_mb=(peaks or {}).get((model, path)),
            )
        )
    return found


def measure(
    case: Case,
    entries: Iterable[Entry],
    *,
    precision: str = "fp32",
    threads: int = 1,
    rounds: int = 7,
    warmup: int = 2,
    turn: float = 0.3,
    memory: bool = False,
) -> list[Record]:
    """Both phases of a case, for every entry that has them."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    built = {entry: BUILDERS[entry](case, precision) for entry in entries}
    found = []
    for phase in PHASES:
        steps: dict[Entry, Step] = {}
        for entry, both in built.items():
            if both is not None and (step := both.of(phase)) is not None:
                steps[entry] = step
        peaks = None
        if memory:
            peaks = {entry: peak_mb(case, entry, phase, precision, threads) for entry in steps}
        seconds = interleaved(steps, rounds=rounds, warmup=warmup, turn=turn)
        found += records(
            seconds, case=case.name, phase=phase, precision=precision, threads=threads, peaks=peaks
        )
    return found


def peak_mb(case: Case, entry: Entry, phase: Phase, precision: str, threads: int) -> float:
    """Peak memory of three steps in a process of its own."""
    command = [sys.executable, __file__, "--peak", *entry, phase, "--case", case.name]
    command += ["--precision", precision, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def peak_here(case: Case, entry: Entry, phase: Phase, precision: str) -> float:
    """Peak memory of three steps above what is loaded, in 10^6 bytes. For a fresh process."""
    both = BUILDERS[entry](case, precision)
    step = None if both is None else both.of(phase)
    if step is None:
        raise SystemExit(f"{entry} has no {phase} phase in case {case.name}")
    before = _high_water(reset=True)
    for _ in range(3):
        step()
    return (_high_water() - before) / 1e6


def _high_water(reset: bool = False) -> int:
    """Most memory this process ever held, in bytes; since the reset on Linux.

    Linux's ru_maxrss also counts the parent process before exec, hence /proc.
    """
    if sys.platform == "linux":
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


# --- the machine ------------------------------------------------------------------------------


def rates(cases: Iterable[Case]) -> dict[str, Any]:
    """What the machine gives right now: float32 products and copying, with the threads set."""

    def median_seconds(step: Step) -> float:
        seconds_per_call(step, 2)
        return statistics.median(seconds_per_call(step, 1) for _ in range(7))

    def gflops(rows: int, inner: int, columns: int) -> float:
        a, b = torch.randn(rows, inner), torch.randn(inner, columns)
        out = torch.empty(rows, columns)
        return 2e-9 * rows * inner * columns / median_seconds(lambda: torch.mm(a, b, out=out))

    source = torch.ones(2**27)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    return {
        "matmul_2048_gflops": gflops(2048, 2048, 2048),
        # d_ff x d_model times d_model x tokens
        "pointwise_gflops": {
            case.name: gflops(case.config.d_ff, case.config.d_model, case.tokens) for case in cases
        },
        # read and written bytes
        "copy_gb_per_s": moved / median_seconds(lambda: target.copy_(source)) / 1e9,
    }


FLAGS = ("fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd")
LIBRARIES = ("ATEN", "DNNL", "GLIBC", "GOMP", "KMP", "LD", "MALLOC", "MKL", "OMP", "ONEDNN", "THP")
VARIABLES = tuple(f"{library}_" for library in LIBRARIES)


def machine() -> dict[str, Any]:
    """Processor, memory, system, load at the start and the environment that steers speed."""
    processor, flags = platform.processor() or platform.machine(), ""
    if sys.platform == "linux":
        lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines()]
        fields = {line[0].strip(): line[1].strip() for line in lines if len(line) == 2}
        processor = fields.get("model name", processor)
        flags = fields.get("flags", fields.get("Features", ""))
    ram = load = None
    if sys.platform != "win32":
        ram = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
        load = round(os.getloadavg()[0], 2)
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "ram_gb": ram,
        "flags": [flag for flag in FLAGS if flag in flags.split()],
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "os": platform.platform(),
        "load_average": load,
        "environment": {k: v for k, v in os.environ.items() if k.startswith(VARIABLES)},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str | None]:
    """Python, the packages, and the commit of this checkout."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("convtimenet", "torch", "numpy", "sktime"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return found | {"commit": commit}


# --- report -----------------------------------------------------------------------------------


def markdown(report: Mapping[str, Any]) -> str:
    """The records as a table, ratios first."""
    host, found = report["machine"], report["versions"]
    lines = [
        f"{host['processor']}, {host['cores']} cores, {host['ram_gb']} GB; {host['os']}; "
        f"load {host['load_average']} at the start; {host['date']}.",
        ", ".join(f"{name} {version}" for name, version in found.items()) + ".",
        "",
        "| authors / this | case | phase | model | path | precision | threads "
        "| median ms (quartiles) | peak MB |",
        "|---:|---|---|---|---|---|---:|---:|---:|",
    ]
    for r in report["records"]:
        ratio = "" if r["ratio_to_authors"] is None else f"{r['ratio_to_authors']:.2f}"
        peak = "" if r["peak_mb"] is None else f"{r['peak_mb']:.0f}"
        times = f"{r['median_ms']:.1f} ({r['q25_ms']:.1f} to {r['q75_ms']:.1f})"
        cells = (ratio, r["case"], r["phase"], r["model"], r["path"], r["precision"])
        lines.append(f"| {' | '.join(cells)} | {r['threads']} | {times} | {peak} |")
    lines.append("")
    for when, rate in report["rates"].items():
        pointwise = ", ".join(f"{k} {v:.0f}" for k, v in rate["pointwise_gflops"].items())
        lines.append(
            f"Rates {when}: float32 product of 2048^3 {rate['matmul_2048_gflops']:.0f} GFLOP/s, "
            f"pointwise shape {pointwise} GFLOP/s, copy {rate['copy_gb_per_s']:.1f} GB/s."
        )
        lines.append("")
    return "\n".join(lines)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs="+", choices=[*CASES, "all"], default=["all"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=2, help="untimed steps of each entry")
    parser.add_argument("--turn", type=float, default=0.3, help="least seconds per timing")
    names = sorted({model for model, _ in BUILDERS})
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32"])
    parser.add_argument("--memory", action="store_true", help="peak memory, in child processes")
    parser.add_argument("--json", type=Path, help="write the records here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument(
        "--peak", nargs=3, metavar=("MODEL", "PATH", "PHASE"), help=argparse.SUPPRESS
    )
    options = parser.parse_args(given)
    for name in ("threads", "rounds", "warmup"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, found {getattr(options, name)}")
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    cases = list(CASES.values())
    if "all" not in options.case:
        cases = [case for case in cases if case.name in options.case]
    torch.set_num_threads(options.threads)
    if options.peak:
        model, path, phase = options.peak
        print(peak_here(cases[0], (model, path), phase, options.precision[0]))
        return

    entries = [entry for entry in BUILDERS if entry[0] in options.models]
    report: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(),
        "rates": {"before": rates(cases)},
        "same_function": {},
        "records": [],
    }
    for case in cases:
        if {OURS, AUTHORS} <= set(options.models):
            report["same_function"][case.name] = same_function(case)
        for precision in options.precision:
            print(f"{case.name} {precision} ...", file=sys.stderr)
            found = measure(
                case,
                entries,
                precision=precision,
                threads=options.threads,
                rounds=options.rounds,
                warmup=options.warmup,
                turn=options.turn,
                memory=options.memory,
            )
            report["records"] += [asdict(record) for record in found]
    report["rates"]["after"] = rates(cases)
    table = markdown(report)
    print(table)
    if options.markdown:
        options.markdown.write_text(table)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
