"""Check the locked packages for known vulnerabilities.

    python benchmarks/reliability/audit.py requirements.lock torch.lock

Needs pip-audit (`make audit` runs it in a separate environment). Findings make it fail. If the
database does not respond or knows none of the packages (as a registry mirror may), this says that
nothing is known, and does not fail.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    """Run pip-audit and evaluate its output."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--format", "json"]
    for lock in sys.argv[1:]:
        command += ["--requirement", lock]
    done = subprocess.run(command, capture_output=True, text=True)
    code, said = verdict(done.stdout, done.stderr)
    print(said)
    return code


def verdict(answer: str, complaint: str) -> tuple[int, str]:
    """Exit code and summary from pip-audit's output (JSON) and error text."""
    try:
        packages = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (complaint.strip() or "no answer").splitlines()[-1]
        return 0, f"audit: NOT DONE, the database is not reachable: {last}"
    known = [package for package in packages if "skip_reason" not in package]
    found = [(package, vuln) for package in known for vuln in package["vulns"]]
    if not known:
        return 0, f"audit: NOT DONE, the database knows none of {len(packages)} packages"
    lines = [
        f"{package['name']} {package['version']}: {vuln['id']}, mended in "
        f"{', '.join(vuln['fix_versions']) or 'no version'}"
        for package, vuln in found
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        lines.append(f"not known to the database: {', '.join(skipped)}")
    lines.append(f"audit: {len(known)} packages looked up, {len(found)} vulnerabilities")
    return bool(found), "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
