"""Batch scripts and manifests of examples/cluster: their commands are ours, their forms valid."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from convtimenet.cli.main import _parsed, _underscored

CLUSTER = Path(__file__).parents[1] / "examples" / "cluster"
SCRIPTS = sorted((CLUSTER / "slurm").iterdir())
MANIFESTS = sorted((CLUSTER / "kubernetes").iterdir())
VALUES = {"$SLURM_CPUS_PER_TASK": "8", "$processes": "1"}
"""Variables that stand where a number is expected."""


def commands_of(text: str) -> list[list[str]]:
    """The arguments of every call of ours in a text, without what starts it."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"^\s*(?:#.*|- )", "", line)
        words = shlex.split(line.rstrip("&"), posix=True) if "convtimenet" in line else []
        if "convtimenet" in words:
            own = words[words.index("convtimenet") + 1 :]
            found.append([VALUES.get(word, word) for word in own])
    return found


def of_manifest(path: Path) -> list[list[str]]:
    """The same of a manifest: of lists under "command:", and of the entrypoint of a RayJob."""
    text = re.sub(r" +#.*", "", path.read_text())
    lists = re.findall(r"command:\n((?: +- .*\n)+)", text)
    lines = [" ".join(re.findall(r"- (.*)", one)) for one in lists]
    lines += [" ".join(one.split()) for one in re.findall(r"entrypoint: >-\n((?: {4}.*\n)+)", text)]
    return [command for line in lines for command in commands_of(line)]


@pytest.mark.parametrize("path", [*SCRIPTS, *MANIFESTS], ids=lambda path: path.name)
def test_commands_are_ours(path):
    commands = commands_of(path.read_text()) if path in SCRIPTS else of_manifest(path)
    assert len(commands) == 1
    (command,) = commands
    assert _parsed(_underscored(command))[command[0]] is not None
    wrong = [*command, "--no_such_flag"]
    with pytest.raises(ValueError, match="no_such_flag"):
        _parsed(_underscored(wrong))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash(path):
    subprocess.run(["bash", "-n", path], check=True)
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "set -euo pipefail" in lines


def test_each_line_of_a_list_has_a_folder_of_its_own(tmp_path):
    """Also patterns that end alike, and the same one for a list that is submitted again."""
    lines = [f"sales/region={of}/*.parquet" for of in ("eu", "us")]
    (tmp_path / "parts.txt").write_text("".join(f"{one}\n" for one in lines))
    stub = tmp_path / "convtimenet"
    stub.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    found = []
    for number in ("1", "2", "1"):
        done = subprocess.run(
            ["bash", CLUSTER / "slurm" / "predict.sbatch", "model", "parts.txt"],
            cwd=tmp_path, check=True, capture_output=True, text=True,
            env={
                "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
                "SLURM_ARRAY_TASK_ID": number,
                "SLURM_CPUS_PER_TASK": "8",
            },
        )  # fmt: skip
        words = done.stdout.splitlines()
        found.append((words[2], words[words.index("--out") + 1]))
    first, second = (lines[0], "forecasts/000001"), (lines[1], "forecasts/000002")
    assert found == [first, second, first]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_pods_run_without_root_on_a_read_only_file_system(path):
    """Also the one that submits a RayJob, which the operator would make without a context."""
    documents = list(yaml.safe_load_all(path.read_text()))
    pods = list(pods_in(documents))
    assert len(pods) == {"predict.yaml": 2}.get(path.name, 1)
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        writable = {volume["name"] for volume in pod["volumes"] if volume.get("emptyDir") == {}}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert mounts["/tmp"] in writable
            (cache,) = [one["value"] for one in container["env"] if one["name"] == "XDG_CACHE_HOME"]
            assert cache in mounts
    jobs = [one["spec"] for one in documents if one["kind"] == "RayJob"]
    assert all(job["submissionMode"] == "HTTPMode" for job in jobs)


def pods_in(node: Any) -> Iterator[dict[str, Any]]:
    """What describes a pod, at any depth of a manifest."""
    if isinstance(node, dict) and "containers" in node:
        yield node
    elif isinstance(node, dict | list):
        for one in node.values() if isinstance(node, dict) else node:
            yield from pods_in(one)


@pytest.mark.scale
class TestForms:
    @pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
    def test_shellcheck_finds_nothing(self, path):
        places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        program = shutil.which("shellcheck", path=places)
        if program is None:
            pytest.skip("needs the program shellcheck")
        subprocess.run([program, path], check=True)

    @pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
    def test_manifests_are_those_of_kubernetes(self, path):
        """A RayJob's own form is not validated here: its schema comes with KubeRay only. Its pods
        are."""
        kubernetes_validate = pytest.importorskip("kubernetes_validate")
        version = kubernetes_validate.latest_version()
        documents = list(yaml.safe_load_all(path.read_text()))
        for document in documents:
            if document["kind"] == "RayJob":
                cluster = document["spec"]["rayClusterSpec"]
                groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
                documents = [pod_of(group["template"]) for group in groups]
        assert documents
        for document in documents:
            kubernetes_validate.validate(document, version, strict=True)
            wrong = {**document, "spec": {**document["spec"], "colour": "red"}}
            with pytest.raises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(wrong, version, strict=True)


def pod_of(template: dict[str, Any]) -> dict[str, Any]:
    """A pod of a template, to validate it."""
    metadata = {"name": "pod", **template.get("metadata", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
