"""Explanations by occlusion: a part of a series is hidden, and the network predicts again.

A part is one channel over a span of time. Its importance is how far the prediction moves when it
is hidden (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014). A
network with masks is told that the part is missing, so it predicts as if those values had not been
measured. Without masks the part is replaced by a constant: in forecasting by the mean of the
context; for cases by zero after scaling, the middle of the training range.

Importance describes this model on this series; it is not causal. Importances do not add up: if two
parts carry the same information, hiding either changes little. A model that saw no gaps in
training also reacts to the gap itself.

Shape legend: `convtimenet._shapes`; n series or cases, M spans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from convtimenet.batch import Batch, Covariates
from convtimenet.config import ModelConfig
from convtimenet.data.agreement import Labels, match_ids
from convtimenet.data.labelled.cases import Cases
from convtimenet.data.table_rows import select_series
from convtimenet.data.tables import Table
from convtimenet.data.windows import Scaler, Windows, known_in
from convtimenet.errors import ConfigError, DataError
from convtimenet.network.memory import Parts
from convtimenet.network.model import ConvTimeNet, deformation
from convtimenet.progress import counted
from convtimenet.training.losses import point_forecast
from convtimenet.wording import html_table, listing

__all__ = ["CaseExplanation", "Explanation", "ForecastExplanation"]

_SPANS = 24
_SHOWN = 5  # series or cases in a notebook
Hiding = Literal["mask", "mean", "zero"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Importance of the parts of n series.

    Attributes
    ----------
    importance : ndarray, shape (n, C, M)
        How far the prediction moves when a channel is hidden over a span; NaN if all of its values
        are missing.
    spans : ndarray of int, shape (M, 2)
        First time step of every span, and its last one + 1.
    hidden_by : str
        How parts are hidden: "mask", marked as missing; "mean", replaced by the mean of the
        context; "zero", replaced by zero after scaling.
    values : ndarray, shape (n, C, L)
        The series in the data's units, NaN where missing.
    channels : tuple of str
        C names.
    left, right : ndarray, shape (n, C, N), or (n, 1, N) if channels are read together
        Edges of the deformable patches in time steps of the series; NaN for a patch whose values
        are all missing, and for a model without patches of its own (quality "fast" and "best").
    """

    importance: np.ndarray
    spans: np.ndarray
    hidden_by: Hiding
    values: np.ndarray
    channels: tuple[str, ...]
    left: np.ndarray
    right: np.ndarray

    def _repr_html_(self) -> str:
        """The most important part of each of the first series or cases, for notebooks."""
        rows = []
        for n, one in enumerate(np.nan_to_num(self.importance[:_SHOWN])):
            c, m = np.unravel_index(int(np.abs(one).argmax()), one.shape)
            first, end = self.spans[m]
            rows.append([n, self.channels[c], f"{first} to {end - 1}", float(one[c, m])])
        caption = f"Most important parts, {len(rows)} of {len(self.importance)}"
        return html_table(caption, rows, ["number", "channel", "time steps", "importance"])


@dataclass(frozen=True, kw_only=True, eq=False)
class ForecastExplanation(Explanation):
    """Importance of the parts of contexts for the forecasts of their own channel, and of whole
    channels for each other where the network has channel mixing.

    Attributes
    ----------
    importance : ndarray, shape (n, C, M)
        Mean over the horizon of the absolute `change`.
    change : ndarray, shape (n, C, M, H)
        The channel's forecast less its forecast without the part, in the data's units.
    channel_importance : ndarray, shape (n, C, C)
        Mean absolute change of the forecast of each channel (last axis) when another one is hidden
        completely; 0 if every channel is forecast from itself alone, and on the diagonal.
    forecast : ndarray, shape (n, C, H)
        The explained forecast, in the data's units.
    times : ndarray, shape (n, L)
        Time stamps of the contexts, as in `Table.times`.
    ids : ndarray, shape (n,)
        Series ids of a long table.
    covariates : tuple of str
        Names of the model's K covariates.
    covariate_importance : ndarray, shape (n, K, C)
        Mean absolute change of every channel's forecast when a covariate is hidden completely,
        including the horizon if it is known ahead.
    """

    change: np.ndarray
    channel_importance: np.ndarray
    forecast: np.ndarray
    times: np.ndarray
    ids: np.ndarray
    covariates: tuple[str, ...]
    covariate_importance: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class CaseExplanation(Explanation):
    """Importance of the parts of cases for their predictions.

    Attributes
    ----------
    importance : ndarray, shape (n, C, M)
        `explained` minus its value without the part: above 0 the part raises the probability of
        the predicted class, or the predicted number; below 0 it lowers it.
    answers : ndarray, shape (n,)
        The predicted class or number of every case.
    explained : ndarray, shape (n,)
        The probability of that class, or the number itself; see `measure`.
    measure : str
        "probability" or "number".
    lengths : ndarray of int, shape (n,)
        Time steps of every case.
    """

    answers: np.ndarray
    explained: np.ndarray
    measure: Literal["probability", "number"]
    lengths: np.ndarray


