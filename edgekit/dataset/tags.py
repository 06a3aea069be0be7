"""What a row's tags say of the weather and the time of day."""

from __future__ import annotations

from collections.abc import Sequence

WEATHERS, TIMES = ("cloudy", "rain", "fog", "snow"), ("low_sun", "dusk", "night")


def words_of(tags: Sequence[str]) -> dict[str, str]:
    """weather, time and all tags in words: a frame without a word for it is one of a clear day."""
    return {
        "weather": next((w for w in WEATHERS if w in tags), "clear"),
        "time": next((t for t in TIMES if t in tags), "day").replace("_", " "),
        "tags": ", ".join(tags),
    }
