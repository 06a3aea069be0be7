"""The outline of a convex body in the image: near-plane clipping, projection, convex hull, clip to the image."""

import numpy as np

from edgekit.render.camera import NEAR_M, Camera

Polygon = list[tuple[float, float]]


def outline(camera: Camera, seen: np.ndarray) -> Polygon:
    """Pixels (u, v) of a body's outline, not clipped to the image; [] where all of it is behind the lens.

    seen: (n, 3) points in the camera's frame (``Camera.view``) whose convex hull is the body. One that straddles
    the near plane is cut there: its segments from a point in front to one behind meet the plane in the cut's corners.
    """
    front = seen[:, 2] >= NEAR_M
    if not front.any():
        return []
    before, behind = seen[front], seen[~front]
    if len(behind):
        a, b = before[:, None], behind[None]
        t = (a[..., 2:] - NEAR_M) / (a[..., 2:] - b[..., 2:])
        cut = (a + t * (b - a)).reshape(-1, 3)
        cut[:, 2] = NEAR_M
        before = np.concatenate([before, cut])
    return convex_hull([tuple(p) for p in camera.pixels(before).tolist()])


def convex_hull(points: Polygon) -> Polygon:
    """Corners in order; Andrew's monotone chain (1979)."""
    ordered = sorted(set(points))
    if len(ordered) < 3:
        return ordered

    def chain(run: Polygon) -> Polygon:
        kept: Polygon = []
        for x, y in run:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2:]
                if (bx - ax) * (y - ay) > (by - ay) * (x - ax):  # turns left
                    break
                kept.pop()
            kept.append((x, y))
        return kept[:-1]

    return chain(ordered) + chain(ordered[::-1])


def clip(polygon: Polygon, width: float, height: float) -> Polygon:
    """The part of a convex polygon in the image; Sutherland and Hodgman 1974."""
    for axis, limit, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        kept: Polygon = []
        for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            da, db = sign * (a[axis] - limit), sign * (b[axis] - limit)
            if da >= 0:
                kept.append(a)
            if da * db < 0:
                t = da / (da - db)
                kept.append((a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))
        polygon = kept
    return polygon


def area(polygon: Polygon) -> float:
    """In square pixels."""
    ends = polygon[1:] + polygon[:1]
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(polygon, ends, strict=True))) / 2


def bounds(polygon: Polygon) -> tuple[float, float, float, float]:
    """(u0, v0, u1, v1)"""
    us, vs = [p[0] for p in polygon], [p[1] for p in polygon]
    return min(us), min(vs), max(us), max(vs)
