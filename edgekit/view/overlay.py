"""What a picture's truth says, drawn on it: boxes of lights and of what is in the way, the zebra's outline."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from edgekit.view.caption import LIGHTS, font

INSTANCES = 1000  # an id pixel is class * 1000 + instance (Drive and Dataset contracts)
ON_ROAD = {"cone": (255, 150, 50), "barrier": (255, 80, 200), "debris": (255, 80, 200)}
OBSTACLE, ZEBRA, OTHER = (255, 80, 200), (90, 220, 255), (190, 190, 190)
# what the label's obstacle is among the things; barriers and debris are always drawn
IN_THE_WAY = {
    "stopped_vehicle": lambda kind, facts: bool(facts.get("left") and facts.get("right")),
    "person": lambda kind, facts: kind == "person" and bool(facts.get("on_road")),
    "cyclist": lambda kind, facts: kind == "bicycle" and not facts.get("parked"),
}  # fmt: skip
Mark = tuple[list[float], tuple[int, int, int], str, int]


def marks_of(truth: dict[str, Any], label: dict[str, str]) -> list[Mark]:
    """(box in the picture's pixels, colour, word, line width) of what is worth a box.

    truth: a row of truth.jsonl; one from before there were things has ``boxes`` alone, of heads of one state.
    """
    if "things" not in truth:
        return [
            (row["box"], LIGHTS.get(label["light"], OTHER), label["light"], 2)
            if row["class"] == "head"
            else (row["box"], ON_ROAD.get(row["class"], OBSTACLE), word_of(row["class"]), 2)
            for row in truth.get("boxes", ())
        ]
    in_the_way, marks = IN_THE_WAY.get(label["obstacle"], lambda kind, facts: False), []
    for thing in truth["things"]:
        box, kind, facts = thing.get("box_visible"), thing["class"], thing.get("attributes", {})
        if not box:
            continue
        if kind == "head" and facts.get("governs"):
            marks.append((box, LIGHTS.get(facts["state"], OTHER), facts["state"], 2))
        elif kind == "head":
            marks.append((box, OTHER, "", 1))
        elif kind in ON_ROAD:
            marks.append((box, ON_ROAD[kind], word_of(kind), 2))
        elif in_the_way(kind, facts):
            marks.append((box, OBSTACLE, label["obstacle"].replace("_", " "), 2))
    return marks


def word_of(kind: str) -> str:
    """Empty for cones: they stand close together, and are known by their colour."""
    return "" if kind == "cone" else kind


def draw(picture: np.ndarray, marks: list[Mark], zebra: list[tuple[int, int]], width: int) -> Image.Image:
    """The picture (RGB uint8 (H, W, 3)) at ``width`` pixels with its marks around, not on, what they mark."""
    image = Image.fromarray(picture)
    scale = width / image.width
    image = image.resize((width, max(1, round(image.height * scale))), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    if len(zebra) > 2:
        outline = [(u * scale, v * scale) for u, v in zebra]
        pen.line([*outline, outline[0]], fill=ZEBRA, width=1)
    for box, colour, word, line in marks:
        u0, v0, u1, v1 = (edge * scale for edge in box)
        pen.rectangle((u0 - line - 1, v0 - line - 1, u1 + line, v1 + line), outline=colour, width=line)
        if word:
            long = pen.textlength(word, font=font(11))
            # beside the box, inside the picture
            u = min(max(2, u0 - line), image.width - long - 3)
            v = v0 - line - 15 if v0 - line - 15 > 0 else v1 + line + 1
            pen.rectangle((u - 2, v, u + long + 1, v + 13), fill=(0, 0, 0))
            pen.text((u, v), word, font=font(11), fill=colour)
    return image


def zebra_outline(ids: np.ndarray, number: int, instance: int | None) -> list[tuple[int, int]]:
    """Corners (u, v) of the convex outline of a zebra's pixels; of all zebras where no instance is named.

    ids: (h, w); number: the class number of zebra. Empty where no pixel shows.
    """
    mask = ids // INSTANCES == number
    if instance is not None:
        mask &= ids % INSTANCES == instance
    points = []
    for row in np.flatnonzero(mask.any(axis=1)).tolist():
        columns = np.flatnonzero(mask[row])
        points += [(u, v) for u in (int(columns[0]), int(columns[-1]) + 1) for v in (row, row + 1)]
    return _hull(sorted(set(points)))


def _hull(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The convex hull of sorted points: Andrew's monotone chain (1979)."""
    sides = []
    for run in (points, points[::-1]):
        side: list[tuple[int, int]] = []
        for p in run:
            while len(side) > 1 and _turn(side[-2], side[-1], p) <= 0:
                side.pop()
            side.append(p)
        sides += side[:-1]
    return sides


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
