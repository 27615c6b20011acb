"""Jobs of a model that reads covariates known ahead: each part is given the rows of its series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from long_tables import long_table, names

from convtimenet import BulkForecaster, ConvTimeNetForecaster, predict_parquet
from convtimenet.bulk.parts import _matched
from convtimenet.cli.main import main
from convtimenet.errors import ConfigError, DataError

ROWS, H = 60, 4


def _with_promo(ids: list, rows: int = ROWS) -> pa.Table:
    """Series whose covariates count."""
    table = long_table(ids, rows + H)
    promo = np.random.default_rng(1).integers(0, 2, len(table)).astype(float)
    kinds = np.array(["none", "price", "gift"])[(np.arange(len(table)) * 7) % 5 % 3]
    y = table["y"].to_numpy() + 10 * promo + 5 * (kinds == "gift")
    table = table.set_column(2, "y", pa.array(y))
    return table.append_column("promo", pa.array(promo)).append_column("kind", pa.array(kinds))


def _cut(ids: list) -> tuple[pa.Table, pa.Table]:
    """The rows of series, and those ahead of them."""
    table = _with_promo(ids)
    past = np.arange(len(table)) % (ROWS + H) < ROWS
    return table.filter(pa.array(past)), table.filter(pa.array(~past)).drop_columns(["y"])


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> ConvTimeNetForecaster:
    model = ConvTimeNetForecaster(
        h=H, quality="fast", futr_exog=["promo", "kind"], verbose=0, device="cpu"
    )
    model.fit(_cut(names(0, 20))[0])
    model.save(tmp_path_factory.mktemp("ahead") / "model")
    return model


@pytest.fixture
def folder(model: ConvTimeNetForecaster, tmp_path: Path) -> Path:
    return model.save(tmp_path / "model")


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    pq.write_table(_cut(names(10, 22))[0], tmp_path / "sales.parquet", row_group_size=100)
    return tmp_path / "sales.parquet"


def _run(folder: Path, sales: Path, plan: Path | None, out: Path, **settings):
    return predict_parquet(
        folder, sales, out, future=plan, rows_per_part=200, verbose=0, **settings
    )


def _expected(model: ConvTimeNetForecaster, ids: list, level: list | None = None) -> pa.Table:
    past, ahead = _cut(names(10, 22))
    return model.predict(_of(past, ids), _of(ahead, ids), level=level)


def test_the_forecasts_are_those_of_the_whole_table(model, folder, sales, tmp_path) -> None:
    """The plan is in two files that cut a series, has series of its own and columns in plenty."""
    plan = tmp_path / "plan"
    plan.mkdir()
    _, ahead = _cut(names(10, 22))
    _, others = _cut(names(60, 63))
    ahead = pa.concat_tables([ahead[:28], others[:8], ahead[28:], others[8:]])
    ahead = ahead.append_column("note", pa.array(["x"] * len(ahead)))
    pq.write_table(ahead[:41], plan / "a.parquet", row_group_size=10)
    pq.write_table(ahead[41:], plan / "b.parquet", row_group_size=10)
    found = _run(folder, sales, plan, tmp_path / "out", level=[80])
    assert (found.parts, found.done, found.series, found.failed) == (4, 4, 12, {})
    forecasts, whole = pq.read_table(tmp_path / "out"), _expected(model, names(10, 22), [80])
    assert forecasts.schema.equals(whole.schema)
    assert forecasts.select([0, 1]).equals(whole.select([0, 1]))
    for name in whole.column_names[2:]:
        np.testing.assert_allclose(forecasts[name], whole[name], rtol=1e-5)
    other = model.predict(_cut(names(10, 22))[0], _flipped(_cut(names(10, 22))[1]))
    assert np.abs(np.subtract(other["ConvTimeNet"], whole["ConvTimeNet"])).min() > 1


def _of(table: pa.Table, ids: list) -> pa.Table:
    return table.filter(pa.array([one in ids for one in table["unique_id"].to_pylist()]))


def _flipped(ahead: pa.Table) -> pa.Table:
    return ahead.set_column(2, "promo", pa.array(1 - ahead["promo"].to_numpy()))


def test_series_without_rows_ahead_fail_alone(model, folder, sales, tmp_path) -> None:
    _, ahead = _cut(names(10, 22))
    lacking = [*names(10, 14), "s0016"]  # all of the first part, and one of the next
    others = [name for name in names(10, 22) if name not in lacking]
    plan, out = tmp_path / "plan.parquet", tmp_path / "out"
    pq.write_table(_of(ahead, others), plan)
    found = _run(folder, sales, plan, out)
    assert sorted(found.failed) == lacking
    assert all("values of 'promo', 'kind' are needed" in why for why in found.failed.values())
    assert all(f"in the series '{name}'" in why for name, why in found.failed.items())
    whole = _expected(model, others)
    forecasts = pq.read_table(out)
    assert forecasts["unique_id"].equals(whole["unique_id"])
    np.testing.assert_allclose(forecasts["ConvTimeNet"], whole["ConvTimeNet"], rtol=1e-5)
    pq.write_table(ahead, plan)
    with pytest.raises(ConfigError, match="another job: the rows ahead, by their files' sizes"):
        _run(folder, sales, plan, out)


def test_the_same_command_goes_on(folder, sales, tmp_path) -> None:
    plan, out = tmp_path / "plan.parquet", tmp_path / "out"
    pq.write_table(_cut(names(10, 22))[1], plan)
    _run(folder, sales, plan, out)
    whole = (out / "part-000001.parquet").read_bytes()
    (out / "part-000001.parquet").unlink()
    again = _run(folder, sales, plan, out)
    assert (again.done, again.skipped) == (1, 3)
    assert (out / "part-000001.parquet").read_bytes() == whole


@pytest.mark.parametrize("whole", [True, False])
def test_ids_may_have_another_type(model, tmp_path, whole) -> None:
    """Whole numbers in one source, text or other numbers in the other."""
    tables = [one.to_pandas() for one in _cut(names(10, 16))]
    for of, kind in zip(tables, (int, "int32" if whole else str), strict=True):
        of["unique_id"] = of["unique_id"].str[1:].astype(int).astype(kind)
    folder = model.save(tmp_path / "model")
    tables[0].to_parquet(tmp_path / "sales.parquet")
    tables[1].to_parquet(tmp_path / "plan.parquet")
    found = _run(folder, tmp_path / "sales.parquet", tmp_path / "plan.parquet", tmp_path / "out")
    assert (found.series, found.failed) == (6, {})
    expected = model.predict(*tables)["ConvTimeNet"]
    forecasts = pq.read_table(tmp_path / "out")
    np.testing.assert_allclose(forecasts["ConvTimeNet"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("ids", "plan", "at"),
    [
        (["01", "02", "03"], [1, 3], [0, -1, 1]),
        ([1, 2, 3], ["3", "2.0"], [-1, 1, 0]),
        (["a", "b"], ["b", "A", "c"], [-1, 0]),
        ([1, 2], pa.array([2, 1], pa.int32()), [1, 0]),
        (["01", "1"], [1], [-1, 0]),
    ],
)
def test_ids_are_matched_by_value(ids, plan, at) -> None:
    """As those of a frame are."""
    found = _matched(pa.chunked_array([pa.array(ids)]), pa.chunked_array([pa.array(plan)]))
    assert found.tolist() == at


def test_wrong_rows_ahead_are_refused(folder, sales, tmp_path) -> None:
    plan, out = tmp_path / "plan.parquet", tmp_path / "out"
    _, ahead = _cut(names(10, 22))
    pq.write_table(ahead, plan)
    with pytest.raises(ConfigError, match="reads 'promo', 'kind' of the rows ahead, found no"):
        _run(folder, sales, None, out)
    with pytest.raises(ConfigError, match="h, the steps"):
        _run(folder, sales, plan, out, h=0)
    assert not out.exists()
    pq.write_table(pa.concat_tables([ahead[4:], ahead[:4]]), plan)
    with pytest.raises(DataError, match="the order of those to forecast, found 's0011' before"):
        _run(folder, sales, plan, out)
    pq.write_table(_cut(names(40, 42))[1], plan)
    with pytest.raises(DataError, match=r"such as 's0010', found none, but rows of 's0040'"):
        _run(folder, sales, plan, out)
    pq.write_table(ahead.drop_columns("kind"), plan)
    with pytest.raises(DataError, match=r"plan\.parquet: expected the covariates 'kind' of the"):
        _run(folder, sales, plan, out)


def test_a_stream_has_no_rows_ahead(folder) -> None:
    frames = [_cut(names(10, 12))[0].to_pandas()]
    with pytest.raises(ConfigError, match=r"'promo', 'kind' .* a stream does not have; call the"):
        next(BulkForecaster(folder).stream(frames))


def test_the_object_takes_the_rows_ahead(model, folder) -> None:
    past, ahead = _cut(names(10, 14))
    forecaster = BulkForecaster(folder, level=[80])
    assert forecaster(past, ahead).equals(model.predict(past, ahead, level=[80]))
    assert forecaster(past[:0], ahead).schema.equals(forecaster(past, ahead).schema)
    with pytest.raises(ConfigError, match="reads 'promo', 'kind' of the rows ahead"):
        forecaster(past)


def test_the_command_takes_them(model, folder, sales, tmp_path, capsys) -> None:
    plan, out = tmp_path / "plan.parquet", tmp_path / "out"
    pq.write_table(_cut(names(10, 22))[1], plan)
    given = ["predict", str(folder), str(sales), "--out", str(out), "--quiet"]
    assert main([*given, "--future", str(plan)]) == 0
    assert "12 series of 720 rows" in " ".join(capsys.readouterr().out.split())
    whole = _expected(model, names(10, 22))
    assert pq.read_table(out).equals(whole)
    assert main(given) == 2
    assert "found no such rows; give them as future" in " ".join(capsys.readouterr().err.split())


@pytest.mark.scale
@pytest.mark.parametrize(
    ("engine", "package"), [("ray", "ray.data"), ("spark", "pyspark"), ("dask", "distributed")]
)
def test_with_an_engine(folder, sales, tmp_path, engine, package) -> None:
    pytest.importorskip(package, reason=f"runs in .cache/{engine}-venv: make scale")
    plan = tmp_path / "plan.parquet"
    pq.write_table(_cut(names(10, 22))[1], plan)
    _run(folder, sales, plan, tmp_path / "alone")
    assert _run(folder, sales, plan, tmp_path / engine, engine=engine, workers=2).done == 4
    files = sorted(path.name for path in (tmp_path / "alone").glob("*.parquet"))
    assert len(files) == 4
    for name in files:
        assert (tmp_path / engine / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
