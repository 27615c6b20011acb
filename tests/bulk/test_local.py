"""Processes of this machine: the engine of the command, a process that is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="runs in environments of its own: make scale")

from at_scale import below, check_command, check_loss

pytestmark = pytest.mark.scale


def test_the_command(model_folder: Path, tmp_path: Path) -> None:
    check_command("local", model_folder, tmp_path)


def test_a_killed_process(model_folder: Path, tmp_path: Path) -> None:
    check_loss(
        model_folder, tmp_path, lambda: below(os.getpid(), "spawn_main"), engine="local", workers=2
    )
