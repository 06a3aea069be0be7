"""Draws the advice on a frame: what the driver would see, nothing that the label does not say."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from edgekit.demo import marks
from edgekit.demo.advice import MPS_TO_KMH, Shown

_BAR = {
    "stop": marks.RED,
    "slow": marks.AMBER,
    "watch": (90, 169, 255),
    "info": marks.GREEN,
    "none": marks.GREY,
}
_BADGE = {"fresh": marks.GREEN, "late": marks.AMBER, "none": marks.GREY}
_LIT = ("red", "yellow", "green", "off")


def size_of(width: int, height: int, want_width: int) -> tuple[int, int]:
    """The annotated frame's (width, height): scaled to ``want_width``, both even for H.264's yuv420p."""
    out_width = max(2, want_width // 2 * 2)
    return out_width, max(2, round(height * out_width / width / 2) * 2)


def draw(frame: np.ndarray, shown: Shown, speed_mps: float | None, size: tuple[int, int]) -> Image.Image:
    """RGB uint8 (H, W, 3) and what is to be shown → an RGB image of ``size`` (width, height)."""
    image = Image.fromarray(frame)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    width, height = size
    unit = max(0.4, min(height / 504, width / 896))  # 1 at 448×252 drawn twice its size
    image.paste(marks.INK, (0, 0), _shade(width, height))
    pen = ImageDraw.Draw(image, "RGBA")
    _cluster(image, shown, unit)
    _badge(pen, shown, width, unit)
    _lines(pen, shown, width, height, unit)
    if speed_mps is not None:
        _own_speed(pen, speed_mps, width, height, unit)
    return image


@lru_cache(maxsize=4)
def _shade(width: int, height: int) -> Image.Image:
    """A mask that darkens the foot (and a little of the head) so that white text reads on any road."""
    y = np.linspace(0, 1, height)[:, None]
    foot = np.clip((y - 0.68) / 0.2, 0, 1) ** 0.8 * 0.78
    head = np.clip((0.16 - y) / 0.16, 0, 1) * 0.35
    return Image.fromarray(np.repeat((np.maximum(foot, head) * 255).astype(np.uint8), width, axis=1))


def _cluster(image: Image.Image, shown: Shown, unit: float) -> None:
    """Top left: the light, the sign, then tiles for what is ahead."""
    label, gap = shown.label, int(12 * unit)
    x, y = int(20 * unit), int(20 * unit)
    tall, tile = int(104 * unit), int(58 * unit)
    row: list[Image.Image] = []
    if label.light in _LIT:
        row.append(marks.light(label.light, label.light_arrow, tall))
    if label.speed_kmh is not None:
        row.append(marks.speed_sign(str(label.speed_kmh), int(78 * unit)))
    if label.obstacle not in ("none", "unknown"):
        row.append(marks.obstacle(label.obstacle, tile))
    if label.cones == "yes":
        row.append(marks.cone(tile))
    if label.crossroad == "yes":
        row.append(marks.crossroad(tile))
    if label.zebra == "yes":
        row.append(marks.zebra(tile))
    for mark in row:
        if shown.state == "late":  # seen too late to be trusted: faded, beside a LATE badge
            mark = mark.copy()
            mark.putalpha(mark.getchannel("A").point(lambda a: a * 0.55))
        image.paste(mark, (x, y), mark)
        x += mark.width + gap


def _badge(pen: ImageDraw.ImageDraw, shown: Shown, width: int, unit: float) -> None:
    """Top right: is it fresh, and how long did the answer take."""
    if shown.state == "none":
        text = "NO ADVICE" if shown.age_ms is None else f"NO ADVICE  {_ms(shown.age_ms)} OLD"
    else:
        text = f"{shown.state.upper()}  {_ms(shown.latency_ms or 0.0)}"
    face, pad = marks.font(int(19 * unit)), int(11 * unit)
    dot = int(11 * unit)
    length = int(pen.textlength(text, font=face))
    right, top = width - int(20 * unit), int(20 * unit)
    left, bottom = right - length - dot - 3 * pad, top + int(37 * unit)
    pen.rounded_rectangle((left, top, right, bottom), radius=(bottom - top) // 2, fill=(*marks.INK, 215))
    middle = (top + bottom) / 2
    x = left + pad
    pen.ellipse((x, middle - dot / 2, x + dot, middle + dot / 2), fill=_BADGE[shown.state])
    pen.text((x + dot + pad * 0.8, middle), text, font=face, fill=_BADGE[shown.state], anchor="lm")


def _ms(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def _lines(pen: ImageDraw.ImageDraw, shown: Shown, width: int, height: int, unit: float) -> None:
    """Foot, left: the most urgent line large, at most two more below it."""
    lines = shown.advice.lines[:3] or ("No advice",)
    room = width - int((190 + 60) * unit)
    sizes = [int(34 * unit)] + [int(21 * unit)] * (len(lines) - 1)
    heights = [int(44 * unit)] + [int(28 * unit)] * (len(lines) - 1)
    bottom = height - int(20 * unit)
    top = bottom - sum(heights)
    x = int(20 * unit)
    colour = _BAR[shown.advice.level]
    pen.rounded_rectangle((x, top, x + int(7 * unit), bottom), radius=int(3 * unit), fill=colour)
    first = marks.WHITE if shown.state == "fresh" else (172, 179, 190)
    rest = (214, 220, 230) if shown.state == "fresh" else (150, 157, 168)
    y = top
    for i, (line, size, tall) in enumerate(zip(lines, sizes, heights, strict=True)):
        face = marks.font(size, bold=i == 0)
        while pen.textlength(line, font=face) > room and size > 8:
            size -= 1
            face = marks.font(size, bold=i == 0)
        pen.text((x + int(22 * unit), y + tall / 2), line, font=face, fill=rest if i else first, anchor="lm")
        y += tall


def _own_speed(pen: ImageDraw.ImageDraw, speed_mps: float, width: int, height: int, unit: float) -> None:
    """Foot, right: the ego's own speed."""
    right, bottom = width - int(22 * unit), height - int(22 * unit)
    face = marks.font(int(17 * unit), bold=False)
    pen.text((right, bottom), "km/h", font=face, fill=(214, 220, 230), anchor="rs")
    x = right - pen.textlength("km/h ", font=face)
    number = f"{abs(speed_mps) * MPS_TO_KMH:.0f}"
    pen.text((x, bottom), number, font=marks.font(int(46 * unit)), fill=marks.WHITE, anchor="rs")
