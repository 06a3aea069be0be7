"""A drive of twelve frames with a light that changes, its labels' steps, and a queue of three questions."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.contract import Contract
from edgekit.core.label import TASKS, SceneLabel, coherent
from edgekit.dataset import DatasetWriter, Sample, TaskMark
from edgekit.dataset.queue import Entry, QueueWriter, around
from edgekit.dataset.score import state

RGB = {"none": (90, 90, 90), "red": (230, 20, 20), "green": (20, 220, 60)}
SHOWN = ["none"] * 3 + ["red"] * 5 + ["green"] * 4
STRAY = 5  # a frame whose raw answer is wrong


def label(colour: str) -> SceneLabel:
    return coherent({
        "light": colour, "light_arrow": "any", "light_kind": "intersection", "other_left": "none",
        "other_straight": "none", "other_right": "none", "cones": "no", "obstacle": "none", "zebra": "no",
        "crossroad": "yes" if colour != "none" else "no", "recommended_speed_kmh": "0" if colour == "red" else "40",
    })  # fmt: skip


def step(name: str, said: SceneLabel, task: str, sure: float, **more) -> dict:
    slots = {slot: getattr(said, slot) for slot in TASKS[task]}
    return {"step": name, "value": state(said, task), "slots": slots, "confidence": sure, **more}


def marks(raw: SceneLabel, final: SceneLabel, review: tuple[str, ...]) -> dict[str, TaskMark]:
    out = {}
    for task in TASKS:
        history = [step("vlm", raw, task, 0.7), step("smoothed", final, task, 0.8, window_s=1.2)]
        if task == "light":
            fired = step("motion", final, task, 0.8, rule="standing_at_red", action="demote")
            history += [
                *([fired] if review else []),
                step("expert", label("green"), task, 0.6, by="ssd", boxes=[[1, 2, 3, 4]]),
                step("fused", final, task, 0.55),
            ]
        status = "review" if task in review else "kept"
        out[task] = TaskMark(
            source="smoothed", confidence=history[-1]["confidence"], status=status, history=history
        )
    return out


def write_dataset(folder, queue: bool = True):
    """Rows d/000000 … of SHOWN at 5 fps; d/000005 is asked about its light, 6 and 7 about other tasks."""
    contract = Contract(width=224, height=112)
    writer = DatasetWriter(
        folder, contract, made_by="mine", teacher="colours", prompt={"id": "p", "text": "?"}
    )
    review = {STRAY: ("light",), 6: ("speed",), 7: ("crossroad",)}
    times = [n / 5 for n in range(len(SHOWN))]
    entries = []
    for n, colour in enumerate(SHOWN):
        picture = np.full((112, 224, 3), 60, np.uint8)
        picture[60:] = (50, 80, 50)
        picture[20:40, 10 + 12 * n : 30 + 12 * n] = RGB[colour]
        raw, final = label("green" if n == STRAY else colour), label(colour)
        tasks = marks(raw, final, review.get(n, ()))
        writer.add("train", Sample.of(
            id=f"d/{n:06d}", prompt_text="what is ahead?", label=final, source="vlm", tasks=tasks,
            images=[writer.image(f"d/{n:06d}", picture)], drive="d", scene="s", frame=n, t_s=times[n],
            speed_mps=None if n == 2 else 4.0, tags=["night"], teacher="colours",
        ))  # fmt: skip
        entries += [
            Entry(id=f"d/{n:06d}", task=task, why=f"{task} is doubted", priority=1 - n / 20,
                  strip=[f"d/{i:06d}" for i in around(times, n)], history=tasks[task].history)
            for task in review.get(n, ())
        ]  # fmt: skip
    writer.finish()
    if queue:
        write_queue(folder, entries)
    return folder


def write_queue(root, entries):
    writer = QueueWriter(root)
    for entry in entries:
        writer.add(entry)
    writer.finish()


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "mined")
