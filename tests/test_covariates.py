"""Covariates: what they add, what must be known ahead, and that they help where they matter."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from convtimenet import ConvTimeNet, ConvTimeNetForecaster, ModelConfig, fuse
from convtimenet.batch import Covariates
from convtimenet.data.covariates import CALENDAR, Encoder, usual_calendar
from convtimenet.data.table_rows import crop
from convtimenet.data.tables import read_table
from convtimenet.errors import ConfigError, DataError

DOCS = Path(__file__).resolve().parents[1] / "docs"
TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}


def forecaster(**settings) -> ConvTimeNetForecaster:
    given = {"h": 4, "input_size": 12, "model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0}
    given |= {"refit": False}  # another file is about the second training
    return ConvTimeNetForecaster(**(given | settings))


def shop(T: int = 90, seed: int = 0, name: str | None = None) -> pd.DataFrame:
    """y = a weekly season + 3 promo, with noise of 0.1."""
    rng = np.random.default_rng(seed)
    promo = (rng.random(T) < 0.3).astype(float)
    y = np.sin(2 * np.pi * np.arange(T) / 7) + 3 * promo + rng.normal(scale=0.1, size=T)
    days = pd.date_range("2024-01-01", periods=T, freq="D")
    frame = pd.DataFrame({"ds": days, "y": y, "promo": promo})
    return frame if name is None else frame.assign(unique_id=name)


def shops() -> pd.DataFrame:
    """Three series with numbers and text of every kind, one of them short."""
    kinds = {"a": ("north", 1.0), "b": ("south", 4.0), "c": ("north", 7.0)}
    parts = [
        shop(T, i, name).assign(
            region=region,
            size=size,
            weather=np.where(np.arange(T) % 3 == 0, "wet", "dry"),
            visits=np.arange(T) % 5,
        )
        for i, (T, (name, (region, size))) in enumerate(
            zip((60, 45, 9), kinds.items(), strict=True)
        )
    ]
    return pd.concat(parts, ignore_index=True)


ALL = {
    "hist_exog": ["visits"],
    "futr_exog": ["promo", "weather"],
    "stat_exog": ["region", "size"],
    "calendar": ["dayofweek"],
}


def ahead(frame: pd.DataFrame, steps: int = 4, **columns) -> pd.DataFrame:
    """Rows after the end of every series."""
    parts = []
    for name, one in frame.groupby("unique_id", sort=False):
        days = pd.date_range(one["ds"].iloc[-1], periods=steps + 1, freq="D")[1:]
        parts.append(pd.DataFrame({"unique_id": name, "ds": days, "promo": 0.0, "weather": "dry"}))
    return pd.concat(parts, ignore_index=True).assign(**columns)


class TestTheyHelp:
    def test_a_known_effect_is_recovered(self):
        """y = season + 3 promo: without promo its variance, 9 x 0.3 x 0.7 = 1.9, stays; with it
        little more than the noise, and a promotion more moves the forecast of that day by 3."""
        frame = shop(500)
        settings = {"h": 7, "input_size": 28, "n_epochs": 12, "lr": 3e-3, "batch_size": 16}
        wide = {"model": {"d_model": 32, "d_ff": 64, "kernel_sizes": (3, 5), "dropout": 0.0}}
        settings |= wide | {"scale": False, "target_cols": ["y"]}
        with_promo = forecaster(futr_exog=["promo"], **settings).fit(frame, split=(350, 400))
        without = forecaster(**settings).fit(frame, split=(350, 400))
        ours = with_promo.evaluate(frame, first_row=400).scores["mse"]
        theirs = without.evaluate(frame, first_row=400).scores["mse"]
        assert theirs > 1.5
        assert ours < 0.5
        days = pd.date_range(frame["ds"].iloc[-1], periods=8, freq="D")[1:]
        none = pd.DataFrame({"ds": days, "promo": 0.0})
        some = none.assign(promo=[0, 0, 0, 1, 0, 0, 0])
        change = with_promo.predict(future=some)["y"] - with_promo.predict(future=none)["y"]
        assert change[3] == pytest.approx(3, abs=0.8)
        assert change.drop(3).abs().max() < 0.8


class TestNetwork:
    def config(self, **counts) -> ModelConfig:
        return ModelConfig.forecasting(
            context_length=20, horizon=6, patch_size=4, patch_stride=2, **TINY, **counts
        )

    def test_without_covariates_it_is_the_papers(self):
        torch.manual_seed(0)
        plain = ConvTimeNet(self.config()).eval()
        torch.manual_seed(0)
        other = ConvTimeNet(self.config(hist_exog=2, stat_exog=1)).eval()
        assert plain.covariates is None
        assert not any("covariates" in name for name in plain.state_dict())
        for name, value in plain.state_dict().items():
            assert torch.equal(value, other.state_dict()[name])
        x = torch.randn(3, 2, 20)
        none = Covariates(hist=torch.zeros(3, 2, 20), stat=torch.zeros(3, 1))
        assert other.covariates is not None
        with torch.no_grad():
            for layer in (other.covariates.hist, other.covariates.stat):
                assert layer is not None
                layer.bias.zero_()
        torch.testing.assert_close(other(x, None, none), plain(x))

    def test_equals_a_plain_twin(self):
        """Patches cut in a loop, projected and added; the blocks and the head are the network's."""
        config = self.config(hist_exog=2, futr_exog=3, stat_exog=2, stat_categories=(4, 2))
        assert (config.n_patches, config.n_tokens) == (10, 13)
        torch.manual_seed(1)
        network = ConvTimeNet(config).eval()
        B, C = 3, 2
        x = torch.randn(B, C, 20)
        hist, futr, stat = torch.randn(B, 2, 20), torch.randn(B, 3, 26), torch.randn(B, 2)
        categories = torch.tensor([[1, 2], [0, 0], [4, 1]])
        given = Covariates(hist, futr, stat, categories)
        assert network.revin is not None
        normal, statistics = network.revin(x)
        u = network.embedding(network.rows(normal))
        made = network.covariates
        assert made is not None
        assert made.hist is not None
        assert made.futr is not None
        assert made.stat is not None
        tables = [table for table in made.tables if isinstance(table, torch.nn.Embedding)]
        assert len(tables) == 2
        tokens = torch.zeros(8, B * C, 13)
        for b in range(B):
            for c in range(C):
                for i in range(13):
                    token = u[:, b * C + c, i] if i < 10 else torch.zeros(8)
                    reach = [min(i * 2 + p, 19) for p in range(4)]
                    if i < 10:
                        token = token + made.hist(hist[b][:, reach].flatten())
                    reach = [min(i * 2 + p, 25) for p in range(4)]
                    token = token + made.futr(futr[b][:, reach].flatten())
                    token = token + made.stat(stat[b])
                    for k, table in enumerate(tables):
                        token = token + table.weight[categories[b, k]]
                    tokens[:, b * C + c, i] = token
        w = network.blocks[1](network.blocks[0](tokens))
        expected = network.revin.inverse(network.head(w).view(B, C, 6), statistics)
        torch.testing.assert_close(network(x, None, given), expected)
        torch.testing.assert_close(fuse(network)(x, None, given), expected, atol=1e-5, rtol=1e-4)

    def test_no_channel_reads_another_and_every_covariate_is_read(self):
        config = self.config(hist_exog=1, futr_exog=1, stat_exog=1, stat_categories=(3,))
        network = ConvTimeNet(config).eval()
        x = torch.randn(2, 3, 20)
        parts = (
            torch.randn(2, 1, 20),
            torch.randn(2, 1, 26),
            torch.randn(2, 1),
            torch.tensor([[1], [2]]),
        )
        given = Covariates(*parts)
        before = network(x, None, given)
        changed = x.clone()
        changed[:, 1] += torch.randn(2, 20)
        after = network(changed, None, given)
        assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
        for i, part in enumerate(parts):
            other = [*parts]
            other[i] = part + 1 if part.dtype != torch.int64 else torch.tensor([[3], [2]])
            moved = (network(x, None, Covariates(*other)) - before).abs().amax((1, 2))
            assert moved[0] > 1e-6
            assert (moved[1] > 1e-6) == (i != 3)  # its category stayed

    def test_an_unknown_category_adds_nothing_also_after_training(self):
        network = ConvTimeNet(self.config(stat_categories=(3,)))
        x = torch.randn(8, 1, 20)
        numbers = torch.arange(8)[:, None] % 4
        network(x, None, Covariates(categories=numbers)).square().sum().backward()
        assert network.covariates is not None
        embedding = network.covariates.tables[0]
        assert isinstance(embedding, torch.nn.Embedding)
        gradient = embedding.weight.grad
        assert gradient is not None
        assert embedding.weight[0].eq(0).all()
        assert gradient[0].eq(0).all()
        assert gradient[1:].abs().amax() > 0

    def test_masked_tokens_stay_out(self):
        network = ConvTimeNet(self.config(hist_exog=1, futr_exog=1)).eval()
        x, given = torch.randn(2, 1, 20), Covariates(torch.randn(2, 1, 20), torch.randn(2, 1, 26))
        known = torch.ones(2, 1, 20, dtype=torch.bool)
        complete = network(x, known, given)
        torch.testing.assert_close(complete, network(x, None, given), atol=1e-5, rtol=1e-4)
        known[..., :8] = False
        wild = torch.where(known, x, 1e6)
        torch.testing.assert_close(network(wild, known, given), network(x, known, given))

    def test_classification_has_none(self):
        with pytest.raises(ConfigError, match=r"0 and empty .* 'classify', found \(1, 0"):
            ModelConfig.classification(channels=1, context_length=9, n_classes=2, hist_exog=1)


