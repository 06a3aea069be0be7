# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""Traffic lights: a housing with plate and visors on a post, three round or arrow-shaped lenses, one of them lit."""

import math

from soup import AWAY, Soup, place
from surfaces import DARK, LIT, glowing, plain

COLOURS = ("red", "yellow", "green")  # from top to bottom
GAP, RADIUS = 0.35, 0.15  # between lens centres; of a lens
POST_M = 0.25  # behind the lenses
# an arrow in a lens of radius 1 as two convex parts, pointing up; x to the reader's right
ARROW = (((-0.92, 0.0), (0.0, 0.95), (0.92, 0.0)), ((-0.36, -0.9), (-0.36, 0.02), (0.36, 0.02), (0.36, -0.9)))
TURN = {"straight": 0.0, "left": math.pi / 2, "right": -math.pi / 2}


class Signals:
    def __init__(self, spec):
        classes, self.parts, self.lit, meshes = spec["classes"], {}, {}, {}

        def shared(key, make, *arguments):
            if key not in meshes:
                meshes[key] = make(*arguments)
            return meshes[key]

        for head in spec["heads"]:
            k, arrow, toll = head["instance"], head["arrow"], head["kind"] == "toll"
            lane = k % 3  # plates of one post overlap: each a little farther back than the next
            parts = [
                (shared(("head", lane), head_mesh, lane), classes["head"] * 1000 + k, head["z"]),
                (shared(("dark", arrow), _dark, arrow), classes["lamp_dark"] * 1000 + k, head["z"]),
                (shared(("post", head["z"], toll), _post, head["z"], toll), classes["pole"] * 1000, 0.0),
            ]
            self.parts[head["id"]] = [
                (place(mesh, f"head{k}", number, (head["x"], head["y"], AWAY), head["yaw"]), z)
                for mesh, number, z in parts
            ]
            shown = {frame["heads"].get(head["id"]) for frame in spec["frames"]}
            for colour in COLOURS:
                if colour in shown:
                    mesh = shared((colour, arrow), _lit, colour, arrow)
                    number = classes[f"lamp_{colour}"] * 1000 + k
                    at = (head["x"], head["y"], AWAY)
                    self.lit[head["id"], colour] = (
                        place(mesh, f"{colour}{k}", number, at, head["yaw"]),
                        head["z"],
                    )

    def arrange(self, frame):
        shown = frame["heads"]
        for name, parts in self.parts.items():
            for thing, z in parts:
                thing.location.z = z if name in shown else AWAY
        for (name, colour), (thing, z) in self.lit.items():
            thing.location.z = z if shown.get(name) == colour else AWAY


def head_mesh(lane=0):
    """Housing, visors, and a plate with a pale border: a dark head is seen against a dark house too."""
    soup = Soup()
    black, plate = (
        plain("head_black", (0.012, 0.012, 0.012), 0.5),
        plain("head_plate", (0.02, 0.02, 0.022), 0.6),
    )
    border = plain("head_border", (0.70, 0.70, 0.66), 0.5)
    soup.box((0, -0.12, 0), (0.44, 0.2, 3 * GAP + 0.1), black)
    back = -0.105 - 0.012 * lane
    soup.box((0, back, 0), (0.72, 0.02, 3 * GAP + 0.34), plate)
    half, tall, wide = 0.36, (3 * GAP + 0.34) / 2, 0.045
    front = back + 0.0115
    for sign in (-1, 1):
        x, z = sign * (half - wide / 2), sign * (tall - wide / 2)
        for u, low, across, high in ((x, -tall, wide, tall), (0.0, z - wide / 2, 2 * half, z + wide / 2)):
            a, b = u - across / 2, u + across / 2
            soup.poly([(b, front, low), (a, front, low), (a, front, high), (b, front, high)], border)
    for k in (-1, 0, 1):
        _visor(soup, k * GAP, black)
    return soup.mesh(f"head{lane}")


def _visor(soup, z, material):
    """A hood over the upper half of a lens, shorter at its sides."""
    turns = [math.radians(a) for a in range(-12, 193, 17)]
    rim = [
        (1.1 * RADIUS * math.cos(t), 1.1 * RADIUS * math.sin(t), 0.07 + 0.07 * max(0.0, math.sin(t)))
        for t in turns
    ]
    for (ax, az, ay), (bx, bz, by) in zip(rim, rim[1:], strict=False):
        soup.poly([(ax, -0.02, z + az), (ax, ay, z + az), (bx, by, z + bz), (bx, -0.02, z + bz)], material)


def _post(z, toll):
    soup, steel = Soup(), plain("head_steel", (0.2, 0.21, 0.22), 0.5, 0.4)
    top, radius = z + (0.55 if toll else 0.4), 0.045 if toll else 0.065
    soup.tube("z", (0, -POST_M), -0.1, top, radius, radius, steel, 10)
    for up in (-0.3, 0.3):
        soup.box((0, -0.22, z + up), (0.08, 0.08, 0.05), steel)
    return soup.mesh("post")


def _disc(soup, z, y, radius, material):
    turns = [2 * math.pi * k / 24 for k in range(24)]
    soup.poly([(-radius * math.cos(t), y, z + radius * math.sin(t)) for t in turns], material)


def _arrow(soup, z, y, arrow, material):
    c, s = math.cos(TURN[arrow]), math.sin(TURN[arrow])
    for part in ARROW:  # mirrored: the reader looks along -y
        soup.poly([(-RADIUS * (c * u - s * v), y, z + RADIUS * (s * u + c * v)) for u, v in part], material)


def _dark(arrow):
    soup = Soup()
    for k, colour in enumerate(COLOURS):
        z, tinted = (1 - k) * GAP, plain(f"lens_{colour}", DARK[colour], 0.25)
        if arrow == "any":
            _disc(soup, z, -0.012, RADIUS, tinted)
        else:
            _disc(soup, z, -0.012, RADIUS, plain("lens_black", (0.006, 0.006, 0.006), 0.4))
            _arrow(soup, z, -0.008, arrow, tinted)
    return soup.mesh(f"dark_{arrow}")


def _lit(colour, arrow):
    soup, z, material = Soup(), (1 - COLOURS.index(colour)) * GAP, glowing(f"lens_{colour}_lit", LIT[colour])
    if arrow == "any":
        _disc(soup, z, 0.0, RADIUS, material)
    else:
        _arrow(soup, z, 0.0, arrow, material)
    return soup.mesh(f"{colour}_{arrow}")
