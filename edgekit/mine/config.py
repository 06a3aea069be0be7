"""MineConfig: which drives, which teacher, how its answers are smoothed."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from edgekit.core.recipe import Config, Plan
from edgekit.engine.endpoint import Endpoint
from edgekit.library import load_library


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
    """Drives and a teacher in, a Dataset out (and ``mining.json``: scored where drives hold truth).

    ``digests`` is filled in here, never by hand: what the two libraries say, so that mining with an
    edited one is another run.
    """

    inputs: ClassVar[tuple[str, ...]] = ("drives", "teacher")

    drives: list[str] = Field(min_length=1)  # drives, videos, folders of frames or drives, runs of render
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
    digests: dict[str, str] = {}

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

    @model_validator(mode="after")
    def _digest(self) -> MineConfig:
        names = {"library": self.library, "student_library": self.student_library}
        self.digests = {key: load_library(name).digest() for key, name in names.items()}
        return self

    def plan(self) -> Plan:
        from edgekit.mine.plan import plan_mining

        dynamic = self.prompts == "dynamic"
        return plan_mining(self.drives, self.teacher, self.every, self.frames_per_drive, dynamic, self.batch)