class TestEncoder:
    def test_numbers_are_standardised_by_the_training_rows_and_missing_ones_their_mean(self):
        frame = shop(20).assign(x=np.arange(20.0))
        frame.loc[3, "x"] = np.nan
        table = read_table(frame, target_cols=["y"], covariates=["x"])
        encoder = Encoder.fit(table, ["x"], [], [], [])
        known = frame["x"].dropna().to_numpy()
        rows, none = encoder.rows(table)
        assert none.shape == (0, 20)
        expected = (np.arange(20.0) - known.mean()) / known.std()
        expected[3] = 0
        np.testing.assert_allclose(rows[0], expected)
        assert encoder.notices(table) == [
            "covariate 'x': 1 values missing, replaced by the mean in training"
        ]

    @pytest.mark.parametrize("role", ["hist_exog", "futr_exog"])
    @pytest.mark.parametrize("large", [1e200, -1.7e308])
    def test_numbers_whose_squares_overflow_are_refused(self, large, role):
        frame = shop()
        frame.loc[[3, 4], "promo"] = large
        told = rf"'promo': values as large as {abs(large):.3g}.* cannot be scaled.*leave them empty"
        with pytest.raises(DataError, match=told.replace("+", r"\+")):
            forecaster(target_cols=["y"], **{role: ["promo"]}).fit(frame)

    def test_numbers_that_are_lost_beside_far_larger_ones_are_told_of(self):
        def notices(values: Any) -> list[str]:
            frame = shop(len(values)).assign(x=values)
            table = read_table(frame, target_cols=["y"], covariates=["x"])
            return Encoder.fit(table, ["x"], [], [], []).notices(table)

        usual = np.arange(300) % 3.0
        far = usual.copy()
        far[7] = 1e20
        (told,) = notices(far)
        assert told.startswith("covariate 'x': the network cannot tell its usual values apart, as")
        far[7] = np.nan  # the remedy
        assert notices(far) == ["covariate 'x': 1 values missing, replaced by the mean in training"]
        far[7] = 1e4
        for kept in (far, usual, usual + 1e12, 1e-9 * usual, np.eye(300)[7] * 1e20):
            assert notices(kept) == []

    def test_what_did_not_vary_in_training_changes_nothing(self):
        frame = shop(40).assign(x=3.3)
        table = read_table(frame, target_cols=["y"], covariates=["x"])
        encoder = Encoder.fit(table, [], ["x"], [], [])
        assert encoder.notices(table) == ["covariate 'x' is 3.3 in all rows, which tells nothing"]
        changed = replace(table, covariates={"x": np.full(40, 1e6)})
        assert np.abs(encoder.rows(changed)[1]).max() < 1e-20
        again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
        assert again == encoder
        assert again.unlike({"x": np.array([3.3, 3.3 + 1e-9, np.nan])}) == []
        assert again.unlike({"x": np.array([[3.3, 4.0], [2.0, np.nan]]), "z": np.ones(3)}) == [
            "covariate 'x': 2 values are not 3.3, which all of training were; what they change is "
            "not known, and they change nothing"
        ]

    def test_what_varies_only_behind_the_training_rows_is_learnt_from_all(self):
        x = np.repeat([0.0, 1.0], [30, 10])
        table = read_table(shop(40).assign(x=x), target_cols=["y"], covariates=["x"])
        (alone,) = Encoder.fit(crop(table, 0, 30), [], ["x"], [], []).futr
        (column,) = Encoder.fit(crop(table, 0, 30), [], ["x"], [], [], table).futr
        assert alone.constant
        assert (column.low, column.high, column.centre, column.scale) == (0, 1, x.mean(), x.std())

    def test_far_values_are_told(self):
        x = np.arange(40.0)
        table = read_table(shop(40).assign(x=x), target_cols=["y"], covariates=["x"])
        encoder = Encoder.fit(table, [], ["x"], [], [])
        assert encoder.unlike({"x": np.array([-97.0, 136.0])}) == []
        assert encoder.unlike({"x": np.array([-98.0, 5.0, np.nan, 3900.0])}) == [
            "covariate 'x': 2 values are far from those of training, such as 3900 where they were "
            "0 to 39: forecasts may be wrong, check the units"
        ]
        (column,) = encoder.futr
        older = replace(encoder, futr=(replace(column, low=None, high=None),))
        assert older.unlike({"x": np.array([1e9])}) == []

    def test_texts_that_vary_are_columns_and_statics_are_numbers(self):
        table = read_table(shops(), target_cols=["y"], covariates=["weather", "region", "size"])
        encoder = Encoder.fit(table, [], ["weather"], ["region", "size"], [])
        assert encoder.sizes == {
            "hist_exog": 0, "futr_exog": 2, "stat_exog": 1, "stat_categories": (2,)
        }  # fmt: skip
        _, rows = encoder.rows(table)
        wet = (shops()["weather"] == "wet").to_numpy()
        np.testing.assert_array_equal(rows, [~wet, wet])
        numbers, categories = encoder.statics(table)
        assert categories.tolist() == [[1], [2], [1]]
        np.testing.assert_allclose(
            numbers[:, 0], (np.array([1, 4, 7]) - SIZES.mean()) / SIZES.std()
        )
        new = read_table(
            shops().assign(region="west", weather="snow"),
            target_cols=["y"], covariates=["weather", "region", "size"],
        )  # fmt: skip
        assert encoder.statics(new)[1].tolist() == [[0], [0], [0]]
        assert (encoder.rows(new)[1] == 0).all()
        assert Encoder.from_dict(encoder.to_dict()) == encoder

    def test_a_static_that_varies_is_refused(self):
        frame = shops()
        frame.loc[50, "size"] = 9.0
        with pytest.raises(DataError, match=r"'size' varies within the series 'a'.*one value"):
            forecaster(stat_exog=["size"], target_cols=["y"]).fit(frame)

    @pytest.mark.parametrize("name", [*CALENDAR])
    def test_calendar_features_go_round_in_their_period(self, name):
        steps = {"minute": "10min", "hour": "h", "dayofweek": "D", "dayofmonth": "D"}
        stamps = pd.date_range("2024-01-01", periods=800, freq=steps.get(name, "D"))
        table = read_table(pd.DataFrame({"ds": stamps, "y": 0.0}))
        _, rows = Encoder.fit(table, [], [], [], [name]).rows(table)
        np.testing.assert_allclose((rows**2).sum(0), 1)
        of = {
            "minute": stamps.minute / 60, "hour": stamps.hour / 24,
            "dayofmonth": (stamps.day - 1) / 31, "month": (stamps.month - 1) / 12,
            "dayofyear": (stamps.day_of_year - 1) / 365.2425,
            "dayofweek": (stamps.day_of_week - 4) / 7,
        }[name]  # fmt: skip
        turn = np.exp(2j * np.pi * of.to_numpy())
        found = rows[1] + 1j * rows[0]
        np.testing.assert_allclose(found, turn * found[0] / turn[0], atol=1e-9)

    def test_the_usual_calendar_follows_the_step(self):
        def usual(freq: str) -> tuple[str, ...]:
            days = pd.date_range("2024-01-01", periods=9, freq=freq)
            return usual_calendar(read_table(pd.DataFrame({"ds": days, "y": 0.0})))

        assert usual("15min") == ("hour", "dayofweek", "month")
        assert usual("D") == usual("B") == ("dayofweek", "dayofmonth", "month")
        assert usual("MS") == ("month",)

    def test_mistakes(self):
        with pytest.raises(ConfigError, match="calendar must hold names of minute, hour"):
            forecaster(calendar=["weekday"]).fit(shop())
        with pytest.raises(ConfigError, match="calendar features need dates"):
            forecaster(calendar=["hour"]).fit(np.zeros(50))
        with pytest.raises(DataError, match="no column 'promos'; did you mean 'promo'"):
            forecaster(futr_exog=["promos"]).fit(shop())
        with pytest.raises(DataError, match="target_cols: 'promo' is the covariate"):
            forecaster(futr_exog=["promo"], target_cols=["promo"]).fit(shop())
        texts = shop(300).assign(note=lambda f: f["ds"].astype(str) + "x")
        with pytest.raises(DataError, match="'note' has 240 categories, expected at most 100"):
            forecaster(hist_exog=["note"]).fit(texts)


