"""Does the Bundle say what torch says? Compared on every golden frame, and held to the gate."""

from __future__ import annotations

import numpy as np

from edgekit.core.errors import GateError
from edgekit.core.progress import track
from edgekit.dataset import Dataset
from edgekit.engine.bundle import BundleAnswerer
from edgekit.export.golden import Golden


def compare(
    answerer: BundleAnswerer, data: Dataset, golden: list[Golden], max_tokens: int, what: str
) -> dict:
    """Frames, how many of them agree in greedy tokens and in answers, and the largest |Δlogit|."""
    free = answers = 0
    worst = 0.0
    for one in track(golden, what, unit="frame"):
        image, prompt = data.image(one.row), one.row.user_text
        free += list(answerer.write(image, prompt, max_tokens)) == one.free
        answers += answerer.answer([image], [prompt])[0].text == one.answer
        logits = answerer.score(answerer.read(image, prompt), one.tokens)
        worst = float(np.maximum(worst, np.abs(logits - one.logits).max()))  # a NaN stays one, and fails
    return {
        "frames": len(golden),
        "greedy_tokens_equal": free,
        "answers_equal": answers,
        "max_logit_difference": float(f"{worst:.3g}"),
    }


def gate(report: dict, limit: float) -> None:
    """Raises GateError where a frame's tokens or answer differ, or a logit by more than ``limit``."""
    frames = report["frames"]
    equal = report["greedy_tokens_equal"] == report["answers_equal"] == frames
    if equal and report["max_logit_difference"] <= limit:
        return
    raise GateError(
        "export: the Bundle does not say what torch says",
        f"of {frames} golden frames {report['greedy_tokens_equal']} have equal greedy tokens and "
        f"{report['answers_equal']} equal answers; max |Δlogit| {report['max_logit_difference']:.3g}, "
        f"limit {limit:g}",
        "no Bundle is written; look at the graph and the runtime's version before raising the limit",
    )
