# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""The user's own models: imported, joined into one mesh of our local frame, nothing else left of them."""

import hashlib
import json
import os

import bpy
import numpy as np
from mathutils import Matrix, Vector
from surfaces import plain

# an axis of the file in Blender's axes: both importers turn y-up files z-up, (x, y, z) -> (x, -z, y)
AXES = {
    "+x": (1, 0, 0), "-x": (-1, 0, 0), "+y": (0, 0, 1), "-y": (0, 0, -1), "+z": (0, -1, 0), "-z": (0, 1, 0),
}  # fmt: skip
TOLERANCE = 0.005  # of a size: the labels believe the sizes of the spec
GONE = ("objects", "collections", "meshes", "lights", "cameras", "armatures", "curves", "actions", "worlds")
KEPT = ("materials", "images", "node_groups")  # in this order each holds the next; kept where still in use


def load(asset):
    """The mesh of an entry of the spec's "assets": x right, y forward, z up, origin on the ground under
    its middle, length_m long. Imported once a scene: an emptied Blender holds no mesh of the one before.

    Raises ValueError where Blender reads other sizes than the entry says, no mesh, or a file from elsewhere.
    """
    told = [asset["path"], asset["length_m"], asset["forward"], asset.get("up", "+y")]
    name = "cad_" + hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    known = bpy.data.meshes.get(name)
    if known:
        return known
    before = {kind: set(getattr(bpy.data, kind)) for kind in GONE + KEPT}
    done = None
    try:
        _import(asset["path"])
        mesh = _joined(bpy.data.objects[:], before["objects"], asset["path"])
        _to_our_frame(mesh, asset)
        _check(mesh, asset, before["images"])
        done = mesh
    finally:
        _clear(before, done)
    _name_apart(mesh, name, before)
    return mesh


def _import(path):
    if path.lower().endswith(".obj"):
        # a material of ours that has the name of one of theirs must not become theirs
        bpy.ops.wm.obj_import(
            filepath=path, forward_axis="NEGATIVE_Z", up_axis="Y", global_scale=1.0, clamp_size=0.0,
            use_split_objects=False, use_split_groups=False, mtl_name_collision_mode="MAKE_UNIQUE",
        )  # fmt: skip
    else:
        bpy.ops.import_scene.gltf(filepath=path, import_scene_as_collection=False, import_scene_extras=False)


def _joined(objects, ours, path):
    """One mesh of all faces, where the file places them."""
    bpy.context.view_layer.update()
    things = [thing for thing in objects if thing not in ours and thing.type == "MESH"]
    things = [(thing, thing.matrix_world.copy()) for thing in things if len(thing.data.polygons)]
    if not things:
        raise ValueError(f"{path}: Blender finds no faces in it")
    for thing, matrix in things:
        thing.shape_key_clear()
        thing.data = thing.data.copy()  # several objects may share one
        thing.modifiers.clear()
        thing.animation_data_clear()
        thing.data.transform(matrix)
        if matrix.determinant() < 0:  # mirrored: its faces would look inwards
            thing.data.flip_normals()
    for thing, _ in things:
        thing.parent, thing.matrix_world = None, Matrix()
    first, whole = things[0][0], [thing for thing, _ in things]
    if len(things) > 1:
        with bpy.context.temp_override(active_object=first, object=first, selected_editable_objects=whole):
            bpy.ops.object.join()
    return first.data


def _to_our_frame(mesh, asset):
    forward, up = Vector(AXES[asset["forward"]]), Vector(AXES[asset.get("up", "+y")])
    mesh.transform(Matrix((forward.cross(up), forward, up)).to_4x4())
    low, high = _bounds(mesh)
    scale = asset["length_m"] / (high[1] - low[1])
    middle = Vector(((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]))
    mesh.transform(Matrix.Scale(scale, 4) @ Matrix.Translation(-middle))


def _bounds(mesh):
    """Of its faces: points and wires, which are not drawn, do not count."""
    points, corners = np.empty(len(mesh.vertices) * 3), np.empty(len(mesh.loops), np.int32)
    mesh.vertices.foreach_get("co", points)
    mesh.loops.foreach_get("vertex_index", corners)
    points = points.reshape(-1, 3)[np.unique(corners)]
    return points.min(axis=0), points.max(axis=0)


def _check(mesh, asset, ours):
    low, high = _bounds(mesh)
    sizes, told = high - low, np.array([asset[f"{side}_m"] for side in ("width", "length", "height")])
    if (abs(sizes - told) > TOLERANCE * told.clip(1)).any():
        raise ValueError(
            f"{asset['path']}: Blender reads {np.round(sizes, 3)} m (width, length, height), the scene says {told}"
        )
    folder = os.path.join(os.path.realpath(os.path.dirname(asset["path"])), "")
    for image in bpy.data.images:
        where = os.path.realpath(bpy.path.abspath(image.filepath)) if image.filepath else folder
        if image not in ours and not image.packed_file and not where.startswith(folder):
            raise ValueError(f"{asset['path']}: it reads {where}, outside its folder")


def _clear(before, mesh):
    """Takes away what the import brought, but for the mesh and what it is painted with."""
    for kind in GONE:
        brought = [thing for thing in getattr(bpy.data, kind) if thing not in before[kind] and thing != mesh]
        for thing in brought:
            getattr(bpy.data, kind).remove(thing)
    for kind in KEPT:
        for thing in [t for t in getattr(bpy.data, kind) if t not in before[kind] and not t.users]:
            getattr(bpy.data, kind).remove(thing)


def _name_apart(mesh, name, before):
    """Names that none of ours has: ours are looked up by name."""
    mesh.name = name
    for kind in KEPT:
        for thing in getattr(bpy.data, kind):
            if thing not in before[kind]:
                thing.name = f"{name}_{thing.name}"
    for material in mesh.materials:
        if material:
            material.cycles.emission_sampling = "NONE"  # seen, but not aimed at
    if not any(mesh.materials):
        mesh.materials.clear()
        mesh.materials.append(plain("cad_bare", (0.35, 0.36, 0.38), 0.4))
