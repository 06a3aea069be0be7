"""The table of recommended speeds, rule by rule, and that it never says more than the limit."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.label import SLOTS
from edgekit.render.config import Time, Weather
from edgekit.render.rules import RULES, Facts, recommended_speed, rules_table

TABLE = [
    (Facts(40), "40", []),
    (Facts(60), "60", []),
    (Facts(60, weather="rain"), "50", ["poor_sight"]),
    (Facts(40, time="night"), "30", ["poor_sight"]),
    (Facts(60, time="night", weather="rain"), "50", ["poor_sight"]),  # once, not twice
    (Facts(15, weather="rain"), "10", ["poor_sight"]),
    (Facts(10, time="night"), "10", ["poor_sight"]),  # the road is open: nobody need stand
    (Facts(5, time="night"), "5", ["poor_sight"]),
    (Facts(60, time="dusk"), "60", []),
    (Facts(60, weather="cloudy", time="low_sun"), "60", []),
    (Facts(60, weather="fog", visibility_m=50), "50", ["poor_sight"]),
    (Facts(60, weather="fog", visibility_m=49.9), "30", ["poor_sight", "thick_air"]),
    (Facts(40, weather="fog", visibility_m=49.9, time="night"), "30", ["poor_sight", "thick_air"]),
    (Facts(60, weather="snow", visibility_m=200), "30", ["poor_sight", "snowy_road"]),
    (Facts(60, cones=True), "30", ["road_works"]),
    (Facts(60, obstacle="barrier", obstacle_m=5), "30", ["road_works"]),
    (Facts(60, obstacle="debris", obstacle_m=5), "30", ["road_works"]),
    (Facts(60, obstacle="cyclist", obstacle_m=5), "20", ["cyclist"]),
    (Facts(60, obstacle="person", obstacle_m=12.1), "20", ["in_the_way_far"]),
    (Facts(60, obstacle="person", obstacle_m=12.0), "0", ["in_the_way_near"]),
    (Facts(60, obstacle="stopped_vehicle", obstacle_m=34), "20", ["in_the_way_far"]),
    (Facts(60, obstacle="stopped_vehicle", obstacle_m=0), "0", ["in_the_way_near"]),
    (Facts(60, crossroad=True, stop_line_m=8), "30", ["crossroad"]),
    (Facts(60, crossroad=True, light="off", stop_line_m=8), "30", ["crossroad"]),
    (Facts(60, crossroad=True, light="green", stop_line_m=8), "60", []),
    (Facts(60, crossroad=True, light="red", stop_line_m=8.1), "20", ["crossroad", "stop_light_far"]),
    (Facts(60, crossroad=True, light="yellow", stop_line_m=8.0), "0", ["crossroad", "stop_light_near"]),
    (Facts(60, crossroad=True, light="red", stop_line_m=0.0), "0", ["crossroad", "stop_light_near"]),
    (Facts(60, gap_m=60.1), "60", []),
    (Facts(60, gap_m=60.0), "60", ["gap"]),
    (Facts(60, gap_m=20.0), "40", ["gap"]),
    (Facts(60, gap_m=12.0), "25", ["gap"]),  # 24, to the nearest 5
    (Facts(60, gap_m=1.0), "0", ["gap"]),
    (Facts(60, gap_m=20.0, weather="snow"), "30", ["poor_sight", "snowy_road", "gap"]),
]


@pytest.mark.parametrize(("facts", "speed", "used"), TABLE)
def test_table(facts, speed, used):
    assert recommended_speed(facts) == (speed, used)


def test_the_cases_reach_every_rule():
    assert {name for _, _, used in TABLE for name in used} == {rule.name for rule in RULES}


def test_every_rule_is_named_once_and_says_why():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.why for rule in RULES)


def test_the_table_of_the_docs_has_a_row_for_each_rule_in_its_order():
    rows = [line.split("|") for line in rules_table().splitlines()]
    assert [row[1].strip(" `") for row in rows[2:]] == [rule.name for rule in RULES]
    assert [row[2].strip() for row in rows[2:]] == [rule.why for rule in RULES]
    assert all(len(row) == 4 for row in rows)


@given(
    st.builds(
        Facts,
        limit_kmh=st.sampled_from([30, 40, 50, 60, 80]),
        weather=st.sampled_from(get_args(Weather)),
        time=st.sampled_from(get_args(Time)),
        visibility_m=st.none() | st.floats(1, 1000),
        cones=st.booleans(),
        obstacle=st.sampled_from([word for word in SLOTS["obstacle"] if word != "unknown"]),
        obstacle_m=st.floats(0, 35),
        crossroad=st.booleans(),
        light=st.sampled_from(["none", "red", "yellow", "green", "off"]),
        stop_line_m=st.floats(0, 50),
        gap_m=st.none() | st.floats(0, 150),
    )
)
def test_in_the_vocabulary_and_never_above_the_limit_nor_what_the_gap_allows(facts):
    speed, _ = recommended_speed(facts)
    assert speed in SLOTS["recommended_speed_kmh"]
    assert 0 <= int(speed) <= facts.limit_kmh
    if facts.gap_m is not None and facts.gap_m <= 60:
        assert int(speed) <= 2 * facts.gap_m + 2.5
