# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""Quads in, one Blender mesh object out."""

import math

import bpy


class Soup:
    """Polygons gathered into one object: few objects keep the ray tracer's top tree small."""

    def __init__(self):
        self.points, self.faces, self.which, self.materials = [], [], [], []

    def poly(self, points, material):
        if material not in self.materials:
            self.materials.append(material)
        start = len(self.points)
        self.points += [tuple(p) for p in points]
        self.faces.append(tuple(range(start, start + len(points))))
        self.which.append(self.materials.index(material))

    def flat(self, x0, y0, x1, y1, z, material):
        self.poly([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], material)

    def box(self, centre, size, material):
        (cx, cy, cz), (x, y, z) = centre, (s / 2 for s in size)
        p = [(cx + a, cy + b, cz + c) for c in (-z, z) for a, b in ((-x, -y), (x, -y), (x, y), (-x, y))]
        for quad in ((0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)):
            self.poly([p[k] for k in quad], material)

    def tube(self, axis, at, low, high, r0, r1, material, sides=12):
        """Cylinder or cone along 'x', 'y' or 'z'; `at` are the other two coordinates."""

        def place(t, a, b):
            return {"x": (t, a, b), "y": (a, t, b), "z": (a, b, t)}[axis]

        rings = [
            [
                place(
                    t,
                    at[0] + r * math.cos(2 * math.pi * k / sides),
                    at[1] + r * math.sin(2 * math.pi * k / sides),
                )
                for k in range(sides)
            ]
            for t, r in ((low, r0), (high, r1))
        ]
        for k in range(sides):
            j = (k + 1) % sides
            self.poly([rings[0][k], rings[0][j], rings[1][j], rings[1][k]], material)
        self.poly(rings[0][::-1], material)
        self.poly(rings[1], material)

    def mesh(self, name):
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(self.points, [], self.faces)
        for material in self.materials:
            mesh.materials.append(material)
        mesh.polygons.foreach_set("material_index", self.which)
        mesh.update()
        return mesh

    def place(self, name, pass_index):
        return place(self.mesh(name), name, pass_index)


def place(mesh, name, pass_index, xyz=(0, 0, 0), yaw=0.0, scale=1.0):
    thing = bpy.data.objects.new(name, mesh)
    thing.pass_index, thing.location, thing.scale = pass_index, xyz, (scale,) * 3
    thing.rotation_euler[2] = yaw
    bpy.context.collection.objects.link(thing)
    return thing
