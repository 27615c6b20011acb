"""Export of fitted models as graphs that run without this package's training code.

The inference network and its scaling are traced as one graph, so that inputs and outputs are in
the data's units. The batch size is dynamic, and so is the number of channels if the fitted scaling
allows it. The folder holds ``model.json`` and ``manifest.json`` like a saved model, the graph, and
``parity.json`` with the differences between the outputs of the graph and of the estimator on real
data. docs/export.md compares the formats.
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
from convtimenet.data.table_rows import pad_front
from convtimenet.data.windows import FARTHEST, RESOLVED, filled_contexts
from convtimenet.errors import ArtefactError, ConfigError, DataError, MissingExtraError
from convtimenet.estimators.base import ConvTimeNetEstimator
from convtimenet.estimators.forecasting.forecaster import ConvTimeNetForecaster
from convtimenet.estimators.forecasting.levels import Levelled
from convtimenet.estimators.labelled import LabelledEstimator
from convtimenet.estimators.regressor import ConvTimeNetRegressor
from convtimenet.files import json_text, whole_folder
from convtimenet.network.ensemble import Ensemble, like, networks_in
from convtimenet.network.inference import FusedBlock
from convtimenet.network.model import Blocks
from convtimenet.network.patches import DeformablePatch, Extent
from convtimenet.network.revin import known_moments
from convtimenet.progress import showing
from convtimenet.runtime import session_of
from convtimenet.storage.manifest import DESCRIPTION, seal
from convtimenet.storage.model_folder import WEIGHTS, check_target, head_of, plain_value

Format = Literal["onnx", "onnx-int8", "torch-export", "aoti"]
FILES: dict[str, str] = {
    "onnx": "model.onnx",
    "onnx-int8": "model.onnx",
    "torch-export": "model.pt2",
    "aoti": "model.pt2",
}
PARITY = "parity.json"
_MOST_WINDOWS = 256
# Weights of the matrix products that are quantised; not those of the offset predictor, because
# patch positions need their fraction (SPEC section 2).
_FLOAT = "patches.project.weight"  # thousands of features add up
_EIGHT_BIT = ("widen_weight", "narrow_weight", "project.weight")


class RowsBlock(nn.Module):
    """A fused block whose pointwise pair takes tokens as rows: onnxruntime quantises a constant
    only as the right operand of a matrix product."""

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
    """Deformable patches projected with tokens as rows, for the same reason as `RowsBlock`."""

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


def on_rows(network: Any) -> Any:
    """A copy of an inference network, or of each member of an ensemble, whose weights are right
    operands of their matrix products."""
    if isinstance(network, Ensemble):
        return like(network, [on_rows(one) for one in networks_in(network)])
    rows = copy.deepcopy(network)
    rows.embedding.register_module("patch", RowsPatch(rows.embedding.patch))
    rows.blocks = Blocks(*(RowsBlock(cast(FusedBlock, block)) for block in rows.blocks))
    return rows


class Deployed(nn.Module):
    """The inference network with its scaling; inputs and forecasts are in the data's units.

    Forecasting maps (B, C, L) float64 to (B, C, H) float64, or (B, C, Q, H) with quantiles; float64
    keeps the precision of large values. Cases are (B, C, L) float32, or float64 if the values of a
    channel are so far from 0 that float32 would lose their variation, padded with NaN:
    classification returns probabilities (B, K), regression numbers (B, 1) float64. NaN is a missing
    value: a network with masks masks it; one without reads it as zero in cases, and forecasts NaN.
    """

    def __init__(self, estimator: ConvTimeNetEstimator):
        super().__init__()
        self.network = copy.deepcopy(estimator.fused_).cpu()
        self.centre = nn.Buffer(torch.from_numpy(estimator.scaler_.centre.copy()))
        self.scale = nn.Buffer(torch.from_numpy(estimator.scaler_.scale.copy()))
        self.rounds = nn.Buffer(torch.from_numpy(estimator.scaler_.rounds))
        scaler = estimator.scaler_
        self.fitted_level = (
            nn.Buffer(torch.from_numpy(scaler.level.copy()))
            if isinstance(scaler, Levelled)
            else None
        )
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
        if self.fitted_level is not None:  # of contexts without a known value
            centre = torch.where(missing.all(-1, keepdim=True), self.fitted_level, centre)
        if self.quantiles:
            level = None if level is None else level.unsqueeze(-2)
            centre, scale = centre.unsqueeze(-2), scale.unsqueeze(-2)
        return (answers if level is None else answers + level) * scale + centre


def far_level(x: Tensor, known: Tensor) -> Tensor:
    """The level (B, C, 1) that `Scaler.near` subtracts from scaled contexts (B, C, L) float64
    before they become float32: their mean if it is large compared with their standard deviation,
    else 0."""
    mean, variance = known_moments(x, known)
    far = (mean.abs() > FARTHEST * (variance + 1e-5).sqrt()) | (
        (variance > 0) & (mean.abs() > RESOLVED * variance.sqrt())
    )
    return torch.where(far, mean, 0.0)


def input_type(estimator: ConvTimeNetEstimator) -> Literal["float", "double"]:
    """The data type of the graph's input for a fitted estimator."""
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
    """Write a fitted estimator as a graph, and compare the outputs of the two.

    Parameters
    ----------
    estimator
        A fitted forecaster, classifier or regressor.
    folder
        Created with its parents; an earlier export there is replaced, anything else is an error.
    format
        "onnx"; "onnx-int8" with weights in eight bits; "torch-export" for ``torch.export.load``;
        "aoti" for ``torch._inductor.aoti_load_package`` (compiles, needs a C++ compiler).
    data
        Real data for the comparison: a table for a forecaster (by default the end of the one it
        was fitted to), cases for a classifier or regressor.

    Returns
    -------
    The comparison: "max_difference" and "mean_difference" of the outputs, "largest_answer" (the
    largest absolute output), "inputs" (their number), for a classifier "same_class" (share of equal
    predictions), and "seconds".

    Raises
    ------
    ConfigError
        If the format is unknown, "aoti" finds no C++ compiler, or "onnx-int8" no trained blocks.
    ArtefactError
        If `folder` holds something other than an earlier export.
    DataError
        If data for the comparison are missing or unusable.
    MissingExtraError
        If onnxscript or onnxruntime is needed and not installed.
    """
    check_is_fitted(estimator)
    if format not in FILES:
        raise ConfigError(f"format must be one of {', '.join(FILES)}, found {format!r}")
    if format == "aoti" and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise ConfigError(
            "format 'aoti' needs a C++ compiler (g++, or the one that CXX names), found none; "
            "install one, or export as 'onnx' or 'torch-export'"
        )
    config = estimator.network_.config
    if format == "onnx-int8" and (config.pretrained or not config.kernel_sizes):
        raise ConfigError(
            "format 'onnx-int8' stores the products of trained blocks in eight bits, and a model "
            "of this quality has none; export it as 'onnx' or 'torch-export'"
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
        described = json_text(description, plain_value, indent=1)
        (making / DESCRIPTION).write_text(described, encoding="utf-8")
        (making / PARITY).write_text(json_text(parity, indent=1), encoding="utf-8")
        seal(making)
    return parity


def _inputs(estimator: ConvTimeNetEstimator, data: Any) -> np.ndarray:
    """Real inputs for the comparison: windows (B, C, L) float64, or cases (B, C, L) of the graph's
    `input_type`."""
    L = estimator.network_.config.context_length
    if isinstance(estimator, ConvTimeNetForecaster):
        if estimator.network_.config.covariates:
            raise ConfigError(
                "an exported graph reads no covariates, and this model needs them; fit one without "
                "hist_exog, futr_exog, stat_exog and calendar to export"
            )
        if estimator.scaler_.centre.ndim == 3:
            raise ConfigError(
                "an exported graph cannot hold separate scaling for each series of a long table; "
                "fit with scale=False to export"
            )
        table = estimator.tail_ if data is None else estimator.adapt(data)
        least = estimator.network_.config.least_context
        if len(table.times) < least:
            raise DataError(
                f"the comparison needs at least {least} rows, found {len(table.times)}; give a "
                "longer table"
            )
        table = pad_front(table, L)
        # contexts across all rows; in a long table some span two series, which does no harm here
        windows = np.lib.stride_tricks.sliding_window_view(table.values, L, axis=0)  # (n, C, L)
        step = max(1, len(windows) // _MOST_WINDOWS)
        chosen = windows[::-1][::step][:_MOST_WINDOWS].copy()
        # a graph without masks takes no missing values; contexts without any known value become 0
        masks = estimator.network_.config.masks
        return chosen if masks else np.nan_to_num(filled_contexts(chosen), copy=False)
    assert isinstance(estimator, LabelledEstimator)
    if data is None:
        raise DataError(
            f"a saved {type(estimator).__name__} holds no cases for the comparison; give some as "
            "data="
        )
    cases = estimator.read(data)
    if cases.values.shape[1] != estimator.n_channels_:
        raise DataError(
            f"the graph reads cases with {estimator.n_channels_} channels, found "
            f"{cases.values.shape[1]}; give the fitted channels in their order"
        )
    fitting = cases.values[cases.lengths <= L][:_MOST_WINDOWS, :, :L]
    if not len(fitting):
        raise DataError(
            f"the graph reads cases of up to {L} steps, all given ones are longer; give shorter "
            "ones for the comparison"
        )
    kind = np.float32 if input_type(estimator) == "float" else np.float64
    padded = np.full((*fitting.shape[:2], L), np.nan, dtype=kind)
    padded[..., : fitting.shape[2]] = fitting
    return padded


def _write(deployed: Deployed, path: Path, format: Format, inputs: np.ndarray) -> np.ndarray:
    """Write the graph and return its outputs for `inputs`."""
    config = deployed.network.config
    batch = torch.export.Dim("batch", min=1)
    dynamic: dict[int, Any] = {0: batch}
    # an identity scaling (1, 1) works for any number of channels
    if deployed.head == "forecast" and deployed.scale.numel() == 1 and not config.fixed_channels:
        dynamic[1] = torch.export.Dim("channels", min=1)
    # tracing treats a dimension of size 1 as constant
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
    """Write a network as an ONNX graph from "x" to "y", with the exporter's messages silenced."""
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
    """Quantise the weights named in `_EIGHT_BIT` to eight bits, with a scale per output channel;
    the activations that they are multiplied with are quantised dynamically.

    Static activation scales, calibrated on training windows, were slower and less accurate
    (docs/export.md).
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain = path.with_suffix(".float.onnx")
    # nothing to preprocess, but without this step the quantiser warns on the root logger
    quant_pre_process(
        path, plain, skip_optimization=True, skip_onnx_shape=True, skip_symbolic_shape=True
    )
    chosen = [f"{name}_MatMul" for name in eight_bit_products(plain)]  # names in the output graph
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)  # else the quantiser's debug messages configure logging to stderr
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
    """Names of the nodes (Gemm) whose weights are quantised, in the graph of an `on_rows` copy."""
    import onnx

    return [
        node.name
        for node in onnx.load(path).graph.node
        if node.op_type == "Gemm"
        and node.input[1].endswith(_EIGHT_BIT)
        and not node.input[1].endswith(_FLOAT)
    ]
