"""Flags about the columns of a table, which several commands read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["column_flags"]


def column_flags(parser: ArgumentParser, channels: str, *, fill: bool) -> None:
    """Add them.

    Parameters
    ----------
    channels
        Help on --target_cols.
    fill
        Whether missing values may be replaced by a number.
    """
    from convtimenet.cli.parser import names

    add = parser.add_argument
    add(
        "--time_col",
        type=str | None,
        metavar="COLUMN",
        help="the time column, if it cannot be inferred",
    )
    quoted = """; a name with a comma in quotes, as '"price, net",b'"""
    add("--target_cols", type=names, help=channels + quoted)
    add(
        "--id_col",
        type=str | None,
        metavar="COLUMN",
        help="the column with the series ids of a long table, if it is not unique_id",
    )
    add(
        "--freq",
        type=str | None,
        metavar="STEP",
        help="the time step, such as 15min, 1D or 1MS; inferred by default",
    )
    add(
        "--time_format",
        type=str | None,
        metavar="FORMAT",
        help="format of the times, such as %d.%m.%y %H:%M or unix-s, if it cannot be inferred",
    )
    add(
        "--dayfirst",
        type=bool | None,
        metavar="true|false",
        help="whether 03/04/2024 is in April, if it cannot be inferred",
    )
    add(
        "--decimal",
        type=str | None,
        metavar="MARK",
        help="the decimal mark, . or , if it cannot be inferred",
    )
    if fill:
        add(
            "--fill",
            type=float | None,
            metavar="NUMBER",
            help="number to fill missing values and missing rows with, such as 0 if no row means "
            "no sale; by default they are masked",
        )
