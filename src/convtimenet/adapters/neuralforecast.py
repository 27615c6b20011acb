"""The network as a model of neuralforecast (extra ``neuralforecast``).

from neuralforecast import NeuralForecast
from convtimenet.adapters.neuralforecast import ConvTimeNet
forecaster = NeuralForecast(models=[ConvTimeNet(h=24)], freq="h")
forecaster.cross_validation(df)

neuralforecast trains it with its own loop, losses and scaling; only the network is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from convtimenet.config import ModelConfig
from convtimenet.errors import MissingExtraError
from convtimenet.estimators.presets.derived import kernels_for, patch_for
from convtimenet.network.model import ConvTimeNet as Network

try:
    from neuralforecast.common._base_model import BaseModel  # pyright: ignore[reportMissingImports]
    from neuralforecast.losses.pytorch import MAE  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise MissingExtraError(
        "neuralforecast", "neuralforecast", "the neuralforecast model"
    ) from error


class ConvTimeNet(BaseModel):
    """ConvTimeNet under neuralforecast's `BaseModel`: univariate, direct, without covariates.

    All of neuralforecast's losses work: the network outputs as many values per step as the loss has
    parameters, and RevIN's inverse brings point and quantile forecasts back to the series' level.
    With a distribution loss RevIN is off, because distribution parameters have no level; use
    ``scaler_type="standard"`` instead.

    Parameters
    ----------
    h
        Horizon.
    input_size
        Context; by default four horizons, at most 336 steps, but at least two horizons.
    network
        Settings of `convtimenet.ModelConfig`; patches and kernels follow the context by default.
    loss, valid_loss, max_steps, learning_rate, num_lr_decays, early_stop_patience_steps, \
val_check_steps, batch_size, valid_batch_size, windows_batch_size, inference_windows_batch_size, \
start_padding_enabled, step_size, scaler_type, random_seed, drop_last_loader, alias, optimizer, \
optimizer_kwargs, lr_scheduler, lr_scheduler_kwargs, dataloader_kwargs, trainer_kwargs
        As in every neuralforecast model.

    Notes
    -----
    ``NeuralForecast.save`` supports only neuralforecast's own models; save this one with its own
    ``save``.
    """

    EXOGENOUS_FUTR = False
    EXOGENOUS_HIST = False
    EXOGENOUS_STAT = False
    MULTIVARIATE = False
    RECURRENT = False

    def __init__(
        self,
        h: int,
        input_size: int | None = None,
        network: Mapping[str, Any] | None = None,
        stat_exog_list: Any = None,
        hist_exog_list: Any = None,
        futr_exog_list: Any = None,
        exclude_insample_y: bool = False,
        loss: Any = None,
        valid_loss: Any = None,
        max_steps: int = 1000,
        learning_rate: float = 5e-4,
        num_lr_decays: int = -1,
        early_stop_patience_steps: int = -1,
        val_check_steps: int = 100,
        batch_size: int = 32,
        valid_batch_size: int | None = None,
        windows_batch_size: int = 1024,
        inference_windows_batch_size: int = 1024,
        start_padding_enabled: bool = False,
        step_size: int = 1,
        scaler_type: str = "identity",
        random_seed: int = 1,
        drop_last_loader: bool = False,
        alias: str | None = None,
        optimizer: Any = None,
        optimizer_kwargs: Any = None,
        lr_scheduler: Any = None,
        lr_scheduler_kwargs: Any = None,
        dataloader_kwargs: Any = None,
        **trainer_kwargs: Any,
    ):
        if input_size is None:
            input_size = max(2 * h, min(4 * h, 336))
        super().__init__(
            h=h,
            input_size=input_size,
            stat_exog_list=stat_exog_list,
            hist_exog_list=hist_exog_list,
            futr_exog_list=futr_exog_list,
            exclude_insample_y=exclude_insample_y,
            loss=MAE() if loss is None else loss,
            valid_loss=valid_loss,
            max_steps=max_steps,
            learning_rate=learning_rate,
            num_lr_decays=num_lr_decays,
            early_stop_patience_steps=early_stop_patience_steps,
            val_check_steps=val_check_steps,
            batch_size=batch_size,
            valid_batch_size=valid_batch_size,
            windows_batch_size=windows_batch_size,
            inference_windows_batch_size=inference_windows_batch_size,
            start_padding_enabled=start_padding_enabled,
            step_size=step_size,
            scaler_type=scaler_type,
            random_seed=random_seed,
            drop_last_loader=drop_last_loader,
            alias=alias,
            optimizer=optimizer,
            optimizer_kwargs=optimizer_kwargs,
            lr_scheduler=lr_scheduler,
            lr_scheduler_kwargs=lr_scheduler_kwargs,
            dataloader_kwargs=dataloader_kwargs,
            **trainer_kwargs,
        )
        patch, stride = patch_for(self.input_size)
        kernels = kernels_for((self.input_size - patch) // stride + 2)
        settings = {
            "patch_size": patch,
            "patch_stride": stride,
            "kernel_sizes": kernels,
            "revin": not self.loss.is_distribution_output,
            **(network or {}),
        }
        self.network = Network(
            ModelConfig.forecasting(
                context_length=self.input_size,
                horizon=h * self.loss.outputsize_multiplier,
                **settings,
            )
        )

    def forward(self, windows_batch: Mapping[str, Tensor]) -> Tensor:
        """(B, L, 1) of ``insample_y`` to (B, h, values per step). What ``insample_mask`` marks as
        0, such as the padding of a short series, is not read."""
        known = windows_batch["insample_mask"].transpose(1, 2) > 0
        # blocks are faster without a mask
        mask = None if bool(known.all()) else known
        y = self.network(windows_batch["insample_y"].transpose(1, 2), mask)
        return y.view(len(y), self.loss.outputsize_multiplier, self.h).transpose(1, 2)
