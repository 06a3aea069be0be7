"""A description claims only what is to be seen: read back, word by word, against the truth it was made from."""

import math
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.render.conditions import SEEN_T
from edgekit.render.describe import JUNCTIONS, VIEWS, WORDS, describe
from edgekit.render.labels import truth_of
from tests.unit.render.handmade import camera_of, car, drawn, person, scene

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
LEAST = {"person": 30, "cone": 20, "barrier": 60, "debris": 20, "bicycle": 30}  # all other vehicles: 40
# the word in the text: (class, whether it stands parked; None: no vehicle)
NOUNS = {
    "car": ("car", False), "truck": ("truck", False), "bus": ("bus", False), "cyclist": ("bicycle", False),
    "motorcyclist": ("motorcycle", False), "pedestrian": ("person", None), "orange traffic cone": ("cone", None),
    "striped barrier": ("barrier", None), "cardboard box": ("debris", None),
}  # fmt: skip


def thing(name, pixels, metres=10.0, **attributes):
    return {"class": name, "instance": 1, "pixels": pixels, "distance_m": metres, "attributes": attributes}


def light(state, lens, governs=True, arrow="any", pixels=300):
    return thing("head", pixels, state=state, arrow=arrow, governs=governs, lens_pixels=lens)


def vehicle(name, pixels, parked=False):
    return thing(name, pixels, parked=parked)


THINGS = st.one_of(
    st.builds(light, st.sampled_from(["red", "yellow", "green", "off"]), st.integers(0, 30), st.booleans(),
              st.sampled_from(["any", "left", "straight"]), st.integers(30, 300)),
    st.builds(vehicle, st.sampled_from(["car", "truck", "bus", "bicycle", "motorcycle"]), st.integers(0, 90),
              st.booleans()),
    st.builds(lambda p, on: thing("person", p, on_road=on), st.integers(0, 70), st.booleans()),
    st.builds(lambda n, p: thing(n, p), st.sampled_from(["cone", "barrier", "debris"]), st.integers(0, 130)),
    st.builds(lambda p: thing("rider", p, rides="bicycle"), st.integers(0, 90)),
    st.builds(lambda p: thing("sign", p, kind="limit", value=50), st.integers(0, 400)),
)  # fmt: skip
PIXELS = st.fixed_dictionaries(
    {name: st.integers(0, 6000) for name in ("road", "marking", "zebra", "building", "window", "tree")}
)
CONDITIONS = st.tuples(
    st.sampled_from(["clear", "cloudy", "rain", "fog", "snow"]),
    st.sampled_from(["day", "low_sun", "dusk", "night"]),
)


def synthetic(things, pixels, conditions, crossroad, zebra, seen, kind, mount, index):
    weather, time = conditions
    spec, frame = scene(conditions={"weather": weather, "time": time})
    spec["mount"] = {**spec["mount"], "name": mount}
    frame["index"], frame["facts"]["junction_kind"] = index, kind
    truth = {
        "things": things,
        "pixels": {**pixels, "sky": 40_000},
        "label": {"crossroad": crossroad, "zebra": zebra},
        "visible": {"crossroad": seen},
    }
    return spec, frame, truth


