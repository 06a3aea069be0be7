"""Paint on the asphalt of a Layout: lane lines, stop lines, arrows and zebras, as convex polygons."""

import math
from typing import Any

from shapely import constrained_delaunay_triangles
from shapely.geometry import Polygon
from shapely.prepared import prep

from edgekit.render.arms import extended
from edgekit.render.traffic.geometry import Point as XY
from edgekit.render.traffic.geometry import heading, length, offset, point_at, project
from edgekit.render.traffic.layout import Lane, Layout

LINE_M, STOP_M = 0.14, 0.45
DASH_M, GAP_M, SOLID_M = 3.0, 6.0, 12.0  # lane lines; solid this far before a stop line
STRIPE_M, PITCH_M = 0.5, 1.0  # of a zebra, along its crossing
ARROWS_M = (8.0, 28.0)  # of an arrow's tip, before the stop line
# Arrows in metres, x right, y ahead, the tip of the straight one at y = 0: convex pieces.
SHAFT = [(-0.08, -4.6), (0.08, -4.6), (0.08, -1.2), (-0.08, -1.2)]
BENT = [(-0.08, -4.6), (0.08, -4.6), (0.08, -2.1), (-0.08, -2.1)]  # of an arrow that only turns
ARROWS = {
    "straight": [[(-0.08, -1.3), (0.08, -1.3), (0.08, -1.1), (-0.08, -1.1)],
                 [(-0.42, -1.2), (0.42, -1.2), (0.0, 0.0)]],
    "right": [[(0.08, -2.4), (0.08, -2.1), (0.55, -1.55), (0.55, -1.85)],
              [(0.55, -2.15), (1.15, -1.6), (0.55, -1.15)]],
}  # fmt: skip
ARROWS["left"] = [[(-x, y) for x, y in piece][::-1] for piece in ARROWS["right"]]


def paint_of(layout: Layout, asphalt: Any, crossings: dict[str, int]) -> list[dict[str, Any]]:
    """A scene spec's ``paint``; nothing of it lies beside the asphalt, or inside a junction but zebras."""
    marks = _Marks(asphalt)
    roads: dict[str, list[Lane]] = {}
    for lane in layout.lanes:
        if lane.kind != "sidewalk":
            roads.setdefault(lane.road, []).append(lane)
    for lanes in roads.values():
        lanes.sort(key=lambda lane: lane.index)
        for lane, inner in zip(lanes, lanes[1:], strict=False):
            line = offset(extended(layout, lane), lane.width_m / 2)
            marks.dashes(line, "white", SOLID_M if _stops(layout, inner) else 0.0, inner.to_junction is None)
        marks.line(offset(extended(layout, lanes[0]), 0.25 - lanes[0].width_m / 2), "white")
        left = lanes[-1]
        across = _opposite(layout, left)
        if across is None:
            marks.line(offset(extended(layout, left), left.width_m / 2 - 0.25), "white")
        elif len(lanes) > 1 or len(roads[across]) > 1:
            marks.line(offset(extended(layout, left), left.width_m / 2 - 0.14), "yellow")
        elif left.road < across:
            marks.line(offset(extended(layout, left), left.width_m / 2), "yellow")
    for stop in layout.stop_lines:
        back = heading(point_at(layout.lane[stop.lane].points, length(layout.lane[stop.lane].points))[2])
        (lx, ly), (rx, ry) = stop.left, stop.right
        dx, dy = STOP_M * back[0], STOP_M * back[1]
        marks.add([(lx - dx, ly - dy), (rx - dx, ry - dy), (rx, ry), (lx, ly)], "white")
    for lane in layout.lanes:
        if lane.kind == "driving" and _stops(layout, lane):
            _arrows(marks, lane)
    for crossing in layout.crossings:
        _zebra(marks, crossing, crossings[crossing.id])
    return marks.found


