"""What the worker draws of a hand-made scene: ids, colours and depth, where our own projection has them."""

import copy
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgekit.render
from edgekit.render.blender import blender_python
from edgekit.render.classes import CLASSES
from edgekit.render.shapes import HEIGHT_M, SIZE_M, hull
from tests.unit.render.blender import NEEDS_BLENDER

WORKER = Path(edgekit.render.__file__).parent / "worker" / "main.py"
WIDTH, HEIGHT, HFOV = 336, 192, 60.0
CAMERA = {"x": 1.0, "y": -1.0, "z": 1.4, "yaw_deg": 0.0, "pitch_deg": 1.0}
HEADS = {
    "round": ("any", -2.0),
    "to_left": ("left", 0.0),
    "ahead": ("straight", 2.0),
    "to_right": ("right", 4.0),
}
COLOURS = {"red": 1, "yellow": 0, "green": -1}  # how many gaps above the middle lens
HEAD_Y, HEAD_Z, GAP = 14.0, 2.6, 0.35
ROAD = [[-40, -20], [6, -20], [6, 80], [-40, 80]]
SLAB = [[6, 0], [20, 0], [20, 60], [6, 60]]
HOLE = [[8, 20], [8, 26], [14, 26], [14, 20]]  # clockwise

pytestmark = NEEDS_BLENDER


def vehicle(name, kind, size, paint, instance):
    length, width = size
    return {"name": name, "instance": instance, "kind": kind, "length": length, "width": width,
            "height": HEIGHT_M[kind], "paint": paint, "asset": None}  # fmt: skip


FLEET = [
    vehicle("car", "car", (4.3, 1.8), [0.1, 0.1, 0.12], 3), vehicle("truck", "truck", (7.1, 2.4), [0.1, 0.2, 0.3], 1),
    vehicle("bus", "bus", (12.0, 2.5), [0.5, 0.3, 0.1], 2), vehicle("bike", "bicycle", (1.7, 0.65), [0.1, 0.3, 0.1], 7),
    vehicle("moto", "motorcycle", (2.2, 0.9), [0.3, 0.1, 0.1], 8),
]  # fmt: skip


def spec_of(name="s", frames=(), time="day", weather="clear", **more):
    spec = {
        "schema": "edgekit/scene/2", "scene": name, "seed": 1, "split": "train", "mode": "poses", "fps": None,
        "image": {"width": WIDTH, "height": HEIGHT, "hfov_deg": HFOV, "samples": 1, "bounces": 1},
        "mount": {"name": "windscreen", "behind_bumper_m": 1.7, "left_m": 0.0, "height_m": 1.4},
        "classes": CLASSES, "passes": {"ids": True, "depth": True},
        "conditions": {"weather": weather, "time": time, "tags": [],
                       "sky": {"sun_elevation_deg": 40.0, "sun_azimuth_deg": 20.0, "haze": 0.5}},
        "layout": {"name": "hand", "kind": "x"},
        "ground": [
            {"class": "road", "surface": "asphalt", "z": 0.0, "outer": ROAD, "holes": []},
            {"class": "sidewalk", "surface": "slab", "z": 0.15, "outer": SLAB, "holes": [HOLE]},
        ],
        "paint": [
            {"class": "zebra", "colour": "white", "instance": 2, "points": [[-1, 8], [0, 8], [0, 11], [-1, 11]]},
            {"class": "marking", "colour": "yellow", "instance": 0, "points": [[2, 8], [3, 8], [3, 11], [2, 11]]},
        ],
        "houses": [], "booths": [], "canopies": [], "trees": [], "lamps": [], "signs": [], "heads": [], "parked": [],
        "fleet": [], "crowd": [], "assets": [], **more,
    }  # fmt: skip
    spec["frames"] = [
        {"index": k, "stem": f"{name}_{k:03d}", "seed": 50 + k, "t_s": float(k), "case": "approach", "camera": CAMERA,
         "ego": {"x": 1.0, "y": -1.5, "yaw": 0.0, "length": 4.3, "width": 1.8}, "speed_mps": 5.0, "accel_mps2": 0.0,
         "yaw_rate_rps": 0.0, "heads": {}, "vehicles": [], "people": [], "cones": [], "barriers": [], "debris": [],
         "path": [], "facts": {}, **frame}
        for k, frame in enumerate(frames)
    ]  # fmt: skip
    return spec


