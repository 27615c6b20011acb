"""Series that arrive as numbers alone, as other protocols send them, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from convtimenet.data.tables import Table
from convtimenet.errors import DataError
from convtimenet.serving.json_body import check_cells
from convtimenet.serving.models import Forecasting
from convtimenet.wording import listing


def table_of(
    served: Forecasting,
    series: Sequence[np.ndarray],
    ids: Sequence[str],
    starts: Sequence[np.datetime64 | None],
    covariates: Mapping[str, np.ndarray] | None = None,
) -> Table:
    """A long table of series with the step of the model.

    Parameters
    ----------
    series
        (T_i, C) each, NaN where missing.
    starts
        First time stamp of each series, in UTC if the model has a time zone; None for that of the
        rows that the model keeps of its training table.
    covariates
        (sum of T_i,) each.

    Raises
    ------
    DataError
        If the model needs another number of channels or more rows, or a time stamp does not fit
        its step.
    """
    model = served.model
    frequency, zone = served.frequency, model.terms.time_zone
    config = model.network_.config
    wanted = config.fixed_channels or (len(model.channels_) if model.scale else 0)
    least = 1 if model.tail_.long else config.least_context
    for name, values in zip(ids, series, strict=True):
        if wanted and values.shape[1] != wanted:
            raise DataError(
                f"series {name[:64]!r}: expected {wanted} variables in the order "
                f"{listing(model.channels_)}, found {values.shape[1]}; give all of them at every "
                "step"
            )
        if values.shape[1] != series[0].shape[1]:
            raise DataError(
                f"series {name[:64]!r}: expected {series[0].shape[1]} variables as in the first "
                f"series, found {values.shape[1]}; send it in a request of its own"
            )
        if not np.isfinite(values).any(axis=0).all():
            raise DataError(
                f"series {name[:64]!r}: expected numbers of every variable, found none of some; "
                "leave the series out"
            )
        if len(values) < least:  # as `predict` of a table of one series
            raise DataError(
                f"series {name[:64]!r}: the model reads a context of "
                f"{'at least ' if config.any_length else ''}{least} rows, found {len(values)}; "
                f"give at least {least} rows"
            )
    C = series[0].shape[1]
    series = [np.where(np.isfinite(values), values, np.nan) for values in series]
    check_cells("series", sum(values.size for values in series))
    usual = model.tail_.times[:1]
    stamps = []
    for start, values in zip(starts, series, strict=True):
        first = (
            usual if start is None or usual.dtype.kind == "i" else np.array([start], usual.dtype)
        )
        stamps.append(np.concatenate([first, frequency.after(first, len(values) - 1, zone)[0]]))
        frequency.check(stamps[-1][:2], zone)
    return Table(
        times=np.concatenate(stamps),
        values=np.concatenate(series),
        channels=model.channels_ if wanted else tuple(map(str, range(C))),
        time_name=model.terms.time_name,
        frequency=frequency,
        time_zone=zone,
        id_name="series" if model.terms.time_name != "series" else "id",
        ids=np.array(ids, dtype=object),
        rows=np.array([len(values) for values in series]),
        covariates=dict(covariates or {}),
    )
