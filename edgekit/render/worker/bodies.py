# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""The bodies of cars, trucks and buses, front towards +y, each one mesh; and the places of their lamps."""

from soup import Soup
from surfaces import glass, named, plain

# A lamp is a flat box (x, y, z, across, up) on the right side; "brake" may have one in the middle too.


def materials(lights_on):
    state = "on" if lights_on else "off"  # one material a name
    return {
        "glass": glass(),
        "black": plain("car_black", (0.015, 0.015, 0.015), 0.8),
        "rim": plain("car_rim", (0.5, 0.5, 0.52), 0.35, 0.8),
        "tail": plain(f"car_tail_{state}", (0.6, 0.008, 0.008), 0.6, glow=0.42 if lights_on else 0.03),
        "front": plain(f"car_front_{state}", (0.95, 0.93, 0.85), 0.15, glow=1.6 if lights_on else 0.05),
        "amber": plain("car_amber", (0.45, 0.14, 0.01), 0.3),
        "plate": plain("car_plate", (0.7, 0.7, 0.65), 0.5),
    }


def body_paint(colour):
    return plain(named("paint", colour), colour, 0.28, coat=0.6)


def wheel(soup, x, y, radius, wide, look):
    """Its outer face at x, on the side of x's sign."""
    side = 1 if x > 0 else -1
    ends = sorted((x - side * wide, x))
    soup.tube("x", (y, radius), *ends, radius, radius, look["black"], 24)
    hub = sorted((x - side * 0.02, x + side * 0.004))
    soup.tube("x", (y, radius), *hub, 0.62 * radius, 0.62 * radius, look["rim"], 12)
    soup.tube("x", (y, radius), *sorted((x, x + side * 0.008)), 0.2 * radius, 0.2 * radius, look["black"], 8)


def pane(soup, corners, material, margins=(0.06, 0.06), lift=0.006):
    """Glass a little in front of the quad (a, b, c, d), smaller by shares of its width and height."""
    a, b, c, d = corners
    u, v = margins

    def at(s, t):
        return [
            (1 - s) * (1 - t) * a[k] + s * (1 - t) * b[k] + s * t * c[k] + (1 - s) * t * d[k]
            for k in range(3)
        ]

    e, f = [b[k] - a[k] for k in range(3)], [d[k] - a[k] for k in range(3)]
    n = (e[1] * f[2] - e[2] * f[1], e[2] * f[0] - e[0] * f[2], e[0] * f[1] - e[1] * f[0])
    norm = sum(c * c for c in n) ** 0.5
    inner = [at(s, t) for s, t in ((u, v), (1 - u, v), (1 - u, 1 - v), (u, 1 - v))]
    soup.poly([[p[k] + lift * n[k] / norm for k in range(3)] for p in inner], material)


def section(y, half, low, waist, top):
    """One slice across a car's body: right side up, left side down."""
    right = [
        (0.94 * half, low),
        (half, waist),
        (half, max(waist, top - 0.18)),
        (0.97 * half, top - 0.08),
        (0.88 * half, top),
    ]
    return [(x, y, z) for x, z in right] + [(-x, y, z) for x, z in reversed(right)]


def car(length, width, height, colour, lights_on):
    """A hatchback below 4.2 m, a saloon from 4.6 m on."""
    soup, look, paint = Soup(), materials(lights_on), body_paint(colour)
    a, half = length / 2, width / 2
    flank = half - 0.03
    boot = 0.97 if length >= 4.2 else 1.0
    slices = [
        (-a, 0.84, 0.36, 0.5, 0.88), (-a + 0.1, 0.93, 0.26, 0.48, boot), (-a + 0.5, 1.0, 0.22, 0.44, boot - 0.02),
        (0.0, 1.0, 0.2, 0.42, 0.94), (0.2 * length, 1.0, 0.2, 0.42, 0.93), (a - 0.4, 0.97, 0.24, 0.42, 0.84),
        (a - 0.1, 0.90, 0.26, 0.44, 0.74), (a, 0.80, 0.34, 0.44, 0.66),
    ]  # fmt: skip
    soup.loft([section(y, share * flank, low, waist, top) for y, share, low, waist, top in slices], paint)
    _cabin(soup, length, flank, height, paint, look["glass"])
    for x in (-1, 1):
        soup.box((x * (half - 0.07), 0.17 * length, 0.995), (0.14, 0.12, 0.13), paint)
        for t in (-0.3, 0.31):
            # the arch: a dark round a little out of the flank, the wheel in it
            arch = sorted((x * (flank - 0.1), x * (flank + 0.006)))
            soup.tube("x", (t * length, 0.39), *arch, 0.37, 0.37, look["black"], 16)
            wheel(soup, x * (half - 0.014), t * length, 0.32, 0.2, look)
        for y in (0.02, -0.19):  # door handles
            soup.box((x * (flank - 0.002), y * length, 0.8), (0.02, 0.16, 0.03), look["black"])
    for lamp, boxes in car_lamps(length, width, height).items():
        for box in boxes[:1]:
            _lamp(soup, box, look[{"brake": "tail", "front": "front"}.get(lamp, "amber")])
    for y, across, z in ((-a, 0.55, 0.64), (a, 0.4, 0.40)):
        soup.box((0, y, z), (0.5, 0.012, 0.11), look["plate"])
        soup.box((0, y, 0.43 if y < 0 else 0.52), (2 * across * flank, 0.008, 0.1), look["black"])
    return soup.mesh("car", smooth=True)


