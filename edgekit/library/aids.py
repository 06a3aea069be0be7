"""Visual aids: a light cut out at full resolution, outlines around what was detected, the edges of our path.

Pictures are RGB uint8 (H, W, 3) at the camera's own resolution: aids are made before anything is scaled down.
What is drawn is magenta or cyan, which no signal, cone or road marking is, and lies beside a thing, not on it.
The words for the model stand in ``edgekit.library.compose.AIDS``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from edgekit.core.box import Box
from edgekit.library.context import plain_word

MAGENTA, CYAN = (255, 0, 255), (0, 255, 255)
LEAST_BOX_PX = 4  # a smaller box holds nothing to look at
CROP_MARGIN = 1.0  # of the box on each side: the housing, and what hangs beside it
CROP_PX = 224  # a crop's longer side is enlarged to at least this, by a whole factor
INSET = 1 / 3  # of the frame's width and height, at most
MARKED = ("cones", "barrier", "person", "cyclist", "debris", "stopped_vehicle")
MOST_MARKS = 6


def possible_aids(boxes: Iterable[Box] = (), lane: np.ndarray | None = None) -> frozenset[str]:
    """The aids that can be shown with an image of which these are known."""
    boxes = list(boxes)
    found = {"crop"} if _lights(boxes) else set()
    found |= {"mark"} if _marked(boxes) else set()
    return frozenset(found | ({"lane"} if lane is not None else set()))


def with_aids(
    image: np.ndarray, aids: Collection[str], boxes: Iterable[Box] = (), lane: np.ndarray | None = None
) -> list[np.ndarray]:
    """[the frame, with what is drawn into it; then a crop where one is asked for]. ``image`` stays as it is.

    boxes: in pixels of ``image``; lane: float (2, n, 2) from ``ego_lane``. Raises ValueError for another kind of
    picture and for an aid that cannot be made from these (``possible_aids`` says which can).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"want RGB uint8 (H, W, 3), got {image.dtype} {image.shape}")
    boxes = list(boxes)
    lacking = sorted(set(aids) - possible_aids(boxes, lane))
    if lacking:
        raise ValueError(f"{', '.join(lacking)}: no such aid, or nothing here to make it from")
    frame = image.copy()
    if "lane" in aids:
        frame = draw_lane(frame, lane)
    if "mark" in aids:
        for box in _marked(boxes):
            outline(frame, box)
    return [frame, *([crop(image, _lights(boxes)[0])] if "crop" in aids else [])]


def crop(image: np.ndarray, box: Box) -> np.ndarray:
    """The box and ``CROP_MARGIN`` of it around, from the pixels as they came, enlarged by a whole factor.

    Never narrower than half its length: a single lamp's column keeps some of what stands beside it.
    """
    height, width = image.shape[:2]
    w, h = box.x1 - box.x0, box.y1 - box.y0
    half_w, half_h = (CROP_MARGIN + 0.5) * w, (CROP_MARGIN + 0.5) * h
    half_w, half_h = max(half_w, half_h / 2), max(half_h, half_w / 2)
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    left, right = _span(x - half_w, x + half_w, width)
    top, bottom = _span(y - half_h, y + half_h, height)
    part = image[top:bottom, left:right]
    times = math.ceil(CROP_PX / max(part.shape[:2]))
    size = (part.shape[1] * times, part.shape[0] * times)
    return (
        np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BICUBIC)) if times > 1 else part.copy()
    )


