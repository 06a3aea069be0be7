# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""The still town of a spec: street, markings, houses, trees, street lamps."""

import math
import random

import bpy
from soup import Soup, place
from surfaces import asphalt, named, plain

WHITE = (0.82, 0.83, 0.86)  # trodden snow: ground and pavements; roofs and trees stay bare


def build_town(spec):
    town, junction, classes = spec["town"], spec["junction"], spec["classes"]
    conditions = spec["conditions"]
    wet, snow = conditions["weather"] == "rain", conditions["weather"] == "snow"
    night = conditions["time"] not in ("day", "low_sun")
    _street(town, junction, classes, wet, snow)
    _markings(town, junction, classes)
    _houses(town, classes, night)
    _trees(town, classes)
    _street_lamps(town, classes, conditions["time"])


def _street(town, junction, classes, wet, snow):
    half, walk = town["half_m"], town["walk_m"]
    mouth, far, y0, y1 = junction["mouth_y"], junction["far_y"], town["from_y"], town["to_y"]
    soup = Soup()
    soup.flat(-400, -400, 400, 400, -0.08, plain("ground", WHITE if snow else (0.13, 0.14, 0.09), 1.0))
    soup.place("ground", classes["ground"] * 1000)
    soup, grey = Soup(), asphalt(wet, snow)
    soup.flat(-half, y0, half, y1, 0.0, grey)
    for side in (-1, 1):
        a, b = sorted((side * half, side * 120))
        soup.flat(a, mouth, b, far, 0.0, grey)
    soup.place("road", classes["road"] * 1000)
    soup = Soup()
    slab = plain(
        "slab",
        WHITE if snow else (0.30, 0.29, 0.28) if not wet else (0.17, 0.17, 0.17),
        0.9 if not wet else 0.45,
        noise=(0.8, 0.15),
    )
    kerb = plain("kerb", (0.46, 0.45, 0.43), 0.85)
    for side in (-1, 1):
        for low, high in ((y0, mouth), (far, y1)):
            soup.box(
                (side * (half + 0.15 + (walk + 1) / 2), (low + high) / 2, 0.06),
                (walk + 1, high - low, 0.18),
                slab,
            )
            soup.box((side * (half + 0.08), (low + high) / 2, 0.065), (0.18, high - low, 0.19), kerb)
        for y, sign in ((mouth, -1), (far, 1)):  # along the cross street
            soup.box((side * (half + 60), y + sign * 2, 0.06), (120, 4, 0.178), slab)
            soup.box((side * (half + 60), y + sign * 0.08, 0.065), (120, 0.18, 0.19), kerb)
    soup.place("sidewalk", classes["sidewalk"] * 1000)


def _markings(town, junction, classes):
    half, lane, lanes = town["half_m"], town["lane_m"], town["lanes_each_way"]
    mouth, far, stop = junction["mouth_y"], junction["far_y"], junction["stop_y"]
    white, yellow = (
        plain("paint_white", (0.72, 0.72, 0.70), 0.6),
        plain("paint_yellow", (0.75, 0.45, 0.05), 0.6),
    )
    soup, z, width = Soup(), 0.008, 0.14
    ends = ((town["from_y"], stop), (far + 5, town["to_y"]))
    for low, high in ends:
        offsets = (0.0,) if lanes == 1 else (-0.14, 0.14)  # a four-lane road has a double line
        for offset in offsets:
            soup.flat(offset - width / 2, low, offset + width / 2, high, z, yellow)
        for side in (-1, 1):
            x = side * (half - 0.25)
            soup.flat(x - width / 2, low, x + width / 2, high, z, white)
            for k in range(1, lanes):
                y = low + 0.0 if low > 0 else high - 12.0
                soup.flat(
                    side * k * lane - width / 2,
                    y if low < 0 else low,
                    side * k * lane + width / 2,
                    high if low < 0 else low + 12,
                    z,
                    white,
                )
                y = low + 14 if low > 0 else low
                while y < (high if low > 0 else high - 14):
                    soup.flat(side * k * lane - width / 2, y, side * k * lane + width / 2, y + 3, z, white)
                    y += 7
    soup.flat(0.1, stop - 0.45, half - 0.2, stop, z, white)
    soup.flat(-half + 0.2, far + 5, -0.1, far + 5.45, z, white)
    middle = (mouth + far) / 2
    for side in (-1, 1):
        a, b = sorted((side * (half + 5), side * 110))
        soup.flat(a, middle - width / 2, b, middle + width / 2, z, yellow)
        a, b = sorted((side * (half + 4.4), side * (half + 4.9)))
        soup.flat(a, middle if side < 0 else mouth, b, far if side < 0 else middle, z, white)
    soup.place("marking", classes["marking"] * 1000)
    if not junction["zebra"]:
        return
    soup, near = Soup(), junction["zebra_y"]
    for low, high in (near, (far + 1.2, far + 3.8)):  # town.zebra_bands, for the labels
        x = -half + 0.35
        while x < half - 0.5:
            soup.flat(x, low, x + 0.5, high, z + 0.001, white)
            x += 1.0
    for side in (-1, 1):  # across the mouths of the cross street
        y = mouth + 0.35
        a, b = sorted((side * (half + 1.0), side * (half + 3.6)))
        while y < far - 0.5:
            soup.flat(a, y, b, y + 0.5, z + 0.001, white)
            y += 1.0
    soup.place("zebra", classes["zebra"] * 1000)


