"""telemetry.csv: what the vehicle measured, at its own rate, brought to the frames' times."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.files import write_text

COLUMNS = ("t_s", "speed_mps", "yaw_rate_rps", "accel_mps2")
GAP_S = 0.5  # a frame further than this from the nearest row has no measured speed
EPSILON_S = 1e-6  # rows of 1 Hz are 0.5 s away, and floating point may say a little more
MAX_ROWS = 5_000_000


@dataclass(frozen=True)
class Telemetry:
    """Four float64 arrays of one length; ``t_s`` strictly rising."""

    t_s: np.ndarray
    speed_mps: np.ndarray
    yaw_rate_rps: np.ndarray
    accel_mps2: np.ndarray

    def at(self, times_s: np.ndarray) -> Telemetry:
        """Linear interpolation to ``times_s``; NaN where the nearest row lies more than GAP_S away."""
        times = np.asarray(times_s, dtype=np.float64)
        after = np.searchsorted(self.t_s, times).clip(max=len(self.t_s) - 1)
        before = (after - 1).clip(min=0)
        nearest = np.minimum(np.abs(times - self.t_s[before]), np.abs(times - self.t_s[after]))
        beyond = nearest > GAP_S + EPSILON_S
        columns = []
        for name in COLUMNS[1:]:
            values = np.interp(times, self.t_s, getattr(self, name))
            values[beyond] = np.nan
            columns.append(values)
        return Telemetry(times, *columns)


def read_telemetry(path: str | Path) -> Telemetry:
    """Raises UserError for what is no CSV in UTF-8, missing columns, no rows, what is no number, NaN, or
    times out of order."""
    try:
        rows = _rows(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8", str(error), "save it again") from None
    if not rows:
        raise UserError(
            f"{path}: empty", "a header and no rows", "leave the file out if nothing was measured"
        )
    table = np.array(rows)
    wrong = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{path}:{wrong[0] + 2}: NaN or infinite",
            f"{len(wrong)} of {len(table)} rows hold no finite number",
            f"drop these rows: up to {GAP_S:g} s from another row is interpolated",
        )
    back = np.flatnonzero(np.diff(table[:, 0]) <= 0)
    if len(back):
        raise UserError(
            f"{path}:{back[0] + 3}: times do not rise",
            f"t_s {table[back[0] + 1, 0]} follows {table[back[0], 0]}",
            "sort the rows by t_s and keep one row per time",
        )
    return Telemetry(*table.T)


def _rows(path: str | Path) -> list[list[float]]:
    """The columns of COLUMNS, row by row."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            raise UserError(
                f"{path}: columns are missing",
                f"no {', '.join(missing)}; found {', '.join(reader.fieldnames or ['nothing'])}",
                f"write the header {','.join(COLUMNS)} (seconds, m/s, rad/s, m/s²)",
            )
        rows = []
        for number, row in enumerate(reader, start=2):
            try:
                rows.append([float(row[name]) for name in COLUMNS])
            except (TypeError, ValueError):
                raise UserError(
                    f"{path}:{number}: not a row of numbers", str(list(row.values()))[:120], "mend the row"
                ) from None
            if len(rows) > MAX_ROWS:
                raise UserError(f"{path}: too long", f"more than {MAX_ROWS} rows", "cut the drive in parts")
    return rows


def write_telemetry(path: str | Path, telemetry: Telemetry) -> None:
    """Times exactly, so that they still rise when they are read; the rest to six digits."""
    lines = [",".join(COLUMNS)]
    for t_s, *row in zip(*(getattr(telemetry, name) for name in COLUMNS), strict=True):
        lines.append(",".join([repr(float(t_s)), *(f"{value:.6g}" for value in row)]))
    write_text(path, "\n".join(lines) + "\n")
