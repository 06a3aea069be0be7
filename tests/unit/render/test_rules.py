"""The table of recommended speeds, rule by rule, and that it never says more than the limit."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.label import SLOTS
from edgekit.render.config import Time, Weather
from edgekit.render.rules import RULES, Facts, recommended_speed

TABLE = [
    (Facts(40), "40", []),
    (Facts(60), "60", []),
    (Facts(60, weather="rain"), "50", ["poor_sight"]),
    (Facts(40, time="night"), "30", ["poor_sight"]),
    (Facts(60, time="night", weather="rain"), "50", ["poor_sight"]),  # once, not twice
    (Facts(60, time="dusk"), "60", []),
    (Facts(60, weather="cloudy", time="low_sun"), "60", []),
    (Facts(60, weather="fog", visibility_m=50), "50", ["poor_sight"]),
    (Facts(60, weather="fog", visibility_m=49.9), "30", ["poor_sight", "thick_air"]),
    (Facts(40, weather="fog", visibility_m=49.9, time="night"), "30", ["poor_sight", "thick_air"]),
    (Facts(60, weather="snow", visibility_m=200), "30", ["poor_sight", "snowy_road"]),
    (Facts(60, cones=True), "30", ["road_works"]),
    (Facts(60, barrier=True), "30", ["road_works"]),
    (Facts(60, crossroad=True, stop_line_m=8), "30", ["crossroad"]),
    (Facts(60, crossroad=True, light="off", stop_line_m=8), "30", ["crossroad"]),
    (Facts(60, crossroad=True, light="green", stop_line_m=8), "60", []),
    (Facts(60, crossroad=True, light="red", stop_line_m=10.1), "20", ["crossroad", "stop_light_far"]),
    (Facts(60, crossroad=True, light="yellow", stop_line_m=10.0), "0", ["crossroad", "stop_light_near"]),
]


@pytest.mark.parametrize(("facts", "speed", "used"), TABLE)
def test_table(facts, speed, used):
    assert recommended_speed(facts) == (speed, used)


def test_every_rule_is_named_once_and_says_why():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.why for rule in RULES)


@given(
    st.builds(
        Facts,
        limit_kmh=st.sampled_from([30, 40, 50, 60, 80]),
        weather=st.sampled_from(get_args(Weather)),
        time=st.sampled_from(get_args(Time)),
        visibility_m=st.none() | st.floats(1, 1000),
        cones=st.booleans(),
        barrier=st.booleans(),
        crossroad=st.booleans(),
        light=st.sampled_from(["none", "red", "yellow", "green", "off"]),
        stop_line_m=st.floats(0, 50),
    )
)
def test_in_the_vocabulary_and_never_above_the_limit(facts):
    speed, _ = recommended_speed(facts)
    assert speed in SLOTS["recommended_speed_kmh"]
    assert 0 <= int(speed) <= facts.limit_kmh
