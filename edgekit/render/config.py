"""What one may ask of the render station. Light: no bpy, no numpy."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_serializer, model_validator

from edgekit.core.cluster import RayWorkers, worker_count
from edgekit.core.errors import UserError, suggestion
from edgekit.core.recipe import Config, Plan
from edgekit.render.conditions import CameraEffects
from edgekit.render.mounts import Name as Mount
from edgekit.render.traffic.ego import NEAR_M, QUEUE_M, EgoShares
from edgekit.render.traffic.motion import Demand
from edgekit.render.traffic.net import SHIPPED
from edgekit.render.traffic.netgenerate import GridConfig, find_tool

Weather = Literal["clear", "rain", "cloudy", "fog", "snow"]
Time = Literal["day", "dusk", "night", "low_sun"]
Split = Literal["train", "dev", "test"]
BUILTIN, MADE = "crossroads", "made"
NAMED = (BUILTIN, *SHIPPED, MADE)  # all other layouts are files of the user's
RUNS_HELD, RUN_GB = 48, 0.023  # runs of traffic kept in memory; of one, at the default demand
RECORD_GB = 7e-5  # of memory: a frame's truth and row, kept until the tables are written
ROW_GB, SCENE_GB = 1.4e-5, 1.2e-4  # of disk: a frame in a table, a scene's JSON


class Strict(Config):
    model_config = ConfigDict(frozen=True)


class Ego(EgoShares):
    """How often each case is drawn (they sum to 1), and where in it."""

    approach: float = Field(0.55, ge=0, le=1)
    stopped: float = Field(0.15, ge=0, le=1)
    turning: float = Field(0.10, ge=0, le=1)
    clear: float = Field(0.20, ge=0, le=1)
    approach_m: tuple[float, float] = (5.0, 45.0)  # from bumper to stop line
    stopped_m: tuple[float, float] = (0.0, 15.0)

    @model_validator(mode="after")
    def _bands_are_bands(self) -> "Ego":
        for name, most in (("approach_m", NEAR_M), ("stopped_m", QUEUE_M)):
            low, high = getattr(self, name)
            if not 0 <= low < high <= most:
                raise ValueError(
                    f"{name} must be two distances from 0 to {most:g}, the nearer first, "
                    f"and is {low:g}, {high:g}"
                )
        return self


class Lights(Strict):
    """What the ego's light shows where a crossroad is within reach (approach, stopped); they sum to 1.

    ``off`` and ``none`` draw the junction's heads dark, or not at all, over traffic that obeyed a working
    light. In poses each frame is picked for its colour; in a drive ``off`` and ``none`` are shares of the
    drives, and in all others the programme runs. Where the shares of lights and of cases cannot both hold
    (nobody stands at a green light) those of the lights do.
    """

    red: float = Field(0.25, ge=0, le=1)
    yellow: float = Field(0.24, ge=0, le=1)
    green: float = Field(0.24, ge=0, le=1)
    off: float = Field(0.13, ge=0, le=1)
    none: float = Field(0.14, ge=0, le=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> "Lights":
        total = self.red + self.yellow + self.green + self.off + self.none
        if abs(total - 1) > 1e-6:
            raise ValueError(f"red + yellow + green + off + none must be 1, and is {total:.4f}")
        return self


class Roadworks(Strict):
    """Shares of frames (in a drive: of drives). Of barrier, stopped vehicle and debris there is one at most."""

    cones: float = Field(0.45, ge=0, le=1)
    barrier: float = Field(0.15, ge=0, le=1)
    stopped_vehicle: float = Field(0.06, ge=0, le=1)  # in the ego lane, its hazard lights on
    debris: float = Field(0.06, ge=0, le=1)
    cones_min: int = Field(2, ge=1, le=6)
    cones_max: int = Field(6, ge=1, le=6)

    @model_validator(mode="after")
    def _fits(self) -> "Roadworks":
        total = self.barrier + self.stopped_vehicle + self.debris
        if total > 1 + 1e-6:
            raise ValueError(f"barrier + stopped_vehicle + debris must be at most 1, and is {total:.4f}")
        if self.cones_min > self.cones_max:
            raise ValueError(f"cones_min {self.cones_min} is above cones_max {self.cones_max}")
        return self


class Condition(Strict):
    """One of a recipe's ``conditions``; camera: in place of the recipe's own."""

    weather: Weather = "clear"
    time: Time = "day"
    camera: CameraEffects | None = None


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
        "assets",  # where they lie; ``digests`` says what they are
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
    # crossroads (built in, no SUMO needed), x, t, grid, toll, made (see netgenerate), or a .net.xml file
    layouts: dict[str, float] = {BUILTIN: 1.0}
    netgenerate: GridConfig = GridConfig()  # of the layout ``made``
    demand: Demand = Demand()
    runs: int = Field(4, ge=1, le=100)  # of traffic, per layout and split; a scene looks into one
    ego: Ego = Ego()
    lights: Lights = Lights()
    roadworks: Roadworks = Roadworks()
    mounts: dict[Mount, float] = {"windscreen": 1.0}
    weather: dict[Weather, float] = {"clear": 0.7, "rain": 0.3}
    time: dict[Time, float] = {"day": 0.5, "dusk": 0.25, "night": 0.25}
    camera: CameraEffects = CameraEffects()
    # instead of shares of weather and time: each of these in every layout, one scene after the other
    conditions: list[Condition] = []
    splits: dict[Split, float] = {"train": 0.8, "dev": 0.04, "test": 0.16}
    passes: Passes = Passes()
    formats: list[Literal["coco", "kitti", "yolo", "hdf5", "cityscapes"]] = []  # beside our own Dataset
    assets: str = ""  # manifest of your own vehicles' models (docs/assets.md)
    assets_share: float = Field(
        0.5, ge=0, le=1
    )  # of the vehicles that a model fits, how many are drawn by it
    digests: dict[str, str] = {}  # of the models and of your own networks; filled in here, never by hand
    # processes of one Blender thread each: how many here, or {ray: N} of a Ray cluster
    workers: Annotated[int, Field(ge=1, le=256)] | RayWorkers = 2
    frames_per_worker: int = Field(400, ge=1)  # then the process is replaced, against leaks
    frame_timeout_s: float = Field(300.0, gt=0)
    failed_scenes_max: float = Field(0.05, ge=0, le=1)
    student_library: str = "library"  # whose default prompt the Dataset's rows carry
    blender_python: str = ""  # default: $EDGEKIT_BLENDER_PYTHON, else .venv/side/blender/bin/python

    def plan(self) -> Plan:
        """Raises UserError where one of the user's own networks is none: a dry run tells it too."""
        if own := {name: share for name, share in self.layouts.items() if name not in NAMED}:
            from edgekit.render.networks import check_layouts

            check_layouts(self.model_copy(update={"layouts": own}))
        frames, image = self.scenes * self.frames_per_scene, self.width * self.height / 1e6
        megapixels = frames * image
        effects = 1.4 if self.camera != CameraEffects() else 0.0  # all of them at once
        workers = worker_count(self.workers)
        runs = self.runs * len(self.layouts) * len(self.splits)
        cpu_s = frames * 0.3 + megapixels * (2.5 + 4.5 * self.samples + effects)
        return Plan(
            memory_gb=round(
                0.3 + workers * (0.53 + 0.6 * image) + RUN_GB * min(runs, RUNS_HELD) + frames * RECORD_GB,
                2,
            ),
            disk_gb=round(
                megapixels * (0.0006 + 0.002 * self.passes.depth + 0.0016 * ("hdf5" in self.formats))
                + frames * ROW_GB * (1 + len(self.formats))
                + self.scenes * SCENE_GB
                + workers * image * 0.02,  # the passes of the frame under way
                3,
            ),
            minutes=round(cpu_s / workers / 60, 1),
            notes=(
                f"{frames} frames, {cpu_s / frames:.1f} cpu-s each (measured on an EPYC core)",
                f"{workers} worker(s) on as many free cores",
                *self._uneven(),
                *self._lacking(),
            ),
        )

    def _uneven(self) -> list[str]:
        each = len(self.conditions) * len(self.layouts)
        if not each or self.scenes % each == 0:
            return []
        return [
            f"{len(self.conditions)} conditions x {len(self.layouts)} layouts take {each} scenes, or a multiple "
            f"of it: with {self.scenes} not all are drawn alike often"
        ]

    def _lacking(self) -> list[str]:
        """What this machine has not and the run will ask for."""
        from edgekit.render.blender import blender_python

        lacking = []
        if set(self.layouts) - {BUILTIN} and not (find_spec("sumolib") and find_spec("libsumo")):
            lacking.append("NOT HERE: SUMO, which these layouts need: pip install 'edgekit[sumo]'")
        for ask in (
            lambda: find_tool("netgenerate") if MADE in self.layouts else "",
            lambda: blender_python(self.blender_python),
        ):
            try:
                ask()
            except UserError as error:
                lacking.append(f"NOT HERE: {error.what.removeprefix('render: ')}: {error.do}")
        return lacking

    @field_validator("layouts", "mounts", "weather", "time", "splits", mode="before")
    @classmethod
    def _one_word_is_no_share(cls, value):
        if isinstance(value, str):
            raise ValueError(f"shares are asked for: {{{value}: 1.0}}, or of several")
        return value

    @field_validator("workers", mode="wrap")
    @classmethod
    def _workers_are_counted(cls, value, handler):
        try:
            return handler(value)
        except ValidationError:  # it would name the parts of the type, which no recipe has
            raise ValueError("it must be a number from 1 to 256, or {ray: a number from 1 to 4096}") from None

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked(self, handler):
        # a run begun before there was this group is still the run of the same recipe
        resolved = handler(self)
        if self.camera == CameraEffects():
            resolved.pop("camera", None)
        if MADE not in self.layouts:
            resolved.pop("netgenerate", None)
        if not self.assets:
            resolved.pop("assets_share", None)
        return resolved

    @model_validator(mode="after")
    def _shares_are_shares(self) -> "RenderConfig":
        for name in ("weather", "time", "splits", "layouts", "mounts"):
            shares = getattr(self, name)
            total = sum(shares.values())  # compared so that one that is no number fails
            if not (shares and min(shares.values()) >= 0 and abs(total - 1) <= 1e-6):
                raise ValueError(
                    f"{name} must be shares of 1, none below 0; it is {shares}, in sum {total:g}"
                )
        if not self.passes.ids:
            raise ValueError(
                "passes.ids: the labels' visibility is read from the ids; it cannot be switched off"
            )
        return self

    @model_validator(mode="after")
    def _layouts_are_there(self) -> "RenderConfig":
        for name in self.layouts:
            if name not in NAMED and not Path(name).is_file():
                raise ValueError(
                    f"layouts: {name!r} is no file, and of the named ones: {suggestion(name, NAMED)} "
                    f"(there are {', '.join(NAMED)})"
                )
        return self

    @model_validator(mode="after")
    def _what_is_yours_is_known(self) -> "RenderConfig":
        from edgekit.core.files import sha256_file

        digests = {name: sha256_file(name) for name in self.layouts if name not in NAMED}
        if self.assets:
            from edgekit.render.assets import asset_digest

            digests["assets"] = asset_digest(self.assets)
        object.__setattr__(self, "digests", digests)
        return self
