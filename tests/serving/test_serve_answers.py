"""The server answers what the estimator's own predict gives, in the kind that was sent."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import zstandard
from pyarrow import ipc
from served import SMALL, Web, held, hourly, monthly, shops, waves

from convtimenet import ConvTimeNetForecaster
from convtimenet.data.forecast_tables import write_csv
from convtimenet.errors import DataError
from convtimenet.serving import json_body, warm
from convtimenet.serving.app import create_app
from convtimenet.serving.models import Forecasting, Models
from convtimenet.serving.settings import ServeSettings

CSV = {"content-type": "text/csv"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}


def columns(frame: pd.DataFrame) -> dict:
    """A frame as JSON columns."""
    return {name: [_cell(one) for one in frame[name].tolist()] for name in frame}


def _cell(one: Any) -> Any:
    return str(one) if isinstance(one, pd.Timestamp) else None if pd.isna(one) else one


def records(frame: pd.DataFrame) -> list[dict]:
    sent = columns(frame)
    return [dict(zip(sent, row, strict=True)) for row in zip(*sent.values(), strict=True)]


def stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_columns_and_records_come_back_as_columns_and_records(client, by_name):
    table = hourly()
    want = by_name["hourly"].predict(table, level=[80, 95])
    body = {"model": "hourly", "table": columns(table), "level": [80, 95]}
    got = client.post("/forecast", json=body).json()
    assert got["model"] == "hourly"
    assert list(got["forecast"]) == list(want.columns)
    assert got["forecast"]["date"] == want["date"].astype(str).tolist()
    for name in want.columns[1:]:
        assert got["forecast"][name] == want[name].tolist()
    rows = client.post("/forecast", json={**body, "table": records(table)}).json()["forecast"]
    assert pd.DataFrame(rows).equals(pd.DataFrame(got["forecast"]))


def test_csv_is_what_the_command_line_writes(client, by_name, tmp_path):
    path, out = tmp_path / "t.csv", tmp_path / "f.csv"
    hourly().to_csv(path, index=False)
    model = by_name["hourly"]
    write_csv(out, model.predict(path, h=3, level=80), source=model.adapt(path))
    got = client.post("/forecast?model=hourly&h=3&level=80", content=path.read_bytes(), headers=CSV)
    assert got.headers["content-type"].startswith("text/csv")
    assert got.text == out.read_text()
    inside = client.post(
        "/forecast", json={"model": "hourly", "table": path.read_text(), "h": 3, "level": [80]}
    )
    assert inside.json()["forecast"] == out.read_text()


@pytest.mark.parametrize("charset", ["cp1251", '"KOI8-R"', "utf-16"])
def test_csv_is_read_in_the_charset_that_its_header_gives(client, charset):
    """Text that is no UTF-8 was read as Latin-1, and ids came back as other letters."""
    head = {"content-type": f"text/csv; charset={charset}"}
    table = monthly().iloc[-20:].assign(unique_id="ЮЖД").to_csv(index=False)
    sent = table.encode(charset.strip('"'))
    answer = client.post("/forecast?model=monthly&h=1", content=sent, headers=head)
    assert answer.content.decode().splitlines()[1].startswith("ЮЖД,2017-07-01,")
    cases = "id,t0,t1,t2,t3\nЮЖД,1,2,3,4\nЯЛД,1,2,3,5\n".encode(charset.strip('"'))
    answer = client.post("/regress", content=cases, headers=head).text
    assert [line.partition(",")[0] for line in answer.splitlines()] == ["case", "ЮЖД", "ЯЛД"]


def test_a_charset_that_is_unknown_or_wrong_is_refused(client):
    cases = "id,t0,t1,t2,t3\nЮЖД,1,2,3,4\nЯЛД,1,2,3,5\n".encode("cp1251")
    for charset, status, said in (
        ("no-such", 415, "found 'no-such'; send the text in UTF-8"),
        ("base64", 415, "found 'base64'"),
        ("punycode", 415, "found 'punycode'"),
        ("utf-8", 422, "expected text in utf-8, as the Content-Type says, found other bytes"),
    ):
        head = {"content-type": f"text/csv; charset={charset}"}
        answer = client.post("/regress", content=cases, headers=head)
        assert answer.status_code == status
        assert said in answer.json()["error"]["message"]


def test_arrow_comes_back_as_arrow_with_its_own_stamps(client, by_name):
    table = pa.Table.from_pandas(hourly(), preserve_index=False)
    got = client.post("/forecast?model=hourly&level=80", content=stream(table), headers=ARROW)
    found = ipc.open_stream(got.content).read_all()
    assert found.equals(by_name["hourly"].predict(table, level=80))
    assert found.schema.field("date").type == table.schema.field("date").type


@pytest.mark.parametrize("ids", [pl.String, pl.Categorical, pl.Enum(["a shop of the north", "b"])])
def test_arrow_as_polars_writes_it(client, ids):
    """It writes texts as views, which were refused, as were decimals and columns of nulls."""
    rows = pd.concat([monthly().assign(unique_id=shop) for shop in ("a shop of the north", "b")])
    plain = pa.table(
        {
            "unique_id": rows["unique_id"].tolist(),
            "month": pa.array(rows["month"], pa.timestamp("us")),
            "y": rows["y"].round(2).tolist(),
        }
    )
    frame = pl.DataFrame(plain).with_columns(
        pl.col("unique_id").cast(ids), pl.col("y").cast(pl.Decimal(10, 2)), note=None
    )
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)
    kinds = ipc.open_stream(sink.getvalue()).schema
    assert "string_view" in str(kinds.field("unique_id").type)
    assert [str(kinds.field(name).type) for name in ("y", "note")] == ["decimal128(10, 2)", "null"]
    path = "/forecast?model=monthly&h=2"
    answer = client.post(path, content=stream(plain), headers=ARROW)
    assert answer.status_code == 200, answer.text
    want = ipc.open_stream(answer.content).read_all().to_pydict()
    answer = client.post(path, content=sink.getvalue(), headers=ARROW)
    assert answer.status_code == 200, answer.text
    found = ipc.open_stream(answer.content).read_all().to_pydict()
    assert found == want
    assert found["unique_id"] == ["a shop of the north"] * 2 + ["b"] * 2


def test_gaps_are_masked_as_in_predict_and_notices_say_so(client, by_name):
    table = hourly().drop(index=[100, 101]).reset_index(drop=True)
    table.loc[110:112, "a"] = np.nan
    want = by_name["hourly"].predict(table)
    got = client.post("/forecast", json={"model": "hourly", "table": columns(table)}).json()
    assert got["forecast"]["a"] == want["a"].tolist()
    assert any("2 rows are missing" in one for one in got["notices"])
    sent = client.post(
        "/forecast?model=hourly", content=table.to_csv(index=False).encode(), headers=CSV
    )
    assert json.loads(sent.headers["convtimenet-notices"]) == got["notices"]
    full = by_name["hourly"].predict(hourly())
    assert not np.allclose(full["a"], want["a"])


def test_several_series_with_covariates_known_ahead(client, by_name):
    table, plan = shops(), shops(h=4).drop(columns=["y", "visitors"])
    want = by_name["shops"].predict(table, plan, level=[80])
    body = {"model": "shops", "table": columns(table), "future": records(plan), "level": [80]}
    got = client.post("/forecast", json=body).json()["forecast"]
    assert got["unique_id"] == want["unique_id"].tolist()
    assert got["ds"] == want["ds"].astype(str).tolist()
    for name in want.columns[2:]:
        assert got[name] == want[name].tolist()
    other = {**body, "future": records(plan.assign(promo=1 - plan["promo"]))}
    moved = client.post("/forecast", json=other).json()["forecast"]["ConvTimeNet"]
    assert moved != got["ConvTimeNet"]
    del body["future"]
    refused = client.post("/forecast", json=body)
    assert refused.status_code == 422
    assert "future values of 'promo' are needed" in refused.text


def test_notices_say_which_series_are_new_and_what_becomes_of_gaps(client):
    """The server's log alone said so, and series scaled by themselves looked like those trained."""
    table = shops().replace({"unique_id": {"north": "North", "west": "new"}})
    table.loc[3, "y"] = np.nan
    future = shops(h=4).replace({"unique_id": {"north": "North", "west": "new"}})
    plan = records(future.filter(["unique_id", "ds", "promo"]))
    body = {"model": "shops", "table": columns(table), "future": plan, "h": 1}
    notices = client.post("/forecast", json=body).json()["notices"]
    assert (
        "2 of 3 series were not seen in training ('North', did you mean 'north'?, 'new'); they are "
        "scaled with their own statistics"
    ) in notices
    assert "missing values are masked: they are not read" in notices
    assert len(notices) == len({*notices})


