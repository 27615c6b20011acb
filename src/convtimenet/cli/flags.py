"""The flags of every sub-command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from convtimenet import config
from convtimenet.cli.columns import column_flags

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def forecast_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet forecast`."""
    add = parser.add_argument
    add(
        "data",
        type=str,
        help="table (CSV, Excel, Parquet, Arrow, JSON lines, .tsf): a time column, then one column "
        "per channel",
    )
    table_flags(parser)
    add(
        "--level",
        type=float,
        nargs="+",
        metavar="PERCENT",
        help="levels of intervals in per cent, as --level 80 95: their bounds are written, their "
        "coverage is scored",
    )
    add(
        "--future",
        type=str | None,
        metavar="FILE",
        help="table with the --futr_exog columns for the steps after the end of the data",
    )
    add("--test_fraction", type=float, default=0.2, help="fraction of the rows in the test split")
    add(
        "--no_refit",
        action="store_true",
        help="forecast with the scored model, without a second training on all rows",
    )
    _quality_flag(
        parser,
        "a linear map of the context and of covariates known ahead, solved in closed form",
        "with enough rows also a network, trained",
        "; tuned: the weights of --pretrained, fine-tuned in seconds",
    )
    add("--pretrained", action="store_true", help="no training: weights that come with the package")
    preset_flag(parser)
    add(
        "--load",
        type=str | None,
        metavar="FOLDER",
        help="forecast with this saved model instead of training one",
    )
    _shared_flags(parser, "forecast as CSV; by default <data>-forecast.csv here")


def table_flags(parser: ArgumentParser) -> None:
    """Horizon, context and columns of a table."""
    from convtimenet.cli.parser import names

    add = parser.add_argument
    add(
        "--h",
        type=int,
        help="horizon: steps to forecast; by default two seasons, or 12 steps without a season, "
        "but at most 96 and a fifth of the rows",
    )
    add(
        "--input_size",
        type=int | None,
        help="context: steps that are read; by default 336, 512 or 720, by the error of the linear "
        "map on the training rows, and fewer for short tables",
    )
    column_flags(parser, "channels to forecast, as a,b; all by default", fill=True)
    add("--hist_exog", type=names, help="covariates known up to the present, as a,b")
    add(
        "--futr_exog",
        type=names,
        help="covariates known ahead; give their values for the steps to forecast with --future",
    )
    add(
        "--stat_exog",
        type=names,
        help="static covariates: one value per series of a long table",
    )
    add(
        "--calendar",
        type=names,
        metavar="auto|NAMES",
        help="calendar features of the time stamps: 'auto' for those that suit the step, or names, "
        "as hour,dayofweek (minute, hour, dayofweek, dayofmonth, month, dayofyear)",
    )


def tune_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet tune`."""
    add = parser.add_argument
    add(
        "task",
        type=Literal["forecast", "classify", "regress"],
        help="the command to search settings for",
    )
    add("data", type=str, help="table or labelled cases to train on, as for that command")
    add("test", type=str | None, nargs="?", help="labelled cases to score the result on")
    add("--trials", type=int, default=20, help="trials, with those that the study holds already")
    add(
        "--time_limit",
        type=float | None,
        metavar="SECONDS",
        help="seconds after which no trial starts; the first one and the final training always end",
    )
    add(
        "--search",
        type=str,
        nargs="+",
        metavar="NAME=VALUES",
        help="parameters to search instead of those derived from the data, as "
        "training.lr=1e-4..1e-2 model.d_model=32,64 model.kernel_sizes=[3,5],[7,9]",
    )
    add(
        "--study",
        type=str | None,
        metavar="FILE|URL",
        help="file or database of the trials, to continue from and to share with other processes; "
        "by default study.log in the folder of the results",
    )
    add(
        "--out",
        type=str | None,
        metavar="FOLDER",
        help="folder for the best settings, the trials and the model; by default <data>-tuned here",
    )
    table_flags(parser)
    label_flag(parser)
    add(
        "--test_fraction",
        type=float,
        default=0.2,
        help="fraction of the rows or cases in the test split, which no trial sees",
    )
    preset_flag(parser)
    training_flags(parser)


def label_flag(parser: ArgumentParser) -> None:
    """The column of labels, beside flags of a table."""
    parser.add_argument(
        "--label_col",
        type=str | None,
        metavar="COLUMN",
        help="the column of labelled cases with the labels, if it cannot be inferred",
    )


def start_flag(parser: ArgumentParser) -> None:
    """What a network's encoder starts from."""
    parser.add_argument(
        "--init_from",
        type=str | None,
        metavar="FOLDER",
        help="start the network from the encoder of this saved model, or of convtimenet pretrain; "
        "'pretrained', for cases only: features of the weights that come with the package",
    )


def classify_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet classify`."""
    _cases_flags(parser, "classify", "classes")


def regress_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet regress`."""
    _cases_flags(parser, "predict numbers for", "numbers")


def _cases_flags(parser: ArgumentParser, verb: str, answers: str) -> None:
    from convtimenet.cli.parser import names

    add = parser.add_argument
    add(
        "data",
        type=str,
        help="labelled cases to train on: .ts, .npz, .arff, .csv or .tsv file",
    )
    add("test", type=str | None, nargs="?", help=f"cases to {verb} and, if labelled, to score")
    add(
        "--label_col",
        type=str | None,
        metavar="COLUMN",
        help="the column of a table with the labels, if it cannot be inferred",
    )
    add(
        "--id_col",
        type=str | None,
        metavar="COLUMN",
        help="the column of a table that names the cases, if it cannot be inferred",
    )
    add(
        "--ignored_cols",
        type=names,
        help="columns of a table that are neither labels nor values, as a,b",
    )
    add(
        "--test_fraction",
        type=float,
        default=0.2,
        help="fraction of the cases in the test split, if no test file is given",
    )
    _quality_flag(
        parser,
        "random patches and a linear map solved in closed form",
        "these mixed with the network, trained",
    )
    preset_flag(parser)
    add(
        "--load",
        type=str | None,
        metavar="FOLDER",
        help=f"{verb} data with this saved model instead of training one",
    )
    _shared_flags(parser, f"predicted {answers} as CSV; by default <test>-{answers}.csv here")


