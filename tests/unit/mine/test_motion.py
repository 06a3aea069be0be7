"""Motion rules: the facts by hand; each shipped rule where it fires and where a near miss does not."""

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, SceneLabel, coherent
from edgekit.mine import facts as facts_of
from edgekit.mine import motion
from edgekit.mine.facts import MEANING, facts, least
from edgekit.mine.motion import apply, load_rules

FPS = 5
RULES = {rule.name: rule for rule in load_rules()}
quick = settings(max_examples=40, deadline=None)


def label(**slots) -> SceneLabel:
    values = {"light": "none", "cones": "no", "obstacle": "none", "crossroad": "no", "zebra": "no"}
    if slots.get("light", "none") not in ("none", "unknown"):
        values |= {"light_arrow": "any", "light_kind": "intersection"}
    return coherent({**values, "recommended_speed_kmh": "30", **slots})


class Drive:
    """n frames at FPS: parts (seconds, speed or (from, to), yaw rate), and labels that differ from plain ones."""

    def __init__(self, *parts, base=None):
        v, yaw = [], []
        for seconds, speed, *turn in parts:
            n = round(seconds * FPS)
            low, high = speed if isinstance(speed, tuple) else (speed, speed)
            v += np.linspace(low, high, n, endpoint=low == high).tolist()
            yaw += [turn[0] if turn else 0.0] * n
        self.v, self.yaw, self.t = v, yaw, [i / FPS for i in range(len(v))]
        self.labels = [label(**(base or {})) for _ in v]

    def say(self, first_s, last_s, **slots):
        """Frames of first_s <= t < last_s say this, too."""
        for i, t in enumerate(self.t):
            if first_s - 1e-9 <= t < last_s - 1e-9:
                self.labels[i] = coherent({**self.labels[i].model_dump(), **slots})
        return self

    def light(self, first_s, last_s, colour, arrow="any", kind="intersection"):
        return self.say(first_s, last_s, light=colour, light_arrow=arrow, light_kind=kind)

    def fired(self, rule):
        """(the times at which ``rule`` fired, the labels after it)."""
        known = facts(self.t, self.v, None, self.yaw, self.labels)
        out, log = apply(self.labels, known, [RULES[rule]])
        return [t for t, one in zip(self.t, log, strict=True) if one], out


def stand_at_red(glitch="green", first=6.0, last=7.6):
    return Drive((20, 0.0)).light(0, 20, "red").light(first, last, glitch)


def through(colours, v=12.0):
    """Past a light that stands 60 m ahead, and on; ``colours``: (metres before it, colour) from the farthest on."""
    drive = Drive((15, v))
    for (far, colour), (near, _) in zip(colours, [*colours[1:], (0, "")], strict=True):
        drive.light((60 - far) / v, (60 - near) / v, colour)
    return drive