def heads():
    return [
        {"id": key, "instance": k, "x": x, "y": HEAD_Y, "z": HEAD_Z, "yaw": math.pi, "arrow": arrow,
         "kind": "intersection", "junction": "x", "place": "near"}
        for k, (key, (arrow, x)) in enumerate(HEADS.items(), 1)
    ]  # fmt: skip


def moves(name, x, y, yaw=0.0, **lamps):
    return {
        "name": name,
        "x": x,
        "y": y,
        "yaw": yaw,
        "speed_mps": 5.0,
        "brake": False,
        "left": False,
        "right": False,
        **lamps,
    }


def walks(name, x, y, speed):
    return {"name": name, "x": x, "y": y, "yaw": 0.6, "z": 0.0, "speed_mps": speed}


CROWD = [{"name": f"p{k}", "instance": k, "coat": [0.5, 0.1, 0.1], "height_m": 1.6} for k in (1, 2)]
SIGNS = [{"instance": 4, "x": 3.0, "y": 9.0, "yaw": math.pi, "z": 2.2, "kind": "limit", "value": 50}]
THINGS = {
    "cones": [[-2.0, 7.0], [3.0, 9.0]], "barriers": [[0.0, 12.0, 0.1]], "debris": [[1.2, 6.0, 0.5]],
    "people": [walks("p1", -3.5, 10.0, 0.0), walks("p2", 5.0, 10.0, 1.3)],
}  # fmt: skip
RIDES = {"vehicles": [moves("bike", -0.5, 8.0, 0.3), moves("moto", 2.5, 8.0, -2.0), moves("truck", -8.0, 22.0, 0.4),
                      moves("bus", 8.0, 26.0, -0.5), moves("car", 1.0, 15.0, 2.5)]}  # fmt: skip
CAR = [("dark", {}), ("brake", {"brake": True}), ("left", {"left": True}), ("right", {"right": True})]
WEDGE = """v -1 0 -2
v 1 0 -2
v 1 0 2
v -1 0 2
v -1 1.5 2
v 1 1.5 2
f 1 2 3 4
f 4 3 6 5
f 1 5 6 2
f 1 4 5
f 2 6 3
"""  # y up, 4 long: low at -z, which is its front
OWN = {
    "path": "wedge.obj",
    "class": "car",
    "length_m": 4.0,
    "forward": "-z",
    "up": "+y",
    "width_m": 2.0,
    "height_m": 1.5,
}
SCENES = {
    "lights": spec_of("lights", [{"heads": dict.fromkeys(HEADS, c)} for c in (*COLOURS, "off")] + [{}], heads=heads()),
    "night": spec_of(
        "night", [{"heads": dict.fromkeys(HEADS, c)} for c in COLOURS], "night", "rain", heads=heads()
    ),
    "own": spec_of(
        "own", [{"vehicles": [moves("own", 1.0, 9.0)]}, {"vehicles": [moves("own", 1.0, 9.0, brake=True)]}],
        fleet=[{**vehicle("own", "car", (4.0, 2.0), [0.5, 0.5, 0.5], 9), "height": 1.5, "asset": 0}], assets=[OWN],
    ),
    "things": spec_of("things", [THINGS, RIDES], crowd=CROWD, signs=SIGNS, fleet=FLEET),
    "car": spec_of("car", [{"vehicles": [moves("car", 1.0, 8.0, **lamps)]} for _, lamps in CAR], fleet=FLEET[:1]),
}  # fmt: skip


