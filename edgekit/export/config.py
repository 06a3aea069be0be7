"""ExportConfig: which checkpoint, proved on which frames."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from edgekit.core.recipe import Config, Plan


class ExportConfig(Config):
    """A Checkpoint, float or quantized, and a Dataset for the golden frames in; a Bundle out."""

    inputs: ClassVar[tuple[str, ...]] = ("checkpoint", "golden")

    kind: Literal["onnx"] = "onnx"
    checkpoint: str
    golden: str  # a Dataset; frames of its test split prove the Bundle, and travel in it
    frames: int = Field(4, ge=1)
    max_tokens: int = Field(96, ge=1)  # of the unconstrained greedy answer that must be equal
    logit_steps: int = Field(8, ge=1)  # steps whose logits travel in the Bundle; all are compared
    max_logit_difference: float = Field(1e-3, gt=0)  # gate
    accuracy_level: Literal[4] | None = None  # also a faster decoder in int8, reported apart
    opset: int = Field(20, ge=20)
    threads: int = Field(1, ge=1)

    def plan(self) -> Plan:
        from edgekit.export.plan import plan_export

        return plan_export(self.checkpoint)