CASES = {
    # rule: (a drive where it fires, a near miss where it must not)
    "flash_between_reds": (stand_at_red(), stand_at_red(last=8.2)),  # 2.2 s: a short green
    "flash_between_greens": (
        Drive((20, 0.5)).light(0, 20, "green").light(6, 8, "red"),
        Drive((20, 0.0)).light(0, 20, "green").light(6, 8, "red"),  # it stands on: the red may be the true one
    ),
    "red_driven_through": (
        through([(30, "green"), (12, "red"), (9, "green")]),
        through([(30, "green"), (12, "red"), (9, "green")], v=7.0),  # it could still have stopped
    ),
    "red_driven_through_unsure": (
        through([(30, "red")]),
        through([(60, "red"), (25, "green")]),  # red while far, green in time
    ),
    "green_standing_long": (
        stand_at_red(first=8, last=12),
        Drive((20, 0.0), (10, 5.0)).light(0, 16, "red").light(16, 30, "green"),  # the queue moves after 4 s
    ),
    "unlit_in_a_red_stand": (
        stand_at_red("none"),
        Drive((20, 0.0)).light(0, 20, "red").light(8, 20, "none"),  # most frames of the stand see none
    ),
    "yellow_too_long": (
        Drive((20, 3.0)).light(2, 11, "yellow"),
        Drive((20, 3.0)).light(2, 9, "yellow"),
    ),
    "red_accelerated_through": (
        Drive((4, 0.0), (8, (0.0, 12.0)), (4, 12.0)).light(0, 8, "red"),
        Drive((4, 0.0), (8, (0.0, 12.0), -0.3), (4, 12.0)).light(0, 8, "red"),  # a turn on red
    ),
    "toll_light_at_speed": (
        Drive((10, 20.0)).light(0, 3, "green", kind="toll"),
        Drive((10, 16.0)).light(0, 3, "green", kind="toll"),
    ),
    "left_arrow_driven_right": (
        Drive((4, 8.0), (4, 6.0, -0.4), (10, 8.0)).light(0, 4, "green", "left"),
        Drive((4, 8.0), (4, 6.0, 0.4), (10, 8.0)).light(0, 4, "green", "left"),
    ),
    "right_arrow_driven_left": (
        Drive((4, 8.0), (4, 6.0, 0.4), (10, 8.0)).light(0, 4, "green", "right"),
        Drive((4, 8.0), (4, 6.0, -0.4), (10, 8.0)).light(0, 4, "green", "right"),
    ),
    "crossroad_gone_and_back": (
        Drive((10, 5.0)).say(1, 9, crossroad="yes").say(4, 5.2, crossroad="no"),
        Drive((12, 5.0)).say(1, 9, crossroad="yes").say(4, 6, crossroad="no"),  # 10 m: another one
    ),
    "crossroad_for_a_moment": (
        Drive((20, 0.0)).say(6, 8, crossroad="yes"),
        Drive((20, 5.0)).say(6, 8, crossroad="yes"),  # 10 m: seen late
    ),
    "crossroad_never_reached": (
        Drive((12, 10.0)).say(1, 11, crossroad="yes"),
        Drive((12, 10.0)).say(1, 8, crossroad="yes"),
    ),
    "turned_where_no_crossroad_was": (
        Drive((6, 5.0), (4, 5.0, 0.4), (10, 5.0)),
        Drive((6, 5.0), (4, 5.0, 0.2), (10, 5.0)),  # 46 degrees: a bend
    ),
    "turned_right_where_no_crossroad_was": (
        Drive((6, 5.0), (4, 5.0, -0.4), (10, 5.0)),
        Drive((6, 5.0), (4, 5.0, 0.4), (10, 5.0)),  # to the left: the other rule's
    ),
    "obstacle_driven_through": (
        Drive((10, 12.0), base={"obstacle": "barrier"}),
        Drive((1, 12.0), (1, 12.0, 0.1), (1, 12.0, -0.1), (10, 12.0)).say(0, 1, obstacle="barrier"),  # 1.2 m aside
    ),
    "stopped_vehicle_driven_through": (
        Drive((10, 12.0), base={"obstacle": "stopped_vehicle"}),
        Drive((10, 7.0), base={"obstacle": "stopped_vehicle"}),
    ),
    "cones_gone_and_back": (
        Drive((10, 5.0), base={"cones": "yes"}).say(5, 5.2, cones="no"),
        Drive((10, 5.0), base={"cones": "yes"}).say(5, 6, cones="no"),
    ),
    "stop_advised_at_speed": (
        Drive((10, 9.0), base={"recommended_speed_kmh": "0"}),
        Drive((10, 7.0), base={"recommended_speed_kmh": "0"}),
    ),
    "stop_advised_while_accelerating": (
        Drive((3, 1.0), (8, (1.0, 9.0)), (4, 9.0), base={"recommended_speed_kmh": "0"}),
        Drive((3, 1.0), (2, (1.0, 2.8)), (4, 1.0), base={"recommended_speed_kmh": "0"}),  # a queue closes up
    ),
    "far_above_free_flow": (
        Drive((20, 5.0), base={"recommended_speed_kmh": "60"}),
        Drive((9, 5.0), (11, 8.0), base={"recommended_speed_kmh": "55"}),
    ),
    "far_below_free_flow": (
        Drive((20, 20.0), base={"recommended_speed_kmh": "30"}),
        Drive((20, 20.0), base={"recommended_speed_kmh": "35"}),
    ),
}  # fmt: skip


def test_every_shipped_rule_has_its_cases():
    assert set(CASES) == set(RULES) and len(RULES) >= 12


