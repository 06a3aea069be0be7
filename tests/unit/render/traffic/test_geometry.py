"""Polylines: positions along and beside them agree both ways."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgekit.render.traffic.geometry import (
    crossing_at,
    heading,
    inside,
    length,
    offset,
    point_at,
    project,
    wrap,
    yaw_between,
)  # fmt: skip

metres = st.floats(-500, 500, allow_nan=False)
points = st.tuples(metres, metres)
angles = st.floats(-20, 20)


@st.composite
def gentle_lines(draw):
    """Lines as roads are: pieces of 5 to 50 m that turn by less than 30 degrees each."""
    yaw, line = draw(st.floats(-math.pi, math.pi)), [draw(points)]
    for _ in range(draw(st.integers(1, 6))):
        ahead, step = heading(yaw), draw(st.floats(5, 50))
        line.append((line[-1][0] + step * ahead[0], line[-1][1] + step * ahead[1]))
        yaw += draw(st.floats(-0.5, 0.5))
    return line


@given(angles)
def test_a_yaw_and_its_direction_are_one(yaw):
    assert -math.pi < wrap(yaw) <= math.pi
    assert heading(wrap(yaw)) == pytest.approx(heading(yaw), abs=1e-9)
    assert wrap(yaw_between((3.0, 4.0), (3 + heading(yaw)[0], 4 + heading(yaw)[1])) - yaw) == pytest.approx(
        0, abs=1e-9
    )


def test_yaw_is_that_of_the_camera():
    # camera.py: 0 looks along +y, and positive turns left
    assert heading(0) == (0, 1) and heading(math.pi / 2) == pytest.approx((-1, 0))
    assert yaw_between((0, 0), (-1, 0)) == pytest.approx(math.pi / 2)
    from edgekit.render.camera import Camera

    for yaw in (0.3, 1.9, -2.5):
        x, y = heading(yaw)
        seen = Camera(100, 100, 60.0, 0, 0, 0, yaw_deg=math.degrees(yaw)).project((10 * x, 10 * y, 0))
        assert seen == pytest.approx((50, 50, 10))


@given(gentle_lines(), st.floats(0, 1), st.floats(-1.9, 1.9))
def test_projecting_a_point_beside_a_line_gives_it_back(line, share, left):
    s = share * length(line)
    # near a corner the other piece may be nearer
    corners = [
        sum(math.dist(a, b) for a, b in zip(line[:k], line[1 : k + 1], strict=False))
        for k in range(1, len(line) - 1)
    ]
    assume(all(abs(s - corner) > 1.5 for corner in corners))
    x, y, _ = point_at(line, s, left)
    others = [abs(project([a, b], x, y)[1]) for a, b in zip(line, line[1:], strict=False)]
    assume(min(others) > abs(left) - 1e-6)
    found = project(line, x, y)
    assert found == pytest.approx((s, left), abs=1e-6)


@given(gentle_lines(), st.floats(0.5, 3), st.sampled_from([-1, 1]))
def test_a_shifted_line_keeps_its_distance(line, left, side):
    left *= side
    moved = offset(line, left)
    for (a, b), (c, d) in zip(
        zip(line, line[1:], strict=False), zip(moved, moved[1:], strict=False), strict=True
    ):
        ahead = heading(yaw_between(a, b))
        for old, new in ((a, c), (b, d)):
            across = -(new[0] - old[0]) * ahead[1] + (new[1] - old[1]) * ahead[0]
            assert across == pytest.approx(left, abs=1e-6)


@given(gentle_lines())
def test_the_ends_of_a_line_and_beyond(line):
    total = length(line)
    assert point_at(line, 0)[:2] == pytest.approx(line[0], abs=1e-6)
    assert point_at(line, total)[:2] == pytest.approx(line[-1], abs=1e-6)
    x, y, yaw = point_at(line, total + 7)
    assert math.dist((x, y), line[-1]) == pytest.approx(7, abs=1e-6)
    assert yaw == pytest.approx(yaw_between(*line[-2:]))
    assert project(line, x, y)[0] == pytest.approx(total, abs=1e-6) or length(line) < 14


@given(gentle_lines(), st.floats(0.05, 0.95))
def test_a_segment_across_a_line_meets_it_there(line, share):
    s = share * length(line[:2])
    a, b = point_at(line, s, 0.4)[:2], point_at(line, s, -0.4)[:2]
    assert crossing_at(line, a, b) == pytest.approx(s, abs=1e-6)
    assert crossing_at(line, a, point_at(line, s, 0.1)[:2]) is None


@given(st.floats(0, 2 * math.pi), st.floats(0, 20))
def test_inside_a_circle_of_many_corners(angle, radius):
    circle = [(10 * math.cos(k / 50 * math.pi), 10 * math.sin(k / 50 * math.pi)) for k in range(100)]
    assume(not 9.9 < radius < 10.1)
    assert inside(circle, radius * math.cos(angle), radius * math.sin(angle)) == (radius < 10)


def test_a_point_is_no_line():
    with pytest.raises(ValueError, match="two points"):
        point_at([(0, 0)], 1)
