"""The command line: flags to files, mistakes in one line, and nothing half-written."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, __version__, base
from convtimenet.cli import main
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.presets import PAPER

DATA = Path(os.environ.get("CONVTIMENET_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no data sets in {DATA}; set CONVTIMENET_DATA"
)
TINY = ["--model.d_model=8", "--model.d_ff=16", "--model.kernel_sizes=[3,5]"]
QUICK = [*TINY, "--training.epochs=1", "--device=cpu", "--quiet"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVTIMENET_DATA", str(DATA))


@pytest.fixture
def _no_training(monkeypatch):
    def reached(*_, **__):
        raise AssertionError("training began before the mistake was found")

    monkeypatch.setattr(base, "train", reached)


def here() -> set[str]:
    return {str(path.relative_to(".")) for path in Path().rglob("*") if path.is_file()}


def rows_of(path: str) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def table() -> str:
    values = np.sin(np.arange(160)[:, None] / np.array([2.0, 3.0]))
    with open("sales.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "wind [m/s]", "b"])
        start = np.datetime64("2024-01-01T00:00")
        writer.writerows([str(start + 60 * i), *row] for i, row in enumerate(values.tolist()))
    return "sales.csv"


def write_cases(name: str, n: int = 20, labelled: bool = True, channels: int = 2) -> str:
    X = np.random.default_rng(n).normal(size=(n, channels, 20))
    if labelled:
        np.savez(name, X=X, y=np.array(["up", "down"] * (n // 2)))
    else:
        np.savez(name, X=X)
    return name


class TestForecast:
    def test_writes_what_was_asked_for(self, table, capsys):
        outputs = ["--out=f.csv", "--json=r.json", "--save=model", "--report=r.html"]
        assert main(["forecast", table, "--h=4", *outputs, *QUICK]) == 0
        model = ConvTimeNetForecaster.load("model")
        rows = rows_of("f.csv")
        assert rows[0] == ["date", "wind [m/s]", "b"]
        assert [row[0] for row in rows[1:]] == [f"2024-01-07T{h}:00:00" for h in range(16, 20)]
        written = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]])
        values = np.array([[float(cell) for cell in row[1:]] for row in rows_of(table)[1:]])
        np.testing.assert_array_equal(written, model.forecast(values))
        result = json.loads(Path("r.json").read_text())
        assert result["dataset"] == "sales.csv"
        assert (result["horizon"], result["n_test"]) == (4, 32 - 4 + 1)
        assert result["model"]["kernel_sizes"] == [3, 5]
        assert result["training"]["epochs"] == 1
        assert result["scores"].keys() == {"mse", "mae"}
        assert "<html" in Path("r.html").read_text()[:1000].lower()
        assert "forecast of 4 steps: f.csv" in capsys.readouterr().out
        assert here() == {table, "f.csv", "r.json", "r.html"} | {
            f"model/{path.name}" for path in Path("model").iterdir()
        }
        assert Path("model/manifest.json").is_file()

    def test_the_default_output_is_named_after_the_data(self, table):
        assert main(["forecast", table, "--h=4", *QUICK]) == 0
        assert here() == {table, "sales-forecast.csv"}

    def test_same_seed_same_file(self, table):
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            assert (
                main(["forecast", table, "--h=4", f"--out={name}.csv", f"--seed={seed}", *QUICK])
                == 0
            )
        first, same, other = (Path(f"{name}.csv").read_bytes() for name in "abc")
        assert first == same
        assert first != other

    def test_a_saved_model_forecasts_without_training(self, table, monkeypatch):
        main(["forecast", table, "--h=4", "--out=a.csv", "--save=model", *QUICK])
        monkeypatch.setattr(base, "train", None)
        assert main(["forecast", table, "--load=model", "--out=b.csv"]) == 0
        assert Path("b.csv").read_bytes() == Path("a.csv").read_bytes()

    def test_flags_may_come_from_a_file(self, table):
        settings = {
            "h": 3,
            "model": {"d_model": 4, "d_ff": 8, "kernel_sizes": [3]},
            "training": {"epochs": 1, "lr": 0.002},
            "json": "r.json",
            "device": "cpu",
        }
        Path("flags.json").write_text(json.dumps(settings))
        assert main(["forecast", table, "--config=flags.json", "--training.lr=0.003"]) == 0
        result = json.loads(Path("r.json").read_text())
        assert result["horizon"] == 3
        assert result["model"]["d_model"] == 4
        assert result["training"]["lr"] == 0.003  # the later flag wins
        Path("flags.yaml").write_text("h: 2\njson: y.json\ndevice: cpu\ntraining: {epochs: 1}\n")
        assert main(["forecast", table, "--config=flags.yaml", *TINY]) == 0
        assert json.loads(Path("y.json").read_text())["horizon"] == 2

    def test_flags_choose_columns_step_and_preset(self, table):
        flags = ["--target_cols=[b]", "--time_col=date", "--freq=1h", "--preset=ILI"]
        size = ["--input_size=20", "--h=2", "--json=r.json"]
        assert main(["forecast", table, *flags, *size, *QUICK]) == 0
        assert rows_of("sales-forecast.csv")[0] == ["date", "b"]
        result = json.loads(Path("r.json").read_text())
        assert result["preset"] == "ILI"
        assert result["training"]["lr"] == 5e-3
        assert result["model"]["context_length"] == 20

    def test_one_channel_needs_no_brackets(self, table):
        assert main(["forecast", table, "--target_cols=b", "--h=2", *QUICK]) == 0
        assert rows_of("sales-forecast.csv")[0] == ["date", "b"]

    def test_a_saved_model_writes_its_forecast_as_json(self, table):
        assert main(["forecast", table, "--h=2", "--save=model", *QUICK]) == 0
        assert main(["forecast", table, "--load=model", "--json=r.json"]) == 0
        rows = rows_of("sales-forecast.csv")
        result = json.loads(Path("r.json").read_text())
        assert result["times"] == [row[0] for row in rows[1:]]
        assert result["forecast"]["b"] == [float(row[2]) for row in rows[1:]]

    def test_what_cannot_be_reported_does_not_cost_the_rest(self, table, capsys):
        flags = ["--test_fraction=0", "--h=2", "--json=r.json", "--report=r.html"]
        assert main(["forecast", table, *flags, *QUICK]) == 0
        assert "report: not written" in capsys.readouterr().out
        assert Path("r.json").exists()
        assert not Path("r.html").exists()

    def test_notices_are_shown_whatever_the_channel_is_called(self, table, capsys):
        lines = Path(table).read_text().splitlines()
        lines[5] = lines[5].split(",")[0] + ",,1"
        lines[0] = "date,speed [/s],b"
        Path(table).write_text("\n".join(lines))
        assert main(["forecast", table, "--h=4", *QUICK]) == 0
        shown = capsys.readouterr().out
        assert "note: channel 'speed [/s]': filled by interpolation in time: 1 missing" in shown
        assert "Notices: channel 'speed [/s]': filled" in shown


class TestClassify:
    def test_without_a_test_file_a_part_is_held_out(self):
        write_cases("train.npz", 40)
        outputs = ["--json=r.json", "--save=model", "--test_fraction=0.25"]
        assert main(["classify", "train.npz", *outputs, *QUICK]) == 0
        assert json.loads(Path("r.json").read_text())["n_test"] == 10
        rows = rows_of("train-classes.csv")
        assert rows[0] == ["case", "class", "p_down", "p_up"]
        assert len(rows) == 11

    def test_labelled_test_cases_are_scored(self, capsys):
        train, test = write_cases("train.npz", 20), write_cases("test.npz", 12)
        outputs = ["--json=r.json", "--save=model", "--out=c.csv"]
        assert main(["classify", train, test, *outputs, *QUICK]) == 0
        model = ConvTimeNetClassifier.load("model")
        with np.load(test) as archive:
            predicted, y = model.predict(archive["X"]), archive["y"]
        assert [row[1] for row in rows_of("c.csv")[1:]] == predicted.tolist()
        result = json.loads(Path("r.json").read_text())
        assert result["scores"]["accuracy"] == (predicted == y).mean()
        assert result["n_test"] == 12

    def test_unlabelled_test_cases_are_classified(self, capsys):
        train, test = write_cases("train.npz"), write_cases("new.npz", 6, labelled=False)
        assert main(["classify", train, test, "--save=model", "--json=r.json", *QUICK]) == 0
        assert len(rows_of("new-classes.csv")) == 7
        assert "carry no labels" in capsys.readouterr().out
        classes = [row[1] for row in rows_of("new-classes.csv")[1:]]
        assert json.loads(Path("r.json").read_text()) == {"classes": classes, "notices": []}
        assert main(["classify", test, "--load=model", "--out=again.csv"]) == 0
        assert Path("again.csv").read_bytes() == Path("new-classes.csv").read_bytes()

    def test_a_saved_model_is_scored_on_labelled_cases(self, capsys):
        train, test = write_cases("train.npz"), write_cases("test.npz", 6)
        assert main(["classify", train, test, "--save=model", "--json=r.json", *QUICK]) == 0
        assert main(["classify", test, "--load=model", "--json=again.json"]) == 0
        again = json.loads(Path("again.json").read_text())
        scores = json.loads(Path("r.json").read_text())["scores"]
        assert again["accuracy"] == scores["accuracy"]
        assert "accuracy: " in capsys.readouterr().out

    def test_missing_values_of_test_cases_are_told_of(self, capsys):
        train, test = write_cases("train.npz"), write_cases("test.npz", 6)
        with np.load(test) as archive:
            X, y = archive["X"], archive["y"]
        X[0, 0, 2] = np.nan
        np.savez(test, X=X, y=y)
        masked = "1 missing or infinite values are masked"
        filled = "1 missing or infinite values were interpolated along time"
        for flags, notice in ([], masked), (["--model.masks=false"], filled):
            assert main(["classify", train, test, "--save=model", *flags, *QUICK]) == 0
            assert f"Notices: test: {notice}" in capsys.readouterr().out
            assert main(["classify", test, "--load=model"]) == 0
            assert f"note: {notice}" in capsys.readouterr().out


class TestExport:
    def test_a_forecaster(self, table, capsys):
        assert main(["forecast", table, "--h=4", "--save=model", *QUICK]) == 0
        capsys.readouterr()
        assert main(["export", "model", "--to=graph", f"--check={table}"]) == 0
        shown = capsys.readouterr().out
        parity = json.loads(Path("graph/parity.json").read_text())
        assert f"onnx graph: {Path('graph/model.onnx')}\n" in shown
        assert parity["inputs"] > 1
        assert f"on {parity['inputs']} windows" in shown
        assert f"mean difference {parity['mean_difference']:.2g}" in shown
        assert f"largest {parity['max_difference']:.2g}: {Path('graph/parity.json')}\n" in shown
        values = np.array([[float(cell) for cell in row[1:]] for row in rows_of(table)[1:]])
        usage = [line.strip() for line in shown.split("use it with:\n")[1].splitlines()]
        usage[-1] = f"answer = {usage[-1]}"
        names = {"values": values}
        exec("\n".join(usage), names)
        expected = ConvTimeNetForecaster.load("model").forecast(values)
        np.testing.assert_allclose(names["answer"], expected, atol=1e-5)

    def test_a_classifier_with_eight_bit_weights(self, capsys):
        train = write_cases("train.npz")
        assert main(["classify", train, "--save=model", *QUICK]) == 0
        capsys.readouterr()
        flags = ["--format=onnx-int8", "--to=graph", f"--check={train}"]
        assert main(["export", "model", *flags]) == 0
        shown = capsys.readouterr().out
        parity = json.loads(Path("graph/parity.json").read_text())
        assert f"on 20 cases: answers up to {parity['largest_answer']:.4g}" in shown
        assert f"same class for {parity['same_class']:.2%}" in shown
        assert "  model.predict(cases)\n" in shown

    def test_a_torch_program(self, table, capsys):
        assert main(["forecast", table, "--h=4", "--save=model", *QUICK]) == 0
        assert main(["export", "model", "--format=torch-export", "--to=graph"]) == 0
        assert f"torch.export.load({str(Path('graph/model.pt2'))!r})" in capsys.readouterr().out

    def test_mistakes(self, table, capsys):
        assert main(["forecast", table, "--h=4", "--save=model", *QUICK]) == 0
        train = write_cases("train.npz")
        assert main(["classify", train, "--save=cases", *QUICK]) == 0
        before = here()
        for arguments, says in (
            (["model", "--to=model"], "model holds a saved model"),
            (["cases", "--to=graph"], "give some with --check"),
            (["model", "--to=graph", "--check=nowhere.csv"], "nowhere.csv"),
            (["model", "--to=graph", f"--check={train}"], "npz"),
            (["nowhere", "--to=graph"], "there is no model folder at nowhere"),
            (["model", "--to=graph", "--format=tflite"], "format"),
            (["model"], "--to|export.to"),
        ):
            capsys.readouterr()
            assert main(["export", *arguments]) == 2
            shown = capsys.readouterr().err
            assert re.search(says, shown), shown
            assert shown.count("\n") == 1
        assert here() == before


@needs_data
class TestEvaluate:
    def test_a_forecasting_set(self, capsys):
        flags = ["--h=24", "--json=r.json", "--protocol=honest", "--preset=paper"]
        assert main(["evaluate", "ILI", *flags, *QUICK]) == 0
        result = json.loads(Path("r.json").read_text())
        assert (result["dataset"], result["n_test"]) == ("ILI", 170)
        shown = capsys.readouterr().out
        assert "Protocol: honest" in shown
        assert "Seed: 2023" in shown
        assert "170 windows" in shown

    def test_a_classification_set_by_its_alias(self):
        assert main(["evaluate", "standwalkjump", "--preset=auto", "--json=r.json", *QUICK]) == 0
        result = json.loads(Path("r.json").read_text())
        assert (result["dataset"], result["n_test"]) == ("StandWalkJump", 15)


@needs_data
class TestDatasets:
    def test_list(self, capsys):
        assert main(["datasets", "list", "--json=d.json"]) == 0
        found = json.loads(Path("d.json").read_text())
        assert set(PAPER) <= set(found)
        assert found["ETTh1"]["here"] is True
        assert found["Traffic"]["here"] is False
        assert found["ETTh1"]["task"] == "forecasting"
        assert "data home" in capsys.readouterr().out

    def test_verify(self, capsys):
        assert main(["datasets", "verify", "ILI", "Traffic", "--json=d.json"]) == 0
        shown = capsys.readouterr().out
        assert "absent    Traffic" in shown
        found = json.loads(Path("d.json").read_text())
        assert list(found["ILI"].values()) == ["ok"]
        assert found["Traffic"] == {}

    def test_verify_tells_damage(self, monkeypatch, capsys):
        damaged = Path("home/forecasting/national_illness.csv")
        damaged.parent.mkdir(parents=True)
        damaged.write_text("date,a\n2024-01-01,1\n")
        monkeypatch.setenv("CONVTIMENET_DATA", str(Path("home").resolve()))
        assert main(["datasets", "verify", "ILI"]) == 2
        assert "ILI: files differ from the registered ones" in capsys.readouterr().err


MISTAKES = {
    "unknown flag": (["forecast", "sales.csv", "--colour=red"], "unrecognized.*--colour"),
    "no command": ([], "forecast,classify,regress,evaluate,export"),
    "unknown command": (["predict"], "invalid choice: 'predict'"),
    "no data": (["forecast"], "required: forecast.data"),
    "absent file": (["forecast", "nowhere.csv"], "nowhere.csv"),
    "text for a number": (["forecast", "sales.csv", "--h=many"], '"h".*Given value: many|many'),
    "horizon 0": (["forecast", "sales.csv", "--h=0"], "h, the horizon, must be .* found 0"),
    "context 0": (["forecast", "sales.csv", "--h=4", "--input_size=0"], "input_size.* found 0"),
    "too long a horizon": (["forecast", "sales.csv", "--h=500"], "no window fits"),
    "test fraction": (
        ["forecast", "sales.csv", "--test_fraction=1.5"],
        "test_fraction must be at least 0 and below 1, found 1.5",
    ),
    "batch size 0": (["forecast", "sales.csv", "--training.batch_size=0"], "batch_size.* found 0"),
    "validation fraction": (
        ["forecast", "sales.csv", "--training.validation_fraction=1.5"],
        "validation_fraction.* found 1.5",
    ),
    "padding": (["forecast", "sales.csv", "--model.padding=mirror"], "padding"),
    "preset": (["forecast", "sales.csv", "--preset=ETTh9"], "'ETTh9'.*preset='auto'"),
    "device": (["forecast", "sales.csv", "--device=warp"], "device must be.*'warp'"),
    "seed": (["forecast", "sales.csv", "--seed=-1"], "seed must be .* found -1"),
    "other suffix": (["forecast", "sales.csv", "--out=f.txt"], r"ends in \.csv, found 'f.txt'"),
    "absent folder": (["forecast", "sales.csv", "--json=a/b.json"], "folder a does not exist"),
    "folder as a file": (["forecast", "sales.csv", "--json=."], "--json must be a file"),
    "model over data": (["forecast", "sales.csv", "--save=sales.csv"], "other than a saved model"),
    "model over a folder": (["forecast", "sales.csv", "--save=."], "other than a saved model"),
    "data overwritten": (["forecast", "sales.csv", "--out=./sales.csv"], "--out would overwrite"),
    "data overwritten by scores": (["forecast", "sales.csv", "--json=sales.csv"], "--json would"),
    "two outputs in one": (
        ["forecast", "sales.csv", "--out=x.csv", "--json=x.csv"],
        "--json would overwrite x.csv",
    ),
    "no model": (
        ["forecast", "sales.csv", "--load=nowhere"],
        "there is no model folder at nowhere",
    ),
    "load and training": (
        ["forecast", "sales.csv", "--load=m", "--h=7", "--training.lr=0.1"],
        "leave out --h, --training.lr",
    ),
    "load and save": (["forecast", "sales.csv", "--load=m", "--save=n"], "--save.*--load"),
    "config in another encoding": (
        ["forecast", "sales.csv", "--config=train.npz"],
        "config file is not UTF-8",
    ),
    "absent config": (["forecast", "sales.csv", "--config=no.yaml"], "no.yaml"),
    "table to classify": (["classify", "sales.csv"], r"ending in \.ts"),
    "cases overwritten": (
        ["classify", "train.npz", "test.npz", "--out=test.npz"],
        "--out would overwrite test.npz",
    ),
    "other channels": (["classify", "train.npz", "test.npz", "--quiet"], "channels"),
    "classes held out": (["classify", "train.npz", "--test_fraction=1.5"], "cannot hold out 1.5"),
    "unknown set": (["evaluate", "ETTh9"], "did you mean one of: .*ETTh1"),
    "protocol": (["evaluate", "ETTh1", "--protocol=kind"], "protocol"),
    "unknown set to verify": (["datasets", "verify", "ETTh9"], "did you mean one of: .*ETTh1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing_behind(mistake, table, capsys, request):
    arguments, message = MISTAKES[mistake]
    request.getfixturevalue("_no_training")
    write_cases("train.npz")
    write_cases("test.npz", 4, channels=3)
    before = {name: Path(name).read_bytes() for name in here()}
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("convtimenet: ")
    assert shown.count("\n") == 1
    assert "Traceback" not in shown
    assert re.search(message, shown), shown
    assert {name: Path(name).read_bytes() for name in here()} == before


def test_a_file_without_a_horizon(table, capsys):
    Path("flags.yaml").write_text("h: null\n")
    assert main(["forecast", table, "--config=flags.yaml"]) == 2
    assert "h, the horizon, must be a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "mentioned"),
    [
        (
            "forecast",
            ["--h", "--out", "--save", "--load", "--report", "--test_fraction", "horizon"],
        ),
        ("classify", ["--test_fraction", "--load", ".ts or .npz", "classes"]),
        ("evaluate", ["--protocol", "honest", "--preset", "--seed", "--h"]),
        ("export", ["--format", "onnx-int8", "--to", "--check", "convtimenet.runtime", "parity"]),
        ("datasets", ["list", "fetch", "verify", "--json"]),
    ],
)
def test_help_of_each_command(command, mentioned, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert [word for word in mentioned if word not in shown] == []


def test_help_names_every_setting_of_the_configs(capsys):
    with pytest.raises(SystemExit):
        main(["forecast", "--help"])
    shown = capsys.readouterr().out
    elsewhere = {"head", "context_length", "outputs", "channels", "protocol", "device", "seed"}
    elsewhere |= {"hist_exog", "futr_exog", "stat_exog", "stat_categories"}
    for group, config in (("model", ModelConfig), ("training", TrainConfig)):
        for name in set(config.__dataclass_fields__) - elsewhere:
            assert f"--{group}.{name}" in shown


def test_general_help_and_version(capsys):
    for flag, expected in (
        ("--help", "convtimenet forecast sales.csv"),
        ("--version", __version__),
    ):
        with pytest.raises(SystemExit) as ended:
            main([flag])
        assert ended.value.code == 0
        assert expected in capsys.readouterr().out


# Says when training has begun, and trains for hours.
_ENDLESS = """
import sys
from convtimenet import base, cli
train = base.train
def announced(*arguments, **settings):
    print("training", flush=True)
    return train(*arguments, **settings)
