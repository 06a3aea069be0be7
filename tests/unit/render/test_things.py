"""Boxes, masks, 3D boxes and keypoints of a frame's things, against ids rasterised and points projected here."""

import math

import numpy as np
import pytest

from edgekit.render.classes import CITYSCAPES, CLASSES, NAMES, train_ids
from edgekit.render.things import Masks, things_of
from tests.unit.render.handmade import (
    BEHIND_M,
    EYE_M,
    HEIGHT,
    WHERE,
    WIDTH,
    by_hand,
    camera_of,
    car,
    drawn,
    head,
    in_world,
    person,
    scene,
    solids,
)  # fmt: skip

SIGN = {"instance": 1, "x": 6.0, "y": 18.0, "yaw": math.pi, "z": 2.2, "kind": "limit", "value": 50}
BUSY = {
    "heads": [head(1, y=14.0), head(2, id="r.0.far", x=-1.0, y=45.0)],
    "cars": [
        car("a", 0.0, 14.0, 0.02, instance=1, brake=True),
        car("b", -3.3, 12.0, math.pi, kind="truck", instance=1, left=True),
        car("c", -4.0, 30.0, 1.1, instance=2),
        car("d", 2.6, 9.0, 0.1, kind="bicycle", instance=4),
        car("e", 5.5, 7.5, instance=5),  # leaves the image
    ],
    "people": [person("p", 4.5, 11.0, 0.15, 1.4), person("q", -1.0, 7.0)],
    "cones": [(1.2, 5.0), (1.4, 7.0), (0.1, 20.0)],
    "barriers": [(-1.6, 9.0, 0.2)],
    "debris": [(0.5, 6.5, 0.4)],
    "signs": [SIGN],
}


def seen(counts=None, **scene_of):
    spec, frame = scene(**scene_of)
    ids = drawn(spec, frame)
    return spec, frame, ids, things_of(spec, frame, camera_of(spec, frame), ids)


def by(things):
    return {(thing["class"], thing["instance"]): thing for thing in things}


@pytest.mark.parametrize("where", [(0.0, 0.0, 0.0), (130.0, -45.0, 2.1), (-9.0, 400.0, -2.9)])
def test_boxes_are_those_of_the_points_that_are_projected_here(where):
    spec, frame, ids, things = seen(**BUSY, where=where)
    found = by(things)
    for name, instance, points in solids(spec, frame):
        corners = np.array([by_hand(frame, p) for p in points])
        assert (corners[:, 2] > 0.1).all()
        (u0, v0), (u1, v1) = corners[:, :2].min(axis=0), corners[:, :2].max(axis=0)
        within = u0 >= 0 and v0 >= 0 and u1 <= WIDTH and v1 <= HEIGHT
        if (name, instance) not in found:
            assert u1 <= 0 or u0 >= WIDTH or v1 <= 0 or v0 >= HEIGHT
        elif within:
            assert found[name, instance]["box"] == pytest.approx([u0, v0, u1, v1], abs=0.006)
            assert found[name, instance]["truncated"] == 0
    assert len(found) >= 14


