"""MineConfig: which drives, which teacher, how its answers are corrected, which frames are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from edgekit.core.cluster import RayWorkers
from edgekit.core.files import sha256_file
from edgekit.core.recipe import Config, Plan
from edgekit.drives.config import Reading
from edgekit.engine.endpoint import Endpoint
from edgekit.library import Dynamic, load_library
from edgekit.mine.experts.config import AnyExpert, FusionConfig
from edgekit.mine.motion import digest, load_rules
from edgekit.mine.select.quota import check_quota

Task = Literal["speed", "light", "obstacles", "crossroad"]


class Span(Config):
    """A window that spans a travelled distance; see edgekit/mine/smooth.py."""

    distance_m: float = Field(20.0, gt=0)  # half of it behind the car
    v_min_mps: float = Field(1.0, gt=0)
    t_min_s: float = Field(0.2, ge=0)  # shortest and longest whole window
    t_max_s: float = Field(3.0, gt=0)
    unknown_mps: float = Field(10.0, ge=0)  # the speed taken where none was measured

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        if self.t_min_s > self.t_max_s:
            raise ValueError(f"t_min_s {self.t_min_s} is above t_max_s {self.t_max_s}")
        return self


class Smoothing(Span):
    """tasks: those with a window of their own."""

    tasks: dict[Task, Span] = {}
    causal: bool = False  # the past half only, as the demo smooths


class Lasting(Config):
    """A value takes the majority's place from this probability on; see edgekit/mine/chain.py."""

    sure: float = Field(0.9, ge=0.5, lt=1)


class Motion(Config):
    """Rules of what a moving car contradicts. rules: a YAML file, or those that ship (edgekit/mine/motion.yaml);
    off: names of those that are not to speak."""

    rules: str | None = None
    off: list[str] = []


class Keep(Config):
    """Which frames become rows. repeats_within: bits of 64 by which pictures may differ and repeat each other,
    null to keep repeats; quota: rows wanted of a slice, ``night + light=red``; most: rows in all; aligned: leave
    out pairs of picture and label that do not belong together."""

    repeats_within: int | None = Field(4, ge=0, le=11)
    quota: dict[str, Annotated[int, Field(ge=1)]] | None = None
    most: int | None = Field(None, ge=1)
    aligned: bool = True

    @model_validator(mode="after")
    def _slices(self) -> Keep:
        check_quota(self.quota or {})
        return self