def test_whole_numbers_and_offsets_come_back_as_they_came(client, by_name):
    table = hourly()
    seconds = table["date"].astype("datetime64[s]").astype(np.int64)
    sent = {**columns(table), "date": seconds.tolist()}
    answer = client.post("/forecast", json={"model": "hourly", "table": sent}).json()
    got = answer["forecast"]
    assert got["date"] == (seconds.iloc[-1] + 3600 * np.arange(1, 5)).tolist()
    sent["date"] = seconds.astype(float).tolist()  # as clients write whole numbers with gaps
    assert client.post("/forecast", json={"model": "hourly", "table": sent}).json() == answer
    text = table["date"].dt.strftime("%Y-%m-%dT%H:%M").tolist()
    got = client.post("/forecast", json={"model": "hourly", "table": {**sent, "date": text}})
    assert got.json()["forecast"]["date"][0] == "2024-01-06T00:00"


def test_a_longer_forecast_is_rolled_with_a_notice(client, by_name):
    want = by_name["hourly"].predict(hourly(), h=9)
    got = client.post("/forecast", json={"model": "hourly", "table": columns(hourly()), "h": 9})
    assert got.json()["forecast"]["a"] == want["a"].tolist()
    assert any("own forecasts" in one for one in got.json()["notices"])


