"""The models to time: our network on its paths, and sktime's port of the authors'.

To add a model or path, write one function under `contestant`; `peers` and `fits` have more.
"""

from __future__ import annotations

import atexit
import copy
import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, runtime
from convtimenet.batch import Batch
from convtimenet.config import Head, ModelConfig, Precision, TrainConfig
from convtimenet.errors import MissingExtraError
from convtimenet.estimators.base import DECIDED
from convtimenet.export import Format, export
from convtimenet.network.inference import fuse
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.original import from_original
from convtimenet.training import step as package

from .cases import Case, Phase
from .machine import bf16_missing, device

Step = Callable[[], object]
CPU = torch.device("cpu")
OURS, AUTHORS = "convtimenet", "authors"
# Of the largest output. Theirs reads float32 channel coordinates, which lets neighbouring
# channels leak into each other: 5e-5 with 862 channels.
TOLERANCE = 1e-3
PASSES: tuple[Phase, ...] = ("train", "eval", "latency")
ANSWERS: tuple[Phase, ...] = ("eval", "latency")
BOTH: tuple[Head, ...] = ("forecast", "classify")


class Entry(NamedTuple):
    """Identifies what takes a turn."""

    model: str
    path: str
    precision: str


BASELINE = Entry(AUTHORS, "eager", "fp32")


class NotRun(Exception):
    """A contestant cannot be measured here; the text is the reason."""


@dataclass(frozen=True)
class Timed:
    """What one turn repeats."""

    step: Step
    share: float = 1.0
    """Fraction of the case that one step covers: below 1 if the whole case would take too long."""
    note: str = ""
    warm: Step | None = None
    """Run once before a fit is timed."""


Builder = Callable[[Case, Phase, str], Timed]


@dataclass(frozen=True)
class Contestant:
    """A builder (case, phase, precision) -> Timed, and the cases and phases it applies to."""

    model: str
    path: str
    build: Builder
    phases: tuple[Phase, ...]
    heads: tuple[Head, ...]
    precisions: tuple[str, ...]
    devices: tuple[str, ...]


CONTESTANTS: list[Contestant] = []


def contestant(
    model: str,
    path: str,
    *,
    phases: tuple[Phase, ...],
    heads: tuple[Head, ...] = BOTH,
    precisions: tuple[str, ...] = ("fp32",),
    devices: tuple[str, ...] = ("cpu", "cuda"),
) -> Callable[[Builder], Builder]:
    """Register a builder, which raises `NotRun` if it cannot be measured."""

    def register(build: Builder) -> Builder:
        CONTESTANTS.append(Contestant(model, path, build, phases, heads, precisions, devices))
        return build

    return register


def entries(case: Case, phase: Phase, precisions: Sequence[str]) -> dict[Entry, Contestant]:
    """All contestants in a phase of a case."""
    return {
        Entry(who.model, who.path, precision): who
        for who in CONTESTANTS
        if phase in who.phases and case.config.head in who.heads and device().type in who.devices
        for precision in who.precisions
        if precision in precisions
    }


def build(entry: Entry, case: Case, phase: Phase) -> Timed:
    """Build an entry; raises `NotRun` with the reason if that is impossible."""
    if entry.precision == "bf16" and (reason := bf16_missing()):
        raise NotRun(reason)
    who = entries(case, phase, [entry.precision])[entry]
    return who.build(case.in_phase(phase), phase, entry.precision)


# --- ours -------------------------------------------------------------------------------------


@contestant(OURS, "eager", phases=PASSES, precisions=("fp32", "bf16"))
def ours_eager(case: Case, phase: Phase, precision: str) -> Timed:
    x, y = case.data()
    return network_step(ConvTimeNet(case.config), x, y, case, phase, precision)


@contestant(OURS, "fused", phases=ANSWERS, precisions=("int8",), devices=("cpu",))
@contestant(OURS, "fused", phases=ANSWERS, precisions=("fp32", "bf16"))
def ours_fused(case: Case, phase: Phase, precision: str) -> Timed:
    x, y = case.data()
    fused = fuse(ConvTimeNet(case.config), cast(Precision, precision))
    return network_step(fused, x, y, case, phase, precision)


@contestant(OURS, "compiled", phases=ANSWERS, precisions=("fp32", "bf16"))
def ours_compiled(case: Case, phase: Phase, precision: str) -> Timed:
    x, y = case.data()
    step = network_step(_to_compile(fuse, case), x, y, case, phase, precision).step

    def make() -> Step:
        step()
        return step

    return _compiled(make)


