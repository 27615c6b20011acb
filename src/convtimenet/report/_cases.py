"""What classification and regression reports share: pictures of cases and of their patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convtimenet.data.labelled.cases import Cases
from convtimenet.estimators.labelled import LabelledEstimator, padded
from convtimenet.network.random_patches import RandomPatches
from convtimenet.report import _interactive as interactive
from convtimenet.report import _plots as plots
from convtimenet.report._html import Section, count, escaped, figure, long_card, score_table
from convtimenet.report._interactive import embedded
from convtimenet.report._network import (
    members_section,
    patches_section,
    random_patches_section,
    sample,
)

LISTED = 200
"""Rows of a table of cases, so that the page stays small."""


def name_of(cases: Cases, case: int) -> str:
    """The name that its file gives a case, or its number."""
    return str(case) if cases.ids is None else cases.ids[case]


def called(cases: Cases, case: int) -> str:
    """A case by its name or number."""
    return f"Case {name_of(cases, case)}"


def case_table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[str]], n: int) -> str:
    """A card with a table of cases, of which `rows` are the first, of `n` in all."""
    table = score_table(heading, columns, rows, numbers=True)
    more = n - len(rows)
    left = f'<p class="soft">{escaped(f"and {more:,} more.")}</p>' if more else ""
    return long_card(table, heading) + left


def case_card(model: LabelledEstimator, cases: Cases, case: int, caption: str, heading: str) -> str:
    """One case as the network reads it, with a caption."""
    scaled = model.scaler_.apply(cases.values[case, :, : cases.lengths[case]])
    names = cases.channels or [f"channel {c}" for c in range(len(scaled))]
    return figure(
        plots.case_lines(scaled),
        f"{called(cases, case)}, {count(len(scaled), 'channel')}, "
        f"{count(int(cases.lengths[case]), 'time step')}. {caption}",
        caption,
        heading,
        plot=embedded(interactive.case_lines(scaled, names)),
    )


def case_patches_section(model: LabelledEstimator, cases: Cases, case: int, title: str) -> Section:
    """Patch offsets over the cases, and the patches of one of them; for an ensemble its members."""
    config = model.network_.config
    if config.members:
        return members_section(model)
    if isinstance(model.network_, RandomPatches):
        return random_patches_section(model.network_)
    n, C, _ = cases.values.shape
    L = config.context_length
    sampled = replace(cases, values=cases.values[sample(n, C * L)])
    values, length = cases.values[case], int(cases.lengths[case])
    alone = replace(cases, values=values[None])
    return patches_section(
        model.network_,
        padded(sampled, model.scaler_, L, config),
        "cases",
        padded(alone, model.scaler_, max(L, length), config)[0],
        model.scaler_.apply(values[:, :length]),
        row=0,
        ylabel="scaled value",
        title=title,
    )
