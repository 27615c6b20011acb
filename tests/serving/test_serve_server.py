"""A real server on a free port: the lines of docs/serve.md, slow and flooding clients, its end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from served import hourly

from convtimenet.cli.serving import _token
from convtimenet.serving import server
from convtimenet.serving.models import load_models
from convtimenet.serving.protocols import own
from convtimenet.serving.replies import Reply
from convtimenet.serving.settings import ServeSettings

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
DOCKERFILE = (Path(__file__).parents[2] / "docker" / "Dockerfile").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_the_lines_of_the_page_work_word_for_word(documented, line, tmp_path):
    address, folder = documented
    here = httpx.URL(address)
    # the page names port 8000; curl connects to the port of this server instead
    (tmp_path / ".curlrc").write_text(
        f'connect-to = "127.0.0.1:8000:127.0.0.1:{here.port}"\nfail-with-body\nsilent\nshow-error\n'
    )
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "CURL_HOME": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = {
        "/v1/timeseries": '"start_timestamp":"2024-01-17T00:00:00Z"',
        "/forecast?": "date,units,units-lo-80,units-hi-80\n2024-04-10,",
        "/forecast -d": '{"model":"sales","forecast":{"date":["2024-01-17",',
        "/classify": '"labels":["down","up"],"probabilities":[[',
        "/health/ready": '{"ready":true}',
        "/gestures/infer": '"datatype":"BYTES","shape":[1],"data":[',
        "/gestures/ready": '{"name":"gestures","ready":true}',
        ":8000/models": '{"models":[{"name":"sales","call":"curl --data-binary',
        "/models/gestures": '"platform":"convtimenet"',
        "/metrics": "convtimenet_requests_total",
        "/openapi.json": '"/v2/forecast"',
    }
    expected = next(text for part, text in shown.items() if part in line)
    assert expected in done.stdout


def test_the_page_has_a_line_for_every_route(documented):
    address, _ = documented
    routes = httpx.get(f"{address}/openapi.json").json()["paths"]
    named = " ".join(LINES) + PAGE
    for route in routes:
        assert route.replace("{name}", "gestures").replace("{version}", "1") in named or route in (
            "/v2",
            "/validate_api_key",  # the client's own
            "/model_params",
            "/v2/forecast",
        ), route


def connected(address: str) -> socket.socket:
    here = httpx.URL(address)
    found = socket.create_connection((here.host, here.port or 80), timeout=10)
    found.settimeout(10)
    return found


def answer_of(found: socket.socket) -> bytes:
    data = b""
    try:
        while piece := found.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


def test_a_flood_of_headers_is_refused(documented):
    address, _ = documented
    with connected(address) as found:
        found.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n")
        sent = 0
        try:
            while sent < 10_000_000:
                sent += found.send(b"X-Flood: " + b"a" * 4000 + b"\r\n")
        except OSError:
            pass
        assert sent < 9_000_000
        assert answer_of(found)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"")
    assert httpx.get(f"{address}/v2/health/live").status_code == 200


def test_slow_headers_lose_their_connection(documented, monkeypatch):
    address, _ = documented
    monkeypatch.setattr(server.Protocol, "seconds", 0.3)
    with connected(address) as first:
        first.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n")
        begin = time.monotonic()
        assert answer_of(first) == b""
        assert time.monotonic() - begin < 5
    with connected(address) as second:  # its second request is timed as well
        second.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        found = second.recv(65536)
        if b"{" not in found:  # the body may come after the head
            found += second.recv(65536)
        assert b'{"live":true}' in found
        second.sendall(b"GET /v2/health/live HTTP/1.1\r\n")
        assert answer_of(second) == b""


def test_a_body_that_trickles_after_its_refusal_loses_its_connection(documented, monkeypatch):
    """A byte a second held the connection of a stranger without end."""
    address, _ = documented
    head = b"POST /forecast HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n"
    with connected(address) as found:  # the rest of a body is read, and the next request answered
        found.sendall(head % (b"evil.example", 5))
        assert found.recv(65536).startswith(b"HTTP/1.1 403")
        found.sendall(b"12345GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"HTTP/1.1 200" not in (read := found.recv(65536)):
            assert read  # the rest of the refusal, which may come after its head
    monkeypatch.setattr(server.Protocol, "seconds", 0.3)
    with connected(address) as found:
        found.sendall(head % (b"evil.example", 10_000))
        assert found.recv(65536).startswith(b"HTTP/1.1 403")
        taken = 0
        try:
            while taken < 200:
                taken += found.send(b"x")
                time.sleep(0.02)
        except OSError:
            pass
        assert taken < 200


def test_an_answer_that_nobody_reads_is_dropped(started, models, monkeypatch):
    monkeypatch.setattr(server.Protocol, "reading", 0.3)
    address, large = started(models), b"x" * 30_000_000  # more than the system's buffers take
    monkeypatch.setattr(own, "json_reply", lambda value: Reply(large))
    body = json.dumps({"model": "hourly", "table": hourly().astype({"date": str}).to_dict("list")})
    head = f"POST /forecast HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with connected(address) as found:
        found.sendall((head + body).encode())
        time.sleep(1.5)
        assert len(answer_of(found)) < len(large)
    with connected(address) as found:  # one who reads gets all of it
        found.sendall((head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n") + body).encode())
        assert len(answer_of(found)) > len(large)


def test_the_healthcheck_of_the_container(documented):
    """Word for word, but for the port."""
    address, _ = documented
    command = re.findall(r'CMD (\["python", .*\])', DOCKERFILE)
    assert len(command) == 1
    for port, code in ((httpx.URL(address).port, 0), (1, 1)):
        _, *rest = json.loads(command[0].replace(":8000/", f":{port}/"))
        done = subprocess.run([sys.executable, *rest], capture_output=True, check=False)
        assert done.returncode == code
    start = json.loads(re.findall(r"ENTRYPOINT (.*)", DOCKERFILE)[0])
    assert start == ["convtimenet", "serve", "--host", "0.0.0.0", "--port", "8000"]
    assert re.search(r"^USER serve$", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize(("machine", "kernels"), [("x86_64", "1"), ("aarch64", "none")])
def test_the_image_asks_for_kernels_where_there_are_some(tmp_path, machine, kernels):
    """On ARM the build of the wheel ended with "the kernels of a wheel are for Linux on x86-64"."""
    for name, does in (
        ("uname", f"echo {machine}"),
        ("pip", 'echo "${CONVTIMENET_WHEEL_KERNELS:-none} $1"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    step = re.findall(r"^RUN (.*(?:\\\n.*)*pip wheel.*)$", DOCKERFILE, re.MULTILINE)[-1]
    done = subprocess.run(
        ["/bin/sh", "-ec", step],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{kernels} wheel\n"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_steps_of_the_container_make_what_it_mounts(documented, tmp_path):
    """Word for word, but for docker itself: its command is run with the paths of this machine."""
    _, folder = documented
    root = Path(__file__).parents[2]
    (tmp_path / "docker").mkdir()
    shutil.copytree(folder / "sales-model", tmp_path / "sales-model")
    page = (root / "docs" / "tasks" / "deploy.md").read_text(encoding="utf-8")
    steps, docker = re.findall(r"```\n(mkdir .*?)(docker compose .*?)```", page, re.DOTALL)[0]
    assert docker == "docker compose -f docker/compose.yaml up --build\n"
    subprocess.run(["bash", "-ec", steps], cwd=tmp_path, check=True, capture_output=True)
    compose = (root / "docker" / "compose.yaml").read_text(encoding="utf-8")
    _, token, model = json.loads(re.findall(r"command: (.*)", compose)[0])
    mounted, inside, _ = json.loads(re.findall(r"volumes: (.*)", compose)[0])[0].split(":")
    secret = re.findall(r"^    file: (.*)", compose, re.MULTILINE)[0]
    assert token == "/run/secrets/token"
    assert ServeSettings(host="0.0.0.0", token=_token(str(tmp_path / "docker" / secret))).token
    name = model.replace(f"={inside}", f"={tmp_path / 'docker' / mounted}")
    (served,) = load_models([name], "cpu")
    assert f"/v2/models/{served.name}/ready" in page


def test_a_body_that_stops_is_answered_with_408(started, models):
    address = started(models, seconds=0.3)
    with connected(address) as found:
        found.sendall(b"POST /forecast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
        assert found.recv(65536).startswith(b"HTTP/1.1 408")


def test_a_client_that_writes_all_before_it_reads_sees_the_413(started, models):
    """Its connection was reset while it wrote, and no answer came."""
    size = 12 * 2**20
    head = f"POST /forecast HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    with connected(started(models, most_bytes=1000)) as found:
        found.sendall(head.encode() + bytes(size))
        answer = answer_of(found)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"expected a body of at most 1000 bytes" in answer


def test_clients_that_leave_cost_no_answer(documented):
    address, folder = documented
    body = (folder / "sales.csv").read_bytes()
    head = b"POST /forecast?h=2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"
    whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for end in (len(head) - 5, len(whole) // 2, len(whole)):
        with connected(address) as found:
            found.sendall(whole[:end])
    answer = httpx.post(
        f"{address}/forecast?h=2", content=body, headers={"content-type": "text/csv"}
    )
    assert len(answer.text.splitlines()) == 3


def test_an_address_that_cannot_be_taken_is_refused_before_a_model_is_loaded(
    folders, capsys, monkeypatch
):
    """uvicorn ended with a line of its own, once all models were loaded and warm."""
    from convtimenet.cli.main import main

    def load(*_: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("convtimenet.serving.models.load_models", load)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", str(folders["hourly"]), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"expected a free port, found that {port} of 127.0.0.1 is taken" in said
    assert "give another --port (0 takes a free one)" in said
    free = ["--port", "0", "--no_token"]
    assert main(["serve", str(folders["hourly"]), "--host", "192.0.2.1", *free]) == 2
    assert "--host: expected an address of this machine, found 192.0.2.1" in capsys.readouterr().err
    assert main(["serve", str(folders["hourly"]), "--host", "256.1.1.1", *free]) == 2
    assert "found 256.1.1.1" in capsys.readouterr().err

    def bind(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert main(["serve", str(folders["hourly"]), "--port", "80"]) == 2
    assert "found 80; give a --port above 1023" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_every_address_of_a_host_is_taken(host: str):
    settings = ServeSettings(host=host, port=0)
    with server.taken(settings) as sockets:
        wanted = {info[4][0] for info in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)}
        assert {one.getsockname()[0] for one in sockets} == wanted
        port = sockets[0].getsockname()[1]
        with pytest.raises(ConnectionRefusedError):  # nothing listens yet
            socket.create_connection((sockets[0].getsockname()[0], port), 1).close()
    with server.taken(ServeSettings(host=host, port=port)):  # free again at once
        pass


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_once_what_has_begun_is_answered(folders, stop):
    model = f"m={folders['hourly']}"
    command = [sys.executable, "-m", "convtimenet", "serve", model, "--port", "0"]
    body = hourly().to_csv(index=False).encode()
    head = b"POST /forecast HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "m: forecast\n"
        address = process.stdout.readline().split()[2].rstrip(";")
        with connected(address) as found:
            found.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:100])
            time.sleep(0.3)
            process.send_signal(stop)
            time.sleep(0.5)
            assert process.poll() is None  # the request has begun
            found.sendall(body[100:])
            answer = answer_of(found)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.count(b"\n2024-01-06") == 4
        assert process.wait(20) == 0
        assert process.stdout.read() == "stopped\n"


@pytest.mark.slow
def test_the_first_request_imports_nothing(folders):
    """It is as quick as the tenth: what is slow once has been done before."""
    code = f"""
