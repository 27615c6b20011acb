"""Write the reliability page from its raw results.

python benchmarks/reliability/reliability.py docs/reliability     # writes docs/reliability.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NOT_RUN = "Not run yet: `{}` writes the figures."

HEAD = """# Reliability

How we try to break the package, and the results. Every figure comes from the raw results of the
last run in [reliability/](reliability/), with versions and, in most, command and seed.
`make reliability` runs all of it and writes this page. With `N=`, it (or one part, such as
`make fuzz N=500`) does a trial run of that size and writes the results to `.cache/reliability`.
"""


def main() -> None:
    """Write the page."""
    parts = [
        ("Kills", "kills", "make kills", kills),
        ("Corrupted files", "flips", "make flips", flips),
        ("Fuzzing", "fuzz", "make fuzz", fuzz),
        ("Memory", "memory", "make memory", memory),
        ("Guards", "guard_cases", "make guards", guards),
    ]
    results = Path(sys.argv[1])
    lines = [HEAD]
    for title, name, target, write in parts:
        path = results / f"{name}.json"
        lines += [f"## {title}", ""]
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
            lines += [write(found), "", f"Reproduce: `{target}`. Raw: [{name}.json](reliability/"]
            lines[-1] += f"{name}.json) ({versions})."
        else:
            lines.append(NOT_RUN.format(target))
        lines.append("")
    results.with_suffix(".md").write_text("\n".join([*lines, TAIL]), encoding="utf-8")


def kills(found: dict[str, Any]) -> str:
    """Training runs killed with SIGKILL."""
    rows = [
        f"| {r['task']} | {r['tried']} | {r['survived']} | "
        f"{'yes' if r['identical'] else '**no**'} |"
        for r in found["runs"]
    ]
    head = "| task | killed | resumed | weights and history bit-identical to an uninterrupted run |"
    text = "A training run is killed with SIGKILL at random moments and resumed each time."
    return "\n".join([text, "", head, "|---|---|---|---|", *rows])


def flips(found: dict[str, Any]) -> str:
    """Corrupted saved models."""
    rows = [
        f"| {m['kind']} | {sum(m['bytes'].values()):,} in {len(m['bytes'])} files "
        f"| {sum(m['tried'].values()):,} | {sum(m['tried'].values()) - len(m['missed']):,} |"
        for m in found["models"]
    ]
    text = (
        f"**{found['tried']:,} changes, {found['detected']:,} detected.** Every byte of every file "
        "of a small model is changed (one random bit, then all bits), every file is truncated to "
        "every shorter length, then left out, and extra files are added. Detected means that the "
        "verification at the start of loading raises an `ArtefactError` that names the place. "
        "Every hundredth change goes through the full load."
    )
    head = "| model | bytes | changes | detected |"
    return "\n".join([text, "", head, "|---|---|---|---|", *rows])


def fuzz(found: dict[str, Any]) -> str:
    """Generated inputs and their outcomes."""
    rows = []
    for name, one in found["ways_in"].items():
        total, right = sum(one["outcomes"].values()), 0
        others = []
        for what, count in sorted(one["outcomes"].items()):
            if what in ("result", "accepted"):
                right += count
            else:
                others.append(f"{what} {count:,}")
        failed = "**yes**" if name in found["failures"] else "none"
        rows.append(f"| {name} | {total:,} | {right:,} | {', '.join(others)} | {failed} |")
    text = (
        f"**{found['inputs']:,} generated inputs, {len(found['failures'])} entry points with an "
        "outcome other than a correct result or one of the package's own errors.** Most inputs "
        "are valid and must give a result; the others have one or two faults. Results are checked: "
        "the values read match those written; shapes, finite values, known labels and consecutive "
        "time stamps; identical bits on a second call and, for some, from a saved model; input and "
        "files unmodified, and no files left behind. Warnings count as errors, and so does an "
        "example that takes more than two minutes."
    )
    head = "| entry point | inputs | correct results | own errors | other outcomes |"
    return "\n".join([text, "", head, "|---|---|---|---|---|", *rows])


def memory(found: dict[str, Any]) -> str:
    """Peak memory of forecasting many series."""
    return (
        f"Forecasting {found['series']:,} series (context {found['context']}, horizon "
        f"{found['horizon']}, {found['network']['blocks']} blocks of width "
        f"{found['network']['d_model']}) in one call peaks at **{found['peak_mib']:,} MiB** for "
        "the whole process. With the library, the model and the table of "
        f"{found['table_mib']:,} MiB loaded, it had already reached {found['before_mib']:,} MiB."
    )


def guards(found: dict[str, Any]) -> str:
    """Constructed cases of numerical faults and lack of memory."""
    rows = [
        f"| {name} | {one['held']} | {one['failed']} |" for name, one in found["groups"].items()
    ]
    text = (
        "Non-finite steps, extreme values, single cases and lack of memory are constructed one by "
        "one, each with the expected outcome (`tests/test_guards.py`). [determinism.md]"
        "(determinism.md) describes the guards and their cost."
    )
    head = "| group | expected outcome | other outcome |"
    return "\n".join([text, "", head, "|---|---|---|", *rows])


TAIL = """## Determinism

On a CPU with the same versions and number of threads, the same seed gives identical bits, for both
tasks and regardless of what ran earlier in the process; tests compare weights and files.
[determinism.md](determinism.md) covers each device.

## What loading guarantees

See [SECURITY.md](../SECURITY.md). Saved models of every format version are kept in
`tests/artefacts/` and must still give the same predictions as when they were saved.
"""


if __name__ == "__main__":
    main()
