"""Which topics of an MCAP file are the camera and the vehicle's motion, and what their messages hold."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgekit.core.errors import UserError, suggestion
from edgekit.drives.telemetry import MEASURED

if TYPE_CHECKING:
    from edgekit.drives.mcap import Topic

CAMERAS = {"sensor_msgs/CompressedImage", "foxglove.CompressedImage"}
TWIST = {"speed_mps": "twist.linear.x", "yaw_rate_rps": "twist.angular.z"}
# schema -> quantity -> field, in the axes of REP 103: x ahead, z up (so that left is positive)
MOTION = {
    "nav_msgs/Odometry": {name: f"twist.{field}" for name, field in TWIST.items()},
    "geometry_msgs/TwistStamped": TWIST,
    "sensor_msgs/Imu": {"yaw_rate_rps": "angular_velocity.z", "accel_mps2": "linear_acceleration.x"},
}
# Which source of a quantity is taken where there are several.
RANK = {  # "": fields with our names
    "speed_mps": ("", "nav_msgs/Odometry", "geometry_msgs/TwistStamped"),
    "yaw_rate_rps": ("", "sensor_msgs/Imu", "nav_msgs/Odometry", "geometry_msgs/TwistStamped"),
    "accel_mps2": ("", "sensor_msgs/Imu"),
}


class Source(NamedTuple):
    """A quantity's topic and the field in its messages."""

    topic: str
    field: str


def plain(schema: str) -> str:
    """``sensor_msgs/msg/Imu`` of ROS 2 and ``sensor_msgs/Imu`` of ROS 1 are one."""
    return schema.replace("/msg/", "/")


def camera_of(path: Path, topics: Sequence[Topic], asked: str | None) -> Topic:
    """The camera's topic. Raises UserError where there is none, or several and none is asked for."""
    cameras = [topic for topic in topics if plain(topic.schema) in CAMERAS]
    if asked is not None:
        found = [topic for topic in cameras if topic.name == asked]
        if found:
            return found[0]
        there = [topic.schema or topic.encoding for topic in topics if topic.name == asked]
        raise UserError(
            f"{path}: no camera {asked!r}",
            f"that topic holds {there[0]}, not compressed images"
            if there
            else f"no such topic; {suggestion(asked, [topic.name for topic in cameras])}",
            f"set reading.camera to one of: {_list(cameras) or 'none is in it'}",
        )
    if not cameras:
        raise UserError(
            f"{path}: no camera in it",
            f"no topic of {' or '.join(sorted(CAMERAS))}; it holds {_list(topics) or 'no topics'}",
            "record compressed images, or name it telemetry.mcap beside a video",
        )
    if len(cameras) > 1:
        raise UserError(
            f"{path}: {len(cameras)} cameras in it",
            _list(cameras),
            f"set reading.camera to one of them, e.g. reading.camera={cameras[0].name}",
        )
    return cameras[0]


def sources_of(
    path: Path, fields: dict[Topic, dict[str, str]], speed: str | None
) -> tuple[dict[str, Source], list[str]]:
    """(quantity -> Source, notes on what was taken of several). Raises UserError for an unknown topic.

    fields: topic -> quantity -> field, as ``fields_of`` finds them. speed: the topic asked for.
    """
    taken, notes = {}, []
    for quantity in MEASURED:
        offers = [topic for topic, found in fields.items() if quantity in found]
        if quantity == "speed_mps" and speed is not None:
            asked = [topic for topic in offers if topic.name == speed]
            if not asked:
                raise UserError(
                    f"{path}: no speed in {speed!r}",
                    f"topics with a speed: {_list(offers) or 'none'}",
                    "set reading.speed to one of them, or leave it out",
                )
            offers = asked
        if not offers:
            continue
        offers.sort(key=lambda topic: (_rank(quantity, topic), topic.name))
        first = offers[0]
        taken[quantity] = Source(first.name, fields[first][quantity])
        if len(offers) > 1:
            others = ", ".join(topic.name for topic in offers[1:])
            more = " (reading.speed takes another)" if quantity == "speed_mps" else ""
            notes.append(f"{quantity} is taken from {first.name}, not from {others}{more}")
    return taken, notes


def fields_of(topic: Topic, definition: bytes, sample: Any) -> dict[str, str]:
    """quantity -> field of a topic, by its schema; of a schema that is not known here, by fields with
    our names: in its ``definition`` (ROS 2, protobuf), or in ``sample``, a message (JSON)."""
    if plain(topic.schema) in MOTION:
        return MOTION[plain(topic.schema)]
    if topic.encoding == "json":
        return {name: name for name in MEASURED if number_of(sample, name) is not None}
    return {name: name for name in MEASURED if name.encode() in definition}


def number_of(message: Any, field: str) -> float | None:
    """A field such as ``twist.linear.x`` as a float, None where it is not there or no number."""
    for name in field.split("."):
        message = part_of(message, name)
    if isinstance(message, bool) or not isinstance(message, int | float):
        return None
    return float(message)


def part_of(message: Any, name: str) -> Any:
    """A named part of a JSON object, or of a ROS 2 or protobuf message; None where it is not there."""
    return message.get(name) if isinstance(message, dict) else getattr(message, name, None)


def stamp_ns(message: Any) -> int | None:
    """When it was measured: ``header.stamp`` of ROS or ``timestamp`` of Foxglove, None where neither is."""
    stamp = part_of(message, "timestamp") or part_of(part_of(message, "header"), "stamp")
    seconds = _first(stamp, "sec", "seconds")
    if seconds is None:
        return None
    return int(seconds) * 1_000_000_000 + int(_first(stamp, "nanosec", "nsec", "nanos") or 0) or None


def image_bytes(message: Any) -> bytes:
    """The compressed image of a message. Raises ValueError where it holds none."""
    data = part_of(message, "data")
    if isinstance(data, str):
        data = base64.b64decode(data, validate=True)
    if not isinstance(data, bytes) or not data:
        raise ValueError("it holds no image data")
    return data


def _first(message: Any, *names: str) -> int | None:
    for name in names:
        value = part_of(message, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    return None


def _rank(quantity: str, topic: Topic) -> int:
    order, schema = RANK[quantity], plain(topic.schema)
    return order.index(schema) if schema in order else 0


def _list(topics: Sequence[Topic]) -> str:
    shown = [f"{topic.name} ({topic.schema or topic.encoding})" for topic in topics[:12]]
    return ", ".join(shown) + (f" and {len(topics) - 12} more" if len(topics) > 12 else "")
