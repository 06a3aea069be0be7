"""Models that are broken, empty, too large, or that Blender would place otherwise: each refused in words."""

import json
import struct

import numpy as np
import pytest

from edgekit.render import meshfiles
from edgekit.render.assets import read_manifest
from tests.unit.render.wedge import (
    WRITERS,
    data_uri,
    gltf,
    in_file_axes,
    manifest,
    refused,
    rewritten,
    write_glb,
    write_gltf,
    write_obj,
)


def test_a_gltf_that_is_malformed(tmp_path):
    path = tmp_path / "a.gltf"
    whole = write_gltf(path, in_file_axes()).read_text()
    for text in (whole[:-1], "[]", "{}", '{"asset": {"version": "2.0"}, "nodes": 3}', "[" * 100_000, "\xff"):
        path.write_text(text, encoding="latin-1")
        assert "not a whole glTF 2.0 file" in refused(tmp_path, path="a.gltf")
    changes = (
        lambda d: d["nodes"][1].update(children=[0]),  # a circle
        lambda d: d["nodes"][1].update(mesh=1),
        lambda d: d["scenes"][0]["nodes"].append(9),
        lambda d: d["accessors"][0].update(count=9),
        lambda d: d["accessors"][0].update(byteOffset=-4),
        lambda d: d["accessors"][1].update(componentType=1),
        lambda d: d["bufferViews"][1].update(byteOffset=2000),
        lambda d: d["bufferViews"][1].update(byteLength=71),
        lambda d: d["nodes"][0].update(rotation=[0, 0, 1]),
    )
    for change in changes:
        path.write_text(whole)
        rewritten(path, change)
        assert "not a whole glTF 2.0 file" in refused(tmp_path, path="a.gltf")
    path.write_text(whole.replace('"2.0"', '"1.0"'))
    assert "it is glTF 1.0" in refused(tmp_path, path="a.gltf")
    path.write_text(whole.replace('"mesh": 0', '"mesh": NaN'))
    assert "holds NaN" in refused(tmp_path, path="a.gltf")


def test_a_glb_that_is_cut_short(tmp_path):
    path = write_glb(tmp_path / "a.glb", in_file_axes())
    whole = path.read_bytes()
    for data in (whole[:-4], whole[:10], whole[:4] + struct.pack("<I", 1) + whole[8:], whole + b"\0"):
        path.write_bytes(data)
        assert "not a whole glTF 2.0 file" in refused(tmp_path, path="a.glb")


def test_an_obj_that_is_malformed(tmp_path):
    for tail, said in (
        ("f 1 2 9", "line 16: a face names vertices"),
        ("f 1 2 -9", "a face names vertices"),
        ("f 0 1 2", "a face names vertices"),
        ("f a b c", "line 16 is not OBJ"),
        ("v 1 2", "line 16 is not OBJ"),
        ("v 1 2 x", "line 16 is not OBJ: 'v 1 2 x'"),
    ):
        write_obj(tmp_path / "a.obj", in_file_axes(), tail=tail)
        assert said in refused(tmp_path, path="a.obj")


def test_a_model_without_faces_or_volume(tmp_path):
    rewritten(
        write_gltf(tmp_path / "a.gltf", in_file_axes()),
        lambda d: d["meshes"][0]["primitives"][0].update(mode=1),
    )
    assert "no faces" in refused(tmp_path, path="a.gltf")
    rewritten(write_gltf(tmp_path / "a.gltf", in_file_axes()), lambda d: d.update(scenes=[{}], nodes=[]))
    assert "no faces" in refused(tmp_path, path="a.gltf")
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nl 1 2 3\nf 1 2\n")
    assert "no faces" in refused(tmp_path, path="a.obj")
    write_obj(tmp_path / "a.obj", in_file_axes() * (1, 0, 1))
    assert "it is flat" in refused(tmp_path, path="a.obj")
    write_obj(tmp_path / "a.obj", in_file_axes() * 0)
    assert "it is flat" in refused(tmp_path, path="a.obj")


