"""What is done with a part: read it, forecast its series and write the result, or why it failed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from convtimenet.bulk.parts import Part, column_names, read_part, read_pieces
from convtimenet.bulk.places import Place, child, make_folder, parquet_module, remove, write_bytes
from convtimenet.bulk.predictor import BulkForecaster
from convtimenet.bulk.runs import series_starts
from convtimenet.errors import ConvTimeNetError
from convtimenet.files import json_text
from convtimenet.progress import quiet
from convtimenet.wording import written_for

__all__ = ["FAILED", "Outcome", "Work"]

FAILED = "_failed"
"""The folder, in that of a job, of what failed and why."""
_HOPELESS = 16
"""Series of a part that fail before any succeeds, after which as many others, spread over the
rest, are tried: if they fail too, it is given up."""

Outcome = dict[str, Any]
"""Of a part: its name, series forecast, rows read, and why series "failed", by id."""


@dataclass(frozen=True)
class Work:
    """Read a part, forecast it and write the result; the one function that every engine maps."""

    forecaster: BulkForecaster
    folder: Place

    def __call__(self, part: Part) -> Outcome:
        # notices would repeat for every part, and there are no options to read a file anew
        with quiet(), written_for("client"):
            return self._done(part)

    def _done(self, part: Part) -> Outcome:
        self.forecaster.loaded()  # an error of the model's ends the job
        parquet = parquet_module()
        failed: dict[str, str] = {}
        found: list[Any] = []
        series = rows = 0
        future = None
        try:
            columns = self.forecaster.columns(column_names(part.pieces[0]))
            table = read_part(part, columns)
            if part.ahead:
                columns = self.forecaster.columns(column_names(part.ahead[0]), ahead=True)
                future = read_pieces(part.ahead, columns)
            starts = series_starts(table[self.forecaster.id_name])
        except (ConvTimeNetError, OSError) as error:
            failed[part.name] = str(error)
        else:
            bounds = np.append(starts, len(table))
            for first, end, forecast in self._whole(table, future, bounds, failed):
                found.append(forecast)
                series += end - first
                rows += int(bounds[end] - bounds[first])
        if failed:  # first: a part with a file and without this one is finished
            self._tell(part, failed)
        if found:
            import pyarrow as pa

            buffer = io.BytesIO()
            parquet.write_table(pa.concat_tables(found), buffer)
            write_bytes(child(self.folder, f"{part.name}.parquet"), buffer.getvalue())
        if not failed:
            remove(self._told(part))
        return {"part": part.name, "series": series, "rows": rows, "failed": failed}

    def lost(self, part: Part, ended: str) -> Outcome:
        """Record that a part ends every process that works on it, and how."""
        first, last = part.pieces[0], part.pieces[-1]
        why = (
            f"its process was killed ({ended}), also without others beside it, maybe for its "
            f"memory; {part.series} series, from row {first.start} of {first.file} to row "
            f"{last.stop - 1} of {last.file}: go on with more memory, or in another folder with "
            "fewer rows_per_part or without these series"
        )
        failed = {part.name: why}
        self._tell(part, failed)
        return {"part": part.name, "series": 0, "rows": 0, "failed": failed}

    def _told(self, part: Part) -> Place:
        """Where it says why a part failed."""
        return child(child(self.folder, FAILED), f"{part.name}.json")

    def _tell(self, part: Part, failed: dict[str, str]) -> None:
        make_folder(child(self.folder, FAILED))
        content = json_text({"part": part.name, "failed": failed}, indent=1)
        write_bytes(self._told(part), content.encode())

    def _whole(
        self, table: Any, future: Any, bounds: np.ndarray, failed: dict[str, str]
    ) -> Iterator[tuple[int, int, Any]]:
        """Forecasts of ranges of series, halved until the series that fail are alone."""
        names = table[self.forecaster.id_name]
        ranges, good, first_reason = [(0, len(bounds) - 1)], 0, ""
        while ranges:
            first, end = ranges.pop()
            try:
                forecast = self.forecaster(table[int(bounds[first]) : int(bounds[end])], future)
            except ConvTimeNetError as error:
                self.forecaster.loaded()  # again
                if end - first > 1:
                    middle = (first + end) // 2
                    ranges += [(middle, end), (first, middle)]
                    continue
                failed[str(names[int(bounds[first])].as_py())] = str(error)
                first_reason = first_reason or str(error)
                if not good and len(failed) >= _HOPELESS and end < len(bounds) - 1:
                    good += self._any(table, future, bounds, end)
                if not good and len(failed) >= _HOPELESS:
                    for begin in bounds[end:-1].tolist():
                        failed[str(names[begin].as_py())] = (
                            f"not tried, as the first {_HOPELESS} series of its part and as many "
                            f"others failed: {first_reason}"
                        )
                    return
            else:
                good += 1
                yield first, end, forecast

    def _any(self, table: Any, future: Any, bounds: np.ndarray, first: int) -> bool:
        """Whether one of some series from `first` on can be forecast."""
        last = len(bounds) - 2
        for at in np.unique(np.linspace(first, last, _HOPELESS).astype(int)).tolist():
            try:
                self.forecaster(table[int(bounds[at]) : int(bounds[at + 1])], future)
            except ConvTimeNetError:
                self.forecaster.loaded()  # again
            else:
                return True
        return False