def draw(folder, spec, frames=None):
    return {
        "spec": str(folder / f"{spec['scene']}.json"),
        "out": str(folder),
        "frames": frames or list(range(len(spec["frames"]))),
        "models": str(folder / "models"),
    }


def work(folder, orders):
    """Lines that one worker says to these orders."""
    text = "".join(json.dumps(order) + "\n" for order in orders)
    done = subprocess.run(
        [blender_python(""), str(WORKER)], input=text, capture_output=True, text=True, timeout=300
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert not [line for line in lines if line["event"] == "failed"], done.stderr[-2000:]
    return lines


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """{(scene, frame): (ids, image, depth)}, all by one worker; also the second frame of "car" alone."""
    folder, found = tmp_path_factory.mktemp("view"), {}
    alone, bare = copy.deepcopy(SCENES["car"]), copy.deepcopy(SCENES["car"])
    alone["scene"], bare["scene"], bare["passes"] = "alone", "bare", {"ids": False, "depth": False}
    for spec in (alone, bare):
        for frame in spec["frames"]:
            frame["stem"] = frame["stem"].replace("car", spec["scene"])
    scenes = {**SCENES, "alone": alone, "bare": bare}
    (folder / "models").mkdir()
    (folder / "models" / OWN["path"]).write_text(WEDGE)
    for name, spec in scenes.items():
        (folder / f"{name}.json").write_text(json.dumps(spec))
    some = {"alone": [1], "bare": [0]}
    lines = work(folder, [draw(folder, spec, some.get(name)) for name, spec in scenes.items()])
    for line in lines:
        if line["event"] == "frame":
            ids, depth = folder / f"ids/{line['stem']}.png", folder / f"depth/{line['stem']}.npz"
            found[line["scene"], line["index"]] = (
                np.asarray(Image.open(ids)).astype(int) if ids.exists() else None,
                np.asarray(Image.open(folder / f"images/{line['stem']}.jpg")).astype(int),
                np.load(depth)["depth_m"] if depth.exists() else None,
            )
    return found


def project(points):
    """(n, 3) world points to (n, 2) pixels: a pinhole at CAMERA, written out."""
    p = np.atleast_2d(points) - [CAMERA["x"], CAMERA["y"], CAMERA["z"]]
    pitch, focal = math.radians(CAMERA["pitch_deg"]), WIDTH / 2 / math.tan(math.radians(HFOV) / 2)
    depth = p[:, 1] * math.cos(pitch) + p[:, 2] * math.sin(pitch)
    up = p[:, 2] * math.cos(pitch) - p[:, 1] * math.sin(pitch)
    return np.stack([WIDTH / 2 + focal * p[:, 0] / depth, HEIGHT / 2 - focal * up / depth], 1)


def box_of(points, x, y, yaw, z=0.0):
    c, s = math.cos(yaw), math.sin(yaw)
    world = [(x + c * px - s * py, y + s * px + c * py, z + pz) for px, py, pz in points]
    pixels = project(np.array(world))
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


def drawn(ids, name, instance):
    rows, columns = np.nonzero(ids == CLASSES[name] * 1000 + instance)
    assert len(rows), f"no pixel of {name} {instance}"
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]), rows, columns


@pytest.mark.parametrize("scene", ["lights", "night"])
@pytest.mark.parametrize("index, colour", list(enumerate(COLOURS)))
def test_a_lit_lens_is_in_its_place_and_plainly_its_colour(shots, scene, index, colour):
    ids, image, _ = shots[scene, index]
    for k, (_, x) in enumerate(HEADS.values(), 1):
        _, rows, columns = drawn(ids, f"lamp_{colour}", k)
        u, v = project((x, HEAD_Y, HEAD_Z + COLOURS[colour] * GAP))[0]
        assert abs(columns.mean() + 0.5 - u) < 1.2 and abs(rows.mean() + 0.5 - v) < 1.2
        red, green, blue = image[rows, columns].mean(axis=0)
        want = {
            "red": red > 1.6 * green,
            "yellow": 1.1 * green < red < 2.2 * green,
            "green": green > 1.6 * red,
        }[colour]
        assert want and max(red, green) > 90 and (colour == "green" or blue < 0.7 * max(red, green))
        assert drawn(ids, "lamp_dark", k) and drawn(ids, "head", k)
        others = [c for c in COLOURS if c != colour]
        assert not np.isin(ids, [CLASSES[f"lamp_{c}"] * 1000 + k for c in others]).any()


