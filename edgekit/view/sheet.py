"""Contact sheets (PNG) of a Dataset or Drive with truth drawn on the pictures; of a Drive also a clip (MP4)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from PIL import Image

from edgekit.core.errors import UserError
from edgekit.core.run import open_input
from edgekit.dataset import Dataset, Sample, open_dataset
from edgekit.dataset.sample import SPLITS
from edgekit.drives import open_drives
from edgekit.view.clip import film
from edgekit.view.pick import pick, say
from edgekit.view.tile import WIDTH, Tile, dataset_tiles, drive_tiles

GAP = 6


def view(
    what: str,
    out: Path,
    split: str | None = None,
    count: int = 24,
    start: int | None = None,
    everything: bool = False,
) -> list[Path]:
    """Writes the pictures below ``out`` and returns their paths; says on stderr how many of how many it shows.

    what: a Run, a Dataset, a Drive, a folder of drives, or package:NAME. split: one of a Dataset's (None: all).
    count: frames on one sheet, spread evenly; start: from this number on instead. everything: all frames (from
    start on), on as many sheets as it takes. Raises UserError.
    """
    if count < 1:
        raise UserError("edgekit view: --count", f"{count} frames is no sheet", "give at least 1")
    if out.exists() and not out.is_dir():
        raise UserError(f"edgekit view: --out {out}", "a file is there", "name a folder for the pictures")
    root = open_input(what).out
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", what.removeprefix("package:").strip("/.")) or "here"
    out.mkdir(parents=True, exist_ok=True)
    made, classes = [], {}
    if (root / "info.json").is_file():
        data = open_dataset(root)
        classes = data.info.get("classes") or {}
        rows = rows_of(data, split)
        chosen = pick(len(rows), count, start, everything)
        say(name, chosen, len(rows), start)
        made += save(dataset_tiles(data, [rows[n] for n in chosen]), len(chosen), count, out / f"{name}.png")
    if (root / "drives").is_dir() or not made:
        for drive in open_drives(root):
            # N counts the Dataset's frames, and then each drive's
            if made and start is not None and start >= len(drive):
                print(f"[view] {drive.id}: {len(drive)} frames, none from number {start} on", file=sys.stderr)
                continue
            chosen = pick(len(drive), count, start, everything)
            say(drive.id, chosen, len(drive), start)
            path = out / f"{name}-{drive.id}.png"
            made += save(drive_tiles(drive, classes, chosen), len(chosen), count, path)
            if clip := film(drive, classes, path.with_suffix(".mp4")):
                made.append(clip)
    return made


def rows_of(data: Dataset, split: str | None) -> list[tuple[str, Sample]]:
    """(split, row) of a split, or of all in turn. Raises UserError where there is none."""
    rows = [(name, row) for name in ([split] if split else SPLITS) for row in data.rows(name)]
    if not rows:
        why = f"split {split} has no rows" if split else "no split has rows"
        raise UserError(f"{data.root}: nothing to show", why, "choose another --split, or another Dataset")
    return rows


def save(tiles: Iterator[Tile], total: int, count: int, path: Path) -> list[Path]:
    """Sheets of ``count`` tiles, in rows of four at most; numbered where there is more than one."""
    sheets = -(-total // count)
    paths = [path] if sheets == 1 else [path.with_stem(f"{path.stem}-{n:03d}") for n in range(1, sheets + 1)]
    for sheet in paths:
        cards = [tile.card() for tile in islice(tiles, count)]
        columns = min(4, len(cards))
        height = max(card.height for card in cards)
        rows = -(-len(cards) // columns)
        paper = Image.new("RGB", (columns * (WIDTH + GAP), rows * (height + GAP)), (0, 0, 0))
        for number, card in enumerate(cards):
            paper.paste(card, (number % columns * (WIDTH + GAP), number // columns * (height + GAP)))
        paper.save(sheet)
    return paths
