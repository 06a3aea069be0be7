"""The things of a frame in the picture: boxes, masks' extents, 3D boxes, keypoints, attributes.

A box [u0, v0, u1, v1] is of pixel edges: u0 <= u < u1; a mask of one pixel in column c, row r is [c, r, c+1, r+1].
3D is KITTI's (Geiger et al. 2012): the camera's frame x right, y down, z forward, in metres.
"""

import math
from typing import Any

import numpy as np

from edgekit.render.ahead import key
from edgekit.render.bodies import Body, bodies_of, place
from edgekit.render.camera import NEAR_M, Camera
from edgekit.render.outline import area, bounds, clip, outline

FAR_M = 120.0
BEHIND_M = 15.0  # nothing is longer than twice this: what is farther behind the lens does not reach in front
HIDDEN, VISIBLE = 1, 2  # COCO's flags of a keypoint; 0: outside the image


def things_of(
    spec: dict[str, Any], frame: dict[str, Any], camera: Camera, ids: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """What is in view and nearer than FAR_M, hidden or not. ids: (h, w) uint16; None: nothing is known of masks.

    Each: class, instance, id, name; box: amodal, clipped to the image; box_visible and pixels: of its mask (None:
    no mask); visible_share: pixels by the area of its outline in the image, at most 1 (an approximation: the outline
    is that of a convex hull); truncated: share of the amodal box outside the image; distance_m: depth of its middle;
    location: of its bottom's middle; dimensions: height, width, length; rotation_y: KITTI's; keypoints: name → u, v,
    flag; attributes. A head's mask is that of its housing and its lenses.
    """
    masks = None if ids is None else Masks(ids)
    found = (_thing(body, camera, masks) for body in bodies_of(spec, frame))
    return [thing for thing in found if thing]


class Masks:
    """Pixels and extents of every id of an ids image, in one pass."""

    def __init__(self, ids: np.ndarray):
        self.ids = np.asarray(ids, np.uint16)
        flat = self.ids.ravel()
        order = np.argsort(flat, kind="stable")  # a radix sort for 16 bits
        values, starts, counts = np.unique(flat[order], return_index=True, return_counts=True)
        rows, columns = np.divmod(order, self.ids.shape[1])
        extents = [
            edge.reduceat(line, starts) for edge, line in
            ((np.minimum, columns), (np.minimum, rows), (np.maximum, columns), (np.maximum, rows))
        ]  # fmt: skip
        boxes = np.stack(extents, axis=1) + (0, 0, 1, 1)
        self._of = dict(zip(values.tolist(), zip(counts.tolist(), boxes.tolist(), strict=True), strict=True))

    def pixels(self, *keys: int) -> int:
        return sum(self._of[k][0] for k in keys if k in self._of)

    def box(self, *keys: int) -> list[int] | None:
        """Around the pixels of these ids together; None where there is none."""
        boxes = [self._of[k][1] for k in keys if k in self._of]
        if not boxes:
            return None
        u0, v0, u1, v1 = zip(*boxes, strict=True)
        return [min(u0), min(v0), max(u1), max(v1)]

    def holds(self, keys: tuple[int, ...], u: float, v: float) -> bool:
        """Whether the pixel at (u, v) or one beside it belongs to these: a keypoint lies on its thing's rim."""
        row, column = int(v), int(u)
        near = self.ids[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        return not set(near.ravel().tolist()).isdisjoint(keys)


def _thing(body: Body, camera: Camera, masks: Masks | None) -> dict[str, Any] | None:
    low, high = body.points.min(axis=0), body.points.max(axis=0)
    middle = (low + high) / 2
    spots = [middle, (middle[0], middle[1], low[2]), *body.keypoints.values()]
    viewed = camera.view(place(np.concatenate([spots, body.points]), body.at))
    (centre, bottom), spots = viewed[:2].tolist(), viewed[2 : len(spots)]
    if centre[2] < -BEHIND_M or math.hypot(*centre) >= FAR_M:
        return None
    shape = outline(camera, viewed[2 + len(spots) :])
    inside = clip(shape, camera.width, camera.height)
    if len(inside) < 3:
        return None
    box = [round(edge, 2) for edge in bounds(inside)]
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    pixels = None if masks is None else masks.pixels(*body.keys)
    seen = None if masks is None else min(1.0, pixels / area(inside))
    yaw = body.at[3]
    turned = camera.rotation @ (-math.sin(yaw), math.cos(yaw), 0.0)
    return {
        "class": body.word,
        "instance": body.instance,
        "id": body.keys[0],
        "name": body.name,
        "box": box,
        "box_visible": masks.box(*body.keys) if masks else None,
        "pixels": pixels,
        "visible_share": None if seen is None else round(seen, 3),
        "truncated": round(_outside(bounds(shape), camera), 3),
        "distance_m": round(centre[2], 2),
        "location": [round(v, 3) for v in bottom],
        "dimensions": [round(float(v), 3) for v in (high - low)[[2, 0, 1]]],
        "rotation_y": round(math.atan2(-turned[2], turned[0]), 4),
        "keypoints": _keypoints(body, camera, masks, spots),
        "attributes": {**body.attributes, **_lit(body, masks)},
    }


def _outside(box: tuple[float, float, float, float], camera: Camera) -> float:
    u0, v0, u1, v1 = box
    wide = max(0.0, min(u1, camera.width) - max(u0, 0.0))
    high = max(0.0, min(v1, camera.height) - max(v0, 0.0))
    return 1 - wide * high / ((u1 - u0) * (v1 - v0))


def _lit(body: Body, masks: Masks | None) -> dict[str, int]:
    """Of a head: the pixels of its lit lens (of all three where it is off)."""
    if body.word != "head" or masks is None:
        return {}
    state = body.attributes["state"]
    return {"lens_pixels": masks.pixels(key(f"lamp_{'dark' if state == 'off' else state}", body.instance))}


def _keypoints(body: Body, camera: Camera, masks: Masks | None, spots: np.ndarray) -> dict[str, list[float]]:
    """name → [u, v, flag]; [0, 0, 0] outside the image. spots: (n, 3), as the camera has them.

    Visible is one whose pixel, or one beside it, shows the thing (a far corner that the thing's own body hides
    counts too); of a head seen from behind no lens is.
    """
    x, y, _, yaw = body.at
    turned_away = body.word == "head" and (camera.y - y) * math.cos(yaw) <= (camera.x - x) * math.sin(yaw)
    found: dict[str, list[float]] = {}
    for name, spot in zip(body.keypoints, spots, strict=True):
        found[name] = [0.0, 0.0, 0]
        if spot[2] < NEAR_M:
            continue
        u, v = camera.pixels(spot[None])[0].tolist()
        if 0 <= u < camera.width and 0 <= v < camera.height:
            shows = not turned_away and (masks is None or masks.holds(body.keys, u, v))
            found[name] = [round(u, 2), round(v, 2), VISIBLE if shows else HIDDEN]
    return found
