"""Writing drives: folders of frames, videos for people, and packed drives for shipping."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgekit.core.files import write_bytes, write_jsonl
from edgekit.drives.encode import encode_video
from edgekit.drives.find import MAP, TELEMETRY
from edgekit.drives.info import DriveInfo, write_info
from edgekit.drives.read import open_drive
from edgekit.drives.telemetry import Telemetry, write_telemetry


def write_drive(
    folder: str | Path,
    info: DriveInfo,
    frames: Iterable[np.ndarray],
    telemetry: Telemetry | None = None,
    truth: Iterable[dict[str, Any]] | None = None,
) -> int:
    """Writes a Drive directory and returns how many frames it holds; drive.json comes last.

    frames: RGB uint8 (H, W, 3), stored as JPEG quality 95, 4:4:4. truth: rows of truth.jsonl,
    {"frame", "t_s", "label", "visible", …}.
    """
    folder = Path(folder)
    count = 0
    for count, image in enumerate(frames, start=1):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
        write_bytes(folder / "frames" / f"{count - 1:06d}.jpg", buffer.getvalue())
    if telemetry is not None:
        write_telemetry(folder / "telemetry.csv", telemetry)
    if truth is not None:
        write_jsonl(folder / "truth.jsonl", truth)
    write_info(folder / "drive.json", info)
    return count


def pack_drive(source: str | Path, target: str | Path, crf: int = 12, pixels: str = "yuv444p") -> DriveInfo:
    """A drive as a small Drive directory with video.mp4; telemetry.*, map.csv, truth.jsonl and drive.json of
    its folder come along.

    The default is near lossless and keeps full colour resolution: lamps are a few pixels wide. Uneven
    times of the frames are kept.
    """
    drive, target = open_drive(source), Path(target)
    fps = drive.info.fps
    even = np.abs(drive.times_s - np.arange(len(drive)) / fps).max(initial=0) <= 0.5 / fps
    times = None if even else drive.times_s
    encode_video(drive.frames(), target / "video.mp4", fps, crf, pixels, times)
    for name in (*TELEMETRY, MAP, "truth.jsonl"):
        if (drive.root / name).is_file():
            shutil.copyfile(drive.root / name, target / name)
    write_info(target / "drive.json", drive.info)
    return drive.info
