"""What lies on the road: as asked, where it can lie, and never where somebody drives."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.recipe import build
from edgekit.render.config import RenderConfig, Roadworks
from edgekit.render.roadworks import Asked, draw, lay, lay_beside
from edgekit.render.shapes import SIZE_M
from edgekit.render.spec import camera_of, sample_scene
from edgekit.render.traffic.geometry import heading, meet, point_at, project

STRAIGHT = [(0.0, 0.0), (0.0, 100.0)]
CURVE = [(30 * math.cos(a / 20) - 30, 30 * math.sin(a / 20)) for a in range(32)]


def test_shares_of_what_is_asked():
    cfg, rng = Roadworks(cones=0.3, barrier=0.2, stopped_vehicle=0.1, debris=0.15), random.Random(1)
    found = [draw(cfg, rng) for _ in range(20_000)]
    assert sum(asked.cones for asked in found) / 20_000 == pytest.approx(0.3, abs=0.012)
    obstacles = Counter(asked.obstacle for asked in found)
    for name, share in (("barrier", 0.2), ("stopped_vehicle", 0.1), ("debris", 0.15), (None, 0.55)):
        assert obstacles[name] / 20_000 == pytest.approx(share, abs=0.012)
    both = sum(asked.cones and asked.obstacle == "barrier" for asked in found)
    assert both / 20_000 == pytest.approx(0.06, abs=0.01)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["barrier", "stopped_vehicle", "debris", None]), st.booleans(),
    st.sampled_from([STRAIGHT, CURVE]),
)  # fmt: skip
def test_all_that_is_asked_lies_ahead_in_the_lane_and_nothing_on_another(seed, obstacle, cones, way):
    cfg = Roadworks(cones_min=2, cones_max=6)
    laid = lay(cfg, Asked(cones, obstacle), way, None, lambda box: True, random.Random(seed))
    for name in ("barrier", "stopped_vehicle", "debris"):
        assert len(getattr(laid, name)) == (name == obstacle)
    assert 2 <= len(laid.cones) <= 6 if cones else not laid.cones
    boxes = laid.boxes()
    for k, box in enumerate(boxes):
        assert not any(meet(box, other) for other in boxes[:k])
        s, left = project(way, *box[:2])
        assert 4.4 <= s <= 30.1 and abs(left) <= 1.9
    for box in laid.barrier:
        assert (box[3], box[4]) == SIZE_M["barrier"]
        s, _ = project(way, *box[:2])
        back = heading(point_at(way, s)[2] + math.pi)  # it looks back at who comes
        assert heading(box[2]) == pytest.approx(back, abs=0.06)


def test_every_pattern_comes_and_a_closed_lane_ends_at_its_barrier():
    cfg, closed, shapes = Roadworks(cones_min=5, cones_max=6), 0, Counter()
    for seed in range(300):
        laid = lay(cfg, Asked(True, "barrier"), STRAIGHT, None, lambda box: True, random.Random(seed))
        (_, y, *_), aside = laid.barrier[0], [box[0] for box in laid.cones]
        ends = y - laid.cones[-1][1]
        one_way = all(a > b for a, b in zip(aside, aside[1:], strict=False)) or all(
            a < b for a, b in zip(aside, aside[1:], strict=False)
        )
        closed += one_way and 0.6 < ends < 1.1 and max(aside) > 1 and min(aside) < -1
        bare = lay(cfg, Asked(True, None), STRAIGHT, None, lambda box: True, random.Random(seed))
        along, across = [b[1] for b in bare.cones], [b[0] for b in bare.cones]
        rising = all(a < b for a, b in zip(along, along[1:], strict=False))
        spread = max(across) - min(across)
        shapes["row" if rising and spread < 0.25 else "taper" if rising else "strewn"] += 1
    assert 100 < closed < 200
    assert min(shapes[name] for name in ("row", "taper", "strewn")) > 50


def test_no_room_lays_nothing():
    for asked in (Asked(True, None), Asked(False, "debris"), Asked(True, "barrier")):
        assert lay(Roadworks(), asked, STRAIGHT, None, lambda box: False, random.Random(1)) is None
    assert (
        lay(Roadworks(), Asked(False, None), STRAIGHT, None, lambda box: False, random.Random(1)).boxes()
        == []
    )
    beside = lay_beside(
        Roadworks(), Asked(True, "debris"), STRAIGHT, 20.0, 3.3, lambda box: False, random.Random(1)
    )
    assert beside.boxes() == []


@pytest.mark.parametrize("obstacle", ["barrier", "stopped_vehicle", "debris"])
@pytest.mark.parametrize("gap_m", [5.0, 18.0, 22.0, 80.0])
def test_an_obstacle_lies_before_the_leader_who_would_hide_it(obstacle, gap_m):
    for seed in range(50):
        laid = lay(
            Roadworks(), Asked(False, obstacle), STRAIGHT, gap_m, lambda box: True, random.Random(seed)
        )
        assert (laid is None) == (gap_m == 5 or obstacle == "stopped_vehicle" and gap_m == 18)
        for _, y, _, length, _ in laid.boxes() if laid else []:
            assert y + length / 2 < gap_m and y <= 30


def test_where_few_cones_fit_other_places_are_tried():
    def right(box):
        return box[0] > 0.3

    found = [
        lay(Roadworks(), Asked(True, None), STRAIGHT, None, right, random.Random(seed)) for seed in range(100)
    ]
    assert all(laid is None or len(laid.cones) >= 2 and min(b[0] for b in laid.cones) > 0.3 for laid in found)
    assert sum(laid is not None for laid in found) > 90


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["barrier", "stopped_vehicle", "debris", None]), st.floats(0, 60)
)
def test_beside_a_drive_nothing_lies_where_it_drives(seed, obstacle, driven):
    laid = lay_beside(
        Roadworks(), Asked(True, obstacle), STRAIGHT, driven, 3.3, lambda box: True, random.Random(seed)
    )
    ego = (0.0, driven / 2 - 2.2, 0.0, driven + 4.4, 1.85)  # all that its body passes over
    assert laid.cones and len(getattr(laid, obstacle or "cones")) >= 1
    for box in laid.boxes():
        assert not meet(box, ego, 0.3)


def boxes_of(spec, frame):
    """(laid things, vehicles and people) of a frame, from the spec alone."""
    size = {v["name"]: (v["length"], v["width"]) for v in spec["fleet"]}
    stands = [v for v in frame["vehicles"] if v["name"].startswith("stopped")]
    laid = [(x, y, 0.0, *SIZE_M["cone"]) for x, y in frame["cones"]]
    laid += [(*barrier, *SIZE_M["barrier"]) for barrier in frame["barriers"]]
    laid += [(*debris, *SIZE_M["debris"]) for debris in frame["debris"]]
    laid += [(v["x"], v["y"], v["yaw"], *size[v["name"]]) for v in stands]
    around = [(v["x"], v["y"], v["yaw"], *size[v["name"]]) for v in frame["vehicles"] if v not in stands]
    around += [(p["x"], p["y"], p["yaw"], 0.5, 0.5) for p in frame["people"]]
    ego = frame["ego"]
    return laid, [*around, (ego["x"], ego["y"], ego["yaw"], ego["length"], ego["width"])]


@pytest.mark.parametrize("mode", ["poses", "drive"])
def test_in_a_scene_nothing_lies_in_anybody(mode):
    works = {
        "cones": 1,
        "barrier": 0.34,
        "stopped_vehicle": 0.33,
        "debris": 0.33,
        "cones_min": 2,
        "cones_max": 6,
    }
    cfg = build(RenderConfig, {"mode": mode, "frames_per_scene": 12, "roadworks": works, "runs": 1}, "test")
    things, kinds = 0, Counter()
    for seed in range(15):
        spec = sample_scene(cfg, seed, town=False)
        for frame in spec["frames"]:
            laid, around = boxes_of(spec, frame)
            things += len(laid)
            for k, box in enumerate(laid):
                assert not any(meet(box, other, 0.1) for other in around)
                assert not any(meet(box, other) for other in laid[:k])
            kinds.update(name for name in ("cones", "barriers", "debris") if frame[name])
            for v in frame["vehicles"]:
                if v["name"].startswith("stopped"):
                    kinds["stopped_vehicle"] += 1
                    assert v["left"] and v["right"] and v["speed_mps"] == 0
    assert things > 400 and set(kinds) == {"cones", "barriers", "debris", "stopped_vehicle"}


def test_what_is_laid_for_a_picture_is_in_it():
    works = {"cones": 1, "barrier": 1, "stopped_vehicle": 0, "debris": 0}
    cfg = build(RenderConfig, {"frames_per_scene": 12, "roadworks": works, "runs": 1}, "test")
    full = total = 0
    for seed in range(10):
        spec = sample_scene(cfg, seed, town=False)
        for frame in spec["frames"]:
            camera = camera_of(spec, frame)
            u = [camera.project((x, y, 0.3)) for x, y, *_ in frame["cones"] + frame["barriers"]]
            assert all(point and 0 <= point[0] <= camera.width for point in u)
            full += len(frame["barriers"]) == 1 and len(frame["cones"]) >= 2
            total += 1
    assert full / total > 0.97  # other moments are tried where one has no room
