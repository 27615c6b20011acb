from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import json
import logging
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from common import DATA
from hypothesis import given
from hypothesis import strategies as st

from convtimenet import datasets
from convtimenet.datasets.registry import REGISTRY, ClassificationInfo, ForecastingInfo
from convtimenet.errors import ConvTimeNetError, DatasetError, MissingExtraError

FORECASTING = [
    *("ETTh1", "ETTh2", "ETTm1", "ETTm2"),
    *("Weather", "Electricity", "Traffic", "Exchange", "ILI"),
]
UEA = [
    *("ArticularyWordRecognition", "AtrialFibrillation", "BasicMotions", "CharacterTrajectories"),
    *("Cricket", "DuckDuckGeese", "ERing", "EthanolConcentration", "Epilepsy", "FingerMovements"),
    *("HandMovementDirection", "JapaneseVowels", "PEMS-SF", "SelfRegulationSCP1"),
    *("SelfRegulationSCP2", "StandWalkJump"),
]

MANIFEST = DATA / "manifest.json"
manifest: dict = json.loads(MANIFEST.read_text()) if MANIFEST.is_file() else {}


def present(task: str) -> list[str]:
    """The sets of the data home; one name, to be skipped, where there is no data home."""
    return [name for name, facts in manifest.items() if facts["task"] == task] or ["no data"]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("CONVTIMENET_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def real_home(monkeypatch: pytest.MonkeyPatch) -> Path:
    if not manifest:
        pytest.skip(f"no benchmark data: {MANIFEST} does not exist; set CONVTIMENET_DATA")
    monkeypatch.setenv("CONVTIMENET_DATA", str(DATA))
    return DATA


# ---- the table itself -------------------------------------------------------------------------


def test_the_registry_holds_the_promised_sets() -> None:
    assert datasets.names("forecasting") == FORECASTING
    assert datasets.names("classification") == UEA
    assert datasets.names() == list(REGISTRY)


def test_entries_are_complete_and_consistent() -> None:
    keys = [key.casefold() for e in REGISTRY.values() for key in (e.name, *e.aliases)]
    assert len(keys) == len(set(keys))
    paths = [file.path for e in REGISTRY.values() for file in e.files]
    assert len(paths) == len(set(paths))
    for name, entry in REGISTRY.items():
        assert entry.name == name
        assert entry.url.startswith("https://")
        assert entry.licence
        assert entry.citation
        assert entry.channels > 0
        hashes = [h for f in entry.files for h in (*f.sha256, f.npz_sha256) if h]
        assert all(len(h) == 64 and set(h) <= set("0123456789abcdef") for h in hashes)
        if isinstance(entry, ForecastingInfo):
            assert sum(entry.split) <= entry.rows
            assert len(entry.files) == 1
            assert entry.url.endswith(entry.files[0].path.rpartition("/")[2])
            assert entry.files[0].sha256
        else:
            assert isinstance(entry, ClassificationInfo)
            train, test = entry.files
            assert train.path == f"classification/{name}/{name}_TRAIN.ts"
            assert test.path == f"classification/{name}/{name}_TEST.ts"
            assert entry.url.endswith(f"/{name}.zip")
            assert 1 < entry.classes <= min(entry.cases)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("ETTh1", (8640, 2880, 2880)),
        ("ETTm2", (34560, 11520, 11520)),
        ("Weather", (36887, 5270, 10539)),
        ("ILI", (676, 97, 193)),
    ],
)
def test_official_splits(name: str, split: tuple[int, int, int]) -> None:
    entry = datasets.info(name)
    assert isinstance(entry, ForecastingInfo)
    assert entry.split == split


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("awr", "ArticularyWordRecognition"),
        ("CR", "Cricket"),
        ("ct", "CharacterTrajectories"),
        ("EP", "Epilepsy"),
        ("FM", "FingerMovements"),
        ("JV", "JapaneseVowels"),
        ("SRS2", "SelfRegulationSCP2"),
        ("ecl", "Electricity"),
        ("exchange_rate", "Exchange"),
        ("national_illness", "ILI"),
        (" etth1 ", "ETTh1"),
    ],
)
def test_aliases(given_name: str, expected: str) -> None:
    assert datasets.info(given_name).name == expected


