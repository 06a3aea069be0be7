"""Polylines on the ground: metres, x east, y north; yaw in radians, 0 = +y, counter-clockwise (camera.py's)."""

import math
from collections.abc import Sequence

Point = tuple[float, float]
Line = Sequence[Point]


def wrap(angle: float) -> float:
    """The same angle in (-pi, pi]."""
    return math.pi - (math.pi - angle) % (2 * math.pi)


def heading(yaw: float) -> Point:
    """Unit vector that a yaw looks along."""
    return -math.sin(yaw), math.cos(yaw)


def yaw_between(a: Point, b: Point) -> float:
    return math.atan2(a[0] - b[0], b[1] - a[1])


def length(line: Line) -> float:
    return sum(math.dist(a, b) for a, b in zip(line, line[1:], strict=False))


def point_at(line: Line, s: float, left: float = 0.0) -> tuple[float, float, float]:
    """(x, y, yaw) at ``s`` metres along a line and ``left`` metres to its left; beyond its ends it runs straight on."""
    last = len(line) - 2
    for i, (a, b) in enumerate(zip(line, line[1:], strict=False)):
        step = math.dist(a, b)
        if s <= step and step > 0 or i == last:
            yaw = yaw_between(a, b)
            ahead = heading(yaw)
            return a[0] + s * ahead[0] - left * ahead[1], a[1] + s * ahead[1] + left * ahead[0], yaw
        s -= step
    raise ValueError(f"a line has two points at least, and this one has {len(line)}")


def project(line: Line, x: float, y: float) -> tuple[float, float]:
    """(s, left) of the line's nearest point: metres along it, and how far left of it (x, y) is (right: negative).

    Beyond the ends s stays at the end and |left| is the distance to it.
    """
    best, found, along = math.inf, (0.0, 0.0), 0.0
    for a, b in zip(line, line[1:], strict=False):
        dx, dy = b[0] - a[0], b[1] - a[1]
        step = math.hypot(dx, dy)
        if step == 0:
            continue
        t = max(0.0, min(step, ((x - a[0]) * dx + (y - a[1]) * dy) / step))
        away = math.hypot(x - a[0] - t * dx / step, y - a[1] - t * dy / step)
        if away < best:
            side = dx * (y - a[1]) - dy * (x - a[0])
            best, found = away, (along + t, math.copysign(away, side) if away else 0.0)
        along += step
    return found


def offset(line: Line, left: float) -> list[Point]:
    """The line shifted by ``left`` metres, its corners mitred: each straight piece is moved by exactly that."""
    yaws = [yaw_between(a, b) for a, b in zip(line, line[1:], strict=False)]
    moved = []
    for i, (x, y) in enumerate(line):
        before, after = yaws[max(i - 1, 0)], yaws[min(i, len(yaws) - 1)]
        half = wrap(after - before) / 2
        stretch = left / max(math.cos(half), 0.2)  # a hairpin's mitre has no end
        ahead = heading(before + half)
        moved.append((x - stretch * ahead[1], y + stretch * ahead[0]))
    return moved


def crossing_at(line: Line, a: Point, b: Point) -> float | None:
    """Metres along the line at which it first meets the segment a-b, or None."""
    along = 0.0
    for p, q in zip(line, line[1:], strict=False):
        dx, dy, ex, ey = q[0] - p[0], q[1] - p[1], b[0] - a[0], b[1] - a[1]
        cross = dx * ey - dy * ex
        if cross:
            t = ((a[0] - p[0]) * ey - (a[1] - p[1]) * ex) / cross
            u = ((a[0] - p[0]) * dy - (a[1] - p[1]) * dx) / cross
            if 0 <= t <= 1 and 0 <= u <= 1:
                return along + t * math.hypot(dx, dy)
        along += math.hypot(dx, dy)
    return None


def inside(polygon: Line, x: float, y: float) -> bool:
    """Even-odd rule; the polygon closes itself."""
    odd = False
    for (ax, ay), (bx, by) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            odd = not odd
    return odd


Box = tuple[float, float, float, float, float]  # x, y of the centre, yaw, length along it, width


def meet(a: Box, b: Box, margin: float = 0.0) -> bool:
    """Whether two oriented boxes overlap, or come nearer to one another than ``margin`` along one of their axes."""
    if math.dist(a[:2], b[:2]) > (math.hypot(*a[3:]) + math.hypot(*b[3:])) / 2 + margin * 2:
        return False
    dx, dy = b[0] - a[0], b[1] - a[1]
    for yaw in (a[2], b[2]):
        for ax, ay in (heading(yaw), heading(yaw + math.pi / 2)):
            reach = margin
            for box in (a, b):
                ahead = heading(box[2])
                reach += abs(ahead[0] * ax + ahead[1] * ay) * box[3] / 2
                reach += abs(ahead[1] * ax - ahead[0] * ay) * box[4] / 2
            if abs(dx * ax + dy * ay) >= reach:
                return False
    return True
