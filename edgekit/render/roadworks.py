"""What lies on the road: cones, a barrier, a broken-down car, a lost box; laid along the ego's way.

``free`` is asked about every thing before it is laid; what does not fit is not laid.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from edgekit.render.config import Roadworks
from edgekit.render.shapes import SIZE_M
from edgekit.render.traffic.geometry import Box, Line, meet, point_at, wrap
from edgekit.render.traffic.motion import SIZES

NEAR_M, FAR_M = 4.5, 30.0  # ahead of the bumper: what is asked about in a picture lies within 35 m
APART_M, BEHIND_M = 0.15, 1.5  # to one another; of an obstacle to the leader before it
CLOSED_M, BEFORE_M = 10.0, 0.95  # a taper needs a barrier this far ahead, and ends this far before it
TRIES = 12
PLACES = {  # of an obstacle's middle: nearest and farthest metres ahead, and how far aside at most
    "barrier": (6.0, 28.0, 0.3),
    "stopped_vehicle": (14.5, FAR_M, 0.3),
    "debris": (6.0, 25.0, 0.8),
}
Free = Callable[[Box], bool]


@dataclass(frozen=True, slots=True)
class Asked:
    cones: bool
    obstacle: str | None


@dataclass(slots=True)
class Laid:
    """Boxes: (x, y, yaw, length along yaw, width)."""

    cones: list[Box] = field(default_factory=list)
    barrier: list[Box] = field(default_factory=list)
    stopped_vehicle: list[Box] = field(default_factory=list)
    debris: list[Box] = field(default_factory=list)

    def boxes(self) -> list[Box]:
        return [*self.cones, *self.barrier, *self.stopped_vehicle, *self.debris]


def draw(cfg: Roadworks, rng: random.Random) -> Asked:
    cones, left = rng.random() < cfg.cones, rng.random()
    for name in PLACES:
        left -= getattr(cfg, name)
        if left < 0:
            return Asked(cones, name)
    return Asked(cones, None)


def lay(
    cfg: Roadworks, asked: Asked, way: Line, gap_m: float | None, free: Free, rng: random.Random
) -> Laid | None:
    """Of one picture: all that is asked, in the ego lane; None where there is no room for it.

    way: of the middle of the front bumper, in metres, from it on; gap_m: to the leader, behind whom nobody
    would see an obstacle.
    """
    for _ in range(TRIES):
        laid = Laid()
        if asked.obstacle:
            near, far, aside = PLACES[asked.obstacle]
            if gap_m is not None and gap_m - BEHIND_M < far:
                far = gap_m - BEHIND_M - (2.5 if asked.obstacle == "stopped_vehicle" else 0.0)
            if far < near:
                return None
            s, left = rng.uniform(near, far), rng.uniform(-aside, aside)
            if not _put(laid, asked.obstacle, way, s, left, free, rng):
                continue
        if asked.cones:
            closed = asked.obstacle == "barrier" and s > CLOSED_M and rng.random() < 0.6
            places = _closed(cfg, s, rng) if closed else _pattern(cfg, rng)
            for s_m, left in places:
                _put(laid, "cones", way, s_m, left, free, rng)
            if len(laid.cones) < cfg.cones_min:
                continue
        return laid
    return None


def lay_beside(
    cfg: Roadworks, asked: Asked, way: Line, driven_m: float, lane_m: float, free: Free, rng: random.Random
) -> Laid:
    """Of a whole drive: fixed in the world, and nothing where the ego will drive.

    Cones stand in a row on the edge of its lane; an obstacle in a neighbouring lane, or in the ego's own
    beyond the end of the drive. What finds no room in TRIES tries is left out.
    """
    laid = Laid()
    for _ in range(TRIES if asked.obstacle else 0):
        if rng.random() < 0.6:
            s, left = driven_m + rng.uniform(7.0, 26.0), rng.uniform(-0.3, 0.3)
        else:
            s, left = rng.uniform(8.0, driven_m + FAR_M), rng.choice((-1, 1)) * lane_m
        if _put(laid, asked.obstacle, way, s, left, free, rng):
            break
    for _ in range(TRIES if asked.cones else 0):
        laid.cones.clear()
        first, step = rng.uniform(6.0, 20.0), rng.uniform(1.2, 2.4)
        side = rng.choice((-1, 1)) * (lane_m / 2 + rng.uniform(0.0, 0.25))
        for k in range(rng.randint(cfg.cones_min, cfg.cones_max)):
            _put(laid, "cones", way, first + k * step, side, free, rng)
        if len(laid.cones) >= cfg.cones_min:
            break
    if len(laid.cones) < cfg.cones_min:
        laid.cones.clear()
    return laid


def _pattern(cfg: Roadworks, rng: random.Random) -> list[tuple[float, float]]:
    """(metres ahead, metres left) of a taper, a row along the lane's edge, or strewn cones."""
    count, shape = rng.randint(cfg.cones_min, cfg.cones_max), rng.choice(("taper", "row", "strewn"))
    if shape == "strewn":
        return [(rng.uniform(NEAR_M, 22.0), rng.uniform(-1.8, 1.8)) for _ in range(count)]
    first, side, step = rng.uniform(NEAR_M, 18.0), rng.choice((-1, 1)), rng.uniform(0.9, 2.0)
    return [
        (
            first + k * step,
            side * (1.5 if shape == "row" else 1.6 - 0.45 * k) + rng.uniform(-0.1, 0.1),
        )
        for k in range(count)
    ]


def _closed(cfg: Roadworks, barrier_m: float, rng: random.Random) -> list[tuple[float, float]]:
    """A taper across the lane that ends before the barrier, as long as there is room for it."""
    count, side = rng.randint(cfg.cones_min, cfg.cones_max), rng.choice((-1, 1))
    step = min(rng.uniform(1.0, 2.0), (barrier_m - BEFORE_M - NEAR_M) / max(1, count - 1))
    return [
        (barrier_m - BEFORE_M - (count - 1 - k) * step, side * (1.6 - 2.8 * k / max(1, count - 1)))
        for k in range(count)
    ]


def _put(laid: Laid, name: str, way: Line, s: float, left: float, free: Free, rng: random.Random) -> bool:
    if s > FAR_M and name == "cones":
        return False
    x, y, yaw = point_at(way, s, left)
    if name == "stopped_vehicle":
        length, width = rng.choice(SIZES["car"])
    else:
        length, width = SIZE_M["cone" if name == "cones" else name]
    if name == "barrier":
        yaw += math.pi  # its face looks at who comes
    elif name == "debris":
        yaw += rng.uniform(-math.pi, math.pi)
    box = (round(x, 3), round(y, 3), round(wrap(yaw), 4), length, width)
    if not free(box) or any(meet(box, other, APART_M) for other in laid.boxes()):
        return False
    getattr(laid, name).append(box)
    return True
