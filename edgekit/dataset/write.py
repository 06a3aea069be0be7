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
from edgekit.core.files import write_bytes, write_json, write_jsonl
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

    An image that is already there is not encoded again, so a resumed station loses nothing.
    """

    def __init__(self, out: Path, contract: Contract, **facts: object):
        """facts: what info.json shall say beside the counts (renderer, teacher, parents …)."""
        self.out, self.contract, self.facts = Path(out), contract, facts
        self.rows: dict[str, list[Sample]] = {split: [] for split in SPLITS}
        (self.out / "images").mkdir(parents=True, exist_ok=True)

    def image(self, name: str, image: np.ndarray) -> str:
        """Stores RGB uint8 as ``images/<name>.jpg`` and returns that relative path."""
        relative = f"images/{name}.jpg"
        path = self.out / relative
        if not path.exists():
            write_bytes(path, jpeg(resize(image, self.contract)))
        return relative

    def add(self, split: str, sample: Sample) -> None:
        self.rows[split].append(sample)

    def finish(self) -> dict:
        """Writes the split tables and info.json; returns info. Raises UserError for a shared scene."""
        seen: dict[str, str] = {}
        for split, rows in self.rows.items():
            for row in rows:
                if seen.setdefault(row.scene, split) != split:
                    raise UserError(
                        f"dataset {self.out}: scene {row.scene} is in {seen[row.scene]} and in {split}",
                        "two frames of one scene on both sides of a split measure memory, not sight",
                        "split by scene",
                    )
        for split, rows in self.rows.items():
            rows.sort(key=lambda row: row.id)
            write_jsonl(self.out / f"{split}.jsonl", [r.model_dump(mode="json") for r in rows])
        info = {
            "schema": SCHEMA,
            "edgekit": __version__,
            "contract": self.contract.model_dump(mode="json"),
            "contract_sha256": self.contract.digest(),
            **self.facts,
            "counts": {split: _counts(rows) for split, rows in self.rows.items()},
            "vocabulary": {slot: list(values) for slot, values in SLOTS.items()},
        }
        write_json(self.out / "info.json", info)
        return info


def _counts(rows: list[Sample]) -> dict:
    tags = Counter(tag for row in rows for tag in row.tags)
    slots = {slot: Counter(getattr(row.label, slot) for row in rows) for slot in SLOTS}
    return {
        "frames": len(rows),
        "scenes": len({row.scene for row in rows}),
        "drives": len({row.drive for row in rows if row.drive}),
        "tags": dict(sorted(tags.items())),
        "labels": {slot: dict(sorted(c.items())) for slot, c in slots.items()},
    }
