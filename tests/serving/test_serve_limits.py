"""What SECURITY.md says of the server: each sentence with an attack that it meets."""

from __future__ import annotations

import asyncio
import copy
import gzip
import hmac
import io
import json
import random
import re
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pyarrow as pa
import pytest
import zstandard
from pyarrow import ipc
from served import held, hourly, waves

from convtimenet.cli.serving import _token
from convtimenet.errors import ArtefactError, ConfigError
from convtimenet.serving import guard
from convtimenet.serving.guard import _decompressed
from convtimenet.serving.json_body import check_cells
from convtimenet.serving.models import load_models
from convtimenet.serving.refusals import Refused
from convtimenet.serving.settings import MOST_CELLS, MOST_COLUMNS, ServeSettings
from convtimenet.serving.workbench.worker import Ended, Worker

CSV = {"content-type": "text/csv"}
JSON = {"content-type": "application/json"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
TOKEN = "0123456789abcdef-secret"
TABLE = hourly().astype({"date": str}).to_dict("list")
SMALL_BODY = 100_000


def message(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    return error if isinstance(error, str) else error["message"]


def stream(table: pa.Table, **options) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)],
)
def test_all_members_of_a_compressed_body_are_read(encoding, pack):
    """As `cat a.gz b.gz` writes them; only the first counted."""
    parts = [b"ds,y\n2024-01-01,1\n" * 3, b"2024-01-02,2\n", bytes(300_000)]
    packed = b"".join(map(pack, parts))
    pieces = list(_decompressed(packed, encoding))
    assert b"".join(pieces) == b"".join(parts)
    padded = pack(parts[0]) + bytes(1000) + pack(parts[1]) + bytes(3)
    assert b"".join(_decompressed(padded, encoding)) == parts[0] + parts[1]
    for damaged in (packed[:-3], packed + b"\x1f", b"", bytes(9)):
        with pytest.raises(Refused, match=f"not complete {encoding} data"):
            list(_decompressed(damaged, encoding))


@pytest.mark.parametrize("length", ["0" * 5000, "9" * 30, "-1", "1.5", "\u0661"])
def test_a_length_of_the_json_part_that_is_none(client, length):
    headers = {"inference-header-content-length": length.encode()}
    answer = client.post("/v2/models/gestures/infer", content=b"{}", headers=headers)
    assert answer.status_code == 400
    assert "correct the header" in message(answer)


def test_bytes_after_the_json_part_belong_to_a_binary_tensor(client):
    """They were ignored."""
    x = {"name": "x", "shape": [1, 1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}
    text = json.dumps({"inputs": [x]}).encode()
    for rest, status in ((b"", 200), (b"garbage", 422)):
        headers = {"inference-header-content-length": str(len(text))}
        answer = client.post("/v2/models/sizes/infer", content=text + rest, headers=headers)
        assert answer.status_code == status
    assert "expected no bytes after the JSON part" in message(answer)


def test_a_process_that_dies_while_it_answers_has_ended(tmp_path):
    worker = Worker(tmp_path)
    worker._process = cast(
        Any,
        SimpleNamespace(
            stdin=io.StringIO(),
            stdout=iter(['{"progress": 1}\n', '{"done": {"tab']),
            wait=lambda: -9,
            poll=lambda: None,
        ),
    )
    heard: list[Any] = []
    with pytest.raises(Ended, match="exit code -9"):
        worker.ask({"do": "look"}, heard.append)
    assert heard == [{"progress": 1}]


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "hourly/../gestures", "os:system"]
)
def test_a_name_in_a_request_is_looked_up_and_never_a_path(client, name):
    answer = client.post("/forecast", json={"model": name, "table": TABLE})
    assert answer.status_code == 404
    assert "expected one of 'hourly'" in message(answer)
    quoted = name.replace("/", "%2F").replace(".", "%2E")
    answer = client.get(f"/v2/models/{quoted}/ready")
    assert answer.status_code == 404


def test_html_in_names_comes_back_as_json_that_no_browser_takes_for_a_page(client):
    name = "<script>alert(1)</script>"
    for answer in (
        client.post("/forecast", json={"model": name, "table": TABLE}),
        client.get(f"/v2/models/{name.replace('/', '')}"),
        client.post("/forecast", json={"model": "hourly", "table": {**TABLE, name: [1]}}),
    ):
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("given", ["a b=x", "../x=y", "=x", "x" * 65 + "=y", "<b>=x"])
def test_names_of_models_are_plain(given):
    with pytest.raises(ConfigError, match="expected a name of letters"):
        load_models([given], "cpu")


def test_models_are_verified_and_their_names_differ(tmp_path, folders):
    with pytest.raises(ConfigError, match="two models are named 'hourly'"):
        load_models([str(folders["hourly"]), f"hourly={folders['sizes']}"], "cpu")
    with pytest.raises(ArtefactError, match="no model folder"):
        load_models([f"a={tmp_path / 'absent'}"], "cpu")


