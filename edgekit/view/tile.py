"""One frame on paper: its picture with truth drawn on it, and the label in words below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgekit.core.files import read_jsonl
from edgekit.core.label import TASK_OF, TASKS, SceneLabel
from edgekit.dataset import Dataset, Sample
from edgekit.drives import Drive
from edgekit.view import overlay
from edgekit.view.caption import DIM, LINE, PAPER, lines_of, strip

WIDTH = 448  # pixels of one picture
MPS_TO_KMH = 3.6


@dataclass(frozen=True)
class Tile:
    """A picture (RGB uint8 (H, W, 3)), the words above its label, and what is known of it.

    dropped: tasks that are not scored. truth: its row of truth.jsonl, else {}. zebra: corners of its outline.
    """

    picture: np.ndarray
    head: str
    label: SceneLabel | None
    dropped: tuple[str, ...] = ()
    truth: dict[str, Any] = field(default_factory=dict)
    zebra: tuple[tuple[int, int], ...] = ()

    def card(self, width: int = WIDTH) -> Image.Image:
        marks = overlay.marks_of(self.truth, self.label.model_dump()) if self.label else []
        image = overlay.draw(self.picture, marks, list(self.zebra), width)
        below = strip(
            self.head, lines_of(self.label, self.dropped) if self.label else [[("no truth", DIM)]], width
        )
        paper = Image.new("RGB", (width, image.height + below.height), PAPER)
        paper.paste(image)
        paper.paste(below, (0, image.height))
        return paper

    @staticmethod
    def strip_height(label: SceneLabel | None) -> int:
        return 5 + LINE * (1 + (len(lines_of(label)) if label else 1))


def dataset_tiles(data: Dataset, rows: list[tuple[str, Sample]]) -> Iterator[Tile]:
    path, wanted = data.root / "truth.jsonl", {row.id for _, row in rows}
    truths = {t["id"]: t for t in read_jsonl(path) if t.get("id") in wanted} if path.is_file() else {}
    for split, row in rows:
        truth = truths.get(row.id, {})
        dropped = tuple(task for task, mark in row.tasks.items() if mark.status == "dropped")
        # the row says unknown where nothing could be seen; the truth beside it knows
        known = {s: v for s, v in truth.get("label", {}).items() if TASK_OF[s] in dropped}
        label = SceneLabel(**row.label.model_dump() | known)
        ids = data.root / "ids" / f"{Path(row.images[0]).stem}.png"
        head = "  ".join([row.id, split, *row.tags])
        zebra = zebra_of(ids, data.info.get("classes") or {}, truth, label)
        yield Tile(data.image(row), head, label, dropped, truth, zebra)


def drive_tiles(drive: Drive, classes: dict[str, int], chosen: Iterable[int]) -> Iterator[Tile]:
    truth, speeds, times, wanted = drive.truth() or {}, drive.speeds_mps(), drive.times_s, set(chosen)
    for number, frame in enumerate(drive.frames()):
        if number not in wanted:
            continue
        speed = "" if speeds[number] is None else f"  {speeds[number] * MPS_TO_KMH:.0f} km/h measured"
        head = f"{drive.id}/{number:06d}  {times[number]:.1f} s{speed}"
        if number not in truth:
            yield Tile(frame, head, None)
            continue
        row = truth[number]
        dropped = tuple(task for task in TASKS if not row.visible[task])
        zebra = zebra_of(drive.root / "ids" / f"{number:06d}.png", classes, row.more, row.label)
        yield Tile(frame, head, row.label, dropped, row.more, zebra)


def zebra_of(path: Path, classes: dict[str, int], truth: dict[str, Any], label: SceneLabel) -> tuple:
    """Corners of the outline of the zebra ahead; () without an ids image, or where the label has none."""
    if label.zebra != "yes" or "zebra" not in classes or not path.is_file():
        return ()
    with Image.open(path) as image:
        ids = np.asarray(image)
    return tuple(overlay.zebra_outline(ids, classes["zebra"], truth.get("facts", {}).get("crossing")))
