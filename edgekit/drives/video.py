"""Video in and out through PyAV. Colour is RGB uint8 everywhere else; here it is what H.264 wants."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from edgekit.core.errors import UserError
from edgekit.engine.pixels import MAX_PIXELS

MAX_FRAMES = 500_000
MAX_FPS = 1000  # as drive.json


def probe(path: str | Path) -> tuple[int, float, int, int]:
    """(frames, frames per second, width, height), without decoding. Raises UserError.

    The frames are counted by reading the file through: the number in its header also counts what an
    edit list cuts off, which no decoder shows.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        try:
            count = sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard)
        except av.error.FFmpegError as error:
            raise UserError(f"{path}: the video does not read", str(error), "check the file") from None
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        width, height = stream.codec_context.width, stream.codec_context.height
    if count > MAX_FRAMES or width * height > MAX_PIXELS:
        raise UserError(
            f"{path}: the video is too large",
            f"{count} frames of {width}×{height}; at most {MAX_FRAMES} frames of {MAX_PIXELS} pixels",
            "cut it in parts, or scale it down",
        )
    if not count or not 0 < rate <= MAX_FPS:
        raise UserError(f"{path}: no frames", f"{count} frames at {rate} per second", "check the file")
    return count, rate, width, height


def decode(path: str | Path, start: int = 0) -> Iterator[np.ndarray]:
    """Frames from number ``start`` on, RGB uint8 (H, W, 3), turned upright as the container says."""
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        try:
            for number, frame in enumerate(container.decode(stream)):
                if number >= MAX_FRAMES or frame.width * frame.height > MAX_PIXELS:
                    raise UserError(
                        f"{path}: the video grew too large while decoding",
                        f"frame {number} is {frame.width}×{frame.height}",
                        "cut it in parts, or scale it down",
                    )
                if number >= start:
                    image = frame.to_ndarray(format="rgb24")
                    yield np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
        except av.error.FFmpegError as error:
            raise UserError(f"{path}: the video does not decode", str(error), "check the file") from None


def encode(
    frames: Iterable[np.ndarray], path: str | Path, fps: float, crf: int = 18, pixels: str = "yuv420p"
) -> int:
    """RGB uint8 (H, W, 3) frames → H.264 in MP4; returns how many. Written aside, then renamed.

    pixels: ``yuv420p`` plays in every browser; ``yuv444p`` keeps the colour of small lamps.
    Colours are tagged BT.709, limited range. Raises UserError for no frames, or an odd size in yuv420p.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    count = 0
    try:
        with av.open(str(aside), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = None
            for image in frames:
                if stream is None:
                    stream = _stream(container, image, path, fps, crf, pixels)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame = frame.reformat(
                    format=pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                container.mux(stream.encode(frame))
                count += 1
            if stream is None:
                raise UserError(f"{path}: no frames to encode", "the drive is empty", "check its frames")
            container.mux(stream.encode())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return count


def _stream(container, image: np.ndarray, path: Path, fps: float, crf: int, pixels: str):
    height, width = image.shape[:2]
    if pixels == "yuv420p" and (width % 2 or height % 2):
        raise UserError(
            f"{path}: {width}×{height} does not encode as yuv420p",
            "its colour planes are half as wide and high",
            "use an even size, or pixels=yuv444p",
        )
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height, stream.pix_fmt = width, height, pixels
    context = stream.codec_context
    context.options = {"crf": str(crf), "preset": "fast"}
    context.thread_count = 1
    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
    context.color_range = 1  # limited
    return stream


def _open(path: str | Path):
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{path}: not a readable video", str(error), "check the file") from None
    if not container.streams.video:
        container.close()
        raise UserError(f"{path}: no video in it", "the container has no video stream", "check the file")
    return container
