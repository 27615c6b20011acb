"""``convtimenet tune``: settings that the other commands take, trials, model; and stops."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster
from convtimenet.cli.main import main
from convtimenet.estimators import base

QUICK = ["--model.d_ff=16", "--training.epochs=1", "--device=cpu", "--quiet"]
WIDTHS = ["--search", "model.d_model=8,16", "training.lr=1e-3..1e-1", "model.kernel_sizes=[3],[5]"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.sin(np.arange(160)[:, None] / np.array([2.0, 3.0]))
    values += np.random.default_rng(0).normal(size=values.shape) / 3
    rows = [f"{i},{a:.4f},{b:.4f}" for i, (a, b) in enumerate(values.tolist())]
    Path("sales.csv").write_text("\n".join(["ds,a,b", *rows]))
    X = np.random.default_rng(1).normal(size=(30, 1, 20)) + (np.arange(30) % 2)[:, None, None]
    np.savez("cases.npz", X=X, y=np.array(["up", "down"] * 15))


def trials() -> list[dict[str, str]]:
    with open("out/trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def read(path: str) -> Any:
    return json.loads(Path(path).read_text())


def test_a_forecaster(capsys, monkeypatch):
    flags = ["--h=4", "--model.linear=false", *QUICK]
    assert main(["tune", "forecast", "sales.csv", "--trials=4", "--out=out", *flags, *WIDTHS]) == 0
    shown = capsys.readouterr().out
    rows = trials()
    best = min(rows, key=lambda row: float(row["score"]))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3"]
    assert f"{float(best['score']):.4g}; default settings {float(rows[0]['score']):.4g}" in shown
    assert best["trial"] != "0"
    settings = read("out/settings.json")
    assert settings == {
        "h": 4,
        "seed": 2023,
        "device": "cpu",
        "model": {
            "d_ff": 16,
            "linear": False,
            "d_model": int(best["model.d_model"]),
            "kernel_sizes": [int(best["model.kernel_sizes"])],
        },
        "training": {"epochs": 1, "lr": float(best["training.lr"])},
    }
    for what in ("settings, for convtimenet forecast --config", "all trials", "model with the"):
        assert f"\n{what}" in shown
    assert "scores on the test split" in shown
    # the file is all that the command needs for the same model
    more = ["--save=again", "--json=again.json", "--quiet"]
    assert main(["forecast", "sales.csv", "--config=out/settings.json", *more]) == 0
    model, again = (ConvTimeNetForecaster.load(folder) for folder in ("out/model", "again"))
    assert (model.predict("sales.csv").values == again.predict("sales.csv").values).all()
    # a trial is the first training of that command
    assert again.scores_ == model.scores_
    assert model.scores_ is not None
    assert model.scores_["ConvTimeNet"]["mase"] == float(best["score"])


def test_a_classifier_and_more_trials_later(capsys):
    command = ["tune", "classify", "cases.npz", "--out=out", *QUICK, "--model.random_patches=1"]
    command += ["--search", "model.pooling=mean,max"]
    assert main([*command, "--trials=1"]) == 0
    first = trials()
    capsys.readouterr()
    assert main([*command, "--trials=2"]) == 0
    assert "study.log holds 1 finished trials: the search continues" in capsys.readouterr().out
    assert trials()[0]["score"] == first[0]["score"]
    assert len(trials()) == 2
    more = ["--config=out/settings.json", "--save=again", "--quiet"]
    assert main(["classify", "cases.npz", *more]) == 0
    X = np.load("cases.npz")["X"]
    model, again = (ConvTimeNetClassifier.load(folder) for folder in ("out/model", "again"))
    assert (model.predict_proba(X) == again.predict_proba(X)).all()


def test_a_stop_writes_what_was_found(capsys, monkeypatch):
    train, calls = base.train, []

    def stopping(*values: Any, **given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return train(*values, **given)

    monkeypatch.setattr(base, "train", stopping)
    command = ["tune", "forecast", "sales.csv", "--h=4", "--trials=3", "--out=out", *QUICK]
    command += ["--model.linear=false", *WIDTHS]
    assert main(command) == 130
    out, err = capsys.readouterr()
    assert "1 trial: 1 complete" in out
    assert "the same command continues: out" in out
    assert err == "convtimenet: stopped before the end; nothing more was written\n"
    assert [row["state"] for row in trials()] == ["complete"]
    assert read("out/settings.json")["model"] == {"d_ff": 16, "linear": False}
    assert not Path("out/model").exists()
    assert main(command) == 0
    assert len(trials()) == 3
    assert Path("out/model").is_dir()


def test_another_file_as_the_study_leaves_nothing(capsys):
    before = sorted(Path().iterdir())
    flags = ["--h=4", "--study=sales.csv", "--out=out", *QUICK]
    assert main(["tune", "forecast", "sales.csv", *flags]) == 2
    assert "sales.csv is not the file of a search" in capsys.readouterr().err
    assert sorted(Path().iterdir()) == before


def test_test_cases_without_labels_are_refused(capsys):
    np.savez("new.npz", X=np.zeros((3, 1, 20)))
    assert main(["tune", "classify", "cases.npz", "new.npz", "--out=out", *QUICK]) == 2
    assert "new.npz: expected labelled cases to score the result on" in capsys.readouterr().err
    assert not Path("out").exists()
