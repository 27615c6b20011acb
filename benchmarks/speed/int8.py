"""Accuracy and speed of eight-bit inference, in the fused torch path and in the ONNX graph.

    python benchmarks/speed/int8.py --models FOLDER --json benchmarks/results/int8-DATE.json

Two models are trained with the paper's settings (seed 2023, honest protocol) and saved in FOLDER
for later runs: ETTh1 with horizon 96 and ArticularyWordRecognition. Their graphs run through
`convtimenet.runtime` on one thread. Accuracy: all test windows and cases. Speed: ETTh1's batch (256
windows of 7 channels, 336 steps) and a single window, real data, interleaved, medians over the
rounds. Seconds are CPU time of the process, which other processes disturb less than wall time.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, datasets, runtime
from convtimenet.export import Deployed, eight_bit_products, export, on_rows, trace_onnx
from convtimenet.runs.evaluation import evaluate_dataset

Answer = Callable[[np.ndarray], np.ndarray]
FORMATS = ("onnx", "onnx-int8")
CALIBRATION = 128


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True, help="the trained models")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        record = {
            "date": datetime.now(UTC).date().isoformat(),
            "command": f"python benchmarks/speed/int8.py --rounds {given.rounds}",
            "seed": 2023,
            "threads": 1,
            "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
            "processor": processor(),
            **forecasts(given.models, Path(made), given.rounds),
            "ArticularyWordRecognition": classes(given.models, Path(made)),
        }
    text = json.dumps(record, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


def trained(models: Path, name: str, **settings: Any) -> Path:
    """The folder of a model, which is trained if it does not exist yet."""
    folder = models / name
    if not folder.exists():
        run = evaluate_dataset(
            name, preset="paper", protocol="honest", settings={"random_state": 2023}, **settings
        )
        run.model.save(folder)
    return folder


def forecasts(models: Path, made: Path, rounds: int) -> dict[str, Any]:
    """ETTh1, h 96: scores of every path over all test windows, and their speed."""
    folder = trained(models, "ETTh1", h=96)
    model = ConvTimeNetForecaster.load(folder, device="cpu")
    eight = ConvTimeNetForecaster.load(folder, device="cpu", precision="int8")
    data = datasets.load_forecasting("ETTh1")
    values, test = data.values, slice(data.val_end, data.test_end)
    L, H = model.network_.config.context_length, model.network_.config.outputs
    windows = np.lib.stride_tricks.sliding_window_view(values, L + H, axis=0)
    tested = windows[test.start - L : test.stop - L - H + 1]
    x, y = np.ascontiguousarray(tested[..., :L]), tested[..., L:]
    contexts = np.lib.stride_tricks.sliding_window_view(values[: data.train_end], L, axis=0)
    answers = graphs(model, eight, made / "forecasts", x[:64], contexts)
    scale = model.scaler_.scale
    scores: dict[str, Any] = {"test_windows": len(x)}
    reference = answers["torch"](x)
    for path, answer in answers.items():
        found = answer(x)
        scores[path] = {
            "mse": float((((found - y) / scale) ** 2).mean()),
            "mae": float(np.abs((found - y) / scale).mean()),
            "mean_difference": float(np.abs((found - reference) / scale).mean()),
            "max_difference": float(np.abs((found - reference) / scale).max()),
        }
    for path in ("torch, int8", "onnx-int8"):
        alone = np.concatenate([answers[path](one[None]) for one in x[:256]])
        beside = np.abs((alone - answers[path](x[:256])) / scale)
        scores[f"{path}, a window alone or beside others"] = {
            "mean_difference": float(beside.mean()),
            "max_difference": float(beside.max()),
        }
    return {
        "ETTh1-96": scores,
        "speed, 256 windows": speed(answers, x[:256], rounds, calls=1),
        "speed, 1 window": speed(answers, x[:1], rounds, calls=100),
    }


def graphs(
    model: ConvTimeNetForecaster,
    eight: ConvTimeNetForecaster,
    made: Path,
    x: np.ndarray,
    contexts: np.ndarray,
) -> dict[str, Answer]:
    """All paths from windows (B, C, L) in the data's units to forecasts (B, C, H); `eight` is the
    model loaded for eight bits."""
    deployed = Deployed(model).eval()

    def through(network: Deployed) -> Answer:
        def answer(x: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return torch.cat([network(part) for part in torch.from_numpy(x).split(256)]).numpy()

        return answer

    answers = {"torch": through(deployed), "torch, int8": through(Deployed(eight).eval())}
    for format in FORMATS:
        export(model, made / format, format)
        opened = runtime.load(made / format, threads=1)
        answers[format] = opened.run
    whole = runtime.load(made / "onnx", threads=1).session
    answers["onnx, not cut to the cache"] = lambda x: whole.run(None, {"x": x})[0]
    fixed = runtime.load(made / "onnx", threads=1)
    graph = fixed_scales(deployed, made, x[:2], contexts)
    fixed.session = runtime.session_of(graph.read_bytes(), str(graph), threads=1)
    answers["int8, activations' scales fixed"] = fixed.run
    return answers


def fixed_scales(deployed: Deployed, made: Path, x: np.ndarray, contexts: np.ndarray) -> Path:
    """The variant that is not offered: fixed activation scales from training windows."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    chosen = np.random.default_rng(0).choice(len(contexts), CALIBRATION, replace=False)
    parts = iter(np.split(np.ascontiguousarray(contexts[chosen]), 4))

    class Windows(CalibrationDataReader):
        def get_next(self) -> Any:
            part = next(parts, None)
            return None if part is None else {"x": part}

    plain, path = made / "rows.onnx", made / "fixed.onnx"
    rows = copy.deepcopy(deployed)
    rows.network = on_rows(deployed.network)
    trace_onnx(rows, plain, torch.from_numpy(x), {0: torch.export.Dim("batch", min=1)})
    quantize_static(
        plain,
        path,
        Windows(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=eight_bit_products(plain),
    )
    return path


def speed(answers: dict[str, Answer], x: np.ndarray, rounds: int, calls: int) -> dict[str, Any]:
    """Milliseconds of one call of each path, interleaved, and the speedup over torch."""
    seconds: dict[str, list[float]] = {path: [] for path in answers}
    clock: dict[str, list[float]] = {path: [] for path in answers}
    for answer in answers.values():
        answer(x)
    for _ in range(rounds):
        for path, answer in answers.items():
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                answer(x)
            seconds[path].append((time.process_time() - cpu) / calls)
            clock[path].append((time.perf_counter() - began) / calls)
    return {
        path: {
            "cpu_ms": round(1e3 * statistics.median(own), 3),
            "cpu_ms_range": [round(1e3 * min(own), 3), round(1e3 * max(own), 3)],
            "clock_ms": round(1e3 * statistics.median(clock[path]), 3),
            "times_as_quick_as_torch": round(
                statistics.median(t / o for t, o in zip(seconds["torch"], own, strict=True)), 3
            ),
        }
        for path, own in seconds.items()
    }


def classes(models: Path, made: Path) -> dict[str, Any]:
    """ArticularyWordRecognition: accuracy of every path over all test cases."""
    name = "ArticularyWordRecognition"
    folder = trained(models, name)
    model = ConvTimeNetClassifier.load(folder, device="cpu")
    eight = ConvTimeNetClassifier.load(folder, device="cpu", precision="int8")
    cases = datasets.load_classification(name)[1]
    assert cases.labels is not None
    found: dict[str, Any] = {
        "test_cases": len(cases.labels),
        "torch": {"accuracy": float((model.predict(cases) == cases.labels).mean())},
        "torch, int8": {
            "accuracy": float((eight.predict(cases) == cases.labels).mean()),
            "same_class": float((eight.predict(cases) == model.predict(cases)).mean()),
        },
    }
    for format in FORMATS:
        parity = export(model, made / name / format, format, data=cases)
        opened = runtime.load(made / name / format, threads=1)
        assert isinstance(opened, runtime.ClassifyRuntime)
        right = opened.predict(cases.values) == cases.labels
        found[format] = {"accuracy": float(right.mean()), **parity}
    return found


def processor() -> str:
    """Name of the processor and its instructions that matter here."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    of = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    flags = of["flags"].split()
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if flag in flags]
    return f"{of['model name']}, {' '.join(known)}"


if __name__ == "__main__":
    main()
