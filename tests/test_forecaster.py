"""`ConvTimeNetForecaster`: tables in, forecasts in their own units and kind out."""

from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from convtimenet import ConvTimeNetForecaster
from convtimenet.data.tables import Table, read_table
from convtimenet.data.time.frequency import Frequency
from convtimenet.errors import DataError, TrainingError
from convtimenet.estimators import base

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}


def forecaster(**settings) -> ConvTimeNetForecaster:
    given = {"h": 4, "model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0}
    given |= {"refit": False}  # other tests are about the second training
    return ConvTimeNetForecaster(**given | settings)


def waves(T: int = 120, C: int = 2, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(T, C))
    return np.sin(np.arange(T)[:, None] / (2 + np.arange(C))) + noise


def hourly(values: np.ndarray) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=len(values), freq="h", name="date")
    names = [f"c{i}" for i in range(values.shape[1])]
    columns = {name: values[:, i] for i, name in enumerate(names)}
    return pd.DataFrame({"date": times, **columns})


def future_hours() -> list[pd.Timestamp]:
    return pd.date_range("2024-01-06", periods=4, freq="h").tolist()


class TestScikitLearn:
    def test_parameters_round_trip(self):
        model = forecaster(input_size=20, lr=1e-3)
        again = clone(model)
        assert isinstance(again, ConvTimeNetForecaster)
        assert again is not model
        assert again.get_params() == model.get_params()
        assert again.set_params(h=9, model={"d_model": 4}).h == 9
        assert model.h == 4

    def test_fit_leaves_parameters_alone_and_sets_only_trailing_underscores(self):
        model = forecaster(training={"patience": 2})
        before = {k: repr(v) for k, v in model.get_params().items()}
        names = set(vars(model))
        assert model.fit(waves()) is model
        assert {k: repr(v) for k, v in model.get_params().items()} == before
        added = set(vars(model)) - names
        assert added == {
            "calibration_", "channels_", "covariates_", "fitted_rows_", "fused_", "history_",
            "members_", "n_examples_", "network_", "notices_", "scaler_", "scored_", "scores_",
            "parameters_", "tail_", "train_config_",
        }  # fmt: skip

    @pytest.mark.parametrize("act", ["predict", "evaluate", "score", "save", "forecast"])
    def test_before_fit_it_says_so(self, act, tmp_path):
        argument = tmp_path / "m" if act == "save" else waves()
        with pytest.raises(NotFittedError):
            getattr(forecaster(), act)(argument)
        assert list(tmp_path.iterdir()) == []

    def test_the_callers_data_and_random_numbers_stay_as_they_were(self):
        values = waves()
        values[5, 0] = np.nan
        before = values.copy()
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002
        expected = torch.rand(1), np.random.rand()  # noqa: NPY002
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002
        forecaster().fit(values).predict(values)
        assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002
        np.testing.assert_array_equal(values, before)


