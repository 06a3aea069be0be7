"""Pinhole projection: x right, y forward, z up, metres in; pixels out. The worker sets Blender up alike."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Point = tuple[float, float, float]
NEAR_M = 0.1  # the worker's near clipping plane


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

    @cached_property
    def rotation(self) -> np.ndarray:
        """(3, 3): a direction in the world → (right, down, forward) as the camera has it."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        sy, cy, sp, cp = math.sin(yaw), math.cos(yaw), math.sin(pitch), math.cos(pitch)
        return np.array([[cy, sy, 0.0], [-sy * sp, cy * sp, -cp], [-sy * cp, cy * cp, sp]])

    def view(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) points of the world → (n, 3) metres right, down and forward of the lens (KITTI's axes)."""
        return (np.asarray(points, float) - (self.x, self.y, self.z)) @ self.rotation.T

    def pixels(self, seen: np.ndarray) -> np.ndarray:
        """(n, 3) points as ``view`` gives them, all in front of the lens → (n, 2) pixels u, v."""
        return seen[:, :2] / seen[:, 2:] * self.focal_px + (self.width / 2, self.height / 2)

    def project(self, point: Point) -> tuple[float, float, float] | None:
        """(u, v, planar depth) of a point, or None when it is not in front of the lens."""
        seen = self.view(np.array([point]))
        if seen[0, 2] < NEAR_M:
            return None
        return (*map(float, self.pixels(seen)[0]), float(seen[0, 2]))

    def inside(self, point: Point, margin_px: float = 0.0) -> bool:
        seen = self.project(point)
        if seen is None:
            return False
        u, v, _ = seen
        return margin_px <= u <= self.width - margin_px and margin_px <= v <= self.height - margin_px