@contestant(OURS, "graph", phases=("train",), precisions=("fp32", "bf16"), devices=("cuda",))
def ours_graph(case: Case, phase: Phase, precision: str) -> Timed:
    """The package's own step as in `fit`, captured, including guards and gathering."""
    return Timed(_package_step(ConvTimeNet(case.config), case, precision))


@contestant(
    OURS, "compiled-graph", phases=("train",), precisions=("fp32", "bf16"), devices=("cuda",)
)
def ours_compiled_graph(case: Case, phase: Phase, precision: str) -> Timed:
    """The same step with a compiled network."""
    # Round as in plain torch. Otherwise max pooling does not find its maximum again in the backward
    # pass over bf16 values, and gives NaN.
    network = _to_compile(lambda model: model, case, emulate_precision_casts=True)
    return _compiled(lambda: _package_step(network, case, precision))


@contestant(OURS, "fused-graph", phases=ANSWERS, precisions=("fp32", "bf16"), devices=("cuda",))
def ours_fused_graph(case: Case, phase: Phase, precision: str) -> Timed:
    """The fused forward pass, captured on a fixed input."""
    forward = eval_step(fuse(ConvTimeNet(case.config)), case.data()[0], precision)
    stream = torch.cuda.Stream(device())
    stream.wait_stream(torch.cuda.current_stream(device()))
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward()
    torch.cuda.current_stream(device()).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream):
            forward()
    except RuntimeError as error:
        raise NotRun(f"not captured: {str(error).splitlines()[0]}") from error
    return Timed(graph.replay, note="the input is not copied")


class Fixed:
    """One batch as examples on the device."""

    def __init__(self, case: Case):
        self.x, self.y = (part.to(device()) for part in case.data())

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Tensor) -> Batch:
        return Batch(self.x[index], self.y[index])


def _package_step(network: ConvTimeNet, case: Case, precision: str) -> Step:
    config = TrainConfig(
        batch_size=case.batch,
        lr=case.lr,
        precision="bf16" if precision == "bf16" else "fp32",
        device=str(device()),
    )
    step = package.Step(network.to(device()).train(), Fixed(case), config, device())
    index = torch.arange(case.batch, device=device())
    for _ in range(5):  # the first steps run eagerly, then one is captured
        step(index)
    if step.graphed is None or step.graphed.graph is None:
        raise NotRun("the step was not captured as a CUDA graph; see the log")
    if skipped := int(step.skipped):
        raise NotRun(f"{skipped} of the first 5 steps were not finite")
    return lambda: step(index)


def _to_compile(
    form: Callable[[ConvTimeNet], ConvTimeNet], case: Case, **options: bool
) -> ConvTimeNet:
    # torch keeps eight compiled variants of a function, and every case adds one
    torch.compiler.reset()
    network = form(ConvTimeNet(case.config))
    network.compile(fullgraph=True, dynamic=False, options=options)
    return network


def _compiled(make: Callable[[], Step]) -> Timed:
    """A step that is compiled as it is built."""
    start = time.perf_counter()
    try:
        step = make()
    except BackendCompilerFailed as error:
        raise NotRun(f"torch.compile failed: {str(error).splitlines()[0]}") from error
    return Timed(step, note=f"compiled in {time.perf_counter() - start:.0f} s")


@contestant(OURS, "onnx", phases=ANSWERS, devices=("cpu",))
def ours_onnx(case: Case, phase: Phase, precision: str) -> Timed:
    return _exported(case, "onnx")


@contestant(OURS, "onnx-int8", phases=ANSWERS, precisions=("int8",), devices=("cpu",))
def ours_onnx_int8(case: Case, phase: Phase, precision: str) -> Timed:
    return _exported(case, "onnx-int8")


@contestant(OURS, "aoti", phases=ANSWERS, devices=("cpu",))
def ours_aoti(case: Case, phase: Phase, precision: str) -> Timed:
    return _exported(case, "aoti")


def _exported(case: Case, format: Format) -> Timed:
    """The package's own export: scaling and units in the graph, dynamic batch size."""
    try:
        folder, note = _graph(case.config, case.channels, format)
    except MissingExtraError as error:
        raise NotRun(str(error)) from error
    x = np.ascontiguousarray(case.data()[0])
    if case.config.head == "forecast":
        x = x.astype(np.float64)  # forecasting graphs take the data's own precision
    if format == "aoti":
        given = torch.from_numpy(x)
        loaded = torch._inductor.aoti_load_package(str(folder / "model.pt2"))
        return Timed(lambda: loaded(given), note=note)
    model = runtime.load(folder, threads=torch.get_num_threads())
    return Timed(lambda: model.run(x), note=note)


