"""What users get wrong: an error that says expected, found and remedy, before any training."""

import re
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.data.labelled.cases import as_cases
from convtimenet.errors import ConfigError, ConvTimeNetError, DataError
from convtimenet.estimators import base

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}


@pytest.fixture
def _no_training(monkeypatch):
    def reached(*_, **__):
        raise AssertionError("training began before the mistake was found")

    monkeypatch.setattr(base, "train", reached)


def forecaster(**settings) -> ConvTimeNetForecaster:
    given = {"h": 4, "model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0, **settings}
    return ConvTimeNetForecaster(**given)


def classifier(**settings) -> ConvTimeNetClassifier:
    given = {"model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0, **settings}
    return ConvTimeNetClassifier(**given)


def waves(T: int = 100, C: int = 2) -> np.ndarray:
    return np.sin(np.arange(T)[:, None] / (2 + np.arange(C)))


def frame(T: int = 100) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=T, freq="h")
    return pd.DataFrame({"date": times, "a": waves(T)[:, 0], "b": waves(T)[:, 1]})


def cases(n: int = 20, C: int = 2, L: int = 30) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, C, L))


def labels(n: int = 20) -> np.ndarray:
    return np.array(["a", "b"] * (n // 2))


def sparse() -> Any:
    from scipy.sparse import csr_array

    return csr_array(cases()[:, 0])


def changed(**columns) -> pd.DataFrame:
    return frame().assign(**columns)


def with_time(row: int, hours: float) -> pd.DataFrame:
    table = frame()
    table.loc[row, "date"] += pd.Timedelta(hours=hours)
    return table


def with_text() -> pd.DataFrame:
    table = frame().astype({"b": object})
    table.loc[7, "b"] = "n/a?"
    return table


TABLES = {
    "empty frame": (lambda: frame()[:0], r"expected rows, found an empty frame"),
    "empty array": (lambda: np.empty((0, 2)), r"expected an array of shape .* found \(0, 2\)"),
    "one row": (lambda: waves(1), r"expected at least 2 rows, found 1"),
    "no time column": (
        lambda: frame().drop(columns="date"),
        r"no time column found.*pass time_col=",
    ),
    "no value column": (lambda: frame()[["date"]], r"expected value columns besides the time"),
    "a repeated time stamp": (
        lambda: with_time(5, -1),
        r"duplicate time stamps: 2024-01-01T04:00:00.*keep one row for each",
    ),
    "an irregular time stamp": (
        lambda: with_time(5, 0.5),
        r"not regular: after 2024-01-01T04:00:00 expected a step of 1h.*resample",
    ),
    "a missing row and an irregular time stamp": (
        lambda: with_time(50, 0.5).drop(index=20),
        r"not regular: after 2024-01-03T01:00:00.*found a step of 90min.*resample",
    ),
    "text among the values": (with_text, r"'b'.*row 7.*'n/a\?'"),
    "a channel of missing values": (
        lambda: changed(a=np.nan),
        r"no numbers in 'a': every value is missing; leave these channels out with target_cols",
    ),
    "complex numbers": (lambda: waves() + 0j, r"expected an array of numbers, found dtype complex"),
    "three axes": (lambda: np.zeros((5, 4, 3)), r"shape \(T,\) or \(T, C\), found \(5, 4, 3\)"),
    "a list": (
        lambda: [1.0, 2.0],
        r"expected a file path, an in-memory pandas.*found builtins\.list",
    ),
    "a lazy frame": (lambda: pl.LazyFrame({"date": [1], "a": [2]}), r"collect a lazy frame"),
    "fewer rows than a window": (
        lambda: waves(5),
        r"no window fits: expected 6 rows, a context of 2 and a horizon of 4, found 5; give more "
        r"rows, or use a shorter context \(input_size\) or horizon \(h\)",
    ),
    "an absent file": (lambda: "nowhere/table.csv", r"nowhere/table\.csv"),
    "a file of another kind": (lambda: "table.docx", r"\.csv"),
}


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize("mistake", TABLES)
def test_tables_that_cannot_be_used(mistake):
    make, message = TABLES[mistake]
    model = forecaster()
    with pytest.raises(DataError, match=message):
        model.fit(make())
    assert not [name for name in vars(model) if name.endswith("_")]


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize("h", [0, -3, 1.5, True, None, "4"])
def test_horizons_that_are_no_number_of_steps(h):
    message = f"h, the horizon, must be a whole number of at least 1, found {h!r}"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        forecaster(h=h).fit(waves())


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize("preset", ["auto", "ETTh1"])
@pytest.mark.parametrize("size", [0, -3, 1.5, True, "20"])
def test_contexts_that_are_no_number_of_steps(size, preset):
    with pytest.raises(ConfigError, match="input_size, the context, must be a whole number"):
        forecaster(input_size=size, preset=preset).fit(waves())


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize(
    ("split", "told"),
    [
        ((0.7, 0.9), "split: train_end must be a whole number, found 0.7; rows are no shares: "
         "instead of 0.7 give 70 of 100 rows"),
        ((70, 90.5), "split: valid_end must be a whole number, found 90.5; give a number of rows"),
        ((True, 90), "split: train_end must be a whole number, found True"),
        (("70", 90), "split: train_end must be a whole number, found '70'"),
        ((70, np.inf), "split: valid_end must be a whole number, found inf"),
        ((np.array([70, 70]), 90), "split: train_end must be a whole number, found array"),
        (0.8, "split must be rows .train_end, valid_end. in that order within .* found 0.8"),
        ((70,), "split must be rows .train_end, valid_end. in that order within"),
    ],
)  # fmt: skip
def test_splits_that_are_no_rows(split, told):
    with pytest.raises(DataError, match=told):
        forecaster().fit(waves(100), split=split)


@pytest.fixture(scope="module")
def model() -> ConvTimeNetForecaster:
    fast = ConvTimeNetForecaster(4, quality="fast", device="cpu", verbose=0, refit=False)
    return fast.fit(waves(100), split=(60, 80))


class TestRows:
    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"first_row": 0.8}, "first_row must be a whole number, found 0.8; rows are no "
             "shares: instead of 0.8 give 80 of 100 rows"),
            ({"first_row": 60.5}, "first_row must be a whole number, found 60.5; give a number"),
            ({"first_row": 60, "end": "90"}, "end must be a whole number, found '90'"),
            ({"first_row": [60, 60]}, r"first_row must be a whole number, found \[60, 60\]"),
        ],
    )  # fmt: skip
    def test_rows_that_are_none(self, model, given, told):
        for use in (model.evaluate, model.calibrate):
            with pytest.raises(DataError, match=told):
                use(waves(100), **given)

    @pytest.mark.parametrize("season", [0, -3, 2.5, True, "7", np.nan])
    def test_seasons_that_are_none(self, model, season):
        told = f"season must be a whole number of at least 1, found {season!r}"
        with pytest.raises(ConfigError, match=re.escape(told)):
            model.evaluate(waves(100), first_row=80, season=season)

    def test_whole_numbers_of_any_type_are_taken(self, model):
        expected = model.evaluate(waves(100), first_row=80, end=95, season=2)
        for first, end in ((80.0, np.float32(95)), (np.int8(80), [95]), ([80.0], 95)):
            found = model.evaluate(waves(100), first_row=first, end=end, season=2.0)
            assert found.scores == expected.scores
            assert found.naive == expected.naive