def count_of(text, noun):
    """How many of a noun a text claims; None: several."""
    found = re.search(rf"\b(\w+) {noun}(s|es)?\b", text.replace("buses", "buss"))
    return 0 if not found else NUMBERS.get(found[1].lower())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(THINGS, max_size=14), PIXELS, CONDITIONS, st.sampled_from(["yes", "no"]), st.sampled_from(["yes", "no"]),
    st.booleans(), st.sampled_from(["x", "t", "toll", "other", None]), st.sampled_from(list(VIEWS)), st.integers(0, 99),
)  # fmt: skip
def test_nothing_is_claimed_that_is_not_visible(
    things, pixels, conditions, crossroad, zebra, seen, kind, mount, index
):
    spec, frame, truth = synthetic(things, pixels, conditions, crossroad, zebra, seen, kind, mount, index)
    text = describe(spec, frame, truth)
    assert WORDS[0] <= len(text.split()) <= WORDS[1]
    _, _, rest = text.partition(". ")  # the opening names our own vehicle
    traffic = "".join(re.findall(r"(?:On the road|The traffic in view): [^.]*\.", rest))
    parked = "".join(re.findall(r"(?:Parked at the side|By the kerb, parked): [^.]*\.", rest))
    others = rest.replace(parked, "") if parked else rest
    for noun, (name, is_parked) in NOUNS.items():
        of = [t for t in things if t["class"] == name and t["pixels"] >= LEAST.get(name, 40)]
        there = sum(is_parked is None or t["attributes"]["parked"] == is_parked for t in of)
        where = others if is_parked is None else traffic
        if noun == "pedestrian":
            for side, on_road in (("road", True), ("pavement", False)):
                claims = re.findall(rf"(\w+) pedestrians? on the {side}", where)
                walking = sum(t["attributes"]["on_road"] == on_road for t in of)
                assert [NUMBERS.get(c.lower()) for c in claims] in ([], [walking if walking <= 5 else None])
                assert not claims or walking
            continue
        claimed = count_of(where, noun)
        assert claimed in (0, there) if there <= 5 else claimed in (0, None)
    for name in ("car", "truck", "bus", "bicycle", "motorcycle"):
        there = sum(
            t["class"] == name and t["attributes"]["parked"] and t["pixels"] >= LEAST.get(name, 40)
            for t in things
        )
        claimed = count_of(parked, name)
        assert claimed in (0, there) if there <= 5 else claimed in (0, None)
    dark = 250 if conditions[1] == "night" else 60
    lit = [
        t["attributes"]
        for t in things
        if t["class"] == "head"
        and (
            t["pixels"] >= dark if t["attributes"]["state"] == "off" else t["attributes"]["lens_pixels"] >= 9
        )
    ]
    for state in ("red", "yellow", "green", "dark"):
        if re.search(rf"\b{state}\b", rest):
            assert {"dark": "off"}.get(state, state) in {head["state"] for head in lit}
    if "for our lane" in rest or "light ahead is" in rest:
        assert any(head["governs"] for head in lit)
    for arrow in ("left", "straight"):
        if f"{arrow} arrow" in rest:
            assert any(head["arrow"] == arrow and head["governs"] for head in lit)
    if "zebra" in text:
        assert seen and zebra == "yes" and pixels["zebra"] >= 20
    for junction in (*JUNCTIONS.values(), "a junction"):
        if junction in text.lower().replace("t-junction", "T-junction"):
            assert seen and crossroad == "yes" and JUNCTIONS.get(kind, "a junction") == junction
    total = sum(truth["pixels"].values())
    assert ("asphalt" in text) <= (pixels["road"] >= total / 100)
    assert ("lane lines" in text) <= (pixels["marking"] >= 60)
    assert ("houses" in text) <= (pixels["building"] + pixels["window"] > total / 100)
    assert ("trees" in text) <= (pixels["tree"] > total / 100)
    assert ("round sign" in text) <= any(t["class"] == "sign" and t["pixels"] >= 200 for t in things)
    weather, time = conditions
    for word, words in (
        ("rain", ("rain", "wet")),
        ("snow", ("snow",)),
        ("fog", ("fog",)),
        ("cloudy", ("cloud",)),
    ):
        assert any(w in text.lower() for w in words) == (weather == word)
    assert ("night" in text) == (time == "night") and ("dusk" in text) == (time == "dusk")
    assert describe(spec, frame, truth) == text


def test_what_matters_is_named():
    things = [light("red", 20), vehicle("car", 90), vehicle("car", 90), vehicle("bus", 90), thing("cone", 30)]
    things += [
        thing("person", 90, on_road=False),
        vehicle("car", 90, parked=True),
        light("green", 20, governs=False),
    ]
    pixels = {"road": 9000, "building": 9000, "tree": 9000, "zebra": 50}
    for index in range(12):
        made = synthetic(things, pixels, ("rain", "night"), "yes", "yes", True, "t", "roof", index)
        text = describe(*made)
        assert re.search(r"one bus and two cars", text) and "one orange traffic cone" in text
        assert "one car." in text and "ne pedestrian on the pavement is in view." in text
        assert re.search(r"is red\b", text) and "green" not in text
        assert re.search(r"[Aa] T-junction with a zebra crossing", text)
        assert "roof of a car" in text and "wet" in text and "houses and trees" in text


def test_the_wording_varies_and_the_seed_decides_it():
    texts = set()
    for index in range(30):
        made = synthetic(
            [vehicle("car", 90)],
            {"road": 9000},
            ("clear", "day"),
            "no",
            "no",
            True,
            None,
            "windscreen",
            index,
        )
        texts.add(describe(*made))
        assert describe(*made) in texts
    assert len(texts) >= 10


@pytest.mark.parametrize(("share", "named"), [(0.9, True), (1.1, False)])
def test_what_the_air_hides_is_not_named(share, named):
    beta = -math.log(SEEN_T["day"]) / 30.0 * share
    spec, frame, truth = synthetic(
        [{**vehicle("truck", 90), "distance_m": 30.0}], {}, ("fog", "day"), "no", "no", True, None, "cab", 1
    )
    spec["conditions"]["effects"] = {"extinction_per_m": beta}
    assert ("one truck" in describe(spec, frame, truth)) == named


def test_a_drawn_scene_is_described_by_what_shows_in_it():
    rng = random.Random("describe")
    hidden = 0
    for _ in range(12):
        front = car("a", 0.0, rng.uniform(14, 18), kind="bus", instance=1)
        behind = car("b", rng.uniform(-3.0, 3.0), 30.0, kind="truck", instance=1)
        people = [person("p", rng.uniform(-2.0, 2.0), 25.0), person("q", 4.0, 10.0, 0.15)]
        spec, frame = scene(stop=None, light="none", cars=[front, behind], people=people)
        ids = drawn(spec, frame)
        truth = truth_of(spec, frame, camera_of(spec, frame), ids)
        text = describe(spec, frame, truth)
        assert "one bus" in text and "on the pavement" in text
        for noun, (name, who) in {"one truck": ("truck", 1), "pedestrian on the road": ("person", 1)}.items():
            shows = next(t["pixels"] for t in truth["things"] if (t["class"], t["instance"]) == (name, who))
            assert (noun in text) == (shows >= {"truck": 40, "person": 30}[name])
            hidden += not shows
    assert 0 < hidden < 24
