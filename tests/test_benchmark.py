"""The speed benchmark: its records, ratios and counts, and the comparison where sktime is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import gpu
import pytest
import speed
import torch
from timing import cases, contestants, fits, machine, measure, page, peers, pretend, scaling, work
from timing.contestants import AUTHORS, OURS, Entry, NotRun, Timed
from torch import nn
from torch.nn.functional import conv1d
from torch.utils.flop_counter import FlopCounterMode

from convtimenet.config import ModelConfig
from convtimenet.network.model import ConvTimeNet, count_parameters

KEYS = {
    *("case", "model", "phase", "precision", "path", "threads", "median_ms", "q25_ms", "q75_ms"),
    *("rounds", "share", "ratio_to_authors", "gflops", "attainable_ms", "attained", "peak_mb"),
    *("note", "not_run"),
}
SIZES: dict[str, Any] = {"patch_size": 8, "patch_stride": 4, "d_model": 8, "d_ff": 16}
THREADS = torch.get_num_threads()
AUTHORS_EAGER, OURS_EAGER = Entry(AUTHORS, "eager", "fp32"), Entry(OURS, "eager", "fp32")
RATES = {"matmul_gflops": {"fp32": {"512": 50.0, "1024": 100.0}}, "copy_gb_per_s": 10.0}


def tiny(head: str, kernels: tuple[int, ...] = (5, 7), **settings: Any) -> cases.Case:
    sizes = SIZES | {"kernel_sizes": kernels} | settings
    if head == "forecast":
        config = ModelConfig.forecasting(context_length=32, horizon=4, **sizes)
    else:
        config = ModelConfig.classification(channels=2, context_length=32, n_classes=3, **sizes)
    return cases.Case("tiny", config, batch=4, channels=2, lr=1e-3)


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds contestants whose step does nothing, in place of the true ones."""
    monkeypatch.setattr(contestants, "CONTESTANTS", [])

    def add(model: str, timed: Timed | str) -> None:
        def build(case: cases.Case, phase: cases.Phase, precision: str) -> Timed:
            if isinstance(timed, str):
                raise NotRun(timed)
            return timed

        contestants.contestant(model, "eager", phases=("eval", "latency"))(build)

    return add


# --- records ----------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["forecast", "classify"])
def test_our_network_alone(head: str) -> None:
    case = tiny(head)
    found = []
    for phase in case.phases:
        entries = [
            entry
            for entry in contestants.entries(case, phase, ["fp32"])
            if entry.model == OURS and entry.path in ("eager", "fused")
        ]
        found += measure.measure(
            case, phase, entries, threads=THREADS, rounds=2, warmup=1, turn=0.0, rates=RATES
        )
    assert [(r.phase, r.path) for r in found] == [
        ("train", "eager"),
        ("eval", "eager"),
        ("eval", "fused"),
        ("latency", "eager"),
        ("latency", "fused"),
    ]
    for record in json.loads(json.dumps([asdict(r) for r in found])):
        assert set(record) == KEYS
        assert record["rounds"] == 2
        assert record["share"] == 1
        assert 0 < record["q25_ms"] <= record["median_ms"] <= record["q75_ms"]
        assert record["ratio_to_authors"] is None
        assert record["peak_mb"] is None
        assert record["not_run"] is None
        assert record["attained"] == pytest.approx(record["attainable_ms"] / record["median_ms"])


def test_ratio_is_the_quotient_of_the_medians(sleeper: Callable[..., None]) -> None:
    sleeper(AUTHORS, Timed(lambda: sum(range(20000))))
    sleeper("half", Timed(lambda: sum(range(100)), share=0.5, note="4 of 8"))
    sleeper("absent", "no such package")
    case = tiny("forecast")
    entries = contestants.entries(case, "eval", ["fp32"])
    found = measure.measure(case, "eval", entries, threads=THREADS, rounds=3, warmup=1, turn=0.0)
    authors, half, absent = found
    assert authors.median_ms is not None
    assert half.median_ms is not None
    assert authors.ratio_to_authors == pytest.approx(1)
    # half of the work in that time, so all of it in twice that
    expected = authors.median_ms / (half.median_ms / 0.5)
    assert half.ratio_to_authors == pytest.approx(expected)
    assert (half.share, half.note) == (0.5, "4 of 8")
    assert (absent.not_run, absent.rounds, absent.median_ms) == ("no such package", 0, None)
    assert absent.ratio_to_authors is None


