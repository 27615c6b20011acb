"""A training for `tests/test_processes.py` and `benchmarks/scale/`, alone or by several processes.

    python tests/together.py OUT forecast [CHECKPOINTS]
    torchrun --nproc-per-node 2 tests/together.py OUT forecast,classify,refused

Every process writes its weights and answers to OUT/TASK-NUMBER.safetensors.
"""

import contextlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, processes
from convtimenet.errors import DataError, ProcessError
from convtimenet.network.linear import LinearNetwork

TASKS = "forecast", "classify", "streams"
"""Networks: a forecaster's without streams beside it, a classifier's, and a forecaster's with the
linear stream and the effects of covariates."""
FIRST_SCALE = "first scale"
"""The first of them with the usual first scale of the residuals."""
SOLVED = "solve"
"""A forecaster that is solved for."""
SHARED = "share"
"""The same from files read in parts."""
STEPS = 50
"""Steps of the first training."""


def table() -> dict[str, np.ndarray]:
    """Three series of 120 to 160 rows with gaps, and covariates of every kind, as columns."""
    numbers, parts = np.random.default_rng(5), []
    for name, rows in {"a": 160, "b": 140, "c": 120}.items():
        t = np.arange(rows)
        promo = (numbers.random(rows) < 0.2).astype(float)
        y = np.sin(t / 3) + 2 * promo + 0.2 * numbers.normal(size=rows)
        y[30:40] = np.nan
        start = np.datetime64("2024-01-01")
        part = {"id": [name] * rows, "time": start + t.astype("m8[D]"), "y": y, "promo": promo}
        heat = np.roll(y, 1)
        parts.append({**part, "heat": np.where(np.isnan(heat), 0, heat), "size": [rows] * rows})
    return {column: np.concatenate([np.asarray(p[column]) for p in parts]) for column in parts[0]}


def forecaster(
    resume: str | None, streams: bool = False, scale: float = 0.5
) -> tuple[ConvTimeNetForecaster, np.ndarray]:
    """A forecaster with masks and covariates, and its forecasts of the six rows after its table.

    With the usual, tiny scale of the residuals the gradients of the norms' gains and biases are
    zero in the first steps, and Adam takes steps on what rounding makes of that, which is another
    number in every order of summation. The scale here leaves them none.
    """
    import pandas as pd

    frame = pd.DataFrame(table())
    plan = frame.groupby("id").tail(6)
    frame = frame.drop(plan.index)
    model = ConvTimeNetForecaster(
        h=6, input_size=24, id_col="id", time_col="time", target_cols="y", n_epochs=10,
        hist_exog="heat", futr_exog="promo", stat_exog="size", calendar="dayofweek", verbose=0,
        quality="auto", batch_size=66 if streams else 47, device="cpu", lr=1e-3, refit=False,
        model={"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "patch_size": 6,
               "patch_stride": 3, "dropout": 0.1, "residual_init": scale}
              | ({} if streams else {"linear": False, "effects": 0}),
        training={"checkpoint_seconds": 0.0, "patience": None}
                 # the network's whole answer counts, and the weights of the last epoch
                 | ({"validation_fraction": 0} if streams else {}),
    )  # fmt: skip
    model.fit(frame, resume=resume)
    assert (model.network_.linear is not None, model.network_.effects is not None) == 2 * (streams,)
    return model, model.predict(frame, plan[["id", "time", "promo"]])["ConvTimeNet"].to_numpy()


def classifier(resume: str | None) -> tuple[ConvTimeNetClassifier, np.ndarray]:
    """A classifier of cases with gaps and of unequal lengths, and its probabilities."""
    numbers = np.random.default_rng(6)
    y = np.arange(102) % 3
    X = numbers.normal(size=(102, 2, 40)) + y[:, None, None] * np.sin(np.arange(40) / 3)
    X[::4, :, 30:], X[1::4, 0, 5:9] = np.nan, np.nan
    model = ConvTimeNetClassifier(
        n_epochs=10, batch_size=17, device="cpu", verbose=0, lr=1e-3,
        model={"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5), "random_patches": 1,
               "dropout": 0.1, "head_dropout": 0.1},
        training={"checkpoint_seconds": 0.0, "patience": None, "schedule": "cosine",
                  "validation_fraction": 0.2, "augment": True},
    )  # fmt: skip
    model.fit(X, y, resume=resume)
    return model, model.predict_proba(X)


