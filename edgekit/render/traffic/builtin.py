"""Traffic where SUMO is absent: one fixed crossroads, a fixed-time light, cars that follow one another.

Cars: the intelligent driver model, Treiber, Hennecke, Helbing 2000 (Phys. Rev. E 62, 1805), eq. 3-4, with one
departure: braking is bounded by HARD_MPS2. A red light is a car that stands at the stop line; a yellow one too,
for those who can still stop comfortably. Nobody changes lanes.
"""

import math
import random
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from edgekit.render.traffic.crossroads import LIGHT, crossroads, programme
from edgekit.render.traffic.geometry import length, point_at
from edgekit.render.traffic.layout import Kind, Lane, Layout, Link
from edgekit.render.traffic.motion import BRAKING_MPS2, SIZES, Demand, Step, Vehicle, arrivals, draw_kind
from edgekit.render.traffic.walkers import Walker

PULL_MPS2, COMFORT_MPS2, HARD_MPS2 = 1.5, 2.0, 6.0  # a, b of the paper; the bound
HEADWAY_S, GAP_M, EXPONENT = 1.4, 2.0, 4  # T, s0, delta
TURN_MPS = {"left": 7.0, "right": 5.0, "straight": math.inf, "turn-around": 4.0}
BLINK_M = 40.0  # before the stop line
CRUISE_MPS = {"bicycle": 5.0}


def idm(speed: float, wanted: float, gap: float | None, closing: float) -> float:
    """Acceleration (m/s2) at a speed, a wanted speed, a gap (m, bumper to bumper; None: open road) and the speed
    at which it closes (m/s); paper, eq. 3-4."""
    free = 1 - (speed / wanted) ** EXPONENT
    if gap is None:
        return max(-HARD_MPS2, PULL_MPS2 * free)
    reach = speed * HEADWAY_S + speed * closing / (2 * math.sqrt(PULL_MPS2 * COMFORT_MPS2))
    return max(-HARD_MPS2, PULL_MPS2 * (free - ((GAP_M + max(0.0, reach)) / max(gap, 0.1)) ** 2))


@dataclass
class _Mover:
    """s: metres of the front along lane, link, lane."""

    id: str
    kind: Kind
    size: tuple[float, float]
    pieces: tuple[Lane, Link, Lane]
    cruise: float
    s: float = 0.0
    speed: float = 0.0
    accel: float = 0.0

    def __post_init__(self) -> None:
        self.starts = [0.0, *accumulate(length(piece.points) for piece in self.pieces)]

    def place(self) -> tuple[int, float]:
        """(which piece the front is on, metres along it)."""
        k = bisect(self.starts, self.s, 1, 3) - 1
        return k, self.s - self.starts[k]

    def at(self, s: float) -> tuple[float, float]:
        k = bisect(self.starts, s, 1, 3) - 1
        return point_at(self.pieces[k].points, s - self.starts[k])[:2]


Occupied = dict[str, list[tuple[float, _Mover]]]


