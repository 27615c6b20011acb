"""Pre-training without labels: what is hidden, what is learnt, and where a fit starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from test_resume import stop_after as stop_after

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor, tune
from convtimenet.batch import Batch
from convtimenet.cli.main import main
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.labelled.cases import as_cases
from convtimenet.data.windows import LabelledCases, Windows
from convtimenet.devices import RandomNumbers
from convtimenet.errors import ArtefactError, CheckpointError, ConfigError
from convtimenet.estimators import base
from convtimenet.estimators.portfolio import Plan, started
from convtimenet.estimators.pretraining import encoder_config
from convtimenet.estimators.tuning.search import Search, _about, _encoder
from convtimenet.network.model import ConvTimeNet
from convtimenet.training.augment import two_views
from convtimenet.training.hiding import hidden_spans, with_hidden_spans
from convtimenet.training.loop import train
from convtimenet.training.losses import nt_xent, nt_xent_values
from convtimenet.training.step import Step

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "d_model": 8,
    "d_ff": 16,
    "kernel_sizes": (3, 5),
    "patch_size": 4,
    "patch_stride": 2,
}
CASES = ModelConfig.classification(channels=2, context_length=30, n_classes=2, **SIZES)
SERIES = ModelConfig.forecasting(context_length=30, horizon=6, **SIZES)
KINDS = pytest.mark.parametrize("config", [CASES, SERIES], ids=["cases", "series"])


def network(config: ModelConfig) -> Any:
    with RandomNumbers(3, CPU).for_weights():
        return ConvTimeNet(config)


def waves(n: int = 24, L: int = 30, C: int = 1, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    speed, phase = draw.uniform(0.3, 0.6, (n, C, 1)), draw.uniform(0, 6, (n, C, 1))
    return np.sin(np.arange(L) * speed + phase)


def classifier(**more: Any) -> ConvTimeNetClassifier:
    given = {"model": SIZES | {"random_patches": 1}, "n_epochs": 2, "device": "cpu", "verbose": 0}
    return ConvTimeNetClassifier(**{**given, **more})


def forecaster(**more: Any) -> ConvTimeNetForecaster:
    given = {"model": SIZES, "n_epochs": 1, "device": "cpu", "verbose": 0}
    return ConvTimeNetForecaster(6, 30, **{**given, **more})


TABLE = np.sin(np.arange(200)[:, None] / np.array([2.0, 5.0]))
X, Y = waves(), np.arange(24) % 2


def encoder(model: Any) -> dict[str, torch.Tensor]:
    state = model.network_.state_dict() if hasattr(model, "network_") else model.state_dict()
    return {n: v.clone() for n, v in state.items() if n.startswith(("embedding.", "blocks."))}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(v, two[n]) for n, v in one.items())


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The encoder of every training from now on, before its first step."""
    found, whole = [], base.train

    def watched(model: Any, *given: Any, **named: Any) -> Any:
        found.append(encoder(model))
        return whole(model, *given, **named)

    monkeypatch.setattr(base, "train", watched)
    return found


# --- what is hidden ------------------------------------------------------------------------------