def test_cases_of_unequal_length_with_missing_values(client, by_name):
    cases, model = waves(5), by_name["gestures"]
    cases[1][0, 3:6] = np.nan
    want = model.predict_proba(cases)
    sent = [
        [[None if np.isnan(v) else v for v in channel] for channel in case.tolist()]
        for case in cases
    ]
    got = client.post("/classify", json={"cases": sent}).json()
    assert got["probabilities"] == want.tolist()
    assert got["labels"] == ["down", "up"]
    assert got["classes"] == model.predict(cases).tolist()
    frame = pa.table(
        {"x": [case[0].tolist() for case in cases], "y": [case[1].tolist() for case in cases]}
    )
    found = ipc.open_stream(
        client.post("/classify", content=stream(frame), headers=ARROW).content
    ).read_all()
    assert found.column_names == ["case", "class", "p_down", "p_up"]
    assert found["p_up"].to_pylist() == want[:, 1].tolist()


def test_cases_outside_of_training_have_a_notice(client):
    short = [case[:, :3].tolist() for case in waves(2)]
    got = client.post("/classify", json={"cases": [*short, waves(1)[0].tolist()]}).json()
    assert got["notices"] == [
        "2 of 3 cases have 3 steps; training cases had 20 to 24 steps: answers for other lengths "
        "may be wrong"
    ]
    rows = "x\n" + "".join(f"{value}\n" for value in waves(1)[0][0])
    got = client.post("/regress", content=rows.encode(), headers={"content-type": "text/csv"})
    assert got.status_code == 422
    assert got.json()["error"]["message"] == (
        "expected cases of 20 to 24 steps, as in training; found 20 cases of one step each, which "
        "looks like one recording written as a column; write it as a row, its values beside each "
        "other"
    )


