"""Windows, scaling, filling and scores against loops in plain Python."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convtimenet.batch import Batch
from convtimenet.data.windows import LabelledCases, Scaler, Windows, pad_cases
from convtimenet.datasets.registry import REGISTRY, ForecastingInfo
from convtimenet.errors import DataError
from convtimenet.training.metrics import confusion, evaluate

CPU = torch.device("cpu")


def official_split(name: str) -> tuple[int, int, int]:
    entry = REGISTRY[name]
    assert isinstance(entry, ForecastingInfo)
    return entry.split


class TestWindows:
    @settings(deadline=None, max_examples=60)
    @given(st.integers(2, 60), st.integers(1, 12), st.integers(1, 8), st.data())
    def test_equal_a_plain_loop(self, T, L, H, data):
        first_target = data.draw(st.integers(0, T))
        end = data.draw(st.integers(first_target, T))
        values = torch.arange(2.0 * T).view(2, T)
        expected = [
            (values[:, t - L : t], values[:, t : t + H])
            for t in range(L, T)
            if t >= first_target and t + H <= end
        ]
        if not expected:
            found = f"expected {L + H} rows, a context of {L} and a horizon of {H}, found {end}"
            if end >= L + H:
                room = end - first_target
                found = f"expected {H} rows to forecast after a context of {L}, found {room}"
            with pytest.raises(DataError, match=f"no window fits: {found}; give more rows"):
                Windows.between(values, L, H, first_target, end)
            return
        windows = Windows.between(values, L, H, first_target, end)
        assert len(windows) == len(expected)
        order = torch.arange(len(windows)).flip(0)
        x, y = windows.batch(order)[:2]
        assert torch.equal(x, torch.stack([a for a, _ in expected]).flip(0))
        assert torch.equal(y, torch.stack([b for _, b in expected]).flip(0))

    def test_etth1_has_the_official_number_of_windows(self):
        train, valid, test = official_split("ETTh1")
        assert (train, valid, test) == (8640, 2880, 2880)
        values = torch.zeros(7, train + valid + test)
        bounds = np.cumsum([0, train, valid, test]).tolist()
        counts = [
            len(Windows.between(values, 336, 96, a, b)) for a, b in itertools.pairwise(bounds)
        ]
        assert counts == [8640 - 336 - 96 + 1, 2785, 2785]

    def test_ili_has_170_test_windows(self):
        train, valid, test = official_split("ILI")
        values = torch.zeros(7, train + valid + test)
        end = train + valid + test
        assert len(Windows.between(values, 104, 24, train + valid, end)) == 170

    def test_targets_of_one_part_are_never_targets_of_another(self):
        values = torch.arange(100.0)[None]
        seen = [
            set(part.batch(torch.arange(len(part))).y.flatten().tolist())
            for part in (
                Windows.between(values, 10, 4, 0, 60),
                Windows.between(values, 10, 4, 60, 80),
                Windows.between(values, 10, 4, 80, 100),
            )
        ]
        assert seen[0] == set(range(10, 60))
        assert seen[1] == set(range(60, 80))
        assert seen[2] == set(range(80, 100))


class TestScaler:
    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 1000), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
    def test_round_trip(self, seed, centre, scale):
        values = np.random.default_rng(seed).normal(centre, scale, size=(3, 40))
        scaler = Scaler.standard(values)
        scaled = scaler.apply(values)
        np.testing.assert_allclose(scaled.mean(-1), 0, atol=1e-6)
        np.testing.assert_allclose(scaled.std(-1), 1, rtol=1e-6)
        size = abs(centre) + 10 * scale
        np.testing.assert_allclose(scaler.invert(scaled), values, atol=1e-12 * size, rtol=0)

    @settings(deadline=None)
    @given(st.floats(-1e9, 1e9), st.integers(1, 300))
    def test_a_constant_channel_keeps_its_unit(self, value, T):
        """Also where summing the constant leaves a rounding error, as 83 times 0.3 does."""
        scaler = Scaler.standard(np.full((1, T), value))
        assert scaler.scale.item() == 1.0
        assert abs(scaler.apply(np.full((1, T), value))).max() <= 1e-6 * max(1, abs(value))

    def test_identity_serves_any_number_of_channels(self):
        values = np.random.default_rng(0).normal(size=(5, 9))
        assert (Scaler.identity().apply(values) == values).all()
        assert (Scaler.identity().invert(values) == values).all()

    def test_minus_one_to_one_reaches_both_ends_and_skips_nan(self):
        cases = np.random.default_rng(0).normal(5, 100, size=(6, 2, 9)).astype(np.float32)
        cases[0, :, 5:] = np.nan
        cases[:, 1] *= 0.001
        scaled = Scaler.minus_one_to_one(cases).apply(cases)
        np.testing.assert_allclose(np.nanmin(scaled, axis=(0, 2)), -1, atol=1e-3)
        top = np.nanmax(scaled, axis=(0, 2))
        # (max - min) / (max - min + 1e-4) of the way up, the authors' guard
        assert top[0] == pytest.approx(1, abs=1e-5)
        assert (np.isnan(scaled) == np.isnan(cases)).all()

    def test_minus_one_to_one_of_a_constant_channel_is_finite(self):
        cases = np.full((2, 1, 4), 7, dtype=np.float32)
        np.testing.assert_allclose(Scaler.minus_one_to_one(cases).apply(cases), -1)


class TestPadCases:
    def test_zeros_follow_the_end_and_longer_cases_are_cut(self):
        values = np.array([[[2.0, 4.0, np.nan]], [[6.0, 8.0, 10.0]]])
        scaler = Scaler(np.array([[2.0]]), np.array([[2.0]]))
        longer = pad_cases(values, scaler, 5, 0.0)
        assert longer.dtype == np.float32
        assert longer.tolist() == [[[0, 1, 0, 0, 0]], [[2, 3, 4, 0, 0]]]
        assert pad_cases(values, scaler, 2, 0.0).tolist() == [[[0, 1]], [[2, 3]]]


class Answers(nn.Module):
    """Gives back its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        return x


