"""Small MCAP files, written with the mcap libraries: ROS 2, Foxglove's protobuf and JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap.writer import CompressionType, Writer
from mcap_protobuf.schema import build_file_descriptor_set
from mcap_ros2._dynamic import serialize_dynamic
from PIL import Image

NS = 1_000_000_000
EPOCH_S = 1_700_000_000
RULE = "=" * 80
TIME = f"\n{RULE}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
HEADER = f"\n{RULE}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n{TIME}"
VECTOR = f"\n{RULE}\nMSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z\n"
TWIST = f"\n{RULE}\nMSG: geometry_msgs/Twist\ngeometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular\n{VECTOR}"
ROS2 = {
    "sensor_msgs/msg/CompressedImage": f"std_msgs/Header header\nstring format\nuint8[] data\n{HEADER}",
    "geometry_msgs/msg/TwistStamped": f"std_msgs/Header header\ngeometry_msgs/Twist twist\n{HEADER}{TWIST}",
    "nav_msgs/msg/Odometry": (
        "std_msgs/Header header\nstring child_frame_id\ngeometry_msgs/TwistWithCovariance twist\n"
        f"{HEADER}\n{RULE}\nMSG: geometry_msgs/TwistWithCovariance\ngeometry_msgs/Twist twist\n"
        f"float64[36] covariance\n{TWIST}"
    ),
    "sensor_msgs/msg/Imu": (
        "std_msgs/Header header\ngeometry_msgs/Vector3 angular_velocity\n"
        f"geometry_msgs/Vector3 linear_acceleration\n{HEADER}{VECTOR}"
    ),
}  # fmt: skip


def jpeg(number: int, pad: int = 0) -> bytes:
    """A 64×48 picture whose grey tells its number; ``pad`` bytes follow the end of the image."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), 20 + 5 * (number % 40), np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue() + np.random.default_rng(number).bytes(pad)


def number_in(image: np.ndarray) -> int:
    return round((float(image.mean()) - 20) / 5)


def stamp(t_s: float) -> SimpleNamespace:
    ns = round((EPOCH_S + t_s) * NS)
    return SimpleNamespace(sec=ns // NS, nanosec=ns % NS)


def header(t_s: float | None) -> SimpleNamespace:
    none = SimpleNamespace(sec=0, nanosec=0)
    return SimpleNamespace(stamp=none if t_s is None else stamp(t_s), frame_id="")


def vector(x=0.0, y=0.0, z=0.0) -> SimpleNamespace:
    return SimpleNamespace(x=float(x), y=float(y), z=float(z))


def odometry(t_s: float | None, speed: float, yaw: float = 0.0) -> SimpleNamespace:
    twist = SimpleNamespace(linear=vector(speed), angular=vector(z=yaw))
    inner = SimpleNamespace(twist=twist, covariance=[0.0] * 36)
    return SimpleNamespace(header=header(t_s), child_frame_id="base_link", twist=inner)


def twist(t_s: float | None, speed: float, yaw: float = 0.0) -> SimpleNamespace:
    return SimpleNamespace(
        header=header(t_s), twist=SimpleNamespace(linear=vector(speed), angular=vector(z=yaw))
    )


def imu(t_s: float | None, yaw: float, accel: Sequence[float]) -> SimpleNamespace:
    return SimpleNamespace(
        header=header(t_s), angular_velocity=vector(z=yaw), linear_acceleration=vector(*accel)
    )


def picture(t_s: float | None, data: bytes) -> SimpleNamespace:
    return SimpleNamespace(header=header(t_s), format="jpeg", data=data)


def _protobuf_image():
    file = descriptor_pb2.FileDescriptorProto(name="image.proto", package="foxglove", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    message = file.message_type.add(name="CompressedImage")
    kinds = descriptor_pb2.FieldDescriptorProto
    message.field.add(
        name="timestamp", number=1, type=kinds.TYPE_MESSAGE, label=1, type_name=".google.protobuf.Timestamp"
    )
    message.field.add(name="data", number=2, type=kinds.TYPE_BYTES, label=1)
    message.field.add(name="format", number=3, type=kinds.TYPE_STRING, label=1)
    from google.protobuf import timestamp_pb2

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("foxglove.CompressedImage"))


class Recorder:
    """``add(topic, schema, t_s, message)``: t_s is the log time after ``EPOCH_S``; the schema's name picks
    the encoding: of ``ROS2``, ``foxglove.CompressedImage`` (protobuf), else JSON."""

    def __init__(self, path: Path, **options):
        self.file = open(path, "wb")
        self.writer = Writer(self.file, **{"compression": CompressionType.ZSTD, **options})
        self.writer.start()
        self.channels: dict[tuple[str, str], tuple[int, object]] = {}

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_) -> None:
        self.writer.finish()
        self.file.close()

    def _channel(self, topic: str, schema: str):
        if (topic, schema) in self.channels:
            return self.channels[topic, schema]
        if schema in ROS2:
            number = self.writer.register_schema(schema, "ros2msg", ROS2[schema].encode())
            encode, kind = serialize_dynamic(schema, ROS2[schema])[schema], "cdr"
        elif schema == "foxglove.CompressedImage":
            image = _protobuf_image()
            number = self.writer.register_schema(
                schema, "protobuf", build_file_descriptor_set(image).SerializeToString()
            )
            encode, kind = lambda fields: image(**fields).SerializeToString(), "protobuf"
        else:
            name = schema.removeprefix("json:")
            number = self.writer.register_schema(name, "jsonschema", b"{}") if name else 0
            encode, kind = lambda fields: json.dumps(fields).encode(), "json"
        channel = self.writer.register_channel(topic, kind, number)
        self.channels[topic, schema] = (channel, encode)
        return channel, encode

    def add(self, topic: str, schema: str, t_s: float, message) -> None:
        channel, encode = self._channel(topic, schema)
        data = message if isinstance(message, bytes) else encode(message)
        at = round((EPOCH_S + t_s) * NS)
        self.writer.add_message(channel, at, data, at)


def json_image(t_s: float, data: bytes) -> dict:
    when = stamp(t_s)
    return {
        "timestamp": {"sec": when.sec, "nsec": when.nanosec},
        "data": base64.b64encode(data).decode(),
        "format": "jpeg",
    }
