"""What stands beside the roads of a Layout: houses, trees, street lamps, speed signs, parked cars, toll booths.

Drawn by seed along the edges of ``ground_of``'s areas: houses behind the pavement with their fronts to the street,
all else on it. Nothing stands on a driving lane, or hides a signal head from those who come near it.
"""

import math
import random
from collections.abc import Iterator
from typing import Any

from shapely.geometry import LineString, Point, Polygon
from shapely.ops import unary_union
from shapely.prepared import prep

from edgekit.render.arms import extended
from edgekit.render.ground import ISLAND_LONG_M, TOLL_OPEN_M, toll_gaps, tolls_of
from edgekit.render.shapes import HEIGHT_M
from edgekit.render.traffic.geometry import heading, length, point_at, wrap, yaw_between
from edgekit.render.traffic.layout import Layout

WALL = (
    (0.42, 0.33, 0.25),
    (0.36, 0.18, 0.13),
    (0.48, 0.46, 0.42),
    (0.52, 0.45, 0.33),
    (0.33, 0.33, 0.34),
    (0.58, 0.55, 0.50),
    (0.40, 0.24, 0.18),
)
SHOP = (
    (0.05, 0.15, 0.12),
    (0.45, 0.07, 0.04),
    (0.08, 0.08, 0.10),
    (0.10, 0.14, 0.30),
    (0.50, 0.22, 0.04),
    (0.30, 0.28, 0.22),
)
PAINT = (
    (0.45, 0.46, 0.48),
    (0.03, 0.03, 0.035),
    (0.70, 0.70, 0.70),
    (0.30, 0.02, 0.02),
    (0.02, 0.06, 0.20),
    (0.12, 0.13, 0.14),
    (0.80, 0.80, 0.78),
)


HOUSE_W, HOUSE_D = (9.0, 17.0), (10.0, 12.0)
TREE_M, LAMP_M, SIGN_M, PARKED_M = 1.3, 0.7, 0.75, 1.05  # from the asphalt's edge
ACROSS_M, ONE_SIDE_M = 24.0, 55.0  # between street lamps: the two sides take turns
PARKED_FREE_M = 14.0  # before and behind a stop line, a crossing, a signal head
CANOPY_M = 3.0  # around a toll plaza: no lamp through its roof
BOOTH_M = 2.5  # behind the stop line, so that it does not hide the head beside the line
KEEP_SIGHT_M = 25.0  # before a stop line: no tree hides its head
SIGN_Z = 2.2
CAR_SIZES = ((3.9, 1.7), (4.3, 1.8), (4.7, 1.85))
DENSITY = {"trees": 0.55, "parked": 0.35}


def sample_town(
    layout: Layout, ground: dict[str, Any], rng: random.Random, *, density: dict[str, float] = DENSITY
) -> dict[str, Any]:
    """houses, booths, canopies, trees, lamps, signs, parked of a scene spec; parked cars count from instance 1."""
    street = _Street(layout, ground)
    booths, canopies = _toll(layout)
    signs = _signs(layout, street)
    lamps = _lamps(street, signs)
    parked = _parked(layout, street, rng, density["parked"], [*signs, *lamps])
    trees = _trees(street, rng, density["trees"], [*signs, *lamps, *parked])
    houses = _houses(layout, street, rng)
    return {
        "houses": houses,
        "booths": booths,
        "canopies": canopies,
        "trees": trees + _wood(street, rng, houses),
        "lamps": lamps,
        "signs": signs,
        "parked": parked,
    }


