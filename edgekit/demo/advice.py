"""From a label to what the driver is told: a table, read from the top, and a pure function.

Every rule names the slots that it looks at; in each group the first rule that fits speaks, and the
groups speak in the order of their urgency. ``unknown`` never fits a rule: what the model cannot
tell is not said.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from edgekit.core.label import SceneLabel

LEVELS = ("stop", "slow", "watch", "info", "none")  # most urgent first

MPS_TO_KMH = 3.6
TOO_FAST_KMH = 10  # above the recommendation by this much: "slow down" instead of a number


@dataclass(frozen=True)
class Rule:
    """``when`` maps slots to the values that fit; ``text`` may name slots in braces."""

    group: str
    level: str
    when: dict[str, tuple[str, ...]]
    text: str


# Data, not code: order within a group is what counts, the first that fits is the group's only one.
RULES: tuple[Rule, ...] = (
    Rule("light", "stop", {"light": ("red",), "light_kind": ("toll",)}, "Red at the toll gate: stop"),
    Rule("light", "stop", {"light": ("red",), "light_kind": ("crossing",)}, "Red at the crossing: stop"),
    Rule("light", "stop", {"light": ("red",), "light_arrow": ("left",)}, "Red arrow to the left: stop"),
    Rule("light", "stop", {"light": ("red",), "light_arrow": ("right",)}, "Red arrow to the right: stop"),
    Rule("light", "stop", {"light": ("red",)}, "Red light: stop at the line"),
    Rule("light", "slow", {"light": ("yellow",)}, "Yellow light: prepare to stop"),
    Rule("light", "watch", {"light": ("off",)}, "Signal is off: give way as without lights"),
    Rule("light", "info", {"light": ("green",), "light_arrow": ("left",)}, "Green arrow to the left"),
    Rule("light", "info", {"light": ("green",), "light_arrow": ("right",)}, "Green arrow to the right"),
    Rule("light", "info", {"light": ("green",)}, "Green light: go when clear"),
    Rule("obstacle", "stop", {"obstacle": ("person",)}, "Person in your path: be ready to stop"),
    Rule("obstacle", "slow", {"obstacle": ("cyclist",)}, "Cyclist in your path: keep a distance"),
    Rule("obstacle", "slow", {"obstacle": ("stopped_vehicle",)}, "Stopped vehicle ahead: slow down"),
    Rule("obstacle", "slow", {"obstacle": ("barrier",)}, "Barrier in your path: slow down"),
    Rule("obstacle", "slow", {"obstacle": ("debris",)}, "Debris on the road: slow down"),
    Rule("obstacle", "slow", {"obstacle": ("other",)}, "Obstacle in your path: slow down"),
    Rule("cones", "slow", {"cones": ("yes",)}, "Cones ahead: slow down, keep clear"),
    Rule("crossroad", "watch", {"crossroad": ("yes",), "zebra": ("yes",)}, "Crossroad with crosswalk ahead"),
    Rule("crossroad", "watch", {"crossroad": ("yes",)}, "Crossroad ahead: look both ways"),
    Rule("crossroad", "watch", {"zebra": ("yes",)}, "Crosswalk ahead: watch for people"),
)  # fmt: skip

NOTHING = "No advice"


@dataclass(frozen=True)
class Advice:
    """What is said and shown. ``lines``: most urgent first; ``level``: of the first line."""

    level: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "; ".join(self.lines) if self.lines else NOTHING

    def record(self) -> dict:
        """For the log."""
        return {"level": self.level, "text": self.text}


NO_ADVICE = Advice("none", ())


def advise(label: SceneLabel, speed_mps: float | None = None) -> Advice:
    """The advice for one (smoothed) label at the ego's own speed in m/s (None: not known)."""
    spoken: list[tuple[int, str]] = []
    groups: set[str] = set()
    for rule in RULES:
        if rule.group in groups:
            continue
        if all(getattr(label, slot) in values for slot, values in rule.when.items()):
            groups.add(rule.group)
            spoken.append((LEVELS.index(rule.level), rule.text))
    if (line := _speed(label, speed_mps)) is not None:
        spoken.append(line)
    spoken.sort(key=lambda pair: pair[0])  # stable: the table's order within a level
    if not spoken:
        return NO_ADVICE
    return Advice(LEVELS[spoken[0][0]], tuple(text for _, text in spoken))


def _speed(label: SceneLabel, speed_mps: float | None) -> tuple[int, str] | None:
    """The speed line: a number, or "slow down" where the ego is well above it."""
    if label.speed_kmh is None:
        return None
    if label.speed_kmh == 0:
        return LEVELS.index("slow"), "Recommended speed 0: come to a halt"
    if speed_mps is not None and speed_mps * MPS_TO_KMH >= label.speed_kmh + TOO_FAST_KMH:
        return LEVELS.index("slow"), f"Slow down to {label.speed_kmh} km/h"
    return LEVELS.index("info"), f"Recommended speed {label.speed_kmh} km/h"


@dataclass(frozen=True)
class Shown:
    """What the display holds at one moment.

    state: ``fresh`` (the answer came within the deadline), ``late`` (it came after it, and is
    marked as such), ``none`` (there is none, or it outlived its time: nothing is advised).
    age_ms: from the frame's capture to now; latency_ms: from its capture to its answer.
    """

    state: str
    advice: Advice = NO_ADVICE
    label: SceneLabel = SceneLabel()
    age_ms: float | None = None
    latency_ms: float | None = None

    def record(self) -> dict:
        """For the live page."""
        return asdict(self) | {"label": self.label.model_dump(), "text": self.advice.text}


def shown(
    advice: Advice,
    label: SceneLabel,
    captured_s: float,
    answered_s: float,
    now_s: float,
    deadline_s: float,
    ttl_s: float,
) -> Shown:
    """The one rule of freshness; all times in seconds on one clock.

    Advice older than ``ttl_s`` is not shown at all; advice that came after the deadline is late
    for as long as it is shown, never fresh.
    """
    age_ms, latency_ms = (now_s - captured_s) * 1e3, (answered_s - captured_s) * 1e3
    if now_s - captured_s > ttl_s:
        return Shown("none", age_ms=age_ms, latency_ms=latency_ms)
    state = "late" if answered_s - captured_s > deadline_s else "fresh"
    return Shown(state, advice, label, age_ms, latency_ms)
