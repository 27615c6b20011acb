"""Which compiled kernels are loaded, and what happens where they are damaged or cannot be had."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import convtimenet
from convtimenet.errors import ConfigError
from convtimenet.files import cache_folder, locked
from convtimenet.network.kernels import build, library, native
from convtimenet.training.checkpoint import Checkpoints

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernels' folder of Linux")

V4 = "avx512f avx512bw avx512cd avx512dq avx512vl"
V3 = "pni ssse3 sse4_1 sse4_2 popcnt cx16 lahf_lm avx avx2 bmi1 bmi2 f16c fma abm movbe"
AMX = "avx512_vnni avx512_bf16 amx_tile amx_int8 amx_bf16"


@pytest.fixture(scope="module")
def compiled() -> bytes:
    """The library of this machine's own cache."""
    path = library.in_use().path
    if path is None:
        pytest.skip("no C++ compiler here")
    return path.read_bytes()


@pytest.fixture
def fresh(monkeypatch, tmp_path, compiled):
    """An empty cache, a process that has chosen nothing, and a compiler that copies in no time.

    Each link leaves a line in the file `links`.
    """
    finished = tmp_path / "finished.so"
    finished.write_bytes(compiled)
    script = tmp_path / "copying compiler"
    script.write_text(
        f"""#!/bin/bash
case "$*" in
    *--version*) echo "copy 1.0"; exit;;
    *-shared*) echo link >> "{tmp_path}/links"; sleep "${{COPY_SLEEP:-0}}"
        cp "{finished}" "${{@: -1}}";;
    *) touch "${{@: -1}}";;
esac
"""
    )
    script.chmod(0o700)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CONVTIMENET_NATIVE", raising=False)
    monkeypatch.setattr(library, "SHIPPED", tmp_path / "built")
    monkeypatch.setattr(library, "_used", None)
    return tmp_path


def again(monkeypatch) -> library.Kernels:
    """What another process would choose."""
    monkeypatch.setattr(library, "_used", None)
    return convtimenet.warm_up()


def links(folder: Path) -> int:
    path = folder / "links"
    return len(path.read_text().splitlines()) if path.exists() else 0


def warnings(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def not_used(caplog) -> list[str]:
    return [text for text in warnings(caplog) if "are not available" in text]


# Building


def test_compiled_once_and_said(fresh, monkeypatch, caplog):
    used = convtimenet.warm_up()
    assert used.level == "native"
    assert used.path is not None
    assert used.path.parent == fresh / "cache" / "convtimenet" / "native"
    assert used.handle is not None
    assert str(used) == f"fused CPU kernels (native): {used.path}"
    assert len(warnings(caplog)) == 1
    assert "compiling the fused CPU kernels" in caplog.text
    assert "warm_up()" in caplog.text
    caplog.clear()
    assert again(monkeypatch) == used
    assert not caplog.records
    assert links(fresh) == 1


def test_the_library_names_no_openmp_library(compiled):
    """That of torch serves; one of the system need not be there."""
    assert b"GOMP_parallel" in compiled
    assert b"libgomp" not in compiled


WITHOUT_TORCH = """
import ctypes, sys, types
real = ctypes.CDLL
sys.modules["torch"] = types.SimpleNamespace(__file__=sys.argv[1])
from convtimenet.network.kernels import library
assert not hasattr(real(None), "GOMP_parallel")
if sys.argv[2] == "none":
    def missing(name, *mode):
        if name and "omp" in name:
            raise OSError(name + ": cannot open shared object file")
        return real(name, *mode)
    ctypes.CDLL = missing
print(library.warm_up())
print({x for x in open("/proc/self/maps").read().split() if "libgomp" in x})
"""


@pytest.mark.parametrize("openmp", ["torch's", "the system's", "none"])
def test_openmp_functions_that_are_not_visible(fresh, openmp):
    """As where torch was loaded for itself alone, or a processor's maker built it with another
    library: first that beside torch, then the system's, then plain torch and no crash."""
    if openmp == "torch's" and not list(Path(torch.__file__).parent.glob("lib/libgomp*")):
        pytest.skip("torch came without an OpenMP library")
    place = torch.__file__ if openmp == "torch's" else str(fresh / "torch" / "__init__.py")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, place, openmp], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    used, mapped = done.stdout.splitlines()
    if openmp == "none":
        assert used.startswith("plain torch: the library cannot be loaded")
        assert "undefined symbol" in used
        assert mapped == "set()"
        assert done.stderr.count("are not available") == 1
    else:
        assert used.startswith("fused CPU kernels (native)")
        assert mapped.count("libgomp") == 1
        assert (str(Path(torch.__file__).resolve().parent) in mapped) == (openmp == "torch's")


