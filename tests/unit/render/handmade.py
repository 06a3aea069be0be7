"""A scene written by hand, for tests of labels: one road, its light, and what a test puts on it. No layout, no
traffic. All is written as the ego sees it (its front bumper at (0, 0), driving along +y) and then put somewhere
else in the world, turned: what a label says must not depend on where that is.

The projection here is written anew, from elementary rotations, so that the product's is measured by another.
"""

import math

import numpy as np

from edgekit.render.camera import Camera
from edgekit.render.classes import CLASSES
from edgekit.render.shapes import HEIGHT_M, SIZE_M, hull

WIDTH, HEIGHT, HFOV = 448, 252, 60.0
WHERE = (130.0, -45.0, 2.1)  # x, y, yaw of the ego's frame in the world
BEHIND_M, EYE_M = 1.7, 1.4
TAGS = {"weather": "clear", "time": "day", "tags": ["clear"], "sky": {}}
NEAR_HEAD = {"id": "r.0.near", "x": 4.0, "y": 20.0, "z": 2.8, "place": "near"}
FAR_HEAD = {"id": "r.0.far", "x": 4.0, "y": 52.0, "z": 2.8, "place": "far"}


def head(instance, **more):
    return {
        **NEAR_HEAD, "instance": instance, "yaw": math.pi, "arrow": "any", "kind": "intersection",
        "junction": "x", **more,
    }  # fmt: skip


def car(name="v1", x=0.0, y=20.0, yaw=0.0, kind="car", instance=1, **more):
    """(entry of the fleet, entry of the frame)"""
    length, width = {"car": (4.3, 1.8), "bus": (12.0, 2.5), "bicycle": (1.7, 0.65), "truck": (7.1, 2.4)}[kind]
    body = {"name": name, "instance": instance, "kind": kind, "length": length, "width": width}
    now = {
        "name": name,
        "x": x,
        "y": y,
        "yaw": yaw,
        "speed_mps": 5.0,
        "brake": False,
        "left": False,
        "right": False,
    }
    return {**body, "height": HEIGHT_M[kind], "paint": [0.3, 0.3, 0.3], "asset": None}, now | more


def scene(
    light="red",
    stop=20.0,
    heads=None,
    states=None,
    cars=(),
    people=(),
    cones=(),
    barriers=(),
    debris=(),
    paint=(),
    signs=(),
    parked=(),
    path=None,
    conditions=None,
    where=WHERE,
    **facts,
):
    """(spec, its one frame). stop: metres to the stop line (None: no crossroad); states: of heads by id."""
    heads = [head(1, y=stop), head(2, **FAR_HEAD)] if heads is None else list(heads)
    heads = heads if stop is not None else []
    if light == "none":
        heads, states = heads, {}
    states = {h["id"]: light for h in heads} if states is None else states
    told = {
        "limit_kmh": 50, "lane": "a_1", "on_link": None, "turn": "straight", "stop_line_m": stop,
        "junction": None if stop is None else "x", "junction_kind": None if stop is None else "x",
        "crossing_m": None, "crossing": None, "gap_m": None, "leader": None,
        "governing": [h["id"] for h in heads if h["id"] in states], "light": light, "ambiguous": False,
        "others": {"left": "none", "straight": "none", "right": "none"}, **facts,
    }  # fmt: skip
    spec = {
        "schema": "edgekit/scene/2", "scene": "s000001", "seed": 1, "split": "train", "mode": "poses", "fps": None,
        "image": {"width": WIDTH, "height": HEIGHT, "hfov_deg": HFOV, "samples": 4, "bounces": 2},
        "mount": {"name": "windscreen", "behind_bumper_m": BEHIND_M, "left_m": 0.0, "height_m": EYE_M},
        "classes": CLASSES, "passes": {"ids": True, "depth": False}, "conditions": {**TAGS, **(conditions or {})},
        "layout": {"name": "hand", "kind": "x"}, "heads": heads, "signs": list(signs), "paint": list(paint),
        "parked": list(parked), "fleet": [body for body, _ in cars], "assets": [],
        "crowd": [
            {"name": p["name"], "instance": k, "coat": [0, 0, 0], "height_m": 1.75} for k, p in enumerate(people, 1)
        ],
    }  # fmt: skip
    frame = {
        "index": 0, "stem": "s000001_000", "seed": 7, "t_s": 0.0, "case": "approach",
        "camera": {"x": 0.0, "y": -BEHIND_M, "z": EYE_M, "yaw_deg": 0.0, "pitch_deg": 1.5},
        "ego": {"x": 0.0, "y": -2.15, "yaw": 0.0, "length": 4.3, "width": 1.8},
        "speed_mps": 5.0, "accel_mps2": 0.0, "yaw_rate_rps": 0.0, "heads": states,
        "vehicles": [now for _, now in cars], "people": list(people), "cones": [list(c) for c in cones],
        "barriers": [list(b) for b in barriers], "debris": [list(d) for d in debris],
        "path": path or [[0.0, 0.0], [0.0, 60.0]], "facts": told,
    }  # fmt: skip
    spec["frames"] = [frame]
    _put(spec, frame, *where)
    return spec, frame


