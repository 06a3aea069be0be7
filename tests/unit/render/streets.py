"""Layouts for tests of what stands along a road: the built-in crossroads, a T by hand, and the shipped networks."""

import pytest

from edgekit.render.traffic.crossroads import crossroads
from edgekit.render.traffic.heads import place_heads
from edgekit.render.traffic.layout import Crossing, Junction, Lane, Layout, Link, Signal
from edgekit.render.traffic.net import SHIPPED

MOUTH_M, END_M, LANE_M = 14.0, 120.0, 3.5
# where each arm lies from the middle, and what a driver who comes from it may do: {arm he leaves by: turn}
ARMS = {
    "e": ((1, 0), {"w": "straight", "s": "left"}),
    "w": ((-1, 0), {"e": "straight", "s": "right"}),
    "s": ((0, -1), {"e": "right", "w": "left"}),
}


def hand_made_t():
    """Three arms of one lane each way and pavements; an arm leads south; a light; one crossing."""
    lanes = {}
    for arm, ((ux, uy), ways) in ARMS.items():
        for way, side in (("in", -1), ("out", 1)):
            for index, across in enumerate((LANE_M + 1.5, LANE_M / 2)):
                far, near = (
                    (s * ux + side * across * uy, s * uy - side * across * ux) for s in (END_M, MOUTH_M)
                )
                lanes[arm, way, index] = Lane(
                    id=f"{arm}_{way}_{index}", road=f"{arm}_{way}", index=index,
                    points=(far, near) if way == "in" else (near, far), width_m=LANE_M if index else 3.0,
                    limit_kmh=40, kind="driving" if index else "sidewalk",
                    allows=("car", "truck", "bus", "bicycle", "motorcycle") if index else (),
                    to_junction="t" if way == "in" else None,
                    turns=tuple(sorted(ways.values())) if way == "in" and index else (),
                )  # fmt: skip
    links = []
    for arm, (_, ways) in ARMS.items():
        for to, turn in ways.items():
            a, b = lanes[arm, "in", 1], lanes[to, "out", 1]
            corner = (b.points[0][0], a.points[-1][1]) if arm != "s" else (a.points[-1][0], b.points[0][1])
            middle = () if turn == "straight" else _bend(a.points[-1], corner, b.points[0])
            links.append(
                Link(
                    id=f"{arm}_{turn}", junction="t", from_lane=a.id, to_lane=b.id,
                    points=(a.points[-1], *middle, b.points[0]), width_m=LANE_M, turn=turn,
                    signal=Signal(light="t", index=len(links)), priority=True, via=(),
                )
            )  # fmt: skip
    half = LANE_M + 3.0
    junction = Junction(
        id="t", kind="t", signalled=True, arms=3,
        polygon=((MOUTH_M, half), (-MOUTH_M, half), (-MOUTH_M, -half), (-half, -MOUTH_M), (half, -MOUTH_M),
                 (MOUTH_M, -half)),
    )  # fmt: skip
    crossing = Crossing(
        id="s_crossing", junction="t", points=((-LANE_M, -12.0), (LANE_M, -12.0)), width_m=3.0, signal=None
    )
    every = tuple(lanes.values())
    heads = place_heads(
        every, links, [junction], {"t": ["GGrrrr", "yyrrrr", "rrGGrr", "rryyrr", "rrrrGG", "rrrryy"]}
    )
    return Layout(
        name="hand-made",
        lanes=every,
        links=tuple(links),
        junctions=(junction,),
        crossings=(crossing,),
        heads=heads,
    )


def _bend(a, corner, b):
    return [
        tuple(
            (1 - u) ** 2 * p + 2 * u * (1 - u) * q + u * u * r for p, q, r in zip(a, corner, b, strict=True)
        )
        for u in (k / 8 for k in range(1, 8))
    ]


EVERY = ["crossroads", "hand-made", *(pytest.param(net, marks=pytest.mark.sumo) for net in SHIPPED)]


def layout_named(name):
    if name in ("crossroads", "hand-made"):
        return crossroads() if name == "crossroads" else hand_made_t()
    pytest.importorskip("sumolib")
    from edgekit.render.traffic.net import read_net

    return read_net(name)