class TestHiddenSpans:
    def drawn(self, config: ModelConfig, seed: int = 0, B: int = 40) -> torch.Tensor:
        with RandomNumbers(seed, CPU).in_use():
            return hidden_spans(torch.zeros(B, 2, config.context_length), config)

    @KINDS
    def test_a_share_of_the_strides_in_spans_of_whole_patches(self, config):
        hidden = self.drawn(config)
        assert (hidden.view(-1, 15, 2).sum((1, 2)) == 2 * 6).all()  # 40 % of 15 strides
        spans = torch.cat([hidden[..., :1], hidden[..., 1:] & ~hidden[..., :-1]], -1).sum(-1)
        assert 1 <= hidden.sum(-1).div(spans).mean() / 4 <= 3  # patches in a span

    def test_channels_of_a_patch_are_hidden_together_and_series_apart(self):
        together, apart = self.drawn(CASES), self.drawn(SERIES)
        assert torch.equal(together[:, 0], together[:, 1])
        assert (apart[:, 0] != apart[:, 1]).any(-1).float().mean() > 0.9

    def test_the_random_state_decides(self):
        assert torch.equal(self.drawn(CASES, 5), self.drawn(CASES, 5))
        assert not torch.equal(self.drawn(CASES, 5), self.drawn(CASES, 6))

    @KINDS
    def test_errors_count_where_known_steps_are_hidden_in_standard_deviations(self, config):
        x = torch.from_numpy(7 + 3 * waves(6, C=2)).float()
        known = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) > 0.2
        with RandomNumbers(0, CPU).in_use():
            found = with_hidden_spans(Batch(x.where(known, torch.nan), x, None, known), config)
        assert found.known is not None
        assert found.weight is not None
        n = known.sum(-1)
        torch.testing.assert_close(found.y.sum(-1) / n, torch.zeros(6, 2), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.y.square().sum(-1) / n, torch.ones(6, 2))
        counted = found.weight.bool()
        assert not (counted & found.known).any()
        assert not (counted & ~known).any()
        assert not (found.known & ~known).any()
        # all that is hidden between visible steps counts
        rows = [found.known, known, counted]
        groups = [one.view(-1, config.channels, 30).any(1) for one in rows]
        for visible, there, own in zip(*groups, strict=True):
            first, last = visible.nonzero()[[0, -1], 0].tolist()
            inside = torch.zeros(30, dtype=torch.bool)
            inside[first : last + 1] = True
            assert torch.equal(own & ~visible, there & ~visible & inside)


class TestReconstruction:
    @KINDS
    def test_hidden_values_affect_neither_answers_nor_gradients(self, config):
        model = network(replace(encoder_config(config, "reconstruct"), dropout=0.0))
        x = torch.from_numpy(waves(5, C=2)).float()
        with RandomNumbers(0, CPU).in_use():
            hidden = hidden_spans(x, config)
        answers, gradients = [], []
        for values in (x, torch.where(hidden, 1e4, x), torch.where(hidden, torch.nan, x)):
            values = values.clone().requires_grad_()
            answer = model(values, ~hidden)
            (answer * torch.arange(30)).sum().backward()
            answers.append(answer.detach())
            gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
            assert values.grad is not None
            assert not values.grad[hidden].any()
            model.zero_grad()
        for other in (1, 2):
            assert torch.equal(answers[0], answers[other])
            pairs = zip(gradients[0], gradients[other], strict=True)
            assert all(torch.equal(one, two) for one, two in pairs)

    def test_a_hidden_patch_is_filled_from_what_is_around_it(self):
        model = network(encoder_config(CASES, "reconstruct")).eval()
        known = torch.ones(1, 2, 30, dtype=torch.bool)
        known[..., 10:18] = False
        x = torch.from_numpy(waves(1, C=2)).float().requires_grad_()
        model(x, known)[..., 13].sum().backward()
        assert x.grad is not None
        assert x.grad[..., 9].abs().max() > 0
        assert x.grad[..., 18].abs().max() > 0

    def test_overlapping_patches_are_averaged(self):
        model = network(encoder_config(CASES, "reconstruct")).eval()
        w = torch.randn(8, 3, CASES.n_patches)
        patches = model.head.project(w.permute(1, 2, 0)).detach().view(3, -1, 2, 4)
        added, count = np.zeros((3, 2, 60)), np.zeros(60)
        for n in range(CASES.n_patches):
            added[..., 2 * n : 2 * n + 4] += patches[:, n].numpy()
            count[2 * n : 2 * n + 4] += 1
        expected = (added / count.clip(min=1))[..., :30]
        np.testing.assert_allclose(model.head(w).detach(), expected, atol=1e-6)

    def test_it_beats_the_mean_on_waves_not_seen(self):
        sizes = {**SIZES, "d_model": 16, "d_ff": 32, "kernel_sizes": (9,), "dropout": 0.0}
        of = ModelConfig.classification(channels=1, context_length=48, n_classes=2, **sizes)
        config = encoder_config(of, "reconstruct")
        model = network(config)
        x = [torch.from_numpy(waves(64, 48, seed=seed)).float() for seed in (0, 1)]
        settings = TrainConfig(
            epochs=60,
            batch_size=32,
            lr=1e-2,
            schedule="cosine",
            patience=None,
        )
        examples = LabelledCases(x[0], torch.zeros(64))
        history = train(model, examples, None, settings, device=CPU, verbose=0)
        with RandomNumbers(9, CPU).in_use(), torch.no_grad():
            batch = with_hidden_spans(Batch(x[1], x[1]), config)
            error = (model(batch.x, batch.known) - batch.y).square()
        assert batch.weight is not None
        counted = batch.weight.bool()
        mean = batch.y[counted].square().mean()
        assert mean > 0.9
        assert error[counted].mean() < 0.5 * mean
        assert history.epochs[-1].train_loss < 0.5 < 0.9 < history.epochs[0].train_loss

    @pytest.mark.parametrize("parts", [1, 2])
    def test_windows_with_gaps_are_trained_on_in_parts(self, parts):
        values = torch.from_numpy(TABLE.T).float().contiguous()
        known = torch.rand(values.shape, generator=torch.Generator().manual_seed(0)) > 0.1
        windows = Windows.between(values, 30, 0, 0, 200, known=known, masks=True)
        config = encoder_config(SERIES, "reconstruct")
        step = Step(network(config).train(), windows, TrainConfig(), CPU)
        step.parts.count = parts
        with RandomNumbers(0, CPU).in_use():
            step(torch.arange(0, 160, 10))
        assert 0.8 < float(step.total / step.seen) < 3


