"""With Blender: a model lies in our frame, as large as the manifest's check said, and leaves nothing else."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgekit.render
from edgekit.core.environments import clean_environ
from edgekit.render.assets import read_manifest
from edgekit.render.blender import blender_python
from tests.unit.render.blender import NEEDS_BLENDER
from tests.unit.render.wedge import (
    BODY,
    HEIGHT,
    LENGTH,
    WIDTH,
    in_file_axes,
    manifest,
    write_glb,
    write_gltf,
    write_obj,
)  # fmt: skip

pytestmark = NEEDS_BLENDER

LOAD = """
import json, sys
sys.path.insert(0, sys.argv[1])
import bpy
import cad
from surfaces import plain
def begin():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return plain("car_glass", (0.015, 0.018, 0.02), 0.1)
ours, said = begin(), []
kinds = ("objects", "collections", "lights", "cameras", "armatures", "curves", "actions", "worlds", "scenes")
count = lambda: {kind: len(getattr(bpy.data, kind)) for kind in kinds}
for asset in json.load(open(sys.argv[2])):
    if asset == "next scene":
        ours = begin()
        continue
    before, meshes = count(), len(bpy.data.meshes)
    try:
        mesh = cad.load(asset)
    except ValueError as error:
        said.append({"error": str(error), "left": count() == before and len(bpy.data.meshes) == meshes})
        continue
    said.append({
        "points": [list(v.co) for v in mesh.vertices],
        "normals": [[*(f.center), *(f.normal)] for f in mesh.polygons],
        "left": count() == before, "again": cad.load(asset) == mesh, "meshes": len(bpy.data.meshes) - meshes,
        "materials": [m.name for m in mesh.materials], "ours": bpy.data.materials["car_glass"] == ours,
        "colours": [list(m.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value) for m in mesh.materials],
        "textures": [[*n.image.size] for m in mesh.materials for n in m.node_tree.nodes if n.type == "TEX_IMAGE"],
    })
