import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.label import SLOTS, UNKNOWN, SceneLabel, coherent
from edgekit.demo.advice import LEVELS, NO_ADVICE, RULES, advise, shown

labels = st.fixed_dictionaries({slot: st.sampled_from(values) for slot, values in SLOTS.items()}).map(
    coherent
)


@given(labels, st.one_of(st.none(), st.floats(0, 60)))
def test_most_urgent_first_and_one_line_per_group(label, speed):
    advice = advise(label, speed)
    levels = {rule.text: rule.level for rule in RULES}
    told = [LEVELS.index(levels[line]) for line in advice.lines if line in levels]
    assert told == sorted(told)
    groups = [rule.group for line in advice.lines for rule in RULES if rule.text == line]
    assert len(groups) == len(set(groups))
    assert len(advice.lines) <= 5


def test_unknown_is_not_spoken_of():
    assert advise(UNKNOWN) == NO_ADVICE
    assert advise(UNKNOWN).text == "No advice"


RED = {"light": "red", "light_arrow": "any", "light_kind": "intersection"}
GREEN = RED | {"light": "green"}
NO_LIGHT = {"light": "none", "light_arrow": "none", "light_kind": "none"}


@pytest.mark.parametrize(
    ("slots", "level", "first"),
    [
        (RED | {"cones": "yes"}, "stop", "Red light: stop at the line"),
        (RED | {"light_arrow": "left"}, "stop", "Red arrow to the left: stop"),
        (RED | {"light_kind": "toll"}, "stop", "Red at the toll gate: stop"),
        (GREEN | {"cones": "yes"}, "slow", "Cones ahead: slow down, keep clear"),
        (NO_LIGHT | {"crossroad": "yes"}, "watch", "Crossroad ahead: look both ways"),
        ({"recommended_speed_kmh": "60"}, "info", "Recommended speed 60 km/h"),
    ],
)
def test_what_is_said_first(slots, level, first):
    advice = advise(SceneLabel(**slots))
    assert (advice.level, advice.lines[0]) == (level, first)


def test_slow_down_only_well_above_the_recommendation():
    label = SceneLabel(recommended_speed_kmh="40")
    assert advise(label, 49 / 3.6).lines == ("Recommended speed 40 km/h",)
    assert advise(label, 51 / 3.6).lines == ("Slow down to 40 km/h",)


def test_every_rule_can_be_heard():
    """No rule is hidden by those above it: each is the group's answer for the label that it asks for."""
    for rule in RULES:
        values = {"light": "none"} | {slot: wanted[0] for slot, wanted in rule.when.items()}
        assert rule.text in advise(coherent(values)).lines, rule


def test_fresh_late_and_gone():
    advice = advise(SceneLabel(cones="yes"))

    def at(answered, now):
        return shown(advice, UNKNOWN, 1.0, answered, now, deadline_s=0.2, ttl_s=1.0)

    assert at(1.1, 1.9).state == "fresh"
    assert at(1.3, 1.3).state == "late"
    gone = at(1.1, 2.1)
    assert (gone.state, gone.advice) == ("none", NO_ADVICE)