def apart(path: Path) -> Path:
    """The same file, but no longer the one that this process has loaded: damaging that would stop
    the process, at the latest when it unloads the library."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    return path


def _truncate(path: Path) -> None:
    os.truncate(path, 5000)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _remove(path: Path) -> None:
    path.unlink()


def _note_gone(path: Path) -> None:
    path.with_suffix(".json").unlink()


def _note_empty(path: Path) -> None:
    path.with_suffix(".json").write_bytes(b"")


def _note_other(path: Path) -> None:
    path.with_suffix(".json").write_text("[1, 2]")


DAMAGES = [_truncate, _empty, _flip, _longer, _remove, _note_gone, _note_empty, _note_other]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_the_cache_is_replaced(fresh, monkeypatch, caplog, compiled, damage):
    used = convtimenet.warm_up()
    assert used.path is not None
    damage(apart(used.path))
    caplog.clear()
    found = again(monkeypatch)
    assert found == used
    assert found.handle is not None
    assert used.path.read_bytes() == compiled
    assert links(fresh) == 2
    assert not not_used(caplog)
    again(monkeypatch)
    assert links(fresh) == 2


# Of torch only its folder counts here; importing it would take seconds.
ONE = f"""
import sys, types
sys.modules["torch"] = types.SimpleNamespace(__file__={torch.__file__!r})
import convtimenet
print(convtimenet.warm_up().level)
"""


def start(code: str = ONE, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("size", [0, 4096])
def test_a_truncated_file_kills_no_process(fresh, size):
    used = convtimenet.warm_up()
    assert used.path is not None
    os.truncate(apart(used.path), size)
    process = start()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out == "native\n"
    assert links(fresh) == 2


def test_four_processes_compile_once(fresh):
    processes = [start(COPY_SLEEP="2") for _ in range(4)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert out == "native\n", err
    assert links(fresh) == 1


def test_four_threads_compile_and_complain_once(fresh, monkeypatch, caplog):
    monkeypatch.setenv("COPY_SLEEP", "0.3")
    found: list[library.Kernels] = []
    threads = [
        threading.Thread(target=lambda: found.append(convtimenet.warm_up())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [used.level for used in found] == ["native"] * 4
    assert links(fresh) == 1
    assert len(warnings(caplog)) == 1


def test_a_killed_build_keeps_nobody_out(fresh):
    process = start(COPY_SLEEP="600")
    deadline = time.monotonic() + 60
    while not links(fresh) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list((fresh / "cache").rglob("*.lock"))
    begun = time.monotonic()
    assert convtimenet.warm_up().level == "native"
    assert time.monotonic() - begun < 30
    assert links(fresh) == 2


def test_waiting_for_a_build_that_does_not_end(fresh, monkeypatch, caplog):
    used = convtimenet.warm_up()
    assert used.path is not None
    _empty(apart(used.path))
    monkeypatch.setattr(build, "SECONDS", 0.2)
    caplog.clear()
    with locked(used.path.with_suffix(".lock")) as holder:
        assert holder is None
        assert again(monkeypatch).level is None
    assert f"process {os.getpid()} on" in not_used(caplog)[0]
    assert "if it hangs, kill it" in not_used(caplog)[0]
    assert again(monkeypatch).level == "native"


@pytest.mark.parametrize("words", ["{}", "'{}'", "env COPY_SLEEP=0 '{}'", "env  '{}' --more"])
def test_a_compiler_of_several_words(fresh, monkeypatch, words):
    monkeypatch.setenv("CXX", words.format(os.environ["CXX"]))
    assert convtimenet.warm_up().level == "native"
    assert links(fresh) == 1


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_the_usual_compiler(monkeypatch, name):
    assert build.compiler_words({"CXX": name}) == build.compiler_words({})


# No kernels


def no_compiler(fresh, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O1")


def unbalanced(fresh, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "ccache 'g++")


def failing(fresh, monkeypatch) -> None:
    script = fresh / "fails"
    lines = ["#!/bin/bash", "echo note >&2", "echo 'x.cpp:1: error: no such thing' >&2", "exit 3"]
    script.write_text("\n".join(lines))
    script.chmod(0o700)
    monkeypatch.setenv("CXX", str(script))


def silent(fresh, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "false")


def hanging(fresh, monkeypatch) -> None:
    monkeypatch.setenv("COPY_SLEEP", "5")
    monkeypatch.setattr(build, "SECONDS", 0.3)


def no_output(fresh, monkeypatch) -> None:
    monkeypatch.setenv("CXX", "true")


def no_program(fresh, monkeypatch) -> None:
    (fresh / "program").write_bytes(b"\x7fELF?")
    (fresh / "program").chmod(0o700)
    monkeypatch.setenv("CXX", str(fresh / "program"))


def no_room_for_objects(fresh, monkeypatch) -> None:
    def make(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp")

    monkeypatch.setattr(library.tempfile, "TemporaryDirectory", make)


def read_only(fresh, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no-folder")


def a_file_for_a_folder(fresh, monkeypatch) -> None:
    (fresh / "cache").write_text("")


def full(fresh, monkeypatch) -> None:
    def write(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(library, "write_whole", write)


def no_home(fresh, monkeypatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)


def not_a_library(fresh, monkeypatch) -> None:
    (fresh / "finished.so").write_text("no ELF")


@pytest.mark.parametrize(
    ("obstacle", "cause", "remedy"),
    [
        (no_compiler, "no C++ compiler was found (looked for 'no-such-compiler')", "install one"),
        (unbalanced, 'looked for "ccache \'g++"', "set CXX to it"),
        (failing, "failed with status 3: x.cpp:1: error: no such thing", "set CXX to another"),
        (silent, "failed with status 1: no output", "set CXX to another"),
        (hanging, "did not finish within 0 seconds", "try again"),
        (no_output, "true wrote no file", "set CXX to another"),
        (no_program, "cannot be run (Exec format error)", "set CXX to another"),
        (no_room_for_objects, "No space left", "TMPDIR"),
        (read_only, "/proc/no-folder", "XDG_CACHE_HOME"),
        (a_file_for_a_folder, "Not a directory", "XDG_CACHE_HOME"),
        (full, "No space left on device", "a disk with free space"),
        (no_home, "found none", "set XDG_CACHE_HOME to a folder"),
        (not_a_library, "cannot be loaded", "XDG_CACHE_HOME"),
    ],
)
def test_without_kernels_plain_torch_goes_on(fresh, monkeypatch, caplog, obstacle, cause, remedy):
    obstacle(fresh, monkeypatch)
    used = convtimenet.warm_up()
    assert used.level is None
    assert used.path is None
    assert cause in used.reason
    assert remedy in used.reason
    assert str(used) == f"plain torch: {used.reason}"
    assert native.library() is None
    for _ in range(3):
        assert not native.usable(torch.randn(4, 4, 4))
    [said] = not_used(caplog)
    assert used.reason in said
    assert "CONVTIMENET_NATIVE=0" in said
    assert not [path for path in fresh.rglob("*.so") if path.name != "finished.so"] or (
        obstacle is not_a_library
    )
    assert not list(fresh.rglob("*.tmp"))


def test_the_remedies_help(fresh, monkeypatch):
    """A cache that cannot be written to, then one that can."""
    read_only(fresh, monkeypatch)
    assert again(monkeypatch).level is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "elsewhere"))
    assert again(monkeypatch).level == "native"


def test_switched_off_without_a_word(fresh, monkeypatch, caplog):
    monkeypatch.setenv("CONVTIMENET_NATIVE", "0")
    used = convtimenet.warm_up()
    assert used == library.Kernels(None, reason="switched off by CONVTIMENET_NATIVE=0")
    assert not caplog.records
    assert links(fresh) == 0


def test_said_on_standard_error_at_first_use_and_not_at_import(fresh):
    code = """
