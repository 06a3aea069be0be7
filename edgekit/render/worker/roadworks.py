# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""What lies or stands in a lane for some days: cones, barriers, a lost box."""

from soup import AWAY, Soup, place
from surfaces import plain

WIDE, HIGH = 1.8, 1.0  # of a barrier


class Works:
    def __init__(self, spec):
        self.things = {}
        makers = (("cones", "cone", cone), ("barriers", "barrier", barrier), ("debris", "debris", box))
        for key, name, make in makers:
            count, number = max(len(frame[key]) for frame in spec["frames"]), spec["classes"][name] * 1000
            mesh = make() if count else None
            self.things[key] = [place(mesh, f"{name}{k}", number + k) for k in range(1, count + 1)]

    def arrange(self, frame):
        for key, things in self.things.items():
            for k, thing in enumerate(things):
                x, y, *yaw = frame[key][k] if k < len(frame[key]) else (0.0, 0.0)
                thing.location = (x, y, 0.0 if k < len(frame[key]) else AWAY)
                thing.rotation_euler[2] = yaw[0] if yaw else 0.0


def cone():
    soup = Soup()
    orange, white = (
        plain("cone_orange", (0.9, 0.13, 0.01), 0.5, glow=0.06),
        plain("cone_white", (0.85, 0.85, 0.83), 0.4),
    )
    soup.box((0, 0, 0.02), (0.42, 0.42, 0.04), plain("cone_foot", (0.03, 0.03, 0.03), 0.8))
    bands = (
        (0.04, 0.24, orange),
        (0.24, 0.37, white),
        (0.37, 0.50, orange),
        (0.50, 0.60, white),
        (0.60, 0.75, orange),
    )
    for low, high, material in bands:
        soup.tube("z", (0, 0), low, high, 0.16 - 0.17 * low, 0.16 - 0.17 * high, material, 16)
    return soup.mesh("cone", smooth=True)


def barrier():
    """Two striped boards across local x, striped on both sides, on two feet."""
    soup = Soup()
    red, white = (
        plain("barrier_red", (0.65, 0.02, 0.02), 0.5),
        plain("barrier_white", (0.82, 0.82, 0.80), 0.5),
    )
    steel, slant, count = plain("head_steel", (0.2, 0.21, 0.22), 0.5, 0.4), 0.12, 6
    for x in (-0.75, 0.75):
        soup.box((x, 0, HIGH / 2), (0.06, 0.06, HIGH), steel)
        soup.box((x, 0, 0.03), (0.12, 0.7, 0.06), plain("cone_foot", (0.03, 0.03, 0.03), 0.8))
    for low, high in ((0.30, 0.58), (0.70, 0.98)):
        soup.box((0, 0, (low + high) / 2), (WIDE, 0.072, high - low), white)
        for side in (-1, 1):
            for k in range(count):
                a = -WIDE / 2 + k * WIDE / count
                b = a + WIDE / count / 2
                corners = [(a, low), (b, low), (b + slant, high), (a + slant, high)]
                soup.poly([(side * x, side * 0.038, z) for x, z in corners][::-1], red)
    return soup.mesh("barrier")


def box():
    """A cardboard box, its lid taped."""
    soup, card = Soup(), plain("card", (0.36, 0.22, 0.11), 0.9)
    soup.box((0, 0, 0.1725), (0.5, 0.4, 0.345), card)
    soup.box((0, 0, 0.175), (0.502, 0.07, 0.35), plain("tape", (0.55, 0.43, 0.26), 0.4))
    soup.box((0, 0, 0.345), (0.5, 0.4, 0.006), plain("card_lid", (0.28, 0.17, 0.085), 0.9))
    return soup.mesh("debris")
