"""Saved models: exact, complete, replaced whole, and refused with a reason when damaged."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import safetensors.numpy

import convtimenet
from convtimenet import ConvTimeNetClassifier, ConvTimeNetForecaster, artefact
from convtimenet.errors import ArtefactError, ConfigError

TINY = {"d_model": 8, "d_ff": 16, "kernel_sizes": (3, 5)}
FILES = {"model.json", "weights.safetensors", "data.safetensors"}


def waves(T: int = 60) -> np.ndarray:
    return np.sin(np.arange(T)[:, None] / np.array([2.0, 3.0]))


def cases(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(n, 2, 20))
    return X, np.array(["a", "b"] * (n // 2))


def forecaster(**settings) -> ConvTimeNetForecaster:
    given = {"h": 3, "model": TINY, "n_epochs": 1, "device": "cpu", "verbose": 0, **settings}
    return ConvTimeNetForecaster(**given)


def classifier() -> ConvTimeNetClassifier:
    return ConvTimeNetClassifier(model=TINY, n_epochs=1, device="cpu", verbose=0)


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


class TestFolder:
    def test_holds_plain_files_only(self, folder):
        assert {path.name for path in folder.iterdir()} == FILES
        assert os.stat(folder).st_mode & 0o777 == 0o755
        described = json.loads((folder / "model.json").read_text())
        assert described["format"] == artefact.FORMAT
        assert described["version"] == convtimenet.__version__

    def test_no_pickle_anywhere_in_the_package(self):
        source = Path(convtimenet.__file__).parent
        used = re.compile(
            r"^\s*(?:import|from) (?:pickle|joblib|dill|marshal|shelve)\b"
            r"|torch\.(?:load|save)\(|allow_pickle=True|pickle\.\w",
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
        with pytest.raises(ArtefactError, match=r"other than a saved model; give another folder"):
            fitted.save(target)
        assert content(target) == before
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def test_refuses_a_file(self, fitted, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(ArtefactError, match=r"other than a saved model; give another folder"):
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
        with pytest.raises(OSError, match="no space left"):
            forecaster().fit(waves() * 3).save(folder)
        assert content(folder) == before
        assert [path.name for path in folder.parent.iterdir()] == ["model"]

    @pytest.mark.parametrize("nth", [1, 2])
    def test_a_failing_exchange_leaves_the_earlier_model(self, folder, monkeypatch, nth):
        before, replace, calls = content(folder), os.replace, []

        def failing(source, target):
            calls.append(source)
            if len(calls) == nth:
                raise OSError("interrupted")
            replace(source, target)

        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(OSError, match="interrupted"):
            forecaster().fit(waves() * 3).save(folder)
        assert content(folder) == before
        assert [path.name for path in folder.parent.iterdir()] == ["model"]

    def test_a_failing_first_save_leaves_nothing(self, fitted, tmp_path, monkeypatch):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("safetensors.numpy.save_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fitted.save(tmp_path / "model")
        assert list(tmp_path.iterdir()) == []

    def test_parameters_json_cannot_hold_are_refused_before_writing(self, fitted, tmp_path):
        odd = forecaster(time_col=object())
        odd.__dict__.update({k: v for k, v in vars(fitted).items() if k.endswith("_")})
        with pytest.raises(ArtefactError, match=r"cannot be saved: expected text, numbers"):
            odd.save(tmp_path / "m")
        assert list(tmp_path.iterdir()) == []


class TestDamage:
    def test_an_absent_folder(self, tmp_path):
        with pytest.raises(
            ArtefactError, match=r"no complete model folder.*model\.json is missing"
        ):
            ConvTimeNetForecaster.load(tmp_path / "nowhere")

    @pytest.mark.parametrize("name", sorted(FILES))
    def test_a_missing_file_is_named(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(ArtefactError, match=f"{re.escape(name)} is missing"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("name", ["weights.safetensors", "data.safetensors"])
    @pytest.mark.parametrize("kept", [0, 4, 100, -1])
    def test_truncated_arrays(self, folder, name, kept):
        path = folder / name
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(ArtefactError, match="is damaged"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("text", ["", "{", '{"format": ', "\xff\xfe", "[1, 2"])
    def test_text_that_is_not_json(self, folder, text):
        (folder / "model.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ArtefactError, match=r"model\.json is damaged, it is not JSON"):
            ConvTimeNetForecaster.load(folder)

    @pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"format": "1"}'])
    def test_json_that_is_no_model(self, folder, text):
        (folder / "model.json").write_text(text)
        with pytest.raises(ArtefactError, match="does not describe a ConvTimeNet model"):
            ConvTimeNetForecaster.load(folder)

    def test_a_newer_format(self, folder):
        self.change(folder, "format", artefact.FORMAT + 1)
        with pytest.raises(ArtefactError, match=r"has format 2, .* reads up to format 1; upgrade"):
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

    def test_weights_of_another_network(self, folder, tmp_path):
        settings = TINY | {"d_model": 4}
        other = forecaster(model=settings).fit(waves()).save(tmp_path / "other")
        shutil.copy(other / "weights.safetensors", folder)
        with pytest.raises(ArtefactError, match="is damaged: RuntimeError"):
            ConvTimeNetForecaster.load(folder)

    def test_a_missing_array(self, folder):
        arrays = safetensors.numpy.load_file(folder / "data.safetensors")
        del arrays["scaler.scale"]
        safetensors.numpy.save_file(arrays, folder / "data.safetensors")
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
        path.write_text(json.dumps(described))
