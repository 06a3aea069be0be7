"""EvaluateConfig: which model, which Dataset, and the gates it must pass."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from edgekit.core.recipe import Config, Plan
from edgekit.engine.endpoint import Endpoint


class Gate(Config):
    """What must hold, else exit 3 (after the report is written). A key left out is not asked.

    f1: of each of the three detected tasks; average: of the nine; control_margin: with blanked and
    with shuffled images no task's balanced accuracy may lie further than this above chance; sight:
    balanced accuracy with true images at least this far above the same with blanked and with
    shuffled images, each task.
    """

    f1: float | None = Field(None, ge=0, le=1)
    average: float | None = Field(None, ge=0, le=1)
    speed_r2: float | None = Field(None, le=1)
    control_margin: float | None = Field(None, ge=0, le=1)
    sight: float | None = Field(None, ge=0, le=1)

    @property
    def wants_controls(self) -> bool:
        return self.control_margin is not None or self.sight is not None


class EvaluateConfig(Config):
    """A model and a Dataset in; metrics.json, predictions.jsonl, timing.json and report.html out."""

    inputs: ClassVar[tuple[str, ...]] = ("model", "dataset")

    model: str | None = None  # a Checkpoint or a Bundle
    kind: Literal["auto", "torch", "bundle", "endpoint"] = "auto"
    endpoint: Endpoint | None = None  # instead of a directory: an OpenAI-compatible port
    dataset: str
    split: Literal["train", "dev", "test"] = "test"
    frames: int | None = Field(None, ge=1)  # at most so many, spread evenly over the split
    batch: int = Field(8, ge=1, le=1024)

    resamples: int = Field(1000, ge=100, le=100_000)
    shuffles: int = Field(20, ge=0, le=100)  # permutations of the images that are averaged; 0: no controls
    latency_frames: int = Field(24, ge=0)  # asked once more, one at a time, for the milliseconds
    report_frames: int = Field(24, ge=0, le=500)
    gate: Gate | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _one_model(self) -> EvaluateConfig:
        if bool(self.model) == bool(self.endpoint):
            raise ValueError("name one of model (a directory) and endpoint (a port)")
        if (self.kind == "endpoint") != bool(self.endpoint) and self.kind != "auto":
            raise ValueError(f"kind: {self.kind} does not go with {'endpoint' if self.endpoint else 'model'}")
        if self.gate and self.gate.wants_controls and not self.shuffles:
            raise ValueError("gate.control_margin and gate.sight ask for controls: set shuffles ≥ 1")
        return self

    def plan(self) -> Plan:
        from edgekit.evaluate.plan import plan_evaluation

        return plan_evaluation(self.model, self.frames, self.batch)