@functools.cache
def _graph(config: ModelConfig, channels: int, format: Format) -> tuple[Path, str]:
    """Folder of an exported estimator of these sizes, fitted for one epoch, and its parity note."""
    sizes = config.to_dict()
    given: dict[str, Any] = {
        "model": {name: value for name, value in sizes.items() if name not in DECIDED},
        "training": {"validation_fraction": 0.0, "refit": False},
        "n_epochs": 1,
        "verbose": 0,
    }
    noise = np.random.default_rng(0)
    L = config.context_length
    if config.head == "forecast":
        data = noise.normal(size=(L + config.outputs + 3, channels))
        estimator = ConvTimeNetForecaster(config.outputs, L, scale=False, **given).fit(data)
        data = data[: L + 3]  # four windows to compare on
    else:
        data = noise.normal(size=(2 * config.outputs, channels, L)).astype(np.float32)
        labels = np.arange(len(data)) % config.outputs
        estimator = ConvTimeNetClassifier(**given).fit(data, labels)
    folder = Path(tempfile.mkdtemp(prefix="convtimenet-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    parity = export(estimator, folder / "graph", format, data=data)
    difference = f"max difference from the estimator {parity['max_difference']:.1g}"
    return folder / "graph", f"{difference}, largest output {parity['largest_answer']:.2g}"


# --- the authors' -----------------------------------------------------------------------------


@contestant(AUTHORS, "eager", phases=PASSES, precisions=("fp32", "bf16"))
def authors_eager(case: Case, phase: Phase, precision: str) -> Timed:
    x, y = case.data()
    # They read (B, L, C) and forecast (B, H, C). Laid out here, outside the timing.
    x = x.transpose(1, 2).contiguous()
    y = y.transpose(1, 2).contiguous() if case.config.head == "forecast" else y
    return network_step(authors_network(case, device()), x, y, case, phase, precision)


def network_step(
    model: nn.Module, x: Tensor, y: Tensor, case: Case, phase: Phase, precision: str
) -> Timed:
    """A training step or an evaluation of a torch module."""
    if phase == "train":
        return Timed(train_step(model, x, y, case, precision))
    return Timed(eval_step(model, x, precision))


def train_step(model: nn.Module, x: Tensor, y: Tensor, case: Case, precision: str) -> Step:
    """Forward, loss, backward and Adam, on a copy of the network."""
    model, x, y = copy.deepcopy(model).to(device()).train(), x.to(device()), y.to(device())
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
    model, x = model.to(device()).eval(), x.to(device())

    def step() -> Tensor:
        with torch.inference_mode(), autocast(precision):
            return model(x)

    return step


def autocast(precision: str) -> torch.autocast:
    return torch.autocast(device().type, torch.bfloat16, enabled=precision == "bf16")


def authors_network(case: Case, on: torch.device = CPU) -> nn.Module:
    """sktime's port of the authors' network, unmodified, in the sizes of the case. It creates
    tensors on the device it was built for."""
    build = _authors_forecaster if case.config.head == "forecast" else _authors_classifier
    try:
        return build(case, on)
    except ImportError as error:
        raise NotRun(f"sktime's port is not there: {error}") from error


def _authors_sizes(case: Case, on: torch.device) -> dict[str, Any]:
    return {
        "enc_in": case.channels,
        "seq_len": case.config.context_length,
        "d_model": case.config.d_model,
        "d_ff": case.config.d_ff,
        "dropout": case.config.dropout,
        "dw_ks": list(case.config.kernel_sizes),
        "device": str(on),
    }


def _authors_forecaster(case: Case, on: torch.device) -> nn.Module:
    from sktime.networks.convtimenet.forecaster import (  # pyright: ignore[reportMissingImports]
        _convtimenet as port,
    )

    config = case.config
    return port.Model(
        _authors_sizes(case, on)
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


def _authors_classifier(case: Case, on: torch.device) -> nn.Module:
    from sktime.networks.convtimenet import (  # pyright: ignore[reportMissingImports]
        _convtimenet as port,
    )

    return port.ConvTimeNet._ConvTimeNet(
        **_authors_sizes(case, on),
        patch_size=case.config.patch_size,
        patch_stride=case.config.patch_stride,
        n_classes=case.config.outputs,
    )


def same_function(case: Case) -> dict[str, Any]:
    """Check that both networks compute the same function: equal weights give equal outputs.

    Their random weights are loaded into ours and both evaluate part of the batch in float64.
    Residual scales and offset predictors, which start near zero, are moved away from it first,
    so that every layer contributes.

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
    """Total number of parameters, and number of those that a training step reaches."""
    if not isinstance(model, ConvTimeNet):
        x = x.transpose(1, 2)
    model.train()(x.float()).sum().backward()
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in parameters if p.grad is not None),
    }
