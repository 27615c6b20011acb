"""Saved models: exact, complete, replaced whole, and refused with a reason when damaged."""

import copy
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import threading
import tracemalloc
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import pandas as pd
import polars as pl
import pytest
import safetensors.numpy
import torch
from common import full_disk
from forked import Forked

import convtimenet
from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, ConvTimeNetRegressor
from convtimenet.errors import ArtefactError, ConfigError
from convtimenet.files import whole_folder
from convtimenet.storage import manifest
from convtimenet.storage.labels import described, restored
from convtimenet.storage.manifest import FORMAT, _canonical, read_folder, seal

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}
OF_PATCHES = {"random_patches": 1}
OF_CASES = TINY | OF_PATCHES
ARRAYS = ("weights.safetensors", "data.safetensors")
FILES = {"model.json", *ARRAYS, "metrics.json", "README.md", "manifest.json"}


def waves(T: int = 60) -> np.ndarray:
    return np.sin(np.arange(T)[:, None] / np.array([2.0, 3.0]))


def cases(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(n, 2, 20))
    return X, np.array(["a", "b"] * (n // 2))


def forecaster(**settings) -> ConvTimeNetForecaster:
    given = {"h": 3, "model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0, **settings}
    return ConvTimeNetForecaster(**given)


def classifier() -> ConvTimeNetClassifier:
    return ConvTimeNetClassifier(model=OF_CASES, n_epochs=1, device="cpu", verbose=0)


@pytest.fixture(scope="module")
def fitted() -> ConvTimeNetForecaster:
    return forecaster().fit(waves())


@pytest.fixture
def folder(fitted, tmp_path) -> Path:
    return fitted.save(tmp_path / "model")


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class TestExact:
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"scale": False},
            {"training": {"refit": True, "protocol": "paper"}},
            {"model": TINY | {"norm": "layer", "revin_affine_channels": 2}},
            {"h": np.int64(3), "lr": np.float64(1e-3), "n_epochs": np.int32(1)},
            {"precision": "bf16"},
            {"precision": "int8"},
        ],
    )
    def test_forecasts_are_the_same_bits(self, settings, tmp_path):
        model = forecaster(**settings).fit(waves())
        loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "a" / "b"), device="cpu")
        np.testing.assert_array_equal(loaded.predict(), model.predict())
        np.testing.assert_array_equal(loaded.predict(waves(80)), model.predict(waves(80)))
        assert loaded.evaluate(waves()).scores == model.evaluate(waves()).scores
        assert loaded.history_ == model.history_
        assert loaded.train_config_ == model.train_config_
        assert loaded.channels_ == model.channels_
        again = ConvTimeNetForecaster.load(loaded.save(tmp_path / "c"), device="cpu")
        np.testing.assert_array_equal(again.predict(), model.predict())

    def test_a_model_answers_in_the_precision_it_is_loaded_for(self, tmp_path):
        model = forecaster(model=TINY | {"linear": False}).fit(waves())
        folder = model.save(tmp_path / "m")
        reduced = ConvTimeNetForecaster.load(folder, device="cpu", precision="int8")
        assert reduced.precision == reduced.train_config_.precision == "int8"
        apart = np.abs(reduced.predict() - model.predict()).max()
        assert 1e-7 < apart < 0.02
        with pytest.raises(ConfigError, match="one of 'fp32', 'bf16', 'int8', found 'int4'"):
            ConvTimeNetForecaster.load(folder, precision=cast(Any, "int4"))

    def test_probabilities_are_the_same_bits(self, tmp_path):
        X, y = cases()
        model = classifier().fit(X, y)
        loaded = ConvTimeNetClassifier.load(model.save(tmp_path / "m"), device="cpu")
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
        longer = np.concatenate([X, X], axis=2)
        np.testing.assert_array_equal(loaded.predict(longer), model.predict(longer))
        assert loaded.notices_ == model.notices_

    @pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
    @pytest.mark.parametrize("library", ["pandas", "polars"])
    def test_future_stamps_are_the_same(self, zone, library, tmp_path):
        times = pd.date_range("2024-03-30", periods=60, freq="h", tz=zone)
        frame = pd.DataFrame({"date": times, "a": waves()[:, 0]})
        source = frame if library == "pandas" else pl.from_pandas(frame)
        model = forecaster().fit(source)
        loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"))
        expected = pd.date_range(times[-1] + pd.Timedelta("1h"), periods=3, freq="h")
        found = loaded.predict()
        assert type(found) is type(source)
        assert [str(t) for t in found["date"]] == [str(t) for t in model.predict()["date"]]
        if library == "pandas":
            assert (pd.DatetimeIndex(found["date"]) == expected).all()

    def test_a_loaded_model_can_be_fitted_again(self, folder, fitted):
        loaded = ConvTimeNetForecaster.load(folder)
        np.testing.assert_array_equal(loaded.fit(waves()).predict(), fitted.predict())


