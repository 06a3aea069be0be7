"""What an evaluation would cost, from parameter counts: told by ``--dry-run``."""

from __future__ import annotations

from edgekit.core.recipe import Plan
from edgekit.models.sizes import sizes_of

TOKENS = 600  # of a frame: picture and prompt 350, the answer's 110 about twice
CPU = 60e9  # FLOP/s of two CPU cores
DISK_GB = 0.05


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