SIZES = np.repeat([1.0, 4.0, 7.0], [60, 45, 9])


class TestFuture:
    def test_forecasts_come_back_in_the_tables_form(self):
        frame = shops()
        alone = {**cast(dict, forecaster().model), "linear": False}
        model = forecaster(**ALL, target_cols=["y"], model=alone).fit(frame)
        config = model.network_.config
        assert (config.hist_exog, config.futr_exog, config.stat_exog) == (1, 5, 1)
        found = model.predict(future=ahead(frame))
        assert list(found.columns) == ["unique_id", "ds", "ConvTimeNet"]
        assert found["unique_id"].tolist() == ["a"] * 4 + ["b"] * 4 + ["c"] * 4
        mixed = ahead(frame, 9).sample(frac=1, random_state=1)
        pd.testing.assert_frame_equal(model.predict(frame, mixed), found)
        pd.testing.assert_frame_equal(
            model.predict(frame, ahead(frame), h=2),
            found[found.index % 4 < 2].reset_index(drop=True),
        )
        polars = model.predict(pl.from_pandas(frame), pl.from_pandas(ahead(frame)))
        np.testing.assert_array_equal(polars["ConvTimeNet"], found["ConvTimeNet"])
        other = model.predict(future=ahead(frame, promo=1.0))["ConvTimeNet"]
        assert (other - found["ConvTimeNet"]).abs().min() > 0

    def test_windows_read_what_the_rows_of_the_horizon_will_say(self):
        """A forecast from the cut table with the rest as future equals the window's."""
        frame = shops()
        model = forecaster(refit=False, **ALL, target_cols=["y"]).fit(frame)
        table = read_table(frame)
        scored = model.evaluate(frame, first_row=table.lengths - 4)
        late = frame.groupby("unique_id").cumcount(ascending=False) < 4
        found = model.predict(frame[~late], frame[late].drop(columns="y"))
        truth = frame.loc[late, "y"].to_numpy()
        errors = (found["ConvTimeNet"].to_numpy() - truth).reshape(3, 4)
        expected = np.square(errors[:2] / model.scaler_.scale[:2, :, 0]).mean(1)
        np.testing.assert_allclose(scored.mse_per_window[:2], expected, rtol=1e-4)

    def test_backtests_read_what_was_known_ahead(self):
        """One window: the forecast from the cut table with the rest as future, and its interval."""
        frame = shops()[lambda f: f["unique_id"] != "c"].reset_index(drop=True)
        model = forecaster(**ALL, target_cols=["y"])
        found = model.cross_validation(frame, level=[50], season=1)
        late = frame.groupby("unique_id").cumcount(ascending=False) < 4
        model.fit(frame[~late])
        expected = model.predict(future=frame.loc[late].drop(columns="y"), level=[50])
        for name in ("ConvTimeNet", "ConvTimeNet-lo-50", "ConvTimeNet-hi-50"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)

    def test_saved_and_loaded(self, tmp_path):
        frame = shops()
        model = forecaster(**ALL, target_cols=["y"]).fit(frame)
        loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        assert loaded.covariates_ == model.covariates_
        for given in (ahead(frame), ahead(frame, weather="wet", promo=1.0)):
            expected = model.predict(future=given)
            pd.testing.assert_frame_equal(loaded.predict(future=given), expected)

    def test_longer_horizons_read_covariates_further_ahead(self):
        frame = shops()
        model = forecaster(**ALL, target_cols=["y"]).fit(frame)
        long = model.predict(future=ahead(frame, 8), h=7)
        assert long["rolled"].tolist() == ([False] * 4 + [True] * 3) * 3
        first = model.predict(future=ahead(frame))
        np.testing.assert_allclose(
            long["ConvTimeNet"][~long["rolled"]], first["ConvTimeNet"], rtol=1e-6
        )
        with pytest.raises(DataError, match="needed for 7 steps ahead; the first missing is at"):
            model.predict(future=ahead(frame, 6), h=7)

    def test_past_ones_missing_in_the_rows_that_are_read_are_told_of(self, caplog):
        frame = shop(60).assign(visits=np.arange(60) % 5.0, weather="dry")
        model = forecaster(hist_exog=["visits", "weather"], target_cols=["y"]).fit(frame)

        def told(call: Any) -> list[str]:
            caplog.clear()
            call()
            return [one.getMessage() for one in caplog.records if "'visits'" in one.getMessage()]

        gone = frame.assign(visits=np.nan)
        mean = "replaced by the mean in training"
        assert told(lambda: model.predict(frame)) == []
        whole = [f"covariate 'visits': all 12 values missing, {mean}"]
        assert told(lambda: model.predict(gone)) == whole
        gone.loc[50:, "visits"] = 1.0
        assert told(lambda: model.predict(gone)) == [
            f"covariate 'visits': 2 values missing, {mean}"
        ]
        scored = {"first_row": 60 - 4, "end": 60}
        assert told(lambda: model.evaluate(gone, **scored)) == [
            f"covariate 'visits': 6 values missing, {mean}"
        ]
        (rolled,) = told(lambda: model.predict(frame, h=7))
        assert "steps 5 to 7 read 'visits', 'weather' there" in rolled

    @pytest.mark.parametrize("settings", [{}, {"quality": "fast"}])
    def test_a_plan_unlike_training_is_told_of(self, caplog, settings):
        frame = shop(90, name="a").assign(promo=0.0)
        kind = forecaster if not settings else partial(ConvTimeNetForecaster, 4, verbose=0)
        model = kind(futr_exog=["promo"], target_cols=["y"], **settings).fit(frame)
        told = "covariate 'promo' is 0 in all rows, which tells nothing"
        assert told in model.notices_
        usual = model.predict(future=ahead(frame, promo=0.0))
        caplog.clear()
        found = model.predict(future=ahead(frame, promo=100.0))
        (said,) = [one.getMessage() for one in caplog.records]
        assert said.startswith("covariate 'promo': 4 values are not 0, which all of training were")
        pd.testing.assert_frame_equal(found, usual)

    def test_what_is_missing_is_named(self):
        frame = shops()
        model = forecaster(**ALL, target_cols=["y"]).fit(frame)
        with pytest.raises(
            DataError,
            match=r"future values of 'promo', 'weather' are needed for 4 steps ahead; the first "
            r"missing is at 2024-03-01T00:00:00 in the series 'a', 12 rows.*predict\(future=",
        ):
            model.predict()
        given = ahead(frame)
        given.loc[6, "promo"] = np.nan
        with pytest.raises(
            DataError, match=r"of 'promo' are.*2024-02-17T00:00:00 in the series 'b', 1"
        ):
            model.predict(future=given)
        with pytest.raises(DataError, match="2024-01-10T00:00:00 in the series 'c', 4 rows"):
            model.predict(future=ahead(frame)[lambda f: f["unique_id"] != "c"])
        with pytest.raises(DataError, match="covariates: there is no column 'weather'"):
            model.predict(future=ahead(frame).drop(columns="weather"))
        with pytest.raises(DataError, match="expected numbers as in training, found 'yes'"):
            model.predict(future=ahead(frame, promo="yes"))
        with pytest.raises(ConfigError, match="the model has no futr_exog; leave it out"):
            forecaster().fit(shop()).predict(future=shop())

    def test_wide_tables_and_files(self, tmp_path):
        frame = shop(80)
        model = forecaster(futr_exog=["promo"]).fit(frame)
        assert model.channels_ == ("y",)
        future = pd.DataFrame({"ds": pd.date_range("2024-03-21", periods=4), "promo": 1.0})
        found = model.predict(future=future)
        assert found["ds"].tolist() == future["ds"].tolist()
        frame.to_csv(tmp_path / "x.csv", index=False)
        future.to_csv(tmp_path / "f.csv", index=False)
        table = model.predict(tmp_path / "x.csv", tmp_path / "f.csv")
        np.testing.assert_array_equal(table.values[:, 0], found["y"])
        with pytest.raises(DataError, match=r"first missing is at 2024-03-23T00:00:00, 2 rows"):
            model.predict(future=future.head(2))
        with pytest.raises(DataError, match="which forecast does not take; use predict"):
            model.forecast(frame[["y"]].to_numpy())

    def test_calendars_need_nothing_from_the_user(self):
        model = forecaster(calendar=True).fit(shop(80)[["ds", "y"]])
        assert model.covariates_.calendar == ("dayofweek", "dayofmonth", "month")
        assert len(model.predict(h=9)) == 9


