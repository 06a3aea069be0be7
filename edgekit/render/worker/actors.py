# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""What moves or changes from frame to frame: traffic lights, cones, the barrier, cars, people."""

from soup import Soup, place
from surfaces import DARK, LIT, glowing, named, plain

AWAY = -60.0  # things not in a frame wait under the ground: cheaper and safer than hiding them
COLOURS = ("red", "yellow", "green")  # from top to bottom
CONES = 6


class Actors:
    def __init__(self, spec):
        classes, junction = spec["classes"], spec["junction"]
        self.classes, night = classes, spec["conditions"]["time"] not in ("day", "low_sun")
        self.heads, self.lit = [], {colour: [] for colour in COLOURS}
        for k, head in enumerate(junction["heads"], 1):
            self.heads.append(_head(head, junction).place(f"head{k}", classes["head"] * 1000 + k))
            dark = _lenses(head, junction, COLOURS, lit=False)
            self.heads.append(dark.place(f"dark{k}", classes["lamp_dark"] * 1000 + k))
            for colour in COLOURS:
                lens = _lenses(head, junction, (colour,), lit=True)
                self.lit[colour].append(lens.place(f"{colour}{k}", classes[f"lamp_{colour}"] * 1000 + k))
        cone = _cone().mesh("cone")
        self.cones = [
            place(cone, f"cone{k}", classes["cone"] * 1000 + k, (0, 0, AWAY)) for k in range(1, CONES + 1)
        ]
        self.barrier = _barrier().place("barrier", classes["barrier"] * 1000 + 1)
        for k, car in enumerate(spec["town"]["parked"], 1):
            place(
                _car(car, night).mesh("car"),
                f"parked{k}",
                classes["car"] * 1000 + k,
                (car["x"], car["y"], 0.06),
                car["yaw"],
            )
        self.movers = [
            place(_car(car, True).mesh("car"), f"mover{k}", classes["car"] * 1000 + 100 + k, (0, 0, AWAY))
            for k, car in enumerate(spec["movers"], 1)
        ]
        for k, person in enumerate(spec["town"]["people"], 1):
            place(
                _person(person["coat"]).mesh("person"),
                f"person{k}",
                classes["person"] * 1000 + k,
                (person["x"], person["y"], 0.15),
            )

    def arrange(self, frame):
        """Put everything where this frame has it."""
        for thing in self.heads:
            thing.location.z = 0 if frame["heads"] else AWAY
        for colour, lenses in self.lit.items():
            for lens in lenses:
                lens.location.z = 0 if frame["heads"] and frame["light"] == colour else AWAY
        for k, cone in enumerate(self.cones):
            cone.location = (*frame["cones"][k], 0.0) if k < len(frame["cones"]) else (0, 0, AWAY)
        self.barrier.location = (*frame["barrier"], 0.0) if frame["barrier"] else (0, 0, AWAY)
        there = {mover["slot"]: mover for mover in frame["movers"]}
        for k, thing in enumerate(self.movers):
            mover = there.get(k)
            thing.location = (mover["x"], mover["y"], 0.0) if mover else (0, 0, AWAY)
            thing.rotation_euler[2] = mover["yaw"] if mover else 0.0


def _head(head, junction):
    soup, x, y, z, gap = Soup(), head["x"], head["y"], head["z"], junction["lens_gap_m"]
    black, plate = (
        plain("head_black", (0.012, 0.012, 0.012), 0.5),
        plain("head_plate", (0.02, 0.02, 0.022), 0.6),
    )
    steel = plain("head_steel", (0.2, 0.21, 0.22), 0.5, 0.4)
    soup.tube("z", (x, y + 0.25), 0, z + 0.4, 0.07, 0.06, steel, 10)
    soup.box((x, y + 0.12, z), (0.44, 0.2, 3 * gap + 0.1), black)
    soup.box((x, y + 0.1, z), (0.72, 0.03, 3 * gap + 0.34), plate)
    for k in (-1, 0, 1):  # visors
        top = z + k * gap + junction["lens_m"] / 2 + 0.012
        soup.box((x, y - 0.06, top), (junction["lens_m"] * 0.8, 0.16, 0.012), black)
    return soup


def _lenses(head, junction, colours, lit):
    soup, radius = Soup(), junction["lens_m"] / 2
    for colour in colours:
        z = head["z"] + (1 - COLOURS.index(colour)) * junction["lens_gap_m"]
        material = (
            glowing(f"lens_{colour}_lit", LIT[colour]) if lit else plain(f"lens_{colour}", DARK[colour], 0.25)
        )
        front = head["y"] - (0.015 if lit else 0.0)
        soup.tube("y", (head["x"], z), front, head["y"] + 0.03, radius, radius, material, 24)
    return soup


def _cone():
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
    return soup


