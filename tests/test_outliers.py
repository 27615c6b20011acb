"""Values that the weights of the package do not read, as they are errors rather than values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from convtimenet import ConvTimeNetForecaster
from convtimenet.config import ModelConfig
from convtimenet.data.windows import Windows
from convtimenet.network.reconstruction.network import SIZES
from convtimenet.network.reconstruction.outliers import outliers
from convtimenet.network.reconstruction.pretrained import PretrainedForecaster
from convtimenet.training.closed_form.guard import fit_guard
from convtimenet.training.interrupt import StopRequest

NUMBERS = np.random.default_rng(0)
YEARS = 100 + 10 * np.sin(np.arange(72) * 2 * np.pi / 12) + NUMBERS.normal(size=72)
LEVEL = 100 + NUMBERS.normal(size=200)


def changed(values: np.ndarray, at: dict[int, float]) -> np.ndarray:
    values = values.copy()
    values[[*at]] = [*at.values()]
    return values


def found(values: np.ndarray) -> list[int]:
    rows = torch.from_numpy(values)[None]
    return outliers(rows.nan_to_num(), ~rows.isnan())[0].nonzero()[:, 0].tolist()


class TestWhich:
    @pytest.mark.parametrize(
        "at",
        [
            {40: 1e3},
            {71: 1e3},
            {0: -1e3},
            {10: 9e3, 40: 1e3},
            {3: 5e3, 40: -1e3},
            {3: 1e4, 20: 2e3, 60: -1e3},
        ],
    )
    @pytest.mark.parametrize("scale", [1.0, 1e-9, -1e9])
    def test_up_to_three_far_from_all_others(self, at, scale):
        assert found(scale * changed(YEARS, at)) == [*at]
        assert found(scale * changed(YEARS, {**at, 30: np.nan})) == [*at]

    @pytest.mark.parametrize(
        "values",
        [
            YEARS,
            changed(YEARS, {40: 300.0, 50: 0.0}),
            changed(YEARS, {12: 1e3, 24: 1.01e3, 36: 0.98e3}),  # a peak that recurs
            np.r_[LEVEL[:190], 100 + LEVEL[190:]],  # a level of several rows
            np.r_[LEVEL[:198], 9 * LEVEL[198:]],
            np.r_[LEVEL, 400.0, 1600.0, 6400.0],  # the beginning of growth
            np.exp(np.arange(200) / 10),
            changed(np.zeros(200), {199: 1.0}),
            NUMBERS.poisson(0.3, 200).astype(float),
            np.full(100, 7.0),
            changed(YEARS, {3: 1e4, 20: 2e3, 50: 5e4, 60: -1e3}),  # four are no few
            changed(YEARS, {10: 1e3})[:29],
            changed(YEARS, {40: 1e3}) * np.where(np.arange(72) % 3, np.nan, 1.0),
        ],
    )
    def test_none(self, values):
        assert found(values) == []


def network() -> PretrainedForecaster:
    sizes: dict[str, Any] = {"context_length": 72, "horizon": 12, "season": 12, **SIZES}
    return PretrainedForecaster(ModelConfig.forecasting(**sizes)).eval()


class TestNetwork:
    def test_it_is_read_as_missing(self):
        """Whatever it is, also where the last season is repeated and as the last value."""
        model = network()
        model.trusted.fill_(0.5)
        for at in (40, 71):
            x = torch.from_numpy(np.stack([changed(YEARS, {at: one}) for one in (1e3, 1e7)]))
            known = torch.ones(2, 1, 72, dtype=torch.bool)
            known[1, 0, at] = False
            answers = model(x[:, None].float(), known)
            torch.testing.assert_close(answers[0], answers[1])
            assert 80 < answers.min() < answers.max() < 120

    def test_it_does_not_choose_the_shares(self):
        """Neither in contexts nor as what is to be forecast."""
        t = torch.arange(400)
        values = (t * 2 * torch.pi / 12).sin()[None] + 0.1 * torch.randn(
            1, 400, generator=torch.Generator().manual_seed(0)
        )
        values[0, 150] = 1e4
        known = torch.ones_like(values, dtype=torch.bool)
        known[0, 150] = False
        shares = []
        for mask in (None, known):
            model = network()
            windows = Windows.between(values, 72, 12, 72, 400, known=mask, masks=True)
            fit_guard(model, windows, StopRequest(), verbose=0)
            shares.append((model.trusted.item(), model.logarithms.item(), model.drift.item()))
        assert shares[0] == pytest.approx(shares[1])

    def test_forecasts_of_a_table(self):
        """One of 72 months ten times as large: the forecast is about that of the clean table."""
        times = pd.date_range("2010-01-01", periods=72, freq="MS")
        forecasts = [
            ConvTimeNetForecaster.pretrained(12, verbose=0).predict(
                pd.DataFrame({"time": times, "y": values})
            )["y"]
            for values in (YEARS, changed(YEARS, {36: 10 * YEARS[36]}))
        ]
        assert np.abs(forecasts[0] - forecasts[1]).max() < 1.0
