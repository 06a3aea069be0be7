"""Frames to an H.264 video through PyAV. Colour is RGB uint8 everywhere else; here it is what H.264 wants."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from edgekit.core.errors import UserError

TICK = Fraction(1, 90_000)  # of a video whose times are given


def encode_video(
    frames: Iterable[np.ndarray],
    path: str | Path,
    fps: float,
    crf: int = 18,
    pixels: str = "yuv420p",
    times_s: Sequence[float] | None = None,
) -> int:
    """RGB uint8 (H, W, 3) frames → H.264 in MP4; returns how many. Written aside, then renamed.

    pixels: ``yuv420p`` plays in every browser; ``yuv444p`` keeps the colour of small lamps. times_s:
    presentation times of the frames, for a variable frame rate; to 1/90,000 s.
    Colours are tagged BT.709, limited range. Raises UserError for no frames, or an odd size in yuv420p.
    """
    import av  # not before it is wanted: who reads drives of frames needs none
    from av.video.reformatter import ColorRange, Colorspace

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
                    if times_s is not None:
                        stream.codec_context.time_base = TICK
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame = frame.reformat(
                    format=pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                if times_s is not None:
                    frame.pts, frame.time_base = round(times_s[count] / TICK), TICK
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
