"""The flags of every sub-command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from convtimenet import config

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def forecast_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet forecast`."""
    from convtimenet.cli.parser import names

    add = parser.add_argument
    add(
        "data",
        type=str,
        help="table (CSV, Excel, Parquet, Arrow, JSON lines, .tsf): a time column, then one column "
        "per channel",
    )
    add(
        "--h",
        type=int,
        help="horizon: steps to forecast; by default two seasons, at most a fifth of the rows",
    )
    add(
        "--input_size",
        type=int | None,
        help="context: steps the network reads; by default 336, less for short tables",
    )
    add(
        "--time_col",
        type=str | None,
        metavar="COLUMN",
        help="the time column, where it cannot be told",
    )
    add("--target_cols", type=names, help="channels to forecast, as a,b; all by default")
    add(
        "--id_col",
        type=str | None,
        metavar="COLUMN",
        help="the column that tells the series of a long table apart, if not unique_id",
    )
    add(
        "--freq",
        type=str | None,
        metavar="STEP",
        help="the step, such as 15min, 1D or 1MS; found by default",
    )
    add(
        "--time_format",
        type=str | None,
        metavar="FORMAT",
        help="how times are written, as %d.%m.%y %H:%M or unix-s, where it cannot be found",
    )
    add(
        "--dayfirst",
        type=bool | None,
        metavar="true|false",
        help="whether 03/04/2024 is in April, where no stamp decides it",
    )
    add(
        "--decimal",
        type=str | None,
        metavar="MARK",
        help="the decimal mark, . or , where no cell decides it",
    )
    add(
        "--fill",
        type=float | None,
        metavar="NUMBER",
        help="what missing values and absent rows stand for, such as 0 where no row means no sale; "
        "by default they are unknown, and masked",
    )
    add(
        "--level",
        type=float,
        nargs="+",
        metavar="PERCENT",
        help="per cents that intervals shall cover, as --level 80 95: their bounds are written, "
        "their coverage is scored",
    )
    add(
        "--hist_exog",
        type=names,
        help="covariates known up to now, as a,b",
    )
    add(
        "--futr_exog",
        type=names,
        help="covariates known ahead; --future holds their values for the steps to forecast",
    )
    add(
        "--stat_exog",
        type=names,
        help="covariates with one value for a whole series of a long table",
    )
    add(
        "--calendar",
        type=names,
        metavar="auto|NAMES",
        help="read the time stamps too: 'auto' for what the step asks for, or names, as "
        "hour,dayofweek (minute, hour, dayofweek, dayofmonth, month, dayofyear)",
    )
    add(
        "--future",
        type=str | None,
        metavar="FILE",
        help="table with the --futr_exog columns for the steps after the data's end",
    )
    add("--test_fraction", type=float, default=0.2, help="last part of the table kept for scoring")
    add(
        "--no_refit",
        action="store_true",
        help="forecast with the model that was scored, without a second training on all rows",
    )
    _preset_flag(parser)
    add(
        "--load",
        type=str | None,
        metavar="FOLDER",
        help="forecast with this saved model instead of training one",
    )
    _shared_flags(parser, "forecast as CSV; by default <data>-forecast.csv here")


def classify_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet classify`."""
    _cases_flags(parser, "classify", "classes")


def regress_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet regress`."""
    _cases_flags(parser, "predict numbers for", "numbers")


def _cases_flags(parser: ArgumentParser, verb: str, answers: str) -> None:
    add = parser.add_argument
    add(
        "data",
        type=str,
        help=".ts or .npz file of labelled cases to learn from, or .arff, .csv, .tsv",
    )
    add("test", type=str | None, nargs="?", help=f"cases to {verb} and, if labelled, to score")
    add(
        "--label_col",
        type=str | None,
        metavar="COLUMN",
        help="the column of a table that holds the labels, where it cannot be told",
    )
    add(
        "--test_fraction", type=float, default=0.2, help="part kept for scoring if no test is given"
    )
    _preset_flag(parser)
    add(
        "--load",
        type=str | None,
        metavar="FOLDER",
        help=f"{verb} data with this saved model, without training",
    )
    _shared_flags(parser, f"predicted {answers} as CSV; by default <test>-{answers}.csv here")


def evaluate_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet evaluate`."""
    add = parser.add_argument
    add("dataset", type=str, help="registered name, as convtimenet datasets list shows them")
    add("--h", type=int | None, help="horizon of a forecasting set; the paper's first by default")
    add(
        "--preset",
        type=Literal["paper", "auto"],
        default="paper",
        help="the paper's hyper-parameters, or those derived from the data",
    )
    add(
        "--protocol",
        type=config.Protocol,
        default="honest",
        help="honest: validation from training data, every test window counts; paper: as theirs",
    )
    add(
        "--level",
        type=float,
        nargs="+",
        metavar="PERCENT",
        help="per cents of intervals to score on a forecasting set, as --level 80 95",
    )
    _shared_flags(parser, None)