SETTINGS = {
    "batch size 0": ({"batch_size": 0}, "batch_size must be a whole number of at least 1, found 0"),
    "no epochs": ({"n_epochs": 0}, "epochs must be a whole number of at least 1, found 0"),
    "half an epoch": ({"n_epochs": 1.5}, "epochs must be .* found 1.5"),
    "learning rate 0": ({"lr": 0}, "lr must be above 0, found 0"),
    "time limit 0": ({"time_limit": 0}, "time_limit must be above 0, or None, found 0"),
    "precision": ({"precision": "fp8"}, "one of 'fp32', 'bf16', 'int8', found 'fp8'"),
    "device": ({"device": "warp"}, "device must be 'auto' or .* found 'warp'.* use device='auto'"),
    "no device": ({"device": None}, "device must be a name such as 'cpu', found None"),
    "seed": ({"random_state": -1}, "seed must be a whole number of at least 0, found -1"),
    "a seed of text": ({"random_state": "7"}, "seed must be .* found '7'"),
    "preset": (
        {"preset": "ETTh9"},
        "no hyper-parameters .* 'ETTh9'; it has some for .* preset='auto'",
    ),
    "no preset": ({"preset": None}, "no hyper-parameters .* None; it has some for"),
    "validation": (
        {"training": {"validation_fraction": 1.5}},
        "validation_fraction must be at least 0 and below 1, found 1.5",
    ),
    "training setting": ({"training": {"epoch": 3}}, r"no setting 'epoch'; did you mean epochs\?"),
    "epochs twice": (
        {"n_epochs": 5, "training": {"epochs": 3}},
        r"^n_epochs=5 and training=\{'epochs': 3\} are the same setting .*; leave one of them out",
    ),
    "learning rate twice": ({"lr": 0.1, "training": {"lr": 0.2}}, r"^lr=0.1 and .*'lr': 0.2\}"),
    "precision twice": (
        {"precision": "bf16", "training": {"precision": "int8"}},
        "^precision='bf16' and .*'int8'",
    ),
    "seed twice": ({"random_state": 1, "training": {"seed": 7}}, "^random_state=1 and .*'seed': 7"),
    "no verbosity": ({"verbose": None}, "^verbose must be a whole number, 1 .*, found None"),
    "verbosity in words": ({"verbose": "x"}, "^verbose must be a whole number, .*, found 'x'"),
    "model setting": ({"model": {"width": 3}}, r"no setting 'width'; did you mean d_model\?"),
    "dropout": ({"model": {"dropout": 1.0}}, "dropout must be at least 0 and below 1, found 1.0"),
    "decided setting": ({"model": {"context_length": 9}}, "holds context_length.*leave it out"),
    "kernel": ({"model": {"kernel_sizes": (1,)}}, "kernel_sizes must be .* small_kernel=3"),
    "kernels": ({"model": {"kernel_sizes": 5}}, "'int' object is not iterable"),
}


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize("mistake", SETTINGS)
@pytest.mark.parametrize("task", ["forecast", "classify"])
def test_settings_out_of_range(mistake, task):
    settings, message = SETTINGS[mistake]
    forecast = task == "forecast"
    build, X = (forecaster, waves()) if forecast else (classifier, as_cases(cases(), labels()))
    with pytest.raises(ConfigError, match=message):
        build(**settings).fit(X)