# --- size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", zstandard.ZstdCompressor(level=19).compress),
    ],
)
def test_a_bomb_is_not_unpacked_beyond_the_limit(limited, encoding, pack):
    client = limited(most_bytes=SMALL_BODY)
    bomb = pack(bytes(50_000_000))
    assert len(bomb) < 2 * SMALL_BODY + 100_000
    tracemalloc.start()
    answer = client.post(
        "/forecast", content=bomb[:SMALL_BODY], headers={"content-encoding": encoding}
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 413
    assert "unpacked" in message(answer)
    assert peak < 15_000_000
    right = pack(json.dumps({"model": "hourly", "table": TABLE}).encode())
    answer = client.post("/forecast", content=right, headers={"content-encoding": encoding})
    assert answer.status_code == 200
    for wrong in (right[:-5], b"nothing of the kind"):
        answer = client.post("/forecast", content=wrong, headers={"content-encoding": encoding})
        assert answer.status_code == 400


def test_others_are_answered_while_a_body_is_unpacked(client, monkeypatch):
    """Millions of empty members took seconds, in which the server heard nobody."""
    begun, released = threading.Event(), threading.Event()

    def slow(raw: bytes, encoding: str) -> Iterator[bytes]:
        begun.set()
        yield b"{}" if released.wait(3) else b"nobody was heard"

    monkeypatch.setattr(guard, "_decompressed", slow)

    async def both() -> tuple[int, str]:
        headers = {"content-encoding": "gzip"}
        packed = asyncio.ensure_future(client.web.post("/forecast", content=b"x", headers=headers))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        status = (await client.web.get("/v2/health/live")).status_code
        released.set()
        return status, message(await packed)

    status, said = client.run(both())
    assert status == 200
    assert "table" in said


def test_room_is_given_back_once_and_nothing_is_taken_after_it():
    one = guard.Guard(cast(Any, None), ServeSettings(most_bytes=100))
    room = guard.Room(one)
    room.take(60)
    room.leave()
    assert one.held == 0
    with pytest.raises(Refused, match="the connection ended"):
        room.take(1)
    assert one.held == 0


@pytest.mark.parametrize(
    "given", [["x-gzip"], ["identity", "gzip"], ["gzip", "identity"], ["gzip, identity"], ["GZIP"]]
)
def test_all_headers_of_an_encoding_count(client, given):
    """The last one alone did: packed data were read as text."""
    packed = gzip.compress(json.dumps({"model": "hourly", "table": TABLE}).encode())
    headers = [("content-encoding", one) for one in given]
    assert client.post("/forecast", content=packed, headers=headers).status_code == 200
    twice = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    answer = client.post("/forecast", content=packed, headers=twice)
    assert (answer.status_code, "found 'gzip, gzip'" in message(answer)) == (415, True)


def test_other_encodings_and_types_are_named(client):
    answer = client.post("/forecast", content=b"x", headers={"content-encoding": "br"})
    assert (answer.status_code, "'br'" in message(answer)) == (415, True)
    answer = client.post("/forecast", content=b"x", headers={"content-type": "image/png"})
    assert (answer.status_code, "'image/png'" in message(answer)) == (415, True)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, "found none; set it"),
        (
            "application/x-www-form-urlencoded",
            "found 'application/x-www-form-urlencoded', which curl",
        ),
        ("text/plain", "found 'text/plain'; set it"),
    ],
)
def test_a_table_without_its_type_is_told_what_is_missing(client, given, found):
    """It was told to move h into the JSON body."""
    headers = {} if given is None else {"content-type": given}
    body = hourly().to_csv(index=False).encode()
    for path in ("/forecast?model=hourly&h=3", "/classify?model=gestures", "/regress"):
        answer = client.post(path, content=body, headers=headers)
        assert answer.status_code == 415
        for said in (found, "application/json, text/csv or application/vnd.apache.arrow.stream"):
            assert said in message(answer)
    text = json.dumps({"model": "hourly", "table": TABLE}).encode()
    for sent in (text, b"\xef\xbb\xbf\n " + text):  # JSON is known by how it begins
        status = client.post("/forecast", content=sent, headers=headers).status_code
        assert status == (415 if given == "text/plain" else 200)


def test_a_body_past_its_size_is_refused_before_it_is_read(limited, monkeypatch):
    client = limited(most_bytes=SMALL_BODY)
    read = []

    async def pieces():
        for _ in range(1000):
            read.append(1)
            yield bytes(1000)

    answer = client.post("/forecast", content=pieces())
    assert answer.status_code == 413
    assert sum(read) == 1000  # the rest is discarded, up to a bound
    monkeypatch.setattr(guard, "_DISCARDED", 50_000)
    read.clear()
    assert client.post("/forecast", content=pieces()).status_code == 413
    assert sum(read) <= (SMALL_BODY + 50_000) // 1000 + 2
    answer = client.post("/forecast", content=b"", headers={"content-length": "99999999999"})
    assert answer.status_code == 413
    answer = client.post("/forecast", content=b"", headers={"content-length": "-1"})
    assert answer.status_code == 400


