"""What a tuning would cost, from tables and formulas: told by ``--dry-run``. Light: no torch."""

from __future__ import annotations

from edgekit.core.recipe import Plan
from edgekit.generators.config import NanoGenerator
from edgekit.generators.cost import CPU, GPU, ONE_DEVICE, cost_of

# The share of the denoiser that a method trains, roughly: with its defaults on DiT-XL/2.
_SHARES = {"full": 1.0, "bitfit": 0.001, "difffit": 0.0012, "vpt": 0.0042, "driveditfit": 0.007, "tsm": 0.05}
_OTHERS = 0.01
# GB of activations a TFLOP of a forward pass, in bf16, and what is left of them with checkpointing.
_ACTIVATIONS, _CHECKPOINTED = 3.0, 0.15


def plan_tuning(
    *, base: str | None, nano: NanoGenerator | None, method: str, batch: int, passes: int, bf16: bool,
    checkpointing: bool, threads: int, looks: int,
) -> Plan:  # fmt: skip
    """One device: the frozen parts as they are, 16 bytes for each trained parameter (AdamW), activations.

    passes: batches that are learned from; looks: pictures through the denoiser that the report takes.
    """
    cost, share = cost_of(base, nano), _SHARES.get(method, _OTHERS)
    trained = share * cost.denoiser + (cost.others if nano else 0)
    narrow = bf16 and method != "full"
    width = 1 if bf16 else 2
    weights = (2 if narrow else 4) * (cost.denoiser + cost.others)
    kept = _ACTIVATIONS * (_CHECKPOINTED if checkpointing else 1) * width
    memory = (weights + 12 * trained) / 1e9 + kept * cost.flop / 1e12 * batch + 0.6
    # A frozen weight needs no gradient of its own: backward costs one forward, two where all is trained.
    forwards = (3 if share == 1 else 2) + (1 if checkpointing else 0)
    flop = cost.flop * (forwards * batch * passes + looks)
    speed = GPU if cost.big else CPU * min(threads, 2)
    notes = [
        f"denoiser {cost.denoiser / 1e6:.3g} M parameters, {trained / 1e6:.3g} M trained in 16 bytes each; "
        f"text encoders and VAE {cost.others / 1e6:.3g} M",
        f"time: {cost.flop / 1e9:.3g} GFLOP a picture and forward pass, {forwards} passes' worth a step; "
        + ("one GPU at 35 % of 300 TFLOP/s" if cost.big else "CPU cores at 25 GFLOP/s"),
        "an estimate from these sizes, not a measurement",
    ]
    if memory > ONE_DEVICE:
        notes.insert(
            0,
            f"{memory:.0f} GB do not fit one device of {ONE_DEVICE} GB: lower train.batch, or set "
            "train.gradient_checkpointing and precision: bf16",
        )
    return Plan(
        memory_gb=round(memory, 1),
        disk_gb=round((24 * trained + (4 * (cost.denoiser + cost.others) if nano else 0)) / 1e9 + 0.02, 2),
        minutes=round(flop / speed / 60 + 0.3, 1),
        notes=tuple(notes),
    )