def _houses(town, classes, night):
    walls, glass = Soup(), Soup()
    trim, pane = plain("trim", (0.55, 0.53, 0.50), 0.7), plain("pane", (0.03, 0.04, 0.05), 0.08)
    warm = [
        plain(f"lit{k}", c, 0.5, glow=0.55)
        for k, c in enumerate(((1.0, 0.66, 0.32), (1.0, 0.8, 0.55), (0.7, 0.82, 1.0)))
    ]
    for house in town["buildings"]:
        rng = random.Random(house["lit_seed"])  # which windows are lit: decided by the spec's seed
        x, y, w, d, side, floor = (house[k] for k in ("x", "y", "w", "d", "side", "floor_m"))
        height = house["floors"] * floor + 0.8
        wall = plain(named("wall", house["wall"]), house["wall"], 0.9, noise=(0.6, 0.12))
        shop = plain(named("shop", house["shop"]), house["shop"], 0.6)
        walls.box((x, y, height / 2), (w, d, height), wall)
        walls.box((x, y, height + 0.1), (w + 0.5, d + 0.5, 0.3), trim)
        front = x - side * w / 2
        walls.box((front, y, floor - 0.1), (0.5, d - 0.3, 0.55), shop)
        faces = (("x", front, -side, y, d), ("y", y - d / 2, -1, x, w), ("y", y + d / 2, 1, x, w))
        for axis, at, out, middle, length in faces:
            count = max(1, int((length - 0.6) / house["pitch_m"]))
            for f in range(house["floors"]):
                low, tall, wide = (
                    (f * floor + 0.9, 1.6, 1.15) if f else (0.35, floor - 0.95, house["pitch_m"] * 0.8)
                )
                for k in range(count):
                    u = middle + (k - (count - 1) / 2) * house["pitch_m"]
                    lit = night and rng.random() < (0.3 if f else 0.6)
                    for grow, lift, soup, material in (
                        (0.12, 0.02, walls, trim),
                        (0.0, 0.04, glass, rng.choice(warm) if lit else pane),
                    ):
                        a, b, c, e, t = (
                            u - wide / 2 - grow,
                            u + wide / 2 + grow,
                            low - grow,
                            low + tall + grow,
                            at + out * lift,
                        )
                        flip = (out > 0) == (axis == "x")
                        quad = [(a, c), (b, c), (b, e), (a, e)]
                        quad = quad if flip else quad[::-1]
                        soup.poly([(t, p, q) if axis == "x" else (p, t, q) for p, q in quad], material)
    walls.place("buildings", classes["building"] * 1000)
    glass.place("windows", classes["window"] * 1000)


def _trees(town, classes):
    kinds = []
    bark = plain("bark", (0.10, 0.07, 0.05), 0.95)
    leaves = [
        plain(f"leaf{k}", c, 0.8)
        for k, c in enumerate(((0.05, 0.12, 0.025), (0.075, 0.16, 0.035), (0.035, 0.085, 0.02)))
    ]
    for kind in range(3):
        rng, soup = random.Random(100 + kind), Soup()
        soup.tube("z", (0, 0), 0, 2.8, 0.15, 0.09, bark, 7)
        for _ in range(420):
            theta, up = rng.uniform(0, 2 * math.pi), rng.gauss(0, 1)
            flat, radius = rng.gauss(0, 1), rng.uniform(0.7, 1.0)
            norm = math.sqrt(up * up + flat * flat + 1) / radius
            x, y, z = (
                math.cos(theta) * 1.5 / norm * 1.2,
                math.sin(theta) * 1.5 / norm * 1.2,
                4.1 + up * 1.4 / norm,
            )
            size, a, b = rng.uniform(0.16, 0.3), rng.uniform(0, 6.28), rng.uniform(-1.2, 1.2)
            u = (math.cos(a) * size, math.sin(a) * size, 0)
            v = (-math.sin(a) * math.cos(b) * size, math.cos(a) * math.cos(b) * size, math.sin(b) * size)
            soup.poly(
                [
                    (x + i * u[0] + j * v[0], y + i * u[1] + j * v[1], z + i * u[2] + j * v[2])
                    for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
                ],
                rng.choice(leaves),
            )
        kinds.append(soup.mesh(f"tree{kind}"))
    for k, tree in enumerate(town["trees"]):
        place(
            kinds[tree["kind"]],
            f"tree_{k}",
            classes["tree"] * 1000 + k + 1,
            (tree["x"], tree["y"], 0.1),
            tree["yaw"],
            tree["scale"],
        )


def _street_lamps(town, classes, time):
    soup, steel = Soup(), plain("steel", (0.2, 0.21, 0.22), 0.5, 0.6)
    shade = plain("lamp_shade", (1.0, 0.85, 0.62), 0.5, glow=0.0 if time in ("day", "low_sun") else 1.0)
    for lamp in town["lamps"]:
        side = 1 if lamp["x"] > 0 else -1
        soup.tube("z", (lamp["x"], lamp["y"]), 0, 7.5, 0.09, 0.06, steel, 8)
        soup.box((lamp["x"] - side * 0.8, lamp["y"], 7.5), (1.7, 0.08, 0.08), steel)
        soup.box((lamp["x"] - side * 1.6, lamp["y"], 7.42), (0.7, 0.25, 0.08), shade)
        if time == "night":
            light = bpy.data.lights.new("street", "SPOT")
            light.energy, light.color, light.spot_size, light.spot_blend, light.shadow_soft_size = (
                1500,
                (1, 0.78, 0.52),
                2.5,
                0.7,
                0.2,
            )
            thing = bpy.data.objects.new("street", light)
            thing.location = (lamp["x"] - side * 1.6, lamp["y"], 7.3)
            bpy.context.collection.objects.link(thing)
    soup.place("poles", classes["pole"] * 1000)
