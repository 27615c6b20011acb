"""Fuzz every public entry point, and count the outcomes.

    python benchmarks/reliability/fuzz.py --n 10000               # as in `make fuzz`
    python benchmarks/reliability/fuzz.py --n 1000 --only classifier

Every outcome must be a correct result or one of the package's own errors, and valid input must give
a result. The first other outcome of an entry point is shown with the smallest input that causes it,
and the run fails. Strategies and checks are in tests/fuzz. --json writes the counts.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "fuzz"))

import torch  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from targets import TARGETS, Target  # noqa: E402

from convtimenet.runs.result import versions  # noqa: E402


def main() -> None:
    """Run every entry point, then write the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000, help="total number of inputs")
    parser.add_argument("--seed", type=int, default=2023)
    parser.add_argument("--only", default="", help="entry points whose name contains this")
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    given_flags = parser.parse_args()
    logging.getLogger("convtimenet").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    begin, found, failures = time.monotonic(), {}, []
    for name, target in TARGETS.items():
        if given_flags.only in name:
            examples = max(1, round(given_flags.n * target.share / 1000))
            found[name], failure = run(target, examples, given_flags.seed)
            print(f"{name}: {dict(found[name]['outcomes'])}", flush=True)
            if failure:
                print(failure, flush=True)
                failures.append(name)
    total = sum(sum(one["outcomes"].values()) for one in found.values())
    result = {
        "command": " ".join(["python", "benchmarks/reliability/fuzz.py", *sys.argv[1:]]),
        "seed": given_flags.seed,
        "versions": versions(),
        "inputs": total,
        "failures": failures,
        "ways_in": found,
        "seconds": round(time.monotonic() - begin),
    }
    if given_flags.json:
        given_flags.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{total} inputs, {len(failures)} entry points with another outcome")
    sys.exit(bool(failures))


def run(target: Target, examples: int, number: int) -> tuple[dict[str, Any], str]:
    """Outcomes of one entry point, and the failure if there was one."""
    outcomes, begin = Counter[str](), time.monotonic()

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
        ],
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
    )
    @given(target.examples)
    def check(example: Any) -> None:
        outcomes[target.check(example)] += 1

    failure = ""
    try:
        check()
    except Exception:  # noqa: BLE001 - any other exception is a finding
        failure = traceback.format_exc()
    return {"outcomes": dict(outcomes), "seconds": round(time.monotonic() - begin)}, failure


if __name__ == "__main__":
    main()
