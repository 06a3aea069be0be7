"""A toy world of streets: style, view and things vary apart, and every mask and box is known.

What rendered drives cannot give: any number of pictures at once, and factors that are independent by
construction, so that a change of one can be told from a change of another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIZE = 56  # pixels a side: the least that a Dataset holds
_FINE = 4  # drawn so many times larger, then averaged
CLASSES = ("sky", "building", "road", "sidewalk", "ground", "car", "person", "pole")
THINGS = ("car", "person", "pole")
STYLES = ("sunny", "cloudy", "rain", "snow", "night")
VIEWS = ("street", "above", "object")  # from the car; from straight above; one big thing in the middle

# RGB of each class, by style: what is far from grey is what a colour statistic can tell.
_PALETTES = {
    "sunny": ((110, 170, 240), (200, 170, 130), (110, 110, 115), (190, 185, 175), (90, 150, 70)),
    "cloudy": ((175, 180, 188), (150, 140, 130), (95, 96, 100), (150, 148, 145), (90, 115, 80)),
    "rain": ((110, 118, 130), (96, 92, 92), (62, 66, 76), (104, 106, 112), (58, 78, 60)),
    "snow": ((205, 210, 220), (165, 150, 145), (170, 174, 184), (225, 228, 235), (240, 242, 248)),
    "night": ((14, 18, 42), (44, 38, 44), (30, 31, 38), (50, 48, 52), (16, 26, 20)),
}
_PAINTS = ((200, 40, 40), (40, 70, 190), (235, 235, 235), (30, 30, 34), (230, 180, 40), (60, 140, 80))
_LIGHT = {"sunny": 1.0, "cloudy": 0.85, "rain": 0.65, "snow": 0.95, "night": 0.4}  # on things


@dataclass(frozen=True)
class Picture:
    """rgb: uint8 [SIZE, SIZE, 3]; mask: uint8 [SIZE, SIZE], indices of CLASSES; boxes: (class, x0, y0, x1, y1)
    in pixels; style, view: the factors; thing: of an object view, else ""."""

    rgb: np.ndarray
    mask: np.ndarray
    boxes: tuple[tuple[str, float, float, float, float], ...]
    style: str
    view: str
    thing: str = ""

    @property
    def tags(self) -> list[str]:
        return [self.style, self.view, *([self.thing] if self.thing else [])]

    @property
    def caption(self) -> str:
        said = {"rain": "rainy", "snow": "snowy"}.get(self.style, self.style)
        if self.view == "object":
            return f"a {said} picture of one {self.thing}"
        counts = {t: sum(b[0] == t for b in self.boxes) for t in ("car", "person")}
        told = [f"{n} {thing if n == 1 else {'car': 'cars', 'person': 'people'}[thing]}"
                for thing, n in counts.items() if n]  # fmt: skip
        seen = "seen from above" if self.view == "above" else "seen from a car"
        return f"a {said} street {seen}" + (f" with {' and '.join(told)}" if told else "")


def draw(style: str, view: str, seed: int | list[int]) -> Picture:
    """A picture of ``style`` (STYLES) and ``view`` (VIEWS, or tunnel); the same for the same seed."""
    random = np.random.default_rng(seed)
    canvas = _Canvas(style)
    thing = _VIEWS[view](canvas, random) or ""
    rgb = np.asarray(canvas.image.resize((SIZE, SIZE), Image.Resampling.BOX), np.float32)
    rgb = _weather(rgb, style, random)
    half = _FINE // 2
    mask = np.asarray(canvas.mask)[half::_FINE, half::_FINE].copy()
    boxes = tuple(
        (name, *(float(np.clip(v, 0, SIZE)) for v in box))
        for name, *box in canvas.boxes
        if (mask[_inside(box)] == CLASSES.index(name)).any()
    )
    return Picture(
        np.clip(rgb, 0, 255).round().astype(np.uint8),
        mask,
        boxes,
        style,
        "street" if view == "tunnel" else view,
        thing,
    )


def _inside(box: list[float]) -> tuple[slice, slice]:
    """The pixels that a box touches, a drawn edge's rounding included."""
    x0, y0, x1, y1 = box
    return np.s_[max(int(y0), 0) : max(int(y1) + 2, 0), max(int(x0), 0) : max(int(x1) + 2, 0)]


