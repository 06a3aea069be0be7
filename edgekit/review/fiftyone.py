"""FiftyOne: a dataset in its own JSON on disk (metadata.json, samples.json, data/), written without importing it.

``fiftyone.Dataset.from_dir(dataset_dir=…, dataset_type=fiftyone.types.FiftyOneDataset)`` reads it: metadata
without a version is taken as the plain form of the format, whose samples are ``Sample.to_dict``. Each slot
is a Classification. Back comes what ``dataset.export`` writes in either form: samples.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgekit.core.files import write_json
from edgekit.core.label import SLOTS, TASK_OF
from edgekit.dataset import Sample
from edgekit.review.queue import Review
from edgekit.review.tools import (
    Back,
    as_exported,
    copy_images,
    exported,
    new_folder,
    not_ours,
    questions_of,
    read_bounded,
    slots_now,
    words_of,
)

SEEN = "seen"  # the tag that a person sets on a sample where nothing needs changing
ID, EXPORTED = "edgekit_id", "edgekit_exported"  # fields of a sample


def export(rows: Sequence[Sample], review: Review, out: Path) -> None:
    """Writes ``out``: metadata.json, samples.json, data/. Questions are tags ``review:light``."""
    new_folder(out)
    names = copy_images(rows, review, out / "data")
    asked = questions_of(review)
    samples = []
    for row in rows:
        slots = slots_now(review, row)
        sample = {
            "filepath": f"data/{names[row.id]}",
            "tags": [*row.tags, *(f"review:{entry.task}" for entry in asked.get(row.id, []))],
            ID: row.id,
            EXPORTED: as_exported(slots),
        }
        sample |= {"drive": row.drive, "t_s": row.t_s, "speed_mps": row.speed_mps}
        for slot in SLOTS:
            confidence = row.tasks[TASK_OF[slot]].confidence
            sample[slot] = {
                "_cls": "Classification",
                "tags": [],
                "label": slots[slot],
                "confidence": confidence,
            }
        samples.append(sample)
    info = {"made_by": "edgekit review", "contract_sha256": review.data.contract.digest()}
    classes = {slot: list(values) for slot, values in SLOTS.items()}
    write_json(out / "metadata.json", {"media_type": "image", "info": {**info, "classes": classes}})
    write_json(out / "samples.json", {"samples": samples})


def read(file: Path, review: Review) -> list[Back]:
    """The samples of a samples.json (or of the folder that holds it). Raises UserError."""
    path = file / "samples.json" if file.is_dir() else file
    try:
        samples = json.loads(read_bounded(path))["samples"]
        out = []
        for sample in samples:
            fields = {slot: sample[slot]["label"] for slot in SLOTS if (sample.get(slot) or {}).get("label")}
            seen = SEEN in (sample.get("tags") or ())
            out.append(Back(str(sample[ID]), words_of(fields), seen, exported(sample.get(EXPORTED))))
        return out
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise not_ours(path, f"{type(error).__name__}: {error}: want FiftyOne's samples.json") from None
