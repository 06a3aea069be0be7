"""Rerun (.rrd): a drive to scrub, with its pictures, its labels as they changed step by step, and its speed.

One file a drive, streamed row by row, so that memory does not grow with the drive. Entities: ``camera``;
``labels/<task>/<step>`` (a state that lasts until it changes; the last, ``label``, is what the row ends
with); ``speed/measured`` and ``speed/recommended`` (km/h); ``review`` (what is asked, as a text log).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.core.label import TASKS
from edgekit.dataset import Sample
from edgekit.dataset.score import CLASSES, state
from edgekit.review.queue import Review
from edgekit.review.strip import Pictures
from edgekit.review.tools import new_folder

SEEN_FROM = {"none": 0x50565EFF, "red": 0xFF453AFF, "yellow": 0xFFBA08FF, "green": 0x34D369FF, "off": 0x8E96A3FF,
             "no": 0x50565EFF, "yes": 0x5AA9FFFF, "unknown": 0xB07CFFFF}  # fmt: skip
MPS_TO_KMH = 3.6


def export_rerun(review: Review, out: Path) -> list[Path]:
    """Writes ``out``/<drive>.rrd for every drive of the Dataset; returns the paths.

    Raises ModuleNotFoundError without rerun-sdk, UserError for an image that cannot be read.
    """
    new_folder(out)
    drives: dict[str, list[Sample]] = {}
    for row in review.rows.values():
        drives.setdefault(row.drive or row.scene, []).append(row)
    made: dict[Path, str] = {}
    for drive, rows in sorted(drives.items()):
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", drive).strip(".-") or "drive"
        path = out / f"{stem}.rrd"
        while path in made:  # two names that are written alike
            path = path.with_stem(f"{path.stem}-2")
        made[path] = drive
        write_drive(review, sorted(rows, key=lambda row: (row.t_s, row.frame, row.id)), drive, path)
    return list(made)


def write_drive(review: Review, rows: Sequence[Sample], drive: str, path: Path) -> None:
    """One recording. Timelines: ``time`` (seconds since the drive began) and ``frame``."""
    import rerun as rr

    pictures, asked = Pictures(review.data), {}
    for entry in review.entries:
        asked.setdefault(entry.id, []).append(entry)
    with rr.RecordingStream("edgekit_review", recording_id=f"{review.digest[:16]}-{drive}") as recording:
        recording.save(path)
        recording.send_recording_name(drive)
        styled: set[str] = set()
        before: dict[str, str] = {}
        for row in rows:
            recording.set_time("time", duration=row.t_s)
            recording.set_time("frame", sequence=row.frame)
            data, kind = pictures.whole(row)
            recording.log("camera", rr.EncodedImage(contents=data, media_type=kind))
            if row.speed_mps is not None:
                recording.log("speed/measured", rr.Scalars(row.speed_mps * MPS_TO_KMH))
            if row.label.speed_kmh is not None:
                recording.log("speed/recommended", rr.Scalars(float(row.label.speed_kmh)))
            shown = states_of(row)
            gone = dict.fromkeys(
                before.keys() - shown.keys(), ""
            )  # an empty state ends a lane until the next
            for place, value in (shown | gone).items():
                if place not in styled:
                    styled.add(place)
                    words = [*CLASSES[place.split("/")[1]], "unknown"]
                    colours = np.array([SEEN_FROM.get(word, 0x5AA9FFFF) for word in words], np.uint32)
                    recording.log(place, rr.StateConfiguration(values=words, colors=colours), static=True)
                if before.get(place) != value:
                    before[place] = value
                    recording.log(place, rr.StateChange(state=value))
            for entry in asked.get(row.id, ()):
                recording.log("review", rr.TextLog(f"{entry.task}: {entry.why}", level="WARN"))


def states_of(row: Sample) -> dict[str, str]:
    """Entity → state: every step of every task, and what the row ends with."""
    out = {}
    for task in TASKS:
        for step in row.tasks[task].history:
            if "step" in step and "value" in step:
                out[f"labels/{task}/{step['step']}"] = str(step["value"])
        out[f"labels/{task}/label"] = state(row.label, task)
    return out
