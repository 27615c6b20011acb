"""The mistakes a user can make, one class per place to look.

Every message says what was expected, what was found and what to do about it.
"""

from __future__ import annotations


class ConvTimeNetError(ValueError):
    """Base class of every error this package raises on purpose."""


class ConfigError(ConvTimeNetError):
    """A setting is out of range or contradicts another setting."""


class ParameterError(ConfigError, TypeError):
    """A function or estimator has no parameter of that name; a TypeError, as Python has it."""


class DataError(ConvTimeNetError):
    """A table, a set of cases or a label vector cannot be used as it is."""


class TrainingError(ConvTimeNetError):
    """Training gave no usable weights."""


class CheckpointError(ConvTimeNetError):
    """A folder of training checkpoints is of another run, in use, or damaged."""


class OutOfMemoryError(ConvTimeNetError, MemoryError):
    """Memory does not suffice for the smallest part of a batch."""


class DatasetError(ConvTimeNetError):
    """A registered data set is unknown, absent, unreachable or damaged."""


class ArtefactError(ConvTimeNetError):
    """A saved model folder is incomplete, damaged or of a newer format."""


class MissingExtraError(ConvTimeNetError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: pip install 'convtimenet[{extra}]'"
        )
