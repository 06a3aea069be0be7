"""What is wrong with an answer that does not parse, in words that a model can act on."""

from __future__ import annotations

import json

from edgekit.core.label import SLOTS

SHOWN = 40  # characters of a foreign word


def fault(text: str) -> str:
    """Why ``edgekit.core.label.parse_answer`` gives None for ``text``; its first cause only."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        cut = start >= 0
        return "it breaks off before the object is closed" if cut else "there is no JSON object in it"
    try:
        raw = json.loads(text[start : end + 1])
    except (ValueError, RecursionError) as error:
        return f"it is not valid JSON ({getattr(error, 'msg', 'too deep')})"
    if not isinstance(raw, dict):
        return "it is not one JSON object"
    lacking = [slot for slot in SLOTS if slot not in raw]
    if lacking:
        return f"these fields are missing: {', '.join(lacking)}"
    foreign = sorted(key for key in raw if key not in SLOTS)
    if foreign:
        return f"there is no field {_short(foreign[0])}"
    for slot, values in SLOTS.items():
        if raw[slot] not in values:
            return f"{slot} cannot be {_short(raw[slot])}: it is one of {_values(slot)}"
    return "it does not parse"


def repair_text(text: str) -> str:
    """The user's turn that asks for a second, whole answer."""
    return (
        f"Your last answer cannot be read: {fault(text)}. Look at the same image again and answer once more: one JSON "
        f"object with exactly the fields {', '.join(SLOTS)}, every value a string, and no other text."
    )


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=True)[:SHOWN]


def _values(slot: str) -> str:
    return "0, 5, 10 up to 120, unknown" if slot == "recommended_speed_kmh" else ", ".join(SLOTS[slot])