import sys
import numpy as np
import convtimenet.estimators.forecasting.forecaster, convtimenet.network.kernels.native
print("imported", file=sys.stderr)
from convtimenet import ConvTimeNetForecaster
model = ConvTimeNetForecaster(h=2, input_size=24, n_epochs=1, verbose=0, device="cpu",
    model={"d_model": 8, "d_ff": 16, "kernel_sizes": (3,), "patch_size": 8, "patch_stride": 4})
model.fit(np.sin(np.arange(120.0) / 3))
assert np.isfinite(model.predict()).all()
"""
    process = start(code, CXX="no-such-compiler")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    before, after = err.split("imported\n")
    assert before == ""
    assert after.count("no C++ compiler was found") == 1


# Kernels that came built


def processor(monkeypatch, folder: Path, *flags: str) -> None:
    path = folder / "cpuinfo"
    text = "".join(f"processor\t: {i}\nflags\t\t: {x}\n\n" for i, x in enumerate(flags))
    path.write_text(text)
    monkeypatch.setattr(build, "CPUINFO", path)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ([""], []),
        (["sse sse2 avx"], []),
        ([V3], ["avx2"]),
        ([V3.replace("fma", "")], []),
        ([f"{V3} {V4}"], ["avx512", "avx2"]),
        ([f"{V3} {V4} avx512_vnni"], ["avx512-vnni", "avx512", "avx2"]),
        ([f"{V3} {V4} {AMX}"], ["amx", "avx512-vnni", "avx512", "avx2"]),
        ([f"{V3} {V4} {AMX}".replace("amx_int8", "")], ["avx512-vnni", "avx512", "avx2"]),
        ([f"{V3} avx_vnni"], ["avx2"]),
        # cores that differ: what all have
        ([f"{V3} {V4}", V3], ["avx2"]),
        ([], []),
    ],
)
def test_levels_that_fit(monkeypatch, tmp_path, flags, names):
    processor(monkeypatch, tmp_path, *flags)
    assert [level.name for level in build.fitting()] == names


def test_a_system_that_does_not_say_what_the_processor_has(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "CPUINFO", tmp_path / "absent")
    assert build.fitting() == []
    monkeypatch.setattr(build, "CPUINFO", tmp_path)
    assert build.fitting() == []


@pytest.fixture
def shipped(fresh, monkeypatch, caplog) -> Path:
    """A wheel's libraries, on a processor with all but AMX."""
    sizes = build.build_levels(fresh / "built")
    assert list(sizes) == ["amx", "avx512-vnni", "avx512", "avx2"]
    (fresh / "links").unlink()
    processor(monkeypatch, fresh, f"{V3} {V4} avx512_vnni")
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no-folder")
    return fresh / "built"