def _cabin(soup, length, flank, height, paint, glass):
    a, edge, belt = length / 2, height - 0.07, 0.925
    saloon, hatch = length >= 4.6, length < 4.2
    rear = -0.25 * length if saloon else -a + 0.35 if hatch else -0.33 * length
    foot = -0.38 * length if saloon else -a + 0.12 if hatch else -0.45 * length
    base, top = 0.88 * flank, 0.73 * flank
    low = [(base, 0.23 * length, belt - 0.02), (base, foot, belt)]
    high = [(top, 0.04 * length, edge), (top, rear, edge)]
    crown = [(0.55 * flank, 0.04 * length - 0.18, height), (0.55 * flank, rear + 0.15, height)]

    def left(p):
        return (-p[0], p[1], p[2])

    front, back = (
        (low[0], left(low[0]), left(high[0]), high[0]),
        (left(low[1]), low[1], high[1], left(high[1])),
    )
    right = (low[1], low[0], high[0], high[1])
    for quad in (front, back, right, tuple(left(p) for p in (low[0], low[1], high[1], high[0]))):
        soup.poly(quad, paint)
    soup.poly([high[0], left(high[0]), left(crown[0]), crown[0]], paint)
    soup.poly([left(high[1]), high[1], crown[1], left(crown[1])], paint)
    soup.poly([high[1], high[0], crown[0], crown[1]], paint)
    soup.poly([left(p) for p in (high[0], high[1], crown[1], crown[0])], paint)
    soup.poly([crown[0], left(crown[0]), left(crown[1]), crown[1]], paint)
    pane(soup, front, glass, (0.05, 0.06))
    pane(soup, back, glass, (0.08, 0.12))
    for begin, end in ((0.06, 0.47), (0.53, 0.92)):  # rear and front door
        for side in (1, -1):
            low_edge, high_edge = (right[0], right[1]), (right[3], right[2])
            quad = [
                _between(*edge, t)
                for edge, t in ((low_edge, begin), (low_edge, end), (high_edge, end), (high_edge, begin))
            ]
            quad = quad if side > 0 else [left(quad[k]) for k in (1, 0, 3, 2)]
            pane(soup, quad, glass, (0.03, 0.12))


def _between(a, b, t):
    return tuple(p + t * (q - p) for p, q in zip(a, b, strict=True))


def car_lamps(length, width, height):
    """{lamp: [(x, y, z, across, up), ...]}, metres, of the box's middle; all but a middle one are on both sides."""
    a, flank = length / 2, width / 2 - 0.03
    third = (
        (0.0, -0.36 * length, 0.98)
        if length >= 4.6
        else (0.0, -a + 0.34 if length < 4.2 else -0.34 * length, height - 0.1)
    )
    return {
        "brake": [(0.64 * flank, -a + 0.036, 0.775, 0.28, 0.14), (*third, 0.4, 0.045)],
        "turn": [(0.68 * flank, -a + 0.036, 0.66, 0.2, 0.07), (0.76 * flank, a - 0.05, 0.57, 0.1, 0.09)],
        "front": [(0.55 * flank, a - 0.036, 0.575, 0.26, 0.10)],
    }


def _lamp(soup, box, material, grow=0.0):
    x, y, z, across, up = box
    for side in (-1, 1) if x else (1,):
        soup.box((side * x, y, z), (across + grow, 0.08 + grow, up + grow), material)


