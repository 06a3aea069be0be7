"""What a quantization would cost, from parameter counts: told by ``--dry-run``."""

from __future__ import annotations

from edgekit.core.recipe import Plan
from edgekit.models.sizes import sizes_of

TOKENS = 450  # of a calibration frame: a picture of 448×252 is 144, prompt and answer the rest
# AWQ runs each block's attention, MLP and down projection again for every grid point.
AGAIN = 1.33
CPU, GPU = 60e9, 0.35 * 300e12  # FLOP/s: two CPU cores; one data-centre GPU at 35 %


def plan_quantization(
    checkpoint: str, dtype: str, frames: int, check_frames: int, grid: int, gemm: bool
) -> Plan:
    """Estimates, each with what it rests on; nano where nothing is known of the checkpoint yet."""
    sizes, known = sizes_of(checkpoint)
    if sizes is None:
        return Plan(1.0, 0.1, 1.0, (f"sizes unknown: {known}; the numbers are for a nano model",))
    width = 4 if dtype == "float32" else 2
    kept = sizes.all - sizes.linears
    packed = sizes.linears * (0.5 + width / 128)
    gemm = (sizes.linears * (0.5 + 2 / 128 + 0.5 / 128) + 2 * kept) * gemm
    flops = 2 * sizes.linears * TOKENS * frames * (grid * AGAIN + 2)
    # Check frames are answered twice, float and packed, on the CPU: about one and a half prompts each.
    checks = 2 * sizes.all * TOKENS * 1.5 * check_frames * 2
    big = sizes.all > 1e9
    return Plan(
        memory_gb=round((sizes.all * width * 2 + 0.8e9) / 1e9, 1),
        disk_gb=round((width * kept + packed + gemm) / 1e9, 2),
        minutes=round((flops / (GPU if big else CPU) + checks / CPU) / 60 + 0.5, 1),
        notes=(
            f"{sizes.all / 1e9:.3g} B parameters ({known}), {sizes.linears / 1e9:.3g} B of them in 4 bits",
            f"memory: the weights twice at {width} bytes (in memory, and read back) + 0.8 GB",
            f"time: {frames} frames × {TOKENS} tokens × 2 FLOP × (grid {grid} × {AGAIN} + 2), "
            + ("one GPU at 35 % of 300 TFLOP/s" if big else "two CPU cores at 60 GFLOP/s"),
            f"and {check_frames} check frames answered twice on two CPU cores",
            "an estimate from these sizes, not a measurement",
        ),
    )
