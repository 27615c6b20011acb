"""The Theta line beside the weights of the package: what it is, and which tables get it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from convtimenet import ConvTimeNetForecaster
from convtimenet.config import ModelConfig
from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import ConfigError
from convtimenet.estimators.forecasting.ready import pretrained_forecast, with_theta
from convtimenet.network.reconstruction.network import SIZES
from convtimenet.network.reconstruction.pretrained import MEDIAN, PretrainedForecaster
from convtimenet.network.reconstruction.theta import straight_line, theta_line
from convtimenet.training.closed_form.guard import posterior_shares

RATES = [0.05, *np.arange(1, 10) / 10, 0.99]


def plain_line(y: np.ndarray, m: int, h: int) -> np.ndarray:
    """The line of one series without padding, step by step."""
    n, phase = len(y), np.arange(len(y)) % m
    multiplies, season = m > 1 and (y > 0).all(), np.zeros(m)
    if m > 1:
        window = np.ones(m) if m % 2 else np.r_[0.5, np.ones(m - 1), 0.5]
        mean = np.convolve(y, window / m, "valid")
        begin = (len(window) - 1) // 2
        inner = slice(begin, begin + len(mean))
        away = y[inner] / mean if multiplies else y[inner] - mean
        season = np.array([away[phase[inner] == one].mean() for one in range(m)])
        season = season / season.mean() if multiplies else season - season.mean()
    adjusted = y / season[phase] if multiplies else y - season[phase]
    slope = np.polyfit(np.arange(n), adjusted, 1)[0]
    squares, lines = [], []
    for rate in RATES:
        level, errors = adjusted[0], []
        for value in adjusted[1:]:
            errors.append(value - level)
            level += rate * errors[-1]
        squares.append(np.square(errors).sum())
        lag = (1 - (1 - rate) ** n) / rate
        lines.append(level + slope / 2 * (np.arange(h) + lag))
    shares = (np.array(squares) / min(squares)) ** (-(n - 1) / 2)
    again = season[(n + np.arange(h)) % m]
    line = shares @ np.array(lines) / shares.sum()
    return line * again if multiplies else line + again


def series(n: int, m: int, positive: bool) -> np.ndarray:
    numbers, t = np.random.default_rng(n), np.arange(n)
    values = np.sin(2 * np.pi * t / m) + 0.05 * t + numbers.normal(0, 0.3, n)
    return np.exp(values) if positive else values


def padded(values: np.ndarray, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.from_numpy(np.r_[np.full(pad, 1e3), values])[None]
    return rows, torch.arange(rows.shape[-1])[None] >= pad


class TestLine:
    @pytest.mark.parametrize("positive", [True, False])
    @pytest.mark.parametrize(
        ("season", "n", "pad"),
        [(1, 4, 0), (1, 30, 5), (4, 9, 3), (4, 41, 0), (7, 20, 1), (12, 30, 9)],
    )
    def test_step_by_step(self, season, n, pad, positive):
        values = series(n, max(season, 3), positive)
        found, fits = theta_line(*padded(values, pad), season, 15)
        assert fits.all()
        expected = plain_line(values, season, 15)
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-9 * np.abs(values).max())

    def test_rows_without_a_line(self):
        """A gap, too few values for two seasons, nothing at all; beside rows that have one."""
        rows = torch.from_numpy(series(20, 4, True)).expand(5, -1)
        known = torch.ones(5, 20, dtype=torch.bool)
        known[1, 10] = False
        known[2, :12] = False
        known[3] = False
        known[4, :11] = False
        found, fits = theta_line(rows, known, 4, 6)
        assert fits.tolist() == [True, False, False, False, True]
        assert found.isfinite().all()
        np.testing.assert_allclose(found[0], plain_line(rows[0].numpy(), 4, 6))
        np.testing.assert_allclose(found[4], plain_line(rows[4, 11:].numpy(), 4, 6))
        assert not theta_line(rows, known, 12, 6)[1].any()

    def test_a_constant_goes_on(self):
        rows = torch.full((1, 16), 5.0)
        for season in (1, 4):
            found, fits = theta_line(rows, torch.ones(1, 16, dtype=torch.bool), season, 3)
            assert fits.all()
            torch.testing.assert_close(found, torch.full((1, 3), 5.0))

    def test_a_graph_has_it(self):
        class Line(torch.nn.Module):
            def forward(self, rows: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
                return theta_line(rows, known, 4, 5)[0]

        rows = torch.from_numpy(series(24, 4, True))[None]
        given = rows, torch.ones_like(rows, dtype=torch.bool)
        torch.testing.assert_close(
            torch.export.export(Line(), given).module()(*given), Line()(*given)
        )


class TestStraightLine:
    @pytest.mark.parametrize(("n", "pad", "season"), [(4, 0, 12), (9, 3, 12), (24, 30, 1)])
    def test_a_line_goes_on(self, n, pad, season):
        """Wholly by its trend, and as much as ever."""
        values = 1e3 - 7.0 * np.arange(n + 5)
        found, share = straight_line(*padded(values[:n], pad), season, 5)
        np.testing.assert_allclose(found[0], values[n:], rtol=1e-9)
        assert share.item() == 0.75

    def test_the_share_grows_with_how_straight_values_are(self):
        numbers = np.random.default_rng(3).normal(size=12)
        t, shares = np.arange(12), []
        for noise in (0.0, 0.8, 1.0, 5.0):
            values = t + noise * numbers
            share = straight_line(*padded(values, 2), 12, 1)[1]
            straight = np.corrcoef(t, values)[0, 1] ** 2
            assert share.item() == pytest.approx(0.75 * np.clip((straight - 0.7) / 0.2, 0, 1))
            shares.append(share.item())
        assert shares == pytest.approx([0.75, 0.75, 0.585, 0.0], abs=0.01)

    def test_rows_without_one(self):
        """More values than two seasons or than a handful, too few, a gap, a constant."""
        line = np.arange(30.0)
        whole, none = padded(line, 0), torch.full((1, 30), 5.0)
        assert straight_line(*whole, 1, 3)[1].item() == 0
        assert straight_line(whole[0], torch.arange(30)[None] >= 6, 7, 3)[1].item() == 0
        assert straight_line(*padded(line[:15], 2), 7, 3)[1].item() == 0
        assert straight_line(*padded(line[:14], 2), 7, 3)[1].item() > 0
        assert straight_line(*padded(line[:3], 20), 12, 3)[1].item() == 0
        values, known = padded(line[:12], 4)
        known[0, 9] = False
        assert straight_line(values, known, 12, 3)[1].item() == 0
        assert straight_line(none, torch.arange(30)[None] >= 20, 12, 3)[1].item() == 0
        assert straight_line(none, torch.zeros(1, 30, dtype=torch.bool), 12, 3)[0].isfinite().all()


def networks(L: int = 40, H: int = 8) -> tuple[PretrainedForecaster, PretrainedForecaster]:
    """Without and with a line, with the same weights."""
    sizes: dict[str, Any] = {"context_length": L, "horizon": H, "season": 4, **SIZES}
    without = PretrainedForecaster(ModelConfig.forecasting(**sizes)).eval()
    line = PretrainedForecaster(ModelConfig.forecasting(**sizes, theta=0.5)).eval()
    return without, line


class TestNetwork:
    def test_the_median_is_the_mean_of_both(self):
        """Where a row has a line; the spread stays, and training sees none of it."""
        without, line = networks()
        x = torch.from_numpy(np.stack([series(40, 4, True), series(40, 4, False)]))[:, None].float()
        known = torch.ones_like(x, dtype=torch.bool)
        known[1, 0, 20] = False
        plain, found = without(x, known), line(x, known)
        expected = theta_line(x[:1, 0], known[:1, 0], 4, 8)[0]
        both = (plain[:1, 0, MEDIAN] + expected) / 2
        torch.testing.assert_close(found[:1, 0, MEDIAN], both)
        torch.testing.assert_close(found.diff(dim=2), plain.diff(dim=2), rtol=1e-4, atol=1e-4)
        assert found[1].equal(plain[1])
        trained = []
        for network in (line, without):
            torch.manual_seed(0)  # each step draws a reach
            with torch.no_grad():
                trained.append(network.train()(x, known))
        assert trained[0].equal(trained[1])

    @pytest.mark.parametrize("season", [7, 12, 52])
    @pytest.mark.parametrize("n", [8, 12])
    def test_a_trend_of_few_rows_is_forecast_better_than_by_its_last_value(self, n, season):
        """Also where no season is known; with the shares of so few rows."""
        sizes: dict[str, Any] = {"context_length": 16, "horizon": 6, "season": season, **SIZES}
        network = PretrainedForecaster(ModelConfig.forecasting(**sizes)).eval()
        nothing = torch.empty(0, dtype=torch.float64).expand(3, 3, 5, 0)
        logarithms, _, trusted = posterior_shares(nothing, 1.0, False)
        network.logarithms.fill_(logarithms)
        network.trusted.fill_(trusted)
        noise = np.random.default_rng(n).normal(size=(64, n + 6))
        values = torch.from_numpy(100 + 5 * np.arange(n + 6) + 5 * noise).float()
        x, known = torch.zeros(64, 1, 16), torch.zeros(64, 1, 16, dtype=torch.bool)
        x[:, 0, 16 - n :], known[..., 16 - n :] = values[:, :n], True
        with torch.inference_mode():
            found = network(x, known)[:, 0, MEDIAN]
        truth, last = values[:, n:], values[:, n - 1 : n]
        error, naive = ((one - truth).abs().mean(-1) for one in (found, last))
        assert (error / naive).log().mean().exp() < 1

    def test_only_of_forecasts_by_quantiles(self):
        sizes: dict[str, Any] = {"context_length": 24, "horizon": 4, "theta": 0.5}
        with pytest.raises(ConfigError, match="theta must be 0 to 1, 0 without pretrained"):
            ModelConfig.forecasting(**sizes)
        own = {**SIZES, "quantiles": ()}
        with pytest.raises(ConfigError, match="theta must be 0 to 1, 0 without pretrained"):
            ModelConfig.forecasting(**sizes, **own)


class TestTables:
    @pytest.mark.parametrize(
        ("rows", "freq", "share"),
        [
            *((40, freq, 0.5) for freq in ("MS", "QS", "YS", "ME")),
            *((40, freq, 0.0) for freq in ("D", "h", "W", "B", "2MS")),
            (59, "MS", 0.5),
            (60, "MS", 0.0),
        ],
    )
    def test_which_have_one(self, rows, freq, share):
        preset = with_theta(pretrained_forecast(rows, 4), rows, Frequency.parse(freq))
        config = ModelConfig.forecasting(context_length=rows, horizon=3, **preset.model)
        assert config.theta == share
        assert ("theta" in config.to_dict()) == (share > 0)

    def test_at_once_by_default_and_saved(self, tmp_path):
        """And all trainings share it, those of intervals too."""
        times = pd.date_range("2001-01-01", periods=45, freq="QS")
        one = pd.DataFrame({"time": times, "y": series(45, 4, True)})
        model = ConvTimeNetForecaster(4, verbose=0).fit(one)
        assert model.network_.config.theta == 0.5
        assert model.scored_ is not None
        assert model.scored_.network_.config.theta == 0.5
        assert model.calibration_ is not None
        forecast = model.predict(level=80)
        at_once = ConvTimeNetForecaster.pretrained(4, verbose=0).predict(one)
        pd.testing.assert_frame_equal(at_once, forecast[["time", "y"]])
        model.save(tmp_path / "model")
        loaded = ConvTimeNetForecaster.load(tmp_path / "model")
        pd.testing.assert_frame_equal(loaded.predict(level=80), forecast)
