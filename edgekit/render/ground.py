"""The ground along any road of a Layout: asphalt, kerbs, pavements, islands, and what they leave for paint.

Plain polygons, metres, x east, y north; scene spec 2's ``ground``. Everything at one height is disjoint.
"""

from typing import Any

import shapely
from shapely.geometry import LineString, MultiPolygon, Point, Polygon
from shapely.ops import unary_union

from edgekit.render.arms import extended
from edgekit.render.paint import paint_of
from edgekit.render.traffic.geometry import length, offset, point_at
from edgekit.render.traffic.layout import Layout

GRID_M = 0.001  # areas meet in points of it, so that rounding a spec does not tear or cross them
PAVEMENT_M, VERGE_M, KERB_M = 4.4, 1.6, 0.18
SLAB_Z, KERB_Z = 0.15, 0.16
ISLAND_M, ISLAND_LONG_M = 0.4, 12.0  # between toll lanes, around their stop lines
TOLL_OPEN_M = 40.0  # around a toll plaza: a verge for a pavement, no houses
FILLED_M2 = 150.0  # a hole between the ways of a junction is asphalt; a block of houses is larger


def ground_of(layout: Layout) -> dict[str, Any]:
    """{"ground": areas, "paint": polygons, "crossings": {crossing id: zebra instance}} of a scene spec."""
    asphalt, islands = asphalt_of(layout)
    kerb = asphalt.buffer(KERB_M, join_style="mitre").difference(asphalt)
    walks = [
        LineString(extended(layout, lane)).buffer(lane.width_m / 2, cap_style="flat", join_style="mitre")
        for lane in layout.lanes
        if lane.kind == "sidewalk"
    ]
    wide, verge = (asphalt.buffer(m, join_style="mitre", mitre_limit=2) for m in (PAVEMENT_M, VERGE_M))
    slab = unary_union([wide.difference(tolls_of(layout).buffer(TOLL_OPEN_M)), verge, *walks])
    slab = slab.difference(asphalt.buffer(KERB_M, join_style="mitre"))
    crossings = {crossing.id: k for k, crossing in enumerate(layout.crossings, 1)}
    areas = [
        *areas_of(asphalt.difference(islands), "road", "asphalt", 0.0),
        *areas_of(kerb, "sidewalk", "kerb", KERB_Z),
        *areas_of(slab, "sidewalk", "slab", SLAB_Z),
        *areas_of(islands, "sidewalk", "island", KERB_Z),
    ]
    return {
        "ground": areas,
        "paint": paint_of(layout, asphalt.difference(islands), crossings),
        "crossings": crossings,
    }


def asphalt_of(layout: Layout) -> tuple[Polygon, Any]:
    """(where vehicles drive, the islands between toll lanes)."""
    strips = [
        LineString(line).buffer(width / 2, cap_style="flat", join_style="mitre")
        for line, width in _driven(layout)
    ]
    # hairline gaps between two lanes, and the triangles between the ways through a junction
    whole = unary_union(strips).buffer(1.0, join_style="mitre").buffer(-1.0, join_style="mitre")
    parts = [
        Polygon(p.exterior, [hole for hole in p.interiors if Polygon(hole).area > FILLED_M2])
        for p in _polygons(whole)
    ]
    islands = [LineString(line).buffer(ISLAND_M / 2, cap_style="flat") for line in toll_gaps(layout)]
    asphalt = shapely.set_precision(unary_union(parts).simplify(0.02), GRID_M)
    return asphalt, shapely.intersection(unary_union(islands), asphalt, grid_size=GRID_M)


def tolls_of(layout: Layout) -> Any:
    """The toll plazas as one shape, empty where there is none."""
    return unary_union(
        [Polygon(j.polygon) for j in layout.junctions if j.kind == "toll" and len(j.polygon) > 2]
    )


def _driven(layout: Layout):
    for lane in layout.lanes:
        if lane.kind != "sidewalk":
            yield extended(layout, lane), lane.width_m
    for link in layout.links:
        if (
            layout.lane[link.from_lane].kind != "sidewalk"
            and len(link.points) > 1
            and length(link.points) > 0.1
        ):
            yield link.points, link.width_m
    for crossing in layout.crossings:
        yield crossing.points, crossing.width_m


def toll_gaps(layout: Layout) -> list[list[tuple[float, float]]]:
    """The lines between the lanes of a toll plaza, from some metres before the stop line to some behind it."""
    found = []
    for lane in layout.lanes:
        junction = layout.junction.get(lane.to_junction or "")
        if not junction or junction.kind != "toll" or lane.kind != "driving":
            continue
        end = length(lane.points)
        near, far = end - ISLAND_LONG_M, end + ISLAND_LONG_M / 2
        a, b = point_at(lane.points, max(near, 0.0))[:2], point_at(lane.points, far)[:2]
        for side in (lane.width_m / 2, -lane.width_m / 2):
            line = offset([a, b], side)
            if all(LineString(line).distance(Point(other[0])) > 0.3 for other in found):
                found.append(line)
    return found


def areas_of(shape: Any, name: str, surface: str, z: float) -> list[dict[str, Any]]:
    """A scene spec's areas of a (multi)polygon: outer rings counter-clockwise, holes clockwise."""
    areas = []
    for polygon in sorted(_polygons(shape), key=lambda p: p.bounds):
        polygon = shapely.geometry.polygon.orient(polygon.simplify(0.005))
        if polygon.area < 0.02:
            continue
        areas.append(
            {"class": name, "surface": surface, "z": z, "outer": ring(polygon.exterior),
             "holes": [ring(hole) for hole in polygon.interiors]}
        )  # fmt: skip
    return areas


def ring(line: Any) -> list[list[float]]:
    return [[round(x, 3), round(y, 3)] for x, y in line.coords[:-1]]


def _polygons(shape: Any) -> list[Polygon]:
    if shape.is_empty:
        return []
    if isinstance(shape, Polygon):
        return [shape]
    parts = shape.geoms if isinstance(shape, MultiPolygon) or hasattr(shape, "geoms") else []
    return [part for part in parts if isinstance(part, Polygon) and part.area > 0]