def test_numbers_for_cases_in_json_and_csv(client, by_name):
    cases, model = [case[:1, :20] for case in waves(6)], by_name["sizes"]
    want = model.predict(cases)
    got = client.post("/regress", json={"cases": [case[0].tolist() for case in cases]})
    assert got.json()["numbers"] == want.tolist()
    head = ",".join(f"t{i}" for i in range(20))
    text = "\n".join([head, *(",".join(map(repr, case[0].tolist())) for case in cases)])
    table = client.post("/regress", content=text.encode(), headers=CSV).text.splitlines()
    assert table[0] == "case,number"
    assert [float(line.split(",")[1]) for line in table[1:]] == pytest.approx(want, rel=1e-5)
    inside = client.post("/regress", json={"cases": text}).json()["table"].splitlines()
    assert inside == table
    named = "\n".join(
        ["id", *(f"Q{6 - i}" for i in range(6))][i] + "," + line
        for i, line in enumerate(text.splitlines())
    )
    answered = client.post("/regress", content=named.encode(), headers=CSV).text.splitlines()
    assert [line.split(",")[0] for line in answered[1:]] == ["Q6", "Q5", "Q4", "Q3", "Q2", "Q1"]
    assert [line.split(",")[1] for line in answered] == [line.split(",")[1] for line in table]
    names = [f"Q{6 - i}" for i in range(6)]
    steps = {f"t{i}": [float(case[0, i]) for case in cases] for i in range(20)}
    for ids in (names, list(range(1000, 1006))):
        sent = stream(pa.table({"id": ids, **steps}))
        answer = client.post("/regress", content=sent, headers=ARROW)
        found = ipc.open_stream(answer.content).read_all()
        assert found["case"].to_pylist() == [str(one) for one in ids]
        assert found["number"].to_pylist() == want.tolist()
        assert answer.headers["convtimenet-notices"] == """["the column 'id' names the cases"]"""


def kserve(model: str, frequency: str, *inputs: tuple, **options) -> dict:
    return {
        "model": model,
        "inputs": [
            {
                "type": f"{kind}_time_series",
                "name": name,
                "series": series,
                "frequency": frequency,
                "start_timestamp": start,
            }
            for kind, name, series, start in inputs
        ],
        "options": options,
    }


def test_kserve_series_with_quantiles(client, by_name):
    table = monthly()
    series = [*table["y"].tolist()]
    series[50] = None
    body = kserve(
        "monthly",
        "M",
        ("univariate", "one", series, "2010-01-01T00:00:00Z"),
        ("univariate", "short", series[60:], "2015-01-01"),
        horizon=3,
        quantiles=[0.1, 0.5, 0.9],
    )
    got = client.post("/v1/timeseries/forecast", json=body).json()
    known = table.assign(unique_id="one", y=[np.nan if v is None else v for v in series])
    short = known.iloc[60:].assign(unique_id="short")
    want = by_name["monthly"].predict(pd.concat([known, short]), h=3, level=[80])
    for number, start in enumerate(("2017-07-01T00:00:00Z", "2017-07-01T00:00:00")):
        (content,) = got["outputs"][number]["content"]
        rows = want.iloc[3 * number : 3 * number + 3]
        assert content["start_timestamp"] == start
        assert content["mean_forecast"] == pytest.approx(rows["ConvTimeNet"].tolist(), rel=1e-6)
        bounds = [rows[f"ConvTimeNet{end}"].tolist() for end in ("-lo-80", "", "-hi-80")]
        assert [*content["quantiles"]] == ["0.1", "0.5", "0.9"]
        assert [*content["quantiles"].values()] == [pytest.approx(b, rel=1e-6) for b in bounds]
    names = client.get("/v1/timeseries/models").json()
    assert names == ["hourly", "monthly", "shops"]