class _Canvas:
    """Draws in units of a final pixel, the picture and its mask alike."""

    def __init__(self, style: str):
        side = SIZE * _FINE
        self.palette, self.light = _PALETTES[style], _LIGHT[style]
        self.night = style == "night"
        self.image = Image.new("RGB", (side, side), self.palette[0])
        self.mask = Image.new("L", (side, side), 0)
        self.pens = ImageDraw.Draw(self.image), ImageDraw.Draw(self.mask)
        self.boxes: list[tuple[str, float, float, float, float]] = []

    def polygon(self, name: str, points, colour=None, shade: float = 1.0) -> None:
        """A polygon of a class; colour: its own, else the style's; shade: times its brightness."""
        index = CLASSES.index(name)
        colour = self.palette[index] if colour is None else colour
        colour = tuple(int(min(255, c * shade)) for c in colour)
        points = [(x * _FINE, y * _FINE) for x, y in points]
        self.pens[0].polygon(points, fill=colour)
        self.pens[1].polygon(points, fill=index)

    def box(self, name: str, x0, y0, x1, y1, colour=None, shade: float = 1.0) -> None:
        # A hundredth less, as PIL fills the far edge too.
        x1, y1 = x1 - 0.01, y1 - 0.01
        self.polygon(name, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, shade)

    def mark(self, x0, y0, x1, y1, colour, light: bool = False) -> None:
        """Paint or a lamp on what is there: the mask stays."""
        dim = 1.0 if light else self.light
        fill = tuple(int(c * dim) for c in colour)
        self.pens[0].rectangle([v * _FINE for v in (x0, y0, x1 - 0.01, y1 - 0.01)], fill=fill)

    def car(self, x, bottom, width, paint, seen: str) -> None:
        """seen: behind (from the road), side, or above."""
        height = {"behind": 0.85, "side": 0.5, "above": 1.9}[seen] * width
        top = bottom - height
        self.boxes.append(("car", x, top, x + width, bottom))
        if seen == "above":
            self.box("car", x, top, x + width, bottom, paint, self.light)
            self.mark(
                x + 0.15 * width, top + 0.25 * height, x + 0.85 * width, top + 0.42 * height, (40, 50, 60)
            )
            return
        self.box("car", x, top + 0.4 * height, x + width, bottom, paint, self.light)
        inset = (0.14 if seen == "behind" else 0.22) * width
        self.box("car", x + inset, top, x + width - inset, top + 0.45 * height, paint, 0.8 * self.light)
        self.mark(
            x + 1.4 * inset, top + 0.1 * height, x + width - 1.4 * inset, top + 0.38 * height, (60, 75, 95)
        )
        if seen == "behind":
            for left in (x + 0.04 * width, x + 0.78 * width):
                lamp = (255, 40, 30) if self.night else (170, 20, 20)
                self.mark(
                    left, top + 0.5 * height, left + 0.18 * width, top + 0.66 * height, lamp, self.night
                )
        for left in (x + 0.1 * width, x + 0.7 * width):
            self.mark(left, bottom - 0.14 * height, left + 0.2 * width, bottom, (18, 18, 20))

    def person(self, x, bottom, height, coat) -> None:
        width = 0.36 * height
        self.boxes.append(("person", x, bottom - height, x + width, bottom))
        self.box("person", x, bottom - 0.78 * height, x + width, bottom - 0.35 * height, coat, self.light)
        self.box(
            "person",
            x + 0.15 * width,
            bottom - 0.35 * height,
            x + 0.85 * width,
            bottom,
            (40, 40, 60),
            self.light,
        )
        self.box("person", x + 0.25 * width, bottom - height, x + 0.75 * width, bottom - 0.78 * height,
                 (220, 175, 145), self.light)  # fmt: skip

    def pole(self, x, bottom, height) -> None:
        """A lamp post: its lamp shines at night."""
        width = max(0.07 * height, 0.6)
        self.boxes.append(("pole", x, bottom - height, x + width, bottom))
        self.box("pole", x, bottom - height, x + width, bottom, (90, 92, 96), self.light)
        lamp = (255, 225, 140) if self.night else (230, 230, 220)
        self.mark(x - width, bottom - height, x + 2 * width, bottom - 0.9 * height, lamp, self.night)


