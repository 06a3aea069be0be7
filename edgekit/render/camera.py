"""Pinhole projection: x right, y forward, z up, metres in; pixels out. The worker sets Blender up alike."""

import math
from dataclasses import dataclass

Point = tuple[float, float, float]
HEIGHT_M = 1.4  # of the ego camera above the road


@dataclass(frozen=True)
class Camera:
    width: int
    height: int
    hfov_deg: float
    x: float
    y: float
    z: float
    yaw_deg: float = 0.0  # positive turns left, as Blender's rotation about z does
    pitch_deg: float = 0.0  # positive looks up

    @property
    def focal_px(self) -> float:
        return self.width / 2 / math.tan(math.radians(self.hfov_deg) / 2)

    def matrix(self) -> list[list[float]]:
        """K, the 3x3 pinhole matrix."""
        return [[self.focal_px, 0.0, self.width / 2], [0.0, self.focal_px, self.height / 2], [0.0, 0.0, 1.0]]

    def project(self, point: Point) -> tuple[float, float, float] | None:
        """(u, v, planar depth) of a point, or None when it is not in front of the lens."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        dx, dy, dz = point[0] - self.x, point[1] - self.y, point[2] - self.z
        right = dx * math.cos(yaw) + dy * math.sin(yaw)
        level = -dx * math.sin(yaw) + dy * math.cos(yaw)  # forward, before pitching
        depth = level * math.cos(pitch) + dz * math.sin(pitch)
        up = dz * math.cos(pitch) - level * math.sin(pitch)
        if depth < 0.1:  # the worker's near clipping plane
            return None
        return (
            self.width / 2 + self.focal_px * right / depth,
            self.height / 2 - self.focal_px * up / depth,
            depth,
        )

    def inside(self, point: Point, margin_px: float = 0.0) -> bool:
        seen = self.project(point)
        if seen is None:
            return False
        u, v, _ = seen
        return margin_px <= u <= self.width - margin_px and margin_px <= v <= self.height - margin_px

    def box(self, centre: Point, size: Point) -> list[float] | None:
        """Pixel box [u0, v0, u1, v1] around an upright cuboid, clipped to the image; None out of view."""
        corners = [
            self.project(tuple(c + h * s / 2 for c, h, s in zip(centre, (i, j, k), size, strict=True)))
            for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)
        ]  # fmt: skip
        if any(corner is None for corner in corners):
            return None
        us, vs = [c[0] for c in corners], [c[1] for c in corners]
        u0, u1 = max(0.0, min(us)), min(float(self.width), max(us))
        v0, v1 = max(0.0, min(vs)), min(float(self.height), max(vs))
        return [round(v, 1) for v in (u0, v0, u1, v1)] if u0 < u1 and v0 < v1 else None
