# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""Trees: a trunk, branches and some nine hundred leaves, in three kinds that all trees share."""

import math
import random

from soup import Soup, place
from surfaces import plain

SEEN_M = 200.0
# (height of the crown's middle, its radius across, its half height, leaves)
KINDS = ((4.1, 1.75, 1.6, 900), (4.7, 1.45, 2.2, 940), (3.9, 2.1, 1.35, 940))


def build_trees(spec, cameras):
    kinds = {}
    for k, tree in enumerate(spec["trees"], 1):
        if not any((tree["x"] - x) ** 2 + (tree["y"] - y) ** 2 < SEEN_M**2 for x, y in cameras):
            continue
        kind = tree["kind"]
        if kind not in kinds:
            kinds[kind] = _tree(kind)
        at = (tree["x"], tree["y"], 0.0)
        place(
            kinds[kind],
            f"tree{k}",
            spec["classes"]["tree"] * 1000 + min(k, 999),
            at,
            tree["yaw"],
            tree["scale"],
        )


def _tree(kind):
    middle, across, tall, count = KINDS[kind]
    rng, soup = random.Random(100 + kind), Soup()
    bark = plain("bark", (0.10, 0.07, 0.05), 0.95)
    leaves = [
        plain(f"leaf{k}", c, 0.8)
        for k, c in enumerate(((0.065, 0.16, 0.035), (0.10, 0.21, 0.05), (0.045, 0.11, 0.028)))
    ]
    soup.tube("z", (0, 0), -0.1, middle - 0.9, 0.15, 0.09, bark, 7)
    clumps = []
    for k in range(9):  # the crown is made of clumps, each at the end of a branch
        turn, up = k * 2.4, -0.75 + 1.5 * k / 8
        out = across * 0.62 * math.sqrt(1 - up * up * 0.8)
        clumps.append((math.cos(turn) * out, math.sin(turn) * out, middle + up * tall * 0.62))
        if k % 2 == 0:
            soup.rod((0, 0, middle - 1.3), clumps[-1], 0.06, 0.02, bark, 4)
    for k in range(count):
        x, y, z = clumps[k % len(clumps)]
        direction = [rng.gauss(0, 1) for _ in range(3)]
        norm = math.hypot(*direction) or 1.0
        reach = across * 0.48 * rng.uniform(0.6, 1.0) / norm
        x, y, z = x + direction[0] * reach, y + direction[1] * reach, z + direction[2] * reach * 0.8
        size, a, b = rng.uniform(0.09, 0.2), rng.uniform(0, 6.28), rng.uniform(-1.2, 1.2)
        u = (math.cos(a) * size, math.sin(a) * size, 0)
        v = (-math.sin(a) * math.cos(b) * size, math.cos(a) * math.cos(b) * size, math.sin(b) * size)
        corners = [
            tuple(c + i * p + j * q for c, p, q in zip((x, y, z), u, v, strict=True))
            for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        # leaves inside and below are darker
        soup.poly(corners, leaves[2 if z < middle - 0.5 * tall else rng.randrange(3)])
    return soup.mesh(f"tree{kind}")
