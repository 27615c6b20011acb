"""Load a server on this machine: throughput and latency, or endurance with bad clients.

    python benchmarks/serving/load.py --model FOLDER --table FILE               # 1, 8, 64 clients
    python benchmarks/serving/load.py --model FOLDER --table FILE --endure 120  # kills, leaks

The server is a process of its own, the clients are tasks of this one: a loaded machine, or one with
a single core, measures the clients as well. Figures count only with the machine at rest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import convtimenet
from convtimenet.bench.machine import processor

WARM = 20  # requests before the first that counts
KILLED, BROKEN = 0.1, 0.1
"""Shares of the requests whose client leaves, and whose body is not what it says."""


def start(model: str, seconds: float) -> tuple[subprocess.Popen[str], str]:
    """A server process and its address."""
    command = [sys.executable, "-m", "convtimenet", "serve", f"model={model}", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("listening on "):
            return process, line.split()[2].rstrip(";")
    raise SystemExit("the server did not start")


def facts(pid: int) -> dict[str, float]:
    """Resident megabytes, CPU seconds and open files of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return {"resident_mb": int(resident) / 1024, "cpu_seconds": cpu, "files": files}


async def throughput(
    address: str, body: bytes, kind: str, clients: int, seconds: float, pid: int
) -> dict[str, Any]:
    """Each client sends one request after the other for this time."""
    took: list[float] = []
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as web:
        path = "/forecast?model=model" if kind == "text/csv" else "/forecast"

        async def ask() -> httpx.Response:
            return await web.post(path, content=body, headers={"content-type": kind})

        for _ in range(WARM):
            (await ask()).raise_for_status()
        before, begin = facts(pid), time.perf_counter()

        async def one() -> None:
            while time.perf_counter() - begin < seconds:
                sent = time.perf_counter()
                (await ask()).raise_for_status()
                took.append(time.perf_counter() - sent)

        await asyncio.gather(*(one() for _ in range(clients)))
        wall, after = time.perf_counter() - begin, facts(pid)
    cpu = after["cpu_seconds"] - before["cpu_seconds"]
    return {
        "clients": clients,
        "body": kind,
        "requests": len(took),
        "per_second": round(len(took) / wall, 1),
        "ms": {f"p{p}": round(1e3 * float(np.percentile(took, p)), 2) for p in (50, 95, 99)},
        "server_cpu_ms_per_request": round(1e3 * cpu / len(took), 2),
    }


async def endurance(
    address: str, body: bytes, clients: int, seconds: float, pid: int
) -> dict[str, Any]:
    """Clients of which some leave in the middle and some send nonsense; all others must be
    answered."""
    draws, answers, samples = random.Random(0), Counter[str](), []
    begin = time.perf_counter()
    wrong = (b"", b'{"table": NaN}', b"\x00" * 5000, body[: len(body) // 2], b"[" * 9000)
    here = httpx.URL(address)
    head = b"POST /forecast HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def leave() -> None:
        _, writer = await asyncio.open_connection(here.host, here.port)
        whole = head + body
        writer.write(whole[: draws.randrange(len(whole) + 1)])
        await writer.drain()
        writer.transport.abort()
        answers["left"] += 1

    async def one(web: httpx.AsyncClient) -> None:
        while time.perf_counter() - begin < seconds:
            drawn = draws.random()
            if drawn < KILLED:
                await leave()
                continue
            broken = drawn < KILLED + BROKEN
            try:
                answer = await web.post(
                    "/forecast", content=draws.choice(wrong) if broken else body
                )
            except httpx.HTTPError as error:
                answers[f"{'broken' if broken else 'whole'}: {type(error).__name__}"] += 1
                continue
            answers[f"{'broken' if broken else 'whole'}: {answer.status_code}"] += 1

    async def watch() -> None:
        while time.perf_counter() - begin < seconds:
            samples.append(facts(pid))
            await asyncio.sleep(seconds / 24)

    async with httpx.AsyncClient(base_url=address, timeout=60) as web:
        await asyncio.gather(watch(), *(one(web) for _ in range(clients)))
        await asyncio.sleep(1)
        samples.append(facts(pid))
    resident = [one["resident_mb"] for one in samples]
    lost = {k: n for k, n in answers.items() if k.startswith("whole") and k != "whole: 200"}
    # the first third fills the allocator; from then on memory must not grow
    third = len(resident) // 3
    growth = float(np.median(resident[-third:]) - np.median(resident[third : 2 * third]))
    return {
        "clients": clients,
        "seconds": seconds,
        "answers": dict(sorted(answers.items())),
        "lost": lost,
        "errors_of_the_server": sum(n for k, n in answers.items() if k.endswith(": 500")),
        "resident_mb": [round(one, 1) for one in resident],
        "growth_mb": round(growth, 1),
        "files_at_the_end": samples[-1]["files"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder of a forecaster")
    parser.add_argument("--table", required=True, type=Path, help="CSV that it can forecast")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=20, help="for each number of clients")
    parser.add_argument("--endure", type=float, metavar="SECONDS", help="endurance instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    flags = parser.parse_args()
    text = flags.table.read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines()]
    columns = {
        name: [_number(cell) for cell in cells]
        for name, cells in zip(rows[0], zip(*rows[1:], strict=True), strict=True)
    }
    body = json.dumps({"model": "model", "table": columns}).encode()
    process, address = start(flags.model, seconds=60)
    result: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "version": convtimenet.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "load_before": os.getloadavg()[0],
        "rows": len(rows) - 1,
    }
    try:
        if flags.endure:
            clients = max(flags.clients)
            found = asyncio.run(endurance(address, body, clients, flags.endure, process.pid))
            result["endurance"] = found
        else:
            result["throughput"] = [
                asyncio.run(throughput(address, sent, kind, n, flags.seconds, process.pid))
                for kind, sent in (("application/json", body), ("text/csv", text.encode()))
                for n in flags.clients
            ]
    finally:
        process.terminate()
        process.wait(60)
    shown = json.dumps(result, indent=1)
    print(shown)
    if flags.json:
        flags.json.write_text(shown + "\n", encoding="utf-8")
    if flags.endure and (
        result["endurance"]["lost"] or result["endurance"]["errors_of_the_server"]
    ):
        raise SystemExit("answers were lost, or the server failed")


def _number(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return cell or None


if __name__ == "__main__":
    main()
