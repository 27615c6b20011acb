"""Fitted models as graphs that run without this package's training code.

The inference network is wrapped with its scaling, so that the graph takes and gives the data's own
units, and traced whole with a free batch size (and free channel count where the fitted scaling
allows it). The folder holds ``model.json`` and ``manifest.json`` as a saved model does, the graph,
and ``parity.json``: how far the graph's answers lie from the estimator's on real data.
docs/export.md compares the formats.
"""

from __future__ import annotations

import copy
import logging
import os
import shutil
import time
import warnings
from os import PathLike
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from convtimenet._shapes import Bool, Float
from convtimenet.data.windows import FARTHEST, filled_contexts
from convtimenet.errors import ArtefactError, ConfigError, DataError, MissingExtraError
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.labelled import LabelledEstimator
from convtimenet.estimators.regressor import ConvTimeNetRegressor
from convtimenet.files import json_text, whole_folder
from convtimenet.network.inference import FusedBlock
from convtimenet.network.model import Blocks, ConvTimeNet
from convtimenet.network.patches import DeformablePatch, Extent
from convtimenet.network.revin import known_moments
from convtimenet.progress import showing
from convtimenet.runtime import session_of
from convtimenet.storage.manifest import DESCRIPTION, seal
from convtimenet.storage.model_folder import WEIGHTS, check_target, head_of

Format = Literal["onnx", "onnx-int8", "torch-export", "aoti"]
FILES: dict[str, str] = {
    "onnx": "model.onnx",
    "onnx-int8": "model.onnx",
    "torch-export": "model.pt2",
    "aoti": "model.pt2",
}
PARITY = "parity.json"
_MOST_WINDOWS = 256
# Constants of the products that become eight-bit; the offset predictor is not among them, for
# positions need their fraction (SPEC section 2).
_EIGHT_BIT = ("widen_weight", "narrow_weight", "project.weight")


class RowsBlock(nn.Module):
    """A fused block whose pointwise pair reads tokens as rows: onnxruntime keeps a constant in
    eight bits only on the right of a product."""

    def __init__(self, block: FusedBlock):
        super().__init__()
        self.block = block

    def forward(
        self, u: Float[Tensor, "D R N"], mask: Bool[Tensor, "R N"] | None = None
    ) -> Float[Tensor, "D R N"]:
        block = self.block
        flat = block.convolved(u).flatten(1)
        hidden = F.gelu(F.linear(flat.T, block.widen_weight, block.widen_bias[:, 0]))
        pair = F.linear(hidden, block.narrow_weight, block.narrow_bias[:, 0])
        w = block.norm_pointwise(torch.addcmul(pair.T, block.s2, flat).view_as(u))
        return w if mask is None else torch.where(mask, w, 0.0)


class RowsPatch(nn.Module):
    """Deformable patches projected as rows, for the same reason."""

    def __init__(self, patch: DeformablePatch):
        super().__init__()
        self.patch = patch
        self.extent = patch.extent

    def forward(
        self, x: Float[Tensor, "R C L"], extent: Extent | None = None
    ) -> Float[Tensor, "D R N"]:
        patches = self.patch.sample(self.patch.pad(x, extent), extent)
        R, N = patches.shape[:2]
        return self.patch.project(patches.reshape(R * N, -1)).T.reshape(-1, R, N)


def on_rows(network: ConvTimeNet) -> ConvTimeNet:
    """A copy of an inference network with every constant on the right of its product."""
    rows = copy.deepcopy(network)
    rows.embedding.register_module("patch", RowsPatch(rows.embedding.patch))
    rows.blocks = Blocks(*(RowsBlock(cast(FusedBlock, block)) for block in rows.blocks))
    return rows


