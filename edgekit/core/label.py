"""SceneLabel v1: what the model answers, and the closed vocabulary it answers from.

One frozen object has three views, each lossless: canonical compact JSON (what the model
writes), four text lines (the paper's answer format), and a JSON schema (what a server enforces).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, model_validator

from edgekit.core.errors import UserError

SCHEMA = "edgekit/label/1"

SPEEDS = tuple(str(v) for v in range(0, 121, 5))
_OTHER = ("none", "red", "yellow", "green", "off", "unknown")

# The one place that holds the vocabulary. Order is the order of the answer.
SLOTS: dict[str, tuple[str, ...]] = {
    "recommended_speed_kmh": (*SPEEDS, "unknown"),
    "light": ("none", "red", "yellow", "green", "off", "unknown"),
    "light_arrow": ("any", "left", "straight", "right", "none", "unknown"),
    "light_kind": ("intersection", "toll", "crossing", "none", "unknown"),
    "other_left": _OTHER,
    "other_straight": _OTHER,
    "other_right": _OTHER,
    "cones": ("no", "yes", "unknown"),
    "obstacle": (
        "none", "barrier", "stopped_vehicle", "person", "cyclist", "debris", "other", "unknown",
    ),
    "crossroad": ("no", "yes", "unknown"),
    "zebra": ("no", "yes", "unknown"),
}  # fmt: skip

# The four tasks and the slots that each one owns (sources and confidences are kept per task).
TASKS: dict[str, tuple[str, ...]] = {
    "speed": ("recommended_speed_kmh",),
    "light": (
        "light", "light_arrow", "light_kind", "other_left", "other_straight", "other_right",
    ),
    "obstacles": ("cones", "obstacle"),
    "crossroad": ("crossroad", "zebra"),
}  # fmt: skip
TASK_OF = {slot: task for task, slots in TASKS.items() for slot in slots}


class SceneLabel(BaseModel):
    """What is ahead of the ego vehicle in one frame. Every slot is a string of SLOTS.

    ``unknown`` = abstained or cannot be told; ``none``/``no`` = looked, and absent.
    Raises pydantic.ValidationError for a word outside the vocabulary, an extra slot, or a
    light_arrow/light_kind that contradicts ``light`` in {none, unknown}.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recommended_speed_kmh: str = "unknown"
    light: str = "unknown"
    light_arrow: str = "unknown"
    light_kind: str = "unknown"
    other_left: str = "unknown"
    other_straight: str = "unknown"
    other_right: str = "unknown"
    cones: str = "unknown"
    obstacle: str = "unknown"
    crossroad: str = "unknown"
    zebra: str = "unknown"

    @model_validator(mode="after")
    def _closed(self) -> SceneLabel:
        for slot, values in SLOTS.items():
            value = getattr(self, slot)
            if value not in values:
                raise ValueError(f"{slot}={value!r} is not one of {', '.join(values)}")
        if self.light in ("none", "unknown"):
            for slot in ("light_arrow", "light_kind"):
                if getattr(self, slot) != self.light:
                    raise ValueError(f"light={self.light} asks for {slot}={self.light}")
        elif self.light_arrow == "none" or self.light_kind == "none":
            raise ValueError(f"light={self.light} is present: its arrow and kind cannot be none")
        return self

    @property
    def speed_kmh(self) -> int | None:
        """The recommended speed in km/h, or None where it is unknown."""
        value = self.recommended_speed_kmh
        return None if value == "unknown" else int(value)


UNKNOWN = SceneLabel()


