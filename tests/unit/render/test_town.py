"""What stands beside a road: off the lanes, out of one another's way, no head hidden, by seed."""

import json
import math
import os
import random
import subprocess
import sys
from itertools import combinations

import pytest
from shapely import STRtree
from shapely.geometry import LineString, Point, Polygon
from shapely.ops import unary_union

from edgekit.render.arms import extended
from edgekit.render.ground import ground_of
from edgekit.render.shapes import HEIGHT_M
from edgekit.render.town import PAINT, SHOP, WALL, sample_town
from edgekit.render.traffic.geometry import heading, length, point_at, project
from edgekit.render.traffic.motion import SIZES
from tests.unit.render.streets import EVERY, layout_named

KEYS = {"houses", "booths", "canopies", "trees", "lamps", "signs", "parked"}


@pytest.fixture(params=EVERY, scope="module")
def place(request):
    """(layout, ground, {surface: shape}, three towns)"""
    layout = layout_named(request.param)
    ground = ground_of(layout)
    areas = {name: [] for name in ("asphalt", "kerb", "slab", "island")}
    for area in ground["ground"]:
        areas[area["surface"]].append(Polygon(area["outer"], area["holes"]))
    towns = [sample_town(layout, ground, random.Random(seed)) for seed in (1, 2, 3)]
    return layout, ground, {name: unary_union(shapes) for name, shapes in areas.items()}, towns


def box(thing, across, along):
    (hx, hy), (x, y) = heading(thing["yaw"]), (thing["x"], thing["y"])
    corners = [(i * across / 2, j * along / 2) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return Polygon([(x + u * hy + v * hx, y - u * hx + v * hy) for u, v in corners])


def house_shapes(town):
    return [box(house, house["w"], house["d"]) for house in town["houses"]]


def apart(a, b):
    return math.hypot(a["x"] - b["x"], a["y"] - b["y"])


def beside(layout, thing):
    """(driving lane, its yaw there, metres right of its edge) of the nearest driving lane."""
    found = []
    for lane in (lane for lane in layout.lanes if lane.kind == "driving"):
        line = extended(layout, lane)
        s, left = project(line, thing["x"], thing["y"])
        found.append((abs(left), lane.id, lane, point_at(line, s)[2], -left - lane.width_m / 2))
    return min(found)[2:]


def test_a_seed_gives_one_town_and_another_seed_another(place):
    layout, ground, _, towns = place
    again = sample_town(layout, ground, random.Random(1))
    assert again == towns[0] and json.loads(json.dumps(again)) == again and set(again) == KEYS
    assert towns[0]["houses"] != towns[1]["houses"] and towns[0]["trees"] != towns[1]["trees"]


def test_another_process_gives_the_same_town():
    code = (
        "import hashlib, json, random; from edgekit.render.ground import ground_of;"
        "from edgekit.render.town import sample_town; from edgekit.render.traffic.crossroads import crossroads;"
        "g = ground_of(crossroads()); t = sample_town(crossroads(), g, random.Random(7));"
        "print(hashlib.sha256(json.dumps([g, t]).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": salt},
        ).stdout
        for salt in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_houses_stand_behind_the_pavement_and_apart(place):
    _, _, areas, towns = place
    ground = unary_union(list(areas.values()))
    for town in towns:
        shapes = house_shapes(town)
        assert len(shapes) > 50
        for house, shape in zip(town["houses"], shapes, strict=True):
            assert shape.intersection(ground).area < 0.01
            assert shape.distance(ground) < 1.0
            assert 5 <= house["w"] <= 17 and 10 <= house["d"] <= 12 and 2 <= house["floors"] <= 6
            assert tuple(house["wall"]) in WALL and tuple(house["shop"]) in SHOP
        pairs = STRtree(shapes).query(shapes, predicate="intersects").T
        assert (
            max((shapes[i].intersection(shapes[j]).area for i, j in pairs if i < j), default=0) < 0.2
        )  # 1 cm along a wall


def test_houses_look_to_the_street(place):
    _, _, areas, towns = place
    for house in towns[0]["houses"]:
        ahead = heading(house["yaw"])
        step = {"yaw": house["yaw"], "x": house["x"] + 0.5 * ahead[0], "y": house["y"] + 0.5 * ahead[1]}
        front = LineString(list(box(step, house["w"], house["d"]).exterior.coords)[2:4])
        assert front.intersects(
            areas["slab"]
        )  # half a metre before the front; a part may overhang a row's end


