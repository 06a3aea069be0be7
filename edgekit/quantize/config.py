"""QuantizeConfig: which checkpoint, calibrated on what."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from edgekit.core.recipe import Config, Plan


class QuantizeConfig(Config):
    """A float Checkpoint and a Dataset in, a 4-bit Checkpoint out (and ``awq-gemm/`` beside it)."""

    inputs: ClassVar[tuple[str, ...]] = ("checkpoint", "calibration")

    kind: Literal["awq"] = "awq"
    checkpoint: str
    calibration: str  # a Dataset; only its train split is looked at
    frames: int = Field(64, ge=1)  # calibrated on, taken evenly over labels and tags
    check_frames: int = Field(32, ge=1)  # other train frames, answered before and after
    grid: int = Field(20, ge=4)  # points of AWQ's scale search
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the weights while calibrating, and of the scales
    min_answers_equal: float = Field(0.0, ge=0, le=1)  # gate: share of check frames with the same answer
    gemm: bool = True  # also AutoAWQ's layout, for runtimes that read that one
    threads: int = Field(1, ge=1)
    seed: int = 0

    def plan(self) -> Plan:
        from edgekit.quantize.plan import plan_quantization

        return plan_quantization(
            self.checkpoint, self.dtype, self.frames, self.check_frames, self.grid, self.gemm
        )