def test_a_setting_may_be_given_twice_with_one_value():
    model = forecaster(training={"seed": 7, "epochs": 3}, n_epochs=3)
    found = model._train_config({}, None)
    assert (found.seed, found.epochs) == (7, 3)  # random_state is at its default
    assert model.set_params(random_state=7)._train_config({}, None) == found


@pytest.mark.usefixtures("_no_training")
def test_presets_of_the_other_task():
    with pytest.raises(
        ConfigError, match=r"hyper-parameters to forecast 'Epilepsy'.*preset='auto'"
    ):
        forecaster(preset="Epilepsy").fit(waves())
    with pytest.raises(ConfigError, match=r"hyper-parameters to classify 'ETTh1'.*preset='auto'"):
        classifier(preset="ETTh1").fit(cases(), labels())


@pytest.mark.usefixtures("_no_training")
def test_affine_revin_for_another_number_of_channels():
    with pytest.raises(ConfigError, match="is 3, the table has 2 channels; they must be equal"):
        forecaster(model=TINY | {"revin_affine_channels": 3}).fit(waves())


@pytest.mark.usefixtures("_no_training")
def test_columns_that_are_not_there():
    with pytest.raises(DataError, match=r"target_cols: .*'aa'"):
        forecaster(target_cols=["aa"]).fit(frame())
    with pytest.raises(DataError, match=r"time_col: .*'when'"):
        forecaster(time_col="when").fit(frame())
    with pytest.raises(DataError, match=r"expected the first|expected a step of 1D|not regular"):
        forecaster(freq="1D").fit(frame())


