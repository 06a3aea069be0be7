"""Weather and camera beyond clear and rain: what a recipe may ask, what a scene draws, what is still seen.

Sky and snow on the ground are the worker's (studio.py, surfaces.py); all else is composited from the finished
frame (effects.py there), so a label's geometry is that of the clear scene. What the air hides is decided
here, from the same numbers that the worker uses; flakes, dirt and glare hide nothing for a label.
"""

import math
import random
from typing import Any

from pydantic import ConfigDict, Field

from edgekit.core.recipe import Config

# Koschmieder (1924): at the meteorological range V two hundredths of a contrast are left, exp(-3.912) = 0.02.
CONTRAST_AT_RANGE = 3.912
# Less contrast than this is not seen. By day WMO's 0.05 of the meteorological optical range (Guide No. 8, part I,
# chapter 9); in the dark, where noise and the short reach of headlamps eat more of it, what we found by looking.
# Lit lamps carry farther (Allard's law): for them it is cautious.
SEEN_T = {"day": 0.05, "low_sun": 0.05, "dusk": 0.08, "night": 0.15}
# Meteorological range in metres, drawn evenly on a log scale. Fog is below 1000 m by definition; over a
# street of 170 m only thick fog shows.
RANGE_M = {"fog": (25.0, 250.0), "snow": (80.0, 400.0)}
# Exposure of one frame at camera.blur 1, and the gain beside it: dark scenes take longer and more.
EXPOSURE_S = {"day": 0.008, "low_sun": 0.008, "dusk": 0.016, "night": 0.033}
GAIN = {"day": 1, "low_sun": 1, "dusk": 2, "night": 6}
WHITE_E, READ_E = 4000, 5  # electrons of screen white and of read noise, at camera.noise 1 and gain 1
LOW_SUN_DEG = (4.0, 11.0)  # elevation; it stands ahead, at most this far to a side:
LOW_SUN_ASIDE_DEG = 22.0
JPEG_QUALITY = 95
DRAWN = ("range", "flakes", "dirt", "dirt_much", "glare", "glare_much", "sun_up", "sun_aside")


class CameraEffects(Config):
    """What camera and lens add to a frame; 0 is off. Noise, blur and vignette belong to the camera and are
    in every scene; dirt and glare come and go: the share of scenes that have some."""

    model_config = ConfigDict(frozen=True)

    noise: float = Field(0.0, ge=0, le=1)  # 1: a small sensor; more of it at dusk and at night
    blur: float = Field(0.0, ge=0, le=1)  # of motion; 1: an exposure of 8 ms by day, 33 ms at night
    vignette: float = Field(0.0, ge=0, le=1)  # 1: cos^4 of the angle from the axis
    dirt: float = Field(0.0, ge=0, le=1)  # drops where it rains or snows
    glare: float = Field(0.0, ge=0, le=1)
    jpeg_quality: int = Field(JPEG_QUALITY, ge=5, le=95)


def extinction_per_m(visibility_m: float) -> float:
    """beta of Koschmieder's law, 1/m, from the meteorological range in m."""
    return CONTRAST_AT_RANGE / visibility_m


def transmittance(effects: dict[str, Any], distance_m: float) -> float:
    """Share of an object's own contrast that is left after ``distance_m`` of air: exp(-beta d)."""
    return math.exp(-effects.get("extinction_per_m", 0.0) * distance_m)


def _drawn(seed: int) -> dict[str, float]:
    """A scene's numbers in [0, 1) by name. From a random stream of their own, each drawn whether it is used
    or not: asking for one effect changes neither the scene nor another effect."""
    rng = random.Random(f"edgekit effects {seed}")
    return {name: rng.random() for name in DRAWN}


def comes_through(conditions: dict[str, Any], distance_m: float) -> bool:
    """Whether enough of an object's contrast is left after ``distance_m`` (m) of a scene's air."""
    return transmittance(conditions.get("effects", {}), distance_m) >= SEEN_T[conditions["time"]]


def sample_effects(camera: CameraEffects, seed: int, weather: str, time: str) -> dict[str, Any]:
    """The scene's effects by name, in physical units; {} where nothing is asked."""
    drawn, effects = _drawn(seed), {}
    if weather in RANGE_M:
        low, high = RANGE_M[weather]
        effects["visibility_m"] = round(low * (high / low) ** drawn["range"], 1)
        effects["extinction_per_m"] = round(extinction_per_m(effects["visibility_m"]), 6)
    if weather == "snow":
        effects["flakes"] = round(0.4 + 0.6 * drawn["flakes"], 3)
    if camera.blur:
        effects["exposure_s"] = round(camera.blur * EXPOSURE_S[time], 5)
    if drawn["glare"] < camera.glare:
        effects["glare"] = round(0.3 + 0.7 * drawn["glare_much"], 3)
    if drawn["dirt"] < camera.dirt:
        effects["dirt"] = round(0.3 + 0.7 * drawn["dirt_much"], 3)
    if camera.vignette:
        effects["vignette"] = camera.vignette
    if camera.noise:
        effects["white_e"] = round(WHITE_E / camera.noise / GAIN[time], 1)
        effects["read_e"] = READ_E
    if camera.jpeg_quality != JPEG_QUALITY:
        effects["jpeg_quality"] = camera.jpeg_quality
    return effects


def low_sun(seed: int) -> dict[str, float]:
    """Where the sun stands when it dazzles: low, ahead (an azimuth of 180 degrees), a little aside."""
    drawn, (low, high) = _drawn(seed), LOW_SUN_DEG
    return {
        "sun_elevation_deg": round(low + (high - low) * drawn["sun_up"], 1),
        "sun_azimuth_deg": round(180 + LOW_SUN_ASIDE_DEG * (2 * drawn["sun_aside"] - 1), 1),
    }


def tags_of(weather: str, time: str, effects: dict[str, Any]) -> list[str]:
    """The words of a scene's conditions; ["clear"] for a clear day."""
    words = [word for word in (weather, time) if word not in ("clear", "day")] or ["clear"]
    return words + [word for word in ("dirt", "glare") if word in effects]