class TestFit:
    def test_same_seed_same_forecasts_and_another_seed_others(self):
        first, same, other = (
            forecaster(random_state=seed, n_epochs=2, model=TINY | {"linear": False})
            .fit(waves())
            .predict()
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, same)
        assert not np.allclose(first, other)

    def test_own_settings_go_over_the_presets(self):
        model = forecaster(
            preset="ETTh1",
            input_size=20,
            batch_size=17,
            lr=3e-3,
            training={"lr_hold": 1},
            model=TINY | {"patch_size": 4, "patch_stride": 2},
        ).fit(waves())
        train, network = model.train_config_, model.network_.config
        assert (train.batch_size, train.lr, train.lr_hold, train.epochs) == (17, 3e-3, 1, 1)
        assert (network.context_length, network.outputs) == (20, 4)
        assert (network.patch_size, network.kernel_sizes) == (4, (3, 5))
        assert network.dropout == 0.2  # the preset's

    def test_a_data_sets_preset_is_the_papers_network(self):
        """Context 336 with two channels of 600 rows; one step of training is enough."""
        model = forecaster(preset="ETTh1", model=None, h=96, time_limit=1e-9).fit(waves(600))
        config = model.network_.config
        assert (config.context_length, config.outputs) == (336, 96)
        assert config.kernel_sizes == (9, 11, 15, 21, 29, 39)
        assert (config.d_model, config.d_ff, config.dropout) == (64, 256, 0.2)
        assert model.predict().shape == (96, 2)

    def test_the_last_fifth_chooses_the_epoch_and_does_not_scale(self):
        values = waves(200)
        values[160:] += 1000
        model = forecaster(n_epochs=2).fit(values)
        np.testing.assert_allclose(model.scaler_.centre[:, 0], values[:160].mean(0))
        np.testing.assert_allclose(model.scaler_.scale[:, 0], values[:160].std(0))
        assert all(set(epoch.valid) == {"mse", "mae"} for epoch in model.history_.epochs)

    def test_rows_after_the_split_are_not_looked_at(self):
        values = waves(200)
        changed = values.copy()
        changed[150:] = 1e6
        one, two = (forecaster().fit(v, split=(120, 150)) for v in (values, changed))
        np.testing.assert_array_equal(one.forecast(values[:150]), two.forecast(values[:150]))

    def test_validation_rows_change_no_weight_of_a_single_epoch(self):
        values = waves(200)
        changed = values.copy()
        changed[120:150] *= -3
        model = TINY | {"linear": False}
        one, two = (
            forecaster(refit=False, model=model).fit(v, split=(120, 150)) for v in (values, changed)
        )
        np.testing.assert_array_equal(one.forecast(values[:120]), two.forecast(values[:120]))
        assert one.history_.epochs[0].valid != two.history_.epochs[0].valid

    @pytest.mark.parametrize("split", [(0, 50), (60, 40), (60, 500), (-5, 50)])
    def test_a_split_outside_the_table_is_refused(self, split):
        with pytest.raises(DataError, match=r"split must be rows .* found"):
            forecaster().fit(waves(), split=split)

    def test_no_rows_are_held_back_on_request(self):
        model = forecaster(training={"validation_fraction": 0}).fit(waves())
        assert model.history_.epochs[0].valid == {}
        np.testing.assert_allclose(model.scaler_.centre[:, 0], waves().mean(0))

    def test_a_tiny_table_trains_on_all_of_its_rows_and_says_so(self):
        model = forecaster(h=2, input_size=4).fit(waves(7))
        assert model.notices_[0] == ("7 rows are too few for a validation split: nothing is scored")
        assert model.predict().shape == (2, 2)
        assert model.history_.epochs[0].valid == {}

    def test_refit_trains_again_on_all_rows(self):
        plain = forecaster(n_epochs=2, refit=False).fit(waves())
        again = forecaster(n_epochs=2, refit=None, training={"refit": True}).fit(waves())
        assert again.history_.refitted
        assert not plain.history_.refitted
        assert again.history_.epochs[0].valid == plain.history_.epochs[0].valid
        assert not np.array_equal(plain.predict(), again.predict())

    def test_a_time_limit_leaves_no_refit_and_says_so(self):
        model = TINY | {"linear": False}
        model = forecaster(refit=True, time_limit=1e-9, model=model).fit(waves())
        assert not model.history_.refitted
        assert model.notices_ == ("the time limit left no time to train again on all data",)

    def test_fitting_again_forgets_the_first_table(self):
        model = forecaster().fit(waves(seed=5) * 100)
        model.fit(waves())
        np.testing.assert_array_equal(model.predict(), forecaster().fit(waves()).predict())

    def test_a_failing_fit_leaves_the_earlier_model(self, monkeypatch):
        model = forecaster().fit(waves())
        before = model.predict()

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(base, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(waves(C=3) * 100)
        np.testing.assert_array_equal(model.predict(), before)
        unfitted = forecaster()
        with pytest.raises(KeyboardInterrupt):
            unfitted.fit(waves())
        with pytest.raises(NotFittedError):
            unfitted.predict()

    def test_divergence_is_an_error_and_no_model(self):
        model = forecaster(lr=1e30, model=TINY | {"linear": False})
        with pytest.raises(TrainingError, match="use an lr below"):
            model.fit(waves())
        with pytest.raises(NotFittedError):
            model.predict()

    def test_bf16_gives_nearly_the_forecasts_of_fp32(self):
        """LayerNorm keeps the blocks out of the CPU kernels, which know float32 alone."""
        full, half = (
            forecaster(precision=p, model=TINY | {"norm": "layer"}).fit(waves()).predict()
            for p in ("fp32", "bf16")
        )
        assert not np.array_equal(half, full)
        np.testing.assert_allclose(half, full, atol=0.1)


class TestUnits:
    def test_forecasts_are_in_the_units_of_the_data(self):
        """1000 times the data plus 5000: 1000 times the forecasts plus 5000."""
        values = waves()
        plain = forecaster(n_epochs=2).fit(values).predict()
        scaled = forecaster(n_epochs=2).fit(values * 1000 + 5000).predict()
        np.testing.assert_allclose(scaled, plain * 1000 + 5000, atol=2)
        assert np.ptp(plain) > 0.1

    def test_a_learnt_sine_is_continued(self):
        t = np.arange(400.0)
        series = 50 + 20 * np.sin(t / 4)
        model = forecaster(h=8, input_size=32, n_epochs=12, lr=1e-2).fit(series)
        future = 50 + 20 * np.sin(np.arange(400, 408) / 4)
        assert np.abs(model.predict()[:, 0] - future).mean() < 4  # repeating the last value: 13

    def test_a_constant_channel_is_forecast_as_itself(self):
        values = np.column_stack([np.full(83, 0.3), waves(83, 1)])
        forecast = forecaster().fit(values).predict()
        np.testing.assert_allclose(forecast[:, 0], 0.3, atol=0.05)

    def test_a_horizon_of_one_step(self):
        model = forecaster(h=1).fit(waves())
        assert model.predict().shape == (1, 2)
        assert model.evaluate(waves()).mse_per_step.shape == (1,)


class TestKinds:
    def test_arrays(self):
        model = forecaster().fit(waves())
        forecast = model.predict()
        assert type(forecast) is np.ndarray
        assert forecast.shape == (4, 2)
        np.testing.assert_array_equal(model.predict(waves()), forecast)
        one = forecaster().fit(waves()[:, 0]).predict()
        assert one.shape == (4, 1)

    def test_pandas_with_a_time_column(self):
        alone = TINY | {"linear": False}  # which would know the season of hours, not that of rows
        forecast = forecaster(model=alone).fit(hourly(waves())).predict()
        assert isinstance(forecast, pd.DataFrame)
        assert list(forecast.columns) == ["date", "c0", "c1"]
        expected = pd.date_range("2024-01-06", periods=4, freq="h")
        assert forecast["date"].tolist() == expected.tolist()
        np.testing.assert_array_equal(
            forecast[["c0", "c1"]].to_numpy(), forecaster(model=alone).fit(waves()).predict()
        )

    def test_pandas_with_a_time_index(self):
        frame = hourly(waves()).set_index("date")
        forecast = forecaster().fit(frame).predict()
        assert list(forecast.columns) == ["c0", "c1"]
        assert forecast.index.tolist() == future_hours()

    def test_polars(self):
        frame = pl.from_pandas(hourly(waves()))
        forecast = forecaster().fit(frame).predict()
        assert isinstance(forecast, pl.DataFrame)
        assert forecast.columns == ["date", "c0", "c1"]
        assert forecast["date"].dtype == frame["date"].dtype
        assert str(forecast["date"][-1]) == "2024-01-06 03:00:00"

    def test_a_later_table_starts_where_it_ends(self):
        model = forecaster().fit(hourly(waves()))
        later = hourly(waves()).assign(date=lambda f: f["date"] + pd.Timedelta(days=10))
        forecast = model.predict(later)
        assert forecast["date"].iloc[0] == pd.Timestamp("2024-01-16")

    def test_columns_are_found_by_name_whatever_their_order(self):
        model = forecaster().fit(hourly(waves()))
        mixed = hourly(waves())[["c1", "date", "c0"]].assign(other=1.0)
        forecast = model.predict(mixed)
        pd.testing.assert_frame_equal(forecast, model.predict())

    def test_dates_keep_their_type_after_loading(self, tmp_path):
        days = pl.date_range(date(2024, 1, 1), date(2024, 4, 29), "1d", eager=True)
        frame = pl.DataFrame({"ds": days, "a": waves()[:, 0]})
        model = forecaster().fit(frame)
        loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"))
        assert model.predict()["ds"].to_list()[0] == date(2024, 4, 30)
        assert loaded.predict().schema == model.predict().schema
        assert loaded.predict().equals(model.predict())


class TestWithoutScaling:
    def test_other_channels_are_served(self):
        model = forecaster(scale=False).fit(hourly(waves()))
        other = hourly(waves(60, 5)).rename(columns={"c0": "new"})
        forecast = model.predict(other)
        assert list(forecast.columns) == ["date", "new", "c1", "c2", "c3", "c4"]
        alone = model.predict(other[["date", "c3"]])
        np.testing.assert_allclose(alone["c3"], forecast["c3"], rtol=1e-5)


class TestEvaluate:
    def test_equals_one_forecast_at_a_time(self):
        values = waves(60)
        model = forecaster(input_size=12, batch_size=7, refit=False).fit(values)
        found = model.evaluate(values, first_row=40, end=55)
        forecasts, truths, last = [], [], []
        for t in range(40, 55 - 4 + 1):
            forecasts.append(model.forecast(values[:t]))
            truths.append(values[t : t + 4])
            last.append(np.repeat(values[t - 1 : t], 4, axis=0))
        error = np.stack(forecasts) - np.stack(truths)
        scale = model.scaler_.scale[:, 0]
        scaled = error / scale
        naive = (np.stack(last) - np.stack(truths)) / scale
        assert found.n_windows == 12
        assert found.scores["mse"] == pytest.approx((scaled**2).mean(), rel=1e-4)
        assert found.scores["mae"] == pytest.approx(abs(scaled).mean(), rel=1e-4)
        assert found.naive["mse"] == pytest.approx((naive**2).mean(), rel=1e-4)
        assert found.naive["mae"] == pytest.approx(abs(naive).mean(), rel=1e-4)
        np.testing.assert_allclose(found.mse_per_step, (scaled**2).mean((0, 2)), rtol=1e-4)
        own = np.sqrt((error**2).mean((0, 2)))
        np.testing.assert_allclose(found.rmse_per_step_in_units, own, rtol=1e-4)
        np.testing.assert_allclose(found.mse_per_window, (scaled**2).mean((1, 2)), rtol=1e-4)
        in_units = list(found.mae_per_channel.values())
        np.testing.assert_allclose(in_units, abs(error).mean((0, 1)), rtol=1e-4)
        assert found.starts.tolist() == list(range(28, 40))
        assert model.score(values) == -model.evaluate(values).scores["mse"]

    def test_the_paper_protocol_drops_the_last_incomplete_batch(self):
        values = waves(200)
        honest = forecaster(input_size=12, batch_size=64).fit(values)
        paper = forecaster(input_size=12, batch_size=64, training={"protocol": "paper"}).fit(values)
        first = 200 - 170 - 4 + 1  # 170 windows, as ILI's test split has
        assert honest.evaluate(values, first_row=first).n_windows == 170
        found = paper.evaluate(values, first_row=first)
        assert found.n_windows == 128
        assert len(found.starts) == len(found.mse_per_window) == 128

    @pytest.mark.parametrize("bounds", [(0, 500), (50, 50), (-1, 40), (60, 20), (0, 0)])
    def test_bounds_outside_the_table_are_refused(self, bounds):
        model = forecaster().fit(waves())
        with pytest.raises(DataError, match="first_row and end must be in that order within"):
            model.evaluate(waves(), first_row=bounds[0], end=bounds[1])


class TestPredictRefuses:
    def test_too_few_rows(self):
        model = forecaster(input_size=20).fit(waves())
        with pytest.raises(DataError, match="a context of 20 rows, the table has 19; give at"):
            model.predict(waves(19))

    def test_an_array_of_more_columns_is_refused(self):
        """Only their number tells columns of an array apart; those of a frame have names."""
        x = np.random.default_rng(0).normal(size=(90, 3))
        model = ConvTimeNetForecaster(2, quality="fast", verbose=0).fit(x[:, :2])
        answer = model.predict(x[:, :2])
        for wider in (x, read_table(x)):
            with pytest.raises(DataError, match="the fitted one, 2, found 3; give the same"):
                model.predict(wider)
            with pytest.raises(DataError, match="the fitted one, 2, found 3; give the same"):
                model.evaluate(wider)
        some = ConvTimeNetForecaster(2, quality="fast", target_cols=["0", "1"], verbose=0).fit(x)
        np.testing.assert_array_equal(some.predict(x), answer)
        names = ["a", "b", "c"]
        frame = pd.DataFrame(x, columns=names, index=pd.date_range("2024", periods=90, freq="h"))
        named = ConvTimeNetForecaster(2, quality="fast", verbose=0).fit(frame[["a", "b"]])
        pd.testing.assert_frame_equal(named.predict(frame), named.predict(frame[["a", "b"]]))

    def test_missing_channels(self):
        model = forecaster().fit(hourly(waves()))
        with pytest.raises(DataError, match=r"lacks the channels 'c1'.*it has"):
            model.predict(hourly(waves())[["date", "c0"]])

    def test_another_number_of_channels_for_affine_revin(self):
        settings = TINY | {"revin_affine_channels": 2}
        model = forecaster(scale=False, model=settings).fit(waves())
        assert model.predict(waves(seed=1)).shape == (4, 2)
        with pytest.raises(DataError, match="weights for each of 2 channels, the table has 3"):
            model.predict(waves(C=3))


def test_the_automatic_context_follows_the_length_of_the_table():
    assert forecaster().fit(waves(120)).network_.config.context_length == 58
    table = Table(
        times=np.arange(400),
        values=waves(400),
        channels=("a", "b"),
        time_name="t",
        frequency=Frequency.parse("1"),
    )
    assert forecaster().fit(table).network_.config.context_length == (400 - 4) // 2


SMALL_NET = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}


