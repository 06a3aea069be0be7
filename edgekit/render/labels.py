"""The exact label of a frame: from the spec's geometry alone, then with visibility read from the ids image.

A thing that is there and cannot be seen makes its task `dropped` (its slots unknown); a thing of which not
one pixel shows is as good as absent for a camera, except the light: an unseen governing light is not "none".
In fog a thing is there and cannot be seen where too little of its contrast comes through the air.
"""

import math
from typing import Any

import numpy as np

from edgekit.core.label import TASKS, SceneLabel
from edgekit.render.camera import Camera
from edgekit.render.classes import CLASSES, INSTANCES, NAMES
from edgekit.render.conditions import comes_through
from edgekit.render.rules import Facts, recommended_speed
from edgekit.render.town import zebra_bands

CROSSROAD_M = 50.0  # SceneLabel v1
ROAD_THINGS_M = 35.0  # cones and barriers farther than this are not asked for
BEHIND_M = 0.5  # what ends nearer than this is passed
LAMP_PX, HEAD_PX, CONE_PX, BARRIER_PX = 9, 60, 20, 60  # fewer pixels than these: there, but not to be seen
CONE_SIZE, BARRIER_SIZE = (0.42, 0.42, 0.75), (1.8, 0.1, 1.0)


def geometry(spec: dict[str, Any], frame: dict[str, Any], camera: Camera) -> dict[str, Any]:
    """Distances (m), boxes (px) and expected lamp and cone sizes (px) of one frame; no image needed."""
    junction = spec["junction"]
    stop_line = junction["stop_y"] - camera.y
    ahead = 0 < stop_line <= CROSSROAD_M
    governs = ahead and frame["heads"]
    distances: dict[str, float | None] = {
        "stop_line_m": round(stop_line, 2) if ahead else None,
        "head_m": None,
        "cone_m": None,
        "barrier_m": None,
    }
    boxes: list[dict[str, Any]] = []
    lamp_px = cone_px = None
    if governs:
        head, gap = junction["heads"][0], junction["lens_gap_m"]
        distances["head_m"] = round(head["y"] - camera.y, 2)
        lamp_px = round(junction["lens_m"] * camera.focal_px / (head["y"] - camera.y), 1)
        for h in junction["heads"]:
            _append(boxes, "head", camera.box((h["x"], h["y"], h["z"]), (0.72, 0.2, 3 * gap + 0.34)))
    near = [(y - camera.y, x, y) for x, y in frame["cones"] if BEHIND_M < y - camera.y <= ROAD_THINGS_M]
    if near:
        distances["cone_m"] = round(min(near)[0], 2)
        cone_px = round(CONE_SIZE[2] * camera.focal_px / min(near)[0], 1)
    for _, x, y in sorted(near):
        _append(boxes, "cone", camera.box((x, y, CONE_SIZE[2] / 2), CONE_SIZE))
    if frame["barrier"] and BEHIND_M < frame["barrier"][1] - camera.y <= ROAD_THINGS_M:
        x, y = frame["barrier"]
        distances["barrier_m"] = round(y - camera.y, 2)
        _append(boxes, "barrier", camera.box((x, y, 0.5), BARRIER_SIZE))
    return {"distances": distances, "boxes": boxes, "lamp_px": lamp_px, "cone_px": cone_px}


def _append(boxes: list[dict[str, Any]], name: str, box: list[float] | None) -> None:
    if box:
        boxes.append({"class": name, "box": box})


def zebra_ahead(junction: dict[str, Any], y: float) -> bool:
    """Whether a zebra lies before a camera at ``y`` (m): also once the stop line is passed."""
    return any(far - y > BEHIND_M and near - y <= CROSSROAD_M for near, far in zebra_bands(junction))


def label_of(
    spec: dict[str, Any], frame: dict[str, Any], distances: dict[str, Any], zebra: bool
) -> tuple[dict[str, str], list[str]]:
    """(slots, names of the speed rules used): what is there, seen or not."""
    crossroad = distances["stop_line_m"] is not None
    light = frame["light"] if distances["head_m"] is not None else "none"
    cones, barrier = distances["cone_m"] is not None, distances["barrier_m"] is not None
    facts = Facts(
        limit_kmh=spec["town"]["limit_kmh"],
        weather=spec["conditions"]["weather"],
        time=spec["conditions"]["time"],
        visibility_m=effects_of(spec).get("visibility_m"),
        cones=cones,
        barrier=barrier,
        crossroad=crossroad,
        light=light,
        stop_line_m=distances["stop_line_m"],
    )
    speed, used = recommended_speed(facts)
    present = light != "none"
    slots = {
        "recommended_speed_kmh": speed,
        "light": light,
        "light_arrow": "any" if present else "none",
        "light_kind": "intersection" if present else "none",
        "other_left": "none",
        "other_straight": "none",
        "other_right": "none",
        "cones": "yes" if cones else "no",
        "obstacle": "barrier" if barrier else "none",
        "crossroad": "yes" if crossroad else "no",
        "zebra": "yes" if zebra else "no",
    }
    return slots, used