def _barrier():
    soup = Soup()
    red, white = (
        plain("barrier_red", (0.65, 0.02, 0.02), 0.5),
        plain("barrier_white", (0.82, 0.82, 0.80), 0.5),
    )
    steel = plain("head_steel", (0.2, 0.21, 0.22), 0.5, 0.4)
    wide = 1.8
    for x in (-0.75, 0.75):
        soup.box((x, 0.05, 0.5), (0.06, 0.06, 1.0), steel)
        soup.box((x, 0.05, 0.03), (0.12, 0.7, 0.06), steel)
    for low, high in ((0.30, 0.58), (0.70, 0.98)):
        soup.box((0, 0.02, (low + high) / 2), (wide, 0.03, high - low), white)
        count, slant = 6, 0.12
        for k in range(count):  # slanted stripes
            a = -wide / 2 + k * wide / count
            b = a + wide / count / 2
            soup.poly(
                [(a, -0.002, low), (b, -0.002, low), (b + slant, -0.002, high), (a + slant, -0.002, high)],
                red,
            )
    return soup


def _car(car, lights_on):
    """Front towards +y. A side outline pulled across the width, glass, wheels, lamps."""
    soup, length, half = Soup(), car["length"], 0.89
    paint = plain(named("car", car["paint"]), car["paint"], 0.3)
    glass, black, rim = (
        plain("car_glass", (0.015, 0.018, 0.02), 0.1),
        plain("car_black", (0.02, 0.02, 0.02), 0.8),
        plain("car_rim", (0.5, 0.5, 0.52), 0.35, 0.8),
    )
    tail = plain("car_tail", (0.75, 0.01, 0.01), 0.3, glow=0.5 if lights_on else 0.06)
    front = plain("car_front", (0.95, 0.93, 0.85), 0.2, glow=0.9 if lights_on else 0.1)
    outline = (
        (0.0, 0.35),
        (0.0, 0.80),
        (0.02, 0.95),
        (0.14, 0.98),
        (0.70, 0.96),
        (0.96, 0.76),
        (1.0, 0.62),
        (1.0, 0.35),
    )
    side = [((t - 0.5) * length, z) for t, z in outline]
    for sign in (-1, 1):
        points = [(sign * half, y, z) for y, z in side]
        soup.poly(points if sign < 0 else points[::-1], paint)
    for (ya, za), (yb, zb) in zip(side, side[1:] + side[:1], strict=True):
        soup.poly([(-half, ya, za), (half, ya, za), (half, yb, zb), (-half, yb, zb)], paint)
    low = [
        (-0.9 * half, -0.40 * length),
        (0.9 * half, -0.40 * length),
        (0.9 * half, 0.22 * length),
        (-0.9 * half, 0.22 * length),
    ]
    high = [
        (-0.7 * half, -0.29 * length),
        (0.7 * half, -0.29 * length),
        (0.7 * half, 0.03 * length),
        (-0.7 * half, 0.03 * length),
    ]
    for k in range(4):
        j = (k + 1) % 4
        soup.poly([(*low[k], 0.95), (*low[j], 0.95), (*high[j], 1.44), (*high[k], 1.44)], glass)
    soup.poly([(*p, 1.445) for p in high], paint)
    for x in (-1, 1):
        for t in (-0.31, 0.31):
            ends = sorted((x * (half - 0.2), x * (half + 0.02)))
            soup.tube("x", (t * length, 0.32), *ends, 0.32, 0.32, black, 14)
            ends = sorted((x * (half + 0.0), x * (half + 0.03)))
            soup.tube("x", (t * length, 0.32), *ends, 0.19, 0.19, rim, 10)
        soup.box((x * 0.68, -length / 2, 0.78), (0.32, 0.06, 0.16), tail)
        soup.box((x * 0.62, length / 2 - 0.03, 0.62), (0.36, 0.08, 0.14), front)
    soup.box((0, -length / 2, 0.60), (0.5, 0.04, 0.12), plain("car_plate", (0.7, 0.7, 0.65), 0.5))
    soup.box((0, -length / 2, 0.40), (1.6, 0.06, 0.14), black)
    return soup


def _person(coat):
    soup, cloth = Soup(), plain(named("coat", coat), coat, 0.9)
    trousers, skin = plain("trousers", (0.05, 0.05, 0.07), 0.9), plain("skin", (0.45, 0.28, 0.2), 0.7)
    for x in (-0.1, 0.1):
        soup.tube("z", (x, 0), 0, 0.85, 0.07, 0.09, trousers, 8)
    soup.tube("z", (0, 0), 0.8, 1.45, 0.19, 0.22, cloth, 10)
    soup.tube("z", (0, 0), 1.5, 1.74, 0.10, 0.09, skin, 10)
    return soup
