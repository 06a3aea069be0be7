"""What an evaluation would cost, from parameter counts: told by ``--dry-run``."""

from __future__ import annotations

from edgekit.core.recipe import Plan
from edgekit.models.sizes import sizes_of

TOKENS = 600  # of a frame: picture and prompt 350, the answer's 110 about twice
CPU = 60e9  # FLOP/s of two CPU cores
DISK_GB = 0.05
# A picture's way through each network: FLOP, and the weights' memory, GB.
FEATURES = {"inception": (11.4e9, 0.1), "clip": (160e9, 1.7), "alexnet": (0.2e9, 0.1), "scenes": (5e6, 0.05)}


def plan_evaluation(model: str | None, frames: int | None, batch: int) -> Plan:
    """Estimates for a Checkpoint in torch; a nano's where nothing is known of the model yet."""
    frames = frames or 500
    if model is None:
        return Plan(0.4, DISK_GB, 1.0, ("the port's own memory and time are not known here",))
    sizes, known = sizes_of(model)
    if sizes is None:
        return Plan(1.5, DISK_GB, 1.0, (f"sizes unknown: {known}; the numbers are for a nano model",))
    # Of each frame in a batch: keys and values of about 450 tokens, and 110 rows of logits.
    image = 0.3e9 if sizes.all > 1e9 else 0.03e9
    return Plan(
        memory_gb=round((4 * sizes.all + batch * image + 1.2e9) / 1e9, 1),
        disk_gb=DISK_GB,
        minutes=round(0.5 + 2 * sizes.all * TOKENS * frames / CPU / 60, 1),
        notes=(
            f"{sizes.all / 1e9:.3g} B parameters ({known})",
            f"memory: the weights in float32, {image / 1e9:g} GB for each of {batch} frames, 1.2 GB",
            f"time: {frames} frames × {TOKENS} tokens × 2 FLOP a parameter, two CPU cores at 60 GFLOP/s",
            "an estimate from these sizes, not a measurement",
        ),
    )


def plan_images(features: list[str], frames: int | None, batch: int, steps: int) -> Plan:
    """Estimates for comparing painted pictures with real ones; steps: of scene classifiers' training."""
    count = frames or 1000
    flop = sum(FEATURES[kind][0] for kind in features)
    learning = steps * 64 * 3 * 5e6 / CPU / 60 + 0.0005 * steps  # small kernels: the overhead is most of it
    return Plan(
        memory_gb=round(0.9 + sum(FEATURES[kind][1] for kind in features) + 0.02 * batch, 1),
        disk_gb=DISK_GB,
        minutes=round(0.3 + learning + 3 * count * (flop / CPU + 0.01 * len(features)) / 60, 1),
        notes=(
            f"{', '.join(features)}: {flop / 1e9:.3g} GFLOP a picture, two CPU cores at 60 GFLOP/s",
            f"{count} pictures each: painted, real, and those that were learned from"
            + ("" if frames else "; frames is not set, 1,000 assumed"),
            "an estimate from these sizes, not a measurement",
        ),
    )
