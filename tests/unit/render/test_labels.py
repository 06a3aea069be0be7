"""What a label says of a scene written by hand, wherever in the world it lies; and what an ids image changes."""

import math

import pytest

from edgekit.core.label import TASKS, SceneLabel
from edgekit.render.classes import CLASSES
from edgekit.render.conditions import SEEN_T, extinction_per_m
from edgekit.render.labels import answerable, label_of, truth_of
from tests.unit.render.handmade import (
    BEHIND_M,
    EYE_M,
    FAR_HEAD,
    camera_of,
    car,
    drawn,
    head,
    ids_with,
    person,
    scene,
    zebra,
)  # fmt: skip

HAZARD = {"left": True, "right": True, "speed_mps": 0.0}
SEEN = {("lamp_red", 1): 50, ("zebra", 1): 300}  # what makes a plain red light and zebra visible


def slots(**scene_of):
    spec, frame = scene(**scene_of)
    label, _, _ = label_of(spec, frame)
    SceneLabel(**label)
    return label


def truth(counts, **scene_of):
    spec, frame = scene(**scene_of)
    return truth_of(spec, frame, camera_of(spec, frame), None if counts is None else ids_with(counts))


def said(truth, *names):
    answer = SceneLabel(**answerable(truth)).model_dump()
    return tuple(answer[name] for name in names)


# --- geometry alone -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", [(0.0, 0.0, 0.0), (900.0, -300.0, -1.3), (-20.0, 7.0, 3.1)])
def test_a_whole_label_wherever_it_lies(where):
    spec, frame = scene(
        light="green",
        cones=[(1.0, 8.0)],
        barriers=[(0.4, 15.0, 0.0)],
        crossing=1,
        crossing_m=22.0,
        where=where,
        others={"left": "red", "straight": "none", "right": "none"},
        heads=[head(1), head(2, **FAR_HEAD), head(3, id="r.1.near", x=4.5, arrow="left")],
        states={"r.0.near": "green", "r.0.far": "green", "r.1.near": "red"},
        governing=["r.0.near", "r.0.far"],
    )
    label, rules, distances = label_of(spec, frame)
    assert label == {
        "recommended_speed_kmh": "30", "light": "green", "light_arrow": "any", "light_kind": "intersection",
        "other_left": "red", "other_straight": "none", "other_right": "none", "cones": "yes",
        "obstacle": "barrier", "crossroad": "yes", "zebra": "yes",
    }  # fmt: skip
    assert rules == ["road_works"]
    away = math.dist((0, -BEHIND_M, EYE_M), (4.0, 20.0, 2.8))  # from the lens to the near head
    assert distances == {
        "stop_line_m": 20.0, "zebra_m": 22.0, "head_m": round(away, 2), "cone_m": 8.0, "obstacle_m": 15.0,
        "gap_m": None,
    }  # fmt: skip


@pytest.mark.parametrize(("stop", "yes"), [(0.0, True), (50.0, True), (50.01, False), (120.0, False)])
def test_a_crossroad_is_asked_for_within_fifty_metres(stop, yes):
    label = slots(stop=stop)
    assert label["crossroad"] == ("yes" if yes else "no")
    assert label["light"] == label["light_arrow"].replace("any", "red") == ("red" if yes else "none")


@pytest.mark.parametrize(("metres", "yes"), [(0.0, True), (50.0, True), (50.1, False)])
def test_a_zebra_is_asked_for_within_fifty_metres(metres, yes):
    assert slots(stop=None, crossing=1, crossing_m=metres)["zebra"] == ("yes" if yes else "no")


def test_without_heads_there_is_no_light_though_there_is_a_crossroad():
    label = slots(light="none")
    assert (label["light"], label["light_kind"], label["crossroad"]) == ("none", "none", "yes")


