"""Losses: weights count targets; without weights they are torch's own."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from convtimenet.config import ModelConfig, PointLoss, TrainConfig
from convtimenet.data.windows import Windows
from convtimenet.errors import ConfigError
from convtimenet.network.model import ConvTimeNet
from convtimenet.training.loop import train
from convtimenet.training.losses import cross_entropy, huber, mae, mse, pinball
from convtimenet.training.objectives import loss_of


def test_mse_without_weights_is_torchs():
    output, target = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    assert mse(output, target, None) == F.mse_loss(output, target)


def test_cross_entropy_without_weights_is_torchs():
    output, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    assert cross_entropy(output, target, None) == F.cross_entropy(output, target)


def test_a_weight_of_zero_leaves_a_value_out():
    output = torch.tensor([[[1.0, 5.0]], [[2.0, 9.0]]])
    target = torch.zeros_like(output)
    weight = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    assert mse(output, target, weight).item() == pytest.approx((1 + 4) / 2)


def test_a_whole_weight_counts_a_case_twice():
    output, target = torch.randn(3, 2), torch.tensor([0, 1, 1])
    weight = torch.tensor([1.0, 2.0, 1.0])
    twice = F.cross_entropy(output[[0, 1, 1, 2]], target[[0, 1, 1, 2]])
    torch.testing.assert_close(cross_entropy(output, target, weight), twice)


QUANTILES = (0.1, 0.5, 0.9)


def random_weights(*shape: int) -> torch.Tensor:
    return torch.randint(0, 3, shape).float()


@pytest.mark.parametrize(
    ("loss", "torchs"),
    [(mae, F.l1_loss), (huber(0.3), lambda *a, **k: F.huber_loss(*a, delta=0.3, **k))],
)
def test_point_losses_are_torchs_and_take_weights(loss, torchs):
    output, target, weight = torch.randn(4, 3, 5), torch.randn(4, 3, 5), random_weights(4, 3, 5)
    assert loss(output, target, None) == torchs(output, target)
    by_hand = (torchs(output, target, reduction="none") * weight).sum() / weight.sum()
    torch.testing.assert_close(loss(output, target, weight), by_hand)


def test_huber_is_squared_inside_and_linear_outside():
    found = huber(0.5).values(torch.tensor([0.2, 2.0]), torch.zeros(2), reduction="none")
    assert found.tolist() == pytest.approx([0.2**2 / 2, 0.5 * (2.0 - 0.25)])


def test_pinball_by_hand():
    output = torch.tensor([1.0, 2.0, 4.0]).view(1, 1, 3, 1)
    target = torch.tensor([[[3.0]]])
    expected = (0.1 * 2 + 0.5 * 1 + 0.1 * 1) / 3  # below, below, above
    assert pinball(QUANTILES)(output, target, None).item() == pytest.approx(expected)


def test_pinball_leaves_out_what_has_no_weight():
    output, target = torch.randn(2, 3, 3, 4), torch.randn(2, 3, 4)
    weight = torch.ones(2, 1, 4)
    weight[1] = 0
    torch.testing.assert_close(
        pinball(QUANTILES)(output, target, weight),
        pinball(QUANTILES)(output[:1], target[:1], None),
    )


@given(st.floats(0.05, 0.95), st.integers(0, 2**16))
def test_the_quantile_has_the_least_pinball_loss(q, seed):
    """Among the sample's own values, one that leaves a share q of them below."""
    sample = torch.randn(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ranked = sample.sort().values
    tried = ranked.view(-1, 1, 1, 1).expand(-1, 1, 1, 40)
    losses = pinball((q,)).values(tried, sample.expand(40, 1, 40), reduction="none").mean((1, 2))
    below = (sample < ranked[losses.argmin()]).double().mean().item()
    assert below <= q + 1e-9
    assert below + 1 / 40 >= q - 1e-9


def kind_of_loss(loss: PointLoss | None, quantiles: tuple[float, ...] = ()) -> str:
    model = ModelConfig.forecasting(context_length=12, horizon=3, quantiles=quantiles)
    return loss_of(model, TrainConfig(loss=loss)).name


def test_what_each_network_trains_with():
    assert [kind_of_loss(loss) for loss in (None, "mse", "mae", "huber")] == [
        "mse", "mse", "mae", "huber",
    ]  # fmt: skip
    assert kind_of_loss(None, QUANTILES) == "pinball"
    classes = ModelConfig.classification(channels=1, context_length=8, n_classes=2)
    assert loss_of(classes, TrainConfig()).name == "loss"


def test_a_point_loss_where_no_point_is_forecast_is_refused():
    with pytest.raises(ConfigError, match="quantile heads train with the pinball loss; leave"):
        kind_of_loss("mae", QUANTILES)
    classes = ModelConfig.classification(channels=1, context_length=8, n_classes=2)
    with pytest.raises(ConfigError, match="the head 'classify' has a loss of its own; leave"):
        loss_of(classes, TrainConfig(loss="huber"))


@pytest.mark.parametrize("loss", ["mae", "huber"])
def test_the_validation_score_follows_the_loss(loss):
    torch.manual_seed(0)
    network = ConvTimeNet(
        ModelConfig.forecasting(
            context_length=12, horizon=3, d_model=4, d_ff=8, kernel_sizes=(3,), patch_size=4,
            patch_stride=2,
        )
    )  # fmt: skip
    values = torch.randn(1, 80)
    valid = Windows.between(values, 12, 3, 50, 80)
    config = TrainConfig(loss=loss, epochs=3, batch_size=16, lr=1e-2, huber_delta=0.7)
    device = torch.device("cpu")
    history = train(
        network, Windows.between(values, 12, 3, 0, 50), valid, config, device=device, verbose=0
    )
    scores = [epoch.valid[loss] for epoch in history.epochs]
    assert history.best_epoch == 1 + scores.index(min(scores))
    batch = valid.batch(torch.arange(len(valid)))
    with torch.no_grad():
        again = loss_of(network.config, config)(network(batch.x), batch.y, None)
    assert again.item() == pytest.approx(min(scores), rel=1e-4)