def test_bodies_in_memory_are_limited_together(limited):
    client = limited(most_bytes=SMALL_BODY)

    async def crowd() -> tuple[list[int], int]:
        arrived = asyncio.Event()

        async def slow():
            yield bytes(SMALL_BODY - 1)
            await arrived.wait()
            yield b"x"

        async def post() -> int:
            answer = await client.web.post("/forecast", content=slow())
            arrived.set()
            return answer.status_code

        statuses = await asyncio.gather(*(post() for _ in range(9)))
        return sorted(statuses), (await client.web.get("/v2/health/live")).status_code

    assert client.run(crowd()) == ([415] * 8 + [429], 200)
    packed = gzip.compress(json.dumps({"model": "hourly", "table": TABLE}).encode())
    for _ in range(20):  # what a body took is given back
        headers = {"content-encoding": "gzip"}
        assert client.post("/forecast", content=packed, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/forecast", {"table": [{str(i): 1} for i in range(3000)]}),
        ("/forecast", {"table": {str(i): {str(i + j): 1 for j in range(5)} for i in range(3000)}}),
        ("/forecast", {"table": "a" + "\n1" * (MOST_CELLS + 1)}),
        ("/forecast", {"table": "a" + ",1" * MOST_COLUMNS}),
        ("/classify", {"cases": "a" + ",1" * 5 * MOST_COLUMNS}),
        ("/classify", {"cases": [[[1.0] * 5000] + [[1.0]] * 1000]}),
        ("/v2/models/gestures/infer",
         {"inputs": [{"name": "x", "shape": [10**9, 2, 1], "datatype": "FP64", "data": [1.0]}]}),
        ("/v2/models/gestures/infer",
         {"inputs": [{"name": "x", "shape": [1, 2, 10**9], "datatype": "BOOL", "data": [1.0],
                      "parameters": {"binary_data_size": 2}}]}),
        ("/v2/forecast", {"series": {"y": [1.0] * 20, "sizes": [1] * 20}, "h": 10**6,
                          "freq": "MS", "model": "monthly"}),
    ],
    ids=["records", "keys", "rows", "columns", "long", "channels", "cases", "steps", "series"],
)  # fmt: skip
def test_what_claims_many_cells_is_refused_before_it_has_them(client, path, body):
    if path == "/forecast":
        body["model"] = "hourly"
    tracemalloc.start()
    answer = client.post(path, json=body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code in (413, 422)
    assert "expected at most" in message(answer)
    assert peak < 60_000_000


def test_numbers_of_rows_and_steps_of_any_length_are_refused_in_few_words(client):
    """One of 400 digits was an error of the server, or came back in the message."""
    series = {"y": [1.0] * 20, "sizes": [20]}
    sent = {"series": series, "h": 1, "freq": "MS", "model": "monthly"}
    table = {"model": "hourly", "table": TABLE, "h": 10**400}
    for path, body, said in (
        ("/v2/forecast", {**sent, "series": {**series, "sizes": [10**400]}}, "series.sizes.0: "),
        ("/v2/forecast", {**sent, "series": {**series, "sizes": [21, -1]}}, "series.sizes.1: "),
        ("/v2/forecast", {**sent, "series": {**series, "sizes": [19]}}, "found a sum of 19"),
        ("/v2/forecast", {**sent, "h": 10**400}, "h: expected less than or equal to 2000000"),
        ("/forecast", table, "h: expected at most 256 steps"),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 422
        assert said in message(answer)
        assert len(message(answer)) < 200


def test_padding_to_one_long_case_is_refused(client):
    cases = [[1.0] * 9_000, *([[1.0]] * 20_000)]
    answer = client.post("/regress", json={"cases": cases})
    assert answer.status_code == 422
    assert "padding all 20001 cases" in message(answer)


def test_a_horizon_and_a_span_without_end(client):
    body = {"model": "hourly", "table": TABLE, "h": 10**9}
    assert "at most 256 steps" in message(client.post("/forecast", json=body))
    far = {**TABLE, "date": ["1800-01-01", *TABLE["date"][1:-1], "2050-01-01"]}
    answer = client.post("/forecast", json={"model": "hourly", "table": far})
    assert answer.status_code == 422
    assert "correct stray time stamps" in message(answer)
    stray = ["2024-01-01 00:00:00", "2024-01-01 00:00:01", "2200-01-01 00:00:00",
             "2200-01-01 00:00:00.5"]  # fmt: skip
    sent = {"date": stray, "a": [1, 2, 3, 4], "b": [1, 2, 3, 4]}
    answer = client.post("/forecast", json={"model": "hourly", "table": sent})
    assert answer.status_code == 422
    long = [[1.0] * 20_000]
    answer = client.post("/regress", json={"cases": long})
    assert (answer.status_code, "at most 10000 steps" in message(answer)) == (413, True)


def test_an_arrow_stream_that_claims_a_billion_rows(client):
    nothing = pa.table({"a": pa.nulls(10**9)})
    body = stream(nothing)
    assert len(body) < 1000
    answer = client.post("/forecast?model=hourly", content=body, headers=ARROW)
    assert answer.status_code == 413
    assert "found 1000000000" in message(answer)


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (pa.table({"a": np.zeros(10**6)}), {"compression": "zstd"}, "without compressed buffers"),
        (pa.table({"a": pa.array([5], pa.duration("s"))}), {}, "duration[s] in 'a'"),
        (pa.table({"a": pa.array([[[1.0]]])}), {}, "list<"),
        (pa.table({"a": pa.array([{"x": 1}])}), {}, "struct<"),
        (pa.table({"a": pa.array(["x" * 2000] * 9).dictionary_encode()}), {}, "at most 1000 bytes"),
        (pa.table({"a": pa.array([["x"]])}), {}, "list<"),
        (pa.table({"a": pa.array([b"x", b"y"], pa.binary_view())}), {}, "binary_view"),
    ],
    ids=["compressed", "duration", "nested", "struct", "long texts", "texts", "view"],
)
def test_arrow_of_other_kinds_is_refused(client, table, options, said):
    answer = client.post("/forecast?model=hourly", content=stream(table, **options), headers=ARROW)
    assert answer.status_code == 422
    assert said in message(answer)


