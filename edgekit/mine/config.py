"""MineConfig: which drives, which teacher, how its answers are smoothed."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from edgekit.core.recipe import Config, Plan
from edgekit.engine.endpoint import Endpoint


class Smoothing(Config):
    """A window that spans a travelled distance; see edgekit/mine/smooth.py."""

    distance_m: float = Field(10.0, gt=0)
    v_min_mps: float = Field(1.0, gt=0)
    t_min_s: float = Field(0.2, ge=0)  # shortest and longest whole window
    t_max_s: float = Field(3.0, gt=0)
    unknown_mps: float = Field(10.0, ge=0)  # the speed taken where none was measured
    causal: bool = False  # the past half only, as the demo smooths

    @model_validator(mode="after")
    def _ordered(self) -> Smoothing:
        if self.t_min_s > self.t_max_s:
            raise ValueError(f"t_min_s {self.t_min_s} is above t_max_s {self.t_max_s}")
        return self


class MineConfig(Config):
    """Drives and a teacher in, a Dataset out (and ``mining.json``: scored where drives hold truth)."""

    inputs: ClassVar[tuple[str, ...]] = ("drives", "teacher")

    drives: list[str] = Field(min_length=1)  # drives, videos, frame folders, or runs that hold drives/
    teacher: str | None = None  # a Checkpoint or a Bundle
    kind: Literal["auto", "torch", "bundle", "endpoint"] = "auto"
    endpoint: Endpoint | None = None  # instead of a directory: an OpenAI-compatible port

    library: str = "library"  # the prompt library that the teacher is asked with
    # default: one question a frame; dynamic: a second one, composed of what the first answer saw
    prompts: Literal["default", "dynamic"] = "default"
    student_library: str = "library"  # whose default prompt the Dataset's rows carry
    batch: int = Field(8, ge=1, le=1024)
    every: int = Field(1, ge=1)  # take each n-th frame
    frames_per_drive: int | None = Field(None, ge=1)

    smoothing: Smoothing | None = Field(default_factory=Smoothing)  # null: raw answers
    splits: dict[Literal["train", "dev", "test"], float] = {"train": 1.0}  # shares of the scenes
    resamples: int = Field(1000, ge=100, le=100_000)
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> MineConfig:
        if bool(self.teacher) == bool(self.endpoint):
            raise ValueError("name one of teacher (a directory) and endpoint (a port)")
        if (self.kind == "endpoint") != bool(self.endpoint) and self.kind != "auto":
            raise ValueError(
                f"kind: {self.kind} does not go with {'endpoint' if self.endpoint else 'teacher'}"
            )
        if abs(sum(self.splits.values()) - 1) > 1e-6 or min(self.splits.values()) < 0:
            raise ValueError(f"splits must be shares that sum to 1, got {self.splits}")
        return self

    def plan(self) -> Plan:
        """Memory and disk of a nano teacher in torch; the drives are not opened, so time is per frame."""
        gb = 1.5 if self.endpoint is None else 0.4
        return Plan(gb, 0.2, 1.0, ("for a nano teacher and about 1000 frames; a 7B wants 16 GB and more",))