def truck(length, width, height, colour, lights_on):
    soup, look, paint = Soup(), materials(lights_on), body_paint(colour)
    a, half = length / 2, width / 2
    cab, back = half - 0.1, length / 2 - 2.1
    load = plain(named("load", [0.35 + 0.3 * c for c in colour]), [0.35 + 0.3 * c for c in colour], 0.6)
    soup.box((0, (back - a) / 2, (1.0 + height) / 2), (width, back + a, height - 1.0), load)
    soup.box((0, -0.3, 0.85), (0.9, length - 1.0, 0.3), look["black"])
    soup.box((0, -a + 0.1, 0.5), (width - 0.2, 0.1, 0.1), look["black"])
    lower = [(0.9 * cab, a), (cab, a - 0.12), (cab, back + 0.1)]
    upper = [(0.9 * cab, a - 0.32), (0.97 * cab, a - 0.4), (0.9 * cab, back + 0.1)]
    outlines = [(lower, 0.35), (lower, 1.35), (upper, 2.75)]
    rings = [[(-x, y, z) for x, y in line] + [(x, y, z) for x, y in reversed(line)] for line, z in outlines]
    soup.loft(rings, paint)
    waist, top = rings[1], rings[2]
    pane(soup, (waist[-1], waist[0], top[0], top[-1]), look["glass"], (0.04, 0.1))
    pane(soup, (waist[3], waist[4], top[4], top[3]), look["glass"], (0.2, 0.15))
    pane(soup, (waist[1], waist[2], top[2], top[1]), look["glass"], (0.2, 0.15))
    soup.box((0, a - 0.008, 0.85), (1.3, 0.02, 0.5), look["black"])
    for x in (-1, 1):
        soup.box((x * (half - 0.06), a - 0.26, 1.825), (0.12, 0.12, 0.65), look["black"])
        for y in (a - 1.25, -a + 1.7):
            wheel(soup, x * (half - 0.058), y, 0.48, 0.35, look)
    for lamp, boxes in truck_lamps(length, width, height).items():
        for box in boxes[:1]:
            _lamp(soup, box, look[{"brake": "tail", "front": "front"}.get(lamp, "amber")])
    soup.box((0, -a + 0.06, 0.8), (0.5, 0.1, 0.12), look["plate"])
    return soup.mesh("truck", smooth=True)


def truck_lamps(length, width, height):
    a, half = length / 2, width / 2
    return {
        "brake": [(half - 0.35, -a + 0.05, 0.86, 0.34, 0.16)],
        "turn": [(half - 0.26, -a + 0.05, 0.70, 0.16, 0.12), (half - 0.36, a - 0.04, 0.78, 0.2, 0.1)],
        "front": [(half - 0.5, a - 0.03, 0.62, 0.34, 0.16)],
    }


def bus(length, width, height, colour, lights_on):
    soup, look, paint = Soup(), materials(lights_on), body_paint(colour)
    a, half = length / 2, width / 2 - 0.02

    def ring(y, share, low, lean=0.0):
        right = [
            (share * half, low, 0),
            (share * half, 1.2, 0),
            (share * half, height - 0.2, lean),
            (0.92 * share * half, height, 1.4 * lean),
        ]
        return [(x, y - back, z) for x, z, back in right] + [
            (-x, y - back, z) for x, z, back in reversed(right)
        ]

    rings = [
        ring(-a, 1.0, 0.32),
        ring(-a + 0.05, 1.0, 0.3),
        ring(a - 0.25, 1.0, 0.3, 0.05),
        ring(a, 0.88, 0.32, 0.15),
    ]
    soup.loft(rings, paint)
    front, rear = rings[3], rings[0]
    pane(soup, (front[1], front[6], front[5], front[2]), look["glass"], (0.04, 0.12))
    pane(soup, (rear[6], rear[1], rear[2], rear[5]), look["glass"], (0.12, 0.25))
    count = 8
    for k in range(count):
        y0, y1 = -a + 0.3 + k * (length - 0.8) / count, -a + 0.3 + (k + 1) * (length - 0.8) / count
        low, high = 1.3 if k not in (3, 7) else 0.5, height - 0.45
        pane(
            soup,
            ((half, y0, low), (half, y1, low), (half, y1, high), (half, y0, high)),
            look["glass"],
            (0.04, 0.0),
        )
        pane(
            soup,
            ((-half, y1, 1.3), (-half, y0, 1.3), (-half, y0, high), (-half, y1, high)),
            look["glass"],
            (0.04, 0.0),
        )
    soup.box(
        (0, a - 0.15, height - 0.29), (1.5, 0.06, 0.18), plain("bus_goal", (0.9, 0.4, 0.02), 0.5, glow=0.7)
    )
    for x in (-1, 1):
        for t in (-0.24, 0.28):
            arch = sorted((x * (half - 0.1), x * (half + 0.006)))
            soup.tube("x", (t * length, 0.57), *arch, 0.55, 0.55, look["black"], 16)
            wheel(soup, x * (half + 0.012), t * length, 0.48, 0.3, look)
    for lamp, boxes in bus_lamps(length, width, height).items():
        for box in boxes[:1]:
            _lamp(soup, box, look[{"brake": "tail", "front": "front"}.get(lamp, "amber")])
    soup.box((0, -a, 0.7), (0.5, 0.03, 0.12), look["plate"])
    return soup.mesh("bus", smooth=True)


def bus_lamps(length, width, height):
    a, half = length / 2, width / 2 - 0.02
    return {
        "brake": [(half - 0.2, -a + 0.025, 0.95, 0.26, 0.22), (0.0, -a + 0.025, height - 0.3, 0.5, 0.07)],
        "turn": [(half - 0.2, -a + 0.025, 1.2, 0.26, 0.14), (0.78 * half, a - 0.03, 0.75, 0.16, 0.1)],
        "front": [(0.72 * half, a - 0.03, 0.55, 0.34, 0.16)],
    }