def test_an_arrow_file_is_named(client):
    table, sink = pa.table({"a": [1.0, 2.0]}), io.BytesIO()
    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    answer = client.post("/forecast?model=hourly", content=sink.getvalue(), headers=ARROW)
    assert answer.status_code == 422
    assert "found an Arrow file (Feather); write it with pyarrow.ipc.new_stream" in message(answer)


def repeated(times: int) -> pa.Array:
    """Views of one text of a megabyte."""
    text = b"x" * 2**20
    view = struct.pack("<i4sii", len(text), text[:4], 0, 0)
    buffers = [None, pa.py_buffer(view * times), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.string_view(), times, buffers)


@pytest.mark.parametrize(
    ("column", "bytes_of_text"),
    [
        (repeated(100_000), 100_000 * 2**20),
        (pa.DictionaryArray.from_arrays([0], repeated(100_000)), 100_000 * 2**20),
        (pa.DictionaryArray.from_arrays(np.zeros(200_000, "i1"), ["x" * 999]), 200_000 * 999),
    ],
    ids=["views", "categories of views", "one category"],
)
def test_texts_that_are_stored_once_and_repeated_without_end(client, column, bytes_of_text):
    body = stream(pa.table({"unique_id": column}))
    assert len(body) < 3_000_000
    tracemalloc.start()
    answer = client.post("/forecast?model=monthly", content=body, headers=ARROW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 413
    assert f"bytes of texts in views and categories, found {bytes_of_text};" in message(answer)
    assert peak < 30_000_000


def test_a_dictionary_that_many_batches_use_is_counted_for_each(client):
    """It was validated for each of them."""
    texts = pa.array(["x" * 500 + str(i) for i in range(2000)])
    batches = [pa.record_batch({"a": pa.DictionaryArray.from_arrays([0], texts)})] * 200
    answer = client.post(
        "/forecast?model=monthly", content=stream(pa.Table.from_batches(batches)), headers=ARROW
    )
    assert answer.status_code == 413
    assert "bytes of texts in views and categories" in message(answer)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"x": [case[0].tolist() for case in waves(3)],
                  "y": [case[1].tolist() for case in waves(3)]}),
        pa.table({"id": pa.array(["the first of three", None, "b"], pa.string_view()),
                  "t0": pa.array([Decimal("1.5")] * 3),
                  "t1": pa.nulls(3)}),
    ],
    ids=["lists", "views"],
)  # fmt: skip
def test_damaged_arrow_is_never_an_error_of_the_server(client, table):
    whole = stream(table)
    draws, seen = np.random.default_rng(0), set()
    for _ in range(120):
        body = bytearray(whole)
        for at in draws.integers(0, len(body), 3):
            body[at] = draws.integers(256)
        answer = client.post("/classify", content=bytes(body), headers=ARROW)
        seen.add(answer.status_code)
    assert seen <= {200, 413, 422}
    assert 422 in seen


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"table": NaN}', "NaN, which is no number in JSON"),
        ('{"table": [Infinity]}', "Infinity, which is no number in JSON"),
        ('{"table": [-Infinity]}', "-Infinity, which is no number in JSON"),
        ('{"table": ', "expected JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"h": 2, "h": 1, "table": {}}', "found the key 'h' twice in one object"),
        ('{"table": {"date": [], "a": [1], "a": [2]}}', "found the key 'a' twice in one object"),
        ('{"table": ' + "9" * 5000 + "}", "expected JSON"),
        ('{"table": 7}', "table: expected records"),
        ('{"table": {}, "modle": 1}', "modle: there is no such field"),
        ('{"table": {"date": ["2024-01-01", {}], "a": [1, 2]}, "model": "hourly"}', "'b'"),
        ('{"table": [], "model": "hourly", "level": [0.8]}', "table"),
        ('{"table": {"date": 5}, "model": "hourly"}', "table: expected records"),
        ('{"table": "\\ud800", "model": "hourly"}', "surrogates not allowed"),
        ("\xff", "expected"),
    ],
)
def test_bodies_that_are_no_request(client, text, said):
    answer = client.post("/forecast", content=text.encode("latin-1"), headers=JSON)
    assert answer.status_code == 422
    assert said in message(answer)
    assert "Traceback" not in answer.text


