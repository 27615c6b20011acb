"""The paper's hyper-parameters as SPEC section 5 lists them, and those derived from data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.datasets.registry import REGISTRY
from convtimenet.errors import ConfigError
from convtimenet.estimators.presets.derived import (
    auto_classify,
    auto_forecast,
    batch_for,
    forecast_preset,
)
from convtimenet.estimators.presets.paper import PAPER, paper_preset

# SPEC section 5, copied by hand: kernels, dropout, batch size, learning rate
FORECASTING = {
    "ETTh1": ("9 11 15 21 29 39", 0.2, 256, 5e-4),
    "ETTm1": ("9 11 15 21 29 39", 0.2, 256, 5e-4),
    "ETTh2": ("5 7 9 11 13 15", 0.1, 256, 5e-4),
    "ETTm2": ("11 15 19 25 33 43 55", 0.5, 256, 3e-4),
    "Weather": ("9 11 15 19 25 33 43", 0.5, 256, 5e-3),
    "Electricity": ("11 15 21 29 39 51", 0.1, 32, 4e-3),
    "Traffic": ("15 17 21 27 35 55", 0.1, 32, 4e-3),
    "Exchange": ("9 11 15 21 29 39", 0.4, 16, 1e-4),
    "ILI": ("9 11 15 21 29 39", 0.5, 64, 5e-3),
}
# patch, stride, kernels, epochs between falls of the learning rate
CLASSIFICATION = {
    "ArticularyWordRecognition": (32, 16, "19 19 29 29 37 37", 5),
    "Cricket": (8, 4, "19 19 29 29 37 37", 20),
    "CharacterTrajectories": (32, 16, "7 7 13 13 19 19", 5),
    "DuckDuckGeese": (4, 2, "37 37 43 43 53 53", 5),
    "EthanolConcentration": (32, 16, "19 19 29 29 37 37", 5),
    "Epilepsy": (4, 2, "37 37 43 43 53 53", 5),
    "FingerMovements": (64, 32, "7 7 13 13 19 19", 20),
    "JapaneseVowels": (4, 2, "7 7 13 13 19 19", 5),
    "PEMS-SF": (16, 8, "19 19 29 29 37 37", 20),
    "SelfRegulationSCP2": (32, 16, "37 37 43 43 53 53", 20),
}


def kernels(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


def test_every_set_of_the_specification_has_a_preset():
    assert set(PAPER) == set(FORECASTING) | set(CLASSIFICATION)


@pytest.mark.parametrize("name", FORECASTING)
def test_forecasting_presets(name):
    sizes, dropout, batch, lr = FORECASTING[name]
    preset = paper_preset(name, "forecast")
    context, horizons = (104, (24, 36, 48, 60)) if name == "ILI" else (336, (96, 192, 336, 720))
    assert (preset.context_length, preset.horizons) == (context, horizons)
    model = ModelConfig.forecasting(context_length=context, horizon=horizons[0], **preset.model)
    assert (model.kernel_sizes, model.dropout) == (kernels(sizes), dropout)
    assert model.small_kernel == (5 if name == "Electricity" else 3)
    assert (model.patch_size, model.patch_stride) == (32, 16)
    assert (model.d_model, model.d_ff, model.norm) == (64, 256, "batch")
    train = TrainConfig(**preset.train)
    assert (train.batch_size, train.lr, train.epochs, train.patience) == (batch, lr, 10, 3)
    assert (train.lr_hold, train.lr_decay, train.lr_every, train.seed) == (3, 0.9, 1, 2023)
    assert train.clip_norm is None


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification_presets(name):
    patch, stride, sizes, every = CLASSIFICATION[name]
    preset = paper_preset(name, "classify")
    model = ModelConfig.classification(channels=2, context_length=100, n_classes=3, **preset.model)
    assert (model.patch_size, model.patch_stride) == (patch, stride)
    assert (model.kernel_sizes, model.dropout) == (kernels(sizes), 0.1)
    train = TrainConfig(**preset.train)
    assert (train.batch_size, train.lr, train.epochs, train.clip_norm) == (32, 1e-3, 100, 4.0)
    assert (train.lr_hold, train.lr_decay, train.lr_every) == (3, 0.9, every)


def test_presets_are_named_like_the_registered_sets():
    assert set(PAPER) <= {entry.name for entry in REGISTRY.values()}


@pytest.mark.parametrize(
    ("name", "head"), [("ETTh9", "forecast"), ("Epilepsy", "forecast"), ("ETTh1", "classify")]
)
def test_presets_the_paper_lacks_are_refused(name, head):
    with pytest.raises(ConfigError, match=f"no hyper-parameters .* {name!r}.* Use preset='auto'"):
        paper_preset(name, head)


@given(st.integers(2, 100_000), st.integers(1, 1000))
def test_automatic_forecasting_settings_are_always_valid(rows, horizon):
    preset = auto_forecast(rows, horizon)
    assert preset.context_length is not None
    assert 2 <= preset.context_length <= 336
    config = ModelConfig.forecasting(
        context_length=preset.context_length, horizon=horizon, **preset.model
    )
    assert config.n_patches >= 2
    assert config.kernel_sizes == tuple(sorted(config.kernel_sizes))
    assert all(k % 2 == 1 for k in config.kernel_sizes)
    TrainConfig(**preset.train)
    if rows >= 4 * horizon and rows >= 8:
        assert rows - preset.context_length - horizon + 1 >= 1


@given(st.integers(1, 2000))
def test_a_given_context_is_kept(context):
    assert auto_forecast(10_000, 24, context).context_length == context


def test_long_tables_get_the_papers_context_and_patches():
    preset = auto_forecast(17_420, 96)
    assert preset.context_length == 336
    assert (preset.model["patch_size"], preset.model["patch_stride"]) == (32, 16)


@pytest.mark.parametrize(
    ("rows", "context", "series", "channels", "epochs"),
    [
        (676, 336, 1, 7, 40), (676, 104, 1, 7, 40), (60, 24, 30, 1, 15), (90, 24, 30, 1, 40),
        (1200, 336, 1, 1, 15), (2300, 336, 1, 1, 40), (2500, 336, 1, 1, 15),
        (1500, 336, 1, 10, 22), (1500, 336, 1, 16, 15), (8000, 336, 1, 7, 15),
    ],
)  # fmt: skip
def test_epochs_follow_from_what_one_reads(rows, context, series, channels, epochs):
    """40 where an epoch reads all of 1,000 contexts or more, fewer of more than 6,500."""
    given = rows, 24, context, series, 1, channels
    train = auto_forecast(*given).train
    assert train["epochs"] == epochs
    assert train["patience"] == (4 if epochs == 15 else 10)
    config = TrainConfig(**train)
    rates = [config.learning_rate(epoch) / config.lr for epoch in range(1, epochs + 1)]
    if epochs > 15:
        assert rates[: epochs // 2] == [1.0] * (epochs // 2)
        assert rates[-1] < 0.3
    assert auto_forecast(*given, own_epochs=True).train["epochs"] == 15


def test_epochs_of_the_users_own_have_the_usual_schedule():
    kept = {"lr_hold", "lr_decay"}
    base = ("auto", "auto", 676, 24, None, 1, 7, 52)
    assert kept <= {*forecast_preset(*base, {}, {"lr": 1e-3}).train}
    for network, training in (({"n_epochs": 3}, {}), ({}, {"patience": 2}), ({}, {"epochs": 9})):
        assert not kept & {*forecast_preset(*base, network, training).train}


@pytest.mark.parametrize(
    ("shape", "steps"),
    [((100, 6, 1197), 50), ((300, 4, 2000), 37), ((267, 963, 144), 8), ((128, 6, 17984), 4)],
)
def test_long_or_wide_cases_take_fewer_steps(shape, steps):
    assert auto_classify(*shape).train["epoch_steps"] == steps


@given(st.integers(2, 100_000), st.integers(1, 2_000), st.integers(1, 20_000))
def test_automatic_classification_settings_are_always_valid(n_cases, channels, length):
    preset = auto_classify(n_cases, channels, length)
    config = ModelConfig.classification(
        channels=1, context_length=length, n_classes=2, **preset.model
    )
    assert config.patch_size <= max(2, length)
    assert config.patch_stride * 2 == config.patch_size or config.patch_stride == 1
    TrainConfig(**preset.train)


@given(st.integers(1, 10**6), st.sampled_from([32, 256]))
def test_batches_leave_about_30_steps_an_epoch(n, most):
    size = batch_for(n, most)
    assert 8 <= size <= most
    assert n / size >= 30 or size == 8
    assert size == most or n / (2 * size) < 30
