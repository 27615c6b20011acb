"""Run all constructed cases of the numerical guards and count the outcomes.

python benchmarks/reliability/guard_cases.py --json docs/reliability/guard_cases.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from convtimenet.runs.result import versions

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the tests, then write the counts by group."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    given = parser.parse_args()
    command = ["pytest", "-q", "-m", "not slow", "tests/test_guards.py"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "cases.xml")
        subprocess.run(
            [sys.executable, "-m", *command, f"--junitxml={report}"], cwd=ROOT, check=False
        )
        cases = list(ElementTree.parse(report).iter("testcase"))
    groups: dict[str, dict[str, int]] = {}
    for case in cases:
        group = groups.setdefault(
            case.get("classname", "").split(".")[-1], {"held": 0, "failed": 0}
        )
        failed = any(child.tag in ("failure", "error") for child in case)
        group["failed" if failed else "held"] += 1
    found = {
        "command": " ".join(command),
        "versions": versions(),
        "groups": groups,
    }
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(groups, indent=1))


if __name__ == "__main__":
    main()
