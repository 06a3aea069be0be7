"""What lies ahead of the ego vehicle in a frame, from the spec's geometry alone: whether it shows is labels.py's.

Distances are metres along the frame's path, from the middle of the front bumper.
"""

import math
from dataclasses import dataclass
from typing import Any

from edgekit.render.classes import CLASSES, INSTANCES
from edgekit.render.traffic.geometry import heading, point_at, project

CROSSROAD_M = 50.0  # SceneLabel v1: stop lines and zebras farther than this are not asked for
ROAD_THINGS_M = 35.0  # nor are cones and obstacles farther than this
BEHIND_M = 0.5  # what ends nearer than this is passed
CONES_ASIDE_M, CORRIDOR_M = 6.0, 1.5  # from the path: of cones, of the middle of an obstacle
STANDING_MPS = 0.1
SAME_WAY = 0.5  # the least cosine between two heads that look at one approach, and between us and a leader
IN_PATH_M = 0.9  # half as wide as we are
STRIPE_ASIDE_M = 1.2  # a zebra has a stripe each metre: one this near is crossed by the path
MIDDLE_M = 0.5  # a typical height of a thing on the road: for its distance through the air, no more

Where = tuple[float, float, float]


@dataclass(frozen=True)
class Thing:
    """word: the label's for it; keys: its id pixels; where: its middle (x, y, z)."""

    word: str
    metres: float
    keys: tuple[int, ...]
    where: Where


@dataclass(frozen=True)
class Ahead:
    """light: the state that governs us, or "none"; heads, others: the heads (of the spec) that show it, and those
    that may show the state of another lane, by turn. Things are sorted, nearest first. zebras: metres by instance.
    """

    stop_line_m: float | None
    light: str
    heads: tuple[dict[str, Any], ...]
    others: dict[str, tuple[str, tuple[dict[str, Any], ...]]]
    cones: tuple[Thing, ...]
    obstacles: tuple[Thing, ...]
    zebras: dict[int, float]
    leaders: tuple[Thing, ...]


def key(name: str, instance: int) -> int:
    return CLASSES[name] * INSTANCES + instance


def ahead_of(spec: dict[str, Any], frame: dict[str, Any]) -> Ahead:
    """All that a label may speak of, seen or not."""
    facts = frame["facts"]
    stop = facts["stop_line_m"]
    near = stop is not None and 0 <= stop <= CROSSROAD_M
    heads = tuple(h for h in spec["heads"] if h["id"] in frame["heads"] and h["id"] in facts["governing"])
    governed = near and bool(heads) and facts["light"] != "none"
    fleet = {vehicle["name"]: vehicle for vehicle in spec["fleet"]}
    return Ahead(
        stop_line_m=stop if near else None,
        light=facts["light"] if governed else "none",
        heads=heads if governed else (),
        others=_others(spec, frame, heads) if near else {},
        cones=_cones(frame),
        obstacles=_obstacles(spec, frame, fleet),
        zebras=_zebras(spec, frame),
        leaders=_leaders(frame, fleet),
    )


def _others(spec: dict[str, Any], frame: dict[str, Any], ours: tuple) -> dict[str, tuple[str, tuple]]:
    """Per turn the state that others of our approach see, and the heads that look our way and show it."""
    facts = frame["facts"]
    yaw = ours[0]["yaw"] if ours else frame["ego"]["yaw"] + math.pi
    rest = [
        head
        for head in spec["heads"]
        if head["id"] in frame["heads"]
        and head["id"] not in facts["governing"]
        and head["junction"] == facts["junction"]
        and math.cos(head["yaw"] - yaw) > SAME_WAY
    ]
    found = {}
    for turn, state in facts["others"].items():
        if state == "none":
            continue
        shown = [h for h in _for_turn(turn, rest, ours) if frame["heads"][h["id"]] == state]
        if shown:
            found[turn] = (state, tuple(shown))
    return found


def _for_turn(turn: str, rest: list[dict[str, Any]], ours: tuple) -> list[dict[str, Any]]:
    """At a toll plaza, where all go straight on, left and right are the next lanes' heads on those sides."""
    if not ours or ours[0]["kind"] != "toll":
        return [head for head in rest if head["arrow"] in ("any", turn)]
    right_x, right_y = -math.cos(ours[0]["yaw"]), -math.sin(ours[0]["yaw"])  # the head looks at us
    side = {"left": -1, "right": 1}.get(turn, 0)
    away = [
        (side * ((h["x"] - ours[0]["x"]) * right_x + (h["y"] - ours[0]["y"]) * right_y), k)
        for k, h in enumerate(rest)
    ]
    return [rest[k] for metres, k in sorted(away) if metres > 0][:1]


def _along(frame: dict[str, Any], x: float, y: float, aside: float, half: float = 0.0) -> float | None:
    """Metres to a thing whose middle is at (x, y) and that begins ``half`` before it; None: not in our way."""
    s, left = (round(v, 3) for v in project(frame["path"], x, y))  # a spec is written in millimetres
    if s < BEHIND_M or abs(left) > aside or s - half > ROAD_THINGS_M:
        return None
    return round(max(0.0, s - half), 2)


