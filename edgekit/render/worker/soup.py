# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""Polygons in, one Blender mesh out."""

import math

import bpy

AWAY = -60.0  # things not in a frame wait under the ground: cheaper and safer than hiding them
SHARP = math.radians(38)  # edges below this angle are drawn round


class Soup:
    """Polygons gathered into one mesh: few objects keep the ray tracer's top tree small."""

    def __init__(self):
        self.points, self.faces, self.which, self.materials = [], [], [], {}
        self.stand()

    def stand(self, x=0.0, y=0.0, yaw=0.0, z=0.0):
        """Where the origin of what follows is, and which way its +y looks."""
        self.origin, self.turn = (x, y, z), (math.cos(yaw), math.sin(yaw))
        return self

    def poly(self, points, material):
        slot = self.materials.setdefault(material, len(self.materials))
        start, (x, y, z), (c, s) = len(self.points), self.origin, self.turn
        self.points += [(x + c * p[0] - s * p[1], y + s * p[0] + c * p[1], z + p[2]) for p in points]
        self.faces.append(tuple(range(start, start + len(points))))
        self.which.append(slot)

    def box(self, centre, size, material):
        (cx, cy, cz), (x, y, z) = centre, (s / 2 for s in size)
        p = [(cx + a, cy + b, cz + c) for c in (-z, z) for a, b in ((-x, -y), (x, -y), (x, y), (-x, y))]
        for quad in ((0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)):
            self.poly([p[k] for k in quad], material)

    def loft(self, rings, material, caps=(True, True)):
        """A skin over rings of equally many points."""
        for low, high in zip(rings, rings[1:], strict=False):
            for k in range(len(low)):
                j = (k + 1) % len(low)
                self.poly([low[k], low[j], high[j], high[k]], material)
        for wanted, ring in zip(caps, (rings[0][::-1], rings[-1]), strict=True):
            if wanted:
                self.poly(ring, material)

    def tube(self, axis, at, low, high, r0, r1, material, sides=12):
        """Cylinder or cone along 'x', 'y' or 'z'; `at` are the other two coordinates."""
        ends = [{"x": (t, *at), "y": (at[0], t, at[1]), "z": (*at, t)}[axis] for t in (low, high)]
        across = {"x": ((0, 1, 0), (0, 0, 1)), "y": ((1, 0, 0), (0, 0, 1)), "z": ((1, 0, 0), (0, 1, 0))}[axis]
        self.loft([_ring(end, r, *across, sides) for end, r in zip(ends, (r0, r1), strict=True)], material)

    def rod(self, a, b, r0, r1, material, sides=6):
        """A limb or a bar from a to b."""
        along = [q - p for p, q in zip(a, b, strict=True)]
        away = (0, 0, 1) if abs(along[2]) < 0.9 * math.hypot(*along) else (0, 1, 0)
        u = _unit(_cross(along, away))
        v = _unit(_cross(along, u))
        self.loft([_ring(end, r, u, v, sides) for end, r in ((a, r0), (b, r1))], material)

    def mesh(self, name, smooth=False):
        points, faces = self.points, self.faces
        if smooth:  # faces must share their points to be drawn round
            known = {}
            index = [known.setdefault(tuple(round(c, 4) for c in p), len(known)) for p in points]
            points, faces = list(known), [tuple(index[k] for k in face) for face in faces]
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(points, [], faces)
        for material in self.materials:
            mesh.materials.append(material)
        mesh.polygons.foreach_set("material_index", self.which)
        mesh.update()
        if smooth:
            mesh.shade_smooth()
            mesh.set_sharp_from_angle(angle=SHARP)
        return mesh

    def place(self, name, pass_index):
        return place(self.mesh(name), name, pass_index, (0, 0, 0)) if self.faces else None


def place(mesh, name, pass_index, xyz=(0, 0, AWAY), yaw=0.0, scale=1.0):
    thing = bpy.data.objects.new(name, mesh)
    thing.pass_index, thing.location, thing.scale = pass_index, xyz, (scale,) * 3
    thing.rotation_euler[2] = yaw
    bpy.context.collection.objects.link(thing)
    return thing


def _ring(centre, radius, u, v, sides):
    turns = [2 * math.pi * k / sides for k in range(sides)]
    return [
        tuple(c + radius * (math.cos(t) * i + math.sin(t) * j) for c, i, j in zip(centre, u, v, strict=True))
        for t in turns
    ]


def _cross(a, b):
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _unit(a):
    norm = math.hypot(*a)
    return tuple(c / norm for c in a)
