"""Eight clients at once, of which some leave in the middle and some send nonsense."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pandas as pd
import pytest
from load import CSV, JSON, Server, endurance, facts, start

pytestmark = pytest.mark.app

SECONDS = 6
GROWTH = 32
"""Megabytes that the median of the last third may be above that of the second."""


@pytest.fixture
def server(documented: tuple[str, Path]) -> Server:
    """A process of its own with the model of docs/serve.md."""
    _, folder = documented
    text = (folder / "sales.csv").read_text(encoding="utf-8")
    columns = pd.read_csv(folder / "sales.csv").to_dict("list")
    return start(str(folder / "sales-model"), columns, text)


def test_no_answer_is_lost_and_memory_does_not_grow(server: Server):
    try:
        (path, body), (_, text) = server.requests[JSON], server.requests[CSV]
        alone = httpx.post(f"{server.address}{path}", content=body, timeout=60).json()
        before = facts(server.process.pid)
        found = asyncio.run(endurance(server.address, body, 8, SECONDS, server.process.pid))
        after = httpx.post(f"{server.address}{path}", content=body, timeout=60).json()
        as_csv = httpx.post(
            f"{server.address}{server.requests[CSV][0]}",
            content=text,
            headers={"content-type": CSV},
            timeout=60,
        )
    finally:
        server.stop()
        assert server.process.stdout is not None
        server.process.stdout.close()
    assert found["lost"] == {}
    # those that leave get none, nonsense a refusal, and nothing fails in the server
    assert set(found["answers"]) == {"left", "whole: 200", "broken: 415", "broken: 422"}
    assert found["answers"]["whole: 200"] >= 8
    assert found["growth_mb"] <= GROWTH
    assert found["files_at_the_end"] <= before["files"] + 8  # connections that clients keep
    assert after == alone
    assert len(as_csv.text.splitlines()) == 1 + len(alone["forecast"]["units"]) == 7