@pytest.mark.parametrize("rule", CASES)
def test_each_rule_fires_and_a_near_miss_does_not(rule):
    hit, miss = CASES[rule]
    assert hit.fired(rule)[0]
    assert not miss.fired(rule)[0]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_switched_off_is_gone_and_the_others_stay(rule):
    left = load_rules(off=[rule])
    assert rule not in {r.name for r in left} and len(left) == len(RULES) - 1


@pytest.mark.parametrize("rule", CASES)
def test_without_telemetry_only_time_speaks(rule):
    hit, _ = CASES[rule]
    known = facts(hit.t, None, None, None, hit.labels)
    out, log = apply(hit.labels, known, [RULES[rule]])
    assert any(log) == (rule == "yellow_too_long") and out == hit.labels


def test_what_the_relabels_make():
    when, out = CASES["flash_between_reds"][0].fired("flash_between_reds")
    assert when == pytest.approx([6 + k / 5 for k in range(8)])
    assert {x.light for x in out} == {"red"} and out[30].light_arrow == "any"
    gone = stand_at_red("none").fired("flash_between_reds")[1]
    assert (gone[30].light, gone[30].light_arrow, gone[30].light_kind) == ("red", "any", "intersection")
    when, out = CASES["red_driven_through"][0].fired("red_driven_through")
    assert when and {x.light for x in out} == {"green", "none"}
    assert (
        CASES["stop_advised_at_speed"][0].fired("stop_advised_at_speed")[1][0].recommended_speed_kmh
        == "unknown"
    )


def test_a_toll_lanes_light_may_flash():
    drive = Drive((20, 0.0)).light(0, 20, "red", kind="toll").light(6, 7.6, "green", kind="toll")
    assert not drive.fired("flash_between_reds")[0]


def test_an_arrows_short_green_seen_from_a_queue_stands():
    """The one car before the line goes on the arrow; this one, behind it, stands on."""
    drive = Drive((20, 0.0)).light(0, 20, "red", "left").light(6, 7.6, "green", "left")
    assert not drive.fired("flash_between_reds")[0]


def test_two_stop_lines_50_to_58_m_apart_are_not_made_one():
    """The first is passed, 5 m on the second is 50 m ahead: the truth comes out as it went in."""
    drive = Drive((20, 5.0)).say(1, 11, crossroad="yes").say(12, 20, crossroad="yes")
    when, out = drive.fired("crossroad_gone_and_back")
    assert when and out == drive.labels


def test_a_reason_says_what_its_rule_checks():
    rule = RULES["far_above_free_flow"]
    assert rule.for_s == 2 and rule.motion["speed_mps"].above == pytest.approx(7 / 3.6, abs=0.06)
    assert "last 2 s at more than 7 km/h" in rule.why.replace("\n", " ")


def test_a_true_green_before_moving_off_stands():
    """Red, green, and the car drives off 1.5 s later, though a burst says red once more."""
    drive = Drive((11.5, 0.0), (6, (0.0, 9.0))).light(0, 17, "red").light(10, 11.6, "green")
    drive.light(12, 17, "green")
    assert not drive.fired("flash_between_reds")[0]


def test_a_light_missed_for_less_than_20_m_is_not_passed():
    """Red and braking to its line, with half a second of none at speed: nothing was driven through."""
    drive = Drive((4, 12.0), (5, (12.0, 0.0)), (20, 0.0)).light(0, 29, "red").light(3, 3.6, "none")
    for rule in ("red_driven_through", "red_driven_through_unsure", "red_accelerated_through"):
        assert not drive.fired(rule)[0]


def test_where_a_light_is_passed():
    """The last frame before 20 m without one; a gap of 7 m is none, and a drive that ends 10 m on does not tell."""
    drive = Drive((10, 12.0)).light(1, 4, "red").light(2, 2.6, "none")
    known = facts(drive.t, drive.v, None, drive.yaw, drive.labels)
    assert known[5]["pass_m"] == pytest.approx(33.6) and known[11]["pass_m"] == pytest.approx(19.2)
    drive = Drive((10, 12.0)).light(1, 4, "red").light(2, 3.9, "none")  # 24 m: one is passed, the other comes
    assert facts(drive.t, drive.v, None, drive.yaw, drive.labels)[5]["pass_m"] == pytest.approx(9.6)
    late = Drive((10, 12.0)).light(7, 9, "red")
    assert "pass_m" not in facts(late.t, late.v, None, late.yaw, late.labels)[36]


