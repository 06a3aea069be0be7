"""A scene as plain JSON, drawn from (config, seed): all that is random is decided here, not by Blender."""

import json
import random
from typing import Any

from edgekit.render.camera import HEIGHT_M, Camera
from edgekit.render.classes import CLASSES
from edgekit.render.conditions import low_sun, sample_effects, tags_of
from edgekit.render.config import RenderConfig
from edgekit.render.motion import drive_frames
from edgekit.render.poses import pose_frames
from edgekit.render.town import PAINT, sample_town

SCHEMA = "edgekit/scene/1"
Spec = dict[str, Any]
GOLDEN = 0.6180339887498949


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


def sample_scene(cfg: RenderConfig, seed: int) -> Spec:
    rng = random.Random(f"edgekit scene {seed}")  # a str seed is hashed with sha512: stable over processes
    weather, time = pick(rng, dict(cfg.weather)), pick(rng, dict(cfg.time))
    town, junction = sample_town(cfg, rng)
    sky = {
        "sun_elevation_deg": round(rng.uniform(25, 55), 1),
        "sun_azimuth_deg": round(rng.uniform(-150, 150), 1),
        "haze": round(rng.random(), 3),
    }
    effects = sample_effects(cfg.camera, seed, weather, time)
    if time == "low_sun":
        sky |= low_sun(seed)
    spec: Spec = {
        "schema": SCHEMA,
        "scene": f"s{seed:06d}",
        "seed": seed,
        "split": split_of(seed, dict(cfg.splits)),
        "mode": cfg.mode,
        "fps": cfg.fps if cfg.mode == "drive" else None,
        "image": {
            "width": cfg.width,
            "height": cfg.height,
            "hfov_deg": cfg.hfov_deg,
            "samples": cfg.samples,
            "bounces": cfg.bounces,
        },
        "camera_height_m": HEIGHT_M,
        "classes": CLASSES,
        "passes": cfg.passes.model_dump(),
        "conditions": {
            "weather": weather,
            "time": time,
            "tags": tags_of(weather, time, effects),
            "sky": sky,
            **({"effects": effects} if effects else {}),
        },
        "town": town,
        "junction": junction,
        "movers": [
            {"paint": list(rng.choice(PAINT)), "length": round(rng.uniform(4.0, 4.7), 2)} for _ in range(4)
        ],
    }
    spec["frames"] = (drive_frames if cfg.mode == "drive" else pose_frames)(cfg, spec, rng)
    for frame in spec["frames"]:
        frame["seed"] = rng.randrange(1 << 30)  # of the rain; the first one's also of the path tracer's noise
        frame["stem"] = f"{spec['scene']}_{frame['index']:03d}"
    return spec


def camera_of(spec: Spec, frame: dict[str, Any]) -> Camera:
    image = spec["image"]
    return Camera(image["width"], image["height"], image["hfov_deg"], **frame["camera"])


def spec_text(spec: Spec) -> str:
    return json.dumps(spec, separators=(",", ":")) + "\n"