KILLED = """
import os, signal, sys
from convtimenet import ConvTimeNetForecaster
model, whole = ConvTimeNetForecaster.load(sys.argv[1]), os.replace

def save(folder, left):
    def replace(source, target):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(source, target)

    os.replace = replace
    model.save(folder)
    os._exit(0)

for nth, folder in enumerate(sys.argv[2:], start=1):
    child = os.fork() or save(folder, nth)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


class TestFolder:
    def test_holds_plain_files_only(self, folder):
        assert {path.name for path in folder.iterdir()} == FILES
        described = json.loads((folder / "model.json").read_text())
        assert described["format"] == FORMAT
        assert described["version"] == convtimenet.__version__

    def test_the_umask_says_who_may_read(self, fitted, tmp_path):
        for mask in (0o022, 0o027):
            before = os.umask(mask)
            try:
                folder = fitted.save(tmp_path / "m")
            finally:
                os.umask(before)
            assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o666 & ~mask}
            assert folder.stat().st_mode & 0o777 == 0o777 & ~mask

    def test_no_pickle_anywhere_in_the_package(self):
        source = Path(convtimenet.__file__).parent
        used = re.compile(
            r"^\s*(?:import|from) (?:pickle|dill|marshal|shelve)\b|joblib.*\b(?:load|dump)\b"
            r"|(?<!safetensors\.)torch\.(?:load|save)\(|allow_pickle=True|pickle\.\w",
            re.MULTILINE,
        )
        files = list(source.rglob("*.py"))
        assert len(files) > 20
        assert [path.name for path in files if used.search(path.read_text())] == []

    def test_replaces_an_earlier_model_whole(self, folder):
        other = classifier().fit(*cases())
        other.save(folder)
        assert {path.name for path in folder.iterdir()} == FILES
        assert [path.name for path in folder.parent.iterdir()] == ["model"]
        loaded = ConvTimeNetClassifier.load(folder)
        np.testing.assert_array_equal(loaded.predict(cases()[0]), other.predict(cases()[0]))

    def test_fills_an_empty_folder(self, fitted, tmp_path):
        (tmp_path / "empty").mkdir()
        fitted.save(tmp_path / "empty")
        assert {path.name for path in (tmp_path / "empty").iterdir()} == FILES

    def test_follows_a_link(self, fitted, folder, tmp_path):
        link = tmp_path / "link"
        link.symlink_to(folder)
        fitted.save(link)
        assert link.is_symlink()
        np.testing.assert_array_equal(
            ConvTimeNetForecaster.load(folder).predict(), fitted.predict()
        )

    @pytest.mark.parametrize(
        "names", [["notes.txt"], ["model.json", "notes.txt"], ["a/model.json"]]
    )
    def test_refuses_and_keeps_what_is_no_model(self, fitted, tmp_path, names):
        target = tmp_path / "mine"
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text("mine")
        before = content(target)
        with pytest.raises(ArtefactError, match=r"other than a saved model; choose another folder"):
            fitted.save(target)
        assert content(target) == before
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def test_refuses_a_file(self, fitted, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(ArtefactError, match=r"other than a saved model; choose another folder"):
            fitted.save(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "mine"

    @pytest.mark.parametrize("where", ["torch", "numpy"])
    def test_a_failing_save_leaves_the_earlier_model_and_nothing_else(
        self, folder, monkeypatch, where
    ):
        before = content(folder)

        def full(*_, **__):
            raise OSError("no space left on device")

        monkeypatch.setattr(f"safetensors.{where}.save_file", full)
        said = f"{folder}: expected room for a model of [0-9,]{{5,}} bytes, found: no space left"
        with pytest.raises(ArtefactError, match=said):
            forecaster().fit(waves() * 3).save(folder)
        assert content(folder) == before
        assert [path.name for path in folder.parent.iterdir()] == ["model"]

    def test_a_full_disk_is_told_of(self, folder, fitted):
        before = content(folder)
        said = f"{folder}: expected room for a model of [0-9,]{{5,}} bytes, found: .*File too large"
        with full_disk(), pytest.raises(ArtefactError, match=said):
            fitted.save(folder)
        assert content(folder) == before

    @pytest.mark.parametrize("nth", [1, 2])
    def test_a_failing_exchange_leaves_the_earlier_model(self, folder, monkeypatch, nth):
        before, replace, calls = content(folder), os.replace, []

        def failing(source, target):
            calls.append(source)
            if len(calls) == nth:
                raise OSError("interrupted")
            replace(source, target)

        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(ArtefactError, match="found: interrupted; make room, or save it to"):
            forecaster().fit(waves() * 3).save(folder)
        assert content(folder) == before
        assert [path.name for path in folder.parent.iterdir()] == ["model"]

    def test_a_kill_at_any_rename_loses_no_model(self, fitted, tmp_path, caplog):
        """Processes that kill themselves as they begin their n-th rename, each saving over another
        model."""
        other = forecaster().fit(waves() * 3)
        source = other.save(tmp_path / "other")
        folders = [fitted.save(tmp_path / f"{nth}" / "model") for nth in (1, 2, 3)]
        process = Forked(KILLED, source, *folders)
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert out.split() == [str(int(signal.SIGKILL))] * 3
        for nth, folder in enumerate(folders, start=1):
            expected = other if nth == 3 else fitted
            assert folder.exists() == (nth != 2)
            caplog.clear()
            loaded = ConvTimeNetForecaster.load(folder)
            np.testing.assert_array_equal(loaded.predict(), expected.predict())
            assert ("was interrupted" in caplog.text) == (nth == 2)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("safetensors.numpy.save_file", None)
                with pytest.raises(TypeError):
                    other.save(folder)
            loaded = ConvTimeNetForecaster.load(folder)
            np.testing.assert_array_equal(loaded.predict(), expected.predict())
            other.save(folder)
            loaded = ConvTimeNetForecaster.load(folder)
            np.testing.assert_array_equal(loaded.predict(), other.predict())
            shutil.rmtree(folder)  # on purpose: nothing stands in for it
            with pytest.raises(ArtefactError, match="there is no model folder"):
                ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("where", ["_listed", "_facts"])
    def test_a_model_that_is_saved_anew_while_it_is_read(self, fitted, folder, monkeypatch, where):
        """What is read is one of both whole; without an end of saving there is an error."""
        real, times = getattr(manifest, where), [1]

        def and_saved(*given):
            found = real(*given)
            if times[0]:
                times[0] -= 1
                with monkeypatch.context() as patch:
                    patch.setattr(manifest, where, real)
                    fitted.notices_ = (*fitted.notices_, f"longer: {times[0]}")
                    fitted.save(folder)
            return found

        monkeypatch.setattr(manifest, where, and_saved)
        monkeypatch.setattr(fitted, "notices_", ())
        description, files = read_folder(folder)
        assert len(fitted.notices_) == 1
        assert json.loads(files["model.json"]) == description
        times[0] = 10**6
        with pytest.raises(ArtefactError, match=r"saved anew 10 times while it was read; save"):
            read_folder(folder)

    def test_reading_while_another_thread_saves(self, tmp_path):
        folder, stop = tmp_path / "model", threading.Event()

        def save(number: int) -> None:
            with whole_folder(folder) as making:
                text = json.dumps({"format": FORMAT, "number": number, "long": "x" * number})
                (making / "model.json").write_text(text)
                (making / "other").write_bytes(bytes([number]) * 1000)
                seal(making)

        def save_on() -> None:
            number = 0
            while not stop.wait(0.01):
                number = (number + 1) % 100
                save(number)

        save(0)
        thread = threading.Thread(target=save_on)
        thread.start()
        try:
            for _ in range(300):
                description, files = read_folder(folder)
                assert files["other"] == bytes([description["number"]]) * 1000
        finally:
            stop.set()
            thread.join()

    def test_a_failing_first_save_leaves_nothing(self, fitted, tmp_path, monkeypatch):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("safetensors.numpy.save_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fitted.save(tmp_path / "model")
        assert list(tmp_path.iterdir()) == []

    def test_parameters_set_after_the_fit_are_not_those_of_the_model(self, tmp_path):
        model = forecaster(freq="1").fit(waves()).set_params(h=5, freq=None, quality="fast")
        for again in (model, ConvTimeNetForecaster.load(model.save(tmp_path / "m"))):
            found = ConvTimeNetForecaster.load(again.save(tmp_path / "n"))
            assert (found.h, found.freq, found.quality) == (3, "1", "auto")
            assert found.predict().shape == (3, 2)
        model.set_params(quality="auto").fit(waves())
        assert model.description()["parameters"]["h"] == 5

    def test_mappings_and_numpys_numbers_are_plain_values(self, tmp_path):
        training = MappingProxyType({"lr": np.float64(1e-3), "batch_size": np.int64(8)})
        model = forecaster(training=training).fit(waves())
        loaded = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        assert loaded.training == {"lr": 1e-3, "batch_size": 8}
        assert loaded.train_config_ == model.train_config_

    def test_parameters_json_cannot_hold_are_refused_before_writing(self, fitted, tmp_path):
        odd = copy.copy(fitted)
        odd.parameters_ = fitted.parameters_ | {"time_col": object()}
        with pytest.raises(ArtefactError, match=r"cannot be saved: expected text, numbers"):
            odd.save(tmp_path / "m")
        assert list(tmp_path.iterdir()) == []


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Change a file as somebody would who can also make a new manifest."""
    (folder / name).write_bytes(content)
    seal(folder)


