"""quality="best": members, weights, time, stops, and everything that a single network can do."""

from __future__ import annotations

import copy
import json
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from convtimenet import (
    ConvTimeNetClassifier,
    ConvTimeNetForecaster,
    ConvTimeNetRegressor,
    ModelConfig,
    fuse,
    runtime,
)
from convtimenet.batch import Covariates
from convtimenet.cli.main import main
from convtimenet.config import TrainConfig
from convtimenet.data.labelled.cases import as_cases
from convtimenet.errors import ArtefactError, ConfigError
from convtimenet.estimators import base
from convtimenet.estimators.portfolio import (
    PICKS,
    _usable,
    cases_members,
    forecast_members,
    weights_of,
)
from convtimenet.estimators.presets.derived import next_context
from convtimenet.export import RowsBlock, export, on_rows
from convtimenet.network.ensemble import Ensemble, networks_in
from convtimenet.network.inference import FusedBlock
from convtimenet.network.networks import network_of
from convtimenet.network.reconstruction.weights import WEIGHTS
from convtimenet.report import cases_report, forecast_report
from convtimenet.runs.forecasting import forecast_table
from convtimenet.storage.manifest import seal
from convtimenet.training.losses import cross_entropy, mae, mse

SMALL = {"d_model": 4, "d_ff": 8, "kernel_sizes": (3,)}
FIXED = {**SMALL, "patch_size": 8, "patch_stride": 4, "pooling": "mean", "random_patches": 1}
SETTINGS: dict[str, Any] = {
    "quality": "best", "n_epochs": 1, "batch_size": 64, "device": "cpu", "verbose": 0,
}  # fmt: skip


def table(rows: int = 130) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    values = np.sin(np.arange(rows)[:, None] * 2 * np.pi / 7 + np.arange(2))
    values += draw.normal(scale=0.3, size=values.shape)
    frame = pd.DataFrame(values, columns=["a", "b"])
    frame.insert(0, "ds", pd.date_range("2024-01-01", periods=rows, freq="D"))
    return frame


def forecaster(**settings: Any) -> ConvTimeNetForecaster:
    return ConvTimeNetForecaster(**{"h": 3, "model": SMALL, **SETTINGS, **settings})


