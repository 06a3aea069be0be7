# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""The ground of a spec: asphalt, pavements and kerbs with their edges, paint; the plain around."""

from mathutils import Vector
from mathutils.geometry import delaunay_2d_cdt
from soup import Soup
from surfaces import asphalt, plain

WHITE = (0.82, 0.83, 0.86)  # trodden snow: ground and pavements; roofs and trees stay bare
PLAIN_M, PLAIN_Z = 600.0, -0.08  # half its side
FOOT_Z = -0.12  # edges reach down into the plain
PAINT_Z = {"marking": 0.008, "zebra": 0.009}
WITH_HOLES = 2  # delaunay_2d_cdt: triangles inside the outlines, holes left out


def build_land(spec):
    classes, weather = spec["classes"], spec["conditions"]["weather"]
    wet, snow = weather == "rain", weather == "snow"
    slab = plain(
        "slab", WHITE if snow else (0.17, 0.17, 0.17) if wet else (0.30, 0.29, 0.28), 0.45 if wet else 0.9,
        noise=(0.8, 0.15),
    )  # fmt: skip
    kerb, grass = (
        plain("kerb", (0.46, 0.45, 0.43), 0.85),
        plain("ground", WHITE if snow else (0.13, 0.14, 0.09), 1.0),
    )
    surfaces = {"asphalt": asphalt(wet, snow), "slab": slab, "kerb": kerb, "island": kerb}
    soups = {}
    for part in spec["ground"]:
        soup = soups.setdefault(part["class"], Soup())
        _slab(soup, part, grass if part["class"] == "ground" else surfaces[part["surface"]])
    size, x, y = PLAIN_M, *_middle(spec)
    plain_soup = soups.setdefault("ground", Soup())
    corners = ((-size, -size), (size, -size), (size, size), (-size, size))
    plain_soup.poly([(x + a, y + b, PLAIN_Z) for a, b in corners], grass)
    for name, soup in soups.items():
        soup.place(name, classes[name] * 1000)
    _paint(spec["paint"], classes)


def _middle(spec):
    """Of all cameras: the plain lies around them."""
    cameras = [frame["camera"] for frame in spec["frames"]]
    return [sum(c[axis] for c in cameras) / len(cameras) for axis in ("x", "y")]


def _slab(soup, part, material):
    rings = [part["outer"], *part["holes"]]
    points = [Vector(p) for ring in rings for p in ring]
    outlines, start = [], 0
    for ring in rings:
        outlines.append(list(range(start, start + len(ring))))
        start += len(ring)
    corners, _, faces, *_ = delaunay_2d_cdt(points, [], outlines, WITH_HOLES, 1e-4)
    for face in faces:
        soup.poly([(*corners[k], part["z"]) for k in face], material)
    for ring in rings:
        for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
            soup.poly(
                [(ax, ay, FOOT_Z), (bx, by, FOOT_Z), (bx, by, part["z"]), (ax, ay, part["z"])], material
            )


def _paint(paint, classes):
    white, yellow = (
        plain("paint_white", (0.72, 0.72, 0.70), 0.6),
        plain("paint_yellow", (0.75, 0.45, 0.05), 0.6),
    )
    soups = {}
    for part in paint:
        soup = soups.setdefault((part["class"], part["instance"]), Soup())
        z = PAINT_Z[part["class"]]
        soup.poly([(*p, z) for p in part["points"]], yellow if part["colour"] == "yellow" else white)
    for (name, instance), soup in soups.items():
        soup.place(f"{name}{instance}", classes[name] * 1000 + instance)