@given(st.sampled_from(sorted(REGISTRY)), st.data())
def test_a_slip_of_the_pen_is_answered_with_the_right_name(name: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(name) - 1))
    wrong = name[:at] + "§" + name[at:]
    with pytest.raises(DatasetError, match=f"found '{wrong}'.*{name}"):
        datasets.info(wrong)


def test_wrong_names_and_tasks_are_refused() -> None:
    with pytest.raises(DatasetError, match="did you mean one of: Electricity"):
        datasets.info("Electrcity")
    with pytest.raises(DatasetError, match=r"ETTh1.*StandWalkJump"):
        datasets.info("qqqqqqqq")
    with pytest.raises(DatasetError, match="'regression'"):
        datasets.names("regression")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DatasetError, match="use load_classification"):
        datasets.load_forecasting("BasicMotions")
    with pytest.raises(DatasetError, match="use load_forecasting"):
        datasets.load_classification("ETTh1")


def test_importing_is_light() -> None:
    heavy = "{'torch', 'pandas', 'sklearn', 'pooch', 'requests'}"
    code = "import sys; before = set(sys.modules); import convtimenet.datasets as d; "
    code += f"print(sorted({heavy} & (set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- the data home ----------------------------------------------------------------------------


def test_the_data_home_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CONVTIMENET_DATA", str(tmp_path))
    assert datasets.data_home() == tmp_path
    monkeypatch.delenv("CONVTIMENET_DATA")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert datasets.data_home() == tmp_path / "xdg" / "convtimenet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert datasets.data_home() == Path.home() / ".cache" / "convtimenet"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert datasets.data_home() == Path.home() / "Library" / "Caches" / "convtimenet"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert datasets.data_home() == tmp_path / "local" / "convtimenet"


