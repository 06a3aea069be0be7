"""What a distillation would cost, from parameter counts: told by ``--dry-run``."""

from __future__ import annotations

from edgekit.core.recipe import Plan
from edgekit.models.sizes import Sizes, sizes_of

_NANO = Sizes(2_600_000, 850_000, 524_288, 0, 5_000)  # where nothing is known of the checkpoint yet
TOKENS = 600  # of a frame
# Parameters·tokens·FLOP a second. CPU: two cores, so that the nano student's 112 steps are what they were
# measured to take (under two minutes; much that is counted, embeddings say, is not computed).
CPU, GPU = 320e9, 0.35 * 300e12
ONE_DEVICE = 80  # GB of a common data-centre GPU


def plan_training(
    *, teacher: str | None, start: str | None, taught: bool, batch: int, steps: int, lora_steps: int,
    bf16: bool, tower_frozen: bool, save_dtype: str, runs: int,
) -> Plan:  # fmt: skip
    """One device: a frozen teacher, and 16 bytes a parameter for what AdamW trains, 4 for what it does not.

    start: the checkpoint whose sizes the student has, None for a nano; taught: the teacher answers while
    it learns; runs: trainings one after another.
    """
    frozen_bytes, of_teacher = 2 if bf16 else 4, _sizes(teacher).all if teacher else 0
    sizes = _sizes(start)
    student, still = sizes.all, sizes.vision if tower_frozen else 0
    asked = 2 * of_teacher * taught
    # 6 FLOP a parameter: forward 2, backward 4; LoRA needs no gradients of the weights themselves.
    flops = TOKENS * batch * (steps * (6 * student + asked) + lora_steps * 4 * student)
    big = max(student, of_teacher) > 1e9
    save = 4 if save_dtype == "float32" else 2
    memory = (frozen_bytes * of_teacher + 16 * (student - still) + 4 * still) / 1e9 + 1
    notes = [
        f"teacher {of_teacher / 1e9:.3g} B frozen in {frozen_bytes} bytes, student {student / 1e9:.3g} B in 16 bytes "
        "a parameter (AdamW), all on one device: the accelerator where there is one",
        f"disk: 24 bytes a parameter to resume from, {save} for the student before and {save} after",
        f"time: {TOKENS} tokens a frame, 6 FLOP a parameter learned, 4 under LoRA, 2 taught; "
        + (
            "one GPU at 35 % of 300 TFLOP/s" if big else "two CPU cores, by the nano student's measured steps"
        ),
        "an estimate from these sizes, not a measurement",
    ]
    if runs > 1:
        notes.insert(0, f"a study: {runs} trainings one after another; scoring them comes on top")
    if memory > ONE_DEVICE:
        notes.insert(
            0,
            f"{memory:.0f} GB do not fit one device of {ONE_DEVICE} GB, and nothing is spread over several: "
            "name a smaller teacher or student, or use a device that holds it",
        )
    return Plan(
        memory_gb=round(memory, 1),
        disk_gb=round(student * (24 + save * (1 + runs)) / 1e9 + 0.05, 2),
        minutes=round(runs * (flops / (GPU if big else CPU) / 60 + 0.3), 1),
        notes=tuple(notes),
    )


def _sizes(name: str | None) -> Sizes:
    """By the checkpoint's config.json or its published shape; else a nano's."""
    return (sizes_of(name)[0] if name else None) or _NANO