class TestEvaluate:
    @pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
    def test_forecast_scores_are_means_over_every_value(self, batch_size):
        made = np.random.default_rng(0).normal(size=(50, 2, 6)).astype(np.float32)
        x, y = torch.from_numpy(made).split(3, -1)
        scores = evaluate(Answers(), LabelledPairs(x, y), "forecast", batch_size, CPU)
        error = made[..., :3].astype(np.float64) - made[..., 3:]
        assert scores["mse"] == pytest.approx((error**2).mean(), rel=1e-6)
        assert scores["mae"] == pytest.approx(abs(error).mean(), rel=1e-6)

    def test_class_scores_are_means_over_every_case(self):
        scores_of = torch.randn(23, 4, generator=torch.Generator().manual_seed(0))
        y = torch.arange(23) % 4
        scores = evaluate(Answers(), LabelledPairs(scores_of, y), "classify", 8, CPU)
        assert scores["loss"] == pytest.approx(F.cross_entropy(scores_of, y).item(), rel=1e-6)
        right = (scores_of.argmax(1) == y).float().mean().item()
        assert scores["accuracy"] == pytest.approx(right)

    @pytest.mark.parametrize(("n", "counted"), [(170, 128), (128, 128), (40, 40), (64, 64)])
    def test_dropping_leaves_out_an_incomplete_last_batch(self, n, counted):
        """ILI: 170 windows in batches of 64 (SPEC section 6); a single batch is never dropped."""
        x = torch.zeros(n, 1, 1)
        y = torch.arange(float(n)).view(n, 1, 1)
        examples = LabelledPairs(x, y)
        paper = evaluate(Answers(), examples, "forecast", 64, CPU, drop_last=True)
        assert paper["mae"] == pytest.approx(np.arange(counted).mean())
        honest = evaluate(Answers(), examples, "forecast", 64, CPU)
        assert honest["mae"] == pytest.approx(np.arange(n).mean())


