"""People of the built-in traffic."""

import math
import random

from edgekit.render.traffic.geometry import length, point_at
from edgekit.render.traffic.layout import Layout
from edgekit.render.traffic.motion import Person

WALK_M = 25.0  # of pavement before and after a crossing


class Walker:
    """Along the pavement to a crossing, over it when it is green, and on along the pavement."""

    def __init__(self, rng: random.Random, layout: Layout, k: int):
        crossing = rng.choice(layout.crossings)
        a, b = crossing.points if rng.random() < 0.5 else crossing.points[::-1]
        arm = crossing.id.partition("_")[0]
        away = layout.lane[f"{arm}_out_1"].points
        out = ((away[1][0] - away[0][0]) / math.dist(*away), (away[1][1] - away[0][1]) / math.dist(*away))
        step = ((b[0] - a[0]) / math.dist(a, b), (b[1] - a[1]) / math.dist(a, b))
        shift = rng.uniform(-1.2, 1.2)  # they do not walk in single file
        kerbs = [
            (p[0] + sign * step[0] + shift * out[0], p[1] + sign * step[1] + shift * out[1])
            for p, sign in ((a, -1.0), (b, 1.0))
        ]
        ends = [(p[0] + WALK_M * out[0], p[1] + WALK_M * out[1]) for p in kerbs]
        self.line = [ends[0], kerbs[0], kerbs[1], ends[1]]
        self.id, self.index = f"p{k}", crossing.signal.index
        self.pace, self.s, self.speed = rng.uniform(1.2, 1.7), 0.0, 0.0

    def advance(self, dt: float, state: str) -> bool:
        """False: has gone its way."""
        step = self.pace * dt
        waits = self.s <= WALK_M < self.s + step and state[self.index] != "G"
        self.speed = 0.0 if waits else self.pace
        self.s += 0.0 if waits else step
        return self.s < length(self.line)

    def person(self) -> Person:
        x, y, yaw = point_at(self.line, self.s)
        return Person(self.id, x, y, yaw, self.speed)