class BuiltinTraffic:
    """See the top of this file; ``seed`` decides who comes when and what the light begins with."""

    def __init__(self, demand: Demand, seed: int):
        self.layout: Layout = crossroads()
        self.demand = demand
        self.seed = seed
        self._phases = programme(self.layout.links, self.layout.crossings)

    def steps(self) -> Iterator[Step]:
        rng = random.Random(f"edgekit builtin traffic {self.seed}")
        demand, offset = self.demand, rng.uniform(0, sum(seconds for seconds, _ in self._phases))
        until = demand.warm_up_s + demand.duration_s
        waiting = [
            (t, self._mover(rng, k)) for k, t in enumerate(arrivals(rng, demand.vehicles_per_hour, until))
        ]
        walkers = [
            (t, Walker(rng, self.layout, k))
            for k, t in enumerate(arrivals(rng, demand.people_per_hour, until))
        ]
        cars: list[_Mover] = []
        walking: list[Walker] = []
        for k in range(demand.warm_up_steps + demand.step_count):
            t = k * demand.step_s
            state = self._state(t + offset)
            waiting = self._enter(waiting, cars, t)
            walking += [walker for at, walker in walkers if t <= at < t + demand.step_s]
            self._advance(cars, state)
            walking = [w for w in walking if w.advance(demand.step_s, state)]
            cars = [car for car in cars if car.s - car.size[0] < car.starts[3]]
            if k >= demand.warm_up_steps:
                vehicles = tuple(self._vehicle(car) for car in cars if car.s < car.starts[3])
                people = tuple(w.person() for w in walking)
                yield Step(
                    round((k - demand.warm_up_steps) * demand.step_s, 6), vehicles, people, {LIGHT: state}
                )

    def _state(self, t: float) -> str:
        t %= sum(seconds for seconds, _ in self._phases)
        for seconds, state in self._phases:
            if t < seconds:
                return state
            t -= seconds
        return self._phases[-1][1]

    def _mover(self, rng: random.Random, k: int) -> _Mover:
        (kind, size), link = draw_kind(rng, self.demand.kinds), rng.choice(self.layout.links)
        pieces = (self.layout.lane[link.from_lane], link, self.layout.lane[link.to_lane])
        limit = pieces[0].limit_kmh / 3.6
        cruise = min(CRUISE_MPS.get(kind, math.inf), limit * rng.uniform(0.85, 1.0))
        return _Mover(f"v{k}", kind, SIZES[kind][size], pieces, cruise)

    def _enter(self, waiting: list[tuple[float, _Mover]], cars: list[_Mover], t: float) -> list:
        """Puts those on the road whose time has come, at their lane's start, where there is room for them."""
        left = []
        for at, car in waiting:
            last = min((c.s - c.size[0] for c in cars if c.pieces[0] is car.pieces[0]), default=math.inf)
            if at > t or last < car.size[0] + 15:
                left.append((at, car))
                continue
            ahead = min(
                (c.speed for c in cars if c.pieces[0] is car.pieces[0] and c.s < 60), default=math.inf
            )
            car.s, car.speed = car.size[0], min(car.cruise, ahead)
            cars.append(car)
        return left

    def _advance(self, cars: list[_Mover], state: str) -> None:
        dt = self.demand.step_s
        on = _occupied(cars)
        accels = [self._accel(car, on, state) for car in cars]
        for car, accel in zip(cars, accels, strict=True):
            before = car.speed
            car.speed = max(0.0, before + accel * dt)
            car.accel = (car.speed - before) / dt
            car.s += car.speed * dt  # as SUMO does it: the new speed carries it through the step

    def _accel(self, car: _Mover, on: Occupied, state: str) -> float:
        stop = car.starts[1] - car.s
        # slow down in time for the curve: v^2 = u^2 + 2 b d
        turn = TURN_MPS[car.pieces[1].turn]
        slow = turn if stop <= 0 and car.s - car.size[0] < car.starts[2] else math.inf
        if stop > 0 and turn < math.inf:
            slow = math.sqrt(turn**2 + 2 * 0.7 * COMFORT_MPS2 * stop)
        wanted = min(car.cruise, slow)
        accel = idm(car.speed, wanted, *_leader(car, on))
        letter = state[car.pieces[1].signal.index]
        can_stop = car.speed**2 / 2 < COMFORT_MPS2 * 1.5 * max(stop, 0.01)
        if stop > 0 and (letter == "r" or letter == "y" and can_stop):
            accel = min(accel, idm(car.speed, wanted, stop + GAP_M - 1.0, car.speed))  # 1 m before the line
        return accel

    def _vehicle(self, car: _Mover) -> Vehicle:
        # the chord from rear to front, as SUMO turns a vehicle in a curve
        front, back = car.at(car.s), car.at(car.s - car.size[0])
        yaw = math.atan2(back[0] - front[0], front[1] - back[1])
        k, _ = car.place()
        blinks = k == 1 or k == 0 and car.starts[1] - car.s < BLINK_M
        turn = car.pieces[1].turn if blinks else "straight"
        ahead = (-math.sin(yaw) * car.size[0] / 2, math.cos(yaw) * car.size[0] / 2)
        return Vehicle(
            car.id, car.kind, front[0] - ahead[0], front[1] - ahead[1], yaw, car.speed, car.accel,
            car.pieces[k].id, *car.size, car.accel < BRAKING_MPS2 or car.speed < 0.1,
            turn == "left", turn == "right",
        )  # fmt: skip


def _occupied(cars: list[_Mover]) -> Occupied:
    """Who is on each piece, by the metres of its front along it; with its rear alone on it counts too."""
    on: Occupied = defaultdict(list)
    for car in cars:
        k, s = car.place()
        on[car.pieces[k].id].append((s, car))
        if k and s < car.size[0]:
            on[car.pieces[k - 1].id].append((car.s - car.starts[k - 1], car))
    return on


def _leader(car: _Mover, on: Occupied) -> tuple[float | None, float]:
    """(gap, closing speed) to the next one on the way of this one; (None, 0) where there is none."""
    k, _ = car.place()
    ahead = [
        (car.starts[i] + s - other.size[0] - car.s, other.speed)
        for i in range(k, 3)
        for s, other in on[car.pieces[i].id]
        if other is not car and car.starts[i] + s > car.s
    ]
    if not ahead:
        return None, 0.0
    gap, speed = min(ahead)
    return gap, car.speed - speed