def test_houses_close_the_view_at_the_end_of_a_road(place):
    layout, _, _, towns = place
    for town in towns:
        houses = unary_union(house_shapes(town))
        for lane in (lane for lane in layout.lanes if lane.to_junction is None):
            line = extended(layout, lane)
            end = length(line)
            eye = point_at(line, end - 100)[:2]
            for side in (-12, -8, -4, 0, 4, 8, 12):
                far = point_at(line, end + 8, side)[:2]
                seen = LineString([eye, [e + 1.6 * (f - e) for e, f in zip(eye, far, strict=True)]])
                assert seen.intersects(houses), (lane.id, side)


def test_posts_and_trees_stand_on_the_pavement_in_nobodys_way(place):
    layout, _, areas, towns = place
    raised = areas["slab"].union(areas["kerb"]).buffer(0.01)
    heads = [{"x": head.x, "y": head.y} for head in layout.heads]
    for town in towns:
        houses = STRtree(house_shapes(town))
        tolled = any(j.kind == "toll" for j in layout.junctions)
        for kind in ("trees", "lamps", "signs"):
            assert town[kind]
            for thing in town[kind]:
                here = Point(thing["x"], thing["y"])
                assert not areas["asphalt"].contains(here)
                assert not len(houses.query(here, predicate="within"))
                assert raised.contains(here) or (tolled and kind == "trees")
                assert all(apart(thing, head) >= 3 for head in heads)
        for tree in town["trees"]:
            assert all(apart(tree, post) >= 2.99 for post in town["lamps"] + town["signs"])
            assert areas["asphalt"].distance(Point(tree["x"], tree["y"])) > 1.18
        for sign in town["signs"]:
            assert all(apart(sign, lamp) >= 2.99 for lamp in town["lamps"])


def test_no_tree_hides_a_head_from_who_comes_near(place):
    layout, _, _, towns = place
    for line in layout.stop_lines:
        lane = layout.lane[line.lane]
        # 25 m of the way to the line, from the lane to 4 m right of it
        end, right = length(lane.points), -lane.width_m / 2
        corners = [(end - 24.5, 0), (end - 24.5, right - 4), (end, right - 4), (end, 0)]
        view = Polygon([point_at(lane.points, s, left)[:2] for s, left in corners])
        for town in towns:
            assert not any(view.contains(Point(tree["x"], tree["y"])) for tree in town["trees"]), lane.id


def test_lamps_reach_over_the_road_and_the_sides_take_turns(place):
    _, _, areas, towns = place
    for lamp in towns[0]["lamps"]:
        ahead = heading(lamp["yaw"])
        assert areas["asphalt"].contains(Point(lamp["x"] + 1.7 * ahead[0], lamp["y"] + 1.7 * ahead[1]))
    for a, b in combinations(towns[0]["lamps"], 2):
        assert apart(a, b) > (54 if math.cos(a["yaw"] - b["yaw"]) > 0.7 else 23)
    for lamp in towns[0]["lamps"]:  # and still none is far from the next one
        assert min(apart(lamp, other) for other in towns[0]["lamps"] if other is not lamp) < 60


def test_signs_tell_the_limit_to_those_who_drive_towards_them(place):
    layout, _, _, towns = place
    signs = towns[0]["signs"]
    assert [sign["instance"] for sign in signs] == list(range(1, len(signs) + 1))
    told = set()
    for sign in signs:
        lane, yaw, beyond = beside(layout, sign)
        assert math.cos(sign["yaw"] - yaw) < -0.999
        assert 0.5 < beyond < 6.0
        assert (sign["kind"], sign["value"], sign["z"]) == ("limit", lane.limit_kmh, 2.2)
        assert all(math.hypot(sign["x"] - head.x, sign["y"] - head.y) >= 12 for head in layout.heads)
        told.add(lane.road)
    long = {lane.road for lane in layout.lanes if lane.kind == "driving" and length(lane.points) > 50}
    assert long <= told