def _street(canvas: _Canvas, random: np.random.Generator) -> None:
    horizon, vanish = random.uniform(16, 24), random.uniform(20, 36)
    canvas.box("ground", 0, horizon, SIZE, SIZE)
    edge = random.uniform(14, 20)  # of the road at the picture's foot, beyond the sides
    _houses(canvas, random, horizon, vanish)
    for side in (-1, 1):
        foot = vanish + side * (SIZE / 2 + edge)
        canvas.polygon(
            "sidewalk",
            [(vanish, horizon), (foot, SIZE), (foot + side * 26, SIZE), (vanish + side * 3, horizon)],
        )
    canvas.polygon(
        "road", [(vanish - 1, horizon), (vanish + 1, horizon), (vanish + SIZE / 2 + edge, SIZE),
                 (vanish - SIZE / 2 - edge, SIZE)],
    )  # fmt: skip
    for k in range(4):  # dashes of the middle line
        near = 0.12 + 0.25 * k
        y0, y1 = (horizon + (SIZE - horizon) * v for v in (near, near + 0.12))
        canvas.mark(vanish - 1.2 * near, y0, vanish + 1.2 * near, y1, (235, 235, 225))
    things = [("car", d) for d in random.uniform(0.12, 0.62, random.integers(1, 4))]
    things += [("person", d) for d in random.uniform(0.2, 0.7, random.integers(0, 3))]
    things += [("pole", d) for d in random.uniform(0.15, 0.6, random.integers(0, 3))]
    for name, near in sorted(things, key=lambda t: t[1]):  # far ones first; near: 0 horizon, 1 foot
        bottom = horizon + (SIZE - horizon) * near
        half = near * (SIZE / 2 + edge)  # of the road there
        side = random.choice((-1, 1))
        if name == "car":
            width = max(0.36 * half, 2.2)
            canvas.car(vanish + side * 0.5 * half - width / 2, bottom, width, _paint(random), "behind")
        else:
            x = vanish + side * (half + 1 + random.uniform(0, 6) * near)
            if name == "person":
                canvas.person(x, bottom, max(16 * near, 3), _paint(random))
            else:
                canvas.pole(x, bottom, max(40 * near, 7))


def _above(canvas: _Canvas, random: np.random.Generator) -> None:
    canvas.box("ground", 0, 0, SIZE, SIZE)
    across, x, y = random.random() < 0.6, random.uniform(18, 38), random.uniform(18, 38)
    half, walk = random.uniform(6, 8), 3
    for fits in (half + walk, half):
        name = "sidewalk" if fits > half else "road"
        canvas.box(name, x - fits, 0, x + fits, SIZE)
        if across:
            canvas.box(name, 0, y - fits, SIZE, y + fits)
    for _ in range(random.integers(3, 7)):
        w, h = random.uniform(7, 16, 2)
        left, top = random.uniform(-4, SIZE - 4, 2)
        clear = half + walk + 1
        if left + w > x - clear and left < x + clear:
            continue
        if across and top + h > y - clear and top < y + clear:
            continue
        canvas.box("building", left, top, left + w, top + h, shade=random.uniform(0.8, 1.15))
    for top in range(2, SIZE, 10):
        canvas.mark(x - 0.4, top, x + 0.4, top + 5, (235, 235, 225))
    for _ in range(random.integers(1, 5)):
        side = random.choice((-1, 1))
        canvas.car(x + side * half / 2 - 1.8, random.uniform(8, SIZE), 3.6, _paint(random), "above")