class TestManifest:
    """Nothing changes unnoticed."""

    @pytest.mark.parametrize("name", sorted(FILES))
    def test_flipped_bytes_are_found_and_the_file_named(self, folder, name):
        path = folder / name
        whole = path.read_bytes()
        for at in {*range(0, len(whole), 97), len(whole) - 1}:
            for changed in (whole[at] ^ 0xFF, whole[at] ^ 0x01, ord(" ")):
                if changed != whole[at]:
                    path.write_bytes(whole[:at] + bytes([changed]) + whole[at + 1 :])
                    with pytest.raises(ArtefactError, match=re.escape(str(path))):
                        read_folder(folder)
        path.write_bytes(whole)
        ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("name", sorted(FILES))
    def test_truncated_and_lengthened_files_are_found(self, folder, name):
        path = folder / name
        whole = path.read_bytes()
        shorter = [whole[:kept] for kept in range(0, len(whole), 97)]
        for content in (*shorter, whole[:-1], whole + b"\n", whole + b"\0"):
            path.write_bytes(content)
            with pytest.raises(ArtefactError, match=re.escape(str(path))):
                ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("name", sorted(FILES))
    def test_a_missing_file_is_named(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(ArtefactError, match=f"{re.escape(name)} is missing"):
            ConvTimeNetForecaster.load(folder)

    def test_other_files_are_refused(self, folder):
        (folder / "hook.py").write_text("")
        with pytest.raises(ArtefactError, match=r"hook\.py is not in the manifest .* remove it"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("kind", ["folder", "fifo", "dangling"])
    def test_what_is_no_file_is_refused(self, folder, kind):
        odd = folder / "odd"
        {"folder": odd.mkdir, "fifo": lambda: os.mkfifo(odd)}.get(
            kind, lambda: odd.symlink_to("nowhere")
        )()
        with pytest.raises(ArtefactError, match=r"odd is not a regular file .* remove it"):
            ConvTimeNetForecaster.load(folder)

    def test_a_link_is_no_way_to_other_content(self, folder, fitted, tmp_path):
        weights = folder / "weights.safetensors"
        weights.rename(tmp_path / "blob")
        weights.symlink_to(tmp_path / "blob")  # as in the cache of a model hub
        loaded = ConvTimeNetForecaster.load(folder)
        np.testing.assert_array_equal(loaded.predict(), fitted.predict())
        weights.unlink()
        weights.symlink_to(__file__)
        with pytest.raises(ArtefactError, match=r"weights\.safetensors is damaged"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", "."])
    def test_no_path_leaves_the_folder(self, folder, name):
        (folder.parent / "outside").write_text("secret")
        files = json.loads((folder / "manifest.json").read_text())["files"]
        files[name] = {"sha256": hashlib.sha256(b"secret").hexdigest(), "size": 6}
        self.manifest(folder, {"format": FORMAT, "files": files})
        with pytest.raises(ArtefactError, match=f"{re.escape(name)} is missing"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize(
        "content",
        [
            {"format": FORMAT, "files": {}},
            {"format": FORMAT, "files": []},
            {"format": FORMAT, "files": {"model.json": 3}},
            {"format": FORMAT, "files": {"model.json": {"size": 3}}},
            {"format": 1, "files": {}},
            {"format": 0, "files": {}},
            {"format": True, "files": {}},
            {"format": FORMAT},
            {},
        ],
    )
    def test_odd_manifests(self, folder, content):
        self.manifest(folder, content)
        with pytest.raises(ArtefactError, match="manifest"):
            ConvTimeNetForecaster.load(folder)

    def test_the_sha_is_that_of_other_programs(self, folder):
        listed = json.loads((folder / "manifest.json").read_text())["files"]
        assert listed.keys() == FILES - {"manifest.json"}
        for name, facts in listed.items():
            content = (folder / name).read_bytes()
            assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}

    def test_a_card_may_be_edited_and_sealed(self, folder):
        path = folder / "README.md"
        command = re.search(r'python -c "(.*)"', path.read_text())
        assert command is not None
        path.write_text(path.read_text().replace("license: unknown  # fill in", "license: mit #"))
        with pytest.raises(ArtefactError, match=r"README\.md is damaged"):
            ConvTimeNetForecaster.load(folder)
        exec(command[1].replace("'folder'", repr(str(folder))), {})
        ConvTimeNetForecaster.load(folder)

    def manifest(self, folder: Path, content: dict) -> None:
        (folder / "manifest.json").write_bytes(_canonical(content))


class TestCard:
    def test_tells_what_there_is_to_know(self, tmp_path):
        times = pd.date_range("2024-03-30", periods=60, freq="h")
        frame = pd.DataFrame({"date": times, "wind [m/s]": waves()[:, 0], "b": waves()[:, 1]})
        model = forecaster().fit(frame)
        folder = model.save(tmp_path / "m")
        text = (folder / "README.md").read_text()
        assert text.startswith("---\nlibrary_name: convtimenet\n")
        assert model.scores_ is not None
        ours, naive = model.scores_["ConvTimeNet"], model.scores_["SeasonalNaive"]
        for said in (
            "license: unknown",
            "- channels: 2: 'wind [m/s]', 'b'",
            "- frequency: 1h",
            "- horizon: 3 steps",
            "- training windows: 18",
            "- validation windows: 10",
            "| score | ConvTimeNet | SeasonalNaive |",
            f"| mae | {ours['mae']:.4g} | {naive['mae']:.4g} |",
            "validation split (used to select the epoch)",
            "- protocol: honest, seed 2023, 1 epochs",
            f"convtimenet {convtimenet.__version__}",
            f"torch {torch.__version__}".split("+")[0],
        ):
            assert said in text, said
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["scores"] == model.scores_
        code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        assert len(code[0].splitlines()) == 3
        exec(code[0].replace('"folder"', repr(str(folder))), {})

    def test_its_scores_are_those_of_the_model(self, tmp_path):
        """Not those of the network alone, which is mixed with random patches."""
        model = classifier().fit(*cases())
        folder = model.save(tmp_path / "m")
        text = (folder / "README.md").read_text()
        assert model.scores_ is not None
        assert f"| loss | {model.scores_['loss']:.4g} |" in text
        assert "used to choose the share of the trained network; the last epoch is kept)." in text
        assert model.history_.second is not None
        done = f"trained further on all data for {model.history_.second.epochs} epoch"
        assert f"The network was then {done}" in text
        found = json.loads((folder / "metrics.json").read_text())
        assert found["scores"] == model.scores_ != model.history_.epochs[0].valid
        solved = ConvTimeNetForecaster(3, quality="fast", device="cpu", verbose=0).fit(waves(120))
        text = (solved.save(folder) / "README.md").read_text()
        assert "Data: validation split." in text
        assert "The model was then fitted again on all data; the scores are those before." in text

    def test_says_where_nothing_was_held_back(self, tmp_path):
        X, y = cases()
        model = ConvTimeNetClassifier(
            model=OF_CASES, n_epochs=1, device="cpu", verbose=0, training={"validation_fraction": 0}
        ).fit(X, y)
        folder = model.save(tmp_path / "m")
        text = (folder / "README.md").read_text()
        assert "None: there was no validation split." in text
        assert "- classes: 2: 'a', 'b'" in text
        assert "- training cases: 12" in text
        assert json.loads((folder / "metrics.json").read_text())["scores"] == {}


KEPT = Path(__file__).parent / "artefacts"


@pytest.mark.parametrize("format", sorted(path.name for path in KEPT.iterdir() if path.is_dir()))
class TestFormats:
    """A model of every released format answers as it did when it was saved."""

    def test_forecaster(self, format):
        expected = json.loads((KEPT / format / "expected.json").read_text())
        model = ConvTimeNetForecaster.load(KEPT / format / "forecaster", device="cpu")
        future = model.predict()
        assert [stamp.isoformat() for stamp in future["date"]] == expected["times"]
        found = future[["wind [m/s]", "b"]].to_numpy()
        np.testing.assert_allclose(found, expected["forecast"], rtol=1e-6)

    def test_classifier(self, format):
        expected = json.loads((KEPT / format / "expected.json").read_text())
        model = ConvTimeNetClassifier.load(KEPT / format / "classifier", device="cpu")
        X = np.random.default_rng(0).normal(size=(12, 2, 10))
        np.testing.assert_allclose(model.predict_proba(X), expected["probabilities"], rtol=1e-5)
        assert model.predict(X).tolist() == expected["classes"]

    def test_saved_again_it_has_the_current_format(self, format, tmp_path):
        model = ConvTimeNetForecaster.load(KEPT / format / "forecaster", device="cpu")
        again = ConvTimeNetForecaster.load(model.save(tmp_path / "m"), device="cpu")
        pd.testing.assert_frame_equal(again.predict(), model.predict())
        assert json.loads((tmp_path / "m" / "model.json").read_text())["format"] == FORMAT


def kept(kind: str) -> list[str]:
    """Formats of which a model of this kind is kept."""
    return sorted(path.parent.name for path in KEPT.glob(f"*/{kind}"))


def answers(format: str) -> dict[str, Any]:
    return json.loads((KEPT / format / "expected.json").read_text())


class TestKinds:
    """The same for what came after the first format."""

    @pytest.mark.parametrize("format", kept("panel"))
    def test_covariates_and_intervals_of_a_panel(self, format):
        model = ConvTimeNetForecaster.load(KEPT / format / "panel", device="cpu")
        known = {"promo": [1.0, 0.0], "weather": ["wet", "dry"]}
        days = {"a": ["2024-03-01", "2024-03-02"], "b": ["2024-02-20", "2024-02-21"]}
        future = pd.concat(
            pd.DataFrame({"unique_id": name, "ds": pd.to_datetime(stamps), **known})
            for name, stamps in days.items()
        )
        found, expected = model.predict(future=future, level=[50]), answers(format)["panel"]
        assert found["unique_id"].tolist() == expected["unique_id"]
        assert [stamp.isoformat() for stamp in found["ds"]] == expected["ds"]
        for name in ("ConvTimeNet", "ConvTimeNet-lo-50", "ConvTimeNet-hi-50"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)
        # each kind of covariate counts
        for name, values in (("promo", [0.0, 0.0]), ("weather", ["dry", "dry"])):
            other = model.predict(future=future.assign(**{name: values * 2}))
            assert not np.allclose(other["ConvTimeNet"], expected["ConvTimeNet"], rtol=1e-6)

    @pytest.mark.parametrize("format", kept("quantiles"))
    def test_quantiles(self, format):
        model = ConvTimeNetForecaster.load(KEPT / format / "quantiles", device="cpu")
        found, expected = model.predict(level=[50]), answers(format)["quantiles"]
        assert model.network_.config.quantiles == (0.1, 0.5, 0.9)
        assert list(found) == list(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)

    @pytest.mark.parametrize("format", kept("regressor"))
    def test_regressor(self, format):
        model = ConvTimeNetRegressor.load(KEPT / format / "regressor", device="cpu")
        X = np.random.default_rng(0).normal(size=(12, 2, 10))
        # of the largest: processors round differently, and one of the numbers is near zero
        expected = np.array(answers(format)["numbers"])
        atol = 1e-6 * np.abs(expected).max()
        np.testing.assert_allclose(model.predict(X), expected, rtol=0, atol=atol)

    def test_the_current_format_has_all_of_them(self):
        kinds = {"forecaster", "classifier", "export", "panel", "quantiles", "regressor"}
        assert {path.name for path in (KEPT / str(FORMAT)).iterdir() if path.is_dir()} == kinds


def test_every_format_has_its_kept_models():
    assert {int(path.name) for path in KEPT.iterdir() if path.is_dir()} == set(range(1, FORMAT + 1))


def test_object_labels_of_format_1(tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(KEPT / "1" / "classifier", folder)
    described = json.loads((folder / "model.json").read_text())
    described["data"]["dtype"] = "|O"
    (folder / "model.json").write_text(json.dumps(described))
    classes = ConvTimeNetClassifier.load(folder, device="cpu").classes_
    assert (classes.dtype, classes.tolist()) == (np.dtype(object), ["a", "b"])


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["b", "ab"]),
        np.array(["b", "ab"], dtype=object),
        np.array([2, 1], dtype=object),
        np.array([3, -1], dtype=np.int8),
        np.array([True, False]),
        np.array([0.1, 1e300]),
    ],
)
def test_labels_come_back_as_they_were(labels):
    classes = np.unique(labels)
    again = restored(json.loads(json.dumps(described(classes))), 2)
    assert again.dtype == classes.dtype
    assert again.tolist() == classes.tolist()


@pytest.mark.parametrize(
    ("dtype", "classes"),
    [
        ("O", ["a", "b"]),
        ("|O", ["a", "b"]),
        ("object", ["a", "b"]),
        ("V8", ["a", "b"]),
        ("<U1", ["ab", "b"]),
        ("<U1000000000", ["a", "b"]),
        ("<i8,O", [1, 2]),
        ("|u1", [1, 300]),
        ("<i8", [1.5, 2]),
        ("python", [["a"], ["b"]]),
        ("python", [{}, None]),
        ("python", ["a"]),
        ("python", "ab"),
        (None, ["a", "b"]),
        (["<i8"], [1, 2]),
    ],
)
def test_labels_of_other_types_are_refused(folder_of_classes, dtype, classes):
    folder = folder_of_classes
    described = json.loads((folder / "model.json").read_text())
    described["data"] |= {"dtype": dtype, "classes": classes}
    rewrite(folder, "model.json", json.dumps(described).encode())
    with pytest.raises(ArtefactError, match="is damaged"):
        ConvTimeNetClassifier.load(folder, device="cpu")


@pytest.fixture
def folder_of_classes(tmp_path) -> Path:
    return shutil.copytree(KEPT / str(FORMAT) / "classifier", tmp_path / "classes")


class TestDamage:
    def test_an_absent_folder(self, tmp_path):
        with pytest.raises(ArtefactError, match=r"no model folder at.*model\.json is missing"):
            ConvTimeNetForecaster.load(tmp_path / "nowhere")

    def test_a_file_that_may_not_be_read(self, folder, monkeypatch):
        weights, whole = folder / "weights.safetensors", Path.read_bytes

        def read(path: Path) -> bytes:
            if path == weights:
                raise PermissionError(13, "Permission denied", str(path))
            return whole(path)

        weights.chmod(0o640)
        monkeypatch.setattr(Path, "read_bytes", read)
        message = rf"^{re.escape(str(weights))}: no permission .* are -rw-r-----, its owner is user"
        with pytest.raises(ArtefactError, match=message):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("name", ARRAYS)
    @pytest.mark.parametrize("kept", [0, 4, 100, -1])
    def test_truncated_arrays(self, folder, name, kept):
        rewrite(folder, name, (folder / name).read_bytes()[:kept])
        with pytest.raises(ArtefactError, match="is damaged"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("name", ["model.json", *ARRAYS])
    def test_a_file_that_even_the_manifest_lacks(self, folder, name):
        (folder / name).unlink()
        seal(folder)
        with pytest.raises(ArtefactError, match=f"{re.escape(name)} is missing"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("text", ["", "{", '{"format": ', "\xff\xfe", "[1, 2"])
    def test_text_that_is_not_json(self, folder, text):
        rewrite(folder, "model.json", text.encode("latin-1"))
        with pytest.raises(ArtefactError, match=r"model\.json is damaged, it is not JSON"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"format": "1"}'])
    def test_json_that_is_no_model(self, folder, text):
        rewrite(folder, "model.json", text.encode())
        with pytest.raises(ArtefactError, match="does not describe a ConvTimeNet model"):
            ConvTimeNetForecaster.load(folder)

    def test_a_newer_format(self, folder):
        newer = rf"has format {FORMAT + 1}, .* reads up to format {FORMAT}; upgrade"
        self.change(folder, "format", FORMAT + 1)
        with pytest.raises(ArtefactError, match=newer):
            ConvTimeNetForecaster.load(folder)
        (folder / "manifest.json").write_text(json.dumps({"format": FORMAT + 1, "new": []}))
        with pytest.raises(ArtefactError, match=newer):
            ConvTimeNetForecaster.load(folder)

    def test_formats_do_not_mix(self, folder):
        self.change(folder, "format", 1)
        with pytest.raises(ArtefactError, match=r"model\.json is damaged: expected format 2"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize(
        "text", ["[" * 10**6, '{"format": 2, "a": ' + "[" * 99 + "]" * 99 + "}", "1" * 5000]
    )
    def test_deep_and_long_json(self, folder, text):
        rewrite(folder, "model.json", text.encode())
        with pytest.raises(ArtefactError, match=r"not JSON|nested deeper"):
            ConvTimeNetForecaster.load(folder)

    def test_json_of_many_bytes(self, folder, monkeypatch):
        monkeypatch.setattr("convtimenet.storage.manifest._MAX_JSON_BYTES", 100)
        with pytest.raises(ArtefactError, match="expected at most 100"):
            ConvTimeNetForecaster.load(folder)

    def test_what_could_not_be_loaded_is_not_saved(self, fitted, folder, monkeypatch):
        """The earlier model stays."""
        before = content(folder)
        monkeypatch.setattr("convtimenet.storage.manifest._MAX_JSON_BYTES", 100)
        with pytest.raises(ArtefactError, match=r"bytes, expected at most 100, .*fewer series"):
            fitted.save(folder)
        assert content(folder) == before
        assert [path.name for path in folder.parent.iterdir()] == ["model"]

    def test_many_ids_are_loaded(self, tmp_path):
        """A description longer than 64 MiB, as of 1.6 million series."""
        text = json.dumps({"format": FORMAT, "id": "x" * 2**26})
        (tmp_path / "model.json").write_text(text)
        seal(tmp_path)
        assert len(read_folder(tmp_path)[0]["id"]) == 2**26

    @pytest.mark.parametrize(
        "asked",
        [
            {"d_model": 10**9},
            {"d_ff": 10**12},
            {"d_model": 10**30},
            {"kernel_sizes": [10**9, 10**9]},
            {"kernel_sizes": [5] * 10**5},
            {"patch_size": 10**9},
            {"patch_stride": 10**9},
            {"context_length": 10**12},
            {"outputs": 10**10},
            {"revin_affine_channels": 10**10},
        ],
    )
    def test_a_config_cannot_ask_for_more_than_there_is(self, folder, asked):
        described = json.loads((folder / "model.json").read_text())
        described["model"] |= asked
        rewrite(folder, "model.json", json.dumps(described).encode())
        tracemalloc.start()
        with pytest.raises(ArtefactError, match=re.escape(str(folder))):
            ConvTimeNetForecaster.load(folder)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**25
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 2**20  # KiB

    @pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
    def test_a_scaler_that_is_none(self, folder, value):
        arrays = safetensors.numpy.load_file(folder / "data.safetensors")
        arrays["scaler.scale"][0] = value
        rewrite(folder, "data.safetensors", safetensors.numpy.save(arrays))
        with pytest.raises(ArtefactError, match="is damaged: ValueError: a scaler"):
            ConvTimeNetForecaster.load(folder)

    def test_a_tail_of_another_length(self, folder):
        arrays = safetensors.numpy.load_file(folder / "data.safetensors")
        arrays["tail.times"] = arrays["tail.times"][:-1]
        rewrite(folder, "data.safetensors", safetensors.numpy.save(arrays))
        with pytest.raises(ArtefactError, match="is damaged: ValueError: expected a tail"):
            ConvTimeNetForecaster.load(folder)

    def test_another_kind(self, folder):
        with pytest.raises(
            ArtefactError, match="holds a ConvTimeNetForecaster, expected a ConvTimeNetClassifier"
        ):
            ConvTimeNetClassifier.load(folder)

    @pytest.mark.parametrize("part", ["model", "parameters", "train", "history", "data"])
    @pytest.mark.parametrize("value", [None, 3, [3], {"odd": 1}, "absent"])
    def test_every_damaged_part_is_reported_as_damage(self, folder, part, value):
        self.change(folder, part, value)
        with pytest.raises(ArtefactError, match="is damaged"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize(("name", "value"), [("time_name", []), ("channels", [0, 1])])
    def test_columns_whose_names_are_no_text(self, folder, name, value):
        data = json.loads((folder / "model.json").read_text())["data"]
        self.change(folder, "data", data | {name: value})
        with pytest.raises(ArtefactError, match="column names to be text"):
            ConvTimeNetForecaster.load(folder)

    def test_weights_of_another_network(self, folder, tmp_path):
        settings = TINY | {"d_model": 4}
        other = forecaster(model=settings).fit(waves()).save(tmp_path / "other")
        shutil.copy(other / "weights.safetensors", folder)
        seal(folder)
        with pytest.raises(ArtefactError, match="does not hold the weights of the network"):
            ConvTimeNetForecaster.load(folder)

    def test_a_missing_array(self, folder):
        arrays = safetensors.numpy.load_file(folder / "data.safetensors")
        del arrays["scaler.scale"]
        rewrite(folder, "data.safetensors", safetensors.numpy.save(arrays))
        with pytest.raises(ArtefactError, match=r"is damaged: KeyError: 'scaler\.scale'"):
            ConvTimeNetForecaster.load(folder)

    def test_an_unknown_device_is_not_taken_for_damage(self, folder):
        with pytest.raises(ConfigError, match="device must be 'auto' or"):
            ConvTimeNetForecaster.load(folder, device="warp")

    def change(self, folder: Path, part: str, value) -> None:
        path = folder / "model.json"
        described = json.loads(path.read_text())
        if value == "absent":
            del described[part]
        else:
            described[part] = value
        rewrite(folder, "model.json", json.dumps(described).encode())
