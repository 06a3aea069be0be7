# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""People: standing, or in mid-stride where they walk."""

import math

from soup import AWAY, Soup, place
from surfaces import named, plain

WALKS_MPS = 0.2
TALL_M = 1.75  # that the numbers below are of
SKINS = ((0.45, 0.28, 0.2), (0.30, 0.17, 0.11), (0.56, 0.38, 0.28), (0.16, 0.09, 0.06))
TROUSERS = ((0.05, 0.05, 0.07), (0.04, 0.06, 0.14), (0.16, 0.13, 0.09), (0.10, 0.10, 0.11))
HAIR = ((0.02, 0.015, 0.01), (0.09, 0.05, 0.02), (0.25, 0.2, 0.15))


class People:
    def __init__(self, spec):
        paces = {(p["name"], p["speed_mps"] > WALKS_MPS) for frame in spec["frames"] for p in frame["people"]}
        self.bodies = {}
        for person in spec["crowd"]:
            number = spec["classes"]["person"] * 1000 + person["instance"]
            for walks in (False, True):
                if (person["name"], walks) in paces:
                    mesh = person_mesh(person["coat"], person["instance"], walks)
                    scale = person["height_m"] / TALL_M
                    self.bodies[person["name"], walks] = place(mesh, person["name"], number, scale=scale)

    def arrange(self, frame):
        here = {(p["name"], p["speed_mps"] > WALKS_MPS): p for p in frame["people"]}
        for key, thing in self.bodies.items():
            where = here.get(key)
            thing.location = (where["x"], where["y"], where["z"]) if where else (0.0, 0.0, AWAY)
            thing.rotation_euler[2] = where["yaw"] if where else 0.0


def person_mesh(coat, k, walks):
    soup, cloth = Soup(), plain(named("coat", coat), coat, 0.9)
    legs, tone = TROUSERS[k % len(TROUSERS)], SKINS[k // 2 % len(SKINS)]
    hair = HAIR[k % len(HAIR)]
    trousers, skin = plain(named("trousers", legs), legs, 0.9), plain(named("skin", tone), tone, 0.7)
    shoe = plain("shoe", (0.02, 0.02, 0.02), 0.7)
    for x in (-1, 1):
        ahead = x * 0.31 if walks else 0.0
        knee = (x * 0.105, 0.19 if ahead > 0 else -0.02 if ahead < 0 else 0.02, 0.5)
        ankle = (x * 0.1, ahead, 0.09 if ahead >= 0 else 0.14)
        soup.rod((x * 0.09, 0, 0.92), knee, 0.095, 0.07, trousers, 8)
        soup.rod(knee, ankle, 0.07, 0.05, trousers, 8)
        _shoe(soup, x * 0.1, ahead, walks, shoe)
        swing = -0.26 * x if walks else 0.0
        elbow, hand = (x * 0.27, swing * 0.35, 1.13), (x * 0.265, swing, 0.9 if walks else 0.83)
        soup.rod((x * 0.215, 0, 1.40), elbow, 0.06, 0.05, cloth)
        soup.rod(elbow, hand, 0.05, 0.04, cloth)
        soup.rod(hand, (hand[0], hand[1] * 1.1, hand[2] - 0.09), 0.035, 0.03, skin)
    torso = (
        (0.82, 0.18, 0.13),
        (0.95, 0.18, 0.13),
        (1.2, 0.19, 0.13),
        (1.40, 0.23, 0.12),
        (1.46, 0.16, 0.09),
        (1.49, 0.07, 0.07),
    )
    soup.loft([_ring(0, z, across, along) for z, across, along in torso], cloth)
    soup.loft([_ring(0, 1.46, 0.05, 0.06), _ring(0.01, 1.55, 0.05, 0.06)], skin)
    soup.loft(
        [_ring(0.01, 1.51, 0.055, 0.07), _ring(0.01, 1.56, 0.075, 0.095), _ring(0.01, 1.64, 0.085, 0.105)],
        skin,
    )
    crown = (
        (0.0, 1.6, 0.09, 0.115),
        (-0.005, 1.68, 0.09, 0.11),
        (0.0, 1.73, 0.065, 0.08),
        (0.0, 1.75, 0.03, 0.04),
    )
    soup.loft([_ring(*ring) for ring in crown], plain(named("hair", hair), hair, 0.8))
    return soup.mesh("person", smooth=True)


def _shoe(soup, x, y, walks, material):
    if walks and y < 0:  # pushes off, heel up
        soup.rod((x, y - 0.05, 0.1), (x, y + 0.1, 0.035), 0.045, 0.04, material)
    else:
        soup.box((x, y + 0.035, 0.04), (0.1, 0.27, 0.08), material)


def _ring(y, z, across, along, sides=10):
    turns = [2 * math.pi * k / sides for k in range(sides)]
    return [(across * math.cos(t), y + along * math.sin(t), z) for t in turns]
