"""Every thing of a frame that has an identity, as a solid body in the world: what things.py projects."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from edgekit.render.ahead import RIDDEN, key
from edgekit.render.classes import HEAD_NAMES
from edgekit.render.shapes import SIZE_M, hull
from edgekit.render.traffic.geometry import heading

LENS_GAP_M = 0.35  # between lens centres; red is on top
WALKING_MPS = 0.2  # above it the worker draws a person in mid-stride


@dataclass(frozen=True)
class Body:
    """points: (n, 3), their convex hull wraps it; keypoints: name → (x, y, z); both local: x right, y forward,
    z up (m). at: x, y, z, yaw (rad) of the local origin. keys: the id pixels that are it."""

    word: str
    instance: int
    name: str
    points: np.ndarray
    at: tuple[float, float, float, float]
    keypoints: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    keys: tuple[int, ...] = ()


@lru_cache(maxsize=4096)
def shape(kind: str, length: float, width: float, height: float) -> np.ndarray:
    """(n, 3) points of shapes.hull."""
    points = np.array(hull(kind, length, width, height), float)
    points.setflags(write=False)
    return points


def place(points: np.ndarray, at: tuple[float, float, float, float]) -> np.ndarray:
    """(n, 3) local points → (n, 3) in the world."""
    x, y, z, yaw = at
    fx, fy = heading(yaw)
    points = np.asarray(points, float)
    right, ahead = points[:, 0], points[:, 1]
    return np.stack([x + right * fy + ahead * fx, y - right * fx + ahead * fy, z + points[:, 2]], axis=1)


def bodies_of(spec: dict[str, Any], frame: dict[str, Any]) -> list[Body]:
    """Heads, signs, vehicles and their riders, parked vehicles, people, cones, barriers, debris; in that order."""
    return [
        *(_head(head, frame) for head in spec["heads"] if head["id"] in frame["heads"]),
        *(_sign(sign) for sign in spec["signs"]),
        *_vehicles(spec, frame),
        *(_vehicle(spec, body, body, body["z"], parked=True) for body in spec["parked"]),
        *_people(spec, frame),
        *_road_things(frame),
    ]


def _head(head: dict[str, Any], frame: dict[str, Any]) -> Body:
    lenses = {f"lamp_{c}": (0.0, 0.0, k * LENS_GAP_M) for c, k in (("red", 1), ("yellow", 0), ("green", -1))}
    return Body(
        "head", head["instance"], head["id"], shape("head", 0.0, 0.0, 0.0),
        (head["x"], head["y"], head["z"], head["yaw"]), lenses,
        {
            "state": frame["heads"][head["id"]], "arrow": head["arrow"], "kind": head["kind"],
            "place": head["place"], "governs": head["id"] in frame["facts"]["governing"],
        },
        tuple(key(name, head["instance"]) for name in HEAD_NAMES),
    )  # fmt: skip


def _sign(sign: dict[str, Any]) -> Body:
    return Body(
        "sign", sign["instance"], f"sign{sign['instance']}", shape("sign", 0.0, 0.0, 0.0),
        (sign["x"], sign["y"], sign["z"], sign["yaw"]),
        attributes={"kind": sign["kind"], "value": sign["value"]}, keys=(key("sign", sign["instance"]),),
    )  # fmt: skip


def _vehicles(spec: dict[str, Any], frame: dict[str, Any]) -> list[Body]:
    fleet, found = {body["name"]: body for body in spec["fleet"]}, []
    for vehicle in frame["vehicles"]:
        body = fleet[vehicle["name"]]
        found.append(_vehicle(spec, body, vehicle, 0.0, parked=False))
        for rider in RIDDEN.get(body["kind"], ()):
            found.append(
                Body(
                    rider, body["instance"], body["name"], shape(rider, 0.0, 0.0, 0.0), found[-1].at,
                    attributes={"rides": body["kind"], "speed_mps": vehicle["speed_mps"]},
                    keys=(key(rider, body["instance"]),),
                )
            )  # fmt: skip
    return found


def _vehicle(spec: dict[str, Any], body: dict[str, Any], now: dict[str, Any], z: float, parked: bool) -> Body:
    if body.get("asset") is None:
        points = shape(body["kind"], body["length"], body["width"], body["height"])
    else:  # the user's own CAD
        points = np.array(spec["assets"][body["asset"]]["hull"], float)
    (x0, y0, _), (x1, y1, _) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    corners = {"front_left": (x0, y1), "front_right": (x1, y1), "rear_right": (x1, y0), "rear_left": (x0, y0)}
    state = {lamp: bool(now.get(lamp, False)) for lamp in ("brake", "left", "right")}
    return Body(
        body["kind"], body["instance"], body["name"], points, (now["x"], now["y"], z, now["yaw"]),
        {name: (*corner, 0.0) for name, corner in corners.items()},
        {**state, "parked": parked, "speed_mps": now.get("speed_mps", 0.0)},
        (key(body["kind"], body["instance"]),),
    )  # fmt: skip


def _people(spec: dict[str, Any], frame: dict[str, Any]) -> list[Body]:
    crowd, found = {person["name"]: person for person in spec["crowd"]}, []
    for person in frame["people"]:
        who, pace = crowd[person["name"]], person["speed_mps"]
        height = who["height_m"]
        size = SIZE_M["walking" if pace > WALKING_MPS else "standing"]
        found.append(
            Body(
                "person", who["instance"], who["name"], shape("person", *size, height),
                (person["x"], person["y"], person["z"], person["yaw"]),
                {"foot": (0.0, 0.0, 0.0), "top": (0.0, 0.0, height)},
                {"on_road": person["z"] == 0, "speed_mps": pace}, (key("person", who["instance"]),),
            )
        )  # fmt: skip
    return found


def _road_things(frame: dict[str, Any]) -> list[Body]:
    found = []
    for word, places in (("cone", "cones"), ("barrier", "barriers"), ("debris", "debris")):
        points, ends = shape(word, 0.0, 0.0, 0.0), {}
        if word == "cone":
            ends = {"tip": (0.0, 0.0, float(points[:, 2].max())), "foot": (0.0, 0.0, 0.0)}
        for k, (x, y, *yaw) in enumerate(frame[places], 1):
            at = (x, y, 0.0, yaw[0] if yaw else 0.0)
            found.append(Body(word, k, f"{word}{k}", points, at, ends, {}, (key(word, k),)))
    return found