class _Street:
    """The areas as shapes, and what must stay clear."""

    def __init__(self, layout: Layout, ground: dict[str, Any]):
        shapes = {"asphalt": [], "slab": [], "kerb": [], "island": []}
        for area in ground["ground"]:
            shapes[area["surface"]].append(Polygon(area["outer"], area["holes"]))
        self.asphalt = unary_union([*shapes["asphalt"], *shapes["island"]]).buffer(0.01)
        self.built = unary_union([self.asphalt, *shapes["kerb"], *shapes["slab"]]).buffer(0.02).buffer(-0.01)
        self.on_slab = prep(unary_union([*shapes["slab"], *shapes["kerb"]]).buffer(0.01))
        self.heads = [(head.x, head.y) for head in layout.heads]
        self.stops = [
            ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in ((s.left, s.right) for s in layout.stop_lines)
        ]
        self.crossings = [point_at(c.points, length(c.points) / 2)[:2] for c in layout.crossings]
        self.junctions = unary_union(
            [Polygon(j.polygon) for j in layout.junctions if len(j.polygon) > 2 and j.crossroad]
        )
        self.tolls = tolls_of(layout)
        self.no_parking = unary_union(
            [LineString([s.left, s.right]) for s in layout.stop_lines]
            + [LineString(c.points).buffer(c.width_m / 2) for c in layout.crossings]
            + [Point(place) for place in self.heads]
        )
        self.lanes = [LineString(extended(layout, lane)) for lane in layout.lanes if lane.kind == "driving"]

    def beside(self, away_m: float, step: Any) -> Iterator[tuple[float, float, float]]:
        """(x, y, yaw) along the asphalt's edge, ``away_m`` outside it, every step() metres; yaw looks to the road."""
        for line in _rings(self.asphalt.buffer(away_m, join_style="mitre", mitre_limit=2)):
            at, total = step() / 2, line.length
            while at < total:
                p, q = line.interpolate(max(0.0, at - 0.3)), line.interpolate(min(total, at + 0.3))
                here = line.interpolate(at)
                yield here.x, here.y, wrap(yaw_between((p.x, p.y), (q.x, q.y)) + math.pi / 2)
                at += step()

    def beyond(self, lane: LineString) -> Any:
        """The way straight on from both ends of a lane, as far as the pavement across it may lie."""
        points = list(lane.coords)
        whole = length(points)
        return unary_union(
            [
                LineString([point_at(points, s)[:2] for s in pair])
                for pair in ((-9.0, -0.5), (whole + 0.5, whole + 9.0))
            ]
        )

    def along(self, x: float, y: float, yaw: float) -> bool:
        """Whether a yaw is that of the nearest driving lane; it is not at the end of a road, or round a corner."""
        here = Point(x, y)
        line = min(self.lanes, key=here.distance)
        at = line.project(here)
        a, b = line.interpolate(max(0.0, at - 0.5)), line.interpolate(at + 0.5)
        return math.cos(yaw_between((a.x, a.y), (b.x, b.y)) - yaw) > 0.99

    def free(self, x: float, y: float, others: list[dict[str, Any]], apart: float = 3.0) -> bool:
        """On the pavement, and away from heads and from what else stands there."""
        places = [*self.heads, *((o["x"], o["y"]) for o in others)]
        return self.on_slab.contains(Point(x, y)) and not _near(places, x, y, apart)


def _rings(shape: Any) -> list[LineString]:
    """Its edges, each with the shape on the left."""
    found = []
    for part in sorted(getattr(shape, "geoms", [shape]), key=lambda p: p.bounds):
        for ring, ccw in [(part.exterior, True), *((hole, False) for hole in part.interiors)]:
            points = list(ring.coords)
            found.append(LineString(points if ring.is_ccw == ccw else points[::-1]))
    return found


def _near(places: list[tuple[float, float]], x: float, y: float, apart: float) -> bool:
    return any(math.hypot(px - x, py - y) < apart for px, py in places)


def _r(value: float) -> float:
    return round(value, 3)  # so that a spec is short and survives JSON unchanged


def _houses(layout: Layout, street: _Street, rng: random.Random) -> list[dict[str, Any]]:
    built = prep(street.built)
    houses: list[dict[str, Any]] = []
    shapes: list[Polygon] = []
    for closes, a, b in _fronts(street):
        along, at, yaw = math.dist(a, b), -5.0 if closes else 0.2, yaw_between(a, b)
        while at + 7.0 < along + 6.0:
            w, d = rng.uniform(*HOUSE_W), rng.uniform(*HOUSE_D)
            placed = None
            for width in (w, 0.75 * w, 7.0):
                if at + width > along + (
                    14.0 if closes else 5.0
                ):  # a corner house may stand over its lot's end
                    continue
                x, y, _ = point_at([a, b], at + width / 2, -(d / 2 + 0.15))
                shape = _box(x, y, yaw, d, width)
                tight = shape.buffer(-0.01)  # a row of houses touches
                if not built.intersects(tight) and not any(
                    tight.intersects(shapes[k]) for k in _hits(shapes, tight)
                ):
                    placed = (x, y, width, shape)
                    break
            if not placed:
                at += 1.5
                continue
            x, y, width, shape = placed
            at += width + (0.0 if rng.random() < 0.75 or closes else rng.uniform(1.5, 5))
            if street.tolls.is_empty or street.tolls.distance(shape) > TOLL_OPEN_M:
                shapes.append(shape)
                houses.append(_house(rng, x, y, wrap(yaw + math.pi / 2), width, d))
    return houses


