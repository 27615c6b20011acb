"""Fitting and scoring registered sets and users' own data, and saying what was done."""

import json
from typing import Any

import numpy as np
import pytest
from common import DATA, needs_data

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor, datasets
from convtimenet.data.labelled.cases import Cases, as_cases
from convtimenet.data.table_rows import crop
from convtimenet.data.tables import read_table
from convtimenet.errors import ConfigError, ConvTimeNetError, DataError, DatasetError
from convtimenet.estimators import base
from convtimenet.runs.answers import write_classes
from convtimenet.runs.evaluation import evaluate_dataset
from convtimenet.runs.forecasting import ForecastRun, forecast_table
from convtimenet.runs.labelled import LabelledRun, fit_labelled, hold_out
from convtimenet.runs.result import comparison, facts

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}
QUICK = {"model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0}
OF_CASES: dict[str, Any] = QUICK | {"model": TINY | {"random_patches": 1}}


@pytest.fixture(autouse=True)
def _data_home(monkeypatch):
    monkeypatch.setenv("CONVTIMENET_DATA", str(DATA))


def waves(T: int = 200, C: int = 2) -> np.ndarray:
    noise = np.random.default_rng(0).normal(scale=0.1, size=(T, C))
    return np.sin(np.arange(T)[:, None] / (2 + np.arange(C))) + noise


def cases(n: int = 24) -> Cases:
    X = np.random.default_rng(0).normal(size=(n, 2, 20))
    return as_cases(X, np.array(["a", "b"] * (n // 2)))


@needs_data
class TestForecastingSets:
    def test_ili_counts_every_window_and_the_paper_protocol_128(self):
        """SPEC section 6: 42 of 170 windows are hidden by dropping the last batch."""
        honest = evaluate_dataset("ILI", h=24, settings=QUICK)
        paper = evaluate_dataset("ILI", h=24, protocol="paper", settings=QUICK)
        assert isinstance(honest, ForecastRun)
        assert honest.result.n_test == 170
        assert paper.result.n_test == 128
        assert honest.result.preset == "ILI"
        assert honest.model.train_config_.batch_size == 64
        assert honest.evaluation is not None
        each = honest.evaluation.mse_per_window
        assert len(each) == 170
        assert honest.result.scores["mse"] == pytest.approx(each.mean(), rel=1e-6)
        assert honest.evaluation.starts.tolist() == list(
            range(honest.evaluation.starts[0], honest.evaluation.starts[0] + 170)
        )
        # the last window ends with the last row
        assert honest.evaluation.starts[-1] + 104 + 24 == len(honest.table.times)

    def test_the_scaler_has_seen_the_training_rows_only(self):
        run = evaluate_dataset("ILI", settings=QUICK)
        data = datasets.load_forecasting("ILI")
        assert isinstance(run, ForecastRun)
        train = data.values[: data.train_end]
        np.testing.assert_allclose(run.model.scaler_.centre[:, 0], train.mean(0))
        np.testing.assert_allclose(run.model.scaler_.scale[:, 0], train.std(0))

    def test_the_baseline_repeats_the_last_season(self):
        run = evaluate_dataset("ILI", settings=QUICK)
        assert isinstance(run, ForecastRun)
        data = datasets.load_forecasting("ILI")
        train = data.values[: data.train_end]
        scaled = (data.values - train.mean(0)) / train.std(0)
        errors = [
            scaled[t : t + 24] - scaled[t - 52 : t - 28]  # weekly data
            for t in range(data.val_end, data.test_end - 24 + 1)
        ]
        assert run.result.baseline["mse"] == pytest.approx(np.square(errors).mean(), rel=1e-4)

    def test_results_are_plain_and_say_what_was_done(self):
        result = evaluate_dataset("ILI", preset="auto", settings=QUICK).result
        plain = json.loads(json.dumps(result.to_dict()))
        assert plain["dataset"] == "ILI"
        assert plain["horizon"] == 24
        assert plain["protocol"] == "honest"
        assert plain["seed"] == 2023
        assert plain["model"]["outputs"] == 24
        assert plain["training"]["epochs"] == 1
        assert len(plain["history"]["epochs"]) == plain["epochs"] == 1
        assert set(plain["versions"]) == {"convtimenet", "torch", "numpy", "python"}
        assert facts(result)["Test"] == "170 windows"
        rows = comparison(result)
        assert rows[0]["Model"] == "ConvTimeNet (this run)"
        assert rows[0]["Scored on"] == "all 170 windows"
        assert {row["MSE"] for row in rows} >= {"2.137", "1.429"}  # the authors', SPEC section 6
        assert len(result.published) == len(rows) - 2


@needs_data
class TestClassificationSets:
    def test_a_small_set_end_to_end(self):
        run = evaluate_dataset("StandWalkJump", preset="auto", settings=QUICK)
        assert isinstance(run, LabelledRun)
        predicted = run.model.predict(run.cases)
        assert run.result.n_test == 15
        assert run.cases.labels is not None
        assert run.result.scores["accuracy"] == (predicted == run.cases.labels).mean()
        assert run.result.horizon is None
        assert len(comparison(run.result)) >= 2

    def test_the_protocols_differ_in_who_chooses_the_epoch(self):
        alone = QUICK | {"model": TINY | {"random_patches": 0}}
        honest = evaluate_dataset("ERing", preset="auto", settings=alone).result
        paper = evaluate_dataset("ERing", preset="auto", protocol="paper", settings=alone).result
        chosen_on_test = paper.history["epochs"][0]["valid"]["accuracy"]
        assert chosen_on_test == pytest.approx(paper.scores["accuracy"])
        assert honest.history["refitted"]
        assert not paper.history["refitted"]
        assert comparison(paper)[0]["Scored on"].endswith("paper protocol")

    def test_a_quality_takes_the_settings_derived_from_the_data(self):
        run = evaluate_dataset("StandWalkJump", quality="fast")
        assert isinstance(run, LabelledRun)
        assert run.result.preset == "fast"
        assert run.result.model["kernel_sizes"] == []
        assert run.result.scores["accuracy"] == run.model.score(run.cases, run.cases.labels)

    def test_a_quality_and_the_preset_of_the_paper_are_refused(self):
        with pytest.raises(ConfigError, match=r"quality='fast'.* so preset would have no effect"):
            evaluate_dataset("JapaneseVowels", preset="paper", quality="fast")

    def test_a_horizon_is_refused(self):
        with pytest.raises(ConfigError, match="ERing is a classification set and has no horizon"):
            evaluate_dataset("ERing", h=24)


def test_unknown_sets_suggest_near_ones():
    with pytest.raises(DatasetError, match=r"found 'ETTh7'; did you mean one of: .*ETTh1"):
        evaluate_dataset("ETTh7")


def test_unknown_presets_are_refused():
    with pytest.raises(ConfigError, match="preset must be 'paper' or 'auto', found 'ours'"):
        evaluate_dataset("ETTh1", preset="ours")


@needs_data
def test_sets_without_a_preset_of_the_paper_name_the_way_out():
    with pytest.raises(ConfigError, match=r"'BasicMotions'.* Use preset='auto'"):
        evaluate_dataset("BasicMotions", settings=QUICK)


class TestOwnTables:
    def test_the_last_part_is_scored_and_not_trained_on(self):
        table = read_table(waves())
        run = forecast_table(
            ConvTimeNetForecaster(h=4, **QUICK), table, test_fraction=0.2, dataset="mine"
        )
        assert run.result.n_test == 40 - 4 + 1
        np.testing.assert_allclose(run.model.scaler_.centre[:, 0], waves()[:128].mean(0))
        changed = waves()
        changed[160:] = 0.5
        other = forecast_table(
            ConvTimeNetForecaster(h=4, **QUICK), read_table(changed), test_fraction=0.2, dataset="x"
        )
        assert run.scored is not None
        assert other.scored is not None
        np.testing.assert_array_equal(run.scored.forecast(waves()), other.scored.forecast(waves()))
        assert not np.array_equal(run.model.forecast(waves()), other.model.forecast(waves()))
        assert run.result.scores != other.result.scores

    def test_a_short_table_is_trained_on_whole_and_says_so(self):
        run = forecast_table(
            ConvTimeNetForecaster(h=4, input_size=8, **QUICK),
            read_table(waves(16)),
            test_fraction=0.2,
            dataset="mine",
        )
        assert run.evaluation is None
        assert run.result.n_test == 0
        assert "16 rows are too few for a test split with a horizon of 4: no scores" in (
            run.result.notices
        )
        with pytest.raises(DataError, match="there was no test split"):
            run.write_report("never.html")

    def test_a_test_part_that_leaves_nothing_to_train_on_is_said(self):
        model = ConvTimeNetForecaster(h=4, input_size=8, **QUICK)
        run = forecast_table(model, read_table(waves(60)), test_fraction=0.9, dataset="mine")
        assert run.evaluation is None
        told = "a test split of 90% leaves too few rows to train on: trained on all rows, no scores"
        assert any(told in notice for notice in run.result.notices)

    def test_the_validation_part_is_as_large_as_asked_for(self):
        model = ConvTimeNetForecaster(h=4, training={"validation_fraction": 0}, **QUICK)
        run = forecast_table(model, read_table(waves()), test_fraction=0.2, dataset="mine")
        assert run.result.n_test == 40 - 4 + 1
        assert [epoch.valid for epoch in model.history_.epochs] == [{}]
        np.testing.assert_allclose(model.scaler_.centre[:, 0], waves()[:160].mean(0))

    def test_a_table_too_short_for_a_test_under_the_papers_context_is_trained_on_whole(self):
        model = ConvTimeNetForecaster(h=4, preset="ILI", **QUICK)  # reads 104 rows
        run = forecast_table(model, read_table(waves(120)), test_fraction=0.2, dataset="mine")
        assert run.result.n_test == 0
        assert "120 rows are too few" in run.result.notices[-1]

    def test_no_test_part_on_request(self):
        run = forecast_table(
            ConvTimeNetForecaster(h=4, **QUICK), read_table(waves()), test_fraction=0, dataset="m"
        )
        assert (run.evaluation, run.result.n_test, run.result.scores) == (None, 0, {})
        assert run.result.notices == []

    @pytest.mark.parametrize("fraction", [1.0, 1.5, -0.1, float("nan")])
    def test_wrong_fractions_are_refused_before_training(self, fraction, monkeypatch):
        monkeypatch.setattr(base, "train", None)
        with pytest.raises(ConfigError, match="test_fraction must be at least 0 and below 1"):
            forecast_table(
                ConvTimeNetForecaster(h=4), read_table(waves()), test_fraction=fraction, dataset="m"
            )

    def test_coverage_and_width_are_those_of_the_windows(self):
        table = read_table(waves())
        model = ConvTimeNetForecaster(h=4, **QUICK)
        run = forecast_table(model, table, test_fraction=0.2, dataset="mine", level=[80, 60])
        assert run.evaluation is not None
        assert run.scored is not None
        model = run.scored
        contexts = [crop(table, 0, end) for end in range(160, 200 - 4 + 1)]
        answers = np.stack([model.forecast_table(one, level=[60, 80]) for one in contexts])
        answers = answers.reshape(len(contexts), 4, 2, 5)  # windows, steps, channels, bounds
        truth = np.stack([table.values[end : end + 4] for end in range(160, 197)])
        assert [one["level"] for one in run.result.intervals] == [60, 80]
        for found, (low, high) in zip(run.result.intervals, ((2, 3), (1, 4)), strict=True):
            low, high = answers[..., low], answers[..., high]
            inside = (low <= truth) & (truth <= high)
            assert found["coverage"] == pytest.approx(inside.mean())
            assert found["coverage_per_step"] == pytest.approx(inside.mean((0, 2)))
            width = (high - low) / model.scaler_.scale[:, 0]
            assert found["width"] == pytest.approx(width.mean(), rel=1e-4)
            assert found["width_in_units"] == pytest.approx((high - low).mean(), rel=1e-4)
            assert found["width_per_step"] == pytest.approx(width.mean((0, 2)), rel=1e-4)
        plain = json.loads(json.dumps(run.result.to_dict()))
        assert plain["intervals"] == run.result.intervals

    @pytest.mark.parametrize("fraction", [0.0, 0.2])
    def test_levels_that_cannot_be_calibrated_are_refused_before_training(
        self, fraction, monkeypatch
    ):
        monkeypatch.setattr(base, "train", None)
        model = ConvTimeNetForecaster(h=4, **QUICK)
        for settings, level, message in (
            ({}, 99.5, "at least 199 calibration values"),
            ({}, [80, 99.5], "the largest possible level is 9[67]"),
        ):
            with pytest.raises(ConvTimeNetError, match=message):
                forecast_table(
                    model.set_params(training=settings),
                    read_table(waves(120)),
                    test_fraction=fraction,
                    dataset="m",
                    level=level,
                )


class TestOwnCases:
    def test_hold_out_is_stratified_and_complete(self):
        all_cases = cases(40)
        train, test = hold_out(all_cases, 0.25, seed=1)
        assert train.labels is not None
        assert test.labels is not None
        assert sorted(test.labels) == ["a"] * 5 + ["b"] * 5
        assert len(train.labels) == 30
        joined = np.concatenate([train.values, test.values])
        assert len(np.unique(joined, axis=0)) == 40
        _, again = hold_out(all_cases, 0.25, seed=1)
        np.testing.assert_array_equal(again.values, test.values)

    def test_numbers_are_held_out_without_strata(self):
        every = as_cases(cases(20).values, np.arange(20) / 3)
        train, test = hold_out(every, 0.25, seed=1, classes=False)
        assert train.labels is not None
        assert test.labels is not None
        assert (len(train.labels), len(test.labels)) == (15, 5)
        assert sorted([*train.labels, *test.labels]) == sorted(np.arange(20) / 3)
        with pytest.raises(DataError, match="more cases; to predict numbers use regress"):
            hold_out(every, 0.25, seed=1)
        with pytest.raises(
            DataError, match=r"cannot hold out 0\.5 of 1 cases as a test split; give"
        ):
            hold_out(every.subset(np.arange(1)), 0.5, seed=1, classes=False)

    def test_targets_of_the_test_part_are_checked_before_training(self, monkeypatch):
        monkeypatch.setattr(base, "train", None)
        train = as_cases(cases().values, np.arange(24.0))
        with pytest.raises(DataError, match="targets must be numbers"):
            fit_labelled(ConvTimeNetRegressor(**OF_CASES), train, cases(8), dataset="mine")

    @pytest.mark.parametrize("fraction", [0.0, 1.0, 1.5, 0.99])
    def test_wrong_fractions_are_refused(self, fraction):
        with pytest.raises(DataError, match=r"cannot hold out .* give a test file, or more cases"):
            hold_out(cases(), fraction, seed=1)

    def test_a_class_with_one_case_is_refused(self):
        lonely = as_cases(np.ones((5, 1, 4)), np.array(["a", "a", "a", "a", "b"]))
        with pytest.raises(DataError, match=r"the class 'b' has 1; give a test file"):
            hold_out(lonely, 0.4, seed=1)

    def test_unlabelled_cases_are_refused(self):
        with pytest.raises(DataError, match="expected labelled cases to train on, found no labels"):
            hold_out(as_cases(np.ones((5, 1, 4))), 0.4, seed=1)

    def test_scores_by_hand(self):
        """Also where the model answers classes that the test split lacks."""
        train = as_cases(cases().values, np.array(["a", "b", "b", "b", "c", "b"] * 4))
        test = as_cases(cases(8).values, np.array(["a", "b", "a", "a", "b", "a", "a", "a"]))
        run = fit_labelled(ConvTimeNetClassifier(**OF_CASES), train, test, dataset="mine")
        predicted = run.model.predict(test)
        assert test.labels is not None
        right = predicted == test.labels
        assert run.result.scores["accuracy"] == right.mean()
        per_class = [right[test.labels == label].mean() for label in ("a", "b")]
        assert run.result.scores["balanced_accuracy"] == pytest.approx(np.mean(per_class))
        assert run.result.baseline == {"accuracy": 2 / 8, "balanced_accuracy": 1 / 2}

    def test_a_page_of_a_run_with_classes_that_training_lacked(self, tmp_path):
        test = as_cases(cases(8).values, np.array(["a", "b", "c", "a", "b", "a", "a", "c"]))
        run = fit_labelled(ConvTimeNetClassifier(**OF_CASES), cases(), test, dataset="mine")
        page = run.write_report(tmp_path / "page.html").read_text(encoding="utf-8")
        assert "2 of 8 test cases have classes that the training cases lack" in page
        for score in ("accuracy", "balanced_accuracy"):
            assert f"{100 * run.result.scores[score]:.1f}&nbsp;%" in page

    def test_classes_are_written_with_their_probabilities(self, tmp_path):
        model = ConvTimeNetClassifier(**OF_CASES).fit(cases())
        predicted = write_classes(tmp_path / "out.csv", model, cases())
        assert predicted.tolist() == model.predict(cases()).tolist()
        lines = (tmp_path / "out.csv").read_text().splitlines()
        assert lines[0] == "case,class,p_a,p_b"
        rows = [line.split(",") for line in lines[1:]]
        assert [row[0] for row in rows] == [str(i) for i in range(24)]
        assert [row[1] for row in rows] == predicted.tolist()
        written = np.array([[float(p) for p in row[2:]] for row in rows])
        np.testing.assert_allclose(written, model.predict_proba(cases()), rtol=5e-6)
        assert max(len(p) for row in rows for p in row[2:]) <= len("0.0123456")
        assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
