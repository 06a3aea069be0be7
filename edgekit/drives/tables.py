"""Telemetry as a table, CSV or Parquet: columns by name, times that rise, numbers that are numbers."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.core.errors import UserError

MAX_ROWS = 5_000_000
UNITS = "seconds, m/s, rad/s with left positive, m/s²"


def read_table(path: Path, columns: Sequence[str], needed: Sequence[str]) -> dict[str, np.ndarray]:
    """Column -> float64 (n,); NaN throughout where it is not there, and where Parquet has a null.

    The first column is the time and rises strictly. Raises UserError.
    """
    parquet = path.suffix == ".parquet"
    try:
        table = _parquet(path, columns, needed) if parquet else _csv(path, columns, needed)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8", str(error), "save it again") from None
    times = table[columns[0]]
    if not len(times):
        raise UserError(
            f"{path}: empty", "a header and no rows", "leave the file out if nothing was measured"
        )
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        row = back[0] + (1 if parquet else 3)
        raise UserError(
            f"{path}:{row}: times do not rise",
            f"{columns[0]} {times[back[0] + 1]} follows {times[back[0]]}; so in {len(back)} rows",
            "sort the rows by time and keep one row per time; where a clock was set back, cut the drive there",
        )
    return table


def _named(path: Path, found: Sequence[str], columns: Sequence[str], needed: Sequence[str]) -> list[str]:
    """The columns that are there. Raises UserError where a needed one is not."""
    missing = [name for name in needed if name not in found]
    if missing:
        kmh = [name for name in found if "kmh" in name.lower() or "km/h" in name.lower()]
        raise UserError(
            f"{path}: columns are missing",
            f"no {', '.join(missing)}; found {', '.join(found) or 'nothing'}",
            f"divide {kmh[0]} by 3.6 and name it speed_mps"
            if kmh and missing == ["speed_mps"]
            else f"write the columns {','.join(columns)} ({UNITS})",
        )
    return [name for name in columns if name in found]


def _check_finite(path: Path, rows: np.ndarray, first: int) -> None:
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{path}:{wrong[0] + first}: NaN or infinite",
            f"{len(wrong)} of {len(rows)} rows hold no finite number",
            "drop these rows: a short gap between two rows is interpolated",
        )


def header_of(path: Path, reader: csv.DictReader) -> list[str]:
    """The columns' names without the blanks around them, from here on the reader's too.

    Raises UserError where no commas part them: spreadsheets of many countries write semicolons, and 1,5 for 1.5.
    """
    header = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
    for mark, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise UserError(
                f"{path}: its columns are not parted by commas",
                f"its header, {header[0][:80]!r}, has {called} instead",
                "save it with commas between columns and points in numbers (0.2,8.5)",
            )
    return header


def _too_long(path: Path) -> UserError:
    return UserError(f"{path}: too long", f"more than {MAX_ROWS} rows", "cut the drive in parts")


def _csv(path: Path, columns: Sequence[str], needed: Sequence[str]) -> dict[str, np.ndarray]:
    """UTF-8, with or without the byte-order mark that spreadsheets write."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = _named(path, header_of(path, reader), columns, needed)
        flat = array("d")
        for number, row in enumerate(reader, start=2):
            try:
                flat.extend([float(row[name]) for name in names])
            except (TypeError, ValueError):
                raise UserError(
                    f"{path}:{number}: not a row of numbers", str(list(row.values()))[:120], "mend the row"
                ) from None
            if number > MAX_ROWS + 1:
                raise _too_long(path)
    rows = np.frombuffer(flat, np.float64).reshape(-1, len(names))
    _check_finite(path, rows, first=2)
    nothing = np.full(len(rows), np.nan)
    return {name: rows[:, names.index(name)].copy() if name in names else nothing for name in columns}


def _parquet(path: Path, columns: Sequence[str], needed: Sequence[str]) -> dict[str, np.ndarray]:
    """Batch by batch, so that the memory is that of the float64 columns."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(
            f"{path}: Parquet is not read without pyarrow",
            "it is not installed",
            "pip install 'edgekit[parquet]'",
        ) from None
    try:
        with pq.ParquetFile(path) as file:
            names = _named(path, file.schema_arrow.names, columns, needed)
            if file.metadata.num_rows > MAX_ROWS:
                raise _too_long(path)
            parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
            for batch in file.iter_batches(columns=names):
                for name in names:
                    parts[name].append(_floats(batch.column(batch.schema.get_field_index(name)), pa))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: not a Parquet file of numbers", str(error)[:200], "save it again") from None
    count = sum(len(part) for part in parts[names[0]])
    table = {
        name: np.concatenate(parts[name]) if parts.get(name) else np.full(count, np.nan) for name in columns
    }
    if not np.isfinite(table[columns[0]]).all():
        raise UserError(f"{path}: a row without a time", f"{columns[0]} is null or NaN", "drop these rows")
    return table


def _floats(column, pa) -> np.ndarray:
    """A column as float64; null is NaN, a timestamp is seconds since 1970."""
    scale = 1.0
    if pa.types.is_timestamp(column.type):
        scale = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[column.type.unit]
        column = column.cast(pa.int64())
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64) * scale
    if np.isnan(values).sum() > column.null_count or np.isinf(values).any():
        raise ValueError("a number is NaN or infinite; write null for what was not measured")
    return values