import asyncio, sys, httpx, numpy as np
from convtimenet.serving.app import create_app
from convtimenet.serving.models import load_models
app = create_app(load_models(["m={folders["monthly"]}", "c={folders["sizes"]}"], "cpu"))
async def main():
    web = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")
    async with app.router.lifespan_context(app), web:
        await web.get("/v2/health/live")  # what the client and the framework import themselves
        before = set(sys.modules)
        rows = [["2010-%02d-01" % m, m % 5] for m in range(1, 13)] + [
            ["2011-%02d-01" % m, m % 5] for m in range(1, 13)]
        table = {{"month": [r[0] for r in rows], "y": [r[1] for r in rows]}}
        asked = {{"table": table, "level": [80]}}
        assert (await web.post("/forecast", json=asked)).status_code == 200
        text = "month,y\\n" + "\\n".join("%s,%s" % tuple(r) for r in rows)
        csv = {{"content-type": "text/csv"}}
        assert (await web.post("/forecast", content=text, headers=csv)).status_code == 200
        cases = {{"cases": [[1.0, 2.0, 3.0]]}}
        assert (await web.post("/regress", json=cases)).status_code == 200
        print(sorted(set(sys.modules) - before))
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_command_says_what_is_missing(capsys, folders):
    from convtimenet.cli.main import main

    for flags, said in (
        (["x=absent"], "no model folder at absent"),
        ([str(folders["hourly"]), "--host", "0.0.0.0"], "needs a token"),
        ([str(folders["hourly"]), "--token_file", "absent"], "--token_file: expected a text file"),
        ([str(folders["hourly"]), "--port", "70000"], "port must be from 0 to 65535"),
        ([str(folders["hourly"]), "--max_mb", "0.0000001"], "--max_mb, in bytes, must be at least"),
        ([], "serve needs models"),
    ):
        assert main(["serve", *flags]) == 2
        assert said in capsys.readouterr().err
