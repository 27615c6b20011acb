"""Read checkpoints of the paper authors' code."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from convtimenet.config import ModelConfig
from convtimenet.errors import ArtefactError
from convtimenet.network.model import ConvTimeNet

# Maps their names, after an optional "module." (DataParallel) and "model." (forecaster), to ours.
_RENAMED = (
    (r"revin_layer\.affine_(weight|bias)", r"revin.\1"),
    (
        r"(?:deformable_sampling|depatchEmbedding)\.offset_predictor\.offset_predictor\.(.*)",
        r"embedding.patch.predict.\1",
    ),
    (r"(?:backbone\.W_P|depatchEmbedding\.output_conv)\.(.*)", r"embedding.patch.project.\1"),
    (r"depatchEmbedding\.norm\.(.*)", r"embedding.norm.\1"),
    (r"(?:head\.linear|main_net\.head\.2)\.(.*)", r"head.project.\1"),
)
_RENAMED_IN_BLOCK = (
    (r"DW_conv(?:_large)?\.(.*)", r"conv.\1"),
    (r"DW_conv_small\.(.*)", r"conv.small_\1"),
    (r"sublayerconnect1\.a", r"add_conv.scale"),
    (r"sublayerconnect2\.a", r"add_pointwise.scale"),
    (r"dw_norm\.(.*)", r"norm_conv.\1"),
    (r"ff\.0\.(.*)", r"pointwise.widen.\1"),
    (r"ff\.3\.(.*)", r"pointwise.narrow.\1"),
    (r"norm_ffn\.(.*)", r"norm_pointwise.\1"),
)
# Entries of their checkpoints that do not affect the output.
_UNUSED = re.compile(r".*\.DW_infer\..*|main_net\.W_P\..*|.*box_coder\.anchor")
_IN_BLOCK = re.compile(r"(?:backbone|main_net)\.encoder\.layers\.(\d+)\.(.*)")


def our_name(name: str) -> str | None:
    """Our parameter name for one of theirs; None if it does not affect the output.

    Raises
    ------
    ArtefactError
        If the authors' code has no such name.
    """
    name = name.removeprefix("module.").removeprefix("model.")
    if _UNUSED.fullmatch(name):
        return None
    prefix, rest, table = "", name, _RENAMED
    if block := _IN_BLOCK.fullmatch(name):
        prefix, rest, table = f"blocks.{block[1]}.", block[2], _RENAMED_IN_BLOCK
    for pattern, ours in table:
        if match := re.fullmatch(pattern, rest):
            return prefix + match.expand(ours)
    raise ArtefactError(
        f"{name!r} is not a parameter of the authors' ConvTimeNet; expected a state_dict of "
        "their forecasting or classification model"
    )


def from_original(state_dict: Mapping[str, Tensor], config: ModelConfig) -> ConvTimeNet:
    """Build a network with the weights of an authors' checkpoint.

    Parameters
    ----------
    state_dict
        Names and tensors as their code saves them.
    config
        The settings the checkpoint was trained with.

    Returns
    -------
    ConvTimeNet
        In the checkpoint's number format, in training mode.

    Raises
    ------
    ArtefactError
        If names are unknown or missing, or a shape does not fit `config`.
    """
    ours = {our_name(name): value for name, value in state_dict.items()}
    ours.pop(None, None)
    model = ConvTimeNet(config)
    expected = model.state_dict()
    if missing := sorted(set(expected) - set(ours)):
        raise ArtefactError(f"the checkpoint lacks weights the config needs: {', '.join(missing)}")
    if extra := sorted(str(name) for name in set(ours) - set(expected)):
        raise ArtefactError(f"the checkpoint has weights not in the config: {', '.join(extra)}")
    loaded = {}
    for name, tensor in expected.items():
        theirs = ours[name]
        # Some of theirs are 1-wide convolutions, ours matrices; the order of values is the same.
        if theirs.numel() != tensor.numel():
            raise ArtefactError(
                f"{name}: the config needs shape {tuple(tensor.shape)}, "
                f"the checkpoint has {tuple(theirs.shape)}"
            )
        loaded[name] = theirs.reshape(tensor.shape)
    floating = next(t.dtype for t in loaded.values() if t.is_floating_point())
    model.to(floating).load_state_dict(loaded)
    return model
