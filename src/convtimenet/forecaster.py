"""`ConvTimeNetForecaster`: tables in, forecasts out in the data's own units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from convtimenet.base import ConvTimeNetEstimator
from convtimenet.config import ModelConfig
from convtimenet.errors import ConfigError, DataError
from convtimenet.frequency import Frequency
from convtimenet.intervals import (
    DEFAULT_LEVELS,
    Bands,
    Calibration,
    IntervalSums,
    calibrate,
    check_levels,
    column,
    context_scale,
)
from convtimenet.metrics import ForecastEvaluation, ForecastSums, outputs
from convtimenet.presets import Preset, auto_forecast, paper_preset
from convtimenet.tables import Origin, Table, future_frame, read_table, select_channels
from convtimenet.training import autocast, resolve_device
from convtimenet.windows import Scaler, Windows


class ConvTimeNetForecaster(ConvTimeNetEstimator):
    """Forecast every channel of a table with one ConvTimeNet.

    Parameters
    ----------
    h
        Horizon: steps to forecast.
    input_size
        Context: steps the network reads. By default the preset's: 336, less for short tables.
    preset
        "auto" derives patches, kernels and batch size from the data; a data set's name such as
        "ETTh1" takes the paper's hyper-parameters for it.
    scale
        Standardise each channel with the training part's statistics. Without it the fitted model
        forecasts tables with any number and names of channels.
    time_col, target_cols, freq
        Which column holds the time, which are to be forecast, and the step, where they cannot be
        found from the table (see `convtimenet.tables.read_table`).
    model
        Settings of `ModelConfig` that replace the preset's.
    training
        Settings of `TrainConfig` that replace the preset's.
    n_epochs, batch_size, lr, time_limit
        The most used of them; None takes the preset's.
    precision
        "fp32" or "bf16".
    device
        "auto" or a torch device.
    random_state
        Seed of weights, batch order and dropout.
    verbose
        1 shows progress on a terminal, 0 is silent.

    Attributes
    ----------
    channels_
        Channel names, in order.
    calibration_
        What intervals are made from; None where no rows were held back for it.
    network_, fused_, history_, scaler_, train_config_, notices_
        See `ConvTimeNetEstimator`.

    Examples
    --------
    >>> import numpy as np
    >>> from convtimenet import ConvTimeNetForecaster
    >>> waves = np.sin(np.arange(300)[:, None] / np.array([3.0, 5.0]))
    >>> model = ConvTimeNetForecaster(h=12, n_epochs=1).fit(waves)
    >>> model.predict().shape
    (12, 2)
    """

    channels_: tuple[str, ...]
    tail_: Table
    """The last rows of the training table, from which `predict` without data starts."""
    calibration_: Calibration | None

    def __init__(
        self,
        h: int = 96,
        input_size: int | None = None,
        *,
        preset: str = "auto",
        scale: bool = True,
        time_col: str | None = None,
        target_cols: Sequence[str] | None = None,
        freq: str | None = None,
        model: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        n_epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        time_limit: float | None = None,
        precision: str = "fp32",
        device: str = "auto",
        random_state: int = 2023,
        verbose: int = 1,
    ):
        self.h = h
        self.input_size = input_size
        self.preset = preset
        self.scale = scale
        self.time_col = time_col
        self.target_cols = target_cols
        self.freq = freq
        self.model = model
        self.training = training
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.time_limit = time_limit
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: None = None, *, split: tuple[int, int] | None = None) -> Self:
        """Train on a table.

        Parameters
        ----------
        X
            What `convtimenet.tables.read_table` takes: a CSV or Parquet path, a pandas, polars or
            pyarrow frame, a numpy array (T,) or (T, C); or a `Table`.
        y
            Ignored; for scikit-learn.
        split
            Rows (train_end, valid_end): rows before the first train, those up to the second choose
            the epoch, later ones are not looked at. By default the last fifth chooses.

        Raises
        ------
        DataError
            If the table cannot be used or is too short for one window.
        ConfigError
            If a setting is out of range.
        """
        _check_steps("h, the horizon,", self.h)
        if self.input_size is not None:
            _check_steps("input_size, the context,", self.input_size)
        table = self.read(X)
        T = len(table.times)
        bounds = (T, T) if split is None else tuple(split)
        if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] <= T:
            raise DataError(
                f"split must be rows (train_end, valid_end) in that order within the table's {T}, "
                f"found {split}"
            )
        train_end, valid_end = bounds
        preset = self.preset_for(train_end)
        config = self._model_config(preset, len(table.channels))
        train_config = self._train_config(preset.train)
        device = resolve_device(train_config.device)
        L, H = config.context_length, config.outputs
        notices = list(table.notices)
        if split is None:
            held_back = max(H, round(train_config.validation_fraction * T))
            if train_config.validation_fraction == 0:
                train_end = T
            elif T - held_back >= L + H:
                train_end = T - held_back
            else:
                notices.append(
                    f"{T} rows are too few to hold some back: training runs all its epochs"
                )
        values = table.values.T
        scaler = Scaler.standard(values[:, :train_end]) if self.scale else Scaler.identity()
        scaled = torch.from_numpy(scaler.apply(values)).float().to(device)
        examples = Windows.between(scaled, L, H, 0, train_end)
        valid = None
        if valid_end > train_end:
            valid = Windows.between(scaled, L, H, train_end, valid_end)
        everything = Windows.between(scaled, L, H, 0, valid_end) if valid is not None else None
        self._fit_network(config, train_config, examples, valid, everything, device, notices)
        self.scaler_, self.channels_ = scaler, table.channels
        self.tail_ = _rows(table, T - L, T)
        self.calibration_ = None
        if valid is not None and not self.history_.refitted:
            self.calibration_ = self._calibrate(valid, table, device)
        return self

    def calibrate(self, X: Any, *, first_row: int | None = None, end: int | None = None) -> Self:
        """Make intervals anew, from the errors on windows of a table.

        `fit` has done so with the rows that chose the epoch. Rows that chose nothing are better
        still: give them here, or newer ones.

        Parameters
        ----------
        X
            A table, as for `predict`.
        first_row, end
            Use only targets in rows [first_row, end), which must not be ones that the weights were
            fitted to; contexts may reach back before. By default all rows.

        Raises
        ------
        DataError
            If no window fits or no value in them is known.
        """
        check_is_fitted(self, "fused_")
        table = self._fitted_table(X)
        device = next(self.fused_.buffers()).device
        windows = self._windows(table, first_row, end, device)
        self.calibration_ = self._calibrate(windows, table, device)
        return self

    def _calibrate(self, windows: Windows, table: Table, device: torch.device) -> Calibration:
        with autocast(device, self.train_config_):
            return calibrate(
                self.fused_,
                windows,
                self.network_.config.quantiles,
                self.train_config_.batch_size,
                device,
                self._counted(table, windows, device),
            )

    def _calibrated(self) -> Calibration:
        if self.calibration_ is None:
            raise DataError(
                "intervals need rows that the weights were not fitted to, and fit held none back; "
                "call calibrate with such rows"
            )
        return self.calibration_

    def predict(self, X: Any = None, *, level: Any = None) -> Any:
        """Forecast the `h` steps after the end of a table.

        Parameters
        ----------
        X
            A table with at least `input_size` rows; by default the one the model was fitted to.
        level
            Per cents that intervals shall cover, such as ``[80, 95]``; none by default. See
            `convtimenet.intervals` and ``calibrate``.

        Returns
        -------
        The same kind of object as the table: future time stamps and one column per channel, in the
        data's units; (h, C) for a numpy array. With `level`, each channel's bounds follow it as
        columns ``<channel>-lo-95``, ``<channel>-lo-80``, ``<channel>-hi-80``, ``<channel>-hi-95``;
        for an array the answer is a dict of arrays (h, C): "forecast", "lo-95", "lo-80", ...

        Raises
        ------
        DataError
            If rows are too few, channels differ from the fitted ones where that matters, or
            intervals are asked for and there is no calibration, or too small a one.
        """
        check_is_fitted(self, "fused_")
        table = self.tail_ if X is None else self._fitted_table(X)
        if level is None:
            return future_frame(table, self.forecast(table.values))
        bands = self.forecast_bands(table.values, level)
        if table.origin.kind == "numpy":
            return bands
        names = [
            channel if name == "forecast" else f"{channel}-{name}"
            for channel in table.channels
            for name in bands
        ]
        values = np.stack(list(bands.values()), axis=-1).reshape(self.h, -1)
        return future_frame(replace(table, channels=tuple(names)), values)

    def forecast(self, values: np.ndarray) -> np.ndarray:
        """Forecast from the last `input_size` rows of (T, C) values to (h, C), units kept."""
        return self.forecast_bands(values, ())["forecast"]

    def forecast_bands(self, values: np.ndarray, level: Any) -> dict[str, np.ndarray]:
        """`forecast` with intervals, (h, C) each: "forecast", then "lo-95", "lo-80", "hi-80",
        "hi-95" for the levels 80 and 95."""
        check_is_fitted(self, "fused_")
        levels = check_levels(level)
        radii = {one: torch.from_numpy(self._calibrated().radius(one)) for one in levels}
        L = self.network_.config.context_length
        if len(values) < L:
            raise DataError(
                f"the model reads a context of {L} rows, the table has {len(values)}; give at "
                f"least {L} rows"
            )
        scaled = self.scaler_.apply(values[-L:].T)[None]
        output = torch.from_numpy(self._outputs(scaled).astype(np.float64))
        scale = context_scale(torch.from_numpy(scaled))
        bands = Bands(output, scale, self.network_.config.quantiles)
        found = {"forecast": bands.point}
        sides = {one: bands.bounds(radius) for one, radius in radii.items()}
        found |= {column("lo", one): sides[one][0] for one in reversed(levels)}
        found |= {column("hi", one): sides[one][1] for one in levels}
        return {name: self.scaler_.invert(part[0].numpy()).T for name, part in found.items()}

    def evaluate(
        self,
        X: Any,
        *,
        first_row: int | None = None,
        end: int | None = None,
        level: Any = None,
    ) -> ForecastEvaluation:
        """Forecast every window of a table and compare with what followed.

        Parameters
        ----------
        X
            A table, as for `predict`.
        first_row, end
            Score only targets in rows [first_row, end); contexts may reach back before it. By
            default every row that has a whole context before it.
        level
            Per cents of the intervals to score; by default 80 and 95, as far as the calibration
            reaches.
        """
        check_is_fitted(self, "fused_")
        table = self._fitted_table(X)
        config = self.network_.config
        device = next(self.fused_.buffers()).device
        windows = self._windows(table, first_row, end, device)
        intervals = self._interval_sums(level, len(table.channels), device)
        batch_size = self.train_config_.batch_size
        keep = len(windows)
        if self.train_config_.protocol == "paper":  # their loader drops the incomplete last batch
            keep = max(keep // batch_size * batch_size, min(keep, batch_size))
        sums = ForecastSums(len(table.channels), config.outputs, device)
        per_window, done = [], 0
        counted = self._counted(table, windows, device)
        with autocast(device, self.train_config_):
            for output, batch in outputs(self.fused_, windows, batch_size, device):
                if done >= keep:
                    break
                target = batch.y
                numbers = torch.arange(done, done + len(target), device=device)
                counts = counted(numbers)
                bands = Bands(output, context_scale(batch.x), config.quantiles)
                for one in intervals:
                    one.add(bands, target, counts)
                per_window.append(sums.add(bands.point, target, batch.x[..., -1:], counts))
                done += len(target)
        if not float(sums.count.sum()):
            raise DataError("no known value is left to score: all of them were filled")
        values, off = sums.count.sum(), sums.naive.cpu()
        steps, channels = sums.count.sum(0), sums.count.sum(1)
        units = (sums.absolute / channels).cpu().numpy() * self.scaler_.scale[:, 0]
        return ForecastEvaluation(
            scores={
                "mse": float(sums.squared.sum() / values),
                "mae": float(sums.absolute.sum() / values),
            },
            naive={"mse": float(off[0] / values), "mae": float(off[1] / values)},
            n_windows=done,
            n_values=int(values),
            mse_per_window=torch.cat(per_window).cpu().numpy(),
            starts=windows.starts[:done].cpu().numpy(),
            mse_per_step=(sums.squared.sum(0) / steps).cpu().numpy(),
            mae_per_channel=dict(zip(table.channels, units.tolist(), strict=True)),
            intervals=tuple(one.scores(sums.count, table.channels) for one in intervals),
        )

    def _windows(
        self, table: Table, first_row: int | None, end: int | None, device: torch.device
    ) -> Windows:
        """Windows with targets in rows [first_row, end)."""
        config, T = self.network_.config, len(table.times)
        first_row, end = first_row or 0, T if end is None else end
        if not 0 <= first_row < end <= T:
            raise DataError(
                f"first_row and end must be in that order within the table's {T} rows, found "
                f"{first_row} and {end}"
            )
        scaled = torch.from_numpy(self.scaler_.apply(table.values.T)).float().to(device)
        return Windows.between(scaled, config.context_length, config.outputs, first_row, end)

    def _interval_sums(self, level: Any, channels: int, device: torch.device) -> list[IntervalSums]:
        known = self.calibration_
        if level is None:
            levels = [one for one in DEFAULT_LEVELS if known is not None and known.reaches(one)]
        else:
            levels = list(check_levels(level))
        return [
            IntervalSums(one, self._calibrated().radius(one), channels, device) for one in levels
        ]

    @staticmethod
    def _counted(
        table: Table, windows: Windows, device: torch.device
    ) -> Callable[[Tensor], Tensor | None]:
        """Which targets (B, C, H) of numbered windows count: those that were known, in channels
        whose context ends on a known value. A filled end was drawn towards the targets."""
        if table.known is None:
            return lambda numbers: None
        known = torch.from_numpy(table.known.T.copy()).float().to(device)
        masks = Windows(known, windows.starts, windows.context_length, windows.horizon)

        def of(numbers: Tensor) -> Tensor:
            known = masks.batch(numbers)
            return known.y * known.x[..., -1:]

        return of

    def score(self, X: Any, y: None = None) -> float:
        """Minus the mean squared error over every window, in training standard deviations: greater
        is better, as scikit-learn expects."""
        return -self.evaluate(X).scores["mse"]

    def read(self, X: Any) -> Table:
        """The table that `fit` would see."""
        if isinstance(X, Table):
            return X
        return read_table(
            X, time_col=self.time_col, target_cols=self.target_cols, frequency=self.freq
        )

    def _fitted_table(self, X: Any) -> Table:
        return self.adapt(self.read(X))

    def adapt(self, table: Table) -> Table:
        """The table with the fitted channels in their order, where they matter.

        Raises
        ------
        DataError
            If channels are missing.
        """
        affine = self.network_.config.revin_affine_channels
        if self.scale:
            return select_channels(table, self.channels_)
        if affine and len(table.channels) != affine:
            raise DataError(
                f"the model was fitted with RevIN weights for {affine} channels, the table has "
                f"{len(table.channels)}; give the same channels or fit without "
                "revin_affine_channels"
            )
        return table

    def preset_for(self, rows: int) -> Preset:
        """The settings that the estimator's `preset` means for that many training rows."""
        if self.preset == "auto":
            return auto_forecast(rows, self.h, self.input_size)
        return paper_preset(self.preset, "forecast")

    def _model_config(self, preset: Preset, channels: int) -> ModelConfig:
        context = preset.context_length if self.input_size is None else self.input_size
        assert context is not None
        config = ModelConfig.forecasting(
            context_length=context, horizon=self.h, **self._model_settings(preset.model)
        )
        if config.revin_affine_channels not in (0, channels):
            raise ConfigError(
                f"revin_affine_channels is {config.revin_affine_channels}, the table has "
                f"{channels} channels; they must be equal"
            )
        return config

    def _remembered(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        tail = self.tail_
        values = {
            "channels": list(self.channels_),
            "time_name": tail.time_name,
            "frequency": tail.frequency.name,
            "time_zone": tail.time_zone,
            "origin": {"kind": tail.origin.kind, "indexed": tail.origin.indexed},
            "time_type": _described(tail.origin.time_dtype),
            "datetime": tail.times.dtype.kind == "M",
        }
        arrays = {"tail.values": tail.values, "tail.times": tail.times.astype(np.int64)}
        if self.calibration_ is not None:
            values["calibration_windows"] = self.calibration_.windows
            arrays["calibration.radii"] = self.calibration_.radii
        return values, arrays

    def _remember(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        times = arrays["tail.times"]
        self.channels_ = tuple(values["channels"])
        self.calibration_ = None
        if "calibration.radii" in arrays:
            self.calibration_ = Calibration(
                arrays["calibration.radii"], values["calibration_windows"]
            )
        self.tail_ = Table(
            times=times.astype("datetime64[ns]") if values["datetime"] else times,
            values=arrays["tail.values"],
            channels=self.channels_,
            time_name=values["time_name"],
            frequency=Frequency.parse(values["frequency"]),
            time_zone=values["time_zone"],
            origin=Origin(**values["origin"], time_dtype=_restored(values["time_type"])),
        )


def _described(dtype: Any) -> dict[str, Any] | None:
    """A narwhals type of time stamps as JSON values."""
    if dtype is None:
        return None
    settings = {n: getattr(dtype, n) for n in ("time_unit", "time_zone") if hasattr(dtype, n)}
    return {"name": type(dtype).__name__, "settings": settings}


def _restored(described: dict[str, Any] | None) -> Any:
    """Inverse of `_described`."""
    if described is None:
        return None
    import narwhals.stable.v2 as nw

    if described["name"] not in ("Date", "Datetime") and "Int" not in described["name"]:
        raise ValueError(f"{described['name']!r} is no type of time stamps")
    return getattr(nw, described["name"])(**described["settings"])


def _rows(table: Table, first: int, end: int) -> Table:
    return replace(
        table,
        times=table.times[first:end].copy(),
        values=table.values[first:end].copy(),
        known=None,
    )


def _check_steps(what: str, steps: Any) -> None:
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 1:
        raise ConfigError(f"{what} must be a whole number of at least 1, found {steps!r}")