@pytest.mark.parametrize(
    ("x", "y", "yes"),
    [(0, 0.4, False), (0, 0.5, True), (0, 35.0, True), (0, 35.1, False), (5.9, 20, True), (-6.1, 20, False),
     (0, -3.0, False)],
)  # fmt: skip
def test_cones_count_from_half_a_metre_to_35_and_six_aside(x, y, yes):
    label = slots(stop=None, light="none", cones=[(x, y)])
    assert label["cones"] == ("yes" if yes else "no")
    assert label["recommended_speed_kmh"] == ("30" if yes else "50")


def test_cones_are_measured_along_a_bent_path():
    bend = [[0.0, 0.0], [0.0, 10.0], [-50.0, 10.0]]
    _, _, distances = label_of(*scene(stop=None, light="none", cones=[(-20.0, 12.0)], path=bend))
    assert distances["cone_m"] == pytest.approx(30.0)
    assert slots(stop=None, light="none", cones=[(0.0, 30.0)], path=bend)["cones"] == "no"  # 20 m beside it


@pytest.mark.parametrize(
    ("x", "word"), [(0.0, "barrier"), (1.49, "barrier"), (-1.49, "barrier"), (1.51, "none"), (-3.3, "none")]
)
def test_the_corridor_is_a_metre_and_a_half_to_each_side(x, word):
    assert slots(stop=None, light="none", barriers=[(x, 20.0, 0.0)])["obstacle"] == word


@pytest.mark.parametrize(
    ("there", "word", "speed"),
    [
        ({"debris": [(0.0, 9.0, 0.3)]}, "debris", "30"),
        ({"people": [person(y=20.0)]}, "person", "20"),
        ({"people": [person(y=11.0)]}, "person", "0"),
        ({"people": [person(y=11.0, z=0.15)]}, "none", "50"),  # on the pavement
        ({"cars": [car(y=25.0, **HAZARD)]}, "stopped_vehicle", "20"),
        ({"cars": [car(y=10.0, **HAZARD)]}, "stopped_vehicle", "0"),
        ({"cars": [car(y=25.0, speed_mps=0.0)]}, "none", "45"),  # it waits
        ({"cars": [car(y=25.0, **{**HAZARD, "speed_mps": 3.0})]}, "none", "45"),
        ({"cars": [car(y=25.0, **{**HAZARD, "right": False})]}, "none", "45"),  # it turns
        ({"cars": [car(y=25.0, kind="bicycle")]}, "cyclist", "20"),
        ({"cars": [car(y=25.0, x=3.3, kind="bicycle")]}, "none", "50"),
        ({"debris": [(0.0, 20.0, 0.0)], "people": [person(y=15.0)]}, "person", "20"),  # the nearest
        ({"debris": [(0.0, 10.0, 0.0)], "people": [person(y=15.0)]}, "debris", "30"),
    ],
)
def test_what_is_an_obstacle(there, word, speed):
    label = slots(stop=None, light="none", **there)
    assert (label["obstacle"], label["recommended_speed_kmh"]) == (word, speed)


def test_a_long_vehicle_is_as_near_as_its_rear():
    _, _, near = label_of(*scene(stop=None, light="none", cars=[car(y=40.9, kind="bus", **HAZARD)]))
    assert near["obstacle_m"] == pytest.approx(34.9)
    assert slots(stop=None, light="none", cars=[car(y=41.1, kind="bus", **HAZARD)])["obstacle"] == "none"


@pytest.mark.parametrize(
    ("them", "gap"),
    [
        (car(y=12.15), 10.0),  # 4.3 m long
        (car(y=12.15, x=0.7), 10.0),
        (car(y=12.15, x=3.3), None),  # in the next lane
        (car(y=-9.0), None),
        (car(y=12.15, yaw=math.pi), None),  # comes towards us
        (car(y=14.0, yaw=math.pi / 2), None),  # crosses
        (car(y=12.15, x=1.6, yaw=-0.5), 10.1),  # turns off: its rear is still in our way
    ],
)
def test_the_gap_is_to_whoever_is_before_us_on_our_path(them, gap):
    label, rules, distances = label_of(*scene(stop=None, light="none", cars=[them]))
    assert distances["gap_m"] == (gap if gap is None else pytest.approx(gap, abs=0.2))
    assert label["recommended_speed_kmh"] == ("50" if gap is None else "20") and ("gap" in rules) == bool(gap)