class LabelledPairs:
    """Inputs and targets of any shape."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor):
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: torch.Tensor) -> Batch:
        return Batch(self.x[index], self.y[index])


def test_labelled_cases_keep_case_and_class_together():
    cases = LabelledCases(torch.arange(12.0).view(4, 1, 3), torch.tensor([5, 6, 7, 8]))
    x, y = cases.batch(torch.tensor([2, 0]))[:2]
    assert x[:, 0, 0].tolist() == [6, 0]
    assert y.tolist() == [7, 5]


def test_confusion_counts_true_by_predicted():
    truth, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 0])
    assert confusion(truth, predicted, 3).tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]

    def test_a_mask_wants_nan_left(self):
        values = np.array([[[2.0, np.nan, 4.0]], [[6.0, 8.0, 10.0]]])
        padded = pad_cases(values, Scaler(np.array([[2.0]]), np.array([[2.0]])), 4)
        np.testing.assert_array_equal(padded[0, 0], [0, np.nan, 1, np.nan])
        np.testing.assert_array_equal(padded[1, 0], [2, 3, 4, np.nan])


class TestLabelledCases:
    def test_a_mask_comes_with_unknown_values_only(self):
        x, y = torch.arange(12.0).view(3, 1, 4), torch.tensor([0, 1, 1])
        whole = LabelledCases(x, y).batch(torch.tensor([2, 0]))
        assert whole.known is None
        assert len(whole.inputs) == 1
        x[1, 0, 2:] = torch.nan
        cases = LabelledCases(x, y, weight=torch.tensor([1.0, 2.0, 3.0]))
        batch = cases.batch(torch.tensor([1, 0]))
        assert batch.known is not None
        assert batch.known.tolist() == [[[True, True, False, False]], [[True] * 4]]
        assert batch.inputs[1] is batch.known
        assert batch.weight is not None
        assert batch.weight.tolist() == [2, 1]


@pytest.mark.parametrize("gap", [False, True])
def test_values_whose_squares_overflow_are_refused(gap):
    values = np.array([[np.nan if gap else 1.0, -1e299, 6e299]])
    with pytest.raises(DataError, match="values as large as 6e\\+299 cannot be scaled"):
        Scaler.standard(values)
    with pytest.raises(DataError, match="values as large as 6e\\+299 cannot be scaled"):
        Scaler.per_series(values, np.array([0]))


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("power", [-1000, -700, -600, -560, -501, -400, 0, 300])
def test_tiny_values_are_scaled_as_others(gap, power):
    """Also those whose squares float64 would lose, to the bit if only a power of two is between."""
    values = np.sin(np.arange(40.0))[None] + np.array([[0.0], [3.0], [-7.0]])
    values[2] = 7.0  # a constant channel, and one of another size
    if gap:
        values[:, 3] = np.nan
    small = np.ldexp(values, power)
    small[1] = values[1]
    one, other = Scaler.standard(values), Scaler.standard(small)
    assert other.scale.tolist() == [[np.ldexp(one.scale[0, 0], power)], [one.scale[1, 0]], [1.0]]
    np.testing.assert_array_equal(other.apply(small)[:2], one.apply(values)[:2])
    if power == -1000:  # the least that differ
        assert Scaler.standard(np.array([[0.0, 1e-320]])).scale[0, 0] == pytest.approx(5e-321)


def test_tiny_series_among_others_are_scaled():
    values = np.array([[1.0, 2.0, 5.0, 5.0, 1e-200, 3e-200, np.nan, np.nan, 1e150, -1e150]])
    scale = Scaler.per_series(values, np.array([0, 2, 4, 6, 8])).scale[:, 0, 0]
    np.testing.assert_allclose(scale, [0.5, 1, 1e-200, 1, 1e150], rtol=1e-15)
