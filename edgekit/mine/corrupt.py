"""What a teacher gets wrong, on purpose: exact labels made wrong in the ways of a large VLM on real drives.

Errors come in bursts (a two-state Markov chain in time, Gilbert 1960 and Elliott 1963: the same glare or the
same lorry misleads frame after frame), as confusions of what looks alike, in gaps where a thing is hidden,
and the more the longer a drive lasts (a drift). Single frames go wrong as well. Of pure (labels, times,
level, seed): no model, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgekit.core.label import TASKS, SceneLabel, coherent, snap_speed

Level = Literal["low", "middle", "high"]
SHARED = 0.3  # of the bursts mislead all tasks at once: glare, a wet windscreen


@dataclass(frozen=True)
class Rates:
    """Of each task alone. A drift reaches its figure at the drive's end; halfway it is half of it.

    bursts_per_min and burst_s (mean length); burst_wrong: share of a burst's frames that are wrong;
    single: share of the other frames that are; gaps_per_min and gap_s: a thing is hidden, and said to be
    absent or unknown; drift_missed: share of the things there that are missed; drift_kmh: of the speed.
    """

    bursts_per_min: float
    burst_s: float
    burst_wrong: float
    single: float
    gaps_per_min: float
    gap_s: float
    drift_missed: float
    drift_kmh: float


RATES: dict[str, Rates] = {
    "low": Rates(2.0, 0.6, 0.7, 0.01, 1.0, 0.6, 0.02, 2.5),
    "middle": Rates(6.0, 1.0, 0.8, 0.03, 2.0, 1.0, 0.05, 5.0),
    "high": Rates(12.0, 1.6, 0.9, 0.06, 4.0, 1.6, 0.10, 10.0),
}

# What a value is taken for, with weights.
CONFUSED: dict[str, dict[str, dict[str, float]]] = {
    "light": {
        "none": {"red": 3, "green": 3, "off": 2, "yellow": 1},  # a tail lamp, a sign, a head of another road
        "red": {"yellow": 4, "green": 2, "none": 3, "off": 1},
        "yellow": {"red": 5, "green": 2, "none": 2, "off": 1},
        "green": {"none": 4, "red": 3, "yellow": 1, "off": 2},
        "off": {"none": 6, "red": 2, "green": 2},
    },
    "light_arrow": {
        "any": {"straight": 3, "left": 1, "right": 1},
        "left": {"any": 2, "straight": 2, "right": 1},
        "straight": {"any": 3, "left": 1, "right": 1},
        "right": {"any": 2, "straight": 2, "left": 1},
    },
    "light_kind": {
        "intersection": {"toll": 2, "crossing": 2},
        "toll": {"intersection": 1},
        "crossing": {"intersection": 1},
    },
    "cones": {"yes": {"no": 1}, "no": {"yes": 1}},
    "obstacle": {
        "none": {"stopped_vehicle": 4, "person": 2, "cyclist": 1, "barrier": 1, "debris": 1, "other": 1},
        "barrier": {"none": 4, "other": 1},
        "stopped_vehicle": {"none": 4, "other": 1},
        "person": {"none": 4, "cyclist": 1},
        "cyclist": {"none": 3, "person": 1, "stopped_vehicle": 1},
        "debris": {"none": 4, "other": 1},
        "other": {"none": 3, "debris": 1},
    },
    "crossroad": {"yes": {"no": 1}, "no": {"yes": 1}},
    "zebra": {"yes": {"no": 1}, "no": {"yes": 1}},
}
ABSENT = {"light": "none", "cones": "no", "obstacle": "none", "crossroad": "no", "zebra": "no"}
# Which slots of a task an error strikes, one set at a time.
STRUCK: dict[str, dict[tuple[str, ...], float]] = {
    "speed": {("recommended_speed_kmh",): 1},
    "light": {("light",): 6, ("light_arrow",): 1, ("light_kind",): 1},
    "obstacles": {("cones",): 1, ("obstacle",): 1},
    "crossroad": {("crossroad",): 2, ("zebra",): 1, ("crossroad", "zebra"): 1},
}
SLIPS_KMH = (-20, -15, -10, -5, 5, 10, 15, 20)  # of a speed that is taken for another
UNTOLD = 0.5  # of the gaps are told as unknown, the others as absent


def corrupt(
    truth: Sequence[SceneLabel], times_s: Sequence[float], level: Level = "middle", seed: int = 0
) -> list[SceneLabel]:
    """The labels of one drive with errors at the rates of ``level``; times in seconds, rising.

    A burst keeps the wrong word that it began with for as long as the truth stays. Raises ValueError for an
    unknown level.
    """
    if level not in RATES:
        raise ValueError(f"level {level!r} is none of {', '.join(RATES)}")
    rates, n = RATES[level], len(truth)
    times = np.asarray(times_s, float)
    random = np.random.default_rng([seed, list(RATES).index(level)])
    age = (times - times[:1]) / max(float(times[-1] - times[0]), 1e-9) if n else times  # 0 … 1
    shared = episodes(times, rates.bursts_per_min * SHARED, rates.burst_s, random)
    speed_sign = random.choice([-1, 1])
    values = [label.model_dump() for label in truth]
    for task in TASKS:
        own = episodes(times, rates.bursts_per_min * (1 - SHARED), rates.burst_s, random)
        hidden = episodes(times, rates.gaps_per_min, rates.gap_s, random)
        held: dict[int, dict[tuple[str, str], str]] = {}  # by burst: what it takes a value for
        aims: dict[int, tuple[str, ...]] = {}
        untold: dict[int, bool] = {}
        for i in range(n):
            burst = -1 - shared[i] if shared[i] else own[i]
            if task == "speed":
                _drift_speed(values[i], speed_sign * rates.drift_kmh * age[i])
            elif random.random() < rates.drift_missed * age[i]:
                _hide(values[i], task, False)
            if random.random() < (rates.burst_wrong if burst else rates.single):
                key = burst or -1_000_000 - i  # a single error is a burst of its own
                if key not in aims:
                    sets = list(STRUCK[task])
                    weights = np.array([STRUCK[task][s] for s in sets], float)
                    aims[key] = sets[random.choice(len(sets), p=weights / weights.sum())]
                _confuse(values[i], aims[key], held.setdefault(key, {}), random)
            if hidden[i]:
                gap = untold.setdefault(hidden[i], bool(random.random() < UNTOLD))
                _hide(values[i], task, gap)
    return [coherent(row) for row in values]


def episodes(times: np.ndarray, per_minute: float, mean_s: float, random: np.random.Generator) -> list[int]:
    """Per frame the number of the episode that it falls in, from 1; 0 between them.

    Two states in continuous time: the pauses and the episodes last exponentially long, so that neither
    depends on the frame rate. The drive may begin within an episode.
    """
    pause_s = max(60.0 / per_minute - mean_s, 1e-3)
    inside = random.random() < mean_s / (mean_s + pause_s)
    number = int(inside)
    out, until = [], None
    for t in times:
        if until is None:
            until = t + random.exponential(mean_s if inside else pause_s)
        while t >= until:
            inside = not inside
            number += inside
            until += random.exponential(mean_s if inside else pause_s)
        out.append(number if inside else 0)
    return out


def _confuse(
    values: dict[str, str],
    slots: Sequence[str],
    held: dict[tuple[str, str], str],
    random: np.random.Generator,
) -> None:
    for slot in slots:
        true = values[slot]
        if slot == "recommended_speed_kmh" and true != "unknown":
            slip = held.setdefault((slot, ""), str(random.choice(SLIPS_KMH)))
            values[slot] = snap_speed(float(true) + float(slip))
            continue
        taken = CONFUSED.get(slot, {}).get(true)
        if not taken:
            continue  # unknown, or the arrow of a light that is not there
        if (slot, true) not in held:
            weights = np.array(list(taken.values()), float)
            held[slot, true] = str(random.choice(list(taken), p=weights / weights.sum()))
        values[slot] = held[slot, true]
        if slot == "light" and true == "none":  # a light that is not there still gets an arrow and a kind
            values |= {"light_arrow": "any", "light_kind": "intersection"}


def _hide(values: dict[str, str], task: str, untold: bool) -> None:
    """The task's things become absent, or all its slots unknown; a speed becomes unknown or stays."""
    for slot in TASKS[task]:
        if untold:
            values[slot] = "unknown"
        elif slot in ABSENT and values[slot] != "unknown":
            values[slot] = ABSENT[slot]


def _drift_speed(values: dict[str, str], kmh: float) -> None:
    if values["recommended_speed_kmh"] != "unknown":
        values["recommended_speed_kmh"] = snap_speed(float(values["recommended_speed_kmh"]) + kmh)