def test_kserve_variables_and_what_it_refuses(client, by_name):
    table = hourly()
    series = table[["a", "b"]].to_numpy().tolist()
    body = kserve("hourly", "hour", ("multivariate", "x", series, None), horizon=2)
    got = client.post("/v1/timeseries/forecast", json=body).json()["outputs"][0]["content"][0]
    want = by_name["hourly"].predict(table, h=2)[["a", "b"]].to_numpy()
    np.testing.assert_allclose(got["mean_forecast"], want, rtol=1e-6)
    assert got["quantiles"] is None
    for wrong, said in (
        (kserve("hourly", "D", ("multivariate", "x", series, None), horizon=2), "steps of 1h"),
        (kserve("hourly", "H", ("univariate", "x", [1.0] * 20, None), horizon=2), "2 variables"),
        (kserve("shops", "D", ("univariate", "x", [1.0] * 20, None), horizon=2), "'visitors'"),
        (kserve("gestures", "D", ("univariate", "x", [1.0], None), horizon=2), "/classify"),
        (kserve("monthly", "M", ("univariate", "x", [1.0, 2], "soon"), horizon=2), "'soon'"),
        (kserve("monthly", "M", ("univariate", "x", [None] * 80, None), horizon=2), "numbers of"),
        (kserve("monthly", "M", ("univariate", "x", [1.0] * 15, None), horizon=2), "of 16 rows"),
    ):
        refused = client.post("/v1/timeseries/forecast", json=wrong)
        assert refused.status_code == 422
        assert said in refused.json()["error"]["message"]


def test_kserve_starts_that_predict_refuses_are_refused():
    """They were moved: days began at 22:00 of the day before, local times were taken as UTC."""
    sizes = {"h": 2, "input_size": 16, "preset": "ETTh1", "refit": False, **SMALL}
    days = hourly(40)[["date", "a"]].assign(date=pd.date_range("2024-01-01", periods=40))
    zoned = days.assign(date=days["date"].dt.tz_localize("Europe/Berlin"))
    whole = days.assign(date=np.arange(40))
    tables = {"naive": days, "zoned": zoned, "whole": whole}
    named = [
        Forecasting(
            name,
            ConvTimeNetForecaster(**sizes, time_col="date" if name == "whole" else None).fit(table),
        )
        for name, table in tables.items()
    ]
    for one in named:
        one.model.set_params(verbose=0)
    with Web(create_app(Models(named))) as web:

        def ask(model: str, start: str) -> httpx.Response:
            body = kserve(model, "D", ("univariate", "x", days["a"].tolist(), start), horizon=1)
            return web.post("/v1/timeseries/forecast", json=body)

        for model, start, first in (
            ("naive", "2024-01-01", "2024-02-10T00:00:00"),
            ("naive", "2024-01-01T00:00:00Z", "2024-02-10T00:00:00Z"),
            ("naive", "2024-01-01T00:00:00+00:00", "2024-02-10T00:00:00Z"),
            ("zoned", "2024-01-01T00:00:00+01:00", "2024-02-09T23:00:00Z"),
            ("zoned", "2023-12-31T23:00:00Z", "2024-02-09T23:00:00Z"),
        ):
            (content,) = ask(model, start).json()["outputs"][0]["content"]
            assert content["start_timestamp"] == first
        for model, start, said in (
            ("naive", "2024-01-01T00:00:00+02:00", "without Z or UTC offset"),
            ("naive", "2024-01-01T00:00:00-02:30", "in the time zone '-02:30'"),
            ("zoned", "2024-01-01T00:00:00", "writing each with its UTC offset"),
            ("whole", "2024-01-01", "fitted to whole numbers"),
        ):
            refused = ask(model, start)
            assert refused.status_code == 422
            assert said in refused.json()["error"]["message"]


def test_series_that_predict_refuses_as_too_short_are_refused(client, by_name):
    """They were answered from a context of mostly nothing, as if the model knew short series."""
    y = monthly()["y"].tolist()
    with pytest.raises(DataError, match="a context of 16 rows"):
        by_name["monthly"].predict(monthly().iloc[:15])
    for sizes in ([15], [16, 15], [1]):
        body = nixtla("monthly", "MS", (y + y)[: sum(sizes)], sizes, 4)
        refused = client.post("/v2/forecast", json=body)
        assert refused.status_code == 422
        said = refused.json()["error"]["message"]
        assert said.startswith(f"series 'series {len(sizes) - 1}': ")
        assert f"found {sizes[-1]}; give at least 16 rows" in said
    enough = client.post("/v2/forecast", json=nixtla("monthly", "MS", y[:16], [16], 4))
    want = by_name["monthly"].predict(monthly().iloc[:16])["y"]
    assert enough.json()["mean"] == pytest.approx(want.tolist(), rel=1e-6)
    # a model of many series reads short ones
    X = [shops()["promo"].tolist()[:3], shops()["visitors"].tolist()[:3]]
    body = nixtla("shops", "D", shops()["y"].tolist()[:3], [3], 1, X=X, X_future=[[0.0]])
    want = by_name["shops"].predict(
        shops().iloc[:3].assign(unique_id="new"),
        shops().iloc[3:4].assign(unique_id="new", promo=0.0)[["unique_id", "ds", "promo"]],
        h=1,
    )
    got = client.post("/v2/forecast", json=body).json()["mean"]
    assert got == pytest.approx(want["ConvTimeNet"].tolist(), rel=1e-6)


