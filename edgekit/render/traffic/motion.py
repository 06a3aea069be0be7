"""What moves: the interface of a traffic simulator, and what a recipe may ask of it."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import ConfigDict, Field, model_validator

from edgekit.core.recipe import Config
from edgekit.render.traffic.layout import Kind, Layout

SIZES: dict[str, tuple[tuple[float, float], ...]] = {  # (length, width) in metres that a kind comes in
    "car": ((3.9, 1.7), (4.3, 1.8), (4.7, 1.85)),
    "truck": ((7.1, 2.4), (9.5, 2.5)),
    "bus": ((12.0, 2.5),),
    "bicycle": ((1.7, 0.65),),
    "motorcycle": ((2.2, 0.9),),
}
BRAKING_MPS2 = -0.5  # from here on the brake lights burn


@dataclass(frozen=True, slots=True)
class Vehicle:
    """x, y: the centre; yaw: 0 = +y, counter-clockwise; lane: the id of the Lane or Link under its front."""

    id: str
    kind: Kind
    x: float
    y: float
    yaw: float
    speed_mps: float
    accel_mps2: float
    lane: str
    length: float
    width: float
    brake: bool = False
    left: bool = False
    right: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    id: str
    x: float
    y: float
    yaw: float
    speed_mps: float


@dataclass(frozen=True, slots=True)
class Step:
    """lights: per traffic light SUMO's state string, one letter a link index (G g y r u o s)."""

    t_s: float
    vehicles: tuple[Vehicle, ...]
    people: tuple[Person, ...]
    lights: Mapping[str, str]


class Traffic(Protocol):
    """A simulator: ``steps`` gives the same steps each time, ``demand.step_s`` apart."""

    layout: Layout
    demand: "Demand"

    def steps(self) -> Iterator[Step]: ...


class Demand(Config):
    """How much moves, and for how long it is watched."""

    model_config = ConfigDict(frozen=True)
    vehicles_per_hour: float = Field(900.0, ge=0, le=20_000)  # into the whole network
    people_per_hour: float = Field(300.0, ge=0, le=20_000)
    kinds: dict[Kind, float] = {"car": 0.82, "truck": 0.06, "bus": 0.04, "bicycle": 0.03, "motorcycle": 0.05}
    duration_s: float = Field(300.0, gt=0, le=86_400)
    warm_up_s: float = Field(60.0, ge=0, le=3600)  # simulated before the first step that is given
    step_s: float = Field(0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _kinds_are_shares(self) -> "Demand":
        if not self.kinds or min(self.kinds.values()) < 0 or abs(sum(self.kinds.values()) - 1) > 1e-6:
            raise ValueError(f"kinds must be shares of 1, and is {self.kinds}")
        return self

    @property
    def warm_up_steps(self) -> int:
        return round(self.warm_up_s / self.step_s)

    @property
    def step_count(self) -> int:
        return round(self.duration_s / self.step_s)


def arrivals(rng: random.Random, per_hour: float, until_s: float) -> list[float]:
    """Moments of a Poisson process, in seconds."""
    found: list[float] = []
    t = rng.expovariate(per_hour / 3600) if per_hour else until_s
    while t < until_s:
        found.append(round(t, 2))
        t += rng.expovariate(per_hour / 3600)
    return found


def draw_kind(rng: random.Random, shares: Mapping[Kind, float]) -> tuple[Kind, int]:
    """(kind, which of its SIZES)."""
    kind = rng.choices(list(shares), weights=list(shares.values()))[0]
    return kind, rng.randrange(len(SIZES[kind]))
