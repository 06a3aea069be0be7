"""Layouts: what they hold agrees with itself, and signal heads stand where the rule says."""

import json
import math

import pytest

from edgekit.core.errors import UserError
from edgekit.render.traffic.crossroads import crossroads
from edgekit.render.traffic.geometry import crossing_at, heading, inside, length, point_at, project, wrap
from edgekit.render.traffic.heads import colour
from edgekit.render.traffic.layout import Layout


def test_json_changes_nothing(a_run):
    layout = a_run[0].layout
    assert Layout.from_json(layout.to_json()) == layout
    assert json.loads(layout.to_json())["schema"] == "edgekit/layout/1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "schema is None"),
        ('{"schema": "edgekit/layout/9"}', "edgekit/layout/9"),
        ('{"schema": "edgekit/layout/1", "name": "x"}', "lanes"),
    ],
)
def test_what_is_no_layout(text, said):
    with pytest.raises(UserError) as caught:
        Layout.from_json(text)
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 3


def test_links_join_their_lanes_and_turn_as_they_say(a_run):
    layout = a_run[0].layout
    assert layout.links
    for link in layout.links:
        a, b = layout.lane[link.from_lane], layout.lane[link.to_lane]
        assert (
            math.dist(link.points[0], a.points[-1]) < 0.05 and math.dist(link.points[-1], b.points[0]) < 0.05
        )
        assert a.to_junction == link.junction and link.turn in a.turns
        bend = wrap(point_at(b.points, 0)[2] - point_at(a.points, length(a.points))[2])
        assert link.turn == ("straight" if abs(bend) < 0.5 else "left" if bend > 0 else "right")


def test_stop_lines_lie_across_the_end_of_their_lane(a_run):
    layout = a_run[0].layout
    assert {line.lane for line in layout.stop_lines} == {
        link.from_lane for link in layout.links if layout.junction[link.junction].crossroad
    }
    for line in layout.stop_lines:
        lane = layout.lane[line.lane]
        end, yaw = lane.points[-1], point_at(lane.points, length(lane.points))[2]
        ahead = heading(yaw)
        assert math.dist(line.left, line.right) == pytest.approx(lane.width_m)
        assert math.dist(line.left, end) == pytest.approx(lane.width_m / 2)
        across = (line.left[0] - line.right[0], line.left[1] - line.right[1])
        assert across[0] * ahead[0] + across[1] * ahead[1] == pytest.approx(0, abs=1e-9)
        assert -across[0] * ahead[1] + across[1] * ahead[0] > 0  # left is on the left
        for before in (0.0, 3.0, 20.0):
            x, y, _ = point_at(lane.points, length(lane.points) - before, 0.7)
            assert layout.stop_line_m(line.lane, x, y) == pytest.approx(before, abs=1e-6)


def test_a_lane_is_found_under_its_points(a_run):
    layout = a_run[0].layout
    for lane in layout.lanes:
        for share in (0.1, 0.5, 0.9):
            for left in (-0.4, 0.0, 0.4):
                x, y, _ = point_at(lane.points, share * length(lane.points), left * lane.width_m)
                assert layout.lane_at(x, y) == lane.id
    assert layout.lane_at(1e4, 1e4) is None
    for junction in layout.junctions:
        middle = [sum(axis) / len(junction.polygon) for axis in zip(*junction.polygon, strict=True)]
        assert layout.junction_at(*middle) == junction.id


def test_crossings_lie_just_behind_stop_lines(a_run):
    layout = a_run[0].layout
    for crossing in layout.crossings:
        links = [link for link in layout.links if link.junction == crossing.junction]
        at = [(link, crossing_at(link.points, *crossing.points)) for link in links]
        entered = [(link, s) for link, s in at if s is not None and s - crossing.width_m / 2 < 2]
        roads = {layout.lane[link.from_lane].road for link, _ in entered}
        assert len(roads) == 1, crossing.id  # it crosses one approach, and all lanes of it
        lanes = {link.from_lane for link in layout.links if layout.lane[link.from_lane].road in roads}
        assert {link.from_lane for link, _ in entered} == lanes
        assert all(s - crossing.width_m / 2 > -0.1 for _, s in entered)