def evaluate_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet evaluate`."""
    add = parser.add_argument
    add("dataset", type=str, help="name of a registered data set, see convtimenet datasets list")
    add(
        "--h",
        type=int | None,
        help="horizon of a forecasting set; by default the shortest in the paper",
    )
    add(
        "--preset",
        type=Literal["paper", "auto"] | None,
        help="the paper's hyper-parameters, or those derived from the data; by default the "
        "paper's, with --quality the others",
    )
    add(
        "--quality",
        type=Literal["fast", "auto", "best"] | None,
        help="fast: in closed form, in seconds; auto: a network beside it; best: up to six",
    )
    add(
        "--protocol",
        type=config.Protocol,
        default="honest",
        help="honest: validation split from the training data, all test windows scored; paper: as "
        "in the authors' code",
    )
    add(
        "--level",
        type=float,
        nargs="+",
        metavar="PERCENT",
        help="levels in per cent of intervals to score on a forecasting set, as --level 80 95",
    )
    _shared_flags(parser, None)


def datasets_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet datasets`."""
    add = parser.add_argument
    add("action", type=Literal["list", "fetch", "verify"], help="what to do")
    add("names", type=str, nargs="*", default=[], metavar="NAME", help="data sets; all by default")
    add("--json", type=str | None, metavar="FILE", help="write the result as JSON")


def export_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet export`."""
    add = parser.add_argument
    add("model", type=str, help="folder of a saved model, as written by --save of other commands")
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
        help="folder of the export; an earlier export there is replaced",
    )
    add(
        "--check",
        type=str | None,
        metavar="DATA",
        help="table or cases on which to compare graph and model; required for a classifier or "
        "regressor, a forecaster uses the end of its training table by default",
    )


def serve_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet serve`."""
    add = parser.add_argument
    add(
        "models",
        type=str,
        nargs="+",
        metavar="MODEL",
        help="folders of saved models, as NAME=FOLDER or FOLDER",
    )
    add("--port", type=int, default=8000, help="port; 0 takes a free one")
    add(
        "--host",
        type=str,
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0 for all of this machine",
    )
    add(
        "--token_file",
        type=str | None,
        metavar="FILE",
        help="file with the token that clients send as 'Authorization: Bearer TOKEN'; by default "
        "the environment variable CONVTIMENET_TOKEN",
    )
    add("--no_token", action="store_true", help="let everyone in who reaches the address")
    add(
        "--max_mb",
        type=float,
        default=16.0,
        metavar="MB",
        help="largest body, also when decompressed; larger ones are answered with 413",
    )
    add("--queue", type=int, default=256, help="requests that may wait; more get 429")
    add(
        "--seconds",
        type=float,
        default=30.0,
        help="time for a body to arrive (else 408) and for an answer (else 504)",
    )
    add("--device", type=str, default="cpu", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps")


def _quality_flag(parser: ArgumentParser, fast: str, auto: str, tuned: str = "") -> None:
    parser.add_argument(
        "--quality",
        type=Literal["fast", "auto", "best", "tuned"] if tuned else Literal["fast", "auto", "best"],
        default="auto",
        help=f"fast: {fast}, in seconds; auto: {auto}, in minutes; best: up to six such networks, "
        f"weighted on held-out data, as far as --training.time_limit allows{tuned}",
    )


def preset_flag(parser: ArgumentParser) -> None:
    """Where hyper-parameters come from."""
    parser.add_argument(
        "--preset",
        type=str,
        default="auto",
        metavar="NAME",
        help="hyper-parameters: auto derives them from the data; the name of a data set such as "
        "ETTh1 takes the paper's",
    )


def _shared_flags(parser: ArgumentParser, out: str | None) -> None:
    add = parser.add_argument
    if out is not None:
        add("--out", type=str | None, metavar="FILE", help=out)
    add("--report", type=str | None, metavar="FILE", help="write an HTML report of the run")
    add("--save", type=str | None, metavar="FOLDER", help="save the trained model")
    add("--json", type=str | None, metavar="FILE", help="write scores and settings as JSON")
    add(
        "--resume",
        type=str | None,
        metavar="FOLDER",
        help="folder for checkpoints; the same command resumes from them after an interruption",
    )
    add(
        "--n_jobs",
        type=int | None,
        help="networks of --quality best to train at the same time, one thread each; -1: all cores",
    )
    add(
        "--distil",
        action="store_true",
        help="with --quality best: train one small network to answer like all of them, and keep it",
    )
    start_flag(parser)
    training_flags(parser)


def training_flags(parser: ArgumentParser) -> None:
    """Seed, device, progress and the settings of network and training."""
    from convtimenet.cli.parser import config_flags

    add = parser.add_argument
    add("--seed", type=int, default=2023, help="seed of initial weights, batch order and dropout")
    add("--device", type=str, default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps")
    add("--quiet", action="store_true", help="show no progress")
    add(
        "--config",
        action="config",
        metavar="FILE",
        help="YAML or JSON file with any of these flags; --print_config writes one",
    )
    for group, settings in (("model", config.ModelConfig), ("training", config.TrainConfig)):
        config_flags(parser, group, settings)


def completion_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet completion`."""
    parser.add_argument(
        "shell", type=Literal["bash", "zsh", "tcsh"], help="the shell to complete in"
    )