class Deployed(nn.Module):
    """The inference network between its scaling, from the data's units to answers.

    Forecasting takes (B, C, L) float64 and gives (B, C, H) float64, so that large values keep
    their fraction; (B, C, Q, H) with quantiles. Cases are (B, C, L) float32, or float64 where the
    values of a channel lie so far from 0 that float32 would lose their shape, NaN behind a case's
    own end: classification gives probabilities (B, K), regression numbers (B, 1) float64. NaN is a
    missing value, which a network with masks is told; one without reads zero in cases, and
    forecasts NaN.
    """

    def __init__(self, estimator: ConvTimeNetEstimator):
        super().__init__()
        self.network = copy.deepcopy(estimator.fused_).cpu()
        self.centre = nn.Buffer(torch.from_numpy(estimator.scaler_.centre.copy()))
        self.scale = nn.Buffer(torch.from_numpy(estimator.scaler_.scale.copy()))
        self.rounds = nn.Buffer(torch.from_numpy(estimator.scaler_.rounds))
        self.input = input_type(estimator)
        self.head = self.network.config.head
        self.quantiles = len(self.network.config.quantiles)
        if isinstance(estimator, ConvTimeNetRegressor):
            targets = estimator.target_scaler_
            self.target_centre = nn.Buffer(torch.from_numpy(targets.centre[0].copy()))
            self.target_scale = nn.Buffer(torch.from_numpy(targets.scale[0].copy()))

    def forward(self, x: Tensor) -> Tensor:
        if self.head != "forecast" and self.input == "double":  # as `Scaler.rounded`
            x = torch.where(self.rounds, x.float().double(), x)
        missing, masks = x.isnan(), self.network.config.masks
        scaled, level = (x.double() - self.centre) / self.scale, None
        if self.head == "forecast" and self.network.config.revin:
            level = far_level(scaled, ~missing)
            scaled = scaled - level
        scaled = scaled.float()
        if masks or self.head != "forecast":
            scaled = torch.where(missing, 0.0, scaled)
        y = self.network(scaled, ~missing if masks else None)
        if self.head == "classify":
            return y.softmax(-1)
        if self.head == "regress":
            return y.double() * self.target_scale + self.target_centre
        answers = y.double()
        centre, scale = self.centre, self.scale
        if self.quantiles:
            level = None if level is None else level.unsqueeze(-2)
            centre, scale = centre.unsqueeze(-2), scale.unsqueeze(-2)
        return (answers if level is None else answers + level) * scale + centre


def far_level(x: Tensor, known: Tensor) -> Tensor:
    """What `Scaler.near` takes off scaled contexts (B, C, L) float64 before they become float32,
    (B, C, 1): their mean where they lie far from 0 for what they vary by, else 0."""
    mean, variance = known_moments(x, known)
    far = mean.abs() > FARTHEST * (variance + 1e-5).sqrt()
    return torch.where(far, mean, 0.0)


def input_type(estimator: ConvTimeNetEstimator) -> Literal["float", "double"]:
    """What numbers the graph of a fitted estimator takes."""
    if isinstance(estimator, LabelledEstimator) and estimator.scaler_.rounds.all():
        return "float"
    return "double"


