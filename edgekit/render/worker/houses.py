# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""Houses with their windows, and a toll plaza's booths and canopies."""

import math
import random

from soup import Soup
from surfaces import glass, named, plain

SEEN_M = 260.0  # houses farther than this from every camera are left out
WARM = ((1.0, 0.66, 0.32), (1.0, 0.8, 0.55), (0.7, 0.82, 1.0))
BOOTH = (0.8, 2.0, 2.5)


class Facades:
    """The two meshes of all houses: walls, and panes of glass."""

    def __init__(self, night):
        self.walls, self.glass, self.night = Soup(), Soup(), night
        self.trim, self.pane = plain("trim", (0.55, 0.53, 0.50), 0.7), glass()
        self.warm = [plain(f"lit{k}", colour, 0.5, glow=0.55) for k, colour in enumerate(WARM)]
        self.door = plain("door", (0.09, 0.06, 0.045), 0.5)

    def stand(self, thing, turn=0.0):
        for soup in (self.walls, self.glass):
            soup.stand(thing["x"], thing["y"], thing["yaw"] + turn)

    def window(self, u, low, wide, tall, at, glass, cross=True):
        """In the wall at local y = `at` that looks along +y: a frame, its pane, a sill, a bar across."""
        _panel(self.walls, u, low - 0.1, wide + 0.2, tall + 0.2, at + 0.02, self.trim)
        _panel(self.glass, u, low, wide, tall, at + 0.04, glass)
        if cross:
            _panel(self.walls, u, low, 0.07, tall, at + 0.05, self.trim)
            self.walls.box((u, at + 0.07, low - 0.13), (wide + 0.3, 0.16, 0.07), self.trim)


def build_houses(spec, cameras):
    classes, night = spec["classes"], spec["conditions"]["time"] not in ("day", "low_sun")
    facades = Facades(night)
    for house in spec["houses"]:
        if any((house["x"] - x) ** 2 + (house["y"] - y) ** 2 < SEEN_M**2 for x, y in cameras):
            _house(facades, house)
    for booth in spec["booths"]:
        _booth(facades, booth)
    for canopy in spec["canopies"]:
        _canopy(facades, canopy)
    facades.walls.place("buildings", classes["building"] * 1000)
    facades.glass.place("windows", classes["window"] * 1000)


def _house(facades, house):
    rng = random.Random(house["lit_seed"])  # which windows are lit, and the roof: decided by the spec's seed
    w, d, floor = house["w"], house["d"], house["floor_m"]
    height = house["floors"] * floor + 0.8
    wall = plain(named("wall", house["wall"]), house["wall"], 0.9, noise=(0.6, 0.12))
    shop = plain(named("shop", house["shop"]), house["shop"], 0.6)
    facades.stand(house)
    walls = facades.walls
    walls.box((0, 0, height / 2 - 0.1), (w, d, height + 0.2), wall)
    walls.box((0, 0, height + 0.1), (w + 0.5, d + 0.5, 0.3), facades.trim)
    if house["floors"] <= 4 and rng.random() < 0.6:
        _gable(walls, w + 0.3, d + 0.3, height + 0.25, rng.uniform(1.8, 3.2), wall)
    for quarter, (wide, deep) in enumerate(((w, d), (d, w), (w, d), (d, w))):
        facades.stand(house, quarter * math.pi / 2)
        if not quarter:
            walls.box((0, deep / 2 + 0.12, floor - 0.1), (wide - 0.3, 0.3, 0.5), shop)
            walls.box((0, deep / 2 + 0.02, 0.2), (wide - 0.1, 0.06, 0.7), shop)
        _storeys(facades, house, wide, deep / 2, rng, front=not quarter)


def _storeys(facades, house, wide, at, rng, front):
    pitch, floor = house["pitch_m"], house["floor_m"]
    count = max(1, int((wide - 0.6) / pitch))
    for storey in range(house["floors"]):
        shop = front and not storey
        low, tall, across = (0.5, floor - 1.15, pitch * 0.8) if shop else (storey * floor + 0.95, 1.55, 1.1)
        for k in range(count):
            u = (k - (count - 1) / 2) * pitch
            lit = facades.night and rng.random() < (0.6 if shop else 0.3)
            glass = rng.choice(facades.warm) if lit else facades.pane
            if shop and k == count // 2:  # the way in
                _panel(facades.walls, u, 0.15, 1.1, floor - 0.8, at + 0.06, facades.door)
                _panel(facades.glass, u, 0.9, 0.7, floor - 1.8, at + 0.07, glass)
            else:
                facades.window(u, low, across, tall, at, glass, cross=not shop)


def _panel(soup, u, low, wide, tall, at, material):
    # the front looks along +y: seen from there +x is on the left
    a, b, high = u - wide / 2, u + wide / 2, low + tall
    soup.poly([(b, at, low), (a, at, low), (a, at, high), (b, at, high)], material)


def _gable(soup, w, d, z, rise, wall):
    tiles = plain("tiles", (0.16, 0.07, 0.05), 0.85)
    low, high = [(-w / 2, -d / 2), (w / 2, -d / 2), (w / 2, d / 2), (-w / 2, d / 2)], (-w / 2, w / 2)
    corners, ridge = [(*p, z) for p in low], [(x, 0.0, z + rise) for x in high]
    soup.poly([corners[0], corners[1], ridge[1], ridge[0]], tiles)
    soup.poly([corners[2], corners[3], ridge[0], ridge[1]], tiles)
    soup.poly([corners[1], corners[2], ridge[1]], wall)
    soup.poly([corners[3], corners[0], ridge[0]], wall)


def _booth(facades, booth):
    facades.stand(booth)
    wide, deep, high = BOOTH
    wall, pane = plain("booth", (0.75, 0.74, 0.70), 0.6), facades.warm[1] if facades.night else facades.pane
    facades.walls.box((0, 0, high / 2), (wide, deep, high), wall)
    facades.walls.box(
        (0, 0, high + 0.06), (wide + 0.15, deep + 0.3, 0.14), plain("booth_roof", (0.10, 0.22, 0.42), 0.6)
    )
    for quarter, (across, half) in enumerate(((wide, deep / 2), (deep, wide / 2)) * 2):
        facades.stand(booth, quarter * math.pi / 2)
        _panel(facades.glass, 0, 1.15, across - 0.2, 1.0, half + 0.01, pane)


def _canopy(facades, canopy):
    facades.stand(canopy)
    w, d, z, walls = canopy["w"], canopy["d"], canopy["z"], facades.walls
    white = plain("canopy", (0.72, 0.73, 0.74), 0.6)
    walls.box((0, 0, z + 0.35), (w, d, 0.7), white)
    for side in (-1, 1):
        walls.box(
            (0, side * (d / 2 + 0.01), z + 0.35), (w, 0.02, 0.3), plain("booth_roof", (0.10, 0.22, 0.42), 0.6)
        )
        for end in (-1, 1):
            walls.box((side * (w / 2 - 0.3), end * (d / 2 - 0.3), z / 2), (0.3, 0.3, z), white)
    if facades.night:
        tube = plain("canopy_lamp", (1.0, 0.95, 0.85), 0.5, glow=1.0)
        for k in range(-3, 4):
            walls.box((k * w / 7.5, 0, z - 0.03), (1.2, 0.25, 0.06), tube)
