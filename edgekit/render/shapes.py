"""What a thing takes up: heights, sizes, and the points whose convex hull wraps what the worker draws of it.

The worker (edgekit/render/worker/) builds its meshes from numbers of its own: it runs in another environment
and imports nothing of edgekit. tests/unit/render/test_shapes.py holds the two together, within 3 cm.
All local: x right, y forward, z up, metres; the origin is on the ground under the middle, but a head's and a
sign's at their centre, with the front along +y.
"""

import math

Point = tuple[float, float, float]

HEIGHT_M: dict[str, float] = {
    "car": 1.46, "truck": 3.4, "bus": 3.1, "bicycle": 1.05, "motorcycle": 1.25, "rider": 1.7, "person": 1.75,
    "cone": 0.75, "barrier": 1.0, "debris": 0.35, "head": 1.39, "sign": 0.7,
}  # fmt: skip
# (length along y, width along x): of what comes in one size, and of people by what they do
SIZE_M: dict[str, tuple[float, float]] = {
    "cone": (0.42, 0.42), "barrier": (0.7, 1.8), "debris": (0.4, 0.5), "head": (0.36, 0.72),
    "sign": (0.03, 0.7), "rider": (0.72, 0.64), "standing": (0.28, 0.64), "walking": (0.86, 0.64),
}  # fmt: skip
STRIDE_M = 0.5  # a person longer than this is walking


def hull(kind: str, length: float, width: float, height: float) -> list[Point]:
    """Points whose convex hull wraps the mesh of a ``kind`` of this size (m), within 3 cm.

    Cones, barriers, debris, heads, signs and riders come in one size: theirs is not read. A person walks when
    ``length`` is above STRIDE_M. Raises KeyError for a kind that has no shape.
    """
    return _SHAPES[kind](length, width, height)


def _both(points: list[Point]) -> list[Point]:
    return points + [(-x, y, z) for x, y, z in points]


def _wheel(x: float, y: float, radius: float) -> list[Point]:
    """The lower half of a wheel's outer rim."""
    turns = [math.radians(angle) for angle in range(-180, 1, 30)]
    return [(x, y + radius * math.cos(t), radius + radius * math.sin(t)) for t in turns]


def _car(length: float, width: float, height: float) -> list[Point]:
    half, a = width / 2, length / 2
    flank = half - 0.03
    boot = 0.97 if length >= 4.2 else 1.0
    body = [
        (0.84 * flank, -a, 0.5), (0.84 * flank, -a, 0.7), (0.79 * flank, -a, 0.36), (0.74 * flank, -a, 0.88),
        (0.87 * flank, -a + 0.1, 0.26), (0.93 * flank, -a + 0.1, 0.48), (0.90 * flank, -a + 0.1, boot - 0.08),
        (0.82 * flank, -a + 0.1, boot), (flank, -a + 0.5, 0.44), (flank, -a + 0.5, boot - 0.2),
        (flank, 0.2 * length, 0.42), (flank, 0.2 * length, 0.75),
        (0.94 * flank, 0.0, 0.2), (0.97 * flank, a - 0.4, 0.42), (0.97 * flank, a - 0.4, 0.76),
        (0.85 * flank, a - 0.1, 0.26), (0.90 * flank, a - 0.1, 0.44), (0.90 * flank, a - 0.1, 0.66),
        (0.79 * flank, a - 0.1, 0.74),
        (0.75 * flank, a, 0.34), (0.80 * flank, a, 0.44), (0.80 * flank, a, 0.5), (0.71 * flank, a, 0.66),
    ]  # fmt: skip
    rear = -0.25 * length if length >= 4.6 else -a + 0.35 if length < 4.2 else -0.33 * length
    edge, crown = height - 0.07, height
    roof = [
        (0.74 * flank, 0.04 * length, edge), (0.72 * flank, rear, edge),
        (0.55 * flank, 0.04 * length - 0.18, crown), (0.55 * flank, rear + 0.15, crown),
    ]  # fmt: skip
    mirror = [(half, y, z) for y in (0.17 * length - 0.06, 0.17 * length + 0.06) for z in (0.93, 1.06)]
    wheels = [p for t in (-0.3, 0.31) for p in _wheel(half - 0.01, t * length, 0.32)]
    return _both(body + roof + mirror + wheels)


def _truck(length: float, width: float, height: float) -> list[Point]:
    half, a = width / 2, length / 2
    cab, back = half - 0.1, a - 2.1
    box = [(half, y, z) for y in (-a, back) for z in (1.0, height)]
    front = [
        (0.9 * cab, a, 0.35), (0.9 * cab, a, 1.35), (cab, a - 0.12, 0.35), (cab, a - 0.12, 1.35),
        (0.9 * cab, a - 0.32, 2.75), (0.97 * cab, a - 0.4, 2.75),
    ]  # fmt: skip
    mirror = [(half, a - y, z) for y in (0.2, 0.32) for z in (1.5, 2.15)]
    wheels = [p for y in (a - 1.25, -a + 1.7) for p in _wheel(half - 0.05, y, 0.48)]
    bar = [(half - 0.1, -a + 0.05, 0.45)]
    return _both(box + front + mirror + wheels + bar)


def _bus(length: float, width: float, height: float) -> list[Point]:
    half, a = width / 2 - 0.02, length / 2
    body = [
        (half, -a, 0.32), (half, -a, height - 0.2), (0.92 * half, -a, height),
        (half, a - 0.25, 0.3), (half, a - 0.3, height - 0.2), (0.92 * half, a - 0.32, height),
        (0.88 * half, a, 0.32), (0.88 * half, a, 1.2), (0.88 * half, a - 0.15, height - 0.2),
        (0.81 * half, a - 0.21, height),
    ]  # fmt: skip
    return _both(body + [p for t in (-0.24, 0.28) for p in _wheel(half + 0.02, t * length, 0.48)])


