"""The HUD's marks, drawn once each at four times their size and scaled down: smooth edges, no files.

Every mark is an RGBA image of ``size`` pixels' height; the drawings are cached.
"""

from __future__ import annotations

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

RED, AMBER, GREEN = (255, 69, 58), (255, 186, 8), (52, 211, 105)
WHITE, INK, GREY = (255, 255, 255), (17, 20, 26), (142, 150, 163)
LAMPS = {"red": (0, RED), "yellow": (1, AMBER), "green": (2, GREEN)}
_OVER = 4  # supersampling

_FONTS = {True: "DejaVuSans-Bold.ttf", False: "DejaVuSans.ttf"}


@lru_cache(maxsize=64)
def font(size: int, bold: bool = True) -> ImageFont.FreeTypeFont:
    """DejaVu Sans where the machine has it, else the font inside Pillow."""
    try:
        return ImageFont.truetype(_FONTS[bold], size)
    except OSError:
        return ImageFont.load_default(size)


def _sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGBA", (width * _OVER, height * _OVER), (0, 0, 0, 0))
    return image, ImageDraw.Draw(image)


def _down(image: Image.Image) -> Image.Image:
    # Premultiplied, so that the invisible black does not darken the edges.
    small = image.convert("RGBa").resize((image.width // _OVER, image.height // _OVER), Image.Resampling.BOX)
    return small.convert("RGBA")


@lru_cache(maxsize=64)
def speed_sign(text: str, size: int) -> Image.Image:
    """A round sign with a red ring; ``text`` is km/h."""
    image, draw = _sheet(size, size)
    s = size * _OVER
    draw.ellipse((0, 0, s - 1, s - 1), fill=WHITE)
    draw.ellipse((s * 0.03, s * 0.03, s * 0.97, s * 0.97), fill=(214, 32, 39))
    draw.ellipse((s * 0.145, s * 0.145, s * 0.855, s * 0.855), fill=WHITE)
    scale = 0.44 if len(text) < 3 else 0.34
    draw.text((s / 2, s * 0.5), text, font=font(int(s * scale)), fill=INK, anchor="mm")
    return _down(image)


@lru_cache(maxsize=64)
def light(state: str, arrow: str, size: int) -> Image.Image:
    """A three-lamp head (width 0.46·size) with the lit lamp, or none lit for ``off``."""
    width = int(size * 0.46)
    image, draw = _sheet(width, size)
    w, h = width * _OVER, size * _OVER
    draw.rounded_rectangle((0, 0, w - 1, h - 1), radius=w * 0.3, fill=(*INK, 235), outline=(*GREY, 255),
                           width=max(1, int(w * 0.035)))  # fmt: skip
    radius = w * 0.315
    for lamp, (row, colour) in LAMPS.items():
        x, y = w / 2, h * (0.195 + 0.305 * row)
        box = (x - radius, y - radius, x + radius, y + radius)
        if lamp != state:
            draw.ellipse(box, fill=(54, 59, 69, 255))
        elif arrow in ("left", "straight", "right"):
            draw.ellipse(box, fill=(28, 31, 38, 255))
            _arrow(draw, x, y, radius * 0.86, arrow, colour)
        else:
            glow = Image.new("RGBA", image.size, (0, 0, 0, 0))
            ImageDraw.Draw(glow).ellipse(
                (x - radius * 1.2, y - radius * 1.2, x + radius * 1.2, y + radius * 1.2), fill=(*colour, 90)
            )
            image.alpha_composite(glow)
            draw.ellipse(box, fill=colour)
    return _down(image)


def _arrow(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, way: str, colour) -> None:
    points = [(-1, 0), (-0.15, -0.8), (-0.15, -0.32), (0.95, -0.32), (0.95, 0.32), (-0.15, 0.32),
              (-0.15, 0.8)]  # fmt: skip
    if way == "right":
        points = [(-px, py) for px, py in points]
    elif way == "straight":
        points = [(py, px) for px, py in points]
    draw.polygon([(x + px * r, y + py * r) for px, py in points], fill=colour)


def _polygon(draw: ImageDraw.ImageDraw, s: float, colour, *points: tuple[float, float]) -> None:
    """Points in parts of the tile's side ``s``."""
    draw.polygon([(s * x, s * y) for x, y in points], fill=colour)


def _tile(size: int, colour) -> tuple[Image.Image, ImageDraw.ImageDraw, float]:
    image, draw = _sheet(size, size)
    s = size * _OVER
    draw.rounded_rectangle((0, 0, s - 1, s - 1), radius=s * 0.2, fill=colour)
    return image, draw, s


@lru_cache(maxsize=8)
def cone(size: int) -> Image.Image:
    """A traffic cone on an amber tile."""
    image, draw, s = _tile(size, AMBER)
    orange = (232, 84, 18)
    _polygon(draw, s, orange, (0.45, 0.16), (0.55, 0.16), (0.74, 0.74), (0.26, 0.74))
    for top, bottom in ((0.34, 0.45), (0.56, 0.66)):
        half = [0.05 + 0.19 * (v - 0.16) / 0.58 for v in (top, bottom)]
        _polygon(draw, s, WHITE, (0.5 - half[0], top), (0.5 + half[0], top),
                 (0.5 + half[1], bottom), (0.5 - half[1], bottom))  # fmt: skip
    draw.rounded_rectangle((s * 0.16, s * 0.74, s * 0.84, s * 0.84), radius=s * 0.04, fill=orange)
    return _down(image)


@lru_cache(maxsize=16)
def obstacle(kind: str, size: int) -> Image.Image:
    """What stands in the path, on a red tile."""
    image, draw, s = _tile(size, RED)
    if kind == "person":
        draw.ellipse((s * 0.42, s * 0.13, s * 0.58, s * 0.29), fill=WHITE)
        draw.rounded_rectangle((s * 0.41, s * 0.32, s * 0.59, s * 0.62), radius=s * 0.07, fill=WHITE)
        limb = int(s * 0.085)
        for line in (((0.44, 0.58), (0.36, 0.86)), ((0.56, 0.58), (0.64, 0.86)),
                     ((0.43, 0.36), (0.29, 0.56)), ((0.57, 0.36), (0.71, 0.56))):  # fmt: skip
            draw.line([(s * x, s * y) for x, y in line], fill=WHITE, width=limb)
    elif kind == "cyclist":
        for x in (0.28, 0.72):
            box = (s * (x - 0.16), s * 0.52, s * (x + 0.16), s * 0.84)
            draw.ellipse(box, outline=WHITE, width=int(s * 0.05))
        for line in (((0.28, 0.68), (0.44, 0.46), (0.64, 0.46), (0.72, 0.68)), ((0.44, 0.46), (0.52, 0.68)),
                     ((0.4, 0.44), (0.52, 0.26), (0.66, 0.4))):  # fmt: skip
            draw.line([(s * x, s * y) for x, y in line], fill=WHITE, width=int(s * 0.055), joint="curve")
        draw.ellipse((s * 0.5, s * 0.12, s * 0.64, s * 0.26), fill=WHITE)
    elif kind == "stopped_vehicle":
        _polygon(draw, s, WHITE, (0.3, 0.27), (0.7, 0.27), (0.8, 0.5), (0.2, 0.5))
        _polygon(draw, s, RED, (0.35, 0.33), (0.65, 0.33), (0.71, 0.47), (0.29, 0.47))
        draw.rounded_rectangle((s * 0.15, s * 0.48, s * 0.85, s * 0.72), radius=s * 0.06, fill=WHITE)
        for x in (0.21, 0.64):
            draw.rounded_rectangle((s * x, s * 0.68, s * (x + 0.15), s * 0.82), radius=s * 0.03, fill=WHITE)
            draw.ellipse((s * (x + 0.02), s * 0.53, s * (x + 0.13), s * 0.64), fill=RED)
    elif kind == "barrier":
        draw.rectangle((s * 0.14, s * 0.32, s * 0.86, s * 0.54), fill=WHITE)
        for x in (0.2, 0.46, 0.72):
            right = min(x + 0.2, 0.86)
            _polygon(draw, s, (150, 14, 20), (x, 0.54), (x + 0.1, 0.32), (right, 0.32), (x + 0.1, 0.54))
        for x in (0.22, 0.7):
            draw.rectangle((s * x, s * 0.54, s * (x + 0.08), s * 0.8), fill=WHITE)
    else:  # debris, other: a warning triangle
        _polygon(draw, s, WHITE, (0.5, 0.16), (0.88, 0.82), (0.12, 0.82))
        draw.rounded_rectangle((s * 0.46, s * 0.38, s * 0.54, s * 0.6), radius=s * 0.03, fill=RED)
        draw.ellipse((s * 0.455, s * 0.65, s * 0.545, s * 0.74), fill=RED)
    return _down(image)


@lru_cache(maxsize=8)
def crossroad(size: int) -> Image.Image:
    """Two roads that meet, on a blue tile."""
    image, draw, s = _tile(size, (38, 110, 224))
    draw.rectangle((s * 0.39, s * 0.13, s * 0.61, s * 0.87), fill=WHITE)
    draw.rectangle((s * 0.13, s * 0.35, s * 0.87, s * 0.57), fill=WHITE)
    for top in (0.66, 0.77):
        draw.rectangle((s * 0.485, s * top, s * 0.515, s * (top + 0.06)), fill=(38, 110, 224))
    return _down(image)


@lru_cache(maxsize=8)
def zebra(size: int) -> Image.Image:
    """The stripes of a crosswalk in perspective, on a blue tile."""
    image, draw, s = _tile(size, (38, 110, 224))
    for i in range(4):
        near, far = 0.15 + i * 0.185, 0.26 + i * 0.125
        _polygon(draw, s, WHITE, (near, 0.8), (near + 0.12, 0.8), (far + 0.08, 0.26), (far, 0.26))
    return _down(image)
