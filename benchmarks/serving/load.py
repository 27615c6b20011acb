"""Load a server on this machine: throughput and latency, or endurance with bad clients.

    python benchmarks/serving/load.py --model FOLDER --table FILE               # 1, 8, 64 clients
    python benchmarks/serving/load.py --model FOLDER --table FILE --endure 120  # kills, leaks
    python benchmarks/serving/load.py --model FOLDER --table FILE --mlflow PYTHON --rounds 4

With `--mlflow`, MLflow's scoring server answers with the same model in turn: PYTHON belongs to an
environment that has MLflow and this package. The server is a process of its own, the clients are
tasks of this one: a loaded machine, or one with
a single core, measures the clients as well. Figures count only with the machine at rest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

import convtimenet
from convtimenet.bench.machine import processor

JSON, CSV = "application/json", "text/csv"
WARM = 20  # requests before the first that counts
KILLED, BROKEN = 0.1, 0.1
"""Shares of the requests whose client leaves, and whose body is not what it says."""


@dataclass(frozen=True)
class Server:
    """A server process, where it listens, and what a request to it is by kind of body."""

    name: str
    process: subprocess.Popen[str]
    address: str
    requests: dict[str, tuple[str, bytes]]
    """Path and body."""

    def stop(self) -> None:
        """End the process and its children."""
        for pid in reversed(tree(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        self.process.wait(60)


def start(model: str, columns: dict[str, Any], text: str, seconds: float = 60) -> Server:
    """Our server."""
    command = [sys.executable, "-m", "convtimenet", "serve", f"model={model}", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("listening on "):
            address = line.split()[2].rstrip(";")
            body = json.dumps({"model": "model", "table": columns}).encode()
            return Server(
                "convtimenet",
                process,
                address,
                {JSON: ("/forecast", body), CSV: ("/forecast?model=model", text.encode())},
            )
    raise SystemExit("the server did not start")


def start_mlflow(
    python: str, model: str, columns: dict[str, Any], text: str, workers: int, folder: Path
) -> Server:
    """MLflow's server with a model that calls `predict` of the same saved one."""
    wrapped = folder / "mlflow"
    if not wrapped.exists():
        script = str(Path(__file__).with_name("mlflow_model.py"))
        subprocess.run([python, script, str(Path(model).resolve()), str(wrapped)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "mlflow", "models", "serve", "--model-uri", str(wrapped)]
    command += ["--port", str(port), "--workers", str(workers), "--env-manager", "local"]
    found = {**os.environ, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=found, text=True)
    address = f"http://127.0.0.1:{port}"
    rows = list(zip(*columns.values(), strict=True))
    body = json.dumps({"dataframe_split": {"columns": [*columns], "data": rows}}).encode()
    requests = {JSON: ("/invocations", body), CSV: ("/invocations", text.encode())}
    for _ in range(120):
        with suppress(httpx.HTTPError):
            if httpx.get(f"{address}/ping").status_code == 200:
                named = "worker" if workers == 1 else "workers"
                return Server(f"MLflow, {workers} {named}", process, address, requests)
        time.sleep(1)
    raise SystemExit("MLflow's server did not start")


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for one in found:
        with suppress(FileNotFoundError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def facts(pid: int) -> dict[str, float]:
    """Resident megabytes, CPU seconds and open files of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return {"resident_mb": int(resident) / 1024, "cpu_seconds": cpu, "files": files}


def used(server: Server) -> tuple[float, float]:
    """CPU seconds and resident megabytes of a server's processes."""
    each = [facts(pid) for pid in tree(server.process.pid)]
    return sum(one["cpu_seconds"] for one in each), sum(one["resident_mb"] for one in each)


class Slot(NamedTuple):
    """What a server did while clients sent requests: seconds."""

    took: list[float]
    """Of each answer."""
    wall: float
    cpu: float
    """Of the server's processes."""
    failed: int
    """Requests without an answer, or with an error."""


async def slot(server: Server, kind: str, clients: int, seconds: float) -> Slot:
    """Each client sends one request after the other for this time."""
    took: list[float] = []
    failed = 0
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=server.address, limits=limits, timeout=120) as web:
        path, body = server.requests[kind]

        async def ask() -> httpx.Response:
            return await web.post(path, content=body, headers={"content-type": kind})

        for _ in range(WARM):
            (await ask()).raise_for_status()
        before, begin = used(server)[0], time.perf_counter()

        async def one() -> None:
            nonlocal failed
            while time.perf_counter() - begin < seconds:
                sent = time.perf_counter()
                try:
                    (await ask()).raise_for_status()
                except httpx.HTTPError:
                    failed += 1
                else:
                    took.append(time.perf_counter() - sent)

        await asyncio.gather(*(one() for _ in range(clients)))
        wall = time.perf_counter() - begin
    return Slot(took, wall, used(server)[0] - before, failed)


def throughput(
    servers: list[Server], clients: Sequence[int], seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Every server with every number of clients and kind of body; they take turns in each round,
    so that what else the machine does meets all of them."""
    found: dict[tuple[str, int, str], list[Slot]] = {}
    for _, kind, n, server in product(range(rounds), (JSON, CSV), clients, servers):
        part = asyncio.run(slot(server, kind, n, seconds / rounds))
        found.setdefault((server.name, n, kind), []).append(part)
    lines = []
    for (name, n, kind), parts in found.items():
        took = np.concatenate([part.took for part in parts])
        wall, cpu = sum(part.wall for part in parts), sum(part.cpu for part in parts)
        ms = {f"p{p}": round(1e3 * float(np.percentile(took, p)), 2) for p in (50, 95, 99)}
        lines.append(
            {
                "server": name,
                "clients": n,
                "body": kind,
                "requests": len(took),
                "failed": sum(part.failed for part in parts),
                "per_second": round(len(took) / wall, 1),
                "ms": ms,
                "server_cpu_ms_per_request": round(1e3 * cpu / len(took), 2),
            }
        )
    return lines


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
    parser.add_argument("--rounds", type=int, default=1, help="parts of these seconds")
    parser.add_argument("--mlflow", metavar="PYTHON", help="of an environment with MLflow and this")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of MLflow's server")
    parser.add_argument("--endure", type=float, metavar="SECONDS", help="endurance instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    flags = parser.parse_args()
    text = flags.table.read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines()]
    columns = {
        name: [_number(cell) for cell in cells]
        for name, cells in zip(rows[0], zip(*rows[1:], strict=True), strict=True)
    }
    result: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "version": convtimenet.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "load_before": os.getloadavg()[0],
        "rows": len(rows) - 1,
    }
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = [start(flags.model, columns, text)]
        stack.callback(servers[0].stop)
        for workers in flags.workers if flags.mlflow else ():
            one = start_mlflow(flags.mlflow, flags.model, columns, text, workers, Path(folder))
            stack.callback(one.stop)
            servers.append(one)
        if flags.endure:
            ours = servers[0]
            result["endurance"] = asyncio.run(
                endurance(
                    ours.address,
                    ours.requests[JSON][1],
                    max(flags.clients),
                    flags.endure,
                    ours.process.pid,
                )
            )
        else:
            result["throughput"] = throughput(servers, flags.clients, flags.seconds, flags.rounds)
            result["resident_mb"] = {one.name: round(used(one)[1]) for one in servers}
        result["load_after"] = os.getloadavg()[0]
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