class TestContrast:
    def test_the_loss_is_a_plain_loop(self):
        output = torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(1))
        z = output.numpy().astype(np.float64)
        z = z / np.linalg.norm(z, axis=-1, keepdims=True)
        each = np.zeros((5, 2))
        for i in range(5):
            for v in range(2):
                scores = {
                    (j, u): float(z[i, v] @ z[j, u]) / 0.3
                    for j in range(5)
                    for u in range(2)
                    if (j, u) != (i, v)
                }
                total = np.log(sum(np.exp(s) for s in scores.values()))
                each[i, v] = total - scores[i, 1 - v]
        found = nt_xent_values(output, torch.zeros(5), 0.3, reduction="none")
        np.testing.assert_allclose(found, each.mean(1), rtol=1e-5)
        mean = nt_xent(output, torch.zeros(5), None)
        expected = nt_xent_values(output, torch.zeros(5), 0.2, reduction="none").mean()
        torch.testing.assert_close(mean, expected)

    def test_views_lie_side_by_side_and_are_read_as_series_of_their_own(self):
        x = torch.from_numpy(waves(6, C=2)).float()
        known = torch.ones_like(x, dtype=torch.bool)
        known[:, :, 25:] = False
        config = encoder_config(CASES, "contrast")
        with RandomNumbers(0, CPU).in_use():
            views = two_views(Batch(x, torch.zeros(6), None, known), config)
        assert views.known is not None
        assert views.x.shape == (6, 4, 30)
        assert not torch.equal(views.x[:, :2], views.x[:, 2:])
        assert not views.known[:, :, 25:].any()
        model = network(config).eval()
        found = model(views.x, views.known)
        assert found.shape == (6, 2, 8)
        for view in range(2):
            own = slice(2 * view, 2 * view + 2)
            alone = model(views.x[:, own], views.known[:, own])
            torch.testing.assert_close(found[:, view], alone[:, 0])

    def test_training_lowers_it(self):
        model = classifier().pretrain(X, objective="contrast", n_epochs=15)
        losses = [epoch.train_loss for epoch in model.pretrained_.history.epochs]
        assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.1


