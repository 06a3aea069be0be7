"""Opinions from boxes: what is said, what is denied, and where an expert is silent."""

import json

import numpy as np
import pytest

from edgekit.core.box import Box
from edgekit.mine.experts import Corridor, Said, said
from tests.unit.mine.experts.test_lights import head

EMPTY = np.full((100, 200, 3), 110, np.uint8)
ALL = {"person", "cyclist", "barrier", "debris", "car"}


def box(name: str, x: float, foot: float, score: float = 0.8, wide: float = 10) -> Box:
    return Box(name, x - wide / 2, foot - 20, x + wide / 2, foot, score)


def lights(*states: str | None) -> tuple[np.ndarray, list[Box]]:
    image = np.concatenate([head(s, {"red": 0, "yellow": 1, "green": 2}.get(s, 0)) for s in states], axis=1)
    return image, [Box("light", 20 + 64 * i, 10, 44 + 64 * i, 82, 0.5) for i in range(len(states))]


def test_an_expert_says_nothing_of_what_it_cannot_see():
    assert said([], EMPTY, {"car"}).tasks() == frozenset()
    only = said([], EMPTY, {"cone"}, by="cones")
    assert only.opinions == {"cones": ("no", 0.5)} and only.tasks() == {"obstacles"} and only.by == "cones"
    # a box of a thing that the recipe does not say it sees is not heard either
    assert said([box("cone", 100, 90)], EMPTY, {"light"}).opinions == {"light": ("none", 0.5)}


def test_lights_that_agree_are_said_and_lights_that_differ_are_not():
    image, heads = lights("red", "red")
    state, sure = said(heads, image, {"light"}).opinions["light"]
    assert state == "red" and 0.4 < sure <= 0.5
    image, heads = lights("red", "green")
    assert said(heads, image, {"light"}).opinions == {}
    assert said(heads, image, {"light"}).boxes == {} or said(heads, image, {"light"}).boxes["light"] == heads


def test_a_light_that_cannot_be_told_makes_the_others_less_sure_and_alone_is_silence():
    image, heads = lights("red", None)
    alone = said(heads[:1], image, {"light"}).opinions["light"]
    both = said(heads, image, {"light"}).opinions["light"]
    assert both[0] == "red" and both[1] == pytest.approx(alone[1] / 2)
    assert said(heads[1:], image, {"light"}).opinions == {}  # a head is there: not "none" either


def test_a_person_in_the_way_and_one_on_the_pavement():
    seen = said([box("person", 100, 90)], EMPTY, {"person"})
    assert seen.opinions == {"obstacle": ("person", 0.8)} and seen.boxes["obstacles"][0].name == "person"
    aside = said([box("person", 15, 90)], EMPTY, {"person"})
    assert aside.opinions == {} and aside.denied == {"obstacle": {"person": 0.5}}
    assert (aside.boxes, aside.found) == ({}, ("person",))  # nothing rests on it, and it was found
    # the corridor narrows with distance
    assert said([box("person", 140, 95)], EMPTY, {"person"}).opinions
    assert not said([box("person", 140, 60)], EMPTY, {"person"}).opinions
    wide = Corridor(half_top=0.5, half_bottom=0.5)
    assert said([box("person", 140, 60)], EMPTY, {"person"}, corridor=wide).opinions


def test_the_nearest_counts_and_a_car_ahead_is_no_verdict():
    both = [box("barrier", 100, 70, 0.9), box("person", 100, 95, 0.6)]
    assert said(both, EMPTY, ALL).opinions["obstacle"] == ("person", 0.6)
    car = said([box("car", 100, 90)], EMPTY, ALL)
    assert car.opinions == {} and set(car.denied["obstacle"]) == {"barrier", "cyclist", "debris", "person"}
    behind = said([box("car", 100, 95), box("person", 100, 80)], EMPTY, {"car", "person"})
    assert behind.opinions == {} and behind.denied == {}  # the person is there, the car is nearer


def test_only_who_sees_everything_says_that_the_path_is_free():
    assert said([], EMPTY, ALL).opinions["obstacle"] == ("none", 0.5)
    assert said([], EMPTY, ALL - {"debris"}).opinions == {}
    assert set(said([], EMPTY, ALL - {"debris"}).denied["obstacle"]) == {"person", "cyclist", "barrier"}


def test_a_rider_is_a_cyclist():
    rider = [box("person", 100, 88, 0.9), box("cyclist", 100, 90, 0.5, wide=14)]
    assert said(rider, EMPTY, {"person", "cyclist"}).opinions["obstacle"] == ("cyclist", 0.5)
    beside = [box("person", 112, 92, 0.9), box("cyclist", 100, 90, 0.5, wide=14)]
    assert said(beside, EMPTY, {"person", "cyclist"}).opinions["obstacle"] == ("person", 0.9)


def test_cones_with_the_best_score():
    seen = said([box("cone", 10, 90, 0.4), box("cone", 190, 90, 0.7)], EMPTY, {"cone"})
    assert seen.opinions["cones"] == ("yes", 0.7) and len(seen.boxes["obstacles"]) == 2


def test_an_opinion_goes_through_json():
    image, heads = lights("red")
    opinion = said([*heads, box("person", 32, 95)], image, {"light", "person", "cyclist"}, by="coco")
    denying = said([], image, {"person"}, by="coco")
    for one in (opinion, denying, Said()):
        assert Said.from_json(json.loads(json.dumps(one.to_json()))) == one
    with pytest.raises(KeyError):
        Said.from_json({"by": "coco"})