def test_the_best_that_fits_is_loaded(shipped, monkeypatch, caplog):
    used = convtimenet.warm_up()
    assert used.level == "avx512-vnni"
    assert used.path == shipped / "avx512-vnni.so"
    assert used.handle is not None
    processor(monkeypatch, shipped.parent, f"{V3} {V4} {AMX}")
    assert again(monkeypatch).level == "amx"
    processor(monkeypatch, shipped.parent, V3)
    assert again(monkeypatch).level == "avx2"
    assert not caplog.records


@pytest.mark.parametrize("damage", DAMAGES[:5])
def test_a_damaged_library_of_a_wheel_is_passed_over(shipped, monkeypatch, caplog, damage):
    damage(shipped / "avx512-vnni.so")
    assert convtimenet.warm_up().level == "avx512"
    [said] = warnings(caplog)
    path = shipped / "avx512-vnni.so"
    assert said == f"skipping {path}, which is damaged; reinstall the package"
    damage(apart(shipped / "avx512.so"))
    assert again(monkeypatch).level == "avx2"


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"sources": "0"}', None, "other sources"])
def test_libraries_of_another_version_are_not_loaded(shipped, monkeypatch, caplog, note):
    manifest = shipped / build.MANIFEST
    if note is None:
        manifest.unlink()
    elif note == "other sources":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"sources": "0" * 64}))
    else:
        manifest.write_text(note)
    assert convtimenet.warm_up().level is None
    assert "belong to another version; reinstall the package" in warnings(caplog)[0]


def test_compiled_here_where_none_fits(shipped, fresh, monkeypatch):
    processor(monkeypatch, fresh, "sse sse2")
    monkeypatch.setenv("CXX", f"'{fresh}/copying compiler'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "cache"))
    assert convtimenet.warm_up().level == "native"
    assert links(fresh) == 1


def test_a_library_that_does_not_load_is_passed_over(shipped, fresh, caplog):
    (fresh / "finished.so").write_text("no ELF")
    path = shipped / "avx512-vnni.so"
    path.write_bytes(b"no ELF")
    manifest = json.loads((shipped / build.MANIFEST).read_text())
    manifest["files"][path.name] = build.describe(b"no ELF")
    (shipped / build.MANIFEST).write_text(json.dumps(manifest))
    assert convtimenet.warm_up().level == "avx512"
    assert "skipping the kernels of level avx512-vnni: the library cannot be" in warnings(caplog)[0]


# Locks


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks(fresh, monkeypatch, caplog, number):
    import fcntl

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(fresh / "lock") as holder:
        assert holder is None
    assert warnings(caplog) == [
        f"the file system of {fresh} does not support locks, so two processes could write there at "
        "the same time; run only one, or use a folder on a local disk"
    ]
    with Checkpoints(fresh / "run", "fit", {}).alone():
        assert (fresh / "run").is_dir()
    assert convtimenet.warm_up().level == "native"


def test_a_lock_that_is_refused(fresh, monkeypatch, caplog):
    import fcntl

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    message = "cannot lock .*lock: Input/output error; use"
    with pytest.raises(ConfigError, match=message), locked(fresh / "lock"):
        pass
    assert "cannot lock" in convtimenet.warm_up().reason


def test_waiting_for_a_lock(tmp_path):
    with locked(tmp_path / "lock") as first, locked(tmp_path / "lock", wait=0.2) as second:
        assert first is None
        assert second == f"process {os.getpid()} on {os.uname().nodename}"
    with locked(tmp_path / "lock", wait=0.2) as third:
        assert third is None


def test_no_home_and_no_variable(monkeypatch):
    no_home(None, monkeypatch)
    with pytest.raises(ConfigError, match="set XDG_CACHE_HOME to a folder"):
        cache_folder()
