"""The exact label of a frame: from the spec's geometry alone, then with visibility read from the ids image.

A thing that is there and cannot be seen makes its task `dropped` (its slots unknown); a thing of which not
one pixel shows is as good as absent for a camera, except the light: an unseen governing light is not "none".
In fog a thing is there and cannot be seen where too little of its contrast comes through the air. The state
that *other* lanes see is a slot by itself: where their heads do not show it, that slot alone is unknown.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from edgekit.core.label import TASKS, SceneLabel
from edgekit.render.ahead import Ahead, Thing, Where, ahead_of, key
from edgekit.render.camera import Camera
from edgekit.render.classes import CLASSES, INSTANCES, NAMES
from edgekit.render.conditions import comes_through
from edgekit.render.rules import GAP_WITHIN_M, Facts, recommended_speed
from edgekit.render.things import things_of
from edgekit.render.traffic.geometry import heading, point_at

# Fewer pixels than these: there, but not to be seen. At 448 pixels and 60 degrees each thing has about as many
# at the farthest that a label speaks of it; a leader and a zebra have them at 60 and 50 m.
LAMP_PX, HEAD_PX, CONE_PX, ZEBRA_PX, LEADER_PX = 9, 60, 20, 20, 30
OBSTACLE_PX = {"barrier": 60, "debris": 20, "stopped_vehicle": 60, "person": 30, "cyclist": 30}
HIDES = tuple(CLASSES[name] for name in ("truck", "bus"))  # what may stand before a whole crossroad
ACROSS_M = (-1.0, 0.0, 1.0)  # along a stop line, from its middle
FACING = 0.5  # the least cosine between where a head looks and the way to us
OFF_NAMES = ("head", "lamp_dark")  # what a head that is off shows
# A dark head before dark houses: of those with fewer pixels we could not tell by looking that it is there.
HEAD_NIGHT_PX = 250


def label_of(
    spec: dict[str, Any], frame: dict[str, Any]
) -> tuple[dict[str, str], list[str], dict[str, float | None]]:
    """(slots, names of the speed rules used, distances in m): what is there, seen or not."""
    return _label(spec, frame, ahead_of(spec, frame))


def _label(spec: dict[str, Any], frame: dict[str, Any], ahead: Ahead) -> tuple:
    nearest = ahead.obstacles[0] if ahead.obstacles else None
    present = ahead.light != "none"
    arrow, kind = (ahead.heads[0]["arrow"], ahead.heads[0]["kind"]) if present else ("none", "none")
    facts = Facts(
        limit_kmh=frame["facts"]["limit_kmh"],
        weather=spec["conditions"]["weather"],
        time=spec["conditions"]["time"],
        visibility_m=spec["conditions"].get("effects", {}).get("visibility_m"),
        cones=bool(ahead.cones),
        obstacle=nearest.word if nearest else "none",
        obstacle_m=nearest.metres if nearest else None,
        crossroad=ahead.stop_line_m is not None,
        light=ahead.light,
        stop_line_m=ahead.stop_line_m,
        gap_m=ahead.leaders[0].metres if ahead.leaders else None,
    )
    speed, used = recommended_speed(facts)
    slots = {
        "recommended_speed_kmh": speed,
        "light": ahead.light,
        "light_arrow": arrow,
        "light_kind": kind,
        **{f"other_{t}": ahead.others.get(t, ("none",))[0] for t in ("left", "straight", "right")},
        "cones": "yes" if ahead.cones else "no",
        "obstacle": facts.obstacle,
        "crossroad": "yes" if facts.crossroad else "no",
        "zebra": "yes" if ahead.zebras else "no",
    }
    eye = _eye(frame)
    distances = {
        "stop_line_m": ahead.stop_line_m,
        "zebra_m": min(ahead.zebras.values(), default=None),
        "head_m": min((round(math.dist(eye, _at(h)), 2) for h in ahead.heads), default=None),  # from the lens
        "cone_m": ahead.cones[0].metres if ahead.cones else None,
        "obstacle_m": facts.obstacle_m,
        "gap_m": facts.gap_m,
    }
    return slots, used, distances


def truth_of(
    spec: dict[str, Any], frame: dict[str, Any], camera: Camera, ids: np.ndarray | None = None
) -> dict[str, Any]:
    """Label, visibility, speed rules, distances, pixels by class and things of a frame.

    ids: (h, w) uint16; without it all counts as seen, but for a light that no picture can tell.
    """
    ahead = ahead_of(spec, frame)
    counts = None if ids is None else np.bincount(np.asarray(ids).ravel(), minlength=1 << 16)
    hidden_zebra = False
    if counts is not None:
        every, ahead = ahead, _in_view(ahead, counts)
        hidden_zebra = bool(every.zebras) and not ahead.zebras and _zebra_px(counts) >= ZEBRA_PX
    slots, used, distances = _label(spec, frame, ahead)
    visible = {task: True for task in TASKS}
    if counts is not None:
        air = _Air(spec, frame, counts)
        visible["light"] = air.light(ahead.light, ahead.heads)
        visible["obstacles"] = air.obstacles(ahead)
        visible["crossroad"] = air.crossroad(ahead) and not hidden_zebra
        if _covered(frame, camera, ids, ahead.stop_line_m) and not ahead.zebras and not air.heads():
            visible["crossroad"] = False
        for turn, (state, heads) in ahead.others.items():
            if not air.light(state, heads):
                slots[f"other_{turn}"] = "unknown"
        visible["speed"] = air.leader(ahead.leaders)
        if frame["facts"]["on_link"] and slots["light"] == "none":
            visible["light"] = not air.heads()  # no picture tells that their line is passed
    if frame["facts"]["ambiguous"] and slots["light"] != "none":
        visible["light"] = False
    if _round_the_corner(frame, ahead, slots["light_arrow"]):
        visible["obstacles"] = False
    # the speed follows from all of them
    visible["speed"] = all(visible.values())
    SceneLabel(**slots)  # a label outside the vocabulary must fail here, not in training
    return {
        "label": slots,
        "visible": visible,
        "rules": used,
        "distances": distances,
        "pixels": {} if counts is None else pixels_by_class(counts),
        "things": things_of(spec, frame, camera, ids),
    }


def _round_the_corner(frame: dict[str, Any], ahead: Ahead, arrow: str) -> bool:
    """Whether what lies in our way does so only because we shall turn: no picture tells that, but for a head
    that lets our turn alone go."""
    turn, stop_m = frame["facts"]["turn"], frame["facts"]["stop_line_m"]
    if turn not in ("left", "right") or turn == arrow or stop_m is None:
        return False
    return any(things and things[0].metres > stop_m for things in (ahead.cones, ahead.obstacles))


def _in_view(ahead: Ahead, counts: np.ndarray) -> Ahead:
    """What shows at least one pixel: for a camera the rest is not there. Heads stay, seen or not."""

    def shows(thing: Thing) -> bool:
        return counts[list(thing.keys)].any()

    return replace(
        ahead,
        cones=tuple(filter(shows, ahead.cones)),
        obstacles=tuple(filter(shows, ahead.obstacles)),
        zebras={k: m for k, m in ahead.zebras.items() if counts[key("zebra", k)]},
        leaders=tuple(filter(shows, ahead.leaders)),
    )


class _Air:
    """What of a frame is to be seen: enough pixels, whose contrast comes through the air."""

    def __init__(self, spec: dict[str, Any], frame: dict[str, Any], counts: np.ndarray):
        self.conditions, self.eye, self.counts = spec["conditions"], _eye(frame), counts
        self.behind = spec["mount"]["behind_bumper_m"]
        self.shown = [(frame["heads"][h["id"]], h) for h in spec["heads"] if h["id"] in frame["heads"]]

    def clear(self, where: Where) -> bool:
        return comes_through(self.conditions, math.dist(self.eye, where))

    def pixels(self, thing: Thing) -> int:
        return int(self.counts[list(thing.keys)].sum()) if self.clear(thing.where) else 0

    def light(self, state: str, heads: tuple[dict[str, Any], ...]) -> bool:
        """One head of several is enough."""
        if state == "none":
            return True
        names, least = (f"lamp_{state}",), LAMP_PX
        if state == "off":
            names, least = OFF_NAMES, HEAD_NIGHT_PX if self.conditions["time"] == "night" else HEAD_PX
        return any(
            sum(self.counts[key(name, head["instance"])] for name in names) >= least
            for head in heads
            if self.clear(_at(head))
        )

    def heads(self) -> bool:
        """Whether any head that looks our way is seen to show something."""
        return any(self.light(state, (head,)) for state, head in self.shown if self._faces(head))

    def _faces(self, head: dict[str, Any]) -> bool:
        (ax, ay), dx, dy = heading(head["yaw"]), self.eye[0] - head["x"], self.eye[1] - head["y"]
        return ax * dx + ay * dy > FACING * math.hypot(dx, dy)

    def obstacles(self, ahead: Ahead) -> bool:
        cones = not ahead.cones or sum(map(self.pixels, ahead.cones)) >= CONE_PX
        first = ahead.obstacles[0] if ahead.obstacles else None
        return cones and (first is None or self.pixels(first) >= OBSTACLE_PX[first.word])

    def crossroad(self, ahead: Ahead) -> bool:
        """Whether the stop line and the nearest zebra, where they are ahead, come through the air."""
        metres = [] if ahead.stop_line_m is None else [ahead.stop_line_m]
        if ahead.zebras:
            metres.append(min(ahead.zebras.values()))
            if max(self.counts[key("zebra", k)] for k in ahead.zebras) < ZEBRA_PX:
                return False
        return all(comes_through(self.conditions, math.hypot(m + self.behind, self.eye[2])) for m in metres)

    def leader(self, leaders: tuple[Thing, ...]) -> bool:
        """Whether the nearest is seen, where a rule speaks of it."""
        near = [thing for thing in leaders[:1] if thing.metres <= GAP_WITHIN_M]
        return all(self.pixels(thing) >= LEADER_PX for thing in near)


def _covered(frame: dict[str, Any], camera: Camera, ids: np.ndarray, stop_m: float | None) -> bool:
    """Whether trucks or buses hide all of our stop line that lies in the image; a toll plaza shows above them."""
    if stop_m is None or frame["facts"]["junction_kind"] == "toll":
        return False
    spots = [camera.project((*point_at(frame["path"], stop_m, left)[:2], 0.0)) for left in ACROSS_M]
    inside = [
        ids[int(spot[1]), int(spot[0])]
        for spot in spots
        if spot and 0 <= spot[0] < camera.width and 0 <= spot[1] < camera.height
    ]
    return bool(inside) and all(pixel // INSTANCES in HIDES for pixel in inside)


def _eye(frame: dict[str, Any]) -> Where:
    return tuple(frame["camera"][axis] for axis in "xyz")


def _at(head: dict[str, Any]) -> Where:
    return head["x"], head["y"], head["z"]


def _zebra_px(counts: np.ndarray) -> int:
    first = CLASSES["zebra"] * INSTANCES
    return int(counts[first : first + INSTANCES].sum())


def pixels_by_class(counts: np.ndarray) -> dict[str, int]:
    """(65536,) pixels of every id → pixels of every class in view."""
    sums = counts[: len(NAMES) * INSTANCES].reshape(len(NAMES), INSTANCES).sum(axis=1)
    return {name: int(sums[number]) for name, number in CLASSES.items() if sums[number]}


def answerable(truth: dict[str, Any]) -> dict[str, str]:
    """The label as training may use it: slots of tasks that cannot be seen are unknown."""
    hidden = {slot for task, slots in TASKS.items() if not truth["visible"][task] for slot in slots}
    return {slot: "unknown" if slot in hidden else value for slot, value in truth["label"].items()}
