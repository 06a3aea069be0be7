"""Drives of painted frames, and a model that answers by their colour, as slowly as it is told to."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from edgekit.core.contract import Contract
from edgekit.core.label import SceneLabel, to_answer
from edgekit.drives import DriveInfo, Telemetry, write_drive
from edgekit.engine.answerer import Answer

RED = SceneLabel(
    recommended_speed_kmh="0", light="red", light_arrow="any", light_kind="intersection", cones="no",
    obstacle="none", crossroad="yes", zebra="no",
    other_left="none", other_straight="none", other_right="none",
)  # fmt: skip
CLEAR = SceneLabel(
    recommended_speed_kmh="50", light="none", light_arrow="none", light_kind="none", cones="no",
    obstacle="none", crossroad="no", zebra="no",
    other_left="none", other_straight="none", other_right="none",
)  # fmt: skip


def frame(red: bool) -> np.ndarray:
    image = np.full((84, 140, 3), 60, dtype=np.uint8)
    image[20:50, 50:90] = (220, 20, 20) if red else (20, 20, 220)
    return image


class Fake:
    """Sees red where the frame is red. delay_s: how long an answer takes; fails_at: the call that raises."""

    name = "fake"
    contract = Contract(width=112, height=56)

    def __init__(self, delay_s: float = 0.0, fails_at: int | None = None):
        self.delay_s, self.fails_at, self.calls = delay_s, fails_at, 0
        self.last_timing: dict[str, float] = {}

    def answer(self, images, prompts) -> list[Answer]:
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("out of memory")
        time.sleep(self.delay_s)
        self.last_timing = {"preprocess_ms": 1.0, "vision_ms": 2.0, "prefill_ms": 3.0, "decode_ms": 4.0}
        labels = [RED if image[..., 0].max() > 150 else CLEAR for image in images]
        return [Answer(to_answer(label), label) for label in labels]


def make_drive(folder: Path, reds: list[bool], fps: float = 20.0) -> Path:
    times = np.arange(max(len(reds), 1)) / fps
    telemetry = Telemetry(times, np.full(len(times), 10.0), np.zeros(len(times)), np.zeros(len(times)))
    write_drive(folder, DriveInfo(id=folder.name, fps=fps), (frame(red) for red in reds), telemetry)
    return folder
