"""A contact sheet (PNG) of a Dataset or Drive; of a Drive also a clip (MP4) with its truth below."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from edgekit.core.errors import UserError
from edgekit.core.label import SceneLabel
from edgekit.core.run import open_input
from edgekit.dataset import Dataset, open_dataset
from edgekit.dataset.sample import SPLITS
from edgekit.drives import Drive, encode_video, open_drives

WIDTH = 320  # pixels of one picture on the sheet
LINE = 13  # pixels of one line of text
PAPER, INK = (24, 26, 28), (230, 230, 225)


def view(what: str, out: Path, split: str | None = None, count: int = 24) -> list[Path]:
    """Writes the pictures below ``out`` and returns their paths.

    what: a Run, a Dataset, a Drive, a folder of drives, or package:NAME. Raises UserError.
    """
    if count < 1:
        raise UserError("edgekit view: --count", f"{count} frames is no sheet", "give at least 1")
    if out.exists() and not out.is_dir():
        raise UserError(f"edgekit view: --out {out}", "a file is there", "name a folder for the pictures")
    root = open_input(what).out
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", what.removeprefix("package:").strip("/.")) or "here"
    out.mkdir(parents=True, exist_ok=True)
    made = []
    if (root / "info.json").is_file():
        rows = of_dataset(open_dataset(root), split, count)
        made.append(save(rows, out / f"{name}.png"))
    if (root / "drives").is_dir() or not made:
        for drive in open_drives(root):
            made.append(save(of_drive(drive, count), out / f"{name}-{drive.id}.png"))
            if clip := film(drive, out / f"{name}-{drive.id}.mp4"):
                made.append(clip)
    return made


def of_dataset(data: Dataset, split: str | None, count: int) -> list[tuple[np.ndarray, list[str]]]:
    """(picture, lines) of ``count`` rows spread evenly over a split."""
    chosen = split or next((s for s in SPLITS if data.rows(s)), SPLITS[0])
    rows = data.rows(chosen)
    if not rows:
        raise UserError(
            f"{data.root}: nothing to show", f"split {chosen} has no rows", "choose another --split"
        )
    pictures = []
    for index in spread(len(rows), count):
        row = rows[index]
        dropped = [task for task, mark in row.tasks.items() if mark.status == "dropped"]
        head = f"{row.id}  {chosen}" + (f"  not scored: {','.join(dropped)}" if dropped else "")
        pictures.append((data.image(row), [head, *summary(row.label)]))
    return pictures


def of_drive(drive: Drive, count: int) -> list[tuple[np.ndarray, list[str]]]:
    """(picture, lines) of ``count`` frames spread evenly over a drive."""
    wanted, truth, speeds, times = (
        set(spread(len(drive), count)),
        drive.truth() or {},
        drive.speeds_mps(),
        drive.times_s,
    )
    return [
        (frame, caption(drive, number, truth, speeds, times))
        for number, frame in enumerate(drive.frames())
        if number in wanted
    ]


def caption(drive: Drive, number: int, truth: dict, speeds: list, times: np.ndarray) -> list[str]:
    speed = "" if speeds[number] is None else f"  {speeds[number]:.1f} m/s"
    head = f"{drive.id}/{number:06d}  {times[number]:.1f} s{speed}"
    return [head, *(summary(truth[number].label) if number in truth else ["no truth"])]


def summary(label: SceneLabel) -> list[str]:
    """Three lines that hold every slot, each of which fits a card whatever the values."""
    others = "/".join((label.other_left, label.other_straight, label.other_right))
    return [
        f"light {label.light} {label.light_arrow} {label.light_kind}  zebra {label.zebra}",
        f"cones {label.cones}  obstacle {label.obstacle}  speed {label.recommended_speed_kmh} km/h",
        f"others {others}  crossroad {label.crossroad}",
    ]


def spread(total: int, count: int) -> list[int]:
    """``min(total, count)`` indices from first to last, evenly."""
    return sorted({round(i) for i in np.linspace(0, total - 1, min(total, count))}) if total else []


def card(picture: np.ndarray, lines: list[str]) -> Image.Image:
    """One picture with its lines below. picture: RGB uint8 (H, W, 3)."""
    image = Image.fromarray(picture)
    image = image.resize((WIDTH, max(1, round(image.height * WIDTH / image.width))))
    paper = Image.new("RGB", (WIDTH, image.height + 4 + LINE * len(lines)), PAPER)
    paper.paste(image)
    draw = ImageDraw.Draw(paper)
    for number, line in enumerate(lines):
        draw.text((3, image.height + 2 + LINE * number), line, fill=INK)
    return paper


def save(pictures: list[tuple[np.ndarray, list[str]]], path: Path) -> Path:
    """The cards in rows of four at most, as a PNG."""
    cards = [card(*picture) for picture in pictures]
    columns = min(4, len(cards))
    height = max(c.height for c in cards)
    rows = -(-len(cards) // columns)
    paper = Image.new("RGB", (columns * (WIDTH + 4), rows * (height + 4)), (0, 0, 0))
    for number, image in enumerate(cards):
        paper.paste(image, (number % columns * (WIDTH + 4), number // columns * (height + 4)))
    paper.save(path)
    return path


def film(drive: Drive, path: Path) -> Path | None:
    """The drive as a video with its truth below, or None (said aloud) where PyAV is not installed."""
    if not find_spec("av"):
        print("[view] no clip: PyAV is missing; pip install 'edgekit[video]'", file=sys.stderr)
        return None
    encode_video((np.asarray(image) for image in cards_of(drive)), path, drive.info.fps)
    return path


def cards_of(drive: Drive) -> Iterator[Image.Image]:
    truth, speeds, times = drive.truth() or {}, drive.speeds_mps(), drive.times_s
    for number, frame in enumerate(drive.frames()):
        image = card(frame, caption(drive, number, truth, speeds, times))
        yield image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))  # codecs want even sides
