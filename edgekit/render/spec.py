"""A scene as plain JSON, drawn from (config, seed): all that is random is decided here, not by Blender."""

import json
import random
from typing import Any

from edgekit.render.camera import Camera
from edgekit.render.classes import CLASSES
from edgekit.render.conditions import low_sun, sample_effects, tags_of
from edgekit.render.config import RenderConfig
from edgekit.render.fleet import SMALLER, crowd_of, dress, fleet_of, models_of, number_at_most
from edgekit.render.frames import Stage, drive_frames, pose_frames, stage_of
from edgekit.render.networks import check_layouts
from edgekit.render.shapes import SIZE_M
from edgekit.render.traffic.geometry import meet

SCHEMA = "edgekit/scene/2"
Spec = dict[str, Any]
GOLDEN = 0.6180339887498949
STILL = ("houses", "booths", "canopies", "trees", "lamps", "signs", "parked")


def pick(rng: random.Random, shares: dict[Any, float]) -> Any:
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def split_of(seed: int, splits: dict[Any, float]) -> str:
    """Split of a scene, from its seed alone. Multiples of the golden ratio spread evenly, so even the
    first dozen scenes hold all splits, and a split never depends on how many scenes are asked for."""
    at = (seed * GOLDEN) % 1.0
    for name, share in splits.items():
        at -= share
        if at < 0:
            return name
    return next(iter(splits))


def sample_scene(cfg: RenderConfig, seed: int, *, town: bool = True) -> Spec:
    """The scene of a seed. Without ``town`` it is the same but for ground, paint, houses, parked cars and all
    else that stands there (and the numbers of the cars that drive): enough for every label.

    Raises UserError where the recipe's layouts or traffic do not hold what it asks for.
    """
    check_layouts(cfg)
    rng = random.Random(f"edgekit scene {seed}")  # a str seed is hashed with sha512: stable over processes
    weather, time = pick(rng, dict(cfg.weather)), pick(rng, dict(cfg.time))
    layout, mount, camera = pick(rng, cfg.layouts), pick(rng, dict(cfg.mounts)), cfg.camera
    if cfg.conditions:  # each in every layout: no share is drawn
        turn, asked = divmod(seed - cfg.seed, len(cfg.conditions))
        weather, time, camera = (
            cfg.conditions[asked].weather,
            cfg.conditions[asked].time,
            cfg.conditions[asked].camera,
        )
        camera, layout = camera or cfg.camera, list(cfg.layouts)[turn % len(cfg.layouts)]
    split = split_of(seed, dict(cfg.splits))
    sky = {
        "sun_elevation_deg": round(rng.uniform(25, 55), 1),
        "sun_azimuth_deg": round(rng.uniform(-150, 150), 1),
        "haze": round(rng.random(), 3),
    }
    effects = sample_effects(camera, seed, weather, time)
    if time == "low_sun":
        sky |= low_sun(seed)
    stage = stage_of(cfg, layout, split, mount)
    frames = (drive_frames if cfg.mode == "drive" else pose_frames)(stage, rng)
    # the sun's place is told relative to the first look, and 180 degrees are ahead of one along +y
    sky["sun_azimuth_deg"] = round((sky["sun_azimuth_deg"] + frames[0]["camera"]["yaw_deg"]) % 360, 1)
    scene = f"s{seed:06d}"
    for frame in frames:
        frame["seed"] = rng.randrange(1 << 30)  # of the rain; the first one's also of the path tracer's noise
        frame["stem"] = f"{scene}_{frame['index']:03d}"
    still = dict.fromkeys(STILL, []) | (_town(stage, seed, frames) if town else {})
    sizes = {name: size for frame in frames for name, size in frame.pop("fleet").items()}
    models = models_of(cfg.assets, cfg.digests.get("assets", ""))
    fleet = fleet_of(scene, sizes, still["parked"])
    dress(scene, [*fleet, *still["parked"]], models, cfg.assets_share)
    return {
        "schema": SCHEMA,
        "scene": scene,
        "seed": seed,
        "split": split,
        "mode": cfg.mode,
        "fps": cfg.fps if cfg.mode == "drive" else None,
        "image": {
            "width": cfg.width,
            "height": cfg.height,
            "hfov_deg": cfg.hfov_deg,
            "samples": cfg.samples,
            "bounces": cfg.bounces,
        },
        "mount": {
            "name": mount,
            "behind_bumper_m": stage.mount.behind_bumper_m,
            "left_m": 0.0,
            "height_m": stage.mount.height_m,
        },
        "classes": CLASSES,
        "passes": cfg.passes.model_dump(),
        "conditions": {
            "weather": weather,
            "time": time,
            "tags": tags_of(weather, time, effects),
            "sky": sky,
            **({"effects": effects} if effects else {}),
        },
        "layout": {"name": layout, "kind": stage.place.main.kind},
        "ground": stage.place.ground["ground"] if town else [],
        "paint": stage.place.ground["paint"] if town else [],
        **still,
        "heads": _heads(stage, frames),
        "fleet": fleet,
        "crowd": crowd_of(scene, frames),
        "assets": list(models),
        "frames": frames,
    }


def _town(stage: Stage, seed: int, frames: list[dict[str, Any]]) -> Spec:
    """Of a stream of its own. Parked cars make room for what lies on the road."""
    from edgekit.render.town import sample_town

    made = sample_town(stage.place.layout, stage.place.ground, random.Random(f"edgekit town {seed}"))
    number_at_most(len(made["signs"]), "speed signs", SMALLER)
    number_at_most(len(made["parked"]), "parked cars", SMALLER)
    laid = [
        (*place, *size)
        for frame in frames
        for place, size in (
            *(((x, y, 0.0), SIZE_M["cone"]) for x, y in frame["cones"]),
            *((barrier, SIZE_M["barrier"]) for barrier in frame["barriers"]),
            *((debris, SIZE_M["debris"]) for debris in frame["debris"]),
            *(((v["x"], v["y"], v["yaw"]), frame["fleet"][v["name"]][1:]) for v in frame["vehicles"]),
            *(((p["x"], p["y"], p["yaw"]), SIZE_M["walking"]) for p in frame["people"]),
        )
    ]
    parked = [
        car
        for car in made["parked"]
        if not any(meet((car["x"], car["y"], car["yaw"], car["length"], car["width"]), box) for box in laid)
    ]
    return {name: made[name] for name in STILL} | {"parked": parked}


def _heads(stage: Stage, frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The heads that a frame shows, numbered."""
    shown = {name for frame in frames for name in frame["heads"]}
    keys = ("id", "x", "y", "z", "yaw", "arrow", "kind", "junction", "place")
    heads = [head.model_dump(include=set(keys)) for head in stage.place.layout.heads if head.id in shown]
    number_at_most(len(heads), "signal heads")
    return [
        {"id": head["id"], "instance": k} | {key: head[key] for key in keys[1:]}
        for k, head in enumerate(heads, 1)
    ]


def camera_of(spec: Spec, frame: dict[str, Any]) -> Camera:
    image = spec["image"]
    return Camera(image["width"], image["height"], image["hfov_deg"], **frame["camera"])


def spec_text(spec: Spec) -> str:
    return json.dumps(spec, separators=(",", ":")) + "\n"