def test_what_fired_is_told_and_relabels_silence_the_task():
    drive = stand_at_red("none")
    known = facts(drive.t, drive.v, None, drive.yaw, drive.labels)
    both = [RULES["unlit_in_a_red_stand"], RULES["flash_between_reds"]]
    out, log = apply(drive.labels, known, both)
    assert [len(one) for one in log].count(1) == 8 and len(out) == len(drive.labels)
    one = log[30][0]
    assert (one.rule, one.task, one.action, one.factor) == ("flash_between_reds", "light", "relabel", 1.0)
    assert one.before["light"] == "none" and one.after["light"] == "red" and set(one.after) <= set(SLOTS)
    demoted = apply(drive.labels, known, both[:1])[1][30][0]
    assert demoted.before == demoted.after and demoted.factor == 0.5


def test_for_s_counts_from_when_the_motion_began():
    rule = RULES["stop_advised_while_accelerating"]
    drive = CASES[rule.name][0]
    known = facts(drive.t, drive.v, None, drive.yaw, drive.labels)
    met = rule.model_copy(update={"for_s": 0.0}).asks(known)
    held = rule.asks(known)
    assert met.argmax() + round(rule.for_s * FPS) == held.argmax() and held.sum() == met.sum() - 5


def test_facts_by_hand():
    drive = Drive((4, 10.0), (2, 0.0), (4, 10.0, 0.1)).light(1, 3, "red").say(2, 9, crossroad="yes")
    known = facts(drive.t, drive.v, None, drive.yaw, drive.labels)
    assert set(known.columns) == set(MEANING)
    assert known[0]["speed_mps"] == 10 and known[0]["stopped_s"] == 0
    assert known[25]["stopped_s"] == pytest.approx(1.0) and known[25]["stands_on_s"] == pytest.approx(0.8)
    assert known[0]["min_speed_next_3s_mps"] == 10 and known[10]["min_speed_next_3s_mps"] == 0
    assert "min_speed_next_3s_mps" not in known[45]  # the drive ends before
    assert known[40]["turn_next_10m_rad"] == pytest.approx(0.1, abs=1e-6)
    assert known[5]["light_run_s"] == pytest.approx(1.8)
    assert known[5]["pass_m"] == pytest.approx(18.0) and "pass_m" not in known[30]
    assert known[0]["above_driven_mps"] == pytest.approx(30 / 3.6 - 10)
    assert known[12]["crossroad_yes_gap_m"] == 0
    assert "crossroad_yes_gap_m" not in known[0] and known[20]["crossroad_no_gap_s"] == pytest.approx(7.2)


def test_facts_across_unmeasured_speeds_are_not_known():
    drive = Drive((10, 10.0)).light(1, 3, "red").light(5, 6, "red")
    drive.v[20] = None
    known = facts(drive.t, drive.v, None, drive.yaw, drive.labels)
    assert "light_red_gap_m" not in known[18] and known[18]["light_red_gap_s"] == pytest.approx(2.2)
    assert "speed_mps" not in known[20] and "min_speed_next_50m_mps" not in known[10]
    assert known[22]["min_speed_next_3s_mps"] == 10


@quick
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=40), st.data())
def test_least_is_the_minimum_of_each_span(values, data):
    n = len(values)
    first = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20))
    last = [data.draw(st.integers(f, n - 1)) for f in first]
    found = least(np.array(values), np.array(first), np.array(last))
    assert found.tolist() == [min(values[a : b + 1]) for a, b in zip(first, last, strict=True)]


labels = st.fixed_dictionaries({slot: st.sampled_from(values) for slot, values in SLOTS.items()}).map(
    coherent
)
frames = st.lists(
    st.tuples(labels, st.one_of(st.none(), st.floats(0, 30)), st.floats(-0.5, 0.5)), min_size=1, max_size=30
)