def _object(canvas: _Canvas, random: np.random.Generator) -> str:
    line = random.uniform(30, 38)
    canvas.box("ground", 0, line, SIZE, SIZE)
    thing = str(random.choice(THINGS))
    middle, foot = random.uniform(24, 32), random.uniform(44, 50)
    if thing == "car":
        width = random.uniform(26, 36)
        canvas.car(middle - width / 2, foot, width, _paint(random), str(random.choice(("behind", "side"))))
    elif thing == "person":
        canvas.person(middle - 6, foot, random.uniform(30, 38), _paint(random))
    else:
        canvas.pole(middle - 1.5, foot, random.uniform(34, 42))
    return thing


def _tunnel(canvas: _Canvas, random: np.random.Generator) -> None:
    """A topology that no other view has: walls around, rows of lamps, the road below."""
    x, y = random.uniform(22, 34), random.uniform(22, 32)
    canvas.box("building", 0, 0, SIZE, SIZE, shade=0.7)
    for k in range(5, 0, -1):  # rings from the mouth inward
        w, h = 5.5 * k, 4.6 * k
        canvas.box("building", x - w, y - h, x + w, y + h, shade=0.42 + 0.06 * k)
    canvas.polygon("road", [(x - 2, y + 4), (x + 2, y + 4), (SIZE + 4, SIZE), (-4, SIZE)])
    canvas.box("sky", x - 3, y - 3, x + 3, y + 4)
    for k in range(1, 6):
        for side in (-1, 1):
            canvas.mark(x + side * 3.2 * k - 0.7, y - 3.6 * k - 0.6, x + side * 3.2 * k + 0.7,
                        y - 3.6 * k + 0.6, (255, 220, 140), light=True)  # fmt: skip
    for near in np.sort(random.uniform(0.2, 0.7, random.integers(1, 3))):
        bottom = y + 4 + (SIZE - y - 4) * near
        width = max(13 * near, 2.5)
        canvas.car(
            x + random.choice((-1, 1)) * 13 * near - width / 2, bottom, width, _paint(random), "behind"
        )


def _houses(canvas: _Canvas, random: np.random.Generator, horizon: float, vanish: float) -> None:
    """Rows of fronts on both sides, lower towards the vanishing point."""
    for side in (-1, 1):
        near = float(random.uniform(26, 40))
        while near > 4:
            width = random.uniform(0.25, 0.4) * near
            height = near * random.uniform(0.35, 0.75)
            x0, x1 = sorted((vanish + side * near, vanish + side * (near - width)))
            canvas.box(
                "building", x0, horizon - height, x1, horizon + near * 0.18, shade=random.uniform(0.75, 1.2)
            )
            lit = (250, 215, 120) if canvas.night else (120, 135, 150)
            for wx in np.arange(x0 + 1, x1 - 1.5, 3.0):
                for wy in np.arange(horizon - height + 1.5, horizon - 1, 3.5):
                    if random.random() < 0.7:
                        canvas.mark(wx, wy, wx + 1.2, wy + 1.6, lit, light=canvas.night)
            near -= width + random.uniform(0, 0.1) * near


def _weather(rgb: np.ndarray, style: str, random: np.random.Generator) -> np.ndarray:
    rgb = rgb + random.normal(0, 2.5, rgb.shape)
    if style == "rain":
        for _ in range(26):
            x, y, n = random.integers(0, SIZE), random.integers(0, SIZE - 5), random.integers(3, 6)
            rgb[y : y + n, x] += 38
    if style == "snow":
        spots = random.integers(0, SIZE, (44, 2))
        rgb[spots[:, 0], spots[:, 1]] = 250
    return rgb


def _paint(random: np.random.Generator) -> tuple[int, int, int]:
    return _PAINTS[random.integers(len(_PAINTS))]


_VIEWS = {"street": _street, "above": _above, "object": _object, "tunnel": _tunnel}