def export(
    estimator: ConvTimeNetEstimator,
    folder: str | PathLike[str],
    format: Format = "onnx",
    *,
    data: Any = None,
) -> dict[str, Any]:
    """Write a fitted estimator as a graph, with a comparison of the two beside it.

    Parameters
    ----------
    estimator
        A fitted forecaster, classifier or regressor.
    folder
        Made with its parents; an earlier export there is replaced, anything else refused.
    format
        "onnx"; "onnx-int8" with weights in eight bits; "torch-export" for ``torch.export.load``;
        "aoti" for ``torch._inductor.aoti_load_package`` (compiles, needs a C++ compiler).
    data
        Real data for the comparison: a table for a forecaster (by default the end of the one it
        was fitted to), cases for the others.

    Returns
    -------
    The comparison: "max_difference" and "mean_difference" of the answers, "largest_answer",
    "inputs", for a classifier "same_class" (share of equal predictions), and "seconds".

    Raises
    ------
    ConfigError
        If the format is unknown, or "aoti" finds no C++ compiler.
    ArtefactError
        If something other than an earlier export lies at `folder`.
    DataError
        If data for the comparison are needed or unusable.
    MissingExtraError
        If onnxscript or onnxruntime are needed and not installed.
    """
    check_is_fitted(estimator)
    if format not in FILES:
        raise ConfigError(f"format must be one of {', '.join(FILES)}, found {format!r}")
    if format == "aoti" and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise ConfigError(
            "format 'aoti' compiles and found no C++ compiler (g++, or the one that CXX names); "
            "install one, or export as 'onnx' or 'torch-export'"
        )
    if (Path(folder) / WEIGHTS).exists():
        raise ArtefactError(f"{folder} holds a saved model; give the export a folder of its own")
    check_target(folder, frozenset({*FILES.values(), PARITY}))
    inputs = _inputs(estimator, data)
    begin = time.perf_counter()
    deployed = Deployed(estimator).eval()
    with torch.inference_mode():
        expected = deployed(torch.from_numpy(inputs)).numpy()
    with showing("exporting", estimator.verbose, busy=True), whole_folder(folder) as making:
        found = _write(deployed, making / FILES[format], format, inputs)
        parity = {
            "format": format,
            "inputs": len(inputs),
            "max_difference": float(np.abs(found - expected).max()),
            "mean_difference": float(np.abs(found - expected).mean()),
            "largest_answer": float(np.abs(expected).max()),
            "seconds": round(time.perf_counter() - begin, 1),
        }
        if deployed.head == "classify":
            same = found.argmax(-1) == expected.argmax(-1)
            parity["same_class"] = float(same.mean())
        description = head_of(type(estimator).__name__, estimator.network_.config)
        description |= estimator.description() | {
            "export": {
                "file": FILES[format],
                "gaps": deployed.network.config.masks,
                "input": deployed.input,
                **parity,
            }
        }
        (making / DESCRIPTION).write_text(json_text(description, indent=1), encoding="utf-8")
        (making / PARITY).write_text(json_text(parity, indent=1), encoding="utf-8")
        seal(making)
    return parity


