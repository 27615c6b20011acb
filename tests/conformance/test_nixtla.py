"""Backtests and models in Nixtla's libraries, as their users call them."""

# pyright: reportMissingImports=false
from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from convtimenet import ConvTimeNetForecaster, scores

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("default"),  # theirs
]
SMALL: dict[str, Any] = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}


def panel(T: int = 120, S: int = 3) -> pd.DataFrame:
    steps = np.arange(T)
    noise = np.random.default_rng(0).normal(size=(S, T))
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "unique_id": f"s{i}",
                    "ds": pd.date_range("2024-01-01", periods=T, freq="h"),
                    "y": 10 * i + (1 + i) * np.sin(steps * np.pi / 6) + 0.1 * noise[i],
                }
            )
            for i in range(S)
        ],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    pytest.importorskip("utilsforecast", reason="needs utilsforecast; run by `make conformance`")
    model = ConvTimeNetForecaster(
        h=6, input_size=24, n_epochs=2, device="cpu", verbose=0, model=SMALL
    )
    return model.cross_validation(panel(), n_windows=3, step_size=4, level=[50, 80])


class TestUtilsforecast:
    def test_evaluate_takes_a_backtest_unchanged(self, found):
        from utilsforecast import losses
        from utilsforecast.evaluation import evaluate

        metrics = [losses.mse, losses.mae, losses.rmse, losses.smape]
        table = evaluate(found.drop(columns="cutoff"), metrics=metrics)
        assert {"ConvTimeNet", "SeasonalNaive"} <= set(table.columns)
        for model in ("ConvTimeNet", "SeasonalNaive"):
            for (series, metric), row in table.set_index(["unique_id", "metric"]).iterrows():
                one = found[found["unique_id"] == series]
                ours = getattr(scores, metric)(one["y"], one[model])
                assert row[model] == pytest.approx(ours), (series, metric)

    def test_with_cutoffs_levels_and_training_data(self, found):
        from utilsforecast import losses
        from utilsforecast.evaluation import evaluate

        frame = panel()
        train = frame[frame["ds"] <= found["cutoff"].min()]
        metrics = [partial(losses.mase, seasonality=24), losses.coverage]
        table = evaluate(found, metrics=metrics, train_df=train, level=[50, 80])
        by = table.set_index(["unique_id", "cutoff", "metric"])
        for model in ("ConvTimeNet", "SeasonalNaive"):
            for (series, cutoff), one in found.groupby(["unique_id", "cutoff"]):
                history = train.loc[train["unique_id"] == series, "y"]
                ours = scores.mase(one["y"], one[model], history, 24)
                assert by.loc[(series, cutoff, "mase"), model] == pytest.approx(ours)
                for level in (50, 80):
                    bounds = (one[f"{model}-{side}-{level}"] for side in ("lo", "hi"))
                    theirs = by.loc[(series, cutoff, f"coverage_level{level}"), model]
                    assert theirs == pytest.approx(scores.coverage(one["y"], *bounds))

    def test_pinball_is_theirs(self, found):
        from utilsforecast.losses import quantile_loss

        plain = found.drop(columns="cutoff")  # they score each cut-off by itself otherwise
        theirs = quantile_loss(plain, models={"m": "ConvTimeNet-lo-80"}, q=0.1)
        for _, row in theirs.iterrows():
            one = found[found["unique_id"] == row["unique_id"]]
            ours = scores.pinball(one["y"], one["ConvTimeNet-lo-80"], 0.1)
            assert row["m"] == pytest.approx(ours)


class TestNeuralForecast:
    def test_the_padding_of_a_short_series_is_not_read(self, tmp_path, monkeypatch):
        pytest.importorskip(
            "neuralforecast", reason="needs the extra 'neuralforecast'; run by `make conformance`"
        )
        from neuralforecast import NeuralForecast

        from convtimenet.adapters.neuralforecast import ConvTimeNet

        monkeypatch.chdir(tmp_path)
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        model = ConvTimeNet(
            h=6,
            input_size=24,
            network=SMALL,
            max_steps=1,
            start_padding_enabled=True,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        )
        frame = panel(60)
        frame["y"] += 1000
        short = frame["unique_id"].eq("s2") & frame["ds"].lt(frame["ds"].min() + pd.Timedelta("2D"))
        forecaster = NeuralForecast(models=[model], freq="h")
        forecaster.fit(frame[~short])
        found = forecaster.predict()
        assert found["ConvTimeNet"].sub(1010).abs().max() < 30  # zeros among them gave half

    @pytest.mark.parametrize("kind", ["point", "quantiles", "distribution"])
    def test_cross_validation(self, kind, tmp_path, monkeypatch):
        pytest.importorskip(
            "neuralforecast", reason="needs the extra 'neuralforecast'; run by `make conformance`"
        )
        from neuralforecast import NeuralForecast
        from neuralforecast.losses.pytorch import MAE, DistributionLoss, MQLoss

        from convtimenet.adapters.neuralforecast import ConvTimeNet

        monkeypatch.chdir(tmp_path)
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        loss = {
            "point": MAE(),
            "quantiles": MQLoss(level=[80]),
            "distribution": DistributionLoss("Normal", level=[80]),
        }[kind]
        model = ConvTimeNet(
            h=6,
            input_size=24,
            network=SMALL,
            loss=loss,
            max_steps=60,
            learning_rate=5e-3,
            scaler_type="standard" if kind == "distribution" else "identity",
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        )
        frame = panel()
        found = NeuralForecast(models=[model], freq="h").cross_validation(frame, n_windows=2)
        assert len(found) == 2 * 3 * 6
        name = "ConvTimeNet-median" if kind == "quantiles" else "ConvTimeNet"
        assert {"unique_id", "ds", "cutoff", "y", name} <= set(found.columns)
        error = (found[name] - found["y"]).abs().mean()
        spread = (found["y"] - found.groupby("unique_id")["y"].transform("mean")).abs().mean()
        assert error < 0.6 * spread
        if kind != "point":
            assert (found["ConvTimeNet-lo-80"] <= found["ConvTimeNet-hi-80"]).all()