def test_a_mask_its_box_and_its_share_agree():
    spec, frame, ids, things = seen(**BUSY)
    hidden = 0
    for thing in things:
        mask = ids == thing["id"]
        assert thing["pixels"] == mask.sum()
        if not mask.any():
            assert thing["box_visible"] is None and thing["visible_share"] == 0
            continue
        rows, columns = np.nonzero(mask)
        assert thing["box_visible"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        u0, v0, u1, v1 = thing["box"]  # a pixel is drawn where its centre is inside
        a0, b0, a1, b1 = thing["box_visible"]
        assert u0 <= a0 + 0.5 and v0 <= b0 + 0.5 and a1 - 0.5 <= u1 and b1 - 0.5 <= v1
        assert 0 < thing["visible_share"] <= 1
        hidden += thing["visible_share"] < 0.5
    assert hidden >= 2  # the far ones stand behind the near ones


@pytest.mark.parametrize(
    "there", [{"cars": [car(y=15.0)]}, {"people": [person(y=9.0)]}, {"cones": [(1.0, 6.0)]}]
)
def test_what_nothing_hides_shows_all_of_itself(there):
    (thing,) = (t for t in seen(stop=None, light="none", **there)[3])
    assert thing["visible_share"] >= 0.95
    assert thing["box_visible"] == pytest.approx(thing["box"], abs=1.0)
    area = (thing["box"][2] - thing["box"][0]) * (thing["box"][3] - thing["box"][1])
    assert 0.4 * area < thing["pixels"] <= area


def test_half_a_car_behind_a_wall_shows_half_of_itself():
    spec, frame, ids, (whole,) = seen(stop=None, light="none", cars=[car(y=15.0)])
    middle = (whole["box_visible"][0] + whole["box_visible"][2]) // 2
    ids[:, :middle] = CLASSES["building"] * 1000
    (half,) = things_of(spec, frame, camera_of(spec, frame), ids)
    assert half["visible_share"] == pytest.approx(0.5, abs=0.06)
    assert half["box_visible"][0] == middle and half["box"] == whole["box"]


def test_what_straddles_the_lens_is_cut_there_and_not_dropped():
    # a bus beside the camera: from 8.15 m behind the bumper to 3.85 m before it
    spec, frame = scene(stop=None, light="none", cars=[car(x=2.4, y=-2.15, kind="bus")])
    (thing,) = things_of(spec, frame, camera_of(spec, frame), None)
    (solid,) = solids(spec, frame)
    points = np.array(solid[2])
    # the frame in which the cut is measured: points along all segments, finely, that are before the lens
    steps = np.linspace(0, 1, 400)[:, None]
    lines = np.concatenate([a + steps * (b - a) for a in points[::5] for b in points])
    pixels = np.array([by_hand(frame, p) for p in lines])
    pixels = pixels[pixels[:, 2] > 0.1]
    inside = pixels[(pixels[:, 0] <= WIDTH) & (pixels[:, 1] >= 0) & (pixels[:, 1] <= HEIGHT)]
    u0, v0, u1, v1 = thing["box"]
    assert u0 == pytest.approx(inside[:, 0].min(), abs=2.0)
    assert u1 == WIDTH and v0 <= inside[:, 1].min() + 0.1 and v1 >= inside[:, 1].max() - 0.1
    assert 0.99 < thing["truncated"] <= 1  # cut 0.1 m before the lens, it reaches far out of the image
    assert thing["distance_m"] < 0  # its middle is behind the lens
    assert things_of(*scene(stop=None, light="none", cars=[car(x=0, y=-9.0)]), camera_of(spec, frame)) == []


def test_only_what_is_in_view_and_nearer_than_120_m():
    near, far = car("a", 0.0, 117.0, instance=1), car("b", 0.0, 119.5, instance=2)
    spec, frame = scene(stop=None, light="none", cars=[near, far, car("c", 30.0, 10.0, instance=3)])
    assert [t["name"] for t in things_of(spec, frame, camera_of(spec, frame))] == ["a"]


def test_a_frame_without_ids_says_nothing_of_masks():
    spec, frame = scene(**BUSY)
    for thing in things_of(spec, frame, camera_of(spec, frame)):
        assert thing["box_visible"] is thing["pixels"] is thing["visible_share"] is None


def test_the_box_in_space_holds_the_thing_and_projects_onto_its_box():
    spec, frame, _, things = seen(**BUSY)
    focal = WIDTH / 2 / math.tan(math.radians(30))
    names = {"head", "sign", "car", "truck", "bicycle", "person", "barrier"}
    for thing in (t for t in things if t["class"] in names):
        (x, y, z), (h, w, length), turn = thing["location"], thing["dimensions"], thing["rotation_y"]
        c, s = math.cos(turn), math.sin(turn)
        # KITTI: x along the length, z across, y down; turned about the camera's down axis
        ends = [
            (x + c * a + s * b, y + d, z - s * a + c * b)
            for a in (-length / 2, length / 2) for b in (-w / 2, w / 2) for d in (0, -h)
        ]  # fmt: skip
        us = [WIDTH / 2 + focal * p[0] / p[2] for p in ends]
        vs = [HEIGHT / 2 + focal * p[1] / p[2] for p in ends]
        u0, v0, u1, v1 = thing["box"]
        if thing["truncated"] == 0:
            slack = (
                0.12 * max(u1 - u0, v1 - v0) + 1.0
            )  # the cuboid is about the hull, and the camera is pitched
            assert (
                min(us) - 1 <= u0
                and max(us) + 1 >= u1
                and u0 - min(us) < 3 * slack
                and max(us) - u1 < 3 * slack
            )
            assert abs(min(vs) - v0) < slack and abs(max(vs) - v1) < slack


def test_rotation_is_that_of_kitti():
    cars = [
        car("ahead", 0, 20, 0.0),
        car("oncoming", -3, 20, math.pi, instance=2),
        car("crossing", 0, 40, -math.pi / 2, instance=3),
    ]
    spec, frame = scene(stop=None, light="none", cars=cars)
    turns = {t["name"]: t["rotation_y"] for t in things_of(spec, frame, camera_of(spec, frame))}
    # 0 looks to the right of the camera, -pi/2 away from it
    assert turns["ahead"] == pytest.approx(-math.pi / 2, abs=1e-3)
    assert abs(turns["oncoming"]) == pytest.approx(math.pi / 2, abs=1e-3) and turns["oncoming"] > 0
    assert turns["crossing"] == pytest.approx(0.0, abs=1e-3)


def test_location_and_size_of_a_car_straight_ahead():
    spec, frame = scene(stop=None, light="none", cars=[car(y=20.0)])
    frame["camera"]["pitch_deg"] = 0.0
    (thing,) = things_of(spec, frame, camera_of(spec, frame))
    assert thing["location"] == pytest.approx([0.0, EYE_M, 20.0 + BEHIND_M], abs=0.031)
    assert thing["distance_m"] == pytest.approx(20.0 + BEHIND_M, abs=0.031)
    assert thing["dimensions"] == pytest.approx([1.46, 1.8, 4.3], abs=0.031)


# --- keypoints and attributes -------------------------------------------------------------------


def test_keypoints_lie_where_projected_here_and_see_their_own_pixels():
    spec, frame, ids, things = seen(**BUSY)
    found, flags = by(things), set()
    x, y, z, yaw = (spec["heads"][0][axis] for axis in ("x", "y", "z", "yaw"))
    for name, up in (("lamp_red", 0.35), ("lamp_yellow", 0.0), ("lamp_green", -0.35)):
        assert found["head", 1]["keypoints"][name][:2] == pytest.approx(
            by_hand(frame, (x, y, z + up))[:2], abs=0.01
        )
    for k, place in enumerate(frame["cones"], 1):
        points = found["cone", k]["keypoints"]
        assert points["tip"][:2] == pytest.approx(by_hand(frame, (*place, 0.75))[:2], abs=0.01)
        assert points["foot"][:2] == pytest.approx(by_hand(frame, (*place, 0.0))[:2], abs=0.01)
    one = frame["people"][1]
    assert found["person", 2]["keypoints"]["top"][:2] == pytest.approx(
        by_hand(frame, (one["x"], one["y"], 1.75))[:2], abs=0.01
    )
    for thing in things:
        for u, v, flag in thing["keypoints"].values():
            flags.add(flag)
            if not flag:
                assert (u, v) == (0, 0)
                continue
            near = ids[max(int(v) - 1, 0) : int(v) + 2, max(int(u) - 1, 0) : int(u) + 2]
            assert (flag == 2) == (thing["id"] in near)
    assert flags == {0, 1, 2}


def test_corners_of_a_car_stand_where_it_stands():
    spec, frame = scene(stop=None, light="none", cars=[car(y=20.0, x=1.0)])
    (thing,) = things_of(spec, frame, camera_of(spec, frame))
    points = thing["keypoints"]
    assert (
        points["rear_left"][0] < points["rear_right"][0]
        and points["front_left"][0] < points["front_right"][0]
    )
    assert points["rear_left"][1] > points["front_left"][1]  # nearer is lower
    assert points["rear_right"][1] == pytest.approx(points["rear_left"][1], abs=0.01)
    wide = (
        (points["rear_right"][0] - points["rear_left"][0])
        * (20 - 2.15 + BEHIND_M)
        / (WIDTH / 2 / math.tan(math.radians(30)))
    )
    assert wide == pytest.approx(1.8, abs=0.04)


def test_a_head_s_mask_is_its_housing_and_its_lenses():
    spec, frame = scene(light="yellow")
    ids = np.zeros((HEIGHT, WIDTH), np.uint16)
    ids[50:60, 200:206] = CLASSES["head"] * 1000 + 1
    ids[52:54, 202:204] = CLASSES["lamp_yellow"] * 1000 + 1
    ids[60, 203] = CLASSES["lamp_dark"] * 1000 + 1
    ids[90, 90] = CLASSES["lamp_yellow"] * 1000 + 3  # another's
    thing = by(things_of(spec, frame, camera_of(spec, frame), ids))["head", 1]
    assert thing["pixels"] == 61 and thing["box_visible"] == [200, 50, 206, 61]
    assert thing["attributes"] == {
        "state": "yellow", "arrow": "any", "kind": "intersection", "place": "near", "governs": True, "lens_pixels": 4,
    }  # fmt: skip


def test_no_lens_of_a_head_that_looks_away_is_visible():
    spec, frame, _, things = seen(heads=[head(1), head(2, id="o", x=-3.0, y=15.0, yaw=0.0)])
    flags = {t["name"]: {flag for *_, flag in t["keypoints"].values()} for t in things}
    assert flags == {"r.0.near": {2}, "o": {1}}


def test_attributes_are_what_the_frame_says():
    found = by(seen(**BUSY)[3])
    assert found["car", 1]["attributes"] == {
        "brake": True, "left": False, "right": False, "parked": False, "speed_mps": 5.0
    }  # fmt: skip
    assert found["truck", 1]["attributes"]["left"] and found["truck", 1]["name"] == "b"
    assert found["rider", 4]["name"] == found["bicycle", 4]["name"] == "d"
    assert found["sign", 1]["attributes"] == {"kind": "limit", "value": 50}
    assert [found["person", k]["attributes"]["on_road"] for k in (1, 2)] == [False, True]


def test_parked_cars_and_heads_that_are_not_drawn():
    parked = {**car("k", instance=7)[0], "x": 3.0, "y": 18.0, "yaw": 0.0, "z": 0.15}
    spec, frame = scene(light="none", parked=[parked])
    (thing,) = things_of(spec, frame, camera_of(spec, frame))
    assert (thing["name"], thing["id"], thing["attributes"]["parked"]) == (
        "k",
        CLASSES["car"] * 1000 + 7,
        True,
    )
    assert thing["location"][1] == pytest.approx(EYE_M - 0.15, abs=0.65)  # the camera is pitched


def test_a_vehicle_of_the_user_s_own_has_the_hull_of_its_file():
    body, now = car(y=20.0)
    spec, frame = scene(stop=None, light="none", cars=[({**body, "asset": 1}, now)])
    wedge = [[-1.0, -2.0, 0.0], [1.0, -2.0, 0.0], [0.0, 2.0, 0.0], [0.0, -2.0, 3.0]]
    spec["assets"] = [{}, {"hull": wedge}]
    (thing,) = things_of(spec, frame, camera_of(spec, frame))
    assert thing["dimensions"] == [3.0, 2.0, 4.0]
    there = frame["vehicles"][0]
    top = by_hand(frame, in_world(wedge[3:], (there["x"], there["y"], 0.0, WHERE[2]))[0])
    assert thing["box"][1] == pytest.approx(top[1], abs=0.006)


# --- ids ----------------------------------------------------------------------------------------


def test_masks_of_random_ids_are_those_found_one_by_one():
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 40, (37, 53)).astype(np.uint16) * 700
    masks = Masks(ids)
    for number in np.unique(ids):
        rows, columns = np.nonzero(ids == number)
        assert masks.pixels(int(number)) == len(rows)
        assert masks.box(int(number)) == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert masks.pixels(1) == 0 and masks.box(1) is None
    pixel = np.zeros((9, 9), np.uint16)
    pixel[4, 6] = 7
    assert Masks(pixel).box(7) == [6, 4, 7, 5]


def test_train_ids_are_those_of_cityscapes():
    ids = np.array(
        [[CLASSES[name] * 1000 + k for k in (0, 1, 999)] for name in NAMES] + [[60000] * 3], np.uint16
    )
    got = train_ids(ids)
    assert got.dtype == np.uint8 and got.shape == ids.shape
    assert got[:-1].tolist() == [[CITYSCAPES[name]] * 3 for name in NAMES] and set(got[-1]) == {255}
    named = {name: got[CLASSES[name], 0] for name in NAMES}
    assert (named["road"], named["zebra"], named["lamp_red"], named["sign"], named["tree"]) == (0, 0, 6, 7, 8)
    assert (named["rider"], named["car"], named["bicycle"], named["cone"]) == (12, 13, 18, 255)
    assert set(CITYSCAPES.values()) <= {*range(19), 255}
    assert (
        list(NAMES[:19])
        == (
            "sky road marking zebra sidewalk building window car pole head lamp_red lamp_yellow lamp_green lamp_dark "
            "cone barrier tree ground person"
        ).split()
    )
