"""What every format starts from: the frames in order, their things, and the things' masks."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgekit.dataset.sample import SPLITS
from edgekit.render.classes import CLASSES, HEAD_NAMES, INSTANCES

Thing = dict[str, Any]
# classes whose pixels belong to one thing each, by class number
THINGS = tuple(sorted(
    ("car", "truck", "bus", "bicycle", "motorcycle", "rider", "person", "head", "sign", "cone", "barrier",
     "debris"),
    key=CLASSES.__getitem__,
))  # fmt: skip


@dataclass(frozen=True)
class Frame:
    """A finished frame: its split, the stem of its files below ``out``, its row and its truth."""

    out: Path
    split: str
    stem: str
    row: dict[str, Any]
    truth: dict[str, Any]

    @property
    def image(self) -> Path:
        return self.out / "images" / f"{self.stem}.jpg"

    def ids(self) -> np.ndarray:
        """uint16 (h, w): class * 1000 + instance."""
        with Image.open(self.out / "ids" / f"{self.stem}.png") as image:
            return np.asarray(image).astype(np.uint16)

    def shown(self) -> list[Thing]:
        """The things of which at least one pixel is seen; no format names the others."""
        return [thing for thing in self.truth["things"] if thing["pixels"] and thing["box_visible"]]


def frames_of(out: Path, records: list[dict[str, Any]]) -> list[Frame]:
    """The frames of the records, in order of their ids: the same for every format."""
    frames = [Frame(out, r["split"], Path(r["row"]["images"][0]).stem, r["row"], r["truth"]) for r in records]
    return sorted(frames, key=lambda frame: frame.truth["id"])


def by_split(frames: list[Frame]) -> dict[str, list[Frame]]:
    """Every split by name, those without a frame too."""
    return {split: [frame for frame in frames if frame.split == split] for split in SPLITS}


def thing_ids(ids: np.ndarray) -> np.ndarray:
    """(h, w) id pixels → the same with a head's lamps as pixels of their head: a thing has one id."""
    head = np.isin(ids // INSTANCES, [CLASSES[name] for name in HEAD_NAMES])
    return np.where(head, CLASSES["head"] * INSTANCES + ids % INSTANCES, ids).astype(np.uint16)


def fresh(out: Path, name: str) -> Path:
    """The empty folder ``out/<name>``: a frame that a resumed run leaves out must not stay in it."""
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def link(source: Path, target: Path) -> None:
    """``target`` is ``source``: a hard link, or a whole copy where the disk has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        aside = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, aside)
        os.replace(aside, target)
