"""What is measured of every arm alike: the error on held-out pictures, and what its samples look like.

Noise, noise times and the samples' seeds are the same for all arms, seeds and methods: differences are paired.
Distances between pictures are in the features of a small scene classifier, a stand-in for Inception: they order
arms of one study and mean nothing beside a published FID.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.files import read_json
from edgekit.generators.adapters.files import load_adapter
from edgekit.generators.open import open_generator
from edgekit.generators.quality.distance import frechet, kernel, precision_recall
from edgekit.tune.data import Latents
from edgekit.tune.study.ground import Ground
from edgekit.tune.study.looks import LOOKS, by_time

KEPT = 8  # samples that are kept for the figure
_SEED = 17  # of the kernel distance's subsets


def measure(ground: Ground, inner: Path) -> dict[str, Any]:
    """Of a finished training: {"numbers": {column: value}, "loss_by_t": [...], what the looks gave}."""
    generator = open_generator(ground.base)
    adapter = load_adapter(inner / "out" / "adapter", generator)
    tuned = read_json(inner / "out" / "tune.json")
    latents = Latents(generator)
    by_t = [float(square.mean()) for _, _, (square, _) in by_time(ground, generator, latents, ground.frames)]
    asked = [ground.frames[i % len(ground.frames)].asked for i in range(ground.study.samples)]
    painted = ground.paint(generator, asked).numpy()
    numbers = {
        "parameters": tuned["parameters"]["trainable"],
        "loss": float(np.mean(by_t)),
        **likeness(ground, painted, asked),
    }
    told: dict[str, Any] = {"loss_by_t": by_t, "facts": tuned["facts"]}
    for look in ground.study.looks:
        more, kept = LOOKS[look](ground, generator, adapter, latents)
        numbers |= more
        told |= kept
    np.savez_compressed(
        inner / "samples.npz", painted=painted[:KEPT], real=ground.real[:KEPT], asked=np.array(asked[:KEPT])
    )
    return told | {"numbers": {key: round(float(value), 6) for key, value in numbers.items()}}


def likeness(ground: Ground, painted: np.ndarray, asked: list[str]) -> dict[str, float]:
    fake, real = ground.net.features(painted).pooled, ground.real_features
    precision, recall = precision_recall(real, fake)
    told = {"frechet": frechet(real, fake), "kid": kernel(real, fake, seed=_SEED)[0],
            "precision": precision, "recall": recall}  # fmt: skip
    wanted = ground.wanted([ground.frames[i % len(ground.frames)] for i in range(len(asked))])
    return told | {f"right_{f}": share for f, share in ground.net.accuracy(painted, wanted).items()}
