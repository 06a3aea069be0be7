"""Independent frames of one scene: where the camera stands, what the light shows, what lies on the road.

The case (and so the light) is drawn first and the pose afterwards by a rule that never looks at the
light's colour; weather, time and town were drawn earlier from their own shares. So nothing but the lamp
tells the light.
"""

import random
from typing import Any

from edgekit.core.errors import UserError
from edgekit.render.camera import HEIGHT_M, Camera
from edgekit.render.config import RenderConfig

HEAD_NEAR_M, HEAD_FAR_M = 6.0, 19.0  # a 0.30 m lens is 19 px at 6 m and 6 px at 19 m (448 px, 60 degrees)
CASES = ("beyond", "bare", "red", "yellow", "green", "off")


def pose_frames(cfg: RenderConfig, spec: dict[str, Any], rng: random.Random) -> list[dict[str, Any]]:
    return [_frame(cfg, spec, rng, k) for k in range(cfg.frames_per_scene)]


def _frame(cfg: RenderConfig, spec: dict[str, Any], rng: random.Random, index: int) -> dict[str, Any]:
    case = rng.choices(CASES, weights=[getattr(cfg.shares, name) for name in CASES])[0]
    camera = _beyond(spec, rng) if case == "beyond" else _approach(cfg, spec, rng)
    heads = case not in ("bare",)
    # beyond the junction the head behind shows whatever it likes
    light = case if case in ("red", "yellow", "green", "off") else rng.choice(("red", "yellow", "green"))
    lane = _lane_x(spec, camera["x"])
    return {
        "index": index,
        "t_s": 0.0,
        "case": case,
        "camera": camera,
        "speed_mps": round(rng.uniform(0, 12), 2),
        "heads": heads,
        "light": light if heads else None,
        **_on_the_road(cfg, rng, lane, camera["y"]),
        "movers": _movers(spec, rng, camera["y"]),
    }


def _lane_x(spec: dict[str, Any], x: float) -> float:
    lane = spec["town"]["lane_m"]
    return (int(x / lane) + 0.5) * lane


def _jittered(spec: dict[str, Any], rng: random.Random, y: float) -> dict[str, float]:
    lane = rng.randrange(spec["town"]["lanes_each_way"])
    x = (lane + 0.5) * spec["town"]["lane_m"] + rng.uniform(-0.35, 0.35)
    return {
        "x": round(x, 3),
        "y": round(y, 3),
        "z": HEIGHT_M,
        "yaw_deg": round(rng.gauss(0, 1.0), 2),
        "pitch_deg": round(rng.uniform(1.0, 2.6), 2),
    }


def _beyond(spec: dict[str, Any], rng: random.Random) -> dict[str, float]:
    return _jittered(spec, rng, spec["junction"]["far_y"] + rng.uniform(4, 40))


def _approach(cfg: RenderConfig, spec: dict[str, Any], rng: random.Random) -> dict[str, float]:
    """A pose from which all three lenses of the near-side head are in the image, whichever is lit."""
    junction = spec["junction"]
    head, gap = junction["heads"][0], junction["lens_gap_m"]
    for _ in range(1000):
        y = head["y"] - rng.uniform(HEAD_NEAR_M, HEAD_FAR_M)
        pose = _jittered(spec, rng, y)
        camera = Camera(cfg.width, cfg.height, cfg.hfov_deg, **pose)
        margin = 1.2 * junction["lens_m"] / 2 * camera.focal_px / (head["y"] - y)
        if all(camera.inside((head["x"], head["y"], head["z"] + k * gap), margin) for k in (-1, 0, 1)):
            return pose
    raise UserError(
        f"render: scene {spec['scene']} has no pose that sees the traffic light",
        f"head at {head}, image {cfg.width}x{cfg.height}, hfov_deg {cfg.hfov_deg:g}: 1000 poses tried",
        "make the image taller, or hfov_deg wider",
    )


def _on_the_road(cfg: RenderConfig, rng: random.Random, lane_x: float, y: float) -> dict[str, Any]:
    barrier = None
    if rng.random() < cfg.shares.barrier:
        barrier = [round(lane_x + rng.uniform(-0.3, 0.3), 3), round(y + rng.uniform(6, 16), 3)]
    cones: list[list[float]] = []
    if rng.random() < cfg.shares.cones:
        count = rng.randint(cfg.cones_min, cfg.cones_max)
        # a taper, a row along the lane edge, or strewn; always inside the field of view
        shape, first = rng.choice(("taper", "row", "strewn")), rng.uniform(4.5, 9.0)
        side, step = rng.choice((-1, 1)), rng.uniform(0.9, 1.5)
        for k in range(count):
            ahead = first + k * step if shape != "strewn" else rng.uniform(5, 16)
            ahead = min(ahead, 16.0)
            across = {"taper": side * (1.6 - 0.45 * k), "row": side * 1.5, "strewn": rng.uniform(-1.8, 1.8)}[
                shape
            ] + rng.uniform(-0.1, 0.1)
            across = max(-0.42 * ahead, min(0.42 * ahead, across))
            if barrier and abs(y + ahead - barrier[1]) < 0.6:
                ahead = barrier[1] - y - 0.8  # not inside the board
            cones.append([round(lane_x + across, 3), round(y + ahead, 3)])
    return {"cones": cones, "barrier": barrier}


def _movers(spec: dict[str, Any], rng: random.Random, y: float) -> list[dict[str, Any]]:
    """Oncoming traffic, a car well ahead, one in the cross street; none in front of a head or cone."""
    town, junction, movers = spec["town"], spec["junction"], []
    lane = town["lane_m"]
    if rng.random() < 0.6:
        movers.append(
            {
                "slot": 0,
                "x": round(-(rng.randrange(town["lanes_each_way"]) + 0.5) * lane, 2),
                "y": round(y + rng.uniform(9, 45), 2),
                "yaw": 3.1416,
            }
        )
    if rng.random() < 0.4:
        movers.append(
            {
                "slot": 1,
                "x": round((rng.randrange(town["lanes_each_way"]) + 0.5) * lane, 2),
                "y": round(max(y + 22, junction["far_y"] + 4) + rng.uniform(0, 30), 2),
                "yaw": 0.0,
            }
        )
    if rng.random() < 0.35:
        side = rng.choice((-1, 1))
        movers.append(
            {
                "slot": 2,
                "x": round(side * (town["half_m"] + rng.uniform(4, 14)), 2),
                "y": round(junction["mouth_y"] + junction["cross_half_m"] * (1 + 0.5 * side), 2),
                "yaw": round(side * 1.5708, 4),
            }
        )
    return movers
