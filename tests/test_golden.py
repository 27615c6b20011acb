"""Parity with the paper authors' code, in float64 (SPEC.md is our description of it).

Every .npz of the golden folder is taken: ../shared/golden beside the repository, or the folder
that CONVTIMENET_GOLDEN names.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from convtimenet.config import ModelConfig
from convtimenet.network.inference import fuse
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.original import from_original, our_name

FOLDER = Path(os.environ.get("CONVTIMENET_GOLDEN", Path(__file__).parents[2] / "shared" / "golden"))
FILES = sorted(FOLDER.glob("*.npz"))
if "CONVTIMENET_GOLDEN" in os.environ and not FILES:
    raise FileNotFoundError(f"CONVTIMENET_GOLDEN={FOLDER} holds no .npz file")

pytestmark = pytest.mark.skipif(
    not FILES, reason=f"no golden files in {FOLDER}; set CONVTIMENET_GOLDEN"
)


def config_of(settings: dict) -> ModelConfig:
    """The authors' hyper-parameters in our words."""
    sizes = {
        "patch_size": settings["patch_length"],
        "patch_stride": settings["patch_stride"],
        "kernel_sizes": tuple(settings["kernel_sizes"]),
        "d_model": settings["d_model"],
        "d_ff": settings["d_ff"],
        "norm": settings.get("norm", "batch"),
        "deformable": settings.get("deformable", True),
        "residual": "learnable" if settings.get("learnable_residual", True) else "plain",
        "small_kernel": settings.get("reparam_kernel", 3) if settings.get("reparam", True) else 0,
        "dropout": 0.0,
    }
    if settings["task"] == "classification":
        return ModelConfig.classification(
            channels=settings["n_channels"],
            context_length=settings["series_length"],
            n_classes=settings["n_classes"],
            **sizes,
        )
    affine = settings.get("affine", False)
    return ModelConfig.forecasting(
        context_length=settings["context_length"],
        horizon=settings["prediction_length"],
        padding="repeat" if settings.get("padding_patch", "end") == "end" else "none",
        revin=settings.get("revin", True),
        revin_subtract_last=settings.get("subtract_last", False),
        revin_affine_channels=settings["n_channels"] if affine else 0,
        **sizes,
    )


class Golden:
    """One file: the network with its weights, the input as (B, C, L), the recorded arrays."""

    def __init__(self, file: Path):
        with np.load(file, allow_pickle=False) as archive:
            self.arrays = {name: archive[name] for name in archive.files}
        self.config = config_of(json.loads(str(self.arrays["config"])))
        self.jointly = self.config.head == "classify"
        state = {
            name.removeprefix("state/"): torch.from_numpy(value)
            for name, value in self.arrays.items()
            if name.startswith("state/")
        }
        self.model = from_original(state, self.config)
        x = torch.from_numpy(self.arrays["input"])
        self.input = (x.transpose(1, 2) if self.jointly else x).contiguous()


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def golden(request) -> Golden:
    return Golden(request.param)


def assert_close(
    actual: torch.Tensor, expected: np.ndarray, tolerance: float, what: str, rounding: float = 0.0
):
    """Largest difference, relative to the largest expected value, but for `rounding`."""
    assert tuple(actual.shape) == expected.shape, what
    difference = np.abs(actual.detach().numpy() - expected).max()
    assert difference <= tolerance * np.abs(expected).max() + rounding, what


def intermediates(model: ConvTimeNet, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the golden files list of an evaluation forward, in their axis order."""
    B, C, _ = x.shape
    patch, N = model.embedding.patch, model.config.n_patches
    found = {}
    if model.revin is not None:
        x, _ = model.revin(x)
        found["normalised"] = x
    padded = patch.pad(model.rows(x))
    found["padded"] = padded.view(B, C, -1)
    sampled = patch.sample(padded)  # (R, N, P, c)
    found["patches"] = sampled.permute(0, 3, 1, 2).reshape(B, C, N, -1)
    if patch.predict is not None:
        first = torch.arange(N) * patch.patch_stride
        edges = torch.stack([edge + first for edge in patch.boxes(padded)], -1)
        edges = edges / (model.config.padded_length - 1)  # (R, N, 2)
        jointly = model.config.head == "classify"
        found["bounds"] = edges if jointly else edges.view(B, C, N, 2).transpose(1, 2)
    jointly = model.config.head == "classify"
    embedded = model.embedding(model.rows(x))
    for name, tokens in (("embedding", embedded), ("tokens", model.tokens(embedded))):
        rows = tokens.transpose(0, 1)
        found[name] = rows if jointly else rows.unflatten(0, (B, C))
    return found


def test_evaluation(golden: Golden):
    model = golden.model.eval()
    with torch.no_grad():
        output = model(golden.input)
        found = intermediates(model, golden.input)
    assert_close(output, golden.arrays["eval/output"], 1e-9, "output")
    for name, expected in golden.arrays.items():
        kind, _, what = name.partition("/")
        if kind == "eval" and what != "output":
            assert_close(found[what], expected, 1e-9, what)


def test_training(golden: Golden):
    model, arrays = golden.model.train(), golden.arrays
    x = golden.input.requires_grad_()
    output = model(x)
    assert_close(output, arrays["train/output"], 1e-9, "output")
    loss = (output * torch.from_numpy(arrays["train/loss_weight"])).sum() / output.numel() ** 0.5
    assert_close(loss, arrays["train/loss"], 1e-9, "loss")
    loss.backward()
    assert x.grad is not None
    grad_input = x.grad.transpose(1, 2) if golden.jointly else x.grad
    assert_close(grad_input, arrays["train/grad_input"], 1e-7, "input gradient")
    gradients = [np.abs(g).max() for name, g in arrays.items() if name.startswith("train/grad/")]
    # A bias in front of a BatchNorm has gradient 0 in exact arithmetic: only rounding is left.
    rounding = 1e-14 * max(gradients)
    parameters, state = dict(model.named_parameters()), model.state_dict()
    compared = set()
    for name, expected in arrays.items():
        if name.startswith("train/grad/"):
            ours = our_name(name.removeprefix("train/grad/"))
            if ours is None:
                continue
            gradient = parameters[ours].grad
            assert gradient is not None, ours
            assert_close(gradient.reshape(expected.shape), expected, 1e-7, ours, rounding)
            compared.add(ours)
        elif name.startswith("train/after/"):
            ours = our_name(name.removeprefix("train/after/"))
            assert ours is not None
            assert_close(state[ours], expected, 1e-9, ours)
    assert compared == set(parameters), "every parameter has a golden gradient"


def test_fused(golden: Golden):
    model = golden.model.float().eval()
    x = golden.input.float()
    with torch.no_grad():
        expected = model(x)
        assert_close(fuse(model)(x), expected.numpy(), 1e-5, "fused output")