def shown(layout, steps):
    """{(light, index): its colours over the run}, as the simulator gave them."""
    return {
        (light, k): [colour(step.lights[light][k]) for step in steps]
        for light, state in steps[0].lights.items()
        for k in range(len(state))
    }


def test_every_governed_lane_has_heads_whose_letters_change_together(a_run):
    traffic, steps = a_run
    layout, colours = traffic.layout, shown(traffic.layout, steps)
    for place in ("near", "far"):
        for junction in layout.junctions:
            links = [
                link for link in layout.links
                if link.signal and link.junction == junction.id and layout.lane[link.from_lane].kind == "driving"
            ]  # fmt: skip
            heads = [h for h in layout.heads if h.junction == junction.id and h.place == place]
            if place == "far" and junction.kind == "toll":
                assert heads == []
                continue
            held = sorted((h.light, k) for h in heads for k in h.indices)
            assert held == sorted((link.signal.light, link.signal.index) for link in links)
            for head in heads:
                assert len({tuple(colours[head.light, k]) for k in head.indices}) == 1
                mine = [link for link in links if link.signal.index in head.indices]
                assert set(head.lanes) == {link.from_lane for link in mine}
                if head.arrow != "any":
                    assert {link.turn for link in mine} == {head.arrow}
            for a in heads:  # two heads of one approach tell different things; a toll's lanes have one each
                for b in heads:
                    if a is not b and junction.kind != "toll" and roads(layout, a) == roads(layout, b):
                        assert colours[a.light, a.indices[0]] != colours[b.light, b.indices[0]]


def roads(layout, head):
    return {layout.lane[lane].road for lane in head.lanes}


def test_heads_stand_beside_the_road_and_look_at_their_drivers(a_run):
    layout = a_run[0].layout
    for head in layout.heads:
        assert 2.5 <= head.z <= 3.2
        lane = layout.lane[head.lanes[0]]
        x, y, yaw = point_at(lane.points, length(lane.points))
        assert abs(wrap(head.yaw - yaw)) == pytest.approx(math.pi, abs=1e-3)
        ahead = heading(yaw)
        forward = (head.x - x) * ahead[0] + (head.y - y) * ahead[1]
        right = (head.x - x) * ahead[1] - (head.y - y) * ahead[0]
        if head.place == "near":
            assert forward == pytest.approx(0, abs=0.01) and right >= lane.width_m / 2 - 0.01
        else:
            assert forward > 5 and not inside(layout.junction[head.junction].polygon, head.x, head.y)
        for way in (*layout.lanes, *layout.links):
            s, left = project(way.points, head.x, head.y)
            if getattr(way, "kind", "") != "sidewalk" and head.kind != "toll":
                assert abs(left) > way.width_m / 2, (head.id, way.id)
            elif head.kind == "toll":  # on the island between two lanes
                assert abs(left) >= way.width_m / 2 - 0.02, (head.id, way.id)


def test_the_built_in_crossroads():
    layout = crossroads()
    assert [(j.id, j.kind, j.arms, j.signalled) for j in layout.junctions] == [("x", "x", 4, True)]
    assert len(layout.lanes) == 24 and len(layout.links) == 16 and len(layout.crossings) == 4
    assert len(layout.heads) == 8 and {head.arrow for head in layout.heads} == {"any"}
    assert layout.lane["s_in_2"].points == ((1.65, -150), (1.65, -16))  # keeps right
    assert crossroads() == layout


@pytest.mark.parametrize(
    ("letter", "is_"), [("G", "g"), ("g", "g"), ("Y", "y"), ("r", "r"), ("O", "o"), ("s", "r")]
)
def test_letters_have_a_colour(letter, is_):
    assert colour(letter) == is_