def test_numbers_of_a_record() -> None:
    record = measure.record(
        OURS_EAGER,
        [0.001, 0.002, 0.004],
        case="F1",
        phase="eval",
        threads=1,
        authors=[0.004, 0.010, 0.030],
        need=work.Work(flops=60_000_000, bytes=1_000_000),
        rates=RATES,
        peak_mb=12.0,
    )
    assert (record.q25_ms, record.median_ms, record.q75_ms) == pytest.approx((1.5, 2.0, 3.0))
    assert record.ratio_to_authors == pytest.approx(5.0)
    assert record.gflops == pytest.approx(30.0)
    # 0.6 ms at the best of the matrix rates, 0.1 ms at the copy rate
    assert record.attainable_ms == pytest.approx(0.6)
    assert record.attained == pytest.approx(0.3)
    assert record.peak_mb == 12.0


def test_turns_are_interleaved() -> None:
    turns: list[str] = []
    steps = {Entry(name, "eager", "fp32"): lambda name=name: turns.append(name) for name in "ABC"}
    seconds = measure.interleaved(steps, rounds=2, warmup=1, turn=0.0)
    assert turns == list("ABC" + "ABCABC")
    assert all(len(own) == 2 for own in seconds.values())


def test_a_turn_repeats_a_short_step(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        measure, "seconds_per_call", lambda step, count: calls.append(count) or 0.01
    )
    measure.interleaved({OURS_EAGER: lambda: None}, rounds=2, warmup=3, turn=0.055)
    assert calls == [3, 1, 6, 6]