# --- where a fit starts from ---------------------------------------------------------------------


class TestStart:
    @pytest.mark.parametrize("refit", [True, "continue"])
    def test_a_fit_starts_from_the_encoder(self, refit, starts):
        model = classifier(training={"refit": refit}).pretrain(X, n_epochs=1)
        drawn, trained = starts[0], model.pretrained_.weights
        assert not same(drawn, trained)
        model.fit(X, Y)
        assert same(starts[1], trained)
        assert same(starts[2], trained) == (refit is True)
        assert not same(encoder(model), trained)
        assert same(model.pretrained_.weights, trained)
        new = classifier().fit(X, Y)
        assert same(starts[3], drawn)
        assert not same(encoder(new), encoder(model))

    def test_so_does_a_forecast_and_a_regression(self, starts):
        model = forecaster().pretrain(TABLE, n_epochs=1).fit(TABLE)
        assert same(starts[1], model.pretrained_.weights)
        assert model.network_.linear is not None
        own = {"model": SIZES | {"random_patches": 1}, "n_epochs": 1, "device": "cpu", "verbose": 0}
        numbers = ConvTimeNetRegressor(**own)
        numbers.pretrain(X, n_epochs=1).fit(X, X[:, 0, 0])
        assert same(starts[-2], numbers.pretrained_.weights)

    def test_labels_are_not_read(self):
        one, two = (classifier().pretrain(x, n_epochs=1) for x in (X, X.copy()))
        assert same(one.pretrained_.weights, two.pretrained_.weights)
        three = classifier().pretrain(as_cases(X, Y), n_epochs=1)
        assert same(one.pretrained_.weights, three.pretrained_.weights)

    def test_only_rows_of_the_training_split_are_read(self):
        changed = TABLE.copy()
        changed[160:] = 5 - changed[160:]  # the last fifth
        one, two = (forecaster().pretrain(x, n_epochs=1) for x in (TABLE, changed))
        assert same(one.pretrained_.weights, two.pretrained_.weights)
        three = forecaster().pretrain(changed, split=(190, 200), n_epochs=1)
        assert not same(one.pretrained_.weights, three.pretrained_.weights)

    def test_a_clone_is_unfitted_and_the_parameter_survives_it(self, starts):
        model = classifier().pretrain(X, n_epochs=1)
        assert not hasattr(clone(model), "pretrained_")
        heir: Any = clone(classifier(init_from=model.pretrained_))
        heir.fit(X, Y)
        assert same(starts[1], model.pretrained_.weights)
        direct = model.fit(X, Y)
        np.testing.assert_array_equal(heir.predict_proba(X), direct.predict_proba(X))

    def test_the_parameter_takes_estimators_and_folders(self, tmp_path, starts):
        fitted = classifier().fit(X, Y)
        folder = fitted.save(tmp_path / "model")
        trained = encoder(fitted)
        for given in (fitted, folder, str(folder)):
            starts.clear()
            heir = classifier(init_from=given).fit(X, Y)
            assert same(starts[0], trained)
        heir.save(tmp_path / "heir")
        again = ConvTimeNetClassifier.load(tmp_path / "heir", device="cpu")
        assert again.init_from is None
        np.testing.assert_array_equal(again.predict_proba(X), heir.predict_proba(X))

    @pytest.mark.parametrize("given", ["pretrain", "init_from"])
    def test_so_does_every_trial_and_every_window_of_a_backtest(self, given, starts, caplog):
        frozen = forecaster(training={"encoder_rate": 0})
        if given == "pretrain":
            trained = frozen.pretrain(TABLE, n_epochs=1).pretrained_.weights
        else:
            frozen.init_from = forecaster().fit(TABLE)
            trained = encoder(frozen.init_from)
        starts.clear()
        found = tune(frozen, TABLE, trials=2, space={"training.lr": [1e-2]})
        caplog.clear()
        frozen.cross_validation(TABLE, n_windows=2, refit=True)
        told = [one.getMessage() for one in caplog.records if "pretrain" in one.getMessage()]
        assert len(told) == (given == "pretrain")
        assert all("may have read rows that are forecast here" in one for one in told)
        assert len(starts) == 8  # each trial once, then with second trainings
        assert all(same(start, trained) for start in starts)
        assert same(encoder(found.model), trained)
        assert hasattr(found.model, "pretrained_") == (given == "pretrain")

    def test_a_search_leaves_the_encoder_as_it_is(self):
        start = classifier().pretrain(X, n_epochs=1).pretrained_
        with Search(classifier(model=None, n_epochs=1, init_from=start), X, Y) as one:
            space = one.study.space
            assert {*space.parameters} == {"model.dropout", "training.lr", "model.pooling"}
            default, trial = one.study.claim(2), one.study.claim(2)
            assert default is not None
            assert trial is not None
            assert {*trial.settings} == {*space.parameters}
            one._one(trial, None)
            assert [each.state.name for each in one.study.finished] == ["COMPLETE"]
        for name, setting in (("blocks", "kernel_sizes"), ("model.d_model", "d_model")):
            said = f"model.{setting} is that of the encoder .* so {name} cannot .*leave {name} out"
            with pytest.raises(ConfigError, match=said):
                Search(classifier(model=None, init_from=start), X, Y, space={name: [1, 2]})

    def test_a_search_is_told_by_the_encoder(self):
        one, two = (classifier(random_state=seed).pretrain(X, n_epochs=1) for seed in (1, 2))

        def about(model: Any) -> dict[str, Any]:
            return _about(model, _encoder(model))

        given = (None, one, clone(one.pretrained_, safe=False), two)
        told = [about(classifier(init_from=start)).get("init_from") for start in given]
        assert told[0] is None
        assert told[1] == told[2] != told[3]
        assert [about(pretrained).get("init_from") for pretrained in (one, two)] == told[2:]
        with pytest.raises(ConfigError, match=r"'pretrained' is for fit.* without tune"):
            about(one.set_params(init_from="pretrained"))
        assert "blocks of width 8" in repr(classifier(init_from=one.pretrained_))

    def test_an_encoder_is_saved_and_loaded(self, tmp_path, starts):
        model = classifier().pretrain(X, n_epochs=1)
        folder = model.pretrained_.save(tmp_path / "encoder")
        classifier(init_from=folder).fit(X, Y)
        assert same(starts[1], model.pretrained_.weights)
        assert 'ConvTimeNetClassifier(init_from="folder")' in (folder / "README.md").read_text()
        with pytest.raises(ArtefactError, match="holds a Pretrained, expected a ConvTimeNetClass"):
            ConvTimeNetClassifier.load(folder)

    def test_channels_are_those_that_it_was_trained_on(self, tmp_path, starts):
        frames = [
            pd.DataFrame({"speed": case[0], "load": np.cumsum(case[0])}) for case in np.asarray(X)
        ]
        swapped = [frame[["load", "speed"]] for frame in frames]
        model = classifier().pretrain(frames, n_epochs=1)
        folder = model.pretrained_.save(tmp_path / "encoder")
        found = []
        for given, own in (
            (frames, model),
            (swapped, model),
            (swapped, classifier(init_from=folder)),
        ):
            fitted = own.fit(given, Y)
            assert fitted.channels_ == ("speed", "load")
            found.append(fitted.predict_proba(frames))
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])

    def test_on_the_command_line(self, tmp_path, monkeypatch, starts, capsys):
        monkeypatch.chdir(tmp_path)
        np.savez("some.npz", X=X)
        np.savez("few.npz", X=X, y=Y)
        sizes = ["--model.d_model=8", "--model.d_ff=16", "--model.kernel_sizes=[3,5]"]
        own = [*sizes, "--model.random_patches=1", "--device=cpu", "--quiet"]
        assert main(["pretrain", "classify", "some.npz", "--out=e", "--n_epochs=1", *own]) == 0
        assert "use it with: convtimenet classify DATA --init_from e" in capsys.readouterr().out
        few = ["classify", "few.npz", "few.npz", "--init_from=e", "--training.epochs=1", *own]
        assert main([*few, "--save=model", "--training.encoder_rate=0"]) == 0
        assert same(starts[1], encoder(ConvTimeNetClassifier.load("model")))
        assert not same(starts[0], starts[1])
        for flag in (["--h=3"], ["--calendar=auto"]):
            assert main(["pretrain", "classify", "some.npz", "--out=e2", *flag]) == 2
            assert f"has no use for {flag[0].partition('=')[0]}" in capsys.readouterr().err
        assert main(["classify", "few.npz", "--load=model", "--init_from=e"]) == 2
        assert "--load does not train; leave out --init_from" in capsys.readouterr().err

    def test_the_network_takes_on_the_encoders_architecture(self):
        own = {"model": {"d_model": 8, "d_ff": 16, "random_patches": 1}}
        model = classifier(**own).pretrain(waves(L=120), n_epochs=1)
        expected = model.pretrained_.config
        assert classifier(**own).fit(X, Y).network_.config.patch_size != expected.patch_size
        config = model.fit(X, Y).network_.config
        assert (config.patch_size, config.kernel_sizes) == (8, expected.kernel_sizes)
        assert config.context_length == 30

    def test_members_of_another_architecture_start_from_new_weights(self):
        start = classifier().pretrain(X, n_epochs=1).pretrained_
        other = ModelConfig.from_dict({**CASES.to_dict(), "channels": 1, "patch_size": 8})
        own = ModelConfig.from_dict({**other.to_dict(), "patch_size": 4})
        cases: Any = None
        frozen = TrainConfig(encoder_rate=0.0)
        plans, notices = started(
            [Plan(one, frozen, cases, None, None) for one in (own, other, own)], start
        )
        assert [plan.start for plan in plans] == [start, None, start]
        assert [plan.train_config.encoder_rate for plan in plans] == [0.0, 1.0, 0.0]
        assert notices == [
            "member(s) 2 of 3 have another encoder than the pre-trained one, and start from new "
            "weights"
        ]


