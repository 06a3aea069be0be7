"""The still part of a scene: street, junction, houses, trees, parked cars. Metres; the stop line is y = 0."""

import random
from typing import Any

from edgekit.render.config import RenderConfig

STOP_Y = 0.0
MOUTH_Y = 5.0  # where the cross street begins
HEAD_Y = 4.0
LENS_M = 0.30
LENS_GAP_M = 0.35  # between lens centres
LIMITS = {1: 40, 2: 60}  # km/h by lanes each way
LANE_M = {1: 3.5, 2: 3.3}
WALL = (
    (0.42, 0.33, 0.25),
    (0.36, 0.18, 0.13),
    (0.48, 0.46, 0.42),
    (0.52, 0.45, 0.33),
    (0.33, 0.33, 0.34),
    (0.58, 0.55, 0.50),
    (0.40, 0.24, 0.18),
)
SHOP = (
    (0.05, 0.15, 0.12),
    (0.45, 0.07, 0.04),
    (0.08, 0.08, 0.10),
    (0.10, 0.14, 0.30),
    (0.50, 0.22, 0.04),
    (0.30, 0.28, 0.22),
)
PAINT = (
    (0.45, 0.46, 0.48),
    (0.03, 0.03, 0.035),
    (0.70, 0.70, 0.70),
    (0.30, 0.02, 0.02),
    (0.02, 0.06, 0.20),
    (0.12, 0.13, 0.14),
    (0.80, 0.80, 0.78),
)


def _r(value: float) -> float:
    return round(value, 3)  # so that a spec is short and survives JSON unchanged


def sample_town(cfg: RenderConfig, rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """(town, junction) of a scene spec."""
    lanes = 2 if rng.random() < cfg.shares.four_lanes else 1
    lane, half = LANE_M[lanes], LANE_M[lanes] * lanes + 0.3
    cross = rng.choice((3.5, 5.0, 6.6))  # half width of the cross street
    far = MOUTH_Y + 2 * cross
    walk = rng.uniform(4.0, 5.5)
    town = {
        "lanes_each_way": lanes,
        "lane_m": lane,
        "half_m": half,
        "walk_m": _r(walk),
        "limit_kmh": LIMITS[lanes],
        "from_y": -70.0,
        "to_y": 170.0,
        "buildings": _buildings(rng, half + walk, cross, far),
        "trees": _trees(rng, half, far),
        "parked": _parked(rng, half, far),
        "lamps": [
            {"x": _r(side * (half + 0.7)), "y": _r(y)}
            for side in (-1, 1)
            for y in (-62, -38, -24, far + 8, far + 32, far + 56, far + 80)
        ],
        "people": _people(rng, half, walk, far),
    }
    zebra = rng.random() < cfg.shares.zebra
    heads = [_head(rng, half + rng.uniform(0.25, 0.7))]
    if rng.random() < cfg.shares.second_head:
        heads.append(_head(rng, -(half + rng.uniform(0.25, 0.7)) if rng.random() < 0.6 else -0.15))
    junction = {
        "stop_y": STOP_Y,
        "mouth_y": MOUTH_Y,
        "far_y": _r(far),
        "cross_half_m": cross,
        "zebra": zebra,
        "zebra_y": [1.0, 3.6],
        "lens_m": LENS_M,
        "lens_gap_m": LENS_GAP_M,
        "heads": heads,
    }
    return town, junction


def zebra_bands(junction: dict[str, Any]) -> list[tuple[float, float]]:
    """(near edge, far edge) in metres along y of the zebras across our road; street.py draws them there."""
    if not junction["zebra"]:
        return []
    near, far = junction["zebra_y"], junction["far_y"]
    return [(near[0], near[1]), (far + 1.2, far + 3.8)]


def _head(rng: random.Random, x: float) -> dict[str, float]:
    return {"x": _r(x), "y": HEAD_Y, "z": _r(rng.uniform(2.5, 3.2))}


def _buildings(rng: random.Random, edge: float, cross: float, far: float) -> list[dict[str, Any]]:
    houses = []
    for side in (-1, 1):
        for y0, y1 in ((-68.0, MOUTH_Y - 4), (far + 4, 150.0)):
            y = y0
            while y < y1 - 6:
                depth = min(rng.uniform(9, 17), y1 - y)
                if y1 - y - depth < 6:
                    depth = y1 - y
                houses.append(
                    {
                        "x": _r(side * (edge + 6)),
                        "y": _r(y + depth / 2),
                        "w": 12.0,
                        "d": _r(depth),
                        "side": side,
                        "floors": rng.randint(2, 6),
                        "floor_m": _r(rng.uniform(3.0, 3.5)),
                        "pitch_m": _r(rng.uniform(2.2, 3.0)),
                        "wall": list(rng.choice(WALL)),
                        "shop": list(rng.choice(SHOP)),
                        "lit_seed": rng.randrange(1 << 30),
                    }
                )
                y += depth + (0 if rng.random() < 0.7 else rng.uniform(1.5, 5))
        # what closes the view down the cross street
        houses.append(
            {
                "x": _r(side * rng.uniform(60, 90)),
                "y": _r(MOUTH_Y + cross),
                "w": 10.0,
                "d": 40.0,
                "side": side,
                "floors": rng.randint(2, 6),
                "floor_m": 3.2,
                "pitch_m": 2.8,
                "wall": list(rng.choice(WALL)),
                "shop": list(rng.choice(SHOP)),
                "lit_seed": rng.randrange(1 << 30),
            }
        )
    return houses


def _trees(rng: random.Random, half: float, far: float) -> list[dict[str, Any]]:
    """None between 20 m before the stop line and the junction: a crown must not hide a head."""
    density, trees = rng.uniform(0.2, 0.9), []
    for side in (-1, 1):
        for y0, y1 in ((-66.0, -21.0), (far + 7, 140.0)):
            y = y0
            while y < y1:
                if rng.random() < density:
                    trees.append(
                        {
                            "x": _r(side * (half + rng.uniform(1.6, 2.4))),
                            "y": _r(y),
                            "scale": _r(rng.uniform(0.8, 1.25)),
                            "yaw": _r(rng.uniform(0, 6.28)),
                            "kind": rng.randrange(3),
                        }
                    )
                y += rng.uniform(7, 11)
    return trees


def _parked(rng: random.Random, half: float, far: float) -> list[dict[str, Any]]:
    """Half on the pavement; never near the stop line."""
    cars = []
    for side in (-1, 1):
        for y0, y1 in ((-60.0, -9.0), (far + 12, 90.0)):
            y = y0 + rng.uniform(0, 8)
            while y < y1:
                if rng.random() < 0.35:
                    cars.append(
                        {
                            "x": _r(side * (half + rng.uniform(1.0, 1.3))),
                            "y": _r(y),
                            "yaw": 0.0 if side > 0 else 3.1416,
                            "paint": list(rng.choice(PAINT)),
                            "length": _r(rng.uniform(4.0, 4.7)),
                        }
                    )
                y += rng.uniform(6.5, 12)
    return cars


def _people(rng: random.Random, half: float, walk: float, far: float) -> list[dict[str, Any]]:
    return [
        {
            "x": _r(rng.choice((-1, 1)) * (half + rng.uniform(1.5, walk - 0.6))),
            "y": _r(rng.choice((rng.uniform(-12, 0), rng.uniform(far + 8, far + 60)))),
            "coat": list(rng.choice(PAINT)),
        }
        for _ in range(rng.randint(0, 5))
    ]
