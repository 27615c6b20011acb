"""Make the page of reliability from its raw results.

python benchmarks/reliability/reliability.py docs/reliability     # writes docs/reliability.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NOT_RUN = "Not run yet: `{}` writes the figures."

HEAD = """# Reliability

What was done to break the package, and what came of it. Every figure is read from the raw results
of the last run in [reliability/](reliability/), which hold command, seed and versions; this page is
made from them by `make reliability`, which also runs everything again. With `N=` it, or a part such
as `make fuzz N=500`, is a try of that size, whose results lie in `.cache/reliability`.
"""


def main() -> None:
    """Write the page."""
    parts = [
        ("Kills", "kills", "make kills", kills),
        ("Changed files", "flips", "make flips", flips),
        ("Generated input", "fuzz", "make fuzz", fuzz),
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
            lines += [write(found), "", f"Again: `{target}`. Raw: [{name}.json](reliability/"]
            lines[-1] += f"{name}.json) ({versions})."
        else:
            lines.append(NOT_RUN.format(target))
        lines.append("")
    results.with_suffix(".md").write_text("\n".join([*lines, TAIL]), encoding="utf-8")


def kills(found: dict[str, Any]) -> str:
    """Trainings ended by SIGKILL."""
    rows = [
        f"| {r['task']} | {r['tried']} | {r['survived']} | "
        f"{'yes' if r['identical'] else '**no**'} |"
        for r in found["runs"]
    ]
    head = "| task | killed | resumed | weights and history bit-identical to a whole run |"
    text = "A training is killed with SIGKILL at random moments and resumed each time."
    return "\n".join([text, "", head, "|---|---|---|---|", *rows])


def flips(found: dict[str, Any]) -> str:
    """Bytes of artefacts."""
    rows = [
        f"| {m['kind']} | {sum(m['bytes'].values()):,} in {len(m['bytes'])} files "
        f"| {sum(m['tried'].values()):,} | {sum(m['tried'].values()) - len(m['missed']):,} |"
        for m in found["models"]
    ]
    text = (
        f"**{found['tried']:,} changes, {found['detected']:,} detected.** Every byte of every file "
        "of a small model is changed (one random bit, then all bits), every shorter length is "
        "tried, every file left out, others put beside them. Detected means an `ArtefactError` "
        "that names the place, from the verification with which all loading begins; every "
        "hundredth change goes through the whole load."
    )
    head = "| model | bytes | changes | detected |"
    return "\n".join([text, "", head, "|---|---|---|---|", *rows])


def fuzz(found: dict[str, Any]) -> str:
    """Inputs and outcomes."""
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
        f"**{found['inputs']:,} generated inputs, {len(found['failures'])} ways in with an outcome "
        "other than a right result or one of the package's own errors.** Most inputs are as they "
        "should be and must give a result, the others have one or two faults. A result is checked "
        "(the values read against those written; shapes, finite values, labels among the given "
        "ones, time stamps that go on; the same bits a second time and, for some, from a saved "
        "model; input and files unmodified, nothing left over); warnings count as errors, and so "
        "does an example of more than two minutes."
    )
    head = "| way in | inputs | right results | own errors | other outcomes |"
    return "\n".join([text, "", head, "|---|---|---|---|---|", *rows])


def memory(found: dict[str, Any]) -> str:
    """Forecasting many series."""
    return (
        f"Forecasting {found['series']:,} series (context {found['context']}, horizon "
        f"{found['horizon']}, {found['network']['blocks']} blocks of width "
        f"{found['network']['d_model']}) in one call took a process to a peak of "
        f"**{found['peak_mib']:,} MiB**; with the library, the model and the table of "
        f"{found['table_mib']:,} MiB loaded it had reached {found['before_mib']:,} MiB before."
    )


def guards(found: dict[str, Any]) -> str:
    """Constructed cases of numbers and memory that go wrong."""
    rows = [
        f"| {name} | {one['held']} | {one['failed']} |" for name, one in found["groups"].items()
    ]
    text = (
        "Bad steps, extreme values, single cases and shortage of memory are constructed one by "
        "one, with what must come of each (`tests/test_guards.py`). What is watched and what it "
        "costs: [determinism.md](determinism.md)."
    )
    head = "| group | the guard did what it must | it did not |"
    return "\n".join([text, "", head, "|---|---|---|", *rows])


TAIL = """## Determinism

On one CPU with the same versions and number of threads, the same seed gives the same bits, for both
tasks and whatever ran before in the process: tests compare weights and files. Device by device:
[determinism.md](determinism.md).

## What loading guarantees

See [SECURITY.md](../SECURITY.md). Models of every format are kept in `tests/artefacts/` and must
give the answers they gave when they were saved.
"""


if __name__ == "__main__":
    main()