def series(name: str, values: list) -> dict:
    kind = "multivariate" if isinstance(values[0], list) else "univariate"
    return {"type": f"{kind}_time_series", "name": name, "series": values, "frequency": "H"}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/forecast?model=hourly&horizon=3", "horizon: there is no such option in the address; "
         "did you mean h?"),
        ("/forecast?model=hourly&levels=80", "did you mean level?"),
        ("/forecast?model=hourly&foo=1", "expected one of h, level, model"),
        ("/classify?model=gestures&label_col=a", "expected one of model"),
        ("/regress?proba=1", "proba: there is no such option"),
        ("/forecast?model=hourly&model=monthly", "model: expected it once"),
        ("/forecast?model=hourly&h=1&h=3", "h: expected it once in the address, found it 2 times"),
        ("/classify?model=gestures&model=gestures", "leave all but one out"),
    ],
)  # fmt: skip
def test_options_that_do_not_exist_are_refused(client, path, said):
    """They were ignored: ?horizon=3 gave the trained horizon, and of ?h=1&h=3 the last counted."""
    body = hourly().to_csv(index=False).encode()
    answer = client.post(path, content=body, headers=CSV)
    assert answer.status_code == 422
    assert said in message(answer)


def test_levels_may_be_given_several_times(client):
    body = hourly().to_csv(index=False).encode()
    answer = client.post("/forecast?model=hourly&level=80&level=95", content=body, headers=CSV)
    assert answer.text.partition("\n")[0] == (
        "date,a,a-lo-95,a-lo-80,a-hi-80,a-hi-95,b,b-lo-95,b-lo-80,b-hi-80,b-hi-95"
    )


def test_what_the_client_of_nixtla_asks_in_the_address_is_asked_once(client):
    assert client.get("/model_params?model=monthly&freq=MS").status_code == 200
    answer = client.get("/model_params?model=monthly&model=hourly&freq=MS")
    assert (answer.status_code, "found it 2 times" in message(answer)) == (422, True)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"parameters": {"nonsense": True}}, "parameters.nonsense: there is no such field"),
        ({"parameters": {"sequence_id": 3}}, "parameters.sequence_id: there is no such field"),
        (
            {"outputs": [{"name": "number", "parameters": {"classification": 1}}]},
            "outputs.0.parameters.classification: there is no such field",
        ),
        (
            {"outputs": [{"name": "number", "parameters": {"binary_data": 1}}]},
            "outputs.0.parameters.binary_data: expected a valid boolean",
        ),
        ({"inputs": {"shared_memory_region": "r"}}, "inputs.0.parameters.shared_memory_region: "),
        ({"parameters": {"priority": 1, "timeout": 10**6}}, None),
    ],
)
def test_parameters_of_an_inference_that_it_does_not_have_are_refused(client, part, said):
    """They were ignored: Triton's `classification` gave all outputs as they are."""
    x = {"name": "x", "shape": [1, 1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}
    sent = {**part, "inputs": [{**x, "parameters": part.get("inputs")}]}
    answer = client.post("/v2/models/sizes/infer", json=sent)
    assert answer.status_code == (200 if said is None else 422)
    if said is not None:
        assert said in message(answer)


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ({"covariates": 3}, "covariates"),
        ({"options": {"horizon": 1, "levels": [80]}}, "options.levels"),
        ({"inputs": [{**series("s", [1.0, 2.0]), "start": "2024-01-01"}]}, "inputs.0.start"),
        ({"metadata": {"of": "the caller"}}, None),
    ],
)
def test_fields_that_the_protocols_do_not_have_are_refused(client, part, where):
    """KServe's and Nixtla's were ignored."""
    body = {"model": "monthly", "inputs": [series("s", [1.0] * 20)], "options": {"horizon": 1}}
    body["inputs"][0]["frequency"] = "M"
    answer = client.post("/v1/timeseries/forecast", json={**body, **part})
    sent = {"series": {"y": [1.0] * 20, "sizes": [20]}, "h": 1, "freq": "MS", "model": "monthly"}
    sent |= {"clean_ex_first": True, "finetune_depth": 1, "finetune_loss": "default"}
    assert client.post("/v2/forecast", json=sent).status_code == 200
    if where is None:
        assert answer.status_code == 200
        return
    assert answer.status_code == 422
    assert f"{where}: there is no such field" in message(answer)
    answer = client.post("/v2/forecast", json={**sent, "levels": [80]})
    assert message(answer).startswith("levels: there is no such field")


