"""The ground along any road: disjoint areas, vehicles on asphalt, people on pavement, paint where it belongs."""

import json
from itertools import combinations

import pytest
from shapely.geometry import LineString, Point, Polygon
from shapely.ops import unary_union

from edgekit.render.arms import extended
from edgekit.render.ground import ground_of
from edgekit.render.traffic.geometry import heading, length, point_at
from tests.unit.render.streets import EVERY, layout_named

SURFACES = {"asphalt": ("road", 0.0), "kerb": ("sidewalk", 0.16), "slab": ("sidewalk", 0.15)}
SURFACES["island"] = ("sidewalk", 0.16)


@pytest.fixture(params=EVERY, scope="module")
def street(request):
    """(layout, its ground, {surface: shape})"""
    layout = layout_named(request.param)
    ground = ground_of(layout)
    areas = {name: [] for name in SURFACES}
    for area in ground["ground"]:
        areas[area["surface"]].append(Polygon(area["outer"], area["holes"]))
    return layout, ground, {name: unary_union(shapes) for name, shapes in areas.items()}


def shapes(ground, **wanted):
    return [
        Polygon(p["points"]) for p in ground["paint"] if all(p[key] == value for key, value in wanted.items())
    ]


def test_it_is_plain_rounded_and_the_same_again(street):
    layout, ground, _ = street
    assert json.loads(json.dumps(ground)) == ground == ground_of(layout)
    points = [p for a in ground["ground"] for ring in (a["outer"], *a["holes"]) for p in ring]
    points += [p for shape in ground["paint"] for p in shape["points"]]
    assert all(value == round(value, 3) for point in points for value in point)


def test_areas_are_valid_wound_as_the_spec_says_and_disjoint(street):
    _, ground, areas = street
    for area in ground["ground"]:
        assert (area["class"], area["z"]) == SURFACES[area["surface"]]
        assert Polygon(area["outer"], area["holes"]).is_valid
        assert Polygon(area["outer"]).exterior.is_ccw
        assert not any(Polygon(hole).exterior.is_ccw for hole in area["holes"])
    for a, b in combinations(areas.values(), 2):
        assert a.intersection(b).area < 0.01 * max(1.0, a.length / 100)  # a millimetre along an edge


def test_vehicles_are_on_asphalt_and_people_on_pavement(street):
    layout, _, areas = street
    raised = areas["slab"].union(areas["kerb"]).buffer(0.01)
    for lane in layout.lanes:
        under = raised if lane.kind == "sidewalk" else areas["asphalt"]
        assert LineString(lane.points).difference(under).length < 0.05, lane.id
        assert LineString(extended(layout, lane)).difference(under).length < 0.05, lane.id
    for way in (*layout.links, *layout.crossings):
        assert LineString(way.points).difference(areas["asphalt"]).length < 0.05, way.id


def test_a_road_goes_on_where_the_layout_ends_and_only_there(street):
    layout, _, _ = street
    entered = {link.to_lane for link in layout.links} | {link.from_lane for link in layout.links}
    for lane in (lane for lane in layout.lanes if lane.kind == "driving"):
        more = length(extended(layout, lane)) - length(lane.points)
        leads_in = not any(link.to_lane == lane.id for link in layout.links)
        leads_out = lane.to_junction is None
        assert more == pytest.approx(120 * (leads_in + leads_out)), lane.id
        assert lane.id in entered


def test_a_kerb_lies_between_asphalt_and_pavement(street):
    _, _, areas = street
    assert areas["asphalt"].distance(areas["slab"]) == pytest.approx(0.18, abs=0.01)
    assert (
        areas["asphalt"].boundary.difference(areas["kerb"].union(areas["island"]).buffer(0.01)).length < 0.1
    )


def test_signal_heads_and_their_posts_stand_off_the_asphalt(street):
    layout, _, areas = street
    everything = unary_union(list(areas.values()))
    for head in layout.heads:
        ahead = heading(head.yaw)
        post = Point(head.x - 0.25 * ahead[0], head.y - 0.25 * ahead[1])
        assert not areas["asphalt"].contains(post) and everything.buffer(0.01).contains(post), head.id


def test_islands_part_the_lanes_of_a_toll_plaza_and_stand_nowhere_else(street):
    layout, _, areas = street
    tolls = [line for line in layout.stop_lines if layout.junction[line.junction].kind == "toll"]
    assert bool(tolls) == (not areas["island"].is_empty)
    for line in tolls:
        assert (
            areas["island"].buffer(0.01).contains(Point(line.right))
            or areas["kerb"].distance(Point(line.right)) < 0.01
        )
        assert Point(*layout.lane[line.lane].points[-1]).distance(areas["island"]) > 1.25  # half a truck


def test_paint_is_convex_and_on_asphalt(street):
    _, ground, areas = street
    asphalt = areas["asphalt"].buffer(0.005)
    for shape in ground["paint"]:
        polygon = Polygon(shape["points"])
        assert polygon.is_valid and polygon.exterior.is_ccw and polygon.area > 0
        assert polygon.convex_hull.area - polygon.area < 1e-3
        assert asphalt.contains(polygon)
        assert shape["class"] in ("marking", "zebra") and shape["colour"] in ("white", "yellow")
        assert (shape["instance"] > 0) == (shape["class"] == "zebra")