@pytest.mark.parametrize("name", present("forecasting"))
def test_local_forecasting_sets_match_the_manifest(name: str, real_home: Path) -> None:
    assert datasets.is_local(name)
    assert set(datasets.verify(name).values()) == {"ok"}
    facts = manifest[name]
    (path,) = datasets.fetch(name)
    assert path == real_home / facts["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == facts["sha256"]
    data = datasets.load_forecasting(name)
    assert list(data.values.shape) == facts["shape"]
    assert data.values.dtype == np.float64
    assert np.isnan(data.values).sum() == facts["nan"]
    assert data.times.dtype == "datetime64[s]"
    assert data.times[0] == np.datetime64(facts["first"])
    assert data.times[-1] == np.datetime64(facts["last"])
    assert len(data.names) == data.values.shape[1]
    assert data.names[-1] == "OT"
    assert 0 < data.train_end < data.val_end < data.test_end <= len(data.values)
    with gzip.open(path, "rb") as file:
        last = file.read().split()[-1].decode()
    np.testing.assert_array_equal(data.values[-1, -3:], np.array(last.split(",")[-3:], float))


@pytest.mark.parametrize("name", present("classification"))
def test_local_classification_sets_match_the_manifest(name: str, real_home: Path) -> None:
    assert datasets.is_local(name)
    assert set(datasets.verify(name).values()) == {"ok"}
    entry = datasets.info(name)
    assert isinstance(entry, ClassificationInfo)
    parts = datasets.load_classification(name)
    for path, cases, part in zip(datasets.fetch(name), parts, ("train", "test"), strict=True):
        facts = manifest[name][part]
        assert path == real_home / facts["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == facts["sha256"]
        assert list(cases.values.shape[:2]) == facts["shape"][:2]
        assert cases.lengths.max() == facts.get("max_length", facts["shape"][2])
        assert cases.lengths.min() == facts["min_length"]
        assert cases.labels is not None
        assert Counter(cases.labels.tolist()) == facts["class_counts"]
        assert len(facts["class_counts"]) == entry.classes
        inside = np.arange(cases.values.shape[2]) < cases.lengths[:, None, None]
        np.testing.assert_array_equal(np.isfinite(cases.values).any(1), inside[:, 0])
        if "nan" in facts:
            short = sum(
                "end before the longest channel of their case" in notice for notice in cases.notices
            )
            assert short == ("cases_with_channels_of_unequal_length" in facts)
    assert max(int(cases.lengths.max()) for cases in parts) == entry.length


# ---- fetching, from a server of our own --------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address that serves it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


CSV = b"date,a,OT\r\n2020/1/1 0:00,1.5,2\r\n2020/1/2 0:00,3,-4e1\r\n2020/1/3 0:00,5,6\r\n"
TS = "@dimensions 1\n@classLabel true a b\n@data\n1,2:a\n3,4:b\n"


def register_csv(monkeypatch: pytest.MonkeyPatch, url: str, content: bytes = CSV) -> None:
    entry = REGISTRY["Exchange"]
    assert isinstance(entry, ForecastingInfo)
    digest = hashlib.sha256(content).hexdigest()
    files = (replace(entry.files[0], sha256=(digest,)),)
    small = replace(entry, rows=3, channels=2, split=(1, 1, 1), url=url, files=files)
    monkeypatch.setitem(REGISTRY, "Exchange", small)


def register_zip(monkeypatch: pytest.MonkeyPatch, url: str, **changes) -> None:
    entry = REGISTRY["BasicMotions"]
    changed = replace(entry, url=f"{url}/BasicMotions.zip", channels=1, cases=(2, 3), **changes)
    monkeypatch.setitem(REGISTRY, "BasicMotions", changed)


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part, text in members.items():
            archive.writestr(f"BasicMotions/BasicMotions_{part}.ts", text)
    return buffer.getvalue()


def left_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*")) if folder.exists() else []


def test_a_table_is_fetched_once_and_loaded(home, served, monkeypatch) -> None:
    folder, url = served
    (folder / "x.csv").write_bytes(CSV)
    register_csv(monkeypatch, f"{url}/x.csv")
    assert not datasets.is_local("Exchange")
    data = datasets.load_forecasting("Exchange")
    assert data.names == ("a", "OT")
    np.testing.assert_array_equal(data.values, [[1.5, 2], [3, -40], [5, 6]])
    assert data.times.astype(str).tolist()[1] == "2020-01-02T00:00:00"
    assert (data.train_end, data.val_end, data.test_end) == (1, 2, 3)
    target = home / "forecasting" / "exchange_rate.csv"
    assert [path for path in left_in(home) if path.is_file()] == [target]
    (folder / "x.csv").unlink()
    assert datasets.fetch("exchange_rate") == (target,)
    assert datasets.verify("Exchange") == {target: "ok"}


def test_a_wrong_hash_is_refused_and_nothing_is_left(home, served, monkeypatch) -> None:
    folder, url = served
    (folder / "x.csv").write_bytes(CSV + b"more")
    register_csv(monkeypatch, f"{url}/x.csv")
    with pytest.raises(DatasetError, match=r"expected SHA-256 .* nothing was kept"):
        datasets.fetch("Exchange")
    assert left_in(home) == []


def test_an_unreachable_publisher_is_reported_with_advice(home, monkeypatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        url = f"http://127.0.0.1:{server.server_port}"
    register_csv(monkeypatch, f"{url}/x.csv")
    with pytest.raises(DatasetError) as caught:
        datasets.load_forecasting("Exchange")
    message = str(caught.value)
    assert f"{url}/x.csv could not be reached" in message
    assert f"by hand and put it at {home / 'forecasting' / 'exchange_rate.csv'}" in message
    register_zip(monkeypatch, url)
    with pytest.raises(DatasetError, match=r"unpack it .*_TRAIN\.ts and .*_TEST\.ts"):
        datasets.fetch("BasicMotions")
    assert left_in(home) == []


def test_an_absent_page_is_reported(home, served, monkeypatch) -> None:
    register_csv(monkeypatch, f"{served[1]}/x.csv")
    with pytest.raises(DatasetError, match="404"):
        datasets.fetch("Exchange")
    assert left_in(home) == []


def test_archive_members_are_unpacked(home, served, monkeypatch, caplog) -> None:
    folder, url = served
    (folder / "BasicMotions.zip").write_bytes(zipped(TRAIN=TS, TEST=TS, README="no data"))
    register_zip(monkeypatch, url)
    with caplog.at_level(logging.WARNING, logger="convtimenet"):
        train, test = datasets.load_classification("BasicMotions")
    assert caplog.text.count("the registered copy has") == 2
    assert train.notices == ()
    assert "registered with 3 cases x 1 channels; the file has 2 x 1" in test.notices[0]
    parts = [
        home / "classification/BasicMotions" / f"BasicMotions_{p}.ts" for p in ("TRAIN", "TEST")
    ]
    assert sorted(path for path in left_in(home) if path.is_file()) == sorted(parts)
    assert datasets.verify("BasicMotions") == dict.fromkeys(parts, "mismatch")
    files = tuple(replace(file, sha256=()) for file in REGISTRY["BasicMotions"].files)
    register_zip(monkeypatch, url, files=files)
    assert datasets.verify("BasicMotions") == dict.fromkeys(parts, "unknown")


@pytest.mark.parametrize(
    ("content", "words"),
    [(zipped(TRAIN=TS), r"BasicMotions_TEST\.ts in"), (b"<html>", "zip file")],
)
def test_unusable_archives_are_refused(home, served, monkeypatch, content, words) -> None:
    folder, url = served
    (folder / "BasicMotions.zip").write_bytes(content)
    register_zip(monkeypatch, url)
    with pytest.raises(DatasetError, match=words):
        datasets.fetch("BasicMotions")
    assert left_in(home) == []


def test_a_data_home_that_cannot_be_written_is_named(tmp_path, monkeypatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("CONVTIMENET_DATA", str(blocked / "data"))
    with pytest.raises(DatasetError, match="set CONVTIMENET_DATA to another folder"):
        datasets.fetch("ETTh1")


def test_fetching_without_pooch_names_the_extra(home, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError, match=r"convtimenet\[data\]"):
        datasets.fetch("ETTh1")


# ---- local files that are not as they should be -------------------------------------------------


def put(home: Path, content: bytes, name: str = "exchange_rate.csv") -> Path:
    path = home / "forecasting" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_damage_is_found(home, monkeypatch) -> None:
    register_csv(monkeypatch, "https://example.org/x.csv")
    path = put(home, gzip.compress(CSV), "exchange_rate.csv.gz")
    assert datasets.verify("Exchange") == {path: "ok"}
    path.write_bytes(gzip.compress(CSV[:-3]))
    assert datasets.verify("Exchange") == {path: "mismatch"}
    path.write_bytes(gzip.compress(CSV)[:-12])
    for call in (datasets.verify, datasets.load_forecasting):
        with pytest.raises(ConvTimeNetError, match="damage"):
            call("Exchange")
    path.unlink()
    with pytest.raises(DatasetError, match="found none"):
        datasets.verify("Exchange")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"".join(CSV.splitlines(keepends=True)[:3]), "3 rows x 2 channels .* found 2 x 2"),
        (CSV.rpartition(b",")[0], "line 4"),
        (CSV.replace(b"3,-4e1", b"3,x"), "'OT', line 3"),
        (CSV.replace(b"2020/1/2", b"monday"), "line 3"),
        (b"", "empty"),
    ],
)
def test_tables_that_are_not_the_published_ones(home, monkeypatch, content, words) -> None:
    register_csv(monkeypatch, "https://example.org/x.csv")
    put(home, content)
    with pytest.raises(ConvTimeNetError, match=words):
        datasets.load_forecasting("Exchange")


def test_a_header_that_is_not_utf8_is_read(home, monkeypatch) -> None:
    register_csv(monkeypatch, "https://example.org/x.csv")
    put(home, CSV.replace(b"a,OT", b"W/m\xb2,OT"))
    assert datasets.load_forecasting("Exchange").names == ("W/m²", "OT")