def test_numbers_too_large_for_a_float_are_missing_or_refused(client, by_name):
    values = [1e999 if i == 110 else float(v) for i, v in enumerate(TABLE["a"])]
    text = json.dumps({"model": "hourly", "table": {**TABLE, "a": values}})
    answer = client.post("/forecast", content=text.replace("Infinity", "1e999"))
    gap = hourly()
    gap.loc[110, "a"] = np.nan
    assert answer.json()["forecast"]["a"] == by_name["hourly"].predict(gap)["a"].tolist()
    series = ", ".join("1e999" if i == 80 else str(i % 7) for i in range(90))
    body = f"""{{"model": "monthly", "options": {{"horizon": 2}}, "inputs": [{{"name": "a",
        "type": "univariate_time_series", "frequency": "M", "series": [{series}]}}]}}"""
    assert client.post("/v1/timeseries/forecast", content=body).status_code == 200
    answer = client.post("/classify", json={"cases": [[10**400]]})
    assert answer.status_code == 422
    whole = {**TABLE, "a": [10**400 if i == 110 else v for i, v in enumerate(TABLE["a"])]}
    answer = client.post("/forecast", json={"model": "hourly", "table": whole})
    assert answer.json()["forecast"]["a"] == by_name["hourly"].predict(gap)["a"].tolist()


ODD = [
    *(None, True, "", "x", 10**400, -(10**30), 1e308, [], {}, [[]], {"a": 1}, 2**63, 1.5, 202401),
    *("9999-12-31", "0001-01-01", "1e999", "NaN", "\u0000", "1,5", "24:00", "2024-01"),
]


def mutated(value: dict, draws: random.Random) -> dict:
    """A body with some of its parts replaced, left out or renamed."""
    for _ in range(draws.choice((1, 1, 2, 4))):
        at: dict | list = value
        while True:
            key = draws.choice(list(at) if isinstance(at, dict) else range(len(at)))
            inner = at[key]
            if not isinstance(inner, (dict, list)) or not inner or draws.random() < 0.3:
                break
            at = inner
        how = draws.random()
        if how < 0.7:
            at[key] = copy.deepcopy(draws.choice(ODD))
        elif isinstance(at, dict) and how < 0.85:
            at[str(draws.choice(ODD))] = at.pop(key)
        else:
            del at[key]
        if not value:
            break
    return value


def test_mutated_bodies_are_never_an_error_of_the_server(client):
    case = waves(1)[0]
    x = {"name": "x", "shape": [1, 2, 20], "datatype": "FP64", "data": case.reshape(-1).tolist()}
    values = list(map(list, zip(TABLE["a"], TABLE["b"], strict=True)))
    options = {"horizon": 3, "quantiles": [0.1, 0.5]}
    bodies = {
        "/forecast": {"model": "hourly", "table": TABLE, "level": [80], "h": 3},
        "/classify": {"cases": [case.tolist()]},
        "/v1/timeseries/forecast": {
            "model": "hourly", "inputs": [series("s", values)], "options": options
        },
        "/v2/forecast": {
            "model": "monthly", "h": 3, "freq": "MS", "level": [80],
            "series": {"y": TABLE["a"], "sizes": [100, 20], "X": None, "X_future": None},
        },
        "/v2/models/gestures/infer": {"inputs": [x]},
    }  # fmt: skip
    draws, seen = random.Random(0), set()
    for _ in range(60):
        for path, body in bodies.items():
            sent = json.dumps(mutated(copy.deepcopy(body), draws))
            seen.add(client.post(path, content=sent.replace("Infinity", "1e999")).status_code)
    assert seen <= {200, 404, 413, 422}
    assert {200, 422} <= seen


def test_a_wrong_cell_is_named_by_its_place(client):
    rows = "\n".join(f"2024-01-01 {i:02d}:00,{'x' if i == 3 else i},1" for i in range(20))
    answer = client.post(
        "/forecast?model=hourly", content=f"date,a,b\n{rows}".encode(), headers=CSV
    )
    assert answer.status_code == 422
    assert "line 5" in message(answer)
    assert "expected a number, found 'x'" in message(answer)


# --- time and load -------------------------------------------------------------------------------


def test_slow_bodies_time_out(limited):
    client = limited(seconds=0.2)

    async def slow():
        for _ in range(20):
            yield b" "
            await asyncio.sleep(0.05)

    answer = client.post("/forecast", content=slow())
    assert answer.status_code == 408


def test_a_full_queue_and_a_late_answer(limited):
    client = limited(queue=2, seconds=1.0)
    engine = client.app.state.engine

    async def crowd() -> list[httpx.Response]:
        body = {"model": "hourly", "table": TABLE}
        async with held(engine):
            posts = [client.web.post("/forecast", json=body) for _ in range(4)]
            answers = await asyncio.gather(*posts)
            assert not engine.waiting  # a request past its time keeps no place from another
            return answers

    answers = client.run(crowd())
    assert sorted(one.status_code for one in answers) == [429, 429, 504, 504]
    busy = next(one for one in answers if one.status_code == 429)
    assert busy.headers["retry-after"] == "1"
    assert client.post("/forecast", json={"model": "hourly", "table": TABLE}).status_code == 200


