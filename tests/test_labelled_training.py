"""What is learnt of labelled cases, and of which: scaling, weights, the part held back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import in_turn

from convtimenet import ConvTimeNetClassifier, ConvTimeNetRegressor, TrainConfig, runtime
from convtimenet.cli.main import main
from convtimenet.data.labelled.cases import as_cases
from convtimenet.data.windows import Scaler, pad_cases
from convtimenet.errors import DataError, TrainingError
from convtimenet.estimators import base
from convtimenet.estimators.case_input import hold_back
from convtimenet.export import export

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "random_patches": 1}


def settings(**more: Any) -> dict[str, Any]:
    return {"model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0, **more}


def waves(n: int = 40, L: int = 30, seed: int = 0) -> np.ndarray:
    """Slow waves for even cases, fast ones for odd, (n, 1, L)."""
    draw = np.random.default_rng(seed)
    speed = np.where(np.arange(n) % 2, 1.5, 0.3)[:, None, None]
    return np.sin(np.arange(L) * speed + draw.uniform(0, 6, size=(n, 1, 1)))


def names(n: int = 40) -> np.ndarray:
    return np.array(["slow", "fast"] * (n // 2))


def parts(y: np.ndarray, classify: bool = True) -> tuple[np.ndarray, np.ndarray]:
    return hold_back(len(y), y if classify else None, TrainConfig())[:2]


def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """The examples and the validation examples of every training from now on."""
    seen, train = [], base.train

    def watched(network: Any, examples: Any, valid: Any, *more: Any, **named: Any) -> Any:
        seen.append((examples, valid))
        return train(network, examples, valid, *more, **named)

    monkeypatch.setattr(base, "train", watched)
    return seen


# --- nothing of the held-back part is known ------------------------------------------------------


@pytest.mark.parametrize("refit", [True, False])
def test_scaling_is_learnt_from_the_training_part(
    refit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = waves(), names()
    fitted, held_back = parts(y)
    X[held_back[0]] *= 100
    seen = trained_on(monkeypatch)
    model = ConvTimeNetClassifier(**settings(training={"refit": refit})).fit(X, y)
    part = Scaler.minus_one_to_one(as_cases(X[fitted]).values)
    whole = Scaler.minus_one_to_one(as_cases(X).values)
    assert part.scale < 1.01 < 50 < whole.scale
    np.testing.assert_array_equal(seen[0][0].x.numpy(), pad_cases(X[fitted], part, 30))
    np.testing.assert_array_equal(seen[0][1].x.numpy(), pad_cases(X[held_back], part, 30))
    assert len(seen) == 1 + refit
    np.testing.assert_array_equal(model.scaler_.scale, (whole if refit else part).scale)
    if refit:
        np.testing.assert_array_equal(seen[1][0].x.numpy(), pad_cases(X, whole, 30))


def test_weights_that_are_trained_further_keep_their_scaling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X, y = waves(), np.arange(40.0)
    fitted, held_back = parts(y, classify=False)
    X[held_back[0]] *= 100
    y[held_back[0]] = 1e4
    seen = trained_on(monkeypatch)
    model = ConvTimeNetRegressor(**settings()).fit(X, y)
    part = Scaler.minus_one_to_one(as_cases(X[fitted]).values)
    assert model.history_.refitted
    np.testing.assert_array_equal(model.scaler_.scale, part.scale)
    np.testing.assert_array_equal(seen[1][0].x.numpy(), pad_cases(X, part, 30))
    assert model.target_scaler_.centre[0, 0] == pytest.approx(y[fitted].mean())


def test_weights_of_the_first_training_know_nothing_of_held_back_cases() -> None:
    X, y = waves(), names()
    other = X.copy()
    other[parts(y)[1]] *= 100
    # but their share of a mixture is chosen by them
    alone = settings(training={"refit": False}, model=TINY | {"random_patches": 0})
    one, two = (ConvTimeNetClassifier(**alone).fit(each, y) for each in (X, other))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


@pytest.mark.parametrize("refit", [True, False])
def test_scaling_of_targets_is_learnt_from_the_training_part(refit: bool) -> None:
    X, y = waves(), np.arange(40.0)
    fitted, held_back = parts(y, classify=False)
    y[held_back[0]] = 1e4
    model = ConvTimeNetRegressor(**settings(training={"refit": refit})).fit(X, y)
    used = y if refit else y[fitted]
    assert model.target_scaler_.centre[0, 0] == pytest.approx(used.mean())
    assert model.target_scaler_.scale[0, 0] == pytest.approx(used.std())


def test_balance_is_learnt_from_the_training_part(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.array((["a"] * 3 + ["b"]) * 10 + ["b"])
    X = np.concatenate([waves(), waves(1)])
    fitted, held_back = parts(y)
    seen = trained_on(monkeypatch)
    ConvTimeNetClassifier(**settings(class_weight="balanced")).fit(X, y)

    def balanced(of: np.ndarray, counted: np.ndarray) -> list[float]:
        return [len(counted) / 2 / (counted == label).sum() for label in of]

    np.testing.assert_allclose(seen[0][0].weight, balanced(y[fitted], y[fitted]), rtol=1e-6)
    np.testing.assert_allclose(seen[0][1].weight, balanced(y[held_back], y[fitted]), rtol=1e-6)
    np.testing.assert_allclose(seen[1][0].weight, balanced(y, y), rtol=1e-6)


def test_given_validation_cases_are_scaled_by_all_training_cases() -> None:
    X, y = waves(), names()
    model = ConvTimeNetClassifier(**settings()).fit(X, y, valid=(waves(10, seed=3) * 50, names(10)))
    np.testing.assert_array_equal(
        model.scaler_.scale, Scaler.minus_one_to_one(as_cases(X).values).scale
    )


# --- which cases are held back -------------------------------------------------------------------


def test_a_class_of_one_case_does_not_stop_validation() -> None:
    y = np.array(["a", "b"] * 100 + ["rare"])
    fitted, held_back, note = hold_back(201, y, TrainConfig())
    assert 200 in fitted
    assert (y[held_back] == "a").sum() == (y[held_back] == "b").sum() == 20
    assert note == "class(es) 'rare' have a single case each, which stays in training"
    assert hold_back(201, y, TrainConfig())[1].tolist() == held_back.tolist()
    without = hold_back(200, y[:200], TrainConfig())[1]
    assert without.tolist() == held_back.tolist()


def test_a_model_with_such_a_class_is_validated_and_says_so() -> None:
    y = names()
    y[7] = "rare"
    model = ConvTimeNetClassifier(**settings()).fit(waves(), y)
    assert "accuracy" in model.history_.epochs[0].valid
    assert "'rare'" in model.notices_[-1]
    assert model.classes_.tolist() == ["fast", "rare", "slow"]
    assert model.history_.refitted


def test_the_command_holds_out_beside_such_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    y = names()
    y[7] = "rare"
    np.savez("train.npz", X=waves(), y=y)
    small = ["--training.epochs=1", "--model.d_model=8"]
    assert main(["classify", "train.npz", "--quiet", "--json=r.json", *small]) == 0
    assert "stays in training" in Path("r.json").read_text()


@pytest.mark.parametrize("rare", [["b"], ["b", "c", "d"]])
def test_beside_one_class_only_every_case_trains(rare: list[str]) -> None:
    y = np.array(["a"] * 20 + rare)
    fitted, held_back, note = hold_back(len(y), y, TrainConfig())
    assert (len(fitted), len(held_back)) == (len(y), 0)
    assert "the smallest class has 1 case(s), too few" in note


def test_training_keeps_every_class_and_every_channel() -> None:
    """Also where the part held back is large: there is nothing to scale a channel by otherwise."""
    y = np.array(["a"] * 30 + ["b"] * 30 + ["c"] * 2)
    for seed in range(10):
        config = TrainConfig(validation_fraction=0.9, seed=seed)
        fitted, held_back, _ = hold_back(62, y, config)
        assert set(y[fitted]) == {"a", "b", "c"}
        assert sorted([*fitted, *held_back]) == list(range(62))
        known = np.zeros((62, 2), dtype=bool)
        known[:, 0] = known[held_back[:1], 1] = True
        fitted, again, _ = hold_back(62, y, config, known)
        assert known[fitted].any(axis=0).all()
        assert set(again) == set(held_back[1:])


def test_a_channel_known_of_one_held_back_case_trains() -> None:
    X = np.concatenate([waves(), np.full((40, 1, 30), np.nan)], axis=1)
    X[parts(names())[1][0], 1] = np.arange(30)
    model = ConvTimeNetClassifier(**settings(training={"refit": False})).fit(X, names())
    np.testing.assert_allclose(model.scaler_.centre[1], 14.5, rtol=1e-4)


# --- weights -------------------------------------------------------------------------------------


def test_cases_of_weight_0_are_not_counted_for_the_balance() -> None:
    X = np.random.default_rng(0).normal(size=(60, 1, 20))
    y = np.array(["a", "b"] * 30)
    weight = np.where((np.arange(60) >= 20) & (y == "b"), 0.0, 1.0)
    chosen = settings(class_weight="balanced", n_epochs=2)
    one = ConvTimeNetClassifier(**chosen).fit(X, y, sample_weight=weight)
    two = ConvTimeNetClassifier(**chosen).fit(X[weight > 0], y[weight > 0])
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_class_weights_are_saved_whatever_their_labels(tmp_path: Path) -> None:
    X, y = waves(), np.arange(40) % 2
    model = ConvTimeNetClassifier(**settings(class_weight={np.int64(0): 1.0, np.int64(1): 3}))
    expected = model.fit(X, y).predict_proba(X)
    loaded = ConvTimeNetClassifier.load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(loaded.fit(X, y).predict_proba(X), expected)


def test_a_class_of_weight_0_is_no_class_of_its_own() -> None:
    X, y = waves(), names()
    y[:10] = "none"
    weights = {"slow": 1.0, "fast": 1.0, "none": 0.0}
    one = ConvTimeNetClassifier(**settings(class_weight=weights)).fit(X, y)
    two = ConvTimeNetClassifier(**settings()).fit(X[10:], y[10:])
    assert one.classes_.tolist() == ["fast", "slow"]
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), rtol=1e-5)


@pytest.mark.parametrize("how", ["sample_weight", "class_weight"])
def test_a_case_of_weight_0_may_have_any_length(how: str) -> None:
    X, y = list(waves()), names()
    long, labels = [*X, np.zeros((1, 300))], np.append(y, "none")
    given: dict[str, Any] = {"sample_weight": labels != "none"}
    weights = None
    if how == "class_weight":
        given, weights = {}, {"slow": 1.0, "fast": 1.0, "none": 0.0}
    one = ConvTimeNetClassifier(**settings(class_weight=weights)).fit(long, labels, **given)
    two = ConvTimeNetClassifier(**settings()).fit(X, y)
    assert one.network_.config == two.network_.config
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), rtol=1e-5)


def test_given_validation_cases_are_weighted_by_their_class() -> None:
    X, y = waves(), np.arange(40) % 2
    model = ConvTimeNetClassifier(**settings(class_weight={0: 1.0, 1: 3.0}))
    model.fit(X, y, valid=(X[:20], np.array(["0", "1"] * 10)))
    assert model.scores_ is not None
    probability = model.predict_proba(X[:20])[np.arange(20), y[:20]]
    loss = np.average(-np.log(probability), weights=np.where(y[:20] == 1, 3.0, 1.0))
    np.testing.assert_allclose(model.scores_["loss"], loss, rtol=1e-4)


# --- a fit that fails ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["interrupted", "did not converge", "unusable"])
def test_a_failed_fit_loses_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = waves()[:, 0]
    model = ConvTimeNetClassifier(**settings()).fit(table, names())
    before = dict(vars(model))
    errors = {"interrupted": KeyboardInterrupt, "did not converge": TrainingError}

    def failing(*_: Any, **__: Any) -> None:
        raise errors[kind]

    if kind in errors:
        monkeypatch.setattr(base, "train", failing)
    with pytest.raises((*errors.values(), DataError)):
        model.fit(waves(), names() if kind in errors else None)
    assert vars(model) == before
    assert model.n_features_in_ == 30
    with pytest.raises(ValueError, match="X has 31 features"):
        model.predict(np.ones((2, 31)))


def test_a_second_fit_keeps_nothing_of_the_first() -> None:
    import pandas as pd

    frames = [pd.DataFrame({"u": case[0]}) for case in waves()]
    model = ConvTimeNetClassifier(**settings()).fit(frames, names())
    assert model.channels_ == ("u",)
    model.fit(waves()[:, 0], names())
    assert not hasattr(model, "channels_")
    assert model.n_features_in_ == 30
    model.fit(waves(), names())
    assert not hasattr(model, "n_features_in_")


# --- far from 0 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "container"), in_turn([4.5e6, -4.5e9], ["array", "list", "npz", "ts", "csv"])
)
def test_cases_far_from_0_train_like_those_near_0(
    container: str, offset: float, tmp_path: Path
) -> None:
    X, y = waves(16) * 0.1, names(16)
    far = X + offset
    near = far - offset  # what is left of the waves in float64
    given: Any = {"array": far, "list": list(far)}.get(container)
    if container == "npz":
        given = tmp_path / "x.npz"
        np.savez(given, X=far, y=y)
    elif container == "ts":
        lines = [
            ",".join(map(repr, x[0].tolist())) + f":{label}"
            for x, label in zip(far, y, strict=True)
        ]
        given = tmp_path / "x.ts"
        given.write_text("\n".join(["@univariate true", "@classLabel true", "@data", *lines]))
    elif container == "csv":
        lines = [
            ",".join(map(repr, x[0].tolist())) + f",{label}"
            for x, label in zip(far, y, strict=True)
        ]
        given = tmp_path / "x.csv"
        given.write_text("\n".join([",".join([*(f"t{i}" for i in range(30)), "label"]), *lines]))
    one = ConvTimeNetClassifier(**settings(n_epochs=2)).fit(
        given, y if container in ("array", "list") else None
    )
    two = ConvTimeNetClassifier(**settings(n_epochs=2)).fit(near, y)
    np.testing.assert_allclose(one.predict_proba(far), two.predict_proba(near), atol=1e-5)
    saved = ConvTimeNetClassifier.load(one.save(tmp_path / "m"))
    np.testing.assert_array_equal(saved.predict_proba(far), one.predict_proba(far))


def test_cases_far_from_0_are_learnt() -> None:
    model = ConvTimeNetClassifier(**settings(n_epochs=15, lr=1e-2))
    model.fit(waves(60) * 0.1 + 4.5e6, names(60))
    assert model.score(waves(40, seed=1) * 0.1 + 4.5e6, names(40)) >= 0.95


def test_a_case_beside_it_does_not_cost_a_case_its_precision() -> None:
    far = waves(16) * 0.1 + 4.5e6
    model = ConvTimeNetClassifier(**settings()).fit(far, names(16))
    wild = np.concatenate([far[:2], far[:1] * 1000])
    np.testing.assert_allclose(
        model.predict_proba(wild)[:2], model.predict_proba(far[:2]), rtol=1e-5
    )


def test_tiny_cases_train_like_others() -> None:
    one, two = (
        ConvTimeNetClassifier(**settings())
        .fit(waves() * unit, names())
        .predict_proba(waves() * unit)
        for unit in (1e-40, 1e-6)
    )
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_ordinary_cases_are_read_as_they_always_were() -> None:
    """Rounded to float32 and then scaled: bit for bit what kept models were fitted to."""
    draw = np.random.default_rng(0)
    X = draw.normal(300, 10, size=(20, 2, 30))  # 18 spreads from 0
    scaler = Scaler.minus_one_to_one(as_cases(X).values)
    old = X.astype(np.float32)
    np.testing.assert_array_equal(scaler.centre, Scaler.minus_one_to_one(old).centre)
    expected = ((old - scaler.centre) / scaler.scale).astype(np.float32)
    np.testing.assert_array_equal(pad_cases(as_cases(X).values, scaler, 30), expected)
    assert scaler.rounds.all()
    far = np.concatenate([X[:, :1], X[:, 1:] + 1e5], axis=1)
    assert Scaler.minus_one_to_one(far).rounds[:, 0].tolist() == [True, False]


def test_numbers_are_kept_as_given() -> None:
    for kind, held in (
        ("f4", "f4"), ("f2", "f4"), ("i2", "f4"), ("f8", "f8"), ("i8", "f8"), (">f8", "f8")
    ):  # fmt: skip
        assert as_cases(np.ones((2, 1, 3), dtype=kind)).values.dtype == np.dtype(held)
    both = [np.ones((1, 2), np.float32), np.full((1, 2), 4.5e6 + 0.1)]
    assert as_cases(both).values[1, 0, 0] == 4.5e6 + 0.1


# The regressor's graph has both scalings, of cases and of answers.
@pytest.mark.parametrize(
    "kind",
    [pytest.param(ConvTimeNetClassifier, marks=pytest.mark.slow), ConvTimeNetRegressor],
)
def test_a_graph_of_cases_far_from_0(kind: type, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    X = np.concatenate([waves(16) * 0.1 + 4.5e6, waves(16, seed=2)], axis=1)
    y = names(16) if kind is ConvTimeNetClassifier else np.arange(16.0)
    model = kind(**settings(n_epochs=3, model=TINY | {"kernel_sizes": (3,)})).fit(X, y)
    parity = export(model, tmp_path / "g", data=X)
    assert parity["max_difference"] < 1e-5 * max(1, parity["largest_answer"])
    assert ("same_class" in parity) == (kind is ConvTimeNetClassifier)
    graph: Any = runtime.load(tmp_path / "g")
    answers = (lambda m: m.predict_proba(X)) if y.dtype.kind == "U" else (lambda m: m.predict(X))
    assert np.ptp(answers(model)) > 1e-4
    np.testing.assert_allclose(answers(graph), answers(model), rtol=1e-4, atol=1e-6)
    with pytest.raises(DataError, match="2 channels, found 1"):
        graph.predict([np.zeros((1, 20))])