def _cones(frame: dict[str, Any]) -> tuple[Thing, ...]:
    found = []
    for k, (x, y) in enumerate(frame["cones"], 1):
        metres = _along(frame, x, y, CONES_ASIDE_M)
        if metres is not None:
            found.append(Thing("cone", metres, (key("cone", k),), (x, y, MIDDLE_M)))
    return tuple(sorted(found, key=lambda thing: thing.metres))


def _obstacles(
    spec: dict[str, Any], frame: dict[str, Any], fleet: dict[str, dict[str, Any]]
) -> tuple[Thing, ...]:
    """Traffic that waits is no obstacle: one picture cannot tell it from traffic that moves. Hazard lights can."""
    found = []

    def add(word: str, x: float, y: float, keys: tuple[int, ...], half: float = 0.0) -> None:
        metres = _along(frame, x, y, CORRIDOR_M, half)
        if metres is not None:
            found.append(Thing(word, metres, keys, (x, y, MIDDLE_M)))

    for word in ("barrier", "debris"):
        for k, (x, y, _) in enumerate(frame["barriers" if word == "barrier" else "debris"], 1):
            add(word, x, y, (key(word, k),))
    crowd = {person["name"]: person["instance"] for person in spec["crowd"]}
    for person in frame["people"]:
        if person["z"] == 0:  # on the road, not on the pavement
            add("person", person["x"], person["y"], (key("person", crowd[person["name"]]),))
    for vehicle in frame["vehicles"]:
        body = fleet[vehicle["name"]]
        hazard = vehicle["left"] and vehicle["right"] and vehicle["speed_mps"] < STANDING_MPS
        if body["kind"] == "bicycle" or hazard:
            word = "cyclist" if body["kind"] == "bicycle" else "stopped_vehicle"
            add(word, vehicle["x"], vehicle["y"], _keys(body), body["length"] / 2)
    return tuple(sorted(found, key=lambda thing: (thing.metres, thing.word)))


def _keys(body: dict[str, Any]) -> tuple[int, ...]:
    return tuple(key(name, body["instance"]) for name in (body["kind"], *RIDDEN.get(body["kind"], ())))


RIDDEN = {"bicycle": ("rider",), "motorcycle": ("rider",)}


def _leaders(frame: dict[str, Any], fleet: dict[str, dict[str, Any]]) -> tuple[Thing, ...]:
    """Who drives or stands before us on our path, our way round, and whom the traffic has us follow.

    The traffic's own leader is not enough: of one who leaves our path it counts the front alone, and its rear
    may still be in it.
    """
    facts, found = frame["facts"], []
    for vehicle in frame["vehicles"]:
        body = fleet[vehicle["name"]]
        (dx, dy), long, wide = heading(vehicle["yaw"]), body["length"] / 2, body["width"] / 2
        gaps = [facts["gap_m"]] if vehicle["name"] == facts["leader"] and facts["gap_m"] is not None else []
        for ahead in (-long, 0.0, long):
            for aside in (-wide, 0.0, wide):
                x, y = vehicle["x"] + ahead * dx + aside * dy, vehicle["y"] + ahead * dy - aside * dx
                s, left = project(frame["path"], x, y)
                _, _, yaw = point_at(frame["path"], s)
                if s > 0 and abs(left) <= IN_PATH_M and math.cos(vehicle["yaw"] - yaw) > SAME_WAY:
                    gaps.append(s)
        if gaps:
            rear = (vehicle["x"] - long * dx, vehicle["y"] - long * dy, MIDDLE_M)
            found.append(Thing("leader", round(min(gaps), 2), _keys(body), rear))
    return tuple(sorted(found, key=lambda thing: thing.metres))


def _zebras(spec: dict[str, Any], frame: dict[str, Any]) -> dict[int, float]:
    """The next one as the facts have it, and those behind it that the path crosses too: a camera that stands on
    one sees the next. Without paint in the spec (nothing is drawn) the first alone."""
    first, metres = frame["facts"]["crossing"], frame["facts"]["crossing_m"]
    if first is None or metres is None or metres > CROSSROAD_M:
        return {}
    found, (x, y) = {first: metres}, frame["path"][0]
    for stripe in spec["paint"] if spec.get("paint") else ():
        number, points = stripe.get("instance", 0), stripe["points"]
        if stripe["class"] != "zebra" or number == first or math.dist(points[0], (x, y)) > CROSSROAD_M + 10:
            continue
        middle = [sum(p[k] for p in points) / len(points) for k in (0, 1)]
        if abs(project(frame["path"], *middle)[1]) > STRIPE_ASIDE_M:
            continue
        along = [project(frame["path"], *point)[0] for point in points]
        if max(along) > BEHIND_M and min(along) <= CROSSROAD_M:
            found[number] = round(min(min(along), found.get(number, math.inf)), 2)
    return found