@pytest.mark.parametrize(
    ("path", "text"),
    [
        *(
            (f"/v2/{end}", True)
            for end in ("", "repository/index", "models/a/stats", "logging", "a%0Ab")
        ),
        ("/v2/forecasts", True),
        *((path, False) for path in ("/v2/forecast/", "/v2/finetune/x", "/v2x", "/nowhere")),
    ],
)
def test_errors_have_the_form_that_the_clients_of_a_path_print(client, path, text):
    """An object made Triton's client raise a TypeError while it printed."""
    answer = client.get(path)
    assert answer.status_code == 404
    error = answer.json()["error"]
    said = error if text else error["message"]
    assert said.startswith("there is nothing at this address")


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/v2/cross_validation", "leave add_history out of forecast"),
        ("POST", "/v2/anomaly_detection", "use `convtimenet detect FILE`"),
        ("POST", "/v2/online_anomaly_detection", "use `convtimenet detect FILE`"),
        ("POST", "/v2/finetune", "fine-tuning: this server only forecasts"),
        ("GET", "/v2/finetuned_models", "fine-tuning: this server only forecasts"),
        ("DELETE", "/v2/finetuned_models/abc", "fine-tuning: this server only forecasts"),
        ("GET", "/usage", "/metrics counts all requests"),
    ],
)
def test_what_the_client_of_nixtla_has_besides_is_named(client, method, path, said):
    """A forecast with add_history=True failed as "there is nothing at this address"."""
    answer = client.run(client.web.request(method, path, json={"model": "monthly"}))
    assert answer.status_code == 404
    assert said in answer.json()["error"]["message"]
    assert path not in client.get("/openapi.json").json()["paths"]


def test_json_may_begin_with_a_byte_order_mark(client):
    text = json.dumps({"model": "hourly", "table": TABLE, "h": 2}).encode()
    answer = client.post("/forecast", content=b"\xef\xbb\xbf" + text)
    assert answer.status_code == 200
    assert answer.json() == client.post("/forecast", content=text).json()


def test_an_error_in_the_server_shows_nothing_of_it(client, by_name, monkeypatch):
    def fails(*_):
        raise RuntimeError("secret of line 7")

    monkeypatch.setattr(by_name["hourly"], "predict_requests", fails)
    answer = client.post("/forecast", json={"model": "hourly", "table": TABLE})
    assert answer.status_code == 500
    assert "its log describes" in message(answer)
    assert "secret" not in answer.text


# --- who may ask ---------------------------------------------------------------------------------


