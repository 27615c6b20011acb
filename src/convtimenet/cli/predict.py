"""``convtimenet predict``: forecast millions of series of Parquet files, part by part."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convtimenet.cli.outputs import check_model, make_console, wrote
from convtimenet.errors import DataError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

SUMMARY = """Forecast every series of Parquet files with a saved model, in parts.

The files are a long table: one row per series and time, with the rows of each
series one after the other. They are read in parts of whole series, so memory
does not grow with their size. The folder --out gets one Parquet file a part and
can be read as one table. A run that was stopped goes on where it was: give the
same command again. Series that cannot be forecast do not stop the others; they
are named in --out/_failed, and the same command tries them again. After a change
of the files give another --out.

With --engine ray, spark or dask the parts are forecast on a cluster, which must
reach the model, the files and --out at the same paths or addresses.

Examples:
  convtimenet forecast some.parquet --h 28 --quality fast --save model
  convtimenet predict model sales.parquet --out forecasts --workers 8
      a file, with eight processes on this machine
  convtimenet predict model 'sales/region=*/*.parquet' --out forecasts --level 80 95
      a folder with partitions, with intervals
  convtimenet predict model sales --future plan.parquet --out forecasts
      a model that reads covariates known ahead, with their rows after each series
  convtimenet predict model s3://shop/sales --out s3://shop/forecasts --engine ray \\
      --address auto
      on a running Ray cluster; also --engine spark --address spark://host:7077
      and --engine dask --address tcp://host:8786"""

_SHOWN = 3  # failures


def predict_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet predict`."""
    add = parser.add_argument
    add("model", type=str, help="folder of a saved forecaster, as written by --save")
    add(
        "data",
        type=str,
        help="a Parquet file, a folder of them, also with partitions as region=eu/, or a pattern "
        "in quotes; a path, or an address such as s3://bucket/folder",
    )
    add(
        "--out",
        type=str,
        required=True,
        metavar="FOLDER",
        help="folder for the forecasts, new or of the same command before",
    )
    add(
        "--future",
        type=str | None,
        metavar="PATH",
        help="Parquet files with the covariates known ahead of the rows after every series, in the "
        "same order of series; only for a model that reads some",
    )
    add(
        "--engine",
        type=Literal["local", "ray", "spark", "dask"],
        default="local",
        help="what runs the parts; all but local need the extra of that name, as in "
        "pip install 'convtimenet[ray]'",
    )
    add(
        "--workers",
        type=int | None,
        help="processes of one thread each; by default one for local, and one a core for the "
        "others",
    )
    add(
        "--address",
        type=str | None,
        help="address of a running cluster; by default one is started on this machine for the run",
    )
    add(
        "--level",
        type=float,
        nargs="+",
        metavar="PERCENT",
        help="levels of intervals in per cent, as --level 80 95",
    )
    add("--h", type=int | None, help="steps to forecast; by default the trained horizon")
    add(
        "--id_col",
        type=str | None,
        metavar="COLUMN",
        help="the column with the series ids; by default the model's",
    )
    add(
        "--rows_per_part",
        type=int,
        default=1_000_000,
        help="rows that a worker reads at a time, about: the larger, the more memory",
    )
    add("--device", type=str, default="cpu", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps")
    add("--quiet", action="store_true", help="show no progress")


def run_predict(flags: Any) -> None:
    """Run or go on with a job."""
    check_model(flags.model)
    from convtimenet.bulk.job import predict_parquet

    console = make_console()
    logging.getLogger("convtimenet").setLevel(logging.ERROR)
    try:
        found = predict_parquet(
            flags.model,
            flags.data,
            flags.out,
            future=flags.future,
            engine=flags.engine,
            level=flags.level or (),
            h=flags.h,
            id_col=flags.id_col,
            rows_per_part=flags.rows_per_part,
            workers=flags.workers,
            address=flags.address,
            device=flags.device,
            verbose=0 if flags.quiet else 1,
        )
    except KeyboardInterrupt:
        if Path(flags.out).is_dir():
            wrote(console, "parts so far, from which the same command goes on", flags.out)
        raise
    console.print(
        f"{found.series:,} series of {found.rows:,} rows in {found.seconds:.1f} s, "
        f"{found.rows_per_second:,.0f} rows per second",
        highlight=False,
    )
    console.print(
        f"{found.parts} parts: {found.done} done, {found.skipped} done earlier, "
        f"{found.failed_parts} with failures",
        highlight=False,
    )
    wrote(console, "forecasts", found.folder)
    if found.failed:
        some = [f"{name}: {why}" for name, why in list(found.failed.items())[:_SHOWN]]
        more = f" and {len(found.failed) - _SHOWN} more" if len(found.failed) > _SHOWN else ""
        raise DataError(
            f"{len(found.failed)} failed and have no forecast: {'; '.join(some)}{more}; all are in "
            f"{found.folder}/_failed; correct them in the files or leave them out, and give "
            "another --out, as this one goes on only with unchanged files"
        )
