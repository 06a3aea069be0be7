"""A recording in MCAP as a drive: one pass for its times and motion, images decoded when asked for."""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from mcap.records import Message

from edgekit.core.errors import UserError
from edgekit.drives.clocks import LEAP_S, SET_BACK, rising
from edgekit.drives.config import Reading
from edgekit.drives.find import FOREIGN_FPS
from edgekit.drives.footage import MAX_FPS, MAX_FRAMES, Footage, Load
from edgekit.drives.mcap import Bag, Topic
from edgekit.drives.tables import MAX_ROWS
from edgekit.drives.telemetry import MEASURED, Record, Series
from edgekit.drives.topics import (
    MOTION,
    camera_of,
    fields_of,
    image_bytes,
    number_of,
    part_of,
    plain,
    sources_of,
    stamp_ns,
)
from edgekit.engine.pixels import read_image

NS = 1e-9
REST_MPS2 = 8.5  # the least that gravity shows on the axis that points up
PEEK_BYTES = 64 << 20  # how far JSON topics are looked through for fields with our names


class Log:
    """One topic's messages in order: times in ns (a stamp of 0 is none), whether they read, numbers."""

    def __init__(self, fields: dict[str, str]):
        self.fields = fields
        self.log_ns, self.stamp_ns, self.good = array("q"), array("q"), array("b")
        self.values = {name: array("d") for name in fields}

    def add(self, log_ns: int, stamp: int | None, values: dict[str, float] | None) -> None:
        """values: None where the message does not read."""
        self.log_ns.append(log_ns)
        self.stamp_ns.append(stamp or 0)
        self.good.append(values is not None)
        for name, column in self.values.items():
            column.append(values[name] if values else np.nan)

    def times(self, stamped: bool) -> np.ndarray:
        """int64 ns of the messages that read: their stamps, or when they were logged."""
        log_ns, stamp_ns = np.array(self.log_ns), np.array(self.stamp_ns)
        return np.where(stamp_ns > 0, stamp_ns, log_ns)[self.read] if stamped else log_ns[self.read]

    @property
    def read(self) -> np.ndarray:
        return np.array(self.good, bool)


def read_bag(path: Path, reading: Reading) -> tuple[Footage, Record | None]:
    """Frames and motion of an MCAP file with a camera, in one clock (see ``_stamped``). Raises UserError.

    The record is None where the file holds no motion.
    """
    bag = Bag(path)
    camera = camera_of(path, bag.topics(), reading.camera)
    logs, notes = _read(bag, camera, reading)
    frames = logs.pop(camera.name)
    if not any(frames.good):
        raise UserError(f"{path}: no frames", f"{camera.name} holds no image that reads", "check the file")
    stamped = _stamped({camera.name: frames, **logs}, reading.tolerance_s, notes)
    at = frames.times(stamped)
    kept, told = rising((at - at[0]) * NS, camera.name)
    start = int(at[kept][0])
    times = (at[kept] - start) * NS
    missing = (camera.count or 0) - len(frames.good)
    if missing > 0:
        notes.append(f"{missing} of {camera.count} messages of {camera.name} are lost")
    loads = partial(_loads, bag, camera.name, frames.log_ns, np.flatnonzero(frames.read)[kept])
    first = next(loads(0))()
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / FOREIGN_FPS
    footage = Footage(times, min(1 / step, MAX_FPS), loads, (first.shape[1], first.shape[0]), (*notes, *told))
    return footage, _record(path, logs, stamped, start)


def read_motion(path: Path, reading: Reading) -> Record:
    """telemetry.mcap: motion without a camera, from 0 at its first message. Raises UserError."""
    bag = Bag(path)
    logs, notes = _read(bag, None, reading)
    stamped = _stamped(logs, reading.tolerance_s, notes)
    starts = [int(log.times(stamped).min()) for log in logs.values() if any(log.good)]
    record = _record(path, logs, stamped, min(starts, default=0))
    if record is None or "speed_mps" not in record.series:
        raise UserError(
            f"{path}: no speed in it",
            f"it holds {', '.join(f'{t.name} ({t.schema})' for t in bag.topics()[:12]) or 'no topics'}",
            f"record one of {', '.join(MOTION)}, or fields named {', '.join(MEASURED)}",
        )
    return Record(record.series, record.source, notes + record.notes, None)


def _read(bag: Bag, camera: Topic | None, reading: Reading) -> tuple[dict[str, Log], list[str]]:
    """One pass over the camera's topic and those that the motion is taken from."""
    sources, notes = sources_of(bag.path, _fields(bag), reading.speed)
    logs = {camera.name: Log({})} if camera else {}
    for topic in {source.topic for source in sources.values()}:
        fields = {quantity: source.field for quantity, source in sources.items() if source.topic == topic}
        if any(field.startswith("angular_velocity") for field in fields.values()):
            fields |= {axis: f"linear_acceleration.{axis}" for axis in "xyz"}
        logs[topic] = Log(fields)
    lost: list[str] = []
    for topic, message in bag.messages(set(logs), notes=lost):
        log, frame = logs[topic], camera is not None and topic == camera.name
        try:
            decoded = bag.decode(message)
        except ValueError:
            log.add(message.log_time, None, None)
            continue
        values = {name: number_of(decoded, field) for name, field in log.fields.items()}
        whole = all(value is not None and np.isfinite(value) for value in values.values())
        whole &= not frame or bool(part_of(decoded, "data"))
        log.add(message.log_time, stamp_ns(decoded), values if whole else None)
        if len(log.good) > (MAX_FRAMES if frame else MAX_ROWS):
            raise UserError(f"{bag.path}: too long", f"{topic} has over {len(log.good)}", "cut it in parts")
    for topic, log in logs.items():
        if not all(log.good):
            notes.append(f"{topic}: {log.good.count(0)} of {len(log.good)} messages do not read: left out")
    return logs, list(dict.fromkeys([*bag.notes, *lost, *notes]))


