"""The machine and the code that a cell was measured with."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

__all__ = ["commit_of_package", "processor"]

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd")


def processor() -> str:
    """The processor's name, family and model, and its instruction sets that affect speed."""
    name = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return name
    pairs = [line.split(":", 1) for line in text.split("\n\n")[0].splitlines()]
    of = {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}
    known = of.get("flags", of.get("Features", "")).split()
    number = f"family {of['cpu family']} model {of['model']}" if "cpu family" in of else ""
    return " ".join(
        part
        for part in (of.get("model name", name), number, *(f for f in _INSTRUCTIONS if f in known))
        if part
    )


def commit_of_package() -> str | None:
    """The commit of the package's checkout, with "+" if src has changes; None outside of one."""
    here = Path(__file__).resolve().parents[3]
    if not (here / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "-s", "src") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
