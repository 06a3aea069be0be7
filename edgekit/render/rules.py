"""Recommended speed from what is ahead: a table of named rules, read from top to bottom.

The table is data (RULES); a rule may set the speed, lower it, or cap it. The truth of every rendered
frame comes from here, so it is written for reading.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.core.label import snap_speed


@dataclass(frozen=True)
class Facts:
    """What the rules may look at. Distances in metres from the camera; None: there is none."""

    limit_kmh: int
    weather: str = "clear"
    time: str = "day"
    visibility_m: float | None = None  # meteorological range of fog or snowfall
    cones: bool = False
    barrier: bool = False
    crossroad: bool = False
    light: str = "none"
    stop_line_m: float | None = None


@dataclass(frozen=True)
class Rule:
    name: str
    why: str
    applies: Callable[[Facts], bool]
    lower_kmh: int = 0
    cap_kmh: int | None = None


STOP_WITHIN_M = 10.0
THICK_AIR_M = 50.0  # below it, and on snow, at most 30: China's road traffic regulations (2004), article 46
RULES = (
    Rule(
        "poor_sight",
        "rain, fog, snow or night: 10 below the limit, once",
        lambda f: f.weather in ("rain", "fog", "snow") or f.time == "night",
        lower_kmh=10,
    ),
    Rule(
        "thick_air",
        "visibility below 50 m: at most 30",
        lambda f: f.visibility_m is not None and f.visibility_m < THICK_AIR_M,
        cap_kmh=30,
    ),
    Rule("snowy_road", "snow lies on the road: at most 30", lambda f: f.weather == "snow", cap_kmh=30),
    Rule("road_works", "cones or a barrier ahead: at most 30", lambda f: f.cones or f.barrier, cap_kmh=30),
    Rule(
        "crossroad",
        "a crossroad without a green light: at most 30",
        lambda f: f.crossroad and f.light != "green",
        cap_kmh=30,
    ),
    Rule(
        "stop_light_far",
        "red or yellow, stop line over 10 m ahead: at most 20",
        lambda f: f.light in ("red", "yellow") and (f.stop_line_m or 0) > STOP_WITHIN_M,
        cap_kmh=20,
    ),
    Rule(
        "stop_light_near",
        "red or yellow, stop line within 10 m: stand",
        lambda f: f.light in ("red", "yellow") and (f.stop_line_m or 0) <= STOP_WITHIN_M,
        cap_kmh=0,
    ),
)


def recommended_speed(facts: Facts) -> tuple[str, list[str]]:
    """(speed as the vocabulary writes it, names of the rules that applied)."""
    speed, used = float(facts.limit_kmh), []
    for rule in RULES:
        if rule.applies(facts):
            used.append(rule.name)
            speed -= rule.lower_kmh
            speed = speed if rule.cap_kmh is None else min(speed, rule.cap_kmh)
    return snap_speed(speed), used
