"""Build the image of the server, start it as docker/compose.yaml does, and ask it.

    python benchmarks/reliability/image.py                 # with docker, podman or buildah

Checks that the server runs as a user without rights with the package read-only to it, that the
health check of the Dockerfile succeeds inside, that a request without the token is refused, and
that a forecast is that of the model outside. buildah runs the image in a changed root, without
limits of memory and capabilities, and with the network of this machine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd

from convtimenet import ConvTimeNetForecaster

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
TOOLS = ("docker", "podman", "buildah")
IMAGE, NAME, PORT = "convtimenet-check", "convtimenet-check", 8000
LIMITS = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
LIMITS += ["--security-opt", "no-new-privileges:true"]
WHO = "import os, convtimenet as c; p = c.__path__[0]; print(os.getuid(), os.access(p, os.W_OK))"


def works(tool: str) -> bool:
    """Whether a tool is installed and answers; docker's does not without its daemon."""
    found = shutil.which(tool)
    return bool(found) and subprocess.run([tool, "info"], capture_output=True).returncode == 0


def listed(word: str) -> list[str]:
    """The command that the Dockerfile gives after a word, as a list."""
    found = re.findall(rf"{word} (\[.*\])$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return json.loads(found[0])


class Container:
    """A container of the image that serves a model.

    Parameters
    ----------
    tool
        The program that runs it, with its flags.
    """

    def __init__(self, tool: list[str], models: Path, token: str):
        self.tool, self.own = tool, tool[0].endswith("buildah")
        volume, serves = ["-v", f"{models}:/models:ro"], "sales=/models/sales"
        given = ["--env", f"CONVTIMENET_TOKEN={token}"]
        if self.own:
            self.name = self.said(["from", "--pull-never", IMAGE])
            command = ["run", *volume, *given, self.name, "--", *listed("ENTRYPOINT"), serves]
            self.process = subprocess.Popen([*tool, *command])
            return
        self.name = NAME
        published = ["-p", f"127.0.0.1:{PORT}:8000"]
        self.said(
            ["run", "-d", "--name", NAME, *LIMITS, *volume, *given, *published, IMAGE, serves]
        )

    def said(self, command: list[str]) -> str:
        """What a command of the tool prints."""
        done = subprocess.run([*self.tool, *command], check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def inside(self, command: list[str]) -> str:
        """What a command in the container prints."""
        return self.said(
            [*(["run", self.name, "--"] if self.own else ["exec", self.name]), *command]
        )

    def stop(self) -> None:
        if self.own:
            self.process.terminate()
            self.process.wait(60)
        self.said(["rm", self.name] if self.own else ["rm", "-f", self.name])


def ask(body: bytes, token: str) -> tuple[int, str]:
    """Status and answer of a forecast."""
    headers = {"Content-Type": "text/csv"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urlopen(Request(f"http://127.0.0.1:{PORT}/forecast", body, headers)) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def wait_until_ready(seconds: float = 300) -> float:
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        try:
            urlopen(f"http://127.0.0.1:{PORT}/v2/health/ready", timeout=2).close()
        except (URLError, OSError):
            time.sleep(0.5)
        else:
            return time.monotonic() - begin
    raise SystemExit("the server in the container did not become ready")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tool", help="one of them, with flags of it")
    parser.add_argument("--built", action="store_true", help=f"there is an image {IMAGE}")
    flags = parser.parse_args()
    tool = shlex.split(flags.tool or next(filter(works, TOOLS), ""))
    if not tool:
        names = ", ".join(TOOLS)
        raise SystemExit(
            f"expected one of {names} to answer `info`, found none; install or start it"
        )
    if tool[0].endswith("buildah"):
        os.environ.setdefault("BUILDAH_ISOLATION", "chroot")  # needs no container runtime
    if not flags.built:
        build = ["bud", "--format", "docker"] if tool[0].endswith("buildah") else ["build"]
        subprocess.run([*tool, *build, "-f", str(DOCKERFILE), "-t", IMAGE, str(ROOT)], check=True)
    days = np.arange(160)
    units = (50 + 10 * np.sin(2 * np.pi * days / 7) + days / 10).round(1)
    table = pd.DataFrame({"date": pd.date_range("2025-01-01", periods=160), "units": units})
    token = secrets.token_hex(32)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        os.chmod(models, 0o755)  # the container's user must reach it
        model = ConvTimeNetForecaster(h=7, verbose=0).fit(table)
        model.save(models / "sales")
        container = Container(tool, models, token)
        try:
            ready = wait_until_ready()
            container.inside(listed("CMD"))
            who = container.inside(["python", "-c", WHO])
            text = table.to_csv(index=False).encode()
            refused, _ = ask(text, "")
            status, answer = ask(text, token)
        finally:
            container.stop()
    assert who == "10001 False", f"expected user 10001 and a read-only package, found {who}"
    assert (refused, status) == (401, 200), (refused, status)
    found = pd.read_csv(io.StringIO(answer))["units"]
    np.testing.assert_allclose(found, model.predict(table)["units"], atol=0.051)
    print(f"ready after {ready:.0f} s, health check passed, user and package ({who}), 401 without")
    print("the token, the forecast of the model outside")


if __name__ == "__main__":
    main()
