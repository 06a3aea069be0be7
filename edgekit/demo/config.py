"""The demo's recipe: what model, what drive, how fast, and what is shown."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from edgekit.core.recipe import Config, Plan
from edgekit.library import load_library


class Page(Config):
    """The live page. Off loopback it is served only where EDGEKIT_TOKEN is set, and asks for it."""

    host: str = "127.0.0.1"
    port: int = Field(8600, ge=0, le=65535)  # 0: any free one; the address is printed


class Window(Config):
    """Causal smoothing: the past half of the window that ``mine`` uses (edgekit.mine.smooth.Window)."""

    enabled: bool = True
    distance_m: float = Field(10.0, gt=0)  # of the whole window; half of it lies behind a frame
    v_min_mps: float = Field(1.0, gt=0)  # slower than this counts as this
    t_min_s: float = Field(0.2, gt=0)
    t_max_s: float = Field(3.0, gt=0)
    unknown_mps: float = Field(10.0, gt=0)  # taken where no speed is measured (a plain video)


class DemoConfig(Config):
    """The on-vehicle loop over a drive or a video.

    ``digests`` is filled in here, never by hand: what the prompt library says, so that driving with an
    edited one is another run.
    """

    inputs: ClassVar[tuple[str, ...]] = ("model", "drive")

    model: str  # a Bundle; for development a Checkpoint
    kind: Literal["auto", "bundle", "torch"] = "auto"
    drive: str  # a Drive, a run that holds drives, or a video file
    drive_id: str | None = None  # which of several drives; default: the first by name
    prompts: str = "library"  # the prompt library (or its file) whose default composition is asked

    realtime: bool = False  # true: paced by the clock, newest frame wins; false: every frame, in order
    fps: float | None = Field(None, gt=0, le=240)  # pace of the camera; default: the drive's own
    deadline_ms: float = Field(200.0, gt=0)  # from a frame's capture to its advice
    ttl_ms: float = Field(1000.0, gt=0)  # advice older than this is not shown
    warmup_answers: int = Field(2, ge=0, le=100)  # before the clock starts, on the first frame; not counted
    max_frames: int | None = Field(None, ge=1)
    loop: bool = False  # true: the drive begins again until it is stopped (Ctrl-C, SIGTERM)
    threads: int = Field(1, ge=1, le=256)  # of the model's runtime

    window: Window = Window()
    video: bool = True  # annotated.mp4 (needs PyAV)
    width: int = Field(896, ge=112, le=3840)  # of the annotated frames, pixels
    page: Page | None = None
    digests: dict[str, str] = {}

    @model_validator(mode="after")
    def _ends(self) -> DemoConfig:
        if self.loop and self.video:
            raise ValueError("loop: true has no end, and so no annotated video: set video: false")
        return self

    @model_validator(mode="after")
    def _digest(self) -> DemoConfig:
        self.digests = {"prompts": load_library(self.prompts).digest()}
        return self

    def plan(self) -> Plan:
        """Rests on the nano Bundle; a real model adds its own weights to the memory."""
        return Plan(1.0, 0.1, 2.0, ("a nano model; a drive of some hundred frames",))