def nixtla(model: str, freq: str, y: list, sizes: list[int], h: int, **others) -> dict:
    series = {"y": y, "sizes": sizes, "X": others.pop("X", None)}
    series["X_future"] = others.pop("X_future", None)
    return {"series": series, "model": model, "freq": freq, "h": h, "level": None, **others}


def test_nixtla_series_by_position_packed_with_zstd(client, by_name):
    table = monthly()
    y = table["y"].tolist()
    body = nixtla("monthly", "MS", [*y, *y[40:]], [90, 50], 4, level=[0, 80])
    packed = zstandard.ZstdCompressor().compress(json.dumps(body).encode())
    got = client.post("/v2/forecast", content=packed, headers={"content-encoding": "zstd"}).json()
    both = pd.concat([table.assign(unique_id="p"), table[40:].assign(unique_id="q")])
    want = by_name["monthly"].predict(both, level=80)
    assert got["mean"] == pytest.approx(want["ConvTimeNet"].tolist(), rel=1e-6)
    assert sorted(got["intervals"]) == ["hi-0", "hi-80", "lo-0", "lo-80"]
    low = want["ConvTimeNet-lo-80"].tolist()
    assert got["intervals"]["lo-80"] == pytest.approx(low, rel=1e-6)
    params = client.get("/model_params?model=monthly&freq=MS").json()["detail"]
    assert params == {"input_size": 16, "horizon": 4}


def test_nixtla_covariates_by_position(client, by_name):
    table, plan = shops(), shops(h=4)
    want = by_name["shops"].predict(
        table.assign(unique_id=table["unique_id"] + " new"),
        plan.assign(unique_id=plan["unique_id"] + " new")[["unique_id", "ds", "promo"]],
    )
    X = [table["promo"].tolist(), table["visitors"].tolist()]
    body = nixtla("shops", "D", table["y"].tolist(), [60] * 3, 4, X=X)
    body["series"]["X_future"] = [plan["promo"].tolist()]
    got = client.post("/v2/forecast", json=body).json()["mean"]
    assert got == pytest.approx(want["ConvTimeNet"].tolist(), rel=1e-6)
    body["series"]["X"] = X[:1]
    refused = client.post("/v2/forecast", json=body)
    assert refused.status_code == 422
    assert "the covariates 'promo', 'visitors'" in refused.json()["error"]["message"]