def _fields(bag: Bag) -> dict[Topic, dict[str, str]]:
    """Topic -> quantity -> field, of the topics that tell of the motion."""
    topics = bag.topics()
    json = {topic.name for topic in topics if topic.encoding == "json" and plain(topic.schema) not in MOTION}
    samples, seen = {}, 0
    for name, message in bag.messages(json) if json else ():
        seen += len(message.data)
        if name not in samples:
            try:
                samples[name] = bag.decode(message)
            except ValueError:
                continue
        if len(samples) == len(json) or seen > PEEK_BYTES:
            break
    found = {topic: fields_of(topic, bag.definition(topic), samples.get(topic.name)) for topic in topics}
    return {topic: fields for topic, fields in found.items() if fields}


def _stamped(logs: dict[str, Log], tolerance_s: float, notes: list[str]) -> bool:
    """Whether the stamps in the messages are the clock; else it is the time at which they were logged.

    Stamps are when something was measured, and a topic without any takes part with its log times. They
    are not used, and a note says so, where some messages of a topic lack one, where they fall back or
    leap further than the log times do, or where two topics' stamps stand further apart than
    ``tolerance_s``, each seen from its log times.
    """
    offsets, why = {}, None
    for topic, log in logs.items():
        stamps, log_ns = np.array(log.stamp_ns)[log.read], log.times(False)
        if not stamps.any():
            if len(stamps):
                offsets[topic] = 0.0
            continue
        steps, usual = np.diff(stamps) * NS, np.diff(log_ns) * NS
        if not stamps.all():
            why = f"{topic}: {int((stamps == 0).sum())} messages carry none"
        elif len(steps) and (steps.min() <= -LEAP_S or (steps < 0).sum() > max(1, SET_BACK * len(steps))):
            why = f"{topic}: they fall back by {-steps.min():.2f} s"
        elif len(steps) and steps.max() > usual.max() + LEAP_S:
            why = f"{topic}: they leap by {steps.max():.2f} s and the log does not"
        offsets[topic] = float(np.median(stamps - log_ns)) * NS
    if not any(any(log.stamp_ns) for log in logs.values()):
        return False
    if why is None and max(offsets.values()) - min(offsets.values()) > tolerance_s:
        early, late = min(offsets, key=offsets.get), max(offsets, key=offsets.get)
        why = f"{early} and {late} stand {offsets[late] - offsets[early]:.2f} s apart"
    if why is not None:
        notes.append(f"the stamps in the messages are not used, but the times of the log ({why})")
    return why is None


def _record(path: Path, logs: dict[str, Log], stamped: bool, start_ns: int) -> Record | None:
    """Motion in seconds from ``start_ns``; None where there is none."""
    record = Record({}, path.name)
    for topic, log in logs.items():
        if not any(log.good):
            continue
        kept, notes = rising((log.times(stamped) - start_ns) * NS, topic)
        record.notes.extend(notes)
        times = ((log.times(stamped) - start_ns) * NS)[kept]
        columns = {name: np.array(column)[log.read][kept] for name, column in log.values.items()}
        tilt = {axis: float(np.abs(columns[axis].mean())) for axis in "xyz" if axis in columns}
        if tilt and max(tilt.values()) > REST_MPS2 and max(tilt, key=tilt.get) != "z":
            record.notes.append(
                f"{topic} is not mounted with z up (gravity is on {max(tilt, key=tilt.get)}): not taken"
            )
            continue
        for quantity in MEASURED:
            if quantity in columns:
                record.series[quantity] = Series(times, columns[quantity])
    missing = [name for name in MEASURED if name not in record.series]
    if missing and record.series:
        record.notes.append(f"{path.name} has no {' and no '.join(missing)}")
    return record if record.series else None


def _loads(bag: Bag, topic: str, log_ns: array, kept: np.ndarray, start: int) -> Iterator[Load]:
    """kept: which of the topic's messages are frames; ``log_ns`` of all of them, in the order they come."""
    if start >= len(kept):
        return
    times = np.array(log_ns)
    # An indexed file is read from the first message of that time on.
    first = int(np.searchsorted(times, times[kept[start]])) if bag.summary else 0
    after = int(times[first]) if bag.summary else 0
    wanted = np.zeros(len(times), bool)
    wanted[kept[start:]] = True
    for number, (_, message) in enumerate(bag.messages({topic}, after), start=first):
        if wanted[number]:
            yield partial(_image, bag, topic, number, message)


def _image(bag: Bag, topic: str, number: int, message: Message) -> np.ndarray:
    """RGB uint8 (H, W, 3)."""
    try:
        return read_image(io.BytesIO(image_bytes(bag.decode(message))))
    except (UserError, ValueError, SyntaxError) as error:  # Pillow raises the latter two on broken headers
        why = error.why if isinstance(error, UserError) else str(error)
        raise UserError(
            f"{bag.path}: message {number} of {topic} is no image that reads", why, "check that message"
        ) from None
