"""`ConvTimeNetClassifier`: labelled cases in, labels as they were given out."""

import pickle
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from convtimenet import ConvTimeNetClassifier, TrainConfig
from convtimenet.data.labelled.cases import as_cases
from convtimenet.errors import ConfigError, DataError
from convtimenet.estimators import base
from convtimenet.estimators.labelled import hold_back

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "random_patches": 1}
ONCE = {"refit": False}  # other tests are about the second training


def classifier(**settings) -> ConvTimeNetClassifier:
    given = {"model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0, "training": ONCE}
    return ConvTimeNetClassifier(**given | settings)


def cases(n: int = 24, C: int = 2, L: int = 30, seed: int = 0) -> np.ndarray:
    """Slow waves for even cases, fast ones for odd."""
    draw = np.random.default_rng(seed)
    speed = np.where(np.arange(n) % 2, 1.5, 0.3)[:, None, None]
    phase = draw.uniform(0, 6, size=(n, C, 1))
    return np.sin(np.arange(L) * speed + phase) + draw.normal(scale=0.1, size=(n, C, L))


def labels(n: int = 24) -> np.ndarray:
    return np.array(["slow", "fast"] * (n // 2))


@cache
def weighted() -> ConvTimeNetClassifier:
    """Only read by the tests."""
    weight = np.linspace(0.5, 1, 24)
    return classifier(n_epochs=2).fit(cases(), labels(), sample_weight=weight)


class TestScikitLearn:
    def test_clone_and_parameters(self):
        model = classifier(lr=1e-3)
        again = clone(model)
        assert isinstance(again, ConvTimeNetClassifier)
        assert again is not model
        assert again.get_params() == model.get_params()
        assert model.set_params(n_epochs=7).n_epochs == 7

    def test_fit_leaves_parameters_alone_and_sets_only_trailing_underscores(self):
        model = classifier()
        before = {k: repr(v) for k, v in model.get_params().items()}
        names = set(vars(model))
        assert model.fit(cases(), labels()) is model
        assert {k: repr(v) for k, v in model.get_params().items()} == before
        added = set(vars(model)) - names
        assert added == {
            "classes_", "fused_", "history_", "lengths_", "n_channels_", "n_examples_", "network_",
            "members_", "notices_", "parameters_", "ranges_", "scaler_", "scores_", "train_config_",
        }  # fmt: skip

    @pytest.mark.parametrize("act", ["predict", "predict_proba", "save"])
    def test_before_fit_it_says_so(self, act, tmp_path):
        argument = tmp_path / "m" if act == "save" else cases()
        with pytest.raises(NotFittedError):
            getattr(classifier(), act)(argument)

    def test_grid_search_and_cross_validation(self):
        search = GridSearchCV(
            classifier(), {"lr": [1e-3, 1e-2], "n_epochs": [1, 2]}, cv=2, n_jobs=1
        )
        search.fit(cases(), labels())
        assert set(search.best_params_) == {"lr", "n_epochs"}
        assert len(search.cv_results_["mean_test_score"]) == 4
        assert not np.isnan(search.cv_results_["mean_test_score"]).any()
        assert set(search.predict(cases())) <= {"slow", "fast"}
        pipeline = make_pipeline(classifier())
        assert cross_val_score(pipeline, cases(), labels(), cv=2).shape == (2,)

    def test_survives_pickling(self):
        model = classifier().fit(cases(), labels())
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict_proba(cases()), model.predict_proba(cases()))
        assert again.get_params() == model.get_params()

    def test_random_state_is_a_number_a_generator_or_none(self, tmp_path):
        def seed_of(state: object) -> int:
            return classifier(random_state=state).fit(cases(), labels()).train_config_.seed

        assert seed_of(np.int64(5)) == 5
        assert seed_of(np.random.RandomState(3)) == np.random.RandomState(3).randint(2**31)
        assert seed_of(None) != seed_of(None)
        drawn = classifier(random_state=np.random.RandomState(3)).fit(cases(), labels())
        loaded = ConvTimeNetClassifier.load(drawn.save(tmp_path / "m"))
        assert loaded.random_state == drawn.train_config_.seed
        assert isinstance(drawn.random_state, np.random.RandomState)

    def test_columns_are_remembered_of_tables_only(self):
        table = cases(C=1)[:, 0]
        model = classifier().fit(table, labels())
        assert model.n_features_in_ == 30
        with pytest.raises(ValueError, match="X has 31 features"):
            model.predict(np.ones((2, 31)))
        assert model.predict(np.ones((2, 1, 31))).shape == (2,)
        model.fit(cases(), labels())
        assert not hasattr(model, "n_features_in_")

    def test_learns_what_is_easy(self):
        model = classifier(n_epochs=30, lr=1e-2, training=ONCE)
        model.fit(cases(60), labels(60))
        assert model.score(cases(40, seed=1), labels(40)) >= 0.95


LABELS = {
    "text": np.array(["b", "a", "a b"]),
    "whole numbers": np.array([7, -2, 30]),
    "small whole numbers": np.array([7, 2, 30], dtype=np.uint8),
    "truth values": np.array([True, False]),
    "numbers": np.array([0.5, 2.0]),
    "objects": np.array(["x", "yy"], dtype=object),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_as_they_went_in(kind, tmp_path):
    names = LABELS[kind]
    y = names[np.arange(24) % len(names)]
    model = classifier().fit(cases(), y)
    assert model.classes_.tolist() == sorted(names.tolist())
    loaded = ConvTimeNetClassifier.load(model.save(tmp_path / "m"))
    for each in (model, loaded):
        predicted = each.predict(cases())
        assert predicted.dtype == y.dtype
        assert set(predicted.tolist()) <= set(names.tolist())
        assert each.classes_.dtype == y.dtype
    np.testing.assert_array_equal(loaded.predict(cases()), model.predict(cases()))


def test_a_list_of_labels_is_as_good():
    model = classifier().fit(cases(), labels().tolist())
    np.testing.assert_array_equal(
        model.predict_proba(cases()), classifier().fit(cases(), labels()).predict_proba(cases())
    )


class TestPredict:
    def test_probabilities_choose_the_class(self):
        model = classifier(n_epochs=3).fit(cases(), labels())
        p = model.predict_proba(cases())
        assert p.shape == (24, 2)
        assert (p >= 0).all()
        np.testing.assert_allclose(p.sum(1), 1)
        np.testing.assert_array_equal(model.predict(cases()), model.classes_[p.argmax(1)])

    def test_a_prediction_does_not_depend_on_its_batch_mates(self):
        # the middle of the range is where filled steps lie: here no step of a case does
        wide = np.where(cases(12, L=60) > 0, 5.0, -5.0)
        varied = [c[:, : 20 + 3 * i] for i, c in enumerate(wide)]
        for masks in (True, False):
            settings = TINY | {"pooling": "mean", "masks": masks}  # every filled patch would count
            model = classifier(model=settings, n_epochs=3).fit(wide[..., :30], labels(12))
            together = model.predict_proba(varied)
            for i in range(12):
                alone = model.predict_proba([varied[i]])[0]
                np.testing.assert_allclose(alone, together[i], rtol=1e-5)
            again = model.predict_proba(varied[::-1])
            np.testing.assert_allclose(again, together[::-1], rtol=1e-5)

    def test_longer_cases_than_in_training_are_read_whole(self):
        model = classifier().fit(cases(), labels())
        long = cases(6, L=75)
        changed = long.copy()
        changed[..., 50:] += 5
        p = model.predict_proba(long)
        assert not np.allclose(p, model.predict_proba(changed))
        assert not np.allclose(p, model.predict_proba(long[..., :30]))

    def test_padding_and_unknown_channels_change_nothing_by_default(self):
        model = classifier(n_epochs=3).fit(cases(), labels())
        short = cases(4, L=11)
        padded = np.concatenate([short, np.full((4, 2, 60), np.nan)], axis=2)
        expected = model.predict_proba(short)
        np.testing.assert_allclose(model.predict_proba(padded), expected, rtol=1e-6)
        zero = np.concatenate([short, np.zeros((4, 2, 60))], axis=2)
        assert not np.allclose(model.predict_proba(zero), expected, rtol=1e-3)
        short[2, 0] = np.nan
        with_one = model.predict_proba(short)
        assert not np.allclose(with_one[2], expected[2])
        np.testing.assert_allclose(with_one[[0, 1, 3]], expected[[0, 1, 3]], rtol=1e-6)

    @pytest.mark.parametrize(
        "settings", [{"preset": "Epilepsy"}, {"model": TINY | {"masks": False}}]
    )
    def test_shorter_cases_are_filled_with_zeros_in_the_papers_way(self, settings, tmp_path):
        model = classifier(**settings).fit(cases(), labels())
        short = cases(4, L=11)
        zero = model.scaler_.invert(np.zeros((2, 1)))
        by_hand = np.concatenate([short, np.broadcast_to(zero, (4, 2, 19))], axis=2)
        np.testing.assert_allclose(
            model.predict_proba(short), model.predict_proba(by_hand), rtol=1e-4
        )
        loaded = ConvTimeNetClassifier.load(model.save(tmp_path / "m"))
        np.testing.assert_array_equal(loaded.predict_proba(short), model.predict_proba(short))

    def test_score_is_accuracy_and_takes_weights(self):
        model = classifier().fit(cases(), labels())
        right = model.predict(cases()) == labels()
        assert model.score(cases(), labels()) == right.mean()
        weights = np.arange(24.0)
        weighted = model.score(cases(), labels(), sample_weight=weights)
        assert weighted == pytest.approx(np.average(right, weights=weights))
        assert model.score(as_cases(cases(), labels())) == right.mean()


class TestFit:
    def test_unequal_lengths_and_padded_arrays_are_the_same(self):
        varied = [c[:, : 15 + i % 10] for i, c in enumerate(cases())]
        padded = np.full((24, 2, 24), np.nan)
        for row, case in zip(padded, varied, strict=True):
            row[:, : case.shape[1]] = case
        one, two = (classifier().fit(X, labels()).predict_proba(varied) for X in (varied, padded))
        np.testing.assert_array_equal(one, two)

    @pytest.mark.parametrize("preset", ["auto", "Epilepsy"])
    def test_complete_cases_train_the_same_with_a_mask_or_without(self, preset):
        """Where nothing is unknown, there is no mask and not a bit changes."""
        states = []
        for masks in (True, False):
            model = classifier(preset=preset, model=TINY | {"masks": masks}, n_epochs=2)
            states.append(model.fit(cases(), labels()).network_.state_dict())
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())

    def test_single_channel_arrays_need_no_channel_axis(self):
        flat, full = cases(C=1)[:, 0], cases(C=1)
        one, two = (classifier().fit(X, labels()).predict_proba(X) for X in (flat, full))
        np.testing.assert_array_equal(one, two)

    def test_same_seed_same_probabilities_and_another_seed_others(self):
        first, same, other = (
            classifier(random_state=seed).fit(cases(), labels()).predict_proba(cases())
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, same)
        assert not np.allclose(first, other)

    def test_the_callers_data_and_random_numbers_stay_as_they_were(self):
        X, y = cases(), labels()
        X[3, 0, 4] = np.nan
        before = X.copy()
        torch.manual_seed(3)
        expected = torch.rand(1)
        torch.manual_seed(3)
        classifier().fit(X, y).predict(X)
        assert torch.rand(1) == expected
        np.testing.assert_array_equal(X, before)

    def test_refit_uses_every_case(self):
        """The preset refits: after it, cases held back before have been trained on."""
        model = classifier(n_epochs=2, training={}).fit(cases(), labels())
        assert model.history_.refitted
        kept = classifier(n_epochs=2).fit(cases(), labels())
        assert not kept.history_.refitted
        assert kept.history_.best_epoch == model.history_.best_epoch
        assert not np.array_equal(model.predict_proba(cases()), kept.predict_proba(cases()))

    def test_given_validation_cases_choose_and_are_not_trained_on(self):
        valid = cases(10, seed=4), labels(10)
        other = cases(10, seed=4) * 3, labels(10)[::-1]
        one, two = (classifier().fit(cases(), labels(), valid=v) for v in (valid, other))
        assert not one.history_.refitted
        weights = one.network_.state_dict()
        for name, other in two.network_.state_dict().items():
            assert name == "granted" or torch.equal(weights[name], other)
        # the random patches are right about the first cases and wrong about the second
        assert one.history_.granted < 0.5 < two.history_.granted
        assert one.history_.epochs[0].valid != two.history_.epochs[0].valid

    def test_validation_cases_of_unknown_classes_are_refused(self):
        with pytest.raises(DataError, match=r"classes the training cases lack: \['new'\]"):
            classifier().fit(cases(), labels(), valid=(cases(2), np.array(["new", "slow"])))

    def test_validation_cases_of_other_channels_are_refused(self):
        with pytest.raises(DataError, match="cases with 2 channels, found 3"):
            classifier().fit(cases(), labels(), valid=(cases(4, C=3), labels(4)))

    def test_too_few_cases_of_a_class_are_all_trained_on_and_it_says_so(self):
        y = np.array(["a"] * 23 + ["b"])
        model = classifier().fit(cases(), y)
        assert "the smallest class has 1 case(s), too few" in model.notices_[0]
        assert model.history_.epochs[0].valid == {}
        assert not model.history_.refitted

    def test_two_cases_are_enough(self):
        model = classifier().fit(cases(2), labels(2))
        assert model.predict_proba(cases(4)).shape == (4, 2)

    def test_a_failing_fit_leaves_the_earlier_model(self, monkeypatch):
        model = classifier().fit(cases(), labels())
        before = model.predict_proba(cases())

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(base, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(cases() * 100, np.array(["x", "y", "z"] * 8))
        np.testing.assert_array_equal(model.predict_proba(cases()), before)
        assert model.classes_.tolist() == ["fast", "slow"]

    def test_own_settings_go_over_the_presets(self):
        model = classifier(preset="Cricket", batch_size=5).fit(cases(), labels())
        assert (model.train_config_.batch_size, model.train_config_.lr_every) == (5, 20)
        assert (model.network_.config.patch_size, model.network_.config.d_model) == (8, 8)


class TestWeights:
    def test_weights_of_0_leave_cases_out(self):
        X, y = cases(30), labels(30)
        weight = np.where(np.arange(30) < 24, 2.0, 0.0)
        y[24:] = "odd"
        one = classifier(n_epochs=2).fit(X, y, sample_weight=weight)
        two = classifier(n_epochs=2).fit(X[:24], y[:24], sample_weight=np.ones(24))
        assert one.classes_.tolist() == ["fast", "slow"]
        # doubling every weight may round differently, but no more than that
        np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), rtol=1e-4)

    def test_weight_decides_between_contradicting_cases(self):
        X, y = np.concatenate([cases(), cases()]), np.concatenate([labels(), labels()[::-1]])
        for first in (True, False):
            weight = np.where((np.arange(48) < 24) == first, 1.0, 0.01)
            model = classifier(n_epochs=30, lr=1e-2, training=ONCE).fit(X, y, sample_weight=weight)
            assert model.score(cases(), labels() if first else labels()[::-1]) > 0.9

    @pytest.mark.parametrize("given", ["balanced", {"rare": 9.0, "often": 1.0}])
    def test_class_weight_is_a_weight_of_cases(self, given):
        """In noise, the shares of the classes are all there is to learn."""
        draw = np.random.default_rng(0)
        X, new = draw.normal(size=(40, 1, 20)), draw.normal(size=(200, 1, 20))
        y = np.where(np.arange(40) < 4, "rare", "often")
        settings = {"n_epochs": 10, "lr": 1e-2, "training": {"validation_fraction": 0.0}}
        plain = classifier(**settings).fit(X, y).predict_proba(new)[:, 1].mean()
        weighted = classifier(class_weight=given, **settings).fit(X, y).predict_proba(new)
        assert plain < 0.25
        assert weighted[:, 1].mean() == pytest.approx(0.5, abs=0.06)
        same = np.where(y == "rare", 9.0, 1.0) * (5 / 9 if given == "balanced" else 1)
        by_case = classifier(**settings).fit(X, y, sample_weight=same).predict_proba(new)
        np.testing.assert_allclose(by_case, weighted, atol=1e-3)

    @pytest.mark.parametrize("given", ["even", {"fast": -1.0}, 3])
    def test_unusable_class_weights_are_refused(self, given):
        with pytest.raises(ConfigError, match="weight"):
            classifier(class_weight=given).fit(cases(), labels())

    def test_unusable_weights_are_refused(self):
        with pytest.raises(DataError, match="found weights of 0 only"):
            classifier(class_weight={"fast": 0, "slow": 0}).fit(cases(), labels())
        for wrong in (np.zeros(24), np.ones(23), -np.ones(24), np.full(24, np.nan)):
            with pytest.raises(DataError, match=r"a finite number .* for each of the 24 cases"):
                classifier().fit(cases(), labels(), sample_weight=wrong)

    @pytest.mark.parametrize("size", [1e-300, 1e-20, 3.0, 1e30, 1e300])
    def test_only_their_ratios_matter(self, size):
        weight, one = np.linspace(0.5, 1, 24), weighted()
        for given in ({}, {"class_weight": {"fast": size, "slow": size}}):
            own = weight if given else size * weight
            two = classifier(n_epochs=2, **given).fit(cases(), labels(), sample_weight=own)
            np.testing.assert_allclose(
                one.predict_proba(cases()), two.predict_proba(cases()), rtol=1e-4
            )


class TestPredictRefuses:
    def test_other_channels(self):
        model = classifier().fit(cases(), labels())
        with pytest.raises(DataError, match="cases with 2 channels, found 3; give the same"):
            model.predict(cases(C=3))

    def test_longer_cases_where_the_network_flattens(self):
        model = classifier(model=TINY | {"pooling": "flatten"}).fit(cases(), labels())
        assert len(model.predict(cases())) == 24
        with pytest.raises(DataError, match=r"at most 30 steps.*found 31; cut them"):
            model.predict(cases(L=31))


class TestHoldBack:
    def test_is_stratified_and_leaves_every_case_in_one_part(self):
        numbers = np.array([0] * 50 + [1] * 30 + [2] * 20)
        fitted, held_back, note = hold_back(100, numbers, TrainConfig())
        assert sorted([*fitted, *held_back]) == list(range(100))
        assert np.bincount(numbers[held_back]).tolist() == [10, 6, 4]
        assert note == ""
        same = hold_back(100, numbers, TrainConfig())
        assert same[1].tolist() == held_back.tolist()
        assert hold_back(100, numbers, TrainConfig(seed=1))[1].tolist() != held_back.tolist()

    def test_holds_nothing_back_on_request(self):
        fitted, held_back, note = hold_back(
            18, np.array([0, 1] * 9), TrainConfig(validation_fraction=0)
        )
        assert (len(fitted), len(held_back), note) == (18, 0, "")


@pytest.mark.parametrize("fitted_with", [True, False])
def test_a_written_index_is_no_column(fitted_with):
    values = np.sin(np.arange(30) * np.where(np.arange(12) % 2, 1.5, 0.3)[:, None])
    frame = pd.DataFrame(values, columns=[f"t{i}" for i in range(30)])
    written = frame.reset_index(names="Unnamed: 0")
    first, second = (written, frame) if fitted_with else (frame, written)
    model = ConvTimeNetClassifier(quality="fast", verbose=0).fit(first, np.arange(12) % 2)
    assert model.n_features_in_ == 30
    assert vars(model)["feature_names_in_"].tolist() == [*frame.columns]
    np.testing.assert_array_equal(model.predict_proba(second), model.predict_proba(first))