def test_nothing_is_painted_inside_a_junction_but_zebras(street):
    layout, ground, _ = street
    inside = unary_union([Polygon(j.polygon) for j in layout.junctions]).buffer(-0.05)
    assert not any(shape.intersects(inside) for shape in shapes(ground, **{"class": "marking"}))


def test_every_crossing_has_a_zebra_from_kerb_to_kerb(street):
    layout, ground, areas = street
    assert ground["crossings"] == {c.id: k for k, c in enumerate(layout.crossings, 1)}
    for crossing in layout.crossings:
        stripes = shapes(ground, instance=ground["crossings"][crossing.id])
        assert len(stripes) == pytest.approx(length(crossing.points), abs=1)
        zebra, line = unary_union(stripes), LineString(crossing.points)
        gone = sorted(line.project(Point(stripe.centroid)) for stripe in stripes)
        assert gone[0] < 1.0 and gone[-1] > line.length - 1.0
        assert max(b - a for a, b in zip(gone, gone[1:], strict=False)) == pytest.approx(1.0, abs=0.2)
        assert zebra.intersection(line).length == pytest.approx(line.length / 2, rel=0.15)
        for side in (-0.4, 0.4):  # as wide as the crossing
            ends = [point_at(crossing.points, s, side * crossing.width_m)[:2] for s in (0, line.length)]
            assert zebra.intersects(LineString(ends))


def test_stop_lines_end_where_their_lanes_do(street):
    layout, ground, areas = street
    white = unary_union(shapes(ground, colour="white", **{"class": "marking"}))
    for line in layout.stop_lines:
        lane = layout.lane[line.lane]
        end = length(lane.points)
        for side in (-0.3, 0.0, 0.3):
            across = [point_at(lane.points, end - s, side * lane.width_m)[:2] for s in (3, 0)]
            assert white.intersection(LineString(across)).length == pytest.approx(0.45, abs=0.01)
            assert white.distance(Point(across[1])) < 0.01


def test_yellow_parts_the_two_ways_and_white_the_lanes_of_one(street):
    layout, ground, _ = street
    yellow, white = (
        unary_union(shapes(ground, colour=c, **{"class": "marking"})) for c in ("yellow", "white")
    )
    islands = unary_union([Polygon(a["outer"]) for a in ground["ground"] if a["surface"] == "island"])
    driving = [lane for lane in layout.lanes if lane.kind == "driving"]
    for lane in driving:
        total = length(lane.points)
        left_most = not any(o.road == lane.road and o.index > lane.index for o in driving)
        # from before the stop line's depth and its arrows' lane to the lane's own left edge, all along
        for share in (0.15, 0.4, 0.62):
            s = share * total
            x, y, _ = point_at(lane.points, s, lane.width_m / 2)
            if islands.distance(Point(x, y)) < 8:
                continue
            near = LineString([point_at(lane.points, s, lane.width_m / 2 + a)[:2] for a in (-0.3, 0.3)])
            assert yellow.intersects(near) == left_most, (lane.id, share)
            if not left_most:
                long = LineString([point_at(lane.points, s + a, lane.width_m / 2)[:2] for a in (-5, 5)])
                assert 2.9 < white.intersection(long).length < 6.2, (lane.id, share)


def test_a_line_is_solid_before_a_stop_line(street):
    layout, ground, areas = street
    white = unary_union(shapes(ground, colour="white", **{"class": "marking"}))
    for line in layout.stop_lines:
        lane = layout.lane[line.lane]
        if not any(o.road == lane.road and o.index == lane.index + 1 for o in layout.lanes):
            continue
        end = length(lane.points)
        solid = LineString([point_at(lane.points, end - s, lane.width_m / 2)[:2] for s in (12, 0.5)])
        assert solid.intersection(areas["asphalt"]).difference(white).length < 0.1


@pytest.mark.parametrize(
    ("turns", "left", "ahead", "right"),
    [
        (("straight",), 0, 1, 0), (("left",), 1, 0, 0), (("right",), 0, 0, 1), (("left", "straight"), 1, 1, 0),
        (("right", "straight"), 0, 1, 1), (("left", "right"), 1, 0, 1), (("left", "right", "straight"), 1, 1, 1),
    ],
)  # fmt: skip
def test_arrows_show_the_turns_of_their_lane(turns, left, ahead, right):
    layout = layout_named("crossroads")
    lane = layout.lane["s_in_1"]  # along +y, at x = 4.95, up to y = -16
    lanes = tuple(o.model_copy(update={"turns": turns}) if o.id == lane.id else o for o in layout.lanes)
    paint = shapes(ground_of(layout.model_copy(update={"lanes": lanes})))
    for tip in (8.0, 28.0):
        box = Polygon(
            [(4.95 + x, -16 - tip + y) for x, y in ((-1.4, -5.0), (1.4, -5.0), (1.4, 0.1), (-1.4, 0.1))]
        )
        arrow = unary_union([shape for shape in paint if box.contains(shape)])
        x0, y0, x1, y1 = arrow.bounds
        assert (x0 < 4.95 - 0.8, y1 > -16 - tip - 0.3, x1 > 4.95 + 0.8) == (left, ahead, right)
        assert 2.5 < y1 - y0 < 5.0
        # one that only turns has no stub ahead
        stub = LineString([(4.95, -16 - tip - 1.6), (4.95, -16 - tip)])
        assert stub.intersects(arrow) == ahead
