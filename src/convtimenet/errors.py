"""Exception classes, one per kind of user error.

Every message says what was expected, what was found and what to do about it.
"""

from __future__ import annotations


class ConvTimeNetError(ValueError):
    """Base class of every error this package raises on purpose."""


class ConfigError(ConvTimeNetError):
    """A setting is out of range or contradicts another setting."""


class ParameterError(ConfigError, TypeError):
    """A function or estimator has no parameter of that name; also a TypeError, as in Python."""


class DataError(ConvTimeNetError):
    """A table, a set of cases or a label vector cannot be used as it is."""


class SeveralSeriesError(DataError):
    """Time stamps repeat because the rows belong to several series.

    Attributes
    ----------
    id_col
        The column that distinguishes the series.
    target_cols
        Columns that could be forecast.
    """

    def __init__(self, message: str, id_col: str, target_cols: list[str]):
        super().__init__(message)
        self.id_col, self.target_cols = id_col, target_cols


class TrainingError(ConvTimeNetError):
    """Training produced no usable weights."""


class CheckpointError(ConvTimeNetError):
    """A checkpoint folder belongs to another run, is in use, or is damaged."""


class ProcessError(ConvTimeNetError):
    """Another process that trains the same network has ended or failed, or has other data."""


class EngineError(ConvTimeNetError):
    """Ray, Spark or Dask, which runs a job of forecasts, has failed or cannot be reached."""


class OutOfMemoryError(ConvTimeNetError, MemoryError):
    """There is not enough memory for even the smallest part of a batch."""


class DatasetError(ConvTimeNetError):
    """A registered data set is unknown, not downloaded, unreachable or damaged."""


class ArtefactError(ConvTimeNetError):
    """A saved model folder is incomplete, damaged, in a newer format, or cannot be written."""


class MissingExtraError(ConvTimeNetError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: pip install 'convtimenet[{extra}]'"
        )
