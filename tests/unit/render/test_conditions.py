"""What a recipe's conditions change in a spec and in the labels; and that without them nothing changes."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.recipe import build
from edgekit.render.classes import CLASSES
from edgekit.render.conditions import (
    JPEG_QUALITY,
    RANGE_M,
    CameraEffects,
    extinction_per_m,
    sample_effects,
    transmittance,
)
from edgekit.render.config import RenderConfig
from edgekit.render.labels import truth_of
from edgekit.render.spec import camera_of, sample_scene, spec_text

ALL = {"noise": 0.5, "blur": 0.5, "vignette": 0.5, "dirt": 0.4, "glare": 0.6, "jpeg_quality": 80}


def config(**more):
    return build(RenderConfig, {"demand": {"duration_s": 240}, "runs": 1} | more, "test")


@pytest.mark.parametrize("mode", ["poses", "drive"])
def test_a_scene_without_conditions_knows_nothing_of_them(mode):
    """That others may be asked for changes nothing of it: no draw is spent on what is not in the recipe."""
    for seed in range(1000, 1010):
        plain = sample_scene(config(mode=mode, weather={"clear": 0.5, "rain": 0.5}), seed)
        more = {"weather": {"clear": 0.5, "rain": 0.5, "fog": 0.0, "snow": 0.0}, "camera": CameraEffects()}
        assert sample_scene(config(mode=mode, **more), seed) == plain
        assert "effects" not in plain["conditions"]
        assert set(plain["conditions"]["tags"]) <= {"clear", "rain", "dusk", "night"}


def test_a_recipe_that_asks_for_none_is_the_same_recipe():
    assert "camera" not in config().model_dump(mode="json")
    asked = config(camera={"noise": 0.2})
    assert build(RenderConfig, asked.model_dump(mode="json"), "again") == asked


@pytest.mark.parametrize("seed", range(20))
def test_effects_leave_the_scene_alone(seed):
    plain, asked = sample_scene(config(), seed), sample_scene(config(camera=ALL), seed)
    assert asked["conditions"].pop("effects")
    asked["conditions"]["tags"] = plain["conditions"]["tags"]
    assert asked == plain


def test_one_effect_does_not_change_another():
    for seed in range(30):
        everything = sample_effects(CameraEffects(**ALL), seed, "snow", "dusk")
        for name, value in ALL.items():
            for key, drawn in sample_effects(CameraEffects(**{name: value}), seed, "snow", "dusk").items():
                assert everything[key] == drawn


def test_shares_and_ranges_are_kept():
    drawn = [sample_effects(CameraEffects(**ALL), seed, "fog", "night") for seed in range(2000)]
    for name in ("dirt", "glare"):
        much = [effects[name] for effects in drawn if name in effects]
        assert len(much) / 2000 == pytest.approx(ALL[name], abs=0.04)
        assert 0.3 <= min(much) < 0.35 and 0.95 < max(much) <= 1
    metres = np.array([effects["visibility_m"] for effects in drawn])
    low, high = RANGE_M["fog"]
    assert low <= metres.min() < 1.05 * low and 0.95 * high < metres.max() <= high
    assert np.median(metres) == pytest.approx(math.sqrt(low * high), rel=0.1)
    assert drawn[0]["jpeg_quality"] == 80 and "jpeg_quality" not in sample_effects(
        CameraEffects(jpeg_quality=JPEG_QUALITY, noise=1), 1, "clear", "day"
    )


def test_the_dark_takes_longer_and_noisier_pictures():
    day, night = (sample_effects(CameraEffects(**ALL), 1, "clear", time) for time in ("day", "night"))
    assert night["exposure_s"] > day["exposure_s"] and night["white_e"] < day["white_e"]


@given(st.floats(10, 5000))
def test_two_hundredths_are_left_at_the_meteorological_range(metres):
    assert transmittance({"extinction_per_m": extinction_per_m(metres)}, metres) == pytest.approx(
        0.02, rel=1e-3
    )
    assert transmittance({}, metres) == 1


@pytest.mark.parametrize(
    ("weather", "time", "camera", "tags"),
    [
        ("clear", "day", {}, ["clear"]),
        ("rain", "night", {}, ["rain", "night"]),
        ("fog", "day", {}, ["fog"]),
        ("snow", "low_sun", {}, ["snow", "low_sun"]),
        ("cloudy", "dusk", {"noise": 1.0}, ["cloudy", "dusk"]),
        ("clear", "day", {"dirt": 1.0, "glare": 1.0}, ["clear", "dirt", "glare"]),
    ],
)
def test_tags(weather, time, camera, tags):
    spec = sample_scene(config(weather={weather: 1.0}, time={time: 1.0}, camera=camera), 5)
    assert spec["conditions"]["tags"] == tags


def test_a_low_sun_is_low_and_ahead_of_the_first_frame():
    for seed in range(50):
        spec = sample_scene(config(time={"low_sun": 1.0}), seed, town=False)
        sky, yaw = spec["conditions"]["sky"], spec["frames"][0]["camera"]["yaw_deg"]
        assert 4 <= sky["sun_elevation_deg"] <= 11
        assert 157.9 <= (sky["sun_azimuth_deg"] - yaw) % 360 <= 202.1


# --- labels; what the air hides of a single thing is test_labels.py's ---------------------------


def ids_of(counts):
    """An ids image that holds these numbers of these ids."""
    flat = np.concatenate([np.full(count, number) for number, count in counts.items()])
    return np.resize(np.append(flat, 0), (1, len(flat) + 1)).astype(np.uint16)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["cloudy", "fog", "snow"]))
def test_weather_changes_speed_and_visibility_and_nothing_else_of_a_label(seed, weather):
    def truths(word):
        asked = {"weather": {word: 1.0}, "time": {"day": 1.0}, "frames_per_scene": 3}
        spec = sample_scene(config(**asked), seed, town=False)
        ids = np.zeros((spec["image"]["height"], spec["image"]["width"]), np.uint16)
        shown = ids_of({n * 1000 + k: 90 for n in CLASSES.values() for k in range(1, 7)})
        ids.flat[: shown.size] = shown.flat
        return spec, [truth_of(spec, frame, camera_of(spec, frame), ids) for frame in spec["frames"]]

    (_, clear), (spec, other) = truths("clear"), truths(weather)
    metres = spec["conditions"].get("effects", {}).get("visibility_m")
    assert (metres is None) == (weather == "cloudy")
    for a, b in zip(clear, other, strict=True):
        speed = int(b["label"].pop("recommended_speed_kmh"))
        before = int(a["label"].pop("recommended_speed_kmh"))
        assert speed <= before if weather != "cloudy" else speed == before
        if weather == "snow" or weather == "fog" and metres < 50:
            assert speed <= 30
        for key in ("label", "distances", "things", "pixels"):
            assert a[key] == b[key]
        assert all(a["visible"][task] or not b["visible"][task] for task in b["visible"])


def test_specs_with_all_conditions_survive_json():
    cfg = config(weather={"fog": 0.5, "snow": 0.5}, time={"low_sun": 1.0}, camera=ALL)
    for seed in range(10):
        spec = sample_scene(cfg, seed)
        assert json.loads(spec_text(spec)) == spec
