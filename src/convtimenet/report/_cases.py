"""What classification and regression reports share: pictures of cases and of their patches."""

from __future__ import annotations

from dataclasses import replace

from convtimenet.data.labelled.cases import Cases
from convtimenet.estimators.labelled import LabelledEstimator, padded
from convtimenet.network.random_patches import RandomPatches
from convtimenet.report import _interactive as interactive
from convtimenet.report import _plots as plots
from convtimenet.report._html import Section, count, figure
from convtimenet.report._interactive import embedded
from convtimenet.report._network import (
    members_section,
    patches_section,
    random_patches_section,
    sample,
)


def called(cases: Cases, case: int) -> str:
    """A case by the name that its file gives it, or by its number."""
    return f"Case {case if cases.ids is None else cases.ids[case]}"


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
