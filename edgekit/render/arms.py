"""Lanes run on where a Layout ends: a road does not stop where its network does."""

from edgekit.render.traffic.geometry import heading, length, point_at
from edgekit.render.traffic.layout import Lane, Layout

ARM_M = 120.0  # how far a road runs on


def extended(layout: Layout, lane: Lane) -> list[tuple[float, float]]:
    """A lane's centre line, run on straight where it leaves the Layout or enters it."""
    points = list(lane.points)
    if lane.to_junction is None:
        points.append(point_at(points, length(points) + ARM_M)[:2])
    if lane.road not in _entered(layout):
        (x, y), ahead = points[0], heading(point_at(points, 0.0)[2])
        points.insert(0, (x - ARM_M * ahead[0], y - ARM_M * ahead[1]))
    return points


def _entered(layout: Layout) -> set[str]:
    """Roads into which another road leads; a pavement goes with its road."""
    return {layout.lane[link.to_lane].road for link in layout.links}
