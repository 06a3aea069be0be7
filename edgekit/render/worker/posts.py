# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""What stands on posts beside the road: street lamps, speed limits."""

import math

import bpy
from soup import Soup, place
from surfaces import plain

LIT_M = 90.0  # lamps farther than this from every camera are seen, and light nothing
ARM_M, HEIGHT_M = 1.7, 7.5
RADIUS = 0.35  # of a sign
ARC = [(math.cos(math.radians(a)), math.sin(math.radians(a))) for a in range(0, 361, 30)]


def _arc(x, y, rx, ry, first, last):
    """Strokes of an ellipse, from step to step of 30 degrees."""
    step = 1 if last >= first else -1
    return [(x + rx * ARC[k % 12][0], y + ry * ARC[k % 12][1]) for k in range(first, last + step, step)]


# digits as strokes in a box 1 wide and 1.6 high, x to the reader's right
DIGITS = {
    "0": [_arc(0.5, 0.8, 0.5, 0.8, 0, 12)],
    "1": [[(0.15, 1.25), (0.55, 1.6), (0.55, 0.0)]],
    "2": [[*_arc(0.5, 1.15, 0.48, 0.45, 5, -1), (0.0, 0.0), (1.0, 0.0)]],
    "3": [[*_arc(0.5, 1.2, 0.42, 0.4, 5, -3), *_arc(0.5, 0.42, 0.5, 0.42, 3, -5)]],
    "4": [[(0.75, 0.0), (0.75, 1.6), (0.0, 0.45), (1.05, 0.45)]],
    "5": [[(0.92, 1.6), (0.18, 1.6), (0.1, 0.9), *_arc(0.48, 0.52, 0.52, 0.52, 4, -5)]],
    "6": [[(0.8, 1.55), (0.25, 1.05), (0.02, 0.5)], _arc(0.5, 0.48, 0.48, 0.48, 0, 12)],
    "7": [[(0.0, 1.6), (1.0, 1.6), (0.4, 0.0)]],
    "8": [_arc(0.5, 1.2, 0.4, 0.4, 0, 12), _arc(0.5, 0.42, 0.5, 0.42, 0, 12)],
    "9": [[(0.2, 0.05), (0.75, 0.55), (0.98, 1.1)], _arc(0.5, 1.12, 0.48, 0.48, 0, 12)],
}


def build_posts(spec, cameras):
    soup, steel = Soup(), plain("steel", (0.2, 0.21, 0.22), 0.5, 0.6)
    _lamps(spec, cameras, soup, steel)
    signs = {}
    for sign in spec["signs"]:
        soup.stand(sign["x"], sign["y"], sign["yaw"])
        soup.tube("z", (0, -0.07), -0.1, sign["z"] + 0.3, 0.035, 0.035, steel, 8)
        if sign["value"] not in signs:
            signs[sign["value"]] = sign_face(sign["value"])
        number = spec["classes"]["sign"] * 1000 + sign["instance"]
        place(
            signs[sign["value"]],
            f"sign{sign['instance']}",
            number,
            (sign["x"], sign["y"], sign["z"]),
            sign["yaw"],
        )
    soup.place("poles", spec["classes"]["pole"] * 1000)


def _lamps(spec, cameras, soup, steel):
    time = spec["conditions"]["time"]
    shade = plain("lamp_shade", (1.0, 0.85, 0.62), 0.5, glow=0.0 if time in ("day", "low_sun") else 1.0)
    light = _spot() if time == "night" else None
    for lamp in spec["lamps"]:
        soup.stand(lamp["x"], lamp["y"], lamp["yaw"])
        soup.tube("z", (0, 0), -0.1, HEIGHT_M, 0.09, 0.06, steel, 8)
        soup.box((0, ARM_M / 2, HEIGHT_M), (0.08, ARM_M, 0.08), steel)
        soup.box((0, ARM_M - 0.1, HEIGHT_M - 0.08), (0.25, 0.7, 0.08), shade)
        _shine(light, cameras, lamp, 0.0, ARM_M - 0.1, HEIGHT_M - 0.2)
    for canopy in spec["canopies"]:
        for share in (-0.4, -0.13, 0.13, 0.4):
            _shine(light, cameras, canopy, share * canopy["w"], 0.0, canopy["z"] - 0.2)


def _spot():
    light = bpy.data.lights.new("street", "SPOT")
    light.energy, light.color, light.spot_size = 1500, (1, 0.78, 0.52), 2.5
    light.spot_blend, light.shadow_soft_size = 0.7, 0.2
    return light


def _shine(light, cameras, thing, right, ahead, z):
    """The light, down from a place in the thing's own frame, where a camera is near enough to see it."""
    c, s = math.cos(thing["yaw"]), math.sin(thing["yaw"])
    at = (thing["x"] + c * right - s * ahead, thing["y"] + s * right + c * ahead)
    if light and any((at[0] - x) ** 2 + (at[1] - y) ** 2 < LIT_M**2 for x, y in cameras):
        lamp = bpy.data.objects.new("street", light)
        lamp.location = (*at, z)
        bpy.context.collection.objects.link(lamp)


def sign_face(value):
    """A speed limit: a white disc with a red ring and the number in black, its face along +y."""
    soup, text = Soup(), str(value)
    white, red = (
        plain("sign_white", (0.85, 0.85, 0.83), 0.5, glow=0.05),
        plain("sign_red", (0.72, 0.01, 0.015), 0.5, glow=0.05),
    )
    black = plain("sign_black", (0.01, 0.01, 0.01), 0.6)
    soup.tube(
        "y", (0, 0), -0.03, -0.006, RADIUS, RADIUS, plain("sign_back", (0.35, 0.36, 0.37), 0.5, 0.5), 24
    )
    turns = [2 * math.pi * k / 24 for k in range(24)]
    soup.poly([(0.98 * RADIUS * math.cos(t), -0.003, 0.98 * RADIUS * math.sin(t)) for t in turns][::-1], red)
    soup.poly(
        [(0.79 * RADIUS * math.cos(t), -0.0015, 0.79 * RADIUS * math.sin(t)) for t in turns][::-1], white
    )
    tall = 0.30 if len(text) < 3 else 0.22
    wide = tall / 1.6 * 0.8
    pitch = wide * 1.45
    for k, digit in enumerate(text):
        left = (k - (len(text) - 1) / 2) * pitch - wide / 2
        for stroke in DIGITS[digit]:
            points = [(left + wide * u, tall * (v / 1.6 - 0.5)) for u, v in stroke]
            for a, b in zip(points, points[1:], strict=False):
                _stroke(soup, a, b, tall * 0.085, black)
    return soup.mesh(f"limit{text}")


def _stroke(soup, a, b, half, material):
    """A line with ends a little long, so that a bend has no notch; mirrored, for the reader looks along -y."""
    length = math.dist(a, b) or 1.0
    u = ((b[0] - a[0]) / length * half, (b[1] - a[1]) / length * half)
    a, b = (a[0] - 0.4 * u[0], a[1] - 0.4 * u[1]), (b[0] + 0.4 * u[0], b[1] + 0.4 * u[1])
    corners = [
        (a[0] - u[1], a[1] + u[0]),
        (a[0] + u[1], a[1] - u[0]),
        (b[0] + u[1], b[1] - u[0]),
        (b[0] - u[1], b[1] + u[0]),
    ]
    soup.poly([(-x, 0.0, z) for x, z in corners][::-1], material)