def test_a_missing_package_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("sktime", "neuralforecast", "aeon", "tensorflow"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(contestants, "bf16_missing", lambda: "no bf16 here")
    forecast = tiny("forecast")
    everybody = contestants.entries(forecast, "train", ["fp32", "bf16"])
    others = [e for e in everybody if e != OURS_EAGER]
    found = measure.measure(forecast, "train", others, threads=THREADS, rounds=1)
    reasons = {(r.model, r.precision): r.not_run or "" for r in found}
    assert set(reasons) == {
        *((AUTHORS, "fp32"), (AUTHORS, "bf16"), (OURS, "bf16")),
        *(("PatchTST", "fp32"), ("PatchTST", "bf16"), ("PatchTST-d16", "fp32")),
        ("TimesNet-d16", "fp32"),
    }
    assert reasons[OURS, "bf16"] == "no bf16 here"
    assert "neuralforecast is not there" in reasons["PatchTST", "fp32"]
    assert "sktime's port is not there" in reasons[AUTHORS, "fp32"]
    c1 = cases.CASES["C1"]
    rivals = [e for e in contestants.entries(c1, "fit", ["fp32"]) if e.model != OURS]
    fitted = measure.measure(c1, "fit", rivals, threads=THREADS, rounds=1)
    assert {r.model for r in fitted} == {AUTHORS, "MiniRocket", "InceptionTime"}
    assert all("is not there" in (r.not_run or "") for r in fitted)


def test_who_takes_part() -> None:
    c2 = cases.CASES["C2"]
    assert {e.model for e in contestants.entries(c2, "eval", ["fp32"])} == {OURS, AUTHORS}
    f1 = cases.CASES["F1"]
    assert {
        (e.path, e.precision) for e in contestants.entries(f1, "latency", speed.PRECISIONS)
    } >= {
        *(("eager", "fp32"), ("fused", "bf16"), ("compiled", "fp32"), ("onnx", "fp32")),
        *(("eager", "bf16"), ("fused", "fp32"), ("compiled", "bf16")),
        *(("onnx-int8", "int8"), ("aoti", "fp32"), ("fused", "int8")),
    }
    assert f1.in_phase("latency").rows == 7
    assert "latency" not in cases.CASES["F2"].phases
    assert f1.rows > peers.TIMESNET_SERIES


def test_cases_are_the_papers() -> None:
    sizes = {
        name: (c.batch, c.channels, c.config.context_length) for name, c in cases.CASES.items()
    }
    assert sizes == {
        "F1": (256, 7, 336),
        "F2": (1, 862, 336),
        "F2x32": (32, 862, 336),
        "C1": (32, 9, 144),
        "C2": (32, 6, 1197),
        "small": (4, 7, 336),
    }
    assert tuple(cases.CASES) == speed.CASES
    assert cases.CASES["F1"].tokens == 256 * 7 * 21
    assert cases.CASES["C2"].config.kernel_sizes == (19, 19, 29, 29, 37, 37)
    assert "fit" in cases.CASES["C1"].phases


def test_generated_cases_have_the_sets_shape(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONVTIMENET_DATA", str(tmp_path))
    X, y, what = fits.labelled(cases.CASES["C1"])
    assert X.shape == (275, 9, 144)
    assert len(set(y)) == 25
    assert len(y) == 275
    assert what == "generated cases of ArticularyWordRecognition's shape"


@pytest.mark.slow
def test_one_case_from_the_command_line(tmp_path: Path) -> None:
    target = tmp_path / "small.json"
    flags = ["--case", "small", "--threads", "1", "--rounds", "1", "--turn", "0", "--memory"]
    flags += ["--models", OURS, "--paths", "eager", "fused", "--json", str(target)]
    done = subprocess.run(
        [sys.executable, str(measure.SCRIPT), *flags], capture_output=True, text=True, check=True
    )
    report = json.loads(target.read_text())
    assert set(report) == {
        *("machine", "versions", "settings", "rates", "same_function", "records", "scaling")
    }
    assert set(report["rates"]) == {"before", "after"}
    run = [r for r in report["records"] if r["not_run"] is None]
    found = {(r["phase"], r["path"], r["precision"]) for r in run}
    assert found >= {(p, "eager", "fp32") for p in ("train", "eval", "latency")}
    assert all(set(r) == KEYS and r["median_ms"] > 0 and r["threads"] == 1 for r in run)
    # a training step keeps what an evaluation lets go
    peaks = {
        r["phase"]: r["peak_mb"] for r in run if (r["path"], r["precision"]) == ("eager", "fp32")
    }
    assert peaks["train"] > peaks["eval"] > 0
    assert done.stdout.count("| small | train | convtimenet |") >= 1
    assert "small.json" in report["settings"]["command"]
    assert str(tmp_path) not in report["settings"]["command"]


def test_a_wrong_flag_is_refused_before_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        speed.arguments(["--json", str(tmp_path / "absent" / "f.json")])
    assert "there is no folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        speed.arguments(["--rounds", "0"])
    assert "--rounds must be at least 1, found 0" in capsys.readouterr().err
    options = speed.arguments(["--models", "nobody"])
    options.given = []
    with pytest.raises(SystemExit, match="found nobody"):
        speed.report_of(options)


# --- operations and bytes ---------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 21])
@pytest.mark.parametrize("k", [1, 4, 5, 39])
def test_taps_are_those_inside_the_row(n: int, k: int) -> None:
    ones = nn.functional.pad(torch.ones(1, 1, n), ((k - 1) // 2, k - 1 - (k - 1) // 2))
    assert work.taps(n, k) == conv1d(ones, torch.ones(1, 1, k)).sum().item()


@pytest.mark.parametrize("deformable", [True, False])
@pytest.mark.parametrize("head", ["forecast", "classify"])
def test_operations_are_what_torch_counts(
    head: str, deformable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Kernels of 2 N - 1 taps reach from every token to every other, where the plain path's full
    # matrix does nothing that the convolution does not need.
    monkeypatch.setattr("convtimenet.network.kernels.native.library", lambda: None)
    n_patches = tiny(head).config.n_patches
    case = tiny(head, kernels=(2 * n_patches - 1,) * 2, deformable=deformable, dropout=0.0)
    model = ConvTimeNet(case.config)
    x, _ = case.data()
    parameters = count_parameters(model)
    with FlopCounterMode(display=False) as counted:
        out = model(x)
    assert counted.get_total_flops() == work.forward(case.config, case.rows, parameters).flops
    with counted:
        out.sum().backward()
    backward = counted.get_total_flops()
    forward = work.forward(case.config, case.rows, parameters).flops
    assert forward + backward == work.step(case.config, case.rows, parameters).flops


def test_bytes_of_a_small_network() -> None:
    config = tiny("forecast", kernels=(5,)).config
    N, D, R, P = config.n_patches, 8, 3, 100
    tokens, series = D * R * N, R * (32 + 4)
    assert work.forward(config, R, P).bytes == 4 * (series + P + 6 * tokens)
    assert work.step(config, R, P).bytes == 4 * (series + 8 * P + 16 * tokens)


def test_attainable_is_the_longer_of_both() -> None:
    assert work.attainable_ms(work.Work(10**9, 10**6), 100, 10) == pytest.approx(10)
    assert work.attainable_ms(work.Work(10**6, 10**9), 100, 10) == pytest.approx(100)


# --- growth -----------------------------------------------------------------------------------


def test_slope_is_the_power() -> None:
    points = [(n, 3.0 * n**1.5) for n in (1, 10, 50)]
    assert scaling.slope(points) == pytest.approx(1.5)
    rows = [
        {"axis": "length", "phase": "eval", "model": OURS, "n": n, "median_ms": ms}
        for n, ms in [*points, (60, None)]
    ]
    (found,) = scaling.slopes(rows)
    assert (found["slope"], found["from"], found["to"]) == (pytest.approx(1.5), 1, 50)


def test_what_would_take_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "available", lambda device: 10e9)
    seen = [(10, 1.0, 1e8), (20, 3.0, 2e8)]  # time grows with the power 1.6, memory linearly
    assert scaling.too_much(seen, 40, budget=10) is None
    assert "would take about 9 s a call" in (scaling.too_much(seen, 40, budget=8) or "")
    assert "would take about 8 GB" in (scaling.too_much(seen, 800, budget=1e9) or "")


def test_points_say_what_was_not_run(sleeper: Callable[..., None]) -> None:
    sleeper(AUTHORS, Timed(lambda: None))
    sleeper("PatchTST", "no such package")
    contestants.contestant(OURS, "fused", phases=("eval",))(lambda *_: Timed(lambda: None))
    points = list(
        scaling.scale(scaling.AXES["series"], "eval", rounds=2, budget=1.0, sizes=(10, 2000))
    )
    assert [(p.n, p.model, p.rounds, p.not_run) for p in points] == [
        (n, model, rounds, reason)
        for n in (10, 2000)
        for model, rounds, reason in (
            (OURS, 2, None),
            (AUTHORS, 2, None),
            ("PatchTST", 0, "no such package"),
        )
    ]
    assert points[2].median_ms is None


def test_lengths_lie_on_the_authors_grid() -> None:
    for n in scaling.AXES["length"].sizes:
        config = scaling.AXES["length"].case(n).config
        assert (n - config.patch_size) % config.patch_stride == 0


# --- the page ---------------------------------------------------------------------------------


def report() -> dict[str, Any]:
    common: dict[str, Any] = {"case": "C1", "phase": "train", "threads": 1}
    slow, quick = [0.004], [0.001]
    measured = [
        measure.record(AUTHORS_EAGER, slow, authors=slow, **common),
        measure.record(OURS_EAGER, quick, authors=slow, **common),
        measure.record(Entry("TimesNet-d16", "eager", "fp32"), None, not_run="not there", **common),
    ]
    points = [
        asdict(scaling.Point("series", "eval", OURS, "fused", n, n / 10, 0.0, 0.0, 3, None))
        for n in (10, 100)
    ]
    missing = scaling.Point(
        "series", "eval", AUTHORS, "eager", 100, None, None, None, 0, "too long"
    )
    rate = RATES | {"pointwise_gflops": {"C1": 1.0}}
    return {
        "machine": machine.machine(),
        "versions": machine.versions(),
        "settings": {"threads": 1, "command": "python benchmarks/speed/speed.py --case C1"},
        "rates": {"before": rate, "after": rate},
        "records": [asdict(r) for r in measured],
        "scaling": {
            "axes": {"series": "one at a time"},
            "points": [*points, asdict(missing)],
            "slopes": scaling.slopes(points),
        },
    }


def test_table_puts_the_quickest_first() -> None:
    table = page.markdown(report())
    ours = "| 4 | C1 | train | convtimenet | eager | fp32 | 1 | 1.00 (1.00 to 1.00) |"
    assert f"|\n{ours}" in table
    assert table.index(ours) < table.index("| 1 | C1 | train | authors |")
    assert "Not run: TimesNet-d16 eager fp32 (not there)." in table
    assert "| series (one at a time) | eval | convtimenet | 10 | 100 | 1.00 | 1.00 |" in table
    assert "Skipped: authors eval at 100 series (too long)." in table


def test_page_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    target, raw = tmp_path / "performance.md", {"raw.json": report()}
    target.write_text(f"# Title\n\n{page.BEGIN}\n\nold\n\n{page.END}\n\n## Prose\n")
    page.write_page(raw, target, tmp_path / "img")
    written = target.read_text()
    assert written.startswith(f"# Title\n\n{page.BEGIN}\n")
    assert written.endswith(f"{page.END}\n\n## Prose\n")
    assert "old" not in written
    assert "`python benchmarks/speed/speed.py --case C1`" in written
    for name in (page.RATIOS, page.SCALING):
        assert f"(img/{name})" in written
        assert (tmp_path / "img" / name).read_bytes().startswith(b"\x89PNG")
    page.write_page(raw, target, tmp_path / "img")
    assert target.read_text() == written
    target.write_text("no markers")
    with pytest.raises(SystemExit, match="needs the lines"):
        page.write_page(raw, target, tmp_path / "img")


def test_the_page_of_the_project_has_the_markers() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert text.index(page.BEGIN) < text.index(page.END)


# --- the authors' network ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("head", ["forecast", "classify"])
def test_authors_network_is_the_same_function(head: str) -> None:
    pytest.importorskip("sktime", reason="the authors' network is measured in sktime's port")
    found = contestants.same_function(tiny(head))
    trained = {name: count["trained"] for name, count in found["parameters"].items()}
    assert trained["authors"] == trained["convtimenet"]
    assert found["max_output_difference"] <= contestants.TOLERANCE * found["max_output"]


def test_keys_are_the_records_fields() -> None:
    assert {f.name for f in fields(measure.Record)} == KEYS


# --- a GPU ------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_is_said_before_anything_is_timed() -> None:
    with pytest.raises(SystemExit, match="--device cuda needs a CUDA device"):
        speed.main(["--device", "cuda"])
    assert machine.device() == torch.device("cpu")


def test_who_runs_on_which_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def paths(phase: cases.Phase) -> set[str]:
        entries = contestants.entries(cases.CASES["F1"], phase, ["fp32"])
        return {entry.path for entry in entries if entry.model == OURS}

    assert paths("train") == {"eager"}
    assert paths("eval") == {"eager", "fused", "compiled", "onnx", "aoti"}
    monkeypatch.setattr(machine, "_device", torch.device("cuda"))
    assert paths("train") == {"eager", "graph", "compiled-graph"}
    assert paths("eval") == {"eager", "fused", "compiled", "fused-graph"}
    who = contestants.entries(cases.CASES["F2x32"], "train", ["fp32", "bf16"])
    assert {Entry(AUTHORS, "eager", "fp32"), Entry(AUTHORS, "eager", "bf16")} <= set(who)


@pytest.mark.parametrize("head", ["forecast", "classify"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_gpu_paths_do_the_work(
    head: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Played on the CPU: a captured step is the step itself, compiled code the traced one."""

    class Graphed:
        graph = None

        def __init__(self, size: int, device: torch.device):
            self.size, self.calls = size, 0

        def __call__(self, step: Callable[[torch.Tensor], None], index: torch.Tensor) -> bool:
            assert len(index) == self.size
            step(index)
            self.calls += 1
            self.graph = object() if self.calls > 3 else None
            return True

    class Step(contestants.package.Step):
        def __init__(self, model: ConvTimeNet, *given: Any):
            super().__init__(model, *given)
            self.leave_flag()
            self.graphed = Graphed(self.config.batch_size, self.device)  # pyright: ignore
            assert self.config.precision == precision

    made: list[Step] = []
    monkeypatch.setattr(
        contestants.package, "Step", lambda *given: made.append(Step(*given)) or made[-1]
    )
    case = tiny(head)
    timed = contestants.ours_graph(case, "train", precision)
    (step,) = made
    timed.step()
    assert step.counts.tolist() == [6 * case.batch, 0, 0]
    assert step.optimiser.param_groups[0]["fused"]


def test_operations_on_a_pretended_gpu_are_counted() -> None:
    case = tiny("forecast")
    train, answer = pretend.counted(case, "train"), pretend.counted(case, "eval")
    blocks = len(case.config.kernel_sizes)
    # two pointwise products a block, the predictor's two, the projection and the head
    assert answer.calls["addmm"] == 2 * blocks + 4
    assert answer.calls["baddbmm"] == blocks
    # each has two gradients, but for the predictor's first: its input is the series, which has none
    assert train.calls["mm"] == 2 * (2 * blocks + 4) - 1
    assert train.calls["bmm"] == 2 * blocks
    assert train.calls["_fused_adam_"] == 1
    assert train.bytes.total() > answer.bytes.total() > work.forward(case.config, 8, 0).bytes
    lines = pretend.table([case])
    assert len(lines) == 4
    assert lines[2].startswith(f"| tiny | train | {train.calls.total()} | ")


def test_the_page_says_that_no_gpu_was_there(tmp_path: Path) -> None:
    target = tmp_path / "performance.md"
    target.write_text(f"{page.BEGIN}\n{page.END}\n")
    report = {
        "machine": {"processor": "p", "cores": 1, "ram_gb": 1, "os": "o", "load_average": 0}
        | {"date": "d", "gpu": None},
        "versions": {},
        "settings": {"threads": 1, "command": "c"},
        "records": [asdict(measure.record(OURS_EAGER, [1.0], case="F1", phase="eval", threads=1))],
        "rates": {},
        "scaling": None,
    }
    page.write_page({"cpu-1-thread.json": report}, target, tmp_path / "img")
    assert f"Not run: no GPU was available. Command: `{page.GPU_COMMAND}`." in target.read_text()
    gpu = {"name": "G", "memory_gb": 2, "processors": 3, "capability": "9.0", "cuda": "13.0"}
    report["machine"]["gpu"] = gpu | {"cudnn": 9, "fp32_products": "highest"}
    page.write_page({"gpu-g.json": report}, target, tmp_path / "img")
    assert "### On a GPU" in target.read_text()
    assert "G, 2 GB, 3 processors, capability 9.0" in target.read_text()
    assert "Not run" not in target.read_text()


class TestGpuCall:
    def test_without_a_device_it_says_so_and_changes_nothing(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(gpu, "gpu_name", lambda: None)
        gpu.main(["--out", str(tmp_path / "new")])
        assert "no CUDA device here" in capsys.readouterr().out
        assert list(tmp_path.iterdir()) == []

    def test_each_part_gets_its_share_and_is_kept_at_once(self, tmp_path, monkeypatch):
        shares = {}

        def part(name):
            def run(seconds):
                shares[name] = seconds
                if name == "profile":
                    raise KeyboardInterrupt
                return {name: "done"}

            return run

        for name in gpu.SHARES:
            monkeypatch.setattr(gpu, name, part(name))
        monkeypatch.setattr(gpu, "gpu_name", lambda: "NVIDIA H100 80GB HBM3")
        with pytest.raises(KeyboardInterrupt):
            gpu.main(["--out", str(tmp_path), "--limit", "100"])
        kept = json.loads((tmp_path / "gpu-nvidia-h100-80gb-hbm3.json").read_text())
        assert kept == {"tests": "done", "speed": "done"}
        # what an earlier part leaves of its time goes to the later ones
        assert shares["tests"] == pytest.approx(30, abs=1)
        assert shares["speed"] == pytest.approx(100 * 6 / 7, abs=1)
        assert shares["profile"] == pytest.approx(100, abs=1)

    def test_a_part_that_takes_too_long_is_stopped_and_what_it_said_is_kept(self):
        code = "import time; print('begun', flush=True); time.sleep(60)"
        found = gpu.run([sys.executable, "-c", code], 2)
        assert found["status"] is None
        assert found["lines"] == ["begun"]
        assert found["seconds"] < 30