def effects_of(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["conditions"].get("effects", {})


def lost_in_the_air(spec: dict[str, Any], frame: dict[str, Any], camera: Camera) -> list[int]:
    """Ids of the heads, cones and barriers whose contrast does not come through the air."""
    if "extinction_per_m" not in effects_of(spec):
        return []
    middle = CONE_SIZE[2] / 2
    things = [("cone", k, (x, y, middle)) for k, (x, y) in enumerate(frame["cones"], 1)]
    if frame["barrier"]:
        things.append(("barrier", 1, (*frame["barrier"], BARRIER_SIZE[2] / 2)))
    for k, head in enumerate(spec["junction"]["heads"], 1):
        names = [name for name in NAMES if name == "head" or name.startswith("lamp_")]
        things += [(name, k, (head["x"], head["y"], head["z"])) for name in names]
    eye = (camera.x, camera.y, camera.z)
    return [
        CLASSES[name] * INSTANCES + k
        for name, k, place in things
        if not comes_through(spec["conditions"], math.dist(eye, place))
    ]


def pixels_by_class(ids: np.ndarray) -> dict[str, int]:
    """(h, w) uint16 → pixels of every class in view."""
    counts = np.bincount((ids.astype(np.int64) // INSTANCES).ravel(), minlength=len(NAMES))
    return {name: int(counts[number]) for name, number in CLASSES.items() if counts[number]}


def truth_of(
    spec: dict[str, Any], frame: dict[str, Any], camera: Camera, ids: np.ndarray | None = None
) -> dict[str, Any]:
    """Label, visibility, distances, boxes of a frame. Without `ids` all counts as seen."""
    facts = geometry(spec, frame, camera)
    distances, pixels = facts["distances"], {}
    zebra = zebra_ahead(spec["junction"], camera.y)
    if ids is not None:
        pixels = pixels_by_class(ids)
        for name in ("cone", "barrier"):  # not one pixel: for a camera it is not there
            if not pixels.get(name):
                distances[f"{name}_m"] = None
                facts["boxes"] = [box for box in facts["boxes"] if box["class"] != name]
        if not pixels.get("cone"):
            facts["cone_px"] = None
        zebra = zebra and "zebra" in pixels
    slots, used = label_of(spec, frame, distances, zebra)
    visible = {task: True for task in TASKS}
    if ids is not None:
        lost = lost_in_the_air(spec, frame, camera)
        seen = pixels_by_class(ids[~np.isin(ids, lost)]) if lost else pixels
        if slots["light"] == "off":
            visible["light"] = seen.get("lamp_dark", 0) + seen.get("head", 0) >= HEAD_PX
        elif slots["light"] != "none":
            visible["light"] = seen.get(f"lamp_{slots['light']}", 0) >= LAMP_PX
        cones = slots["cones"] == "no" or seen.get("cone", 0) >= CONE_PX
        barrier = slots["obstacle"] == "none" or seen.get("barrier", 0) >= BARRIER_PX
        visible["obstacles"] = cones and barrier
        visible["crossroad"] = _crossroad_seen(spec, camera, slots)
        # the speed follows from all three
        visible["speed"] = visible["light"] and visible["obstacles"] and visible["crossroad"]
    SceneLabel(**slots)  # a label outside the vocabulary must fail here, not in training
    return {"label": slots, "visible": visible, "rules": used, "pixels": pixels, **facts}


def _crossroad_seen(spec: dict[str, Any], camera: Camera, slots: dict[str, str]) -> bool:
    """Whether stop line and nearest zebra, where they are ahead, come through the air."""
    ahead = [spec["junction"]["stop_y"] - camera.y] if slots["crossroad"] == "yes" else []
    if slots["zebra"] == "yes":
        bands = zebra_bands(spec["junction"])
        ahead.append(min(max(near - camera.y, 0) for near, far in bands if far - camera.y > BEHIND_M))
    return all(comes_through(spec["conditions"], math.hypot(y, camera.z)) for y in ahead)


def answerable(truth: dict[str, Any]) -> dict[str, str]:
    """The label as training may use it: slots of tasks that cannot be seen are unknown."""
    hidden = {slot for task, slots in TASKS.items() if not truth["visible"][task] for slot in slots}
    return {slot: "unknown" if slot in hidden else value for slot, value in truth["label"].items()}
