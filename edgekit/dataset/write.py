"""Writing a Dataset: images at the contract's size, rows, and splits that no scene straddles."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from edgekit import __version__
from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.files import Waiting, write_bytes, write_json, write_jsonl
from edgekit.core.label import SLOTS
from edgekit.dataset.sample import SPLITS, Sample
from edgekit.engine.pixels import resize

SCHEMA = "edgekit/dataset/1"


def jpeg(image: np.ndarray) -> bytes:
    """RGB uint8 (H, W, 3) as the contract stores it: quality 95, 4:4:4."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


class DatasetWriter:
    """Collects rows and images below ``out``; ``finish`` asserts the splits and writes the tables.

    An image that is already there is not encoded again, so a resumed station loses nothing. Rows wait in
    hidden files, not in memory: a drive of hours has a hundred thousand, each with its label's whole history.
    """

    def __init__(self, out: Path, contract: Contract, **facts: object):
        """facts: what info.json shall say beside the counts (renderer, teacher, parents …)."""
        self.out, self.contract, self.facts = Path(out), contract, facts
        (self.out / "images").mkdir(parents=True, exist_ok=True)
        self._rows = {split: Waiting(self.out / f".{split}.part", lambda row: row["id"]) for split in SPLITS}
        self._scenes: dict[str, str] = {}  # scene -> the split that it is in
        self._counts = {split: _Counts() for split in SPLITS}

    def image(self, name: str, image: np.ndarray) -> str:
        """Stores RGB uint8 as ``images/<name>.jpg`` and returns that relative path."""
        relative = f"images/{name}.jpg"
        path = self.out / relative
        if not path.exists():
            write_bytes(path, jpeg(resize(image, self.contract)))
        return relative

    def add(self, split: str, sample: Sample) -> None:
        """Raises UserError for a scene that another split holds already."""
        if (first := self._scenes.setdefault(sample.scene, split)) != split:
            raise UserError(
                f"dataset {self.out}: scene {sample.scene} is in {first} and in {split}",
                "two frames of one scene on both sides of a split measure memory, not sight",
                "split by scene",
            )
        self._rows[split].add(sample.model_dump(mode="json"))
        self._counts[split].add(sample)

    def finish(self) -> dict:
        """Writes the split tables, in the order of their ids, and info.json; returns info."""
        for split, rows in self._rows.items():
            write_jsonl(self.out / f"{split}.jsonl", rows.sorted())
            rows.close()
        info = {
            "schema": SCHEMA,
            "edgekit": __version__,
            "contract": self.contract.model_dump(mode="json"),
            "contract_sha256": self.contract.digest(),
            **self.facts,
            "counts": {split: counts.told() for split, counts in self._counts.items()},
            "vocabulary": {slot: list(values) for slot, values in SLOTS.items()},
        }
        write_json(self.out / "info.json", info)
        return info


class _Counts:
    """What info.json tells of a split, counted row by row."""

    def __init__(self) -> None:
        self.frames, self.scenes, self.drives = 0, set(), set()
        self.tags: Counter[str] = Counter()
        self.labels = {slot: Counter() for slot in SLOTS}

    def add(self, row: Sample) -> None:
        self.frames += 1
        self.scenes.add(row.scene)
        if row.drive:
            self.drives.add(row.drive)
        self.tags.update(row.tags)
        for slot, counter in self.labels.items():
            counter[getattr(row.label, slot)] += 1

    def told(self) -> dict:
        return {
            "frames": self.frames,
            "scenes": len(self.scenes),
            "drives": len(self.drives),
            "tags": dict(sorted(self.tags.items())),
            "labels": {slot: dict(sorted(c.items())) for slot, c in self.labels.items()},
        }
