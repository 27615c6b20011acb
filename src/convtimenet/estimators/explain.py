"""What an answer rests on: parts of a series are hidden, and the network is asked again.

A part is one channel over a span of time. How far the answer moves when it is hidden is the part's
importance (occlusion: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks",
ECCV 2014). A network with masks is told that the part is missing, so its answer is the one it would
give if those values had not been measured. Without masks the part is flattened: to the context's
mean where the network forecasts, to zero after scaling, the middle of what training saw, where it
answers for cases.

Importance belongs to this model and this series and is no cause in the world. It does not add up:
where two parts say the same, hiding either changes little. A model that never saw a gap while it
trained also answers to the gap itself.

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
from convtimenet.data.cases import Cases
from convtimenet.data.tables import Table, select_series
from convtimenet.data.windows import Scaler, Windows, known_in
from convtimenet.errors import ConfigError, DataError
from convtimenet.network.memory import Parts
from convtimenet.network.model import ConvTimeNet, deformation
from convtimenet.progress import counted
from convtimenet.training.losses import point_forecast
from convtimenet.wording import listing

__all__ = ["CaseExplanation", "Explanation", "ForecastExplanation"]

_SPANS = 24
Hiding = Literal["mask", "mean", "zero"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What answers to n series rest on.

    Attributes
    ----------
    importance : ndarray, shape (n, C, M)
        What hiding a channel over a span changes; NaN where nothing of it was known.
    spans : ndarray of int, shape (M, 2)
        First time step of every span, and the step behind its last.
    hidden_by : str
        "mask": told to the network as missing; "mean": replaced by the mean of the context;
        "zero": by zero after scaling.
    values : ndarray, shape (n, C, L)
        The series in the data's units, NaN where unknown.
    channels : tuple of str
        C names.
    left, right : ndarray, shape (n, C, N), or (n, 1, N) where channels are read together
        Edges of the deformable patches in time steps of the series; NaN for a patch of which
        nothing is known.
    """

    importance: np.ndarray
    spans: np.ndarray
    hidden_by: Hiding
    values: np.ndarray
    channels: tuple[str, ...]
    left: np.ndarray
    right: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class ForecastExplanation(Explanation):
    """What forecasts rest on. Channels are forecast independently of one another, so a part of one
    is important for the forecast of the same channel only.

    Attributes
    ----------
    importance : ndarray, shape (n, C, M)
        Mean over the horizon of the absolute `change`.
    change : ndarray, shape (n, C, M, H)
        The channel's forecast less its forecast without the part, in the data's units.
    forecast : ndarray, shape (n, C, H)
        What is explained, in the data's units.
    times : ndarray, shape (n, L)
        Time stamps of the contexts, as in `Table.times`.
    ids : ndarray, shape (n,)
        Which series of a long table.
    covariates : tuple of str
        K covariates of the model.
    covariate_importance : ndarray, shape (n, K, C)
        Mean absolute change of every channel's forecast when a covariate is hidden altogether,
        over the horizon too where it is known ahead.
    """

    change: np.ndarray
    forecast: np.ndarray
    times: np.ndarray
    ids: np.ndarray
    covariates: tuple[str, ...]
    covariate_importance: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class CaseExplanation(Explanation):
    """What answers to cases rest on.

    Attributes
    ----------
    importance : ndarray, shape (n, C, M)
        `explained` less what it is without the part: above 0 the part speaks for the answer, or
        makes the number greater, below 0 the other way round.
    answers : ndarray, shape (n,)
        The class predicted for every case, or its number.
    explained : ndarray, shape (n,)
        The probability of that class, or the number itself, as `measure` says.
    measure : str
        "probability" or "number".
    lengths : ndarray of int, shape (n,)
        Time steps of every case.
    """

    answers: np.ndarray
    explained: np.ndarray
    measure: Literal["probability", "number"]
    lengths: np.ndarray


# --- what may be asked for -----------------------------------------------------------------------


def spans_of(spans: Any, length: int) -> np.ndarray:
    """The spans (M, 2) that a user means: so many of equal length, or pairs.

    Raises
    ------
    ConfigError
        If there is no such span in `length` steps.
    """
    if spans is None:
        spans = min(_SPANS, length)
    if isinstance(spans, (int, np.integer)) and not isinstance(spans, bool):
        if not 1 <= spans <= length:
            raise ConfigError(f"spans must be 1 to {length}, the steps there are; found {spans}")
        edges = np.linspace(0, length, int(spans) + 1).round().astype(np.int64)
        return np.stack([edges[:-1], edges[1:]], axis=1)
    try:
        pairs = np.asarray(spans)
    except ValueError:  # of unequal lengths
        pairs = np.empty(0)
    first, end = pairs.T if pairs.ndim == 2 and pairs.shape[1:] == (2,) else (pairs, pairs)
    if pairs.dtype.kind not in "iu" or not ((first >= 0) & (first < end) & (end <= length)).all():
        raise ConfigError(
            "spans must be a number of spans, or pairs (first step, step behind the last) within "
            f"the {length} steps there are; found {spans!r}"
        )
    return pairs.astype(np.int64)


