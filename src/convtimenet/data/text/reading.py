"""How time stamps are to be read, and what was read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convtimenet.data.text.whole_times import EPOCHS
from convtimenet.errors import ConfigError

__all__ = ["TimeReading", "Times"]

_YEAR_CODES = ("%Y", "%y", "%G", "%c", "%x")


@dataclass(frozen=True, kw_only=True)
class TimeReading:
    """The format of time stamps, as set by the caller.

    Attributes
    ----------
    format
        A format of ``datetime.strptime``, or ``"unix-s"``, ``"unix-ms"``, ``"unix-us"`` or
        ``"unix-ns"`` for numbers since 1970.
    dayfirst
        Whether 03/04/2024 is in April (True) or in March (False).
    steps
        Whether whole numbers are steps even if they look like dates.
    usual
        `dayfirst` of the table that a model was fitted to, for time stamps that leave it open.
    """

    format: str | None = None
    dayfirst: bool | None = None
    steps: bool = False
    usual: bool | None = None

    def __post_init__(self) -> None:
        form = self.format
        if form is not None and not isinstance(form, str):
            raise ConfigError(f"time_format must be text such as '%d.%m.%Y', found {form!r}")
        if self.dayfirst not in (None, True, False):
            raise ConfigError(f"dayfirst must be True, False or None, found {self.dayfirst!r}")
        known = form is None or form in EPOCHS or any(code in form for code in _YEAR_CODES)
        if not known:
            raise ConfigError(
                f"time_format must be a format with a year such as '%d.%m.%Y %H:%M', or one of "
                f"{', '.join(EPOCHS)}, found {form!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Times:
    """Parsed time stamps.

    Attributes
    ----------
    times : ndarray, shape (T,)
        int64 for steps, else datetime64[ns], in UTC if there is a time zone.
    zone
        Name of a time zone or UTC offset; with several offsets that of the last time stamp.
    offsets
        The different UTC offsets of the time stamps.
    form
        Format of dates written as whole numbers, such as ``"%Y%m"``.
    notices
        What was inferred.
    dayfirst
        Whether the day comes before the month, where both are numbers before the year.
    """

    times: np.ndarray
    zone: str | None = None
    offsets: tuple[str, ...] = ()
    form: str | None = None
    notices: tuple[str, ...] = ()
    dayfirst: bool | None = None
