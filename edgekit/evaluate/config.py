"""EvaluateConfig: which model or which painted pictures, which Dataset, and the gates a model must pass."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from edgekit.core.recipe import Config, Plan
from edgekit.engine.endpoint import Endpoint
from edgekit.generators.quality.config import FeatureConfig, Scenes


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
    """A model and a Dataset in; metrics.json, predictions.jsonl, timing.json and report.html out.

    Or painted pictures, ``images``, which ``features`` compare with the Dataset's: then metrics.json and
    report.html. Of the keys below, frames (of either side), batch, resamples, report_frames and seed count.
    """

    inputs: ClassVar[tuple[str, ...]] = ("model", "dataset", "images", "feature_files")

    model: str | None = None  # a Checkpoint or a Bundle
    kind: Literal["auto", "torch", "bundle", "endpoint"] = "auto"
    endpoint: Endpoint | None = None  # instead of a directory: an OpenAI-compatible port
    images: str | None = None  # instead of a model: a Dataset of edgekit generate, or a folder of pictures
    features: list[FeatureConfig] = Field(default_factory=lambda: [Scenes()], min_length=1)  # of images
    dataset: str  # with images: the real ones
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
        if [bool(self.model), bool(self.endpoint), bool(self.images)].count(True) != 1:
            raise ValueError(
                "name one of model (a directory), endpoint (a port) and images (painted pictures): exactly one"
            )
        if self.images and self.gate:
            raise ValueError(
                "gate does not go with images: distances between clouds of pictures depend on how many there "
                "are and on the features' network, so that no stated limit would hold; leave gate out"
            )
        if self.images and self.kind != "auto":
            raise ValueError(f"kind: {self.kind} is of a model, and images are to be evaluated")
        if (self.kind == "endpoint") != bool(self.endpoint) and self.kind != "auto":
            raise ValueError(f"kind: {self.kind} does not go with {'endpoint' if self.endpoint else 'model'}")
        if self.gate and self.gate.wants_controls and not self.shuffles:
            raise ValueError("gate.control_margin and gate.sight ask for controls: set shuffles ≥ 1")
        return self

    @property
    def feature_files(self) -> list[str]:
        """What ``features`` read, in their order: an input, so that its digest is recorded."""
        if not self.images:
            return []
        return [place for feature in self.features for place in places_of(feature)]

    def plan(self) -> Plan:
        from edgekit.evaluate.plan import plan_evaluation, plan_images

        if self.images:
            steps = sum(f.steps for f in self.features if f.kind == "scenes")
            return plan_images([f.kind for f in self.features], self.frames, self.batch, steps)
        return plan_evaluation(self.model, self.frames, self.batch)


def places_of(feature: FeatureConfig) -> list[str]:
    """Files and folders that an extractor is made of."""
    if feature.kind == "scenes":
        return feature.data
    return [feature.model if feature.kind == "clip" else feature.file]
