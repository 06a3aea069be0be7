"""A label in words: coloured pieces of text on the strip below a picture."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from edgekit.core.label import SceneLabel

LINE = 17  # pixels of one line of text
SIZE = 13
PAPER, INK, DIM, GREY = (24, 26, 28), (236, 236, 230), (168, 172, 176), (130, 134, 138)
LIGHTS = {"red": (255, 82, 70), "yellow": (255, 200, 40), "green": (60, 220, 120), "off": (150, 160, 175)}
THERE = {"obstacles": (255, 150, 50), "crossroad": (110, 190, 255)}
Piece = tuple[str, tuple[int, int, int]]


@lru_cache(maxsize=8)
def font(size: int = SIZE) -> ImageFont.FreeTypeFont:
    """Pillow's own: the same on every machine."""
    return ImageFont.load_default(size)


def lines_of(label: SceneLabel, dropped: Collection[str] = ()) -> list[list[Piece]]:
    """Lines of pieces: speed and light; the lights of other lanes, where there are any; what is on the road.

    A task in ``dropped`` is not scored: it stands in grey, in brackets.
    """
    speed, light, others, obstacles, crossroad = words_of(label)

    def piece(task: str, text: str, there: bool, colour: tuple[int, int, int]) -> Piece:
        return (f"({text})", GREY) if task in dropped else (text, colour if there else DIM)

    lit = label.light in LIGHTS
    lines = [[
        piece("speed", speed, True, INK),
        piece("light", light, lit, LIGHTS.get(label.light, DIM)),
    ]]  # fmt: skip
    if others:
        lines.append([piece("light", others, True, INK)])
    on_road = label.cones == "yes" or label.obstacle not in ("none", "unknown")
    ahead = "yes" in (label.crossroad, label.zebra)
    lines.append([
        piece("obstacles", obstacles, on_road, THERE["obstacles"]),
        piece("crossroad", crossroad, ahead, THERE["crossroad"]),
    ])  # fmt: skip
    return lines


def words_of(label: SceneLabel) -> tuple[str, str, str, str, str]:
    """(speed, light, others, obstacles, crossroad); others is empty where no other lane has a light."""
    speed = "speed unknown" if label.speed_kmh is None else f"{label.speed_kmh} km/h recommended"
    light = f"light {label.light}" if label.light in ("unknown", "off") else f"{label.light} light"
    light = "no light" if label.light == "none" else light
    if label.light in LIGHTS:
        light += "" if label.light_arrow == "any" else f", arrow {label.light_arrow}"
        light += "" if label.light_kind == "intersection" else f", {label.light_kind}"
    ways = {way: getattr(label, f"other_{way}") for way in ("left", "straight", "right")}
    told = [f"{way} {state}" for way, state in ways.items() if state != "none"]
    unknown = label.light == "unknown" and set(ways.values()) == {"unknown"}
    others = "other lanes: " + ", ".join(told) if told and not unknown else ""
    obstacle = "no obstacle" if label.obstacle == "none" else label.obstacle.replace("_", " ")
    obstacle = "obstacle?" if label.obstacle == "unknown" else obstacle
    there = {"yes": "{}", "no": "no {}", "unknown": "{}?"}
    cones, crossroad, zebra = (there[getattr(label, s)].format(s) for s in ("cones", "crossroad", "zebra"))
    return speed, light, others, f"{cones}, {obstacle}", f"{crossroad}, {zebra}"


def write(draw: ImageDraw.ImageDraw, place: tuple[int, int], pieces: list[Piece], width: int) -> None:
    """A line from ``place`` (left, top) on; what goes beyond ``width`` pixels ends in dots."""
    x, y = place
    for text, colour in pieces:
        if draw.textlength(text, font=font()) > width - x:
            while text and draw.textlength(text + "...", font=font()) > width - x:
                text = text[:-1]
            text += "..."
        draw.text((x, y), text, font=font(), fill=colour)
        x += int(draw.textlength(text, font=font())) + 14


def strip(head: str, lines: list[list[Piece]], width: int) -> Image.Image:
    """The strip: ``head`` (whose picture, which split, which tags) and the lines."""
    paper = Image.new("RGB", (width, 5 + LINE * (1 + len(lines))), PAPER)
    draw = ImageDraw.Draw(paper)
    for number, pieces in enumerate([[(head, DIM)], *lines]):
        write(draw, (5, 2 + LINE * number), pieces, width - 4)
    return paper
