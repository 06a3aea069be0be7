"""What is known of an image: words from tags, an answer, detections, telemetry and a map."""

import math

import pytest

from edgekit.core.label import SceneLabel
from edgekit.library import HOLES, WORDS, context_of, values_of


def test_a_detection_says_what_an_answer_would():
    assert context_of(detections=["traffic light"]) == {"light"}
    assert context_of(detections=["traffic light", "Traffic-Light"]) == {"light", "many_lights"}
    assert context_of(detections=["cone", "pedestrian", "bicycle"]) == {"cones", "person", "cyclist"}
    assert {"barrier", "obstacle"} <= context_of(detections=["barrier"])
    assert "elephant" in context_of(detections=["elephant"])  # passed on; no entry asks for it


def test_slow_among_cars_is_a_queue():
    cars = ["car", "truck", "bus"]
    assert "queue" in context_of(speed_mps=1.0, detections=cars)
    assert "queue" not in context_of(speed_mps=10.0, detections=cars)
    assert "queue" not in context_of(speed_mps=1.0, detections=cars[:2])


@pytest.mark.parametrize(
    "label, words",
    [
        (SceneLabel(light="red", light_arrow="left", light_kind="toll"), {"light", "arrow", "toll"}),
        (SceneLabel(light="off", light_arrow="any", light_kind="crossing"),
         {"light", "light_off", "crossing_light"}),
        (SceneLabel(other_left="green"), {"many_lights"}),
        (SceneLabel(obstacle="person"), {"obstacle", "person"}),
        (SceneLabel(obstacle="other"), {"obstacle"}),
        (SceneLabel(obstacle="none", light="none", light_arrow="none", light_kind="none", cones="no"), set()),
    ],
)  # fmt: skip
def test_an_earlier_answer_says_more_than_light(label, words):
    assert context_of(last=label) == words <= set(WORDS)


def test_what_was_not_measured_says_nothing():
    nan = math.nan
    assert context_of(speed_mps=nan, accel_mps2=nan, yaw_rate_rps=nan) == frozenset()
    assert context_of(accel_mps2=-3.0, yaw_rate_rps=-0.3) == {"braking", "turning"}
    assert values_of(speed_mps=nan) == {}


def test_a_map_speaks_in_its_own_names():
    assert context_of(map_words=["toll_booth", "Roundabout", "school"]) == {
        "toll",
        "roundabout",
        "school_zone",
    }


def test_values_fill_holes_and_nothing_else():
    values = values_of(
        8.2,
        SceneLabel(light="red", light_arrow="any", light_kind="toll"),
        ["light", "light", "dog"],
        ["toll"],
    )
    assert values == {"speed_kmh": "30", "light": "red", "seen": "2 × traffic light", "place": "toll"}
    assert set(values) == set(HOLES)
    assert values_of(detections=["person", "cone"], language="zh")["seen"] == "1 × 交通锥、1 × 行人"
    assert values_of() == {}