def solved() -> tuple[ConvTimeNetForecaster, np.ndarray]:
    """A linear map with intervals, which a test compares to the last bit, and its forecasts."""
    t, numbers = np.arange(5300), np.random.default_rng(7)  # a batch to score for each of four
    X = [np.sin(t / 3 + c) + np.sin(t / 7) + 0.1 * numbers.normal(size=len(t)) for c in range(2)]
    X[0][30:33] = np.nan
    model = ConvTimeNetForecaster(
        h=3, input_size=12, quality="fast", freq=1, device="cpu", verbose=0
    )
    model.fit(np.stack(X, axis=1))
    return model, model.forecast_table(model.tail_, None, 80)


def write_parts(folder: Path, fault: str = "") -> Path:
    """Three Parquet files of eleven series of 60 to 110 rows, with gaps and numeric covariates; the
    fourth and the ninth go on in the next file. With a `fault` in the last of them."""
    import pandas as pd

    numbers, parts = np.random.default_rng(8), []
    for s in range(11):
        t = np.arange(60 + 5 * s)
        price = numbers.random(len(t))
        y = 20 * s + np.sin(t / 3) + 2 * price + 0.1 * numbers.normal(size=len(t))
        y[[9, 30 + s]] = np.nan
        start = np.datetime64("2024-01-01")
        part = pd.DataFrame({"unique_id": f"s{s:02d}", "ds": start + t.astype("m8[D]"), "y": y})
        parts.append(part.assign(price=price)[t != 5])
    if fault == "twice":
        parts[-1] = pd.concat([parts[-1], parts[-1][-1:]])
    rows = pd.concat(
        [*parts, parts[0].assign(ds=parts[0]["ds"] + np.timedelta64(90, "D"))]
        if fault == "apart"
        else parts
    )
    folder.mkdir()
    for number, (a, b) in enumerate([(0, 270), (270, 700), (700, len(rows))]):
        rows[a:b].to_parquet(folder / f"{number}.parquet", row_group_size=100, index=False)
    return folder


def read_in_parts() -> list[int]:
    """Read any file of a long table in small parts from now on. Returns the rows of each part that
    is read, also later ones."""
    from convtimenet.data import table_rows, tables
    from convtimenet.data.large import parts
    from convtimenet.data.sources.read import FilePart
    from convtimenet.files import maps
    from convtimenet.training.closed_form import sliding

    parts.LARGE, parts._CELLS = 1, 600
    maps.CHUNK = table_rows.CHUNK = sliding.CHUNK = 200
    found, read = [], tables.read_source

    def counted(source: Any, wanted: Any) -> Any:
        if isinstance(source, FilePart):
            found.append(len(source.rows))
        return read(source, wanted)

    tables.read_source = counted
    return found


def shared(out: Path) -> tuple[ConvTimeNetForecaster, np.ndarray, list[int]]:
    """A linear map with intervals from the files `write_parts`, its forecasts, and the rows of the
    parts that this process has read; what became of files with a fault is written."""
    import pandas as pd

    from convtimenet.data.large import parts

    read = read_in_parts()
    model = ConvTimeNetForecaster(
        h=3, input_size=12, quality="fast", target_cols="y", futr_exog="price",
        device="cpu", verbose=0,
    )  # fmt: skip
    model.fit(out / "parts")
    own = list(read)
    whole, parts._CELLS = model.read(out / "parts"), 2**20
    alone = model.read(out / "parts")  # one part: only the first process has any
    assert np.array_equal(whole.values, alone.values, equal_nan=True)
    assert whole.ids.tolist() == alone.ids.tolist()
    parts._CELLS = 600
    for fault in FAULTS:
        try:
            with processes.in_step():
                said = "\n".join(model.read(out / fault).notices)
        except DataError as error:
            said = f"{type(error).__name__} {error}"
        (out / f"{fault}-{processes.rank()}.txt").write_text(said, encoding="utf-8")
    last = pd.read_parquet(out / "parts").groupby("unique_id").tail(1)
    plan = pd.concat([last.assign(ds=last["ds"] + pd.Timedelta(days=d)) for d in (1, 2, 3)])
    plan = plan.sort_values(["unique_id", "ds"])[["unique_id", "ds", "price"]]
    return model, model.forecast_table(model.tail_, None, 80, plan), own