def datasets_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet datasets`."""
    add = parser.add_argument
    add("action", type=Literal["list", "fetch", "verify"], help="what to do")
    add("names", type=str, nargs="*", default=[], metavar="NAME", help="data sets; all by default")
    add("--json", type=str | None, metavar="FILE", help="write the result for programs")


def bench_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet bench`."""
    add = parser.add_argument
    add("action", type=Literal["run", "report"], help="measure cells, or write tables and pictures")
    add("matrix", type=str, metavar="FILE", help="what there is to run, as TOML")
    add(
        "--only",
        type=str,
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="cells to run or show, as 'ridge:ETTh1-*' or 'convtimenet.paper:*:honest:1'",
    )
    add(
        "--out",
        type=str | None,
        metavar="FILE",
        help="the file of JSON lines; by default NAME.jsonl in the folder that the matrix says",
    )
    add(
        "--report",
        type=str | None,
        metavar="FOLDER",
        help="where the pages go; by default beside the JSON lines",
    )
    add(
        "--jobs",
        type=int | None,
        help="cells to run at the same time; by default as many as there are cores for",
    )
    add("--threads", type=int, default=1, help="threads of each cell")
    add("--dry_run", action="store_true", help="list the cells to run, and what they will cost")
    add("--quiet", action="store_true", help="show no progress")


def export_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet export`."""
    add = parser.add_argument
    add(
        "model", type=str, help="folder of a saved model, as --save of the other commands writes it"
    )
    add(
        "--format",
        type=Literal["onnx", "onnx-int8", "torch-export", "aoti"],
        default="onnx",
        help="onnx: any ONNX runtime; onnx-int8: smaller, with eight-bit weights; torch-export: "
        "for torch.export.load; aoti: compiled for this machine, needs a C++ compiler",
    )
    add(
        "--to",
        type=str,
        required=True,
        metavar="FOLDER",
        help="where to; an older export is replaced",
    )
    add(
        "--check",
        type=str | None,
        metavar="DATA",
        help="table or cases on which graph and model are compared; a forecaster has the end of "
        "its own table for it, a classifier needs some",
    )


def _preset_flag(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--preset",
        type=str,
        default="auto",
        metavar="NAME",
        help="hyper-parameters: auto derives them from the data, a data set's name such as ETTh1 "
        "takes the paper's for it",
    )


def _shared_flags(parser: ArgumentParser, out: str | None) -> None:
    from convtimenet.cli.parser import config_flags

    add = parser.add_argument
    if out is not None:
        add("--out", type=str | None, metavar="FILE", help=out)
    add("--report", type=str | None, metavar="FILE", help="write an HTML page about the run")
    add("--save", type=str | None, metavar="FOLDER", help="keep the trained model")
    add("--json", type=str | None, metavar="FILE", help="write scores and settings for programs")
    add(
        "--resume",
        type=str | None,
        metavar="FOLDER",
        help="keep the state of training here; the same command goes on from it after a kill",
    )
    add("--seed", type=int, default=2023, help="seed of weights, batch order and dropout")
    add("--device", type=str, default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps")
    add("--quiet", action="store_true", help="show no progress")
    add(
        "--config",
        action="config",
        metavar="FILE",
        help="file (YAML or JSON) that holds any of these flags; --print_config writes one",
    )
    for group, settings in (("model", config.ModelConfig), ("training", config.TrainConfig)):
        config_flags(parser, group, settings)


def completion_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet completion`."""
    parser.add_argument("shell", type=Literal["bash", "zsh", "tcsh"], help="the shell it is for")
