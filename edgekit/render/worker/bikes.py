# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""Bicycles and motorcycles, and who rides them, front towards +y."""

import math

from bodies import body_paint, materials
from soup import Soup
from surfaces import named, plain

COATS = (
    (0.5, 0.06, 0.04),
    (0.04, 0.12, 0.35),
    (0.75, 0.5, 0.03),
    (0.05, 0.25, 0.1),
    (0.5, 0.5, 0.52),
    (0.03, 0.03, 0.035),
)


def bicycle(length, width, height, colour, lights_on):
    soup, look, paint = Soup(), materials(lights_on), body_paint(colour)
    half, a, r = width / 2, length / 2, 0.34
    hubs = [(0, y, r) for y in (-a + r, a - r)]
    for _, y, _ in hubs:
        _tyre(soup, y, r, 0.02, look["black"])
        soup.tube("x", (y, r), -0.04, 0.04, 0.03, 0.03, look["rim"], 8)
    crank, saddle, neck = (0, -0.03, 0.3), (0, -0.22, 0.88), (0, a - 0.56, 0.86)
    for p, q in (
        (crank, saddle),
        (crank, neck),
        (saddle, neck),
        (hubs[0], crank),
        (hubs[0], (0, -0.2, 0.8)),
        (hubs[1], neck),
    ):
        soup.rod(p, q, 0.022, 0.022, paint)
    soup.box((0, -0.26, 0.91), (0.14, 0.26, 0.06), look["black"])
    soup.rod(neck, (0, a - 0.58, height - 0.03), 0.018, 0.018, look["rim"])
    for x in (-1, 1):
        soup.rod(
            (0, a - 0.58, height - 0.03), (x * half, a - 0.6, height - 0.02), 0.018, 0.018, look["black"]
        )
        soup.box((x * 0.07, -0.03 + x * 0.06, 0.3 + x * 0.1), (0.07, 0.08, 0.025), look["black"])
    for lamp, boxes in bicycle_lamps(length, width, height).items():
        _small_lamp(soup, boxes[0], look["tail" if lamp == "brake" else "front"])
    return soup.mesh("bicycle")


def bicycle_lamps(length, width, height):
    a = length / 2
    return {"brake": [(0.0, -0.42, 0.8, 0.07, 0.06)], "front": [(0.0, a - 0.5, 0.9, 0.08, 0.08)]}


def motorcycle(length, width, height, colour, lights_on):
    soup, look, paint = Soup(), materials(lights_on), body_paint(colour)
    half, a, r = width / 2, length / 2, 0.31
    _tyre(soup, -a + r, r, 0.07, look["black"])
    _tyre(soup, a - r, r, 0.06, look["black"])
    for y in (-a + r, a - r):
        soup.tube("x", (y, r), -0.05, 0.05, 0.18, 0.18, look["rim"], 12)
    soup.box((0, -0.1, 0.45), (0.34, 0.55, 0.4), look["black"])  # the engine
    soup.loft([_slice(-a + 0.12, 0.07, 0.78, 0.88), _slice(-0.25, 0.14, 0.62, 0.82), _slice(-0.05, 0.17, 0.6, 0.84),
               _slice(0.12, 0.19, 0.62, 0.99), _slice(0.34, 0.12, 0.62, 0.95)], paint)  # fmt: skip
    soup.box((0, -0.42, 0.84), (0.26, 0.55, 0.08), look["black"])
    fairing = [
        _slice(a - 0.72, 0.16, 0.72, 1.0),
        _slice(a - 0.58, 0.17, 0.7, 1.08),
        _slice(a - 0.42, 0.13, 0.74, 0.95),
    ]
    soup.loft(fairing, paint)
    soup.loft([_slice(a - 0.62, 0.13, 1.0, height), _slice(a - 0.6, 0.13, 1.0, height - 0.02)], look["glass"])
    for x in (-1, 1):
        soup.rod((x * 0.1, a - r, r), (x * 0.1, a - 0.6, 0.85), 0.03, 0.03, look["rim"])
        soup.rod((0.0, a - 0.62, 1.0), (x * half, a - 0.7, 1.02), 0.02, 0.02, look["black"])
        soup.rod((x * 0.2, -0.1, 0.3), (x * 0.17, -a + 0.25, 0.36), 0.04, 0.045, look["rim"])
    for lamp, boxes in motorcycle_lamps(length, width, height).items():
        for box in boxes[:1]:
            _small_lamp(soup, box, look[{"brake": "tail", "front": "front"}.get(lamp, "amber")])
    return soup.mesh("motorcycle", smooth=True)