class TestEncoderRate:
    @pytest.mark.parametrize("refit", [True, "continue"])
    def test_a_frozen_encoder_does_not_change_by_a_bit(self, refit):
        settings = {"encoder_rate": 0.0, "refit": refit, "lr": 0.1}
        model = classifier(training=settings).pretrain(X, n_epochs=1).fit(X, Y)
        assert same(encoder(model), model.pretrained_.weights)
        assert all(p.requires_grad for p in model.network_.embedding.parameters())
        other = classifier(training=settings | {"seed": 5}, init_from=model.pretrained_).fit(X, Y)
        name = "head.project.weight"
        assert not torch.equal(other.network_.state_dict()[name], model.network_.state_dict()[name])

    @pytest.mark.parametrize("rate", [0.1, 1.0])
    def test_it_is_a_factor_on_the_step(self, rate):
        model = network(CASES)
        x = torch.from_numpy(waves(8, C=2)).float()
        examples = LabelledCases(x, torch.arange(8) % 2)
        config = TrainConfig(lr=1e-3, encoder_rate=rate)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        step = Step(model.train(), examples, config, CPU)
        with RandomNumbers(0, CPU).in_use():
            step(torch.arange(8))
            step.set_rate(0.5e-3)
        moved = {
            n: float((p.detach() - before[n]).abs().max()) for n, p in model.named_parameters()
        }
        # the first step of Adam is the rate, whatever the gradient
        assert moved["head.project.weight"] == pytest.approx(1e-3, rel=1e-3)
        assert moved["blocks.1.pointwise.widen.weight"] == pytest.approx(1e-3 * rate, rel=1e-3)
        assert moved["embedding.patch.project.weight"] == pytest.approx(1e-3 * rate, rel=1e-3)
        rates = sorted({group["lr"] for group in step.optimiser.param_groups})
        assert rates == sorted({0.5e-3 * rate, 0.5e-3})