class TestFilledValues:
    """Filled values are neither scored nor allowed to tell of the future."""

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(5)
        complete = np.cumsum(rng.normal(size=(240, 2)), axis=0)
        gaps = complete.copy()
        gaps[200:206, 0] = np.nan
        gaps[220, 1] = np.inf
        return complete, gaps

    def fitted(self, **network) -> ConvTimeNetForecaster:
        complete, _ = self.table()
        settings = SMALL_NET | network
        return ConvTimeNetForecaster(h=4, input_size=24, n_epochs=1, model=settings).fit(
            complete, split=(140, 180)
        )

    @pytest.mark.parametrize("masks", [False, True])
    def test_scores_are_over_known_values(self, masks):
        """Gaps of a context are filled from it alone, so its targets count without masks too."""
        model = self.fitted(masks=masks)
        _, gaps = self.table()
        table = model.read(gaps)
        assert table.known is not None
        found = model.evaluate(table, first_row=180)
        squared, absolute, n = 0.0, 0.0, 0
        for start in range(180 - 24, 240 - 28 + 1):
            context = table.values[start : start + 24]
            error = (model.forecast(context) - table.values[start + 24 : start + 28]).T
            error = error / model.scaler_.scale
            counts = table.known[start + 24 : start + 28].T
            squared += (error**2)[counts].sum()
            absolute += np.abs(error)[counts].sum()
            n += int(counts.sum())
        assert found.n_values == n < found.n_windows * 2 * 4
        assert found.scores["mse"] == pytest.approx(squared / n, rel=1e-4)
        assert found.scores["mae"] == pytest.approx(absolute / n, rel=1e-4)
        gaps[190:200] = gaps[206:216] = np.nan
        found = model.evaluate(gaps, first_row=180)
        assert len(found.starts) == 57
        # without a value to score: the windows whose targets begin in rows 190 to 196, 206 to 212
        none = [*range(10, 17), *range(26, 33)]
        assert np.flatnonzero(np.isnan(found.mse_per_window)).tolist() == none
        assert found.n_windows == 57 - len(none)

    def test_complete_tables_count_everything(self):
        model = self.fitted()
        complete, _ = self.table()
        found = model.evaluate(complete, first_row=180)
        assert found.n_values == found.n_windows * 2 * 4


@pytest.mark.parametrize("power", [-900, 300])
def test_a_power_of_two_between_units_changes_nothing(power):
    """Not even where squares of the values would be lost."""
    values = waves(60, 1)
    mine, other = (
        ConvTimeNetForecaster(h=4, quality="fast", verbose=0).fit(one).predict()
        for one in (values, np.ldexp(values, power))
    )
    np.testing.assert_array_equal(other, np.ldexp(mine, power))