def cases(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    X = draw.normal(size=(n, 2, 20))
    X[::2] += np.sin(np.arange(20))
    return X, np.array(["wave", "noise"] * (n // 2))


def labelled(kind: Any = ConvTimeNetClassifier, **settings: Any) -> Any:
    model = {**SMALL, "random_patches": 1}
    return kind(**{"model": model, **SETTINGS, **settings})


@pytest.fixture(scope="module")
def fitted() -> ConvTimeNetForecaster:
    """Five members."""
    return forecaster().fit(table())


@pytest.fixture(scope="module")
def contexts() -> ConvTimeNetForecaster:
    """Three members: two contexts, and channels that read each other."""
    model = {name: FIXED[name] for name in FIXED if name not in ("pooling", "random_patches")}
    return forecaster(model=model, training={"loss": "mae", "seed": 3}).fit(table())


@pytest.fixture(scope="module")
def classifier() -> ConvTimeNetClassifier:
    """Five members."""
    return labelled().fit(*cases())


@pytest.fixture(scope="module")
def seeds() -> ConvTimeNetClassifier:
    """Two members, of different seeds."""
    return labelled(model=FIXED).fit(*cases())


@pytest.fixture(scope="module")
def regressor() -> ConvTimeNetRegressor:
    """Two members, of different seeds."""
    X, _ = cases()
    return labelled(ConvTimeNetRegressor, model=FIXED).fit(X, X[:, 0].mean(1) * 100)


def config(**settings: Any) -> ModelConfig:
    given = {"context_length": 24, "horizon": 4, "patch_size": 8, "patch_stride": 4}
    given |= {**SMALL, "kernel_sizes": (3, 5), "masks": True, "linear": True}
    return ModelConfig.forecasting(**{**given, **settings})


def two(**settings: Any) -> Ensemble:
    """An ensemble of contexts of 24 and 16, with random weights in every layer."""
    torch.manual_seed(0)
    members = [config(**settings), config(context_length=16, **settings)]
    network = network_of(replace(members[0], members=tuple(members)))
    assert isinstance(network, Ensemble)
    for parameter in network.parameters():
        parameter.data.normal_(std=0.3)
    network.weights.copy_(torch.tensor([0.25, 0.75]))
    return network.eval()


class TestNetwork:
    def test_it_averages_what_its_members_answer(self):
        network = two()
        x = torch.randn(5, 3, 24)
        known = torch.rand(5, 3, 24) > 0.2
        with torch.no_grad():
            first, second = network.members
            for inputs, ends in (((x,), (x[..., 8:],)), ((x, known), (x[..., 8:], known[..., 8:]))):
                expected = 0.25 * first(*inputs) + 0.75 * second(*ends)
                torch.testing.assert_close(network(*inputs), expected)
                torch.testing.assert_close(fuse(network)(*inputs), expected, rtol=1e-4, atol=1e-5)

    def test_a_member_that_sees_nothing_of_a_channel_does_not_count(self):
        network = two()
        x, known = torch.randn(2, 3, 24), torch.ones(2, 3, 24, dtype=torch.bool)
        known[0, 1, 8:] = False
        known[1, 2] = False
        with torch.no_grad():
            answers = network.answers(x, known)
            found = network(x, known)
        torch.testing.assert_close(found[0, 1], answers[0, 0, 1])
        torch.testing.assert_close(found[0, 0], 0.25 * answers[0, 0, 0] + 0.75 * answers[1, 0, 0])
        torch.testing.assert_close(found[1, 2], 0.25 * answers[0, 1, 2] + 0.75 * answers[1, 1, 2])

    def test_covariates_are_cut_like_the_context(self):
        network = two(hist_exog=1, futr_exog=2, stat_exog=1)
        x = torch.randn(5, 1, 24)
        hist, futr, stat = torch.randn(5, 1, 24), torch.randn(5, 2, 28), torch.randn(5, 1)
        with torch.no_grad():
            first, second = network.members
            whole = Covariates(hist, futr, stat)
            end = Covariates(hist[..., 8:], futr[..., 8:], stat)
            expected = 0.25 * first(x, None, whole) + 0.75 * second(x[..., 8:], None, end)
            torch.testing.assert_close(network(x, None, whole), expected)

    def test_cases_are_read_as_a_whole(self):
        one = ModelConfig.classification(
            channels=2, context_length=16, n_classes=3, patch_size=4, patch_stride=2,
            masks=True, pooling="mean", **SMALL,
        )  # fmt: skip
        network = network_of(replace(one, members=(one, replace(one, pooling="max")))).eval()
        assert isinstance(network, Ensemble)
        x = torch.randn(4, 2, 20)
        with torch.no_grad():
            expected = sum(member(x) for member in network.members) / 2
            torch.testing.assert_close(network(x), expected)

    @pytest.mark.parametrize("precision", ["fp32", "int8"])
    def test_every_member_is_fused(self, precision):
        network = two(d_model=8, d_ff=16)
        x = torch.randn(5, 3, 24)
        fused = fuse(network, precision)
        with torch.no_grad():
            parts = [fuse(member, precision) for member in networks_in(network)]
            expected = 0.25 * parts[0](x) + 0.75 * parts[1](x[..., 8:])
            assert torch.equal(fused(x), expected)
        for member in networks_in(fused):
            assert all(isinstance(block, FusedBlock) for block in member.blocks)

    def test_its_config_is_json(self):
        whole = two().config
        values = json.loads(json.dumps(whole.to_dict()))
        assert ModelConfig.from_dict(values) == whole
        assert "members" not in values["members"][0]

    def test_a_single_network_is_described_as_before(self):
        assert "members" not in config().to_dict()
        assert ModelConfig.from_dict(config().to_dict()).members == ()

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            (3, "members must be configs of networks, found 3"),
            (["a"], "members must be configs of networks"),
            ([{"head": "forecast", "context_length": 9}], "missing 1 required .*'outputs'"),
            ([{**config().to_dict(), "depth": 2}], "no setting 'depth'"),
            (
                [config(context_length=25)],
                "context_length of member 1 must be at most 24, found 25",
            ),
            ([config(), config(horizon=5)], "outputs of member 2 must be 4, found 5"),
            ([config(masks=False)], "masks of member 1 must be True, found False"),
            ([two().config], "members of member 1 must be empty"),
        ],
    )
    def test_wrong_members_are_refused(self, members, message):
        with pytest.raises(ConfigError, match=message):
            replace(config(), members=members)


class TestWeights:
    def test_a_perfect_member_gets_all_picks(self):
        y = torch.arange(6.0)
        answers = torch.stack([y + 1, y, y + 2])
        for losses in ([mse], [mae, mse]):
            found = weights_of(answers, y, torch.ones(6), losses, 6)
            np.testing.assert_allclose(found, np.array([1, 21, 1]) / 23)

    def test_equal_members_get_equal_weights(self):
        y = torch.randn(9)
        answers = (y + torch.randn(9)).expand(3, 9)
        np.testing.assert_allclose(weights_of(answers, y, torch.ones(9), [mae], 9), 1 / 3)

    def test_cases_without_weight_do_not_tell(self):
        y = torch.tensor([0, 1, 1])
        right, wrong = torch.tensor([[5.0, 0], [0, 5], [0, 5]]), torch.tensor([[5.0, 0]] * 3)
        told = weights_of(torch.stack([wrong, right]), y, torch.ones(3), [cross_entropy], 3)
        np.testing.assert_allclose(told, np.array([1, 21]) / 22)
        first = torch.tensor([1.0, 0, 0])
        equal = weights_of(torch.stack([wrong, right]), y, first, [cross_entropy], 3)
        np.testing.assert_allclose(equal, [0.5, 0.5])

    def test_what_overlaps_tells_less(self):
        y = torch.zeros(40)
        answers = torch.stack([torch.full((40,), 2.0), torch.full((40,), 1.0)])
        answers[1, ::2] = 2.2  # a gap of 0.4 with a deviation of 0.61
        sure, unsure = (weights_of(answers, y, torch.ones(40), [mae], n) for n in (40, 2))
        np.testing.assert_allclose(sure, np.array([1, 21]) / 22)
        np.testing.assert_allclose(unsure, [0.5, 0.5])
        np.testing.assert_allclose(weights_of(answers, y, torch.ones(40), [mae], 1), [0.5, 0.5])

    def test_only_finite_answers_and_losses_are_weighed(self):
        y = torch.zeros(3)
        answers = torch.tensor([[1, 2, 3], [1, torch.inf, 1], [1, 1, torch.nan], [1e30, 0, 0]])
        assert _usable(answers, y, torch.ones(3), [mae]) == [True, False, False, True]
        assert _usable(answers, y, torch.ones(3), [mae, mse]) == [True, False, False, False]

    @pytest.mark.parametrize("apart", [40, 4])
    def test_they_are_those_of_a_plain_greedy_selection(self, apart):
        torch.manual_seed(3)
        y = torch.randn(40)
        answers = y + torch.randn(4, 40) * torch.tensor([0.5, 0.6, 0.7, 2.0])[:, None]
        errors = (answers - y).double().numpy()
        counts = np.ones(4)
        for _ in range(PICKS):
            total = counts @ errors
            losses = np.square((total + errors) / (counts.sum() + 1))
            gap = losses - losses[losses.mean(1).argmin()]
            shared = gap.mean(1) <= gap.std(1, ddof=1) / np.sqrt(apart)
            counts += shared / shared.sum()
        found = weights_of(answers, y, torch.ones(40), [mse], apart)
        np.testing.assert_allclose(found, counts / counts.sum(), rtol=1e-5)
        assert np.ptp(found.numpy()) > 0.01


class TestMembers:
    def test_of_a_forecaster(self):
        train = TrainConfig(loss="mae", seed=5)
        base_config = config(patch_size=8, kernel_sizes=(7, 7, 11, 11, 15, 15))
        other = config(context_length=16)
        found = forecast_members(base_config, train, other, ())
        assert [one.pretrained for one, _ in found] == [False, True, *[False] * 5]
        _, once = found.pop(1)
        assert (once.epochs, once.encoder_rate, once.refit) == (1, 0.0, False)
        assert [one.seed for _, one in found] == [5, 6, 7, 8, 9, 10]
        assert [one.loss for _, one in found] == ["mae", "mae", "mse", "mae", "mae", "mae"]
        networks = [one for one, _ in found]
        assert networks[1] == other
        assert networks[0] == networks[2] == networks[4] == base_config
        assert (networks[3].patch_size, networks[3].patch_stride) == (4, 2)
        assert networks[5] == replace(base_config, kernel_sizes=(5, 5, 7, 7, 9, 9))

    def test_of_a_classifier(self):
        one = ModelConfig.classification(
            channels=1, context_length=40, n_classes=2, patch_size=8, patch_stride=4,
            kernel_sizes=(7, 9), pooling="mean",
        )  # fmt: skip
        found = cases_members(one, TrainConfig(), ())
        settings = [(m.pooling, m.patch_size, len(m.kernel_sizes)) for m, _ in found]
        expected = [("mean", 8, 2), ("max", 8, 2), ("mean", 16, 6), ("mean", 8, 2), ("mean", 4, 6)]
        assert settings == [*expected, ("mean", 8, 2)]
        assert found[5][0].kernel_sizes == (11, 15)

    @pytest.mark.parametrize(
        ("fixed", "left"),
        [({"loss"}, 6), ({"patch_size"}, 5), ({"kernel_sizes"}, 5), ({"seed"}, 6)],
    )
    def test_what_the_user_fixes_is_not_changed(self, fixed, left):
        train = TrainConfig(loss="mae")
        base_config = config(kernel_sizes=(7, 11))
        found = forecast_members(base_config, train, config(context_length=16), fixed)
        assert len(found) == left
        for name in fixed & {"patch_size", "kernel_sizes"}:
            assert not any(one.pretrained for one, _ in found)
            own = [one for one, _ in found if one.context_length == 24]
            assert {getattr(one, name) for one in own} == {getattr(base_config, name)}
        if "seed" in fixed:
            assert {one.seed for _, one in found} == {train.seed}

    def test_quantiles_have_one_loss(self):
        quantile = config(quantiles=(0.1, 0.5, 0.9))
        found = forecast_members(quantile, TrainConfig(), None, ())
        assert {one.loss for _, one in found} == {None}
        assert not any(one.pretrained for one, _ in found)

    @pytest.mark.parametrize("changes", [{"futr_exog": 1}, {"context_length": 15}])
    def test_the_weights_of_the_package_read_only_series_of_a_patch(self, changes):
        found = forecast_members(config(**changes), TrainConfig(), None, ())
        assert not any(one.pretrained for one, _ in found)

    def test_a_linear_map_is_alone(self):
        assert len(forecast_members(config(kernel_sizes=()), TrainConfig(), None, ())) == 1

    def test_the_next_context(self):
        assert next_context([336, 512, 720], 336) == [512]
        assert next_context([336, 512, 720], 720) == [512]
        assert next_context([50], 50) == []

    def test_settings_of_the_user_hold_for_every_member(self):
        own = {**SMALL, "kernel_sizes": (5,), "patch_size": 6, "patch_stride": 3}
        training = {"loss": "huber"}
        model = forecaster(model=own, lr=0.01, input_size=20, training=training, refit=False)
        model.fit(table())
        assert len(model.members_) == 2  # the preset and another seed
        for one, member in zip(model.network_.config.members, model.members_, strict=True):
            found = one.context_length, one.patch_size, one.patch_stride, one.kernel_sizes
            assert found == (20, 6, 3, (5,))
            train = member.train_config
            assert (train.loss, train.lr, train.epochs, train.batch_size) == ("huber", 0.01, 1, 64)


class TestWeightsOfThePackage:
    def test_answer_beside_a_trained_network(self, monkeypatch, tmp_path):
        """They are chosen how far they count like any member, and trained no second time."""

        def two(*given: Any) -> Any:
            return cast(Any, forecast_members)(*given)[:2]

        monkeypatch.setattr("convtimenet.estimators.forecasting.forecaster.forecast_members", two)
        rows = table()
        model = ConvTimeNetForecaster(h=3, **{**SETTINGS, "refit": "continue"}).fit(rows)
        network, ready = cast(Any, model.network_).members
        assert ready.config.pretrained
        assert ready.config.context_length == network.config.context_length
        assert model.history_.refitted
        for name, one in load_file(WEIGHTS).items():
            assert torch.equal(one.float(), ready.embedding.state_dict()[name])
        assert float(ready.logarithms) == 0  # of standardised values there are none
        model.save(tmp_path / "model")
        again = ConvTimeNetForecaster.load(tmp_path / "model")
        pd.testing.assert_frame_equal(again.predict(rows), model.predict(rows))
        x = torch.randn(2, 2, network.config.context_length)
        with torch.no_grad():
            want = mean_of(model, x)
            torch.testing.assert_close(model.fused_(x), want, rtol=1e-4, atol=1e-5)


def mean_of(model: Any, *inputs: torch.Tensor) -> torch.Tensor:
    """The members' answers one by one, each fused, and their weighted mean."""
    total: Any = 0.0
    longest = model.network_.config.context_length
    for weight, member in zip(model.network_.weights, model.network_.members, strict=True):
        skipped = 0
        if member.config.head == "forecast":
            skipped = longest - member.config.context_length
        total = total + weight * fuse(member)(*(one[..., skipped:] for one in inputs))
    return total


class TestForecaster:
    def test_forecasts_are_the_weighted_mean(self, fitted):
        contexts = {one.context_length for one in fitted.network_.config.members}
        assert len(contexts) == 2
        L = fitted.network_.config.context_length
        assert max(contexts) == L
        scaled = fitted.scaler_.apply(table()[["a", "b"]].to_numpy()[-L:].T)
        with torch.no_grad():
            found = mean_of(fitted, torch.from_numpy(scaled).float()[None])[0]
        expected = fitted.scaler_.invert(found.double().numpy()).T
        np.testing.assert_allclose(fitted.predict()[["a", "b"]], expected, rtol=1e-5, atol=1e-6)

    def test_what_is_recorded(self, fitted):
        weights = fitted.history_.weights
        assert len(weights) == len(fitted.members_) == 5
        assert sum(weights) == pytest.approx(1)
        assert min(weights) >= 1 / 25 - 1e-9
        np.testing.assert_allclose(fitted.network_.weights, weights, rtol=1e-6)
        assert fitted.history_.refitted
        # the best epoch's scores are those of all together, on the same rows
        scored = fitted.scored_.evaluate(table(), first_row=104)
        best = fitted.history_.epochs[fitted.history_.best_epoch - 1].valid
        assert best["mse"] == pytest.approx(scored.scores["mse"], rel=1e-4)

    def test_saved_and_loaded_it_forecasts_the_same(self, fitted, tmp_path):
        fitted.save(tmp_path / "model")
        again = ConvTimeNetForecaster.load(tmp_path / "model", device="cpu")
        for call in (
            lambda model: model.predict(level=[80]),
            lambda model: model.predict(h=8),
            lambda model: model.scored_.predict(),
        ):
            pd.testing.assert_frame_equal(call(again), call(fitted))
        assert again.history_.weights == fitted.history_.weights
        assert again.members_ == fitted.members_
        card = (tmp_path / "model" / "README.md").read_text()
        assert "networks: 5, with the weights" in card
        longer = table(150)
        expected = copy.deepcopy(fitted).retrain(longer).predict()
        pd.testing.assert_frame_equal(again.retrain(longer).predict(), expected)
        assert expected["ds"].iloc[0] == pd.Timestamp("2024-05-30")

    def test_a_damaged_member_is_refused(self, contexts, tmp_path):
        contexts.save(tmp_path / "model")
        path = tmp_path / "model" / "model.json"
        values = json.loads(path.read_text())
        values["model"]["members"][1]["d_model"] = 6
        path.write_text(json.dumps(values))
        seal(tmp_path / "model")
        with pytest.raises(ArtefactError, match="does not hold the weights"):
            ConvTimeNetForecaster.load(tmp_path / "model", device="cpu")

    def test_its_graph_answers_alike(self, tmp_path):
        """Of two contexts; tests/test_mixing.py exports channels that read each other."""
        model = {name: FIXED[name] for name in FIXED if name not in ("pooling", "random_patches")}
        training = {"loss": "mae", "seed": 3, "refit": False}
        two = forecaster(model=model | {"channel_mixing": 0}, training=training).fit(table())
        assert len({one.context_length for one in two.network_.config.members}) == 2
        assert len(two.members_) == 2
        assert export(two, tmp_path / "graph", "onnx")["max_difference"] < 1e-4
        values = table()[["a", "b"]].to_numpy()
        graph = runtime.load(tmp_path / "graph")
        assert isinstance(graph, runtime.ForecastRuntime)
        answers = graph.forecast(values)
        np.testing.assert_allclose(answers, two.forecast(values), atol=1e-4)

    def test_every_member_has_rows_for_eight_bits(self, contexts):
        x = torch.randn(4, 2, contexts.network_.config.context_length)
        rows = on_rows(contexts.fused_)
        for member in rows.members:
            assert all(isinstance(block, RowsBlock) for block in member.blocks)
        torch.testing.assert_close(rows(x), contexts.fused_(x))

    def test_explanations_backtests_and_pages(self, contexts, tmp_path):
        found = contexts.explain(spans=4)
        assert np.isfinite(found.importance).all()
        assert np.isnan(found.left).all()
        backtest = contexts.cross_validation(table(), n_windows=2, level=[80])
        assert len(backtest) == 12
        evaluation = contexts.evaluate(table(), first_row=104)
        path = forecast_report(
            tmp_path / "page.html",
            contexts,
            contexts.adapt(table()),
            evaluation,
            title="",
            facts={},
        )
        page = path.read_text()
        assert "The answers of 3 networks are averaged" in page
        assert "Deformable patches" not in page

    def test_long_tables_with_gaps_and_covariates(self):
        frame = table(100).melt("ds", var_name="unique_id", value_name="y")
        frame["promo"] = np.arange(len(frame)) % 5 == 0
        frame["heat"] = np.arange(len(frame)) % 3.0
        frame.loc[[10, 11, 130], "y"] = np.nan
        model = forecaster(futr_exog="promo", hist_exog="heat", calendar=True)
        model.fit(frame)
        plan = pd.DataFrame(
            {
                "ds": list(pd.date_range("2024-04-10", periods=3, freq="D")) * 2,
                "unique_id": ["a"] * 3 + ["b"] * 3,
                "promo": False,
            }
        )
        assert len({one.context_length for one in model.network_.config.members}) == 2
        assert model.predict(future=plan, level=[80])["ConvTimeNet"].notna().all()
        with pytest.raises(ConfigError, match="reads no covariates"):
            export(model, "nowhere")

    def test_without_a_validation_split_all_count_the_same(self):
        model = forecaster(training={"validation_fraction": 0.0, "loss": "mae", "seed": 1}, h=2)
        model.fit(table(60))
        assert model.history_.weights == pytest.approx([1 / 4] * 4)
        # its intervals come from trainings of all members on earlier rows
        assert model.calibration_ is not None
        assert model.predict(level=50).shape == (2, 7)

    def test_few_rows_are_fast(self):
        model = ConvTimeNetForecaster(4, quality="best", device="cpu", verbose=0)
        model.fit(table(60))
        assert model.network_.config.kernel_sizes == ()
        assert model.members_ == ()
        run = forecast_table(
            ConvTimeNetForecaster(4, quality="best", device="cpu", verbose=0),
            model.read(table(60)),
            dataset="table",
            test_fraction=0.2,
        )
        assert run.result.preset == "best: short series, so smoothing"


class TestCases:
    def test_classes_come_from_mean_scores(self, classifier):
        X, _ = cases()
        read = classifier.scaler_.apply(classifier.read(X).values)
        with torch.no_grad():
            scores = mean_of(classifier, torch.from_numpy(read).float())
        expected = scores.double().softmax(1)
        np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-4, atol=1e-5)
        assert {one.pooling for one in classifier.network_.config.members} == {"mean", "max"}
        patches = [member.patches.embedding.weight_0 for member in classifier.network_.members]
        assert not torch.equal(patches[0], patches[1])

    def test_numbers_are_the_weighted_mean(self, regressor):
        X, _ = cases()
        read = regressor.scaler_.apply(regressor.read(X).values)
        with torch.no_grad():
            found = mean_of(regressor, torch.from_numpy(read).float())
        expected = regressor.target_scaler_.invert(found.double().numpy().T)[0]
        np.testing.assert_allclose(regressor.predict(X), expected, rtol=1e-4, atol=1e-4)

    def test_saved_explained_and_reported(self, seeds, regressor, tmp_path):
        X, y = cases()
        for model, labels in ((seeds, y), (regressor, X[:, 0].mean(1) * 100)):
            folder = tmp_path / model.task
            model.save(folder)
            again = type(model).load(folder, device="cpu")
            np.testing.assert_array_equal(again.predict(X), model.predict(X))
            found = model.explain(X[:2], spans=3)
            assert np.isfinite(found.importance).all()
            path = cases_report(
                folder / "page.html", model, as_cases(X, labels), title="", facts={}
            )
            assert "networks are averaged" in path.read_text()

    def test_longer_cases_are_read_at_their_length(self, classifier):
        X, _ = cases()
        longer = np.concatenate([X, X[..., :7]], axis=2)
        assert classifier.predict_proba(longer).shape == (24, 2)