def _round(x: float, y: float, radius: float) -> list[Point]:
    turns = [math.radians(angle) for angle in range(0, 360, 30)]
    return [(x, y + radius * math.cos(t), radius + radius * math.sin(t)) for t in turns]


def _bicycle(length: float, width: float, height: float) -> list[Point]:
    half, a, r = width / 2, length / 2, 0.34
    wheels = _round(0.02, -a + r, r) + _round(0.02, a - r, r)
    return _both(
        [
            *wheels,
            (half, a - 0.62, height - 0.03),
            (half, a - 0.58, height - 0.01),
            (0.02, a - 0.58, height),
            (0.07, -0.38, 0.94),
            (0.09, 0.0, 0.2),
        ]
    )


def _motorcycle(length: float, width: float, height: float) -> list[Point]:
    half, a, r = width / 2, length / 2, 0.31
    wheels = _round(0.07, -a + r, r) + _round(0.06, a - r, r)
    more = [
        (half, a - 0.71, 1.0), (half, a - 0.69, 1.04), (0.08, a - 0.62, height), (0.22, -a + 0.25, 0.36),
        (0.19, -a + 0.14, 0.81), (0.08, -a + 0.08, 0.88),
    ]  # fmt: skip
    return _both(wheels + more)


def _rider(length: float, width: float, height: float) -> list[Point]:
    return _both([
        (0.17, 0.26, 0.27), (0.17, 0.0, 0.27), (0.16, -0.26, 0.89), (0.05, -0.33, 0.9), (0.19, -0.23, 0.95),
        (0.31, 0.38, 1.06), (0.29, 0.39, 1.09), (0.32, 0.13, 1.18), (0.25, -0.03, 1.38), (0.04, 0.19, 1.6),
        (0.08, -0.02, 1.67), (0.03, -0.06, 1.67), (0.1, 0.04, 1.67), (0.08, 0.1, 1.67), (0.04, 0.07, 1.7),
        (0.03, 0.14, 1.67), (0.02, -0.02, 1.7),
    ])  # fmt: skip


# of a person 1.75 m tall; the one who walks has the right foot ahead
HEAD_AND_SHOULDERS = [
    (0.24, 0.05, 1.41), (0.27, 0.0, 1.41), (0.24, -0.05, 1.41), (0.03, 0.11, 1.64), (0.03, -0.11, 1.68),
    (0.06, 0.0, 1.73), (0.02, 0.08, 1.73), (0.02, -0.08, 1.73), (0.05, -0.05, 1.73), (0.02, 0.02, 1.75),
]  # fmt: skip
STANDING = [(0.15, -0.1, 0.0), (0.15, 0.17, 0.0), (0.31, 0.0, 0.83), (0.29, -0.04, 1.13), (0.32, 0.0, 1.14)]
WALKING = [
    (0.15, 0.48, 0.0), (0.05, 0.48, 0.0), (0.15, 0.48, 0.08), (0.15, 0.21, 0.0), (-0.12, -0.22, 0.0),
    (-0.14, -0.21, 0.04), (-0.12, -0.38, 0.06), (-0.08, -0.38, 0.06), (-0.28, 0.31, 0.82), (0.28, -0.31, 0.82),
    (0.31, -0.26, 0.9), (-0.31, 0.26, 0.9), (-0.28, 0.29, 0.92), (-0.32, 0.09, 1.13), (0.32, -0.09, 1.14),
]  # fmt: skip


def _person(length: float, width: float, height: float) -> list[Point]:
    low, k = WALKING if length > STRIDE_M else _both(STANDING), height / 1.75
    return [(x * k, y * k, z * k) for x, y, z in low + _both(HEAD_AND_SHOULDERS)]


def _cone(length: float, width: float, height: float) -> list[Point]:
    foot = [(0.21, y, z) for y in (-0.21, 0.21) for z in (0.0, 0.04)]
    turns = [math.pi * k / 4 for k in range(8)]
    tip = [(0.0325 * math.cos(t), 0.0325 * math.sin(t), 0.75) for t in turns]
    return _both(foot) + tip


def _barrier(length: float, width: float, height: float) -> list[Point]:
    boards = [(0.9, y, z) for y in (-0.02, 0.02) for z in (0.3, 0.98)]
    feet = [(0.81, y, z) for y in (-0.35, 0.35) for z in (0.0, 0.06)]
    return _both(boards + feet + [(0.78, -0.03, 1.0), (0.78, 0.03, 1.0)])


def _debris(length: float, width: float, height: float) -> list[Point]:
    return _both([(0.25, y, z) for y in (-0.2, 0.2) for z in (0.0, 0.35)])


def _head(length: float, width: float, height: float) -> list[Point]:
    plate = [(0.36, y, z) for y in (-0.14, -0.09) for z in (-0.695, 0.695)]
    visors = [(0.15, 0.1, -0.29), (0.05, 0.14, -0.19), (0.15, 0.1, 0.41), (0.05, 0.14, 0.51)]
    return _both(plate + visors + [(0.22, y, z) for y in (-0.22, -0.02) for z in (-0.575, 0.575)])


def _sign(length: float, width: float, height: float) -> list[Point]:
    turns = [math.pi * k / 12 for k in range(24)]
    return [(0.35 * math.cos(t), y, 0.35 * math.sin(t)) for t in turns for y in (-0.03, 0.0)]


_SHAPES = {
    "car": _car, "truck": _truck, "bus": _bus, "bicycle": _bicycle, "motorcycle": _motorcycle, "rider": _rider,
    "person": _person, "cone": _cone, "barrier": _barrier, "debris": _debris, "head": _head, "sign": _sign,
}  # fmt: skip