def motorcycle_lamps(length, width, height):
    a = length / 2
    return {
        "brake": [(0.0, -a + 0.1, 0.83, 0.16, 0.09)],
        "turn": [(0.15, -a + 0.16, 0.78, 0.08, 0.06), (0.17, a - 0.45, 0.85, 0.08, 0.06)],
        "front": [(0.0, a - 0.42, 0.85, 0.18, 0.14)],
    }


def _tyre(soup, y, radius, half, material):
    """A ring, so that one sees through a wheel."""
    inner, count = radius - 2.2 * half if half < 0.04 else radius - 0.11, 24
    for k in range(count):
        s, t = (2 * math.pi * j / count for j in (k, k + 1))
        quads = [[(x, y + r * math.cos(v), radius + r * math.sin(v)) for x, r, v in corners] for corners in (
            ((-half, radius, s), (half, radius, s), (half, radius, t), (-half, radius, t)),
            ((-half, inner, t), (half, inner, t), (half, inner, s), (-half, inner, s)),
            ((half, inner, s), (half, inner, t), (half, radius, t), (half, radius, s)),
            ((-half, inner, t), (-half, inner, s), (-half, radius, s), (-half, radius, t)),
        )]  # fmt: skip
        for quad in quads:
            soup.poly(quad, material)


def _slice(y, half, low, high):
    middle = (low + high) / 2
    right = [(0.6 * half, low), (half, middle), (0.6 * half, high)]
    return [(x, y, z) for x, z in right] + [(-x, y, z) for x, z in reversed(right)]


def _small_lamp(soup, box, material, grow=0.0):
    x, y, z, across, up = box
    for side in (-1, 1) if x else (1,):
        soup.box((side * x, y, z), (across + grow, 0.04 + grow, up + grow), material)


def rider(k):
    """Sits as well on a bicycle's saddle as on a motorcycle's."""
    soup, coat = Soup(), COATS[k % len(COATS)]
    cloth, trousers = plain(named("coat", coat), coat, 0.9), plain("trousers", (0.05, 0.05, 0.07), 0.9)
    shoe, skin = plain("shoe", (0.02, 0.02, 0.02), 0.7), plain("skin", (0.45, 0.28, 0.2), 0.7)
    helmet = COATS[(k + 3) % len(COATS)]
    for x in (-1, 1):
        hip, knee, foot = (x * 0.1, -0.22, 0.95), (x * 0.15, 0.2, 0.72), (x * 0.12, 0.06, 0.34)
        soup.rod(hip, knee, 0.09, 0.07, trousers, 8)
        soup.rod(knee, foot, 0.065, 0.05, trousers, 8)
        soup.box((x * 0.12, 0.13, 0.31), (0.09, 0.27, 0.08), shoe)
        shoulder, elbow, hand = (x * 0.2, 0.0, 1.38), (x * 0.27, 0.15, 1.18), (x * 0.27, 0.38, 1.06)
        soup.rod(shoulder, elbow, 0.06, 0.05, cloth)
        soup.rod(elbow, hand, 0.045, 0.035, cloth)
    soup.loft(
        [
            _ring(-0.22, 0.9, 0.15, 0.12),
            _ring(-0.14, 1.15, 0.19, 0.12),
            _ring(-0.03, 1.38, 0.22, 0.12),
            _ring(0.01, 1.46, 0.1, 0.08),
        ],
        cloth,
    )
    soup.loft([_ring(0.03, 1.42, 0.05, 0.05), _ring(0.05, 1.5, 0.06, 0.06)], skin)
    rings = [
        (0.06, 1.46, 0.07, 0.08),
        (0.05, 1.52, 0.11, 0.13),
        (0.05, 1.6, 0.125, 0.145),
        (0.04, 1.67, 0.1, 0.11),
        (0.03, 1.70, 0.05, 0.05),
    ]
    soup.loft([_ring(*ring) for ring in rings], plain(named("helmet", helmet), helmet, 0.3))
    return soup.mesh("rider", smooth=True)


def _ring(y, z, across, along, sides=10):
    turns = [2 * math.pi * k / sides for k in range(sides)]
    return [(across * math.cos(t), y + along * math.sin(t), z) for t in turns]