class MineConfig(Config):
    """Drives and a teacher in, a Dataset out (and ``mining.json``: scored where drives hold truth).

    ``digests`` is filled in here, never by hand: what the two libraries, the rules of motion and the detectors'
    files say, so that mining with an edited one is another run.
    """

    inputs: ClassVar[tuple[str, ...]] = ("drives", "teacher", "gold")
    # Who does the work, and where answers are kept, changes no byte of it.
    operational: ClassVar[tuple[str, ...]] = ("workers", "heard")

    drives: list[str] = Field(
        min_length=1
    )  # drives, videos, folders of frames or drives, runs of render, MCAP
    reading: Reading = Field(default_factory=Reading)
    leave_out_broken: bool = False  # true: drives that cannot be read are left out, noted and listed
    teacher: str | None = None  # a Checkpoint or a Bundle
    kind: Literal["auto", "torch", "bundle", "endpoint"] = "auto"
    endpoint: Endpoint | None = None  # instead of a directory: an OpenAI-compatible port

    library: str = "library"  # the prompt library that the teacher is asked with
    # default: one question a frame; dynamic: a second one, composed of what the answer to ``dynamic.first`` saw
    prompts: Literal["default", "dynamic"] = "default"
    dynamic: Dynamic = Field(default_factory=Dynamic)
    student_library: str = "library"  # whose default prompt the Dataset's rows carry
    batch: int = Field(8, ge=1, le=1024)
    every: int = Field(1, ge=1)  # take each n-th frame
    frames_per_drive: int | None = Field(None, ge=1)

    smoothing: Smoothing | None = Field(default_factory=Smoothing)  # null: no frame hears another
    chain: Lasting | None = None  # {}: what gold drives teach of how long things and errors last speaks too
    motion: Motion | None = Field(default_factory=Motion)  # null: motion corrects nothing
    experts: list[AnyExpert] = []  # detectors that speak too
    fusion: FusionConfig = Field(default_factory=FusionConfig)
    gold: str | None = None  # a small Dataset whose labels are believed: what experts and chain learn from
    keep: Keep | None = None  # null: every mined frame is a row
    heard: str | None = (
        None  # a folder that keeps what was answered, for the next run with other rules or windows
    )
    workers: RayWorkers | None = None  # {ray: N} spreads drives over a cluster
    splits: dict[Literal["train", "dev", "test"], float] = {"train": 1.0}  # shares of the scenes
    resamples: int = Field(1000, ge=100, le=100_000)
    seed: int = 0
    digests: dict[str, str] = {}

    @field_validator("workers", mode="before")
    @classmethod
    def _a_cluster(cls, value: Any) -> Any:
        if isinstance(value, int):
            raise ValueError(f"write workers={{ray: {value}}}: drives are spread with Ray")
        return value

    @model_validator(mode="after")
    def _whole(self) -> MineConfig:
        if bool(self.teacher) == bool(self.endpoint):
            raise ValueError("name one of teacher (a directory) and endpoint (a port)")
        if (self.kind == "endpoint") != bool(self.endpoint) and self.kind != "auto":
            raise ValueError(
                f"kind: {self.kind} does not go with {'endpoint' if self.endpoint else 'teacher'}"
            )
        called = [expert.name or Path(getattr(expert, "model", expert.kind)).stem for expert in self.experts]
        if twice := sorted({name for name in called if called.count(name) > 1}):
            raise ValueError(f"two experts are called {twice[0]}: give each a name of its own")
        if self.gold and not self.experts and not self.chain:
            raise ValueError("gold is for experts and for chain, and there are neither: name one")
        if self.chain and self.smoothing and self.smoothing.causal:
            raise ValueError(
                "chain hears later frames, which smoothing.causal forbids: leave one of them away"
            )
        if self.chain and not self.gold:
            raise ValueError(
                "chain learns from gold drives: name gold, a Dataset of whole drives, labels believed"
            )
        if abs(sum(self.splits.values()) - 1) > 1e-6 or min(self.splits.values()) < 0:
            raise ValueError(f"splits must be shares that sum to 1, got {self.splits}")
        return self

    @model_validator(mode="after")
    def _digest(self) -> MineConfig:
        names = {"library": self.library, "student_library": self.student_library}
        self.digests = {key: load_library(name).digest() for key, name in names.items()}
        if self.motion:
            self.digests["motion"] = digest(load_rules(self.motion.rules, self.motion.off))
        for expert in self.experts:
            file = Path(getattr(expert, "model", ""))
            if file.is_file():  # one that is not there is told when it is opened
                self.digests[f"expert {expert.name or file.stem}"] = sha256_file(file)
        return self

    def plan(self) -> Plan:
        from edgekit.mine.foreseen import frames_of, gold_rows, refusals
        from edgekit.mine.plan import plan_mining

        frames, told = frames_of(self)
        return plan_mining(
            frames, gold_rows(self), self.teacher, self.prompts == "dynamic", self.asked_at_once, len(self.experts),
            [*told, *refusals(self)],
        )  # fmt: skip

    @property
    def follows(self) -> Dynamic | None:
        """How prompts follow the scene, None where one prompt serves all frames."""
        return self.dynamic if self.prompts == "dynamic" else None

    @property
    def asked_at_once(self) -> int:
        """Questions in a batch: enough for a port to be busy while the last ones of it come back."""
        return max(self.batch, 2 * self.endpoint.parallel) if self.endpoint else self.batch
