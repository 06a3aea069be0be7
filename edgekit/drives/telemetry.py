"""What the vehicle measured: records at their own rates, brought to the frames' times; telemetry.csv."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.files import write_text
from edgekit.drives.align import align
from edgekit.drives.config import Reading
from edgekit.drives.tables import read_table

COLUMNS = ("t_s", "speed_mps", "yaw_rate_rps", "accel_mps2")
MEASURED = COLUMNS[1:]


class Series(NamedTuple):
    """One quantity at its sensor's own times: float64 (n,) each, finite, ``t_s`` strictly rising."""

    t_s: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Record:
    """series: quantity (of ``MEASURED``) -> Series, no key for what was not measured.

    notes: what was assumed or left out. source: the file, for messages. start_s: what its clock shows
    at the first frame, None where that is not known.
    """

    series: dict[str, Series]
    source: str
    notes: list[str] = field(default_factory=list)
    start_s: float | None = 0.0

    def at(self, times_s: np.ndarray, reading: Reading | None = None) -> Telemetry:
        """Each quantity at ``times_s``, in the record's own clock, as ``align`` does."""
        reading, times = reading or Reading(), np.asarray(times_s, dtype=np.float64)
        columns, filled = [], {}
        for name in MEASURED:
            series = self.series.get(name, _NONE)
            values, filled[name] = align(*series, times, reading.tolerance_s, reading.gap_s)
            columns.append(values)
        return Telemetry(times, *columns, filled)


_NONE = Series(np.empty(0), np.empty(0))


@dataclass(frozen=True)
class Telemetry:
    """Float64 arrays of one length (n,): ``t_s`` strictly rising, speed in m/s, yaw rate in rad/s with
    left positive, acceleration ahead in m/s². NaN where nothing was measured near enough.

    filled: quantity (of ``MEASURED``) -> bool (n,), True where its value lies in a gap of the record and
    was filled in; no key where none was.
    """

    t_s: np.ndarray
    speed_mps: np.ndarray
    yaw_rate_rps: np.ndarray
    accel_mps2: np.ndarray
    filled: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def interpolated(self) -> np.ndarray:
        """bool (n,), True where any of the quantities was filled in."""
        return np.any([np.zeros(len(self.t_s), bool), *self.filled.values()], axis=0)

    def measured(self, name: str) -> np.ndarray:
        """The values (n,) of a quantity, NaN where they were filled in, too."""
        values = getattr(self, name)
        return np.where(self.filled[name], np.nan, values) if name in self.filled else values

    def at(self, times_s: np.ndarray, reading: Reading | None = None) -> Telemetry:
        """These rows at other times of the same clock, as ``align`` does."""
        return self.record("telemetry").at(times_s, reading)

    def record(self, source: str) -> Record:
        """The rows as a Record, each quantity without its NaN."""
        series = {}
        for name in MEASURED:
            values = getattr(self, name)
            told = np.isfinite(values)
            if told.any():
                series[name] = Series(self.t_s[told], values[told])
        missing = [name for name in MEASURED if name not in series]
        notes = [f"{source} has no {' and no '.join(missing)}"] if missing else []
        return Record(series, source, notes)


def read_telemetry(path: str | Path) -> Telemetry:
    """The rows of a telemetry.csv or telemetry.parquet; a column that is not there is NaN.

    Raises UserError for what is no CSV in UTF-8 or no Parquet, for no t_s or speed_mps, no rows, what
    is no number, NaN, or times out of order. A null of Parquet is what was not measured.
    """
    rows = read_table(Path(path), COLUMNS, needed=("t_s", "speed_mps"))
    return Telemetry(*(rows[name] for name in COLUMNS))


def write_telemetry(path: str | Path, telemetry: Telemetry) -> None:
    """Times exactly, so that they still rise when they are read; the rest to six digits.

    A quantity that was not measured anywhere is no column; one that was measured in part is refused.
    """
    names = [name for name in COLUMNS if np.isfinite(getattr(telemetry, name)).any()]
    columns = [getattr(telemetry, name) for name in names]
    torn = [n for n, column in zip(names, columns, strict=True) if not np.isfinite(column).all()]
    if torn:
        raise UserError(
            f"{path}: {', '.join(torn)} is NaN in some rows", "a row of CSV holds numbers", "drop these rows"
        )
    lines = [",".join(names)]
    for t_s, *row in zip(*columns, strict=True):
        lines.append(",".join([repr(float(t_s)), *(f"{value:.6g}" for value in row)]))
    write_text(path, "\n".join(lines) + "\n")