def test_coordinates_that_are_no_numbers(tmp_path):
    for wrong in (np.nan, -np.inf, 1e13):
        points = in_file_axes()
        points[3, 1] = wrong
        for name in ("a.obj", "a.glb"):
            WRITERS[name](tmp_path / name, points)
            assert "not finite" in refused(tmp_path, path=name)


def test_a_model_too_far_from_its_origin(tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / name, in_file_axes(offset=(3000, 0, 0)))
        assert read_manifest(manifest(tmp_path, {"path": name}))[0].width_m == pytest.approx(1.8, abs=0.002)
        write(tmp_path / name, in_file_axes(offset=(0, 0, -5000)))
        assert "of its lengths from its file's origin" in refused(tmp_path, path=name)


def test_too_many_megabytes_are_found_before_they_are_read(tmp_path):
    """A sparse file, which would not fit the reader's patience either."""
    write_gltf(tmp_path / "a.gltf", in_file_axes(), "a.bin")
    with open(tmp_path / "a.bin", "wb") as file:
        file.truncate(201_000_000)
    assert "201 MB with a.bin; at most 200 MB" in refused(tmp_path, path="a.gltf")
    with open(tmp_path / "a.obj", "wb") as file:
        file.truncate(200_000_001)
    assert "at most 200 MB" in refused(tmp_path, path="a.obj")


def test_the_limit_is_for_all_files_together(tmp_path, monkeypatch):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"\0" * 6000)
    monkeypatch.setattr(meshfiles, "MEGABYTES", 0.013)
    write_gltf(tmp_path / "a.gltf", in_file_axes(), images=[{"uri": "1.png"}, {"uri": "1.png"}])
    assert len(read_manifest(manifest(tmp_path, {"path": "a.gltf"}))[0].files) == 2
    write_gltf(tmp_path / "a.gltf", in_file_axes(), images=[{"uri": "1.png"}, {"uri": "2.png"}])
    assert "MB with 2.png" in refused(tmp_path, path="a.gltf")


def test_too_many_triangles_count_each_time_they_are_drawn(tmp_path, monkeypatch):
    def twice(document):
        document["nodes"][2]["mesh"] = 0

    monkeypatch.setattr(meshfiles, "TRIANGLES", 23)
    write_obj(tmp_path / "a.obj", in_file_axes())
    rewritten(write_gltf(tmp_path / "a.gltf", in_file_axes()), twice)
    assert read_manifest(manifest(tmp_path, {"path": "a.obj"}))
    assert "24 triangles; at most 23" in refused(tmp_path, path="a.gltf")
    monkeypatch.setattr(meshfiles, "TRIANGLES", 11)
    assert "12 triangles; at most 11" in refused(tmp_path, path="a.obj")


def test_what_blender_would_place_otherwise_is_refused(tmp_path):
    for more, said in (
        ({"skins": [{"joints": [0]}]}, "1 skins"),
        ({"animations": [{}, {}]}, "2 animations"),
        ({"extensionsUsed": ["KHR_draco_mesh_compression"]}, "KHR_draco_mesh_compression"),
        ({"extensionsUsed": ["X"], "extensionsRequired": ["X"]}, "it uses X"),
        ({"scenes": [{"nodes": [2]}]}, "outside its default scene"),
    ):
        write_gltf(tmp_path / "a.gltf", in_file_axes(), **more)
        assert said in refused(tmp_path, path="a.gltf")
    write_gltf(tmp_path / "a.gltf", in_file_axes(), extensionsUsed=["X"])  # used, and not needed to draw it
    assert read_manifest(manifest(tmp_path, {"path": "a.gltf"}))
    document, binary = gltf(in_file_axes())
    document["buffers"] = [{"byteLength": len(binary), "uri": data_uri(binary).replace(";base64", "")}]
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    assert "not base64" in refused(tmp_path, path="a.gltf")