def outline(frame: np.ndarray, box: Box, colour: tuple[int, int, int] = MAGENTA) -> None:
    """Draws a ring around the box into ``frame``; of what the box holds nothing is covered."""
    thick = max(1, frame.shape[0] // 240)
    gap = thick + 1
    height, width = frame.shape[:2]
    inner = [
        math.floor(box.x0) - gap,
        math.floor(box.y0) - gap,
        math.ceil(box.x1) + gap,
        math.ceil(box.y1) + gap,
    ]
    outer = [inner[0] - thick, inner[1] - thick, inner[2] + thick, inner[3] + thick]
    (l0, t0, r0, b0), (l1, t1, r1, b1) = _clip(outer, width, height), _clip(inner, width, height)
    ring = np.zeros((height, width), bool)
    ring[t0:b0, l0:r0] = True
    ring[t1:b1, l1:r1] = False
    frame[ring] = colour


def ego_lane(
    K: Sequence[Sequence[float]],
    height_m: float,
    yaw_rate_rps: float = 0.0,
    speed_mps: float = 0.0,
    half_width_m: float = 1.75,
    near_m: float = 5.0,
    far_m: float = 40.0,
) -> np.ndarray:
    """The edges of the path that the car is on, in pixels: float64 (2, 16, 2), left and right, near to far.

    A level camera ``height_m`` above flat ground; K: 3×3 in pixels. The path bends as the car turns: curvature
    = yaw rate / speed (1/m, left positive), straight below 1 m/s, where that quotient means nothing.
    Source: pinhole projection, x' = fx X/Z + cx, y' = fy Y/Z + cy.
    """
    if height_m <= 0 or not 0 < near_m < far_m:
        raise ValueError(f"height_m {height_m}, near_m {near_m} and far_m {far_m} must be above 0 and rise")
    ahead = 1 / np.linspace(1 / near_m, 1 / far_m, 16)  # even steps in the picture, not on the road
    bend = yaw_rate_rps / speed_mps if speed_mps > 1.0 else 0.0
    middle = -0.5 * bend * ahead**2  # to the right
    K = np.asarray(K, dtype=np.float64)
    y = K[1, 1] * height_m / ahead + K[1, 2]
    sides = [K[0, 0] * (middle + side * half_width_m) / ahead + K[0, 2] for side in (-1, 1)]
    return np.stack([np.stack([x, y], axis=1) for x in sides])


def draw_lane(frame: np.ndarray, lane: np.ndarray) -> np.ndarray:
    """The frame with both edges as thin cyan lines; the road between them stays bare."""
    canvas = Image.fromarray(frame)
    draw = ImageDraw.Draw(canvas)
    for edge in np.asarray(lane, dtype=np.float64):
        points = [(float(x), float(y)) for x, y in edge if abs(x) < 1e5 and abs(y) < 1e5]  # NaN fails too
        draw.line(points, fill=CYAN, width=max(1, frame.shape[0] // 240))
    return np.array(canvas)


def fit_pictures(pictures: Sequence[np.ndarray], most: int = 1) -> np.ndarray | list[np.ndarray]:
    """What to hand to an Answerer that takes ``most`` pictures a question: all of them, or one with insets.

    The fallback costs something, so say it where it is used: an inset covers a lower corner of the frame, and is
    scaled down with it.
    """
    if len(pictures) == 1:
        return pictures[0]
    return list(pictures) if len(pictures) <= most else paste(pictures)


def paste(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """The first picture with the others as framed insets: lower right, then lower left.

    The lower corners show kerbs and the next lane; signals hang high and what stands in our way is in the middle.
    Raises ValueError for more than two insets.
    """
    frame, insets = pictures[0].copy(), pictures[1:]
    if len(insets) > 2:
        raise ValueError(f"two insets find room in a picture, {len(insets)} came")
    height, width = frame.shape[:2]
    thick = max(1, height // 240)
    for n, inset in enumerate(insets):
        scale = min(width * INSET / inset.shape[1], height * INSET / inset.shape[0])
        size = (max(1, int(inset.shape[1] * scale)), max(1, int(inset.shape[0] * scale)))
        small = np.asarray(Image.fromarray(inset).resize(size, Image.Resampling.BICUBIC))
        h, w = min(small.shape[0] + 2 * thick, height), min(small.shape[1] + 2 * thick, width)
        left = width - w if n == 0 else 0
        frame[height - h :, left : left + w] = MAGENTA
        frame[height - h + thick : height - thick, left + thick : left + w - thick] = small[
            : h - 2 * thick, : w - 2 * thick
        ]
    return frame


def _lights(boxes: Iterable[Box]) -> list[Box]:
    """The largest, surest first: it is the nearest head, or the one that hangs for us."""
    return sorted(_usable(boxes, ("light",)), key=lambda b: -b.score * (b.x1 - b.x0) * (b.y1 - b.y0))


def _marked(boxes: Iterable[Box]) -> list[Box]:
    found = sorted(_usable(boxes, MARKED), key=lambda b: -(b.x1 - b.x0) * (b.y1 - b.y0))
    return found[:MOST_MARKS]


def _usable(boxes: Iterable[Box], names: tuple[str, ...]) -> list[Box]:
    return [
        box
        for box in boxes
        if plain_word(box.name) in names
        and all(math.isfinite(v) for v in (box.x0, box.y0, box.x1, box.y1, box.score))
        and min(box.x1 - box.x0, box.y1 - box.y0) >= LEAST_BOX_PX
    ]


def _span(first: float, last: float, size: int) -> tuple[int, int]:
    """Whole pixels inside [0, size), at least one of them."""
    low = min(max(math.floor(first), 0), size - 1)
    return low, min(max(math.ceil(last), low + 1), size)


def _clip(box: list[int], width: int, height: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    return (
        min(max(left, 0), width), min(max(top, 0), height), min(max(right, 0), width), min(max(bottom, 0), height)
    )  # fmt: skip
