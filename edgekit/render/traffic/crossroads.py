"""The fixed Layout of the built-in traffic: two roads of two lanes each way cross at a light. SUMO is not needed."""

import math
from typing import get_args

from edgekit.render.traffic.geometry import Point, heading
from edgekit.render.traffic.heads import place_heads
from edgekit.render.traffic.layout import Crossing, Junction, Kind, Lane, Layout, Link, Signal, Turn

ARM_M, MOUTH_M, LANE_M, WALK_M = 150.0, 16.0, 3.3, 3.0
LIMIT_KMH = 50
ARMS = {
    "n": 0.0,
    "w": 90.0,
    "s": 180.0,
    "e": 270.0,
}  # in degrees, as a yaw: where an arm lies from the middle
TURNS: dict[Turn, int] = {
    "left": 3,
    "straight": 2,
    "right": 1,
}  # arms onward, counter-clockwise, that it leads to
GREEN_S, YELLOW_S, CLEAR_S, WALK_S, WALK_CLEAR_S = 12.0, 3.0, 4.0, 8.0, 12.0
LIGHT = "x"


def _at(arm: str, ahead: float, right: float) -> Point:
    """A point of an arm: metres from the middle, and metres right of its axis as one who leaves sees it."""
    quarter = {0.0: (0, 1), 90.0: (-1, 0), 180.0: (0, -1), 270.0: (1, 0)}[
        ARMS[arm]
    ]  # exact, unlike sin and cos
    x, y = quarter
    return ahead * x + right * y, ahead * y - right * x


def _curve(a: Point, yaw_a: float, b: Point, yaw_b: float) -> tuple[Point, ...]:
    """A quadratic Bezier curve whose middle point is where the two directions meet."""
    (ax, ay), (bx, by) = heading(yaw_a), heading(yaw_b)
    t = ((b[0] - a[0]) * by - (b[1] - a[1]) * bx) / (ax * by - ay * bx)
    m = a[0] + t * ax, a[1] + t * ay
    steps = [k / 12 for k in range(13)]
    return tuple(
        tuple(
            round((1 - u) ** 2 * p + 2 * u * (1 - u) * q + u * u * r, 4)
            for p, q, r in zip(a, m, b, strict=True)
        )
        for u in steps
    )


def crossroads() -> Layout:
    lanes, links, crossings = [], [], []
    names, index = list(ARMS), 0
    for arm in names:
        for way, side in (("in", -1), ("out", 1)):
            # seen by its own driver every lane lies right of the axis; 0 is the pavement, as in SUMO
            for k, across in enumerate((2 * LANE_M + WALK_M / 2, 1.5 * LANE_M, 0.5 * LANE_M)):
                ends = [_at(arm, ARM_M, side * across), _at(arm, MOUTH_M, side * across)]
                turns = {1: ("right", "straight"), 2: ("left", "straight")}.get(k, ()) if way == "in" else ()
                lanes.append(
                    Lane(
                        id=f"{arm}_{way}_{k}", road=f"{arm}_{way}", index=k,
                        points=tuple(ends if way == "in" else ends[::-1]), width_m=LANE_M if k else WALK_M,
                        limit_kmh=LIMIT_KMH, kind="driving" if k else "sidewalk",
                        allows=get_args(Kind) if k else (),
                        to_junction="x" if way == "in" else None, turns=turns,
                    )
                )  # fmt: skip
    by_id = {lane.id: lane for lane in lanes}
    for arm in names:
        for k in (1, 2):
            for turn in by_id[f"{arm}_in_{k}"].turns:
                to = names[(names.index(arm) + TURNS[turn]) % 4]
                a, b = by_id[f"{arm}_in_{k}"].points[-1], by_id[f"{to}_out_{k}"].points[0]
                yaws = [math.radians(ARMS[arm] + 180), math.radians(ARMS[to])]
                links.append(
                    Link(
                        id=f"{arm}_{turn}_{k}", junction="x", from_lane=f"{arm}_in_{k}", to_lane=f"{to}_out_{k}",
                        points=(a, b) if turn == "straight" else _curve(a, yaws[0], b, yaws[1]), width_m=LANE_M,
                        turn=turn, signal=Signal(light=LIGHT, index=index), priority=True, via=(),
                    )
                )  # fmt: skip
                index += 1
    for arm in names:
        kerb = 2 * LANE_M
        crossings.append(
            Crossing(
                id=f"{arm}_crossing", junction="x", width_m=4.0, signal=Signal(light=LIGHT, index=index),
                points=(_at(arm, MOUTH_M - 3, -kerb), _at(arm, MOUTH_M - 3, kerb)),
            )
        )  # fmt: skip
        index += 1
    half = 2 * LANE_M + WALK_M
    polygon = [_at(arm, MOUTH_M, side * half) for arm in names for side in (1, -1)]
    junction = Junction(id="x", kind="x", polygon=tuple(polygon), signalled=True, arms=4)
    phases = {LIGHT: [state for _, state in programme(links, crossings)]}
    return Layout(
        name="crossroads", lanes=tuple(lanes), links=tuple(links), junctions=(junction,),
        crossings=tuple(crossings), heads=place_heads(lanes, links, [junction], phases),
    )  # fmt: skip


def programme(
    links: list[Link] | tuple[Link, ...], crossings: list[Crossing] | tuple[Crossing, ...]
) -> list[tuple[float, str]]:
    """(seconds, state): each arm has its green alone, then everybody on foot has. So no two ways that are
    green together ever cross, and cars need no rule of giving way."""
    walks = {c.signal.index for c in crossings}
    count = len(links) + len(walks)

    def state(letter: str, who: set[int]) -> str:
        return "".join(letter if k in who else "r" for k in range(count))

    phases = []
    for arm in ARMS:
        mine = {link.signal.index for link in links if link.from_lane.startswith(f"{arm}_")}
        phases += [(GREEN_S, state("G", mine)), (YELLOW_S, state("y", mine)), (CLEAR_S, state("r", set()))]
    return [*phases, (WALK_S, state("G", walks)), (WALK_CLEAR_S, state("r", set()))]