@quick
@given(frames)
def test_any_drive_goes_through_and_what_did_not_fire_is_unchanged(drive):
    seen, v, yaw = (list(x) for x in zip(*drive, strict=True))
    known = facts([i / 5 for i in range(len(seen))], v, None, yaw, seen)
    out, log = apply(seen, known, list(RULES.values()))
    for before, after, fired in zip(seen, out, log, strict=True):
        changed = {slot for slot in SLOTS if getattr(before, slot) != getattr(after, slot)}
        assert changed <= {slot for one in fired if one.action == "relabel" for slot in one.after}
        assert all(one.before != one.after for one in fired if one.action == "relabel")


@quick
@given(frames, st.floats(0.5, 100))
def test_a_constant_scene_is_never_relabelled(drive, seconds):
    """One label all along agrees with itself, whatever the motion: only a speed may be made to abstain."""
    v, yaw = [d[1] for d in drive], [d[2] for d in drive]
    seen = [drive[0][0]] * len(drive)
    known = facts([i / 5 for i in range(len(seen))], v, None, yaw, seen)
    out, _ = apply(seen, known, [r for r in RULES.values() if r.task != "speed"])
    assert out == seen


def one_rule(**changes):
    return {
        "name": "mine", "why": "a sentence that says why it is so", "task": "light", "when": {"light": ["red"]},
        "motion": {"speed_mps": {"above": 8}}, "action": "review", **changes,
    }  # fmt: skip


def write(tmp_path, *rules):
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"schema": motion.SCHEMA, "rules": list(rules)}))
    return path


def test_a_file_of_ones_own(tmp_path):
    (rule,) = load_rules(write(tmp_path, one_rule()))
    assert rule.name == "mine" and rule.motion["speed_mps"].above == 8
    assert motion.digest([rule]) != motion.digest([rule.model_copy(update={"for_s": 1.0})])


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"motion": {"speed_mp": {"above": 8}}}, "did you mean 'speed_mps'"),
        ({"when": {"lights": ["red"]}}, "did you mean 'light'"),
        ({"when": {"light": ["redd"]}}, "did you mean 'red'"),
        ({"when": {"cones": [True]}}, "in quotes"),
        ({"action": "relabel", "to": {"light": "gren"}}, "did you mean 'green'"),
        ({"action": "relabel", "to": {"cones": "no"}}, "unknown slot 'cones'"),
        ({"action": "relabel"}, "to"),
        ({"action": "demote"}, "weight"),
        ({"weigth": 0.5}, "did you mean 'weight'"),
        ({"motion": {"speed_mps": {"above": 8, "below": 3}}}, "nothing is above 8"),
        ({"motion": {"speed_mps": {}}}, "above, below or both"),
        ({"motion": {"speed_mps": 8}}, "motion.speed_mps"),
        ({"motion": {}}, "motion"),
        ({"task": "lights"}, "task"),
        ({"action": "drop"}, "action"),
    ],
)
def test_a_wrong_rule_is_refused_in_three_lines(tmp_path, changes, said):
    with pytest.raises(UserError) as error:
        load_rules(write(tmp_path, one_rule(**changes)))
    assert said in str(error.value) and len(str(error.value).splitlines()) == 3


def test_a_wrong_file_or_name_is_refused(tmp_path):
    with pytest.raises(UserError, match="twice: mine"):
        load_rules(write(tmp_path, one_rule(), one_rule()))
    with pytest.raises(UserError, match="did you mean 'yellow_too_long'"):
        load_rules(off=["yellow_to_long"])
    (tmp_path / "text.yaml").write_text("schema: [")
    with pytest.raises(UserError, match="not YAML"):
        load_rules(tmp_path / "text.yaml")
    (tmp_path / "other.yaml").write_text("schema: edgekit/motion/9\nrules: []\n")
    with pytest.raises(UserError, match="edgekit/motion/1"):
        load_rules(tmp_path / "other.yaml")
    with pytest.raises(UserError, match="no motion rules"):
        load_rules(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="not a rule"):
        load_rules(write(tmp_path, "red"))


def test_meaning_names_every_fact_that_rules_use():
    used = {fact for rule in RULES.values() for fact in rule.motion}
    assert used <= set(facts_of.MEANING)