# --- arguments -----------------------------------------------------------------------------------


def spans_of(spans: Any, length: int) -> np.ndarray:
    """The spans (M, 2) for the argument `spans`: a number of equal ones, or pairs.

    Raises
    ------
    ConfigError
        If they do not lie within `length` steps.
    """
    if spans is None:
        spans = min(_SPANS, length)
    if isinstance(spans, (int, np.integer)) and not isinstance(spans, bool):
        if not 1 <= spans <= length:
            raise ConfigError(f"spans must be 1 to {length}, the number of steps; found {spans}")
        edges = np.linspace(0, length, int(spans) + 1).round().astype(np.int64)
        return np.stack([edges[:-1], edges[1:]], axis=1)
    try:
        pairs = np.asarray(spans)
    except ValueError:  # pairs of unequal lengths
        pairs = np.empty(0)
    first, end = pairs.T if pairs.ndim == 2 and pairs.shape[1:] == (2,) else (pairs, pairs)
    if pairs.dtype.kind not in "iu" or not ((first >= 0) & (first < end) & (end <= length)).all():
        raise ConfigError(
            "spans must be a number of spans, or pairs (first step, last step + 1) within the "
            f"{length} steps; found {spans!r}"
        )
    return pairs.astype(np.int64)


def chosen_series(table: Table, series: Any) -> Table:
    """The series of a table with the given id or ids; by default the only series.

    Raises
    ------
    ConfigError
        If the table has no ids.
    DataError
        If an id is not in the table, or it has several series and no id is given.
    """
    ids = table.ids.tolist()
    if series is None:
        if len(ids) > 1:
            raise DataError(
                f"the table holds {len(ids)} series, expected the ids of those to explain; give "
                f"them, as in series={ids[0]!r}"
            )
        return table
    if not table.long:
        raise ConfigError("series=... is given, but the table has no ids; leave it out")
    wanted = [series] if isinstance(series, str) or np.ndim(series) == 0 else list(series)
    unique, labels = list(dict.fromkeys(wanted)), Labels(ids)
    numbers, _ = match_ids(np.array([*unique, None], dtype=object)[:-1], labels, "series")
    of = dict(zip(unique, numbers.tolist(), strict=True))
    missing = [one for one in unique if of[one] < 0]
    if missing or not wanted:
        raise DataError(
            f"the table lacks the series {listing(missing, 3)}; it has {listing(ids, 3)}"
            if wanted
            else "expected the ids of the series to explain, found none; name some or leave it out"
        )
    return select_series(table, np.array([of[one] for one in wanted]))


# --- hiding --------------------------------------------------------------------------------------