def test_parked_cars_stand_on_the_pavement_as_the_traffic_drives(place):
    layout, _, areas, towns = place
    lines = [LineString([line.left, line.right]) for line in layout.stop_lines]
    lines += [LineString(c.points).buffer(c.width_m / 2) for c in layout.crossings]
    clear, lanes = unary_union(lines), areas["asphalt"].buffer(-0.1)
    for town in towns:
        parked = town["parked"]
        assert [car["instance"] for car in parked] == list(range(1, len(parked) + 1))
        assert len({car["name"] for car in parked}) == len(parked)
        assert bool(parked) != any(j.kind == "toll" for j in layout.junctions)
        bodies = [box(car, car["width"], car["length"]) for car in parked]
        posts = unary_union(
            [Point(o["x"], o["y"]) for kind in ("trees", "lamps", "signs") for o in town[kind]]
        )
        for car, body in zip(parked, bodies, strict=True):
            _, yaw, beyond = beside(layout, car)
            assert math.cos(car["yaw"] - yaw) > 0.99 and 0.5 < beyond < 2.5
            assert body.distance(clear) >= 13.9 and not body.intersects(lanes)
            assert body.distance(posts) > 0.3
            assert (car["length"], car["width"]) in SIZES["car"] and car["height"] == HEIGHT_M["car"]
            assert tuple(car["paint"]) in PAINT and car["asset"] is None and car["kind"] == "car"
            assert car["z"] in (0.0, 0.15)
        pairs = STRtree(bodies).query(bodies, predicate="intersects").T if bodies else []
        assert all(i == j for i, j in pairs)


def test_density_decides_how_much_there_is():
    layout = layout_named("crossroads")
    ground = ground_of(layout)
    none, all_of_it = (
        sample_town(layout, ground, random.Random(1), density={"trees": d, "parked": d}) for d in (0.0, 1.0)
    )
    assert not none["trees"] and not none["parked"]
    assert len(all_of_it["trees"]) > 50 and len(all_of_it["parked"]) > 80


def test_a_crossroads_has_no_booths_and_no_canopy():
    layout = layout_named("crossroads")
    town = sample_town(layout, ground_of(layout), random.Random(1))
    assert town["booths"] == town["canopies"] == []


@pytest.mark.sumo
def test_a_toll_plaza_has_booths_behind_its_heads_one_roof_and_no_houses():
    layout = layout_named("toll")
    ground = ground_of(layout)
    town = sample_town(layout, ground, random.Random(1))
    plaza = next(Polygon(j.polygon) for j in layout.junctions if j.kind == "toll")
    assert min(plaza.distance(shape) for shape in house_shapes(town)) > 40
    assert any(plaza.distance(Point(tree["x"], tree["y"])) < 30 for tree in town["trees"])
    lanes = [layout.lane[line.lane] for line in layout.stop_lines]
    islands = unary_union([Polygon(a["outer"]) for a in ground["ground"] if a["surface"] == "island"])
    for booth in town["booths"]:
        shape = box(booth, 0.8, 2.0)
        assert islands.distance(Point(booth["x"], booth["y"])) < 0.05
        assert all(
            LineString(link.points).distance(shape) > 1.5 for link in layout.links
        )  # half a truck and some
    for head in layout.heads:
        to_driver = heading(head.yaw)
        mine = min(town["booths"], key=lambda booth: math.hypot(booth["x"] - head.x, booth["y"] - head.y))
        behind = -(mine["x"] - head.x) * to_driver[0] - (mine["y"] - head.y) * to_driver[1]
        assert 1.3 < behind < 4, head.id
    (canopy,) = town["canopies"]
    assert canopy["z"] == 5.2
    roof = box(canopy, canopy["w"], canopy["d"])
    assert all(roof.buffer(0.01).contains(Point(*lane.points[-1])) for lane in lanes)
    post = box(canopy, canopy["w"] - 0.6, canopy["d"] - 0.6)
    asphalt = unary_union(
        [Polygon(a["outer"], a["holes"]) for a in ground["ground"] if a["surface"] == "asphalt"]
    )
    assert not any(asphalt.buffer(0.2).contains(Point(corner)) for corner in post.exterior.coords)
    assert not any(roof.contains(Point(o["x"], o["y"])) for kind in ("lamps", "trees") for o in town[kind])
