"""A drive as a video (MP4): its frames with truth drawn on them, the label in words, and a strip of the speed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from edgekit.drives import Drive, encode_video
from edgekit.view.caption import DIM, INK, PAPER, font
from edgekit.view.tile import MPS_TO_KMH, WIDTH, Tile, drive_tiles

PLOT = 54  # pixels of the speed's strip
ADVISED = (60, 220, 120)


def film(drive: Drive, classes: dict[str, int], path: Path) -> Path | None:
    """The clip, or None (said aloud) where PyAV is not installed."""
    if not find_spec("av"):
        print("[view] no clip: PyAV is missing; pip install 'edgekit[video]'", file=sys.stderr)
        return None
    encode_video(pictures(drive, classes), path, drive.info.fps)
    return path


def pictures(drive: Drive, classes: dict[str, int]) -> Iterator[np.ndarray]:
    """RGB uint8 frames of one even size, as H.264 wants it: captions differ in height, frames must not."""
    truth = drive.truth() or {}
    advised = [
        truth[n].label.speed_kmh if n in truth and truth[n].visible["speed"] else None
        for n in range(len(drive))
    ]
    measured = [None if v is None else v * MPS_TO_KMH for v in drive.speeds_mps()]
    tallest = max((Tile.strip_height(row.label) for row in truth.values()), default=Tile.strip_height(None))
    chart, plain = plot(measured, advised), None
    for number, tile in enumerate(drive_tiles(drive, classes, range(len(drive)))):
        card = tile.card()
        if plain is None:  # every frame of a drive has one size
            height = (
                round(tile.picture.shape[0] * WIDTH / tile.picture.shape[1])
                + tallest
                + (PLOT if chart else 0)
            )
            plain = Image.new("RGB", (WIDTH // 2 * 2, height // 2 * 2), PAPER)
        page = plain.copy()
        page.paste(card)
        if chart:
            here = chart.copy()
            x = across(number, len(drive))
            ImageDraw.Draw(here).line((x, 0, x, PLOT), fill=INK)
            page.paste(here, (0, page.height - PLOT))
        yield np.asarray(page)


def across(number: int, total: int) -> int:
    """Where a frame stands on the strip, in pixels from its left."""
    return 40 + round((WIDTH - 48) * number / max(1, total - 1))


def plot(measured: list[float | None], advised: list[float | None]) -> Image.Image | None:
    """km/h over the drive: measured in white, recommended in green; None where neither is known."""
    known = [v for v in (*measured, *advised) if v is not None]
    if not known:
        return None
    top = max(20.0, max(known)) * 1.1
    paper = Image.new("RGB", (WIDTH, PLOT), PAPER)
    pen = ImageDraw.Draw(paper)
    for values, colour in ((advised, ADVISED), (measured, INK)):
        for n, (a, b) in enumerate(zip(values, values[1:], strict=False)):
            if a is not None and b is not None:
                ends = [
                    (across(n + k, len(values)), (PLOT - 4) - (PLOT - 8) * v / top)
                    for k, v in enumerate((a, b))
                ]
                pen.line(ends, fill=colour, width=1)
    pen.text((4, 2), f"{top:.0f}", font=font(10), fill=DIM)
    pen.text((4, PLOT // 2 - 6), "km/h", font=font(10), fill=DIM)
    pen.text((4, PLOT - 13), "0", font=font(10), fill=DIM)
    return paper