def snap_speed(kmh: float) -> str:
    """The vocabulary's nearest speed (km/h, steps of 5); ties go down, the range is clipped."""
    kmh = min(max(kmh, 0.0), 120.0)
    return str(int(-(-(kmh - 2.5) // 5)) * 5)


@lru_cache(maxsize=1 << 16)
def _one(values: tuple[str, ...]) -> SceneLabel:
    return SceneLabel(**dict(zip(SLOTS, values, strict=True)))


def label_of(values: Mapping[str, str]) -> SceneLabel:
    """SceneLabel(**values) of all slots, the same object for the same values: a drive of hours has a hundred thousand
    labels, and few different ones."""
    return _one(tuple(values[slot] for slot in SLOTS))


def coherent(values: dict[str, str]) -> SceneLabel:
    """A label from slot values that may break the light invariant (each slot decided alone).

    ``light`` leads: where it is none or unknown its arrow and kind follow; where it is present
    and they say none, they become unknown.
    """
    values = dict(values)
    light = values.get("light", "unknown")
    for slot in ("light_arrow", "light_kind"):
        if light in ("none", "unknown"):
            values[slot] = light
        elif values.get(slot) == "none":
            values[slot] = "unknown"
    return label_of(values) if values.keys() == SLOTS.keys() else SceneLabel(**values)


# --- answer: canonical compact JSON -------------------------------------------------------


def to_answer(label: SceneLabel) -> str:
    """The canonical answer: flat compact JSON, the order of SLOTS, every slot present."""
    return json.dumps({slot: getattr(label, slot) for slot in SLOTS}, separators=(",", ":"))


def answer_pieces() -> list[str]:
    """The skeleton around the values: len(SLOTS) + 1 strings; piece, value, piece, …, piece.

    ``"".join`` of pieces and values alternating is the canonical answer.
    """
    names = list(SLOTS)
    first = "{" + f'"{names[0]}":"'
    middle = [f'","{name}":"' for name in names[1:]]
    return [first, *middle, '"}']


def parse_answer(text: str) -> SceneLabel | None:
    """The label in a model's answer, or None when it does not parse.

    Tolerates text around the JSON object, never a missing slot or a foreign word: an answer
    that does not parse counts as all-unknown in evaluation, and is never dropped.
    """
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        raw = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or set(raw) != set(SLOTS):
        return None
    if any(raw[slot] not in values for slot, values in SLOTS.items()):
        return None
    return coherent(raw)


def json_schema() -> dict:
    """The JSON schema of the answer, as servers enforce it: enums only, no free text."""
    return {
        "type": "object",
        "properties": {s: {"type": "string", "enum": list(v)} for s, v in SLOTS.items()},
        "required": list(SLOTS),
        "additionalProperties": False,
    }


# --- the paper's four lines -----------------------------------------------------------------
# Fixed clauses, one per value; both directions. "unknown" is stated, never left out.

_COLOURS = ("red", "yellow", "green", "off")


def to_text(label: SceneLabel) -> str:
    """The paper's answer format (driving-mllm section 3): four labelled lines, lossless."""
    speed = label.recommended_speed_kmh
    light = [f"{label.light} light ahead" if label.light in _COLOURS else label.light]
    if label.light in _COLOURS:
        light += [f"for {label.light_arrow}", f"kind {label.light_kind}"]
    light += [f"{s[6:]} lane {getattr(label, s)}" for s in TASKS["light"][3:]]
    return "\n".join(
        [
            f"Recommended Speed: {speed if speed == 'unknown' else speed + ' km/h'}",
            "Traffic Light: " + "; ".join(light),
            f"Obstacles: cones {label.cones}; obstacle {label.obstacle}",
            f"Crossroad: ahead {label.crossroad}; zebra {label.zebra}",
        ]
    )


def from_text(text: str) -> SceneLabel:
    """The label back from ``to_text``; raises UserError where a line is not in that form."""
    try:
        lines = dict(line.split(": ", 1) for line in text.strip().split("\n"))
        values = {"recommended_speed_kmh": lines["Recommended Speed"].removesuffix(" km/h")}
        light = lines["Traffic Light"].split("; ")
        values["light"] = light[0].removesuffix(" light ahead")
        values["light_arrow"] = values["light_kind"] = values["light"]
        for clause in light[1:]:
            words = clause.split(" ")
            if words[0] == "for":
                values["light_arrow"] = words[1]
            elif words[0] == "kind":
                values["light_kind"] = words[1]
            else:
                values[f"other_{words[0]}"] = words[2]
        for clause in lines["Obstacles"].split("; ") + lines["Crossroad"].split("; "):
            name, value = clause.split(" ")
            values["crossroad" if name == "ahead" else name] = value
        return SceneLabel(**values)
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            "a label's text does not parse",
            f"{error} in {text[:120]!r}",
            "write it with edgekit.core.label.to_text",
        ) from error