def _put(spec, frame, x0, y0, turn):
    def moved(x, y):
        z = complex(x, y) * complex(math.cos(turn), math.sin(turn)) + complex(x0, y0)
        return [z.real, z.imag]

    things = [
        spec["heads"],
        spec["signs"],
        spec["parked"],
        frame["vehicles"],
        frame["people"],
        [frame["ego"]],
    ]
    for group in things:
        group[:] = [
            {**t, "x": moved(t["x"], t["y"])[0], "y": moved(t["x"], t["y"])[1], "yaw": t["yaw"] + turn}
            for t in group
        ]
    frame["ego"] = things[-1][0]
    camera = frame["camera"]
    camera["x"], camera["y"] = moved(camera["x"], camera["y"])
    camera["yaw_deg"] += math.degrees(turn)
    frame["cones"] = [moved(*c) for c in frame["cones"]]
    for name in ("barriers", "debris"):
        frame[name] = [[*moved(x, y), yaw + turn] for x, y, yaw in frame[name]]
    frame["path"] = [moved(*p) for p in frame["path"]]
    spec["paint"] = [{**p, "points": [moved(*q) for q in p["points"]]} for p in spec["paint"]]


def person(name="p1", x=0.0, y=15.0, z=0.0, speed=0.0):
    return {"name": name, "x": x, "y": y, "yaw": 0.0, "z": z, "speed_mps": speed}


def zebra(instance, y):
    """Stripes of half a metre across a road of 13 m, from y to y + 4."""
    return [
        {"class": "zebra", "colour": "white", "instance": instance,
         "points": [[x, y], [x + 0.5, y], [x + 0.5, y + 4], [x, y + 4]]}
        for x in range(-7, 7)
    ]  # fmt: skip


def camera_of(spec, frame):
    image = spec["image"]
    return Camera(image["width"], image["height"], image["hfov_deg"], **frame["camera"])


def ids_with(counts):
    """An ids image of (HEIGHT, WIDTH) that holds so many pixels of (class name, instance)."""
    ids = np.zeros(HEIGHT * WIDTH, np.uint16)
    at = 0
    for (name, instance), count in counts.items():
        ids[at : at + count] = CLASSES[name] * 1000 + instance
        at += count
    return ids.reshape(HEIGHT, WIDTH)


def by_hand(frame, point):
    """(u, v, depth) of a point of the world: [R | t] from elementary rotations, then K."""
    camera = frame["camera"]
    yaw, pitch = math.radians(camera["yaw_deg"]), math.radians(camera["pitch_deg"])
    about_z = np.array([[math.cos(-yaw), -math.sin(-yaw), 0], [math.sin(-yaw), math.cos(-yaw), 0], [0, 0, 1]])
    about_x = np.array(
        [[1, 0, 0], [0, math.cos(-pitch), -math.sin(-pitch)], [0, math.sin(-pitch), math.cos(-pitch)]]
    )
    right, ahead, up = about_x @ about_z @ (np.array(point, float) - [camera["x"], camera["y"], camera["z"]])
    focal = WIDTH / 2 / math.tan(math.radians(HFOV / 2))
    return WIDTH / 2 + focal * right / ahead, HEIGHT / 2 - focal * up / ahead, ahead


def in_world(points, at):
    """Local points of a thing at (x, y, z, yaw) in the world."""
    x, y, z, yaw = at
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    return np.array(points, float) @ turn.T + [x, y, z]


def solids(spec, frame):
    """[(class, instance, points in the world)] of heads, vehicles, riders, people and things on the road."""
    fleet = {body["name"]: body for body in spec["fleet"]}
    crowd = {one["name"]: one for one in spec["crowd"]}
    found = [
        ("head", h["instance"], hull("head", 0, 0, 0), (h["x"], h["y"], h["z"], h["yaw"]))
        for h in spec["heads"]
    ]
    found += [
        ("sign", s["instance"], hull("sign", 0, 0, 0), (s["x"], s["y"], s["z"], s["yaw"]))
        for s in spec["signs"]
    ]
    for v in frame["vehicles"]:
        body, at = fleet[v["name"]], (v["x"], v["y"], 0.0, v["yaw"])
        size = body["length"], body["width"], body["height"]
        found.append((body["kind"], body["instance"], hull(body["kind"], *size), at))
        if body["kind"] == "bicycle":
            found.append(("rider", body["instance"], hull("rider", 0, 0, 0), at))
    for p in frame["people"]:
        size = SIZE_M["walking" if p["speed_mps"] > 0.2 else "standing"]
        points = hull("person", *size, crowd[p["name"]]["height_m"])
        found.append(("person", crowd[p["name"]]["instance"], points, (p["x"], p["y"], p["z"], p["yaw"])))
    for name, key in (("cone", "cones"), ("barrier", "barriers"), ("debris", "debris")):
        for k, (x, y, *yaw) in enumerate(frame[key], 1):
            found.append((name, k, hull(name, 0, 0, 0), (x, y, 0.0, yaw[0] if yaw else 0.0)))
    return [(name, instance, in_world(points, at)) for name, instance, points, at in found]


def drawn(spec, frame):
    """(HEIGHT, WIDTH) ids of the solids' outlines, the far ones first; a head is all one id.

    A pixel is inside where in each of many directions its centre is no farther out than some corner.
    """
    ids = np.zeros((HEIGHT, WIDTH), np.uint16)
    turns = np.linspace(0, 2 * math.pi, 360, endpoint=False)
    ways = np.stack([np.cos(turns), np.sin(turns)])
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    shapes = []
    for name, instance, points in solids(spec, frame):
        seen = np.array([by_hand(frame, p) for p in points])
        if (seen[:, 2] > 0.1).all():
            shapes.append((seen[:, 2].mean(), CLASSES[name] * 1000 + instance, seen[:, :2]))
    for _, number, corners in sorted(shapes, key=lambda shape: -shape[0]):
        reach = (corners @ ways).max(axis=0)
        low, high = corners.min(axis=0), corners.max(axis=0)
        near = ((centres >= low) & (centres <= high)).all(axis=1).nonzero()[0]
        ids.ravel()[near[(centres[near] @ ways <= reach + 1e-9).all(axis=1)]] = number
    return ids