class _Marks:
    def __init__(self, asphalt: Any):
        self.asphalt, self.inside = asphalt, prep(asphalt.buffer(0.01))
        self.found: list[dict[str, Any]] = []

    def add(self, points: list[XY], colour: str, zebra: int = 0) -> None:
        """A convex polygon, cut to the asphalt into convex pieces."""
        shape = Polygon(points)
        if self.inside.contains(shape):
            self._add(shape, colour, zebra)
            return
        cut = shape.intersection(self.asphalt)
        for part in getattr(cut, "geoms", [cut]):
            if not isinstance(part, Polygon):
                continue
            convex = part.convex_hull.area - part.area < 1e-4
            for piece in [part.convex_hull] if convex else constrained_delaunay_triangles(part).geoms:
                if piece.area > 0.01:
                    self._add(piece, colour, zebra)

    def _add(self, shape: Polygon, colour: str, zebra: int) -> None:
        corners = list(shape.exterior.coords)[:-1]
        if not shape.exterior.is_ccw:
            corners.reverse()
        self.found.append(
            {
                "class": "zebra" if zebra else "marking",
                "colour": colour,
                "instance": zebra,
                "points": [[round(x, 3), round(y, 3)] for x, y in corners],
            }
        )

    def line(self, line: list[XY], colour: str) -> None:
        left, right = offset(line, LINE_M / 2), offset(line, -LINE_M / 2)
        for k in range(len(line) - 1):
            if math.dist(line[k], line[k + 1]) > 0.05:
                self.add([right[k], right[k + 1], left[k + 1], left[k]], colour)

    def dashes(self, line: list[XY], colour: str, solid_m: float, leads_out: bool) -> None:
        """Counted back from the line's end, which is a stop line, or on from its start."""
        total = length(line)
        if solid_m:
            self.line(_cut(line, max(0.0, total - solid_m), total), colour)
        at = 0.0 if leads_out else total - solid_m - GAP_M - DASH_M
        while 0 <= at and at + DASH_M <= total:
            self.line(_cut(line, at, at + DASH_M), colour)
            at += (DASH_M + GAP_M) * (1 if leads_out else -1)


def _cut(line: list[XY], start: float, end: float) -> list[XY]:
    middle, along = [], 0.0
    for a, b in zip(line, line[1:], strict=False):
        along += math.dist(a, b)
        if start + 0.01 < along < end - 0.01:
            middle.append(b)
    return [point_at(line, start)[:2], *middle, point_at(line, end)[:2]]


def _stops(layout: Layout, lane: Lane) -> bool:
    return bool(lane.to_junction) and layout.junction[lane.to_junction].crossroad


def _opposite(layout: Layout, lane: Lane) -> str | None:
    """The road on the other side of a lane's left edge, where traffic comes towards us."""
    x, y, yaw = point_at(lane.points, length(lane.points) / 2, lane.width_m / 2 + 0.8)
    for other in layout.lanes:
        if other.kind == "sidewalk" or other.road == lane.road:
            continue
        s, left = project(other.points, x, y)
        if abs(left) < other.width_m / 2 and math.cos(point_at(other.points, s)[2] - yaw) < 0:
            return other.road
    return None


def _arrows(marks: _Marks, lane: Lane) -> None:
    turns = ["left" if turn == "turn-around" else turn for turn in lane.turns]
    for away in ARROWS_M:
        at = length(lane.points) - away
        if at < 8 or not turns:
            continue
        x, y, yaw = point_at(lane.points, at)
        ahead = heading(yaw)
        shaft = SHAFT if "straight" in turns else BENT
        for piece in [shaft, *(piece for turn in sorted(set(turns)) for piece in ARROWS[turn])]:
            marks.add(
                [(x + p * ahead[1] + q * ahead[0], y - p * ahead[0] + q * ahead[1]) for p, q in piece],
                "white",
            )


def _zebra(marks: _Marks, crossing: Any, instance: int) -> None:
    line, half = crossing.points, crossing.width_m / 2
    long, at = length(line), PITCH_M / 2
    while at < long:
        x, y, yaw = point_at(line, at)
        (ax, ay), h = heading(yaw), STRIPE_M / 2
        corners = [(-half, -h), (half, -h), (half, h), (-half, h)]  # across the crossing, along it
        marks.add([(x + p * ay + q * ax, y - p * ax + q * ay) for p, q in corners], "white", instance)
        at += PITCH_M