json.dump(said, open(sys.argv[3], "w"))
"""  # noqa: E501


def load(folder, assets):
    """What Blender says of each spec entry; "next scene" empties it, as the worker does."""
    worker = Path(edgekit.render.__file__).parent / "worker"
    (folder / "assets.json").write_text(json.dumps(assets))
    command = [
        blender_python(""),
        "-c",
        LOAD,
        str(worker),
        str(folder / "assets.json"),
        str(folder / "said.json"),
    ]
    done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "said.json").read_text())


def is_the_wedge(points):
    """Each corner of the body is there, and nothing else is: the nose at +y, its higher side at +x."""
    away = np.linalg.norm(np.array(points)[:, None] - BODY[None], axis=2)
    return away.min(axis=0).max() < 0.001 and away.min(axis=1).max() < 0.001


def looks_outwards(normals):
    at, normal = np.array(normals)[:, :3] - (0, -0.3, 0.5), np.array(normals)[:, 3:]
    return (np.sum(at * normal, axis=1) > 0).all()


FRAMES = [("+z", "+y"), ("-z", "+y"), ("+x", "+y"), ("-x", "+y"), ("+y", "+z"), ("-y", "+z"), ("-x", "-z")]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cad")
    rows = []
    for k, (forward, up) in enumerate(FRAMES):
        for write, ending, unit in (
            (write_gltf, "gltf", 1),
            (write_glb, "glb", 100),
            (write_obj, "obj", 0.1),
        ):
            name = f"{k}.{ending}"
            write(folder / name, in_file_axes(forward, up, unit))
            rows.append({"path": name, "forward": forward, "up": up})
    return load(folder, [a.spec() for a in read_manifest(manifest(folder, *rows))])


def test_the_nose_points_to_y_whatever_the_files_axes(loaded):
    assert len(loaded) == 3 * len(FRAMES)
    for said in loaded:
        assert is_the_wedge(said["points"])
        assert looks_outwards(said["normals"])


def test_bounds_are_length_width_height_over_the_origin(loaded):
    for said in loaded:
        low, high = np.min(said["points"], axis=0), np.max(said["points"], axis=0)
        assert np.allclose(low, (-WIDTH / 2, -LENGTH / 2, 0), atol=0.001)
        assert np.allclose(high, (WIDTH / 2, LENGTH / 2, HEIGHT), atol=0.001)


def test_one_mesh_and_nothing_else_stays(loaded):
    for said in loaded:
        assert said["left"] and said["again"] and said["meshes"] == 1


def test_materials_keep_their_colour_and_never_meet_ours(loaded):
    for said in loaded:
        assert said["ours"]
        assert all(name.startswith("cad_") for name in said["materials"])
    assert np.allclose(loaded[0]["colours"], [[0.8, 0.1, 0.1, 1]])


def test_objects_lights_and_cameras_of_a_file(tmp_path):
    """A wheel drawn twice, once mirrored: both are in the mesh. A lamp and a camera are not."""
    points = in_file_axes()
    light = {"KHR_lights_punctual": {"lights": [{"type": "point"}]}}
    more = {
        "scenes": [{"nodes": [0, 2, 3, 4]}],
        "extensionsUsed": ["KHR_lights_punctual"],
        "extensions": light,
        "cameras": [{"type": "perspective", "perspective": {"yfov": 1, "znear": 0.1}}],
    }
    write_gltf(tmp_path / "a.gltf", points, **more)
    document = json.loads((tmp_path / "a.gltf").read_text())
    inner = document["nodes"][1]["matrix"]
    document["nodes"] += [
        {
            "children": [5],
            "scale": [-1, 1, 1],
            "translation": [30, 0, 0],
            "camera": 0,
        },  # mirrored, to the right
        {"extensions": {"KHR_lights_punctual": {"light": 0}}},
        {"children": [6], **{k: document["nodes"][0][k] for k in ("rotation", "translation", "scale")}},
        {"mesh": 0, "matrix": inner},
    ]
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    entry = {"path": str(tmp_path / "a.gltf"), "class": "car", "length_m": 4.0, "forward": "+z", "up": "+y"}
    # x of the file looks to the left: the body at 5 +- 0.9 is right of the middle, its image at 25 +- 0.9 left
    said = load(tmp_path, [{**entry, "width_m": 21.8, "height_m": 1.4}])[0]
    assert said["left"] and said["meshes"] == 1
    points, normals = np.array(said["points"]), np.array(said["normals"])
    assert is_the_wedge(points[points[:, 0] > 0] - (10, 0, 0))
    assert is_the_wedge((points[points[:, 0] < 0] + (10, 0, 0)) * (-1, 1, 1))
    for side in (-1, 1):
        assert looks_outwards(normals[normals[:, 0] * side > 0] - (side * 10, 0, 0, 0, 0, 0))


def test_a_model_without_material_is_grey_and_loads_in_the_next_scene(tmp_path):
    document = json.loads(write_gltf(tmp_path / "b.gltf", in_file_axes()).read_text())
    del document["meshes"][0]["primitives"][0]["material"], document["materials"]
    (tmp_path / "b.gltf").write_text(json.dumps(document))
    entry = read_manifest(manifest(tmp_path, {"path": "b.gltf"}))[0].spec()
    first, second = load(tmp_path, [entry, "next scene", entry])
    assert first["materials"] == second["materials"] == ["cad_bare"]
    assert is_the_wedge(second["points"])


def test_a_texture_beside_the_file_is_read(tmp_path):
    Image.new("RGB", (5, 3), (10, 200, 30)).save(tmp_path / "paint.png")
    (tmp_path / "paint.mtl").write_text("newmtl car_glass\nmap_Kd -s 2 2 paint.png\n")
    write_obj(tmp_path / "a.obj", in_file_axes(), "mtllib paint.mtl\nusemtl car_glass")
    said = load(tmp_path, [a.spec() for a in read_manifest(manifest(tmp_path, {"path": "a.obj"}))])[0]
    assert said["textures"] == [[5, 3]] and said["ours"]


def test_sizes_that_the_labels_do_not_know_are_refused(tmp_path):
    write_glb(tmp_path / "a.glb", in_file_axes())
    entry = read_manifest(manifest(tmp_path, {"path": "a.glb"}))[0].spec()
    Image.new("RGB", (5, 3)).save(tmp_path / "paint.png")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.mtl").write_text("newmtl paint\nmap_Kd ../paint.png\n")
    write_obj(inner / "a.obj", in_file_axes(), "mtllib a.mtl\nusemtl paint")
    wider, outside = load(tmp_path, [{**entry, "width_m": 1.83}, {**entry, "path": str(inner / "a.obj")}])
    assert "the scene says" in wider["error"] and wider["left"]
    assert "outside its folder" in outside["error"] and outside["left"]
