"""Recommended speed from what is ahead: a table of named rules, read from top to bottom.

The table is data (RULES); a rule may lower the speed or cap it. The truth of every rendered frame comes
from here, so it is written for reading; ``rules_table`` is the same as markdown.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.core.label import snap_speed


@dataclass(frozen=True)
class Facts:
    """What the rules may look at. Distances in metres from the front bumper along the way; None: there is none.

    obstacle: the label's word for the nearest thing in the way; gap_m: to the rear of the vehicle that is followed.
    """

    limit_kmh: int
    weather: str = "clear"
    time: str = "day"
    visibility_m: float | None = None  # meteorological range of fog or snowfall
    cones: bool = False
    obstacle: str = "none"
    obstacle_m: float | None = None
    crossroad: bool = False
    light: str = "none"
    stop_line_m: float | None = None
    gap_m: float | None = None


@dataclass(frozen=True)
class Rule:
    """cap_kmh: the most that it allows, or how that follows from the facts."""

    name: str
    why: str
    applies: Callable[[Facts], bool]
    lower_kmh: int = 0
    cap_kmh: int | Callable[[Facts], float] | None = None

    def after(self, speed: float, facts: Facts) -> float:
        speed = max(speed - self.lower_kmh, min(speed, LEAST_KMH))
        if self.cap_kmh is None:
            return speed
        return min(speed, self.cap_kmh(facts) if callable(self.cap_kmh) else self.cap_kmh)


LEAST_KMH = 10.0  # nobody stands for poor sight alone, where the limit is low
STOP_WITHIN_M = 8.0  # from 20 km/h at 2 m/s2, as one brakes with people on board: 7.7 m
HALT_WITHIN_M = 12.0  # the same, and 4 m to spare: what stands there is no line
GAP_WITHIN_M = 60.0
KMH_PER_GAP_M = 2.0
THICK_AIR_M = 50.0  # below it, and on snow, at most 30: China's road traffic regulations (2004), article 46
IN_THE_WAY = ("stopped_vehicle", "person", "other")
RULES = (
    Rule(
        "poor_sight",
        "rain, fog, snow or night: 10 below the limit, once, though not below 10",
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
    Rule(
        "road_works",
        "cones, a barrier or debris ahead: at most 30",
        lambda f: f.cones or f.obstacle in ("barrier", "debris"),
        cap_kmh=30,
    ),
    Rule(
        "cyclist",
        "a cyclist in the way: at most 20, behind whom one stays until there is room to pass",
        lambda f: f.obstacle == "cyclist",
        cap_kmh=20,
    ),
    Rule(
        "in_the_way_far",
        "a stopped vehicle or a person in the way, over 12 m ahead: at most 20",
        lambda f: f.obstacle in IN_THE_WAY and (f.obstacle_m or 0) > HALT_WITHIN_M,
        cap_kmh=20,
    ),
    Rule(
        "in_the_way_near",
        "a stopped vehicle or a person in the way, within 12 m: stand",
        lambda f: f.obstacle in IN_THE_WAY and (f.obstacle_m or 0) <= HALT_WITHIN_M,
        cap_kmh=0,
    ),
    Rule(
        "crossroad",
        "a crossroad without a green light: at most 30",
        lambda f: f.crossroad and f.light != "green",
        cap_kmh=30,
    ),
    Rule(
        "stop_light_far",
        "red or yellow, stop line over 8 m ahead: at most 20",
        lambda f: f.light in ("red", "yellow") and (f.stop_line_m or 0) > STOP_WITHIN_M,
        cap_kmh=20,
    ),
    Rule(
        "stop_light_near",
        "red or yellow, stop line within 8 m: stand",
        lambda f: f.light in ("red", "yellow") and (f.stop_line_m or 0) <= STOP_WITHIN_M,
        cap_kmh=0,
    ),
    Rule(
        "gap",
        "a vehicle ahead within 60 m: at most 2 km/h for each metre of gap (half the speedometer, in metres)",
        lambda f: f.gap_m is not None and f.gap_m <= GAP_WITHIN_M,
        cap_kmh=lambda f: KMH_PER_GAP_M * f.gap_m,
    ),
)


def recommended_speed(facts: Facts) -> tuple[str, list[str]]:
    """(speed as the vocabulary writes it, names of the rules that applied)."""
    speed, used = float(facts.limit_kmh), []
    for rule in RULES:
        if rule.applies(facts):
            used.append(rule.name)
            speed = rule.after(speed, facts)
    return snap_speed(speed), used


def rules_table() -> str:
    """The rules as a markdown table, in the order in which they are applied."""
    lines = ["| rule | when, and what it does |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{rule.name}` | {rule.why} |" for rule in RULES)]) + "\n"