base.train = announced
sys.exit(cli.main(sys.argv[1:]))
"""


def training_process(table: str) -> subprocess.Popen:
    patience = ["--training.epochs=1000000", "--training.patience=1000000"]
    outputs = ["--h=4", "--out=f.csv", "--json=r.json", "--save=model"]
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS, "forecast", table, *outputs, *QUICK, *patience],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        with pytest.raises(subprocess.TimeoutExpired):  # it is well under way
            process.wait(0.3)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process


def test_interrupted_training_writes_nothing_and_exits_with_130(table):
    process = training_process(table)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=30)
    assert process.returncode == 130
    assert shown.startswith("convtimenet: SIGINT stopped the training: ")
    assert shown.endswith("give a folder as resume= (--resume) to be able to go on after a stop\n")
    assert here() == {table}


def test_killed_training_leaves_no_partial_files(table):
    process = training_process(table)
    process.kill()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert {str(path) for path in Path().iterdir()} == {table}


def test_the_installed_command_reports_a_mistake_without_traceback():
    command = Path(sys.executable).with_name("convtimenet")
    if not command.exists():
        pytest.skip(f"no {command}: the package is not installed beside this Python")
    done = subprocess.run(
        [command, "forecast", "nowhere.csv"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "convtimenet: nowhere.csv: there is no such file; check the path\n"
