"""Folders of arrays beside a video, as comma2k19 lays them out: one ``t`` and one ``value`` per sensor.

Source of the layout: the README of comma2k19 (github.com/commaai/comma2k19); its IMU axes are forward,
right, down, and its times are one clock for all sensors and for the video's frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgekit.core.errors import UserError
from edgekit.drives.clocks import rising
from edgekit.drives.tables import MAX_ROWS
from edgekit.drives.telemetry import Record, Series


class Sensor(NamedTuple):
    """A quantity, where its folder may stand, the unit, and how it is taken from ``value`` (n, k)."""

    quantity: str
    folders: tuple[str, ...]
    take: Callable[[np.ndarray], np.ndarray]


SENSORS = (
    Sensor(
        "speed_mps",
        ("CAN_speed", "processed_log/CAN/speed", "processed_log/CAN/car_speed"),
        lambda value: value[:, 0],
    ),
    # About the axis that points down, a turn to the right is positive; here left is.
    Sensor("yaw_rate_rps", ("IMU_gyro", "processed_log/IMU/gyro"), lambda value: -value[:, 2]),
    Sensor(
        "accel_mps2",
        ("IMU_accelerometer", "processed_log/IMU/accelerometer", "processed_log/IMU/acceleration"),
        lambda value: value[:, 0],
    ),
)
FRAME_TIMES = ("global_pose/frame_times", "global_pos/frame_times", "frame_times")
MAX_NUMBERS = MAX_ROWS * 4


def holds_arrays(folder: Path) -> bool:
    """Whether a folder holds the speed as arrays."""
    return any(_array(folder / name / "t") is not None for name in SENSORS[0].folders)


def read_arrays(folder: Path) -> Record:
    """The sensors that are there. ``start_s`` is the first of the frames' times, None without them.

    Raises UserError for arrays that are not numbers, of different lengths, or with times that fall back.
    """
    record = Record({}, folder.name, start_s=None)
    for sensor in SENSORS:
        for name in sensor.folders:
            place = folder / name
            if _array(place / "t") is None:
                continue
            times, value = _load(place / "t"), _load(place / "value")
            value = value.reshape(len(value), -1)
            if times.ndim != 1 or len(value) != len(times):
                raise UserError(
                    f"{place}: t and value do not go together",
                    f"t has the shape {times.shape}, value {value.shape}",
                    "write one value per time",
                )
            try:
                taken = sensor.take(value)
            except IndexError:
                raise UserError(
                    f"{place}: too few columns", f"value has {value.shape[1]}", "write forward, right, down"
                ) from None
            told = np.isfinite(times) & np.isfinite(taken)
            if not told.all():
                record.notes.append(f"{name}: {(~told).sum()} of {len(told)} values are no numbers: left out")
            kept, notes = rising(times[told], name)
            record.notes.extend(notes)
            if kept.any():
                record.series[sensor.quantity] = Series(times[told][kept], taken[told][kept])
            break
        else:
            record.notes.append(f"{folder.name} has no {sensor.quantity}")
    times = frame_times(folder)
    return record if times is None else Record(record.series, record.source, record.notes, float(times[0]))


def frame_times(folder: Path) -> np.ndarray | None:
    """When each frame was taken, in the sensors' clock: float64 (n,), strictly rising; None if not told."""
    for name in FRAME_TIMES:
        if _array(folder / name) is not None:
            times = _load(folder / name)
            if times.ndim != 1 or not len(times) or not (np.diff(times) > 0).all():
                raise UserError(
                    f"{folder / name}: not the times of frames",
                    f"shape {times.shape}, and they must rise",
                    "mend them, or leave the file out",
                )
            return times
    return None


def _array(path: Path) -> Path | None:
    """The file of an array, with or without its ending, inside its folder."""
    return next((p for p in (path.with_name(path.name + ".npy"), path) if p.is_file()), None)


def _load(path: Path) -> np.ndarray:
    """float64, never unpickled."""
    file = _array(path)
    if file is None:
        raise UserError(f"{path}: missing", "a sensor is a t and a value", "copy it in")
    try:
        with open(file, "rb") as opened:
            version = np.lib.format.read_magic(opened)
            if version == (1, 0):
                shape, _, kind = np.lib.format.read_array_header_1_0(opened)
            else:  # 3.0, with names of fields beyond Latin-1, is no array of numbers
                shape, _, kind = np.lib.format.read_array_header_2_0(opened)
            count, held = math.prod(shape), file.stat().st_size - opened.tell()
            # Before any memory is asked for: a header may claim what it likes.
            if min(shape, default=0) < 0 or count * kind.itemsize > held:
                raise ValueError(f"its header tells of {count} numbers, and {held} bytes follow it")
            if count > MAX_NUMBERS:
                raise UserError(
                    f"{file}: too long", f"{count} numbers, at most {MAX_NUMBERS}", "cut the drive in parts"
                )
            opened.seek(0)
            return np.load(opened, allow_pickle=False).astype(np.float64)
    except (ValueError, OSError, EOFError, TypeError) as error:
        raise UserError(
            f"{file}: not an array of numbers", str(error)[:200], "save it with numpy.save"
        ) from None
