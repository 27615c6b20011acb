"""Small series that no choice has seen: the default beside exponential smoothing and Theta.

    python benchmarks/evidence/fresh_series.py --json benchmarks/results/fresh-series.json

Yearly, quarterly, monthly, weekly and business-daily series and panels of packages that ship them,
other ones than those of small_series.py, which were there when the smoothing was built. Read when
it was finished; nothing was changed for them. Three cut-offs each, as there; yearly ones hold out
five years. docs/evidence/marks.md quotes the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from peers import statistical
from record import start_record, write_record
from small_series import HORIZONS, Source, cut_off, macro_column, r_column, tsdata_frame

from convtimenet.bench.models import Fitted, forecaster
from convtimenet.bench.problems import ForecastProblem

CUTS = (1, 2, 3)
FEWEST = 12  # rows before a cut-off
MODELS: dict[str, Callable[[ForecastProblem, int], Fitted]] = {
    "fast": lambda problem, seed: forecaster(problem, seed, preset="auto", quality="fast"),
    "auto": lambda problem, seed: forecaster(problem, seed, preset="auto"),
    "AutoETS": statistical.auto_ets,
    "AutoTheta": statistical.auto_theta,
}


def _of(name: str, column: str, **where: str) -> Callable[[], Any]:
    """A column of a table of tsdata without its gaps, of the rows where other columns match."""

    def read() -> Any:
        frame = tsdata_frame(f"fpp3/{name}")
        for key, value in where.items():
            frame = frame[frame[key] == value]
        return frame[column].dropna()

    return read


def _panel(name: str, time: str, ids: list[str], value: str) -> Callable[[], Any]:
    """Series of a long table as columns, those with every value above 0 in it."""

    def read() -> Any:
        frame = tsdata_frame(f"fpp3/{name}")
        if time == "Month":  # sorted as months, not as text
            frame[time] = pd.PeriodIndex(frame[time], freq="M")
        wide = frame.pivot_table(index=time, columns=ids, values=value, aggfunc="sum")
        return wide.loc[:, wide.notna().all() & (wide > 0).all()]

    return read


_R = {
    "YS": [
        *[("datasets", name) for name in ("airmiles", "LakeHuron", "lynx", "nhtemp", "Nile")],
        *[("fpp2", name) for name in ("ausair", "austa", "guinearice", "livestock", "marathon")],
        *[("fpp2", name) for name in ("maxtemp", "oil", "wmurders")],
        *[("AER", name) for name in ("MotorCycles", "MotorCycles2")],
        ("datasets", "sunspot.year"),
    ],
    "QS": [("AER", "ArgentinaCPI"), ("AER", "UKNonDurables"), ("fpp2", "austourists")],
    "MS": [
        *[("AER", name) for name in ("BondYield", "DutchSales")],
        *[("boot", "manaus"), ("datasets", "USAccDeaths"), ("forecast", "wineind")],
        *[("fpp2", name) for name in ("debitcards", "elecequip")],
        *[("DAAG", "mdbAVtJtoD"), ("datasets", "sunspot.month")],
    ],
    "W-SUN": [("AER", "DJFranses"), ("quantreg", "gasprice")],
}
_COUNTRIES = ("Australia", "China", "Algeria", "United States", "India", "Brazil")
_ORIGINS = ("Japan", "NZ", "UK", "US")


def sources() -> Iterator[tuple[str, Source]]:
    """The series by name. Their stamps count from 1950; what they measure begins elsewhere."""

    def dated(read: Callable[[], Any], freq: str) -> Source:
        return Source(read, "1950-01-01", freq)

    for freq, items in _R.items():
        for package, name in items:
            yield name, dated(r_column(package, name), freq)
    for country in _COUNTRIES:
        for what in ("GDP", "Exports"):
            read = _of("global_economy", what, Country=country)
            yield f"{what} of {country}", dated(read, "YS")
    for goods in ("eggs", "copper", "wheat"):
        yield f"price of {goods}", dated(_of("prices", goods), "YS")
    for origin in _ORIGINS:
        yield f"arrivals from {origin}", dated(_of("aus_arrivals", "Arrivals", Origin=origin), "QS")
    for goods in ("Tobacco", "Bricks", "Electricity"):
        yield f"production of {goods}", dated(_of("aus_production", goods), "QS")
    for what in ("realcons", "realinv", "unemp", "cpi", "m1", "tbilrate"):
        yield what, dated(macro_column(what), "QS")
    yield "insurance", dated(_of("insurance", "Quotes"), "MS")
    for share in ("AAPL", "AMZN"):
        yield share, dated(_of("gafa_stock", "Close", Symbol=share), "B")
    prison = ["State", "Gender", "Legal", "Indigenous"]
    yield "panel: prison", dated(_panel("prison", "Quarter", prison, "Count"), "QS")
    yield "panel: PBS", dated(_panel("PBS", "Month", ["ATC2"], "Scripts"), "MS")
    yield "panel: GDP", dated(_panel("global_economy", "Year", ["Country"], "GDP"), "YS")
    yield (
        "panel: accommodation",
        dated(_panel("aus_accommodation", "Date", ["State"], "Takings"), "QS"),
    )
    livestock = _panel("aus_livestock", "Month", ["Animal", "State"], "Count")
    yield "panel: livestock", dated(livestock, "MS")


def main() -> None:
    """Measure and write."""
    path = start_record(__doc__)
    statistical.warm_up("")
    lines = []
    for name, source in sources():
        for cut in CUTS:
            problem = cut_off(name, source, cut, "honest")
            rows, channels = problem.valid_end, len(problem.table.channels)
            if rows < FEWEST:
                continue
            naive = problem.scores(problem.naive())["mase"]
            line = {"series": name, "cut": cut, "frequency": source.freq, "rows": rows}
            line |= {"channels": channels, "horizon": HORIZONS[source.freq], "naive": naive}
            for model, fit in MODELS.items():
                begin = time.process_time()
                fitted = fit(problem, 2023)
                taken = round(time.process_time() - begin, 2)
                line[model] = {"mase": problem.scores(fitted.predict())["mase"], "fit_cpu_s": taken}
            lines.append(line)
        print(name, {model: round(lines[-1][model]["mase"], 3) for model in MODELS}, flush=True)
    write_record(path, lines=lines)


if __name__ == "__main__":
    main()