def chosen(table: Table, series: Any) -> Table:
    """The series of a table with an id or ids; the only one where none is given.

    Raises
    ------
    ConfigError
        If the table has no ids.
    DataError
        If it lacks one, or has several and none is given.
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
    asked, labels = list(dict.fromkeys(wanted)), Labels(ids)
    numbers, _ = match_ids(np.array([*asked, None], dtype=object)[:-1], labels, "series")
    of = dict(zip(asked, numbers.tolist(), strict=True))
    missing = [one for one in asked if of[one] < 0]
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
    """Answers with one part after the other hidden.

    Parameters
    ----------
    network
        In its inference form.
    batch
        B series.
    spans
        (M, 2).
    size
        Series that the network is given together.
    read
        What its outputs for series say, given their numbers in `batch`.

    Returns
    -------
    (B, c, M, ...), for c channels read together. One pass hides a span of all channels that are
    read by themselves.
    """
    x, device = batch.x, batch.x.device
    steps = torch.arange(x.shape[-1], device=device)
    edges = torch.from_numpy(spans).to(device)
    inside = (steps >= edges[:, :1]) & (steps < edges[:, 1:])
    c, M = config.channels, len(spans)
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

    everything = torch.arange(len(x) * c * M, device=device)
    answers = _ask(network, everything, hidden, size, lambda y, at: read(y, at // (c * M)))
    return answers.unflatten(0, (len(x), c, M))


def _ask(
    network: nn.Module,
    numbers: Tensor,
    batch_of: Callable[[Tensor], Batch],
    size: int,
    read: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """What the network says to numbered examples, a few at a time."""
    parts, answers = Parts("explaining"), []

    def compute(some: Tensor) -> Tensor:
        return read(network(*batch_of(some).inputs).float(), some).cpu()

    for chunk in counted(numbers.split(size)):
        answers += parts.run(len(chunk), lambda part, chunk=chunk: compute(chunk[part]))
    return torch.cat(answers)


def _rows(batch: Batch, index: Tensor) -> Batch:
    """The inputs of some of a batch's series."""
    x, known = batch.x[index], None if batch.known is None else batch.known[index]
    return Batch(x, x, known=known, covariates=_pick(batch.covariates, index))


def _pick(covariates: Covariates | None, index: Tensor) -> Covariates | None:
    if covariates is None:
        return None
    return Covariates(*(None if one is None else one[index] for one in covariates))


def _there(batch_known: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Whether anything of a part (n, C, M) is known, of values known (n, C, L) or not."""
    before = np.concatenate([np.zeros_like(batch_known[..., :1], int), batch_known.cumsum(-1)], -1)
    first, end = spans.clip(max=batch_known.shape[-1]).T
    return before[..., end] > before[..., first]


def _patches(network: ConvTimeNet, x: Tensor, known: Tensor | None) -> tuple[np.ndarray, ...]:
    with torch.autocast(x.device.type, enabled=False):  # as the network finds them
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
    """What forecasts of windows, one of each of n series, rest on: the fields of
    `ForecastExplanation` that the network decides.

    Parameters
    ----------
    scaler
        Statistics of all series, or of each.
    values
        (n, C, L) in the data's units, NaN where unknown.
    covariates
        Name of each, and where it lies: the part of `Covariates`, and its columns there.
    """
    config = network.config
    every = torch.arange(len(windows), device=windows.starts.device)
    batch = windows.batch(every)

    def read(output: Tensor, _: Tensor) -> Tensor:
        return point_forecast(output, config.quantiles).double()

    def in_units(scaled: Tensor) -> np.ndarray:
        return scaled.numpy() * scaler.scale + scaler.centre

    def ask(of: Batch) -> np.ndarray:
        return in_units(_ask(fused, every, lambda index: _rows(of, index), size, read))

    forecast = ask(batch)
    hidden = without_parts(fused, config, batch, spans, size, read)[:, 0]
    change = np.stack([forecast - in_units(one) for one in hidden.unbind(1)], axis=2)
    change[~_there(~np.isnan(values), spans)] = np.nan
    by_covariate = np.empty((len(windows), len(covariates), forecast.shape[1]))
    for k, (_, part, columns) in enumerate(covariates):
        assert batch.covariates is not None
        emptied = getattr(batch.covariates, part).clone()
        emptied[:, columns] = 0
        lacking = batch._replace(covariates=batch.covariates._replace(**{part: emptied}))
        by_covariate[:, k] = np.abs(forecast - ask(lacking)).mean(-1)
    left, right = _patches(network, batch.x, batch.known)
    return {
        "importance": np.abs(change).mean(-1),
        "change": change,
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
    """What answers to cases rest on: the fields of `CaseExplanation` that the network decides.

    Parameters
    ----------
    explained
        (n,) what is explained, from an unchanged case.
    padded
        Cases scaled, of so many steps.
    read
        The same as `explained` from outputs (B, K), given the numbers of their cases.
    """
    config = network.config
    n, C, _ = cases.values.shape
    lengths = np.maximum(cases.lengths, config.context_length)
    N = config.patches_in(int(lengths.max()))
    importance = np.empty((n, C, len(spans)))
    left, right = np.full((n, 1, N), np.nan), np.full((n, 1, N), np.nan)
    for length in counted(
        np.unique(lengths).tolist()
    ):  # as they are predicted: each at its own length
        members = np.flatnonzero(lengths == length)
        for some in counted(np.array_split(members, -(-len(members) // size))):
            x = torch.from_numpy(padded(cases.subset(some), int(length))).to(device)
            known = known_in(x)
            here = spans.clip(max=length)

            def moved(output: Tensor, index: Tensor, some: np.ndarray = some) -> Tensor:
                found = read(output.cpu().numpy(), some[index.cpu().numpy()])
                return torch.from_numpy(found)

            batch = Batch(x, x, known=known)
            without = without_parts(fused, config, batch, here, size, moved).numpy()
            importance[some] = explained[some, None, None] - without
            edges = _patches(network, x, known)
            for found, edge in zip((left, right), edges, strict=True):
                found[some, :, : edge.shape[-1]] = edge
    importance[~_there(~np.isnan(cases.values), spans)] = np.nan
    return {
        "importance": importance,
        "left": left,
        "right": right,
        "hidden_by": "mask" if config.masks else "zero",
    }
