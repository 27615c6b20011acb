"""Settings: every bound, JSON and back, and the sizes derived from them."""

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.errors import ConfigError


def forecasting(**settings) -> ModelConfig:
    return ModelConfig.forecasting(**{"context_length": 96, "horizon": 24, **settings})


def classification(**settings) -> ModelConfig:
    given_ = {"channels": 2, "context_length": 96, "n_classes": 3, **settings}
    return ModelConfig.classification(**given_)


BAD_MODEL = [
    ("padding", "reflect"),
    ("predictor_init", "ones"),
    ("norm", "group"),
    ("residual", "none"),
    ("pooling", "min"),
    ("patch_size", 1),
    ("patch_size", 4.0),
    ("patch_stride", 0),
    ("d_model", 0),
    ("d_model", True),
    ("d_ff", 0),
    ("d_ff", "16"),
    ("small_kernel", -1),
    ("revin_affine_channels", -1),
    ("dropout", -0.1),
    ("dropout", 1.0),
    ("dropout", float("nan")),
    ("dropout", "0.1"),
    ("head_dropout", 1.0),
    ("residual_init", None),
    ("kernel_sizes", ()),
    ("kernel_sizes", (5, 1)),
    ("kernel_sizes", (5, 7.0)),
    ("channels", 2),
    ("colour", "red"),
]


@pytest.mark.parametrize(("setting", "value"), BAD_MODEL)
def test_model_settings_out_of_range_are_refused_by_name(setting, value):
    with pytest.raises(ConfigError, match=setting):
        ModelConfig.from_dict(forecasting().to_dict() | {setting: value})


@pytest.mark.parametrize("value", [0, -3, 1.5, True, None])
@pytest.mark.parametrize(
    ("argument", "setting"), [("context_length", "context_length"), ("horizon", "outputs")]
)
def test_lengths_must_be_whole_and_positive(argument, setting, value):
    with pytest.raises(ConfigError, match=f"{setting} must be a whole number of at least 1, found"):
        forecasting(**{argument: value})


BAD_TRAIN = [
    ("protocol", "kind"),
    ("precision", "fp16"),
    ("epochs", 0),
    ("epochs", 2.5),
    ("epochs", True),
    ("batch_size", 0),
    ("batch_size", "8"),
    ("lr", 0.0),
    ("lr", -1e-3),
    ("lr", float("inf")),
    ("lr", float("nan")),
    ("lr", "fast"),
    ("lr_hold", -1),
    ("lr_decay", 0.0),
    ("lr_decay", 1.1),
    ("lr_every", 0),
    ("clip_norm", 0.0),
    ("patience", 0),
    ("validation_fraction", 1.0),
    ("validation_fraction", 1.5),
    ("validation_fraction", -0.1),
    ("time_limit", 0),
    ("time_limit", "1 h"),
    ("device", None),
    ("seed", None),
    ("seed", -1),
    ("seed", 2**32),
    ("colour", "red"),
]


@pytest.mark.parametrize(("setting", "value"), BAD_TRAIN)
def test_training_settings_out_of_range_are_refused_by_name(setting, value):
    with pytest.raises(ConfigError, match=setting):
        TrainConfig.from_dict({setting: value})


def test_the_message_says_setting_expected_and_found():
    with pytest.raises(ConfigError, match=r"^dropout must be at least 0 and below 1, found 1\.5$"):
        forecasting(dropout=1.5)
    with pytest.raises(
        ConfigError, match=r"^norm must be one of 'batch', 'layer', found 'instance'$"
    ):
        forecasting(norm="instance")


def test_contradicting_settings_are_refused():
    with pytest.raises(ConfigError, match="revin must be False for the head 'classify'"):
        classification(revin=True)
    with pytest.raises(ConfigError, match="revin must be True when revin_affine_channels is set"):
        forecasting(revin=False, revin_affine_channels=2)
    with pytest.raises(ConfigError, match="at least patch_size=32 when padding is 'none', found 9"):
        forecasting(context_length=9, padding="none")
    with pytest.raises(ConfigError, match="none below small_kernel=5, found"):
        forecasting(small_kernel=5, kernel_sizes=(9, 3))


def test_bounds_themselves_are_allowed():
    config = forecasting(
        context_length=1, horizon=1, patch_size=2, patch_stride=1, d_model=1, d_ff=1
    )
    assert config.n_patches == 1
    assert forecasting(dropout=0, small_kernel=0, kernel_sizes=[1]).kernel_sizes == (1,)
    assert TrainConfig(validation_fraction=0, lr_decay=1, lr_hold=0, seed=0, clip_norm=None)


def test_numpy_whole_numbers_become_plain_ones():
    config = forecasting(horizon=np.int64(7))
    assert type(config.outputs) is int
    assert config == forecasting(horizon=7)
    assert type(TrainConfig(epochs=np.int32(3)).epochs) is int  # pyright: ignore[reportArgumentType]


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        forecasting().d_model = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "config",
    [
        forecasting(kernel_sizes=(3, 7, 9), revin_affine_channels=4, dropout=0.5),
        classification(pooling="mean", small_kernel=0),
    ],
)
def test_model_settings_survive_json(config):
    again = ModelConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert isinstance(again.kernel_sizes, tuple)


def test_training_settings_survive_json():
    config = TrainConfig(protocol="paper", clip_norm=4.0, patience=None, time_limit=2.5, seed=7)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_missing_setting_is_named():
    with pytest.raises(ConfigError, match="context_length"):
        ModelConfig.from_dict({"head": "forecast", "outputs": 3})


def test_the_two_tasks_differ_by_the_values_of_the_paper():
    forecast, classify = forecasting(), classification()
    assert (forecast.padding, classify.padding) == ("repeat", "zeros")
    assert (forecast.residual_init, classify.residual_init) == (1e-8, 0.5)
    assert (forecast.pooling, classify.pooling) == ("flatten", "max")
    assert (forecast.predictor_init, classify.predictor_init) == ("last_zero", "default")
    assert (forecast.embed_norm, classify.embed_norm) == (False, True)
    assert (forecast.revin, classify.revin) == (True, False)
    assert classify.dropout == 0.1


@given(st.integers(1, 400), st.integers(2, 70), st.integers(1, 40))
def test_patch_count_and_padded_length_follow_the_specification(L, P, S):
    """SPEC section 2, by counting: full patches, then one more at the end."""
    full = len([start for start in range(0, L, S) if start + P <= L])
    config = forecasting(context_length=L, patch_size=P, patch_stride=S)
    if L >= P:
        assert config.n_patches == full + 1
        assert config.padded_length == full * S + P
        unpadded = forecasting(context_length=L, patch_size=P, patch_stride=S, padding="none")
        assert unpadded.n_patches == full
        assert unpadded.padded_length == L
    assert config.padded_length >= L
    assert config.padded_length == (config.n_patches - 1) * S + P


def test_short_classification_series_are_one_patch():
    """FingerMovements: length 50 below patch 64 (SPEC section 5)."""
    config = classification(context_length=50, patch_size=64, patch_stride=32)
    assert (config.n_patches, config.padded_length) == (1, 64)


@pytest.mark.parametrize("values", [None, [], "text", 3])
def test_settings_that_are_no_mapping(values):
    for kind in (ModelConfig, TrainConfig):
        with pytest.raises(ConfigError, match=f"needs a mapping .* found {type(values).__name__}"):
            kind.from_dict(values)
