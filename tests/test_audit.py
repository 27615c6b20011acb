"""What the audit makes of pip-audit's answers, and that the lock has a hash for every package."""

import json
import re
from pathlib import Path

import pytest
from audit import verdict

ROOT = Path(__file__).parents[1]
CLEAN = {"name": "a", "version": "1", "vulns": []}
HIT = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([CLEAN], 0, "1 packages looked up, 0 vulnerabilities"),
        ([CLEAN, HIT], 1, "b 2: CVE-1, mended in 3"),
        ([HIT, SKIPPED], 1, "not known to the database: c"),
        ([SKIPPED, SKIPPED], 0, "NOT DONE, the database knows none of 2 packages"),
    ],
)
def test_findings_fail_and_ignorance_is_said(packages, code, said):
    found = verdict(json.dumps({"dependencies": packages}), "")
    assert found[0] == code
    assert said in found[1]


def test_no_answer_is_said():
    code, said = verdict("", "Traceback\nConnectionError: no route")
    assert (code, said) == (
        0,
        "audit: NOT DONE, the database is not reachable: ConnectionError: no route",
    )


def test_the_lock_is_the_constraints_with_hashes():
    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    lock = (ROOT / "requirements.lock").read_text() + (ROOT / "torch.lock").read_text()
    locked = re.findall(r"^(\S+)==(\S+) \\\n(?=    --hash=sha256:[0-9a-f]{64})", lock, re.MULTILINE)
    pinned = re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert sorted((plain(n), v) for n, v in locked) == sorted((plain(n), v) for n, v in pinned)
    assert "://" not in lock