def _inputs(estimator: ConvTimeNetEstimator, data: Any) -> np.ndarray:
    """Real inputs of the graph: windows (B, C, L) float64, or cases (B, C, L) of its
    `input_type`."""
    L = estimator.network_.config.context_length
    if isinstance(estimator, ConvTimeNetForecaster):
        if estimator.network_.config.covariates:
            raise ConfigError("a graph reads the series alone, this model also its covariates")
        if estimator.scaler_.centre.ndim == 3:
            raise ConfigError(
                "the graph cannot hold a scaling for each series of a long table; fit with "
                "scale=False to export"
            )
        table = estimator.tail_ if data is None else estimator.adapt(data)
        if len(table.times) < L:
            raise DataError(f"the comparison needs at least {L} rows, found {len(table.times)}")
        # contexts of the rows as they lie; of several series some reach over a border
        windows = np.lib.stride_tricks.sliding_window_view(table.values, L, axis=0)  # (n, C, L)
        step = max(1, len(windows) // _MOST_WINDOWS)
        chosen = windows[::-1][::step][:_MOST_WINDOWS].copy()
        # a graph without masks takes no gaps; of which nothing is known reads as 0
        masks = estimator.network_.config.masks
        return chosen if masks else np.nan_to_num(filled_contexts(chosen), copy=False)
    assert isinstance(estimator, LabelledEstimator)
    if data is None:
        raise DataError(
            f"a {type(estimator).__name__} keeps no cases; give some as data= for the comparison"
        )
    cases = estimator.read(data)
    if cases.values.shape[1] != estimator.n_channels_:
        raise DataError(
            f"the graph reads cases of {estimator.n_channels_} channels, found "
            f"{cases.values.shape[1]}; give the fitted channels in their order"
        )
    fitting = cases.values[cases.lengths <= L][:_MOST_WINDOWS, :, :L]
    if not len(fitting):
        raise DataError(f"the graph reads cases of up to {L} steps, all given ones are longer")
    kind = np.float32 if input_type(estimator) == "float" else np.float64
    padded = np.full((*fitting.shape[:2], L), np.nan, dtype=kind)
    padded[..., : fitting.shape[2]] = fitting
    return padded


def _write(deployed: Deployed, path: Path, format: Format, inputs: np.ndarray) -> np.ndarray:
    """Write the graph and return its answers to `inputs`."""
    config = deployed.network.config
    batch = torch.export.Dim("batch", min=1)
    dynamic: dict[int, Any] = {0: batch}
    # an identity scaling (1, 1) fits any number of channels
    if (
        deployed.head == "forecast"
        and deployed.scale.numel() == 1
        and not config.revin_affine_channels
    ):
        dynamic[1] = torch.export.Dim("channels", min=1)
    # of a size of 1 tracing takes for granted that it stays so
    shape = 2, max(2, inputs.shape[1]) if 1 in dynamic else inputs.shape[1], inputs.shape[2]
    example = torch.from_numpy(np.resize(inputs[:2], shape))
    if format in ("onnx", "onnx-int8"):
        return _write_onnx(deployed, path, format == "onnx-int8", inputs, example, dynamic)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations while it traces
        program = torch.export.export(deployed, (example,), dynamic_shapes=(dynamic,))
        if format == "torch-export":
            torch.export.save(program, path)
            loaded = torch.export.load(path).module()
        else:
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
            loaded = torch._inductor.aoti_load_package(str(path))
        return loaded(torch.from_numpy(inputs)).numpy()


def _write_onnx(
    deployed: Deployed,
    path: Path,
    int8: bool,
    inputs: np.ndarray,
    example: Tensor,
    dynamic: dict[int, Any],
) -> np.ndarray:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(str(error.name), "export", "ONNX export") from error
    if int8:
        deployed = copy.deepcopy(deployed)
        deployed.network = on_rows(deployed.network)
    trace_onnx(deployed, path, example, dynamic)
    if int8:
        quantise(path)
    return np.asarray(session_of(path.read_bytes(), str(path)).run(None, {"x": inputs})[0])


def trace_onnx(deployed: Deployed, path: Path, example: Tensor, dynamic: dict[int, Any]) -> None:
    """Write a network as an ONNX graph from "x" to "y", without the exporter's own messages."""
    quiet = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in quiet]
    try:
        for logger in quiet:
            logger.setLevel(logging.CRITICAL)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                deployed,
                (example,),
                dynamo=True,
                dynamic_shapes=(dynamic,),
                input_names=["x"],
                output_names=["y"],
                opset_version=20,
                verbose=False,
            )
            assert program is not None
            program.save(str(path))
    finally:
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)


def quantise(path: Path) -> None:
    """Replace the float weights of the products named in `_EIGHT_BIT` by eight-bit ones, a scale
    for each output; what is multiplied with them is brought to eight bits as it comes.

    Scales of the activations fixed beforehand from training windows were slower and lost more
    (docs/export.md).
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain = path.with_suffix(".float.onnx")
    # nothing to prepare, but what is not marked as prepared is warned of on the root logger
    quant_pre_process(
        path, plain, skip_optimization=True, skip_onnx_shape=True, skip_symbolic_shape=True
    )
    chosen = [f"{name}_MatMul" for name in eight_bit_products(plain)]  # as it renames them
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)  # else the quantiser's debug messages set up logging on stderr
    try:
        quantize_dynamic(
            plain, path, weight_type=QuantType.QInt8, per_channel=True, nodes_to_quantize=chosen
        )
    finally:
        root.removeHandler(silent)
    plain.unlink()
    done = sum(node.op_type == "MatMulInteger" for node in onnx.load(path).graph.node)
    assert done == len(chosen) > 0


def eight_bit_products(path: Path) -> list[str]:
    """Names of the nodes (Gemm) of a graph `on_rows` whose constants become eight-bit."""
    import onnx

    return [
        node.name
        for node in onnx.load(path).graph.node
        if node.op_type == "Gemm" and node.input[1].endswith(_EIGHT_BIT)
    ]