def test_an_arrow_points_where_it_says(shots):
    """The head of the arrow is broader than its tail: more pixels on that side."""
    ids, _, _ = shots["lights", 0]
    areas = {}
    for k, (arrow, x) in enumerate(HEADS.values(), 1):
        _, rows, columns = drawn(ids, "lamp_red", k)
        u, v = project((x, HEAD_Y, HEAD_Z + GAP))[0]
        areas[arrow] = len(rows)
        across, down = columns + 0.5 - u, rows + 0.5 - v
        spread = {"left": (down, across < 0), "right": (down, across > 0), "straight": (across, down < 0)}
        if arrow in spread:
            aside, tip = spread[arrow]
            assert np.ptp(aside[tip]) > np.ptp(aside[~tip])
    assert all(0.3 < areas[arrow] / areas["any"] < 0.8 for arrow in ("left", "straight", "right"))


def test_a_dark_head_is_there_and_one_without_colour_is_not(shots):
    lit = [CLASSES[f"lamp_{colour}"] for colour in COLOURS]
    off, gone = shots["lights", 3][0] // 1000, shots["lights", 4][0] // 1000
    assert not np.isin(off, lit).any() and (off == CLASSES["lamp_dark"]).sum() > 100
    assert (off == CLASSES["pole"]).any()
    assert not np.isin(gone, [*lit, *(CLASSES[n] for n in ("lamp_dark", "head", "pole"))]).any()


