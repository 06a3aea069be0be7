"""The two sides of a comparison of pictures: a Dataset's split, and what was painted."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from edgekit.core.errors import UserError
from edgekit.core.files import read_jsonl
from edgekit.core.run import Run
from edgekit.dataset import Dataset, Sample, open_dataset
from edgekit.dataset.tags import TIMES, WEATHERS, words_of
from edgekit.engine.pixels import read_image
from edgekit.evaluate.measure import spread

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
_KNOWN = ("clear", "day", *WEATHERS, *TIMES)


@dataclass(frozen=True)
class Picture:
    """asked: the words that it was painted from; words: the weather and time that it should show."""

    path: Path
    name: str
    scene: str
    tags: tuple[str, ...] = ()
    asked: str | None = None

    @property
    def words(self) -> dict[str, str] | None:
        """Out of its tags, else out of what was asked; None where neither names weather or time."""
        told = [tag for tag in self.tags if tag in _KNOWN] or [
            word
            for word in _KNOWN
            if self.asked and re.search(rf"\b{word.replace('_', ' ')}", self.asked.lower())
        ]
        return words_of(told) if told else None


@dataclass(frozen=True)
class Pictures:
    """Files, read when they are looked at; ``size`` (H, W): what all are squeezed to."""

    items: tuple[Picture, ...]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.items)

    def load(self, at: int, to: int) -> np.ndarray:
        """uint8 [n, H, W, 3] of items at .. to."""
        return np.stack([self.one(i) for i in range(at, min(to, len(self)))])

    def one(self, i: int) -> np.ndarray:
        image, (h, w) = read_image(self.items[i].path), self.size
        if image.shape[:2] == (h, w):
            return image
        return np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BICUBIC))

    def part(self, most: int | None) -> Pictures:
        """At most so many, evenly over all."""
        return replace(self, items=tuple(spread(list(self.items), most)))

    def only(self, rows: list[int]) -> Pictures:
        return replace(self, items=tuple(self.items[i] for i in rows))


def real_pictures(data: Dataset, split: str, name: str, least: int = 2) -> Pictures:
    """A split's pictures at the Dataset's own size. Raises UserError for fewer than ``least``."""
    rows = data.rows(split)
    if len(rows) < least:
        there = {s: n["frames"] for s, n in data.info.get("counts", {}).items() if n.get("frames")}
        raise UserError(
            f"evaluate images: split {split!r} of {name} holds {len(rows)} pictures",
            f"{least} are needed; frames by split: {there or 'none'}",
            "choose another split, or a Dataset with one",
        )
    size = data.contract.height, data.contract.width
    return Pictures(tuple(_of_row(data, row) for row in rows), size)


def painted_pictures(folder: Path, name: str, size: tuple[int, int], run: Run) -> Pictures:
    """A Dataset's (all splits) or a folder's pictures, squeezed to ``size`` with a note where they differ.

    Raises UserError for fewer than 2.
    """
    items = _of_dataset(folder) if (folder / "info.json").is_file() else _of_folder(folder)
    if len(items) < 2:
        raise UserError(
            f"evaluate images: {name} holds {len(items)} picture{'s' * (len(items) != 1)}",
            "a distance between clouds of pictures needs 2 at least, and hundreds to mean something",
            f"name a Dataset of edgekit generate, or a folder of {', '.join(sorted(SUFFIXES))}",
        )
    sizes = Counter(_size_of(item.path) for item in items)
    if set(sizes) != {size}:
        told = ", ".join(f"{w}×{h} ({n})" for (h, w), n in sizes.most_common(3))
        run.note(
            f"painted pictures are {told}{', …' * (len(sizes) > 3)}, the real ones {size[1]}×{size[0]}: "
            "all are squeezed to the real ones' size, which itself moves the distances"
        )
    return Pictures(tuple(items), size)


def _of_dataset(folder: Path) -> list[Picture]:
    data = open_dataset(folder)
    place = folder / "asked.jsonl"
    asked = {row["id"]: row["asked"] for row in read_jsonl(place)} if place.is_file() else {}
    rows = [row for split in ("train", "dev", "test") for row in data.rows(split)]
    return [_of_row(data, row, asked.get(row.id)) for row in rows]


def _of_folder(folder: Path) -> list[Picture]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return [Picture(p, p.relative_to(folder).as_posix(), p.relative_to(folder).as_posix()) for p in found]


def _of_row(data: Dataset, row: Sample, asked: str | None = None) -> Picture:
    return Picture(data.image_path(row), row.id, row.scene, tuple(row.tags), asked)


def _size_of(path: Path) -> tuple[int, int]:
    """(H, W) out of the file's head. Raises UserError for what is no image."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, Image.DecompressionBombError) as error:
        raise UserError(f"{path.name}: not a readable image", str(error)[:160], "check the file") from None