class TestTime:
    def test_the_limit_leaves_members_out(self, monkeypatch, caplog):
        whole = base.train

        def slow(*given: Any, **settings: Any) -> Any:
            history = whole(*given, **settings)
            history.seconds = 10.0
            return history

        monkeypatch.setattr(base, "train", slow)
        with caplog.at_level(logging.WARNING):
            model = forecaster(time_limit=25.0, refit=False).fit(table())
        told = "2 of 5 networks were trained: the time limit of 25 s left none for another"
        assert told in model.notices_
        assert told in caplog.text
        assert len(model.members_) == 2
        # a second training takes its share of the time: 4 s and more for each
        model = forecaster(time_limit=25.0).fit(table())
        assert model.members_ == ()
        assert model.notices_[0] == told.replace("2 of 5", "1 of 5")
        assert not isinstance(model.network_, Ensemble)
        assert model.predict().shape == (3, 3)

    def test_the_limit_does_not_leave_out_what_is_ready(self, monkeypatch):
        """Nor does the time of a network keep it from all rows, nor its own the network."""
        whole = base.train

        def slow(model: Any, *given: Any, **settings: Any) -> Any:
            history = whole(model, *given, **settings)
            history.seconds = 10.0
            if history.steps:
                history.granted = 1.0
            return history

        monkeypatch.setattr(base, "train", slow)
        rows = table()
        without = ConvTimeNetForecaster(h=3, **SETTINGS, refit=False, time_limit=10.0).fit(rows)
        model = ConvTimeNetForecaster(h=3, **SETTINGS, time_limit=10.0).fit(rows)
        assert [one.config.pretrained for one in networks_in(model.network_)] == [False, True]
        assert model.notices_[0].startswith("2 of ")
        assert model.notices_[-1] == (
            "the time limit left no time to train again on all data; "
            "1 of 2 networks, which need no training, were fitted to all"
        )
        for own, first in zip(
            networks_in(model.network_), networks_in(without.network_), strict=True
        ):
            same = [
                torch.equal(one, first.state_dict()[name]) for name, one in own.state_dict().items()
            ]
            assert all(same) != own.config.pretrained
        # some 40 s for both trainings of the network; those of what is ready do not count
        model = ConvTimeNetForecaster(h=3, **SETTINGS, time_limit=50.0).fit(rows)
        assert len(model.members_) == 2
        assert model.history_.second is not None
        assert model.history_.second.steps > 0

    def test_a_member_that_fails_is_left_out(self, monkeypatch):
        whole = base.train

        def fails(*given: Any, **settings: Any) -> Any:
            if settings["label"] == "training, member 3 of 5":
                raise base.TrainingError("training did not converge")
            return whole(*given, **settings)

        monkeypatch.setattr(base, "train", fails)
        model = forecaster(refit=False).fit(table())
        assert model.notices_[0] == "member 3 of 5 is left out: training did not converge"
        assert len(model.members_) == len(model.history_.weights) == 4

    @pytest.mark.parametrize("broken", [(1,), (2,), (1, 2)])
    def test_a_member_whose_answers_are_not_finite_is_left_out(self, broken, monkeypatch):
        whole = base.train

        def overflows(network: Any, *given: Any, **settings: Any) -> Any:
            history = whole(network, *given, **settings)
            if settings["label"] in [f"training, member {n} of 2" for n in broken]:
                for parameter in network.parameters():
                    parameter.data.fill_(torch.nan)
            return history

        X, y = cases()
        model = labelled(model=FIXED, training={"refit": False})
        expected = model.fit(X, y).network_.members
        monkeypatch.setattr(base, "train", overflows)
        model.fit(X, y)
        told = [one for one in model.notices_ if "left out" in one]
        if len(broken) == 2:
            assert model.history_.weights == [0.5, 0.5]
            return
        assert told == [
            f"member {broken[0]} of 2 is left out: its answers to the validation split are not "
            "finite, or too large"
        ]
        assert not model.members_
        left = expected[2 - broken[0]]
        assert all(map(torch.equal, model.network_.parameters(), left.parameters()))
        assert np.isfinite(model.predict_proba(X)).all()


