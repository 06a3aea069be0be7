"""What a distillation would cost, from parameter counts: told by ``--dry-run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.core.recipe import Plan
from edgekit.models.sizes import sizes_of

if TYPE_CHECKING:
    from edgekit.distill.config import DistillConfig

_NANO = 0.004


def billions(name: str | None) -> float:
    """Parameters (1e9) of a checkpoint, by its config.json or its published shape; else a nano's."""
    sizes, _ = sizes_of(name) if name else (None, "")
    return round(sizes.all / 1e9, 3) if sizes else _NANO


def plan_training(config: DistillConfig) -> Plan:
    """Weights in bf16 for what is frozen, 16 bytes a parameter for what AdamW trains."""
    teacher = billions(config.teacher) if config.teacher else 0.0
    student = billions(config.student_from or (config.teacher if config.student.kind == "shrink" else None))
    tokens = config.train.steps * config.train.batch * 600.0
    flops = tokens * 1e9 * (6 * student + 2 * teacher * (config.loss.alpha > 0))
    big = max(student, teacher) > 1
    rate = 8 * 300e12 * 0.35 if big else 60e9
    return Plan(
        memory_gb=round(2 * teacher + 16 * student + 1, 1),
        disk_gb=round(4 * student * 3 + 0.05, 2),
        minutes=round(flops / rate / 60 + 0.3, 1),
        notes=(
            f"teacher {teacher:g} B frozen in 2 bytes, student {student:g} B in 16 bytes a parameter (AdamW)",
            "time: 600 tokens a frame, 6 FLOP a parameter learned and 2 taught; "
            + ("8 GPUs at 35 % of 300 TFLOP/s" if big else "60 GFLOP/s, two CPU cores"),
            "an estimate from these sizes, not a measurement",
        ),
    )