def test_only_the_token_lets_in_and_is_compared_in_constant_time(limited, monkeypatch):
    client, compared = limited(token=TOKEN), []
    whole = hmac.compare_digest

    def noted(a, b):
        compared.append((a, b))
        return whole(a, b)

    monkeypatch.setattr(guard.hmac, "compare_digest", noted)
    body = {"model": "hourly", "table": TABLE}
    wrong = ("Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN)
    for given in (None, *wrong):
        headers = {} if given is None else {"authorization": given}
        answer = client.post("/forecast", json=body, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text
    right = {"authorization": f"Bearer {TOKEN}"}
    assert client.post("/forecast", json=body, headers=right).status_code == 200
    assert len(compared) == 7
    assert {b for _, b in compared} == {TOKEN.encode()}
    assert client.get("/v2/health/live").json() == {"live": True}
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert client.head(path).status_code == 200
    for path in ("/metrics", "/openapi.json", "/v2", "/v2/models/hourly", "/nowhere"):
        assert client.get(path).status_code == 401


def test_a_token_is_the_same_from_a_file_and_from_the_environment(tmp_path, monkeypatch):
    """With a line's end in the variable nobody was let in."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n", encoding="utf-8")
    monkeypatch.setenv("CONVTIMENET_TOKEN", f" {TOKEN}\n")
    assert (_token(str(path)), _token(None)) == (TOKEN, TOKEN)
    monkeypatch.setenv("CONVTIMENET_TOKEN", " ")
    with pytest.raises(ConfigError, match="found 0 characters"):
        ServeSettings(token=_token(None))
    monkeypatch.delenv("CONVTIMENET_TOKEN")
    assert _token(None) is None


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP64", [1, "2", 3, 4]),
        ("FP64", [[1, 2], [3, "4"]]),
        ("INT8", [1, 2, 300, 4]),
        ("INT8", [1, 2, 0.5, 4]),
        ("UINT16", [1, 2, -1, 4]),
        ("BOOL", [1, 0, 2, 1]),
    ],
)
def test_every_value_of_a_tensor_is_of_its_type(client, datatype, data):
    x = {"name": "x", "shape": [1, 1, 4], "datatype": datatype}
    answer = client.post("/v2/models/sizes/infer", json={"inputs": [{**x, "data": data}]})
    assert answer.status_code == 422
    assert f"expected numbers of the type {datatype}" in message(answer)
    right = [1, None, 1, 0]
    answer = client.post("/v2/models/sizes/infer", json={"inputs": [{**x, "data": right}]})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("text", "status"), [("t0,t1,t2\n1,2,3\n4,5,6\n", 200), ("a,b,t0,t1\nx,y,1,2\n", 422),
                         ("label,class,t0,t1\n1,1,1,2\n", 422)]
)  # fmt: skip
def test_answers_name_no_option_that_requests_do_not_have(client, text, status):
    answer = client.post("/regress", content=text.encode(), headers=CSV)
    assert answer.status_code == status
    assert "label_col" not in answer.headers.get("convtimenet-notices", "") + answer.text


def test_other_machines_need_a_token():
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.org"):
        with pytest.raises(ConfigError, match="needs a token"):
            ServeSettings(host=host)
        assert ServeSettings(host=host, token=TOKEN).token == TOKEN
        assert ServeSettings(host=host, public=True).public
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        assert ServeSettings(host=host).loopback
    for token in ("short", "ä" * 20, "line\nbreak-and-more"):
        with pytest.raises(ConfigError, match="at least 16 ASCII"):
            ServeSettings(token=token)


def test_pages_of_other_sites_are_not_let_in(client):
    for origin in ("http://evil.example", "null"):
        headers = {"origin": origin, "access-control-request-method": "POST"}
        for answer in (
            client.get("/v2/health/live", headers=headers),
            client.run(client.web.options("/forecast", headers=headers)),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]
    for host in ("evil.example", "127.0.0.1.evil.example:8000", ""):
        answer = client.get("/v2/health/live", headers={"host": host})
        assert answer.status_code in (400, 403), host
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/v2/health/live", headers={"host": host}).status_code == 200


def test_no_page_loads_scripts_from_elsewhere(client):
    for path in ("/docs", "/redoc"):
        assert client.get(path).status_code == 404
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", client.get("/").text)
    assert [*zip(*scripts, strict=True)][1] == ("",) * 4
    assert all(one.startswith(' src="/page/') for one, _ in scripts)
    document = client.get("/openapi.json").json()
    named = document["paths"]["/forecast"]["post"]["requestBody"]["content"]
    assert set(named) == {"application/json", CSV["content-type"], ARROW["content-type"]}
    assert "TableToForecast" in document["components"]["schemas"]


COMPUTING = {200, 400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 504}


@pytest.mark.parametrize(
    ("path", "statuses", "kinds", "error"),
    [
        ("/forecast", COMPUTING, {"application/json", CSV["content-type"], ARROW["content-type"]},
         "Error"),
        ("/classify", COMPUTING, {"application/json", CSV["content-type"], ARROW["content-type"]},
         "Error"),
        ("/v1/timeseries/forecast", COMPUTING, {"application/json"}, "Error"),
        ("/v2/forecast", COMPUTING, {"application/json"}, "Error"),
        ("/v2/models/{name}/infer", COMPUTING, {"application/json", "application/octet-stream"},
         "TextError"),
        ("/v2/models/{name}", COMPUTING - {422, 504}, {"application/json"}, "TextError"),
        ("/v2/health/ready", COMPUTING - {401, 404, 422, 504} | {503}, {"application/json"},
         "TextError"),
        ("/model_params", COMPUTING - {504}, {"application/json"}, "Error"),
        ("/metrics", COMPUTING - {404, 422, 504}, {"text/plain"}, "Error"),
        ("/models", COMPUTING - {404, 504}, {"application/json"}, "Error"),
    ],
)  # fmt: skip
def test_the_document_has_the_answers_that_there_are(client, path, statuses, kinds, error):
    """A 422 had a form that no answer has, and others were not there."""
    document = client.get("/openapi.json").json()
    (operation,) = document["paths"][path].values()
    found = operation["responses"]
    assert set(found) == {str(one) for one in statuses}
    assert set(found["200"]["content"]) == kinds
    for status in statuses - {200}:
        schema = found[str(status)]["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{error}"}


def test_the_document_names_the_token_and_refers_to_what_it_has(client, limited):
    document = client.get("/openapi.json").json()
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert named == set(document["components"]["schemas"])
    assert "HTTPValidationError" not in named
    bearer = {"type": "http", "scheme": "bearer"}
    assert document["components"]["securitySchemes"] == {"bearer": bearer}
    assert document["security"] == [{"bearer": []}, {}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            is_open = path in ("/v2/health/live", "/v2/health/ready")
            assert operation.get("security") == ([] if is_open else None)
    headers = {"authorization": f"Bearer {TOKEN}"}
    document = limited(token=TOKEN).get("/openapi.json", headers=headers).json()
    assert document["security"] == [{"bearer": []}]


def test_cells_are_counted_up_to_the_limit():
    check_cells("x", MOST_CELLS)
    with pytest.raises(Refused):
        check_cells("x", MOST_CELLS + 1)


def test_the_tests_that_security_names_exist():
    here = Path(__file__).parent
    named = re.findall(r"`(test_\w+)`", (here.parents[1] / "SECURITY.md").read_text("utf-8"))
    there = "".join(one.read_text("utf-8") for one in here.parent.rglob("test_*.py"))
    assert len(named) == 18
    assert [name for name in named if f"def {name}(" not in there] == []