# --- interruptions and errors --------------------------------------------------------------------


@pytest.mark.parametrize("build", [classifier, forecaster])
def test_stopped_and_gone_on_gives_the_same_bits(build, tmp_path, stop_after):
    data = X if build is classifier else TABLE
    own = {"training": {"checkpoint_seconds": 0.0, "batch_size": 16}}
    whole = build(**own).pretrain(data, n_epochs=2)
    for n in (1, 3):
        stop_after(n)
        stopped = build(**own)
        with pytest.raises(KeyboardInterrupt, match="SIGINT stopped the training"):
            stopped.pretrain(data, n_epochs=2, resume=tmp_path / str(n))
        stop_after(0)
        again = build(**own).pretrain(data, n_epochs=2, resume=tmp_path / str(n))
        assert same(again.pretrained_.weights, whole.pretrained_.weights)


def test_a_fit_from_another_encoder_is_another_run(tmp_path):
    classifier().fit(X, Y, resume=tmp_path)
    with pytest.raises(CheckpointError, match="pre-trained data differs"):
        classifier().pretrain(X, n_epochs=1).fit(X, Y, resume=tmp_path)


class TestErrors:
    @pytest.mark.parametrize("build", [classifier, forecaster])
    def test_fast_has_no_encoder(self, build):
        data = X if build is classifier else TABLE
        fast = build(quality="fast", model=None, n_epochs=None)
        with pytest.raises(ConfigError, match=r"has no encoder.*use quality='auto'"):
            fast.pretrain(data)
        start = build().pretrain(data, n_epochs=1).pretrained_
        with pytest.raises(ConfigError, match=r"init_from would have no effect.*leave it out"):
            fast.set_params(init_from=start).fit(data, Y)
        solved = build(quality="fast", model=None, n_epochs=None).fit(data, Y)
        with pytest.raises(ConfigError, match="has no encoder that was trained"):
            build(init_from=solved).fit(data, Y)

    def test_differences_are_named_with_both_values(self):
        model = classifier().pretrain(X, n_epochs=1)
        other = classifier(init_from=model, model=SIZES | {"d_model": 16})
        with pytest.raises(ConfigError, match=r"d_model is 16, pre-trained with 8; leave these"):
            other.fit(X, Y)
        with pytest.raises(ConfigError, match=r"channels is 2, pre-trained with 1; pre-train on"):
            model.fit(waves(C=2), Y)

    def test_what_init_from_is_not(self):
        with pytest.raises(ConfigError, match=r"neither.*save the fitted one and give its folder"):
            classifier(init_from=classifier()).fit(X, Y)
        with pytest.raises(ConfigError, match="init_from must be the folder of a saved model"):
            classifier(init_from=3).fit(X, Y)

    def test_new_weights_are_not_frozen(self):
        with pytest.raises(ConfigError, match=r"encoder_rate=0 would keep new weights.*pretrain"):
            classifier(training={"encoder_rate": 0.0}).fit(X, Y)

    def test_objectives(self):
        wrong: Any = "guess"
        with pytest.raises(ConfigError, match="one of 'reconstruct', 'contrast', found 'guess'"):
            classifier().pretrain(X, objective=wrong)
        with pytest.raises(ConfigError, match=r"1 patch\(es\) of 30, expected 3 or more.*smaller"):
            classifier(model={**SIZES, "patch_size": 30, "padding": "none"}).pretrain(X)
        with pytest.raises(ConfigError, match="masks must be True to reconstruct"):
            ModelConfig(head="reconstruct", context_length=30, outputs=30)
        with pytest.raises(ConfigError, match="outputs must be context_length=30"):
            ModelConfig(head="reconstruct", context_length=30, outputs=3, masks=True)