def without(array: np.ndarray, case: Any = slice(None), channel: Any = slice(None)) -> np.ndarray:
    array[case, channel] = np.nan
    return array


def mixed(n: int = 20) -> np.ndarray:
    return np.array([1, "b"] * (n // 2), dtype=object)


CASES = {
    "a single class": (
        lambda: (cases(), np.full(20, "a")),
        r"at least two classes, found one class: 'a' for all 20 cases",
    ),
    "fewer labels than cases": (
        lambda: (cases(), labels(18)),
        r"expected one label per case; found 18 labels for 20 cases; pass X and y of the same",
    ),
    "no labels": (lambda: (cases(), None), r"expected a label for every case, found none; pass"),
    "a missing label": (
        lambda: (cases(), np.array(["a", None] * 10, dtype=object)),
        r"every case needs a label; found none for case 1; leave the case out",
    ),
    "labels of two types": (lambda: (cases(), mixed()), r"labels must be of one type.*map\(str"),
    "a matrix of labels": (
        lambda: (cases(), np.stack([labels()] * 2, axis=1)),
        r"labels must have shape \(20,\); found \(20, 2\); give the numbers of one column",
    ),
    "one-hot labels": (
        lambda: (cases(), np.eye(3)[np.arange(20) % 3]),
        r"labels must have shape \(20,\); found \(20, 3\); give numpy.argmax\(y, axis=1\)",
    ),
    "no cases": (lambda: (cases(0), labels(0)), r"found an empty set of shape"),
    "no steps": (lambda: (cases(L=0), labels()), r"found an empty set of shape"),
    "text": (lambda: (cases().astype(str), labels()), r"X must hold real numbers; found dtype <U"),
    "a case of NaN": (
        lambda: (without(cases(), case=3), labels()),
        r"every case needs a finite value; found none in case 3 \(all missing or",
    ),
    "a channel of NaN": (
        lambda: (without(cases(), channel=1), labels()),
        r"needs at least one known value; found none in channel 1; leave the channel out",
    ),
    "cases of different channels": (
        lambda: ([np.ones((2, 9)), np.ones((3, 9))], ["a", "b"]),
        r"same number of channels; found 2 in case 0 and 3 in case 1; leave out or add",
    ),
    "channels of unequal length": (
        lambda: ([[[1.0, 2.0], [3.0]]] * 2, ["a", "b"]),
        r"case 0 must be rectangular.*channels of unequal length; fill the shorter ones with NaN",
    ),
    "no cases of objects": (lambda: (np.empty((0, 5), object), []), r"found an empty set of shape"),
    "four axes": (lambda: (np.ones((2, 2, 2, 2)), ["a", "b"]), r"found an array of shape \(2, 2, "),
    "a sparse matrix": (lambda: (sparse(), labels()), r"sparse matrix; expected a dense .*toarray"),
    "an absent file": (lambda: ("nowhere/train.ts", None), r"expected a file at nowhere/train\.ts"),
    "a file of another kind": (lambda: ("train.xlsx", None), r"ending in \.ts.*'train\.xlsx'"),
}


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize("mistake", CASES)
def test_cases_that_cannot_be_used(mistake):
    make, message = CASES[mistake]
    model = classifier()
    X, y = make()
    with pytest.raises(DataError, match=message):
        model.fit(X, y)
    assert not [name for name in vars(model) if name.endswith("_")]


def test_every_error_is_a_value_error():
    """So that scikit-learn's and users' own handlers catch them."""
    assert issubclass(ConvTimeNetError, ValueError)
    with pytest.raises(ValueError, match="horizon"):
        forecaster(h=0).fit(waves())


class TestAccepted:
    """Odd input that is no mistake."""

    def test_gaps_are_told_of_once_and_what_becomes_of_them(self, caplog):
        values = waves()
        values[10:13, 0] = np.nan
        values[20, 1] = np.inf
        told = ("channel '0': 3 missing values", "channel '1': 1 infinite value")
        learnt = {
            True: "missing values are masked: they are neither read nor trained on",
            False: "missing values are filled from the known ones of the same context, at its end "
            "by the last known one; they are not trained on",
        }
        read = {
            True: "missing values are masked: they are not read",
            False: "missing values are filled from the known ones of the same context, at its end "
            "by the last known one",
        }
        for masks in (True, False):
            caplog.clear()
            model = forecaster(model=TINY | {"masks": masks}).fit(values)
            assert model.notices_ == (*told, learnt[masks])
            assert caplog.messages == [*told, learnt[masks]]
            caplog.clear()
            model.predict(values)
            assert caplog.messages == [*told, read[masks]]
            caplog.clear()
            model.fit(waves()).predict(waves())
            assert caplog.messages == []
        assert np.isfinite(model.fit(values).predict()).all()

    def test_gaps_in_cases_are_masked_with_a_notice(self, caplog):
        X = cases()
        X[2, 1, 4] = np.nan
        X[3, 0, 5:7] = np.inf
        model = classifier().fit(X, labels())
        assert "3 missing or infinite values are masked" in model.notices_
        assert caplog.messages == list(model.notices_)
        X[4, 1] = np.nan
        assert np.isfinite(model.predict_proba(X)).all()

    def test_unsorted_rows_are_sorted_with_a_notice(self):
        shuffled = frame().sample(frac=1, random_state=0)
        model = forecaster().fit(shuffled)
        assert model.notices_ == ("rows sorted by time",)
        pd.testing.assert_frame_equal(model.predict(), forecaster().fit(frame()).predict())

    def test_constant_channels(self):
        forecast = forecaster().fit(np.full((60, 2), 7.0)).predict()
        np.testing.assert_allclose(forecast, 7, atol=0.1)
        X = cases()
        X[:, 0] = 5
        assert np.isfinite(classifier().fit(X, labels()).predict_proba(X)).all()

    def test_unequal_lengths(self):
        varied = [c[:, : 10 + i] for i, c in enumerate(cases())]
        assert classifier().fit(varied, labels()).predict(varied).shape == (20,)

    def test_huge_and_tiny_units(self):
        small, large = (forecaster().fit(waves() * unit).predict() for unit in (1e-9, 1e12))
        np.testing.assert_allclose(small * 1e21, large, rtol=1e-3, atol=1e9)


@pytest.mark.parametrize("value", [1e30, 1e200, -1e300])
@pytest.mark.parametrize("scale", [True, False])
def test_values_far_beyond_float32_are_refused(value, scale):
    tiny = {"d_model": 8, "d_ff": 8, "kernel_sizes": (3,)}
    waves = np.sin(np.arange(40.0))[:, None]
    far = waves.copy()
    far[-3] = value
    model = ConvTimeNetForecaster(
        h=2, input_size=8, scale=scale, model=tiny, n_epochs=1, device="cpu", verbose=0
    )
    model.fit(waves)
    for call in (model.predict, model.evaluate):
        with pytest.raises(DataError, match=r"scaled values must be at most 1e\+15"):
            call(far)
    if not scale or abs(value) > 1e150:
        with pytest.raises(DataError, match=r"must be at most 1e\+15|at most 1e150"):
            model.fit(far)


@pytest.mark.parametrize("shape", [(90,), (90, 1), (90, 3), (1, 90, 2)])
def test_an_array_to_forecast_has_the_fitted_channels(shape):
    waves = np.stack([np.sin(np.arange(90) / 5), 100 + np.cos(np.arange(90) / 7)], 1)
    model = ConvTimeNetForecaster(h=3, quality="fast", verbose=0).fit(waves)
    assert model.forecast(waves).shape == (3, 2)
    with pytest.raises(
        DataError,
        match=re.escape(f"(T, 2), a column for each channel, found an array of the shape {shape}"),
    ):
        model.forecast(np.zeros(shape))
