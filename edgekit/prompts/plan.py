"""What a search would cost, from its budget: told by ``--dry-run``."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.recipe import Plan
from edgekit.models.sizes import sizes_of

TOKENS = 600  # of an evaluation: picture and prompt 350, the answer's 110 about twice
CPU = 60e9  # FLOP/s of two CPU cores
ANSWER_GB = 1.2e-6  # of the answers' log


def plan_prompts(model: str | None, budget: int, batch: int, refused: Sequence[str] = ()) -> Plan:
    """Estimates for a Checkpoint in torch, the whole budget spent; a nano's where nothing is known of it.

    refused: notes on what would end the run.
    """
    disk = round(0.01 + budget * ANSWER_GB, 2)
    told = f"at most {budget} evaluations (a prompt on an image), the held-out split's among them"
    if model is None:
        return Plan(0.5, disk, 1.0, (told, *refused, "the port's own memory and time are not known here"))
    sizes, known = sizes_of(model)
    parameters = sizes.all if sizes else 2_600_000
    # Of each frame in a batch: keys and values of about 450 tokens, and 110 rows of logits.
    image = 0.3e9 if parameters > 1e9 else 0.03e9
    return Plan(
        memory_gb=round((4 * parameters + batch * image + 1.2e9) / 1e9, 1),
        disk_gb=disk,
        minutes=round(0.5 + 2 * parameters * TOKENS * budget / CPU / 60, 1),
        notes=(
            told,
            *refused,
            f"{parameters / 1e9:.3g} B parameters ({known if sizes else f'{known}: a nano is taken'})",
            f"time: {TOKENS} tokens an evaluation × 2 FLOP a parameter, two CPU cores at 60 GFLOP/s",
            "an estimate from these sizes, not a measurement",
        ),
    )
