"""Drives: frames (or a video), what the vehicle measured, and the truth where a drive was rendered."""

from edgekit.drives.config import Reading
from edgekit.drives.encode import encode_video
from edgekit.drives.info import CameraInfo, DriveInfo
from edgekit.drives.read import Drive, DriveSet, open_drive, open_drives
from edgekit.drives.telemetry import Telemetry, read_telemetry, write_telemetry
from edgekit.drives.truth import FrameTruth, read_truth
from edgekit.drives.write import pack_drive, write_drive

__all__ = [
    "CameraInfo",
    "Drive",
    "DriveInfo",
    "DriveSet",
    "FrameTruth",
    "Reading",
    "Telemetry",
    "encode_video",
    "open_drive",
    "open_drives",
    "pack_drive",
    "read_telemetry",
    "read_truth",
    "write_drive",
    "write_telemetry",
]