class TestPage:
    """docs/covariates.md shows what the committed runs gave."""

    def rows(self) -> set[str]:
        return set((DOCS / "covariates.md").read_text(encoding="utf-8").splitlines())

    def runs(self, name: str) -> list[dict[str, Any]]:
        return json.loads((DOCS / "results" / "variants" / name).read_text())["runs"]

    def test_of_the_network(self):
        of: dict[tuple[str, str], list[list[float]]] = {}
        for run in self.runs("covariates.json"):
            scores = [run[name] for name in ("valid_mse", "mse", "mae")]
            of.setdefault((run["case"], run["variant"]), []).append(scores)
        assert len(of) == 17
        for names, scores in of.items():
            assert len(scores) == 3
            cells = [
                f"{mean:.4f} ± {spread:.4f}"
                for mean, spread in zip(np.mean(scores, 0), np.std(scores, 0, ddof=1), strict=True)
            ]
            assert f"| {' | '.join([*names, *cells])} |" in self.rows()

    def test_of_the_closed_form(self):
        of: dict[tuple[str, str], list[list[float]]] = {}
        for run in self.runs("covariates_fast.json"):
            scores = [run[name] for name in ("valid_mse", "mse", "mae")]
            of.setdefault((run["case"], run["variant"]), []).append(scores)
        assert len(of) == 13
        for names, scores in of.items():
            cells = [f"{mean:.4f}" for mean in np.mean(scores, 0)]
            assert f"| {' | '.join([*names, *cells])} |" in self.rows()

    def test_of_the_ridge_regressions(self):
        runs = self.runs("covariates_linear.json")
        assert len(runs) == 12
        for run in runs:
            ahead = run["futr_exog"]
            name = "none" if not ahead else ahead[0] if len(ahead) == 1 else "loads"
            cells = [f"{run[score]:.4f}" for score in ("valid_mse", "mse", "mae")]
            assert f"| {' | '.join([run['case'], name, *cells])} |" in self.rows()
