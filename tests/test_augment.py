"""Random changes of cases in training: warped time, noise, mix-up; and the recipe around them."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from convtimenet import ConvTimeNetClassifier
from convtimenet.batch import Batch
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import LabelledCases, Windows
from convtimenet.devices import RandomNumbers
from convtimenet.errors import ConfigError
from convtimenet.network.model import ConvTimeNet
from convtimenet.training.augment import augmented, jittered, mixed, positions, warped
from convtimenet.training.interrupt import StopRequest
from convtimenet.training.loop import _Training, train
from convtimenet.training.losses import cross_entropy
from convtimenet.training.step import Step

CPU = torch.device("cpu")
SIZES = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "patch_size": 4, "patch_stride": 2}


def network(**settings) -> Any:
    torch.manual_seed(0)
    return ConvTimeNet(
        ModelConfig.classification(
            channels=2, context_length=12, n_classes=3, **{**SIZES, **settings}
        )
    )


def labelled(n: int = 20) -> LabelledCases:
    x = torch.randn(n, 2, 12, generator=torch.Generator().manual_seed(9))
    return LabelledCases(x, torch.arange(n) % 3)


def batch_of(B: int, C: int, L: int, seed: int, masked: bool, weighted: bool) -> Any:
    numbers = torch.Generator().manual_seed(seed)
    x = torch.randn(B, C, L, generator=numbers)
    y = torch.randint(3, (B,), generator=numbers)
    weight = torch.rand(B, generator=numbers) + 0.1 if weighted else None
    if not masked:
        return Batch(x, y, weight)
    end = torch.randint(1, L + 1, (B, 1, 1), generator=numbers)
    known = (torch.arange(L) < end) & (torch.rand(x.shape, generator=numbers) < 0.8)
    return Batch(x.where(known, torch.nan), y, weight, known)


SHAPES = (st.integers(1, 6), st.integers(1, 3), st.integers(1, 40), st.integers(0, 999))


class TestWarp:
    def test_whole_steps_are_read_as_they_are(self):
        x, known = torch.randn(3, 2, 9), torch.rand(3, 2, 9) < 0.7
        x = torch.where(known, x, 0.0)
        at = torch.arange(9.0).expand(3, 9)
        same, still = warped(x, known, at)
        assert still is not None
        assert torch.equal(same, x)
        assert torch.equal(still, known)
        assert torch.equal(warped(x, None, at)[0], x)

    def test_values_between_steps(self):
        x = torch.tensor([[[0.0, 4.0, 10.0]]])
        known = torch.tensor([[[True, True, False]]])
        at = torch.tensor([[0.25, 1.0, 1.5]])
        assert warped(x, None, at)[0].tolist() == [[[1.0, 4.0, 7.0]]]
        y, found = warped(x, known, at)
        assert found is not None
        assert found.tolist() == [[[True, True, False]]]  # the last lies next to a missing value
        assert y.tolist() == [[[1.0, 4.0, 0.0]]]

    @given(*SHAPES)
    def test_positions_stay_within_the_case_in_order(self, B, C, L, seed):
        numbers = torch.Generator().manual_seed(seed)
        end = torch.randint(1, L + 1, (B,), generator=numbers)
        drawn = torch.rand(B, 3, generator=numbers)
        at = positions(end, L, drawn, torch.randn(B, 6, generator=numbers))
        for one, last, u in zip(at, end.tolist(), drawn, strict=True):
            own = one[:last]
            assert own.min() >= 0
            assert own.max() <= last - 1
            assert (own.diff() >= 0).all()
            assert torch.equal(one[last:], torch.arange(last, L).float())
            if u[2] < 0.25:
                assert torch.equal(own, torch.arange(last).float())

    def test_the_middle_stays_without_shift_and_speed(self):
        """A stretch alone reads the case around its middle, 0.8 to 1.25 times as fast."""
        for stretch, factor in ((0.0, 0.8), (1.0, 1.25)):
            drawn = torch.tensor([[stretch, 0.9, 0.5]])
            at = positions(torch.tensor([21]), 21, drawn, torch.zeros(1, 6))[0]
            expected = ((torch.arange(21.0) - 10) * factor + 10).clamp(0, 20)
            torch.testing.assert_close(at, expected, rtol=0, atol=1e-4)


class TestNoise:
    def test_without_noise_nothing_changes(self):
        x = torch.randn(4, 2, 9)
        assert torch.equal(jittered(x, None, torch.zeros(4, 2, 1), torch.zeros_like(x)), x)

    def test_it_has_the_size_of_a_channel(self):
        x = torch.randn(50, 2, 40) * torch.tensor([1.0, 1000.0])[:, None] + 5
        y = jittered(x, None, torch.zeros(50, 2, 1), torch.randn_like(x)) - x
        size = y.std((0, 2)) / x.std((0, 2))
        torch.testing.assert_close(size, torch.full((2,), 0.1), rtol=0.1, atol=0)
        scaled = jittered(x, None, torch.ones(50, 2, 1), torch.zeros_like(x)) - x
        expected = 0.1 * (x - x.mean((0, 2), keepdim=True))
        torch.testing.assert_close(scaled, expected, rtol=1e-3, atol=1e-3)


class TestMixUp:
    def test_values_labels_and_weights(self):
        x = torch.tensor([[[0.0, 8.0]], [[4.0, 0.0]]])
        known = torch.tensor([[[True, True]], [[True, False]]])
        y, weight = torch.eye(2), torch.tensor([1.0, 3.0])
        share, partner = torch.tensor([0.25, 0.5]), torch.tensor([1, 0])
        found: Any = mixed(Batch(x, y, weight, known), partner, share, "classify")
        # where the partner's value is missing its own stays; where its own is, nothing comes
        assert found.x.tolist() == [[[1.0, 8.0]], [[2.0, 0.0]]]
        assert torch.equal(found.known, known)
        assert found.weight.tolist() == [1.5, 2.0]
        torch.testing.assert_close(
            found.y * found.weight[:, None], torch.tensor([[0.75, 0.75], [0.5, 1.5]])
        )
        numbers = mixed(Batch(x, torch.tensor([[1.0], [5.0]])), partner, share, "regress")
        assert numbers.y.tolist() == [[2.0], [3.0]]

    @given(*SHAPES, st.booleans(), st.booleans())
    def test_label_mass_and_masks(self, B, C, L, seed, masked, weighted):
        batch = batch_of(B, C, L, seed, masked, weighted)
        with RandomNumbers(seed, CPU).in_use():
            found: Any = augmented(batch, network().config)
        torch.testing.assert_close(found.y.sum(1), torch.ones(B))
        own = found.y.gather(1, batch.y[:, None])[:, 0]
        assert (own >= 0.5 - 1e-6).all() or weighted  # a case weighs more than its partner
        assert found.x.isfinite().all()
        assert (found.known is None) == (batch.known is None)
        if found.known is not None:
            assert (found.x[~found.known] == 0).all()
            ended = ~batch.known.flip(-1).cummax(-1).values.flip(-1).any(1, keepdim=True)
            assert not found.known[ended.expand_as(found.known)].any()
        if weighted:
            assert found.weight.min() >= batch.weight.min() - 1e-6
            assert found.weight.max() <= batch.weight.max() + 1e-6

    def test_the_loss_is_that_of_both_labels(self):
        batch = batch_of(6, 1, 5, 3, False, True)
        whole = batch._replace(y=F.one_hot(batch.y, 3).float())
        partner, share = torch.tensor([1, 2, 3, 4, 5, 0]), torch.linspace(0, 0.5, 6)
        found: Any = mixed(whole, partner, share, "classify")
        scores = torch.randn(6, 3)
        mine, theirs = (
            F.cross_entropy(scores, y, reduction="none") for y in (batch.y, batch.y[partner])
        )
        weights = (1 - share) * batch.weight, share * batch.weight[partner]
        expected = (mine * weights[0] + theirs * weights[1]).sum() / (weights[0] + weights[1]).sum()
        torch.testing.assert_close(cross_entropy(scores, found.y, found.weight), expected)

    def test_the_same_numbers_give_the_same_cases(self):
        batch = batch_of(5, 2, 20, 1, True, False)
        numbers, found = RandomNumbers(3, CPU), []
        state = numbers.state()
        for _ in range(2):
            numbers.go_on_from(state)
            with numbers.in_use():
                found.append(augmented(batch, network().config))
        assert torch.equal(found[0].x, found[1].x)
        assert not torch.equal(found[0].x, torch.where(batch.known, batch.x, 0.0))


class TestRecipe:
    def test_the_cosine_falls_over_all_epochs(self):
        config = TrainConfig(epochs=4, lr=0.2, schedule="cosine", patience=None)
        rates = [config.learning_rate(epoch) for epoch in (1, 2, 3, 4)]
        expected = [0.2, 0.1 * (1 + 0.5**0.5), 0.1, 0.1 * (1 - 0.5**0.5)]
        assert rates == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("size", "steps", "expected"),
        [(None, 0, 20), (7, 0, 7), (99, 0, 20), (None, 6, 48), (7, 6, 48), (None, 2, 20)],
    )
    def test_an_epoch_reads_whole_permutations(self, size, steps, expected, monkeypatch):
        config = TrainConfig(
            epochs=1, batch_size=8, epoch_size=size, epoch_steps=steps, device="cpu", lr=1e-3
        )
        assert config.examples_per_epoch(20) == expected
        seen = []

        whole = Step.__call__

        def noted(self, index):
            seen.extend(index.tolist())
            whole(self, index)

        monkeypatch.setattr(Step, "__call__", noted)
        train(network(), labelled(), None, config, device=CPU, verbose=0)
        assert len(seen) == expected
        for first in range(0, expected, 20):
            some = seen[first : first + 20]
            assert len(set(some)) == len(some)

    def test_the_last_epoch_of_a_cosine_is_kept(self):
        config = TrainConfig(
            epochs=5, batch_size=8, lr=0.02, schedule="cosine", patience=None, device="cpu"
        )
        cases = labelled()
        # the better it learns the labels, the worse it scores on wrong ones
        wrong = LabelledCases(cases.x, (cases.y + 1) % 3)
        history = train(network(), cases, wrong, config, device=CPU, verbose=0)
        losses = [epoch.valid["loss"] for epoch in history.epochs]
        assert history.best_epoch == 5
        assert min(losses) < losses[-1]
        with pytest.raises(ConfigError, match="patience must be None with schedule='cosine'"):
            TrainConfig(schedule="cosine", patience=3)

    def test_weight_decay_is_decoupled(self):
        """Weights shrink by the rate times the decay, besides Adam's step."""
        after = {}
        for decay in (0.0, 0.5):
            model = network(dropout=0.0)
            config = TrainConfig(lr=0.1, weight_decay=decay, batch_size=20, device="cpu")
            before = model.head.project.weight.detach().clone()
            Step(model.train(), labelled(), config, CPU)(torch.arange(20))
            after[decay] = model.head.project.weight.detach() - before
        torch.testing.assert_close(after[0.5], after[0.0] - 0.05 * before, rtol=1e-4, atol=1e-6)

    def test_a_batch_in_parts_is_augmented_too(self):
        config = TrainConfig(augment=True, batch_size=20, device="cpu")
        whole = labelled()
        cases = LabelledCases(whole.x, whole.y, torch.rand(20) + 0.5)
        step = Step(network().train(), cases, config, CPU)
        step.parts.count = 2
        with RandomNumbers(0, CPU).in_use():
            step(torch.arange(20))
        assert float(step.total) > 0
        assert int(step.seen) == 20

    def test_forecasts_are_not_augmented(self):
        model = ConvTimeNet(ModelConfig.forecasting(context_length=12, horizon=3, **SIZES))
        windows = Windows.between(torch.randn(2, 40), 12, 3, 0, 40)
        with pytest.raises(ConfigError, match="augment must be False to forecast"):
            _Training(
                model, windows, None, TrainConfig(augment=True), CPU, RandomNumbers(0, CPU), None,
                StopRequest(),
            )  # fmt: skip

    def test_own_epochs_are_passes_over_the_cases(self):
        x = np.random.default_rng(0).normal(size=(20, 1, 12))
        tiny = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,), "random_patches": 1}
        given: list[dict[str, Any]] = [{"n_epochs": 2}, {"training": {"epochs": 2}}]
        for own in given:
            model = ConvTimeNetClassifier(**own, model=tiny, device="cpu", verbose=0)
            model.fit(x, np.arange(20) % 2)
            assert model.history_.steps == 2 * 2  # 16 of the 20 cases, 8 at a time