def test_whom_the_traffic_has_us_follow_counts_though_it_is_off_the_path():
    there = {
        "stop": None,
        "light": "none",
        "gap_m": 10.0,
        "cars": [car(y=12.15, x=2.5), car("v2", y=40.0, instance=2)],
    }
    assert label_of(*scene(**there, leader="v1"))[2]["gap_m"] == 10.0
    assert label_of(*scene(**there, leader=None))[2]["gap_m"] == pytest.approx(37.85)


# --- what the image shows -----------------------------------------------------------------------


def test_without_an_image_all_is_seen():
    assert all(truth(None, cones=[(0, 9)], crossing=1, crossing_m=9.0)["visible"].values())


def test_a_lamp_that_cannot_be_seen_drops_light_and_speed_and_nothing_else():
    there = truth(
        {("lamp_red", 1): 8, ("lamp_green", 1): 99, ("lamp_red", 3): 99, ("cone", 1): 90}, cones=[(0, 9)]
    )
    assert there["visible"] == {"speed": False, "light": False, "obstacles": True, "crossroad": True}
    assert there["label"]["light"] == "red"
    assert said(there, "light", "light_kind", "recommended_speed_kmh", "cones") == ("unknown",) * 3 + ("yes",)


@pytest.mark.parametrize("instance", [1, 2])
def test_one_of_several_heads_is_enough(instance):
    there = truth({("lamp_red", instance): 9})
    assert there["visible"]["light"] and said(there, "light", "recommended_speed_kmh") == ("red", "20")


@pytest.mark.parametrize(("time", "least"), [("day", 60), ("night", 250)])
def test_a_light_that_is_off_shows_by_its_housing(time, least):
    for pixels in (least - 1, least):
        counts = {("head", 1): pixels - 20, ("lamp_dark", 1): 20, ("head", 2): 40}
        there = truth(counts, light="off", conditions={"time": time})
        assert there["visible"]["light"] == (pixels == least)


def test_no_picture_tells_a_light_whose_lane_has_two_colours():
    for counts in (None, {("lamp_red", 1): 500}):
        there = truth(counts, ambiguous=True)
        assert there["visible"] == {"speed": False, "light": False, "obstacles": True, "crossroad": True}
    assert truth(None, ambiguous=True, light="none")["visible"]["light"]  # no heads are drawn: none it is


def under_a_junction(**more):
    """The stop line is passed: no light governs us, and a head of the junction still looks at us."""
    return {"light": "none", "stop": 70.0, "on_link": "l", "governing": [], **more}


@pytest.mark.parametrize(
    ("heads", "state", "pixels", "told"),
    [
        ([head(1, y=15.0)], "red", 9, False),
        ([head(1, y=15.0)], "red", 8, True),
        ([head(1, y=15.0, yaw=0.0)], "red", 9, True),  # looks away
        ([head(1, y=15.0)], "off", 60, False),
        ([head(1, y=15.0, yaw=0.0)], "off", 60, True),  # the back of a housing
    ],
)
def test_no_picture_tells_that_the_line_of_a_head_in_view_is_passed(heads, state, pixels, told):
    name = "lamp_red" if state == "red" else "head"
    there = under_a_junction(heads=heads, states={"r.0.near": state})
    there["light"] = state  # how the heads are drawn; it does not govern us
    got = truth({(name, 1): pixels}, **there)
    assert got["label"]["light"] == "none"
    assert got["visible"] == {"speed": told, "light": told, "obstacles": True, "crossroad": True}
    assert truth({(name, 1): pixels}, **{**there, "on_link": None})["visible"]["light"]