def test_open_inference_in_json_and_binary(client, by_name):
    cases = np.stack([case[:, :20] for case in waves(4)])
    want = by_name["gestures"].predict_proba(cases)
    x = {"name": "x", "shape": [4, 2, 20], "datatype": "FP64"}
    sent = {"id": "7", "inputs": [{**x, "data": cases.reshape(-1).tolist()}]}
    got = client.post("/v2/models/gestures/infer", json=sent).json()
    assert got["id"] == "7"
    label, shares = got["outputs"]
    assert label["datatype"] == "BYTES"
    assert label["data"] == by_name["gestures"].predict(cases).tolist()
    assert (shares["shape"], shares["data"]) == ([4, 2], want.reshape(-1).tolist())
    raw = cases.astype("<f8").tobytes()
    head = json.dumps(
        {
            "inputs": [{**x, "parameters": {"binary_data_size": len(raw)}}],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {"inference-header-content-length": str(len(head))}
    answer = client.post("/v2/models/gestures/infer", content=head + raw, headers=headers)
    size = int(answer.headers["inference-header-content-length"])
    assert np.array_equal(np.frombuffer(answer.content[size:]).reshape(4, 2), want)
    assert client.get("/v2/models/gestures").json()["outputs"][1]["shape"] == [-1, 2]
    assert client.get("/v2/models/hourly/ready").json() == {"name": "hourly", "ready": True}


def test_open_inference_as_the_client_of_kserve_sends_it(client, by_name):
    """`InferRequest.to_rest` of KServe 0.21 writes the model's name always; that was refused."""
    case = waves(1)[0][:, :20]
    data = case.reshape(-1).tolist()
    sent = {
        "id": "2f0c2f6e-6a54-4d9b-9a30-62b8f19d7a11",
        "model_name": "gestures",
        "inputs": [{"name": "x", "shape": [1, 2, 20], "datatype": "FP64", "data": data}],
    }
    want = by_name["gestures"].predict_proba(case[None]).reshape(-1).tolist()
    path = "/v2/models/gestures/infer"

    def ask(**others: Any) -> httpx.Response:
        return client.post(path, json={**sent, **others})

    got = ask().json()
    assert (got["id"], got["model_name"]) == (sent["id"], "gestures")
    assert got["outputs"][1]["data"] == want
    nulls = {
        "id": None,
        "parameters": None,
        "model_version": None,
        "inputs": [{**sent["inputs"][0], "parameters": None}],
        "outputs": [{"name": "probabilities", "parameters": None}],
    }
    for others in (nulls, {"outputs": None}, {"model_name": None}, {"model_version": "1"}):
        answer = ask(**others).json()
        assert answer["outputs"][-1]["data"] == want
    assert "id" not in ask(**nulls).json()
    for others, said in (
        ({"model_name": "sizes"}, "model_name: expected 'gestures' as in the address"),
        ({"model_version": "2"}, "model_version: expected '1' as in the address, found '2'"),
    ):
        refused = ask(**others)
        assert refused.status_code == 422
        assert said in refused.json()["error"]


def test_open_inference_with_the_version_that_metadata_names(client):
    """Metadata said that it is "1", and its addresses were not there."""
    plain = "/v2/models/sizes"
    assert client.get(plain).json()["versions"] == ["1"]
    x = {"name": "x", "shape": [1, 1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}
    for end, body in (("", None), ("/ready", None), ("/infer", {"inputs": [x]})):
        answers = [
            client.get(path + end) if body is None else client.post(path + end, json=body)
            for path in (
                plain,
                f"{plain}/versions/1",
                f"{plain}/versions/2",
                "/v2/models/no/versions/2",
            )
        ]
        assert [one.status_code for one in answers] == [200, 200, 404, 404]
        assert answers[1].json() == answers[0].json()
        assert answers[2].json() == {
            "error": "'sizes' has no version '2'; expected '1', or an address without /versions"
        }
        assert answers[3].json()["error"].startswith("there is no model 'no'; expected one of")


def test_requests_that_arrive_together_are_one_batch(models, by_name):
    """Each gets its own answer: other values, series, gaps."""
    model, calls = by_name["hourly"], []
    hook = model.fused_.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    tables = [hourly(40 + i).assign(a=lambda t, i=i: t["a"] * (i + 1)) for i in range(6)]
    tables[2].loc[5:8, "b"] = np.nan
    tables[3].loc[30:, "a"] = np.nan

    async def post() -> list[dict]:
        app = create_app(models)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
            ) as web,
        ):
            calls.clear()
            bodies = [{"model": "hourly", "table": columns(one), "level": [80]} for one in tables]
            bodies.append({"model": "hourly", "table": columns(hourly(3)), "level": [80]})
            async with held(app.state.engine):
                posts = [asyncio.create_task(web.post("/forecast", json=b)) for b in bodies]
                while len(app.state.engine.waiting) < len(bodies):
                    await asyncio.sleep(0.001)
            answers = await asyncio.gather(*posts)
            figures = (await web.get("/metrics")).text
            assert 'convtimenet_requests_total{route="/forecast",status="422"} 1.0' in figures
            return [one.json() for one in answers]

    try:
        *found, short = asyncio.run(post())
    finally:
        hook.remove()
    assert calls == [len(tables)]
    assert "a context of 16 rows, the table has 3" in short["error"]["message"]
    for table, one in zip(tables, found, strict=True):
        want = model.predict(table, level=[80])
        for name in want.columns[1:]:
            assert one["forecast"][name] == pytest.approx(want[name].tolist(), rel=1e-5)


def test_requests_with_covariates_share_a_batch(by_name):
    model = by_name["shops"]
    table, plan = shops(), shops(h=4)[["unique_id", "ds", "promo"]]
    other = plan.assign(promo=1 - plan["promo"])
    alone = table[table["unique_id"] == "west"].reset_index(drop=True)
    asked = ((table, plan), (table, other), (alone, plan))
    found = model.predict_requests([model.request(model.adapt(t), future=p) for t, p in asked])
    for one, (t, p) in zip(found, asked, strict=True):
        want = model.predict(t, p)["ConvTimeNet"]
        np.testing.assert_allclose(one["ConvTimeNet"], want, rtol=1e-6, atol=1e-6)
    assert not np.allclose(found[0]["ConvTimeNet"], found[1]["ConvTimeNet"])


def test_every_model_has_answered_before_the_first_request(models, by_name):
    with Web(create_app(models)) as web:
        figures = web.get("/metrics").text
    for name, formats in (
        ("hourly", 3),
        ("monthly", 3),
        ("shops", 1),
        ("gestures", 2),
        ("sizes", 3),
    ):
        # JSON, CSV, Arrow; covariates known ahead, and several channels, have no place in CSV
        assert f'convtimenet_batch_requests_count{{model="{name}"}} {formats}.0' in figures


@pytest.mark.parametrize(
    ("limits", "settings", "refused"),
    [
        ({}, {"seconds": 1e-6}, []),
        ({"MOST_CELLS": 70}, {}, []),
        ({"MOST_COLUMNS": 4}, {}, ["shops"]),
    ],
    ids=["slow", "rows", "channels"],
)
def test_no_limit_of_clients_stops_the_start(models, monkeypatch, limits, settings, refused):
    """A slow first answer, many kept rows or many channels ended it with a traceback."""
    for name, most in limits.items():
        monkeypatch.setattr(json_body, name, most)
        monkeypatch.setattr(warm, name, most, raising=False)
    tables = Models([one for one in models if one.name in ("shops", "monthly")])
    with Web(create_app(tables, ServeSettings(**settings))) as web:
        figures, notices = web.get("/metrics").text, web.app.state.notices
    assert 'batch_requests_count{model="monthly"} 3.0' in figures
    assert ('batch_requests_count{model="shops"} 1.0' in figures) == (not refused)
    assert [one.partition(":")[0] for one in notices] == refused
    if refused:
        assert notices[0] == (
            "shops: /forecast refuses even a small request for this model (application/json): "
            "table: expected at most 4 columns, found 5; send them in parts, or as rows of a long "
            "table"
        )


def test_a_failing_model_neither_ends_the_server_nor_says_why(models, by_name, monkeypatch):
    with Web(create_app(models)) as web:
        monkeypatch.setattr(by_name["hourly"], "predict_requests", lambda requests: [])
        body = {"model": "hourly", "table": columns(hourly())}
        assert web.post("/forecast", json=body).status_code == 500
        monkeypatch.undo()
        assert web.post("/forecast", json=body).status_code == 200
        assert web.get("/v2/health/ready").status_code == 200
        web.app.state.engine.close()
        assert web.get("/v2/health/ready").status_code == 503
        assert web.head("/v2/health/ready").status_code == 503


def test_a_model_is_chosen_by_name_or_by_task(client):
    answer = client.post("/forecast", json={"table": columns(hourly())})
    assert answer.status_code == 422
    assert "'hourly', 'monthly', 'shops'" in answer.json()["error"]["message"]
    answer = client.post("/classify", json={"model": "hourly", "cases": [[1.0]]})
    assert "POST to /forecast" in answer.json()["error"]["message"]