def _fronts(street: _Street) -> list[tuple[bool, tuple[float, float], tuple[float, float]]]:
    """(closes a road's view, start, end) of the straight edges that houses stand along, the closing ones first."""
    ends = unary_union([street.beyond(lane) for lane in street.lanes])
    found = [
        (ends.intersects(LineString([a, b])), a, b)
        for line in _rings(street.built.simplify(0.1))
        for a, b in zip(line.coords, list(line.coords)[1:], strict=False)
    ]
    return sorted(found, key=lambda front: not front[0])


def _hits(shapes: list[Polygon], shape: Polygon) -> list[int]:
    if len(shapes) < 40:
        return list(range(len(shapes)))
    x0, y0, x1, y1 = shape.bounds
    return [
        k
        for k, s in enumerate(shapes)
        if s.bounds[0] < x1 and s.bounds[2] > x0 and s.bounds[1] < y1 and s.bounds[3] > y0
    ]


def _box(x: float, y: float, yaw: float, right: float, ahead: float) -> Polygon:
    """A rectangle ``ahead`` long along a yaw and ``right`` wide across it."""
    (hx, hy), (rx, ry) = heading(yaw), heading(yaw - math.pi / 2)
    return Polygon(
        [(x + i * right / 2 * rx + j * ahead / 2 * hx, y + i * right / 2 * ry + j * ahead / 2 * hy)
         for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    )  # fmt: skip


def _house(rng: random.Random, x: float, y: float, yaw: float, w: float, d: float) -> dict[str, Any]:
    return {
        "x": _r(x), "y": _r(y), "yaw": round(yaw, 4), "w": _r(w), "d": _r(d), "floors": rng.randint(2, 6),
        "floor_m": _r(rng.uniform(3.0, 3.5)), "pitch_m": _r(rng.uniform(2.2, 3.0)),
        "wall": list(rng.choice(WALL)), "shop": list(rng.choice(SHOP)), "lit_seed": rng.randrange(1 << 30),
    }  # fmt: skip


def _trees(
    street: _Street, rng: random.Random, density: float, others: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for x, y, _ in street.beside(TREE_M, lambda: rng.uniform(7, 11)):
        wanted = rng.random() < density
        tree = _tree(rng, x, y)
        if (
            not wanted
            or not street.free(x, y, others)
            or _near(street.heads + street.stops, x, y, KEEP_SIGHT_M)
        ):
            continue
        found.append(tree)
    return found


def _tree(rng: random.Random, x: float, y: float) -> dict[str, Any]:
    return {"x": _r(x), "y": _r(y), "yaw": _r(rng.uniform(0, 6.28)), "scale": _r(rng.uniform(0.8, 1.25)),
            "kind": rng.randrange(3)}  # fmt: skip


def _wood(street: _Street, rng: random.Random, houses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trees behind the verge of a toll plaza, where no houses stand."""
    if street.tolls.is_empty:
        return []
    found = []
    for away in (5.0, 11.0, 18.0):
        for line in _rings(street.built.buffer(away)):
            at = 0.0
            while at < line.length:
                here = line.interpolate(at)
                x, y = here.x + rng.uniform(-2, 2), here.y + rng.uniform(-2, 2)
                tree = _tree(rng, x, y)
                apart = all(math.hypot(h["x"] - x, h["y"] - y) > 13 for h in houses)
                if apart and street.tolls.distance(Point(x, y)) < 2 * TOLL_OPEN_M:
                    found.append(tree)
                at += rng.uniform(6, 10)
    return found


def _lamps(street: _Street, signs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for x, y, yaw in street.beside(LAMP_M, lambda: 5.0):
        apart = all(
            math.hypot(o["x"] - x, o["y"] - y) > (ONE_SIDE_M if math.cos(o["yaw"] - yaw) > 0.7 else ACROSS_M)
            for o in found
        )
        under = not street.tolls.is_empty and street.tolls.distance(Point(x, y)) < CANOPY_M
        if apart and not under and street.free(x, y, signs) and not _near(street.crossings, x, y, 4.0):
            found.append({"x": _r(x), "y": _r(y), "yaw": round(yaw, 4)})
    return found


def _signs(layout: Layout, street: _Street) -> list[dict[str, Any]]:
    """The lane's own limit, right of every road: after its start, and again each 60 m."""
    found: list[dict[str, Any]] = []
    outer = {}
    for lane in layout.lanes:
        if lane.kind == "driving" and (lane.road not in outer or lane.index < outer[lane.road].index):
            outer[lane.road] = lane
    for lane in outer.values():
        line = extended(layout, lane)
        at = (length(line) - length(lane.points) if line[0] != lane.points[0] else 0.0) + 24.0
        while at < length(line) - 12.0:
            here = point_at(line, at)
            for right in (0.5, 1.5, 3.5, 5.0):  # a bicycle lane may lie between
                x, y, yaw = point_at(line, at, -(lane.width_m / 2 + right + SIGN_M - 0.5))
                if street.on_slab.contains(Point(x, y)):
                    if not _near(street.heads, x, y, 12.0):
                        found.append(
                            {"instance": len(found) + 1, "x": _r(x), "y": _r(y),
                             "yaw": round(wrap(here[2] + math.pi), 4), "z": SIGN_Z, "kind": "limit",
                             "value": lane.limit_kmh}
                        )  # fmt: skip
                    break
            at += 60.0
    return found


def _parked(
    layout: Layout, street: _Street, rng: random.Random, density: float, others: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """On the pavement beside the kerb, as the traffic on that side drives."""
    found: list[dict[str, Any]] = []
    if not street.tolls.is_empty:
        return found
    for x, y, yaw in street.beside(PARKED_M, lambda: rng.uniform(6.5, 12)):
        wanted, (long, wide), paint = rng.random() < density, rng.choice(CAR_SIZES), rng.choice(PAINT)
        along = wrap(yaw - math.pi / 2)  # right-hand traffic: the road is on the car's left
        body = _box(x, y, along, wide, long)
        if not wanted or body.buffer(-0.05).intersects(street.asphalt) or not street.along(x, y, along):
            continue
        if body.distance(street.no_parking) < PARKED_FREE_M:
            continue
        if _near([(o["x"], o["y"]) for o in others], x, y, 4.0) or _near(
            [(o["x"], o["y"]) for o in found], x, y, 6.2
        ):
            continue
        found.append(
            {"name": f"parked{len(found) + 1}", "instance": len(found) + 1, "kind": "car",
             "length": long, "width": wide, "height": HEIGHT_M["car"], "paint": list(paint), "asset": None,
             "x": _r(x), "y": _r(y), "yaw": round(along, 4), "z": 0.15}
        )  # fmt: skip
    return found


def _toll(layout: Layout) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A booth on every island, and one canopy over all lanes of a plaza."""
    booths, canopies = [], []
    for junction in layout.junctions:
        lanes = [lane for lane in layout.lanes if lane.to_junction == junction.id and junction.kind == "toll"]
        if not lanes:
            continue
        for line in toll_gaps(layout):
            x, y, yaw = point_at(line, length(line) - ISLAND_LONG_M / 2 + BOOTH_M)
            booths.append({"x": _r(x), "y": _r(y), "yaw": round(yaw, 4)})
        ends = [point_at(lane.points, length(lane.points)) for lane in lanes]
        box = unary_union([Point(x, y) for x, y, _ in ends]).envelope.buffer(0.1)
        across = ends[0][2]
        centre = box.centroid
        wide = 2 * max(
            abs((x - centre.x) * math.cos(across) + (y - centre.y) * math.sin(across)) for x, y, _ in ends
        )
        canopies.append(
            {
                "x": _r(centre.x),
                "y": _r(centre.y),
                "yaw": round(across, 4),
                "w": _r(wide + 8.0),
                "d": 12.0,
                "z": 5.2,
            }
        )
    return booths, canopies