def stopped_at(label: str, whole: Callable[..., Any]) -> Callable[..., Any]:
    """Training that is stopped when the one of that label begins."""

    def train(*given: Any, **settings: Any) -> Any:
        if settings["label"] == label:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(*given, **settings)

    return train


class TestStops:
    def test_finished_members_are_kept(self, monkeypatch):
        with monkeypatch.context() as patched:
            patched.setattr(base, "train", stopped_at("training, member 3 of 5", base.train))
            model = forecaster()
            with pytest.raises(KeyboardInterrupt, match="the 2 networks trained so far are kept"):
                model.fit(table())
        assert len(model.history_.weights) == 2
        assert model.predict().shape == (3, 3)

    @pytest.mark.parametrize(
        "label", ["training, member 2 of 5", "training on all data, member 4 of 5"]
    )
    def test_it_goes_on_to_the_same_bits(self, fitted, monkeypatch, tmp_path, label):
        with monkeypatch.context() as patched:
            patched.setattr(base, "train", stopped_at(label, base.train))
            with pytest.raises(KeyboardInterrupt):
                forecaster().fit(table(), resume=tmp_path)
        model = forecaster().fit(table(), resume=tmp_path)
        for name, tensor in fitted.network_.state_dict().items():
            assert torch.equal(tensor, model.network_.state_dict()[name]), name
        pd.testing.assert_frame_equal(model.predict(level=80), fitted.predict(level=80))

    def test_a_drawn_seed_is_that_of_the_first_member(self, monkeypatch, tmp_path):
        X, y = cases()
        with monkeypatch.context() as patched:
            patched.setattr(base, "train", stopped_at("training, member 2 of 2", base.train))
            first = labelled(random_state=None, model=FIXED)
            with pytest.raises(KeyboardInterrupt):
                first.fit(X, y, resume=tmp_path)
        again = labelled(random_state=None, model=FIXED).fit(X, y, resume=tmp_path)
        assert again.train_config_.seed == first.train_config_.seed
        assert len(again.members_) == 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("kind", "preset", "data"),
        [
            (ConvTimeNetForecaster, "ETTh1", (table(),)),
            (ConvTimeNetClassifier, "Epilepsy", cases()),
        ],
    )
    def test_presets_of_the_paper(self, kind, preset, data):
        with pytest.raises(ConfigError, match=f"preset='{preset}' would have no effect; leave"):
            kind(quality="best", preset=preset, verbose=0).fit(*data)

    def test_members_of_the_user(self):
        with pytest.raises(ConfigError, match="holds members, which the data"):
            forecaster(model={"members": ()}).fit(table())


def test_on_the_command_line(tmp_path, capsys):
    data = tmp_path / "table.csv"
    table().to_csv(data, index=False)
    command = ["forecast", str(data), "--h", "3", "--quality", "best", "--quiet"]
    command += ["--training.epochs", "1", "--model.d_model", "4", "--model.d_ff", "8"]
    command += ["--model.kernel_sizes", "[3]", "--training.batch_size", "64", "--no_refit"]
    command += ["--device", "cpu", "--out", str(tmp_path / "out.csv")]
    assert main([*command, "--json", str(tmp_path / "result.json")]) == 0
    result = json.loads(Path(tmp_path / "result.json").read_text())
    assert result["preset"] == "best"
    assert len(result["history"]["weights"]) == 5
    assert "5, with the weights" in " ".join(capsys.readouterr().out.split())
