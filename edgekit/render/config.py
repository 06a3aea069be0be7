"""What one may ask of the render station. Light: no bpy, no numpy."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field, model_serializer, model_validator

from edgekit.core.recipe import Config, Plan
from edgekit.render.conditions import CameraEffects

Weather = Literal["clear", "rain", "cloudy", "fog", "snow"]
Time = Literal["day", "dusk", "night", "low_sun"]
Split = Literal["train", "dev", "test"]


class Strict(Config):
    model_config = ConfigDict(frozen=True)


class Shares(Strict):
    """How often each case is drawn. The first six exclude one another and sum to 1.

    A drive uses the others alone: its stories take the place of the first six.
    """

    beyond: float = Field(0.30, ge=0, le=1)  # junction passed, open road ahead
    bare: float = Field(0.10, ge=0, le=1)  # junction ahead, no traffic light
    red: float = Field(0.17, ge=0, le=1)
    yellow: float = Field(0.17, ge=0, le=1)
    green: float = Field(0.17, ge=0, le=1)
    off: float = Field(0.09, ge=0, le=1)  # a head with no lamp lit
    cones: float = Field(0.45, ge=0, le=1)
    barrier: float = Field(0.15, ge=0, le=1)
    second_head: float = Field(0.40, ge=0, le=1)
    zebra: float = Field(0.65, ge=0, le=1)
    four_lanes: float = Field(0.50, ge=0, le=1)

    @model_validator(mode="after")
    def _cases_sum_to_one(self) -> "Shares":
        total = self.beyond + self.bare + self.red + self.yellow + self.green + self.off
        if abs(total - 1) > 1e-6:
            raise ValueError(f"beyond + bare + red + yellow + green + off must be 1, and is {total:.4f}")
        return self


class Passes(Strict):
    ids: bool = True  # 16-bit class*1000+instance beside every image; visibility is read from it
    depth: bool = False  # planar depth in metres


class RenderConfig(Strict):
    operational: ClassVar[tuple[str, ...]] = (
        "workers",
        "frames_per_worker",
        "frame_timeout_s",
        "failed_scenes_max",
        "blender_python",
    )
    scenes: int = Field(2, ge=1, le=100_000)
    seed: int = Field(1, ge=0)  # scene i has seed + i
    mode: Literal["poses", "drive"] = "poses"
    frames_per_scene: int = Field(4, ge=1, le=200)
    fps: float = Field(5.0, gt=0, le=60)
    width: int = Field(448, ge=56, le=1792, multiple_of=28)
    height: int = Field(252, ge=28, le=1792, multiple_of=28)
    hfov_deg: float = Field(60.0, gt=10, lt=120)
    samples: int = Field(4, ge=1, le=1024)  # Cycles samples a pixel, denoised afterwards
    bounces: int = Field(2, ge=0, le=8)
    shares: Shares = Shares()
    cones_min: int = Field(2, ge=1, le=6)
    cones_max: int = Field(6, ge=1, le=6)
    weather: dict[Weather, float] = {"clear": 0.7, "rain": 0.3}
    time: dict[Time, float] = {"day": 0.5, "dusk": 0.25, "night": 0.25}
    camera: CameraEffects = CameraEffects()
    splits: dict[Split, float] = {"train": 0.8, "dev": 0.04, "test": 0.16}
    passes: Passes = Passes()
    workers: int = Field(2, ge=1, le=256)  # processes, one Blender thread each
    frames_per_worker: int = Field(400, ge=1)  # then the process is replaced, against leaks
    frame_timeout_s: float = Field(300.0, gt=0)
    failed_scenes_max: float = Field(0.05, ge=0, le=1)
    student_library: str = "library"  # whose default prompt the Dataset's rows carry
    blender_python: str = ""  # default: $EDGEKIT_BLENDER_PYTHON, else .venv/side/blender/bin/python

    def plan(self) -> Plan:
        frames = self.scenes * self.frames_per_scene
        megapixels = frames * self.width * self.height / 1e6
        effects = 1.4 if self.camera != CameraEffects() else 0.0  # all of them at once
        cpu_s = frames * 0.3 + megapixels * (2.5 + 4.5 * self.samples + effects)
        return Plan(
            memory_gb=0.3 + 0.6 * self.workers,
            disk_gb=round(megapixels * (0.0006 + 0.002 * self.passes.depth), 3),
            minutes=round(cpu_s / self.workers / 60, 1),
            notes=(
                f"{frames} frames, {cpu_s / frames:.1f} cpu-s each (measured on an EPYC core)",
                f"{self.workers} worker(s) on as many free cores",
            ),
        )

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked(self, handler):
        # a run begun before there was this group is still the run of the same recipe
        resolved = handler(self)
        if self.camera == CameraEffects():
            resolved.pop("camera", None)
        return resolved

    @model_validator(mode="after")
    def _shares_are_shares(self) -> "RenderConfig":
        for name in ("weather", "time", "splits"):
            shares = getattr(self, name)
            if not shares or min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
                raise ValueError(f"{name} must be shares of 1, and is {shares}")
        if self.cones_min > self.cones_max:
            raise ValueError(f"cones_min {self.cones_min} is above cones_max {self.cones_max}")
        if not self.passes.ids:
            raise ValueError(
                "passes.ids: the labels' visibility is read from the ids; it cannot be switched off"
            )
        return self
