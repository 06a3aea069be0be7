"""One record a finished frame: its Dataset row and its truth, made from the spec and the ids image."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgekit.core.label import TASKS, SceneLabel, to_text
from edgekit.dataset import Sample, TaskMark
from edgekit.library import Prompt
from edgekit.render.describe import describe
from edgekit.render.labels import answerable, truth_of
from edgekit.render.spec import Spec, camera_of


def files_of(out: Path, spec: Spec, frame: dict[str, Any]) -> list[Path]:
    """What the worker writes for a frame."""
    stem = frame["stem"]
    files = [out / "images" / f"{stem}.jpg", out / "ids" / f"{stem}.png"]
    return files + ([out / "depth" / f"{stem}.npz"] if spec["passes"]["depth"] else [])


def finished(out: Path, spec: Spec, frame: dict[str, Any]) -> bool:
    """All files are there; each came by rename, so each is whole."""
    return all(os.path.exists(path) for path in files_of(out, spec, frame))


def record_frame(out: Path, spec: Spec, frame: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    """{"split", "row", "truth"} of a finished frame."""
    with Image.open(out / "ids" / f"{frame['stem']}.png") as image:
        ids = np.asarray(image).astype(np.uint16)
    truth = truth_of(spec, frame, camera_of(spec, frame), ids)
    label = SceneLabel(**answerable(truth))
    name = f"{spec['scene']}/{frame['index']:06d}"
    sample = Sample.of(
        prompt_text=prompt.text,
        prompt=prompt.record(),
        label=label,
        source="render",
        tasks={
            t: TaskMark(source="render", status="kept" if truth["visible"][t] else "dropped") for t in TASKS
        },
        id=name,
        images=[f"images/{frame['stem']}.jpg"],
        drive=spec["scene"] if spec["mode"] == "drive" else None,
        scene=spec["scene"],
        frame=frame["index"],
        t_s=frame["t_s"],
        speed_mps=frame["speed_mps"],
        tags=spec["conditions"]["tags"],
    )
    return {
        "split": spec["split"],
        "row": sample.model_dump(mode="json"),
        "truth": {
            "id": name,
            "case": frame["case"],
            **truth,
            "description": describe(spec, frame, truth),  # for text-to-image
            "text": to_text(label),  # the paper's four lines, of what the row's label answers
            "layout": spec["layout"],
            "mount": spec["mount"],
            "camera": frame["camera"],
            "facts": frame["facts"],
            **spec["conditions"],
        },
    }