@pytest.mark.parametrize("name, instance, at", [
    ("cone", 1, THINGS["cones"][0]), ("cone", 2, THINGS["cones"][1]), ("barrier", 1, THINGS["barriers"][0]),
    ("debris", 1, THINGS["debris"][0]),
])  # fmt: skip
def test_what_lies_in_the_road_is_where_its_hull_is(shots, name, instance, at):
    ids = shots["things", 0][0]
    x, y, *yaw = at
    assert drawn(ids, name, instance)[0] == pytest.approx(
        box_of(hull(name, 0, 0, 0), x, y, yaw[0] if yaw else 0.0), abs=1.6
    )
    assert not (shots["things", 1][0] // 1000 == CLASSES[name]).any()  # and away in the next frame


@pytest.mark.parametrize("k, pace", [(0, "standing"), (1, "walking")])
def test_people_are_where_their_hull_is(shots, k, pace):
    where = THINGS["people"][k]
    points = hull("person", *SIZE_M[pace], 1.6)
    assert drawn(shots["things", 0][0], "person", k + 1)[0] == pytest.approx(
        box_of(points, where["x"], where["y"], 0.6), abs=1.6
    )


@pytest.mark.parametrize("thing", FLEET, ids=lambda thing: thing["kind"])
def test_vehicles_and_riders_are_where_their_hull_is(shots, thing):
    ids = shots["things", 1][0]
    where = next(v for v in RIDES["vehicles"] if v["name"] == thing["name"])
    points = hull(thing["kind"], thing["length"], thing["width"], thing["height"])
    box = np.clip(box_of(points, where["x"], where["y"], where["yaw"]), 0, (WIDTH, HEIGHT) * 2)
    there = drawn(ids, thing["kind"], thing["instance"])[0]
    if thing["kind"] in ("bicycle", "motorcycle"):
        seat = box_of(hull("rider", 0, 0, 0), where["x"], where["y"], where["yaw"])
        assert drawn(ids, "rider", thing["instance"])[0] == pytest.approx(seat, abs=2.1)
        assert there[3] == pytest.approx(box[3], abs=1.6)
        assert (there[:2] >= box[:2] - 1.6).all() and (there[2:] <= box[2:] + 1.6).all()
    else:
        hidden = 4.0 if thing["kind"] == "truck" else 1.6  # a corner behind who comes before it
        assert there == pytest.approx(box, abs=hidden)


def test_a_sign_faces_who_comes_and_its_number_is_dark(shots):
    ids, image, _ = shots["things", 0]
    box, rows, columns = drawn(ids, "sign", 4)
    assert box == pytest.approx(box_of(hull("sign", 0, 0, 0), 3.0, 9.0, math.pi, 2.2), abs=1.2)
    red = (image[rows, columns, 0] > 1.5 * image[rows, columns, 1]).mean()
    inner = (np.abs(columns - columns.mean()) < 3) & (np.abs(rows - rows.mean()) < 3)
    assert red > 0.15 and np.ptp(image[rows[inner], columns[inner]].mean(axis=1)) > 60


def test_the_ground_has_its_hole_and_its_height(shots):
    ids, _, depth = shots["lights", 4]
    for at, name in (
        ((11, 25.5, -0.08), "ground"),
        ((11, 30, 0.15), "sidewalk"),
        ((11, 17, 0.15), "sidewalk"),
        ((-9, 17, 0), "road"),
    ):
        u, v = project(at)[0].astype(int)
        assert ids[v, u] == CLASSES[name] * 1000
        assert depth[v, u] == pytest.approx(at[1] - CAMERA["y"], rel=0.05)


def test_paint_lies_on_the_road_with_its_instance(shots):
    ids, image, _ = shots["lights", 4]
    for at, number in (
        ((-0.5, 9.5, 0), CLASSES["zebra"] * 1000 + 2),
        ((2.5, 9.5, 0), CLASSES["marking"] * 1000),
    ):
        u, v = project(at)[0].astype(int)
        assert ids[v, u] == number
    white, yellow = (image[v, u] for u, v in (project((x, 9.5, 0))[0].astype(int) for x in (-0.5, 2.5)))
    assert np.ptp(white) < 60 and yellow[0] > 1.4 * yellow[2]


def test_brake_lamps_and_indicators_burn_on_their_side(shots):
    shot = {name: shots["car", k] for k, (name, _) in enumerate(CAR)}
    ids = shot["dark"][0]
    middle = project((1.0, 8.0, 1.0))[0][0]
    for name in ("brake", "left", "right"):
        assert np.array_equal(shot[name][0], ids)  # a lit lamp moves no mask
        more = (shot[name][1] - shot["dark"][1]) * (ids == CLASSES["car"] * 1000 + 3)[..., None]
        rows, columns = np.nonzero(more[..., 0] > 60)
        assert len(rows) > 5
        green = more[rows, columns, 1].mean()
        assert green < 25 if name == "brake" else green > 25
        sides = columns + 0.5 < middle
        assert {"brake": 0.2 < sides.mean() < 0.8, "left": sides.all(), "right": not sides.any()}[name]


def test_the_users_own_model_is_drawn_in_place_and_brakes(shots):
    ids, dark, _ = shots["own", 0]
    wedge = [(x, y, z) for x in (-1, 1) for y, z in ((-2, 0), (2, 0), (-2, 1.5))]
    assert drawn(ids, "car", 9)[0] == pytest.approx(box_of(wedge, 1.0, 9.0, 0.0), abs=1.6)
    assert ((shots["own", 1][1] - dark)[..., 0] > 60).sum() > 10


def test_a_frame_does_not_depend_on_those_before_it(shots):
    for one, other in zip(shots["alone", 1], shots["car", 1], strict=True):
        assert np.array_equal(one, other)


def test_ids_can_be_left_out(shots):
    ids, image, depth = shots["bare", 0]
    assert ids is None and depth is None
    assert np.array_equal(image, shots["car", 0][1])
