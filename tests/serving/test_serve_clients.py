"""Clients of other projects against a running server: `make app-test`.

They come from an environment of their own, as they bring hundreds of megabytes.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from served import monthly, shops, waves

pytestmark = pytest.mark.app
TOKEN = "a token of some length"


@pytest.fixture(scope="module")
def server(tmp_path_factory, folders):
    """A server process; its address."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    named = [f"{name}={folder}" for name, folder in folders.items()]
    command = [sys.executable, "-m", "convtimenet", "serve", *named, "--port", "0"]
    with subprocess.Popen(
        [*command, "--token_file", str(token)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("listening on "):
                yield line.split()[2].rstrip(";")
                break
        process.terminate()
        assert process.wait(30) == 0


def client_of(address: str, key: str = TOKEN):
    nixtla = importlib.import_module("nixtla")
    return nixtla.NixtlaClient(api_key=key, base_url=address, max_retries=1)


def as_sent(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as the client sends them: in float32, as short decimals."""
    numbers = frame.select_dtypes("number").columns
    return frame.assign(
        **{n: frame[n].astype("float32").map(lambda v: float(str(v))) for n in numbers}
    )


def test_nixtla_forecasts_with_intervals(server, by_name):
    table = monthly().rename(columns={"month": "ds"}).assign(unique_id="one")
    both = pd.concat([table, table[30:].assign(unique_id="two")], ignore_index=True)
    for levels, quantiles in (([80], None), (None, [0.1, 0.5, 0.9])):
        got = client_of(server).forecast(
            both, h=4, model="monthly", level=levels, quantiles=quantiles
        )
        want = by_name["monthly"].predict(
            as_sent(both).rename(columns={"ds": "month"})[["unique_id", "month", "y"]], level=[80]
        )
        assert got["ds"].tolist() == want["month"].tolist()
        columns = {"TimeGPT": "", "TimeGPT-lo-80": "-lo-80", "TimeGPT-hi-80": "-hi-80"}
        if quantiles:
            columns = {"TimeGPT-q-10": "-lo-80", "TimeGPT-q-50": "", "TimeGPT-q-90": "-hi-80"}
        for name, end in columns.items():
            np.testing.assert_allclose(got[name], want[f"ConvTimeNet{end}"], rtol=1e-5)


def test_nixtla_covariates_and_many_series_in_a_packed_body(server, by_name):
    table, plan = shops(), shops(h=4).drop(columns=["y", "visitors"])
    client = client_of(server)
    got = client.forecast(
        table, h=4, X_df=plan, hist_exog_list=["visitors"], model="shops", freq="D"
    )
    renamed = [
        as_sent(one).assign(unique_id=one["unique_id"] + " new") for one in (table, plan)
    ]  # the client sends no ids, so all are new series
    want = by_name["shops"].predict(*renamed)["ConvTimeNet"]
    np.testing.assert_allclose(got["TimeGPT"], want, rtol=1e-5)
    many = pd.concat([table.assign(unique_id=table["unique_id"] + str(i)) for i in range(700)])
    ahead = pd.concat([plan.assign(unique_id=plan["unique_id"] + str(i)) for i in range(700)])
    large = client.forecast(
        many, h=4, X_df=ahead, hist_exog_list=["visitors"], model="shops", freq="D"
    )  # above 1 MB, which the client packs with zstd
    assert len(large) == 700 * 3 * 4
    first = large[large["unique_id"].isin(["north0", "south0", "west0"])]
    np.testing.assert_allclose(first["TimeGPT"], got["TimeGPT"], rtol=1e-5)


def test_nixtla_keys_and_refusals(server):
    ApiError = importlib.import_module("nixtla.nixtla_client").ApiError
    assert client_of(server).validate_api_key()
    table = monthly().rename(columns={"month": "ds"})
    with pytest.raises(ApiError, match="401"):
        client_of(server, "another").forecast(table, h=2, model="monthly")
    with pytest.raises(ApiError, match="finetune_steps, which this server does not have"):
        client_of(server).forecast(table, h=2, model="monthly", finetune_steps=3)
    with pytest.raises(ApiError, match="leave add_history=True out"):
        client_of(server).forecast(table, h=2, model="monthly", add_history=True)
    with pytest.raises(ApiError, match="`cross_validation` of the estimator in Python"):
        client_of(server).cross_validation(table, h=2, model="monthly")
    with pytest.raises(ApiError, match="use `convtimenet detect FILE`"):
        client_of(server).detect_anomalies(table, model="monthly")
    with pytest.raises(ApiError, match="usage: this server only forecasts"):
        client_of(server).usage()
    with pytest.raises(ApiError, match="fine-tuning: this server only forecasts"):
        client_of(server).finetuned_models()
    with pytest.raises(ApiError, match="'hourly', 'monthly', 'shops'"):
        client_of(server).forecast(table, h=2)


def test_nixtla_without_a_model_name(folders, tmp_path):
    command = [sys.executable, "-m", "convtimenet", "serve", str(folders["monthly"])]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        address = process.stdout.readline().split()[2].rstrip(";")
        got = client_of(address).forecast(monthly().rename(columns={"month": "ds"}), h=6)
        assert got["ds"].iloc[-1] == pd.Timestamp("2017-12-01")
        process.terminate()
        assert process.wait(30) == 0


def test_triton_infers_in_json_and_binary(server, by_name):
    triton = importlib.import_module("tritonclient.http")
    client = triton.InferenceServerClient(server.removeprefix("http://"))

    def headers() -> dict[str, str]:
        """New ones for every call, as the client writes to them."""
        return {"Authorization": f"Bearer {TOKEN}"}

    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("gestures", headers=headers())
    assert client.is_model_ready("gestures", "1", headers=headers())
    assert not client.is_model_ready("gestures", "2", headers=headers())
    assert client.get_server_metadata(headers=headers())["name"] == "convtimenet"
    outputs = client.get_model_metadata("gestures", headers=headers())["outputs"]
    assert [one["name"] for one in outputs] == ["class", "probabilities"]
    cases = np.stack([case[:, :20] for case in waves(5)])
    cases[2, 0, 4:7] = np.nan
    want, classes = by_name["gestures"].predict_proba(cases), by_name["gestures"].predict(cases)
    x = triton.InferInput("x", cases.shape, "FP64")
    x.set_data_from_numpy(cases)
    got = client.infer("gestures", [x], model_version="1", headers=headers())
    assert np.array_equal(got.as_numpy("probabilities"), want)
    asked = [triton.InferRequestedOutput(name) for name in ("class", "probabilities")]
    for given, packing in ((None, None), (asked, None), (asked, "gzip"), (asked, "deflate")):
        got = client.infer(
            "gestures", [x], outputs=given, headers=headers(), request_compression_algorithm=packing
        )
        assert np.array_equal(got.as_numpy("probabilities"), want)
        assert [one.decode() for one in got.as_numpy("class").tolist()] == classes.tolist()
    whole = np.nan_to_num(cases)
    x.set_data_from_numpy(whole, binary_data=False)
    plain = [triton.InferRequestedOutput("probabilities", binary_data=False)]
    got = client.infer("gestures", [x], outputs=plain, headers=headers())
    np.testing.assert_allclose(
        got.as_numpy("probabilities"), by_name["gestures"].predict_proba(whole), rtol=1e-6
    )
    one = triton.InferRequestedOutput("probabilities", class_count=1)
    with pytest.raises(Exception, match=r"parameters\.classification: there is no such"):
        client.infer("gestures", [x], outputs=[one], headers=headers())
    client.infer("gestures", [x], priority=1, timeout=10**6, headers=headers())
    for ask in (client.get_model_repository_index, client.get_log_settings):
        with pytest.raises(Exception, match="there is nothing at this address") as found:
            ask(headers=headers())
        assert str(found.value).startswith("[404] there is nothing")
    x = triton.InferInput("x", [1, 1, 20], "FP64")
    x.set_data_from_numpy(cases[:1, :1])
    with pytest.raises(Exception, match="2 channels"):
        client.infer("gestures", [x], headers=headers())


def test_schemathesis_finds_no_error_of_the_server(server, tmp_path):
    """Nor an answer that /openapi.json does not describe."""
    config = tmp_path / "schemathesis.toml"
    config.write_text("[generation]\nmode = 'all'\n")
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)]
    done = subprocess.run(
        [*command, "run", f"{server}/openapi.json", "--checks",
         "not_a_server_error,status_code_conformance,content_type_conformance,"
         "response_schema_conformance",
         "--header", f"Authorization: Bearer {TOKEN}", "--max-examples", "40", "--seed", "1",
         "--phases", "examples,coverage,fuzzing"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    figures = httpx.get(f"{server}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    for route in ("/forecast", "/classify", "/v1/timeseries/forecast", "/v2/forecast"):
        assert f'requests_total{{route="{route}",status="422"}}' in figures  # they were let in
    assert not re.search(r'status="5\d\d"', figures)
