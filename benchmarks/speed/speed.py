"""Time our network against the authors' and other models, interleaved in one process.

    python benchmarks/speed/speed.py  # everything, and docs/performance.md
    python benchmarks/speed/speed.py --case F1 --threads 1 --json f1.json
    python benchmarks/speed/speed.py --device cuda --memory  # a GPU: benchmarks/results/gpu.json
    python benchmarks/speed/speed.py --count  # operations and bytes on a GPU, computed
    python benchmarks/speed/speed.py --page  # only the page, from the saved results

benchmarks/speed/README.md says how to read the results; `timing` contains the modules.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

CASES = ("F1", "F2", "F2x32", "C1", "C2", "small")
ALL = {"cpu": ("F1", "F2", "C1", "C2"), "cuda": ("F1", "F2x32", "C1", "C2")}
PHASES = ("train", "eval", "latency", "fit")
AXES = ("channels", "length", "series")
PRECISIONS = ("fp32", "bf16", "int8")


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=[*CASES, "all"], default=["all"])
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=["train", "eval", "latency"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=2, help="untimed steps per entry")
    parser.add_argument("--turn", type=float, default=0.3, help="minimum seconds per turn")
    parser.add_argument("--models", nargs="+", help="all by default")
    parser.add_argument("--paths", nargs="+", help="all by default")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=[*PRECISIONS])
    parser.add_argument("--memory", action="store_true", help="peak memory, in child processes")
    parser.add_argument("--scaling", nargs="+", choices=[*AXES, "all"], help="axes to scale")
    parser.add_argument("--only-scaling", action="store_true", help="skip the cases")
    parser.add_argument("--budget", type=float, default=60, help="seconds per call of --scaling")
    parser.add_argument("--json", type=Path, help="write the raw report here")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    parser.add_argument("--count", action="store_true", help="only count operations and bytes")
    parser.add_argument("--page", action="store_true", help="only write docs/performance.md")
    parser.add_argument(
        "--peak", nargs=4, metavar=("MODEL", "PATH", "PRECISION", "PHASE"), help=argparse.SUPPRESS
    )
    options = parser.parse_args(given)
    for name in ("threads", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, found {getattr(options, name)}")
    for path in (options.json, options.markdown):
        if path is not None and not path.absolute().parent.is_dir():
            parser.error(f"there is no folder {path.parent} to write {path.name} into")
    return options


def everything() -> None:
    """One core, then two if available, each in its own process; then the page."""
    from timing import page

    for threads in (1, 2)[: os.cpu_count()]:
        target = page.raw_file(threads)
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = ["--threads", str(threads), "--memory", "--json", str(target)]
        if threads == 1:
            flags += ["--phases", *PHASES, "--scaling", "all"]
        subprocess.run([sys.executable, __file__, *flags], check=True)
    page.write_page(page.kept_reports())


def report_of(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the requested cases."""
    import torch
    from timing import contestants, fits, machine, measure, peers, scaling  # noqa: F401
    from timing.cases import CASES as KNOWN

    everybody = contestants.CONTESTANTS
    for name, known in (
        ("models", {w.model for w in everybody}),
        ("paths", {w.path for w in everybody}),
    ):
        if unknown := set(getattr(options, name) or ()) - known:
            raise SystemExit(f"--{name} are {', '.join(sorted(known))}; found {', '.join(unknown)}")
    torch.set_num_threads(options.threads)
    machine.use(options.device)
    cases = [] if options.only_scaling else list(KNOWN.values())
    wanted = set(ALL[options.device]) if "all" in options.case else set(options.case)
    cases = [case for case in cases if case.name in wanted]
    report: dict[str, Any] = {
        "machine": machine.machine(),
        "versions": machine.versions(),
        "settings": {
            "command": " ".join(["python", "benchmarks/speed/speed.py", *_shown(options.given)]),
            "device": options.device,
            **{name: getattr(options, name) for name in ("threads", "rounds", "warmup", "turn")},
        },
        "rates": {"before": machine.rates(cases, options.precision)},
        "same_function": {},
        "records": [],
        "scaling": None,
    }
    for case in cases:
        try:
            report["same_function"][case.name] = contestants.same_function(case)
        except contestants.NotRun as reason:
            report["same_function"][case.name] = {"not_run": str(reason)}
        for phase in case.phases:
            if phase not in options.phases:
                continue
            print(f"{case.name} {phase} ...", file=sys.stderr, flush=True)
            found = measure.measure(
                case,
                phase,
                [
                    entry
                    for entry in contestants.entries(case, phase, options.precision)
                    if (options.models is None or entry.model in options.models)
                    and (options.paths is None or entry.path in options.paths)
                ],
                threads=options.threads,
                rounds=options.rounds,
                warmup=options.warmup,
                turn=options.turn,
                memory=options.memory,
                rates=report["rates"]["before"],
            )
            report["records"] += [asdict(record) for record in found]
            save(report, options.json)
    if options.scaling:
        names = AXES if "all" in options.scaling else options.scaling
        rounds = min(options.rounds, 3)
        report["scaling"] = scaling.all_axes(rounds=rounds, budget=options.budget, names=names)
    report["rates"]["after"] = machine.rates(cases, options.precision)
    return report


def _shown(given: Sequence[str]) -> list[str]:
    """Flags in a reproducible form: files by name only."""
    return [Path(flag).name if os.sep in flag else flag for flag in given]


def save(report: dict[str, Any], path: Path | None) -> None:
    """Save the results so far."""
    if path is not None:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main(given: Sequence[str]) -> None:
    options = arguments(given)
    options.given = given
    # read when numpy, torch and tensorflow are first imported
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not given:
        everything()
        return

    from timing import page

    if options.page:
        page.write_page(page.kept_reports())
        return
    if options.peak:
        import torch
        from timing import contestants, machine, measure, peers  # noqa: F401
        from timing.cases import CASES as KNOWN

        torch.set_num_threads(options.threads)
        machine.use(options.device)
        *entry, phase = options.peak
        found = measure.peak_here(KNOWN[options.case[0]], contestants.Entry(*entry), phase)
        print(found)
        return
    if options.count:
        from timing import pretend
        from timing.cases import CASES as KNOWN

        print("\n".join(pretend.table([KNOWN[name] for name in ALL["cuda"]])))
        return
    if options.device != "cpu" and options.json is None:
        options.json = page.GPU_FILE
    report = report_of(options)
    save(report, options.json)
    table = page.markdown(report)
    print(table)
    if options.markdown:
        options.markdown.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