def without_parts(
    network: nn.Module,
    config: ModelConfig,
    batch: Batch,
    spans: np.ndarray,
    size: int,
    read: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Predictions with each part hidden in turn.

    Parameters
    ----------
    network
        Fused for inference.
    batch
        B series.
    spans
        (M, 2).
    size
        Batch size of the network.
    read
        Turns outputs into predictions, given the indices of their series in `batch`.

    Returns
    -------
    (B, c, M, ...), for c channels read together. Channels that are read independently are hidden
    in the same pass.
    """
    x, device = batch.x, batch.x.device
    steps = torch.arange(x.shape[-1], device=device)
    edges = torch.from_numpy(spans).to(device)
    inside = (steps >= edges[:, :1]) & (steps < edges[:, 1:])
    c, M = _read_together(config), len(spans)
    fill = x.mean(-1, keepdim=True) if config.head == "forecast" else torch.zeros_like(x[..., :1])

    def hidden(numbers: Tensor) -> Batch:
        series, rest = numbers // (c * M), numbers % (c * M)
        hide = inside[rest % M][:, None]
        if c > 1:
            hide = hide & (torch.arange(c, device=device) == (rest // M)[:, None])[..., None]
        own = _rows(batch, series)
        if not config.masks:
            return own._replace(x=own.x.where(~hide, fill[series]))
        known = ~hide.expand_as(own.x)
        return own._replace(known=known if own.known is None else own.known & known)

    every = torch.arange(len(x) * c * M, device=device)
    answers = _outputs(network, every, hidden, size, lambda y, at: read(y, at // (c * M)))
    return answers.unflatten(0, (len(x), c, M))


def _outputs(
    network: nn.Module,
    numbers: Tensor,
    batch_of: Callable[[Tensor], Batch],
    size: int,
    read: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Predictions for the examples with these numbers, in batches."""
    parts, answers = Parts("explaining"), []

    def compute(some: Tensor) -> Tensor:
        return read(network(*batch_of(some).inputs).float(), some).cpu()

    for chunk in counted(numbers.split(size)):
        answers += parts.run(len(chunk), lambda part, chunk=chunk: compute(chunk[part]))
    return torch.cat(answers)


def _read_together(config: ModelConfig) -> int:
    """Channels whose values bear on the same answers; 1 if each is forecast by itself."""
    return max(max(one.channels, one.mixed_channels) for one in config.networks)


def _rows(batch: Batch, index: Tensor) -> Batch:
    """The series of a batch with these indices; inputs only."""
    x, known = batch.x[index], None if batch.known is None else batch.known[index]
    return Batch(x, x, known=known, covariates=_pick(batch.covariates, index))


def _pick(covariates: Covariates | None, index: Tensor) -> Covariates | None:
    if covariates is None:
        return None
    return Covariates(*(None if one is None else one[index] for one in covariates))


def _any_known(batch_known: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Whether any value of a part is known, (n, C, M), given the observed mask (n, C, L)."""
    before = np.concatenate([np.zeros_like(batch_known[..., :1], int), batch_known.cumsum(-1)], -1)
    first, end = spans.clip(max=batch_known.shape[-1]).T
    return before[..., end] > before[..., first]


def _patches(network: ConvTimeNet, x: Tensor, known: Tensor | None) -> tuple[np.ndarray, ...]:
    with torch.autocast(x.device.type, enabled=False):  # the network computes them in float32 too
        return tuple(edge.cpu().double().numpy() for edge in deformation(network, x, known))


# --- forecasts -----------------------------------------------------------------------------------


def explain_windows(
    network: ConvTimeNet,
    fused: nn.Module,
    windows: Windows,
    scaler: Scaler,
    values: np.ndarray,
    spans: np.ndarray,
    size: int,
    covariates: Sequence[tuple[str, str, slice]],
) -> dict[str, Any]:
    """The fields of `ForecastExplanation` that come from the network, for one window of each of n
    series.

    Parameters
    ----------
    scaler
        Statistics of all series together, or of each.
    values
        (n, C, L) in the data's units, NaN where missing.
    covariates
        For each covariate its name, its field of `Covariates`, and its columns there.
    """
    config = network.config
    every = torch.arange(len(windows), device=windows.starts.device)
    batch = windows.batch(every)

    def read(output: Tensor, _: Tensor) -> Tensor:
        return point_forecast(output, config.quantiles).double()

    def in_units(scaled: Tensor) -> np.ndarray:
        return scaled.numpy() * scaler.scale + scaler.centre

    def forecast_of(inputs: Batch) -> np.ndarray:
        return in_units(_outputs(fused, every, lambda index: _rows(inputs, index), size, read))

    forecast = forecast_of(batch)
    hidden = without_parts(fused, config, batch, spans, size, read)
    of_channels = np.zeros((*forecast.shape[:2], forecast.shape[1]))
    if (c := _read_together(config)) > 1:
        hidden = hidden.diagonal(dim1=1, dim2=3).movedim(-1, 2)
        whole = np.array([[0, config.context_length]])
        for n, one in enumerate(without_parts(fused, config, batch, whole, size, read).unbind(1)):
            of_channels[:, n] = np.abs(forecast - in_units(one[:, 0])).mean(-1)
        of_channels[:, range(c), range(c)] = 0
    else:
        hidden = hidden[:, 0]
    change = np.stack([forecast - in_units(one) for one in hidden.unbind(1)], axis=2)
    change[~_any_known(~np.isnan(values), spans)] = np.nan
    by_covariate = np.empty((len(windows), len(covariates), forecast.shape[1]))
    for k, (_, part, columns) in enumerate(covariates):
        assert batch.covariates is not None
        zeroed = getattr(batch.covariates, part).clone()
        zeroed[:, columns] = 0
        without = batch._replace(covariates=batch.covariates._replace(**{part: zeroed}))
        by_covariate[:, k] = np.abs(forecast - forecast_of(without)).mean(-1)
    left = right = np.full((*forecast.shape[:2], 1), np.nan)
    if isinstance(network, ConvTimeNet):  # a linear network has no patches
        left, right = _patches(network, batch.x, batch.known)
    return {
        "importance": np.abs(change).mean(-1),
        "change": change,
        "channel_importance": of_channels,
        "forecast": forecast,
        "covariates": tuple(name for name, _, _ in covariates),
        "covariate_importance": by_covariate,
        "left": left,
        "right": right,
        "hidden_by": "mask" if config.masks else "mean",
    }


# --- cases ---------------------------------------------------------------------------------------


def explain_cases(
    network: ConvTimeNet,
    fused: nn.Module,
    cases: Cases,
    explained: np.ndarray,
    padded: Callable[[Cases, int], np.ndarray],
    read: Callable[[np.ndarray, np.ndarray], np.ndarray],
    spans: np.ndarray,
    size: int,
    device: torch.device,
) -> dict[str, Any]:
    """The fields of `CaseExplanation` that come from the network.

    Parameters
    ----------
    explained
        (n,) the probability or number of the unchanged cases.
    padded
        Scales cases and pads them to a length.
    read
        Computes the same as `explained` from outputs (B, K), given the indices of their cases.
    """
    config = network.config
    n, C, _ = cases.values.shape
    lengths = np.maximum(cases.lengths, config.context_length)
    N = config.patches_in(int(lengths.max()))
    importance = np.empty((n, C, len(spans)))
    left, right = np.full((n, 1, N), np.nan), np.full((n, 1, N), np.nan)
    for length in counted(np.unique(lengths).tolist()):  # each at its own length, as in predict
        members = np.flatnonzero(lengths == length)
        for some in counted(np.array_split(members, -(-len(members) // size))):
            x = torch.from_numpy(padded(cases.subset(some), int(length))).to(device)
            known = known_in(x)
            here = spans.clip(max=length)

            def read_outputs(output: Tensor, index: Tensor, some: np.ndarray = some) -> Tensor:
                found = read(output.cpu().numpy(), some[index.cpu().numpy()])
                return torch.from_numpy(found)

            batch = Batch(x, x, known=known)
            without = without_parts(fused, config, batch, here, size, read_outputs).numpy()
            importance[some] = explained[some, None, None] - without
            if isinstance(network, ConvTimeNet):  # random patches lie everywhere
                edges = _patches(network, x, known)
                for found, edge in zip((left, right), edges, strict=True):
                    found[some, :, : edge.shape[-1]] = edge
    importance[~_any_known(~np.isnan(cases.values), spans)] = np.nan
    return {
        "importance": importance,
        "left": left,
        "right": right,
        "hidden_by": "mask" if config.masks else "zero",
    }
