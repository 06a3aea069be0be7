"""Where signal heads stand, and what each is for.

An approach is the driving lanes of one road that end in one junction. Its links fall into groups that show the
same colour in every phase of the programme; each group has one head near and one far:

- near: on a post right of the approach's outermost lane, beside the stop line;
- far: straight on from there, at the first place behind the junction that is clear of every lane and link;
- at a toll plaza each lane is a group, with one head on the island right of the lane, and none far;
- where an approach has several groups, a group whose links all turn one way carries that arrow.

Heads of one post hang side by side, in the order of their turns, 2.5 to 3.2 m high.
"""

import math
import random
from collections.abc import Iterable, Sequence
from itertools import groupby

from edgekit.render.traffic.geometry import heading, inside, length, point_at, project, wrap
from edgekit.render.traffic.layout import Head, Junction, Lane, Link

KERB_M = 0.6  # from the outermost lane's edge to the post
SPACING_M = 0.76  # two plates beside each other
CLEAR_M = 0.3
FAR_M = 80.0
ORDER = {"left": 0, "turn-around": 0, "straight": 1, "right": 2}


def colour(letter: str) -> str:
    """What a letter of a SUMO state looks like: r, y, g, red and yellow together (u), or off (o)."""
    return {"G": "g", "Y": "y", "R": "r", "O": "o", "s": "r"}.get(letter, letter)


def place_heads(
    lanes: Sequence[Lane],
    links: Sequence[Link],
    junctions: Iterable[Junction],
    programmes: dict[str, list[str]],
) -> tuple[Head, ...]:
    """programmes: per traffic light the state strings of its phases."""
    by_id, kinds = {lane.id: lane for lane in lanes}, {j.id: j for j in junctions}
    governed = [link for link in links if link.signal and by_id[link.from_lane].kind == "driving"]

    def approach(link: Link) -> tuple[str, str]:
        return link.junction, by_id[link.from_lane].road

    heads: list[Head] = []
    for (junction, road), members in groupby(sorted(governed, key=approach), key=approach):
        groups = _groups(list(members), kinds[junction], programmes)
        heads += _heads(kinds[junction], road, groups, lanes, links)
    return tuple(heads)


def _groups(members: list[Link], junction: Junction, programmes: dict[str, list[str]]) -> list[list[Link]]:
    def key(link: Link):
        states = programmes.get(link.signal.light, [])
        column = tuple(colour(s[link.signal.index]) for s in states if link.signal.index < len(s))
        return link.signal.light, link.from_lane if junction.kind == "toll" else "", column

    found: dict = {}
    for link in members:
        found.setdefault(key(link), []).append(link)
    return sorted(found.values(), key=lambda group: sum(ORDER[link.turn] for link in group) / len(group))


def _heads(
    junction: Junction, road: str, groups: list[list[Link]], lanes: Sequence[Lane], links: Sequence[Link]
) -> list[Head]:
    by_id, toll = {lane.id: lane for lane in lanes}, junction.kind == "toll"
    outer = min(
        (lane for lane in lanes if lane.road == road and lane.kind != "sidewalk"), key=lambda lane: lane.index
    )
    heads = []
    for k, group in enumerate(groups):
        turns = {"left" if link.turn == "turn-around" else link.turn for link in group}
        arrow = min(turns) if len(groups) > 1 and len(turns) == 1 and not toll else "any"
        lane = by_id[group[0].from_lane] if toll else outer
        aside = 0.0 if toll else KERB_M + k * SPACING_M
        x, y, yaw = point_at(lane.points, length(lane.points), -lane.width_m / 2 - aside)
        height = random.Random(f"{junction.id} {road} {group[0].from_lane if toll else ''}").uniform(2.5, 3.2)
        post = {"near": 0.0} if toll else {"near": 0.0, "far": _far(junction, x, y, yaw, lanes, links)}
        for place, ahead in post.items():
            if ahead is None:
                continue
            step = heading(yaw)
            heads.append(
                Head(
                    id=f"{road}.{k}.{place}",
                    junction=junction.id,
                    light=group[0].signal.light,
                    indices=tuple(sorted({link.signal.index for link in group})),
                    lanes=tuple(sorted({link.from_lane for link in group})),
                    x=round(x + ahead * step[0], 3),
                    y=round(y + ahead * step[1], 3),
                    z=round(height, 3),
                    yaw=round(wrap(yaw + math.pi), 6),
                    kind="toll" if toll else "intersection",
                    arrow=arrow,
                    place=place,
                )
            )
    return heads


def _far(
    junction: Junction, x: float, y: float, yaw: float, lanes: Sequence[Lane], links: Sequence[Link]
) -> float | None:
    """Metres straight on from (x, y); None where no clear place is left within FAR_M."""
    step = heading(yaw)
    at = [0.5 * k for k in range(1, int(2 * FAR_M))]
    within = [a for a in at if inside(junction.polygon, x + a * step[0], y + a * step[1])]
    ways = [p for p in (*lanes, *links) if not (isinstance(p, Lane) and p.kind == "sidewalk")]
    for ahead in (a for a in at if not within or a > max(within)):
        px, py = x + ahead * step[0], y + ahead * step[1]
        if all(abs(project(way.points, px, py)[1]) >= way.width_m / 2 + CLEAR_M for way in ways):
            return ahead
    return None