FAULTS = "twice", "apart"
DIFFERENT = "rows", "covariate", "cases", "labels"


def differing(what: str) -> None:
    """A fit in which that differs by process, and nothing else; all but the rows in number."""
    numbers = np.random.default_rng(processes.rank())
    y = np.arange(40) % 2
    if what == "rows":
        values = np.sin(np.arange(80 + 5 * processes.rank()))
        ConvTimeNetForecaster(h=3, quality="fast", verbose=0).fit(values)
    elif what == "covariate":
        import pandas as pd

        t = range(80)
        frame = pd.DataFrame({"t": t, "y": np.sin(t), "x": numbers.normal(size=80)})
        ConvTimeNetForecaster(
            h=3, input_size=12, time_col="t", target_cols="y", hist_exog="x", n_epochs=1, verbose=0
        ).fit(frame)
    elif what == "cases":
        ConvTimeNetClassifier(quality="fast", verbose=0).fit(numbers.normal(size=(40, 1, 20)), y)
    else:
        X = np.random.default_rng(0).normal(size=(40, 1, 20))
        ConvTimeNetClassifier(n_epochs=1, verbose=0).fit(X, numbers.permutation(y))


def refused(out: Path) -> None:
    """What a process is told if its data differ from those of the others."""
    for what in DIFFERENT:
        said = "nothing"
        try:
            differing(what)
        except ProcessError as error:
            said = str(error)
        (out / f"refused-{what}-{processes.rank()}.txt").write_text(said, encoding="utf-8")


def train(
    task: str, resume: str | None, out: Path | None = None
) -> tuple[dict[str, torch.Tensor], dict]:
    """Weights, answers and facts of a training."""
    if task in (SOLVED, SHARED):
        read = []
        if task == SOLVED:
            model, answers = solved()
        else:
            assert out is not None
            model, answers, read = shared(out)
        assert isinstance(model.network_, LinearNetwork)
        assert model.network_.linear is not None
        assert model.calibration_ is not None
        assert model.scores_ is not None
        found = {"map": model.network_.linear.weight, "answers": torch.tensor(answers)}
        found["radii"] = torch.from_numpy(model.calibration_.radii)
        found["scaling"] = torch.from_numpy(model.scaler_.scale)
        facts = dict(model.scores_["ConvTimeNet"])
        return found, facts | ({"read": read} if task == SHARED else {})
    if task == "classify":
        model, answers = classifier(resume)
    else:
        scale = {"scale": 1e-8} if task == FIRST_SCALE else {}
        model, answers = forecaster(resume, streams=task == "streams", **scale)
    found = {f"weights.{n}": v for n, v in model.network_.state_dict().items()}
    found["answers"] = torch.tensor(answers)
    history = model.history_.to_dict()
    return found, {name: history[name] for name in ("steps", "best_epoch", "stopped")}


def main(out: Path, tasks: str, resume: str | None) -> None:
    """Train, and write what came of it."""
    logging.disable(logging.WARNING)
    group = processes.joined() if processes.started_by_torchrun() else contextlib.nullcontext()
    with group:
        torch.set_num_threads(1)
        for task in tasks.split(","):
            if task == "refused":
                refused(out)
                continue
            found, facts = train(task, resume, out)
            path = out / f"{task}-{processes.rank()}.safetensors"
            save_file(found, path, {"facts": json.dumps(facts)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
