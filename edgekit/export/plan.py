"""What an export would cost, from parameter counts: told by ``--dry-run``."""

from __future__ import annotations

from edgekit.core.recipe import Plan
from edgekit.models.sizes import sizes_of


def plan_export(checkpoint: str) -> Plan:
    """Estimates for a quantized checkpoint; nano where nothing is known of it yet."""
    sizes, known = sizes_of(checkpoint)
    if sizes is None:
        return Plan(1.5, 0.05, 2.0, (f"sizes unknown: {known}; the numbers are for a nano model",))
    packed = sizes.linears * (0.5 + 4 / 128)
    kept = 4 * (sizes.all - sizes.linears + (sizes.embedding if sizes.head == 0 else 0))
    return Plan(
        memory_gb=round((4 * sizes.all + packed + kept + 1e9) / 1e9, 1),
        disk_gb=round((packed + kept) / 1e9, 2),
        minutes=round(1.5 + sizes.all / 1e9 * 2, 1),
        notes=(
            f"{sizes.all / 1e9:.3g} B parameters ({known})",
            "memory: the dequantised weights in float32, the codes, the float rest once more, 1 GB",
            "disk: decoder linears at 4.25 bits, vision tower, embeddings and head in float32 "
            "(a float checkpoint: 4 bytes for all)",
            "time: 1.5 minutes of tracing + 2 minutes a billion parameters; estimates, not measurements",
        ),
    )
