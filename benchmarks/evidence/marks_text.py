"""The text of docs/evidence/marks.md; marks_page.py fills in what the lines say."""

from __future__ import annotations

REASONS = {
    "behind": {
        "FingerMovements": """A coin has a standard deviation of 5 points on its 100 cases. With
  one set of channels in each group of random patches it had .590 there; the several sets that 28
  channels get now were chosen on other data, and make no difference in cross-validation on its own
  training cases ([random patches](../design/random-patches.md)).""",
        "SelfRegulationSCP2": """Nobody is far from chance there: half of its cases are of the
  larger class, a coin has a standard deviation of 3.7 points on 180 cases, and the best of 16
  published classifiers has .561 ([results](../results.md)). The share of network and random
  patches is chosen by held-out cases, which cannot tell either from the coin.""",
    },
    "auto": {
        "Exchange": """No choice on validation rows was found that mends it: rates walk at random,
  the default forecasts nearly the last value (which has {last}), and the longest horizon decides
  the mean. Its test rows hold two windows of 720 steps that do not overlap. The published scores
  take the best of three look-backs for each entry; PatchTST trained here with one, under the
  protocol of all others, has {trained} ([results](../results.md)).""",
        "ETTm1 MSE": """The default is trained on absolute errors, so it forecasts medians, which
  the squared error does not reward.""",
    },
    "stream": {
        "ETTh2": """The network is granted what it gains on validation rows, if that exceeds its
  standard error; on ETTh2 the later rows do not hold what the validation rows promise. No bound
  on that gain takes these grants and leaves those that pay
  ([the analysis](../design/linear-stream.md)).""",
    },
    "small": {
        "quarterly": """In series of at most 119 rows (24 cut-offs of ten series) `auto` has .634
  and AutoETS .580; three quarters of that is one series, `austres`, a population almost without
  noise. Trends that follow quickly were added for such series, chosen by the rows before the
  cut-offs ([smoothing](../design/smoothing.md)).""",
        "weekly": "There are three series.",
    },
    "five_seconds": {
        "weekly": "`us_gasoline`, of more than 1,300 rows, gets a network in `auto`.",
        "daily": """Series of 1,500 rows get a map of 720 steps, and in `auto` a network beside
  it, which is granted nothing on these. It stays for series that no linear map fits: on 1,500 steps
  of a chaotic equation it leaves {chaotic} of the map's error, in three draws (`python
  benchmarks/evidence/nonlinear.py`, [raw](../../benchmarks/results/nonlinear.json)).""",
        "panels": """`aus_retail` gets neither a network nor a map: its smoothing is chosen from a
  grid over all its series.""",
    },
}
"""For each mark what bounds it, by the beginning of the names of where it is missed."""

TEXT = """# Marks

## Question

What the defaults were built to reach, set before they were: does `quality="auto"` reach it, by
how much does it miss it elsewhere, and what was tried there? Every table and verdict is written
from the committed lines by `python benchmarks/evidence/marks_page.py`; scores are means over the
seeds that have run, whose number the tables have, one configuration for all sets, nothing selected
on test rows or cases. Scores are compared as they are shown. What each part of the defaults is
worth is [another page](ablation.md).

## Classes

**Ahead of MiniRocket and MultiRocket-Hydra on the mean of {sets} UEA sets:**

- `auto`: {mean_auto}.
- `best`: {mean_best}.

{classes}

`best` beside `auto`, on the seeds that both have:

{best_classes}

**No set more than two cases behind MiniRocket:** {behind}.

{behind_table}
{behind_reasons}
**On one core:**

- `fast` within five times MiniRocket's fit: {fast_fits}.
- `auto` under 120 CPU seconds on sets below 300 training cases: {auto_fits}.

CPU seconds of fit, compiled and imported before the clock starts:

{fits_table}

## Forecasts

**`auto` ahead of PatchTST's published scores on each of six sets, mean of four horizons, MSE and
MAE:** {auto}.

{auto_table}
{auto_reasons}
**`best` ahead of DUET's published scores on half of the sets, by MSE and MAE, within 3 % on the
others:** {best}.

{best_table}

`best` beside `auto`, means over the horizons and seeds that both have:

{best_forecasts}

**`auto` never more than 1 % behind its own linear map, MSE:** {stream}.

{stream_table}
{stream_reasons}
**ETTh1-96 within 120 CPU seconds of fit on one core:** {etth1}. Measured beside other work:
{etth1_seconds}.

## Small series

**MASE, relative to seasonal naive, at or below the better of AutoETS and AutoTheta:** {small}.

Geometric means over series and three cut-offs each, and the ratio of `auto` to the better of the
two in that group with its 95 % interval over series; one seed:

{small_table}
{small_reasons}
**Series that no choice has seen.** Those above were there when the smoothing was built, and the
rows before their cut-offs chose it. These others, yearly ones among them, were read when it was
finished, and nothing was changed for them:

{fresh_table}

Geometric means of MASE over that of seasonal naive. {fresh_run}, on another
processor than most lines above ({fresh_machine}).

**A fit under five CPU seconds:** {five_seconds}.
{five_seconds_reasons}
## Regression

[Regression](regression.md): `auto` has a smaller error than

- the mean of the training cases on {over_mean};
- a ridge on MiniRocket's features on {over_ridge}.
"""