@pytest.mark.parametrize(
    ("turn", "arrow", "away", "kept"),
    [
        ("right", "any", 25.0, False),
        ("right", "right", 25.0, True),  # its light says that we turn
        ("right", "left", 25.0, False),
        ("straight", "any", 25.0, True),
        ("right", "any", 15.0, True),  # before the line
    ],
)
def test_what_lies_round_the_corner_is_in_the_way_of_no_picture(turn, arrow, away, kept):
    things = {"cones": [(0.0, away)]}, {"barriers": [(0.0, away, 0.0)]}
    for there in things:
        spec, frame = scene(light="red", heads=[head(1, arrow=arrow)], stop=20.0, **there)
        frame["facts"]["turn"] = turn
        visible = truth_of(spec, frame, camera_of(spec, frame))["visible"]
        assert visible == dict.fromkeys(TASKS, True) | {"obstacles": kept, "speed": kept}


@pytest.mark.parametrize(
    ("more", "pixels", "told"),
    [
        ({}, None, False),
        ({"cars": [car(kind="truck", x=3.5, y=8.0)]}, None, True),
        ({"cars": [car(kind="bus", y=10.0)]}, None, False),
        ({"cars": [car(y=8.0)]}, None, True),  # one sees past a car
        ({"cars": []}, None, True),
        ({"stop": 1.0}, None, True),  # the line lies below the picture
        ({"light": "green"}, ("lamp_green", 1, 9), True),
        ({"light": "green"}, ("lamp_green", 1, 8), False),
        ({"crossing": 1, "crossing_m": 17.0}, ("zebra", 1, 20), True),
        ({"junction_kind": "toll"}, None, True),  # its roof is higher than any truck
    ],
)
def test_a_crossroad_of_which_a_truck_hides_all_is_not_told(more, pixels, told):
    scene_of = {"light": "none", "stop": 15.0, "cars": [car(kind="truck", y=8.0)], **more}
    spec, frame = scene(**scene_of)
    ids = drawn(spec, frame)
    ids[ids // 1000 == CLASSES["head"]] = 0
    if pixels:
        name, instance, count = pixels
        ids[0, :count] = CLASSES[name] * 1000 + instance
    got = truth_of(spec, frame, camera_of(spec, frame), ids)
    assert got["label"]["crossroad"] == "yes"
    assert got["visible"]["crossroad"] == told


def two_lights(left):
    return {
        "light": "green",
        "others": {"left": left, "straight": "none", "right": "none"},
        "heads": [
            head(1), head(3, id="r.1.near", x=4.5, arrow="left"), head(4, id="o", x=-9.0, y=9.0, yaw=0.0, arrow="left"),
        ],
        "states": {"r.0.near": "green", "r.1.near": left, "o": left},
        "governing": ["r.0.near"],
    }  # fmt: skip


def test_another_lane_s_light_that_cannot_be_seen_is_unknown_by_itself():
    seen = truth({("lamp_green", 1): 20, ("lamp_red", 3): 20}, **two_lights("red"))
    assert said(seen, "light", "other_left", "other_right") == ("green", "red", "none")
    # what looks the other way is not our approach's
    hidden = truth({("lamp_green", 1): 20, ("lamp_red", 3): 8, ("lamp_red", 4): 99}, **two_lights("red"))
    assert said(hidden, "light", "other_left", "other_right") == ("green", "unknown", "none")
    assert all(hidden["visible"].values())


def test_at_a_toll_plaza_left_and_right_are_the_next_lanes():
    lanes = {1: 1.8, 2: -2.0, 3: -6.0, 4: 5.6}
    gates = {
        "light": "green",
        "heads": [head(k, id=f"t.{k}.near", x=x, kind="toll") for k, x in lanes.items()],
        "states": {"t.1.near": "green", "t.2.near": "red", "t.3.near": "red", "t.4.near": "green"},
        "governing": ["t.1.near"],
        "others": {"left": "red", "straight": "none", "right": "green"},
    }
    label = slots(**gates)
    assert (label["light_kind"], label["other_left"], label["other_right"]) == ("toll", "red", "green")
    far_left = truth({("lamp_green", 1): 20, ("lamp_red", 3): 20, ("lamp_green", 4): 20}, **gates)
    assert said(far_left, "light", "other_left", "other_right") == ("green", "unknown", "green")
    assert said(
        truth({("lamp_green", 1): 20, ("lamp_red", 2): 20}, **gates), "other_left", "other_right"
    ) == (
        "red",
        "unknown",
    )


def test_what_shows_no_pixel_is_absent_and_the_speed_knows():
    there = {
        "stop": None,
        "light": "none",
        "cones": [(0, 9)],
        "people": [person(y=8.0)],
        "debris": [(0, 12.0, 0)],
    }
    gone = truth({}, **there)
    assert all(gone["visible"].values())
    assert said(gone, "cones", "obstacle", "recommended_speed_kmh") == ("no", "none", "50")
    assert gone["distances"]["cone_m"] is gone["distances"]["obstacle_m"] is None
    behind = truth({("debris", 1): 20}, **there)  # the person is hidden, the box behind them is not
    assert said(behind, "cones", "obstacle", "recommended_speed_kmh") == ("no", "debris", "30")


@pytest.mark.parametrize(
    ("there", "name", "least"),
    [
        ({"cones": [(0, 9)]}, "cone", 20),
        ({"barriers": [(0, 9, 0)]}, "barrier", 60),
        ({"debris": [(0, 9, 0)]}, "debris", 20),
        ({"people": [person()]}, "person", 30),
        ({"cars": [car(**HAZARD)]}, "car", 60),
        ({"cars": [car(kind="bicycle")]}, "rider", 30),
    ],
)
def test_a_few_pixels_are_neither_yes_nor_no(there, name, least):
    for pixels, seen in ((1, False), (least - 1, False), (least, True)):
        got = truth({(name, 1): pixels, (name, 2): 500}, stop=None, light="none", **there)
        assert got["visible"] == {"speed": seen, "light": True, "obstacles": seen, "crossroad": True}
        assert ("unknown" in said(got, "cones", "obstacle")) != seen


def test_a_leader_counts_as_far_as_it_is_seen():
    there = {"stop": None, "light": "none", "cars": [car(y=12.15)], "leader": "v1", "gap_m": 10.0}
    assert said(truth({("car", 1): 30}, **there), "recommended_speed_kmh") == ("20",)
    assert said(truth({("car", 1): 29}, **there), "recommended_speed_kmh") == ("unknown",)
    assert said(truth({("car", 2): 99}, **there), "recommended_speed_kmh") == ("50",)
    far = {**there, "cars": [car(y=62.65, x=3.3)], "gap_m": 60.5}
    assert all(truth({("car", 1): 1}, **far)["visible"].values())  # no rule speaks of it
    behind = {**there, "cars": [*there["cars"], car("v2", y=22.15, instance=2)]}  # the nearest hides entirely
    assert truth({("car", 2): 40}, **behind)["distances"]["gap_m"] == pytest.approx(20.0)


@pytest.mark.parametrize(("pixels", "zebra_said"), [(0, "no"), (19, "unknown"), (20, "yes")])
def test_a_zebra_by_its_pixels(pixels, zebra_said):
    got = truth({("lamp_red", 1): 50, ("zebra", 1): pixels}, crossing=1, crossing_m=22.0)
    assert said(got, "zebra") == (zebra_said,)


def test_who_stands_on_a_zebra_sees_the_next_one():
    there = {
        "stop": None,
        "light": "none",
        "crossing": 1,
        "crossing_m": 0.0,
        "paint": [*zebra(1, -1.0), *zebra(2, 25.0)],
    }
    got = truth({("zebra", 2): 50}, **there)
    assert said(got, "zebra") == ("yes",) and got["distances"]["zebra_m"] == pytest.approx(25.0)
    assert said(truth({}, **there), "zebra") == ("no",)
    aside = [{**p, "points": [[x + 20, y] for x, y in p["points"]]} for p in zebra(3, 10.0)]
    # one of a side street shows, and ours is hidden: a picture cannot tell them apart
    hidden = truth({("zebra", 3): 50}, **{**there, "paint": [*there["paint"], *aside]})
    assert said(hidden, "zebra", "crossroad") == ("unknown", "unknown")


# --- through the air ----------------------------------------------------------------------------


def fog(away, share, time="day"):
    """Air in which what is ``away`` metres off is just seen by day at share 1."""
    beta = -math.log(SEEN_T["day"]) / away * share
    return {
        "weather": "fog",
        "time": time,
        "effects": {"extinction_per_m": beta, "visibility_m": 3.912 / beta},
    }


@pytest.mark.parametrize("light", ["red", "off"])
def test_a_light_is_seen_as_far_as_the_air_lets_it(light):
    away = math.dist((0, -BEHIND_M, EYE_M), (4.0, 20.0, 2.8))
    counts = {("lamp_red", 1): 500, ("head", 1): 500}
    one = {"light": light, "heads": [head(1)]}
    thin, dense = (truth(counts, **one, conditions=fog(away, share)) for share in (0.99, 1.01))
    assert thin["visible"]["light"] and not dense["visible"]["light"] and not dense["visible"]["speed"]
    assert thin["label"]["light"] == dense["label"]["light"] == light
    assert thin["things"] == dense["things"]  # geometry and pixels know nothing of the air
    assert not truth(counts, **one, conditions=fog(away, 0.99, "night"))["visible"]["light"]


@pytest.mark.parametrize(
    ("there", "counts", "where"),
    [
        ({"cones": [(1.0, 12.0)]}, {("cone", 1): 99}, (1.0, 12.0)),
        ({"barriers": [(0.5, 12.0, 0.0)]}, {("barrier", 1): 99}, (0.5, 12.0)),
        ({"cars": [car(x=0.5, y=12.0, **HAZARD)]}, {("car", 1): 99}, (0.5, 12.0)),
    ],
)
def test_obstacles_are_seen_as_far_as_the_air_lets_them(there, counts, where):
    away = math.dist((0, -BEHIND_M, EYE_M), (*where, 0.5))
    for share, seen in ((0.99, True), (1.01, False)):
        got = truth(counts, stop=None, light="none", **there, conditions=fog(away, share))
        assert got["visible"]["obstacles"] == seen


def test_of_two_cones_the_near_one_is_seen():
    there = {"stop": None, "light": "none", "cones": [(0, 8.0), (0, 30.0)], "conditions": fog(20.0, 1.0)}
    assert truth({("cone", 1): 20}, **there)["visible"]["obstacles"]
    assert not truth({("cone", 2): 20}, **there)["visible"]["obstacles"]


def test_a_crossroad_is_seen_as_far_as_the_air_lets_its_line_and_zebra():
    for stop, metres in ((30.0, 10.0), (10.0, 30.0)):
        away = math.hypot(30.0 + BEHIND_M, EYE_M)
        for share, seen in ((0.99, True), (1.01, False)):
            there = {
                "stop": stop,
                "light": "none",
                "crossing": 1,
                "crossing_m": metres,
                "conditions": fog(away, share),
            }
            assert truth(SEEN, **there)["visible"]["crossroad"] == seen


def test_every_task_has_a_word_in_visible_and_pixels_are_told_by_class():
    got = truth({("car", 3): 7, ("car", 9): 5, ("debris", 999): 2, ("lamp_red", 1): 9})
    assert set(got["visible"]) == set(TASKS)
    assert {name: got["pixels"][name] for name in ("car", "debris", "lamp_red")} == {
        "car": 12,
        "debris": 2,
        "lamp_red": 9,
    }
    assert extinction_per_m(100.0) == pytest.approx(0.03912)
